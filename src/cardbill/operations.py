"""Operations on a card's money and packages, each done once under its key.

A key is the caller's own: the same key with the same request is answered as the first time,
with another request it is refused. What was done is recorded beside the calls. Source:
domain.md sections 4 and 5.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from attrs import evolve, field, frozen

from cardbill import money
from cardbill.errors import IdempotencyMismatch

if TYPE_CHECKING:
    from moneyed import Money

RESUMED_AFTER = timedelta(seconds=60)
"""How long a transfer may be under way before a sweep goes on with it."""


class OperationKind(Enum):
    """What was done; the values are stored."""

    RECHARGE = "recharge"
    """Money was paid in."""
    CREDIT = "credit"
    """An operator gave money."""
    REFUND = "refund"
    """Money was paid back to the customer."""
    WRITE_OFF = "write_off"
    """An operator took money off."""
    CHARGE = "charge"
    """An operator took a charge of the plan."""
    BUY = "buy"
    """A package was bought."""
    TRANSFER_OUT = "transfer_out"
    """Money went to another card."""
    TRANSFER_IN = "transfer_in"
    """Money came from another card."""


ALL_THERE_IS = frozenset({OperationKind.REFUND, OperationKind.WRITE_OFF})
"""What takes all that is available where no amount is told."""


@frozen(kw_only=True)
class Operation:
    """What was done to a card under a key.

    Attributes:
        key: The caller's.
        kind: What.
        card_id, batch, serial: Whose card.
        currency: The card's ISO 4217 code.
        at: When.
        amount_units: The amount asked for, in ledger units; a charge: as quoted; 0 where the
            other card refused it.
        name: The charge's or the package's; empty: it has none.
        quantity: How many times, for a charge.
        other: The other card of a transfer; empty: there is none.
        refused: Why the other card refused the money, which came back: a denial's code. The
            other card keeps the same, so that its answer stands.
        balance_units: The card's balance afterwards, in ledger units.
        expires_at: When the card expires; ``None``: never.
        replayed: This answer was given before; nothing was done this time.
    """

    key: str
    kind: OperationKind
    card_id: str
    batch: str
    serial: int
    currency: str
    at: datetime
    amount_units: int
    name: str = ""
    quantity: int = 1
    other: str = ""
    refused: str = ""
    balance_units: int
    expires_at: datetime | None
    replayed: bool = field(default=False, eq=False)

    @property
    def amount(self) -> Money:
        """The amount asked for; 0 where the other card refused it."""
        return money.money(self.amount_units, self.currency)

    @property
    def balance(self) -> Money:
        """The card's balance afterwards."""
        return money.money(self.balance_units, self.currency)


@frozen
class Request:
    """What is asked for under a key.

    Attributes:
        key: The caller's.
        kind: What.
        amount: Ledger units; 0: as the plan says.
        name: The charge's or the package's.
        quantity: How many times, for a charge.
        other: The other card of a transfer.
    """

    key: str
    kind: OperationKind
    amount: int = 0
    name: str = ""
    quantity: int = 1
    other: str = ""

    def again(self, done: Operation) -> Operation:
        """Return the first answer, if the request is the same.

        Raises:
            IdempotencyMismatch: It is another one.
        """
        told: list[tuple[str, object, object]] = [
            ("kind", self.kind.value, done.kind.value),
            ("name", self.name, done.name),
            ("quantity", self.quantity, done.quantity),
            ("to", self.other, done.other),
        ]
        if self.amount and not done.refused:
            asked = money.money(self.amount, done.currency)
            told.append(("amount", str(asked.amount), str(done.amount.amount)))
        if differing := {name: was for name, now, was in told if now != was}:
            raise IdempotencyMismatch(self.key, list(differing), list(differing.values()))
        return evolve(done, replayed=True)


class Outgoing(NamedTuple):
    """A transfer that is under way, as the giving card notes it.

    Attributes:
        to: The receiving card's id.
        amount: Ledger units.
        at: When it was opened.
    """

    to: str
    amount: int
    at: datetime


def incoming_key(card_id: str, key: str) -> str:
    """Return the key of a transfer on the receiving card: none that a host can choose."""
    return f"{card_id} {key}"
