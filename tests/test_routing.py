"""Which carriers get a call, in what order, and who is left out."""

import random
from collections import Counter
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import permutations
from typing import Any

import pytest
from moneyed import EUR, USD, Money

from cardbill.carriers import Carrier
from cardbill.decks import Deck
from cardbill.errors import FloatRefused, InvalidInput, WrongCurrency
from cardbill.exchange import ONE, ExchangeRate, ExchangeRates, Quote
from cardbill.plans import Plan
from cardbill.rating import price, rate
from cardbill.routing import (
    MOST_ROUTES,
    REFERENCE_SECONDS,
    Refused,
    Route,
    RouteOrder,
    Routing,
    routes,
)
from cardbill.tariffs import Tariff
from tests.offers import DAY, MIAMI, NOW, SELL, offer, order, reasons, route, row

DOLLARS = Quote("USD", "USD", ONE)


# -- the longest match inside each carrier -----------------------------------------------------


def test_the_longest_prefix_counts_and_not_the_cheapest_or_first():
    # ASTPP#273 picked +1 at 0.01 over +1305 at 0.20; cgrates#180 took the shortest match.
    tempting = offer("tempting", row("1", "0.01"), row("1305", "0.20"), row("13", "0.001"))
    honest = offer("honest", row("1", "0.05"))
    found, refused = route(tempting, honest)
    assert [(one.carrier, one.prefix) for one in found] == [("honest", "1"), ("tempting", "1305")]
    assert found[1].rate == rate("0.20")
    assert refused == ()
    assert order(tempting, honest, number="12125551234") == ["tempting", "honest"]
    assert route(tempting, number="13215551234")[0][0].prefix == "13"


def test_a_number_is_sent_as_the_carrier_wants_it_and_rated_as_it_is():
    (found,), _ = route(
        offer("acme", row("1305", "0.02"), row("77"), rewrites={"1": "00"}, tech_prefix="77#")
    )
    assert (found.number, found.prefix) == ("77#003055551234", "1305")


def test_a_route_says_everything_that_is_needed():
    (found,), _ = route(offer("acme", row("1305", "0.02", connect_fee="0.01")))
    expected = Route("acme", MIAMI, "1305", Tariff(rate("0.02", connect_fee="0.01")), DOLLARS)
    assert found == expected
    assert found.cost(90, NOW) == price(found.rate, 90) == 40_000
    assert found.cost(0, NOW) == 0


@pytest.mark.parametrize(
    ("number", "prefix"),
    [("588", None), ("5880", "5880"), ("58801", "5880"), ("5881", None), ("58", None)],
)
def test_a_number_shorter_than_a_prefix_is_not_under_it(number, prefix):
    found, refused = route(offer("acme", row("5880")), number=number)
    if prefix is None:
        assert (found, refused) == ((), (Refused("acme", "no_rate"),))
    else:
        assert found[0].prefix == prefix
        assert refused == ()
    (parent,), _ = route(offer("acme", row("5880"), row("5")), number=number)
    assert parent.prefix == (prefix or "5")


def test_a_barred_prefix_inside_an_allowed_one_bars_and_the_other_way_round():
    inner = offer("inner", row("1"), row("1305", blocked=True))
    outer = offer("outer", row("1", blocked=True), row("1305"))
    found, refused = route(inner, outer)
    assert [one.carrier for one in found] == ["outer"]
    assert refused == (Refused("inner", "barred"),)
    found, refused = route(inner, outer, number="12125551234")
    assert [one.carrier for one in found] == ["inner"]
    assert refused == (Refused("outer", "barred"),)


def test_only_rates_in_force_count_from_their_first_instant_to_before_their_end():
    deck = offer(
        "acme",
        row("1", "0.05"),
        row("1305", "0.01", effective_from=NOW, effective_until=NOW + DAY),
        row("1305", "0.02", effective_from=NOW - DAY),
    )
    tick = timedelta(microseconds=1)
    seen = []
    for at in (NOW - DAY - tick, NOW - DAY, NOW - tick, NOW, NOW + DAY - tick, NOW + DAY):
        (found,), _ = route(deck, at=at)
        seen.append((found.prefix, found.rate.steps[0].price_per_minute))
    assert seen == [
        ("1", 50_000),
        *2 * [("1305", 20_000)],
        *2 * [("1305", 10_000)],
        ("1305", 20_000),
    ]


def test_an_instant_without_a_zone_is_not_guessed_at():
    with pytest.raises((InvalidInput, TypeError)):
        route(offer("acme", row("1")), at=datetime(2026, 3, 1, 12))  # noqa: DTZ001


