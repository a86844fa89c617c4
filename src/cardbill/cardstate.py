"""What stores keep of cards, entries and records as opaque bytes.

Only this module reads and writes them; holds within them are :mod:`cardbill.holdterms`.
They are JSON lists in a fixed order, integers for money and for microseconds, under a format
number that a store keeps beside them: formats up to :data:`FORMAT` are read, newer ones
refused.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from cardbill.buckets import Bucket
from cardbill.calls import CallRecord, Outcome, Report
from cardbill.callterms import BillKind, BillLine
from cardbill.cards import Card
from cardbill.debts import Debt
from cardbill.errors import SchemaTooNew
from cardbill.exchange import Quote
from cardbill.holdterms import draw_from_list, draw_to_list, hold_from_list, hold_to_list
from cardbill.instants import from_micros, instant_of, micros_of, to_micros
from cardbill.ledger import Entry
from cardbill.operations import Operation, OperationKind, Outgoing
from cardbill.packages import Unit
from cardbill.taxterms import decision_from_list, decision_to_list

FORMAT = 1
"""The format that is written."""

_SOLD, _BLOCKED, _VOIDED, _TAKEN_OVER, _AWAITS_ANSWER, _ANSWERED = 1, 2, 4, 8, 16, 32
# Stored by position: append only.
_LINES, _UNITS = tuple(BillKind), tuple(Unit)
_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, check_circular=False).encode
_decode = json.JSONDecoder().decode


def check_format(number: int) -> None:
    """Check that bytes of that format can be read.

    Raises:
        SchemaTooNew: A later version of cardbill wrote them.
    """
    if number > FORMAT:
        raise SchemaTooNew(
            f"a stored row has format {number}, this version of cardbill reads up to {FORMAT}"
        )


def dump_card(card: Card) -> bytes:
    """Return the card's state; id, batch and serial are the store's own columns."""
    flags = _SOLD * card.sold | _BLOCKED * card.blocked | _VOIDED * card.voided
    flags |= _TAKEN_OVER * card.taken_over | _AWAITS_ANSWER * card.awaits_answer
    flags |= _ANSWERED * card.answered
    return _encode(
        [
            card.currency,
            card.face,
            card.balance,
            [[kind, token.hex()] for kind, token in card.credentials],
            micros_of(card.expires_at),
            micros_of(card.first_used_at),
            card.plan,
            flags,
            card.entry_count,
            card.posted,
            [hold_to_list(hold) for hold in card.holds.values()],
            [[token.hex(), sealed.hex()] for token, sealed in card.pending.items()],
            micros_of(card.due_at),
            *_rest(card),
        ]
    ).encode()


def _rest(card: Card) -> list[Any]:
    """What only cards of plans with packages, charges or limits of use have, or that move."""
    state = (card.bucket_count, card.debts, card.periods, card.idle, card.outgoing)
    if not (any(state) or card.usage or card.moving) and card.cycle is None:
        return []
    rest = [
        [_bucket(bucket) for bucket in card.buckets.values()],
        card.bucket_count,
        card.debts,
        card.periods,
        card.idle,
        card.cycle,
        micros_of(card.active_at),
        [[key, to, amount, to_micros(at)] for key, (to, amount, at) in card.outgoing.items()],
        [[hours, slots] for hours, slots in card.usage.items()],
        card.moving and [*card.moving[:2], to_micros(card.moving[2])],
    ]
    return [] if rest == _NO_REST else rest


def load_card(state: bytes, *, card_id: str, batch: str, serial: int, version: int) -> Card:
    """Return the card of a state that :func:`dump_card` wrote."""
    (
        currency,
        face,
        balance,
        credentials,
        expires_at,
        first_used_at,
        plan,
        flags,
        entry_count,
        posted,
        holds,
        pending,
        *more,
    ) = _decode(state.decode())
    due_at, *rest = more or [0]  # of before this was kept: look what time has done
    buckets, bucket_count, owed, periods, idle, cycle, active_at, *later = _whole(rest)
    outgoing, usage, moving = later
    opened = [hold_from_list(hold, currency) for hold in holds]
    return Card(
        id=card_id,
        batch=batch,
        serial=serial,
        version=version,
        currency=currency,
        face=face,
        balance=balance,
        credentials=[(kind, bytes.fromhex(token)) for kind, token in credentials],
        expires_at=instant_of(expires_at),
        first_used_at=instant_of(first_used_at),
        plan=plan and (plan[0], plan[1]),
        sold=bool(flags & _SOLD),
        blocked=bool(flags & _BLOCKED),
        voided=bool(flags & _VOIDED),
        taken_over=bool(flags & _TAKEN_OVER),
        awaits_answer=bool(flags & _AWAITS_ANSWER),
        entry_count=entry_count,
        posted=posted,
        holds={hold.call_id: hold for hold in opened},
        pending={bytes.fromhex(token): bytes.fromhex(sealed) for token, sealed in pending},
        answered=bool(flags & _ANSWERED),
        due_at=instant_of(due_at),
        buckets={stored[0]: _load_bucket(stored) for stored in buckets},
        bucket_count=bucket_count,
        debts={name: tuple(Debt(*debt) for debt in debts) for name, debts in owed.items()},
        periods=dict(periods),
        idle=dict(idle),
        cycle=cycle,
        active_at=instant_of(active_at),
        outgoing={key: Outgoing(to, units, from_micros(at)) for key, to, units, at in outgoing},
        usage={hours: [(*slot,) for slot in slots] for hours, slots in usage},
        moving=moving and (moving[0], moving[1], from_micros(moving[2])),
    )


_NO_REST: list[Any] = [[], 0, {}, {}, {}, None, None, [], [], None]


def _whole(rest: list[Any]) -> list[Any]:
    """Return what :func:`_rest` wrote, with what it did not write yet when it did."""
    return [*rest, *_NO_REST[len(rest) :]]


def dump_record(record: CallRecord) -> bytes:
    """Return the detail of a call record."""
    told = record.report
    return _encode(
        [
            record.serial,
            record.currency,
            record.hold and hold_to_list(record.hold),
            told
            and [
                told.talk_ms,
                micros_of(told.answered_at),
                micros_of(told.ended_at),
                told.carrier,
                told.cause,
                *([] if told.access_ms is None else [told.access_ms]),
            ],
            record.seconds,
            record.tax_units,
            record.uncollected_units,
            int(record.late),
            record.cost_quote and [record.cost_quote.currency, record.cost_quote.parts],
            record.rated_units,
            int(record.first),
            *_lines(record),
        ]
    ).encode()


def load_record(
    detail: bytes,
    *,
    call_id: str,
    card_id: str,
    batch: str,
    outcome: str,
    ended_at: int,
    recorded_at: int,
    carrier: str | None,
    price: int,
    cost: int | None,
) -> CallRecord:
    """Return the record of a detail that :func:`dump_record` wrote, and its columns."""
    serial, currency, hold, told, seconds, tax, uncollected, late, *more = _decode(detail.decode())
    terms = hold and hold_from_list(hold, currency)
    quote, *bill = more or [None]
    rated, first, *lines = bill or [price, 0]
    posted, short, draws, *decided = lines or [[], [], []]
    return CallRecord(
        call_id=call_id,
        card_id=card_id,
        batch=batch,
        serial=serial,
        currency=currency,
        outcome=Outcome(outcome),
        ended_at=from_micros(ended_at),
        recorded_at=from_micros(recorded_at),
        hold=terms,
        report=told and _load_report(told),
        seconds=seconds,
        rated_units=rated,
        price_units=price,
        tax_units=tax,
        lines=tuple(BillLine(_LINES[kind], *line) for kind, *line in posted),
        uncollected_units=uncollected,
        short=tuple(BillLine(_LINES[kind], *line) for kind, *line in short),
        draws=tuple(draw_from_list(draw) for draw in draws),
        first=bool(first),
        tax_decision=decision_from_list(decided) if decided else None,
        cost_units=cost,
        cost_quote=quote and Quote(quote[0], terms.quote.base, quote[1]),
        carrier=carrier,
        late=bool(late),
    )


def dump_entry(entry: Entry) -> bytes:
    """Return the detail of a ledger entry; most have none."""
    if not entry.name:
        return b""
    quantity = [] if entry.unit is None else [entry.quantity, _UNITS.index(entry.unit)]
    sale = [entry.base_units, entry.jurisdiction] if entry.jurisdiction else []
    return _encode([entry.name, *quantity, *sale]).encode()


def read_entry(detail: bytes) -> tuple[str, int, Unit | None, int, str]:
    """Return what a detail that :func:`dump_entry` wrote says.

    The name, the quantity and its unit; of a tax on a sale also its base and jurisdiction.
    """
    if not detail:
        return "", 0, None, 0, ""
    name, *more = _decode(detail.decode())
    quantity, unit, *sale = more or (0, None)
    base, jurisdiction = sale or (0, "")
    return name, quantity, None if unit is None else _UNITS[unit], base, jurisdiction


def dump_operation(operation: Operation) -> bytes:
    """Return the detail of an operation."""
    return _encode(
        [
            operation.serial,
            operation.currency,
            operation.quantity,
            operation.balance_units,
            micros_of(operation.expires_at),
            operation.other,
            operation.refused,
        ]
    ).encode()


def load_operation(
    detail: bytes,
    *,
    key: str,
    kind: str,
    card_id: str,
    batch: str,
    at: int,
    amount: int,
    name: str,
) -> Operation:
    """Return the operation of a detail that :func:`dump_operation` wrote, and its columns."""
    serial, currency, quantity, balance, expires_at, other, refused = _decode(detail.decode())
    return Operation(
        key=key,
        kind=OperationKind(kind),
        card_id=card_id,
        batch=batch,
        serial=serial,
        currency=currency,
        at=from_micros(at),
        amount_units=amount,
        name=name,
        quantity=quantity,
        other=other,
        refused=refused,
        balance_units=balance,
        expires_at=instant_of(expires_at),
    )


def _lines(record: CallRecord) -> list[Any]:
    """What only calls with charges, taxes or buckets have."""
    if not (record.lines or record.short or record.draws or record.tax_decision):
        return []
    return [
        [[_LINES.index(line.kind), line.name, line.amount] for line in record.lines],
        [[_LINES.index(line.kind), line.name, line.amount] for line in record.short],
        [draw_to_list(draw) for draw in record.draws],
        *(decision_to_list(record.tax_decision) if record.tax_decision else []),
    ]


def _bucket(bucket: Bucket) -> list[Any]:
    return [
        bucket.number,
        bucket.package,
        _UNITS.index(bucket.unit),
        bucket.given,
        bucket.used,
        bucket.expired,
        bucket.destinations,
        micros_of(bucket.expires_at),
        int(bucket.waives_connect_fee),
    ]


def _load_bucket(stored: Sequence[Any]) -> Bucket:
    number, package, unit, given, used, expired, destinations, expires_at, waives = stored
    return Bucket(
        number=number,
        package=package,
        unit=_UNITS[unit],
        given=given,
        used=used,
        expired=expired,
        destinations=tuple(destinations),
        expires_at=instant_of(expires_at),
        waives_connect_fee=bool(waives),
    )


def _load_report(stored: Sequence[Any]) -> Report:
    talk_ms, answered_at, ended_at, carrier, cause, *access_ms = stored
    return Report(
        talk_ms=talk_ms,
        answered_at=instant_of(answered_at),
        ended_at=instant_of(ended_at),
        carrier=carrier,
        cause=cause,
        access_ms=access_ms[0] if access_ms else None,
    )
