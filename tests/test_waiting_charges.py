"""A charge that waits for an open call: who may take the money there is, and what is behind it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from moneyed import USD, Money

from cardbill import BillingCycle, Denied, Engine, Operation
from cardbill.calls import make_handle
from tests.building import STORES, UK, Shop
from tests.test_sold_with import BONUS, CENT, WEEKLY, call, fee, sold

WHO: dict[str, Any] = {"actor": "ann", "reason": "ticket 7"}
DAILY = fee("daily", "period", "0.10", every=BillingCycle(unit="days"))
EXTRA = evolve(BONUS, name="extra", given="bought", price=Money("0.90", USD))
GIFT = evolve(EXTRA, name="gift", price=None)
LETTER = fee("letter", "manual", "0.30", when_short="take")
LEAVES: dict[str, Callable[[Engine], Operation | Denied]] = {
    "transfer": lambda bill: bill.accounts.transfer("B/1", to="B/2", key="k"),
    "transfer of some": lambda bill: bill.accounts.transfer("B/1", "0.10", to="B/2", key="k"),
    "refund": lambda bill: bill.accounts.refund("B/1", key="k", **WHO),
    "write-off": lambda bill: bill.accounts.write_off("B/1", "0.05", key="k", **WHO),
    "charge": lambda bill: bill.accounts.charge("B/1", "letter", key="k", **WHO),
    "purchase": lambda bill: bill.accounts.buy("B/1", "extra", key="k"),
}


@contextmanager
def waiting(kind: str, folder: Path, when_short: str = "drop", **plan: Any) -> Iterator[Shop]:
    """A shop where a weekly fee of 1.00 has fallen due beside 0.95 and a call that holds 1.20."""
    weekly = evolve(WEEKLY, amount=Money(1, USD), when_short=when_short)
    terms = {"charges": [weekly, LETTER], "packages": [EXTRA, GIFT], **plan}
    with sold(kind, folder, max_call_seconds=1_200, **terms) as shop:
        call(shop, "c1", 0)
        call(shop, "c1", 0, serial=2)
        shop.clock.tick(days=6, hours=11, minutes=50)
        shop.grant("open", to=UK)
        shop.bill.accounts.write_off("B/1", "2.85", key="w", **WHO)
        shop.clock.tick(minutes=15)
        yield shop


def end(shop: Shop) -> None:
    """The open call ends, for 0.60."""
    shop.bill.settle(make_handle("B/1", "open"), talk_ms=600_000)


def taken(shop: Shop) -> list[tuple[str, str, int]]:
    """What was taken since the write-off: the day, what for, how much."""
    entries = list(shop.bill.entries("B/1"))
    begin = 1 + next(n for n, entry in enumerate(entries) if entry.kind.value == "write_off")
    return [
        (f"{entry.at:%m-%d}", entry.name or entry.kind.value, -entry.amount_units)
        for entry in entries[begin:]
        if entry.kind.value != "given"
    ]


# -- the money it waits for ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", STORES)
@pytest.mark.parametrize("way", LEAVES)
def test_no_money_leaves_a_card_while_a_charge_waits_for_it(kind: str, way: str, tmp_path: Path):
    with waiting(kind, tmp_path) as shop:
        answer = LEAVES[way](shop.bill)
        assert isinstance(answer, Denied)
        assert (answer.reason.value, answer.detail) == (
            "insufficient_balance",
            "a charge waits for an open call to end",
        )
        end(shop)
        assert taken(shop) == [("03-10", "call", 60 * CENT), ("03-10", "weekly fee", 100 * CENT)]
        assert isinstance(LEAVES[way](shop.bill), Operation) == (way != "purchase")  # 0.55 is left
        shop.check_books()


@pytest.mark.parametrize("way", LEAVES)
def test_what_comes_pays_the_charge_that_waits_before_anything_leaves(way: str, tmp_path: Path):
    with waiting("memory", tmp_path) as shop:
        shop.bill.accounts.recharge("B/1", "0.95", key="r")
        assert taken(shop)[-1] == ("03-10", "weekly fee", 100 * CENT)
        assert isinstance(LEAVES[way](shop.bill), Operation)
        end(shop)
        shop.check_books()


def test_a_package_without_a_price_is_given_though_a_charge_waits(tmp_path: Path):
    with waiting("memory", tmp_path) as shop:
        assert isinstance(shop.bill.accounts.buy("B/1", "gift", key="k"), Operation)
        end(shop)
        assert taken(shop)[-1] == ("03-10", "weekly fee", 100 * CENT)


@pytest.mark.parametrize(("when_short", "owed"), [("drop", 0), ("take", 0), ("owe", 5 * CENT)])
def test_what_a_waiting_charge_says_about_short_money_is_done_when_no_call_is_open(
    when_short: str, owed: int, tmp_path: Path
):
    with waiting("memory", tmp_path, when_short, unreported_calls="charge") as shop:
        shop.clock.tick(days=1)  # nobody reports its end: all of it is charged
        shop.bill.sweep()
        fees = [("03-10", "weekly fee", 95 * CENT)] if when_short != "drop" else []
        assert taken(shop) == [("03-10", "call", 120 * CENT), *fees]
        assert shop.stored().owed.get("weekly fee", 0) == owed
        shop.check_books()


# -- a move behind it ---------------------------------------------------------------------------


@contextmanager
def moving(kind: str, folder: Path, *, busy: bool, **new: Any) -> Iterator[Shop]:
    """A card that moves at 1 o'clock on 10 March, an hour after its weekly fee, seen on the 13th.

    Where it is busy, a call has held all its money since the 9th: the fee waits until it ends.
    """
    with sold(kind, folder, charges=[evolve(WEEKLY, amount=Money(1, USD))]) as shop:
        shop.publish_retail("prefix,rate,increments\n44,0.001,60/60\n")
        plan = shop.bill.plans.get("Basic")
        shop.bill.plans.publish(evolve(plan, name="New", **{"charges": [DAILY], **new}))
        call(shop, "c1", 0)
        shop.clock.tick(days=6, hours=10)
        shop.bill.accounts.write_off("B/1", "0.10", key="w", **WHO)
        shop.clock.tick(hours=1)
        grant = shop.grant("open", to=UK)
        if not busy:
            shop.bill.settle(grant.handle, talk_ms=60_000)
        when = shop.clock.now + timedelta(hours=2)
        shop.bill.control.move("B/1", "New", effective=when, **WHO)
        shop.clock.tick(days=3, hours=8)
        if busy:
            shop.bill.sweep()
            assert taken(shop) == []
            shop.bill.settle(grant.handle, talk_ms=60_000)
        shop.bill.sweep()
        yield shop


@pytest.mark.parametrize("kind", STORES)
@pytest.mark.parametrize("busy", [False, True])
def test_a_move_that_waits_behind_a_charge_is_made_as_of_its_instant(kind, busy, tmp_path):
    with moving(kind, tmp_path, busy=busy) as shop:
        day = "03-13" if busy else "03-09"
        assert taken(shop) == [
            (day, "call", 1_000),
            ("03-10", "weekly fee", 100 * CENT),
            ("03-10", "New", 0),
            ("03-11", "daily", 10 * CENT),
            ("03-12", "daily", 10 * CENT),
            ("03-13", "daily", 10 * CENT),
        ]
        shop.check_books()


def test_inactivity_counts_from_the_end_of_the_call_behind_which_a_move_waited(tmp_path: Path):
    idle = fee("idle", "inactivity", "0.20", every=BillingCycle(unit="days"))
    with moving("memory", tmp_path, busy=True, charges=[idle]) as shop:
        assert [name for _, name, _ in taken(shop)] == ["call", "weekly fee", "New"]
        shop.clock.tick(days=1)
        shop.bill.sweep()
        assert taken(shop)[-1] == ("03-14", "idle", 20 * CENT)


def test_packages_of_the_new_plan_come_for_the_time_that_the_move_waited(tmp_path: Path):
    """What a cycle gave until the next one began is lost with it, as it is without a call."""
    minutes = evolve(BONUS, name="daily ten", minutes=10, given="cycle")
    cycle = BillingCycle(unit="days")
    ledgers = []
    for busy in (False, True):
        (folder := tmp_path / str(busy)).mkdir()
        new = {"charges": [], "packages": [minutes], "billing_cycle": cycle}
        with moving("memory", folder, busy=busy, **new) as shop:
            found = [
                (f"{entry.at:%m-%d}", entry.quantity)
                for entry in shop.bill.entries("B/1")
                if entry.kind.value == "given"
            ]
            ledgers.append((found, [b.left for b in shop.stored().buckets.values()]))
            shop.check_books()
    assert ledgers == [([("03-11", 600), ("03-12", 600), ("03-13", 600)], [600])] * 2


@pytest.mark.parametrize("billed", [False, True])
def test_a_charge_for_inactivity_that_waits_is_dropped_with_the_call_that_is_billed(
    billed: bool, tmp_path: Path
):
    idle = fee("idle", "inactivity", "1.00", every=WEEKLY.every)
    with waiting("memory", tmp_path, charges=[idle]) as shop:
        handle = make_handle("B/1", "open")
        ended = shop.bill.settle(handle, talk_ms=600_000) if billed else shop.bill.cancel(handle)
        assert ended.total_units == 60 * CENT * billed
        assert [day for day, name, _ in taken(shop) if name == "idle"] == ["03-10"] * (not billed)
        shop.check_books()
