"""The reference store, for asyncio."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from cardbill.storage.aio.relay import Relayed
from cardbill.storage.contract import Storage
from cardbill.storage.memory import MemoryStorage

T = TypeVar("T")


class AsyncMemoryStorage(Relayed):
    """A store in memory; it never has to wait, so no other task runs during a method.

    Args:
        store: What it is kept in; default: a new one.
    """

    def __init__(self, store: MemoryStorage | None = None) -> None:
        self._store = store or MemoryStorage()

    async def _run(self, work: Callable[[Storage], T]) -> T:
        return work(self._store)
