"""Carriers and the order in which they are tried: least cost first.

Source: domain.md section 7.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from attrs import frozen

from cardbill.errors import MissingFields
from cardbill.names import check_name
from cardbill.rating import Rate
from cardbill.tariffs import Tariff

if TYPE_CHECKING:
    from cardbill.decks import Deck

REFERENCE_SECONDS = 180
"""The call length at which routes are compared, unless the call must be shorter."""
MOST_ROUTES = 10
"""The most routes a call is given: nobody rings longer than that."""


@frozen(kw_only=True)
class Carrier:
    """Who carries calls, at what cost.

    Attributes:
        name: Unique, 1 to 64 printable characters.
        deck: The name of the rate deck of what the carrier charges.
    """

    name: str = ""  # required, as is the deck: see below
    deck: str = ""

    def __attrs_post_init__(self) -> None:
        if missing := [f for f in ("name", "deck") if not getattr(self, f)]:
            raise MissingFields("carrier", missing)
        check_name("name", self.name)
        check_name("deck", self.deck)


class Route(NamedTuple):
    """One way to carry a call.

    Attributes:
        carrier: The carrier's name.
        number: The E.164 number to send it.
        prefix: The row of the carrier's deck that applies.
        tariff: What the carrier charges, in the card's currency.
    """

    carrier: str
    number: str
    prefix: str
    tariff: Tariff

    @property
    def rate(self) -> Rate:
        """The carrier's rate in force at the grant."""
        return self.tariff.rate

    def cost(self, seconds: int, answered_at: datetime) -> int:
        """Return what the carrier charges for that long, answered then, in ledger units."""
        return self.tariff.price(seconds, answered_at)


class Refused(NamedTuple):
    """A carrier that cannot take the call, and why.

    Attributes:
        carrier: The carrier's name.
        reason: ``no_rate``, ``barred`` or ``currency``.
    """

    carrier: str
    reason: str


def routes(
    carriers: Iterable[tuple[Carrier, Deck]],
    number: str,
    at: datetime,
    *,
    currency: str,
    seconds: int | None,
    lasting: int = REFERENCE_SECONDS,
) -> tuple[tuple[Route, ...], tuple[Refused, ...]]:
    """Return the cheapest routes for a number, in order, and the carriers left out.

    Inside each carrier's deck the longest prefix counts; between carriers the cost of a
    whole call of ``min(seconds, REFERENCE_SECONDS)``, then the name.

    Args:
        carriers: With their decks.
        number: E.164 digits.
        at: Which rates are in force.
        currency: The card's; a carrier whose deck is in another one is left out.
        seconds: The longest the call may last; ``None``: without end.
        lasting: For how long routes must know the carriers' rates.
    """
    length = REFERENCE_SECONDS if seconds is None else min(seconds, REFERENCE_SECONDS)
    usable: list[tuple[int, str, Route]] = []
    refused: list[Refused] = []
    for carrier, deck in carriers:
        if deck.currency != currency:
            refused.append(Refused(carrier.name, "currency"))
        elif (match := deck.match(number, at)) is None:
            refused.append(Refused(carrier.name, "no_rate"))
        elif match.blocked:
            refused.append(Refused(carrier.name, "barred"))
        else:
            tariff = deck.tariff(match, number, at, lasting)
            route = Route(carrier.name, number, match.prefix, tariff)
            usable.append((route.cost(length, at), carrier.name, route))
    usable.sort(key=lambda priced: priced[:2])
    return tuple(route for _, _, route in usable[:MOST_ROUTES]), tuple(refused)
