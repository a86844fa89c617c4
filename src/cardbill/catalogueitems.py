"""What the catalogue holds, and how each item is written down as bytes: read by this alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from attrs import asdict

from cardbill import money
from cardbill.access import AccessNumber
from cardbill.batches import Batch
from cardbill.carriers import Carrier
from cardbill.decks import Deck
from cardbill.dialing import DialPlan
from cardbill.errors import RowUnreadable, SchemaTooNew
from cardbill.exchange import ExchangeRate, ExchangeRates
from cardbill.flags import BatchFlags
from cardbill.groups import DestinationGroup
from cardbill.instants import from_micros, instant_of, micros_of, to_micros
from cardbill.jurisdictions import Jurisdiction
from cardbill.plans import Plan
from cardbill.routing import LEAST_COST, Routing
from cardbill.saleterms import (
    charge_from_dict,
    charge_to_dict,
    cycle_from_list,
    cycle_to_list,
    limit_from_dict,
    limit_to_dict,
    package_from_dict,
    package_to_dict,
)
from cardbill.taxregions import regions_from_list, regions_to_list
from cardbill.taxterms import (
    exemption_from_list,
    exemption_to_list,
    jurisdiction_from_dict,
    jurisdiction_to_dict,
)
from cardbill.terms import rate_from_list, rate_to_list

if TYPE_CHECKING:
    from moneyed import Money

BATCH, PLAN, DECK, CARRIER, ACCESS = "batch", "plan", "deck", "carrier", "access"
GROUP, JURISDICTION = "group", "jurisdiction"
EXCHANGE, RATES = "exchange", "rates"
"""A kind of which there is one item, and its name."""
FLAGS, NUMBERING, KEY, ATTEMPTS = "flags", "numbering", "key", "attempts"
"""The kinds of items. ``flags`` are a batch's, ``numbering`` holds which card numbers are
whose, ``key`` the check values of keyrings, ``attempts`` that attempts are counted."""

Item = (
    Batch
    | Plan
    | Carrier
    | Deck
    | AccessNumber
    | BatchFlags
    | DestinationGroup
    | Jurisdiction
    | ExchangeRates
)
"""What is published."""

_PUBLISHED_AT = "published_at"
_DATED = BATCH, JURISDICTION
"""The kinds that keep when each version was published."""


def encode(item: Item) -> tuple[str, str, bytes]:
    """Return an item's kind, its name (decks and flags have none of their own), its bytes."""
    match item:
        case Batch():
            return BATCH, item.name, _dump(_batch_fields(item))
        case Plan():
            return PLAN, item.name, _dump(_plan_fields(item))
        case Carrier():
            return CARRIER, item.name, _dump(_carrier_fields(item))
        case ExchangeRates():
            return EXCHANGE, RATES, _dump(_exchange_fields(item))
        case BatchFlags():
            return FLAGS, "", _dump({"blocked": item.blocked, "frozen": item.frozen})
        case Jurisdiction():
            return JURISDICTION, item.name, _dump(jurisdiction_to_dict(item))
        case DestinationGroup():
            return GROUP, item.name, _dump(asdict(item))
        case AccessNumber():
            return ACCESS, item.number, _dump(_access_fields(item))
        case Deck():
            return DECK, "", item.to_bytes()
    raise TypeError(f"{type(item).__name__} is not kept in the catalogue")


def dated(kind: str, content: bytes, at: datetime) -> bytes:
    """Return what :func:`encode` wrote with when it is published, for the kinds that keep it."""
    if kind not in _DATED:
        return content
    return _json({**json.loads(content), _PUBLISHED_AT: to_micros(at)})


def undated(kind: str, content: bytes) -> bytes:
    """Return what :func:`encode` wrote, without when it was published."""
    return _json(_parted(content)[0]) if kind in _DATED else content


def published_at(content: bytes) -> datetime:
    """Return when a version of a batch or a jurisdiction was published."""
    return _parted(content)[1]


def _parted(content: bytes) -> tuple[dict[str, Any], datetime]:
    fields = json.loads(content)
    return fields, from_micros(fields.pop(_PUBLISHED_AT))


