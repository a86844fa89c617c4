"""Histories: drawn once with what the second opinion says of them, and played at a shop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from attrs import evolve

from cardbill import Keyring
from cardbill.cards import Card
from cardbill.errors import CardbillError
from tests.building import Shop
from tests.sale.cards import Answer, Done
from tests.sale.desk import Desk, Move
from tests.sale.laws import EVERY_CARD, LAWS, Books, ledger, nothing_is_under_way, operations
from tests.sale.moves import Player
from tests.sale.terms import Terms, sold, terms

STEPS = 60
AUDITED = 6
"""Every so many steps the audit looks at all that is stored, which the laws do after each."""
KEYS = Keyring.generate()
SECOND_OPINION = "second opinion"
AUDIT = "audit"
TOGETHER = nothing_is_under_way.__name__
OF_MONEY = frozenset({AUDIT, TOGETHER, *LAWS})
EVERY_LAW = OF_MONEY | {SECOND_OPINION}
AFTERWARDS = timedelta(days=150)


class Broken(AssertionError):  # a law is broken
    """A law does not hold."""

    def __init__(self, law: str, seed: int, step: int, problem: object) -> None:
        super().__init__(f"{law}: seed {seed}, step {step}: {problem}")
        self.law = law


class Told(NamedTuple):
    """One move, and what the second opinion says: the answer, and how long each ledger is."""

    move: Move
    answer: Answer
    lengths: dict[str, int]


class History(NamedTuple):
    """A history, with the ledgers and operations that the second opinion comes to in the end."""

    seed: int
    terms: Terms
    told: list[Told]
    ledgers: dict[str, list[tuple[Any, ...]]]
    operations: dict[str, list[tuple[Any, ...]]]
    seen: Counter[str]

    @property
    def end(self) -> datetime:
        return self.told[-1].move.at + AFTERWARDS


@lru_cache(maxsize=64)
def history(seed: int) -> History:
    """Draw a history, and let the second opinion follow it."""
    sold_with = terms(seed)
    player = Player(sold_with, seed)
    told = []
    for _ in range(STEPS):
        move = player.move()
        answer = player.answer(move)
        lengths = {card: len(player.model.cards[card].entries) for card in EVERY_CARD}
        told.append(Told(move, answer, lengths))
    player.model.now += AFTERWARDS
    player.model.sweep()
    ledgers = {card: player.model.cards[card].entries for card in EVERY_CARD}
    done = {card: operated(player.model.cards[card].done) for card in EVERY_CARD}
    return History(seed, sold_with, told, ledgers, done, player.seen + seen_at(player))


def operated(operations: dict[str, Done]) -> list[tuple[Any, ...]]:
    """Return what was done to a card under keys, but for the amount that was asked for."""
    return [
        (key, (done.request[0], *done.request[2:]), *done[1:])
        for key, done in sorted(operations.items())
    ]


def seen_at(player: Player) -> Counter[str]:
    """Count what became of a history's cards."""
    seen: Counter[str] = Counter()
    for card in player.model.cards.values():
        for _, kind, _, _, reference, name, _ in card.entries:
            seen[f"entry {kind}"] += 1
            if kind in ("charge", "given", "lost"):
                seen[f"{kind} {name}"] += 1
            if kind == "tax":
                on = "recurring" if reference.startswith("period") else "surcharge"
                on = "call" if reference in card.records else on
                seen[f"{name} on {on}"] += 1
            if kind == "sale_tax":
                seen[f"{name} on sale"] += 1
        for record in card.records.values():
            seen[f"record {record.outcome}"] += 1
            seen["late"] += record.late
            seen["late, and charged before"] += record.late and record.before > 0
            seen["short of its bill"] += bool(record.short)
            seen["overrun"] += bool(record.told and record.told[0] > record.seconds)
            seen["cost unknown"] += record.cost is None
            seen["access paid"] += record.access_cost > 0
            for number in record.draws:
                seen[f"drew {card.buckets[number].unit}"] += 1
    return seen + player.model.seen


class Played(NamedTuple):
    """What came of playing a history: the answers, the ledger's bytes, and the cards."""

    answers: list[Answer]
    books: dict[str, list[Any]]


class Way(Protocol):
    """How a history is played."""

    def before(self, desk: Desk, move: Move) -> None:
        """Do what comes before a move."""

    def do(self, desk: Desk, move: Move) -> Answer:
        """Do a move, and return the first answer."""


class Plainly:
    """Each request is made once, and nobody sweeps."""

    def before(self, desk: Desk, move: Move) -> None:
        pass

    def do(self, desk: Desk, move: Move) -> Answer:
        return desk.do(move)


