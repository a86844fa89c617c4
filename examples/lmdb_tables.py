"""Tables in LMDB: sorted keys with values, and transactions over them.

LMDB keeps everything in one memory-mapped file. Any number of threads and processes read,
each a snapshot of one moment; one at a time writes, and what it wrote is on the disk as a
whole before its commit returns, or never.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lmdb

from cardbill.errors import ConstraintViolated, SchemaTooNew, StorageClosed, StorageUnavailable

FORMAT = 1
TABLES = (
    *("card", "place", "due", "credential", "opens", "entry", "record", "of_batch", "of_call"),
    *("job", "suspense", "content", "head", "audit", "attempt", "meta"),
)

# -- keys and values ----------------------------------------------------------------------


def key(*parts: str | bytes | int) -> bytes:
    """Return bytes that sort as the parts do: integers by value, text by code point."""
    return b"".join(map(_part, parts))


def _part(part: str | bytes | int) -> bytes:
    if isinstance(part, int):
        return (part + 2**63).to_bytes(8, "big")
    plain = part.encode() if isinstance(part, str) else part
    return plain.replace(b"\0", b"\0\1") + b"\0\0"  # the end lies before whatever goes on


def pack(*columns: Any) -> bytes:
    """Return columns, the last of them bytes, as one line of JSON and those bytes."""
    *plain, opaque = columns
    return b"%s\n%s" % (json.dumps(plain).encode(), opaque)


def unpack(value: bytes) -> tuple[Any, ...]:
    """Return the columns again."""
    plain, _, opaque = value.partition(b"\n")
    return (*json.loads(plain), opaque)


# -- one transaction ----------------------------------------------------------------------


class Tables:
    """The tables as one transaction sees them."""

    def __init__(self, txn: lmdb.Transaction, tables: dict[str, Any]) -> None:
        self._txn, self._tables = txn, tables

    def get(self, table: str, at: bytes) -> bytes | None:
        found = self._txn.get(at, db=self._tables[table])
        return None if found is None else bytes(found)

    def put(self, table: str, at: bytes, value: bytes) -> None:
        try:
            self._txn.put(at, value, db=self._tables[table])
        except lmdb.BadValsizeError as error:
            raise ConstraintViolated(f"{table}: a key of {len(at)} bytes is too long") from error

    def add(self, table: str, at: bytes, value: bytes) -> None:
        """Put what must not be there yet."""
        if self.get(table, at) is not None:
            raise ConstraintViolated(f"{table}: there is a row of that key")
        self.put(table, at, value)

    def drop(self, table: str, at: bytes) -> None:
        self._txn.delete(at, db=self._tables[table])

    def count(self, table: str) -> int:
        return int(self._txn.stat(self._tables[table])["entries"])

    def scan(self, table: str, prefix: bytes = b"", after: bytes = b"") -> Iterator[bytes]:
        """Yield in order the values whose keys begin with `prefix` and lie above `after`."""
        with self._txn.cursor(self._tables[table]) as cursor:
            if cursor.set_range(max(prefix, after)):
                for at, value in cursor:
                    if not bytes(at).startswith(prefix):
                        return
                    if at != after:
                        yield bytes(value)


# -- one environment per process ----------------------------------------------------------


class _Environment:
    """The file as this process has it open: once, however many stores use it."""

    def __init__(self) -> None:
        self.users = 0  # databases that are open, and transactions under way
        self.env: lmdb.Environment | None = None
        self.tables: dict[str, Any] = {}

    def open(self, path: Path, map_size: int) -> lmdb.Environment:
        if self.env is None:
            env = lmdb.open(str(path), map_size=map_size, max_dbs=len(TABLES), max_readers=1_024)
            env.reader_check()  # forgets readers that were killed
            self.tables = {name: env.open_db(name.encode()) for name in TABLES}
            self.env = env
        return self.env

    def close(self) -> None:
        if self.env is not None:
            self.env.close()
        self.env = None


_guard = threading.Lock()
_environments: dict[Path, _Environment] = {}


def _after_fork() -> None:
    """A child must not use what its parent has open: it opens the file anew."""
    global _guard  # noqa: PLW0603  # another thread of the parent may have held it
    _guard = threading.Lock()
    for environment in _environments.values():
        environment.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class Database:
    """A folder of tables; may be opened several times in a process."""

    def __init__(self, path: Path, map_size: int) -> None:
        self._path, self._map_size = path, map_size
        self._closed = False
        with _guard:
            self._environment = _environments.setdefault(path, _Environment())
            self._environment.users += 1
        try:
            with self.write() as tables:
                found = int(tables.get("meta", b"format") or FORMAT)
                if found > FORMAT:
                    raise SchemaTooNew(f"{path.name} has format {found}; {FORMAT} is known")
                tables.put("meta", b"format", b"%d" % FORMAT)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        with _guard:
            if not self._closed:
                self._closed = True
                self._give_back()

    @contextmanager
    def read(self) -> Iterator[Tables]:
        """See the tables as they are now, until the end."""
        with self._lent() as env, env.begin() as txn:
            yield Tables(txn, self._environment.tables)

    @contextmanager
    def write(self) -> Iterator[Tables]:
        """Change the tables: all of it becomes durable at the end, or none after an error."""
        with self._lent() as env:
            txn = env.begin(write=True)  # waits for the writer before it, in any process
            try:
                yield Tables(txn, self._environment.tables)
            except BaseException:
                txn.abort()
                raise
            try:
                txn.commit()
            except lmdb.Error as error:
                message = f"{self._path.name}: {error}"
                raise StorageUnavailable(message, outcome_unknown=True) from error

    @contextmanager
    def _lent(self) -> Iterator[lmdb.Environment]:
        """Lend the environment, which stays open until the last who uses it is done."""
        try:
            with _guard:
                if self._closed:
                    raise StorageClosed("this store was closed")
                env = self._environment.open(self._path, self._map_size)
                self._environment.users += 1
            try:
                yield env
            finally:
                with _guard:
                    self._give_back()
        except lmdb.Error as error:  # nothing was committed
            raise StorageUnavailable(f"{self._path.name}: {error}") from error

    def _give_back(self) -> None:
        self._environment.users -= 1
        if self._environment.users == 0:
            self._environment.close()
            del _environments[self._path]
