"""Carriers of several currencies, full, guarded or not granted: from the grant to the report."""

import json
import sqlite3
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from math import floor
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, strategies as st
from moneyed import EUR, GBP, USD, Money

from cardbill import Batch, Carrier, ExchangeRate, ExchangeRates, Grant, Plan, Refused, Routing
from cardbill.audit import audit
from cardbill.calls import make_handle
from cardbill.cardstate import dump_record, load_record
from cardbill.errors import InvalidInput, WrongCurrency
from cardbill.exchange import Quote
from cardbill.instants import to_micros
from tests.building import LIFETIME, START, STORES, UK, UNROUTED, Shop, deck, open_shop

DAY = timedelta(days=1)
RATES = {"EUR": "1.0837", "GBP": "1.25"}


def exchange(**worth: str) -> ExchangeRates:
    listed = [ExchangeRate(code, rate) for code, rate in (worth or RATES).items()]
    return ExchangeRates(base=USD, rates=listed)


@pytest.fixture(params=STORES)
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    """Cards in euros (60/60 at 0.06); acme and beta take euros, gamma pounds, delta dollars."""
    with open_shop(
        request.param,
        tmp_path,
        face=Money(5, EUR),
        plan={"calls_at_once": 9, "max_call_seconds": 180},
    ) as opened:
        bill = opened.bill
        for name, currency, rate in (("gamma", GBP, "0.011"), ("delta", USD, "0.0123")):
            bill.decks.publish(f"{name}-cost", deck(f"prefix,rate\n44,{rate}\n", currency))
            bill.carriers.publish(Carrier(name=name, deck=f"{name}-cost"))
        yield opened
        opened.check_books()


def settle(shop: Shop, call_id: str = "c1", talk_ms: int = 60_000, **told: Any) -> Any:
    ask = {name: told.pop(name) for name in ("to", "serial", "batch") if name in told}
    return shop.bill.settle(shop.grant(call_id, **ask).handle, talk_ms=talk_ms, **told)


def order(shop: Shop, call_id: str = "order", **ask: Any) -> list[str]:
    grant = shop.grant(call_id, **ask)
    shop.bill.cancel(grant.handle)
    return [route.carrier for route in grant.routes]


# -- several currencies --------------------------------------------------------------------------


def test_without_exchange_rates_a_card_is_routed_in_its_own_currency_only(shop: Shop):
    grant = shop.grant()
    assert [route.carrier for route in grant.routes] == ["acme", "beta"]
    assert dict(grant.refused_routes) == {"gamma": "currency", "delta": "currency"}
    record = shop.bill.settle(grant.handle, talk_ms=60_000, carrier="acme")
    assert (record.cost, record.margin) == (Money("0.02", EUR), Money("0.04", EUR))
    assert record.cost_currency == record.base_currency == "EUR"
    assert shop.bill.exchange.get() is None
    assert shop.bill.exchange.missing() == []
    assert shop.bill.exchange.version() == 0


def test_with_exchange_rates_carriers_of_every_currency_compete(shop: Shop):
    shop.bill.exchange.publish(exchange())
    # A minute: delta 0.0123, gamma 0.01375, acme 0.021674, beta 0.032511 dollars.
    assert order(shop) == ["delta", "gamma", "acme", "beta"]
    record = settle(shop, carrier="gamma")
    assert (record.price, record.cost) == (Money("0.06", EUR), Money("0.011", GBP))
    assert (record.cost_currency, record.base_currency) == ("GBP", "USD")
    assert record.margin == Money("0.051272", USD)  # 0.065022 - 0.01375
    assert record.margin_percent == Decimal("78.8533")
    assert next(shop.bill.records()) == record
    assert next(shop.second().records()).margin == record.margin


