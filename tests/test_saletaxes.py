"""Taxes on the sale of cards and on recharges: told and reported, and no card pays them."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from moneyed import USD, Money

from cardbill import (
    Batch,
    CallRecord,
    Denied,
    Entry,
    EntryKind,
    Exemption,
    Jurisdiction,
    Status,
    Tax,
    TaxTotal,
    Unit,
)
from cardbill.cardstate import dump_entry, read_entry
from cardbill.errors import TaxUnavailable
from cardbill.taxengines import NOT_TAXED
from tests.building import START, UK, Shop, open_shop
from tests.test_sold_with import CENT, fee, posted
from tests.test_taxdesk import Outside, on_top

WHO: dict[str, Any] = {"actor": "eva", "reason": "asked for"}
STATE = Tax(name="state tax", level="state", on="sale", percent=7)
VAT = Tax(name="VAT", on="sale", percent=25, inclusive=True)
FULL = Money(5, USD)


@contextmanager
def selling(
    kind: str,
    folder: Path,
    *taxes: Tax,
    batch: dict[str, Any] | None = None,
    engine: dict[str, Any] | None = None,
    **plan: Any,
) -> Iterator[Shop]:
    """A shop whose batch B is taxed when it is sold."""
    place = Jurisdiction(name="US-FL", country="US", state="FL", taxes=taxes)
    terms = {"taxable": True, "tax_jurisdiction": "US-FL", **(batch or {})}
    with open_shop(kind, folder, batch=terms, plan=plan, engine=engine, taxes=place) as shop:
        yield shop


def sell(shop: Shop, serial: int = 1) -> None:
    shop.bill.control.sell(f"B/{serial}", actor="till")


def use(shop: Shop, serial: int = 1, call_id: str = "c1") -> CallRecord:
    return shop.bill.settle(shop.grant(call_id, serial=serial).handle, talk_ms=60_000)


def told(shop: Shop, card_id: str = "B/1") -> list[tuple[str, int, str, str, int]]:
    """The taxes on sales in a card's ledger: name, amount, event, jurisdiction, base."""
    found = [e for e in shop.bill.entries(card_id) if e.kind is EntryKind.SALE_TAX]
    assert all((e.amount_units, e.unit) == (0, Unit.MONEY) for e in found)
    return [(e.name, e.quantity, e.reference, e.jurisdiction, e.base_units) for e in found]


def report(shop: Shop, **asked: Any) -> list[tuple[str, str, int, int, int]]:
    """The report's rows on sales: tax, period, events, base, tax."""
    shop.check_books()
    found = [row for row in shop.bill.reports.taxes(**asked) if row.on_sale]
    return [(r.tax, r.period, r.events, r.base_units, r.tax_units) for r in found]


# -- when ---------------------------------------------------------------------------------------


def test_a_tax_on_the_sale_is_told_and_the_card_holds_its_value(kind: str, tmp_path: Path):
    with selling(kind, tmp_path, STATE, batch={"sold_first": True}) as shop:
        sell(shop)
        assert told(shop) == [("state tax", 350_000, "sale", "US-FL", 5_000_000)]
        card = shop.bill.card("B/1")
        assert (card.balance, card.available, card.status) == (FULL, FULL, Status.SOLD)
        assert posted(shop) == [("face", "", 5_000_000), ("sale_tax", "state tax", 0)]
        assert shop.bill.reports.taxes() == [
            TaxTotal(
                jurisdiction="US-FL",
                tax="state tax",
                period="2025-03",
                currency="USD",
                on_sale=True,
                events=1,
                base_units=5_000_000,
                tax_units=350_000,
            )
        ]
        shop.clock.tick(days=40)
        sell(shop)  # again: it is sold
        use(shop)
        assert len(told(shop)) == 1
        assert report(shop) == [("state tax", "2025-03", 1, 5_000_000, 350_000)]
        usage = shop.bill.reports.utilisation("B")
        assert (usage.taxes_units, usage.liability_units) == (0, 15_000_000 - 60_000)


