"""Random decks with bands, calls near the edges of bands, and the same as the oracle takes them."""

import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import NamedTuple
from zoneinfo import ZoneInfo

from attrs import evolve

from cardbill import Band, BandRating, Deck, DeckRow, Rate
from cardbill.bands import Bands
from cardbill.errors import InvalidInput
from tests import oracle
from tests.random_rates import capped, random_rate, terms

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NUMBER = "442071234567"
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
ZONES = (
    *("UTC", "Europe/London", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"),
    *("America/St_Johns", "Asia/Kathmandu", "Pacific/Chatham", "Africa/Casablanca", "Asia/Gaza"),
)
BASE = date(2025, 1, 1)  # with the windows by date: days of that year


def instant(second: int) -> datetime:
    return EPOCH + timedelta(seconds=second)


def clock(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"


class Written(NamedTuple):
    """A window as text, and as the oracle takes it."""

    text: str
    window: oracle.Window


def written(days: frozenset[int], dates: tuple[date, date] | None, begin: int, end: int) -> Written:
    """Return a window of days of the week (1 to 7) or of dates; minutes of the clock."""
    if dates is None:
        text = ",".join(DAYS[day - 1] for day in sorted(days))
        told: frozenset[date] = frozenset()
    else:
        first, last = dates
        text = first.isoformat() if first == last else f"{first.isoformat()}..{last.isoformat()}"
        told = frozenset(first + timedelta(days=n) for n in range((last - first).days + 1))
    window = oracle.Window(days, told, 60 * begin, 60 * end)
    hours = "" if (begin, end) == (0, 1440) else f" {clock(begin)}-{clock(end)}"
    return Written(text + hours, window)


class RandomBands(NamedTuple):
    bands: tuple[Band, ...]
    told: oracle.Bands
    zone: str
    edges: list[tuple[date, int]]
    """Wall times, as a date and minutes, at which windows begin or end."""


def random_hours(rng: random.Random) -> tuple[int, int]:
    kind = rng.randrange(4)
    if kind == 0:
        return 0, 1440
    begin = rng.randrange(1440)
    # A window of some minutes: a call passes through several bands.
    end = (begin + rng.randrange(1, 5)) % 1440 if kind == 1 else rng.randrange(1, 1441)
    return (begin, end or 1440) if end != begin else (begin, 1440)


def random_window(rng: random.Random, hours: tuple[int, int]) -> tuple[Written, date]:
    day = BASE + timedelta(days=rng.randrange(365))
    if rng.randrange(4) == 0:
        dates = day, day + timedelta(days=rng.choice((0, 0, 1, 5)))
        return written(frozenset(), dates, *hours), day
    first = rng.randrange(7)
    days = frozenset((first + n) % 7 + 1 for n in range(rng.choice((1, 2, 5, 7))))
    while day.isoweekday() not in days:
        day += timedelta(days=1)
    return written(days, None, *hours), day


def random_bands(rng: random.Random) -> RandomBands:
    """Return one to four bands that do not overlap, many of which meet."""
    zone = rng.choice(ZONES)
    while True:
        named: dict[str, list[Written]] = {}
        edges = []
        last: tuple[int, int] | None = None
        for _ in range(rng.randrange(1, 7)):
            hours = random_hours(rng)
            if last is not None and rng.randrange(2) and last[1] < 1440:
                hours = last[1], (last[1] + rng.choice((1, 3, 60, 600))) % 1440 or 1440
            window, day = random_window(rng, hours)
            last = hours
            named.setdefault(rng.choice(("day", "peak", "night", "rare")), []).append(window)
            edges += [(day, minutes) for minutes in hours]
        bands = tuple(Band(name, tuple(w.text for w in told)) for name, told in named.items())
        try:
            Bands(bands, zone)
        except InvalidInput:  # they overlap
            continue
        told = {name: tuple(w.window for w in windows) for name, windows in named.items()}
        return RandomBands(bands, told, zone, edges)


class RandomDeck(NamedTuple):
    deck: Deck
    rows: list[DeckRow]
    bands: RandomBands

    @property
    def told(self) -> list[oracle.Row]:
        """The rows as the oracle takes them."""
        return [told_row(row, terms(row.rate)) for row in self.rows]


def told_row(row: DeckRow, told: oracle.Terms) -> oracle.Row:
    found = oracle.Row(row.prefix, told, row.band, row.blocked)
    if row.effective_from is not None:
        found = found._replace(begin=(row.effective_from - EPOCH).total_seconds())
    if row.effective_until is not None:
        found = found._replace(until=(row.effective_until - EPOCH).total_seconds())
    return found


def repriced(rng: random.Random, usual: Rate) -> Rate:
    """Return a rate with other prices and the same increments, as most decks have them."""
    steps = tuple(
        evolve(step, price_per_minute=rng.choice((0, 2 * step.price_per_minute, 600, 7_000)))
        for step in usual.steps
    )
    return evolve(usual, steps=steps, maximum_charge=None)


def by_second(rng: random.Random, rate: Rate) -> Rate:
    """Return a rate that bills each second of every step."""
    steps = tuple(evolve(step, increment=1) for step in rate.steps)
    fine = evolve(rate, steps=steps, maximum_charge=None)
    return fine if rate.maximum_charge is None else capped(rng, fine)


def random_deck(
    rng: random.Random, prefixes: tuple[str, ...] = ("44", "442", "4420")
) -> RandomDeck:
    """Return a deck with rates for some bands, for none, now and later, some of them barred."""
    bands = random_bands(rng)
    instants = [None, *(instant(rng.randrange(1_735_689_600, 1_767_225_600)) for _ in range(3))]
    rows: dict[tuple[object, ...], DeckRow] = {}
    usual = random_rate(rng)
    fine = rng.randrange(3) == 0
    names = ["", *(band.name for band in bands.bands)][rng.randrange(2) :]
    for prefix in prefixes:
        for band in names:
            for _ in range(rng.choice((0, 1, 1, 2))):
                rate = random_rate(rng) if rng.randrange(2) else repriced(rng, usual)
                rate = by_second(rng, rate) if fine else rate
                begin, end = rng.choice(instants), rng.choice((None, *instants))
                if begin is not None and end is not None and end <= begin:
                    end = None
                rows[prefix, band, begin] = DeckRow(
                    prefix=prefix,
                    rate=rate,
                    destination=f"row {len(rows)}",
                    band=band,
                    blocked=rng.randrange(6) == 0,
                    effective_from=begin,
                    effective_until=end,
                )
    if not rows or rng.randrange(3) == 0:
        rate = by_second(rng, usual) if fine else usual
        rows["4", "", None] = DeckRow(prefix="4", rate=rate, destination="usual")
    deck = Deck.compile(
        rows.values(),
        currency="USD",
        bands=bands.bands,
        time_zone=bands.zone,
        band_rating=rng.choice((BandRating.SPLIT,) * 5 + (BandRating.AT_START,)),
    )
    return RandomDeck(deck, list(rows.values()), bands)


def random_grant(rng: random.Random, made: RandomDeck) -> int | None:
    """Return the second of a grant, mostly just before a band begins; None: it is barred."""
    day, minutes = rng.choice(made.bands.edges)
    if rng.randrange(3) == 0:
        day = BASE + timedelta(days=rng.randrange(365))
    wall = datetime(day.year, day.month, day.day) + timedelta(minutes=minutes)  # noqa: DTZ001
    wall = wall.replace(fold=rng.randrange(2))
    edge = (wall.replace(tzinfo=ZoneInfo(made.bands.zone)) - EPOCH) // timedelta(seconds=1)
    granted = edge - rng.choice((0, 1, rng.randrange(200), rng.randrange(-60, 400)))
    match = made.deck.match(NUMBER, instant(granted))
    return granted if match is not None and not match.blocked else None


class RandomCall(NamedTuple):
    made: RandomDeck
    granted: int
    rate_at: oracle.RateAt

    def __repr__(self) -> str:
        """All that is needed to try it again by hand."""
        made = self.made
        return f"{made.deck.band_rating} {made.bands.zone} granted {self.granted}\n" + "\n".join(
            map(repr, (*made.bands.bands, *made.rows))
        )


def random_calls(rng: random.Random, count: int) -> Iterator[RandomCall]:
    """Yield calls, of which most pass from one rate to another."""
    found = 0
    while found < count:
        made = random_deck(rng)
        granted = random_grant(rng, made)
        if granted is None:
            continue
        split = made.deck.band_rating is BandRating.SPLIT
        rate_at = oracle.rates_of(
            made.told, made.bands.told, made.bands.zone, NUMBER, granted, split=split
        )
        call = RandomCall(made, granted, rate_at)
        if turns(call, 0, 380) or rng.randrange(4) == 0:
            found += 1
            yield call


def turns(call: RandomCall, first: int, last: int) -> int:
    """Return how often the rate changes between two seconds after the grant."""
    rates = [call.rate_at(call.granted + second) for second in range(first, last + 1)]
    return sum(one != other for one, other in pairwise(rates))