@pytest.mark.parametrize("carrier", ["acme", "gamma", "delta"])
def test_a_call_keeps_the_rates_it_was_granted_at(shop: Shop, carrier: str):
    shop.bill.exchange.publish(exchange())
    first = settle(shop, "first", carrier=carrier)
    grant = shop.grant("second")
    shop.bill.exchange.publish(exchange(EUR="9", GBP="7"))
    second = shop.second().settle(grant.handle, talk_ms=60_000, carrier=carrier)
    assert (second.cost, second.margin) == (first.cost, first.margin)
    assert settle(shop, "third", carrier=carrier).margin != first.margin
    again = shop.bill.settle(grant.handle, talk_ms=60_000, carrier=carrier)
    assert again.replayed
    assert again == second


def test_a_rate_counts_from_its_instant_on_whenever_it_is_published(shop: Shop):
    later = ExchangeRate("EUR", "2", effective_from=START + DAY)
    now = exchange()
    shop.bill.exchange.publish(ExchangeRates(base=USD, rates=[*now.rates, later]))
    assert settle(shop, "now", carrier="acme").margin == Money("0.043348", USD)
    shop.clock.tick(days=1)
    assert settle(shop, "later", carrier="acme").margin == Money("0.08", USD)


def test_a_late_report_is_converted_as_at_its_grant(shop: Shop):
    shop.bill.exchange.publish(exchange())
    grant = shop.grant()
    shop.clock.tick(days=2)
    shop.bill.exchange.publish(exchange(EUR="9", GBP="7"))
    shop.bill.sweep()
    record = shop.bill.settle(grant.handle, talk_ms=60_000, carrier="gamma")
    assert record.late
    assert record.margin == Money("0.051272", USD)


def test_what_nobody_reported_is_costed_by_the_only_route(shop: Shop):
    bill = shop.bill
    bill.exchange.publish(exchange())
    bill.decks.publish("delta-cost", deck("prefix,rate\n33,0.03\n"))
    plan = Plan(name="Basic", deck="retail", currency=EUR, unreported_calls="charge",
                max_call_seconds=60)  # fmt: skip
    bill.plans.publish(plan)
    shop.grant(to=UNROUTED)
    bill.sweep(at=START + LIFETIME)
    (record,) = shop.records()
    assert (record.outcome.value, record.cost) == ("expired", Money("0.03", USD))
    assert record.margin == Money("0.07837", USD)  # 0.10 EUR less 0.03 USD


def test_a_free_call_has_no_margin_in_percent_and_a_loss_has_a_negative_one(shop: Shop):
    shop.bill.exchange.publish(exchange())
    free = settle(shop, "free", talk_ms=0, carrier="gamma")
    assert (free.price, free.cost) == (Money(0, EUR), Money(0, GBP))
    assert (free.margin, free.margin_percent) == (Money(0, USD), None)
    unknown = settle(shop, "unknown", carrier="nobody")
    assert (unknown.cost, unknown.margin, unknown.margin_percent) == (None, None, None)
    shop.bill.decks.publish("gamma-cost", deck("prefix,rate\n44,0.06\n", GBP))
    loss = settle(shop, "loss", carrier="gamma")
    assert (loss.margin, loss.margin_percent) == (Money("-0.009978", USD), Decimal("-15.3456"))


def test_a_margin_is_of_the_price_before_tax(shop: Shop):
    record = settle(shop, carrier="acme")
    taxed = evolve(record, price_units=100_000, tax_units=20_000, cost_units=50_000)
    assert taxed.total == Money("0.12", EUR)
    assert taxed.margin == Money("0.05", EUR)
    assert taxed.margin_percent == 50


# -- a carrier that was not granted --------------------------------------------------------------


def test_a_carrier_that_was_not_granted_is_converted_as_at_the_grant(shop: Shop):
    now = ExchangeRate("JPY", "0.0067", effective_from=START - DAY)
    then = ExchangeRate("JPY", "0.0001", effective_from=START + timedelta(minutes=1))
    shop.bill.exchange.publish(exchange())
    grant, other = shop.grant("c1"), shop.grant("c2")
    later = ExchangeRates(base=USD, rates=[*exchange(GBP="7", EUR="9").rates, now, then])
    shop.bill.exchange.publish(later)
    for name, currency, rate in (("yen", "JPY", "2"), ("pound", "GBP", "0.01")):
        shop.bill.decks.publish(f"{name}-cost", deck(f"prefix,rate\n44,{rate}\n", currency))
        shop.bill.carriers.publish(Carrier(name=name, deck=f"{name}-cost"))
    shop.clock.tick(hours=1)
    yen = shop.bill.settle(grant.handle, talk_ms=60_000, carrier="yen")
    assert (yen.cost, yen.margin) == (Money(2, "JPY"), Money("0.051622", USD))
    pound = shop.bill.settle(other.handle, talk_ms=60_000, carrier="pound")
    assert pound.margin == Money("0.052522", USD)  # at 1.25, as another route of that call


