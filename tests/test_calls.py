"""How calls end: settled, cancelled, expired, late, twice, out of order, never."""

from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta, timezone
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings, strategies as st
from moneyed import USD, Money

from cardbill import (
    CallRecord,
    Carrier,
    Denied,
    Engine,
    Grant,
    Outcome,
    Status,
)
from cardbill.calls import make_handle, parse_handle
from cardbill.errors import (
    CallEnded,
    CardbillError,
    CardTooLarge,
    FloatRefused,
    IdempotencyMismatch,
    InvalidHandle,
    InvalidInput,
    UnknownCall,
)
from tests.building import (
    EVERY_STORE,
    LIFETIME,
    RETAIL,
    START,
    TOLL_FREE,
    UK,
    UK_MINUTE,
    UK_MOBILE,
    US,
    Shop,
    deck,
    open_shop,
    rows,
)


@pytest.fixture
def shop(kind: str, tmp_path: Path) -> Iterator[Shop]:
    with open_shop(kind, tmp_path) as opened:
        yield opened
        opened.check_books()


def two_calls(kind: str, folder: Path, **more: Any) -> Any:
    """A shop whose cards may have several calls open, each of two minutes at most."""
    return open_shop(kind, folder, plan={"calls_at_once": 5, "max_call_seconds": 120}, **more)


# -- settling -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("talk_ms", "seconds", "minutes"),
    [
        (0, 0, 0),
        (1, 1, 1),
        (999, 1, 1),
        (1_000, 1, 1),
        (59_999, 60, 1),
        (60_000, 60, 1),
        (60_001, 61, 2),
        (371_200, 372, 7),
    ],
)
def test_talk_time_is_rounded_up_to_seconds_and_then_to_increments(
    shop: Shop, talk_ms: int, seconds: int, minutes: int
):
    record = shop.bill.settle(shop.grant().handle, talk_ms=talk_ms, carrier="acme")
    assert record.outcome is Outcome.SETTLED
    assert (record.seconds, record.billed_seconds) == (seconds, minutes * 60)
    assert record.price_units == record.total_units == minutes * UK_MINUTE
    assert record.uncollected_units == 0
    assert record.tax_units == 0
    view = shop.bill.card("B/1")
    assert view.balance_units == view.balance_units == 5_000_000 - minutes * UK_MINUTE
    assert (view.held_units, view.open_calls) == (0, ())
    charged = [("call", -minutes * UK_MINUTE, "c1")] if minutes else []
    assert shop.ledger() == [("face", 5_000_000, ""), *charged]


def test_an_unanswered_call_costs_nothing_and_releases_all(shop: Shop):
    record = shop.bill.settle(shop.grant().handle, talk_ms=0, carrier="acme", cause=19)
    assert (record.price, record.cost, record.margin) == (Money(0, USD),) * 3
    assert record.report is not None
    assert record.report.cause == 19
    assert shop.bill.card("B/1").available == Money(5, USD)


def test_answer_and_hang_up_may_be_told_instead_of_talk_time(shop: Shop):
    answered = START + timedelta(seconds=7)
    ended = answered + timedelta(seconds=59, microseconds=999_001)
    record = shop.bill.settle(shop.grant().handle, answered_at=answered, ended_at=ended)
    assert record.seconds == 60
    assert record.ended_at == ended
    assert record.report is not None
    assert (record.report.talk_ms, record.report.answered_at) == (60_000, answered)
    elsewhere = timezone(timedelta(hours=5, minutes=30))
    again = shop.bill.settle(
        shop.grant("c2", serial=2).handle,
        answered_at=answered.astimezone(elsewhere),
        ended_at=ended.astimezone(elsewhere),
    )
    assert again.ended_at == ended
    assert again.ended_at.utcoffset() == timedelta(0)
    unanswered = shop.bill.settle(
        shop.grant("c3", serial=3).handle, answered_at=ended, ended_at=ended
    )
    assert (unanswered.seconds, unanswered.price_units) == (0, 0)


def test_one_microsecond_beyond_a_minute_is_another_minute(shop: Shop):
    record = shop.bill.settle(
        shop.grant().handle,
        answered_at=START,
        ended_at=START + timedelta(seconds=60, microseconds=1),
    )
    assert record.seconds == 61


