"""The pytest plugin ``cardbill``: a report of what each store was held to, and how it did.

It is loaded whenever pytest starts where cardbill is installed, so it imports nothing until
a test of :class:`cardbill.testing.StorageContract` runs. ``-p no:cardbill`` leaves it out;
the suite itself does not need it.
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from cardbill.testing.report import Report

_KEY = "cardbill"
"""Where a test's report carries what is told of it; a worker of pytest-xdist sends it along."""

pytest.register_assert_rewrite("cardbill.testing.conformance")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--cardbill-report``."""
    parser.getgroup("cardbill").addoption(
        "--cardbill-report",
        metavar="FILE",
        help="write what each store was held to by StorageContract, and how it did, as JSON",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Collect results, where they come together."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Collector(config), "cardbill-report")


@pytest.hookimpl(hookwrapper=True)  # which pytest of any age takes, whatever test it is for
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    """Note on a test's report which store it is of, and which promise."""
    outcome = yield
    if (told := _facts(item)) is not None:
        setattr(outcome.get_result(), _KEY, told)


def _facts(item: pytest.Item) -> dict[str, Any] | None:
    """What is told of a check of the contract; ``None``: it is another test."""
    suite: Any = sys.modules.get("cardbill.testing.conformance")
    owner: Any = getattr(item, "cls", None)
    if suite is None or owner is None or not issubclass(owner, suite.StorageContract):
        return None
    from cardbill.testing.report import facts

    return facts(item, owner)


class _Collector:
    """Hears of every test, also of those that ran in a worker."""

    def __init__(self, config: pytest.Config) -> None:
        self._file: str | None = config.getoption("--cardbill-report")
        self._report: Report | None = None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if (told := getattr(report, _KEY, None)) is not None:
            self._begun().add(told, report)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if self._report is None and self._file is None:
            return
        report = self._begun()
        terminalreporter.section("cardbill: stores held to the contract")
        for line in report.lines():
            terminalreporter.line(line)
        if self._file is not None:
            path = Path(self._file)
            path.write_text(report.as_json(), encoding="utf-8")
            terminalreporter.line(f"written to {path}")

    def _begun(self) -> Report:
        if self._report is None:
            from cardbill.testing.report import Report

            self._report = Report()
        return self._report
