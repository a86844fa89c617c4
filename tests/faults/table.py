"""Which check must catch which fault, and how a check is run on a store that has one."""

import inspect
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import pytest

from cardbill.errors import CardbillError
from cardbill.testing.conformance import StorageContract
from cardbill.testing.conformance.crew import Crew
from cardbill.testing.conformance.declaring import checks
from cardbill.testing.conformance.processes import CROWD
from cardbill.testing.conformance.proxy import HOST, Proxy
from tests.faults.filed import Filed
from tests.faults.sound import Remembers, TakenApart
from tests.faults.wired import Server, Wired

WINDOW = 0.001
"""Seconds that a fault which is a race gives others, so that one run of a check meets it."""


class Caught(NamedTuple):
    """How a fault must show: each check that fails, and by what errors."""

    checks: tuple[str, ...]
    errors: tuple[type[BaseException], ...]


TOLD = (AssertionError, pytest.fail.Exception, CardbillError)
"""How a check fails of a store. Anything else is an accident, unless a fault names it."""
FAULTS: dict[type[Any], Caught] = {}
SOUND: dict[type[Any], set[str]] = {
    TakenApart: set(checks(StorageContract).values()),
    Remembers: set(checks(StorageContract).values()),
    Filed: {"steps", "contents", "processes", "crashes"},
    Wired: {"cuts"},
}
"""Stores without a fault, and the parts of the contract that they are held to."""


def caught_by(*names: str, errors: tuple[type[BaseException], ...] = ()) -> Callable[[type], type]:
    """Note a planted fault, with the checks that must catch it, each in one run."""
    assert set(names) <= checks(StorageContract).keys(), names

    def note(fault: type) -> type:
        FAULTS[fault] = Caught(names, (*TOLD, *errors))
        return fault

    return note


def of_parts(parts: set[str]) -> list[str]:
    """The checks of those parts."""
    return [name for name, part in checks(StorageContract).items() if part in parts]


def failures(store_class, names=None) -> dict[str, BaseException]:
    """The error of each of the suite's checks that fails on such a store, by its name."""
    found: dict[str, BaseException] = {}
    for name in names or checks(StorageContract):
        with placed(store_class) as place:
            test = getattr(place.suite, name)
            try:
                test(**{each: getattr(place, each) for each in inspect.signature(test).parameters})
            except pytest.skip.Exception:
                pass
            except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001  # it failed
                found[name] = error
    return found


@contextmanager
def placed(store_class) -> Iterator["Place"]:
    """An empty store of that class, with what the suite's fixtures give; made when asked for."""
    kinds = {Filed: OnDisk, Wired: OnTheLine}
    kind = next((kinds[base] for base in store_class.__mro__ if base in kinds), InMemory)
    with ExitStack() as stack:
        yield kind(store_class, stack)


class InMemory:
    """Of one process: both handles are the same object."""

    says: ClassVar[dict[str, Any]] = {"durable": False, "shared": False}

    def __init__(self, store_class: Any, stack: ExitStack) -> None:
        self.suite: Any = type("Suite", (StorageContract,), self.says)()
        self.stack = stack
        self.open_store: Callable[[], Any] = self.opener(store_class)

    def opener(self, store_class: Any) -> Callable[[], Any]:
        store = store_class()
        return lambda: store

    def opened(self) -> Any:
        return self.stack.enter_context(closing(self.open_store()))

    store = other = property(opened)

    @property
    def doomed(self) -> Crew:
        if not self.suite.shared:
            pytest.skip("processes cannot share it")
        crew = Crew()
        self.stack.callback(crew.dismiss)
        return crew

    @property
    def crew(self) -> Crew:
        if not self.suite.shared:
            pytest.skip("processes cannot share it")
        self.stack.callback(_hear_out, _CREW)
        return _CREW

    @property
    def together(self) -> Callable[..., Any]:
        crew = self.crew
        return lambda work: crew.rush(self.open_store, work, [(n,) for n in range(CROWD)])

    @property
    def proxy(self) -> Any:
        pytest.skip("there is no line to cut")


class OnDisk(InMemory):
    """A file in a folder of its own."""

    says: ClassVar = {"durable": True, "shared": True}

    def opener(self, store_class: Any) -> Callable[[], Any]:
        folder = self.stack.enter_context(tempfile.TemporaryDirectory())
        return partial(store_class, Path(folder) / "cards")


class OnTheLine(InMemory):
    """A server in this process; the handle `far` speaks to it through the proxy."""

    says: ClassVar = {"durable": False, "shared": False}

    def opener(self, store_class: Any) -> Callable[[], Any]:
        self.server = self.stack.enter_context(Server())
        self.store_class = store_class
        self.line = self.stack.enter_context(Proxy((HOST, self.server.port)))
        return partial(store_class, HOST, self.server.port)

    @property
    def proxy(self) -> Any:
        return self.line

    @property
    def far(self) -> Any:
        return self.stack.enter_context(closing(self.store_class(HOST, self.line.port)))


Place = InMemory


_CREW = Crew()
"""Processes that serve one store after the other, as they are slow to start."""


def _hear_out(crew: Crew) -> None:
    """Wait until all have answered: a check that failed did not hear the others."""
    for hand in crew._hands:
        while hand.busy:
            try:
                hand.hear()
            except AssertionError:  # it failed as well
                continue
            except (EOFError, OSError):  # it is gone
                crew.dismiss()
                return
