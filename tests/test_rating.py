"""The price of a call against the oracle that walks every second, and its exact inverse."""

import random
from collections import Counter
from itertools import islice, pairwise
from typing import NamedTuple

import pytest
from attrs import evolve
from hypothesis import example, given, settings, strategies as st

from cardbill.errors import InvalidInput
from cardbill.increments import LONGEST_SECONDS, BlockRounding, Step
from cardbill.money import MAX_UNITS, RoundingMode
from cardbill.rating import Beyond, Limit, Rate, Rounding, billed_seconds, max_duration, price, rate
from tests import oracle
from tests.random_rates import (
    CENT,
    HORIZON,
    MODES,
    huge_rates,
    plain,
    random_rate,
    random_rates,
    rates,
    telling_amounts,
    terms,
)

# -- against the oracle -------------------------------------------------------------------------


class Walked(NamedTuple):
    prices: list[int]
    lasting: int
    """The last second of the horizon that the maximum charge lets a call come to."""


def agree(subject: Rate, horizon: int) -> Walked:
    """Assert that every call of up to `horizon` seconds costs what the oracle says."""
    expected = list(islice(oracle.prices(terms(subject)), horizon + 1))
    found = [price(subject, seconds) for seconds in range(horizon + 1)]
    billed = [billed_seconds(subject, seconds) for seconds in range(horizon + 1)]
    for seconds, (amount, length, _) in enumerate(expected):
        assert found[seconds] == amount, (seconds, subject)
        assert billed[seconds] == length, (seconds, subject)
    assert all(type(amount) is int for amount in found + billed)
    assert all(earlier <= later for earlier, later in pairwise(found)), subject
    assert not any(found[: subject.grace_seconds + 1])
    assert found[0] == 0
    assert all(amount % subject.rounding.unit == 0 for amount in found)
    return Walked(found, oracle.lasting(terms(subject), expected))


def fits(subject: Rate, walked: Walked, available: int, cap: int) -> None:
    """Assert that max_duration is what a scan of all prices up to the cap finds."""
    allowed = min(cap, walked.lasting)
    expected = max(each for each in range(allowed + 1) if walked.prices[each] <= available)
    limit = max_duration(subject, available, cap)
    assert limit == Limit(expected, by_money=expected < allowed), (available, cap, subject)
    assert type(limit.seconds) is int
    free = max_duration(subject, available)
    if expected < cap:
        assert free == limit, (available, subject)
        return
    if free.seconds is None:
        assert not free.by_money
        return
    assert cap <= free.seconds <= LONGEST_SECONDS, (available, subject)
    assert price(subject, free.seconds) <= available
    if free.by_money:
        assert price(subject, free.seconds + 1) > available, (available, subject)
    elif free.seconds < LONGEST_SECONDS:
        assert subject.maximum_charge is not None
        boundless = evolve(subject, maximum_charge=None)
        longer = price(boundless, free.seconds + 1)
        assert price(boundless, free.seconds) <= subject.maximum_charge < longer


# -- prices ------------------------------------------------------------------------------------


@settings(max_examples=4 * settings().max_examples)
@given(rates())
@example(plain(1, 60))
@example(Rate(steps=(Step(0, 60, 30), Step(5, 6000, 7), Step(29, 10**6, 1), Step(31, 1, 2))))
def test_the_price_is_the_oracles(subject):
    agree(subject, 60 + subject.free_seconds)


def test_the_prices_of_many_rates_are_the_oracles():
    for subject in random_rates(1_000, seed=1):
        agree(subject, HORIZON)


