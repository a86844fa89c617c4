"""What a store says of itself, and what of the suite it leaves out, with the reason."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

import pytest

from cardbill.storage.contract import Storage
from cardbill.testing.conformance.patience import in_time


class Wire(NamedTuple):
    """How to open a store that talks to a server, so that a check can cut the line.

    Attributes:
        server: Where the server listens: (host, port), or the path of a Unix socket.
        open: Given a host and a port that stand in for the server, opens the same store.
    """

    server: tuple[str, int] | str
    open: Callable[[str, int], Storage]


def checks(contract: type) -> dict[str, str]:
    """Return each check of a contract with its capability: the part that it comes from.

    A capability is named as the part's class is: ``races`` are the checks of `Races`. What a
    store's own class adds is no check of the contract.
    """
    found: dict[str, str] = {}
    for part in contract.__mro__:
        if part.__module__.startswith(__package__ or ""):
            for name, value in vars(part).items():
                if name.startswith("test_") and inspect.isfunction(value):
                    found[name] = part.__name__.lower()
    return found


class Declared:
    """The attributes that a store's class sets."""

    durable = True
    shared = True
    rounds = 1
    patience = 100.0
    omits: ClassVar[Mapping[str, str]] = MappingProxyType({})

    def __init_subclass__(cls, **options: Any) -> None:
        """Add what a class omits to what those above it do; refuse what cannot be meant.

        Raises:
            TypeError: There is no such check or part, or no reason.
        """
        super().__init_subclass__(**options)
        cls.omits = {
            name: reason
            for each in reversed(cls.__mro__)
            for name, reason in vars(each).get("omits", {}).items()
        }
        known = checks(cls)
        for name, reason in cls.omits.items():
            if name not in {*known, *known.values()}:
                raise TypeError(f"{cls.__name__}.omits: there is no check or part {name!r}")
            if not str(reason).strip():
                raise TypeError(f"{cls.__name__}.omits: {name!r} needs a reason")

    @pytest.fixture(autouse=True)
    def _omitted(self, request: pytest.FixtureRequest) -> None:
        """Leave out what was declared."""
        name = request.function.__name__
        reason = self.omits.get(name) or self.omits.get(checks(type(self)).get(name, ""))
        if reason:
            pytest.skip(reason)

    @pytest.fixture(autouse=True)
    def _ends(self) -> Iterator[None]:
        """Fail when a check waits for what never comes."""
        with in_time(self.patience * self.rounds):
            yield
