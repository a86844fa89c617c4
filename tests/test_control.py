"""What operators stop, sell and void; and from when on a card's days are counted."""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, strategies as st
from moneyed import USD, Money

from cardbill import Batch, BatchFlags, Denied, Engine, Plan, Status
from cardbill.calls import make_handle
from cardbill.errors import (
    CardbillError,
    InvalidInput,
    MissingFields,
    TransitionRefused,
    UnknownName,
)
from tests.building import START, UK, UK_MINUTE, Shop, open_shop, rows

WHO: dict[str, Any] = {"actor": "ann", "reason": "a call from the shop"}


@pytest.fixture
def shop(kind: str, tmp_path: Path) -> Iterator[Shop]:
    with open_shop(kind, tmp_path, quantity=6) as opened:
        yield opened
        opened.check_books()


def status(shop: Shop, serial: int = 1) -> Status:
    """The status of a card, which every view of it has to agree on."""
    card = shop.bill.card(f"B/{serial}")
    listed = {pin.serial: pin.status for pin in shop.bill.batches.pins("B")}
    counted = shop.bill.reports.utilisation("B").by_status
    assert listed[serial] is card.status
    assert counted == {one: list(listed.values()).count(one) for one in Status}
    return card.status


# -- one card ---------------------------------------------------------------------------------


def test_a_blocked_card_sounds_like_no_card_until_it_is_unblocked(shop: Shop):
    view = shop.bill.control.block("B/1", **WHO)
    assert view.status is status(shop) is Status.BLOCKED
    assert shop.denied() == "blocked"
    answer = shop.bill.authenticate(pin=shop.pin())
    assert isinstance(answer, Denied)
    assert answer.prompt == "The PIN is not valid."
    assert status(shop, 2) is Status.GENERATED
    assert shop.bill.control.unblock("B/1", **WHO).status is Status.GENERATED
    assert shop.ask().granted


def test_blocking_twice_is_blocking_once(shop: Shop):
    shop.bill.control.block("B/1", **WHO)
    cards = rows(shop.bill.storage)["cards"]
    shop.bill.control.block("B/1", **WHO)
    assert rows(shop.bill.storage)["cards"] == cards
    shop.bill.control.unblock("B/1", **WHO)
    shop.bill.control.unblock("B/1", **WHO)
    assert status(shop) is Status.GENERATED


def test_unblocking_leads_back_to_what_the_facts_say(shop: Shop):
    shop.bill.settle(shop.grant().handle, talk_ms=60_000)
    shop.bill.control.block("B/1", **WHO)
    assert status(shop) is Status.BLOCKED
    assert shop.bill.control.unblock("B/1", **WHO).status is Status.ACTIVE


def test_a_voided_card_is_out_of_the_books_for_good(shop: Shop):
    view = shop.bill.control.void("B/1", **WHO)
    assert view.status is status(shop) is Status.VOID
    assert (view.balance, view.face_value) == (Money(0, USD), Money(5, USD))
    assert shop.denied() == "void"
    assert shop.ledger() == [("face", 5_000_000, ""), ("void", -5_000_000, "")]
    figures = shop.bill.reports.utilisation("B")
    assert (figures.voided, figures.liability) == (Money(5, USD), Money(25, USD))
    before = shop.ledger()
    shop.bill.control.void("B/1", **WHO)  # again: nothing
    assert shop.ledger() == before
    with pytest.raises(TransitionRefused):
        shop.bill.control.block("B/1", **WHO)
    assert shop.bill.control.unblock("B/1", **WHO).status is Status.VOID


def test_a_blocked_card_never_used_can_be_voided(shop: Shop):
    shop.bill.control.block("B/1", **WHO)
    assert shop.bill.control.void("B/1", **WHO).status is Status.VOID


def test_a_card_that_was_blocked_and_voided_is_blocked_no_more(shop: Shop):
    shop.bill.control.block("B/1", **WHO)
    shop.bill.control.void("B/1", **WHO)
    with pytest.raises(TransitionRefused, match="void"):
        shop.bill.control.block("B/1", **WHO)


def test_an_expired_card_never_used_is_voided_without_a_second_posting(kind: str, tmp_path: Path):
    with open_shop(kind, tmp_path, batch={"expiration_date": date(2025, 3, 3)}) as shop:
        shop.clock.tick(days=1)
        shop.bill.control.void("B/1", **WHO)
        assert [entry for entry, _, _ in shop.ledger()] == ["face", "breakage"]
        assert status(shop) is Status.VOID
        shop.check_books()


