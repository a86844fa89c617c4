"""The memory store keeps the contract, and the suite that says so catches stores that do not."""

import pytest

from cardbill.storage.memory import MemoryStorage
from cardbill.testing.conformance import StorageContract
from tests.remembering_faults import Remembers
from tests.store_faults import FAULTS, TakenApart, failures


class TestMemoryStorage(StorageContract):
    durable = shared = False

    @pytest.fixture
    def open_store(self):
        store = MemoryStorage()
        return lambda: store


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_the_suite_catches_a_planted_fault(fault):
    assert set(failures(fault, FAULTS[fault])) == set(FAULTS[fault])


@pytest.mark.parametrize("sound", [TakenApart, Remembers])
def test_the_suite_finds_no_fault_where_none_was_planted(sound):
    assert failures(sound) == {}
