"""The auditor finds what was done to the books behind the engine's back."""

import random
import sqlite3
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from moneyed import USD, Money

import cardbill
from cardbill import Batch
from cardbill.audit import audit
from cardbill.calls import make_handle
from cardbill.errors import CardbillError, RowUnreadable, StorageError, UnknownCall
from tests.building import (
    EVERY_STORE,
    LIFETIME,
    START,
    UK,
    UK_MINUTE,
    UK_MOBILE,
    UNROUTED,
    US,
    Shop,
    open_shop,
    rows,
)


def fill(shop: Shop) -> None:
    """Make cards of every kind: 1 and 6 unused, 2 talking, 3 and 4 with calls, 5 expired."""
    shop.grant("lost", serial=2)
    shop.bill.settle(shop.grant("a", serial=3).handle, talk_ms=61_000, carrier="acme")
    shop.bill.settle(shop.grant("b", serial=3).handle, talk_ms=0, carrier="acme")
    shop.bill.cancel(shop.grant("c", serial=3).handle)
    shop.bill.settle(shop.grant("a", serial=4).handle, talk_ms=301_000, carrier="beta")
    shop.bill.batches.create(
        Batch(
            name="S",
            face_value=Money(1, USD),
            quantity=1,
            plan="Basic",
            expires_days_after_first_use=0,
        )
    )
    shop.bill.batches.generate_pins("S")
    shop.bill.settle(shop.grant("x", batch="S").handle, talk_ms=60_000, carrier="acme")
    shop.bill.sweep(at=START + timedelta(days=1))
    shop.grant("open", serial=2, at=START + timedelta(days=1))  # the one before had expired


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Shop]:
    with open_shop("sqlite", tmp_path, quantity=6) as shop:
        fill(shop)
        shop.check_books()
        yield shop


def tamper(shop: Shop, *statements: str) -> None:
    """Change the file as somebody with the database, and no key, could."""
    connection = sqlite3.connect(shop.folder / "cards.db")
    with connection:
        for statement in statements:
            assert connection.execute(statement).rowcount, statement
    connection.close()


def test_what_was_not_touched_is_clean(books: Shop):
    before = rows(books.bill.storage)
    report = books.bill.audit()
    assert report.clean
    assert (report.cards, report.problems) == (7, [])
    assert report.entries == sum(len(list(books.bill.entries(card.id))) for card in cards(books))
    assert report.records == len(list(books.bill.records())) == 6
    assert report.face_units == Counter(USD=31_000_000)
    assert report.calls_units == Counter(USD=(2 + 6 + 1) * UK_MINUTE)
    assert report.breakage_units == Counter(USD=940_000)
    assert report.balance_units == Counter(USD=31_000_000 - 9 * UK_MINUTE - 940_000)
    assert rows(books.bill.storage) == before


def cards(shop: Shop) -> list[Any]:
    storage = shop.bill.storage
    return [*storage.find_cards("B"), *storage.find_cards("S")]


def test_two_currencies_are_added_up_apart(tmp_path: Path):
    from moneyed import JPY

    with open_shop("memory", tmp_path) as shop:
        shop.bill.batches.create(Batch(name="J", face_value=Money(100, JPY), quantity=2))
        shop.bill.batches.generate_pins("J")
        report = shop.bill.audit()
        assert report.face_units == Counter(USD=15_000_000, JPY=200_000_000)
        assert report.clean


def state(card: str) -> str:
    """The state of another card, in SQL."""
    return f"(SELECT state FROM card WHERE id = '{card}')"


def edited(*changes: tuple[str, str]) -> str:
    """The card's own state with texts replaced, in SQL."""
    text = "CAST(state AS TEXT)"
    for before, after in changes:
        text = f"replace({text}, '{before}', '{after}')"
    return f"CAST({text} AS BLOB)"