# -- the order between carriers ------------------------------------------------------------------


def test_the_whole_call_decides_and_not_the_price_per_minute():
    # Cheaper by the minute, but in whole minutes: dearer for 90 s (0.02 against 0.018).
    blocks = offer("blocks", row("1", "0.010", increments="60/60"))
    exact = offer("exact", row("1", "0.012", increments="1/1"))
    assert order(blocks, exact, seconds=90) == ["exact", "blocks"]
    assert order(blocks, exact, seconds=120) == ["blocks", "exact"]
    assert order(blocks, exact, seconds=121) == ["exact", "blocks"]
    assert order(blocks, exact, seconds=180) == ["blocks", "exact"]


@pytest.mark.parametrize("seconds", [180, 181, 200, 1_000_000_000, None])
def test_long_calls_are_compared_at_the_reference_length(seconds):
    assert REFERENCE_SECONDS == 180
    blocks = offer("blocks", row("1", "0.010", increments="60/60"))
    exact = offer("exact", row("1", "0.0101", increments="1/1"))
    late = offer("late", row("1", "0.001", increments="181/1"))  # 181 s at least: 0.00302
    fee = offer("fee", row("1", "0.001", connect_fee="0.03"))
    assert order(fee, exact, blocks, late, seconds=seconds) == ["late", "blocks", "exact", "fee"]


def test_every_term_of_the_rate_is_in_the_cost():
    offers = [
        offer("a-minimum", row("1", "0.01", minimum_charge="0.50")),
        offer("b-end-fee", row("1", "0.01", end_fee="0.40")),
        offer("c-connect", row("1", "0.01", connect_fee="0.30")),
        offer("d-surcharge", row("1", "0.01", surcharge_percent="100")),
        offer("e-plain", row("1", "0.01")),
        offer("f-free", row("1", "0.01", free_seconds=60)),
        offer("g-grace", row("1", "9.99", grace_seconds=180)),
    ]
    expected = [carrier.name for carrier, _ in reversed(offers)]
    assert order(*offers) == expected
    assert order(*reversed(offers)) == expected


def test_equal_costs_go_by_name_whatever_the_order_they_come_in():
    names = ["acme", "Acme", "b", "a", "10", "9", "é", "acme 2"]
    offers = [offer(name, row("1", "0.01")) for name in names]
    for seed in range(5):
        random.Random(seed).shuffle(offers)
        assert order(*offers) == sorted(names)
        assert order(*offers, seconds=0) == sorted(names)
    # Costs that are equal only after rounding are equal: that is what is paid.
    near = [offer("z", row("1", "0.012300")), offer("a", row("1", "0.012301"))]
    assert order(*near, seconds=1) == ["a", "z"]
    assert order(*near) == ["z", "a"]


def test_no_more_than_the_most_routes_and_these_are_the_cheapest():
    assert MOST_ROUTES == 10
    offers = [offer(f"c{n:02}", row("1", f"0.{n:02}")) for n in range(25)]
    random.Random(7).shuffle(offers)
    offers.insert(12, offer("none", row("2")))
    found, refused = route(*offers)
    assert [one.carrier for one in found] == [f"c{n:02}" for n in range(10)]
    assert refused == (Refused("none", "no_rate"),)
    assert len(route(*offers[:8])[0]) == 8


# -- who is left out -----------------------------------------------------------------------------


def test_each_carrier_left_out_is_listed_with_its_reason():
    offers = [
        offer("euro", row("1", "0.001"), currency="EUR"),
        offer("elsewhere", row("44", "0.001")),
        offer("barring", row("1305", "0.001", blocked=True)),
        offer("expired", row("1", "0.001", effective_until=NOW)),
        offer("future", row("1", "0.001", effective_from=NOW + DAY)),
        offer("euro-elsewhere", row("44", "0.001"), currency="EUR"),
        offer("euro-barring", row("1", "0.001", blocked=True), currency="EUR"),
        offer("good", row("1", "0.09")),
    ]
    found, refused = route(*offers)
    assert [one.carrier for one in found] == ["good"]
    assert dict(refused) == {
        "euro": "currency",
        "elsewhere": "no_rate",
        "barring": "barred",
        "expired": "no_rate",
        "future": "no_rate",
        "euro-elsewhere": "currency",
        "euro-barring": "currency",
    }
    assert len(refused) == 7
    assert {one.reason for one in refused} == {"currency", "no_rate", "barred"}


def test_without_carriers_there_are_no_routes():
    assert route() == ((), ())
    assert routes(iter(()), MIAMI, NOW, sell=SELL, currency="USD", seconds=1) == ((), ())


