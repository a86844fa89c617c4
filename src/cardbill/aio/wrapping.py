"""How a method of the engine becomes one to await: run by the bridge, its types unchanged."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import wraps
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar

from cardbill.storage.aio.bridge import bridged

P = ParamSpec("P")
T = TypeVar("T")
Twin_co = TypeVar("Twin_co", covariant=True)

_END: Any = object()


class Wrapping(Protocol):
    """Stands for a synchronous object: its twin."""

    @property
    def twin(self) -> Any:
        """The synchronous object."""


class Part(Generic[Twin_co]):
    """Stands for one of an engine's collections."""

    def __init__(self, find: Callable[[], Twin_co]) -> None:
        self._find = find

    @property
    def twin(self) -> Twin_co:
        """The synchronous collection, to be used within the bridge only."""
        return self._find()


def awaited(
    method: Callable[Concatenate[Any, P], T],
) -> Callable[Concatenate[Wrapping, P], Coroutine[Any, Any, T]]:
    """Return a method that awaits what `method` of the twin answers."""

    @wraps(method)
    async def later(self: Wrapping, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await bridged(method, self.twin, *args, **kwargs)

    return later


def streamed(
    method: Callable[Concatenate[Any, P], Iterator[T]],
) -> Callable[Concatenate[Wrapping, P], AsyncIterator[T]]:
    """Return a method for ``async for`` over what `method` of the twin yields."""

    @wraps(method)
    async def later(self: Wrapping, /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
        items = await bridged(method, self.twin, *args, **kwargs)
        while (item := await bridged(next, items, _END)) is not _END:
            yield item

    return later
