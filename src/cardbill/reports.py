"""Figures over cards and calls, computed from any store, page by page.

Source: domain.md section 8.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING

from attrs import define, frozen

from cardbill import money
from cardbill.calls import CallRecord, Outcome
from cardbill.decks import Deck
from cardbill.errors import InvalidInput
from cardbill.inquiry import card_at
from cardbill.instants import aware
from cardbill.ledger import EntryKind
from cardbill.rerating import Comparison, compare, costs, prices
from cardbill.rows import is_call, record_from_row
from cardbill.status import Status

if TYPE_CHECKING:
    from decimal import Decimal

    from moneyed import Money

    from cardbill.seals import Seals
    from cardbill.shelf import Shelf
    from cardbill.storage.contract import CardRow, Storage


@frozen(kw_only=True)
class Utilisation:
    """What has become of a batch. Amounts in ledger units end in ``_units``.

    Attributes:
        batch: Its name.
        currency: ISO 4217 code.
        issued: PINs made.
        by_status: How many have each status; every status is listed.
        activated: How many have ever been used.
        face_units: What all of them were sold as.
        spent_units: What calls have taken.
        held_units: What open calls may still take.
        breakage_units: What was left on cards when they expired.
        voided_units: What voided cards were sold as, as far as it had not expired.
        liability_units: What callers can still spend, holds included.
    """

    batch: str
    currency: str
    issued: int
    by_status: dict[Status, int]
    activated: int
    face_units: int
    spent_units: int
    held_units: int
    breakage_units: int
    voided_units: int
    liability_units: int

    @property
    def face_value(self) -> Money:
        """What all cards were sold as."""
        return money.money(self.face_units, self.currency)

    @property
    def spent(self) -> Money:
        """What calls have taken."""
        return money.money(self.spent_units, self.currency)

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
        """What callers can still spend."""
        return money.money(self.liability_units, self.currency)


@define(kw_only=True)
class DestinationMargin:
    """What the calls to one destination brought in. Amounts in ledger units.

    Every amount of a call was converted once, at the rate that the call was granted at.

    Attributes:
        destination: The deck's name for it.
        currency: The ISO 4217 code of the base currency at the grant; without exchange
            rates, of the cards.
        calls: Calls settled, answered or not.
        answered: Of these, with talk time.
        seconds: Charged talk time.
        price_units: Before tax.
        cost_units: Of the calls whose carrier is known.
        uncosted: Answered calls whose cost is not known; their price counts in no margin.
        margin_units: Price before tax less cost, over the calls whose cost is known.
    """

    destination: str
    currency: str
    calls: int = 0
    answered: int = 0
    seconds: int = 0
    price_units: int = 0
    cost_units: int = 0
    uncosted: int = 0
    margin_units: int = 0

    @property
    def price(self) -> Money:
        """Revenue before tax."""
        return money.money(self.price_units, self.currency)

    @property
    def cost(self) -> Money:
        """What the carriers charge."""
        return money.money(self.cost_units, self.currency)

    @property
    def margin(self) -> Money:
        """Price before tax less cost."""
        return money.money(self.margin_units, self.currency)

    @property
    def margin_percent(self) -> Decimal | None:
        """The margin in percent of the price of calls of known cost; ``None`` of no price."""
        return money.percentage(self.margin_units, self.margin_units + self.cost_units)


class Reports:
    """Reports over one store."""

    def __init__(
        self, storage: Storage, shelf: Shelf, seals: Seals, now: Callable[[], datetime]
    ) -> None:
        self._storage = storage
        self._seals = seals
        self._shelf = shelf
        self._now = now

    def utilisation(self, batch: str, *, at: datetime | None = None) -> Utilisation:
        """Return what has become of a batch's PINs and money.

        Args:
            batch: The batch's name.
            at: The instant; default: now.

        Raises:
            UnknownName: There is no such batch.
        """
        terms = self._shelf.get(lambda snapshot: snapshot.batch(batch))
        now = self._now() if at is None else aware("at", at)
        flags = self._shelf.peek(lambda snapshot: snapshot.flags(batch))
        by_status = dict.fromkeys(Status, 0)
        issued = activated = face = spent = held = breakage = voided = balance = 0
        for row in self._cards(batch):
            card = card_at(row, self._shelf, now, self._seals)
            issued += 1
            by_status[card.status(now, stopped=bool(flags.stops(card.serial)))] += 1
            activated += card.first_used_at is not None
            face += card.face
            spent -= card.posted.get(EntryKind.CALL.value, 0)
            breakage -= card.posted.get(EntryKind.BREAKAGE.value, 0)
            voided -= card.posted.get(EntryKind.VOID.value, 0)
            held += card.held
            balance += card.balance
        return Utilisation(
            batch=batch,
            currency=terms.currency,
            issued=issued,
            by_status=by_status,
            activated=activated,
            face_units=face,
            spent_units=spent,
            held_units=held,
            breakage_units=breakage,
            voided_units=voided,
            liability_units=balance,
        )

    def margin_by_destination(self, *, batch: str | None = None) -> list[DestinationMargin]:
        """Return revenue, cost and margin of settled calls by destination, in base currency.

        Args:
            batch: Only calls of this batch's cards; default: all.

        Returns:
            One row per destination (and per base currency, if there has been more than
            one), the highest margin first.
        """
        rows: dict[tuple[str, str], DestinationMargin] = {}
        for record in self._records(batch):
            if record.outcome is not Outcome.SETTLED:
                continue
            key = record.destination, record.base_currency
            row = rows.setdefault(key, DestinationMargin(destination=key[0], currency=key[1]))
            row.calls += 1
            row.answered += record.seconds > 0
            row.seconds += record.seconds
            price, cost = record.base_price_units, record.base_cost_units
            row.price_units += price
            if cost is None:
                row.uncosted += 1
            else:
                row.cost_units += cost
                row.margin_units += price - cost
        return sorted(rows.values(), key=lambda row: (-row.margin_units, row.destination))

    def what_if(
        self,
        records: Iterable[CallRecord] | None = None,
        *,
        deck: str | Deck | None = None,
        carrier: str | None = None,
        at: datetime | None = None,
        batch: str | None = None,
    ) -> Comparison:
        """Return what past calls would have been rated at, by another deck or at another date.

        Compared is the rated price of the talk time that was charged, at each call's own
        hour, whether or not the card had the money; or what a carrier charges for its calls.

        Args:
            records: The calls, taken one by one; default: all in the store.
            deck: The deck, or the name of one; default: the one that rated each call, or the
                carrier's, as it stands now.
            carrier: Compare the cost of the calls that it carried, as far as it is known.
            at: Whose rates are in force; default: at each call's own time.
            batch: Only calls of this batch's cards, if `records` are not given.

        Raises:
            UnknownName: There is no such deck or carrier.
            WrongCurrency: A call is in another currency than the deck, or than other calls.
            InvalidInput: Records are given and a batch too; or the instant cannot be used.
        """
        if records is not None and batch is not None:
            raise InvalidInput("batch", batch, "is for the records of the store: give one")
        instant = None if at is None else aware("at", at)
        if records is None:
            records = self._records(batch)
        if carrier is not None:
            if deck is None:
                deck = self._shelf.get(lambda snapshot: snapshot.carrier(carrier).deck)
            records = (record for record in records if record.carrier == carrier)
        before = prices if carrier is None else costs
        if deck is None:
            own = cache(lambda name: self._shelf.peek(lambda snapshot: snapshot.deck(name)))
            self._shelf.refresh()
            return compare(records, before, lambda hold: own(hold.deck), instant)
        other = deck if isinstance(deck, Deck) else self._deck(deck)
        return compare(records, before, lambda _: other, instant, other.currency)

    def _deck(self, name: str) -> Deck:
        return self._shelf.get(lambda snapshot: snapshot.deck(name))

    def _cards(self, batch: str) -> Iterator[CardRow]:
        after = 0
        while page := self._storage.find_cards(batch, after=after):
            after = page[-1].serial
            yield from page

    def _records(self, batch: str | None) -> Iterator[CallRecord]:
        after: tuple[str, str] | None = None
        while page := self._storage.records(batch=batch, after=after):
            after = page[-1].card, page[-1].key
            yield from (record_from_row(row, self._seals) for row in page if is_call(row))
