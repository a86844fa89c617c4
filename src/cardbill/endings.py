"""What the end of a call charges: its record completed, at the terms of its hold.

Source: domain.md section 4.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from attrs import evolve

from cardbill import money
from cardbill.calls import CallRecord, Outcome, Report
from cardbill.callterms import Bill, BillKind, BillLine
from cardbill.holds import Hold, whole_seconds
from cardbill.taxes import Taxed

if TYPE_CHECKING:
    from cardbill.exchange import Quote
    from cardbill.routing import Route
    from cardbill.taxengines import TaxDecision


def settled(
    record: CallRecord,
    told: Report,
    route: Route | None,
    *,
    available: int,
    first: bool,
    decision: TaxDecision | None = None,
) -> CallRecord:
    """Return `record` completed by a report, at the terms of its hold.

    Never more than was granted is charged, nothing posted before is refunded, and what
    could not be collected is noted line by line: domain.md section 4.

    Args:
        record: Of a call that was granted, with what was posted for it before.
        told: What the switch said.
        route: Who carried it; ``None``: not known.
        available: Ledger units that may be charged now.
        first: No call of the card was billed before.
        decision: What the tax engine outside makes of it; ``None``: it was not asked.
    """
    hold = record.hold
    if hold is None:
        raise ValueError("a call that was never granted has no terms to rate it by")
    actual = whole_seconds(told.talk_ms)
    seconds = hold.charged_seconds(told.talk_ms)
    first = first or record.first
    due, whole = bills(hold, told, first=first, taxed=decision.taxed if decision else None)
    before = record.total_units
    more = min(max(0, min(due.total, hold.amount) - before), available)
    answered = hold.answer(told.answered_at)
    return evolve(
        record,
        **_posted(record, due, whole, more),
        outcome=Outcome.SETTLED,
        ended_at=told.ended_at or record.ended_at,
        report=told,
        seconds=seconds,
        first=record.first or (first and hold.terms.billed(seconds, answered)),
        tax_decision=decision,
        cost_units=carrier_cost(route, actual, answered),
        cost_quote=foreign(route, hold),
        carrier=told.carrier or (route.carrier if route and actual else None),
    )


def bills(hold: Hold, told: Report, *, first: bool, taxed: Taxed | None) -> tuple[Bill, Bill]:
    """Return what a call may be charged by its grant, and what it should have cost.

    Taxes from outside are those of what may be charged: what a call overran beyond its grant
    is never collected, so it bears none.

    Args:
        hold: The grant.
        told: What the switch said.
        first: It is the first billed call of its card.
        taxed: What it is taxed with; ``None``: as the terms of the hold say.
    """
    charged, actual = hold.charged_seconds(told.talk_ms), whole_seconds(told.talk_ms)
    due = hold.bill(charged, told.answered_at, first=first, taxed=taxed)
    if charged == actual:
        return due, due
    if taxed is not None:
        before, after = (
            hold.quoted(seconds, told.answered_at, first=first) for seconds in (charged, actual)
        )
        beyond = zip(taxed.nets, before, after, strict=True)
        nets = (net + more.amount - line.amount for net, line, more in beyond)
        taxed = Taxed(tuple(nets), taxed.taxes)
    return due, hold.bill(actual, told.answered_at, first=first, taxed=taxed)


def unreported(record: CallRecord, *, first: bool) -> CallRecord:
    """Return the record of a call whose hold expired, charged for what was reported so far."""
    hold = record.hold
    if hold is None:
        raise ValueError("a call that was never granted has no terms to rate it by")
    seconds = hold.unreported_seconds
    route, answered = hold.route(None), hold.answer(None)
    due = hold.bill(seconds, None, first=first)
    return evolve(
        record,
        **_posted(record, due, due, due.total),
        seconds=seconds,
        first=first and hold.terms.billed(seconds, answered),
        cost_units=carrier_cost(route, seconds, answered),
        cost_quote=foreign(route, hold),
        carrier=route.carrier if route and seconds else None,
    )


def _posted(record: CallRecord, due: Bill, whole: Bill, more: int) -> dict[str, Any]:
    """Return what a record says once `more` is posted: price first, then charges, then taxes.

    Args:
        record: With what was posted before.
        due: What may be charged.
        whole: What the call should have cost.
        more: Ledger units that are posted now.
    """
    rated = max(record.rated_units, due.rated)
    alone = len(due.lines) == len(whole.lines) == 1
    if alone and not record.lines and not due.draws:  # as most calls are
        price = record.price_units + more
        short = max(0, whole.lines[0].amount - price)
        return {"rated_units": rated, "price_units": price, "uncollected_units": short}
    before = {line[:2]: line.amount for line in record.posted}
    lines = {line[:2]: before.get(line[:2], 0) for line in (*due.lines, *record.posted)}
    for line in due.lines:
        taken = min(max(0, line.amount - lines[line[:2]]), more)
        lines[line[:2]] += taken
        more -= taken
    posted = tuple(BillLine(*key, amount) for key, amount in lines.items())
    missed = tuple(
        line._replace(amount=missing)
        for line in whole.lines
        if (missing := line.amount - lines.get(line[:2], 0)) > 0
    )
    plain = len(posted) == 1 and alone
    return {
        "rated_units": rated,
        "price_units": posted[0].amount,
        "tax_units": sum(line.amount for line in posted if line.kind is BillKind.TAX),
        "lines": () if plain else posted,
        "uncollected_units": sum(line.amount for line in missed),
        "short": () if plain else missed,
        "draws": due.draws,
    }


def carrier_cost(route: Route | None, seconds: int, answered_at: datetime) -> int | None:
    """Return what a call costs by a route, in its own currency; ``None``: that is not known.

    A cost that no ledger can hold counts as unknown: a carrier's absurd price must not
    keep the card's call from settling.
    """
    if seconds == 0:
        return 0
    cost = None if route is None else route.cost(seconds, answered_at)
    return cost if cost is None or cost <= money.MAX_UNITS else None


def foreign(route: Route | None, hold: Hold) -> Quote | None:
    """Return what a route's currency was worth; ``None``: it is the card's, or unknown."""
    return None if route is None or route.quote == hold.quote else route.quote