CALL_A = "WHERE card = 'B/3' AND call = 'a'"  # a minute and a second, 0.12 by acme
CALL_B = "WHERE card = 'B/3' AND call = 'b'"  # not answered
CHARGE_A = "WHERE card = 'B/3' AND kind = 'call'"
CHEAPER = f"UPDATE entry SET amount = amount + 10, balance_after = balance_after + 10 {CHARGE_A}"
USED = 1_741_003_200_000_000  # microseconds since 1970
SEEN = {
    # Money and holds on the card.
    "balance raised": ["UPDATE card SET balance = balance + 1 WHERE id = 'B/3'"],
    "balance lowered": ["UPDATE card SET balance = balance - 1 WHERE id = 'B/3'"],
    "balance of an unused card raised": ["UPDATE card SET balance = 9000000 WHERE id = 'B/1'"],
    "hold forgotten": ["UPDATE card SET held = 0 WHERE id = 'B/2'"],
    "hold invented": ["UPDATE card SET held = 5 WHERE id = 'B/3'"],
    "state of another used card": [f"UPDATE card SET state = {state('B/4')} WHERE id = 'B/3'"],
    "state of an unused card": [f"UPDATE card SET state = {state('B/1')} WHERE id = 'B/3'"],
    "used card made new again": [
        f"UPDATE card SET state = {state('B/1')} WHERE id = 'B/3'",
        "UPDATE card SET balance = 5000000, first_used_at = NULL WHERE id = 'B/3'",
    ],
    "face in the state": [
        f"""UPDATE card SET state = {edited(('"USD",5000000', '"USD",5000001'))} WHERE id = 'B/3'"""
    ],
    "balance of an unused card, in the state too": [
        f"UPDATE card SET state = {edited(('5000000,5000000', '5000000,6000000'))}, "  # noqa: ISC004
        "balance = 6000000 WHERE id = 'B/1'",
    ],
    "face and balance of an unused card, in the state too": [
        f"UPDATE card SET state = {edited(('5000000,5000000', '6000000,6000000'))}, "  # noqa: ISC004
        "balance = 6000000 WHERE id = 'B/1'",
    ],
    "currency in the state": [f"UPDATE card SET state = {edited(('USD', 'EUR'))} WHERE id = 'B/1'"],
    "totals by kind in the state": [
        f"UPDATE card SET state = {edited(('-120000', '-120001'))} WHERE id = 'B/3'"
    ],
    "a first use that opened no account": [
        f"""UPDATE card SET first_used_at = {USED},
        state = {edited(("null,null,null,", f'null,{USED},["Basic",1],'))} WHERE id = 'B/1'"""
    ],
    "state garbled": ["UPDATE card SET state = x'7b' WHERE id = 'B/3'"],
    "state no UTF-8": ["UPDATE card SET state = x'ff00' WHERE id = 'B/3'"],
    "state emptied": ["UPDATE card SET state = x'' WHERE id = 'B/3'"],
    "state null": ["UPDATE card SET state = CAST('null' AS BLOB) WHERE id = 'B/3'"],
    "state an object": ["UPDATE card SET state = CAST('{}' AS BLOB) WHERE id = 'B/3'"],
    "state eleven numbers": [
        "UPDATE card SET state = CAST('[1,1,1,1,1,1,1,1,1,1,1]' AS BLOB) WHERE id = 'B/3'"
    ],
    "an instant out of range in the state": [
        f"UPDATE card SET state = {edited(('null,', '99999999999999999999,'))} WHERE id = 'B/1'"
    ],
    # The other columns that stores index.
    "format": ["UPDATE card SET format = 99 WHERE id = 'B/3'"],
    "first use moved": ["UPDATE card SET first_used_at = first_used_at + 1 WHERE id = 'B/3'"],
    "first use removed": ["UPDATE card SET first_used_at = NULL WHERE id = 'B/3'"],
    "expiry moved": ["UPDATE card SET expires_at = expires_at + 86400000000 WHERE id = 'S/1'"],
    "expiry removed": ["UPDATE card SET expires_at = NULL WHERE id = 'S/1'"],
    "blocked": ["UPDATE card SET blocked = 1 WHERE id = 'B/3'"],
    "never due": ["UPDATE card SET due_at = NULL WHERE id = 'B/2'"],
    "moved to another batch": ["UPDATE card SET batch = 'S', serial = 9 WHERE id = 'B/1'"],
    "renumbered": ["UPDATE card SET serial = 99 WHERE id = 'B/1'"],
    "moved to no batch": ["UPDATE card SET batch = 'Z' WHERE id = 'B/1'"],
    # The ledger.
    "amount of an entry": [f"UPDATE entry SET amount = amount + 1 {CHARGE_A}"],
    "balance after an entry": [f"UPDATE entry SET balance_after = 1 {CHARGE_A}"],
    "an entry and what follows": [CHEAPER],
    "an entry, what follows and the balance": [
        CHEAPER,
        "UPDATE card SET balance = balance + 10 WHERE id = 'B/3'",
    ],
    "kind of an entry": [f"UPDATE entry SET kind = 'breakage' {CHARGE_A}"],
    "an entry for another call": [f"UPDATE entry SET reference = 'b' {CHARGE_A}"],
    "last entry removed": [f"DELETE FROM entry {CHARGE_A}"],
    "first entry removed": ["DELETE FROM entry WHERE card = 'B/3' AND kind = 'face'"],
    "all entries removed": ["DELETE FROM entry WHERE card = 'B/3'"],
    "an entry added": ["INSERT INTO entry VALUES ('B/3', 3, 0, 'call', -10, 4879990, 'a', x'')"],
    "an entry added to an unused card": [
        "INSERT INTO entry VALUES ('B/1', 1, 0, 'face', 5000000, 5000000, '', x'')"
    ],
    "an entry renumbered": ["UPDATE entry SET seq = 7 WHERE card = 'B/3' AND seq = 2"],
    "an entry moved to another card": ["UPDATE entry SET card = 'B/1' WHERE card = 'B/3'"],
    # The records of calls.
    "price of a record": [f"UPDATE record SET price = price + 1 {CALL_A}"],
    "price of a free call": [f"UPDATE record SET price = 1 {CALL_B}"],
    "price in record and ledger": [f"UPDATE record SET price = price - 10 {CALL_A}", CHEAPER],
    "a charged call removed": [f"DELETE FROM record {CALL_A}"],
    "a record of another call": [f"UPDATE record SET call = 'z' {CALL_A}"],
    "a record moved to another card": [f"UPDATE record SET card = 'B/1' {CALL_A}"],
    "settled made cancelled": [f"UPDATE record SET kind = 'cancelled' {CALL_A}"],
    "a kind that is none": [f"UPDATE record SET kind = 'lost' {CALL_B}"],
    "a newer record": [f"UPDATE record SET format = 99 {CALL_B}"],
    "detail garbled": [f"UPDATE record SET detail = x'7b' {CALL_B}"],
    "an ended record of an open call": [
        "INSERT INTO record SELECT 'B/2', 'call:open', format, 'B', kind, recorded_at, ended_at, "  # noqa: ISC004
        "'open', number, destination, carrier, seconds, price, tax, cost, detail "
        f"FROM record {CALL_B}",
    ],
    "an instant out of range": [f"UPDATE record SET ended_at = 4611686018427387904 {CALL_B}"],
    # What can be computed from the terms that a record carries, without any key.
    "cost of a record": [f"UPDATE record SET cost = 0 {CALL_A}"],
    "cost of a record hidden": [f"UPDATE record SET cost = NULL {CALL_A}"],
    "carrier of a record": [f"UPDATE record SET carrier = 'beta' {CALL_A}"],
    "seconds of a record": [f"UPDATE record SET seconds = 1 {CALL_A}"],
    "tax of a record": [f"UPDATE record SET tax = 1 {CALL_A}"],
    "number of a record": [f"UPDATE record SET number = '44' {CALL_A}"],
    "destination of a record": [f"UPDATE record SET destination = 'X' {CALL_A}"],
    "batch of a record": [f"UPDATE record SET batch = 'S' {CALL_A}"],
    "key of a record": [f"UPDATE record SET key = 'call:z' {CALL_B}"],
    "a call made cheaper everywhere": [
        f"UPDATE record SET price = price - 10 {CALL_A}",
        CHEAPER,
        "UPDATE card SET balance = balance + 10 WHERE id = 'B/3'",
        f"UPDATE card SET state = {edited(('4880000', '4880010'), ('-120000', '-119990'))} "  # noqa: ISC004
        "WHERE id = 'B/3'",
    ],
    "a call made dearer everywhere": [
        f"UPDATE record SET price = price + 10 {CALL_A}",
        f"UPDATE entry SET amount = amount - 10, balance_after = balance_after - 10 {CHARGE_A}",
        "UPDATE card SET balance = balance - 10 WHERE id = 'B/3'",
        f"UPDATE card SET state = {edited(('4880000', '4879990'), ('-120000', '-120010'))} "  # noqa: ISC004
        "WHERE id = 'B/3'",
    ],
    # What opens which card.
    "a PIN that opens another card": ["UPDATE credential SET card = 'B/4' WHERE card = 'B/1'"],
    "a PIN that opens nothing": ["DELETE FROM credential WHERE card = 'B/1'"],
    "states of unused cards exchanged": [
        "CREATE TEMP TABLE kept AS SELECT state FROM card WHERE id = 'B/1'",
        f"UPDATE card SET state = {state('B/6')} WHERE id = 'B/1'",
        "UPDATE card SET state = (SELECT state FROM kept) WHERE id = 'B/6'",
    ],
    # Rows of cards that are not there.
    "a used card removed": ["DELETE FROM card WHERE id = 'B/3'"],
    "an unused card removed with its PIN": [
        "DELETE FROM credential WHERE card = 'B/6'",
        "DELETE FROM card WHERE id = 'B/6'",
    ],
    "a record of no card": [f"UPDATE record SET card = 'B/77' {CALL_B}"],
}


