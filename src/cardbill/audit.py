"""The auditor: recomputes every card's account from its ledger and finds what is off.

It trusts no figure that it can compute: balances from entries, holds from open calls,
call charges from records. Without keys it finds what contradicts itself; with keys also
what was forged consistently, see :mod:`cardbill.evidence`. It changes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from attrs import define, field

from cardbill import laws
from cardbill.batches import Batch
from cardbill.cards import Card
from cardbill.catalogueitems import BATCH, decode
from cardbill.errors import CardbillError
from cardbill.evidence import DAMAGE, AuditHead, Evidence
from cardbill.keymarks import needed_keys
from cardbill.keyring import ANI
from cardbill.ledger import PUT_ON, EntryKind
from cardbill.operations import OperationKind, incoming_key
from cardbill.paging import card_pages, entry_rows, record_rows
from cardbill.rows import (
    is_call,
    operation_key,
    read_card,
    read_operation,
)
from cardbill.seals import SEAL_BYTES

if TYPE_CHECKING:
    from cardbill.keyring import Keyring
    from cardbill.storage.contract import (
        CardRow,
        CredentialRow,
        Head,
        RecordRow,
        Storage,
    )


def _nothing() -> dict[EntryKind, Counter[str]]:
    return {kind: Counter() for kind in EntryKind}


@define(kw_only=True)
class AuditReport:
    """What an audit looked at and what is wrong.

    Attributes:
        cards, entries, records: How many were checked.
        face_units: By currency: what all cards were sold as, in ledger units.
        posted_units: By kind of entry and currency: the sum of all ledger entries; what was
            taken is negative. It lacks what cards hold whose account was never opened.
        in_transit_units: By currency: what left a card and has not arrived on another yet.
        balance_units: By currency: what callers still hold.
        problems: One line each; empty: the books balance.
        unchecked: What this audit did not look at, one line each.
        head: How far the store has come, for the next audit; ``None``: not asked for.
    """

    cards: int = 0
    entries: int = 0
    records: int = 0
    face_units: Counter[str] = field(factory=Counter)
    posted_units: dict[EntryKind, Counter[str]] = field(factory=_nothing)
    in_transit_units: Counter[str] = field(factory=Counter)
    balance_units: Counter[str] = field(factory=Counter)
    problems: list[str] = field(factory=list)
    unchecked: list[str] = field(factory=list)
    head: AuditHead | None = None

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    @property
    def calls_units(self) -> Counter[str]:
        """By currency: the price of calls, without charges and taxes."""
        return self.taken_units(EntryKind.CALL)

    @property
    def charges_units(self) -> Counter[str]:
        """By currency: all charges."""
        return self.taken_units(EntryKind.CHARGE)

    @property
    def taxes_units(self) -> Counter[str]:
        """By currency: all taxes."""
        return self.taken_units(EntryKind.TAX)

    @property
    def breakage_units(self) -> Counter[str]:
        """By currency: what was left at expiry."""
        return self.taken_units(EntryKind.BREAKAGE)

    @property
    def voided_units(self) -> Counter[str]:
        """By currency: the face value of voided cards."""
        return self.taken_units(EntryKind.VOID)

    @property
    def put_on_units(self) -> Counter[str]:
        """By currency: recharges, credits, transfers in."""
        return sum((self.posted_units[kind] for kind in _PUT_ON), Counter())

    @property
    def taken_off_units(self) -> Counter[str]:
        """By currency: refunds, write-offs, transfers out."""
        return sum((self.taken_units(kind) for kind in _TAKEN_OFF), Counter())

    def taken_units(self, kind: EntryKind) -> Counter[str]:
        """Return by currency what entries of a kind took off cards, in ledger units."""
        posted = self.posted_units[kind]
        return Counter({currency: -units for currency, units in posted.items()})


def audit(
    storage: Storage,
    keyring: Keyring | None = None,
    *,
    head: AuditHead | None = None,
    keep: bool = False,
    sealed_copies: bool = True,
) -> AuditReport:
    """Check every card of a store against its ledger and call records.

    The law, for each card: what was put on it = its balance + what was taken; the balance covers
    the holds; each call was charged once, as its record says and as the terms of its hold
    make it; every PIN opens the card that lists it (design.md section 10). With the keys:
    every row is as cardbill wrote it, none is missing and none was added.

    Args:
        storage: What to audit; calls may go on meanwhile.
        keyring: Its keys; ``None``: look for contradictions only, not for forgery.
        head: The head of an audit before: shows what was set back since.
        keep: Make a head for the next audit.
        sealed_copies: Open every sealed copy of a PIN.

    Raises:
        WrongKey: These are not the keys of this store.
        KeyMissing: The keyring lacks a key that the store needs.
    """
    report = AuditReport()
    evidence = None
    if keyring is None:
        report.unchecked.append("forgery: no keys were given")
    else:
        if not sealed_copies or not keyring.sealing:
            report.unchecked.append("sealed copies of PINs")
        evidence = Evidence(
            storage, keyring, report.problems, head=head, keep=keep, sealed_copies=sealed_copies
        )
    # Counted first: what is added while the audit runs is no stray.
    before = storage.counts()
    revision, heads = storage.catalogue()
    if revision != sum(item.version for item in heads):
        report.problems.append(f"the catalogue is at revision {revision}, not as its items say")
    books = _Books(storage, report, evidence)
    for item in sorted(heads):
        if item.kind == BATCH:
            books.check_batch(item)
    strays = [
        (before.cards - report.cards, "cards belong to no batch"),
        (before.entries - report.entries, "ledger entries belong to no card"),
        (before.records - report.records, "call records belong to no card"),
    ]
    if not books.rotating and not _rotating(storage):  # rows come and go while keys change
        stray = before.credentials - books.credentials
        strays.append((stray and _stray_credentials(storage), "credentials open no card"))
    report.problems.extend(f"{count} {what}" for count, what in strays if count > 0)
    if evidence is not None:
        report.head = evidence.finish(books.found)
    return report


_PUT_ON = PUT_ON - {EntryKind.FACE}
_TAKEN_OFF = {EntryKind.TRANSFER_OUT, EntryKind.REFUND, EntryKind.WRITE_OFF}


class _Books:
    """One pass over the cards."""

    def __init__(self, storage: Storage, report: AuditReport, evidence: Evidence | None) -> None:
        self._storage = storage
        self._report = report
        self._evidence = evidence
        self.rotating = _rotating(storage)
        self.credentials = 0
        self.found: dict[str, int] = {}

    def check_batch(self, head: Head) -> None:
        storage, report = self._storage, self._report
        try:
            stored = storage.content(BATCH, head.name, head.version)
            batch = decode(BATCH, stored[:-SEAL_BYTES])
        except DAMAGE:
            batch = None
        if not isinstance(batch, Batch):
            report.problems.append(f"batch {head.name}: its terms cannot be read")
            return
        before = report.cards
        for page in card_pages(storage, head.name):
            listed: dict[str, list[CredentialRow]] = {row.id: [] for row in page}
            for credential in storage.credentials(list(listed)):
                listed[credential.card].append(credential)
            for row in page:
                self._check_card(row, batch, listed[row.id])
        self.found[head.name] = found = report.cards - before
        if found and found != batch.quantity:
            report.problems.append(
                f"batch {head.name}: {found:,} cards, it was made with {batch.quantity:,}"
            )

    def _check_card(self, row: CardRow, batch: Batch, listed: list[CredentialRow]) -> None:
        storage, report = self._storage, self._report
        report.cards += 1
        while True:  # until the card stood still while it was read
            entries = list(entry_rows(storage, row.id))
            records = list(record_rows(storage, card=row.id))
            now = storage.view(row.id).card
            if now.version == row.version:
                break
            row = now
            listed = storage.credentials([row.id])
        report.entries += len(entries)
        report.records += len(records)
        self.credentials += len(listed)
        try:
            card, trail, state = read_card(row)
            problems = [
                *laws.columns(card, row._replace(state=state)),
                *laws.ledger(card, entries),
                *laws.calls(card, entries, records),
                *laws.buckets(card, entries, records),
                *laws.operations(entries, records),
                *laws.trail(trail, entries, records),
                *self._opens(card, listed),
                *self._transfers(card, records),
            ]
            if self._evidence is not None:
                problems += self._evidence.card(row, trail, entries, records)
                for credential in listed:
                    problems += self._evidence.sealed(batch, row.serial, credential)
        except DAMAGE as error:
            text = str(error) if isinstance(error, CardbillError) else "its rows cannot be read"
            report.problems.append(f"card {row.id}: {text}")
            return
        sold_as = card.face, card.currency
        if sold_as != (batch.face_units, batch.currency) and not card.taken_over:
            problems.append(
                f"was sold as {card.face} units of {card.currency}, not as its batch says"
            )
        report.problems.extend(f"card {row.id}: {problem}" for problem in problems)
        sums = Counter[str]()
        for entry in entries:
            sums[entry.kind] += entry.amount
        report.face_units[card.currency] += card.face
        for kind, posted in report.posted_units.items():
            posted[card.currency] += sums[kind.value]
        report.balance_units[card.currency] += row.balance

    def _transfers(self, card: Card, records: list[RecordRow]) -> Iterator[str]:
        """What left one card has arrived on another, or is under way; and nothing else has."""
        for out in card.outgoing.values():
            self._report.in_transit_units[card.currency] += out.amount
        for row in records:
            if is_call(row) or not row.kind.startswith("transfer"):
                continue
            operation = read_operation(row)
            if operation.refused:
                continue
            key = operation.key
            if operation.kind is OperationKind.TRANSFER_OUT:
                if key in card.outgoing:
                    continue
                key = incoming_key(card.id, key)
            else:
                key = key.removeprefix(incoming_key(operation.other, ""))
            found = self._storage.view(operation.other, operation_key(key)).record
            if found is None or found.price != operation.amount_units:
                what = f"{operation.kind.value} {operation.key}"
                yield f"{what}: card {operation.other} has no part in it"

    def _opens(self, card: Card, listed: list[CredentialRow]) -> Iterator[str]:
        """What opens a card is what it lists; but for a move to a newer key that was cut short."""
        own, found = card.credentials, [(row.kind, row.token) for row in listed]
        if sorted(own) == sorted(found):
            return
        if any(pair[0] == ANI and pair not in found for pair in own):
            rows = self._storage.credentials([card.id], ANI)  # was it being registered just now?
            if any(pair[0] == ANI and pair not in [row[:2] for row in rows] for pair in own):
                yield "lists a caller's number that does not lead to it: register it again"
        # A number's row may be stale: it opens nothing, and whoever registers it next takes it.
        own = [pair for pair in own if pair[0] != ANI]
        found = [pair for pair in found if pair[0] != ANI]
        if sorted(own) == sorted(found):
            return
        newest = max((token[0] for _, token in own), default=0)
        missing = [each for each in own if each not in found]
        unlisted = [each for each in found if each not in own]
        if self.rotating or _rotating(self._storage):
            # The newer token is listed before its row is bound, the older one's row is unbound
            # after it is no longer listed.
            bound = [token[0] for _, token in found]
            if (
                not unlisted
                and bound
                and max(bound) < newest
                and all(each[1][0] == newest for each in missing)
            ):
                return
            if not missing and all(token[0] < newest for _, token in unlisted):
                return
        yield "is opened by other PINs than it lists"


def _stray_credentials(storage: Storage) -> int:
    """Count the credentials of no card; callers' numbers come and go while one looks."""
    stray = 0
    for _ in range(3):
        before, found = storage.counts().credentials, 0
        for head in storage.catalogue()[1]:
            for page in card_pages(storage, head.name) if head.kind == BATCH else ():
                found += len(storage.credentials([row.id for row in page]))
        stray = before - found
        if stray <= 0:
            break
    return stray


def _rotating(storage: Storage) -> bool:
    """Whether cards may be on their way from an older look-up key to a newer one."""
    return sum(name.startswith("lookup/") for name in needed_keys(storage)) > 1
