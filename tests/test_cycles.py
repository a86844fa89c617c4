"""Periods tile time: no gap, no overlap, in every zone, over clock changes and leap days."""

from calendar import monthrange
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, strategies as st

from cardbill import BillingCycle, CycleUnit
from cardbill.cycles import COUNTED, LAST_DAY, Periods

TICK = timedelta(microseconds=1)
OFFSETS = [f"Etc/GMT{hours:+}" for hours in range(-14, 13)]
ZONES = [
    *OFFSETS,
    "America/New_York",
    "America/Sao_Paulo",  # midnights that do not exist
    "America/Havana",  # midnights that come twice
    "Europe/London",
    "Africa/Casablanca",
    "Asia/Kathmandu",
    "Pacific/Apia",  # skipped a day in 2011
    "Australia/Lord_Howe",
]
days = st.dates(date(1970, 1, 1), date(2370, 12, 31)) | st.sampled_from(
    [date(2000, 2, 29), date(2024, 2, 29), date(2023, 1, 31), date(2100, 2, 28), date(2011, 12, 30)]
)
units = st.sampled_from(COUNTED)
EARLY, LATE = datetime(1971, 1, 1), datetime(2370, 1, 1)  # noqa: DTZ001  # Hypothesis asks for these


def cycle(unit: CycleUnit, count: int, anchor: date, zone: str) -> Periods:
    periods = BillingCycle(unit=unit, count=count).periods(anchor, ZoneInfo(zone))
    assert periods is not None
    return periods


def naive_day(anchor: date, unit: CycleUnit, steps: int) -> date:
    """The day that many units after the anchor, by counting months on one's fingers."""
    if unit in (CycleUnit.DAYS, CycleUnit.WEEKS):
        return anchor + timedelta(days=steps * (7 if unit is CycleUnit.WEEKS else 1))
    year, month = anchor.year, anchor.month
    for _ in range(steps * (12 if unit is CycleUnit.YEARS else 1)):
        year, month = (year + 1, 1) if month == 12 else (year, month + 1)
    return date(year, month, min(anchor.day, monthrange(year, month)[1]))


@given(days, units, st.integers(1, 40), st.integers(0, 60))
@example(date(2024, 2, 29), CycleUnit.YEARS, 1, 4)
@example(date(2023, 1, 31), CycleUnit.MONTHS, 1, 1)
def test_a_period_begins_so_many_units_after_the_anchor(anchor, unit, count, number):
    assert cycle(unit, count, anchor, "UTC").day(number) == naive_day(anchor, unit, number * count)


@given(
    days,
    units,
    st.integers(1, 20),
    st.sampled_from(ZONES),
    st.datetimes(EARLY, LATE, timezones=st.just(UTC)),
)
def test_every_instant_lies_in_exactly_one_period(anchor, unit, count, zone, instant):
    periods = cycle(unit, count, anchor, zone)
    number = periods.at(instant)
    assert periods.begin(number) <= instant < periods.begin(number + 1)
    begin, end = periods.begin(number), periods.begin(number + 1)
    assert periods.at(begin) == periods.at(end - TICK) == number
    assert periods.at(begin - TICK) == number - 1 or periods.begin(number - 1) == begin
    assert periods.at(end) == number + 1 or periods.begin(number + 2) == end


@pytest.mark.parametrize("unit", COUNTED)
@pytest.mark.parametrize("zone", ZONES)
def test_periods_rise_over_400_years(unit, zone):
    for anchor in (date(1972, 2, 29), date(1971, 12, 31), date(1980, 4, 1)):
        finest = {CycleUnit.DAYS: 97, CycleUnit.WEEKS: 13}.get(unit, 1)
        count = finest if zone not in OFFSETS else 7 * finest
        periods = cycle(unit, count, anchor, zone)
        last = periods.at(datetime(2372, 1, 1, tzinfo=UTC))
        begins = [periods.begin(number) for number in range(last + 2)]
        assert all(earlier < later for earlier, later in pairwise(begins))
        assert begins[last] <= datetime(2372, 1, 1, tzinfo=UTC) < begins[last + 1]
        for number, begin in list(enumerate(begins))[:: max(1, last // 50)]:
            local = begin.astimezone(ZoneInfo(zone))
            assert local.date() == periods.day(number)
            assert (begin - TICK).astimezone(ZoneInfo(zone)).date() < periods.day(number)


def test_a_day_that_was_skipped_makes_an_empty_period():
    periods = cycle(CycleUnit.DAYS, 1, date(2011, 12, 29), "Pacific/Apia")
    assert periods.begin(1) == periods.begin(2)  # 30 December 2011 never was there
    assert periods.at(periods.begin(1)) == 2


@given(days, units, st.integers(1, 12), st.integers(-30, 30))
def test_an_anchor_lies_anywhere_among_its_periods(anchor, unit, count, number):
    periods = cycle(unit, count, anchor, "Europe/London")
    assert periods.day(0) == anchor
    assert periods.day(-1) < anchor < periods.day(1)
    begin = periods.begin(number) if periods.day(number).year > 1970 else periods.begin(1)
    assert periods.begin(periods.at(begin)) == begin


def test_a_calendar_anchor_goes_before_the_activation():
    weekly = BillingCycle(unit="weeks", anchor=date(2024, 1, 1))
    periods = weekly.periods(date(2024, 3, 7), ZoneInfo("UTC"))
    assert periods is not None
    assert periods.day(0) == date(2024, 1, 1)
    assert BillingCycle().periods(date(2024, 3, 7), ZoneInfo("UTC")) is None


def test_a_cycle_of_a_thousand_years_is_ordinary():
    periods = cycle(CycleUnit.YEARS, 1_000, date(2024, 2, 29), "UTC")
    assert periods.day(1) == date(3024, 2, 29)
    assert periods.at(datetime(3024, 2, 28, 23, 59, tzinfo=UTC)) == 0
    assert periods.day(8) == periods.day(9) == LAST_DAY  # where the calendar ends
