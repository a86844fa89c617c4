"""PINs from a file: taken exactly, all or none, every refusal by line, column and code."""

import io
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, strategies as st
from moneyed import USD, Money

from cardbill import Batch, Status
from cardbill.errors import (
    GuessTooLikely,
    InvalidInput,
    KeyMissing,
    TermsLocked,
    UnknownName,
    UploadRefused,
)
from cardbill.uploading import MOST_PROBLEMS, refuse
from tests.building import START, STORES, UK, UK_MINUTE, Shop, open_shop, rows

PINS = ("4400112233445", "0000112233446", "ab!#C.=9@x", "1234567891234")


@pytest.fixture(params=STORES)
def shop(request: pytest.FixtureRequest, tmp_path: Path):
    with open_shop(request.param, tmp_path) as shop:
        yield shop


def add_batch(shop: Shop, quantity: int, name: str = "U", **terms: Any) -> None:
    terms = {"face_value": Money(5, USD), "plan": "Basic", **terms}
    shop.bill.batches.create(Batch(name=name, quantity=quantity, **terms))


def take(shop: Shop, text: str, name: str = "U", **options: Any):
    return shop.bill.batches.upload_pins(name, io.StringIO(text), **options)


def refused(shop: Shop, text: str, quantity: int = 1, **options: Any) -> list[tuple[Any, ...]]:
    """The problems of a file, after seeing that nothing of it was stored."""
    if "U" not in shop.bill.batches.names():
        add_batch(shop, quantity)
    before = rows(shop.bill.storage)
    with pytest.raises(UploadRefused) as error:
        take(shop, text, **options)
    assert rows(shop.bill.storage) == before
    for pin in text.split():
        if len(pin) >= 4 and pin.isalnum() and pin != "PIN":
            assert pin not in str(error.value)
    return [(problem.line, problem.column, problem.code) for problem in error.value.problems]


def test_pins_are_kept_exactly_and_work(shop: Shop):
    add_batch(shop, len(PINS))
    taken = take(shop, "PIN\n" + "\n".join(PINS) + "\n")
    assert (taken.batch, taken.count) == ("U", 4)
    for serial, pin in enumerate(PINS, start=1):
        assert shop.bill.batches.reveal(f"U/{serial}", actor="a", reason="r") == pin
        caller = shop.bill.authenticate(pin=pin)
        assert caller.authenticated
        assert caller.card_id == f"U/{serial}"
    shop.check_books()


def test_the_same_upload_again_does_nothing(shop: Shop):
    add_batch(shop, 2)
    text = "PIN\n" + "\n".join(PINS[:2])
    take(shop, text)
    before = rows(shop.bill.storage)
    assert take(shop, text).count == 2
    assert rows(shop.bill.storage) == before
    with pytest.raises(TermsLocked):
        take(shop, "PIN\n99990000111122\n99990000111133\n", job="another")
    assert rows(shop.bill.storage) == before


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_separators_marks_and_line_ends_do_not_matter(tmp_path, separator, mark, end):
    lines = [f"label{separator}Number", *(f"x{separator}{pin}" for pin in PINS)]
    path = tmp_path / "pins.csv"
    path.write_bytes((mark + end.join(lines) + end).encode())
    with open_shop("memory", tmp_path) as shop:
        add_batch(shop, 4)
        assert shop.bill.batches.upload_pins("U", path).count == 4
        assert shop.bill.batches.reveal("U/3", actor="a", reason="r") == PINS[2]


@pytest.mark.parametrize(
    ("cell", "code"),
    [
        ("", "cells"),
        ('""', "empty"),
        ("123", "too-short"),
        ("1" * 33, "too-long"),
        ("1.23E+11", "scientific"),
        ("4,41E+11".replace(",", "."), "scientific"),
        ("1E+11", "scientific"),
        ("12345²78", "non-ascii-digit"),
        ("١٢٣٤٥٦٧٨", "non-ascii-digit"),
        ("12 345678", "character"),
        (" 12345678", "character"),
        ("12345678 ", "character"),
        ("1234\x0075678", "character"),
        ("1234\x7f5678", "character"),
        ("pïn-12345", "character"),
    ],
)
def test_a_row_that_can_be_no_pin_is_refused_by_line_column_and_code(shop, cell, code):
    text = f"note,Secret\nx,{PINS[0]}\ny,{cell}\n" if cell else f"note,Secret\nx,{PINS[0]}\ny\n"
    expected = (3, "" if code == "cells" else "Secret", code)
    assert refused(shop, text, 2, columns={"pin": "Secret"}) == [expected]


