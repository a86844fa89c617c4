"""Steps on PostgreSQL: few round trips, and rivals who wait for each other and lose nothing."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cardbill.errors import StorageUnavailable
from cardbill.storage.contract import CredentialRow, NewCard, Step, Tally
from cardbill.testing.conformance.rows import (
    CARD,
    add,
    card_row,
    change,
    deposit,
    entry_row,
    kept,
    new_card,
    record_row,
    together,
)
from tests.building import BARRED, UK, open_shop

pytest.importorskip("psycopg", reason="the PostgreSQL store needs psycopg")

from cardbill.storage.postgres import PostgresStorage  # needs psycopg
from cardbill.storage.postgres_adding import CHUNK  # as above
from tests.postgres_looks import connected, count, statements  # as above


@pytest.fixture
def store(postgres: str) -> Iterator[PostgresStorage]:
    """A store with one card."""
    with closing(PostgresStorage(postgres)) as store:
        add(store, new_card())
        yield store


# -- what a call costs -------------------------------------------------------------------------


def test_a_call_takes_few_round_trips(tmp_path: Path, monkeypatch):
    with open_shop("postgres", tmp_path) as shop:
        bill, pin = shop.second(throttle=None), shop.pin()
        for engine in (bill, shop.bill):
            shop.bill = engine
            engine.settle(shop.grant(f"warm-{id(engine)}").handle, talk_ms=1_000)
        with statements(monkeypatch) as sent:

            def trips(work: Callable[[], Any]) -> tuple[int, Any]:
                del sent[:]
                answer = work()
                return len(sent), answer

            count, caller = trips(lambda: bill.authenticate(pin=pin))
            assert count == 1, sent  # whose token, and how the card stands
            count, grant = trips(lambda: bill.authorize(caller, to=UK, call_id="c1"))
            assert grant.granted
            assert count == 1, sent  # the card as it was just read, if it still is
            count, record = trips(lambda: bill.settle(grant.handle, talk_ms=61_000))
            assert not record.replayed
            assert count == 1, sent  # the card as this process left it
            count, record = trips(lambda: bill.settle(grant.handle, talk_ms=61_000))
            assert record.replayed
            assert count == 1, sent  # what was done before changes nothing
            count, grant = trips(lambda: bill.authorize(pin=pin, to=UK, call_id="c2"))
            assert grant.granted
            assert count == 2, sent
            count, denied = trips(lambda: bill.authorize(caller, to=BARRED, call_id="c3"))
            assert not denied.granted
            assert count == 1, sent
            count, caller = trips(lambda: shop.bill.authenticate(pin=pin, ani="+13055551234"))
            assert count == 4, sent  # an attempt counted, and given back without a look


def test_attempts_that_others_counted_since_are_counted(store):
    with closing(PostgresStorage(store._connections._address)) as other:
        for counted in range(1, 7):
            handle = other if counted % 3 == 0 else store
            assert handle.take_attempts(3, "a", count) == counted


def test_a_step_that_changes_nothing_writes_nothing(store, postgres):
    with connected(postgres) as connection:
        before = connection.execute("SELECT xmin, ctid FROM cardbill.card").fetchall()
        store.transact(CARD, Step)
        store.take_attempts(3, "a", lambda *_: Tally(None, None))
        assert connection.execute("SELECT xmin, ctid FROM cardbill.card").fetchall() == before
        assert connection.execute("SELECT sum(version) FROM cardbill.attempt_group").fetchone() == (
            0,
        )


FILL = """
    INSERT INTO cardbill.entry SELECT id, 7, 1, 'call', -1, 1, 'call:1', '' FROM cardbill.card;
    INSERT INTO cardbill.record
    SELECT id, 'call:2', 1, batch, 'settled', 1, 1, '2', '', '', NULL, 1, 1, 0, 0, ''
    FROM cardbill.card;
    INSERT INTO cardbill.attempt SELECT serial % 256, id, 'state', 9 FROM cardbill.card;
    ANALYZE;
"""


def test_every_hot_statement_is_one_look_up_in_each_index(store, postgres, monkeypatch):
    """And names the card or the token that it is about, so that one node has all of it."""
    add(store, *[new_card(serial) for serial in range(2, 3_000)])
    with statements(monkeypatch) as sent:
        store.resolve("pin", [b"SUMMER/1"])
        store.transact(CARD, change(state=b"x"), key="call:1")
        store.transact(CARD, change(entry_row(), record_row()))
        store.transact(CARD, change(state=b"y"), key="call:2", seen=store.view(CARD))
        rows = entry_row(seq=2), record_row()
        store.transact(CARD, change(*rows), key="call:2", seen=store.view(CARD))
        store.transact(CARD, change(*[entry_row(seq=seq) for seq in range(8, 18)]))
        store.take_attempts(3, "a", count)
        store.take_attempts(3, "a", lambda *_: Tally(None, None))
    hot = list(dict.fromkeys(sent))
    assert len(hot) == 10, hot
    with connected(postgres) as connection:
        connection.execute(FILL)
        for query in hot:
            numbered = query.split("%s")
            text = "".join(f"{part}${n}" for n, part in enumerate(numbered[:-1], start=1))
            connection.execute(f"PREPARE hot AS {text + numbered[-1]}")
            connection.execute("SET plan_cache_mode = force_generic_plan")
            nothing = ", ".join(["NULL"] * (len(numbered) - 1))
            lines = connection.execute(f"EXPLAIN EXECUTE hot({nothing})").fetchall()
            plan = "\n".join(line for (line,) in lines)
            connection.execute("DEALLOCATE hot")
            # Tables of few rows, one for all or one for each group of attempts, may be read whole.
            tables = [f"Seq Scan on {each} " for each in ("card", "entry", "record", "attempt")]
            for wide in (*tables, "Seq Scan on credential", "Bitmap", "Hash", "Merge"):
                assert wide not in plan, plan
            for condition in [line for line in plan.splitlines() if "Index Cond" in line]:
                assert any(key in condition for key in ("id = ", "card = ", "token = ", "grp = "))


# -- rivals ------------------------------------------------------------------------------------


def test_a_card_that_many_want_at_once_gets_on(store, monkeypatch):
    """After one conflict a step waits in the card's own queue: nobody tries again and again."""
    with statements(monkeypatch) as sent:
        together(*[partial(store.transact, CARD, deposit)] * 16)
    assert store.view(CARD).card.balance == 1_016
    swaps = [query for query in sent if "UPDATE" in query and "swapped" in query]
    assert len(swaps) <= 16 * 2


