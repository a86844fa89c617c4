"""Reading XLSX workbooks row by row: what a cell holds, as exact text.

A number comes as the decimal text of at most 15 digits that a spreadsheet shows; nothing is
computed with it. Dates come in ISO 8601.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, time
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import IO, Any, TextIO

from cardbill.csvfiles import IsHeader, Record, Table, label, no_header
from cardbill.errors import ExtraMissing, InvalidInput

_SUFFIXES = (".xlsx", ".xlsm")
_MAGIC = b"PK\x03\x04"


class NumberText(str):
    """The text of a cell that holds a number: its decimal mark is a point, whoever wrote it."""

    __slots__ = ()


def is_workbook(source: object) -> bool:
    """Say whether a source is a workbook: a path by its name, an open binary file by its start."""
    if isinstance(source, str | os.PathLike):
        return Path(source).suffix.lower() in _SUFFIXES
    if not hasattr(source, "read") or isinstance(source.read(0), str):
        return False
    start = source.read(len(_MAGIC))
    if hasattr(source, "seek"):
        source.seek(0)
    return bool(start == _MAGIC)


@contextmanager
def sheet_table(
    source: str | os.PathLike[str] | TextIO | IO[bytes],
    kind: str,
    *,
    sheet: str = "",
    is_header: IsHeader | None = None,
    above: int = 0,
) -> Iterator[Table]:
    """Lend the table of a workbook's sheet.

    Args:
        source: A path, or an open binary file.
        kind: What to call it in messages.
        sheet: Which sheet; empty: there is only one.
        is_header: Tells the header below cover lines; ``None``: it is the first row.
        above: How many cover lines there may be.

    Raises:
        InvalidInput: It is no whole workbook, has no such sheet, or several and none is
            named; the header is not found.
        ExtraMissing: openpyxl is not installed.
    """
    openpyxl = _openpyxl()
    if isinstance(source, str | os.PathLike):
        with (
            Path(source).open("rb") as file,
            sheet_table(
                file, label(source, kind), sheet=sheet, is_header=is_header, above=above
            ) as table,
        ):
            yield table
        return
    with _readable(kind):
        book = openpyxl.load_workbook(source, read_only=True, data_only=True, keep_links=False)
    try:
        if not book.worksheets:
            raise InvalidInput(kind, None, "is no whole XLSX workbook: it has no sheet of cells")
        records = _records(_sheet(book, sheet), kind)
        yield _table(records, is_header, above)
    finally:
        book.close()


def _openpyxl() -> Any:
    try:
        import openpyxl
    except ImportError as error:
        raise ExtraMissing("xlsx", "openpyxl") from error
    return openpyxl


@contextmanager
def _readable(kind: str) -> Iterator[None]:
    """Turn whatever openpyxl says about a damaged file into one error."""
    try:
        yield
    except (GeneratorExit, InvalidInput):
        raise
    except Exception as error:
        problem = f"is no whole XLSX workbook: {type(error).__name__}"
        raise InvalidInput(kind, None, problem) from error


def _sheet(book: Any, name: str) -> Any:
    if name:
        if name not in book.sheetnames:
            raise InvalidInput("sheet", name, f"must be one of {', '.join(book.sheetnames)}")
        return book[name]
    if len(book.sheetnames) != 1:
        problem = f"must be said: the workbook has {', '.join(book.sheetnames)}"
        raise InvalidInput("sheet", None, problem)
    return book.worksheets[0]


def _table(records: Iterator[Record], is_header: IsHeader | None, above: int) -> Table:
    for _, cells in islice(records, above + 1):
        header = [] if isinstance(cells, Exception) else cells
        while header and not header[-1].strip():
            header.pop()
        if is_header is None or is_header(header):
            return Table(header, _of_width(records, len(header)))
    raise no_header(above)


def _of_width(records: Iterator[Record], width: int) -> Iterator[Record]:
    """Yield each row as wide as the header, as far as only empty cells are added or left out."""
    for line, cells in records:
        if not isinstance(cells, Exception):
            cells.extend([""] * (width - len(cells)))
            while len(cells) > width and not cells[-1].strip():
                cells.pop()
        yield line, cells


def _records(sheet: Any, kind: str) -> Iterator[Record]:
    sheet.reset_dimensions()  # what a file says of its size is often wrong
    with _readable(kind):
        for number, row in enumerate(sheet.iter_rows(), start=1):
            yield number, [_text(cell) for cell in row]


def _text(cell: Any) -> str:
    value = cell.value
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == time() else value.isoformat(" ")
    if isinstance(value, bool | date | time):
        return str(value).lower()
    if isinstance(value, int | float):
        exact = Decimal(f"{value:.15g}" if isinstance(value, float) else value)
        if "%" in (cell.number_format or ""):
            return NumberText(f"{_plain(exact.scaleb(2))}%")
        return NumberText(_plain(exact))
    return str(value)


def _plain(number: Decimal) -> str:
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
