"""The reference store: everything in this process, nothing kept after it.

One lock, plain dictionaries. It is the model that the conformance suite holds every other
store to, and the fake that an application's tests use.
"""

from __future__ import annotations

import threading
from bisect import bisect_right, insort
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

from cardbill.errors import (
    ConstraintViolated,
    DuplicateCredential,
    StorageClosed,
    UnknownName,
    VersionConflict,
)
from cardbill.storage.checks import check_card, check_step, check_subject, check_tally
from cardbill.storage.contract import (
    NEVER,
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


class MemoryStorage:
    """A store in memory that keeps the whole contract but durability."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._closed = False
        self._cards: dict[str, CardRow] = {}
        self._batches: dict[str, list[tuple[int, str]]] = {}
        self._credentials: dict[tuple[str, bytes], CredentialRow] = {}
        self._opens: dict[str, list[tuple[str, bytes]]] = {}
        self._entries: dict[str, list[EntryRow]] = {}
        self._records: dict[tuple[str, str], RecordRow] = {}
        self._jobs: dict[str, int] = {}
        self._contents: dict[tuple[str, str], list[bytes]] = {}
        self._suspense: dict[str, SuspenseRow] = {}
        self._audit: list[AuditRow] = []
        self._attempts: dict[tuple[int, str], AttemptRow] = {}
        self._revision = 0

    def transact(
        self,
        card: str,
        decide: Callable[[View], Step[T]],
        *,
        key: str | None = None,
        seen: View | None = None,  # noqa: ARG002  # reading costs nothing here
    ) -> T:
        with self._open():
            view = self._view(card, key)
            step = decide(view)
            if step.card is not None:
                check_step(view.card, step)
                entries = self._entries.setdefault(card, [])
                if step.entries and step.entries[0].seq != len(entries) + 1:
                    raise ConstraintViolated(f"card {card}: entries out of sequence")
                self._cards[card] = step.card
                entries.extend(step.entries)
                for record in step.records:
                    self._records[record.card, record.key] = record
            return step.outcome

    def add_cards(
        self,
        job: str,
        cards: Iterable[NewCard],
        *,
        redraw: Callable[[NewCard], NewCard | None] | None = None,
        approve: Callable[[int], None] | None = None,
    ) -> int:
        with self._open():
            if job in self._jobs:
                return self._jobs[job]
        drawn = list(cards)  # steps go on meanwhile
        with self._open():
            if job in self._jobs:
                return self._jobs[job]  # by somebody else, meanwhile
            added: dict[str, CardRow] = {}
            opened: dict[tuple[str, bytes], CredentialRow] = {}
            serials: set[tuple[str, int]] = set()
            for offered in drawn:
                new = self._free(offered, opened, redraw)
                if new is None:
                    continue
                card, place = new.card, new.credential[:2]
                check_card(card)
                if card.id in self._cards or card.id in added:
                    raise ConstraintViolated(f"card {card.id} exists already")
                if (card.batch, card.serial) in serials or self._has(card.batch, card.serial):
                    raise ConstraintViolated(f"batch {card.batch} has serial {card.serial}")
                serials.add((card.batch, card.serial))
                added[card.id] = card
                opened[place] = new.credential
            if approve is not None:
                approve(len(added))
            self._cards.update(added)
            self._credentials.update(opened)
            for place, credential in opened.items():
                self._opens.setdefault(credential.card, []).append(place)
            for card in added.values():
                insort(self._batches.setdefault(card.batch, []), (card.serial, card.id))
            self._jobs[job] = len(added)
            return len(added)

    def _free(
        self,
        new: NewCard,
        opened: Container[tuple[str, bytes]],
        redraw: Callable[[NewCard], NewCard | None] | None,
    ) -> NewCard | None:
        """Return the card, or another one for as long as its credential is in use."""
        offered: NewCard | None = new
        while offered is not None:
            place = offered.credential[:2]
            if place not in self._credentials and place not in opened:
                break
            if redraw is None:
                raise DuplicateCredential("a credential is in use already")
            offered = redraw(offered)
        return offered

    def view(self, card: str, key: str | None = None) -> View:
        with self._open():
            return self._view(card, key)

    def resolve(self, kind: str, tokens: Sequence[bytes], *, key: str | None = None) -> View | None:
        with self._open():
            for token in tokens:
                if (found := self._credentials.get((kind, token))) is not None:
                    return self._view(found.card, key)
            return None

    def credentials(self, cards: Sequence[str], kind: str | None = None) -> list[CredentialRow]:
        with self._open():
            places = [place for card in cards for place in self._opens.get(card, [])]
            return [self._credentials[place] for place in places if kind in (None, place[0])]

    def bind(self, credential: CredentialRow, *, expected: str | None) -> bool:
        with self._open():
            if credential.card not in self._cards:
                raise UnknownName("card", credential.card)
            place = credential[:2]
            held = self._credentials.get(place)
            if (held and held.card) != expected:
                return False
            if held is not None:
                self._opens[held.card].remove(place)
            self._credentials[place] = credential
            self._opens.setdefault(credential.card, []).append(place)
            return True

    def unbind(self, kind: str, token: bytes, *, expected: str) -> bool:
        with self._open():
            held = self._credentials.get((kind, token))
            if held is None or held.card != expected:
                return False
            del self._credentials[kind, token]
            self._opens[expected].remove((kind, token))
            return True

    def find_cards(self, batch: str, *, after: int = 0, limit: int = 500) -> list[CardRow]:
        with self._open():
            serials = self._batches.get(batch, [])
            start = bisect_right(serials, after, key=lambda place: place[0])
            return [self._cards[card] for _, card in serials[start : start + limit]]

    def count_cards(self, *, batch: str | None = None) -> int:
        with self._open():
            return len(self._cards if batch is None else self._batches.get(batch, []))

    def counts(self) -> Counts:
        with self._open():
            entries = sum(map(len, self._entries.values()))
            return Counts(len(self._cards), len(self._credentials), entries, len(self._records))

    def jobs(self, *, after: str = "", limit: int = 500) -> list[tuple[str, int]]:
        with self._open():
            return sorted(job for job in self._jobs.items() if job[0] > after)[:limit]

    def due(
        self, at: int, *, after: tuple[int, str] | None = None, limit: int = 500
    ) -> list[tuple[int, str]]:
        with self._open():
            due = sorted(
                (card.due_at, card.id)
                for card in self._cards.values()
                if card.due_at is not None and card.due_at <= at
            )
            return list(islice((p for p in due if after is None or p > after), limit))

    def entries(self, card: str, *, after: int = 0, limit: int = 500) -> list[EntryRow]:
        with self._open():
            return self._entries.get(card, [])[after : after + limit]

    def records(
        self,
        *,
        card: str | None = None,
        batch: str | None = None,
        after: tuple[str, str] | None = None,
        limit: int = 500,
    ) -> list[RecordRow]:
        with self._open():
            places = sorted(
                place
                for place, record in self._records.items()
                if card in (None, record.card)
                and batch in (None, record.batch)
                and (after is None or place > after)
            )
            return [self._records[place] for place in places[:limit]]

    def calls_by_id(self, call: str) -> list[RecordRow]:
        with self._open():
            return [record for record in self._records.values() if record.call == call]

    def suspend(self, event: SuspenseRow) -> bool:
        with self._open():
            if event.key in self._suspense:
                return False
            self._suspense[event.key] = event
            return True

    def suspended(self, *, after: str = "", limit: int = 500) -> list[SuspenseRow]:
        with self._open():
            keys = sorted(key for key in self._suspense if key > after)
            return [self._suspense[key] for key in keys[:limit]]

    def publish(self, kind: str, name: str, content: bytes, *, expected: int) -> Head:
        with self._open():
            versions = self._contents.get((kind, name), [])
            if len(versions) != expected:
                raise VersionConflict(f"{kind} {name!r} is at version {len(versions)}")
            self._contents[kind, name] = [*versions, bytes(content)]
            self._revision += 1
            return Head(kind, name, expected + 1)

    def catalogue(self) -> tuple[int, list[Head]]:
        with self._open():
            heads = [Head(*place, len(found)) for place, found in self._contents.items()]
            return self._revision, heads

    def content(self, kind: str, name: str, version: int) -> bytes:
        with self._open():
            versions = self._contents.get((kind, name), [])
            if not 1 <= version <= len(versions):
                raise UnknownName(kind, f"{name} version {version}")
            return versions[version - 1]

    def append_audit(self, row: AuditRow, *, after: int) -> bool:
        with self._open():
            if len(self._audit) != after:
                return False
            self._audit.append(row)
            return True

    def last_audit(self) -> tuple[int, AuditRow] | None:
        with self._open():
            return (len(self._audit), self._audit[-1]) if self._audit else None

    def audit_log(self, *, after: int = 0, limit: int = 500) -> list[tuple[int, AuditRow]]:
        with self._open():
            return list(enumerate(self._audit[after : after + limit], start=after + 1))

    def take_attempts(
        self,
        group: int,
        subject: str,
        decide: Callable[[bytes | None, bytes | None], Tally[T]],
    ) -> T:
        check_subject(group, subject)
        with self._open():
            kept, book = self._attempts.get((group, subject)), self._attempts.get((group, ""))
            tally = decide(kept and kept.state, book and book.state)
            check_tally(tally)
            if tally.state is None:
                self._attempts.pop((group, subject), None)
            else:
                row = AttemptRow(group, subject, tally.state, tally.keep_until)
                self._attempts[group, subject] = row
            if tally.book is not None:
                self._attempts[group, ""] = AttemptRow(group, "", tally.book, NEVER)
            return tally.outcome

    def attempts(
        self, *, after: tuple[int, str] | None = None, limit: int = 500
    ) -> list[AttemptRow]:
        with self._open():
            places = sorted(p for p in self._attempts if after is None or p > after)
            return [self._attempts[place] for place in places[:limit]]

    def attempts_over(self, at: int, *, limit: int = 500) -> list[tuple[int, str]]:
        with self._open():
            rows = self._attempts.items()
            over = (place for place, row in rows if place[1] and row.keep_until <= at)
            return list(islice(over, limit))

    def close(self) -> None:
        with self._lock:
            self._closed = True

    def _view(self, card: str, key: str | None) -> View:
        if (row := self._cards.get(card)) is None:
            raise UnknownName("card", card)
        record = None if key is None else self._records.get((card, key))
        return View(row, record, self._revision)

    def _has(self, batch: str, serial: int) -> bool:
        serials = self._batches.get(batch, [])
        place = bisect_right(serials, serial, key=lambda found: found[0])
        return place > 0 and serials[place - 1][0] == serial

    @contextmanager
    def _open(self) -> Iterator[None]:
        with self._lock:
            if self._closed:
                raise StorageClosed("this store was closed")
            yield
