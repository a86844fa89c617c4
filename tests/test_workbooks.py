"""Decks in XLSX: cells are taken as they show, and told by row and column where they cannot be."""

import io
import sys
import zipfile
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

import pytest

import cardbill
from cardbill import CODE_LIST_NOTICE, Deck, Dialect
from cardbill.errors import DeckRefused, ExtraMissing, InvalidInput

openpyxl = pytest.importorskip("openpyxl")

HEADER = ("Code", "Rate", "Effective Date")


def book(
    *rows: tuple[Any, ...], formats: dict[str, str] | None = None, **sheets: Any
) -> io.BytesIO:
    made = openpyxl.Workbook()
    sheet = made.active
    sheet.title = "Rates"
    for row in rows:
        sheet.append(row)
    for cell, form in (formats or {}).items():
        sheet[cell].number_format = form
    for name, content in sheets.items():
        for row in content:
            made[name].append(row) if name in made.sheetnames else made.create_sheet(name).append(
                row
            )
    file = io.BytesIO()
    made.save(file)
    file.seek(0)
    return file


def patched(content: io.BytesIO, old: bytes, new: bytes) -> io.BytesIO:
    """The same workbook with other bytes in its sheet."""
    made = io.BytesIO()
    with zipfile.ZipFile(content) as source, zipfile.ZipFile(made, "w") as target:
        for name in source.namelist():
            part = source.read(name)
            if name == "xl/worksheets/sheet1.xml":
                assert old in part, part[:300]
                part = part.replace(old, new)
            target.writestr(name, part)
    made.seek(0)
    return made


def read(source: Any, dialect: Dialect | None = None, **how: Any) -> Deck:
    return cardbill.read_deck(source, **{"currency": "USD", "dialect": dialect or Dialect(), **how})


def prices(deck: Deck) -> dict[str, int]:
    return {row.prefix: row.rate.steps[0].price_per_minute for row in deck.rows()}


def refused(source: Any, dialect: Dialect | None = None) -> list[tuple[int, str, str]]:
    with pytest.raises(DeckRefused) as caught:
        read(source, dialect)
    return [(problem.line, problem.column, problem.code) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("value", "units"),
    [
        (0.0239, 23_900),
        (0.1, 100_000),
        (0.000001, 1),
        (1e-05, 10),
        (0.07, 70_000),
        (12, 12_000_000),
        (12.0, 12_000_000),
        (1234.56, 1_234_560_000),
        (123456.789012, 123_456_789_012),
        ("0.0239", 23_900),
    ],
)
def test_a_number_is_the_decimal_that_the_cell_shows(value: object, units: int):
    assert prices(read(book(HEADER, (44, value)))) == {"44": units}


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (0.1234567, "inexact"),
        (1e-7, "inexact"),
        (-0.01, "invalid"),
        ("0,0239", "invalid"),
        ("1,000.00", "invalid"),
        ("#N/A", "invalid"),
        (True, "invalid"),
        (datetime(2026, 1, 1), "invalid"),  # noqa: DTZ001
        (time(1, 1), "invalid"),
        (None, "missing"),
    ],
)
def test_what_is_no_price_is_refused_by_row_and_column(value: object, code: str):
    assert refused(book(HEADER, (1, 0.5), (44, value, date(2026, 1, 1)))) == [(3, "Rate", code)]


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("4.41E+11", "scientific"),
        (44.5, "invalid"),
        (-44, "invalid"),
        (4.41e17, "invalid"),
        (True, "invalid"),
        (date(2026, 1, 1), "ambiguous-hyphen"),
    ],
)
def test_what_is_no_code_is_refused_by_row_and_column(value: object, code: str):
    assert refused(book(HEADER, (value, 0.5))) == [(2, "Code", code)]


@pytest.mark.parametrize("value", [44, 44.0, "44", " +44 "])
def test_a_code_may_be_stored_as_a_number_or_as_text(value: object):
    assert prices(read(book(HEADER, (value, 0.5)))) == {"44": 500_000}
    big = 441_234_567_890_123
    assert list(prices(read(book(HEADER, (big, 0.5))))) == [str(big)]


def test_what_a_formula_left_is_taken_as_it_shows():
    content = book(HEADER, (44, 0.3))
    changed = patched(content, b"<v>0.3</v>", b"<v>0.30000000000000004</v>")
    assert prices(read(changed)) == {"44": 300_000}


def test_a_sheet_that_says_it_is_smaller_is_read_whole():
    content = book(HEADER, (44, 0.3), (45, 0.4))
    changed = patched(content, b'<dimension ref="A1:C3"', b'<dimension ref="A1:A1"')
    assert prices(read(changed)) == {"44": 300_000, "45": 400_000}


def test_a_number_has_a_point_also_where_texts_have_a_decimal_comma():
    comma = Dialect(decimal=",")
    rows = (44, 0.0239), (45, "0,0239"), (46, 1)
    assert prices(read(book(HEADER, *rows), comma)) == {"44": 23_900, "45": 23_900, "46": 1_000_000}
    assert refused(book(HEADER, (44, "0.0239"), (44.45, 1)), comma) == [
        (2, "Rate", "invalid"),
        (3, "Code", "invalid"),
    ]


