"""The bill of a call: its lines add up, and the longest call that fits is exactly that."""

import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import islice
from typing import Any

import pytest
from attrs import evolve

from cardbill import Jurisdiction, Tax, Unit, rate
from cardbill.buckets import Draw
from cardbill.callterms import Bill, BillKind, CallCharge, CallTerms
from cardbill.rating import Limit, Rate
from cardbill.tariffs import SETUP_SECONDS, Tariff, second_of
from cardbill.taxes import TaxRules, rules_at
from tests import oracle
from tests.random_rates import random_amount, random_rate, terms as oracle_terms

GRANT = datetime(2025, 3, 3, 12, tzinfo=UTC)
CENT = 10_000
HORIZON = 150
"""Seconds of talk that are tried one by one."""


def taxes(*each: Tax) -> TaxRules:
    return rules_at(Jurisdiction(name="X", country="X", taxes=each), GRANT, "USD")


VAT = Tax(name="VAT", on=["usage", "surcharge"], percent="20", inclusive=True)
FUND = Tax(name="fund", on=["usage"], percent="35.8")
CITY = Tax(name="city", on=["surcharge"], percent="3", tier=2)
RULES = [
    None,
    None,
    taxes(VAT),
    taxes(FUND),
    taxes(FUND, CITY),
    taxes(evolve(VAT, inclusive=False)),
]


def charge(units: int = 0, parts: int = 0, **terms: Any) -> CallCharge:
    terms = {"name": "fee", "taxable": True, "first": False, **terms}
    return CallCharge(units=units, parts=parts, **terms)


def random_draws(rng: random.Random) -> tuple[Draw, ...]:
    kinds = rng.choice([(), (), ("s",), ("m",), ("s", "m"), ("m", "s", "s"), ("c",)])
    made = []
    for number, kind in enumerate(kinds, start=1):
        waives = rng.random() < 0.3
        if kind == "s":
            made.append(Draw(number, Unit.SECONDS, rng.randrange(1, 90), waives))
        elif kind == "m":
            made.append(Draw(number, Unit.MONEY, random_amount(rng) + 1, waives))
        else:
            made.append(Draw(number, Unit.CALLS, 1, waives))
    return tuple(made)


def random_terms(rng: random.Random, *, split: bool) -> CallTerms:
    changes: tuple[tuple[int, Rate], ...] = ()
    if split:
        seconds = sorted(rng.sample(range(1, HORIZON + SETUP_SECONDS), rng.randrange(1, 4)))
        begin = second_of(GRANT)
        changes = tuple((begin + second, endless(random_rate(rng))) for second in seconds)
    charges = [
        charge(
            random_amount(rng) if rng.random() < 0.7 else 0,
            rng.choice((0, 0, 125_000, 333_333)),
            name=f"fee {n}",
            taxable=rng.random() < 0.8,
            first=rng.random() < 0.2,
        )
        for n in range(rng.choice((0, 0, 1, 2)))
    ]
    rate = endless(random_rate(rng)) if split else random_rate(rng)
    return CallTerms(Tariff(rate, changes), tuple(charges), rng.choice(RULES), random_draws(rng))


def endless(subject: Rate) -> Rate:
    """The rate without an end to its calls: what ends a call across bands has tests of its own."""
    return evolve(subject, beyond_maximum="free")


def allowed(terms: CallTerms) -> int:
    """Up to which second calls may last, whatever money there is."""
    ends = terms.rating.rate.ends_after
    covered = any(draw.unit is Unit.CALLS for draw in terms.draws)
    return HORIZON if ends is None or covered else min(HORIZON, ends)


def answers(terms: CallTerms) -> list[datetime]:
    last = SETUP_SECONDS if terms.tariff.changes else 0
    return [GRANT + timedelta(seconds=second) for second in range(last + 1)]


