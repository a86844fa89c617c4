"""Limits of use: how many calls a card may begin, and what they may cost, within some hours.

Haste is how stolen and resold cards show. What counts is what happened within the last
hours, whichever hour of the clock it is. It is kept in 60 slots a limit: so what happened counts
for up to a sixtieth of the window longer, never shorter, and no window of that length holds more
than was granted within the limit. What no grant could foresee is taken all the same, and counts
from then on: a call that is reported after its hold was released, or that was never granted.

A card that moves to another plan takes along what its calls did as far as it was kept, which
is as far back as the old plan's longest window goes. Source: domain.md section 4, fraud limits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from attrs import field, frozen

from cardbill import money
from cardbill.errors import InvalidInput, MissingFields
from cardbill.instants import from_micros, to_micros
from cardbill.names import check_count, check_kind

if TYPE_CHECKING:
    from moneyed import Money

MOST_LIMITS = 5
"""The most limits of use that one plan may have."""

LONGEST_HOURS = 31 * 24

_SLOTS = 60
_SLOT_MICROS = 3_600_000_000 // _SLOTS  # of a window of one hour

Slot = tuple[int, int, int]
"""What happened within a slot: its number since 1970, calls begun, ledger units charged."""


@frozen(kw_only=True)
class UsageLimit:
    """The most that one card may do within so many hours.

    Attributes:
        hours: The length of the window that ends now: 1 to 744.
        calls: How many calls may be granted within it; cancelled ones count; ``None``: any.
        spend: What calls may take from the card within it, taxes included, what is held for
            open ones included; a call is cut short by it; ``None``: any amount. A report that
            comes after its hold was released, and a call that was never granted, may pass it.

    Raises:
        MissingFields: Neither calls nor spend is limited.
        InvalidInput: A field has a value that cannot be used; it is named.
    """

    hours: int = 1
    calls: int | None = None
    spend: Money | None = field(default=None)

    def __attrs_post_init__(self) -> None:
        check_count("hours", self.hours, 1, LONGEST_HOURS)
        if self.calls is None and self.spend is None:
            raise MissingFields("usage limit", ["calls or spend"])
        if self.calls is not None:
            check_count("calls", self.calls, 1, 1_000_000)

    def spend_units(self, currency: str) -> int | None:
        """What calls may take, in ledger units; ``None``: any amount.

        Raises:
            InvalidInput: It is no amount of that currency, or none at all.
        """
        if self.spend is None:
            return None
        return check_count("spend", money.units("spend", self.spend, currency), 1, money.MAX_UNITS)

    def past(self, slots: Iterable[Slot], at: datetime) -> list[Slot]:
        """Return what of these slots is within the window that ends at `at`."""
        oldest = slot_of(self.hours, at) - _SLOTS
        return [slot for slot in slots if slot[0] >= oldest]


def check_limits(limits: Sequence[UsageLimit], currency: str) -> None:
    """Check a plan's limits of use.

    Raises:
        InvalidInput: There are too many; two are of the same window; one is no limit.
        WrongCurrency: One is in another currency.
    """
    check_count("usage_limits", len(limits), 0, MOST_LIMITS)
    for limit in limits:
        check_kind("usage_limits", limit, UsageLimit).spend_units(currency)
    hours = [limit.hours for limit in limits]
    for each in hours:
        if hours.count(each) > 1:
            raise InvalidInput("usage_limits", each, "two limits are of so many hours: make one")


def slot_of(hours: int, at: datetime) -> int:
    """Return the number of the slot that an instant lies in, for windows of so many hours."""
    return to_micros(at) // (_SLOT_MICROS * hours)


def noted(slots: list[Slot], hours: int, at: datetime, calls: int, units: int) -> list[Slot]:
    """Return slots with so much more in that of `at`; those long past are left out.

    An instant before the newest slot counts as being in that.
    """
    number = slot_of(hours, at)
    if slots and slots[-1][0] >= number:
        *before, (number, more_calls, more_units) = slots
        calls, units = calls + more_calls, units + more_units
    else:
        before = slots
    return [*(slot for slot in before if slot[0] >= number - _SLOTS), (number, calls, units)]


def carried(
    kept: Mapping[int, list[Slot]], wanted: Sequence[int], at: datetime
) -> dict[int, list[Slot]]:
    """Return what was kept for some windows as it counts for others.

    A window that is new begins with what the shortest one that is no shorter has kept, or the
    longest there is. What lies within a slot counts as of its end, so that it counts no
    shorter than it should.

    Args:
        kept: Slots by the hours of their windows.
        wanted: The hours of the windows that are needed.
        at: The instant.
    """
    return {hours: kept[hours] if hours in kept else _begun(kept, hours, at) for hours in wanted}


def _begun(kept: Mapping[int, list[Slot]], hours: int, at: datetime) -> list[Slot]:
    if not kept:
        return []
    longer = [each for each in kept if each >= hours]
    source = min(longer) if longer else max(kept)
    slots: list[Slot] = []
    for number, calls, units in kept[source]:
        end = from_micros((number + 1) * _SLOT_MICROS * source - 1)
        slots = noted(slots, hours, min(end, at), calls, units)
    return slots
