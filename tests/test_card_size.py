"""No plan, and no number of calls, makes a card too large for money to move on it."""

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from moneyed import USD, Money

from cardbill import BillingCycle, Carrier, Charge, Denied, Package, Plan, Status
from cardbill.calls import make_handle
from cardbill.errors import CardTooLarge, InvalidInput
from cardbill.packages import ROOM
from cardbill.storage.contract import LARGEST_STATE
from tests.building import US, Shop, deck, open_shop, rows

WHO: dict[str, Any] = {"actor": "ann", "reason": "asked for it"}
DAILY = BillingCycle(unit="days")
YEAR = BillingCycle(unit="years", count=1)
DAY = timedelta(days=1)


def bonuses(count: int, **terms: Any) -> list[Package]:
    """Packages of each day that are carried over for a year."""
    given: dict[str, Any] = {"minutes": 10, "given": "cycle", "carry_over": True, "valid": YEAR}
    given |= {"destinations": ["44"], **terms}
    return [Package(name=f"bonus {n}", **given) for n in range(count)]


def talk(shop: Shop, call_id: str, **request: Any) -> None:
    shop.bill.settle(shop.grant(call_id, **request).handle, talk_ms=60_000)


def size(shop: Shop, card_id: str = "B/1") -> int:
    return len(shop.bill.storage.view(card_id).card.state)


def given(shop: Shop) -> list[tuple[str, str, str, int]]:
    return [
        (f"{entry.at:%y-%m-%d}", entry.kind.value, entry.name, entry.quantity)
        for entry in shop.bill.entries("B/1")
        if entry.quantity
    ]


# -- packages ------------------------------------------------------------------------------------


@pytest.mark.parametrize("swept", [True, False])
def test_a_plan_that_gives_six_packages_a_day_for_a_year_wears_no_card_out(swept, tmp_path):
    plan = {"billing_cycle": DAILY, "packages": bonuses(6)}
    with open_shop("memory", tmp_path, face=Money(500, USD), plan=plan) as shop:
        talk(shop, "first", to=US)
        for month in range(30):
            for _ in range(30 if swept else 1):
                shop.clock.tick(days=1 if swept else 30)
                if swept:
                    assert shop.bill.sweep().failures == ()
            talk(shop, f"c{month}")
            shop.bill.accounts.recharge("B/1", 1, key=f"r{month}")
            assert sum(bucket.size for bucket in shop.stored().buckets.values()) <= ROOM
        shop.bill.control.block("B/1", **WHO)
        shop.bill.accounts.refund("B/1", 5, key="back", **WHO)
        lost = [row for row in given(shop) if row[1] == "lost"]
        assert lost[0][0] == "26-03-03"  # what was left of the first day's, after its year
        left = sum(bucket.left for bucket in shop.stored().buckets.values())
        signs = {"given": 1, "lost": -1}
        assert left == sum(signs[kind] * units for _, kind, _, units in given(shop)) - 30 * 60
        shop.check_books()


def test_nothing_is_given_or_lost_otherwise_by_sweeping(tmp_path):
    plan = {
        "billing_cycle": DAILY,
        "packages": bonuses(4, valid=BillingCycle(unit="days", count=99)),
    }
    ledgers = []
    for name, swept in (("a", True), ("b", False)):
        (tmp_path / name).mkdir()
        with open_shop("memory", tmp_path / name, plan=plan) as shop:
            talk(shop, "first", to=US)
            for _ in range(250):
                shop.clock.tick(days=1)
                if swept:
                    shop.bill.sweep()
            shop.bill.sweep()
            ledgers.append((given(shop), shop.stored().buckets))
    assert ledgers[0] == ledgers[1]


def test_what_joins_is_good_as_long_as_what_is_good_longest(tmp_path):
    names = [f"{'long name ' * 5}{n}" for n in range(2)]
    terms: dict[str, Any] = {
        "minutes": 10,
        "given": "bought",
        "destinations": ["44", *[f"44{n}" for n in range(80)]],
    }
    short, forever = (
        Package(name=names[0], valid=BillingCycle(unit="days", count=30), **terms),
        Package(name=names[1], **terms),
    )
    with open_shop("memory", tmp_path, plan={"packages": [short, forever]}) as shop:
        talk(shop, "first", to=US)
        for number in range(60):
            shop.clock.tick(hours=7)
            shop.bill.accounts.buy("B/1", names[number % 2], key=f"b{number}")
        buckets = shop.stored().buckets.values()
        assert sum(bucket.size for bucket in buckets) <= ROOM
        assert sum(bucket.left for bucket in buckets) == 60 * 600
        last = max(bucket.expires_at for bucket in buckets if bucket.expires_at is not None)
        shop.clock.tick(days=28)
        assert last > shop.clock.now  # thirty days after the last that was bought
        shop.clock.tick(days=3)
        shop.bill.sweep()
        assert {bucket.package for bucket in shop.stored().buckets.values()} == {names[1]}
        assert sum(bucket.left for bucket in shop.stored().buckets.values()) == 30 * 600
        shop.check_books()


