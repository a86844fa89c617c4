"""The embedded store: one SQLite file in WAL mode, any number of threads and processes.

Every change is one ``BEGIN IMMEDIATE`` transaction: a transaction that began by reading
and upgraded later would fail with SQLITE_BUSY at once, whatever the timeout. By default a
commit is on the disk before it is acknowledged (``synchronous=FULL``); ``NORMAL`` is
faster and may lose the last commits, never the file's consistency, when power fails.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from cardbill.errors import (
    ConstraintViolated,
    DuplicateCredential,
    InvalidInput,
    SchemaTooNew,
    StorageError,
    UnknownName,
    VersionConflict,
)
from cardbill.storage.checks import check_step, check_subject, check_tally
from cardbill.storage.contract import (
    NEVER,
    AttemptRow,
    AuditRow,
    CardRow,
    Counts,
    CredentialRow,
    EntryRow,
    Head,
    NewCard,
    RecordRow,
    Step,
    SuspenseRow,
    Tally,
    View,
)
from cardbill.storage.sqlite_adding import Staging
from cardbill.storage.sqlite_connections import Connections, call
from cardbill.storage.sqlite_schema import APPLICATION_ID, SCHEMA, SCHEMA_VERSION

T = TypeVar("T")

_SYNCHRONOUS = ("FULL", "NORMAL")
_CHUNK = 1_000


def _columns(row: type[tuple[Any, ...]]) -> str:
    return ", ".join(row._fields)  # type: ignore[attr-defined]  # a NamedTuple has them


def _marks(row: type[tuple[Any, ...]]) -> str:
    return ", ".join("?" * len(row._fields))  # type: ignore[attr-defined]  # as above


# Column names come from the contract's own classes, values are always parameters.
_CARDS = f"SELECT {_columns(CardRow)} FROM card"  # noqa: S608
_SEEN = (
    f"SELECT {', '.join(f'card.{each}' for each in CardRow._fields)}, "  # noqa: S608
    "(SELECT coalesce(max(revision), 0) FROM catalogue_revision) FROM"
)
_VIEW = f"{_SEEN} card WHERE id = ?"
_RESOLVE = (
    f"{_SEEN} credential CROSS JOIN card ON card.id = credential.card "
    "WHERE credential.kind = ? AND credential.token = ?"
)
_RECORDS = f"SELECT {_columns(RecordRow)} FROM record"  # noqa: S608
# What never changes is left out: naming a column would rewrite its indexes.
_SWAP = (
    "UPDATE card SET version = ?, format = ?, balance = ?, held = ?, first_used_at = ?, "
    "expires_at = ?, blocked = ?, due_at = ?, state = ? WHERE id = ? AND version = ?"
)
_ADD_ENTRY = f"INSERT INTO entry ({_columns(EntryRow)}) VALUES ({_marks(EntryRow)})"  # noqa: S608
_PUT_RECORD = f"INSERT OR REPLACE INTO record ({_columns(RecordRow)}) VALUES ({_marks(RecordRow)})"  # noqa: S608
_REBIND = "UPDATE credential SET card = ?, sealed = ? WHERE kind = ? AND token = ? AND card = ?"
_ATTEMPTS = "SELECT subject, state, keep_until FROM attempt WHERE grp = ? AND subject IN ('', ?)"
_DROP_ATTEMPTS = "DELETE FROM attempt WHERE grp = ? AND subject = ?"
_PUT_ATTEMPTS = (
    "INSERT OR REPLACE INTO attempt (grp, subject, state, keep_until) VALUES (?, ?, ?, ?)"
)
_NOTHING = (None, None)
_ADD_CREDENTIAL = "INSERT INTO credential (kind, token, card, sealed) VALUES (?, ?, ?, ?)"


def _chunk(source: Iterator[NewCard]) -> list[NewCard]:
    return call(list, islice(source, _CHUNK))


class SQLiteStorage:
    """A store in one SQLite file.

    Args:
        path: The file; made when it is not there.
        synchronous: ``FULL`` or ``NORMAL``, see above.
        timeout: Seconds to wait for other writers before ``StorageUnavailable``.
        create: Make a file that is not there; otherwise that is ``StorageUnavailable``.

    Raises:
        SchemaTooNew: A newer version of cardbill made the file.
        StorageError: The file is another application's, or no database at all.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        synchronous: str = "FULL",
        timeout: int = 30,
        create: bool = True,
    ) -> None:
        if str(synchronous).upper() not in _SYNCHRONOUS:
            raise InvalidInput("synchronous", synchronous, "must be FULL or NORMAL")
        self._name = Path(path).name
        self._connections = Connections(Path(path), synchronous.upper(), timeout, create=create)
        try:
            with self._connections.lend() as connection:
                self._connections.patiently(lambda: self._prepare(connection, create=create))
            self._connections.made()
        except BaseException:
            self.close()
            raise

    # -- cards ----------------------------------------------------------------------------

    def transact(
        self,
        card: str,
        decide: Callable[[View], Step[T]],
        *,
        key: str | None = None,
        seen: View | None = None,  # noqa: ARG002  # within its transaction it reads anyway
    ) -> T:
        with self._connections.write() as connection:
            view = self._view(connection, card, key)
            step = call(decide, view)
            if step.card is not None:
                check_step(view.card, step)
                new = step.card
                changed = connection.execute(_SWAP, (*new[1:3], *new[5:], card, view.card.version))
                if changed.rowcount != 1:
                    raise ConstraintViolated(f"card {card} changed within its own step")
                if step.entries:
                    connection.executemany(_ADD_ENTRY, step.entries)
                if step.records:
                    connection.executemany(_PUT_RECORD, step.records)
            return step.outcome

    def add_cards(
        self,
        job: str,
        cards: Iterable[NewCard],
        *,
        redraw: Callable[[NewCard], NewCard | None] | None = None,
        approve: Callable[[int], None] | None = None,
    ) -> int:
        with self._connections.lend(keep=False) as connection:
            if (done := self._added(connection, job)) is not None:
                return done
            staging = Staging(connection, redraw)
            source = iter(cards)
            try:
                while chunk := _chunk(source):
                    staging.take(chunk)
            except DuplicateCredential:
                if (done := self._added(connection, job)) is not None:
                    return done  # by somebody else meanwhile: these are its own
                raise
            with self._connections.transaction(connection):
                if (done := self._added(connection, job)) is not None:
                    return done
                added = staging.move(approve)
                connection.execute("INSERT INTO job (key, added) VALUES (?, ?)", (job, added))
                return added

    @staticmethod
    def _added(connection: sqlite3.Connection, job: str) -> int | None:
        done = connection.execute("SELECT added FROM job WHERE key = ?", (job,)).fetchone()
        return None if done is None else int(done[0])

    def view(self, card: str, key: str | None = None) -> View:
        with self._connections.read() as connection:
            return self._view(connection, card, key)

    def resolve(self, kind: str, tokens: Sequence[bytes], *, key: str | None = None) -> View | None:
        with self._connections.read() as connection:
            for token in tokens:
                row = connection.execute(_RESOLVE, (kind, token)).fetchone()
                if row is not None:
                    return self._seen(connection, row, key)
            return None

    def credentials(self, cards: Sequence[str], kind: str | None = None) -> list[CredentialRow]:
        query = "SELECT kind, token, card, sealed FROM credential WHERE card = ?"
        with self._connections.lend() as connection:
            return [
                CredentialRow(*row)
                for card in cards
                for row in connection.execute(query, (card,))
                if kind in (None, row[0])
            ]

    def bind(self, credential: CredentialRow, *, expected: str | None) -> bool:
        kind, token, card, sealed = credential
        with self._connections.write() as connection:
            if connection.execute("SELECT 1 FROM card WHERE id = ?", (card,)).fetchone() is None:
                raise UnknownName("card", card)
            if expected is None:
                query, values = f"{_ADD_CREDENTIAL} ON CONFLICT DO NOTHING", tuple(credential)
            else:
                query, values = _REBIND, (card, sealed, kind, token, expected)
            return connection.execute(query, values).rowcount == 1

    def unbind(self, kind: str, token: bytes, *, expected: str) -> bool:
        query = "DELETE FROM credential WHERE kind = ? AND token = ? AND card = ?"
        with self._connections.write() as connection:
            return connection.execute(query, (kind, token, expected)).rowcount == 1

    def find_cards(self, batch: str, *, after: int = 0, limit: int = 500) -> list[CardRow]:
        query = f"{_CARDS} WHERE batch = ? AND serial > ? ORDER BY serial LIMIT ?"
        return self._all(CardRow, query, (batch, after, limit))

    def count_cards(self, *, batch: str | None = None) -> int:
        query, values = "SELECT count(*) FROM card", list[str]()
        if batch is not None:
            query, values = f"{query} WHERE batch = ?", [batch]
        with self._connections.lend() as connection:
            return int(connection.execute(query, values).fetchone()[0])

    def counts(self) -> Counts:
        query = ", ".join(
            f"(SELECT count(*) FROM {table})"  # noqa: S608
            for table in ("card", "credential", "entry", "record")
        )
        return self._all(Counts, f"SELECT {query}", ())[0]

    def jobs(self, *, after: str = "", limit: int = 500) -> list[tuple[str, int]]:
        query = "SELECT key, added FROM job WHERE key > ? ORDER BY key LIMIT ?"
        return self._all(lambda *row: row, query, (after, limit))

    def due(
        self, at: int, *, after: tuple[int, str] | None = None, limit: int = 500
    ) -> list[tuple[int, str]]:
        query = (
            "SELECT due_at, id FROM card WHERE due_at <= ? AND (due_at, id) > (?, ?) "
            "ORDER BY due_at, id LIMIT ?"
        )
        last_at, last = after if after is not None else (-(2**63), "")
        with self._connections.lend() as connection:
            found = connection.execute(query, (at, last_at, last, limit)).fetchall()
        return [(due_at, card) for due_at, card in found]

    # -- ledger and records ---------------------------------------------------------------

    def entries(self, card: str, *, after: int = 0, limit: int = 500) -> list[EntryRow]:
        query = (
            f"SELECT {_columns(EntryRow)} FROM entry "  # noqa: S608
            "WHERE card = ? AND seq > ? ORDER BY seq LIMIT ?"
        )
        return self._all(EntryRow, query, (card, after, limit))

    def records(
        self,
        *,
        card: str | None = None,
        batch: str | None = None,
        after: tuple[str, str] | None = None,
        limit: int = 500,
    ) -> list[RecordRow]:
        query, values = f"{_RECORDS} WHERE (card, key) > (?, ?)", list(after or ("", ""))
        for column, value in (("card", card), ("batch", batch)):
            if value is not None:
                query += f" AND {column} = ?"
                values.append(value)
        return self._all(RecordRow, f"{query} ORDER BY card, key LIMIT ?", (*values, limit))

    def calls_by_id(self, call: str) -> list[RecordRow]:
        return self._all(RecordRow, f"{_RECORDS} WHERE call = ? ORDER BY card", (call,))

    def suspend(self, event: SuspenseRow) -> bool:
        with self._connections.write() as connection:
            added = connection.execute(
                "INSERT INTO suspense (key, at, card, call, detail) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT (key) DO NOTHING",
                event,
            )
            return added.rowcount == 1

    def suspended(self, *, after: str = "", limit: int = 500) -> list[SuspenseRow]:
        query = (
            f"SELECT {_columns(SuspenseRow)} FROM suspense "  # noqa: S608
            "WHERE key > ? ORDER BY key LIMIT ?"
        )
        return self._all(SuspenseRow, query, (after, limit))

    # -- catalogue ------------------------------------------------------------------------

    def publish(self, kind: str, name: str, content: bytes, *, expected: int) -> Head:
        newest = "SELECT coalesce(max(version), 0) FROM catalogue WHERE kind = ? AND name = ?"
        with self._connections.write() as connection:
            (version,) = connection.execute(newest, (kind, name)).fetchone()
            if version != expected:
                raise VersionConflict(f"{kind} {name!r} is at version {version}")
            connection.execute(
                "INSERT INTO catalogue (kind, name, version, content) VALUES (?, ?, ?, ?)",
                (kind, name, version + 1, content),
            )
            connection.execute("UPDATE catalogue_revision SET revision = revision + 1")
            return Head(kind, name, version + 1)

    def catalogue(self) -> tuple[int, list[Head]]:
        with self._connections.read() as connection:
            query = "SELECT coalesce(max(revision), 0) FROM catalogue_revision"
            (revision,) = connection.execute(query).fetchone()
            heads = connection.execute(
                "SELECT kind, name, max(version) FROM catalogue GROUP BY kind, name"
            ).fetchall()
        return revision, [Head(*row) for row in heads]

    def content(self, kind: str, name: str, version: int) -> bytes:
        query = "SELECT content FROM catalogue WHERE kind = ? AND name = ? AND version = ?"
        with self._connections.lend() as connection:
            found = connection.execute(query, (kind, name, version)).fetchone()
        if found is None:
            raise UnknownName(kind, f"{name} version {version}")
        return bytes(found[0])

    # -- the operators' log ---------------------------------------------------------------

    def append_audit(self, row: AuditRow, *, after: int) -> bool:
        newest = "SELECT coalesce(max(position), 0) FROM audit"
        with self._connections.write() as connection:
            if connection.execute(newest).fetchone()[0] != after:
                return False
            connection.execute(
                "INSERT INTO audit (position, at, actor, action, subject, detail) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (after + 1, *row),
            )
            return True

    def last_audit(self) -> tuple[int, AuditRow] | None:
        query = (
            "SELECT position, at, actor, action, subject, detail FROM audit "
            "ORDER BY position DESC LIMIT 1"
        )
        with self._connections.lend() as connection:
            found = connection.execute(query).fetchone()
        return found and (found[0], AuditRow(*found[1:]))

    def audit_log(self, *, after: int = 0, limit: int = 500) -> list[tuple[int, AuditRow]]:
        query = (
            "SELECT position, at, actor, action, subject, detail FROM audit "
            "WHERE position > ? ORDER BY position LIMIT ?"
        )
        with self._connections.lend() as connection:
            found = connection.execute(query, (after, limit)).fetchall()
        return [(position, AuditRow(*row)) for position, *row in found]

    # -- attempts -------------------------------------------------------------------------

    def take_attempts(
        self,
        group: int,
        subject: str,
        decide: Callable[[bytes | None, bytes | None], Tally[T]],
    ) -> T:
        check_subject(group, subject)
        with self._connections.write(wait_for_disk=False) as connection:
            found = connection.execute(_ATTEMPTS, (group, subject)).fetchall()
            kept = {each: (state, keep_until) for each, state, keep_until in found}
            (state, keep_until), (book, _) = kept.get(subject, _NOTHING), kept.get("", _NOTHING)
            tally = call(decide, state, book)
            check_tally(tally)
            if tally.state is None:
                if state is not None:
                    connection.execute(_DROP_ATTEMPTS, (group, subject))
            elif (tally.state, tally.keep_until) != (state, keep_until):
                row = (group, subject, tally.state, tally.keep_until)
                connection.execute(_PUT_ATTEMPTS, row)
            if tally.book is not None and tally.book != book:
                connection.execute(_PUT_ATTEMPTS, (group, "", tally.book, NEVER))
            return tally.outcome

    def attempts(
        self, *, after: tuple[int, str] | None = None, limit: int = 500
    ) -> list[AttemptRow]:
        query = (
            "SELECT grp, subject, state, keep_until FROM attempt "
            "WHERE (grp, subject) > (?, ?) ORDER BY grp, subject LIMIT ?"
        )
        return self._all(AttemptRow, query, (*(after or (-1, "")), limit))

    def attempts_over(self, at: int, *, limit: int = 500) -> list[tuple[int, str]]:
        query = "SELECT grp, subject FROM attempt WHERE subject <> '' AND keep_until <= ? LIMIT ?"
        return self._all(lambda *row: row, query, (at, limit))

    def close(self) -> None:
        self._connections.close()

    # -- inside ---------------------------------------------------------------------------

    @staticmethod
    def _view(connection: sqlite3.Connection, card: str, key: str | None) -> View:
        row = connection.execute(_VIEW, (card,)).fetchone()
        if row is None:
            raise UnknownName("card", card)
        return SQLiteStorage._seen(connection, row, key)

    @staticmethod
    def _seen(connection: sqlite3.Connection, row: tuple[Any, ...], key: str | None) -> View:
        record = None
        if key is not None:
            found = connection.execute(
                f"{_RECORDS} WHERE card = ? AND key = ?", (row[0], key)
            ).fetchone()
            record = found and RecordRow(*found)
        return View(CardRow(*row[:-1]), record, row[-1])

    def _all(self, of: Callable[..., T], query: str, values: Sequence[Any]) -> list[T]:
        with self._connections.lend() as connection:
            return [of(*row) for row in connection.execute(query, values)]

    def _prepare(self, connection: sqlite3.Connection, *, create: bool) -> None:
        """Make the tables in a new file; refuse a file that is not ours or is too new."""
        if self._version(connection) == 0 and not create:
            raise StorageError(f"{self._name} holds no tables of cardbill")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("BEGIN IMMEDIATE")
        try:
            if self._version(connection) == 0:
                for statement in SCHEMA.split(";"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise

    def _version(self, connection: sqlite3.Connection) -> int:
        """Return the schema's version, 0 for a file without tables, all read at one moment."""
        inside = connection.in_transaction
        if not inside:
            connection.execute("BEGIN")
        try:
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            (application,) = connection.execute("PRAGMA application_id").fetchone()
            (version,) = connection.execute("PRAGMA user_version").fetchone()
        finally:
            if not inside:
                connection.execute("COMMIT")
        if tables and application != APPLICATION_ID:
            raise StorageError(f"{self._name} is another application's database")
        if version > SCHEMA_VERSION:
            raise SchemaTooNew(
                f"{self._name} has schema {version}, this version of cardbill knows up to "
                f"{SCHEMA_VERSION}"
            )
        return int(version)
