"""Carriers' notices: read as the carrier means them, or refused where that could be two things."""

import csv
import io
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, strategies as st

import cardbill
from cardbill import (
    CITY_CODE_NOTICE,
    CODE_LIST_NOTICE,
    NEW_RATE_NOTICE,
    Band,
    Deck,
    DeckRow,
    Dialect,
    RateChange,
)
from cardbill.codecells import country_code
from cardbill.errors import DeckRefused, InvalidInput

LATER = datetime(2030, 1, 1, tzinfo=UTC)
BANDS = [
    Band("peak", "Mon-Fri 08:00-18:00"),
    Band("off-peak", ("Mon-Thu 18:00-08:00", "Fri 18:00-24:00", "Sat-Sun", "Mon 00:00-08:00")),
]


def read(content: str, dialect: Dialect | None = None, **how: Any) -> Deck:
    how = {"currency": "USD", "dialect": dialect or Dialect(), **how}
    return cardbill.read_deck(io.StringIO(content), **how)


def prefixes(content: str, dialect: Dialect | None = None, **how: Any) -> list[str]:
    return [row.prefix for row in read(content, dialect, **how).rows()]


def refused(content: str, dialect: Dialect | None = None, **how: Any) -> list[tuple[int, str, str]]:
    with pytest.raises(DeckRefused) as caught:
        read(content, dialect, **how)
    return [(problem.line, problem.column, problem.code) for problem in caught.value.problems]


def price(deck: Deck, number: str, at: datetime = LATER) -> int | str | None:
    """Per minute; `barred` where the number cannot be called."""
    match = deck.match(number, at)
    if match is None:
        return None
    return "barred" if match.blocked else match.rate.steps[0].price_per_minute


def codes(cell: str, **how: Any) -> list[str]:
    return prefixes(f'code;rate\n"{cell}";0.1\n', Dialect(**how))


def code_refused(cell: str, **how: Any) -> str:
    content = f'code;rate\n1;0.1\n"{cell}";0.1\n'
    ((line, column, code),) = refused(content, Dialect(**how))
    assert (line, column) == (3, "code")
    return code


# -- notices as carriers mail them ----------------------------------------------------------


@pytest.fixture(scope="module")
def notices(shared_data: Path) -> Path:
    return shared_data / "data" / "rate-notices"


@pytest.fixture(scope="module")
def acme(notices: Path) -> Deck:
    path = notices / "acme_rate_notice.csv"
    return cardbill.read_deck(path, currency="USD", dialect=CODE_LIST_NOTICE)


