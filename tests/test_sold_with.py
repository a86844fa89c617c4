"""What a card is sold with: packages, charges and taxes, through calls and through time."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from moneyed import USD, Money

from cardbill import (
    AccessNumber,
    BillingCycle,
    CallRecord,
    Charge,
    Denied,
    DestinationGroup,
    Grant,
    Jurisdiction,
    LimitedBy,
    Package,
    Tax,
)
from tests.building import STORES, UK, UK_MINUTE, US, Shop, open_shop

CENT = 10_000
DAY = timedelta(days=1)
WEEKLY = Charge(
    name="weekly fee",
    trigger="period",
    amount=Money("0.25", USD),
    every=BillingCycle(unit="weeks"),
)
BONUS = Package(name="bonus", minutes=30, destinations=["44"])


def fee(name: str = "fee", trigger: str = "answer", amount: Any = "0.10", **terms: Any) -> Charge:
    return Charge(name=name, trigger=trigger, amount=Money(amount, USD), **terms)


@contextmanager
def sold(
    kind: str, folder: Path, *, batch: dict[str, Any] | None = None, **plan: Any
) -> Iterator[Shop]:
    """A shop whose cards are sold with such a plan; taxes of "X" are published by the test."""
    with open_shop(kind, folder, batch=batch) as shop:
        terms = shop.bill.plans.get("Basic")
        shop.bill.plans.publish(evolve(terms, **plan))
        yield shop


@contextmanager
def taxed(kind: str, folder: Path, *taxes: Tax, **plan: Any) -> Iterator[Shop]:
    """A shop whose batch T bears these taxes."""
    with sold(kind, folder, **plan) as shop:
        shop.bill.jurisdictions.publish(Jurisdiction(name="X", country="X", taxes=taxes))
        terms = shop.bill.batches.get("B")
        shop.bill.batches.create(evolve(terms, name="T", taxable=True, tax_jurisdiction="X"))
        shop.bill.batches.generate_pins("T")
        yield shop


def call(shop: Shop, call_id: str, seconds: int, **request: Any) -> CallRecord:
    grant = shop.grant(call_id, **request)
    return shop.bill.settle(grant.handle, talk_ms=seconds * 1000, carrier="acme")


def posted(shop: Shop, card_id: str = "B/1") -> list[tuple[str, str, int]]:
    return [(e.kind.value, e.name, e.amount_units) for e in shop.bill.entries(card_id)]


# -- charges of calls ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", STORES)
def test_a_call_pays_its_charges_and_they_are_held_with_it(kind: str, tmp_path: Path):
    with sold(kind, tmp_path, charges=[fee(), fee("first", "first_answer", "0.50")]) as shop:
        grant = shop.grant(to=UK)
        # Five dollars less 0.60 of charges are 73 minutes of 0.06.
        assert grant.max_seconds == 73 * 60
        assert grant.held_units == 73 * UK_MINUTE + 60 * CENT
        record = shop.bill.settle(grant.handle, talk_ms=61_000, carrier="acme")
        assert record.price == Money("0.12", USD)
        assert record.charges == Money("0.60", USD)
        assert record.total == Money("0.72", USD)
        assert record.margin == Money("0.12", USD) - (record.cost or 0)  # without the charges
        second = call(shop, "c2", 61, to=UK)
        assert second.charges == Money("0.10", USD)
        assert posted(shop)[1:] == [
            ("call", "", -12 * CENT),
            ("charge", "fee", -10 * CENT),
            ("charge", "first", -50 * CENT),
            ("call", "", -12 * CENT),
            ("charge", "fee", -10 * CENT),
        ]
        shop.check_books()


@pytest.mark.parametrize("kind", STORES)
def test_a_call_that_is_not_answered_pays_nothing(kind: str, tmp_path: Path):
    with sold(kind, tmp_path, charges=[fee()]) as shop:
        assert call(shop, "c1", 0).total == Money(0, USD)
        assert shop.bill.card("B/1").balance == Money(5, USD)
        shop.check_books()


def test_the_first_of_two_calls_at_once_pays_for_being_the_first(tmp_path: Path):
    with sold("memory", tmp_path, charges=[fee("first", "first_answer")], calls_at_once=2,
              max_call_seconds=600) as shop:  # fmt: skip
        one, two = shop.grant("c1"), shop.grant("c2")
        later = shop.bill.settle(two.handle, talk_ms=1_000)
        earlier = shop.bill.settle(one.handle, talk_ms=1_000)
        assert (later.charges, earlier.charges) == (Money("0.10", USD), Money(0, USD))
        shop.check_books()


@pytest.mark.parametrize("kind", STORES)
def test_a_surcharge_is_for_some_ways_in_and_some_ways_out(kind: str, tmp_path: Path):
    toll_free = fee("toll-free", access_kinds=["toll_free"])
    payphone = fee("payphone", "end", "0.50", access=["+1 800 555 0199"])
    premium = fee("premium", destinations=["far"])
    with sold(kind, tmp_path, charges=[]) as shop:
        shop.bill.groups.publish(DestinationGroup(name="far", prefixes=["44"], excluding=["447"]))
        plan = shop.bill.plans.get("Basic")
        shop.bill.plans.publish(evolve(plan, charges=[toll_free, payphone, premium]))
        shop.bill.access_numbers.publish(AccessNumber(number="18005550100", kind="toll_free"))
        shop.bill.access_numbers.publish(AccessNumber(number="18005550199"))

        def charges(call_id: str, to: str, access: str | None) -> dict[str, int]:
            grant = shop.bill.authorize(pin=shop.pin(), to=to, call_id=call_id, access=access)
            assert isinstance(grant, Grant)
            record = shop.bill.settle(grant.handle, talk_ms=1_000)
            return {line.name: line.amount // CENT for line in record.lines if line.name}

        assert charges("c1", UK, "18005550100") == {"toll-free": 10, "premium": 10}
        assert charges("c2", US, "18005550199") == {"payphone": 50}
        assert charges("c3", US, None) == {}
        shop.check_books()


def test_a_charge_is_for_what_begins_while_it_is_in_force(tmp_path: Path):
    with sold("memory", tmp_path, charges=[]) as shop:
        later = shop.clock.now + timedelta(hours=1)
        plan = shop.bill.plans.get("Basic")
        shop.bill.plans.publish(evolve(plan, charges=[fee(effective_from=later)]))
        assert call(shop, "c1", 1).charge_units == 0
        shop.clock.now = later
        assert call(shop, "c2", 1).charge_units == 10 * CENT


# -- at the first use ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", STORES)
def test_what_activation_costs_is_taken_before_the_first_call_is_measured(kind, tmp_path):
    with sold(kind, tmp_path, charges=[fee("activation", "activation", "0.80")]) as shop:
        grant = shop.grant(to=UK)
        assert grant.max_seconds == 70 * 60  # of 4.20
        shop.bill.cancel(grant.handle)
        assert posted(shop) == [("face", "", 500 * CENT), ("charge", "activation", -80 * CENT)]
        assert shop.grant("c2", to=UK).max_seconds == 70 * 60  # taken once
        shop.check_books()


@pytest.mark.parametrize("kind", STORES)
def test_a_call_that_is_denied_is_no_first_use(kind, tmp_path):
    with sold(kind, tmp_path, charges=[fee("activation", "activation", "4.95")],
              packages=[BONUS]) as shop:  # fmt: skip
        assert shop.denied(to="0118821234567") == "insufficient_balance"
        card = shop.bill.card("B/1")
        assert (card.first_used_at, card.balance) == (None, Money(5, USD))
        assert posted(shop) == []
        assert shop.grant("c2", to=UK).granted  # the bonus carries it
        shop.check_books()


# -- packages -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", STORES)
def test_minutes_of_a_package_come_before_money(kind: str, tmp_path: Path):
    with sold(kind, tmp_path, packages=[BONUS]) as shop:
        grant = shop.grant(to=UK)
        assert grant.max_seconds == 30 * 60 + 83 * 60
        record = shop.bill.settle(grant.handle, talk_ms=20 * 60_000, carrier="acme")
        assert record.total == Money(0, USD)
        assert [(draw.bucket, draw.units) for draw in record.draws] == [(1, 1_200)]
        second = call(shop, "c2", 11 * 60, to=UK)
        assert second.price == Money("0.06", USD)  # ten minutes were left
        assert posted(shop)[1] == ("given", "bonus", 0)
        assert call(shop, "c3", 60, to=US).price_units > 0  # not for the United States
        shop.check_books()


@pytest.mark.parametrize("kind", STORES)
def test_a_card_without_money_calls_on_what_its_package_has_left(kind: str, tmp_path: Path):
    with sold(kind, tmp_path, packages=[BONUS]) as shop:
        call(shop, "c1", 30 * 60 + 83 * 60, to=UK)
        assert shop.bill.card("B/1").balance == Money("0.02", USD)
        assert shop.denied("c2", to=UK) == "insufficient_balance"
        shop.check_books()


def test_two_calls_at_once_share_a_package_and_never_use_it_twice(tmp_path: Path):
    with sold(
        "memory", tmp_path, packages=[BONUS], calls_at_once=2, max_call_seconds=1_200
    ) as shop:
        one, two = shop.grant("c1", to=UK), shop.grant("c2", to=UK)
        first = shop.bill.settle(one.handle, talk_ms=1_200_000)
        second = shop.bill.settle(two.handle, talk_ms=1_200_000)
        assert sum(draw.units for record in (first, second) for draw in record.draws) == 1_800
        assert (first.price_units, second.price_units) == (0, 10 * UK_MINUTE)
        shop.check_books()


@pytest.mark.parametrize("kind", STORES)
def test_a_package_expires_by_itself_and_what_a_call_holds_when_it_ends(kind, tmp_path):
    week = BillingCycle(unit="days", count=7)
    with sold(kind, tmp_path, packages=[evolve(BONUS, valid=week)], max_call_seconds=600) as shop:
        call(shop, "c1", 600, to=UK)
        shop.clock.tick(days=6, hours=11, minutes=50)  # ten minutes before midnight, a week later
        grant = shop.grant("c2", to=UK)
        shop.clock.tick(minutes=15)
        assert call(shop, "c3", 60, to=UK, serial=2).total_units == 0  # another card's bonus
        record = shop.bill.settle(grant.handle, talk_ms=300_000)
        assert record.total_units == 0
        given = [(e.kind.value, e.quantity) for e in shop.bill.entries("B/1") if e.quantity]
        assert given == [("given", 1_800), ("lost", 600), ("lost", 300)]
        assert call(shop, "c4", 60, to=UK).price_units == UK_MINUTE
        shop.check_books()


@pytest.mark.parametrize("carried", [False, True])
def test_a_package_of_each_cycle_is_renewed_and_carried_over_where_it_says_so(carried, tmp_path):
    monthly = BillingCycle(unit="months")
    package = evolve(BONUS, given="cycle", carry_over=carried)
    with sold("memory", tmp_path, packages=[package], billing_cycle=monthly) as shop:
        call(shop, "c1", 600, to=UK)
        shop.clock.now += timedelta(days=70)  # two cycles later
        left = 20 + 30 + 30 if carried else 30
        assert shop.grant("c2", to=UK).max_seconds == (left + 83) * 60
        quantities = [e.quantity for e in shop.bill.entries("B/1") if e.kind.value == "given"]
        assert quantities == [1_800, 1_800, 1_800]
        shop.check_books()


SOME_FREE = """\
prefix,destination,rate,increments,connect fee,free seconds
44,United Kingdom,0.06,60/60,0.10,30
"""


def test_a_bucket_that_a_slice_does_not_reach_is_there_for_the_next(tmp_path: Path):
    short = Package(name="short", seconds=60, valid=BillingCycle(unit="days", count=2))
    with sold("memory", tmp_path, packages=[BONUS, short], slice_seconds=30) as shop:
        shop.publish_retail(SOME_FREE)
        grant = shop.grant(to=UK)  # free seconds alone
        for number in range(1, 9):
            shop.bill.extend(grant.handle, used_seconds=30 * number, number=number)
        record = shop.bill.settle(grant.handle, talk_ms=240_000)
        assert [(draw.bucket, draw.units) for draw in record.draws] == [(2, 60), (1, 150)]
        assert record.price == Money("0.10", USD)  # the connect fee
        shop.check_books()


def test_a_connect_fee_that_was_waived_for_a_grant_stays_waived(tmp_path: Path):
    waiving = Package(name="credit", amount=Money(1, USD), waives_connect_fee=True)
    with sold("memory", tmp_path, packages=[waiving], max_call_seconds=25) as shop:
        shop.publish_retail(SOME_FREE)
        grant = shop.grant(to=UK)
        assert grant.held_units == 0
        record = shop.bill.settle(grant.handle, talk_ms=25_000)
        assert (record.price_units, record.uncollected_units, record.draws) == (0, 0, ())
        shop.check_books()


# -- calls that are reported late ---------------------------------------------------------------


@pytest.mark.parametrize("talk_ms", [0, 60_000])
def test_what_an_unreported_call_used_of_a_package_stays_used(talk_ms: int, tmp_path: Path):
    with sold("memory", tmp_path, packages=[BONUS], unreported_calls="charge",
              charges=[fee("first", "first_answer")], max_call_seconds=600) as shop:  # fmt: skip
        grant = shop.grant(to=UK)
        shop.clock.now += timedelta(days=1)
        shop.bill.sweep()
        (expired,) = shop.records()
        late = shop.bill.settle(grant.handle, talk_ms=talk_ms)
        assert late.draws == expired.draws
        assert (late.charges, late.first) == (Money("0.10", USD), True)
        shop.check_books()


def test_what_an_overrun_past_grace_should_have_cost_is_told_line_by_line(tmp_path: Path):
    with taxed("memory", tmp_path, VAT, max_call_seconds=5) as shop:
        shop.publish_retail("prefix,rate,increments,grace\n44,0.06,60/60,5\n")
        record = call(shop, "c1", 60, to=UK, batch="T")
        assert record.total_units == 0
        assert [(line.kind.value, line.amount) for line in record.short] == [
            ("price", 5 * CENT),
            ("tax", CENT),
        ]
        shop.check_books()


# -- charges of time ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", STORES)
def test_missed_periods_are_posted_one_by_one_with_their_own_dates(kind: str, tmp_path: Path):
    with sold(kind, tmp_path, charges=[WEEKLY]) as shop:
        call(shop, "c1", 60, to=UK)
        begin = shop.clock.now.date()
        shop.clock.now += timedelta(days=22)
        assert shop.bill.card("B/1").balance == Money("4.19", USD)  # seen before it is stored
        swept = shop.bill.sweep()
        assert (swept.cards, swept.failures) == (1, ())
        dated = [(e.at, e.reference) for e in shop.bill.entries("B/1") if e.name == "weekly fee"]
        assert dated == [
            (datetime.combine(begin + k * 7 * DAY, datetime.min.time(), shop.clock.now.tzinfo),
             f"period {k}")
            for k in (1, 2, 3)
        ]  # fmt: skip
        assert shop.bill.sweep().cards == 0
        shop.check_books()


@pytest.mark.parametrize(
    ("when_short", "balance", "owed"),
    [("drop", "0.02", {}), ("take", "0", {}), ("owe", "0", {"weekly fee": 23 * CENT})],
)
def test_what_a_charge_says_about_short_money_is_done(when_short, balance, owed, tmp_path):
    charge = evolve(WEEKLY, when_short=when_short)
    with sold("memory", tmp_path, charges=[charge]) as shop:
        call(shop, "c1", 82 * 60 + 1, to=UK)  # leaves 0.02
        shop.clock.now += timedelta(days=8)
        assert shop.bill.card("B/1").balance == Money(balance, USD)
        shop.bill.sweep()
        assert shop.stored().owed == owed
        shop.check_books()


@pytest.mark.parametrize("kind", STORES)
def test_a_charge_that_does_not_fit_beside_a_call_waits_for_it(kind: str, tmp_path: Path):
    with sold(kind, tmp_path, charges=[evolve(WEEKLY, when_short="take")]) as shop:
        call(shop, "c1", 60, to=UK)
        shop.clock.now += timedelta(days=6, hours=11, minutes=59)
        grant = shop.grant("c2", to=UK)  # holds all but two cents
        shop.clock.now += timedelta(minutes=10)
        due = shop.clock.now.replace(hour=0, minute=0, second=0, microsecond=0)
        assert [e.name for e in shop.bill.entries("B/1") if e.name] == []
        shop.bill.sweep()
        assert shop.denied("c3", to=UK) in {"insufficient_balance", "too_many_calls"}
        shop.bill.settle(grant.handle, talk_ms=60_000)
        last = list(shop.bill.entries("B/1"))[-1]
        assert (last.name, last.at, last.amount) == ("weekly fee", due, -Money("0.25", USD))
        shop.check_books()


@pytest.mark.parametrize("kind", STORES)
def test_a_charge_that_waits_comes_before_what_expiry_takes(kind: str, tmp_path: Path):
    week = {"expires_days_after_first_use": 6}
    six = BillingCycle(unit="days", count=6)
    charge = evolve(WEEKLY, amount=Money("0.70", USD), every=six, when_short="take")
    with sold(kind, tmp_path, charges=[charge], batch=week) as shop:
        shop.publish_retail("prefix,rate,increments\n44,0.003,60/60\n")
        call(shop, "c1", 60, to=UK)
        shop.clock.now += timedelta(days=5, hours=11, minutes=50)
        grant = shop.grant("c2", to=UK)
        assert grant.limited_by is LimitedBy.EXPIRY
        shop.clock.now += timedelta(days=1, minutes=12)  # the charge is due, the card has expired
        shop.bill.sweep()
        shop.bill.settle(grant.handle, talk_ms=60_000)
        kinds = [(e.kind.value, e.amount_units) for e in shop.bill.entries("B/1")]
        assert kinds[-2] == ("charge", -70 * CENT)
        assert kinds[-1][0] == "breakage"
        shop.check_books()


@pytest.mark.parametrize("trigger", ["period", "inactivity"])
@pytest.mark.parametrize("swept", [False, True])
def test_an_empty_card_that_gets_money_pays_nothing_for_before(trigger, swept, tmp_path: Path):
    weekly = Charge(name="weekly", trigger=trigger, amount=Money(1, USD), every=WEEKLY.every)
    with sold("memory", tmp_path, charges=[weekly]) as shop:
        call(shop, "c1", 60, to=UK)
        shop.bill.accounts.refund("B/1", key="a", actor="ann", reason="asked for it")
        for _ in range(4):
            shop.clock.now += timedelta(days=7)
            if swept:
                shop.bill.sweep()
        shop.bill.accounts.credit("B/1", 2, key="b", actor="ann", reason="sorry")
        assert shop.bill.card("B/1").balance == Money(2, USD)
        shop.clock.now += timedelta(days=7)
        assert shop.bill.card("B/1").balance == Money(1, USD)
        shop.check_books()


def test_periods_of_inactivity_are_counted_from_the_last_call(tmp_path: Path):
    idle = evolve(WEEKLY, name="idle fee", trigger="inactivity")
    with sold("memory", tmp_path, charges=[idle]) as shop:
        call(shop, "c1", 60, to=UK)
        shop.clock.now += timedelta(days=6)
        call(shop, "c2", 60, to=UK)
        shop.clock.now += timedelta(days=6)
        assert not any(e.name for e in shop.bill.entries("B/1"))
        shop.clock.now += timedelta(days=2)
        shop.bill.sweep()
        assert [e.reference for e in shop.bill.entries("B/1") if e.name] == ["period 1"]
        shop.check_books()


# -- taxes --------------------------------------------------------------------------------------

VAT = Tax(name="VAT", on=["usage", "surcharge", "recurring"], percent=20, inclusive=True)
ON_TOP = Tax(name="sales tax", on=["usage", "surcharge", "recurring"], percent="7.5")


@pytest.mark.parametrize("kind", STORES)
def test_an_inclusive_tax_is_part_of_what_a_call_costs(kind: str, tmp_path: Path):
    with taxed(kind, tmp_path, VAT) as shop:
        grant = shop.grant(to=UK, batch="T")
        assert grant.max_seconds == 83 * 60
        record = shop.bill.settle(grant.handle, talk_ms=120_000, carrier="acme")
        assert (record.price, record.tax) == (Money("0.10", USD), Money("0.02", USD))
        assert record.total == Money("0.12", USD)
        assert record.cost_units is not None
        assert record.margin_units == record.price_units - record.cost_units
        assert posted(shop, "T/1")[1:] == [("call", "", -10 * CENT), ("tax", "VAT", -2 * CENT)]
        shop.check_books()


@pytest.mark.parametrize("kind", STORES)
def test_a_tax_on_top_is_held_and_paid_with_the_call(kind: str, tmp_path: Path):
    with taxed(kind, tmp_path, ON_TOP, charges=[fee()]) as shop:
        grant = shop.grant(to=UK, batch="T")
        assert grant.max_seconds == 75 * 60  # 4.50 and 0.10, and 7.5 % of both: 4.945
        record = shop.bill.settle(grant.handle, talk_ms=120_000, carrier="acme")
        assert (record.price, record.charges) == (Money("0.12", USD), Money("0.10", USD))
        assert record.tax == Money("0.0165", USD)
        shop.check_books()


@pytest.mark.parametrize("kind", STORES)
def test_a_periodic_charge_bears_its_taxes(kind: str, tmp_path: Path):
    with taxed(kind, tmp_path, ON_TOP, charges=[WEEKLY]) as shop:
        call(shop, "c1", 0, batch="T")
        shop.clock.now += timedelta(days=8)
        shop.bill.sweep()
        assert posted(shop, "T/1")[1:] == [
            ("charge", "weekly fee", -25 * CENT),
            ("tax", "sales tax", -18_750),
        ]
        shop.check_books()


def test_the_tax_of_the_moment_counts(tmp_path: Path):
    with taxed("memory", tmp_path, ON_TOP) as shop:
        call(shop, "c1", 60, to=UK, batch="T")
        grant = shop.grant("c2", to=UK, batch="T")
        shop.bill.jurisdictions.publish(Jurisdiction(name="X", country="X"))
        assert shop.bill.settle(grant.handle, talk_ms=60_000).tax_units == 4_500  # as granted
        assert call(shop, "c3", 60, to=UK, batch="T").tax_units == 0
        shop.check_books()


# -- any schedule of sweeps ---------------------------------------------------------------------


def history(shop: Shop, seed: int, sweeps: random.Random | None) -> Any:
    """Play one random history; what is swept when is drawn apart. Return the ledger."""
    rng = random.Random(seed)
    handles: list[str] = []
    for number in range(rng.randrange(8, 16)):
        shop.clock.now += timedelta(minutes=rng.choice((1, 50, 700, 3_000, 12_000)))
        if sweeps is not None:
            for _ in range(sweeps.randrange(3)):
                back = shop.clock.now
                shop.clock.now -= timedelta(seconds=sweeps.randrange(40))
                shop.bill.sweep()
                shop.clock.now = back
        if handles and rng.random() < 0.5:
            handle = handles.pop(rng.randrange(len(handles)))
            if rng.random() < 0.2:
                shop.bill.cancel(handle)
            else:
                shop.bill.settle(handle, talk_ms=rng.randrange(600_000), carrier="acme")
            continue
        answer = shop.ask(f"c{number}", to=rng.choice((UK, US)), batch="T")
        if isinstance(answer, Grant):
            handles.append(answer.handle)
        else:
            assert isinstance(answer, Denied)
    shop.clock.now += timedelta(days=400)
    shop.bill.sweep()
    shop.check_books()
    return list(shop.bill.entries("T/1")), list(shop.bill.records(card_id="T/1"))


PLAN: dict[str, Any] = {
    "charges": [
        WEEKLY,
        evolve(WEEKLY, name="idle", trigger="inactivity", when_short="take", quantity=2),
        fee("activation", "activation", "0.20"),
        fee(),
        fee("first", "first_answer"),
    ],
    "packages": [
        BONUS,
        Package(name="monthly", calls=2, given="cycle", destinations=["1"]),
        Package(name="credit", amount=Money("0.30", USD), valid=BillingCycle(unit="days", count=9)),
    ],
    "billing_cycle": BillingCycle(unit="months"),
    "calls_at_once": 2,
    "max_call_seconds": 1_800,
}


@pytest.mark.parametrize("seed", range(12))
def test_no_schedule_of_sweeps_changes_the_ledger(seed: int, tmp_path: Path):
    ledgers = []
    for name, sweeps in (("never", None), ("often", random.Random(1)), ("other", random.Random(2))):
        folder = tmp_path / name
        folder.mkdir()
        with taxed("memory", folder, ON_TOP, **PLAN) as shop:
            ledgers.append(history(shop, seed, sweeps))
    assert ledgers[0] == ledgers[1] == ledgers[2]
