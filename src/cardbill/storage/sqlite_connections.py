"""The connections of one SQLite store: lent to one thread at a time, never across a fork.

SQLite must not be carried over a fork: the child would share file locks that it does not
hold, and the one who closes first would take the other's commits with it. So before this
process forks every connection is closed, and each side opens its own when it needs one.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar
from weakref import WeakSet

from cardbill.errors import (
    ConstraintViolated,
    RowUnreadable,
    StorageClosed,
    StorageError,
    StorageUnavailable,
)

T = TypeVar("T")

_RELAXED = "NORMAL"
_FORK_WAIT = 5  # seconds a fork waits for steps under way in other threads
_OURS = (sqlite3.Error, sqlite3.Warning, OverflowError, UnicodeError)


class Own(Exception):  # carries an error, is none
    """An error of the caller's own function on its way out, not to be taken for ours."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error


def call(function: Callable[..., T], *arguments: object) -> T:
    """Call what the caller gave; its errors pass through :meth:`Connections.lend` as they are."""
    try:
        return function(*arguments)
    except _OURS as error:
        raise Own(error) from None


class Connections:
    """Connections to one file.

    Args:
        path: The file.
        synchronous: ``FULL`` or ``NORMAL``.
        timeout: Seconds to wait for other writers.
        create: Make a file that is not there.
    """

    def __init__(self, path: Path, synchronous: str, timeout: int, *, create: bool) -> None:
        self._path = path.absolute()
        self._synchronous = synchronous
        self._timeout = timeout
        self._mode = "rwc" if create else "rw"
        self._closed = False
        self._start()
        with _standing:
            _all.add(self)

    def _start(self) -> None:
        """Begin anew, as the process that this is now."""
        self._pid = os.getpid()
        self._writing = threading.Lock()
        self._gate = threading.Condition()
        self._idle: list[sqlite3.Connection] = []
        self._relaxed: set[sqlite3.Connection] = set()
        self._lent = 0
        self._forking = False

    def made(self) -> None:
        """From now on, open the file only if it is still there."""
        self._mode = "rw"

    @contextmanager
    def lend(self, *, keep: bool = True) -> Iterator[sqlite3.Connection]:
        """Lend a connection; what the driver raises leaves as an error of this library.

        Args:
            keep: Use it again later; otherwise it is a new one, and closed afterwards.
        """
        if self._pid != os.getpid():  # forked behind Python's back, or with steps under way
            if self._idle or self._lent:  # SQLite would take the parent's locks for ours
                raise StorageError(f"{self._path.name}: open it again after a fork")
            self._start()
        connection = None
        with self._gate:
            while self._forking:
                self._gate.wait()
            if self._closed:
                raise StorageClosed("this store was closed")
            self._lent += 1
            if self._idle and keep:
                connection = self._idle.pop()
        try:
            if connection is None:
                connection = self._connect()
            yield connection
        except Own as own:
            raise own.error from own.error.__cause__
        except sqlite3.IntegrityError as error:
            raise ConstraintViolated(f"SQLite: {error}") from error
        except sqlite3.Error as error:
            if "not a database" in str(error):
                raise StorageError(f"{self._path.name} is not a SQLite database") from error
            if "decode to UTF-8" in str(error):  # its text would say what the column holds
                raise RowUnreadable(
                    "SQLite: a stored text is no Unicode: altered or damaged"
                ) from None
            where = f" {self._path}" if "unable to open" in str(error) else ""
            raise StorageUnavailable(f"SQLite: {error}{where}") from error
        except OverflowError as error:
            raise ConstraintViolated("SQLite: an integer beyond 64 bits") from error
        except UnicodeError as error:
            raise ConstraintViolated("SQLite: a text that is no Unicode") from error
        finally:
            self._give_back(connection, keep=keep)

    @contextmanager
    def write(self, *, wait_for_disk: bool = True) -> Iterator[sqlite3.Connection]:
        """One transaction.

        Args:
            wait_for_disk: Otherwise the commit may be lost when power fails, until the next
                one that waits; what others then commit is as safe as ever.
        """
        with self.lend() as connection:
            self._set_waiting(connection, wait=wait_for_disk)
            with self.transaction(connection):
                yield connection

    @contextmanager
    def transaction(self, connection: sqlite3.Connection) -> Iterator[None]:
        """One transaction; writers of this process queue here, not in SQLite's busy loop."""
        if not self._writing.acquire(timeout=self._timeout):
            raise StorageUnavailable("this process's other writers took too long")
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                with suppress(sqlite3.Error):  # SQLite may have rolled back by itself
                    connection.execute("ROLLBACK")
                raise
            self._commit(connection)
        finally:
            self._writing.release()

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """One moment: all reads see the same commits."""
        with self.lend() as connection:
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                with suppress(sqlite3.Error):
                    connection.execute("COMMIT")

    def patiently(self, work: Callable[[], T]) -> T:
        """Repeat what SQLite refuses as busy without having waited, until the timeout."""
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                return work()
            except sqlite3.OperationalError as error:
                busy = error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
                if not busy or time.monotonic() > deadline:
                    raise
                time.sleep(1 / 100)

    def close(self) -> None:
        """Close every connection, those that are lent as soon as they come back."""
        if self._pid != os.getpid():
            return
        with self._gate:
            self._closed = True
            self._close_idle()

    @staticmethod
    def _commit(connection: sqlite3.Connection) -> None:
        try:
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            busy = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY
            raise StorageUnavailable(f"commit: {error}", outcome_unknown=not busy) from error

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{self._path.as_uri()}?mode={self._mode}",
            uri=True,
            timeout=self._timeout,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
        except BaseException:
            connection.close()
            raise
        return connection

    def _set_waiting(self, connection: sqlite3.Connection, *, wait: bool) -> None:
        """Have a connection's commits wait for the disk, if that was chosen, or not."""
        if self._synchronous == _RELAXED or wait == (connection not in self._relaxed):
            return
        # One whose state is in doubt counts as relaxed, and is set again before it must wait.
        self._relaxed.add(connection)
        connection.execute(f"PRAGMA synchronous = {self._synchronous if wait else _RELAXED}")
        if wait:
            self._relaxed.discard(connection)

    def _give_back(self, connection: sqlite3.Connection | None, *, keep: bool) -> None:
        with self._gate:
            self._lent -= 1
            if connection is not None:
                # One that could not roll back would keep its lock and its changes.
                usable = not (self._closed or self._forking or connection.in_transaction)
                if usable and keep:
                    self._idle.append(connection)
                else:
                    self._relaxed.discard(connection)
                    connection.close()
            self._gate.notify_all()

    def _close_idle(self) -> None:
        while self._idle:
            self._idle[-1].close()
            self._relaxed.discard(self._idle.pop())

    # -- fork -----------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Wait until nobody uses a connection, and close them all."""
        with self._gate:
            self._forking = True
            self._gate.wait_for(lambda: self._lent == 0, timeout=_FORK_WAIT)
            self._close_idle()

    def after_fork_here(self) -> None:
        """Go on, in the process that forked."""
        with self._gate:
            self._forking = False
            self._gate.notify_all()

    def after_fork_in_child(self) -> None:
        """Begin anew, unless a step in another thread outlasted the wait."""
        if self._lent == 0:
            self._start()


_all: WeakSet[Connections] = WeakSet()  # of this process, so that a fork can close them


_standing = threading.Lock()  # held over a fork, so that the set stands still


def _before_fork() -> None:
    _standing.acquire()
    for connections in _all:
        connections.before_fork()


def _after_fork_here() -> None:
    for connections in _all:
        connections.after_fork_here()
    _standing.release()


def _after_fork_in_child() -> None:
    for connections in _all:
        connections.after_fork_in_child()
    _standing.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_here,
        after_in_child=_after_fork_in_child,
    )
