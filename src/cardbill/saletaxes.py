"""Taxes on the sale of a card and on recharges: told in the ledger, paid by nobody's card.

The customer pays them at the till, on top of the value or inside of it; the card holds its
whole value either way. So each is an entry of amount 0 that says what the tax comes to and
on what. Source: domain.md section 6.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from cardbill.jurisdictions import TaxOn
from cardbill.ledger import EntryKind
from cardbill.packages import Unit
from cardbill.taxes import PriceLine
from cardbill.taxing import taxed

if TYPE_CHECKING:
    from cardbill.batches import Batch
    from cardbill.cards import Card
    from cardbill.catalogue import Snapshot

SALE = "sale"
"""What the entries of a card's own sale refer to; those of a recharge refer to that."""


def sold(card: Card, batch: Batch, shelf: Snapshot, at: datetime) -> None:
    """Tax the sale of a card, once: where it is taxed, this opens the account.

    Raises:
        TaxNeeded: A tax engine outside has to be asked first.
    """
    if not card.opened:
        told(card, batch, card.face, SALE, shelf, at)


def used(card: Card, batch: Batch, shelf: Snapshot, at: datetime) -> None:
    """Tax the sale of a card that nobody marked as sold, at its first use.

    A card taken over was sold elsewhere.

    Raises:
        TaxNeeded: A tax engine outside has to be asked first.
    """
    if not card.sold and not card.taken_over:
        sold(card, batch, shelf, at)


def told(card: Card, batch: Batch, amount: int, event: str, shelf: Snapshot, at: datetime) -> None:
    """Tell the taxes on selling so much value, in ledger units.

    Raises:
        TaxNeeded: A tax engine outside has to be asked first.
    """
    rules = shelf.taxes(batch, at)
    lines = (PriceLine(TaxOn.SALE, amount),)
    if rules is None or not rules.bear(lines):
        return
    for line in taxed(card, event, lines, rules, shelf, at).taxes:
        card.open(at)
        card.post(
            EntryKind.SALE_TAX,
            0,
            at,
            event,
            line.tax,
            line.amount,
            Unit.MONEY,
            line.base,
            rules.jurisdiction,
        )
