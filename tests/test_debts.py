"""What a card owes of charges is paid debt by debt, in parts where money is short, and taxed so."""

from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from moneyed import USD, Money

from cardbill import BillingCycle, EntryKind, Tax
from cardbill.cardstate import dump_card, load_card
from cardbill.debts import Debt, Debts, owe, owed_of, pay as pay_off
from tests.building import Shop
from tests.test_sold_with import CENT, call, fee, posted, sold, taxed

DUES = fee("dues", "period", "1.00", every=BillingCycle(unit="weeks"), when_short="owe")
FLAT = Tax(name="stamp", on="recurring", flat=Money("0.10", USD))
PERCENT = Tax(name="VAT", on="recurring", percent=20)
BY_HAND: dict[str, Any] = {"actor": "eva", "reason": "asked for"}


def owing(shop: Shop, *, weeks: int, left: int) -> None:
    """Let fees fall due on card T/1, when it has so many ledger units left."""
    call(shop, "first", 0, batch="T")
    available = shop.bill.card("T/1").balance_units
    accounts = shop.bill.accounts
    accounts.refund("T/1", Money(available - left, USD) / 1_000_000, key="r", **BY_HAND)
    shop.clock.tick(days=7 * weeks)
    shop.bill.sweep()


def pay(shop: Shop, *cents: int) -> None:
    for n, amount in enumerate(cents):
        shop.bill.accounts.recharge("T/1", Money(amount, USD) / 100, key=f"k{n}")


