"""A call explained before it is made: which row rates it, what it costs, who would carry it.

The answer at the end is that of the very decision an authorization takes, on a card that
is never stored. Source: domain.md sections 3, 4 and 7.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from attrs import evolve, frozen

from cardbill import money
from cardbill.answers import Denied, Grant
from cardbill.authorization import decide, first_use
from cardbill.bands import DAY_SECONDS
from cardbill.batches import Batch
from cardbill.cards import Card
from cardbill.catalogue import Snapshot
from cardbill.catalogueitems import DECK
from cardbill.decks import Deck, DeckRow, Match
from cardbill.explaining import Explanation, decimal_text, explain
from cardbill.holds import LimitedBy, limiting
from cardbill.names import check_count
from cardbill.plans import Plan
from cardbill.reach import (
    CallRequest,
    access_leg,
    call_terms,
    cap_of,
    plan_of,
    routes_of,
    spendable,
)
from cardbill.recounting import bill_lines
from cardbill.routing import Refused, Route
from cardbill.tariffs import LONGEST_SPLIT_SECONDS

if TYPE_CHECKING:
    from moneyed import Money

KNOWN_SECONDS = LONGEST_SPLIT_SECONDS + DAY_SECONDS
"""How far ahead the rates of a call are looked up, should it last as long as any may."""


class PassedOver(NamedTuple):
    """A row of the deck that begins the number and does not rate it.

    Attributes:
        row: The row.
        reason: ``not_yet`` or ``no_longer`` in force, ``other_band``, ``any_band`` (a row for
            the band in force goes before), ``earlier`` (one with a later effective-from does)
            or ``shorter`` (a longer prefix does).
    """

    row: DeckRow
    reason: str


class Offer(NamedTuple):
    """A way to carry the call, with what it costs and brings in.

    Attributes:
        route: The carrier, the number to send it, the row of its deck.
        cost: How the carrier's price comes about, in its own currency.
        margin_units: Price less cost and access cost, each converted once, in ledger units.
        margin_currency: The base currency's ISO 4217 code.
    """

    route: Route
    cost: Explanation
    margin_units: int
    margin_currency: str

    @property
    def margin(self) -> Money:
        """Price less cost and access cost, in the base currency."""
        return money.money(self.margin_units, self.margin_currency)


@frozen(kw_only=True)
class CallExplanation:
    """What is known of a call before it is made; nothing was changed to know it.

    Attributes:
        dialled: The number as dialled.
        number: E.164 digits; ``None``: what was dialled is no number.
        at: The instant.
        currency: ISO 4217 code.
        plan, plan_version: The plan; empty and 0: none is assigned.
        deck, deck_version: The deck that prices its calls; empty and 0: none.
        row: The row of the deck that rates the number; ``None``: there is none.
        passed_over: The rows that begin the number too, and why each does not count.
        seconds: The talk time that was asked about.
        price: How its price comes about, answered at once; ``None``: it has none.
        bill: From there to what the card would pay: packages, charges, taxes; ``None``: as above.
        available_units: What the call may cost, in ledger units; ``None``: not said.
        max_seconds: How long that lasts; 0: no call; ``None``: without end, or not said.
        limited_by: Why no longer.
        routes: Who would carry it, in the order to try them.
        refused_routes: Carriers left out, with reasons.
        denied: Why the call would not be granted; ``None``: it would be.
    """

    dialled: str
    number: str | None
    at: datetime
    currency: str
    plan: str = ""
    plan_version: int = 0
    deck: str = ""
    deck_version: int = 0
    row: DeckRow | None = None
    passed_over: tuple[PassedOver, ...] = ()
    seconds: int
    price: Explanation | None = None
    bill: Explanation | None = None
    available_units: int | None
    max_seconds: int | None = None
    limited_by: LimitedBy | None = None
    routes: tuple[Offer, ...] = ()
    refused_routes: tuple[Refused, ...] = ()
    denied: Denied | None = None

    @property
    def granted(self) -> bool:
        """Whether the call would be granted."""
        return self.denied is None

    @property
    def available(self) -> Money | None:
        """What the call may cost; ``None``: not said."""
        units = self.available_units
        return None if units is None else money.money(units, self.currency)

    def table(self) -> str:
        """Return all of it as a short text for people."""
        return "\n".join(_told(self))

    def __str__(self) -> str:
        return self.table()

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it; amounts are in ledger units, 10^-6 of the currency."""
        return {
            "dialled": self.dialled,
            "number": self.number,
            "at": self.at.isoformat(),
            "currency": self.currency,
            "plan": self.plan,
            "plan_version": self.plan_version,
            "deck": self.deck,
            "deck_version": self.deck_version,
            "row": self.row and _plain_row(self.row),
            "passed_over": [
                {**_plain_row(row), "reason": reason} for row, reason in self.passed_over
            ],
            "seconds": self.seconds,
            "price": self.price and self.price.as_dict(),
            "bill": self.bill and self.bill.as_dict(),
            "available_units": self.available_units,
            "max_seconds": self.max_seconds,
            "limited_by": self.limited_by and self.limited_by.value,
            "routes": [
                {
                    "carrier": route.carrier,
                    "number": route.number,
                    "prefix": route.prefix,
                    "cost": cost.as_dict(),
                    "margin_units": margin,
                    "margin_currency": currency,
                }
                for route, cost, margin, currency in self.routes
            ],
            "refused_routes": [
                {"carrier": carrier, "reason": reason} for carrier, reason in self.refused_routes
            ],
            "denied": self.denied
            and {
                "reason": self.denied.reason.value,
                "detail": self.denied.detail,
                "prompt": self.denied.prompt,
            },
        }


