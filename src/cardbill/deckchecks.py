"""What is odd about a deck though each of its rows can be used: warnings, never refusals."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from statistics import median_low

from cardbill.codecells import country_code
from cardbill.decks import Deck, DeckRow
from cardbill.dialects import RateChange

FAR = 100
"""How many times another price must be, up or down, to be odd."""

_LATEST = datetime(9990, 1, 1, tzinfo=UTC)


def first_price(row: DeckRow) -> int:
    """Return the price per minute at which a call begins, in ledger units."""
    return row.rate.steps[0].price_per_minute


def outliers(rows: Iterable[DeckRow]) -> Iterator[tuple[DeckRow, str]]:
    """Yield the rows whose price looks as if its decimal point were lost, and why.

    A price is odd if it is more than 100 times the median of the whole deck, and of the rows
    with the same country code as far as there are others; or less than a hundredth of both.
    Prices of 0 and blocked rows do not count.
    """
    rated = [row for row in rows if not row.blocked and first_price(row)]
    countries: dict[str, list[int]] = {}
    for row in rated:
        countries.setdefault(country_code(row.prefix), []).append(first_price(row))
    if not rated:
        return
    deck = median_low(price for prices in countries.values() for price in prices)
    medians = {
        country: median_low(prices) if len(prices) > 2 else deck
        for country, prices in countries.items()
    }
    for row in rated:
        country = country_code(row.prefix)
        price, usual = first_price(row), medians[country]
        if price > FAR * max(deck, usual):
            yield row, f"is more than {FAR} times what is usual for country code {country}"
        elif price * FAR < min(deck, usual):
            yield row, f"is less than 1/{FAR} of what is usual for country code {country}"


def contradiction(row: DeckRow, change: RateChange, older: Deck) -> str:
    """Return how the word for a change does not fit the deck in force; empty: it does.

    It is looked at when the row begins: a row of a band that does not apply then is not told.
    """
    match = older.match(row.prefix, row.effective_from or _LATEST)
    if match and match.band != row.band:
        return ""
    known = match is not None and not match.blocked
    if match is None or not known:
        if change in (RateChange.NEW, RateChange.TERMS):
            return ""
        return f"says {change.value}, but the deck in force has no price for {row.prefix}"
    if change is RateChange.NEW:
        same = match.prefix == row.prefix
        return f"says new, but the deck in force has {row.prefix} already" if same else ""
    if change is RateChange.CLOSED:
        return ""
    before, after = match.rate.steps[0].price_per_minute, first_price(row)
    fits = {
        RateChange.INCREASE: after > before,
        RateChange.DECREASE: after < before,
        RateChange.UNCHANGED: after == before,
        RateChange.TERMS: after == before,
    }
    if fits[change]:
        return ""
    moved = "rises" if after > before else "falls" if after < before else "stays the same"
    return f"says {change.value}, but against the deck in force the price {moved}"