def check_bill(terms: CallTerms, seconds: int, bill: Bill, rated: int, base: Rate) -> None:
    """Hold one bill to what the rules say of its parts."""
    units = {unit: sum(draw.units for draw in terms.draws if draw.unit is unit) for unit in Unit}
    used = {unit: sum(draw.units for draw in bill.draws if draw.unit is unit) for unit in Unit}
    kinds = [line.kind for line in bill.lines]
    assert kinds == sorted(kinds, key=list(BillKind).index)
    assert bill.rated == rated
    if seconds <= base.grace_seconds:
        assert bill.total == 0 == sum(used.values())
        return
    if units[Unit.CALLS]:
        assert used == {Unit.CALLS: 1, Unit.SECONDS: 0, Unit.MONEY: 0}
    else:
        talk = max(0, seconds - base.free_seconds)
        assert used[Unit.SECONDS] == min(talk, units[Unit.SECONDS])
        assert used[Unit.MONEY] == min(rated, units[Unit.MONEY])
    quoted = rated - used[Unit.MONEY]
    for each in terms.charges:
        share = Fraction(rated * each.parts, 1_000_000)
        quoted += each.units + (2 * share + 1) // 2
    tax = sum(line.amount for line in bill.lines if line.kind is BillKind.TAX)
    net = bill.total - tax
    inclusive = terms.taxes is not None and any(each.inclusive for each in terms.taxes.taxes)
    assert (bill.total if inclusive else net) == quoted
    assert min(line.amount for line in bill.lines) >= 0


def rated_by_the_oracle(terms: CallTerms, horizon: int) -> list[int]:
    """What each second costs at one rate, buckets of talk time taken off by the rules."""
    subject = terms.tariff.rate
    if any(draw.unit is Unit.CALLS for draw in terms.draws):
        return [0] * (horizon + 1)
    talk = sum(draw.units for draw in terms.draws if draw.unit is Unit.SECONDS)
    waived = any(draw.waives_connect_fee for draw in terms.draws)
    after = oracle_terms(subject)._replace(free=subject.free_seconds + talk)
    if waived:
        after = after._replace(connect=Fraction(0))
    found = [int(each.amount) for each in islice(oracle.prices(after), horizon + 1)]
    if talk or waived:  # the minimum applies only if money is charged
        bare = list(
            islice(
                oracle.prices(
                    after._replace(minimum=Fraction(0), maximum=None, unit=Fraction(1), mode="up")
                ),
                horizon + 1,
            )
        )
        found = [
            0 if not without.amount else amount for amount, without in zip(found, bare, strict=True)
        ]
    return found


def agree(terms: CallTerms, rng: random.Random) -> None:
    """Hold a call's terms to a scan over every answer and every second."""
    when = answers(terms)
    totals = []
    for seconds in range(HORIZON + 1):
        bills = [terms.bill(seconds, answer, first=True) for answer in when]
        totals.append(max(bill.total for bill in bills))
        assert terms.highest(seconds, GRANT) == totals[-1], (seconds, terms)
        held = terms.reserved(seconds, GRANT)
        for bill in bills:
            for draw in bill.draws:
                kept = sum(each.units for each in held if each.bucket == draw.bucket)
                assert draw.units <= kept, (seconds, terms)
    assert totals == sorted(totals), terms
    some = {0, *rng.sample(totals, 8), totals[-1]}
    for available in {max(0, amount + near) for amount in some for near in (-1, 0, 1)}:
        longest = max(d for d, total in enumerate(totals) if total <= available)
        most = allowed(terms)
        assert terms.longest(available, HORIZON, GRANT) == Limit(
            min(longest, most), by_money=longest < most
        ), (available, terms)


def test_the_bill_at_one_rate_is_what_the_rules_say():
    rng = random.Random(7)
    for _ in range(400):
        terms = random_terms(rng, split=False)
        expected = rated_by_the_oracle(terms, HORIZON)
        for seconds in range(0, HORIZON + 1, 7):
            bill = terms.bill(seconds, GRANT, first=True)
            check_bill(terms, seconds, bill, expected[seconds], terms.tariff.rate)


def test_the_longest_call_is_exact_at_one_rate():
    rng = random.Random(1)
    for _ in range(250):
        agree(random_terms(rng, split=False), rng)


def test_the_longest_call_is_exact_across_bands():
    rng = random.Random(2)
    for _ in range(3):
        agree(random_terms(rng, split=True), rng)


