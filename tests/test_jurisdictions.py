"""The terms of taxes: what they must say, when they apply, and what does not go together."""

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from attrs import evolve
from hypothesis import given, strategies as st
from moneyed import Money

from cardbill import (
    Exemption,
    Jurisdiction,
    RoundingMode,
    Tax,
    TaxFollows,
    TaxLevel,
    TaxOn,
    TaxRegions,
)
from cardbill.errors import FloatRefused, InexactAmount, InvalidInput, MissingFields
from cardbill.instants import from_micros
from cardbill.jurisdictions import check_taxed_once
from cardbill.money import money
from cardbill.rating import Rounding
from cardbill.taxes import TaxRules, call_alone, rules_at
from cardbill.taxregions import regions_from_list, regions_to_list
from cardbill.taxterms import (
    exemption_from_list,
    exemption_to_list,
    jurisdiction_from_dict,
    jurisdiction_to_dict,
    rules_from_list,
    rules_to_list,
)

NOW = datetime(2026, 3, 1, tzinfo=UTC)
INSTANT = timedelta(microseconds=1)

some_instants = st.integers(0, 10**17).map(from_micros)  # from 1970 to the year 5138


def tax(name: str = "VAT", **terms: Any) -> Tax:
    amount = {} if "flat" in terms else {"percent": 10}
    return Tax(**{"name": name, "on": "usage", **amount, **terms})


def place(*taxes: Tax, **terms: Any) -> Jurisdiction:
    return Jurisdiction(**{"name": "X", "country": "X", "taxes": taxes, **terms})


def names(jurisdiction: Jurisdiction, at: datetime, *exemptions: Exemption) -> list[str]:
    return [one.name for one in jurisdiction.active(at, exemptions)]


# -- fields ------------------------------------------------------------------------------------


def test_all_that_a_tax_does_not_say_is_named_at_once():
    with pytest.raises(MissingFields) as caught:
        Tax()
    assert caught.value.fields == ("name", "on", "percent or flat")
    with pytest.raises(MissingFields) as caught:
        Exemption()
    assert caught.value.fields == ("reason", "certificate")
    with pytest.raises(MissingFields) as caught:
        Jurisdiction()
    assert caught.value.fields == ("name", "country")
    with pytest.raises(MissingFields, match="default"):
        TaxRegions()


@pytest.mark.parametrize(
    ("error", "field", "terms"),
    [
        (InvalidInput, "tax name", {"name": "a/b"}),
        (InvalidInput, "tax on", {"on": "calls"}),
        (InvalidInput, "tax on", {"on": 5}),
        (FloatRefused, "tax percent", {"percent": 7.5}),
        (InexactAmount, "tax percent", {"percent": "8.87500001"}),
        (InvalidInput, "tax percent", {"percent": -1}),
        (InvalidInput, "tax percent", {"percent": "1000.1"}),
        (InvalidInput, "tax flat", {"flat": Money(1, "USD"), "percent": 1}),
        (InvalidInput, "tax flat", {"flat": Decimal(1)}),
        (InvalidInput, "tax flat", {"flat": Money(-1, "USD")}),
        (InvalidInput, "tax on", {"flat": Money(1, "USD"), "on": ["usage", "sale"]}),
        (InvalidInput, "tax on_itself", {"flat": Money(1, "USD"), "on_itself": True}),
        (InvalidInput, "tax level", {"level": "borough"}),
        (InvalidInput, "tax inclusive", {"inclusive": 1}),
        (InvalidInput, "tax on_itself", {"on_itself": "yes"}),
        (InvalidInput, "tax tier", {"tier": 0}),
        (InvalidInput, "tax tier", {"tier": 10}),
        (InvalidInput, "tax rounding", {"rounding": "half_up"}),
        (InvalidInput, "tax effective_from", {"effective_from": NOW.replace(tzinfo=None)}),
        (InvalidInput, "tax effective_from", {"effective_from": "2020-01-01"}),
        (
            InvalidInput,
            "tax effective_until",
            {"effective_from": date(2020, 1, 1), "effective_until": date(2020, 1, 1)},
        ),
        (
            InvalidInput,
            "tax effective_until",
            {"effective_from": date(2020, 1, 1), "effective_until": NOW},
        ),
    ],
)
def test_a_term_of_a_tax_that_cannot_be_used_is_named(
    error: type[InvalidInput], field: str, terms: dict[str, Any]
):
    with pytest.raises(error) as caught:
        tax(**terms)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("field", "terms"),
    [
        ("name", {"name": " x"}),
        ("state", {"state": ""}),
        ("time_zone", {"time_zone": "Mars/Base"}),
        ("taxes", {"taxes": ["VAT"]}),
        ("number of taxes", {"taxes": [tax(f"T{n}") for n in range(201)]}),
        ("city", {"taxes": [tax(level="city")], "state": "S", "county": "C"}),
    ],
)
def test_a_term_of_a_jurisdiction_that_cannot_be_used_is_named(field: str, terms: dict[str, Any]):
    with pytest.raises(InvalidInput) as caught:
        place(**terms)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("field", "terms"),
    [
        ("exemption reason", {"reason": "\n"}),
        ("exemption certificate", {"certificate": "x" * 65}),
        ("exemption taxes", {"taxes": "VAT"}),
        ("exemption taxes", {"taxes": ["a/b"]}),
        ("exemption effective_until", {"effective_until": "never"}),
    ],
)
def test_a_term_of_an_exemption_that_cannot_be_used_is_named(field: str, terms: dict[str, Any]):
    with pytest.raises(InvalidInput) as caught:
        Exemption(**{"reason": "charity", "certificate": "C-1", **terms})
    assert caught.value.field == field


