"""Subscription plans: what a card may do and what deck prices its calls.

Source: domain.md section 5.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING

from attrs import field, frozen

from cardbill import money
from cardbill.charges import Charge, check_charges
from cardbill.cycles import COUNTED, BillingCycle, CycleUnit
from cardbill.errors import InvalidInput, MissingFields, PlanRefused, WrongCurrency
from cardbill.groups import check_destinations, groups_of
from cardbill.names import (
    check_choice,
    check_count,
    check_kind,
    check_language,
    check_many,
    check_name,
)
from cardbill.packages import Given, Package, check_packages
from cardbill.routing import LEAST_COST, Routing
from cardbill.usagelimits import UsageLimit, check_limits

if TYPE_CHECKING:
    from moneyed import Currency, Money

    from cardbill.batches import Batch

LONGEST_CALL_SECONDS = 31 * 24 * 3600
MOST_NUMBERS = 50
"""The most callers' numbers one card may have registered."""


class Unreported(Enum):
    """What a call costs whose end nobody reports in time."""

    RELEASE = "release"
    """What was reported of it while it lasted; the rest of the hold is free again."""
    CHARGE = "charge"
    """All that was granted."""


class Unauthorised(Enum):
    """What becomes of a call that is reported but was never granted."""

    NOTE = "note"
    """A record, without charge."""
    CHARGE = "charge"
    """It is priced by the deck in force at its answer, as far as money is left."""


class Rebind(Enum):
    """What happens when a caller registers a number that is registered with another card."""

    REFUSE = "refuse"
    """It stays where it is (the default)."""
    MOVE = "move"
    """It goes to the card that asked last."""


def _unreported(value: Unreported | str) -> Unreported:
    return check_choice("unreported_calls", value, Unreported)


def _unauthorised(value: Unauthorised | str) -> Unauthorised:
    return check_choice("unauthorised_calls", value, Unauthorised)


def _rebind(value: Rebind | str) -> Rebind:
    return check_choice("ani_rebind", value, Rebind)


def _barred(value: Iterable[str]) -> tuple[str, ...]:
    return check_destinations("barred", value)


def _packages(value: Iterable[Package]) -> tuple[Package, ...]:
    return check_many("packages", value, Package)


def _charges(value: Iterable[Charge]) -> tuple[Charge, ...]:
    return check_many("charges", value, Charge)


def _limits(value: Iterable[UsageLimit]) -> tuple[UsageLimit, ...]:
    return check_many("usage_limits", value, UsageLimit)


def _code(currency: str | Currency) -> str:
    return money.currency_code("currency", currency) if currency else ""


