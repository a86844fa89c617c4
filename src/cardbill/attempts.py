"""Counting attempts in the store: each step keeps the book of its group in step."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from cardbill.books import (
    GROUPS,
    Book,
    Kept,
    group_of,
    open_book,
    open_state,
    seal_book,
    seal_state,
)
from cardbill.errors import RowAltered
from cardbill.storage.contract import Tally

if TYPE_CHECKING:
    from cardbill.seals import Seals
    from cardbill.storage.contract import Storage

T = TypeVar("T")


class Attempts:
    """What is remembered of attempts, by subject.

    Args:
        storage: Where it is kept.
        seals: Makes and checks the seals of rows and books.
    """

    def __init__(self, storage: Storage, seals: Seals) -> None:
        self._storage = storage
        self._seals = seals

    def open(self) -> None:
        """Make the books of a store that has none."""
        for group in range(GROUPS):
            self._storage.take_attempts(group, "none", self._begin(group))

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
        return self._step(group, subject, lambda kept: decide(kept and kept.state))

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

    # -- inside ---------------------------------------------------------------------------

    def _step(self, group: int, subject: str, decide: Callable[[Kept | None], Tally[T]]) -> T:
        seals = self._seals

        def sealed(stored: bytes | None, written: bytes | None) -> Tally[T]:
            book = open_book(group, written, seals)
            kept = None if stored is None else open_state(group, subject, stored, seals)
            outcome, state, keep_until, _ = decide(kept)
            if (state, keep_until) == (kept[:2] if kept else (None, keep_until)):
                return Tally(outcome, stored, keep_until)
            new = None if state is None else seal_state(group, subject, state, keep_until, seals)
            changed = seal_book(group, book.changed(kept, new), seals)
            return Tally(outcome, new and new.stored, keep_until, changed)

        return self._storage.take_attempts(group, subject, sealed)

    def _forget(self, group: int, subject: str, at: int) -> bool:
        def over(kept: Kept | None) -> Tally[bool]:
            if kept is None or at < kept.keep_until:
                return Tally(False, kept and kept.state, kept.keep_until if kept else 0)
            return Tally(True, None)

        with suppress(RowAltered):
            return self._step(group, subject, over)
        return False

    def _begin(self, group: int) -> Callable[[bytes | None, bytes | None], Tally[None]]:
        new = seal_book(group, Book(), self._seals)
        return lambda _, book: Tally(None, None, book=new if book is None else None)
