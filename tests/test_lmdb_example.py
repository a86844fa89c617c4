"""The store of the tutorial keeps the contract, and the tutorial shows its own text."""

import multiprocessing
import os
import re
import signal
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from lmdb_storage import LMDBStorage
from lmdb_tables import Database, key, pack, unpack

from cardbill.errors import ConstraintViolated, SchemaTooNew, StorageUnavailable
from cardbill.testing import History, strategies
from cardbill.testing.conformance import StorageContract
from cardbill.testing.conformance.contents import TEXTS
from cardbill.testing.conformance.rows import CARD, add, change, deposit, kept, new_card
from tests.source_tree import ROOT

TUTORIAL = ROOT / "docs" / "tutorial" / "write-a-storage.md"
EXAMPLES = [ROOT / "examples" / name for name in ("lmdb_tables.py", "lmdb_storage.py")]
SHOWN = re.compile(
    r"^<!-- not run: part of (\S+), [^>]*-->\n```python\n(.*?)^```$", re.MULTILINE | re.DOTALL
)


class TestLMDBStorage(StorageContract):
    @pytest.fixture
    def open_store(self, tmp_path):
        return partial(LMDBStorage, tmp_path / "cards")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LMDBStorage]:
    """A store with one card."""
    with closing(LMDBStorage(tmp_path / "cards")) as store:
        add(store, new_card())
        yield store


# -- the engine over it -------------------------------------------------------------------


@given(strategies.histories())
def test_a_history_goes_as_it_does_in_memory(
    tmp_path_factory: pytest.TempPathFactory, history: History
):
    told = []
    for storage in ("memory:", LMDBStorage(tmp_path_factory.mktemp("lmdb") / "cards")):
        with history.terms.open(storage) as shop:
            answers = history.play(shop)
            entries = [list(shop.bill.entries(shop.card_id(serial))) for serial in (1, 2, 3)]
            told.append((answers, list(shop.bill.records()), entries))
            shop.check_books()
    assert told[0] == told[1]


# -- between processes --------------------------------------------------------------------

WRITERS, STEPS = 4, 50


def write(path: Path, line: Connection, steps: int | None) -> None:
    """Deposit so many times, or until killed; say each new balance once it is known."""
    with closing(LMDBStorage(path)) as store:
        line.send("ready")
        line.recv()
        while steps is None or (steps := steps - 1) >= 0:
            line.send(store.transact(CARD, deposit, key="count"))


def begun(path: Path, count: int, steps: int | None) -> list[tuple[Any, Connection]]:
    """Start writers, and let them go at the same moment."""
    context = multiprocessing.get_context("spawn")
    crew = []
    for _ in range(count):
        ours, theirs = context.Pipe()
        process = context.Process(target=write, args=(path, theirs, steps), daemon=True)
        process.start()
        theirs.close()
        crew.append((process, ours))
    for _, line in crew:
        assert line.poll(60)
        assert line.recv() == "ready"
    for _, line in crew:
        line.send("go")
    return crew


def rest(line: Connection) -> list[int]:
    """All that is still said until the other end is gone."""
    said = []
    try:
        while line.poll(60):
            said.append(line.recv())
    except (EOFError, ConnectionResetError):
        return said
    raise AssertionError("a process said nothing for a minute")


def test_no_step_of_any_process_is_lost(store: LMDBStorage, tmp_path: Path):
    crew = begun(tmp_path / "cards", WRITERS, STEPS)
    said = [balance for _, line in crew for balance in rest(line)]
    for process, _ in crew:
        process.join(60)
        assert process.exitcode == 0
    assert sorted(said) == list(range(1_001, 1_001 + WRITERS * STEPS))
    card, entries, records = kept(store)
    assert (card.balance, len(entries)) == (1_000 + WRITERS * STEPS, WRITERS * STEPS)
    assert records[0].seconds == card.version


