"""The SQLite store keeps the contract, whatever its file, its processes and its disk do to it."""

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from cardbill.errors import (
    InvalidInput,
    SchemaTooNew,
    StorageError,
    StorageUnavailable,
)
from cardbill.storage.contract import AuditRow, CredentialRow, SuspenseRow, Tally
from cardbill.storage.sqlite import SQLiteStorage
from cardbill.storage.sqlite_connections import Connections
from cardbill.storage.sqlite_schema import APPLICATION_ID, SCHEMA_VERSION
from cardbill.testing.conformance import StorageContract
from cardbill.testing.conformance.rows import (
    BATCH,
    CARD,
    add,
    card_row,
    change,
    deposit,
    entry_row,
    kept,
    new_card,
    record_row,
    throw,
    together,
)
from tests.sqlite_files import count, folder, pragma

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


class TestSQLiteStorage(StorageContract):
    @pytest.fixture
    def open_store(self, tmp_path):
        return partial(SQLiteStorage, tmp_path / "cards.db")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cards.db"


@pytest.fixture
def store(path: Path) -> Iterator[SQLiteStorage]:
    """A store with one card."""
    with closing(SQLiteStorage(path)) as store:
        add(store, new_card())
        yield store


class Watched(sqlite3.Connection):
    """A connection that asks before and after each statement; who is asked may raise."""

    before: Callable[[str], object] | None = None
    after: Callable[[str], object] | None = None

    def execute(self, sql, *values):
        return self._asking(super().execute, sql, *values)

    def executemany(self, sql, *values):
        return self._asking(super().executemany, sql, *values)

    def _asking(self, run, sql, *values):
        if Watched.before is not None:
            Watched.before(sql)
        answer = run(sql, *values)
        if Watched.after is not None:
            Watched.after(sql)
        return answer


@pytest.fixture
def watched(monkeypatch) -> type[Watched]:
    """The class of all connections made from now on; set `before` and `after` on it."""
    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Watched))
    monkeypatch.setattr(Watched, "before", None)
    monkeypatch.setattr(Watched, "after", None)
    return Watched


def by_hand(path: Path, *statements: str) -> None:
    """Run statements on the file as somebody with the sqlite3 shell would."""
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


# -- the file -----------------------------------------------------------------------------


def test_commits_reach_the_disk_unless_normal_is_chosen(path):
    with closing(SQLiteStorage(path)) as store:
        assert (pragma(store, "journal_mode"), pragma(store, "synchronous")) == ("wal", 2)
    for name in ("NORMAL", "normal"):
        with closing(SQLiteStorage(path, synchronous=name)) as store:
            assert (pragma(store, "journal_mode"), pragma(store, "synchronous")) == ("wal", 1)
    assert list(folder(path)) == ["cards.db"]


def test_synchronous_off_is_refused(path):
    with pytest.raises(InvalidInput, match="synchronous"):
        SQLiteStorage(path, synchronous="OFF")
    assert folder(path) == {}


def test_every_connection_is_synchronous(store):
    held = threading.Barrier(3)

    def look():
        with store._connections.lend() as connection:
            held.wait()
            return connection.execute("PRAGMA synchronous").fetchone()

    assert together(look, look, look) == [(2,), (2,), (2,)]


def test_an_empty_file_becomes_a_store(path):
    path.touch()
    with closing(SQLiteStorage(path)) as store:
        add(store, new_card())