@pytest.mark.parametrize("what", SEEN)
def test_the_audit_complains(books: Shop, what: str):
    tamper(books, *SEEN[what])
    for report in (books.bill.audit(), audit(books.bill.storage)):  # and without keys too
        assert report.problems, what
        assert not report.clean
        assert all("\n" not in problem for problem in report.problems)


SEEN_WITH_KEYS = {
    # Nothing contradicts these but the seals.
    "a plan pinned to an unused card": [
        f"""UPDATE card SET state = {edited(("null,null,null,", 'null,null,["Basic",1],'))}
        WHERE id = 'B/1'"""
    ],
    "version of a card": ["UPDATE card SET version = version + 5 WHERE id = 'B/3'"],
    "instant of an entry": [f"UPDATE entry SET at = at + 1 {CHARGE_A}"],
    "instants of a record": [f"UPDATE record SET recorded_at = recorded_at + 1 {CALL_A}"],
    "an uncharged call removed": [f"DELETE FROM record {CALL_B}"],
    "a sealed PIN spoilt": ["UPDATE credential SET sealed = x'00' WHERE card = 'B/6'"],
    "a sealed PIN removed": ["UPDATE credential SET sealed = NULL WHERE card = 'B/6'"],
    "who revealed a PIN": ["UPDATE audit SET actor = 'eve' WHERE action = 'reveal-pin'"],
    "that a PIN was revealed": ["DELETE FROM audit WHERE action = 'reveal-pin'"],
    "the whole log": ["DELETE FROM audit"],
    "the log from the last job on": [
        "DELETE FROM audit WHERE position >= (SELECT max(position) - 1 FROM audit "  # noqa: ISC004
        "WHERE action = 'make-pins')"
    ],
    "the end of the log, with what is in suspense": [
        "DELETE FROM audit WHERE position >= (SELECT max(position) FROM audit "  # noqa: ISC004
        "WHERE action = 'suspend-begun')"
    ],
    "what was in suspense": ["DELETE FROM suspense"],
    "that a job was done": ["DELETE FROM job WHERE key = 'pins:S'"],
    "a job and its cards": [
        "DELETE FROM job WHERE key = 'pins:S'",
        "DELETE FROM record WHERE card = 'S/1'",
        "DELETE FROM entry WHERE card = 'S/1'",
        "DELETE FROM credential WHERE card = 'S/1'",
        "DELETE FROM card WHERE id = 'S/1'",
    ],
    "a plan's older version": [
        "UPDATE catalogue SET content = x'7b7d' WHERE kind = 'plan' AND name = 'Basic'"
    ],
    "a plan removed": [
        "DELETE FROM catalogue WHERE kind = 'plan'",
        "UPDATE catalogue_revision SET revision = revision - 1",
    ],
    "a batch's newest version removed": [
        "DELETE FROM catalogue WHERE kind = 'batch' AND name = 'B' AND version = 2",
        "UPDATE catalogue_revision SET revision = revision - 1",
    ],
    "a deck published as another": [
        "UPDATE catalogue SET content = (SELECT content FROM catalogue WHERE name = 'acme-cost') "  # noqa: ISC004
        "WHERE name = 'retail'"
    ],
    "a deck's first version published again": [
        "INSERT INTO catalogue SELECT kind, name, 2, content FROM catalogue WHERE name = 'retail'",
        "UPDATE catalogue_revision SET revision = revision + 1",
    ],
    "the mark of a key": ["UPDATE catalogue SET content = x'00' WHERE name = 'audit/1'"],
    "a card as it was before": [
        "UPDATE card SET state = (SELECT state FROM card WHERE id = 'B/6'), balance = 5000000, "  # noqa: ISC004
        "first_used_at = NULL WHERE id = 'B/3'",
        "DELETE FROM entry WHERE card = 'B/3'",
        "DELETE FROM record WHERE card = 'B/3'",
    ],
}


