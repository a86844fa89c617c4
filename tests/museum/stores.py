"""Stores that are wrong in ways real ones were, and faults that real ones meet."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from attrs import evolve

from cardbill import steps
from cardbill.calls import CallRecord
from cardbill.control import Control
from cardbill.errors import StorageUnavailable
from cardbill.proofs import seal_card
from cardbill.rows import card_to_row, open_card, record_to_row
from cardbill.storage import postgres_schema, sqlite
from cardbill.storage.contract import CardRow, Step, View
from cardbill.storage.memory import MemoryStorage
from cardbill.storage.sqlite import SQLiteStorage
from cardbill.storage.sqlite_schema import SCHEMA
from tests.building import Shop
from tests.museum.exhibits import patched

PAUSE = 0.15
"""Seconds between reading and writing, where nothing keeps others out meanwhile."""

Decide = Callable[[View], Step[Any]]


def keyed_by_nothing() -> AbstractContextManager[None]:
    """Nothing is unique about a call record."""
    numbers = count(1)

    def row(record: CallRecord) -> Any:
        return record_to_row(record)._replace(key=f"call:{record.call_id}:{next(numbers)}")

    return patched((steps, "record_to_row", row))


def reads_and_later_writes() -> AbstractContextManager[None]:
    """A step reads before it locks, and writes whatever the card is by then."""

    def in_memory(self: MemoryStorage, card: str, decide: Decide, **how: Any) -> Any:
        step = decide(self.view(card, how.get("key")))
        if step.card is not None:
            time.sleep(PAUSE)
            with self._open():
                self._cards[card] = step.card
                self._entries[card] = [*self._entries.get(card, []), *step.entries]
                self._records.update({(row.card, row.key): row for row in step.records})
        return step.outcome

    def in_sqlite(self: SQLiteStorage, card: str, decide: Decide, **how: Any) -> Any:
        step = decide(self.view(card, how.get("key")))
        if step.card is not None:
            time.sleep(PAUSE)
            with self._connections.write() as connection:
                swap = sqlite._SWAP.removesuffix(" AND version = ?")
                connection.execute(swap, (*step.card[1:3], *step.card[5:], card))
                add = sqlite._ADD_ENTRY.replace("INSERT", "INSERT OR REPLACE")
                connection.executemany(add, step.entries)
                connection.executemany(sqlite._PUT_RECORD, step.records)
        return step.outcome

    return patched((MemoryStorage, "transact", in_memory), (SQLiteStorage, "transact", in_sqlite))


def claims_before_it_writes() -> AbstractContextManager[None]:
    """The record that an operation was done is committed first, its effect afterwards."""
    real = SQLiteStorage.transact

    def transact(self: SQLiteStorage, card: str, decide: Decide, **how: Any) -> Any:
        step = decide(self.view(card, how.get("key")))
        with self._connections.write() as connection:
            connection.executemany(sqlite._PUT_RECORD, step.records)
        return real(self, card, lambda _: step, **how)

    return patched((SQLiteStorage, "transact", transact))


def writes_records_last() -> AbstractContextManager[None]:
    """Money moves in one transaction, and the record of why follows in another."""
    real = SQLiteStorage.transact

    def transact(self: SQLiteStorage, card: str, decide: Decide, **how: Any) -> Any:
        records: list[Any] = []

        def apart(view: View) -> Step[Any]:
            step = decide(view)
            records[:] = step.records
            return step._replace(records=())

        outcome = real(self, card, apart, **how)
        with self._connections.write() as connection:
            connection.executemany(sqlite._PUT_RECORD, records)
        return outcome

    return patched((SQLiteStorage, "transact", transact))


def loses_records() -> AbstractContextManager[None]:
    """What an operation left behind is not stored with it."""
    real = MemoryStorage.transact

    def transact(self: MemoryStorage, card: str, decide: Decide, **how: Any) -> Any:
        return real(self, card, lambda view: decide(view)._replace(records=()), **how)

    return patched((MemoryStorage, "transact", transact))


BOUND = "CHECK (held >= 0 AND balance >= held)"


def sqlite_checks_nothing() -> AbstractContextManager[None]:
    assert BOUND in SCHEMA
    return patched((sqlite, "SCHEMA", SCHEMA.replace(BOUND, "CHECK (true)")))


def postgresql_checks_nothing() -> AbstractContextManager[None]:
    real = postgres_schema.script
    assert BOUND in real("postgres_001.sql", "cardbill")
    return patched(
        (postgres_schema, "script", lambda *where: real(*where).replace(BOUND, "CHECK (true)"))
    )


def locks_the_latest_entry() -> AbstractContextManager[None]:
    """What a lock on the newest row of a ledger is worth at READ COMMITTED: nothing."""
    from cardbill.storage import postgres_rows
    from cardbill.storage.postgres_statements import _CHANGES, Statements
    from cardbill.storage.postgres_steps import Steps

    make, swap = Statements.__init__, Steps._swap
    once = postgres_rows._ENTERED.replace("AS added)", "AS added ON CONFLICT DO NOTHING)")
    anyway = _CHANGES.replace("AND version = %s", "AND %s IS NOT NULL")
    assert once != postgres_rows._ENTERED
    assert anyway != _CHANGES

    def init(self: Statements, schema: str) -> None:
        make(self, schema)
        self.lock = f'SELECT seq FROM "{schema}".entry WHERE card = %s ORDER BY seq DESC LIMIT 1'
        self.lock += " FOR UPDATE"
        self.swap_and_add = postgres_rows.Adding(anyway, schema)

    def slowly(self: Steps, *arguments: Any) -> bool:
        time.sleep(PAUSE)
        return swap(self, *arguments)

    return patched(
        (Statements, "__init__", init),
        (Steps, "_swap", slowly),
        (postgres_rows, "_ENTERED", once),
    )


def saves_the_form_as_it_was_opened() -> AbstractContextManager[None]:
    """An operator writes back all that he saw when he began, with his one change."""
    real = MemoryStorage.view
    forms: dict[str, CardRow] = {}

    def view(self: MemoryStorage, card: str, key: str | None = None) -> View:
        found = real(self, card, key)
        forms[card] = found.card
        return found

    def block(self: Control, card_id: str, **_: Any) -> None:
        def save(found: View) -> Step[None]:
            seals = self._runner._seals
            card, trail, _ = open_card(forms[card_id], seals)
            row = card_to_row(evolve(card, blocked=True), version=found.card.version + 1)
            return Step(None, seal_card(row, trail, seals))

        self._storage.transact(card_id, save)

    return patched((MemoryStorage, "view", view), (Control, "block", block))


@contextmanager
def refusing(shop: Shop, table: str) -> Iterator[None]:
    """A SQLite file that takes no new row of a table, as if its disk were full."""
    path = Path(shop.folder, "cards.db")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            f"CREATE TRIGGER full BEFORE INSERT ON {table} "
            "BEGIN SELECT RAISE(ABORT, 'disk full'); END"
        )
    yield
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TRIGGER full")


@contextmanager
def out_of_reach(shop: Shop) -> Iterator[None]:
    """A store that cannot be reached."""

    def transact(card: str, decide: Decide, **how: Any) -> Any:
        raise StorageUnavailable("it is down")

    with patched((shop.bill.storage, "transact", transact)):
        yield


@contextmanager
def answers_lost(shop: Shop, step: int = 1) -> Iterator[None]:
    """A store that does what it is told, and the answer to one step gets lost."""
    real, steps = shop.bill.storage.transact, count(1)

    def transact(card: str, decide: Decide, **how: Any) -> Any:
        answer = real(card, decide, **how)
        if next(steps) == step:
            raise StorageUnavailable("the answer is lost", outcome_unknown=True)
        return answer

    with patched((shop.bill.storage, "transact", transact)):
        yield
