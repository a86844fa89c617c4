"""Connections of an event loop to PostgreSQL, in the shape that the synchronous store takes.

The store's statements and steps are written once: here psycopg's asynchronous connections look
like its synchronous ones, each wait handed to the task by the bridge.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from inspect import iscoroutinefunction
from typing import Any, cast

import psycopg
from psycopg.rows import tuple_row

from cardbill.errors import InvalidInput
from cardbill.storage.aio import bridge
from cardbill.storage.aio.bridge import at_once, waited
from cardbill.storage.postgres_connections import (
    Connections,
    OwnConnections,
    PooledConnections,
    Session,
    by_itself,
    check_use,
)


def connections(source: Any, timeout: int, most: int) -> Connections:
    """Return where a store's sessions come from.

    Raises:
        InvalidInput: The source is none of an address, a pool and a connection.
        TypeError: It is a synchronous one.
    """
    if isinstance(source, str):
        return _OwnConnections(source, timeout, most)
    for mark, wrap in (("getconn", _pooled), ("pgconn", _SingleConnection)):
        if hasattr(source, mark):
            if not iscoroutinefunction(getattr(source, "getconn", source.close)):
                what = type(source).__name__
                raise TypeError(f"{what} is not asynchronous: give it to PostgresStorage")
            return cast("Connections", wrap(source))
    raise InvalidInput("source", source, "must be an address, a pool or a connection")


def _session(connection: Any) -> Session:
    return Session(cast("Any", _Connection(connection)), cast("Any", _Cursor(connection)))


class _Connection:
    """A connection of psycopg's asynchronous kind, as its synchronous kind."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._connection = connection
        self.fileno = connection.fileno
        self.info = connection.info

    @property
    def broken(self) -> bool:
        return self._connection.broken

    @property
    def closed(self) -> bool:
        return self._connection.closed

    @property
    def autocommit(self) -> bool:
        return self._connection.autocommit

    @autocommit.setter
    def autocommit(self, value: bool) -> None:
        waited(self._connection.set_autocommit(value))

    def close(self) -> None:
        at_once(self._connection.close())  # it tells the server, and waits for no answer


class _Cursor:
    """A cursor of psycopg's asynchronous kind, as its synchronous kind."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._cursor = psycopg.AsyncCursor(connection, row_factory=tuple_row)
        self.adapters = self._cursor.adapters

    @property
    def rowcount(self) -> int:
        return self._cursor.rowcount

    @property
    def statusmessage(self) -> str | None:
        return self._cursor.statusmessage

    def execute(self, query: bytes, values: Sequence[Any] | None = None, **how: bool) -> None:
        waited(self._cursor.execute(query, values, **how))

    def fetchone(self) -> tuple[Any, ...] | None:
        return waited(self._cursor.fetchone())

    def fetchall(self) -> list[tuple[Any, ...]]:
        return waited(self._cursor.fetchall())

    @contextmanager
    def copy(self, query: bytes) -> Iterator[_Copy]:
        copying = self._cursor.copy(query)
        copy = _Copy(waited(copying.__aenter__()))
        try:
            yield copy
        except BaseException as error:
            waited(copying.__aexit__(type(error), error, error.__traceback__))
            raise
        waited(copying.__aexit__(None, None, None))


class _Copy:
    """A COPY under way."""

    def __init__(self, copy: psycopg.AsyncCopy) -> None:
        self._copy = copy

    def write_row(self, row: Sequence[Any]) -> None:
        waited(self._copy.write_row(row))


class _Gate:
    """A condition among the tasks of one loop: nobody else runs but while one waits."""

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass

    def wait(self, timeout: float) -> bool:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            if not waited(asyncio.wait([turn], timeout=max(timeout, 0)))[0]:
                turn.cancel()
                return False
        except BaseException:
            if not turn.cancel():
                self.notify()  # it had come already, and is another's now
            raise
        return True

    def notify(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    def notify_all(self) -> None:
        while self._waiting:
            self.notify()


class _OwnConnections(OwnConnections):
    """Connections that the store opens when they are needed, and keeps."""

    def sleep(self, seconds: float) -> None:
        bridge.sleep(seconds)

    def _new_gate(self) -> Any:
        return _Gate()

    def _new_session(self) -> Session:
        connect = psycopg.AsyncConnection.connect(self._address, autocommit=True)
        return _session(waited(connect))


class _Pool:
    """A pool of psycopg's asynchronous kind, as its synchronous kind."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    def getconn(self) -> Any:
        return waited(self._pool.getconn())

    def putconn(self, connection: Any) -> None:
        waited(self._pool.putconn(connection))


class _PooledConnections(PooledConnections):
    """A pool of the caller's, which stays open: ``psycopg_pool.AsyncConnectionPool``."""

    def sleep(self, seconds: float) -> None:
        bridge.sleep(seconds)


def _pooled(pool: Any) -> _PooledConnections:
    return _PooledConnections(_Pool(pool), _session)


class _SingleConnection:
    """One connection of the caller's, which stays open; used by one task after the other."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._connection = connection
        self._pid = os.getpid()
        self._closed = False
        self._using = asyncio.Lock()
        self._user: asyncio.Task[Any] | None = None
        self._session: Session | None = None

    @contextmanager
    def lend(self, *, apart: bool = False) -> Iterator[Session]:  # noqa: ARG002
        check_use(self._pid, closed=self._closed)
        task = asyncio.current_task()
        if self._session is not None and self._user is task:
            yield self._session  # what the caller's function asks within a job
            return
        waited(self._using.acquire())
        try:
            with by_itself(_session(self._connection)) as session:
                self._user, self._session = task, session
                yield session
        finally:
            self._user = self._session = None
            self._using.release()

    def sleep(self, seconds: float) -> None:
        bridge.sleep(seconds)

    def close(self) -> None:
        self._closed = True