def with_a_log(books: Shop) -> None:
    """A PIN revealed, and an event in suspense: what an operator must not be able to hide."""
    books.bill.batches.reveal("B/1", actor="ann", reason="r")
    with pytest.raises(UnknownCall):
        books.bill.settle(make_handle("GONE/1", "c"), talk_ms=1)


@pytest.mark.parametrize("what", SEEN_WITH_KEYS)
def test_the_audit_with_keys_complains(books: Shop, what: str):
    with_a_log(books)
    books.check_books()
    tamper(books, *SEEN_WITH_KEYS[what])
    problems = books.bill.audit().problems
    assert problems, what
    assert all("\n" not in problem for problem in problems)


def test_an_audit_without_keys_says_that_it_does_not_look_for_forgery(books: Shop):
    tamper(books, *SEEN_WITH_KEYS["version of a card"])
    report = audit(books.bill.storage)
    assert report.problems == []
    assert report.unchecked == ["forgery: no keys were given"]
    assert books.bill.audit().unchecked == []
    assert books.bill.audit(sealed_copies=False).unchecked == ["sealed copies of PINs"]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE card SET held = balance + 1 WHERE id = 'B/1'",
        "UPDATE card SET held = -1 WHERE id = 'B/1'",
        "UPDATE card SET balance = -1 WHERE id = 'B/1'",
        "UPDATE card SET balance = 1.5 WHERE id = 'B/1'",
        "UPDATE card SET balance = 'much' WHERE id = 'B/1'",
        "UPDATE card SET balance = held - 1 WHERE id = 'B/2'",
        "UPDATE card SET blocked = 2 WHERE id = 'B/1'",
        "UPDATE card SET state = CAST(state AS TEXT) WHERE id = 'B/1'",
        "UPDATE entry SET balance_after = -1 WHERE card = 'B/3'",
        "UPDATE entry SET amount = 0.5 WHERE card = 'B/3'",
        "UPDATE record SET price = -1 WHERE call = 'a'",
        "UPDATE card SET batch = 'B', serial = 2 WHERE id = 'B/1'",
        "INSERT INTO entry SELECT * FROM entry WHERE card = 'B/3'",
        "INSERT INTO record SELECT * FROM record WHERE call = 'a'",
    ],
)
def test_the_file_itself_refuses_what_must_never_be(books: Shop, statement: str):
    connection = sqlite3.connect(books.folder / "cards.db")
    with pytest.raises(sqlite3.IntegrityError), connection:
        connection.execute(statement)
    connection.close()
    books.check_books()


