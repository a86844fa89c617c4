"""What a call costs: the exact inverse pair :func:`price` and :func:`max_duration`.

All terms are integers in ledger units; a price is an exact fraction until it is rounded,
once. Both functions work in closed form over the rate's steps, never second by second.
Calls that pass from one band into another are rated by :mod:`cardbill.tariffs`, with the
same walk. Source of the rules: domain.md section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

from attrs import field, frozen

from cardbill import money
from cardbill.errors import InvalidInput
from cardbill.increments import (
    LONGEST_SECONDS,
    BlockRounding,
    Step,
    parse_increments,
    reach,
    steps_of,
    walk,
)
from cardbill.money import RoundingMode
from cardbill.names import check_choice, check_count

MINUTE = 60
SURCHARGE_PARTS = 1_000_000
_PPM_PER_PERCENT = SURCHARGE_PARTS // 100


def _mode(mode: RoundingMode | str) -> RoundingMode:
    return check_choice("rounding mode", mode, RoundingMode)


@frozen
class Rounding:
    """How the exact price of a call becomes a posted amount.

    Attributes:
        unit: The multiple it is rounded to, in ledger units; 100 is 0.0001.
        mode: What happens between two multiples.
    """

    unit: int = field(default=100)
    mode: RoundingMode = field(default=RoundingMode.UP, converter=_mode)

    def __attrs_post_init__(self) -> None:
        check_count("rounding unit", self.unit, 1, money.MAX_UNITS)


class Beyond(Enum):
    """What happens to a call that has come to its maximum charge."""

    FREE = "free"
    """It goes on at no further charge (the default)."""
    DISCONNECT = "disconnect"
    """It may not last longer."""


def _block_rounding(value: BlockRounding | str) -> BlockRounding:
    return check_choice("block_rounding", value, BlockRounding)


def _beyond(value: Beyond | str) -> Beyond:
    return check_choice("beyond_maximum", value, Beyond)


def _steps(steps: Sequence[Step]) -> tuple[Step, ...]:
    if not isinstance(steps, list | tuple) or not all(isinstance(step, Step) for step in steps):
        raise InvalidInput("steps", steps, "must be a list of Step")
    return tuple(steps)


@frozen(kw_only=True)
class Rate:
    """The price terms of a destination, all in ledger units and seconds.

    Attributes:
        steps: At least one; strictly rising, the first from second 0.
        connect_fee: For any call longer than grace.
        grace_seconds: Calls up to this long are free of everything. Not free time.
        free_seconds: Talk time at the start that is not billed as usage.
        minimum_charge: The least that a call longer than grace costs.
        end_fee: Added after the surcharge.
        surcharge_ppm: On connect fee and usage, in parts per million: 12.5 % is 125,000.
        rounding: Applied once, to the whole.
        maximum_charge: The most that a call costs, a multiple of the rounding unit and not
            below the minimum; ``None``: no such limit.
        beyond_maximum: What happens to a call that has come to it.
        block_rounding: From where increments are counted.

    Raises:
        InvalidInput: A term is out of range; it is named.
    """

    steps: tuple[Step, ...] = field(converter=_steps)
    connect_fee: int = 0
    grace_seconds: int = 0
    free_seconds: int = 0
    minimum_charge: int = 0
    end_fee: int = 0
    surcharge_ppm: int = 0
    rounding: Rounding = field(factory=Rounding)
    maximum_charge: int | None = None
    beyond_maximum: Beyond = field(default=Beyond.FREE, converter=_beyond)
    block_rounding: BlockRounding = field(default=BlockRounding.STEP, converter=_block_rounding)

    def __attrs_post_init__(self) -> None:
        if not self.steps:
            raise InvalidInput("steps", self.steps, "must hold at least one step")
        if self.steps[0].from_second != 0:
            raise InvalidInput("steps", self.steps[0].from_second, "must start at second 0")
        for earlier, later in pairwise(self.steps):
            if later.from_second <= earlier.from_second:
                raise InvalidInput("steps", later.from_second, "must rise strictly")
        for name in ("connect_fee", "minimum_charge", "end_fee", "surcharge_ppm"):
            check_count(name, getattr(self, name), 0, money.MAX_UNITS)
        for name in ("grace_seconds", "free_seconds"):
            check_count(name, getattr(self, name), 0, LONGEST_SECONDS)
        if not isinstance(self.rounding, Rounding):
            raise InvalidInput("rounding", self.rounding, "must be a Rounding")

        if self.maximum_charge is not None:
            self._check_maximum(self.maximum_charge)

    def _check_maximum(self, maximum: int) -> None:
        check_count("maximum_charge", maximum, self.minimum_charge, money.MAX_UNITS)
        if maximum % self.rounding.unit:
            problem = f"must be a multiple of the rounding unit, {self.rounding.unit}"
            raise InvalidInput("maximum_charge", maximum, problem)
        if self.ends_after is not None and self.ends_after <= self.unbilled_seconds:
            raise InvalidInput("maximum_charge", maximum, "is less than the first increment costs")

    def walk(self, position: int, until: int) -> tuple[int, int, int]:
        """Bill increments as :func:`cardbill.increments.walk` does."""
        return walk(self.steps, self.block_rounding, position, until)

    def reach(self, position: int, until: int | None, budget: int) -> tuple[int | None, int]:
        """Bill increments as :func:`cardbill.increments.reach` does."""
        return reach(self.steps, self.block_rounding, position, until, budget)

    @property
    def unbilled_seconds(self) -> int:
        """A call that may not last longer than this is none that anybody pays for."""
        return max(self.grace_seconds, self.free_seconds)

    @cached_property
    def ends_after(self) -> int | None:
        """After how many seconds the maximum charge ends a call; ``None``: it never does."""
        if self.maximum_charge is None or self.beyond_maximum is Beyond.FREE:
            return None
        return _affordable(self, self.maximum_charge)


def rate(
    price_per_minute: object,
    *,
    increments: str = "1/1",
    connect_fee: object = 0,
    grace_seconds: int = 0,
    free_seconds: int = 0,
    minimum_charge: object = 0,
    end_fee: object = 0,
    surcharge_percent: object = 0,
    rounding: Rounding | None = None,
    maximum_charge: object = None,
    beyond_maximum: Beyond | str = Beyond.FREE,
    block_rounding: BlockRounding | str = BlockRounding.STEP,
    currency: str = "XXX",
) -> Rate:
    """Return a rate of one price, from amounts in the currency's major unit.

    Args:
        price_per_minute: ``Money``, ``Decimal``, int or decimal text.
        increments: ``first/next`` seconds: ``60/6`` bills a whole minute, then every 6 s.
        connect_fee: For any call longer than grace.
        grace_seconds: Calls up to this long are free of everything.
        free_seconds: Talk time at the start that is not billed as usage.
        minimum_charge: The least that a call longer than grace costs.
        end_fee: Added after the surcharge.
        surcharge_percent: On connect fee and usage, in steps of 0.0001 %.
        rounding: Applied once, to the whole; default: up, to 0.0001.
        maximum_charge: The most that a call costs; ``None``: no such limit.
        beyond_maximum: ``free`` or ``disconnect``.
        block_rounding: ``step`` or ``total``.
        currency: The ISO code that ``Money`` amounts must have.

    Raises:
        InvalidInput: A term cannot be used; it is named.

    >>> price(rate("0.15", increments="60/30", connect_fee="0.10"), 95)
    400000
    """
    per_minute = money.units("price_per_minute", price_per_minute, currency)
    if maximum_charge is not None:
        maximum_charge = money.units("maximum_charge", maximum_charge, currency)
    return Rate(
        steps=steps_of(per_minute, *parse_increments("increments", increments)),
        connect_fee=money.units("connect_fee", connect_fee, currency),
        grace_seconds=grace_seconds,
        free_seconds=free_seconds,
        minimum_charge=money.units("minimum_charge", minimum_charge, currency),
        end_fee=money.units("end_fee", end_fee, currency),
        surcharge_ppm=money.parts("surcharge_percent", surcharge_percent, _PPM_PER_PERCENT),
        rounding=rounding or Rounding(),
        maximum_charge=maximum_charge,
        beyond_maximum=beyond_maximum,
        block_rounding=block_rounding,
    )


def billed_seconds(rate: Rate, seconds: int) -> int:
    """Return for how many seconds of usage a call of `seconds` talk time is billed.

    Raises:
        InvalidInput: As for :func:`price`.
    """
    check_count("seconds", seconds, 0, LONGEST_SECONDS)
    billable = seconds - rate.free_seconds
    if seconds <= rate.grace_seconds or billable <= 0:
        return 0
    return rate.walk(0, billable)[0]


def price(rate: Rate, seconds: int) -> int:
    """Return the rated price of `seconds` talk time, in ledger units.

    Args:
        rate: The terms.
        seconds: Whole seconds from answer to hang-up, at least 0.

    Raises:
        InvalidInput: `seconds` is negative or past :data:`LONGEST_SECONDS`.
    """
    check_count("seconds", seconds, 0, LONGEST_SECONDS)
    if seconds == 0 or seconds <= rate.grace_seconds:
        return 0
    billable = seconds - rate.free_seconds
    return charge(rate, rate.walk(0, billable)[1] if billable > 0 else 0)


class Limit(NamedTuple):
    """How long a call may last.

    Attributes:
        seconds: The largest whole duration; ``None``: without end.
        by_money: True when one second more would cost more than there is.
    """

    seconds: int | None
    by_money: bool


def max_duration(rate: Rate, available: int, cap: int | None = None) -> Limit:
    """Return the largest duration whose price fits in `available`: the inverse of `price`.

    Args:
        rate: The terms.
        available: Ledger units that the call may cost, at least 0.
        cap: The most seconds allowed for other reasons; ``None``: no cap.

    Returns:
        At most :data:`LONGEST_SECONDS`, which always has a price, nor longer than the
        maximum charge allows; without end only what has no cap and costs no more however
        long it lasts.

    Raises:
        InvalidInput: `available` or `cap` is negative or no whole number.
    """
    check_count("available", available, 0, money.MAX_UNITS)
    if cap is not None:
        check_count("cap", cap, 0, money.MAX_UNITS)
    affordable = None
    maximum = rate.maximum_charge
    if maximum is None or maximum > available:
        affordable = _affordable(rate, available)
    return limited(affordable, LONGEST_SECONDS, cap, rate.ends_after)


def limited(affordable: int | None, longest: int, *caps: int | None) -> Limit:
    """Return what is left of an affordable duration under caps; ``None``: there is no such cap."""
    told = [cap for cap in caps if cap is not None]
    least = min(longest, *told) if told else longest
    if affordable is not None and affordable < least:
        return Limit(affordable, by_money=True)
    return Limit(least if told or affordable is not None else None, by_money=False)


_DENOMINATOR = MINUTE * SURCHARGE_PARTS


def charge(rate: Rate, usage: int, *, drawing: bool = False) -> int:
    """Return the price, in ledger units, of a call with that usage in 1/60 ledger unit.

    Args:
        rate: The terms.
        usage: Of the increments that are billed.
        drawing: The call draws on a bucket: the minimum applies only if money is charged.
    """
    # In 1/60 of a ledger unit, times SURCHARGE_PARTS: an exact integer numerator.
    exact = (rate.connect_fee * MINUTE + usage) * (SURCHARGE_PARTS + rate.surcharge_ppm)
    exact += rate.end_fee * _DENOMINATOR
    if drawing and not exact:
        return 0
    exact = max(exact, rate.minimum_charge * _DENOMINATOR)
    if rate.maximum_charge is not None:
        exact = min(exact, rate.maximum_charge * _DENOMINATOR)
    return money.round_ratio(exact, _DENOMINATOR, rate.rounding.unit, rate.rounding.mode)


def usage_budget(rate: Rate, available: int, *, drawing: bool = False) -> int:
    """Return the most usage, in 1/60 ledger unit, whose price fits in `available`.

    The inverse of :func:`charge` but for the maximum charge; negative: not even a call
    without usage does.
    """
    budget = money.largest_ratio(available, _DENOMINATOR, rate.rounding.unit, rate.rounding.mode)
    if rate.minimum_charge * _DENOMINATOR > budget:
        return 0 if drawing and not rate.connect_fee and not rate.end_fee else -1
    budget = (budget - rate.end_fee * _DENOMINATOR) // (SURCHARGE_PARTS + rate.surcharge_ppm)
    return budget - rate.connect_fee * MINUTE


def _affordable(rate: Rate, available: int) -> int | None:
    """Return the longest duration whose price, but for the maximum, fits; ``None``: every."""
    budget = usage_budget(rate, available)
    if budget < 0:
        return rate.grace_seconds
    reached, _ = rate.reach(0, None, budget)
    return None if reached is None else max(rate.grace_seconds, rate.free_seconds + reached)
