"""The conformance suite catches stores that do not keep the contract, and passes those that do."""

from functools import partial
from pathlib import Path

import pytest

from cardbill.testing.conformance.crew import Crew
from tests.faults import FAULTS, failures
from tests.faults.filed import Filed
from tests.faults.table import SOUND, of_parts


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_the_suite_catches_a_planted_fault(fault):
    """Each check that was named beforehand fails at the first try, and not by accident."""
    names, errors = FAULTS[fault]
    for name in names:
        error = failures(fault, [name]).get(name)
        if error is None or not isinstance(error, errors):
            raise AssertionError(f"{name} says {error!r}") from error


@pytest.mark.parametrize("sound", SOUND, ids=lambda sound: sound.__name__)
def test_the_suite_finds_no_fault_where_none_was_planted(sound):
    assert failures(sound, of_parts(SOUND[sound])) == {}


def reads_past_the_end(*_: object) -> None:
    raise EOFError


def test_what_a_store_raises_in_a_process_of_its_own_is_told(tmp_path: Path):
    crew = Crew()
    try:
        with pytest.raises(AssertionError, match=r"in a process of its own(.|\n)*EOFError"):
            crew.rush(partial(Filed, tmp_path / "cards"), reads_past_the_end, [()])
    finally:
        crew.dismiss()
