"""How far a call reaches: what it is billed by, how long it may last, who may carry it.

All that a decision on a call finds out before any money is held for it; nothing here changes
a card. Source: domain.md sections 3, 4 and 7.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from attrs import field, frozen

from cardbill.accesscost import AccessLeg
from cardbill.answers import Credential, Denied
from cardbill.bands import DAY_SECONDS
from cardbill.buckets import offered
from cardbill.callterms import CallCharge, CallTerms
from cardbill.catalogue import Snapshot
from cardbill.catalogueitems import PLAN
from cardbill.charges import OF_A_CALL, Charge, Trigger
from cardbill.denials import Denial
from cardbill.holds import LimitedBy, limiting
from cardbill.routing import Refused, Route, routes
from cardbill.tariffs import LONGEST_SPLIT_SECONDS, Tariff

if TYPE_CHECKING:
    from cardbill.batches import Batch
    from cardbill.cards import Card
    from cardbill.decks import Deck, Match
    from cardbill.exchange import Quote
    from cardbill.plans import Plan
    from cardbill.rating import Limit

A_CHARGE_WAITS = "a charge waits for an open call to end"
"""Why what is available is not to be had: it is less than that charge, which comes first."""
_AHEAD = (2 * DAY_SECONDS, 8 * DAY_SECONDS, LONGEST_SPLIT_SECONDS + DAY_SECONDS)


@frozen(kw_only=True)
class CallRequest:
    """What a host asks leave for.

    Attributes:
        call_id: The host's id, one per attempt.
        number: E.164 digits; ``None``: what was dialled is no number.
        problem: What is wrong with it then, without its digits.
        access: The access number it came in on, where told.
        ani: The caller's number as far as it is one.
        credentials: The (kind, token) pairs of which one must open the card.
        busy: How many calls carriers have now, by name, as far as the host tells; no part of
            what makes two requests the same.
    """

    call_id: str
    number: str | None
    problem: str = ""
    access: str | None = None
    ani: str | None = None
    credentials: Sequence[Credential] = field(repr=False)
    busy: Mapping[str, int] = field(factory=dict)


@frozen(kw_only=True)
class Reach:
    """How far a call would reach that is not denied.

    Attributes:
        match: The row of the deck that rates it.
        terms: What it is billed by.
        seconds: The longest it may ever last; ``None``: without end.
        limited_by: Why no longer; ``None``: without end.
        cap_seconds, capped_by: The longest for other reasons than money, and which.
        routes, refused: Who may carry it, and who may not.
        quote: What the card's currency is worth.
    """

    match: Match
    terms: CallTerms
    seconds: int | None
    limited_by: LimitedBy | None
    cap_seconds: int | None
    capped_by: LimitedBy | None
    routes: tuple[Route, ...]
    refused: tuple[Refused, ...]
    quote: Quote


def reach(
    card: Card, request: CallRequest, number: str, batch: Batch, shelf: Snapshot, at: datetime
) -> Reach | Denied:
    """Return how far a call reaches now, or why it cannot be made; the order is fixed.

    The card is usable and in use.
    """

    def denied(reason: Denial, detail: str = "") -> Denied:
        return Denied(reason=reason, detail=detail, card_id=card.id)

    plan, _ = plan_of(card, batch, shelf)
    if card.waiting:
        return denied(Denial.INSUFFICIENT_BALANCE, A_CHARGE_WAITS)
    if len(card.holds) >= plan.calls_at_once:
        return denied(Denial.TOO_MANY_CALLS, f"{len(card.holds)} open")
    if reached := calls_reached(card, plan, at):
        return denied(Denial.LIMIT_REACHED, reached)
    deck = shelf.deck(plan.deck)
    match = deck.match(number, at)
    if match is None:
        return denied(Denial.NO_RATE)
    if match.blocked:
        return denied(Denial.DESTINATION_BARRED, f"prefix {match.prefix}")
    if barred := shelf.among(plan.barred, number):
        return denied(Denial.DESTINATION_BARRED, f"{barred} is barred by the plan")
    if card.available < plan.minimum_units:
        return denied(Denial.BELOW_MINIMUM)
    cap, capped_by = cap_of(card, batch, plan, at)
    if cap == 0:
        return denied(Denial.EXPIRED, "less than a second is left")
    ahead = _AHEAD if plan.slice_seconds is None else _AHEAD[-1:]  # slices may come to any length
    complete = call_terms(card, batch, plan, request, number, shelf, at)
    available, of_money = spendable(card, plan, at)
    terms, limit = _offer(deck, match, number, at, complete, available, cap, ahead)
    if terms.tariff.is_unpaid(limit, at):
        if of_money is LimitedBy.SPENDING:
            return denied(Denial.LIMIT_REACHED, "the plan's limit of spending")
        return denied(Denial.INSUFFICIENT_BALANCE)
    whole = limit.seconds
    found, refused = routes_of(
        request, number, plan, terms.tariff, whole, card.currency, shelf, at, _overrun(whole)
    )
    own = shelf.exchange(card.currency).quote(card.currency, at)
    if not found or own is None:
        why = ", ".join(f"{carrier}: {reason}" for carrier, reason in refused)
        return denied(Denial.NO_ROUTE, why or "no carriers")
    return Reach(
        match=match,
        terms=terms,
        seconds=whole,
        limited_by=limiting(limit, cap, capped_by, of_money),
        cap_seconds=cap,
        capped_by=capped_by,
        routes=found,
        refused=refused,
        quote=own,
    )


def calls_reached(card: Card, plan: Plan, at: datetime) -> str:
    """Return which of the plan's limits of calls is reached, in words; empty: none."""
    for limit in plan.usage_limits:
        begun = sum(slot[1] for slot in limit.past(card.usage.get(limit.hours, ()), at))
        if limit.calls is not None and begun >= limit.calls:
            return f"{begun} calls within {limit.hours} h"
    return ""


