"""What a call takes from its card: the rated price, charges and taxes, and from buckets.

The terms of a call are fixed when it is granted. For every duration they make one bill, and
for every amount of money the longest duration whose bill fits: an exact inverse pair, as
:func:`cardbill.rating.price` and :func:`cardbill.rating.max_duration` are for the rated
price alone. Source: domain.md sections 3, 5 and 6.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from datetime import datetime
from enum import Enum
from functools import cached_property
from typing import NamedTuple

from attrs import frozen

from cardbill import money
from cardbill.buckets import Draw, drawn, held
from cardbill.charges import comes_to
from cardbill.increments import LONGEST_SECONDS
from cardbill.jurisdictions import TaxOn
from cardbill.packages import Unit
from cardbill.rating import Limit, limited
from cardbill.tariffs import Tariff
from cardbill.taxes import PriceLine, Taxed, TaxRules


class BillKind(Enum):
    """What a line of a bill is for; the values are stored."""

    PRICE = "price"
    """The rated price, without the tax in it."""
    CHARGE = "charge"
    """A charge, without the tax in it."""
    TAX = "tax"
    """A tax."""


class BillLine(NamedTuple):
    """One line of a bill.

    Attributes:
        kind: What it is for.
        name: The charge's or the tax's; empty for the price.
        amount: Ledger units, at least 0.
    """

    kind: BillKind
    name: str
    amount: int


class CallCharge(NamedTuple):
    """A charge as a call was granted under it.

    Attributes:
        name: Its name.
        units: Ledger units.
        parts: Millionths of the rated price.
        taxable: Whether taxes are on it.
        first: Only the first billed call of the card pays it.
    """

    name: str
    units: int
    parts: int
    taxable: bool
    first: bool


@frozen
class Bill:
    """What a call of one duration takes.

    Attributes:
        rated: The rated price, taxes in it included, in ledger units.
        lines: What the card's money pays, in the order in which it is taken: the price, the
            charges, the taxes.
        draws: What it takes from buckets.
    """

    rated: int
    lines: tuple[BillLine, ...]
    draws: tuple[Draw, ...]

    @property
    def total(self) -> int:
        """What the card's money pays, in ledger units."""
        return sum(line.amount for line in self.lines)


