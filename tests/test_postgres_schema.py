"""The tables of a PostgreSQL store are made once and brought up to date, whatever happens."""

import os
import subprocess
import sys
import threading
import time
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cardbill.errors import InvalidInput, SchemaTooNew, StorageError, StorageUnavailable
from cardbill.testing.conformance.rows import CARD, add, deposit, new_card, together
from tests.postgres_server import of_database
from tests.source_tree import ROOT

psycopg = pytest.importorskip("psycopg", reason="the PostgreSQL store needs psycopg")

from cardbill.storage import postgres_schema  # noqa: E402  # needs psycopg
from cardbill.storage.postgres import PostgresStorage  # noqa: E402  # as above

SECOND = "CREATE TABLE cardbill.later (id bigint); INSERT INTO cardbill.later VALUES (1);"


@pytest.fixture
def second_version(monkeypatch) -> None:
    """A version of cardbill that has one script more."""
    monkeypatch.setattr(postgres_schema, "SCRIPTS", (*postgres_schema.SCRIPTS, "second.sql"))
    shipped = postgres_schema.script

    def script(name: str, schema: str) -> str:
        if name == "second.sql":
            return postgres_schema.for_schema(SECOND, schema)
        return shipped(name, schema)

    monkeypatch.setattr(postgres_schema, "script", script)


def asked(address: str, query: str) -> Any:
    with psycopg.connect(address, autocommit=True) as connection:
        return connection.execute(query).fetchall()


def tables(address: str) -> list[str]:
    query = "SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace('cardbill')"
    return sorted(name for (name,) in asked(address, query))


def test_opening_again_changes_nothing(empty_postgres):
    query = "SELECT oid, xmin::text, relname, relfilenode FROM pg_class ORDER BY oid"
    PostgresStorage(empty_postgres).close()
    before = asked(empty_postgres, query)
    for create in (True, False):
        PostgresStorage(empty_postgres, create=create).close()
        assert asked(empty_postgres, query) == before


def test_many_may_open_an_empty_database_at_once(empty_postgres):
    stores = together(*[partial(PostgresStorage, empty_postgres)] * 6)
    add(stores[0], new_card())
    assert [store.transact(CARD, deposit) for store in stores] == list(range(1_001, 1_007))
    for store in stores:
        store.close()


def test_processes_may_open_an_empty_database_at_once(empty_postgres):
    code = (
        "import sys; from cardbill.storage.postgres import PostgresStorage as store; "
        "store(sys.argv[1]).close()"
    )
    command = [sys.executable, "-c", code, empty_postgres]
    others = [subprocess.Popen(command, cwd=ROOT) for _ in range(3)]
    assert [other.wait() for other in others] == [0, 0, 0]
    assert asked(empty_postgres, "SELECT version FROM cardbill.schema_version") == [(1,)]


def test_older_tables_are_brought_up_to_date_and_keep_what_they_hold(
    empty_postgres, request, monkeypatch
):
    with closing(PostgresStorage(empty_postgres)) as store:
        add(store, new_card())
    request.getfixturevalue("second_version")
    with pytest.raises(StorageError, match="has schema 1"):
        PostgresStorage(empty_postgres, create=False)
    with closing(PostgresStorage(empty_postgres)) as store:
        assert store.transact(CARD, deposit) == 1_001
    assert asked(empty_postgres, "SELECT * FROM cardbill.later") == [(1,)]
    monkeypatch.undo()
    with pytest.raises(SchemaTooNew, match="has version 2"):
        PostgresStorage(empty_postgres)


@pytest.mark.parametrize("existing", [False, True])
def test_a_script_that_fails_midway_leaves_nothing_and_is_run_again(
    empty_postgres, second_version, monkeypatch, existing
):
    if existing:
        monkeypatch.setattr(postgres_schema, "SCRIPTS", postgres_schema.SCRIPTS[:1])
        PostgresStorage(empty_postgres).close()
        monkeypatch.setattr(postgres_schema, "SCRIPTS", (*postgres_schema.SCRIPTS, "second.sql"))
    before = tables(empty_postgres)
    monkeypatch.setattr(sys.modules[__name__], "SECOND", f"{SECOND} SELECT 1/0;")
    with pytest.raises(StorageError):
        PostgresStorage(empty_postgres)
    left = tables(empty_postgres)
    assert "later" not in left
    if existing:
        assert left == before
    monkeypatch.setattr(sys.modules[__name__], "SECOND", SECOND.replace(" SELECT 1/0;", ""))
    PostgresStorage(empty_postgres).close()
    assert asked(empty_postgres, "SELECT version FROM cardbill.schema_version") == [(2,)]


