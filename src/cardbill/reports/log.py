"""What operators did, and reports that fit no card, as readers want them.

Both are rows of a store with details as JSON; a row of the log ends with its seal, which the
audit checks. Nothing here tells whether a row was altered.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

from attrs import frozen

from cardbill.calls import make_handle
from cardbill.instants import from_micros
from cardbill.journal import BEGUN, detail_of
from cardbill.rows import readable

if TYPE_CHECKING:
    from cardbill.storage.contract import AuditRow, SuspenseRow


@frozen(kw_only=True)
class LogLine:
    """One row of the operators' log.

    Attributes:
        position: In the log, from 1, without gaps.
        at: When it was written.
        actor: Who did it; empty: cardbill itself.
        action: What was done, as ``block``.
        begun: It was written before it was done; a second row follows when it was.
        subject: The card, or the name of what else it was done to.
        detail: What more there is to say, such as the reason.
    """

    position: int
    at: datetime
    actor: str
    action: str
    begun: bool
    subject: str
    detail: dict[str, Any]


@frozen(kw_only=True)
class ParkedReport:
    """What a switch reported of a call on a card that the store never had.

    Attributes:
        key: Of the event; the same report has the same key.
        at: When it came.
        card_id, call_id: Of which call.
        talk_ms: Talk time in milliseconds.
        answered_at, ended_at: The answer and the hang-up, where they were told.
        carrier: Who carried it; ``None``: not told.
        cause: The Q.850 release cause; ``None``: not told.
        access_ms: Time on the access number in milliseconds; ``None``: not told.
    """

    key: str
    at: datetime
    card_id: str
    call_id: str
    talk_ms: int
    answered_at: datetime | None
    ended_at: datetime | None
    carrier: str | None
    cause: int | None
    access_ms: int | None

    @property
    def handle(self) -> str:
        """By what it can be settled in the store that it belongs to."""
        return make_handle(self.card_id, self.call_id)


def log_line(position: int, row: AuditRow) -> LogLine:
    """Return a row of the log as it is read.

    Raises:
        RowUnreadable: Its detail was damaged.
    """
    with readable(f"the log at {position}"):
        detail = dict(detail_of(row))
    return LogLine(
        position=position,
        at=from_micros(row.at),
        actor=row.actor,
        action=row.action.removesuffix(BEGUN),
        begun=row.action.endswith(BEGUN),
        subject=row.subject,
        detail=detail,
    )


def parked_report(row: SuspenseRow) -> ParkedReport:
    """Return an event in suspense as it is read.

    Raises:
        RowUnreadable: Its detail was damaged.
    """
    with readable(f"suspense {row.key}"):
        told = json.loads(row.detail)
        answered, ended = (
            told[name] and datetime.fromisoformat(told[name])
            for name in ("answered_at", "ended_at")
        )
        return ParkedReport(
            key=row.key,
            at=from_micros(row.at),
            card_id=row.card,
            call_id=row.call,
            talk_ms=told["talk_ms"],
            answered_at=answered,
            ended_at=ended,
            carrier=told["carrier"],
            cause=told["cause"],
            access_ms=told.get("access_ms"),
        )
