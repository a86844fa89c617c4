"""Charges, taxes, carriers, days, hung calls in figures; all of them add up to the audit's."""

from collections import Counter
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import attrs
import pytest
from attrs import evolve
from moneyed import USD, Money

from cardbill import AuditReport, EntryKind, Jurisdiction, MarginBy, Tax, TaxRegions, Unauthorised
from cardbill.calls import make_handle
from cardbill.errors import InvalidInput, UnknownName
from tests.building import LIFETIME, START, STORES, UK, UK_MINUTE, US, Shop, open_shop, rows
from tests.test_sold_with import CENT, ON_TOP, PLAN, VAT, WEEKLY, call, fee, history, sold, taxed

SURTAX = Tax(name="surtax", on=["surcharge"], percent=10)


def end(shop: Shop, call_id: str, talk_ms: int, carrier: str | None = "acme", **ask: Any) -> None:
    shop.bill.settle(shop.grant(call_id, **ask).handle, talk_ms=talk_ms, carrier=carrier)


# -- utilisation --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", STORES)
def test_utilisation_tells_what_fees_and_taxes_took(kind: str, tmp_path: Path):
    with taxed(kind, tmp_path, ON_TOP, charges=[fee()]) as shop:
        call(shop, "c1", 120, to=UK, batch="T")
        report = shop.bill.reports.utilisation("T")
        assert (report.spent, report.charges) == (Money("0.12", USD), Money("0.10", USD))
        assert report.taxes == Money("0.0165", USD)
        assert report.fee_percent == Decimal("45.4545")  # 10 of 22
        assert report.posted(EntryKind.FACE) == Money(5, USD)  # of the one card in use
        assert shop.bill.reports.utilisation("B").fee_percent is None


@pytest.mark.parametrize("kind", STORES)
def test_every_batch_has_its_row(kind: str, tmp_path: Path):
    with taxed(kind, tmp_path, ON_TOP, charges=[fee()]) as shop:
        call(shop, "c1", 60, to=UK, batch="T")
        found = list(shop.bill.reports.utilisations())
        assert [row.batch for row in found] == ["B", "T"]
        assert found == [shop.bill.reports.utilisation(name) for name in ("B", "T")]
        assert attrs.asdict(found[1])["issued"] == 3


# -- margins ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", STORES)
def test_margins_by_whatever_is_asked(kind: str, tmp_path: Path):
    with open_shop(kind, tmp_path, plan={"calls_at_once": 3}) as shop:
        bill = shop.bill
        bill.plans.publish(evolve(bill.plans.get("Basic"), name="Other"))
        bill.batches.create(evolve(bill.batches.get("B"), name="C", plan="Other"))
        bill.batches.generate_pins("C")
        end(shop, "a", 61_000, "acme")  # 0.12 - 0.0204
        end(shop, "b", 30_000, "beta", batch="C")  # 0.06 - 0.015
        shop.clock.tick(days=1)
        end(shop, "c", 0, "beta")
        end(shop, "d", 60_000, "acme", to=US)  # 0.012 - 0.005

        def keys(by: str) -> list[tuple[str, int, int, Decimal | None]]:
            rows = bill.reports.margins(by=by)
            return [(row.key, row.calls, row.margin_units, row.asr_percent) for row in rows]

        hundred, fifty = Decimal("100.0000"), Decimal("50.0000")
        assert keys("destination") == [
            ("United Kingdom", 3, 144_600, Decimal("66.6667")),
            ("United States", 1, 7_000, hundred),
        ]
        assert keys("carrier") == [("acme", 2, 106_600, hundred), ("beta", 2, 45_000, fifty)]
        assert keys("batch") == [
            ("B", 3, 106_600, Decimal("66.6667")),
            ("C", 1, 45_000, hundred),
        ]
        assert keys("plan") == [
            ("Basic", 3, 106_600, Decimal("66.6667")),
            ("Other", 1, 45_000, hundred),
        ]
        assert keys("day") == [
            ("2025-03-03", 2, 144_600, hundred),
            ("2025-03-04", 2, 7_000, fifty),
        ]
        (day,) = bill.reports.margins("day", since=START + timedelta(days=1))
        assert (day.minutes, day.acd_seconds) == (Decimal("1.0000"), Decimal("60.0000"))
        assert bill.reports.margins("day", until=START) == []
        (whole,) = {row.by for row in bill.reports.margins(MarginBy.PLAN)}
        assert whole is MarginBy.PLAN


def test_a_day_is_one_of_the_zone_that_is_asked_for(tmp_path: Path):
    with open_shop("memory", tmp_path) as shop:
        shop.clock.tick(hours=11)  # 23:00 in UTC
        end(shop, "a", 60_000)
        reports = shop.bill.reports
        assert [row.key for row in reports.margins("day")] == ["2025-03-03"]
        assert [row.key for row in reports.margins("day", time_zone="Asia/Tokyo")] == ["2025-03-04"]