def taken(shop: Shop, kind: EntryKind) -> list[int]:
    """What was taken of that kind, in cents."""
    entries = [entry for entry in shop.bill.entries("T/1") if entry.kind is kind]
    assert all(entry.amount_units % CENT == 0 for entry in entries)
    return [-entry.amount_units // CENT for entry in entries]


@pytest.mark.parametrize("inclusive", [False, True], ids=["on top", "inside"])
def test_a_flat_tax_on_a_debt_is_paid_once_with_its_first_part(
    kind: str, inclusive: bool, tmp_path: Path
):
    with taxed(kind, tmp_path, evolve(FLAT, inclusive=inclusive), charges=[DUES]) as shop:
        owing(shop, weeks=1, left=40 * CENT)
        assert taken(shop, EntryKind.TAX) == [10]
        assert taken(shop, EntryKind.CHARGE) == [30]
        assert shop.stored("T/1").owed == {"dues": (60 if inclusive else 70) * CENT}
        assert shop.bill.card("T/1").owed == Money(60 if inclusive else 70, USD) / 100
        pay(shop, 30, 30, 30)
        assert taken(shop, EntryKind.TAX) == [10]
        assert taken(shop, EntryKind.CHARGE) == [30, 30, 30, *([] if inclusive else [10])]
        assert shop.stored("T/1").owed == {}
        (row,) = shop.bill.reports.taxes()
        assert (row.events, row.tax_units) == (1, 10 * CENT)
        shop.check_books()


def test_each_debt_pays_its_own_flat_tax(tmp_path: Path):
    with taxed("memory", tmp_path, FLAT, charges=[DUES]) as shop:
        owing(shop, weeks=3, left=0)
        assert shop.stored("T/1").debts == {"dues": (Debt(100 * CENT, times=3),)}
        pay(shop, 60, 60, 150)
        assert taken(shop, EntryKind.CHARGE) == [50, 50, 100, 40]
        assert taken(shop, EntryKind.TAX) == [10, 10, 10]
        assert shop.stored("T/1").debts == {"dues": (Debt(60 * CENT, begun=True),)}
        shop.clock.tick(days=7)
        shop.bill.sweep()
        assert shop.stored("T/1").debts["dues"][1:] == (Debt(100 * CENT),)
        assert shop.bill.statement("T/1").owed == Money("1.60", USD)
        shop.bill.accounts.recharge("T/1", 5, key="all")
        assert taken(shop, EntryKind.CHARGE)[4:] == [60, 100]
        assert taken(shop, EntryKind.TAX) == [10, 10, 10, 10]
        shop.check_books()


@pytest.mark.parametrize("inclusive", [False, True], ids=["on top", "inside"])
def test_a_first_part_that_does_not_bear_the_flat_tax_waits(inclusive: bool, tmp_path: Path):
    with taxed("memory", tmp_path, evolve(FLAT, inclusive=inclusive), charges=[DUES]) as shop:
        owing(shop, weeks=1, left=4 * CENT)
        assert shop.stored("T/1").owed == {"dues": 100 * CENT}
        pay(shop, 3)
        assert shop.bill.card("T/1").balance_units == 7 * CENT
        pay(shop, 3, 20)
        assert taken(shop, EntryKind.TAX) == [10]
        assert taken(shop, EntryKind.CHARGE) == [17]
        shop.bill.accounts.recharge("T/1", 5, key="all")
        assert sum(taken(shop, EntryKind.TAX)) == 10
        assert sum(taken(shop, EntryKind.CHARGE)) == (90 if inclusive else 100)
        shop.check_books()


def test_a_fee_that_is_less_than_the_flat_tax_inside_it_is_paid_at_once_or_not(tmp_path: Path):
    small = evolve(DUES, amount=Money("0.06", USD))
    with taxed("memory", tmp_path, evolve(FLAT, inclusive=True), charges=[small]) as shop:
        owing(shop, weeks=1, left=4 * CENT)
        assert shop.stored("T/1").owed == {"dues": 6 * CENT}
        pay(shop, 2)
        assert taken(shop, EntryKind.TAX) == [6]
        assert shop.stored("T/1").owed == {}


def test_a_debt_without_taxes_is_paid_in_whatever_parts(tmp_path: Path):
    dues, flat = evolve(DUES, taxable=False), evolve(FLAT, inclusive=True)
    with taxed("memory", tmp_path, flat, charges=[dues]) as shop:
        owing(shop, weeks=1, left=4 * CENT)
        pay(shop, 3)
        assert taken(shop, EntryKind.CHARGE) == [4, 3]
        assert taken(shop, EntryKind.TAX) == []


def test_a_debt_is_paid_one_part_at_a_time(tmp_path: Path):
    with taxed("memory", tmp_path, FLAT, PERCENT, charges=[DUES]) as shop:
        owing(shop, weeks=1, left=0)
        shop.bill.accounts.recharge("T/1", Money("0.100003", USD), key="few")
        assert posted(shop, "T/1")[-2:] == [("charge", "dues", -2), ("tax", "stamp", -10 * CENT)]
        assert shop.bill.card("T/1").balance_units == 1  # a unit that no part makes up


def test_percentages_are_of_each_part(tmp_path: Path):
    with taxed("memory", tmp_path, FLAT, PERCENT, charges=[DUES]) as shop:
        owing(shop, weeks=1, left=70 * CENT)
        assert posted(shop, "T/1")[-3:] == [
            ("charge", "dues", -50 * CENT),
            ("tax", "VAT", -10 * CENT),
            ("tax", "stamp", -10 * CENT),
        ]
        pay(shop, 30, 60)
        assert [entry for entry in posted(shop, "T/1")[-6:] if entry[0] != "recharge"] == [
            ("charge", "dues", -25 * CENT),
            ("tax", "VAT", -5 * CENT),
            ("charge", "dues", -25 * CENT),
            ("tax", "VAT", -5 * CENT),
        ]
        shop.check_books()


def test_what_is_taken_and_not_owed_bears_the_flat_tax_as_far_as_it_goes(tmp_path: Path):
    taking = evolve(DUES, when_short="take")
    with taxed("memory", tmp_path, evolve(FLAT, inclusive=True), charges=[taking]) as shop:
        owing(shop, weeks=1, left=4 * CENT)
        assert taken(shop, EntryKind.TAX) == [4]
        assert shop.stored("T/1").owed == {}


def test_debts_are_paid_in_the_order_in_which_they_came():
    debts: Debts = {}
    for amount, begun in ((5, True), (5, False), (5, False), (9, False)):
        owe(debts, "a", amount, begun=begun)
    owe(debts, "b", 1, begun=False)
    assert list(debts["a"]) == [Debt(5, begun=True), Debt(5, times=2), Debt(9)]
    assert owed_of(debts["a"]) == 24
    for paid in (5, 2, 3):
        pay_off(debts, "a", paid)
    assert debts == {"a": (Debt(5), Debt(9)), "b": (Debt(1),)}
    assert list(debts) == ["a", "b"]
    pay_off(debts, "a", 1)
    assert list(debts["a"]) == [Debt(4, begun=True), Debt(9)]


def test_years_of_unpaid_fees_stay_small(tmp_path: Path):
    daily = evolve(DUES, every=BillingCycle(unit="days"))
    with taxed("memory", tmp_path, FLAT, charges=[daily]) as shop:
        owing(shop, weeks=300, left=0)
        assert shop.stored("T/1").debts == {"dues": (Debt(100 * CENT, times=2100),)}
        assert len(dump_card(shop.stored("T/1"))) < 1_000


def test_a_debt_is_stored_with_all_that_it_is(tmp_path: Path):
    with sold("memory", tmp_path, charges=[DUES]) as shop:
        call(shop, "first", 0)
        card = evolve(shop.stored(), debts={"dues": (Debt(3 * CENT, begun=True),)})
        whole: dict[str, Any] = {
            "card_id": card.id,
            "batch": card.batch,
            "serial": 1,
            "version": card.version,
        }
        assert load_card(dump_card(card), **whole) == card
