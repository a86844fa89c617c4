"""Destination groups: which numbers are in one, and what a plan bars."""

from pathlib import Path

import pytest
from attrs import evolve
from hypothesis import given, strategies as st

from cardbill import Charge, DestinationGroup, Package, Plan
from cardbill.errors import InvalidInput, MissingFields, UnknownName
from tests.building import STORES, UK, UK_MOBILE, US, Shop, open_shop, rows

PREMIUM = DestinationGroup(name="premium", prefixes=["447", "1900"], excluding=["44771"])
digits = st.text("012", min_size=1, max_size=5)


@given(st.sets(digits, min_size=1), st.sets(digits), digits)
def test_the_longest_prefix_that_a_group_names_decides(inside, outside, number):
    shorter = {p for p in outside - inside if any(p.startswith(each) for each in inside)}
    group = DestinationGroup(name="g", prefixes=sorted(inside), excluding=sorted(shorter))
    under = [p for p in inside | shorter if number.startswith(p)]
    assert group.holds(number) == (bool(under) and max(under, key=len) in inside)


@pytest.mark.parametrize(
    ("terms", "field"),
    [
        ({"name": "1900"}, "name"),
        ({"name": "a/b"}, "name"),
        ({"prefixes": ["44", ""]}, "prefixes"),
        ({"prefixes": ["4 4"]}, "prefixes"),
        ({"prefixes": ["1" * 16]}, "prefixes"),
        ({"prefixes": [44]}, "prefixes"),
        ({"excluding": ["33"]}, "excluding"),
        ({"excluding": ["447"]}, "excluding"),
    ],
)
def test_a_group_that_makes_no_sense_is_refused_by_field(terms, field):
    with pytest.raises(InvalidInput, match=field):
        DestinationGroup(**{"name": "g", "prefixes": ["447"], **terms})


def test_a_group_needs_a_name_and_prefixes():
    with pytest.raises(MissingFields, match=r"name.*prefixes"):
        DestinationGroup()


def bar(shop: Shop, *destinations: str) -> None:
    shop.bill.plans.publish(evolve(shop.bill.plans.get("Basic"), barred=destinations))


@pytest.mark.parametrize("kind", STORES)
def test_what_the_plan_bars_cannot_be_called(kind: str, tmp_path: Path):
    with open_shop(kind, tmp_path) as shop:
        shop.bill.groups.publish(PREMIUM)
        bar(shop, "1305", "premium")
        assert shop.denied(to=US) == "destination_barred"
        assert shop.denied(to="011447612345678") == "destination_barred"
        assert shop.grant("c2", to=UK_MOBILE).granted  # left out of the group
        assert shop.grant("c3", to=UK, serial=2).granted


@pytest.mark.parametrize("kind", STORES)
def test_a_group_counts_as_it_stands_now_also_for_plans_that_are_pinned(kind: str, tmp_path: Path):
    with open_shop(kind, tmp_path) as shop:
        shop.bill.groups.publish(PREMIUM)
        bar(shop, "premium")
        shop.bill.settle(shop.grant(to=UK).handle, talk_ms=0)  # the first use pins the plan
        shop.second().groups.publish(evolve(PREMIUM, prefixes=["4420"], excluding=[]))
        assert shop.denied("c2", to=UK) == "destination_barred"
        assert shop.bill.groups.names() == ["premium"]
        assert shop.bill.groups.get("premium").holds("442079460000")


def test_a_plan_cannot_bar_a_group_that_there_is_not(tmp_path: Path):
    with open_shop("memory", tmp_path) as shop, pytest.raises(UnknownName, match="premium"):
        bar(shop, "44", "premium")


def test_a_prefix_that_no_number_has_bars_and_sells_nothing_and_is_refused(tmp_path: Path):
    with open_shop("memory", tmp_path) as shop:
        bill, plan = shop.bill, shop.bill.plans.get("Basic")
        carrier = bill.carriers.get("acme")
        bonus = Package(name="bonus", minutes=1, destinations=["44", "0052"])
        toll = Charge(name="toll", trigger="answer", percent=1, destinations=["011"])
        before = rows(bill.storage)
        for publish, field in (
            (lambda: bill.plans.publish(evolve(plan, barred=["00900"])), "barred: .*00900"),
            (lambda: bill.plans.publish(evolve(plan, packages=[bonus])), "package 'bonus': .*0052"),
            (lambda: bill.plans.publish(evolve(plan, charges=[toll])), "charge 'toll': .*011"),
            (
                lambda: bill.groups.publish(DestinationGroup(name="g", prefixes=["0044"])),
                "prefixes: .*0044",
            ),
            (
                lambda: bill.carriers.publish(evolve(carrier, blocked_prefixes=["053"])),
                "blocked_prefixes: .*053",
            ),
        ):
            with pytest.raises(InvalidInput, match=field):
                publish()
        assert rows(bill.storage) == before


@pytest.mark.parametrize("barred", [["1" * 16], [""], ["a/b"], ["1"] * 101])
def test_destinations_that_are_none_are_refused(barred):
    with pytest.raises(InvalidInput, match="barred"):
        Plan(name="p", currency="USD", deck="d", barred=barred)