def expected(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8", newline="") as file:
        for cells in csv.DictReader(file):
            begin = cells["Effective from"]
            yield {
                "prefix": cells["Prefix"],
                "price": int(cells["Price 1"].replace("0.", "").ljust(6, "0")),
                "steps": (int(cells["Interval 1"]), int(cells["Interval N"])),
                "closed": cells["Discontinued"] == "1",
                "begin": None
                if begin == "ASAP"
                else datetime.fromisoformat(begin).replace(tzinfo=UTC),
            }


def test_a_notice_rates_every_number_as_its_rows_code_by_code_do(notices: Path, acme: Deck):
    """Instants: before any change, around each date, long after."""
    rows = list(expected(notices / "acme_rate_notice_tcxc.csv"))
    assert len(rows) == 25
    dates = {row["begin"] for row in rows if row["begin"]}
    instants = [datetime(2026, 9, 17, tzinfo=UTC), LATER]
    instants += [day + offset for day in dates for offset in (-timedelta(seconds=1), timedelta(0))]
    generator = random.Random(3)
    stems = [row["prefix"] for row in rows] + ["44", "447", "44741", "2348", "234807", "1876", "33"]
    numbers = [(stem + str(generator.randrange(10**9)).zfill(9))[:14] for stem in stems * 5]
    for at in instants:
        for number in numbers:
            under = [
                row
                for row in rows
                if number.startswith(row["prefix"])
                and (row["begin"] is None or row["begin"] <= at or row["closed"])
            ]
            match = acme.match(number, at)
            if not under:
                assert match is None, (number, at)
                continue
            row = max(under, key=lambda row: len(row["prefix"]))
            assert match is not None, (number, at)
            assert match.blocked == (row["closed"] and row["begin"] <= at)
            if not match.blocked:
                first, following = row["steps"]
                told = [(s.price_per_minute, s.increment) for s in match.rate.steps]
                due = [(row["price"], first), (row["price"], following)]
                assert told == due[: 1 + (first != following)], (number, at)


def test_a_notice_is_kept_in_the_fewest_prefixes(acme: Deck):
    assert len(acme) == 17
    assert [row.prefix for row in acme.rows() if row.prefix.startswith("44")] == ["44740"]


def test_a_notice_tells_its_destinations(acme: Deck):
    names = {row.prefix: row.destination for row in acme.rows()}
    assert names["49152"] == "Germany Mobile - Vodafone"
    assert names["521"] == "Mexico Mobile"


def test_a_closed_code_keeps_its_price_until_its_day_and_is_barred_from_then_on(acme: Deck):
    day = datetime(2026, 9, 20, tzinfo=UTC)
    assert price(acme, "2348051234567", day - timedelta(seconds=1)) == 121_000
    assert price(acme, "2348051234567", day) == "barred"
    assert price(acme, "2348051234567") == "barred"


def test_a_notice_of_country_and_area_with_english_months(notices: Path):
    path = notices / "test_bi_type_increment_column.csv"
    deck = cardbill.read_deck(path, currency="USD", dialect=CITY_CODE_NOTICE)
    told = {
        row.prefix: (
            row.destination,
            row.effective_from and row.effective_from.date().isoformat(),
            [(step.price_per_minute, step.increment) for step in row.rate.steps],
        )
        for row in deck.rows()
    }
    assert told == {
        "8435": ("Vietnam-Mobile", "2022-05-10", [(50_000, 60)]),
        "9370": ("Afghanistan-Mobile B", "2025-02-06", [(140_000, 60), (140_000, 1)]),
        "9376": ("Afghanistan-Mobile A", "2018-09-21", [(150_000, 1)]),
    }


def test_a_notice_with_the_new_rate_beside_the_current_one(notices: Path):
    path = notices / "test_semicolon_decimal_comma_ccarea.csv"
    deck = cardbill.read_deck(path, currency="EUR", dialect=NEW_RATE_NOTICE)
    day = datetime(2027, 4, 3, tzinfo=UTC)
    for number in ("34612345678", "34712345678"):
        assert price(deck, number, day - timedelta(seconds=1)) == 10_000
        assert price(deck, number, day) == 12_000
    assert price(deck, "34812345678") is None


def test_a_mixed_column_is_read_by_length_and_not_otherwise(notices: Path):
    path = notices / "test_mixed_hyphen_range_vs_ccarea.csv"

    def how(hyphen: str | None) -> Deck:
        return cardbill.read_deck(path, currency="USD", dialect=Dialect(hyphen=hyphen))

    deck = how("by-length")
    assert price(deck, "492023456789") is None
    assert price(deck, "4912345678") == price(deck, "4919345678") == 10_000
    assert price(deck, "523342171234") == 20_000
    with pytest.raises(DeckRefused) as caught:
        how(None)
    first, second = caught.value.problems
    assert (first.line, first.column, first.code) == (2, "Code", "ambiguous-hyphen")
    assert "all codes from 4912 to 4919 or as the code 49124919" in first.message
    assert (second.line, second.code) == (3, "ambiguous-hyphen")
    for hyphen, line, code in (("range", 3, "range-lengths"), ("country-area", 2, "country-code")):
        with pytest.raises(DeckRefused) as caught:
            how(hyphen)
        assert [(p.line, p.code) for p in caught.value.problems] == [(line, code)]


def test_two_price_columns_are_refused_until_each_has_its_band(notices: Path):
    path = notices / "test_two_price_columns.csv"
    for dialect in (None, Dialect()):
        with pytest.raises(InvalidInput) as caught:
            cardbill.read_deck(path, currency="USD", dialect=dialect)
        assert caught.value.field == "header"
    dialect = Dialect(prices={"peak": "Rate Peak", "off-peak": "Rate Off-peak"})
    deck = cardbill.read_deck(path, currency="USD", dialect=dialect, bands=BANDS)
    assert price(deck, "442012345678", datetime(2026, 9, 21, 12, tzinfo=UTC)) == 10_000
    assert price(deck, "442012345678", datetime(2026, 9, 20, 12, tzinfo=UTC)) == 5_000
    with pytest.raises(InvalidInput) as caught:
        cardbill.read_deck(path, currency="USD", dialect=dialect)
    assert (caught.value.field, caught.value.value) == ("prices", "peak")


# -- around the table -----------------------------------------------------------------------

COVER = "Rates of,Some Carrier\n\nIssue date:,16/09/2026\nRate,USD\n\n"
TABLE = "Code,Rate,Remark\n44,0.02,ok\n"


@pytest.mark.parametrize(
    "content",
    [
        TABLE,
        COVER + TABLE,
        "\ufeff" + COVER + TABLE,
        (COVER + TABLE).replace("\n", "\r\n"),
        "Rates; of us\nvalid, from, now, on, forever\n" + TABLE.replace(",", ";"),
        '"Rates ""of us"",\nfor you"\n' + TABLE,
        'an inch: 1"\n' + TABLE,
        COVER + TABLE.replace("Rate,", '"  RATE\n",'),
        TABLE + "\nCode, rate and remark: subject to change 1 day ahead.\n",
        TABLE + "All rates are in USD.\n",
        TABLE + "\n\nPage 1 of 1\n,,\nEnd of list,,\n",
        TABLE + '"All rates, of all codes, are in USD."\n\n',
    ],
)
def test_what_stands_around_the_table_is_no_row_of_it(content: str):
    deck = read(content)
    assert [(row.prefix, price(deck, row.prefix)) for row in deck.rows()] == [("44", 20_000)]


def test_lines_are_counted_from_the_top_of_the_file():
    assert refused(COVER + TABLE + "45,x,\n") == [(8, "Rate", "invalid")]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("Mobile networks,,", "remark"),
        ("\nMobile networks", "remark"),
        ("45", "cells"),
        ("45,,", "missing"),
        (",0.1,", "missing"),
        ("all others,0.1,", "invalid"),
        ("4.5E+3,,", "scientific"),
    ],
)
def test_a_line_within_the_table_is_never_left_out(line: str, code: str):
    content = f"{TABLE}{line}\n1,0.1,\n"
    assert [code for _, _, code in refused(content)] == [code]


