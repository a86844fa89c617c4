"""The storage contract: what a store keeps and promises.

A store keeps rows of typed columns, which it may index and check, beside opaque bytes that
only cardbill reads. It knows no business rule: every change of a card is a function that
the engine hands to :meth:`Storage.transact`, and the store runs it as one atomic step.

What is kept comes back as it was given, in these very classes, with columns of ``int``,
``str``, ``bytes`` or ``None`` and of no class derived from them; a list that is returned is
the caller's own.

- Integers: instants are microseconds since 1970-01-01 UTC, amounts are ledger units. Both
  may be any that a signed 64-bit column holds, negative or zero; zero is not ``None``.
- Text: at most 256 characters of Unicode, without NUL and lone surrogates; it may be empty.
  Two texts are the same if their code points are: neither case nor accents, neither
  composition nor spaces at the end are overlooked. Where rows come in order, texts rise by
  code point, integers by value. A key of two parts is two parts, whatever is in them.
- Bytes: any, none too. Where no other bound is named, 64 KiB must be accepted.
- Pages: as many rows as there are, up to `limit`, which is 1 or more.

Errors are those of :mod:`cardbill.errors`; a driver's own error never leaves a store. Every
method may be called from any thread. Of several stores that are open on the same rows, in one
process or many, each sees at once what another has answered: nothing but a `content`, which
never changes, may be told from memory without a proof that it still holds. Whether a store may
be carried over a fork, it says itself. What every store refuses before it writes is in
:mod:`cardbill.storage.checks`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

CONTRACT_VERSION = 1
"""Raised when a store must change to keep to the contract."""

LARGEST_STATE = 64 * 1024
"""Bytes of a card's state that a store must accept; more is refused by ``CardTooLarge``."""

LARGEST_TEXT = 256
"""Characters of a text that a store must accept; nothing longer is written."""

LARGEST_TALLY = 4 * 1024
"""Bytes of a tally's state, and of a book, that a store must accept; more is refused."""

LAST_GROUP = 255
"""Attempts are kept in groups from 0 to this."""

NEVER = 2**63 - 1
"""The deadline of a group's book."""

T = TypeVar("T")


class CardRow(NamedTuple):
    """A card as stored.

    Attributes:
        id: ``batch/serial``; unique.
        version: Raised by one with every change.
        format: How `state` is encoded.
        batch, serial: Unique together.
        balance, held: Ledger units; ``0 <= held <= balance`` always.
        first_used_at, expires_at: Instants, or ``None``.
        blocked: 1 or 0.
        due_at: When time alone changes the card next; ``None``: never.
        state: Opaque, at most 64 KiB.
    """

    id: str
    version: int
    format: int
    batch: str
    serial: int
    balance: int
    held: int
    first_used_at: int | None
    expires_at: int | None
    blocked: int
    due_at: int | None
    state: bytes


class EntryRow(NamedTuple):
    """A ledger entry as stored: unique by (card, seq), only ever added.

    Attributes:
        card: The card's id.
        seq: From 1, without gaps, per card.
        at: The instant it is posted for.
        kind: A short word.
        amount, balance_after: Ledger units.
        reference: What caused it; may be empty.
        detail: Opaque; may be empty.
    """

    card: str
    seq: int
    at: int
    kind: str
    amount: int
    balance_after: int
    reference: str
    detail: bytes


class RecordRow(NamedTuple):
    """What an operation left behind: unique by (card, key), replaced by a later one.

    Attributes:
        card: The card's id.
        key: The operation's key, e.g. ``call:8f2c``.
        format: How `detail` is encoded.
        batch: The card's batch.
        kind: How it ended: a short word.
        recorded_at, ended_at: Instants.
        call: The host's call id.
        number, destination: Of the called party; may be empty.
        carrier: Who carried the call, if known.
        seconds: Charged talk time.
        price, tax: Ledger units posted.
        cost: Ledger units of the carrier's currency, if known.
        detail: Opaque.
    """

    card: str
    key: str
    format: int
    batch: str
    kind: str
    recorded_at: int
    ended_at: int
    call: str
    number: str
    destination: str
    carrier: str | None
    seconds: int
    price: int
    tax: int
    cost: int | None
    detail: bytes


