"""The engine against a model, over random histories: design.md section 10, after every step.

A state machine does what hosts do (authenticate, authorize, settle, cancel, sweep, publish,
let time pass) through two engines over one store, and compares every answer with that of
tests/machine_model.py. Its terms (tests/machine_terms.py) are chosen so that every outcome is
common; a census of one seeded run proves that it is.
"""

import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.stateful import run_state_machine_as_test

from cardbill import Engine
from cardbill.calls import make_handle
from cardbill.storage.contract import Storage
from cardbill.storage.memory import MemoryStorage
from cardbill.storage.sqlite import SQLiteStorage
from tests.machine_rules import Books, Machine
from tests.machine_terms import (
    CARDS,
    DAY,
    DECKS,
    JAPAN,
    LONDON,
    MIAMI,
    TOLL_FREE,
    Clock,
    answer,
    engine,
    publish_deck,
    set_up,
)

# -- the machine --------------------------------------------------------------------------------


class InMemory(Machine):
    def open(self) -> Engine:
        if not hasattr(self, "storage"):
            self.storage = MemoryStorage()
        return engine(self.storage, self.clock, self.keys)

    def close(self, bill: Engine) -> None:
        """Its store is all there is: closed, it would be lost."""


class InSQLite(Machine):
    def open(self) -> Engine:
        if not hasattr(self, "folder"):
            self.folder = Path(tempfile.mkdtemp(prefix="cardbill-machine-"))
        storage = SQLiteStorage(self.folder / "cards.db", synchronous="normal")
        return engine(storage, self.clock, self.keys)

    def teardown(self) -> None:
        super().teardown()
        shutil.rmtree(self.folder)


class MemoryMachine(Books, InMemory):
    pass


class SQLiteMachine(Books, InSQLite):
    pass


def modest(examples: int, steps: int) -> settings:
    """That many examples, or as few as the profile in force has."""
    return settings(max_examples=min(examples, settings().max_examples), stateful_step_count=steps)


TestMemory = MemoryMachine.TestCase
TestMemory.settings = modest(50, 50)
TestSQLite = SQLiteMachine.TestCase
TestSQLite.settings = modest(30, 40)


@pytest.mark.soak
@pytest.mark.parametrize("machine", [MemoryMachine, SQLiteMachine])
def test_soak(machine: type[Machine]):
    machine.seen.clear()
    run_state_machine_as_test(
        machine, settings=settings(max_examples=1_500, stateful_step_count=100)
    )
    assert machine.seen["steps"] >= 100_000


# -- the generator is good ----------------------------------------------------------------------

LEAST = {  # how often in the census, far below what is usual
    **dict.fromkeys(
        [
            "authenticate caller active",
            "authorize denied blocked",
            "extend granted replayed",
            "extend granted, limited by slice",
            "authenticate denied unknown_credential",
            "authorize error CallEnded",
            "authorize error IdempotencyMismatch",
            "authorize granted replayed",
            "authorize granted, limited by expiry",
            "breakage by time",
            "cancel error CallEnded",
            "cancel error UnknownCall",
            "cancel record cancelled",
            "cancel record replayed",
            "settle at another carrier",
            "settle beyond the grant",
            "settle error IdempotencyMismatch",
            "settle error UnknownCall",
            "settle late, collected",
            "settle late, short",
            "settle record replayed",
            "settle record unauthorised",
        ],
        5,
    ),
    **dict.fromkeys(
        [
            "authorize granted",
            "authorize granted, limited by money",
            "authorize granted, limited by plan",
            "authorize granted, limited by slice",
            "settle record settled",
        ],
        50,
    ),
    **dict.fromkeys(
        [
            "authorize denied below_minimum",
            "authorize denied destination_barred",
            "authorize denied exhausted",
            "authorize denied expired",
            "authorize denied insufficient_balance",
            "authorize denied invalid_number",
            "authorize denied no_rate",
            "authorize denied no_route",
            "authorize denied not_assigned",
            "authorize denied not_yet_effective",
            "authorize denied too_many_calls",
            "authorize denied not_sold",
            "authorize denied void",
            "authorize granted, limited by None",
            "extend denied blocked",
            "extend denied insufficient_balance",
            "authenticate caller generated",
            "extend denied limit_reached",
            "extend error IdempotencyMismatch",
            "extend error InvalidInput",
            "sell error TransitionRefused",
            "void error TransitionRefused",
            "rotate keys",
            "extend granted, limited by money",
            "settle of a stray, collected",
            "sweep of something",
        ],
        1,
    ),
}


