"""Steps on attempts at PINs, on PostgreSQL.

Whatever changes in a group raises the version of its row and leaves a number that nobody else has
drawn. So a swap on both proves all that was read of the group, or left in it: a version alone could
come again, as the last of these commits may be lost with the server.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import NamedTuple, TypeVar

from cardbill.storage.checks import check_subject, check_tally
from cardbill.storage.contract import Tally
from cardbill.storage.postgres_connections import Connections, Session
from cardbill.storage.postgres_statements import Statements
from cardbill.storage.postgres_swaps import Claims, Overtaken, swapped

T = TypeVar("T")

Decide = Callable[[bytes | None, bytes | None], Tally[T]]


class _Seen(NamedTuple):
    """A group at one version, as far as it is about one subject."""

    group: int
    subject: str
    version: int
    number: int
    book: bytes | None
    state: bytes | None
    keep_until: int | None


class Attempts:
    """Takes steps on subjects' attempts and their groups' books.

    A group as this process left it is good for one more step on that subject: an attempt that
    was counted is mostly given back at once.

    Args:
        connections: Where sessions come from.
        statements: For the schema.
        distributed: The tables are spread over nodes.
    """

    def __init__(
        self, connections: Connections, statements: Statements, *, distributed: bool
    ) -> None:
        self._connections = connections
        self._sql = statements
        self._distributed = distributed
        self._left: dict[int, _Seen] = {}

    def take(self, group: int, subject: str, decide: Decide[T]) -> T:
        """Take a step on a subject's attempts and its group's book."""
        check_subject(group, subject)
        left = self._left.pop(group, None)
        unread = left if left is not None and left.subject == subject else None

        def attempt(session: Session, claims: Claims[T]) -> T:
            nonlocal unread
            if unread is not None:
                before, unread = unread, None
                for outcome in self._unread(session, claims, before, decide):
                    return outcome
            version, number, *rest = session.one(self._sql.attempts_of, (subject, group))
            for outcome in claims.committed(version, number):
                return outcome
            seen = _Seen(group, subject, version, number, *rest)
            tally = decide(seen.state, seen.book)
            check_tally(tally)
            # Swapped for the same, no earlier try can be carried out any more.
            if (_changes(seen, tally) or claims) and not self._swap(session, claims, seen, tally):
                raise Overtaken
            return tally.outcome

        return swapped(
            self._connections,
            lambda session: session.first(self._sql.lock_group, (group,)),
            attempt,
        )

    def _unread(
        self, session: Session, claims: Claims[T], seen: _Seen, decide: Decide[T]
    ) -> list[T]:
        """Return the outcome of a step on what was left before; nothing: it is to be read."""
        try:
            tally = decide(seen.state, seen.book)
            check_tally(tally)
        except Exception:  # noqa: BLE001  # what is read now may be no reason for it any more
            return []
        if not _changes(seen, tally):
            return []  # which proves nothing
        if self._swap(session, claims, seen, tally):
            return [tally.outcome]
        claims.withdraw()
        return []

    def _swap(self, session: Session, claims: Claims[T], seen: _Seen, tally: Tally[T]) -> bool:
        """Put what was decided in the place of what was seen; False: that is gone."""
        number = claims.make(seen.version, tally.outcome)
        group, subject, version, before = seen[:4]
        if not self._write(session, (number, tally.book, group, version, before), subject, tally):
            return False
        book = seen.book if tally.book is None else tally.book
        self._left[group] = _Seen(group, subject, version + 1, number, book, *_kept(tally))
        return True

    def _write(
        self,
        session: Session,
        new: tuple[int, bytes | None, int, int, int],
        subject: str,
        tally: Tally[T],
    ) -> bool:
        sql, forget = self._sql, tally.state is None
        if not self._distributed:
            if forget:
                return session.tell(sql.forget, (*new, subject)) == 1
            return session.tell(sql.tally, (*new, subject, *_kept(tally))) == 1
        group = new[2]
        with nullcontext() if session.inside else session.transaction():
            if not session.run(sql.swap_group, new):
                return False
            if forget:
                session.run(sql.forget_alone, (group, subject))
            else:
                session.run(sql.tally_alone, (group, subject, *_kept(tally)))
            return True


def _kept(tally: Tally[T]) -> tuple[bytes | None, int | None]:
    """Return what is kept of the subject: its state and its deadline, or nothing."""
    return (None, None) if tally.state is None else (tally.state, tally.keep_until)


def _changes(seen: _Seen, tally: Tally[T]) -> bool:
    return _kept(tally) != seen[5:] or tally.book not in {None, seen.book}
