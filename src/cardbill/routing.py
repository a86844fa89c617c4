"""Routing: which carriers may take a call, and in what order they are tried.

Inside each carrier's deck the longest prefix counts, always. Between carriers the plan's
policy decides, and ties are broken in one way: by cost, then by name. Amounts are compared
in the base currency, each converted once. Source: domain.md section 7.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from enum import Enum
from functools import cached_property
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from attrs import field, frozen

from cardbill import money
from cardbill.carriers import PPM_PER_PERCENT, WHOLE_PPM, Carrier, percent
from cardbill.errors import InvalidInput
from cardbill.exchange import ExchangeRates, Quote, no_rates
from cardbill.names import check_choice, check_count
from cardbill.rating import Rate
from cardbill.tariffs import Tariff

if TYPE_CHECKING:
    from moneyed import Money

    from cardbill.decks import Deck

REFERENCE_SECONDS = 180
"""The call length at which routes are compared, unless the call must be shorter."""
MOST_ROUTES = 10
"""The most routes a call is given: nobody rings longer than that."""


class RouteOrder(Enum):
    """What decides which carrier is tried first."""

    COST = "cost"
    """The cheapest (the default)."""
    PRIORITY = "priority"
    """The lowest priority number."""
    QUALITY = "quality"
    """The highest ASR, then the highest ACD; what is not known counts as 0."""
    SHARE = "share"
    """By lot, in proportion to weights; one call id always draws the same lot."""
    BLEND = "blend"
    """Cost and quality, weighed against each other."""


def _order(value: RouteOrder | str) -> RouteOrder:
    return check_choice("order", value, RouteOrder)


def _margin_percent(value: object) -> Decimal | None:
    return percent("minimum_margin_percent", value)


@frozen(kw_only=True)
class Routing:
    """A plan's policy: in what order carriers are tried, and which earn too little.

    Attributes:
        order: What decides: ``cost`` (the default), ``priority``, ``quality``, ``share`` by
            weight, or a ``blend``.
        most_routes: How many carriers are tried at most, 1 to 10 (the default).
        cost_weight, quality_weight: What cost and quality weigh in a blend, 0 to 1,000
            each, not both 0. The lowest ``cost_weight * cost / highest cost +
            quality_weight * (1 - ASR)`` is tried first; it is compared exactly.
        minimum_margin: ``Money`` that a call must be expected to earn at least, in the
            plan's currency; ``None``: no such limit.
        minimum_margin_percent: The least margin in percent of what the card pays, 0 to 100
            in steps of 0.0001; ``None``: no such limit. With both, the higher one counts.

    Raises:
        InvalidInput: A field has a value that cannot be used; it is named.
    """

    order: RouteOrder = field(default=RouteOrder.COST, converter=_order)
    most_routes: int = MOST_ROUTES
    cost_weight: int = 1
    quality_weight: int = 1
    minimum_margin: Money | None = None
    minimum_margin_percent: Decimal | None = field(default=None, converter=_margin_percent)

    def __attrs_post_init__(self) -> None:
        check_count("most_routes", self.most_routes, 1, MOST_ROUTES)
        for name in ("cost_weight", "quality_weight"):
            check_count(name, getattr(self, name), 0, 1_000)
        if not self.cost_weight and not self.quality_weight:
            raise InvalidInput("cost_weight", 0, "and quality_weight must not both be 0")
        if self.minimum_margin is not None:
            check_count("minimum_margin", self.minimum_margin_units, 0, money.MAX_UNITS)

    @cached_property
    def currency(self) -> str | None:
        """The currency of the least margin; ``None``: there is no such amount."""
        if self.minimum_margin is None:
            return None
        if not hasattr(self.minimum_margin, "currency"):
            raise InvalidInput("minimum_margin", self.minimum_margin, "must be Money")
        return money.currency_code("minimum_margin", self.minimum_margin.currency)

    @cached_property
    def minimum_margin_units(self) -> int:
        """The least margin in ledger units; 0 where there is none."""
        if self.currency is None:
            return 0
        return money.units("minimum_margin", self.minimum_margin, self.currency)

    @cached_property
    def minimum_margin_ppm(self) -> int:
        """The least margin in parts per million of what the card pays."""
        if self.minimum_margin_percent is None:
            return 0
        return money.parts("minimum_margin_percent", self.minimum_margin_percent, PPM_PER_PERCENT)

    @cached_property
    def guards(self) -> bool:
        """Whether carriers are left out that earn too little."""
        return self.minimum_margin is not None or self.minimum_margin_percent is not None


LEAST_COST = Routing()
"""The policy of a plan that has no other."""


class Route(NamedTuple):
    """One way to carry a call.

    Attributes:
        carrier: The carrier's name.
        number: What the switch sends it: the E.164 number, rewritten as the carrier wants it.
        prefix: The row of the carrier's deck that applies.
        tariff: What the carrier charges, in its own currency.
        quote: What that currency is worth.
    """

    carrier: str
    number: str
    prefix: str
    tariff: Tariff
    quote: Quote

    @property
    def rate(self) -> Rate:
        """The carrier's rate in force at the grant."""
        return self.tariff.rate

    @property
    def currency(self) -> str:
        """The carrier's ISO 4217 code."""
        return self.quote.currency

    def cost(self, seconds: int, answered_at: datetime) -> int:
        """Return what the carrier charges for that long, in ledger units of its currency."""
        return self.tariff.price(seconds, answered_at)


