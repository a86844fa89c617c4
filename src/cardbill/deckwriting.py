"""Rate decks written as CSV that :func:`cardbill.read_deck` reads back, term by term."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime
from typing import TextIO

from cardbill import money
from cardbill.csvfiles import csv_line, marked_text
from cardbill.decks import Deck, DeckRow
from cardbill.exporting import destination
from cardbill.increments import steps_of
from cardbill.names import check_kind
from cardbill.rating import Rate

DECK_COLUMNS = (
    "prefix",
    "destination",
    "band",
    "price_per_minute",
    "increments",
    "steps",
    "connect_fee",
    "grace_seconds",
    "free_seconds",
    "minimum_charge",
    "maximum_charge",
    "beyond_maximum",
    "block_rounding",
    "end_fee",
    "surcharge_percent",
    "rounding",
    "currency",
    "blocked",
    "effective_from",
    "effective_until",
)
"""The columns that are written; ``steps`` only for rates that a price and two increments do
not tell: ``0:0.15:60 120:0.10:6`` is second, price per minute and increment of each step."""

_LONGEST_INCREMENT = 10**9  # as far as `60/6` is read


def write_deck(deck: Deck, to: str | os.PathLike[str] | TextIO) -> int:
    """Write a deck as CSV; return the number of rows.

    ``read_deck`` makes the same rates of it, given the deck's bands and their zone: they are
    not in the file. Text that a spreadsheet would take for a formula has an apostrophe
    before it, which ``read_deck`` takes off again; spaces at the ends of names are left out.

    Args:
        deck: What to write, row by row.
        to: A path, or an open text file; a file by path takes its place once it is whole.

    Raises:
        InvalidInput: An argument cannot be used.
    """
    check_kind("deck", deck, Deck)
    with destination(to) as file:
        for line in deck_lines(deck):
            file.write(line)
    return len(deck)


def deck_lines(deck: Deck) -> Iterator[str]:
    """Yield the lines of a deck as CSV, the header first."""
    yield csv_line(DECK_COLUMNS)
    for row in deck.rows():
        yield csv_line(_cells(row, deck.currency))


def _cells(row: DeckRow, currency: str) -> tuple[object, ...]:
    rate = row.rate
    increments, steps = _steps(rate)
    return (
        row.prefix,
        marked_text(row.destination.strip()),
        marked_text(row.band),
        money.plain(rate.steps[0].price_per_minute),
        increments,
        steps,
        money.plain(rate.connect_fee),
        rate.grace_seconds,
        rate.free_seconds,
        money.plain(rate.minimum_charge),
        None if rate.maximum_charge is None else money.plain(rate.maximum_charge),
        rate.beyond_maximum.value,
        rate.block_rounding.value,
        money.plain(rate.end_fee),
        money.plain(rate.surcharge_ppm, 4),
        f"{money.plain(rate.rounding.unit)} {rate.rounding.mode.value}",
        currency,
        "yes" if row.blocked else "no",
        _iso(row.effective_from),
        _iso(row.effective_until),
    )


def _steps(rate: Rate) -> tuple[str, str]:
    """Return a rate's steps as increments of one price, or else one by one."""
    first, last = rate.steps[0], rate.steps[-1]
    plain = steps_of(first.price_per_minute, first.increment, last.increment)
    if rate.steps == plain and max(first.increment, last.increment) < _LONGEST_INCREMENT:
        return f"{first.increment}/{last.increment}", ""
    return "", " ".join(
        f"{step.from_second}:{money.plain(step.price_per_minute)}:{step.increment}"
        for step in rate.steps
    )


def _iso(instant: datetime | None) -> str | None:
    return None if instant is None else instant.isoformat()