@frozen(kw_only=True)
class Asked:
    """What somebody wants explained.

    Attributes:
        dialled: The number as dialled.
        request: The call, as an authorization is asked for it.
        seconds: Talk time, up to 31 days.
        available: What the call may cost: an amount; ``None``: what the card holds.
    """

    dialled: str
    request: CallRequest
    seconds: int
    available: object = None

    def __attrs_post_init__(self) -> None:
        check_count("seconds", self.seconds, 0, LONGEST_SPLIT_SECONDS)


def any_batch(name: str, shelf: Snapshot) -> Batch:
    """Return a batch of no name in particular, whose cards have that plan."""
    currency = shelf.plan(name).currency
    face = money.money(money.coin(currency), currency)
    return Batch(name="any", face_value=face, quantity=1, plan=name)


def for_plan(asked: Asked, name: str, shelf: Snapshot, at: datetime) -> CallExplanation:
    """Return what a plan makes of a call, whichever card makes it."""
    terms = any_batch(name, shelf)
    card = evolve(fresh(terms, money.MAX_UNITS), batch="")  # nobody has blocked that one
    told = _explained(asked, card, terms, shelf, at)
    if asked.available is not None:
        return told
    return evolve(told, available_units=None, max_seconds=None, limited_by=None)


def for_batch(asked: Asked, name: str, shelf: Snapshot, at: datetime) -> CallExplanation:
    """Return what becomes of a call with a fresh card of a batch."""
    terms = shelf.batch(name)
    return _explained(asked, fresh(terms, terms.face_units), terms, shelf, at)


def for_card(asked: Asked, card: Card, shelf: Snapshot, at: datetime) -> CallExplanation:
    """Return what becomes of a call with a card that has caught up with `at`.

    The card is changed as a grant changes it, and must not be stored.
    """
    return _explained(asked, card, shelf.batch(card.batch), shelf, at)


def fresh(batch: Batch, units: int) -> Card:
    """Return a card of a batch as it is sold; no store has it."""
    return Card(
        id="",
        batch=batch.name,
        serial=0,
        currency=batch.currency,
        face=units,
        balance=units,
        sold=True,
        expires_at=batch.expires_at,
    )