class Refused(NamedTuple):
    """A carrier that is not given the call, and why.

    Attributes:
        carrier: The carrier's name.
        reason: ``currency`` (it, or the card's, has no exchange rate), ``blocked`` (one of
            its blocked prefixes), ``no_rate``, ``barred`` (by its deck), ``full`` or
            ``margin``: the first of these that applies.
    """

    carrier: str
    reason: str


class _Offer(NamedTuple):
    """A carrier that may take the call, and what it costs by it in the base currency."""

    cost: int
    name: str
    carrier: Carrier
    prefix: str
    tariff: Tariff
    quote: Quote

    def route(self, number: str) -> Route:
        sent = self.carrier.dialled(number)
        return Route(self.name, sent, self.prefix, self.tariff, self.quote)


_by_cost = itemgetter(0, 1)


def routes(
    carriers: Iterable[tuple[Carrier, Deck]],
    number: str,
    at: datetime,
    *,
    sell: Tariff,
    currency: str,
    seconds: int | None,
    policy: Routing = LEAST_COST,
    rates: ExchangeRates | None = None,
    call_id: str = "",
    busy: Mapping[str, int] | None = None,
    lasting: int = REFERENCE_SECONDS,
) -> tuple[tuple[Route, ...], tuple[Refused, ...]]:
    """Return the routes for a number in the order to try them, and the carriers left out.

    Costs are compared over a whole call of ``min(seconds, REFERENCE_SECONDS)``: the same
    length for all, so that nobody gains by short calls. The margin is guarded at
    ``min(seconds, the carrier's ACD or REFERENCE_SECONDS)``.

    Args:
        carriers: With their decks.
        number: E.164 digits.
        at: Which rates are in force.
        sell: What the card pays.
        currency: The card's.
        seconds: The longest the call may last; ``None``: without end.
        policy: The plan's.
        rates: What currencies are worth; ``None``: only the card's own is known.
        call_id: What lots are drawn by.
        busy: How many calls carriers have now, by name; not told: none.
        lasting: For how long routes must know the carriers' rates.
    """
    rates = rates or no_rates(currency)
    own = rates.quote(currency, at)
    length = REFERENCE_SECONDS if seconds is None else min(seconds, REFERENCE_SECONDS)
    offers: list[_Offer] = []
    refused: list[Refused] = []
    for carrier, deck in carriers:
        quote = own if deck.currency == currency else rates.quote(deck.currency, at)
        reason = None
        if own is None or quote is None:
            reason = "currency"
        elif carrier.blocks(number):
            reason = "blocked"
        elif (match := deck.match(number, at)) is None:
            reason = "no_rate"
        elif match.blocked:
            reason = "barred"
        elif carrier.capacity is not None and (busy or {}).get(carrier.name, 0) >= carrier.capacity:
            reason = "full"
        else:
            tariff = deck.tariff(match, number, at, lasting)
            cost = quote.in_base(tariff.price(length, at))
            offer = _Offer(cost, carrier.name, carrier, match.prefix, tariff, quote)
            if policy.guards and not _earns(offer, policy, sell, own, seconds, at):
                reason = "margin"
            else:
                offers.append(offer)
        if reason is not None:
            refused.append(Refused(carrier.name, reason))
    offers.sort(key=_by_cost)
    ordered = _ORDERS[policy.order](offers, policy, call_id)
    found = tuple(offer.route(number) for offer in ordered[: policy.most_routes])
    return found, tuple(refused)


