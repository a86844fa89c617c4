"""The PostgreSQL store when network or server fail: each step is taken once, or not at all."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from typing import Any

import pytest

from cardbill.errors import StorageUnavailable
from cardbill.storage.contract import AuditRow, CredentialRow, Step, SuspenseRow, View
from cardbill.testing.conformance.rows import (
    BATCH,
    CARD,
    add,
    deposit,
    kept,
    new_card,
    throw,
    together,
)

psycopg = pytest.importorskip("psycopg", reason="the PostgreSQL store needs psycopg")

from cardbill.storage.postgres import PostgresStorage  # noqa: E402  # needs psycopg
from cardbill.storage.postgres_connections import Session  # noqa: E402  # as above
from tests.postgres_looks import connected, count  # noqa: E402  # as above


@pytest.fixture
def store(postgres: str) -> Iterator[PostgresStorage]:
    """A store with one card."""
    with closing(PostgresStorage(postgres)) as store:
        add(store, new_card())
        yield store


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