def _explained(
    asked: Asked, card: Card, batch: Batch, shelf: Snapshot, at: datetime
) -> CallExplanation:
    request = asked.request
    if asked.available is not None:
        units = money.units("available", asked.available, card.currency)
        card.balance = card.held + check_count("available", units, 0, money.MAX_UNITS - card.held)
    told = CallExplanation(
        dialled=asked.dialled,
        number=request.number,
        at=at,
        currency=card.currency,
        seconds=asked.seconds,
        available_units=card.available,
    )
    if batch.plan is not None or card.plan is not None:
        plan, version = plan_of(card, batch, shelf)
        deck, deck_version = shelf.deck(plan.deck), shelf.version(DECK, plan.deck)
        told = evolve(
            told, plan=plan.name, plan_version=version, deck=plan.deck, deck_version=deck_version
        )
        if request.number is not None:
            match = deck.match(request.number, at)
            told = _found(told, request.number, match, deck)
            if match is not None and not match.blocked:
                # On what the first use gives and takes; the decision below begins anew.
                facts = card.facts()
                if not card.in_use:
                    first_use(card, batch, shelf, at)
                told = _offered(told, request, match, card, batch, plan, shelf)
                card.put_back(facts)
    answer = decide(card, request, batch, shelf, at)  # the last step: it changes the card
    if isinstance(answer, Grant):
        return told
    nobodys = evolve(answer, card_id=card.id or None)
    return evolve(told, denied=nobodys)


def _found(told: CallExplanation, number: str, match: Match | None, deck: Deck) -> CallExplanation:
    """Add the row that rates the number, and those that do not."""
    band = deck.bands.name_at(told.at)
    rows = list(deck.candidates(number))
    ours = (row for row in rows if match and _in_force(row, told.at) and _same(row, match))
    row = next(ours, None)
    passed = tuple(
        PassedOver(other, _reason(other, row, band, told.at)) for other in rows if other is not row
    )
    return evolve(told, row=row, passed_over=passed)


def _same(row: DeckRow, match: Match) -> bool:
    return (row.prefix, row.band) == (match.prefix, match.band)


def _in_force(row: DeckRow, at: datetime) -> bool:
    begun = row.effective_from is None or row.effective_from <= at
    return begun and (row.effective_until is None or at < row.effective_until)


def _reason(row: DeckRow, chosen: DeckRow | None, band: str, at: datetime) -> str:
    """Return why a row does not rate a number that its prefix begins."""
    if row.effective_from is not None and at < row.effective_from:
        return "not_yet"
    if not _in_force(row, at):
        return "no_longer"
    if row.band not in ("", band) or chosen is None:
        return "other_band"
    if len(row.prefix) < len(chosen.prefix):
        return "shorter"
    return "earlier" if row.band == chosen.band else "any_band"


def _offered(
    told: CallExplanation,
    request: CallRequest,
    match: Match,
    card: Card,
    batch: Batch,
    plan: Plan,
    shelf: Snapshot,
) -> CallExplanation:
    """Add what the call costs, how long the money lasts, and who would carry it."""
    at, number, deck = told.at, told.number or "", shelf.deck(plan.deck)
    tariff = deck.tariff(match, number, at, KNOWN_SECONDS)
    terms = call_terms(card, batch, plan, request, number, shelf, at)(tariff)
    price = explain(
        terms.rating, told.seconds, answered_at=at, bands=deck.bands, currency=told.currency
    )
    due = terms.bill(told.seconds, at, first=not card.answered)
    bill = Explanation("Bill", tuple(bill_lines(due, price.units)), told.currency)
    cap = cap_of(card, batch, plan, at)
    available, of_money = spendable(card, plan, at)
    limit = terms.longest(available, cap[0], at)
    longest = 0 if tariff.is_unpaid(limit, at) else limit.seconds
    found, refused = routes_of(
        request, number, plan, tariff, longest or None, told.currency, shelf, at, KNOWN_SECONDS
    )
    return evolve(
        told,
        price=price,
        bill=bill,
        available_units=available,
        max_seconds=longest,
        limited_by=limiting(limit, *cap, of_money),
        routes=tuple(_offer(route, told, price, request.access, shelf) for route in found),
        refused_routes=refused,
    )


