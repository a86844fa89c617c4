"""Cancelled wherever it waits: each step happened once or not at all, and the same key tells."""

import asyncio
import gc
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from moneyed import USD, Money

from cardbill import Batch, Grant
from cardbill.aio import AsyncEngine
from cardbill.calls import make_handle
from cardbill.errors import CallEnded, StorageClosed, StorageUnavailable
from cardbill.storage.aio.bridge import bridged
from cardbill.storage.aio.postgres import AsyncPostgresStorage
from cardbill.storage.aio.postgres_connections import _Gate
from cardbill.storage.aio.sqlite import AsyncSQLiteStorage
from cardbill.storage.aio.waiting import Waiting
from cardbill.storage.contract import NewCard, Step, View
from cardbill.testing.conformance.rows import CARD, add, deposit, new_card
from tests.aio_building import cut_short, engine_of
from tests.building import EVERY_STORE, UK, UK_MINUTE, Shop, open_shop

MOST = 150  # places at which one operation may wait
DOLLAR = 1_000_000

Work = Callable[[AsyncEngine, str], Awaitable[Any]]


@pytest.fixture(params=EVERY_STORE)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def check_connections(bill: AsyncEngine) -> None:
    """Whatever the store keeps for later is in no transaction, and nothing is out on loan."""
    storage = bill.storage
    if isinstance(storage, AsyncPostgresStorage):
        assert storage._store is not None
        kept: Any = storage._store._connections
        assert all(session.idle for session in kept._idle)
        assert (kept._lent, kept._count, len(kept._gate._waiting)) == (set(), 0, 0)


async def cut_everywhere(bill: AsyncEngine, work: Work, how: str) -> int:
    """Cut an operation short at each place where it waits, and do it again with the same key."""
    for place in range(1, MOST):
        cut = await cut_short(work(bill, f"k{place}"), place, how)
        if how == "drop":
            gc.collect()  # what was thrown away is gone for good
        if isinstance(bill.storage, AsyncSQLiteStorage):
            await bill.storage.count_cards()  # its thread has done what it had begun
        check_connections(bill)
        await work(bill, f"k{place}")
        check_connections(bill)
        if not cut:
            return place
    raise AssertionError("an operation without end")


def run(shop: Shop, work: Work, how: str) -> int:
    async def main() -> int:
        async with engine_of(shop) as bill:
            await bill.card("B/1")
            return await cut_everywhere(bill, work, how)

    return asyncio.run(main())


