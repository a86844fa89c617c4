"""A PIN's lifecycle: the status is derived from few stored facts, never stored itself.

:data:`TRANSITIONS` is the whole lifecycle as data; the documentation's diagram is drawn
from it, and :func:`derive` is held to it by the tests. Source: domain.md section 2.
"""

from __future__ import annotations

from enum import Enum


class Status(Enum):
    """What a PIN is good for at an instant."""

    GENERATED = "generated"
    """Made (or uploaded), never used; usable at once unless its batch is sold first."""
    SOLD = "sold"
    """Sold, not used yet: only where the batch says cards are dead until sold."""
    ACTIVE = "active"
    """In use: the account is open and holds money."""
    EXHAUSTED = "exhausted"
    """Nothing left to spend; a recharge revives it."""
    EXPIRED = "expired"
    """Past its validity, by the clock alone."""
    BLOCKED = "blocked"
    """Stopped by an operator until unblocked."""
    VOID = "void"
    """Withdrawn before any use, for good."""


class Event(Enum):
    """What moves a PIN from one status to another."""

    SELL = "sell"
    FIRST_USE = "first use"
    SPEND_ALL = "spend all"
    RECHARGE = "recharge"
    EXPIRE = "expire"
    BLOCK = "block"
    UNBLOCK = "unblock"
    VOID = "void"


TRANSITIONS: dict[Status, dict[Event, frozenset[Status]]] = {
    Status.GENERATED: {
        Event.SELL: frozenset({Status.SOLD}),
        Event.FIRST_USE: frozenset({Status.ACTIVE}),
        Event.EXPIRE: frozenset({Status.EXPIRED}),
        Event.BLOCK: frozenset({Status.BLOCKED}),
        Event.VOID: frozenset({Status.VOID}),
    },
    Status.SOLD: {
        Event.FIRST_USE: frozenset({Status.ACTIVE}),
        Event.EXPIRE: frozenset({Status.EXPIRED}),
        Event.BLOCK: frozenset({Status.BLOCKED}),
        Event.VOID: frozenset({Status.VOID}),
    },
    Status.ACTIVE: {
        Event.SPEND_ALL: frozenset({Status.EXHAUSTED}),
        Event.EXPIRE: frozenset({Status.EXPIRED}),
        Event.BLOCK: frozenset({Status.BLOCKED}),
    },
    Status.EXHAUSTED: {
        Event.RECHARGE: frozenset({Status.ACTIVE}),
        Event.EXPIRE: frozenset({Status.EXPIRED}),
        Event.BLOCK: frozenset({Status.BLOCKED}),
    },
    Status.EXPIRED: {
        Event.BLOCK: frozenset({Status.BLOCKED}),
        Event.VOID: frozenset({Status.VOID}),
    },
    Status.BLOCKED: {
        Event.UNBLOCK: frozenset(
            {Status.GENERATED, Status.SOLD, Status.ACTIVE, Status.EXHAUSTED, Status.EXPIRED}
        ),
        Event.VOID: frozenset({Status.VOID}),
    },
    Status.VOID: {},
}
"""From each status, which event leads where. Unblocking leads back to what the facts say."""


def derive(
    *, voided: bool, blocked: bool, expired: bool, used: bool, empty: bool, sold: bool
) -> Status:
    """Return the status that the stored facts and the clock add up to.

    Args:
        voided: The card was voided.
        blocked: The card, its serial range or its batch is blocked.
        expired: The instant asked about is at or past the card's expiry.
        used: The card has had its first use.
        empty: Nothing is left: no balance.
        sold: The card was sold, in a batch that wants cards sold first.
    """
    if voided:
        return Status.VOID
    if blocked:
        return Status.BLOCKED
    if expired:
        return Status.EXPIRED
    if used:
        return Status.EXHAUSTED if empty else Status.ACTIVE
    return Status.SOLD if sold else Status.GENERATED
