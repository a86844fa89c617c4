"""The catalogue of an engine: published to, read from, kept in step with the store."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Generic, TypeVar

from cardbill import catalogueitems
from cardbill.access import AccessNumber, plain_access
from cardbill.carriers import Carrier
from cardbill.catalogue import NotLoaded, Snapshot
from cardbill.catalogueitems import EXCHANGE, RATES, Item
from cardbill.decks import Deck
from cardbill.errors import InvalidInput, InvalidNumber, WrongCurrency
from cardbill.exchange import ExchangeRates
from cardbill.groups import DestinationGroup, check_dialled
from cardbill.instants import aware
from cardbill.jurisdictions import Earlier, Jurisdiction, check_taxed_once
from cardbill.names import check_kind, check_name
from cardbill.plans import Plan

if TYPE_CHECKING:
    from datetime import datetime

    from cardbill.batches import Batch
    from cardbill.dialing import DialPlan
    from cardbill.journal import Journal
    from cardbill.storage.contract import Storage

T = TypeVar("T")


class Shelf:
    """What this process holds of the catalogue, loaded as it is needed."""

    def __init__(self, storage: Storage, journal: Journal) -> None:
        self._storage = storage
        self._journal = journal
        self._moving = threading.Lock()
        self._asked = count(1)
        self._answered = 0
        self.snapshot = Snapshot(0, {})
        self.refresh()

    def now(self) -> datetime:
        """Return the present instant."""
        return self._journal.now()

    def refresh(self) -> None:
        """Catch up with what others have published."""
        asked = next(self._asked)
        revision, heads = self._storage.catalogue()
        newest = {(head.kind, head.name): head.version for head in heads}
        with self._moving:
            if asked > self._answered:  # a slower thread must not set the catalogue back
                self._answered = asked
                self.snapshot = self.snapshot.moved_to(revision, newest)

    def load(self, missing: NotLoaded) -> None:
        """Load an item that a decision asked for."""
        kind, name, version = missing.kind, missing.name, missing.version
        self.snapshot.put(kind, name, version, self._journal.content(kind, name, version))

    def get(self, read: Callable[[Snapshot], T]) -> T:
        """Return what `read` finds in the catalogue as it stands now."""
        self.refresh()
        return self.peek(read)

    def peek(self, read: Callable[[Snapshot], T]) -> T:
        """Return what `read` finds in the catalogue as this process knows it."""
        while True:
            try:
                return read(self.snapshot)
            except NotLoaded as missing:
                self.load(missing)

    def publish(self, item: Item, *, name: str = "", expected: int | None = None) -> int:
        """Store an item as the next version of its name, or keep an equal newest one.

        Args:
            item: What to store.
            name: For a deck or flags, which have none of their own.
            expected: The version it must follow; 0: the name must be new.

        Returns:
            The version.

        Raises:
            VersionConflict: Somebody else published that name meanwhile.
        """
        kind, own, content = catalogueitems.encode(item)
        name = name or own
        if expected is None:
            self.refresh()
            expected = self.snapshot.version(kind, name)
        if expected:
            newest = self._journal.content(kind, name, expected)
            if catalogueitems.undated(kind, newest) == content:
                return expected
        content = catalogueitems.dated(kind, content, self.now())
        return self._journal.publish(kind, name, content, expected=expected)


class Collection(Generic[T]):
    """The published items of one kind, by name."""

    _kind = ""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    def names(self) -> list[str]:
        """Return every name of this kind, sorted."""
        return self._shelf.get(lambda snapshot: snapshot.names(self._kind))

    def version(self, name: str) -> int:
        """Return the newest version of a name; 0 where there is none."""
        return self._shelf.get(lambda snapshot: snapshot.version(self._kind, name))


class Decks(Collection[Deck]):
    """Rate decks."""

    _kind = catalogueitems.DECK

    def publish(self, name: str, deck: Deck) -> int:
        """Publish a deck under a name; calls authorized from now on are priced by it.

        Calls in progress keep the terms they were granted under. Publishing what is
        already the newest version changes nothing.

        Returns:
            The version.

        Raises:
            InvalidInput: The name cannot be used, or `deck` is no :class:`Deck`.
            WrongCurrency: A plan uses the deck of that name in another currency.
        """
        check_name("name", name)
        check_kind("deck", deck, Deck)
        if self.version(name) and (before := self.get(name)).currency != deck.currency:
            raise WrongCurrency("deck", deck, f"deck {name!r} is in {before.currency}")
        return self._shelf.publish(deck, name=name)

    def get(self, name: str, version: int | None = None) -> Deck:
        """Return a deck, by default its newest version.

        Raises:
            UnknownName: There is none.
        """
        return self._shelf.get(lambda snapshot: snapshot.deck(name, version))


class Plans(Collection[Plan]):
    """Subscription plans."""

    _kind = catalogueitems.PLAN

    def publish(self, plan: Plan) -> int:
        """Publish a plan; cards used for the first time from now on are pinned to it.

        Returns:
            The version.

        Raises:
            UnknownName: There is no deck or no destination group of a name the plan gives.
            InvalidInput: A prefix that it bars, or that packages and charges are for, begins
                with 0, as no country code does.
            WrongCurrency: That deck is in another currency; or there are exchange rates,
                and none of the plan's currency.
        """
        check_kind("plan", plan, Plan)
        deck = self._shelf.get(lambda snapshot: snapshot.deck(plan.deck))
        if deck.currency != plan.currency:
            problem = f"deck {plan.deck!r} is in {deck.currency}"
            raise WrongCurrency("currency", plan.currency, problem)
        check_dialled("barred", plan.barred)
        for package in plan.packages:
            check_dialled(f"destinations of package {package.name!r}", package.destinations)
        for charge in plan.charges:
            check_dialled(f"destinations of charge {charge.name!r}", charge.destinations)
        for group in plan.groups:
            self._shelf.get(partial(Snapshot.group, name=group))
        _check_rate(self._shelf, "currency", plan.currency)
        return self._shelf.publish(plan)

    def get(self, name: str, version: int | None = None) -> Plan:
        """Return a plan, by default its newest version.

        Raises:
            UnknownName: There is none.
        """
        return self._shelf.get(lambda snapshot: snapshot.plan(name, version))


class Groups(Collection[DestinationGroup]):
    """Destination groups."""

    _kind = catalogueitems.GROUP

    def publish(self, group: DestinationGroup) -> int:
        """Publish a destination group; what names it counts by it from now on.

        Returns:
            The version.

        Raises:
            InvalidInput: It is no :class:`DestinationGroup`; or a prefix begins with 0, as no
                country code does.
        """
        check_kind("group", group, DestinationGroup)
        check_dialled("prefixes", group.prefixes)
        return self._shelf.publish(group)

    def get(self, name: str) -> DestinationGroup:
        """Return a destination group.

        Raises:
            UnknownName: There is none.
        """
        return self._shelf.get(lambda snapshot: snapshot.group(name))


class Jurisdictions(Collection[Jurisdiction]):
    """Tax jurisdictions."""

    _kind = catalogueitems.JURISDICTION

    def publish(self, jurisdiction: Jurisdiction) -> int:
        """Publish a jurisdiction; what happens from now on is taxed by it.

        What fell due before is taxed by what was in force at its instant, whenever it is
        posted: so a date in the past from which a tax applies changes nothing before now.

        Returns:
            The version.

        Raises:
            InvalidInput: It is no :class:`Jurisdiction`; or a batch that comes under it would
                be taxed on the sale of its cards and on their use, be it that an earlier
                version taxed the sale.
            WrongCurrency: A flat tax is not in the currency of a batch that comes under it.
            VersionConflict: Somebody else published it meanwhile.
        """
        check_kind("jurisdiction", jurisdiction, Jurisdiction)
        newest = self.version(jurisdiction.name)
        for name in self._shelf.get(lambda snapshot: snapshot.names(catalogueitems.BATCH)):
            batch = self._shelf.get(partial(Snapshot.batch, name=name))
            if batch.taxed_in is not None and jurisdiction.name in batch.taxed_in.names:
                self.check(batch, jurisdiction)
        return self._shelf.publish(jurisdiction, expected=newest)

    def get(self, name: str) -> Jurisdiction:
        """Return a jurisdiction.

        Raises:
            UnknownName: There is none.
        """
        return self._shelf.get(lambda snapshot: snapshot.jurisdiction(name))

    def check(self, batch: Batch, changed: Jurisdiction | None = None) -> None:
        """Check that there are the jurisdictions that a batch comes under, and that they fit.

        Args:
            batch: The batch.
            changed: One of them, as it would be.

        Raises:
            UnknownName: There is no such jurisdiction.
            InvalidInput: Cards would be taxed on their sale and on their use.
            WrongCurrency: A flat tax is in another currency.
        """
        names = () if batch.taxed_in is None else batch.taxed_in.names
        found = [
            changed if changed is not None and name == changed.name else self.get(name)
            for name in names
        ]
        check_taxed_once(found, self._earlier(batch, changed))
        for jurisdiction in found:
            for tax in jurisdiction.taxes:
                if tax.currency not in (None, batch.currency):
                    raise WrongCurrency(f"tax {tax.name}", tax.flat, f"must be in {batch.currency}")

    def _earlier(self, batch: Batch, changed: Jurisdiction | None) -> Iterator[Earlier]:
        """Yield what was in force since there is a batch, and is not or will not be any more."""
        if batch.taxed_in is None or not self._shelf.snapshot.version(
            catalogueitems.BATCH, batch.name
        ):
            return  # no card of it was sold yet
        created = self._published(catalogueitems.BATCH, batch.name, 1)
        for name in batch.taxed_in.names:
            begin, newest = created, self.version(name)
            for version in range(1, newest + 1):
                if version < newest:
                    end = self._published(self._kind, name, version + 1)
                elif changed is not None and name == changed.name:
                    end = self._shelf.now()
                else:
                    continue  # it is in force
                if end < created:
                    continue  # nobody was taxed by it
                read = partial(Snapshot.jurisdiction, name=name, version=version)
                yield Earlier(self._shelf.get(read), begin, end)
                begin = end

    def _published(self, kind: str, name: str, version: int) -> datetime:
        read = partial(Snapshot.published_at, kind=kind, name=name, version=version)
        return self._shelf.get(read)


class Carriers(Collection[Carrier]):
    """Carriers."""

    _kind = catalogueitems.CARRIER

    def publish(self, carrier: Carrier) -> int:
        """Publish a carrier; calls authorized from now on may go by it.

        Returns:
            The version.

        Raises:
            UnknownName: There is no deck of the name the carrier gives.
            InvalidInput: It is no :class:`Carrier`; or a blocked prefix begins with 0, as no
                country code does.
            WrongCurrency: There are exchange rates, and none of that deck's currency.
        """
        check_kind("carrier", carrier, Carrier)
        check_dialled("blocked_prefixes", carrier.blocked_prefixes)
        deck = self._shelf.get(lambda snapshot: snapshot.deck(carrier.deck))
        _check_rate(self._shelf, "deck", deck.currency)
        return self._shelf.publish(carrier)

    def get(self, name: str) -> Carrier:
        """Return a carrier.

        Raises:
            UnknownName: There is none.
        """
        return self._shelf.get(lambda snapshot: snapshot.carrier(name))


class Exchange:
    """What currencies are worth in the base currency, in which margins are kept."""

    def __init__(self, shelf: Shelf, now: Callable[[], datetime]) -> None:
        self._shelf = shelf
        self._now = now

    def publish(self, rates: ExchangeRates) -> int:
        """Publish the base currency and all rates, in place of those before.

        Calls authorized from now on are converted by them; those before keep their rates.

        Returns:
            The version.

        Raises:
            InvalidInput: It is no :class:`ExchangeRates`, or has no rate at all, not even a
                future one, of a currency that a plan or a carrier uses; each is named.
        """
        check_kind("rates", rates, ExchangeRates)
        if lacking := sorted(self._shelf.get(_currencies) - rates.currencies):
            problem = "have none of a currency that a plan or a carrier uses"
            raise InvalidInput("rates", ", ".join(lacking), problem)
        return self._shelf.publish(rates)

    def get(self) -> ExchangeRates | None:
        """Return what was published last; ``None``: nothing yet, only a card's own currency."""
        return self._shelf.get(_published)

    def version(self) -> int:
        """Return how often rates were published."""
        return self._shelf.get(lambda snapshot: snapshot.version(EXCHANGE, RATES))

    def missing(self, *, at: datetime | None = None) -> list[str]:
        """Return the currencies of plans and carriers that have no rate in force.

        No call is routed from or to these. Without any exchange rates nothing is missing.

        Args:
            at: The instant; default: now.

        Raises:
            InvalidInput: The instant has no time zone.
        """
        rates, instant = self.get(), self._now() if at is None else aware("at", at)
        if rates is None:
            return []
        used = sorted(self._shelf.peek(_currencies))
        return [currency for currency in used if rates.quote(currency, instant) is None]


