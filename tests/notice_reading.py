"""Carriers' notices read in a dialect: prefixes, prices, and what is refused."""

from datetime import UTC, datetime
from typing import Any

from cardbill import Band, Deck, Dialect
from tests import deck_reading

LATER = datetime(2030, 1, 1, tzinfo=UTC)
BANDS = [
    Band("peak", "Mon-Fri 08:00-18:00"),
    Band("off-peak", ("Mon-Thu 18:00-08:00", "Fri 18:00-24:00", "Sat-Sun", "Mon 00:00-08:00")),
]


def read(content: str, dialect: Dialect | None = None, **how: Any) -> Deck:
    return deck_reading.read(content, dialect=dialect or Dialect(), **how)


def prefixes(content: str, dialect: Dialect | None = None, **how: Any) -> list[str]:
    return [row.prefix for row in read(content, dialect, **how).rows()]


def refused(content: str, dialect: Dialect | None = None, **how: Any) -> list[tuple[int, str, str]]:
    return deck_reading.refused(content, dialect=dialect or Dialect(), **how)


def price(deck: Deck, number: str, at: datetime = LATER) -> int | str | None:
    """Per minute; `barred` where the number cannot be called."""
    return deck_reading.price_of(deck, number, at)