@pytest.mark.parametrize("kind", STORES)
@pytest.mark.parametrize("swept", [True, False])
def test_calls_that_were_charged_though_nobody_settled_them_count_apart(kind, swept, tmp_path):
    with open_shop(kind, tmp_path, plan={"slice_seconds": 60, "calls_at_once": 3}) as shop:
        plan = shop.bill.plans.get("Basic")
        shop.bill.plans.publish(evolve(plan, unauthorised_calls=Unauthorised.CHARGE))
        shop.bill.settle(make_handle("B/1", "stray"), talk_ms=60_000, carrier="acme", to=UK)
        grant = shop.grant("hung")
        shop.bill.extend(grant.handle, used_seconds=90, number=1)
        shop.grant("never")  # nothing was said of it: it was no call
        shop.clock.now += LIFETIME
        if swept:
            shop.bill.sweep()
        (row,) = shop.bill.reports.margins(batch="B")
        assert (row.calls, row.answered, row.unsettled, row.seconds) == (0, 0, 2, 150)
        assert (row.price_units, row.uncosted) == (3 * UK_MINUTE, 1)
        assert row.asr_percent is None
        assert row.acd_seconds == Decimal("75.0000")


# -- taxes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", STORES)
def test_taxes_stand_by_jurisdiction_and_month_with_what_they_were_on(kind: str, tmp_path: Path):
    untaxed = fee("stamp", amount="0.30", taxable=False)
    with taxed(kind, tmp_path, ON_TOP, SURTAX, charges=[fee(), untaxed, WEEKLY]) as shop:
        call(shop, "c1", 120, to=UK, batch="T")  # 0.12 and 0.10
        shop.clock.tick(days=30)  # four weeks of 0.25 in March and April
        call(shop, "c2", 60, to=UK, batch="T")  # 0.06 and 0.10
        found = [
            (row.jurisdiction, row.tax, row.period, row.events, row.base_units, row.tax_units)
            for row in shop.bill.reports.taxes()
        ]
        sales = [75 * base // 1000 for base in (22 * CENT, 25 * CENT, 16 * CENT)]
        assert found == [
            ("X", "sales tax", "2025-03", 5, 122 * CENT, sales[0] + 4 * sales[1]),
            ("X", "sales tax", "2025-04", 1, 16 * CENT, sales[2]),
            ("X", "surtax", "2025-03", 1, 10 * CENT, CENT),
            ("X", "surtax", "2025-04", 1, 10 * CENT, CENT),
        ]
        days = shop.bill.reports.taxes("day")
        assert [row.period for row in days if row.tax == "surtax"] == ["2025-03-03", "2025-04-02"]
        (year,) = shop.bill.reports.taxes("year", until=START + timedelta(days=1), batch="T")[:1]
        assert (year.period, year.base) == ("2025", Money("0.22", USD))
        assert year.amount == Money("0.0165", USD)
        assert shop.bill.reports.taxes(since=START + timedelta(days=99)) == []
        assert shop.bill.reports.taxes(batch="B") == []


def test_a_tax_inside_the_price_has_the_price_without_it_as_its_base(tmp_path: Path):
    with taxed("memory", tmp_path, VAT) as shop:
        call(shop, "c1", 120, to=UK, batch="T")
        (row,) = shop.bill.reports.taxes()
        assert (row.base, row.amount) == (Money("0.10", USD), Money("0.02", USD))


def test_a_call_is_taxed_where_it_was_and_a_fee_where_the_card_is(tmp_path: Path):
    with taxed("memory", tmp_path, ON_TOP, charges=[WEEKLY]) as shop:
        bill = shop.bill
        bill.jurisdictions.publish(Jurisdiction(name="UK", country="UK", taxes=[VAT]))
        regions = TaxRegions(default="X", prefixes={"44": "UK"}, follows="called")
        terms = evolve(bill.batches.get("T"), name="R", tax_jurisdiction=None, tax_regions=regions)
        bill.batches.create(terms)
        bill.batches.generate_pins("R")
        call(shop, "c1", 120, to=UK, batch="R")
        shop.clock.tick(days=8)
        found = [(row.jurisdiction, row.tax, row.base_units) for row in bill.reports.taxes()]
        assert found == [("UK", "VAT", 10 * CENT), ("X", "sales tax", 25 * CENT)]


def test_charges_that_fall_due_together_are_each_taxed_alone(tmp_path: Path):
    other = evolve(WEEKLY, name="other", taxable=False, amount=Money("0.40", USD))
    with taxed("memory", tmp_path, ON_TOP, charges=[other, WEEKLY]) as shop:
        call(shop, "c1", 0, batch="T")
        shop.clock.tick(days=8)
        (row,) = shop.bill.reports.taxes()
        assert (row.events, row.base_units) == (1, 25 * CENT)


# -- hung calls ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", STORES)
def test_calls_of_which_nothing_is_heard_are_listed(kind: str, tmp_path: Path):
    terms = {"calls_at_once": 3, "max_call_seconds": 7_200}
    with open_shop(kind, tmp_path, face=Money(50, USD), plan=terms) as shop:
        hung = shop.grant("hung")
        talking = shop.grant("talking", serial=2)
        shop.clock.tick(minutes=59, seconds=59)
        assert list(shop.bill.reports.hung_calls()) == []
        shop.bill.extend(talking.handle, used_seconds=3_590, number=1)
        shop.clock.tick(seconds=1)
        (row,) = shop.bill.reports.hung_calls()
        assert (row.card_id, row.call_id, row.destination) == ("B/1", "hung", "United Kingdom")
        assert (row.granted_at, row.heard_at, row.used_seconds) == (START, START, 0)
        assert (row.expired, row.held_units, row.charged) == (False, hung.held_units, Money(0, USD))
        assert [r.call_id for r in shop.bill.reports.hung_calls(age_seconds=1)] == [
            "hung",
            "talking",
        ]
        before = rows(shop.bill.storage)
        later = shop.clock.now + timedelta(days=1)
        expected = [("hung", True, 0, 0), ("talking", True, 0, 60 * UK_MINUTE)]

        def found() -> list[tuple[str, bool, int, int]]:
            calls = shop.bill.reports.hung_calls(at=later)
            return [(r.call_id, r.expired, r.held_units, r.charged_units) for r in calls]

        assert found() == expected
        assert rows(shop.bill.storage) == before
        shop.bill.sweep(at=later)
        assert found() == expected
        assert list(shop.bill.reports.hung_calls(at=later, since=later)) == []
        assert row.handle == hung.handle
        shop.bill.settle(row.handle, talk_ms=1_000, carrier="acme", at=later)
        assert [row.call_id for row in shop.bill.reports.hung_calls(at=later)] == ["talking"]


# -- all of them add up -------------------------------------------------------------------------


def agree(shop: Shop, report: AuditReport) -> None:
    """Every figure of every report is, in sum, the audit's."""
    reports, usd = shop.bill.reports, "USD"
    batches = list(reports.utilisations())
    for kind, posted in report.posted_units.items():
        assert sum(row.posted_units[kind] for row in batches) == posted[usd], kind
    assert sum(row.face_units for row in batches) == report.face_units[usd]
    assert sum(row.liability_units for row in batches) == report.balance_units[usd]
    for row in batches:
        put_on = row.face_units - row.posted_units[EntryKind.FACE]
        assert put_on + sum(row.posted_units.values()) == row.liability_units
    for by in MarginBy:
        margins = reports.margins(by)
        assert sum(row.price_units for row in margins) == report.calls_units[usd], by
    whole = Counter[str]()
    for total in reports.taxes("day", time_zone="America/New_York"):
        whole[total.tax] += total.tax_units
    assert sum(whole.values()) == report.taxes_units[usd]
    months = reports.taxes()
    assert sum(row.base_units for row in months) == sum(
        row.base_units for row in reports.taxes("day")
    )


@pytest.mark.parametrize("seed", range(8))
def test_the_sums_of_all_rows_are_those_of_the_audit(seed: int, tmp_path: Path):
    tax = (ON_TOP, VAT)[seed % 2]
    with taxed(("memory", "sqlite")[seed % 2], tmp_path, tax, SURTAX, **PLAN) as shop:
        history(shop, seed, None)
        call(shop, "last", 61, to=UK)
        call(shop, "other", 61, to=UK, serial=2)
        accounts = shop.bill.accounts
        why: dict[str, Any] = {"actor": "ann", "reason": "a test"}
        accounts.recharge("B/1", Money(7, USD), key="r")
        accounts.credit("B/1", Money("0.50", USD), key="c", **why)
        accounts.transfer("B/1", Money(2, USD), to="B/2", key="t")
        accounts.refund("B/2", Money(1, USD), key="b", **why)
        accounts.write_off("B/2", Money("0.25", USD), key="w", **why)
        agree(shop, shop.bill.audit())


def test_unswept_or_swept_the_figures_are_the_same(tmp_path: Path):
    with taxed("memory", tmp_path, ON_TOP, charges=[fee(), WEEKLY], slice_seconds=60) as shop:
        grant = shop.grant("hung", to=UK, batch="T")
        shop.bill.extend(grant.handle, used_seconds=70, number=1)
        shop.clock.tick(days=20)

        def figures() -> list[Any]:
            reports = shop.bill.reports
            return [list(reports.utilisations()), reports.margins("day"), reports.taxes()]

        before = figures()
        assert before[1][0].unsettled == 1
        shop.bill.sweep()
        assert figures() == before
        agree(shop, shop.bill.audit())


def test_what_cannot_be_asked_is_named(tmp_path: Path):
    with sold("memory", tmp_path) as shop:
        reports = shop.bill.reports
        with pytest.raises(InvalidInput, match="by"):
            reports.margins("colour")
        with pytest.raises(InvalidInput, match="period"):
            reports.taxes("week")
        with pytest.raises(InvalidInput, match="time_zone"):
            reports.margins(time_zone="Mars")
        with pytest.raises(InvalidInput, match="since"):
            reports.margins(since=START.replace(tzinfo=None))
        with pytest.raises(InvalidInput, match="age_seconds"):
            reports.hung_calls(age_seconds=-1)
        for ask in (reports.taxes, reports.hung_calls):
            with pytest.raises(UnknownName):
                ask(batch="nope")