def test_a_newer_schema_is_refused_and_left_alone(path):
    SQLiteStorage(path).close()
    by_hand(path, f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    before = folder(path)["cards.db"]
    with pytest.raises(SchemaTooNew, match=rf"cards\.db has schema {SCHEMA_VERSION + 1}"):
        SQLiteStorage(path)
    assert folder(path)["cards.db"] == before


def test_the_database_of_another_application_is_refused_and_left_alone(path):
    by_hand(path, "CREATE TABLE card (name TEXT)", "PRAGMA application_id = 7")
    before = folder(path)
    with pytest.raises(StorageError, match="another application"):
        SQLiteStorage(path)
    assert folder(path) == before


@pytest.mark.parametrize(
    "content",
    [b"hello", b"%PDF-1.7\n" * 1_000, b"SQLite format 3\0" + bytes(5_000)],
    ids=["short", "long", "header only"],
)
def test_a_file_that_is_no_database_is_refused_and_left_alone(path, content):
    path.write_bytes(content)
    with pytest.raises(StorageError) as caught:
        SQLiteStorage(path)
    assert not isinstance(caught.value, StorageUnavailable)  # trying again would not help
    assert folder(path) == {"cards.db": content}


def test_a_refused_file_is_let_go_at_once(path):
    SQLiteStorage(path).close()
    by_hand(path, f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    with pytest.raises(SchemaTooNew):
        SQLiteStorage(path)
    assert list(folder(path)) == ["cards.db"]  # an open connection would keep cards.db-wal


@pytest.mark.parametrize("place", ["no such folder/cards.db", "."], ids=["missing", "a folder"])
def test_a_path_that_cannot_be_opened_is_unavailable(tmp_path, place):
    with pytest.raises(StorageUnavailable, match="nothing was done") as refused:
        SQLiteStorage(tmp_path / place)
    assert str(tmp_path / place) in str(refused.value)


def test_a_file_that_must_be_there_is_not_made(path):
    with pytest.raises(StorageUnavailable):
        SQLiteStorage(path, create=False)
    assert folder(path) == {}
    path.touch()
    with pytest.raises(StorageError, match="no tables") as caught:
        SQLiteStorage(path, create=False)
    assert not isinstance(caught.value, StorageUnavailable)
    assert folder(path) == {"cards.db": b""}
    SQLiteStorage(path).close()
    SQLiteStorage(path, create=False).close()


def test_a_file_that_was_taken_away_is_not_made_anew(store, path):
    with store._connections.lend():  # so that the next has to open the file again
        path.unlink()
        with pytest.raises(StorageUnavailable):
            store.count_cards()
    assert not path.exists()  # an empty one would be opened as a new business


def test_a_relative_path_stays_where_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    with closing(SQLiteStorage("cards.db")) as store:
        add(store, new_card())
        monkeypatch.chdir("elsewhere")  # as a daemon does
        with store._connections.lend():  # the next has to be a new one
            assert store.count_cards() == 1
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("moment", range(1, 12))
def test_two_may_make_the_file_at_the_same_moment(path, watched, moment):
    """One is before its first, second, ... statement when the other comes."""
    other = threading.Thread(target=lambda: SQLiteStorage(path).close())
    statements = 0

    def another_comes(_):
        nonlocal statements
        if threading.current_thread() is not other:
            statements += 1
            if statements == moment:
                other.start()
                other.join(0.2)  # no longer: it may have to wait for the first

    watched.before = another_comes
    with closing(SQLiteStorage(path)) as store:
        other.join()
        add(store, new_card())


def test_making_the_file_waits_for_whoever_is_at_it(path):
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        timer = threading.Timer(0.2, other.execute, ["ROLLBACK"])
        timer.start()
        with closing(SQLiteStorage(path)) as store:
            add(store, new_card())
        timer.join()


def test_many_may_make_the_file_at_once(tmp_path):
    for number in range(10):
        path = tmp_path / f"{number}.db"
        for store in together(*[partial(SQLiteStorage, path)] * 8):
            store.close()


# -- what the tables refuse, and how they are searched --------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE card SET held = balance + 1",
        "UPDATE card SET balance = held - 1",
        "UPDATE card SET balance = -1, held = -1",
        "UPDATE card SET held = -1",
        "UPDATE card SET balance = 'plenty'",
        "UPDATE card SET balance = 1e300",
        "UPDATE card SET balance = NULL",
        "UPDATE card SET blocked = 2",
        "UPDATE card SET state = zeroblob(65537)",
        "UPDATE entry SET balance_after = -1",
        "UPDATE entry SET amount = 0.5",
        "INSERT INTO entry SELECT * FROM entry",
        "INSERT INTO record SELECT * FROM record",
        "INSERT INTO card SELECT 'other', 1, 1, batch, serial, 0, 0, 1, 1, 0, 1, '' FROM card",
        "INSERT INTO credential SELECT kind, token, 'SUMMER/2', sealed FROM credential",
    ],
)
def test_the_tables_refuse_what_must_never_be(store, path, statement):
    store.transact(CARD, change(entry_row(), record_row(), held=400))
    before = kept(store)
    with pytest.raises(sqlite3.IntegrityError):
        by_hand(path, statement)
    assert kept(store) == before


