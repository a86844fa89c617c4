"""Rate decks read from CSV and XLSX: headers recognised or mapped, odd rows told by line."""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import chain
from typing import IO, TextIO

from attrs import evolve

from cardbill import money
from cardbill.bands import Band, BandRating
from cardbill.codecells import Code, all_codes, spelled_out
from cardbill.csvfiles import CellRefused, Table, csv_table, label, opened
from cardbill.deckchecks import contradiction, outliers
from cardbill.decklines import NO_PRICE, LineReader, Reading
from cardbill.decks import Deck, DeckRow
from cardbill.dialects import Dialect, RateChange
from cardbill.errors import DeckRefused, InexactAmount, InvalidInput, RowProblem
from cardbill.names import check_kind
from cardbill.rating import Rounding
from cardbill.workbooks import is_workbook, sheet_table

_TIDY = Dialect(cover_lines=0)
_KIND = "rate deck"


def read_deck(
    source: str | os.PathLike[str] | TextIO | IO[bytes],
    *,
    currency: object,
    dialect: Dialect | None = None,
    columns: Mapping[str, str | Sequence[str]] | None = None,
    rounding: Rounding | None = None,
    time_zone: str = "UTC",
    bands: Iterable[Band] = (),
    band_rating: BandRating | str = BandRating.AT_START,
    older: Deck | None = None,
    on_problem: str = "refuse",
) -> Deck:
    """Read a rate deck from CSV or XLSX.

    CSV with commas, semicolons or tabs, told from the header line; UTF-8 with or without a
    byte-order mark. XLSX needs the extra ``xlsx``. Without a dialect the header is the first
    line and each row has one code; prices have a decimal point, instants are ISO 8601.
    Prices are per minute, in the currency's major unit. A single ``increments`` column is
    written ``60/6``; without any such column a second is billed at a time.

    A row whose ``change`` says that it is closed blocks its codes from its ``effective_from``
    on; until then its price counts, if it has one above 0. The ``current_price`` of a row
    counts until its ``effective_from``.

    Args:
        source: A path (``.xlsx``, ``.xlsm``, or else CSV), an open text file of CSV, or an
            open binary file of XLSX.
        currency: A ``moneyed.Currency`` or an ISO 4217 code. Where the file has a column of
            that name, it must say the same.
        dialect: How the carrier writes.
        columns: Field to header, for headers that :data:`cardbill.decklines.COLUMNS` does
            not list; they go before those of the dialect.
        rounding: How a call's price is rounded; default: up, to 0.0001.
        time_zone: The IANA zone of instants written without one, and of the bands' hours.
        bands: The time bands that rows may name.
        band_rating: As for :meth:`Deck.compile`.
        older: The deck in force, to compare the words for changes with.
        on_problem: ``refuse``: any row that cannot be used refuses the file. ``block``:
            such a row blocks its prefix from its ``effective_from`` on (always, if that
            cannot be read), so that no number under it is called at the price of a shorter
            prefix, or at an older price; the rows are listed in ``Deck.problems``. A row
            whose prefix cannot be read refuses the file all the same.

    Returns:
        The deck. Its ``warnings`` list rows that can be used and look wrong: prices more
        than 100 times what is usual, or less than a hundredth of it (``outlier``), words for
        changes that do not fit the older deck (``change``), and prefixes that begin with 0, as
        no country code does (``no-country``).

    Raises:
        DeckRefused: Rows that cannot be used, or not even blocked, each by line, column
            and code.
        InvalidInput: The file or an argument as a whole; the field is named.
        ExtraMissing: XLSX needs the extra ``xlsx``.
    """
    if on_problem not in ("refuse", "block"):
        raise InvalidInput("on_problem", on_problem, "must be 'refuse' or 'block'")
    code = money.currency_code("currency", currency)
    known_bands = tuple(check_kind("bands", band, Band) for band in bands)
    if dialect is not None:
        check_kind("dialect", dialect, Dialect)
    if older is not None:
        check_kind("older", older, Deck)
    how = Reading(
        currency=code,
        bands=("", *(band.name for band in known_bands)),
        dialect=dialect or _TIDY,
        listed=dialect is not None,
        headers={**(dialect or _TIDY).columns, **Dialect(columns=columns or {}).columns},
        rounding=rounding or Rounding(),
        time_zone=time_zone,
    )
    with _table(source, how) as table:
        reader = _Reader(LineReader(table, how), table, older)
        rows = reader.without_duplicates(reader.as_written(list(reader.rows())))
    problems = sorted(reader.problems, key=lambda problem: problem.line)
    if refused := problems if on_problem == "refuse" else reader.lost:
        raise DeckRefused(label(source, _KIND), refused)
    return Deck.compile(
        reader.with_blocks(rows),
        currency=code,
        bands=known_bands,
        time_zone=time_zone,
        band_rating=band_rating,
        problems=problems,
        warnings=reader.all_warnings(rows),
    )


