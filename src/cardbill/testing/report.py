"""What each store was held to: each check passed, failed, was omitted and why, or did not run."""

from __future__ import annotations

import inspect
import json
import platform
from collections.abc import Iterator
from itertools import groupby
from typing import Any

import pytest
from attrs import asdict, define, field

FORMAT = 1
"""Of the JSON; raised when a reader must change."""

PASSED, FAILED, OMITTED, NOT_RUN = RESULTS = ("passed", "failed", "omitted", "not run")

OWN = "own"
"""The part of the checks that a store's class adds to the contract's."""


def facts(item: pytest.Item, owner: Any) -> dict[str, Any]:
    """Return what is told of a check of a store, in plain values that another process can send.

    Args:
        item: The test.
        owner: Its class, a contract's.
    """
    from cardbill.testing.conformance.declaring import checks

    name = getattr(item, "originalname", None) or item.name
    variant = getattr(getattr(item, "callspec", None), "id", "")
    promise = inspect.getdoc(getattr(item, "function", None)) or ""
    return {
        "store": item.nodeid.rpartition("::")[0] + (f"[{variant}]" if variant else ""),
        "durable": bool(owner.durable),
        "shared": bool(owner.shared),
        "rounds": int(owner.rounds),
        "part": checks(owner).get(name, OWN),
        "check": name,
        "promise": promise.partition("\n\n")[0].replace("\n", " "),
    }


@define
class Check:
    """One check of one store.

    Attributes:
        part: The part of the contract that it belongs to, or `OWN`.
        check: The test's name.
        promise: What it holds the store to.
        result: One of `RESULTS`.
        reason: Why it failed or was omitted; otherwise empty.
        seconds: How long it took, with its fixtures.
    """

    part: str
    check: str
    promise: str = ""
    result: str = NOT_RUN
    reason: str = ""
    seconds: float = 0.0

    def hear(self, report: pytest.TestReport) -> None:
        """Take in what became of its setup, its call or its teardown."""
        self.seconds = round(self.seconds + report.duration, 3)
        if report.failed or hasattr(report, "wasxfail"):
            self.result, self.reason = FAILED, _why_failed(report)
        elif report.skipped:
            self.result, self.reason = OMITTED, _why_skipped(report)
        elif report.when == "call" and self.result == NOT_RUN:
            self.result = PASSED


@define
class Store:
    """What one store was held to.

    Attributes:
        store: The class that holds it to the contract, and where it is.
        durable, shared, rounds: What the class says.
        checks: All of the contract's and of its own, in order.
    """

    store: str
    durable: bool
    shared: bool
    rounds: int
    checks: list[Check] = field(factory=list)

    def of(self, *results: str) -> list[Check]:
        """Return the checks with one of these results."""
        return [check for check in self.checks if check.result in results]

    @property
    def complete(self) -> bool:
        """Whether every check ran or was omitted for a reason, and none failed."""
        return not self.of(FAILED, NOT_RUN)

    def lines(self) -> Iterator[str]:
        """Tell it to a person."""
        counts = [f"{len(found)} {result}" for result in RESULTS if (found := self.of(result))]
        yield f"{self.store}: {', '.join(counts)} of {len(self.checks)}"
        for (part, reason), group in groupby(self.of(OMITTED), lambda c: (c.part, c.reason)):
            names = [check.check for check in group]
            whole = len(names) == sum(check.part == part for check in self.checks)
            yield f"  omitted {part if whole else ', '.join(names)}: {reason}"
        for check in self.of(FAILED):
            yield f"  failed {check.check}: {check.reason}"


class Report:
    """What was heard of every store."""

    def __init__(self) -> None:
        self._stores: dict[str, Store] = {}

    def add(self, told: dict[str, Any], report: pytest.TestReport) -> None:
        """Take in a phase of a check, with what `facts` told of it."""
        said = {name: told[name] for name in ("store", "durable", "shared", "rounds")}
        store = self._stores.setdefault(told["store"], Store(**said))
        found = next((check for check in store.checks if check.check == told["check"]), None)
        if found is None:
            found = Check(told["part"], told["check"])
            store.checks.append(found)
        elif report.when == "setup":  # it runs once more
            store.checks[store.checks.index(found)] = found = Check(told["part"], told["check"])
        found.promise = told["promise"]
        found.hear(report)

    def stores(self) -> list[Store]:
        """Return them by name, each with all checks of the contract, also with those not run."""
        from cardbill.testing.conformance import StorageContract
        from cardbill.testing.conformance.declaring import checks

        known = checks(StorageContract)
        order = {name: place for place, name in enumerate(known)}
        complete = []
        for store in sorted(self._stores.values(), key=lambda store: store.store):
            heard = {check.check: check for check in store.checks}
            missing = [Check(part, name) for name, part in known.items() if name not in heard]
            every = sorted(
                [*heard.values(), *missing], key=lambda check: order.get(check.check, len(order))
            )
            complete.append(Store(store.store, store.durable, store.shared, store.rounds, every))
        return complete

    def lines(self) -> Iterator[str]:
        """Tell it to a person."""
        stores = self.stores()
        for store in stores:
            yield from store.lines()
        if not stores:
            yield "no test of a StorageContract was run"

    def as_json(self) -> str:
        """Tell it to a program."""
        import cardbill
        from cardbill.storage.contract import CONTRACT_VERSION

        return json.dumps(
            {
                "format": FORMAT,
                "cardbill": cardbill.__version__,
                "contract": CONTRACT_VERSION,
                "python": platform.python_version(),
                "stores": [
                    {
                        **asdict(store, filter=lambda attribute, _: attribute.name != "checks"),
                        "complete": store.complete,
                        "counts": {result: len(store.of(result)) for result in RESULTS},
                        "checks": [asdict(check) for check in store.checks],
                    }
                    for store in self.stores()
                ],
            },
            indent=1,
            ensure_ascii=False,
        )


def _why_failed(report: pytest.TestReport) -> str:
    if hasattr(report, "wasxfail"):
        return f"marked as one that fails: {report.wasxfail}"
    crash = getattr(report.longrepr, "reprcrash", None)
    said = str(report.longrepr) if crash is None else str(crash.message)
    line = said.strip().splitlines()[0] if said.strip() else "it did not say why"
    return line if report.when == "call" else f"in its {report.when}: {line}"


def _why_skipped(report: pytest.TestReport) -> str:
    place = report.longrepr
    said = place[2] if isinstance(place, tuple) else str(place)
    return str(said).removeprefix("Skipped: ")