def test_a_rate_is_exact_to_seven_decimals():
    assert tax(percent="8.87500").rate == 88_750_000
    assert tax(percent="8.875") == tax(percent=Decimal("8.87500"))
    assert tax(percent="0.0000001").rate == 1


# -- what does not go together -----------------------------------------------------------------


def test_a_name_is_used_once_at_a_time_and_a_new_rate_follows_the_old_one():
    old = tax("QST", percent="9.5", effective_until=date(2013, 1, 1))
    new = tax("QST", percent="9.975", effective_from=date(2013, 1, 1))
    assert len(place(old, new).taxes) == 2
    with pytest.raises(InvalidInput, match=r"is there twice at the same time.*'QST'"):
        place(old, evolve(new, effective_from=date(2012, 12, 31)))


def test_inclusive_taxes_that_round_differently_are_refused():
    coin = Rounding(10_000, RoundingMode.HALF_UP)
    one, other = tax("a", inclusive=True), tax("b", inclusive=True, rounding=coin)
    with pytest.raises(InvalidInput, match=r"tax rounding.*the same for all inclusive.*'a, b'"):
        place(one, other)
    apart = evolve(other, effective_from=date(2020, 1, 1))
    place(evolve(one, effective_until=date(2020, 1, 1)), apart)
    place(evolve(one, inclusive=False), other)


def test_flat_taxes_in_two_currencies_are_refused():
    with pytest.raises(InvalidInput, match=r"in one currency.*'EUR, USD'"):
        place(tax("a", flat=Money(1, "USD")), tax("b", flat=Money(1, "EUR")))


def test_percentages_of_themselves_leave_something():
    half = tax("a", percent=50, on_itself=True)
    with pytest.raises(InvalidInput, match="100 or more in tier 1"):
        place(half, evolve(half, name="b"))
    place(half, evolve(half, name="b", tier=2))
    place(half, evolve(half, name="b", on="surcharge"))


# -- taxed once --------------------------------------------------------------------------------


def test_taxing_both_the_sale_and_the_use_of_a_card_is_refused():
    sale, use = tax("sales tax", on="sale"), tax("VAT", on="usage")
    with pytest.raises(InvalidInput, match="a card is taxed once"):
        place(sale, use)
    with pytest.raises(InvalidInput, match="a card is taxed once"):
        place(tax(on=["sale", "usage"]))
    place(sale, evolve(use, on="recurring"))


