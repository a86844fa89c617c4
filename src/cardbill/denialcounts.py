"""How often callers were denied, by day, batch and reason: best effort, apart from the ledger.

A denial changes no card and costs no write of its own: denials are counted in this process
and now and then added to the store, beside the counts of wrong PINs. What a process that
dies had not added yet is lost. Source: domain.md section 8.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from attrs import frozen

from cardbill.answers import Denied
from cardbill.denials import Denial, denial_of
from cardbill.errors import CardbillError
from cardbill.instants import to_micros
from cardbill.storage.contract import Tally

if TYPE_CHECKING:
    from cardbill.attempts import Attempts

KEPT_DAYS = 400
"""For how long the counts of a day are kept."""

_AT_MOST = 100  # denials that are not in the store yet
_WITHIN = timedelta(seconds=60)
_SUBJECT = "denials|"


@frozen
class DenialCount:
    """How often callers were denied for one reason.

    Attributes:
        day: The day in UTC.
        batch: The card's; empty: no card was known by then.
        reason: Why.
        count: How often.
    """

    day: date
    batch: str
    reason: Denial
    count: int


class DenialCounts:
    """Counts denials.

    Args:
        attempts: Where they are kept.
    """

    def __init__(self, attempts: Attempts) -> None:
        self._attempts = attempts
        self._changing = threading.Lock()  # never held while the store is asked
        self._waiting: Counter[tuple[str, str, str]] = Counter()
        self._since: datetime | None = None

    def note(self, answer: object, at: datetime) -> None:
        """Count an answer, if it is a denial; now and then, add the counts to the store."""
        if not isinstance(answer, Denied):
            return
        day = at.astimezone(UTC).date().isoformat()
        batch = (answer.card_id or "").rpartition("/")[0]
        with self._changing:
            self._waiting[day, batch, answer.reason.value] += 1
            self._since = self._since or at
            full = self._waiting.total() >= _AT_MOST or abs(at - self._since) >= _WITHIN
        if full:
            self.add()

    def add(self) -> None:
        """Add what was counted to the store, as far as it can be reached."""
        with self._changing:
            waiting, self._waiting, self._since = self._waiting, Counter(), None
        days: dict[tuple[str, str], dict[str, int]] = {}
        for (day, batch, reason), count in waiting.items():
            days.setdefault((day, batch), {})[reason] = count
        for (day, batch), reasons in days.items():
            with suppress(CardbillError):  # they are lost: better than counted twice
                self._add(day, batch, reasons)

    def counts(self) -> Iterator[DenialCount]:
        """Yield what the store has, in no order."""
        self.add()
        for subject, state in self._attempts.of(_SUBJECT):
            _, day, batch = subject.split("|", 2)
            for reason, count in json.loads(state).items():
                yield DenialCount(date.fromisoformat(day), batch, denial_of(reason), count)

    def _add(self, day: str, batch: str, reasons: dict[str, int]) -> None:
        over = date.fromisoformat(day) + timedelta(days=KEPT_DAYS)
        keep_until = to_micros(datetime(over.year, over.month, over.day, tzinfo=UTC))

        def added(state: bytes | None) -> Tally[None]:
            total = Counter(json.loads(state or b"{}")) + Counter(reasons)
            return Tally(None, json.dumps(total, sort_keys=True).encode(), keep_until)

        self._attempts.take(f"{_SUBJECT}{day}|{batch}", added)