def test_every_outcome_is_common():
    class Census(InMemory):
        seen: ClassVar[Counter[str]] = Counter()

    run_state_machine_as_test(
        Census,
        settings=settings(
            max_examples=200, stateful_step_count=50, derandomize=True, database=None
        ),
    )
    seen = Census.seen
    rare = {what: seen[what] for what, least in LEAST.items() if seen[what] < least}
    assert not rare, f"{rare} in {seen}"
    assert seen["two calls at once"] >= seen["steps"] / 100


# -- the ledger depends neither on sweeps nor on the store --------------------------------------

_card, _call = st.sampled_from(["FAMILY/1", "YEN/1", "OPEN/1"]), st.sampled_from("abcdef")
EVENTS: dict[str, tuple[st.SearchStrategy[Any], ...]] = {
    "authenticate": (_card,),
    "authorize": (_card, _call, st.sampled_from([LONDON, MIAMI, JAPAN, TOLL_FREE])),
    "settle": (_card, _call, st.sampled_from([0, 1, 45_500, 200_000, 4_000_000])),
    "cancel": (_card, _call),
    "extend": (_card, _call, st.sampled_from([0, 30, 45, 90, 130]), st.integers(1, 4)),
    "operate": (_card, st.sampled_from(["block", "unblock", "unblock"])),
    "publish": (_card, st.sampled_from(["usd", "jpy"]), st.integers(0, 1)),
    "wait": (_card, st.sampled_from([1, 100, 300, 500, 700, 3_600, DAY, 10 * DAY])),
    "wait for expiry": (_card, st.sampled_from([900, 200, 90, 1, 0, -100])),
}
OFTEN_EVENTS = [*EVENTS, "extend", "authorize", "authorize", "settle", "settle", "wait"]
HISTORIES = st.lists(
    st.sampled_from(OFTEN_EVENTS).flatmap(lambda kind: st.tuples(st.just(kind), *EVENTS[kind])),
    min_size=10,
    max_size=60,
)


def happen(bill: Engine, clock: Clock, pins: dict[str, str], event: tuple[Any, ...]) -> object:
    match event:
        case "authenticate", card:
            return bill.authenticate(pin=pins[card])
        case "authorize", card, call, to:
            return bill.authorize(pin=pins[card], to=to, call_id=call)
        case "settle", card, call, talk_ms:
            return bill.settle(make_handle(card, call), talk_ms=talk_ms)
        case "extend", card, call, used, number:
            return bill.extend(make_handle(card, call), used_seconds=used, number=number)
        case "operate", card, what:
            return getattr(bill.control, what)(card, actor="test", reason="to see")
        case "cancel", card, call:
            return bill.cancel(make_handle(card, call))
        case "publish", _, name, version:
            publish_deck(bill, name, DECKS[name][version])
        case "wait", _, seconds:
            clock.now += timedelta(seconds=seconds)
        case "wait for expiry", card, before:
            expires = bill.card(card).expires_at or clock.now
            clock.now = max(clock.now, expires - timedelta(seconds=before))
    return None


def play(storage: Storage, history: Sequence[Any], sweeps: Sequence[bool]) -> list[object]:
    """Return every answer, then every row of the ledger."""
    clock = Clock()
    with engine(storage, clock) as bill:
        pins = set_up(bill)
        told: list[object] = []
        for event, swept in zip(history, sweeps, strict=True):
            if swept:
                bill.sweep()
            told.append((answer(lambda: happen(bill, clock, pins, event)), bill.card(event[1])))  # noqa: B023
        bill.sweep()
        for card in CARDS:
            row = storage.view(card).card
            told.append(row._replace(version=0, state=row.state[:-17]))  # they count the sweeps
            told.extend(storage.entries(card))
        return [*told, *storage.records()]


@settings(max_examples=min(50, settings().max_examples))
@given(history=HISTORIES, data=st.data())
def test_the_ledger_depends_neither_on_sweeps_nor_on_the_store(
    history: list[Any], data: st.DataObject
):
    count = len(history)
    sometimes = data.draw(st.lists(st.booleans(), min_size=count, max_size=count))
    never, always = [False] * count, [True] * count
    first = play(MemoryStorage(), history, never)
    assert play(MemoryStorage(), history, always) == first
    assert play(MemoryStorage(), history, sometimes) == first
    with tempfile.TemporaryDirectory() as folder:
        for name, sweeps in (("never", never), ("sometimes", sometimes)):
            store = SQLiteStorage(Path(folder) / name, synchronous="normal")
            assert play(store, history, sweeps) == first
