"""The operators' log: each row sealed onto the one before, so that none can be taken out.

What must not vanish unnoticed is written down twice, before it is done and after: a fact
without the row before it was forged, or the log was cut; a row after it without the fact
means that the fact was removed. A crash leaves the first row alone, or row and fact
without the second, and neither reads as tampering.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from cardbill.errors import StorageError, VersionConflict
from cardbill.instants import to_micros
from cardbill.proofs import open_item, seal_item
from cardbill.seals import NO_SEAL, SEAL_BYTES, Seals
from cardbill.storage.contract import AuditRow, SuspenseRow

if TYPE_CHECKING:
    from cardbill.storage.contract import Storage

PUBLISH, MAKE, SUSPEND, REKEY, DROP = "publish", "make-pins", "suspend", "rekey", "drop-sealed"
PURGE = "purge"
"""Actions that are noted before and after."""

LOCK, UNLOCK = "lock-number", "unlock-number"
SET_BACK, RECOUNT = "attempts-set-back", "recount-attempts"
"""What is noted once of the counts of wrong PINs: locks and what was set back when it is seen,
what operators do before it is done."""

BEGUN = "-begun"
"""Ends the name of an action in the row before it."""


class Journal:
    """Writes the log, and does what is noted in it before and after.

    Args:
        storage: Where it is kept.
        seals: Makes the seals.
        now: Returns the present instant.
    """

    def __init__(self, storage: Storage, seals: Seals, now: Callable[[], datetime]) -> None:
        self._storage = storage
        self._seals = seals
        self.now = now

    def append(self, action: str, subject: str, actor: str = "", **detail: object) -> int:
        """Add a row: who did what to which subject, and more; return its position.

        Raises:
            StorageError: The store refuses the position that follows the newest it tells of.
        """
        content = json.dumps(detail).encode()
        tried = -1
        while True:
            last = self._storage.last_audit()
            position, previous = (0, NO_SEAL) if last is None else (last[0], seal_of(last[1]))
            if position == tried:
                raise StorageError(f"the log ends at {position}, and takes nothing after it")
            tried = position
            row = AuditRow(to_micros(self.now()), actor, action, subject, content)
            seal = self._seals.sign("log", _message(position + 1, row, previous))
            if self._storage.append_audit(row._replace(detail=content + seal), after=position):
                return position + 1

    @contextmanager
    def noted(
        self, action: str, subject: str, actor: str = "", **detail: object
    ) -> Iterator[dict[str, Any]]:
        """Add a row before and, when all went well, one after; the latter may say more."""
        self.append(action + BEGUN, subject, actor, **detail)
        more: dict[str, Any] = {}
        yield more
        self.append(action, subject, actor, **{**detail, **more})

    def publish(self, kind: str, name: str, content: bytes, *, expected: int) -> int:
        """Publish an item of the catalogue under a seal, and return its version.

        Raises:
            VersionConflict: The newest version is not the one expected.
        """
        heads = {head[:2]: head.version for head in self._storage.catalogue()[1]}
        if heads.get((kind, name), 0) != expected:  # nothing to note: the store would refuse it
            raise VersionConflict(f"{kind} {name!r} is at version {heads.get((kind, name), 0)}")
        version = expected + 1
        sealed = seal_item(kind, name, version, content, self._seals)
        with self.noted(PUBLISH, name, kind=kind, version=version):
            self._storage.publish(kind, name, sealed, expected=expected)
        return version

    def content(self, kind: str, name: str, version: int) -> bytes:
        """Return what was published.

        Raises:
            UnknownName: There is no such item.
            RowAltered: It is not what was published.
        """
        return open_item(
            kind, name, version, self._storage.content(kind, name, version), self._seals
        )

    def suspend(self, event: SuspenseRow) -> None:
        """Keep an event that fits no card; one that is kept already leaves no trace."""
        below = event.key[:-1]  # sorts below it, with few between
        if any(row.key == event.key for row in self._storage.suspended(after=below, limit=50)):
            return
        with self.noted(SUSPEND, event.card, key=event.key, sha256=suspense_digest(event)):
            self._storage.suspend(event)


def seal_of(row: AuditRow) -> bytes:
    """Return the seal at the end of a row."""
    return row.detail[-SEAL_BYTES:] if type(row.detail) is bytes else NO_SEAL


def detail_of(row: AuditRow) -> dict[str, Any]:
    """Return what a row says besides its columns."""
    found: dict[str, Any] = json.loads(row.detail[:-SEAL_BYTES])
    return found


def follows(position: int, row: AuditRow, previous: bytes, seals: Seals) -> bool:
    """Say whether a row is the one that was written at that position, after that seal."""
    if type(row.detail) is not bytes:
        return False
    plain = row._replace(detail=row.detail[:-SEAL_BYTES])
    return seals.holds("log", _message(position, plain, previous), seal_of(row))


def suspense_digest(event: SuspenseRow) -> str:
    """Return what the log says of an event, besides its key."""
    return hashlib.sha256(ascii(tuple(event)[1:]).encode()).hexdigest()


def _message(position: int, row: AuditRow, previous: bytes) -> bytes:
    return ascii((position, *row[:4])).encode() + previous + row.detail
