"""What people dial becomes E.164 digits or is refused, and no digit of it is ever repeated."""

import re
import traceback
from typing import Any

import pytest
from attrs import evolve
from hypothesis import example, given, strategies as st

from cardbill import NORTH_AMERICA, DialPlan
from cardbill.dialing import caller_number, is_digits
from cardbill.errors import InvalidInput, InvalidNumber

UNITED_KINGDOM = DialPlan(
    country_code="44", international_prefix="00", national_prefix="0", national_lengths=(9, 10)
)
GERMANY = DialPlan(country_code="49", international_prefix="00", national_prefix="0")
ITALY = DialPlan(country_code="39", international_prefix="00")
RUSSIA = DialPlan(
    country_code="7", international_prefix="810", national_prefix="8", national_lengths=(10,)
)
PLANS = [NORTH_AMERICA, UNITED_KINGDOM, GERMANY, ITALY, RUSSIA]


@pytest.mark.parametrize(
    ("plan", "dialled", "number"),
    [
        (NORTH_AMERICA, "13055551234", "13055551234"),
        (NORTH_AMERICA, "3055551234", "13055551234"),
        (NORTH_AMERICA, "+13055551234", "13055551234"),
        (NORTH_AMERICA, "(305) 555-1234", "13055551234"),
        (NORTH_AMERICA, "1-305-555-1234", "13055551234"),
        (NORTH_AMERICA, "305.555.1234", "13055551234"),
        (NORTH_AMERICA, "+1 (305) 555-1234", "13055551234"),
        (NORTH_AMERICA, " 305 555 1234 ", "13055551234"),
        (NORTH_AMERICA, "011442071234567", "442071234567"),
        (NORTH_AMERICA, "011 44 (20) 7123-4567", "442071234567"),
        (NORTH_AMERICA, "+442071234567", "442071234567"),
        (NORTH_AMERICA, "0116821234", "6821234"),  # 7 digits: the fewest that are dialled
        (NORTH_AMERICA, "+123456789012345", "123456789012345"),
        (UNITED_KINGDOM, "02071234567", "442071234567"),
        (UNITED_KINGDOM, "2071234567", "442071234567"),
        (UNITED_KINGDOM, "020 7123 4567", "442071234567"),
        (UNITED_KINGDOM, "0800 123 456", "44800123456"),
        (UNITED_KINGDOM, "0013055551234", "13055551234"),
        (UNITED_KINGDOM, "00442071234567", "442071234567"),
        (UNITED_KINGDOM, "+442071234567", "442071234567"),
        (GERMANY, "030 123456", "4930123456"),
        (GERMANY, "30123456", "4930123456"),
        (GERMANY, "0049 30 123456", "4930123456"),
        (ITALY, "06 1234 5678", "390612345678"),  # its zero belongs to the number
        (ITALY, "0039 06 1234 5678", "390612345678"),
        (RUSSIA, "8 (495) 123-45-67", "74951234567"),
        (RUSSIA, "4951234567", "74951234567"),
        (RUSSIA, "8 800 123 45 67", "78001234567"),  # an area code may begin with the prefix
        (RUSSIA, "8001234567", "78001234567"),
        (RUSSIA, "8 10 44 20 7123 4567", "442071234567"),
    ],
)
def test_a_number_is_understood_as_callers_of_the_country_dial_it(
    plan: DialPlan, dialled: str, number: str
):
    assert plan.e164(dialled) == number


@pytest.mark.parametrize(
    "dialled",
    [
        "",
        " ",
        "+",
        "-",
        "()",
        "0",
        "011",
        "0110",
        "911",
        "305555123",
        "30555512345",
        "113055551234",
        "23055551234",
        "+0123456789",
        "0110442071234567",
        "+011442071234567",
        "+123456",
        "+1234567890123456",
        "011" + "1" * 16,
        "1" * 1_000_000,
        "1-800-FLOWERS",
        "305555123O",
        "3055551234;DROP TABLE cards",
        "3055551234'--",
        "3055551234\n",
        "\n3055551234",
        "3055551234\t",
        "3055551234\0",
        "305_555_1234",
        "305,555,1234",
        "305/555/1234",
        "3055551234#",
        "*3055551234",
        "3055551234x12",
        "++13055551234",
        "+1+3055551234",
        "1+3055551234",
        "00+13055551234",
        "٣٠٥٥٥٥١٢٣٤",
        "\uff13\uff10\uff15\uff15\uff15\uff15\uff11\uff12\uff13\uff14",
        "305555123²",
        "३०५५५५१२३४",
        "305\u00a0555\u00a01234",
        "305\u2011555\u20111234",
        "\u202d3055551234",
        "\uff113055551234",
        "1.3e10",
        "011511234",
    ],
)
def test_what_is_no_number_is_refused(dialled: str):
    with pytest.raises(InvalidNumber) as caught:
        NORTH_AMERICA.e164(dialled)
    assert caught.value.field == "to"
    assert_repeats_nothing(caught.value, dialled)