def _offer(
    route: Route, told: CallExplanation, price: Explanation, access: str | None, shelf: Snapshot
) -> Offer:
    cost = explain(route.tariff, told.seconds, answered_at=told.at, currency=route.currency)
    own = shelf.exchange(told.currency).quote(told.currency, told.at)
    assert own is not None  # noqa: S101  # there is no route for a card of unknown worth
    margin = own.in_base(price.units) - route.quote.in_base(cost.units)
    leg = access_leg(access, told.currency, shelf, told.at)
    if leg is not None and leg.quote is not None:
        margin -= leg.quote.in_base(leg.cost(told.seconds) or 0)
    return Offer(route, evolve(cost, title="Cost"), margin, own.base)


def _plain_row(row: DeckRow) -> dict[str, Any]:
    begin, end = row.effective_from, row.effective_until
    return {
        "prefix": row.prefix,
        "destination": row.destination,
        "band": row.band,
        "blocked": row.blocked,
        "effective_from": begin and begin.isoformat(),
        "effective_until": end and end.isoformat(),
    }


# -- on paper -----------------------------------------------------------------------------

_REASONS = {
    "not_yet": "not in force yet",
    "no_longer": "no longer in force",
    "other_band": "for another time band",
    "any_band": "there is a row for this time band",
    "earlier": "a later effective-from goes before",
    "shorter": "a longer prefix goes before",
}


def _told(told: CallExplanation) -> Iterator[str]:
    called = "no number" if told.number is None else f"+{told.number}"
    yield f"Dialled {told.dialled}: {called}, at {told.at.isoformat(timespec='seconds')}"
    if told.plan:
        yield f"Plan {told.plan}, version {told.plan_version}"
        yield f"Deck {told.deck}, version {told.deck_version}"
    if told.row is not None:
        yield f"Rated by {_row_text(told.row)}"
    for row, reason in told.passed_over:
        yield f"Passed over: {_row_text(row)}: {_REASONS[reason]}"
    if told.price is not None:
        yield told.price.table()
        if told.bill is not None and len(told.bill.lines) > 1:
            yield told.bill.table()
        yield from _lasting(told)
    for rank, (route, cost, margin, currency) in enumerate(told.routes, start=1):
        yield (
            f"Route {rank}: {route.carrier}, prefix {route.prefix}: cost "
            f"{decimal_text(cost.units)} {cost.currency}, margin {decimal_text(margin)} {currency}"
        )
    for carrier, reason in told.refused_routes:
        yield f"No route by {carrier}: {reason}"
    if told.denied is not None:
        detail = f" ({told.denied.detail})" if told.denied.detail else ""
        yield f"Denied: {told.denied.reason.value}{detail}"
    else:
        yield "Granted"


def _lasting(told: CallExplanation) -> Iterator[str]:
    if told.available_units is None:
        return
    lasts = "without end" if told.max_seconds is None else f"for {told.max_seconds:,} s"
    by = "" if told.limited_by is None else f", limited by {told.limited_by.value}"
    yield f"{decimal_text(told.available_units)} {told.currency} last {lasts}{by}"


def _row_text(row: DeckRow) -> str:
    parts = [f"prefix {row.prefix}", row.destination, row.band and f"band {row.band}"]
    for word, instant in (("from", row.effective_from), ("until", row.effective_until)):
        parts.append(f"{word} {instant.isoformat(timespec='seconds')}" if instant else "")
    parts.append("blocked" if row.blocked else "")
    return ", ".join(part for part in parts if part)
