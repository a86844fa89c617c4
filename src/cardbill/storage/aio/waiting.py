"""A store for synchronous code over an asynchronous one: each method waits by the bridge."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from cardbill.storage.aio.bridge import waited
from cardbill.storage.aio.contract import AsyncStorage

P = ParamSpec("P")
T = TypeVar("T")


def _waits(
    method: Callable[Concatenate[AsyncStorage, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Waiting, P], T]:
    name = method.__name__

    @wraps(method)
    def wait(self: Waiting, /, *args: P.args, **kwargs: P.kwargs) -> T:
        done: T = self._wait(getattr(self.store, name)(*args, **kwargs))
        return done

    return wait


class Waiting:
    """What the engine takes for a store, in code that runs by ``bridged``.

    Attributes:
        store: The asynchronous one.
    """

    def __init__(self, store: AsyncStorage) -> None:
        self.store = store

    def _wait(self, work: Awaitable[T]) -> T:
        return waited(work)

    transact = _waits(AsyncStorage.transact)
    add_cards = _waits(AsyncStorage.add_cards)
    view = _waits(AsyncStorage.view)
    resolve = _waits(AsyncStorage.resolve)
    credentials = _waits(AsyncStorage.credentials)
    bind = _waits(AsyncStorage.bind)
    unbind = _waits(AsyncStorage.unbind)
    find_cards = _waits(AsyncStorage.find_cards)
    count_cards = _waits(AsyncStorage.count_cards)
    counts = _waits(AsyncStorage.counts)
    jobs = _waits(AsyncStorage.jobs)
    due = _waits(AsyncStorage.due)
    entries = _waits(AsyncStorage.entries)
    records = _waits(AsyncStorage.records)
    calls_by_id = _waits(AsyncStorage.calls_by_id)
    suspend = _waits(AsyncStorage.suspend)
    suspended = _waits(AsyncStorage.suspended)
    publish = _waits(AsyncStorage.publish)
    catalogue = _waits(AsyncStorage.catalogue)
    content = _waits(AsyncStorage.content)
    append_audit = _waits(AsyncStorage.append_audit)
    last_audit = _waits(AsyncStorage.last_audit)
    audit_log = _waits(AsyncStorage.audit_log)
    take_attempts = _waits(AsyncStorage.take_attempts)
    attempts = _waits(AsyncStorage.attempts)
    attempts_over = _waits(AsyncStorage.attempts_over)
    close = _waits(AsyncStorage.close)
