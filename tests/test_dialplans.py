"""The dial plans of countries read numbers as the package they come from does."""

import re
from collections.abc import Iterator

import phonenumbers
import pytest
from hypothesis import given, settings, strategies as st
from phonenumbers import NumberParseException, PhoneMetadata, PhoneNumberFormat

from cardbill import NORTH_AMERICA, DialPlan, dial_plan
from cardbill.dialplans import _local, spell_out
from cardbill.errors import InvalidInput, InvalidNumber
from cardbill.numberplans import phone_number


def is_possible(number: phonenumbers.PhoneNumber) -> bool:
    """What the package says of the whole number, not of a local part alone."""
    reason = phonenumbers.is_possible_number_with_reason(number)
    return reason == phonenumbers.ValidationResult.IS_POSSIBLE


REGIONS = sorted(phonenumbers.SUPPORTED_REGIONS)
REFUSED = ["AR", "BR", "BY", "CC", "CX", "GA", "JP"]  # as docs/how-to/dial-plans.md lists them
PLANS = {region: dial_plan(region) for region in REGIONS if region not in REFUSED}

KINDS = (
    "fixed_line",
    "mobile",
    "toll_free",
    "premium_rate",
    "shared_cost",
    "personal_number",
    "voip",
    "pager",
    "uan",
    "voicemail",
)

