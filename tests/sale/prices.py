"""What a call takes, by the rules of the domain alone: sections 3, 5 and 6, as they read.

A second opinion, slow and literal, that shares no line with the library: the price of a call
with its buckets, charges and taxes, and the longest call that an amount of money pays for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from functools import cached_property
from typing import Any, NamedTuple

from cardbill import Tax
from tests import tax_oracle

M = 1_000_000
A_LONG_TIME = 10**9
"""Seconds; whatever can be paid for so long has no end."""


def units(amount: Any) -> int:
    """Return `Money` in ledger units."""
    return 0 if amount is None else int(Decimal(amount.amount) * M)


def half_up(amount: Fraction) -> int:
    return math.floor(amount + Fraction(1, 2))


# -- the rated price ------------------------------------------------------------------------


class Rate(NamedTuple):
    destination: str
    per_minute: int
    first: int
    then: int
    connect: int = 0
    blocked: bool = False
    free: int = 0
    minimum: int = 0
    grace: int = 0

    @property
    def unpaid(self) -> int:
        """How long a call is that nobody pays for."""
        return max(self.grace, self.free)

    def price(self, talk: int, bucket: int, *, waived: bool) -> int:
        """Return the rated price of a call that may draw so many seconds on buckets first."""
        if talk <= self.grace:
            return 0
        rest = talk - self.free - bucket
        billed = 0
        if rest > 0:
            billed = self.first + max(0, math.ceil(Fraction(rest - self.first, self.then))) * (
                self.then
            )
        exact = Fraction(self.per_minute * billed, 60) + (0 if waived else self.connect)
        if (bucket or waived) and not exact:
            return 0  # the minimum applies only if money is charged
        return math.ceil(max(exact, Fraction(self.minimum)) / 100) * 100


def rates(text: str) -> dict[str, Rate]:
    """Read a deck as the test wrote it."""
    found = {}
    for line in text.strip().splitlines():
        prefix, name, price, increments, connect, blocked, *counts = line.split(",")
        free, minimum, grace = counts
        first, then = map(int, increments.split("/"))
        found[prefix] = Rate(
            name,
            int(Decimal(price) * M),
            first,
            then,
            int(Decimal(connect or 0) * M),
            bool(blocked),
            int(free or 0),
            int(Decimal(minimum or 0) * M),
            int(grace or 0),
        )
    return found


# -- taxes ----------------------------------------------------------------------------------


class Line(NamedTuple):
    on: str
    amount: int
    taxable: bool = True


def in_force(tax: Tax, at: datetime) -> bool:
    begin, end = tax.effective_from, tax.effective_until
    return (begin is None or begin <= at) and (end is None or at < end)


class Taxes:
    """The taxes of one instant, on events of several lines."""

    def __init__(self, taxes: Iterable[Tax]) -> None:
        self.terms = [
            tax_oracle.Term(
                name=tax.name,
                on=frozenset(on.value for on in tax.on),
                rate=Fraction(tax.percent or 0) / 100,
                flat=Fraction(units(tax.flat)),
                tier=tax.tier,
                inclusive=tax.inclusive,
            )
            for tax in sorted(taxes, key=lambda tax: (tax.tier, tax.name))
        ]
        self._forms: dict[str, dict[str, tuple[Fraction, Fraction]]] = {}

    def forms(self, on: str) -> dict[str, tuple[Fraction, Fraction]]:
        """What each tax is of a quoted amount: what it has at 0, and what each unit adds."""
        if on not in self._forms:
            at_0, at_1 = (tax_oracle.exact(quoted, on, self.terms) for quoted in (0, 1))
            self._forms[on] = {name: (at_0[name], at_1[name] - at_0[name]) for name in at_0}
        return self._forms[on]

    def exact(self, lines: Sequence[Line]) -> dict[str, Fraction]:
        found: dict[str, Fraction] = {}
        for on in ("usage", "surcharge", "recurring", "sale"):
            quoted = sum(line.amount for line in lines if line.on == on and line.taxable)
            for name, (begin, slope) in self.forms(on).items() if quoted else ():
                found[name] = found.get(name, Fraction(0)) + begin + slope * quoted
        return found

    def total(self, lines: Sequence[Line]) -> int:
        """Return what is paid in all."""
        exact = self.exact(lines)
        on_top = [half_up(exact.get(t.name, Fraction(0))) for t in self.terms if not t.inclusive]
        return sum(line.amount for line in lines) + sum(on_top)

    def split(self, lines: Sequence[Line]) -> tuple[list[int], list[tuple[str, int]]]:
        """Return each line's net amount, and each tax."""
        exact = self.exact(lines)
        inside = [term.name for term in self.terms if term.inclusive and term.name in exact]
        contained = half_up(sum((exact[name] for name in inside), Fraction(0)))
        amounts = {name: math.floor(exact[name]) for name in inside}
        left = contained - sum(amounts.values())
        for name in sorted(inside, key=lambda name: amounts[name] - exact[name])[:left]:
            amounts[name] += 1
        for term in self.terms:
            if not term.inclusive and term.name in exact:
                amounts[term.name] = half_up(exact[term.name])
        shares = [self.inside(line) for line in lines]
        nets = []
        for number, line in enumerate(lines):  # each its part of what is left of the tax
            rest = sum(shares[number:], Fraction(0))
            taken = half_up(contained * shares[number] / rest) if rest else 0
            contained -= taken
            nets.append(line.amount - taken)
        return nets, [(t.name, amounts[t.name]) for t in self.terms if t.name in amounts]

    def inside(self, line: Line) -> Fraction:
        """Return the taxes inside one line (none of them is flat)."""
        if not line.taxable:
            return Fraction(0)
        names = {term.name for term in self.terms if term.inclusive}
        forms = self.forms(line.on)
        return sum((forms[n][1] * line.amount for n in names & forms.keys()), Fraction(0))

    def largest(self, available: int, line: Callable[[int], Line]) -> int:
        """Return the largest amount of a line that is paid in full."""
        return last(0, available, lambda amount: self.total([line(amount)]) <= available)


