"""The engine for asyncio: the synchronous one, run by the bridge over an asynchronous store."""

from __future__ import annotations

from collections.abc import Callable, Generator
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from cardbill.aio.parts import (
    AsyncAccessNumbers,
    AsyncAccounts,
    AsyncBatches,
    AsyncCallers,
    AsyncCarriers,
    AsyncControl,
    AsyncDecks,
    AsyncExchange,
    AsyncGroups,
    AsyncJurisdictions,
    AsyncPlans,
    AsyncReports,
)
from cardbill.aio.wrapping import awaited, streamed
from cardbill.dialing import NORTH_AMERICA, DialPlan
from cardbill.engine import Engine, system_clock, system_random
from cardbill.errors import StorageClosed
from cardbill.keyring import Keyring
from cardbill.storage.aio.bridge import bridged
from cardbill.storage.aio.contract import AsyncStorage
from cardbill.storage.aio.waiting import Waiting
from cardbill.storage.checks import check_colour
from cardbill.taxengines import TaxEngine, TaxFallback
from cardbill.throttling import Throttle


class AsyncEngine:
    """A prepaid calling-card business on an event loop.

    Use :func:`cardbill.aio.open`, or give a store of your own. Await it, or enter it by
    ``async with``, before its methods are called; all are those of :class:`cardbill.Engine`,
    with ``await``, or ``async for`` where that yields. An engine belongs to one event loop.

    A method that is cancelled has done each step on a card wholly or not at all: the same
    request under the same key, made again, tells.

    Args:
        storage: Where cards are kept; closed with the engine, and when it cannot be opened.
        keyring: The keys of its PINs.
        clock: Returns the present instant, aware.
        below: Draws a number from 0 up to, not including, its argument; PINs come from it.
        dial_plan: How callers dial, where their access number does not say otherwise.
        throttle: How often PINs may be guessed; ``None``: without limit.
        tax_engine, tax_seconds, tax_fallback: As for :class:`cardbill.Engine`. The tax engine is
            asked on the event loop: its method must not block.

    Attributes:
        storage: The store.
        decks, groups, jurisdictions, plans, carriers, access_numbers, batches: What is published
            and issued.
        exchange: The exchange rates, published where there is more than one currency.
        accounts: What customers and operators do with a card's money.
        callers: The callers' numbers that open cards without a PIN.
        control: What operators sell, block, freeze and void.
        reports: Figures over cards and calls.

    Raises:
        TypeError: The store is a synchronous one.
        WrongKey: When it is awaited: the store was written with other keys.
    """

    def __init__(
        self,
        storage: AsyncStorage,
        keyring: Keyring,
        *,
        clock: Callable[[], datetime] = system_clock,
        below: Callable[[int], int] = system_random,
        dial_plan: DialPlan = NORTH_AMERICA,
        throttle: Throttle | None = Throttle(),  # noqa: B008  # frozen
        tax_engine: TaxEngine | None = None,
        tax_seconds: int = 2,
        tax_fallback: TaxFallback | str = TaxFallback.BUILT_IN,
    ) -> None:
        check_colour(storage, asynchronous=True)
        self.storage = storage
        self._twin: Engine | None = None
        self._make = lambda: Engine(
            Waiting(storage),
            keyring,
            clock=clock,
            below=below,
            dial_plan=dial_plan,
            throttle=throttle,
            tax_engine=tax_engine,
            tax_seconds=tax_seconds,
            tax_fallback=tax_fallback,
        )
        self.decks = AsyncDecks(lambda: self.twin.decks)
        self.groups = AsyncGroups(lambda: self.twin.groups)
        self.jurisdictions = AsyncJurisdictions(lambda: self.twin.jurisdictions)
        self.plans = AsyncPlans(lambda: self.twin.plans)
        self.carriers = AsyncCarriers(lambda: self.twin.carriers)
        self.exchange = AsyncExchange(lambda: self.twin.exchange)
        self.access_numbers = AsyncAccessNumbers(lambda: self.twin.access_numbers)
        self.batches = AsyncBatches(lambda: self.twin.batches)
        self.accounts = AsyncAccounts(lambda: self.twin.accounts)
        self.callers = AsyncCallers(lambda: self.twin.callers)
        self.control = AsyncControl(lambda: self.twin.control)
        self.reports = AsyncReports(lambda: self.twin.reports)

    @property
    def twin(self) -> Engine:
        """The synchronous engine beneath, to be used within the bridge only.

        Raises:
            StorageClosed: This engine is not open yet.
        """
        if self._twin is None:
            raise StorageClosed("this engine is not open: await it, or enter it by `async with`")
        return self._twin

    authenticate = awaited(Engine.authenticate)
    authorize = awaited(Engine.authorize)
    extend = awaited(Engine.extend)
    settle = awaited(Engine.settle)
    cancel = awaited(Engine.cancel)
    sweep = awaited(Engine.sweep)
    unlock = awaited(Engine.unlock)
    recount_attempts = awaited(Engine.recount_attempts)
    purge = awaited(Engine.purge)
    card = awaited(Engine.card)
    talk_time = awaited(Engine.talk_time)
    explain = awaited(Engine.explain)
    explain_record = awaited(Engine.explain_record)
    disclose = awaited(Engine.disclose)
    entries = streamed(Engine.entries)
    statement = awaited(Engine.statement)
    records = streamed(Engine.records)
    audit = awaited(Engine.audit)

    async def close(self) -> None:
        """Close the store, as :meth:`cardbill.Engine.close` does; may be called again."""
        try:
            if self._twin is not None:
                await bridged(self._twin.close)
        finally:
            await self.storage.close()

    def __await__(self) -> Generator[Any, None, Self]:
        return self._opened().__await__()

    async def __aenter__(self) -> Self:
        return await self._opened()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def _opened(self) -> Self:
        if self._twin is None:
            try:
                self._twin = await bridged(self._make)
            except BaseException:
                await self.close()
                raise
        return self
