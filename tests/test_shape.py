"""The shape of the package: what importing it costs, what is public, how it is described."""

import copy
import enum
import importlib
import inspect
import json
import pickle
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from moneyed import USD, Money

import cardbill
from cardbill import errors
from cardbill.errors import CardbillError
from tests.building import UK, open_shop

HEAVY = {
    "attr",
    "attrs",
    "asyncio",
    "babel",
    "cryptography",
    "dateutil",
    "decimal",
    "hypothesis",
    "moneyed",
    "numpy",
    "openpyxl",
    "phonenumbers",
    "psycopg",
    "pyarrow",
    "pytest",
    "sqlite3",
    "zoneinfo",
}


def run(script: str, *arguments: str) -> Any:
    """Run a script in a fresh interpreter; return what it printed as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def top(modules: list[str]) -> set[str]:
    return {name.split(".")[0] for name in modules}


# -- importing ----------------------------------------------------------------------------------


def test_importing_the_package_loads_nothing_heavy():
    loaded = run("""
        import sys
        before = set(sys.modules)
        import cardbill, json
        print(json.dumps(sorted(set(sys.modules) - before)))
    """)
    assert "cardbill" in loaded
    assert top(loaded) & HEAVY == set()
    assert [name for name in loaded if name.startswith("cardbill.")] == []


@pytest.mark.parametrize(
    ("use", "absent"),
    [
        ("cardbill.errors", {"attrs", "moneyed", "babel", "cryptography", "sqlite3"}),
        ("cardbill.Denial", {"moneyed", "babel", "cryptography", "sqlite3"}),
        ("cardbill.Engine", {"babel", "cryptography", "sqlite3", "asyncio", "numpy", "psycopg"}),
        (
            "cardbill.open('memory:', keyring=cardbill.Keyring.generate())",
            {"babel", "sqlite3", "asyncio", "numpy", "phonenumbers", "psycopg", "pyarrow"},
        ),
        (
            "cardbill.open_storage('sqlite:///' + sys.argv[1]).close()",
            {"babel", "cryptography", "asyncio", "numpy", "psycopg"},
        ),
    ],
)
def test_what_is_not_used_is_not_loaded(tmp_path: Path, use: str, absent: set[str]):
    loaded = run(
        f"""
        import sys
        import cardbill, json
        {use}
        print(json.dumps(sorted(sys.modules)))
        """,
        str(tmp_path / "cards.db"),
    )
    assert top(loaded) & absent == set()


def test_importing_opens_reads_and_starts_nothing():
    """Only code is read: a switch forks its workers after the import."""
    seen = run("""
        import sys, threading, json, pkgutil, importlib
        import attrs, moneyed, sqlite3, cryptography, zoneinfo, argparse, asyncio, babel.numbers
        import cryptography.hazmat.primitives.ciphers.aead
        seen = []
        def hook(event, arguments):
            if event.startswith(("socket.", "subprocess.", "sqlite3.", "os.fork", "os.mkdir",
                                 "tempfile.", "_thread.start")):
                seen.append([event, repr(arguments)])
            elif event == "open":
                path, mode = str(arguments[0]), arguments[1]
                if not path.endswith((".py", ".pyc")) and path not in sys.path:
                    seen.append([event, path])
        sys.addaudithook(hook)
        import cardbill
        for module in pkgutil.walk_packages(cardbill.__path__, "cardbill."):
            if not module.name.startswith("cardbill.testing"):
                importlib.import_module(module.name)
        for name in cardbill.__all__:
            getattr(cardbill, name)
        assert threading.active_count() == 1
        print(json.dumps(seen))
    """)
    # The version is looked up in the installed metadata, when it is asked for.
    assert [entry for entry in seen if "dist-info" not in entry[1]] == []


# -- public names -------------------------------------------------------------------------------


def test_every_public_name_is_there_and_said_once():
    assert cardbill.__all__ == sorted(set(cardbill.__all__), key=cardbill.__all__.index)
    for name in cardbill.__all__:
        assert getattr(cardbill, name) is not None
    assert set(cardbill.__all__) <= set(dir(cardbill))
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        cardbill.nope  # noqa: B018


def test_every_lazy_name_is_public():
    lazy = {name for names in cardbill._HOMES.values() for name in names}
    assert lazy | {"__version__", "errors"} == set(cardbill.__all__)


def test_what_type_checkers_see_is_what_is_there():
    """The names imported for typing are the names that are made at run time."""
    import ast

    assert cardbill.__file__ is not None
    tree = ast.parse(Path(cardbill.__file__).read_text(encoding="utf-8"))
    (block,) = [
        node
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    typed = {
        (alias.asname or alias.name, node.module)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if node.module and node.module.startswith("cardbill")
    }
    made = {
        (name, f"cardbill.{home}") for home, names in cardbill._HOMES.items() for name in names
    } | {("errors", "cardbill")}
    assert typed == made


def test_star_import_gives_the_public_names_only():
    names: dict[str, Any] = {}
    exec("from cardbill import *", names)
    names.pop("__builtins__")
    assert set(names) == set(cardbill.__all__)


def public_classes() -> list[type]:
    found = [getattr(cardbill, name) for name in cardbill.__all__]
    return [thing for thing in found if inspect.isclass(thing)]


# What an engine's attributes are made of.
PARTS = (
    ("shelf", "Collection"),
    ("shelf", "Decks"),
    ("shelf", "Plans"),
    ("shelf", "Carriers"),
    ("shelf", "AccessNumbers"),
    ("callers", "Callers"),
    ("issuing", "Batches"),
    ("reports", "Reports"),
)


def public_functions() -> Iterator[tuple[str, Any]]:
    for name in cardbill.__all__:
        thing = getattr(cardbill, name)
        if inspect.isfunction(thing):
            yield name, thing
        elif inspect.isclass(thing):
            for own, member in inspect.getmembers(thing):
                raw = inspect.getattr_static(thing, own)
                if own.startswith("_"):
                    continue
                if isinstance(raw, property):
                    yield f"{name}.{own}", raw.fget
                elif inspect.isroutine(member) and str(
                    getattr(member, "__module__", "")
                ).startswith("cardbill"):
                    yield f"{name}.{own}", getattr(member, "__func__", member)
    for home, owner in PARTS:
        cls = getattr(importlib.import_module(f"cardbill.{home}"), owner)
        for own, member in inspect.getmembers(cls, inspect.isfunction):
            if not own.startswith("_"):
                yield f"{owner}.{own}", member


def test_every_public_class_is_described():
    for cls in public_classes():
        own = cls.__doc__
        assert own, cls
        assert not own.startswith(f"{cls.__name__}("), cls  # what a dataclass writes by itself
        if issubclass(cls, enum.Enum):
            continue
        for attribute in getattr(cls, "__attrs_attrs__", ()):
            if not attribute.name.startswith("_"):
                assert attribute.name in own, f"{cls.__name__}.{attribute.name} is not described"
            assert attribute.type is not None, f"{cls.__name__}.{attribute.name} has no type"


def test_every_public_function_is_described_and_typed():
    checked = 0
    for name, function in public_functions():
        assert function is not None
        checked += 1
        assert function.__doc__, f"{name} has no docstring"
        first = function.__doc__.strip().splitlines()[0]
        assert first.endswith((".", ":")) or "\n" in function.__doc__, name
        signature = inspect.signature(function)
        if signature.return_annotation is inspect.Signature.empty:
            pytest.fail(f"{name} does not say what it returns")
        for parameter in signature.parameters.values():
            if parameter.name in ("self", "cls"):
                continue
            typed = parameter.annotation is not inspect.Parameter.empty
            assert typed, f"{name}: {parameter.name} has no type"
    assert checked > 60


def test_every_engine_method_names_each_argument():
    for name, function in public_functions():
        owner, _, method = name.partition(".")
        if owner not in ("Engine", "Batches") or not method:
            continue
        arguments = [p for p in inspect.signature(function).parameters if p not in ("self", "at")]
        if len(arguments) < 2 or "Args:" not in function.__doc__:
            continue
        for argument in arguments:
            assert f"{argument}:" in function.__doc__, f"{name}: {argument} is not described"


def test_the_types_are_marked_as_shipped():
    assert cardbill.__file__ is not None
    assert (Path(cardbill.__file__).parent / "py.typed").is_file()


# -- errors -------------------------------------------------------------------------------------


def every_error() -> list[type[CardbillError]]:
    found = [thing for thing in vars(errors).values() if inspect.isclass(thing)]
    return [thing for thing in found if issubclass(thing, CardbillError)]


def test_the_tree_of_errors_is_drawn_as_it_is():
    drawn = errors.__doc__ or ""
    for error in every_error():
        assert error.__doc__, error
        assert f" {error.__name__}" in drawn or drawn.count(error.__name__), error
    lines = [line for line in drawn.splitlines() if "──" in line]
    assert len(lines) == len(every_error()) - 1


MADE = [
    errors.InvalidInput("field", 5, "is odd"),
    errors.FloatRefused("field", 1.5, "is a float"),
    errors.MissingFields("batch", ["name", "quantity"]),
    errors.InvalidNumber("to", None, "is too short"),
    errors.DeckRefused("deck", [errors.RowProblem(2, "rate", "inexact", "too fine")]),
    errors.UnknownName("card", "B/1"),
    errors.DuplicateName("batch", "B"),
    errors.TermsLocked("locked"),
    errors.CallEnded("c1", "settled"),
    errors.IdempotencyMismatch("c1", ["to", "carrier"]),
    errors.UnknownCall("c1", suspended=True),
    errors.KeyMissing("no key"),
    errors.StorageUnavailable("busy", outcome_unknown=True),
    errors.StorageUnavailable("busy"),
    errors.SchemaTooNew("schema 99"),
]


@pytest.mark.parametrize("error", MADE, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(
    "again", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy], ids=["pickle", "copy"]
)  # fmt: skip
def test_an_error_survives_the_way_from_a_worker_process(error: CardbillError, again: Any):
    """A pool of processes pickles what its workers raise; failing at that, the pool breaks."""
    back = again(error)
    assert type(back) is type(error)
    assert str(back) == str(error)
    assert {name: repr(value) for name, value in vars(back).items()} == {
        name: repr(value) for name, value in vars(error).items()
    }


def test_answers_survive_the_way_from_a_worker_process(tmp_path: Path):
    with open_shop("memory", tmp_path) as shop:
        caller = shop.bill.authenticate(pin=shop.pin())
        grant = shop.grant(to=UK)
        record = shop.bill.settle(grant.handle, talk_ms=60_000, carrier="acme")
        denied = shop.ask("c2", to="1")
        registration = shop.bill.callers.register("B/1", "+13055550199")
        access = cardbill.AccessNumber(number="18005551234", dial_plan=cardbill.NORTH_AMERICA)
        for answer in (registration, access, caller, grant, record,
                       denied, shop.bill.card("B/1"), shop.bill.audit(),
                       *shop.bill.entries("B/1"), *shop.bill.batches.pins("B"),
                       shop.bill.reports.utilisation("B"), shop.bill.sweep()):  # fmt: skip
            assert pickle.loads(pickle.dumps(answer)) == answer
        assert pickle.loads(pickle.dumps(record)).price == Money("0.06", USD)


def test_answers_cannot_be_changed(tmp_path: Path):
    with open_shop("memory", tmp_path) as shop:
        answers: list[Any] = [
            shop.bill.authenticate(pin=shop.pin()),
            grant := shop.grant(to=UK),
            shop.ask("c2", to="1"),
            shop.bill.settle(grant.handle, talk_ms=60_000),
            shop.bill.card("B/1"),
        ]
        for answer in answers:
            name = attrs.fields(type(answer))[0].name
            with pytest.raises(attrs.exceptions.FrozenInstanceError):
                setattr(answer, name, "x")
