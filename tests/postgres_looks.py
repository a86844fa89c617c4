"""What the tests of the PostgreSQL store look at and do, beside the store."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from cardbill.storage.contract import Tally

psycopg = pytest.importorskip("psycopg", reason="the PostgreSQL store needs psycopg")


@contextmanager
def connected(address: str) -> Iterator[Any]:
    with psycopg.connect(address, autocommit=True) as connection:
        yield connection


def count(state: bytes | None, _: object) -> Tally[int]:
    """Count one attempt; answer with how many there were."""
    counted = int(state or b"0") + 1
    return Tally(counted, b"%d" % counted, 9)


# -- what a call costs -------------------------------------------------------------------------


@contextmanager
def statements(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """All that is sent to the server meanwhile, each a round trip once it is prepared."""
    sent: list[str] = []
    execute = psycopg.Cursor.execute

    def noted(cursor: Any, query: bytes, *arguments: Any, **options: Any) -> Any:
        sent.append(query.decode())
        return execute(cursor, query, *arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(psycopg.Cursor, "execute", noted)
        yield sent


# -- spread over nodes: the statements, on one ---------------------------------------------------


@contextmanager
def as_if_citus(address: str) -> Iterator[None]:
    """Functions by the names of Citus that do nothing: its script then runs on one server."""
    with connected(address) as connection:
        connection.execute("""
            CREATE FUNCTION create_reference_table(text) RETURNS void
                LANGUAGE sql AS 'SELECT NULL::void';
            CREATE FUNCTION create_distributed_table(text, text, colocate_with text) RETURNS void
                LANGUAGE sql AS 'SELECT NULL::void';
            CREATE FUNCTION create_distributed_function(
                regprocedure, distribution_arg_name text, colocate_with text
            ) RETURNS void LANGUAGE sql AS 'SELECT NULL::void';
        """)
    yield
