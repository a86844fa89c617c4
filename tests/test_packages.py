"""Packages as plans write them down, and the buckets that cards have of them."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, strategies as st
from moneyed import EUR, USD, Money

from cardbill import BillingCycle, Package, Plan, Unit
from cardbill.buckets import Bucket, Draw, drawn, held, offered
from cardbill.errors import InvalidInput, MissingFields, WrongCurrency

NOON = datetime(2025, 3, 3, 12, tzinfo=UTC)
DAY = timedelta(days=1)
BONUS: dict[str, Any] = {"name": "bonus", "minutes": 30}


def package(**terms: Any) -> Package:
    return Package(**{**BONUS, **terms})


def test_what_is_needed_and_missing_is_named():
    with pytest.raises(MissingFields, match=r"name.*minutes"):
        Package()


def test_each_unit_counts_in_its_own():
    assert (package().unit, package().quantity) == (Unit.SECONDS, 1_800)
    assert package(minutes=None, seconds=90).quantity == 90
    calls = package(minutes=None, calls=5)
    assert (calls.unit, calls.quantity) == (Unit.CALLS, 5)
    bought = package(minutes=None, amount=Money("2.50", USD), given="bought", price=Money(2, USD))
    assert (bought.unit, bought.quantity, bought.price_units) == (Unit.MONEY, 2_500_000, 2_000_000)


@pytest.mark.parametrize(
    ("terms", "field"),
    [
        ({"name": "a/b"}, "name"),
        ({"minutes": 0}, "minutes"),
        ({"minutes": None, "seconds": -1}, "seconds"),
        ({"minutes": None, "calls": 0}, "calls"),
        ({"minutes": None, "calls": True}, "calls"),
        ({"minutes": None, "amount": 5}, "amount"),
        ({"minutes": None, "amount": Money(0, USD)}, "amount"),
        ({"seconds": 5}, "one of them"),
        ({"minutes": 10**8}, "minutes"),
        ({"given": "sometimes"}, "given"),
        ({"destinations": [""]}, "destinations"),
        ({"carry_over": True}, "carry_over"),
        ({"given": "cycle", "carry_over": 1}, "carry_over"),
        ({"price": Money(1, USD)}, "price"),
        ({"given": "bought", "price": Money(-1, USD)}, "price"),
        ({"valid": 30}, "valid"),
        ({"valid": BillingCycle()}, "valid"),
        ({"valid": BillingCycle(unit="days", anchor=date(2025, 1, 1))}, "valid"),
        ({"waives_connect_fee": "yes"}, "waives_connect_fee"),
    ],
)
def test_a_term_that_cannot_be_used_is_refused_by_name(terms, field):
    with pytest.raises(InvalidInput, match=field):
        package(**terms)


def test_the_packages_of_a_plan_fit_it():
    terms: dict[str, Any] = {"name": "p", "currency": "USD", "deck": "d"}
    with pytest.raises(InvalidInput, match=r"packages.*twice.*bonus"):
        Plan(**terms, packages=[package(), package(minutes=5)])
    with pytest.raises(WrongCurrency, match="bonus"):
        Plan(**terms, packages=[package(minutes=None, amount=Money(1, EUR))])
    with pytest.raises(WrongCurrency, match="bonus"):
        Plan(**terms, packages=[package(given="bought", price=Money(1, EUR))])
    with pytest.raises(InvalidInput, match=r"billing_cycle.*bonus"):
        Plan(**terms, packages=[package(given="cycle")])
    monthly = BillingCycle(unit="months")
    assert Plan(**terms, billing_cycle=monthly, packages=[package(given="cycle")]).packages


# -- buckets -----------------------------------------------------------------------------------

units = st.sampled_from(Unit)


@st.composite
def buckets(draw: st.DrawFn) -> list[Bucket]:
    count = draw(st.integers(0, 6))
    made = []
    for number in range(1, count + 1):
        given = draw(st.integers(1, 100))
        spent = draw(st.integers(0, given))
        made.append(
            Bucket(
                number=number,
                package="p",
                unit=draw(units),
                given=given,
                used=spent,
                expired=draw(st.integers(0, given - spent)),
                expires_at=draw(st.none() | st.integers(-2, 5).map(lambda days: NOON + days * DAY)),
                waives_connect_fee=draw(st.booleans()),
            )
        )
    return made


@st.composite
def with_draws(draw: st.DrawFn) -> tuple[list[Bucket], list[Draw]]:
    made = draw(buckets())
    draws = [
        Draw(bucket.number, bucket.unit, draw(st.integers(0, bucket.left)), False)
        for bucket in made
        if draw(st.booleans())
    ]
    return made, draws


@given(with_draws())
def test_a_call_is_offered_what_is_free_and_what_expires_first_comes_first(case):
    made, draws = case
    by_number = {bucket.number: bucket for bucket in made}
    offers = offered(made, draws, NOON)
    never = NOON + 1_000 * DAY
    for offer in offers:
        bucket = by_number[offer.bucket]
        assert bucket.expires_at is None or bucket.expires_at > NOON
        free = bucket.left - held(draws, bucket.number)
        assert offer.units == (1 if offer.unit is Unit.CALLS else free) > 0
        assert offer.waives_connect_fee == bucket.waives_connect_fee
    order = [(by_number[o.bucket].expires_at or never, o.bucket) for o in offers]
    assert order == sorted(order)
    usable = [
        bucket
        for bucket in made
        if bucket.left > held(draws, bucket.number)
        and (bucket.expires_at is None or bucket.expires_at > NOON)
    ]
    assert bool(offers) == bool(usable)
    if any(offer.unit is Unit.CALLS for offer in offers):
        assert len(offers) == 1
        first = min(usable, key=lambda bucket: (bucket.expires_at or never, bucket.number))
        assert first.number == offers[0].bucket
    else:
        waiting = {bucket.number for bucket in usable} - {offer.bucket for offer in offers}
        assert all(by_number[number].unit is Unit.CALLS for number in waiting)


@given(
    st.lists(st.builds(Draw, st.integers(1, 5), units, st.integers(1, 50), st.booleans())), units
)
def test_units_are_taken_in_order_and_never_more_than_there_are(draws, unit):
    there = sum(draw.units for draw in draws if draw.unit is unit)
    for wanted in (0, 1, there // 2, there, there + 7):
        taken = drawn(draws, unit, wanted)
        assert sum(draw.units for draw in taken) == min(wanted, there)
        assert all(draw.units > 0 and draw.unit is unit for draw in taken)
        full = [draw for draw in draws if draw.unit is unit][: len(taken)]
        assert [draw.units for draw in taken[:-1]] == [draw.units for draw in full[:-1]]
