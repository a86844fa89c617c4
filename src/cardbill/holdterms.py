"""Holds as short plain lists: how cards store open calls, and records the terms of ended ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cardbill.accesscost import AccessLeg
from cardbill.buckets import Draw
from cardbill.callterms import CallCharge, CallTerms
from cardbill.exchange import Quote, itself
from cardbill.holds import Hold, LimitedBy
from cardbill.instants import from_micros, instant_of, micros_of, to_micros
from cardbill.packages import Unit
from cardbill.routing import Route
from cardbill.taxterms import rules_from_list, rules_to_list
from cardbill.terms import rate_from_list, rate_to_list, tariff_from_list, tariff_to_list

_UNITS = tuple(Unit)  # stored by position: append only


def hold_to_list(hold: Hold) -> list[Any]:
    """Return a hold as JSON can hold it; what few calls have comes last, or not at all."""
    return [
        hold.call_id,
        hold.number,
        hold.ani,
        hold.destination,
        hold.prefix,
        hold.deck,
        hold.deck_version,
        hold.plan,
        _terms(hold.terms),
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
        micros_of(hold.renewed_at),
        None if hold.quote.currency == hold.quote.base else [hold.quote.base, hold.quote.parts],
        *([] if hold.access is None else [hold.access, *_leg(hold.access_leg)]),
    ]  # fmt: skip


def hold_from_list(stored: Sequence[Any], currency: str) -> Hold:
    """Return the hold that :func:`hold_to_list` wrote, of a card in that currency."""
    call_id, number, ani, destination, prefix, deck, deck_version, plan, *terms = stored
    tariff, routes, granted_at, cap, capped_by, slice_seconds, charge, *grant = terms
    max_seconds, limited_by, amount, used_seconds, extension, renewed_at, *more = grant
    worth, *access = more or [None]
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
        terms=_load_terms(tariff),
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
        renewed_at=instant_of(renewed_at),
        access=access[0] if access else None,
        access_leg=_load_leg(access[1], quote) if len(access) > 1 else None,
    )


def draw_to_list(draw: Draw) -> list[Any]:
    """Return a draw on a bucket as JSON can hold it."""
    return [draw.bucket, _UNITS.index(draw.unit), draw.units, int(draw.waives_connect_fee)]


def draw_from_list(stored: Sequence[Any]) -> Draw:
    """Return the draw that :func:`draw_to_list` wrote."""
    bucket, unit, units, waives = stored
    return Draw(bucket, _UNITS[unit], units, bool(waives))


def _terms(terms: CallTerms) -> list[Any]:
    tariff = tariff_to_list(terms.tariff)
    if not terms.charges and terms.taxes is None and not terms.draws:
        return tariff
    return [
        "terms",
        tariff,
        [list(charge) for charge in terms.charges],
        terms.taxes and rules_to_list(terms.taxes),
        [draw_to_list(draw) for draw in terms.draws],
    ]


def _load_terms(stored: Sequence[Any]) -> CallTerms:
    if stored[0] != "terms":
        return CallTerms(tariff_from_list(stored))
    _, tariff, charges, taxes, draws = stored
    return CallTerms(
        tariff_from_list(tariff),
        tuple(CallCharge(*charge) for charge in charges),
        taxes and rules_from_list(taxes),
        tuple(draw_from_list(draw) for draw in draws),
    )


def _route(route: Route, own: Quote) -> list[Any]:
    stored: list[Any] = [route.carrier, route.number, route.prefix, tariff_to_list(route.tariff)]
    if route.quote != own:
        stored += [route.quote.currency, route.quote.parts]
    return stored


def _load_route(stored: Sequence[Any], own: Quote) -> Route:
    carrier, number, prefix, tariff, *more = stored
    quote = Quote(more[0], own.base, more[1]) if more else own
    return Route(carrier, number, prefix, tariff_from_list(tariff), quote)


def _leg(leg: AccessLeg | None) -> list[Any]:
    if leg is None:
        return []
    worth = leg.quote and leg.quote.parts
    return [[rate_to_list(leg.rate), leg.currency, worth]]


def _load_leg(stored: Sequence[Any], own: Quote) -> AccessLeg:
    rate, currency, worth = stored
    quote = None if worth is None else Quote(currency, own.base, worth)
    return AccessLeg(rate_from_list(rate), currency, quote)
