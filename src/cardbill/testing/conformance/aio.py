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
from collections.abc import Awaitable, Callable, Generator, Iterator, Mapping
from contextlib import suppress
from contextvars import copy_context
from functools import partial, wraps
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar, cast

import pytest

from cardbill.errors import StorageUnavailable
from cardbill.storage.aio.bridge import bridged, bridging, waited
from cardbill.storage.aio.contract import AsyncStorage
from cardbill.storage.aio.waiting import Waiting
from cardbill.storage.contract import Storage
from cardbill.testing.conformance import StorageContract
from cardbill.testing.conformance.rows import AT_ONCE, CARD, add, deposit, new_card

__all__ = ["AsyncStorageContract"]

T = TypeVar("T")

_MOST_WAITS = 150
_PATIENCE = 10
"""Seconds after which a step that follows a cancelled one is held up by it."""


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


class _Cut(Awaitable[T]):
    """Awaits something, and has its task cancelled at the n-th place where it waits.

    Attributes:
        waits: At how many places it has waited.
    """

    def __init__(self, work: Awaitable[T], place: int) -> None:
        self._steps = work.__await__()
        self._place = place
        self.waits = 0

    def __await__(self) -> Generator[Any, Any, T]:
        go_on: Callable[[], Any] = partial(next, self._steps)
        while True:
            try:
                waited_for = go_on()
            except StopIteration as done:
                return cast("T", done.value)
            self.waits += 1
            if self.waits == self._place:
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
            try:
                value = yield waited_for
            except BaseException as error:  # noqa: BLE001  # it goes to what waits
                go_on = partial(self._steps.throw, error)
            else:
                go_on = partial(self._steps.send, value)


class Cancelled:
    """What holds of a step that is cancelled."""

    _runner: asyncio.Runner

    def test_a_cancelled_step_is_whole_or_nothing(
        self, open_async_store: Callable[[], AsyncStorage]
    ) -> None:
        """Wherever it waits: the step was taken or was not, and the next waits for nobody."""

        async def cut(store: AsyncStorage, place: int) -> bool:
            work = _Cut(store.transact(CARD, deposit, key="count"), place)
            with suppress(asyncio.CancelledError, StorageUnavailable):
                await asyncio.create_task(_done(work))
            return work.waits >= place

        async def play() -> None:
            store = await bridged(open_async_store)
            await bridged(add, _Polite(store), new_card())
            for place in range(1, _MOST_WAITS):
                was_cut = await cut(store, place)
                async with asyncio.timeout(_PATIENCE):
                    view = await store.view(CARD, "count")
                    entries = await store.entries(CARD)
                    balance = view.card.balance
                    assert [row.balance_after for row in entries] == [*range(1_001, balance + 1)]
                    assert view.record is None or view.record.seconds == view.card.version
                    assert view.card.version == balance - 999
                    assert await store.transact(CARD, deposit, key="count") == balance + 1
                if not was_cut:
                    break
            else:
                raise AssertionError("a step without end")
            await store.close()

        self._runner.run(play())


async def _done(work: Awaitable[T]) -> T:
    return await work


class AsyncStorageContract(Cancelled, StorageContract):
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
