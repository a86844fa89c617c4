"""How a price came about: lines that add up to it, exactly.

A line has a kind, a text, a quantity and an amount; whatever else one call takes is further
lines of the same make. Amounts stay exact fractions of a ledger unit up to the line that
rounds. Source: domain.md section 3.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from cardbill import money
from cardbill.bands import Bands
from cardbill.decks import DeckRow, Match
from cardbill.errors import InvalidInput
from cardbill.increments import LONGEST_SECONDS, Stretch, stretches
from cardbill.instants import aware
from cardbill.names import check_count
from cardbill.rating import MINUTE, SURCHARGE_PARTS, Rate
from cardbill.tariffs import Tariff

if TYPE_CHECKING:
    from moneyed import Money

Priced = Rate | Tariff | DeckRow | Match
"""What a call can be priced by."""

_LONGEST_DECIMALS = 9
"""After so many, decimals that never end are cut off in a table, and three dots say so."""


class LineKind(Enum):
    """What a line of an explanation is about."""

    TALK = "talk"
    """Talk time: what the switch reported, or what is charged of it."""
    GRANTED = "granted"
    """The talk time that the grant allowed."""
    GRACE = "grace"
    """The call was too short to be charged."""
    FREE = "free"
    """Talk time at the start that is not billed as usage."""
    USAGE = "usage"
    """Increments that are billed alike."""
    CONNECT_FEE = "connect_fee"
    SURCHARGE = "surcharge"
    END_FEE = "end_fee"
    MINIMUM = "minimum"
    """What was missing to the minimum charge."""
    MAXIMUM = "maximum"
    """What was more than the maximum charge."""
    ROUNDING = "rounding"
    """What rounding, once, made of the exact amount."""
    PRICE = "price"
    """A rated price, explained by itself."""
    HELD = "held"
    """What was more than the grant had set aside."""
    PACKAGE = "package"
    """What a package pays."""
    CHARGE = "charge"
    TAX = "tax"
    SHORT = "short"
    """What there was no money for."""
    POSTED = "posted"
    """What was posted for the call."""
    COST = "cost"
    """What the carrier charges."""


@frozen(kw_only=True)
class Line:
    """One step of an amount.

    Attributes:
        kind: What it is about.
        text: The same for people.
        quantity: Of what it counts; ``None``: nothing.
        unit: What that is: ``s``, ``ms``, ``x 60 s``.
        amount: Exact, in ledger units; negative takes away.
        details: The figures in its text, each under its name, which ends in its unit.
    """

    kind: LineKind
    text: str
    quantity: int | None = None
    unit: str = ""
    amount: Fraction = field(default=Fraction(0), converter=Fraction)
    details: Mapping[str, int | str | None] = field(factory=dict)

    @property
    def measure(self) -> str:
        """The quantity with its unit."""
        return "" if self.quantity is None else f"{self.quantity:,} {self.unit}"

    def as_dict(self) -> dict[str, Any]:
        """Return the line as JSON can hold it; the amount is text: ``5000/3`` ledger units."""
        return {
            "kind": self.kind.value,
            "text": self.text,
            "quantity": self.quantity,
            "unit": self.unit,
            "amount_units": str(self.amount),
            **self.details,
        }


@frozen
class Explanation:
    """How an amount came about.

    Attributes:
        title: What the amount is.
        lines: In order; they add up to it.
        currency: ISO 4217 code; empty: not said.
    """

    title: str
    lines: tuple[Line, ...]
    currency: str = ""

    @property
    def units(self) -> int:
        """The amount, in ledger units."""
        total = _total(self.lines)
        if total.denominator != 1:
            raise ValueError(f"{self.title}: {total} is no whole number of ledger units")
        return total.numerator

    @property
    def exact(self) -> Fraction:
        """The amount before it was rounded, in ledger units."""
        return _total(line for line in self.lines if line.kind is not LineKind.ROUNDING)

    @property
    def amount(self) -> Money:
        """The amount as ``Money``.

        Raises:
            InvalidInput: No currency was said.
        """
        return money.money(self.units, self.currency)

    def rows(self) -> Iterator[tuple[str, str, Fraction | None]]:
        """Yield what a table shows: text, quantity, amount."""
        for line in self.lines:
            shown = line.amount or line.kind in _ALWAYS_SHOWN
            yield line.text, line.measure, line.amount if shown else None
        yield f"{self.title} {self.currency}".rstrip(), "", Fraction(self.units)

    def table(self) -> str:
        """Return the lines and their sum as a short table."""
        return table(self.rows())

    def __str__(self) -> str:
        return self.table()

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it; amounts are in ledger units, 10^-6 of the currency."""
        return {
            "title": self.title,
            "currency": self.currency,
            "units": self.units,
            "exact_units": str(self.exact),
            "lines": [line.as_dict() for line in self.lines],
        }


