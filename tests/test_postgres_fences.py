"""What was left, or is on its way still, does no harm: a row is swapped only as it was seen."""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any

import pytest

from cardbill.storage.contract import Step, Tally, View
from cardbill.testing.conformance.rows import CARD, add, change, new_card

psycopg = pytest.importorskip("psycopg", reason="the PostgreSQL store needs psycopg")

from cardbill.storage.postgres import PostgresStorage  # noqa: E402  # needs psycopg
from cardbill.storage.postgres_connections import Session  # noqa: E402  # as above

GROUP = 3
LOCKED = {
    "card": f"SELECT FROM cardbill.card WHERE id = '{CARD}' FOR UPDATE",
    "attempts": f"SELECT FROM cardbill.attempt_group WHERE grp = {GROUP} FOR UPDATE",
}
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"


@pytest.fixture
def store(postgres: str) -> Iterator[PostgresStorage]:
    with closing(PostgresStorage(postgres)) as store:
        add(store, new_card())
        yield store


class Deciding:
    """Decides to change something at first, and when asked again to change nothing."""

    def __init__(self) -> None:
        self.asked = 0

    def card(self, view: View) -> Step[str]:
        self.asked += 1
        return change(state=b"changed")(view) if self.asked == 1 else Step("nothing")

    def attempts(self, state: bytes | None, _: bytes | None) -> Tally[str]:
        self.asked += 1
        return Tally("done", b"changed", 9) if self.asked == 1 else Tally("nothing", state, 0)


def take(store: PostgresStorage, what: str, deciding: Deciding) -> str:
    if what == "card":
        return store.transact(CARD, deciding.card)
    return store.take_attempts(GROUP, "a", deciding.attempts)


def changed(store: PostgresStorage, what: str) -> bool:
    if what == "card":
        return store.view(CARD).card.state == b"changed"
    return [row.state for row in store.attempts()] == [b"changed"]


@contextmanager
def cut_off_at(monkeypatch: pytest.MonkeyPatch, word: str) -> Iterator[Callable[[], None]]:
    """Give a function that cuts the connection that said the word: its server knows nothing."""
    said: list[Any] = []
    execute = Session._execute

    def noting(session: Session, query: str, *arguments: Any, **options: Any) -> None:
        if word in query:
            said.append(session.connection)
        execute(session, query, *arguments, **options)

    def cut() -> None:
        with socket.socket(fileno=os.dup(said[0].pgconn.socket)) as line:
            line.shutdown(socket.SHUT_RDWR)

    with monkeypatch.context() as patch:
        patch.setattr(Session, "_execute", noting)
        yield cut


def until(holds: Callable[[], bool], seconds: float = 30) -> bool:
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.005)
    return holds()


@pytest.mark.parametrize("what", ["card", "attempts"])
def test_nothing_is_answered_that_a_statement_on_its_way_can_belie(
    store: PostgresStorage, postgres: str, monkeypatch: pytest.MonkeyPatch, what: str
):
    """The server waits for a lock with the change when its client is cut off and decides anew."""
    deciding = Deciding()
    with (
        psycopg.connect(postgres) as other,
        psycopg.connect(postgres, autocommit=True) as watch,
        cut_off_at(monkeypatch, "UPDATE") as cut,
        ThreadPoolExecutor(1) as pool,
    ):
        other.execute(LOCKED[what])
        answer = pool.submit(take, store, what, deciding)
        assert until(lambda: watch.execute(WAITING).fetchone() == (1,))
        cut()
        # It has decided to change nothing; whether it says so at once, or makes sure:
        until(lambda: answer.done() or watch.execute(WAITING).fetchone() == (2,))
        other.rollback()
        said = answer.result(30)
        assert deciding.asked == 2
        assert until(lambda: watch.execute(WAITING).fetchone() == (0,))
        assert changed(store, what) == (said == "done")


def test_a_version_that_comes_again_with_another_state_is_not_taken_for_what_was_left(
    store: PostgresStorage, postgres: str
):
    """As after a server that lost its last commits, or a commit that was rolled back."""
    store.transact(CARD, change(state=b"ours"), key="call")
    with psycopg.connect(postgres, autocommit=True) as other:
        other.execute("UPDATE cardbill.card SET state = 'theirs', swap = 1")
    seen: list[bytes] = []

    def decide(view: View) -> Step[str]:
        seen.append(view.card.state)
        return change(state=view.card.state + b" and ours")(view)

    store.transact(CARD, decide, key="call")
    assert seen == [b"ours", b"theirs"]
    assert store.view(CARD).card.state == b"theirs and ours"


def test_a_group_of_another_number_is_not_taken_for_what_was_left(
    store: PostgresStorage, postgres: str
):
    def count(state: bytes | None, _: object) -> Tally[int]:
        number = int(state or b"0") + 1
        return Tally(number, b"%d" % number, 9)

    assert store.take_attempts(GROUP, "a", count) == 1
    with psycopg.connect(postgres, autocommit=True) as other:
        other.execute("UPDATE cardbill.attempt_group SET swap = 1 WHERE grp = %s", (GROUP,))
        other.execute("UPDATE cardbill.attempt SET state = '7'")
    assert store.take_attempts(GROUP, "a", count) == 8


def test_many_at_once_are_all_counted_though_each_remembers(store: PostgresStorage, postgres: str):
    """Each of two processes goes on from what it left, while the other is at it too."""

    def count(state: bytes | None, _: object) -> Tally[int]:
        number = int(state or b"0") + 1
        return Tally(number, b"%d" % number, 9)

    with closing(PostgresStorage(postgres)) as second, ThreadPoolExecutor(4) as pool:
        barrier = threading.Barrier(4)

        def work(number: int) -> None:
            barrier.wait()
            for _ in range(25):
                (store, second)[number % 2].take_attempts(GROUP, "a", count)

        list(pool.map(work, range(4)))
    assert [row.state for row in store.attempts()] == [b"100"]