def decode(kind: str, content: bytes) -> Item:
    """Return the item that :func:`encode` wrote.

    Raises:
        SchemaTooNew: A later version of cardbill wrote it.
    """
    try:
        return _DECODERS[kind](content)
    except SchemaTooNew:
        raise
    except (ValueError, TypeError, LookupError, AttributeError):
        pass
    raise RowUnreadable(f"a {kind} in the catalogue cannot be read")


def _dump(fields: Mapping[str, Any]) -> bytes:
    return _json({"format": 1, **fields})


def _json(fields: Mapping[str, Any]) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode()


def _load(content: bytes) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(content)
    if fields.pop("format") != 1:
        raise SchemaTooNew("a catalogue item was written by a newer version of cardbill")
    fields.pop(_PUBLISHED_AT, None)
    return fields


def _batch_fields(batch: Batch) -> dict[str, Any]:
    return {
        "name": batch.name,
        "face_value": [batch.face_units, batch.currency],
        "quantity": batch.quantity,
        "effective_date": _day(batch.effective_date),
        "expiration_date": _day(batch.expiration_date),
        "expires_days_after_first_use": batch.expires_days_after_first_use,
        "taxable": batch.taxable,
        "tax_jurisdiction": batch.tax_jurisdiction,
        "tax_regions": batch.tax_regions and regions_to_list(batch.tax_regions),
        "exemptions": [exemption_to_list(exemption) for exemption in batch.exemptions],
        "pin_length": batch.pin_length,
        "pin_luhn": batch.pin_luhn,
        "card_numbers": batch.card_numbers,
        "first_use": batch.first_use.value,
        "validity": batch.validity.value,
        "sold_first": batch.sold_first,
        "time_zone": batch.time_zone,
        "plan": batch.plan,
    }


def _batch(content: bytes) -> Batch:
    fields = _load(content)
    regions = fields.get("tax_regions")
    return Batch(
        **{
            **fields,
            "face_value": _money(fields["face_value"]),
            "effective_date": _date(fields["effective_date"]),
            "expiration_date": _date(fields["expiration_date"]),
            "tax_regions": regions and regions_from_list(regions),
            "exemptions": [exemption_from_list(each) for each in fields.get("exemptions", ())],
        }
    )


def _plan_fields(plan: Plan) -> dict[str, Any]:
    minimum = None if plan.minimum_balance is None else [plan.minimum_units, plan.currency]
    return {
        "name": plan.name,
        "currency": plan.currency,
        "deck": plan.deck,
        "billing_cycle": cycle_to_list(plan.billing_cycle),
        "max_call_seconds": plan.max_call_seconds,
        "calls_at_once": plan.calls_at_once,
        "slice_seconds": plan.slice_seconds,
        "unreported_calls": plan.unreported_calls.value,
        "unauthorised_calls": plan.unauthorised_calls.value,
        "minimum_balance": minimum,
        "language": plan.language,
        "ani_limit": plan.ani_limit,
        "ani_confirm": plan.ani_confirm,
        "ani_rebind": plan.ani_rebind.value,
        "barred": plan.barred,
        "usage_limits": [limit_to_dict(limit) for limit in plan.usage_limits],
        "recharge_days": plan.recharge_days,
        "recharge_revives": plan.recharge_revives,
        "packages": [package_to_dict(package) for package in plan.packages],
        "charges": [charge_to_dict(charge) for charge in plan.charges],
        "routing": _routing_fields(plan.routing),
    }


def _plan(content: bytes) -> Plan:
    fields = _load(content)
    minimum = fields["minimum_balance"]
    return Plan(
        **{
            **fields,
            "billing_cycle": cycle_from_list(fields["billing_cycle"]),
            "usage_limits": [limit_from_dict(each) for each in fields.get("usage_limits", ())],
            "packages": [package_from_dict(each) for each in fields.get("packages", ())],
            "charges": [charge_from_dict(each) for each in fields.get("charges", ())],
            "minimum_balance": minimum and _money(minimum),
            "routing": _routing(fields.get("routing")),
        }
    )


