"""What the tests of the engine are built from: a clock, known PINs, a small business.

A test that takes `kind` from EVERY_STORE runs over memory, a SQLite file and PostgreSQL; one that
takes it from STORES leaves PostgreSQL to the soak run.
"""

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from attrs import define, evolve, field
from moneyed import USD, Money

import cardbill
from cardbill import (
    Batch,
    CallRecord,
    Carrier,
    Denied,
    Engine,
    Grant,
    Jurisdiction,
    Keyring,
    Plan,
    testing,
)
from cardbill.cards import Card
from cardbill.ledger import EntryKind
from cardbill.proofs import seal_card
from cardbill.rows import card_from_row, card_to_row, open_card
from cardbill.storage.contract import AuditRow, Step, Storage
from tests.postgres_server import database

EVERY_STORE = ["memory", "sqlite", "postgres"]
STORES = ["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.soak)]

START = testing.START

RETAIL = """\
prefix,destination,rate,increments,connect fee,blocked
1,United States,0.012,1/1,,
1800,Toll-free,0,1/1,,
33,France,0.10,60/60,,
44,United Kingdom,0.06,60/60,,
447,UK mobile,0.15,60/6,0.10,
4487,UK premium,0,1/1,,yes
882,Satellite,1000,60/60,,
"""
ACME = """\
prefix,destination,rate,increments
1,United States,0.005,1/1
44,United Kingdom,0.02,1/1
882,Satellite,500,1/1
"""
BETA = """\
prefix,destination,rate,increments
44,United Kingdom,0.03,1/1
"""

# As dialled in North America.
US = "13055550100"  # carried by acme only
TOLL_FREE = "18005550100"  # free of charge, carried by acme
UK = "011442071234567"  # carried by acme and, dearer, by beta
UK_E164 = "442071234567"
UK_MOBILE = "011447712345678"
BARRED = "011448712345678"
UNRATED = "011861012345678"
UNROUTED = "01133140000000"  # France: rated, but nobody carries it
DEAR = "0118821234567"
INVALID = "12345"

UK_MINUTE = 60_000  # ledger units
LIFETIME = timedelta(days=400)
"""Longer than any hold of these tests lasts."""


class FakeClock(testing.FakeClock):
    tick = testing.FakeClock.advance


class KnownNumbers(testing.SeededNumbers):
    """What PINs are drawn from: the numbers given first, then seeded ones; all are kept."""

    def __init__(self, numbers: Iterable[int] = ()) -> None:
        super().__init__(20250303, first=numbers)


@define(kw_only=True)
class Shop(testing.Shop):
    """A small calling-card business: batch B with plan "Basic", carriers acme and beta."""

    clock: FakeClock
    batch: str = "B"
    url: str
    folder: Path
    others: list[Engine] = field(factory=list)

    def ask(self, call_id: str | None = None, **request: Any) -> Grant | Denied:
        """Authorize in one stage."""
        return super().ask("c1" if call_id is None else call_id, **{"to": UK, **request})

    def second(self, **options: Any) -> Engine:
        """Another engine on the same store, as another process has it; closed with the shop."""
        if self.url == "memory:":
            return super().second(**options)
        options = {"clock": self.clock, **options}
        self.others.append(cardbill.open(self.url, keyring=self.keyring, **options))
        return self.others[-1]

    def publish_retail(self, text: str) -> None:
        self.bill.decks.publish("retail", deck(text))

    def edit(self, card_id: str, **facts: Any) -> None:
        """Change stored facts that no operation changes yet."""
        if "expires_at" in facts:
            facts["due_at"] = facts["expires_at"]

        def decide(view: Any) -> Step[None]:
            card, trail, _ = open_card(view.card, self.keyring.seals)
            changed = card_to_row(evolve(card, **facts), version=card.version + 1)
            return Step(None, seal_card(changed, trail, self.keyring.seals))

        self.bill.storage.transact(card_id, decide)

    def stored(self, card_id: str = "B/1") -> Card:
        """The card as it is stored, before time is replayed."""
        return card_from_row(self.bill.storage.view(card_id).card, self.keyring.seals)

    def ledger(self, card_id: str = "B/1") -> list[tuple[str, int, str]]:
        return [
            (entry.kind.value, entry.amount_units, entry.reference)
            for entry in self.bill.entries(card_id)
        ]

    def records(self, card_id: str = "B/1") -> list[CallRecord]:
        return list(self.bill.records(card_id=card_id))

    def log(self) -> list[AuditRow]:
        """What operators did, without what was published and which PINs were made."""
        rows = [row for _, row in self.bill.storage.audit_log(limit=100_000)]
        return [row for row in rows if not row.action.startswith(("publish", "make-pins"))]

    def check_books(self) -> None:
        report = self.bill.audit()
        assert report.problems == []
        for currency, face in report.face_units.items():
            posted = {kind: units[currency] for kind, units in report.posted_units.items()}
            del posted[EntryKind.FACE]  # cards that were never used have a face value too
            assert face + sum(posted.values()) == report.balance_units[currency]


def deck(text: str, currency: object = USD) -> cardbill.Deck:
    return cardbill.read_deck(io.StringIO(text), currency=currency)


def address(kind: str, folder: Path, name: str = "cards.db") -> str:
    """A store's address; losing the last commits at a power cut does not matter here."""
    if kind == "postgres":
        return database()
    return "memory:" if kind == "memory" else f"sqlite:///{folder / name}?synchronous=normal"


@contextmanager
def open_shop(
    kind: str,
    folder: Path,
    *,
    face: Money = Money(5, USD),  # noqa: B008  # immutable
    quantity: int = 3,
    batch: dict[str, Any] | None = None,
    plan: dict[str, Any] | None = None,
    retail: str = RETAIL,
    assign: bool = True,
    numbers: Iterable[int] = (),
    engine: dict[str, Any] | None = None,
    taxes: Jurisdiction | None = None,
    keyring: Keyring | None = None,
) -> Iterator[Shop]:
    """Open a business over a store of that kind, with the PINs of batch B made."""
    clock, keyring, url = FakeClock(), keyring or Keyring.generate(), address(kind, folder)
    options: dict[str, Any] = {"clock": clock, "below": KnownNumbers(numbers), **(engine or {})}
    with cardbill.open(url, keyring=keyring, **options) as bill:
        bill.decks.publish("retail", deck(retail, face.currency))
        bill.decks.publish("acme-cost", deck(ACME, face.currency))
        bill.decks.publish("beta-cost", deck(BETA, face.currency))
        bill.carriers.publish(Carrier(name="acme", deck="acme-cost"))
        bill.carriers.publish(Carrier(name="beta", deck="beta-cost"))
        bill.plans.publish(
            Plan(name="Basic", deck="retail", currency=face.currency, **(plan or {}))
        )
        if taxes is not None:
            bill.jurisdictions.publish(taxes)
        bill.batches.create(Batch(name="B", face_value=face, quantity=quantity, **(batch or {})))
        bill.batches.generate_pins("B")
        if assign:
            bill.batches.assign("B", plan="Basic")
        shop = Shop(bill=bill, clock=clock, keyring=keyring, url=url, folder=folder)
        try:
            yield shop
        finally:
            for other in shop.others:
                other.close()


def rows(storage: Storage) -> dict[str, list[Any]]:
    """Everything a store holds, to be compared with what it held before.

    But for what the log says of PINs that were to be made: an attempt stands there, refused or not.
    """
    revision, heads = storage.catalogue()
    cards = [
        card
        for head in sorted(heads)
        if head.kind == "batch"
        for card in storage.find_cards(head.name, limit=100_000)
    ]
    return {
        "revision": [revision],
        "catalogue": sorted(heads),
        "cards": cards,
        "credentials": [
            row
            for kind in ("ani", "number+pin", "pin")
            for row in sorted(storage.credentials([card.id for card in cards], kind))
        ],
        "entries": [row for card in cards for row in storage.entries(card.id, limit=100_000)],
        "records": storage.records(limit=100_000),
        "suspense": storage.suspended(limit=100_000),
        "audit": [
            row for _, row in storage.audit_log(limit=100_000) if row.action != "make-pins-begun"
        ],
        "jobs": storage.jobs(limit=100_000),
        "count": [storage.count_cards()],
    }