def test_carriers_may_come_one_by_one_and_share_a_deck():
    deck = Deck.compile([row("1")], currency="USD")
    lazily = ((Carrier(name=name, deck="shared"), deck) for name in "ba")
    found, refused = routes(lazily, MIAMI, NOW, sell=SELL, currency="USD", seconds=60)
    assert [one.carrier for one in found] == ["a", "b"]
    assert refused == ()


def test_a_policy_may_ask_for_fewer_routes_than_the_most():
    offers = [offer(f"c{n:02}", row("1", f"0.{n:02}"), weight=n) for n in range(1, 12)]
    for by in RouteOrder:
        assert len(order(*offers, by=by.value, most_routes=3)) == 3
        assert len(order(*offers, by=by.value)) == MOST_ROUTES


# -- orders other than by cost -------------------------------------------------------------------


def test_the_lowest_priority_number_is_tried_first_then_the_cheapest_then_by_name():
    offers = [
        offer("cheap", row("1", "0.01"), priority=200),
        offer("first", row("1", "0.09"), priority=1),
        offer("b", row("1", "0.03")),  # 100, as is a
        offer("a", row("1", "0.03")),
        offer("c", row("1", "0.02"), priority=100),
    ]
    for some in permutations(offers):
        assert order(*some, by="priority") == ["first", "c", "a", "b", "cheap"]


def test_the_best_asr_is_tried_first_then_the_longest_calls_then_the_cheapest():
    offers = [
        offer("unknown", row("1", "0.001")),
        offer("zero", row("1", "0.0005"), asr_percent=0),
        offer("unknown-long", row("1", "0.009"), acd_seconds=999),
        offer("good", row("1", "0.03"), asr_percent="60.5", acd_seconds=100),
        offer("good-long", row("1", "0.04"), asr_percent="60.5", acd_seconds=101),
        offer("good-cheap", row("1", "0.02"), asr_percent="60.5", acd_seconds=100),
        offer("best", row("1", "0.09"), asr_percent="60.5001"),
    ]
    expected = ["best", "good-long", "good-cheap", "good", "unknown-long", "zero", "unknown"]
    assert order(*offers, by="quality") == expected
    assert order(*reversed(offers), by="quality") == expected


def test_a_blend_weighs_cost_against_failures():
    # At 3 minutes: 0.03, 0.06 and 0.12 of at most 0.12; failures 70 %, 40 % and 5 %.
    offers = [
        offer("cheap", row("1", "0.01"), asr_percent=30),
        offer("middle", row("1", "0.02"), asr_percent=60),
        offer("dear", row("1", "0.04"), asr_percent=95),
    ]
    assert order(*offers, by="blend") == ["middle", "cheap", "dear"]  # 0.90, 0.95, 1.05
    assert order(*offers, by="blend", cost_weight=2) == ["cheap", "middle", "dear"]
    assert order(*offers, by="blend", quality_weight=3) == ["dear", "middle", "cheap"]
    assert order(*offers, by="blend", quality_weight=0) == order(*offers)
    assert order(*offers, by="blend", cost_weight=0) == order(*offers, by="quality")
    free = [offer(name, row("1", 0), asr_percent=asr) for name, asr in (("a", 10), ("b", 20))]
    assert order(*free, by="blend") == ["b", "a"]


def share(*weights: int, calls: int = 20_000, first: int = 1) -> Counter[tuple[str, ...]]:
    offers = [offer(f"c{n}", weight=weight) for n, weight in enumerate(weights)]
    return Counter(
        tuple(order(*offers, by="share", call_id=f"call-{call}")[:first]) for call in range(calls)
    )


def test_calls_are_shared_out_by_weight():
    # Each count is binomial: five standard deviations are missed once in two million.
    calls, weights = 20_000, (1, 2, 7)
    counted = share(*weights, calls=calls)
    for n, weight in enumerate(weights):
        chance = Fraction(weight, sum(weights))
        off = counted[(f"c{n}",)] - calls * chance
        assert off**2 <= 25 * calls * chance * (1 - chance)


def test_the_calls_that_fail_over_are_shared_out_by_weight_as_well():
    calls, weights = 20_000, (1, 2, 7)
    counted = share(*weights, calls=calls, first=3)
    assert len(counted) == 6
    for drawn in permutations(range(3)):
        left, chance = sum(weights), Fraction(1)
        for n in drawn:
            chance *= Fraction(weights[n], left)
            left -= weights[n]
        off = counted[tuple(f"c{n}" for n in drawn)] - calls * chance
        assert off**2 <= 25 * calls * chance * (1 - chance)


