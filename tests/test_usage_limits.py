"""Limits of use: calls begun and money spent within some hours, in the step of the grant."""

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, strategies as st
from moneyed import EUR, USD, Money

from cardbill import Denied, LimitedBy, Plan, UsageLimit
from cardbill.errors import InvalidInput, MissingFields, WrongCurrency
from cardbill.usagelimits import Slot, noted
from tests.building import START, TOLL_FREE, UK, UK_MINUTE, US, open_shop

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
