"""What past calls would have cost by another deck, or at another date."""

import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, settings, strategies as st
from moneyed import EUR, USD, Money

from cardbill import (
    Band,
    Batch,
    CallRecord,
    Carrier,
    Deck,
    DeckRow,
    ExchangeRate,
    ExchangeRates,
    Plan,
    rate,
)
from cardbill.errors import InvalidInput, UnknownName, WrongCurrency
from cardbill.rerating import compare, prices
from cardbill.tariffs import SETUP_SECONDS
from tests.building import (
    LIFETIME,
    START,
    TOLL_FREE,
    UK,
    UK_MOBILE,
    US,
    Shop,
    deck,
    open_shop,
    rows,
)
from tests.test_explaining import any_rates

CHEAPER = """\
prefix,destination,rate,increments
1,United States,0.010,1/1
44,United Kingdom,0.05,1/1
"""


@pytest.fixture
def shop(tmp_path: Path, kind: str) -> Iterator[Shop]:
    with open_shop(kind, tmp_path, plan={"calls_at_once": 5}) as opened:
        yield opened


def settle(shop: Shop, call_id: str, seconds: int, *, carrier: str = "acme", **ask: Any) -> Any:
    grant = shop.grant(call_id, **ask)
    return shop.bill.settle(grant.handle, talk_ms=seconds * 1000, carrier=carrier)


# -- prices -------------------------------------------------------------------------------------


def test_past_calls_are_compared_by_destination(shop: Shop):
    settle(shop, "a", 90, to=UK)  # 0.12; by the second 0.075
    settle(shop, "b", 60, to=UK, serial=2)  # 0.06; 0.05
    settle(shop, "c", 100, to=US)  # 0.02; 0.0167
    settle(shop, "d", 0, to=US, serial=3)  # not answered
    settle(shop, "e", 60, to=UK_MOBILE, serial=3)  # 0.25; 0.05
    before = rows(shop.bill.storage)
    told = shop.bill.reports.what_if(deck=deck(CHEAPER))
    assert rows(shop.bill.storage) == before
    assert [
        (row.destination, row.calls, row.seconds, row.before, row.after, row.difference)
        for row in told.destinations
    ] == [
        ("UK mobile", 1, 60, Money("0.25", USD), Money("0.05", USD), Money("-0.20", USD)),
        ("United Kingdom", 2, 150, Money("0.18", USD), Money("0.125", USD), Money("-0.055", USD)),
        ("United States", 1, 100, Money("0.02", USD), Money("0.0167", USD), Money("-0.0033", USD)),
    ]
    assert (told.total.calls, told.total.seconds) == (4, 310)
    assert (told.total.before, told.total.after) == (Money("0.45", USD), Money("0.1917", USD))
    assert told.total.difference_units == sum(row.difference_units for row in told.destinations)


def test_calls_that_the_other_deck_has_no_rate_for_stand_apart(shop: Shop):
    settle(shop, "a", 60, to=UK)
    settle(shop, "b", 60, to=US, serial=2)
    settle(shop, "c", 30, to=UK_MOBILE, serial=3)
    other = deck("prefix,rate,blocked\n44,0.01,\n447,0,yes\n")
    told = shop.bill.reports.what_if(deck=other)
    assert (told.total.calls, told.total.before_units, told.total.after_units) == (
        1,
        60_000,
        10_000,
    )
    assert (told.total.unrated_calls, told.total.unrated_seconds) == (2, 90)
    assert told.total.unrated_units == 12_000 + 250_000
    by_name = {row.destination: row for row in told.destinations}
    assert by_name["UK mobile"].unrated_calls == by_name["United States"].unrated_calls == 1
    assert by_name["United Kingdom"].unrated_calls == 0


def test_a_published_deck_is_named_and_only_its_newest_version_counts(shop: Shop):
    settle(shop, "a", 60, to=UK)
    shop.bill.decks.publish("next", deck("prefix,rate\n44,0.5\n"))
    shop.bill.decks.publish("next", deck(CHEAPER))
    told = shop.bill.reports.what_if(deck="next")
    assert told.total.after == Money("0.05", USD)


def test_without_a_deck_each_call_is_rated_by_its_own_as_it_stands_now(shop: Shop):
    settle(shop, "a", 60, to=UK)
    assert shop.bill.reports.what_if().total.difference_units == 0
    shop.publish_retail(CHEAPER)
    assert shop.bill.reports.what_if().total.difference == Money("-0.01", USD)


def test_only_the_calls_that_are_given_are_compared(shop: Shop):
    settle(shop, "a", 60, to=UK)
    settle(shop, "b", 60, to=US, serial=2)
    bill = shop.bill
    records = (record for record in bill.records() if record.destination == "United Kingdom")
    assert bill.reports.what_if(records, deck=deck(CHEAPER)).total.calls == 1
    assert bill.reports.what_if([], deck=deck(CHEAPER)).total.before == Money(0, USD)
    with pytest.raises(InvalidInput, match="batch"):
        bill.reports.what_if([], batch="B")


