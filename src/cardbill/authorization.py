"""The decisions: who a caller is, and whether a call may go ahead.

Pure functions of a card, the catalogue, a request and an instant. A refusal is a value,
:class:`Denied`; an error means that the host's request itself does not hold up.
Source: domain.md section 4.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from attrs import evolve, field, frozen

from cardbill import keyring
from cardbill.answers import Caller, Credential, Denied, Grant
from cardbill.bands import DAY_SECONDS
from cardbill.batches import Batch, FirstUse, Validity
from cardbill.buckets import offered
from cardbill.calls import CallRecord, make_handle
from cardbill.callterms import CallCharge, CallTerms
from cardbill.cards import Card
from cardbill.catalogue import DECK, PLAN, Snapshot
from cardbill.charges import OF_A_CALL, Charge, Trigger
from cardbill.denials import Denial
from cardbill.errors import CallEnded, IdempotencyMismatch
from cardbill.holds import Hold, LimitedBy, held_for, limiting
from cardbill.passing import activate
from cardbill.plans import Unreported
from cardbill.routing import Refused, Route, routes
from cardbill.status import Status
from cardbill.tariffs import LONGEST_SPLIT_SECONDS, Tariff

if TYPE_CHECKING:
    from cardbill.access import AccessNumber
    from cardbill.decks import Deck, Match
    from cardbill.plans import Plan
    from cardbill.rating import Limit

_AHEAD = (2 * DAY_SECONDS, 8 * DAY_SECONDS, LONGEST_SPLIT_SECONDS + DAY_SECONDS)

PIN = keyring.PIN
"""The kind of credential that a PIN is."""


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


def admit(
    card: Card,
    credentials: Sequence[Credential],
    shelf: Snapshot,
    ani: str | None,
    at: datetime,
    access: AccessNumber | None = None,
) -> Caller | Denied:
    """Decide whether a credential opens a card now. The card has caught up with `at`.

    Where the batch counts authentication as the first use, this makes it.
    """
    if not _opens(card, credentials):
        return Denied(reason=Denial.UNKNOWN_CREDENTIAL)
    batch = shelf.batch(card.batch)
    if denied := unusable(card, batch, shelf, at):
        return denied
    plan, _ = plan_of(card, batch, shelf)
    if batch.first_use is FirstUse.AUTHENTICATION and not card.in_use:
        first_use(card, batch, shelf, at)
    return Caller(
        card_id=card.id,
        status=card.status(at),
        currency=card.currency,
        language=plan.language or (access.language if access else "en"),
        balance_units=card.balance,
        available_units=card.available,
        expires_at=card.expires_at,
        ani=ani,
        credential=next(c for c in credentials if c in card.credentials),
        access=access.number if access else None,
    )


def authorize(
    card: Card, record: CallRecord | None, request: CallRequest, shelf: Snapshot, at: datetime
) -> Grant | Denied:
    """Decide whether a call may go ahead, and hold its money if so.

    The card has caught up with `at`. The reasons for a denial are tried in a fixed order.

    Raises:
        CallEnded: A call of that id was made with this card and is over.
        IdempotencyMismatch: It is open, with another number.
    """
    if not _opens(card, request.credentials):
        return Denied(reason=Denial.UNKNOWN_CREDENTIAL)
    if (hold := card.holds.get(request.call_id)) is not None:
        return _replayed(card, hold, request)
    ended = record or next((r for r in card.records if r.call_id == request.call_id), None)
    if ended is not None:
        raise CallEnded(request.call_id, ended.outcome.value)
    return decide(card, request, shelf.batch(card.batch), shelf, at)


def decide(
    card: Card, request: CallRequest, batch: Batch, shelf: Snapshot, at: datetime
) -> Grant | Denied:
    """Decide whether a card that was opened may make a new call, and hold its money if so."""
    if denied := unusable(card, batch, shelf, at):
        return denied
    if request.number is None:
        return Denied(reason=Denial.INVALID_NUMBER, detail=request.problem, card_id=card.id)
    return _grant(card, request, request.number, batch, shelf, at)


def _replayed(card: Card, hold: Hold, request: CallRequest) -> Grant:
    if hold.number != request.number:
        raise IdempotencyMismatch(request.call_id, ["to"])
    return evolve(grant_of(card, hold), replayed=True)


def _grant(
    card: Card, request: CallRequest, number: str, batch: Batch, shelf: Snapshot, at: datetime
) -> Grant | Denied:
    if card.in_use:
        return _decide(card, request, number, batch, shelf, at)
    # What the first use triggers comes before the call; if it is denied, there was none.
    facts = card.facts()
    first_use(card, batch, shelf, at)
    answer = _decide(card, request, number, batch, shelf, at)
    if isinstance(answer, Denied):
        card.put_back(facts)
    return answer


def _decide(
    card: Card, request: CallRequest, number: str, batch: Batch, shelf: Snapshot, at: datetime
) -> Grant | Denied:
    def denied(reason: Denial, detail: str = "") -> Denied:
        return Denied(reason=reason, detail=detail, card_id=card.id)

    plan, _ = plan_of(card, batch, shelf)
    if card.waiting:
        return denied(Denial.INSUFFICIENT_BALANCE, "a charge waits for an open call to end")
    if len(card.holds) >= plan.calls_at_once:
        return denied(Denial.TOO_MANY_CALLS, f"{len(card.holds)} open")
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
    terms, limit = _offer(deck, match, number, at, complete, card.available, cap, ahead)
    whole, limited_by = limit.seconds, limiting(limit, cap, capped_by)
    if limit.by_money and whole is not None and whole <= terms.tariff.unbilled_seconds(at):
        return denied(Denial.INSUFFICIENT_BALANCE)
    seconds = whole
    if plan.slice_seconds is not None and (whole is None or plan.slice_seconds < whole):
        seconds, limited_by = plan.slice_seconds, LimitedBy.SLICE
    found, refused = routes_of(
        request, number, plan, terms.tariff, whole, card.currency, shelf, at, _overrun(whole)
    )
    own = shelf.exchange(card.currency).quote(card.currency, at)
    if not found or own is None:
        why = ", ".join(f"{carrier}: {reason}" for carrier, reason in refused)
        return denied(Denial.NO_ROUTE, why or "no carriers")
    amount, terms = held_for(terms, seconds, at)
    hold = Hold(
        call_id=request.call_id,
        number=number,
        ani=request.ani,
        destination=match.destination,
        prefix=match.prefix,
        deck=plan.deck,
        deck_version=shelf.version(DECK, plan.deck),
        plan=plan.name,
        terms=terms,
        routes=found,
        quote=own,
        granted_at=at,
        cap_seconds=cap,
        capped_by=capped_by,
        slice_seconds=plan.slice_seconds,
        charge_unreported=plan.unreported_calls is Unreported.CHARGE,
        max_seconds=seconds,
        limited_by=limited_by,
        amount=amount,
        access=request.access,
    )
    card.hold(hold)
    return grant_of(card, hold, refused)


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


def _overrun(seconds: int | None) -> int:
    """Return for how long the rates of a call are needed, should it overrun its grant."""
    return LONGEST_SPLIT_SECONDS if seconds is None else seconds + DAY_SECONDS


def _opens(card: Card, credentials: Sequence[Credential]) -> bool:
    """What a store found by a credential is a hint; the card itself must list it."""
    return any(credential in card.credentials for credential in credentials)


def unusable(card: Card, batch: Batch, shelf: Snapshot, at: datetime) -> Denied | None:
    """Return why the card cannot be used at all; the order is fixed."""
    reason: Denial | None = None
    status = card.status(at)
    if status is Status.VOID:
        reason = Denial.VOID
    elif (denied := blocked(card, shelf)) is not None:
        return denied
    elif status is Status.GENERATED and batch.sold_first:
        reason = Denial.NOT_SOLD
    elif batch.plan is None and card.plan is None:
        reason = Denial.NOT_ASSIGNED
    elif batch.effective_at is not None and at < batch.effective_at:
        reason = Denial.NOT_YET_EFFECTIVE
    elif status is Status.EXPIRED:
        reason = Denial.EXPIRED
    elif status is Status.EXHAUSTED:
        reason = Denial.EXHAUSTED
    return reason and Denied(reason=reason, card_id=card.id)


def blocked(card: Card, shelf: Snapshot) -> Denied | None:
    """Return the denial of a card that an operator stopped: itself, its serial, its batch."""
    why = shelf.flags(card.batch).stops(card.serial)
    if not card.blocked and not why:
        return None
    return Denied(reason=Denial.BLOCKED, detail=why, card_id=card.id)


def plan_of(card: Card, batch: Batch, shelf: Snapshot) -> tuple[Plan, int]:
    """Return the plan a card is pinned to, or would be pinned to now."""
    if card.plan is not None:
        name, version = card.plan
        return shelf.plan(name, version), version
    name = batch.plan or ""
    return shelf.plan(name), shelf.version(PLAN, name)


def first_use(card: Card, batch: Batch, shelf: Snapshot, at: datetime) -> None:
    """Open the card's account by its first use, under the terms of its batch and its plan."""
    terms, version = plan_of(card, batch, shelf)
    plan = terms.name, version
    if batch.validity is Validity.FIRST_ANSWER:
        card.use(at, plan=plan, expires_at=batch.expires_at, awaits_answer=True)
    else:
        card.use(at, plan=plan, expires_at=batch.expiry_after(at))
    activate(card, batch, terms, shelf, at)


def _expiry(card: Card, batch: Batch, at: datetime) -> datetime | None:
    """Return when the card will have expired at the earliest, if it is used now."""
    used = card.first_used_at is not None and not card.awaits_answer
    return card.expires_at if used else batch.expiry_after(at)


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


def grant_of(card: Card, hold: Hold, refused: tuple[Refused, ...] = ()) -> Grant:
    """Return what the host is told of an open hold."""
    return Grant(
        call_id=hold.call_id,
        handle=make_handle(card.id, hold.call_id),
        number=hold.number,
        destination=hold.destination,
        max_seconds=hold.max_seconds,
        limited_by=hold.limited_by,
        held_units=hold.amount,
        currency=card.currency,
        routes=hold.routes,
        refused_routes=refused,
        expires_at=hold.expires_at,
    )
