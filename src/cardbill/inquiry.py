"""What is known of a card: for support, which speaks of a card by its serial."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from attrs import frozen

from cardbill import money
from cardbill.cards import Card
from cardbill.flags import BatchFlags
from cardbill.passing import catch_up
from cardbill.rows import card_from_row
from cardbill.seals import Seals
from cardbill.status import Status

if TYPE_CHECKING:
    from moneyed import Money

    from cardbill.catalogue import Snapshot
    from cardbill.shelf import Shelf
    from cardbill.storage.contract import CardRow


@frozen(kw_only=True)
class CardView:
    """A card as it stood at an instant.

    Attributes:
        card_id, batch, serial: Which.
        status: Derived at that instant.
        currency: ISO 4217 code.
        face_units, balance_units, held_units: Ledger units; the balance includes holds.
        first_used_at: ``None``: never used.
        expires_at: ``None``: never, or not before its first use.
        plan: The plan it is pinned to; ``None``: not sold or used yet.
        open_calls: The ids of calls in progress.
    """

    card_id: str
    batch: str
    serial: int
    status: Status
    currency: str
    face_units: int
    balance_units: int
    held_units: int
    first_used_at: datetime | None
    expires_at: datetime | None
    plan: str | None
    open_calls: tuple[str, ...]

    @property
    def face_value(self) -> Money:
        """What the card was sold as."""
        return money.money(self.face_units, self.currency)

    @property
    def balance(self) -> Money:
        """What it holds."""
        return money.money(self.balance_units, self.currency)

    @property
    def held(self) -> Money:
        """What its open calls may still cost."""
        return money.money(self.held_units, self.currency)

    @property
    def available(self) -> Money:
        """What a new call may cost."""
        return money.money(self.balance_units - self.held_units, self.currency)


def card_at(row: CardRow, shelf: Shelf, at: datetime, seals: Seals) -> Card:
    """Return a stored card as time has left it at `at`."""

    def read(snapshot: Snapshot) -> Card:
        card = card_from_row(row, seals)
        catch_up(card, snapshot, at)
        return card

    return shelf.peek(read)


def look_up(row: CardRow, shelf: Shelf, at: datetime, seals: Seals) -> CardView:
    """Return what is known of a stored card as time has left it at `at`."""
    card = card_at(row, shelf, at, seals)
    flags = shelf.peek(lambda snapshot: snapshot.flags(row.batch))
    return view_of(card, flags, at)


def view_of(card: Card, flags: BatchFlags, at: datetime) -> CardView:
    """Return what is known of a card that has caught up with `at`."""
    return CardView(
        card_id=card.id,
        batch=card.batch,
        serial=card.serial,
        status=card.status(at, stopped=bool(flags.stops(card.serial))),
        currency=card.currency,
        face_units=card.face,
        balance_units=card.balance,
        held_units=card.held,
        first_used_at=card.first_used_at,
        expires_at=card.expires_at,
        plan=card.plan and card.plan[0],
        open_calls=tuple(card.holds),
    )
