"""Routes are those of the plainest router there is, whatever the decks and policies."""

from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from hashlib import sha256
from math import floor
from typing import Any

from hypothesis import given, settings, strategies as st
from moneyed import USD, Money

from cardbill.carriers import Carrier
from cardbill.decks import Deck, DeckRow
from cardbill.exchange import ExchangeRate, ExchangeRates
from cardbill.increments import Step
from cardbill.rating import Rate, Rounding
from cardbill.routing import RouteOrder, Routing
from cardbill.tariffs import Tariff
from tests import plain_prices as plain
from tests.offers import DAY, NOW, offer, reasons, route

PREFIXES = st.text("12", min_size=1, max_size=5)
UNITS = st.sampled_from([0, 0, 1, 9_999, 10_000, 123_457])


@st.composite
def rates(draw: st.DrawFn) -> plain.Rate:
    increment = draw(st.sampled_from([1, 6, 60, 77]))
    steps = [(0, draw(st.integers(0, 30_000)), draw(st.sampled_from([1, 30, 60, 100])))]
    if draw(st.booleans()):
        steps.append((draw(st.integers(1, 200)), draw(st.integers(0, 30_000)), increment))
    return plain.Rate(
        tuple(steps),
        connect=draw(UNITS),
        grace=draw(st.sampled_from([0, 0, 50])),
        free=draw(st.sampled_from([0, 0, 20])),
        minimum=draw(UNITS),
        end=draw(UNITS),
        surcharge=Fraction(draw(st.sampled_from([0, 0, 5]))),
        unit=draw(st.sampled_from([1, 100, 10_000])),
        rounding=draw(st.sampled_from(["up", "half_up", "half_even", "down"])),
    )


def compiled(terms: plain.Rate) -> Rate:
    return Rate(
        steps=[Step(*step) for step in terms.steps],
        connect_fee=terms.connect,
        grace_seconds=terms.grace,
        free_seconds=terms.free,
        minimum_charge=terms.minimum,
        end_fee=terms.end,
        surcharge_ppm=int(terms.surcharge * 10_000),
        rounding=Rounding(terms.unit, terms.rounding),
    )


ROWS = st.builds(
    plain.Row,
    prefix=PREFIXES,
    destination=st.just(""),
    rate=rates(),
    blocked=st.sampled_from([False, False, False, True]),
    begins=st.sampled_from([None, NOW - DAY, NOW, NOW + DAY]),
    ends=st.sampled_from([None, None, NOW + 2 * DAY]),
)
DECKS = st.lists(ROWS, min_size=1, max_size=6, unique_by=lambda one: (one.prefix, one.begins))
CARRIERS = st.fixed_dictionaries(
    {
        "rewrites": st.dictionaries(PREFIXES, st.sampled_from(["", "0", "+"]), max_size=2),
        "tech_prefix": st.sampled_from(["", "7#"]),
        "capacity": st.sampled_from([None, 1, 2]),
        "priority": st.integers(0, 2),
        "weight": st.integers(0, 3),
        "asr_percent": st.none() | st.integers(0, 4).map(lambda n: Decimal(n) / 4),
        "acd_seconds": st.none() | st.integers(1, 400),
        "blocked_prefixes": st.lists(PREFIXES, max_size=1),
    }
)
CURRENCIES = st.sampled_from(["USD", "USD", "EUR", "GBP"])
WORTH = {"USD": Fraction(1), "EUR": Fraction("1.0837")}


def half_up(exact: Fraction) -> int:
    return floor(exact + Fraction(1, 2))


def plainest(
    offers: list[tuple[str, dict[str, Any], str, list[plain.Row]]],
    number: str,
    sell: plain.Rate,
    seconds: int | None,
    busy: dict[str, int],
    policy: dict[str, Any],
    call_id: str,
) -> tuple[list[tuple[str, str, str]], dict[str, str]]:
    """Say again which routes there are, with nothing of cardbill, in fractions and by search."""
    left_out, usable = {}, {}
    for name, terms, currency, rows in offers:
        matching = [
            one
            for one in rows
            if number.startswith(one.prefix)
            and (one.begins is None or one.begins <= NOW)
            and (one.ends is None or one.ends > NOW)
        ]
        begun = datetime(1, 1, 1, tzinfo=UTC)
        best = max(matching, key=lambda r: (len(r.prefix), r.begins or begun), default=None)
        length = 180 if seconds is None else min(180, seconds)
        acd = terms["acd_seconds"] or 180
        expected = acd if seconds is None else min(acd, seconds)
        if currency not in WORTH:
            left_out[name] = "currency"
        elif any(number.startswith(prefix) for prefix in terms["blocked_prefixes"]):
            left_out[name] = "blocked"
        elif best is None:
            left_out[name] = "no_rate"
        elif best.blocked:
            left_out[name] = "barred"
        elif terms["capacity"] is not None and busy.get(name, 0) >= terms["capacity"]:
            left_out[name] = "full"
        else:
            brings = plain.price(sell, expected)
            margin = brings - half_up(plain.price(best.rate, expected) * WORTH[currency])
            amount, part = policy["minimum_margin"], policy["minimum_margin_percent"]
            wanted = [amount] if amount is not None else []
            wanted += [Fraction(brings) * part / 100] if part is not None else []
            if wanted and margin < max(wanted):
                left_out[name] = "margin"
                continue
            sent = number
            for length_ in range(len(number), 0, -1):
                if number[:length_] in terms["rewrites"]:
                    sent = terms["rewrites"][number[:length_]] + number[length_:]
                    break
            cost = half_up(plain.price(best.rate, length) * WORTH[currency])
            usable[name] = cost, terms, (name, terms["tech_prefix"] + sent, best.prefix)
    names = sorted(usable, key=lambda name: (usable[name][0], name))
    asr = {name: Fraction(usable[name][1]["asr_percent"] or 0) for name in names}
    match policy["order"]:
        case "priority":
            names.sort(key=lambda name: usable[name][1]["priority"])
        case "quality":
            names.sort(
                key=lambda n: (-asr[n], -(usable[n][1]["acd_seconds"] or 0), usable[n][0], n)
            )
        case "blend":
            dearest = max((usable[name][0] for name in names), default=0) or 1
            names.sort(
                key=lambda name: (
                    policy["cost_weight"] * Fraction(usable[name][0], dearest)
                    + policy["quality_weight"] * (1 - asr[name] / 100)
                )
            )
        case "share":
            number_of_call = int(sha256(call_id.encode()).hexdigest(), 16)
            tickets = [name for name in sorted(names) for _ in range(usable[name][1]["weight"])]
            drawn = []
            while tickets:
                lot = tickets[number_of_call % len(tickets)]
                number_of_call //= len(tickets)
                tickets = [ticket for ticket in tickets if ticket != lot]
                drawn.append(lot)
            names = drawn + [name for name in names if usable[name][1]["weight"] == 0]
    return [usable[name][2] for name in names[: policy["most_routes"]]], left_out


