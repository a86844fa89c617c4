"""Exchange rates: what other currencies are worth in the one that margins are kept in.

Rates are exact decimals of up to nine places, integers inside; an amount is converted once,
half-up to one ledger unit of the base currency, and never back. Source: domain.md section 7.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from functools import cached_property, lru_cache
from typing import NamedTuple

from attrs import field, frozen

from cardbill import money
from cardbill.errors import InvalidInput, MissingFields
from cardbill.instants import aware, to_micros
from cardbill.money import RoundingMode
from cardbill.names import check_kind

ONE = 1_000_000_000
"""Rates are kept in parts of this: nine decimals."""

_ALWAYS = -(2**63)


class Quote(NamedTuple):
    """What a currency is worth in the base currency at one instant.

    Attributes:
        currency: ISO 4217 code.
        base: That of the base currency.
        parts: How much of the base currency one unit is worth, in parts of :data:`ONE`.
    """

    currency: str
    base: str
    parts: int

    def in_base(self, units: int) -> int:
        """Return an amount of at least 0 in the base currency, half-up to one ledger unit."""
        if self.parts == ONE:
            return units
        return money.round_ratio(units * self.parts, ONE, 1, RoundingMode.HALF_UP)


@lru_cache(maxsize=512)
def itself(currency: str) -> Quote:
    """Return what a currency is worth where it is the base currency."""
    return Quote(currency, currency, ONE)


def _code(currency: object) -> str:
    return money.currency_code("currency", currency) if currency else ""


def _base(currency: object) -> str:
    return money.currency_code("base", currency) if currency else ""


def _exact(rate: object) -> Decimal:
    parts = money.parts("rate", rate, ONE)
    if parts < 1:
        raise InvalidInput("rate", rate, "must be more than 0")
    return Decimal(f"{parts}E-9")  # exact, whatever the context


def _since(instant: datetime | None) -> datetime | None:
    return None if instant is None else aware("effective_from", instant)


@frozen
class ExchangeRate:
    """What one unit of a currency is worth in the base currency, from an instant on.

    Attributes:
        currency: A ``moneyed.Currency`` or an ISO 4217 code.
        rate: Units of the base currency for one of it: Decimal, int or text, more than 0,
            of up to nine decimals.
        effective_from: From this instant until the next rate's; ``None``: always was.

    Raises:
        FloatRefused: The rate is a float.
        InexactAmount: It has more than nine decimals.
        InvalidInput: A field has a value that cannot be used; it is named.
    """

    currency: str = field(converter=_code)
    rate: Decimal = field(converter=_exact)
    effective_from: datetime | None = field(default=None, kw_only=True, converter=_since)

    def __attrs_post_init__(self) -> None:
        if not self.currency:
            raise MissingFields("exchange rate", ["currency"])

    @cached_property
    def parts(self) -> int:
        """The rate in parts of :data:`ONE`."""
        return money.parts("rate", self.rate, ONE)


def _rates(rates: object) -> tuple[ExchangeRate, ...]:
    given = rates if isinstance(rates, Iterable) else [rates]
    listed = [check_kind("rates", rate, ExchangeRate) for rate in given]
    return tuple(sorted(listed, key=lambda rate: (rate.currency, _begin(rate))))


@frozen(kw_only=True)
class ExchangeRates:
    """The base currency, and what other currencies are worth in it, and from when on.

    Attributes:
        base: The currency that margins are kept in: a ``moneyed.Currency`` or an ISO 4217
            code.
        rates: Of every other currency, with as many effective dates as there are.

    Raises:
        MissingFields: No base is given.
        InvalidInput: A rate is the base currency's own, or two are alike in currency and
            effective-from.
    """

    base: str = field(default="", converter=_base)  # required: see below
    rates: tuple[ExchangeRate, ...] = field(default=(), converter=_rates)

    def __attrs_post_init__(self) -> None:
        if not self.base:
            raise MissingFields("exchange rates", ["base"])
        seen = set()
        for rate in self.rates:
            place = rate.currency, _begin(rate)
            if rate.currency == self.base:
                raise InvalidInput("rates", rate.currency, "is the base currency: it is worth 1")
            if place in seen:
                problem = f"has another rate with the same effective-from, {rate.effective_from}"
                raise InvalidInput("rates", rate.currency, problem)
            seen.add(place)

    @property
    def currencies(self) -> frozenset[str]:
        """The base currency, and every currency that has a rate, be it a future one."""
        return frozenset(self._quotes)

    def quote(self, currency: str, at: datetime) -> Quote | None:
        """Return what a currency is worth at an instant (aware); ``None``: no rate then."""
        known = self._quotes.get(currency)
        if known is None:
            return None
        begins, quotes = known
        if begins[-1] == _ALWAYS:  # there is but one
            return quotes[0]
        place = bisect_right(begins, to_micros(at))
        return quotes[place - 1] if place else None

    @cached_property
    def _quotes(self) -> dict[str, tuple[list[int], list[Quote]]]:
        """By currency: the instants from which rates are in force, rising, and the rates."""
        found = {self.base: ([_ALWAYS], [itself(self.base)])}
        for rate in self.rates:
            begins, quotes = found.setdefault(rate.currency, ([], []))
            begins.append(_begin(rate))
            quotes.append(Quote(rate.currency, self.base, rate.parts))
        return found


@lru_cache(maxsize=512)
def no_rates(currency: str) -> ExchangeRates:
    """Return what is known where no exchange rates are published: that currency alone."""
    return ExchangeRates(base=currency)


def _begin(rate: ExchangeRate) -> int:
    return _ALWAYS if rate.effective_from is None else to_micros(rate.effective_from)
