"""C: crashes, locks, and what stays behind of them."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from moneyed import USD, Money

from cardbill import CallRecord, Engine, Outcome, engine
from cardbill.calls import make_handle
from cardbill.errors import StorageClosed, StorageUnavailable, UnknownCall
from cardbill.holds import Hold
from cardbill.storage.memory import MemoryStorage
from tests.building import LIFETIME, UK, UK_MINUTE, open_shop
from tests.museum.exhibits import Section, patched
from tests.museum.stores import out_of_reach, reads_and_later_writes
from tests.source_tree import ROOT
from tests.test_races import crowd

SECTION = Section("Crashes, locks, stuck states")
ONE_MINUTE = {"calls_at_once": 20, "max_call_seconds": 60}
DIES_IN_A_CALL = """
import os, signal, sys
import cardbill
from tests.building import FakeClock
url, keys, pin, to = sys.argv[1:]
bill = cardbill.open(url, keyring=cardbill.Keyring.load(keys), clock=FakeClock())
assert bill.authorize(pin=pin, to=to, call_id="c1").granted
os.kill(os.getpid(), signal.SIGKILL)
"""


@contextmanager
def threads_taking_turns_all_the_time() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


# -- how they are rebuilt ------------------------------------------------------------------------


def only_its_process_ends_a_hold() -> AbstractContextManager[None]:
    return patched((Hold, "expires_at", datetime(9990, 1, 1, tzinfo=UTC)))


def goes_on_from_a_debit_that_failed() -> AbstractContextManager[None]:
    real = Engine.extend
    billed: dict[str, int] = {}
    booked: dict[str, int] = {}

    def extend(self: Engine, handle: str, *, used_seconds: int, number: int, **rest: Any) -> Any:
        since = used_seconds - billed.get(handle, 0)
        billed[handle] = used_seconds
        used = booked.get(handle, 0) + since
        answer = real(self, handle, used_seconds=used, number=number, **rest)
        booked[handle] = used
        return answer

    return patched((Engine, "extend", extend))


@contextmanager
def returns_with_the_lock() -> Iterator[None]:
    locks: list[Any] = []

    @contextmanager
    def opened(self: MemoryStorage) -> Iterator[None]:
        self._lock.acquire()
        try:
            yield
        except Exception:
            locks.append(self._lock)
            raise
        self._lock.release()

    with patched((MemoryStorage, "_open", opened)):
        try:
            yield
        finally:
            for lock in locks:
                lock.release()


def nobody_sweeps() -> AbstractContextManager[None]:
    return patched((engine, "due_cards", lambda *_: iter(())))


class Interrupted(dict[Any, Any]):
    """A map whose reader is interrupted, as it is wherever threads really run at once."""

    def items(self) -> Any:
        for number, item in enumerate(super().items()):
            if number == 0:
                time.sleep(0.005)
            yield item


def shares_maps_without_a_lock() -> AbstractContextManager[None]:
    make = MemoryStorage.__init__

    def init(self: MemoryStorage) -> None:
        make(self)
        self._records = Interrupted()

    return patched(
        (MemoryStorage, "__init__", init), (MemoryStorage, "_open", lambda self: nullcontext())
    )


# -- the defects ---------------------------------------------------------------------------------


@SECTION.defect(
    34, "A2Billing, its AGI script's end",
    "A crash keeps the money that was set aside, and leaves the card in use for ever.",
    only_its_process_ends_a_hold,
)  # fmt: skip
def a_killed_process_leaves_a_card_that_works_again(folder: Path) -> None:
    with open_shop("sqlite", folder) as shop:
        shop.keyring.save(folder / "keys")
        arguments = [shop.url, str(folder / "keys"), shop.pin(), UK]
        command = [sys.executable, "-c", DIES_IN_A_CALL, *arguments]
        done = subprocess.run(command, check=False, cwd=ROOT, timeout=60)
        assert done.returncode == -signal.SIGKILL
        assert shop.stored().held > 0
        shop.clock.now += LIFETIME
        assert shop.bill.card("B/1").held_units == 0
        shop.grant("c2")


@SECTION.defect(
    35, "FreeSWITCH, mod_nibblebill",
    "The billed time moves on although the debit failed, and those minutes are never charged.",
    goes_on_from_a_debit_that_failed,
)  # fmt: skip
def a_store_that_was_down_for_a_minute_costs_no_minute(folder: Path) -> None:
    with open_shop("memory", folder, plan={"slice_seconds": 60}) as shop:
        grant = shop.grant()
        for number in (1, 2, 3):
            down = out_of_reach(shop) if number == 2 else nullcontext()
            with down, suppress(StorageUnavailable):
                shop.bill.extend(grant.handle, used_seconds=number * 60, number=number)
        shop.bill.sweep(at=shop.clock.now + LIFETIME)
        (record,) = shop.records()
        assert (record.seconds, record.price_units) == (180, 3 * UK_MINUTE)


@SECTION.defect(
    36, "FreeSWITCH, mod_nibblebill's nibblebill_pause",
    "A request about a call that has no data returns with the lock, and all charging stops.",
    returns_with_the_lock,
)  # fmt: skip
def a_request_that_fails_keeps_nobody_waiting(folder: Path) -> None:
    with open_shop("memory", folder) as shop:
        pin, answers = shop.pin(), list[Any]()

        def call() -> None:
            with suppress(StorageClosed):  # if it must wait for so long
                answers.append(shop.bill.authorize(pin=pin, to=UK, call_id="c1"))

        with pytest.raises(UnknownCall):
            shop.bill.cancel(make_handle("B/999", "unknown"))
        other = threading.Thread(target=call, daemon=True)
        other.start()
        other.join(5)
        assert len(answers) == 1


@SECTION.defect(
    37, "CGRateS, cgrates#69",
    "Sessions of which nothing more is heard stay, and keep what they hold.",
    nobody_sweeps,
)  # fmt: skip
def a_sweep_finds_every_call_that_went_stale(folder: Path) -> None:
    with open_shop("sqlite", folder) as shop:
        for serial in (1, 2, 3):
            shop.grant(serial=serial)
        assert shop.bill.sweep(at=shop.clock.now + LIFETIME).calls_expired == 3
        assert [shop.stored(f"B/{serial}").held for serial in (1, 2, 3)] == [0, 0, 0]


@SECTION.defect(
    38, "CGRateS, cgrates#2569",
    "Giving back what sessions hold crashes under load.",
    reads_and_later_writes,
)  # fmt: skip
def sixteen_calls_given_back_at_once_are_all_given_back(folder: Path) -> None:
    with open_shop("memory", folder, plan=ONE_MINUTE) as shop, crowd(16) as many:
        handles = [shop.grant(f"c{number}").handle for number in range(16)]
        answers = many.rush(lambda number: shop.bill.cancel(handles[number]))
        assert all(isinstance(answer, CallRecord) for answer in answers)
        assert (shop.stored().held, len(shop.records())) == (0, 16)
        shop.check_books()


@SECTION.defect(
    39, "CGRateS, cgrates#2372 and #408",
    "A map is read while another thread writes it: above a hundred calls the process dies.",
    shares_maps_without_a_lock,
)  # fmt: skip
def threads_may_look_while_others_call(folder: Path) -> None:
    cards = 60
    with (
        open_shop("memory", folder, quantity=cards) as shop,
        crowd(4) as many,
        threads_taking_turns_all_the_time(),
    ):
        pins = [shop.pin(serial) for serial in range(1, cards + 1)]
        ended: list[int] = []

        def call(half: int) -> None:
            for serial in range(1 + half, cards + 1, 2):
                call_id = f"c{serial}"
                shop.bill.authorize(pin=pins[serial - 1], to=UK, call_id=call_id)
                shop.bill.settle(make_handle(f"B/{serial}", call_id), talk_ms=1_000)

        def look() -> None:
            while len(ended) < 2:
                list(shop.bill.records())

        def work(number: int) -> object:
            try:
                look() if number % 2 else call(number // 2)
            except RuntimeError as error:  # what a dictionary says that changed meanwhile
                return error
            finally:
                ended.extend([number] if number % 2 == 0 else [])
            return None

        assert many.rush(work) == [None] * 4
        assert len(list(shop.bill.records())) == cards


@SECTION.cannot(
    40, "OpenSIPS, OpenSIPS#2079",
    "The end of a call without a beginning takes one off a counter, which goes below zero.",
    "There is no counter: a card's calls at once are the holds that stand in its own state, so "
    "an end without a beginning finds nothing to take off. How busy a carrier is the host tells.",
)  # fmt: skip
def ends_without_a_beginning_change_no_number_of_calls(folder: Path) -> None:
    with open_shop("memory", folder) as shop:
        for number in range(3):
            shop.bill.settle(make_handle("B/1", f"unknown-{number}"), talk_ms=60_000)
            shop.bill.cancel(make_handle("B/1", f"never-{number}"))
        shop.grant("c1")
        assert shop.denied("c2") == "too_many_calls"
        assert {record.outcome for record in shop.records()} == {
            Outcome.UNAUTHORISED, Outcome.CANCELLED,
        }  # fmt: skip
        assert shop.bill.settle(make_handle("B/1", "c1"), talk_ms=0).price == Money(0, USD)