def make_tables_slowly(address: str, said: str) -> None:
    """Be in the midst of making the tables for a long time."""
    shipped = postgres_schema.script

    def script(name: str, schema: str) -> str:
        Path(said).touch()
        return f"{shipped(name, schema)}; SELECT pg_sleep(60);"

    postgres_schema.script = script
    PostgresStorage(address)


@pytest.mark.skipif(os.name != "posix", reason="kills as POSIX does")
def test_who_is_killed_while_making_the_tables_is_followed_by_another(empty_postgres, tmp_path):
    said = tmp_path / "said"
    code = (
        "import sys; from tests.test_postgres_schema import make_tables_slowly; "
        "make_tables_slowly(*sys.argv[1:])"
    )
    first = subprocess.Popen([sys.executable, "-c", code, empty_postgres, str(said)], cwd=ROOT)
    while not said.exists():
        assert first.poll() is None
        time.sleep(0.01)
    opened: list[PostgresStorage] = []
    second = threading.Thread(target=lambda: opened.append(PostgresStorage(empty_postgres)))
    second.start()
    time.sleep(0.1)
    assert not opened  # it waits for the first
    first.kill()
    first.wait()
    # The server notices at the statement's end, which a real one reaches in milliseconds.
    asked(
        empty_postgres,
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted",
    )
    second.join()
    with closing(opened[0]) as store:
        add(store, new_card())
    assert asked(empty_postgres, "SELECT version FROM cardbill.schema_version") == [(1,)]


def test_a_schema_of_anothers_is_left_as_it_is(empty_postgres):
    with psycopg.connect(empty_postgres, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA cardbill; CREATE TABLE cardbill.card (mine text)")
    with pytest.raises(StorageError):
        PostgresStorage(empty_postgres)
    assert tables(empty_postgres) == ["card"]


def test_a_schema_without_tables_is_not_made_unless_asked(empty_postgres):
    with pytest.raises(StorageError, match="no tables"):
        PostgresStorage(empty_postgres, create=False)
    assert tables(empty_postgres) == []


def test_a_user_who_may_not_make_tables_can_work_with_those_there_are(empty_postgres):
    PostgresStorage(empty_postgres).close()
    role = f"cardbill_clerk_{os.getpid()}"
    with psycopg.connect(empty_postgres, autocommit=True) as connection:
        connection.execute(f"""
            CREATE ROLE {role} LOGIN;
            GRANT USAGE ON SCHEMA cardbill TO {role};
            GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA cardbill TO {role};
        """)
        try:
            with psycopg.connect(empty_postgres) as clerks:
                clerks.execute(f"SET ROLE {role}")
                clerks.commit()
                with closing(PostgresStorage(clerks)) as store:
                    add(store, new_card())
                    assert store.transact(CARD, deposit) == 1_001
                    assert store.publish("plan", "a", b"", expected=0).version == 1
        finally:
            connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_a_database_that_cannot_hold_every_text_is_refused(empty_postgres):
    name = f"cardbill_latin_{os.getpid()}"
    with psycopg.connect(empty_postgres, autocommit=True) as connection:
        connection.execute(
            f"CREATE DATABASE {name} ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' "
            "TEMPLATE template0"
        )
        try:
            with pytest.raises(StorageError, match="LATIN1"):
                PostgresStorage(of_database(empty_postgres, name))
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize("schema", ["", "Cardbill", "a b", 'x"; DROP', "1a", None, "a" * 64])
def test_what_is_no_name_of_a_schema_is_refused(schema):
    with pytest.raises(InvalidInput, match="schema"):
        PostgresStorage("postgresql://127.0.0.1:1/cards", schema=schema)


def test_a_store_that_could_not_be_opened_leaves_no_connection(empty_postgres):
    with pytest.raises(StorageError):
        PostgresStorage(empty_postgres, create=False)
    query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'cardbill'"
    until = time.monotonic() + 10
    while asked(empty_postgres, f"{query} AND datname = current_database()") != [(0,)]:
        assert time.monotonic() < until
    with pytest.raises(StorageUnavailable):
        PostgresStorage("postgresql:///cards?host=/no/such/folder")
