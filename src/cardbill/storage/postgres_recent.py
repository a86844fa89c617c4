"""Cards as this process left them, so that who goes on with one need not read it again."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any, NamedTuple

from cardbill.storage.contract import Step, View

_MOST = 4_096
_LARGEST = 4_096  # bytes of state
_SECONDS = 30


class _Left(NamedTuple):
    view: View
    key: str | None
    over: bool
    since: float


class Recent:
    """What steps of this process left behind, each good for the next step on its card.

    A call that was authorised here will mostly be settled here, however long it lasts; who has
    just called and is still on the line will mostly call again here. It is worth no more than a
    guess: the step itself proves that the card is still as it was left. The newest 4,096 cards
    of up to 4 KiB are kept.
    """

    def __init__(self) -> None:
        # Without a lock, which a fork could leave locked: what goes wrong is a worse guess.
        self._cards: dict[str, _Left] = {}

    def take(self, card: str, key: str | None) -> View | None:
        """Return how the card was left, once, if a step under that key may go on from there."""
        left = self._cards.pop(card, None)
        if left is None or key is None:
            return None
        if left.key == key:
            return None if left.over else left.view
        return left.view if time.monotonic() - left.since < _SECONDS else None

    def keep(self, view: View, key: str | None, step: Step[Any]) -> None:
        """Keep what a step under that key leaves, which was decided on a view.

        What leaves a record of its key is over: if it comes again, it wants to see that.
        """
        card = step.card
        if card is None or len(card.state) > _LARGEST:
            return
        over = any(record.key == key for record in step.records)
        before = self._cards.get(card.id)
        if before is None or before.view.card.version < card.version:
            left = View(card, None, view.revision)
            self._cards[card.id] = _Left(left, key, over, time.monotonic())
        if len(self._cards) > _MOST:
            with suppress(StopIteration, RuntimeError):  # others were at it
                self._cards.pop(next(iter(self._cards)), None)
