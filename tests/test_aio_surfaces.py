"""What is asynchronous has the names, arguments and answers of what is not, with `await`."""

import importlib
import inspect
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any, assert_type

import pytest

import cardbill
from cardbill import Denied, Engine, Entry, Grant, Keyring, aio
from cardbill.aio import AsyncEngine, parts
from cardbill.aio.wrapping import Part
from cardbill.errors import InvalidInput, StorageClosed
from cardbill.storage.aio.contract import AsyncStorage
from cardbill.storage.aio.memory import AsyncMemoryStorage
from cardbill.storage.aio.postgres import AsyncPostgresStorage
from cardbill.storage.aio.relay import Relayed
from cardbill.storage.aio.sqlite import AsyncSQLiteStorage
from cardbill.storage.aio.waiting import Waiting
from cardbill.storage.contract import Step, Storage
from cardbill.storage.memory import MemoryStorage


def public(thing: type) -> dict[str, Any]:
    """The public methods of a class, whoever defined them."""
    found = inspect.getmembers(thing, inspect.isfunction)
    return {name: method for name, method in found if not name.startswith("_")}


def returned(method: Any) -> str:
    return str(inspect.signature(method).return_annotation)


# -- stores -------------------------------------------------------------------------------------


def test_both_contracts_have_the_same_methods():
    assert list(public(AsyncStorage)) == list(public(Storage))


@pytest.mark.parametrize("name", list(public(Storage)))
def test_a_method_of_both_contracts_takes_and_answers_the_same(name: str):
    here, there = public(AsyncStorage)[name], public(Storage)[name]
    assert inspect.iscoroutinefunction(here)
    assert inspect.signature(here) == inspect.signature(there)
    said, meant = (inspect.getdoc(each) or "" for each in (here, there))
    assert meant.startswith(said.rstrip(".").split(";")[0].split(", by one step")[0])


@pytest.mark.parametrize("adapter", [Relayed, Waiting])
def test_the_adapters_have_every_method(adapter: type):
    assert list(public(adapter)) == list(public(Storage))
    for name, method in public(adapter).items():
        assert inspect.iscoroutinefunction(method) == (adapter is Relayed), name


# -- engines ------------------------------------------------------------------------------------


def pairs() -> Iterator[tuple[type, type]]:
    """Each asynchronous class of the engine with its twin."""
    yield AsyncEngine, Engine
    engine, twin = AsyncEngine(AsyncMemoryStorage(), KEYS), Engine(MemoryStorage(), KEYS)
    for name, part in sorted(vars(engine).items()):
        if isinstance(part, Part):
            yield type(part), type(getattr(twin, name))


KEYS = Keyring.generate()
PAIRS = list(pairs())


def test_an_engine_has_the_same_collections():
    engine, twin = AsyncEngine(AsyncMemoryStorage(), KEYS), Engine(MemoryStorage(), KEYS)
    assert {n for n in vars(engine) if n[0] != "_"} == {n for n in vars(twin) if n[0] != "_"}
    assert len(PAIRS) == 13
    written = {thing for thing in vars(parts).values() if inspect.isclass(thing)}
    assert {each for each in written if issubclass(each, Part)} - {Part} == {
        own for own, _ in PAIRS[1:]
    }


@pytest.mark.parametrize(("own", "twin"), PAIRS, ids=lambda each: each.__name__)
def test_a_class_has_the_methods_of_its_twin(own: type, twin: type):
    lacking = set(public(twin)) - set(public(own))
    assert not lacking, f"write `name = awaited({twin.__name__}.name)` in {own.__module__}"
    assert not set(public(own)) - set(public(twin))
    for name, method in public(own).items():
        assert inspect.signature(method) == inspect.signature(getattr(twin, name)), name
        yields = returned(method).startswith("Iterator")
        assert inspect.isasyncgenfunction(method) == yields, name
        assert inspect.iscoroutinefunction(method) == (not yields), name
        assert method.__doc__


