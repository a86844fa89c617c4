"""Walks over what a store lists page by page: whole lists, one page in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from cardbill.instants import to_micros
from cardbill.rows import is_call

if TYPE_CHECKING:
    from cardbill.storage.contract import CardRow, EntryRow, RecordRow, Storage


def card_rows(storage: Storage, batch: str) -> Iterator[CardRow]:
    """Yield the cards of a batch by rising serial."""
    after = 0
    while page := storage.find_cards(batch, after=after):
        after = page[-1].serial
        yield from page


def due_cards(storage: Storage, at: datetime) -> Iterator[str]:
    """Yield the ids of the cards that time changes until an instant, those that wait first."""
    after: tuple[int, str] | None = None
    while page := storage.due(to_micros(at), after=after):
        for after in page:
            yield after[1]


def entry_rows(storage: Storage, card: str) -> Iterator[EntryRow]:
    """Yield a card's ledger entries, oldest first."""
    after = 0
    while page := storage.entries(card, after=after):
        after = page[-1].seq
        yield from page


def record_rows(
    storage: Storage, *, card: str | None = None, batch: str | None = None
) -> Iterator[RecordRow]:
    """Yield the records of a card, of a batch or all, by card and key."""
    after: tuple[str, str] | None = None
    while page := storage.records(card=card, batch=batch, after=after):
        after = page[-1].card, page[-1].key
        yield from page


def call_rows(
    storage: Storage, *, card: str | None = None, batch: str | None = None
) -> Iterator[RecordRow]:
    """Yield the records of calls, as :func:`record_rows` does; operations are left out."""
    return filter(is_call, record_rows(storage, card=card, batch=batch))
