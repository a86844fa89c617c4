"""The shared store, for asyncio: PostgreSQL by psycopg's asynchronous connections."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from cardbill.errors import StorageClosed
from cardbill.storage.aio.bridge import bridged
from cardbill.storage.aio.postgres_connections import connections as sessions
from cardbill.storage.aio.relay import Relayed
from cardbill.storage.contract import Storage
from cardbill.storage.postgres import PostgresStorage
from cardbill.storage.postgres_schema import SCHEMA, check_schema

if TYPE_CHECKING:
    import psycopg

T = TypeVar("T")


class AsyncPostgresStorage(Relayed):
    """A store in one schema of a PostgreSQL database.

    The database is reached when the first method is awaited, which raises what
    :class:`~cardbill.storage.postgres.PostgresStorage` would. A method that is cancelled
    leaves its connection outside of any transaction, or closed.

    Args:
        source: An address as libpq takes it, ``postgresql://host/database``; or an open pool
            (``psycopg_pool.AsyncConnectionPool``) or an ``AsyncConnection`` of the caller's
            own, which stay open when the store is closed.
        schema: Where its tables are; made when they are not there.
        timeout: Seconds that a statement may take, as for the synchronous store.
        connections: The most to open at once for steps and look-ups, of the store's own.
        create: Make tables that are not there; otherwise that is an error.

    Raises:
        InvalidInput: An argument is out of range, or the source is none.
        TypeError: The source is a synchronous pool or connection.
    """

    def __init__(
        self,
        source: str | psycopg.AsyncConnection[Any] | Any,
        *,
        schema: str = SCHEMA,
        timeout: int = 30,
        connections: int = 16,
        create: bool = True,
    ) -> None:
        check_schema(schema)
        sessions(source, timeout, connections)  # so that what is wrong is said here
        self._open = lambda: PostgresStorage(
            sessions(source, timeout, connections),
            schema=schema,
            timeout=timeout,
            connections=connections,
            create=create,
        )
        self._store: PostgresStorage | None = None
        self._opening = asyncio.Lock()
        self._closed = False

    async def close(self) -> None:
        """Close the connections, those in use as soon as they come back."""
        self._closed = True
        if self._store is not None:
            await bridged(self._store.close)

    async def _run(self, work: Callable[[Storage], T]) -> T:
        if self._closed:
            raise StorageClosed("this store was closed")
        if self._store is None:
            async with self._opening:
                if self._store is None:
                    self._store = await bridged(self._open)
        return await bridged(work, self._store)
