"""The vector runner: green on what it ships, red on any difference, on its own two feet."""

import copy
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from cardbill.testing import vectors

Vector = dict[str, Any]

STEP = {"from_second": 0, "price_per_minute": "0.60", "increment": 6}
SOUND: Vector = {
    "id": "own-1",
    "group": "price",
    "rate": {
        "connect_fee": "0.10",
        "steps": [STEP],
        "free_seconds": 0,
        "minimum_charge": "0",
        "rounding": {"decimals": 4, "mode": "up"},
    },
    "seconds": 31,
    "price": "0.46",
    "billed_seconds": 36,
}
BAND = {"price": "0.01", "per_seconds": 1, "increment": 1, "connect_fee": "0.10"}
SPLIT: Vector = {
    "id": "own-9",
    "group": "bands_split",
    "bands": [
        {**BAND, "weekdays": [1], "start": "00:00:00"},
        {**BAND, "weekdays": [1, 2], "start": "22:30:00", "price": "0.02"},
        {**BAND, "weekdays": [2], "start": "00:00:00", "price": "0.03"},
    ],
    "time_zone": "Asia/Kathmandu",
    "start": "2025-03-03T22:29:50+05:45",
    "seconds": 5410,
    "price": "108.20",  # connected, 10 s at 0.01, 5,400 s at 0.02, and no second yet at 0.03
    "rounding": {"decimals": 4, "mode": "up"},
}

# What an installation without the extras lacks: a name that maps to None cannot be imported.
EXTRAS = ("pytest", "_pytest", "hypothesis", "numpy", "pyarrow", "psycopg")
BARE = f"""
import runpy, sys
sys.modules.update(dict.fromkeys({EXTRAS!r}))
runpy.run_module("cardbill.testing.vectors", run_name="__main__", alter_sys=True)
"""


def run(
    *arguments: object, how: Sequence[str] = ("-m", "cardbill.testing.vectors")
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *how, *map(str, arguments)],
        capture_output=True,
        check=False,
        encoding="utf-8",
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        timeout=60,
    )


def altered(**changes: Any) -> Vector:
    """Return the sound vector with changed entries; ``None`` takes one out."""
    vector = copy.deepcopy(SOUND)
    vector.update(changes)
    return {name: value for name, value in vector.items() if value is not None}


def with_terms(**changes: Any) -> Vector:
    return altered(rate={**SOUND["rate"], **changes})


@pytest.fixture
def judge(tmp_path: Path, capsys) -> Callable[..., tuple[int, str]]:
    """Return the exit status and all that is printed for a file of these vectors."""

    def judged(*found: object) -> tuple[int, str]:
        file = tmp_path / "own.json"
        file.write_text(json.dumps(found), encoding="utf-8")
        status = vectors.main([str(file)])
        printed = capsys.readouterr()
        return status, printed.out + printed.err

    return judged


def loaded(file: Path) -> list[Vector]:
    content = json.loads(file.read_text(encoding="utf-8"))
    assert isinstance(content, list)
    return content


# -- as a program ------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [("-m", "cardbill.testing.vectors"), ("-c", BARE)])
def test_what_ships_passes_with_or_without_the_extras(how):
    finished = run(how=how)
    assert (finished.returncode, finished.stderr) == (0, "")
    lines = [line.split() for line in finished.stdout.splitlines()]
    assert ["price", "366", "passed", "0", "failed"] in lines
    assert ["max_duration", "224", "passed", "0", "failed"] in lines
    assert ["documented", "21", "passed", "0", "failed"] in lines
    assert ["bands_split", "19", "passed", "0", "failed"] in lines
    assert lines[-1] == ["vectors:", "788", "passed,", "0", "failed"]


def test_one_wrong_price_among_hundreds_is_found_and_shown(tmp_path):
    shipped = loaded(vectors.DATA / "rating.json")
    priced = [vector for vector in shipped if vector["group"] == "price"]
    priced[200]["price"] = "77.000001"
    file = tmp_path / "rating.json"
    file.write_text(json.dumps(shipped), encoding="utf-8")
    finished = run(file)
    assert finished.returncode == 1
    shown = [line for line in finished.stdout.splitlines() if priced[200]["id"] in line]
    assert len(shown) == 1
    assert "price is " in shown[0]
    assert "expected 77000001" in shown[0]
    assert finished.stdout.splitlines()[-1] == "vectors: 766 passed, 1 failed"


def test_a_missing_file_is_said(tmp_path):
    finished = run(tmp_path / "nowhere.json")
    assert finished.returncode == 1
    assert "nowhere.json" in finished.stderr
    assert "Traceback" not in finished.stderr
    assert finished.stdout == ""


# -- the reference data ------------------------------------------------------------------------


