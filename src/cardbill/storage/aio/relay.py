"""An asynchronous store over a synchronous one: the same methods, run where it says."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from cardbill.storage.contract import Storage

P = ParamSpec("P")
T = TypeVar("T")


def _relayed(
    method: Callable[Concatenate[Storage, P], T],
) -> Callable[Concatenate[Relayed, P], Coroutine[Any, Any, T]]:
    name = method.__name__

    @wraps(method)
    async def relay(self: Relayed, /, *args: P.args, **kwargs: P.kwargs) -> T:
        done: T = await self._run(lambda store: getattr(store, name)(*args, **kwargs))
        return done

    return relay


class Relayed:
    """Has every method of a store; :meth:`_run` says where the synchronous ones run."""

    async def _run(self, work: Callable[[Storage], T]) -> T:
        raise NotImplementedError

    transact = _relayed(Storage.transact)
    add_cards = _relayed(Storage.add_cards)
    view = _relayed(Storage.view)
    resolve = _relayed(Storage.resolve)
    credentials = _relayed(Storage.credentials)
    bind = _relayed(Storage.bind)
    unbind = _relayed(Storage.unbind)
    find_cards = _relayed(Storage.find_cards)
    count_cards = _relayed(Storage.count_cards)
    counts = _relayed(Storage.counts)
    jobs = _relayed(Storage.jobs)
    due = _relayed(Storage.due)
    entries = _relayed(Storage.entries)
    records = _relayed(Storage.records)
    calls_by_id = _relayed(Storage.calls_by_id)
    suspend = _relayed(Storage.suspend)
    suspended = _relayed(Storage.suspended)
    publish = _relayed(Storage.publish)
    catalogue = _relayed(Storage.catalogue)
    content = _relayed(Storage.content)
    append_audit = _relayed(Storage.append_audit)
    last_audit = _relayed(Storage.last_audit)
    audit_log = _relayed(Storage.audit_log)
    take_attempts = _relayed(Storage.take_attempts)
    attempts = _relayed(Storage.attempts)
    attempts_over = _relayed(Storage.attempts_over)
    close = _relayed(Storage.close)
