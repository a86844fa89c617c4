"""Purges personal data: after a retention time, calls lose the numbers of both parties.

Nothing that money hangs on goes: destination, prefix, times, amounts and terms stay. Each
call is one step on its card, which puts a record without numbers in the place of the old
one, under new seals: so the audit stays clean, and a purge that is cut short is a purge of
fewer calls. Source: domain.md section 8.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from attrs import frozen

from cardbill.errors import CardbillError, InvalidInput, StorageClosed, StorageUnavailable
from cardbill.instants import aware, to_micros
from cardbill.journal import PURGE
from cardbill.names import check_reason
from cardbill.paging import call_rows, due_cards

if TYPE_CHECKING:
    from cardbill.calls import CallRecord
    from cardbill.cards import Card
    from cardbill.journal import Journal
    from cardbill.runner import Runner
    from cardbill.steps import Decision
    from cardbill.storage.contract import Storage


@frozen(kw_only=True)
class Purged:
    """What a purge did.

    Attributes:
        calls: How many calls lost their numbers now.
        failures: Cards that could not be processed, with why; the next purge tries again.
    """

    calls: int
    failures: tuple[tuple[str, CardbillError], ...]


def purge(
    storage: Storage,
    runner: Runner,
    journal: Journal,
    *,
    before: datetime,
    actor: str,
    reason: str,
    batch: str | None,
    at: datetime,
) -> Purged:
    """Take the numbers out of calls that ended before an instant, page by page.

    Args:
        storage: Whose calls.
        runner: Takes the steps.
        journal: Notes who and why, before and after.
        before: The instant: at the latest `at`.
        actor: Who does it.
        reason: Why.
        batch: Only calls of this batch's cards; ``None``: of all.
        at: Now.

    Raises:
        MissingFields: No actor or reason is given.
        InvalidInput: `before` is no aware instant, or lies ahead.
        StorageUnavailable: The store is out of reach; what was purged stays purged.
    """
    check_reason("a purge", actor, reason)
    limit = aware("before", before)
    if limit > at:
        raise InvalidInput("before", before, "lies ahead: calls in progress would be next")

    calls, last = 0, to_micros(limit)
    failures: dict[str, CardbillError] = {}

    def done(card: str, key: str | None, decide: Decision[bool]) -> bool:
        try:
            return runner.step(card, key, at, decide)
        except (StorageUnavailable, StorageClosed):
            raise
        except CardbillError as error:
            failures.setdefault(card, error)
            return False

    def forget(card: Card, record: CallRecord | None, _shelf: object) -> bool:
        if record is None or not record.number or _ended(record) >= limit:
            return False  # another purge was faster, or a late report has come
        card.records.append(record.without_numbers())
        return True

    told = {"reason": reason, "before": limit.isoformat()}
    with journal.noted(PURGE, batch or "", actor, **told) as after:
        for card in due_cards(storage, limit):
            if batch in (None, card.rpartition("/")[0]):
                done(card, None, _nothing)  # what time did comes first in any step
        for row in call_rows(storage, batch=batch):
            if row.number and min(row.ended_at, row.recorded_at) < last:
                calls += done(row.card, row.key, forget)
        after["calls"] = calls
    return Purged(calls=calls, failures=tuple(failures.items()))


def _nothing(_card: Card, _record: object, _shelf: object) -> bool:
    return False


def _ended(record: CallRecord) -> datetime:
    # A switch whose clock is ahead must not keep numbers for longer.
    return min(record.ended_at, record.recorded_at)
