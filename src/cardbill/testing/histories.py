"""What happens in a business, as data: events that can be stored, shrunk and played again.

An event names cards and calls and never what came of them, so that any list of events is a
history: one that hangs up a call nobody granted is as good as any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from attrs import field, frozen

from cardbill.answers import Denied, Grant
from cardbill.calls import CallRecord, make_handle
from cardbill.engine import Swept
from cardbill.errors import CardbillError, StorageError
from cardbill.inquiry import CardView
from cardbill.testing.builders import (
    COST,
    RETAIL,
    UK,
    Shop,
    make_batch,
    make_deck,
    make_plan,
    open_shop,
)

if TYPE_CHECKING:
    from cardbill.batches import Batch
    from cardbill.plans import Plan
    from cardbill.storage.contract import Storage

Answer: TypeAlias = Grant | Denied | CallRecord | CardView | Swept | type[CardbillError] | None
"""What came of an event; of an error its class, so that two plays can be compared."""


@frozen
class Ring:
    """A call is asked for, by PIN: ``authorize``.

    Attributes:
        card: The card's serial.
        call: The call's id, unique per card only.
        to: The number as dialled.
    """

    card: int
    call: str
    to: str = UK


@frozen
class Talk:
    """A switch reports that a call goes on: ``extend``.

    Attributes:
        card, call: As for :class:`Ring`.
        seconds: Talk time so far.
        number: Of the report: 1, 2, 3, ...
    """

    card: int
    call: str
    seconds: int
    number: int


@frozen
class HangUp:
    """A call ends: ``settle``.

    Attributes:
        card, call: As for :class:`Ring`.
        talk_ms: Milliseconds from answer to hang-up.
    """

    card: int
    call: str
    talk_ms: int


@frozen
class GiveUp:
    """A call was not made after all: ``cancel``.

    Attributes:
        card, call: As for :class:`Ring`.
    """

    card: int
    call: str


@frozen
class Operate:
    """An operator acts on a card.

    Attributes:
        card: The card's serial.
        what: ``block`` or ``unblock``.
    """

    card: int
    what: str


@frozen
class Wait:
    """Time passes.

    Attributes:
        seconds: How much of it.
    """

    seconds: int


@frozen
class Sweep:
    """The host lets time do its work: ``sweep``."""


Event: TypeAlias = Ring | Talk | HangUp | GiveUp | Operate | Wait | Sweep


class TakesCalls(Protocol):
    """What an application, or the engine itself, must offer to have a history played on it."""

    def authorize(self, *args: Any, **request: Any) -> Grant | Denied:
        """Ask leave for one call: given pin, to and call_id."""

    def extend(self, *args: Any, **report: Any) -> Grant | Denied:
        """Report how long a call has lasted: given its handle, used_seconds and number."""

    def settle(self, *args: Any, **report: Any) -> CallRecord:
        """End a call: given its handle and talk_ms."""

    def cancel(self, *args: Any, **report: Any) -> CallRecord:
        """Give a grant back: given its handle."""


Prices: TypeAlias = Mapping[str, Any]
"""By prefix: a price per minute or a whole rate, see :func:`make_deck`."""


def _usual_costs() -> Mapping[str, Prices]:
    return {"acme": COST}


@frozen(kw_only=True)
class Terms:
    """What a business sells, and over whom.

    Attributes:
        prices: What callers pay.
        costs: What carriers take, by their name.
        plan: Of the batch, in its currency.
        batch: Its cards.
    """

    prices: Prices = RETAIL
    costs: Mapping[str, Prices] = field(factory=_usual_costs)
    plan: Plan = field(factory=make_plan)
    batch: Batch = field(factory=make_batch)

    def open(self, storage: Storage | str = "memory:", **options: Any) -> Shop:
        """Open a business on these terms.

        Args:
            storage: An empty store or its address; closed with the shop.
            options: See :func:`open_shop`.
        """
        currency = self.plan.currency
        return open_shop(
            storage,
            deck=make_deck(self.prices, currency=currency),
            costs={name: make_deck(cost, currency=currency) for name, cost in self.costs.items()},
            plan=self.plan,
            batch=self.batch,
            **options,
        )


def _events(events: Iterable[Event]) -> tuple[Event, ...]:
    return tuple(events)


@frozen(kw_only=True)
class History:
    """A business and what happens in it.

    Attributes:
        terms: What it sells.
        events: What happens, in order.

    >>> history = History(events=[Ring(1, "a"), Wait(30), HangUp(1, "a", 30_000)])
    >>> with history.terms.open() as shop:
    ...     grant, _, record = history.play(shop)
    >>> grant.granted, record.seconds
    (True, 30)
    """

    terms: Terms = field(factory=Terms)
    events: tuple[Event, ...] = field(default=(), converter=_events)

    def play(self, shop: Shop, on: TakesCalls | None = None) -> list[Answer]:
        """Let it happen, and return what came of each event.

        Args:
            shop: Opened on these terms.
            on: Takes the calls in the engine's place: an application around it.

        Raises:
            StorageError: The store failed.
        """
        return [self._happen(event, shop, on or shop.bill) for event in self.events]

    @staticmethod
    def _happen(event: Event, shop: Shop, takes: TakesCalls) -> Answer:
        try:
            match event:
                case Ring(card, call, to):
                    return takes.authorize(pin=shop.pin(card), to=to, call_id=call)
                case Talk(card, call, seconds, number):
                    handle = make_handle(shop.card_id(card), call)
                    return takes.extend(handle, used_seconds=seconds, number=number)
                case HangUp(card, call, talk_ms):
                    return takes.settle(make_handle(shop.card_id(card), call), talk_ms=talk_ms)
                case GiveUp(card, call):
                    return takes.cancel(make_handle(shop.card_id(card), call))
                case Operate(card, what):
                    act = {"block": shop.bill.control.block, "unblock": shop.bill.control.unblock}
                    return act[what](shop.card_id(card), actor="test", reason="as it happened")
                case Wait(seconds):
                    shop.clock.advance(seconds=seconds)
                    return None
                case Sweep():
                    return shop.bill.sweep()
        except StorageError:
            raise
        except CardbillError as error:
            return type(error)