def test_a_text_that_is_no_text_ends_the_audit_by_name(books: Shop):
    tamper(books, "UPDATE entry SET reference = CAST(x'ff80' AS TEXT) WHERE card = 'B/3'")
    with pytest.raises(RowUnreadable) as refused:
        books.bill.audit()
    assert refused.value.__cause__ is None


def test_an_audit_names_the_card_and_no_secret(books: Shop):
    pins = [books.pin(serial) for serial in range(1, 7)]
    tamper(books, "UPDATE card SET balance = balance + 1", "DELETE FROM record")
    problems = books.bill.audit().problems
    assert len(problems) >= 7
    for card in ("B/1", "B/2", "B/3", "B/4", "B/5", "B/6", "S/1"):
        assert any(problem.startswith(f"card {card}: ") for problem in problems)
    assert not any(pin in problem for problem in problems for pin in pins)


def test_an_audit_reads_past_a_card_that_cannot_be_read(books: Shop):
    tamper(
        books,
        "UPDATE card SET state = x'7b' WHERE id = 'B/1'",
        "UPDATE card SET balance = balance + 1 WHERE id = 'B/4'",
    )
    report = books.bill.audit()
    assert report.cards == 7
    assert {problem.split(":")[0] for problem in report.problems} == {"card B/1", "card B/4"}