def test_while_there_is_room_each_stays_apart_and_expires_in_its_time(tmp_path):
    short = bonuses(1, valid=BillingCycle(unit="days", count=3))
    with open_shop("memory", tmp_path, plan={"billing_cycle": DAILY, "packages": short}) as shop:
        talk(shop, "first", to=US)
        shop.clock.tick(days=4)
        shop.bill.sweep()
        assert [row[:2] for row in given(shop)] == [
            ("25-03-03", "given"),
            ("25-03-04", "given"),
            ("25-03-05", "given"),
            ("25-03-06", "lost"),
            ("25-03-06", "given"),
            ("25-03-07", "lost"),
            ("25-03-07", "given"),
        ]
        assert len(shop.stored().buckets) == 3


def test_what_is_carried_over_joins_only_what_is_on_the_same_terms(tmp_path):
    """A later version of the plan may give another unit, or to other places, by the same name."""
    minutes = Package(name="bonus", minutes=10, given="cycle", carry_over=True)
    with open_shop(
        "memory", tmp_path, plan={"billing_cycle": DAILY, "packages": [minutes]}
    ) as shop:
        talk(shop, "first", to=US)
        terms = shop.bill.plans.get("Basic")
        changes: list[dict[str, Any]] = [
            {"minutes": None, "amount": Money(1, USD)},
            {"destinations": ["33"]},
            {"waives_connect_fee": True},
            {},
        ]
        for change in changes:
            shop.bill.plans.publish(evolve(terms, packages=[evolve(minutes, **change)]))
            shop.bill.control.move("B/1", "Basic", **WHO)
            shop.clock.tick(days=1)
        shop.bill.sweep()
        left = [(bucket.unit.value, bucket.left) for bucket in shop.stored().buckets.values()]
        assert left == [
            ("seconds", 1_140),
            ("money", 1_000_000),
            ("seconds", 600),
            ("seconds", 600),
        ]
        shop.check_books()


def test_a_card_that_moves_on_with_many_packages_has_room_for_those_of_its_next_plan(tmp_path):
    plan = {"billing_cycle": DAILY, "packages": bonuses(6)}
    with open_shop("memory", tmp_path, plan=plan) as shop:
        talk(shop, "first", to=US)
        shop.clock.tick(days=100)
        terms = shop.bill.plans.get("Basic")
        far = [f"{33}{n}" for n in range(90)]
        extra = Package(name="extra", minutes=1, given="bought", price=Money(1, USD))
        for name in ("one", "two"):
            more = bonuses(20, destinations=far)
            more = [evolve(each, name=f"{name} {number}") for number, each in enumerate(more)]
            shop.bill.plans.publish(evolve(terms, name=name, packages=[*more, extra]))
        shop.bill.control.move("B/1", "one", **WHO)
        shop.clock.tick(days=1)
        assert shop.bill.sweep().failures == ()
        assert sum(row[2].startswith("one") for row in given(shop)) == 20
        assert not any(row[1] == "lost" for row in given(shop))
        balance = shop.bill.card("B/1").balance
        with pytest.raises(InvalidInput, match="as many as it can hold"):
            shop.bill.accounts.buy("B/1", "extra", key="b")
        assert shop.bill.card("B/1").balance == balance
        shop.bill.control.move("B/1", "two", **WHO)
        shop.clock.tick(days=1)
        assert shop.bill.sweep().failures == ()
        shop.bill.accounts.refund("B/1", key="back", **WHO)
        # Of the third plan's packages some have no room any more: their ledger says so.
        told = [row for row in given(shop) if row[2].startswith("two")]
        lost = [row for row in told if row[1] == "lost"]
        assert 0 < len(lost) < 20 == len(told) - len(lost)
        assert sum(bucket.size for bucket in shop.stored().buckets.values()) <= 2 * ROOM
        shop.check_books()


def test_packages_that_no_card_has_room_for_are_refused_with_their_plan():
    terms: dict[str, Any] = {"name": "p", "currency": "USD", "deck": "d"}
    places = [f"44{number:08}" for number in range(100)]
    packages = [Package(name=f"p{n}", minutes=1, destinations=places) for n in range(12)]
    assert Plan(**terms, packages=packages[:11]).packages
    with pytest.raises(InvalidInput, match=r"packages.*room for 16,384"):
        Plan(**terms, packages=packages)