def test_a_tax_inside_the_price_is_told_too(kind: str, tmp_path: Path):
    with selling(kind, tmp_path, VAT) as shop:
        sell(shop)
        assert told(shop) == [("VAT", 1_000_000, "sale", "US-FL", 4_000_000)]
        assert shop.bill.card("B/1").balance == FULL
        use(shop)
        shop.check_books()


def test_a_card_that_nobody_marks_as_sold_is_taxed_at_its_first_use(kind: str, tmp_path: Path):
    with selling(kind, tmp_path, STATE) as shop:
        assert shop.denied(to="12") == "invalid_number"  # was no use
        assert report(shop) == []
        shop.clock.tick(days=40)
        use(shop)
        use(shop, call_id="c2")
        assert told(shop) == [("state tax", 350_000, "sale", "US-FL", 5_000_000)]
        assert report(shop) == [("state tax", "2025-04", 1, 5_000_000, 350_000)]
        assert shop.bill.card("B/1").balance == Money("4.88", USD)


def test_authentication_as_first_use_is_the_sale(tmp_path: Path):
    with selling("memory", tmp_path, STATE, batch={"first_use": "authentication"}) as shop:
        for _ in range(2):
            shop.bill.authenticate(pin=shop.pin())
        assert len(told(shop)) == 1


def test_the_tax_of_the_day_counts_and_what_was_told_stays(tmp_path: Path):
    later = Tax(
        name="state tax", level="state", on="sale", percent=9, effective_from=date(2025, 4, 1)
    )
    early = Tax(
        name="state tax", level="state", on="sale", percent=7, effective_until=date(2025, 4, 1)
    )
    with selling("memory", tmp_path, early, later) as shop:
        sell(shop, 1)
        shop.clock.tick(days=40)
        sell(shop, 2)
        place = shop.bill.jurisdictions.get("US-FL")
        shop.bill.jurisdictions.publish(
            Jurisdiction(name=place.name, country="US", state="FL", taxes=[])
        )
        sell(shop, 3)
        use(shop, 3)  # was sold when nothing was on it
        assert report(shop) == [
            ("state tax", "2025-03", 1, 5_000_000, 350_000),
            ("state tax", "2025-04", 1, 5_000_000, 450_000),
        ]


def test_who_is_exempt_pays_none(tmp_path: Path):
    resale = Exemption(reason="resale", certificate="R-77")
    with selling("memory", tmp_path, STATE, batch={"exemptions": [resale]}) as shop:
        sell(shop)
        use(shop)
        assert report(shop) == []
        assert told(shop) == []


def test_a_range_is_sold_and_taxed_card_by_card(kind: str, tmp_path: Path):
    with selling(kind, tmp_path, STATE) as shop:
        assert shop.bill.control.sell_range("B", 1, 3, actor="till") == 3
        assert report(shop) == [("state tax", "2025-03", 3, 15_000_000, 1_050_000)]
        assert report(shop, since=START + timedelta(seconds=1)) == []


def test_a_card_that_moves_to_another_plan_is_not_sold_again(kind: str, tmp_path: Path):
    with selling(kind, tmp_path, STATE) as shop:
        shop.bill.plans.publish(evolve(shop.bill.plans.get("Basic"), name="Better"))
        shop.bill.control.move("B/2", "Better", **WHO)
        for serial in (1, 2):
            sell(shop, serial)
            shop.bill.control.move(f"B/{serial}", "Better", **WHO)
            use(shop, serial)
            assert len(told(shop, f"B/{serial}")) == 1
        assert report(shop) == [("state tax", "2025-03", 2, 10_000_000, 700_000)]


