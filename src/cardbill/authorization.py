"""The decisions: who a caller is, and whether a call may go ahead.

Pure functions of a card, the catalogue, a request and an instant. A refusal is a value,
:class:`Denied`; an error means that the host's request itself does not hold up.
Source: domain.md section 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from attrs import evolve

from cardbill import saletaxes
from cardbill.answers import Caller, Credential, Denied, Grant, TalkTime
from cardbill.batches import Batch, FirstUse, Validity
from cardbill.calls import CallRecord, make_handle
from cardbill.cards import Card
from cardbill.catalogue import Snapshot
from cardbill.catalogueitems import DECK
from cardbill.denials import Denial
from cardbill.errors import CallEnded, IdempotencyMismatch
from cardbill.holds import Hold, LimitedBy, held_for
from cardbill.passing import activate
from cardbill.plans import Unreported
from cardbill.reach import CallRequest, access_leg, plan_of, reach
from cardbill.routing import Refused
from cardbill.status import Status

if TYPE_CHECKING:
    from cardbill.access import AccessNumber


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


def talk_time(card: Card, request: CallRequest, shelf: Snapshot, at: datetime) -> TalkTime | Denied:
    """Return how long a call could last now; changes the card, which must not be stored.

    Where calls are granted in slices, it is what all slices together come to.
    """
    if not _opens(card, request.credentials):
        return Denied(reason=Denial.UNKNOWN_CREDENTIAL)
    batch = shelf.batch(card.batch)
    if denied := unusable(card, batch, shelf, at):
        return denied
    if request.number is None:
        return Denied(reason=Denial.INVALID_NUMBER, detail=request.problem, card_id=card.id)
    if not card.in_use:
        first_use(card, batch, shelf, at)
    found = reach(card, request, request.number, batch, shelf, at)
    if isinstance(found, Denied):
        return found
    return TalkTime(
        number=request.number,
        destination=found.match.destination,
        max_seconds=found.seconds,
        limited_by=found.limited_by,
    )


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
    found = reach(card, request, number, batch, shelf, at)
    if isinstance(found, Denied):
        return found
    plan, _ = plan_of(card, batch, shelf)
    seconds, limited_by = found.seconds, found.limited_by
    if plan.slice_seconds is not None and (seconds is None or plan.slice_seconds < seconds):
        seconds, limited_by = plan.slice_seconds, LimitedBy.SLICE
    amount, terms = held_for(found.terms, seconds, at)
    hold = Hold(
        call_id=request.call_id,
        number=number,
        ani=request.ani,
        destination=found.match.destination,
        prefix=found.match.prefix,
        deck=plan.deck,
        deck_version=shelf.version(DECK, plan.deck),
        plan=plan.name,
        terms=terms,
        routes=found.routes,
        quote=found.quote,
        granted_at=at,
        cap_seconds=found.cap_seconds,
        capped_by=found.capped_by,
        slice_seconds=plan.slice_seconds,
        charge_unreported=plan.unreported_calls is Unreported.CHARGE,
        max_seconds=seconds,
        limited_by=limited_by,
        amount=amount,
        access=request.access,
        access_leg=access_leg(request.access, card.currency, shelf, at),
    )
    card.begin(hold, plan.limited_hours)
    return grant_of(card, hold, found.refused)


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


def first_use(card: Card, batch: Batch, shelf: Snapshot, at: datetime) -> None:
    """Open the card's account by its first use, under the terms of its batch and its plan."""
    saletaxes.used(card, batch, shelf, at)
    terms, version = plan_of(card, batch, shelf)
    plan = terms.name, version
    if batch.validity is Validity.FIRST_ANSWER:
        card.use(at, plan=plan, expires_at=batch.expires_at, awaits_answer=True)
    else:
        card.use(at, plan=plan, expires_at=batch.expiry_after(at))
    activate(card, batch, terms, shelf, at)


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