def test_an_audit_after_a_crash_of_the_disk_is_an_error_not_a_verdict(books: Shop):
    path = books.folder / "cards.db"
    books.bill.close()
    content = bytearray(path.read_bytes())
    content[4096:] = bytes(len(content) - 4096)
    path.write_bytes(content)
    (books.folder / "cards.db-wal").unlink(missing_ok=True)
    storage = None
    try:
        storage = cardbill.open_storage(books.url)
        assert not cardbill.audit.audit(storage).clean
    except CardbillError as error:
        assert isinstance(error, StorageError)  # noqa: PT017  # either is an answer
    finally:
        if storage is not None:
            storage.close()


# -- the law, over histories --------------------------------------------------------------------


@pytest.mark.parametrize("kind", EVERY_STORE)
@pytest.mark.parametrize("seed", range(2))
def test_the_books_balance_after_every_step_of_a_random_history(
    kind: str, seed: int, tmp_path: Path
):
    """face = balance + calls + breakage, per card and over all, whatever happens."""
    chance = random.Random(seed)
    terms = {"expires_days_after_first_use": 2}
    plan = {"calls_at_once": 3, "max_call_seconds": 600}
    with open_shop(kind, tmp_path, quantity=6, batch=terms, plan=plan) as shop:
        calls: list[str] = []
        happened: Counter[str] = Counter()
        at = START
        pins = [shop.pin(serial) for serial in range(1, 7)]
        for step in range(250):
            at += timedelta(seconds=chance.choice([0, 0, 5, 60, 60, 400, 1_200, 8_000]))
            what = chance.choice(["ask", "ask", "settle", "settle", "cancel", "sweep"])
            if what != "ask" and not calls:
                continue
            try:
                if what == "ask":
                    to = chance.choice([UK, UK, UK_MOBILE, US, UNROUTED])
                    answer = shop.bill.authorize(
                        pin=chance.choice(pins), to=to, call_id=f"c{step}", at=at
                    )
                    if answer.granted:
                        calls.append(answer.handle)
                    what = "granted" if answer.granted else answer.reason.value
                elif what == "settle":
                    record = shop.bill.settle(
                        chance.choice(calls[-3:]),
                        talk_ms=chance.randrange(0, 700_000),
                        carrier=chance.choice(["acme", "beta", None]),
                        at=at,
                    )
                    what = "late" if record.late else "settled"
                elif what == "cancel":
                    shop.bill.cancel(chance.choice(calls[-3:]), at=at)
                else:
                    shop.bill.sweep(at=at)
            except CardbillError as error:
                what = type(error).__name__
            happened[what] += 1
            report = shop.bill.audit()
            assert report.problems == []
            assert (
                report.face_units["USD"]
                == 30_000_000
                == (
                    report.balance_units["USD"]
                    + report.calls_units["USD"]
                    + report.breakage_units["USD"]
                )
            )
        shop.bill.sweep(at=at + LIFETIME)
        shop.check_books()
        assert all(not shop.stored(f"B/{serial}").holds for serial in range(1, 7))
        for expected in ("granted", "settled", "late", "IdempotencyMismatch", "sweep"):
            assert happened[expected], happened
