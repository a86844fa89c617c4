"""Rates as terms: what cannot be is refused, increments are read, a rate is a value."""

import copy
import json
import pickle
from collections.abc import Callable
from fractions import Fraction

import pytest
from attrs import evolve
from attrs.exceptions import FrozenInstanceError
from hypothesis import given, strategies as st
from moneyed import Money

from cardbill.errors import FloatRefused, InexactAmount, InvalidInput, WrongCurrency
from cardbill.increments import LONGEST_SECONDS, BlockRounding, Step, parse_increments, steps_of
from cardbill.money import MAX_UNITS, RoundingMode
from cardbill.rating import Beyond, Rate, Rounding, billed_seconds, max_duration, price, rate
from cardbill.terms import rate_from_list, rate_to_list
from tests.random_rates import CENT, MODES, huge_rates, plain, rates

# -- terms that cannot be ------------------------------------------------------------------------

GOOD = (Step(0, 60, 1),)
BAD_TERMS: dict[str, tuple[str, Callable[[], object]]] = {
    "no steps": ("steps", lambda: Rate(steps=())),
    "steps are None": ("steps", lambda: Rate(steps=None)),  # type: ignore[arg-type]
    "steps are text": ("steps", lambda: Rate(steps="60/6")),  # type: ignore[arg-type]
    "steps are plain tuples": ("steps", lambda: Rate(steps=((0, 60, 1),))),  # type: ignore[arg-type]
    "first step late": ("steps", lambda: Rate(steps=(Step(1, 60, 1),))),
    "steps fall": ("steps", lambda: Rate(steps=(*GOOD, Step(9, 1, 1), Step(8, 1, 1)))),
    "steps alike": ("steps", lambda: Rate(steps=(*GOOD, Step(9, 1, 1), Step(9, 1, 1)))),
    "two first steps": ("steps", lambda: Rate(steps=GOOD * 2)),
    "from_second < 0": ("from_second", lambda: Step(-1, 1, 1)),
    "from_second too late": ("from_second", lambda: Step(LONGEST_SECONDS + 1, 1, 1)),
    "from_second is text": ("from_second", lambda: Step("0", 1, 1)),  # type: ignore[arg-type]
    "price < 0": ("price_per_minute", lambda: Step(0, -1, 1)),
    "price too high": ("price_per_minute", lambda: Step(0, MAX_UNITS + 1, 1)),
    "price is None": ("price_per_minute", lambda: Step(0, None, 1)),  # type: ignore[arg-type]
    "increment 0": ("increment", lambda: Step(0, 1, 0)),
    "increment < 0": ("increment", lambda: Step(0, 1, -6)),
    "increment too long": ("increment", lambda: Step(0, 1, LONGEST_SECONDS + 1)),
    "increment is True": ("increment", lambda: Step(0, 1, True)),
    "connect_fee < 0": ("connect_fee", lambda: Rate(steps=GOOD, connect_fee=-1)),
    "connect_fee too high": ("connect_fee", lambda: Rate(steps=GOOD, connect_fee=MAX_UNITS + 1)),
    "connect_fee is True": ("connect_fee", lambda: Rate(steps=GOOD, connect_fee=True)),
    "minimum_charge < 0": ("minimum_charge", lambda: Rate(steps=GOOD, minimum_charge=-1)),
    "end_fee < 0": ("end_fee", lambda: Rate(steps=GOOD, end_fee=-1)),
    "surcharge < 0": ("surcharge_ppm", lambda: Rate(steps=GOOD, surcharge_ppm=-1)),
    "grace < 0": ("grace_seconds", lambda: Rate(steps=GOOD, grace_seconds=-1)),
    "grace too long": ("grace_seconds", lambda: Rate(steps=GOOD, grace_seconds=10**9 + 1)),
    "free < 0": ("free_seconds", lambda: Rate(steps=GOOD, free_seconds=-1)),
    "free is None": ("free_seconds", lambda: Rate(steps=GOOD, free_seconds=None)),  # type: ignore[arg-type]
    "unit 0": ("unit", lambda: Rounding(0)),
    "unit < 0": ("unit", lambda: Rounding(-100)),
    "unit is text": ("unit", lambda: Rounding("100")),  # type: ignore[arg-type]
    "mode unknown": ("mode", lambda: Rounding(1, "sideways")),
    "mode is None": ("mode", lambda: Rounding(1, None)),  # type: ignore[arg-type]
    "no rounding": ("rounding", lambda: Rate(steps=GOOD, rounding=None)),  # type: ignore[arg-type]
    "rounding is a number": ("rounding", lambda: Rate(steps=GOOD, rounding=100)),  # type: ignore[arg-type]
    "maximum < 0": ("maximum_charge", lambda: Rate(steps=GOOD, maximum_charge=-100)),
    "maximum too high": (
        "maximum_charge",
        lambda: Rate(steps=GOOD, maximum_charge=MAX_UNITS + 100),
    ),
    "maximum is True": ("maximum_charge", lambda: Rate(steps=GOOD, maximum_charge=True)),
    "maximum is text": ("maximum_charge", lambda: Rate(steps=GOOD, maximum_charge="1")),  # type: ignore[arg-type]
    "maximum below minimum": (
        "maximum_charge",
        lambda: Rate(steps=GOOD, minimum_charge=200, maximum_charge=100),
    ),
    "maximum between units": ("maximum_charge", lambda: Rate(steps=GOOD, maximum_charge=150)),
    "maximum that ends a call before it begins": (
        "maximum_charge",
        lambda: Rate(steps=GOOD, connect_fee=200, maximum_charge=100, beyond_maximum="disconnect"),
    ),
    "beyond_maximum unknown": ("beyond_maximum", lambda: Rate(steps=GOOD, beyond_maximum="stop")),
    "beyond_maximum None": ("beyond_maximum", lambda: Rate(steps=GOOD, beyond_maximum=None)),  # type: ignore[arg-type]
    "block_rounding unknown": ("block_rounding", lambda: Rate(steps=GOOD, block_rounding="up")),
    "block_rounding None": ("block_rounding", lambda: Rate(steps=GOOD, block_rounding=None)),  # type: ignore[arg-type]
    "rate maximum no number": ("maximum_charge", lambda: rate(1, maximum_charge="much")),
    "rate maximum < 0": ("maximum_charge", lambda: rate(1, maximum_charge="-1")),
    "rate beyond_maximum": ("beyond_maximum", lambda: rate(1, beyond_maximum="ring off")),
    "rate block_rounding": ("block_rounding", lambda: rate(1, block_rounding="")),
    "rate price < 0": ("price_per_minute", lambda: rate("-0.01")),
    "rate price no number": ("price_per_minute", lambda: rate("cheap")),
    "rate price is None": ("price_per_minute", lambda: rate(None)),
    "rate connect_fee < 0": ("connect_fee", lambda: rate(1, connect_fee="-1")),
    "rate end_fee no number": ("end_fee", lambda: rate(1, end_fee="1e3")),
    "rate minimum no number": ("minimum_charge", lambda: rate(1, minimum_charge="")),
    "rate surcharge < 0": ("surcharge", lambda: rate(1, surcharge_percent=-1)),
    "rate increments": ("increments", lambda: rate(1, increments="60-6")),
    "rate increments None": ("increments", lambda: rate(1, increments=None)),  # type: ignore[arg-type]
    "rate increments int": ("increments", lambda: rate(1, increments=60)),  # type: ignore[arg-type]
    "price of less than 0 s": ("seconds", lambda: price(plain(1), -1)),
    "price of True": ("seconds", lambda: price(plain(1), True)),
    "price of text": ("seconds", lambda: price(plain(1), "60")),  # type: ignore[arg-type]
    "billed < 0 s": ("seconds", lambda: billed_seconds(plain(1), -1)),
    "available < 0": ("available", lambda: max_duration(plain(1), -1)),
    "available is text": ("available", lambda: max_duration(plain(1), "1")),  # type: ignore[arg-type]
    "cap < 0": ("cap", lambda: max_duration(plain(1), 1, -1)),
}


