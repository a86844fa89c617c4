"""Tariffs: what one call is priced by, from its grant to its end.

Most calls have one rate all along. In a deck whose bands split calls, other rates take its
place at the instants when bands begin: each increment is rated by the band in which it
begins, fees and the like by the band of the answer. Nobody knows at the grant when the
answer comes, so a grant takes the greatest price over all answers within the set-up time.
Seconds are whole ones since 1970 UTC: bands begin at whole seconds, and increments at whole
seconds after the answer, so that the fraction of the answer's second makes no difference.
Source: domain.md section 3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple

from attrs import evolve, frozen

from cardbill import rating
from cardbill.increments import LONGEST_SECONDS
from cardbill.instants import EPOCH
from cardbill.names import check_count
from cardbill.rating import Beyond, Limit, Rate, charge, limited, usage_budget

SETUP_SECONDS = 180
"""From the grant to the answer, at most."""
LONGEST_SPLIT_SECONDS = 31 * 24 * 3600
"""The longest call that is rated by several bands."""

_SECOND = timedelta(seconds=1)

Piece = tuple[Rate, int | None]
"""A rate, and the billed time from which increments are no longer its own; ``None``: none."""


class Billed(NamedTuple):
    """What is billed of a call: until where, its usage in 1/60 ledger unit, and for how long.

    Answered by less than `steady` seconds later, the same increments begin in the same bands.
    """

    position: int
    usage: int
    steady: int


def second_of(instant: datetime) -> int:
    """Return the second since 1970 UTC in which an instant lies."""
    return (instant - EPOCH) // _SECOND


@frozen
class Tariff:
    """A rate, and those that take its place while the call may last.

    Attributes:
        rate: From the grant on.
        changes: (second since 1970 UTC, rate from then on), rising, after the grant; empty:
            one rate all along.
        drawing: The call draws on a bucket, see :meth:`after`.
    """

    rate: Rate
    changes: tuple[tuple[int, Rate], ...] = ()
    drawing: bool = False

    def after(self, seconds: int, *, connect_fee: bool) -> Tariff:
        """Return the tariff of a call that draws so many seconds on buckets first.

        They come after free seconds and before increments; money rating then starts at
        step 0, and the minimum applies only if money is charged.

        Args:
            seconds: What the buckets hold for it.
            connect_fee: Whether it is charged all the same.
        """
        shifted = partial(_after, seconds=seconds, connect_fee=connect_fee)
        changes = tuple((second, shifted(rate)) for second, rate in self.changes)
        return Tariff(shifted(self.rate), changes, drawing=True)

    # -- one answer -----------------------------------------------------------------------

    def price(self, seconds: int, answered_at: datetime) -> int:
        """Return the rated price of a call answered at that instant, in ledger units.

        Raises:
            InvalidInput: As for :func:`cardbill.rating.price`.
        """
        if not self.changes and not self.drawing:
            return rating.price(self.rate, seconds)
        check_count("seconds", seconds, 0, LONGEST_SECONDS)
        base, pieces = self._from(second_of(answered_at), seconds)
        if seconds == 0 or seconds <= base.grace_seconds:
            return 0
        usage = _bill(pieces, seconds - base.free_seconds).usage
        return charge(base, usage, drawing=self.drawing)

    def billed_seconds(self, seconds: int, answered_at: datetime) -> int:
        """Return for how many seconds usage is billed.

        Raises:
            InvalidInput: As for :func:`cardbill.rating.price`.
        """
        if not self.changes:
            return rating.billed_seconds(self.rate, seconds)
        check_count("seconds", seconds, 0, LONGEST_SECONDS)
        base, pieces = self._from(second_of(answered_at), seconds)
        if seconds <= base.grace_seconds:
            return 0
        return _bill(pieces, seconds - base.free_seconds).position

    def rate_at(self, answered_at: datetime) -> Rate:
        """Return the rate whose fees, grace and free seconds apply to that answer."""
        return self._from(second_of(answered_at), 0)[0] if self.changes else self.rate

    def pieces(self, answered_at: datetime) -> tuple[Rate, list[Piece]]:
        """Return the rate whose fees apply, and the rates of the increments in turn."""
        return self._from(second_of(answered_at), LONGEST_SECONDS)

    # -- any answer -----------------------------------------------------------------------

    def highest(self, seconds: int, granted_at: datetime) -> int:
        """Return the most that a call of that length can cost, whenever it is answered."""
        if not self.changes:
            return self.price(seconds, granted_at)
        most = 0
        answer = second_of(granted_at)
        last = answer + SETUP_SECONDS
        while answer <= last:
            base, pieces = self._from(answer, seconds)
            billable = seconds - base.free_seconds
            billed = _bill(pieces, billable)
            if seconds > base.grace_seconds:
                most = max(most, charge(base, billed.usage, drawing=self.drawing))
            answer = self._next(answer, _stride(pieces, billable, billed.steady), last)
        return most

    def longest(self, available: int, cap: int | None, granted_at: datetime) -> Limit:
        """Return the longest call that `available` pays for, whenever it is answered.

        The exact inverse of :meth:`highest`, see :func:`cardbill.rating.max_duration`; where
        the rate changes, no call is longer than :data:`LONGEST_SPLIT_SECONDS`.
        """
        if not self.changes:
            return self._longest_at_one_rate(available, cap)

        def ends_at(base: Rate) -> int | None:
            return base.maximum_charge if base.beyond_maximum is Beyond.DISCONNECT else None

        def fits_in(base: Rate) -> int | None:
            paid_in_full = base.maximum_charge is not None and base.maximum_charge <= available
            return None if paid_in_full else available

        first = second_of(granted_at)
        allowed = LONGEST_SPLIT_SECONDS if cap is None else min(cap, LONGEST_SPLIT_SECONDS)
        allowed = self._within(ends_at, allowed, first)
        seconds = self._within(fits_in, allowed, first)
        return Limit(seconds, by_money=seconds < allowed)

    def unbilled_seconds(self, granted_at: datetime) -> int:
        """Return how long a call is that nobody pays for, whenever it is answered."""
        return min(rate.unbilled_seconds for rate in self._answering(granted_at))

    def is_unpaid(self, limit: Limit, granted_at: datetime) -> bool:
        """Say whether money ends a call while nobody pays for it: no such call is granted."""
        seconds = limit.seconds if limit.by_money else None
        return seconds is not None and seconds <= self.unbilled_seconds(granted_at)

    def grace_seconds(self, granted_at: datetime) -> int:
        """Return the grace that a call has, whenever it is answered."""
        return min(rate.grace_seconds for rate in self._answering(granted_at))

    def free_seconds(self, granted_at: datetime) -> int:
        """Return the free seconds that a call has, whenever it is answered."""
        return min(rate.free_seconds for rate in self._answering(granted_at))

    # -- inside ---------------------------------------------------------------------------

    def _longest_at_one_rate(self, available: int, cap: int | None) -> Limit:
        rate = self.rate
        if not self.drawing:
            return rating.max_duration(rate, available, cap)
        affordable = None
        if rate.maximum_charge is None or rate.maximum_charge > available:
            budget = usage_budget(rate, available, drawing=True)
            reached = 0 if budget < 0 else rate.reach(0, None, budget)[0]
            if reached is not None:
                free = 0 if budget < 0 else rate.free_seconds
                affordable = max(rate.grace_seconds, free + reached)
        return limited(affordable, LONGEST_SECONDS, cap, rate.ends_after)

    def _answering(self, granted_at: datetime) -> list[Rate]:
        """Return the rates in force when the call may be answered."""
        if not self.changes:
            return [self.rate]
        last = second_of(granted_at) + SETUP_SECONDS
        return [self.rate, *(rate for second, rate in self.changes if second <= last)]

    def _from(self, answer: int, seconds: int) -> tuple[Rate, list[Piece]]:
        """Return the rate whose fees apply, and those of the increments of so long a call."""
        base = self.rate
        for begin, rate in self.changes:
            if begin > answer:
                break
            base = rate
        zero = answer + base.free_seconds
        pieces: list[Piece] = []
        rate = self.rate
        for begin, following in self.changes:
            if begin > zero:
                pieces.append((rate, begin - zero))
                if begin > answer + seconds:
                    return base, pieces
            rate = following
        pieces.append((rate, None))
        return base, pieces

    def _within(self, most: Callable[[Rate], int | None], seconds: int, first: int) -> int:
        """Return for how long, up to `seconds`, no call costs more than its rate says at most.

        Whenever it is answered, and but for the maximum charge. Answers that were passed over
        need no second look when a later one shortens the call: were one of them the dearest at
        the shorter length, the one before it would cost as much at the longer.

        Args:
            most: By the rate of the answer, in ledger units; ``None``: no matter what.
            seconds: Where to begin; it is shortened until every answer fits.
            first: The second of the grant.
        """
        answer = first
        last = first + SETUP_SECONDS
        while answer <= last:
            base, pieces = self._from(answer, seconds)
            billable = seconds - base.free_seconds
            limit = most(base)
            stride = SETUP_SECONDS
            if limit is not None and seconds > base.grace_seconds:
                billed = _bill(pieces, billable)
                budget = usage_budget(base, limit, drawing=self.drawing)
                if billed.usage > budget:
                    seconds = _affordable(base, pieces, budget)
                    continue
                stride = _stride(pieces, billable, billed.steady)
            answer = self._next(answer, stride, last)
        return seconds

    def _next(self, answer: int, stride: int, last: int) -> int:
        """Return the next answer worth a look: never past the last one of a rate, or of all."""
        until = next((begin - 1 for begin, _ in self.changes if begin > answer), last)
        return answer + max(1, min(stride, until - answer, last - answer))


def _after(rate: Rate, seconds: int, *, connect_fee: bool) -> Rate:
    free = min(rate.free_seconds + seconds, LONGEST_SECONDS)
    return evolve(rate, free_seconds=free, connect_fee=rate.connect_fee if connect_fee else 0)


def _stride(pieces: Sequence[Piece], billable: int, steady: int) -> int:
    """Return after how many seconds another answer is worth a look.

    In between, while fees are the same, no call has more usage than the greater of the two.
    """
    if any(step.increment != 1 for rate, _ in pieces for step in rate.steps):
        return steady
    # Second by second: what each second of delay adds is the same up to the next edge.
    edges = {0, billable, *(step.from_second for rate, _ in pieces for step in rate.steps)}
    ends = [end for _, end in pieces if end is not None]
    even = (end - max(edge for edge in edges if edge < end) for end in ends)
    return max(steady, min(even, default=SETUP_SECONDS))


def _bill(pieces: Sequence[Piece], billable: int) -> Billed:
    """Bill so many seconds by the rates in turn."""
    position = usage = 0
    steady = SETUP_SECONDS
    for rate, end in pieces:
        stop = billable if end is None else min(end, billable)
        if position < stop:
            position, cost, begun = rate.walk(position, stop)
            usage += cost
            if end is not None:
                steady = min(steady, end - begun)
        if position >= billable:
            break
    return Billed(position, usage, steady)


def _affordable(base: Rate, pieces: Sequence[Piece], budget: int) -> int:
    """Return the longest duration that a budget of usage, which does not last, pays for."""
    if budget < 0:
        return base.grace_seconds
    position = 0
    for rate, end in pieces:
        if end is not None and position >= end:
            continue
        reached, budget = rate.reach(position, end, budget)
        assert reached is not None  # noqa: S101  # it does not last
        position = reached
        if end is None or position < end:
            break
    return max(base.grace_seconds, base.free_seconds + position)