@pytest.mark.parametrize(
    "line", ["45,,", "45", ",0.1,", "all others,0.1,", "UK,,new", "\n4.5E+3,,", "\n45,,"]
)
def test_nor_is_a_last_line_that_has_a_code_or_a_price(line: str):
    assert len(refused(f"{TABLE}{line}\n")) == 1


@pytest.mark.parametrize(
    "content", ["", COVER, COVER + "Country,Fee\nUK,0.02\n", "\n" * 60 + TABLE]
)
def test_cover_lines_without_a_header_are_refused(content: str):
    with pytest.raises(InvalidInput, match="column of codes") as caught:
        read(content)
    assert caught.value.field == "header"


def test_without_a_dialect_the_header_is_the_first_line_and_every_line_is_a_row():
    with pytest.raises(InvalidInput):
        cardbill.read_deck(io.StringIO(COVER + TABLE), currency="USD")
    with pytest.raises(DeckRefused):
        cardbill.read_deck(io.StringIO(TABLE + "\nAll rates are in USD.\n"), currency="USD")


# -- codes ----------------------------------------------------------------------------------


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


# -- dates ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "cell", "due"),
    [
        ("iso", "2027-04-03", "2027-04-03"),
        ("dd/mm/yyyy", "03/04/2027", "2027-04-03"),
        ("dd/mm/yyyy", "3/4/2027", "2027-04-03"),
        ("mm/dd/yyyy", "03/04/2027", "2027-03-04"),
        ("dd.mm.yyyy", "03.04.2027", "2027-04-03"),
        ("dd/mm/yy", "03/04/27", "2027-04-03"),
        ("dd-Mon-yy", "03-Apr-27", "2027-04-03"),
        ("dd-Mon-yy", "3-APR-69", "2069-04-03"),
        ("Mon dd, yyyy", "Apr 3, 2027", "2027-04-03"),
        ("dd/mm/yyyy", "2027-04-03", "2027-04-03"),
        ("dd/mm/yyyy", "03/04/2027 10:30", "2027-04-03T10:30"),
        ("iso", "03/04/2027", "ambiguous-date"),
        ("iso", "3.4.27", "ambiguous-date"),
        ("iso", "13/04/2027", "invalid"),
        ("iso", "03-Apr-27", "invalid"),
        ("dd/mm/yyyy", "04/13/2027", "invalid"),
        ("dd/mm/yyyy", "31/04/2027", "invalid"),
        ("dd/mm/yyyy", "03.04.2027", "invalid"),
        ("dd/mm/yyyy", "03/04/27", "invalid"),
        ("dd/mm/yyyy", "00/04/2027", "invalid"),
        ("dd/mm/yyyy", "03/04/2027 25:00", "invalid"),
        ("dd-Mon-yy", "03-Avr-27", "invalid"),
        ("dd-Mon-yy", "03-Apr-99", "invalid"),
        ("dd-Mon-yy", "ASAP", "invalid"),
    ],
)
def test_a_date_is_of_the_stated_form_or_iso_or_is_refused(form: str, cell: str, due: str):
    content = f'code;rate;effective from\n44;0.1;"{cell}"\n'
    if due in ("ambiguous-date", "invalid"):
        assert refused(content, Dialect(date_form=form)) == [(2, "effective from", due)]
        return
    (row,) = read(content, Dialect(date_form=form), time_zone="America/New_York").rows()
    local = datetime.fromisoformat(due).replace(tzinfo=ZoneInfo("America/New_York"))
    assert row.effective_from == local


