"""Rate decks: prefixes with their rates, compiled into one index of disjoint intervals.

A prefix stands for an interval of 15-digit numbers; all prefixes of a deck become one
sorted array of interval starts and, for each, the longest prefix that owns it. A look-up
is one bisection, then the walk from that prefix to its parents until one has a rate that
is valid at the instant. The arrays are plain little-endian bytes (:meth:`Deck.to_bytes`),
so a deck loads without being parsed row by row. Source: domain.md section 3.
"""

from __future__ import annotations

import json
import re
import struct
import sys
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any, NamedTuple

from attrs import frozen

from cardbill import money
from cardbill.dialing import MAX_DIGITS, is_digits
from cardbill.errors import DeckRefused, InvalidInput, InvalidNumber, RowProblem, SchemaTooNew
from cardbill.instants import aware, from_micros, to_micros
from cardbill.rating import Rate
from cardbill.terms import rate_from_list, rate_to_list

_MAGIC = b"cardbill-deck/1\n"
_ANY_MAGIC = re.compile(rb"cardbill-deck/[1-9][0-9]*\n")
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_ALWAYS, _NEVER = -(2**63), 2**63 - 1


def check_prefix(prefix: object) -> str:
    """Return a prefix: 1 to 15 digits, taken as they are.

    Raises:
        InvalidInput: It is none.
    """
    if not is_digits(prefix) or len(prefix) > MAX_DIGITS:
        raise InvalidInput("prefix", prefix, f"must be 1 to {MAX_DIGITS} digits")
    return prefix


@frozen(kw_only=True)
class DeckRow:
    """One rate of a deck.

    Attributes:
        prefix: The leading digits of the numbers it is for, 1 to 15, country code first.
        rate: What such a call costs.
        destination: The name people give to these numbers.
        blocked: True: these numbers cannot be called.
        effective_from: Valid from this instant; ``None``: always was.
        effective_until: Not valid from this instant on; ``None``: no end.
        line: Where it was read from, for messages; 0: nowhere.
    """

    prefix: str
    rate: Rate
    destination: str = ""
    blocked: bool = False
    effective_from: datetime | None = None
    effective_until: datetime | None = None
    line: int = 0

    def __attrs_post_init__(self) -> None:
        check_prefix(self.prefix)
        for name, kind in (("rate", Rate), ("destination", str), ("blocked", bool)):
            if not isinstance(getattr(self, name), kind):
                raise InvalidInput(name, getattr(self, name), f"must be {kind.__name__}")
        if len(self.destination) > 200 or _UNSTORABLE.search(self.destination):
            problem = "must have at most 200 characters, no NUL, no surrogate"
            raise InvalidInput("destination", self.destination, problem)
        for name in ("effective_from", "effective_until"):
            if getattr(self, name) is not None:
                aware(name, getattr(self, name))
        begin, end = self.effective_from, self.effective_until
        if begin and end and to_micros(end) <= to_micros(begin):
            raise InvalidInput("effective_until", end, "must be after effective_from")


class Match(NamedTuple):
    """What a look-up found: the row that rates a number at an instant."""

    prefix: str
    destination: str
    rate: Rate
    blocked: bool


class _Columns(NamedTuple):
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