@pytest.mark.parametrize("dialled", [None, 3055551234, b"3055551234", ["3"], 3055551234.0])
def test_a_number_is_text(dialled: str):
    with pytest.raises(InvalidNumber, match="must be text") as caught:
        NORTH_AMERICA.e164(dialled)
    assert_repeats_nothing(caught.value, str(dialled))


@pytest.mark.parametrize("dialled", ["00", "000", "0001234567", "0", "01234567", "02071234567890"])
def test_other_plans_refuse_by_their_own_lengths(dialled: str):
    with pytest.raises(InvalidNumber):
        UNITED_KINGDOM.e164(dialled)


# -- a PIN at the wrong prompt --------------------------------------------------------------


@pytest.mark.parametrize("plan", [NORTH_AMERICA, UNITED_KINGDOM])
@given(pin=st.integers(0, 10**12 - 1).map("{:012d}".format))
@example(pin="123456789012")
@example(pin="100000000000")
@example(pin="012345678901")
def test_a_pin_of_12_digits_typed_as_a_number_is_refused_in_silence(plan: DialPlan, pin: str):
    if pin.startswith(plan.international_prefix):
        return  # nobody can tell it from a call abroad
    with pytest.raises(InvalidNumber) as caught:
        plan.e164(pin)
    assert_repeats_nothing(caught.value, pin)


@given(st.sampled_from(PLANS), st.text("0123456789*#+ ", min_size=4, max_size=40))
def test_no_error_ever_repeats_what_was_dialled(plan: DialPlan, dialled: str):
    try:
        plan.e164(dialled)
    except InvalidNumber as error:
        assert_repeats_nothing(error, dialled)


def assert_repeats_nothing(error: InvalidNumber, dialled: str) -> None:
    assert error.value is None
    assert error.__cause__ is None
    assert error.__context__ is None
    told = " ".join((str(error), repr(error), *map(str, error.args), *map(str, vars(error))))
    told += " ".join(traceback.format_exception_only(error))
    digits = re.sub(r"\D", "", dialled)
    for start in range(min(len(digits), 40) - 3):
        assert digits[start : start + 4] not in re.sub("at (least|most) 15", "", told)


# -- every number that comes out ------------------------------------------------------------


@given(st.sampled_from(PLANS), st.text("0123456789+-. ()", max_size=24) | st.text(max_size=16))
def test_what_comes_out_is_a_whole_e164_number_that_dials_as_itself(plan: DialPlan, dialled: str):
    try:
        number = plan.e164(dialled)
    except InvalidNumber:
        return
    assert re.fullmatch(r"[1-9][0-9]{6,14}", number)
    assert plan.e164("+" + number) == number
    assert plan.e164(plan.international_prefix + number) == number
    assert number.endswith(re.sub(r"[^0-9]", "", dialled)[-4:])


@given(st.sampled_from(PLANS), st.integers(2_000_000_000, 9_999_999_999).map(str))
def test_separators_change_nothing(plan: DialPlan, digits: str):
    written = f" ({digits[:3]}) {digits[3:6]}-{digits[6:8]}.{digits[8:]} "
    try:
        number = plan.e164(digits)
    except InvalidNumber:
        with pytest.raises(InvalidNumber):
            plan.e164(written)
    else:
        assert plan.e164(written) == number


# -- dial plans -----------------------------------------------------------------------------

GOOD: dict[str, Any] = {"country_code": "44", "international_prefix": "00"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("country_code", ""),
        ("country_code", "+44"),
        ("country_code", "4 4"),
        ("country_code", "٤٤"),
        ("country_code", "UK"),
        ("country_code", "44\n"),
        ("country_code", None),
        ("country_code", 44),
        ("country_code", "044"),
        ("international_prefix", ""),
        ("international_prefix", "+"),
        ("international_prefix", "00 "),
        ("international_prefix", 11),
        ("international_prefix", None),
        ("national_prefix", "x"),
        ("national_prefix", "+0"),
        ("national_prefix", 8),
        ("national_lengths", 10),
        ("national_lengths", ("10",)),
        ("national_lengths", (0,)),
        ("national_lengths", (-3,)),
        ("shortest", 0),
        ("shortest", -1),
        ("shortest", 16),
        ("shortest", "7"),
        ("shortest", None),
        ("shortest", 7.5),
        ("other_international_prefixes", "00"),
        ("other_international_prefixes", ["00"]),
        ("other_international_prefixes", ("00", "+")),
        ("other_national_prefixes", ("",)),
        ("other_national_prefixes", (8,)),
        ("other_national_prefixes", None),
        ("area_code", "x"),
        ("area_code", None),
        ("area_code", "20"),  # and no national lengths
        ("check", "perhaps"),
    ],
)
def test_a_dial_plan_with_a_field_that_cannot_be_used_is_refused_by_name(field: str, value: object):
    with pytest.raises(InvalidInput) as caught:
        DialPlan(**{**GOOD, field: value})
    assert field in caught.value.field


