"""The storage contract for asyncio: that of :mod:`cardbill.storage.contract`, with ``await``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

from cardbill.storage.contract import (
    AttemptRow,
    AuditRow,
    CardRow,
    Counts,
    CredentialRow,
    EntryRow,
    Head,
    NewCard,
    RecordRow,
    Step,
    SuspenseRow,
    Tally,
    View,
)

T = TypeVar("T")


class AsyncStorage(Protocol):
    """What an asynchronous store does: each method as that of ``Storage``, with ``await``.

    What the caller gives (`decide`, `cards`, `redraw`, `approve`) is synchronous here too. All but
    `decide` may ask the store meanwhile, so call them by
    :func:`~cardbill.storage.aio.bridge.bridged`, ``await bridged(redraw, card)`` say; or on a
    thread, where what they ask has to be answered without waiting. A store belongs to one event
    loop, and lets it go on: what has to wait, for a lock or a disk too, is awaited. A method that
    is cancelled was done or was not, never by half; the same may be asked again, as after
    ``StorageUnavailable(outcome_unknown=True)``.
    """

    async def transact(
        self,
        card: str,
        decide: Callable[[View], Step[T]],
        *,
        key: str | None = None,
        seen: View | None = None,
    ) -> T:
        """Run one step on one card."""

    async def add_cards(
        self,
        job: str,
        cards: Iterable[NewCard],
        *,
        redraw: Callable[[NewCard], NewCard | None] | None = None,
        approve: Callable[[int], None] | None = None,
    ) -> int:
        """Add cards in bulk: all of them become visible at once, or none."""

    async def view(self, card: str, key: str | None = None) -> View:
        """Return what a step on that card would see now, at one moment, without taking one."""

    async def resolve(
        self, kind: str, tokens: Sequence[bytes], *, key: str | None = None
    ) -> View | None:
        """Return the view of the card that one of the tokens opens; the first that does."""

    async def credentials(
        self, cards: Sequence[str], kind: str | None = None
    ) -> list[CredentialRow]:
        """Return the credentials of these cards."""

    async def bind(self, credential: CredentialRow, *, expected: str | None) -> bool:
        """Point a credential's (kind, token) at a card; of many who try at once one succeeds."""

    async def unbind(self, kind: str, token: bytes, *, expected: str) -> bool:
        """Remove the credential (kind, token) if it belongs to the card `expected`."""

    async def find_cards(self, batch: str, *, after: int = 0, limit: int = 500) -> list[CardRow]:
        """Return cards of a batch by rising serial, beginning above serial `after`."""

    async def count_cards(self, *, batch: str | None = None) -> int:
        """Return how many cards there are, in all or of one batch."""

    async def counts(self) -> Counts:
        """Return how many cards, credentials, entries and records there are, at one moment."""

    async def jobs(self, *, after: str = "", limit: int = 500) -> list[tuple[str, int]]:
        """Return (job, cards added) of every job done, by rising key, above `after`."""

    async def due(
        self, at: int, *, after: tuple[int, str] | None = None, limit: int = 500
    ) -> list[tuple[int, str]]:
        """Return (due_at, card) of cards due at or before `at`, in that order."""

    async def entries(self, card: str, *, after: int = 0, limit: int = 500) -> list[EntryRow]:
        """Return a card's entries by rising seq, beginning above `after`."""

    async def records(
        self,
        *,
        card: str | None = None,
        batch: str | None = None,
        after: tuple[str, str] | None = None,
        limit: int = 500,
    ) -> list[RecordRow]:
        """Return records by (card, key), of one card, one batch or all."""

    async def calls_by_id(self, call: str) -> list[RecordRow]:
        """Return every record of a call id: there may be several, of different cards."""

    async def suspend(self, event: SuspenseRow) -> bool:
        """Keep an event that fits no card; False: it is kept already (same key)."""

    async def suspended(self, *, after: str = "", limit: int = 500) -> list[SuspenseRow]:
        """Return kept events by rising key, beginning above `after`."""

    async def publish(self, kind: str, name: str, content: bytes, *, expected: int) -> Head:
        """Add the next version of a catalogue item and raise the catalogue's revision."""

    async def catalogue(self) -> tuple[int, list[Head]]:
        """Return the revision (0: nothing was ever published) and every name's head."""

    async def content(self, kind: str, name: str, version: int) -> bytes:
        """Return an item's content."""

    async def append_audit(self, row: AuditRow, *, after: int) -> bool:
        """Add a row to the operators' audit log, at the position that follows `after`."""

    async def last_audit(self) -> tuple[int, AuditRow] | None:
        """Return the newest position and row of the audit log; ``None``: it is empty."""

    async def audit_log(self, *, after: int = 0, limit: int = 500) -> list[tuple[int, AuditRow]]:
        """Return (position, row) of the audit log, beginning above position `after`."""

    async def take_attempts(
        self,
        group: int,
        subject: str,
        decide: Callable[[bytes | None, bytes | None], Tally[T]],
    ) -> T:
        """Change what is kept of a subject's attempts and its group's book, by one step."""

    async def attempts(
        self, *, after: tuple[int, str] | None = None, limit: int = 500
    ) -> list[AttemptRow]:
        """Return what is kept of attempts by (group, subject), books included."""

    async def attempts_over(self, at: int, *, limit: int = 500) -> list[tuple[int, str]]:
        """Return (group, subject) of states past their deadline, in any order; no book."""

    async def close(self) -> None:
        """Give back everything; may be called again. Later calls raise StorageClosed."""