def test_a_step_waits_for_a_lock_no_longer_than_it_may(postgres, store):
    with closing(PostgresStorage(postgres, timeout=1)) as impatient, connected(postgres) as other:
        other.execute("BEGIN")
        other.execute("SELECT 1 FROM cardbill.card FOR UPDATE")
        begun = time.monotonic()
        with pytest.raises(StorageUnavailable, match="nothing was done") as caught:
            impatient.transact(CARD, deposit)
        assert not caught.value.outcome_unknown
        assert 0.9 < time.monotonic() - begun < 20
        assert kept(impatient) == (card_row(), [], [])  # who only reads does not wait
        other.execute("ROLLBACK")
        assert impatient.transact(CARD, deposit) == 1_001


def test_more_threads_than_connections_wait_for_their_turn(postgres):
    with closing(PostgresStorage(postgres, connections=2)) as store:
        add(store, new_card())
        together(*[partial(store.transact, CARD, deposit)] * 12)
        assert store.view(CARD).card.balance == 1_012
        with connected(postgres) as other:
            (open_ones,) = other.execute(
                "SELECT count(*) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            ).fetchone()
            assert open_ones <= 2


def test_who_waits_for_a_connection_in_vain_is_told(postgres):
    entered, leave = threading.Event(), threading.Event()

    def slowly(view):
        entered.set()
        leave.wait()
        return deposit(view)

    with closing(PostgresStorage(postgres, timeout=1, connections=1)) as store:
        add(store, new_card())
        thread = threading.Thread(target=store.transact, args=(CARD, slowly))
        thread.start()
        entered.wait()
        with pytest.raises(StorageUnavailable, match="in use"):
            store.view(CARD)
        leave.set()
        thread.join()
        assert store.view(CARD).card.balance == 1_001


def test_credentials_taken_while_a_job_moves_in_are_drawn_again(store: PostgresStorage):
    """Two jobs that draw the same: each keeps what it got first, and neither waits for ever."""
    half = threading.Barrier(2)

    def offer(batch: str) -> Iterator[NewCard]:
        for serial in range(1, CHUNK + 2):
            if serial > CHUNK:
                half.wait()  # both have staged as many
            yield new_card(serial, batch, token=b"same %d" % (serial % 20))

    def redraw(new: NewCard) -> NewCard:
        token = new.credential.token + new.card.id.encode()
        return new._replace(credential=new.credential._replace(token=token))

    def work(batch: str) -> int:
        return store.add_cards(batch, offer(batch), redraw=redraw)

    assert together(partial(work, "A"), partial(work, "B")) == [CHUNK + 1] * 2
    found = [
        row.token
        for batch in "AB"
        for row in store.credentials([f"{batch}/{serial}" for serial in range(1, CHUNK + 2)])
    ]
    assert len(set(found)) == len(found) == 2 * CHUNK + 2
    assert {b"same %d" % number for number in range(20)} < set(found)


def test_of_two_jobs_by_one_name_the_cards_of_one_are_added(store):
    """Also where neither stands in the other's way."""
    half = threading.Barrier(2)

    def offer(batch: str) -> Iterator[NewCard]:
        for serial in range(1, CHUNK + 2):
            if serial > CHUNK:
                half.wait()
            yield new_card(serial, batch)

    def work(batch: str) -> int:
        return int(store.add_cards("job", offer(batch)))

    assert together(partial(work, "A"), partial(work, "B")) == [CHUNK + 1] * 2
    assert store.count_cards() == CHUNK + 2


def test_calls_go_on_while_cards_are_added(store):
    """Nothing a job does before its end, and nothing at its end, stands in a call's way."""

    def offer() -> Iterator[NewCard]:
        for serial in range(2, 2_002):
            if serial % 500 == 0:
                store.transact(CARD, deposit)
            yield new_card(serial)

    def approve(_: int) -> None:
        assert store.count_cards() == 1
        store.transact(CARD, deposit)
        assert store.bind(CredentialRow("ani", b"x", CARD, None), expected=None)

    assert store.add_cards("job", offer(), approve=approve) == 2_000
    assert store.view(CARD).card.balance == 1_005
