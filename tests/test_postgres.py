"""The PostgreSQL store keeps the contract, whatever its server, its network and its rivals do."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
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
from cardbill.storage.contract import (
    AuditRow,
    CredentialRow,
    NewCard,
    Step,
    SuspenseRow,
    Tally,
    View,
)
from cardbill.testing.conformance import StorageContract, Wire
from cardbill.testing.conformance.attempts import Attempts
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
from cardbill.testing.conformance.steps import Steps
from tests.building import BARRED, UK, open_shop

psycopg = pytest.importorskip("psycopg", reason="the PostgreSQL store needs psycopg")

from cardbill.storage.postgres import PostgresStorage  # noqa: E402  # needs psycopg
from cardbill.storage.postgres_adding import CHUNK  # noqa: E402  # as above
from cardbill.storage.postgres_connections import Session  # noqa: E402  # as above

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


@contextmanager
def connected(address: str) -> Iterator[Any]:
    with psycopg.connect(address, autocommit=True) as connection:
        yield connection


def count(state: bytes | None, _: object) -> Tally[int]:
    """Count one attempt; answer with how many there were."""
    counted = int(state or b"0") + 1
    return Tally(counted, b"%d" % counted, 9)


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
    omits: ClassVar = dict.fromkeys(("processes", "crashes"), "a connection serves one process")

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


# -- what a call costs -------------------------------------------------------------------------


@contextmanager
def statements(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """All that is sent to the server meanwhile, each a round trip once it is prepared."""
    sent: list[str] = []
    execute = psycopg.Cursor.execute

    def noted(cursor: Any, query: bytes, *arguments: Any, **options: Any) -> Any:
        sent.append(query.decode())
        return execute(cursor, query, *arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(psycopg.Cursor, "execute", noted)
        yield sent


def test_a_call_takes_few_round_trips(tmp_path: Path, monkeypatch):
    with open_shop("postgres", tmp_path) as shop:
        bill, pin = shop.second(throttle=None), shop.pin()
        for engine in (bill, shop.bill):
            shop.bill = engine
            engine.settle(shop.grant(f"warm-{id(engine)}").handle, talk_ms=1_000)
        with statements(monkeypatch) as sent:

            def trips(work: Callable[[], Any]) -> tuple[int, Any]:
                del sent[:]
                answer = work()
                return len(sent), answer

            count, caller = trips(lambda: bill.authenticate(pin=pin))
            assert count == 1, sent  # whose token, and how the card stands
            count, grant = trips(lambda: bill.authorize(caller, to=UK, call_id="c1"))
            assert grant.granted
            assert count == 1, sent  # the card as it was just read, if it still is
            count, record = trips(lambda: bill.settle(grant.handle, talk_ms=61_000))
            assert not record.replayed
            assert count == 1, sent  # the card as this process left it
            count, record = trips(lambda: bill.settle(grant.handle, talk_ms=61_000))
            assert record.replayed
            assert count == 1, sent  # what was done before changes nothing
            count, grant = trips(lambda: bill.authorize(pin=pin, to=UK, call_id="c2"))
            assert grant.granted
            assert count == 2, sent
            count, denied = trips(lambda: bill.authorize(caller, to=BARRED, call_id="c3"))
            assert not denied.granted
            assert count == 1, sent
            count, caller = trips(lambda: shop.bill.authenticate(pin=pin, ani="+13055551234"))
            assert count == 4, sent  # an attempt counted, and given back without a look


def test_attempts_that_others_counted_since_are_counted(store):
    with closing(PostgresStorage(store._connections._address)) as other:
        for counted in range(1, 7):
            handle = other if counted % 3 == 0 else store
            assert handle.take_attempts(3, "a", count) == counted


def test_a_step_that_changes_nothing_writes_nothing(store, postgres):
    with connected(postgres) as connection:
        before = connection.execute("SELECT xmin, ctid FROM cardbill.card").fetchall()
        store.transact(CARD, Step)
        store.take_attempts(3, "a", lambda *_: Tally(None, None))
        assert connection.execute("SELECT xmin, ctid FROM cardbill.card").fetchall() == before
        assert connection.execute("SELECT sum(version) FROM cardbill.attempt_group").fetchone() == (
            0,
        )


FILL = """
    INSERT INTO cardbill.entry SELECT id, 7, 1, 'call', -1, 1, 'call:1', '' FROM cardbill.card;
    INSERT INTO cardbill.record
    SELECT id, 'call:2', 1, batch, 'settled', 1, 1, '2', '', '', NULL, 1, 1, 0, 0, ''
    FROM cardbill.card;
    INSERT INTO cardbill.attempt SELECT serial % 256, id, 'state', 9 FROM cardbill.card;
    ANALYZE;
