"""Synchronous code over an event loop: what it waits for, the task that runs it awaits.

The engine and the adapters are written once, synchronously. On an event loop such code runs in
a greenlet: where it has to wait it hands an awaitable to the task that started it, and goes on
with what came of it. No thread is involved, and the loop is never blocked. A cancellation
reaches the code as an error at the place where it waits, like any other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, ParamSpec, TypeVar, cast

try:
    from greenlet import getcurrent, greenlet
except ModuleNotFoundError as missing:
    if missing.name != "greenlet":
        raise
    raise ModuleNotFoundError(
        "asyncio needs greenlet: install cardbill[aio]", name="greenlet"
    ) from None

P = ParamSpec("P")
T = TypeVar("T")


class _Bridge(greenlet):  # type: ignore[misc]  # has no types
    """A greenlet whose parent awaits what it is given."""


async def bridged(work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run synchronous code on the event loop; within it :func:`waited` waits.

    It sees, and may set, the context variables of the task.
    """
    bridge: Any = _Bridge(work)
    bridge.gr_context = getcurrent().gr_context
    answer: Any = bridge.switch(*args, **kwargs)
    while not bridge.dead:
        try:
            value = await answer
        except GeneratorExit as gone:
            _refuse_all(bridge, gone)
            raise
        except BaseException as error:  # noqa: BLE001  # it goes to who waits
            answer = bridge.throw(error)
        else:
            answer = bridge.switch(value)
    return cast("T", answer)


def waited(awaitable: Awaitable[T]) -> T:
    """Wait, in synchronous code that runs by :func:`bridged`.

    Elsewhere, as in a function that a store's thread calls, only what comes without waiting.

    Raises:
        RuntimeError: There is nobody to wait for it.
    """
    here: Any = getcurrent()
    if isinstance(here, _Bridge):
        return cast("T", here.parent.switch(awaitable))
    return at_once(awaitable)


def at_once(awaitable: Awaitable[T]) -> T:
    """Return what comes without waiting.

    Raises:
        RuntimeError: It would have to wait, and there is nobody to do so.
    """
    steps = awaitable.__await__()
    try:
        next(steps)
    except StopIteration as done:
        return cast("T", done.value)
    steps.close()
    raise RuntimeError("there is no task here that could wait: run what asks by bridged()")


def bridging() -> bool:
    """Say whether the code that asks may wait by :func:`waited`."""
    return isinstance(getcurrent(), _Bridge)


def sleep(seconds: float) -> None:
    """Let the loop go on with others for that long."""
    waited(asyncio.sleep(seconds))


def _refuse_all(bridge: Any, gone: GeneratorExit) -> None:
    """Have the code clean up without waiting: its task was thrown away with the loop."""
    while not bridge.dead:
        try:
            asked = bridge.throw(gone)
        except GeneratorExit:
            return
        if not bridge.dead and asyncio.iscoroutine(asked):
            asked.close()
