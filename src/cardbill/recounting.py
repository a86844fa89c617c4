"""How an ended call came to its price: from what the switch reported to what was posted.

Source: domain.md sections 3, 4 and 7.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from attrs import evolve, frozen

from cardbill.calls import CallRecord
from cardbill.callterms import Bill, BillKind
from cardbill.catalogue import Snapshot
from cardbill.explaining import Explanation, Line, LineKind, decimal_text, explain, table
from cardbill.holds import Hold, whole_seconds
from cardbill.packages import Unit


@frozen(kw_only=True)
class RecordExplanation:
    """An ended call, explained.

    Attributes:
        record: The call.
        talk: How what was reported became the talk time that is charged.
        rated: How the price of that talk time comes about; ``None``: the call was never
            granted, and has no terms.
        posted: From there to what was posted: :attr:`CallRecord.total_units`.
        uncollected: What it should have cost beyond that.
        cost: How the carrier's price comes about, in its own currency; ``None``: it is not
            known who carried it, or by other terms than were granted.
        margin: Price before tax less cost and access cost, in the base currency; ``None``: a
            cost is not known.
    """

    record: CallRecord
    talk: tuple[Line, ...]
    rated: Explanation | None
    posted: Explanation
    uncollected: Explanation
    cost: Explanation | None
    margin: Explanation | None

    def table(self) -> str:
        """Return all of it as a short text for people."""
        return "\n".join(_told(self))

    def __str__(self) -> str:
        return self.table()

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it; amounts are in ledger units, 10^-6 of the currency."""
        record, hold = self.record, self.record.hold
        return {
            "call_id": record.call_id,
            "card_id": record.card_id,
            "outcome": record.outcome.value,
            "number": record.number,
            "destination": record.destination,
            "deck": hold and hold.deck,
            "deck_version": hold and hold.deck_version,
            "prefix": hold and hold.prefix,
            "plan": hold and hold.plan,
            "granted_at": hold and hold.granted_at.isoformat(),
            "answered_at": record.answered_at and record.answered_at.isoformat(),
            "carrier": record.carrier,
            "late": record.late,
            "talk": [line.as_dict() for line in self.talk],
            "rated": self.rated and self.rated.as_dict(),
            "posted": self.posted.as_dict(),
            "uncollected": self.uncollected.as_dict(),
            "cost": self.cost and self.cost.as_dict(),
            "margin": self.margin and self.margin.as_dict(),
        }


def explain_record(record: CallRecord, shelf: Snapshot) -> RecordExplanation:
    """Return how a call came to its price; the catalogue names the bands of its deck."""
    hold, currency = record.hold, record.currency
    rated = None if hold is None else _rated(record, hold, shelf)
    posted = () if hold is None or rated is None else tuple(_posted(record, hold, rated.units))
    margin = None
    if (cost := record.base_cost_units) is not None and record.margin_units is not None:
        margin = Explanation("Margin", tuple(_margin(record, cost)), record.base_currency)
    return RecordExplanation(
        record=record,
        talk=tuple(_talk(record)),
        rated=rated,
        posted=Explanation("Posted", posted, currency),
        uncollected=Explanation("Uncollected", tuple(_uncollected(record)), currency),
        cost=None if hold is None else _cost(record, hold),
        margin=margin,
    )


def _talk(record: CallRecord) -> Iterator[Line]:
    hold, told = record.hold, record.report
    if told is not None:
        yield Line(kind=LineKind.TALK, text="Reported talk time", quantity=told.talk_ms, unit="ms")
    elif hold is not None:
        yield Line(
            kind=LineKind.TALK,
            text="Reported while it lasted; its end never was",
            quantity=hold.used_seconds,
            unit="s",
        )
    if hold is not None and hold.max_seconds is not None:
        yield Line(
            kind=LineKind.GRANTED, text="Granted at most", quantity=hold.max_seconds, unit="s"
        )
    yield Line(
        kind=LineKind.TALK,
        text="Charged, in whole seconds begun",
        quantity=record.seconds,
        unit="s",
    )


def _rated(record: CallRecord, hold: Hold, shelf: Snapshot) -> Explanation:
    bands = None
    if hold.tariff.changes:
        bands = shelf.deck(hold.deck, hold.deck_version).bands
    return explain(
        hold.terms.rating,
        record.seconds,
        answered_at=hold.answer(record.answered_at),
        bands=bands,
        currency=record.currency,
    )


