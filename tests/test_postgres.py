"""The PostgreSQL store keeps the contract, over any connection, and spread over nodes too."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest
from moneyed import USD, Money

import cardbill
from cardbill import Keyring
from cardbill.cli import main
from cardbill.errors import (
    ConstraintViolated,
    InvalidInput,
    StorageClosed,
    StorageError,
    StorageUnavailable,
    UnknownName,
)
from cardbill.storage.contract import AuditRow, Tally
from cardbill.testing.conformance import StorageContract, Wire
from cardbill.testing.conformance.attempts import Attempts
from cardbill.testing.conformance.rows import (
    BATCH,
    CARD,
    add,
    change,
    deposit,
    entry_row,
    kept,
    new_card,
    record_row,
)
from cardbill.testing.conformance.steps import Steps

psycopg = pytest.importorskip("psycopg", reason="the PostgreSQL store needs psycopg")

from cardbill.storage.postgres import PostgresStorage  # noqa: E402  # needs psycopg
from tests.postgres_looks import as_if_citus, connected, count  # noqa: E402  # as above

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


def open_at(address: str, host: str, port: int) -> PostgresStorage:
    """The store of an address, at another place than it says."""
    return PostgresStorage(psycopg.conninfo.make_conninfo(address, host=host, port=port))


class TestPostgresStorage(StorageContract):
    @pytest.fixture
    def open_store(self, postgres):
        return partial(PostgresStorage, postgres)

    @pytest.fixture
    def wire(self, postgres):
        place = psycopg.conninfo.conninfo_to_dict(postgres)
        host, port = str(place["host"]), int(place.get("port") or 5432)
        server = f"{host}/.s.PGSQL.{port}" if host.startswith("/") else (host, port)
        return Wire(server, partial(open_at, postgres))


@pytest.fixture
def store(postgres: str) -> Iterator[PostgresStorage]:
    """A store with one card."""
    with closing(PostgresStorage(postgres)) as store:
        add(store, new_card())
        yield store


# -- connections of the caller's own ---------------------------------------------------------


@pytest.fixture
def pool(postgres: str) -> Iterator[Any]:
    from psycopg_pool import ConnectionPool

    # With settings that an application may well have.
    settings = {"row_factory": psycopg.rows.dict_row, "prepare_threshold": None}
    with ConnectionPool(postgres, min_size=1, max_size=20, kwargs=settings, open=True) as pool:
        yield pool


@pytest.mark.soak
class TestOverAPool(StorageContract):
    omits: ClassVar = dict.fromkeys(("processes", "crashes"), "a pool serves one process")

    @pytest.fixture
    def open_store(self, pool):
        return lambda: PostgresStorage(pool)


@pytest.mark.soak
class TestOverOneConnection(StorageContract):
    omits: ClassVar = {
        **dict.fromkeys(("processes", "crashes"), "a connection serves one process"),
        "test_closing_gives_back_everything": "the connection is the caller's, and stays open",
    }

    @pytest.fixture
    def open_store(self, postgres):
        connections = []

        def open_store():
            connections.append(psycopg.connect(postgres))
            return PostgresStorage(connections[-1])

        yield open_store
        for connection in connections:
            connection.close()


def test_a_pool_of_the_callers_is_used_and_left_open(pool):
    with closing(PostgresStorage(pool)) as store:
        add(store, new_card(1), new_card(2))
        assert store.transact(CARD, change(entry_row(), record_row(), state=b"used")) == "done"
        assert store.take_attempts(3, "a", count) == 1
        assert kept(store)[0].state == b"used"
    with pytest.raises(StorageClosed):
        store.view(CARD)
    with pool.connection() as connection:
        assert connection.autocommit is False
        assert connection.execute("SELECT count(*) FROM cardbill.card").fetchone()["count"] == 2


def test_an_exhausted_pool_of_the_callers_is_waited_for_once(store, postgres):
    from psycopg_pool import ConnectionPool

    with ConnectionPool(postgres, min_size=1, max_size=1, timeout=0.3, open=True) as pool:
        with closing(PostgresStorage(pool)) as over, pool.connection():
            before, began = pool.get_stats().get("requests_errors", 0), time.monotonic()
            with pytest.raises(StorageUnavailable, match="pool") as refused:
                over.transact(CARD, deposit)
            assert pool.get_stats()["requests_errors"] == before + 1
            assert time.monotonic() - began < 5
            assert not refused.value.outcome_unknown
        assert kept(store)[0].balance == 1_000  # nothing was done
        with closing(PostgresStorage(pool)) as over:  # which is as good as before
            assert over.transact(CARD, deposit) == 1_001


def test_a_connection_of_the_callers_is_used_and_given_back_as_it_was(postgres):
    with psycopg.connect(postgres) as connection:
        with closing(PostgresStorage(connection)) as store:
            add(store, new_card())
            assert store.transact(CARD, deposit) == 1_001
            with connected(postgres) as another:  # it is committed
                assert another.execute("SELECT balance FROM cardbill.card").fetchone() == (1_001,)
        assert connection.autocommit is False
        assert connection.info.transaction_status.name == "IDLE"
        assert connection.execute("SELECT balance FROM cardbill.card").fetchone() == (1_001,)


def test_a_connection_in_a_transaction_is_refused(store, postgres):
    """A step must be durable when it returns, and could be rolled back there."""
    with psycopg.connect(postgres) as connection, closing(PostgresStorage(connection)) as other:
        connection.execute("SELECT 1")
        with pytest.raises(StorageError, match="in a transaction"):
            other.transact(CARD, deposit)
        connection.rollback()
        assert other.transact(CARD, deposit) == 1_001


@pytest.mark.parametrize("source", [None, 5, b"postgresql://", object()])
def test_what_gives_no_connections_is_refused(source):
    with pytest.raises(InvalidInput, match="source"):
        PostgresStorage(source)


# -- opening -----------------------------------------------------------------------------------


def test_an_engine_opens_by_an_address_and_is_audited(
    empty_postgres: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    keys = tmp_path / "cards.key"
    url = empty_postgres + ("&" if "?" in empty_postgres else "?") + "schema=calling_cards"
    assert main(["audit", url]) == 2  # and makes no tables
    assert "no tables" in capsys.readouterr().err
    with cardbill.open(url, keyring=Keyring.create(keys)) as bill:
        bill.batches.create(cardbill.Batch(name="B", face_value=Money(5, USD), quantity=3))
        bill.batches.generate_pins("B")
    assert main(["audit", url, "--keys", str(keys)]) == 0
    assert "3 cards" in capsys.readouterr().out
    with connected(empty_postgres) as connection:
        schemas = connection.execute(
            "SELECT DISTINCT table_schema FROM information_schema.tables "
            "WHERE table_schema NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
    assert schemas == [("calling_cards",)]


def test_two_schemas_of_a_database_are_two_stores(empty_postgres):
    with (
        closing(PostgresStorage(empty_postgres, schema="east")) as east,
        closing(PostgresStorage(empty_postgres, schema="west")) as west,
    ):
        add(east, new_card())
        assert west.count_cards() == 0


def test_a_password_is_never_shown():
    for url in (
        "postgresql://ann:hunter2@127.0.0.1:1/cards?connect_timeout=1",
        "postgresql://ann:hunter2@host/cards?nonsense=hunter2",
        "postgresql://ann:hunter2%zz@host/cards",
        "postgresqll://ann:hunter2@host/cards",
    ):
        with pytest.raises((StorageUnavailable, InvalidInput)) as caught:
            cardbill.open(url, keyring=Keyring.generate())
        shown = "".join(map(str, (caught.value, caught.value.__cause__)))
        assert "hunter2" not in shown
        assert "hunter2" not in repr(caught.value)


def test_a_server_that_is_not_there_is_told_soon():
    begun = time.monotonic()
    with pytest.raises(StorageUnavailable, match="nothing was done"):
        PostgresStorage("postgresql://127.0.0.1:1/cards")
    assert time.monotonic() - begun < 20


def test_what_is_wrong_with_an_address_is_said(empty_postgres):
    server, _, _ = empty_postgres.rpartition("/")
    for address, why in (
        (f"{server}/nowhere", 'database "nowhere" does not exist'),
        (empty_postgres.replace("//cardbill@", "//stranger@"), 'role "stranger" does not exist'),
        ("postgresql://127.0.0.1:1/cards", "port 1 failed: Connection refused"),
    ):
        with pytest.raises(StorageUnavailable, match=why):
            PostgresStorage(address)


def test_the_driver_is_named_when_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    for module in [name for name in sys.modules if name.startswith("cardbill.storage.postgres")]:
        monkeypatch.delitem(sys.modules, module)
    with pytest.raises(InvalidInput, match="psycopg"):
        cardbill.open("postgresql://host/cards", keyring=Keyring.generate())


# -- what the columns hold ---------------------------------------------------------------------


def test_every_text_is_compared_by_code_points_whatever_the_database_does(store, postgres):
    with connected(postgres) as connection:
        found = connection.execute(
            "SELECT table_name, column_name, collation_name FROM information_schema.columns "
            "WHERE table_schema = 'cardbill' AND data_type = 'text'"
        ).fetchall()
    assert len(found) > 20
    assert {collation for _, _, collation in found} == {"C"}


@pytest.mark.parametrize(
    "row",
    [
        AuditRow(2**63, "", "", "", b""),
        AuditRow(1, "lone \ud800", "", "", b""),
        AuditRow(1, "a\0b", "", "", b""),
    ],
    ids=["integer beyond 64 bits", "half a character", "a NUL"],
)
def test_what_postgres_cannot_hold_is_refused_by_a_storage_error(store, row):
    with pytest.raises(ConstraintViolated):
        store.append_audit(row, after=0)
    assert store.audit_log() == []


def test_the_database_itself_refuses_what_would_overspend(store, postgres):
    """Even to an adapter that is wrong."""
    with connected(postgres) as connection:
        for wrong in ("balance = -1", "held = -1", "held = balance + 1", "blocked = 2",
                      "serial = 2", "state = repeat('x', 65537)::bytea"):  # fmt: skip
            with pytest.raises(psycopg.errors.CheckViolation):
                connection.execute(f"UPDATE cardbill.card SET {wrong}")


def test_a_card_with_another_id_than_its_place_is_refused(store):
    """Batch and serial are unique because the id is made of them."""
    for new in (new_card(2, id="SUMMER/3"), new_card(2, id="other")):
        with pytest.raises(ConstraintViolated):
            store.add_cards("job", [new])
    assert store.count_cards() == 1


# -- attempts ----------------------------------------------------------------------------------


def test_only_attempts_do_not_wait_for_the_disk(store, postgres):
    with connected(postgres) as connection:
        try:
            # What is in force when each transaction commits.
            connection.execute("""
                CREATE SCHEMA watch;
                CREATE TABLE watch.seen (what text, setting text);
                CREATE FUNCTION watch.see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                    INSERT INTO watch.seen
                    VALUES (TG_TABLE_NAME, current_setting('synchronous_commit'));
                    RETURN NULL;
                END $$;
                CREATE CONSTRAINT TRIGGER see AFTER INSERT OR UPDATE OR DELETE ON cardbill.card
                    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION watch.see();
                CREATE CONSTRAINT TRIGGER see AFTER INSERT OR UPDATE OR DELETE ON cardbill.attempt
                    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION watch.see();
            """)
            store.take_attempts(3, "a", count)
            store.transact(CARD, deposit)
            store.take_attempts(3, "a", lambda *_: Tally(None, None))
            store.transact(CARD, deposit)
            found = connection.execute("SELECT * FROM watch.seen").fetchall()
        finally:
            connection.execute("DROP SCHEMA IF EXISTS watch CASCADE")
    assert found == [("attempt", "off"), ("card", "on")] * 2


# -- forks -------------------------------------------------------------------------------------


@needs_fork
def test_both_sides_of_a_fork_go_on(store, postgres):
    """The child uses, and closes, nothing that the parent has."""
    store.transact(CARD, deposit)
    (session,) = store._connections._idle
    parent = session.connection.info.backend_pid
    child = os.fork()
    if child == 0:
        try:
            balance = store.transact(CARD, deposit)
            store.close()
            os._exit(0 if balance == 1_002 else 1)
        finally:
            os._exit(2)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert store.transact(CARD, deposit) == 1_003
    with store._connections.lend() as same:
        assert same.connection.info.backend_pid == parent


@needs_fork
def test_a_pool_of_before_a_fork_is_refused_in_the_child(pool):
    with closing(PostgresStorage(pool)) as store:
        add(store, new_card())
        child = os.fork()
        if child == 0:
            try:
                store.view(CARD)
            except StorageError as error:
                os._exit(0 if "after" in str(error) or "fork" in str(error) else 1)
            finally:
                os._exit(2)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert store.transact(CARD, deposit) == 1_001


# -- spread over nodes: the statements, on one ---------------------------------------------------


@pytest.fixture
def distributed(empty_postgres, monkeypatch) -> Callable[[], PostgresStorage]:
    monkeypatch.setattr("cardbill.storage.postgres_schema._HAS_CITUS", "SELECT 1")
    with as_if_citus(empty_postgres):
        return partial(PostgresStorage, empty_postgres)


class TestStatementsForCitus(Steps, Attempts):
    """Not on Citus: that the statements meant for it do the same."""

    @pytest.fixture
    def store(self, distributed) -> Iterator[PostgresStorage]:
        with closing(distributed()) as store:
            assert store._steps._distributed
            yield store

    @pytest.fixture
    def other(self, distributed, store) -> Iterator[PostgresStorage]:
        with closing(distributed()) as other:
            yield other


@pytest.mark.soak
class TestEverythingForCitus(StorageContract):
    @pytest.fixture
    def open_store(self, distributed):
        return distributed


def test_unknown_cards_are_told_whatever_their_id(store):
    with pytest.raises(UnknownName):
        store.view(f"{BATCH}/2")
