"""Money from one card to another, in steps of one card each.

The giving card's step debits it and opens the transfer in its state; the receiving card's
step credits it or refuses, once under the giving card and the key; the giving card's next
step closes the transfer, or takes it back where the receiving card refused. Whatever dies in
between, the transfer stays open, and a sweep or the same request again goes on with it, however
many do at once. Source: design.md section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from attrs import evolve

from cardbill import charging, money, saletaxes
from cardbill.accounting import plan_of_card, recharged, record_done, short_of_money, unusable_for
from cardbill.answers import Credential, Denied
from cardbill.denials import Denial, denial_of
from cardbill.errors import TransitionRefused, WrongCurrency
from cardbill.ledger import EntryKind
from cardbill.operations import RESUMED_AFTER, Operation, Outgoing, Request
from cardbill.status import Status

if TYPE_CHECKING:
    from cardbill.cards import Card
    from cardbill.catalogue import Snapshot

IN_USE = "it was used before: only a card that never was is a voucher"
_NOT_TAKEN = {
    Denial.NOT_YET_EFFECTIVE: "the receiving card was never used: it has no account yet",
    Denial.LIMIT_REACHED: "the receiving card cannot hold so much",
}


def send(
    card: Card, done: Operation | None, request: Request, shelf: Snapshot, at: datetime
) -> Operation | Denied:
    """Take money off the giving card, and note where it is to go.

    Raises:
        IdempotencyMismatch: It was done before with another request.
        TransitionRefused: The card was never used.
    """
    if done is not None:
        return request.again(done)
    if denied := unusable_for(card, request, shelf, at):
        return denied
    amount = request.amount or card.spare
    if amount > card.spare or not amount:
        return short_of_money(card)
    return _open(card, request, amount, at)


def send_all(
    card: Card,
    done: Operation | None,
    request: Request,
    credentials: Sequence[Credential],
    shelf: Snapshot,
    at: datetime,
) -> Operation | Denied:
    """Take the whole value off a card that was never used, for good: it is a voucher.

    Raises:
        IdempotencyMismatch: It was done before with another request.
    """
    if not any(credential in card.credentials for credential in credentials):
        return Denied(reason=Denial.UNKNOWN_CREDENTIAL)
    if done is not None:
        return request.again(done)
    batch, flags = shelf.batch(card.batch), shelf.flags(card.batch)
    status = card.status(at, stopped=bool(flags.stops(card.serial)))
    reason: Denial | None = None
    if status in (Status.VOID, Status.BLOCKED, Status.EXPIRED):
        reason = denial_of(status.value)
    elif status is Status.GENERATED and batch.sold_first:
        reason = Denial.NOT_SOLD
    elif batch.effective_at is not None and at < batch.effective_at:
        reason = Denial.NOT_YET_EFFECTIVE
    elif card.first_used_at is not None:
        return Denied(reason=Denial.EXHAUSTED, detail=IN_USE, card_id=card.id)
    if reason is not None:
        return Denied(reason=reason, card_id=card.id)
    saletaxes.used(card, batch, shelf, at)
    card.open(at)
    card.voided = True
    return _open(card, request, card.available, at)


def receive(
    card: Card, done: Operation | None, request: Request, shelf: Snapshot, at: datetime
) -> Operation | Denied:
    """Put money of another card on the receiving one, once; or refuse it, and that stands."""
    if done is not None:
        done = request.again(done)
        return turned_down(done.refused, card.id) if done.refused else done
    if denied := _refusal(card, request, shelf, at):
        record_done(card, request, 0, at, refused=denied.reason.value)
        return denied
    reference = f"transfer_in {request.key}"
    card.post(EntryKind.TRANSFER_IN, request.amount, at, reference)
    batch, plan = plan_of_card(card, shelf)
    recharged(card, batch, plan, request.amount, shelf, at, reference)
    charging.pay_owed(card, plan.charges, shelf.taxes(batch, at), at, reference)
    return record_done(card, request, request.amount, at)


def close(
    card: Card,
    done: Operation | None,
    key: str,
    answer: Operation | Denied,
    shelf: Snapshot,
    at: datetime,
) -> Operation:
    """End a transfer on the giving card: it has arrived, or the money comes back.

    What comes back pays what has come to be owed meanwhile.
    """
    if done is None:
        raise ValueError("a transfer that was never opened cannot be closed")
    outgoing = card.outgoing.pop(key, None)
    if outgoing is None:
        return evolve(done, replayed=True)
    if isinstance(answer, Operation):
        return done
    reference = f"transfer_out {key}"
    card.post(EntryKind.TRANSFER_OUT, outgoing.amount, at, reference)
    if card.first_used_at is None:
        card.voided = False  # the voucher is good again
    else:
        batch, plan = plan_of_card(card, shelf)
        charging.pay_owed(card, plan.charges, shelf.taxes(batch, at), at, reference)
    refused = evolve(done, refused=answer.reason.value, amount_units=0, balance_units=card.balance)
    card.operations.append(refused)
    return refused


def turned_down(reason: str, card_id: str) -> Denied:
    """Return why a card did not take money of another one, the first time and again."""
    denial = denial_of(reason)
    return Denied(reason=denial, detail=_NOT_TAKEN.get(denial, ""), card_id=card_id)


def overdue(card: Card, at: datetime) -> list[tuple[str, Outgoing]]:
    """Return the transfers of a card that a sweep has to go on with."""
    return [(key, out) for key, out in card.outgoing.items() if out.at + RESUMED_AFTER <= at]


def check_currencies(giving: str, receiving: str) -> None:
    """Check that money can go from one card to the other.

    Raises:
        WrongCurrency: They are in different currencies.
    """
    if giving != receiving:
        raise WrongCurrency("to", receiving, f"must be in {giving}: a transfer changes no money")


def _refusal(card: Card, request: Request, shelf: Snapshot, at: datetime) -> Denied | None:
    """Return why a card cannot take money of another one."""
    try:
        if denied := unusable_for(card, request, shelf, at):
            return denied
    except TransitionRefused:
        return turned_down(Denial.NOT_YET_EFFECTIVE.value, card.id)
    if card.balance + request.amount > money.MAX_UNITS:
        return turned_down(Denial.LIMIT_REACHED.value, card.id)
    return None


def _open(card: Card, request: Request, amount: int, at: datetime) -> Operation:
    card.post(EntryKind.TRANSFER_OUT, -amount, at, f"transfer_out {request.key}")
    card.outgoing[request.key] = Outgoing(request.other, amount, at)
    card.grows = True
    return record_done(card, request, amount, at)