@pytest.mark.parametrize("wave", range(3))
def test_what_was_answered_survives_kill_9(store: LMDBStorage, tmp_path: Path, wave: int):
    """And the others go on: a dead writer blocks nobody."""
    crew = begun(tmp_path / "cards", 2, None)
    heard = [crew[0][1].recv() for _ in range(20 + 7 * wave)]
    for process, _ in crew:
        process.kill()
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
    heard += [balance for _, line in crew for balance in rest(line)]
    # A commit that was cut off is seen once the next writer has looked after it.
    answer = store.transact(CARD, deposit, key="count")
    assert 1 <= answer - max(heard) <= 3  # this one, and one of each whose answer nobody heard
    card, entries, records = kept(store)
    assert card.balance == answer
    assert [entry.balance_after for entry in entries] == list(range(1_001, answer + 1))
    assert records[0].seconds == card.version


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_store_that_was_open_before_a_fork_works_on_both_sides(store: LMDBStorage):
    for turn in range(3):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                done = store.transact(CARD, deposit) == 1_001 + 2 * turn
                status = 0 if done and str(os.getpid()) in readers(store) else 2
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert store.transact(CARD, deposit) == 1_002 + 2 * turn


def readers(store: LMDBStorage) -> list[str]:
    """The processes whose snapshots LMDB knows of, and so keeps whole."""
    with store._db.read():
        env = store._db._environment.env
        assert env is not None
        return str(env.readers()).split()


# -- its own limits -----------------------------------------------------------------------


def test_a_file_that_is_full_says_so_and_keeps_what_it_has(tmp_path: Path):
    with closing(LMDBStorage(tmp_path / "small", map_size=1 << 20)) as store:
        add(store, new_card())
        before = kept(store)
        with pytest.raises(StorageUnavailable, match="small") as full:
            store.publish("deck", "big", bytes(2 << 20), expected=0)
        assert not full.value.outcome_unknown
        assert (store.catalogue(), kept(store)) == ((0, []), before)
        assert store.transact(CARD, deposit) == 1_001


def test_a_key_that_is_too_long_for_lmdb_is_refused(store: LMDBStorage):
    with pytest.raises(ConstraintViolated, match="too long"):
        store.publish("plan", "x" * 600, b"", expected=0)
    assert store.catalogue() == (0, [])


def test_a_folder_of_a_newer_format_is_refused(store: LMDBStorage, tmp_path: Path):
    database = Database((tmp_path / "cards").resolve(), 1 << 36)
    with closing(database), database.write() as tables:
        tables.put("meta", b"format", b"2")
    with pytest.raises(SchemaTooNew):
        LMDBStorage(tmp_path / "cards")
    assert store.transact(CARD, change()) == "done"  # it still is open, and was not closed by that


def test_keys_sort_as_their_parts_do():
    texts = [*TEXTS, "a", "a\0", "a\0\0", "a\1", "a\xff", "ab", "\U0010ffff"]
    parts = [(text, number) for text in texts for number in (-(2**63), -1, 0, 1, 2**63 - 1)]
    assert sorted(parts) == [pair for _, pair in sorted((key(*pair), pair) for pair in parts)]
    assert len({key(*pair) for pair in parts}) == len(set(parts))


def test_a_row_comes_back():
    row = ("text\n", 2**63 - 1, None, True, b"\n{}\0")
    assert unpack(pack(*row)) == row


# -- the tutorial -------------------------------------------------------------------------


def test_the_tutorial_shows_the_text_of_the_example():
    """Each block that names its file is there word for word."""
    sources = {path.name: path.read_text(encoding="utf-8") for path in EXAMPLES}
    shown = SHOWN.findall(TUTORIAL.read_text(encoding="utf-8"))
    assert len(shown) >= 8
    assert {name for name, _ in shown} == set(sources)
    for name, block in shown:
        assert block in sources[name], f"not in {name}:\n{block}"