def test_what_the_switch_overran_is_not_charged_but_noted(shop: Shop):
    grant = shop.grant()
    assert grant.max_seconds == 83 * 60
    record = shop.bill.settle(grant.handle, talk_ms=90 * 60_000, carrier="acme")
    assert record.seconds == 83 * 60
    assert record.price == Money("4.98", USD)
    assert record.uncollected == Money("0.42", USD)  # 90 minutes would cost 5.40
    assert record.cost == Money("1.80", USD)  # the carrier charges what was talked
    assert shop.bill.card("B/1").balance == Money("0.02", USD)


def test_a_millisecond_beyond_the_grant_is_clamped_before_it_is_rounded(kind: str, tmp_path: Path):
    with open_shop(kind, tmp_path, plan={"max_call_seconds": 60}) as shop:
        grant = shop.grant()
        record = shop.bill.settle(grant.handle, talk_ms=60_400)
        assert (record.seconds, record.price_units) == (60, UK_MINUTE)
        assert record.uncollected_units == UK_MINUTE
        assert shop.bill.card("B/1").balance_units == 5_000_000 - UK_MINUTE
        shop.check_books()


def test_the_absurd_call_is_clamped_too(shop: Shop):
    longest = 31 * 24 * 3600 * 1000
    record = shop.bill.settle(shop.grant().handle, talk_ms=longest)
    assert record.price == Money("4.98", USD)
    assert record.uncollected_units == 44_640 * UK_MINUTE - 4_980_000


def test_the_last_cent_may_be_spent(kind: str, tmp_path: Path):
    with open_shop(kind, tmp_path, face=Money("0.06", USD)) as shop:
        grant = shop.grant()
        assert (grant.max_seconds, shop.bill.card("B/1").available) == (60, Money(0, USD))
        assert shop.bill.card("B/1").status is Status.ACTIVE  # what is held is not spent
        shop.bill.settle(grant.handle, talk_ms=60_000)
        assert shop.bill.card("B/1").status is Status.EXHAUSTED
        assert shop.denied("c2") == "exhausted"
        assert shop.denied("c2", to=TOLL_FREE) == "exhausted"
        shop.check_books()


# -- who carried it -----------------------------------------------------------------------------


def test_the_cost_is_that_of_the_carrier_told(shop: Shop):
    by_acme = shop.bill.settle(shop.grant("c1").handle, talk_ms=60_000, carrier="acme")
    assert (by_acme.cost, by_acme.carrier) == (Money("0.02", USD), "acme")
    by_beta = shop.bill.settle(shop.grant("c2").handle, talk_ms=60_000, carrier="beta")
    assert (by_beta.cost, by_beta.margin) == (Money("0.03", USD), Money("0.03", USD))


def test_the_only_route_needs_no_telling(shop: Shop):
    record = shop.bill.settle(shop.grant(to=US).handle, talk_ms=60_000)
    assert (record.carrier, record.cost) == ("acme", Money("0.005", USD))


def test_of_several_routes_an_untold_carrier_is_not_guessed(shop: Shop):
    record = shop.bill.settle(shop.grant().handle, talk_ms=60_000)
    assert (record.carrier, record.cost, record.margin) == (None, None, None)
    assert record.price == Money("0.06", USD)


def test_a_carrier_that_was_not_routed_is_costed_by_its_own_deck(shop: Shop):
    grant = shop.grant()
    shop.bill.decks.publish("late-cost", deck("prefix,rate\n4420,0.04\n"))
    shop.bill.carriers.publish(Carrier(name="late", deck="late-cost"))
    record = shop.bill.settle(grant.handle, talk_ms=60_000, carrier="late")
    assert (record.carrier, record.cost) == ("late", Money("0.04", USD))


def test_a_carrier_that_has_no_rate_for_the_number_leaves_the_cost_unknown(shop: Shop):
    shop.bill.decks.publish("late-cost", deck("prefix,rate\n33,0.04\n"))
    shop.bill.carriers.publish(Carrier(name="late", deck="late-cost"))
    record = shop.bill.settle(shop.grant().handle, talk_ms=60_000, carrier="late")
    assert (record.carrier, record.cost, record.margin) == ("late", None, None)
    assert record.price == Money("0.06", USD)


