"""Calls granted in slices: renewed while they last, several at once on one card."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from moneyed import USD, Money

from cardbill import CallRecord, Denied, Grant, LimitedBy, Outcome, Plan, Unauthorised, Unreported
from cardbill.calls import make_handle
from cardbill.errors import (
    CallEnded,
    IdempotencyMismatch,
    InvalidHandle,
    InvalidInput,
    UnknownCall,
)
from tests.building import (
    INVALID,
    START,
    TOLL_FREE,
    UK,
    UK_E164,
    UK_MINUTE,
    UNRATED,
    US,
    Shop,
    deck,
    open_shop,
    rows,
)

SLICE = 60
SLICED = {"slice_seconds": SLICE, "calls_at_once": 3}
FIRST_LIFE = timedelta(seconds=180 + SLICE + 300)
NEXT_LIFE = timedelta(seconds=SLICE + 300)


def sliced(kind: str, folder: Path, face: str = "0.30", **plan: Any) -> Any:
    """A card that pays for five minutes to the UK, whole minutes billed, by default."""
    return open_shop(kind, folder, face=Money(face, USD), quantity=2, plan={**SLICED, **plan})


def more(shop: Shop, call: Grant, used: int, number: int, **at: Any) -> Grant:
    answer = shop.bill.extend(call.handle, used_seconds=used, number=number, **at)
    assert isinstance(answer, Grant), answer
    return answer


def no_more(shop: Shop, call: Grant, used: int, number: int, **at: Any) -> str:
    answer = shop.bill.extend(call.handle, used_seconds=used, number=number, **at)
    assert isinstance(answer, Denied), answer
    return str(answer.reason.value)


# -- granting and renewing --------------------------------------------------------------------


def test_a_grant_holds_one_slice_and_each_extension_the_time_used_and_one_more(
    kind: str, tmp_path: Path
):
    with sliced(kind, tmp_path) as shop:
        call = shop.grant()
        assert (call.max_seconds, call.limited_by) == (60, LimitedBy.SLICE)
        assert call.held_units == UK_MINUTE
        answer = call
        for number in (1, 2, 3, 4):
            answer = more(shop, call, 60 * number, number, at=shop.clock.tick(seconds=60))
            assert answer.max_seconds == 60 * number + 60
            assert answer.held_units == UK_MINUTE * (number + 1)
            assert (answer.handle, answer.replayed) == (call.handle, False)
        assert answer.limited_by is LimitedBy.MONEY  # the last slice: no more is to come
        assert shop.ledger() == [("face", 300_000, "")]  # nothing is posted while it lasts
        assert no_more(shop, call, 300, 5) == "insufficient_balance"
        record = shop.bill.settle(call.handle, talk_ms=300_000, carrier="acme")
        assert (record.price_units, record.uncollected_units) == (300_000, 0)
        shop.check_books()


def test_the_last_slice_is_what_is_left(kind: str, tmp_path: Path):
    with sliced(kind, tmp_path, max_call_seconds=100) as shop:
        call = shop.grant(to=US)
        assert call.max_seconds == 60
        answer = more(shop, call, 50, 1)
        assert (answer.max_seconds, answer.limited_by) == (100, LimitedBy.PLAN)
        assert no_more(shop, call, 100, 2) == "limit_reached"


def test_the_cards_expiry_ends_the_last_slice(kind: str, tmp_path: Path):
    batch = {"expires_days_after_first_use": 0}
    late = START.replace(hour=23, minute=58, second=30)
    with open_shop(kind, tmp_path, batch=batch, plan=SLICED) as shop:
        call = shop.grant(at=late)
        answer = more(shop, call, 60, 1, at=late + timedelta(seconds=60))
        assert (answer.max_seconds, answer.limited_by) == (90, LimitedBy.EXPIRY)
        assert no_more(shop, call, 90, 2, at=late + timedelta(seconds=90)) == "expired"


def test_a_slice_longer_than_the_money_is_no_slice(kind: str, tmp_path: Path):
    with sliced(kind, tmp_path, face="0.10", slice_seconds=120) as shop:
        call = shop.grant()
        assert (call.max_seconds, call.limited_by) == (60, LimitedBy.MONEY)
        assert more(shop, call, 30, 1).max_seconds == 60
        assert no_more(shop, call, 60, 2) == "insufficient_balance"


def test_a_free_call_is_sliced_too(kind: str, tmp_path: Path):
    with sliced(kind, tmp_path) as shop:
        call = shop.grant(to=TOLL_FREE)
        assert (call.max_seconds, call.held_units) == (60, 0)
        assert more(shop, call, 3_600, 1).max_seconds == 3_660


def test_a_call_granted_whole_may_report_its_time_and_is_held_as_before(kind: str, tmp_path: Path):
    with open_shop(kind, tmp_path) as shop:
        call = shop.grant()
        answer = more(shop, call, 59, 1)
        assert (answer.max_seconds, answer.held_units) == (call.max_seconds, call.held_units)
        assert answer.expires_at == call.expires_at


def test_calls_share_a_card_slice_by_slice(kind: str, tmp_path: Path):
    with sliced(kind, tmp_path) as shop:
        one, two, three = (shop.grant(f"c{n}") for n in range(3))
        assert shop.denied("c3") == "too_many_calls"
        assert shop.bill.card("B/1").available == Money("0.12", USD)
        assert more(shop, one, 60, 1).max_seconds == 120
        last = more(shop, two, 60, 1)
        assert (last.max_seconds, last.limited_by) == (120, LimitedBy.MONEY)  # as it stands
        final = more(shop, three, 30, 1)  # all five minutes are held by now
        assert (final.max_seconds, final.limited_by) == (60, LimitedBy.MONEY)
        shop.bill.settle(one.handle, talk_ms=61_000)
        shop.bill.settle(two.handle, talk_ms=60_000)  # a minute is given back
        again = more(shop, three, 59, 2)
        assert again.max_seconds == 119
        shop.bill.settle(three.handle, talk_ms=119_000)
        assert shop.bill.card("B/1").balance == Money("0.00", USD)
        shop.check_books()


def test_what_was_told_the_switch_is_never_taken_back(kind: str, tmp_path: Path):
    """Nor does an extension told early, while most of the slice is left, shorten the call."""
    with sliced(kind, tmp_path) as shop:
        call = shop.grant()
        assert more(shop, call, 0, 1).max_seconds == 60
        assert more(shop, call, 10, 2).max_seconds == 70
        other = shop.grant("other")
        more(shop, other, 120, 1)  # takes the rest
        assert shop.bill.card("B/1").available == Money("0.00", USD)
        answer = more(shop, call, 65, 3)
        assert answer.max_seconds == 120  # the second minute is held already
        shop.check_books()


def test_a_slice_that_was_overrun_is_paid_by_the_next_one(kind: str, tmp_path: Path):
    with sliced(kind, tmp_path) as shop:
        call = shop.grant()
        assert more(shop, call, 75, 1).max_seconds == 135
        record = shop.bill.settle(call.handle, talk_ms=100_000)
        assert (record.price_units, record.uncollected_units) == (2 * UK_MINUTE, 0)


# -- twice, late, out of order ----------------------------------------------------------------


def test_the_same_extension_again_is_answered_by_how_the_call_stands(kind: str, tmp_path: Path):
    with sliced(kind, tmp_path) as shop:
        call = shop.grant()
        first = more(shop, call, 60, 1)
        before = rows(shop.bill.storage)
        again = more(shop, call, 60, 1, at=shop.clock.tick(seconds=30))
        assert again == first
        assert again.replayed
        assert rows(shop.bill.storage) == before
        more(shop, call, 120, 3)  # the second was lost: nothing is missing
        overtaken = more(shop, call, 90, 2)
        assert (overtaken.max_seconds, overtaken.replayed) == (180, True)


def test_an_extension_that_contradicts_an_earlier_one_is_refused_by_name(kind: str, tmp_path: Path):
    with sliced(kind, tmp_path) as shop:
        call = shop.grant()
        more(shop, call, 60, 2)
        before = rows(shop.bill.storage)
        with pytest.raises(IdempotencyMismatch) as mismatch:
            more(shop, call, 61, 2)
        assert mismatch.value.fields == ("used_seconds",)
        with pytest.raises(InvalidInput) as refused:
            more(shop, call, 59, 3)
        assert (refused.value.field, refused.value.value) == ("used_seconds", 59)
        assert rows(shop.bill.storage) == before


@pytest.mark.parametrize(
    ("request_", "field", "error"),
    [
        ({"used_seconds": -1}, "used_seconds", InvalidInput),
        ({"used_seconds": 1.5}, "used_seconds", InvalidInput),
        ({"used_seconds": 31 * 86_400 + 1}, "used_seconds", InvalidInput),
        ({"used_seconds": True}, "used_seconds", InvalidInput),
        ({"number": 0}, "number", InvalidInput),
        ({"number": "1"}, "number", InvalidInput),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(
    tmp_path: Path, request_: dict[str, Any], field: str, error: type[Exception]
):
    with sliced("memory", tmp_path) as shop:
        call = shop.grant()
        with pytest.raises(error) as refused:
            shop.bill.extend(call.handle, **{"used_seconds": 1, "number": 1, **request_})
        assert isinstance(refused.value, InvalidInput)
        assert refused.value.field == field
        with pytest.raises(InvalidHandle):
            shop.bill.extend("nonsense", used_seconds=1, number=1)


def test_an_ended_call_is_not_extended_nor_one_that_never_was(kind: str, tmp_path: Path):
    with sliced(kind, tmp_path) as shop:
        for outcome, call_id in [("settled", "a"), ("cancelled", "b"), ("expired", "c")]:
            call = shop.grant(call_id)
            if outcome == "settled":
                shop.bill.settle(call.handle, talk_ms=1_000)
            elif outcome == "cancelled":
                shop.bill.cancel(call.handle)
            else:
                shop.clock.tick(seconds=int(FIRST_LIFE.total_seconds()))
            with pytest.raises(CallEnded) as ended:
                shop.bill.extend(call.handle, used_seconds=1, number=1)
            assert ended.value.outcome == outcome
        with pytest.raises(UnknownCall):
            shop.bill.extend(make_handle("B/1", "never"), used_seconds=1, number=1)
        with pytest.raises(UnknownCall):
            shop.bill.extend(make_handle("Z/1", "never"), used_seconds=1, number=1)


def test_a_card_blocked_in_mid_call_gets_no_further_slice(kind: str, tmp_path: Path):
    with sliced(kind, tmp_path) as shop:
        call = shop.grant()
        shop.bill.control.block("B/1", actor="ann", reason="fraud")
        assert no_more(shop, call, 60, 1) == "blocked"
        shop.bill.control.unblock("B/1", actor="ann", reason="a mistake")
        shop.bill.control.freeze("B", 1, 1, actor="ann", reason="stolen")
        assert no_more(shop, call, 90, 2) == "blocked"
        assert shop.bill.card("B/1").held == Money("0.06", USD)
        record = shop.bill.settle(call.handle, talk_ms=90_000)
        assert (record.price_units, record.uncollected_units) == (UK_MINUTE, UK_MINUTE)


# -- nobody reports the end -------------------------------------------------------------------


@pytest.mark.parametrize("swept", [True, False])
def test_what_was_reported_when_a_hold_expires_is_charged(
    kind: str, tmp_path: Path, *, swept: bool
):
    with sliced(kind, tmp_path) as shop:
        call = shop.grant()
        at = START + timedelta(seconds=90)
        answer = more(shop, call, 61, 1, at=at)
        assert answer.expires_at == at + NEXT_LIFE
        just_before = answer.expires_at - timedelta(microseconds=1)
        assert shop.bill.sweep(at=just_before).calls_expired == 0
        shop.clock.now = answer.expires_at
        if swept:
            assert shop.bill.sweep().calls_expired == 1
            (record,) = shop.records()
            assert (record.outcome, record.seconds) == (Outcome.EXPIRED, 61)
            assert record.recorded_at == answer.expires_at
            assert shop.ledger()[1:] == [("call", -2 * UK_MINUTE, "c1")]
        late = shop.bill.settle(call.handle, talk_ms=119_000, carrier="acme")
        assert late.late
        assert (late.price_units, late.uncollected_units) == (2 * UK_MINUTE, 0)
        assert sum(amount for _, amount, call in shop.ledger() if call) == -2 * UK_MINUTE
        shop.check_books()


def test_a_late_report_of_less_refunds_nothing_and_of_more_collects_up_to_the_grant(
    kind: str, tmp_path: Path
):
    with sliced(kind, tmp_path) as shop:
        for call_id, talk_ms, price, short in [
            ("less", 30_000, 2, 0),
            ("more", 170_000, 3, 0),
        ]:
            call = shop.grant(call_id)
            more(shop, call, 100, 1)
            shop.clock.tick(seconds=int(NEXT_LIFE.total_seconds()))
            shop.bill.sweep()
            record = shop.bill.settle(call.handle, talk_ms=talk_ms, carrier="acme")
            assert (record.price_units, record.uncollected_units) == (
                min(price, 3) * UK_MINUTE,
                short,
            )
        shop.check_books()


def test_a_plan_may_charge_all_that_was_granted(kind: str, tmp_path: Path):
    with sliced(kind, tmp_path, unreported_calls="charge", slice_seconds=None) as shop:
        call = shop.grant()
        shop.clock.now = call.expires_at
        assert shop.bill.sweep().calls_expired == 1
        (record,) = shop.records()
        assert (record.outcome, record.seconds, record.price_units) == (
            Outcome.EXPIRED,
            300,
            300_000,
        )
        late = shop.bill.settle(call.handle, talk_ms=60_000, carrier="acme")
        assert late.price_units == 300_000  # nothing is refunded
        assert late.cost_units == 20_000
        shop.check_books()


def test_the_policy_is_that_of_the_grant_not_of_a_later_plan(kind: str, tmp_path: Path):
    with sliced(kind, tmp_path) as shop:
        call = shop.grant()
        shop.bill.plans.publish(
            Plan(name="Basic", deck="retail", currency="USD", unreported_calls=Unreported.CHARGE)
        )
        shop.clock.now = call.expires_at
        shop.bill.sweep()
        assert shop.records()[0].price_units == 0


# -- calls that were never granted ------------------------------------------------------------

CHARGING = {"unauthorised_calls": Unauthorised.CHARGE}


def unauthorised(shop: Shop, call_id: str = "u", card: str = "B/1", **report: Any) -> CallRecord:
    told = {"talk_ms": 61_000, "carrier": "acme", "to": UK, **report}
    return shop.bill.settle(make_handle(card, call_id), **told)


def test_a_call_never_granted_is_charged_where_the_plan_says_so(kind: str, tmp_path: Path):
    with open_shop(kind, tmp_path, plan=CHARGING) as shop:
        record = unauthorised(shop)
        assert record.outcome is Outcome.UNAUTHORISED
        assert (record.price_units, record.uncollected_units) == (2 * UK_MINUTE, 0)
        assert (record.number, record.destination) == (UK_E164, "United Kingdom")
        assert record.cost_units == 20_400
        assert shop.bill.card("B/1").first_used_at == START
        assert unauthorised(shop).replayed
        with pytest.raises(IdempotencyMismatch):
            unauthorised(shop, talk_ms=62_000)
        assert len(shop.ledger()) == 2
        shop.check_books()


def test_it_takes_no_more_than_there_is(kind: str, tmp_path: Path):
    with open_shop(kind, tmp_path, face=Money("0.10", USD), plan=CHARGING) as shop:
        record = unauthorised(shop)
        assert (record.price_units, record.uncollected_units) == (100_000, 20_000)
        empty = unauthorised(shop, "v")
        assert (empty.price_units, empty.uncollected_units) == (0, 120_000)
        shop.check_books()


def test_money_held_for_a_call_in_progress_is_not_touched(kind: str, tmp_path: Path):
    with open_shop(kind, tmp_path, face=Money("0.10", USD), plan=CHARGING) as shop:
        call = shop.grant()
        assert unauthorised(shop).price_units == 40_000
        assert shop.bill.settle(call.handle, talk_ms=60_000).price_units == UK_MINUTE
        shop.check_books()


@pytest.mark.parametrize("report", [{"to": None}, {"to": INVALID}, {"to": UNRATED}])
def test_without_a_number_that_has_a_price_it_is_only_noted(
    kind: str, tmp_path: Path, report: dict[str, Any]
):
    with open_shop(kind, tmp_path, plan=CHARGING) as shop:
        record = unauthorised(shop, **report)
        assert (record.outcome, record.price_units) == (Outcome.UNAUTHORISED, 0)
        assert record.report is not None
        assert record.report.talk_ms == 61_000
        assert shop.ledger() == []
        shop.check_books()


def test_nor_on_a_card_that_is_stopped_or_by_a_plan_that_does_not_say_so(kind: str, tmp_path: Path):
    with open_shop(kind, tmp_path) as shop:
        assert unauthorised(shop).price_units == 0
    with open_shop("memory", tmp_path, plan=CHARGING) as shop:
        shop.bill.control.block("B/1", actor="ann", reason="lost")
        assert unauthorised(shop).price_units == 0
        assert unauthorised(shop, card="B/2", talk_ms=0).price_units == 0
        shop.check_books()


# -- laws -------------------------------------------------------------------------------------

REPORTS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 90)), max_size=25)
MINUTES = "prefix,destination,rate,increments,connect fee\n44,UK,0.06,30/6,0.01\n"


@settings(max_examples=200)
@given(reports=REPORTS, cents=st.integers(5, 60), block=st.booleans())
def test_calls_in_slices_never_overdraw_and_are_charged_as_one_call_each(
    reports: list[tuple[int, int]], cents: int, *, block: bool
):
    """However three calls interleave, each pays for its own time, within what it was granted."""
    with sliced("memory", Path(), face=f"{cents / 100:.2f}") as shop:
        shop.publish_retail(MINUTES)
        calls = [answer for n in range(3) if (answer := shop.ask(f"c{n}")).granted]
        used = dict.fromkeys(range(3), 0)
        granted = {n: call.max_seconds or 0 for n, call in enumerate(calls)}
        for number, (which, seconds) in enumerate(reports, start=1):
            if which >= len(calls):
                continue
            used[which] = min(used[which] + seconds, granted[which])  # the switch obeys
            call = calls[which]
            answer = shop.bill.extend(call.handle, used_seconds=used[which], number=number)
            card = shop.stored()
            assert card.available >= 0
            if isinstance(answer, Grant):
                assert answer.max_seconds is not None
                assert answer.max_seconds >= granted[which]  # never taken back
                granted[which] = answer.max_seconds
            else:
                assert used[which] >= granted[which]
        if block:
            shop.bill.control.block("B/1", actor="ann", reason="end of the month")
        rate = shop.bill.decks.get("retail").match(UK_E164, START)
        assert rate is not None
        for which, call in enumerate(calls):
            talked = used[which]
            record = shop.bill.settle(call.handle, talk_ms=talked * 1_000)
            assert record.uncollected_units == 0
            expected = 0 if not talked else 10_000 + -(-max(30, talked) // 6) * 6_000
            assert record.price_units == expected
        shop.check_books()


def test_the_law_is_met_by_calls_that_are_renewed_and_that_run_out():
    with sliced("memory", Path(), face="0.20") as shop:
        shop.publish_retail(MINUTES)
        call = shop.grant()
        assert more(shop, call, 60, 1).max_seconds == 120
        assert more(shop, call, 120, 2).max_seconds == 180
        assert more(shop, call, 180, 3).limited_by is LimitedBy.MONEY
        assert deck(MINUTES).match(UK_E164, START) is not None
