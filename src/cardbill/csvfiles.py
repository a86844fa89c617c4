"""Reading CSV files of others: separators, byte-order marks, lines, headers."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TextIO

from cardbill.errors import InvalidInput

_QUOTED = re.compile(r'"[^"]*"?')


class Table:
    """The rows of a CSV file, one at a time, each with the line it begins on.

    Comma, semicolon or tab, told from what the header line has outside quotes.

    Attributes:
        header: The column names as written.

    Raises:
        InvalidInput: The header is no CSV. It is not shown: a file of PINs may have none.
    """

    def __init__(self, file: TextIO) -> None:
        first = file.readline().removeprefix("\ufeff")
        delimiter = max(",;\t", key=_QUOTED.sub("", first).count)
        self._reader = csv.reader(chain([first], file), delimiter=delimiter, strict=True)
        try:
            self.header: Sequence[str] = next(self._reader)
        except csv.Error as error:
            raise InvalidInput("header", None, f"is no CSV: {error}") from None

    def locate(
        self,
        known: Mapping[str, Sequence[str]],
        mapping: Mapping[str, str],
        *,
        required: Sequence[str],
    ) -> dict[str, int]:
        """Return field -> column, by the mapping first, then by the headers recognised.

        Args:
            known: Fields, and the headers that need no mapping, in lower case.
            mapping: Field to header, as the user gave it.
            required: Fields that the file must have.

        Raises:
            InvalidInput: The header is ambiguous, or lacks a column; it is named.
        """
        folded = [name.strip().lower() for name in self.header]
        if twice := {name for name in folded if name and folded.count(name) > 1}:
            raise InvalidInput("header", sorted(twice), "stands twice")
        at: dict[str, int] = {}
        for field, header in mapping.items():
            if field not in known:
                raise InvalidInput("columns", field, f"must be one of {', '.join(known)}")
            name = str(header).strip().lower()
            if not name or name not in folded:
                raise InvalidInput(f"columns[{field!r}]", header, "is no header of this file")
            at[field] = folded.index(name)
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
            raise InvalidInput("header", None, f"has no column for {' and '.join(missing)}")
        return at

    def rows(self) -> Iterator[tuple[int, list[str] | csv.Error]]:
        """Yield (line, cells) of each row that is not blank; the error for one that is no CSV."""
        while True:
            line = self._reader.line_num + 1
            try:
                cells = next(self._reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield line, error
                continue
            if any(cells):
                yield line, cells


def label(source: object, kind: str) -> str:
    """Return what to call a source in messages: its file name where it has one."""
    if isinstance(source, str | os.PathLike):
        return f"{kind} {Path(source).name}"
    return kind


@contextmanager
def opened(source: str | os.PathLike[str] | TextIO, kind: str) -> Iterator[TextIO]:
    """Lend a source as an open text file: UTF-8, with or without a byte-order mark.

    Raises:
        InvalidInput: It is neither a path nor an open text file; or it is not UTF-8.
    """
    try:
        if isinstance(source, str | os.PathLike):
            with Path(source).open(encoding="utf-8-sig", newline="") as file:
                yield file
        elif hasattr(source, "read") and isinstance(source.read(0), str):
            yield source
        else:
            problem = "must be a path or an open text file"
            raise InvalidInput("source", type(source).__name__, problem)
    except UnicodeDecodeError as error:
        raise InvalidInput(label(source, kind), None, f"is not UTF-8: {error.reason}") from None
