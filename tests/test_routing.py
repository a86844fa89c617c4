"""Least-cost routing: longest match inside a carrier, whole calls between carriers."""

import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings, strategies as st

from cardbill.decks import Deck, DeckRow
from cardbill.errors import InvalidInput, MissingFields
from cardbill.rating import Rate, price, rate
from cardbill.routing import MOST_ROUTES, REFERENCE_SECONDS, Carrier, Refused, Route, routes
from cardbill.tariffs import Tariff

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
MIAMI = "13055551234"

Offer = tuple[Carrier, Deck]


def row(prefix: str, per_minute: object = "0.01", **more: object) -> DeckRow:
    known = {"blocked", "effective_from", "effective_until"}
    terms = {name: value for name, value in more.items() if name not in known}
    rest = {name: value for name, value in more.items() if name in known}
    return DeckRow(prefix=prefix, rate=rate(per_minute, **terms), **rest)  # type: ignore[arg-type]


def offer(name: str, *rows: DeckRow, currency: str = "USD") -> Offer:
    return Carrier(name=name, deck=f"{name}-cost"), Deck.compile(rows, currency=currency)


def route(
    *offers: Offer, number: str = MIAMI, seconds: int | None = None, at: datetime = NOW
) -> tuple[tuple[Route, ...], tuple[Refused, ...]]:
    return routes(offers, number, at, currency="USD", seconds=seconds)


def order(*offers: Offer, number: str = MIAMI, seconds: int | None = None) -> list[str]:
    found, refused = route(*offers, number=number, seconds=seconds)
    assert refused == ()
    return [one.carrier for one in found]


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


def test_a_route_says_everything_that_is_needed():
    (found,), _ = route(offer("acme", row("1305", "0.02", connect_fee="0.01")))
    expected = Route("acme", MIAMI, "1305", Tariff(rate("0.02", connect_fee="0.01")))
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
    assert routes(iter(()), MIAMI, NOW, currency="USD", seconds=1) == ((), ())


def test_carriers_may_come_one_by_one_and_share_a_deck():
    deck = Deck.compile([row("1")], currency="USD")
    lazily = ((Carrier(name=name, deck="shared"), deck) for name in "ba")
    found, refused = routes(lazily, MIAMI, NOW, currency="USD", seconds=60)
    assert [one.carrier for one in found] == ["a", "b"]
    assert refused == ()


# -- against the plainest router there is ------------------------------------------------------

PREFIXES = st.text("12", min_size=1, max_size=5)
RATES: st.SearchStrategy[Rate] = st.builds(
    rate,
    st.integers(0, 3),
    increments=st.sampled_from(["1/1", "60/60", "30/18", "100/7"]),
    connect_fee=st.sampled_from([0, 0, 1]),
    grace_seconds=st.sampled_from([0, 0, 50]),
)
ROWS = st.builds(
    DeckRow,
    prefix=PREFIXES,
    rate=RATES,
    blocked=st.sampled_from([False, False, False, True]),
    effective_from=st.sampled_from([None, NOW - DAY, NOW, NOW + DAY]),
    effective_until=st.sampled_from([None, None, NOW + 2 * DAY]),
)
DECKS = st.lists(
    ROWS, min_size=1, max_size=8, unique_by=lambda one: (one.prefix, one.effective_from)
)


def plainest(rows: list[DeckRow], number: str) -> DeckRow | None:
    valid = [
        one
        for one in rows
        if number.startswith(one.prefix)
        and (one.effective_from is None or one.effective_from <= NOW)
        and (one.effective_until is None or one.effective_until > NOW)
    ]
    always = datetime(1, 1, 1, tzinfo=UTC)
    return max(valid, key=lambda one: (len(one.prefix), one.effective_from or always), default=None)


@settings(max_examples=3 * settings().max_examples)
@given(
    st.lists(st.tuples(DECKS, st.sampled_from(["USD", "USD", "EUR"])), max_size=5),
    st.text("12", min_size=1, max_size=7),
    st.one_of(st.none(), st.integers(0, 400)),
)
def test_routes_are_those_of_the_plainest_router(decks, number, seconds):
    names = ["e", "b", "d", "a", "c"]
    expected: list[tuple[int, str, str]] = []
    left_out = {}
    for name, (rows, currency) in zip(names, decks, strict=False):
        best = plainest(rows, number)
        if currency != "USD":
            left_out[name] = "currency"
        elif best is None:
            left_out[name] = "no_rate"
        elif best.blocked:
            left_out[name] = "barred"
        else:
            length = 180 if seconds is None else min(180, seconds)
            expected.append((price(best.rate, length), name, best.prefix))
    offers = [
        offer(name, *rows, currency=currency)
        for name, (rows, currency) in zip(names, decks, strict=False)
    ]
    found, refused = route(*offers, number=number, seconds=seconds)
    assert [(one.carrier, one.prefix) for one in found] == [
        (name, prefix) for _, name, prefix in sorted(expected)
    ]
    assert dict(refused) == left_out


# -- a carrier -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_terms", "missing"),
    [
        ({}, ("name", "deck")),
        ({"name": "acme"}, ("deck",)),
        ({"deck": "cost"}, ("name",)),
        ({"name": "", "deck": None}, ("name", "deck")),
    ],
)
def test_a_carrier_names_what_it_lacks(given_terms, missing):
    with pytest.raises(MissingFields) as refused:
        Carrier(**given_terms)
    assert refused.value.fields == missing
    assert all(name in str(refused.value) for name in missing)


@pytest.mark.parametrize("field", ["name", "deck"])
@pytest.mark.parametrize("name", ["a/b", " a", "a ", "a\n", "\x00", "x" * 65, 7, ["a"]])
def test_a_carrier_has_names_that_can_be_used(field, name):
    with pytest.raises(InvalidInput) as refused:
        Carrier(**{"name": "acme", "deck": "cost", field: name})
    assert refused.value.field == field
