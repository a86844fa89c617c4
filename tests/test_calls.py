"""The end of a call: what it is charged, who carried it, what is told again or cannot be true."""

from datetime import timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st
from moneyed import USD, Money

from cardbill import Carrier, Outcome, Status
from cardbill.calls import make_handle, parse_handle
from cardbill.errors import (
    CallEnded,
    FloatRefused,
    IdempotencyMismatch,
    InvalidHandle,
    InvalidInput,
    UnknownCall,
)
from tests.building import START, TOLL_FREE, UK_MINUTE, US, Shop, deck, open_shop, rows

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
        make_handle("B" * 65 + "/1", "c1"),  # a card that no batch has: no store keeps such an id
        make_handle("B\0/1", "c1"),
        make_handle("B/" + "1" * 20, "c1"),
        make_handle("B/one", "c1"),
        make_handle("/1", "c1"),
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
    card=st.from_regex(r"[^\n\ud800-\udfff]{1,64}/[0-9]{1,9}", fullmatch=True).filter(
        str.isprintable
    ),
    call=st.text("!#$%&'()*+,-./0123456789:;<=>?@AZ[\\]^_`az{|}~\"", min_size=1, max_size=128),
)
def test_a_handle_says_what_it_was_made_from(card: str, call: str):
    assert parse_handle(make_handle(card, call)) == (card, call)
