"""Asynchronous stores keep the contract that synchronous ones keep, by the same tests."""

import asyncio
import inspect
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, ClassVar

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from cardbill.errors import CardbillError, StorageClosed, VersionConflict
from cardbill.storage.aio.bridge import bridged, waited
from cardbill.storage.aio.memory import AsyncMemoryStorage
from cardbill.storage.aio.postgres import AsyncPostgresStorage
from cardbill.storage.aio.sqlite import AsyncSQLiteStorage
from cardbill.storage.aio.waiting import Waiting
from cardbill.storage.contract import Head
from cardbill.testing.conformance.aio import AsyncStorageContract, _Polite
from cardbill.testing.conformance.rows import CARD, add, deposit, new_card
from tests.aio_building import UnhurriedMemory, cut_short
from tests.faults import FAULTS
from tests.faults.sound import Remembers, TakenApart
from tests.faults.table import of_parts


class TestAsyncMemoryStorage(AsyncStorageContract):
    durable = False

    @pytest.fixture
    def open_async_store(self):
        store = AsyncMemoryStorage()
        return lambda: store


class TestAsyncSQLiteStorage(AsyncStorageContract):
    @pytest.fixture
    def open_async_store(self, tmp_path):
        return lambda: AsyncSQLiteStorage(tmp_path / "cards.db")


class TestAsyncPostgresStorage(AsyncStorageContract):
    @pytest.fixture
    def open_async_store(self, postgres):
        return lambda: AsyncPostgresStorage(postgres)


# -- connections of the caller's own ---------------------------------------------------------


@asynccontextmanager
async def opened_pool(address: str) -> AsyncIterator[Any]:
    # With settings that an application may well have.
    settings = {"row_factory": psycopg.rows.dict_row, "prepare_threshold": None}
    pool = AsyncConnectionPool(address, min_size=1, max_size=20, kwargs=settings, open=False)
    async with pool:
        yield pool


@pytest.mark.soak
class TestOverAPool(AsyncStorageContract):
    @pytest.fixture
    def open_async_store(self, postgres):
        held = AsyncExitStack()
        pool = self._runner.run(held.enter_async_context(opened_pool(postgres)))
        yield lambda: AsyncPostgresStorage(pool)
        self._runner.run(held.aclose())


@pytest.mark.soak
class TestOverOneConnection(AsyncStorageContract):
    omits: ClassVar = {
        **AsyncStorageContract.omits,
        "test_closing_gives_back_everything": "the connection is the caller's, and stays open",
    }

    @pytest.fixture
    def open_async_store(self, postgres):
        connections = []

        def open_store():
            connections.append(waited(psycopg.AsyncConnection.connect(postgres)))
            return AsyncPostgresStorage(connections[-1])

        yield open_store
        for connection in connections:
            self._runner.run(connection.close())


@asynccontextmanager
async def opened_connection(address: str) -> AsyncIterator[Any]:
    async with await psycopg.AsyncConnection.connect(address) as connection:
        yield connection


@pytest.mark.parametrize("give", [opened_pool, opened_connection])
def test_a_source_of_the_callers_own_stays_open(postgres, give):
    async def main():
        async with give(postgres) as source:
            store = AsyncPostgresStorage(source)
            await bridged(add, Waiting(store), new_card())
            answers = await asyncio.gather(*[store.transact(CARD, deposit) for _ in range(10)])
            assert sorted(answers) == list(range(1_001, 1_011))
            await store.close()
            with pytest.raises(StorageClosed):
                await store.view(CARD)
            again = AsyncPostgresStorage(source)
            assert (await again.view(CARD)).card.balance == 1_010
            if give is opened_connection:
                assert not source.autocommit  # as it was
                assert source.info.transaction_status is psycopg.pq.TransactionStatus.IDLE

    asyncio.run(main())


@pytest.mark.parametrize(
    ("give", "how"),
    [
        (opened_pool, "cancel"),
        (opened_pool, "late"),
        (opened_connection, "cancel"),
        (opened_connection, "late"),
    ],
)
def test_a_cancelled_step_gives_a_clean_connection_back(postgres, give, how):
    async def main():
        async with give(postgres) as source:
            store = AsyncPostgresStorage(source)
            await bridged(add, Waiting(store), new_card())
            before = 1_000
            for place in range(1, 50):
                cut = await cut_short(store.transact(CARD, deposit), place, how)
                balance = (await store.view(CARD)).card.balance
                assert balance in {before, before + 1} if cut else balance == before + 1
                assert await store.transact(CARD, deposit) == balance + 1
                before = balance + 1
                # And one that takes a transaction of several statements.
                publishing = store.publish("plan", str(place), b"", expected=0)
                cut |= await cut_short(publishing, place, how)
                assert len((await store.catalogue())[1]) in {place - 1, place}
                with suppress(VersionConflict):
                    await store.publish("plan", str(place), b"", expected=0)
                if not cut:
                    return
            raise AssertionError("a step without end")

    asyncio.run(main())


# -- the suite itself ------------------------------------------------------------------------


PARTS = {"steps", "remembered", "contents", "adding", "finding", "shelves", "attempts", "races"}
"""What deals with one store in one process."""


