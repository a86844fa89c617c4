"""The storage conformance suite: subclass one class, write one fixture, run pytest.

::

    class TestMyStorage(StorageContract):
        @pytest.fixture
        def open_store(self, tmp_path):
            return lambda: MyStorage(tmp_path / "cards")

The fixture returns a function that opens the *same* store each time it is called, an empty
one in each test. A store of one process returns the same object and says ``durable = False``;
what that leaves out is reported as skipped, never silently passed. An asynchronous store is
held to the same by :mod:`cardbill.testing.conformance.aio`.

Each test is one promise of :mod:`cardbill.storage.contract`, named in its docstring. They
deal in rows only: pytest is all they need. To see both sides of a failed comparison, put
``pytest.register_assert_rewrite("cardbill.testing.conformance")`` into your conftest.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from cardbill.storage.contract import Storage
from cardbill.testing.conformance.adding import Adding
from cardbill.testing.conformance.attempts import Attempts
from cardbill.testing.conformance.contents import Contents
from cardbill.testing.conformance.finding import Finding
from cardbill.testing.conformance.races import Races
from cardbill.testing.conformance.remembered import Remembered
from cardbill.testing.conformance.shelves import Shelves
from cardbill.testing.conformance.steps import Steps

__all__ = ["StorageContract"]


class StorageContract(Steps, Remembered, Contents, Adding, Finding, Shelves, Attempts, Races):
    """What every store must pass.

    Attributes:
        durable: Whether what was written is there when all was closed and opened again.
    """

    durable = True

    @pytest.fixture
    def open_store(self) -> Callable[[], Storage]:
        """Return a function that opens the same store each time: the one thing to write."""
        raise NotImplementedError("write the fixture open_store: see cardbill.testing.conformance")

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