@frozen
class CallTerms:
    """All that a call is billed by.

    Attributes:
        tariff: What rates it.
        charges: What else it pays, in the order of the plan.
        taxes: What is on it; ``None``: nothing.
        draws: What it may take of buckets, in the order in which it does.
    """

    tariff: Tariff
    charges: tuple[CallCharge, ...] = ()
    taxes: TaxRules | None = None
    draws: tuple[Draw, ...] = ()

    def bill(
        self,
        seconds: int,
        answered_at: datetime,
        *,
        first: bool = False,
        taxed: Taxed | None = None,
    ) -> Bill:
        """Return the bill of a call.

        Args:
            seconds: Talk time, at least 0.
            answered_at: The answer.
            first: It is the first billed call of its card.
            taxed: What :meth:`quoted` is taxed with; ``None``: as its own rules say.
        """
        rated = self.rated(seconds, answered_at)
        if self.plain or not self.billed(seconds, answered_at):
            return Bill(rated, (BillLine(BillKind.PRICE, "", rated),), ())
        price, draws = self._price(seconds, rated, answered_at)
        charges = self._charges(rated, first=first)
        nets: Sequence[int] = [price, *(amount for _, amount in charges)]
        taxes: list[BillLine] = []
        if self.taxes is not None:
            if taxed is None:
                taxed = self.taxes.taxed(_quoted(price, charges))
            nets = taxed.nets
            taxes = [BillLine(BillKind.TAX, line.tax, line.amount) for line in taxed.taxes]
        lines = [
            BillLine(BillKind.PRICE, "", nets[0]),
            *(
                BillLine(BillKind.CHARGE, charge.name, net)
                for (charge, _), net in zip(charges, nets[1:], strict=True)
            ),
            *taxes,
        ]
        return Bill(rated, tuple(lines), draws)

    def quoted(
        self, seconds: int, answered_at: datetime, *, first: bool = False
    ) -> tuple[PriceLine, ...]:
        """Return the amounts of a call's bill that taxes may be on, as quoted; or none."""
        if self.taxes is None or not self.billed(seconds, answered_at):
            return ()
        rated = self.rated(seconds, answered_at)
        price, _ = self._price(seconds, rated, answered_at)
        return tuple(_quoted(price, self._charges(rated, first=first)))

    def rated(self, seconds: int, answered_at: datetime) -> int:
        """Return the rated price, of which buckets of money may pay a part."""
        return 0 if self._covered else self.rating.price(seconds, answered_at)

    def highest(self, seconds: int, granted_at: datetime) -> int:
        """Return the most that a call of that length takes of money, whenever it is answered."""
        rated = 0 if self._covered else self.rating.highest(seconds, granted_at)
        return self._pays(rated) if seconds > self.tariff.grace_seconds(granted_at) else 0

    def reserved(self, seconds: int | None, granted_at: datetime) -> tuple[Draw, ...]:
        """Return the most that a call of that length takes of buckets; ``None``: of any length.

        A bucket of which it takes nothing stays: it may waive the connect fee, and give to
        the call when that is extended.
        """
        if seconds is None:
            return self.draws
        rated = 0 if self._covered else self.rating.highest(seconds, granted_at)
        taken = self._drawn(seconds, rated, self.tariff.free_seconds(granted_at))
        return tuple(draw._replace(units=held(taken, draw.bucket)) for draw in self.draws)

    def longest(self, available: int, cap: int | None, granted_at: datetime) -> Limit:
        """Return the longest call whose bill fits, whenever it is answered.

        The exact inverse of :meth:`highest`; see :meth:`cardbill.tariffs.Tariff.longest`.
        """
        if not self.charges and self.taxes is None and not self._money:
            price: int | None = available
        else:
            price = self._largest_rated(available)
        if price is None:
            return limited(self.tariff.grace_seconds(granted_at), LONGEST_SECONDS, cap)
        if self._covered:
            return Limit(cap, by_money=False)
        return self.rating.longest(price, cap, granted_at)

    @property
    def plain(self) -> bool:
        """Whether a call pays its rated price and nothing else, as most do."""
        return not self.charges and self.taxes is None and not self.draws

    @cached_property
    def rating(self) -> Tariff:
        """The tariff once buckets of talk time, and connect fees they waive, are off."""
        waived = any(draw.waives_connect_fee for draw in self.draws)
        if not self._seconds and not waived:
            return self.tariff
        return self.tariff.after(self._seconds, connect_fee=not waived)

    def billed(self, seconds: int, answered_at: datetime) -> bool:
        """Say whether a call is longer than grace: only then it takes anything."""
        return seconds > self.tariff.rate_at(answered_at).grace_seconds

    # -- inside ---------------------------------------------------------------------------

    @cached_property
    def _seconds(self) -> int:
        return sum(draw.units for draw in self.draws if draw.unit is Unit.SECONDS)

    @cached_property
    def _money(self) -> int:
        return sum(draw.units for draw in self.draws if draw.unit is Unit.MONEY)

    @cached_property
    def _covered(self) -> bool:
        return any(draw.unit is Unit.CALLS for draw in self.draws)

    def _price(
        self, seconds: int, rated: int, answered_at: datetime
    ) -> tuple[int, tuple[Draw, ...]]:
        """Return what the card's money pays of a rated price, and what buckets give."""
        draws = self._drawn(seconds, rated, self.tariff.rate_at(answered_at).free_seconds)
        return rated - sum(draw.units for draw in draws if draw.unit is Unit.MONEY), draws

    def _drawn(self, seconds: int, rated: int, free: int) -> tuple[Draw, ...]:
        if self._covered:
            return self.draws
        talk = drawn(self.draws, Unit.SECONDS, max(0, seconds - free))
        return (*talk, *drawn(self.draws, Unit.MONEY, rated))

    def _charges(self, rated: int, *, first: bool) -> list[tuple[CallCharge, int]]:
        return [
            (charge, comes_to(charge.units, charge.parts, rated))
            for charge in self.charges
            if first or not charge.first
        ]

    def _pays(self, rated: int) -> int:
        """Return the most that the card's money pays for a billed call of that rated price."""
        price = rated - min(rated, self._money)
        charges = self._charges(rated, first=True)
        if self.taxes is None:
            return price + sum(amount for _, amount in charges)
        return self.taxes.total(_quoted(price, charges))

    def _largest_rated(self, available: int) -> int | None:
        """Return the largest rated price whose bill fits; ``None``: not even that of 0 does."""
        if self._pays(0) > available:
            return None
        # A bill is at least the rated price less what buckets of money pay of it.
        most = min(available + self._money, money.MAX_UNITS)
        return bisect_right(range(1, most + 1), available, key=self._pays)


def _quoted(price: int, charges: Sequence[tuple[CallCharge, int]]) -> list[PriceLine]:
    """Return a bill's amounts as the taxes see them."""
    lines = [PriceLine(TaxOn.USAGE, price)]
    lines += [PriceLine(TaxOn.SURCHARGE, amount, charge.taxable) for charge, amount in charges]
    return lines
