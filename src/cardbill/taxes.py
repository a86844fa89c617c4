"""What taxes come to: the same terms add them to a price and take them out of one.

:mod:`cardbill.taxforms` says what each tax is of the quoted price, exactly. Here these
amounts are added up and rounded, all in integers over one denominator: each tax once per
event, from the exact amount, so that no tax is reckoned on a rounded one. Source of the
rules: domain.md section 6.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from fractions import Fraction
from functools import cached_property
from math import lcm
from typing import TYPE_CHECKING, NamedTuple

from attrs import evolve, frozen

from cardbill import money
from cardbill.errors import InvalidInput, WrongCurrency
from cardbill.jurisdictions import Exemption, Jurisdiction, Tax, TaxLevel, TaxOn
from cardbill.money import RoundingMode
from cardbill.names import check_count, check_kind
from cardbill.taxforms import Scheme, Solved, solve

if TYPE_CHECKING:
    from moneyed import Money


class PriceLine(NamedTuple):
    """One amount of an event, as quoted: it contains the inclusive taxes, no others.

    Attributes:
        on: What it is.
        amount: Ledger units, at least 0.
        taxable: False: no tax is on it, and none is in it.
    """

    on: TaxOn
    amount: int
    taxable: bool = True


def call_alone(price: int) -> tuple[PriceLine]:
    """Return the lines of a call without charges, of that rated price in ledger units."""
    return (PriceLine(TaxOn.USAGE, price),)


@frozen
class TaxLine:
    """What one tax comes to in one event.

    Attributes:
        tax: Its name.
        level: Its level in the jurisdiction.
        amount: Ledger units, rounded once.
        base: What it is a percentage of, in ledger units, for returns and reports: the exact
            base rounded half-up. A flat tax: the net price.
        inclusive: The quoted price contains it.
    """

    tax: str
    level: TaxLevel
    amount: int
    base: int
    inclusive: bool


@frozen
class Taxed:
    """An event with its taxes: ``net + tax = total``, always exactly.

    Attributes:
        nets: Each line's amount without tax, in the order of the lines.
        taxes: A line for each tax that had something to be on.
    """

    nets: tuple[int, ...]
    taxes: tuple[TaxLine, ...]

    @property
    def net(self) -> int:
        """All lines without tax, in ledger units."""
        return sum(self.nets)

    @property
    def tax(self) -> int:
        """All taxes, in ledger units."""
        return sum(line.amount for line in self.taxes)

    @property
    def total(self) -> int:
        """What the payer pays: net and taxes, in ledger units."""
        return self.net + self.tax


@frozen
class TaxRules:
    """The taxes that apply to one payer at one instant, ready to compute with.

    Make them with :func:`rules_at`.

    Attributes:
        jurisdiction: Whose they are.
        taxes: Lower tiers first, then by level and name.
    """

    jurisdiction: str
    taxes: tuple[Tax, ...]

    def taxed(self, lines: Iterable[PriceLine]) -> Taxed:
        """Return an event's net amounts and its tax lines.

        Exclusive taxes come on top of the lines. Inclusive ones are taken out of them: their
        sum is rounded once, and shared out by largest remainder, ties to the lower tier.

        Args:
            lines: All amounts of the event, as quoted.

        Raises:
            InvalidInput: An amount is negative or no whole number.
        """
        lines = tuple(lines)
        _, sums = _summed(lines)
        exact, bases = self._exact(sums)
        inside = {on: self._contained({on: amount}) for on, amount in sums.items()}
        amounts = self._shared_out(exact, sum(sums[on] for on in sums if inside[on]))
        contained = sum(amounts.values())
        for index in exact.keys() & self._on_top:
            amounts[index] = self._rounded(exact[index], self.taxes[index])
        return Taxed(
            _nets(lines, sums, inside, contained),
            tuple(
                TaxLine(
                    tax.name,
                    tax.level,
                    amounts[index],
                    money.round_ratio(bases[index], self._denominator, 1, RoundingMode.HALF_UP),
                    tax.inclusive,
                )
                for index, tax in enumerate(self.taxes)
                if index in exact
            ),
        )

    def total(self, lines: Iterable[PriceLine]) -> int:
        """Return what the payer pays, in ledger units: ``taxed(lines).total``, sooner.

        It never falls when an amount grows.

        Raises:
            InvalidInput: An amount is negative or no whole number.
        """
        quoted, sums = _summed(lines)
        if not self._on_top:
            return quoted
        exact, _ = self._exact(sums)
        on_top = ((exact.get(index, 0), self.taxes[index]) for index in self._on_top)
        return quoted + sum(self._rounded(numerator, tax) for numerator, tax in on_top)

    def bear(self, lines: Iterable[PriceLine]) -> bool:
        """Say whether any of these lines has something that one of the taxes is on."""
        return any(
            line.taxable and line.amount and any(line.on in tax.on for tax in self.taxes)
            for line in lines
        )

    def largest_price(
        self,
        available: int,
        lines: Callable[[int], Iterable[PriceLine]] = call_alone,
    ) -> int | None:
        """Return the largest price whose total fits: the exact inverse of :meth:`total`.

        Args:
            available: Ledger units that may be spent, at least 0.
            lines: The lines of an event of that price; no amount may fall when the price
                grows, and their sum is at least the price. Default: that of a call alone.

        Returns:
            Ledger units; ``None`` when not even the event of price 0 fits.

        Raises:
            InvalidInput: `available` is negative or no whole number.
        """
        check_count("available", available, 0, money.MAX_UNITS)
        if self.total(lines(0)) > available:
            return None
        # The total is at least the price: so no price above `available` fits.
        prices = range(1, available + 1)
        return bisect_right(
            prices, available, hi=available, key=lambda price: self.total(lines(price))
        )

    def least_bearing(self, on: TaxOn) -> int:
        """Return the least quoted amount that bears the flat taxes it contains."""
        return self._schemes[on].bears

    @cached_property
    def for_later_parts(self) -> TaxRules:
        """The rules for what is paid of an event after its first part: no flat taxes again."""
        return evolve(self, taxes=tuple(tax for tax in self.taxes if tax.flat is None))

    # -- exact amounts ------------------------------------------------------------------------

    def _exact(self, sums: dict[TaxOn, int]) -> tuple[dict[int, int], dict[int, int]]:
        """Return each tax's exact amount and its base, as numerators by the tax's index."""
        amounts: dict[int, int] = {}
        bases: dict[int, int] = {}
        for on, amount in sums.items():
            scheme = self._schemes[on]
            for form in scheme.full if amount >= scheme.bears else scheme.short:
                tax, slope, offset, base_slope, base_offset = form
                amounts[tax] = amounts.get(tax, 0) + slope * amount + offset
                bases[tax] = bases.get(tax, 0) + base_slope * amount + base_offset
        return amounts, bases

    def _contained(self, sums: dict[TaxOn, int]) -> int:
        """Return the exact sum of all inclusive taxes, as a numerator."""
        exact, _ = self._exact(sums)
        return sum(exact[index] for index in exact if self.taxes[index].inclusive)

    def _rounded(self, numerator: int, tax: Tax) -> int:
        rounding = tax.rounding
        return money.round_ratio(numerator, self._denominator, rounding.unit, rounding.mode)

    def _shared_out(self, exact: dict[int, int], quoted: int) -> dict[int, int]:
        """Return the inclusive taxes' amounts: their rounded sum by largest remainder.

        Their sum is never more than was quoted with them inside.
        """
        contained = {index: n for index, n in exact.items() if self.taxes[index].inclusive}
        if not contained:
            return {}
        some = self.taxes[min(contained)]  # inclusive taxes all round alike
        unit = some.rounding.unit
        whole = min(self._rounded(sum(contained.values()), some), quoted // unit * unit)
        span = self._denominator * unit
        amounts = {index: numerator // span * unit for index, numerator in contained.items()}
        left = (whole - sum(amounts.values())) // unit
        by_remainder = sorted(contained, key=lambda index: (-(contained[index] % span), index))
        for index in by_remainder[:left]:
            amounts[index] += unit
        return amounts

    # -- from terms to linear forms -----------------------------------------------------------

    @cached_property
    def _on_top(self) -> tuple[int, ...]:
        return tuple(index for index, tax in enumerate(self.taxes) if not tax.inclusive)

    @cached_property
    def _solved(self) -> dict[TaxOn, Solved]:
        return {on: solve(self.taxes, on) for on in TaxOn}

    @cached_property
    def _denominator(self) -> int:
        every = [number for solved in self._solved.values() for number in solved.numbers()]
        return lcm(*(number.denominator for number in every))

    @cached_property
    def _schemes(self) -> dict[TaxOn, Scheme]:
        return {on: solved.scheme(self._denominator) for on, solved in self._solved.items()}


def rules_at(
    jurisdiction: Jurisdiction,
    at: datetime,
    currency: object,
    exemptions: Iterable[Exemption] = (),
) -> TaxRules:
    """Return the rules for one payer at one instant.

    Args:
        jurisdiction: Whose taxes.
        at: The aware instant that counts for the event.
        currency: Of the event: ISO 4217 code, or ``moneyed.Currency``.
        exemptions: What the payer is exempt from; those not valid then do not count.

    Raises:
        InvalidInput: The instant has no time zone.
        WrongCurrency: A flat tax is in another currency.
    """
    code = money.currency_code("currency", currency)
    taxes = jurisdiction.active(at, exemptions)
    for tax in taxes:
        if tax.currency not in (None, code):
            raise WrongCurrency(f"tax {tax.name}", tax.flat, f"must be in {code}")
    return TaxRules(jurisdiction.name, taxes)


def sale_tax(
    jurisdiction: Jurisdiction,
    face_value: Money,
    at: datetime,
    exemptions: Iterable[Exemption] = (),
) -> Taxed:
    """Return the taxes on selling a card, or on recharging one, and what the customer pays.

    The card holds its face value either way: exclusive taxes are paid on top of it,
    inclusive ones come out of what the seller keeps.

    Args:
        jurisdiction: Whose taxes.
        face_value: What the card is worth.
        at: The aware instant of the sale.
        exemptions: What the customer is exempt from.

    Raises:
        InvalidInput: The face value is negative or no Money, or `at` has no time zone.
        WrongCurrency: A flat tax is in another currency.
    """
    if not hasattr(face_value, "currency"):
        raise InvalidInput("face_value", face_value, "must be Money")
    code = money.currency_code("face_value", face_value.currency)
    face_units = money.units("face_value", face_value, code)
    rules = rules_at(jurisdiction, at, code, exemptions)
    return rules.taxed([PriceLine(TaxOn.SALE, face_units)])


def _nets(
    lines: Sequence[PriceLine], sums: dict[TaxOn, int], inside: dict[TaxOn, int], contained: int
) -> tuple[int, ...]:
    """Return the lines' amounts less the tax in them, `contained` in all.

    Each line bears its part of what is left, by the exact tax `inside` lines of its kind; no
    more than its amount, and no less than the lines after it cannot bear.
    """
    weights = [
        Fraction(line.amount * inside[line.on], sums[line.on])
        if line.taxable and line.amount
        else Fraction(0)
        for line in lines
    ]
    rooms = [line.amount if weight else 0 for line, weight in zip(lines, weights, strict=True)]
    nets = []
    weight_left, room_left = sum(weights, Fraction(0)), sum(rooms)
    for line, weight, room in zip(lines, weights, rooms, strict=True):
        share = 0
        room_left -= room
        if weight:
            part = (contained * weight / weight_left).as_integer_ratio()
            share = min(money.round_ratio(*part, 1, RoundingMode.HALF_UP), room)
            share = max(share, contained - room_left)
        nets.append(line.amount - share)
        contained -= share
        weight_left -= weight
    return tuple(nets)


def _summed(lines: Iterable[PriceLine]) -> tuple[int, dict[TaxOn, int]]:
    """Return the sum of all lines, and that of the taxable ones by what they are."""
    quoted = 0
    sums: dict[TaxOn, int] = {}
    for on, amount, taxable in lines:
        if type(amount) is not int or amount < 0 or type(on) is not TaxOn:
            check_kind("line on", on, TaxOn)
            check_count(f"{on.value} amount", amount, 0, money.MAX_UNITS)
        quoted += amount
        if taxable and amount:
            sums[on] = sums.get(on, 0) + amount
    return quoted, sums
