"""The SQLite store beside other threads and processes, that write, fork, close and are killed."""

import ctypes
import os
import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from cardbill.errors import StorageClosed, StorageError, StorageUnavailable
from cardbill.storage.contract import AuditRow, CredentialRow, Step, SuspenseRow
from cardbill.storage.sqlite import SQLiteStorage
from cardbill.testing.conformance.rows import (
    BATCH,
    CARD,
    add,
    card_row,
    deposit,
    kept,
    new_card,
    together,
)
from tests.killing import grown, kill, mother
from tests.source_tree import ROOT
from tests.sqlite_files import count, folder, pragma

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cards.db"


@pytest.fixture
def store(path: Path) -> Iterator[SQLiteStorage]:
    """A store with one card."""
    with closing(SQLiteStorage(path)) as store:
        add(store, new_card())
        yield store


# -- other writers ------------------------------------------------------------------------


def program(work: Callable[..., None], *arguments: object) -> subprocess.Popen[str]:
    """Run a function of this file in a new process, by its name."""
    code = f"import sys; from {__name__} import {work.__name__} as work; work(*sys.argv[1:])"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, text=True, stdin=pipe, stdout=pipe)


def hold_the_lock(path: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    print("held", flush=True)
    input()
    connection.execute("ROLLBACK")


@contextmanager
def lock_held_elsewhere(path: Path) -> Iterator[Callable[[], object]]:
    """Another process is in the midst of writing, until what this gives is called."""
    with program(hold_the_lock, path) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        yield partial(other.communicate, "let go\n")
        other.kill()


def test_a_writer_waits_for_another_process(store, path):
    with lock_held_elsewhere(path) as let_go:
        timer = threading.Timer(0.3, let_go)
        timer.start()
        begun = time.monotonic()
        assert store.transact(CARD, deposit) == 1_001
        assert time.monotonic() - begun > 0.25
        timer.join()


def test_a_writer_that_waited_in_vain_has_done_nothing(store, path):
    with closing(SQLiteStorage(path, timeout=1)) as impatient, lock_held_elsewhere(path) as let_go:
        begun = time.monotonic()
        with pytest.raises(StorageUnavailable) as caught:
            impatient.transact(CARD, deposit)
        assert not caught.value.outcome_unknown
        assert 0.9 < time.monotonic() - begun < 10
        assert kept(impatient) == (card_row(), [], [])  # who only reads does not wait
        let_go()
        assert impatient.transact(CARD, deposit) == 1_001


def test_every_writing_method_says_that_the_store_is_busy(store, path):
    with closing(SQLiteStorage(path, timeout=0)) as impatient, lock_held_elsewhere(path):
        for write in (
            lambda: impatient.transact(CARD, deposit),
            lambda: impatient.add_cards("job", [new_card(2)]),
            lambda: impatient.bind(CredentialRow("ani", b"x", CARD, None), expected=None),
            lambda: impatient.unbind("ani", b"x", expected=CARD),
            lambda: impatient.publish("plan", "basic", b"", expected=0),
            lambda: impatient.suspend(SuspenseRow("key", 1, "", "", b"")),
            lambda: impatient.append_audit(AuditRow(1, "", "", "", b""), after=0),
        ):
            with pytest.raises(StorageUnavailable, match="nothing was done"):
                write()


def test_a_writer_waits_for_another_thread_no_longer_than_it_may(path):
    entered, leave = threading.Event(), threading.Event()

    def slowly(view):
        entered.set()
        leave.wait()
        return deposit(view)

    with closing(SQLiteStorage(path, timeout=0)) as store:
        add(store, new_card())
        thread = threading.Thread(target=store.transact, args=(CARD, slowly))
        thread.start()
        entered.wait()
        with pytest.raises(StorageUnavailable, match="nothing was done"):
            store.transact(CARD, deposit)
        leave.set()
        thread.join()
        assert store.view(CARD).card.balance == 1_001


# -- kill -9 ------------------------------------------------------------------------------


def write_until_killed(serial: str, path: str, file: str) -> None:
    """Deposit to one card, count, add three more and publish, again and again; say what is done."""
    store, said = SQLiteStorage(path), os.open(file, os.O_WRONLY | os.O_APPEND)
    for _ in range(1_000_000):
        version = store.transact(f"{BATCH}/{serial}", deposit) - 999
        os.write(said, f"version {serial} {version}\n".encode())
        os.write(said, f"attempts {serial} {store.take_attempts(7, serial, count)}\n".encode())
        job = f"{serial}-{version}"
        store.add_cards(job, [new_card(each, job) for each in (1, 2, 3)])
        os.write(said, f"job {job} 3\n".encode())
        store.publish("plan", job, bytes(20_000), expected=0)
        os.write(said, f"plan {job} 1\n".encode())


@needs_fork
@pytest.mark.parametrize("waves", [5, pytest.param(500, marks=pytest.mark.soak)])
def test_what_was_acknowledged_survives_kill_9(path, waves):
    """Four write at once; each is killed at a moment of its own, the others carry on."""
    chance = random.Random(4)
    said = path.with_name("said")
    said.touch()
    with closing(SQLiteStorage(path)) as store:
        add(store, *map(new_card, (1, 2, 3, 4)))
    with mother(write_until_killed, path, said) as writing:
        for _ in range(waves):
            writers = writing.bear("1", "2", "3", "4")
            grown(said)
            for writer in writers:
                time.sleep(chance.random() * 0.04)
                kill(writer)
            check_what_was_said(path, said.read_text())


def check_what_was_said(path: Path, said: str) -> None:
    with closing(SQLiteStorage(path)) as store:
        assert pragma(store, "integrity_check") == "ok"
        cards = {card.serial: card for card in store.find_cards(BATCH)}
        for card in cards.values():
            _, entries, records = kept(store, card.id)
            last = store.entries(card.id, after=card.version - 2)
            assert card.balance == card.version + 999
            assert [row.balance_after for row in last] == [card.balance] * (card.version > 1)
            assert [row.seq for row in entries] == list(range(1, min(card.version, 501)))
            assert [row.seconds for row in records] == [card.version] * (card.version > 1)
        revision, heads = store.catalogue()
        assert {head.version for head in heads} <= {1}
        assert revision == len(heads)
        assert store.count_cards() % 3 == 1  # four, and three in each job
        plans = {head.name for head in heads}
        attempts: dict[str, int] = {}
        for what, name, number in map(str.split, said.splitlines()):
            if what == "version":
                assert cards[int(name)].version >= int(number)
            elif what == "attempts":
                attempts[name] = max(attempts.get(name, 0), int(number))
            elif what == "job":
                assert store.count_cards(batch=name) == 3
            else:
                assert name in plans
        found = {row.subject: int(row.state) for row in store.attempts()}
        assert found.pop("", 0) == sum(found.values())
        for subject, counted in attempts.items():
            assert found[subject] >= counted


# -- fork ---------------------------------------------------------------------------------


def fork_then_both_write(path: str) -> None:
    store = SQLiteStorage(path)
    store.view(CARD)
    child = os.fork()
    for _ in range(30):
        store.transact(CARD, deposit)
    finish(child, store)


def fork_then_the_parent_closes(path: str) -> None:
    """As a daemon does: the parent goes, the child stays."""
    store = SQLiteStorage(path)
    store.view(CARD)
    (asked, ask), (told, tell) = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.close(tell)
        store.transact(CARD, deposit)
        os.write(ask, b"close now")
        os.read(told, 1)
        for _ in range(5):
            store.transact(CARD, deposit)
    else:
        os.close(ask)
        os.read(asked, 1)
        store.close()
        os.write(tell, b"closed")
    finish(child, store)


def fork_while_another_thread_writes(path: str) -> None:
    store = SQLiteStorage(path, timeout=10)
    entered = threading.Event()

    def slowly(view):
        entered.set()
        time.sleep(0.3)
        return deposit(view)

    thread = threading.Thread(target=store.transact, args=(CARD, slowly))
    thread.start()
    entered.wait()
    child = os.fork()
    store.transact(CARD, deposit)
    if child:
        thread.join()
    finish(child, store)


def finish(child: int, store: SQLiteStorage) -> None:
    """End the child, and then the parent, which fails if the child did."""
    store.close()
    if child == 0:
        os._exit(0)
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


@needs_fork
@pytest.mark.parametrize(
    ("story", "deposits"),
    [
        (fork_then_both_write, 60),
        (fork_then_the_parent_closes, 6),
        (fork_while_another_thread_writes, 3),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_store_works_on_in_a_forked_process(store, path, story, deposits):
    store.close()
    process = program(story, path)
    process.communicate()
    assert process.returncode == 0
    with closing(SQLiteStorage(path)) as again:
        card, entries, _ = kept(again)
        assert (card.balance, len(entries)) == (1_000 + deposits, deposits)
        assert pragma(again, "integrity_check") == "ok"


def fork_unseen(path: str) -> None:
    """A host written in C forks, which Python is not told; say what the child was promised."""
    store = SQLiteStorage(path)
    store.view(CARD)
    (asked, ask), (told, tell) = os.pipe(), os.pipe()
    child = ctypes.CDLL(None).fork()
    if child == 0:
        done = 0
        os.close(tell)
        with suppress(StorageError):
            store.transact(CARD, deposit)
            done += 1
        os.write(ask, b"close now")
        os.read(told, 1)
        with suppress(StorageError):
            for _ in range(5):
                store.transact(CARD, deposit)
                done += 1
        os._exit(done)
    os.close(ask)
    os.read(asked, 1)
    store.close()
    os.write(tell, b"closed")
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


@needs_fork
def test_a_fork_that_python_is_not_told_loses_nothing_that_was_acknowledged(store, path):
    """The child may refuse to work; it may not say that it did what will be lost."""
    store.close()
    said, _ = program(fork_unseen, path).communicate()
    with closing(SQLiteStorage(path)) as again:
        assert again.view(CARD).card.balance == 1_000 + int(said)
        assert pragma(again, "integrity_check") == "ok"


# -- closing ------------------------------------------------------------------------------


def test_closing_lets_a_step_in_progress_finish(store, path):
    entered, leave = threading.Event(), threading.Event()
    answers = []

    def slowly(view):
        entered.set()
        leave.wait()
        return deposit(view)

    thread = threading.Thread(target=lambda: answers.append(store.transact(CARD, slowly)))
    thread.start()
    entered.wait()
    store.close()
    with pytest.raises(StorageClosed):
        store.view(CARD)
    leave.set()
    thread.join()
    assert answers == [1_001]
    assert list(folder(path)) == ["cards.db"]  # the last connection is closed too
    with closing(SQLiteStorage(path)) as again:
        assert again.view(CARD).card.balance == 1_001


def test_closing_among_busy_threads_ends_each_with_storage_closed(path):
    for _ in range(10):
        store = SQLiteStorage(path)
        store.add_cards("job", [new_card()])
        before = store.view(CARD).card.balance

        def work(store=store):
            answers = [0]
            try:
                while True:
                    answers.append(store.transact(CARD, deposit))
                    assert store.transact(CARD, Step).card.balance >= answers[-1]
            except StorageClosed:
                return answers

        def close(store=store):
            time.sleep(0.01)
            store.close()
            return [0]

        done = [answer for answers in together(close, *[work] * 6) for answer in answers if answer]
        assert store._connections._idle == []
        with closing(SQLiteStorage(path)) as again:
            assert sorted(done) == list(range(before + 1, again.view(CARD).card.balance + 1))


def test_many_may_close_at_once(path):
    for _ in range(20):
        store = SQLiteStorage(path)
        held = threading.Barrier(8)

        def lend(store=store, held=held):
            with store._connections.lend():
                held.wait()  # so that there are eight connections to close

        together(*[lend] * 8)
        together(*[store.close] * 8)
        assert store._connections._idle == []
