"""Limits of use: calls begun and money spent within some hours, in the step of the grant."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, strategies as st
from moneyed import EUR, USD, Money

from cardbill import Denied, LimitedBy, Plan, Tax, Unauthorised, UsageLimit
from cardbill.errors import InvalidInput, MissingFields, WrongCurrency
from cardbill.usagelimits import Slot, carried, noted
from tests.building import START, TOLL_FREE, UK, UK_MINUTE, US, Shop, open_shop
from tests.test_slices import unauthorised
from tests.test_sold_with import fee, taxed

HOUR = timedelta(hours=1)


def limited(kind: str, folder: Path, *limits: UsageLimit, **plan: object):
    return open_shop(kind, folder, plan={"usage_limits": limits, "calls_at_once": 3, **plan})


def ask(shop, number: int, **request: object) -> str:
    """Ask for a call and cancel it; answer how it was decided."""
    answer = shop.ask(f"c{number}", **request)
    if isinstance(answer, Denied):
        return f"{answer.reason.value}: {answer.detail}"
    shop.bill.cancel(answer.handle)
    return "granted"


# -- calls ---------------------------------------------------------------------------------------


def test_a_card_begins_no_more_calls_within_an_hour_than_its_plan_allows(kind, tmp_path):
    with limited(kind, tmp_path, UsageLimit(calls=3)) as shop:
        for number in range(3):
            assert ask(shop, number) == "granted"
            shop.clock.tick(minutes=10)
        assert ask(shop, 3) == "limit_reached: 3 calls within 1 h"
        assert ask(shop, 3, serial=2) == "granted"  # another card is another card
        # 30 minutes have passed; the first call counts for an hour, and a minute at most.
        shop.clock.tick(minutes=29)
        assert ask(shop, 4).startswith("limit_reached")
        shop.clock.tick(minutes=2)
        assert ask(shop, 5) == "granted"
        assert ask(shop, 6).startswith("limit_reached")
        shop.check_books()


def test_the_same_request_again_is_no_further_call(kind, tmp_path):
    with limited(kind, tmp_path, UsageLimit(calls=1)) as shop:
        call = shop.grant()
        assert shop.grant() == call
        assert shop.denied("c2") == "limit_reached"


def test_a_denied_call_does_not_count(kind, tmp_path):
    with limited(kind, tmp_path, UsageLimit(calls=1), barred=["44"]) as shop:
        assert shop.denied("c1", to=UK) == "destination_barred"
        assert ask(shop, 2, to=US) == "granted"


@given(
    hours=st.sampled_from([1, 5, 24]),
    most=st.integers(1, 4),
    pauses=st.lists(st.integers(0, 4_000), max_size=40),
)
def test_no_window_ever_holds_more_calls_than_the_limit(hours, most, pauses):
    limit = UsageLimit(hours=hours, calls=most)
    slots: list[Slot] = []
    granted, now = [], START
    window, sixtieth = hours * HOUR, hours * HOUR / 60
    for pause in pauses:
        now += timedelta(seconds=pause * hours)
        if sum(calls for _, calls, _ in limit.past(slots, now)) < most:
            slots = noted(slots, hours, now, 1, 0)
            granted.append(now)
            assert len([each for each in granted if each >= now - window]) <= most
        else:  # never without a reason
            assert len([each for each in granted if each >= now - window - sixtieth]) >= most
        assert len(slots) <= 61


# -- spending ------------------------------------------------------------------------------------


def test_a_call_is_cut_short_by_what_may_be_spent(kind, tmp_path):
    with limited(kind, tmp_path, UsageLimit(spend=Money("0.30", USD))) as shop:
        first = shop.grant("c1")
        assert (first.max_seconds, first.limited_by) == (300, LimitedBy.SPENDING)
        assert first.held_units == 5 * UK_MINUTE  # of the 5.00 that the card holds
        assert shop.denied("c2") == "limit_reached"  # what is held counts
        assert ask(shop, 3, to=TOLL_FREE) == "granted"  # what is free may go on
        shop.bill.settle(first.handle, talk_ms=110_000)
        second = shop.grant("c4")
        assert (second.max_seconds, second.limited_by) == (180, LimitedBy.SPENDING)
        shop.bill.settle(second.handle, talk_ms=180_000)
        assert shop.denied("c5") == "limit_reached"
        shop.clock.tick(minutes=61)
        assert shop.grant("c6").held_units == 5 * UK_MINUTE
        shop.check_books()


def test_the_money_on_the_card_still_limits_first(kind, tmp_path):
    limit = UsageLimit(hours=24, spend=Money(20, USD))
    with limited(kind, tmp_path, limit) as shop:
        assert shop.grant().limited_by is LimitedBy.MONEY


def test_slices_are_renewed_only_as_far_as_may_be_spent(kind, tmp_path):
    limit = UsageLimit(spend=Money("0.18", USD))
    with limited(kind, tmp_path, limit, slice_seconds=60) as shop:
        call = shop.grant()
        assert (call.max_seconds, call.limited_by) == (60, LimitedBy.SLICE)
        shop.bill.extend(call.handle, used_seconds=60, number=1)
        more = shop.bill.extend(call.handle, used_seconds=120, number=2)
        assert more.max_seconds == 180
        assert more.limited_by is LimitedBy.SPENDING
        last = shop.bill.extend(call.handle, used_seconds=180, number=3)
        assert last.reason.value == "limit_reached"
        assert shop.bill.settle(call.handle, talk_ms=180_000).price_units == 3 * UK_MINUTE


def test_several_limits_hold_together(kind, tmp_path):
    day = UsageLimit(hours=24, spend=Money("0.24", USD))
    with limited(kind, tmp_path, UsageLimit(calls=2), day) as shop:
        for number in range(2):
            call = shop.grant(f"c{number}")
            shop.bill.settle(call.handle, talk_ms=60_000)
        assert shop.denied("c3") == "limit_reached"
        shop.clock.tick(hours=2)
        call = shop.grant("c4")
        assert (call.max_seconds, call.limited_by) == (120, LimitedBy.SPENDING)
        shop.bill.settle(call.handle, talk_ms=120_000)
        answer = shop.ask("c5")
        assert answer.detail == "the plan's limit of spending"
        assert shop.second().card("B/1").balance == Money("4.76", USD)


def test_an_explanation_knows_the_limits(kind, tmp_path):
    with limited(kind, tmp_path, UsageLimit(calls=1, spend=Money("0.12", USD))) as shop:
        told = shop.bill.explain(to=UK, card_id="B/1")
        assert (told.max_seconds, told.limited_by) == (120, LimitedBy.SPENDING)
        assert ask(shop, 1) == "granted"
        told = shop.bill.explain(to=UK, card_id="B/1")
        assert told.denied is not None
        assert told.denied.detail == "1 calls within 1 h"


def test_charges_and_taxes_of_a_call_are_spent_too(tmp_path):
    limit = UsageLimit(spend=Money("0.40", USD))
    tax = Tax(name="VAT", percent=10, on=["usage", "surcharge"])
    with taxed("memory", tmp_path, tax, charges=[fee()], usage_limits=[limit]) as shop:
        call = shop.grant("c1", batch="T")
        assert (call.max_seconds, call.limited_by) == (240, LimitedBy.SPENDING)  # 0.374
        assert shop.bill.settle(call.handle, talk_ms=60_000).total_units == 176_000
        assert shop.grant("c2", batch="T").held_units == 176_000  # 0.242 would be too much


def test_a_report_that_comes_late_is_taken_and_counts_from_then_on(kind, tmp_path):
    with limited(kind, tmp_path, UsageLimit(spend=Money("0.60", USD))) as shop:
        late = shop.grant("late")
        assert late.held_units == 10 * UK_MINUTE
        shop.clock.tick(minutes=30)  # its hold is over, and what it held is free
        more = shop.grant("more")
        assert more.held_units == 10 * UK_MINUTE
        shop.bill.settle(more.handle, talk_ms=600_000)
        # The call was made: it is charged, past the limit of 0.60 within the hour.
        assert shop.bill.settle(late.handle, talk_ms=600_000).total_units == 10 * UK_MINUTE
        assert shop.denied("c3") == "limit_reached"
        shop.clock.tick(minutes=59)
        assert shop.denied("c4") == "limit_reached"
        shop.clock.tick(minutes=3)
        assert shop.grant("c5").granted


def test_a_call_that_was_never_granted_counts_as_spent(kind, tmp_path):
    limit = UsageLimit(spend=Money("0.30", USD))
    with limited(kind, tmp_path, limit, unauthorised_calls=Unauthorised.CHARGE) as shop:
        unauthorised(shop, talk_ms=240_000)
        assert shop.grant("c2").held_units == UK_MINUTE


# -- moves to another plan -----------------------------------------------------------------------

WHO: dict[str, Any] = {"actor": "ann", "reason": "asked for it"}


def publish(shop: Shop, name: str, *limits: UsageLimit) -> None:
    terms = shop.bill.plans.get("Basic")
    shop.bill.plans.publish(evolve(terms, name=name, usage_limits=limits))


def spend(amount: str, hours: int = 1) -> UsageLimit:
    return UsageLimit(hours=hours, spend=Money(amount, USD))


def test_a_call_that_was_open_at_a_move_counts(kind, tmp_path):
    with limited(kind, tmp_path) as shop:
        publish(shop, "Limited", spend("0.60", 24), UsageLimit(hours=1, calls=2))
        shop.bill.settle(shop.grant("before").handle, talk_ms=60_000)  # nobody counted that
        call = shop.grant("open")
        shop.bill.control.move("B/1", "Limited", **WHO)
        shop.clock.tick(minutes=30)
        shop.bill.settle(call.handle, talk_ms=300_000)
        assert shop.grant("c1").held_units == 5 * UK_MINUTE
        assert shop.ask("c2").detail == "2 calls within 1 h"
        shop.clock.tick(minutes=32)  # the one that was open began an hour ago
        assert ask(shop, 3, to=TOLL_FREE) == "granted"


def test_other_windows_begin_with_what_the_card_did_before(kind, tmp_path):
    with limited(kind, tmp_path, spend("1.00", 24), UsageLimit(hours=2, calls=3)) as shop:
        publish(shop, "Longer", spend("1.00", 48), UsageLimit(hours=1, calls=3))
        publish(shop, "Free")
        shop.bill.settle(shop.grant("c1").handle, talk_ms=900_000)
        shop.bill.control.move("B/1", "Free", **WHO)
        shop.bill.settle(shop.grant("c2").handle, talk_ms=60_000)
        shop.bill.control.move("B/1", "Longer", **WHO)
        assert shop.denied("c3") == "limit_reached"
        assert ask(shop, 4, to=TOLL_FREE) == "granted"
        assert ask(shop, 5, to=TOLL_FREE) == "limit_reached: 3 calls within 1 h"
        shop.clock.tick(hours=47)
        assert shop.denied("c6") == "limit_reached"
        shop.clock.tick(hours=3)
        assert shop.grant("c7").held_units == 16 * UK_MINUTE


@given(
    kept=st.lists(st.integers(1, 30), min_size=1, max_size=3, unique=True),
    wanted=st.lists(st.integers(1, 30), min_size=1, max_size=3, unique=True),
    pauses=st.lists(st.integers(1, 30_000), max_size=20),
)
def test_what_is_carried_over_counts_as_long_as_it_should(kept, wanted, pauses):
    now, slots = START, {hours: list[Slot]() for hours in kept}
    done = []
    for units, pause in enumerate(pauses, 1):
        now += timedelta(seconds=pause)
        slots = {hours: noted(slots[hours], hours, now, 1, units) for hours in kept}
        done.append((now, units))
    after = carried(slots, wanted, now)
    assert list(after) == wanted
    assert all(after[hours] == slots[hours] for hours in wanted if hours in kept)
    for hours in wanted:
        known, coarse = min(hours, max(kept)) * HOUR, max(kept) * HOUR / 60 + hours * HOUR / 60
        for later in range(0, 3_600 * hours, 1 + 600 * hours):
            at = now + timedelta(seconds=later)
            counted = UsageLimit(hours=hours, calls=1).past(after[hours], at)
            begins = max(at - hours * HOUR, now - known)
            assert sum(slot[1] for slot in counted) >= sum(when >= begins for when, _ in done)
            assert sum(slot[2] for slot in counted) <= sum(
                units for when, units in done if when >= at - hours * HOUR - coarse
            )


class Spender:
    """Calls of one card at random; each grant is held against what the ledger says."""

    def __init__(self, shop: Shop) -> None:
        self.shop, self.number = shop, 0
        self.open: dict[str, str] = {}
        self.known_since, self.at = START, shop.clock.now
        self.limits = shop.bill.plans.get("Basic").usage_limits
        self.ask(0)

    def play(self, what: str, size: int) -> None:
        getattr(self, what)(size)
        for call_id in {*self.open} - {*self.shop.stored("T/1").holds}:
            del self.open[call_id]

    def wait(self, size: int) -> None:
        self.shop.clock.tick(minutes=size)
        self.shop.bill.sweep()

    def ask(self, size: int) -> None:
        self.number += 1
        answer = self.shop.ask(f"c{self.number}", batch="T")
        if answer.granted:
            self.open[answer.call_id] = answer.handle
            assert all(self.room(limit) >= 0 for limit in self.limits)
        elif answer.detail == "the plan's limit of spending":
            slack = timedelta(minutes=12)  # two slots of the longest window
            shortest = 176_000  # a minute, the fee of a call, 10 % on both
            assert any(self.room(limit, slack) < shortest for limit in self.limits)

    def end(self, size: int) -> None:
        for call_id in [*self.open][:1]:
            self.shop.bill.settle(self.open[call_id], talk_ms=size * 30_000)

    def cancel(self, size: int) -> None:
        for call_id in [*self.open][:1]:
            self.shop.bill.cancel(self.open[call_id])

    def extend(self, size: int) -> None:
        for call_id in [*self.open][:1]:
            hold = self.shop.stored("T/1").holds[call_id]
            used = hold.used_seconds + min(size, 60)
            self.shop.bill.extend(self.open[call_id], used_seconds=used, number=hold.extension + 1)
            if self.shop.stored("T/1").holds[call_id].amount > hold.amount:
                assert all(self.room(limit) >= 0 for limit in self.limits)

    def move(self, size: int) -> None:
        longest = max(limit.hours for limit in self.limits) * HOUR
        name = ("Basic", "Other")[size % 2]
        self.known_since = max(self.known_since, self.shop.clock.now - longest)
        self.shop.bill.control.move("T/1", name, **WHO)
        self.limits = self.shop.bill.plans.get(name).usage_limits

    def room(self, limit: UsageLimit, slack: timedelta = timedelta(0)) -> int:
        """What a limit leaves beside what calls took within its window and hold.

        As far back as the card may know.
        """
        begins = max(self.shop.clock.now - limit.hours * HOUR - slack, self.known_since - slack)
        took = sum(
            -entry.amount_units
            for entry in self.shop.bill.entries("T/1")
            if entry.kind.value in ("call", "charge", "tax") and entry.at >= begins
        )
        return (limit.spend_units("USD") or 0) - took - self.shop.stored("T/1").held


ACTIONS = st.tuples(
    st.sampled_from(
        ["ask", "ask", "ask", "end", "end", "wait", "wait", "cancel", "extend", "move"]
    ),
    st.integers(0, 40),
)


@pytest.mark.parametrize("sliced", [None, 60])
@given(actions=st.lists(ACTIONS, max_size=40))
def test_no_grant_ever_takes_a_window_past_what_may_be_spent(sliced, actions):
    limits = [spend("0.80"), spend("1.50", 6)]
    tax = Tax(name="VAT", percent=10, on=["usage", "surcharge"])
    terms = {"charges": [fee()], "calls_at_once": 3, "slice_seconds": sliced}
    with taxed("memory", Path(), tax, usage_limits=limits, **terms) as shop:
        publish(shop, "Other", spend("0.70", 2), spend("1.40", 5))
        spender = Spender(shop)
        for what, size in actions:
            spender.play(what, size)
        shop.check_books()


# -- terms ---------------------------------------------------------------------------------------


def test_a_plan_keeps_its_limits(kind, tmp_path):
    limits = UsageLimit(calls=3), UsageLimit(hours=24, spend=Money("7.50", USD))
    with limited(kind, tmp_path, *limits) as shop:
        assert shop.second().plans.get("Basic").usage_limits == limits


@pytest.mark.parametrize(
    ("terms", "error"),
    [
        ({}, MissingFields),
        ({"calls": 0}, InvalidInput),
        ({"hours": 0, "calls": 1}, InvalidInput),
        ({"hours": 745, "calls": 1}, InvalidInput),
        ({"calls": True}, InvalidInput),
    ],
)
def test_a_limit_that_limits_nothing_is_refused(terms, error):
    with pytest.raises(error):
        UsageLimit(**terms)


@pytest.mark.parametrize(
    ("limits", "error"),
    [
        ([UsageLimit(spend=Money(1, EUR))], WrongCurrency),
        ([UsageLimit(spend=Money(0, USD))], InvalidInput),
        ([UsageLimit(calls=1), UsageLimit(spend=Money(1, USD))], InvalidInput),
        ([UsageLimit(hours=hours, calls=1) for hours in range(1, 7)], InvalidInput),
        (["3 calls"], InvalidInput),
    ],
)
def test_a_plan_refuses_limits_that_cannot_be(limits, error):
    with pytest.raises(error):
        Plan(name="Basic", deck="retail", currency=USD, usage_limits=limits)