def test_the_random_rates_try_every_term_and_every_turn():
    # A suite is worth what its generator reaches: each of these must be common, not possible.
    seen: Counter[str] = Counter()
    for subject in random_rates(500, seed=1):
        later = [step.from_second for step in subject.steps[1:]]
        walked = {0}
        while max(walked) < HORIZON:
            walked.add(oracle.end_of_increment(terms(subject), max(walked)))
        last = subject.steps[-1]
        seen["an overrun"] += any(start not in walked for start in later)
        reached = {oracle.step_at(terms(subject), position).from_second for position in walked}
        seen["a step overrun whole"] += any(
            step.from_second not in reached and step.from_second < HORIZON for step in subject.steps
        )
        exact = evolve(
            subject,
            rounding=Rounding(1, RoundingMode.UP),
            beyond_maximum="free",
            maximum_charge=None,
        )
        unit, mode = subject.rounding.unit, subject.rounding.mode
        prices = {found.amount for found in islice(oracle.prices(terms(exact)), HORIZON)}
        tie = any(2 * amount % (2 * unit) == unit for amount in prices)
        seen["a tie to the even"] += tie and mode is RoundingMode.HALF_EVEN
        seen["a tie upwards"] += tie and mode is RoundingMode.HALF_UP
        seen["a free end"] += last.price_per_minute == 0
        seen["a free step in the middle"] += any(
            step.price_per_minute == 0 for step in subject.steps[:-1]
        )
        seen["grace beyond free"] += subject.grace_seconds > subject.free_seconds > 0
        seen["free beyond grace"] += subject.free_seconds > subject.grace_seconds > 0
        seen["all fees"] += all((subject.connect_fee, subject.end_fee, subject.surcharge_ppm))
        floor = next(islice(oracle.prices(terms(exact)), subject.grace_seconds + 1, None)).amount
        seen["a minimum that counts"] += 0 < subject.minimum_charge == floor
        blocks = evolve(subject, block_rounding=BlockRounding.STEP)
        seen["blocks of the total that count"] += any(
            found != other
            for found, other in islice(
                zip(oracle.prices(terms(subject)), oracle.prices(terms(blocks)), strict=False),
                HORIZON,
            )
        )
        calls = list(islice(oracle.prices(terms(subject)), HORIZON))
        ended = not calls[-1].within
        seen["a maximum, then free"] += ended and subject.beyond_maximum is Beyond.FREE
        seen["a maximum that ends"] += ended and subject.beyond_maximum is Beyond.DISCONNECT
        seen["a maximum at the minimum"] += 0 < subject.minimum_charge == subject.maximum_charge
        seen[f"{len(subject.steps)} steps"] += 1
        seen[mode.value] += 1
    rare = {turn: count for turn, count in seen.items() if count < 10}
    assert not rare
    assert len(seen) == 22


@pytest.mark.parametrize("mode", MODES)
def test_fine_and_coarse_units_round_like_fractions(mode):
    # Thirds, sevenths and halves of the unit, each at every second of the first minutes.
    for per_minute in (1, 20, 30, 60, 90, 100, 150, 350, 999_999):
        for unit in (1, 2, 5, 50, 100, 350):
            for ppm in (0, 500_000):
                subject = evolve(plain(per_minute, 1, unit, mode.value), surcharge_ppm=ppm)
                agree(subject, 130)


@pytest.mark.parametrize(
    ("increments", "seconds", "billed"),
    [
        *(("30/18", 30, 30), ("30/18", 31, 48), ("30/18", 48, 48), ("30/18", 49, 66)),
        *(("60/6", 1, 60), ("60/6", 60, 60), ("60/6", 61, 66), ("60/6", 66, 66), ("60/6", 67, 72)),
        *(("30/6", 10, 30), ("30/6", 31, 36), ("60/60", 61, 120), ("60", 60, 60), ("1/1", 7, 7)),
        *(("6/60", 6, 6), ("6/60", 7, 66), ("10/1", 9, 10), ("10/1", 11, 11), ("1/1", 0, 0)),
        *(("20", 15, 20), ("15/15", 45, 45), ("60/6", 0, 0), ("30/18", LONGEST_SECONDS, 10**9 + 2)),
    ],
)
def test_increments_bill_what_they_say(increments, seconds, billed):
    subject = rate("0.60", increments=increments)
    assert billed_seconds(subject, seconds) == billed
    assert price(subject, seconds) == billed * CENT


def test_the_worked_example_of_sipnode():
    # 0.15 a minute, 60/30, 0.10 to connect, 3 s of grace: 2 s cost nothing, 43 s cost 0.25.
    subject = rate("0.15", increments="60/30", connect_fee="0.10", grace_seconds=3)
    assert [price(subject, seconds) for seconds in (0, 2, 3)] == [0, 0, 0]
    assert [price(subject, seconds) for seconds in (4, 43, 60)] == [250_000] * 3
    assert [price(subject, seconds) for seconds in (61, 90, 91)] == [325_000, 325_000, 400_000]
    assert billed_seconds(subject, 3) == 0
    assert billed_seconds(subject, 43) == 60


