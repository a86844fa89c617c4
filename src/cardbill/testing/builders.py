"""A calling-card business in one line, every term of which can be another.

The numbers here are nobody's: the 555-01xx range that the North American plan keeps for
fiction, and those that Ofcom, the British regulator, keeps for drama.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from attrs import define, field
from moneyed import USD, Currency, Money

from cardbill import rating
from cardbill.answers import Denied, Grant
from cardbill.batches import Batch
from cardbill.carriers import Carrier
from cardbill.decks import Deck, DeckRow
from cardbill.engine import Engine
from cardbill.keyring import ANI, Keyring
from cardbill.opening import open_storage
from cardbill.plans import Plan
from cardbill.rating import Rate
from cardbill.testing.clock import FakeClock
from cardbill.testing.seeds import CallIds, SeededNumbers, seeded_keyring

if TYPE_CHECKING:
    from cardbill.calls import CallRecord
    from cardbill.storage.contract import Storage

US, UK, UK_MOBILE = "+13055550123", "+442079460123", "+447700900123"
"""Numbers that the usual deck rates."""
UNRATED = "+390612345678"
"""A number that it does not."""

RETAIL: Mapping[str, str] = {"1": "0.01", "44": "0.06", "447": "0.15"}
"""What callers pay per minute, by prefix, unless told otherwise."""
COST: Mapping[str, str] = {"1": "0.005", "44": "0.02", "447": "0.10"}
"""What the carrier ``acme`` takes for it."""


def make_deck(
    prices: Mapping[str, Rate | object] = RETAIL, *, currency: str | Currency = USD
) -> Deck:
    """Return a deck of some prices; each row's destination is named for its prefix.

    Args:
        prices: By prefix: the price of a minute (``Money``, ``Decimal``, int or decimal
            text), billed by the second, or a whole :class:`~cardbill.Rate`.
        currency: Of the prices.

    Raises:
        InvalidInput: A prefix or a price cannot be used.
        DeckRefused: Rows contradict each other.
    """
    code = str(currency)
    rates = {
        prefix: price if isinstance(price, Rate) else rating.rate(price, currency=code)
        for prefix, price in prices.items()
    }
    rows = [DeckRow(prefix=p, rate=rate, destination=f"to {p}") for p, rate in rates.items()]
    return Deck.compile(rows, currency=currency)


def make_plan(**terms: Any) -> Plan:
    """Return a plan named ``Basic`` on the deck ``retail``, in dollars.

    Args:
        terms: Other ones: see :class:`~cardbill.Plan`.
    """
    return Plan(**{"name": "Basic", "currency": USD, "deck": "retail", **terms})


def make_batch(**terms: Any) -> Batch:
    """Return a batch named ``TEST`` of ten cards of five dollars.

    Args:
        terms: Other ones: see :class:`~cardbill.Batch`.
    """
    return Batch(**{"name": "TEST", "face_value": Money(5, USD), "quantity": 10, **terms})


@define
class Shop:
    """A business that is open: its engine, and what a test does with it.

    Attributes:
        bill: The engine.
        clock: What it goes by.
        keyring: Its keys.
        batch: The name of its batch.
        new_call: Makes call ids.
    """

    bill: Engine
    clock: FakeClock
    keyring: Keyring
    batch: str = "TEST"
    new_call: Callable[[], str] = field(factory=CallIds, repr=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the engine and its store; may be called again."""
        self.bill.close()

    def card_id(self, serial: int = 1, batch: str | None = None) -> str:
        """Return the id of a card."""
        return f"{batch or self.batch}/{serial}"

    def pin(self, serial: int = 1, batch: str | None = None) -> str:
        """Return the PIN of a card, without a trace in the operators' log.

        Raises:
            LookupError: There is no such card, or its PIN is no longer kept readable.
        """
        card_id = self.card_id(serial, batch)
        for credential in self.bill.storage.credentials([card_id]):
            if credential.kind != ANI and credential.sealed is not None:
                return self.keyring.unseal(credential.sealed, card_id)
        raise LookupError(f"no PIN of card {card_id} can be read")

    def ask(
        self,
        call_id: str | None = None,
        *,
        to: str = UK,
        serial: int = 1,
        batch: str | None = None,
        at: datetime | None = None,
    ) -> Grant | Denied:
        """Authorize a call in one stage, by the PIN of a card.

        Args:
            call_id: The call; default: a new one.
            to: The number as dialled.
            serial: Of the card.
            batch: Of the card; default: the shop's.
            at: The instant; default: now.
        """
        return self.bill.authorize(
            pin=self.pin(serial, batch),
            to=to,
            call_id=self.new_call() if call_id is None else call_id,
            at=at,
        )

    def grant(self, call_id: str | None = None, **request: Any) -> Grant:
        """Authorize a call that must be granted: see :meth:`ask`.

        Raises:
            AssertionError: It was denied; the message says why.
        """
        answer = self.ask(call_id, **request)
        if not isinstance(answer, Grant):
            raise AssertionError(f"denied: {answer.reason.value}")  # noqa: TRY004  # a test fails
        return answer

    def denied(self, call_id: str | None = None, **request: Any) -> str:
        """Return the reason, as in ``no_rate``, for which a call is denied: see :meth:`ask`.

        Raises:
            AssertionError: It was granted.
        """
        answer = self.ask(call_id, **request)
        if not isinstance(answer, Denied):
            raise AssertionError(f"granted for {answer.max_seconds} s")  # noqa: TRY004  # as above
        return str(answer.reason.value)

    def talk(self, seconds: int, **request: Any) -> CallRecord:
        """Make a whole call: grant, talk while the clock goes on, settle.

        Args:
            seconds: How long.
            request: See :meth:`ask`.

        Raises:
            AssertionError: The call was denied.
        """
        grant = self.grant(**request)
        self.clock.advance(seconds=seconds)
        return self.bill.settle(grant.handle, talk_ms=1_000 * seconds)

    def second(self, **options: Any) -> Engine:
        """Return another engine on the same store, as another process has it.

        It need not be closed: closing either closes the store.

        Args:
            options: As for :class:`~cardbill.Engine`.
        """
        return Engine(self.bill.storage, self.keyring, **{"clock": self.clock, **options})

    def check_books(self) -> None:
        """Audit everything.

        Raises:
            AssertionError: The books do not balance; the message says where.
        """
        if problems := self.bill.audit().problems:
            raise AssertionError("the books do not balance:\n" + "\n".join(problems))