def test_a_carrier_in_a_currency_of_no_rate_leaves_the_cost_unknown(shop: Shop):
    grant = shop.grant()
    record = shop.bill.settle(grant.handle, talk_ms=60_000, carrier="gamma")
    assert (record.carrier, record.cost, record.margin) == ("gamma", None, None)
    other = shop.grant("c2", serial=2)  # granted in euros: not to be mixed with dollars
    shop.bill.exchange.publish(exchange())
    record = shop.bill.settle(other.handle, talk_ms=60_000, carrier="gamma")
    assert (record.cost, record.base_currency) == (None, "EUR")


def test_a_call_that_was_never_granted_is_converted_as_at_its_answer(shop: Shop):
    bill = shop.bill
    bill.exchange.publish(exchange())
    bill.plans.publish(Plan(name="Basic", deck="retail", currency=EUR, unauthorised_calls="charge"))
    told: dict[str, Any] = {"talk_ms": 60_000, "to": UK}
    record = bill.settle(make_handle("B/1", "stray"), carrier="gamma", **told)
    assert (record.price, record.cost) == (Money("0.06", EUR), Money("0.011", GBP))
    assert record.margin == Money("0.051272", USD)
    early = START - 400 * DAY
    bill.exchange.publish(
        ExchangeRates(
            base=USD,
            rates=[
                ExchangeRate(code, worth, effective_from=START - DAY)
                for code, worth in RATES.items()
            ],
        )
    )
    old = bill.settle(make_handle("B/2", "old"), carrier="acme", answered_at=early, **told)
    assert (old.cost, old.margin) == (Money("0.02", EUR), Money("0.04", EUR))
    unknown = bill.settle(make_handle("B/3", "old"), carrier="gamma", answered_at=early, **told)
    assert (unknown.price, unknown.cost) == (Money("0.06", EUR), None)


# -- publishing rates ----------------------------------------------------------------------------


def test_every_currency_in_use_needs_a_rate(shop: Shop):
    bill = shop.bill
    with pytest.raises(InvalidInput, match="EUR, GBP") as refused:
        bill.exchange.publish(ExchangeRates(base=USD, rates=[ExchangeRate("KWD", "3.25")]))
    assert refused.value.field == "rates"
    assert bill.exchange.get() is None
    with pytest.raises(InvalidInput, match="ExchangeRates"):
        bill.exchange.publish({"EUR": "1.1"})  # type: ignore[arg-type]
    assert bill.exchange.publish(exchange()) == 1
    assert bill.exchange.publish(exchange()) == 1  # the same again
    assert bill.exchange.get() == exchange()
    assert shop.second().exchange.get() == exchange()
    assert bill.exchange.version() == 1


def test_a_plan_or_carrier_in_a_currency_of_no_rate_is_refused_once_there_are_rates(shop: Shop):
    bill = shop.bill
    yen = deck("prefix,rate\n44,3\n", "JPY")
    bill.decks.publish("yen", yen)
    bill.exchange.publish(exchange())
    with pytest.raises(WrongCurrency, match="JPY") as refused:
        bill.carriers.publish(Carrier(name="yen", deck="yen"))
    assert refused.value.field == "deck"
    with pytest.raises(WrongCurrency, match="JPY") as refused:
        bill.plans.publish(Plan(name="Yen", deck="yen", currency="JPY"))
    assert refused.value.field == "currency"
    bill.exchange.publish(exchange(JPY="0.0067", **RATES))
    bill.carriers.publish(Carrier(name="yen", deck="yen"))
    bill.plans.publish(Plan(name="Yen", deck="yen", currency="JPY"))


