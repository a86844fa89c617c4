"""Puts money on a card and takes it off: recharges, credits, refunds, charges, packages.

Pure functions on a card that has caught up with `at`, as in
:mod:`cardbill.authorization`: a refusal is a value. Source: domain.md section 5.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from attrs import evolve

from cardbill import charging, money, saletaxes
from cardbill.answers import Denied
from cardbill.authorization import blocked
from cardbill.charges import Charge, Trigger
from cardbill.denials import Denial
from cardbill.errors import InvalidInput, TransitionRefused
from cardbill.instants import end_of_day
from cardbill.ledger import EntryKind
from cardbill.operations import Operation, OperationKind, Request
from cardbill.packages import Given
from cardbill.passing import bought, revive
from cardbill.reach import A_CHARGE_WAITS, plan_of
from cardbill.status import Status

if TYPE_CHECKING:
    from cardbill.batches import Batch
    from cardbill.cards import Card
    from cardbill.catalogue import Snapshot
    from cardbill.plans import Plan

_PUT_ON = {
    OperationKind.RECHARGE: EntryKind.RECHARGE,
    OperationKind.CREDIT: EntryKind.CREDIT,
}
_TAKEN_OFF = {
    OperationKind.REFUND: EntryKind.REFUND,
    OperationKind.WRITE_OFF: EntryKind.WRITE_OFF,
}


def operate(
    card: Card, done: Operation | None, request: Request, shelf: Snapshot, at: datetime
) -> Operation | Denied:
    """Do what is asked for, or answer as the first time.

    Raises:
        IdempotencyMismatch: It was done before with another request.
        TransitionRefused: The card was never used: its account is not open.
        InvalidInput: The plan has no such charge in force, or no such package; or the
            balance would be too large for the ledger.
    """
    if done is not None:
        return request.again(done)
    batch, plan = plan_of_card(card, shelf)
    if denied := unusable_for(card, request, shelf, at):
        return denied
    reference = f"{request.kind.value} {request.key}"
    amount, kind = request.amount, request.kind
    if kind in _PUT_ON:
        if card.balance + amount > money.MAX_UNITS:
            raise InvalidInput("amount", amount, "is more than the card can hold")
        card.post(_PUT_ON[kind], amount, at, reference)
        if kind is OperationKind.RECHARGE:
            saletaxes.told(card, batch, amount, reference, shelf, at)
            recharged(card, batch, plan, amount, shelf, at, reference)
        charging.pay_owed(card, plan.charges, shelf.taxes(batch, at), at, reference)
    elif kind in _TAKEN_OFF:
        amount = amount or card.spare
        if amount > card.spare or not amount:
            return short_of_money(card)
        card.post(_TAKEN_OFF[kind], -amount, at, reference)
    elif kind is OperationKind.CHARGE:
        charge = _charge(plan, request.name, at)
        charge = evolve(charge, quantity=charge.quantity * request.quantity)
        amount = charge.units
        rules = shelf.taxes(batch, at)
        waits = card.waiting and amount > 0  # a charge that fell due before it
        if waits or not charging.take(card, charge, amount, rules, at, reference, shelf):
            return short_of_money(card)
    else:
        return _buy(card, batch, plan, request, shelf, at, reference)
    return record_done(card, request, amount, at)


def plan_of_card(card: Card, shelf: Snapshot) -> tuple[Batch, Plan]:
    """Return the terms that a card is under."""
    batch = shelf.batch(card.batch)
    return batch, plan_of(card, batch, shelf)[0]


def unusable_for(card: Card, request: Request, shelf: Snapshot, at: datetime) -> Denied | None:
    """Return why nothing can be done to a card's account.

    Raises:
        TransitionRefused: The card was never used: its account is not open.
    """
    status = card.status(at)
    if status is Status.VOID:
        return Denied(reason=Denial.VOID, card_id=card.id)
    if not card.in_use:
        why = "its account opens with its first use"
        raise TransitionRefused(card.id, status.value, request.kind.value, why)
    if request.kind in (OperationKind.REFUND, OperationKind.WRITE_OFF):
        return None
    if stopped := blocked(card, shelf):
        return stopped
    recharges = request.kind in (OperationKind.RECHARGE, OperationKind.TRANSFER_IN)
    if card.expired(at) and not (recharges and _revives(card, shelf, at)):
        return Denied(reason=Denial.EXPIRED, card_id=card.id)
    return None


def recharged(
    card: Card,
    batch: Batch,
    plan: Plan,
    amount: int,
    shelf: Snapshot,
    at: datetime,
    reference: str,
) -> None:
    """Do what a recharge triggers: the validity is extended or begins anew, charges are taken.

    Such a charge falls due once, here, and nothing would take it later: so it does not wait
    for open calls to end.
    """
    card.touch(at)
    before, card.expires_at = card.expires_at, _extended(card, batch, plan, at)
    if before is not None and before <= at:
        revive(card, batch, plan, before, at)
    rules = shelf.taxes(batch, at)
    for charge in plan.charges:
        if charge.trigger is Trigger.RECHARGE and charge.effective(at):
            due = charge.comes_to(amount)
            charging.take(card, charge, due, rules, at, reference, shelf, waits=False)


def _revives(card: Card, shelf: Snapshot, at: datetime) -> bool:
    """Say whether a recharge makes an expired card good again: no batch outlives its date."""
    batch, plan = plan_of_card(card, shelf)
    until = _extended(card, batch, plan, at)
    return plan.recharge_revives and until is not None and at < until


def _extended(card: Card, batch: Batch, plan: Plan, at: datetime) -> datetime | None:
    """Return until when a card is good once it is recharged; ``None``: for ever."""
    if plan.recharge_days is None or card.expires_at is None:
        return card.expires_at
    last = at.astimezone(batch.zone).date() + timedelta(days=plan.recharge_days)
    until = end_of_day(last, batch.zone)
    if batch.expires_at is not None:
        until = min(until, batch.expires_at)
    return max(card.expires_at, until)


def _buy(
    card: Card,
    batch: Batch,
    plan: Plan,
    request: Request,
    shelf: Snapshot,
    at: datetime,
    reference: str,
) -> Operation | Denied:
    found = (p for p in plan.packages if p.name == request.name and p.given is Given.BOUGHT)
    if (package := next(found, None)) is None:
        raise InvalidInput("package", request.name, f"cannot be bought with plan {plan.name!r}")
    alike = any(bucket.gives(package) for bucket in card.buckets.values())
    if not alike and not card.has_room(package):
        raise InvalidInput("package", request.name, "the card has as many as it can hold")
    if package.price is not None:
        price = Charge(name=package.name, trigger=Trigger.MANUAL, amount=package.price)
        rules = shelf.taxes(batch, at)
        due = charging.asked(card, price, price.units, rules, at, reference, shelf)
        if sum(amount for _, _, amount in due) > card.spare:
            return short_of_money(card)
        charging.post(card, due, at, reference)
    bought(card, batch, plan, package, at)
    return record_done(card, request, package.price_units, at)


def _charge(plan: Plan, name: str, at: datetime) -> Charge:
    found = (c for c in plan.charges if c.name == name and c.trigger is Trigger.MANUAL)
    if (charge := next(found, None)) is None:
        raise InvalidInput("charge", name, f"is no manual charge of plan {plan.name!r}")
    if not charge.effective(at):
        raise InvalidInput("charge", name, f"is not in force now, by plan {plan.name!r}")
    return charge


def short_of_money(card: Card) -> Denied:
    """Return the denial of a card that has not so much to spare."""
    detail = A_CHARGE_WAITS if card.waiting else ""
    return Denied(reason=Denial.INSUFFICIENT_BALANCE, detail=detail, card_id=card.id)


def record_done(
    card: Card, request: Request, amount: int, at: datetime, *, refused: str = ""
) -> Operation:
    """Record what was done; or refused, and that stands."""
    operation = Operation(
        key=request.key,
        kind=request.kind,
        card_id=card.id,
        batch=card.batch,
        serial=card.serial,
        currency=card.currency,
        at=at,
        amount_units=amount,
        name=request.name,
        quantity=request.quantity,
        other=request.other,
        refused=refused,
        balance_units=card.balance,
        expires_at=card.expires_at,
    )
    card.operations.append(operation)
    return operation
