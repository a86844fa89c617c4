"""Moving a card, or a batch, to another plan: explicit, dated, in the log and the ledger."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from moneyed import EUR, USD, Money

from cardbill import BillingCycle, Charge, Package, Plan
from cardbill.errors import (
    InvalidInput,
    MissingFields,
    PlanRefused,
    TermsLocked,
    TransitionRefused,
    UnknownName,
)
from tests.building import START, UK_MINUTE, Shop, deck, open_shop

WHO: Any = {"actor": "ann", "reason": "customer asked"}
DAY = timedelta(days=1)


def weekly(amount: str, **terms: Any) -> Charge:
    every = BillingCycle(unit="weeks", count=1)
    return Charge(name="weekly fee", trigger="period", every=every, amount=usd(amount), **terms)


def daily(amount: str, **terms: Any) -> Charge:
    every = BillingCycle(unit="days", count=1)
    return Charge(name="daily fee", trigger="period", every=every, amount=usd(amount), **terms)


def usd(amount: str) -> Money:
    return Money(amount, USD)


@contextmanager
def two_plans(
    kind: str, folder: Path, old: dict[str, Any] | None = None, **new: Any
) -> Iterator[Shop]:
    """A shop whose cards have plan Basic, and may move to plan Other: half the price to the UK."""
    with open_shop(kind, folder, plan=old) as shop:
        cheap = deck("prefix,destination,rate,increments\n44,United Kingdom,0.03,60/60\n")
        shop.bill.decks.publish("cheap", cheap)
        shop.bill.plans.publish(Plan(name="Other", deck="cheap", currency=USD, **new))
        yield shop


def talk(shop: Shop, call_id: str, minutes: int = 1, **request: Any) -> int:
    call = shop.grant(call_id, **request)
    return shop.bill.settle(call.handle, talk_ms=minutes * 60_000).price_units


def dues(shop: Shop, card_id: str = "B/1") -> list[tuple[str, str, int]]:
    """What was posted for charges and moves: the local date, the name, what was taken."""
    return [
        (f"{entry.at:%m-%d}", entry.name, -entry.amount_units)
        for entry in shop.bill.entries(card_id)
        if entry.kind.value in ("charge", "plan")
    ]


# -- a card --------------------------------------------------------------------------------------


def test_a_card_that_moves_is_granted_calls_under_the_other_plan(kind, tmp_path):
    with two_plans(kind, tmp_path) as shop:
        assert talk(shop, "c1") == UK_MINUTE
        open_call = shop.grant("c2")
        view = shop.bill.control.move("B/1", "Other", **WHO)
        assert (view.plan, view.plan_version, view.moves_to) == ("Other", 1, None)
        # The call in progress keeps the terms it was granted under.
        assert shop.bill.settle(open_call.handle, talk_ms=60_000).price_units == UK_MINUTE
        assert talk(shop, "c3") == UK_MINUTE // 2
        assert talk(shop, "c1", serial=2) == UK_MINUTE
        assert shop.ledger()[2] == ("plan", 0, "version 1")
        (row,) = shop.log()
        assert (row.actor, row.action, row.subject) == ("ann", "move", "B/1")
        assert b'"plan": "Other", "version": 1' in row.detail
        shop.check_books()


def test_a_plans_newer_version_counts_only_for_cards_that_are_moved_to_it(kind, tmp_path):
    with two_plans(kind, tmp_path) as shop:
        talk(shop, "c1")
        shop.bill.plans.publish(Plan(name="Basic", deck="cheap", currency=USD))
        assert talk(shop, "c2") == UK_MINUTE
        assert shop.bill.control.move("B/1", "Basic", **WHO).plan_version == 2
        assert talk(shop, "c3") == UK_MINUTE // 2


@pytest.mark.parametrize("swept", [True, False])
def test_a_move_happens_on_its_date_whether_or_not_anybody_sweeps(kind, tmp_path, swept):
    old, new = {"charges": [weekly("0.70")]}, {"charges": [daily("0.05")]}
    with two_plans(kind, tmp_path, old, **new) as shop:
        talk(shop, "c1")
        when = START + 15 * DAY
        view = shop.bill.control.move("B/1", "Other", effective=when, **WHO)
        assert (view.plan, view.moves_to, view.moves_at) == ("Basic", "Other", when)
        for _ in range(17):
            shop.clock.tick(days=1)
            if swept:
                shop.bill.sweep()
        assert shop.bill.card("B/1").plan == "Other"
        assert talk(shop, "c2") == UK_MINUTE // 2
        assert dues(shop) == [
            ("03-10", "weekly fee", 700_000),
            ("03-17", "weekly fee", 700_000),
            ("03-18", "Other", 0),
            ("03-19", "daily fee", 50_000),
            ("03-20", "daily fee", 50_000),
        ]
        shop.check_books()


def test_a_charge_due_at_the_very_instant_is_the_old_plans(kind, tmp_path):
    old, new = {"charges": [weekly("0.70")]}, {"charges": [weekly("0.35")]}
    with two_plans(kind, tmp_path, old, **new) as shop:
        talk(shop, "c1")
        midnight = START.replace(hour=0) + 7 * DAY
        shop.bill.control.move("B/1", "Other", effective=midnight, **WHO)
        shop.clock.tick(days=15)
        shop.bill.sweep()
        assert dues(shop) == [
            ("03-10", "weekly fee", 700_000),
            ("03-10", "Other", 0),
            ("03-17", "weekly fee", 350_000),
        ]


def test_periods_go_on_from_the_first_use_and_what_is_over_is_not_charged_again(kind, tmp_path):
    with two_plans(kind, tmp_path, charges=[weekly("0.10")]) as shop:
        talk(shop, "c1")
        shop.clock.tick(days=30)
        shop.bill.control.move("B/1", "Other", **WHO)
        shop.clock.tick(days=9)
        shop.bill.sweep()
        assert [(day, units) for day, _, units in dues(shop)] == [
            ("04-02", 0),
            ("04-07", 100_000),  # the fifth week since 3 March
        ]


def test_packages_begin_with_the_next_cycle_and_those_given_stay(kind, tmp_path):
    terms = {"billing_cycle": BillingCycle(unit="weeks", count=1)}
    minutes = Package(name="weekly ten", minutes=10, destinations=["44"], given="cycle")
    welcome = Package(name="welcome", minutes=5, destinations=["44"], given="activation")
    with two_plans(kind, tmp_path, {"packages": [welcome]}, packages=[minutes], **terms) as shop:
        assert talk(shop, "c1", 2) == 0
        shop.clock.tick(days=2)
        shop.bill.control.move("B/1", "Other", **WHO)
        assert talk(shop, "c2", 4) == UK_MINUTE // 2  # three of the five were left
        shop.clock.tick(days=6)
        assert talk(shop, "c3", 12) == UK_MINUTE
        shop.check_books()


def test_a_card_that_never_had_a_package_gets_those_of_its_new_plan(kind, tmp_path):
    every = BillingCycle(unit="weeks", count=1)
    minutes = Package(name="weekly ten", minutes=10, given="cycle")
    with two_plans(kind, tmp_path, packages=[minutes], billing_cycle=every) as shop:
        talk(shop, "c1")
        shop.bill.control.move("B/1", "Other", **WHO)
        shop.clock.tick(days=1)
        talk(shop, "c2")  # the card is stored, and read again, in between
        shop.clock.tick(days=6)
        assert talk(shop, "c3", 10) == 0
        shop.check_books()


@pytest.mark.parametrize(
    "other",
    [
        {"amount": usd("0.30"), "destinations": ["44"]},  # another unit
        {"seconds": 600},  # other destinations
        {"seconds": 600, "destinations": ["44"], "waives_connect_fee": True},
    ],
)
def test_what_is_carried_over_joins_no_package_that_is_another(kind, tmp_path, other):
    def extra(**terms: Any) -> dict[str, Any]:
        package = Package(name="extra", given="cycle", carry_over=True, **terms)
        return {"packages": [package], "billing_cycle": BillingCycle(unit="weeks", count=1)}

    old = extra(seconds=600, destinations=["44"])
    with two_plans(kind, tmp_path, old, **extra(**other)) as shop:
        shop.bill.cancel(shop.grant("c1").handle)
        shop.bill.control.move("B/1", "Other", **WHO)
        shop.clock.tick(days=7)
        shop.bill.sweep()
        first, second = shop.stored("B/1").buckets.values()
        assert (first.given, first.unit.value, first.destinations) == (600, "seconds", ("44",))
        assert second.given == (300_000 if "amount" in other else 600)
        assert second.destinations == tuple(other.get("destinations", ()))
        shop.check_books()


def test_inactivity_counts_from_the_move(kind, tmp_path):
    every = BillingCycle(unit="days", count=10)
    idle = Charge(name="idle", trigger="inactivity", every=every, amount=usd("0.20"))
    with two_plans(kind, tmp_path, charges=[idle]) as shop:
        talk(shop, "c1")
        shop.clock.tick(days=25)
        shop.bill.control.move("B/1", "Other", **WHO)
        shop.clock.tick(days=12)
        shop.bill.sweep()
        assert dues(shop)[1:] == [("04-07", "idle", 200_000)]


def test_a_move_back_and_forth_leaves_nothing_of_the_other_plan(kind, tmp_path):
    with two_plans(kind, tmp_path, charges=[daily("0.05")]) as shop:
        talk(shop, "c1")
        shop.bill.control.move("B/1", "Other", **WHO)
        shop.clock.tick(days=2)
        shop.bill.control.move("B/1", "Basic", **WHO)
        shop.clock.tick(days=2)
        assert talk(shop, "c2") == UK_MINUTE
        assert [name for _, name, _ in dues(shop)] == ["Other", "daily fee", "daily fee", "Basic"]
        shop.check_books()


def test_a_move_waits_behind_a_charge_that_waits_for_a_call(kind, tmp_path):
    old = {"charges": [daily("5.00", when_short="take")]}
    with two_plans(kind, tmp_path, old) as shop:
        shop.clock.tick(hours=11, minutes=30)
        call = shop.grant("c1")
        shop.clock.tick(minutes=45)  # after midnight: the fee waits while the call holds money
        held = shop.bill.control.move("B/1", "Other", **WHO)
        assert (held.plan, held.moves_to, held.open_calls) == ("Basic", "Other", ("c1",))
        shop.bill.settle(call.handle, talk_ms=60_000)
        assert [name for _, name, _ in dues(shop)] == ["daily fee", "Other"]
        assert shop.bill.card("B/1").plan == "Other"
        shop.check_books()


def test_a_card_that_nobody_used_begins_with_the_plan_it_was_moved_to(kind, tmp_path):
    with two_plans(kind, tmp_path) as shop:
        assert shop.bill.control.move("B/1", "Other", **WHO).plan == "Other"
        assert shop.ledger() == []  # its account is not open yet
        shop.bill.control.sell("B/1", actor="kiosk")
        assert shop.bill.card("B/1").plan == "Other"
        assert talk(shop, "c1") == UK_MINUTE // 2


def test_the_books_of_a_card_that_was_moved_unused_are_clean(kind, tmp_path):
    with two_plans(kind, tmp_path) as shop:
        shop.bill.control.move("B/2", "Other", **WHO)
        shop.check_books()


def test_a_later_move_takes_the_place_of_one_that_has_not_happened(kind, tmp_path):
    with two_plans(kind, tmp_path) as shop:
        talk(shop, "c1")
        shop.bill.control.move("B/1", "Other", effective=START + 5 * DAY, **WHO)
        shop.bill.control.move("B/1", "Other", effective=START + 9 * DAY, **WHO)
        shop.clock.tick(days=7)
        assert shop.bill.card("B/1").plan == "Basic"
        assert shop.bill.control.move("B/1", "Basic", **WHO).moves_to is None  # called off
        shop.clock.tick(days=7)
        assert shop.bill.card("B/1").plan == "Basic"
        assert dues(shop) == []


def test_the_same_move_again_changes_nothing(kind, tmp_path):
    with two_plans(kind, tmp_path) as shop:
        talk(shop, "c1")
        shop.bill.control.move("B/1", "Other", **WHO)
        before = shop.stored()
        shop.bill.control.move("B/1", "Other", **WHO)
        assert shop.stored().version == before.version


def test_a_statement_tells_of_the_move(kind, tmp_path):
    with two_plans(kind, tmp_path) as shop:
        talk(shop, "c1")
        shop.bill.control.move("B/1", "Other", **WHO)
        text = shop.bill.statement("B/1", language="de").text()
        assert "Tarifwechsel: Other" in text or "Tarifwechsel Other" in text


# -- a batch -------------------------------------------------------------------------------------


def test_a_batch_moves_with_all_its_cards(kind, tmp_path):
    with two_plans(kind, tmp_path) as shop:
        talk(shop, "c1")
        shop.bill.control.sell("B/2", actor="kiosk")
        assert shop.bill.control.move_batch("B", "Other", **WHO) == 2  # B/3 has no plan yet
        assert shop.bill.batches.get("B").plan == "Other"
        for serial in (1, 2, 3):
            assert talk(shop, "c9", serial=serial) == UK_MINUTE // 2
        assert shop.bill.control.move_batch("B", "Other", **WHO) == 0
        shop.check_books()


def test_a_batch_moves_on_a_date(kind, tmp_path):
    with two_plans(kind, tmp_path) as shop:
        talk(shop, "c1")
        shop.bill.control.void("B/3", **WHO)
        when = START + 3 * DAY
        assert shop.bill.control.move_batch("B", "Other", effective=when, **WHO) == 2
        assert shop.bill.batches.get("B").plan == "Basic"
        assert talk(shop, "c2", serial=2) == UK_MINUTE  # first used before the date
        shop.clock.tick(days=4)
        assert [talk(shop, "c3", serial=serial) for serial in (1, 2)] == [UK_MINUTE // 2] * 2
        shop.check_books()


def test_a_batch_with_cards_in_use_is_moved_and_not_assigned(kind, tmp_path):
    with two_plans(kind, tmp_path) as shop:
        talk(shop, "c1")
        with pytest.raises(TermsLocked, match="move_batch"):
            shop.bill.batches.assign("B", plan="Other")


# -- what cannot be ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plan", "terms", "error"),
    [
        ("Nowhere", {}, UnknownName),
        ("Euro", {}, PlanRefused),
        ("Shop", {}, PlanRefused),
        ("Other", {"effective": START - timedelta(microseconds=1)}, InvalidInput),
        ("Other", {"effective": START.replace(tzinfo=None)}, InvalidInput),
        ("Other", {"reason": ""}, MissingFields),
        ("Other", {"actor": ""}, MissingFields),
    ],
)
@pytest.mark.parametrize("target", ["card", "batch"])
def test_a_move_that_cannot_be_changes_nothing(kind, tmp_path, target, plan, terms, error):
    with two_plans(kind, tmp_path) as shop:
        talk(shop, "c1")
        shop.bill.decks.publish("euro", deck("prefix,destination,rate\n44,UK,0.03\n", EUR))
        shop.bill.plans.publish(Plan(name="Euro", deck="euro", currency=EUR))
        cycle = BillingCycle(unit="on_demand")
        shop.bill.plans.publish(Plan(name="Shop", deck="cheap", currency=USD, billing_cycle=cycle))
        before, batch = shop.stored(), shop.bill.batches.get("B")
        move = (
            partial(shop.bill.control.move, "B/1")
            if target == "card"
            else partial(shop.bill.control.move_batch, "B")
        )
        with pytest.raises(error):
            move(plan, **{**WHO, **terms})
        assert (shop.stored(), shop.bill.batches.get("B")) == (before, batch)
        assert shop.log() == []


def test_a_void_card_stays_where_it_is(kind, tmp_path):
    with two_plans(kind, tmp_path) as shop:
        shop.bill.control.void("B/1", **WHO)
        with pytest.raises(TransitionRefused, match="void"):
            shop.bill.control.move("B/1", "Other", **WHO)


def test_an_unknown_card_is_named(kind, tmp_path):
    with two_plans(kind, tmp_path) as shop, pytest.raises(UnknownName, match="B/99"):
        shop.bill.control.move("B/99", "Other", **WHO)
