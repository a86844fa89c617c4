"""A: calls charged twice, or never; events that come twice, late or out of order."""

from __future__ import annotations

from contextlib import AbstractContextManager, suppress
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from moneyed import USD, Money

from cardbill import (
    CallRecord,
    Grant,
    Outcome,
    accounting,
    authorization,
    callflow,
    cards,
    passing,
    settling,
)
from cardbill.calls import make_handle
from cardbill.cards import Card
from cardbill.endings import settled
from cardbill.errors import CallEnded, StorageError, StorageUnavailable, UnknownCall
from cardbill.ledger import EntryKind
from tests.building import LIFETIME, START, UK, UK_MINUTE, US, Shop, open_shop
from tests.museum.exhibits import Section, patched, told_of_nothing_before
from tests.museum.stores import (
    answers_lost,
    claims_before_it_writes,
    keyed_by_nothing,
    loses_records,
    reads_and_later_writes,
    refusing,
    writes_records_last,
)
from tests.test_races import crowd

SECTION = Section("Double and lost charges")
SLICED: dict[str, Any] = {"slice_seconds": 60, "unauthorised_calls": "charge"}


def charged(shop: Shop, card_id: str = "B/1") -> int:
    """What calls have taken from a card, by its ledger."""
    return -sum(amount for kind, amount, _ in shop.ledger(card_id) if kind == "call")


def reported_then_swept(shop: Shop) -> Grant:
    """A call that was reported while it lasted, whose end nobody told in time."""
    grant = shop.grant()
    shop.bill.extend(grant.handle, used_seconds=60, number=1)
    shop.clock.now += LIFETIME
    shop.bill.sweep()
    return grant


# -- how they are rebuilt ------------------------------------------------------------------------


def debits_before_it_looks() -> AbstractContextManager[None]:
    real = settling.settle

    def settle(card: Card, *arguments: Any) -> CallRecord:
        answer = real(card, *arguments)
        if answer.replayed:
            card.post(EntryKind.CALL, -answer.price_units, answer.ended_at, answer.call_id)
        return answer

    return patched((settling, "settle", settle))


def each_way_has_its_own_key() -> AbstractContextManager[None]:
    return patched((callflow, "call_key", lambda call_id: f"cdr:{call_id}"))


def rates_anew_what_was_posted() -> AbstractContextManager[None]:
    real = Card.settle_late

    def settle_late(self: Card, record: CallRecord, *arguments: Any) -> CallRecord:
        return real(self, evolve(record, price_units=0, lines=()), *arguments)

    return patched((Card, "settle_late", settle_late))


def knows_no_call_that_was_reaped() -> AbstractContextManager[None]:
    real = settling.settle

    def settle(card: Card, record: CallRecord | None, call_id: str, *rest: Any) -> CallRecord:
        if record is not None and record.outcome is Outcome.EXPIRED:
            raise CallEnded(call_id, record.outcome.value)
        return real(card, record, call_id, *rest)

    return patched((settling, "settle", settle))


def drops_unknown_calls() -> AbstractContextManager[None]:
    def unknown(card: Card, call_id: str, *_: Any) -> CallRecord:
        raise UnknownCall(call_id, suspended=False)

    return patched((settling, "_unauthorised", unknown))


def forgets_that_a_call_ended() -> AbstractContextManager[None]:
    return told_of_nothing_before(authorization, "authorize")


def keyed_by_the_event() -> AbstractContextManager[None]:
    real = authorization.authorize

    def authorize(card: Card, record: CallRecord | None, request: Any, *rest: Any) -> Any:
        if request.call_id in card.holds:
            request = evolve(request, call_id=f"{request.call_id}-{len(card.holds)}")
        return real(card, record, request, *rest)

    return patched((authorization, "authorize", authorize))


def never_reaps() -> AbstractContextManager[None]:
    real = passing._events

    def events(*arguments: Any) -> Any:
        return (event for event in real(*arguments) if event.rank > 0)

    return patched((passing, "_events", events))


