"""PINs uploaded as CSV: which rows can be PINs, and why the others cannot.

A PIN is kept exactly as it stands in the file; nothing is repaired. Source: domain.md
section 2.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from fractions import Fraction
from typing import TextIO

from attrs import frozen

from cardbill import money
from cardbill.batches import Batch
from cardbill.csvfiles import csv_table
from cardbill.errors import InvalidInput, RowProblem
from cardbill.instants import parse_instant

SHORTEST, LONGEST = 4, 32
"""How many characters an uploaded PIN may have."""

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "pin": ("pin", "number", "pin number", "card number"),
    "balance": ("balance", "remaining", "remaining balance"),
    "first_used": ("first_used", "first used", "activation_date", "activation date"),
    "expires": ("expires", "expires_at", "expiry"),
}
"""What the columns are called: the field, and the headers recognised for it.

Only ``pin`` is needed. The others take over live cards of another system: what is left on
each, when it was first used, when it expires.
"""

MOST_PROBLEMS = 1_000
"""The most rows that are listed one by one; all are counted."""

_SCIENTIFIC = re.compile(r"\d+([.,]\d+)?E\+\d+", re.IGNORECASE)


@frozen(kw_only=True)
class UploadedPin:
    """One usable row.

    Attributes:
        pin: Exactly as written. Never shown.
        balance: What is left on a card taken over, in ledger units; ``None``: all of it.
        first_used_at: When it was first used, if it was.
        expires_at: When it expires, if the file says so.
    """

    pin: str
    balance: int | None
    first_used_at: datetime | None
    expires_at: datetime | None

    def __repr__(self) -> str:
        return "<UploadedPin>"


class Upload:
    """One pass over a file of PINs.

    Attributes:
        problems: The first rows that cannot be used.
        refused: How many rows cannot be used, listed or not.
    """

    def __init__(
        self, file: TextIO, batch: Batch, columns: Mapping[str, str], *, dialled: bool
    ) -> None:
        self.problems: list[RowProblem] = []
        self.refused = 0
        self._batch = batch
        self._dialled = dialled
        self._table = csv_table(file)
        self._at = self._table.locate(COLUMNS, columns, required=("pin",))
        self._lines = array("Q")  # of the rows yielded so far
        self._alphabets: Counter[tuple[int, int]] = Counter()  # (symbols, length) -> PINs

    def pins(self) -> Iterator[UploadedPin]:
        """Yield the usable rows; the others become problems."""
        for line, cells in self._table.rows():
            if isinstance(cells, Exception):
                self._problem(line, "", "not-csv", str(cells))
                continue
            if len(cells) != len(self._table.header):
                width = len(self._table.header)
                message = f"has {len(cells)} cells where the header has {width}"
                self._problem(line, "", "cells", message)
                continue
            row = self._row(line, cells)
            if row is not None:
                self._lines.append(line)
                digits = row.pin.isascii() and row.pin.isdigit()
                self._alphabets[10 if digits else 94, len(row.pin)] += 1
                yield row

    def taken(self, serial: int) -> None:
        """Note that the PIN of a serial (from 1, in the order yielded) is in use."""
        line = self._lines[serial - 1]
        message = "this PIN stands in the file before, or in another batch"
        self._problem(line, self._header("pin"), "duplicate", message)

    def guess_probability(self, others: Mapping[int, int]) -> Fraction:
        """Return the highest chance that a guess of any length in the file hits a PIN.

        Where cards have numbers, it is a guess at the PIN of one card number.

        Args:
            others: PINs of digits there are already, by length.
        """
        if self._batch.numbering is not None:
            spaces = [symbols**length for symbols, length in self._alphabets]
            return max((Fraction(1, space) for space in spaces), default=Fraction(0))
        chances = [
            Fraction(count + (others.get(length, 0) if symbols == 10 else 0), symbols**length)
            for (symbols, length), count in self._alphabets.items()
        ]
        return max(chances, default=Fraction(0))

    def _row(self, line: int, cells: list[str]) -> UploadedPin | None:
        pin = cells[self._at["pin"]]
        if refusal := refuse(pin, dialled=self._dialled):
            self._problem(line, self._header("pin"), *refusal)
            return None
        field = "balance"
        try:
            text = self._cell(cells, field)
            balance = money.units(field, text, self._batch.currency) if text else None
            if balance is not None and balance < 0:
                raise InvalidInput(field, text, "must not be negative")
            instants = {}
            for field in ("first_used", "expires"):
                text = self._cell(cells, field)
                zone = self._batch.time_zone
                instants[field] = parse_instant(field, text, zone) if text else None
        except InvalidInput as error:
            self._problem(line, self._header(field), "invalid", str(error))
            return None
        return UploadedPin(
            pin=pin,
            balance=balance,
            first_used_at=instants["first_used"],
            expires_at=instants["expires"],
        )

    def _cell(self, cells: list[str], field: str) -> str:
        position = self._at.get(field)
        return "" if position is None else cells[position].strip()

    def _header(self, field: str) -> str:
        position = self._at.get(field)
        return field if position is None else self._table.header[position]

    def _problem(self, line: int, column: str, code: str, message: str) -> None:
        self.refused += 1
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(RowProblem(line, column, code, message))


def refuse(pin: str, *, dialled: bool) -> tuple[str, str] | None:
    """Return why a text cannot be a PIN, as code and message without its characters.

    Args:
        pin: The cell as it stands.
        dialled: Callers send PINs in dialled strings, where ``*`` and ``#`` separate.
    """
    if not pin:
        return "empty", "no PIN"
    if any(character.isdigit() and not character.isascii() for character in pin):
        return "non-ascii-digit", "has digits other than 0 to 9"
    if _SCIENTIFIC.fullmatch(pin):
        return "scientific", "a spreadsheet has turned it into a number like 1.23E+11"
    if not all("!" <= character <= "~" for character in pin):
        return "character", "has spaces, control or non-ASCII characters"
    if len(pin) < SHORTEST:
        return "too-short", f"has {len(pin)} characters, at least {SHORTEST} are needed"
    if len(pin) > LONGEST:
        return "too-long", f"has {len(pin)} characters, at most {LONGEST} are allowed"
    if dialled and ("*" in pin or "#" in pin):
        return "separator", "has * or #, which separate PIN and number in dialled strings"
    return None
