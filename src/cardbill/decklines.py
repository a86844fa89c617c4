"""One line of a rate deck: which codes it is for, and what it says of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

from cardbill.codecells import Code, codes_in
from cardbill.csvfiles import CellRefused, Table, fold, unmarked_text
from cardbill.dateforms import parse_date
from cardbill.decks import DeckRow, check_prefix
from cardbill.dialects import Dialect, RateChange
from cardbill.errors import InvalidInput
from cardbill.increments import Step
from cardbill.instants import zone
from cardbill.ratecells import NUMBERS, WORDS, RateCells
from cardbill.rating import Rate, Rounding
from cardbill.workbooks import NumberText

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "prefix": ("prefix", "code", "dial code", "dialcode", "destination code"),
    "destination": ("destination", "destination name", "name", "description"),
    "price_per_minute": ("price_per_minute", "rate", "price", "rate per minute", "rate/min"),
    "current_price": ("current_price",),
    "currency": ("currency",),
    "band": ("band", "time band"),
    "increments": ("increments", "increment", "billing increment"),
    "first_increment": ("first_increment", "first interval", "initial increment"),
    "next_increment": ("next_increment", "sub interval", "next interval"),
    "steps": ("steps",),
    "connect_fee": ("connect_fee", "connect fee", "connection fee", "setup fee"),
    "grace_seconds": ("grace_seconds", "grace", "grace period"),
    "free_seconds": ("free_seconds", "free seconds"),
    "minimum_charge": ("minimum_charge", "minimum charge"),
    "maximum_charge": ("maximum_charge", "maximum charge"),
    "beyond_maximum": ("beyond_maximum", "beyond maximum"),
    "block_rounding": ("block_rounding", "block rounding"),
    "end_fee": ("end_fee", "end fee"),
    "surcharge_percent": ("surcharge_percent", "surcharge", "post call surcharge"),
    "rounding": ("rounding",),
    "blocked": ("blocked", "barred"),
    "change": ("change", "change type", "rate change"),
    "effective_from": ("effective_from", "effective from", "effective date", "start date"),
    "effective_until": ("effective_until", "effective until", "end date"),
}
"""What a deck's columns are called: the field, and the headers recognised for it.