def test_the_same_call_always_draws_the_same_lot_whatever_prices_do():
    cheap = [offer(name, row("1", f"0.0{n}"), weight=3) for n, name in enumerate("abcd", 1)]
    dear = [offer(name, row("1", f"0.0{9 - n}"), weight=3) for n, name in enumerate("abcd", 1)]
    for call in range(200):
        drawn = order(*cheap, by="share", call_id=f"c{call}")
        assert sorted(drawn) == list("abcd")
        assert order(*reversed(dear), by="share", call_id=f"c{call}") == drawn


def test_a_carrier_without_weight_is_tried_when_all_others_have_failed():
    offers = [
        offer("spare-b", row("1", "0.001"), weight=0),
        offer("spare-a", row("1", "0.001"), weight=0),
        offer("spare-cheap", row("1", "0.0005"), weight=0),
        offer("one", row("1", "0.09"), weight=1),
        offer("two", row("1", "0.08"), weight=2),
    ]
    seen = {tuple(order(*offers, by="share", call_id=str(call))) for call in range(50)}
    spare = ("spare-cheap", "spare-a", "spare-b")
    assert seen == {("one", "two", *spare), ("two", "one", *spare)}


# -- a policy ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("order", "random"),
        ("most_routes", 0),
        ("most_routes", MOST_ROUTES + 1),
        ("most_routes", None),
        ("cost_weight", -1),
        ("cost_weight", 1_001),
        ("quality_weight", "1"),
        ("minimum_margin", Decimal("0.01")),
        ("minimum_margin", Money("-0.01", USD)),
        ("minimum_margin", Money("0.0000001", USD)),
        ("minimum_margin_percent", -1),
        ("minimum_margin_percent", "100.0001"),
        ("minimum_margin_percent", "0.00001"),
        ("minimum_margin_percent", "a lot"),
    ],
)
def test_a_policy_that_cannot_be_used_is_refused_by_name(field: str, value: Any):
    with pytest.raises(InvalidInput) as refused:
        Routing(**{field: value})
    assert refused.value.field == field


def test_a_policy_takes_no_float_and_weighs_something():
    with pytest.raises(FloatRefused):
        Routing(minimum_margin_percent=12.5)
    with pytest.raises(InvalidInput, match="must not both be 0"):
        Routing(order="blend", cost_weight=0, quality_weight=0)


def test_a_plan_has_a_policy_in_its_own_currency():
    assert Plan(name="p", currency="USD", deck="d").routing == Routing()
    plan = Plan(name="p", currency=USD, deck="d", routing=Routing(minimum_margin=Money(1, USD)))
    assert plan.routing.minimum_margin == Money(1, USD)
    with pytest.raises(WrongCurrency, match="must be in USD") as refused:
        Plan(name="p", currency=USD, deck="d", routing=Routing(minimum_margin=Money(1, EUR)))
    assert refused.value.field == "routing"
    with pytest.raises(InvalidInput, match="routing"):
        Plan(name="p", currency=USD, deck="d", routing="cost")  # type: ignore[arg-type]


# -- who is full, who earns too little -----------------------------------------------------------


def test_a_carrier_that_has_come_to_its_capacity_is_left_out():
    offers = [offer("acme", capacity=30), offer("beta"), offer("none", capacity=0)]
    for busy, full in [
        (None, {"none"}),
        ({}, {"none"}),
        ({"acme": 29, "beta": 10**6}, {"none"}),
        ({"acme": 30, "gamma": 7}, {"none", "acme"}),
        ({"acme": 31}, {"none", "acme"}),
        ({"Acme": 31}, {"none"}),
    ]:
        assert reasons(*offers, busy=busy) == dict.fromkeys(full, "full")


def test_a_cheap_minute_that_loses_money_on_a_short_call_is_guarded_out():
    # Sold by the second, bought by the minute: 61 s bring 0.0244 and cost 0.04.
    sell = Tariff(rate("0.024", increments="1/1"))
    blocks = offer("blocks", row("1", "0.020", increments="60/60"), acd_seconds=61)
    policy = Routing(minimum_margin=Money(0, USD))
    assert reasons(blocks, sell=sell, policy=policy) == {"blocks": "margin"}
    assert reasons(blocks, sell=sell) == {}  # nobody asked
    lasting = offer("blocks", row("1", "0.020", increments="60/60"), acd_seconds=120)
    assert reasons(lasting, sell=sell, policy=policy) == {}  # 0.048 against 0.04
    assert reasons(lasting, sell=sell, policy=policy, seconds=119) == {}  # 0.0476
    assert reasons(lasting, sell=sell, policy=policy, seconds=61) == {"blocks": "margin"}
    dear = offer("fee", row("1", "0.001", minimum_charge="0.073"))  # 180 s bring 0.072
    assert reasons(dear, sell=sell, policy=policy) == {"fee": "margin"}