def test_nothing_hot_reads_a_whole_table(store):
    store.publish("plan", "basic", b"", expected=0)
    said: list[str] = []
    with store._connections.lend() as connection:  # the only one: all that follows goes through it
        connection.set_trace_callback(said.append)
    store.transact(CARD, change(entry_row(), record_row()), key="call:1")
    store.add_cards("job", [new_card(2)])
    store.resolve("pin", [b"x", b"y"])
    store.credentials([CARD], "pin")
    store.bind(CredentialRow("ani", b"x", CARD, None), expected=None)
    store.bind(CredentialRow("ani", b"x", CARD, None), expected=CARD)
    store.unbind("ani", b"x", expected=CARD)
    store.find_cards(BATCH, after=1)
    store.count_cards(batch=BATCH)
    store.due(5)
    store.due(5, after=(3, CARD))
    store.entries(CARD, after=3)
    store.records(after=(CARD, "call:1"))
    store.records(card=CARD, after=(CARD, "call:1"))
    store.records(batch=BATCH, after=(CARD, "call:1"))
    store.calls_by_id("1")
    store.suspend(SuspenseRow("key", 1, "", "", b""))
    store.suspended(after="key")
    store.content("plan", "basic", 1)
    store.audit_log(after=1)
    with store._connections.lend() as connection:
        connection.set_trace_callback(None)
        asked = [sql for sql in said if sql.startswith(("SELECT", "UPDATE", "INSERT", "DELETE"))]
        plans = {
            sql: [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}")]
            for sql in asked
        }
    assert len(asked) >= 21
    for sql, steps in plans.items():
        slow = [step for step in steps if "SCAN" in step or "TEMP B-TREE" in step]
        assert [step for step in slow if step != "SCAN catalogue_revision"] == [], sql


# -- errors -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [sqlite3.OperationalError, sqlite3.IntegrityError, OverflowError])
def test_an_error_of_the_callers_own_is_not_taken_for_ours(store, kind):
    error = kind("mine")
    error.__cause__ = cause = ValueError("why")
    add(store, new_card(2))
    taken = new_card(3, token=b"SUMMER/2")
    for attempt in (
        lambda: store.transact(CARD, partial(throw, error)),
        lambda: store.add_cards("job", map(throw, [error])),
        lambda: store.add_cards("job", [taken], redraw=partial(throw, error)),
        lambda: store.add_cards("job", [], approve=partial(throw, error)),
    ):
        with pytest.raises(kind) as caught:
            attempt()
        assert caught.value is error
        assert caught.value.__cause__ is cause
    assert kept(store) == (card_row(), [], [])


@pytest.mark.parametrize(
    "row",
    [AuditRow(2**63, "", "", "", b""), AuditRow(1, "lone \ud800", "", "", b"")],
    ids=["integer beyond 64 bits", "half a character"],
)
def test_what_sqlite_cannot_hold_is_refused_by_a_storage_error(store, row):
    with pytest.raises(StorageError):
        store.append_audit(row, after=0)
    assert store.audit_log() == []


def test_the_disk_may_fail_at_every_statement(path, watched):
    """Nothing is done, or at COMMIT it may have been; it says so, and goes on afterwards."""

    def broken(sql):
        statements.append(sql)
        if len(statements) == failing:
            raise sqlite3.OperationalError("disk I/O error")

    with closing(SQLiteStorage(path)) as store:
        add(store, new_card())
        for work in (
            lambda: store.transact(CARD, change(entry_row(), record_row()), key="call:1"),
            lambda: store.add_cards("job", [new_card(2), new_card(3)]),
            lambda: store.publish("plan", "basic", b"", expected=0),
            lambda: store.suspend(SuspenseRow("key", 1, "", "", b"")),
            lambda: store.append_audit(AuditRow(1, "", "", "", b""), after=0),
            lambda: store.take_attempts(7, "a", count),
            lambda: store.transact(CARD, change(balance=7)),
            lambda: store.take_attempts(7, "a", lambda *_: Tally(None, None, book=b"")),
        ):
            before = everything(store)
            failing, statements = 1, list[str]()
            while error := attempt(work, broken):
                assert error.outcome_unknown == (statements[failing - 1] == "COMMIT")
                assert isinstance(error.__cause__, sqlite3.OperationalError)
                assert everything(store) == before
                failing, statements = failing + 1, []
            assert statements[-1] == "COMMIT"
            assert everything(store) != before


def attempt(
    work: Callable[[], object], before: Callable[[str], object]
) -> StorageUnavailable | None:
    Watched.before = before
    try:
        work()
    except StorageUnavailable as error:
        return error
    finally:
        Watched.before = None
    return None


def everything(store: SQLiteStorage):
    logs = store.catalogue(), store.suspended(), store.audit_log()
    with store._connections.lend() as connection:
        attempts = connection.execute("SELECT * FROM attempt").fetchall()
    return kept(store), store.find_cards(BATCH), logs, attempts


def test_a_commit_whose_answer_is_lost_may_have_been_done(path, watched):
    def lost(sql):
        if sql == "COMMIT":
            watched.after = None
            raise sqlite3.OperationalError("disk I/O error")

    with closing(SQLiteStorage(path)) as store:
        add(store, new_card())
        watched.after = lost
        with pytest.raises(StorageUnavailable, match="not known") as caught:
            store.transact(CARD, deposit)
        assert caught.value.outcome_unknown
        assert store.view(CARD).card.balance == 1_001
        assert store.transact(CARD, deposit) == 1_002


