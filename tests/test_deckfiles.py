"""Rate decks from CSV: what a file says is what calls cost, and what it does not say is refused."""

import csv
import io
import random
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import cardbill
from cardbill import Band, Deck, DeckRow
from cardbill.decklines import COLUMNS
from cardbill.errors import DeckRefused, InvalidInput
from cardbill.increments import Step
from cardbill.rating import Rounding

NIGHT = Band("night", "Mon-Sun 20:00-06:00")
NOW = datetime(2024, 6, 1, tzinfo=UTC)
ODD_LINES = [583, 7151, 24073, 24127, 24128, 24129, 24130, 24131, 27393]
ODD_PREFIXES = ["43820", "37270", "23222", "38643", "386432", "386433", "386434", "386437", "1900"]


def read(content: str, **how: Any) -> Deck:
    return cardbill.read_deck(io.StringIO(content), **{"currency": "USD", **how})


def rows(content: str, **how: Any) -> list[DeckRow]:
    return list(read(content, **how).rows())


def refused(content: str, **how: Any) -> list[tuple[int, str, str]]:
    """Line, column and code of every row that is refused."""
    with pytest.raises(DeckRefused) as caught:
        read(content, **how)
    for problem in caught.value.problems:
        assert str(problem.line) in str(problem)
        assert problem.code in str(problem)
        assert problem.message
    return [(problem.line, problem.column, problem.code) for problem in caught.value.problems]


def only(content: str, **how: Any) -> DeckRow:
    (row,) = rows(content, **how)
    return row


def steps(row: DeckRow) -> list[tuple[int, int, int]]:
    return [(step.from_second, step.price_per_minute, step.increment) for step in row.rate.steps]


def price_of(compiled: Deck, number: str, at: datetime = NOW) -> int | str | None:
    """Per minute; `barred` where the number cannot be called."""
    match = compiled.match(number, at)
    if match is None:
        return None
    return "barred" if match.blocked else match.rate.steps[0].price_per_minute


# -- a carrier's real price list ------------------------------------------------------------


@pytest.fixture(scope="module")
def price_list(shared_data: Path) -> Path:
    return shared_data / "data" / "sdf-outbound-rates.csv"


@pytest.fixture(scope="module")
def lines(price_list: Path) -> dict[int, dict[str, str]]:
    """Line -> cells, read as plainly as can be: no line of this file holds a line break."""
    with price_list.open(encoding="utf-8", newline="") as file:
        return dict(enumerate(csv.DictReader(file), start=2))


@pytest.fixture(scope="module")
def real(price_list: Path) -> Deck:
    return cardbill.read_deck(price_list, currency="USD", on_problem="block")


def test_a_real_price_list_is_refused_with_each_row_that_has_no_rate(price_list: Path):
    with pytest.raises(DeckRefused) as caught:
        cardbill.read_deck(price_list, currency="USD")
    problems = caught.value.problems
    assert [problem.line for problem in problems] == ODD_LINES
    assert {(problem.column, problem.code) for problem in problems} == {("Rate", "missing")}
    assert "sdf-outbound-rates.csv" in str(caught.value)
    assert "583" in str(caught.value)
    assert "9 unusable rows" in str(caught.value)


def test_a_real_price_list_loads_with_its_odd_rows_blocked(real: Deck):
    assert [problem.line for problem in real.problems] == ODD_LINES
    blocked = [row.prefix for row in real.rows() if row.blocked]
    assert sorted(blocked) == sorted(ODD_PREFIXES)
    assert len(real) == 27_514 + 9


def test_a_number_under_an_odd_row_is_barred_and_not_sold_at_its_country_rate(real: Deck):
    assert price_of(real, "37270123456") == "barred"
    assert price_of(real, "3727") == price_of(real, "37271123456") == 27_800
    assert price_of(real, "19005551234") == "barred"
    assert price_of(real, "38643200000") == "barred"
    assert price_of(real, "4382012345") == "barred"


def test_every_row_of_a_real_price_list_says_what_its_line_says(
    real: Deck, lines: Mapping[int, Mapping[str, str]]
):
    loaded = {row.prefix: row for row in real.rows()}
    free = 0
    for line, cells in lines.items():
        row = loaded[cells["Prefix"]]
        if line in ODD_LINES:
            continue
        first, following = int(cells["First Interval"]), int(cells["Sub Interval"])
        price = int(Decimal(cells["Rate"]).scaleb(6))
        due = [(0, price, first)] + ([(first, price, following)] if first != following else [])
        assert steps(row) == due, line
        assert row.destination == cells["Destination"], line
        assert not row.blocked
        assert row.effective_until is None
        assert row.effective_from == datetime.fromisoformat(cells["Start Date"] + "+00:00"), line
        free += not price
    assert free == 5
    assert len(loaded) == len(lines) == 27_523