@pytest.mark.parametrize("how", ["talking", "talked", "blocked since", "authenticated"])
def test_a_used_card_cannot_be_voided(kind: str, tmp_path: Path, how: str):
    batch = {"first_use": "authentication"} if how == "authenticated" else {}
    with open_shop(kind, tmp_path, batch=batch) as shop:
        if how == "authenticated":
            shop.bill.authenticate(pin=shop.pin())
        else:
            call = shop.grant()
            if how != "talking":
                shop.bill.cancel(call.handle)
            if how == "blocked since":
                shop.bill.control.block("B/1", **WHO)
        cards = rows(shop.bill.storage)["cards"]
        with pytest.raises(TransitionRefused, match=r"B/1 is .*: void is not possible"):
            shop.bill.control.void("B/1", **WHO)
        assert rows(shop.bill.storage)["cards"] == cards


def test_a_call_that_comes_as_its_card_is_voided_is_refused(shop: Shop):
    caller = shop.bill.authenticate(pin=shop.pin())
    shop.bill.control.void("B/1", **WHO)
    answer = shop.bill.authorize(caller, to=UK, call_id="c1")
    assert isinstance(answer, Denied)
    assert answer.reason.value == "void"


# -- sold first -------------------------------------------------------------------------------


def test_cards_of_a_sold_first_batch_are_dead_until_sold(kind: str, tmp_path: Path):
    with open_shop(kind, tmp_path, batch={"sold_first": True}) as shop:
        assert shop.denied() == "not_sold"
        assert shop.bill.control.sell("B/1", actor="till 4").status is Status.SOLD
        assert status(shop) is Status.SOLD
        assert shop.ask().granted
        assert status(shop) is Status.ACTIVE
        assert shop.denied(serial=2) == "not_sold"
        shop.check_books()


def test_a_card_is_pinned_to_the_plan_it_is_sold_with(kind: str, tmp_path: Path):
    with open_shop(kind, tmp_path, plan={"max_call_seconds": 60}) as shop:
        shop.bill.control.sell("B/1", actor="till 4")
        shop.bill.plans.publish(
            Plan(name="Basic", deck="retail", currency="USD", max_call_seconds=120)
        )
        assert shop.grant(serial=1).max_seconds == 60
        assert shop.grant(serial=2).max_seconds == 120
        assert shop.bill.card("B/1").plan == "Basic"
        shop.check_books()


def test_a_card_sold_before_its_batch_has_a_plan_waits_for_one(kind: str, tmp_path: Path):
    with open_shop(kind, tmp_path, batch={"sold_first": True}, assign=False) as shop:
        shop.bill.control.sell("B/1", actor="till 4")
        assert shop.denied() == "not_assigned"
        shop.bill.batches.assign("B", plan="Basic")
        assert shop.ask().granted
        shop.check_books()


def test_a_range_is_sold_serial_by_serial_and_repeating_goes_on(kind: str, tmp_path: Path):
    with open_shop(kind, tmp_path, quantity=700, batch={"sold_first": True}) as shop:
        sell = shop.bill.control.sell_range
        assert sell("B", 3, 600, actor="depot") == 598
        assert sell("B", 3, 610, actor="depot") == 608
        counted = shop.bill.reports.utilisation("B").by_status
        assert (counted[Status.SOLD], counted[Status.GENERATED]) == (608, 92)
        shop.bill.control.void("B/650", **WHO)
        with pytest.raises(TransitionRefused):
            sell("B", 640, 660, actor="depot")
        assert shop.bill.card("B/649").status is Status.SOLD
        assert shop.bill.card("B/651").status is Status.GENERATED
        shop.check_books()


def test_what_is_used_expired_or_blocked_cannot_be_sold(shop: Shop):
    shop.grant()
    shop.bill.control.block("B/2", **WHO)
    for card in ("B/1", "B/2"):
        with pytest.raises(TransitionRefused):
            shop.bill.control.sell(card, actor="till 4")


# -- a whole batch, a range of serials --------------------------------------------------------


