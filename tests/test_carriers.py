"""Carriers: what of them is checked, and what a switch sends them."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, strategies as st

from cardbill import Carrier
from cardbill.errors import FloatRefused, InexactAmount, InvalidInput, MissingFields


def carrier(**terms: Any) -> Carrier:
    return Carrier(**{"name": "acme", "deck": "cost", **terms})


# -- what is checked -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_terms", "missing"),
    [
        ({}, ("name", "deck")),
        ({"name": "acme"}, ("deck",)),
        ({"deck": "cost"}, ("name",)),
        ({"name": "", "deck": None}, ("name", "deck")),
    ],
)
def test_a_carrier_names_what_it_lacks(given_terms: dict[str, Any], missing: tuple[str, ...]):
    with pytest.raises(MissingFields) as refused:
        Carrier(**given_terms)
    assert refused.value.fields == missing
    assert all(name in str(refused.value) for name in missing)


@pytest.mark.parametrize("field", ["name", "deck"])
@pytest.mark.parametrize("name", ["a/b", " a", "a ", "a\n", "\x00", "x" * 65, 7, ["a"]])
def test_a_carrier_has_names_that_can_be_used(field: str, name: Any):
    with pytest.raises(InvalidInput) as refused:
        carrier(**{field: name})
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tech_prefix", 9),
        ("tech_prefix", None),
        ("tech_prefix", "12a"),
        ("tech_prefix", "12 "),
        ("tech_prefix", "\u0661"),  # an Arabic-Indic digit
        ("tech_prefix", "1" * 21),
        ("rewrites", "44"),
        ("rewrites", 44),
        ("rewrites", None),
        ("rewrites", ["44"]),
        ("rewrites", [("44", "0", "1")]),
        ("rewrites", {"": "00"}),
        ("rewrites", {"+44": "0"}),
        ("rewrites", {44: "0"}),
        ("rewrites", {"4" * 16: "0"}),
        ("rewrites", {"44": None}),
        ("rewrites", {"44": "0x"}),
        ("rewrites", {"44": "0" * 21}),
        ("rewrites", [("44", "0"), ("44", "1")]),
        ("capacity", -1),
        ("capacity", 1_000_001),
        ("capacity", True),
        ("capacity", "30"),
        ("capacity", Decimal(30)),
        ("priority", -1),
        ("priority", 1_001),
        ("priority", None),
        ("weight", -1),
        ("weight", 1_001),
        ("weight", "1"),
        ("asr_percent", -1),
        ("asr_percent", "100.0001"),
        ("asr_percent", "high"),
        ("asr_percent", Decimal("NaN")),
        ("acd_seconds", 0),
        ("acd_seconds", 86_401),
        ("acd_seconds", "180"),
        ("blocked_prefixes", "44"),
        ("blocked_prefixes", None),
        ("blocked_prefixes", [""]),
        ("blocked_prefixes", ["+44"]),
        ("blocked_prefixes", [44]),
        ("blocked_prefixes", ["4" * 16]),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_by_name(field: str, value: Any):
    with pytest.raises(InvalidInput) as refused:
        carrier(**{field: value})
    assert refused.value.field == field


def test_an_answer_seizure_ratio_is_exact_and_no_float():
    assert carrier(asr_percent="45.5").asr_percent == Decimal("45.5")
    assert carrier(asr_percent="45.5") == carrier(asr_percent=Decimal("45.500"))
    assert carrier(asr_percent="0.0001").asr_ppm == 1
    assert carrier(asr_percent=100).asr_ppm == 1_000_000
    with pytest.raises(FloatRefused):
        carrier(asr_percent=45.5)
    with pytest.raises(InexactAmount):
        carrier(asr_percent="45.00001")


def test_the_same_terms_are_equal_in_whatever_order_they_are_given():
    one = carrier(rewrites={"44": "0", "447": "07"}, blocked_prefixes=["882", "1900", "882"])
    two = carrier(rewrites=[("447", "07"), ("44", "0")], blocked_prefixes=("1900", "882"))
    assert one == two
    assert one.rewrites == (("447", "07"), ("44", "0"))
    assert one.blocked_prefixes == ("1900", "882")


# -- what a switch sends -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("terms", "number", "sent"),
    [
        ({}, "442071234567", "442071234567"),
        ({"tech_prefix": "9011#"}, "442071234567", "9011#442071234567"),
        ({"rewrites": {"1": ""}}, "13055551234", "3055551234"),
        ({"rewrites": {"1": "+1"}}, "13055551234", "+13055551234"),
        ({"rewrites": {"1": ""}}, "442071234567", "442071234567"),
        ({"rewrites": {"4": "", "44": "0", "4420": "020"}}, "442071234567", "02071234567"),
        ({"rewrites": {"44": "0", "4420": "44"}}, "442071234567", "4471234567"),  # once only
        ({"rewrites": {"44": "0044"}, "tech_prefix": "77*"}, "442071234567", "77*00442071234567"),
        ({"rewrites": {"588": "9"}}, "58", "58"),  # shorter than the prefix: not under it
    ],
)
def test_the_longest_prefix_is_replaced_once_and_the_tech_prefix_comes_before_all(
    terms: dict[str, Any], number: str, sent: str
):
    assert carrier(**terms).dialled(number) == sent


@given(
    st.dictionaries(st.text("12", min_size=1, max_size=4), st.text("0123", max_size=3)),
    st.text("#*9", max_size=3),
    st.text("12", min_size=1, max_size=8),
)
def test_what_is_sent_is_as_the_plainest_reading_of_the_rules_says(
    rewrites: dict[str, str], tech_prefix: str, number: str
):
    for length in range(len(number), 0, -1):
        if number[:length] in rewrites:
            expected = rewrites[number[:length]] + number[length:]
            break
    else:
        expected = number
    sent = carrier(rewrites=rewrites, tech_prefix=tech_prefix).dialled(number)
    assert sent == tech_prefix + expected


@given(st.sets(st.text("12", min_size=1, max_size=4)), st.text("12", min_size=1, max_size=6))
def test_a_number_is_blocked_if_and_only_if_it_is_under_a_blocked_prefix(
    prefixes: set[str], number: str
):
    under = any(number[: len(prefix)] == prefix for prefix in prefixes)
    assert carrier(blocked_prefixes=prefixes).blocks(number) == under