@contextmanager
def law(name: str, seed: int, step: int) -> Iterator[None]:
    """Say which law is broken, where."""
    try:
        yield
    except (AssertionError, CardbillError, KeyError, IndexError, ValueError) as error:
        raise Broken(name, seed, step, error) from error


def play(
    played: History,
    kind: str,
    folder: Path,
    way: Way,
    laws: frozenset[str] = frozenset(),
    *,
    engine: dict[str, Any] | None = None,
    look: Callable[[Shop], None] = lambda _shop: None,
) -> Played:
    """Play a history to its end under laws.

    Args:
        played: The history.
        kind, folder: Which store, and where its file may be.
        way: How it is played.
        laws: The laws that must hold after each step.
        engine: Options of the engine.
        look: What looks at the shop in the end.
    """
    answers = []
    with sold(kind, folder, played.terms, KEYS, engine) as shop:
        desk = Desk(shop, engine)
        checked: dict[str, int] = {}
        for step, told in enumerate(played.told):
            with law("answers", played.seed, step):
                way.before(desk, told.move)
                answers.append(way.do(desk, told.move))
                nobody_pays_for_nothing(shop, told.move, answers[-1])
            if SECOND_OPINION in laws:
                compare(shop, played, step, answers[-1])
            check(shop, played.seed, step, laws, checked)
        shop.clock.now = played.end
        with law("answers", played.seed, len(answers)):
            assert shop.bill.sweep().failures == ()
            shop.check_books()
        if SECOND_OPINION in laws:
            with law(SECOND_OPINION, played.seed, len(answers)):
                for card in EVERY_CARD:
                    agree(ledger(shop, card), played.ledgers[card])
                    agree(operations(shop, card), played.operations[card])
        look(shop)
        return Played(answers, ledger_bytes(shop))


def nobody_pays_for_nothing(shop: Shop, move: Move, answer: Answer) -> None:
    """No money is put on a card that has expired, to be lost at once."""
    if move.what in ("recharge", "transfer", "redeem") and answer[0] == "done" and not answer[-1]:
        assert not shop.stored(move.told.get("to", move.card)).expired(move.at)


def compare(shop: Shop, played: History, step: int, answer: Answer) -> None:
    """Hold a step to what the second opinion says of it."""
    told = played.told[step]
    with law(SECOND_OPINION, played.seed, step):
        assert answer == told.answer, f"{told.move}: {answer}, it should be {told.answer}"
        for card in EVERY_CARD:
            agree(ledger(shop, card), played.ledgers[card][: told.lengths[card]])


def check(shop: Shop, seed: int, step: int, laws: frozenset[str], checked: dict[str, int]) -> None:
    """Hold a shop to the laws after a step: each card that it changed, and all of them together."""
    cards = {card: shop.stored(card) for card in EVERY_CARD} if laws else {}
    changed = [card for card in cards if cards[card].version != checked.get(card)]
    checked |= {card: cards[card].version for card in changed}
    for name in LAWS.keys() & laws:
        with law(name, seed, step):
            for card in changed:
                LAWS[name](Books(shop, cards[card]))
    if TOGETHER in laws:
        with law(TOGETHER, seed, step):
            nothing_is_under_way(cards.values())
    if AUDIT in laws and step % AUDITED == AUDITED - 1:
        with law(AUDIT, seed, step):
            report = shop.bill.audit()
            assert report.clean, report.problems


def agree(found: list[Any], expected: list[Any]) -> None:
    """Compare two ledgers, and show where they part."""
    if found != expected:
        both = range(max(len(found), len(expected)))
        at = next(i for i in both if found[i : i + 1] != expected[i : i + 1])
        raise AssertionError(f"{found[at : at + 2]}, it should be {expected[at : at + 2]}")


def as_it_stands(card: Card) -> Card:
    """Return a card without what depends on who looked at it, and how often.

    Which periods an empty card need not pay for is found out when somebody looks.
    """
    skipped: dict[str, Any] = {} if card.balance else {"periods": {}, "idle": {}}
    return evolve(card, version=0, **skipped)


def ledger_bytes(shop: Shop) -> dict[str, list[Any]]:
    """Return all entries, call records and operations, as the store keeps them; and the card."""
    storage = shop.bill.storage
    records = storage.records(limit=100_000)
    return {
        card: [
            as_it_stands(shop.stored(card)),
            *storage.entries(card, limit=100_000),
            *(row for row in records if row.card == card),
        ]
        for card in EVERY_CARD
    }
