"""Run rating vectors: ``python -m cardbill.testing.vectors [FILE.json ...]``.

Without files, those that ship with cardbill. Prints how many passed and failed by group,
and the first differences. Exit status 1 on any failure or unknown group; a known group
that is only not supported yet is said and does not fail. Needs neither pytest nor
hypothesis. The form of a file is described in ``cardbill/testing/data/README.md``.
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
from cardbill.errors import CardbillError
from cardbill.increments import Step
from cardbill.rating import Rate, Rounding, billed_seconds, max_duration, price

DATA = Path(__file__).parent / "data"
RATED = ("price", "tiers", "rounding", "free_seconds", "minimum_charge", "documented")
"""Groups that give talk time (or, in ``documented``, money) and a rate."""
NOT_YET = ("bands_split",)
"""Groups that this version of cardbill does not support yet."""

_SHOWN = 10
_EXPECTED = ("price", "billed_seconds", "max_seconds")


@define
class Tally:
    """What a run found.

    Attributes:
        passed, failed: How many vectors, by group.
        unsupported: Vectors of groups that are not supported yet, by group.
        unknown: Vectors of groups that nobody knows, by group.
        differences: One line for each failure.
    """

    passed: Counter[str] = field(factory=Counter)
    failed: Counter[str] = field(factory=Counter)
    unsupported: Counter[str] = field(factory=Counter)
    unknown: Counter[str] = field(factory=Counter)
    differences: list[str] = field(factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing failed, nothing was unknown, and something passed or was left."""
        ran = self.passed.total() + self.unsupported.total()
        return not self.failed and not self.unknown and ran > 0


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
    if group in NOT_YET:
        tally.unsupported[group] += 1
    elif group not in (*RATED, "max_duration"):
        tally.unknown[group] += 1
    elif difference := check(vector):
        tally.failed[group] += 1
        tally.differences.append(f"{group} {vector.get('id')}: {difference}")
    else:
        tally.passed[group] += 1


def check(vector: Mapping[str, Any]) -> str:
    """Return how cardbill's answer to one vector differs; empty: it does not."""
    try:
        answers = _answers(vector, _rate(**vector["rate"]))
        expected = {
            name: _units(vector[name]) if name == "price" else vector[name]
            for name in _EXPECTED
            if name in vector
        }
    except (CardbillError, KeyError, TypeError, ValueError) as error:
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
    return money.units("amount", amount, "XXX")


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
    for group, count in sorted(tally.unsupported.items()):
        print(f"{group:16} {count:5} not supported yet")
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