_ALWAYS_SHOWN = {LineKind.USAGE, LineKind.ROUNDING, LineKind.PRICE, LineKind.POSTED, LineKind.COST}


def explain(
    priced: Priced,
    seconds: int,
    *,
    answered_at: datetime | None = None,
    bands: Bands | None = None,
    currency: object = "",
) -> Explanation:
    """Return how the price of one call comes about, step by step.

    Args:
        priced: A rate, a tariff, or a row of a deck.
        seconds: Talk time from answer to hang-up, 0 to 1,000,000,000 whole seconds.
        answered_at: The answer; needed where bands split calls.
        bands: Those of the deck, to name them in the lines; default: they are not named.
        currency: A ``moneyed.Currency`` or an ISO 4217 code; default: not said.

    Raises:
        InvalidInput: An argument cannot be used; or the row is blocked, so that there is no
            such call.

    >>> from cardbill import rate
    >>> print(explain(rate("0.15", increments="60/30", connect_fee="0.10"), 95, currency="USD"))
    Talk time                                             95 s
    Seconds 0 to 60 at 0.15 a minute                  1 x 60 s  0.15
    Seconds 60 to 120 at 0.15 a minute                2 x 30 s  0.15
    Connect fee                                                 0.10
    Exactly 0.40, rounded up to a multiple of 0.0001            0.00
    Price USD                                                   0.40
    """
    tariff = tariff_of(priced)
    check_count("seconds", seconds, 0, LONGEST_SECONDS)
    code = money.currency_code("currency", currency) if currency else ""
    if answered_at is not None:
        answered_at = aware("answered_at", answered_at)
    elif tariff.changes:
        raise InvalidInput("answered_at", None, "is needed: the rate changes with the hour")
    return Explanation("Price", tuple(_lines(tariff, seconds, answered_at, bands)), code)


def tariff_of(priced: Priced) -> Tariff:
    """Return what a call is priced by, from any form it is given in.

    Raises:
        InvalidInput: It is none, or a row that is blocked.
    """
    if isinstance(priced, Tariff):
        return priced
    if isinstance(priced, Rate):
        return Tariff(priced)
    if not isinstance(priced, DeckRow | Match):
        raise InvalidInput("rate", priced, "must be a Rate, a Tariff or a row of a deck")
    if priced.blocked:
        raise InvalidInput("rate", priced.prefix, "is blocked: there are no such calls")
    return Tariff(priced.rate)


def _lines(
    tariff: Tariff, seconds: int, answered_at: datetime | None, bands: Bands | None
) -> Iterator[Line]:
    rate, usage = tariff.rate, []
    if answered_at is not None:
        rate, _ = tariff.pieces(answered_at)
    yield Line(kind=LineKind.TALK, text="Talk time", quantity=seconds, unit="s")
    if seconds == 0:
        return
    if seconds <= rate.grace_seconds:
        text = f"Not longer than the grace of {rate.grace_seconds:,} s: free of everything"
        yield Line(kind=LineKind.GRACE, text=text, details={"grace_seconds": rate.grace_seconds})
        return
    if free := min(seconds, rate.free_seconds):
        yield Line(kind=LineKind.FREE, text="Free seconds", quantity=free, unit="s")
    if seconds > rate.free_seconds:
        usage = list(_usage(tariff, seconds - rate.free_seconds, answered_at, bands))
    yield from _rounded([*usage, *_fees(rate, _total(usage), drawing=tariff.drawing)], rate)


def _usage(
    tariff: Tariff, billable: int, answered_at: datetime | None, bands: Bands | None
) -> Iterator[Line]:
    """Yield a line for each stretch of increments that are billed alike."""
    pieces: Sequence[tuple[Rate, int | None]] = [(tariff.rate, None)]
    begin = None
    if answered_at is not None:
        base, pieces = tariff.pieces(answered_at)
        begin = answered_at + timedelta(seconds=base.free_seconds)
    position = 0
    for rate, end in pieces:
        until = billable if end is None else min(end, billable)
        if position < until:
            for stretch in stretches(rate.steps, rate.block_rounding, position, until):
                yield _stretch_line(stretch, begin, bands)
                position = stretch.end


def _stretch_line(stretch: Stretch, begin: datetime | None, bands: Bands | None) -> Line:
    price = stretch.price_per_minute
    text = f"Seconds {stretch.begin:,} to {stretch.end:,} at {decimal_text(price)} a minute"
    details: dict[str, int | str | None] = {
        "from_second": stretch.begin,
        "to_second": stretch.end,
        "increments": stretch.increments,
        "increment_seconds": stretch.increment,
        "price_per_minute_units": price,
    }
    if billed_before := stretch.increments * stretch.increment - (stretch.end - stretch.begin):
        text += f", {billed_before:,} s of the first were billed before"
    if begin is not None:
        at = begin + timedelta(seconds=stretch.begin)
        details["begins_at"] = at.isoformat()
        if bands is not None and (band := bands.name_at(at)):
            details["band"] = band
            text += f", {band}"
    return Line(
        kind=LineKind.USAGE,
        text=text,
        quantity=stretch.increments,
        unit=f"x {stretch.increment:,} s",
        amount=Fraction(stretch.usage, MINUTE),
        details=details,
    )


