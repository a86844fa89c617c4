"""Asynchronous stores keep the contract that synchronous ones keep, by the same tests."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from cardbill.errors import StorageClosed, VersionConflict
from cardbill.storage.aio.bridge import bridged, waited
from cardbill.storage.aio.memory import AsyncMemoryStorage
from cardbill.storage.aio.postgres import AsyncPostgresStorage
from cardbill.storage.aio.sqlite import AsyncSQLiteStorage
from cardbill.storage.aio.waiting import Waiting
from cardbill.testing.conformance.aio import AsyncStorageContract
from cardbill.testing.conformance.rows import CARD, add, deposit, new_card
from tests.aio_building import cut_short


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
