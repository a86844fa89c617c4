"""The conformance suite catches stores that do not keep the contract, and passes those that do."""

import pytest

from tests.faults import FAULTS, failures
from tests.faults.table import SOUND, of_parts

TRIES = 30
"""What a race, a kill or a random history must bring to light may need more than one."""


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_the_suite_catches_a_planted_fault(fault):
    for name in FAULTS[fault]:
        assert any(failures(fault, [name]) for _ in range(TRIES)), name


@pytest.mark.parametrize("sound", SOUND, ids=lambda sound: sound.__name__)
def test_the_suite_finds_no_fault_where_none_was_planted(sound):
    assert failures(sound, of_parts(SOUND[sound])) == {}