@pytest.mark.parametrize("case", BAD_TERMS)
def test_a_bad_term_is_an_error_that_names_it(case):
    field, make = BAD_TERMS[case]
    with pytest.raises(InvalidInput) as refused:
        make()
    assert field in refused.value.field
    assert str(refused.value).startswith(refused.value.field)


def test_amounts_of_a_rate_are_exact_and_in_its_currency():
    assert rate(Money("0.15", "EUR"), currency="EUR") == rate("0.15")
    with pytest.raises(WrongCurrency, match="connect_fee"):
        rate(1, connect_fee=Money(1, "USD"), currency="EUR")
    with pytest.raises(WrongCurrency, match="price_per_minute"):
        rate(Money(1, "USD"))
    with pytest.raises(InexactAmount, match="price_per_minute"):
        rate("0.0000001")
    with pytest.raises(InexactAmount, match="surcharge"):
        rate(1, surcharge_percent="0.00001")
    with pytest.raises(FloatRefused, match="end_fee"):
        rate(1, end_fee=0.1)


def test_the_greatest_terms_are_allowed():
    steps = (
        Step(0, MAX_UNITS, LONGEST_SECONDS),
        Step(LONGEST_SECONDS, MAX_UNITS, LONGEST_SECONDS),
    )
    subject = Rate(
        steps=steps,
        connect_fee=MAX_UNITS,
        minimum_charge=MAX_UNITS,
        end_fee=MAX_UNITS,
        surcharge_ppm=MAX_UNITS,
        rounding=Rounding(1),
    )
    usage = Fraction(LONGEST_SECONDS * MAX_UNITS, 60)
    exact = (MAX_UNITS + usage) * (1 + Fraction(MAX_UNITS, 10**6)) + MAX_UNITS
    assert price(subject, LONGEST_SECONDS) == -(-exact // 1)
    assert max_duration(subject, MAX_UNITS) == (0, True)


def test_a_maximum_is_the_most_that_a_call_costs_and_may_end_it():
    free = rate("0.60", increments="60/60", connect_fee="0.10", maximum_charge="1.50")
    assert [price(free, seconds) for seconds in (1, 120, 121, 10**9)] == [
        *(700_000, 1_300_000, 1_500_000, 1_500_000),
    ]
    assert max_duration(free, 1_499_999) == (120, True)
    assert max_duration(free, 1_500_000) == (None, False)
    ending = evolve(free, beyond_maximum=Beyond.DISCONNECT)
    assert price(ending, 121) == 1_500_000  # what the switch overran
    assert max_duration(ending, MAX_UNITS) == (120, False)
    assert max_duration(ending, MAX_UNITS, 60) == (60, False)
    assert max_duration(ending, 1_299_999) == (60, True)


def test_blocks_of_the_total_are_counted_from_the_beginning_of_the_call():
    subject = rate("0.60", increments="30/18", block_rounding="total")
    told = [(0, 0), (1, 30), (30, 30), (31, 36), (36, 36), (37, 54), (55, 72)]
    assert [billed_seconds(subject, seconds) for seconds, _ in told] == [due for _, due in told]
    assert price(subject, 31) == 36 * CENT
    assert max_duration(subject, 36 * CENT - 1) == (30, True)


# -- increments as text --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *(("60/6", (60, 6)), ("1/1", (1, 1)), ("30/18", (30, 18)), ("60", (60, 60))),
        *(("1", (1, 1)), ("060/006", (60, 6)), ("999999999/1", (999_999_999, 1))),
        *(("6/60", (6, 60)), ("000000001", (1, 1))),
    ],
)
def test_increments_are_read(text, expected):
    assert parse_increments("increment", text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "/", "60/", "/6", "0", "0/6", "60/0", "00/00", "60/6/1", "60//6", "-60/6", "60/-6"),
        *("+60/6", " 60/6", "60/6 ", "60 / 6", "60/6\n", "60\\6", "60:6", "60,6", "60.0/6", "6e1"),
        *("6_0/6", "٦٠/٦", "²/6", "60/²", "½", "sixty", "0x10", "1000000000", "60/1000000000"),
        *("60/6\x00", "9" * 5000, "1/" + "9" * 5000, "\uff16\uff10/\uff16"),
    ],
    ids=lambda text: repr(text[:12]),
)
def test_other_increments_are_refused(text):
    with pytest.raises(InvalidInput) as refused:
        parse_increments("increment", text)
    assert (refused.value.field, refused.value.value) == ("increment", text)