def test_a_real_price_list_answers_as_a_search_of_its_lines(
    real: Deck, lines: Mapping[int, Mapping[str, str]]
):
    by_prefix = {cells["Prefix"]: cells for cells in lines.values()}
    longest = max(map(len, by_prefix))
    generator = random.Random(11)
    some = list(by_prefix)
    numbers = [str(generator.randrange(10**6, 10**15)) for _ in range(1_000)]
    numbers += [
        (generator.choice(some) + str(generator.randrange(10**9)))[:15] for _ in range(1_500)
    ]
    instants = [datetime(2010, 6, 26, 6, 54, 59, tzinfo=UTC), datetime(2010, 9, 1, tzinfo=UTC), NOW]
    for number in numbers:
        for at in instants:
            text = at.strftime("%Y-%m-%d %H:%M:%S")
            under = [
                cells
                for size in range(min(longest, len(number)), 0, -1)
                if (cells := by_prefix.get(number[:size])) and cells["Start Date"] <= text
            ]
            match = real.match(number, at)
            if not under:
                assert match is None, (number, at)
                continue
            assert match is not None, (number, at)
            assert match.prefix == under[0]["Prefix"]
            assert match.blocked == (not under[0]["Rate"])


# -- a row that cannot be used must never make a call cheaper -------------------------------


@pytest.mark.parametrize(
    "bad",
    [
        "37270,ESTONIA,",
        "37270,ESTONIA,x",
        "37270,ESTONIA,0.0000001",
        "37270,ESTONIA,-1",
        "37270,ESTONIA",
        "37270,ESTONIA, PERSONAL,0.50",  # a comma that should have been quoted
        "37270,ESTONIA,0,50",  # a decimal comma
        "+37270,ESTONIA,0.50",
        "372 70,ESTONIA,0.50",
        "'37270,ESTONIA,0.50",
        "3.7270E+4,ESTONIA,0.50",
        '37270,"ESTONIA,0.50',  # a quote never closed
        '37270,"ESTONIA"N,0.50',
        "37270,ESTONIA,0.50\n37270,ESTONIA,0.60",
        "37270,ESTONIA,0.50\n37270,ESTONIA,",
    ],
)
def test_blocking_odd_rows_never_leaves_a_number_at_the_price_of_a_shorter_prefix(bad: str):
    content = f"prefix,destination,rate\n372,ESTONIA,0.01\n{bad}\n1,USA,0.01\n44,UK,0.01\n"
    try:
        compiled = read(content, on_problem="block")
    except DeckRefused:
        return  # what cannot be blocked is refused
    assert price_of(compiled, "37270123456") == "barred"
    assert price_of(compiled, "37270123456", NOW + timedelta(days=4_000)) == "barred"
    assert price_of(compiled, "442071234567") == 10_000
    assert compiled.problems


def test_rows_swallowed_by_a_quote_that_is_never_closed_are_not_dropped_in_silence():
    content = 'prefix,destination,rate\n4,EUROPE,0.01\n1,"USA,0.01\n44,UK,0.50\n441,UK,0.60\n'
    try:
        compiled = read(content, on_problem="block")
    except DeckRefused:
        return
    assert price_of(compiled, "442071234567") in ("barred", 500_000)


def test_an_odd_row_is_not_made_good_by_an_older_price_of_its_prefix():
    content = (
        "prefix,rate,effective from,effective until\n"
        "3,0.01,,\n"
        "37270,0.50,2010-01-01,2011-01-01\n"
        "37270,,2011-01-01,\n"
    )
    compiled = read(content, on_problem="block")
    assert [problem.line for problem in compiled.problems] == [4]
    assert price_of(compiled, "37270123456", datetime(2012, 1, 1, tzinfo=UTC)) == "barred"
    assert price_of(compiled, "371", datetime(2012, 1, 1, tzinfo=UTC)) == 10_000


DATED = "prefix,rate,effective from\n3,0.01,\n37,0.1,2010-01-01\n37,0.7,2013-01-01\n"
YEARS = [datetime(year, 6, 1, tzinfo=UTC) for year in (2009, 2010, 2011, 2013)]


