"""Exchange rates: exact, effective-dated, converted once."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal, localcontext
from fractions import Fraction
from math import floor
from typing import Any

import pytest
from hypothesis import given, strategies as st
from moneyed import EUR, USD

from cardbill import ExchangeRate, ExchangeRates
from cardbill.errors import FloatRefused, InexactAmount, InvalidInput, MissingFields
from cardbill.exchange import ONE, Quote, no_rates
from cardbill.money import percentage

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def worth(rates: ExchangeRates, currency: str, at: datetime = NOW) -> Decimal | None:
    quote = rates.quote(currency, at)
    return None if quote is None else Decimal(quote.parts) / ONE


# -- which rate ----------------------------------------------------------------------------------


def test_a_rate_is_in_force_from_its_first_instant_until_the_next():
    rates = ExchangeRates(
        base=USD,
        rates=[
            ExchangeRate("EUR", Decimal("1.0837"), effective_from=NOW),
            ExchangeRate(EUR, "1.05", effective_from=NOW - DAY),
            ExchangeRate("KWD", 3),
            ExchangeRate("EUR", "1.10", effective_from=NOW + DAY),
        ],
    )
    tick = timedelta(microseconds=1)
    instants = [NOW - DAY - tick, NOW - DAY, NOW - tick, NOW, NOW + DAY - tick, NOW + DAY]
    seen = [worth(rates, "EUR", at) for at in instants]
    told = [None, "1.05", "1.05", "1.0837", "1.0837", "1.10"]
    assert seen == [text and Decimal(text) for text in told]
    assert worth(rates, "KWD", datetime(1970, 1, 1, tzinfo=UTC)) == 3
    assert worth(rates, "USD") == 1
    assert worth(rates, "GBP") is None
    assert rates.currencies == {"USD", "EUR", "KWD"}


def test_without_rates_a_currency_is_worth_itself_and_nothing_else_is_worth_anything():
    assert no_rates("EUR").quote("EUR", NOW) == Quote("EUR", "EUR", ONE)
    assert no_rates("EUR").quote("USD", NOW) is None


def test_an_instant_is_the_same_in_every_zone():
    elsewhere = timezone(timedelta(hours=-5))
    one = ExchangeRate("EUR", "1.1", effective_from=NOW.astimezone(elsewhere))
    assert one == ExchangeRate("EUR", "1.10", effective_from=NOW)


INSTANTS = st.integers(0, 8).map(lambda hours: NOW + timedelta(hours=hours))


@given(
    st.dictionaries(st.none() | INSTANTS, st.integers(1, 10**12), max_size=6),
    INSTANTS,
)
def test_the_latest_rate_that_has_begun_counts(known: dict[datetime | None, int], at: datetime):
    listed = [
        ExchangeRate("EUR", Decimal(f"{parts}E-9"), effective_from=begin)
        for begin, parts in known.items()
    ]
    always = datetime(1, 1, 1, tzinfo=UTC)
    begun = [(begin or always, parts) for begin, parts in known.items() if (begin or always) <= at]
    quote = ExchangeRates(base="USD", rates=listed).quote("EUR", at)
    assert (quote and quote.parts) == (max(begun)[1] if begun else None)


# -- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("currency", "rate", "field"),
    [
        ("EURO", "1", "currency"),
        (7, "1", "currency"),
        ("EUR", "0", "rate"),
        ("EUR", "-1", "rate"),
        ("EUR", "x", "rate"),
        ("EUR", None, "rate"),
        ("EUR", Decimal("inf"), "rate"),
        ("EUR", 10**10, "rate"),
    ],
)
def test_a_rate_that_cannot_be_used_is_refused_by_name(currency: Any, rate: Any, field: str):
    with pytest.raises(InvalidInput) as refused:
        ExchangeRate(currency, rate)
    assert refused.value.field == field


def test_a_rate_is_exact_to_nine_decimals_and_no_float():
    assert ExchangeRate("IDR", "0.000060976").parts == 60_976
    with localcontext(prec=3):  # the host's context rounds nothing
        assert ExchangeRate("IDR", "123456.123456789").rate == Decimal("123456.123456789")
    with pytest.raises(FloatRefused):
        ExchangeRate("EUR", 1.0837)
    with pytest.raises(InexactAmount):
        ExchangeRate("EUR", "1.0000000001")
    with pytest.raises(InvalidInput, match="effective_from"):
        ExchangeRate("EUR", "1.1", effective_from=datetime(2026, 1, 1))  # noqa: DTZ001


def test_rates_that_contradict_each_other_are_refused():
    twice = [ExchangeRate("EUR", "1.1", effective_from=NOW) for _ in range(2)]
    for rates in (twice, [ExchangeRate("EUR", "1.1"), ExchangeRate("EUR", "1.2")]):
        with pytest.raises(InvalidInput, match="EUR") as refused:
            ExchangeRates(base="USD", rates=rates)
        assert refused.value.field == "rates"
    with pytest.raises(InvalidInput, match="is the base currency"):
        ExchangeRates(base="USD", rates=[ExchangeRate("USD", "1")])
    with pytest.raises(MissingFields, match="base"):
        ExchangeRates(rates=[ExchangeRate("EUR", "1.1")])
    with pytest.raises(MissingFields, match="currency"):
        ExchangeRate("", "1.1")
    for odd in ("EUR", 5, None, [("EUR", "1.1")], {"EUR": "1.1"}):
        with pytest.raises(InvalidInput) as refused:
            ExchangeRates(base="USD", rates=odd)
        assert refused.value.field == "rates"
    with pytest.raises(InvalidInput) as refused:
        ExchangeRates(base="Dollar")
    assert refused.value.field == "base"


# -- converting ----------------------------------------------------------------------------------


@given(st.integers(0, 2**63 - 1), st.integers(1, 10**15))
def test_an_amount_is_converted_half_up_to_one_unit(amount: int, parts: int):
    exact = Fraction(amount * parts, ONE)
    assert Quote("EUR", "USD", parts).in_base(amount) == floor(exact + Fraction(1, 2))


@pytest.mark.parametrize(
    ("amount", "parts", "worth"),
    [
        (1, ONE // 2, 1),  # a tie goes up
        (1, ONE // 2 - 1, 0),
        (3, ONE // 2, 2),
        (0, 10**18, 0),
        (7, ONE, 7),
        (1_000_000, 1_083_700_000, 1_083_700),
    ],
)
def test_ties_go_up(amount: int, parts: int, worth: int):
    assert Quote("EUR", "USD", parts).in_base(amount) == worth


@given(st.integers(-(10**15), 10**15), st.integers(1, 10**15))
def test_a_percentage_is_the_nearest_ten_thousandth(part: int, whole: int):
    found = percentage(part, whole)
    assert found is not None
    assert abs(Fraction(found) - Fraction(100 * part, whole)) <= Fraction(1, 20_000)
    assert percentage(-part, whole) == -found
    assert percentage(part, 0) is None