def test_an_ambiguous_date_is_told_with_both_its_readings():
    with pytest.raises(DeckRefused, match="03 Apr 2027 or 04 Mar 2027"):
        read("code;rate;effective from\n44;0.1;03/04/2027\n")


# -- prices ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "due"),
    [
        ("0,0120", 12_000),
        ("1", 1_000_000),
        (",5", 500_000),
        ("0.0120", "invalid"),
        ("1.000,00", "invalid"),
        ("1,000,00", "invalid"),
        ("1 000,00", "invalid"),
        ("0,0000001", "inexact"),
        ("-0,01", "invalid"),
    ],
)
def test_with_a_decimal_comma_a_price_has_no_other_mark(cell: str, due: int | str):
    content = f"code;rate\n44;{cell}\n"
    if isinstance(due, str):
        assert refused(content, Dialect(decimal=",")) == [(2, "rate", due)]
    else:
        assert price(read(content, Dialect(decimal=",")), "44") == due


def test_every_amount_has_the_decimal_comma():
    content = "code;rate;connect fee;minimum charge;surcharge\n44;0,1;0,2;0,3;12,5%\n"
    (row,) = read(content, Dialect(decimal=",")).rows()
    rate = row.rate
    assert (rate.connect_fee, rate.minimum_charge, rate.surcharge_ppm) == (
        200_000,
        300_000,
        125_000,
    )


