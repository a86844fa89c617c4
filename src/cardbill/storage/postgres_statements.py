"""The statements of a PostgreSQL store, written once for the schema its tables are in.

Column names come from the contract's own classes, values are always parameters. No statement
for Citus calls a function whose answer varies, and each that a call waits for names one card,
or one token, and no more: Citus sends such a statement to the one node that it concerns.
"""

from __future__ import annotations

from typing import Any

from cardbill.storage.contract import (
    NEVER,
    AuditRow,
    CardRow,
    CredentialRow,
    EntryRow,
    RecordRow,
    SuspenseRow,
)
from cardbill.storage.postgres_rows import Adding
from cardbill.storage.postgres_schema import for_schema


def columns(row: type[tuple[Any, ...]], of: str = "") -> str:
    """Return the names of a row's columns, as those of the table `of` if one is named."""
    fields: tuple[str, ...] = row._fields  # type: ignore[attr-defined]  # a NamedTuple has them
    return ", ".join(f"{of}.{field}" if of else field for field in fields)


def marks(row: type[tuple[Any, ...]]) -> str:
    """Return a mark for each of a row's columns."""
    return ", ".join(["%s"] * len(row._fields))  # type: ignore[attr-defined]  # as above


# What a step may change of a card; naming the other columns would be harmless but long.
_CHANGES = (
    "UPDATE cardbill.card SET version = %s, format = %s, balance = %s, held = %s, "
    "first_used_at = %s, expires_at = %s, blocked = %s, due_at = %s, state = %s, swap = %s "
    "WHERE id = %s AND version = %s"
)
# And if all else that a step was decided on still holds, where it was not read just before: a
# version that was rolled back, or lost with its server, may have come again with another state.
# No record can come without the card's next version.
_CHANGES_UNREAD = (
    f"{_CHANGES} AND state = %s AND (SELECT revision FROM cardbill.catalogue_revision) = %s "  # noqa: S608
    "AND NOT EXISTS (SELECT FROM cardbill.record WHERE card = %s AND key = %s)"
)
_FUNCTION = 12 + 7 + 15  # arguments
_SEEN = (
    f"{columns(CardRow, 'card')}, revision.revision, card.swap, {columns(RecordRow, 'record')} "
    "FROM cardbill.card AS card CROSS JOIN cardbill.catalogue_revision AS revision "
    "LEFT JOIN cardbill.record AS record ON record.card = card.id AND record.key = %s"
)
_SWAP_GROUP = (
    "UPDATE cardbill.attempt_group SET version = version + 1, swap = %s, "
    "book = coalesce(%s::bytea, book) WHERE grp = %s AND version = %s AND swap = %s"
)
_TALLY = (
    "INSERT INTO cardbill.attempt (grp, subject, state, keep_until) {row} "
    "ON CONFLICT (grp, subject) DO UPDATE "
    "SET state = excluded.state, keep_until = excluded.keep_until"
)
# The commit of this one statement need not wait for the disk; later ones that do keep it too.
_RELAXED = "SELECT count(*), set_config('synchronous_commit', 'off', true) FROM swapped"


