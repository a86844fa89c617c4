"""pytest fixtures for applications that embed cardbill.

Put ``pytest_plugins = ["cardbill.testing.fixtures"]`` into the conftest.py at the top of
your tests. Each test gets a business of its own, in memory. Override a fixture under the
same name to change what the others are made of, say ``cardbill_terms`` for another plan.
Nothing but pytest is imported until a fixture is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from cardbill.engine import Engine
    from cardbill.keyring import Keyring
    from cardbill.storage.contract import Storage
    from cardbill.testing.builders import Shop
    from cardbill.testing.clock import FakeClock
    from cardbill.testing.faults import Faults
    from cardbill.testing.histories import Terms

__all__ = [
    "cardbill_clock",
    "cardbill_engine",
    "cardbill_faults",
    "cardbill_keyring",
    "cardbill_shop",
    "cardbill_storage",
    "cardbill_terms",
]


@pytest.fixture
def cardbill_clock() -> FakeClock:
    """A clock that stands still until the test moves it."""
    from cardbill.testing.clock import FakeClock

    return FakeClock()


@pytest.fixture(scope="session")
def cardbill_keyring() -> Keyring:
    """Keys, the same ones in every run."""
    from cardbill.testing.seeds import seeded_keyring

    return seeded_keyring()


@pytest.fixture
def cardbill_faults() -> Faults:
    """What goes wrong with `cardbill_storage`: nothing, until the test says so."""
    from cardbill.testing.faults import Faults

    return Faults()


@pytest.fixture
def cardbill_storage(cardbill_faults: Faults, cardbill_clock: FakeClock) -> Iterator[Storage]:
    """An empty store in memory that fails as `cardbill_faults` says."""
    from cardbill.storage.memory import MemoryStorage
    from cardbill.testing.faults import faulty

    storage = faulty(MemoryStorage(), cardbill_faults, sleep=cardbill_clock.sleep)
    yield storage
    storage.close()


@pytest.fixture
def cardbill_engine(
    cardbill_storage: Storage, cardbill_keyring: Keyring, cardbill_clock: FakeClock
) -> Engine:
    """An engine without anything published; its PINs come from a seed."""
    from cardbill.engine import Engine
    from cardbill.testing.seeds import SeededNumbers

    return Engine(cardbill_storage, cardbill_keyring, clock=cardbill_clock, below=SeededNumbers())


@pytest.fixture
def cardbill_terms() -> Terms:
    """What `cardbill_shop` sells: the usual; the one to override."""
    from cardbill.testing.histories import Terms

    return Terms()


@pytest.fixture
def cardbill_shop(
    cardbill_terms: Terms,
    cardbill_storage: Storage,
    cardbill_keyring: Keyring,
    cardbill_clock: FakeClock,
) -> Shop:
    """A business that is open, with PINs made: see :class:`cardbill.testing.Shop`."""
    return cardbill_terms.open(cardbill_storage, keyring=cardbill_keyring, clock=cardbill_clock)