def test_every_bad_row_is_listed_in_order(shop: Shop):
    text = f"PIN\n12\n{PINS[0]}\n{PINS[1]}\n{PINS[0]}\n1.5E+12\n{PINS[0]}\n"
    assert refused(shop, text) == [
        (2, "PIN", "too-short"),
        (5, "PIN", "duplicate"),
        (6, "PIN", "scientific"),
        (7, "PIN", "duplicate"),
    ]


def test_a_pin_of_another_batch_is_refused_without_saying_whose(shop: Shop):
    text = f"PIN\n{PINS[0]}\n{shop.pin()}\n"
    assert refused(shop, text, 2) == [(3, "PIN", "duplicate")]


def test_duplicates_far_apart_are_found(tmp_path: Path):
    numbers = [f"{number:014d}" for number in range(10**13, 10**13 + 2_500)]
    numbers[2_400] = numbers[3]
    with open_shop("sqlite", tmp_path) as shop:
        text = "PIN\n" + "\n".join(numbers)
        assert refused(shop, text, 2_500) == [(2_402, "PIN", "duplicate")]


def test_a_thousand_problems_are_listed_and_all_are_counted(shop: Shop):
    add_batch(shop, 1)
    with pytest.raises(UploadRefused) as error:
        take(shop, "PIN\n" + "12\n" * (MOST_PROBLEMS + 500))
    assert len(error.value.problems) == MOST_PROBLEMS
    assert error.value.refused == MOST_PROBLEMS + 500


def test_a_dry_run_reports_alike_and_stores_nothing(shop: Shop):
    add_batch(shop, 4)
    before = rows(shop.bill.storage)
    good = "PIN\n" + "\n".join(PINS)
    tried = take(shop, good, dry_run=True)
    assert rows(shop.bill.storage) == before
    assert refused(shop, "PIN\n12\n", dry_run=True) == [(2, "PIN", "too-short")]
    assert take(shop, good) == tried


@pytest.mark.parametrize("quantity", [3, 5])
def test_a_file_with_another_number_of_pins_is_refused(shop: Shop, quantity: int):
    add_batch(shop, quantity)
    before = rows(shop.bill.storage)
    with pytest.raises(InvalidInput) as error:
        take(shop, "PIN\n" + "\n".join(PINS))
    assert error.value.field == "quantity"
    assert rows(shop.bill.storage) == before


def test_short_pins_are_too_easy_to_guess(shop: Shop):
    add_batch(shop, 2)
    before = rows(shop.bill.storage)
    with pytest.raises(GuessTooLikely):
        take(shop, "PIN\n4711\n0815\n")
    assert rows(shop.bill.storage) == before
    taken = take(shop, "PIN\n4711\n0815\n", max_guess_probability="0.001")
    assert taken.guess_probability == Fraction(2, 10**4)
    assert taken.one_in == 5_000


def test_letters_make_guessing_harder(shop: Shop):
    add_batch(shop, 1)
    taken = take(shop, "PIN\nx711\n", max_guess_probability="0.001")
    assert taken.guess_probability == Fraction(1, 94**4)


def test_dialled_strings_leave_no_room_for_separators(shop: Shop):
    assert refused(shop, "PIN\n1234*5678\n", dialled=True) == [(2, "PIN", "separator")]
    assert refused(shop, "PIN\n1234#5678\n", dialled=True) == [(2, "PIN", "separator")]
    assert take(shop, "PIN\n1234*5678\n").count == 1


def test_live_cards_of_another_system_are_taken_over(shop: Shop):
    add_batch(shop, 4, expires_days_after_first_use=30)
    take(
        shop,
        "PIN,balance,first_used,expires\n"
        f"{PINS[0]},1.25,2025-02-20T08:00:00,\n"
        f"{PINS[1]},,,\n"
        f"{PINS[2]},0,,\n"
        f"{PINS[3]},5,,2025-03-04T00:00:00+00:00\n",
    )
    used, fresh, empty, ending = (shop.bill.card(f"U/{serial}") for serial in (1, 2, 3, 4))
    assert (used.balance, used.status) == (Money("1.25", USD), Status.ACTIVE)
    assert used.first_used_at == datetime(2025, 2, 20, 8, tzinfo=UTC)
    assert used.expires_at == datetime(2025, 3, 23, tzinfo=UTC)
    assert (fresh.balance, fresh.status) == (Money(5, USD), Status.GENERATED)
    assert empty.balance == Money(0, USD)
    assert ending.expires_at == START.replace(hour=0) + timedelta(days=1)
    shop.check_books()

    call = shop.bill.authorize(pin=PINS[0], to=UK, call_id="c1")
    assert call.granted
    shop.bill.settle(call.handle, talk_ms=60_000, carrier="acme")
    after = shop.bill.card("U/1")
    assert after.balance_units == 1_250_000 - UK_MINUTE
    assert (after.first_used_at, after.expires_at) == (used.first_used_at, used.expires_at)
    assert after.plan == "Basic"
    shop.check_books()


