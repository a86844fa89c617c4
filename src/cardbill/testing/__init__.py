"""What tests of cardbill, of stores and of applications need; ships in the wheel.

For the tests of an application: a clock, PINs and ids from a seed, a whole business in one
line, stores that fail on purpose, strategies for Hypothesis and fixtures for pytest. The
store in memory, :class:`cardbill.storage.memory.MemoryStorage`, is the fake of a database:
the conformance suite holds every other store to it. For the author of a store:
:class:`StorageContract`, which proves one.

pytest and Hypothesis (``cardbill[testing]``) are imported when what needs them is used.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as typing's, without the time it takes to import typing
if TYPE_CHECKING:
    from typing import Any

    from cardbill.storage.memory import MemoryStorage
    from cardbill.testing import fixtures, strategies
    from cardbill.testing.builders import Shop, make_batch, make_deck, make_plan, open_shop
    from cardbill.testing.clock import START, FakeClock
    from cardbill.testing.conformance import StorageContract, Wire
    from cardbill.testing.faults import Fault, Faults, faulty
    from cardbill.testing.histories import History, Terms
    from cardbill.testing.seeds import CallIds, SeededNumbers, seeded_keyring

# Where each name lives; a module is imported when a name of it is first used.
_HOMES = {
    "cardbill.storage.memory": ("MemoryStorage",),
    "cardbill.testing.builders": ("Shop", "make_batch", "make_deck", "make_plan", "open_shop"),
    "cardbill.testing.clock": ("START", "FakeClock"),
    "cardbill.testing.conformance": ("StorageContract", "Wire"),
    "cardbill.testing.faults": ("Fault", "Faults", "faulty"),
    "cardbill.testing.histories": ("History", "Terms"),
    "cardbill.testing.seeds": ("CallIds", "SeededNumbers", "seeded_keyring"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}
_MODULES = ("fixtures", "strategies")

__all__ = [
    "START",
    "CallIds",
    "FakeClock",
    "Fault",
    "Faults",
    "History",
    "MemoryStorage",
    "SeededNumbers",
    "Shop",
    "StorageContract",
    "Terms",
    "Wire",
    "faulty",
    "fixtures",
    "make_batch",
    "make_deck",
    "make_plan",
    "open_shop",
    "seeded_keyring",
    "strategies",
]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _MODULES:
        return import_module(f"cardbill.testing.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'cardbill.testing' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOME[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
