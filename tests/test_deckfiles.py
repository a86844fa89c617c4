"""Rate decks from CSV: forms of files, their columns and their rows."""

import io
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import cardbill
from cardbill import Band, Deck
from cardbill.decklines import COLUMNS
from cardbill.errors import DeckRefused, InvalidInput
from cardbill.increments import Step
from cardbill.rating import Rounding
from tests.deck_reading import NOW, PLAIN, only, price_of, read, refused, rows, steps

NIGHT = Band("night", "Mon-Sun 20:00-06:00")


# -- forms of files -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        PLAIN,
        "\ufeff" + PLAIN,
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace(",", ";"),
        PLAIN.replace(",", "\t"),
        "\ufeff" + PLAIN.replace(",", ";").replace("\n", "\r\n"),
        PLAIN.rstrip("\n"),
        PLAIN.replace("44", '"44"').replace("rate", '"rate"').replace("prefix", '"prefix"'),
        PLAIN.replace("44,UK,0.02", "\n\n ,,\n44 , UK ,  0.02\n,,").replace(" ,,", ",,"),
        PLAIN.replace("prefix,destination,rate", " PREFIX ,Destination,  Rate"),
        PLAIN.replace("prefix,destination,rate", "Code,Name,Price"),
        PLAIN.replace("prefix,destination,rate", "dial code,description,rate per minute"),
        PLAIN + "\n\n\n",
    ],
)
def test_a_file_in_any_usual_form_reads_alike(content: str, tmp_path: Path):
    path = tmp_path / "deck.csv"
    path.write_bytes(content.encode())
    with path.open(encoding="utf-8") as opened:
        decks = [
            cardbill.read_deck(path, currency="USD"),
            cardbill.read_deck(str(path), currency="USD"),
            cardbill.read_deck(opened, currency="USD"),
            read(content),
        ]
        assert not opened.closed
    for compiled in decks:
        told = [(row.prefix, row.destination, steps(row)) for row in compiled.rows()]
        assert told == [("1", "USA", [(0, 10_000, 1)]), ("44", "UK", [(0, 20_000, 1)])]
        assert compiled.problems == ()


def test_a_file_of_carriage_returns_alone_is_read_or_refused(tmp_path: Path):
    path = tmp_path / "deck.csv"
    path.write_bytes(PLAIN.replace("\n", "\r").encode())
    assert len(cardbill.read_deck(path, currency="USD")) == 2
    with pytest.raises(InvalidInput):  # here nobody told the lines apart
        read(PLAIN.replace("\n", "\r"))


def test_lines_are_those_an_editor_shows_also_after_a_cell_of_several_lines(tmp_path: Path):
    content = 'prefix,destination,rate\r\n44,"United\r\nKingdom,\r\n""GB""",0.02\r\n\r\n1,USA,x\r\n'
    path = tmp_path / "deck.csv"
    path.write_bytes(content.encode())
    with pytest.raises(DeckRefused) as caught:
        cardbill.read_deck(path, currency="USD")
    assert [problem.line for problem in caught.value.problems] == [6]
    assert refused(content) == [(6, "rate", "invalid")]
    (_, uk) = rows(content.replace(",x", ",0.1"))
    assert uk.destination == 'United\r\nKingdom,\r\n"GB"'


def test_a_header_cell_of_several_lines_is_read_or_refused_as_a_header():
    content = 'prefix,rate,"note\n(internal)"\n44,0.02,a\n1,x,b\n'
    try:
        told = refused(content)
    except InvalidInput:
        return
    assert told == [(4, "rate", "invalid")]


def test_a_quoted_header_may_hold_commas_where_cells_end_with_semicolons():
    content = 'Prefix;"Rate, EUR, net"\n44;0.02\n'
    told = only(content, columns={"price_per_minute": "Rate, EUR, net"})
    assert steps(told) == [(0, 20_000, 1)]


