"""What an access number costs the platform lowers the margin of the calls that come in on it."""

from decimal import Decimal
from typing import Any

import pytest
from moneyed import EUR, USD, Money

from cardbill import AccessNumber, Charge, ExchangeRate, ExchangeRates, Grant, Rate, rate
from cardbill.calls import make_handle
from cardbill.errors import FloatRefused, InvalidInput, MissingFields
from tests.building import START, UK, UK_MINUTE, Shop, open_shop

FREEPHONE = "18005550100"
INBOUND = rate("0.012", increments="6/6", connect_fee="0.01")


def publish(shop: Shop, cost: Rate | None = INBOUND, currency: Any = USD) -> None:
    terms = {} if cost is None else {"cost": cost, "cost_currency": currency}
    shop.bill.access_numbers.publish(AccessNumber(number=FREEPHONE, kind="toll_free", **terms))


def begin(shop: Shop, call_id: str = "c1") -> Grant:
    call = shop.bill.authorize(pin=shop.pin(), to=UK, call_id=call_id, access=FREEPHONE)
    assert isinstance(call, Grant), call
    return call


def talk(shop: Shop, call_id: str = "c1", talk_ms: int = 60_000, **told: Any):
    return shop.bill.settle(begin(shop, call_id).handle, talk_ms=talk_ms, carrier="acme", **told)


def test_margin_is_price_less_cost_less_access_cost(kind, tmp_path):
    with open_shop(kind, tmp_path) as shop:
        publish(shop)
        record = talk(shop)
        assert (record.price, record.cost) == (Money("0.06", USD), Money("0.02", USD))
        assert record.access_cost == Money("0.022", USD)
        assert record.margin == Money("0.018", USD)
        assert record.margin_percent == Decimal(30)
        # Another process reads the same, and so do the reports and the explanation.
        assert list(shop.second().records(card_id="B/1")) == [record]
        (row,) = shop.bill.reports.margins()
        assert (row.cost, row.access_cost, row.margin) == (
            Money("0.02", USD),
            Money("0.022", USD),
            Money("0.018", USD),
        )
        assert row.margin_percent == Decimal(30)
        told = shop.bill.explain_record(record)
        assert told.margin is not None
        assert [line.amount for line in told.margin.lines] == [UK_MINUTE, -20_000, -22_000]
        assert told.margin.units == 18_000
        shop.check_books()


def test_the_time_of_the_dialogue_costs_too_where_it_is_told(kind, tmp_path):
    with open_shop(kind, tmp_path) as shop:
        publish(shop)
        record = talk(shop, access_ms=90_000)
        assert record.access_cost == Money("0.028", USD)
        unanswered = talk(shop, "c2", talk_ms=0, access_ms=30_000)
        assert (unanswered.price, unanswered.margin) == (Money(0, USD), Money("-0.016", USD))
        assert talk(shop, "c3", talk_ms=0).access_cost == Money(0, USD)
        again = shop.bill.settle(make_handle("B/1", "c2"), talk_ms=0, carrier="acme")
        assert (again.replayed, again.margin) == (True, unanswered.margin)


def test_a_call_in_progress_keeps_the_terms_of_its_access_number(kind, tmp_path):
    with open_shop(kind, tmp_path) as shop:
        publish(shop)
        call = begin(shop)
        publish(shop, rate("9"))
        assert shop.bill.settle(call.handle, talk_ms=60_000).access_cost == Money("0.022", USD)


def test_a_foreign_provider_is_converted_at_the_rate_of_the_grant(kind, tmp_path):
    with open_shop(kind, tmp_path) as shop:
        euro = ExchangeRate(EUR, Decimal("1.25"), effective_from=START)
        shop.bill.exchange.publish(ExchangeRates(base=USD, rates=[euro]))
        publish(shop, currency=EUR)
        record = talk(shop)
        assert record.access_cost == Money("0.022", EUR)
        assert record.base_access_units == 27_500
        assert record.margin == Money("0.0125", USD)


def test_without_an_exchange_rate_the_margin_is_unknown(kind, tmp_path):
    with open_shop(kind, tmp_path) as shop:
        publish(shop, currency=EUR)
        record = talk(shop)
        assert (record.access_cost, record.margin) == (Money("0.022", EUR), None)
        assert shop.bill.explain_record(record).margin is None
        (row,) = shop.bill.reports.margins()
        assert (row.uncosted, row.margin_units) == (1, 0)


def test_an_offer_tells_the_margin_that_the_call_would_have(kind, tmp_path):
    with open_shop(kind, tmp_path) as shop:
        publish(shop)
        told = shop.bill.explain(to=UK, card_id="B/1", access=FREEPHONE, seconds=60)
        assert told.routes[0].margin == Money("0.018", USD)


def test_what_the_caller_pays_for_it_is_a_charge_of_its_own(kind, tmp_path):
    fee = Charge(
        name="toll-free", trigger="answer", amount=Money("0.05", USD), access_kinds=["toll_free"]
    )
    with open_shop(kind, tmp_path, plan={"charges": [fee]}) as shop:
        publish(shop)
        record = talk(shop)
        assert (record.charges, record.access_cost) == (Money("0.05", USD), Money("0.022", USD))
        assert record.margin == Money("0.018", USD)  # of the price alone, as ever
        publish(shop, None)
        assert talk(shop, "c2").margin == Money("0.04", USD)


@pytest.mark.parametrize(
    ("terms", "error", "named"),
    [
        ({"cost": INBOUND}, MissingFields, "cost_currency"),
        ({"cost_currency": "USD"}, MissingFields, "cost"),
        ({"cost": "0.01", "cost_currency": "USD"}, InvalidInput, "cost"),
        ({"cost": INBOUND, "cost_currency": "XQQ"}, InvalidInput, "cost_currency"),
    ],
)
def test_a_cost_that_cannot_be_is_refused(terms, error, named):
    with pytest.raises(error, match=named):
        AccessNumber(number=FREEPHONE, **terms)


@pytest.mark.parametrize(("access_ms", "error"), [(1.5, FloatRefused), (-1, InvalidInput)])
def test_a_time_that_cannot_be_is_refused(kind, tmp_path, access_ms, error):
    with open_shop(kind, tmp_path) as shop:
        publish(shop)
        call = begin(shop)
        with pytest.raises(error, match="access_ms"):
            shop.bill.settle(call.handle, talk_ms=1_000, access_ms=access_ms)
        assert shop.bill.card("B/1").open_calls == ("c1",)
