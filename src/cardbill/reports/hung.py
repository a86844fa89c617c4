"""Calls of which nothing was heard: open for too long, or ended by no report."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from attrs import frozen

from cardbill import money
from cardbill.calls import CallRecord, Outcome, make_handle

if TYPE_CHECKING:
    from moneyed import Money

    from cardbill.cards import Card
    from cardbill.holds import Hold


@frozen(kw_only=True)
class HungCall:
    """A call that nobody has ended. Amounts in ledger units end in ``_units``.

    Attributes:
        card_id, batch, serial: Whose.
        call_id: Which.
        currency: ISO 4217 code.
        destination: The deck's name for the called number.
        granted_at: When.
        heard_at: When something was heard of it last: the grant, or the last extension.
        used_seconds: Talk time reported so far.
        expires_at: When its hold ends, or ended, by itself.
        expired: Its hold has ended.
        held_units: What is held for it.
        charged_units: What was charged when its hold ended.
    """

    card_id: str
    batch: str
    serial: int
    call_id: str
    currency: str
    destination: str
    granted_at: datetime
    heard_at: datetime
    used_seconds: int
    expires_at: datetime
    expired: bool
    held_units: int
    charged_units: int

    @property
    def handle(self) -> str:
        """By what the call can be settled or cancelled, as its grant said."""
        return make_handle(self.card_id, self.call_id)

    @property
    def held(self) -> Money:
        """What is held for it."""
        return money.money(self.held_units, self.currency)

    @property
    def charged(self) -> Money:
        """What was charged when its hold ended."""
        return money.money(self.charged_units, self.currency)


def open_calls(card: Card, at: datetime, age: timedelta) -> Iterator[HungCall]:
    """Yield a card's open calls of which nothing was heard for so long at `at`."""
    for hold in card.holds.values():
        if heard(hold) + age <= at:
            yield _hung(hold, card.id, card.batch, card.serial, card.currency, None)


def expired_call(record: CallRecord) -> HungCall | None:
    """Return the call of a record if its hold ended by itself and no report came since."""
    if record.outcome is not Outcome.EXPIRED or (hold := record.hold) is None:
        return None
    return _hung(
        hold, record.card_id, record.batch, record.serial, record.currency, record.total_units
    )


def heard(hold: Hold) -> datetime:
    """Return when something was heard of a call last."""
    return hold.granted_at if hold.renewed_at is None else hold.renewed_at


def _hung(
    hold: Hold, card_id: str, batch: str, serial: int, currency: str, charged: int | None
) -> HungCall:
    return HungCall(
        card_id=card_id,
        batch=batch,
        serial=serial,
        call_id=hold.call_id,
        currency=currency,
        destination=hold.destination,
        granted_at=hold.granted_at,
        heard_at=heard(hold),
        used_seconds=hold.used_seconds,
        expires_at=hold.expires_at,
        expired=charged is not None,
        held_units=hold.amount if charged is None else 0,
        charged_units=charged or 0,
    )
