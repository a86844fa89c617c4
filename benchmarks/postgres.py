"""Measure cardbill on PostgreSQL against the same rows written by hand-made SQL.

All go over connections of the same kind to the same server with the same durability: a server
of the tests' own whose commits wait for the disk, or the one that CARDBILL_TEST_POSTGRES names.

By hand nothing is decided: no rate is looked up, nothing priced, encoded or sealed. What that
takes is shown by a second floor, that does the same SQL and cardbill's own decisions, in memory.
"""

import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count, repeat
from pathlib import Path
from typing import Any

from cardbill import Engine, Grant

ROUNDS = 5
CALLS = 150
THREADS = (1, 2, 4, 8, 16)

# The rows of authorize and settle: what cardbill stores of such a call, by size and place.
TABLES = """
CREATE TABLE card (id text PRIMARY KEY, version bigint, balance bigint, held bigint, state bytea,
    CHECK (held >= 0 AND balance >= held)) WITH (fillfactor = 80);
CREATE TABLE entry (card text, seq bigint, at bigint, kind text, amount bigint,
    balance_after bigint, reference text, detail bytea, PRIMARY KEY (card, seq));
CREATE TABLE record (card text, key text, batch text, call text, number text, destination text,
    carrier text, price bigint, cost bigint, detail bytea, PRIMARY KEY (card, key));
CREATE INDEX record_call ON record (call);
CREATE INDEX record_batch ON record (batch, card, key);
CREATE TABLE revision (revision bigint);
INSERT INTO revision VALUES (1);
INSERT INTO card SELECT 'B/' || n, 1, 1000000000, 0, '' FROM generate_series(1, 100) AS n;
"""
READ = (
    "SELECT card.*, record.*, revision.revision FROM card CROSS JOIN revision "
    "LEFT JOIN record ON record.card = card.id AND record.key = %s WHERE card.id = %s"
)
HOLD = "UPDATE card SET version = version + 1, held = 60, state = %s WHERE id = %s AND version = %s"
SETTLE = (
    "WITH swapped AS (UPDATE card SET version = version + 1, held = 0, balance = balance - 60, "
    "state = %s WHERE id = %s AND version = %s RETURNING id), "
    "entered AS (INSERT INTO entry SELECT id, %s, 1, 'call', -60, 1, %s, %s FROM swapped) "
    "INSERT INTO record SELECT id, %s, 'B', %s, '442071234567', 'UK', 'acme', 60, 20, %s "
    "FROM swapped"
)


def measure(
    open_bill: Callable[..., Engine], caller: Callable[[Engine, str, int], Callable[[], None]]
) -> None:
    """Print the ratio and the throughput, or why there is none.

    Args:
        open_bill: Opens an engine, by the store's address and the number of cards.
        caller: Gives the work of one who makes that many calls.
    """
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from tests import postgres_server

    try:
        databases = postgres_server.databases(durable=True)
    except postgres_server.Unavailable as missing:
        print(f"PostgreSQL: not measured: {missing}")
        return
    try:
        compare(databases, open_bill, caller)
    finally:
        postgres_server.stop()


def compare(databases: Any, open_bill: Any, caller: Any) -> None:
    """Do the same by cardbill and by hand, in turn."""
    import psycopg

    address = databases.make()
    with psycopg.connect(address) as connection:
        version = connection.info.server_version // 10_000
    print(f"PostgreSQL {version}, authorize + settle, {os.cpu_count()} processors for all")
    bill = open_bill(address, quantity=100)
    bill.batches.generate_pins("B")
    cards = [f"B/{n}" for n in range(1, max(THREADS) + 1)]
    pins = [bill.batches.reveal(card, actor="bench", reason="bench") for card in cards]
    floor_address = databases.make(empty=True)
    with psycopg.connect(floor_address, autocommit=True) as connection:
        connection.execute(TABLES)
    ours = [caller(bill, pin, CALLS) for pin in pins]
    connections = [psycopg.connect(floor_address, autocommit=True) for _ in cards]
    numbers = count(1)
    peers = list(zip(connections, cards, strict=True))
    floors = [by_hand(*peer, numbers, repeat(None)) for peer in peers]
    deciding = [by_hand(*peer, numbers, in_memory(open_bill)) for peer in peers]
    for threads in THREADS:
        works = [each[:threads] for each in (ours, floors, deciding)]
        rounds = [[timed(work) for work in works] for _ in range(ROUNDS)]
        rates = [
            CALLS * threads * 10**9 / statistics.median(of) for of in zip(*rounds, strict=True)
        ]
        alone, decided = (
            statistics.median(times[0] / times[which] for times in rounds) for which in (1, 2)
        )
        print(
            f"  {threads:2} threads {rates[0]:7,.0f} calls/s  by hand {rates[1]:7,.0f} ratio "
            f"{alone:5.2f}  by hand, and decided {rates[2]:7,.0f} ratio {decided:5.2f}"
        )
    bill.close()
    for connection in connections:
        connection.close()


def in_memory(open_bill: Callable[..., Engine]) -> Iterator[None]:
    """Decide, on a card of its own in memory, what a call asks for next: to begin, to end."""
    bill = open_bill("memory:", quantity=1)
    bill.batches.generate_pins("B")
    caller = bill.authenticate(pin=bill.batches.reveal("B/1", actor="bench", reason="bench"))
    for number in count():
        grant = bill.authorize(caller, to="011442071234567", call_id=f"c{number}")
        assert isinstance(grant, Grant)
        yield
        bill.settle(grant.handle, talk_ms=61_000)
        yield


def by_hand(
    connection: Any, card: str, numbers: Iterator[int], rules: Iterator[None]
) -> Callable[[], None]:
    """Return the work of one caller, whose calls get these numbers, deciding by these rules."""
    connection.prepare_threshold = 0
    cursor = connection.cursor(binary=True)

    def work() -> None:
        state, sealed, detail = b"x" * 470, b"x" * 17, b"x" * 280  # as cardbill has
        for _ in range(CALLS):
            number = next(numbers)
            key = f"call:{number}"
            version = cursor.execute(READ, (key, card)).fetchone()[1]
            next(rules)
            cursor.execute(HOLD, (state, card, version))
            version = cursor.execute(READ, (key, card)).fetchone()[1]
            next(rules)
            cursor.execute(SETTLE, (state, card, version, number, key, sealed, key, key, detail))
            assert cursor.rowcount == 1

    return work


def timed(works: list[Callable[[], None]]) -> int:
    """Run all at once, each in its thread; return nanoseconds."""
    with ThreadPoolExecutor(len(works)) as pool:
        begun = time.perf_counter_ns()
        for each in [pool.submit(work) for work in works]:
            each.result()
        return time.perf_counter_ns() - begun
