"""What a card really gives, held to authorizing and settling call by call."""

import json

import pytest
from hypothesis import example, given, settings, strategies as st
from moneyed import EUR, JPY, USD, Money

from cardbill import (
    DeckRow,
    Rate,
    Step,
    disclose,
    max_duration,
    price,
    rate,
)
from cardbill.errors import InvalidInput
from cardbill.money import money
from cardbill.tariffs import Tariff
from tests.test_explaining import MONDAY, any_rates, any_tariffs

FACES = st.one_of(st.integers(0, 2_000), st.integers(0, 10**9))
MOST_CALLS = 500


def talk(subject: Rate, left: int, seconds: int, cap: int | None, minimum: int) -> tuple[int, int]:
    """Make calls of that length, each granted by what is left, until one is not: how many?"""
    calls = 0
    while calls < MOST_CALLS and granted(subject, left, cap, minimum, seconds):
        left -= price(subject, seconds)
        calls += 1
    return calls, left


def granted(subject: Rate, left: int, cap: int | None, minimum: int, seconds: int) -> bool:
    if left == 0 or left < minimum:
        return False
    limit = max_duration(subject, left, cap)
    if limit.seconds is None:
        return True
    if limit.by_money and limit.seconds <= subject.unbilled_seconds:
        return False
    return limit.seconds >= seconds


# -- the figures are those of calls, one by one ---------------------------------------------------


@settings(max_examples=5 * settings().max_examples)
@given(
    any_rates(),
    FACES,
    st.integers(1, 20),
    st.one_of(st.none(), st.integers(1, 1_500)),
    st.one_of(st.just(0), st.integers(0, 10**6)),
)
@example(rate("0.10", connect_fee="0.10", free_seconds=120), 100_000, 1, None, 0)
@example(rate("0.10", connect_fee="0.10", free_seconds=120), 200_000, 1, None, 0)
@example(rate("0.10", grace_seconds=60), 1_600, 1, None, 0)
@example(rate("0.10", grace_seconds=60), 1_700, 1, None, 0)
def test_so_many_calls_are_what_calling_again_and_again_comes_to(
    subject: Rate, face: int, minutes: int, cap: int | None, minimum: int
):
    told = disclose(
        subject,
        money(face, "USD"),
        calls_of=[minutes],
        cap=cap,
        minimum_balance=money(minimum, "USD"),
    )
    (row,) = told.calls_of
    calls, left = talk(subject, face, minutes * 60, cap, minimum)
    if row.calls is None:
        assert (calls, left) == (MOST_CALLS, face)
    elif row.calls < MOST_CALLS:
        assert (row.calls, row.left_units) == (calls, left)
        assert row.total_seconds == calls * minutes * 60
        further = row.further_seconds
        assert further is None or further < minutes * 60 or left == face
        if further:
            assert granted(subject, left, cap, minimum, further)
            assert price(subject, further) <= left
            assert further == cap or not granted(subject, left, cap, minimum, further + 1)
        else:
            assert further is None or not granted(subject, left, cap, minimum, 1)
    else:
        assert row.calls >= calls == MOST_CALLS


@settings(max_examples=2 * settings().max_examples)
@given(any_rates(), FACES)
def test_the_longest_call_is_what_a_full_card_is_granted(subject: Rate, face: int):
    longest = disclose(subject, money(face, "USD"), calls_of=[]).longest
    if longest.seconds is None:
        assert max_duration(subject, face).seconds is None
    elif longest.calls:
        assert longest.seconds == max_duration(subject, face).seconds
        assert longest.price_units == price(subject, longest.seconds)
        assert longest.left_units == face - longest.price_units
    else:
        assert longest.seconds == 0
        assert longest.left_units == face
        assert not granted(subject, face, None, 0, 1)


@settings(max_examples=30)
@given(any_tariffs(), st.integers(0, 10**7), st.integers(1, 5))
def test_where_the_hour_counts_each_call_is_granted_by_what_it_can_cost_at_most(
    subject: Tariff, face: int, minutes: int
):
    told = disclose(subject, money(face, "USD"), calls_of=[minutes], granted_at=MONDAY)
    (row,) = told.calls_of
    left, calls = face, 0
    while calls < 20:
        limit = subject.longest(left, None, MONDAY)
        longest = 10**9 if limit.seconds is None else limit.seconds
        short = limit.by_money and longest <= subject.unbilled_seconds(MONDAY)
        if left == 0 or short or longest < minutes * 60:
            break
        left -= subject.price(minutes * 60, MONDAY)
        calls += 1
    if row.calls is None:
        assert calls == 20
    else:
        assert min(row.calls, 20) == calls
        if row.calls < 20:
            assert row.left_units == left


# -- what it says -------------------------------------------------------------------------------


def test_minutes_are_told_with_every_fee_in_them():
    told = disclose(
        rate("0.10", increments="60/6", connect_fee="0.35", end_fee="0.05"), Money(5, USD)
    )
    assert told.longest.seconds == 46 * 60
    assert [(row.seconds, row.calls) for row in told.calls_of] == [
        (60, 10),
        (180, 7),
        (300, 5),
        (600, 3),
    ]
    assert told.calls_of[1].total_seconds == 21 * 60
    assert money(told.calls_of[1].left_units, "USD") == Money("0.10", USD)


