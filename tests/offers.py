"""Carriers' offers, and how routes over them are asked for."""

from datetime import UTC, datetime, timedelta
from typing import Any

from cardbill.carriers import Carrier
from cardbill.decks import Deck, DeckRow
from cardbill.rating import rate
from cardbill.routing import Refused, Route, Routing, routes
from cardbill.tariffs import Tariff

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
MIAMI = "13055551234"

SELL = Tariff(rate("0.10"))

Offer = tuple[Carrier, Deck]


def row(prefix: str, per_minute: object = "0.01", **more: object) -> DeckRow:
    known = {"blocked", "effective_from", "effective_until"}
    terms = {name: value for name, value in more.items() if name not in known}
    rest = {name: value for name, value in more.items() if name in known}
    return DeckRow(prefix=prefix, rate=rate(per_minute, **terms), **rest)  # type: ignore[arg-type]


def offer(name: str, *rows: DeckRow, currency: str = "USD", **terms: Any) -> Offer:
    carrier = Carrier(name=name, deck=f"{name}-cost", **terms)
    return carrier, Deck.compile(rows or [row("1")], currency=currency)


def route(
    *offers: Offer,
    number: str = MIAMI,
    seconds: int | None = None,
    at: datetime = NOW,
    **more: Any,
) -> tuple[tuple[Route, ...], tuple[Refused, ...]]:
    given_terms: dict[str, Any] = {"sell": SELL, "currency": "USD", **more}
    return routes(offers, number, at, seconds=seconds, **given_terms)


def order(
    *offers: Offer,
    by: str = "cost",
    number: str = MIAMI,
    seconds: int | None = None,
    call_id: str = "",
    **policy: Any,
) -> list[str]:
    chosen = Routing(order=by, **policy)
    found, refused = route(*offers, number=number, seconds=seconds, policy=chosen, call_id=call_id)
    assert refused == ()
    return [one.carrier for one in found]


def reasons(*offers: Offer, **more: Any) -> dict[str, str]:
    return {one.carrier: one.reason for one in route(*offers, **more)[1]}
