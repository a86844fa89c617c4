"""What a call costs: the exact inverse pair :func:`price` and :func:`max_duration`.

All terms are integers in ledger units; a price is an exact fraction until it is rounded,
once. Both functions work in closed form over the rate's steps, never second by second.
Source of the rules: domain.md section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

from attrs import field, frozen

from cardbill import money
from cardbill.errors import InvalidInput
from cardbill.money import RoundingMode
from cardbill.names import check_choice, check_count

MINUTE = 60
LONGEST_SECONDS = 1_000_000_000
"""The longest duration that is rated at all: about 31 years."""
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


@frozen
class Step:
    """A stretch of a call that is billed in one way.

    Attributes:
        from_second: The billed second it begins at; the first step begins at 0.
        price_per_minute: Ledger units, at least 0.
        increment: Seconds billed at a time, at least 1.
    """

    from_second: int
    price_per_minute: int
    increment: int

    def __attrs_post_init__(self) -> None:
        check_count("step from_second", self.from_second, 0, LONGEST_SECONDS)
        check_count("step price_per_minute", self.price_per_minute, 0, money.MAX_UNITS)
        check_count("step increment", self.increment, 1, LONGEST_SECONDS)


class _Segment(NamedTuple):
    """A step as it is really billed: from where the step before it left off."""

    start: int  # billed position at which it begins
    increment: int
    per_increment: int  # in 1/60 ledger unit
    before: int  # usage up to `start`, in 1/60 ledger unit
    times: int | None  # increments until the next segment begins; None: it is the last


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

    @cached_property
    def segments(self) -> tuple[_Segment, ...]:
        """The steps as billed: where each really begins, after the last one's overrun.

        A step that lies wholly inside the increment before it is never reached.
        """
        segments: list[_Segment] = []
        position = usage = 0
        for index, step in enumerate(self.steps):
            following = self.steps[index + 1].from_second if step is not self.steps[-1] else None
            if following is not None and position >= following:
                continue
            per_increment = step.increment * step.price_per_minute
            times = None if following is None else -(-(following - position) // step.increment)
            segments.append(_Segment(position, step.increment, per_increment, usage, times))
            if times is not None:
                position += times * step.increment
                usage += times * per_increment
        return tuple(segments)


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
        currency: The ISO code that ``Money`` amounts must have.

    Raises:
        InvalidInput: A term cannot be used; it is named.

    >>> price(rate("0.15", increments="60/30", connect_fee="0.10"), 95)
    400000
    """
    per_minute = money.units("price_per_minute", price_per_minute, currency)
    return Rate(
        steps=steps_of(per_minute, *parse_increments("increments", increments)),
        connect_fee=money.units("connect_fee", connect_fee, currency),
        grace_seconds=grace_seconds,
        free_seconds=free_seconds,
        minimum_charge=money.units("minimum_charge", minimum_charge, currency),
        end_fee=money.units("end_fee", end_fee, currency),
        surcharge_ppm=money.parts("surcharge_percent", surcharge_percent, _PPM_PER_PERCENT),
        rounding=rounding or Rounding(),
    )


def steps_of(price_per_minute: int, first: int, following: int) -> tuple[Step, ...]:
    """Return the steps that ``first/following`` stands for at one price (ledger units)."""
    begin = Step(0, price_per_minute, first)
    return (begin,) if first == following else (begin, Step(first, price_per_minute, following))


def parse_increments(field: str, text: str) -> tuple[int, int]:
    """Return the two numbers of ``60/6``; a single number stands for both.

    Raises:
        InvalidInput: It is not of that form, or an increment is 0.
    """
    if not isinstance(text, str):
        raise InvalidInput(field, text, "must be text like 60/6")
    first, slash, following = text.partition("/")
    if not slash:
        following = first
    for part in (first, following):
        if not (part.isascii() and part.isdigit() and 1 <= len(part) <= 9 and int(part)):
            raise InvalidInput(field, text, "must be two whole numbers of seconds, like 60/6")
    return int(first), int(following)


def billed_seconds(rate: Rate, seconds: int) -> int:
    """Return for how many seconds of usage a call of `seconds` talk time is billed.

    Raises:
        InvalidInput: As for :func:`price`.
    """
    check_count("seconds", seconds, 0, LONGEST_SECONDS)
    billable = seconds - rate.free_seconds
    if seconds <= rate.grace_seconds or billable <= 0:
        return 0
    return _walk(rate, billable)[0]


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
    usage = _walk(rate, billable)[1] if billable > 0 else 0
    # In 1/60 of a ledger unit, times SURCHARGE_PARTS: an exact integer numerator.
    exact = (rate.connect_fee * MINUTE + usage) * (SURCHARGE_PARTS + rate.surcharge_ppm)
    exact += rate.end_fee * _DENOMINATOR
    exact = max(exact, rate.minimum_charge * _DENOMINATOR)
    return money.round_ratio(exact, _DENOMINATOR, rate.rounding.unit, rate.rounding.mode)


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
        At most :data:`LONGEST_SECONDS`, which always has a price; without end only what has
        no cap and costs no more however long it lasts.

    Raises:
        InvalidInput: `available` or `cap` is negative or no whole number.
    """
    check_count("available", available, 0, money.MAX_UNITS)
    longest = LONGEST_SECONDS
    if cap is not None:
        longest = min(longest, check_count("cap", cap, 0, money.MAX_UNITS))
    affordable = _affordable(rate, available)
    if affordable is not None and affordable < longest:
        return Limit(affordable, by_money=True)
    endless = affordable is None and cap is None
    return Limit(None if endless else longest, by_money=False)


_DENOMINATOR = MINUTE * SURCHARGE_PARTS


def _walk(rate: Rate, billable: int) -> tuple[int, int]:
    """Return (billed seconds, usage in 1/60 ledger unit) for `billable` > 0 seconds."""
    for start, increment, per_increment, before, times in rate.segments:
        begun = -(-(billable - start) // increment)
        if times is None or begun <= times:
            return start + begun * increment, before + begun * per_increment
    raise AssertionError("the last segment has no end")


def _affordable(rate: Rate, available: int) -> int | None:
    """Return the longest affordable duration; ``None`` when every duration is."""
    free, grace = rate.free_seconds, rate.grace_seconds
    budget = money.largest_ratio(available, _DENOMINATOR, rate.rounding.unit, rate.rounding.mode)
    if rate.minimum_charge * _DENOMINATOR > budget:
        return grace
    usage_budget = (budget - rate.end_fee * _DENOMINATOR) // (SURCHARGE_PARTS + rate.surcharge_ppm)
    usage_budget -= rate.connect_fee * MINUTE
    if usage_budget < 0:
        return grace
    for start, increment, per_increment, before, times in rate.segments:
        if per_increment == 0:
            if times is None:
                return None
            continue
        fits = (usage_budget - before) // per_increment
        if times is None or fits < times:
            return max(grace, free + start + fits * increment)
    raise AssertionError("the last segment has no end")
