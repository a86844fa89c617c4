"""What is known of a card: for support, which speaks of a card by its serial."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from attrs import frozen

from cardbill import money
from cardbill.cards import Card
from cardbill.flags import BatchFlags
from cardbill.paging import call_rows, entry_rows
from cardbill.passing import catch_up
from cardbill.rows import card_from_row, entry_from_row, record_from_row
from cardbill.seals import Seals
from cardbill.status import Status

if TYPE_CHECKING:
    from moneyed import Money

    from cardbill.buckets import PackageAmount
    from cardbill.calls import CallRecord
    from cardbill.catalogue import Snapshot
    from cardbill.ledger import Entry
    from cardbill.shelf import Shelf
    from cardbill.storage.contract import CardRow, Storage


@frozen(kw_only=True)
class CardView:
    """A card as it stood at an instant.

    Attributes:
        card_id, batch, serial: Which.
        status: Derived at that instant.
        currency: ISO 4217 code.
        face_units, balance_units, held_units: Ledger units; the balance includes holds.
        owed_units: What is owed of charges, by their names; it stands outside the balance.
        packages: What is left of its packages, what calls hold of it included.
        first_used_at: ``None``: never used.
        expires_at: ``None``: never, or not before its first use.
        plan, plan_version: The plan it is pinned to; ``None``: not sold or used yet.
        moves_to, moves_at: The plan that it moves to, and when; ``None``: it stays.
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
    owed_units: dict[str, int]
    packages: tuple[PackageAmount, ...]
    first_used_at: datetime | None
    expires_at: datetime | None
    plan: str | None
    plan_version: int | None = None
    moves_to: str | None = None
    moves_at: datetime | None = None
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
    def owed(self) -> Money:
        """What is owed of charges, in all: it is paid first from what comes onto the card."""
        return money.money(sum(self.owed_units.values()), self.currency)

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


class Account(NamedTuple):
    """A card with all that belongs to it, at one moment.

    Attributes:
        card: As time has left it.
        entries: Its ledger.
        records: Its calls that are over, by call id.
    """

    card: Card
    entries: list[Entry]
    records: dict[str, CallRecord]


def account_at(storage: Storage, shelf: Shelf, card_id: str, at: datetime, seals: Seals) -> Account:
    """Return a card with its ledger and records as time has left them at `at`.

    Raises:
        UnknownName: There is no such card.
    """
    while True:
        row = storage.view(card_id).card
        posted, kept = list(entry_rows(storage, card_id)), list(call_rows(storage, card=card_id))
        if storage.view(card_id).card.version == row.version:
            break  # it stood still while it was read
    card = card_at(row, shelf, at, seals)
    records = [*(record_from_row(each, seals) for each in kept), *card.records]
    return Account(
        card,
        [*(entry_from_row(each, card.currency) for each in posted), *card.entries],
        {record.call_id: record for record in records},
    )


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
        owed_units=card.owed,
        packages=tuple(bucket.rest for bucket in card.buckets.values()),
        first_used_at=card.first_used_at,
        expires_at=card.expires_at,
        plan=card.plan and card.plan[0],
        plan_version=card.plan and card.plan[1],
        moves_to=card.moving and card.moving[0],
        moves_at=card.moving and card.moving[2],
        open_calls=tuple(card.holds),
    )
