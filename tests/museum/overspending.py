"""B: more spent than there is."""

from __future__ import annotations

import sqlite3
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from moneyed import USD, Money

import cardbill
from cardbill import (
    Batch,
    Denied,
    Keyring,
    Package,
    authorization,
    charging,
    rating,
    reach,
    settling,
)
from cardbill.callterms import CallTerms
from cardbill.cards import Card
from cardbill.charges import Charge
from cardbill.denials import Denial
from cardbill.errors import ConstraintViolated
from cardbill.holds import Hold
from cardbill.keyring import ANI
from cardbill.operations import Operation
from cardbill.rating import Limit
from cardbill.reach import CallRequest
from cardbill.storage import checks
from cardbill.tariffs import Tariff
from tests.building import UK, UK_MINUTE, US, Shop, open_shop
from tests.museum.exhibits import Section, patched
from tests.museum.stores import (
    locks_the_latest_entry,
    postgresql_checks_nothing,
    reads_and_later_writes,
    saves_the_form_as_it_was_opened,
    sqlite_checks_nothing,
)
from tests.postgres_server import database
from tests.test_races import crowd, said

SECTION = Section("Overspending and negative balances")
CALLER = "+13055550199"
WHY: dict[str, Any] = {"actor": "kim", "reason": "asked for"}
ONE_MINUTE: dict[str, Any] = {"max_call_seconds": 60}


def nothing_held(terms: CallTerms, *_: Any) -> tuple[int, CallTerms]:
    return 0, terms


# -- how they are rebuilt ------------------------------------------------------------------------


def holds_nothing() -> AbstractContextManager[None]:
    return patched((Card, "held", 0))


def limits_no_call() -> AbstractContextManager[None]:
    def longest(self: CallTerms, available: int, cap: int | None, at: Any) -> Limit:
        return Limit(cap, by_money=False)

    return patched((CallTerms, "longest", longest), (authorization, "held_for", nothing_held))


def spends_what_is_held() -> AbstractContextManager[None]:
    return patched((Card, "available", property(lambda self: self.balance)))


def authorizes_second_by_second() -> AbstractContextManager[None]:
    def affordable(rate: rating.Rate, available: int) -> int:
        return available * 60 // rate.steps[0].price_per_minute

    return patched((rating, "_affordable", affordable), (authorization, "held_for", nothing_held))


def charges_package_time() -> AbstractContextManager[None]:
    return patched((CallTerms, "rating", property(lambda self: self.tariff)))


def allows_negative_balances() -> AbstractContextManager[None]:
    endless = property(lambda self: 10**12)
    return patched((Card, "available", endless), (checks, "check_card", lambda card: None))


def grants_calls_of_no_length() -> AbstractContextManager[None]:
    real = authorization.unusable

    def unusable(*arguments: Any) -> Denied | None:
        denied = real(*arguments)
        return None if denied and denied.reason is Denial.EXHAUSTED else denied

    return patched(
        (Tariff, "unbilled_seconds", lambda self, at: -1), (authorization, "unusable", unusable)
    )


def debits_events_unasked() -> AbstractContextManager[None]:
    def take(
        card: Card, charge: Charge, amount: int, rules: Any, at: Any, reference: str, *_: Any
    ) -> bool:
        charging.post(card, charging.lines(charge, amount, rules), at, reference)
        return True

    return patched((charging, "take", take))


def trusts_callers_by_number() -> AbstractContextManager[None]:
    real = authorization._decide

    def decide(card: Card, request: CallRequest, *rest: Any) -> Any:
        if request.credentials[0][0] != ANI:
            return real(card, request, *rest)
        card.balance += 10_000_000
        answer = real(card, request, *rest)
        card.balance -= 10_000_000
        card.holds = {call: evolve(hold, amount=0) for call, hold in card.holds.items()}
        return answer

    return patched((authorization, "_decide", decide))


def renews_without_money() -> AbstractContextManager[None]:
    def renewed(hold: Hold, *_: Any) -> Hold:
        assert hold.slice_seconds is not None
        return evolve(hold, max_seconds=hold.used_seconds + hold.slice_seconds)

    return patched((settling, "renewed", renewed))


def counts_no_calls() -> AbstractContextManager[None]:
    real = reach.plan_of

    def plan_of(*arguments: Any) -> Any:
        plan, version = real(*arguments)
        return evolve(plan, calls_at_once=100), version

    return patched((reach, "plan_of", plan_of))


# -- the defects ---------------------------------------------------------------------------------


@SECTION.defect(
    18, "MagnusBilling, magnusbilling#38",
    "Thirty calls at once all pass on the credit for one, as nothing is reserved.",
    holds_nothing, reads_and_later_writes,
)  # fmt: skip
def of_thirty_calls_at_once_the_money_for_one_grants_one(folder: Path) -> None:
    plan = {"calls_at_once": 100, **ONE_MINUTE}
    with open_shop("sqlite", folder, face=Money("0.06", USD), plan=plan) as shop:
        pin = shop.pin()
        with crowd(30) as many:
            answers = many.rush(
                lambda number: shop.bill.authorize(pin=pin, to=UK, call_id=f"c{number}")
            )
        assert said(answers) == {"Grant": 1, "insufficient_balance": 29}


