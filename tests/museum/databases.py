"""H: what databases do under load, at the end of a connection, and when they are changed."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from moneyed import USD, Money

from cardbill import CallRecord, Denied, Engine
from cardbill.denials import Denial
from cardbill.errors import IdempotencyMismatch, StorageError
from cardbill.operations import Request
from cardbill.storage import postgres_schema
from cardbill.storage.sqlite import SQLiteStorage
from cardbill.storage.sqlite_connections import Connections
from tests.building import open_shop
from tests.museum.exhibits import Section, patched
from tests.museum.stores import PAUSE
from tests.postgres_server import database
from tests.test_races import crowd

SECTION = Section("Databases, keys, migrations")


# -- how they are rebuilt ------------------------------------------------------------------------


def begins_by_reading() -> AbstractContextManager[None]:
    look = SQLiteStorage._view

    @contextmanager
    def transaction(self: Connections, connection: sqlite3.Connection) -> Iterator[None]:
        connection.execute("BEGIN")
        try:
            yield
        except BaseException:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise
        self._commit(connection)

    def view(connection: sqlite3.Connection, *what: Any) -> Any:
        found = look(connection, *what)
        time.sleep(PAUSE / 5)
        return found

    return patched(
        (Connections, "transaction", transaction), (SQLiteStorage, "_view", staticmethod(view))
    )


def never_tries_again() -> AbstractContextManager[None]:
    from cardbill.storage import postgres_faults

    return patched((postgres_faults, "_COLLIDED", ()))


@contextmanager
def tells_the_caller_his_money_is_short() -> Iterator[None]:
    real = Engine.authorize

    def authorize(self: Engine, *arguments: Any, **request: Any) -> Any:
        try:
            return real(self, *arguments, **request)
        except StorageError:
            return Denied(reason=Denial.INSUFFICIENT_BALANCE)

    with never_tries_again(), patched((Engine, "authorize", authorize)):
        yield


def does_again_what_may_be_done() -> AbstractContextManager[None]:
    from cardbill.storage.postgres_swaps import Claims

    return patched((Claims, "committed", lambda *_: []))


def compares_no_payload() -> AbstractContextManager[None]:
    return patched((Request, "again", lambda self, done: evolve(done, replayed=True)))


def migrates_whenever_it_opens() -> AbstractContextManager[None]:
    from cardbill.storage import postgres

    def prepare(session: Any, schema: str, **how: Any) -> Any:
        found = postgres_schema.prepare(session, schema, **how)
        if found.version > 1:
            session.script(postgres_schema.script(postgres_schema.SCRIPTS[-1], schema))
        return found

    return patched((postgres, "prepare", prepare))


# -- the defects ---------------------------------------------------------------------------------


@SECTION.defect(
    91, "Python, cpython#124510; also profilarr#519 and jentic-one#529",
    "The database is locked, at once and whatever the timeout: a reader wanted to write.",
    begins_by_reading,
)  # fmt: skip
def writers_of_two_stores_wait_for_each_other(folder: Path) -> None:
    with open_shop("sqlite", folder, quantity=12) as shop, crowd(4) as many:
        bills = shop.bill, shop.second()
        handles = [shop.grant(serial=serial).handle for serial in range(1, 13)]

        def settle(number: int) -> list[Any]:
            own = handles[number::4]
            return [bills[number % 2].settle(handle, talk_ms=60_000) for handle in own]

        for answers in many.rush(settle):
            assert isinstance(answers, list), answers
            assert [type(answer) for answer in answers] == [CallRecord] * 3


_COLLIDE = """
CREATE SEQUENCE cardbill.museum_collisions;
CREATE FUNCTION cardbill.museum_collide() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF nextval('cardbill.museum_collisions') < 3 THEN
        RAISE EXCEPTION 'could not serialize access' USING ERRCODE = '40001';
    END IF;
    RETURN NEW;