class Statements:
    """Every statement, for one schema."""

    def __init__(self, schema: str) -> None:
        def own(text: str) -> str:
            return for_schema(text, schema)

        # -- what a call waits for --
        self.view = own(f"SELECT {_SEEN} WHERE card.id = %s")
        self.resolve = own(
            f"SELECT credential.token, {_SEEN} JOIN cardbill.credential AS credential "
            "ON credential.card = card.id WHERE credential.kind = %s AND credential.token = ANY(%s)"
        )
        self.resolve_alone = own(
            "SELECT card FROM cardbill.credential WHERE kind = %s AND token = %s"
        )
        self.lock = own("SELECT version FROM cardbill.card WHERE id = %s FOR UPDATE")
        self.swap = own(_CHANGES)
        self.swap_unread = own(_CHANGES_UNREAD)
        self.fence = own(
            "UPDATE cardbill.card SET version = version + 1, swap = %s "
            "WHERE id = %s AND version = %s"
        )
        self.swap_and_add = Adding(_CHANGES, schema)
        self.swap_and_add_unread = Adding(_CHANGES_UNREAD, schema)
        self.delegated_swap = own(
            f"SELECT * FROM cardbill.cardbill_swap({', '.join(['%s'] * _FUNCTION)})"  # noqa: S608
        )

        # -- attempts at PINs --
        self.attempts_of = own(
            "SELECT book.version, book.swap, book.book, attempt.state, attempt.keep_until "
            "FROM cardbill.attempt_group AS book LEFT JOIN cardbill.attempt AS attempt "
            "ON attempt.grp = book.grp AND attempt.subject = %s WHERE book.grp = %s"
        )
        self.lock_group = own(
            "SELECT version FROM cardbill.attempt_group WHERE grp = %s FOR UPDATE"
        )
        self.swap_group = own(_SWAP_GROUP)
        self.tally_alone = own(_TALLY.format(row="VALUES (%s, %s, %s, %s)"))
        self.forget_alone = own("DELETE FROM cardbill.attempt WHERE grp = %s AND subject = %s")
        self.tally = own(
            f"WITH swapped AS ({_SWAP_GROUP} RETURNING grp), kept AS ("  # noqa: S608
            f"{_TALLY.format(row='SELECT grp, %s, %s::bytea, %s::bigint FROM swapped')}) "
            f"{_RELAXED}"
        )
        self.forget = own(
            f"WITH swapped AS ({_SWAP_GROUP} RETURNING grp), dropped AS ("  # noqa: S608
            "DELETE FROM cardbill.attempt USING swapped "
            f"WHERE attempt.grp = swapped.grp AND attempt.subject = %s) {_RELAXED}"
        )
        self.attempts = own(
            "SELECT grp, subject, state, keep_until FROM ("  # noqa: S608
            "SELECT grp, '' COLLATE \"C\" AS subject, book AS state, "
            f"{NEVER}::bigint AS keep_until "
            "FROM cardbill.attempt_group WHERE book IS NOT NULL UNION ALL "
            "SELECT grp, subject, state, keep_until FROM cardbill.attempt) AS kept "
            "WHERE (grp, subject) > (%s, %s) ORDER BY grp, subject LIMIT %s"
        )
        self.attempts_over = own(
            "SELECT grp, subject FROM cardbill.attempt WHERE keep_until <= %s LIMIT %s"
        )

        # -- cards and credentials --
        self.has_card = own("SELECT 1 FROM cardbill.card WHERE id = %s")
        self.credentials = own(
            f"SELECT {columns(CredentialRow)} FROM cardbill.credential "  # noqa: S608
            "WHERE card = ANY(%s)"
        )
        self.bind = own(
            f"INSERT INTO cardbill.credential ({columns(CredentialRow)}) "  # noqa: S608
            f"VALUES ({marks(CredentialRow)}) ON CONFLICT (kind, token) DO NOTHING"
        )
        self.rebind = own(
            "UPDATE cardbill.credential SET card = %s, sealed = %s "
            "WHERE kind = %s AND token = %s AND card = %s"
        )
        self.unbind = own(
            "DELETE FROM cardbill.credential WHERE kind = %s AND token = %s AND card = %s"
        )
        self.find_cards = own(
            f"SELECT {columns(CardRow)} FROM cardbill.card "  # noqa: S608
            "WHERE batch = %s AND serial > %s ORDER BY serial LIMIT %s"
        )
        self.count_cards = own("SELECT count(*) FROM cardbill.card")
        self.count_batch = own("SELECT count(*) FROM cardbill.card WHERE batch = %s")
        counted = [
            f"(SELECT count(*) AS number FROM cardbill.{table}) AS {table}s"  # noqa: S608
            for table in ("card", "credential", "entry", "record")
        ]
        self.counts = own(f"SELECT * FROM {' CROSS JOIN '.join(counted)}")  # noqa: S608
        self.due = own(
            "SELECT due_at, id FROM cardbill.card "
            "WHERE due_at <= %s AND (due_at, id) > (%s, %s) ORDER BY due_at, id LIMIT %s"
        )

        # -- ledger and records --
        self.entries = own(
            f"SELECT {columns(EntryRow)} FROM cardbill.entry "  # noqa: S608
            "WHERE card = %s AND seq > %s ORDER BY seq LIMIT %s"
        )
        records = f"SELECT {columns(RecordRow)} FROM cardbill.record"  # noqa: S608
        self.records = own(f"{records} WHERE (card, key) > (%s, %s)")
        self.records_of_card = own(f"{records} WHERE card = %s AND (card, key) > (%s, %s)")
        self.calls_by_id = own(f"{records} WHERE call = %s ORDER BY card, key")

        # -- jobs, suspense, catalogue, the operators' log --
        self.added = own("SELECT added FROM cardbill.job WHERE key = %s")
        self.begin_job = own(
            "INSERT INTO cardbill.job (key, added) VALUES (%s, %s) ON CONFLICT (key) DO NOTHING"
        )
        self.end_job = own("UPDATE cardbill.job SET added = %s WHERE key = %s")
        self.jobs = own("SELECT key, added FROM cardbill.job WHERE key > %s ORDER BY key LIMIT %s")
        self.suspend = own(
            f"INSERT INTO cardbill.suspense ({columns(SuspenseRow)}) "  # noqa: S608
            f"VALUES ({marks(SuspenseRow)}) ON CONFLICT (key) DO NOTHING"
        )
        self.suspended = own(
            f"SELECT {columns(SuspenseRow)} FROM cardbill.suspense "  # noqa: S608
            "WHERE key > %s ORDER BY key LIMIT %s"
        )
        self.lock_catalogue = own("SELECT revision FROM cardbill.catalogue_revision FOR UPDATE")
        self.newest = own(
            "SELECT coalesce(max(version), 0) FROM cardbill.catalogue WHERE kind = %s AND name = %s"
        )
        self.publish = own(
            "INSERT INTO cardbill.catalogue (kind, name, version, content) VALUES (%s, %s, %s, %s)"
        )
        self.raise_revision = own("UPDATE cardbill.catalogue_revision SET revision = revision + 1")
        self.catalogue = own(
            "SELECT revision.revision, head.kind, head.name, head.version "
            "FROM cardbill.catalogue_revision AS revision LEFT JOIN (SELECT kind, name, "
            "max(version) AS version FROM cardbill.catalogue GROUP BY kind, name) AS head ON true"
        )
        self.content = own(
            "SELECT content FROM cardbill.catalogue WHERE kind = %s AND name = %s AND version = %s"
        )
        self.last_position = own("SELECT coalesce(max(position), 0) FROM cardbill.audit")
        self.append_audit = own(
            f"INSERT INTO cardbill.audit (position, {columns(AuditRow)}) "  # noqa: S608
            f"VALUES (%s, {marks(AuditRow)}) ON CONFLICT (position) DO NOTHING"
        )
        log = f"SELECT position, {columns(AuditRow)} FROM cardbill.audit"  # noqa: S608
        self.last_audit = own(f"{log} ORDER BY position DESC LIMIT 1")
        self.audit_log = own(f"{log} WHERE position > %s ORDER BY position LIMIT %s")
