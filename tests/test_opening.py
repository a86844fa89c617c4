"""Opening a business: addresses, keys and databases that are taken, or refused and left alone."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from moneyed import USD, Money

import cardbill
from cardbill import Batch, Keyring
from cardbill.errors import InvalidInput, KeyFileExposed, SchemaTooNew, WrongKey
from tests.building import UK, Shop, open_shop, rows


@pytest.fixture
def shop(kind: str, tmp_path: Path) -> Iterator[Shop]:
    """The books are not looked at: some tests alter what is stored."""
    with open_shop(kind, tmp_path) as opened:
        yield opened


@pytest.mark.parametrize(
    "url",
    [
        "",
        "cards.db",
        "mysql://host/db",
        "postgresql://host/db?no-such-option=1",
        "postgresql://host/db?schema=No",
        "memory:x",
        "memory://",
        "sqlite:",
        "sqlite:///",
        "sqlite://cards.db",
        "sqlite://host/cards.db",
        "sqlite:cards.db",
        "sqlite:/cards.db",
        "sqlite:///:memory:",
        "sqlite:///cards.db#old",
        "sqlite:///cards.db?synchronous=off",
        "sqlite:///cards.db?mode=ro",
        None,
        5,
        1.5,
    ],
)
def test_an_address_that_names_no_store_opens_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: Any
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInput) as refused:
        cardbill.open(url, keyring=Keyring.generate()).close()
    assert refused.value.field in ("url", "synchronous", "address", "schema")
    assert list(tmp_path.iterdir()) == []


def test_another_lookup_key_is_noticed_at_opening(shop: Shop):
    wrong = evolve(shop.keyring, lookup={1: b"x" * 32})
    newer = evolve(shop.keyring, lookup={2: b"x" * 32})
    before = rows(shop.bill.storage)
    for keyring in (wrong, newer, Keyring.generate()):
        with pytest.raises(WrongKey) as refused:
            cardbill.Engine(shop.bill.storage, keyring)
        assert "x" * 8 not in str(refused.value)
    assert rows(shop.bill.storage) == before


def test_another_sealing_key_is_noticed_at_opening(shop: Shop):
    wrong = evolve(shop.keyring, sealing={1: b"x" * 32})
    with pytest.raises(WrongKey, match="sealing/1"):
        cardbill.Engine(shop.bill.storage, wrong)


def test_a_newer_lookup_key_may_be_added_and_old_pins_still_open(shop: Shop):
    both = shop.keyring.rotated()
    newer = cardbill.Engine(shop.bill.storage, both, clock=shop.clock)
    assert newer.authenticate(pin=shop.pin()).authenticated
    newer.batches.create(Batch(name="C", face_value=Money(1, USD), quantity=1, plan="Basic"))
    newer.batches.generate_pins("C")
    pin = newer.batches.reveal("C/1", actor="a", reason="r")
    assert newer.authenticate(pin=pin).authenticated
    assert not shop.bill.authenticate(pin=pin).authenticated  # it lacks the new key


def test_an_exposed_key_file_is_refused(tmp_path: Path):
    path = tmp_path / "cards.key"
    Keyring.create(path)
    for mode in (0o640, 0o604, 0o620, 0o666):
        path.chmod(mode)
        with pytest.raises(KeyFileExposed, match=f"{mode:04o}"):
            Keyring.load(path)
    path.chmod(0o600)
    assert Keyring.load(path).checks()


def test_a_database_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path):
    with open_shop("sqlite", tmp_path) as shop:
        url, keyring = shop.url, shop.keyring
    connection = sqlite3.connect(tmp_path / "cards.db")
    connection.execute("PRAGMA user_version = 99")
    connection.commit()
    connection.close()
    before = (tmp_path / "cards.db").read_bytes()
    with pytest.raises(SchemaTooNew, match="schema 99") as refused:
        cardbill.open(url, keyring=keyring)
    assert (tmp_path / "cards.db").read_bytes() == before
    # Nor is it kept open for as long as somebody keeps the error.
    assert refused.value.__traceback__ is not None
    if (handles := Path("/proc/self/fd")).is_dir():
        opened = [str(handle.readlink()) for handle in handles.iterdir() if handle.is_symlink()]
        assert str(tmp_path / "cards.db") not in opened


def test_a_card_written_by_a_newer_version_is_refused(shop: Shop):
    storage = shop.bill.storage
    pin = shop.pin()

    def newer(view: Any) -> Any:
        row = view.card._replace(version=view.card.version + 1, format=99)
        return cardbill.storage.contract.Step(None, row)

    storage.transact("B/1", newer)
    before = rows(storage)
    for use in (
        lambda: shop.bill.authenticate(pin=pin),
        lambda: shop.bill.authorize(pin=pin, to=UK, call_id="c1"),
        lambda: shop.bill.card("B/1"),
    ):
        with pytest.raises(SchemaTooNew, match="format 99"):
            use()
    assert rows(storage) == before