def test_each_carrier_is_expected_to_carry_calls_of_its_own_length():
    sell = Tariff(rate("0.10", increments="60/60"))
    fee = row("1", "0.01", connect_fee="0.15")
    policy = Routing(minimum_margin=Money("0.01", USD))
    offers = [offer("short", fee, acd_seconds=60), offer("long", fee, acd_seconds=120)]
    unknown = offer("unknown", fee)  # taken for 180 s
    assert reasons(*offers, unknown, sell=sell, policy=policy) == {"short": "margin"}


def test_what_earns_nothing_is_guarded_out_of_a_free_destination():
    free = Tariff(rate(0))
    for policy in (
        Routing(minimum_margin=Money(0, USD)),
        Routing(minimum_margin_percent=0),
        Routing(minimum_margin=Money(0, USD), minimum_margin_percent=100),
    ):
        assert reasons(offer("acme"), sell=free, policy=policy) == {"acme": "margin"}
        assert reasons(offer("acme", row("1", 0)), sell=free, policy=policy) == {}


def test_the_first_reason_that_applies_is_told():
    rows = [row("1", "9"), row("1305", "9", blocked=True)]
    guard = Routing(minimum_margin=Money(0, USD))
    more: dict[str, Any] = {"capacity": 0, "blocked_prefixes": ["1"]}
    told: list[str | None] = []
    for terms in ({"currency": "EUR", **more}, more, {**more, "blocked_prefixes": []}):
        told += reasons(offer("a", *rows, **terms), policy=guard).values()
    free = "12125551234"
    told += reasons(offer("a", *rows, capacity=0), number=free, policy=guard).values()
    told += reasons(offer("a", *rows, capacity=1), number=free, policy=guard).values()
    told += reasons(offer("a", row("2"), capacity=0), policy=guard).values()
    assert told == ["currency", "blocked", "barred", "full", "margin", "no_rate"]


# -- several currencies --------------------------------------------------------------------------

EURO = ExchangeRates(
    base="USD",
    rates=[
        ExchangeRate("EUR", "1.25", effective_from=NOW - DAY),
        ExchangeRate("EUR", "0.5", effective_from=NOW + DAY),
    ],
)


def test_costs_are_compared_at_the_rate_in_force():
    dollars, euros = (
        offer("dollars", row("1", "0.02")),
        offer("euros", row("1", "0.017"), currency="EUR"),
    )
    found, refused = route(dollars, euros, rates=EURO)
    assert ([one.carrier for one in found], refused) == (["dollars", "euros"], ())
    assert [one.currency for one in found] == ["USD", "EUR"]
    assert found[1].quote == Quote("EUR", "USD", 1_250_000_000)
    assert found[1].cost(60, NOW) == 17_000  # in its own currency
    later, _ = route(dollars, euros, rates=EURO, at=NOW + DAY)
    assert [one.carrier for one in later] == ["euros", "dollars"]


def test_a_currency_without_a_rate_then_is_refused_and_so_is_a_card_in_one():
    euros = offer("euros", currency="EUR")
    for currency, at, rates, expected in [
        ("USD", NOW, EURO, {}),
        ("EUR", NOW, EURO, {}),
        ("USD", NOW - 2 * DAY, EURO, {"euros": "currency"}),
        ("EUR", NOW - 2 * DAY, EURO, {"euros": "currency"}),
        ("GBP", NOW, EURO, {"euros": "currency"}),
        ("EUR", NOW, None, {}),
        ("USD", NOW, None, {"euros": "currency"}),
    ]:
        assert reasons(euros, currency=currency, at=at, rates=rates) == expected


def test_a_margin_is_guarded_in_the_base_currency():
    # 180 s bring 0.30 euros, 0.375 dollars, and cost 0.37; in euros alone that is a loss.
    sell = Tariff(rate("0.10"))
    acme = offer("acme", row("1", "0.123", increments="60/60", end_fee="0.001"))
    more: dict[str, Any] = {"sell": sell, "currency": "EUR", "rates": EURO}
    for least, left_out in [("0.004", False), ("0.004001", True), ("0.005", True)]:
        policy = Routing(minimum_margin=Money(least, EUR))
        assert bool(reasons(acme, policy=policy, **more)) is left_out
