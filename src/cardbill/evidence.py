"""What an audit with keys finds: rows that were altered, removed, added or put elsewhere.

Cards, entries, records and catalogue items bear seals, and so do the counts of wrong PINs
with their books; what stands alone (jobs, events in suspense, published items, dropped
copies, locks) must agree with the operators' log, in which each row is sealed onto the one
before. What a cut-off end of the log took with it shows where a later fact has lost the row
before it, or against a head kept elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from attrs import field, frozen

from cardbill.attempts import MARK
from cardbill.books import GROUPS, group_of, groups
from cardbill.catalogueitems import ATTEMPTS, KEY, NUMBERING, decode
from cardbill.errors import CardbillError, KeyringError, RowAltered
from cardbill.journal import (
    BEGUN,
    DROP,
    LOCK,
    MAKE,
    PUBLISH,
    RECOUNT,
    SET_BACK,
    SUSPEND,
    detail_of,
    follows,
    seal_of,
    suspense_digest,
)
from cardbill.keymarks import compare_keys
from cardbill.keyring import ANI
from cardbill.paging import audit_rows, job_rows, suspense_rows
from cardbill.proofs import (
    Trail,
    card_seal,
    check_card,
    check_record,
    entry_holds,
    entry_seal,
    open_item,
    record_digest,
    total_of,
)
from cardbill.seals import NO_SEAL

if TYPE_CHECKING:
    from cardbill.batches import Batch
    from cardbill.keyring import Keyring
    from cardbill.seals import Seals
    from cardbill.storage.contract import (
        AuditRow,
        CardRow,
        CredentialRow,
        EntryRow,
        RecordRow,
        Storage,
    )

DAMAGE = (CardbillError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError)
"""What reading a damaged row may raise."""


@frozen(kw_only=True)
class AuditHead:
    """How far a store had come when it was audited: kept elsewhere, given to the next audit.

    Attributes:
        position: The newest position of the operators' log; 0: it was empty.
        seal: The seal of that row.
        cards: By id of each card that ever changed: its version and the end of its seal.
        books: By group of attempts: the version of its book and the end of its seal.
    """

    position: int
    seal: bytes = field(repr=False)
    cards: Mapping[str, tuple[int, str]] = field(repr=False)
    books: Mapping[int, tuple[int, str]] = field(repr=False)

    def dumps(self, keyring: Keyring) -> str:
        """Return the head as text, sealed."""
        content = json.dumps([self.position, self.seal.hex(), self.cards, self.books])
        return f"{keyring.seals.sign('head', content.encode()).hex()} {content}\n"

    @classmethod
    def loads(cls, text: str, keyring: Keyring) -> AuditHead:
        """Return the head that :meth:`dumps` wrote.

        Raises:
            RowAltered: It was written with other keys, altered or damaged.
        """
        try:
            seal, _, content = text.strip().partition(" ")
            if keyring.seals.holds("head", content.encode(), bytes.fromhex(seal)):
                position, newest, cards, books = json.loads(content)
                return cls(
                    position=position,
                    seal=bytes.fromhex(newest),
                    cards={card: (version, end) for card, (version, end) in cards.items()},
                    books={int(group): (version, end) for group, (version, end) in books.items()},
                )
        except ValueError:
            pass
        raise RowAltered("the kept head is not what an audit with these keys wrote")


class _Made(NamedTuple):
    batch: str
    cards: int


class _Log:
    """What the operators' log says was begun and done, as far as it was read."""

    def __init__(self) -> None:
        self.position = 0
        self.seal = NO_SEAL
        self.published: dict[str, set[tuple[str, str, int]]] = {"": set(), BEGUN: set()}
        self.made: dict[str, dict[str, set[_Made]]] = {"": {}, BEGUN: {}}
        self.suspended: dict[str, set[tuple[str, str]]] = {"": set(), BEGUN: set()}
        self.dropped: dict[str, set[str]] = {"": set(), BEGUN: set()}
        self.locks: dict[int, set[int]] = {}
        self.set_back: list[str] = []  # what it tells of attempts, and nobody has accepted yet

    def take(self, row: AuditRow) -> Iterator[str]:
        """Take up a row; yield what is wrong with it."""
        action = row.action.removesuffix(BEGUN)
        stage = row.action[len(action) :]
        detail = detail_of(row)
        if action == PUBLISH:
            kind, name, version = item = detail["kind"], row.subject, detail["version"]
            if not stage and item in self.published[stage]:
                problem = f"{kind} {name!r} version {version} was removed and published again"
                if kind == ATTEMPTS:
                    self.set_back.append(problem)
                else:
                    yield problem
            self.published[stage].add(item)
        elif action == MAKE:
            made = self.made[stage].setdefault(detail["job"], set())
            made.add(_Made(row.subject, detail["count"]))
        elif action == SUSPEND:
            self.suspended[stage].add((detail["key"], detail["sha256"]))
        elif action == DROP:
            self.dropped[stage].add(row.subject)
        elif action == LOCK:
            group, number = group_of(row.subject), detail["number"]
            locks = self.locks.setdefault(group, set())
            if number in locks:
                self.set_back.append(_set_back(group, f"to before their lock {number}"))
            locks.add(number)
        elif action == SET_BACK:
            group, told = detail["group"], f"from version {detail['reached']} while calls ran"
            self.set_back.append(_set_back(group, told))
        elif action == RECOUNT:
            self.set_back.clear()


