"""With keys, the audit sees any row of any table that somebody altered, removed or added."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cardbill import AccessNumber, Caller
from cardbill.audit import audit
from cardbill.errors import RowAltered
from cardbill.evidence import AuditHead
from cardbill.storage.sqlite import SQLiteStorage
from tests.building import EVERY_STORE, UK, Shop, open_shop
from tests.test_audit import fill, with_a_log

EXEMPT: dict[str, str] = {}
"""Tables that need no cover, each with its reason; a table that is not here is covered."""


class Change(NamedTuple):
    what: str
    statement: str
    values: tuple[Any, ...] = ()


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Shop, AuditHead]]:
    """A file with rows in every table, sound, and the head an auditor keeps of it."""
    with open_shop("sqlite", tmp_path_factory.mktemp("filled"), quantity=4) as shop:
        fill(shop)
        with_a_log(shop)
        guess_wrong(shop)
        report = shop.bill.audit(keep=True)
        assert report.clean, report.problems
        assert report.head is not None
        yield shop, report.head


def guess_wrong(shop: Shop) -> None:
    """A caller's number locked, another with a wrong PIN, a call without a number, all pools."""
    shop.bill.access_numbers.publish(AccessNumber(number="18005550100"))
    for _ in range(5):
        assert not shop.bill.authenticate(pin="000000000042", ani="+13055551234").authenticated
    for ani in ("+13055559999", None):
        shop.bill.authenticate(
            pin="000000000042", ani=ani, call_id="c", access="18005550100", trunk="east"
        )


def tables(connection: sqlite3.Connection) -> list[str]:
    found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    return [name for (name,) in found if name not in EXEMPT]


def other_values(value: Any) -> list[Any]:
    """What a column may be changed to, of every type that somebody could write."""
    match value:
        case None:
            return [1, b"x", "x"]
        case int():
            return [min(value + 1, 2**63 - 1), value - 1, -value if value else 7, None]
        case str():
            return [value + "x", value[:-1], "", value.upper(), None]
        case bytes():
            flipped = bytes([value[0] ^ 1]) + value[1:] if value else b"x"
            last = value[:-1] + bytes([value[-1] ^ 1]) if value else b"y"
            return [flipped, last, value[:-1], value + b"\0", b"", value.decode("latin-1"), None]
    raise AssertionError(type(value))


def changes(connection: sqlite3.Connection, table: str) -> Iterator[Change]:
    """Every change of one value or one row, in turn."""
    columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    keys = [row[1] for row in connection.execute(f"PRAGMA table_info({table})") if row[5]]
    rows = connection.execute(f"SELECT {', '.join(columns)} FROM {table}").fetchall()
    assert rows, f"nothing in table {table}: fill it"
    marks = ", ".join("?" * len(columns))
    for row in rows:
        named = dict(zip(columns, row, strict=True))
        where = " AND ".join(f"{key} IS ?" for key in keys)
        place = tuple(named[key] for key in keys)
        yield Change(f"{table} {place}: removed", f"DELETE FROM {table} WHERE {where}", place)
        for column, value in named.items():
            for other in {
                repr(each): each for each in other_values(value) if each != value
            }.values():
                yield Change(
                    f"{table} {place}: {column} = {other!r:.60}",
                    f"UPDATE {table} SET {column} = ? WHERE {where}",
                    (other, *place),
                )
            if column in keys:
                for other in other_values(value)[:2]:
                    copy = tuple({**named, column: other}.values())
                    yield Change(
                        f"{table} {place}: added with {column} = {other!r:.60}",
                        f"INSERT INTO {table} VALUES ({marks})",
                        copy,
                    )


def test_every_change_of_every_row_of_every_table_is_seen(
    filled: tuple[Shop, AuditHead], tmp_path: Path
):
    shop, head = filled
    path = tmp_path / "copy.db"
    with (
        closing(sqlite3.connect(shop.folder / "cards.db")) as source,
        closing(sqlite3.connect(path)) as copy,
    ):
        source.backup(copy)
    unseen, tried, refused = [], 0, 0
    with (
        closing(sqlite3.connect(path, isolation_level=None)) as connection,
        closing(SQLiteStorage(path, synchronous="normal")) as storage,
    ):
        connection.execute("PRAGMA synchronous = OFF")
        assert audit(storage, shop.keyring, head=head).clean
        names = tables(connection)
        assert {"card", "entry", "record", "job", "audit", "attempt"} < set(names)
        for table in names:
            before = connection.execute(f"SELECT * FROM {table}").fetchall()
            for change in list(changes(connection, table)):
                try:
                    assert connection.execute(change.statement, change.values).rowcount == 1
                except sqlite3.IntegrityError:
                    refused += 1  # the file itself keeps it out
                    continue
                tried += 1
                report = audit(storage, shop.keyring, head=head)
                if report.clean:
                    unseen.append(change.what)
                connection.execute("BEGIN")
                connection.execute(f"DELETE FROM {table}")
                marks = ", ".join("?" * len(before[0]))
                connection.executemany(f"INSERT INTO {table} VALUES ({marks})", before)
                connection.execute("COMMIT")
        assert audit(storage, shop.keyring, head=head).clean
    assert unseen == []
    assert tried > 1_000
    assert refused > 100  # by the file itself


# -- a head kept elsewhere ------------------------------------------------------------------------


@pytest.fixture(params=EVERY_STORE)
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    with open_shop(request.param, tmp_path) as opened:
        yield opened