@pytest.mark.parametrize(
    "carrier", ["nope", "ACME", "acme ", "SIP/acme", "sofia/gateway/acme/442071234567", "x" * 65]
)
def test_a_carrier_by_another_name_leaves_the_cost_unknown_and_the_call_charged(
    shop: Shop, carrier: str
):
    """Switches tell channels and gateways; what they tell must not make the call free."""
    record = shop.bill.settle(shop.grant().handle, talk_ms=60_000, carrier=carrier)
    assert (record.carrier, record.cost, record.margin) == (carrier, None, None)
    assert record.price == Money("0.06", USD)


def test_a_carrier_told_as_empty_is_not_told(shop: Shop):
    """A channel variable that was never set comes as empty text."""
    record = shop.bill.settle(shop.grant().handle, talk_ms=60_000, carrier="")
    assert (record.price, record.cost) == (Money("0.06", USD), None)
    by_acme = shop.bill.settle(shop.grant("c2", to=US).handle, talk_ms=60_000, carrier="")
    assert by_acme.price == Money("0.012", USD)


def test_a_cost_beyond_the_ledger_does_not_keep_a_call_from_settling(shop: Shop):
    shop.bill.decks.publish("typo", deck("prefix,rate\n44,9000000000000\n"))
    shop.bill.carriers.publish(Carrier(name="typo", deck="typo"))
    grant = shop.grant()
    assert grant.routes[-1].carrier == "typo"
    record = shop.bill.settle(grant.handle, talk_ms=120_000, carrier="typo")
    assert record.price_units == 2 * UK_MINUTE
    assert shop.bill.card("B/1").open_calls == ()


# -- again --------------------------------------------------------------------------------------


def test_the_same_report_again_is_the_same_record(shop: Shop):
    grant = shop.grant()
    first = shop.bill.settle(grant.handle, talk_ms=371_200, carrier="acme", cause=16)
    before = rows(shop.bill.storage)
    shop.clock.tick(days=700)
    for talk_ms in (371_200, 371_001, 372_000):  # the same whole seconds
        again = shop.bill.settle(grant.handle, talk_ms=talk_ms, carrier="acme")
        assert again == first
        assert again.replayed
        assert not first.replayed
    assert shop.second().settle(grant.handle, talk_ms=371_200, carrier="acme") == first
    assert rows(shop.bill.storage) == before


@pytest.mark.parametrize(
    ("report", "fields"),
    [
        ({"talk_ms": 61_000, "carrier": "acme"}, ("talk_ms",)),
        ({"talk_ms": 0, "carrier": "acme"}, ("talk_ms",)),
        ({"talk_ms": 60_000, "carrier": "beta"}, ("carrier",)),
        ({"talk_ms": 60_000}, ("carrier",)),
        ({"talk_ms": 60_000, "carrier": "acme", "answered_at": START}, ("answered_at",)),
        ({"talk_ms": 59_000, "answered_at": START}, ("talk_ms", "answered_at", "carrier")),
        ({"talk_ms": 60_000, "carrier": "nope"}, ("carrier",)),
    ],
)
def test_other_figures_for_a_settled_call_are_refused_by_name(
    shop: Shop, report: dict[str, Any], fields: tuple[str, ...]
):
    grant = shop.grant()
    shop.bill.settle(grant.handle, talk_ms=60_000, carrier="acme")
    before = rows(shop.bill.storage)
    with pytest.raises(IdempotencyMismatch) as refused:
        shop.bill.settle(grant.handle, **report)
    assert (refused.value.key, refused.value.fields) == ("c1", fields)
    assert all(field in str(refused.value) for field in fields)
    assert rows(shop.bill.storage) == before


def test_overrunning_calls_are_told_apart_by_what_was_talked(shop: Shop):
    grant = shop.grant()
    shop.bill.settle(grant.handle, talk_ms=90 * 60_000)
    with pytest.raises(IdempotencyMismatch):  # both would be clamped to the grant
        shop.bill.settle(grant.handle, talk_ms=91 * 60_000)


# -- cancelling ---------------------------------------------------------------------------------