class Evidence:
    """The part of one audit that needs keys.

    What is in the log as done when the audit begins must be there; what is there must be
    in the log as begun when it ends: so nothing that happens meanwhile is taken for a fault.

    Args:
        storage: What is audited.
        keyring: Its keys.
        problems: Where problems go, one line each.
        head: How far an audit before had found the store; ``None``: not known.
        keep: Make a head.
        sealed_copies: Open every sealed copy of a PIN and compare it with its token.

    Raises:
        WrongKey: These are not the keys of this store.
        KeyMissing: The keyring lacks a key that the store needs.
    """

    def __init__(
        self,
        storage: Storage,
        keyring: Keyring,
        problems: list[str],
        *,
        head: AuditHead | None,
        keep: bool,
        sealed_copies: bool,
    ) -> None:
        self._storage = storage
        self._keyring = keyring
        self._seals: Seals = keyring.seals
        self._problems = problems
        self._kept = head
        self._keep = keep
        self._opens = sealed_copies and bool(keyring.sealing)
        self._cards: dict[str, tuple[int, str]] = {}
        self._books: dict[int, tuple[int, str]] = {}
        self._unsealed: dict[str, str] = {}  # by batch: a card without a sealed copy
        self._log = _Log()
        self._check_keys()
        self._read_log()
        log = self._log
        self._published = set(log.published[""])
        self._made = dict(log.made[""])
        self._suspended = set(log.suspended[""])
        self._dropped = set(log.dropped[""])
        self._locks = {group: max(numbers) for group, numbers in log.locks.items()}
        self._jobs = dict(job_rows(self._storage))
        if head is not None and head.position > log.position:
            self._problem(f"log: rows {log.position + 1} to {head.position} were removed")

    # -- one card -------------------------------------------------------------------------

    def card(
        self, row: CardRow, trail: Trail, entries: list[EntryRow], records: list[RecordRow]
    ) -> Iterator[str]:
        """Yield what is wrong with a card's rows."""
        try:
            check_card(row, self._seals)
        except DAMAGE:
            yield "its row was altered since cardbill wrote it"
        yield from self._entries(entries)
        digests = []
        for record in records:
            try:
                check_record(record, self._seals)
                digests.append(record_digest(record, self._seals))
            except DAMAGE:
                yield f"call {record.call}: its record was altered"
        if (len(digests), total_of(digests)) != (trail.records, trail.total):
            yield "its records are not all those that it was given"
        yield from self._version(row)

    def _entries(self, entries: list[EntryRow]) -> Iterator[str]:
        link = NO_SEAL
        for entry in entries:
            if not entry_holds(entry, link, self._seals):
                yield f"entry {entry.seq} was altered, or one before it added or removed"
            link = entry_seal(entry)

    def _version(self, row: CardRow) -> Iterator[str]:
        place = row.version, card_seal(row).hex()[-16:]
        if self._keep and row.version > 1:
            self._cards[row.id] = place
        kept = self._kept and self._kept.cards.get(row.id)
        if kept and (row.version < kept[0] or (row.version == kept[0] and place != kept)):
            yield f"was set back: it was at version {kept[0]} when the head was kept"

    def sealed(self, batch: Batch, serial: int, credential: CredentialRow) -> Iterator[str]:
        """Yield what is wrong with the sealed copy of what opens a card."""
        copy, number = credential.sealed, credential.kind == ANI
        if copy is None:
            if not number:
                self._unsealed.setdefault(batch.name, credential.card)
        elif batch.name in self._dropped and not number:
            yield "has a sealed copy of its PIN, which was dropped"
        elif self._opens:
            try:
                plain = self._keyring.unseal(copy, credential.card)
                text = plain if number else batch.credential(serial, plain)
                fits = credential.token in self._keyring.tokens(text, credential.kind)
            except DAMAGE:
                fits = False
            if not fits:
                what = "a caller's number" if number else "its PIN"
                yield f"the sealed copy of {what} does not open, or is another's"

    # -- what belongs to no card ----------------------------------------------------------

    def finish(self, found: Mapping[str, int]) -> AuditHead | None:
        """Check what belongs to no card.

        Args:
            found: How many cards were found, by batch.

        Returns:
            The head, if one is to be made.
        """
        self._check_made(found)
        present = self._check_catalogue()
        events = list(self._check_suspense())
        jobs = dict(job_rows(self._storage))
        self._check_attempts(opened=(ATTEMPTS, MARK, 1) in present)
        self._read_log()
        log = self._log
        self._problems.extend(log.set_back)
        for kind, name, version in sorted(present - log.published[BEGUN], key=str):
            self._problem(f"log: nothing of the publishing of {kind} {name!r} version {version}")
        for job in jobs:
            if job not in log.made[BEGUN]:
                self._problem(f"log: nothing of job {job!r}")
        for event in events:
            if event not in log.suspended[BEGUN]:
                self._problem(f"suspense {event[0]!r}: added or altered, or the log was cut")
        batches = {made.batch for job in jobs for made in log.made[BEGUN].get(job, ())}
        for batch in sorted(name for name, cards in found.items() if cards):
            if batch not in batches:
                self._problem(f"batch {batch}: has cards that no job made")
        for batch, card in self._unsealed.items():
            if batch not in log.dropped[BEGUN]:
                self._problem(f"card {card}: the sealed copy of its PIN was removed")
        if not self._keep:
            return None
        return AuditHead(position=log.position, seal=log.seal, cards=self._cards, books=self._books)

    def _check_made(self, found: Mapping[str, int]) -> None:
        for job in sorted(self._made.keys() - self._jobs.keys()):
            self._problem(f"job {job!r} was removed")
        for job, added in self._jobs.items():
            begun = self._log.made[BEGUN].get(job)  # several, where it was refused at first
            if begun and not any(added == made.cards == found.get(made.batch, 0) for made in begun):
                self._problem(f"job {job!r}: its {added} cards are not those that it made")

    def _check_catalogue(self) -> set[tuple[str, str, int]]:
        _, heads = self._storage.catalogue()
        present = set()
        for head in heads:
            for version in range(1, head.version + 1):
                with _told(self._problem):
                    stored = self._storage.content(head.kind, head.name, version)
                    content = open_item(head.kind, head.name, version, stored, self._seals)
                    if head.kind not in (KEY, NUMBERING, ATTEMPTS):
                        decode(head.kind, content)
                present.add((head.kind, head.name, version))
        for kind, name, version in sorted(self._published - present):
            self._problem(f"{kind} {name!r} version {version} was removed")
        return present

    def _check_suspense(self) -> Iterator[tuple[str, str]]:
        rows = suspense_rows(self._storage)
        kept = {(event.key, suspense_digest(event)) for event in rows}
        for key, _ in sorted(self._suspended - kept):
            self._problem(f"suspense {key!r}: removed or altered")
        yield from kept

    def _check_attempts(self, *, opened: bool) -> None:
        """Check the counts of wrong PINs; where they were opened, each group has its book."""
        kept = self._kept.books if self._kept else {}
        missing = {*(range(GROUPS) if opened else ()), *kept}
        for group in groups(self._storage):
            missing.discard(group.number)
            self._problems.extend(group.problems(self._seals))
            try:
                book = group.book(self._seals)
            except RowAltered:
                continue
            place = self._books[group.number] = book.version, group.ending
            told, locks = kept.get(group.number), self._locks.get(group.number, 0)
            if told and (place[0] < told[0] or (place[0] == told[0] and place != told)):
                since = f"from version {told[0]} since the head was kept"
                self._problem(_set_back(group.number, since))
            if book.locks < locks:
                self._problem(_set_back(group.number, f"to before their lock {locks}"))
        for number in sorted(missing):
            self._problem(f"attempts of group {number}: all were removed")

    # -- the log --------------------------------------------------------------------------

    def _read_log(self) -> None:
        log = self._log
        for position, row in audit_rows(self._storage, after=log.position):
            if position != log.position + 1 or not follows(position, row, log.seal, self._seals):
                self._problem(f"log: row {position} was altered, or one before it added or removed")
            log.position, log.seal = position, seal_of(row)
            if self._kept and position == self._kept.position and log.seal != self._kept.seal:
                self._problem(f"log: row {position} is not the one of the kept head")
            with _told(self._problem, f"log: row {position} cannot be read"):
                self._problems.extend(log.take(row))

    def _check_keys(self) -> None:
        try:
            compare_keys(self._storage, self._keyring)
        except KeyringError as error:
            # Other keys than this store's, or these keys and a mark that was altered?
            if not any(
                follows(position, row, NO_SEAL, self._seals)
                for position, row in self._storage.audit_log(limit=1)
            ):
                raise
            self._problem(f"the marks of its keys: {error}")
        except DAMAGE as error:
            self._problem(f"the marks of its keys: {error}")

    def _problem(self, text: str) -> None:
        self._problems.append(text)


def _set_back(group: int, how: str) -> str:
    return f"attempts of group {group}: were set back {how}"


@contextmanager
def _told(tell: Callable[[str], None], text: str = "") -> Iterator[None]:
    """Tell what a damaged row raises, as one line."""
    try:
        yield
    except DAMAGE as error:
        tell(text or str(error))