@contextmanager
def _table(source: str | os.PathLike[str] | TextIO | IO[bytes], how: Reading) -> Iterator[Table]:
    above = how.dialect.cover_lines
    is_header = how.is_header if above else None
    if is_workbook(source):
        with sheet_table(
            source, _KIND, sheet=how.dialect.sheet, is_header=is_header, above=above
        ) as table:
            yield table
    else:
        with opened(source, _KIND) as file:
            yield csv_table(file, is_header=is_header, above=above)


class _Reader:
    """One pass over one file: rows out, problems kept.

    Attributes:
        problems: Every row that cannot be used.
        lost: Those of them whose prefix cannot be read, so that nothing can be blocked.
    """

    def __init__(self, reader: LineReader, table: Table, older: Deck | None) -> None:
        self.problems: list[RowProblem] = []
        self.lost: list[RowProblem] = []
        self._reader = reader
        self._table = table
        self._older = older
        self._warnings: list[RowProblem] = []
        self._blocks: list[DeckRow] = []  # in place of the rows that cannot be used
        self._undated: list[DeckRow] = []  # likewise, of rows valid nobody knows when
        self._merged: dict[str, set[int]] = {}  # prefixes of ranges -> digits of their codes
        self._written: dict[tuple[str, int], int] = {}  # (such a prefix, line) -> those digits

    # -- rows -----------------------------------------------------------------------------

    def rows(self) -> Iterator[DeckRow]:
        """Yield the usable rows."""
        remarks: list[int] = []
        after_blank = False
        for line, cells in self._table.records():
            if isinstance(cells, Exception):
                self._lose(line, "", "not-csv", str(cells))
                continue
            if not any(cell.strip() for cell in cells):
                after_blank = True
                continue
            if self._reader.is_remark(cells, follows=after_blank or bool(remarks)):
                remarks.append(line)
                continue
            for earlier in remarks:
                self._lose(earlier, "", "remark", "has neither a code nor a price, and rows follow")
            remarks.clear()
            after_blank = False
            if len(cells) != (width := len(self._table.header)):
                message = f"has {len(cells)} cells where the header has {width}"
                self._lose(line, "", "cells", message)
            else:
                yield from self._rows(line, cells)

    def _rows(self, line: int, cells: list[str]) -> list[DeckRow]:
        """Return what one line says; nothing where it cannot be used, which is noted."""
        try:
            codes = self._reader.codes(cells)
        except InvalidInput as error:
            self._lose(line, self._reader.header("prefix"), _why(error), _told(error))
            return []
        for code in codes:
            if code.written > len(code.prefix):
                self._merged.setdefault(code.prefix, set()).add(code.written)
                self._written[code.prefix, line] = code.written
        try:
            rows = self._reader.rows(line, codes, cells)
        except InvalidInput as error:
            self._refuse(line, codes, cells, error)
            return []
        if self._older and (change := self._reader.change(cells)):
            self._compare(line, rows[-len(codes) :], change, self._older)
        return rows

    def _compare(self, line: int, rows: list[DeckRow], change: RateChange, older: Deck) -> None:
        """Note the first of these rows that does not fit what the line says of its change."""
        problem = next(filter(None, (contradiction(row, change, older) for row in rows)), "")
        if problem:
            self._warnings.append(
                RowProblem(line, self._reader.header("change"), "change", problem)
            )

    def all_warnings(self, rows: list[DeckRow]) -> list[RowProblem]:
        """Return what looks wrong, one warning for each cell, in the order of lines."""
        odd = {
            (row.line, self._reader.price_header(row.band)): problem
            for row, problem in outliers(rows)
        }
        found = [RowProblem(*where, "outlier", problem) for where, problem in odd.items()]
        code = self._reader.header("prefix")
        nobodys = {row.line: row.prefix for row in rows if row.prefix[0] == "0"}
        for line, prefix in nobodys.items():
            problem = f"{prefix} begins with 0, as no country code does: it rates no call"
            found.append(RowProblem(line, code, "no-country", problem))
        return sorted([*self._warnings, *found], key=lambda warning: warning.line)

    # -- all rows -------------------------------------------------------------------------

    def as_written(self, rows: list[DeckRow]) -> list[DeckRow]:
        """Return the rows; those of a range as its codes where other codes lie inside it."""
        while self._merged:
            all_rows = chain(rows, self._blocks, self._undated)
            apart = spelled_out(((row.prefix, self._digits(row)) for row in all_rows), self._merged)
            if not apart:
                break
            rows = list(self._spelled_out(rows, apart))
            self._blocks = list(self._spelled_out(self._blocks, apart))
            self._undated = list(self._spelled_out(self._undated, apart))
            for prefix, digits in apart:  # the codes may lie inside another range in turn
                self._merged[prefix].discard(digits)
        return rows

    def _spelled_out(
        self, rows: Iterable[DeckRow], apart: Container[tuple[str, int]]
    ) -> Iterator[DeckRow]:
        for row in rows:
            if (code := (row.prefix, self._digits(row))) in apart:
                try:
                    yield from (evolve(row, prefix=each) for each in all_codes(*code))
                except CellRefused as error:
                    self._lose(row.line, self._reader.header("prefix"), error.code, str(error))
            else:
                yield row

    def _digits(self, row: DeckRow) -> int:
        return self._written.get((row.prefix, row.line), len(row.prefix))

    def without_duplicates(self, rows: list[DeckRow]) -> list[DeckRow]:
        """Return the rows but for those alike in prefix, band and effective-from, all told."""
        kept: dict[_Place, DeckRow] = {}
        alike: set[_Place] = set()
        for row in rows:
            key = _place(row)
            first = kept.setdefault(key, row)
            if first is row or first.line == row.line:  # a line may list a code twice
                continue
            if key not in alike:
                alike.add(key)
                self._duplicate(first, row)
                self._blocks.append(
                    _block(first.line, first.prefix, first.band, first.effective_from)
                )
            self._duplicate(row, first)
        return [row for key, row in kept.items() if key not in alike]

    def with_blocks(self, rows: list[DeckRow]) -> list[DeckRow]:
        """Return the rows, and a block in place of every one that cannot be used."""
        if not self._blocks and not self._undated:
            return rows
        undated = {(row.prefix, row.band) for row in self._undated}
        rows = [row for row in rows if (row.prefix, row.band) not in undated]
        return list({_place(row): row for row in (*rows, *self._blocks, *self._undated)}.values())

    def _refuse(self, line: int, codes: list[Code], cells: list[str], error: InvalidInput) -> None:
        """Note why a row cannot be used, and block what it was for."""
        self._problem(line, self._reader.header(error.field), _why(error), _told(error))
        begin, blocks = None, self._blocks
        try:
            begin = self._reader.begin(cells)
        except InvalidInput:
            blocks = self._undated
        bands = self._reader.bands(cells)
        blocks += [_block(line, code.prefix, band, begin) for code in codes for band in bands]

    def _duplicate(self, row: DeckRow, other: DeckRow) -> None:
        message = f"prefix {row.prefix} stands on line {other.line} too, valid from the same day"
        self._problem(row.line, self._reader.header("prefix"), "duplicate", message)

    def _problem(self, line: int, column: str, code: str, message: str) -> None:
        self.problems.append(RowProblem(line, column, code, message))

    def _lose(self, line: int, column: str, code: str, message: str) -> None:
        self._problem(line, column, code, message)
        self.lost.append(self.problems[-1])


_Place = tuple[str, str, datetime | None]


def _place(row: DeckRow) -> _Place:
    return row.prefix, row.band, row.effective_from


def _block(line: int, prefix: str, band: str, begin: datetime | None) -> DeckRow:
    return DeckRow(
        prefix=prefix, rate=NO_PRICE, blocked=True, band=band, effective_from=begin, line=line
    )


def _why(error: InvalidInput) -> str:
    """Return the stable word for why a cell cannot be used."""
    if isinstance(error, CellRefused):
        return error.code
    return "inexact" if isinstance(error, InexactAmount) else "invalid"


def _told(error: InvalidInput) -> str:
    """Return the same for people; a cell that is empty needs no more than that."""
    empty = isinstance(error, CellRefused) and error.value is None
    return error.problem if empty else str(error)
