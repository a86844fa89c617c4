"""Prices said again in plain Python, without cardbill: rates walked increment by increment.

Amounts are ledger units, durations whole seconds.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable
from datetime import datetime
from fractions import Fraction
from functools import cache, partial
from typing import NamedTuple

FOREVER = 100_000  # seconds; nobody here can afford that long, unless the minutes are free


class Rate(NamedTuple):
    steps: tuple[tuple[int, int, int], ...]  # from second, price per minute, increment
    connect: int = 0
    grace: int = 0
    free: int = 0
    minimum: int = 0
    end: int = 0
    surcharge: Fraction = Fraction(0)  # percent
    unit: int = 100
    rounding: str = "up"


class Row(NamedTuple):
    prefix: str
    destination: str
    rate: Rate
    blocked: bool = False
    begins: datetime | None = None
    ends: datetime | None = None


class Deck(NamedTuple):
    currency: str
    rows: tuple[Row, ...]

    def match(self, number: str, at: datetime) -> Row | None:
        found = [
            row
            for row in self.rows
            if number.startswith(row.prefix)
            and (row.begins is None or row.begins <= at)
            and (row.ends is None or at < row.ends)
        ]
        return max(found, key=lambda row: len(row.prefix), default=None)


ROUND: dict[str, Callable[[Fraction], int]] = {
    "up": math.ceil,
    "down": math.floor,
    "half_even": round,
    "half_up": lambda exact: math.floor(exact + Fraction(1, 2)),
}


@cache
def price(rate: Rate, talk: int) -> int:
    if talk == 0 or talk <= rate.grace:
        return 0
    usage = position = 0  # usage in sixtieths of a unit
    while position < talk - rate.free:
        _, per_minute, increment = [step for step in rate.steps if step[0] <= position][-1]
        usage += per_minute * increment
        position += increment
    total = (rate.connect + Fraction(usage, 60)) * (1 + rate.surcharge / 100) + rate.end
    return rate.unit * ROUND[rate.rounding](max(total, Fraction(rate.minimum)) / rate.unit)


def longest(rate: Rate, money: int, cap: int | None) -> tuple[int | None, bool]:
    """Return the longest talk (None: without end), and whether money is what ends it."""
    far = FOREVER if cap is None else min(cap, FOREVER)
    if price(rate, far) <= money:
        return cap, False
    return bisect_right(range(far), money, key=partial(price, rate)) - 1, True