def does_not_look_for_the_key() -> AbstractContextManager[None]:
    return told_of_nothing_before(accounting, "operate")


def reaps_without_a_record() -> AbstractContextManager[None]:
    real = Card.expire

    def expire(self: Card, call_id: str) -> CallRecord:
        record = real(self, call_id)
        self.records.remove(record)
        return record

    return patched((Card, "expire", expire))


def makes_good_what_was_posted() -> AbstractContextManager[None]:
    def corrected(*arguments: Any, **options: Any) -> CallRecord:
        answer = settled(*arguments, **options)
        assert answer.hold is not None
        return evolve(answer, price_units=answer.hold.bill(answer.seconds, None, first=False).total)

    return patched((cards, "settled", corrected))


# -- the defects ---------------------------------------------------------------------------------


@SECTION.defect(
    1, "CGRateS, cgrates#243",
    "A call record that the store refuses as a duplicate is debited all the same.",
    debits_before_it_looks,
)  # fmt: skip
def a_report_that_comes_again_takes_nothing(folder: Path) -> None:
    with open_shop("sqlite", folder) as shop:
        grant = shop.grant()
        for _ in range(4):
            shop.bill.settle(grant.handle, talk_ms=60_000)
        assert charged(shop) == UK_MINUTE
        assert shop.stored().balance == 5_000_000 - UK_MINUTE


@SECTION.defect(
    2, "CGRateS, cgrates#195",
    "Debit and duplicate check are not one transaction, so that a repeated record is debited.",
    loses_records,
)  # fmt: skip
def debit_and_record_are_one_commit(folder: Path) -> None:
    with open_shop("memory", folder, plan={"unauthorised_calls": "charge"}) as shop:
        grant = shop.grant()
        for _ in range(2):
            shop.bill.settle(grant.handle, talk_ms=60_000, to=UK)
        assert charged(shop) == UK_MINUTE


@SECTION.defect(
    3, "CGRateS, cgrates#256",
    "Two ways of reporting the same usage share no key, and each of them charges it.",
    each_way_has_its_own_key,
)  # fmt: skip
def a_call_is_charged_once_whatever_way_it_is_told(folder: Path) -> None:
    with open_shop("memory", folder, plan=SLICED) as shop:
        grant = reported_then_swept(shop)
        shop.bill.settle(grant.handle, talk_ms=60_000, to=UK)
        assert charged(shop) == UK_MINUTE


@SECTION.defect(
    4, "ivozprovider, ivozprovider#703",
    "A prepaid call is charged while it lasts, and once more as a whole by its call record.",
    rates_anew_what_was_posted,
)  # fmt: skip
def the_end_of_a_call_charges_only_what_is_missing(folder: Path) -> None:
    with open_shop("memory", folder, plan=SLICED) as shop:
        grant = reported_then_swept(shop)
        shop.bill.settle(grant.handle, talk_ms=120_000)
        assert charged(shop) == 2 * UK_MINUTE


@SECTION.defect(
    5, "CGRateS, cgrates#1120",
    "The sync of lost channels and the hang-up both end a call, and the second one fails.",
    knows_no_call_that_was_reaped, error=CallEnded,
)  # fmt: skip
def sweep_and_hang_up_end_a_call_once_in_either_order(folder: Path) -> None:
    for swept_first in (True, False):
        with open_shop("memory", folder) as shop:
            grant = shop.grant()
            if swept_first:
                shop.bill.sweep(at=grant.expires_at)
            record = shop.bill.settle(grant.handle, talk_ms=60_000, at=grant.expires_at)
            shop.bill.sweep(at=grant.expires_at)
            assert shop.records() == [record]
            assert charged(shop) == UK_MINUTE


