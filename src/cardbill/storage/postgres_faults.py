"""What PostgreSQL's errors mean here, by SQLSTATE: names of constraints differ between shards."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from typing import TypeVar

import psycopg

from cardbill.errors import ConstraintViolated, StorageError, StorageUnavailable

T = TypeVar("T")

FAULTS = (psycopg.Error, OverflowError, UnicodeError, struct.error)
"""What the driver raises, and what its conversions do."""

_LOST = ("08", "57P01", "57P02", "57P03", "53300")
_COLLIDED = ("40001", "40P01")
_DOUBTFUL = ("40003", "08007", "XX000")  # the last: Citus lost a node before it committed
_STANDBY = "25006"  # read only: another server is the first one now
_TOO_LONG = ("57014", "55P03", "25P03", "53")
_NO_CONNECTION = ("connection to server ", "failed to resolve host ", "connection timeout ")
_PAUSES = (20, 50, 100, 200, 400)  # milliseconds


class Passing(StorageUnavailable):
    """A fault that may be over when the same is tried again."""

    def __init__(self, problem: str, *, outcome_unknown: bool = False) -> None:
        super().__init__(problem, outcome_unknown=outcome_unknown)
        self.problem = problem


def translated(error: Exception, *, broken: bool, writing: bool) -> StorageError:
    """Return the error of this library for one of :data:`FAULTS`.

    Args:
        error: What was raised.
        broken: The connection cannot be used any more.
        writing: Had the statement been carried out, its changes would be committed.
    """
    state = getattr(error, "sqlstate", None) or ""
    problem = f"PostgreSQL {state}".strip()
    if not isinstance(error, psycopg.Error) or (isinstance(error, psycopg.DataError) and not state):
        return ConstraintViolated(f"{problem}: a value that no column can hold")
    # The primary message alone: the detail shows the row.
    message = f"{problem}: {error.diag.message_primary or _unreached(error)}"
    if state[:2] in {"22", "23"}:
        return ConstraintViolated(message)
    if state in _COLLIDED or state == _STANDBY:
        return Passing(message)
    if broken or state in _DOUBTFUL or state.startswith(_LOST):
        return Passing(message, outcome_unknown=writing)
    if state.startswith(_TOO_LONG):
        return StorageUnavailable(message)
    return StorageError(message)


def _unreached(error: psycopg.Error) -> str:
    """Return why there is no connection, as the driver says it in its first line.

    It names host, user and database, never a password. Of no other error is a text shown
    that the server did not mean for people: it may hold what was sent.
    """
    said = str(error).partition("\n")[0].removeprefix("connection failed: ")
    return said if said.startswith(_NO_CONNECTION) else type(error).__name__


class Patience:
    """Pauses between tries, each longer than the last, and an end to them.

    Args:
        sleep: Waits for so many seconds.
    """

    def __init__(self, sleep: Callable[[float], None]) -> None:
        self._sleep = sleep
        self._pauses = iter(_PAUSES)

    def pause(self) -> bool:
        """Wait a while; False: it has been tried often enough."""
        longest = next(self._pauses, None)
        if longest is None:
            return False
        half = longest // 2
        self._sleep((half + os.urandom(1)[0] * half // 255) / 1000)  # so that rivals part
        return True


def patiently(work: Callable[[], T], sleep: Callable[[float], None]) -> T:
    """Do what may be done again for as long as it is certain that nothing was done."""
    patience = Patience(sleep)
    while True:
        try:
            return work()
        except Passing as fault:
            if fault.outcome_unknown or not patience.pause():
                raise
