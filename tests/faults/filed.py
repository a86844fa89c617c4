"""A sound store in a file: the memory store, written whole by every change, under a lock."""

import fcntl
import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from cardbill.errors import StorageClosed
from cardbill.storage.memory import MemoryStorage

WRITES = {
    *("transact", "add_cards", "bind", "unbind", "publish", "suspend", "append_audit"),
    "take_attempts",
}


class Filed:
    """Readers see the file that is there; a writer puts a new one in its place."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.closed = False

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or not hasattr(MemoryStorage, name):
            raise AttributeError(name)
        return partial(self.write if name in WRITES else self.read, name)

    def read(self, method: str, *values: Any, **options: Any) -> Any:
        if self.closed:
            raise StorageClosed("it was closed")
        return getattr(self.load(), method)(*values, **options)

    def write(self, method: str, *values: Any, **options: Any) -> Any:
        if self.closed:
            raise StorageClosed("it was closed")
        with self.lock():
            rows = self.load()
            answer = getattr(rows, method)(*values, **options)
            self.save(rows)
            return answer

    def close(self) -> None:
        self.closed = True

    @contextmanager
    def lock(self) -> Iterator[None]:
        with self.path.with_suffix(".lock").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def load(self) -> MemoryStorage:
        rows = MemoryStorage()
        with suppress(FileNotFoundError):
            vars(rows).update(pickle.loads(self.path.read_bytes()))
        return rows

    def save(self, rows: MemoryStorage) -> None:
        new = self.path.with_suffix(".new")
        new.write_bytes(self.packed(rows))
        os.replace(new, self.path)  # noqa: PTH105  # as the manual has it

    def packed(self, rows: MemoryStorage) -> bytes:
        return pickle.dumps({name: kept for name, kept in vars(rows).items() if name != "_lock"})
