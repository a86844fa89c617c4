"""A plan's fields, its billing cycle, and which batches it may be given to."""

from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from moneyed import EUR, Money

from cardbill import Batch, BillingCycle, CycleUnit, Plan
from cardbill.catalogueitems import decode, encode
from cardbill.errors import (
    FloatRefused,
    InexactAmount,
    InvalidInput,
    MissingFields,
    PlanRefused,
    WrongCurrency,
)
from cardbill.plans import check_assignable

NEEDED: dict[str, Any] = {"name": "Hello World", "currency": "USD", "deck": "retail"}
BATCH = Batch(name="SUMMER-5", face_value=Money(5, "USD"), quantity=10)


def plan(**terms: Any) -> Plan:
    return Plan(**{**NEEDED, **terms})


# -- fields ---------------------------------------------------------------------------------


@pytest.mark.parametrize("left_out", ["name", "currency", "deck"])
def test_each_required_field_that_is_missing_is_named(left_out: str):
    for nothing in ("", None):
        with pytest.raises(MissingFields) as caught:
            plan(**{left_out: nothing})
        assert caught.value.fields == (left_out,)


def test_all_that_is_missing_is_named_at_once():
    with pytest.raises(MissingFields) as caught:
        Plan()
    assert caught.value.fields == ("name", "currency", "deck")


def test_what_is_not_told_is_the_plainest_plan():
    made = plan()
    assert made.billing_cycle == BillingCycle(unit=CycleUnit.NEVER)
    assert (made.calls_at_once, made.max_call_seconds, made.minimum_units) == (1, None, 0)
    assert made.language is None  # what the access number says, or English


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "a/b"),
        ("name", " x"),
        ("name", 5),
        ("deck", "a\nb"),
        ("deck", 5),
        ("currency", "usd"),
        ("currency", "US Dollar"),
        ("currency", 840),
        ("billing_cycle", "monthly"),
        ("billing_cycle", None),
        ("billing_cycle", CycleUnit.MONTHS),
        ("max_call_seconds", 0),
        ("max_call_seconds", -1),
        ("max_call_seconds", 31 * 86_400 + 1),
        ("max_call_seconds", 3600.0),
        ("max_call_seconds", True),
        ("max_call_seconds", "3600"),
        ("calls_at_once", 0),
        ("calls_at_once", 101),
        ("calls_at_once", 1.0),
        ("calls_at_once", True),
        ("calls_at_once", None),
        ("minimum_balance", Money("-0.01", "USD")),
        ("minimum_balance", "x"),
        ("minimum_balance", True),
        ("minimum_balance", Money("NaN", "USD")),
        ("language", ""),
        ("ani_limit", -1),
        ("ani_limit", 51),
        ("ani_limit", True),
        ("ani_confirm", "yes"),
        ("ani_rebind", "steal"),
        ("language", 5),
        ("language", "en_US!"),
        ("language", "../../etc"),
        ("language", "en\n"),
        ("language", "français"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_by_the_name_of_its_field(field: str, value: object):
    with pytest.raises(InvalidInput) as caught:
        plan(**{field: value})
    assert caught.value.field == field


@pytest.mark.parametrize("language", ["en", "de-CH", "zh-Hans-CN", "es-419", "sr-Latn"])
def test_a_language_is_a_tag(language: str):
    assert plan(language=language).language == language


def test_a_minimum_balance_is_exact_and_in_the_plans_currency():
    assert plan(minimum_balance=Money("0.10", "USD")).minimum_units == 100_000
    assert plan(minimum_balance=Money("0.000001", "USD")).minimum_units == 1
    assert plan(minimum_balance=Money(0, "USD")).minimum_units == 0
    with pytest.raises(WrongCurrency):
        plan(minimum_balance=Money(1, "EUR"))
    with pytest.raises(InexactAmount):
        plan(minimum_balance=Money("0.0000001", "USD"))
    with pytest.raises(FloatRefused):
        plan(minimum_balance=0.1)


@pytest.mark.parametrize("minimum", [1, 0, "1.00", Decimal(1), Money(1, "USD")])
def test_a_minimum_balance_that_a_plan_takes_can_be_published(minimum: object):
    with suppress(InvalidInput):  # or it is refused before
        kind, _, content = encode(plan(minimum_balance=minimum))
        assert isinstance(decode(kind, content), Plan)


def test_a_currency_may_be_given_as_a_code_or_as_a_currency():
    assert plan(currency=EUR).currency == plan(currency="EUR").currency == "EUR"


# -- billing cycles -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unit", "most"),
    [("days", 365_250), ("weeks", 52_178), ("months", 12_000), ("years", 1_000)],
)
def test_a_cycle_may_last_up_to_1000_years(unit: str, most: int):
    assert BillingCycle(unit=unit, count=most).unit is CycleUnit(unit)
    assert BillingCycle(unit=unit).count == 1
    with pytest.raises(InvalidInput) as caught:
        BillingCycle(unit=unit, count=most + 1)
    assert caught.value.field == "billing_cycle count"


@pytest.mark.parametrize("count", [0, -1, 1.0, 0.5, True, "1", None, Decimal(1)])
def test_a_cycle_is_counted_in_whole_units(count: Any):
    with pytest.raises(InvalidInput):
        BillingCycle(unit=CycleUnit.MONTHS, count=count)


@pytest.mark.parametrize("unit", ["never", "on_demand"])
def test_what_has_no_length_cannot_be_counted(unit: str):
    assert BillingCycle(unit=unit).count == 1
    with pytest.raises(InvalidInput):
        BillingCycle(unit=unit, count=2)


@pytest.mark.parametrize("unit", ["fortnights", "", None, 5])
def test_an_unknown_unit_is_refused_by_name(unit: Any):
    with pytest.raises(InvalidInput) as caught:
        BillingCycle(unit=unit)
    assert "unit" in caught.value.field


@pytest.mark.parametrize("anchor", ["2024-01-01", datetime(2024, 1, 1, tzinfo=UTC), 1, date.min])
def test_an_anchor_is_a_date(anchor: Any):
    assert BillingCycle(unit="months", anchor=date(2024, 1, 31)).anchor == date(2024, 1, 31)
    with pytest.raises(InvalidInput) as caught:
        BillingCycle(unit="months", anchor=anchor)
    assert "anchor" in caught.value.field


# -- giving a plan to a batch ---------------------------------------------------------------


@pytest.mark.parametrize("unit", [unit for unit in CycleUnit if unit is not CycleUnit.ON_DEMAND])
def test_a_plan_of_any_cycle_can_be_given_to_a_batch(unit: CycleUnit):
    check_assignable(plan(billing_cycle=BillingCycle(unit=unit)), BATCH)


def test_a_plan_billed_on_demand_is_refused_with_the_reason():
    shop = plan(name="Call shop", billing_cycle=BillingCycle(unit="on_demand"))
    with pytest.raises(PlanRefused) as caught:
        check_assignable(shop, BATCH)
    told = str(caught.value)
    assert "'Call shop'" in told
    assert "'SUMMER-5'" in told
    assert "on demand" in told
    assert "by hand" in told
    assert "never" in told  # what to do about it


def test_a_plan_in_another_currency_is_refused_with_both():
    with pytest.raises(PlanRefused, match=r"EUR.*USD"):
        check_assignable(plan(currency="EUR"), BATCH)


def test_the_reason_is_the_same_whichever_is_looked_at_first():
    both = plan(currency="EUR", billing_cycle=BillingCycle(unit="on_demand"))
    with pytest.raises(PlanRefused, match="on demand"):
        check_assignable(both, BATCH)