@pytest.mark.parametrize(
    "content",
    [
        PLAIN.replace("UK", "Côte d'Ivoire").encode("cp1252"),
        PLAIN.encode("utf-16"),
        PLAIN.encode("utf-16-le"),
        PLAIN.encode("utf-32"),
        b"\xef\xbb" + PLAIN.encode(),
        b"PK\x03\x04\x14\x00\x06\x00" + bytes(range(256)),  # a spreadsheet, renamed
        b"",
        b"\n",
        b"\xef\xbb\xbf",
        b"\0" * 50,
    ],
)
def test_a_file_that_is_no_utf8_table_is_refused_by_name(content: bytes, tmp_path: Path):
    path = tmp_path / "deck.csv"
    path.write_bytes(content)
    for how in ("refuse", "block"):
        with pytest.raises(InvalidInput):
            cardbill.read_deck(path, currency="USD", on_problem=how)


def test_bytes_that_are_no_utf8_deep_in_a_file_are_refused_too(tmp_path: Path):
    path = tmp_path / "deck.csv"
    many = "".join(f"{n},X,0.1\n" for n in range(100, 9_000))
    path.write_bytes(("prefix,destination,rate\n" + many + "1,Cura\xe7ao,0.1\n").encode("latin-1"))
    with pytest.raises(InvalidInput, match=r"deck\.csv: is not UTF-8"):
        cardbill.read_deck(path, currency="USD", on_problem="block")


@pytest.mark.parametrize("content", ["prefix,rate\n", "prefix,rate", "prefix,rate\n\n,\n"])
def test_a_table_without_rows_is_refused(content: str):
    for how in ("refuse", "block"):
        with pytest.raises(InvalidInput):
            read(content, on_problem=how)


@pytest.mark.parametrize("source", [io.BytesIO(PLAIN.encode()), b"deck.csv", 5, None, [PLAIN]])
def test_a_source_is_a_path_or_an_open_text_file(source: Any):
    with pytest.raises(InvalidInput) as caught:
        cardbill.read_deck(source, currency="USD")
    assert caught.value.field == "source"


def test_a_missing_file_is_an_error_of_the_system():
    with pytest.raises(FileNotFoundError):
        cardbill.read_deck("no such deck.csv", currency="USD")


def test_a_cell_too_large_to_be_true_is_refused_by_line():
    assert refused(PLAIN + "7," + "x" * 200_000 + ",0.1\n") == [(4, "", "not-csv")]


def test_quotes_out_of_place_are_refused_by_line():
    assert refused(PLAIN + '7,"a"b,0.1\n8,C,0.1\n9,"d" ,0.1\n') == [
        (4, "", "not-csv"),
        (6, "", "not-csv"),
    ]


def test_a_name_with_a_nul_is_refused_since_no_database_stores_it():
    assert refused("prefix,destination,rate\n44,U\0K,0.02\n") == [(2, "destination", "invalid")]


# -- columns --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "names"),
    [
        ("prefix,rate,Prefix", "prefix"),
        ("prefix,rate, RATE ", "rate"),
        ("prefix,rate,x,x", "x"),
    ],
)
def test_a_header_that_stands_twice_is_refused(header: str, names: str):
    with pytest.raises(InvalidInput, match="twice") as caught:
        read(f"{header}\n1,2,3,4\n")
    assert names in str(caught.value)


def test_headers_without_a_name_may_repeat():
    assert only("prefix,rate,,\n1,0.1,,\n").prefix == "1"


@pytest.mark.parametrize(
    ("header", "field", "both"),
    [
        ("prefix,code,rate", "prefix", ("prefix", "code")),
        ("prefix,Rate,Price", "price_per_minute", ("Rate", "Price")),
        ("prefix,rate,destination,name", "destination", ("destination", "name")),
        ("prefix,rate,start date,effective date", "effective_from", ("start", "effective")),
    ],
)
def test_two_headers_for_one_field_are_refused_unless_one_is_chosen(
    header: str, field: str, both: Sequence[str]
):
    content = f"{header}\n1,2,3,2024-01-01\n"
    with pytest.raises(InvalidInput, match=field) as caught:
        read(content)
    assert all(name in str(caught.value) for name in both)


def test_a_column_named_by_the_caller_counts_before_those_recognised():
    content = "Prefix,Rate,Price,Our Fee\n44,0.02,0.03,0.5\n"
    told = only(content, columns={"price_per_minute": " price ", "connect_fee": "our fee"})
    assert steps(told) == [(0, 30_000, 1)]
    assert told.rate.connect_fee == 500_000


