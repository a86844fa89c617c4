"""Reading CSV files of others: separators, byte-order marks, lines, headers."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, TextIO, cast

from cardbill.errors import InvalidInput

_QUOTED = re.compile(r'"[^"]*"?')
_FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes a cell for a formula by (OWASP)."""


class CellRefused(InvalidInput):
    """A cell that cannot be used.

    Attributes:
        code: Why, as a stable word.
    """

    def __init__(self, field: str, value: object, code: str, problem: str) -> None:
        super().__init__(field, value, problem)
        self.code = code


Record = tuple[int, list[str] | Exception]
"""The line that a row begins on, and its cells; the error for a row that cannot be read."""

IsHeader = Callable[[Sequence[str]], bool]


class Table:
    """The rows of a file, one at a time, each with the line it begins on.

    Attributes:
        header: The column names as written.
    """

    def __init__(self, header: Sequence[str], records: Iterator[Record]) -> None:
        self.header = header
        self._records = records

    def locate(
        self,
        known: Mapping[str, Sequence[str]],
        mapping: Mapping[str, str],
        *,
        required: Sequence[str],
        otherwise: str = "",
    ) -> dict[str, int]:
        """Return field -> column, by the mapping first, then by the headers recognised.

        Args:
            known: Fields, and the headers that need no mapping, in lower case.
            mapping: Field to header, as the user gave it.
            required: Fields that the file must have.
            otherwise: What else to do about those that it has not.

        Raises:
            InvalidInput: The header is ambiguous, or lacks a column; it is named.
        """
        folded = [fold(name) for name in self.header]
        if twice := {name for name in folded if name and folded.count(name) > 1}:
            raise InvalidInput("header", sorted(twice), "stands twice")
        at: dict[str, int] = {}
        for field, header in mapping.items():
            if field not in known:
                raise InvalidInput("columns", field, f"must be one of {', '.join(known)}")
            at[field] = self.position(f"columns[{field!r}]", header)
        for field, headers in known.items():
            if field in at:
                continue
            found = [folded.index(header) for header in headers if header in folded]
            found = [column for column in found if column not in at.values()]
            if len(found) > 1:
                both = " and ".join(repr(self.header[column]) for column in found)
                problem = f"{field} could be {both}: say which in `columns`"
                raise InvalidInput("header", None, problem)
            if found:
                at[field] = found[0]
        if missing := [field for field in required if field not in at]:
            problem = f"has no column for {' and '.join(missing)}: say which it is in `columns`"
            raise InvalidInput("header", None, problem + otherwise)
        return at

    def position(self, field: str, header: object) -> int:
        """Return the column of a header.

        Raises:
            InvalidInput: There is none of that name.
        """
        name = fold(str(header))
        folded = [fold(each) for each in self.header]
        if not name or name not in folded:
            raise InvalidInput(field, header, "is no header of this file")
        return folded.index(name)

    def records(self) -> Iterator[Record]:
        """Yield each row below the header, also blank ones."""
        return self._records

    def rows(self) -> Iterator[Record]:
        """Yield each row that is not blank."""
        return (
            record for record in self._records if isinstance(record[1], Exception) or any(record[1])
        )


def fold(header: str) -> str:
    """Return a header by which it is recognised: in lower case, its spaces single."""
    return " ".join(header.split()).lower()


def csv_table(file: TextIO, *, is_header: IsHeader | None = None, above: int = 0) -> Table:
    """Return the table of an open CSV file.

    Comma, semicolon or tab, told from what the header line has outside quotes.

    Args:
        file: At its beginning.
        is_header: Tells the header below cover lines; ``None``: it is the first line.
        above: How many cover lines there may be.

    Raises:
        InvalidInput: The header is not found, or no CSV. It is not shown: a file of PINs may
            have none.
    """
    first = file.readline().removeprefix("\ufeff")
    lines: Iterator[str] = chain([first], file)
    skipped = 0
    if is_header:
        begin = list(islice(lines, above + 1))
        skipped = _header_line(begin, is_header)
        first = begin[skipped]
        lines = chain(begin[skipped:], file)
    reader = csv.reader(lines, delimiter=_delimiter(first), strict=True)
    try:
        header = next(reader)
    except csv.Error as error:
        raise InvalidInput("header", None, f"is no CSV: {error}") from None
    return Table(header, _records(reader, skipped))


def no_header(above: int) -> InvalidInput:
    """Return the error for a table whose header is not found."""
    problem = f"none of the first {above + 1} lines names a column of codes and one of prices"
    return InvalidInput("header", None, problem)


def _header_line(lines: list[str], is_header: IsHeader) -> int:
    for number, line in enumerate(lines):
        for end in range(number + 1, min(number + 10, len(lines)) + 1):
            text = "".join(lines[number:end])
            reader = csv.reader(text.splitlines(keepends=True), delimiter=_delimiter(line))
            with suppress(csv.Error, StopIteration):
                if is_header(next(reader)):
                    return number
            if text.count('"') % 2 == 0:
                break  # no header cell goes on in the next line
    raise no_header(len(lines) - 1)


def _delimiter(line: str) -> str:
    return max(",;\t", key=_QUOTED.sub("", line).count)


def _records(reader: Any, skipped: int) -> Iterator[Record]:
    while True:
        line = skipped + reader.line_num + 1
        try:
            yield line, next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield line, error


def label(source: object, kind: str) -> str:
    """Return what to call a source in messages: its file name where it has one."""
    if isinstance(source, str | os.PathLike):
        return f"{kind} {Path(source).name}"
    return kind


@contextmanager
def opened(source: str | os.PathLike[str] | TextIO | IO[bytes], kind: str) -> Iterator[TextIO]:
    """Lend a source as an open text file: UTF-8, with or without a byte-order mark.

    Raises:
        InvalidInput: It is neither a path nor an open text file; or it is not UTF-8.
    """
    try:
        if isinstance(source, str | os.PathLike):
            with Path(source).open(encoding="utf-8-sig", newline="") as file:
                yield file
        elif hasattr(source, "read") and isinstance(source.read(0), str):
            yield cast("TextIO", source)
        else:
            problem = "must be a path or an open text file"
            raise InvalidInput("source", type(source).__name__, problem)
    except UnicodeDecodeError as error:
        raise InvalidInput(label(source, kind), None, f"is not UTF-8: {error.reason}") from None


def csv_line(cells: Sequence[object]) -> str:
    """Return one line of CSV whose cells no spreadsheet takes for a formula."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(
        ["" if cell is None else _harmless(str(cell)) for cell in cells]
    )
    return line.getvalue()


def _harmless(cell: str) -> str:
    return "'" + cell if cell.startswith(_FORMULA_SIGNS) else cell


def marked_text(text: str) -> str:
    """Return a cell for a line of CSV of which :func:`unmarked_text` makes the same text."""
    return "'" + text if text.lstrip("'").startswith(_FORMULA_SIGNS) else text


def unmarked_text(cell: str) -> str:
    """Return a cell without the apostrophe that keeps it from being a formula."""
    rest = cell.removeprefix("'")
    return rest if rest.lstrip("'").startswith(_FORMULA_SIGNS) else cell