def test_what_has_no_rate_yet_is_told_and_not_routed(shop: Shop):
    future = [
        ExchangeRate("GBP", "1.25", effective_from=START + DAY),
        ExchangeRate("EUR", "1.0837", effective_from=START + 2 * DAY),
    ]
    shop.bill.exchange.publish(ExchangeRates(base=USD, rates=future))
    assert shop.bill.exchange.missing() == ["EUR", "GBP"]
    assert shop.bill.exchange.missing(at=START + DAY) == ["EUR"]
    assert shop.bill.exchange.missing(at=START + 2 * DAY) == []
    denied = shop.ask()
    assert denied.granted is False
    assert denied.reason.value == "no_route"
    assert denied.detail == "acme: currency, beta: currency, delta: currency, gamma: currency"
    with pytest.raises(InvalidInput, match="at"):
        shop.bill.exchange.missing(at=datetime(2026, 1, 1))  # noqa: DTZ001


# -- capacity ------------------------------------------------------------------------------------


def test_a_full_carrier_is_left_out_as_the_host_tells(shop: Shop):
    shop.bill.carriers.publish(Carrier(name="acme", deck="acme-cost", capacity=30))
    ask: dict[str, Any] = {"pin": shop.pin(), "to": UK}
    room = shop.bill.authorize(call_id="c1", busy={"acme": 29}, **ask)
    assert isinstance(room, Grant)
    assert room.routes[0].carrier == "acme"
    full = shop.bill.authorize(call_id="c2", busy={"acme": 30, "nobody": 1}, **ask)
    assert isinstance(full, Grant)
    assert [route.carrier for route in full.routes] == ["beta"]
    assert Refused("acme", "full") in full.refused_routes
    admitted = shop.bill.authenticate(pin=shop.pin())
    two_stages = shop.bill.authorize(admitted, to=UK, call_id="c3", busy={"acme": 31})
    assert isinstance(two_stages, Grant)
    assert two_stages.routes == full.routes


def test_the_same_request_is_the_same_whatever_carriers_are_doing(shop: Shop):
    shop.bill.carriers.publish(Carrier(name="acme", deck="acme-cost", capacity=1))
    ask: dict[str, Any] = {"pin": shop.pin(), "to": UK, "call_id": "c1"}
    first = shop.bill.authorize(busy={}, **ask)
    again = shop.bill.authorize(busy={"acme": 1}, **ask)
    assert isinstance(first, Grant)
    assert isinstance(again, Grant)
    assert again.replayed
    assert (again.routes, again.handle) == (first.routes, first.handle)


def test_where_all_are_full_the_denial_says_so(shop: Shop):
    for name in ("acme", "beta"):
        shop.bill.carriers.publish(Carrier(name=name, deck=f"{name}-cost", capacity=0))
    denied = shop.ask()
    assert not denied.granted
    assert denied.detail == "acme: full, beta: full, delta: currency, gamma: currency"
    assert shop.bill.card("B/1").available == Money(5, EUR)


@pytest.mark.parametrize(
    "busy", [7, "acme", ["acme"], {"acme": -1}, {"acme": "1"}, {"acme": True}, {7: 1}, {"a": None}]
)
def test_figures_that_cannot_be_used_are_refused_by_name(shop: Shop, busy: Any):
    with pytest.raises(InvalidInput) as refused:
        shop.bill.authorize(pin=shop.pin(), to=UK, call_id="c1", busy=busy)
    assert refused.value.field == "busy"


# -- the margin guard ----------------------------------------------------------------------------


def guard(shop: Shop, **policy: Any) -> None:
    plan = Plan(name="Basic", deck="retail", currency=EUR, routing=Routing(**policy))
    shop.bill.plans.publish(plan)


def test_a_plan_guards_its_margins(shop: Shop):
    # Three minutes: sold at 0.18, bought at 0.06 and 0.09 euros.
    for least, left_out in [("0.09", []), ("0.090001", ["beta"]), ("0.12", ["beta"])]:
        guard(shop, minimum_margin=Money(least, EUR))
        serial = 1 + ["0.09", "0.090001", "0.12"].index(least)  # a card keeps its plan
        grant = shop.grant("c", serial=serial)
        assert [r.carrier for r in grant.refused_routes if r.reason == "margin"] == left_out
        shop.bill.cancel(grant.handle)


