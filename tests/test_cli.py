"""The `cardbill` command: what it prints and how it exits."""

import os
import sqlite3
import stat
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import entry_points, version
from pathlib import Path

import pytest

import cardbill
from cardbill import Keyring
from cardbill.audit import AuditReport
from cardbill.cli import main, render
from cardbill.ledger import PUT_ON, EntryKind
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
    law = (
        "USD: face $15.00 = balances $14.88 + calls $0.12 + charges $0.00 + taxes $0.00"
        " + breakage $0.00 + voided $0.00"
    )
    assert out.splitlines() == [
        "3 cards, 2 ledger entries, 1 calls",
        law,
        "not checked: forgery: no keys were given",
        "verdict: the books balance",
    ]
    assert err == ""
    assert rows(shop.bill.storage) == before


def test_an_audit_tells_every_kind_of_entry_that_there_is():
    report = AuditReport(face_units=Counter(USD=5_000_000), balance_units=Counter(USD=13_000_000))
    for number, kind in enumerate(EntryKind, 1):
        if kind not in (EntryKind.GIVEN, EntryKind.LOST):  # they have no amount
            report.posted_units[kind]["USD"] = number * (1 if kind in PUT_ON else -1) * 1_000_000
    assert render(report).splitlines()[1] == (
        "USD: face $5.00 + recharges $2.00 + credits $3.00 + transfers in $4.00"
        " = balances $13.00 + calls $6.00 + charges $7.00 + taxes $8.00 + transfers out $5.00"
        " + refunds $9.00 + write-offs $10.00 + breakage $11.00 + voided $12.00"
    )


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
    [
        "",
        "cards.db",
        "postgres://x/y?a=b",
        "sqlite://",
        "sqlite:///cards.db?x=1",
        "sqlite:///no/such",
    ],
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


# -- with keys ------------------------------------------------------------------------------------


@pytest.fixture
def keys(shop: Shop) -> Path:
    path = shop.folder / "cards.key"
    shop.keyring.save(path)
    return path


def tamper(shop: Shop, statement: str) -> None:
    connection = sqlite3.connect(shop.folder / "cards.db")
    with connection:
        assert connection.execute(statement).rowcount
    connection.close()


@pytest.mark.parametrize("where", ["file", "environment"])
def test_an_audit_with_keys_finds_forgery(
    shop: Shop, keys: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch, where: str
):
    arguments = ["audit", shop.url]
    if where == "file":
        arguments += ["--keys", str(keys)]
    else:
        monkeypatch.setenv("CARDBILL_KEYS", shop.keyring.dumps())
    assert main(arguments) == 0
    assert "not checked" not in capsys.readouterr().out
    assert main([*arguments, "--no-sealed-copies"]) == 0
    assert "not checked: sealed copies of PINs" in capsys.readouterr().out
    tamper(shop, "UPDATE entry SET at = at + 1 WHERE seq = 2")
    assert main(arguments) == 1
    assert "PROBLEM card B/1: entry 2 was altered" in capsys.readouterr().out


def test_an_audit_with_other_keys_exits_with_2(shop: Shop, tmp_path: Path, capsys: Output):
    Keyring.create(tmp_path / "other.key")
    assert main(["audit", shop.url, "--keys", str(tmp_path / "other.key")]) == 2
    assert "not the one this database was written with" in capsys.readouterr().err
    assert main(["audit", shop.url, "--keys", str(tmp_path / "none.key")]) == 2


def test_a_head_is_made_compared_and_renewed(
    shop: Shop, keys: Path, tmp_path: Path, capsys: Output
):
    path = tmp_path / "kept" / "head"
    path.parent.mkdir()
    arguments = ["audit", shop.url, "--keys", str(keys), "--head", str(path)]
    assert main(arguments) == 0
    first = path.read_text()
    shop.bill.batches.reveal("B/1", actor="ann", reason="r")
    assert main(arguments) == 0
    second = path.read_text()
    assert second != first
    tamper(shop, "DELETE FROM audit WHERE action = 'reveal-pin'")
    assert main(["audit", shop.url, "--keys", str(keys)]) == 0  # nothing left to tell
    assert main(arguments) == 1
    assert "were removed" in capsys.readouterr().out
    assert path.read_text() == second  # not renewed over a problem
    path.write_text("f" + second[1:])
    assert main(arguments) == 2
    assert main(["audit", shop.url, "--head", str(path)]) == 2
    assert "needs the keys" in capsys.readouterr().err


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
    assert len(keyring.lookup[1]) == len(keyring.sealing[1]) == len(keyring.audit[1]) == 32
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
            [sys.executable, "-m", "cardbill", *arguments],
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
