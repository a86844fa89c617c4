"""Between the domain and the stores: a card, its entries and records as rows."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from struct import error as StructError  # noqa: N812  # a class

from cardbill.calls import CallRecord, Report
from cardbill.cards import Card
from cardbill.cardstate import (
    FORMAT,
    check_format,
    dump_card,
    dump_entry,
    dump_operation,
    dump_record,
    load_card,
    load_operation,
    load_record,
    read_entry,
)
from cardbill.errors import RowUnreadable
from cardbill.instants import from_micros, micros_of, to_micros
from cardbill.ledger import Entry, EntryKind
from cardbill.operations import Operation
from cardbill.proofs import Trail, check_card, check_record, split_detail, split_state
from cardbill.seals import Seals
from cardbill.storage.contract import CardRow, EntryRow, RecordRow, SuspenseRow


def call_key(call_id: str) -> str:
    """Return the one operation key that all events of a call share."""
    return f"call:{call_id}"


def card_from_row(row: CardRow, seals: Seals) -> Card:
    """Return the card of a stored row.

    Raises:
        SchemaTooNew: A later version of cardbill wrote it.
        RowUnreadable: It is damaged.
        RowAltered: Its seal does not fit.
    """
    return open_card(row, seals)[0]


def open_card(row: CardRow, seals: Seals) -> tuple[Card, Trail, bytes]:
    """Return the card of a stored row, its trail, and the state they were read from.

    Raises:
        SchemaTooNew: A later version of cardbill wrote it.
        RowUnreadable: It is damaged.
        RowAltered: Its seal does not fit.
    """
    check_format(row.format)
    check_card(row, seals)
    return read_card(row)


def read_card(row: CardRow) -> tuple[Card, Trail, bytes]:
    """Do what :func:`open_card` does without looking at the seal: for audits without keys."""
    check_format(row.format)
    with readable(f"card {row.id}"):
        state, trail = split_state(row.state)
        card = load_card(
            state, card_id=row.id, batch=row.batch, serial=row.serial, version=row.version
        )
        return card, trail, state


def card_to_row(card: Card, *, version: int) -> CardRow:
    """Return the row of a card as that version of it, not yet sealed."""
    return CardRow(
        id=card.id,
        version=version,
        format=FORMAT,
        batch=card.batch,
        serial=card.serial,
        balance=card.balance,
        held=card.held,
        first_used_at=micros_of(card.first_used_at),
        expires_at=micros_of(card.expires_at),
        blocked=int(card.blocked),
        due_at=micros_of(card.due_at),
        state=dump_card(card),
    )


def entry_to_row(card_id: str, entry: Entry) -> EntryRow:
    """Return the row of a ledger entry, not yet linked to the one before."""
    return EntryRow(
        card=card_id,
        seq=entry.seq,
        at=to_micros(entry.at),
        kind=entry.kind.value,
        amount=entry.amount_units,
        balance_after=entry.balance_units,
        reference=entry.reference,
        detail=dump_entry(entry),
    )


def entry_from_row(row: EntryRow, currency: str) -> Entry:
    """Return the ledger entry of a stored row."""
    return Entry(
        row.seq,
        from_micros(row.at),
        EntryKind(row.kind),
        row.amount,
        row.balance_after,
        row.reference,
        currency,
        *read_entry(split_detail(row.detail)[0]),
    )


def record_to_row(record: CallRecord) -> RecordRow:
    """Return the row of a call record, not yet sealed."""
    return RecordRow(
        card=record.card_id,
        key=call_key(record.call_id),
        format=FORMAT,
        batch=record.batch,
        kind=record.outcome.value,
        recorded_at=to_micros(record.recorded_at),
        ended_at=to_micros(record.ended_at),
        call=record.call_id,
        number=record.number,
        destination=record.destination,
        carrier=record.carrier,
        seconds=record.seconds,
        price=record.price_units,
        tax=record.tax_units,
        cost=record.cost_units,
        detail=dump_record(record),
    )


def record_from_row(row: RecordRow, seals: Seals) -> CallRecord:
    """Return the call record of a stored row.

    Raises:
        SchemaTooNew: A later version of cardbill wrote it.
        RowUnreadable: It is damaged.
        RowAltered: Its seal does not fit.
    """
    check_format(row.format)
    check_record(row, seals)
    return read_record(row)


def read_record(row: RecordRow) -> CallRecord:
    """Do what :func:`record_from_row` does without looking at the seal."""
    check_format(row.format)
    with readable(f"card {row.card}, record {row.key}"):
        return load_record(
            split_detail(row.detail)[0],
            call_id=row.call,
            card_id=row.card,
            batch=row.batch,
            outcome=row.kind,
            ended_at=row.ended_at,
            recorded_at=row.recorded_at,
            carrier=row.carrier,
            price=row.price,
            cost=row.cost,
        )


def operation_key(key: str) -> str:
    """Return the key under which an operation's record stands, apart from those of calls."""
    return f"op:{key}"


def is_call(row: RecordRow) -> bool:
    """Say whether a stored record is a call's, not an operation's."""
    return row.key.startswith("call:")


def operation_to_row(operation: Operation) -> RecordRow:
    """Return the row of an operation, not yet sealed."""
    at = to_micros(operation.at)
    return RecordRow(
        card=operation.card_id,
        key=operation_key(operation.key),
        format=FORMAT,
        batch=operation.batch,
        kind=operation.kind.value,
        recorded_at=at,
        ended_at=at,
        call="",
        number="",
        destination=operation.name,
        carrier=None,
        seconds=0,
        price=operation.amount_units,
        tax=0,
        cost=None,
        detail=dump_operation(operation),
    )


def operation_from_row(row: RecordRow, seals: Seals) -> Operation:
    """Return the operation of a stored row.

    Raises:
        SchemaTooNew, RowUnreadable, RowAltered: As for :func:`record_from_row`.
    """
    check_format(row.format)
    check_record(row, seals)
    return read_operation(row)


def read_operation(row: RecordRow) -> Operation:
    """Do what :func:`operation_from_row` does without looking at the seal."""
    check_format(row.format)
    with readable(f"card {row.card}, record {row.key}"):
        return load_operation(
            split_detail(row.detail)[0],
            key=row.key.removeprefix("op:"),
            kind=row.kind,
            card_id=row.card,
            batch=row.batch,
            at=row.recorded_at,
            amount=row.price,
            name=row.destination,
        )


class readable:  # noqa: N801  # reads as a with statement; a class is cheaper than a generator
    """What decoding foreign bytes raises becomes one named error, without the bytes."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if kind is not None and issubclass(kind, _DAMAGE):
            raise RowUnreadable(f"{self._what}: what is stored cannot be read") from None


_DAMAGE = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, StructError)


def report_to_suspense(card_id: str, call_id: str, told: Report, at: datetime) -> SuspenseRow:
    """Return a report as an event in suspense; the same report has the same key."""
    detail = json.dumps(
        {
            "event": "settle",
            "talk_ms": told.talk_ms,
            "answered_at": told.answered_at and told.answered_at.isoformat(),
            "ended_at": told.ended_at and told.ended_at.isoformat(),
            "carrier": told.carrier,
            "cause": told.cause,
            **({} if told.access_ms is None else {"access_ms": told.access_ms}),
        }
    ).encode()
    digest = hashlib.sha256(detail).hexdigest()[:16]
    key = f"{card_id}|{call_id}|{digest}"
    return SuspenseRow(key, to_micros(at), card_id, call_id, detail)