def test_where_every_carrier_earns_too_little_the_denial_says_so(shop: Shop):
    guard(shop, minimum_margin_percent="66.6667")  # acme earns two thirds
    denied = shop.ask()
    assert not denied.granted
    assert denied.detail == "acme: margin, beta: margin, delta: currency, gamma: currency"
    assert shop.bill.card("B/1").available == Money(5, EUR)
    shop.bill.exchange.publish(exchange())
    assert order(shop) == ["delta", "gamma"]  # and these earn more


def test_a_card_with_little_money_is_expected_to_talk_little(tmp_path: Path):
    # One minute is sold for 0.06; acme wants 0.05 for every call and nothing for talking.
    with open_shop("memory", tmp_path, face=Money("0.06", USD), quantity=1) as shop:
        shop.bill.decks.publish("acme-cost", deck("prefix,rate,connect fee\n44,0,0.05\n"))
        shop.bill.decks.publish("beta-cost", deck("prefix,rate\n44,0.03\n"))
        plan = Plan(
            name="Basic",
            deck="retail",
            currency=USD,
            routing=Routing(minimum_margin_percent=20),
        )
        shop.bill.plans.publish(plan)
        grant = shop.grant()
        assert [route.carrier for route in grant.routes] == ["beta"]
        assert grant.refused_routes == (Refused("acme", "margin"),)


def test_calls_are_ordered_as_the_plan_says_and_stay_so(shop: Shop):
    for name, priority in (("acme", 2), ("beta", 1)):
        shop.bill.carriers.publish(
            Carrier(name=name, deck=f"{name}-cost", priority=priority, tech_prefix=f"{priority}#")
        )
    guard(shop, order="priority", most_routes=1)
    grant = shop.grant("c1")
    assert [(route.carrier, route.number) for route in grant.routes] == [("beta", "1#442071234567")]
    guard(shop, order="share")
    again = shop.grant("c1")
    assert again.replayed
    assert again.routes == grant.routes
    settled = shop.bill.settle(grant.handle, talk_ms=60_000)
    assert settled.carrier == "beta"
    calls = {tuple(order(shop, f"c{call}", serial=2)) for call in range(30)}
    assert calls == {("acme", "beta"), ("beta", "acme")}


# -- reports and books ---------------------------------------------------------------------------


def test_margins_add_up_in_the_base_currency(shop: Shop):
    bill = shop.bill
    bill.exchange.publish(exchange())
    bill.decks.publish("dollars", deck("prefix,destination,rate\n44,United Kingdom,0.05\n"))
    bill.plans.publish(Plan(name="Dollars", deck="dollars", currency=USD))
    bill.batches.create(Batch(name="D", face_value=Money(5, USD), quantity=1, plan="Dollars"))
    bill.batches.generate_pins("D")
    settle(shop, "a", carrier="acme")  # 0.06 - 0.02 EUR
    settle(shop, "b", carrier="gamma")  # 0.06 EUR - 0.011 GBP
    settle(shop, "c", carrier="delta", batch="D")  # 0.05 - 0.0123 USD
    settle(shop, "d", carrier="beta", batch="D")  # 0.05 USD - 0.03 EUR
    settle(shop, "e", carrier="nobody")  # 0.06 EUR, cost unknown
    (uk,) = bill.reports.margins()
    assert (uk.key, uk.currency, uk.calls, uk.uncosted) == ("United Kingdom", "USD", 5, 1)
    assert uk.price == Money("0.295066", USD)  # 3 * 0.065022 + 2 * 0.05
    assert uk.cost == Money("0.080235", USD)  # 0.021674 + 0.01375 + 0.0123 + 0.032511
    assert uk.margin == Money("0.149809", USD)
    assert uk.margin_percent == Decimal("65.1219")  # of 0.230044
    assert uk.margin_units == sum(record.margin_units or 0 for record in bill.records())


