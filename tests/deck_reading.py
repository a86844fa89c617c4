"""Decks read from text: what its rows say, what calls then cost, and what is refused."""

import io
from datetime import UTC, datetime
from typing import Any

import pytest

import cardbill
from cardbill import Deck, DeckRow
from cardbill.errors import DeckRefused

NOW = datetime(2024, 6, 1, tzinfo=UTC)


def read(content: str, **how: Any) -> Deck:
    return cardbill.read_deck(io.StringIO(content), **{"currency": "USD", **how})


def rows(content: str, **how: Any) -> list[DeckRow]:
    return list(read(content, **how).rows())


def refused(content: str, **how: Any) -> list[tuple[int, str, str]]:
    """Line, column and code of every row that is refused."""
    with pytest.raises(DeckRefused) as caught:
        read(content, **how)
    for problem in caught.value.problems:
        assert str(problem.line) in str(problem)
        assert problem.code in str(problem)
        assert problem.message
    return [(problem.line, problem.column, problem.code) for problem in caught.value.problems]


def only(content: str, **how: Any) -> DeckRow:
    (row,) = rows(content, **how)
    return row


def steps(row: DeckRow) -> list[tuple[int, int, int]]:
    return [(step.from_second, step.price_per_minute, step.increment) for step in row.rate.steps]


def price_of(compiled: Deck, number: str, at: datetime = NOW) -> int | str | None:
    """Per minute; `barred` where the number cannot be called."""
    match = compiled.match(number, at)
    if match is None:
        return None
    return "barred" if match.blocked else match.rate.steps[0].price_per_minute


PLAIN = "prefix,destination,rate\n44,UK,0.02\n1,USA,0.01\n"
