"""The auditor: recomputes every card's account from its ledger and finds what is off.

It trusts no figure that it can compute: balances from entries, holds from open calls,
call charges from records. It needs no keys and changes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from attrs import define, field

from cardbill.batches import Batch
from cardbill.calls import CallRecord, Outcome, carrier_cost, unreported
from cardbill.cards import Card, EntryKind
from cardbill.catalogue import BATCH, decode
from cardbill.errors import CardbillError
from cardbill.holds import whole_seconds
from cardbill.keyring import ANI
from cardbill.rating import price
from cardbill.rows import card_from_row, card_to_row, record_from_row, record_to_row

if TYPE_CHECKING:
    from cardbill.storage.contract import CardRow, EntryRow, Head, RecordRow, Storage


@define(kw_only=True)
class AuditReport:
    """What an audit looked at and what is wrong.

    Attributes:
        cards, entries, records: How many were checked.
        face_units: By currency: what all cards were sold as, in ledger units.
        calls_units: By currency: what calls have taken.
        breakage_units: By currency: what was left at expiry.
        voided_units: By currency: the face value of voided cards.
        balance_units: By currency: what callers still hold.
        problems: One line each; empty: the books balance.
    """

    cards: int = 0
    entries: int = 0
    records: int = 0
    face_units: Counter[str] = field(factory=Counter)
    calls_units: Counter[str] = field(factory=Counter)
    breakage_units: Counter[str] = field(factory=Counter)
    voided_units: Counter[str] = field(factory=Counter)
    balance_units: Counter[str] = field(factory=Counter)
    problems: list[str] = field(factory=list)

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def audit(storage: Storage) -> AuditReport:
    """Check every card of a store against its ledger and call records.

    The law, for each card: face value = balance + calls + breakage + voided; the balance covers
    the holds; each call was charged once, as its record says and as the terms of its hold
    make it; every PIN opens the card that lists it (design.md section 10).

    It needs no key, so it finds what contradicts itself, not what was forged consistently.
    """
    report = AuditReport()
    # Counted first: what is added while the audit runs is no stray.
    cards, records = storage.count_cards(), sum(1 for _ in _all_records(storage))
    _, heads = storage.catalogue()
    for head in sorted(heads):
        if head.kind == BATCH:
            _check_batch(storage, head, report)
    if report.cards < cards:
        report.problems.append(f"{cards - report.cards} cards belong to no batch")
    if report.records < records:
        report.problems.append(f"{records - report.records} call records belong to no card")
    return report


def _check_batch(storage: Storage, head: Head, report: AuditReport) -> None:
    try:
        batch = decode(BATCH, storage.content(BATCH, head.name, head.version))
    except (CardbillError, ValueError, TypeError, LookupError):
        batch = None
    if not isinstance(batch, Batch):
        report.problems.append(f"batch {head.name}: its terms cannot be read")
        return
    before, after = report.cards, 0
    while page := storage.find_cards(head.name, after=after):
        after = page[-1].serial
        listed: dict[str, list[tuple[str, bytes]]] = {row.id: [] for row in page}
        for credential in storage.credentials(list(listed), batch.credential_kind):
            listed[credential.card].append((credential.kind, credential.token))
        for row in page:
            _check_card(storage, row, batch, listed[row.id], report)
    found = report.cards - before
    if found and found != batch.quantity:
        report.problems.append(
            f"batch {head.name}: {found:,} cards, it was made with {batch.quantity:,}"
        )


def _check_card(
    storage: Storage,
    row: CardRow,
    batch: Batch,
    listed: list[tuple[str, bytes]],
    report: AuditReport,
) -> None:
    report.cards += 1
    while True:  # until the card stood still while it was read
        entries = list(_entries(storage, row.id))
        records = list(_all_records(storage, card=row.id))
        now = storage.view(row.id).card
        if now.version == row.version:
            break
        row = now
    report.entries += len(entries)
    report.records += len(records)
    try:
        card = card_from_row(row)
        problems = [
            *_columns(card, row),
            *_ledger(card, entries),
            *_calls(card, entries, records),
        ]
    except CardbillError as error:
        report.problems.append(f"card {row.id}: {error}")
        return
    sold_as = card.face, card.currency
    if sold_as != (batch.face_units, batch.currency) and not card.taken_over:
        problems.append(f"was sold as {card.face} units of {card.currency}, not as its batch says")
    # A caller's number is the card's own matter: its row may be stale, or on its way.
    if sorted(pair for pair in card.credentials if pair[0] != ANI) != sorted(listed):
        problems.append("is opened by other PINs than it lists")
    report.problems.extend(f"card {row.id}: {problem}" for problem in problems)
    sums = Counter[str]()
    for entry in entries:
        sums[entry.kind] += entry.amount
    report.face_units[card.currency] += card.face
    report.calls_units[card.currency] -= sums[EntryKind.CALL.value]
    report.breakage_units[card.currency] -= sums[EntryKind.BREAKAGE.value]
    report.voided_units[card.currency] -= sums[EntryKind.VOID.value]
    report.balance_units[card.currency] += row.balance


def _columns(card: Card, row: CardRow) -> Iterator[str]:
    """The columns that stores index must say what the state says."""
    if row.id != f"{row.batch}/{row.serial}":
        yield f"stands as serial {row.serial} of batch {row.batch}"
    yield from _differences("", card_to_row(card, version=row.version), row)
    if card.available < 0:
        yield f"holds of {card.held} units exceed its balance of {card.balance}"


def _differences(
    what: str, expected: CardRow | RecordRow, row: CardRow | RecordRow
) -> Iterator[str]:
    for name in row._fields:
        found, computed = getattr(row, name), getattr(expected, name)
        if found != computed:
            shown = name not in ("state", "detail")
            yield f"{what}{name} is {found}, it should be {computed}" if shown else f"{what}{name}"


def _ledger(card: Card, entries: list[EntryRow]) -> Iterator[str]:
    """Entries are numbered without gaps and add up to the balance."""
    if [entry.seq for entry in entries] != list(range(1, card.entry_count + 1)):
        yield f"its ledger should have entries 1 to {card.entry_count}, it has {len(entries)}"
    balance = 0
    sums: Counter[str] = Counter()
    for entry in entries:
        balance += entry.amount
        sums[entry.kind] += entry.amount
        if entry.balance_after != balance:
            yield f"entry {entry.seq} says {entry.balance_after} units, the sum is {balance}"
    if not entries:
        balance = card.face
    elif sums[EntryKind.FACE.value] != card.face:
        yield f"its ledger opens with {sums[EntryKind.FACE.value]} units, not {card.face}"
    if balance != card.balance:
        yield f"its balance is {card.balance} units, its ledger adds up to {balance}"
    if dict(sums) != card.posted:
        yield "its totals by kind differ from its ledger's"
    if card.plan is not None and not card.sold and not entries:
        yield "it is in use but its account was never opened"


def _calls(card: Card, entries: list[EntryRow], records: list[RecordRow]) -> Iterator[str]:
    """Each call that ended has one record, and was charged what its terms make it."""
    charged: Counter[str] = Counter()
    for entry in entries:
        if entry.kind == EntryKind.CALL.value:
            charged[entry.reference] -= entry.amount
    for row in records:
        record = record_from_row(row)
        what = f"call {record.call_id}: "
        yield from _differences(what, record_to_row(record), row)
        if record.batch != card.batch:
            yield f"{what}is of batch {record.batch}"
        if record.total_units != charged.pop(record.call_id, 0):
            yield f"{what}charged other than its record says"
        if record.call_id in card.holds:
            yield f"{what}is open and has ended"
        yield from (what + problem for problem in _terms(record))
    yield from (f"call {call}: charged without a record" for call in charged)


def _terms(record: CallRecord) -> Iterator[str]:
    """What the terms of its hold make of what the switch reported."""
    hold, told = record.hold, record.report
    if record.outcome is Outcome.EXPIRED and hold is not None:
        if record != unreported(record):
            yield "expired, and charged other than what was reported of it by then"
        return
    reported = record.outcome in (Outcome.SETTLED, Outcome.UNAUTHORISED)
    if not reported or hold is None or told is None:
        if record.price_units:
            yield f"charged though it was {record.outcome.value}"
        return
    actual = whole_seconds(told.talk_ms)
    if record.seconds != hold.charged_seconds(told.talk_ms):
        yield f"charged for {record.seconds} s"
    granted = min(price(hold.rate, record.seconds), hold.amount)
    if record.late:  # what was charged when its hold expired is not refunded
        granted = max(granted, price(hold.rate, hold.unreported_seconds))
    if record.price_units > granted:
        yield "charged more than it was granted"
    should = max(price(hold.rate, actual), record.price_units)
    if record.price_units + record.uncollected_units != should:
        yield f"charged {record.price_units} units and {record.uncollected_units} short of {should}"
    route = hold.route(told.carrier)
    if route is not None and record.cost_units != carrier_cost(route, actual):
        yield f"its cost of {record.cost_units} units is not what {route.carrier} charges"
    if record.carrier != (told.carrier or (route.carrier if route and actual else None)):
        yield f"carried by {record.carrier}, reported was {told.carrier}"


def _entries(storage: Storage, card: str) -> Iterator[EntryRow]:
    after = 0
    while page := storage.entries(card, after=after):
        after = page[-1].seq
        yield from page


def _all_records(storage: Storage, card: str | None = None) -> Iterator[RecordRow]:
    after: tuple[str, str] | None = None
    while page := storage.records(card=card, after=after):
        after = page[-1].card, page[-1].key
        yield from page
