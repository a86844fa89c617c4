"""Cards as this process left them, so that who goes on with an operation need not read again."""

from __future__ import annotations

import threading
from typing import Any

from cardbill.storage.contract import Step, View

_MOST = 4_096
_LARGEST = 4_096  # bytes of state


class Recent:
    """What steps left behind that go on: a call authorised here will mostly be settled here.

    Each is good for one step under the same key, and worth no more than a guess: the step
    itself proves that the card is still as it was left. The newest 4,096 of up to 4 KiB are kept.
    """

    def __init__(self) -> None:
        self._views: dict[tuple[str, str], View] = {}
        self._using = threading.Lock()

    def take(self, card: str, key: str | None) -> View | None:
        """Return how a step under that key left the card, once; ``None``: that is not known."""
        return None if key is None else self._views.pop((card, key), None)

    def keep(self, view: View, key: str | None, step: Step[Any]) -> None:
        """Keep what a step leaves that was decided on a view, unless its operation is over."""
        if key is None or step.card is None or len(step.card.state) > _LARGEST:
            return
        if any(record.key == key for record in step.records):
            return
        with self._using:
            self._views[step.card.id, key] = View(step.card, None, view.revision)
            if len(self._views) > _MOST:
                self._views.pop(next(iter(self._views)), None)
