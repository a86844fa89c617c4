"""Asynchronous stores keep the contract that synchronous ones keep, by the same tests."""

import pytest

from cardbill.storage.aio.memory import AsyncMemoryStorage
from cardbill.storage.aio.postgres import AsyncPostgresStorage
from cardbill.storage.aio.sqlite import AsyncSQLiteStorage
from cardbill.testing.conformance.aio import AsyncStorageContract


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