@pytest.mark.parametrize(
    ("odd", "due"),
    [
        ("37,,2011-01-01", [10_000, 100_000, "barred", 700_000]),
        ("37,,2013-01-01", [10_000, 100_000, 100_000, "barred"]),
        ("37,,", ["barred", 100_000, 100_000, 700_000]),
        ("37,0.5,soon", ["barred"] * 4),
        ("37,,soon", ["barred"] * 4),
    ],
)
def test_an_odd_row_bars_its_numbers_while_it_would_have_rated_them(odd: str, due: list[int | str]):
    compiled = read(f"{DATED}{odd}\n", on_problem="block")
    assert [problem.line for problem in compiled.problems] == [5]
    assert [price_of(compiled, "37270123456", at) for at in YEARS] == due


def test_a_row_whose_prefix_cannot_be_read_refuses_the_file_also_where_odd_rows_are_blocked():
    content = 'rate,prefix\n0.01,372\n,1\n0,50,37270\n0.50,+37270\n0.50,\n"0.1"2,4\n'
    assert refused(content, on_problem="block") == [
        (4, "", "cells"),
        (5, "prefix", "invalid"),
        (6, "prefix", "missing"),
        (7, "", "not-csv"),
    ]


def test_two_prices_for_the_same_day_are_not_made_good_by_an_older_one():
    content = "prefix,rate,effective from\n3,0.01,\n37,0.1,2010-01-01\n"
    content += "37,0.5,2011-01-01\n37,0.6,2011-01-01\n"
    compiled = read(content, on_problem="block")
    assert [problem.line for problem in compiled.problems] == [4, 5]
    assert price_of(compiled, "37270123456", datetime(2012, 1, 1, tzinfo=UTC)) == "barred"


def test_blocking_is_asked_for_by_name():
    for word in ("skip", "BLOCK", "", None, True):
        with pytest.raises(InvalidInput) as caught:
            read("prefix,rate\n1,0.1\n", on_problem=word)
        assert caught.value.field == "on_problem"


# -- forms of files -------------------------------------------------------------------------

PLAIN = "prefix,destination,rate\n44,UK,0.02\n1,USA,0.01\n"


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
    with pytest.raises(InvalidInput, match="no column for") as caught:
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


# -- cells ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "prefix",
    [
        "1.23E+11",
        "4.4E1",
        "+44",
        "4 4",
        "44-20",
        "44.0",
        "٤٤",
        "\uff14\uff14",
        "²",
        "4\0",
        "'44",
        "=44",
        "44,0",
        "1" * 16,
        "44;45",
        "four",
        "-44",
    ],
)
def test_a_prefix_that_is_not_plain_digits_is_refused_and_never_repaired(prefix: str):
    assert refused(f'Code,rate\n1,0.1\n"{prefix}",0.1\n') == [(3, "Code", "invalid")]


@pytest.mark.parametrize(
    ("cell", "code"),
    [
        ("0,02", "invalid"),
        ("1e-2", "invalid"),
        ("1.000,00", "invalid"),
        ("1,000.00", "invalid"),
        ("$0.02", "invalid"),
        ("0.02 USD", "invalid"),
        ("0x10", "invalid"),
        ("1_0", "invalid"),
        ("\u0660.٢", "invalid"),
        ("NaN", "invalid"),
        ("inf", "invalid"),
        (".", "invalid"),
        ("-", "invalid"),
        ("--1", "invalid"),
        ("+1", "invalid"),
        ("1.", "invalid"),
        ("=0.02", "invalid"),
        ("#N/A", "invalid"),
        ("0.0000001", "inexact"),
        ("0.1234567", "inexact"),
        ("-0.01", "invalid"),
        ("-0.0000001", "inexact"),
        ("9223372036855", "invalid"),
        ("9" * 39, "invalid"),
        ("9" * 5_000, "invalid"),
        ("", "missing"),
        ("  ", "missing"),
    ],
)
def test_a_price_is_a_plain_decimal_or_is_refused_by_line_column_and_code(cell: str, code: str):
    assert refused(f'prefix,My Price\n1,0.1\n44,"{cell}"\n7,1\n', columns=MY_PRICE) == [
        (3, "My Price", code)
    ]


MY_PRICE = {"price_per_minute": "My Price"}


