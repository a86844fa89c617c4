"""One step on one card: decode, catch up with time, decide, encode. Shared by all engines."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from cardbill.calls import CallRecord
from cardbill.cards import Card
from cardbill.catalogue import Snapshot
from cardbill.errors import CardbillError
from cardbill.passing import catch_up
from cardbill.proofs import seal_card
from cardbill.rows import card_to_row, entry_to_row, open_card, record_from_row, record_to_row
from cardbill.seals import Seals
from cardbill.storage.contract import Step, View

T = TypeVar("T")

Decision = Callable[[Card, CallRecord | None, Snapshot], T]
"""Changes the card and answers; given the operation's record and the catalogue."""


class CatalogueMoved(CardbillError):
    """The store's catalogue is at another revision; never leaves the engine."""


def step(
    decide: Decision[T], snapshot: Snapshot, at: datetime, seals: Seals
) -> Callable[[View], Step[T]]:
    """Return what a store is to run: `decide` on the card as time has left it at `at`.

    What was stored must fit its seals, and what is stored gets new ones.

    The step is repeated by the engine, with a newer snapshot, when it raises
    :class:`CatalogueMoved` or :class:`~cardbill.catalogue.NotLoaded`.
    """

    def run(view: View) -> Step[T]:
        if view.revision != snapshot.revision:
            raise CatalogueMoved
        card, trail, before = open_card(view.card, seals)
        catch_up(card, snapshot, at)
        record = None if view.record is None else record_from_row(view.record, seals)
        outcome = decide(card, record, snapshot)
        catch_up(card, snapshot, at, since=at)  # what waited for a call that ended
        changed = card_to_row(card, version=card.version + 1)
        if changed.state == before and not card.entries and not card.records:
            return Step(outcome)
        trail, entries, records = trail.followed(
            [entry_to_row(card.id, entry) for entry in card.entries],
            [record_to_row(record) for record in card.records],
            view.record,
            seals,
        )
        return Step(outcome, seal_card(changed, trail, seals), entries, records)

    return run
