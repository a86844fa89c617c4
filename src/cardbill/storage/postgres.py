"""The shared store: PostgreSQL, for any number of processes and machines.

A step is a read, the function, and one statement that swaps the card: see
:mod:`cardbill.storage.postgres_steps`. The same tables may be spread over nodes by Citus; each
statement that a call waits for names the one card or token that it is about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from cardbill.errors import (
    ConstraintViolated,
    DuplicateCredential,
    InvalidInput,
    StorageUnavailable,
    UnknownName,
    VersionConflict,
)
from cardbill.storage.contract import (
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
from cardbill.storage.postgres_adding import CHUNK, Staging
from cardbill.storage.postgres_attempts import Attempts
from cardbill.storage.postgres_connections import (
    Connections,
    OwnConnections,
    PooledConnections,
    Session,
    SingleConnection,
)
from cardbill.storage.postgres_faults import Passing, patiently
from cardbill.storage.postgres_schema import SCHEMA, check_schema, prepare
from cardbill.storage.postgres_statements import Statements
from cardbill.storage.postgres_steps import Steps

if TYPE_CHECKING:
    import psycopg

T = TypeVar("T")

_LOWEST = -(2**63)


class PostgresStorage:
    """A store in one schema of a PostgreSQL database.

    Args:
        source: An address as libpq takes it, ``postgresql://host/database``; or a pool
            (``psycopg_pool.ConnectionPool``) or a connection of the caller's own, which stay
            open when the store is closed.
        schema: Where its tables are; made when they are not there.
        timeout: Seconds that a statement may take, waiting for other writers included,
            before ``StorageUnavailable``; adding cards and counting have no limit. The
            caller's own connections keep their own.
        connections: The most to open at once for steps and look-ups, of the store's own.
        create: Make tables that are not there, and bring older ones up to date; otherwise
            that is an error.

    Raises:
        SchemaTooNew: A newer version of cardbill made the tables.
        StorageUnavailable: The database is out of reach.
        StorageError: It has no tables and none are to be made, or is not in UTF-8.
    """

    def __init__(
        self,
        source: str | psycopg.Connection[Any] | Any,
        *,
        schema: str = SCHEMA,
        timeout: int = 30,
        connections: int = 16,
        create: bool = True,
    ) -> None:
        self._schema = check_schema(schema)
        for name, value in (("timeout", timeout), ("connections", connections)):
            if value < 1:
                raise InvalidInput(name, value, "must be 1 or more")
        self._connections = _connections(source, timeout, connections)
        self._sql = Statements(schema)
        try:
            found = patiently(lambda: self._prepare(create=create), self._connections.sleep)
        except BaseException:
            self.close()
            raise
        self._steps = Steps(self._connections, self._sql, distributed=found.distributed)
        self._attempts = Attempts(self._connections, self._sql, distributed=found.distributed)

    # -- cards ----------------------------------------------------------------------------

    def transact(
        self,
        card: str,
        decide: Callable[[View], Step[T]],
        *,
        key: str | None = None,
        seen: View | None = None,
    ) -> T:
        return self._steps.on_card(card, decide, key, seen)

    def add_cards(
        self,
        job: str,
        cards: Iterable[NewCard],
        *,
        redraw: Callable[[NewCard], NewCard | None] | None = None,
        approve: Callable[[int], None] | None = None,
    ) -> int:
        if (done := self._added(job)) is not None:
            return done
        source = iter(cards)
        with (
            self._connections.lend(apart=True) as session,
            Staging(session, self._schema, redraw) as staging,
        ):
            try:
                while chunk := list(islice(source, CHUNK)):
                    staging.take(chunk)
                return patiently(
                    lambda: self._move(session, job, staging, approve), self._connections.sleep
                )
            except (DuplicateCredential, ConstraintViolated):
                # Meanwhile somebody else may have done this job: then these are its own.
                if (done := self._added(job)) is not None:
                    return done
                raise

    def _move(
        self, session: Session, job: str, staging: Staging, approve: Callable[[int], None] | None
    ) -> int:
        try:
            with session.transaction():
                # Whoever does the same job waits here, until it is clear whose cards are added.
                if not session.run(self._sql.begin_job, (job, 0)):
                    (done,) = session.one(self._sql.added, (job,))
                    return int(done)
                added = staging.move()
                session.run(self._sql.end_job, (added, job))
                if approve is not None:
                    approve(added)
                return added
        except Passing as fault:
            if session.idle:
                raise
            # What was staged went with the connection.
            unknown = fault.outcome_unknown
            raise StorageUnavailable(fault.problem, outcome_unknown=unknown) from fault

    def _added(self, job: str) -> int | None:
        done = self._first(self._sql.added, (job,))
        return None if done is None else int(done[0])

    def view(self, card: str, key: str | None = None) -> View:
        return self._lent(lambda session: self._steps.view(session, card, key)[0])

    def resolve(self, kind: str, tokens: Sequence[bytes], *, key: str | None = None) -> View | None:
        if not tokens:
            return None
        return self._lent(lambda session: self._steps.resolve(session, kind, tokens, key))

    def credentials(self, cards: Sequence[str], kind: str | None = None) -> list[CredentialRow]:
        if not cards:
            return []
        rows = [CredentialRow(*row) for row in self._all(self._sql.credentials, (list(cards),))]
        return [row for row in rows if kind in (None, row.kind)]

    def bind(self, credential: CredentialRow, *, expected: str | None) -> bool:
        kind, token, card, sealed = credential
        if self._first(self._sql.has_card, (card,)) is None:  # cards never go
            raise UnknownName("card", card)
        if expected is None:
            return self._run(self._sql.bind, credential) == 1
        return self._run(self._sql.rebind, (card, sealed, kind, token, expected)) == 1

    def unbind(self, kind: str, token: bytes, *, expected: str) -> bool:
        return self._run(self._sql.unbind, (kind, token, expected)) == 1

    def find_cards(self, batch: str, *, after: int = 0, limit: int = 500) -> list[CardRow]:
        return [CardRow(*row) for row in self._all(self._sql.find_cards, (batch, after, limit))]

    def count_cards(self, *, batch: str | None = None) -> int:
        if batch is None:
            return int(self._all(self._sql.count_cards, apart=True)[0][0])
        return int(self._all(self._sql.count_batch, (batch,), apart=True)[0][0])

    def counts(self) -> Counts:
        return Counts(*self._all(self._sql.counts, apart=True)[0])

    def jobs(self, *, after: str = "", limit: int = 500) -> list[tuple[str, int]]:
        return [(job, added) for job, added in self._all(self._sql.jobs, (after, limit))]

    def due(
        self, at: int, *, after: tuple[int, str] | None = None, limit: int = 500
    ) -> list[tuple[int, str]]:
        place = after if after is not None else (_LOWEST, "")
        return [(due, card) for due, card in self._all(self._sql.due, (at, *place, limit))]

    # -- ledger and records ---------------------------------------------------------------

    def entries(self, card: str, *, after: int = 0, limit: int = 500) -> list[EntryRow]:
        return [EntryRow(*row) for row in self._all(self._sql.entries, (card, after, limit))]

    def records(
        self,
        *,
        card: str | None = None,
        batch: str | None = None,
        after: tuple[str, str] | None = None,
        limit: int = 500,
    ) -> list[RecordRow]:
        place = after if after is not None else ("", "")
        query, values = self._sql.records, [*place]
        if card is not None:
            query, values = self._sql.records_of_card, [card, *place]
        if batch is not None:
            query, values = f"{query} AND batch = %s", [*values, batch]
        rows = self._all(f"{query} ORDER BY card, key LIMIT %s", (*values, limit))
        return [RecordRow(*row) for row in rows]

    def calls_by_id(self, call: str) -> list[RecordRow]:
        return [RecordRow(*row) for row in self._all(self._sql.calls_by_id, (call,))]

    def suspend(self, event: SuspenseRow) -> bool:
        return self._run(self._sql.suspend, event) == 1

    def suspended(self, *, after: str = "", limit: int = 500) -> list[SuspenseRow]:
        return [SuspenseRow(*row) for row in self._all(self._sql.suspended, (after, limit))]

    # -- catalogue ------------------------------------------------------------------------

    def publish(self, kind: str, name: str, content: bytes, *, expected: int) -> Head:
        def work(session: Session) -> Head:
            with session.transaction():
                session.one(self._sql.lock_catalogue)  # one publisher after the other
                (version,) = session.one(self._sql.newest, (kind, name))
                if version != expected:
                    raise VersionConflict(f"{kind} {name!r} is at version {version}")
                session.run(self._sql.publish, (kind, name, version + 1, content))
                session.run(self._sql.raise_revision)
                return Head(kind, name, version + 1)

        return self._lent(work)

    def catalogue(self) -> tuple[int, list[Head]]:
        rows = self._all(self._sql.catalogue)
        return rows[0][0], [Head(*head) for _, *head in rows if head[0] is not None]

    def content(self, kind: str, name: str, version: int) -> bytes:
        found = self._first(self._sql.content, (kind, name, version))
        if found is None:
            raise UnknownName(kind, f"{name} version {version}")
        return bytes(found[0])

    # -- the operators' log ---------------------------------------------------------------

    def append_audit(self, row: AuditRow, *, after: int) -> bool:
        def work(session: Session) -> bool:
            (last,) = session.one(self._sql.last_position)
            # Where another writer is as far, its row is in the way.
            return last == after and session.run(self._sql.append_audit, (after + 1, *row)) == 1

        return self._lent(work)

    def last_audit(self) -> tuple[int, AuditRow] | None:
        found = self._first(self._sql.last_audit)
        return None if found is None else (found[0], AuditRow(*found[1:]))

    def audit_log(self, *, after: int = 0, limit: int = 500) -> list[tuple[int, AuditRow]]:
        rows = self._all(self._sql.audit_log, (after, limit))
        return [(position, AuditRow(*row)) for position, *row in rows]

    # -- attempts -------------------------------------------------------------------------

    def take_attempts(
        self,
        group: int,
        subject: str,
        decide: Callable[[bytes | None, bytes | None], Tally[T]],
    ) -> T:
        return self._attempts.take(group, subject, decide)

    def attempts(
        self, *, after: tuple[int, str] | None = None, limit: int = 500
    ) -> list[AttemptRow]:
        place = after if after is not None else (_LOWEST, "")
        return [AttemptRow(*row) for row in self._all(self._sql.attempts, (*place, limit))]

    def attempts_over(self, at: int, *, limit: int = 500) -> list[tuple[int, str]]:
        rows = self._all(self._sql.attempts_over, (at, limit))
        return [(group, subject) for group, subject in rows]

    def close(self) -> None:
        self._connections.close()

    # -- inside ---------------------------------------------------------------------------

    def _prepare(self, *, create: bool) -> Any:
        with self._connections.lend(apart=True) as session:
            return prepare(session, self._schema, create=create)

    def _lent(self, work: Callable[[Session], T], *, apart: bool = False) -> T:
        """Do something with a session, and again for as long as nothing was done."""

        def once() -> T:
            with self._connections.lend(apart=apart) as session:
                return work(session)

        return patiently(once, self._connections.sleep)

    def _all(
        self, query: str, values: Sequence[Any] = (), *, apart: bool = False
    ) -> list[tuple[Any, ...]]:
        return self._lent(lambda session: session.all(query, values), apart=apart)

    def _first(self, query: str, values: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        return self._lent(lambda session: session.first(query, values))

    def _run(self, query: str, values: Sequence[Any] = ()) -> int:
        return self._lent(lambda session: session.run(query, values))


def _connections(source: Any, timeout: int, most: int) -> Connections:
    if hasattr(source, "lend"):
        own: Connections = source
        return own
    if isinstance(source, str):
        return OwnConnections(source, timeout, most)
    if hasattr(source, "getconn"):
        return PooledConnections(source)
    if hasattr(source, "pgconn"):
        return SingleConnection(source)
    raise InvalidInput("source", source, "must be an address, a pool or a connection")