def _earns(
    offer: _Offer, policy: Routing, sell: Tariff, own: Quote, longest: int | None, at: datetime
) -> bool:
    """Say whether a call as it is expected earns as much as the policy wants, fees and all."""
    acd = offer.carrier.acd_seconds
    seconds = REFERENCE_SECONDS if acd is None else acd
    seconds = seconds if longest is None else min(seconds, longest)
    price = own.in_base(sell.price(seconds, at))
    margin = price - offer.quote.in_base(offer.tariff.price(seconds, at))
    return (
        policy.minimum_margin is None or margin >= own.in_base(policy.minimum_margin_units)
    ) and (
        policy.minimum_margin_percent is None
        or margin * WHOLE_PPM >= price * policy.minimum_margin_ppm
    )


# -- orders: each is given the offers by cost and name, and sorts stably ----------------------


def _cheapest(offers: Sequence[_Offer], _policy: Routing, _call_id: str) -> Sequence[_Offer]:
    return offers


def _preferred(offers: Sequence[_Offer], _policy: Routing, _call_id: str) -> Sequence[_Offer]:
    return sorted(offers, key=lambda offer: offer.carrier.priority)


def _best(offers: Sequence[_Offer], _policy: Routing, _call_id: str) -> Sequence[_Offer]:
    def quality(offer: _Offer) -> tuple[int, int]:
        return -(offer.carrier.asr_ppm or 0), -(offer.carrier.acd_seconds or 0)

    return sorted(offers, key=quality)


def _blended(offers: Sequence[_Offer], policy: Routing, _call_id: str) -> Sequence[_Offer]:
    # All multiplied by the highest cost and by a million, so that nothing is divided.
    highest = max((offer.cost for offer in offers), default=0) or 1

    def score(offer: _Offer) -> int:
        failing = WHOLE_PPM - (offer.carrier.asr_ppm or 0)
        cost, quality = offer.cost * WHOLE_PPM, failing * highest
        return policy.cost_weight * cost + policy.quality_weight * quality

    return sorted(offers, key=score)


def _shared(offers: Sequence[_Offer], policy: Routing, call_id: str) -> Sequence[_Offer]:
    # By name, so that a change of price changes nobody's lot. Each draw takes its part of one
    # large number; ten draws of a thousand carriers take 200 of its 256 bits.
    left = sorted((offer for offer in offers if offer.carrier.weight), key=lambda o: o.name)
    total = sum(offer.carrier.weight for offer in left)
    chance = int.from_bytes(hashlib.sha256(call_id.encode()).digest(), "big")
    drawn: list[_Offer] = []
    while left and len(drawn) < policy.most_routes:
        chance, lot = divmod(chance, total)
        for offer in left:
            lot -= offer.carrier.weight
            if lot < 0:
                break
        left.remove(offer)
        total -= offer.carrier.weight
        drawn.append(offer)
    return drawn + [offer for offer in offers if not offer.carrier.weight]


_ORDERS: Mapping[RouteOrder, Callable[[Sequence[_Offer], Routing, str], Sequence[_Offer]]] = {
    RouteOrder.COST: _cheapest,
    RouteOrder.PRIORITY: _preferred,
    RouteOrder.QUALITY: _best,
    RouteOrder.SHARE: _shared,
    RouteOrder.BLEND: _blended,
}