def test_the_reference_vectors_pass(shared_data: Path, capsys):
    files = sorted((shared_data / "vectors").glob("*.json"))
    assert [file.name for file in files] == ["documented.json", "rating.json"]
    tally = vectors.run(files)
    assert tally.ok
    assert tally.differences == []
    assert not tally.failed
    assert not tally.unknown
    in_files = Counter(vector["group"] for file in files for vector in loaded(file))
    assert tally.passed == in_files
    assert vectors.main([str(file) for file in files]) == 0
    assert capsys.readouterr().out.endswith(f"vectors: {tally.passed.total()} passed, 0 failed\n")


def test_the_packaged_vectors_are_the_reference_vectors(shared_data: Path):
    assert [file.name for file in vectors.packaged()] == ["documented.json", "rating.json"]
    for file in vectors.packaged():
        assert loaded(file) == loaded(shared_data / "vectors" / file.name)


@pytest.mark.parametrize("expectation", ["price", "billed_seconds", "max_seconds"])
def test_each_expectation_of_each_vector_counts(expectation):
    # Whatever a vector expects: one unit or second more or less, and it fails.
    tried = 0
    for file in vectors.packaged():
        for vector in loaded(file):
            if expectation not in vector:
                continue
            tried += 1
            assert vectors.check(vector) == ""
            for by in (-1, 1):
                wrong = dict(vector)
                if expectation == "price":
                    units = Decimal(vector["price"]) + by * Decimal("0.000001")
                    wrong["price"] = f"{units:f}"
                else:
                    wrong[expectation] += by
                assert f"{expectation} is " in vectors.check(wrong)
    assert tried > 20


# -- the verdict -------------------------------------------------------------------------------


def test_a_sound_vector_passes(judge):
    assert judge(SOUND) == (
        0,
        "price                1 passed     0 failed\nvectors: 1 passed, 0 failed\n",
    )


def banded(place: int = 1, **changes: Any) -> Vector:
    """Return the sound vector of bands with one of them changed; ``None`` takes a term out."""
    bands = [dict(band) for band in SPLIT["bands"]]
    bands[place] = {k: v for k, v in {**bands[place], **changes}.items() if v is not None}
    return {**SPLIT, "bands": bands}


def split(**changes: Any) -> Vector:
    return {k: v for k, v in {**SPLIT, **changes}.items() if v is not None}


def test_bands_of_the_week_are_run_as_a_deck_that_splits_calls(judge):
    assert judge(SPLIT)[0] == 0
    assert judge(split(seconds=5411, price="108.23"))[0] == 0
    assert judge(split(seconds=10, price="0.20"))[0] == 0
    assert judge(split(billed_seconds=5410))[0] == 0
    assert judge(banded(0, per_seconds=2, increment=4))[0] == 1


@pytest.mark.parametrize("group", ["prices", "PRICE", "", None, 7, ["price"], "bands"])
def test_an_unknown_group_is_no_pass(judge, group):
    for found in (altered(group=group), {**SOUND, "group": group}):
        status, printed = judge(SOUND, found)
        assert status == 1
        assert "1 of a group that is not known" in printed
        assert "1 passed" in printed