def test_a_commit_that_found_the_file_busy_was_not_done(path, watched):
    def busy(sql):
        if sql == "COMMIT":
            watched.before = None
            error = sqlite3.OperationalError("database is locked")
            error.sqlite_errorcode = sqlite3.SQLITE_BUSY
            raise error

    with closing(SQLiteStorage(path)) as store:
        add(store, new_card())
        watched.before = busy
        with pytest.raises(StorageUnavailable, match="nothing was done"):
            store.transact(CARD, deposit)
        assert store.transact(CARD, deposit) == 1_001


def test_a_connection_that_could_not_roll_back_is_not_used_again(path, watched):
    def broken(sql):
        if sql in {"COMMIT", "ROLLBACK"}:
            raise sqlite3.OperationalError("disk I/O error")

    with closing(SQLiteStorage(path)) as store:
        add(store, new_card())
        watched.before = broken
        with pytest.raises(StorageUnavailable):
            store.transact(CARD, deposit)
        watched.before = None
        assert store.view(CARD).card.balance == 1_000  # what was never committed is not seen
        assert store.transact(CARD, deposit) == 1_001


def test_a_view_is_of_one_moment(path, watched):
    with closing(SQLiteStorage(path)) as writer, closing(SQLiteStorage(path)) as reader:
        add(writer, new_card())
        writer.transact(CARD, deposit)

        def meanwhile(sql):
            watched.before = None
            writer.transact(CARD, deposit)
            watched.before = meanwhile

        watched.before = meanwhile
        view = reader.view(CARD, "count")
        watched.before = None
        assert view.record is not None
        assert view.record.seconds == view.card.version > 2


def test_a_full_disk_refuses_and_later_goes_on(store, monkeypatch):
    most = pragma(store, "page_count") + 4
    assert pragma(store, f"max_page_count = {most}") == most
    connect = Connections._connect

    def limited(connections: Connections) -> sqlite3.Connection:
        connection = connect(connections)
        connection.execute(f"PRAGMA max_page_count = {most}")
        return connection

    monkeypatch.setattr(Connections, "_connect", limited)
    before = everything(store)
    large = [new_card(serial, state=bytes(60_000)) for serial in range(2, 40)]
    for _ in range(2):
        with pytest.raises(StorageUnavailable, match="full"):
            store.add_cards("job", large)
        with pytest.raises(StorageUnavailable, match="full"):
            store.publish("deck", "retail", bytes(1_000_000), expected=0)
        assert everything(store) == before
    assert store.transact(CARD, deposit) == 1_001
    most = 1_000_000
    pragma(store, f"max_page_count = {most}")
    assert store.add_cards("job", large) == 38
    assert pragma(store, "integrity_check") == "ok"


# -- attempts -----------------------------------------------------------------------------


@pytest.mark.parametrize(("synchronous", "usual"), [("FULL", 2), ("NORMAL", 1)])
def test_only_attempts_do_not_wait_for_the_disk(path, watched, synchronous, usual):
    """Every commit of anything else does, on the same connection and after what failed."""
    levels: list[int] = []

    def look(sql):
        if sql == "COMMIT":
            (connection,) = connections
            watched.before = None
            levels.append(connection.execute("PRAGMA synchronous").fetchone()[0])
            watched.before = look

    with closing(SQLiteStorage(path, synchronous=synchronous)) as store:
        add(store, new_card())
        with store._connections.lend() as connection:
            connections = [connection]  # the one there is
        watched.before = look
        store.take_attempts(7, "a", count)
        store.transact(CARD, deposit)
        store.take_attempts(7, "a", count)
        with pytest.raises(ValueError, match="mine"):
            store.take_attempts(7, "a", lambda *_: throw(ValueError("mine")))
        assert store.append_audit(AuditRow(1, "", "", "", b""), after=0)
        store.suspend(SuspenseRow("key", 1, "", "", b""))
        watched.before = None
        assert store._connections._idle == connections
    assert levels == [1, usual, 1, usual, usual]
    assert store._connections._relaxed == set()


def test_attempts_that_are_as_they_were_are_not_written(store, path):
    """Whoever is locked and goes on guessing writes nothing."""
    store.take_attempts(7, "a", count)
    before = path.with_name("cards.db-wal").read_bytes()
    for _ in range(10):
        store.take_attempts(7, "a", lambda state, book: Tally(None, state, 9, book))
        store.take_attempts(7, "b", lambda *_: Tally(None, None))
    assert path.with_name("cards.db-wal").read_bytes() == before


def test_the_file_says_whose_it_is(path):
    SQLiteStorage(path).close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