@SECTION.defect(
    19, "MagnusBilling, magnusbilling#526 and #343",
    "Credit is looked at only when a call begins: money for two minutes talks for ten.",
    limits_no_call,
)  # fmt: skip
def a_grant_says_how_long_and_no_more_is_charged(folder: Path) -> None:
    with open_shop("memory", folder, face=Money("0.12", USD)) as shop:
        grant = shop.grant()
        assert grant.max_seconds == 120
        record = shop.bill.settle(grant.handle, talk_ms=600_000)
        assert (record.price_units, record.uncollected_units) == (2 * UK_MINUTE, 8 * UK_MINUTE)


@SECTION.defect(
    20, "ASTPP, ASTPP#145",
    "The balance is transferred away while a call lasts, which then talks for nothing.",
    spends_what_is_held, error=ConstraintViolated,
)  # fmt: skip
def what_a_call_holds_cannot_be_taken_away(folder: Path) -> None:
    with open_shop("memory", folder, plan={"max_call_seconds": 3_000}) as shop:
        shop.bill.cancel(shop.grant(serial=2).handle)
        shop.grant()  # 3.00 of 5.00
        accounts = shop.bill.accounts
        for take in (accounts.refund, accounts.write_off):
            assert isinstance(take("B/1", Money("2.01", USD), key="k", **WHY), Denied)
        sent = accounts.transfer("B/1", to="B/2", key="t")
        assert isinstance(sent, Operation)
        assert sent.amount_units == 2_000_000
        assert shop.stored().available == 0


@SECTION.defect(
    21, "A2Billing, a2billing#22",
    "Credit for 15 seconds is granted although the first block is a minute: it ends below zero.",
    authorizes_second_by_second,
)  # fmt: skip
def a_call_is_granted_only_if_its_first_block_fits(folder: Path) -> None:
    with open_shop("memory", folder, face=Money("0.05", USD)) as shop:
        assert shop.denied() == "insufficient_balance"


@SECTION.defect(
    22, "A2Billing, a2billing#26",
    "Seconds that a package gives are charged as well, down to a negative balance.",
    charges_package_time,
)  # fmt: skip
def free_and_paid_seconds_make_up_the_call(folder: Path) -> None:
    with open_shop("memory", folder, plan={"packages": [Package(name="P", seconds=300)]}) as shop:
        record = shop.bill.settle(shop.grant().handle, talk_ms=360_000)
        (draw,) = record.draws
        assert (draw.units, record.seconds, record.price_units) == (300, 360, UK_MINUTE)


@SECTION.defect(
    23, "CGRateS, cgrates#568",
    "A debit takes an account below zero although its flag forbids it.",
    allows_negative_balances, error=ConstraintViolated,
)  # fmt: skip
def no_debit_takes_more_than_there_is(folder: Path) -> None:
    with open_shop("sqlite", folder) as shop:
        shop.bill.cancel(shop.grant().handle)
        answer = shop.bill.accounts.refund("B/1", Money(6, USD), key="r", **WHY)
        assert isinstance(answer, Denied)
        assert shop.stored().balance == 5_000_000


@SECTION.defect(
    24, "CGRateS, cgrates#457",
    "A call is authorized at a balance of zero, and only the debit finds out.",
    grants_calls_of_no_length,
)  # fmt: skip
def an_empty_card_calls_nobody_who_costs(folder: Path) -> None:
    with open_shop("memory", folder, face=Money("0.07", USD)) as shop:
        shop.bill.settle(shop.grant("c1").handle, talk_ms=60_000)
        assert shop.denied("c2") == "insufficient_balance"
        shop.bill.settle(shop.grant("c3", to=US).handle, talk_ms=50_000)
        assert shop.stored().balance == 0
        assert shop.denied("c4") == "exhausted"


@SECTION.defect(
    25, "CGRateS, cgrates#350",
    "Messages are debited without asking, so that they always pass.",
    debits_events_unasked, error=ConstraintViolated,
)  # fmt: skip
def an_event_asks_for_its_money_as_a_call_does(folder: Path) -> None:
    message = Charge(name="message", trigger="manual", amount=Money("0.05", USD))
    plan = {"charges": [message], **ONE_MINUTE}
    with open_shop("memory", folder, face=Money("0.10", USD), plan=plan) as shop:
        shop.grant()  # holds 0.06
        answer = shop.bill.accounts.charge("B/1", "message", key="m1", **WHY)
        assert isinstance(answer, Denied)
        assert shop.stored().available == 40_000


@SECTION.defect(
    26, "ASTPP, ASTPP#476",
    "Calls that come in one of the ways pass at a zero or negative balance.",
    trusts_callers_by_number,
)  # fmt: skip
def every_way_in_asks_for_the_money(folder: Path) -> None:
    plan = {"ani_limit": 1}
    with open_shop("memory", folder, face=Money("0.07", USD), plan=plan) as shop:
        shop.bill.callers.register("B/1", CALLER, confirm=True)
        shop.bill.settle(shop.grant().handle, talk_ms=60_000)
        ways: list[dict[str, Any]] = [{"pin": shop.pin()}, {"ani": CALLER}]
        for number, way in enumerate(ways):
            caller = shop.bill.authenticate(**way)
            two_stage = shop.bill.authorize(caller, to=UK, call_id=f"two-{number}")
            one_stage = shop.bill.authorize(**way, to=UK, call_id=f"one-{number}")
            assert said([two_stage, one_stage]) == {"insufficient_balance": 2}


