"""Adding cards in bulk to PostgreSQL: copied aside first, where they lock nobody out.

Calls go on while a million PINs are drawn or a file is read, and nobody sees any of it; at the
end one transaction moves everything in, with what others took meanwhile drawn anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Self

from cardbill.errors import ConstraintViolated, DuplicateCredential, StorageError
from cardbill.storage.checks import check_card
from cardbill.storage.contract import CardRow, CredentialRow, NewCard
from cardbill.storage.postgres_connections import Session
from cardbill.storage.postgres_schema import for_schema
from cardbill.storage.postgres_statements import columns

Redraw = Callable[[NewCard], NewCard | None]
Place = tuple[str, bytes]

CHUNK = 1_000

_CARD, _CREDENTIAL = columns(CardRow), columns(CredentialRow)
# Column names come from the contract's own classes, values are always parameters.
_TABLES = """
CREATE TEMP TABLE staged_card (LIKE cardbill.card INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
ALTER TABLE pg_temp.staged_card ADD PRIMARY KEY (id);
CREATE TEMP TABLE staged_credential (LIKE cardbill.credential);
ALTER TABLE pg_temp.staged_credential ADD PRIMARY KEY (kind, token);
"""
_DROP = "DROP TABLE IF EXISTS pg_temp.staged_card, pg_temp.staged_credential"
_COPY_CARDS = f"COPY pg_temp.staged_card ({_CARD}) FROM STDIN"
_COPY_CREDENTIALS = f"COPY pg_temp.staged_credential ({_CREDENTIAL}) FROM STDIN"
_PLACES = "kind = ANY(%s) AND token = ANY(%s)"
_STAGED = f"SELECT kind, token, card FROM pg_temp.staged_credential WHERE {_PLACES}"  # noqa: S608
_ALL_STAGED = (
    f"SELECT {_CREDENTIAL} FROM pg_temp.staged_credential "  # noqa: S608
    "WHERE (kind, token) > (%s, %s) ORDER BY kind, token LIMIT %s"
)
_STAGED_CARD = f"SELECT {_CARD} FROM pg_temp.staged_card WHERE id = %s"  # noqa: S608
_TAKEN = f"SELECT kind, token, card FROM cardbill.credential WHERE {_PLACES}"  # noqa: S608
_MOVE_CARDS = f"INSERT INTO cardbill.card ({_CARD}) SELECT {_CARD} FROM pg_temp.staged_card"  # noqa: S608
_MOVE_CREDENTIALS = (
    f"INSERT INTO cardbill.credential ({_CREDENTIAL}) SELECT {_CREDENTIAL} "  # noqa: S608
    # In one order, so that two jobs at once wait for each other at most, not both.
    "FROM pg_temp.staged_credential ORDER BY kind, token ON CONFLICT (kind, token) DO NOTHING"
)


class Staging:
    """One job's cards, in temporary tables of one connection."""

    def __init__(self, session: Session, schema: str, redraw: Redraw | None) -> None:
        self._session = session
        self._schema = schema
        self._redraw = redraw

    def __enter__(self) -> Self:
        self._session.script(_DROP)
        self._session.script(self._own(_TABLES))
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(StorageError):  # what a broken connection leaves goes by itself
            self._session.script(_DROP)

    def take(self, offered: Sequence[NewCard]) -> None:
        """Stage some cards."""
        taken = self._in_use([new.credential for new in offered])
        cards: list[CardRow] = []
        credentials: list[CredentialRow] = []
        for new in self._free(offered, taken):
            check_card(new.card)
            if new.card.id != f"{new.card.batch}/{new.card.serial}":
                raise ConstraintViolated(f"card {new.card.id}: no such id in its batch")
            cards.append(new.card)
            credentials.append(new.credential)
        self._session.copy(_COPY_CARDS, cards)
        self._session.copy(_COPY_CREDENTIALS, credentials)

    def move(self) -> int:
        """Move everything in, within the caller's transaction; return how many cards."""
        (wanted,) = self._session.one("SELECT count(*) FROM pg_temp.staged_credential")
        if self._session.run(self._own(_MOVE_CREDENTIALS)) < wanted:
            for credential in self._lost():
                self._replace(credential)
        return self._session.run(self._own(_MOVE_CARDS))

    def _free(self, offered: Iterable[NewCard], taken: set[Place]) -> Iterator[NewCard]:
        """Return each card, or another one for as long as its credential is in use."""
        for new in offered:
            free: NewCard | None = new
            while free is not None and free.credential[:2] in taken:
                free = self._drawn_again(free)
                if free is not None:
                    taken |= self._in_use([free.credential])
            if free is not None:
                taken.add(free.credential[:2])
                yield free

    def _drawn_again(self, new: NewCard) -> NewCard | None:
        if self._redraw is None:
            raise DuplicateCredential("a credential is in use already")
        return self._redraw(new)

    def _in_use(self, credentials: Sequence[CredentialRow]) -> set[Place]:
        """Return the places of those that are taken, in the store or earlier in the job."""
        return self._owners(self._own(_TAKEN), credentials).keys() | self._owners(
            _STAGED, credentials
        )

    def _lost(self) -> list[CredentialRow]:
        """Return what was staged and belongs to another card in the store meanwhile."""
        lost: list[CredentialRow] = []
        after: Place = ("", b"")
        while page := self._session.all(_ALL_STAGED, (*after, CHUNK)):
            staged = [CredentialRow(*row) for row in page]
            owners = self._owners(self._own(_TAKEN), staged)
            lost += [each for each in staged if owners[each[:2]] != each.card]
            after = staged[-1][:2]
        return lost

    def _replace(self, lost: CredentialRow) -> None:
        """Draw a card anew whose credential somebody else has taken since it was staged."""
        row = CardRow(*self._session.one(_STAGED_CARD, (lost.card,)))
        self._session.run("DELETE FROM pg_temp.staged_card WHERE id = %s", (row.id,))
        new: NewCard | None = NewCard(row, lost)
        while new is not None:
            new = self._drawn_again(new)
            if new is not None and self._session.run(self._own(_ADD_CREDENTIAL), new.credential):
                check_card(new.card)
                self._session.copy(_COPY_CARDS, [new.card])
                return

    def _owners(self, query: str, credentials: Sequence[CredentialRow]) -> dict[Place, str]:
        """Return whose cards these open, and maybe others, by their places."""
        kinds = sorted({credential.kind for credential in credentials})
        rows = self._session.all(query, (kinds, [each.token for each in credentials]))
        return {(kind, token): card for kind, token, card in rows}

    def _own(self, text: str) -> str:
        return for_schema(text, self._schema)


_ADD_CREDENTIAL = (
    f"INSERT INTO cardbill.credential ({_CREDENTIAL}) "  # noqa: S608
    "VALUES (%s, %s, %s, %s) ON CONFLICT (kind, token) DO NOTHING"
)
