"""The storage conformance suite: subclass one class, write one fixture, run pytest.

::

    class TestMyStorage(StorageContract):
        @pytest.fixture
        def open_store(self, tmp_path):
            return functools.partial(MyStorage, tmp_path / "cards")

The fixture returns a function that opens the *same* store each time it is called, an empty
one in each test. It is pickled to reach other processes: a `partial` of the store's class
does, a lambda does not. A store of one process returns the same object, and says that it is
neither `shared` nor `durable`. An asynchronous store is held to the same by
:mod:`cardbill.testing.conformance.aio`.

Each test is one promise of :mod:`cardbill.storage.contract`, named in its docstring; tests
that belong together are a part: `Steps`, `Races`. What a store leaves out is reported as
skipped, with the reason, never silently passed. Most tests deal in rows only. The suite
needs pytest and Hypothesis: ``pip install cardbill[testing]``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from cardbill.storage.contract import Storage
from cardbill.testing.conformance.adding import Adding
from cardbill.testing.conformance.attempts import Attempts
from cardbill.testing.conformance.contents import Contents
from cardbill.testing.conformance.crashes import Crashes
from cardbill.testing.conformance.cuts import Cuts
from cardbill.testing.conformance.declaring import Declared, Wire
from cardbill.testing.conformance.finding import Finding
from cardbill.testing.conformance.histories import Histories
from cardbill.testing.conformance.processes import Processes
from cardbill.testing.conformance.races import Races
from cardbill.testing.conformance.remembered import Remembered
from cardbill.testing.conformance.shelves import Shelves
from cardbill.testing.conformance.steps import Steps

__all__ = ["StorageContract", "Wire"]


class StorageContract(
    Steps,
    Remembered,
    Contents,
    Adding,
    Finding,
    Shelves,
    Attempts,
    Races,
    Histories,
    Processes,
    Crashes,
    Cuts,
    Declared,
):
    """What every store must pass.

    A subclass writes the fixture `open_store`. A store that talks to a server writes the
    fixture `wire` too, so that its line can be cut.

    Attributes:
        durable: Whether what was written is there when all was closed and opened again, and
            when the process that wrote it was killed.
        shared: Whether several processes may have the store open at once.
        omits: What is left out, and why: a test's name or a part's (``"races"``), and a
            reason that the report shows.
        rounds: How often the tests that rely on chance repeat what they do; 1 suits every
            day, 20 a night.
        patience: Seconds, for each round, after which a test that still runs has failed: a
            store that waits for ever is told where (not on Windows).
    """

    @pytest.fixture
    def open_store(self) -> Callable[[], Storage]:
        """Return a function that opens the same store each time: the one thing to write."""
        raise NotImplementedError("write the fixture open_store: see cardbill.testing.conformance")

    @pytest.fixture
    def wire(self) -> Wire | None:
        """Return where the store's server listens and how to open it there; None: no server."""
        return None

    @pytest.fixture
    def store(self, open_store: Callable[[], Storage]) -> Iterator[Storage]:
        """An empty store."""
        store = open_store()
        yield store
        store.close()

    @pytest.fixture
    def other(self, open_store: Callable[[], Storage]) -> Iterator[Storage]:
        """The same store, opened once more: what one has written the other must see."""
        other = open_store()
        yield other
        other.close()
