"""Opening an engine by a storage address."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, Self
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
    address = Address.of(url)
    if address.kind == "memory":
        from cardbill.storage.memory import MemoryStorage

        return MemoryStorage()
    if address.kind == "sqlite":
        from cardbill.storage.sqlite import SQLiteStorage

        return SQLiteStorage(address.target, create=create, **address.options)
    with needs_psycopg():
        from cardbill.storage.postgres import PostgresStorage
    return PostgresStorage(address.target, create=create, **address.options)


class Address(NamedTuple):
    """What an address says, for stores of either colour.

    Attributes:
        kind: ``memory``, ``sqlite`` or ``postgres``.
        target: The file, or the database as its driver takes it.
        options: Named arguments of the store.
    """

    kind: str
    target: str
    options: dict[str, Any]

    @classmethod
    def of(cls, url: str | os.PathLike[str]) -> Self:
        """Return what an address says.

        Raises:
            InvalidInput: It is none.
        """
        if isinstance(url, os.PathLike):
            return cls("sqlite", os.fspath(url), {})
        if not isinstance(url, str):
            raise InvalidInput("url", url, "must be text, like sqlite:///cards.db, or a path")
        scheme, _, rest = url.partition(":")
        if scheme == "memory":
            if rest:
                raise InvalidInput("url", url, "memory: takes nothing after it")
            return cls("memory", "", {})
        if scheme in {"postgresql", "postgres"}:
            return cls._postgres(url)
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
        return cls("sqlite", path, options)

    @classmethod
    def _postgres(cls, url: str) -> Self:
        """All of the address but the schema is for the driver to read."""
        address, _, query = url.partition("?")
        options = [option for option in query.split("&") if option]
        schemas = [option for option in options if option.startswith("schema=")]
        rest = "&".join(option for option in options if option not in schemas)
        target = f"{address}?{rest}" if rest else address
        named = {"schema": unquote(schemas[-1].removeprefix("schema="))} if schemas else {}
        return cls("postgres", target, named)


@contextmanager
def needs_psycopg() -> Iterator[None]:
    """Import a store of PostgreSQL.

    Raises:
        InvalidInput: Its driver is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as missing:
        if missing.name != "psycopg":
            raise
        raise InvalidInput("url", None, "needs psycopg: install cardbill[postgres]") from None