def test_both_engines_are_made_alike():
    here, there = (inspect.signature(each).parameters for each in (AsyncEngine, Engine))
    assert list(here) == list(there)
    for name in set(here) - {"storage"}:
        assert here[name] == there[name]
    for name in ("open", "open_storage"):
        signatures = [inspect.signature(getattr(each, name)) for each in (aio, cardbill)]
        assert signatures[0].parameters == signatures[1].parameters


async def types_are_those_of_the_twin(bill: AsyncEngine) -> None:
    """Not run: what `make check` says of it is the test."""
    assert_type(await bill.authorize(call_id="c1"), Grant | Denied)
    assert_type(await bill.plans.names(), list[str])
    assert_type(bill.entries("B/1"), AsyncIterator[Entry])
    assert_type(await bill.storage.transact("B/1", lambda view: Step(view.revision)), int)
    await bill.authorize(call_id=1)  # type: ignore[arg-type]
    await bill.authorize(call="c1")  # type: ignore[call-arg]


# -- the wrong colour, and what is missing ------------------------------------------------------


def test_the_wrong_colour_of_store_is_refused_at_once():
    with pytest.raises(TypeError, match="AsyncMemoryStorage is an asynchronous store: give it to"):
        Engine(AsyncMemoryStorage(), KEYS)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="MemoryStorage is no asynchronous store: give it to"):
        AsyncEngine(MemoryStorage(), KEYS)  # type: ignore[arg-type]


def test_the_wrong_colour_of_connection_is_refused_at_once(postgres: str):
    import psycopg
    from psycopg_pool import ConnectionPool

    with psycopg.connect(postgres) as one, pytest.raises(TypeError, match="not asynchronous"):
        AsyncPostgresStorage(one)
    pool = ConnectionPool(postgres, open=False)
    with pytest.raises(TypeError, match="ConnectionPool is not asynchronous"):
        AsyncPostgresStorage(pool)


def test_an_engine_that_is_not_open_says_so():
    engine = aio.open("memory:", keyring=KEYS)
    with pytest.raises(StorageClosed, match="not open: await it"):
        engine.plans.names().send(None)


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("memory:", AsyncMemoryStorage),
        ("sqlite:///cards.db", AsyncSQLiteStorage),
        ("postgresql://host/cards?schema=other", AsyncPostgresStorage),
    ],
)
def test_an_address_gives_the_store_of_its_kind(url: str, kind: type):
    assert type(aio.open_storage(url)) is kind  # and reaches for nothing yet


@pytest.mark.parametrize("url", ["mysql://host", "memory:x", "sqlite:cards.db", 5])
def test_an_address_that_is_none_is_refused_as_for_a_synchronous_engine(url: Any):
    errors = []
    for module in (aio, cardbill):
        with pytest.raises(InvalidInput) as caught:
            module.open(url, keyring=KEYS)
        errors.append(str(caught.value))
    assert errors[0] == errors[1]


def test_greenlet_is_asked_for_where_it_is_missing():
    script = """
        import sys
        sys.modules["greenlet"] = None
        import cardbill
        cardbill.open("memory:", keyring=cardbill.Keyring.generate()).close()
        try:
            import cardbill.aio
        except ModuleNotFoundError as error:
            print(error.name, error)
    """
    done = subprocess.run(
        [sys.executable, "-c", inspect.cleandoc(script)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "greenlet asyncio needs greenlet: install cardbill[aio]"


def test_nothing_synchronous_loads_greenlet_or_asyncio():
    importlib.import_module("cardbill.aio")
    script = """
        import sys
        before = set(sys.modules)
        import cardbill
        cardbill.open("memory:", keyring=cardbill.Keyring.generate()).close()
        assert not {"greenlet", "asyncio"} & (set(sys.modules) - before)
    """
    subprocess.run([sys.executable, "-c", inspect.cleandoc(script)], check=True)