def _fees(rate: Rate, usage: Fraction, *, drawing: bool) -> Iterator[Line]:
    """Yield what is added to usage, or taken from it, before rounding."""
    sum_ = usage + rate.connect_fee
    if rate.connect_fee:
        yield Line(kind=LineKind.CONNECT_FEE, text="Connect fee", amount=rate.connect_fee)
    if rate.surcharge_ppm:
        percent = decimal_text(rate.surcharge_ppm * 100, places=0)
        surcharge = sum_ * Fraction(rate.surcharge_ppm, SURCHARGE_PARTS)
        text = f"Surcharge of {percent} % on connect fee and usage"
        details = {"surcharge_ppm": rate.surcharge_ppm}
        yield Line(kind=LineKind.SURCHARGE, text=text, amount=surcharge, details=details)
        sum_ += surcharge
    if rate.end_fee:
        yield Line(kind=LineKind.END_FEE, text="End fee", amount=rate.end_fee)
        sum_ += rate.end_fee
    if drawing and not sum_:
        return  # a bucket covers it: the minimum applies only if money is charged
    if sum_ < rate.minimum_charge:
        text = f"Raised to the minimum charge of {decimal_text(rate.minimum_charge)}"
        details = {"minimum_charge_units": rate.minimum_charge}
        missing = rate.minimum_charge - sum_
        yield Line(kind=LineKind.MINIMUM, text=text, amount=missing, details=details)
    elif rate.maximum_charge is not None and sum_ > rate.maximum_charge:
        text = f"Lowered to the maximum charge of {decimal_text(rate.maximum_charge)}"
        details = {"maximum_charge_units": rate.maximum_charge}
        beyond = rate.maximum_charge - sum_
        yield Line(kind=LineKind.MAXIMUM, text=text, amount=beyond, details=details)


def _rounded(lines: Sequence[Line], rate: Rate) -> Iterator[Line]:
    """Yield the lines, and what rounding their sum once makes of it."""
    yield from lines
    exact, (unit, mode) = _total(lines), (rate.rounding.unit, rate.rounding.mode)
    result = money.round_ratio(exact.numerator, exact.denominator, unit, mode)
    yield Line(
        kind=LineKind.ROUNDING,
        text=f"Exactly {decimal_text(exact)}, rounded {mode.value.replace('_', ' ')}"
        f" to a multiple of {decimal_text(unit)}",
        amount=result - exact,
        details={
            "exact_units": str(exact),
            "multiple_units": unit,
            "rounding_mode": mode.value,
            "result_units": result,
        },
    )


def _total(lines: Iterable[Line]) -> Fraction:
    return sum((line.amount for line in lines), start=Fraction(0))


# -- on paper -----------------------------------------------------------------------------


def decimal_text(units: Fraction | int, *, places: int = 2) -> str:
    """Return ledger units as a decimal of the major unit: exact, or ending in ``...``.

    Args:
        units: Ledger units.
        places: The fewest decimals.
    """
    value = abs(Fraction(units, money.UNITS_PER_MAJOR))
    # Exact amounts are whole 60ths of 10^-12; of those that end, none has more decimals.
    scaled = value * 10**14
    ends = scaled.denominator == 1
    digits = 14 if ends else _LONGEST_DECIMALS
    whole, fraction = divmod(value.numerator * 10**digits // value.denominator, 10**digits)
    decimals = f"{fraction:0{digits}d}"
    if ends:
        kept = max(places, len(decimals.rstrip("0")))
        decimals = decimals[:kept]
    sign = "-" if units < 0 else ""
    return f"{sign}{whole:,}{'.' if decimals else ''}{decimals}{'' if ends else '...'}"


def table(rows: Iterable[tuple[str, str, Fraction | None]]) -> str:
    """Return rows of text, quantity and amount in columns; amounts line up at the point."""
    plain = [
        (text, quantity, "" if amount is None else decimal_text(amount))
        for text, quantity, amount in rows
    ]
    widths = [max((len(row[column]) for row in plain), default=0) for column in (0, 1)]
    whole = max((len(amount.partition(".")[0]) for _, _, amount in plain), default=0)
    lines = []
    for text, quantity, amount in plain:
        before, point, after = amount.partition(".")
        figure = f"{before:>{whole}}{point}{after}"
        lines.append(f"{text:<{widths[0]}}  {quantity:>{widths[1]}}  {figure}".rstrip())
    return "\n".join(lines)
