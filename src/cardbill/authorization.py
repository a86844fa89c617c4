"""The decisions: who a caller is, whether a call may go ahead, what its end means.

Pure functions of a card, the catalogue, a request and an instant. A refusal is a value,
:class:`Denied`; an error means that the host's request itself does not hold up.
Source: domain.md section 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from attrs import evolve, field, frozen

from cardbill import keyring
from cardbill.answers import Caller, Credential, Denied, Grant
from cardbill.batches import Batch, FirstUse
from cardbill.calls import (
    CallRecord,
    Hold,
    LimitedBy,
    Outcome,
    Report,
    make_handle,
    whole_seconds,
)
from cardbill.cards import Card
from cardbill.catalogue import CARRIER, DECK, PLAN, Snapshot
from cardbill.denials import Denial
from cardbill.errors import CallEnded, IdempotencyMismatch
from cardbill.rating import LONGEST_SECONDS, max_duration, price
from cardbill.routing import Refused, Route, routes
from cardbill.status import Status

if TYPE_CHECKING:
    from cardbill.access import AccessNumber
    from cardbill.plans import Plan

PIN = keyring.PIN
"""The kind of credential that a PIN is."""


@frozen(kw_only=True)
class CallRequest:
    """What a host asks leave for.

    Attributes:
        call_id: The host's id, one per attempt.
        number: E.164 digits; ``None``: what was dialled is no number.
        problem: What is wrong with it then, without its digits.
        ani: The caller's number as far as it is one.
        credentials: The (kind, token) pairs of which one must open the card.
    """

    call_id: str
    number: str | None
    problem: str = ""
    ani: str | None = None
    credentials: Sequence[Credential] = field(repr=False)


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
    if denied := _unusable(card, batch, at):
        return denied
    plan, version = _plan(card, batch, shelf)
    if batch.first_use is FirstUse.AUTHENTICATION and card.plan is None:
        card.use(at, plan=(plan.name, version), expires_at=batch.expiry_after(at))
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
    batch = shelf.batch(card.batch)
    if denied := _unusable(card, batch, at):
        return denied
    if request.number is None:
        return Denied(reason=Denial.INVALID_NUMBER, detail=request.problem, card_id=card.id)
    return _grant(card, request, request.number, batch, shelf, at)


def _replayed(card: Card, hold: Hold, request: CallRequest) -> Grant:
    if hold.number != request.number:
        raise IdempotencyMismatch(request.call_id, ["to"])
    return evolve(_answer(card, hold, ()), replayed=True)


def _grant(
    card: Card, request: CallRequest, number: str, batch: Batch, shelf: Snapshot, at: datetime
) -> Grant | Denied:
    def denied(reason: Denial, detail: str = "") -> Denied:
        return Denied(reason=reason, detail=detail, card_id=card.id)

    plan, plan_version = _plan(card, batch, shelf)
    if len(card.holds) >= plan.calls_at_once:
        return denied(Denial.TOO_MANY_CALLS, f"{len(card.holds)} open")
    deck = shelf.deck(plan.deck)
    match = deck.match(number, at)
    if match is None:
        return denied(Denial.NO_RATE)
    if match.blocked:
        return denied(Denial.DESTINATION_BARRED, f"prefix {match.prefix}")
    if card.available < plan.minimum_units:
        return denied(Denial.BELOW_MINIMUM)
    expires_at = card.expires_at if card.first_used_at else batch.expiry_after(at)
    cap, capped_by = _cap(plan, expires_at, at)
    if cap == 0:
        return denied(Denial.EXPIRED, "less than a second is left")
    limit = max_duration(match.rate, card.available, cap)
    least = max(match.rate.grace_seconds, match.rate.free_seconds)
    if limit.by_money and limit.seconds is not None and limit.seconds <= least:
        return denied(Denial.INSUFFICIENT_BALANCE)
    found, refused = routes(
        shelf.carriers(), number, at, currency=card.currency, seconds=limit.seconds
    )
    if not found:
        why = ", ".join(f"{carrier}: {reason}" for carrier, reason in refused)
        return denied(Denial.NO_ROUTE, why or "no carriers")
    longest = LONGEST_SECONDS if limit.seconds is None else limit.seconds
    hold = Hold(
        call_id=request.call_id,
        number=number,
        ani=request.ani,
        destination=match.destination,
        prefix=match.prefix,
        deck=plan.deck,
        deck_version=shelf.version(DECK, plan.deck),
        plan=plan.name,
        rate=match.rate,
        routes=found,
        granted_at=at,
        max_seconds=limit.seconds,
        limited_by=LimitedBy.MONEY if limit.by_money else capped_by,
        amount=price(match.rate, longest),
    )
    if card.plan is None:
        card.use(at, plan=(plan.name, plan_version), expires_at=expires_at)
    card.hold(hold)
    return _answer(card, hold, refused)


def settle(
    card: Card,
    record: CallRecord | None,
    call_id: str,
    told: Report,
    shelf: Snapshot,
    at: datetime,
) -> CallRecord:
    """End a call by what the switch reports of it. The card has caught up with `at`.

    Raises:
        IdempotencyMismatch: It was settled before with other figures.
    """
    if (hold := card.holds.get(call_id)) is not None:
        return card.settle(call_id, told, _route(hold, told, shelf, card.currency), at)
    # The hold may have expired in this very step, while the card caught up.
    ended = next((r for r in card.records if r.call_id == call_id), record)
    if ended is None:
        return card.note(call_id, Outcome.UNAUTHORISED, told, at)
    if ended.report is not None:
        return _same(ended, told)
    if ended.hold is None:
        return card.note(call_id, Outcome.UNAUTHORISED, told, at)
    route = _route(ended.hold, told, shelf, card.currency)
    card.records = [r for r in card.records if r.call_id != call_id]
    return card.settle_late(ended, told, route, at)


def cancel(card: Card, record: CallRecord | None, call_id: str, at: datetime) -> CallRecord:
    """End a call that was not made. The card has caught up with `at`.

    A call that is not known yet is noted as cancelled, so that an authorization that
    arrives after its own cancellation is not granted.

    Raises:
        CallEnded: It was settled.
    """
    if call_id in card.holds:
        return card.release(call_id, Outcome.CANCELLED, at)
    ended = next((r for r in card.records if r.call_id == call_id), record)
    if ended is None:
        return card.note(call_id, Outcome.CANCELLED, None, at)
    if ended.report is not None:
        raise CallEnded(call_id, ended.outcome.value)
    return evolve(ended, replayed=True)


def _opens(card: Card, credentials: Sequence[Credential]) -> bool:
    """What a store found by a credential is a hint; the card itself must list it."""
    return any(credential in card.credentials for credential in credentials)


def _unusable(card: Card, batch: Batch, at: datetime) -> Denied | None:
    """Return why the card cannot be used at all; the order is fixed."""
    reason: Denial | None = None
    status = card.status(at)
    if status is Status.VOID:
        reason = Denial.VOID
    elif status is Status.BLOCKED:
        reason = Denial.BLOCKED
    elif batch.plan is None and card.plan is None:
        reason = Denial.NOT_ASSIGNED
    elif batch.effective_at is not None and at < batch.effective_at:
        reason = Denial.NOT_YET_EFFECTIVE
    elif status is Status.EXPIRED:
        reason = Denial.EXPIRED
    elif status is Status.EXHAUSTED:
        reason = Denial.EXHAUSTED
    return reason and Denied(reason=reason, card_id=card.id)


def _plan(card: Card, batch: Batch, shelf: Snapshot) -> tuple[Plan, int]:
    """Return the plan a card is pinned to, or would be pinned to now."""
    if card.plan is not None:
        name, version = card.plan
        return shelf.plan(name, version), version
    name = batch.plan or ""
    return shelf.plan(name), shelf.version(PLAN, name)


def _cap(
    plan: Plan, expires_at: datetime | None, at: datetime
) -> tuple[int | None, LimitedBy | None]:
    """Return the most seconds a call may last for other reasons than money, and which."""
    cap, by = plan.max_call_seconds, LimitedBy.PLAN
    if expires_at is not None:
        left = max(0, (expires_at - at) // timedelta(seconds=1))
        if cap is None or left < cap:
            cap, by = left, LimitedBy.EXPIRY
    return cap, None if cap is None else by


def _answer(card: Card, hold: Hold, refused: tuple[Refused, ...]) -> Grant:
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


def _route(hold: Hold, told: Report, shelf: Snapshot, currency: str) -> Route | None:
    """Return who carried the call; a carrier that was not granted is looked up."""
    route = hold.route(told.carrier)
    if told.carrier is None or route is not None:
        return route
    if not shelf.version(CARRIER, told.carrier):
        return None  # a misspelt carrier must not make the call free: its cost is unknown
    deck = shelf.deck(shelf.carrier(told.carrier).deck)
    match = deck.match(hold.number, hold.granted_at)
    if match is None or deck.currency != currency:
        return None
    return Route(told.carrier, hold.number, match.prefix, match.rate)


def _same(record: CallRecord, told: Report) -> CallRecord:
    """Return the first answer again, if the report is the same."""
    first = record.report
    assert first is not None  # noqa: S101  # the caller looked
    differing = [
        name
        for name, before, now in (
            ("talk_ms", whole_seconds(first.talk_ms), whole_seconds(told.talk_ms)),
            ("answered_at", first.answered_at, told.answered_at),
            ("carrier", first.carrier, told.carrier),
        )
        if before != now
    ]
    if differing:
        raise IdempotencyMismatch(record.call_id, differing)
    return evolve(record, replayed=True)
