"""Rate decks: prefixes with their rates, compiled into one index of disjoint intervals.

A prefix stands for an interval of 15-digit numbers; all prefixes of a deck become one
sorted array of interval starts and, for each, the longest prefix that owns it. A look-up
is one bisection, then the walk from that prefix to its parents until one has a rate that
is valid at the instant, in the band of that instant or in none. A deck loads from bytes
without being parsed row by row. Source: domain.md section 3.
"""

from __future__ import annotations

import re
import struct
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any, NamedTuple

from attrs import frozen

from cardbill import money
from cardbill.bands import NO_BAND, Band, BandRating, Bands
from cardbill.deckindex import Columns, columns_of, intervals, pack, unpack
from cardbill.dialing import MAX_DIGITS, is_digits
from cardbill.errors import DeckRefused, InvalidInput, InvalidNumber, RowProblem
from cardbill.instants import aware, from_micros, to_micros
from cardbill.names import check_choice, check_name
from cardbill.rating import Rate
from cardbill.tariffs import SETUP_SECONDS, Tariff, second_of
from cardbill.terms import rate_from_list, rate_to_list

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
        band: The band of the deck that it is for; empty: for whenever no row of its prefix
            has a band that applies.
        effective_from: Valid from this instant; ``None``: always was.
        effective_until: Not valid from this instant on; ``None``: no end.
        line: Where it was read from, for messages; 0: nowhere.
    """

    prefix: str
    rate: Rate
    destination: str = ""
    blocked: bool = False
    band: str = ""
    effective_from: datetime | None = None
    effective_until: datetime | None = None
    line: int = 0

    def __attrs_post_init__(self) -> None:
        check_prefix(self.prefix)
        kinds = (("rate", Rate), ("destination", str), ("blocked", bool), ("band", str))
        for name, kind in kinds:
            if not isinstance(getattr(self, name), kind):
                raise InvalidInput(name, getattr(self, name), f"must be {kind.__name__}")
        if len(self.destination) > 200 or _UNSTORABLE.search(self.destination):
            problem = "must have at most 200 characters, no NUL, no surrogate"
            raise InvalidInput("destination", self.destination, problem)
        for name in ("effective_from", "effective_until"):
            if getattr(self, name) is not None:
                aware(name, getattr(self, name))
        if self.band:
            check_name("band", self.band)
        begin, end = self.effective_from, self.effective_until
        if begin and end and to_micros(end) <= to_micros(begin):
            raise InvalidInput("effective_until", end, "must be after effective_from")


class Match(NamedTuple):
    """What a look-up found: the row that rates a number at an instant."""

    prefix: str
    destination: str
    rate: Rate
    blocked: bool
    band: str = ""


class Deck:
    """An immutable, compiled rate deck.

    Build one from rows with :meth:`compile`, or from a CSV file with
    :func:`cardbill.read_deck`.

    Attributes:
        currency: The ISO 4217 code of all its amounts.
        bands: Its time bands, and the IANA zone that their hours are in.
        band_rating: How calls are rated that last from one band into another.
        problems: Rows of the file it was read from that could not be used and were
            blocked on request. Not stored.
        warnings: Rows of that file that can be used and look wrong. Not stored.
    """

    def __init__(
        self,
        currency: str,
        terms: list[list[Any]],
        term_bands: list[int],
        names: list[str],
        columns: Columns,
        bands: Bands,
        band_rating: BandRating,
        problems: Sequence[RowProblem] = (),
        warnings: Sequence[RowProblem] = (),
    ) -> None:
        self.currency = currency
        self.bands = bands
        self.band_rating = band_rating
        self.problems = tuple(problems)
        self.warnings = tuple(warnings)
        self._terms = terms
        self._term_bands = term_bands
        self._names = names
        self._columns = columns
        self._rates: dict[int, Rate] = {}

    @classmethod
    def compile(
        cls,
        rows: Iterable[DeckRow],
        *,
        currency: object,
        bands: Iterable[Band] = (),
        time_zone: str = "UTC",
        band_rating: BandRating | str = BandRating.AT_START,
        problems: Sequence[RowProblem] = (),
        warnings: Sequence[RowProblem] = (),
    ) -> Deck:
        """Return the deck of these rows, in any order.

        Args:
            rows: The rates.
            currency: A ``moneyed.Currency`` or an ISO 4217 code.
            bands: The time bands that rows name; none may overlap another.
            time_zone: The IANA zone that the hours of bands are in.
            band_rating: ``at_start``: the band at the authorization rates the whole call;
                ``split``: each increment is rated by the band in which it begins, as far
                as the deck has a rate for the number in that band.
            problems: What to keep as :attr:`problems`.
            warnings: What to keep as :attr:`warnings`.

        Raises:
            InvalidInput: There are no rows; bands overlap; the zone is unknown.
            DeckRefused: Two rows are alike in prefix, band and effective-from, so that
                nothing says which one counts; or a row names a band that there is not. Each
                such row is listed.
        """
        code = money.currency_code("currency", currency)
        mode = check_choice("band_rating", band_rating, BandRating)
        known_bands = Bands(bands, time_zone)
        ordered = sorted(rows, key=lambda row: (row.prefix, -_begin(row), row.band))
        if not ordered:
            raise InvalidInput("deck", None, "holds no usable rate")
        _refuse_equals(ordered)
        _refuse_unknown_bands(ordered, known_bands)
        prefixes: list[str] = []
        firsts, begins, ends, terms, names = [], [], [], [], []
        known_terms: dict[tuple[Rate, bool, int], int] = {}
        known_names: dict[str, int] = {}
        for number, row in enumerate(ordered):
            if not prefixes or prefixes[-1] != row.prefix:
                prefixes.append(row.prefix)
                firsts.append(number)
            begins.append(_begin(row))
            ends.append(_NEVER if row.effective_until is None else to_micros(row.effective_until))
            term = row.rate, row.blocked, known_bands.numbers.get(row.band, NO_BAND)
            terms.append(known_terms.setdefault(term, len(known_terms)))
            names.append(known_names.setdefault(row.destination, len(known_names)))
        firsts.append(len(ordered))
        starts, owners, parents = intervals(prefixes)
        lengths = [len(prefix) for prefix in prefixes]
        values = [int(prefix) for prefix in prefixes]
        plain = (starts, owners, lengths, values, parents, firsts, begins, ends, terms, names)
        columns = columns_of(plain)
        stored = [[*rate_to_list(rate), int(blocked)] for rate, blocked, _ in known_terms]
        banded = [band for _, _, band in known_terms]
        named = list(known_names)
        return cls(code, stored, banded, named, columns, known_bands, mode, problems, warnings)

    @property
    def splits(self) -> bool:
        """Whether a call that lasts from one band into another is rated by both."""
        return self.band_rating is BandRating.SPLIT and bool(self.bands.bands)

    def __len__(self) -> int:
        """The number of rows."""
        return len(self._columns.begins)

    def __repr__(self) -> str:
        return f"<Deck of {len(self):,} rates in {self.currency}>"

    def match(
        self, number: str, at: datetime, *, effective_at: datetime | None = None
    ) -> Match | None:
        """Return the row for an E.164 number at an instant: the longest prefix valid then.

        A number shorter than a prefix is not under it: 588 is not under 5880.

        Args:
            number: E.164 digits.
            at: The instant: whose band, and which rows are valid.
            effective_at: Which rows are valid, if not those of `at`.

        Raises:
            InvalidNumber: The number is not 1 to 15 digits; it is not shown.
            InvalidInput: An instant has no time zone.
        """
        _check_number(number)
        instant = aware("at", at)
        valid = instant if effective_at is None else aware("effective_at", effective_at)
        band = self.bands.at(second_of(instant)) if self.bands.bands else NO_BAND
        row, prefix = self._find(number, to_micros(valid), band)
        if row < 0:
            return None
        return self._match(row, prefix)

    def tariff(
        self,
        match: Match,
        number: str,
        at: datetime,
        seconds: int,
        *,
        effective_at: datetime | None = None,
    ) -> Tariff:
        """Return what a call that is granted at that instant is priced by.

        Args:
            match: What :meth:`match` found for the number at the instant.
            number: E.164 digits.
            at: The instant of the grant.
            seconds: How long the call may last: no rate that begins later is in it.
            effective_at: Which rows are valid, if not those of `at`.
        """
        if not self.splits:
            return Tariff(match.rate)
        valid = to_micros(at if effective_at is None else effective_at)
        rates = [
            self._in_band(number, valid, band, match) for band in range(len(self.bands.bands) + 1)
        ]
        begin = second_of(at)
        changes, last = [], match.rate
        for second, band in self.bands.changes(begin, begin + SETUP_SECONDS + seconds + 1):
            if rates[band] != last:
                last = rates[band]
                changes.append((second, last))
        return Tariff(match.rate, tuple(changes))

    def _in_band(self, number: str, at: int, band: int, match: Match) -> Rate:
        """Return the rate of a number in a band: where it has none, that of the grant."""
        row, prefix = self._find(number, at, band)
        found = match if row < 0 else self._match(row, prefix)
        return match.rate if found.blocked else found.rate

    def rows(self) -> Iterator[DeckRow]:
        """Yield every row, by prefix, then the latest effective-from first."""
        for prefix in range(len(self._columns.lengths)):
            yield from self._rows(prefix)

    def candidates(self, number: str) -> Iterator[DeckRow]:
        """Yield every row whose prefix begins an E.164 number, whatever its dates and band.

        The longest prefix first, then the latest effective-from: as :meth:`match` looks.

        Raises:
            InvalidNumber: The number is not 1 to 15 digits; it is not shown.
        """
        _check_number(number)
        prefix = self._owner(number)
        while prefix >= 0:
            if self._columns.lengths[prefix] <= len(number):
                yield from self._rows(prefix)
            prefix = self._columns.parents[prefix] - 1

    def _rows(self, prefix: int) -> Iterator[DeckRow]:
        columns = self._columns
        for row in range(columns.firsts[prefix], columns.firsts[prefix + 1]):
            match = self._match(row, prefix)
            begin, end = columns.begins[row], columns.ends[row]
            yield DeckRow(
                prefix=match.prefix,
                rate=match.rate,
                destination=match.destination,
                blocked=match.blocked,
                band=match.band,
                effective_from=None if begin == _ALWAYS else from_micros(begin),
                effective_until=None if end == _NEVER else from_micros(end),
            )

    def _owner(self, number: str) -> int:
        """Return the longest prefix around the first 15-digit number that begins so."""
        interval = bisect_right(self._columns.starts, int(number.ljust(MAX_DIGITS, "0"))) - 1
        return self._columns.owners[interval] - 1 if interval >= 0 else -1

    def _find(self, number: str, at: int, band: int) -> tuple[int, int]:
        _, _, lengths, _, parents, firsts, begins, ends, terms, _ = self._columns
        term_bands = self._term_bands
        prefix = self._owner(number)
        digits = len(number)
        while prefix >= 0:
            if lengths[prefix] <= digits:
                unbanded = -1
                for row in range(firsts[prefix], firsts[prefix + 1]):
                    if begins[row] <= at < ends[row]:
                        own = term_bands[terms[row]]
                        if own == band:
                            return row, prefix
                        if unbanded < 0 and own == NO_BAND:
                            unbanded = row
                if unbanded >= 0:
                    return unbanded, prefix
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
            self.bands.bands[band - 1].name if (band := self._term_bands[index]) else "",
        )

    # -- bytes ----------------------------------------------------------------------------

    def to_bytes(self) -> bytes:
        """Return the compiled deck as bytes: a JSON head, then the arrays, 8-byte aligned."""
        head = {
            "currency": self.currency,
            "terms": self._terms,
            "term_bands": self._term_bands,
            "names": self._names,
            "bands": [[band.name, band.windows] for band in self.bands.bands],
            "time_zone": self.bands.time_zone,
            "band_rating": self.band_rating.value,
        }
        return pack(head, self._columns)

    @classmethod
    def from_bytes(cls, content: bytes) -> Deck:
        """Return the deck that :meth:`to_bytes` wrote; its arrays are views of `content`.

        Raises:
            InvalidInput: The content is no compiled deck, or not the whole of one.
            SchemaTooNew: A newer version of cardbill wrote it.
        """
        try:
            head, columns = unpack(content)
            bands = (Band(name, windows) for name, windows in head.get("bands", ()))
            return cls(
                money.currency_code("currency", head["currency"]),
                list(head["terms"]),
                list(head.get("term_bands", [NO_BAND] * len(head["terms"]))),
                list(head["names"]),
                columns,
                Bands(bands, head.get("time_zone", "UTC")),
                BandRating(head.get("band_rating", BandRating.AT_START)),
            )
        except (ValueError, TypeError, LookupError, RecursionError, struct.error):
            raise InvalidInput("deck", None, "is not a whole compiled rate deck") from None


def _check_number(number: object) -> None:
    if not is_digits(number) or len(number) > MAX_DIGITS:
        raise InvalidNumber("number", None, f"must be 1 to {MAX_DIGITS} digits")


def _begin(row: DeckRow) -> int:
    return _ALWAYS if row.effective_from is None else to_micros(row.effective_from)


def _refuse_equals(ordered: Sequence[DeckRow]) -> None:
    problems = [
        RowProblem(
            later.line,
            "prefix",
            "duplicate",
            f"prefix {later.prefix} has another rate with the same effective-from"
            + (f" in band {later.band!r}" if later.band else "")
            + (f", on line {earlier.line}" if earlier.line else ""),
        )
        for earlier, later in pairwise(ordered)
        if _place(earlier) == _place(later)
    ]
    if problems:
        raise DeckRefused("deck", problems)


def _place(row: DeckRow) -> tuple[str, int, str]:
    return row.prefix, _begin(row), row.band


def _refuse_unknown_bands(rows: Iterable[DeckRow], bands: Bands) -> None:
    problems = [
        RowProblem(row.line, "band", "unknown", f"{row.prefix}: there is no band {row.band!r}")
        for row in rows
        if row.band and row.band not in bands.numbers
    ]
    if problems:
        raise DeckRefused("deck", problems)
