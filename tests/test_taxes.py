"""Taxes on top of prices and inside them: against exact fractions, to the unit, both ways."""

import ast
from collections.abc import Sequence
from datetime import UTC, datetime
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
from attrs import evolve
from hypothesis import assume, given, strategies as st
from moneyed import Money

from cardbill import Exemption, Jurisdiction, PriceLine, RoundingMode, Tax, Taxed, TaxLevel, TaxOn
from cardbill.errors import InvalidInput, WrongCurrency
from cardbill.jurisdictions import RATE_PARTS
from cardbill.money import MAX_UNITS, coin, money
from cardbill.rating import Rounding
from cardbill.taxes import TaxRules, call_alone, rules_at, sale_tax
from tests import tax_oracle
from tests.source_tree import read_sources

NOW = datetime(2026, 3, 1, tzinfo=UTC)
CENT = 10_000
ONE = 1_000_000
CURRENCIES = {"JPY": 0, "UGX": 0, "USD": 2, "EUR": 2, "KWD": 3, "BHD": 3, "CLF": 4}


def rules(*taxes: Tax, currency: str = "USD", exemptions: Sequence[Exemption] = ()) -> TaxRules:
    return rules_at(Jurisdiction(name="X", country="X", taxes=taxes), NOW, currency, exemptions)


def tax(name: str = "VAT", *, on: Any = "usage", **terms: Any) -> Tax:
    return Tax(name=name, on=on, **terms)


def amounts(taxed: Taxed) -> dict[str, int]:
    return {line.tax: line.amount for line in taxed.taxes}


# -- random taxes ------------------------------------------------------------------------------

some_rates = st.sampled_from(["0", "0.00001", "0.375", "5", "8.875", "10", "19", "35.8", "250"])
some_units = st.sampled_from([1, 1, 1, 100, CENT, ONE])


@st.composite
def tax_lists(draw: st.DrawFn, currency: str = "USD") -> list[Tax]:
    """Taxes of one jurisdiction that go together, on everything but the sale."""
    inside = Rounding(draw(some_units), draw(st.sampled_from(RoundingMode)))
    found = []
    for number in range(draw(st.integers(0, 5))):
        inclusive = draw(st.booleans())
        terms: dict[str, Any] = {
            "name": f"T{number}",
            "tier": draw(st.integers(1, 3)),
            "level": "country",
            "inclusive": inclusive,
            "rounding": inside
            if inclusive
            else Rounding(draw(some_units), draw(st.sampled_from(RoundingMode))),
        }
        kinds = ["usage", "surcharge", "recurring"]
        if draw(st.integers(0, 3)) == 0:
            flat = money(draw(st.integers(0, 3 * ONE)), currency)
            terms |= {"on": draw(st.sampled_from(kinds)), "flat": flat}
        else:
            on_itself = draw(st.booleans())
            rate = draw(st.sampled_from(["0.65", "3", "18"]) if on_itself else some_rates)
            on = draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=3, unique=True))
            terms |= {"on": on, "percent": rate, "on_itself": on_itself}
        found.append(Tax(**terms))
    return found


some_amounts = (
    st.integers(0, 30) | st.integers(0, 10 * ONE) | st.integers(0, 10**15) | st.just(CENT * 7)
)
some_lines = st.lists(
    st.builds(
        PriceLine,
        st.sampled_from([TaxOn.USAGE, TaxOn.USAGE, TaxOn.SURCHARGE, TaxOn.RECURRING]),
        some_amounts,
        st.sampled_from([True, True, True, False]),
    ),
    max_size=4,
)


def terms_of(taxes: Sequence[Tax]) -> list[tax_oracle.Term]:
    return [
        tax_oracle.Term(
            name=one.name,
            on=frozenset(on.value for on in one.on),
            rate=Fraction(one.rate, RATE_PARTS),
            flat=Fraction(one.flat_units),
            tier=one.tier,
            inclusive=one.inclusive,
            on_itself=one.on_itself,
            unit=one.rounding.unit,
            mode=one.rounding.mode.value,
        )
        for one in taxes
    ]


