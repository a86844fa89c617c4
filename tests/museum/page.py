"""The page of the documentation that shows the museum, drawn from its table."""

from tests.museum.exhibits import Defect
from tests.museum.table import DEFECTS
from tests.source_tree import ROOT

PAGE = ROOT / "docs" / "explanation" / "museum.md"


def draw() -> str:
    """Return the page."""
    possible = [defect for defect in DEFECTS if not defect.cannot]
    ways = sum(len(defect.rebuilds) for defect in possible)
    lines = [
        "# The museum of defects",
        "",
        "<!-- drawn by python -m tests.museum: change the table, then run it again -->",
        "",
        f"These {len(DEFECTS)} defects were found in billing systems, switches, ledgers, shops and",
        "databases: reported in their issues, or read in their sources. Each one that can occur in",
        "cardbill is rebuilt in its tests: a switch breaks the code as the defect does, or as what",
        "corresponds to it here. With the switch on, a check of what a user gets must fail, by an",
        "assertion or the one error that is expected; with it off, the same check must pass. The",
        "others say what excludes them.",
        "",
        f"**{len(possible)} of {len(DEFECTS)}** can occur; they are rebuilt in {ways} ways, and",
        "each is caught. That tells what the tests notice, and nothing of defects that nobody has",
        "thought of. Where a report does not tell the cause, the rebuild stands for the symptom.",
        "",
        "Rebuilds and checks are in `tests/museum`, a file for each kind of defect;",
        "`pytest tests/test_museum.py` runs them.",
        "",
        "| | found in | what went wrong | here |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {defect.number} | {defect.found_in} | {defect.symptom} | {_here(defect)} |"
        for defect in DEFECTS
    ]
    return "\n".join([*lines, ""])


def _here(defect: Defect) -> str:
    if defect.cannot:
        return f"*Cannot occur.* {defect.cannot}"
    return f"Caught: {defect.shown_by}."