def test_a_jurisdiction_may_go_over_from_taxing_use_to_taxing_sale_but_not_back():
    change = date(2000, 3, 1)
    use = tax("on use", on="usage", effective_until=change)
    sale = tax("on sale", on="sale", effective_from=change)
    place(use, sale)
    with pytest.raises(InvalidInput, match="a card is taxed once"):
        place(evolve(use, effective_until=date(2000, 3, 2)), sale)
    with pytest.raises(InvalidInput, match="a card is taxed once"):
        place(evolve(sale, effective_from=None, effective_until=change),
              evolve(use, effective_from=change, effective_until=None))  # fmt: skip


def test_a_card_sold_in_one_jurisdiction_is_not_taxed_again_in_another():
    shop = place(tax(on="sale"), name="NY")
    abroad = place(tax(on="usage"), name="DE")
    with pytest.raises(InvalidInput, match="NY, DE"):
        check_taxed_once([abroad, shop])
    check_taxed_once([abroad, place(name="nothing")])


# -- time --------------------------------------------------------------------------------------


def test_a_date_begins_at_midnight_where_the_tax_is():
    new = tax(effective_from=date(2013, 1, 1), effective_until=date(2014, 1, 1))
    montreal = place(new, time_zone="America/Montreal")
    begin = datetime(2013, 1, 1, tzinfo=ZoneInfo("America/Montreal"))
    end = datetime(2014, 1, 1, 5, tzinfo=UTC)
    assert names(montreal, begin - INSTANT) == []
    assert names(montreal, begin) == ["VAT"]
    assert names(montreal, end - INSTANT) == ["VAT"]
    assert names(montreal, end) == []
    with pytest.raises(InvalidInput, match="at: must be aware"):
        montreal.active(NOW.replace(tzinfo=None))


@given(st.lists(some_instants, min_size=1, unique=True), some_instants)
def test_rates_that_follow_one_another_leave_no_gap_and_no_overlap(
    changes: list[datetime], at: datetime
):
    borders = [None, *sorted(changes), None]
    rates = [
        tax(percent=n % 100, effective_from=begin, effective_until=end)
        for n, (begin, end) in enumerate(pairwise(borders))
    ]
    here = place(*rates)
    for instant in (at, *filter(None, borders)):
        (found,) = here.active(instant)
        begun = sum(border <= instant for border in borders if border)
        assert found is rates[begun]


def test_an_exemption_holds_from_its_first_day_until_its_last_is_over():
    here = place(tax("a"), tax("b"), time_zone="Asia/Tokyo")
    paper = Exemption(
        reason="embassy",
        certificate="E-5",
        taxes=["a"],
        effective_from=date(2026, 1, 1),
        effective_until=date(2027, 1, 1),
    )
    begin = datetime(2025, 12, 31, 15, tzinfo=UTC)
    assert names(here, begin - INSTANT, paper) == ["a", "b"]
    assert names(here, begin, paper) == ["b"]
    assert names(here, datetime(2026, 12, 31, 15, tzinfo=UTC), paper) == ["a", "b"]
    assert names(here, begin, evolve(paper, taxes=())) == []
    assert names(here, begin, evolve(paper, taxes=["c"])) == ["a", "b"]


# -- regions -----------------------------------------------------------------------------------


def test_the_longest_prefix_of_the_number_says_whose_taxes():
    regions = TaxRegions(
        default="untaxed", follows="caller", prefixes={"1": "US", "1212": "US-NY", "49": "DE"}
    )
    assert regions.of_call(caller="12125550100") == "US-NY"
    assert regions.of_call(caller="+13055550100", called="4930123456") == "US"
    assert regions.of_call(caller=None) == regions.of_call(caller="anonymous") == "untaxed"
    assert regions.of_call(caller="121") == "US"
    assert regions.names == ("DE", "US", "US-NY", "untaxed")
    called = evolve(regions, follows=TaxFollows.CALLED)
    assert called.of_call(caller="12125550100", called="4930123456") == "DE"
    batch = TaxRegions(default="US-FL")
    assert batch.of_call(caller="4930123456", called="4930123456") == "US-FL"