EXAMPLES = max(2, settings().max_examples // 50)
"""Numbers per kind and country: there are some 1,500 of these pairs."""


def test_all_countries_but_these_have_a_dial_plan():
    refused = []
    for region in REGIONS:
        try:
            dial_plan(region)
        except InvalidInput:
            refused.append(region)
    assert refused == REFUSED
    assert len(PLANS) >= 238


@pytest.mark.parametrize("region", REFUSED)
def test_a_country_whose_rules_a_plan_cannot_say_is_refused_by_name(region: str):
    with pytest.raises(InvalidInput, match="describe it with DialPlan") as refused:
        dial_plan(region)
    assert (refused.value.field, refused.value.value) == ("region", region)


@pytest.mark.parametrize("region", ["UK", "gb", "GBR", "001", "", "44", None, 44, b"GB"])
def test_what_is_no_country_is_refused_by_name(region: str):
    with pytest.raises(InvalidInput) as refused:
        dial_plan(region)
    assert refused.value.field == "region"


def ways(region: str, plan: DialPlan, national: str) -> Iterator[str]:
    """How a number is dialled in its own country, and in it as if it were abroad."""
    whole = plan.country_code + national
    number = phone_number(whole)
    assert number is not None
    yield national
    yield plan.national_prefix + national
    yield phonenumbers.format_number(number, PhoneNumberFormat.NATIONAL)
    yield f"+{whole}"
    yield plan.international_prefix + whole
    yield from (prefix + national for prefix in plan.other_national_prefixes)
    yield from (prefix + whole for prefix in plan.other_international_prefixes)


def meant(dialled: str, region: str) -> str | None:
    """What the package reads, if it is a number in use."""
    try:
        number = phonenumbers.parse(dialled, region)
    except NumberParseException:
        return None
    valid = phonenumbers.is_valid_number(number)
    return phonenumbers.format_number(number, PhoneNumberFormat.E164)[1:] if valid else None


def looks_abroad(plan: DialPlan, dialled: str) -> bool:
    """Some numbers begin as calls abroad do, such as the toll-free 00800: nobody can tell."""
    prefixes = (plan.international_prefix, *plan.other_international_prefixes)
    return re.sub("[^0-9+]", "", dialled).startswith(prefixes)


def assert_read_as_meant(region: str, national: str) -> None:
    plan = PLANS[region]
    whole = plan.country_code + national
    for dialled in ways(region, plan, national):
        if re.search("[^-0-9 ().+]", dialled):
            continue  # a way to write a number, not to dial it
        expected = meant(dialled, region)
        abroad = dialled.endswith(whole)
        if expected is None or (looks_abroad(plan, dialled) and not abroad):
            continue
        assert plan.e164(dialled) == expected, (region, dialled)
    if not looks_abroad(plan, national):
        assert plan.e164(national) == whole


def patterns(region: str) -> list[str]:
    """The patterns of a country's numbers, one per kind."""
    metadata = PhoneMetadata.metadata_for_region(region)
    described = (getattr(metadata, kind) for kind in KINDS)
    return [kind.national_number_pattern for kind in described if kind is not None]


def has_e164_form(region: str, national: str) -> bool:
    """Leave out what is too long, and numbers that cannot be called from abroad.

    The package does not say so of Canada's 310 1234, but calls them local.
    """
    metadata = PhoneMetadata.metadata_for_region(region)
    assert metadata is not None
    at_home = metadata.no_international_dialling
    inner = at_home and at_home.national_number_pattern
    whole = f"{metadata.country_code}{national}"
    number = phone_number(whole)
    return (
        number is not None
        and is_possible(number)
        and len(whole) <= 15
        and national.strip("0") != ""
        and not (inner and re.fullmatch(inner, national))
        and meant(f"+{whole}", region) == whole
    )


@pytest.mark.parametrize("region", PLANS)
def test_numbers_are_read_as_the_package_reads_them(region: str):
    """Random numbers of every kind, dialled with each of the country's prefixes."""
    read = []
    for pattern in filter(None, patterns(region)):
        digits = re.compile(pattern.replace(r"\d", "[0-9]"))

        @settings(max_examples=EXAMPLES, database=None)
        @given(st.from_regex(digits, fullmatch=True))
        def law(national: str) -> None:
            if has_e164_form(region, national):
                assert_read_as_meant(region, national)
                read.append(national)

        law()
    assert read


@pytest.mark.parametrize("region", PLANS)
def test_the_packages_examples_are_read_at_home_and_from_abroad(region: str):
    elsewhere = dial_plan("US" if region == "GB" else "GB")
    for kind in phonenumbers.PhoneNumberType.values():
        number = phonenumbers.example_number_for_type(region, kind)
        if number is None or not is_possible(number):
            continue
        whole = phonenumbers.format_number(number, PhoneNumberFormat.E164)[1:]
        national = phonenumbers.national_significant_number(number)
        if len(whole) < elsewhere.shortest:
            continue
        assert elsewhere.e164(elsewhere.international_prefix + whole) == whole
        assert_read_as_meant(region, national)


@pytest.mark.parametrize(
    ("region", "dialled", "number"),
    [
        ("AU", "0011 44 20 7123 4567", "442071234567"),
        ("AU", "0014 44 20 7123 4567", "442071234567"),  # by another carrier
        ("AU", "(02) 9876 5432", "61298765432"),
        ("AU", "1831 02 9876 5432", "61298765432"),  # keeping the own number back
        ("IT", "06 1234 5678", "390612345678"),  # its zero belongs to the number
        ("MX", "55 1234 5678", "525512345678"),
        ("LT", "8 612 34567", "37061234567"),  # the prefix until 2024
        ("LT", "0 612 34567", "37061234567"),
        ("CO", "03 601 234 5678", "576012345678"),
        ("RU", "8 10 44 20 7123 4567", "442071234567"),
        ("RU", "8 800 123 45 67", "78001234567"),
        ("HU", "06 1 234 5678", "3612345678"),
        ("AG", "460 1234", "12684601234"),  # a local number
        ("AG", "1 268 460 1234", "12684601234"),
        ("GG", "0 1481 256789", "441481256789"),
        ("GG", "256789", "441481256789"),
        ("SM", "886377", "3780549886377"),
        ("IL", "03 123 4567", "97231234567"),
        ("IL", "012 44 20 7123 4567", "442071234567"),
    ],
)
def test_callers_dial_as_they_do_at_home(region: str, dialled: str, number: str):
    assert dial_plan(region).e164(dialled) == number


def test_the_plan_of_north_america_is_that_of_the_united_states_and_canada():
    assert dial_plan("US") == dial_plan("CA") == NORTH_AMERICA


def test_where_carriers_codes_are_too_many_what_begins_with_one_is_refused():
    """China: 17951 and some two thousand others, before 00 and before the number."""
    china = dial_plan("CN")
    assert china.other_national_prefixes == china.other_international_prefixes == ()
    for dialled in ("17951 00 44 20 7123 4567", "17951 0 10 1234 5678", "17951 139 1234 5678"):
        with pytest.raises(InvalidNumber):
            china.e164(dialled)


def test_brazil_and_japan_can_be_described_by_hand():
    carriers = ["12", "14", "15", "21", "31", "41"]
    brazil = DialPlan(
        country_code="55",
        international_prefix="0015",
        other_international_prefixes=tuple(f"00{code}" for code in carriers),
        national_prefix="0",
        other_national_prefixes=tuple(f"0{code}" for code in carriers),
        national_lengths=(10, 11),
    )
    for dialled in ("0 21 98765 4321", "0 15 21 98765 4321", "21 98765 4321"):
        assert brazil.e164(dialled) == meant(dialled, "BR") == "5521987654321"
    assert brazil.e164("0021 44 20 7123 4567") == "442071234567"


@pytest.mark.parametrize(
    ("pattern", "rest"),
    [
        (r"([457]\d{6})$|1", "1"),
        (r"1|([457]\d{6})$", "1"),  # as older versions of the package write it
        (r"([457]\d{6})$", ""),
        (r"0|180020|([457]\d{6})$", "0|180020"),
    ],
)
def test_local_numbers_are_told_from_prefixes(pattern: str, rest: str):
    assert _local(pattern, r"268\1") == ("268", 7, rest)


# -- patterns of digits ---------------------------------------------------------------------


@given(st.data())
@settings(max_examples=30)
def test_what_a_pattern_spells_is_what_it_matches(data: st.DataObject):
    atoms = st.sampled_from(["0", "9", "[1-3]", "[04-6]", "1"])
    several = st.lists(atoms, min_size=1, max_size=3).map("".join)
    pattern = data.draw(
        st.recursive(
            several,
            lambda inner: (
                st.tuples(inner, inner).map("|".join).map("(?:{})".format)
                | st.tuples(inner, inner).map("".join)
                | inner.map("({})?".format)
            ),
            max_leaves=3,
        )
    )
    words = set(spell_out(pattern))
    for word in words:
        assert re.fullmatch(pattern, word)
    compiled = re.compile(pattern)
    assert data.draw(st.from_regex(compiled, fullmatch=True, alphabet="0123456789")) in words


@pytest.mark.parametrize("pattern", [r"\d{3}", "1*", "1+", "(1", "1)", "[1", "1$", "a", "^1", "?"])
def test_what_is_no_finite_list_of_digits_is_not_spelled_out(pattern: str):
    with pytest.raises(ValueError, match=r"^"):
        spell_out(pattern)
