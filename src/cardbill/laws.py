"""The laws of one card: what its rows must say of each other, and what each call must cost.

An audit holds every card to them. Each check yields a line for whatever does not hold; it
trusts no figure that it can compute. Source: design.md section 10.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from attrs import evolve

from cardbill.calls import CallRecord, Outcome, Report
from cardbill.cards import Card
from cardbill.endings import bills, carrier_cost, foreign, unreported
from cardbill.errors import InvalidInput
from cardbill.holds import Hold, whole_seconds
from cardbill.ledger import PUT_ON, EntryKind
from cardbill.proofs import Trail, entry_seal, split_detail
from cardbill.rows import (
    card_to_row,
    entry_from_row,
    is_call,
    operation_to_row,
    read_operation,
    read_record,
    record_to_row,
)
from cardbill.seals import NO_SEAL
from cardbill.taxengines import TaxFallback, check_taxed

if TYPE_CHECKING:
    from cardbill.callterms import Bill
    from cardbill.storage.contract import CardRow, EntryRow, RecordRow

_MOVED = {
    kind.value
    for kind in (
        EntryKind.RECHARGE,
        EntryKind.CREDIT,
        EntryKind.TRANSFER_IN,
        EntryKind.TRANSFER_OUT,
        EntryKind.REFUND,
        EntryKind.WRITE_OFF,
    )
}
_OF_CALLS = {kind.value for kind in (EntryKind.CALL, EntryKind.CHARGE, EntryKind.TAX)}


def columns(card: Card, row: CardRow) -> Iterator[str]:
    """The columns that stores index must say what the state says."""
    if row.id != f"{row.batch}/{row.serial}":
        yield f"stands as serial {row.serial} of batch {row.batch}"
    yield from _differences("", card_to_row(card, version=row.version), row)
    if card.available < 0:
        yield f"holds of {card.held} units exceed its balance of {card.balance}"


def trail(trail: Trail, entries: list[EntryRow], records: list[RecordRow]) -> Iterator[str]:
    """The card says which entry is its newest and how many records it has."""
    if trail.head != (entry_seal(entries[-1]) if entries else NO_SEAL):
        yield "its newest ledger entry is not the one that it was given"
    if trail.records != len(records):
        yield f"should have {trail.records} call records, it has {len(records)}"


def _differences(
    what: str, expected: CardRow | RecordRow, row: CardRow | RecordRow
) -> Iterator[str]:
    for name in row._fields:
        found, computed = getattr(row, name), getattr(expected, name)
        if found != computed:
            shown = name not in ("state", "detail")
            yield f"{what}{name} is {found}, it should be {computed}" if shown else f"{what}{name}"


def ledger(card: Card, entries: list[EntryRow]) -> Iterator[str]:
    """Entries are numbered without gaps and add up to the balance."""
    if [entry.seq for entry in entries] != list(range(1, card.entry_count + 1)):
        yield f"its ledger should have entries 1 to {card.entry_count}, it has {len(entries)}"
    balance = 0
    sums: Counter[str] = Counter()
    for entry in entries:
        balance += entry.amount
        sums[entry.kind] += entry.amount
        if entry.kind == EntryKind.SALE_TAX.value and entry.amount:
            yield f"entry {entry.seq} takes a tax on its sale, which no card pays"
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
    used_here = card.first_used_at is not None and not card.taken_over
    if (used_here or card.holds) and not entries:
        yield "it is in use but its account was never opened"


def calls(card: Card, entries: list[EntryRow], records: list[RecordRow]) -> Iterator[str]:
    """Each call that ended has one record, and was charged what its terms make it."""
    charged: Counter[str] = Counter()
    for entry in entries:
        if entry.kind in _OF_CALLS and " " not in entry.reference:  # a call id has no space
            charged[entry.reference] -= entry.amount
    for row in filter(is_call, records):
        record = read_record(row)
        what = f"call {record.call_id}: "
        plain = row._replace(detail=split_detail(row.detail)[0])
        yield from _differences(what, record_to_row(record), plain)
        if record.batch != card.batch:
            yield f"{what}is of batch {record.batch}"
        if record.total_units != charged.pop(record.call_id, 0):
            yield f"{what}charged other than its record says"
        if record.call_id in card.holds:
            yield f"{what}is open and has ended"
        yield from (what + problem for problem in _terms(record))
    yield from (f"call {call}: charged without a record" for call in charged)


def operations(entries: list[EntryRow], records: list[RecordRow]) -> Iterator[str]:
    """Each operation moved as much as it says, once, and nothing was moved without one."""
    moved = Counter[str]()
    for entry in entries:
        if entry.kind in _MOVED:
            puts_on = EntryKind(entry.kind) in PUT_ON
            moved[entry.reference] += entry.amount if puts_on else -entry.amount
    for row in records:
        if is_call(row):
            continue
        operation = read_operation(row)
        what = f"{operation.kind.value} {operation.key}"
        plain = row._replace(detail=split_detail(row.detail)[0])
        yield from _differences(f"{what}: ", operation_to_row(operation), plain)
        found = moved.pop(what, 0)
        if operation.kind.value in _MOVED and found != operation.amount_units:
            yield f"{what}: moved {found} units, not {operation.amount_units}"
    yield from (f"{what}: money was moved, nobody asked for it" for what in moved)


def buckets(card: Card, entries: list[EntryRow], records: list[RecordRow]) -> Iterator[str]:
    """Of each bucket, what was given is left, was used by calls, or was lost."""
    left: Counter[int] = Counter()
    for row in entries:
        if row.kind in (EntryKind.GIVEN.value, EntryKind.LOST.value):
            entry = entry_from_row(row, card.currency)
            sign = 1 if entry.kind is EntryKind.GIVEN else -1
            left[int(entry.reference.removeprefix("bucket "))] += sign * entry.quantity
    for record in filter(is_call, records):
        for draw in read_record(record).draws:
            left[draw.bucket] -= draw.units
    for number in sorted(left.keys() | card.buckets.keys()):
        bucket = card.buckets.get(number)
        stands = 0 if bucket is None else bucket.left
        if left[number] != stands:
            yield f"bucket {number} has {stands} left, its ledger and calls make it {left[number]}"
        if bucket is not None and card.free_of(bucket) < 0:
            yield f"calls hold more of bucket {number} than is left"


def _terms(record: CallRecord) -> Iterator[str]:
    """What the terms of its hold make of what the switch reported."""
    hold, told = record.hold, record.report
    if record.outcome is Outcome.EXPIRED and hold is not None:
        if record != unreported(_bare(record), first=record.first):
            yield "expired, and charged other than what was reported of it by then"
        return
    reported = record.outcome in (Outcome.SETTLED, Outcome.UNAUTHORISED)
    if not reported or hold is None or told is None:
        if record.total_units:
            yield f"charged though it was {record.outcome.value}"
        return
    actual = whole_seconds(told.talk_ms)
    if record.seconds != hold.charged_seconds(told.talk_ms):
        yield f"charged for {record.seconds} s"
    if problem := _decision(record, hold, told):
        yield problem
        return
    due, whole = bills(hold, told, first=record.first, taxed=record.taxed)
    granted = min(due.total, hold.amount)
    if record.late:  # what was charged when its hold expired is not refunded
        before = hold.bill(hold.unreported_seconds, None, first=record.first)
        granted = max(granted, before.total)
    if record.total_units > granted:
        yield "charged more than it was granted"
    yield from _lines(record, whole)
    route = hold.route(told.carrier)
    answered = hold.answer(told.answered_at)
    if route is not None and record.cost_units != carrier_cost(route, actual, answered):
        yield f"its cost of {record.cost_units} units is not what {route.carrier} charges"
    if route is not None and record.cost_quote != foreign(route, hold):
        yield f"its cost is in {record.cost_currency}, not at the rate it was granted at"
    if record.carrier != (told.carrier or (route.carrier if route and actual else None)):
        yield f"carried by {record.carrier}, reported was {told.carrier}"


def _decision(record: CallRecord, hold: Hold, told: Report) -> str:
    """What a tax engine outside said must be of the amounts of this call, or be as built in."""
    decision, rules = record.tax_decision, hold.terms.taxes
    if decision is None:
        return ""
    if rules is None or decision.taxed is None:
        return "taxed from outside, by its terms it bears no tax"
    lines = hold.quoted(record.seconds, told.answered_at, first=record.first)
    try:
        check_taxed(lines, decision.taxed)
    except InvalidInput as error:
        return str(error)
    built_in = decision.fallback is TaxFallback.BUILT_IN
    if built_in and decision.taxed != rules.taxed(lines):
        return "taxed other than the built-in rules say"
    return ""


def _lines(record: CallRecord, whole: Bill) -> Iterator[str]:
    """Each line was collected, or is noted as short, in full; and they add up."""
    posted = {line[:2]: line.amount for line in record.posted}
    short = {line[:2]: line.amount for line in record.short}
    if not record.lines and record.uncollected_units:
        short = {record.posted[0][:2]: record.uncollected_units}
    for line in whole.lines:
        paid, missing = posted.get(line[:2], 0), short.get(line[:2], 0)
        if paid + missing != max(line.amount, paid):
            what = line.name or line.kind.value
            yield f"{what}: charged {paid} units and {missing} short of {line.amount}"
    if sum(posted.values()) != record.total_units:
        yield f"its lines make {sum(posted.values())} units, its total is {record.total_units}"
    if sum(short.values()) != record.uncollected_units:
        yield f"{record.uncollected_units} units uncollected, its lines make {sum(short.values())}"


def _bare(record: CallRecord) -> CallRecord:
    """Return a record as it was before anything was posted for it."""
    return evolve(
        record,
        rated_units=0,
        price_units=0,
        tax_units=0,
        lines=(),
        uncollected_units=0,
        short=(),
        draws=(),
        first=False,
    )
