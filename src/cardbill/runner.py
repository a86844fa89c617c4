"""Runs steps on cards: loads or asks what a decision needs, and takes the step again."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

from cardbill.catalogue import NotLoaded
from cardbill.steps import CatalogueMoved, Decision, step
from cardbill.taxdesk import TaxAnswers
from cardbill.taxengines import TaxNeeded

if TYPE_CHECKING:
    from cardbill.seals import Seals
    from cardbill.shelf import Shelf
    from cardbill.storage.contract import Storage, View
    from cardbill.taxdesk import TaxDesk

T = TypeVar("T")


class Runner:
    """Steps over one store, by one process's view of its catalogue."""

    def __init__(
        self, storage: Storage, shelf: Shelf, seals: Seals, taxes: TaxDesk | None = None
    ) -> None:
        self._storage = storage
        self._shelf = shelf
        self._seals = seals
        self._taxes = taxes

    def step(
        self,
        card_id: str,
        key: str | None,
        at: datetime,
        decide: Decision[T],
        seen: View | None = None,
        *,
        refusable: bool = False,
    ) -> T:
        """Run a decision on a card as one atomic step, and return its answer.

        What this process has `seen` of the card before may save the store a look.

        Raises:
            TaxUnavailable: It is `refusable`, and refused for want of a tax engine's answer.
        """
        answers = None if self._taxes is None else TaxAnswers(self._taxes, refusable=refusable)
        while True:
            found = None if answers is None else answers.found
            run = step(decide, self._shelf.snapshot, at, self._seals, found)
            try:
                return self._storage.transact(card_id, run, key=key, seen=seen)
            except NotLoaded as missing:
                self._shelf.load(missing)
            except TaxNeeded as needed:
                if answers is None:
                    raise
                answers.ask(needed)
            except CatalogueMoved:
                self._shelf.refresh()
