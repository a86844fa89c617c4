"""The pytest fixtures, in test runs of their own, and the page that shows them."""

import subprocess
import sys
from pathlib import Path

from tests.source_tree import ROOT
from tests.test_docs_examples import python_blocks

PAGE = ROOT / "docs" / "how-to" / "test-your-application.md"

TESTS = """
import pytest
from cardbill.errors import StorageUnavailable
from cardbill.testing import START, Fault, Terms, make_batch

def test_an_engine_has_nothing_published(cardbill_engine, cardbill_clock, cardbill_storage):
    assert cardbill_engine.plans.names() == []
    assert cardbill_engine.storage is cardbill_storage
    assert cardbill_clock.now == START

@pytest.mark.parametrize("turn", [1, 2])
def test_nothing_is_shared_between_tests(cardbill_shop, cardbill_clock, turn):
    assert cardbill_clock.now == START
    assert cardbill_shop.bill.card("TEST/1").balance_units == 5_000_000
    cardbill_shop.talk(60)
    assert cardbill_shop.bill.card("TEST/1").balance_units == 4_940_000

def test_the_store_fails_as_it_is_told(cardbill_shop, cardbill_faults):
    cardbill_faults.next("transact", Fault.REFUSED)
    with pytest.raises(StorageUnavailable):
        cardbill_shop.grant()
    assert cardbill_shop.grant().granted

class TestOtherTerms:
    @pytest.fixture
    def cardbill_terms(self):
        return Terms(batch=make_batch(name="MINE", quantity=1))

    def test_terms_can_be_replaced(self, cardbill_shop):
        assert cardbill_shop.card_id() == "MINE/1"
        assert cardbill_shop.talk(60).card_id == "MINE/1"
"""

CONFTEST = """
from hypothesis import settings

settings.register_profile("few", max_examples=25, derandomize=True)
settings.load_profile("few")
pytest_plugins = ["cardbill.testing.fixtures"]
"""


def run_tests(folder: Path, tests: str) -> str:
    """Run a file of tests in a process of its own; return what pytest says at the end."""
    (folder / "test_application.py").write_text(tests, encoding="utf-8")
    (folder / "conftest.py").write_text(CONFTEST)
    options = ["-q", "-W", "error", "-p", "no:cacheprovider", "-p", "no:xdist"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "--rootdir", folder, folder],
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
        cwd=folder,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()[-1]


def test_the_fixtures_make_a_business_for_each_test(tmp_path: Path):
    assert run_tests(tmp_path, TESTS).startswith("5 passed")


def test_the_tests_of_the_page_pass_and_find_its_bug(tmp_path: Path):
    blocks = [block.code for block in python_blocks(PAGE.read_text(encoding="utf-8"))]
    blocks = [block for block in blocks if "pytest_plugins" not in block]
    # The terms that are shown in between are for what comes after them.
    assert run_tests(tmp_path, "\n".join(blocks)).startswith("5 passed, 1 xfailed")


def test_the_usual_terms_suit_the_page_too(tmp_path: Path):
    """What is shown before the page's own terms holds without them, as the page says."""
    text = PAGE.read_text(encoding="utf-8")
    before = text[: text.index("## Your own terms")]
    blocks = [block.code for block in python_blocks(before) if "pytest_plugins" not in block.code]
    assert run_tests(tmp_path, "\n".join(blocks)).startswith("2 passed")
