"""Makes statements: a card's ledger and calls, put together line by line.

Lines stand in the ledger's own order, so each balance is the ledger's, and what was once
stated of a period stays so: a charge that waited for a call to end belongs to the period in
which it was taken, under the date on which it fell due.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import accumulate
from typing import TYPE_CHECKING

from cardbill.buckets import PackageAmount
from cardbill.catalogueitems import PLAN
from cardbill.errors import InvalidInput
from cardbill.instants import zone
from cardbill.ledger import Entry, EntryKind
from cardbill.locales import locale_of
from cardbill.statements import Statement, StatementLine
from cardbill.statementwords import FALLBACK

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from cardbill.buckets import Draw
    from cardbill.calls import CallRecord
    from cardbill.cards import Card
    from cardbill.catalogue import Snapshot
    from cardbill.inquiry import Account

_OF_CALLS = (EntryKind.CALL, EntryKind.CHARGE, EntryKind.TAX)


def state(
    account: Account,
    time_zone: str,
    language: str,
    since: datetime | None,
    until: datetime | None,
    at: datetime,
) -> Statement:
    """Return the statement of an account for a period.

    Args:
        account: As time has left it at `at`.
        time_zone: Of its dates.
        language: A language tag that babel knows.
        since: Where the period begins; ``None``: at the beginning.
        until: The instant before which it ends; ``None``: it does not.
        at: When it is made.
    """
    card = account.card
    stated = list(_lines(account, time_zone))
    before = [line for moment, line in stated if since is not None and moment < since]
    rest = stated[len(before) :]
    lines = [line for moment, line in rest if until is None or moment < until]
    opening = before[-1].balance_units if before else 0
    if not account.entries:
        opening = card.balance
    return Statement(
        card_id=card.id,
        currency=card.currency,
        time_zone=time_zone,
        language=language,
        since=since,
        until=until,
        made_at=at,
        opening_units=opening,
        closing_units=lines[-1].balance_units if lines else opening,
        lines=tuple(lines),
        left=tuple(bucket.rest for bucket in card.buckets.values()),
        owed_units=card.owed,
    )


def written_for(card: Card, shelf: Snapshot) -> tuple[str, str]:
    """Return the time zone and the language of a card's statements."""
    batch = shelf.batch(card.batch)
    plan = None
    if card.plan is not None:
        plan = shelf.plan(*card.plan)
    elif batch.plan is not None:
        plan = shelf.plan(batch.plan, shelf.version(PLAN, batch.plan))
    language = (plan and plan.language) or FALLBACK
    try:
        locale_of("language", language)
    except InvalidInput:
        language = FALLBACK  # callers hear it, but nobody has written down its dates
    return batch.time_zone, language


def _lines(account: Account, time_zone: str) -> Iterator[tuple[datetime, StatementLine]]:
    """Yield each line with the moment at which it was posted, which never goes back."""
    teller = _Teller(account, zone("time_zone", time_zone))
    entries = [entry for entry in account.entries if not _mark(entry)]
    charged = {entry.reference for entry in entries if entry.kind in _OF_CALLS}
    free = deque(
        sorted(
            (r for r in account.records.values() if r.seconds and r.call_id not in charged),
            key=lambda record: (record.recorded_at, record.call_id),
        )
    )
    balance, before = 0, None
    for entry, moment in zip(entries, _moments(entries), strict=True):
        while free and free[0].recorded_at < moment:
            record = free.popleft()
            yield record.recorded_at, teller.call(record, record.recorded_at, 0, balance)
        place = entry.reference, entry.at
        call = account.records.get(entry.reference) if entry.kind in _OF_CALLS else None
        if call is None:
            yield moment, teller.other(entry)
        elif entry.kind is EntryKind.CALL:
            yield moment, teller.call(call, entry.at, entry.amount_units, entry.balance_units)
        else:
            if place != before:  # buckets paid the price: a line of 0
                yield moment, teller.call(call, entry.at, 0, balance)
            yield moment, teller.other(entry, call.call_id)
        balance, before = entry.balance_units, place
    for record in free:
        yield record.recorded_at, teller.call(record, record.recorded_at, 0, balance)


def _mark(entry: Entry) -> bool:
    """Say whether an entry only notes that something is still to be taxed."""
    return entry.kind is EntryKind.TAX and not entry.amount_units


def _moments(entries: Iterable[Entry]) -> Iterator[datetime]:
    return accumulate((entry.at for entry in entries), max)


class _Teller:
    """Tells what an entry or a call was."""

    def __init__(self, account: Account, tz: ZoneInfo) -> None:
        self._zone = tz
        self._currency = account.card.currency
        given = (entry for entry in account.entries if entry.kind is EntryKind.GIVEN)
        self._packages = {entry.reference: entry.name for entry in given}
        self._told: set[str] = set()

    def other(self, entry: Entry, call_id: str = "") -> StatementLine:
        packages: tuple[PackageAmount, ...] = ()
        if entry.unit is not None:
            packages = (
                PackageAmount(package=entry.name, unit=entry.unit, quantity=entry.quantity),
            )
        return StatementLine(
            at=entry.at.astimezone(self._zone),
            kind=entry.kind,
            name=entry.name,
            call_id=call_id,
            packages=packages,
            amount_units=entry.amount_units,
            balance_units=entry.balance_units,
            currency=self._currency,
        )

    def call(self, record: CallRecord, at: datetime, amount: int, balance: int) -> StatementLine:
        again = record.call_id in self._told  # what a late report added
        self._told.add(record.call_id)
        return StatementLine(
            at=at.astimezone(self._zone),
            kind=EntryKind.CALL,
            name=record.destination,
            call_id=record.call_id,
            number=record.number,
            seconds=record.seconds,
            packages=() if again else tuple(map(self._used, record.draws)),
            amount_units=amount,
            balance_units=balance,
            currency=self._currency,
        )

    def _used(self, draw: Draw) -> PackageAmount:
        name = self._packages.get(f"bucket {draw.bucket}", "")
        return PackageAmount(package=name, unit=draw.unit, quantity=draw.units)
