"""Increments: how talk time becomes billed seconds, step by step of a rate.

Billed time is walked in whole increments from where it has come to, so that a walk can be
taken up by another rate at any increment. In closed form over the steps: no walk is longer
than there are steps. Source: domain.md section 3.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum
from typing import NamedTuple

from attrs import frozen

from cardbill import money
from cardbill.errors import InvalidInput
from cardbill.names import check_count

LONGEST_SECONDS = 1_000_000_000
"""The longest duration that is rated at all: about 31 years."""


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


class Stretch(NamedTuple):
    """Increments that follow each other and are billed alike.

    Attributes:
        begin, end: Billed seconds, half-open.
        increment: Seconds billed at a time; the first may be less, where increments are
            counted from the beginning of the call.
        price_per_minute: Ledger units.
    """

    begin: int
    end: int
    increment: int
    price_per_minute: int

    @property
    def increments(self) -> int:
        """How many increments are begun in it."""
        return -((self.begin - self.end) // self.increment)

    @property
    def usage(self) -> int:
        """What it costs, in 1/60 ledger unit."""
        return (self.end - self.begin) * self.price_per_minute


class BlockRounding(Enum):
    """From where increments are counted."""

    STEP = "step"
    """From where the step begins: with 30/18, 31 s are billed as 48 (the default)."""
    TOTAL = "total"
    """From the beginning of the call: billed time is a multiple of the increment, and with
    30/18, 31 s are billed as 36."""


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


def walk(
    steps: Sequence[Step], blocks: BlockRounding, position: int, until: int
) -> tuple[int, int, int]:
    """Bill the increments that begin at billed time `position` and after, before `until`.

    Returns:
        The billed time at which the last one ends, what they cost in 1/60 ledger unit, and
        where the last one begins.
    """
    usage = 0
    begun = position
    for end, price_per_minute, increment, origin in _stretches(steps, blocks, position):
        stop = until if end is None else min(until, end)
        billed = origin - (origin - stop) // increment * increment
        usage += (billed - position) * price_per_minute
        begun = max(position, billed - increment)
        position = billed
        if position >= until:
            break
    return position, usage, begun


def stretches(
    steps: Sequence[Step], blocks: BlockRounding, position: int, until: int
) -> Iterator[Stretch]:
    """Yield, one by one, what :func:`walk` adds up: that is on the path of every call."""
    for end, price_per_minute, increment, origin in _stretches(steps, blocks, position):
        stop = until if end is None else min(until, end)
        billed = origin - (origin - stop) // increment * increment
        yield Stretch(position, billed, increment, price_per_minute)
        position = billed
        if position >= until:
            break


def reach(
    steps: Sequence[Step], blocks: BlockRounding, position: int, until: int | None, budget: int
) -> tuple[int | None, int]:
    """Bill as :func:`walk` does for as long as whole increments fit into a budget.

    Args:
        steps: How they are billed.
        blocks: From where increments are counted.
        position: The billed time to begin at.
        until: Where no further increment begins; ``None``: there is no such place.
        budget: In 1/60 ledger unit, at least 0.

    Returns:
        The billed time it comes to (below `until` where the budget ends it; ``None``: it goes
        on for ever), and what is left of the budget.
    """
    for end, price_per_minute, increment, origin in _stretches(steps, blocks, position):
        stop = end if until is None else until if end is None else min(until, end)
        if price_per_minute:
            fits = (position + budget // price_per_minute - origin) // increment * increment
            if stop is None or origin + fits < stop:
                reached = max(position, origin + fits)
                return reached, budget - (reached - position) * price_per_minute
        elif stop is None:
            return None, budget
        billed = origin - (origin - stop) // increment * increment
        budget -= (billed - position) * price_per_minute
        position = billed
        if until is not None and position >= until:
            break
    return position, budget


def _stretches(
    steps: Sequence[Step], blocks: BlockRounding, position: int
) -> Iterator[tuple[int | None, int, int, int]]:
    """Yield each step that is walked from a billed time on.

    As (the position from which the next step counts, or ``None``; price per minute;
    increment; where increments are counted from). The next step really begins where billed
    time ends; one that lies wholly inside the increment before it is never reached.
    """
    total = blocks is BlockRounding.TOTAL
    last = len(steps) - 1
    for index, step in enumerate(steps):
        end = None if index == last else steps[index + 1].from_second
        if end is not None and position >= end:
            continue
        increment = step.increment
        origin = position // increment * increment if total else position
        yield end, step.price_per_minute, increment, origin
        if end is not None:
            position = origin - (origin - end) // increment * increment
