"""Adding cards in bulk to SQLite: staged aside first, where they lock nobody out.

Calls go on while a million PINs are drawn or a file is read; only at the end does one
transaction look for what others took meanwhile and move everything in.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from typing import Any

from cardbill.errors import DuplicateCredential
from cardbill.storage.checks import check_card
from cardbill.storage.contract import CardRow, CredentialRow, NewCard
from cardbill.storage.sqlite_connections import call

Redraw = Callable[[NewCard], NewCard | None]

_CARD = ", ".join(CardRow._fields)
_CREDENTIAL = ", ".join(CredentialRow._fields)
_TABLES = (
    f"CREATE TEMP TABLE staged_card ({_CARD}, PRIMARY KEY (id), UNIQUE (batch, serial))",
    f"CREATE TEMP TABLE staged_credential ({_CREDENTIAL}, PRIMARY KEY (kind, token)) WITHOUT ROWID",
)
# Column names come from the contract's own classes, values are always parameters.
_STAGE_CARD = f"INSERT INTO temp.staged_card VALUES ({', '.join('?' * len(CardRow._fields))})"  # noqa: S608
_STAGE_CREDENTIAL = "INSERT INTO temp.staged_credential VALUES (?, ?, ?, ?)"
_FREE = "SELECT NOT EXISTS (SELECT 1 FROM main.credential WHERE kind = ? AND token = ?)"
_TAKEN = (
    f"SELECT {_CREDENTIAL} FROM temp.staged_credential AS staged WHERE EXISTS "  # noqa: S608
    "(SELECT 1 FROM main.credential WHERE kind = staged.kind AND token = staged.token)"
)
_MOVE_CARDS = f"INSERT INTO main.card ({_CARD}) SELECT {_CARD} FROM temp.staged_card ORDER BY rowid"  # noqa: S608
_MOVE_CREDENTIALS = (
    f"INSERT INTO main.credential ({_CREDENTIAL}) "  # noqa: S608
    f"SELECT {_CREDENTIAL} FROM temp.staged_credential"
)


class Staging:
    """One job's cards, in temporary tables of one connection, which is closed after it."""

    def __init__(self, connection: sqlite3.Connection, redraw: Redraw | None) -> None:
        self._connection = connection
        self._redraw = redraw
        for table in _TABLES:
            connection.execute(table)

    def take(self, cards: Iterable[NewCard]) -> None:
        """Stage some cards."""
        self._connection.execute("BEGIN")
        try:
            free = (self._free(new) for new in cards)
            rows = [new.card for new in free if new is not None]
            for row in rows:
                check_card(row)
            self._connection.executemany(_STAGE_CARD, rows)
        finally:
            self._connection.execute("END")  # only temporary tables have changed

    def move(self, approve: Callable[[int], None] | None) -> int:
        """Move everything in, within the caller's transaction; return how many cards."""
        connection = self._connection
        taken = [CredentialRow(*row) for row in connection.execute(_TAKEN)]
        for credential in taken:  # by somebody else, since it was staged
            self._replace(credential)
        (count,) = connection.execute("SELECT count(*) FROM temp.staged_card").fetchone()
        if approve is not None:
            call(approve, count)
        connection.execute(_MOVE_CARDS)
        connection.execute(_MOVE_CREDENTIALS)
        return int(count)

    def _free(self, new: NewCard) -> NewCard | None:
        """Take the card's credential, or another one for as long as it is in use."""
        offered: NewCard | None = new
        while offered is not None:
            place = offered.credential[:2]
            if self._connection.execute(_FREE, place).fetchone()[0]:
                try:
                    self._connection.execute(_STAGE_CREDENTIAL, offered.credential)
                except sqlite3.IntegrityError:
                    pass
                else:
                    return offered
            if self._redraw is None:
                raise DuplicateCredential("a credential is in use already")
            offered = call(self._redraw, offered)
        return None

    def _replace(self, taken: CredentialRow) -> None:
        execute: Callable[..., Any] = self._connection.execute
        row = CardRow(
            *execute(
                f"SELECT {_CARD} FROM temp.staged_card WHERE id = ?",  # noqa: S608
                (taken.card,),
            ).fetchone()
        )
        execute("DELETE FROM temp.staged_credential WHERE kind = ? AND token = ?", taken[:2])
        execute("DELETE FROM temp.staged_card WHERE id = ?", (row.id,))
        if self._redraw is None:
            raise DuplicateCredential("a credential is in use already")
        offered = call(self._redraw, NewCard(row, taken))
        found = None if offered is None else self._free(offered)
        if found is not None:
            check_card(found.card)
            execute(_STAGE_CARD, found.card)
