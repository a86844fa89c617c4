"""Billing cycles and periods: where in local time each one begins.

The k-th period of a cycle begins at local midnight of its anchor and k times its length,
reckoned from the anchor each time: 31 January and a month is 28 or 29 February, and two
months are 31 March. A period ends where the next one begins, so that periods tile time
without gap or overlap, over clock changes and leap days too. Source: domain.md section 5.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING

from attrs import field, frozen

from cardbill.instants import local_midnight
from cardbill.names import check_choice, check_count, check_date

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

LAST_DAY = date(9990, 12, 31)
"""Where the calendar ends: no period begins later."""

_LONGEST = {"days": 365_250, "weeks": 52_178, "months": 12_000, "years": 1_000}


class CycleUnit(Enum):
    """What a billing cycle is counted in."""

    DAYS = "days"
    WEEKS = "weeks"
    MONTHS = "months"
    YEARS = "years"
    NEVER = "never"
    """No cycle at all: a prepaid card needs no invoice."""
    ON_DEMAND = "on_demand"
    """Opened and closed by hand, as a call shop does; not for cards."""


COUNTED = (CycleUnit.DAYS, CycleUnit.WEEKS, CycleUnit.MONTHS, CycleUnit.YEARS)
"""The units that make periods."""


def _unit(value: CycleUnit | str) -> CycleUnit:
    return check_choice("billing_cycle unit", value, CycleUnit)


@frozen(kw_only=True)
class BillingCycle:
    """How long a billing period lasts and where it is anchored.

    Attributes:
        unit: ``days``, ``weeks``, ``months``, ``years``, ``never`` or ``on_demand``.
        count: How many units; up to 1,000 years.
        anchor: A calendar date that one period begins on; ``None``: the activation.
    """

    unit: CycleUnit = field(default=CycleUnit.NEVER, converter=_unit)
    count: int = 1
    anchor: date | None = None

    def __attrs_post_init__(self) -> None:
        check_count("billing_cycle count", self.count, 1, _LONGEST.get(self.unit.value, 1))
        if self.anchor is not None:
            check_date("billing_cycle anchor", self.anchor)

    def periods(self, activated: date, zone: ZoneInfo) -> Periods | None:
        """Return the periods of something activated on that local day; ``None``: none.

        Args:
            activated: The local date of the first use.
            zone: The time zone of the batch.
        """
        if self.unit not in COUNTED:
            return None
        return Periods(self.anchor or activated, self.unit, self.count, zone)


@frozen
class Periods:
    """The periods of one cycle, numbered from 0, which begins at the anchor.

    Attributes:
        anchor: The local date on which period 0 begins; earlier ones have negative numbers.
        unit, count: How long each lasts.
        zone: In whose midnights they begin.
    """

    anchor: date
    unit: CycleUnit
    count: int
    zone: ZoneInfo

    def day(self, number: int) -> date:
        """Return the local date on which a period begins; beyond the calendar, its last."""
        steps = number * self.count
        try:
            if self.unit is CycleUnit.DAYS:
                day = self.anchor + timedelta(days=steps)
            elif self.unit is CycleUnit.WEEKS:
                day = self.anchor + timedelta(weeks=steps)
            else:
                months = steps * (12 if self.unit is CycleUnit.YEARS else 1)
                day = _months_later(self.anchor, months)
        except (OverflowError, ValueError):
            return LAST_DAY if steps > 0 else date.min
        return min(day, LAST_DAY)

    def begin(self, number: int) -> datetime:
        """Return the UTC instant at which a period begins: where the one before it ends."""
        return local_midnight(self.day(number), self.zone)

    def at(self, instant: datetime) -> int:
        """Return the number of the period that an instant lies in."""
        day = instant.astimezone(self.zone).date()
        if self.unit in (CycleUnit.DAYS, CycleUnit.WEEKS):
            length = self.count * (7 if self.unit is CycleUnit.WEEKS else 1)
            number = (day - self.anchor).days // length
        else:
            length = self.count * (12 if self.unit is CycleUnit.YEARS else 1)
            months = (day.year - self.anchor.year) * 12 + day.month - self.anchor.month
            number = months // length
        # The estimate is off by one at most: where months are shorter than the anchor's day,
        # or where a local day does not begin with its date.
        while self.begin(number) > instant:
            number -= 1
        while self.begin(number + 1) <= instant:
            number += 1
        return number


def _months_later(day: date, months: int) -> date:
    """Return the same day of a later month, or that month's last."""
    from dateutil.relativedelta import relativedelta

    return day + relativedelta(months=months)
