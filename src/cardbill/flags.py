"""What an operator stops at once: a whole batch, or a range of its serial numbers.

Terms are pinned when a card is used, flags never are: they are read with every step, so
that a stolen box of cards stops working with one small change and not a million.
Source: domain.md section 2.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import field, frozen

from cardbill.errors import InvalidInput
from cardbill.names import check_count

LARGEST_SERIAL = 2**62
MOST_RANGES = 10_000


def _ranges(ranges: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    return tuple((first, last) for first, last in ranges)


@frozen(kw_only=True)
class BatchFlags:
    """What of a batch is stopped.

    Attributes:
        blocked: The whole batch.
        frozen: Serial numbers, as rising ranges (first, last) that do not touch.
    """

    blocked: bool = False
    frozen: tuple[tuple[int, int], ...] = field(default=(), converter=_ranges)

    def stops(self, serial: int) -> str:
        """Return why the card of that serial number is stopped; empty: it is not."""
        if self.blocked:
            return "its batch is blocked"
        for first, last in self.frozen:
            if first <= serial <= last:
                return f"serials {first} to {last} are frozen"
        return ""

    def freeze(self, first: int, last: int) -> BatchFlags:
        """Return the flags with a range of serial numbers frozen as well.

        Raises:
            InvalidInput: The range is none, or there are more than 10,000 of them.
        """
        check_range(first, last)
        return BatchFlags(blocked=self.blocked, frozen=_joined([*self.frozen, (first, last)]))

    def thaw(self, first: int, last: int) -> BatchFlags:
        """Return the flags with a range of serial numbers working again.

        Raises:
            InvalidInput: The range is none, or more than 10,000 would be left.
        """
        check_range(first, last)
        left = [
            part
            for low, high in self.frozen
            for part in ((low, min(high, first - 1)), (max(low, last + 1), high))
            if part[0] <= part[1]
        ]
        return BatchFlags(blocked=self.blocked, frozen=_joined(left))


def check_range(first: object, last: object) -> None:
    """Check a range of serial numbers.

    Raises:
        InvalidInput: Not whole numbers from 1, or the last is below the first.
    """
    low = check_count("first", first, 1, LARGEST_SERIAL)
    if check_count("last", last, 1, LARGEST_SERIAL) < low:
        raise InvalidInput("last", last, f"must not be below the first, {low}")


def _joined(ranges: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Return ranges in order, those that overlap or touch made one."""
    joined: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = joined[-1][0], max(joined[-1][1], last)
        else:
            joined.append((first, last))
    if len(joined) > MOST_RANGES:
        raise InvalidInput("frozen", len(joined), f"at most {MOST_RANGES:,} ranges of serials")
    return tuple(joined)