def test_a_blocked_batch_is_stopped_in_every_process_at_once(shop: Shop):
    other = shop.second()
    caller = other.authenticate(pin=shop.pin(2))
    cards = rows(shop.bill.storage)["cards"]
    shop.bill.control.block_batch("B", **WHO)
    assert rows(shop.bill.storage)["cards"] == cards  # not one card was touched
    for engine in (shop.bill, other):
        answer = engine.authorize(caller, to=UK, call_id="c1")
        assert isinstance(answer, Denied)
        assert (answer.reason.value, answer.detail) == ("blocked", "its batch is blocked")
    assert status(shop) is Status.BLOCKED
    shop.bill.control.unblock_batch("B", **WHO)
    assert other.authorize(caller, to=UK, call_id="c1").granted


def test_a_frozen_range_is_stopped_and_its_neighbours_are_not(shop: Shop):
    shop.bill.control.freeze("B", 2, 4, **WHO)
    stopped = {serial for serial in range(1, 7) if status(shop, serial) is Status.BLOCKED}
    assert stopped == {2, 3, 4}
    answer = shop.ask(serial=3)
    assert isinstance(answer, Denied)
    assert answer.detail == "serials 2 to 4 are frozen"
    shop.bill.control.thaw("B", 3, 3, **WHO)
    assert shop.bill.control.flags("B").frozen == ((2, 2), (4, 4))
    assert shop.ask(serial=3).granted


def test_a_card_blocked_for_itself_stays_so_when_its_batch_is_unblocked(shop: Shop):
    shop.bill.control.block("B/1", **WHO)
    shop.bill.control.block_batch("B", **WHO)
    shop.bill.control.unblock_batch("B", **WHO)
    assert shop.denied() == "blocked"


def test_a_call_in_progress_on_a_stopped_card_is_still_paid(shop: Shop):
    call = shop.grant()
    shop.bill.control.block_batch("B", **WHO)
    record = shop.bill.settle(call.handle, talk_ms=60_000, carrier="acme")
    assert record.price_units == UK_MINUTE


def test_a_stopped_card_expires_like_any_other(kind: str, tmp_path: Path):
    with open_shop(kind, tmp_path, batch={"expiration_date": date(2025, 3, 3)}) as shop:
        shop.bill.control.block("B/1", **WHO)
        shop.bill.control.freeze("B", 2, 2, **WHO)
        shop.bill.sweep(at=START + timedelta(days=1))
        assert shop.bill.reports.utilisation("B").breakage == Money(15, USD)
        shop.check_books()


RANGES = st.lists(
    st.tuples(st.booleans(), st.integers(1, 40), st.integers(0, 12)).map(
        lambda change: (change[0], change[1], change[1] + change[2])
    ),
    max_size=25,
)


@given(RANGES)
@example([(True, 1, 2), (True, 3, 4)])
@example([(True, 3, 4), (True, 1, 2)])
def test_frozen_serials_are_those_frozen_and_not_thawed_since(changes: list[tuple[bool, int, int]]):
    flags, expected = BatchFlags(), set[int]()
    for freeze, first, last in changes:
        serials = set(range(first, last + 1))
        flags = flags.freeze(first, last) if freeze else flags.thaw(first, last)
        expected = expected | serials if freeze else expected - serials
    assert {serial for serial in range(1, 60) if flags.stops(serial)} == expected
    assert all(a[1] + 1 < b[0] for a, b in zip(flags.frozen, flags.frozen[1:], strict=False))


# -- who and why ------------------------------------------------------------------------------

OPERATIONS: list[tuple[str, Callable[[Engine, Any], object]]] = [
    ("block", lambda bill, who: bill.control.block("B/1", **who)),
    ("unblock", lambda bill, who: bill.control.unblock("B/1", **who)),
    ("void", lambda bill, who: bill.control.void("B/1", **who)),
    ("sell", lambda bill, who: bill.control.sell("B/1", **who)),
    ("sell", lambda bill, who: bill.control.sell_range("B", 1, 2, **who)),
    ("block", lambda bill, who: bill.control.block_batch("B", **who)),
    ("unblock", lambda bill, who: bill.control.unblock_batch("B", **who)),
    ("freeze", lambda bill, who: bill.control.freeze("B", 1, 2, **who)),
    ("thaw", lambda bill, who: bill.control.thaw("B", 1, 2, **who)),
]


@pytest.mark.parametrize(("action", "operate"), OPERATIONS)
def test_each_leaves_who_and_why(shop: Shop, action: str, operate: Callable[[Engine, Any], object]):
    operate(shop.bill, WHO)
    log = [row for _, row in shop.bill.storage.audit_log(limit=1_000)]
    (row,) = [row for row in log if (row.actor, row.action) == ("ann", action)]
    assert row.subject in ("B", "B/1")
    assert b"a call from the shop" in row.detail


