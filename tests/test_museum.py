"""Defects of other software, rebuilt here one by one: each is caught, and the list is whole."""

from pathlib import Path
from typing import NoReturn

import pytest
from attrs import evolve

from cardbill import Engine
from cardbill.errors import InvalidInput
from tests.museum.exhibits import Defect, patched
from tests.museum.page import PAGE, draw
from tests.museum.table import DEFECTS

POSSIBLE = [defect for defect in DEFECTS if not defect.cannot]
EXCLUDED = [defect for defect in DEFECTS if defect.cannot]


def empty(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def caught(defect: Defect, folder: Path) -> None:
    """Assert that each way to break the code fails the check, as was foretold."""
    assert defect.rebuilds
    assert defect.check is not None
    for number, rebuild in enumerate(defect.rebuilds):
        with rebuild(), pytest.raises(defect.failures):
            defect.check(empty(folder / f"rebuilt-{number}"))
    # Last, so that a rebuild that left something behind would be noticed.
    defect.check(empty(folder / "sound"))


@pytest.mark.parametrize("defect", POSSIBLE, ids=lambda defect: str(defect.number))
def test_the_defect_is_caught(defect: Defect, tmp_path: Path):
    caught(defect, tmp_path)


@pytest.mark.parametrize("slip", [InvalidInput("pin", None, "a slip"), AttributeError("a slip")])
def test_a_switch_that_only_breaks_something_else_is_not_counted(slip: Exception, tmp_path: Path):
    """One with a typo, say: what it raises is no sign of the defect."""

    def slips(*_: object, **__: object) -> NoReturn:
        raise slip

    for number in (1, 5):  # one of a defect that names an error, too
        (defect,) = [each for each in POSSIBLE if each.number == number]
        wrong = evolve(defect, rebuilds=(lambda: patched((Engine, "settle", slips)),))
        with pytest.raises(type(slip), match="a slip"):
            caught(wrong, tmp_path / str(number))


@pytest.mark.parametrize("defect", EXCLUDED, ids=lambda defect: str(defect.number))
def test_the_reason_why_a_defect_cannot_occur_holds(defect: Defect, tmp_path: Path):
    assert defect.rebuilds == ()
    assert defect.check is not None
    defect.check(tmp_path)


def test_all_ninety_four_are_there_once():
    assert [defect.number for defect in DEFECTS] == list(range(1, 95))
    assert (len(POSSIBLE), len(EXCLUDED)) == (92, 2)
    assert all(defect.found_in and defect.symptom.endswith(".") for defect in DEFECTS)


def test_each_check_hangs_beside_one_defect_only():
    assert len({defect.check for defect in DEFECTS}) == len(DEFECTS)


def test_the_page_shows_the_table():
    assert PAGE.read_text(encoding="utf-8") == draw(), "run python -m tests.museum"
