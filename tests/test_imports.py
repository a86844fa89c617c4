"""What is imported, and when: who starts a process for each call pays for it each time."""

import inspect
import json
import subprocess
import sys

from cardbill import Engine, disclose

CALLS = """
import json, sys, cardbill
with cardbill.open("memory:", keyring=cardbill.Keyring.generate()) as bill:
    bill.authenticate(pin="1234567890")
print(json.dumps([name for name in sys.modules if name.startswith("cardbill.")]))
"""
NOT_FOR_CALLS = """
    audit evidence disclosing explaining feewords posters quoting recounting statements stating
"""


def test_calls_import_nothing_that_only_people_ask_for():
    done = subprocess.run([sys.executable, "-c", CALLS], capture_output=True, check=True)
    loaded = json.loads(done.stdout)
    assert "cardbill.engine" in loaded
    for name in NOT_FOR_CALLS.split():
        assert f"cardbill.{name}" not in loaded


def test_what_is_told_of_a_card_by_default_is_told_by_the_engine_too():
    """Its default is written out, so that it need not import the module."""
    ours, theirs = (
        inspect.signature(each).parameters["calls_of"].default
        for each in (Engine.disclose, disclose)
    )
    assert ours == theirs