def test_a_current_rate_counts_until_the_new_one_begins():
    dialect = Dialect(columns={"current_price": "Now", "price_per_minute": "New"})
    header = "code;Now;New;effective from\n"
    assert len(read(header + "44;0.1;0.1;2027-01-01\n", dialect)) == 1
    assert price(read(header + "44;0.1;0.1;2027-01-01\n", dialect), "44") == 100_000
    fresh = read(header + "44;;0.1;2027-01-01\n", dialect)
    assert price(fresh, "44", datetime(2026, 12, 31, tzinfo=UTC)) is None
    assert refused(header + "44;0.1;0.2;\n", dialect) == [(2, "effective from", "missing")]
    assert refused(header + "44;0.1;;2027-01-01\n", dialect) == [(2, "New", "missing")]
    assert refused(header + "44;x;0.2;2027-01-01\n", dialect) == [(2, "Now", "invalid")]


def test_a_price_for_each_band_and_one_for_any_other_time():
    dialect = Dialect(prices={"": "Std", "peak": "Peak"})
    content = "code;Std;Peak\n44;0.01;0.02\n45;0.03;x\n"
    deck = read(content, dialect, bands=BANDS, on_problem="block")
    assert [problem.column for problem in deck.problems] == ["Peak"]
    for at in (datetime(2026, 9, 21, 12, tzinfo=UTC), datetime(2026, 9, 20, 12, tzinfo=UTC)):
        assert price(deck, "451", at) == "barred"
        assert price(deck, "441", at) == (20_000 if at.day == 21 else 10_000)


def test_a_code_that_is_closed_is_closed_in_every_band():
    dialect = Dialect(prices={"peak": "Peak", "off-peak": "Off"})
    content = "code;Peak;Off;change;effective from\n4;0.1;0.1;;\n44;0.2;0.3;Closed;2026-09-20\n"
    deck = read(content, dialect, bands=BANDS)
    assert price(deck, "441", datetime(2026, 9, 18, 12, tzinfo=UTC)) == 200_000
    assert price(deck, "441", datetime(2026, 9, 18, 20, tzinfo=UTC)) == 300_000
    for hour in (12, 20):
        assert price(deck, "441", datetime(2026, 9, 21, hour, tzinfo=UTC)) == "barred"


def test_and_whenever_no_band_applies():
    dialect = Dialect(prices={"peak": "Peak"})
    content = "code;Peak;change;effective from\n44;0.2;Closed;2026-09-20\n45;x;;\n1;0.1;;\n"
    deck = read(content, dialect, bands=BANDS[:1], on_problem="block")
    for hour in (12, 20):
        for number in ("441", "451"):
            assert price(deck, number, datetime(2026, 9, 21, hour, tzinfo=UTC)) == "barred"


def test_a_row_may_name_its_band():
    content = "code;rate;band\n44;0.01;\n44;0.02;peak\n45;0.1;peak\n4;1;night\n"
    assert refused(content, bands=BANDS) == [(5, "band", "unknown-band")]
    closed = "code;rate;band;change\n44;;night;Closed\n"
    assert refused(closed, bands=BANDS) == [(2, "band", "unknown-band")]
    deck = read(content, bands=BANDS, on_problem="block")
    monday, sunday = datetime(2026, 9, 21, 12, tzinfo=UTC), datetime(2026, 9, 20, 12, tzinfo=UTC)
    assert (price(deck, "441", monday), price(deck, "441", sunday)) == (20_000, 10_000)
    assert (price(deck, "451", monday), price(deck, "451", sunday)) == (100_000, "barred")


# -- changes --------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["New", "INCREASE", "decrease", "Unchanged", "No  Change", ""])
def test_a_word_for_a_change_leaves_the_price_as_it_stands(word: str):
    assert price(read(f"code;rate;change\n44;0.1;{word}\n"), "44") == 100_000


@pytest.mark.parametrize(
    ("line", "before", "after"),
    [
        ("44;0.2;Closed;2026-09-20", 200_000, "barred"),
        ("44;0.2;discontinued;", "barred", "barred"),
        ("44;;Closed;2026-09-20", 100_000, "barred"),
        ("44;0.0000;Closed;2026-09-20", 100_000, "barred"),  # nobody sells for nothing
    ],
)
def test_what_is_closed_is_barred_from_its_day_on(line: str, before: object, after: object):
    deck = read(f"code;rate;change;effective from\n4;0.1;;\n{line}\n")
    assert price(deck, "441", datetime(2026, 9, 19, tzinfo=UTC)) == before
    assert price(deck, "441", datetime(2026, 9, 20, tzinfo=UTC)) == after


