"""The ledger of a card: what was put on it and what was taken, entry by entry.

Entries are only ever added. What is put on a card is positive: face value, recharges,
transfers in, credits. What is taken is negative; all of it together is the balance. What a
card gets and loses of packages stands in the ledger too, with an amount of 0, and so do the
taxes on its sale, which no card pays. Source: design.md section 10.
"""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING

from attrs import frozen

from cardbill import money
from cardbill.packages import Unit

if TYPE_CHECKING:
    from moneyed import Money


class EntryKind(Enum):
    """What a ledger entry is for; the values are stored."""

    FACE = "face"
    """The face value, posted when the account opens."""
    RECHARGE = "recharge"
    """Money that was paid in."""
    CREDIT = "credit"
    """Money that an operator gave, for a reason."""
    TRANSFER_IN = "transfer_in"
    """Money of another card."""
    TRANSFER_OUT = "transfer_out"
    """Money that went to another card."""
    CALL = "call"
    """A call's price, without tax."""
    CHARGE = "charge"
    """A charge, without tax."""
    TAX = "tax"
    """A tax."""
    REFUND = "refund"
    """Money that was paid back to the customer."""
    WRITE_OFF = "write_off"
    """Money that an operator took off, for a reason."""
    BREAKAGE = "breakage"
    """What was left when the card expired."""
    VOID = "void"
    """The face value of a card that was voided before any use."""
    GIVEN = "given"
    """A package: its quantity was given."""
    LOST = "lost"
    """A package: the quantity that was left expired."""
    PLAN = "plan"
    """It moved to the plan that the entry names; no money went."""
    SALE_TAX = "sale_tax"
    """A tax on the sale of the card or on a recharge, which the customer paid beside."""


PUT_ON = frozenset(
    {
        EntryKind.FACE,
        EntryKind.RECHARGE,
        EntryKind.CREDIT,
        EntryKind.TRANSFER_IN,
    }
)
"""The kinds that put money on a card; all others take it."""


@frozen
class Entry:
    """One line of a card's ledger.

    Attributes:
        seq: Position in the card's ledger, from 1, without gaps.
        at: The instant it was posted for.
        kind: What for.
        amount_units: Ledger units; negative takes from the card.
        balance_units: The balance once posted, in ledger units.
        reference: What caused it: a call id, an operation's key; empty: the card itself.
        currency: The card's ISO 4217 code.
        name: The charge's, the tax's or the package's; empty: it has none.
        quantity: Of a package: how much was given or lost, in its unit. Of a tax on a sale:
            what it comes to.
        unit: The package's: seconds, calls or ledger units; of a tax on a sale: ledger
            units; ``None``: it is of neither.
        base_units: What a tax on a sale is on, in ledger units.
        jurisdiction: Whose tax on a sale it is.
    """

    seq: int
    at: datetime
    kind: EntryKind
    amount_units: int
    balance_units: int
    reference: str
    currency: str
    name: str = ""
    quantity: int = 0
    unit: Unit | None = None
    base_units: int = 0
    jurisdiction: str = ""

    @property
    def amount(self) -> Money:
        """What was added; negative: taken."""
        return money.money(self.amount_units, self.currency)

    @property
    def balance(self) -> Money:
        """The balance once posted."""
        return money.money(self.balance_units, self.currency)
