"""The conformance suite for asynchronous stores: the very tests of the synchronous one.

::

    class TestMyStorage(AsyncStorageContract):
        @pytest.fixture
        def open_async_store(self, tmp_path):
            return lambda: MyStorage(tmp_path / "cards")

Each test runs on an event loop of its own, by the bridge over which the engine uses the store;
where the synchronous suite begins threads, this one begins tasks. Nothing else is needed, not
even a plugin of pytest for asyncio.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextvars import copy_context
from functools import wraps
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar

import pytest

from cardbill.storage.aio.bridge import bridged, bridging, waited
from cardbill.storage.aio.contract import AsyncStorage
from cardbill.storage.aio.waiting import Waiting
from cardbill.storage.contract import Storage
from cardbill.testing.conformance import StorageContract
from cardbill.testing.conformance.rows import AT_ONCE

__all__ = ["AsyncStorageContract"]

T = TypeVar("T")


class _Polite(Waiting):
    """Lets the other tasks go on around each method, also of a store that never waits."""

    def _wait(self, work: Awaitable[T]) -> T:
        if not bridging():  # asked by what was given to a store, on the store's thread
            return waited(work)
        waited(asyncio.sleep(0))
        try:
            return waited(work)
        finally:
            waited(asyncio.sleep(0))


def _in_tasks(*work: Callable[[], T]) -> list[T]:
    async def run() -> list[T | BaseException]:
        return await asyncio.gather(*map(bridged, work), return_exceptions=True)

    answers: list[T] = []
    for answer in waited(run()):
        if isinstance(answer, BaseException):
            raise answer
        answers.append(answer)
    return answers


def _on_the_loop(test: Callable[..., None]) -> Callable[..., None]:
    @wraps(test)
    def run(self: AsyncStorageContract, *args: Any, **kwargs: Any) -> None:
        token = AT_ONCE.set(_in_tasks)
        try:
            self.run(test, self, *args, **kwargs)
        finally:
            AT_ONCE.reset(token)

    return run


class AsyncStorageContract(StorageContract):
    """What every asynchronous store must pass.

    Attributes:
        durable: Whether what was written is there when all was closed and opened again.
    """

    signals = ()
    omits: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            "processes": "an event loop is of one process: prove the store's synchronous twin",
            "crashes": "as for processes",
            "cuts": "as for processes: what cuts the line is a thread beside the loop",
            "test_steps_go_on_while_cards_are_drawn": "who draws waits here, and so would the loop",
            "test_asking_in_a_job_lets_nobody_in": "as for steps while cards are drawn",
        }
    )
    _runner: asyncio.Runner

    @pytest.fixture(autouse=True)
    def _loop(self) -> Iterator[None]:
        with asyncio.Runner() as self._runner:
            yield

    @pytest.fixture
    def open_async_store(self) -> Callable[[], AsyncStorage]:
        """Return a function that makes the same store each time: the one thing to write."""
        raise NotImplementedError("write the fixture: see cardbill.testing.conformance.aio")

    @pytest.fixture
    def open_store(self, open_async_store: Callable[[], AsyncStorage]) -> Callable[[], Storage]:
        """Return a function that opens the same store each time, as the engine sees it."""
        return lambda: _Polite(open_async_store())

    @pytest.fixture
    def store(self, open_store: Callable[[], Storage]) -> Iterator[Storage]:
        """An empty store."""
        yield from self._opened(open_store)

    @pytest.fixture
    def other(self, open_store: Callable[[], Storage]) -> Iterator[Storage]:
        """The same store, opened once more: what one has written the other must see."""
        yield from self._opened(open_store)

    def run(self, work: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Run something on the test's loop, by the bridge."""
        work_on = bridged(work, *args, **kwargs)
        return self._runner.run(work_on, context=copy_context())

    def _opened(self, open_store: Callable[[], Storage]) -> Iterator[Storage]:
        store = self.run(open_store)
        self.run(store.count_cards)  # some are not opened before they are asked
        yield store
        self.run(store.close)


for _name in dir(StorageContract):
    if _name.startswith("test_"):
        setattr(AsyncStorageContract, _name, _on_the_loop(getattr(StorageContract, _name)))
