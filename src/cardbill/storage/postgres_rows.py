"""Entries and records that a step adds, in one statement with the swap of its card."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cardbill.storage.contract import EntryRow, RecordRow
from cardbill.storage.postgres_schema import for_schema

# The card comes from the swap: where that finds none, nothing is added.
_OWN_ENTRY, _OWN_RECORD = EntryRow._fields[1:], RecordRow._fields[1:]
_ENTRY_TYPES = "bigint bigint text bigint bigint text bytea"
_RECORD_TYPES = (
    "text bigint text text bigint bigint text text text text bigint bigint bigint bigint bytea"
)
_REPLACED = ", ".join(f"{field} = excluded.{field}" for field in RecordRow._fields[2:])
_ENTERED = (
    f", entered AS (INSERT INTO cardbill.entry (card, {', '.join(_OWN_ENTRY)}) "  # noqa: S608
    "SELECT swapped.id, added.* FROM swapped, {rows} AS added)"
)
_RECORDED = (
    f", recorded AS (INSERT INTO cardbill.record (card, {', '.join(_OWN_RECORD)}) "  # noqa: S608
    "SELECT swapped.id, added.* FROM swapped, {rows} AS added "
    f"ON CONFLICT (card, key) DO UPDATE SET {_REPLACED})"
)
_FEW = 8


class Adding:
    """Statements that swap a card and add rows.

    Few rows are values of their own, which costs both sides half of what arrays do. But each
    number of rows is another statement for the server: more of them come column by column.

    Args:
        changes: The statement that swaps the card.
        schema: Where its tables are.
    """

    def __init__(self, changes: str, schema: str) -> None:
        self._changes = changes
        self._schema = schema
        self._of_few: dict[tuple[int, int], str] = {}
        self._of_many = self.text(_arrays(_ENTRY_TYPES), _arrays(_RECORD_TYPES))

    def of(
        self, entries: Sequence[EntryRow], records: Sequence[RecordRow]
    ) -> tuple[str, list[Any]]:
        """Return the statement that adds these, and the values that follow the swap's own."""
        if len(entries) + len(records) > _FEW:
            return self._of_many, in_columns(entries, records)
        shape = len(entries), len(records)
        if (text := self._of_few.get(shape)) is None:
            text = self.text(_values(_ENTRY_TYPES, shape[0]), _values(_RECORD_TYPES, shape[1]))
            self._of_few[shape] = text
        return text, [value for row in (*entries, *records) for value in row[1:]]

    def text(self, entries: str, records: str) -> str:
        """Return the statement that adds what these tables hold; empty: nothing."""
        adding = (entries and _ENTERED.format(rows=entries)) + (
            records and _RECORDED.format(rows=records)
        )
        return for_schema(
            f"WITH swapped AS ({self._changes} RETURNING id){adding} "  # noqa: S608
            "SELECT count(*) FROM swapped",
            self._schema,
        )


def in_columns(entries: Sequence[EntryRow], records: Sequence[RecordRow]) -> list[Any]:
    """Return a list for each column of entries and records but the card, all rows' in it."""
    return [*_turned(entries, _OWN_ENTRY), *_turned(records, _OWN_RECORD)]


def _turned(rows: Sequence[tuple[Any, ...]], fields: Sequence[str]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)][1:] or [[] for _ in fields]


def _arrays(types: str) -> str:
    return f"unnest({', '.join(f'%s::{each}[]' for each in types.split())})"


def _values(types: str, count: int) -> str:
    if not count:
        return ""
    row = f"({', '.join(f'%s::{each}' for each in types.split())})"
    return f"(VALUES {', '.join([row] * count)})"