def spendable(card: Card, plan: Plan, at: datetime) -> tuple[int, LimitedBy]:
    """Return what calls may cost beside what is held already, and whether money limits it."""
    left, by = card.available, LimitedBy.MONEY
    for limit in plan.usage_limits:
        if (most := limit.spend_units(plan.currency)) is None:
            continue
        spent = sum(slot[2] for slot in limit.past(card.usage.get(limit.hours, ()), at))
        allowed = max(0, most - spent - card.held)
        if allowed < left:
            left, by = allowed, LimitedBy.SPENDING
    return left, by


def plan_of(card: Card, batch: Batch, shelf: Snapshot) -> tuple[Plan, int]:
    """Return the plan a card is pinned to, or would be pinned to now."""
    if card.plan is not None:
        name, version = card.plan
        return shelf.plan(name, version), version
    name = batch.plan or ""
    return shelf.plan(name), shelf.version(PLAN, name)


def cap_of(
    card: Card, batch: Batch, plan: Plan, at: datetime
) -> tuple[int | None, LimitedBy | None]:
    """Return the most seconds a call may last for other reasons than money, and which."""
    expires_at = _expiry(card, batch, at)
    cap, by = plan.max_call_seconds, LimitedBy.PLAN
    if expires_at is not None:
        left = max(0, (expires_at - at) // timedelta(seconds=1))
        if cap is None or left < cap:
            cap, by = left, LimitedBy.EXPIRY
    return cap, None if cap is None else by


def _expiry(card: Card, batch: Batch, at: datetime) -> datetime | None:
    """Return when the card will have expired at the earliest, if it is used now."""
    used = card.first_used_at is not None and not card.awaits_answer
    return card.expires_at if used else batch.expiry_after(at)


def call_terms(
    card: Card,
    batch: Batch,
    plan: Plan,
    request: CallRequest,
    number: str,
    shelf: Snapshot,
    at: datetime,
) -> Callable[[Tariff], CallTerms]:
    """Return how a tariff becomes the terms of a call: with charges, taxes and buckets."""
    charges = tuple(
        CallCharge(
            charge.name,
            charge.units,
            charge.parts,
            charge.taxable,
            charge.trigger is Trigger.FIRST_ANSWER,
        )
        for charge in plan.charges
        if charge.trigger in OF_A_CALL
        and charge.effective(at)
        and not (card.answered and charge.trigger is Trigger.FIRST_ANSWER)
        and _applies(charge, request.access, number, shelf)
    )
    buckets = [
        bucket
        for bucket in card.buckets.values()
        if not bucket.destinations or shelf.among(bucket.destinations, number)
    ]
    draws = tuple(draw for hold in card.holds.values() for draw in hold.terms.draws)
    return partial(
        CallTerms,
        charges=charges,
        taxes=shelf.taxes(batch, at, caller=request.ani, called=number),
        draws=offered(buckets, draws, at),
    )


def _applies(charge: Charge, access: str | None, number: str, shelf: Snapshot) -> bool:
    """Say whether a charge is for a call to that number, by that access number."""
    if charge.access and access not in charge.access:
        return False
    if charge.access_kinds and (
        access is None or shelf.access(access).kind not in charge.access_kinds
    ):
        return False
    return not charge.destinations or bool(shelf.among(charge.destinations, number))


def routes_of(
    request: CallRequest,
    number: str,
    plan: Plan,
    tariff: Tariff,
    whole: int | None,
    currency: str,
    shelf: Snapshot,
    at: datetime,
    lasting: int,
) -> tuple[tuple[Route, ...], tuple[Refused, ...]]:
    """Return who may carry a call that lasts so long at most, and who may not.

    The carriers' rates are looked up for as long as `lasting` says.
    """
    return routes(
        shelf.carriers(),
        number,
        at,
        sell=tariff,
        currency=currency,
        seconds=whole,
        policy=plan.routing,
        rates=shelf.exchange(currency),
        call_id=request.call_id,
        busy=request.busy,
        lasting=lasting,
    )


def _offer(
    deck: Deck,
    match: Match,
    number: str,
    at: datetime,
    complete: Callable[[Tariff], CallTerms],
    available: int,
    cap: int | None,
    ahead: Sequence[int],
) -> tuple[CallTerms, Limit]:
    """Return what the call is billed by, and how long it may last.

    Where bands split calls, the tariff is looked up so many seconds ahead that the call
    cannot outlast what is known of it.
    """
    lasting, *further = ahead
    found = complete(deck.tariff(match, number, at, lasting))
    limit = found.longest(available, cap, at)
    known = limit.seconds is not None and _overrun(limit.seconds) <= lasting
    if known or not further or not deck.splits:
        return found, limit
    return _offer(deck, match, number, at, complete, available, cap, further)


def _overrun(seconds: int | None) -> int:
    """Return for how long the rates of a call are needed, should it overrun its grant."""
    return LONGEST_SPLIT_SECONDS if seconds is None else seconds + DAY_SECONDS


def access_leg(
    number: str | None, currency: str, shelf: Snapshot, at: datetime
) -> AccessLeg | None:
    """Return what it costs that a caller is on that access number."""
    access = None if number is None else shelf.access(number)
    if access is None or access.cost is None:
        return None
    quote = shelf.exchange(currency).quote(access.cost_currency, at)
    return AccessLeg(access.cost, access.cost_currency, quote)
