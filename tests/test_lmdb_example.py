"""The store of the tutorial keeps the contract, and the tutorial shows its own text."""

import os
import re
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from lmdb_storage import LMDBStorage
from lmdb_tables import Database, key, pack, unpack

from cardbill.errors import ConstraintViolated, SchemaTooNew, StorageUnavailable
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


# -- forks ---------------------------------------------------------------------------------


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