def test_where_the_dialect_says_so_what_is_closed_falls_to_the_shorter_code():
    content = "code;rate;change;effective from\n4;0.1;;\n44;0.2;Closed;2026-09-20\n45;;Closed;\n"
    deck = read(content, Dialect(closed="end"))
    assert price(deck, "441", datetime(2026, 9, 19, tzinfo=UTC)) == 200_000
    assert price(deck, "441", datetime(2026, 9, 20, tzinfo=UTC)) == 100_000
    assert price(deck, "451") == 100_000


def test_a_word_nobody_knows_is_refused_until_the_dialect_tells_its_meaning():
    content = "code;rate;change\n44;0.1;Hausse\n"
    assert refused(content) == [(2, "change", "unknown-change")]
    assert len(read(content, Dialect(changes={" HAUSSE ": "increase"}))) == 1
    content = "code;rate;change\n44;0.1;New\n"
    assert price(read(content, Dialect(changes={"new": RateChange.CLOSED})), "44") == "barred"


OLDER = "code;rate;effective from\n44;0.10;\n44;0.12;2026-09-01\n45;0.1;\n"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("44;0.11;Increase;2026-10-01", "falls"),
        ("44;0.11;Increase;2026-08-01", ""),
        ("44;0.13;Increase;2026-10-01", ""),
        ("44;0.12;Increase;2026-10-01", "stays the same"),
        ("44;0.13;Decrease;2026-10-01", "rises"),
        ("44;0.11;Decrease;", ""),
        ("44;0.13;Unchanged;", "rises"),
        ("44;0.12;Unchanged;", ""),
        ("447;0.13;Increase;", ""),
        ("447;0.13;New;", ""),
        ("44;0.13;New;", "already"),
        ("46;0.13;New;", ""),
        ("46;0.13;Increase;", "no price"),
        ("46;0.13;Closed;", "no price"),
        ("45;0.13;Closed;", ""),
    ],
)
def test_a_word_that_does_not_fit_the_deck_in_force_is_a_warning(line: str, told: str):
    content = f"code;rate;change;effective from\n99;1;;\n{line}\n"
    deck = read(content, older=read(OLDER))
    assert len(deck) >= 2
    if not told:
        assert deck.warnings == ()
        return
    (warning,) = deck.warnings
    assert (warning.line, warning.column, warning.code) == (3, "change", "change")
    assert told in warning.message
    assert read(content).warnings == ()


def test_a_row_is_not_compared_with_the_price_of_another_band():
    older = read("code;rate;band\n44;0.10;\n44;0.01;off-peak\n", bands=BANDS)
    content = "code;rate;change;effective from;band\n44;0.005;Increase;2026-09-20;\n"
    content += "44;0.02;Decrease;2026-09-20;off-peak\n"  # a Sunday
    deck = read(content, older=older, bands=BANDS)
    assert [warning.line for warning in deck.warnings] == [3]


# -- prices that look wrong -----------------------------------------------------------------


def test_a_lost_decimal_point_is_a_warning_and_no_refusal():
    rows = [f"44{n};0.0{n:02}" for n in range(20, 60)] + [f"49{n};0.0{n:02}" for n in range(20, 60)]
    rows[7] = "4427;2339"
    rows[50] = '"4930,493001";0.0000001'.replace("0.0000001", "0.000100")
    deck = read("code;My Rate\n" + "\n".join(rows), columns={"price_per_minute": "My Rate"})
    told = [(warning.line, warning.column, warning.code) for warning in deck.warnings]
    assert told == [(9, "My Rate", "outlier"), (52, "My Rate", "outlier")]
    assert "more than 100 times" in deck.warnings[0].message
    assert price(deck, "44271") == 2_339_000_000
    assert Deck.from_bytes(deck.to_bytes()).warnings == ()


