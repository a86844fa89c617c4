"""E: rates, rounding, currencies."""

from __future__ import annotations

import random
from contextlib import AbstractContextManager
from datetime import timedelta
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from moneyed import USD, Money

from cardbill import (
    Batch,
    CallRecord,
    Deck,
    Package,
    Rate,
    callflow,
    decks,
    money,
    price,
    rating,
    reach,
)
from cardbill.calls import report
from cardbill.callterms import CallTerms
from cardbill.cards import Card
from cardbill.decks import DeckRow
from cardbill.errors import DeckRefused, FloatRefused, InexactAmount
from cardbill.increments import BlockRounding, stretches
from cardbill.rating import rate
from cardbill.tariffs import Tariff
from tests.building import DEAR, START, UK_MINUTE, UK_MOBILE, deck, open_shop
from tests.museum.exhibits import Section, patched

SECTION = Section("Rating, rounding, currencies")


# -- how they are rebuilt ------------------------------------------------------------------------


def _choosing(best: Any) -> AbstractContextManager[None]:
    """Of all rows whose prefix begins a number, take the one that sorts first."""

    def find(self: Deck, number: str, at: int, band: int) -> tuple[int, int]:
        columns, found, prefix = self._columns, [], self._owner(number)
        while prefix >= 0:
            if columns.lengths[prefix] <= len(number):
                rows = range(columns.firsts[prefix], columns.firsts[prefix + 1])
                found += [(row, prefix) for row in rows]
            prefix = columns.parents[prefix] - 1
        return min(found, key=lambda each: best(self._match(*each)), default=(-1, -1))

    return patched((Deck, "_find", find))


def orders_by_cost() -> AbstractContextManager[None]:
    return _choosing(lambda match: match.rate.steps[0].price_per_minute)


def takes_the_shortest_prefix() -> AbstractContextManager[None]:
    return _choosing(lambda match: len(match.prefix))


def accepts_two_rates_for_one_prefix() -> AbstractContextManager[None]:
    return patched((decks, "_refuse_equals", lambda rows: None))


def puts_commas_into_thousands() -> AbstractContextManager[None]:
    real = money.units

    def units(field: str, value: object, currency: str, **rest: Any) -> int:
        amount = real(field, value, currency, **rest)
        whole, part = divmod(amount, 1_000_000)
        return real(field, f"{whole:,}.{part:06}".partition(",")[0], currency)

    return patched((money, "units", units))


def rates_records_by_other_code() -> AbstractContextManager[None]:
    real = Card._charge

    def charge(self: Card, record: CallRecord, *rest: Any) -> CallRecord:
        done = real(self, record, *rest)
        assert done.hold is not None
        other = evolve(done.hold.rate, block_rounding=BlockRounding.TOTAL)
        self.records[-1] = evolve(done, price_units=price(other, done.seconds))
        return self.records[-1]

    return patched((Card, "_charge", charge))


def adds_up_in_floats() -> AbstractContextManager[None]:
    real = Card.post

    def post(self: Card, kind: Any, amount: int, *rest: Any) -> None:
        balance = self.balance
        real(self, kind, amount, *rest)
        self.balance = int((balance / 1e6 + amount / 1e6) * 1e6)

    return patched((Card, "post", post))