def test_the_worked_example_of_portaone():
    # 10.00 at 0.10 a minute with 0.20 to connect: cut after 98 minutes.
    subject = rate("0.10", connect_fee="0.20")
    assert max_duration(subject, 10_000_000) == (98 * 60, True)


def test_an_increment_runs_over_the_next_step_which_begins_where_it_ends():
    subject = Rate(steps=(Step(0, 60 * CENT, 30), Step(40, 120 * CENT, 7), Step(61, 6 * CENT, 10)))
    # 30 + 30 run over 40: step 2 begins at 60 and is over at once (60 < 61): one of 7, then 10s.
    assert [billed_seconds(subject, seconds) for seconds in (30, 31, 60, 61, 67, 68, 78)] == [
        *(30, 60, 60, 67, 67, 77, 87),
    ]
    assert price(subject, 68) == 60 * CENT + 14 * CENT + CENT


def test_a_step_inside_an_increment_is_never_reached():
    subject = Rate(steps=(Step(0, 60, 100), Step(10, MAX_UNITS, 1), Step(100, 120, 1)))
    assert subject == evolve(subject)
    assert price(subject, 99) == 100
    assert price(evolve(subject, rounding=Rounding(1)), 101) == 102
    agree(subject, 150)


def test_grace_forgives_and_free_seconds_do_not():
    graced = evolve(plain(600), grace_seconds=10, connect_fee=7)
    assert [price(graced, seconds) for seconds in (9, 10, 11)] == [0, 0, 7 + 110]
    freed = evolve(plain(600), free_seconds=10, connect_fee=7)
    assert [price(freed, seconds) for seconds in (0, 1, 10, 11)] == [0, 7, 7, 17]
    assert [billed_seconds(freed, seconds) for seconds in (0, 1, 10, 11)] == [0, 0, 0, 1]


def test_minimum_and_fees_count_inside_free_seconds():
    subject = Rate(
        steps=(Step(0, 6000, 60),),
        free_seconds=60,
        connect_fee=100,
        surcharge_ppm=500_000,
        end_fee=20,
        minimum_charge=171,
        rounding=Rounding(1),
    )
    assert price(subject, 1) == 171
    assert price(evolve(subject, minimum_charge=169), 60) == 170  # (100 + 0) * 1.5 + 20
    assert price(subject, 61) == 9170  # (100 + 6000) * 1.5 + 20


def test_the_minimum_is_rounded_like_the_rest():
    subject = evolve(plain(0, 1, 100), minimum_charge=101)
    assert price(subject, 1) == 200
    assert price(evolve(subject, rounding=Rounding(100, RoundingMode.DOWN)), 1) == 100
    assert max_duration(subject, 199) == (0, True)
    assert max_duration(subject, 200) == (None, False)


def test_a_surcharge_is_on_connect_fee_and_usage_but_not_on_the_end_fee():
    subject = rate("1", connect_fee="1", end_fee="1", surcharge_percent="12.5")
    assert price(subject, 60) == 3_250_000
    assert price(rate("0.06", surcharge_percent="0.0001", rounding=Rounding(1)), 1) == 1001


def test_a_price_is_rounded_once_and_never_by_parts():
    # cgrates#260, ivozprovider#692: 0.174 or 0.18? Per-increment rounding adds up to another price.
    subject = rate("0.0299", increments="1/1")
    assert price(subject, 349) == 174_000  # 0.173918..., once, up to 0.0001
    assert sum(price(subject, 1) for _ in range(349)) == 174_500
    assert price(rate("0.166", rounding=Rounding(CENT, RoundingMode.HALF_UP)), 180) == 500_000


def test_the_shortest_of_money_has_no_smaller_part():
    # 1 unit a minute, one second: a sixtieth of a unit, rounded up, down and half.
    assert [price(plain(1, 1, 1, mode.value), 1) for mode in MODES] == [1, 0, 0, 0]
    assert [price(plain(1, 1, 1, mode.value), 30) for mode in MODES] == [1, 1, 0, 0]
    assert [price(plain(1, 1, 1, mode.value), 90) for mode in MODES] == [2, 2, 2, 1]


