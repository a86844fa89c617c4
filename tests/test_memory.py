"""The memory store keeps the contract."""

import pytest

from cardbill.storage.memory import MemoryStorage
from cardbill.testing import StorageContract


class TestMemoryStorage(StorageContract):
    durable = shared = False

    @pytest.fixture
    def open_store(self):
        store = MemoryStorage()
        return lambda: store
