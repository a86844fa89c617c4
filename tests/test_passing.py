"""What time does to a card: holds lapse, what is left at expiry goes, swept or not."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings, strategies as st
from moneyed import USD, Money

from cardbill import CallRecord, Denied, Grant, Outcome, Status
from cardbill.calls import make_handle
from cardbill.errors import CardbillError
from tests.building import (
    EVERY_STORE,
    LIFETIME,
    RETAIL,
    START,
    UK_MINUTE,
    UK_MOBILE,
    Shop,
    open_shop,
)


def two_calls(kind: str, folder: Path, **more: Any) -> Any:
    """A shop whose cards may have several calls open, each of two minutes at most."""
    return open_shop(kind, folder, plan={"calls_at_once": 5, "max_call_seconds": 120}, **more)


# -- nobody reports -----------------------------------------------------------------------------


def test_a_hold_ends_by_itself_whether_swept_or_not(shop: Shop):
    grants = [shop.grant(serial=serial) for serial in (1, 2)]
    expires_at = grants[0].expires_at
    just_before = expires_at - timedelta(microseconds=1)
    assert shop.bill.sweep(at=just_before).cards == 0
    assert shop.bill.card("B/1", at=just_before).open_calls == ("c1",)
    assert shop.bill.card("B/1", at=expires_at).open_calls == ()  # merely looked at
    assert shop.stored("B/1").holds
    shop.clock.now = expires_at
    swept = shop.bill.sweep()
    assert (swept.cards, swept.calls_expired, swept.failures) == (2, 2, ())
    assert shop.bill.sweep().cards == 0
    (record,) = shop.records("B/1")
    assert (record.outcome, record.ended_at) == (Outcome.EXPIRED, expires_at)
    assert (record.price_units, record.report) == (0, None)
    view = shop.bill.card("B/1")
    assert (view.available, view.open_calls) == (Money(5, USD), ())


def test_what_time_did_is_dated_when_it_happened_not_when_it_was_noticed(kind: str, tmp_path: Path):
    with expiring(kind, tmp_path) as shop:
        at = MIDNIGHT - timedelta(seconds=130)
        grant = shop.grant(at=at)
        assert grant.expires_at == at + timedelta(seconds=600)
        shop.bill.sweep(at=MIDNIGHT + timedelta(days=30))
        (record,) = shop.records()
        assert record.ended_at == record.recorded_at == grant.expires_at
        assert [(entry.kind.value, entry.at) for entry in shop.bill.entries("B/1")] == [
            ("face", at),
            ("breakage", MIDNIGHT),
            ("breakage", grant.expires_at),
        ]
        shop.check_books()


def test_an_unreported_call_makes_room_for_the_next_one(shop: Shop):
    grant = shop.grant("c1")
    assert shop.denied("c2", at=grant.expires_at - timedelta(seconds=1)) == "too_many_calls"
    assert shop.grant("c2", at=grant.expires_at).max_seconds == 83 * 60
    assert [r.outcome for r in shop.records()] == [Outcome.EXPIRED]


@pytest.mark.parametrize("swept", [True, False])
def test_a_late_report_collects_what_it_should(shop: Shop, swept: bool):
    grant = shop.grant()
    shop.clock.now = grant.expires_at + timedelta(hours=1)
    if swept:
        shop.bill.sweep()
    record = shop.bill.settle(grant.handle, talk_ms=61_000, carrier="acme")
    assert record.outcome is Outcome.SETTLED
    assert record.late
    assert (record.price_units, record.uncollected_units) == (2 * UK_MINUTE, 0)
    assert record.hold is not None
    assert record.hold.granted_at == START
    assert len(shop.records()) == 1
    assert [kind for kind, _, _ in shop.ledger()] == ["face", "call"]


@pytest.mark.parametrize("swept", [True, False])
def test_a_late_report_takes_no_more_than_is_available(kind: str, tmp_path: Path, swept: bool):
    with two_calls(kind, tmp_path, face=Money("0.30", USD)) as shop:
        late = shop.grant("late")
        shop.clock.now = late.expires_at
        if swept:
            shop.bill.sweep()
        held = [shop.grant(call) for call in ("c1", "c2")]  # 0.12 each, 0.06 is left
        assert shop.bill.card("B/1").available == Money("0.06", USD)
        record = shop.bill.settle(late.handle, talk_ms=120_000, carrier="beta")
        assert (record.price, record.uncollected) == (Money("0.06", USD), Money("0.06", USD))
        assert record.cost == Money("0.06", USD)
        assert shop.bill.card("B/1").available == Money(0, USD)
        for grant in held:  # what they hold was not touched
            paid = shop.bill.settle(grant.handle, talk_ms=120_000)
            assert (paid.price, paid.uncollected) == (Money("0.12", USD), Money(0, USD))
        assert shop.bill.card("B/1").status is Status.EXHAUSTED
        shop.check_books()


def test_a_late_report_is_clamped_to_the_grant_as_well(kind: str, tmp_path: Path):
    with two_calls(kind, tmp_path) as shop:
        grant = shop.grant()
        shop.clock.now = grant.expires_at
        record = shop.bill.settle(grant.handle, talk_ms=300_000)
        assert (record.seconds, record.price_units) == (120, 2 * UK_MINUTE)
        assert record.uncollected_units == 3 * UK_MINUTE
        shop.check_books()


# -- expiry and what is left --------------------------------------------------------------------


def expiring(kind: str, folder: Path, **more: Any) -> Any:
    terms = {"expiration_date": date(2025, 3, 3)}
    plan = {"calls_at_once": 5, "max_call_seconds": 120}
    return open_shop(kind, folder, batch=terms, plan=plan, **more)


MIDNIGHT = datetime(2025, 3, 4, tzinfo=START.tzinfo)


def test_what_is_left_at_expiry_is_breakage(kind: str, tmp_path: Path):
    with expiring(kind, tmp_path) as shop:
        shop.bill.settle(shop.grant().handle, talk_ms=60_000)
        assert shop.bill.sweep(at=MIDNIGHT - timedelta(microseconds=1)).cards == 0
        assert shop.bill.card("B/1", at=MIDNIGHT).balance_units == 0
        swept = shop.bill.sweep(at=MIDNIGHT + timedelta(days=3))
        assert (swept.cards, swept.calls_expired) == (3, 0)
        assert shop.ledger() == [
            ("face", 5_000_000, ""),
            ("call", -UK_MINUTE, "c1"),
            ("breakage", UK_MINUTE - 5_000_000, ""),
        ]
        assert [entry.at for entry in shop.bill.entries("B/1")][-1] == MIDNIGHT
        # A card that was never used opens its books only to close them.
        assert shop.ledger("B/2") == [("face", 5_000_000, ""), ("breakage", -5_000_000, "")]
        assert shop.bill.card("B/2", at=MIDNIGHT).status is Status.EXPIRED
        assert shop.bill.card("B/2", at=MIDNIGHT).first_used_at is None
        assert shop.bill.sweep(at=MIDNIGHT + timedelta(days=9)).cards == 0
        shop.check_books()


@pytest.mark.parametrize("swept", [True, False])
@pytest.mark.parametrize("end", ["settle", "cancel", "expire"])
def test_a_call_open_at_expiry_keeps_its_hold_and_then_the_rest_is_breakage(
    kind: str, tmp_path: Path, end: str, swept: bool
):
    with expiring(kind, tmp_path) as shop:
        at = MIDNIGHT - timedelta(seconds=130)
        grant = shop.grant(at=at)
        assert grant.max_seconds == 120
        after = MIDNIGHT + timedelta(seconds=30)
        if swept:
            shop.bill.sweep(at=after)
            shop.bill.sweep(at=after)
            assert shop.ledger()[-1] == ("breakage", -4_880_000, "")
            assert shop.bill.card("B/1", at=after).held == Money("0.12", USD)
        if end == "settle":
            record = shop.bill.settle(grant.handle, talk_ms=60_000, at=after)
            assert (record.price_units, record.uncollected_units) == (UK_MINUTE, 0)
            rest = [("call", -UK_MINUTE, "c1"), ("breakage", -UK_MINUTE, "")]
        elif end == "cancel":
            shop.bill.cancel(grant.handle, at=after)
            rest = [("breakage", -2 * UK_MINUTE, "")]
        else:
            assert shop.bill.sweep(at=after + timedelta(days=1)).calls_expired == 1
            rest = [("breakage", -2 * UK_MINUTE, "")]
        assert shop.ledger() == [
            ("face", 5_000_000, ""),
            ("breakage", -4_880_000, ""),
            *rest,
        ]
        view = shop.bill.card("B/1", at=after + timedelta(days=1))
        assert (view.balance_units, view.held_units, view.open_calls) == (0, 0, ())
        assert shop.denied("c2", at=after) == "expired"
        shop.check_books()


def test_a_late_report_on_an_expired_card_finds_nothing_to_collect(kind: str, tmp_path: Path):
    with expiring(kind, tmp_path) as shop:
        grant = shop.grant(at=MIDNIGHT - timedelta(seconds=130))
        record = shop.bill.settle(grant.handle, talk_ms=60_000, at=MIDNIGHT + timedelta(days=1))
        assert record.late
        assert (record.price_units, record.uncollected_units) == (0, UK_MINUTE)
        assert shop.bill.card("B/1", at=MIDNIGHT + timedelta(days=1)).balance_units == 0
        shop.check_books()


def test_a_hold_that_ends_as_the_card_expires_ends_first(kind: str, tmp_path: Path):
    with expiring(kind, tmp_path) as shop:
        grant = shop.grant(at=MIDNIGHT - timedelta(seconds=600))
        assert grant.expires_at == MIDNIGHT
        shop.bill.sweep(at=MIDNIGHT)
        assert shop.ledger() == [("face", 5_000_000, ""), ("breakage", -5_000_000, "")]
        assert [r.outcome for r in shop.records()] == [Outcome.EXPIRED]
        shop.check_books()


# -- sweeping -----------------------------------------------------------------------------------


def test_a_sweep_pages_through_more_cards_than_a_page_holds(kind: str, tmp_path: Path):
    with expiring(kind, tmp_path, quantity=1_203) as shop:
        for serial in (1, 500, 501, 1_203):
            shop.grant(serial=serial, at=MIDNIGHT - timedelta(seconds=130))
        swept = shop.bill.sweep(at=MIDNIGHT + timedelta(days=1))
        assert (swept.cards, swept.calls_expired, swept.failures) == (1_203, 4, ())
        assert shop.bill.reports.utilisation("B", at=MIDNIGHT).breakage == Money(5 * 1_203, USD)
        shop.check_books()


def newer_format(row: Any) -> Any:
    return row._replace(version=row.version + 1, format=99)


def garbage(row: Any) -> Any:
    return row._replace(version=row.version + 1, state=b"{")


@pytest.mark.parametrize("harm", [newer_format, garbage])
def test_a_card_that_cannot_be_processed_does_not_stop_the_sweep(
    kind: str, tmp_path: Path, harm: Any
):
    from cardbill.storage.contract import Step

    with expiring(kind, tmp_path) as shop:
        shop.bill.storage.transact("B/2", lambda view: Step(None, harm(view.card)))
        swept = shop.bill.sweep(at=MIDNIGHT)
        assert swept.cards == 2
        assert [card for card, _ in swept.failures] == ["B/2"]
        assert shop.bill.card("B/3", at=MIDNIGHT).balance_units == 0
        assert shop.ledger("B/3")[-1] == ("breakage", -5_000_000, "")


# -- the ledger does not depend on sweeps -------------------------------------------------------


class Event(NamedTuple):
    what: str
    call: int
    after: int  # seconds since the event before
    talk: int


HISTORY = st.lists(
    st.builds(
        Event,
        what=st.sampled_from(["authorize", "authorize", "extend", "extend", "settle", "cancel"]),
        call=st.integers(0, 3),
        after=st.sampled_from([0, 1, 60, 299, 300, 599, 600, 601, 3_600, 40_000]),
        talk=st.sampled_from([0, 1, 59_000, 60_000, 61_000, 119_999, 120_000, 500_000]),
    ),
    min_size=1,
    max_size=12,
)
SWEEPS = st.lists(st.integers(0, 14), max_size=30)


def replay(shop: Shop, history: Sequence[Event], sweeps: Sequence[int]) -> tuple[Any, ...]:
    """Run a history, sweeping so many times before each event; return all that it left."""
    answers: list[Any] = []
    at = START
    for place, event in enumerate(history):
        following = at + timedelta(seconds=event.after)
        for part in range(count := sweeps.count(place)):
            shop.bill.sweep(at=at + (following - at) * (part + 1) / count)
        at = following
        handle = make_handle("B/1", f"c{event.call}")
        try:
            if event.what == "authorize":
                answer: Any = shop.ask(f"c{event.call}", at=at)
            elif event.what == "extend":
                used = event.talk // 1_000
                answer = shop.bill.extend(handle, used_seconds=used, number=place + 1, at=at)
            elif event.what == "settle":
                answer = shop.bill.settle(handle, talk_ms=event.talk, carrier="acme", at=at)
            else:
                answer = shop.bill.cancel(handle, at=at)
        except CardbillError as error:
            answer = repr(error)
        answers.append(answer)
    shop.bill.sweep(at=at + LIFETIME)
    return answers, list(shop.bill.entries("B/1")), shop.records()


def fresh(kind: str, folder: Path, **more: Any) -> Any:
    terms = {"expires_days_after_first_use": 0}
    plan = {"calls_at_once": 3, "max_call_seconds": 120, **more}
    return open_shop(
        kind, folder, face=Money("0.42", USD), quantity=1, batch=terms, plan=plan, retail=RETAIL
    )


POLICIES = st.fixed_dictionaries(
    {},
    optional={
        "slice_seconds": st.sampled_from([30, 60, 120]),
        "unreported_calls": st.just("charge"),
    },
)


@settings(max_examples=200)
@given(history=HISTORY, sweeps=SWEEPS, policy=POLICIES)
def test_the_ledger_does_not_depend_on_when_anybody_swept(
    history: list[Event], sweeps: list[int], policy: dict[str, Any]
):
    told = []
    for schedule in ([], sweeps):
        with fresh("memory", Path(), **policy) as shop:
            told.append(replay(shop, history, schedule))
            shop.check_books()
    assert told[0] == told[1]


@settings(max_examples=25)
@given(history=HISTORY, sweeps=SWEEPS, policy=POLICIES)
def test_all_stores_tell_the_same_story(
    tmp_path_factory: pytest.TempPathFactory,
    history: list[Event],
    sweeps: list[int],
    policy: dict[str, Any],
):
    told = []
    for kind in EVERY_STORE:
        with fresh(kind, tmp_path_factory.mktemp("story"), **policy) as shop:
            told.append(replay(shop, history, sweeps))
            shop.check_books()
    assert told == [told[0]] * len(EVERY_STORE)


def test_the_histories_reach_what_they_are_for():
    """One history by hand that has all of it: granted, replayed, expired, late, refused."""
    history = [
        Event("authorize", 0, 0, 0),
        Event("authorize", 0, 60, 0),
        Event("authorize", 1, 1, 0),
        Event("settle", 1, 60, 61_000),
        Event("authorize", 2, 0, 0),
        Event("settle", 0, 601, 60_000),
        Event("settle", 0, 60, 60_000),
        Event("cancel", 3, 40_000, 0),
        Event("authorize", 4, 40_000, 0),
        Event("settle", 2, 3_600, 500_000),
    ]
    with fresh("memory", Path()) as shop:
        answers, entries, records = replay(shop, history, [])
    assert isinstance(answers[0], Grant)
    assert answers[1].replayed
    assert isinstance(answers[5], CallRecord)
    assert answers[5].late
    assert answers[6].replayed
    assert isinstance(answers[8], Denied)
    assert answers[9].uncollected_units > 0
    assert {entry.kind.value for entry in entries} == {"face", "call", "breakage"}
    assert {record.outcome for record in records} == {
        Outcome.SETTLED,
        Outcome.CANCELLED,
    }


def test_money_for_a_dearer_call_is_held_apart(kind: str, tmp_path: Path):
    with two_calls(kind, tmp_path, face=Money("0.50", USD)) as shop:
        mobile, uk = shop.grant("m", to=UK_MOBILE), shop.grant("u")
        assert mobile.held == Money("0.40", USD)  # 0.10 and 2 minutes of 0.15
        assert (uk.max_seconds, uk.held) == (60, Money("0.06", USD))
        assert shop.bill.settle(mobile.handle, talk_ms=61_000).price == Money("0.2650", USD)
        assert shop.bill.settle(uk.handle, talk_ms=61_000).price == Money("0.06", USD)
        assert shop.bill.card("B/1").balance == Money("0.1750", USD)
        shop.check_books()
