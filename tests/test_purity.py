"""The domain is pure, secrets have one source, money meets no float: all read, nothing run."""

import ast
from collections.abc import Iterator

import pytest

from tests.source_tree import imports, lines_for_typing, read_sources
from tests.test_layers import DOMAIN_LAYERS, TESTING, entry

DOMAIN = {name for names in DOMAIN_LAYERS for name in names}

# What the domain may not import: clocks, randomness, files, networks, threads, logs.
IMPURE = {
    "asyncio",
    "logging",
    "multiprocessing",
    "os",
    "psycopg",
    "random",
    "secrets",
    "socket",
    "sqlite3",
    "subprocess",
    "threading",
    "time",
}

# Who alone may import these at run time, in the whole package (TESTING aside).
ONLY_FOR = {
    "babel": {"locales", "money"},
    "moneyed": {"money"},
    "phonenumbers": {"numberplans", "numberplaces"},
    "secrets": {"engine", "keyring"},
}

# Where the domain may break a rule of IMPURE: each row needs its reason.
ALLOWED = {
    ("csvfiles", "os"),  # os.PathLike only
    ("deckfiles", "os"),  # os.PathLike only
    ("workbooks", "os"),  # os.PathLike only
    ("keyring", "os"),  # a key file is made and read with its permissions in one step
    ("keyring", "secrets"),  # new keys are made here, from the system's own source
}

# What asks the machine for the time, called or handed on.
CLOCKS = {
    "date.today",
    "datetime.now",
    "datetime.today",
    "datetime.utcnow",
    "time.monotonic",
    "time.time",
    "time.time_ns",
}

# Methods that turn an instant or a duration into a float.
FLOAT_METHODS = {
    "timestamp": "count whole units: (instant - epoch) // timedelta(microseconds=1)",
    "total_seconds": "count whole units: duration // timedelta(microseconds=1)",
}

# These face people and test runners, and may hold a float (a pause, a progress figure).
FLOATS_ALLOWED = {"cli", TESTING}


def violations(module: str, source: str) -> Iterator[str]:
    home = entry(module) or module
    typing_only = lines_for_typing(source)
    for line, target in imports(module, source):
        name = target.split(".")[0]
        if home in DOMAIN and name in IMPURE and (home, name) not in ALLOWED:
            yield f"{module}, line {line}: the domain must not import {name}"
        alone = ONLY_FOR.get(name, {home})
        if home not in {*alone, TESTING} and line not in typing_only:
            yield f"{module}, line {line}: only {sorted(alone)} may import {name}"
    for node in ast.walk(ast.parse(source)):
        where = f"{module}, line {getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Attribute):
            name = ".".join(ast.unparse(node).split(".")[-2:])
            if home in DOMAIN and name in CLOCKS:
                yield f"{where}: {name} asks the machine for the time; take it as an argument"
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            method = called.split(".")[-1]
            if home in DOMAIN and "." in called and method in FLOAT_METHODS:
                yield f"{where}: {method}() is a float; {FLOAT_METHODS[method]}"
            if home not in FLOATS_ALLOWED and called == "float":
                yield f"{where}: float() loses money"
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, float | complex)
            and home not in FLOATS_ALLOWED
        ):
            yield f"{where}: {node.value!r} is a float; write an int, or Decimal from a string"


def test_the_sources_are_pure():
    found = [
        line for module, source in read_sources().items() for line in violations(module, source)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("rating", "import random", "must not import random"),
        ("rating", "def f():\n    from os.path import join", "line 2: the domain must not"),
        ("cards.holds", "import threading", "must not import threading"),
        ("cards.__init__", "import logging", "must not import logging"),
        ("pins", "import secrets", "only ['engine', 'keyring'] may import secrets"),
        ("storage.memory", "import secrets", "only ['engine', 'keyring'] may import secrets"),
        ("engine", "from moneyed import Money", "only ['money'] may import moneyed"),
        ("cards", "now = datetime.now(UTC)", "asks the machine for the time"),
        ("cards", "import datetime\nnow = datetime.datetime.utcnow()", "asks the machine"),
        ("cards", "today = date.today()", "asks the machine for the time"),
        ("cards", "def f(clock=datetime.now): ...", "asks the machine for the time"),
        ("cards", "seconds = (end - start).total_seconds()", "total_seconds() is a float"),
        ("rating", "price = float(units)", "float() loses money"),
        ("rating", "share = 0.5", "0.5 is a float"),
        ("storage.sqlite", "timeout = 1e3", "1000.0 is a float"),
        ("contrib.fastagi", "wait = 2.5", "2.5 is a float"),
    ],
)
def test_the_check_finds_a_violation(module: str, source: str, complaint: str):
    found = list(violations(module, source))
    assert any(complaint in line for line in found), found


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("keyring", "import secrets"),
        ("money", "from moneyed import Money\nfrom babel.numbers import format_currency"),
        ("plans", "if TYPE_CHECKING:\n    from moneyed import Money"),
        ("engine", "import os, threading\nnow = datetime.now(UTC)"),
        ("cli", "width = float(1) / 2.5"),
        ("testing.fakes", "import random, time\npause = 0.01"),
        ("rating", "if isinstance(value, float):\n    raise TypeError"),
    ],
)
def test_what_is_allowed_passes(module: str, source: str):
    assert list(violations(module, source)) == []
