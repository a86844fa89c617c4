"""How a price came about: every step in lines that add up to it, exactly."""

import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import accumulate, pairwise

import pytest
from hypothesis import given, settings, strategies as st
from moneyed import EUR, USD, Money

import cardbill
from cardbill import (
    Band,
    Deck,
    DeckRow,
    Explanation,
    Line,
    LineKind,
    Rounding,
    explain,
    price,
    rate,
)
from cardbill.bands import Bands
from cardbill.errors import InvalidInput
from cardbill.explaining import decimal_text
from cardbill.increments import BlockRounding, Step, stretches, walk
from cardbill.money import RoundingMode
from cardbill.rating import Beyond, Rate, billed_seconds
from cardbill.tariffs import Tariff, second_of

MONDAY = datetime(2026, 3, 2, 17, 59, tzinfo=UTC)

AMOUNTS = st.one_of(st.just(0), st.integers(0, 300), st.integers(0, 10**8))


@st.composite
def any_rates(draw: st.DrawFn) -> Rate:
    """Rates with every term there is."""
    gaps = draw(st.lists(st.integers(1, 90), max_size=3))
    terms = {
        "steps": tuple(
            Step(start, draw(AMOUNTS), draw(st.integers(1, 100)))
            for start in accumulate(gaps, initial=0)
        ),
        "connect_fee": draw(AMOUNTS),
        "grace_seconds": draw(st.one_of(st.just(0), st.integers(0, 60))),
        "free_seconds": draw(st.one_of(st.just(0), st.integers(0, 120))),
        "minimum_charge": draw(AMOUNTS),
        "end_fee": draw(AMOUNTS),
        "surcharge_ppm": draw(st.sampled_from((0, 0, 1, 125_000, 333_333, 2_500_001))),
        "rounding": Rounding(draw(st.sampled_from((1, 7, 100, 10_000))), draw(modes)),
        "block_rounding": draw(st.sampled_from(BlockRounding)),
    }
    if draw(st.booleans()):
        unit = terms["rounding"].unit
        above = draw(st.one_of(st.integers(0, 10**4), st.integers(0, 10**8)))
        terms["maximum_charge"] = -(-(terms["minimum_charge"] + above) // unit) * unit
        if draw(st.booleans()):
            with suppress(InvalidInput):  # a maximum below the first increment ends no call
                return Rate(**terms, beyond_maximum="disconnect")
    return Rate(**terms)


modes = st.sampled_from(RoundingMode)


@st.composite
def any_tariffs(draw: st.DrawFn) -> Tariff:
    """A rate, and up to four others that take its place within some minutes."""
    seconds = draw(st.lists(st.integers(1, 600), max_size=4, unique=True))
    begin = second_of(MONDAY)
    return Tariff(
        draw(any_rates()),
        tuple((begin + second, draw(any_rates())) for second in sorted(seconds)),
    )


def kinds(told: Explanation) -> list[str]:
    return [line.kind.value for line in told.lines]


def line(told: Explanation, kind: LineKind) -> Line:
    (found,) = [each for each in told.lines if each.kind is kind]
    return found


# -- what must be so, whatever the rate -----------------------------------------------------------


@settings(max_examples=5 * settings().max_examples)
@given(any_rates(), st.one_of(st.integers(0, 400), st.integers(0, 10**9)))
def test_the_lines_add_up_to_the_price_exactly(subject: Rate, seconds: int):
    told = explain(subject, seconds)
    assert told.units == price(subject, seconds)
    assert type(told.units) is int
    assert sum(each.amount for each in told.lines) == told.units
    assert abs(told.exact - told.units) < subject.rounding.unit
    usage = [each for each in told.lines if each.kind is LineKind.USAGE]
    assert (usage[-1].details["to_second"] if usage else 0) == billed_seconds(subject, seconds)


@settings(max_examples=5 * settings().max_examples)
@given(any_tariffs(), st.integers(0, 900), st.integers(0, 180))
def test_a_call_over_several_bands_adds_up_too(subject: Tariff, seconds: int, ringing: int):
    answered = MONDAY + timedelta(seconds=ringing)
    told = explain(subject, seconds, answered_at=answered)
    assert told.units == subject.price(seconds, answered)
    usage = [each for each in told.lines if each.kind is LineKind.USAGE]
    billed = usage[-1].details["to_second"] if usage else 0
    assert billed == subject.billed_seconds(seconds, answered)


@given(any_rates(), st.integers(0, 300), st.integers(1, 400))
def test_stretches_are_what_the_walk_adds_up(subject: Rate, begin: int, length: int):
    steps, blocks = subject.steps, subject.block_rounding
    found = list(stretches(steps, blocks, begin, begin + length))
    end, usage, begun = walk(steps, blocks, begin, begin + length)
    assert (found[-1].end, sum(each.usage for each in found)) == (end, usage)
    assert max(found[-1].begin, end - found[-1].increment) == begun
    assert found[0].begin == begin
    assert all(one.end == other.begin for one, other in pairwise(found))


@given(any_tariffs(), st.integers(0, 900))
def test_it_is_plain_json_and_loses_nothing(subject: Tariff, seconds: int):
    told = explain(subject, seconds, answered_at=MONDAY, currency="USD")
    plain = json.loads(json.dumps(told.as_dict()))
    assert plain == told.as_dict()
    assert sum(Fraction(each["amount_units"]) for each in plain["lines"]) == plain["units"]
    assert [each["text"] for each in plain["lines"]] == [each.text for each in told.lines]


@given(any_rates(), st.integers(0, 400))
def test_each_line_of_a_table_is_short_and_the_last_is_the_price(subject: Rate, seconds: int):
    rows = str(explain(subject, seconds)).splitlines()
    assert rows[-1].split() == ["Price", decimal_text(price(subject, seconds))]
    assert max(map(len, rows)) < 120
    assert not any(row.endswith(" ") for row in rows)


# -- what it says -------------------------------------------------------------------------------


def test_a_price_is_told_step_by_step():
    told = explain(
        rate(
            "0.10",
            increments="60/6",
            connect_fee="0.05",
            free_seconds=10,
            surcharge_percent="12.5",
            end_fee="0.01",
        ),
        80,
        currency=USD,
    )
    assert (
        str(told)
        == """\
Talk time                                                80 s
Free seconds                                             10 s
Seconds 0 to 60 at 0.10 a minute                     1 x 60 s  0.10
Seconds 60 to 72 at 0.10 a minute                     2 x 6 s  0.02
Connect fee                                                    0.05
Surcharge of 12.5 % on connect fee and usage                   0.02125
End fee                                                        0.01
Exactly 0.20125, rounded up to a multiple of 0.0001            0.00005
Price USD                                                      0.2013"""
    )
    assert told.amount == Money("0.2013", USD)
    assert told.exact == Fraction(201_250)


def test_each_figure_in_a_text_is_there_as_a_number():
    told = explain(rate("0.10", increments="60/6", surcharge_percent="12.5"), 70)
    first, second = [each for each in told.lines if each.kind is LineKind.USAGE]
    assert first.details == {
        "from_second": 0,
        "to_second": 60,
        "increments": 1,
        "increment_seconds": 60,
        "price_per_minute_units": 100_000,
    }
    assert (second.quantity, second.unit, second.measure) == (2, "x 6 s", "2 x 6 s")
    assert line(told, LineKind.SURCHARGE).details == {"surcharge_ppm": 125_000}
    assert line(told, LineKind.ROUNDING).details == {
        "exact_units": "135000",
        "multiple_units": 100,
        "rounding_mode": "up",
        "result_units": 135_000,
    }


def test_a_call_nobody_answered_has_nothing_to_tell():
    assert kinds(explain(rate("0.10", connect_fee=1), 0)) == ["talk"]


def test_a_call_within_grace_says_why_it_is_free():
    told = explain(rate("0.10", connect_fee=1, grace_seconds=6), 6)
    assert kinds(told) == ["talk", "grace"]
    assert "grace of 6 s" in told.lines[1].text
    assert told.units == 0
    assert kinds(explain(rate("0.10", connect_fee=1, grace_seconds=6), 7))[:2] == ["talk", "usage"]


def test_the_minimum_and_the_maximum_say_what_they_changed():
    raised = explain(rate("0.10", minimum_charge="0.05"), 6)
    assert line(raised, LineKind.MINIMUM).amount == 40_000
    lowered = explain(rate("0.10", maximum_charge="0.50"), 3600)
    assert line(lowered, LineKind.MAXIMUM).amount == -5_500_000
    assert (raised.units, lowered.units) == (50_000, 500_000)


def test_a_minimum_counts_before_rounding():
    subject = Rate(
        steps=(Step(0, 270, 1),), minimum_charge=5, rounding=Rounding(1, RoundingMode.DOWN)
    )
    told = explain(subject, 1)  # 4.5 units of usage
    assert line(told, LineKind.MINIMUM).amount == Fraction(1, 2)
    assert told.units == price(subject, 1) == 5


def test_blocks_counted_from_the_beginning_say_what_was_billed_before():
    told = explain(rate("0.18", increments="30/18", block_rounding="total"), 31)
    _, second = [each for each in told.lines if each.kind is LineKind.USAGE]
    assert second.text == "Seconds 30 to 36 at 0.18 a minute, 12 s of the first were billed before"
    assert second.amount == 18_000


def test_decimals_without_end_say_so_and_stay_exact():
    told = explain(rate("0.10"), 1)
    (usage,) = [each for each in told.lines if each.kind is LineKind.USAGE]
    assert usage.amount == Fraction(100_000, 60)
    assert "0.001666666..." in str(told)
    assert told.units == 1_700


@pytest.mark.parametrize(
    ("units", "text"),
    [
        (0, "0.00"),
        (1, "0.000001"),
        (-1_500_000, "-1.50"),
        (1_234_567_000_000, "1,234,567.00"),
        (Fraction(1, 60), "0.000000016..."),
        (Fraction(-1, 8), "-0.000000125"),
    ],
)
def test_amounts_are_written_whole_or_with_dots(units: Fraction, text: str):
    assert decimal_text(units) == text


# -- bands --------------------------------------------------------------------------------------


def evening(mode: str) -> Deck:
    return Deck.compile(
        [
            DeckRow(prefix="44", rate=rate("0.06", increments="30/30")),
            DeckRow(prefix="44", rate=rate("0.02", increments="30/30"), band="evening"),
        ],
        currency=USD,
        bands=[Band("evening", "Mon-Fri 18:00-24:00")],
        time_zone="UTC",
        band_rating=mode,
    )


def test_a_call_into_another_band_names_where_each_increment_fell():
    deck = evening("split")
    match = deck.match("442071234567", MONDAY)
    assert match is not None
    tariff = deck.tariff(match, "442071234567", MONDAY, 3600)
    told = explain(tariff, 100, answered_at=MONDAY, bands=deck.bands, currency=USD)
    first, second = [each for each in told.lines if each.kind is LineKind.USAGE]
    assert first.text == "Seconds 0 to 60 at 0.06 a minute"
    assert second.text == "Seconds 60 to 120 at 0.02 a minute, evening"
    assert second.details["band"] == "evening"
    assert second.details["begins_at"] == "2026-03-02T18:00:00+00:00"
    assert told.amount == Money("0.08", USD)


def test_increments_begin_after_the_free_seconds():
    tariff = Tariff(
        rate("0.06", free_seconds=60), ((second_of(MONDAY) + 60, rate("0.02", free_seconds=60)),)
    )
    told = explain(tariff, 90, answered_at=MONDAY, bands=evening("split").bands)
    usage = line(told, LineKind.USAGE)
    assert usage.text == "Seconds 0 to 30 at 0.02 a minute, evening"
    assert usage.details["begins_at"] == "2026-03-02T18:00:00+00:00"


def test_without_the_bands_the_stretches_are_the_same_but_bear_no_name():
    deck = evening("split")
    match = deck.match("442071234567", MONDAY)
    assert match is not None
    tariff = deck.tariff(match, "442071234567", MONDAY, 3600)
    told = explain(tariff, 100, answered_at=MONDAY)
    assert [each.quantity for each in told.lines if each.kind is LineKind.USAGE] == [2, 2]
    assert "evening" not in str(told)


def test_a_rate_a_tariff_a_row_and_a_match_are_explained_alike():
    deck = evening("at_start")
    match = deck.match("442071234567", MONDAY)
    row = next(row for row in deck.rows() if not row.band)
    assert match is not None
    told = [explain(each, 95) for each in (row.rate, Tariff(row.rate), row, match)]
    assert told == [told[0]] * 4


# -- what cannot be used ------------------------------------------------------------------------


def test_what_cannot_be_explained_is_refused_by_name():
    subject = rate("0.10")
    later = Tariff(subject, ((second_of(MONDAY), rate("0.20")),))
    with pytest.raises(InvalidInput, match="answered_at: is needed"):
        explain(later, 60)
    with pytest.raises(InvalidInput, match="answered_at: must be aware"):
        explain(subject, 60, answered_at=datetime(2026, 1, 1))  # noqa: DTZ001
    with pytest.raises(InvalidInput, match="seconds"):
        explain(subject, -1)
    with pytest.raises(InvalidInput, match="rate: must be"):
        explain("0.10", 60)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="is blocked"):
        explain(DeckRow(prefix="44", rate=subject, blocked=True), 60)
    with pytest.raises(InvalidInput, match="currency"):
        explain(subject, 60, currency="dollars")
    with pytest.raises(InvalidInput, match="currency"):
        _ = explain(subject, 60).amount


