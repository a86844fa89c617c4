"""Numbers that can exist, and what people are told of them: places, kinds, spelling."""

import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import phonenumbers
import pytest
from hypothesis import given, strategies as st
from phonenumbers import PhoneNumberFormat, PhoneNumberType, geocoder

from cardbill import (
    NORTH_AMERICA,
    AccessNumber,
    Denial,
    DialPlan,
    NumberCheck,
    NumberType,
    dial_plan,
    format_number,
    number_type,
    place_of,
)
from cardbill.callerid import registrable
from cardbill.catalogueitems import ACCESS, decode, encode
from cardbill.errors import ExtraMissing, InvalidInput, InvalidNumber
from cardbill.numberplans import check_number, country_code, phone_number
from tests.building import open_shop
from tests.test_dialplans import is_possible

EXAMPLES = sorted(
    {
        phonenumbers.format_number(number, PhoneNumberFormat.E164)[1:]
        for region in phonenumbers.SUPPORTED_REGIONS
        for kind in PhoneNumberType.values()
        if (number := phonenumbers.example_number_for_type(region, kind))
        and is_possible(number)  # all but Canada's 310 1234
    }
)
NETWORKS = ["80012345678", "870773111632", "88213300000", "979123456789"]
"""Numbers under codes of no country: freephone, satellites, premium rate."""

digits = st.text("0123456789", min_size=1, max_size=15)
e164 = st.sampled_from(EXAMPLES) | st.tuples(st.integers(1, 999), digits).map(
    lambda parts: f"{parts[0]}{parts[1]}"[:15]
)


# -- what can exist -------------------------------------------------------------------------


def passes(number: str, check: NumberCheck) -> bool:
    try:
        check_number(number, check)
    except InvalidNumber:
        return False
    return True


@pytest.mark.parametrize("check", NumberCheck)
def test_numbers_in_use_pass_every_check(check: NumberCheck):
    assert len(EXAMPLES) > 900
    assert [number for number in [*EXAMPLES, *NETWORKS] if not passes(number, check)] == []


@given(e164)
def test_what_is_possible_is_what_the_package_says(number: str):
    found = phone_number(number)
    possible = found is not None and is_possible(found)
    assert passes(number, NumberCheck.POSSIBLE) == possible
    valid = found is not None and phonenumbers.is_valid_number(found)
    assert passes(number, NumberCheck.VALID) == (possible and valid)
    assert passes(number, NumberCheck.NONE)


@given(e164)
def test_a_country_code_is_the_one_the_package_finds(number: str):
    code = country_code(number)
    found = phone_number(number)
    assert (code is None) == (found is None)
    if code is not None and found is not None and len(number) > len(code):
        assert found.country_code == int(code)
        assert phonenumbers.national_significant_number(found) == number[len(code) :]


@pytest.mark.parametrize("number", ["9991234567", "44207123456789", "449999999999"])
def test_no_error_repeats_the_digits(number: str):
    with pytest.raises(InvalidNumber) as refused:
        check_number(number, NumberCheck.VALID)
    assert refused.value.value is None
    assert not re.search("[0-9]{3}", str(refused.value))


@pytest.mark.parametrize(
    ("dialled", "none", "possible", "valid"),
    [
        ("011 44 20 7123 4567", True, True, True),
        ("011 44 20 7123 456", True, True, False),  # 9 digits: some have as many
        ("011 44 20 7123 45678", True, False, False),
        ("011 44 0 20 7123 4567", True, False, False),  # the zero is for calls at home
        ("011 44 99 9999 9999", True, True, False),
        ("011 999 1234567", True, False, False),  # no such country
        ("011 210 1234567", True, False, False),
        ("011 870 773 111632", True, True, True),
        ("305 555 1234", True, True, True),
        ("055 555 1234", True, True, False),  # no area code begins with 0
    ],
)
def test_a_typing_error_is_found_as_far_as_the_plan_looks(
    dialled: str, none: bool, possible: bool, valid: bool
):
    expected = {"none": none, "possible": possible, "valid": valid}
    found = {}
    for check in expected:
        plan = dial_plan("US", check=check)
        try:
            found[check] = plan.called(dialled) == plan.e164(dialled)
        except InvalidNumber:
            found[check] = False
    assert found == expected


def test_the_call_is_denied_and_not_paid_for(tmp_path: Path):
    with open_shop("memory", tmp_path) as shop:
        plan = dial_plan("GB", check="possible")
        shop.bill.access_numbers.publish(AccessNumber(number="442033330000", dial_plan=plan))
        caller = shop.bill.authenticate(pin=shop.pin(), access="442033330000")
        call = shop.bill.authorize(caller, to="00 44 20 7123 45678", call_id="c1")
        assert not call.granted
        assert call.reason is Denial.INVALID_NUMBER
        assert shop.bill.authorize(caller, to="020 7123 4567", call_id="c2").granted


def test_callers_own_numbers_are_not_checked():
    """A number that calls exists, whatever the data say: it can be registered as ever."""
    strict = dial_plan("US", check="valid")
    for ani in ("0555551234", "+999123456789"):
        with pytest.raises(InvalidNumber):
            strict.called(ani)
        assert registrable(ani, strict) == registrable(ani, NORTH_AMERICA) is not None


def test_the_choice_is_kept_in_the_catalogue_and_not_what_it_was_compiled_to():
    made = AccessNumber(number="1800", dial_plan=dial_plan("AU", check="valid"))
    _, _, content = encode(made)
    assert decode(ACCESS, content) == made
    assert b'"check":"valid"' in content
    assert len(content) < 1_000


