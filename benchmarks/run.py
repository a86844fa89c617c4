"""Measure cardbill against floors, in one run: `make bench`.

Each figure is a ratio to a floor that does the least such work could take, both timed in
alternating rounds on the same machine; medians are printed. Absolute times are only good
for this machine and this minute.
"""

import hashlib
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import count
from pathlib import Path

import postgres
from moneyed import USD, Money

import cardbill
from cardbill import Batch, Carrier, Deck, DeckRow, Engine, Grant, Keyring, Plan, price, rate

ROUNDS = 7
CALLS = 300
PREFIXES = (30_000, 1_000_000)
LOOKUPS = 20_000
PINS, PIN_ROUNDS = 100_000, 3
START = datetime(2026, 1, 1, tzinfo=UTC)


def main() -> None:
    print(f"Python {sys.version.split()[0]}, SQLite {sqlite3.sqlite_version}; medians of {ROUNDS}")
    with tempfile.TemporaryDirectory() as folder:
        calls(Path(folder))
        attempts(Path(folder))
        pins(Path(folder))
    postgres.measure(open_bill, caller)
    lookups()
    imports()


def compare(
    what: str,
    unit: str,
    ours: Callable[[], None],
    floor: Callable[[], None],
    per: int,
    *,
    rounds: int = ROUNDS,
) -> None:
    """Time both in turn and print the ratio of each pair's times, as a median."""
    pairs = []
    for _ in range(rounds):
        times = []
        for work in (ours, floor):
            begun = time.perf_counter_ns()
            work()
            times.append((time.perf_counter_ns() - begun) // per)
        pairs.append(times)
    ours_ns = statistics.median(pair[0] for pair in pairs)
    floor_ns = statistics.median(pair[1] for pair in pairs)
    ratio = statistics.median(pair[0] / pair[1] for pair in pairs)
    print(
        f"{what:34} {ours_ns / 1000:9.1f} us/{unit:6} floor {floor_ns / 1000:9.1f}"
        f"  ratio {ratio:6.2f}"
    )


def open_bill(url: str, quantity: int) -> Engine:
    bill = cardbill.open(url, keyring=Keyring.generate())
    uk = DeckRow(prefix="44", destination="UK", rate=rate("0.001"))
    bill.decks.publish("retail", Deck.compile([uk], currency=USD))
    bill.carriers.publish(Carrier(name="acme", deck="retail"))
    bill.plans.publish(Plan(name="plan", deck="retail", currency=USD, max_call_seconds=3600))
    terms = Batch(name="B", face_value=Money(1_000, USD), quantity=quantity, plan="plan")
    bill.batches.create(terms)
    return bill


def calls(folder: Path) -> None:
    """Authorize + settle: two commits; the floor writes the same rows by hand."""
    for synchronous in ("normal", "full"):
        path = folder / f"calls-{synchronous}.db"
        bill = open_bill(f"sqlite:///{path}?synchronous={synchronous}", quantity=100)
        bill.batches.generate_pins("B")
        pin = bill.batches.reveal("B/1", actor="bench", reason="bench")
        floor = Floor(folder / f"floor-{synchronous}.db", synchronous)
        compare(f"authorize + settle, {synchronous}", "call", caller(bill, pin), floor.run, CALLS)
        bill.close()
    bill = open_bill("memory:", quantity=100)
    bill.batches.generate_pins("B")
    work = caller(bill, bill.batches.reveal("B/1", actor="bench", reason="bench"))
    begun = time.perf_counter_ns()
    for _ in range(ROUNDS):
        work()
    spent = (time.perf_counter_ns() - begun) // (ROUNDS * CALLS)
    print(f"{'our own Python, memory store':34} {spent / 1000:9.1f} us/call")


def caller(bill: Engine, pin: str, calls: int = CALLS) -> Callable[[], None]:
    """Return the work of one caller who makes so many calls, one after the other."""
    admitted = bill.authenticate(pin=pin)
    numbers = count()

    def work() -> None:
        for _ in range(calls):
            grant = bill.authorize(admitted, to="011442071234567", call_id=f"c{next(numbers)}")
            assert isinstance(grant, Grant)
            bill.settle(grant.handle, talk_ms=61_000)

    return work


def attempts(folder: Path) -> None:
    """Authentication with the right PIN, its attempt counted; the floor counts none."""
    for synchronous in ("normal", "full"):
        path = folder / f"attempts-{synchronous}.db"
        with open_bill(f"sqlite:///{path}?synchronous={synchronous}", quantity=100) as bill:
            bill.batches.generate_pins("B")
            pin = bill.batches.reveal("B/1", actor="bench", reason="bench")
            unlimited = Engine(bill.storage, bill._keyring, throttle=None)  # noqa: SLF001

            def run(engine: Engine, pin: str = pin) -> None:
                for _ in range(CALLS):
                    assert engine.authenticate(pin=pin, ani="+13055551234").authenticated

            compare(
                f"authenticate, {synchronous}",
                "PIN",
                partial(run, bill),
                partial(run, unlimited),
                CALLS,
            )


class Floor:
    """The same rows with the same durability, written by SQL alone."""

    def __init__(self, path: Path, synchronous: str) -> None:
        self.db = sqlite3.connect(path, isolation_level=None)
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute(f"PRAGMA synchronous = {synchronous}")
        self.db.execute("CREATE TABLE card (id TEXT PRIMARY KEY, version INT, state BLOB)")
        self.db.execute(
            "CREATE TABLE entry (card TEXT, seq INT, amount INT, PRIMARY KEY (card, seq))"
            " WITHOUT ROWID"
        )
        self.db.execute(
            "CREATE TABLE record (card TEXT, key TEXT, call TEXT, detail BLOB,"
            " PRIMARY KEY (card, key)) WITHOUT ROWID"
        )
        self.db.execute("CREATE INDEX record_call ON record (call)")
        self.db.execute("INSERT INTO card VALUES ('B/1', 1, x'00')")
        self.seq = 0

    def run(self) -> None:
        state, execute = b"x" * 600, self.db.execute
        for _ in range(CALLS):
            self.seq += 1
            key = f"call:{self.seq}"
            for settling in (False, True):
                execute("BEGIN IMMEDIATE")
                execute("SELECT * FROM card WHERE id = ?", ("B/1",)).fetchone()
                execute("SELECT * FROM record WHERE card = ? AND key = ?", ("B/1", key)).fetchone()
                execute(
                    "UPDATE card SET version = version + 1, state = ? WHERE id = ?", (state, "B/1")
                )
                if settling:
                    execute("INSERT INTO entry VALUES (?, ?, ?)", ("B/1", self.seq, -100))
                    execute("INSERT INTO record VALUES (?, ?, ?, ?)", ("B/1", key, key, state))
                execute("COMMIT")


def pins(folder: Path) -> None:
    """PINs generated and stored; the floor inserts as many rows of that size."""
    made = count()

    def ours() -> None:
        path = folder / f"pins-{next(made)}.db"
        with open_bill(f"sqlite:///{path}", quantity=PINS) as bill:
            bill.batches.generate_pins("B")

    def floor() -> None:
        db = sqlite3.connect(folder / f"floor-{next(made)}.db", isolation_level=None)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("CREATE TABLE card (id TEXT PRIMARY KEY, serial INT UNIQUE, state BLOB)")
        db.execute("CREATE TABLE credential (token BLOB PRIMARY KEY, card TEXT) WITHOUT ROWID")
        db.execute("CREATE INDEX credential_card ON credential (card)")
        db.execute("BEGIN IMMEDIATE")
        state = b"x" * 150
        db.executemany(
            "INSERT INTO card VALUES (?, ?, ?)", ((f"B/{i}", i, state) for i in range(PINS))
        )
        tokens = (hashlib.sha256(b"%d" % i).digest() for i in range(PINS))
        db.executemany(
            "INSERT INTO credential VALUES (?, ?)", ((t, f"B/{i}") for i, t in enumerate(tokens))
        )
        db.execute("COMMIT")
        db.close()

    what = f"{PINS:,} PINs made and stored"
    compare(what, "PIN", ours, floor, PINS, rounds=PIN_ROUNDS)


def lookups() -> None:
    """Longest prefix, and the price of the call; the floor is one bisection in a plain list."""
    for size in PREFIXES:
        prefixes = some_prefixes(size)
        terms = [rate(f"0.0{n}", increments=f"{6 * n}/6") for n in range(1, 10)]
        rows = (DeckRow(prefix=p, rate=terms[i % len(terms)]) for i, p in enumerate(prefixes))
        begun = time.perf_counter_ns()
        deck = Deck.compile(rows, currency=USD)
        spent = (time.perf_counter_ns() - begun) // 10**6
        content = deck.to_bytes()
        begun = time.perf_counter_ns()
        deck = Deck.from_bytes(content)
        loaded = (time.perf_counter_ns() - begun) // 1000
        print(
            f"{f'a deck of {size:,} prefixes':34} {spent:9,} ms to compile, {loaded:,} us to load, "
            f"{len(content) / size:.0f} bytes a prefix"
        )
        starts = [int(prefix.ljust(15, "0")) for prefix in prefixes]
        numbers = [f"{prefix}{i:010d}"[:12] for i, prefix in enumerate(prefixes)]
        numbers = numbers[:: max(1, size // LOOKUPS)][:LOOKUPS]
        matches = [deck.match(number, START) for number in numbers]
        assert all(matches)
        compare(
            f"look-up in {size:,} prefixes",
            "number",
            partial(look_up, deck, numbers),
            partial(bisect, starts, numbers),
            len(numbers),
        )
        compare(
            "and the price of the call",
            "number",
            partial(look_up_and_price, deck, numbers),
            partial(bisect, starts, numbers),
            len(numbers),
        )


def some_prefixes(size: int) -> list[str]:
    """Return that many prefixes, shorter ones around longer ones, in order."""
    found: set[str] = set()
    for number in count():
        digits = f"{44 + number % 50}{number * 7_919 % 10_000_000:07d}"
        found.update((digits[:5], digits[:7], digits[: 8 + number % 2]))
        if len(found) >= size:
            return sorted(found)[:size]
    raise AssertionError


def look_up(deck: Deck, numbers: Sequence[str]) -> None:
    for number in numbers:
        deck.match(number, START)


def look_up_and_price(deck: Deck, numbers: Sequence[str]) -> None:
    for number in numbers:
        match = deck.match(number, START)
        assert match is not None
        price(match.rate, 371)


def bisect(starts: Sequence[int], numbers: Sequence[str]) -> None:
    for number in numbers:
        bisect_right(starts, int(number.ljust(15, "0")))


def imports() -> None:
    """`import cardbill` and its engine; the floor imports what it depends on."""

    def run(code: str) -> Callable[[], None]:
        return lambda: check([sys.executable, "-c", code])

    dependencies = "import attrs, json, sqlite3, zoneinfo, hmac, secrets, csv, urllib.parse"
    compare("import cardbill", "import", run("import cardbill"), run("pass"), 1)
    compare(
        "and cardbill.open", "import", run("import cardbill; cardbill.open"), run(dependencies), 1
    )


def check(command: Sequence[str]) -> None:
    subprocess.run(command, check=True)  # noqa: S603  # our own interpreter


if __name__ == "__main__":
    main()
