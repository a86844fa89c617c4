"""The connections of one PostgreSQL store: its own, a pool of the caller's, or a single one.

Each is lent to one thread at a time and returned as it was: outside of any transaction. A
connection must not be used, nor closed, by both sides of a fork: a child lets go of what it
inherited without a word to the server, and opens its own when it needs one.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Protocol
from weakref import WeakSet

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row
from psycopg.types.numeric import Int8BinaryDumper, Int8Dumper

from cardbill.errors import InvalidInput, StorageClosed, StorageError, StorageUnavailable
from cardbill.storage.postgres_faults import FAULTS, Passing, translated

_CONNECT_SECONDS = 10
_SETTINGS = (
    "SELECT set_config('statement_timeout', %s, false), "
    "set_config('idle_in_transaction_session_timeout', %s, false), "
    "set_config('default_transaction_isolation', 'read committed', false)"
)


class Session:
    """One connection that commits each statement by itself, lent to one thread.

    Args:
        connection: The driver's.
        cursor: What runs its statements.

    Attributes:
        connection: The driver's.
        inside: Whether it is within :meth:`transaction`.
    """

    def __init__(
        self, connection: psycopg.Connection[Any], cursor: psycopg.Cursor[Any] | None = None
    ) -> None:
        self.connection = connection
        self.inside = False
        self._cursor = cursor or psycopg.Cursor(connection, row_factory=tuple_row)
        # Else an integer's size would decide its type, and each mix of types be prepared anew.
        for dumper in (Int8Dumper, Int8BinaryDumper):  # as text within arrays
            self._cursor.adapters.register_dumper(int, dumper)

    @property
    def idle(self) -> bool:
        """Whether it can be used, and is in no transaction."""
        return self.connection.info.transaction_status is TransactionStatus.IDLE

    def stale(self) -> bool:
        """Whether the server has closed it, or said anything, since it was used last."""
        if hasattr(select, "poll"):
            watch = select.poll()
            watch.register(self.connection.fileno(), select.POLLIN)
            return bool(watch.poll(0))
        return bool(select.select([self.connection.fileno()], [], [], 0)[0])

    def all(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        self._execute(query, values, writing=False)
        return self._cursor.fetchall()

    def first(self, query: str, values: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        """Return the first row of a query, if there is one."""
        self._execute(query, values, writing=False)
        return self._cursor.fetchone()

    def one(self, query: str, values: Sequence[Any] = ()) -> tuple[Any, ...]:
        """Return the row of a query that has one."""
        row = self.first(query, values)
        assert row is not None  # noqa: S101  # by the query
        return row

    def run(self, query: str, values: Sequence[Any] = ()) -> int:
        """Run a statement that changes something; return how many rows it changed."""
        self._execute(query, values, writing=not self.inside)
        return self._cursor.rowcount

    def tell(self, query: str, values: Sequence[Any] = ()) -> int:
        """Run a query that changes something; return the number that comes first."""
        self._execute(query, values, writing=not self.inside)
        row = self._cursor.fetchone()
        return 0 if row is None else int(row[0])

    def script(self, text: str) -> None:
        """Run statements that take no values."""
        with self._translating(writing=not self.inside):
            self._cursor.execute(text.encode(), prepare=False)

    def copy(self, query: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run ``COPY ... FROM STDIN`` with these rows."""
        with self._translating(writing=not self.inside), self._cursor.copy(query.encode()) as copy:
            for row in rows:
                copy.write_row(row)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """One transaction; what fails before its end was not done."""
        if self.inside:
            raise StorageError("this connection is within a transaction already")
        try:
            self._execute("BEGIN ISOLATION LEVEL READ COMMITTED", (), writing=False, hot=False)
            self.inside = True
            try:
                yield
            finally:
                self.inside = False
            self._execute("COMMIT", (), writing=True, hot=False)
        except BaseException:
            if not self.idle:  # a statement that was interrupted may have been carried out
                with suppress(StorageError):
                    self._execute("ROLLBACK", (), writing=False, hot=False)
            raise
        if self._cursor.statusmessage != "COMMIT":
            raise StorageUnavailable("PostgreSQL: the transaction was rolled back")

    def _execute(
        self, query: str, values: Sequence[Any], *, writing: bool, hot: bool = True
    ) -> None:
        try:  # as below; each call comes by here
            self._cursor.execute(query.encode(), values, prepare=hot, binary=True)
        except FAULTS as error:
            raise self._translated(error, writing=writing) from error

    @contextmanager
    def _translating(self, *, writing: bool) -> Iterator[None]:
        try:
            yield
        except FAULTS as error:
            raise self._translated(error, writing=writing) from error

    def _translated(self, error: Exception, *, writing: bool) -> StorageError:
        broken = self.connection.broken or self.connection.closed
        return translated(error, broken=broken, writing=writing)

    def close(self) -> None:
        """Close the connection."""
        with suppress(psycopg.Error):
            self.connection.close()

    def abandon(self) -> None:
        """Let go of a connection that a fork has copied: the other side goes on with it."""
        with suppress(psycopg.Error, OSError):
            nowhere = os.open(os.devnull, os.O_RDWR)
            os.dup2(nowhere, self.connection.fileno())  # what closing says goes there
            os.close(nowhere)
            self.connection.close()


