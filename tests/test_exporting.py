"""PINs shown: looked at, revealed one by one, exported to the printer."""

import csv
import hashlib
import io
import os
import stat
import threading
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from moneyed import USD, Money

import cardbill
from cardbill import IssuedPin, Status
from cardbill.errors import InvalidInput, KeyMissing, MissingFields, UnknownName, WrongKey
from cardbill.exporting import EXPORT_COLUMNS
from cardbill.instants import to_micros
from cardbill.journal import detail_of
from cardbill.pins import MASK
from tests.building import START, Shop, open_shop, rows
from tests.test_issuing import more

# -- viewing ------------------------------------------------------------------------------------


def test_pins_are_listed_by_serial_with_their_numbers_masked(shop: Shop):
    pins = shop.bill.batches.pins("B")
    assert [pin.serial for pin in pins] == [1, 2, 3]
    assert {pin.number for pin in pins} == {MASK}
    (first, *_) = pins
    assert isinstance(first, IssuedPin)
    assert first.card_id == "B/1"
    assert first.status is Status.GENERATED
    assert first.value == first.balance == Money(5, USD)
    assert (first.activated_at, first.expires_at, first.expiration_period) == (None, None, None)


@pytest.mark.parametrize("size", [1, 2, 499, 500, 501, 10_000])
def test_pages_join_into_the_whole(kind: str, tmp_path: Path, size: int):
    with open_shop(kind, tmp_path, quantity=1_003 if size > 2 else 7) as shop:
        serials: list[int] = []
        while page := shop.bill.batches.pins("B", after=max(serials, default=0), limit=size):
            assert len(page) <= size
            serials += [pin.serial for pin in page]
        assert serials == list(range(1, len(serials) + 1))
        assert len(serials) == (1_003 if size > 2 else 7)


def test_pins_of_one_status_are_found_wherever_they_are(kind: str, tmp_path: Path):
    terms = {"expires_days_after_first_use": 0}
    with open_shop(kind, tmp_path, quantity=1_003, batch=terms) as shop:
        for serial in (2, 700, 1_003):
            shop.bill.settle(shop.grant(serial=serial).handle, talk_ms=60_000)
        shop.edit("B/9", blocked=True)
        shop.edit("B/10", voided=True)
        find = shop.bill.batches.pins
        for status in ("active", Status.ACTIVE):
            assert [pin.serial for pin in find("B", status=status)] == [2, 700, 1_003]
        assert [pin.serial for pin in find("B", status="active", after=2, limit=1)] == [700]
        assert [pin.serial for pin in find("B", status="blocked")] == [9]
        assert [pin.serial for pin in find("B", status="void")] == [10]
        assert len(find("B", status="generated", limit=10_000)) == 998
        assert find("B", status="expired") == []
        tomorrow = START + timedelta(days=1)
        expired = find("B", status="expired", at=tomorrow)
        assert [pin.serial for pin in expired] == [2, 700, 1_003]
        assert {pin.balance_units for pin in expired} == {0}
        assert find("B", status="sold") == []


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("status", {"status": "lost"}),
        ("status", {"status": "ACTIVE"}),
        ("limit", {"limit": 0}),
        ("limit", {"limit": 10_001}),
        ("limit", {"limit": True}),
        ("after", {"after": -1}),
        ("after", {"after": 2**63}),
        ("after", {"after": None}),
    ],
)
def test_a_page_that_cannot_be_given_is_refused_by_name(
    shop: Shop, field: str, arguments: dict[str, Any]
):
    with pytest.raises(InvalidInput) as refused:
        shop.bill.batches.pins("B", **arguments)
    assert refused.value.field == field


# -- revealing ----------------------------------------------------------------------------------


def test_who_reveals_a_pin_and_why_is_kept(shop: Shop):
    shop.clock.tick(hours=1)
    pin = shop.bill.batches.reveal("B/2", actor="ann", reason="lost slip, ticket 7")
    assert pin == shop.pin(2)
    (row,) = shop.log()
    assert (row.actor, row.action, row.subject) == ("ann", "reveal-pin", "B/2")
    assert detail_of(row) == {"reason": "lost slip, ticket 7"}
    assert row.at == to_micros(shop.clock.now)
    assert pin.encode() not in row.detail


@pytest.mark.parametrize(
    ("fields", "given"),
    [
        (("actor", "reason"), {"actor": "", "reason": ""}),
        (("actor",), {"actor": "  ", "reason": "r"}),
        (("reason",), {"actor": "a", "reason": "\t"}),
        (("reason",), {"actor": "a", "reason": None}),
    ],
)
def test_a_pin_is_shown_to_nobody_without_a_name_and_a_reason(
    shop: Shop, fields: tuple[str, ...], given: dict[str, Any]
):
    before = rows(shop.bill.storage)
    with pytest.raises(MissingFields) as refused:
        shop.bill.batches.reveal("B/1", **given)
    assert refused.value.fields == fields
    with pytest.raises(MissingFields):
        shop.bill.batches.export("B", shop.folder / "x.csv", with_pins=True, **given)
    assert rows(shop.bill.storage) == before
    assert not (shop.folder / "x.csv").exists()