def test_minutes_for_one_call_only_say_that_they_are():
    told = disclose(rate("0.10", connect_fee="0.35"), Money(2, USD), calls_of=[1])
    assert told.statements[0] == (
        "A card of $2.00 gives up to 16 minutes 30 seconds, used in one single call."
    )
    assert told.statements[1] == (
        "In calls of 1 minute: 4 calls, 4 minutes in all; "
        "$0.20 is left, which pays no further call."
    )


def test_what_is_left_may_pay_a_shorter_call():
    told = disclose(rate("0.10", connect_fee="0.10"), Money(1, USD), calls_of=[5])
    (row,) = told.calls_of
    assert (row.calls, row.left_units, row.further_seconds) == (1, 400_000, 180)
    assert "$0.40 is left, which pays one more call of up to 3 minutes" in str(told)


def test_nothing_left_is_said_so():
    assert "5 minutes in all; nothing is left." in str(
        disclose(rate("0.20"), Money(1, USD), calls_of=[5])
    )


def test_each_term_is_a_sentence():
    told = disclose(
        Rate(
            steps=rate("0.10", increments="60/6").steps,
            connect_fee=10_000,
            grace_seconds=5,
            free_seconds=30,
            minimum_charge=20_000,
            end_fee=30_000,
            surcharge_ppm=125_000,
            maximum_charge=900_000,
        ),
        Money(5, USD),
        calls_of=[],
        cap=1_800,
        minimum_balance=Money("0.50", USD),
    )
    assert told.statements[1:] == (
        "The first 30 seconds of a call are not billed by time.",
        "Talking costs $0.10 a minute.",
        (
            "Time is billed by 60 seconds, from second 60 on by 6 seconds; "
            "what is begun is charged whole."
        ),
        "Each call that is charged costs $0.01 to connect.",
        "12.5 % is added to this.",
        "Each call that is charged costs $0.03 when it ends.",
        "Each call that is charged costs $0.02 at least.",
        "No call costs more than $0.90.",
        "The price of a call is rounded up to a multiple of $0.0001.",
        "A call that is not answered costs nothing, nor does one of 5 seconds or less.",
        "No call may last longer than 30 minutes.",
        "No call can be made while less than $0.50 is left.",
    )


def test_a_maximum_that_ends_the_call_says_so():
    told = disclose(
        rate("0.10", maximum_charge="0.50", beyond_maximum="disconnect"),
        Money(5, USD),
        calls_of=[9],
    )
    assert "No call costs more than $0.50; it is ended then." in told.statements
    assert told.longest.seconds == 300
    assert told.calls_of[0].calls == 0
    assert "In calls of 9 minutes: none." in told.statements


def test_free_calls_are_told_as_without_end():
    told = disclose(rate(0), Money(5, USD), calls_of=[1])
    assert told.statements[:2] == (
        "A card of $5.00 gives a call without end.",
        "In calls of 1 minute: without end.",
    )
    assert (told.longest.total_seconds, told.calls_of[0].total_seconds) == (None, None)
    capped = disclose(rate("0.10", maximum_charge="0.50"), Money(1, USD), calls_of=[])
    assert (capped.longest.seconds, capped.longest.left_units) == (None, 500_000)


def test_a_card_too_small_for_any_call_says_so():
    told = disclose(rate("0.10", connect_fee=1), Money("0.50", USD), calls_of=[1])
    assert told.statements[:2] == ("A card of $0.50 gives no call.", "In calls of 1 minute: none.")


def test_steps_of_other_prices_are_told_from_where_they_begin():
    subject = Rate(steps=(Step(0, 100_000, 1), Step(60, 50_000, 1)))
    told = disclose(subject, Money(5, USD))
    assert "Talking costs $0.10 a minute, from second 60 on $0.05 a minute." in told.statements
    assert "Time is billed by 1 second; what is begun is charged whole." in told.statements


def test_other_currencies_are_written_as_theirs_are():
    told = disclose(rate(12, increments="60/60"), Money(500, JPY), calls_of=[1])
    assert told.statements[0].startswith("A card of ¥500 gives up to 41 minutes,")
    assert told.face_value == Money(500, JPY)


def test_it_is_plain_json():
    told = disclose(rate("0.10"), "5", currency="USD", destination="Peru")
    plain = json.loads(json.dumps(told.as_dict()))
    assert plain == told.as_dict()
    assert (plain["face_units"], plain["destination"]) == (5_000_000, "Peru")
    assert plain["longest"]["seconds"] == 3_000
    assert plain["statements"][0].startswith("A card of $5.00 gives up to 50 minutes to Peru,")


def test_what_cannot_be_disclosed_is_refused_by_name():
    subject = rate("0.10")
    for told, field in [
        ({"face_value": 1.5, "currency": USD}, "face_value"),
        ({"face_value": -1, "currency": USD}, "face_value"),
        ({"face_value": "5"}, "currency"),
        ({"face_value": Money(5, EUR), "currency": USD}, "face_value"),
        ({"face_value": 5, "currency": USD, "calls_of": [0]}, "calls_of"),
        ({"face_value": 5, "currency": USD, "cap": 0}, "cap"),
        ({"face_value": 5, "currency": USD, "minimum_balance": Money(1, EUR)}, "minimum_balance"),
    ]:
        with pytest.raises(InvalidInput) as refused:
            disclose(subject, **told)  # type: ignore[arg-type]
        assert refused.value.field == field
    with pytest.raises(InvalidInput, match="granted_at"):
        disclose(Tariff(subject, ((5, rate("0.20")),)), Money(5, USD))
    with pytest.raises(InvalidInput, match="blocked"):
        disclose(DeckRow(prefix="44", rate=subject, blocked=True), Money(5, USD))