@frozen(kw_only=True)
class Plan:
    """A subscription plan.

    Attributes:
        name: Unique, 1 to 64 printable characters.
        currency: Of all its amounts: ISO 4217 code, or ``moneyed.Currency``.
        deck: The name of the rate deck that prices calls; its version in force when a
            call is authorized counts.
        billing_cycle: When packages are renewed that come with each cycle; default: never.
        max_call_seconds: The longest call granted, up to 31 days; ``None``: no such limit.
        calls_at_once: How many calls one card may have open.
        slice_seconds: Grant calls in slices of so many seconds, 10 to 86,400, that the
            host renews while a call lasts, so that several calls can share a card's
            money; ``None``: the first call holds all it may cost.
        unreported_calls: What a call costs whose end nobody reports: ``release`` (the
            default), what had been reported of it, or ``charge``, all that was granted.
        unauthorised_calls: What becomes of a call that was never granted: ``note`` (the
            default) or ``charge``.
        minimum_balance: Calls are refused while less than this is available; ``None``: no.
        language: What callers hear: an IETF language tag; ``None``: what their access number
            says, or English.
        ani_limit: How many callers' numbers one card may have registered to call without a
            PIN, up to 50; 0 (the default): none, since a caller's number can be forged.
        ani_confirm: A number counts only once it is confirmed, by a call from it or by the
            operator (the default).
        ani_rebind: What happens when the number is another card's: ``refuse`` (the default)
            or ``move``.
        usage_limits: How many calls a card may begin, and what they may cost, within some
            hours: at most 5 limits.
        barred: Prefixes, and names of destination groups, that cannot be called.
        recharge_days: A recharge makes a card good for so many days after its local date, if
            that is longer, but not beyond the batch's expiration date; ``None``: it does not.
        recharge_revives: A card that has expired can be recharged; needs `recharge_days`. For
            the time in which it was expired it gets no package and pays no charge; its periods
            go on, as counted from its first use, with the next that begins.
        packages: What its cards get beside their money: at most 50, with names and destinations
            of 16 KiB in all.
        charges: What they pay besides the price of calls, in this order: at most 50.
        routing: In what order carriers are tried, and which earn too little; default: the
            cheapest first, and all of them.

    Raises:
        MissingFields: Name, currency or deck is left out; each is named.
        InvalidInput: A field has a value that cannot be used; it is named.
    """

    name: str = field(default="")  # required, as are currency and deck: see below
    currency: str = field(default="", converter=_code)
    deck: str = field(default="")
    billing_cycle: BillingCycle = field(factory=BillingCycle)
    max_call_seconds: int | None = None
    calls_at_once: int = 1
    slice_seconds: int | None = None
    unreported_calls: Unreported = field(default=Unreported.RELEASE, converter=_unreported)
    unauthorised_calls: Unauthorised = field(default=Unauthorised.NOTE, converter=_unauthorised)
    minimum_balance: Money | None = None
    language: str | None = None
    ani_limit: int = 0
    ani_confirm: bool = True
    ani_rebind: Rebind = field(default=Rebind.REFUSE, converter=_rebind)
    usage_limits: tuple[UsageLimit, ...] = field(default=(), converter=_limits)
    barred: tuple[str, ...] = field(default=(), converter=_barred)
    recharge_days: int | None = None
    recharge_revives: bool = False
    packages: tuple[Package, ...] = field(default=(), converter=_packages)
    charges: tuple[Charge, ...] = field(default=(), converter=_charges)
    routing: Routing = LEAST_COST

    def __attrs_post_init__(self) -> None:
        required = ("name", "currency", "deck")
        if missing := [f for f in required if not getattr(self, f)]:
            raise MissingFields("plan", missing)
        check_name("name", self.name)
        check_name("deck", self.deck)
        check_kind("billing_cycle", self.billing_cycle, BillingCycle)
        if self.max_call_seconds is not None:
            check_count("max_call_seconds", self.max_call_seconds, 1, LONGEST_CALL_SECONDS)
        check_count("calls_at_once", self.calls_at_once, 1, 100)
        if self.slice_seconds is not None:
            check_count("slice_seconds", self.slice_seconds, 10, 86_400)
        if self.language is not None:
            check_language("language", self.language)
        check_count("ani_limit", self.ani_limit, 0, MOST_NUMBERS)
        if not isinstance(self.ani_confirm, bool):
            raise InvalidInput("ani_confirm", self.ani_confirm, "must be True or False")
        check_count("minimum_balance", self.minimum_units, 0, money.MAX_UNITS)
        if self.recharge_days is not None:
            check_count("recharge_days", self.recharge_days, 0, 36_525)
        check_kind("recharge_revives", self.recharge_revives, bool)
        if self.recharge_revives and self.recharge_days is None:
            raise MissingFields("plan whose recharges revive", ["recharge_days"])
        check_limits(self.usage_limits, self.currency)
        check_packages(self.packages, self.currency)
        check_charges(self.charges, self.currency)
        renewed = [package.name for package in self.packages if package.given is Given.CYCLE]
        if renewed and self.billing_cycle.unit not in COUNTED:
            problem = f"package {renewed[0]!r} is given with each cycle: there is none"
            raise InvalidInput("billing_cycle", self.billing_cycle.unit.value, problem)
        check_kind("routing", self.routing, Routing)
        if self.routing.currency not in (None, self.currency):
            problem = f"minimum_margin must be in {self.currency}"
            raise WrongCurrency("routing", self.routing.minimum_margin, problem)

    @property
    def groups(self) -> list[str]:
        """The destination groups that its terms name."""
        named = {*self.barred}
        named.update(*(package.destinations for package in self.packages))
        named.update(*(charge.destinations for charge in self.charges))
        return sorted(groups_of(named))

    @property
    def limited_hours(self) -> list[int]:
        """The windows of its limits of use, in hours."""
        return [limit.hours for limit in self.usage_limits]

    @cached_property
    def minimum_units(self) -> int:
        """The minimum balance in ledger units; 0 where there is none."""
        if self.minimum_balance is None:
            return 0
        return money.units("minimum_balance", self.minimum_balance, self.currency)


def check_assignable(plan: Plan, batch: Batch) -> None:
    """Check that cards of `batch` can be sold with `plan`.

    Raises:
        PlanRefused: The plan is billed on demand, or is in another currency.
    """
    if plan.billing_cycle.unit is CycleUnit.ON_DEMAND:
        raise PlanRefused(
            f"plan {plan.name!r} is billed on demand: its periods open and close by hand, as "
            f"in a call shop, and nobody closes a bill for each card of batch {batch.name!r}; "
            "give the plan a billing cycle of days, weeks, months, years or never"
        )
    if plan.currency != batch.currency:
        raise PlanRefused(
            f"plan {plan.name!r} is in {plan.currency}, batch {batch.name!r} is in "
            f"{batch.currency}: a card has one currency"
        )
