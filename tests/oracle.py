"""What a call costs, walked second by second and increment by increment in exact fractions.

Written from the rules of the domain alone ("the price of a call"), as slow and as literal as they
read, and sharing no line with the library: the tests compare the library with it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from typing import NamedTuple


class Step(NamedTuple):
    from_second: int
    price_per_minute: Fraction
    increment: int


class Terms(NamedTuple):
    """A rate; amounts are fractions of whatever money is counted in."""

    steps: tuple[Step, ...]
    connect: Fraction = Fraction(0)
    grace: int = 0
    free: int = 0
    minimum: Fraction = Fraction(0)
    end_fee: Fraction = Fraction(0)
    surcharge: Fraction = Fraction(0)
    """A share: 10 % is 1/10."""
    unit: Fraction = Fraction(1)
    mode: str = "up"


class Price(NamedTuple):
    amount: Fraction
    billed: int


def rounded(amount: Fraction, unit: Fraction, mode: str) -> Fraction:
    """Round an amount of at least 0 to a multiple of `unit`."""
    multiples = amount / unit
    if mode == "up":
        whole = math.ceil(multiples)
    elif mode == "down":
        whole = math.floor(multiples)
    elif mode == "half_up":
        whole = math.floor(multiples + Fraction(1, 2))
    elif mode == "half_even":
        whole = round(multiples)  # what Python's round does with the tie of a Fraction
    else:
        raise ValueError(mode)
    return whole * unit


def step_at(terms: Terms, position: int) -> Step:
    """Return the step in force where billed time has come to `position`."""
    return [step for step in terms.steps if step.from_second <= position][-1]


def prices(terms: Terms) -> Iterator[Price]:
    """Yield the price of a call of 0, 1, 2, ... seconds, without end.

    Each second of talk either falls into the increment that was begun last, or begins one.
    """
    talked = 0
    billed = 0
    usage = Fraction(0)
    while True:
        if talked > terms.free and talked - terms.free > billed:
            begun = step_at(terms, billed)
            billed += begun.increment
            usage += begun.increment * begun.price_per_minute / 60
        if talked <= terms.grace:  # also d = 0: nothing, whatever the fees
            yield Price(Fraction(0), 0)
        else:
            exact = (terms.connect + usage) * (1 + terms.surcharge) + terms.end_fee
            amount = rounded(max(terms.minimum, exact), terms.unit, terms.mode)
            yield Price(amount, billed)
        talked += 1


def price(terms: Terms, seconds: int) -> Price:
    """Return the price of one call."""
    return next(islice(prices(terms), seconds, None))


def longest(terms: Terms, available: Fraction, cap: int) -> int:
    """Return the largest d of 0 to `cap` whose price fits, by trying every one of them."""
    tried = enumerate(islice(prices(terms), cap + 1))
    return max(d for d, found in tried if found.amount <= available)
