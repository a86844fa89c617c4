"""A store that is slow or fails when a test says so, around one that works.

What a network does to a database is one of three things: the request never arrives and the
client knows it; it never arrives and the client cannot know; or it is done and the answer is
lost. The last two look alike to whoever called, and an application is right only if it does
the right thing after both.
"""

from __future__ import annotations

import random
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from functools import partial
from inspect import iscoroutinefunction
from typing import Any, NoReturn, TypeVar, cast

from cardbill.errors import InvalidInput, StorageUnavailable
from cardbill.names import check_count

S = TypeVar("S")

WRITES = (
    *("transact", "add_cards", "bind", "unbind", "suspend"),
    *("publish", "append_audit", "take_attempts"),
)
"""The methods of a store that change something."""


class Fault(Enum):
    """What goes wrong with one call of a store's method."""

    REFUSED = "refused"
    """Nothing is done, and that is certain: ``StorageUnavailable``."""
    LOST_REQUEST = "lost request"
    """Nothing is done, but nobody can know: ``outcome_unknown`` is True."""
    LOST_ANSWER = "lost answer"
    """It is done, and nobody can know: ``outcome_unknown`` is True."""


class Faults:
    """What goes wrong, and when; nothing, until it is told.

    Attributes:
        calls: How often each method was called.
        happened: Each fault there was, as (method, fault), in order.

    >>> from cardbill.storage.memory import MemoryStorage
    >>> faults = Faults()
    >>> store = faulty(MemoryStorage(), faults)
    >>> faults.next("publish", Fault.LOST_ANSWER)
    >>> store.publish("plan", "a", b"", expected=0)
    Traceback (most recent call last):
    cardbill.errors.StorageUnavailable: publish: lost answer on purpose; ...
    >>> store.catalogue()[1]  # it was done all the same
    [Head(kind='plan', name='a', version=1)]
    """

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.happened: list[tuple[str, Fault]] = []
        self.stop()

    def next(self, method: str, *faults: Fault | None) -> None:
        """Say what becomes of the next calls of a method, in this order; ``None``: they work.

        Args:
            method: Of the store.
            faults: Of the calls after those already planned.
        """
        self._planned.setdefault(method, deque()).extend(faults)

    def at_random(
        self,
        *,
        seed: int,
        one_in: int,
        methods: Collection[str] = WRITES,
        faults: Collection[Fault] = tuple(Fault),
    ) -> None:
        """Let calls fail by chance, the same ones for the same seed.

        Args:
            seed: Of the chance.
            one_in: How many calls there are to one that fails, on average; 1: all fail.
            methods: Which may fail.
            faults: What may happen to them, all alike.

        Raises:
            InvalidInput: The chance is not a count from 1 to a million, or there is no fault.
        """
        check_count("one_in", one_in, 1, 1_000_000)
        if not faults:
            raise InvalidInput("faults", faults, "must name at least one")
        self._chance = random.Random(seed)
        self._one_in, self._methods, self._any_of = one_in, tuple(methods), tuple(faults)

    def stop(self) -> None:
        """Let everything work from now on: forget what is planned, and the chance."""
        self._planned: dict[str, deque[Fault | None]] = {}
        self._one_in, self._methods, self._any_of = 0, tuple[str, ...](), tuple[Fault, ...]()

    @contextmanager
    def around(self, method: str) -> Iterator[None]:
        """Let a call of a method fail as it should; for a wrapper of your own.

        A call that raises an error of its own has no answer to lose: what was planned for
        it is left for the next one.

        Raises:
            StorageUnavailable: It fails.
        """
        self.calls[method] += 1
        planned = self._planned.get(method)
        fault = planned.popleft() if planned else self._by_chance(method)
        if fault in {Fault.REFUSED, Fault.LOST_REQUEST}:
            self._fail(method, fault)
        try:
            yield
        except BaseException:
            if planned is not None and fault is not None:
                planned.appendleft(fault)
            raise
        if fault is Fault.LOST_ANSWER:
            self._fail(method, fault)

    def _by_chance(self, method: str) -> Fault | None:
        if method in self._methods and self._chance.randrange(self._one_in) == 0:
            return self._chance.choice(self._any_of)
        return None

    def _fail(self, method: str, fault: Fault) -> NoReturn:
        self.happened.append((method, fault))
        raise StorageUnavailable(
            f"{method}: {fault.value} on purpose", outcome_unknown=fault is not Fault.REFUSED
        )


def faulty(
    storage: S,
    faults: Faults | None = None,
    *,
    latency_ms: int | Mapping[str, int] = 0,
    sleep: Callable[[float], Any] = time.sleep,
) -> S:
    """Return a store that does what another one does, slowly, and fails as it is told.

    Args:
        storage: Any store; its ``close`` never fails.
        faults: What goes wrong, and when.
        latency_ms: How long each call takes before anything else happens, or by method.
        sleep: Waits so many seconds; ``FakeClock.sleep`` lets them pass at once. For an
            asynchronous store: ``asyncio.sleep``.
    """
    return cast("S", _Faulty(storage, faults or Faults(), latency_ms, sleep))


class _Faulty:
    def __init__(
        self,
        storage: object,
        faults: Faults,
        latency_ms: int | Mapping[str, int],
        sleep: Callable[[float], Any],
    ) -> None:
        self._storage = storage
        self._faults = faults
        self._latency_ms = latency_ms
        self._sleep = sleep

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._storage, name)
        if name.startswith("_") or name == "close" or not callable(found):
            return found
        return partial(self._later if iscoroutinefunction(found) else self._now, name, found)

    def _now(self, name: str, method: Callable[..., Any], /, *args: Any, **options: Any) -> Any:
        if seconds := self._seconds(name):
            self._sleep(seconds)
        with self._faults.around(name):
            return method(*args, **options)

    async def _later(
        self, name: str, method: Callable[..., Any], /, *args: Any, **options: Any
    ) -> Any:
        if seconds := self._seconds(name):
            await self._sleep(seconds)
        with self._faults.around(name):
            return await method(*args, **options)

    def _seconds(self, name: str) -> float:
        latency = self._latency_ms
        return (latency if isinstance(latency, int) else latency.get(name, 0)) / 1_000