def open_shop(
    storage: Storage | str = "memory:",
    *,
    deck: Deck | None = None,
    costs: Mapping[str, Deck] | None = None,
    plan: Plan | None = None,
    batch: Batch | None = None,
    seed: int = 0,
    clock: FakeClock | None = None,
    keyring: Keyring | None = None,
    **options: Any,
) -> Shop:
    """Open a business with deck, carriers, plan, batch and PINs, ready for its first call.

    The same arguments give the same PINs, call ids and keys each time.

    Args:
        storage: An empty store or its address, see :func:`cardbill.open`; closed with the
            shop. Default: memory.
        deck: What callers pay, published under the plan's name for it; default: ``RETAIL``
            in the plan's currency.
        costs: What carriers take, by their name; default: ``acme``, for all that the
            default deck rates.
        plan: Default: :func:`make_plan` in the batch's currency.
        batch: Default: :func:`make_batch`. The plan is assigned to it.
        seed: Of PINs, call ids and keys.
        clock: Default: a new one that shows ``START``.
        keyring: Default: one made from the seed.
        options: Others of :class:`~cardbill.Engine`: below, dial_plan, throttle.

    >>> with open_shop(plan=make_plan(calls_at_once=2)) as shop:
    ...     shop.talk(60).total, shop.denied(to=UNRATED)
    (Money('0.06', 'USD'), 'no_rate')
    """
    batch = batch or make_batch()
    plan = plan or make_plan(currency=batch.currency)
    deck = deck or make_deck(currency=plan.currency)
    costs = {"acme": make_deck(COST, currency=plan.currency)} if costs is None else costs
    keyring, clock = keyring or seeded_keyring(seed), clock or FakeClock()
    options = {"below": SeededNumbers(seed), **options}
    store = open_storage(storage) if isinstance(storage, str) else storage
    try:
        bill = Engine(store, keyring, clock=clock, **options)
        bill.decks.publish(plan.deck, deck)
        for carrier, cost in costs.items():
            bill.decks.publish(f"{carrier}-cost", cost)
            bill.carriers.publish(Carrier(name=carrier, deck=f"{carrier}-cost"))
        bill.plans.publish(plan)
        bill.batches.create(batch)
        bill.batches.generate_pins(batch.name)
        bill.batches.assign(batch.name, plan=plan.name)
    except BaseException:
        store.close()
        raise
    return Shop(bill, clock, keyring, batch.name, CallIds(seed))