def test_a_column_taken_for_one_field_does_not_serve_another():
    told = only("prefix,name,rate\n44,UK,0.1\n", columns={"prefix": "prefix"})
    assert told.destination == "UK"
    with pytest.raises(InvalidInput, match="price_per_minute"):
        read("prefix,rate\n44,0.1\n", columns={"connect_fee": "rate"})


@pytest.mark.parametrize("header", ["prefix,destination", "rate,destination", "a;b;c", "44,UK,0.1"])
def test_a_file_without_prefix_or_price_is_refused(header: str):
    with pytest.raises(
        InvalidInput, match=r"no column for .* in `columns`, or .* `dialect`"
    ) as caught:
        read(f"{header}\n1,2,3\n")
    assert caught.value.field == "header"


def test_an_unknown_field_or_header_in_the_mapping_is_refused_by_name():
    with pytest.raises(InvalidInput, match="colour") as caught:
        read(PLAIN, columns={"colour": "rate"})
    assert caught.value.field == "columns"
    with pytest.raises(InvalidInput, match="Tarif") as caught:
        read(PLAIN, columns={"price_per_minute": "Tarif"})
    assert "price_per_minute" in caught.value.field
    for nothing in ("", " "):
        with pytest.raises(InvalidInput):
            read("prefix,rate,\n44,0.1,0.5\n", columns={"connect_fee": nothing})


def test_every_header_documented_is_recognised():
    values = {
        "prefix": "44",
        "destination": "UK",
        "price_per_minute": "0.06",
        "increments": "60/6",
        "first_increment": "30",
        "next_increment": "6",
        "connect_fee": "0.1",
        "grace_seconds": "5",
        "free_seconds": "7",
        "minimum_charge": "0.2",
        "end_fee": "0.3",
        "surcharge_percent": "12.5",
        "maximum_charge": "5",
        "beyond_maximum": "disconnect",
        "block_rounding": "total",
        "steps": "0:0.06:30 30:0.05:6",
        "rounding": "0.01 half_up",
        "band": "night",
        "current_price": "0.06",
        "currency": "usd",
        "change": "Closed",
        "blocked": "yes",
        "effective_from": "2024-01-01",
        "effective_until": "2025-01-01",
    }
    assert set(values) == set(COLUMNS)
    same = ("prefix", "price_per_minute", "current_price", "currency")
    base = {"prefix": "44", "rate": "0.06"}
    for field, headers in COLUMNS.items():
        rest = {name: cell for name, cell in base.items() if name not in headers}
        for header in headers:
            cells = {**rest, header.upper(): values[field]}
            told = only(",".join(cells) + "\n" + ",".join(cells.values()) + "\n", bands=[NIGHT])
            plain = only("prefix,rate\n44,0.06\n")
            assert (told != plain) == (field not in same), header


def test_all_terms_of_a_rate_come_from_their_columns():
    header = "prefix,rate,increments,connect fee,grace,free seconds,minimum charge,end fee,"
    header += "surcharge,maximum charge,beyond maximum,block rounding,rounding\n"
    line = "44,0.06,60/6,0.1,5,7,0.2,0.3,12.5%,5,Disconnect,total,0.01 half_up\n"
    told = only(header + line).rate
    assert (told.maximum_charge, told.beyond_maximum.value) == (5_000_000, "disconnect")
    assert told.block_rounding.value == "total"
    assert told.rounding == Rounding(10_000, cardbill.RoundingMode.HALF_UP)
    assert [(s.from_second, s.price_per_minute, s.increment) for s in told.steps] == [
        (0, 60_000, 60),
        (60, 60_000, 6),
    ]
    assert (told.connect_fee, told.grace_seconds, told.free_seconds) == (100_000, 5, 7)
    assert (told.minimum_charge, told.end_fee, told.surcharge_ppm) == (200_000, 300_000, 125_000)
    assert only("prefix,rate\n44,0.06\n").rate.rounding == Rounding()


