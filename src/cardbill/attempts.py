"""Counting attempts in the store: each step keeps the book of its group in step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from cardbill.books import (
    GROUPS,
    Book,
    Group,
    Kept,
    group_of,
    groups,
    open_book,
    open_state,
    seal_book,
    seal_state,
    total_of,
)
from cardbill.catalogueitems import ATTEMPTS
from cardbill.errors import RowAltered, StorageUnavailable, VersionConflict
from cardbill.journal import SET_BACK
from cardbill.storage.contract import Tally

if TYPE_CHECKING:
    from cardbill.journal import Journal
    from cardbill.seals import Seals
    from cardbill.storage.contract import Storage

T = TypeVar("T")

MARK = "books"
"""The name of the mark in the catalogue."""


class Attempts:
    """What is remembered of attempts, by subject.

    Args:
        storage: Where it is kept.
        seals: Makes and checks the seals of rows and books.
        journal: Where it is noted that they were set back.
    """

    def __init__(self, storage: Storage, seals: Seals, journal: Journal) -> None:
        self._storage = storage
        self._seals = seals
        self._journal = journal
        self._reached: dict[int, int] = {}  # by group: the book's version, as this process knows

    def open(self) -> None:
        """Make the books of a store that never had any, and mark it as one that has.

        Once for each store: where the mark stands, a book that is missing was removed.
        """
        for group in range(GROUPS):
            self._put_book(group, None, Book())
        with suppress(VersionConflict):  # another process was first
            self._journal.publish(ATTEMPTS, MARK, b"%d" % GROUPS, expected=0)

    def take(self, subject: str, decide: Callable[[bytes | None], Tally[T]]) -> T:
        """Change what is remembered of a subject, by one atomic step.

        Args:
            subject: Its token.
            decide: Given what is remembered, if anything is, returns what is from now on.

        Raises:
            RowAltered: Subject or book is not as cardbill wrote it; nothing is changed.
            StorageUnavailable: See ``Storage.take_attempts``.
        """
        group = group_of(subject)
        return self._step(group, subject, lambda book, kept: (book, decide(kept and kept.state)))

    def of(self, prefix: str) -> Iterator[tuple[str, bytes]]:
        """Yield the subjects that begin so, and what is remembered of them.

        Raises:
            RowAltered: One is not as cardbill wrote it.
        """
        for group in range(GROUPS):
            after = group, prefix
            while page := self._storage.attempts(after=after):
                rows = [r for r in page if r.group == group and r.subject.startswith(prefix)]
                for row in rows:
                    kept = open_state(group, row.subject, row.state, self._seals)
                    yield row.subject, kept.state
                if len(rows) < len(page):
                    break
                after = group, page[-1].subject

    def count_lock(self, subject: str, stands: Callable[[bytes], bool]) -> int | None:
        """Count a lock of a caller's number in its group's book.

        Args:
            subject: The number's token.
            stands: Given what is remembered, says whether the lock still stands.

        Returns:
            Its number in the group: none has it twice. ``None``: it does not stand any more.
        """

        def counted(book: Book, kept: Kept | None) -> tuple[Book, Tally[int | None]]:
            if kept is None or not stands(kept.state):
                return book, _as_it_was(None, kept)
            book = book._replace(locks=book.locks + 1)
            return book, _as_it_was(book.locks, kept)

        return self._step(group_of(subject), subject, counted)

    def forget(self, at: int) -> int:
        """Drop what means nothing any more; return of how many subjects.

        What was altered stays, for an audit to show.
        """
        forgotten = 0
        while over := self._storage.attempts_over(at):
            dropped = sum(self._forget(group, subject, at) for group, subject in over)
            if not dropped:
                break
            forgotten += dropped
        return forgotten

    def recount(self, position: int) -> int:
        """Make every book fit its group's rows; return how many rows were altered, and dropped.

        Args:
            position: Where the log says so. Versions and numbers of locks go on from there,
                above all that were before.
        """
        start = Book(position << 32, position << 32)
        found = {group.number for group in groups(self._storage)}
        return sum(self._recount(number, start) for number in sorted({*range(GROUPS), *found}))

    # -- inside ---------------------------------------------------------------------------

    def _step(
        self,
        group: int,
        subject: str,
        decide: Callable[[Book, Kept | None], tuple[Book, Tally[T]]],
    ) -> T:
        seals, reached = self._seals, self._reached.get(group, 0)
        before = after = Book()

        def sealed(stored: bytes | None, written: bytes | None) -> Tally[T]:
            nonlocal before, after
            before = after = open_book(group, written, seals)
            kept = None if stored is None else open_state(group, subject, stored, seals)
            book, tally = decide(before, kept)
            state, keep_until = tally.state, tally.keep_until
            if book == before and (state, keep_until) == (kept[:2] if kept else (None, keep_until)):
                return tally._replace(state=stored)
            new = None if state is None else seal_state(group, subject, state, keep_until, seals)
            after = book.changed(kept, new)
            written = seal_book(group, after, seals)
            return Tally(tally.outcome, new and new.stored, keep_until, written)

        outcome = self._storage.take_attempts(group, subject, sealed)
        self._watch(group, reached, before, after)
        return outcome

    def _watch(self, group: int, reached: int, before: Book, after: Book) -> None:
        """Note it when a step found a version below the one that an earlier step had left."""
        if reached <= before.version:
            self._reached[group] = max(after.version, self._reached.get(group, 0))
            return
        with suppress(StorageUnavailable):  # the next step sees it too
            found = before.version
            self._journal.append(SET_BACK, "", group=group, version=found, reached=reached)
            self._reached[group] = after.version

    def _forget(self, group: int, subject: str, at: int) -> bool:
        def over(book: Book, kept: Kept | None) -> tuple[Book, Tally[bool]]:
            drop = kept is not None and kept.keep_until <= at
            return book, Tally(drop, None) if drop else _as_it_was(drop, kept)

        with suppress(RowAltered):
            return self._step(group, subject, over)
        return False

    def _put_book(self, group: int, expected: bytes | None, book: Book) -> bool:
        """Put a book in place of the one that is expected; False: another is there."""
        new = seal_book(group, book, self._seals)

        def put(_: bytes | None, written: bytes | None) -> Tally[bool]:
            fits = written == expected
            return Tally(fits, None, book=new if fits else None)

        return self._storage.take_attempts(group, "nobody", put)

    def _recount(self, number: int, start: Book) -> int:
        while True:
            group = next(groups(self._storage, number), None)
            if group is None or group.number != number:
                group = Group(number, None, [])
            found = list(zip(group.rows, group.kept(self._seals), strict=True))
            sound = [kept for _, kept in found if kept is not None]
            book = start._replace(rows=len(sound), total=total_of(sound))
            if self._put_book(number, group.sealed and group.sealed.state, book):
                break
        altered = [row.subject for row, kept in found if kept is None]
        for subject in altered:
            self._storage.take_attempts(number, subject, lambda *_: Tally(None, None))
        return len(altered)


def _as_it_was(outcome: T, kept: Kept | None) -> Tally[T]:
    return Tally(outcome, *kept[:2]) if kept else Tally(outcome, None)