@pytest.mark.parametrize(
    ("balance", "first_used", "expires", "column"),
    [
        ("-1", "", "", "balance"),
        ("1.0000001", "", "", "balance"),
        ("much", "", "", "balance"),
        ("", "yesterday", "", "first_used"),
        ("", "", "31/12/2025", "expires"),
    ],
)
def test_a_card_that_cannot_be_taken_over_is_refused(shop, balance, first_used, expires, column):
    text = f"PIN,balance,first_used,expires\n{PINS[0]},{balance},{first_used},{expires}\n"
    assert refused(shop, text) == [(2, column, "invalid")]


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (b"", "header"),
        (b"serial\n1\n", "header"),
        (b"PIN,Number\n1234567890123,1234567890123\n", "header"),
        (b"PIN\n12345678901\xe9\n", "PIN file pins.csv"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_as_a_whole(shop, tmp_path, content, field):
    add_batch(shop, 1)
    before = rows(shop.bill.storage)
    path = tmp_path / "pins.csv"
    path.write_bytes(content)
    with pytest.raises(InvalidInput) as error:
        shop.bill.batches.upload_pins("U", path)
    assert error.value.field == field
    assert "1234567" not in str(error.value)
    assert rows(shop.bill.storage) == before


def test_uploading_needs_a_batch_and_a_sealing_key(shop: Shop):
    with pytest.raises(UnknownName):
        take(shop, "PIN\n12345678\n", name="nope")
    add_batch(shop, 1)
    shop.bill.batches._keyring = shop.keyring.without(["sealing/1"])
    with pytest.raises(KeyMissing):
        take(shop, "PIN\n1234567890123\n")


OTHERS = str.maketrans("abcdfghijklmnopqrstuvwxyz0123456789", "bcdfghijklmnopqrstuvwxyza1234567890")


@given(st.text(max_size=40), st.booleans())
@example(" or ", False)
def test_a_text_is_a_pin_or_is_refused_without_being_repeated(text: str, dialled: bool):
    refusal = refuse(text, dialled=dialled)
    visible = all("!" <= character <= "~" for character in text)
    if refusal is None:
        assert visible
        assert 4 <= len(text) <= 32
    elif len(text) >= 4 and text in refusal[1]:
        # Words of the message by chance: another text of that kind is told the very same.
        assert refuse(text.translate(OTHERS), dialled=dialled) == refusal


needs_proc = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="this system does not tell a program's peak"
)

MILLION = """
import sys
from moneyed import Money
import cardbill
from cardbill import Batch, Keyring
count, folder = int(sys.argv[1]), sys.argv[2]
def lines():
    yield "PIN\\n"
    for number in range(count):
        yield f"{number * 7919 % 10**9:09d}{number:07d}\\n"
with open(f"{folder}/pins.csv", "w") as file:
    file.writelines(lines())
url = f"sqlite:///{folder}/cards.db?synchronous=normal"
with cardbill.open(url, keyring=Keyring.generate()) as bill:
    bill.batches.create(Batch(name="M", face_value=Money(5, "USD"), quantity=count))
    assert bill.batches.upload_pins("M", f"{folder}/pins.csv").count == count
    shown = dict(with_pins=True, actor="a", reason="r")
    assert bill.batches.export("M", f"{folder}/out.csv", **shown) == count
with open(f"{folder}/pins.csv") as sent, open(f"{folder}/out.csv") as got:
    next(sent), next(got)
    assert all(line.strip() == row.split(",")[0] for line, row in zip(sent, got, strict=True))
# The peak of this program alone: ru_maxrss would count the parent it was forked from.
print(int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) // 1024)
"""


def peak_megabytes(folder: Path, count: int) -> int:
    arguments = [sys.executable, "-c", MILLION, str(count), str(folder)]
    done = subprocess.run(arguments, check=True, capture_output=True, text=True, timeout=1500)
    return int(done.stdout)


@needs_proc
def test_uploads_and_exports_stream(tmp_path: Path):
    assert peak_megabytes(tmp_path, 20_000) < 100


@pytest.mark.soak
@needs_proc
def test_a_million_pins_need_less_than_150_megabytes(tmp_path: Path):
    assert peak_megabytes(tmp_path, 1_000_000) < 150