def test_cancelling_gives_all_back(shop: Shop):
    grant = shop.grant()
    record = shop.bill.cancel(grant.handle)
    assert (record.outcome, record.price_units, record.cost_units) == (Outcome.CANCELLED, 0, 0)
    assert record.hold is not None
    view = shop.bill.card("B/1")
    assert (view.available, view.open_calls) == (Money(5, USD), ())
    before = rows(shop.bill.storage)
    again = shop.bill.cancel(grant.handle)
    assert again == record
    assert again.replayed
    assert rows(shop.bill.storage) == before


def test_a_settled_call_cannot_be_cancelled(shop: Shop):
    grant = shop.grant()
    shop.bill.settle(grant.handle, talk_ms=0)
    before = rows(shop.bill.storage)
    with pytest.raises(CallEnded) as ended:
        shop.bill.cancel(grant.handle)
    assert ended.value.outcome == "settled"
    assert rows(shop.bill.storage) == before


def test_a_report_after_a_cancellation_is_a_late_one(shop: Shop):
    grant = shop.grant()
    shop.bill.cancel(grant.handle)
    shop.clock.tick(minutes=2)
    record = shop.bill.settle(grant.handle, talk_ms=61_000, carrier="acme")
    assert record.outcome is Outcome.SETTLED
    assert record.late
    assert record.price_units == 2 * UK_MINUTE
    assert record.cost_units == 20_400  # 61 seconds of 0.02 a minute, up to 0.0001
    assert record.recorded_at == shop.clock.now
    assert shop.ledger() == [("face", 5_000_000, ""), ("call", -2 * UK_MINUTE, "c1")]
    assert len(shop.records()) == 1
    assert shop.bill.settle(grant.handle, talk_ms=61_000, carrier="acme") == record
    with pytest.raises(CallEnded):
        shop.bill.cancel(grant.handle)


def test_a_cancellation_that_overtakes_its_authorization_holds(shop: Shop):
    record = shop.bill.cancel(make_handle("B/1", "c1"))
    assert (record.outcome, record.hold) == (Outcome.CANCELLED, None)
    with pytest.raises(CallEnded):
        shop.ask("c1")
    assert shop.ledger() == []
    late = shop.bill.settle(make_handle("B/1", "c1"), talk_ms=60_000)
    assert (late.outcome, late.total_units) == (Outcome.UNAUTHORISED, 0)


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


# -- what fits no grant -------------------------------------------------------------------------


def test_a_report_of_a_call_never_granted_is_noted_not_charged(shop: Shop):
    handle = make_handle("B/1", "stray")
    record = shop.bill.settle(handle, talk_ms=60_000, carrier="whoever", ended_at=START)
    assert (record.outcome, record.hold) == (Outcome.UNAUTHORISED, None)
    assert (record.total_units, record.cost, record.carrier) == (0, None, "whoever")
    assert (record.number, record.destination, record.billed_seconds) == ("", "", 0)
    assert record.report is not None
    assert record.report.talk_ms == 60_000
    assert shop.ledger() == []
    before = rows(shop.bill.storage)
    again = shop.bill.settle(handle, talk_ms=60_000, carrier="whoever")
    assert again == record
    assert again.replayed
    with pytest.raises(IdempotencyMismatch):
        shop.bill.settle(handle, talk_ms=120_000, carrier="whoever")
    with pytest.raises(CallEnded):
        shop.bill.cancel(handle)
    assert rows(shop.bill.storage) == before


def test_a_report_for_no_card_is_parked_once_and_said(shop: Shop):
    handle = make_handle("GONE/7", "c1")
    for _ in range(3):
        with pytest.raises(UnknownCall) as unknown:
            shop.bill.settle(handle, talk_ms=60_000, carrier="acme", cause=16)
        assert unknown.value.suspended
        assert unknown.value.call_id == "c1"
        assert "suspense" in str(unknown.value)
        shop.clock.tick(minutes=1)
    (parked,) = shop.bill.storage.suspended()
    assert (parked.card, parked.call) == ("GONE/7", "c1")
    assert b"60000" in parked.detail
    assert parked.at == shop.bill.storage.suspended()[0].at
    with pytest.raises(UnknownCall):  # other figures are another event
        shop.bill.settle(handle, talk_ms=61_000, carrier="acme", cause=16)
    assert len(shop.bill.storage.suspended()) == 2