@pytest.mark.parametrize(("action", "operate"), OPERATIONS)
@pytest.mark.parametrize("who", [{"actor": "", "reason": "x"}, {"actor": "ann", "reason": " "}])
def test_without_who_or_why_nothing_is_done(
    shop: Shop, action: str, operate: Callable[[Engine, Any], object], who: dict[str, str]
):
    before = rows(shop.bill.storage)
    with pytest.raises(MissingFields, match="actor" if not who["actor"] else "reason"):
        operate(shop.bill, who)
    assert rows(shop.bill.storage) == before


@pytest.mark.parametrize(
    ("operate", "error"),
    [
        (lambda bill: bill.control.block("B/9", **WHO), UnknownName),
        (lambda bill: bill.control.block_batch("Z", **WHO), UnknownName),
        (lambda bill: bill.control.freeze("Z", 1, 2, **WHO), UnknownName),
        (lambda bill: bill.control.sell_range("Z", 1, 2, actor="x"), UnknownName),
        (lambda bill: bill.control.freeze("B", 0, 2, **WHO), InvalidInput),
        (lambda bill: bill.control.freeze("B", 3, 2, **WHO), InvalidInput),
        (lambda bill: bill.control.thaw("B", 1.0, 2, **WHO), InvalidInput),
        (lambda bill: bill.control.sell_range("B", 3, 2, actor="x"), InvalidInput),
    ],
)
def test_what_is_not_there_is_refused_and_leaves_nothing(
    shop: Shop, operate: Callable[[Engine], object], error: type[CardbillError]
):
    before = rows(shop.bill.storage)
    with pytest.raises(error):
        operate(shop.bill)
    assert rows(shop.bill.storage) == before


def test_a_range_that_ends_before_it_begins_is_told_so(shop: Shop):
    with pytest.raises(InvalidInput, match=r"last: must not be below the first, 3 \(got 2\)"):
        shop.bill.control.freeze("B", 3, 2, **WHO)


# -- from when on the days are counted --------------------------------------------------------

ANSWERED = {"validity": "first_answer", "expires_days_after_first_use": 1}
NEW_YORK = ZoneInfo("America/New_York")


def end_of(day: date, zone: Any = UTC) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=zone) + timedelta(days=1)


def test_the_days_start_with_the_first_answered_call(kind: str, tmp_path: Path):
    with open_shop(kind, tmp_path, batch=ANSWERED) as shop:
        shop.bill.settle(shop.grant("busy").handle, talk_ms=0)
        view = shop.bill.card("B/1")
        assert (view.first_used_at, view.expires_at) == (START, None)
        shop.clock.tick(days=20)
        call = shop.grant("answered")
        assert shop.bill.card("B/1").expires_at is None
        shop.bill.settle(call.handle, talk_ms=60_000, at=shop.clock.tick(minutes=2))
        assert shop.bill.card("B/1").expires_at == end_of(date(2025, 3, 24))
        shop.bill.settle(shop.grant("next").handle, talk_ms=60_000, at=shop.clock.tick(hours=14))
        assert shop.bill.card("B/1").expires_at == end_of(date(2025, 3, 24))
        shop.clock.tick(days=1)
        assert shop.denied("late") == "expired"
        shop.check_books()


@pytest.mark.parametrize(
    ("report", "day"),
    [
        ({"talk_ms": 60_000}, 3),  # settled just after midnight: answered the day before
        ({"talk_ms": 1_000}, 4),
        ({"talk_ms": 1_000, "answered_at": START.replace(hour=23, minute=59, second=59)}, 3),
        ({"talk_ms": 60_000, "ended_at": START.replace(day=4, hour=0, minute=2)}, 4),
        ({"talk_ms": 60_000, "answered_at": START - timedelta(days=9)}, 3),  # not before the grant
    ],
)
def test_the_answer_is_when_the_report_says(
    kind: str, tmp_path: Path, report: dict[str, Any], day: int
):
    with open_shop(kind, tmp_path, batch=ANSWERED) as shop:
        call = shop.grant(at=START.replace(hour=23, minute=58))
        at = START.replace(day=4, hour=0, minute=0, second=30)
        shop.bill.settle(call.handle, **report, at=at)
        assert shop.bill.card("B/1", at=at).expires_at == end_of(date(2025, 3, day + 1))


