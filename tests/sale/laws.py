"""What must hold of cards after every step, whatever happened: the laws of money.

Each law looks at what is stored and at nothing that the second opinion says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from cardbill import CallRecord
from cardbill.calls import Report
from cardbill.cards import Card
from cardbill.ledger import EntryKind
from tests.building import Shop
from tests.sale.terms import CARDS, VOUCHERS

EVERY_CARD = (*CARDS, *VOUCHERS)
PUT_ON = {"face", "recharge", "credit", "transfer_in"}


class Books:
    """What is stored of one card, read once."""

    def __init__(self, shop: Shop, card: Card) -> None:
        self.shop, self.card = shop, card
        self.entries = list(shop.bill.entries(card.id))
        self.records = list(shop.bill.records(card_id=card.id))


def the_identity(books: Books) -> None:
    """Face + put on = balance + taken off; balance = available + held; nothing below zero."""
    card, entries = books.card, books.entries
    total = 0
    for seq, entry in enumerate(entries, 1):
        total += entry.amount_units
        assert (entry.seq, entry.balance_units) == (seq, total)
        assert total >= 0
    assert card.balance == (total if entries else card.face)
    moved: Counter[bool] = Counter()
    for entry in entries:
        if entry.kind is not EntryKind.TRANSFER_OUT:  # which comes back where it is refused
            assert (entry.amount_units >= 0) == (
                entry.kind.value in PUT_ON or not entry.amount_units
            )
        moved[entry.kind.value in PUT_ON] += entry.amount_units
    if entries:
        assert moved[True] + moved[False] == card.balance
    assert sum(entry.kind is EntryKind.FACE for entry in entries) == bool(entries)
    told = [entry for entry in entries if entry.kind is EntryKind.SALE_TAX]
    assert len({(entry.reference, entry.name) for entry in told}) == len(told)
    assert not any(entry.amount_units for entry in told)
    assert card.held == sum(hold.amount for hold in card.holds.values())
    assert card.available + card.held == card.balance
    assert 0 <= card.held <= card.balance
    assert all(owed > 0 for owed in card.owed.values())


def each_once(books: Books) -> None:
    """Each call ends once, each period is charged once, the first call is one."""
    ids = [record.call_id for record in books.records]
    assert len(ids) == len(set(ids))
    assert not set(ids) & set(books.card.holds)
    assert sum(record.first for record in books.records) <= 1
    assert any(record.first for record in books.records) <= books.card.answered
    of_time = [
        (entry.name, entry.reference, entry.at)
        for entry in books.entries
        if entry.kind is EntryKind.CHARGE and entry.reference.startswith("period")
    ]
    assert len(of_time) == len(set(of_time))
    expired = books.card.expires_at
    for entry in books.entries:
        if expired and entry.kind in (EntryKind.CHARGE, EntryKind.GIVEN):
            assert entry.at <= expired or not entry.reference.startswith("period")


def calls_pay_what_their_records_say(books: Books) -> None:
    taken: Counter[tuple[str, str]] = Counter()
    for entry in books.entries:
        taken[entry.reference, entry.name] -= entry.amount_units
    for record in books.records:
        for line in record.posted:
            assert line.amount >= 0
            assert taken[record.call_id, line.name] == line.amount
        assert record.rated_units >= 0
        if record.hold is None:
            assert record.total_units == 0
            continue
        assert record.total_units <= record.hold.amount
        granted = record.hold.max_seconds
        told = record.report
        if told and not record.late and granted and told.talk_ms <= granted * 1_000:
            # But for taxes from outside that are more than was reckoned with.
            assert record.uncollected_units == 0 or record.tax_decision is not None


def buckets_add_up(books: Books) -> None:
    """Of each bucket: given = left + used + expired, and what calls hold is part of the left."""
    given: Counter[int] = Counter()
    lost: Counter[int] = Counter()
    for entry in books.entries:
        if entry.kind in (EntryKind.GIVEN, EntryKind.LOST):
            number = int(entry.reference.removeprefix("bucket "))
            (given if entry.kind is EntryKind.GIVEN else lost)[number] += entry.quantity
            assert entry.amount_units == 0
    used: Counter[int] = Counter()
    for record in books.records:
        for draw in record.draws:
            assert draw.units > 0
            used[draw.bucket] += draw.units
    draws: Counter[int] = Counter()
    for hold in books.card.holds.values():
        for draw in hold.terms.draws:
            draws[draw.bucket] += draw.units
    assert set(given) == set(range(1, books.card.bucket_count + 1))
    for number, quantity in given.items():
        left = quantity - used[number] - lost[number]
        bucket = books.card.buckets.get(number)
        assert left == (bucket.left if bucket else 0)
        assert 0 <= draws[number] <= left


def a_hold_covers_its_call(books: Books) -> None:
    """Settled now, for all it was granted or less, a call takes no more than it holds."""
    for call_id, hold in books.card.holds.items():
        most = hold.max_seconds
        for seconds in {0, 1, (most or 7_200) // 2, most or 7_200}:
            alone = books.shop.stored(books.card.id)
            available, left = alone.available, dict(alone.buckets)
            told = Report(talk_ms=seconds * 1_000)
            record: CallRecord = alone.settle(call_id, told, None, books.shop.clock.now)
            assert record.uncollected_units == 0, (seconds, record)
            assert record.total_units <= hold.amount
            assert alone.available >= available
            for number, bucket in left.items():
                after = alone.buckets.get(number)
                assert 0 <= (after.left if after else 0) <= bucket.left


LAWS: dict[str, Callable[[Books], None]] = {
    law.__name__: law
    for law in (
        the_identity,
        each_once,
        calls_pay_what_their_records_say,
        buckets_add_up,
        a_hold_covers_its_call,
    )
}
"""The laws of one card, by name."""


def nothing_is_under_way(cards: Iterable[Card]) -> None:
    """Over all cards: transfers out = transfers in, and none is in transit."""
    moved: Counter[str] = Counter()
    for card in cards:
        moved.update(card.posted)
        assert not card.outgoing
    assert moved["transfer_out"] + moved["transfer_in"] == 0


def operations(shop: Shop, card_id: str) -> list[tuple[Any, ...]]:
    """Return what was done to a card under keys, and refused, in the words of the second opinion.

    In the order of the keys.
    """
    return [
        (
            done.key,
            (done.kind.value, done.name, done.quantity, done.other),
            done.amount_units,
            done.balance_units,
            done.expires_at,
            done.refused,
        )
        for done in sorted(shop.bill.accounts.operations(card_id), key=lambda done: done.key)
    ]


def ledger(shop: Shop, card_id: str) -> list[tuple[Any, ...]]:
    """Return a card's ledger in the words of the second opinion."""
    return [
        (
            entry.at,
            entry.kind.value,
            entry.amount_units,
            entry.balance_units,
            entry.reference,
            entry.name,
            entry.quantity,
        )
        for entry in shop.bill.entries(card_id)
    ]
