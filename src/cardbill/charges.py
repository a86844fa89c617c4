"""Charges: what a card pays besides the rated price of its calls.

A plan has one list of them, each with the event that triggers it. Surcharges for toll-free
access or payphones, fees per call, weekly fees, what a recharge costs: all are charges.
Source: domain.md section 5.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING

from attrs import converters, field, frozen

from cardbill import money
from cardbill.access import AccessKind, plain_access
from cardbill.cycles import COUNTED, BillingCycle
from cardbill.errors import InvalidInput, MissingFields, WrongCurrency
from cardbill.groups import check_destinations
from cardbill.instants import aware
from cardbill.money import RoundingMode
from cardbill.names import check_choice, check_count, check_kind, check_name

if TYPE_CHECKING:
    from moneyed import Money

PARTS = 1_000_000
"""A percentage is whole parts of this: 12.5 % is 125,000."""
HIGHEST_PERCENT = 1_000
MOST_QUANTITY = 1_000_000
MOST_CHARGES = 50
_PER_PERCENT = PARTS // 100


class Trigger(Enum):
    """What makes a charge fall due."""

    ACTIVATION = "activation"
    """The first use of the card."""
    FIRST_ANSWER = "first_answer"
    """The first call that is answered and billed."""
    ANSWER = "answer"
    """Each call that is answered and billed."""
    END = "end"
    """The end of each such call."""
    PERIOD = "period"
    """The beginning of each period after the first use but the first."""
    INACTIVITY = "inactivity"
    """Each period without a billed call or a recharge."""
    RECHARGE = "recharge"
    """Money put on the card."""
    MANUAL = "manual"
    """An operator, who says why."""


OF_A_CALL = frozenset({Trigger.FIRST_ANSWER, Trigger.ANSWER, Trigger.END})
"""What a call triggers: held together with its price, posted when it is settled."""
PERIODIC = frozenset({Trigger.PERIOD, Trigger.INACTIVITY})
"""What time alone triggers."""


class Short(Enum):
    """What becomes of a charge that the card cannot pay in full."""

    DROP = "drop"
    """Nothing is taken (the default)."""
    TAKE = "take"
    """What is left is taken, and the rest forgotten."""
    OWE = "owe"
    """What is left is taken, and the rest owed: what comes onto the card next pays it first."""


def _trigger(value: Trigger | str) -> Trigger:
    return check_choice("charge trigger", value, Trigger)


def _short(value: Short | str) -> Short:
    return check_choice("charge when_short", value, Short)


def _percent(value: Decimal | int | str) -> Decimal:
    parts = money.parts("charge percent", value, _PER_PERCENT)
    if not 0 <= parts <= HIGHEST_PERCENT * _PER_PERCENT:
        raise InvalidInput("charge percent", value, f"must be 0 to {HIGHEST_PERCENT:,}")
    return Decimal(value)


def _destinations(value: Iterable[str]) -> tuple[str, ...]:
    return check_destinations("charge destinations", value)


def _access(value: Iterable[str]) -> tuple[str, ...]:
    given = (value,) if isinstance(value, str) else tuple(value)
    plain = tuple(plain_access(number) or "" for number in given)
    if "" in plain:
        number = given[plain.index("")]
        raise InvalidInput("charge access", number, "must be the digits of an access number")
    return plain


def _kinds(value: AccessKind | str | Iterable[AccessKind | str]) -> tuple[AccessKind, ...]:
    given = (value,) if isinstance(value, AccessKind | str) else value
    return tuple(check_choice("charge access_kinds", kind, AccessKind) for kind in given)


@frozen(kw_only=True)
class Charge:
    """One charge of a plan.

    Attributes:
        name: 1 to 64 printable characters, unique in its plan: it stands on statements.
        trigger: What makes it fall due: ``activation``, ``first_answer``, ``answer``, ``end``,
            ``period``, ``inactivity``, ``recharge`` or ``manual``.
        amount: ``Money`` in the plan's currency, at least 0; or give `percent`.
        percent: Of the rated price of the call, or of the recharge: 0 to 1,000, in steps of
            0.0001. Rounded half-up to a ledger unit.
        quantity: How many times the amount: 1 to 1,000,000.
        every: For ``period`` and ``inactivity``: days, weeks, months or years; counted from
            the first use, for inactivity from the last activity.
        taxable: Whether taxes are on it.
        access: Only calls that came in on these access numbers.
        access_kinds: Only calls that came in on access numbers of these kinds.
        destinations: Only calls to these prefixes and destination groups.
        when_short: What becomes of it when the card cannot pay it: ``drop`` (the default),
            ``take`` what is left, or ``owe``. What a call triggers is held with its price, so
            that it is paid.
        effective_from: Only what falls due from this instant on; ``None``: always did.
        effective_until: Only what falls due before this instant; ``None``: no end.

    Raises:
        MissingFields: The name, the trigger, how much or how often is left out.
        InvalidInput: A term cannot be used, or does not go with the trigger; it is named.
    """

    name: str = ""  # required, as are the trigger and how much: see below
    trigger: Trigger = field(default=None, converter=converters.optional(_trigger))
    amount: Money | None = None
    percent: Decimal | None = field(default=None, converter=converters.optional(_percent))
    quantity: int = 1
    every: BillingCycle | None = None
    taxable: bool = True
    access: tuple[str, ...] = field(default=(), converter=_access)
    access_kinds: tuple[AccessKind, ...] = field(default=(), converter=_kinds)
    destinations: tuple[str, ...] = field(default=(), converter=_destinations)
    when_short: Short = field(default=Short.DROP, converter=_short)
    effective_from: datetime | None = None
    effective_until: datetime | None = None

    def __attrs_post_init__(self) -> None:
        missing = [f for f in ("name", "trigger") if not getattr(self, f)]
        if self.amount is None and self.percent is None:
            missing.append("amount")
        if self.trigger in PERIODIC and self.every is None:
            missing.append("every")
        if missing:
            raise MissingFields("charge", missing)
        check_name("charge name", self.name)
        if self.amount is not None:
            if self.percent is not None:
                raise InvalidInput("charge percent", self.percent, "goes with no amount")
            if not hasattr(self.amount, "currency"):
                raise InvalidInput("charge amount", self.amount, "must be Money")
            check_count("charge amount", self.units, 0, money.MAX_UNITS)
        check_count("charge quantity", self.quantity, 1, MOST_QUANTITY)
        check_kind("charge taxable", self.taxable, bool)
        self._check_fit()
        for name in ("effective_from", "effective_until"):
            if getattr(self, name) is not None:
                aware(f"charge {name}", getattr(self, name))
        begin, end = self.effective_from, self.effective_until
        if begin is not None and end is not None and end <= begin:
            raise InvalidInput("charge effective_until", end, "must be after effective_from")

    def _check_fit(self) -> None:
        trigger = self.trigger
        if self.percent is not None and trigger not in OF_A_CALL | {Trigger.RECHARGE}:
            problem = f"is of a call's price or of a recharge, not of {trigger.value}"
            raise InvalidInput("charge percent", self.percent, problem)
        if self.every is not None:
            check_kind("charge every", self.every, BillingCycle)
            if trigger not in PERIODIC:
                problem = f"goes with period and inactivity, not with {trigger.value}"
                raise InvalidInput("charge every", self.every, problem)
            if self.every.unit not in COUNTED or self.every.anchor is not None:
                problem = "must be days, weeks, months or years, without an anchor"
                raise InvalidInput("charge every", self.every, problem)
        for name in ("access", "access_kinds", "destinations"):
            if getattr(self, name) and trigger not in OF_A_CALL:
                problem = f"is for what a call triggers, not for {trigger.value}"
                raise InvalidInput(f"charge {name}", getattr(self, name), problem)

    @property
    def currency(self) -> str | None:
        """The ISO 4217 code of the amount; ``None``: it is a percentage."""
        if self.amount is None:
            return None
        return money.currency_code("charge amount", self.amount.currency)

    @cached_property
    def units(self) -> int:
        """The amount, `quantity` times, in ledger units; 0 for a percentage."""
        if self.amount is None:
            return 0
        amount = money.units("charge amount", self.amount, self.currency or "")
        return amount * check_count("charge quantity", self.quantity, 1, MOST_QUANTITY)

    @cached_property
    def parts(self) -> int:
        """The percentage, `quantity` times, in millionths."""
        if self.percent is None:
            return 0
        return money.parts("charge percent", self.percent, _PER_PERCENT) * self.quantity

    def comes_to(self, base: int) -> int:
        """Return the charge in ledger units, on a call or a recharge of `base` units."""
        return comes_to(self.units, self.parts, base)

    def effective(self, at: datetime) -> bool:
        """Say whether what falls due at that instant is charged."""
        begin, end = self.effective_from, self.effective_until
        return (begin is None or begin <= at) and (end is None or at < end)


def comes_to(units: int, parts: int, base: int) -> int:
    """Return a fixed amount, and so many millionths of `base`, in ledger units.

    The percentage is rounded half-up to a ledger unit; the sum never falls when `base` grows.
    """
    return units + money.round_ratio(parts * base, PARTS, 1, RoundingMode.HALF_UP)


def check_charges(charges: Iterable[Charge], currency: str) -> tuple[Charge, ...]:
    """Return the charges of a plan in that currency.

    Raises:
        InvalidInput: They are no charges, more than 50, or two have one name.
        WrongCurrency: An amount is in another currency.
    """
    found = tuple(check_kind("charges", charge, Charge) for charge in charges)
    check_count("number of charges", len(found), 0, MOST_CHARGES)
    names = [charge.name for charge in found]
    for charge in found:
        if names.count(charge.name) > 1:
            raise InvalidInput("charges", charge.name, "stands twice")
        if charge.currency not in (None, currency):
            raise WrongCurrency(f"charge {charge.name}", charge.amount, f"must be in {currency}")
    return found