@given(st.integers(1, 999_999_999), st.integers(1, 999_999_999))
def test_increments_are_two_steps_or_one(first, following):
    assert parse_increments("f", f"{first}/{following}") == (first, following)
    steps = steps_of(6, first, following)
    if first == following:
        assert steps == (Step(0, 6, first),)
    else:
        assert steps == (Step(0, 6, first), Step(first, 6, following))
    subject = Rate(steps=steps)
    assert billed_seconds(subject, 1) == billed_seconds(subject, first) == first
    assert billed_seconds(subject, first + 1) == first + following


# -- a rate as a value -----------------------------------------------------------------------------


def test_rates_are_values():
    one, same = rate("0.15", increments="60/6"), rate("0.150", increments="60/6")
    assert one == same
    assert hash(one) == hash(same)
    assert one != rate("0.15", increments="60/7")
    assert one != evolve(one, rounding=Rounding(100, RoundingMode.HALF_UP))
    price(one, 61)  # whatever is remembered of it now is no part of the value
    assert one == same
    assert hash(one) == hash(same)
    with pytest.raises(FrozenInstanceError):
        one.connect_fee = 1  # type: ignore[misc]


def test_a_rate_does_not_remember_another_ones_steps():
    subject = rate("0.60", increments="60/6")
    assert price(subject, 61) == 66 * CENT
    for other in (
        evolve(subject, steps=(Step(0, 60 * CENT, 1),)),
        pickle.loads(pickle.dumps(evolve(subject, steps=(Step(0, 60 * CENT, 1),)))),
    ):
        assert price(other, 61) == 61 * CENT
    for alike in (pickle.loads(pickle.dumps(subject)), copy.deepcopy(subject), copy.copy(subject)):
        assert alike == subject
        assert price(alike, 61) == 66 * CENT


