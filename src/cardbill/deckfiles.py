"""Rate decks read from CSV: headers recognised or mapped, odd rows reported by line."""

from __future__ import annotations

import os
from collections.abc import Container, Iterator, Mapping
from datetime import datetime
from typing import TextIO

from cardbill import money
from cardbill.csvfiles import Table, label, opened
from cardbill.decks import Deck, DeckRow, check_prefix
from cardbill.errors import DeckRefused, InexactAmount, InvalidInput, RowProblem
from cardbill.increments import Step, parse_increments, steps_of
from cardbill.instants import parse_instant, zone
from cardbill.rating import Rate, Rounding

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "prefix": ("prefix", "code", "dial code", "dialcode", "destination code"),
    "destination": ("destination", "destination name", "name", "description"),
    "price_per_minute": ("price_per_minute", "rate", "price", "rate per minute", "rate/min"),
    "increments": ("increments", "increment", "billing increment"),
    "first_increment": ("first_increment", "first interval", "initial increment"),
    "next_increment": ("next_increment", "sub interval", "next interval"),
    "connect_fee": ("connect_fee", "connect fee", "connection fee", "setup fee"),
    "grace_seconds": ("grace_seconds", "grace", "grace period"),
    "free_seconds": ("free_seconds", "free seconds"),
    "minimum_charge": ("minimum_charge", "minimum charge"),
    "end_fee": ("end_fee", "end fee"),
    "surcharge_percent": ("surcharge_percent", "surcharge", "post call surcharge"),
    "blocked": ("blocked", "barred"),
    "effective_from": ("effective_from", "effective from", "effective date", "start date"),
    "effective_until": ("effective_until", "effective until", "end date"),
}
"""What a deck's columns are called: the field, and the headers recognised for it.

Case, and spaces at the ends, do not matter. ``prefix`` and ``price_per_minute`` are needed.
"""

_YES, _NO = frozenset({"1", "y", "yes", "true", "x"}), frozenset({"", "0", "n", "no", "false"})


def read_deck(
    source: str | os.PathLike[str] | TextIO,
    *,
    currency: object,
    columns: Mapping[str, str] | None = None,
    rounding: Rounding | None = None,
    time_zone: str = "UTC",
    on_problem: str = "refuse",
) -> Deck:
    """Read a rate deck from CSV.

    Comma, semicolon or tab, told from the header line; UTF-8 with or without a byte-order
    mark. Prices are per minute, in the currency's major unit, with a decimal point.
    Instants are ISO 8601; one without a zone is in `time_zone`. A single ``increments``
    column is written ``60/6``; without any such column a second is billed at a time.

    Args:
        source: A path, or an open text file.
        currency: A ``moneyed.Currency`` or an ISO 4217 code.
        columns: Field to header, for headers that :data:`COLUMNS` does not list.
        rounding: How a call's price is rounded; default: up, to 0.0001.
        time_zone: The IANA zone of instants written without one.
        on_problem: ``refuse``: any row that cannot be used refuses the file. ``block``:
            such a row blocks its prefix from its ``effective_from`` on (always, if that
            cannot be read), so that no number under it is called at the price of a shorter
            prefix, or at an older price; the rows are listed in ``Deck.problems``. A row
            whose prefix cannot be read refuses the file all the same.

    Raises:
        DeckRefused: Rows that cannot be used, or not even blocked, each by line, column
            and code.
        InvalidInput: The file or an argument as a whole; the field is named.
    """
    if on_problem not in ("refuse", "block"):
        raise InvalidInput("on_problem", on_problem, "must be 'refuse' or 'block'")
    code = money.currency_code("currency", currency)
    with opened(source, "rate deck") as file:
        reader = _Reader(file, code, columns or {}, rounding or Rounding(), time_zone)
        rows = reader.without_duplicates(list(reader.rows()))
    problems = sorted(reader.problems, key=lambda problem: problem.line)
    if refused := problems if on_problem == "refuse" else reader.lost:
        raise DeckRefused(label(source, "rate deck"), refused)
    return Deck.compile(reader.with_blocks(rows), currency=code, problems=problems)


