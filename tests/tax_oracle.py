"""What taxes come to, tier by tier in exact fractions, as the rules of the domain read.

It shares no line with the library and no idea but the rules: taxes are added to a net price
literally, and a net price is found by trying 0 and 1 and going straight on from there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple


class Term(NamedTuple):
    """One tax; rates are shares (10 % is 1/10), amounts are fractions of ledger units."""

    name: str
    on: frozenset[str]
    rate: Fraction = Fraction(0)
    flat: Fraction = Fraction(0)
    tier: int = 1
    inclusive: bool = False
    on_itself: bool = False
    unit: int = 1
    mode: str = "half_up"


def on_top_of(net: Fraction, kind: str, terms: Sequence[Term]) -> dict[str, Fraction]:
    """Return every tax on that net price of one kind."""
    taxes: dict[str, Fraction] = {}
    base = net
    for tier in range(1, 10):
        members = [term for term in terms if term.tier == tier and kind in term.on]
        share = sum(term.rate for term in members if term.on_itself)
        for term in members:
            whole = base / (1 - share) if term.on_itself else base
            taxes[term.name] = term.rate * whole + term.flat
        base += sum(taxes[term.name] for term in members)
    return taxes


def net_of(quoted: int, kind: str, terms: Sequence[Term]) -> Fraction:
    """Return the net price inside a quoted one; below 0 where flat taxes are more than it."""
    inclusive = {term.name for term in terms if term.inclusive}

    def price(net: Fraction) -> Fraction:
        taxes = on_top_of(net, kind, terms)
        return net + sum(amount for name, amount in taxes.items() if name in inclusive)

    at_nothing = price(Fraction(0))
    return (quoted - at_nothing) / (price(Fraction(1)) - at_nothing)


def exact(quoted: int, kind: str, terms: Sequence[Term]) -> dict[str, Fraction]:
    """Return every tax on, or in, a quoted price of one kind that bears its flat taxes."""
    return on_top_of(net_of(quoted, kind, terms), kind, terms)


def rounded(amount: Fraction, unit: int, mode: str) -> int:
    multiples = amount / unit
    if mode == "up":
        return math.ceil(multiples) * unit
    if mode == "down":
        return math.floor(multiples) * unit
    if mode == "half_even":
        return round(multiples) * unit
    return math.floor(multiples + Fraction(1, 2)) * unit
