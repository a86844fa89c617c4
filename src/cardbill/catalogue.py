"""The catalogue: batches, plans, decks, carriers and the rest: versions under names.

A :class:`Snapshot` is what one process knows of the catalogue at one revision; what it does not
hold yet it asks for by raising :class:`NotLoaded`, and the engine loads it and takes the step
again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import copy
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from cardbill.access import AccessNumber
from cardbill.batches import Batch
from cardbill.carriers import Carrier
from cardbill.catalogueitems import (
    ACCESS,
    BATCH,
    CARRIER,
    DECK,
    EXCHANGE,
    FLAGS,
    GROUP,
    JURISDICTION,
    PLAN,
    RATES,
    decode,
    published_at,
)
from cardbill.decks import Deck
from cardbill.dialing import is_digits
from cardbill.errors import CardbillError, UnknownName
from cardbill.exchange import ExchangeRates, no_rates
from cardbill.flags import BatchFlags
from cardbill.groups import DestinationGroup
from cardbill.jurisdictions import Jurisdiction
from cardbill.plans import Plan
from cardbill.taxes import TaxRules, rules_at

if TYPE_CHECKING:
    from cardbill.taxengines import TaxDecision, TaxRequest

T = TypeVar("T")


class NotLoaded(CardbillError):
    """An item that exists but is not in this process yet; never leaves the engine."""

    def __init__(self, kind: str, name: str, version: int) -> None:
        self.kind = kind
        self.name = name
        self.version = version
        super().__init__(f"{kind} {name!r} version {version} is not loaded")


class Snapshot:
    """The catalogue as one process knows it.

    Attributes:
        revision: The catalogue revision it was read at.
        answers: What the tax engine outside said in this operation; ``None``: it is not asked.
    """

    answers: Mapping[TaxRequest, TaxDecision] | None = None

    def __init__(self, revision: int, heads: Mapping[tuple[str, str], int]) -> None:
        self.revision = revision
        self._heads = dict(heads)
        self._items: dict[tuple[str, str, int], Any] = {}
        self._published: dict[tuple[str, str, int], datetime] = {}
        self._rules: dict[tuple[Any, ...], TaxRules] = {}
        self._carriers: list[tuple[tuple[Carrier, Deck], ...]] = []

    def moved_to(self, revision: int, heads: Mapping[tuple[str, str], int]) -> Snapshot:
        """Return the snapshot at a later revision; what was loaded stays loaded.

        Except decks and exchange rates that are no longer the newest: calls in progress
        carry their terms.
        """
        later = Snapshot(revision, {**self._heads, **heads})
        later._items = {
            (kind, name, version): item
            for (kind, name, version), item in self._items.copy().items()
            if kind not in (DECK, EXCHANGE) or version == later._heads.get((kind, name))
        }
        later._published = self._published.copy()  # after the items: each has its instant
        return later

    def asking(self, answers: Mapping[TaxRequest, TaxDecision] | None) -> Snapshot:
        """Return the same catalogue for decisions that ask the tax engine outside, if any."""
        if answers is None:
            return self
        same = copy(self)
        same.answers = answers
        return same

    def put(self, kind: str, name: str, version: int, content: bytes) -> None:
        """Keep an item that was loaded."""
        item = decode(kind, content)
        if kind in (BATCH, JURISDICTION):
            self._published[kind, name, version] = published_at(content)
        self._items[kind, name, version] = item

    def version(self, kind: str, name: str) -> int:
        """Return the newest version of a name; 0 where there is none."""
        return self._heads.get((kind, name), 0)

    def names(self, kind: str) -> list[str]:
        """Return all names of a kind, sorted."""
        return sorted(name for of_kind, name in self._heads if of_kind == kind)

    def batch(self, name: str) -> Batch:
        """Return a batch as it stands now."""
        return self._item(BATCH, name, Batch)

    def flags(self, batch: str) -> BatchFlags:
        """Return what of a batch is stopped now."""
        if not self.version(FLAGS, batch):
            return _NO_FLAGS
        return self._item(FLAGS, batch, BatchFlags)

    def plan(self, name: str, version: int | None = None) -> Plan:
        """Return a plan, by default its newest version."""
        return self._item(PLAN, name, Plan, version)

    def deck(self, name: str, version: int | None = None) -> Deck:
        """Return a deck, by default its newest version."""
        return self._item(DECK, name, Deck, version)

    def carriers(self) -> tuple[tuple[Carrier, Deck], ...]:
        """Return every carrier with the newest version of its deck."""
        if not self._carriers:  # each call asks, and one revision has the same all along
            found = [self._item(CARRIER, name, Carrier) for name in self.names(CARRIER)]
            self._carriers.append(tuple((carrier, self.deck(carrier.deck)) for carrier in found))
        return self._carriers[0]

    def carrier(self, name: str) -> Carrier:
        """Return a carrier as it stands now."""
        return self._item(CARRIER, name, Carrier)

    def access(self, number: str) -> AccessNumber:
        """Return an access number as it stands now."""
        return self._item(ACCESS, number, AccessNumber)

    def group(self, name: str) -> DestinationGroup:
        """Return a destination group as it stands now."""
        return self._item(GROUP, name, DestinationGroup)

    def jurisdiction(self, name: str, version: int | None = None) -> Jurisdiction:
        """Return a jurisdiction, by default its newest version."""
        return self._item(JURISDICTION, name, Jurisdiction, version)

    def jurisdiction_at(self, name: str, at: datetime) -> Jurisdiction:
        """Return a jurisdiction as it was in force at an instant.

        That is the last version published by then; the first one counts for all time before it.
        """
        version = self.version(JURISDICTION, name)
        while version > 1 and at < self.published_at(JURISDICTION, name, version):
            version -= 1
        return self.jurisdiction(name, version)

    def published_at(self, kind: str, name: str, version: int) -> datetime:
        """Return when a version of a batch or a jurisdiction was published."""
        self._item(kind, name, object, version)
        return self._published[kind, name, version]

    def taxes(
        self, batch: Batch, at: datetime, *, caller: str | None = None, called: str | None = None
    ) -> TaxRules | None:
        """Return the taxes on what happens to a card of a batch; ``None``: there are none.

        Args:
            batch: The card's.
            at: When it happens: what was in force then counts, whoever looks when.
            caller: For a call: the caller's number, where known.
            called: For a call: the called number.
        """
        if batch.taxed_in is None:
            return None
        name = batch.taxed_in.of_call(caller=caller, called=called)
        rules = rules_at(self.jurisdiction_at(name, at), at, batch.currency, batch.exemptions)
        place = rules.jurisdiction, rules.taxes
        # What rules compute once they keep: so equal ones must be the same.
        return self._rules.setdefault(place, rules) if rules.taxes else None

    def among(self, destinations: Iterable[str], number: str) -> str:
        """Return the first prefix or group among destinations that a number is in; or none."""
        for each in destinations:
            inside = number.startswith(each) if is_digits(each) else self.group(each).holds(number)
            if inside:
                return each
        return ""

    def exchange(self, currency: str) -> ExchangeRates:
        """Return the exchange rates; where there are none, that currency is the base."""
        if not self.version(EXCHANGE, RATES):
            return no_rates(currency)
        return self._item(EXCHANGE, RATES, ExchangeRates)

    def _item(self, kind: str, name: str, of: type[T], version: int | None = None) -> T:
        if version is None:
            version = self._heads.get((kind, name), 0)
        if not version:
            raise UnknownName(kind, name)
        item = self._items.get((kind, name, version))
        if item is None:
            raise NotLoaded(kind, name, version)
        assert isinstance(item, of)  # noqa: S101  # `decode` made it by kind
        return item


_NO_FLAGS = BatchFlags()
