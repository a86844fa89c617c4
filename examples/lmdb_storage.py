"""A store over LMDB, built step by step in docs/tutorial/write-a-storage.md.

Every method is one transaction over the tables of lmdb_tables.py, beside this file.
"""

from __future__ import annotations

import os
import pickle
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TypeVar

from lmdb_tables import Database, Tables, key, pack, unpack

from cardbill.errors import DuplicateCredential, UnknownName, VersionConflict
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
Redraw = Callable[[NewCard], NewCard | None]


class LMDBStorage:
    """A store in a folder of its own.

    Args:
        path: The folder; made when it is not there.
        map_size: The most bytes the file may grow to: addresses are reserved, not disk.
    """

    def __init__(self, path: str | os.PathLike[str], *, map_size: int = 1 << 36) -> None:
        self._db = Database(Path(path).resolve(), map_size)

    def close(self) -> None:
        self._db.close()

    # -- steps

    def transact(
        self,
        card: str,
        decide: Callable[[View], Step[T]],
        *,
        key: str | None = None,
        seen: View | None = None,  # noqa: ARG002  # reading costs nothing here
    ) -> T:
        with self._db.write() as tables:
            view = self._view(tables, card, key)
            step = decide(view)
            if step.card is not None:
                check_step(view.card, step)
                self._swap(tables, view.card, step.card)
                for entry in step.entries:
                    self._add_entry(tables, entry)
                for record in step.records:
                    self._put_record(tables, record)
            return step.outcome

    def view(self, card: str, key: str | None = None) -> View:
        with self._db.read() as tables:
            return self._view(tables, card, key)

    def _view(self, tables: Tables, card: str, operation: str | None) -> View:
        row = self._card(tables, card)
        done = None if operation is None else tables.get("record", key(card, operation))
        revision = int(tables.get("meta", b"revision") or 0)
        return View(row, None if done is None else RecordRow(*unpack(done)), revision)

    def _card(self, tables: Tables, card: str) -> CardRow:
        if (found := tables.get("card", key(card))) is None:
            raise UnknownName("card", card)
        return CardRow(*unpack(found))

    def _swap(self, tables: Tables, old: CardRow, new: CardRow) -> None:
        if old.due_at != new.due_at:
            if old.due_at is not None:
                tables.drop("due", key(old.due_at, old.id))
            self._put_due(tables, new)
        tables.put("card", key(new.id), pack(*new))

    def _put_due(self, tables: Tables, card: CardRow) -> None:
        if card.due_at is not None:
            tables.put("due", key(card.due_at, card.id), pack(card.due_at, card.id, b""))

    def _add_entry(self, tables: Tables, entry: EntryRow) -> None:
        tables.add("entry", key(entry.card, entry.seq), pack(*entry))

    def _put_record(self, tables: Tables, record: RecordRow) -> None:
        place = key(record.card, record.key)
        if (before := tables.get("record", place)) is not None:
            old = RecordRow(*unpack(before))
            tables.drop("of_batch", key(old.batch) + place)
            tables.drop("of_call", key(old.call) + place)
        tables.put("record", place, pack(*record))
        tables.put("of_batch", key(record.batch) + place, place)
        tables.put("of_call", key(record.call) + place, place)

    # -- cards in bulk

    def add_cards(
        self,
        job: str,
        cards: Iterable[NewCard],
        *,
        redraw: Redraw | None = None,
        approve: Callable[[int], None] | None = None,
    ) -> int:
        with self._db.read() as tables:
            if (done := tables.get("job", key(job))) is not None:
                return int(unpack(done)[1])
        with tempfile.TemporaryFile() as spool:  # not yet in the store: steps go on meanwhile
            for new in cards:
                pickle.dump(new, spool)
            end = spool.tell()
            spool.seek(0)
            with self._db.write() as tables:
                if (done := tables.get("job", key(job))) is not None:
                    return int(unpack(done)[1])  # by somebody else, meanwhile
                added = 0
                while spool.tell() < end:
                    added += self._add_card(tables, pickle.load(spool), redraw)  # noqa: S301  # ours
                if approve is not None:
                    approve(added)
                tables.put("job", key(job), pack(job, added, b""))
                return added

    def _add_card(
        self,
        tables: Tables,
        new: NewCard | None,
        redraw: Redraw | None,
    ) -> bool:
        while new and tables.get("credential", key(*new.credential[:2])) is not None:
            if redraw is None:
                raise DuplicateCredential("a credential is in use already")
            new = redraw(new)
        if new is None:
            return False
        card = new.card
        check_card(card)
        tables.add("card", key(card.id), pack(*card))
        tables.add("place", key(card.batch, card.serial), key(card.id))
        self._put_due(tables, card)
        self._put_credential(tables, new.credential)
        return True

    # -- credentials

    def resolve(self, kind: str, tokens: Sequence[bytes], *, key: str | None = None) -> View | None:
        with self._db.read() as tables:
            for token in tokens:
                if (found := self._credential(tables, kind, token)) is not None:
                    return self._view(tables, found.card, key)
            return None

    def credentials(self, cards: Sequence[str], kind: str | None = None) -> list[CredentialRow]:
        with self._db.read() as tables:
            places = (each for card in cards for each in tables.scan("opens", key(card)))
            rows = [_credential(tables.get("credential", place)) for place in places]
            return [row for row in rows if row is not None and kind in (None, row.kind)]

    def bind(self, credential: CredentialRow, *, expected: str | None) -> bool:
        with self._db.write() as tables:
            self._card(tables, credential.card)  # is it there?
            held = self._credential(tables, *credential[:2])
            if (held and held.card) != expected:
                return False
            if held is not None:
                self._drop_credential(tables, held)
            self._put_credential(tables, credential)
            return True

    def unbind(self, kind: str, token: bytes, *, expected: str) -> bool:
        with self._db.write() as tables:
            held = self._credential(tables, kind, token)
            if held is None or held.card != expected:
                return False
            self._drop_credential(tables, held)
            return True

    def _credential(self, tables: Tables, kind: str, token: bytes) -> CredentialRow | None:
        return _credential(tables.get("credential", key(kind, token)))

    def _put_credential(self, tables: Tables, row: CredentialRow) -> None:
        place = key(row.kind, row.token)
        value = pack(row.kind, row.token.hex(), row.card, row.sealed is not None, row.sealed or b"")
        tables.put("credential", place, value)
        tables.put("opens", key(row.card) + place, place)

    def _drop_credential(self, tables: Tables, row: CredentialRow) -> None:
        place = key(row.kind, row.token)
        tables.drop("credential", place)
        tables.drop("opens", key(row.card) + place)

    # -- finding

    def _rows(
        self, of: Callable[..., T], table: str, prefix: bytes, after: bytes, limit: int
    ) -> list[T]:
        with self._db.read() as tables:
            found = islice(tables.scan(table, prefix, after), limit)
            return [of(*unpack(value)) for value in found]

    def find_cards(self, batch: str, *, after: int = 0, limit: int = 500) -> list[CardRow]:
        with self._db.read() as tables:
            found = tables.scan("place", key(batch), key(batch, after))
            cards = (tables.get("card", place) for place in islice(found, limit))
            return [CardRow(*unpack(card)) for card in cards if card is not None]

    def count_cards(self, *, batch: str | None = None) -> int:
        if batch is None:
            return self.counts().cards
        with self._db.read() as tables:
            return sum(1 for _ in tables.scan("place", key(batch)))

    def counts(self) -> Counts:
        with self._db.read() as tables:
            return Counts(*map(tables.count, ("card", "credential", "entry", "record")))

    def jobs(self, *, after: str = "", limit: int = 500) -> list[tuple[str, int]]:
        return self._rows(lambda job, added, _: (job, added), "job", b"", key(after), limit)

    def due(
        self, at: int, *, after: tuple[int, str] | None = None, limit: int = 500
    ) -> list[tuple[int, str]]:
        above = b"" if after is None else key(*after)
        rows = self._rows(lambda due, card, _: (due, card), "due", b"", above, limit)
        return [row for row in rows if row[0] <= at]

    def entries(self, card: str, *, after: int = 0, limit: int = 500) -> list[EntryRow]:
        return self._rows(EntryRow, "entry", key(card), key(card, after), limit)

    def records(
        self,
        *,
        card: str | None = None,
        batch: str | None = None,
        after: tuple[str, str] | None = None,
        limit: int = 500,
    ) -> list[RecordRow]:
        above = b"" if after is None else key(*after)
        with self._db.read() as tables:
            if card is None and batch is not None:
                found = self._at(tables, tables.scan("of_batch", key(batch), key(batch) + above))
            else:
                found = tables.scan("record", b"" if card is None else key(card), above)
            rows = (RecordRow(*unpack(value)) for value in found)
            return list(islice((row for row in rows if batch in (None, row.batch)), limit))

    def calls_by_id(self, call: str) -> list[RecordRow]:
        with self._db.read() as tables:
            found = self._at(tables, tables.scan("of_call", key(call)))
            return [RecordRow(*unpack(value)) for value in found]

    def _at(self, tables: Tables, places: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the records that an index leads to."""
        for place in places:
            if (value := tables.get("record", place)) is not None:
                yield value

    # -- beside the cards

    def suspend(self, event: SuspenseRow) -> bool:
        with self._db.write() as tables:
            if tables.get("suspense", key(event.key)) is not None:
                return False
            tables.put("suspense", key(event.key), pack(*event))
            return True

    def suspended(self, *, after: str = "", limit: int = 500) -> list[SuspenseRow]:
        return self._rows(SuspenseRow, "suspense", b"", key(after), limit)

    def publish(self, kind: str, name: str, content: bytes, *, expected: int) -> Head:
        with self._db.write() as tables:
            newest = tables.get("head", key(kind, name))
            version = 0 if newest is None else int(unpack(newest)[2])
            if version != expected:
                raise VersionConflict(f"{kind} {name!r} is at version {version}")
            head = Head(kind, name, version + 1)
            tables.put("content", key(*head), content)
            tables.put("head", key(kind, name), pack(*head, b""))
            revision = int(tables.get("meta", b"revision") or 0)
            tables.put("meta", b"revision", b"%d" % (revision + 1))
            return head

    def catalogue(self) -> tuple[int, list[Head]]:
        with self._db.read() as tables:
            heads = [Head(*unpack(value)[:-1]) for value in tables.scan("head")]
            return int(tables.get("meta", b"revision") or 0), heads

    def content(self, kind: str, name: str, version: int) -> bytes:
        with self._db.read() as tables:
            found = tables.get("content", key(kind, name, version))
        if found is None:
            raise UnknownName(kind, f"{name} version {version}")
        return found

    def append_audit(self, row: AuditRow, *, after: int) -> bool:
        with self._db.write() as tables:
            if tables.count("audit") != after:
                return False
            tables.put("audit", key(after + 1), pack(after + 1, *row))
            return True

    def last_audit(self) -> tuple[int, AuditRow] | None:
        with self._db.read() as tables:
            newest = tables.count("audit")
            found = tables.get("audit", key(newest))
            return None if found is None else (newest, AuditRow(*unpack(found)[1:]))

    def audit_log(self, *, after: int = 0, limit: int = 500) -> list[tuple[int, AuditRow]]:
        return self._rows(lambda at, *row: (at, AuditRow(*row)), "audit", b"", key(after), limit)

    # -- attempts

    def take_attempts(
        self,
        group: int,
        subject: str,
        decide: Callable[[bytes | None, bytes | None], Tally[T]],
    ) -> T:
        check_subject(group, subject)
        with self._db.write() as tables:
            found = [tables.get("attempt", key(group, each)) for each in (subject, "")]
            state, book = [None if each is None else unpack(each)[-1] for each in found]
            tally = decide(state, book)
            check_tally(tally)
            if tally.state is None:
                tables.drop("attempt", key(group, subject))
            else:
                value = pack(group, subject, tally.keep_until, tally.state)
                tables.put("attempt", key(group, subject), value)
            if tally.book is not None:
                tables.put("attempt", key(group, ""), pack(group, "", NEVER, tally.book))
            return tally.outcome

    def attempts(
        self, *, after: tuple[int, str] | None = None, limit: int = 500
    ) -> list[AttemptRow]:
        above = b"" if after is None else key(*after)
        return self._rows(_attempt, "attempt", b"", above, limit)

    def attempts_over(self, at: int, *, limit: int = 500) -> list[tuple[int, str]]:
        with self._db.read() as tables:
            rows = (_attempt(*unpack(value)) for value in tables.scan("attempt"))
            over = (row[:2] for row in rows if row.subject and row.keep_until <= at)
            return list(islice(over, limit))


def _credential(value: bytes | None) -> CredentialRow | None:
    if value is None:
        return None
    kind, token, card, is_sealed, sealed = unpack(value)
    return CredentialRow(kind, bytes.fromhex(token), card, sealed if is_sealed else None)


def _attempt(group: int, subject: str, keep_until: int, state: bytes) -> AttemptRow:
    return AttemptRow(group, subject, state, keep_until)