_NO_PRICE = Rate(steps=(Step(0, 0, 1),))


class _Reader:
    """One pass over one file: rows out, problems kept.

    Attributes:
        problems: Every row that cannot be used.
        lost: Those of them whose prefix cannot be read, so that nothing can be blocked.
    """

    def __init__(
        self,
        file: TextIO,
        currency: str,
        mapping: Mapping[str, str],
        rounding: Rounding,
        time_zone: str,
    ) -> None:
        self.problems: list[RowProblem] = []
        self.lost: list[RowProblem] = []
        self._blocks: list[DeckRow] = []  # in place of the rows that cannot be used
        self._undated: set[str] = set()  # prefixes of such rows, valid nobody knows when
        self._currency = currency
        self._rounding = rounding
        zone("time_zone", time_zone)
        self._time_zone = time_zone
        self._rates: dict[tuple[str, ...], Rate] = {}
        self._table = Table(file)
        self._at = self._table.locate(COLUMNS, mapping, required=("prefix", "price_per_minute"))

    def rows(self) -> Iterator[DeckRow]:
        """Yield the usable rows."""
        for line, cells in self._table.rows():
            if isinstance(cells, Exception):
                self._lose(line, "", "not-csv", str(cells))
            elif len(cells) != (width := len(self._table.header)):
                message = f"has {len(cells)} cells where the header has {width}"
                self._lose(line, "", "cells", message)
            elif (prefix := self._prefix(line, cells)) is None:
                continue
            elif row := self._row(line, prefix, cells):
                yield row
            else:
                self._block_row(line, prefix, cells)

    def without_duplicates(self, rows: list[DeckRow]) -> list[DeckRow]:
        """Return the rows but for those alike in prefix and effective-from, all reported."""
        kept: dict[tuple[str, datetime | None], DeckRow] = {}
        alike: set[tuple[str, datetime | None]] = set()
        for row in rows:
            key = (row.prefix, row.effective_from)
            if (first := kept.setdefault(key, row)) is row:
                continue
            if key not in alike:
                alike.add(key)
                self._duplicate(first, row)
                self._block(first.line, first.prefix, first.effective_from)
            self._duplicate(row, first)
        return [row for key, row in kept.items() if key not in alike]

    def with_blocks(self, rows: list[DeckRow]) -> list[DeckRow]:
        """Return the rows, and a block in place of every one that cannot be used."""
        rows = [row for row in rows if row.prefix not in self._undated] + self._blocks
        return list({(row.prefix, row.effective_from): row for row in rows}.values())

    def _block_row(self, line: int, prefix: str, cells: list[str]) -> None:
        begin = None
        try:
            begin = self._instant(cells, "effective_from")
        except InvalidInput:
            self._undated.add(prefix)
        self._block(line, prefix, begin)

    def _block(self, line: int, prefix: str, begin: datetime | None) -> None:
        self._blocks.append(
            DeckRow(prefix=prefix, rate=_NO_PRICE, blocked=True, effective_from=begin, line=line)
        )

    def _duplicate(self, row: DeckRow, other: DeckRow) -> None:
        message = f"prefix {row.prefix} stands on line {other.line} too, valid from the same day"
        self._problem(row.line, self._header("prefix"), "duplicate", message)

    def _prefix(self, line: int, cells: list[str]) -> str | None:
        header, text = self._header("prefix"), self._cell(cells, "prefix")
        if not text:
            self._lose(line, header, "missing", "no prefix")
            return None
        try:
            return check_prefix(text)
        except InvalidInput as error:
            self._lose(line, header, "invalid", str(error))
            return None

    def _row(self, line: int, prefix: str, cells: list[str]) -> DeckRow | None:
        if not self._cell(cells, "price_per_minute"):
            header = self._header("price_per_minute")
            self._problem(line, header, "missing", "no price_per_minute")
            return None
        try:
            return DeckRow(
                prefix=prefix,
                rate=self._rate(cells),
                destination=self._cell(cells, "destination"),
                blocked=self._yes(cells, "blocked"),
                effective_from=self._instant(cells, "effective_from"),
                effective_until=self._instant(cells, "effective_until"),
                line=line,
            )
        except InvalidInput as error:
            code = "inexact" if isinstance(error, InexactAmount) else "invalid"
            self._problem(line, self._header(error.field), code, str(error))
            return None

    def _instant(self, cells: list[str], field: str) -> datetime | None:
        text = self._cell(cells, field)
        return parse_instant(field, text, self._time_zone) if text else None

    def _yes(self, cells: list[str], field: str) -> bool:
        text = self._cell(cells, field).lower()
        if text not in _YES and text not in _NO:
            raise InvalidInput(field, text, "must be yes or no")
        return text in _YES

    def _rate(self, cells: list[str]) -> Rate:
        fields = (
            "price_per_minute",
            "increments",
            "first_increment",
            "next_increment",
            "connect_fee",
            "grace_seconds",
            "free_seconds",
            "minimum_charge",
            "end_fee",
            "surcharge_percent",
        )
        texts = tuple(self._cell(cells, name) for name in fields)
        if (known := self._rates.get(texts)) is None:
            known = self._rates[texts] = self._build(dict(zip(fields, texts, strict=True)))
        return known

    def _build(self, cells: Mapping[str, str]) -> Rate:
        def unsigned(name: str, value: int) -> int:
            if value < 0:
                raise InvalidInput(name, cells[name], "must not be negative")
            return value

        def amount(name: str) -> int:
            return unsigned(name, money.units(name, cells[name] or "0", self._currency))

        def parts(name: str, per_one: int) -> int:
            text = (cells[name] or "0").removesuffix("%" if per_one > 1 else "")
            return unsigned(name, money.parts(name, text, per_one))

        return Rate(
            steps=steps_of(amount("price_per_minute"), *_increments(cells, self._at)),
            connect_fee=amount("connect_fee"),
            grace_seconds=parts("grace_seconds", 1),
            free_seconds=parts("free_seconds", 1),
            minimum_charge=amount("minimum_charge"),
            end_fee=amount("end_fee"),
            surcharge_ppm=parts("surcharge_percent", 10_000),
            rounding=self._rounding,
        )

    def _cell(self, cells: list[str], field: str) -> str:
        position = self._at.get(field)
        return "" if position is None else cells[position].strip()

    def _header(self, field: str) -> str:
        position = self._at.get(field)
        return field if position is None else self._table.header[position]

    def _problem(self, line: int, column: str, code: str, message: str) -> None:
        self.problems.append(RowProblem(line, column, code, message))

    def _lose(self, line: int, column: str, code: str, message: str) -> None:
        self._problem(line, column, code, message)
        self.lost.append(self.problems[-1])


def _increments(cells: Mapping[str, str], columns: Container[str]) -> tuple[int, int]:
    """Return the first and the following increment: of one column, or of two with one each.

    Without any such column a second is billed at a time; but where the file has one, an
    empty cell is no leave to bill less than the rows around it.
    """
    if cells["increments"]:
        return parse_increments("increments", cells["increments"])
    for name in ("first_increment", "next_increment"):
        if "/" in cells[name]:
            raise InvalidInput(name, cells[name], "must be one whole number of seconds")
    first = cells["first_increment"] or cells["next_increment"]
    if not first:
        for name in ("increments", "first_increment", "next_increment"):
            if name in columns:
                raise InvalidInput(name, None, "is empty")
        first = "1"
    first_seconds, _ = parse_increments("first_increment", first)
    following, _ = parse_increments("next_increment", cells["next_increment"] or first)
    return first_seconds, following