def test_a_country_that_is_dear_throughout_is_no_outlier():
    rows = [f"44{n};0.01" for n in range(20, 60)] + [f"870{n};5" for n in range(5)]
    assert read("code;rate\n" + "\n".join(rows)).warnings == ()
    alone = [*rows[:40], "870;5"]
    assert [warning.line for warning in read("code;rate\n" + "\n".join(alone)).warnings] == [42]
    cheap = [f"1{n};0.0001" for n in range(20, 30)] + ["1900;0.02"]  # 200 times, there only
    assert read("code;rate\n" + "\n".join([*rows, *cheap])).warnings == ()


def test_a_price_of_nothing_is_no_outlier_and_says_nothing_of_others():
    rows = [f"44{n};0" for n in range(20, 60)] + ["4480;0.01"]
    assert read("code;rate\n" + "\n".join(rows)).warnings == ()


def test_a_real_price_list_has_no_outliers(shared_data: Path):
    path = shared_data / "data" / "sdf-outbound-rates.csv"
    assert cardbill.read_deck(path, currency="USD", on_problem="block").warnings == ()


# -- dialects -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "field"),
    [
        ({"hyphen": "dash"}, "hyphen"),
        ({"spaces": "both"}, "spaces"),
        ({"decimal": ";"}, "decimal"),
        ({"date_form": "dd/mm"}, "date_form"),
        ({"date_form": "dd/mm/yyyy/yy"}, "date_form"),
        ({"date_form": "ddth mm yyyy"}, "date_form"),
        ({"date_form": None}, "date_form"),
        ({"closed": "drop"}, "closed"),
        ({"cover_lines": -1}, "cover_lines"),
        ({"changes": {"x": "sold"}}, "changes['x']"),
        ({"changes": ["x"]}, "changes"),
        ({"columns": {"prefix": ()}}, "columns['prefix']"),
        ({"columns": {"prefix": ""}}, "columns['prefix']"),
        ({"columns": "prefix"}, "columns"),
        ({"columns": {"price_per_minute": "x"}, "prices": {"peak": "y"}}, "prices"),
    ],
)
def test_a_dialect_that_cannot_be_is_refused_by_name(how: dict[str, Any], field: str):
    with pytest.raises(InvalidInput) as caught:
        Dialect(**how)
    assert caught.value.field == field


@pytest.mark.parametrize("how", [{"dialect": "iso"}, {"older": {}}, {"bands": ["peak"]}])
def test_an_argument_of_another_kind_is_refused_by_name(how: dict[str, Any]):
    with pytest.raises(InvalidInput) as caught:
        cardbill.read_deck(io.StringIO(TABLE), currency="USD", **how)
    assert caught.value.field in how


def test_a_column_the_file_has_not_is_refused_by_name():
    for columns in ({"destination": "Where"}, {"destination": ("Where", "remark")}):
        with pytest.raises(InvalidInput, match="Where") as caught:
            read(TABLE, Dialect(columns=columns))
        assert caught.value.field == "columns['destination']"
    with pytest.raises(InvalidInput, match="colour"):
        read(TABLE, Dialect(columns={"colour": "Remark"}))


def test_columns_of_the_call_go_before_those_of_the_dialect():
    deck = read("code;A;B\n44;1;2\n", Dialect(columns={"price_per_minute": "A"}))
    assert price(deck, "44") == 1_000_000
    columns = {"price_per_minute": "B"}
    deck = read("code;A;B\n44;1;2\n", Dialect(columns={"price_per_minute": "A"}), columns=columns)
    assert price(deck, "44") == 2_000_000


def test_nothing_is_half_read():
    content = 'code;rate;change;effective from\n44;0.1;New;\n"45-46;0.1;New;\n'
    with pytest.raises(InvalidInput):
        read(content)
    with pytest.raises(InvalidInput) as caught:
        read(TABLE, time_zone="Mars/Olympus")
    assert caught.value.field == "time_zone"
