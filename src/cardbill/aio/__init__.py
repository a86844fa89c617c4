"""cardbill on an event loop: the same business, with ``await``.

    async with aio.open("sqlite:///cards.db", keyring=keyring) as bill:
        call = await bill.authorize(pin=digits, to=number, call_id=call_id)

Needs greenlet: install ``cardbill[aio]``.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from cardbill.aio.engine import AsyncEngine
from cardbill.keyring import Keyring
from cardbill.opening import Address, needs_psycopg

if TYPE_CHECKING:
    from cardbill.storage.aio.contract import AsyncStorage

__all__ = ["AsyncEngine", "open", "open_storage"]


def open(  # noqa: A001  # read as aio.open
    url: str | os.PathLike[str], *, keyring: Keyring, **options: Any
) -> AsyncEngine:
    """Return an engine to await, or to enter by ``async with``; nothing is opened before.

    Args:
        url: As for :func:`cardbill.open`.
        keyring: The keys of its PINs.
        options: As for :class:`AsyncEngine`: clock, below, dial_plan, throttle, and the tax engine.

    Raises:
        InvalidInput: There is no such kind of store, or its driver is not installed.
        WrongKey: When it is awaited, as what follows: the store was written with other keys.
        SchemaTooNew: A newer version of cardbill made it.
        StorageUnavailable: It cannot be reached.

    >>> import asyncio
    >>> from cardbill import Keyring
    >>> async def main():
    ...     async with open("memory:", keyring=Keyring.generate()) as bill:
    ...         return await bill.plans.names()
    >>> asyncio.run(main())
    []
    """
    return AsyncEngine(open_storage(url), keyring, **options)


def open_storage(url: str | os.PathLike[str], *, create: bool = True) -> AsyncStorage:
    """Return a store by its address, without an engine; it is opened by its first method.

    Args:
        url: As for :func:`cardbill.open`.
        create: Make a file or tables that are not there; otherwise that is an error.

    Raises:
        InvalidInput: There is no such kind of store, or its driver is not installed.
    """
    address = Address.of(url)
    if address.kind == "memory":
        from cardbill.storage.aio.memory import AsyncMemoryStorage

        return AsyncMemoryStorage()
    if address.kind == "sqlite":
        from cardbill.storage.aio.sqlite import AsyncSQLiteStorage

        return AsyncSQLiteStorage(address.target, create=create, **address.options)
    with needs_psycopg():
        from cardbill.storage.aio.postgres import AsyncPostgresStorage
    return AsyncPostgresStorage(address.target, create=create, **address.options)