# -- the longest call ------------------------------------------------------------------------


@settings(max_examples=3 * settings().max_examples)
@given(rates(), st.data())
def test_the_longest_call_is_the_oracles(subject, data):
    cap = data.draw(st.integers(0, 150), label="cap")
    available = data.draw(
        st.one_of(
            st.integers(0, 10**10),
            st.integers(0, 150).map(lambda seconds: price(subject, seconds)),
            st.integers(0, 150).map(lambda seconds: max(0, price(subject, seconds) - 1)),
        ),
        label="available",
    )
    walked = list(islice(oracle.prices(terms(subject)), cap + 1))
    allowed = oracle.lasting(terms(subject), walked)
    expected = oracle.longest(terms(subject), available, cap)
    assert max_duration(subject, available, cap) == (expected, expected < allowed)


def test_the_longest_calls_of_many_rates_are_the_oracles():
    rng = random.Random(2)
    for subject in random_rates(300, seed=3):
        walked = agree(subject, HORIZON)
        for available in telling_amounts(walked.prices, subject.rounding.unit):
            if available >= 0:
                fits(subject, walked, available, rng.randrange(HORIZON + 1))
                fits(subject, walked, available, HORIZON)


@pytest.mark.soak
def test_the_longest_calls_of_very_many_rates_are_the_oracles():
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")  # shown when it fails
    rng = random.Random(seed)
    combinations = 0
    while combinations < 200_000:
        subject = random_rate(rng)
        walked = agree(subject, HORIZON)
        for _ in range(20):
            near = rng.choice(walked.prices) + rng.choice((-1, 0, 0, 1, rng.randrange(10**6)))
            fits(subject, walked, max(0, near), rng.choice((HORIZON, rng.randrange(HORIZON + 1))))
            combinations += 1


def test_money_or_a_cap_ends_a_call():
    subject = rate("0.60", increments="6/6")  # 6 s are 0.06
    assert max_duration(subject, 60 * CENT) == (60, True)
    assert max_duration(subject, 60 * CENT, None) == (60, True)
    assert max_duration(subject, 60 * CENT, 61) == (60, True)
    assert max_duration(subject, 60 * CENT, 60) == (60, False)
    assert max_duration(subject, 60 * CENT, 59) == (59, False)
    assert max_duration(subject, 60 * CENT - 1, 60) == (54, True)
    assert max_duration(subject, 0, 0) == (0, False)
    assert max_duration(subject, 0, 1) == (0, True)
    assert max_duration(subject, 0) == Limit(seconds=0, by_money=True)


@pytest.mark.parametrize("available", [0, 1, 10**18])
def test_what_costs_nothing_has_no_end_but_the_cap(available):
    for nothing in (rate(0), rate(0, increments="60/6", free_seconds=9, grace_seconds=9)):
        assert max_duration(nothing, available) == (None, False)
        assert max_duration(nothing, available, 7) == (7, False)
        assert max_duration(nothing, available, 0) == (0, False)
        assert price(nothing, LONGEST_SECONDS) == 0


def test_a_call_that_only_has_fees_is_free_of_end_or_not_possible():
    subject = rate(0, connect_fee=1, end_fee=1, grace_seconds=5)
    assert max_duration(subject, 1_999_999) == (5, True)
    assert max_duration(subject, 1_999_999, 5) == (5, False)
    assert max_duration(subject, 2_000_000) == (None, False)
    assert max_duration(subject, 2_000_000, 3) == (3, False)


def test_a_call_that_becomes_free_has_no_end_once_its_priced_part_is_paid():
    subject = Rate(steps=(Step(0, 60, 7), Step(60, 0, 1)), rounding=Rounding(1))
    assert price(subject, LONGEST_SECONDS) == 63
    assert max_duration(subject, 62) == (56, True)
    assert max_duration(subject, 63) == (None, False)
    again = Rate(steps=(Step(0, 0, 60), Step(60, 0, 7), Step(61, 60, 1)), rounding=Rounding(1))
    assert max_duration(again, 0) == (67, True)
    agree(again, 100)


