"""What-if: past calls at the prices of another deck, or of another date.

What is compared is the rated price of the talk time that was charged (or, for a carrier,
the cost of the talk time that was reported), at the call's own hour. Calls stream through:
only one row per destination is kept. Source: domain.md section 7.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from attrs import define, frozen

from cardbill import money
from cardbill.calls import CallRecord
from cardbill.decks import Deck
from cardbill.errors import WrongCurrency
from cardbill.holds import Hold, whole_seconds

if TYPE_CHECKING:
    from moneyed import Money


@define(kw_only=True)
class DestinationComparison:
    """What calls to one destination were rated at, and would have been. Amounts in ledger units.

    Attributes:
        destination: The name that the deck gave it that rated the calls.
        currency: ISO 4217 code.
        calls: Calls with talk time that the other deck has a rate for.
        seconds: Their talk time.
        before_units: What they were rated at.
        after_units: What they would have been rated at.
        unrated_calls: Further calls, which the other deck has no rate for, or bars.
        unrated_seconds: Their talk time.
        unrated_units: What they were rated at; in no other figure.
    """

    destination: str
    currency: str
    calls: int = 0
    seconds: int = 0
    before_units: int = 0
    after_units: int = 0
    unrated_calls: int = 0
    unrated_seconds: int = 0
    unrated_units: int = 0

    @property
    def difference_units(self) -> int:
        """After less before, in ledger units."""
        return self.after_units - self.before_units

    @property
    def before(self) -> Money:
        """What the calls were rated at."""
        return money.money(self.before_units, self.currency)

    @property
    def after(self) -> Money:
        """What they would have been rated at."""
        return money.money(self.after_units, self.currency)

    @property
    def difference(self) -> Money:
        """After less before."""
        return money.money(self.difference_units, self.currency)


@frozen(kw_only=True)
class Comparison:
    """Past calls at other prices.

    Attributes:
        total: All calls together; its destination is empty.
        destinations: A row each, the largest difference first.
    """

    total: DestinationComparison
    destinations: tuple[DestinationComparison, ...]


class Rated(NamedTuple):
    """What a call was rated at.

    Attributes:
        seconds: Talk time.
        units: The amount, in ledger units.
        currency: ISO 4217 code.
    """

    seconds: int
    units: int
    currency: str


def prices(record: CallRecord) -> Rated | None:
    """Return what a call's charged talk time was rated at; ``None``: it was not charged."""
    hold = record.hold
    if hold is None or not record.seconds:
        return None
    price = hold.tariff.price(record.seconds, hold.answer(record.answered_at))
    return Rated(record.seconds, price, record.currency)


def costs(record: CallRecord) -> Rated | None:
    """Return what its carrier charges for a call; ``None``: nothing, or that is not known."""
    seconds = record.seconds if record.report is None else whole_seconds(record.report.talk_ms)
    if record.hold is None or not seconds or record.cost_units is None:
        return None
    return Rated(seconds, record.cost_units, record.cost_currency)


def compare(
    records: Iterable[CallRecord],
    before: Callable[[CallRecord], Rated | None],
    deck_of: Callable[[Hold], Deck],
    at: datetime | None,
    currency: str = "",
) -> Comparison:
    """Return what calls would have been rated at.

    Args:
        records: The calls; taken one by one.
        before: What a call was rated at; calls without talk time are left out.
        deck_of: The deck to rate a call by.
        at: Whose rates are in force; ``None``: at each call's grant. Bands are those of each
            call's own hour.
        currency: Of the decks, should there be no call; empty: not known.

    Raises:
        WrongCurrency: A call is in another currency than its deck, or than another call.
    """
    total = DestinationComparison(destination="", currency=currency)
    rows: dict[str, DestinationComparison] = {}
    for record in records:
        rated, hold = before(record), record.hold
        if rated is None or hold is None:
            continue
        deck = deck_of(hold)
        _check_currency(rated.currency, deck.currency, total.currency, record)
        total.currency = rated.currency
        row = rows.setdefault(
            record.destination,
            DestinationComparison(destination=record.destination, currency=rated.currency),
        )
        after = rerated(hold, rated.seconds, record.answered_at, deck, at)
        for each in (row, total):
            _add(each, rated, after)
    ordered = sorted(rows.values(), key=lambda row: (-abs(row.difference_units), row.destination))
    return Comparison(total=total, destinations=tuple(ordered))


def rerated(
    hold: Hold, seconds: int, answered_at: datetime | None, deck: Deck, at: datetime | None
) -> int | None:
    """Return what a call costs by a deck, in ledger units.

    ``None``: the deck has no rate for it, or bars it; or its number was purged.

    Args:
        hold: The terms the call was granted under: whom it called, and when.
        seconds: Talk time.
        answered_at: The answer, where known.
        deck: The deck.
        at: Whose rates are in force; ``None``: at the grant.
    """
    granted, answered = hold.granted_at, hold.answer(answered_at)
    if not hold.number:
        return None  # it was purged
    match = deck.match(hold.number, granted, effective_at=at)
    if match is None or match.blocked:
        return None
    lasting = seconds + (answered - granted) // timedelta(seconds=1)
    tariff = deck.tariff(match, hold.number, granted, lasting, effective_at=at)
    return tariff.price(seconds, answered)


def _check_currency(currency: str, decks: str, others: str, record: CallRecord) -> None:
    call = f"call {record.call_id} of card {record.card_id} is in {currency}"
    if currency != decks:
        raise WrongCurrency("deck", None, f"is in {decks}, {call}")
    if others not in ("", currency):
        raise WrongCurrency("records", None, f"{call}, others are in {others}")


def _add(row: DestinationComparison, rated: Rated, after: int | None) -> None:
    if after is None:
        row.unrated_calls += 1
        row.unrated_seconds += rated.seconds
        row.unrated_units += rated.units
    else:
        row.calls += 1
        row.seconds += rated.seconds
        row.before_units += rated.units
        row.after_units += after
