"""What each tax is of the quoted price: exact linear forms, worked out once.

Tier by tier, a tax is ``slope * net + offset`` of the net price: percentages make slopes,
flat taxes offsets. The quoted price is the net price and its inclusive taxes, so it is
linear too, and solving it for the net turns every tax into a linear form of the price that
was quoted, whichever taxes that contains. Source of the rules: domain.md section 6.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import groupby
from math import ceil
from typing import NamedTuple

from cardbill.jurisdictions import RATE_PARTS, Tax, TaxOn


class Linear(NamedTuple):
    """``slope * x + offset``, exactly."""

    slope: Fraction
    offset: Fraction

    def plus(self, other: Linear) -> Linear:
        """Return the sum of both."""
        return Linear(self.slope + other.slope, self.offset + other.offset)

    def times(self, factor: Fraction) -> Linear:
        """Return this, so many times."""
        return Linear(self.slope * factor, self.offset * factor)

    def of(self, inner: Linear) -> Linear:
        """Return this, with `inner` put in the place of x."""
        return inner.times(self.slope).plus(Linear(Fraction(0), self.offset))


_NET = Linear(Fraction(1), Fraction(0))
_NOTHING = Linear(Fraction(0), Fraction(0))


class Form(NamedTuple):
    """One tax on one kind of line: its amount and base, linear in the quoted amount.

    Which tax, by its place among the rules' taxes; then four numbers of whole parts of the
    rules' common denominator.
    """

    tax: int
    slope: int
    offset: int
    base_slope: int
    base_offset: int


class Scheme(NamedTuple):
    """All taxes on one kind of line."""

    bears: int  # the least quoted amount that bears the flat taxes it contains
    short: tuple[Form, ...]  # for less than that
    full: tuple[Form, ...]


class Solved(NamedTuple):
    """What :func:`solve` found: amount and base of each tax by its index."""

    bears: Fraction  # as in a scheme
    short: dict[int, tuple[Linear, Linear]]
    full: dict[int, tuple[Linear, Linear]]

    def numbers(self) -> Iterable[Fraction]:
        """Yield every number there is, for a common denominator."""
        for forms in (self.short, self.full):
            for amount, base in forms.values():
                yield from (*amount, *base)

    def scheme(self, denominator: int) -> Scheme:
        """Return it in whole parts of that denominator, a multiple of every one there is."""
        return Scheme(
            ceil(self.bears),
            *(
                tuple(
                    Form(index, *(int(number * denominator) for number in (*amount, *base)))
                    for index, (amount, base) in forms.items()
                )
                for forms in (self.short, self.full)
            ),
        )


def solve(taxes: Sequence[Tax], on: TaxOn) -> Solved:
    """Return all taxes on one kind of line as linear functions of the quoted amount."""
    by_net = _by_net(taxes, on)
    quoted = contained = _NOTHING
    for index, (amount, _) in by_net.items():
        if taxes[index].inclusive:
            contained = contained.plus(amount)
    quoted = _NET.plus(contained)
    net = Linear(1 / quoted.slope, -quoted.offset / quoted.slope)
    full = {index: (amount.of(net), base.of(net)) for index, (amount, base) in by_net.items()}
    # A price that does not bear the flat taxes it contains is all tax: they share it in
    # proportion, and what comes on top stands where the net is 0.
    short = {}
    if quoted.offset:
        for index, (amount, base) in by_net.items():
            here = Linear(Fraction(0), amount.offset)
            if taxes[index].inclusive:
                here = Linear(amount.offset / quoted.offset, Fraction(0))
            short[index] = here, Linear(Fraction(0), base.offset)
    return Solved(quoted.offset, short, full)


def _by_net(taxes: Sequence[Tax], on: TaxOn) -> dict[int, tuple[Linear, Linear]]:
    """Return amount and base of each tax on one kind of line, as functions of the net."""
    found: dict[int, tuple[Linear, Linear]] = {}
    below = _NET  # the net price and all lower tiers
    applying = [(index, tax) for index, tax in enumerate(taxes) if on in tax.on]
    for _, tier in groupby(applying, key=lambda pair: pair[1].tier):
        members = list(tier)
        own = sum(tax.rate for _, tax in members if tax.on_itself)
        grossed = below.times(Fraction(RATE_PARTS, RATE_PARTS - own))
        above = below
        for index, tax in members:
            base = grossed if tax.on_itself else below
            amount = base.times(Fraction(tax.rate, RATE_PARTS))
            if tax.flat is not None:
                amount, base = Linear(Fraction(0), Fraction(tax.flat_units)), _NET
            found[index] = amount, base
            above = above.plus(amount)
        below = above
    return found