def bill_lines(bill: Bill, rated: int) -> Iterator[Line]:
    """Yield how a rated price, in ledger units, becomes what the card's money pays."""
    yield Line(kind=LineKind.PRICE, text="Rated price", amount=rated)
    if bill.rated != rated:
        text = "A package of calls covers it"
        yield Line(kind=LineKind.PACKAGE, text=text, amount=bill.rated - rated)
    paid = sum(draw.units for draw in bill.draws if draw.unit is Unit.MONEY)
    if paid:
        yield Line(kind=LineKind.PACKAGE, text="Paid by a package of money", amount=-paid)
    if inside := bill.lines[0].amount - bill.rated + paid:
        yield Line(kind=LineKind.TAX, text="Taxes that it contains, told below", amount=inside)
    for line in bill.lines[1:]:
        kind = LineKind.CHARGE if line.kind is BillKind.CHARGE else LineKind.TAX
        yield Line(kind=kind, text=line.name, amount=line.amount)


def _posted(record: CallRecord, hold: Hold, rated: int) -> Iterator[Line]:
    due = hold.bill(record.seconds, record.answered_at, first=record.first, taxed=record.taxed)
    yield from bill_lines(due, rated)
    collectable = min(due.total, hold.amount)
    if collectable < due.total:
        text = "More than was held: the answer came later than a grant reckons with"
        yield Line(kind=LineKind.HELD, text=text, amount=collectable - due.total)
    if record.total_units < collectable:
        text = "There was no money left for"
        yield Line(kind=LineKind.SHORT, text=text, amount=record.total_units - collectable)
    elif record.total_units > collectable:
        text = "Charged before the report came; nothing is refunded"
        yield Line(kind=LineKind.POSTED, text=text, amount=record.total_units - collectable)


def _uncollected(record: CallRecord) -> Iterator[Line]:
    if record.uncollected_units:
        seconds = _actual_seconds(record)
        should = record.uncollected_units + record.total_units
        text = "Price of the talk time as reported"
        yield Line(kind=LineKind.PRICE, text=text, quantity=seconds, unit="s", amount=should)
        yield Line(kind=LineKind.POSTED, text="Posted", amount=-record.total_units)


def _cost(record: CallRecord, hold: Hold) -> Explanation | None:
    route = hold.route(record.carrier)
    if route is None or record.cost_units is None:
        return None
    cost = explain(
        route.tariff,
        _actual_seconds(record),
        answered_at=hold.answer(record.answered_at),
        currency=route.currency,
    )
    return evolve(cost, title="Cost")


def _margin(record: CallRecord, cost: int) -> Iterator[Line]:
    price, base = record.base_price_units, record.base_currency
    text = "Posted, before tax" + _converted(record.price_units, record.currency, base)
    yield Line(kind=LineKind.POSTED, text=text, amount=price)
    text = f"Cost of carrier {record.carrier}" if record.carrier else "Cost"
    text += _converted(record.cost_units or 0, record.cost_currency, base)
    yield Line(kind=LineKind.COST, text=text, amount=-cost)
    if access := record.base_access_units:
        leg, units = record.hold and record.hold.access_leg, record.access_cost_units
        text = "Cost of the access number"
        text += _converted(units or 0, leg.currency if leg else base, base)
        yield Line(kind=LineKind.COST, text=text, amount=-access)


def _converted(units: int, currency: str, base: str) -> str:
    return "" if currency == base else f": {decimal_text(units)} {currency}, converted once"


def _actual_seconds(record: CallRecord) -> int:
    """Return the talk time that the carrier charges: as reported, not as charged."""
    return record.seconds if record.report is None else whole_seconds(record.report.talk_ms)


# -- on paper -----------------------------------------------------------------------------


def _told(told: RecordExplanation) -> Iterator[str]:
    record, hold = told.record, told.record.hold
    yield f"Call {record.call_id} of card {record.card_id}: {record.outcome.value}" + (
        ", reported late" if record.late else ""
    )
    if hold is not None:
        where = f"{hold.destination}, prefix" if hold.destination else "prefix"
        number = f"+{hold.number}" if hold.number else "a number since purged"
        yield f"To {number}, {where} {hold.prefix}"
        yield f"Plan {hold.plan}; deck {hold.deck}, version {hold.deck_version}"
        yield f"Granted at {hold.granted_at.isoformat(timespec='seconds')}"
    rows = [(line.text, line.measure, None) for line in told.talk]
    yield table(rows)
    for part in (told.rated, told.posted, told.uncollected, told.cost, told.margin):
        if part is not None and part.lines:
            yield ""
            yield part.table()
