"""Carriers' notices: read as the carrier means them, or refused where that could be two things."""

import csv
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import cardbill
from cardbill import CITY_CODE_NOTICE, CODE_LIST_NOTICE, NEW_RATE_NOTICE, Deck, Dialect, RateChange
from cardbill.errors import DeckRefused, InvalidInput
from tests.notice_reading import BANDS, LATER, price, read, refused

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


def test_a_prefix_that_no_number_has_is_a_warning():
    rows = ["44;0.01;", "0044;0.02;", '"0049,1,0033";0.03;', "00351;0.04;yes"]
    deck = read("Dial code;rate;blocked\n" + "\n".join(rows))
    told = [(warning.line, warning.column, warning.code) for warning in deck.warnings]
    assert told == [(line, "Dial code", "no-country") for line in (3, 4, 5)]
    assert deck.warnings[0].message.startswith("0044 begins with 0")


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
