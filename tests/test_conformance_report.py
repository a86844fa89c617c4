"""What an author of a store sees: omissions that must be declared, and the report of pytest."""

import json
import subprocess
import sys
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, ClassVar

import pytest

from cardbill.storage.memory import MemoryStorage
from cardbill.testing import StorageContract
from cardbill.testing.conformance.aio import AsyncStorageContract
from cardbill.testing.conformance.crew import Crew
from cardbill.testing.conformance.declaring import checks
from tests.source_tree import ROOT
from tests.test_docs_examples import python_blocks

SUITE = """
import pytest

from cardbill.storage.memory import MemoryStorage
from cardbill.testing import StorageContract


class Forgetful(MemoryStorage):
    def calls_by_id(self, call):
        return []


class InMemory(StorageContract):
    durable = shared = False
    omits = {"histories": "tried elsewhere", "races": "one thread only"}
    store_class = MemoryStorage

    @pytest.fixture
    def open_store(self):
        store = self.store_class()
        return lambda: store


class TestSound(InMemory):
    def test_it_is_mine(self, store):
        "A check of the store's own."


class TestForgetful(InMemory):
    omits = {"test_jobs_come_by_key": "there are no jobs"}
    store_class = Forgetful


def test_something_else():
    pass
"""


WAITING = """
import threading

import pytest

from cardbill.storage.memory import MemoryStorage
from cardbill.testing import StorageContract


class KeepsItsLock(MemoryStorage):
    "Whoever raises an error in a step leaves the store locked."

    def __init__(self):
        super().__init__()
        self.pen = threading.Lock()

    def transact(self, card, decide, *, key=None, seen=None):
        self.pen.acquire()
        answer = super().transact(card, decide, key=key)
        self.pen.release()
        return answer


class TestWaiting(StorageContract):
    durable = shared = False
    patience = 1

    @pytest.fixture
    def open_store(self):
        store = KeepsItsLock()
        return lambda: store
"""


MARKED = """\
    store_class = Forgetful

    @pytest.mark.xfail(reason="known")
    def test_calls_are_found_by_id(self, store):
        super().test_calls_are_found_by_id(store)
"""


def run(folder: Path, *options: str, suite: str = SUITE) -> subprocess.CompletedProcess[str]:
    """Run a suite as its author would, every warning an error."""
    (folder / "test_stores.py").write_text(suite, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n", encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options],
        check=False,
        capture_output=True,
        cwd=folder,
        text=True,
        timeout=100,
    )


