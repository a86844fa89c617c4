"""What another version of a deck would change, told before it is published."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from attrs import frozen

from cardbill import money
from cardbill.decks import Deck
from cardbill.dialects import RateChange
from cardbill.dialing import MAX_DIGITS
from cardbill.errors import InvalidInput
from cardbill.instants import aware
from cardbill.names import check_kind
from cardbill.rating import Rate

if TYPE_CHECKING:
    from moneyed import Money

_SHOWN = 40


@frozen(kw_only=True)
class DeckChange:
    """What becomes of the numbers under one prefix, less those under longer ones.

    Attributes:
        prefix: Of one of the decks, or of both.
        destination: As the new deck calls it, or else the old one.
        band: The band that it is about; empty: when none applies that has rates of its own;
            ``None``: the same in every band.
        change: What has become of the price.
        currency: ISO 4217 code.
        old_units, new_units: The price per minute at which a call begins, in ledger units;
            ``None``: there is no rate, or it is blocked.
    """

    prefix: str
    destination: str
    band: str | None
    change: RateChange
    currency: str
    old_units: int | None
    new_units: int | None

    @property
    def old_price(self) -> Money | None:
        """The price per minute in the old deck."""
        return None if self.old_units is None else money.money(self.old_units, self.currency)

    @property
    def new_price(self) -> Money | None:
        """The price per minute in the new deck."""
        return None if self.new_units is None else money.money(self.new_units, self.currency)


@frozen(kw_only=True)
class DeckChanges:
    """How two versions of a deck differ at an instant; as text, a short table.

    Attributes:
        at: The instant.
        rows: All that changes, by prefix.
        counts: How many prefixes (and bands) have each change; every one is listed, also unchanged.
        bands_differ: Whether the hours of bands, or how bands rate, are others; the rows
            compare bands of one name, whatever their hours.
    """

    at: datetime
    rows: tuple[DeckChange, ...]
    counts: dict[RateChange, int]
    bands_differ: bool

    def __str__(self) -> str:
        lines = [", ".join(f"{count:,} {change.value}" for change, count in self.counts.items())]
        if self.bands_differ:
            lines.append("the bands differ")
        for row in self.rows[:_SHOWN]:
            band = "" if row.band is None else f" ({row.band or 'no band'})"
            name = row.destination[: 32 - len(band)] + band
            prices = f"{_price(row.old_units):>12} {_price(row.new_units):>12}"
            lines.append(f"{row.prefix:<15} {name:<32} {prices}  {row.change.value}")
        if len(self.rows) > _SHOWN:
            lines.append(f"and {len(self.rows) - _SHOWN:,} more")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, object]:
        """Return the same as JSON can hold it; prices in ledger units."""
        return {
            "at": self.at.isoformat(),
            "counts": {change.value: count for change, count in self.counts.items()},
            "bands_differ": self.bands_differ,
            "rows": [
                {
                    "prefix": row.prefix,
                    "destination": row.destination,
                    "band": row.band,
                    "change": row.change.value,
                    "currency": row.currency,
                    "old_units": row.old_units,
                    "new_units": row.new_units,
                }
                for row in self.rows
            ],
        }


def compare_decks(old: Deck, new: Deck, *, at: datetime) -> DeckChanges:
    """Return what numbers would cost otherwise, were `new` published in place of `old`.

    Numbers are compared, not rows: a prefix that another one stands for is unchanged while
    its numbers are rated alike. Numbers that are blocked and numbers without a rate count as
    one. A change of the first price per minute is an increase or a decrease; where it is the
    same and anything else of the rate is not, ``terms``.

    Args:
        old: The deck in force.
        new: The other version.
        at: The instant at which both are looked at, such as when the new prices begin.

    Raises:
        InvalidInput: The decks have two currencies; the instant has no time zone.
    """
    check_kind("old", old, Deck)
    check_kind("new", new, Deck)
    if old.currency != new.currency:
        raise InvalidInput("new", new.currency, f"must be in {old.currency}, as the old deck is")
    instant = aware("at", at)
    before, after = _InForce(old, instant), _InForce(new, instant)
    found = list(_changes(before, after, old.currency))
    counts = Counter(change.change for change in found)
    return DeckChanges(
        at=instant,
        rows=tuple(change for change in found if change.change is not RateChange.UNCHANGED),
        counts={change: counts[change] for change in RateChange},
        bands_differ=_banding(old) != _banding(new),
    )


class _Terms(NamedTuple):
    rate: Rate | None  # None: blocked
    destination: str


_NOTHING = _Terms(None, "")


class _InForce:
    """The rows of a deck that are valid at an instant.

    Attributes:
        by_band: Band -> prefix -> terms.
    """

    def __init__(self, deck: Deck, at: datetime) -> None:
        self.by_band: dict[str, dict[str, _Terms]] = {"": {}}
        for row in deck.rows():  # of one prefix, the latest first
            begin, end = row.effective_from, row.effective_until
            if (begin is None or begin <= at) and (end is None or at < end):
                terms = _Terms(None if row.blocked else row.rate, row.destination)
                self.by_band.setdefault(row.band, {}).setdefault(row.prefix, terms)

    def find(self, prefix: str, band: str) -> _Terms:
        """Return what rates the numbers under a prefix: the longest one, in that band or none."""
        banded, others = self.by_band.get(band, {}), self.by_band[""]
        for length in range(len(prefix), 0, -1):
            head = prefix[:length]
            if found := banded.get(head) or others.get(head):
                return found
        return _NOTHING


def _changes(old: _InForce, new: _InForce, currency: str) -> Iterator[DeckChange]:
    bands = list({**old.by_band, **new.by_band})
    found: dict[str, dict[str | None, tuple[_Terms, _Terms]]] = {}
    for band in bands:
        for prefix in _parts(old, new, band):
            terms = old.find(prefix, band), new.find(prefix, band)
            found.setdefault(prefix, {})[band] = terms
    for prefix in sorted(found):
        by_band = found[prefix]
        rates = {(before.rate, after.rate) for before, after in by_band.values()}
        if len(rates) == 1 and len(by_band) == len(bands):
            by_band = {None: by_band[""]}
        for told, (before, after) in by_band.items():
            yield DeckChange(
                prefix=prefix,
                destination=after.destination or before.destination,
                band=told,
                change=_change(before.rate, after.rate),
                currency=currency,
                old_units=_first_price(before.rate),
                new_units=_first_price(after.rate),
            )


def _parts(old: _InForce, new: _InForce, band: str) -> list[str]:
    """Return the prefixes by which numbers are rated in a band, in either deck, in order."""
    prefixes: set[str] = set()
    for deck in (old, new):
        prefixes.update(deck.by_band[""], deck.by_band.get(band, ()))
    ordered = sorted(prefixes)
    hollow = _hollow(ordered)
    return [prefix for prefix in ordered if prefix not in hollow]


def _change(before: Rate | None, after: Rate | None) -> RateChange:
    if before == after:
        return RateChange.UNCHANGED
    if before is None:
        return RateChange.NEW
    if after is None:
        return RateChange.CLOSED
    old, new = before.steps[0].price_per_minute, after.steps[0].price_per_minute
    if old == new:
        return RateChange.TERMS
    return RateChange.INCREASE if old < new else RateChange.DECREASE


def _hollow(prefixes: list[str]) -> set[str]:
    """Return the prefixes, of sorted ones, whose numbers are all under longer ones."""
    hollow = set()
    around: list[tuple[str, list[int]]] = []  # a prefix, and how many numbers longer ones hold
    for prefix in (*prefixes, "end"):
        while around and not prefix.startswith(around[-1][0]):
            inner, covered = around.pop()
            width = 10 ** (MAX_DIGITS - len(inner))
            if sum(covered) == width:
                hollow.add(inner)
            if around:
                around[-1][1].append(width)
        around.append((prefix, []))
    return hollow


def _first_price(rate: Rate | None) -> int | None:
    return None if rate is None else rate.steps[0].price_per_minute


def _price(units: int | None) -> str:
    return "-" if units is None else money.plain(units)


def _banding(deck: Deck) -> Mapping[str, object]:
    bands = deck.bands
    return {"bands": bands.bands, "zone": bands.time_zone, "rating": deck.band_rating}
