"""Cells of codes: lists, ranges and countries become prefixes, or are refused."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given, strategies as st

import cardbill
from cardbill import Deck, DeckRow, Dialect
from cardbill.codecells import country_code
from cardbill.errors import DeckRefused
from tests.notice_reading import prefixes, price, read, refused


def codes(cell: str, **how: Any) -> list[str]:
    return prefixes(f'code;rate\n"{cell}";0.1\n', Dialect(**how))


def code_refused(cell: str, **how: Any) -> str:
    content = f'code;rate\n1;0.1\n"{cell}";0.1\n'
    ((line, column, code),) = refused(content, Dialect(**how))
    assert (line, column) == (3, "code")
    return code


@pytest.mark.parametrize(
    ("cell", "how", "due"),
    [
        ("44", {}, ["44"]),
        ("+44", {}, ["44"]),
        ("44, 45", {}, ["44", "45"]),
        ("44;45 ; +46;", {}, ["44", "45", "46"]),
        ("44\n45\r\n46", {}, ["44", "45", "46"]),
        ("44, 44", {}, ["44"]),
        ("336 07, 336 08", {"spaces": "inside"}, ["33607", "33608"]),
        ("336\u00a007", {"spaces": "inside"}, ["33607"]),
        ("336 07,338", {"spaces": "between"}, ["07", "336", "338"]),
        ("49172-49174", {"hyphen": "range"}, ["49172", "49173", "49174"]),
        ("49172 - 49174", {"hyphen": "range"}, ["49172", "49173", "49174"]),
        ("49172 - 49174 49176", {"hyphen": "range", "spaces": "between"}, 4),
        ("49172\u201349174", {"hyphen": "range"}, ["49172", "49173", "49174"]),
        ("447400-447409", {"hyphen": "range"}, ["44740"]),
        ("447398-447411", {"hyphen": "range"}, ["447398", "447399", "44740", "447410", "447411"]),
        ("100-199", {"hyphen": "range"}, ["1"]),
        ("4470-4470000000", {"hyphen": "country-area", "spaces": "inside"}, "country-code"),
        ("93-76", {"hyphen": "country-area"}, ["9376"]),
        ("93-76, 93-77", {"hyphen": "country-area"}, ["9376", "9377"]),
        ("1-242-357", {"hyphen": "country-area"}, ["1242357"]),
        ("93", {"hyphen": "country-area"}, ["93"]),
        ("4912-4919", {"hyphen": "by-length"}, 8),
        ("52-334217", {"hyphen": "by-length"}, ["52334217"]),
        ("49120-49129, 52-334", {"hyphen": "by-length"}, "ambiguous-area"),
        ("93-76", {"hyphen": "by-length"}, "ambiguous-hyphen"),
        ("44-45", {"hyphen": "by-length"}, "ambiguous-hyphen"),
        ("49121-491299", {"hyphen": "by-length"}, "ambiguous-hyphen"),
        ("93-76", {}, "ambiguous-hyphen"),
        ("447400-447409", {}, "ambiguous-hyphen"),
        ("336 07", {}, "ambiguous-space"),
        ("336 07, 336 08", {}, "ambiguous-space"),
        ("93-76, 77", {"hyphen": "country-area"}, "ambiguous-area"),
        ("49151-49160", {"hyphen": "country-area"}, "country-code"),
        ("49172-4", {"hyphen": "range"}, "range-lengths"),
        ("49172-491740", {"hyphen": "range"}, "range-lengths"),
        ("49174-49172", {"hyphen": "range"}, "range-falls"),
        ("49174-49174", {"hyphen": "range"}, "range-falls"),
        ("44-49", {"hyphen": "range"}, "range-countries"),
        ("447400-547409", {"hyphen": "range"}, "range-countries"),
        ("44000000-44999999", {"hyphen": "range"}, ["44"]),
        ("440000000-449999999", {"hyphen": "range"}, "range-too-large"),
        ("4417-", {"hyphen": "range"}, "invalid"),
        ("-4417", {"hyphen": "range"}, "invalid"),
        ("44-x", {"hyphen": "range"}, "invalid"),
        ("4.41E+11", {}, "scientific"),
        ("4,41E+11", {}, "scientific"),
        ("++44", {}, "invalid"),
        ("44.5", {}, "invalid"),
        ("44/45", {}, "invalid"),
        ("44x", {}, "invalid"),
        ("4\uff14", {}, "invalid"),
        ("1" * 16, {}, "invalid"),
        ("1111111111111100-1111111111111200", {"hyphen": "range"}, "invalid"),
        (", ;", {}, "missing"),
    ],
)
def test_a_code_cell_is_what_the_dialect_says_or_is_refused(
    cell: str, how: dict[str, Any], due: list[str] | int | str
):
    if isinstance(due, str):
        assert code_refused(cell, **how) == due
    elif isinstance(due, int):
        assert len(codes(cell, **how)) == due
    else:
        assert codes(cell, **how) == sorted(due)


@given(
    st.integers(min_value=2, max_value=6).flatmap(
        lambda digits: st.tuples(
            st.just(digits),
            st.integers(min_value=0, max_value=10**digits - 2),
            st.integers(min_value=1, max_value=3_000),
        )
    )
)
def test_a_range_becomes_the_fewest_prefixes_that_hold_its_codes_and_no_other(
    sample: tuple[int, int, int],
):
    digits, first, more = sample
    last = min(first + more, 10**digits - 1)
    found = codes(f"1{first:0{digits}d}-1{last:0{digits}d}", hyphen="range")
    held = [
        int(prefix) * 10**width + offset
        for prefix in found
        for width in [digits + 1 - len(prefix)]
        for offset in range(10**width)
    ]
    assert sorted(held) == [10**digits + n for n in range(first, last + 1)]
    parents = [prefix[:-1] for prefix in found]
    assert all(parents.count(parent) < 10 for parent in parents)


@st.composite
def overlapping_ranges(draw: st.DrawFn) -> list[tuple[int, str, str, int]]:
    """Rows of one code or a range, all near each other, with a day on which each begins."""
    rows = []
    for _ in range(draw(st.integers(min_value=1, max_value=6))):
        digits = draw(st.integers(min_value=1, max_value=3))
        first = draw(st.integers(min_value=0, max_value=10**digits - 1))
        last = draw(st.integers(min_value=first, max_value=min(first + 120, 10**digits - 1)))
        day = draw(st.integers(min_value=1, max_value=28))
        rows.append((day, f"44{first:0{digits}d}", f"44{last:0{digits}d}", digits))
    return rows


@example([(1, "441", "441", 1), (1, "4400", "4409", 2), (2, "440", "449", 1)], 0)
@given(overlapping_ranges(), st.integers(min_value=0, max_value=999))
def test_a_range_rates_as_its_codes_would_whatever_else_the_deck_has(
    rows: list[tuple[int, str, str, int]], number: int
):
    lines = [
        f"{first}-{last};0.{n:02};2026-09-{day:02}"
        if first < last
        else f"{first};0.{n:02};2026-09-{day:02}"
        for n, (day, first, last, _) in enumerate(rows, start=1)
    ]
    spelled = [
        DeckRow(
            prefix=str(code),
            rate=cardbill.rate(f"0.{n:02}"),
            effective_from=datetime(2026, 9, day, tzinfo=UTC),
            line=n,
        )
        for n, (day, first, last, _) in enumerate(rows, start=1)
        for code in range(int(first), int(last) + 1)
    ]
    content = "code;rate;effective from\n" + "\n".join(lines)
    try:
        due = Deck.compile(spelled, currency="USD")
    except DeckRefused:
        with pytest.raises(DeckRefused):
            read(content, Dialect(hyphen="range"))
        return
    deck = read(content, Dialect(hyphen="range"))
    for day in range(1, 29):
        at = datetime(2026, 9, day, tzinfo=UTC)
        dialled = f"44{number:03}1234567"
        assert price(deck, dialled, at) == price(due, dialled, at)


def test_a_range_over_which_other_rows_lie_is_refused_where_it_has_too_many_codes():
    content = "code;rate\n4400000-4499999;0.1\n44;0.2\n"
    assert refused(content, Dialect(hyphen="range")) == [(2, "code", "range-too-large")]


def test_country_codes_are_those_of_the_numbering_plans_of_the_world():
    phonenumbers = pytest.importorskip("phonenumbers")
    for code in phonenumbers.COUNTRY_CODE_TO_REGION_CODE:
        assert country_code(f"{code}5551234") == str(code)


@pytest.mark.parametrize(
    ("country", "area", "due"),
    [
        ("34", "6, 7", ["346", "347"]),
        ("+34", "6", ["346"]),
        ("34", "", ["34"]),
        ("34", "600-609", ["3460"]),
        ("1 242", "", ["1242"]),
    ],
)
def test_codes_may_stand_in_two_columns(country: str, area: str, due: list[str]):
    dialect = Dialect(columns={"prefix": ("CC", "Areas")}, hyphen="range")
    assert prefixes(f"CC;Areas;rate\n{country};{area};0.1\n", dialect) == due


def test_a_country_column_that_has_no_code_is_refused():
    dialect = Dialect(columns={"prefix": ("CC", "Areas")})
    assert refused("CC;Areas;rate\nSpain;6;0.1\n;;0.1\n", dialect) == [
        (2, "Areas", "invalid"),
        (3, "Areas", "missing"),
    ]


def test_a_code_listed_twice_in_one_row_is_one_and_in_two_rows_refused():
    assert prefixes('code;rate\n"447400-447409,447405";0.1\n', Dialect(hyphen="range"))
    content = 'code;rate\n"44,45";0.1\n"45,46";0.1\n'
    assert refused(content) == [(2, "code", "duplicate"), (3, "code", "duplicate")]
    content = "code;rate\n447400-447409;0.1\n447405;0.1\n"
    assert refused(content, Dialect(hyphen="range")) == [
        (2, "code", "duplicate"),
        (3, "code", "duplicate"),
    ]


def test_a_row_that_cannot_be_used_blocks_each_of_its_codes():
    content = 'code;rate\n4;0.1\n"44,447400-447409";x\n'
    deck = read(content, Dialect(hyphen="range"), on_problem="block")
    assert price(deck, "441234") == price(deck, "4474051234") == "barred"
    assert price(deck, "451234") == 100_000
    content = "code;rate;effective from\n4;0.1;\n447400-447409;0.1;soon\n447405;0.2;2026-01-01\n"
    deck = read(content, Dialect(hyphen="range"), on_problem="block")
    assert price(deck, "4474041234") == "barred"
    assert price(deck, "4474051234") == "barred"