def failures(make, names=None):
    """The names of the suite's tests that fail on such a store."""
    found = set()
    for name in names or set(of_parts(PARTS)) - AsyncStorageContract.omits.keys():
        suite, store = AsyncStorageContract(), _Polite(make())
        suite.durable = False
        given = {"store": store, "other": store, "open_store": lambda store=store: store}
        test = getattr(suite, name)
        wanted = inspect.signature(test).parameters
        with asyncio.Runner() as suite._runner:
            try:
                test(**{argument: given[argument] for argument in wanted})
            except pytest.skip.Exception:
                pass
            except (Exception, pytest.fail.Exception):  # noqa: BLE001  # it failed, that counts
                found.add(name)
    return found


def test_the_suite_finds_no_fault_where_none_was_planted():
    for sound in (TakenApart, Remembers):
        assert failures(lambda sound=sound: AsyncMemoryStorage(sound())) == set()


# These let threads in; a store that never waits lets no task in, and has others planted below.
OF_THREADS = {
    "AddsInSight",
    "AppendsCheckedTooEarly",
    "CountsOneAfterTheOther",
    "BindsCheckedTooEarly",
    "CountsOutsideTheLock",
    "ListsAsDueWhatItAdds",
    "LocksTheSubjectOnly",
    "LooksBeforeItLocks",
    "LooksForCredentialsTooEarly",
    "LooksForIdsTooEarly",
    "LooksForTheJobTooEarly",
    "NoLock",
    "PublishesCheckedTooEarly",
    "ReadsOutsideTheLock",
    "ReadsTheRevisionLast",
    "SharesScratchSpace",
    "TornResolve",
    "TornView",
    "WritesTheBookLater",
}
PLANTED = [
    fault
    for fault, (names, _) in FAULTS.items()
    if fault.__name__ not in OF_THREADS
    and issubclass(fault, TakenApart)
    and set(names) <= set(of_parts(PARTS)) - AsyncStorageContract.omits.keys()
]


@pytest.mark.parametrize("fault", PLANTED, ids=lambda fault: fault.__name__)
def test_the_suite_catches_a_planted_fault(fault):
    names = FAULTS[fault].checks
    assert failures(lambda: AsyncMemoryStorage(fault()), names) == set(names)


class ReadsTooEarly(AsyncMemoryStorage):
    async def transact(self, card, decide, *, key=None, seen=None):
        view = await self.view(card, key)
        await asyncio.sleep(0)
        return await super().transact(card, lambda _: decide(view))


class CountsTooEarly(AsyncMemoryStorage):
    async def take_attempts(self, group, subject, decide):
        rows = {row.subject: row.state for row in await self.attempts() if row.group == group}
        tally = decide(rows.get(subject), rows.get(""))
        await asyncio.sleep(0)
        return await super().take_attempts(group, subject, lambda *_: tally)


class PublishesTooEarly(AsyncMemoryStorage):
    async def publish(self, kind, name, content, *, expected):
        heads = {head[:2]: head.version for head in (await self.catalogue())[1]}
        if heads.get((kind, name), 0) != expected:
            raise VersionConflict(name)
        await asyncio.sleep(0)
        now = {head[:2]: head.version for head in (await self.catalogue())[1]}
        await super().publish(kind, name, content, expected=now.get((kind, name), 0))
        return Head(kind, name, expected + 1)


class ViewsTwice(AsyncMemoryStorage):
    async def view(self, card, key=None):
        before = await super().view(card)
        await asyncio.sleep(0)
        return before._replace(record=(await super().view(card, key)).record)


@pytest.mark.parametrize(
    ("store", "name"),
    [
        (ReadsTooEarly, "test_no_step_is_lost"),
        (CountsTooEarly, "test_no_change_of_a_book_is_lost"),
        (PublishesTooEarly, "test_one_of_many_publishers_wins"),
        (ViewsTwice, "test_readers_see_whole_steps"),
    ],
)
def test_the_suite_catches_a_store_that_lets_other_tasks_in(store, name):
    assert failures(store, [name]) == {name}


class KeepsItsLockWhenCancelled(UnhurriedMemory):
    def __init__(self):
        super().__init__()
        self.pen = asyncio.Lock()

    async def transact(self, card, decide, *, key=None, seen=None):
        await self.pen.acquire()
        answer = await super().transact(card, decide, key=key)
        self.pen.release()
        return answer


class WritesEntriesLater(UnhurriedMemory):
    """Two transactions for one step: between them it waits, and may be cancelled."""

    async def transact(self, card, decide, *, key=None, seen=None):
        steps = []

        def first(view):
            steps.append(decide(view))
            return steps[-1]._replace(entries=())

        answer = await super().transact(card, first, key=key)
        self._store._entries.setdefault(card, []).extend(steps[-1].entries)
        return answer


@pytest.mark.parametrize("store", [KeepsItsLockWhenCancelled, WritesEntriesLater])
def test_the_suite_catches_a_store_that_cannot_be_cancelled(store, monkeypatch):
    monkeypatch.setattr("cardbill.testing.conformance.aio._PATIENCE", 0.2)
    suite = AsyncStorageContract()
    with (
        asyncio.Runner() as suite._runner,
        pytest.raises((TimeoutError, AssertionError, CardbillError)),
    ):
        suite.test_a_cancelled_step_is_whole_or_nothing(store)


class Bridging(UnhurriedMemory):
    async def _run(self, work):
        await asyncio.sleep(0)
        return await bridged(work, self._store)


def test_what_the_caller_gives_may_ask_the_store_where_it_is_called_by_the_bridge():
    asking = ["test_a_credential_in_use_is_drawn_again", "test_a_job_is_approved_before_it_is_seen"]
    assert failures(Bridging, asking) == set()
    assert failures(UnhurriedMemory, asking) == set(asking)
