"""Which callers' numbers a card has registered, and when one may be added: pure decisions.

A number is registered when the card lists its token and the store's row leads to the card;
see :mod:`cardbill.callers` for how the two come together. Source: domain.md section 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import Enum

from attrs import frozen

from cardbill.answers import Credential
from cardbill.cards import Card
from cardbill.catalogue import Snapshot
from cardbill.keyring import ANI
from cardbill.plans import Plan, Rebind
from cardbill.status import Status


class NotRegistered(Enum):
    """Why a caller's number does not open a card; the value is a stable code."""

    UNCONFIRMED = "unconfirmed"
    """It is noted, and counts once it is confirmed."""
    NO_NUMBER = "no_number"
    """The number is withheld, internal or no number at all."""
    NOT_OFFERED = "not_offered"
    """The card's plan lets no numbers be registered."""
    LIMIT_REACHED = "limit_reached"
    """The card has as many numbers as its plan lets it have."""
    TAKEN = "taken"
    """It is registered with another card, and the plan leaves it there."""
    CARD_UNUSABLE = "card_unusable"
    """The card is void, blocked or expired, has no plan, or its caller no right to it now."""
    PIN_NEEDED = "pin_needed"
    """Who came in by a number alone cannot add others: a number can be forged."""
    NOT_PENDING = "not_pending"
    """Nobody has asked for this number to be registered with the card."""


@frozen(kw_only=True)
class Registration:
    """What became of a number that was to be registered or confirmed.

    Attributes:
        card_id: The card.
        reason: Why the number does not open it; ``None``: it does.
    """

    card_id: str
    reason: NotRegistered | None = None

    @property
    def registered(self) -> bool:
        """Whether the number opens the card from now on."""
        return self.reason is None


@frozen(kw_only=True)
class RegisteredNumber:
    """A caller's number that a card has.

    Attributes:
        number: E.164 digits; ``None``: it was not kept readable.
        confirmed: Whether it opens the card yet.
    """

    number: str | None
    confirmed: bool


@frozen(kw_only=True)
class Wish:
    """A number to be listed.

    Attributes:
        token: What the card is to list.
        tokens: All that may stand for the number, under older keys too.
        sealed: Its readable copy, if one is kept.
        confirmed: Nothing else needs to confirm it.
        noted: Only a number that is pending, or listed, is confirmed.
        credentials: What the caller came in by, under any key; ``None``: the operator asks.
    """

    token: bytes
    tokens: Sequence[bytes]
    sealed: bytes | None
    confirmed: bool
    noted: bool
    credentials: Sequence[Credential] | None


def enter(
    card: Card, wish: Wish, shelf: Snapshot, at: datetime
) -> tuple[NotRegistered | None, Rebind]:
    """List a number on a card, or say why not; and what to do if it is another card's.

    The card has caught up with `at`.
    """
    plan = _plan(card, shelf)
    came_by = wish.credentials
    barred = came_by is not None and not any(each in card.credentials for each in came_by)
    if plan is None or barred or not _usable(card, at):
        return NotRegistered.CARD_UNUSABLE, Rebind.REFUSE
    return _enter(card, wish, plan), plan.ani_rebind


def _enter(card: Card, wish: Wish, plan: Plan) -> NotRegistered | None:
    if lists(card, wish.tokens):
        return None
    pending = [token for token in wish.tokens if token in card.pending]
    if wish.noted and not pending:
        return NotRegistered.NOT_PENDING
    if plan.ani_limit == 0:
        return NotRegistered.NOT_OFFERED
    others = sum(kind == ANI for kind, _ in card.credentials) + len(card.pending) - len(pending)
    if others >= plan.ani_limit:
        return NotRegistered.LIMIT_REACHED
    for token in pending:
        del card.pending[token]
    card.grows = True
    if plan.ani_confirm and not wish.confirmed:
        card.pending[wish.token] = wish.sealed or b""
        return NotRegistered.UNCONFIRMED
    card.credentials.append((ANI, wish.token))
    return None


def leave(card: Card, tokens: Sequence[bytes]) -> bool:
    """Take a number off a card; say whether it was there."""
    kept = [pair for pair in card.credentials if pair[0] != ANI or pair[1] not in tokens]
    pending = {token: sealed for token, sealed in card.pending.items() if token not in tokens}
    gone = len(kept) < len(card.credentials) or len(pending) < len(card.pending)
    card.credentials, card.pending = kept, pending
    return gone


def lists(card: Card, tokens: Sequence[bytes]) -> bool:
    """Say whether a card lists a number as one that opens it."""
    return any((ANI, token) in card.credentials for token in tokens)


def keeps(card: Card, tokens: Sequence[bytes], at: datetime) -> bool:
    """Say whether a number is a card's own: listed, and neither expired nor void.

    The card has caught up with `at`. What it no longer keeps is free for any other.
    """
    over = card.status(at) in (Status.VOID, Status.EXPIRED)
    return lists(card, tokens) and not over


def _usable(card: Card, at: datetime) -> bool:
    return card.status(at) not in (Status.VOID, Status.BLOCKED, Status.EXPIRED)


def _plan(card: Card, shelf: Snapshot) -> Plan | None:
    if card.plan is not None:
        return shelf.plan(*card.plan)
    assigned = shelf.batch(card.batch).plan
    return None if assigned is None else shelf.plan(assigned)
