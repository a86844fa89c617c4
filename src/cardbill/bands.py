"""Time bands: the hours and days of the week, and the dates, at which other rates apply.

A band is written as people write opening hours: ``Mon-Fri 18:00-08:00``. Windows are
half-open and in local time of the deck's zone; a window of a date goes before those of the
week. So at every instant one band applies, or none. Source: domain.md section 3.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from itertools import pairwise
from typing import NamedTuple

from attrs import field, frozen

from cardbill.errors import InvalidInput
from cardbill.instants import EPOCH, zone
from cardbill.names import check_kind, check_name

NO_BAND = 0
"""The number of no band; the bands of a deck are numbered from 1."""
MOST_BANDS = 50
DAY_SECONDS = 86_400

_MIDNIGHT = 24 * 60
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_HOURS = re.compile(r"([01]\d|2[0-4]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_MOST_DATES = 400
_KEPT_DAYS = 4_000
_CALENDAR = range(-719_100, 2_932_800)
"""The days since 1970 on which every zone has a date: but for some months, the years 1 to 9999."""


class BandRating(Enum):
    """How a call is rated that lasts from one band into another."""

    AT_START = "at_start"
    """The band at the authorization rates the whole call (the default)."""
    SPLIT = "split"
    """Each increment is rated by the band in which it begins."""


def _windows(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list | tuple):
        raise InvalidInput("band windows", value, "must be text or a list of texts")
    return tuple(value)


@frozen
class Band:
    """A named set of hours, such as ``off-peak``.

    Attributes:
        name: 1 to 64 printable characters; the rows of a deck refer to it.
        windows: Each one is days, then hours: ``Mon-Fri 18:00-08:00``, ``Sat,Sun``,
            ``2026-12-25``, ``2026-12-24..2026-12-26 12:00-24:00``. Hours are half-open and
            run into the next day where they end before they begin; without hours, all day.

    Raises:
        InvalidInput: The name or a window cannot be used.
    """

    name: str
    windows: tuple[str, ...] = field(converter=_windows)

    def __attrs_post_init__(self) -> None:
        check_name("band name", self.name)
        if not self.windows:
            raise InvalidInput("band windows", None, f"band {self.name!r} has no window")
        for window in self.windows:
            list(_spans(window))


class _Span(NamedTuple):
    """Minutes of one day of the week (0 is Monday) or of one date."""

    day: int | date
    begin: int
    end: int


class Bands:
    """The bands of one deck in its time zone; which one applies when.

    Args:
        bands: In any number up to 50; none may overlap another.
        time_zone: The IANA zone that their hours are in.

    Raises:
        InvalidInput: Two bands overlap, or have one name; the zone is unknown.
    """

    def __init__(self, bands: Iterable[Band], time_zone: str) -> None:
        self.bands = _checked(bands)
        self.time_zone = time_zone
        self._zone = zone("time_zone", time_zone)
        self.numbers = {band.name: number for number, band in enumerate(self.bands, start=1)}
        if len(self.numbers) != len(self.bands):
            raise InvalidInput("bands", [band.name for band in self.bands], "have one name twice")
        if len(self.bands) > MOST_BANDS:
            raise InvalidInput("bands", len(self.bands), f"must be {MOST_BANDS} at most")
        # By day: (begin, end, number of the band), in order.
        self._spans: dict[int | date, list[tuple[int, int, int]]] = {}
        for number, band in enumerate(self.bands, start=1):
            for window in band.windows:
                for day, begin, end in _spans(window):
                    self._spans.setdefault(day, []).append((begin, end, number))
        for day, spans in self._spans.items():
            self._check(day, spans)
        self._days: dict[int, tuple[list[int], list[int]]] = {}

    def at(self, second: int) -> int:
        """Return the number of the band at that second since 1970 UTC; 0: none."""
        begins, numbers = self._day(second // DAY_SECONDS)
        return numbers[bisect_right(begins, second) - 1]

    def name_at(self, instant: datetime) -> str:
        """Return the name of the band at an aware instant; empty: none."""
        number = self.at((instant - EPOCH) // timedelta(seconds=1)) if self.bands else NO_BAND
        return self.bands[number - 1].name if number else ""

    def changes(self, begin: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield (second, number of the band) of each change after `begin`, before `end`."""
        current = self.at(begin)
        for day in range(begin // DAY_SECONDS, (end - 1) // DAY_SECONDS + 1):
            for second, number in zip(*self._day(day), strict=True):
                if begin < second < end and number != current:
                    current = number
                    yield second, number

    def _check(self, day: int | date, spans: list[tuple[int, int, int]]) -> None:
        spans.sort()
        for (_, end, one), (begin, _, other) in pairwise(spans):
            if begin < end:
                names = " and ".join(repr(self.bands[number - 1].name) for number in (one, other))
                when = day.isoformat() if isinstance(day, date) else _DAYS[day].capitalize()
                problem = f"{names} overlap on {when} at {begin // 60:02}:{begin % 60:02}"
                raise InvalidInput("bands", None, problem)

    def _day(self, day: int) -> tuple[list[int], list[int]]:
        """Return when a band begins within a UTC day, from its first second, and which."""
        known = self._days.get(day)
        if known is None:
            if len(self._days) >= _KEPT_DAYS:
                self._days = {}
            known = self._days[day] = self._read_day(day)
        return known

    def _read_day(self, day: int) -> tuple[list[int], list[int]]:
        first = day * DAY_SECONDS
        if day not in _CALENDAR:
            return [first], [NO_BAND]
        begins, numbers = [first], [self._number(first)]
        for second in sorted(self._candidates(first, first + DAY_SECONDS)):
            number = self._number(second)
            if number != numbers[-1]:
                begins.append(second)
                numbers.append(number)
        return begins, numbers

    def _candidates(self, first: int, end: int) -> set[int]:
        """Return every second within `first`..`end` at which the band may change."""
        found = set()
        if self._offset(first) != self._offset(end):
            found.add(self._transition(first, end))
        local = self._local(first).date()
        while local <= self._local(end).date():
            midnight = datetime(local.year, local.month, local.day)  # noqa: DTZ001  # by the clock
            spans = [*self._spans.get(local, ()), *self._spans.get(local.weekday(), ())]
            for edge in {0, *(minute for span in spans for minute in span[:2])}:
                wall = (midnight + timedelta(minutes=edge)).replace(tzinfo=self._zone)
                for fold in (0, 1):  # a wall time may come twice, or not at all
                    instant = wall.replace(fold=fold).astimezone(UTC)
                    found.add((instant - EPOCH) // timedelta(seconds=1))
            local += timedelta(days=1)
        return {second for second in found if first < second < end}

    def _transition(self, first: int, end: int) -> int:
        """Return the first second with the offset that `end` has."""
        offset = self._offset(end)
        low, high = first, end
        while high - low > 1:
            middle = (low + high) // 2
            if self._offset(middle) == offset:
                high = middle
            else:
                low = middle
        return high

    def _number(self, second: int) -> int:
        local = self._local(second)
        minute = local.hour * 60 + local.minute
        for day in (local.date(), local.weekday()):
            for begin, end, number in self._spans.get(day, ()):
                if begin <= minute < end:
                    return number
        return NO_BAND

    def _local(self, second: int) -> datetime:
        return (EPOCH + timedelta(seconds=second)).astimezone(self._zone)

    def _offset(self, second: int) -> timedelta | None:
        return self._local(second).utcoffset()


def _checked(bands: object) -> tuple[Band, ...]:
    told = tuple(bands) if isinstance(bands, Iterable) else (bands,)
    for band in told:
        check_kind("bands", band, Band)
    return told


def _spans(window: object) -> Iterator[_Span]:
    """Yield the minutes of each day that a window covers.

    Raises:
        InvalidInput: It is none.
    """
    if not isinstance(window, str):
        raise InvalidInput("band window", window, "must be text like Mon-Fri 18:00-08:00")
    days, _, hours = window.strip().partition(" ")
    begin, end = _hours(window, hours.strip())
    for day in _days(window, days):
        if begin < end:
            yield _Span(day, begin, end)
        else:
            yield _Span(day, begin, _MIDNIGHT)
            if end:
                yield _Span(_next(day), 0, end)


def _hours(window: str, text: str) -> tuple[int, int]:
    if not text:
        return 0, _MIDNIGHT
    if found := _HOURS.fullmatch(text):
        first, first_minute, last, last_minute = map(int, found.groups())
        begin, end = first * 60 + first_minute, last * 60 + last_minute
        if begin < _MIDNIGHT and end <= _MIDNIGHT and begin != end:
            return begin, end
    raise InvalidInput("band window", window, "must have hours like 18:00-08:00, up to 24:00")


def _days(window: str, text: str) -> Iterator[int | date]:
    if text[:1].isdigit():
        yield from _dates(window, text)
        return
    for part in text.lower().split(","):
        first, dash, last = part.partition("-")
        if not dash:
            last = first
        if first not in _DAYS or last not in _DAYS:
            raise InvalidInput("band window", window, "must begin with days like Mon-Fri or a date")
        begin, end = _DAYS.index(first), _DAYS.index(last)
        yield from (day % 7 for day in range(begin, (end if begin <= end else end + 7) + 1))


def _dates(window: str, text: str) -> Iterator[date]:
    first, dots, last = text.partition("..")
    if not dots:
        last = first
    try:
        if not _DATE.fullmatch(first) or not _DATE.fullmatch(last):
            raise ValueError(text)
        begin, end = date.fromisoformat(first), date.fromisoformat(last)
    except ValueError:
        raise InvalidInput("band window", window, "must have dates like 2026-12-25") from None
    if not 1970 <= begin.year <= 9990 or not 0 <= (end - begin).days < _MOST_DATES:
        problem = f"must have at most {_MOST_DATES} dates that rise, from 1970 on"
        raise InvalidInput("band window", window, problem)
    for offset in range((end - begin).days + 1):
        yield begin + timedelta(days=offset)


def _next(day: int | date) -> int | date:
    return day + timedelta(days=1) if isinstance(day, date) else (day + 1) % 7
