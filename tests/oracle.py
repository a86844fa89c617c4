"""What a call costs, walked second by second and increment by increment in exact fractions.

Written from the rules of the domain alone ("the price of a call"), as slow and as literal as they
read, and sharing no line with the library: the tests compare the library with it.

Instants are whole seconds since 1970 UTC. A rate of one call may differ from second to second:
`rate_at` gives the terms in force at an instant.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from fractions import Fraction
from itertools import islice
from typing import NamedTuple
from zoneinfo import ZoneInfo

SETUP = 180
"""Seconds after the grant within which a call is expected to be answered."""
DAY = 86_400


class Step(NamedTuple):
    from_second: int
    price_per_minute: Fraction
    increment: int


class Terms(NamedTuple):
    """A rate; amounts are fractions of whatever money is counted in."""

    steps: tuple[Step, ...]
    connect: Fraction = Fraction(0)
    grace: int = 0
    free: int = 0
    minimum: Fraction = Fraction(0)
    end_fee: Fraction = Fraction(0)
    surcharge: Fraction = Fraction(0)
    """A share: 10 % is 1/10."""
    unit: Fraction = Fraction(1)
    mode: str = "up"
    maximum: Fraction | None = None
    beyond: str = "free"
    blocks: str = "step"


class Price(NamedTuple):
    amount: int
    """Whole, as the rounding unit is."""
    billed: int
    within: bool = True
    """Whether the maximum charge has not been passed."""


RateAt = Callable[[int], Terms]


# -- one call ------------------------------------------------------------------------------------


def rounded(amount: Fraction, unit: Fraction, mode: str) -> Fraction:
    """Round an amount of at least 0 to a multiple of `unit`."""
    multiples = amount / unit
    if mode == "up":
        whole = math.ceil(multiples)
    elif mode == "down":
        whole = math.floor(multiples)
    elif mode == "half_up":
        whole = math.floor(multiples + Fraction(1, 2))
    elif mode == "half_even":
        whole = round(multiples)  # what Python's round does with the tie of a Fraction
    else:
        raise ValueError(mode)
    return whole * unit


def step_at(terms: Terms, position: int) -> Step:
    """Return the step in force where billed time has come to `position`."""
    return [step for step in terms.steps if step.from_second <= position][-1]


def end_of_increment(terms: Terms, position: int) -> int:
    """Return where the increment that begins at `position` ends."""
    length = step_at(terms, position).increment
    if terms.blocks == "step":
        return position + length
    end = position + 1  # total: at the next multiple, counted from the beginning
    while end % length:
        end += 1
    return end


def charged(terms: Terms, usage: Fraction, billed: int) -> Price:
    """Return the price of a call longer than grace with that usage."""
    exact = (terms.connect + usage) * (1 + terms.surcharge) + terms.end_fee
    amount = rounded(max(terms.minimum, exact), terms.unit, terms.mode)
    within = terms.maximum is None or amount <= terms.maximum
    if terms.maximum is not None:
        amount = min(amount, terms.maximum)
    assert amount == int(amount)
    return Price(int(amount), billed, within)


def walk(answered: int, rate_at: RateAt) -> Iterator[Price]:
    """Yield the price of a call of 0, 1, 2, ... seconds, answered at that instant, without end.

    Each second of talk either falls into the increment that was begun last, or begins one.
    Position 0 lies at the answer and the free seconds; what is said once of a call is said by
    the rate of the answer.
    """
    own = rate_at(answered)
    talked = billed = 0
    usage = Fraction(0)
    now = charged(own, usage, billed)
    while True:
        if talked > own.free and talked - own.free > billed:
            here = rate_at(answered + own.free + billed)
            end = end_of_increment(here, billed)
            usage += (end - billed) * step_at(here, billed).price_per_minute / 60
            billed = end
            now = charged(own, usage, billed)
        if talked <= own.grace:  # also d = 0: nothing, whatever the fees
            yield Price(0, 0)
        else:
            yield now
        talked += 1


def prices(terms: Terms) -> Iterator[Price]:
    """Yield the price of a call of 0, 1, 2, ... seconds that one rate prices."""
    return walk(0, lambda _: terms)


def price(terms: Terms, seconds: int) -> Price:
    """Return the price of one call."""
    return next(islice(prices(terms), seconds, None))


def lasting(own: Terms, found: Sequence[Price]) -> int:
    """Return the last second of these prices that the maximum charge lets a call come to."""
    if own.beyond == "free":
        return len(found) - 1
    return max(d for d, at in enumerate(found) if at.within)


def longest(terms: Terms, available: int, cap: int) -> int:
    """Return the largest d of 0 to `cap` whose price fits, by trying every one of them."""
    found = list(islice(prices(terms), cap + 1))
    allowed = lasting(terms, found)
    return max(d for d, at in enumerate(found) if at.amount <= available and d <= allowed)


class Ahead(NamedTuple):
    """What a grant must reckon with, for each second of the call."""

    highest: list[int]
    """The greatest price over the answers within the set-up time."""
    lasting: int
    """The last second that the maximum charge lets a call come to, whenever it is answered."""

    def longest(self, available: int) -> int:
        return max(
            d for d, most in enumerate(self.highest) if most <= available and d <= self.lasting
        )


def ahead(granted: int, rate_at: RateAt, horizon: int) -> Ahead:
    """Return what calls of 0 to `horizon` seconds cost at most: every answer, every second."""
    highest = [0] * (horizon + 1)
    allowed = horizon
    for answered in range(granted, granted + SETUP + 1):
        found = list(islice(walk(answered, rate_at), horizon + 1))
        allowed = min(allowed, lasting(rate_at(answered), found))
        highest = [max(most, at.amount) for most, at in zip(highest, found, strict=True)]
    return Ahead(highest, allowed)


# -- bands ---------------------------------------------------------------------------------------


class Window(NamedTuple):
    """Hours of some days: half-open, into the next day where they end before they begin."""

    days: frozenset[int] = frozenset()
    """Of the week: 1 is Monday, 7 Sunday."""
    dates: frozenset[date] = frozenset()
    begin: int = 0
    """Seconds of the clock since midnight."""
    end: int = DAY

    def __contains__(self, wall: object) -> bool:
        assert isinstance(wall, datetime)
        for day in (wall.date(), wall.date() - timedelta(days=1)):
            if day in self.dates or day.isoweekday() in self.days:
                since = (wall - datetime.combine(day, time())) // timedelta(seconds=1)
                last = self.end if self.end > self.begin else self.end + DAY
                if self.begin <= since < last:
                    return True
        return False


Bands = Mapping[str, tuple[Window, ...]]


def wall_clock(second: int, zone: str) -> datetime:
    """Return what the clocks of a zone show at an instant."""
    return datetime.fromtimestamp(second, ZoneInfo(zone)).replace(tzinfo=None)


def band_on(bands: Bands, wall: datetime) -> str:
    """Return the band of a wall time: by its date, else by its day of the week, else none."""
    for by_date in (True, False):
        for name, windows in bands.items():
            if any(wall in window for window in windows if bool(window.dates) is by_date):
                return name
    return ""


def band_at(bands: Bands, zone: str, second: int) -> str:
    """Return the band of an instant; empty: none."""
    return band_on(bands, wall_clock(second, zone))


# -- decks ---------------------------------------------------------------------------------------


class Row(NamedTuple):
    prefix: str
    terms: Terms
    band: str = ""
    blocked: bool = False
    begin: float = -math.inf
    until: float = math.inf


def look_up(rows: Iterable[Row], number: str, second: float, band: str) -> Row | None:
    """Return the row for a number at an instant in a band, by looking at every row."""
    found = [
        row
        for row in rows
        if number.startswith(row.prefix)
        and row.begin <= second < row.until
        and row.band in (band, "")
    ]
    return max(found, key=lambda row: (len(row.prefix), row.band == band, row.begin), default=None)


def rates_of(
    rows: Iterable[Row], bands: Bands, zone: str, number: str, granted: int, *, split: bool
) -> RateAt:
    """Return the rate at each instant of a call that is granted then."""
    rows = list(rows)
    match = look_up(rows, number, granted, band_at(bands, zone, granted))
    assert match is not None
    if not split:
        return lambda _: match.terms
    in_band: dict[str, Terms] = {}
    for band in (*bands, ""):
        found = look_up(rows, number, granted, band)
        in_band[band] = match.terms if found is None or found.blocked else found.terms
    known: dict[int, Terms] = {}

    def rate_at(second: int) -> Terms:
        if second not in known:
            known[second] = in_band[band_at(bands, zone, second)]
        return known[second]

    return rate_at
