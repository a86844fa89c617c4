"""Instants keep every microsecond, and a local day begins and ends where its clocks say."""

from datetime import UTC, date, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, strategies as st

from cardbill.errors import InvalidInput
from cardbill.instants import aware, end_of_day, from_micros, local_midnight, to_micros, zone

TICK = timedelta(microseconds=1)
LOWEST, HIGHEST = -62_135_596_800_000_000, 253_402_300_799_999_999

# Zones whose clocks changed at or around midnight, skipped a day, or lie at either end.
ZONES = [
    "UTC",
    "America/Sao_Paulo",
    "America/Havana",
    "America/Asuncion",
    "America/Scoresbysund",
    "Africa/Cairo",
    "Africa/Monrovia",
    "Antarctica/Troll",
    "Asia/Beirut",
    "Asia/Gaza",
    "Asia/Kathmandu",
    "Asia/Pyongyang",
    "Asia/Tehran",
    "Australia/Lord_Howe",
    "Etc/GMT+12",
    "Etc/GMT-14",
    "Europe/London",
    "Pacific/Apia",
    "Pacific/Kwajalein",
]


# -- microseconds ---------------------------------------------------------------------------


@given(st.integers(LOWEST, HIGHEST))
@example(LOWEST)
@example(HIGHEST)
@example(-1)
@example(2**53 + 1)
def test_microseconds_become_instants_and_back_exactly(micros: int):
    instant = from_micros(micros)
    assert instant.tzinfo is UTC
    assert to_micros(instant) == micros


@given(st.datetimes(timezones=st.timezones()))
def test_an_instant_in_any_zone_counts_as_the_same_in_utc(instant: datetime):
    try:
        utc = instant.astimezone(UTC)
    except OverflowError:
        return
    assert to_micros(instant) == to_micros(utc)
    assert from_micros(to_micros(instant)) == utc
    assert aware("at", instant) == utc
    assert aware("at", instant).tzinfo is UTC


def test_neighbouring_microseconds_are_told_apart_far_from_1970():
    last = datetime.max.replace(tzinfo=UTC)
    assert to_micros(last) - to_micros(last - TICK) == 1
    assert to_micros(datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC)) == -1


# -- what an instant is ---------------------------------------------------------------------


class Nowhere(tzinfo):
    """A zone that does not say how far it is from UTC."""

    def utcoffset(self, _when: datetime | None) -> timedelta | None:
        return None

    dst = utcoffset

    def tzname(self, _when: datetime | None) -> str:
        return "nowhere"


@pytest.mark.parametrize(
    "value",
    [
        datetime(2024, 6, 1),  # noqa: DTZ001
        datetime(2024, 6, 1, tzinfo=Nowhere()),
        date(2024, 6, 1),
        "2024-06-01T00:00:00Z",
        1_717_200_000,
        1_717_200_000.5,
        None,
    ],
)
def test_what_is_no_instant_is_refused_by_name(value: object):
    with pytest.raises(InvalidInput) as caught:
        aware("settled_at", value)
    assert caught.value.field == "settled_at"


@pytest.mark.parametrize(
    "text", ["9999-12-31T23:59:59-05:00", "9999-12-31T12:00:00-12:00", "0001-01-01T08:59:59+09:00"]
)
def test_an_instant_past_the_calendar_in_utc_is_refused_by_name(text: str):
    with pytest.raises(InvalidInput) as caught:
        aware("at", datetime.fromisoformat(text))
    assert caught.value.field == "at"


# -- zones ----------------------------------------------------------------------------------


def test_a_zone_is_found_by_name():
    assert zone("time_zone", "Asia/Kathmandu").key == "Asia/Kathmandu"


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "America",
        "America/",
        "Mars/Olympus",
        "UTC+1",
        "+02:00",
        "../UTC",
        "/etc/localtime",
        "America/../UTC",
        "UTC\0",
        "UTC\n",
        "Ünïcode",
        "x" * 5_000,
        "\ud800",
        None,
        5,
        b"UTC",
    ],
)
def test_an_unknown_zone_is_refused_by_name(name: str):
    with pytest.raises(InvalidInput) as caught:
        zone("time_zone", name)
    assert caught.value.field == "time_zone"


