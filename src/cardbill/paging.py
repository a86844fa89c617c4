"""Walks over what a store lists page by page: whole lists, one page in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import partial
from itertools import chain
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any, TypeVar

from cardbill.errors import StorageError
from cardbill.instants import to_micros
from cardbill.rows import is_call

if TYPE_CHECKING:
    from cardbill.storage.contract import (
        AuditRow,
        CardRow,
        EntryRow,
        RecordRow,
        Storage,
        SuspenseRow,
    )

_Row = TypeVar("_Row")


def card_pages(storage: Storage, batch: str) -> Iterator[Sequence[CardRow]]:
    """Return the cards of a batch by rising serial, page by page."""
    return _pages(partial(storage.find_cards, batch), attrgetter("serial"), 0)


def card_rows(storage: Storage, batch: str, *, after: int = 0) -> Iterator[CardRow]:
    """Return the cards of a batch by rising serial, above one."""
    return _rows(partial(storage.find_cards, batch), attrgetter("serial"), after)


def due_cards(storage: Storage, at: datetime) -> Iterator[str]:
    """Return the ids of the cards that time changes until an instant, those that wait first."""
    due: Iterator[tuple[int, str]] = _rows(partial(storage.due, to_micros(at)), tuple, None)
    return (card for _, card in due)


def entry_rows(storage: Storage, card: str) -> Iterator[EntryRow]:
    """Return a card's ledger entries, oldest first."""
    return _rows(partial(storage.entries, card), attrgetter("seq"), 0)


def record_rows(
    storage: Storage, *, card: str | None = None, batch: str | None = None
) -> Iterator[RecordRow]:
    """Return the records of a card, of a batch or all, by card and key."""
    fetch = partial(storage.records, card=card, batch=batch)
    return _rows(fetch, attrgetter("card", "key"), None)


def call_rows(
    storage: Storage, *, card: str | None = None, batch: str | None = None
) -> Iterator[RecordRow]:
    """Return the records of calls, as :func:`record_rows` does; operations are left out."""
    return filter(is_call, record_rows(storage, card=card, batch=batch))


def suspense_rows(storage: Storage) -> Iterator[SuspenseRow]:
    """Return the events in suspense, by key."""
    return _rows(storage.suspended, attrgetter("key"), "")


def job_rows(storage: Storage) -> Iterator[tuple[str, int]]:
    """Return the jobs that added cards, by key, and how many each added."""
    return _rows(storage.jobs, itemgetter(0), "")


def audit_rows(storage: Storage, *, after: int = 0) -> Iterator[tuple[int, AuditRow]]:
    """Return the operators' log by position, above one."""
    return _rows(storage.audit_log, itemgetter(0), after)


def _rows(
    fetch: Callable[..., Sequence[_Row]], place: Callable[[_Row], Any], after: Any
) -> Iterator[_Row]:
    return chain.from_iterable(_pages(fetch, place, after))


def _pages(
    fetch: Callable[..., Sequence[_Row]], place: Callable[[_Row], Any], after: Any
) -> Iterator[Sequence[_Row]]:
    """Yield the pages after a place.

    Raises:
        StorageError: A page does not go beyond the one before it: such a walk would never end.
    """
    while page := fetch(after=after):
        last = place(page[-1])
        if after is not None and last <= after:
            raise StorageError(
                f"the page after {after!r} ends at {last!r}: the store repeats itself"
            )
        after = last
        yield page