def test_the_shortest_number_is_a_choice():
    brief = DialPlan(country_code="44", international_prefix="00", shortest=3)
    assert brief.e164("9") == "449"
    with pytest.raises(InvalidNumber, match="too short"):
        brief.e164("+44")


def test_a_national_prefix_may_be_left_out_even_where_numbers_begin_with_it():
    plan = DialPlan(
        country_code="36", international_prefix="00", national_prefix="06", national_lengths=(8,)
    )
    assert plan.e164("0612345678") == "3612345678"
    assert plan.e164("12345678") == "3612345678"
    assert plan.e164("06123456") == "3606123456"  # 8 digits: the national number itself


def test_other_prefixes_are_tried_first_and_in_their_order():
    plan = DialPlan(
        country_code="55",
        international_prefix="00",
        other_international_prefixes=("0015", "001"),
        national_prefix="0",
        other_national_prefixes=("021", "02"),
        national_lengths=(8, 10),
    )
    assert plan.e164("0015 44 20 7123 4567") == "442071234567"
    assert plan.e164("001 44 20 7123 4567") == "442071234567"
    assert plan.e164("00 44 20 7123 4567") == "442071234567"
    assert plan.e164("021 3333 4444") == "5533334444"
    assert plan.e164("02 3333 4444") == "5533334444"
    assert plan.e164("0 21 3333 4444") == "5533334444"  # of two readings the first
    assert plan.e164("0 33 3333 4444") == "553333334444"


def test_a_local_number_is_one_of_the_home_area():
    miami = evolve(NORTH_AMERICA, area_code="305")
    for dialled in ("555 1234", "305 555 1234", "1 305 555 1234", "+1 305 555 1234"):
        assert miami.e164(dialled) == "13055551234"
    for dialled in ("1 555 1234", "55 1234", "5555 1234"):
        with pytest.raises(InvalidNumber):
            miami.e164(dialled)
    with pytest.raises(InvalidNumber):
        NORTH_AMERICA.e164("555 1234")


# -- the caller's number --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ani", "number"),
    [
        ("+13055551234", "+13055551234"),
        ("13055551234", "13055551234"),
        ("(305) 555-1234", "3055551234"),
        ("+1 305.555.1234", "+13055551234"),
        ("0", "0"),
        ("911", "911"),
        ("1" * 20, "1" * 20),
        ("+" + "1" * 20, "+" + "1" * 20),
    ],
)
def test_a_callers_number_is_kept_as_far_as_it_is_one(ani: str, number: str):
    assert caller_number(ani) == number


@pytest.mark.parametrize(
    "ani",
    [
        None,
        "",
        " ",
        "+",
        "++1",
        "1+",
        "anonymous",
        "Anonymous <sip:anonymous@anonymous.invalid>",
        "unknown",
        "'; DROP TABLE cards; --",
        "1' OR '1'='1",
        "3055551234\r\nX-Injected: 1",
        "3055551234\n",
        "\n",
        "3055551234\0",
        "1" * 21,
        "1" * 1_000_000,
        "+" * 1_000,
        "٣٠٥٥٥٥١٢٣٤",
        "²",
        "\uff11",
        "${jndi:ldap://x}",
        "=1+1",
        "<script>",
        b"3055551234",
        3055551234,
        3055551234.0,
        True,
        ["1"],
        {"1": 1},
        "\ud800",
        "1\u202e2",
    ],
)
def test_what_is_no_callers_number_is_none_and_never_an_error(ani: object):
    assert caller_number(ani) is None


@given(st.text() | st.text("0123456789+ -.()", max_size=25) | st.binary() | st.integers())
def test_a_callers_number_is_nothing_but_digits(ani: object):
    number = caller_number(ani)
    assert number is None or re.fullmatch(r"\+?[0-9]{1,20}", number)


@pytest.mark.parametrize("text", ["0", "0123456789", "1" * 5_000])
def test_digits_are_ascii_digits(text: str):
    assert is_digits(text)


@pytest.mark.parametrize(
    "text", ["", "²", "①", "٣", "\uff11", "1\n", " 1", "1_0", "-1", "+1", "1.0"]
)
def test_nothing_else_is_digits(text: str):
    assert not is_digits(text)