"""


def test_every_hot_statement_is_one_look_up_in_each_index(store, postgres, monkeypatch):
    """And names the card or the token that it is about, so that one node has all of it."""
    add(store, *[new_card(serial) for serial in range(2, 3_000)])
    with statements(monkeypatch) as sent:
        store.resolve("pin", [b"SUMMER/1"])
        store.transact(CARD, change(state=b"x"), key="call:1")
        store.transact(CARD, change(entry_row(), record_row()))
        store.transact(CARD, change(state=b"y"), key="call:2", seen=store.view(CARD))
        rows = entry_row(seq=2), record_row()
        store.transact(CARD, change(*rows), key="call:2", seen=store.view(CARD))
        store.transact(CARD, change(*[entry_row(seq=seq) for seq in range(8, 18)]))
        store.take_attempts(3, "a", count)
        store.take_attempts(3, "a", lambda *_: Tally(None, None))
    hot = list(dict.fromkeys(sent))
    assert len(hot) == 10, hot
    with connected(postgres) as connection:
        connection.execute(FILL)
        for query in hot:
            numbered = query.split("%s")
            text = "".join(f"{part}${n}" for n, part in enumerate(numbered[:-1], start=1))
            connection.execute(f"PREPARE hot AS {text + numbered[-1]}")
            connection.execute("SET plan_cache_mode = force_generic_plan")
            nothing = ", ".join(["NULL"] * (len(numbered) - 1))
            lines = connection.execute(f"EXPLAIN EXECUTE hot({nothing})").fetchall()
            plan = "\n".join(line for (line,) in lines)
            connection.execute("DEALLOCATE hot")
            # Tables of few rows, one for all or one for each group of attempts, may be read whole.
            tables = [f"Seq Scan on {each} " for each in ("card", "entry", "record", "attempt")]
            for wide in (*tables, "Seq Scan on credential", "Bitmap", "Hash", "Merge"):
                assert wide not in plan, plan
            for condition in [line for line in plan.splitlines() if "Index Cond" in line]:
                assert any(key in condition for key in ("id = ", "card = ", "token = ", "grp = "))


# -- rivals ------------------------------------------------------------------------------------


def test_a_card_that_many_want_at_once_gets_on(store, monkeypatch):
    """After one conflict a step waits in the card's own queue: nobody tries again and again."""
    with statements(monkeypatch) as sent:
        together(*[partial(store.transact, CARD, deposit)] * 16)
    assert store.view(CARD).card.balance == 1_016
    swaps = [query for query in sent if "UPDATE" in query and "swapped" in query]
    assert len(swaps) <= 16 * 2


def test_a_step_waits_for_a_lock_no_longer_than_it_may(postgres, store):
    with closing(PostgresStorage(postgres, timeout=1)) as impatient, connected(postgres) as other:
        other.execute("BEGIN")
        other.execute("SELECT 1 FROM cardbill.card FOR UPDATE")
        begun = time.monotonic()
        with pytest.raises(StorageUnavailable, match="nothing was done") as caught:
            impatient.transact(CARD, deposit)
        assert not caught.value.outcome_unknown
        assert 0.9 < time.monotonic() - begun < 20
        assert kept(impatient) == (card_row(), [], [])  # who only reads does not wait
        other.execute("ROLLBACK")
        assert impatient.transact(CARD, deposit) == 1_001