@pytest.mark.parametrize(
    ("cell", "units"),
    [
        ("0", 0),
        ("0.0000", 0),
        ("0.02", 20_000),
        (".02", 20_000),
        ("  0.02\t", 20_000),
        ("0.020000000000", 20_000),
        ("0.000001", 1),
        ("12", 12_000_000),
        ("007", 7_000_000),
        ("9223372036854.775807", 2**63 - 1),
    ],
)
def test_a_price_is_taken_exactly(cell: str, units: int):
    assert steps(only(f'prefix,rate\n44,"{cell}"\n')) == [(0, units, 1)]


@pytest.mark.parametrize(
    ("header", "cell", "code"),
    [
        ("Connect Fee", "-1", "invalid"),
        ("Connect Fee", "0,1", "invalid"),
        ("Connect Fee", "0.0000001", "inexact"),
        ("Grace", "1.5", "inexact"),
        ("Grace", "-1", "invalid"),
        ("Grace", "5s", "invalid"),
        ("Grace", "5%", "invalid"),
        ("Free Seconds", "10000000000", "invalid"),
        ("Minimum Charge", "-0.01", "invalid"),
        ("End Fee", "x", "invalid"),
        ("Surcharge", "-5%", "invalid"),
        ("Surcharge", "%", "invalid"),
        ("Surcharge", "5%%", "invalid"),
        ("Surcharge", "0.00001", "inexact"),
        ("Maximum Charge", "-1", "invalid"),
        ("Maximum Charge", "0.00005", "invalid"),  # no multiple of the rounding unit
        ("Beyond Maximum", "stop", "invalid"),
        ("Block Rounding", "x", "invalid"),
        ("Rounding", "0.0001", "invalid"),
        ("Rounding", "0 up", "invalid"),
        ("Steps", "0:0.1", "invalid"),
        ("Steps", "0:0.1:0", "invalid"),
        ("Steps", "0:0.2:60", "invalid"),  # another price than the row's
        ("Steps", "1:0.1:60", "invalid"),
        ("Steps", "0:0.1:60 0:0.1:6", "invalid"),
        ("Currency", "EUR", "currency"),
        ("Band", "night", "unknown-band"),
        ("Change", "Pending", "unknown-change"),
        ("Current_Price", "x", "invalid"),
        ("Blocked", "maybe", "invalid"),
        ("Blocked", "2", "invalid"),
        ("Start Date", "28/12/2010", "invalid"),
        ("Start Date", "03/04/2010", "ambiguous-date"),
        ("Start Date", "2010-02-29", "invalid"),
        ("Start Date", "2010-06-31", "invalid"),
        ("Start Date", "40542", "invalid"),
        ("Start Date", "tomorrow", "invalid"),
        ("Start Date", "\uff12\uff10\uff11\uff10-06-01", "invalid"),
        ("Start Date", "2010-06-01T25:00", "invalid"),
        ("End Date", "0000-00-00", "invalid"),
    ],
)
def test_any_other_cell_that_cannot_be_used_is_refused_under_its_header(
    header: str, cell: str, code: str
):
    assert refused(f'prefix,rate,{header}\n1,0.1,\n44,0.1,"{cell}"\n') == [(3, header, code)]


@pytest.mark.parametrize(
    ("cell", "due"),
    [
        ("60/6", [(0, 60_000, 60), (60, 60_000, 6)]),
        ("60", [(0, 60_000, 60)]),
        ("6/6", [(0, 60_000, 6)]),
        ("1/1", [(0, 60_000, 1)]),
        ("030/06", [(0, 60_000, 30), (30, 60_000, 6)]),
    ],
)
def test_increments_are_the_first_and_the_following(cell: str, due: list[tuple[int, int, int]]):
    assert steps(only(f"prefix,rate,increments\n44,0.06,{cell}\n")) == due


@pytest.mark.parametrize(
    "cell", ["0/6", "6/0", "0", "6/x", "x", "60/6/6", "/", "60/", "/6", "-6", "6.0", "60-6", "٦"]
)
def test_increments_of_another_form_are_refused(cell: str):
    assert refused(f"prefix,rate,Increments\n44,0.06,{cell}\n") == [(2, "Increments", "invalid")]


@pytest.mark.parametrize(
    ("first", "following", "due"),
    [
        ("30", "6", [(0, 60_000, 30), (30, 60_000, 6)]),
        ("30", "", [(0, 60_000, 30)]),
        ("", "6", [(0, 60_000, 6)]),
        ("60", "60", [(0, 60_000, 60)]),
    ],
)
def test_increments_may_stand_in_two_columns(
    first: str, following: str, due: list[tuple[int, int, int]]
):
    content = f"prefix,rate,First Interval,Sub Interval\n44,0.06,{first},{following}\n"
    assert steps(only(content)) == due


