"""Run rating vectors: ``python -m cardbill.testing.vectors [FILE.json ...]``.

Without files, those that ship with cardbill. Prints how many passed and failed by group,
and the first differences. Exit status 1 on any failure or unknown group. Needs neither
pytest nor hypothesis. The form of a file is described in
``cardbill/testing/data/README.md``.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import define, field

from cardbill import money
from cardbill.bands import Band, BandRating
from cardbill.decks import Deck, DeckRow
from cardbill.errors import CardbillError
from cardbill.increments import Step
from cardbill.instants import parse_instant
from cardbill.rating import MINUTE, Rate, Rounding, billed_seconds, max_duration, price

DATA = Path(__file__).parent / "data"
RATED = ("price", "tiers", "rounding", "free_seconds", "minimum_charge", "documented")
"""Groups that give talk time (or, in ``documented``, money) and a rate."""
BANDED = "bands_split"
"""The group that gives bands of the week with their rates, an answer and talk time."""

_SHOWN = 10
_EXPECTED = ("price", "billed_seconds", "max_seconds")
_BANDED_TERMS = ("bands", "time_zone", "start", "seconds", "rounding")
_WEEK = dict(enumerate(("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"), start=1))
_NUMBER = "1"
_CURRENCY = "XXX"


@define
class Tally:
    """What a run found.

    Attributes:
        passed, failed: How many vectors, by group.
        unknown: Vectors of groups that nobody knows, by group.
        differences: One line for each failure.
    """

    passed: Counter[str] = field(factory=Counter)
    failed: Counter[str] = field(factory=Counter)
    unknown: Counter[str] = field(factory=Counter)
    differences: list[str] = field(factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing failed, nothing was unknown, and something passed."""
        return not self.failed and not self.unknown and self.passed.total() > 0


def packaged() -> list[Path]:
    """Return the vector files that ship with cardbill."""
    return sorted(DATA.glob("*.json"))


def run(files: Iterable[Path]) -> Tally:
    """Run every vector of these files.

    Raises:
        OSError, ValueError: A file cannot be read as a list of JSON objects; it is named.
    """
    tally = Tally()
    for path in files:
        for vector in _read(path):
            _count(tally, vector)
    return tally


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        vectors = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from error
    if not isinstance(vectors, list) or not all(isinstance(v, dict) for v in vectors):
        raise ValueError(f"{path.name}: must hold a list of objects")
    return vectors


def _count(tally: Tally, vector: Mapping[str, Any]) -> None:
    group = str(vector.get("group"))
    if group not in (*RATED, "max_duration", BANDED):
        tally.unknown[group] += 1
    elif difference := check(vector):
        tally.failed[group] += 1
        tally.differences.append(f"{group} {vector.get('id')}: {difference}")
    else:
        tally.passed[group] += 1


def check(vector: Mapping[str, Any]) -> str:
    """Return how cardbill's answer to one vector differs; empty: it does not."""
    try:
        if vector["group"] == BANDED:
            answers = _banded_answers(**{name: vector[name] for name in _BANDED_TERMS})
        else:
            answers = _answers(vector, _rate(**vector["rate"]))
        expected = {
            name: _units(vector[name]) if name == "price" else vector[name]
            for name in _EXPECTED
            if name in vector
        }
    except (CardbillError, LookupError, TypeError, ValueError, ArithmeticError) as error:
        return f"cannot be run: {error!r}"
    if not expected:
        return "expects nothing"
    return "; ".join(
        f"{name} is {answers.get(name)}, expected {value}"
        for name, value in expected.items()
        if name not in answers or answers[name] != value
    )


def _answers(vector: Mapping[str, Any], rate: Rate) -> dict[str, int | None]:
    answers: dict[str, int | None] = {}
    if "seconds" in vector:
        answers["price"] = price(rate, vector["seconds"])
        answers["billed_seconds"] = billed_seconds(rate, vector["seconds"])
    if "available" in vector:
        answers["max_seconds"] = max_duration(rate, _units(vector["available"])).seconds
    return answers


