"""What the tests of the SQLite store look at and do, beside the store."""

from pathlib import Path

from cardbill.storage.contract import Tally
from cardbill.storage.sqlite import SQLiteStorage


def pragma(store: SQLiteStorage, name: str):
    with store._connections.lend() as connection:
        return connection.execute(f"PRAGMA {name}").fetchone()[0]


def folder(path: Path) -> dict[str, bytes]:
    """Every file beside the database, with its content."""
    return {each.name: each.read_bytes() for each in path.parent.iterdir()}


def count(state: bytes | None, book: bytes | None) -> Tally[int]:
    """Count one attempt, in the book too; answer with how many there were."""
    counted = int(state or b"0") + 1
    return Tally(counted, b"%d" % counted, 9, b"%d" % (int(book or b"0") + 1))
