"""Plants a fault in the library: one of its lines changed for as long as a block runs."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any, NamedTuple, cast


class Fault(NamedTuple):
    """One line of the library, changed.

    Attributes:
        name: What is wrong then.
        seed: The history to try first: one of the fixed share that finds it.
        where: The function, or the getter of a property.
        line: What stands there, once.
        planted: What stands there instead.
        way: The other way to play a history that finds it; empty: the laws do.
    """

    name: str
    seed: int
    where: Any
    line: str
    planted: str
    way: str = ""


@contextmanager
def planted(fault: Fault) -> Iterator[None]:
    """Plant a fault, wherever the function was imported to, for as long as the block runs."""
    function = plain(fault.where)
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(fault.line) == 1, f"{fault.name}: the line has changed"
    namespace: dict[str, Any] = {}
    changed = "from __future__ import annotations\n" + source.replace(fault.line, fault.planted)
    exec(compile(changed, f"<{fault.name}>", "exec"), function.__globals__.copy(), namespace)
    found = namespace[function.__name__]
    before = function.__code__
    function.__code__ = plain(found).__code__
    try:
        yield
    finally:
        function.__code__ = before


def plain(found: Any) -> FunctionType:
    """Return a function, or the getter of a property."""
    return cast("FunctionType", found.fget if isinstance(found, property) else found)