def test_margins_from_before_there_were_rates_stand_apart(shop: Shop):
    settle(shop, "a", carrier="acme")
    shop.bill.exchange.publish(exchange())
    settle(shop, "b", carrier="acme")
    rows = shop.bill.reports.margins()
    assert {row.currency: row.margin for row in rows} == {
        "EUR": Money("0.04", EUR),
        "USD": Money("0.043348", USD),
    }
    assert {row.margin_percent for row in rows} == {Decimal("66.6667")}


def test_an_audit_finds_a_cost_at_another_rate_than_the_granted_one(tmp_path: Path):
    with open_shop("sqlite", tmp_path, face=Money(5, EUR)) as shop:
        shop.bill.decks.publish("gamma-cost", deck("prefix,rate\n44,0.011\n", GBP))
        shop.bill.carriers.publish(Carrier(name="gamma", deck="gamma-cost"))
        shop.bill.exchange.publish(exchange())
        settle(shop, carrier="gamma")
        assert audit(shop.bill.storage).clean
        connection = sqlite3.connect(tmp_path / "cards.db")
        ((detail,),) = connection.execute("SELECT detail FROM record")
        told, found = b'["GBP",1250000000],6', b'["GBP",1350000000],6'
        assert detail.count(told) == 1
        forged = detail.replace(told, found)
        with connection:
            connection.execute("UPDATE record SET detail = ?", [forged])
        connection.close()
        (problem,) = audit(shop.bill.storage).problems
        assert problem == "card B/1: call c1: its cost is in GBP, not at the rate it was granted at"
        assert not shop.bill.audit().clean


AMOUNTS = st.integers(0, 10**13)
WORTH = st.integers(1, 10**13)


@given(st.lists(st.tuples(AMOUNTS, AMOUNTS), min_size=1, max_size=30), WORTH, WORTH)
def test_each_amount_is_converted_once_and_sums_do_not_drift(
    one_record: Any, calls: list[tuple[int, int]], euro: int, pound: int
):
    total = 0
    for price, cost in calls:
        quote = Quote("EUR", "USD", euro)
        record = evolve(
            one_record,
            hold=evolve(one_record.hold, quote=quote, routes=()),
            price_units=price,
            cost_units=cost,
            cost_quote=Quote("GBP", "USD", pound),
        )
        parts = [
            floor(Fraction(amount * worth, 10**9) + Fraction(1, 2))
            for amount, worth in ((price, euro), (cost, pound))
        ]
        assert (record.base_price_units, record.base_cost_units) == tuple(parts)
        assert record.margin_units == parts[0] - parts[1]
        assert again(record) == record
        total += record.margin_units
    worth = (Fraction(price * euro - cost * pound, 10**9) for price, cost in calls)
    exact = sum(worth, Fraction())
    assert abs(total - exact) <= len(calls)  # half a unit for each of two amounts, at most


@pytest.fixture(scope="module")
def one_record(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with open_shop("memory", tmp_path_factory.mktemp("one"), face=Money(5, EUR)) as shop:
        return settle(shop, carrier="acme")


def test_what_was_stored_before_there_were_rates_is_read_as_in_the_card_s_own(one_record: Any):
    detail = json.loads(dump_record(one_record))
    detail[2].pop()  # of the hold: what the card's currency was worth
    del detail[8:]  # what the carrier's was, and all that came later
    older = again(one_record, json.dumps(detail).encode())
    assert older == evolve(one_record, first=False)
    assert older.hold.quote == older.hold.routes[0].quote == Quote("EUR", "EUR", 10**9)


def again(record: Any, detail: bytes | None = None) -> Any:
    """The record as it reads from its stored detail."""
    return load_record(
        dump_record(record) if detail is None else detail,
        call_id=record.call_id,
        card_id=record.card_id,
        batch=record.batch,
        outcome=record.outcome.value,
        ended_at=to_micros(record.ended_at),
        recorded_at=to_micros(record.recorded_at),
        carrier=record.carrier,
        price=record.price_units,
        cost=record.cost_units,
    )
