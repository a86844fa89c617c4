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

from collections.abc import Sequence
from datetime import datetime, timedelta

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
        return Tariff(
            _after(self.rate, seconds, connect_fee=connect_fee),
            tuple(
                (at, _after(rate, seconds, connect_fee=connect_fee)) for at, rate in self.changes
            ),
            drawing=True,
        )

    # -- one answer -----------------------------------------------------------------------

    def price(self, seconds: int, answered_at: datetime) -> int:
        """Return the rated price of a call answered at that instant, in ledger units.

        Raises:
            InvalidInput: As for :func:`cardbill.rating.price`.
        """
        if self._plain:
            return rating.price(self.rate, seconds)
        check_count("seconds", seconds, 0, LONGEST_SECONDS)
        return self._price(seconds, second_of(answered_at))

    def billed_seconds(self, seconds: int, answered_at: datetime) -> int:
        """Return for how many seconds usage is billed.

        Raises:
            InvalidInput: As for :func:`cardbill.rating.price`.
        """
        if not self.changes:
            return rating.billed_seconds(self.rate, seconds)
        check_count("seconds", seconds, 0, LONGEST_SECONDS)
        base, pieces = self._from(second_of(answered_at))
        if seconds <= base.grace_seconds:
            return 0
        return _walk(pieces, seconds - base.free_seconds)[0]

    def rate_at(self, answered_at: datetime) -> Rate:
        """Return the rate whose fees, grace and free seconds apply to that answer."""
        return self._at(second_of(answered_at)) if self.changes else self.rate

    def pieces(self, answered_at: datetime) -> tuple[Rate, list[Piece]]:
        """Return the rate whose fees apply, and the rates of the increments in turn."""
        return self._from(second_of(answered_at))

    # -- any answer -----------------------------------------------------------------------

    def highest(self, seconds: int, granted_at: datetime) -> int:
        """Return the most that a call of that length can cost, whenever it is answered."""
        if self._plain:
            return rating.price(self.rate, seconds)
        first = second_of(granted_at)
        last = first if self._alike(first, seconds) else first + SETUP_SECONDS
        return max(self._price(seconds, answer) for answer in range(first, last + 1))

    def longest(self, available: int, cap: int | None, granted_at: datetime) -> Limit:
        """Return the longest call that `available` pays for, whenever it is answered.

        The exact inverse of :meth:`highest`, see :func:`cardbill.rating.max_duration`; where
        the rate changes, no call is longer than :data:`LONGEST_SPLIT_SECONDS`.
        """
        if self._plain:
            return rating.max_duration(self.rate, available, cap)
        most = LONGEST_SECONDS
        if self.changes:
            most = LONGEST_SPLIT_SECONDS
            cap = most if cap is None else min(cap, most)
        first = second_of(granted_at)
        affordable = ends_after = None
        for answer in range(first, first + SETUP_SECONDS + 1):
            if answer > first and self._alike(first, _least(affordable, cap)):
                break
            base = self._at(answer)
            if base.beyond_maximum is Beyond.DISCONNECT and base.maximum_charge is not None:
                ends_after = _least(ends_after, self._affordable(answer, base.maximum_charge))
            if base.maximum_charge is not None and base.maximum_charge <= available:
                continue
            if affordable is None or self._price(affordable, answer) > available:
                affordable = _least(affordable, self._affordable(answer, available))
        return limited(affordable, most, cap, ends_after)

    def unbilled_seconds(self, granted_at: datetime) -> int:
        """Return how long a call is that nobody pays for, whenever it is answered."""
        return min(rate.unbilled_seconds for rate in self._answering(granted_at))

    def grace_seconds(self, granted_at: datetime) -> int:
        """Return the grace that a call has, whenever it is answered."""
        return min(rate.grace_seconds for rate in self._answering(granted_at))

    def free_seconds(self, granted_at: datetime) -> int:
        """Return the free seconds that a call has, whenever it is answered."""
        return min(rate.free_seconds for rate in self._answering(granted_at))

    # -- inside ---------------------------------------------------------------------------

    @property
    def _plain(self) -> bool:
        return not self.changes and not self.drawing

    def _price(self, seconds: int, answer: int) -> int:
        base, pieces = self._from(answer)
        if seconds == 0 or seconds <= base.grace_seconds:
            return 0
        usage = _walk(pieces, seconds - base.free_seconds)[1]
        return charge(base, usage, drawing=self.drawing)

    def _affordable(self, answer: int, available: int) -> int | None:
        """Return the longest duration whose price, but for the maximum, fits; ``None``: every."""
        base, pieces = self._from(answer)
        budget = usage_budget(base, available, drawing=self.drawing)
        if budget < 0:
            return base.grace_seconds
        position = 0
        for rate, end in pieces:
            if end is not None and position >= end:
                continue
            reached, budget = rate.reach(position, end, budget)
            if reached is None:
                return None
            position = reached
            if end is not None and position < end:
                break
        return max(base.grace_seconds, base.free_seconds + position)

    def _from(self, answer: int) -> tuple[Rate, list[Piece]]:
        base = self._at(answer)
        zero = answer + base.free_seconds
        rates = [self._at(zero)]
        begins = []
        for second, rate in self.changes:
            if second > zero:
                begins.append(second - zero)
                rates.append(rate)
        return base, list(zip(rates, [*begins, None], strict=True))

    def _answering(self, granted_at: datetime) -> list[Rate]:
        """Return the rates in force when the call may be answered."""
        if not self.changes:
            return [self.rate]
        last = second_of(granted_at) + SETUP_SECONDS
        return [self.rate, *(rate for second, rate in self.changes if second <= last)]

    def _at(self, second: int) -> Rate:
        found = self.rate
        for begin, rate in self.changes:
            if begin > second:
                break
            found = rate
        return found

    def _alike(self, first: int, seconds: int | None) -> bool:
        """Say whether calls of that length cost the same, whenever they are answered."""
        if not self.changes or seconds is None:
            return not self.changes
        return self.changes[0][0] > first + SETUP_SECONDS + self.rate.free_seconds + seconds


def _walk(pieces: Sequence[Piece], billable: int) -> tuple[int, int]:
    """Return billed time and usage (in 1/60 ledger unit) of that many seconds."""
    position = usage = 0
    for rate, end in pieces:
        stop = billable if end is None else min(end, billable)
        if position < stop:
            position, cost = rate.walk(position, stop)
            usage += cost
        if position >= billable:
            break
    return position, usage


def _after(rate: Rate, seconds: int, *, connect_fee: bool) -> Rate:
    free = min(rate.free_seconds + seconds, LONGEST_SECONDS)
    return evolve(rate, free_seconds=free, connect_fee=rate.connect_fee if connect_fee else 0)


def _least(one: int | None, other: int | None) -> int | None:
    return min((each for each in (one, other) if each is not None), default=None)
