"""A store that fails on purpose does so as it is told, and the engine stands it."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import pytest
from attrs import evolve
from hypothesis import given, strategies as st

from cardbill.errors import InvalidInput, StorageUnavailable, UnknownName
from cardbill.storage.aio.memory import AsyncMemoryStorage
from cardbill.storage.contract import Tally
from cardbill.storage.memory import MemoryStorage
from cardbill.testing import (
    START,
    FakeClock,
    Fault,
    Faults,
    History,
    faulty,
    open_shop,
    strategies,
)
from cardbill.testing.conformance import StorageContract
from cardbill.testing.conformance.rows import CARD, add, deposit, new_card
from cardbill.testing.faults import WRITES
from cardbill.testing.histories import Operate, Sweep

T = TypeVar("T")


class TestFaultyStorageWithoutFaults(StorageContract):
    durable = shared = False

    @pytest.fixture
    def open_store(self):
        store = faulty(MemoryStorage())
        return lambda: store


def a_card(faults: Faults, **options: Any) -> MemoryStorage:
    store = faulty(MemoryStorage(), faults, **options)
    add(store, new_card())
    return store


@pytest.mark.parametrize(
    ("fault", "unknown", "balance"),
    [
        (Fault.REFUSED, False, 1_000),
        (Fault.LOST_REQUEST, True, 1_000),
        (Fault.LOST_ANSWER, True, 1_001),
    ],
)
def test_a_step_fails_as_planned(fault: Fault, unknown: bool, balance: int):
    store = a_card(faults := Faults())
    faults.next("transact", fault, None, fault)
    with pytest.raises(StorageUnavailable, match=r"transact: .* on purpose") as failed:
        store.transact(CARD, deposit)
    assert failed.value.outcome_unknown is unknown
    assert store.view(CARD).card.balance == balance
    assert store.transact(CARD, deposit) == balance + 1
    faults.stop()
    assert store.transact(CARD, deposit) == balance + 2  # what was planned is forgotten
    assert faults.happened == [("transact", fault)]
    assert (faults.calls["transact"], faults.calls["view"]) == (3, 1)


def test_each_method_fails_by_itself():
    store = a_card(faults := Faults())
    for method in ("resolve", "take_attempts"):
        faults.next(method, Fault.REFUSED)
    assert store.view(CARD).card.balance == 1_000
    with pytest.raises(StorageUnavailable):
        store.resolve("pin", [b"SUMMER/1"])
    assert store.resolve("pin", [b"SUMMER/1"]) == store.view(CARD)
    tally = Tally("kept", b"state", 9)
    with pytest.raises(StorageUnavailable):
        store.take_attempts(1, "a", lambda *_: tally)
    assert store.attempts() == []
    store.close()  # never fails


def test_an_error_of_the_store_itself_is_not_lost():
    store = a_card(faults := Faults())
    faults.next("view", Fault.LOST_ANSWER)
    with pytest.raises(UnknownName):
        store.view("SUMMER/2")
    assert faults.happened == []
    with pytest.raises(StorageUnavailable):
        store.view(CARD)  # the next one has an answer to lose


def test_faults_by_chance_are_the_same_for_the_same_seed():
    def happened(seed: int, **options: Any) -> list[tuple[str, Fault]]:
        store = a_card(faults := Faults())
        faults.at_random(seed=seed, one_in=3, **options)
        for _ in range(300):
            for act in (lambda: store.transact(CARD, deposit), lambda: store.view(CARD)):
                with suppress(StorageUnavailable):
                    act()
        return faults.happened

    first = happened(1)
    assert happened(1) == first != happened(2)
    assert {fault for _, fault in first} == set(Fault)
    assert {method for method, _ in first} == {"transact"}  # reads work, unless told otherwise
    assert 60 < len(first) < 140
    reads = happened(1, methods=["view"], faults=[Fault.REFUSED])
    assert set(reads) == {("view", Fault.REFUSED)}
    for wrong in ({"one_in": 0}, {"one_in": 3, "faults": []}):
        with pytest.raises(InvalidInput):
            Faults().at_random(seed=1, **wrong)


def test_writes_are_what_the_contract_writes_by():
    reads = {*("view", "resolve", "credentials", "find_cards", "count_cards", "counts", "jobs")}
    reads |= {*("due", "entries", "records", "calls_by_id", "suspended", "catalogue", "content")}
    reads |= {*("last_audit", "audit_log", "attempts", "attempts_over", "close")}
    every = {name for name in vars(MemoryStorage) if not name.startswith("_")}
    assert every - reads == set(WRITES)


def test_a_slow_store_takes_its_time_on_the_fake_clock():
    clock = FakeClock()
    store = a_card(Faults(), latency_ms={"transact": 1_500}, sleep=clock.sleep)
    store.view(CARD)
    assert clock.now == START
    store.transact(CARD, deposit)
    assert (clock.now - START).total_seconds() == 1.5
    waited: list[float] = []
    store = faulty(MemoryStorage(), latency_ms=20, sleep=waited.append)
    store.counts()
    store.catalogue()
    assert waited == [0.02, 0.02]


def test_an_asynchronous_store_can_be_faulty_too():
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    async def story() -> None:
        kept = MemoryStorage()
        add(kept, new_card())
        store = faulty(AsyncMemoryStorage(kept), faults := Faults(), latency_ms=7, sleep=sleep)
        faults.next("transact", Fault.LOST_ANSWER, Fault.LOST_REQUEST)
        for _ in range(2):
            with pytest.raises(StorageUnavailable) as failed:
                await store.transact(CARD, deposit)
            assert failed.value.outcome_unknown
        assert (await store.view(CARD)).card.balance == 1_001
        assert await store.transact(CARD, deposit) == 1_002
        await store.close()

    asyncio.run(story())
    assert waited == [0.007] * 4


# -- the engine stands it -----------------------------------------------------------------


def patiently(act: Callable[[], T]) -> T:
    """Do it until it is known to be done, as a host should."""
    for _ in range(50):
        try:
            return act()
        except StorageUnavailable:
            continue
    raise AssertionError("failed fifty times in a row")


class Patient:
    """An application that tries again."""

    def __init__(self, bill: Any) -> None:
        self.bill = bill

    def __getattr__(self, name: str) -> Any:
        act = getattr(self.bill, name)
        return lambda *args, **request: patiently(lambda: act(*args, **request))


def ledger(shop: Any) -> list[Any]:
    cards = [f"TEST/{serial}" for serial in (1, 2, 3)]
    return [
        [
            (e.kind, e.amount_units, e.at, e.reference)
            for card in cards
            for e in shop.bill.entries(card)
        ],
        [shop.bill.card(card).balance_units for card in cards],
        [
            (record.call_id, record.outcome, record.seconds, record.total_units)
            for record in shop.bill.records()
        ],
    ]


@given(history=strategies.histories(), seed=st.integers(0, 1_000))
def test_who_asks_again_after_every_failure_has_the_ledger_of_one_without(
    history: History, seed: int
):
    """Steps that failed, with or without having happened, are taken once."""
    calls = [event for event in history.events if not isinstance(event, Operate | Sweep)]
    history = evolve(history, events=calls)
    with history.terms.open() as shop:
        history.play(shop)
        expected = ledger(shop)
    storage = faulty(MemoryStorage(), faults := Faults())
    with history.terms.open(storage) as shop:
        faults.at_random(seed=seed, one_in=2, methods=["transact"])
        events = [
            event for event in history.events if type(event).__name__ not in ("Operate", "Sweep")
        ]
        History(terms=history.terms, events=events).play(shop, on=Patient(shop.bill))
        faults.stop()
        assert ledger(shop) == expected
        shop.check_books()


def test_who_takes_a_lost_answer_for_a_refusal_is_found_out():
    """What the wrapper is for: the caller was told no, and his money is held."""
    storage = faulty(MemoryStorage(), faults := Faults())
    with open_shop(storage) as shop:
        faults.next("transact", Fault.LOST_ANSWER)
        with pytest.raises(StorageUnavailable):
            shop.grant("c1")
        assert shop.bill.card("TEST/1").held_units > 0
        again = shop.grant("c1")
        assert again.replayed
        assert again.held_units == shop.bill.card("TEST/1").held_units