def test_what_was_overrun_or_not_paid_is_compared_at_its_rated_price(tmp_path: Path):
    plan = {"max_call_seconds": 60}
    with open_shop("memory", tmp_path, face=Money("0.10", USD), plan=plan) as shop:
        late = shop.grant("late")
        shop.bill.cancel(late.handle)
        settle(shop, "next", 60)  # 0.04 is left
        short = shop.bill.settle(late.handle, talk_ms=200_000, carrier="acme")
        assert (short.seconds, short.price_units) == (60, 40_000)
        told = shop.bill.reports.what_if(deck=deck(CHEAPER))
        assert (told.total.seconds, told.total.before) == (120, Money("0.12", USD))


def test_calls_that_nobody_ended_are_in_it_and_cancelled_ones_are_not(tmp_path: Path):
    with open_shop("memory", tmp_path, plan={"slice_seconds": 60}) as shop:
        shop.bill.extend(shop.grant("a").handle, used_seconds=50, number=1)
        shop.bill.cancel(shop.grant("b", serial=2).handle)
        shop.bill.sweep(at=START + LIFETIME)
        told = shop.bill.reports.what_if(deck=deck(CHEAPER))
        assert (told.total.calls, told.total.seconds) == (1, 50)


# -- dates and bands ----------------------------------------------------------------------------


def dated(*more: DeckRow) -> Deck:
    new_year = datetime(2026, 1, 1, tzinfo=UTC)
    return Deck.compile(
        [
            DeckRow(prefix="44", rate=rate("0.06", increments="60/60"), effective_until=new_year),
            DeckRow(prefix="44", rate=rate("0.09", increments="60/60"), effective_from=new_year),
            DeckRow(
                prefix="44",
                rate=rate("0.03", increments="60/60"),
                band="night",
                effective_from=new_year,
            ),
            *more,
        ],
        currency=USD,
        bands=[Band("night", "Mon-Sun 22:00-06:00")],
        band_rating="split",
    )


def test_another_date_has_its_rates_and_each_call_its_own_hour(shop: Shop):
    shop.bill.decks.publish("retail", dated())
    settle(shop, "day", 60, to=UK)
    shop.clock.tick(hours=9, minutes=59)
    settle(shop, "evening", 180, to=UK, serial=2)  # passes into the night
    now = shop.bill.reports.what_if()
    assert (now.total.before, now.total.after) == (Money("0.24", USD), Money("0.24", USD))
    next_year = shop.bill.reports.what_if(at=datetime(2026, 6, 1, 23, tzinfo=UTC))
    assert next_year.total.after == Money("0.24", USD)  # 0.09, and 0.09 + 2 x 0.03
    with pytest.raises(InvalidInput, match="at"):
        shop.bill.reports.what_if(at=datetime(2026, 6, 1))  # noqa: DTZ001


def test_a_call_that_rang_for_long_is_rated_by_the_bands_it_came_to(shop: Shop):
    night = datetime(2026, 3, 2, 22, tzinfo=UTC)
    shop.bill.decks.publish("retail", dated())
    grant = shop.grant("late", at=night - timedelta(minutes=10))
    answered = night - timedelta(seconds=30)
    record = shop.bill.settle(
        grant.handle, talk_ms=120_000, answered_at=answered, at=night, carrier="acme"
    )
    assert record.price == Money("0.12", USD)  # 0.09 + 0.03
    assert shop.bill.reports.what_if().total.after == record.price


# -- costs --------------------------------------------------------------------------------------


def test_what_a_carriers_new_deck_would_have_cost(shop: Shop):
    settle(shop, "a", 60, to=UK)  # 0.02
    settle(shop, "b", 60, to=UK, serial=2, carrier="beta")
    settle(shop, "c", 30, to=TOLL_FREE, serial=3)  # price 0; cost 0.0025
    told = shop.bill.reports.what_if(carrier="acme", deck=deck("prefix,rate\n44,0.03\n1,0.01\n"))
    assert (told.total.calls, told.total.before) == (2, Money("0.0225", USD))
    assert told.total.after == Money("0.035", USD)


def test_a_carriers_cost_is_of_all_that_was_talked(tmp_path: Path):
    with open_shop("memory", tmp_path, plan={"max_call_seconds": 60}) as shop:
        settle(shop, "a", 120, to=UK)
        told = shop.bill.reports.what_if(carrier="acme")
        assert (told.total.seconds, told.total.before) == (120, Money("0.04", USD))
        assert told.total.difference_units == 0