@pytest.fixture(params=["cancel", "late", "drop"])
def how(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_recharge_is_done_once_however_it_is_cut_short(kind: str, how: str, tmp_path: Path):
    async def recharge(bill: AsyncEngine, key: str) -> None:
        await bill.accounts.recharge("B/1", Money(1, USD), key=key)

    with open_shop(kind, tmp_path) as shop:
        shop.bill.settle(shop.grant("first").handle, talk_ms=0)
        done = run(shop, recharge, how)
        assert done > 1
        assert shop.stored().balance == (5 + done) * DOLLAR
        shop.check_books()


def test_a_call_is_granted_and_settled_once_however_it_is_cut_short(
    kind: str, how: str, tmp_path: Path
):
    with open_shop(kind, tmp_path) as shop:
        pin = shop.pin()

        async def talk(bill: AsyncEngine, key: str) -> None:
            with suppress(CallEnded):  # it was settled, and nobody heard
                grant = await bill.authorize(pin=pin, to=UK, call_id=key)
                assert isinstance(grant, Grant), grant
            record = await bill.settle(make_handle("B/1", key), talk_ms=60_000)
            assert record.total_units == UK_MINUTE

        done = run(shop, talk, how)
        assert done > 1
        card = shop.stored()
        assert (card.balance, card.held) == (5 * DOLLAR - done * UK_MINUTE, 0)
        assert len(shop.records()) == done
        shop.check_books()


def test_a_transfer_is_done_once_however_it_is_cut_short(kind: str, how: str, tmp_path: Path):
    """It takes steps on two cards: what one has given the other gets, when it is done again."""

    async def transfer(bill: AsyncEngine, key: str) -> None:
        await bill.accounts.transfer("B/1", Money("0.01", USD), to="B/2", key=key)

    with open_shop(kind, tmp_path) as shop:
        for serial in (1, 2):
            shop.bill.settle(shop.grant("first", serial=serial).handle, talk_ms=0)
        done = run(shop, transfer, how)
        assert done > 1
        moved = done * DOLLAR // 100
        assert shop.stored("B/1").balance == 5 * DOLLAR - moved
        assert shop.stored("B/2").balance == 5 * DOLLAR + moved
        shop.check_books()


def test_pins_are_made_once_or_not_at_all_however_it_is_cut_short(
    kind: str, how: str, tmp_path: Path
):
    with open_shop(kind, tmp_path) as shop:
        terms = Batch(name="NEW", face_value=Money(5, USD), quantity=1_500)
        shop.bill.batches.create(terms)

        async def main() -> None:
            async with engine_of(shop) as bill:
                for place in range(1, MOST):
                    cut = await cut_short(bill.batches.generate_pins("NEW"), place, how)
                    made = await bill.storage.count_cards(batch="NEW")
                    assert made == 1_500 or (made == 0 and cut)
                    check_connections(bill)
                    if not cut:
                        return
                raise AssertionError("a job without end")

        asyncio.run(main())
        assert shop.bill.storage.count_cards(batch="NEW") == 1_500
        shop.check_books()


def test_an_engine_whose_opening_is_cut_short_closes_its_store(kind: str, tmp_path: Path):
    with open_shop(kind, tmp_path) as shop:

        async def main() -> None:
            for place in range(1, MOST):
                bill = engine_of(shop)
                if not await cut_short(bill, place, "cancel"):
                    await bill.close()
                    return
                with pytest.raises(StorageClosed):
                    await bill.card("B/1")
            raise AssertionError("an opening without end")

        asyncio.run(main())


# -- SQLite -------------------------------------------------------------------------------------


def unhurried(
    started: asyncio.Event, loop: asyncio.AbstractEventLoop
) -> Callable[[View], Step[int]]:
    """A decision that tells when it is asked, and takes its time."""

    def decide(view: View) -> Step[int]:
        import time

        loop.call_soon_threadsafe(started.set)
        time.sleep(0.05)
        return deposit(view)

    return decide


def test_a_step_on_the_thread_ends_or_does_not_begin(tmp_path: Path):
    async def main() -> None:
        store = AsyncSQLiteStorage(tmp_path / "cards.db")
        await bridged(add, Waiting(store), new_card())
        started = asyncio.Event()
        decide = unhurried(started, asyncio.get_running_loop())
        under_way = asyncio.create_task(store.transact(CARD, decide))
        waiting = asyncio.create_task(store.transact(CARD, deposit))
        await started.wait()
        for task in (under_way, waiting):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            assert task.cancelled()
        assert (await store.view(CARD)).card.balance == 1_001  # one was done, one never begun
        await store.close()

    asyncio.run(main())


def test_closing_waits_for_what_was_asked_before(tmp_path: Path):
    async def main() -> None:
        store = AsyncSQLiteStorage(tmp_path / "cards.db")
        await bridged(add, Waiting(store), new_card())
        steps = [asyncio.create_task(store.transact(CARD, deposit)) for _ in range(20)]
        await asyncio.sleep(0)
        closing = asyncio.create_task(store.close())
        await asyncio.sleep(0)
        closing.cancel()
        await store.close()
        assert closing.cancelled()
        assert all(step.done() for step in steps)
        assert [await step for step in steps] == list(range(1_001, 1_021))
        with pytest.raises(StorageClosed):
            await store.view(CARD)

    asyncio.run(main())


@pytest.mark.parametrize("how", ["cancel", "close"])
def test_a_job_that_is_cut_short_adds_nothing(how: str, tmp_path: Path):
    path = tmp_path / "cards.db"

    async def main() -> None:
        store = AsyncSQLiteStorage(path)
        taken = 0

        def offer(serial: int) -> NewCard:
            nonlocal taken
            taken += 1
            return new_card(serial)

        adding = asyncio.create_task(store.add_cards("job", map(offer, range(1, 50_000))))
        while taken < 1_000:
            await store.count_cards()
        if how == "close":
            await store.close()
            with pytest.raises(StorageClosed):
                await adding
            store = AsyncSQLiteStorage(path)
        else:
            adding.cancel()
            with suppress(asyncio.CancelledError):
                await adding
        assert taken < 49_000
        assert await store.count_cards() == 0
        assert await store.add_cards("job", map(new_card, range(1, 3))) == 2
        await store.close()

    asyncio.run(main())
    assert sorted(each.name for each in tmp_path.iterdir()) == ["cards.db"]  # all is closed


# -- PostgreSQL ---------------------------------------------------------------------------------


def test_who_is_cancelled_while_waiting_for_a_connection_leaves_it_to_others(postgres: str):
    async def main() -> None:
        store = AsyncPostgresStorage(postgres, connections=1)
        await bridged(add, Waiting(store), new_card())
        for lost in range(5):
            steps = [asyncio.create_task(store.transact(CARD, deposit)) for _ in range(6)]
            for _ in range(lost):
                await asyncio.sleep(0)
            steps[lost].cancel()
            answers = await asyncio.gather(*steps, return_exceptions=True)
            assert [type(each) for each in answers].count(asyncio.CancelledError) <= 1
            assert [type(each) for each in answers].count(int) >= 5
        await store.close()

    asyncio.run(main())


def test_who_is_cancelled_when_the_turn_has_come_passes_it_on():
    async def main() -> None:
        gate = _Gate()
        first, second = (asyncio.create_task(bridged(gate.wait, 5)) for _ in range(2))
        await asyncio.sleep(0)
        gate.notify()
        first.cancel()
        async with asyncio.timeout(2):
            assert await second
        assert first.cancelled()

    asyncio.run(main())


def test_who_waits_too_long_for_a_connection_is_told(postgres: str):
    async def main() -> None:
        store = AsyncPostgresStorage(postgres, connections=1, timeout=1)
        await bridged(add, Waiting(store), new_card())
        assert store._store is not None

        def hold() -> None:
            assert store._store is not None
            with store._store._connections.lend(), pytest.raises(StorageUnavailable, match="all 1"):
                Waiting(store).view(CARD)

        await bridged(hold)
        assert (await store.view(CARD)).card.balance == 1_000
        await store.close()

    asyncio.run(main())