def test_a_cancellation_for_no_card_parks_nothing(shop: Shop):
    with pytest.raises(UnknownCall) as unknown:
        shop.bill.cancel(make_handle("GONE/7", "c1"))
    assert not unknown.value.suspended
    assert shop.bill.storage.suspended() == []


def test_a_card_blocked_in_mid_call_still_pays_for_it(shop: Shop):
    grant = shop.grant()
    shop.edit("B/1", blocked=True)
    assert shop.denied("c2") == "blocked"
    assert shop.bill.settle(grant.handle, talk_ms=60_000).price_units == UK_MINUTE
    assert shop.bill.card("B/1").status is Status.BLOCKED


# -- bad reports --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "field", "report"),
    [
        (InvalidInput, "talk_ms", {}),
        (InvalidInput, "talk_ms", {"talk_ms": None}),
        (InvalidInput, "talk_ms", {"talk_ms": None, "answered_at": START}),
        (InvalidInput, "talk_ms", {"talk_ms": None, "ended_at": START}),
        (InvalidInput, "talk_ms", {"talk_ms": -1}),
        (InvalidInput, "talk_ms", {"talk_ms": 31 * 24 * 3600 * 1000 + 1}),
        (InvalidInput, "talk_ms", {"talk_ms": 1_740_000_000_000}),  # an instant, by mistake
        (InvalidInput, "talk_ms", {"talk_ms": True}),
        (InvalidInput, "talk_ms", {"talk_ms": "60000"}),
        (FloatRefused, "talk_ms", {"talk_ms": 60_000.0}),
        (FloatRefused, "talk_ms", {"talk_ms": float("nan")}),
        (InvalidInput, "ended_at", {"answered_at": START, "ended_at": START - timedelta(1)}),
        (
            InvalidInput,
            "ended_at",
            {"talk_ms": 1, "answered_at": START, "ended_at": START - timedelta(1)},
        ),
        (InvalidInput, "talk_ms", {"answered_at": START, "ended_at": START + timedelta(32)}),
        (InvalidInput, "answered_at", {"answered_at": "now", "ended_at": START}),
        (InvalidInput, "carrier", {"talk_ms": 1, "carrier": 5}),
        (InvalidInput, "carrier", {"talk_ms": 1, "carrier": 1.5}),
        (InvalidInput, "carrier", {"talk_ms": 1, "carrier": 0.0}),
        (InvalidInput, "carrier", {"talk_ms": 1, "carrier": False}),
        (InvalidInput, "carrier", {"talk_ms": 1, "carrier": "acme\udcff"}),  # no Unicode
        (InvalidInput, "cause", {"talk_ms": 1, "cause": 128}),
        (InvalidInput, "cause", {"talk_ms": 1, "cause": -1}),
        (InvalidInput, "cause", {"talk_ms": 1, "cause": True}),
        (InvalidInput, "cause", {"talk_ms": 1, "cause": 16.0}),
        (InvalidInput, "cause", {"talk_ms": 1, "cause": "NORMAL_CLEARING"}),
    ],
)
def test_a_report_that_cannot_be_used_is_refused_by_name(
    shop: Shop, error: type[InvalidInput], field: str, report: dict[str, Any]
):
    grant = shop.grant()
    before = rows(shop.bill.storage)
    with pytest.raises(error) as refused:
        shop.bill.settle(grant.handle, **report)
    assert refused.value.field == field
    assert field in str(refused.value)
    assert rows(shop.bill.storage) == before


@pytest.mark.parametrize(
    "handle",
    [
        "",
        "c1",
        "123456789012",
        "Qi8xCmMx ",
        "Qi8xCmMx\n",
        "é",
        "====",
        "_-_-",
        "Qi8x",  # a card and no call
        "QgpjMQ",  # no card id
        None,
        5,
        b"Qi8xCmMx",
    ],
)
def test_what_is_no_handle_is_refused_and_not_repeated(shop: Shop, handle: Any):
    before = rows(shop.bill.storage)
    for use in (lambda: shop.bill.settle(handle, talk_ms=1), lambda: shop.bill.cancel(handle)):
        with pytest.raises(InvalidHandle) as refused:
            use()
        assert refused.value.field == "handle"
        assert refused.value.value is None
        assert not handle or len(str(handle)) < 3 or str(handle) not in str(refused.value)
    assert rows(shop.bill.storage) == before