def fill(begin: Callable[[int], object]) -> None:
    """Begin one thing more until the card is too large for that."""
    with suppress(CardTooLarge):
        for number in range(100):
            begin(number)
        pytest.fail("a hundred found room")


# -- open calls ----------------------------------------------------------------------------------


def many_carriers(shop: Shop) -> None:
    """Have a hold take two kilobytes and more."""
    for number in range(12):
        shop.bill.decks.publish(f"cost-{number}", deck("prefix,rate\n1,0.001\n"))
        shop.bill.carriers.publish(Carrier(name=f"{number:02}-{'x' * 60}", deck=f"cost-{number}"))


def test_open_calls_leave_room_for_the_packages_of_the_days_to_come(tmp_path):
    places = [f"44{number:08}" for number in range(100)]
    terms: dict[str, Any] = {
        "calls_at_once": 100,
        "max_call_seconds": 20 * 86_400,
        "billing_cycle": DAILY,
        "packages": [evolve(bonuses(1)[0], destinations=places)],
    }
    with open_shop("memory", tmp_path, face=Money(50_000, USD), plan=terms) as shop:
        many_carriers(shop)
        fill(lambda number: shop.grant(f"{number:03}", to=US))
        before = size(shop)
        for _ in range(19):
            shop.clock.tick(days=1)
            assert shop.bill.sweep().failures == ()
        assert before + 12 * 1024 < size(shop) < LARGEST_STATE
        shop.bill.accounts.refund("B/1", 1, key="f", **WHO)
        shop.bill.control.block("B/1", **WHO)
        shop.check_books()


def test_a_card_full_of_open_calls_still_takes_and_gives_money_and_can_be_blocked(kind, tmp_path):
    weekly = Charge(
        name="weekly", trigger="period", amount=Money("0.25", USD), every=BillingCycle(unit="weeks")
    )
    terms: dict[str, Any] = {
        "calls_at_once": 100,
        "max_call_seconds": 14 * 86_400,
        "charges": [weekly],
        "ani_limit": 50,
    }
    with open_shop(kind, tmp_path, face=Money(50_000, USD), plan=terms) as shop:
        many_carriers(shop)
        talk(shop, "first", serial=2, to=US)
        open_calls = [f"{number:03}-{'y' * 120}" for number in range(100)]
        fill(lambda number: shop.grant(open_calls[number], to=US))
        fill(
            lambda number: shop.bill.callers.register("B/1", f"130555501{number:02}", confirm=True)
        )
        full = size(shop)
        assert LARGEST_STATE - 9 * 1024 < full < LARGEST_STATE - 7 * 1024
        accounts = shop.bill.accounts
        with pytest.raises(CardTooLarge, match="too many for more calls"):
            accounts.transfer("B/1", 1, to="B/2", key="z" * 128)
        accounts.recharge("B/1", 5, key="r")
        accounts.credit("B/1", 5, key="c", **WHO)
        assert not isinstance(accounts.transfer("B/2", 2, to="B/1", key="t"), Denied)
        accounts.write_off("B/1", 1, key="w", **WHO)
        accounts.refund("B/1", 1, key="f", **WHO)
        shop.bill.control.block("B/1", **WHO)
        assert shop.bill.card("B/1").status is Status.BLOCKED
        shop.clock.tick(days=8)
        assert shop.bill.sweep().failures == ()
        assert ("charge", -250_000, "period 1") in shop.ledger()
        assert full - 100 < size(shop) < LARGEST_STATE
        shop.bill.settle(make_handle("B/1", open_calls[0]), talk_ms=60_000)
        shop.bill.cancel(make_handle("B/1", open_calls[1]))
        shop.clock.tick(days=20)
        assert shop.bill.sweep().failures == ()
        assert size(shop) < 2_000
        shop.check_books()


def test_a_card_that_would_outgrow_its_state_refuses_the_call_by_name(kind: str, tmp_path: Path):
    with open_shop(kind, tmp_path, plan={"calls_at_once": 100, "max_call_seconds": 30}) as shop:
        for number in range(12):
            shop.bill.decks.publish(f"cost-{number}", deck("prefix,rate\n44,0.02\n"))
            shop.bill.carriers.publish(
                Carrier(name=f"{number:02}-{'x' * 60}", deck=f"cost-{number}")
            )
        granted, before = 0, rows(shop.bill.storage)
        try:
            while granted < 100:
                shop.grant(f"{granted:03}-{'y' * 120}")
                granted, before = granted + 1, rows(shop.bill.storage)
        except CardTooLarge:
            assert rows(shop.bill.storage) == before
        assert 20 <= granted < 100
        shop.bill.cancel(make_handle("B/1", f"000-{'y' * 120}"))
        shop.check_books()