def _published(snapshot: Snapshot) -> ExchangeRates | None:
    return snapshot.exchange("") if snapshot.version(EXCHANGE, RATES) else None


def _currencies(snapshot: Snapshot) -> set[str]:
    plans = {snapshot.plan(name).currency for name in snapshot.names(catalogueitems.PLAN)}
    return plans | {deck.currency for _, deck in snapshot.carriers()}


def _check_rate(shelf: Shelf, field: str, currency: str) -> None:
    rates = shelf.peek(_published)
    if rates is not None and currency not in rates.currencies:
        problem = "has no exchange rate: publish the rates with one first"
        raise WrongCurrency(field, currency, problem)


class AccessNumbers(Collection[AccessNumber]):
    """Access numbers, named by their digits."""

    _kind = catalogueitems.ACCESS

    def publish(self, access: AccessNumber) -> int:
        """Publish an access number; calls from now on are read as it says.

        Returns:
            The version.

        Raises:
            InvalidInput: It is no :class:`AccessNumber`.
        """
        return self._shelf.publish(check_kind("access", access, AccessNumber))

    def get(self, number: str) -> AccessNumber:
        """Return an access number by its digits, with or without a ``+``.

        Raises:
            UnknownName: There is none.
        """
        return self._shelf.get(lambda snapshot: snapshot.access(plain_access(number) or number))

    def find(self, access: object, plan: DialPlan) -> AccessNumber:
        """Return the access number that a switch says a call came in on.

        Args:
            access: The number as the switch tells it.
            plan: How it is to be read where no access number has just these digits.

        Raises:
            InvalidInput: There is none; what was given is not repeated, it may be a PIN.
        """
        digits = plain_access(access)
        names = [digits] if digits else []
        if isinstance(access, str) and digits:
            with suppress(InvalidNumber):
                names.append(plan.e164(access))
        if not any(self._shelf.snapshot.version(self._kind, name) for name in names):
            self._shelf.refresh()
        for name in names:
            if self._shelf.snapshot.version(self._kind, name):
                return self._shelf.peek(partial(Snapshot.access, number=name))
        raise InvalidInput("access", None, "is no access number that was published")