def test_cards_taken_over_were_sold_elsewhere(tmp_path: Path):
    with selling("memory", tmp_path, STATE) as shop:
        upload = "pin,balance,first use\n123456789012,3.00,2025-01-05\n"
        terms: dict[str, Any] = {"taxable": True, "tax_jurisdiction": "US-FL", "plan": "Basic"}
        shop.bill.batches.create(Batch(name="T", face_value=FULL, quantity=1, **terms))
        shop.bill.batches.upload_pins("T", io.StringIO(upload))
        assert shop.bill.authorize(pin="123456789012", to=UK, call_id="c1").granted
        assert [entry.kind for entry in shop.bill.entries("T/1")] == [EntryKind.FACE]


# -- recharges, vouchers ------------------------------------------------------------------------


def test_a_recharge_is_a_sale(kind: str, tmp_path: Path):
    with selling(kind, tmp_path, STATE, charges=[fee("top-up", "recharge")]) as shop:
        use(shop)
        for _ in range(2):  # the same again is the same
            shop.bill.accounts.recharge("B/1", 2, key="k")
        shop.bill.accounts.credit("B/1", 3, key="gift", **WHO)  # nobody paid for it
        assert told(shop)[1:] == [("state tax", 140_000, "recharge k", "US-FL", 2_000_000)]
        assert posted(shop)[-4:] == [
            ("recharge", "", 2_000_000),
            ("sale_tax", "state tax", 0),
            ("charge", "top-up", -10 * CENT),
            ("credit", "", 3_000_000),
        ]
        assert report(shop) == [("state tax", "2025-03", 2, 7_000_000, 490_000)]


def test_a_voucher_was_sold_once(kind: str, tmp_path: Path):
    """Redeemed by another card, its value was taxed with its own sale."""
    with selling(kind, tmp_path, STATE) as shop:
        use(shop)
        sell(shop, 2)
        for serial in (2, 3):  # the third was never marked as sold
            shop.bill.accounts.redeem("B/1", pin=shop.pin(serial), key="k")
        assert [len(told(shop, f"B/{serial}")) for serial in (1, 2, 3)] == [1, 1, 1]
        assert report(shop) == [("state tax", "2025-03", 3, 15_000_000, 1_050_000)]


def test_a_voucher_that_comes_back_is_not_taxed_again(tmp_path: Path):
    with selling("memory", tmp_path, STATE) as shop:
        use(shop)
        shop.bill.control.block("B/1", **WHO)
        answer = shop.bill.accounts.redeem("B/1", pin=shop.pin(2), key="k")
        assert isinstance(answer, Denied)
        assert len(told(shop, "B/2")) == 1
        use(shop, 2)
        assert len(told(shop, "B/2")) == 1
        assert report(shop) == [("state tax", "2025-03", 2, 10_000_000, 700_000)]


# -- voided -------------------------------------------------------------------------------------


def test_a_card_that_is_voided_gives_its_tax_back_when_it_is(kind: str, tmp_path: Path):
    with selling(kind, tmp_path, STATE, VAT) as shop:
        shop.bill.control.sell_range("B", 1, 2, actor="till")
        shop.clock.tick(days=40)
        for _ in range(2):
            shop.bill.control.void("B/1", **WHO)
        shop.bill.control.void("B/3", **WHO)  # was never sold
        assert report(shop) == [
            ("VAT", "2025-03", 2, 8_000_000, 2_000_000),
            ("VAT", "2025-04", -1, -4_000_000, -1_000_000),
            ("state tax", "2025-03", 2, 8_000_000, 560_000),
            ("state tax", "2025-04", -1, -4_000_000, -280_000),
        ]
        april = START + timedelta(days=30)
        assert len(report(shop, since=april)) == 2  # of taxes that were told before
        assert report(shop, until=april)[0][2] == 2


