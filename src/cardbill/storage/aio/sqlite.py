"""The embedded store, for asyncio: SQLite on a thread of its own.

SQLite's library waits for the disk and for other writers, so each store has one thread that
runs the synchronous store, one method after the other in the order of their calls. Who is
cancelled before its method's turn takes nothing; a method under way goes on to its end.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, NoReturn, TypeVar

from greenlet import GreenletExit, getcurrent, greenlet

from cardbill.errors import StorageClosed, StorageError
from cardbill.storage.aio.relay import Relayed
from cardbill.storage.contract import NewCard, Storage
from cardbill.storage.sqlite import SQLiteStorage

T = TypeVar("T")

_TURN = 1_000  # cards that a job takes before others have their turn


class AsyncSQLiteStorage(Relayed):
    """A store in one SQLite file.

    Nothing is opened, and no thread begun, before the first method is awaited; that one
    raises what :class:`~cardbill.storage.sqlite.SQLiteStorage` would. What the caller gives
    to a method is called by the store's thread.

    Args:
        path: The file; made when it is not there.
        synchronous: ``FULL`` or ``NORMAL``, as for the synchronous store.
        timeout: Seconds to wait for other writers before ``StorageUnavailable``.
        create: Make a file that is not there; otherwise that is ``StorageUnavailable``.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        synchronous: str = "FULL",
        timeout: int = 30,
        create: bool = True,
    ) -> None:
        self._open: Callable[[], SQLiteStorage] = lambda: SQLiteStorage(
            path, synchronous=synchronous, timeout=timeout, create=create
        )
        self._store: SQLiteStorage | None = None
        self._adding: list[_Adding] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="cardbill-sqlite")
        self._pid = os.getpid()
        self._closing: Future[None] | None = None

    async def add_cards(
        self,
        job: str,
        cards: Iterable[NewCard],
        *,
        redraw: Callable[[NewCard], NewCard | None] | None = None,
        approve: Callable[[int], None] | None = None,
    ) -> int:
        """Add cards in bulk; others have their turn between each thousand and the next."""

        def work(store: Storage) -> int:
            return store.add_cards(job, _in_turns(cards), redraw=redraw, approve=approve)

        adding = _Adding(work)
        self._adding.append(adding)
        try:
            while (added := await self._run(adding.go_on)) is None:
                pass
            return added
        finally:
            self._adding.remove(adding)
            if self._closing is None:
                self._thread.submit(adding.stop)

    async def close(self) -> None:
        """Finish what was asked for before, and close the file and the thread.

        A job of many cards that is under way is dropped between two turns.
        """
        if self._pid != os.getpid():
            return
        if self._closing is None:
            self._closing = self._thread.submit(self._end, tuple(self._adding))
            self._thread.shutdown(wait=False)
        await asyncio.shield(asyncio.wrap_future(self._closing))

    def _end(self, adding: Iterable[_Adding]) -> None:
        for job in adding:
            job.stop()
        if self._store is not None:
            self._store.close()

    async def _run(self, work: Callable[[Storage], T]) -> T:
        if self._closing is not None:
            raise StorageClosed("this store was closed")
        if self._pid != os.getpid():
            raise StorageError("a store of before a fork: open it again")
        try:
            asyncio.get_running_loop()
        except RuntimeError:  # asked by what a caller gave to a method: on a store's thread
            return self._work(work)
        answer = await asyncio.wrap_future(self._thread.submit(self._tried, work))
        return answer()

    def _tried(self, work: Callable[[Storage], T]) -> Callable[[], T]:
        """Do it, and hand the answer or the error back as it is: a future would change some."""
        try:
            answer = self._work(work)
        except BaseException as error:  # noqa: BLE001
            return partial(_throw, error)
        return lambda: answer

    def _work(self, work: Callable[[Storage], T]) -> T:
        if self._store is None:
            self._store = self._open()
        return work(self._store)


def _throw(error: BaseException) -> NoReturn:
    raise error


class _Adding:
    """A job that is set aside between turns; all its methods are for the store's thread."""

    def __init__(self, work: Callable[[Storage], int]) -> None:
        self._job: Any = None
        self._work = work

    def go_on(self, store: Storage) -> int | None:
        """Go on until the next turn; return how many cards were added, once all are."""
        if self._job is None:
            self._job = greenlet(self._work)
            added: int | None = self._job.switch(store)
        else:
            added = self._job.switch()
        return added

    def stop(self) -> None:
        """Drop a job that is not done: nothing of it is kept."""
        if self._job is not None and not self._job.dead:
            self._job.throw(GreenletExit)


def _in_turns(cards: Iterable[NewCard]) -> Iterator[NewCard]:
    for count, card in enumerate(cards, 1):
        yield card
        if count % _TURN == 0:  # taken, and the next not yet begun: nothing is locked
            set_aside: Any = getcurrent()
            set_aside.parent.switch(None)
