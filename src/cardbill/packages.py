"""Packages: minutes, calls or money for some destinations, given, renewed or bought.

A package is a term of a plan; what a card has of it is a bucket, see
:mod:`cardbill.buckets`. Source: domain.md section 5.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING

from attrs import field, frozen

from cardbill import money
from cardbill.cycles import COUNTED, BillingCycle
from cardbill.errors import InvalidInput, MissingFields, WrongCurrency
from cardbill.groups import check_destinations
from cardbill.increments import LONGEST_SECONDS
from cardbill.names import check_choice, check_count, check_kind, check_name

if TYPE_CHECKING:
    from moneyed import Money

MOST_CALLS = 1_000_000_000
MOST_PACKAGES = 50
ROOM = 16 * 1024
"""Bytes that a card keeps of its packages, about; twice as many if it must."""

_PLAIN = 96  # bytes that one takes beside its names, at most about


class Unit(Enum):
    """What a package is counted in."""

    SECONDS = "seconds"
    """Talk time after free seconds, before increments."""
    CALLS = "calls"
    """Whole calls: their rated price is nothing."""
    MONEY = "money"
    """Money that pays rated prices, no charges and no taxes."""


class Given(Enum):
    """When a card gets a package."""

    ACTIVATION = "activation"
    """At its first use (the default)."""
    CYCLE = "cycle"
    """At its first use and with each billing cycle."""
    BOUGHT = "bought"
    """When it is bought for the card."""


def _given(value: Given | str) -> Given:
    return check_choice("package given", value, Given)


def _destinations(value: Iterable[str]) -> tuple[str, ...]:
    return check_destinations("package destinations", value)


@frozen(kw_only=True)
class Package:
    """One package of a plan.

    Attributes:
        name: 1 to 64 printable characters, unique in its plan.
        minutes, seconds, calls, amount: How much: one of them, above 0. Calls are of any
            length, up to the plan's ``max_call_seconds``; `amount` is ``Money`` in the plan's
            currency.
        destinations: For calls to these prefixes and destination groups; empty: to all.
        given: At ``activation`` (the default), with each billing ``cycle`` of the plan, or
            ``bought``.
        price: ``Money`` that a package which is bought costs; default: nothing.
        valid: How long it is good, in days, weeks, months or years from the local day on
            which it is given; ``None``: as long as the card, or until the next cycle.
        carry_over: What is left when a cycle ends stays, as long as `valid` says. A card keeps
            so many apart as fit into 16 KiB, some hundred; what is given beyond them joins
            what expires last of the same package, and both are good for the longer time.
        waives_connect_fee: Calls that draw on it pay no connect fee.

    Raises:
        MissingFields: The name or how much is left out.
        InvalidInput: A term cannot be used, or does not go with the others; it is named.
    """

    name: str = ""  # required, as is one of the following: see below
    minutes: int | None = None
    seconds: int | None = None
    calls: int | None = None
    amount: Money | None = None
    destinations: tuple[str, ...] = field(default=(), converter=_destinations)
    given: Given = field(default=Given.ACTIVATION, converter=_given)
    price: Money | None = None
    valid: BillingCycle | None = None
    carry_over: bool = False
    waives_connect_fee: bool = False

    def __attrs_post_init__(self) -> None:
        told = [
            name
            for name in ("minutes", "seconds", "calls", "amount")
            if getattr(self, name) is not None
        ]
        if missing := [n for n, there in (("name", self.name), ("minutes", told)) if not there]:
            raise MissingFields("package", missing)
        check_name("package name", self.name)
        if len(told) > 1:
            raise InvalidInput("package", told, "must tell one of them")
        check_count(f"package {told[0]}", self.quantity, 1, _most(self.unit))
        for name in ("carry_over", "waives_connect_fee"):
            check_kind(f"package {name}", getattr(self, name), bool)
        if self.carry_over and self.given is not Given.CYCLE:
            problem = f"goes with cycle, not with {self.given.value}"
            raise InvalidInput("package carry_over", self.carry_over, problem)
        if self.price is not None and self.given is not Given.BOUGHT:
            problem = f"goes with bought, not with {self.given.value}"
            raise InvalidInput("package price", self.price, problem)
        check_count("package price", self.price_units, 0, money.MAX_UNITS)
        if self.valid is not None:
            check_kind("package valid", self.valid, BillingCycle)
            if self.valid.unit not in COUNTED or self.valid.anchor is not None:
                problem = "must be days, weeks, months or years, without an anchor"
                raise InvalidInput("package valid", self.valid, problem)

    @property
    def unit(self) -> Unit:
        """What it is counted in."""
        if self.amount is not None:
            return Unit.MONEY
        return Unit.SECONDS if self.calls is None else Unit.CALLS

    @property
    def size(self) -> int:
        """The bytes that a card keeps of it, about."""
        return size_of(self.name, self.destinations)

    @cached_property
    def quantity(self) -> int:
        """How much it is: seconds, calls or ledger units."""
        if self.amount is not None:
            return _units("package amount", self.amount)
        if self.minutes is not None:
            return 60 * check_count("package minutes", self.minutes, 1, LONGEST_SECONDS // 60)
        return (self.seconds if self.calls is None else self.calls) or 0

    @cached_property
    def price_units(self) -> int:
        """What it costs, in ledger units."""
        return 0 if self.price is None else _units("package price", self.price)

    @property
    def currencies(self) -> set[str]:
        """The ISO 4217 codes of its amounts."""
        amounts = [amount for amount in (self.amount, self.price) if amount is not None]
        return {money.currency_code("package", amount.currency) for amount in amounts}


def check_packages(packages: Iterable[Package], currency: str) -> tuple[Package, ...]:
    """Return the packages of a plan in that currency.

    Raises:
        InvalidInput: They are no packages, more than 50 or more than a card has room for, or
            two have one name.
        WrongCurrency: An amount is in another currency.
    """
    found = tuple(check_kind("packages", package, Package) for package in packages)
    check_count("number of packages", len(found), 0, MOST_PACKAGES)
    if (size := sum(package.size for package in found)) > ROOM:
        problem = f"bytes of names and destinations: a card has room for {ROOM:,}; use groups"
        raise InvalidInput("packages", size, problem)
    names = [package.name for package in found]
    for package in found:
        if names.count(package.name) > 1:
            raise InvalidInput("packages", package.name, "stands twice")
        if package.currencies - {currency}:
            amount = package.amount if package.amount is not None else package.price
            raise WrongCurrency(f"package {package.name}", amount, f"must be in {currency}")
    return found


def size_of(package: str, destinations: Iterable[str]) -> int:
    """Return the bytes that a card keeps of a package of that name, about."""
    return _PLAIN + sum(len(name.encode()) + 3 for name in (package, *destinations))


def _most(unit: Unit) -> int:
    return {
        Unit.SECONDS: LONGEST_SECONDS,
        Unit.CALLS: MOST_CALLS,
        Unit.MONEY: money.MAX_UNITS,
    }[unit]


def _units(what: str, amount: Money) -> int:
    if not hasattr(amount, "currency"):
        raise InvalidInput(what, amount, "must be Money")
    return money.units(what, amount, money.currency_code(what, amount.currency))
