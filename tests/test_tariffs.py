"""Calls that pass from one band into another, against the oracle that walks every second."""

import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import accumulate, islice

import pytest

from cardbill import Band, Deck, DeckRow, Rate, Rounding, Step, rate
from cardbill.increments import LONGEST_SECONDS
from cardbill.rating import Limit
from cardbill.tariffs import SETUP_SECONDS, Tariff
from tests import oracle
from tests.random_decks import NUMBER, RandomCall, by_second, instant, random_calls, repriced, turns
from tests.random_rates import HORIZON, random_rate, telling_amounts

LATE = 200  # seconds by which a call may be answered later than expected


def tariff_of(call: RandomCall, seconds: int = HORIZON) -> Tariff:
    at = instant(call.granted)
    match = call.made.deck.match(NUMBER, at)
    assert match is not None
    return call.made.deck.tariff(match, NUMBER, at, seconds)


def prices_agree(call: RandomCall, tariff: Tariff, after: int) -> int:
    """Assert that calls of any length answered so long after the grant cost what they should."""
    answered = call.granted + after
    at = instant(answered)
    walked = islice(oracle.walk(answered, call.rate_at), HORIZON + 1)
    for seconds, (amount, billed, _) in enumerate(walked):
        assert tariff.price(seconds, at) == amount, (after, seconds, call)
        assert tariff.billed_seconds(seconds, at) == billed, (after, seconds, call)
    return HORIZON + 1


def ahead_agrees(call: RandomCall, tariff: Tariff, rng: random.Random, balances: int) -> int:
    """Assert that what is held, and for how long, is what every answer and second come to."""
    at = instant(call.granted)
    ahead = oracle.ahead(call.granted, call.rate_at, HORIZON)
    for seconds in {1, rng.randrange(HORIZON), rng.randrange(HORIZON), HORIZON}:
        assert tariff.highest(seconds, at) == ahead.highest[seconds], (seconds, call)
    found = [int(amount) for amount in ahead.highest]
    near = sorted(telling_amounts(found, 7))
    for _ in range(balances):
        available = max(0, rng.choice(near) + rng.choice((0, 0, rng.randrange(10**5))))
        cap = rng.choice((HORIZON, rng.randrange(HORIZON + 1)))
        allowed = min(cap, ahead.lasting)
        expected = oracle.Ahead(ahead.highest[: cap + 1], allowed).longest(available)
        limit = tariff.longest(available, cap, at)
        assert limit == Limit(expected, by_money=expected < allowed), (available, cap, call)
    return balances