def _routing_fields(routing: Routing) -> dict[str, Any]:
    minimum = None
    if routing.minimum_margin is not None:
        minimum = [routing.minimum_margin_units, routing.currency]
    return {
        "order": routing.order.value,
        "most_routes": routing.most_routes,
        "cost_weight": routing.cost_weight,
        "quality_weight": routing.quality_weight,
        "minimum_margin": minimum,
        "minimum_margin_percent": _decimal(routing.minimum_margin_percent),
    }


def _routing(fields: dict[str, Any] | None) -> Routing:
    if fields is None:
        return LEAST_COST
    minimum = fields["minimum_margin"]
    return Routing(**{**fields, "minimum_margin": minimum and _money(minimum)})


def _carrier_fields(carrier: Carrier) -> dict[str, Any]:
    return {
        "name": carrier.name,
        "deck": carrier.deck,
        "rewrites": dict(carrier.rewrites),
        "tech_prefix": carrier.tech_prefix,
        "capacity": carrier.capacity,
        "priority": carrier.priority,
        "weight": carrier.weight,
        "asr_percent": _decimal(carrier.asr_percent),
        "acd_seconds": carrier.acd_seconds,
        "blocked_prefixes": carrier.blocked_prefixes,
    }


def _carrier(content: bytes) -> Carrier:
    return Carrier(**_load(content))


def _exchange_fields(exchange: ExchangeRates) -> dict[str, Any]:
    return {
        "base": exchange.base,
        "rates": [
            [rate.currency, _decimal(rate.rate), micros_of(rate.effective_from)]
            for rate in exchange.rates
        ],
    }


def _exchange(content: bytes) -> ExchangeRates:
    fields = _load(content)
    rates = [
        ExchangeRate(currency, rate, effective_from=instant_of(since))
        for currency, rate, since in fields.pop("rates")
    ]
    return ExchangeRates(**fields, rates=rates)


def _flags(content: bytes) -> BatchFlags:
    return BatchFlags(**_load(content))


def _group(content: bytes) -> DestinationGroup:
    return DestinationGroup(**_load(content))


def _jurisdiction(content: bytes) -> Jurisdiction:
    return jurisdiction_from_dict(_load(content))


def _access_fields(access: AccessNumber) -> dict[str, Any]:
    return {
        "number": access.number,
        "stage": access.stage.value,
        "language": access.language,
        "dial_plan": access.dial_plan and _dial_plan_fields(access.dial_plan),
        "pin_length": access.pin_length,
        "kind": access.kind.value,
        "credential": access.credential.value,
        "cost": access.cost and rate_to_list(access.cost),
        "cost_currency": access.cost_currency,
    }


def _access(content: bytes) -> AccessNumber:
    fields = _load(content)
    plan = fields["dial_plan"]
    if plan is not None:
        lists = {name: tuple(value) for name, value in plan.items() if isinstance(value, list)}
        plan = DialPlan(**{**plan, **lists})
    cost = fields.get("cost")
    return AccessNumber(**{**fields, "dial_plan": plan, "cost": cost and rate_from_list(cost)})


def _dial_plan_fields(plan: DialPlan) -> dict[str, Any]:
    return {**asdict(plan), "check": plan.check.value}


_DECODERS: Mapping[str, Callable[[bytes], Item]] = {
    BATCH: _batch,
    PLAN: _plan,
    CARRIER: _carrier,
    FLAGS: _flags,
    ACCESS: _access,
    GROUP: _group,
    JURISDICTION: _jurisdiction,
    EXCHANGE: _exchange,
    DECK: Deck.from_bytes,
}


def _money(stored: list[Any]) -> Money:
    return money.money(*stored)


def _day(day: date | None) -> str | None:
    return None if day is None else day.isoformat()


def _date(stored: str | None) -> date | None:
    return None if stored is None else date.fromisoformat(stored)


def _decimal(number: Decimal | None) -> str | None:
    return None if number is None else f"{number:f}"