@SECTION.defect(
    27, "Kazoo, kazoo#1809",
    "Calls go on when the credit has ended, as nobody cuts them.",
    renews_without_money,
)  # fmt: skip
def renewals_end_with_the_money(folder: Path) -> None:
    with open_shop("memory", folder, face=Money("0.18", USD), plan={"slice_seconds": 60}) as shop:
        grant = shop.grant()
        for number, told in ((1, 120), (2, 180), (3, None)):
            answer = shop.bill.extend(grant.handle, used_seconds=60 * number, number=number)
            assert (answer.max_seconds if answer.granted else None) == told


@SECTION.defect(
    28, "Lago, lago-api#4985",
    "Nothing in the database keeps a balance from being negative.",
    sqlite_checks_nothing, postgresql_checks_nothing,
)  # fmt: skip
def the_tables_themselves_refuse_a_negative_balance(folder: Path) -> None:
    import psycopg

    overdraw = "UPDATE {}card SET balance = -1"
    with (
        open_shop("sqlite", folder),
        closing(sqlite3.connect(folder / "cards.db")) as raw,
        pytest.raises(sqlite3.IntegrityError),
    ):
        raw.execute(overdraw.format(""))
    address = database(empty=True)
    with cardbill.open(address, keyring=Keyring.generate()) as bill:
        bill.batches.create(Batch(name="B", face_value=Money(5, USD), quantity=1))
        bill.batches.generate_pins("B")
    with psycopg.connect(address) as raw, pytest.raises(psycopg.errors.CheckViolation):
        raw.execute(overdraw.format("cardbill."))


def _eight_refunds(shop: Shop) -> None:
    shop.bill.cancel(shop.grant().handle)
    with crowd(8) as many:
        many.rush(
            lambda number: shop.bill.accounts.refund(
                "B/1", Money("0.10", USD), key=f"r{number}", **WHY
            )
        )
    assert shop.stored().balance == 5_000_000 - 8 * 100_000
    shop.check_books()


@SECTION.defect(
    29, "laravel-wallet, bavix/laravel-wallet#124",
    "The balance is read before the lock is taken, and two debits leave the result of one.",
    reads_and_later_writes,
)  # fmt: skip
def of_eight_debits_at_once_none_is_lost(folder: Path) -> None:
    with open_shop("sqlite", folder) as shop:
        _eight_refunds(shop)


@SECTION.defect(
    30, "laravel-credits, Climactic/laravel-credits#20",
    "A lock on the newest ledger row excludes nobody, and updates are lost without a word.",
    locks_the_latest_entry,
)  # fmt: skip
def of_eight_debits_on_postgresql_none_is_lost(folder: Path) -> None:
    with open_shop("postgres", folder) as shop:
        _eight_refunds(shop)


@SECTION.defect(
    31, "ASTPP, ASTPP PR#168",
    "An operator saves a form that was open during a call, and the old balance comes back.",
    saves_the_form_as_it_was_opened,
)  # fmt: skip
def what_an_operator_changes_keeps_the_balance(folder: Path) -> None:
    with open_shop("memory", folder) as shop:
        grant = shop.grant()
        shop.bill.card("B/1")  # the form is opened
        shop.bill.settle(grant.handle, talk_ms=60_000)
        shop.bill.control.block("B/1", **WHY)
        assert shop.stored().balance == 5_000_000 - UK_MINUTE
        shop.check_books()


@SECTION.defect(
    32, "A2Billing, its functions callingcard_ivr_authenticate and callingcard_acct_start_inuse",
    "Card in use and credit are read first and written later: two calls at once both pass.",
    reads_and_later_writes,
)  # fmt: skip
def of_two_calls_at_once_a_card_for_one_takes_one(folder: Path) -> None:
    with open_shop("sqlite", folder, plan=ONE_MINUTE) as shop, crowd(2) as both:
        for serial in (1, 2, 3):
            pin = shop.pin(serial)
            answers = both.rush(
                lambda number, pin=pin: shop.bill.authorize(pin=pin, to=UK, call_id=f"c{number}")
            )
            assert said(answers) == {"Grant": 1, "too_many_calls": 1}


@SECTION.defect(
    33, "CGRateS, cgrates#954",
    "A limit of one call does not stop the second one.",
    counts_no_calls,
)  # fmt: skip
def the_limit_of_calls_at_once_is_kept_where_money_is_held(folder: Path) -> None:
    with open_shop("memory", folder, plan=ONE_MINUTE) as shop:
        first = shop.grant("c1")
        assert shop.denied("c2") == "too_many_calls"
        shop.bill.settle(first.handle, talk_ms=0)
        shop.grant("c3")
