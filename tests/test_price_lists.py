"""A carrier's real price list; and no row that cannot be used makes a call cheaper."""

import csv
import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

import cardbill
from cardbill import Deck
from cardbill.errors import DeckRefused, InvalidInput
from tests.deck_reading import NOW, price_of, read, refused, steps

ODD_LINES = [583, 7151, 24073, 24127, 24128, 24129, 24130, 24131, 27393]
ODD_PREFIXES = ["43820", "37270", "23222", "38643", "386432", "386433", "386434", "386437", "1900"]


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
