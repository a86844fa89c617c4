"""The row of a deck with bands for a number at an instant, against a scan of all its rows."""

import random
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from attrs import evolve

import cardbill
from cardbill import Band, Deck, DeckRow, Match, rate
from tests import oracle
from tests.random_decks import EPOCH, RandomBands, instant, random_bands, told_row
from tests.random_rates import terms
from tests.test_decks import numbers_around

RATES = tuple(rate(f"0.{number:02}") for number in range(1, 40))
ANY = terms(RATES[0])  # look-ups do not look at prices
YEAR = range(1_735_689_600, 1_767_225_600)  # 2025


def random_rows(rng: random.Random, bands: RandomBands) -> list[DeckRow]:
    """Return rows of nested prefixes, each a destination of its own, in bands and in none."""
    digits = rng.choice(("01", "0123456789", "089", "9"))
    names = ["", *(band.name for band in bands.bands)]
    instants = [None, *(instant(rng.choice(YEAR)) for _ in range(3))]
    prefixes = [""]
    for _ in range(rng.randrange(1, 12)):
        tail = "".join(rng.choice(digits) for _ in range(rng.choice((1, 1, 2, 3, 12))))
        prefixes.append((rng.choice(prefixes) + tail)[:15])
    rows: dict[object, DeckRow] = {}
    for _ in range(rng.randrange(1, 30)):
        begin, end = rng.choice(instants), rng.choice((None, None, *instants))
        if begin is not None and end is not None and end <= begin:
            end = None
        prefix, band = rng.choice(prefixes[1:]), rng.choice(names)
        rows[prefix, band, begin] = DeckRow(
            prefix=prefix,
            rate=rng.choice(RATES),
            destination=f"row {len(rows)}",
            band=band,
            blocked=rng.randrange(8) == 0,
            effective_from=begin,
            effective_until=end,
        )
    return list(rows.values())


def telling_seconds(rng: random.Random, rows: list[DeckRow], bands: RandomBands) -> list[int]:
    """Return some seconds at and around the edges of bands and of what is valid when."""
    edges = [rng.choice(YEAR) for _ in range(2)]
    for day, minutes in rng.sample(bands.edges, min(3, len(bands.edges))):
        wall = instant(0).replace(year=day.year, month=day.month, day=day.day)
        edges.append((wall - EPOCH) // timedelta(seconds=1) + 60 * minutes)
    for row in rng.sample(rows, min(3, len(rows))):
        borders = [row.effective_from, row.effective_until]
        edges += [(at - EPOCH) // timedelta(seconds=1) for at in borders if at is not None]
    return [edge + rng.choice((-1, 0, 0, 1)) for edge in edges]


def told(match: Match | None) -> tuple[str, bool, str] | None:
    return match and (match.prefix, match.blocked, match.band)


def compare(
    compiled: Deck, scanned: list[oracle.Row], bands: RandomBands, number: str, second: int
) -> oracle.Row | None:
    """Assert that the deck answers as the scan of its rows does."""
    band = oracle.band_at(bands.told, bands.zone, second)
    due = oracle.look_up(scanned, number, second, band)
    match = compiled.match(number, instant(second))
    assert told(match) == (due and (due.prefix, due.blocked, due.band)), (number, second)
    return due


def many_decks(count: int, seed: int) -> Counter[str]:
    rng = random.Random(seed)
    seen: Counter[str] = Counter()
    for _ in range(count):
        bands = random_bands(rng)
        rows = random_rows(rng, bands)
        compiled = Deck.compile(
            rng.sample(rows, len(rows)),
            currency="USD",
            bands=bands.bands,
            time_zone=bands.zone,
        )
        if rng.randrange(2):
            compiled = Deck.from_bytes(compiled.to_bytes())
        scanned = [told_row(row, ANY) for row in rows]
        rated = {(row.prefix, row.band, row.effective_from): row for row in rows}
        around = sorted(numbers_around(rows))
        numbers = rng.sample(around, min(8, len(around)))
        for second in telling_seconds(rng, rows, bands):
            for number in numbers:
                due = compare(compiled, scanned, bands, number, second)
                seen["look-ups"] += 1
                longer = any(row.prefix.startswith(number) for row in rows if row.prefix != number)
                seen["shorter than a prefix"] += longer
                if due is None:
                    seen["none"] += 1
                    continue
                seen["in a band"] += bool(due.band)
                seen["barred"] += due.blocked
                begin = None if due.begin < 0 else instant(int(due.begin))
                match = compiled.match(number, instant(second))
                assert match is not None
                row = rated[due.prefix, due.band, begin]
                assert (match.rate, match.destination) == (row.rate, row.destination)
                longest = max(len(r.prefix) for r in rows if number.startswith(r.prefix))
                seen["a longer prefix not valid then"] += len(due.prefix) < longest
                versions = [r for r in rows if (r.prefix, r.band) == (due.prefix, due.band)]
                seen["of several versions"] += len(versions) > 1
    return seen


def test_a_deck_with_bands_answers_as_a_scan_of_its_rows():
    seen = many_decks(150, seed=51)
    assert seen["look-ups"] > 5_000
    rare = {turn: count for turn, count in seen.items() if count < 200}
    assert not rare
    assert len(seen) == 7


@pytest.mark.soak
def test_ten_thousand_decks_answer_as_a_scan_of_their_rows():
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    print(many_decks(10_000, seed))


@pytest.mark.parametrize("count", [40, pytest.param(3_000, marks=pytest.mark.soak)])
def test_a_real_price_list_in_bands_answers_as_a_scan_of_its_rows(count: int, shared_data: Path):
    rng = random.Random(52)
    file = shared_data / "data" / "sdf-outbound-rates.csv"
    real = list(cardbill.read_deck(file, currency="USD", on_problem="block").rows())
    night = Band("night", "Mon-Sun 19:00-07:00")
    hours = oracle.Window(frozenset(range(1, 8)), begin=19 * 3600, end=7 * 3600)
    bands = RandomBands((night,), {"night": (hours,)}, "America/New_York", [])
    cheaper = [evolve(row, band="night", rate=rng.choice(RATES)) for row in rng.sample(real, 9_000)]
    rows = real + cheaper
    compiled = Deck.compile(rows, currency="USD", bands=bands.bands, time_zone=bands.zone)
    scanned = [told_row(row, ANY) for row in rows]
    banded = 0
    for _ in range(count):
        number = rng.choice(real).prefix + str(rng.randrange(10**9))
        number = number[: rng.choice((3, 5, 15, 15, 15))]
        due = compare(compiled, scanned, bands, number, rng.choice(YEAR))
        banded += due is not None and due.band == "night"
    assert banded > count // 20