def test_a_percentage_is_what_the_cell_shows():
    rows = ("code", "rate", "surcharge"), (44, 1, 0.125), (45, 1, 12.5), (46, 1, "12.5%")
    deck = read(book(*rows, formats={"C2": "0.0%"}))
    assert {row.rate.surcharge_ppm for row in deck.rows()} == {125_000}


@pytest.mark.parametrize(
    "value",
    [
        date(2026, 4, 3),
        datetime(2026, 4, 3),  # noqa: DTZ001
        "03/04/2026",
        "2026-04-03",
    ],
)
def test_a_date_is_taken_as_one_whatever_form_texts_have(value: object):
    (row,) = read(book(HEADER, (44, 1, value)), Dialect(date_form="dd/mm/yyyy")).rows()
    assert row.effective_from == datetime(2026, 4, 3, tzinfo=UTC)


def test_a_date_keeps_its_time_of_day():
    (row,) = read(book(HEADER, (44, 1, datetime(2026, 4, 3, 10, 30)))).rows()  # noqa: DTZ001
    assert row.effective_from == datetime(2026, 4, 3, 10, 30, tzinfo=UTC)


def test_increments_that_a_spreadsheet_took_for_a_date_are_refused():
    rows = ("code", "rate", "increments"), (44, 1, "60/6"), (45, 1, 60), (46, 1, date(2026, 1, 1))
    assert refused(book(*rows)) == [(4, "increments", "invalid")]


def test_a_notice_with_cover_lines_gaps_and_remarks_is_read_as_from_csv(tmp_path: Path):
    rows = (
        ("Some Carrier",),
        (),
        ("Issue date", date(2026, 9, 16)),
        ("Country", "Network", "Dial  Codes", "Rate/Min", "Effective", "Billing\n", "Change"),
        ("Germany", "Mobile", "49152, 49172-49174", 0.0495, date(2026, 9, 23), "60/1", "Increase"),
        ("France", "Mobile", "336 07\n336 08", 0.052, "16/09/2026", "1/1", "New"),
        ("UK", "Fixed", 44, 0.0039, None, 1, None),
        (),
        ("All prices in USD, without taxes.",),
    )
    path = tmp_path / "notice.XLSX"
    path.write_bytes(book(*rows).getvalue())
    deck = cardbill.read_deck(path, currency="USD", dialect=CODE_LIST_NOTICE)
    assert prices(deck) == {
        **dict.fromkeys(("33607", "33608"), 52_000),
        "44": 3_900,
        **dict.fromkeys(("49152", "49172", "49173", "49174"), 49_500),
    }
    (first, *_) = (row.effective_from for row in deck.rows() if row.prefix == "49152")
    assert first == datetime(2026, 9, 23, tzinfo=UTC)
    bad = book(*rows[:6], ("UK", "Fixed", 44, "x", None, "1/1", "New"))
    path.write_bytes(bad.getvalue())
    with pytest.raises(DeckRefused, match=r"notice\.XLSX.*line 7, Rate/Min") as caught:
        cardbill.read_deck(path, currency="USD", dialect=CODE_LIST_NOTICE)
    assert len(caught.value.problems) == 1


def test_rows_wider_than_the_header_are_refused():
    assert refused(book(HEADER, (44, 1, None, "x"), (45, 1, None, None))) == [(2, "", "cells")]


def test_of_several_sheets_one_is_named():
    sheets: dict[str, Any] = {"Notes": [("Terms",)], "Old": [HEADER, (44, 9)]}
    with pytest.raises(InvalidInput, match="Rates, Notes, Old") as caught:
        read(book(HEADER, (44, 1), **sheets))
    assert caught.value.field == "sheet"
    assert prices(read(book(HEADER, (44, 1), **sheets), Dialect(sheet="Old"))) == {"44": 9_000_000}
    with pytest.raises(InvalidInput, match="Rates, Notes, Old"):
        read(book(HEADER, (44, 1), **sheets), Dialect(sheet="New"))


def test_without_a_dialect_the_header_is_the_first_row():
    tidy = cardbill.read_deck(book(HEADER, (44, 0.5)), currency="USD")
    assert prices(tidy) == {"44": 500_000}
    with pytest.raises(InvalidInput, match="no column for"):
        cardbill.read_deck(book(("Rates",), HEADER, (44, 0.5)), currency="USD")


def test_a_workbook_without_a_header_is_refused():
    for rows in ((), (("Rates",), ("UK", 0.5))):
        with pytest.raises(InvalidInput) as caught:
            read(book(*rows))
        assert caught.value.field == "header"


def test_a_damaged_workbook_is_refused_by_name(tmp_path: Path):
    whole = book(HEADER, *((n, 0.5) for n in range(1000, 3000))).getvalue()
    for name, content in {
        "half.xlsx": whole[: len(whole) // 2],
        "text.xlsx": b"code,rate\n44,0.5\n",
        "empty.xlsx": b"",
        "zip.xlsx": b"PK\x05\x06" + bytes(18),
        "bent.xlsx": whole.replace(b"xl/worksheets/sheet1.xml", b"xl/worksheets/sheet2.xml"),
    }.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(InvalidInput, match=name):
            read(path)
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "none.xlsx")


def test_a_workbook_needs_openpyxl_and_says_so(monkeypatch: pytest.MonkeyPatch):
    content = book(HEADER, (44, 0.5))
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(ExtraMissing, match=r"cardbill\[xlsx\]"):
        read(content)