def rounds_each_increment() -> AbstractContextManager[None]:
    real = Rate.walk

    def walk(self: Rate, position: int, until: int) -> tuple[int, int, int]:
        reached, _, begun = real(self, position, until)
        usage = sum(
            each.increments * -(-each.increment * each.price_per_minute // 6_000) * 6_000
            for each in stretches(self.steps, self.block_rounding, position, until)
        )
        return reached, usage, begun

    return patched((Rate, "walk", walk))


def rates_calls_of_no_length() -> AbstractContextManager[None]:
    real = rating.price
    return patched((rating, "price", lambda rate, seconds: real(rate, max(seconds, 1))))


def draws_before_it_looks() -> AbstractContextManager[None]:
    return patched((CallTerms, "billed", lambda self, seconds, at: seconds > 0))


def charges_every_connection() -> AbstractContextManager[None]:
    real = Tariff.after
    return patched(
        (Tariff, "after", lambda self, seconds, **_: real(self, seconds, connect_fee=True))
    )


def bills_normal_clearing_only() -> AbstractContextManager[None]:
    def told(**what: Any) -> Any:
        found = report(**what)
        return found if found.cause in (None, 16) else evolve(found, talk_ms=0)

    return patched((callflow, "report", told))


def takes_seconds_for_milliseconds() -> AbstractContextManager[None]:
    real = reach.cap_of

    def cap_of(*arguments: Any) -> Any:
        cap, by = real(*arguments)
        return cap and cap * 1_000, by

    return patched((reach, "cap_of", cap_of))


def every_coin_is_a_hundredth() -> AbstractContextManager[None]:
    return patched((money, "coin", lambda code: 10_000))


def every_amount_is_in_hundredths() -> AbstractContextManager[None]:
    real = money.units

    def units(field: str, value: object, currency: str, **rest: Any) -> int:
        return real(field, value, currency, **rest) * 100 // money.currency_of(currency).sub_unit

    return patched((money, "units", units))


def cuts_floats_off() -> AbstractContextManager[None]:
    def units(field: str, value: Any, currency: str, **_: Any) -> int:
        return int(float(getattr(value, "amount", value)) * 1_000_000)

    return patched((money, "units", units))


# -- the defects ---------------------------------------------------------------------------------


@SECTION.defect(
    53, "ASTPP, ASTPP#273",
    "Rates are ordered by price first, so that a cheap short prefix rates a dear long one.",
    orders_by_cost,
)  # fmt: skip
def the_longest_prefix_rates_a_number(folder: Path) -> None:
    rng = random.Random(53)
    prefixes = {str(rng.randrange(1, 10 ** rng.randint(1, 5))) for _ in range(400)}
    dear = {prefix: rate(rng.randint(1, 1_000)) for prefix in prefixes}
    found = Deck.compile(
        [DeckRow(prefix=prefix, rate=price) for prefix, price in dear.items()], currency=USD
    )
    for _ in range(1_000):
        number = str(rng.randrange(10**9, 10**11))
        longest = max((p for p in prefixes if number.startswith(p)), key=len, default=None)
        match = found.match(number, START)
        assert (match and match.prefix) == longest


@SECTION.defect(
    54, "CGRateS, cgrates#180",
    "Least-cost routing takes a carrier's shortest prefix for the price of a number.",
    takes_the_shortest_prefix,
)  # fmt: skip
def a_carrier_is_compared_by_its_longest_prefix(folder: Path) -> None:
    with open_shop("memory", folder) as shop:
        shop.bill.decks.publish("beta-cost", deck("prefix,rate\n44,0.05\n4420,0.01\n"))
        grant = shop.grant()  # acme: 0.02
        assert [route.carrier for route in grant.routes] == ["beta", "acme"]
        assert shop.bill.settle(grant.handle, talk_ms=60_000, carrier="beta").cost_units == 10_000


@SECTION.defect(
    55, "CGRateS, cgrates#1153, and ivozprovider, ivozprovider#563",
    "One prefix stands under two names, and the price is either's, or none.",
    accepts_two_rates_for_one_prefix,
)  # fmt: skip
def two_rates_for_one_prefix_are_refused(folder: Path) -> None:
    rows = [DeckRow(prefix="44", rate=rate(price), destination=price) for price in ("1", "2")]
    with pytest.raises(DeckRefused):
        Deck.compile(rows, currency=USD)


@SECTION.defect(
    56, "ASTPP, ASTPP#276",
    "A call that costs a thousand or more is debited as 1.00: its amount was written with a comma.",
    puts_commas_into_thousands,
)  # fmt: skip
def large_amounts_come_back_as_they_were(folder: Path) -> None:
    for number, face in enumerate(("999.99", "1000", "1000000", "1000000000000")):
        place = folder / str(number)
        place.mkdir()
        with open_shop("sqlite", place, face=Money(face, USD)) as shop:
            assert shop.second().card("B/1").balance == Money(face, USD)
    with open_shop("memory", folder, face=Money(5_000, USD)) as shop:
        record = shop.bill.settle(shop.grant(to=DEAR).handle, talk_ms=120_000)  # 1,000 a minute
        assert record.total == Money(2_000, USD)


@SECTION.defect(
    57, "CGRateS, cgrates#118",
    "With increments of 30/6 the call record shows another cost than was debited.",
    rates_records_by_other_code,
)  # fmt: skip
def a_record_shows_what_the_ledger_posted(folder: Path) -> None:
    retail = "prefix,rate,increments\n44,0.06,30/18\n"
    with open_shop("memory", folder, retail=retail) as shop:
        for talk in (1, 29, 30, 31, 48, 49, 60):
            record = shop.bill.settle(shop.grant(f"c{talk}").handle, talk_ms=talk * 1_000)
            assert -shop.ledger()[-1][1] == record.total_units


@SECTION.defect(
    58, "CGRateS, cgrates#624",
    "500 less 25 comes to 474.995, as amounts are floats.",
    adds_up_in_floats,
)  # fmt: skip
def a_thousand_postings_add_up_to_the_unit(folder: Path) -> None:
    with open_shop("memory", folder, face=Money(500, USD)) as shop:
        shop.bill.cancel(shop.grant().handle)
        left = 500_000_000
        for number in range(100):
            units = 25_000 + 1_234 * number
            shop.bill.accounts.refund(
                "B/1", f"0.{units:06}", key=str(number), actor="kim", reason="test"
            )
            left -= units
            assert shop.stored().balance == left


@SECTION.defect(
    59, "CGRateS, cgrates#260, and ivozprovider, ivozprovider#692",
    "Each increment is rounded, and their sum once more: 0.18 for 0.174.",
    rounds_each_increment,
)  # fmt: skip
def a_price_is_rounded_once(folder: Path) -> None:
    for text, increments, length in (("0.10", "1/1", 1), ("0.0498", "6/6", 6)):
        per_minute = Fraction(text) * 1_000_000
        for seconds in range(1, 200):
            exact = ceil(Fraction(seconds, length)) * length * per_minute / 60
            assert price(rate(text, increments=increments), seconds) == ceil(exact / 100) * 100


@SECTION.defect(
    60, "CGRateS, cgrates#62 and #1357",
    "A call that was never answered costs -1, or something.",
    rates_calls_of_no_length,
)  # fmt: skip
def a_call_without_an_answer_costs_nothing(folder: Path) -> None:
    with open_shop("memory", folder) as shop:
        record = shop.bill.settle(shop.grant(to=UK_MOBILE).handle, talk_ms=0)  # connect fee 0.10
        assert (record.total_units, record.cost_units) == (0, 0)
        assert [kind for kind, _, _ in shop.ledger()] == ["face"]
        assert (shop.stored().held, shop.stored().balance) == (0, 5_000_000)


@SECTION.defect(
    61, "A2Billing, a2billing#9",
    "Calls too short to be charged use up free minutes all the same.",
    draws_before_it_looks,
)  # fmt: skip
def a_call_that_is_not_billed_uses_nothing(folder: Path) -> None:
    retail = "prefix,rate,grace\n44,0.06,5\n"
    plan = {"packages": [Package(name="minutes", seconds=300)]}
    with open_shop("memory", folder, retail=retail, plan=plan) as shop:
        shop.bill.settle(shop.grant().handle, talk_ms=5_000)
        assert [bucket.left for bucket in shop.stored().buckets.values()] == [300]


@SECTION.defect(
    62, "CGRateS, cgrates#181",
    "The connect fee is charged for free minutes.",
    charges_every_connection,
)  # fmt: skip
def a_package_that_waives_the_connect_fee_waives_it(folder: Path) -> None:
    for waives, fee in ((True, 0), (False, 100_000)):
        package = Package(name="minutes", seconds=300, waives_connect_fee=waives)
        with open_shop("memory", folder, plan={"packages": [package]}) as shop:
            record = shop.bill.settle(shop.grant(to=UK_MOBILE).handle, talk_ms=60_000)
            assert record.price_units == fee


@SECTION.defect(
    63, "ASTPP, ASTPP#182",
    "A call of 72 seconds is free because its release cause is not normal clearing.",
    bills_normal_clearing_only,
)  # fmt: skip
def talk_time_is_charged_whatever_the_cause(folder: Path) -> None:
    with open_shop("memory", folder) as shop:
        for cause in (None, 16, 17, 31, 38, 41, 102, 127):
            grant = shop.grant(f"c{cause}")
            record = shop.bill.settle(grant.handle, talk_ms=72_000, cause=cause)
            assert record.price_units == 2 * UK_MINUTE


@SECTION.defect(
    64, "A2Billing, a2billing#136",
    "5,400 seconds become a limit of 5,400,000, as seconds and milliseconds are mixed up.",
    takes_seconds_for_milliseconds,
)  # fmt: skip
def no_grant_is_longer_than_the_plan_allows(folder: Path) -> None:
    plan = {"max_call_seconds": 5_400}
    with open_shop("memory", folder, face=Money(100, USD), plan=plan) as shop:
        assert shop.grant().max_duration == timedelta(minutes=90)


@SECTION.defect(
    65, "woocommerce-gateway-stripe#2720 and stripe-ios#2141",
    "Amounts in Bahraini or Kuwaiti dinar are a tenth, or ten times: all coins count as cents.",
    every_coin_is_a_hundredth,
)  # fmt: skip
def each_currency_has_its_own_coin(folder: Path) -> None:
    decimals = {"JPY": 0, "KRW": 0, "USD": 2, "EUR": 2, "BHD": 3, "KWD": 3, "TND": 3, "CLF": 4}
    for code, places in decimals.items():
        smallest = Money(f"1.{'1' * places}".rstrip("."), code)
        batch = Batch(name="B", face_value=smallest, quantity=1)
        assert money.money(batch.face_units, code) == smallest
        with pytest.raises(InexactAmount):
            Batch(name="B", face_value=Money(smallest.amount / 10, code), quantity=1)


@SECTION.defect(
    66, "cartalyst/stripe#59",
    "An amount in yen is charged a hundredfold.",
    every_amount_is_in_hundredths,
)  # fmt: skip
def a_yen_is_a_yen(folder: Path) -> None:
    with open_shop("memory", folder, face=Money(500, "JPY"), retail="prefix,rate\n44,6\n") as shop:
        record = shop.bill.settle(shop.grant().handle, talk_ms=60_000)
        assert (record.price, shop.bill.card("B/1").balance) == (
            Money(6, "JPY"), Money(494, "JPY"),
        )  # fmt: skip


@SECTION.defect(
    67, "actualpy#77 and python-ach#6",
    "543.93 becomes 54,392 cents, as a float is cut off.",
    cuts_floats_off,
)  # fmt: skip
def every_amount_of_money_is_read_exactly(folder: Path) -> None:
    for cents in range(100_000):
        if money.units("amount", f"{cents // 100}.{cents % 100:02}", "USD") != cents * 10_000:
            pytest.fail(f"{cents} cents")
    with pytest.raises(FloatRefused):
        money.units("amount", 543.93, "USD")