class View(NamedTuple):
    """What a step sees.

    Attributes:
        card: The card as stored.
        record: The record of the step's key, if there is one.
        revision: The catalogue's revision.
    """

    card: CardRow
    record: RecordRow | None
    revision: int


class Step(NamedTuple, Generic[T]):
    """What a step decided.

    Attributes:
        outcome: Handed back to the caller of ``transact``.
        card: The changed card, its version one above the one seen; ``None``: unchanged,
            and then nothing is written at all.
        entries: Added to the ledger.
        records: Added, or put in place of the record with the same key.
    """

    outcome: T
    card: CardRow | None = None
    entries: Sequence[EntryRow] = ()
    records: Sequence[RecordRow] = ()


class CredentialRow(NamedTuple):
    """What opens a card: unique by (kind, token).

    Attributes:
        kind: A short word, e.g. ``pin`` or ``ani``.
        token: Opaque bytes that do not reveal the credential.
        card: The card's id.
        sealed: The encrypted credential, if it is kept readable.
    """

    kind: str
    token: bytes
    card: str
    sealed: bytes | None


class NewCard(NamedTuple):
    """A card to add, with the credential that opens it."""

    card: CardRow
    credential: CredentialRow


class Head(NamedTuple):
    """The newest version of a name in the catalogue."""

    kind: str
    name: str
    version: int


class SuspenseRow(NamedTuple):
    """An event that fits no card, kept for a person to look into: unique by key."""

    key: str
    at: int
    card: str
    call: str
    detail: bytes


class AuditRow(NamedTuple):
    """Something an operator did: who, when, what to, why."""

    at: int
    actor: str
    action: str
    subject: str
    detail: bytes


class Counts(NamedTuple):
    """How many rows there are of those that no list shows whole."""

    cards: int
    credentials: int
    entries: int
    records: int


class AttemptRow(NamedTuple):
    """What is kept of a subject's attempts, or of a group of subjects: unique by (group, subject).

    Attributes:
        group: 0 to 255.
        subject: Whose attempts; empty: this is the group's book.
        state: Opaque, at most 4 KiB.
        keep_until: The instant from which on the state means nothing and may be forgotten; of
            a book the largest that 64 bits hold.
    """

    group: int
    subject: str
    state: bytes
    keep_until: int


class Tally(NamedTuple, Generic[T]):
    """What was decided about a subject's attempts.

    Attributes:
        outcome: Handed back to the caller of ``take_attempts``.
        state: Opaque, at most 4 KiB; ``None``: forget the subject.
        keep_until: The instant from which on the state means nothing and may be forgotten.
        book: The new book of the subject's group, opaque, at most 4 KiB; ``None``: it stays
            as it is.
    """

    outcome: T
    state: bytes | None
    keep_until: int = 0
    book: bytes | None = None


