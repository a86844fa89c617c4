"""What a store must answer, said once more with plain dictionaries: the model of the machine.

It shares no code with any store and cares for neither speed nor threads. A model is of one
history, in a space of its own in a store that holds others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from cardbill.errors import (
    ConstraintViolated,
    DuplicateCredential,
    UnknownName,
    VersionConflict,
)
from cardbill.storage.contract import (
    AttemptRow,
    AuditRow,
    CardRow,
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


class Model:
    """The rows of one history, and what each method of a store makes of them."""

    def __init__(self) -> None:
        self.cards: dict[str, CardRow] = {}
        self.opens: dict[tuple[str, bytes], CredentialRow] = {}
        self.entries: dict[tuple[str, int], EntryRow] = {}
        self.records: dict[tuple[str, str], RecordRow] = {}
        self.jobs: dict[str, int] = {}
        self.contents: dict[tuple[str, str, int], bytes] = {}
        self.suspense: dict[str, SuspenseRow] = {}
        self.audit: list[AuditRow] = []
        self.kept: dict[tuple[int, str], AttemptRow] = {}
        self.books: dict[int, bytes] = {}

    # -- writing ----------------------------------------------------------------------------

    def transact(
        self,
        card: str,
        decide: Callable[[View], Step[T]],
        *,
        key: str | None = None,
        seen: View | None = None,  # noqa: ARG002  # what is seen now is at hand
    ) -> T:
        before = self.view(card, key).card
        step = decide(self.view(card, key))
        after = step.card
        if after is not None:
            seqs = [(entry.card, entry.seq) for entry in step.entries]
            fine = (
                after.version == before.version + 1
                and 0 <= after.held <= after.balance
                and after.id == before.id
                and not self.entries.keys() & set(seqs)
                and {card} >= {row.card for row in step.entries}
                and {card} >= {row.card for row in step.records}
            )
            if not fine:
                raise ConstraintViolated("the step")
            self.cards[card] = after
            self.entries |= dict(zip(seqs, step.entries, strict=True))
            self.records |= {(row.card, row.key): row for row in step.records}
        return step.outcome

    def add_cards(
        self,
        job: str,
        cards: Iterable[NewCard],
        *,
        redraw: Callable[[NewCard], NewCard | None] | None = None,
    ) -> int:
        if job in self.jobs:
            return self.jobs[job]
        new: dict[str, NewCard] = {}
        for each in cards:
            offered: NewCard | None = each
            taken = {*self.opens, *(other.credential[:2] for other in new.values())}
            while offered is not None and offered.credential[:2] in taken:
                if redraw is None:
                    raise DuplicateCredential("a token")
                offered = redraw(offered)
            if offered is None:
                continue
            if offered.card.id in self.cards or offered.card.id in new:
                raise ConstraintViolated("the id")
            new[offered.card.id] = offered
        self.cards |= {card: each.card for card, each in new.items()}
        self.opens |= {each.credential[:2]: each.credential for each in new.values()}
        self.jobs[job] = len(new)
        return len(new)

    def bind(self, credential: CredentialRow, *, expected: str | None) -> bool:
        if credential.card not in self.cards:
            raise UnknownName("card", credential.card)
        held = self.opens.get(credential[:2])
        if (None if held is None else held.card) != expected:
            return False
        self.opens[credential[:2]] = credential
        return True

    def unbind(self, kind: str, token: bytes, *, expected: str) -> bool:
        held = self.opens.get((kind, token))
        if held is None or held.card != expected:
            return False
        del self.opens[kind, token]
        return True

    def publish(self, kind: str, name: str, content: bytes, *, expected: int) -> Head:
        if self.newest(kind, name) != expected:
            raise VersionConflict(name)
        self.contents[kind, name, expected + 1] = content
        return Head(kind, name, expected + 1)

    def suspend(self, event: SuspenseRow) -> bool:
        return self.suspense.setdefault(event.key, event) is event

    def append_audit(self, row: AuditRow, *, after: int) -> bool:
        if after != len(self.audit):
            return False
        self.audit.append(row)
        return True

    def take_attempts(
        self, group: int, subject: str, decide: Callable[[bytes | None, bytes | None], Tally[T]]
    ) -> T:
        kept = self.kept.pop((group, subject), None)
        tally = decide(None if kept is None else kept.state, self.books.get(group))
        if tally.state is not None:
            row = AttemptRow(group, subject, tally.state, tally.keep_until)
            self.kept[group, subject] = row
        if tally.book is not None:
            self.books[group] = tally.book
        return tally.outcome

    # -- reading ----------------------------------------------------------------------------

    def view(self, card: str, key: str | None = None) -> View:
        if card not in self.cards:
            raise UnknownName("card", card)
        record = None if key is None else self.records.get((card, key))
        return View(self.cards[card], record, len(self.contents))

    def resolve(self, kind: str, tokens: Sequence[bytes], *, key: str | None = None) -> View | None:
        found = [self.opens[kind, token].card for token in tokens if (kind, token) in self.opens]
        return self.view(found[0], key) if found else None

    def credentials(self, cards: Sequence[str], kind: str | None = None) -> list[CredentialRow]:
        rows = self.opens.values()
        return sorted(row for row in rows if row.card in cards and kind in (None, row.kind))

    def newest(self, kind: str, name: str) -> int:
        """Return how many versions of a name there are."""
        return sum((kind, name) == place[:2] for place in self.contents)

    def heads(self) -> list[Head]:
        """Return every name's newest version, in order."""
        places = {place[:2] for place in self.contents}
        return sorted(Head(*place, self.newest(*place)) for place in places)

    def of_batch(self, batch: str) -> list[CardRow]:
        """Return its cards by serial."""
        rows = (card for card in self.cards.values() if card.batch == batch)
        return sorted(rows, key=lambda card: card.serial)

    def due(self, at: int) -> list[tuple[int, str]]:
        cards = self.cards.values()
        dues = [(card.due_at, card.id) for card in cards if card.due_at is not None]
        return sorted(due for due in dues if due[0] <= at)

    def of_card(self, card: str) -> list[EntryRow]:
        """Return its entries by seq."""
        return [self.entries[place] for place in sorted(self.entries) if place[0] == card]

    def filed(self, **columns: Any) -> list[RecordRow]:
        """Return the records with these columns, by card and key."""
        rows = [self.records[place] for place in sorted(self.records)]
        wanted = {name: value for name, value in columns.items() if value is not None}
        return [row for row in rows if all(getattr(row, n) == v for n, v in wanted.items())]

    def counts(self) -> tuple[int, int, int, int]:
        return len(self.cards), len(self.opens), len(self.entries), len(self.records)
