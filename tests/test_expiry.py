"""What time still does to a card as it expires, and what begins again once it is revived."""

from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from moneyed import USD, Money

from cardbill import BillingCycle, Denied
from cardbill.calls import make_handle
from tests.building import STORES, UK, Shop
from tests.test_sold_with import BONUS, CENT, WEEKLY, call, fee, sold

REVIVES: dict[str, Any] = {"recharge_days": 30, "recharge_revives": True}
BY_WEEK: dict[str, Any] = {"billing_cycle": BillingCycle(unit="weeks")}


def dated(shop: Shop) -> list[tuple[str, str, int]]:
    """What time posted: the day, what it was, how much of money or of a package."""
    return [
        (f"{entry.at:%m-%d}", entry.name or entry.kind.value, entry.quantity or entry.amount_units)
        for entry in shop.bill.entries("B/1")
        if entry.kind.value in ("charge", "breakage", "given", "lost")
    ]


# -- at the instant of expiry -------------------------------------------------------------------


@pytest.mark.parametrize("kind", STORES)
@pytest.mark.parametrize("swept", [False, True])
def test_a_charge_due_at_the_instant_of_expiry_comes_before_what_is_lost(kind, swept, tmp_path):
    first_week = {"expires_days_after_first_use": 6}
    weekly = evolve(BONUS, given="cycle")
    with sold(kind, tmp_path, batch=first_week, charges=[WEEKLY], packages=[weekly],
              **BY_WEEK) as shop:  # fmt: skip
        call(shop, "c1", 0)
        for _ in range(15):
            shop.clock.tick(days=1)
            if swept:
                shop.bill.sweep()
        shop.bill.sweep()
        assert dated(shop) == [
            ("03-03", "bonus", 1_800),
            ("03-10", "bonus", 1_800),  # what was left of it
            ("03-10", "weekly fee", -25 * CENT),
            ("03-10", "breakage", -475 * CENT),
        ]
        shop.check_books()


@pytest.mark.parametrize("when_short", ["drop", "owe"])
def test_a_charge_due_after_expiry_is_neither_taken_nor_owed(when_short: str, tmp_path: Path):
    short = {"expires_days_after_first_use": 5}
    charge = evolve(WEEKLY, when_short=when_short)
    with sold("memory", tmp_path, batch=short, charges=[charge]) as shop:
        call(shop, "c1", 0)
        shop.clock.tick(days=30)
        shop.bill.sweep()
        assert dated(shop) == [("03-09", "breakage", -500 * CENT)]
        assert shop.stored().owed == {}
        shop.check_books()


# -- revived ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", STORES)
@pytest.mark.parametrize("when_short", ["drop", "owe"])
@pytest.mark.parametrize("swept", [False, True])
def test_the_time_in_which_a_card_was_expired_is_not_made_up_for(kind, when_short, swept, tmp_path):
    terms = {**REVIVES, **BY_WEEK}
    weekly = evolve(BONUS, given="cycle", carry_over=True)
    charge = evolve(WEEKLY, when_short=when_short)
    with sold(kind, tmp_path, batch={"expires_days_after_first_use": 10}, charges=[charge],
              packages=[weekly], **terms) as shop:  # fmt: skip
        call(shop, "c1", 0)
        for _ in range(10):
            shop.clock.tick(days=7)  # to 12 May, a Monday on which a period begins
            if swept:
                shop.bill.sweep()
        shop.bill.accounts.recharge("B/1", 5, key="k")
        assert shop.bill.card("B/1").balance == Money(5, USD)
        shop.clock.tick(days=15)
        shop.bill.sweep()
        assert dated(shop) == [
            ("03-03", "bonus", 1_800),
            ("03-10", "bonus", 1_800),
            ("03-10", "weekly fee", -25 * CENT),
            ("03-14", "breakage", -475 * CENT),
            ("05-19", "bonus", 1_800),
            ("05-19", "weekly fee", -25 * CENT),
            ("05-26", "bonus", 1_800),
            ("05-26", "weekly fee", -25 * CENT),
        ]
        shop.check_books()


def test_a_card_that_was_expired_within_one_period_loses_nothing_of_it(tmp_path: Path):
    terms = {**REVIVES, **BY_WEEK}
    weekly = evolve(BONUS, given="cycle", carry_over=True)
    with sold("memory", tmp_path, batch={"expires_days_after_first_use": 7}, charges=[WEEKLY],
              packages=[weekly], **terms) as shop:  # fmt: skip
        call(shop, "c1", 0)
        shop.clock.tick(days=10)
        shop.bill.accounts.recharge("B/1", 5, key="k")
        shop.clock.tick(days=5)
        shop.bill.sweep()
        assert dated(shop)[3:] == [
            ("03-11", "breakage", -475 * CENT),
            ("03-17", "bonus", 1_800),
            ("03-17", "weekly fee", -25 * CENT),
        ]
        assert shop.grant("c2", to=UK).max_seconds == (90 + 79) * 60
        shop.check_books()


