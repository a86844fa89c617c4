"""How a row is changed on PostgreSQL: read, decide, and swap it if it is still the one read.

Nothing is locked while the caller's function decides. One statement finds the row only by the
version that was seen, and writes all that belongs to it. Whoever finds it changed takes the
row's lock for the next try, so that a row that many want at once gets on.

A connection may break when that statement is on its way: then it was carried out, or will be
later, or never. Of all statements that were decided on one version only one can find the row,
and each leaves a number of its own in it. So a second try is safe, and the row itself tells
whether an earlier one was carried out, unless others have been at it since.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Generic, TypeVar

from cardbill.errors import StorageUnavailable
from cardbill.storage.postgres_connections import Connections, Session
from cardbill.storage.postgres_faults import Passing, Patience

T = TypeVar("T")


class Overtaken(Exception):  # leads to another try, never leaves a store
    """Somebody else has changed the row since it was read."""


class Claims(Generic[T]):
    """What may have been committed, all decided on one version: outcomes by their numbers."""

    def __init__(self) -> None:
        self._version = 0
        self._outcomes: dict[int, T] = {}
        self._newest: int | None = None

    def __len__(self) -> int:
        return len(self._outcomes)

    def make(self, version: int, outcome: T) -> int:
        """Note what is about to be tried on that version; return a number for it."""
        self._version = version
        self._newest = int.from_bytes(os.urandom(8)) >> 1
        self._outcomes[self._newest] = outcome
        return self._newest

    def withdraw(self) -> None:
        """Forget the newest: it was certainly not carried out."""
        if self._newest is not None:
            self._outcomes.pop(self._newest, None)
        self._newest = None

    def keep(self) -> None:
        """Leave the newest open, whatever becomes of the next."""
        self._newest = None

    def committed(self, version: int, number: int) -> list[T]:
        """Return the outcome that was committed, if one was, by what the row holds now.

        Raises:
            StorageUnavailable: The row has gone on further, and does not tell any more.
        """
        if not self._outcomes or version == self._version:
            return []
        if version != self._version + 1:
            raise StorageUnavailable("PostgreSQL: the connection broke", outcome_unknown=True)
        if number in self._outcomes:
            return [self._outcomes[number]]
        self._outcomes.clear()  # what followed is somebody else's
        return []


def swapped(
    connections: Connections,
    lock: Callable[[Session], object],
    attempt: Callable[[Session, Claims[T]], T],
) -> T:
    """Try until a row is swapped, or need not be; return the outcome.

    Args:
        connections: Where sessions come from.
        lock: Locks the row, within a transaction.
        attempt: Reads, decides and swaps once; raises :class:`Overtaken`.

    Raises:
        StorageUnavailable: It has failed too often, or may have been done.
    """
    claims: Claims[T] = Claims()
    patience = Patience(connections.sleep)
    overtaken = False
    while True:
        claims.keep()
        try:
            with connections.lend() as session:
                if not overtaken:
                    return attempt(session, claims)
                with session.transaction():
                    lock(session)
                    return attempt(session, claims)
        except Overtaken:
            claims.withdraw()
            if overtaken and not patience.pause():
                unknown = len(claims) > 0
                raise StorageUnavailable("others were faster", outcome_unknown=unknown) from None
            overtaken = True
        except Passing as fault:
            if not fault.outcome_unknown:
                claims.withdraw()
            if not patience.pause():
                unknown = len(claims) > 0
                raise StorageUnavailable(fault.problem, outcome_unknown=unknown) from fault
        except StorageUnavailable as fault:
            if not fault.outcome_unknown:
                claims.withdraw()
                if claims:  # of an earlier try
                    raise StorageUnavailable("PostgreSQL", outcome_unknown=True) from fault
            raise