class Connections(Protocol):
    """Where a store's sessions come from."""

    def lend(self, *, apart: bool = False) -> Any:
        """Lend a session, as a context.

        Args:
            apart: For long work, without a limit to its time; whoever has it may ask for
                another one meanwhile.
        """

    def sleep(self, seconds: float) -> None:
        """Wait, with none in hand."""

    def close(self) -> None:
        """Lend none any more."""


class OwnConnections:
    """Connections that the store opens when they are needed, and keeps.

    Args:
        address: As libpq takes it.
        timeout: Seconds that a statement may take, or that one waits for a connection.
        most: How many there are at once.
    """

    def __init__(self, address: str, timeout: int, most: int) -> None:
        try:
            given = conninfo_to_dict(address)
        except psycopg.Error:
            # Not shown: a password may be in it.
            raise InvalidInput("address", None, "is no address that PostgreSQL takes") from None
        defaults: dict[str, Any] = {
            "connect_timeout": min(_CONNECT_SECONDS, max(timeout, 1)),
            "tcp_user_timeout": timeout * 1000,
            "fallback_application_name": "cardbill",
        }
        self._address = make_conninfo(**{**defaults, **given, "client_encoding": "utf8"})
        self._timeout = timeout
        self._most = most
        self._closed = False
        self._start()
        with _standing:
            _all.add(self)

    def _start(self) -> None:
        """Begin anew, as the process that this is now."""
        self._pid = os.getpid()
        self._gate = self._new_gate()
        self._idle: list[Session] = []  # the one used last is used next
        self._lent: set[Session] = set()
        self._count = 0  # of the lent ones that the bound is for

    @contextmanager
    def lend(self, *, apart: bool = False) -> Iterator[Session]:
        if self._pid != os.getpid():  # forked behind Python's back
            self.after_fork_in_child()
        session = self._take(apart=apart)
        try:
            yield session
        finally:
            self._give_back(session, apart=apart)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def close(self) -> None:
        if self._pid != os.getpid():
            self.after_fork_in_child()
        with self._gate:
            self._closed = True
            while self._idle:
                self._idle.pop().close()
            self._gate.notify_all()

    def after_fork_in_child(self) -> None:
        for session in (*self._idle, *self._lent):
            session.abandon()
        self._start()

    def _take(self, *, apart: bool) -> Session:
        deadline = time.monotonic() + self._timeout
        with self._gate:
            while True:
                if self._closed:
                    raise StorageClosed("this store was closed")
                if apart:
                    break
                if self._idle:
                    session = self._idle.pop()
                    if session.stale():
                        session.close()
                        continue
                    self._lent.add(session)
                    self._count += 1
                    return session
                if self._count < self._most:
                    break
                if not self._gate.wait(deadline - time.monotonic()):
                    raise StorageUnavailable(f"all {self._most} connections are in use")
            self._count += not apart
        try:
            session = self._connect(0 if apart else self._timeout)
        except BaseException:
            with self._gate:
                self._count -= not apart
                self._gate.notify()
            raise
        with self._gate:
            self._lent.add(session)
        return session

    def _give_back(self, session: Session, *, apart: bool) -> None:
        gate = self._gate
        with gate:
            if session not in self._lent:  # of before a fork
                return
            self._lent.discard(session)
            self._count -= not apart
            if session.idle and not apart and not self._closed:
                self._idle.append(session)
            else:
                session.close()
            gate.notify()

    def _new_gate(self) -> threading.Condition:
        return threading.Condition()

    def _new_session(self) -> Session:
        return Session(psycopg.connect(self._address, autocommit=True))

    def _connect(self, timeout: int) -> Session:
        try:
            session = self._new_session()
        except FAULTS as error:
            # The driver does not tell a wrong password from a server that is still starting.
            raise translated(error, broken=True, writing=False) from error
        try:
            milliseconds = str(timeout * 1000)
            session.all(_SETTINGS, (milliseconds, milliseconds))
        except BaseException:
            session.close()
            raise
        return session


