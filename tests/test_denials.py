"""Every reason has a code and a word for each network; the guesser of PINs learns nothing."""

import re
from collections import defaultdict

import pytest

from cardbill import Denial, Denied

CODES = {
    "unknown_credential",
    "locked_out",
    "blocked",
    "void",
    "not_sold",
    "not_assigned",
    "not_yet_effective",
    "expired",
    "exhausted",
    "insufficient_balance",
    "too_many_calls",
    "limit_reached",
    "destination_barred",
    "no_rate",
    "no_route",
    "invalid_number",
    "below_minimum",
}
TOLD = ("prompt", "sip", "q850", "radius", "http")
GUESSERS_SEE_ALIKE = [Denial.UNKNOWN_CREDENTIAL, Denial.LOCKED_OUT, Denial.BLOCKED]


def test_the_codes_are_those_of_the_domain_and_each_is_its_own():
    assert {denial.value for denial in Denial} == CODES  # stable: logs and reports carry them
    assert len(Denial.__members__) == len(CODES)  # an alias would hide a reason
    assert {denial.name for denial in Denial} == {code.upper() for code in CODES}


@pytest.mark.parametrize("denial", Denial)
def test_every_network_is_told_something_it_understands(denial: Denial):
    assert re.fullmatch(r"[A-Z][A-Za-z ]+\.", denial.prompt)
    assert 400 <= denial.sip <= 699
    assert 1 <= denial.q850 <= 127
    assert denial.q850 != 16  # a normal clearing would count as a call that was made
    assert 1 <= denial.radius <= 12  # 0 is success, 13 lets toll-free calls pass, 50 redirects
    assert 400 <= denial.http <= 599
    assert {type(getattr(denial, name)) for name in TOLD[1:]} == {int}


@pytest.mark.parametrize("name", TOLD)
def test_unknown_locked_and_blocked_are_alike_to_caller_and_networks(name: str):
    assert len({getattr(denial, name) for denial in GUESSERS_SEE_ALIKE}) == 1


def test_what_sounds_alike_to_a_caller_is_alike_in_sip():
    by_prompt = defaultdict(set)
    for denial in Denial:
        if denial not in (Denial.NO_RATE, Denial.DESTINATION_BARRED):  # no secret in a number
            by_prompt[denial.prompt].add((denial.sip, denial.q850))
    assert {len(codes) for codes in by_prompt.values()} == {1}


def test_money_and_numbers_have_the_codes_switches_act_on():
    assert Denial.EXHAUSTED.sip == Denial.INSUFFICIENT_BALANCE.sip == 402
    assert Denial.INVALID_NUMBER.q850 == 28  # invalid number format
    assert Denial.NO_ROUTE.q850 == 34  # no circuit available
    assert Denial.TOO_MANY_CALLS.q850 == 17  # busy


def test_a_refusal_says_no_twice_and_speaks_with_its_reason():
    for denial in Denial:
        refusal = Denied(reason=denial)
        assert refusal.granted is False
        assert refusal.authenticated is False
        assert refusal.prompt == denial.prompt
