"""Dialects: how a carrier writes tables, dates and prices."""

import io
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

import cardbill
from cardbill import Dialect
from cardbill.errors import DeckRefused, InvalidInput
from tests.notice_reading import BANDS, price, read, refused

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
