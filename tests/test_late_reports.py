"""A call on a package, reported late: what has left the package meanwhile is paid in money."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from moneyed import USD, Money

from cardbill import BillingCycle, CallRecord, Package
from cardbill.calls import make_handle
from tests.building import STORES, UK, UK_MINUTE, Shop
from tests.test_sold_with import BONUS, CENT, ON_TOP, call, fee, sold, taxed

TEN = evolve(BONUS, name="ten minutes", minutes=10)
TEN_MINUTES: dict[str, Any] = {"packages": [TEN], "max_call_seconds": 600}


@contextmanager
def unreported(kind: str, folder: Path, seconds: int = 0, **plan: Any) -> Iterator[Shop]:
    """A shop whose card has had a call of which nothing was heard, but for its first seconds."""
    with sold(kind, folder, **{**TEN_MINUTES, **plan}) as shop:
        grant = shop.grant("late", to=UK)
        if seconds:
            shop.bill.extend(grant.handle, used_seconds=seconds, number=1)
        shop.clock.tick(hours=1)
        yield shop


def report(shop: Shop, seconds: int = 600, card_id: str = "B/1") -> CallRecord:
    """Report the call late, and hold its record to the laws."""
    handle = make_handle(card_id, "late")
    record = shop.bill.settle(handle, talk_ms=seconds * 1_000, carrier="acme")
    assert record.late
    assert shop.bill.settle(handle, talk_ms=seconds * 1_000, carrier="acme").replayed
    assert [each for each in shop.records(card_id) if each.call_id == "late"] == [record]
    shop.check_books()
    explained = shop.bill.explain_record(record)
    assert explained.posted.units == record.total_units
    assert explained.uncollected.units == record.uncollected_units
    return record


def used(record: CallRecord) -> list[int]:
    return [draw.units for draw in record.draws]


@pytest.mark.parametrize("kind", STORES)
def test_minutes_that_another_call_has_used_are_paid_in_money(kind: str, tmp_path: Path):
    with unreported(kind, tmp_path) as shop:
        assert used(call(shop, "c2", 600, to=UK)) == [600]
        record = report(shop)
        assert (used(record), record.uncollected_units) == ([], 0)
        assert record.price_units == record.rated_units == 10 * UK_MINUTE


@pytest.mark.parametrize("kind", STORES)
def test_minutes_that_are_still_there_are_used(kind: str, tmp_path: Path):
    with unreported(kind, tmp_path) as shop:
        call(shop, "c2", 390, to=UK)
        record = report(shop)
        assert (used(record), record.price_units) == ([210], 7 * UK_MINUTE)


@pytest.mark.parametrize("talked", [0, 210])
def test_a_call_that_needs_no_more_than_is_there_stays_as_it_was_granted(talked, tmp_path):
    with unreported("memory", tmp_path) as shop:
        shop.bill.sweep()
        (granted,) = [record.hold for record in shop.records()]
        call(shop, "c2", 390, to=UK)
        record = report(shop, talked)
        assert (sum(used(record)), record.total_units) == (talked, 0)
        assert record.hold == granted


def test_what_the_call_has_used_itself_when_its_hold_ended_stays_used(tmp_path: Path):
    with unreported("memory", tmp_path, seconds=60) as shop:
        assert used(call(shop, "c2", 540, to=UK)) == [540]
        record = report(shop)
        assert (used(record), record.price_units) == ([60], 9 * UK_MINUTE)


def test_minutes_that_have_expired_are_paid_in_money(tmp_path: Path):
    day = evolve(TEN, valid=BillingCycle(unit="days"))
    with unreported("memory", tmp_path, packages=[day]) as shop:
        shop.clock.tick(days=1)
        record = report(shop)
        assert (used(record), record.price_units) == ([], 10 * UK_MINUTE)


def test_a_bucket_of_calls_that_is_empty_covers_no_call(tmp_path: Path):
    one = Package(name="one call", calls=1)
    with unreported("memory", tmp_path, packages=[one]) as shop:
        assert call(shop, "c2", 600, to=UK).total_units == 0
        assert report(shop).price_units == 10 * UK_MINUTE


def test_a_bucket_of_money_pays_what_is_left_of_it(tmp_path: Path):
    credit = Package(name="credit", amount=Money("0.50", USD))
    with unreported("memory", tmp_path, packages=[credit]) as shop:
        call(shop, "c2", 300, to=UK)
        record = report(shop)
        assert (used(record), record.rated_units) == ([20 * CENT], 60 * CENT)
        assert record.price_units == 40 * CENT


@pytest.mark.parametrize(("used_up", "fee_units"), [(600, 10 * CENT), (599, 0)])
def test_a_connect_fee_is_waived_only_where_something_is_left(used_up, fee_units, tmp_path):
    waiving = evolve(TEN, waives_connect_fee=True)
    with sold("memory", tmp_path, packages=[waiving], max_call_seconds=600) as shop:
        shop.publish_retail("prefix,rate,increments,connect fee\n44,0.06,60/60,0.10\n")
        shop.grant("late", to=UK)
        shop.clock.tick(hours=1)
        call(shop, "c2", used_up, to=UK)
        assert report(shop).price_units == 10 * UK_MINUTE + fee_units


def test_what_the_money_does_not_pay_is_uncollected(tmp_path: Path):
    with unreported("memory", tmp_path, charges=[fee()]) as shop:
        call(shop, "c2", 600, to=UK)  # the fee of 0.10
        shop.bill.accounts.write_off("B/1", "4.65", key="w", actor="ann", reason="to have little")
        record = report(shop)
        assert (record.price_units, record.charge_units) == (25 * CENT, 0)
        assert {(line.name, line.amount) for line in record.short} == {
            ("", 35 * CENT),
            ("fee", 10 * CENT),
        }
        assert shop.bill.card("B/1").balance == Money(0, USD)


def test_taxes_and_charges_are_those_of_the_price_in_money(tmp_path: Path):
    with taxed("memory", tmp_path, ON_TOP, charges=[fee()], **TEN_MINUTES) as shop:
        shop.grant("late", to=UK, batch="T")
        shop.clock.tick(hours=1)
        assert call(shop, "c2", 600, to=UK, batch="T").total_units == 10 * CENT + 7_500
        record = report(shop, card_id="T/1")
        assert (record.price_units, record.charge_units) == (60 * CENT, 10 * CENT)
        assert record.tax_units == 52_500  # 7.5 % of both


def test_a_call_that_overran_is_charged_no_more_than_it_was_granted(tmp_path: Path):
    with unreported("memory", tmp_path) as shop:
        call(shop, "c2", 600, to=UK)
        record = report(shop, 720)
        assert (record.price_units, record.uncollected_units) == (10 * UK_MINUTE, 2 * UK_MINUTE)
