"""Cells of a rate deck: what each may say, and what is refused by line, column and code."""

from datetime import UTC, datetime

import pytest

from cardbill import Deck
from cardbill.errors import DeckRefused, InvalidInput
from tests.deck_reading import NOW, PLAIN, only, read, refused, steps


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
