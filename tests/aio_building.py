"""What the tests on an event loop are built from: engines over a shop's store, cancellations."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Generator
from functools import partial
from typing import Any, Generic, TypeVar

from cardbill import aio
from cardbill.aio import AsyncEngine
from cardbill.errors import StorageClosed
from cardbill.storage.aio.memory import AsyncMemoryStorage
from cardbill.storage.contract import Storage
from cardbill.storage.memory import MemoryStorage
from tests.building import Shop

T = TypeVar("T")


class UnhurriedMemory(AsyncMemoryStorage):
    """Waits before and after each method, as a store with a network between.

    Closing it leaves what it is kept in to the shop.
    """

    closed = False

    async def close(self) -> None:
        self.closed = True

    async def _run(self, work: Callable[[Storage], T]) -> T:
        await asyncio.sleep(0)
        if self.closed:
            raise StorageClosed("this store was closed")
        answer = await super()._run(work)
        await asyncio.sleep(0)
        return answer


def engine_of(shop: Shop, **options: Any) -> AsyncEngine:
    """An asynchronous engine over the store of a shop."""
    options = {"clock": shop.clock, **options}
    storage = shop.bill.storage
    if isinstance(storage, MemoryStorage):
        return AsyncEngine(UnhurriedMemory(storage), shop.keyring, **options)
    return aio.open(shop.url, keyring=shop.keyring, **options)


class CutShort(Generic[T]):
    """Awaits something, and cuts it short at the n-th place where it waits.

    Args:
        work: What is awaited.
        place: At which of the places, from 1.
        how: ``cancel`` cancels the task; ``late`` does when what is waited for has had the time
            to happen; ``drop`` throws the work away, as a loop that ends does.

    Attributes:
        waits: At how many places it has waited.
    """

    def __init__(self, work: Awaitable[T], place: int, how: str = "cancel") -> None:
        self._work = work
        self._place = place
        self._how = how
        self.waits = 0

    def __await__(self) -> Generator[Any, Any, T]:
        steps: Any = self._work.__await__()
        go_on: Callable[[], Any] = partial(next, steps)
        while True:
            try:
                waited_for = go_on()
            except StopIteration as done:
                answer: T = done.value
                return answer
            self.waits += 1
            if self.waits == self._place:
                if self._how == "drop":
                    steps.close()
                    raise asyncio.CancelledError
                if self._how == "late":
                    time.sleep(0.005)
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
            try:
                came = yield waited_for
            except BaseException as error:  # noqa: BLE001  # it goes on to the work
                go_on = partial(steps.throw, error)
            else:
                go_on = partial(steps.send, came)


async def cut_short(work: Awaitable[Any], place: int, how: str) -> bool:
    """Whether it was cut short at that place; otherwise it has ended before."""
    task = asyncio.ensure_future(_awaited(CutShort(work, place, how)))
    try:
        await task
    except asyncio.CancelledError:
        return True
    return False


async def _awaited(work: Awaitable[T]) -> T:
    return await work
