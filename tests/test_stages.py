"""One stage and two: who calls is told once, and asking again gives the same grant."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from moneyed import USD, Money

import cardbill
from cardbill import Caller, Denial, Denied, Grant, Status
from cardbill.errors import CallEnded, IdempotencyMismatch
from tests.building import (
    INVALID,
    START,
    TOLL_FREE,
    UK,
    UK_E164,
    UK_MOBILE,
    UNRATED,
    UNROUTED,
    US,
    Shop,
    deck,
    open_shop,
    rows,
)


@pytest.fixture
def shop(kind: str, tmp_path: Path) -> Iterator[Shop]:
    """The books are not looked at: some tests alter what is stored."""
    with open_shop(kind, tmp_path) as opened:
        yield opened


# -- one stage, two stages ----------------------------------------------------------------------


def test_a_caller_is_told_balance_and_expiry_and_nothing_changes(shop: Shop):
    before = rows(shop.bill.storage)
    caller = shop.bill.authenticate(pin=shop.pin(), ani="+1 (305) 555-1234")
    assert isinstance(caller, Caller)
    assert caller.authenticated
    assert caller.card_id == "B/1"
    assert caller.status is Status.GENERATED
    assert (caller.currency, caller.language) == ("USD", "en")
    assert caller.balance == caller.available == Money(5, USD)
    assert caller.expires_at is None
    assert caller.ani == "+13055551234"
    assert caller.prompt == "You have $5.00."
    assert rows(shop.bill.storage) == before


def test_available_is_told_apart_from_what_is_held(shop: Shop):
    with_mobile = shop.grant(to=UK_MOBILE)
    caller = shop.bill.authenticate(pin=shop.pin())
    assert isinstance(caller, Caller)
    assert caller.balance == Money(5, USD)
    assert caller.available == Money(5, USD) - with_mobile.held
    assert shop.bill.card("B/1").available == caller.available


def test_a_caller_is_told_what_time_has_left_swept_or_not(shop: Shop):
    grant = shop.grant(to=UK_MOBILE)
    early = shop.bill.authenticate(pin=shop.pin(), at=grant.expires_at - timedelta(microseconds=1))
    late = shop.bill.authenticate(pin=shop.pin(), at=grant.expires_at)
    assert isinstance(early, Caller)
    assert isinstance(late, Caller)
    assert early.available == Money(5, USD) - grant.held
    assert late.available == Money(5, USD)
    assert shop.stored().holds  # it was merely looked at


@pytest.mark.parametrize("to", [UK, US, UK_MOBILE, TOLL_FREE])
def test_one_stage_grants_what_two_stages_grant(shop: Shop, to: str):
    caller = shop.bill.authenticate(pin=shop.pin(1), ani="13055551234")
    two = shop.bill.authorize(caller, to=to, call_id="same")
    one = shop.bill.authorize(pin=shop.pin(2), ani="13055551234", to=to, call_id="same")
    assert isinstance(one, Grant)
    assert isinstance(two, Grant)
    assert one.handle != two.handle
    assert one == evolve(two, handle=one.handle)
    assert shop.stored("B/1").holds == shop.stored("B/2").holds


def test_a_grant_says_all_that_a_switch_needs(shop: Shop):
    grant = shop.grant()
    assert grant.number == UK_E164
    assert grant.destination == "United Kingdom"
    assert grant.max_seconds == 83 * 60
    assert grant.max_duration == timedelta(minutes=83)
    assert grant.max_ms == 83 * 60_000
    assert grant.held == Money("4.98", USD)
    assert [route.carrier for route in grant.routes] == ["acme", "beta"]
    assert grant.expires_at == START + timedelta(seconds=180 + 83 * 60 + 300)
    assert grant.prompt == "You can talk for 83 minutes."
    assert not grant.replayed
    assert set(grant.handle) <= set(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    )
    assert shop.bill.card("B/1").open_calls == ("c1",)


def test_a_refused_caller_may_be_handed_on_to_authorize(shop: Shop):
    nobody = shop.bill.authenticate(pin="000000000001")
    assert isinstance(nobody, Denied)
    assert not nobody.authenticated
    assert shop.bill.authorize(nobody, to=UK, call_id="c1") is nobody


def test_a_caller_of_yesterday_is_judged_by_what_is_true_today(shop: Shop):
    caller = shop.bill.authenticate(pin=shop.pin())
    shop.edit("B/1", blocked=True)
    refused = shop.bill.authorize(caller, to=UK, call_id="c1")
    assert isinstance(refused, Denied)
    assert refused.reason is Denial.BLOCKED


@pytest.mark.parametrize(
    "pin",
    [
        "",
        "1",
        "123",
        "1234",
        "123456789012",
        "1234567890123",
        "12345678901\n",
        " 123456789012",
        "\uff11\uff12" * 6,
        "\u00b2" * 12,
        "\ud800" * 12,
        "\x00" * 12,
        "9" * 33,
        "9" * 100_000,
        "' OR 1=1 --",
    ],
)
def test_whatever_a_caller_keys_is_an_answer_and_no_error(shop: Shop, pin: str):
    before = rows(shop.bill.storage)
    for answer in (
        shop.bill.authenticate(pin=pin),
        shop.bill.authorize(pin=pin, to=UK, call_id="c1"),
    ):
        assert isinstance(answer, Denied)
        assert answer.reason is Denial.UNKNOWN_CREDENTIAL
        assert answer.card_id is None
        assert answer.prompt == "The PIN is not valid."
    assert rows(shop.bill.storage) == before


def test_a_pin_near_the_right_one_opens_nothing(shop: Shop):
    pin = shop.pin()
    for wrong in (pin[:-1], pin + "0", "0" + pin, pin + " ", pin[::-1]):
        answer = shop.bill.authenticate(pin=wrong)
        assert not answer.authenticated


def test_a_credential_that_the_card_does_not_list_opens_nothing(shop: Shop):
    pin, caller = shop.pin(), shop.bill.authenticate(pin=shop.pin())
    held = shop.grant("open")
    shop.edit("B/1", credentials=[])
    answers = (
        shop.bill.authenticate(pin=pin),
        shop.bill.authorize(pin=pin, to=UK, call_id="c1"),
        shop.bill.authorize(caller, to=UK, call_id="c1"),
        shop.bill.authorize(caller, to=UK, call_id="open"),
    )
    for answer in answers:
        assert isinstance(answer, Denied)
        assert answer.reason is Denial.UNKNOWN_CREDENTIAL
    assert shop.bill.settle(held.handle, talk_ms=1).seconds == 1


@pytest.mark.parametrize("ani", [None, "", "anonymous", "'; DROP TABLE card; --", "+", 5, 1.5])
def test_what_is_no_callers_number_is_left_out(shop: Shop, ani: Any):
    caller = shop.bill.authenticate(pin=shop.pin(), ani=ani)
    assert isinstance(caller, Caller)
    assert caller.ani is None
    assert shop.bill.authorize(caller, to=UK, call_id="c1").granted


# -- the same request again ---------------------------------------------------------------------


def test_the_same_request_again_is_the_same_grant(shop: Shop):
    first = shop.grant()
    before = rows(shop.bill.storage)
    shop.clock.tick(minutes=5)
    again = shop.grant()
    assert again == first
    assert again.replayed
    assert not first.replayed
    caller = shop.bill.authenticate(pin=shop.pin())
    assert shop.bill.authorize(caller, to="+44 20 7123-4567", call_id="c1") == first
    assert rows(shop.bill.storage) == before


def test_the_same_call_id_with_another_number_is_refused(shop: Shop):
    shop.grant()
    before = rows(shop.bill.storage)
    for to in (UK_MOBILE, UNRATED, INVALID, "not a number"):
        with pytest.raises(IdempotencyMismatch) as refused:
            shop.ask(to=to)
        assert refused.value.fields == ("to",)
        assert refused.value.key == "c1"
    assert rows(shop.bill.storage) == before


@pytest.mark.parametrize("how", ["settled", "cancelled", "expired", "unauthorised"])
def test_a_call_that_has_ended_is_not_granted_again(shop: Shop, how: str):
    handle = shop.grant().handle if how != "unauthorised" else ""
    if how == "settled":
        shop.bill.settle(handle, talk_ms=1_000)
    elif how == "cancelled":
        shop.bill.cancel(handle)
    elif how == "expired":
        shop.clock.tick(days=2)
    else:
        other = shop.grant("c0", serial=1)
        shop.bill.cancel(other.handle)
        shop.bill.settle(cardbill.calls.make_handle("B/1", "c1"), talk_ms=5)
    before = rows(shop.bill.storage)
    for to in (UK, UK_MOBILE, INVALID):
        with pytest.raises(CallEnded) as ended:
            shop.ask(to=to)
        assert (ended.value.call_id, ended.value.outcome) == ("c1", how)
    assert rows(shop.bill.storage) == before


def test_a_call_id_belongs_to_its_card(shop: Shop):
    first, second = shop.grant("same", serial=1), shop.grant("same", serial=2)
    assert first.handle != second.handle
    shop.bill.settle(first.handle, talk_ms=60_000)
    assert shop.bill.card("B/2").open_calls == ("same",)
    assert shop.bill.settle(second.handle, talk_ms=120_000).seconds == 120
    assert len(shop.bill.storage.calls_by_id("same")) == 2


def test_a_denial_is_not_remembered(shop: Shop):
    assert shop.denied("c1", to=UNROUTED) == "no_route"
    shop.bill.decks.publish("beta-cost", deck("prefix,rate\n33,0.01\n"))
    assert shop.grant("c1", to=UNROUTED).granted