def test_a_tariff_knows_what_so_long_a_call_may_need_and_no_more():
    bands = [Band("day", "Mon-Sun 08:00-20:00")]
    rows = [
        DeckRow(prefix="4", rate=rate(1, free_seconds=LONGEST_SECONDS)),
        DeckRow(prefix="4", band="day", rate=rate(2)),
    ]
    deck = Deck.compile(rows, currency="USD", bands=bands, band_rating="split")
    at = datetime(2025, 3, 3, 7, 0, tzinfo=UTC)
    match = deck.match("44", at)
    assert match is not None
    until = 3600 - SETUP_SECONDS  # answered last, a longer call goes on by day
    assert deck.tariff(match, "44", at, until - 1).changes == ()
    for seconds in (until, 86_400 // 2):
        assert len(deck.tariff(match, "44", at, seconds).changes) == 1


# -- random calls --------------------------------------------------------------------------------


def test_random_calls_across_bands_cost_what_the_oracle_says():
    rng = random.Random(11)
    calls = 0
    for call in random_calls(rng, 100):
        tariff = tariff_of(call)
        for after in (0, rng.randrange(SETUP_SECONDS), SETUP_SECONDS):
            calls += prices_agree(call, tariff, after)
    assert calls > 60_000


def test_what_is_held_and_for_how_long_is_what_the_oracle_finds_among_all_answers():
    rng = random.Random(12)
    for call in random_calls(rng, 12):
        ahead_agrees(call, tariff_of(call), rng, balances=20)


def dearest(tariff: Tariff, seconds: int, at: datetime) -> int:
    """What a call of that length costs by the dearest of all answers, each of them tried."""
    answers = (at + timedelta(seconds=after) for after in range(SETUP_SECONDS + 1))
    return max(tariff.price(seconds, answered) for answered in answers)


def all_answers_agree(tariff: Tariff, seconds: int, cap: int, short: int, at: datetime) -> None:
    """Assert that what is held for a call, and the call that this pays for, are exact.

    What is available is that much short of the price.
    """
    due = dearest(tariff, seconds, at)
    assert tariff.highest(seconds, at) == due, (seconds, tariff)
    available = max(0, due - short)
    limit = tariff.longest(available, cap, at)
    assert limit.seconds is not None
    assert dearest(tariff, limit.seconds, at) <= available, (available, tariff)
    if limit.by_money:
        assert dearest(tariff, limit.seconds + 1, at) > available, (available, tariff)
    elif limit.seconds < cap:
        assert any(rate.maximum_charge is not None for rate in (tariff.rate, *rates_of(tariff)))


def rates_of(tariff: Tariff) -> list[Rate]:
    return [found for _, found in tariff.changes]


def some_tariffs(rng: random.Random, count: int) -> None:
    """Try rates that take each other's place at any second of the set-up time and the call."""
    at = instant(1_736_000_000)
    for _ in range(count):
        plain, fine = rng.randrange(2), rng.randrange(2)
        rates = [random_rate(rng) for _ in range(rng.randrange(2, 5))]
        if plain:
            rates = [repriced(rng, rates[0]) for _ in rates]
        if fine:
            rates = [by_second(rng, found) for found in rates]
        seconds = sorted(rng.sample(range(1, 420), len(rates) - 1))
        changes = tuple((1_736_000_000 + s, r) for s, r in zip(seconds, rates[1:], strict=True))
        tariff = Tariff(rates[0], changes)
        for lasting in (rng.randrange(40), rng.randrange(400)):
            all_answers_agree(tariff, lasting, 400, rng.choice((0, 1, rng.randrange(10**5))), at)


def bursts(rng: random.Random, count: int) -> None:
    """Try very dear and very cheap seconds in turn: the dearest answer may lie anywhere."""
    at = instant(1_736_000_000)
    for _ in range(count):
        prices = [rng.choice((0, 60, 600, 6_000, 60_000)) for _ in range(rng.randrange(3, 6))]
        rates = [Rate(steps=(Step(0, each, 1),), rounding=Rounding(1)) for each in prices]
        gaps = [rng.choice((1, 3, 10, 40, rng.randrange(1, 120))) for _ in rates[1:]]
        begins = (1_736_000_000 + second for second in accumulate(gaps))
        tariff = Tariff(rates[0], tuple(zip(begins, rates[1:], strict=True)))
        short = rng.choice((0, 1, rng.randrange(2_000)))
        all_answers_agree(tariff, rng.randrange(200), 400, short, at)


def test_the_dearest_of_all_answers_may_lie_anywhere():
    bursts(random.Random(16), 600)


def test_whenever_rates_change_what_is_held_is_what_the_dearest_of_all_answers_costs():
    some_tariffs(random.Random(15), 350)


@pytest.mark.parametrize("increment", [1, 2, 7, 60])
@pytest.mark.parametrize(("first", "second"), [(60, 600), (600, 60)])
def test_the_edge_of_a_band_may_lie_at_any_second_after_the_grant(
    increment: int, first: int, second: int
):
    at = instant(1_736_000_000)
    cheap, dear = (Rate(steps=(Step(0, price, increment),)) for price in (first, second))
    for after in (*range(1, 12), *range(11, 170, 13), *range(170, 200)):
        tariff = Tariff(cheap, ((1_736_000_000 + after, dear),))
        all_answers_agree(tariff, 20, 400, 1, at)


def long_calls(rng: random.Random, count: int) -> None:
    """Assert that calls of up to days are held for what the dearest of all answers costs."""
    for call in random_calls(rng, count):
        cap = rng.choice((3_600, 50_000, 300_000))
        tariff = tariff_of(call, cap)
        for seconds in (rng.randrange(cap), rng.randrange(cap), rng.randrange(600)):
            short = rng.choice((0, 0, 1, rng.randrange(10**6)))
            all_answers_agree(tariff, seconds, cap, short, instant(call.granted))


def test_long_calls_are_held_for_what_the_dearest_of_all_answers_costs():
    long_calls(random.Random(14), 30)


@pytest.mark.soak
def test_very_many_calls_are_held_for_what_the_dearest_of_all_answers_costs():
    long_calls(soak(3_000), 3_000)
    some_tariffs(soak(20_000), 20_000)
    bursts(soak(40_000), 40_000)


def soak(count: int, seed: int | None = None) -> random.Random:
    seed = random.SystemRandom().randrange(2**32) if seed is None else seed
    print(f"seed {seed}, {count:,} wanted")  # shown when it fails
    return random.Random(seed)


@pytest.mark.soak
@pytest.mark.parametrize("part", range(2))
def test_half_a_million_random_calls_across_bands_cost_what_the_oracle_says(part: int):
    rng = soak(wanted := 500_000)
    calls = 0
    while calls < wanted:
        for call in random_calls(rng, 100):
            tariff = tariff_of(call)
            for _ in range(4):
                calls += prices_agree(call, tariff, rng.randrange(SETUP_SECONDS + 1))
            late = SETUP_SECONDS + rng.randrange(LATE)
            calls += prices_agree(call, tariff_of(call, HORIZON + LATE), late)
    print(f"{calls:,} calls")


@pytest.mark.soak
@pytest.mark.parametrize("part", range(2))
def test_a_hundred_thousand_balances_last_as_long_across_bands_as_the_oracle_finds(part: int):
    rng = soak(wanted := 100_000)
    tried = 0
    while tried < wanted:
        for call in random_calls(rng, 10):
            tried += ahead_agrees(call, tariff_of(call), rng, balances=200)
    print(f"{tried:,} combinations")


def test_the_random_calls_try_every_term_and_every_turn():
    seen: Counter[str] = Counter()
    for call in random_calls(random.Random(13), 200):
        at = call.granted
        base = call.rate_at(at)
        changes = turns(call, 0, 400)
        seen["no change of rate"] += changes == 0
        seen["one change of rate"] += changes == 1
        seen["two changes of rate or more"] += changes > 1
        seen["a change while it may be answered"] += turns(call, 0, SETUP_SECONDS) > 0
        seen["at_start"] += not call.made.deck.splits
        rows = call.made.told
        bands = call.made.bands
        band = oracle.band_at(bands.told, bands.zone, at)
        match = oracle.look_up(rows, NUMBER, at, band)
        later = {oracle.band_at(bands.told, bands.zone, at + s) for s in range(1, 400)} - {band}
        found = [oracle.look_up(rows, NUMBER, at, each) for each in later]
        seen["a band without a rate"] += any(row is None for row in found)
        seen["a barred band"] += any(row is not None and row.blocked for row in found)
        seen["a shorter prefix in another band"] += any(
            row is not None and match is not None and len(row.prefix) < len(match.prefix)
            for row in found
        )
        if not changes:
            continue
        others = {call.rate_at(at + second) for second in range(400)} - {base}
        seen["other free seconds"] += any(other.free != base.free for other in others)
        seen["other grace"] += any(other.grace != base.grace for other in others)
        seen["other steps, not prices only"] += any(
            [step[::2] for step in other.steps] != [step[::2] for step in base.steps]
            for other in others
        )
        seen["other ways of counting blocks"] += any(o.blocks != base.blocks for o in others)
        seen["other rounding"] += any((o.unit, o.mode) != (base.unit, base.mode) for o in others)
        seen["a maximum of some"] += any(o.maximum != base.maximum for o in others)
        seen["a band within the free seconds"] += base.free > 0 and turns(call, 0, base.free) > 0
        first = list(islice(oracle.walk(at, call.rate_at), HORIZON + 1))
        alone = list(islice(oracle.prices(base), HORIZON + 1))
        steps = [step for each in (base, *others) for step in each.steps]
        by_second = all(step.increment == 1 for step in steps)
        seen["second by second"] += by_second
        seen["second by second in several steps"] += by_second and len(steps) > 1 + len(others)
        seen["bands that count"] += first != alone
        lengths = {billed for _, billed, _ in first}
        edges = [s for s in range(1, HORIZON) if turns(call, s - 1, s)]
        seen["an increment over the edge"] += any(e - base.free not in lengths for e in edges)
        seen["an increment up to the edge"] += any(e - base.free in lengths for e in edges)
        late = list(islice(oracle.walk(at + SETUP_SECONDS, call.rate_at), HORIZON + 1))
        seen["dearer when answered at once"] += late[-1].amount < first[-1].amount
        seen["dearer when answered late"] += late[-1].amount > first[-1].amount
        seen["a maximum that ends the call"] += oracle.lasting(base, first) < HORIZON
    print(seen)
    rare = {turn: count for turn, count in seen.items() if count < 5}
    assert not rare
    assert len(seen) == 23