def test_a_log_cut_off_after_the_head_was_kept_is_seen(tmp_path: Path):
    with open_shop("sqlite", tmp_path) as shop:
        shop.bill.batches.reveal("B/1", actor="eve", reason="r")
        head = shop.bill.audit(keep=True).head
        assert head is not None
        with closing(sqlite3.connect(tmp_path / "cards.db")) as connection, connection:
            connection.execute("DELETE FROM audit WHERE action = 'reveal-pin'")
        assert shop.bill.audit().clean  # nothing after it tells: this is what a head is for
        (problem,) = shop.bill.audit(head=head).problems
        assert "were removed" in problem
        shop.bill.batches.reveal("B/2", actor="ann", reason="r")  # takes the place
        (problem,) = shop.bill.audit(head=head).problems
        assert "kept head" in problem


def test_a_card_set_back_to_an_earlier_state_is_seen(tmp_path: Path):
    with open_shop("sqlite", tmp_path) as shop:
        shop.bill.settle(shop.grant("a").handle, talk_ms=60_000)
        with closing(sqlite3.connect(tmp_path / "cards.db")) as connection:
            (row,) = connection.execute("SELECT * FROM card WHERE id = 'B/1'").fetchall()
            shop.grant("b")
            head = shop.bill.audit(keep=True).head
            with connection:
                connection.execute("DELETE FROM card WHERE id = 'B/1'")
                connection.execute(f"INSERT INTO card VALUES ({', '.join('?' * 12)})", row)
        assert shop.bill.audit().clean  # a row that cardbill wrote, and its ledger agrees
        (problem,) = shop.bill.audit(head=head).problems
        assert problem.startswith("card B/1: was set back")
        shop.bill.cancel(shop.grant("c").handle)  # it was used again, and changed its version
        assert shop.bill.audit(head=head).clean  # so much a head cannot see: see the docs


def test_a_head_stays_good_while_business_goes_on(shop: Shop):
    head = shop.bill.audit(keep=True).head
    assert head is not None
    assert shop.bill.audit().head is None
    shop.bill.settle(shop.grant().handle, talk_ms=1)
    shop.bill.batches.reveal("B/1", actor="ann", reason="r")
    text = head.dumps(shop.keyring)
    assert AuditHead.loads(text, shop.keyring) == head
    assert shop.bill.audit(head=AuditHead.loads(text, shop.keyring)).clean


@pytest.mark.parametrize("text", ["", "00", "zz []", "é", "{}"])
def test_what_is_no_head_of_these_keys_is_refused(shop: Shop, text: str):
    head = shop.bill.audit(keep=True).head
    assert head is not None
    told = head.dumps(shop.keyring)
    for forged in (text, told[:-3], told.replace("[", "[1", 1), "00" + told[2:]):
        with pytest.raises(RowAltered):
            AuditHead.loads(forged, shop.keyring)
    with pytest.raises(RowAltered):
        AuditHead.loads(told, shop.keyring.generate())


# -- steps on altered rows ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE card SET version = version + 1",
        "UPDATE card SET state = CAST(replace(CAST(state AS TEXT), '5000000', '9000000') AS BLOB)",
        "UPDATE card SET state = x''",
        "UPDATE card SET state = (SELECT state FROM card WHERE id = 'B/2') WHERE id = 'B/1'",
    ],
)
def test_a_card_altered_by_hand_is_refused_in_every_step(tmp_path: Path, statement: str):
    with open_shop("sqlite", tmp_path) as shop:
        pin, handle = shop.pin(), shop.grant("before").handle
        with closing(sqlite3.connect(tmp_path / "cards.db")) as connection, connection:
            assert connection.execute(statement).rowcount
        for act in (
            lambda: shop.bill.authenticate(pin=pin),
            lambda: shop.bill.authorize(pin=pin, to=UK, call_id="c"),
            lambda: shop.bill.settle(handle, talk_ms=1),
            lambda: shop.bill.cancel(handle),
            lambda: shop.bill.card("B/1"),
        ):
            with pytest.raises(RowAltered, match="B/1"):
                act()
        ((card_id, error),) = shop.bill.sweep(at=shop.clock.tick(days=9)).failures
        assert (card_id, type(error)) == ("B/1", RowAltered)


def test_a_balance_raised_in_its_column_alone_buys_nothing(tmp_path: Path):
    with open_shop("sqlite", tmp_path) as shop:
        with closing(sqlite3.connect(tmp_path / "cards.db")) as connection, connection:
            assert connection.execute("UPDATE card SET balance = balance * 9").rowcount
        caller = shop.bill.authenticate(pin=shop.pin())
        assert isinstance(caller, Caller)
        assert caller.balance_units == 5_000_000
        assert len(shop.bill.audit().problems) == 3


def test_a_forged_deck_prices_no_call(tmp_path: Path):
    with open_shop("sqlite", tmp_path) as shop:
        pin = shop.pin()
        with closing(sqlite3.connect(tmp_path / "cards.db")) as connection, connection:
            connection.execute(
                "UPDATE catalogue SET content = (SELECT content FROM catalogue "
                "WHERE name = 'acme-cost') WHERE name = 'retail'"
            )
        with pytest.raises(RowAltered, match="retail"):
            shop.second().authorize(pin=pin, to=UK, call_id="c")


def test_a_record_altered_by_hand_is_refused(tmp_path: Path):
    with open_shop("sqlite", tmp_path) as shop:
        handle = shop.grant().handle
        shop.bill.settle(handle, talk_ms=60_000)
        with closing(sqlite3.connect(tmp_path / "cards.db")) as connection, connection:
            connection.execute("UPDATE record SET price = 1")
        for act in (
            lambda: shop.bill.settle(handle, talk_ms=60_000),
            lambda: list(shop.bill.records()),
            shop.bill.reports.margins,
        ):
            with pytest.raises(RowAltered, match="c1"):
                act()