@pytest.mark.parametrize(
    ("field", "terms"),
    [
        ("default", {"default": "a/b"}),
        ("tax follows", {"follows": "moon"}),
        ("tax prefixes", {"prefixes": 5}),
        ("prefix", {"prefixes": {"+1": "US"}}),
        ("tax prefixes", {"prefixes": {"1": ""}}),
        ("tax prefixes", {"follows": "batch", "prefixes": {"1": "US"}}),
    ],
)
def test_a_term_of_regions_that_cannot_be_used_is_named(field: str, terms: dict[str, Any]):
    with pytest.raises(InvalidInput) as caught:
        TaxRegions(**{"default": "US", "follows": "caller", **terms})
    assert caught.value.field == field


# -- stored and read back ----------------------------------------------------------------------

some_names = st.text("abcäé-", min_size=1, max_size=8)
some_moments = st.dates(date(1970, 1, 1), date(9990, 12, 31))


@st.composite
def windows(draw: st.DrawFn) -> dict[str, Any]:
    moments: Any = draw(st.sampled_from([some_moments, some_instants]))
    begin, end = draw(st.none() | moments), draw(st.none() | moments)
    if begin is not None and end is not None and end <= begin:
        end = None
    return {"effective_from": begin, "effective_until": end}


@st.composite
def taxes(draw: st.DrawFn, number: int) -> Tax:
    terms: dict[str, Any] = {
        "name": f"{draw(some_names)}{number}",
        "on": draw(st.sampled_from([TaxOn.USAGE, TaxOn.RECURRING, TaxOn.SURCHARGE])),
        "level": draw(st.sampled_from(TaxLevel)),
        "tier": draw(st.integers(1, 9)),
        "inclusive": draw(st.booleans()),
        **draw(windows()),
    }
    if draw(st.booleans()):
        terms["flat"] = money(draw(st.integers(0, 2**63 - 1)), "KWD")
    else:
        terms["percent"] = Decimal(draw(st.integers(0, 10**7 - 1))) / 10**7
        terms["on_itself"] = draw(st.booleans())
    if not terms["inclusive"]:
        unit = draw(st.integers(1, 10**9))
        terms["rounding"] = Rounding(unit, draw(st.sampled_from(RoundingMode)))
    return Tax(**terms)


@given(st.data())
def test_terms_read_back_as_they_were_stored(data: Any):
    subject = Jurisdiction(
        name=data.draw(some_names),
        country="Österreich",
        state="S",
        county="C",
        city="Wien",
        time_zone=data.draw(st.sampled_from(["UTC", "Asia/Kathmandu"])),
        taxes=[data.draw(taxes(number)) for number in range(data.draw(st.integers(0, 4)))],
    )
    stored = json.dumps(jurisdiction_to_dict(subject))
    assert jurisdiction_from_dict(json.loads(stored)) == subject
    exemption = Exemption(
        reason=data.draw(some_names), certificate="7", taxes=data.draw(st.lists(some_names)),
        **data.draw(windows()),
    )  # fmt: skip
    stored = json.dumps(exemption_to_list(exemption))
    assert exemption_from_list(json.loads(stored)) == exemption
    rules = rules_at(subject, data.draw(some_instants), "KWD")
    again = rules_from_list(json.loads(json.dumps(rules_to_list(rules))))
    price = data.draw(st.integers(0, 10**12))
    assert again.taxed(call_alone(price)) == rules.taxed(call_alone(price))
    assert again == TaxRules(rules.jurisdiction, tuple(
        evolve(one, effective_from=None, effective_until=None) for one in rules.taxes
    ))  # fmt: skip
    assert rules_from_list(rules_to_list(rules)) is again


@given(st.dictionaries(st.text("0123456789", min_size=1, max_size=15), some_names))
def test_regions_read_back_as_they_were_stored(prefixes: dict[str, str]):
    regions = TaxRegions(default="X", follows="called", prefixes=prefixes)
    assert regions_from_list(json.loads(json.dumps(regions_to_list(regions)))) == regions