@pytest.mark.soak
def test_the_longest_call_is_exact_in_many_more_cases():
    rng = random.Random(3)
    cases = 0
    while cases < 200_000:
        terms = random_terms(rng, split=False)
        totals = [terms.highest(seconds, GRANT) for seconds in range(HORIZON + 1)]
        assert totals == sorted(totals), terms
        for amount in {near for total in totals[::6] for near in (total - 1, total, total + 1)}:
            available = max(0, amount)
            longest = max(d for d, total in enumerate(totals) if total <= available)
            assert terms.longest(available, HORIZON, GRANT).seconds == min(longest, allowed(terms))
            cases += 1
    for _ in range(60):
        agree(random_terms(rng, split=True), rng)


def test_the_random_terms_try_what_there_is():
    rng = random.Random(1)
    seen: Counter[str] = Counter()
    for _ in range(250):
        terms = random_terms(rng, split=False)
        for draw in terms.draws:
            seen[draw.unit.value] += 1
            seen["a fee waived"] += draw.waives_connect_fee and terms.tariff.rate.connect_fee > 0
        seen["taxes"] += terms.taxes is not None
        seen["charges"] += bool(terms.charges)
        seen["a share"] += any(each.parts for each in terms.charges)
        seen["a first"] += any(each.first for each in terms.charges)
        seen["minimum and bucket"] += bool(terms.draws) and terms.tariff.rate.minimum_charge > 0
    assert min(seen.values()) >= 10, seen
    assert len(seen) == 9


# -- told one by one ---------------------------------------------------------------------------

UK = Tariff(rate("0.06", increments="60/60", connect_fee="0.10"))


def test_minutes_of_a_bucket_come_first_and_money_starts_at_step_0():
    tariff = Tariff(rate("0.06", increments="60/6"))
    terms = CallTerms(tariff, draws=(Draw(1, Unit.SECONDS, 90, False),))
    bill = terms.bill(91, GRANT)
    assert bill.total == 6 * CENT  # one second beyond the bucket: a whole first minute
    assert bill.draws == (Draw(1, Unit.SECONDS, 90, False),)
    assert terms.bill(90, GRANT).total == 0


def test_a_waived_connect_fee_is_waived_for_short_calls_too():
    # A longer call never costs less, so it cannot be due until the bucket is touched.
    free = Tariff(rate("0.06", free_seconds=30, connect_fee="0.10"))
    terms = CallTerms(free, draws=(Draw(1, Unit.SECONDS, 60, True),))
    assert [terms.bill(seconds, GRANT).total for seconds in (20, 31, 90)] == [0, 0, 0]
    assert CallTerms(free).bill(20, GRANT).total == 10 * CENT


def test_a_bucket_of_calls_covers_the_price_and_leaves_the_charges():
    fee = charge(5 * CENT, name="payphone")
    terms = CallTerms(UK, (fee,), draws=(Draw(1, Unit.CALLS, 1, False),))
    bill = terms.bill(3_600, GRANT)
    assert [(line.kind, line.amount) for line in bill.lines] == [
        (BillKind.PRICE, 0),
        (BillKind.CHARGE, 5 * CENT),
    ]
    assert terms.longest(5 * CENT, None, GRANT) == Limit(None, by_money=False)
    assert terms.longest(5 * CENT - 1, None, GRANT) == Limit(0, by_money=True)


def test_a_bucket_of_money_pays_the_rated_price_only():
    fee = charge(5 * CENT)
    terms = CallTerms(
        UK, (fee,), taxes(evolve(VAT, inclusive=False)), (Draw(1, Unit.MONEY, 12 * CENT, False),)
    )
    bill = terms.bill(60, GRANT)  # 0.16, of which the bucket pays 0.12
    assert [line.amount for line in bill.lines] == [4 * CENT, 5 * CENT, 18_000]
    assert bill.rated == 16 * CENT


def test_inclusive_tax_is_inside_what_is_paid():
    bill = CallTerms(UK, taxes=taxes(VAT)).bill(20, GRANT)
    assert [(line.kind, line.amount) for line in bill.lines] == [
        (BillKind.PRICE, 133_333),
        (BillKind.TAX, 26_667),
    ]


def test_a_first_call_pays_more_and_is_held_for():
    terms = CallTerms(UK, (charge(CENT, first=True), charge(2 * CENT, name="each")))
    assert terms.bill(60, GRANT, first=True).total == 19 * CENT == terms.highest(60, GRANT)
    assert terms.bill(60, GRANT).total == 18 * CENT