class Storage(Protocol):
    """What a store does. Methods are atomic and durable once they return.

    Any method may raise ``StorageUnavailable`` (the store is out of reach, or was busy for
    too long) or ``StorageClosed``. Contention is waited out and retried inside the store;
    it is never an answer. All may be called again after ``StorageUnavailable``.
    """

    def transact(
        self,
        card: str,
        decide: Callable[[View], Step[T]],
        *,
        key: str | None = None,
        seen: View | None = None,
    ) -> T:
        """Run one step on one card.

        Steps on a card are linearizable: each sees all that were committed before it and
        none that were not. Card, entries and records become durable together, before
        this returns, or not at all. `decide` has no effects and may run several times;
        when it raises, nothing is changed and the error goes to the caller.

        A store may save itself the read by what the caller has `seen`: run `decide` on that
        first, and commit only where the same statement proves that the card's version and
        the catalogue's revision are still those, and that there is no record of `key`. A
        refusal, that is a step without a card or an error, proves nothing: it is decided
        anew on what is read now. A store that always reads ignores `seen`.

        Args:
            card: The card's id.
            decide: Given the view, returns the step.
            key: The operation whose record `decide` wants to see.
            seen: What :meth:`view` or :meth:`resolve` of this very store returned of that
                card, however long ago.

        Raises:
            UnknownName: There is no such card; `decide` was not run.
            CardTooLarge: The new state is above 64 KiB; nothing is changed.
            ConstraintViolated: Balance or hold out of bounds, a version that is not the
                next, an entry's seq that exists (a gap may be refused too), rows of
                another card; nothing is changed.
            StorageUnavailable: With ``outcome_unknown=True`` the step may have been
                committed; running it again is safe.
        """

    def add_cards(
        self,
        job: str,
        cards: Iterable[NewCard],
        *,
        redraw: Callable[[NewCard], NewCard | None] | None = None,
        approve: Callable[[int], None] | None = None,
    ) -> int:
        """Add cards in bulk: all of them become visible at once, or none.

        A job that was done before does nothing and answers as it did then, without
        taking anything from `cards`; of two who do the same job at once, both may take
        theirs and one's are added. The iterable is read as it is stored, never kept
        whole in memory (but by a store in memory); when it raises, nothing is added. Steps
        on cards go on while it is read, however long that takes.

        All three, `cards`, `redraw` and `approve`, may read this store, by this handle or by
        another, in the same thread: so no reader may wait for a job. They see nothing of it.
        A step that comes while `redraw` or `approve` runs may have to wait, and is not lost.

        Args:
            job: The key of the whole job.
            cards: What to add.
            redraw: Asked for a replacement when a credential is in use already, in the
                store or earlier in the job; asked again for as long as that is so.
                It may answer ``None``: that card is left out.
            approve: Called with the number of cards once all are stored, before any of
                them becomes visible; when it raises, nothing is added.

        Returns:
            How many cards the job added.

        Raises:
            DuplicateCredential: A credential is in use and there is no `redraw`.
            ConstraintViolated: A card of that id, or batch and serial, exists.
        """

    def view(self, card: str, key: str | None = None) -> View:
        """Return what a step on that card would see now, at one moment, without taking one.

        Raises:
            UnknownName: There is no such card.
        """

    def resolve(self, kind: str, tokens: Sequence[bytes], *, key: str | None = None) -> View | None:
        """Return the view of the card that one of the tokens opens; the first that does.

        Args:
            kind: Of the credential.
            tokens: In the order to try them.
            key: The operation whose record is wanted.
        """

    def credentials(self, cards: Sequence[str], kind: str | None = None) -> list[CredentialRow]:
        """Return the credentials of these cards, at most 1,000, in any order.

        Args:
            cards: The cards' ids.
            kind: Only of this kind; ``None``: of every kind.
        """

    def bind(self, credential: CredentialRow, *, expected: str | None) -> bool:
        """Point a credential's (kind, token) at a card; of many who try at once one succeeds.

        Args:
            credential: The row to store.
            expected: ``None``: there must be no such row yet. Otherwise the card that the
                row must belong to now; its card and sealed copy are replaced.

        Returns:
            Whether it was done; False: the row is not as expected, and stays as it is.

        Raises:
            UnknownName: There is no card of the id that the credential names.
        """

    def unbind(self, kind: str, token: bytes, *, expected: str) -> bool:
        """Remove the credential (kind, token) if it belongs to the card `expected`.

        Returns:
            Whether it was there, belonged to that card and was removed.
        """

    def find_cards(self, batch: str, *, after: int = 0, limit: int = 500) -> list[CardRow]:
        """Return cards of a batch by rising serial, beginning above serial `after`."""

    def count_cards(self, *, batch: str | None = None) -> int:
        """Return how many cards there are, in all or of one batch."""

    def counts(self) -> Counts:
        """Return how many cards, credentials, entries and records there are, at one moment."""

    def jobs(self, *, after: str = "", limit: int = 500) -> list[tuple[str, int]]:
        """Return (job, cards added) of every job done, by rising key, above `after`."""

    def due(
        self, at: int, *, after: tuple[int, str] | None = None, limit: int = 500
    ) -> list[tuple[int, str]]:
        """Return (due_at, card) of cards due at or before `at`, in that order.

        Args:
            at: The instant.
            after: The last pair of the page before; a card that could not be processed
                keeps its place and is passed over by this.
            limit: The most to return.
        """

    def entries(self, card: str, *, after: int = 0, limit: int = 500) -> list[EntryRow]:
        """Return a card's entries by rising seq, beginning above `after`."""

    def records(
        self,
        *,
        card: str | None = None,
        batch: str | None = None,
        after: tuple[str, str] | None = None,
        limit: int = 500,
    ) -> list[RecordRow]:
        """Return records by (card, key), of one card, one batch or all.

        Args:
            card: Only of this card.
            batch: Only of this batch.
            after: (card, key) of the last record of the page before.
            limit: The most to return.
        """

    def calls_by_id(self, call: str) -> list[RecordRow]:
        """Return every record of a call id: there may be several, of different cards."""

    def suspend(self, event: SuspenseRow) -> bool:
        """Keep an event that fits no card; False: it is kept already (same key)."""

    def suspended(self, *, after: str = "", limit: int = 500) -> list[SuspenseRow]:
        """Return kept events by rising key, beginning above `after`."""

    def publish(self, kind: str, name: str, content: bytes, *, expected: int) -> Head:
        """Add the next version of a catalogue item and raise the catalogue's revision.

        Args:
            kind: Of the item.
            name: Of the item.
            content: Opaque bytes of any size.
            expected: The version it follows; 0: the name is new.

        Raises:
            VersionConflict: The newest version is another one; nothing is changed.
        """

    def catalogue(self) -> tuple[int, list[Head]]:
        """Return the revision (0: nothing was ever published) and every name's head.

        Both are of one moment; heads come in any order.
        """

    def content(self, kind: str, name: str, version: int) -> bytes:
        """Return an item's content.

        Raises:
            UnknownName: There is no such item or version.
        """

    def append_audit(self, row: AuditRow, *, after: int) -> bool:
        """Add a row to the operators' audit log, at the position that follows `after`.

        Positions are 1, 2, 3, and so on.

        Args:
            row: What to add.
            after: The newest position there is; 0: the log is empty.

        Returns:
            False: the newest position is another one; nothing is changed.
        """

    def last_audit(self) -> tuple[int, AuditRow] | None:
        """Return the newest position and row of the audit log; ``None``: it is empty."""

    def audit_log(self, *, after: int = 0, limit: int = 500) -> list[tuple[int, AuditRow]]:
        """Return (position, row) of the audit log, beginning above position `after`."""

    def take_attempts(
        self,
        group: int,
        subject: str,
        decide: Callable[[bytes | None, bytes | None], Tally[T]],
    ) -> T:
        """Change what is kept of a subject's attempts and its group's book, by one atomic step.

        Steps in a group are linearizable, over all processes: each sees the state and the
        book that the step before it left, whoever its subject was. Both change together or
        not at all, and are kept when the process dies. Alone of all methods this one need
        not be durable: a loss of power may undo the last of them, so that it may cost no
        wait for the disk; but none that had returned before another method began whose
        change is kept. `decide` has no effects and may run several times; when it raises,
        nothing is changed and the error goes to the caller. What is as it was (state and
        deadline, the book), a store need not write.

        Args:
            group: 0 to 255.
            subject: Whose attempts: opaque text, not empty. Callers' numbers come as keyed
                tokens, never as they are.
            decide: Given the subject's state and the group's book, each ``None`` if there is
                none, returns the tally. It must not matter to it whether a state past its
                deadline is still there.

        Raises:
            ConstraintViolated: The new state or book is above 4 KiB, the group is none of
                these, the subject is empty; nothing is changed.
            StorageUnavailable: With ``outcome_unknown=True`` the step may have been done;
                running it again would count the attempt twice.
        """

    def attempts(
        self, *, after: tuple[int, str] | None = None, limit: int = 500
    ) -> list[AttemptRow]:
        """Return what is kept of attempts by (group, subject), books included.

        Each call sees one moment: of a step that it sees, it sees state and book. A book
        comes before the subjects of its group, which come by rising code points.

        Args:
            after: (group, subject) that the rows lie above; need not be there.
            limit: The most to return.
        """

    def attempts_over(self, at: int, *, limit: int = 500) -> list[tuple[int, str]]:
        """Return (group, subject) of states past their deadline, in any order; no book.

        Args:
            at: The instant; a deadline at or before it is past.
            limit: The most to return.
        """

    def close(self) -> None:
        """Give back everything; may be called again. Later calls raise StorageClosed.

        Others that have the same rows open, in this process too, go on. A step that is under
        way in another thread is taken and told, or is not and raises ``StorageClosed``; what
        a closed connection leaves unknown is ``StorageUnavailable``.
        """