def _banded_answers(
    *,
    bands: Sequence[Mapping[str, Any]],
    time_zone: str,
    start: str,
    seconds: int,
    rounding: Mapping[str, Any],
) -> dict[str, int | None]:
    """Return what a call costs that is answered at `start`, when it is granted too."""
    at = parse_instant("start", start, time_zone)
    numbered = [(f"band {number}", band) for number, band in enumerate(bands, start=1)]
    deck = Deck.compile(
        [
            DeckRow(prefix=_NUMBER, band=name, rate=_band_rate(rounding, **band))
            for name, band in numbered
        ],
        currency=_CURRENCY,
        bands=[Band(name, _windows(band, bands)) for name, band in numbered],
        time_zone=time_zone,
        band_rating=BandRating.SPLIT,
    )
    match = deck.match(_NUMBER, at)
    if match is None:
        raise ValueError("no band at the start of the call")
    tariff = deck.tariff(match, _NUMBER, at, seconds)
    return {
        "price": tariff.price(seconds, at),
        "billed_seconds": tariff.billed_seconds(seconds, at),
    }


def _band_rate(
    rounding: Mapping[str, Any],
    *,
    weekdays: object,  # noqa: ARG001  # when it applies: see _windows
    start: object,  # noqa: ARG001
    price: str,
    per_seconds: int,
    increment: int,
    connect_fee: str,
) -> Rate:
    """Return the rate of a band from its terms: any other term is a TypeError."""
    per_minute, rest = divmod(_units(price) * MINUTE, per_seconds)
    if rest:
        raise ValueError(f"price per {per_seconds} s is no whole price per minute")
    return Rate(
        steps=(Step(0, per_minute, increment),),
        connect_fee=_units(connect_fee),
        rounding=_rounding(**rounding),
    )


def _windows(band: Mapping[str, Any], bands: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return a window for each weekday: up to the next band of that weekday, or midnight."""
    windows = []
    for weekday in band["weekdays"]:
        later = [
            other["start"]
            for other in bands
            if weekday in other["weekdays"] and other["start"] > band["start"]
        ]
        hours = f"{_minutes(band['start'])}-{_minutes(min(later, default='24:00:00'))}"
        windows.append(f"{_WEEK[weekday]} {hours}")
    return windows


def _minutes(clock: str) -> str:
    minutes, colon, seconds = clock.rpartition(":")
    if (colon, seconds) != (":", "00"):
        raise ValueError(f"{clock!r} is no whole minute")
    return minutes


def _rate(
    *,
    steps: Iterable[Mapping[str, Any]],
    connect_fee: str,
    free_seconds: int,
    minimum_charge: str,
    rounding: Mapping[str, Any],
    grace_seconds: int = 0,
) -> Rate:
    """Return a rate from the terms of a vector: any other term is a TypeError."""
    return Rate(
        steps=tuple(_step(**step) for step in steps),
        connect_fee=_units(connect_fee),
        grace_seconds=grace_seconds,
        free_seconds=free_seconds,
        minimum_charge=_units(minimum_charge),
        rounding=_rounding(**rounding),
    )


def _step(*, from_second: int, price_per_minute: str, increment: int) -> Step:
    return Step(from_second, _units(price_per_minute), increment)


def _rounding(*, decimals: int, mode: str) -> Rounding:
    return Rounding(10 ** (money.DECIMALS - decimals), mode)


def _units(amount: str) -> int:
    return money.units("amount", amount, _CURRENCY)


def main(arguments: Sequence[str]) -> int:
    """Run the files named, or those that ship; return the exit status."""
    files = [Path(name) for name in arguments] or packaged()
    try:
        tally = run(files)
    except (OSError, ValueError) as error:
        print(f"vectors: {error}", file=sys.stderr)
        return 1
    for group in sorted(tally.passed.keys() | tally.failed.keys()):
        print(f"{group:16} {tally.passed[group]:5} passed {tally.failed[group]:5} failed")
    for group, count in sorted(tally.unknown.items()):
        print(f"{group:16} {count:5} of a group that is not known")
    for difference in tally.differences[:_SHOWN]:
        print(difference)
    if len(tally.differences) > _SHOWN:
        print(f"... and {len(tally.differences) - _SHOWN} more")
    print(f"vectors: {tally.passed.total()} passed, {tally.failed.total()} failed")
    return 0 if tally.ok else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
