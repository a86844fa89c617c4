"""What the figures say of batches and destinations, over every store."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from moneyed import EUR, USD, Money

from cardbill import Batch, Carrier, Plan, Status
from cardbill.errors import InvalidInput, UnknownName
from tests.building import (
    LIFETIME,
    START,
    STORES,
    TOLL_FREE,
    UK,
    UK_MOBILE,
    US,
    Shop,
    deck,
    open_shop,
    rows,
)


@pytest.fixture(params=STORES)
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    terms = {"expires_days_after_first_use": 0}
    plan = {"calls_at_once": 3, "max_call_seconds": 120}
    with open_shop(request.param, tmp_path, quantity=5, batch=terms, plan=plan) as opened:
        yield opened
        opened.check_books()


def settle(shop: Shop, call_id: str, talk_ms: int, carrier: str | None = "acme", **ask: Any) -> Any:
    return shop.bill.settle(shop.grant(call_id, **ask).handle, talk_ms=talk_ms, carrier=carrier)


# -- utilisation --------------------------------------------------------------------------------


def test_a_batch_without_pins_has_nothing_to_report(shop: Shop):
    shop.bill.batches.create(Batch(name="C", face_value=Money(1, USD), quantity=9))
    report = shop.bill.reports.utilisation("C")
    assert (report.batch, report.currency) == ("C", "USD")
    assert (report.issued, report.activated) == (0, 0)
    assert set(report.by_status) == set(Status)
    assert set(report.by_status.values()) == {0}
    assert report.face_value == report.liability == Money(0, USD)


def test_what_became_of_every_card_and_every_cent(shop: Shop):
    settle(shop, "a", 61_000, serial=2)  # 0.12
    shop.grant("open", serial=2)  # holds 0.12
    settle(shop, "b", 0, serial=3)
    shop.edit("B/4", blocked=True)
    shop.edit("B/5", voided=True)
    report = shop.bill.reports.utilisation("B")
    assert report.issued == 5
    assert report.by_status == {
        Status.GENERATED: 1,
        Status.SOLD: 0,
        Status.ACTIVE: 2,
        Status.EXHAUSTED: 0,
        Status.EXPIRED: 0,
        Status.BLOCKED: 1,
        Status.VOID: 1,
    }
    assert report.activated == 2
    assert report.face_value == Money(25, USD)
    assert report.spent == Money("0.12", USD)
    assert report.held == Money("0.12", USD)
    assert report.breakage == Money(0, USD)
    assert report.liability == Money("24.88", USD)
    assert report.face_units == report.spent_units + report.breakage_units + report.liability_units


@pytest.mark.parametrize("swept", [True, False])
def test_at_a_later_instant_time_has_done_its_work_swept_or_not(shop: Shop, swept: bool):
    settle(shop, "a", 61_000, serial=2)
    shop.grant("open", serial=2)
    settle(shop, "b", 60_000, serial=3)
    later = START + timedelta(days=1)
    if swept:
        shop.bill.sweep(at=later)
    before = rows(shop.bill.storage)
    report = shop.bill.reports.utilisation("B", at=later)
    assert rows(shop.bill.storage) == before
    assert report.by_status[Status.EXPIRED] == 2
    assert report.by_status[Status.GENERATED] == 3
    assert (report.spent, report.held) == (Money("0.18", USD), Money(0, USD))
    assert report.breakage == Money("9.82", USD)
    assert report.liability == Money(15, USD)
    assert report.face_units == report.spent_units + report.breakage_units + report.liability_units


def test_the_moment_before_expiry_nothing_is_broken_yet(shop: Shop):
    settle(shop, "a", 60_000)
    end = shop.bill.card("B/1").expires_at
    assert end is not None
    just_before = shop.bill.reports.utilisation("B", at=end - timedelta(microseconds=1))
    assert just_before.breakage_units == 0
    assert shop.bill.reports.utilisation("B", at=end).breakage_units == 4_940_000


def test_an_empty_card_is_exhausted(tmp_path: Path):
    with open_shop("memory", tmp_path, face=Money("0.06", USD)) as shop:
        settle(shop, "a", 60_000)
        report = shop.bill.reports.utilisation("B")
        assert report.by_status[Status.EXHAUSTED] == 1
        assert report.spent == Money("0.06", USD)


def test_a_batch_of_several_pages_is_counted_whole(tmp_path: Path):
    with open_shop("sqlite", tmp_path, quantity=1_203) as shop:
        settle(shop, "a", 60_000, serial=1_203)
        report = shop.bill.reports.utilisation("B")
        assert (report.issued, report.activated) == (1_203, 1)
        assert report.face_value == Money(5 * 1_203, USD)
        assert report.spent == Money("0.06", USD)


def test_other_batches_are_not_counted(shop: Shop):
    shop.bill.batches.create(
        Batch(name="C", face_value=Money(2, USD), quantity=2, plan="Basic"),
    )
    shop.bill.batches.generate_pins("C")
    before = shop.bill.reports.utilisation("B")
    settle(shop, "a", 60_000, batch="C")
    assert shop.bill.reports.utilisation("B") == before
    assert shop.bill.reports.utilisation("C").spent == Money("0.06", USD)


def test_reports_name_what_they_cannot_use(shop: Shop):
    with pytest.raises(UnknownName):
        shop.bill.reports.utilisation("nope")
    with pytest.raises(InvalidInput):
        shop.bill.reports.utilisation("B", at=START.replace(tzinfo=None))


def test_a_misspelt_batch_is_no_batch_without_calls(shop: Shop):
    settle(shop, "a", 60_000)
    reports = shop.bill.reports
    asked: list[Callable[[], object]] = [
        lambda: reports.margins(batch="b"),
        lambda: reports.taxes(batch="b"),
        lambda: reports.denials(batch="b"),
        lambda: reports.what_if(batch="b"),
        lambda: list(reports.hung_calls(batch="b")),
    ]
    for ask in asked:
        with pytest.raises(UnknownName, match="no batch is named 'b'"):
            ask()


# -- margin -------------------------------------------------------------------------------------


def test_without_calls_there_is_no_margin(shop: Shop):
    assert shop.bill.reports.margins() == []


def test_margin_is_price_less_cost_by_destination(shop: Shop):
    settle(shop, "u1", 61_000, "acme")  # 0.12 - 0.0204
    settle(shop, "u2", 60_000, "beta", serial=2)  # 0.06 - 0.03
    settle(shop, "u3", 0, "acme", serial=2)  # not answered
    settle(shop, "m", 60_000, "acme", serial=3, to=UK_MOBILE)  # 0.25 - 0.02
    settle(shop, "s", 60_000, None, serial=4, to=US)  # 0.012 - 0.005, the only route
    mobile, uk, us = shop.bill.reports.margins()
    assert (mobile.key, uk.key, us.key) == (
        "UK mobile",
        "United Kingdom",
        "United States",
    )
    assert (uk.calls, uk.answered, uk.seconds, uk.uncosted) == (3, 2, 121, 0)
    assert (uk.price, uk.cost) == (Money("0.18", USD), Money("0.0504", USD))
    assert uk.margin == Money("0.1296", USD)
    assert mobile.margin == Money("0.23", USD)
    assert us.margin == Money("0.007", USD)


def test_a_call_of_unknown_cost_counts_in_no_margin(shop: Shop):
    settle(shop, "u1", 60_000, None)  # two routes: nobody knows who carried it
    settle(shop, "u2", 60_000, "acme", serial=2)
    (uk,) = shop.bill.reports.margins()
    assert (uk.calls, uk.answered, uk.uncosted) == (2, 2, 1)
    assert uk.price == Money("0.12", USD)
    assert (uk.cost, uk.margin) == (Money("0.02", USD), Money("0.04", USD))


def test_what_was_overrun_costs_and_is_not_earned(shop: Shop):
    settle(shop, "u", 240_000, "acme")  # granted 120 s: 0.12; carried 240 s: 0.08
    (uk,) = shop.bill.reports.margins()
    assert (uk.seconds, uk.price, uk.cost) == (120, Money("0.12", USD), Money("0.08", USD))
    assert uk.margin == Money("0.04", USD)


def test_calls_that_were_not_made_are_not_in_it(shop: Shop):
    from cardbill.calls import make_handle

    shop.bill.cancel(shop.grant("c", serial=1).handle)
    shop.grant("e", serial=2)
    shop.bill.settle(make_handle("B/3", "stray"), talk_ms=60_000, carrier="acme")
    shop.bill.sweep(at=START + LIFETIME)
    assert shop.bill.reports.margins() == []


def test_margins_of_one_batch_and_of_each_currency_stand_apart(shop: Shop):
    bill = shop.bill
    bill.decks.publish("euro", deck("prefix,destination,rate\n44,United Kingdom,0.05\n", EUR))
    bill.decks.publish("euro-cost", deck("prefix,rate\n44,0.04\n", EUR))
    bill.carriers.publish(Carrier(name="euro", deck="euro-cost"))
    bill.plans.publish(Plan(name="Euro", deck="euro", currency=EUR))
    bill.batches.create(Batch(name="E", face_value=Money(5, EUR), quantity=1, plan="Euro"))
    bill.batches.generate_pins("E")
    settle(shop, "d", 60_000, "acme")
    settle(shop, "e", 60_000, None, batch="E")
    rows_ = bill.reports.margins()
    assert [(row.key, row.currency) for row in rows_] == [
        ("United Kingdom", "USD"),
        ("United Kingdom", "EUR"),
    ]
    assert [row.margin for row in rows_] == [Money("0.04", USD), Money("0.01", EUR)]
    (only,) = bill.reports.margins(batch="E")
    assert (only.currency, only.price) == ("EUR", Money("0.05", EUR))


def test_a_loss_is_shown_as_one(shop: Shop):
    shop.bill.decks.publish("acme-cost", deck("prefix,rate\n44,0.50\n1800,0.01\n"))
    settle(shop, "u", 60_000, "acme", to=UK)
    settle(shop, "f", 60_000, "acme", serial=2, to=TOLL_FREE)
    free, uk = shop.bill.reports.margins()
    assert (free.price, free.margin) == (Money(0, USD), Money("-0.01", USD))
    assert uk.margin == Money("-0.44", USD)


def test_the_margins_add_up_to_the_records(shop: Shop):
    for number in range(40):
        serial, to = number % 5 + 1, (UK, US, UK_MOBILE)[number % 3]
        settle(shop, f"c{number}", number * 7_000 % 120_000, "acme", serial=serial, to=to)
    records = list(shop.bill.records())
    report = shop.bill.reports.margins()
    assert sum(row.calls for row in report) == len(records) == 40
    assert sum(row.margin_units for row in report) == sum(r.margin_units or 0 for r in records)
    assert sum(row.price_units for row in report) == (
        shop.bill.reports.utilisation("B").spent_units
    )
