"""Stores with planted faults, each an imaginable slip, that the conformance suite must catch.

Each fault names the checks that must fail. `python -m tests.faults` prints every check that does.
"""

from tests.faults import (  # noqa: F401  # each adds its faults to the table
    adding,
    attempts,
    finding,
    histories,
    keeping,
    lines,
    processes,
    remembering,
    shelves,
    steps,
)
from tests.faults.table import FAULTS, failures

__all__ = ["FAULTS", "failures"]
