"""The engine on an event loop: the same business, with `await`."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextvars import ContextVar
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import pytest
from moneyed import USD, Money

import cardbill
from cardbill import Batch, Caller, CallRecord, Carrier, Denial, Denied, Grant, Keyring, Plan, aio
from cardbill.errors import StorageClosed, UnknownName, WrongKey
from tests.aio_building import engine_of
from tests.building import ACME, EVERY_STORE, RETAIL, START, UK, UK_MINUTE, address, deck, open_shop

AT_ONCE = 100
T = TypeVar("T")


@pytest.fixture(params=EVERY_STORE)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def listed(items: AsyncIterator[T]) -> list[T]:
    return [item async for item in items]


def test_a_business_runs_on_a_loop_from_its_decks_to_its_reports(kind: str, tmp_path: Path):
    keyring, url = Keyring.generate(), address(kind, tmp_path)

    async def main() -> None:
        async with aio.open(url, keyring=keyring, clock=lambda: START) as bill:
            await bill.decks.publish("retail", deck(RETAIL))
            await bill.decks.publish("acme-cost", deck(ACME))
            await bill.carriers.publish(Carrier(name="acme", deck="acme-cost"))
            await bill.plans.publish(Plan(name="Basic", deck="retail", currency=USD))
            await bill.batches.create(Batch(name="B", face_value=Money(5, USD), quantity=2_500))
            assert (await bill.batches.generate_pins("B")).count == 2_500
            await bill.batches.assign("B", plan="Basic")
            pin = await bill.batches.reveal("B/1", actor="ann", reason="test")

            caller = await bill.authenticate(pin=pin, ani="+13055551234")
            assert isinstance(caller, Caller)
            call = await bill.authorize(caller, to=UK, call_id="c1")
            assert isinstance(call, Grant)
            record = await bill.settle(call.handle, talk_ms=61_000, carrier="acme")
            assert (record.seconds, record.price) == (61, Money("0.12", USD))

            assert await bill.settle(call.handle, talk_ms=61_000, carrier="acme") == record
            assert (await bill.card("B/1")).balance == Money("4.88", USD)
            kinds = [entry.kind.value for entry in await listed(bill.entries("B/1"))]
            assert kinds == ["face", "call"]
            assert await listed(bill.records()) == [record]
            used = await listed(bill.reports.utilisations())
            assert [each.batch for each in used] == ["B"]
            assert await listed(bill.reports.hung_calls()) == []
            assert await listed(bill.accounts.operations("B/1")) == []
            assert (await bill.audit()).problems == []
            with pytest.raises(UnknownName):
                await bill.card("B/2501")
            with pytest.raises(UnknownName):
                await listed(bill.entries("B/2501"))

    asyncio.run(main())


def test_of_a_hundred_at_once_the_money_for_one_call_gets_one(kind: str, tmp_path: Path):
    plan = {"calls_at_once": 100, "max_call_seconds": 60}
    with open_shop(kind, tmp_path, face=Money("0.06", USD), plan=plan) as shop:
        pin = shop.pin()

        async def main() -> None:
            async with engine_of(shop) as bill:
                asked = [
                    bill.authorize(pin=pin, to=UK, call_id=f"c{number}")
                    for number in range(AT_ONCE)
                ]
                answers = await asyncio.gather(*asked)
                (call,) = [each for each in answers if isinstance(each, Grant)]
                denied = {each.reason for each in answers if isinstance(each, Denied)}
                assert denied == {Denial.INSUFFICIENT_BALANCE}
                reports = [bill.settle(call.handle, talk_ms=60_000) for _ in range(AT_ONCE)]
                records = await asyncio.gather(*reports)
                assert set(map(type, records)) == {CallRecord}
                assert {record.total_units for record in records} == {UK_MINUTE}

        asyncio.run(main())
        assert shop.stored().balance == 0
        shop.check_books()


def test_an_engine_is_awaited_or_entered(tmp_path: Path):
    async def main() -> None:
        url, keyring = f"sqlite:///{tmp_path / 'cards.db'}", Keyring.generate()
        engine = aio.open(url, keyring=keyring)
        assert not (tmp_path / "cards.db").exists()  # nothing is opened before
        assert await engine is engine
        assert await engine is engine
        assert await engine.plans.names() == []
        await engine.close()
        await engine.close()
        with pytest.raises(StorageClosed):
            await engine.plans.names()
        with pytest.raises(WrongKey):
            await aio.open(url, keyring=Keyring.generate())
        async with aio.open(tmp_path / "cards.db", keyring=keyring) as bill:
            assert await bill.decks.names() == []

    asyncio.run(main())


def test_closing_adds_what_was_counted_of_denials(kind: str, tmp_path: Path):
    with open_shop(kind, tmp_path) as shop:

        async def main() -> None:
            async with engine_of(shop) as bill:
                assert isinstance(await bill.authenticate(pin="000000000000"), Denied)

        asyncio.run(main())
        (denial,) = shop.bill.reports.denials()
        assert (denial.reason, denial.count) == (Denial.UNKNOWN_CREDENTIAL, 1)


def test_what_a_loop_wrote_a_synchronous_engine_reads(kind: str, tmp_path: Path):
    if kind == "memory":
        kind = "sqlite"  # what is in memory is of one engine
    with open_shop(kind, tmp_path) as shop:

        async def main() -> str:
            async with engine_of(shop) as bill:
                call = await bill.authorize(pin=shop.pin(), to=UK, call_id="c1")
                assert isinstance(call, Grant)
                return call.handle

        record = shop.bill.settle(asyncio.run(main()), talk_ms=60_000)
        assert record.total_units == UK_MINUTE
        shop.check_books()


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_others_go_on_while_pins_are_made(kind: str, tmp_path: Path):
    """A job of many cards leaves the loop, and the store, to others between its parts."""
    with open_shop(kind, tmp_path) as shop:
        shop.bill.batches.create(Batch(name="MANY", face_value=Money(5, USD), quantity=8_000))

        async def main() -> int:
            async with engine_of(shop) as bill:
                making = asyncio.create_task(bill.batches.generate_pins("MANY"))
                looks = 0
                while not making.done():
                    await bill.card("B/1")
                    looks += 1
                assert (await making).count == 8_000
                return looks

        assert asyncio.run(main()) > 2


# -- the bridge ---------------------------------------------------------------------------------


def test_what_is_injected_sees_the_context_of_its_task(kind: str, tmp_path: Path):
    here: ContextVar[datetime] = ContextVar("here", default=START)
    told: ContextVar[str] = ContextVar("told", default="nothing")

    def clock() -> datetime:
        told.set("asked")
        return here.get()

    with open_shop(kind, tmp_path, plan={"calls_at_once": 9}) as shop:

        async def main() -> None:
            async with engine_of(shop, clock=clock) as bill:

                async def call(number: int) -> datetime:
                    here.set(START.replace(minute=number))
                    assert told.get() == "nothing"
                    answer = await bill.authorize(
                        pin=shop.pin(), to="18005550100", call_id=str(number)
                    )
                    assert told.get() == "asked"
                    assert isinstance(answer, Grant)
                    record = await bill.settle(answer.handle, talk_ms=1_000)
                    return record.ended_at

                told.set("nothing")  # what opening the engine asked was asked here
                ended = await asyncio.gather(*map(call, range(1, 4)))
                assert [each.minute for each in ended] == [1, 2, 3]
                assert told.get() == "nothing"

        asyncio.run(main())


def test_a_store_that_is_out_of_reach_does_not_hold_up_the_loop(monkeypatch: pytest.MonkeyPatch):
    """Between its tries the store waits, and the loop turns."""
    monkeypatch.setattr("time.sleep", lambda _: pytest.fail("the loop was held up"))

    async def main() -> None:
        turns = 0

        async def turn() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0.01)
                turns += 1

        turning = asyncio.create_task(turn())
        with pytest.raises(cardbill.errors.StorageUnavailable):
            await aio.open("postgresql://127.0.0.1:1/none", keyring=Keyring.generate())
        assert turns > 10
        turning.cancel()

    asyncio.run(main())


# -- processes ----------------------------------------------------------------------------------

ENDS = """
import asyncio, sys
import cardbill
from cardbill import aio

