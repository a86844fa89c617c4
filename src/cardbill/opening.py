"""Opening an engine by a storage address."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

from cardbill.engine import Engine
from cardbill.errors import InvalidInput

if TYPE_CHECKING:
    from cardbill.keyring import Keyring
    from cardbill.storage.contract import Storage


def open(  # noqa: A001  # read as cardbill.open, like zipfile's and shelve's
    url: str | os.PathLike[str], *, keyring: Keyring, **options: Any
) -> Engine:
    """Open a calling-card business.

    Args:
        url: ``memory:`` for one in this process only; ``sqlite:///cards.db`` for a file
            beside the working directory, ``sqlite:////srv/cards.db`` for an absolute
            path; ``?synchronous=normal`` trades durability at power loss for speed. In
            an address ``%`` and ``?`` are written ``%25`` and ``%3F``; a ``Path`` is
            taken as it is, for a SQLite file. ``postgresql://user@host/database`` for
            PostgreSQL, with what else libpq takes there; ``?schema=name`` for tables in
            another schema than ``cardbill``.
        keyring: The keys of its PINs.
        options: As for :class:`Engine`: clock, below, dial_plan, throttle, tax_engine,
            tax_seconds, tax_fallback.

    Raises:
        InvalidInput: There is no such kind of store, or its driver is not installed.
        WrongKey: The store was written with other keys.
        SchemaTooNew: A newer version of cardbill made it.
        StorageUnavailable: It cannot be reached.

    >>> from cardbill import Keyring
    >>> with open("memory:", keyring=Keyring.generate()) as bill:
    ...     bill.plans.names()
    []
    """
    storage = open_storage(url)
    try:
        return Engine(storage, keyring, **options)
    except BaseException:
        storage.close()
        raise


def open_storage(url: str | os.PathLike[str], *, create: bool = True) -> Storage:
    """Open a store by its address, without an engine: see :func:`open`.

    Args:
        url: The address.
        create: Make a file or tables that are not there; otherwise that is an error.
    """
    if isinstance(url, os.PathLike):
        return _sqlite(os.fspath(url), "FULL", create=create)
    if not isinstance(url, str):
        raise InvalidInput("url", url, "must be text, like sqlite:///cards.db, or a path")
    scheme, _, rest = url.partition(":")
    if scheme == "memory":
        if rest:
            raise InvalidInput("url", url, "memory: takes nothing after it")
        from cardbill.storage.memory import MemoryStorage

        return MemoryStorage()
    if scheme in {"postgresql", "postgres"}:
        return _postgres(url, create=create)
    if scheme != "sqlite":
        # Not shown: an address may hold a password.
        raise InvalidInput("url", None, "must begin with sqlite:, postgresql: or memory:")
    address, _, query = rest.partition("?")
    path = unquote(address.removeprefix("///"))
    if not address.startswith("///") or not path or path == ":memory:" or "#" in rest:
        raise InvalidInput("url", url, "must be sqlite:/// and the path of a file")
    options = dict(parse_qsl(query, keep_blank_values=True))
    if unknown := options.keys() - {"synchronous"}:
        raise InvalidInput("url", url, f"has no option {min(unknown)!r}")
    return _sqlite(path, options.get("synchronous", "FULL"), create=create)


def _sqlite(path: str, synchronous: str, *, create: bool) -> Storage:
    from cardbill.storage.sqlite import SQLiteStorage

    return SQLiteStorage(path, synchronous=synchronous, create=create)


def _postgres(url: str, *, create: bool) -> Storage:
    """Open a PostgreSQL store; all of the address but the schema is for the driver to read."""
    address, _, query = url.partition("?")
    options = [option for option in query.split("&") if option]
    schemas = [option for option in options if option.startswith("schema=")]
    rest = "&".join(option for option in options if option not in schemas)
    target = f"{address}?{rest}" if rest else address
    try:
        from cardbill.storage.postgres import PostgresStorage
        from cardbill.storage.postgres_schema import SCHEMA
    except ModuleNotFoundError as missing:
        if missing.name != "psycopg":
            raise
        raise InvalidInput("url", None, "needs psycopg: install cardbill[postgres]") from None
    schema = unquote(schemas[-1].removeprefix("schema=")) if schemas else SCHEMA
    return PostgresStorage(target, schema=schema, create=create)