WRONG: Mapping[str, tuple[Vector, str]] = {
    "price": (altered(price="0.47"), "price is 460000, expected 470000"),
    "price in units": (altered(price="0.460001"), "price is 460000, expected 460001"),
    "billed": (altered(billed_seconds=31), "billed_seconds is 36, expected 31"),
    "both": (altered(price="1", billed_seconds=1), "; billed_seconds is 36, expected 1"),
    "documented": (altered(group="documented", price="1"), "price is 460000"),
    "tiers": (altered(group="tiers", price="1"), "price is 460000"),
    "max_seconds": (
        altered(group="max_duration", available="1", max_seconds=91),
        "max_seconds is 90, expected 91",
    ),
    "max_seconds unlimited": (
        altered(available="1", max_seconds=None) | {"max_seconds": None},
        "max_seconds is 90, expected None",
    ),
    "max_seconds of no money": (altered(max_seconds=5), "max_seconds is None, expected 5"),
    "no end expected, no money told": (
        {**altered(seconds=None, price=None, billed_seconds=None), "max_seconds": None},
        "own-1",
    ),
    "price of no seconds": (altered(seconds=None), "price is None"),
    "expects nothing": (altered(price=None, billed_seconds=None), "expects nothing"),
    "seconds are a float": (altered(seconds=31.0), "cannot be run"),
    "seconds are text": (altered(seconds="31"), "cannot be run"),
    "seconds are negative": (altered(seconds=-1), "cannot be run"),
    "available is a float": (altered(available=1.5, max_seconds=1), "cannot be run"),
    "no rate": (altered(rate=None), "cannot be run"),
    "rate is text": (altered(rate="0.60"), "cannot be run"),
    "rate is a list": (altered(rate=[1]), "cannot be run"),
    "no rounding": (with_terms(rounding=None), "cannot be run"),
    "rounding too fine": (with_terms(rounding={"decimals": 7, "mode": "up"}), "cannot be run"),
    "rounding unheard of": (with_terms(rounding={"decimals": 4, "mode": "x"}), "cannot be run"),
    "no steps": (with_terms(steps=[]), "cannot be run"),
    "steps are numbers": (with_terms(steps=[1]), "cannot be run"),
    "a step late": (with_terms(steps=[{**STEP, "from_second": 1}]), "cannot be run"),
    "a fee is a float": (with_terms(connect_fee=0.1), "cannot be run"),
    "a fee too fine": (with_terms(connect_fee="0.0000001"), "cannot be run"),
    "price expected is a float": (altered(price=0.46), "own-1"),
    "price expected too fine": (altered(price="0.4600001"), "own-1"),
    "price expected is no number": (altered(price="free"), "own-1"),
    "bands": ({**SPLIT, "id": "own-1", "price": "108.21"}, "price is 108200000"),
    "no bands": (split(id="own-1", bands=None), "cannot be run"),
    "bands are text": (split(id="own-1", bands="Mon"), "cannot be run"),
    "bands in no zone": (split(id="own-1", time_zone="Mars/Base"), "cannot be run"),
    "bands of no day": ({**banded(weekdays=[0]), "id": "own-1"}, "cannot be run"),
    "bands alike": ({**banded(start="00:00:00"), "id": "own-1"}, "cannot be run"),
    "a band at a second": ({**banded(start="22:30:01"), "id": "own-1"}, "cannot be run"),
    "a band without a price": ({**banded(price=None), "id": "own-1"}, "cannot be run"),
    "a band of no seconds": ({**banded(per_seconds=0), "id": "own-1"}, "cannot be run"),
    "a price per odd seconds": ({**banded(per_seconds=7), "id": "own-1"}, "cannot be run"),
    "a band's term nobody knows": ({**banded(discount="0.1"), "id": "own-1"}, "cannot be run"),
    "no band at the start": (
        split(id="own-1", start="2025-03-05T12:00:00+05:45"),
        "no band at the start",
    ),
    "start is no instant": (split(id="own-1", start="Monday"), "cannot be run"),
    "a term nobody knows": (with_terms(weekend_discount="0.10"), "own-1"),
    "a step term nobody knows": (with_terms(steps=[{**STEP, "discount": "0.1"}]), "own-1"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_difference_is_a_failure_that_is_shown_by_its_id(judge, case):
    wrong, message = WRONG[case]
    status, printed = judge(SOUND, wrong, {**SOUND, "id": "own-2"})
    assert status == 1
    assert message in printed
    assert "own-1" in printed
    assert "own-2" not in printed
    assert printed.endswith("vectors: 2 passed, 1 failed\n")


def test_terms_that_rates_have_and_vectors_may_have_are_used_or_refused(judge):
    # Grace is a term of vectors. So must end fee and surcharge be, or be no silent nothing.
    assert judge(with_terms(grace_seconds=30))[0] == 0
    status, _ = judge(altered(rate={**SOUND["rate"], "grace_seconds": 31}))
    assert status == 1
    for term, value in (("end_fee", "0.01"), ("surcharge_percent", "10")):
        assert judge(with_terms(**{term: value}))[0] == 1, term


def test_only_the_first_differences_are_printed(judge):
    wrong = [altered(id=f"own-{n}", price="9") for n in range(25)]
    status, printed = judge(*wrong)
    assert status == 1
    assert printed.count("price is 460000, expected 9000000") == 10
    assert "... and 15 more" in printed
    assert printed.endswith("vectors: 0 passed, 25 failed\n")


def test_nothing_to_run_is_no_pass(judge):
    assert judge()[0] == 1


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"[", b"{}", b'{"group": "price"}', b"3", b"null", b'"text"', b"[1]", b"[[]]"),
        *(b"[null]", b'["price"]', b"\xff\xfe[\x00]\x00", b'[{"id": "\xe9"}]', b"\x00"),
    ],
)
def test_a_file_that_holds_no_list_of_objects_is_said(content, tmp_path, capsys):
    file = tmp_path / "bad.json"
    file.write_bytes(content)
    assert vectors.main([str(file)]) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("vectors: ")
    assert printed.out == ""


def test_a_folder_is_no_file(tmp_path, capsys):
    assert vectors.main([str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("vectors: ")


def test_a_bad_file_is_named_even_among_good_ones(tmp_path, capsys):
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text(json.dumps([SOUND]), encoding="utf-8")
    for content in ("{}", "[", "[1]"):
        bad.write_text(content, encoding="utf-8")
        assert vectors.main([str(good), str(bad)]) == 1
        assert "bad.json" in capsys.readouterr().err


def test_several_files_count_together(tmp_path, capsys):
    names = [tmp_path / f"{n}.json" for n in range(3)]
    for name in names:
        name.write_text(json.dumps([SOUND]), encoding="utf-8")
    assert vectors.main([str(name) for name in names]) == 0
    assert capsys.readouterr().out.endswith("vectors: 3 passed, 0 failed\n")