@pytest.mark.parametrize("actor", ["ann\0", "ann\n", "\ud800", "a" * 257])
def test_who_asks_for_a_pin_has_a_name_that_every_store_keeps(shop: Shop, actor: str):
    before = rows(shop.bill.storage)
    with pytest.raises(InvalidInput, match="actor"):
        shop.bill.batches.reveal("B/1", actor=actor, reason="r")
    assert rows(shop.bill.storage) == before
    shop.bill.batches.reveal("B/1", actor="a" * 256, reason="r")


def test_a_keyring_for_looking_up_can_show_no_pin(shop: Shop):
    host = cardbill.Engine(shop.bill.storage, shop.keyring.without(["sealing/1"]), clock=shop.clock)
    assert host.authenticate(pin=shop.pin()).authenticated
    with pytest.raises(KeyMissing):
        host.batches.reveal("B/1", actor="a", reason="r")
    with pytest.raises(KeyMissing):
        host.batches.export("B", shop.folder / "x.csv", with_pins=True, actor="a", reason="r")
    assert not (shop.folder / "x.csv").exists()
    assert host.batches.export("B", shop.folder / "x.csv") == 3


def test_revealing_the_pin_of_no_card_leaves_no_entry(shop: Shop):
    with pytest.raises(UnknownName):
        shop.bill.batches.reveal("B/4", actor="a", reason="r")
    assert shop.log() == []


# -- exporting ----------------------------------------------------------------------------------


def read_back(content: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content, newline="")))


def test_an_export_has_every_column_and_no_pin(kind: str, tmp_path: Path):
    terms = {
        "effective_date": date(2025, 1, 1),
        "expiration_date": date(2026, 12, 31),
        "expires_days_after_first_use": 30,
    }
    with open_shop(kind, tmp_path, batch=terms, face=Money("5.50", USD)) as shop:
        shop.bill.settle(shop.grant(serial=2).handle, talk_ms=60_000)
        shop.edit("B/3", blocked=True)
        path = tmp_path / "out.csv"
        assert shop.bill.batches.export("B", path) == 3
        content = path.read_bytes().decode("utf-8")
        assert content.endswith("\r\n")
        assert content.splitlines()[0] == (
            "number,serial,status,value,currency,effective_date,expiration_date,"
            "activation_date,expiration_period"
        )
        assert tuple(content.splitlines()[0].split(",")) == EXPORT_COLUMNS
        one, two, three = read_back(content)
        assert one == {
            "number": MASK,
            "serial": "1",
            "status": "generated",
            "value": "5.50",
            "currency": "USD",
            "effective_date": "2025-01-01",
            "expiration_date": "2026-12-31",
            "activation_date": "",
            "expiration_period": "30",
        }
        assert two["activation_date"] == "2025-03-03T12:00:00+00:00"
        assert (two["status"], three["status"]) == ("active", "blocked")
        assert two["value"] == "5.50"  # what it was sold as
        assert shop.log() == []


def test_what_is_exported_with_pins_reads_back_the_same(kind: str, tmp_path: Path):
    with open_shop(kind, tmp_path, quantity=1_003, numbers=[1, 20, 300]) as shop:
        path = tmp_path / "out.csv"
        count = shop.bill.batches.export("B", path, with_pins=True, actor="a", reason="print")
        cells = read_back(path.read_bytes().decode("utf-8"))
        assert count == len(cells) == 1_003
        assert [int(row["serial"]) for row in cells] == list(range(1, 1_004))
        assert [row["number"] for row in cells] == [shop.pin(s) for s in range(1, 1_004)]
        assert cells[0]["number"] == "000000000001"
        for row in (cells[0], cells[1_002]):
            caller = shop.bill.authenticate(pin=row["number"])
            assert isinstance(caller, cardbill.Caller)
            assert caller.card_id == f"B/{row['serial']}"
            assert Money(row["value"], row["currency"]) == caller.balance


def test_an_export_of_pins_is_on_record_before_and_after(shop: Shop):
    out = io.StringIO(newline="")
    shop.bill.batches.export("B", out, with_pins=True, actor="ann", reason="to the printer")
    begun, ended = shop.log()
    assert (begun.actor, begun.action, begun.subject) == ("ann", "export-pins-begun", "B")
    assert detail_of(begun) == {"reason": "to the printer"}
    assert (ended.actor, ended.action, ended.subject) == ("ann", "export-pins", "B")
    assert detail_of(ended) == {
        "reason": "to the printer",
        "count": 3,
        "sha256": hashlib.sha256(out.getvalue().encode()).hexdigest(),
    }
    for pin in (shop.pin(1), shop.pin(3)):
        assert pin.encode() not in begun.detail + ended.detail