async def main():
    bill = await aio.open(sys.argv[1], keyring=cardbill.Keyring.generate())
    auditing = asyncio.create_task(bill.audit())
    await asyncio.sleep(0)

asyncio.run(main())
print("ended")
"""

FORKS = """
import asyncio, os, sys
from cardbill.aio import open_storage
from cardbill.errors import StorageError

store = open_storage(sys.argv[1])
asyncio.run(store.counts())
child = os.fork()
if child == 0:
    try:
        said = str(asyncio.run(store.count_cards()))
    except StorageError as error:
        said = str(error)
    print(said, flush=True)
    os._exit(0)
os.waitpid(child, 0)
print(asyncio.run(store.count_cards()))
asyncio.run(store.close())
"""


def script(text: str, url: str) -> list[str]:
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", text, url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split("\n")[:-1]


def test_a_process_ends_whose_loop_left_a_store_at_work(kind: str, tmp_path: Path):
    assert script(ENDS, address(kind, tmp_path)) == ["ended"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_process_opens_its_own_connections_or_says_why_not(tmp_path: Path):
    assert script(FORKS, address("postgres", tmp_path)) == ["0", "0"]
    said = "a store of before a fork: open it again"
    assert script(FORKS, address("sqlite", tmp_path)) == [said, "0"]
