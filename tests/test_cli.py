"""The `cardbill` command: what it prints and how it exits."""

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points, version
from pathlib import Path

import pytest

import cardbill
from cardbill import Keyring
from cardbill.cli import main
from tests.building import Shop, open_shop, rows


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with open_shop("sqlite", tmp_path) as opened:
        opened.bill.settle(opened.grant().handle, talk_ms=61_000, carrier="acme")
        yield opened


Output = pytest.CaptureFixture[str]


def test_an_audit_of_sound_books_exits_with_0(shop: Shop, capsys: Output):
    before = rows(shop.bill.storage)
    assert main(["audit", shop.url]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "3 cards, 2 ledger entries, 1 calls",
        "USD: face $15.00 = balances $14.88 + calls $0.12 + breakage $0.00",
        "not checked: forgery: no keys were given",
        "verdict: the books balance",
    ]
    assert err == ""
    assert rows(shop.bill.storage) == before


def test_an_audit_that_finds_problems_exits_with_1(shop: Shop, capsys: Output):
    connection = sqlite3.connect(shop.folder / "cards.db")
    with connection:
        connection.execute("UPDATE card SET balance = balance + 1")
    connection.close()
    assert main(["audit", shop.url]) == 1
    out = capsys.readouterr().out
    assert "PROBLEM card B/1: " in out
    assert out.splitlines()[-1].startswith("verdict: ")
    assert "balance" not in out.splitlines()[-1]


def test_many_problems_are_cut_and_counted(tmp_path: Path, capsys: Output):
    with open_shop("sqlite", tmp_path, quantity=120) as shop:
        connection = sqlite3.connect(tmp_path / "cards.db")
        with connection:
            connection.execute("UPDATE card SET blocked = 1")
        connection.close()
        assert main(["audit", shop.url]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("PROBLEM") for line in lines) == 50
    assert lines[-3] == "... and 70 more"
    assert lines[-1] == "verdict: 120 problems"


@pytest.mark.parametrize(
    "url",
    ["", "cards.db", "postgres://x/y", "sqlite://", "sqlite:///cards.db?x=1", "sqlite:///no/such"],
)
def test_an_audit_of_no_store_exits_with_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output, url: str
):
    monkeypatch.chdir(tmp_path)
    assert main(["audit", url]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("cardbill: ")
    assert len(err.splitlines()) == 1


def test_an_audit_of_a_file_that_is_not_there_makes_none_and_finds_no_fault_in_it(
    tmp_path: Path, capsys: Output
):
    """A name mistyped in a nightly job must not say every night that the books balance."""
    path = tmp_path / "mistyped.db"
    assert main(["audit", f"sqlite:///{path}"]) == 2
    assert capsys.readouterr().out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"not a database, by any means" * 100, b""])
def test_an_audit_of_another_file_exits_with_2_and_leaves_it(
    tmp_path: Path, capsys: Output, content: bytes
):
    path = tmp_path / "other.db"
    path.write_bytes(content)
    assert main(["audit", f"sqlite:///{path}"]) == 2
    assert path.read_bytes() == content


def test_an_audit_of_another_applications_database_exits_with_2(tmp_path: Path, capsys: Output):
    path = tmp_path / "other.db"
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("CREATE TABLE card (id)")
    connection.close()
    before = path.read_bytes()
    assert main(["audit", f"sqlite:///{path}"]) == 2
    assert "another application" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_an_audit_of_a_newer_database_exits_with_2(shop: Shop, capsys: Output):
    shop.bill.close()
    connection = sqlite3.connect(shop.folder / "cards.db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    assert main(["audit", shop.url]) == 2
    assert "schema 99" in capsys.readouterr().err


def test_an_audit_of_what_cannot_be_read_exits_with_1_not_with_a_traceback(
    shop: Shop, capsys: Output
):
    connection = sqlite3.connect(shop.folder / "cards.db")
    with connection:
        connection.execute("UPDATE record SET ended_at = 4611686018427387904")
    connection.close()
    assert main(["audit", shop.url]) == 1
    assert "PROBLEM card B/1: " in capsys.readouterr().out


def test_new_keys_are_written_for_their_owner_only(tmp_path: Path, capsys: Output):
    path = tmp_path / "cards.key"
    before = os.umask(0)
    try:
        assert main(["new-keys", str(path)]) == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    out = capsys.readouterr().out
    assert str(path) in out
    keyring = Keyring.load(path)
    assert len(keyring.lookup[1]) == len(keyring.sealing[1]) == 32
    for key in keyring.dumps().split('"'):
        assert len(key) < 40 or key not in out
    with cardbill.open("memory:", keyring=keyring) as bill:
        assert bill.batches.names() == []


def test_keys_are_never_overwritten(tmp_path: Path, capsys: Output):
    path = tmp_path / "cards.key"
    path.write_text("precious")
    assert main(["new-keys", str(path)]) == 2
    assert path.read_text() == "precious"
    assert capsys.readouterr().err.startswith("cardbill: ")
    assert main(["new-keys", str(tmp_path / "no" / "cards.key")]) == 2


def test_two_key_files_hold_different_keys(tmp_path: Path):
    rings = []
    for name in ("a", "b"):
        main(["new-keys", str(tmp_path / name)])
        rings.append(Keyring.load(tmp_path / name))
    assert rings[0].lookup != rings[1].lookup
    assert rings[0].lookup[1] != rings[0].sealing[1]


def test_the_version_is_that_of_the_package(capsys: Output):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"cardbill {version('cardbill')}\n"
    assert cardbill.__version__ == version("cardbill")


@pytest.mark.parametrize("arguments", [[], ["nope"], ["audit"], ["new-keys"], ["audit", "a", "b"]])
def test_a_command_that_is_not_understood_exits_with_2(arguments: list[str], capsys: Output):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: cardbill" in capsys.readouterr().err


def test_the_command_is_installed_and_runs_as_a_module(shop: Shop):
    (script,) = entry_points(group="console_scripts", name="cardbill")
    assert script.load() is main
    for arguments, code in ((["audit", shop.url], 0), (["audit", "nope"], 2), (["--version"], 0)):
        done = subprocess.run(
            [sys.executable, "-m", "cardbill.cli", *arguments],
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
