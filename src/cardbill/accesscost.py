"""What it costs the platform that a caller is on an access number: the inbound leg.

A toll-free number is paid for by whoever is called on it. Its provider's terms are pinned in
the hold with all else, so that a later price list never changes the margin of a call in
progress. Source: domain.md section 7, access cost.
"""

from __future__ import annotations

from typing import NamedTuple

from cardbill import money
from cardbill.exchange import Quote
from cardbill.rating import Rate, price


class AccessLeg(NamedTuple):
    """The inbound leg of a call, as it stood at the grant.

    Attributes:
        rate: What the provider of the access number charges.
        currency: In which: ISO 4217 code.
        quote: What that currency was worth; ``None``: there was no exchange rate.
    """

    rate: Rate
    currency: str
    quote: Quote | None

    def cost(self, seconds: int) -> int | None:
        """Return what so long a leg costs, in ledger units of its currency.

        ``None``: more than any ledger can hold.
        """
        cost = price(self.rate, seconds)
        return cost if cost <= money.MAX_UNITS else None