@given(
    card=st.from_regex(r"[^/\n\ud800-\udfff]{1,64}/[0-9]{1,9}", fullmatch=True),
    call=st.text("!#$%&'()*+,-./0123456789:;<=>?@AZ[\\]^_`az{|}~\"", min_size=1, max_size=128),
)
def test_a_handle_says_what_it_was_made_from(card: str, call: str):
    assert parse_handle(make_handle(card, call)) == (card, call)


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


# -- every order of events ----------------------------------------------------------------------

EVENTS = ("authorize", "extend", "settle", "cancel", "sweep")
TALK_MS = 61_000
DUE = 2 * UK_MINUTE
HOLD_LIFE = timedelta(seconds=180 + 120 + 300)


def expected_charge(order: Sequence[str]) -> int:
    """A call is charged if it was granted and then reported: nothing else counts.

    It is not granted after a report or a cancellation of it, and an extension posts nothing.
    """
    granted = False
    for event in order:
        if event == "authorize":
            granted = True
        elif event == "settle" and granted:
            return DUE
        elif event in ("settle", "cancel") and not granted:
            return 0
    return 0


def run(bill: Engine, event: str, *, serial: int, pin: str, at: datetime) -> None:
    handle = make_handle(f"B/{serial}", "c")
    try:
        if event == "authorize":
            bill.authorize(pin=pin, to=UK, call_id="c", at=at)
        elif event == "extend":
            bill.extend(handle, used_seconds=0, number=1, at=at)
        elif event == "settle":
            bill.settle(handle, talk_ms=TALK_MS, at=at)
        elif event == "cancel":
            bill.cancel(handle, at=at)
        else:
            bill.sweep(at=at)
    except CallEnded:
        assert event in ("authorize", "extend", "cancel")
    except UnknownCall:
        assert event == "extend"


def run_all(kind: str, folder: Path, length: int, gap: timedelta, plan: dict[str, Any]) -> None:
    """Every order of so many events, with duplicates, each on a card of its own."""
    orders = list(product(EVENTS, repeat=length))
    with open_shop(kind, folder, quantity=len(orders), plan=plan) as shop:
        pins = [shop.pin(serial) for serial in range(1, len(orders) + 1)]
        for serial, order in enumerate(orders, start=1):
            at = START
            for event in order:
                at += gap
                run(shop.bill, event, serial=serial, pin=pins[serial - 1], at=at)
        shop.bill.sweep(at=START + length * gap + LIFETIME)
        for serial, order in enumerate(orders, start=1):
            card = f"B/{serial}"
            charge = expected_charge(order)
            stored = shop.stored(card)
            posted = [amount for kind, amount, call in shop.ledger(card) if call == "c"]
            assert posted == ([-charge] if charge else []), order
            assert (stored.holds, stored.balance) == ({}, 5_000_000 - charge), order
            records = shop.records(card)
            assert len(records) == (0 if set(order) <= {"sweep", "extend"} else 1), order
            assert sum(record.price_units for record in records) == charge, order
        shop.check_books()


GAPS = [timedelta(seconds=1), HOLD_LIFE / 2, HOLD_LIFE]
PLANS: dict[str, dict[str, Any]] = {
    "whole": {"max_call_seconds": 120},
    "slices": {"max_call_seconds": 120, "slice_seconds": 110},
}


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("gap", GAPS)
def test_in_whatever_order_events_come_a_call_is_charged_once(
    kind: str, tmp_path: Path, gap: timedelta, plan: str
):
    for length in range(1, 5):
        (tmp_path / str(length)).mkdir()
        run_all(kind, tmp_path / str(length), length, gap, PLANS[plan])


@pytest.mark.soak
@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("gap", GAPS)
@pytest.mark.parametrize("length", [5, 6])
def test_in_whatever_order_more_events_come_a_call_is_charged_once(
    kind: str, tmp_path: Path, length: int, gap: timedelta, plan: str
):
    run_all(kind, tmp_path, length, gap, PLANS[plan])


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