Case, and spaces at the ends, do not matter. ``prefix`` and ``price_per_minute`` are needed.
"""

NO_PRICE = Rate(steps=(Step(0, 0, 1),))
"""The rate of rows that are blocked."""

_YES, _NO = frozenset({"1", "y", "yes", "true", "x"}), frozenset({"", "0", "n", "no", "false"})
_ONE_PRICE = ("price_per_minute", "current_price", "band")
_WORD = re.compile(r"[^\W\d_]{2}")


class Reading(NamedTuple):
    """How one file is read.

    ``listed``: a code cell is read as a list, and what stands below the table as remarks.
    """

    currency: str
    bands: Sequence[str]
    dialect: Dialect
    listed: bool
    headers: Mapping[str, tuple[str, ...]]
    rounding: Rounding
    time_zone: str

    def is_header(self, cells: Sequence[str]) -> bool:
        """Say whether a line names a column of codes, and of every price that is needed."""
        folded = {fold(cell) for cell in cells}
        prices = [{fold(header)} for header in self.dialect.prices.values()]
        needed = [self._accepted("prefix"), *(prices or [self._accepted("price_per_minute")])]
        return all(folded & accepted for accepted in needed)

    def _accepted(self, field: str) -> set[str]:
        headers = self.headers.get(field)
        return {fold(headers[-1])} if headers else set(COLUMNS[field])


class _Terms(NamedTuple):
    """What one row says of each of its codes, in one band, for a stretch of time."""

    band: str
    rate: Rate
    blocked: bool
    begin: datetime | None
    end: datetime | None


class LineReader:
    """Reads the lines of one table.

    Raises:
        InvalidInput: The header lacks a column, or has two that could be one; there is no
            such time zone.
    """

    def __init__(self, table: Table, how: Reading) -> None:
        zone("time_zone", how.time_zone)
        self._how = how
        self._dialect = how.dialect
        self._table = table
        self._at = self._located()
        self._prices: dict[str | None, str] = (  # band -> field; None: as the row says
            {band: _price_field(band) for band in how.dialect.prices} or {None: "price_per_minute"}
        )
        fields = (*NUMBERS, *WORDS, "current_price", *self._prices.values())
        self._rate_fields = [field for field in fields if field in self._at]
        self._before = {  # columns put before the cell of a field
            field: [table.position(f"columns[{field!r}]", header) for header in headers[:-1]]
            for field, headers in how.headers.items()
        }
        self._rates = RateCells(how.currency, how.rounding, how.dialect.decimal, self._at)
        self._date = lru_cache(maxsize=1_000)(self._read_date)
        self._names: dict[str, str] = {}

    def _located(self) -> dict[str, int]:
        """Return field -> column; of several headers for a field, the last one's."""
        headers = {field: headers[-1] for field, headers in self._how.headers.items()}
        prices = self._dialect.prices
        if not prices:
            needed = ("prefix", "price_per_minute")
            otherwise = ", or read a carrier's notice with a `dialect`"
            return self._table.locate(COLUMNS, headers, required=needed, otherwise=otherwise)
        known = {field: names for field, names in COLUMNS.items() if field not in _ONE_PRICE}
        at = self._table.locate(known, headers, required=("prefix",))
        for band, header in prices.items():
            if band not in self._how.bands:
                raise InvalidInput("prices", band, "is no band of this deck: give it in `bands`")
            at[_price_field(band)] = self._table.position(_price_field(band), header)
        return at

    def header(self, field: str) -> str:
        """Return the header of a field, as written."""
        position = self._at.get(field)
        return field if position is None else self._table.header[position]

    def price_header(self, band: str) -> str:
        """Return the header of the price in a band."""
        return self.header(self._prices.get(band) or next(iter(self._prices.values())))

    def is_remark(self, cells: Sequence[str], *, follows: bool) -> bool:
        """Say whether a line looks like a remark: words, and neither a code nor a price.

        Args:
            cells: Of the line.
            follows: A blank line or another remark stands before it; otherwise it must be
                of one cell only.
        """
        if not self._how.listed:
            return False
        asked = [self._at[field] for field in ("prefix", *self._prices.values())]
        if any(position < len(cells) and not _is_words(cells[position]) for position in asked):
            return False
        return follows or sum(bool(cell.strip()) for cell in cells) == 1

    def codes(self, cells: Sequence[str]) -> list[Code]:
        """Return the codes that a line is for.

        Raises:
            InvalidInput: They cannot be read.
        """
        text = self._cell(cells, "prefix")
        country = "".join(cells[position] for position in self._before.get("prefix", ()))
        if self._how.listed:
            hyphen, spaces = self._dialect.hyphen, self._dialect.spaces
            return codes_in(text, country=country, hyphen=hyphen, spaces=spaces)
        if not text:
            raise CellRefused("prefix", None, "missing", "no prefix")
        return [Code(check_prefix(country + text), len(country + text))]

    def change(self, cells: Sequence[str]) -> RateChange | None:
        """Return what a line says has become of its price; ``None``: nothing.

        Raises:
            CellRefused: It says so with an unknown word.
        """
        word = self._cell(cells, "change")
        change = self._dialect.meaning(word) if word else None
        if word and change is None:
            problem = "is no word for a change that is known: say what it means in `changes`"
            raise CellRefused("change", word, "unknown-change", problem)
        return change

    def rows(self, line: int, codes: Sequence[Code], cells: Sequence[str]) -> list[DeckRow]:
        """Return what a line says of its codes; the last terms of each code at the end.

        Raises:
            InvalidInput: A cell cannot be used; its field is named.
        """
        change = self.change(cells)
        name = self._name(cells)
        return [
            DeckRow(
                prefix=code.prefix,
                rate=terms.rate,
                destination=name,
                blocked=terms.blocked,
                band=terms.band,
                effective_from=terms.begin,
                effective_until=terms.end,
                line=line,
            )
            for terms in self._terms(cells, change)
            for code in codes
        ]

    def begin(self, cells: Sequence[str]) -> datetime | None:
        """Return from when on a line counts.

        Raises:
            InvalidInput: It is no instant.
        """
        return self._instant(cells, "effective_from")

    def bands(self, cells: Sequence[str]) -> Sequence[str]:
        """Return every band that a line may be for; ``""`` is none."""
        if self._dialect.prices:
            return ("", *(band for band in self._dialect.prices if band))
        try:
            return (self._band(cells),)
        except InvalidInput:
            return self._how.bands

    # -- terms ----------------------------------------------------------------------------

    def _terms(self, cells: Sequence[str], change: RateChange | None) -> Iterator[_Terms]:
        texts = {name: self._cell(cells, name) for name in self._rate_fields}
        begin = self._instant(cells, "effective_from")
        end = self._instant(cells, "effective_until")
        blocked = self._yes(cells, "blocked")
        self._check_currency(cells)
        if change is RateChange.CLOSED:
            yield from self._closed(cells, texts, begin)
            return
        current = None
        if texts.get("current_price"):
            current = self._rates.rate(texts, "current_price")
        for band, field in self._priced(cells):
            rate = self._rates.rate(texts, field)
            if current is None or current == rate:
                yield _Terms(band, rate, blocked, None if current else begin, end)
                continue
            if begin is None:
                problem = "is empty, where the price changes"
                raise CellRefused("effective_from", None, "missing", problem)
            yield _Terms(band, current, blocked, None, begin)
            yield _Terms(band, rate, blocked, begin, end)

    def _closed(
        self, cells: Sequence[str], texts: Mapping[str, str], begin: datetime | None
    ) -> Iterator[_Terms]:
        """Yield the price of closed codes until then, as far as there is one, and their end."""
        for band, field in self._priced(cells):
            price = "current_price" if texts.get("current_price") else field
            rate = self._rates.rate(texts, price) if texts[price] else NO_PRICE
            if begin and any(step.price_per_minute for step in rate.steps):
                yield _Terms(band, rate, blocked=False, begin=None, end=begin)
        if self._dialect.closed == "block":
            for band in self.bands(cells):
                yield _Terms(band, NO_PRICE, blocked=True, begin=begin, end=None)

    def _priced(self, cells: Sequence[str]) -> Iterator[tuple[str, str]]:
        """Yield the bands that a line has prices for, each with the field of its price."""
        for band, field in self._prices.items():
            yield self._band(cells) if band is None else band, field

    # -- cells ----------------------------------------------------------------------------

    def _name(self, cells: Sequence[str]) -> str:
        before = [cells[position] for position in self._before.get("destination", ())]
        parts = [*before, self._cell(cells, "destination")]
        name = unmarked_text(" ".join(" ".join(parts).split()) if before else parts[0])
        return self._names.setdefault(name, name)

    def _check_currency(self, cells: Sequence[str]) -> None:
        stated = self._cell(cells, "currency")
        if stated and stated.upper() != self._how.currency:
            problem = f"is not {self._how.currency}, the currency of the deck"
            raise CellRefused("currency", stated, "currency", problem)

    def _band(self, cells: Sequence[str]) -> str:
        band = unmarked_text(self._cell(cells, "band"))
        if band not in self._how.bands:
            raise CellRefused("band", band, "unknown-band", "is no band of this deck")
        return band

    def _instant(self, cells: Sequence[str], field: str) -> datetime | None:
        text = self._cell(cells, field)
        return self._date(field, text) if text else None

    def _read_date(self, field: str, text: str) -> datetime:
        return parse_date(field, text, self._dialect.date_form, self._how.time_zone)

    def _yes(self, cells: Sequence[str], field: str) -> bool:
        text = self._cell(cells, field).lower()
        if text not in _YES and text not in _NO:
            raise InvalidInput(field, text, "must be yes or no")
        return text in _YES

    def _cell(self, cells: Sequence[str], field: str) -> str:
        position = self._at.get(field)
        if position is None:
            return ""
        cell = cells[position]
        return cell if isinstance(cell, NumberText) else cell.strip()


def _price_field(band: str) -> str:
    return f"prices[{band!r}]"


def _is_words(cell: str) -> bool:
    return not cell.strip() or bool(_WORD.search(cell))