def test_the_digest_on_record_is_that_of_the_file(shop: Shop):
    path = shop.folder / "out.csv"
    shop.bill.batches.export("B", path, with_pins=True, actor="ann", reason="r")
    row = shop.bill.storage.audit_log()[-1][1]
    assert detail_of(row)["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_only_the_owner_may_read_an_export(shop: Shop):
    path = shop.folder / "out.csv"
    path.write_text("old")
    path.chmod(0o644)
    before = os.umask(0)
    try:
        shop.bill.batches.export("B", path, with_pins=True, actor="a", reason="r")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text(encoding="utf-8") != "old"


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("cards.db"))


def test_an_export_that_fails_midway_leaves_the_old_file(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with open_shop(kind, tmp_path, quantity=1_003) as shop:
        path = tmp_path / "out.csv"
        path.write_text("old")
        storage, find = shop.bill.storage, shop.bill.storage.find_cards
        pages = 0

        def failing(*place: Any, **more: Any) -> Any:
            nonlocal pages
            pages += 1
            if pages == 2:
                assert listing(tmp_path) != ["out.csv"]  # the draft is there
                assert path.read_text() == "old"
                raise KeyboardInterrupt
            return find(*place, **more)

        monkeypatch.setattr(storage, "find_cards", failing)
        with pytest.raises(KeyboardInterrupt):
            shop.bill.batches.export("B", path, with_pins=True, actor="a", reason="r")
        assert pages == 2
        assert path.read_text() == "old"
        assert listing(tmp_path) == ["out.csv"]
        # That it was begun is on record, and that it was not ended.
        assert [row.action for row in shop.log()] == ["export-pins-begun"]
        assert shop.bill.batches.export("B", path) == 1_003


def test_an_altered_sealed_pin_stops_the_export(tmp_path: Path):
    import sqlite3

    with open_shop("sqlite", tmp_path) as shop:
        connection = sqlite3.connect(tmp_path / "cards.db")
        (moved,) = connection.execute("SELECT sealed FROM credential WHERE card='B/1'").fetchone()
        connection.execute("UPDATE credential SET sealed = ? WHERE card = 'B/2'", (moved,))
        connection.commit()
        connection.close()
        path = tmp_path / "out.csv"
        with pytest.raises(WrongKey, match="'B/2'"):
            shop.bill.batches.export("B", path, with_pins=True, actor="a", reason="r")
        assert not path.exists()
        with pytest.raises(WrongKey):
            shop.bill.batches.reveal("B/2", actor="a", reason="r")
        assert shop.bill.batches.export("B", path) == 3


def test_a_draft_that_a_crash_left_behind_is_no_obstacle(shop: Shop):
    path = shop.folder / "out.csv"
    (shop.folder / f".out.csv.{os.getpid()}.part").write_text("half")
    assert shop.bill.batches.export("B", path) == 3
    assert len(read_back(path.read_text(encoding="utf-8"))) == 3


def test_two_exports_to_one_path_at_once_both_end_whole(kind: str, tmp_path: Path):
    """Each is whole by itself; the later one stands."""
    with open_shop(kind, tmp_path, quantity=600) as shop:
        path = tmp_path / "out.csv"
        meet = threading.Barrier(2)
        storage, find = shop.bill.storage, shop.bill.storage.find_cards
        waited = threading.local()

        def slow(*place: Any, **more: Any) -> Any:
            if not getattr(waited, "done", False):  # both have their draft open now
                waited.done = True
                meet.wait(timeout=20)
            return find(*place, **more)

        storage.find_cards = slow  # type: ignore[method-assign]
        results: list[Any] = []

        def export() -> None:
            try:
                results.append(shop.bill.batches.export("B", path))
            except BaseException as error:  # noqa: BLE001  # shown by the assertion below
                meet.abort()
                results.append(error)

        threads = [threading.Thread(target=export) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        storage.find_cards = find  # type: ignore[method-assign]
        assert results == [600, 600]
        assert len(read_back(path.read_text(encoding="utf-8"))) == 600
        assert listing(tmp_path) == ["out.csv"]


@pytest.mark.parametrize("text", ["=1+1|cmd", "+4412345", "-1234567", "@SUM(A1)", "'=1234"])
def test_no_spreadsheet_takes_a_pin_for_a_formula(shop: Shop, text: str):
    """PINs of another system may be any visible text; they are exported as text."""
    more(shop, quantity=1)
    shop.bill.batches.upload_pins("C", io.StringIO(f'PIN\n"{text}"\n'))
    out = io.StringIO(newline="")
    shop.bill.batches.export("C", out, with_pins=True, actor="a", reason="r")
    (row,) = read_back(out.getvalue())
    assert row["number"][0] not in "=+-@\t\r"
    assert row["number"].removeprefix("'") == text.removeprefix("'")
    assert shop.pin(1, "C") == shop.bill.batches.reveal("C/1", actor="a", reason="r") == text


def test_a_batch_without_pins_exports_its_header(shop: Shop):
    more(shop)
    out = io.StringIO(newline="")
    assert shop.bill.batches.export("C", out) == 0
    assert out.getvalue().splitlines() == [",".join(EXPORT_COLUMNS)]


def test_a_folder_that_is_not_there_is_an_error_of_the_system(shop: Shop):
    with pytest.raises(FileNotFoundError):
        shop.bill.batches.export("B", shop.folder / "no" / "out.csv")
