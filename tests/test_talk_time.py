"""The balance told in minutes for a destination: what a grant would be, without one."""

from typing import Any

import pytest
from moneyed import USD, Money

from cardbill import Caller, Charge, Denied, Grant, LimitedBy, Package, TalkTime, UsageLimit
from cardbill.errors import InvalidInput
from tests.building import (
    BARRED,
    INVALID,
    TOLL_FREE,
    UK,
    UNRATED,
    UNROUTED,
    US,
    Shop,
    open_shop,
    rows,
)

BONUS = Package(name="bonus", minutes=30, destinations=["44"], given="activation")
FEE = Charge(name="toll-free", trigger="answer", amount=Money("0.50", USD))


def caller(shop: Shop, **told: Any) -> Caller:
    who = shop.bill.authenticate(pin=shop.pin(), **told)
    assert isinstance(who, Caller), who
    return who


def minutes(shop: Shop, who: Caller) -> int | None:
    told = shop.bill.talk_time(who, to=UK)
    assert isinstance(told, TalkTime), told
    return told.minutes


@pytest.mark.parametrize("to", [UK, US, TOLL_FREE, BARRED, UNRATED, UNROUTED, INVALID])
@pytest.mark.parametrize(
    "plan",
    [
        {},
        {"max_call_seconds": 600},
        {"packages": [BONUS], "charges": [FEE]},
        {"usage_limits": [UsageLimit(spend=Money("0.30", USD))]},
        {"minimum_balance": Money(6, USD)},
    ],
    ids=["plain", "capped", "packages", "limits", "minimum"],
)
def test_it_tells_what_an_authorization_then_grants(kind, tmp_path, plan, to):
    with open_shop(kind, tmp_path, plan=plan) as shop:
        who = caller(shop)
        before = rows(shop.bill.storage)
        told = shop.bill.talk_time(who, to=to)
        assert rows(shop.bill.storage) == before
        answer = shop.bill.authorize(who, to=to, call_id="c1")
        if isinstance(told, Denied):
            assert told == answer
        else:
            assert isinstance(told, TalkTime)
            assert isinstance(answer, Grant)
            assert (told.max_seconds, told.limited_by) == (answer.max_seconds, answer.limited_by)
            assert (told.number, told.destination) == (answer.number, answer.destination)


def test_slices_are_told_as_the_whole_that_they_come_to(kind, tmp_path):
    with open_shop(kind, tmp_path, plan={"slice_seconds": 60}) as shop:
        told = shop.bill.talk_time(caller(shop), to=UK)
        assert isinstance(told, TalkTime)
        assert (told.max_seconds, told.limited_by) == (83 * 60, LimitedBy.MONEY)
        assert shop.grant().max_seconds == 60


def test_what_other_calls_hold_is_not_told_as_minutes(kind, tmp_path):
    plan = {"calls_at_once": 2, "packages": [BONUS], "max_call_seconds": 3_600}
    with open_shop(kind, tmp_path, plan=plan) as shop:
        who = caller(shop)
        assert minutes(shop, who) == 60  # by the plan
        shop.grant("c1")  # holds 30 minutes of the bonus, and money for 30 more
        assert minutes(shop, who) == 53


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "You can talk to Mars as long as you like."),
        (0, "You have 0 seconds to Mars."),
        (1, "You have 1 second to Mars."),
        (59, "You have 59 seconds to Mars."),
        (60, "You have 1 minute to Mars."),
        (179, "You have 2 minutes to Mars."),
        (4_000 * 60, "You have 4,000 minutes to Mars."),
    ],
)
def test_it_is_announced_in_whole_minutes(seconds, words):
    told = TalkTime(number="9", destination="Mars", max_seconds=seconds, limited_by=None)
    assert told.prompt == words


def test_only_a_caller_is_told(kind, tmp_path):
    with open_shop(kind, tmp_path) as shop:
        wrong = shop.bill.authenticate(pin="000000000000")
        with pytest.raises(InvalidInput, match="caller"):
            shop.bill.talk_time(wrong, to=UK)  # type: ignore[arg-type]


def test_a_caller_whose_card_was_stopped_meanwhile_is_told_so(kind, tmp_path):
    with open_shop(kind, tmp_path) as shop:
        who = caller(shop)
        shop.bill.control.block("B/1", actor="ann", reason="stolen")
        told = shop.bill.talk_time(who, to=UK)
        assert isinstance(told, Denied)
        assert told.reason.value == "blocked"