def test_a_rounding_unit_above_what_is_there_leaves_only_what_rounds_to_nothing():
    for mode, seconds in (("up", 0), ("half_up", 29), ("half_even", 30), ("down", 59)):
        subject = plain(1_000_000, 1, 1_000_000, mode)
        assert max_duration(subject, 999_999) == (seconds, True)


def test_half_even_holds_its_ties_on_the_even_side_only():
    subject = plain(60, 1, 2, "half_even")  # 1 unit a second, to even multiples of 2
    assert [price(subject, seconds) for seconds in range(8)] == [0, 0, 2, 4, 4, 4, 6, 8]
    assert [max_duration(subject, available).seconds for available in range(9)] == [
        *(1, 1, 2, 2, 5, 5, 6, 6, 9),
    ]


# -- size --------------------------------------------------------------------------------------


@settings(max_examples=3 * settings().max_examples)
@given(huge_rates(), st.integers(0, 10**18), st.integers(0, LONGEST_SECONDS))
def test_the_longest_call_is_exact_at_any_size(subject, available, cap):
    limit = max_duration(subject, available, cap)
    assert limit.seconds is not None
    assert price(subject, limit.seconds) <= available
    assert limit.by_money == (limit.seconds < cap)
    if limit.by_money:
        assert price(subject, limit.seconds + 1) > available


@given(huge_rates(), st.lists(st.integers(0, LONGEST_SECONDS), min_size=2, max_size=8).map(sorted))
def test_the_price_never_falls_at_any_size(subject, durations):
    found = [price(subject, seconds) for seconds in durations]
    assert found == sorted(found)
    billed = [billed_seconds(subject, seconds) for seconds in durations]
    assert billed == sorted(billed)


@given(
    st.integers(1, MAX_UNITS // 60),
    st.integers(1, LONGEST_SECONDS),
    st.integers(0, LONGEST_SECONDS),
)
@example(1, 1, LONGEST_SECONDS)
@example(MAX_UNITS // 60, 1, LONGEST_SECONDS)
def test_a_plain_rate_costs_its_increments_at_any_size(per_second, increment, seconds):
    subject = plain(per_second * 60, increment)
    begun = -(-seconds // increment)
    assert billed_seconds(subject, seconds) == begun * increment
    assert price(subject, seconds) == begun * increment * per_second


def test_far_steps_and_long_calls_cost_no_time():
    subject = Rate(
        steps=tuple(Step(100_000 * n, 60 * n, 1 + n % 7) for n in range(10_000)),
        rounding=Rounding(1),
    )
    assert price(subject, LONGEST_SECONDS) > price(subject, LONGEST_SECONDS - 4)
    assert max_duration(subject, 10**18, LONGEST_SECONDS) == (LONGEST_SECONDS, False)
    for shift in range(500):  # would take for ever, were anything walked second by second
        limit = max_duration(plain(60 + shift), 10**9 - shift, LONGEST_SECONDS)
        assert limit.seconds is not None
        assert price(plain(60 + shift), limit.seconds) <= 10**9 - shift
        assert max_duration(plain(10**18), 10**18 + shift) == (60, True)


@pytest.mark.parametrize(
    ("per_minute", "available"), [(1, 10**18), (1, 10**8), (60, 10**9 + 60), (1000, MAX_UNITS)]
)
def test_the_longest_call_that_money_buys_can_be_priced(per_minute, available):
    # Without a cap, 100.00 at 0.000001 a minute lasts longer than anything that is rated at all.
    # Authorization holds the price of the limit: a limit that has no price is of no use.
    subject = plain(per_minute)
    limit = max_duration(subject, available)
    assert limit.seconds is not None
    assert price(subject, limit.seconds) <= available


def test_a_call_of_the_greatest_length_has_a_price_and_no_longer_one():
    assert price(plain(60), LONGEST_SECONDS) == LONGEST_SECONDS
    for seconds in (LONGEST_SECONDS + 1, 2**63, -1):
        with pytest.raises(InvalidInput) as refused:
            price(plain(60), seconds)
        assert refused.value.field == "seconds"