def test_a_carriers_cost_is_compared_in_its_own_currency(shop: Shop):
    shop.bill.exchange.publish(ExchangeRates(base="USD", rates=[ExchangeRate("EUR", "1.25")]))
    shop.bill.decks.publish("euro", deck("prefix,rate\n44,0.01\n", EUR))
    shop.bill.carriers.publish(Carrier(name="euro", deck="euro"))
    settle(shop, "a", 60, to=UK, carrier="euro")
    told = shop.bill.reports.what_if(carrier="euro", deck=deck("prefix,rate\n44,0.02\n", EUR))
    assert (told.total.before, told.total.after) == (Money("0.01", EUR), Money("0.02", EUR))
    with pytest.raises(WrongCurrency, match="deck: is in USD, call a of card B/1 is in EUR"):
        shop.bill.reports.what_if(carrier="euro", deck=deck(CHEAPER))


def test_without_a_deck_a_carriers_own_is_taken_as_it_stands_now(shop: Shop):
    settle(shop, "a", 60, to=UK)
    shop.bill.decks.publish("acme-cost", deck("prefix,rate\n44,0.025\n"))
    told = shop.bill.reports.what_if(carrier="acme")
    assert (told.total.before, told.total.after) == (Money("0.02", USD), Money("0.025", USD))
    with pytest.raises(UnknownName):
        shop.bill.reports.what_if(carrier="nope")


# -- what cannot be compared --------------------------------------------------------------------


def test_another_currency_is_refused_by_the_first_call_in_it(shop: Shop):
    bill = shop.bill
    settle(shop, "a", 60, to=UK)
    with pytest.raises(WrongCurrency, match="deck: is in EUR, call a of card B/1 is in USD"):
        bill.reports.what_if(deck=deck(CHEAPER, EUR))
    bill.decks.publish("euro", deck(CHEAPER, EUR))
    bill.plans.publish(Plan(name="Euro", deck="euro", currency=EUR))
    bill.batches.create(Batch(name="E", face_value=Money(5, EUR), quantity=1, plan="Euro"))
    bill.batches.generate_pins("E")
    bill.carriers.publish(Carrier(name="euro", deck="euro"))
    settle(shop, "e", 60, batch="E", carrier="euro")
    with pytest.raises(WrongCurrency, match="records: call e of card E/1 is in EUR"):
        bill.reports.what_if()
    assert bill.reports.what_if(batch="E").total.currency == "EUR"
    with pytest.raises(UnknownName):
        bill.reports.what_if(deck="nope")


# -- laws ---------------------------------------------------------------------------------------


@st.composite
def any_decks(draw: st.DrawFn) -> Deck:
    """A deck for the United Kingdom, with bands after noon that may split calls."""
    bands = [Band("lunch", "Mon-Sun 12:01-12:03"), Band("tea", "Mon-Sun 12:05-12:07")]
    banded = [
        DeckRow(prefix="4420", rate=draw(any_rates()), band=band.name)
        for band in bands
        if draw(st.booleans())
    ]
    always = DeckRow(prefix="44", rate=draw(any_rates()), destination="UK")
    mode = draw(st.sampled_from(["at_start", "split"]))
    return Deck.compile([always, *banded], currency=USD, bands=bands, band_rating=mode)


@settings(max_examples=60)
@given(
    any_decks(),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 250)), min_size=1, max_size=4),
)
def test_by_the_very_deck_that_rated_it_a_call_costs_what_it_did(
    tmp_path_factory: pytest.TempPathFactory, subject: Deck, calls: list[tuple[int, int]]
):
    face = Money(9_000_000, USD)
    folder = tmp_path_factory.mktemp("shop")
    with open_shop("memory", folder, face=face, plan={"max_call_seconds": 9_000}) as shop:
        version = shop.bill.decks.publish("retail", subject)
        for number, (seconds, ringing) in enumerate(calls):
            grant = shop.grant(f"c{number}")
            answered = shop.clock.now + timedelta(seconds=ringing)
            shop.bill.settle(
                grant.handle,
                talk_ms=seconds * 1000,
                answered_at=answered,
                at=answered + timedelta(seconds=seconds),
                carrier="acme",
            )
            shop.clock.tick(seconds=700)
        shop.publish_retail(CHEAPER)
        spent = sum(record.price_units for record in shop.records())
        told = shop.bill.reports.what_if(deck=shop.bill.decks.get("retail", version))
        assert told.total.after_units == told.total.before_units
        if all(ringing <= SETUP_SECONDS for _, ringing in calls):
            assert told.total.before_units == spent
        assert told.total.unrated_calls == 0


def test_many_calls_stream_through_in_little_memory(tmp_path: Path):
    with open_shop("memory", tmp_path) as shop:
        first = settle(shop, "a", 90, to=UK)
    subject = deck(CHEAPER)

    def many() -> Iterator[CallRecord]:
        for number in range(20_000):
            yield evolve(first, call_id=f"c{number}", seconds=number % 600 + 1)

    records = many()
    compare(islice(records, 1_000), prices, lambda _: subject, None)  # what is made once
    tracemalloc.start()
    told = compare(records, prices, lambda _: subject, None)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert told.total.calls == 19_000
    assert peak < 100_000