def test_a_list_of_steps_makes_a_rate_that_can_be_a_key():
    subject = Rate(steps=[Step(0, 60, 6)])
    assert subject == Rate(steps=(Step(0, 60, 6),))
    assert len({subject, Rate(steps=(Step(0, 60, 6),))}) == 1


@given(st.one_of(rates(), huge_rates()))
def test_a_stored_rate_is_the_same_rate(subject):
    stored = rate_to_list(subject)
    text = json.dumps(stored, allow_nan=False)
    assert "." not in text  # integers only
    assert text.count("null") <= (subject.maximum_charge is None)
    back = rate_from_list(json.loads(text))
    assert back == subject
    assert rate_to_list(back) == stored
    assert rate_from_list(json.loads(text)) is back
    assert price(back, 1234) == price(subject, 1234)


def test_a_stored_rate_keeps_every_term_apart():
    base = Rate(steps=(Step(0, 1, 2), Step(3, 4, 5)))
    others = [
        base,
        evolve(base, steps=base.steps[:1]),
        *(evolve(base, steps=(base.steps[0], Step(*step))) for step in ((4, 4, 5), (3, 5, 5))),
        evolve(base, steps=(base.steps[0], Step(3, 4, 6))),
        evolve(base, connect_fee=1),
        evolve(base, grace_seconds=1),
        evolve(base, free_seconds=1),
        evolve(base, minimum_charge=1),
        evolve(base, end_fee=1),
        evolve(base, surcharge_ppm=1),
        evolve(base, maximum_charge=0),
        evolve(base, maximum_charge=100),
        evolve(base, maximum_charge=100, beyond_maximum=Beyond.DISCONNECT),
        evolve(base, block_rounding=BlockRounding.TOTAL),
        evolve(base, rounding=Rounding(1)),
        *(evolve(base, rounding=Rounding(100, mode)) for mode in MODES[1:]),
    ]
    stored = [json.dumps(rate_to_list(other)) for other in others]
    assert len(set(stored)) == len(others)
    assert [rate_from_list(json.loads(text)) for text in stored] == others


def test_the_stored_form_is_what_it_was():
    # Decks and holds on disk are of this form: it can only be read on, never changed.
    subject = Rate(
        steps=(Step(0, 150_000, 60), Step(60, 140_000, 6)),
        connect_fee=1,
        grace_seconds=2,
        free_seconds=3,
        minimum_charge=4,
        end_fee=5,
        surcharge_ppm=6,
        rounding=Rounding(7, RoundingMode.HALF_EVEN),
    )
    stored = [[[0, 150_000, 60], [60, 140_000, 6]], 1, 2, 3, 4, 5, 6, 7, 2]
    assert rate_to_list(subject) == stored
    assert rate_from_list(stored) == subject
    positions = [rate_to_list(evolve(subject, rounding=Rounding(7, mode)))[-1] for mode in MODES]
    assert dict(zip([mode.value for mode in MODES], positions, strict=True)) == {
        "up": 0,
        "half_up": 1,
        "half_even": 2,
        "down": 3,
    }