def exact_taxes(lines: Sequence[PriceLine], taxes: Sequence[Tax]) -> dict[str, Fraction] | None:
    """Each tax by the oracle; None where a price does not bear the flat taxes inside it."""
    terms, found = terms_of(taxes), dict[str, Fraction]()
    for on in TaxOn:
        quoted = sum(line.amount for line in lines if line.taxable and line.on is on)
        if not quoted:
            continue
        if tax_oracle.net_of(quoted, on.value, terms) < 0:
            return None
        for name, amount in tax_oracle.exact(quoted, on.value, terms).items():
            found[name] = found.get(name, Fraction(0)) + amount
    return found


# -- laws --------------------------------------------------------------------------------------


@given(st.data(), st.sampled_from(sorted(CURRENCIES)))
def test_net_and_taxes_make_what_is_paid_and_nothing_is_negative(data: Any, currency: str):
    taxes = data.draw(tax_lists(currency))
    lines = data.draw(some_lines)
    if data.draw(st.booleans()):  # whole coins, as prices on paper are
        lines = [line._replace(amount=line.amount * coin(currency)) for line in lines]
    subject = rules(*taxes, currency=currency)
    taxed = subject.taxed(lines)
    inside = sum(line.amount for line in taxed.taxes if line.inclusive)
    on_top = sum(line.amount for line in taxed.taxes if not line.inclusive)
    assert taxed.net + inside == sum(line.amount for line in lines)
    assert taxed.net + inside + on_top == taxed.total == subject.total(lines)
    assert all(0 <= net <= line.amount for net, line in zip(taxed.nets, lines, strict=True))
    assert all(line.amount >= 0 <= line.base for line in taxed.taxes)
    assert all(
        net == line.amount for net, line in zip(taxed.nets, lines, strict=True) if not line.taxable
    )


@given(tax_lists(), some_lines)
def test_a_tax_on_top_is_the_exact_amount_rounded_once(taxes: list[Tax], lines: list[PriceLine]):
    exact = exact_taxes(lines, taxes)
    assume(exact is not None)
    assert exact is not None
    made = {line.tax: line for line in rules(*taxes).taxed(lines).taxes}
    assert made.keys() == exact.keys()
    for one in taxes:
        if one.name in exact and not one.inclusive:
            rounding = one.rounding
            expected = tax_oracle.rounded(exact[one.name], rounding.unit, rounding.mode.value)
            assert made[one.name].amount == expected


