"""The terms of charges: what can be written down, and what it comes to."""

from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, strategies as st
from moneyed import EUR, USD, Money

from cardbill import BillingCycle, Charge, Plan, Trigger
from cardbill.errors import FloatRefused, InvalidInput, MissingFields, WrongCurrency

NOON = datetime(2025, 3, 3, 12, tzinfo=UTC)
CENT = 10_000
WEEKLY = BillingCycle(unit="weeks")
FEE: dict[str, Any] = {"name": "fee", "trigger": "answer", "amount": Money("0.05", USD)}


def charge(**terms: Any) -> Charge:
    return Charge(**{**FEE, **terms})


def test_what_is_needed_and_missing_is_named():
    with pytest.raises(MissingFields, match=r"name.*trigger.*amount"):
        Charge()
    with pytest.raises(MissingFields, match="every"):
        Charge(name="weekly", trigger="period", amount=Money(1, USD))


@pytest.mark.parametrize(
    ("terms", "field"),
    [
        ({"name": "a/b"}, "name"),
        ({"trigger": "sometimes"}, "trigger"),
        ({"amount": 5}, "amount"),
        ({"amount": Money(-1, USD)}, "amount"),
        ({"amount": Money("0.0000001", USD)}, "amount"),
        ({"percent": "5"}, "percent"),  # and an amount
        ({"amount": None, "percent": "-1"}, "percent"),
        ({"amount": None, "percent": "1001"}, "percent"),
        ({"amount": None, "percent": "0.00001"}, "percent"),
        ({"quantity": 0}, "quantity"),
        ({"taxable": "yes"}, "taxable"),
        ({"every": WEEKLY}, "every"),
        ({"trigger": "period", "every": BillingCycle()}, "every"),
        ({"trigger": "period", "every": 7}, "every"),
        (
            {"trigger": "inactivity", "every": BillingCycle(unit="days", anchor=date(2025, 1, 1))},
            "every",
        ),
        ({"trigger": "manual", "amount": None, "percent": "5"}, "percent"),
        ({"trigger": "recharge", "access": ["1800"]}, "access"),
        ({"trigger": "activation", "destinations": ["44"]}, "destinations"),
        ({"trigger": "manual", "access_kinds": ["toll_free"]}, "access_kinds"),
        ({"access": ["toll-free"]}, "access"),
        ({"access_kinds": ["satellite"]}, "access_kinds"),
        ({"destinations": ["4" * 16]}, "destinations"),
        ({"when_short": "beg"}, "when_short"),
        ({"effective_from": datetime(2025, 1, 1)}, "effective_from"),  # noqa: DTZ001
        ({"effective_from": NOON, "effective_until": NOON}, "effective_until"),
    ],
)
def test_a_term_that_cannot_be_used_is_refused_by_name(terms, field):
    with pytest.raises(InvalidInput, match=field):
        charge(**terms)


def test_a_float_is_no_percentage():
    with pytest.raises(FloatRefused):
        charge(amount=None, percent=7.5)


@given(st.integers(0, 10**9), st.integers(0, 10**7), st.integers(1, 9))
def test_a_percentage_is_exact_but_for_one_half_up(base, parts, quantity):
    percent = f"{parts // 10**4}.{parts % 10**4:04}"
    of = charge(amount=None, percent=percent, quantity=quantity)
    exact = Fraction(parts * quantity * base, 10**6)
    assert of.comes_to(base) == (2 * exact + 1) // 2
    assert of.comes_to(base) <= of.comes_to(base + 1)


def test_an_amount_is_taken_as_often_as_the_quantity_says():
    assert charge(quantity=3).comes_to(0) == charge(quantity=3).comes_to(10**9) == 15 * CENT
    assert charge(amount=Money(0, USD)).comes_to(5) == 0


def test_a_charge_is_effective_from_one_instant_to_another():
    later = NOON + timedelta(days=1)
    of = charge(effective_from=NOON, effective_until=later)
    tick = timedelta(microseconds=1)
    told = [of.effective(at) for at in (NOON - tick, NOON, later - tick, later)]
    assert told == [False, True, True, False]
    assert charge().effective(NOON)


def test_the_charges_of_a_plan_have_names_of_their_own_and_its_currency():
    terms: dict[str, Any] = {"name": "p", "currency": "USD", "deck": "d"}
    with pytest.raises(InvalidInput, match=r"charges.*twice.*fee"):
        Plan(**terms, charges=[charge(), charge(trigger=Trigger.END)])
    with pytest.raises(WrongCurrency, match="fee"):
        Plan(**terms, charges=[charge(amount=Money(1, EUR))])
    with pytest.raises(InvalidInput, match="charges"):
        Plan(**terms, charges=["fee"])  # type: ignore[list-item]
    with pytest.raises(InvalidInput, match="charges: must be a list of Charge"):
        Plan(**terms, charges=charge())  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="number of charges"):
        Plan(**terms, charges=[charge(name=f"fee {n}") for n in range(51)])
    free = charge(name="free", amount=None, percent=5)
    assert Plan(**terms, charges=[charge(), free]).charges == (charge(), free)
