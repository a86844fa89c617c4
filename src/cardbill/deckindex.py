"""The compiled index of a rate deck: sorted arrays, and the bytes they are stored as.

Prefixes become disjoint intervals over 15-digit numbers. The bytes are a JSON head and the
arrays as they are in memory, little-endian and 8-byte aligned, so that an index is read by
looking at it. Source: design.md section 7.
"""

from __future__ import annotations

import json
import re
import struct
import sys
from array import array
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from cardbill.dialing import MAX_DIGITS
from cardbill.errors import InvalidInput, SchemaTooNew

_MAGIC = b"cardbill-deck/2\n"
_READ = (_MAGIC, b"cardbill-deck/1\n")
_ANY_MAGIC = re.compile(rb"cardbill-deck/[1-9][0-9]*\n")


class Columns(NamedTuple):
    """The arrays of a compiled deck, in the order in which they are stored."""

    starts: Sequence[int]  # interval -> first 15-digit number
    owners: Sequence[int]  # interval -> prefix + 1, or 0: no prefix
    lengths: Sequence[int]  # prefix -> digits
    values: Sequence[int]  # prefix -> the digits as a number
    parents: Sequence[int]  # prefix -> the prefix around it + 1, or 0
    firsts: Sequence[int]  # prefix -> its first row; one more entry ends the last
    begins: Sequence[int]  # row -> microseconds
    ends: Sequence[int]  # row -> microseconds
    terms: Sequence[int]  # row -> index of its terms
    names: Sequence[int]  # row -> index of its destination


_TYPES = "QIBQIIqqII"  # the array type of each column above


def intervals(prefixes: Sequence[str]) -> tuple[list[int], list[int], list[int]]:
    """Return interval starts and owners, and each prefix's parent, of sorted prefixes.

    Sorted text has every prefix directly before those it contains, so one pass with a
    stack of the prefixes still open is enough.
    """
    starts: list[int] = []
    owners: list[int] = []
    parents: list[int] = []
    open_prefixes: list[tuple[int, int]] = []  # (end of the interval, prefix + 1)

    def begin(at: int, owner: int) -> None:
        if starts and starts[-1] == at:
            owners[-1] = owner
        else:
            starts.append(at)
            owners.append(owner)

    def close(up_to: int) -> None:
        while open_prefixes and open_prefixes[-1][0] <= up_to:
            end, _ = open_prefixes.pop()
            begin(end, open_prefixes[-1][1] if open_prefixes else 0)

    for index, prefix in enumerate(prefixes, start=1):
        width = 10 ** (MAX_DIGITS - len(prefix))
        start = int(prefix) * width
        close(start)
        parents.append(open_prefixes[-1][1] if open_prefixes else 0)
        begin(start, index)
        open_prefixes.append((start + width, index))
    close(10**MAX_DIGITS)
    return starts, owners, parents


def columns_of(plain: Sequence[Sequence[int]]) -> Columns:
    """Return the columns as arrays of the types they are stored as."""
    return Columns(*map(array, _TYPES, plain))


def pack(head: Mapping[str, Any], columns: Columns) -> bytes:
    """Return a head and columns as bytes."""
    lengths = [len(column) for column in columns]
    text = json.dumps({**head, "lengths": lengths}, separators=(",", ":")).encode()
    parts = [_MAGIC, struct.pack("<Q", len(text)), _pad(text)]
    parts.extend(_pad(_little(*column)) for column in zip(columns, _TYPES, strict=True))
    return b"".join(parts)


def unpack(content: bytes) -> tuple[dict[str, Any], Columns]:
    """Return the head and the columns that :func:`pack` wrote, as views of `content`.

    Raises:
        InvalidInput: The content is no compiled deck.
        SchemaTooNew: A newer version of cardbill wrote it.
        ValueError, TypeError, LookupError, RecursionError, struct.error: It is damaged.
    """
    for magic in _READ:
        if content.startswith(magic):
            return _unpacked(content, len(magic))
    if _ANY_MAGIC.match(content):
        raise SchemaTooNew("the rate deck was written by a newer version of cardbill")
    raise InvalidInput("deck", None, "is no compiled rate deck")


def _unpacked(content: bytes, offset: int) -> tuple[dict[str, Any], Columns]:
    """Return the head and the columns; any error at all says that they are damaged."""
    (size,) = struct.unpack_from("<Q", content, offset)
    offset += 8
    head = json.loads(content[offset : offset + size])
    offset += _padded(size)
    view, columns = memoryview(content), []
    for kind, length in zip(_TYPES, head["lengths"], strict=True):
        size = length * array(kind).itemsize
        columns.append(_column(view[offset : offset + size], kind))
        offset += _padded(size)
    intervals, _, prefixes, *_, rows = sizes = [len(column) for column in columns]
    shape = [intervals] * 2 + [prefixes] * 3 + [prefixes + 1] + [rows] * 4
    if offset != len(content) or sizes != shape:
        raise ValueError("columns that do not fit")
    return head, Columns(*columns)


def _padded(size: int) -> int:
    return -(-size // 8) * 8


def _pad(content: bytes) -> bytes:
    return content + b" " * (_padded(len(content)) - len(content))


def _little(column: Any, kind: str) -> bytes:
    if sys.byteorder == "little":
        return bytes(memoryview(column).cast("B"))
    swapped = array(kind, column)
    swapped.byteswap()
    return swapped.tobytes()


def _column(raw: memoryview, kind: Any) -> Sequence[int]:
    if sys.byteorder == "little":
        plain: Sequence[int] = raw.cast(kind)
        return plain
    swapped = array(kind, raw.tobytes())
    swapped.byteswap()
    return swapped
