"""Books: what the counts of wrong PINs must add up to, so that none can be altered unnoticed.

Those whose attempts are counted fall into 16 groups, by their tokens. Beside each group's
rows stands its book: how many rows there are and the sum of their keyed digests, under a
seal. A row bears a seal of its own, over whose it is and how long it is kept.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from cardbill.errors import RowAltered
from cardbill.seals import SEAL_BYTES, Seals
from cardbill.storage.contract import NEVER, AttemptRow, Storage

GROUPS = 16
"""So many that attempts rarely wait for each other, few enough to be looked after."""

_FORMAT = 1
_LAYOUT = struct.Struct(">BQQQ32s")
_DEADLINE = struct.Struct(">q")
_TAIL = _DEADLINE.size + SEAL_BYTES
_MODULUS = 1 << 256
_ABOVE = "\U0010ffff" * 8  # lies above every token


class Book(NamedTuple):
    """What a group's book says.

    Attributes:
        version: Raised by one with every change in the group, by far more when operators
            accept what was altered.
        locks: The number of the last lock of a caller's number that the operators' log was
            told of; no two have the same.
        rows: How many rows the group has.
        total: The sum of their digests, modulo 2^256.
    """

    version: int = 0
    locks: int = 0
    rows: int = 0
    total: int = 0

    def changed(self, before: Kept | None, after: Kept | None) -> Book:
        """Return the next version, with one row in place of another or of none."""
        rows = self.rows - (before is not None) + (after is not None)
        total = self.total - (before.digest if before else 0) + (after.digest if after else 0)
        # Of a group that was altered there may be more rows than are counted, or fewer.
        return Book(self.version + 1, self.locks, rows % (1 << 64), total % _MODULUS)


class Kept(NamedTuple):
    """What is kept of one subject.

    Attributes:
        state: What the gate knows of it.
        keep_until: From when on it means nothing.
        digest: What it adds to its group's total.
        stored: All of it, sealed.
    """

    state: bytes
    keep_until: int
    digest: int
    stored: bytes


def group_of(subject: str) -> int:
    """Return the group of a token."""
    return int(subject[0], 16)


def seal_state(group: int, subject: str, state: bytes, keep_until: int, seals: Seals) -> Kept:
    """Return a subject's state as it is to be stored."""
    body = state + _DEADLINE.pack(keep_until)
    digest = seals.digest("attempt", _message(group, subject, body))
    sealed = body + bytes([seals.newest]) + digest[:16]
    return Kept(state, keep_until, int.from_bytes(digest, "big"), sealed)


def open_state(group: int, subject: str, stored: bytes, seals: Seals) -> Kept:
    """Return what is stored of a subject.

    Raises:
        RowAltered: It is not what was stored for that subject in that group.
    """
    if type(stored) is bytes and len(stored) >= _TAIL:
        body = stored[:-SEAL_BYTES]
        digest = seals.check("attempt", _message(group, subject, body), stored[-SEAL_BYTES:])
        if digest is not None:
            state, (keep_until,) = stored[:-_TAIL], _DEADLINE.unpack(stored[-_TAIL:-SEAL_BYTES])
            return Kept(state, keep_until, int.from_bytes(digest, "big"), stored)
    raise RowAltered(f"attempts of group {group}: a row was altered since cardbill wrote it")


def seal_book(group: int, book: Book, seals: Seals) -> bytes:
    """Return a group's book as it is to be stored."""
    body = _LAYOUT.pack(_FORMAT, *book[:3], book.total.to_bytes(32, "big"))
    return body + seals.sign("book", bytes([group]) + body)


def open_book(group: int, stored: bytes | None, seals: Seals) -> Book:
    """Return what a group's stored book says.

    Raises:
        RowAltered: It is not what was stored for that group, or was removed.
    """
    if stored is None:
        raise RowAltered(f"attempts of group {group}: its book was removed")
    if type(stored) is bytes and len(stored) == _LAYOUT.size + SEAL_BYTES:
        body, seal = stored[:-SEAL_BYTES], stored[-SEAL_BYTES:]
        if seals.holds("book", bytes([group]) + body, seal):
            _, version, locks, rows, total = _LAYOUT.unpack(body)
            return Book(version, locks, rows, int.from_bytes(total, "big"))
    raise RowAltered(f"attempts of group {group}: its book was altered since cardbill wrote it")


class Group(NamedTuple):
    """All rows of a group, as they stood at one moment.

    Attributes:
        number: Of the group.
        sealed: Its book, as stored.
        rows: Of its subjects.
    """

    number: int
    sealed: AttemptRow | None
    rows: list[AttemptRow]

    def book(self, seals: Seals) -> Book:
        """Return what its book says.

        Raises:
            RowAltered: It was altered or removed.
        """
        return open_book(self.number, self.sealed and self.sealed.state, seals)

    @property
    def ending(self) -> str:
        """The end of its book's seal: tells apart two books of one version."""
        return self.sealed.state[-8:].hex() if self.sealed else ""

    def kept(self, seals: Seals) -> Iterator[Kept | None]:
        """Yield what is kept of each subject; ``None`` where that was altered."""
        for row in self.rows:
            try:
                kept = open_state(self.number, row.subject, row.state, seals)
            except RowAltered:
                yield None
            else:
                yield kept if kept.keep_until == row.keep_until else None

    def problems(self, seals: Seals) -> Iterator[str]:
        """Yield what was altered, removed or added, one line each."""
        sound = [kept for kept in self.kept(seals) if kept is not None]
        if altered := len(self.rows) - len(sound):
            yield f"attempts of group {self.number}: {altered} rows were altered or put there"
        if self.sealed is not None and self.sealed.keep_until != NEVER:
            yield f"attempts of group {self.number}: the deadline of its book was altered"
        try:
            book = self.book(seals)
        except RowAltered as error:
            yield str(error)
        else:
            if (book.rows, book.total) != (len(sound), total_of(sound)):
                yield f"attempts of group {self.number}: its rows are not those of its book"


def total_of(rows: Iterable[Kept]) -> int:
    """Return the sum of digests as a book keeps it."""
    return sum(row.digest for row in rows) % _MODULUS


def groups(storage: Storage, first: int = 0) -> Iterator[Group]:
    """Yield every group that has rows, from the first on, each as it stood at one moment."""
    after, limit = (first - 1, _ABOVE), 500
    while page := storage.attempts(after=after, limit=limit):
        number = page[0].group
        rows = [row for row in page if row.group == number]
        if len(rows) == limit:  # maybe not all of them, and one moment has one call
            limit *= 8
            continue
        after = number, _ABOVE
        sealed = rows.pop(0) if not rows[0].subject else None
        yield Group(number, sealed, rows)


def _message(group: int, subject: str, body: bytes) -> bytes:
    return ascii((group, subject)).encode() + body
