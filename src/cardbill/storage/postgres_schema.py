"""The tables of a PostgreSQL store: numbered scripts, each run once, in one transaction.

A lock keeps processes apart that open the store at once; one that is killed midway leaves
nothing of the script it was at, and whoever comes next begins that script anew.
"""

from __future__ import annotations

import re
from importlib.resources import files
from typing import NamedTuple

from cardbill.errors import InvalidInput, SchemaTooNew, StorageError
from cardbill.storage.postgres_connections import Session

SCHEMA = "cardbill"
SCRIPTS = ("postgres_001.sql",)
"""In the order of the schema versions they lead to, 1, 2, 3, and so on."""

DISTRIBUTING = "citus.sql"

_LOCK = 0x63617264  # "card": an advisory lock of ours
_HAS_CITUS = "SELECT count(*) FROM pg_extension WHERE extname = 'citus'"
_OWN_NAME = re.compile(r"\bcardbill\.")
# Read from the catalog's tables: to_regclass may answer from memory of before one waited.
_FOUND = (
    "SELECT current_setting('server_encoding'), "
    "(SELECT count(*) FROM pg_class WHERE relname = 'schema_version' AND relnamespace = ours.oid), "
    "(SELECT count(*) FROM pg_proc WHERE proname = 'cardbill_swap' AND pronamespace = ours.oid) "
    "FROM (SELECT max(oid) AS oid FROM pg_namespace WHERE nspname = %s) AS ours"
)
_VERSIONS = """
CREATE TABLE cardbill.schema_version (
    only_row bigint PRIMARY KEY CHECK (only_row = 1),
    version bigint NOT NULL
);
INSERT INTO cardbill.schema_version VALUES (1, 0);
"""


class Found(NamedTuple):
    """What is there.

    Attributes:
        version: Of the schema; 0: there are no tables.
        distributed: The tables are spread over the nodes of Citus.
    """

    version: int
    distributed: bool


def check_schema(name: object) -> str:
    """Return the name of a schema: lower-case letters, digits and ``_``.

    Raises:
        InvalidInput: It is none.
    """
    if not isinstance(name, str) or not re.fullmatch("[a-z_][a-z0-9_]{0,62}", name):
        raise InvalidInput("schema", name, "must be lower-case letters, digits and '_'")
    return name


def script(name: str, schema: str) -> str:
    """Return a script that ships with this package, written for that schema."""
    text = files("cardbill.storage").joinpath("sql", name).read_text(encoding="utf-8")
    return for_schema(text, schema)


def for_schema(text: str, schema: str) -> str:
    """Return SQL text with the names in it belonging to that schema."""
    return _OWN_NAME.sub(f'"{schema}".', text)


def prepare(session: Session, schema: str, *, create: bool) -> Found:
    """Bring the tables up to what this version of cardbill needs.

    Args:
        session: A connection outside of any transaction.
        schema: Where the tables are.
        create: Make or change tables if need be; otherwise it is an error if there are none.

    Raises:
        SchemaTooNew: A newer version of cardbill was here.
        StorageError: There are no tables and none are to be made; or the database cannot
            keep every text.
    """
    newest = len(SCRIPTS)
    found = _look(session, schema)
    if found.version < newest and not create:
        there = f"has schema {found.version}" if found.version else "holds no tables of cardbill"
        raise StorageError(f"schema {schema!r} {there}")
    while found.version < newest:
        with session.transaction():
            session.run("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            found = _look(session, schema)
            if found.version < newest:
                _raise_by_one(session, schema, found.version)
        found = _look(session, schema)
    if found.version > newest:
        raise SchemaTooNew(
            f"schema {schema!r} has version {found.version}, this version of cardbill knows "
            f"up to {newest}"
        )
    return found


def _look(session: Session, schema: str) -> Found:
    encoding, table, distributed = session.one(_FOUND, (schema,))
    if encoding != "UTF8":
        raise StorageError(f"the database's encoding is {encoding}: it must be UTF8")
    if not table:
        return Found(0, distributed=False)
    (version,) = session.one(for_schema("SELECT version FROM cardbill.schema_version", schema))
    return Found(version, distributed=distributed > 0)


def _raise_by_one(session: Session, schema: str, version: int) -> None:
    if version == 0:
        _begin(session, schema)
    session.script(script(SCRIPTS[version], schema))
    if version == 0 and _number(session, _HAS_CITUS):
        session.script(script(DISTRIBUTING, schema))
    session.run(
        for_schema("UPDATE cardbill.schema_version SET version = %s", schema), (version + 1,)
    )


def _begin(session: Session, schema: str) -> None:
    """Make the schema, unless it is there: who may make tables in it need not be its owner."""
    if not _number(session, "SELECT count(*) FROM pg_namespace WHERE nspname = %s", schema):
        session.script(f'CREATE SCHEMA "{schema}"')
    session.script(for_schema(_VERSIONS, schema))


def _number(session: Session, query: str, *values: str) -> int:
    return int(session.one(query, values)[0])