@pytest.mark.parametrize("check", ["", "some", None, True, 1])
def test_a_check_is_one_of_the_choices(check: Any):
    with pytest.raises(InvalidInput, match="must be one of none, possible, valid"):
        DialPlan(country_code="44", international_prefix="00", check=check)


# -- what people are told -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "locale", "place"),
    [
        ("442071234567", "en", "London"),
        ("+442071234567", "en", "London"),
        ("4420", "en", "London"),  # the first digits are enough
        ("447400123456", "en", "United Kingdom"),
        ("447400123456", "es", "Reino Unido"),
        ("447400123456", "pt-BR", "Reino Unido"),
        ("447400123456", "zh-TW", "英國"),
        ("44", "en", "United Kingdom"),
        ("441481256789", "en", "Guernsey"),
        ("18765551234", "en", "Jamaica"),
        ("13055551234", "en", "Florida"),
        ("5491123456789", "en", "Buenos Aires"),  # a mobile of an area
        ("4930123456", "de", "Berlin"),
        ("41441234567", "de", "Zürich"),
        ("81312345678", "ja", "東京"),
        ("79161234567", "en", "Russia"),
        ("77012345678", "en", "Kazakhstan"),
        ("1", "en", None),  # of a score of countries
        ("18005551234", "en", None),
        ("870773111632", "en", None),  # a satellite
        ("99912345678", "en", None),  # of nobody
    ],
)
def test_a_number_is_somewhere(number: str, locale: str, place: str | None):
    assert place_of(number, locale=locale) == place


def test_places_are_those_of_the_packages_own_geocoder():
    """Countries it leaves out, or names in an older way, are named by babel."""
    for number in EXAMPLES:
        found = phonenumbers.parse(f"+{number}")
        place = geocoder.description_for_number(found, "en")
        if len(number) <= 15 and place not in ("", geocoder.country_name_for_number(found, "en")):
            assert place_of(number) == place


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        ("442071234567", "fixed_line"),
        ("447400123456", "mobile"),
        ("13055551234", "fixed_line_or_mobile"),
        ("18005551234", "toll_free"),
        ("19005551234", "premium_rate"),
        ("4420", None),
        ("99912345678", None),
    ],
)
def test_a_number_reaches_some_kind_of_line(number: str, kind: str | None):
    assert number_type(number) == (kind and NumberType(kind))


def test_every_kind_the_package_knows_has_a_name():
    kinds = {number_type(number) for number in [*EXAMPLES, *NETWORKS] if len(number) <= 15}
    assert kinds - {None} == set(NumberType)


@pytest.mark.parametrize(
    ("number", "written"),
    [
        ("442071234567", "+44 20 7123 4567"),
        ("+13055551234", "+1 305-555-1234"),
        ("390612345678", "+39 06 1234 5678"),
        ("44", "+44"),
        ("4420", "+44 20"),
        ("99912345678", "+99912345678"),
    ],
)
def test_a_number_is_written_for_people(number: str, written: str):
    assert format_number(number) == written


@given(e164)
def test_writing_a_number_changes_none_of_its_digits(number: str):
    written = format_number(number)
    assert re.sub("[^0-9]", "", written) == number
    assert written.startswith("+")
    assert written == written.strip()


@pytest.mark.parametrize("use", [place_of, number_type, format_number])
@pytest.mark.parametrize("number", ["", "+", "++44", "4 4", "1" * 16, "x", "٤٤", None, 44, b"44"])
def test_what_is_no_e164_number_is_refused_unseen(use: Any, number: Any):
    with pytest.raises(InvalidNumber) as refused:
        use(number)
    assert (refused.value.field, refused.value.value) == ("number", None)


@pytest.mark.parametrize("locale", ["", "xx", "english", "en/../..", None, 1])
def test_a_locale_is_one_that_babel_knows(locale: Any):
    with pytest.raises(InvalidInput) as refused:
        place_of("442071234567", locale=locale)
    assert refused.value.field == "locale"


# -- the extra ------------------------------------------------------------------------------


def run(script: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


def test_without_the_package_all_that_needs_it_says_what_to_install():
    run("""
        import sys
        sys.modules["phonenumbers"] = None
        import cardbill
        from cardbill.errors import CardbillError, ExtraMissing
        plan = dict(country_code="44", international_prefix="00")
        stored = cardbill.DialPlan(**plan)
        assert stored.called("+442071234567") == "442071234567"
        for use in (
            lambda: cardbill.dial_plan("GB"),
            lambda: cardbill.place_of("442071234567"),
            lambda: cardbill.number_type("442071234567"),
            lambda: cardbill.format_number("442071234567"),
            lambda: cardbill.DialPlan(**plan, check="possible"),
        ):
            try:
                use()
            except ExtraMissing as error:
                assert isinstance(error, CardbillError) and isinstance(error, ImportError)
                assert error.extra == "numbers"
                assert "pip install 'cardbill[numbers]'" in str(error)
            else:
                raise AssertionError("it did without")
    """)


def test_plain_dialling_does_not_load_the_package():
    run("""
        import sys
        import cardbill
        from cardbill.catalogueitems import decode, encode
        plan = cardbill.NORTH_AMERICA
        assert plan.called("011442071234567") == "442071234567"
        access = cardbill.AccessNumber(number="18005551234", dial_plan=plan)
        kind, _, content = encode(access)
        assert decode(kind, content) == access
        assert "phonenumbers" not in sys.modules
        cardbill.dial_plan("GB", check="valid").called("020 7123 4567")
        assert "phonenumbers" in sys.modules
        assert "phonenumbers.geodata" not in sys.modules  # 100 MB
        assert "babel" not in sys.modules
    """)


def test_the_error_says_which_extra():
    assert ExtraMissing("numbers", "phonenumbers").extra == "numbers"