@settings(max_examples=4 * settings().max_examples)
@given(
    st.lists(st.tuples(CARRIERS, CURRENCIES, DECKS), max_size=5),
    st.text("12", min_size=1, max_size=7),
    rates(),
    st.none() | st.integers(1, 400),
    st.dictionaries(st.sampled_from("abcde"), st.integers(0, 2)),
    st.fixed_dictionaries(
        {
            "order": st.sampled_from([order.value for order in RouteOrder]),
            "most_routes": st.integers(1, 10),
            "cost_weight": st.integers(1, 3),
            "quality_weight": st.integers(0, 3),
            "minimum_margin": st.none() | st.integers(0, 30_000),
            "minimum_margin_percent": st.none() | st.integers(0, 100),
        }
    ),
    st.text("0123", min_size=1),
)
def test_routes_are_those_of_the_plainest_router(
    decks: Any, number: str, sell: plain.Rate, seconds: Any, busy: Any, policy: Any, call_id: str
):
    stated = [(name, *one) for name, one in zip("ebdac", decks, strict=False)]
    wanted, left_out = plainest(stated, number, sell, seconds, busy, policy, call_id)
    offers = [
        (
            Carrier(name=name, deck="cost", **terms),
            Deck.compile(
                [
                    DeckRow(
                        prefix=one.prefix,
                        rate=compiled(one.rate),
                        blocked=one.blocked,
                        effective_from=one.begins,
                        effective_until=one.ends,
                    )
                    for one in rows
                ],
                currency=currency,
            ),
        )
        for name, terms, currency, rows in stated
    ]
    amount = policy["minimum_margin"]
    minimum = None if amount is None else Money(Decimal(f"{amount}E-6"), USD)
    found, refused = route(
        *offers,
        number=number,
        seconds=seconds,
        sell=Tariff(compiled(sell)),
        rates=ExchangeRates(base="USD", rates=[ExchangeRate("EUR", "1.0837")]),
        policy=Routing(**{**policy, "minimum_margin": minimum}),
        busy=busy,
        call_id=call_id,
    )
    assert [(one.carrier, one.number, one.prefix) for one in found] == wanted
    assert dict(refused) == left_out


@given(rates(), rates(), st.none() | st.integers(1, 400), st.none() | st.integers(1, 400))
def test_the_guard_is_exact_at_its_edge(
    sell: plain.Rate, buy: plain.Rate, seconds: int | None, acd: int | None
):
    acme = offer("acme", DeckRow(prefix="1", rate=compiled(buy)), acd_seconds=acd)
    expected = min(acd or 180, seconds or 10**6)
    price_, cost = plain.price(sell, expected), plain.price(buy, expected)
    margin = price_ - cost

    def left_out(**guard: Any) -> bool:
        tariff = Tariff(compiled(sell))
        return bool(reasons(acme, sell=tariff, seconds=seconds, policy=Routing(**guard)))

    def amount(units: int) -> Money:
        return Money(Decimal(f"{units}E-6"), USD)

    assert left_out(minimum_margin=amount(0)) is (margin < 0)
    if margin < 0:
        return
    assert not left_out(minimum_margin=amount(margin))
    assert left_out(minimum_margin=amount(margin + 1))
    if price_:
        parts = floor(Fraction(margin * 1_000_000, price_))
        assert not left_out(minimum_margin_percent=Decimal(f"{parts}E-4"))
        if parts < 1_000_000:
            above = Decimal(f"{parts + 1}E-4")
            assert left_out(minimum_margin_percent=above)
            assert left_out(minimum_margin=amount(margin), minimum_margin_percent=above)