@SECTION.defect(
    6, "CGRateS, cgrates#895",
    "The end of a call whose beginning was never seen is an error, and what it took is lost.",
    drops_unknown_calls, error=UnknownCall,
)  # fmt: skip
def events_in_any_order_leave_one_record_and_one_charge(folder: Path) -> None:
    orders = list(permutations(("authorize", "extend", "settle")))
    with open_shop("memory", folder, quantity=len(orders), plan=SLICED) as shop:
        for serial, order in enumerate(orders, start=1):
            handle = make_handle(f"B/{serial}", "c1")
            for event in order:
                if event == "settle":
                    shop.bill.settle(handle, talk_ms=60_000, to=UK)
                    continue
                with suppress(CallEnded, UnknownCall):
                    if event == "authorize":
                        shop.ask(serial=serial)
                    else:
                        shop.bill.extend(handle, used_seconds=30, number=1)
            (record,) = shop.records(f"B/{serial}")
            assert record.report is not None, order
            assert charged(shop, f"B/{serial}") == UK_MINUTE, order
        shop.check_books()


@SECTION.defect(
    7, "CGRateS, cgrates#2220",
    "The charging of a call begins after its hang-up, and goes on without a call.",
    forgets_that_a_call_ended,
)  # fmt: skip
def nothing_is_granted_to_a_call_that_has_ended(folder: Path) -> None:
    with open_shop("memory", folder, plan={"unreported_calls": "charge"}) as shop:
        shop.bill.cancel(make_handle("B/1", "c1"))
        with pytest.raises(CallEnded):
            shop.ask()
        assert shop.bill.sweep(at=START + LIFETIME).calls_expired == 0
        assert charged(shop) == 0


@SECTION.defect(
    8, "Kamailio cnxcc, kamailio#2383",
    "A second INVITE of one call becomes a second call that takes credit until all are cut.",
    keyed_by_the_event,
)  # fmt: skip
def asking_again_for_a_call_holds_nothing_more(folder: Path) -> None:
    with open_shop("memory", folder, plan={"calls_at_once": 5, "max_call_seconds": 60}) as shop:
        first, again = shop.grant(), shop.grant()
        assert (again.handle, again.replayed) == (first.handle, True)
        assert (shop.stored().held, len(shop.stored().holds)) == (UK_MINUTE, 1)


@SECTION.defect(
    9, "FreeRADIUS, FreeRADIUS#1871",
    "After its restart a switch uses session ids again, and new calls overwrite old ones.",
    forgets_that_a_call_ended,
)  # fmt: skip
def a_call_id_used_again_overwrites_no_record(folder: Path) -> None:
    with open_shop("memory", folder) as shop:
        shop.bill.settle(shop.grant().handle, talk_ms=60_000)
        with suppress(CallEnded):
            shop.bill.settle(shop.grant(to=US).handle, talk_ms=60_000)
        assert sum(record.total_units for record in shop.records()) == charged(shop)


@SECTION.defect(
    10, "PacketFence, packetfence#3753",
    "Nothing is unique about a Stop, and one that is sent again is stored again.",
    keyed_by_nothing,
)  # fmt: skip
def a_stop_that_is_sent_again_leaves_one_record(folder: Path) -> None:
    with open_shop("sqlite", folder) as shop:
        grant = shop.grant()
        for _ in range(3):
            shop.bill.settle(grant.handle, talk_ms=60_000)
        assert len(shop.records()) == 1


@SECTION.defect(
    11, "PacketFence, packetfence#1388",
    "A session whose Stop gets lost stays open for ever.",
    never_reaps,
)  # fmt: skip
def a_call_without_an_end_makes_way_in_time(folder: Path) -> None:
    with open_shop("memory", folder) as shop:
        shop.clock.now = shop.grant("lost").expires_at
        shop.grant("next")
        assert [record.outcome for record in shop.records()] == [Outcome.EXPIRED]


