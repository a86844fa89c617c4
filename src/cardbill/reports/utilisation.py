"""What has become of a batch: its PINs by status, and its money by kind of entry."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from attrs import frozen

from cardbill import money
from cardbill.ledger import EntryKind
from cardbill.status import Status

if TYPE_CHECKING:
    from decimal import Decimal

    from moneyed import Money

    from cardbill.batches import Batch
    from cardbill.cards import Card
    from cardbill.flags import BatchFlags


@frozen(kw_only=True)
class Utilisation:
    """What has become of a batch. Amounts in ledger units end in ``_units``.

    The money adds up: face value and all else that was put on the cards is what was taken
    from them and what is left.

    Attributes:
        batch: Its name.
        currency: ISO 4217 code.
        issued: PINs made.
        by_status: How many have each status; every status is listed.
        activated: How many have ever been used.
        face_units: What all of them were sold as.
        posted_units: The sum of the ledgers' entries by kind, every kind listed; what was
            taken is negative. Face value stands here only of cards whose account is open.
        held_units: What open calls may still take.
        liability_units: What is left on the cards, holds included, also on those that nobody
            has bought yet.
    """

    batch: str
    currency: str
    issued: int
    by_status: dict[Status, int]
    activated: int
    face_units: int
    posted_units: dict[EntryKind, int]
    held_units: int
    liability_units: int

    def posted(self, kind: EntryKind) -> Money:
        """Return the sum of all entries of a kind; negative: taken."""
        return money.money(self.posted_units[kind], self.currency)

    @property
    def spent_units(self) -> int:
        """What calls have taken, without charges and taxes."""
        return -self.posted_units[EntryKind.CALL]

    @property
    def charges_units(self) -> int:
        """What charges have taken, on calls and otherwise, without taxes."""
        return -self.posted_units[EntryKind.CHARGE]

    @property
    def taxes_units(self) -> int:
        """What taxes have taken."""
        return -self.posted_units[EntryKind.TAX]

    @property
    def breakage_units(self) -> int:
        """What was left on cards when they expired."""
        return -self.posted_units[EntryKind.BREAKAGE]

    @property
    def voided_units(self) -> int:
        """What voided cards were sold as, as far as it had not expired."""
        return -self.posted_units[EntryKind.VOID]

    @property
    def fee_percent(self) -> Decimal | None:
        """The share of charges in what was spent before tax; ``None``: nothing was."""
        return money.percentage(self.charges_units, self.charges_units + self.spent_units)

    @property
    def face_value(self) -> Money:
        """What all cards were sold as."""
        return money.money(self.face_units, self.currency)

    @property
    def spent(self) -> Money:
        """What calls have taken, without charges and taxes."""
        return money.money(self.spent_units, self.currency)

    @property
    def charges(self) -> Money:
        """What charges have taken, on calls and otherwise, without taxes."""
        return money.money(self.charges_units, self.currency)

    @property
    def taxes(self) -> Money:
        """What taxes have taken."""
        return money.money(self.taxes_units, self.currency)

    @property
    def held(self) -> Money:
        """What open calls may still take."""
        return money.money(self.held_units, self.currency)

    @property
    def breakage(self) -> Money:
        """What was left on cards when they expired."""
        return money.money(self.breakage_units, self.currency)

    @property
    def voided(self) -> Money:
        """What voided cards were sold as."""
        return money.money(self.voided_units, self.currency)

    @property
    def liability(self) -> Money:
        """What is left on the cards, also on those that nobody has bought yet."""
        return money.money(self.liability_units, self.currency)


def utilisation(
    batch: Batch, flags: BatchFlags, cards: Iterable[Card], at: datetime
) -> Utilisation:
    """Return what has become of a batch whose cards have caught up with `at`."""
    by_status = dict.fromkeys(Status, 0)
    posted: Counter[str] = Counter()
    issued = activated = face = held = balance = 0
    for card in cards:
        issued += 1
        by_status[card.status(at, stopped=bool(flags.stops(card.serial)))] += 1
        activated += card.first_used_at is not None
        for kind, amount in card.posted.items():
            posted[kind] += amount
        face += card.face
        held += card.held
        balance += card.balance
    return Utilisation(
        batch=batch.name,
        currency=batch.currency,
        issued=issued,
        by_status=by_status,
        activated=activated,
        face_units=face,
        posted_units={kind: posted[kind.value] for kind in EntryKind},
        held_units=held,
        liability_units=balance,
    )