def last(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """Return the last number up to `high` for which it holds: as it does for `low`."""
    if holds(high):
        return high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


# -- a call ---------------------------------------------------------------------------------


class Draw(NamedTuple):
    bucket: int
    unit: str
    units: int
    waives: bool


class CallCharge(NamedTuple):
    name: str
    units: int
    percent: Fraction
    taxable: bool
    first: bool

    def amount(self, rated: int) -> int:
        return self.units + half_up(self.percent * rated / 100)


class Bill(NamedTuple):
    rated: int
    lines: list[tuple[str, str, int]]  # the ledger's kind, name, amount
    draws: dict[int, int]

    @property
    def total(self) -> int:
        return sum(amount for _, _, amount in self.lines)


@dataclass(frozen=True)
class CallTerms:
    rate: Rate
    charges: tuple[CallCharge, ...]
    taxes: Taxes
    draws: tuple[Draw, ...]

    @cached_property
    def covered(self) -> bool:
        return any(draw.unit == "calls" for draw in self.draws)

    def of(self, unit: str) -> int:
        return sum(draw.units for draw in self.draws if draw.unit == unit)

    def rated(self, talk: int) -> int:
        waived = any(draw.waives for draw in self.draws)
        return 0 if self.covered else self.rate.price(talk, self.of("seconds"), waived=waived)

    def takes(self, talk: int) -> dict[int, int]:
        """Return what a call takes of buckets, in their order."""
        if talk <= self.rate.grace:
            return {}
        left = {
            "seconds": max(0, talk - self.rate.free),
            "money": self.rated(talk),
            "calls": 1,
        }
        taken = {}
        for draw in self.draws:
            part = min(draw.units, left[draw.unit])
            if part and (not self.covered or draw.unit == "calls"):
                taken[draw.bucket] = part
                left[draw.unit] -= part
        return taken

    def quoted(self, talk: int, *, first: bool) -> tuple[list[str], list[Line]]:
        rated = self.rated(talk)
        money = min(rated, self.of("money"))
        charges = [charge for charge in self.charges if first or not charge.first]
        lines = [Line("usage", rated - money)]
        lines += [Line("surcharge", c.amount(rated), c.taxable) for c in charges]
        return [charge.name for charge in charges], lines

    def bill(self, talk: int, *, first: bool) -> Bill:
        if talk <= self.rate.grace:
            return Bill(0, [("call", "", 0)], {})
        names, lines = self.quoted(talk, first=first)
        nets, taxes = self.taxes.split(lines)
        kinds = [("call", "", nets[0])]
        kinds += [("charge", name, net) for name, net in zip(names, nets[1:], strict=True)]
        kinds += [("tax", name, amount) for name, amount in taxes]
        return Bill(self.rated(talk), kinds, self.takes(talk))

    def most(self, talk: int) -> int:
        """Return what a call takes of money at most: if it is the first of its card."""
        if talk <= self.rate.grace:
            return 0
        return self.taxes.total(self.quoted(talk, first=True)[1])

    def longest(self, available: int, cap: int | None) -> tuple[int | None, bool]:
        """Return the longest call that fits, and whether money is what limits it."""
        high = A_LONG_TIME if cap is None else cap
        seconds = last(0, high, lambda talk: self.most(talk) <= available)
        if seconds < high:
            return seconds, True
        return cap, False

    def reserving(self, talk: int | None) -> CallTerms:
        """Return the terms with no more of the buckets than a call so long can take."""
        if talk is None or self.covered:
            return self
        taken = self.takes(talk)
        return replace(
            self, draws=tuple(d._replace(units=taken.get(d.bucket, 0)) for d in self.draws)
        )