def test_the_parts_of_an_amount_that_is_none_are_no_explanation():
    with pytest.raises(ValueError, match="no whole number"):
        _ = Explanation(
            "x", (Line(kind=LineKind.USAGE, text="a bit", amount=Fraction(1, 3)),)
        ).units


def test_further_lines_add_up_like_those_of_a_price():
    told = explain(rate("0.10"), 60, currency=EUR)
    tax = Line(kind=LineKind.POSTED, text="VAT of 20 %", amount=20_000)
    total = Explanation("Total", (*told.lines, tax), "EUR")
    assert total.amount == Money("0.12", EUR)
    assert cardbill.price(rate("0.10"), 60) + 20_000 == total.units


def test_bands_of_another_zone_name_by_their_own_clock():
    tokyo = Bands([Band("night", "Mon-Sun 22:00-06:00")], "Asia/Tokyo")
    told = explain(rate("0.10"), 60, answered_at=MONDAY, bands=tokyo)
    assert line(told, LineKind.USAGE).details["band"] == "night"


def test_a_maximum_that_ends_calls_is_explained_like_any_other():
    subject = rate("0.10", maximum_charge="0.50", beyond_maximum=Beyond.DISCONNECT)
    assert explain(subject, 3600).units == price(subject, 3600) == 500_000
