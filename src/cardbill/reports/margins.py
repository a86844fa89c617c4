"""What calls brought in and cost, grouped by what one wants to know it of.

Source: domain.md sections 7 and 8.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from attrs import define

from cardbill import money
from cardbill.calls import CallRecord, Outcome

if TYPE_CHECKING:
    from decimal import Decimal

    from moneyed import Money


class MarginBy(Enum):
    """What calls are grouped by."""

    DESTINATION = "destination"
    """The deck's name for the called number (the default)."""
    CARRIER = "carrier"
    """Who carried them; empty: not known, or not answered."""
    BATCH = "batch"
    """The card's batch."""
    PLAN = "plan"
    """The plan that they were granted under."""
    DAY = "day"
    """The local date on which they ended, as in ``2025-03-31``."""


@define(kw_only=True)
class Margin:
    """What a group of calls brought in. Amounts in ledger units end in ``_units``.

    Every amount of a call was converted once, at the rate that the call was granted at.

    Attributes:
        by: What calls are grouped by.
        key: Which group.
        currency: The ISO 4217 code of the base currency at the grant; without exchange
            rates, of the cards.
        calls: Calls settled, answered or not.
        answered: Of these, with talk time.
        unsettled: Calls beside these that were charged though no switch settled them in
            time, or they were never granted.
        seconds: Charged talk time of all.
        price_units: Before tax.
        cost_units: Of carriers, for the calls whose cost is known.
        access_units: Of the access numbers, for the same calls.
        uncosted: Calls with talk time whose cost is not known; their price counts in no margin.
        margin_units: Price before tax less both costs, over the calls whose cost is known.
    """

    by: MarginBy
    key: str
    currency: str
    calls: int = 0
    answered: int = 0
    unsettled: int = 0
    seconds: int = 0
    price_units: int = 0
    cost_units: int = 0
    access_units: int = 0
    uncosted: int = 0
    margin_units: int = 0

    @property
    def minutes(self) -> Decimal:
        """Charged talk time in minutes, to 0.0001."""
        minutes = money.quotient(self.seconds, 60)
        assert minutes is not None  # noqa: S101  # 60 is not nothing
        return minutes

    @property
    def asr_percent(self) -> Decimal | None:
        """The answer-seizure ratio: answered in percent of the calls settled."""
        return money.percentage(self.answered, self.calls)

    @property
    def acd_seconds(self) -> Decimal | None:
        """The average duration of the calls with talk time, in seconds to 0.0001."""
        return money.quotient(self.seconds, self.answered + self.unsettled)

    @property
    def price(self) -> Money:
        """Revenue before tax."""
        return money.money(self.price_units, self.currency)

    @property
    def cost(self) -> Money:
        """What the carriers charge."""
        return money.money(self.cost_units, self.currency)

    @property
    def access_cost(self) -> Money:
        """What the access numbers cost."""
        return money.money(self.access_units, self.currency)

    @property
    def margin(self) -> Money:
        """Price before tax less cost and access cost."""
        return money.money(self.margin_units, self.currency)

    @property
    def margin_percent(self) -> Decimal | None:
        """The margin in percent of the price of calls of known cost; ``None`` of no price."""
        costs = self.cost_units + self.access_units
        return money.percentage(self.margin_units, self.margin_units + costs)

    def add(self, record: CallRecord) -> None:
        """Take a call in."""
        settled = record.outcome is Outcome.SETTLED
        self.calls += settled
        self.answered += settled and record.seconds > 0
        self.unsettled += not settled
        self.seconds += record.seconds
        price, cost = record.base_price_units, record.base_cost_units
        access = record.base_access_units
        self.price_units += price
        if cost is None or access is None:
            self.uncosted += 1
        else:
            self.cost_units += cost
            self.access_units += access
            self.margin_units += price - cost - access


def margins(records: Iterable[CallRecord], by: MarginBy, zone: ZoneInfo) -> list[Margin]:
    """Return what calls brought in, by group: days in order, else the highest margin first."""
    group = _groups(by, zone)
    rows: dict[tuple[str, str], Margin] = {}
    for record in records:
        if record.outcome is Outcome.SETTLED or record.seconds:
            place = group(record), record.base_currency
            if (row := rows.get(place)) is None:
                row = rows[place] = Margin(by=by, key=place[0], currency=place[1])
            row.add(record)
    if by is MarginBy.DAY:
        return sorted(rows.values(), key=lambda row: (row.key, row.currency))
    return sorted(rows.values(), key=lambda row: (-row.margin_units, row.key, row.currency))


def _groups(by: MarginBy, zone: ZoneInfo) -> Callable[[CallRecord], str]:
    groups: dict[MarginBy, Callable[[CallRecord], str]] = {
        MarginBy.DESTINATION: lambda record: record.destination,
        MarginBy.CARRIER: lambda record: record.carrier or "",
        MarginBy.BATCH: lambda record: record.batch,
        MarginBy.PLAN: lambda record: record.hold.plan if record.hold else "",
        MarginBy.DAY: lambda record: record.ended_at.astimezone(zone).date().isoformat(),
    }
    return groups[by]
