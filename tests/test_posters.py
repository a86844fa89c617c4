"""What a card is said to give is what calling again and again with it comes to."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings, strategies as st
from moneyed import USD, Money

from cardbill import (
    AccessNumber,
    Batch,
    BillingCycle,
    Charge,
    Grant,
    Jurisdiction,
    Package,
    Tax,
    UsageLimit,
)
from cardbill.errors import InvalidInput, MissingFields, UnknownName
from tests.building import UK, Shop, open_shop

MONTH = BillingCycle(unit="months", count=1)
TOLL_FREE_ACCESS = "18005550100"


def cents(number: int) -> Money:
    return Money(Decimal(number) / 100, USD)


def package(unit: str, number: int, **terms: Any) -> dict[str, Any]:
    return {unit: cents(7 * number) if unit == "amount" else number, **terms}


packages = st.builds(
    package,
    st.sampled_from(["minutes", "seconds", "calls", "amount"]),
    st.integers(1, 12),
    waives_connect_fee=st.booleans(),
    destinations=st.sampled_from([[], ["44"], ["33"]]),
    given=st.sampled_from(["activation", "cycle", "bought"]),
)
charges = st.builds(
    lambda trigger, how: {"trigger": trigger, **how},
    st.sampled_from(["activation", "first_answer", "answer", "end"]),
    st.integers(0, 40).map(lambda number: {"amount": cents(number)}),
) | st.builds(
    lambda trigger, percent: {"trigger": trigger, "percent": percent},
    st.sampled_from(["first_answer", "answer", "end"]),
    st.integers(0, 50),
)
taxes = st.builds(
    lambda percent, inclusive, on: {"percent": percent, "inclusive": inclusive, "on": on},
    st.integers(0, 30),
    st.booleans(),
    st.sampled_from([["usage"], ["surcharge"], ["usage", "surcharge"]]),
)


def named(terms: list[dict[str, Any]], kind: Any) -> list[Any]:
    return [kind(name=f"{kind.__name__} {number}", **each) for number, each in enumerate(terms)]


@contextmanager
def selling(folder: Path, face: Money, taxes: Sequence[Tax] = (), **plan: Any) -> Iterator[Shop]:
    """A shop with a batch T, which is taxed."""
    with open_shop("memory", folder, quantity=1, plan=plan) as shop:
        here = Jurisdiction(name="Here", country="US", taxes=taxes)
        shop.bill.jurisdictions.publish(here)
        terms: dict[str, Any] = {"taxable": True, "tax_jurisdiction": "Here", "plan": "Basic"}
        shop.bill.batches.create(Batch(name="T", face_value=face, quantity=1, **terms))
        shop.bill.batches.generate_pins("T")
        yield shop


def call_again_and_again(shop: Shop, seconds: int, most: int = 400) -> tuple[int, int, list[int]]:
    """Make calls of a length until none is granted; how many, what is left, what each took."""
    totals: list[int] = []
    while len(totals) < most:
        answer = shop.ask(f"c{len(totals)}", batch="T")
        if not isinstance(answer, Grant):
            break
        if answer.max_seconds is not None and answer.max_seconds < seconds:
            shop.bill.cancel(answer.handle)
            break
        record = shop.bill.settle(answer.handle, talk_ms=seconds * 1_000, carrier="acme")
        assert record.uncollected_units == 0
        totals.append(record.total_units)
    return len(totals), shop.bill.card("T/1").balance_units, totals


@settings(deadline=None)
@given(
    face=st.integers(10, 300),
    packages=st.lists(packages, max_size=3),
    charges=st.lists(charges, max_size=3),
    taxes=st.lists(taxes, max_size=2),
    minutes=st.integers(1, 7),
    plan=st.sampled_from([{}, {"max_call_seconds": 240}, {"minimum_balance": cents(20)}]),
)
@example(200, [{"minutes": 10}], [{"trigger": "first_answer", "amount": cents(5)}], [], 3, {})
@example(10, [{"calls": 3}], [], [], 5, {})
@example(50, [], [], [], 3, {"minimum_balance": cents(20)})
@example(50, [{"amount": cents(21)}, {"seconds": 30}], [], [], 1, {})
def test_the_figures_are_those_of_calls_one_by_one(
    face: int,
    packages: list[dict[str, Any]],
    charges: list[dict[str, Any]],
    taxes: list[dict[str, Any]],
    minutes: int,
    plan: Mapping[str, Any],
):
    terms = {"packages": named(packages, Package), "charges": named(charges, Charge), **plan}
    terms["billing_cycle"] = MONTH
    with selling(Path(), cents(face), named(taxes, Tax), **terms) as shop:
        told = shop.bill.disclose(batch="T", to=UK, calls_of=[minutes])
        (row,) = told.calls_of
        first = shop.ask("c", batch="T")
        longest = 0
        if isinstance(first, Grant):
            longest = first.max_seconds or 0
            shop.bill.cancel(first.handle)
        assert (told.longest.seconds or 0) == longest
        calls, left, totals = call_again_and_again(shop, minutes * 60)
        if row.calls is None:
            assert len(totals) == 400
            return
        assert row.calls == calls
        if calls:
            assert row.left_units == left
            assert row.price_units == (totals[0] if len(set(totals)) == 1 else None)
        last = shop.ask("last", batch="T")
        further = (last.max_seconds or 0) if isinstance(last, Grant) else 0
        assert row.further_seconds == further


def test_many_calls_out_of_a_large_package_are_reckoned_at_once(tmp_path):
    with open_shop(
        "memory", tmp_path, plan={"packages": [Package(name="year", minutes=500_000)]}
    ) as shop:
        told = shop.bill.disclose(batch="B", to=UK, calls_of=[1, 7])
        assert [row.calls for row in told.calls_of] == [500_083, 71_440]
        assert told.calls_of[1].price_units is None  # those of the package cost nothing


# -- in words ------------------------------------------------------------------------------------


def test_every_fee_is_told_with_when_it_applies(tmp_path):
    weekly = BillingCycle(unit="weeks", count=1)
    terms = {
        "billing_cycle": MONTH,
        "packages": [
            Package(name="welcome", minutes=30, destinations=["44"], valid=weekly),
            Package(name="monthly", amount=cents(150), given="cycle"),
            Package(name="more", calls=10, given="bought", price=cents(300)),
            Package(name="France", minutes=5, destinations=["33"]),
        ],
        "charges": [
            Charge(name="opening", trigger="activation", amount=cents(25)),
            Charge(name="welcome fee", trigger="first_answer", amount=cents(1)),
            Charge(name="per call", trigger="answer", percent="2.5"),
            Charge(name="hang-up", trigger="end", amount=cents(2)),
            Charge(
                name="toll-free", trigger="answer", amount=cents(15), access_kinds=["toll_free"]
            ),
            Charge(name="Paris", trigger="answer", amount=cents(3), destinations=["331"]),
            Charge(name="weekly fee", trigger="period", every=weekly, amount=cents(49)),
            Charge(name="idle", trigger="inactivity", every=MONTH, amount=cents(99)),
            Charge(name="letter", trigger="manual", amount=cents(500)),
            Charge(name="top-up", trigger="recharge", percent=1),
        ],
        "usage_limits": [UsageLimit(hours=1, calls=10), UsageLimit(hours=24, spend=cents(1_000))],
    }
    taxes = [
        Tax(name="VAT", percent=20, inclusive=True, on=["usage"]),
        Tax(name="levy", flat=cents(1), on=["usage"]),
    ]
    with selling(tmp_path, cents(500), taxes, **terms) as shop:
        shop.bill.access_numbers.publish(AccessNumber(number=TOLL_FREE_ACCESS, kind="toll_free"))
        told = list(shop.bill.disclose(batch="T", to=UK).further)
        assert told == [
            "The card comes with 30 minutes, good for 1 week: welcome.",
            "The card comes with $1.50 for calls, anew every month: monthly.",
            "The figures are those of its first cycle.",
            "$0.25 is charged at the first use: opening.",
            "$0.01 is charged for the first call that is charged: welcome fee.",
            "2.5 % of the price of the call is charged for each call that is charged: per call.",
            "$0.02 is charged at the end of each call that is charged: hang-up.",
            (
                "$0.15 is charged for each call that is charged and comes in on toll-free, "
                "which no figure contains: toll-free."
            ),
            (
                "$0.03 is charged for each call that is charged and goes to 331, "
                "which no figure contains: Paris."
            ),
            (
                "$0.49 is charged every week from the first use on, which no figure contains: "
                "weekly fee."
            ),
            "$0.99 is charged for each 1 month without a call, which no figure contains: idle.",
            "A tax of 20 % is contained in prices, and in these figures: VAT.",
            "A tax of $0.01 is added to prices, and in these figures: levy.",
            "No more than 10 calls can be made within 1 hour.",
            "No more than $10.00 can be spent within 24 hours.",
        ]
        free = shop.bill.disclose(batch="T", to=UK, access=TOLL_FREE_ACCESS).further
        assert "$0.15 is charged for each call that is charged: toll-free." in free


def test_a_disclosure_changes_nothing(tmp_path):
    with open_shop("memory", tmp_path) as shop:
        before = shop.stored()
        shop.bill.disclose(batch="B", to=UK)
        assert shop.stored() == before


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        ({}, InvalidInput),
        ({"plan": "Basic", "batch": "B"}, InvalidInput),
        ({"plan": "Basic"}, MissingFields),
        ({"batch": "nope"}, UnknownName),
        ({"batch": "B", "calls_of": [0]}, InvalidInput),
        ({"batch": "B", "face_value": Money(-1, USD)}, InvalidInput),
    ],
)
def test_what_cannot_be_told_is_refused(tmp_path, asked, error):
    with open_shop("memory", tmp_path) as shop, pytest.raises(error):
        shop.bill.disclose(to=UK, **asked)