def test_a_package_that_would_have_been_renewed_at_the_instant_of_expiry_is_not(tmp_path: Path):
    weekly = evolve(BONUS, given="cycle", carry_over=True)
    with sold("memory", tmp_path, batch={"expires_days_after_first_use": 6}, packages=[weekly],
              **REVIVES, **BY_WEEK) as shop:  # fmt: skip
        call(shop, "c1", 0)
        shop.clock.tick(days=9)
        shop.bill.accounts.recharge("B/1", 5, key="k")
        shop.clock.tick(days=7)
        shop.bill.sweep()
        assert dated(shop)[1:] == [("03-10", "breakage", -500 * CENT), ("03-17", "bonus", 1_800)]


def test_inactivity_counts_from_the_recharge_that_revives(tmp_path: Path):
    idle = evolve(WEEKLY, name="idle fee", trigger="inactivity", when_short="owe")
    with sold("memory", tmp_path, batch={"expires_days_after_first_use": 5}, charges=[idle],
              **REVIVES) as shop:  # fmt: skip
        call(shop, "c1", 0)
        shop.clock.tick(days=40)
        shop.bill.accounts.recharge("B/1", 5, key="k")
        shop.clock.tick(days=8)
        shop.bill.sweep()
        assert dated(shop)[1:] == [("04-19", "idle fee", -25 * CENT)]


def test_a_charge_that_waited_as_the_card_expired_is_taken_though_it_is_revived(tmp_path: Path):
    """A call that began before expiry holds the money for some minutes more."""
    daily = fee("daily", "period", "0.70", every=BillingCycle(unit="days"))
    with sold("memory", tmp_path, batch={"expires_days_after_first_use": 0}, charges=[daily],
              max_call_seconds=7_200, **REVIVES) as shop:  # fmt: skip
        shop.publish_retail("prefix,rate,increments\n44,0.48,60/60\n")
        shop.clock.tick(hours=11, minutes=50)
        grant = shop.grant("c1", to=UK)  # holds 4.80 for the ten minutes until midnight
        shop.clock.tick(minutes=12)  # the charge is due and waits, the card has expired
        assert not isinstance(shop.bill.accounts.recharge("B/1", "0.10", key="k"), Denied)
        assert dated(shop) == []
        shop.bill.settle(grant.handle, talk_ms=60_000)
        assert dated(shop) == [("03-04", "daily", -70 * CENT)]
        shop.clock.tick(days=1)
        shop.bill.sweep()
        assert dated(shop)[1:] == [("03-05", "daily", -70 * CENT)]
        shop.check_books()


# -- activity, and what is carried over ---------------------------------------------------------


def test_a_recharge_is_activity(tmp_path: Path):
    idle = evolve(WEEKLY, name="idle fee", trigger="inactivity")
    with sold("memory", tmp_path, charges=[idle]) as shop:
        call(shop, "c1", 60, to=UK)
        shop.clock.tick(days=5)
        shop.bill.accounts.recharge("B/1", 1, key="k")
        shop.clock.tick(days=6)
        shop.bill.accounts.credit("B/1", 1, key="l", actor="ann", reason="sorry")  # is none
        shop.clock.tick(days=2)
        shop.bill.sweep()
        assert dated(shop) == [("03-15", "idle fee", -25 * CENT)]


def test_what_is_carried_over_is_good_as_long_as_it_was_given_for(tmp_path: Path):
    """Each cycle's minutes keep their own end: what comes later makes them last no longer."""
    fortnight = BillingCycle(unit="weeks", count=2)
    weekly = evolve(BONUS, given="cycle", carry_over=True, valid=fortnight)
    with sold("memory", tmp_path, packages=[weekly], **BY_WEEK) as shop:
        call(shop, "c1", 600, to=UK)
        shop.clock.tick(days=13)
        assert shop.grant("c2", to=UK).max_seconds == (20 + 30 + 83) * 60
        shop.bill.cancel(make_handle("B/1", "c2"))
        shop.clock.tick(days=9)
        shop.bill.sweep()
        lost = [line for line, entry in zip(dated(shop), moved(shop), strict=True) if entry]
        assert lost == [("03-17", "bonus", 1_200), ("03-24", "bonus", 1_800)]
        assert shop.grant("c3", to=UK).max_seconds == (30 + 30 + 83) * 60
        shop.check_books()


def moved(shop: Shop) -> list[bool]:
    kinds = [entry.kind.value for entry in shop.bill.entries("B/1")]
    return [kind == "lost" for kind in kinds if kind in ("charge", "breakage", "given", "lost")]