def test_a_rounding_is_given_to_every_rate():
    chosen = Rounding(10_000, cardbill.RoundingMode.HALF_EVEN)
    assert {row.rate.rounding for row in rows(PLAIN, rounding=chosen)} == {chosen}


# -- rows -----------------------------------------------------------------------------------


@pytest.mark.parametrize("row", ["44", "44,UK", "44,UK,0.02,", "44,UK,0.02,x,y", ";;"])
def test_a_row_with_too_few_or_too_many_cells_is_refused(row: str):
    assert refused(f"prefix,destination,rate\n1,USA,0.1\n{row}\n") == [(3, "", "cells")]


def test_rows_alike_in_prefix_and_day_are_refused_each_naming_the_other():
    content = "Code,rate,start date\n44,1,2024-01-01\n1,1,\n44,2,2024-01-01T00:00Z\n44,3,\n"
    with pytest.raises(DeckRefused) as caught:
        read(content)
    told = {problem.line: problem for problem in caught.value.problems}
    assert sorted(told) == [2, 4]
    assert {(problem.column, problem.code) for problem in told.values()} == {("Code", "duplicate")}
    assert "line 4" in told[2].message
    assert "line 2" in told[4].message


def test_of_three_rows_alike_each_is_reported_once():
    assert refused("prefix,rate\n44,1\n44,1\n1,1\n44,1\n") == [
        (2, "prefix", "duplicate"),
        (3, "prefix", "duplicate"),
        (5, "prefix", "duplicate"),
    ]


def test_duplicates_are_blocked_where_odd_rows_are():
    compiled = read("prefix,rate\n4,0.01\n44,1\n44,2\n1,1\n", on_problem="block")
    assert price_of(compiled, "441") == "barred"
    assert price_of(compiled, "45") == 10_000
    assert len(compiled) == 3


def test_all_that_is_wrong_with_a_file_is_told_at_once_in_the_order_of_its_lines():
    content = "prefix,rate,grace\n44,x,1\n1,1,1\n44,1\n+1,1,1\n1,1,1\n7,1,z\n,1,1\n8,,\n"
    assert refused(content) == [
        (2, "rate", "invalid"),
        (3, "prefix", "duplicate"),
        (4, "", "cells"),
        (5, "prefix", "invalid"),
        (6, "prefix", "duplicate"),
        (7, "grace", "invalid"),
        (8, "prefix", "missing"),
        (9, "rate", "missing"),
    ]
    with pytest.raises(DeckRefused, match=r"8 unusable rows: line 2, .*; and 5 more"):
        read(content)


def test_versions_of_one_prefix_are_no_duplicates():
    content = "prefix,rate,start date\n44,1,\n44,2,2024-01-01\n44,3,2024-02-01\n"
    compiled = read(content)
    at = [datetime(2023, 12, 31, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC), NOW]
    assert [price_of(compiled, "441", each) for each in at] == [1_000_000, 2_000_000, 3_000_000]


def test_a_deck_written_to_bytes_forgets_the_rows_it_skipped_but_not_that_they_are_blocked():
    compiled = read("prefix,rate\n4,1\n44,\n", on_problem="block")
    back = Deck.from_bytes(compiled.to_bytes())
    assert price_of(back, "441") == "barred"
    assert back.problems == ()
    assert len(compiled.problems) == 1


def test_steps_are_shared_by_rows_that_say_the_same():
    first, second = rows("prefix,rate\n44,0.5\n45,0.5\n")
    assert first.rate.steps == second.rate.steps == (Step(0, 500_000, 1),)


@pytest.mark.parametrize(
    ("header", "cells", "column"),
    [
        ("increments", "", "increments"),
        ("First Interval,Sub Interval", ",", "First Interval"),
    ],
)
def test_an_empty_increment_is_no_leave_to_bill_by_the_second(header, cells, column):
    text = f"prefix,rate,{header}\n44,0.06,{cells}\n"
    with pytest.raises(DeckRefused) as refused:
        cardbill.read_deck(io.StringIO(text), currency="USD")
    problem, *others = refused.value.problems
    assert (problem.line, problem.column, problem.code, others) == (2, column, "invalid", [])