END $$;
"""
_AT_ONCE = """
CREATE TRIGGER museum BEFORE UPDATE ON cardbill.card
FOR EACH ROW EXECUTE FUNCTION cardbill.museum_collide();
"""
_AT_COMMIT = """
CREATE CONSTRAINT TRIGGER museum AFTER UPDATE ON cardbill.card DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION cardbill.museum_collide();
"""
_CLEAR = """
DROP FUNCTION cardbill.museum_collide() CASCADE;
DROP SEQUENCE cardbill.museum_collisions;
"""


@contextmanager
def colliding(address: str, trigger: str) -> Iterator[None]:
    """A database that twice finds others faster, at the statement or at its commit."""
    import psycopg

    with psycopg.connect(address, autocommit=True) as raw:
        raw.execute(_COLLIDE)
        raw.execute(trigger.encode())
        try:
            yield
        finally:
            raw.execute(_CLEAR)


@SECTION.defect(
    92, "five-bells-ledger#402 and #388, nessie#4136, node-postgres#1625",
    "A serialization failure reaches the payer as insufficient funds, or as an error.",
    tells_the_caller_his_money_is_short, never_tries_again, error=StorageError,
)  # fmt: skip
def contention_is_no_answer_to_a_caller(folder: Path) -> None:
    for trigger in (_AT_ONCE, _AT_COMMIT):
        with open_shop("postgres", folder) as shop, colliding(shop.url, trigger):
            grant = shop.grant()
            assert not grant.replayed
            assert list(shop.stored().holds) == ["c1"]


@SECTION.defect(
    93, "storj#4819, cockroach#54867, couchdb#3569, formance/ledger#364, idempotency4j#12, "
    "grape-idempotency#13",
    "Whether a commit was done is unknown, and it is done again; or a key stands for any request.",
    does_again_what_may_be_done, compares_no_payload,
)  # fmt: skip
def what_may_have_been_done_is_looked_up_and_not_repeated(folder: Path) -> None:
    from cardbill.storage.postgres import PostgresStorage
    from tests.postgres_looks import count
    from tests.postgres_proxy import proxied
    from tests.test_postgres_cuts import everywhere

    address = database()
    with proxied(address) as proxy, closing(PostgresStorage(proxy.address)) as store:
        for _, answer, error in everywhere(
            proxy, 1, lambda key: key, lambda key: store.take_attempts(1, key, count)
        ):
            assert error is not None or answer == 1
    with open_shop("memory", folder) as shop:
        shop.bill.cancel(shop.grant().handle)
        shop.bill.accounts.recharge("B/1", Money(5, USD), key="payment-1")
        with pytest.raises(IdempotencyMismatch):
            shop.bill.accounts.recharge("B/1", Money(6, USD), key="payment-1")


@SECTION.defect(
    94, "ASTPP, its upgrade-3.5.sql, ASTPP#220; dCache#126",
    "A migration that runs twice turns the sign of every balance.",
    migrates_whenever_it_opens,
)  # fmt: skip
def a_migration_is_done_once_and_whole(folder: Path) -> None:
    import psycopg

    from cardbill.storage.postgres import PostgresStorage

    address, text = database(empty=True), postgres_schema.script
    flip = "UPDATE cardbill.suspense SET at = -at;"

    def scripts(name: str, schema: str) -> str:
        shipped = {"whole.sql": flip, "half.sql": f"{flip} SELECT 1 / 0;"}
        own = postgres_schema.for_schema(shipped.get(name, ""), schema)
        return own or text(name, schema)

    def opened(*migrations: str) -> None:
        with patched(
            (postgres_schema, "SCRIPTS", ("postgres_001.sql", *migrations)),
            (postgres_schema, "script", scripts),
        ):
            PostgresStorage(address).close()

    opened()
    with psycopg.connect(address, autocommit=True) as raw:
        raw.execute("INSERT INTO cardbill.suspense VALUES ('k', 1, 'B/1', 'c1', '')")
        with suppress(StorageError):
            opened("half.sql")
        assert raw.execute("SELECT at FROM cardbill.suspense").fetchone() == (1,)
        for _ in range(3):
            opened("whole.sql")
        assert raw.execute("SELECT at FROM cardbill.suspense").fetchone() == (-1,)