def results(store: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {check["check"]: (check["result"], check["reason"]) for check in store["checks"]}


@pytest.fixture(scope="module")
def reported(tmp_path_factory) -> tuple[str, dict[str, Any]]:
    """What a run said, and its report."""
    folder = tmp_path_factory.mktemp("suite")
    done = run(folder, "--cardbill-report", "report.json")
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout, json.loads((folder / "report.json").read_text(encoding="utf-8"))


# -- the report ---------------------------------------------------------------------------


def test_each_check_of_each_store_is_told(reported):
    _, report = reported
    assert (report["format"], report["contract"]) == (1, 1)
    forgetful, sound = report["stores"]
    assert sound["store"] == "test_stores.py::TestSound"
    assert forgetful["store"] == "test_stores.py::TestForgetful"
    assert (sound["durable"], sound["shared"], sound["rounds"]) == (False, False, 1)
    assert (sound["complete"], forgetful["complete"]) == (True, False)
    assert results(sound).keys() == {*checks(StorageContract), "test_it_is_mine"}
    assert results(forgetful).keys() == checks(StorageContract).keys()
    assert results(sound)["test_calls_are_found_by_id"] == ("passed", "")
    result, reason = results(forgetful)["test_calls_are_found_by_id"]
    assert (result, "assert" in reason.lower()) == ("failed", True)
    for store in report["stores"]:
        told = [result for result, _ in results(store).values()]
        assert store["counts"] == {each: told.count(each) for each in store["counts"]}
    (mine,) = [check for check in sound["checks"] if check["part"] == "own"]
    assert (mine["check"], mine["promise"]) == ("test_it_is_mine", "A check of the store's own.")
    assert all(check["promise"] for check in sound["checks"])


def test_what_was_omitted_is_told_with_the_reason(reported):
    said, report = reported
    forgetful, sound = report["stores"]
    for store in (forgetful, sound):
        for check in store["checks"]:
            if check["part"] == "races":
                assert (check["result"], check["reason"]) == ("omitted", "one thread only")
    jobs = "test_jobs_come_by_key"
    assert results(forgetful)[jobs] == ("omitted", "there are no jobs")
    assert results(sound)[jobs] == ("passed", "")
    assert "  omitted races: one thread only" in said
    assert f"  omitted {jobs}: there are no jobs" in said
    assert "  omitted processes: this store says that processes cannot share it" in said
    assert "  failed test_calls_are_found_by_id: " in said


def test_workers_tell_the_same(reported, tmp_path):
    pytest.importorskip("xdist", reason="workers are pytest-xdist's")
    _, alone = reported
    done = run(tmp_path, "-n", "2", "--cardbill-report", "report.json")
    assert done.returncode == 1, done.stdout + done.stderr
    shared = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    for report in (alone, shared):
        for store in report["stores"]:
            for check in store["checks"]:
                del check["seconds"]
    assert shared == alone


def test_a_check_that_waits_for_ever_fails_and_says_where(tmp_path):
    named = "error_in_a_step or an_old_view_raises_nothing or jobs or every_audit_row"
    done = run(tmp_path, "-k", named, "--cardbill-report", "report.json", suite=WAITING)
    assert done.returncode == 1, done.stdout + done.stderr
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    (store,) = report["stores"]
    waited = "test_an_error_in_a_step_goes_to_the_caller"
    result, reason = results(store)[waited]
    assert (result, "it has not ended after 1 s" in reason) == ("failed", True)
    assert results(store)["test_every_audit_row_follows_one_other"] == ("passed", "")
    assert "self.pen.acquire()" in done.stdout


def test_what_did_not_run_is_not_passed_over(tmp_path):
    done = run(tmp_path, "-k", "TestSound and jobs", "--cardbill-report", "report.json")
    assert done.returncode == 0, done.stdout + done.stderr
    (store,) = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["stores"]
    assert not store["complete"]
    assert store["counts"]["not run"] == len(checks(StorageContract)) - 1
    assert f"1 passed, {store['counts']['not run']} not run of" in done.stdout


def test_a_check_marked_as_one_that_fails_has_failed(tmp_path):
    marked = SUITE.replace("    store_class = Forgetful", MARKED)
    options = ("-k", "TestForgetful and test_calls_are_found", "--cardbill-report", "report.json")
    done = run(tmp_path, *options, suite=marked)
    assert done.returncode == 0, done.stdout + done.stderr
    (store,) = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["stores"]
    told = results(store)["test_calls_are_found_by_id"]
    assert told == ("failed", "marked as one that fails: known")
    assert not store["complete"]


def test_the_example_of_the_documentation_holds_a_store(tmp_path):
    page = ROOT / "docs" / "how-to" / "prove-a-store.md"
    example = next(python_blocks(page.read_text(encoding="utf-8"))).code
    options = ("-k", "jobs or killed_in_a_step", "--cardbill-report", "report.json")
    done = run(tmp_path, *options, suite=example)
    assert done.returncode == 0, done.stdout + done.stderr
    (store,) = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["stores"]
    assert store["counts"]["passed"] == 2


# -- other people's pytest ----------------------------------------------------------------


def test_the_plugin_is_found_by_pytest():
    found = {each.name: each.value for each in entry_points(group="pytest11")}
    assert found["cardbill"] == "cardbill.testing.plugin"


LIGHT = """
import sys

def test_what_is_loaded():
    ours = {name for name in sys.modules if name.startswith("cardbill")}
    assert ours == {"cardbill", "cardbill.testing", "cardbill.testing.plugin"}
    assert "hypothesis" not in sys.modules
"""


def test_the_plugin_costs_a_run_without_stores_nothing(tmp_path):
    done = run(tmp_path, suite=LIGHT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "cardbill:" not in done.stdout


def test_the_suite_does_without_the_plugin(tmp_path):
    done = run(tmp_path, "-p", "no:cardbill", "-k", "TestSound and jobs")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "held to the contract" not in done.stdout


def test_a_report_is_written_where_there_is_nothing_to_tell(tmp_path):
    done = run(tmp_path, "-k", "something_else", "--cardbill-report", "report.json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["stores"] == []
    assert "no test of a StorageContract was run" in done.stdout


# -- what is declared ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("omits", "complaint"),
    [
        ({"test_nothing_at_all": "because"}, "no check or part 'test_nothing_at_all'"),
        ({"Races": "because"}, "no check or part 'Races'"),
        ({"races": " "}, "'races' needs a reason"),
    ],
)
def test_an_omission_that_says_nothing_is_refused(omits, complaint):
    with pytest.raises(TypeError, match=complaint):
        type("TestIt", (StorageContract,), {"omits": omits})


def test_a_class_omits_what_those_above_it_do():
    class TestIt(AsyncStorageContract):
        omits: ClassVar = {"races": "because"}

    assert TestIt.omits.keys() == {*AsyncStorageContract.omits, "races"}
    assert "races" not in AsyncStorageContract.omits


def test_a_store_that_no_other_process_can_open_is_told_so():
    store = MemoryStorage()
    with pytest.raises(pytest.fail.Exception, match=r"must pickle.*shared = False"):
        Crew().begin(lambda: store, print, [()])


def test_what_goes_wrong_in_another_process_is_told():
    crew = Crew()
    try:
        with pytest.raises(AssertionError, match=r"(?s)process of its own.*ZeroDivisionError"):
            crew.rush(partial(MemoryStorage), divide, [()])
        assert crew.rush(partial(MemoryStorage), answer, [(1,), (2,)]) == [1, 2]
    finally:
        crew.dismiss()


def divide(_store: Any, _say: Any) -> float:
    return 1 / 0


def answer(_store: Any, _say: Any, number: int) -> int:
    return number