def test_more_threads_than_connections_wait_for_their_turn(postgres):
    with closing(PostgresStorage(postgres, connections=2)) as store:
        add(store, new_card())
        together(*[partial(store.transact, CARD, deposit)] * 12)
        assert store.view(CARD).card.balance == 1_012
        with connected(postgres) as other:
            (open_ones,) = other.execute(
                "SELECT count(*) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            ).fetchone()
            assert open_ones <= 2


def test_who_waits_for_a_connection_in_vain_is_told(postgres):
    entered, leave = threading.Event(), threading.Event()

    def slowly(view):
        entered.set()
        leave.wait()
        return deposit(view)

    with closing(PostgresStorage(postgres, timeout=1, connections=1)) as store:
        add(store, new_card())
        thread = threading.Thread(target=store.transact, args=(CARD, slowly))
        thread.start()
        entered.wait()
        with pytest.raises(StorageUnavailable, match="in use"):
            store.view(CARD)
        leave.set()
        thread.join()
        assert store.view(CARD).card.balance == 1_001


def test_credentials_taken_while_a_job_moves_in_are_drawn_again(store: PostgresStorage):
    """Two jobs that draw the same: each keeps what it got first, and neither waits for ever."""
    half = threading.Barrier(2)

    def offer(batch: str) -> Iterator[NewCard]:
        for serial in range(1, CHUNK + 2):
            if serial > CHUNK:
                half.wait()  # both have staged as many
            yield new_card(serial, batch, token=b"same %d" % (serial % 20))

    def redraw(new: NewCard) -> NewCard:
        token = new.credential.token + new.card.id.encode()
        return new._replace(credential=new.credential._replace(token=token))

    def work(batch: str) -> int:
        return store.add_cards(batch, offer(batch), redraw=redraw)

    assert together(partial(work, "A"), partial(work, "B")) == [CHUNK + 1] * 2
    found = [
        row.token
        for batch in "AB"
        for row in store.credentials([f"{batch}/{serial}" for serial in range(1, CHUNK + 2)])
    ]
    assert len(set(found)) == len(found) == 2 * CHUNK + 2
    assert {b"same %d" % number for number in range(20)} < set(found)


def test_of_two_jobs_by_one_name_the_cards_of_one_are_added(store):
    """Also where neither stands in the other's way."""
    half = threading.Barrier(2)

    def offer(batch: str) -> Iterator[NewCard]:
        for serial in range(1, CHUNK + 2):
            if serial > CHUNK:
                half.wait()
            yield new_card(serial, batch)

    def work(batch: str) -> int:
        return int(store.add_cards("job", offer(batch)))

    assert together(partial(work, "A"), partial(work, "B")) == [CHUNK + 1] * 2
    assert store.count_cards() == CHUNK + 2


def test_calls_go_on_while_cards_are_added(store):
    """Nothing a job does before its end, and nothing at its end, stands in a call's way."""

    def offer() -> Iterator[NewCard]:
        for serial in range(2, 2_002):
            if serial % 500 == 0:
                store.transact(CARD, deposit)
            yield new_card(serial)

    def approve(_: int) -> None:
        assert store.count_cards() == 1
        store.transact(CARD, deposit)
        assert store.bind(CredentialRow("ani", b"x", CARD, None), expected=None)

    assert store.add_cards("job", offer(), approve=approve) == 2_000
    assert store.view(CARD).card.balance == 1_005


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


# -- what the network and the server do --------------------------------------------------------


class Cut:
    """Breaks connections at chosen statements: before they are sent, or before the answer."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sent: list[str] = []
        self.before: set[int] = set()
        self.after: set[int] = set()
        execute = Session._execute

        def cutting(session: Session, query: str, *arguments: Any, **options: Any) -> None:
            self.sent.append(query)
            here = len(self.sent)
            if here in self.before:
                session.connection.close()
            execute(session, query, *arguments, **options)
            if here in self.after:
                session.connection.close()
                with session._translating(writing=options["writing"]):
                    raise psycopg.OperationalError("the connection was cut")

        monkeypatch.setattr(Session, "_execute", cutting)

    def at(self, *, before: tuple[int, ...] = (), after: tuple[int, ...] = ()) -> None:
        """From now on, counted from 1."""
        self.sent.clear()
        self.before, self.after = set(before), set(after)


@pytest.fixture
def cut(monkeypatch) -> Cut:
    return Cut(monkeypatch)


@pytest.fixture(params=["request", "answer"])
def lose(request: pytest.FixtureRequest, cut: Cut) -> Callable[[int], None]:
    """Cuts the connection at the statement of that number."""
    when = "before" if request.param == "request" else "after"
    return lambda number: cut.at(**{when: (number,)})


def top_up(view: View) -> Step[int]:
    """Put one unit on the card without a word, by a step that leaves no record."""
    balance = view.card.balance + 1
    return Step(balance, view.card._replace(version=view.card.version + 1, balance=balance))


def test_the_connection_may_break_at_every_statement_of_a_step(store, cut, lose):
    """It is taken once, whatever is lost, and attempts are counted once."""

    def attempt() -> int:
        counted: int = store.take_attempts(3, "a", count)
        return counted

    def attempt_anew() -> int:
        store._attempts._left.clear()
        return attempt()

    def balance() -> int:
        return int(store.view(CARD).card.balance)

    def attempts() -> int:
        return int(store.attempts()[0].state)

    for take, look, statements in (
        (lambda: store.transact(CARD, deposit, key="count"), balance, 2),
        (lambda: store.transact(CARD, top_up, key="goes on"), balance, 1),
        (attempt_anew, attempts, 2),
        (attempt, attempts, 1),
    ):
        before = take()
        number, used = 0, 1
        while used >= number:  # until there is none of that number
            number += 1
            lose(number)
            assert take() == before + number
            used = len(cut.sent)
            cut.at()
            assert look() == before + number
        assert number > statements
    _, entries, _ = kept(store)
    assert [row.balance_after for row in entries] == list(range(1_001, 1_001 + len(entries)))


@pytest.mark.parametrize(
    ("work", "done"),
    [
        (
            lambda store, n: store.publish("plan", f"{n}", b"", expected=0),
            lambda store, n: [head.name for head in store.catalogue()[1]].count(f"{n}"),
        ),
        (
            lambda store, n: store.suspend(SuspenseRow(f"{n}", 1, "", "", b"")),
            lambda store, n: [row.key for row in store.suspended()].count(f"{n}"),
        ),
        (
            lambda store, n: store.append_audit(
                AuditRow(n, "", "", "", b""), after=len(store.audit_log())
            ),
            lambda store, n: [row.at for _, row in store.audit_log()].count(n),
        ),
        (
            lambda store, n: store.add_cards(f"{n}", [new_card(n + 1)]),
            lambda store, n: len(store.find_cards(BATCH, after=n, limit=1)),
        ),
        (
            lambda store, n: store.bind(CredentialRow("ani", b"%d" % n, CARD, None), expected=None),
            lambda store, n: [row.token for row in store.credentials([CARD])].count(b"%d" % n),
        ),
    ],
    ids=["publish", "suspend", "append_audit", "add_cards", "bind"],
)
def test_the_connection_may_break_at_every_other_statement(store, cut, lose, work, done):
    """It was done, or not, or it is said that this is not known."""
    error: StorageUnavailable | None = None
    number, used = 0, 1
    while used >= number:
        number += 1
        lose(number)
        error = None
        try:
            assert work(store, number)
        except StorageUnavailable as caught:
            error = caught
        used = len(cut.sent)
        cut.at()
        if error is None:
            assert done(store, number) == 1
        elif not error.outcome_unknown:
            assert done(store, number) == 0
    assert error is None  # at last nothing was lost


def test_a_step_of_anothers_that_looks_the_same_is_not_taken_for_ones_own(store, cut, monkeypatch):
    """Both deposit one unit to the same version: two units."""
    with closing(PostgresStorage(store._connections._address)) as other:

        def meanwhile(_: object) -> bool:
            assert other.transact(CARD, deposit) == 1_001
            return True

        cut.at(before=(2,))
        monkeypatch.setattr("cardbill.storage.postgres_faults.Patience.pause", meanwhile)
        assert store.transact(CARD, deposit) == 1_002


def test_a_step_that_was_overtaken_while_in_doubt_says_so(store, cut, monkeypatch):
    """Its answer was lost, and others have moved on since: the card does not tell any more."""
    with closing(PostgresStorage(store._connections._address)) as other:

        def meanwhile(patience: object) -> bool:
            for _ in range(2):
                other.transact(CARD, deposit)
            return True

        cut.at(after=(2,))
        monkeypatch.setattr("cardbill.storage.postgres_faults.Patience.pause", meanwhile)
        with pytest.raises(StorageUnavailable) as caught:
            store.transact(CARD, deposit)
        assert caught.value.outcome_unknown
        assert store.view(CARD).card.balance == 1_003


def end_others(connection: Any) -> None:
    """Have the server end every other connection to this database."""
    connection.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )


def test_a_step_goes_on_when_the_server_ends_its_connection(store, postgres):
    runs = []

    def decide(view):
        runs.append(view)
        if len(runs) == 1:
            with connected(postgres) as other:
                end_others(other)
        return deposit(view)

    assert store.transact(CARD, decide) == 1_001
    assert len(runs) == 2
    assert len(store.entries(CARD)) == 1


def test_a_connection_that_was_ended_while_idle_is_noticed_before_it_is_used(store, postgres):
    with connected(postgres) as other:
        end_others(other)
        row = AuditRow(1, "", "", "", b"")
        assert store.append_audit(row, after=0)  # which may not be tried twice


def test_the_server_may_end_connections_all_the_time(store, postgres):
    finished = threading.Event()

    def work() -> int:
        done = 0
        for _ in range(40):
            try:
                store.transact(CARD, deposit)
                done += 1
            except StorageUnavailable as error:
                unknown.append(error.outcome_unknown)
        return done

    def disturb() -> int:
        with connected(postgres) as other:
            while not finished.is_set():
                end_others(other)
                time.sleep(0.02)
        return 0

    unknown: list[bool] = []
    disturber = threading.Thread(target=disturb)
    disturber.start()
    try:
        done = sum(together(*[work] * 4))
    finally:
        finished.set()
        disturber.join()
    assert done <= store.view(CARD).card.balance - 1_000 <= done + unknown.count(True)
    card, entries, _ = kept(store)
    assert [row.balance_after for row in store.entries(CARD, limit=1_000)] == list(
        range(1_001, card.balance + 1)
    )
    assert done > 100
    assert entries


def test_a_failed_function_leaves_the_connection_as_it_was(store):
    for error in (ValueError("mine"), psycopg.OperationalError("mine"), KeyboardInterrupt()):
        with pytest.raises(type(error)) as caught:
            store.transact(CARD, partial(throw, error))
        assert caught.value is error
    assert len(store._connections._idle) == 1
    assert store.transact(CARD, deposit) == 1_001


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


@contextmanager
def as_if_citus(address: str) -> Iterator[None]:
    """Functions by the names of Citus that do nothing: its script then runs on one server."""
    with connected(address) as connection:
        connection.execute("""
            CREATE FUNCTION create_reference_table(text) RETURNS void
                LANGUAGE sql AS 'SELECT NULL::void';
            CREATE FUNCTION create_distributed_table(text, text, colocate_with text) RETURNS void
                LANGUAGE sql AS 'SELECT NULL::void';
            CREATE FUNCTION create_distributed_function(
                regprocedure, distribution_arg_name text, colocate_with text
            ) RETURNS void LANGUAGE sql AS 'SELECT NULL::void';
        """)
    yield


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