def test_what_expires_unsold_was_no_sale(tmp_path: Path):
    batch = {"expiration_date": date(2025, 3, 31)}
    with selling("memory", tmp_path, STATE, batch=batch) as shop:
        sell(shop)
        shop.clock.tick(days=60)
        shop.bill.sweep()
        assert report(shop) == [("state tax", "2025-03", 1, 5_000_000, 350_000)]


# -- statements, stores of before, the audit ----------------------------------------------------


def test_a_statement_tells_it_beside_the_balance(tmp_path: Path):
    with selling("memory", tmp_path, STATE) as shop:
        sell(shop)
        use(shop)
        statement = shop.bill.statement("B/1")
        face, tax, call = statement.lines
        assert (face.balance, tax.balance, call.balance) == (FULL, FULL, Money("4.94", USD))
        assert tax.kind is EntryKind.SALE_TAX
        (line,) = [line for line in statement.text().splitlines() if "Tax on the sale" in line]
        assert "Tax on the sale: state tax $0.35" in line
        assert line.endswith("$5.00")
        german = shop.bill.statement("B/1", language="de").csv()
        assert "Steuer auf den Verkauf: state tax 0,35" in german


def test_entries_of_before_are_read_as_they_were():
    assert read_entry(b"") == ("", 0, None, 0, "")
    assert read_entry(b'["fee"]') == ("fee", 0, None, 0, "")
    assert read_entry(b'["bonus",600,0]') == ("bonus", 600, Unit.SECONDS, 0, "")
    entry = Entry(
        2, START, EntryKind.SALE_TAX, 0, 0, "sale", "USD", "VAT", 350_000, Unit.MONEY, 5, "XX"
    )
    assert read_entry(dump_entry(entry)) == ("VAT", 350_000, Unit.MONEY, 5, "XX")


def test_the_books_of_before_go_on(kind: str, tmp_path: Path):
    """A card that was sold or used before taxes on sales were told is not taxed afterwards."""
    with selling(kind, tmp_path, STATE) as shop:
        shop.edit("B/1", sold=True)
        use(shop, 1)
        shop.bill.accounts.recharge("B/1", 1, key="k")
        assert [event for _, _, event, _, _ in told(shop)] == ["recharge k"]
        shop.check_books()


# -- from outside -------------------------------------------------------------------------------


def test_an_engine_outside_taxes_sales(kind: str, tmp_path: Path):
    outside = Outside(on_top(10, "fl sales"))
    with selling(kind, tmp_path, STATE, engine={"tax_engine": outside}) as shop:
        sell(shop)
        use(shop)
        use(shop, 2, "c2")
        shop.bill.accounts.recharge("B/1", 1, key="k")
        assert outside.keys == ["B/1 sale", "B/2 sale", "B/1 recharge k"]
        assert [line.on.value for request in outside.asked for line in request.lines] == [
            "sale", "sale", "sale"
        ]  # fmt: skip
        assert report(shop) == [("fl sales", "2025-03", 3, 11_000_000, 1_100_000)]


def test_a_sale_that_cannot_be_taxed_is_refused_or_marked(tmp_path: Path):
    def fails(_: Any) -> Any:
        raise OSError

    engine = {"tax_engine": Outside(fails), "tax_fallback": "refuse"}
    with selling("memory", tmp_path, STATE, engine=engine) as shop:
        with pytest.raises(TaxUnavailable, match="B/1 sale"):
            sell(shop)
        assert not shop.stored().sold
        use(shop)  # a call takes place
        assert told(shop) == [("state tax", 350_000, "sale", "US-FL", 5_000_000)]
        before = shop.bill.card("B/1")
        with pytest.raises(TaxUnavailable, match="recharge k"):
            shop.bill.accounts.recharge("B/1", 1, key="k")
        assert shop.bill.card("B/1") == before
    engine["tax_fallback"] = "untaxed"
    with selling("memory", tmp_path, STATE, engine=engine) as shop:
        sell(shop)
        assert report(shop) == [(NOT_TAXED, "2025-03", 1, 5_000_000, 0)]
