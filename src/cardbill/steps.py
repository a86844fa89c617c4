"""One step on one card: decode, catch up with time, decide, encode. Shared by all engines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

from cardbill.calls import CallRecord
from cardbill.cards import Card
from cardbill.catalogue import Snapshot
from cardbill.errors import CardbillError, CardTooLarge
from cardbill.operations import Operation
from cardbill.packages import ROOM
from cardbill.passing import catch_up
from cardbill.proofs import seal_card
from cardbill.rows import (
    card_to_row,
    entry_to_row,
    is_call,
    open_card,
    operation_from_row,
    operation_to_row,
    record_from_row,
    record_to_row,
)
from cardbill.seals import Seals
from cardbill.storage.contract import LARGEST_STATE, RecordRow, Step, View
from cardbill.taxengines import TaxDecision, TaxRequest

T = TypeVar("T")

_SPARE = 8 * 1024
"""Bytes of a card's state for what must not fail: money, blocking, expiry, the end of calls."""

Decision = Callable[[Card, Any, Snapshot], T]
"""Changes the card and answers; given the record of what was done under the key (of a call a
:class:`CallRecord`, else an :class:`Operation`; ``None``: nothing was) and the catalogue."""


class CatalogueMoved(CardbillError):
    """The store's catalogue is at another revision; never leaves the engine."""


def _read(row: RecordRow, seals: Seals) -> CallRecord | Operation:
    return record_from_row(row, seals) if is_call(row) else operation_from_row(row, seals)


def step(
    decide: Decision[T],
    snapshot: Snapshot,
    at: datetime,
    seals: Seals,
    answers: Mapping[TaxRequest, TaxDecision] | None = None,
) -> Callable[[View], Step[T]]:
    """Return what a store is to run: `decide` on the card as time has left it at `at`.

    What was stored must fit its seals, and what is stored gets new ones.

    The step is repeated by the engine, with a newer snapshot or more answers, when it raises
    :class:`CatalogueMoved`, :class:`~cardbill.catalogue.NotLoaded` or
    :class:`~cardbill.taxengines.TaxNeeded`.

    Args:
        decide: The decision.
        snapshot: The catalogue.
        at: The instant.
        seals: Of the rows.
        answers: What a tax engine outside said so far; ``None``: there is none. What time
            does is taxed without.
    """
    asking = snapshot.asking(answers)

    def run(view: View) -> Step[T]:
        if view.revision != snapshot.revision:
            raise CatalogueMoved
        card, trail, before = open_card(view.card, seals)
        catch_up(card, snapshot, at)
        record = None if view.record is None else _read(view.record, seals)
        outcome = decide(card, record, asking)
        catch_up(card, snapshot, at, since=at)  # what waited for a call that ended
        changed = card_to_row(card, version=card.version + 1)
        done = [
            *(record_to_row(record) for record in card.records),
            *(operation_to_row(operation) for operation in card.operations),
        ]
        if changed.state == before and not card.entries and not done:
            return Step(outcome)
        if card.grows and len(changed.state) > _largest(card):
            problem = f"its state would have {len(changed.state):,} bytes: too many for more calls"
            raise CardTooLarge(f"card {card.id}: {problem}, transfers or numbers")
        trail, entries, records = trail.followed(
            [entry_to_row(card.id, entry) for entry in card.entries],
            done,
            view.record,
            seals,
        )
        return Step(outcome, seal_card(changed, trail, seals), entries, records)

    return run


def _largest(card: Card) -> int:
    """Return how large a card may grow by what can be refused: the rest has room beside it."""
    packages = 0 if card.cycle is None else max(0, ROOM - card.packages_size)
    return LARGEST_STATE - _SPARE - packages