# -- local days -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "day", "begins", "ends"),
    [
        ("UTC", "2024-02-29", "2024-02-29T00:00", "2024-03-01T00:00"),
        ("Asia/Kathmandu", "2024-02-29", "2024-02-28T18:15", "2024-02-29T18:15"),
        ("Asia/Kathmandu", "1986-01-01", "1985-12-31T18:30", "1986-01-01T18:15"),  # from 00:15
        ("America/Sao_Paulo", "2018-11-04", "2018-11-04T03:00", "2018-11-05T02:00"),  # from 01:00
        ("America/Sao_Paulo", "2018-02-17", "2018-02-17T02:00", "2018-02-18T03:00"),  # 25 hours
        ("America/Havana", "2024-11-03", "2024-11-03T04:00", "2024-11-04T05:00"),  # 00:00 twice
        ("Pacific/Apia", "2011-12-29", "2011-12-29T10:00", "2011-12-30T10:00"),
        ("Pacific/Apia", "2011-12-30", "2011-12-30T10:00", "2011-12-30T10:00"),  # no such day
        ("Pacific/Apia", "2011-12-31", "2011-12-30T10:00", "2011-12-31T10:00"),
        ("Africa/Monrovia", "1972-01-07", "1972-01-07T00:44:30", "1972-01-08T00:00"),
        ("Etc/GMT+12", "2024-01-01", "2024-01-01T12:00", "2024-01-02T12:00"),  # 12 hours behind
        ("Pacific/Kiritimati", "2024-01-01", "2023-12-31T10:00", "2024-01-01T10:00"),
        ("Europe/London", "2024-03-31", "2024-03-31T00:00", "2024-03-31T23:00"),
        ("Europe/London", "2024-10-27", "2024-10-26T23:00", "2024-10-28T00:00"),
    ],
)
def test_a_day_begins_and_ends_with_its_own_clock(name: str, day: str, begins: str, ends: str):
    tz = ZoneInfo(name)
    told = local_midnight(date.fromisoformat(day), tz), end_of_day(date.fromisoformat(day), tz)
    assert told == tuple(datetime.fromisoformat(text + "+00:00") for text in (begins, ends))
    assert {instant.tzinfo for instant in told} == {UTC}


@pytest.mark.parametrize("name", ZONES)
def test_days_follow_each_other_and_hold_the_instants_that_read_so(name: str):
    tz = ZoneInfo(name)
    for day in around_changes(tz):
        begins, ends = local_midnight(day, tz), end_of_day(day, tz)
        assert begins <= ends == local_midnight(day + timedelta(days=1), tz)
        assert (begins - TICK).astimezone(tz).date() < day
        if begins < ends:
            assert begins.astimezone(tz).date() == day
            assert (ends - TICK).astimezone(tz).date() == day


def around_changes(tz: ZoneInfo) -> list[date]:
    """The days before, of and after each change of the clocks from 1971 to 2037."""
    noons = [datetime(1971, 1, 1, 12, tzinfo=tz) + timedelta(days=days) for days in range(24_472)]
    offsets = [noon.utcoffset() for noon in noons]
    changed = [n for n in range(3, len(noons) - 3) if offsets[n] != offsets[n - 1]]
    return [noons[n + shift].date() for n in [3, *changed] for shift in (-2, -1, 0, 1, 2)]


def test_a_day_ends_at_its_last_midnight_where_clocks_go_back_over_midnight():
    # Newfoundland put its clocks back at 00:01, to 23:01 of the day before, until 2011.
    tz = ZoneInfo("America/St_Johns")
    late = datetime(2010, 11, 6, 23, 30, fold=1, tzinfo=tz)
    assert end_of_day(late.date(), tz) > late.astimezone(UTC)
