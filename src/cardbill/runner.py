"""Runs steps on cards: loads what a decision asks for, and takes the step again."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

from cardbill.catalogue import NotLoaded
from cardbill.steps import CatalogueMoved, Decision, step

if TYPE_CHECKING:
    from cardbill.seals import Seals
    from cardbill.shelf import Shelf
    from cardbill.storage.contract import Storage, View

T = TypeVar("T")


class Runner:
    """Steps over one store, by one process's view of its catalogue."""

    def __init__(self, storage: Storage, shelf: Shelf, seals: Seals) -> None:
        self._storage = storage
        self._shelf = shelf
        self._seals = seals

    def step(
        self,
        card_id: str,
        key: str | None,
        at: datetime,
        decide: Decision[T],
        seen: View | None = None,
    ) -> T:
        """Run a decision on a card as one atomic step, and return its answer.

        What this process has `seen` of the card before may save the store a look.
        """
        while True:
            run = step(decide, self._shelf.snapshot, at, self._seals)
            try:
                return self._storage.transact(card_id, run, key=key, seen=seen)
            except NotLoaded as missing:
                self._shelf.load(missing)
            except CatalogueMoved:
                self._shelf.refresh()
