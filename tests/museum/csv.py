"""G: CSV files of others, and those that spreadsheets open."""

from __future__ import annotations

import io
import random
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from moneyed import USD, Money

from cardbill import Batch, Caller, csvfiles, deckfiles, decklines, intake, read_deck, uploading
from cardbill.errors import DeckRefused, InvalidInput, UploadRefused
from cardbill.intake import Intake
from cardbill.uploading import Upload
from tests.building import START, Shop, open_shop
from tests.museum.exhibits import Section, patched

SECTION = Section("CSV")
FORMULAS = ("=1+1+1", "@SUM(A1)", "+1234567", "-1234567", "=cmd|'/C'!A0")


def uploaded(shop: Shop, folder: Path, pins: tuple[str, ...], encoding: str = "utf-8") -> None:
    """Take PINs from a file as batch U."""
    (folder / "pins.csv").write_text("pin\n" + "".join(f'"{p}"\n' for p in pins), encoding)
    shop.bill.batches.create(Batch(name="U", face_value=Money(5, USD), quantity=len(pins)))
    shop.bill.batches.upload_pins("U", folder / "pins.csv", max_guess_probability=1)
    shop.bill.batches.assign("U", plan="Basic")


def exported(shop: Shop, folder: Path, batch: str) -> list[str]:
    """The first cell of each line of an export, as a spreadsheet gets it."""
    shop.bill.batches.export(
        batch, folder / "out.csv", with_pins=True, actor="kim", reason="printing"
    )
    lines = (folder / "out.csv").read_text("utf-8").splitlines()
    return [line.partition(",")[0] for line in lines[1:]]


# -- how they are rebuilt ------------------------------------------------------------------------


class Marked(str):
    """A line whose byte-order mark nobody takes off."""

    __slots__ = ()

    def removeprefix(self, prefix: str, /) -> str:
        return str(self)


class MarkedFile:
    """A file whose first line is one."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def readline(self) -> str:
        return Marked(self._file.readline())

    def __iter__(self) -> Any:
        return iter(self._file)


def reads_the_whole_file_first() -> AbstractContextManager[None]:
    real = Intake.uploaded

    def uploaded(self: Intake, pins: Any, taken: Any) -> Any:
        return real(self, iter(list(pins)), taken)

    return patched((Intake, "uploaded", uploaded))


def leaves_the_byte_order_mark() -> AbstractContextManager[None]:
    @contextmanager
    def opened(source: Path, _kind: str) -> Iterator[Any]:
        with source.open(encoding="utf-8", newline="") as file:
            yield MarkedFile(file)

    return patched((intake, "opened", opened), (deckfiles, "opened", opened))


def takes_spreadsheet_numbers_for_pins() -> AbstractContextManager[None]:
    return patched((uploading, "_SCIENTIFIC", re.compile("(?!)")))


def repairs_spreadsheet_numbers() -> AbstractContextManager[None]:
    return patched((decklines, "check_prefix", lambda text: str(int(float(text)))))


def draws_numbers_not_digits() -> AbstractContextManager[None]:
    return patched((intake, "draw", lambda length, below, **_: str(below(10**length))))


def takes_in_numbers_not_text() -> AbstractContextManager[None]:
    real = Upload._row

    def row(self: Upload, *arguments: Any) -> Any:
        found = real(self, *arguments)
        return found and evolve(found, pin=found.pin.lstrip("0"))

    return patched((Upload, "_row", row))


def writes_cells_as_they_are() -> AbstractContextManager[None]:
    return patched((csvfiles, "_harmless", lambda cell: cell))


def puts_a_tab_before_formulas() -> AbstractContextManager[None]:
    return patched(
        (csvfiles, "_harmless", lambda cell: f"\t{cell}" if cell.startswith("=") else cell)
    )


# -- the defects ---------------------------------------------------------------------------------


@SECTION.defect(
    68, "pk-sbc, mwolff44/pk-sbc#165",
    "Small files are imported, one of 260,000 rows fails, as it is taken in one piece.",
    reads_the_whole_file_first,
)  # fmt: skip
def a_file_is_taken_in_row_by_row(folder: Path) -> None:
    rng, rows = random.Random(68), 5_000
    pins = "".join(f"{number:015}\n" for number in rng.sample(range(10**15), rows))
    file, ahead = io.StringIO("pin\n" + pins), list[int]()
    with open_shop("sqlite", folder) as shop:
        shop.bill.batches.create(Batch(name="U", face_value=Money(5, USD), quantity=rows))
        shop.bill.batches.upload_pins(
            "U", file, progress=lambda done, _: ahead.append(file.tell() // 16 - done)
        )
        assert len(ahead) == 5
        assert max(ahead) <= 10


@SECTION.defect(
    87, "dotCMS#36508 and getodk/javarosa#687",
    "A byte-order mark hides the first column of a file without a word.",
    leaves_the_byte_order_mark, error=InvalidInput,
)  # fmt: skip
def a_byte_order_mark_is_no_part_of_the_header(folder: Path) -> None:
    (folder / "deck.csv").write_text("prefix,rate\n44,0.06\n", encoding="utf-8-sig")
    assert read_deck(folder / "deck.csv", currency=USD).match("442071234567", START)
    with open_shop("memory", folder) as shop:
        uploaded(shop, folder, ("902817364551",), encoding="utf-8-sig")
        assert isinstance(shop.bill.authenticate(pin="902817364551"), Caller)


@SECTION.defect(
    88, "camptix#40 and react-csv#136",
    "A spreadsheet has made 4.41E+11 of a number, and it is taken as that.",
    takes_spreadsheet_numbers_for_pins, repairs_spreadsheet_numbers,
)  # fmt: skip
def numbers_that_a_spreadsheet_rewrote_are_refused(folder: Path) -> None:
    for text in ("4.41E+11", "4,41E+11", "1.23e+11", "9E+11"):
        with open_shop("memory", folder) as shop, pytest.raises(UploadRefused) as refused:
            uploaded(shop, folder, (text,))
        assert [problem.code for problem in refused.value.problems] == ["scientific"]
        (folder / "deck.csv").write_text(f'prefix,rate\n"{text}",0.06\n', encoding="utf-8")
        with pytest.raises(DeckRefused):
            read_deck(folder / "deck.csv", currency=USD)


@SECTION.defect(
    89, "noptin#602 and Laravel-Excel#300",
    "Leading zeros get lost, even of cells in quotes.",
    draws_numbers_not_digits, takes_in_numbers_not_text, error=UploadRefused,
)  # fmt: skip
def leading_zeros_are_digits_like_any_other(folder: Path) -> None:
    with open_shop("memory", folder, numbers=[7_123_456], quantity=1) as shop:
        assert exported(shop, folder, "B") == ["000007123456"]
        uploaded(shop, folder, ("000012345678", "012345678"))
        assert exported(shop, folder, "U") == ["000012345678", "012345678"]
        for pin in ("000007123456", "000012345678", "012345678"):
            assert isinstance(shop.bill.authenticate(pin=pin), Caller)


@SECTION.defect(
    90, "ChurchCRM#5465 and Symfony, CVE-2021-41270",
    "Cells of an export run as formulas, also behind the tab that should keep them from it.",
    writes_cells_as_they_are, puts_a_tab_before_formulas,
)  # fmt: skip
def no_cell_of_an_export_is_a_formula(folder: Path) -> None:
    with open_shop("memory", folder) as shop:
        uploaded(shop, folder, FORMULAS)
        assert exported(shop, folder, "U") == [f"'{pin}" for pin in FORMULAS]
