"""`make demo` is a newcomer's first sight of the library: it runs, and it minds its manners."""

import csv
import os
import subprocess
import sys
from pathlib import Path

from tests.source_tree import ROOT

SMALL = ("--pins", "200", "--calls", "60")


def run(script: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "examples" / script, *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONUTF8": "1"},
        timeout=60,
        check=False,
    )


def assert_well_told(demo: subprocess.CompletedProcess[str]):
    assert demo.returncode == 0, demo.stderr
    assert demo.stderr == ""
    assert [line for line in demo.stdout.splitlines() if len(line) > 80] == []
    assert "\x1b" not in demo.stdout
    assert "\r" not in demo.stdout
    assert "verdict: the books balance" in demo.stdout


def count(demo: subprocess.CompletedProcess[str], before: str, after: str) -> int:
    """The number that stands between two texts."""
    return int(demo.stdout.split(before, 1)[1].split(after, 1)[0].replace(",", ""))


def test_the_tour_shows_every_turn_and_no_pin(tmp_path: Path):
    kept = tmp_path / "kept"
    demo = run("demo.py", *SMALL, "--keep", kept)
    assert_well_told(demo)
    assert "ILLUSTRATIVE" in demo.stdout
    assert count(demo, "granted, ", " denied") > 0
    assert count(demo, "were answered, ", " of them cut by money") > 0
    assert count(demo, "a sweep: ", " calls expired") > 0
    assert "reported twice: the first record again, $0.0000 charged" in demo.stdout
    for reason in ("unknown_credential", "invalid_number", "no_rate", "destination_barred"):
        assert reason in demo.stdout
    with (kept / "cards.csv").open(encoding="utf-8", newline="") as file:
        pins = [card["number"] for card in csv.DictReader(file)]
    assert len(pins) == 200
    assert [pin for pin in pins if pin in demo.stdout] == []
    # The sample deck is the same whenever it is made.
    again = run("sample_deck.py", tmp_path / "again.csv")
    assert "illustrative" in again.stdout
    assert (tmp_path / "again.csv").read_bytes() == (kept / "retail.csv").read_bytes()


def test_a_deck_of_ones_own_may_have_faults(tmp_path: Path):
    deck = tmp_path / "own.csv"
    deck.write_text(
        "Prefix,Destination,Rate,First Interval,Sub Interval\n"
        "33,France,0.25,1,1\n"
        "336,France mobile,,1,1\n"
        "49,Germany,0.31,60,6\n"
        "1305,Miami,0.012,6,6\n",
        encoding="utf-8",
    )
    demo = run("demo.py", *SMALL, "--deck", deck)
    assert_well_told(demo)
    assert "own.csv: 4 rows; 1 unusable" in demo.stdout
    assert "line 3, Rate: no price_per_minute [missing]" in demo.stdout
    assert "ILLUSTRATIVE" not in demo.stdout


def test_a_real_price_list_runs(shared_data: Path):
    demo = run("demo.py", *SMALL, "--deck", shared_data / "data" / "sdf-outbound-rates.csv")
    assert_well_told(demo)
    assert "27,523 rows; 9 unusable" in demo.stdout
    assert count(demo, "were answered, ", " of them cut by money") > 0


def test_a_deck_that_is_no_deck_is_refused(tmp_path: Path):
    deck = tmp_path / "list.csv"
    deck.write_text("who,what\na,b\n", encoding="utf-8")
    demo = run("demo.py", *SMALL, "--deck", deck)
    assert demo.returncode == 2
    assert demo.stderr.startswith("demo: header: has no column for prefix and price_per_minute")