def test_an_extension_that_tells_of_talk_starts_the_days_too(kind: str, tmp_path: Path):
    with open_shop(kind, tmp_path, batch=ANSWERED, plan={"slice_seconds": 60}) as shop:
        call = shop.grant()
        shop.bill.extend(call.handle, used_seconds=0, number=1)
        assert shop.bill.card("B/1").expires_at is None
        shop.bill.extend(call.handle, used_seconds=30, number=2)
        assert shop.bill.card("B/1").expires_at == end_of(date(2025, 3, 4))
        shop.check_books()


def test_a_first_call_cannot_outlast_the_days_it_starts(kind: str, tmp_path: Path):
    batch = {**ANSWERED, "expires_days_after_first_use": 0}
    with open_shop(kind, tmp_path, batch=batch) as shop:
        call = shop.grant(at=START.replace(hour=23, minute=59))
        assert call.max_seconds == 60
        shop.bill.cancel(call.handle, at=call.expires_at)  # not answered: the days wait
        again = shop.grant("again", at=START.replace(day=9, hour=23, minute=59, second=30))
        assert again.max_seconds == 30


def test_a_fixed_last_day_holds_before_any_answer(kind: str, tmp_path: Path):
    batch = {**ANSWERED, "expiration_date": date(2025, 3, 3)}
    with open_shop(kind, tmp_path, batch=batch) as shop:
        shop.bill.cancel(shop.grant().handle)
        assert shop.bill.card("B/1").expires_at == end_of(date(2025, 3, 3))
        shop.clock.tick(hours=12)
        assert shop.denied("c2") == "expired"
        assert shop.bill.card("B/1").balance == Money(0, USD)
        shop.check_books()


@pytest.mark.parametrize(
    ("first", "days", "last"),
    [
        (datetime(2025, 3, 8, 23, 30, tzinfo=NEW_YORK), 1, date(2025, 3, 9)),  # 23 hours long
        (datetime(2025, 11, 1, 23, 30, tzinfo=NEW_YORK), 1, date(2025, 11, 2)),  # 25 hours
        (datetime(2024, 2, 28, 12, 0, tzinfo=NEW_YORK), 1, date(2024, 2, 29)),
        (datetime(2024, 2, 29, 12, 0, tzinfo=NEW_YORK), 366, date(2025, 3, 1)),
        (datetime(2025, 2, 28, 12, 0, tzinfo=NEW_YORK), 1, date(2025, 3, 1)),
        (datetime(2025, 12, 31, 23, 59, tzinfo=NEW_YORK), 0, date(2025, 12, 31)),
    ],
)
@pytest.mark.parametrize("validity", ["first_use", "first_answer"])
def test_days_are_local_days_whatever_their_length(
    kind: str, tmp_path: Path, first: datetime, days: int, last: date, validity: str
):
    batch = {
        "validity": validity,
        "expires_days_after_first_use": days,
        "time_zone": "America/New_York",
    }
    with open_shop(kind, tmp_path, batch=batch) as shop:
        call = shop.grant(at=first)
        shop.bill.settle(call.handle, talk_ms=1_000, at=first + timedelta(seconds=2))
        day_after = last + timedelta(days=1)
        end = datetime(day_after.year, day_after.month, day_after.day, tzinfo=NEW_YORK)
        just_before = end.astimezone(UTC) - timedelta(seconds=2)
        assert shop.bill.card("B/1").expires_at == end
        assert shop.grant("last", at=just_before).max_seconds == 2
        shop.bill.cancel(make_handle("B/1", "last"), at=just_before)
        assert shop.denied("late", at=end) == "expired"
        shop.check_books()


def test_a_batch_says_by_name_what_it_cannot_use():
    batches: list[dict[str, Any]] = [{"validity": "birth"}, {"sold_first": "yes"}]
    for terms in batches:
        with pytest.raises(InvalidInput) as refused:
            Batch(name="B", face_value=Money(1, USD), quantity=1, **terms)
        assert refused.value.field in terms
    plans: list[dict[str, Any]] = [
        {"slice_seconds": 9},
        {"unreported_calls": "x"},
        {"unauthorised_calls": 1},
    ]
    for terms in plans:
        with pytest.raises(InvalidInput) as refused:
            Plan(name="P", deck="d", currency="USD", **terms)
        assert refused.value.field in terms