@SECTION.defect(
    12, "Kill Bill, killbill#1015",
    "A payment whose outcome is unknown is tried again, and both turn out to have worked.",
    does_not_look_for_the_key,
)  # fmt: skip
def a_recharge_whose_answer_was_lost_can_be_asked_for_again(folder: Path) -> None:
    with open_shop("memory", folder) as shop:
        shop.bill.cancel(shop.grant().handle)
        with answers_lost(shop), pytest.raises(StorageUnavailable):
            shop.bill.accounts.recharge("B/1", Money(5, USD), key="payment-1")
        shop.bill.accounts.recharge("B/1", Money(5, USD), key="payment-1")
        assert shop.stored().balance == 10_000_000


@SECTION.defect(
    13, "Lago, lago-api#3618",
    "Two workers settle one wallet transaction within milliseconds, as neither swaps its status.",
    reads_and_later_writes,
)  # fmt: skip
def one_recharge_from_eight_threads_is_posted_once(folder: Path) -> None:
    with open_shop("sqlite", folder) as shop, crowd(8) as many:
        shop.bill.cancel(shop.grant().handle)
        answers = many.rush(
            lambda _: shop.bill.accounts.recharge("B/1", Money(5, USD), key="payment-1")
        )
        assert [answer.replayed for answer in answers].count(False) == 1
        assert shop.stored().balance == 10_000_000


@SECTION.defect(
    14, "OpenMeter, openmeter#5118",
    "The key is claimed before the write; the write fails, and the retry says it was done.",
    claims_before_it_writes,
)  # fmt: skip
def a_key_is_claimed_only_with_its_effect(folder: Path) -> None:
    with open_shop("sqlite", folder) as shop:
        shop.bill.cancel(shop.grant().handle)
        with refusing(shop, "entry"), pytest.raises(StorageError):
            shop.bill.accounts.recharge("B/1", Money(5, USD), key="payment-1")
        shop.bill.accounts.recharge("B/1", Money(5, USD), key="payment-1")
        assert shop.stored().balance == 10_000_000


@SECTION.defect(
    15, "MagnusBilling, magnusbilling#296",
    "The balance falls and there is no call record: two writes without a transaction.",
    writes_records_last,
)  # fmt: skip
def a_call_without_a_record_has_cost_nothing(folder: Path) -> None:
    with open_shop("sqlite", folder) as shop:
        grant = shop.grant()
        with refusing(shop, "record"), pytest.raises(StorageError):
            shop.bill.settle(grant.handle, talk_ms=60_000)
        assert charged(shop) == 0
        shop.bill.settle(grant.handle, talk_ms=60_000)
        assert charged(shop) == sum(record.total_units for record in shop.records())


@SECTION.defect(
    16, "OpenSIPS with CGRateS, OpenSIPS#2656",
    "Calls that were answered leave no call record, as an event got lost.",
    reaps_without_a_record,
)  # fmt: skip
def every_grant_is_explained_by_a_record(folder: Path) -> None:
    with open_shop("memory", folder, plan={"calls_at_once": 3, "max_call_seconds": 60}) as shop:
        shop.bill.settle(shop.grant("settled").handle, talk_ms=60_000)
        shop.bill.cancel(shop.grant("cancelled").handle)
        shop.grant("expired")
        shop.bill.sweep(at=START + LIFETIME)
        told = {record.call_id: record.outcome.value for record in shop.records()}
        assert told == {name: name for name in ("settled", "cancelled", "expired")}


@SECTION.defect(
    17, "CGRateS, cgrates#2450",
    "Under load a correction adds units to an account that should lose some.",
    makes_good_what_was_posted,
)  # fmt: skip
def no_report_puts_money_on_a_card(folder: Path) -> None:
    plan = {"unreported_calls": "charge", "max_call_seconds": 120}
    with open_shop("memory", folder, plan=plan) as shop:
        grant = shop.grant()
        shop.bill.sweep(at=START + LIFETIME)
        shop.bill.settle(grant.handle, talk_ms=60_000, at=START + LIFETIME)
        assert [amount for kind, amount, _ in shop.ledger() if kind == "call"] == [-2 * UK_MINUTE]