@given(tax_lists(), some_lines)
def test_taxes_inside_are_their_rounded_sum_by_largest_remainder(
    taxes: list[Tax], lines: list[PriceLine]
):
    exact = exact_taxes(lines, taxes)
    assume(exact is not None)
    assert exact is not None
    made = {line.tax: line.amount for line in rules(*taxes).taxed(lines).taxes if line.inclusive}
    if not made:
        return
    (rounding,) = {one.rounding for one in taxes if one.inclusive}
    unit, parts = rounding.unit, {name: exact[name] for name in made}
    kinds = {on for one in taxes if one.inclusive for on in one.on}
    with_tax = sum(line.amount for line in lines if line.taxable and line.on in kinds)
    whole = tax_oracle.rounded(sum(parts.values(), Fraction(0)), unit, rounding.mode.value)
    if sum(parts.values()) and with_tax >= whole:
        assert sum(made.values()) == whole
    for name, amount in made.items():
        assert abs(amount - parts[name]) < unit
    ranked = sorted((parts[name] % unit, made[name] > parts[name] // unit * unit) for name in made)
    got_more = [more for _, more in ranked]
    assert got_more == sorted(got_more)  # whoever got one more had no smaller remainder


@given(tax_lists(), some_lines, st.permutations(range(5)))
def test_the_order_in_which_taxes_are_written_does_not_matter(
    taxes: list[Tax], lines: list[PriceLine], order: list[int]
):
    other = [taxes[index] for index in order if index < len(taxes)]
    assert rules(*other).taxed(lines) == rules(*taxes).taxed(lines)


@given(tax_lists(), st.lists(some_amounts, min_size=2, max_size=8), some_lines)
def test_the_total_never_falls_when_the_price_grows(
    taxes: list[Tax], prices: list[int], others: list[PriceLine]
):
    subject = rules(*taxes)
    near = [price + step for price in prices for step in (0, 1, 2)]
    totals = [subject.total([PriceLine(TaxOn.USAGE, price), *others]) for price in sorted(near)]
    assert all(earlier <= later for earlier, later in pairwise(totals))


@given(tax_lists(), st.integers(0, 300), some_lines)
def test_the_largest_price_that_fits_is_what_trying_all_of_them_finds(
    taxes: list[Tax], available: int, others: list[PriceLine]
):
    subject = rules(*taxes)
    others = [line._replace(amount=line.amount % 50) for line in others]

    def lines(price: int) -> list[PriceLine]:
        return [*others, PriceLine(TaxOn.USAGE, price), PriceLine(TaxOn.SURCHARGE, price // 10)]

    fitting = [price for price in range(available + 1) if subject.total(lines(price)) <= available]
    assert subject.largest_price(available, lines) == max(fitting, default=None)


@given(tax_lists(), st.integers(0, 10**9) | st.integers(0, MAX_UNITS))
def test_one_unit_more_than_the_largest_price_does_not_fit(taxes: list[Tax], available: int):
    subject = rules(*taxes)
    price = subject.largest_price(available)
    assert price is not None
    assert subject.total(call_alone(price)) <= available < subject.total(call_alone(price + 1))


@given(tax_lists(), some_lines, st.sets(st.integers(0, 5)))
def test_an_exemption_removes_exactly_its_taxes(
    taxes: list[Tax], lines: list[PriceLine], numbers: set[int]
):
    names = [f"T{number}" for number in sorted(numbers)] or ["nothing"]
    exempt = Exemption(reason="charity", certificate="C-1", taxes=names)
    left = [one for one in taxes if one.name not in names]
    assert rules(*taxes, exemptions=[exempt]).taxed(lines) == rules(*left).taxed(lines)
    of_all = Exemption(reason="embassy", certificate="D-2")
    assert rules(*taxes, exemptions=[exempt, of_all]).taxed(lines) == rules().taxed(lines)


def test_no_module_of_taxes_holds_a_float_or_a_true_division_of_integers():
    sources = read_sources()
    for module in ("jurisdictions", "taxes", "taxterms", "taxengines", "taxregions"):
        for node in ast.walk(ast.parse(sources[module])):
            if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
                assert ast.unparse(node) == "contained * weight / weight_left"  # fractions
            assert not (isinstance(node, ast.Constant) and isinstance(node.value, float))


# -- examples of each rule ---------------------------------------------------------------------


def test_ten_percent_and_ten_percent_on_top_of_both_are_taken_out_of_121():
    federal = tax("federal", percent=10, inclusive=True)
    state = tax("state", percent=10, tier=2, inclusive=True)
    taxed = rules(state, federal).taxed(call_alone(121))
    assert taxed.nets == (100,)
    assert amounts(taxed) == {"federal": 10, "state": 11}
    assert [line.base for line in taxed.taxes] == [100, 110]
    on_top = rules(evolve(federal, inclusive=False), evolve(state, inclusive=False))
    assert on_top.taxed(call_alone(100)).total == 121


def test_of_two_equal_remainders_the_lower_tier_gets_the_unit():
    """3 is 2 and twice 0.5: 25 % of 2, and 20 % of 2.5."""
    lower = tax("zz", percent=25, inclusive=True)
    upper = tax("aa", percent=20, tier=2, inclusive=True)
    taxed = rules(upper, lower).taxed(call_alone(3))
    assert (taxed.nets, amounts(taxed)) == ((2,), {"zz": 1, "aa": 0})


def test_a_tax_on_top_is_of_the_net_that_is_left_without_the_inclusive_taxes():
    taxed = rules(tax(percent=20, inclusive=True), tax("levy", percent=5)).taxed(
        call_alone(120 * CENT)
    )
    assert taxed.nets == (100 * CENT,)
    assert amounts(taxed) == {"VAT": 20 * CENT, "levy": 5 * CENT}
    assert taxed.total == 125 * CENT


def test_a_higher_tier_on_top_is_also_of_the_inclusive_taxes_below_it():
    taxed = rules(tax(percent=20, inclusive=True), tax("levy", percent=5, tier=2)).taxed(
        call_alone(120 * CENT)
    )
    assert amounts(taxed) == {"VAT": 20 * CENT, "levy": 6 * CENT}


def test_a_tax_on_top_is_not_reckoned_on_rounded_taxes():
    """In cents 5 % of 0.10 is 0.01, and 950 % of 0.11 would be 1.05: it is of 0.105."""
    cents = Rounding(CENT, RoundingMode.HALF_UP)
    first = tax("first", percent=5, rounding=cents)
    second = tax("second", percent=950, tier=2, rounding=cents)
    taxed = rules(first, second).taxed(call_alone(10 * CENT))
    assert amounts(taxed) == {"first": CENT, "second": 100 * CENT}


def test_each_tax_is_rounded_once_on_the_sum_of_its_lines():
    three = [PriceLine(TaxOn.USAGE, 5), PriceLine(TaxOn.SURCHARGE, 5), PriceLine(TaxOn.USAGE, 5)]
    both = tax(percent=10, on=["usage", "surcharge"])
    assert amounts(rules(both).taxed(three)) == {"VAT": 2}  # 1.5; each line alone makes 1
    assert amounts(rules(tax(percent=10)).taxed(three)) == {"VAT": 1}


def test_a_flat_tax_is_once_per_event_and_not_on_what_costs_nothing():
    fee = tax("911", flat=Money("0.02", "USD"))
    twice = [*call_alone(7), *call_alone(8)]
    assert amounts(rules(fee).taxed(twice)) == {"911": 20_000}
    assert rules(fee).taxed(call_alone(0)).taxes == ()
    assert rules(fee).total(call_alone(0)) == 0


def test_a_price_too_small_for_the_flat_taxes_inside_it_is_all_tax():
    fee = tax("fee", flat=Money("0.03", "USD"), inclusive=True)
    vat = tax("VAT", percent=50, tier=2, inclusive=True)
    levy = tax("levy", percent=10)
    subject = rules(fee, vat, levy)
    short = subject.taxed(call_alone(300))
    assert short.nets == (0,)
    assert amounts(short) == {"fee": 200, "VAT": 100, "levy": 0}
    just = subject.taxed(call_alone(45_000))
    assert just.nets == (0,)
    assert amounts(just) == {"fee": 30_000, "VAT": 15_000, "levy": 0}
    assert subject.taxed(call_alone(45_001)).nets == (1,)
    assert subject.taxed(call_alone(45_015)).nets == (10,)


def test_taxes_in_coins_never_take_more_than_the_lines_they_are_in():
    up = Rounding(CENT, RoundingMode.UP)
    fee = tax("fee", flat=Money("0.02", "USD"), inclusive=True, rounding=up)
    lines = [PriceLine(TaxOn.USAGE, 15_000), PriceLine(TaxOn.SURCHARGE, ONE)]
    taxed = rules(fee).taxed(lines)
    assert taxed.nets == (5_000, ONE)
    assert amounts(taxed) == {"fee": CENT}


@pytest.mark.parametrize("order", [1, -1])
def test_what_one_line_cannot_bear_of_a_tax_in_coins_another_does(order: int):
    """Exactly 0.55 and 1.89; rounded up to 10 that is all there is, 6 and 4."""
    up = Rounding(10, RoundingMode.UP)
    light = tax("light", percent=10, inclusive=True, rounding=up)
    heavy = tax("heavy", on="surcharge", percent=90, inclusive=True, rounding=up)
    lines = [PriceLine(TaxOn.USAGE, 6), PriceLine(TaxOn.SURCHARGE, 4)][::order]
    taxed = rules(light, heavy).taxed(lines)
    assert (taxed.nets, taxed.tax) == ((0, 0), 10)


def test_a_tax_on_itself_is_of_the_amount_that_contains_it():
    icms = tax("ICMS", percent=25, on_itself=True)
    assert rules(icms).taxed(call_alone(75)).total == 100
    inside = rules(evolve(icms, inclusive=True)).taxed(call_alone(100))
    assert (inside.nets, amounts(inside)) == ((75,), {"ICMS": 25})


def test_what_is_not_taxable_bears_and_contains_no_tax():
    lines = [PriceLine(TaxOn.USAGE, 120), PriceLine(TaxOn.USAGE, 55, taxable=False)]
    taxed = rules(tax(percent=20, inclusive=True), tax("levy", percent=10)).taxed(lines)
    assert taxed.nets == (100, 55)
    assert amounts(taxed) == {"VAT": 20, "levy": 10}


def test_a_tax_of_nothing_is_a_line_that_says_so():
    (line,) = rules(tax(percent=0)).taxed(call_alone(100)).taxes
    assert (line.amount, line.base, line.level) == (0, 100, TaxLevel.COUNTRY)


def test_when_not_even_a_free_call_fits_there_is_no_largest_price():
    fixed = PriceLine(TaxOn.SURCHARGE, 100)
    subject = rules(tax(percent=10, on="surcharge"))
    assert subject.largest_price(109, lambda price: [fixed, *call_alone(price)]) is None
    assert subject.largest_price(110, lambda price: [fixed, *call_alone(price)]) == 0
    assert subject.largest_price(115, lambda price: [fixed, *call_alone(price)]) == 5


def test_a_flat_tax_in_another_currency_is_refused():
    with pytest.raises(WrongCurrency, match="must be in EUR"):
        rules(tax(flat=Money(1, "USD")), currency="EUR")
    assert rules(tax(percent=1), currency="EUR").total(call_alone(100)) == 101


@pytest.mark.parametrize("amount", [-1, 1.0, True, "1", None])
def test_an_amount_that_is_no_whole_number_is_refused(amount: Any):
    with pytest.raises(InvalidInput, match="usage amount"):
        rules(tax(percent=1)).total(call_alone(amount))


def test_a_line_of_no_known_kind_is_refused():
    line: Any = ("usage", 5, True)
    with pytest.raises(InvalidInput, match="line on"):
        rules(tax(percent=1)).taxed([line])


@pytest.mark.parametrize("available", [-1, 1.5, None])
def test_available_money_that_is_no_amount_is_refused(available: Any):
    with pytest.raises(InvalidInput, match="available"):
        rules().largest_price(available)


# -- the sale ----------------------------------------------------------------------------------


def test_a_sales_tax_is_paid_on_top_and_an_inclusive_one_is_in_the_face_value():
    on_top = Jurisdiction(
        name="US-FL", country="US", state="FL",
        taxes=[tax("sales tax", on="sale", percent=7, level="state")],
    )  # fmt: skip
    sold = sale_tax(on_top, Money(10, "USD"), NOW)
    assert (sold.net, sold.tax, sold.total) == (10 * ONE, 700_000, 10_700_000)
    inside = Jurisdiction(
        name="DE", country="DE", taxes=[tax(on="sale", percent=19, inclusive=True)]
    )
    sold = sale_tax(inside, Money("11.90", "EUR"), NOW)
    assert (sold.net, sold.tax, sold.total) == (10 * ONE, 1_900_000, 11_900_000)
    resale = Exemption(reason="resale", certificate="R-77")
    assert sale_tax(on_top, Money(10, "USD"), NOW, [resale]).total == 10 * ONE


def test_a_face_value_that_is_no_money_is_refused():
    place = Jurisdiction(name="X", country="X")
    bad: Any = 10
    with pytest.raises(InvalidInput, match="face_value: must be Money"):
        sale_tax(place, bad, NOW)
    with pytest.raises(InvalidInput, match="sale amount: must be 0"):
        sale_tax(place, Money(-1, "USD"), NOW)
