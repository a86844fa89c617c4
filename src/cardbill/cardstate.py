"""What stores keep of cards, entries and records as opaque bytes.

Only this module reads and writes them. They are JSON lists in a fixed order, integers for
money and for microseconds, under a format number that a store keeps beside them: formats
up to :data:`FORMAT` are read, newer ones refused.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from cardbill.calls import CallRecord, Outcome, Report
from cardbill.cards import Card
from cardbill.errors import SchemaTooNew
from cardbill.exchange import Quote, itself
from cardbill.holds import Hold, LimitedBy
from cardbill.instants import from_micros, to_micros
from cardbill.routing import Route
from cardbill.terms import tariff_from_list, tariff_to_list

FORMAT = 1
"""The format that is written."""

_SOLD, _BLOCKED, _VOIDED, _TAKEN_OVER, _AWAITS_ANSWER = 1, 2, 4, 8, 16
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
    return _encode(
        [
            card.currency,
            card.face,
            card.balance,
            [[kind, token.hex()] for kind, token in card.credentials],
            _micros(card.expires_at),
            _micros(card.first_used_at),
            card.plan,
            flags,
            card.entry_count,
            card.posted,
            [_hold(hold) for hold in card.holds.values()],
            [[token.hex(), sealed.hex()] for token, sealed in card.pending.items()],
        ]
    ).encode()


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
    ) = _decode(state.decode())
    opened = [_load_hold(hold, currency) for hold in holds]
    return Card(
        id=card_id,
        batch=batch,
        serial=serial,
        version=version,
        currency=currency,
        face=face,
        balance=balance,
        credentials=[(kind, bytes.fromhex(token)) for kind, token in credentials],
        expires_at=_instant(expires_at),
        first_used_at=_instant(first_used_at),
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
    )


def dump_record(record: CallRecord) -> bytes:
    """Return the detail of a call record."""
    told = record.report
    return _encode(
        [
            record.serial,
            record.currency,
            record.hold and _hold(record.hold),
            told
            and [
                told.talk_ms,
                _micros(told.answered_at),
                _micros(told.ended_at),
                told.carrier,
                told.cause,
            ],
            record.seconds,
            record.tax_units,
            record.uncollected_units,
            int(record.late),
            record.cost_quote and [record.cost_quote.currency, record.cost_quote.parts],
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
    terms = hold and _load_hold(hold, currency)
    quote = more[0] if more else None
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
        price_units=price,
        tax_units=tax,
        uncollected_units=uncollected,
        cost_units=cost,
        cost_quote=quote and Quote(quote[0], terms.quote.base, quote[1]),
        carrier=carrier,
        late=bool(late),
    )


def _hold(hold: Hold) -> list[Any]:
    return [
        hold.call_id,
        hold.number,
        hold.ani,
        hold.destination,
        hold.prefix,
        hold.deck,
        hold.deck_version,
        hold.plan,
        tariff_to_list(hold.tariff),
        [_route(route, hold.quote) for route in hold.routes],
        to_micros(hold.granted_at),
        hold.cap_seconds,
        hold.capped_by and hold.capped_by.value,
        hold.slice_seconds,
        int(hold.charge_unreported),
        hold.max_seconds,
        hold.limited_by and hold.limited_by.value,
        hold.amount,
        hold.used_seconds,
        hold.extension,
        _micros(hold.renewed_at),
        None if _plain(hold.quote) else [hold.quote.base, hold.quote.parts],
    ]  # fmt: skip


def _plain(quote: Quote) -> bool:
    return quote.currency == quote.base


def _route(route: Route, own: Quote) -> list[Any]:
    stored: list[Any] = [route.carrier, route.number, route.prefix, tariff_to_list(route.tariff)]
    if route.quote != own:
        stored += [route.quote.currency, route.quote.parts]
    return stored


def _load_route(stored: Sequence[Any], own: Quote) -> Route:
    carrier, number, prefix, tariff, *more = stored
    quote = Quote(more[0], own.base, more[1]) if more else own
    return Route(carrier, number, prefix, tariff_from_list(tariff), quote)


def _load_hold(stored: Sequence[Any], currency: str) -> Hold:
    call_id, number, ani, destination, prefix, deck, deck_version, plan, *terms = stored
    tariff, routes, granted_at, cap, capped_by, slice_seconds, charge, *grant = terms
    max_seconds, limited_by, amount, used_seconds, extension, renewed_at, *more = grant
    worth = more[0] if more else None
    quote = Quote(currency, *worth) if worth else itself(currency)
    return Hold(
        call_id=call_id,
        number=number,
        ani=ani,
        destination=destination,
        prefix=prefix,
        deck=deck,
        deck_version=deck_version,
        plan=plan,
        tariff=tariff_from_list(tariff),
        routes=tuple(_load_route(route, quote) for route in routes),
        quote=quote,
        granted_at=from_micros(granted_at),
        cap_seconds=cap,
        capped_by=capped_by and LimitedBy(capped_by),
        slice_seconds=slice_seconds,
        charge_unreported=bool(charge),
        max_seconds=max_seconds,
        limited_by=limited_by and LimitedBy(limited_by),
        amount=amount,
        used_seconds=used_seconds,
        extension=extension,
        renewed_at=_instant(renewed_at),
    )


def _load_report(stored: Sequence[Any]) -> Report:
    talk_ms, answered_at, ended_at, carrier, cause = stored
    return Report(
        talk_ms=talk_ms,
        answered_at=_instant(answered_at),
        ended_at=_instant(ended_at),
        carrier=carrier,
        cause=cause,
    )


def _micros(instant: datetime | None) -> int | None:
    return None if instant is None else to_micros(instant)


def _instant(micros: int | None) -> datetime | None:
    return None if micros is None else from_micros(micros)