@pytest.mark.parametrize(("header", "cell"), [("First Interval", "30/6"), ("Sub Interval", "6/1")])
def test_half_of_an_increment_is_never_left_out(header: str, cell: str):
    content = f"prefix,rate,{header}\n44,0.06,{cell}\n"
    assert refused(content) == [(2, header, "invalid")]


@pytest.mark.parametrize(
    ("cell", "blocked"),
    [
        *[(word, True) for word in ("yes", "Y", "TRUE", "1", "x", " Yes ")],
        *[(word, False) for word in ("no", "N", "false", "0", "", "  ")],
    ],
)
def test_blocked_is_yes_or_no(cell: str, blocked: bool):
    assert only(f"prefix,rate,Blocked\n44,0.06,{cell}\n").blocked is blocked


@pytest.mark.parametrize("surcharge", ["12.5%", "12.5", "12.50 ", "12.5000%"])
def test_a_surcharge_is_percent_with_or_without_its_sign(surcharge: str):
    assert only(f"prefix,rate,surcharge\n44,1,{surcharge}\n").rate.surcharge_ppm == 125_000


@pytest.mark.parametrize(
    ("cell", "zone", "due"),
    [
        ("2010-12-28", "UTC", "2010-12-28T00:00:00+00:00"),
        ("2010-12-28 14:38:00", "UTC", "2010-12-28T14:38:00+00:00"),
        ("2010-12-28T14:38", "UTC", "2010-12-28T14:38:00+00:00"),
        ("2010-12-28 14:38:00.000001", "UTC", "2010-12-28T14:38:00.000001+00:00"),
        ("2010-12-28T14:38:00Z", "America/New_York", "2010-12-28T14:38:00+00:00"),
        ("2010-12-28T14:38:00+05:45", "America/New_York", "2010-12-28T08:53:00+00:00"),
        ("2010-12-28", "America/New_York", "2010-12-28T05:00:00+00:00"),
        ("2010-07-01 00:00", "America/New_York", "2010-07-01T04:00:00+00:00"),
        ("2010-12-28", "Pacific/Kiritimati", "2010-12-27T10:00:00+00:00"),
        ("2018-11-04", "America/Sao_Paulo", "2018-11-04T03:00:00+00:00"),  # no midnight there
        ("0001-01-02", "UTC", "0001-01-02T00:00:00+00:00"),
        ("9999-12-31 23:59:59.999999", "UTC", "9999-12-31T23:59:59.999999+00:00"),
    ],
)
def test_an_instant_without_a_zone_is_in_the_zone_given(cell: str, zone: str, due: str):
    told = only(f"prefix,rate,start date\n44,1,{cell}\n", time_zone=zone).effective_from
    assert told == datetime.fromisoformat(due)
    assert told is not None
    assert told.tzinfo is UTC


@pytest.mark.parametrize(
    ("header", "cell", "zone"),
    [
        ("End Date", "9999-12-31T23:59:59", "America/New_York"),
        ("End Date", "9999-12-31T23:59:59-05:00", "UTC"),
        ("Start Date", "0001-01-01", "Asia/Tokyo"),
    ],
)
def test_the_ends_of_the_calendar_in_a_far_zone_are_read_or_refused_by_line(
    header: str, cell: str, zone: str
):
    try:
        told = only(f"prefix,rate,{header}\n44,1,{cell}\n", time_zone=zone)
    except DeckRefused as error:
        (problem,) = error.problems
        assert (problem.line, problem.column) == (2, header)
    else:
        compiled = Deck.compile([told], currency="USD")
        assert compiled.match("441", NOW) is not None


def test_a_rate_that_ends_before_it_begins_is_refused():
    content = "prefix,rate,start date,end date\n44,1,2024-01-02,2024-01-01\n"
    assert refused(content) == [(2, "end date", "invalid")]
    content = "prefix,rate,start date,end date\n44,1,2024-01-01,2024-01-01\n"
    assert refused(content) == [(2, "end date", "invalid")]


@pytest.mark.parametrize("zone", ["", "Mars/Olympus", "UTC+1", "America", "../../etc/passwd", "\0"])
def test_an_unknown_time_zone_is_refused(zone: str):
    with pytest.raises(InvalidInput) as caught:
        read(PLAIN, time_zone=zone)
    assert caught.value.field == "time_zone"


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