class Deck:
    """An immutable, compiled rate deck.

    Build one from rows with :meth:`compile`, or from a CSV file with
    :func:`cardbill.read_deck`.

    Attributes:
        currency: The ISO 4217 code of all its amounts.
        problems: Rows of the file it was read from that could not be used and were
            skipped on request. Not stored.
    """

    def __init__(
        self,
        currency: str,
        terms: list[list[Any]],
        names: list[str],
        columns: _Columns,
        problems: Sequence[RowProblem] = (),
    ) -> None:
        self.currency = currency
        self.problems = tuple(problems)
        self._terms = terms
        self._names = names
        self._columns = columns
        self._rates: dict[int, Rate] = {}

    @classmethod
    def compile(
        cls,
        rows: Iterable[DeckRow],
        *,
        currency: object,
        problems: Sequence[RowProblem] = (),
    ) -> Deck:
        """Return the deck of these rows, in any order.

        Raises:
            InvalidInput: There are no rows.
            DeckRefused: Two rows are alike in prefix and effective-from, so that nothing
                says which one counts; each such row is listed.
        """
        code = money.currency_code("currency", currency)
        ordered = sorted(rows, key=lambda row: (row.prefix, -_begin(row)))
        if not ordered:
            raise InvalidInput("deck", None, "holds no usable rate")
        _refuse_equals(ordered)
        prefixes: list[str] = []
        firsts, begins, ends, terms, names = [], [], [], [], []
        known_terms: dict[tuple[Rate, bool], int] = {}
        known_names: dict[str, int] = {}
        for number, row in enumerate(ordered):
            if not prefixes or prefixes[-1] != row.prefix:
                prefixes.append(row.prefix)
                firsts.append(number)
            begins.append(_begin(row))
            ends.append(_NEVER if row.effective_until is None else to_micros(row.effective_until))
            terms.append(known_terms.setdefault((row.rate, row.blocked), len(known_terms)))
            names.append(known_names.setdefault(row.destination, len(known_names)))
        firsts.append(len(ordered))
        starts, owners, parents = _intervals(prefixes)
        lengths = [len(prefix) for prefix in prefixes]
        values = [int(prefix) for prefix in prefixes]
        plain = (starts, owners, lengths, values, parents, firsts, begins, ends, terms, names)
        columns = _Columns(*map(array, _TYPES, plain))
        stored = [[*rate_to_list(rate), int(blocked)] for rate, blocked in known_terms]
        return cls(code, stored, list(known_names), columns, problems)

    def __len__(self) -> int:
        """The number of rows."""
        return len(self._columns.begins)

    def __repr__(self) -> str:
        return f"<Deck of {len(self):,} rates in {self.currency}>"

    def match(self, number: str, at: datetime) -> Match | None:
        """Return the row for an E.164 number at an instant: the longest prefix valid then.

        A number shorter than a prefix is not under it: 588 is not under 5880.

        Raises:
            InvalidNumber: The number is not 1 to 15 digits; it is not shown.
            InvalidInput: The instant has no time zone.
        """
        if not is_digits(number) or len(number) > MAX_DIGITS:
            raise InvalidNumber("number", None, f"must be 1 to {MAX_DIGITS} digits")
        row, prefix = self._find(number, to_micros(aware("at", at)))
        if row < 0:
            return None
        return self._match(row, prefix)

    def rows(self) -> Iterator[DeckRow]:
        """Yield every row, by prefix, then the latest effective-from first."""
        columns = self._columns
        for prefix in range(len(columns.lengths)):
            for row in range(columns.firsts[prefix], columns.firsts[prefix + 1]):
                match = self._match(row, prefix)
                begin, end = columns.begins[row], columns.ends[row]
                yield DeckRow(
                    prefix=match.prefix,
                    rate=match.rate,
                    destination=match.destination,
                    blocked=match.blocked,
                    effective_from=None if begin == _ALWAYS else from_micros(begin),
                    effective_until=None if end == _NEVER else from_micros(end),
                )

    def _find(self, number: str, at: int) -> tuple[int, int]:
        starts, owners, lengths, _, parents, firsts, begins, ends, _, _ = self._columns
        interval = bisect_right(starts, int(number.ljust(MAX_DIGITS, "0"))) - 1
        prefix = owners[interval] - 1 if interval >= 0 else -1
        digits = len(number)
        while prefix >= 0:
            if lengths[prefix] <= digits:
                for row in range(firsts[prefix], firsts[prefix + 1]):
                    if begins[row] <= at < ends[row]:
                        return row, prefix
            prefix = parents[prefix] - 1
        return -1, -1

    def _match(self, row: int, prefix: int) -> Match:
        columns = self._columns
        index = columns.terms[row]
        stored = self._terms[index]
        if (rate := self._rates.get(index)) is None:
            rate = self._rates[index] = rate_from_list(stored[:-1])
        return Match(
            f"{columns.values[prefix]:0{columns.lengths[prefix]}d}",
            self._names[columns.names[row]],
            rate,
            bool(stored[-1]),
        )

    # -- bytes ----------------------------------------------------------------------------

    def to_bytes(self) -> bytes:
        """Return the compiled deck as bytes: a JSON head, then the arrays, 8-byte aligned."""
        head = json.dumps(
            {
                "currency": self.currency,
                "terms": self._terms,
                "names": self._names,
                "lengths": [len(column) for column in self._columns],
            },
            separators=(",", ":"),
        ).encode()
        parts = [_MAGIC, struct.pack("<Q", len(head)), _pad(head)]
        parts.extend(_pad(_little(column, kind)) for column, kind in self._stored())
        return b"".join(parts)

    @classmethod
    def from_bytes(cls, content: bytes) -> Deck:
        """Return the deck that :meth:`to_bytes` wrote; its arrays are views of `content`.

        Raises:
            InvalidInput: The content is no compiled deck, or not the whole of one.
            SchemaTooNew: A newer version of cardbill wrote it.
        """
        if not content.startswith(_MAGIC):
            if _ANY_MAGIC.match(content):
                raise SchemaTooNew("the rate deck was written by a newer version of cardbill")
            raise InvalidInput("deck", None, "is no compiled rate deck")
        try:
            head, columns = _unpacked(content, len(_MAGIC))
            currency = money.currency_code("currency", head["currency"])
            return cls(currency, list(head["terms"]), list(head["names"]), columns)
        except (ValueError, TypeError, LookupError, RecursionError, struct.error):
            raise InvalidInput("deck", None, "is not a whole compiled rate deck") from None

    def _stored(self) -> Iterator[tuple[Any, str]]:
        return zip(self._columns, _TYPES, strict=True)


def _begin(row: DeckRow) -> int:
    return _ALWAYS if row.effective_from is None else to_micros(row.effective_from)


def _refuse_equals(ordered: Sequence[DeckRow]) -> None:
    problems = [
        RowProblem(
            later.line,
            "prefix",
            "duplicate",
            f"prefix {later.prefix} has another rate with the same effective-from"
            + (f", on line {earlier.line}" if earlier.line else ""),
        )
        for earlier, later in pairwise(ordered)
        if earlier.prefix == later.prefix and _begin(earlier) == _begin(later)
    ]
    if problems:
        raise DeckRefused("deck", problems)


def _intervals(prefixes: Sequence[str]) -> tuple[list[int], list[int], list[int]]:
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


def _unpacked(content: bytes, offset: int) -> tuple[dict[str, Any], _Columns]:
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
    return head, _Columns(*columns)


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