class PooledConnections:
    """A pool of the caller's, which stays open: ``psycopg_pool.ConnectionPool``, or its like.

    Args:
        pool: The pool.
        of: Makes a session of one of its connections.
    """

    def __init__(self, pool: Any, of: Callable[[Any], Session] = Session) -> None:
        self._pool = pool
        self._of = of
        self._pid = os.getpid()
        self._closed = False

    @contextmanager
    def lend(self, *, apart: bool = False) -> Iterator[Session]:  # noqa: ARG002
        check_use(self._pid, closed=self._closed)
        try:
            connection = self._pool.getconn()
        except FAULTS as error:
            # It has waited for as long as its owner let it: that is not done again.
            problem = f"the pool lent no connection: {type(error).__name__}"
            raise StorageUnavailable(problem) from error
        try:
            with by_itself(self._of(connection)) as session:
                yield session
        finally:
            self._pool.putconn(connection)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def close(self) -> None:
        self._closed = True


class SingleConnection:
    """One connection of the caller's, which stays open; used by one thread after the other."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self._pid = os.getpid()
        self._closed = False
        self._using = threading.RLock()
        self._session: Session | None = None

    @contextmanager
    def lend(self, *, apart: bool = False) -> Iterator[Session]:  # noqa: ARG002
        check_use(self._pid, closed=self._closed)
        with self._using:
            if self._session is not None:  # what the caller's function asks within a job
                yield self._session
                return
            with by_itself(Session(self._connection)) as session:
                self._session = session
                try:
                    yield session
                finally:
                    self._session = None

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def close(self) -> None:
        self._closed = True


def check_use(pid: int, *, closed: bool) -> None:
    """Refuse connections of the caller's that this store, or this process, may not use."""
    if closed:
        raise StorageClosed("this store was closed")
    if pid != os.getpid():
        raise StorageError("a connection of before a fork: open the store again")


@contextmanager
def by_itself(session: Session) -> Iterator[Session]:
    """Have a connection of the caller's commit each statement by itself for a while."""
    connection = session.connection
    if not session.idle:
        if connection.closed:
            raise Passing("PostgreSQL: the connection is closed")
        raise StorageError("the connection is in a transaction: a step must commit by itself")
    before = connection.autocommit
    if not before:
        connection.autocommit = True
    try:
        yield session
    finally:
        if not before and session.idle:
            connection.autocommit = False


_all: WeakSet[OwnConnections] = WeakSet()  # of this process, so that a child can let them go
_standing = threading.Lock()  # held over a fork, so that the set stands still


def _after_fork_in_child() -> None:
    for connections in _all:
        connections.after_fork_in_child()
    _standing.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_standing.acquire,
        after_in_parent=_standing.release,
        after_in_child=_after_fork_in_child,
    )
