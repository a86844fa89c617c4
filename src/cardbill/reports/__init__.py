"""Figures over cards and calls, computed from any store, page by page.

Rows are plain classes of attrs, which ``attrs.asdict`` makes lines of a table of. Source:
domain.md section 8.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING

from cardbill.calls import CallRecord, Outcome
from cardbill.catalogueitems import BATCH
from cardbill.decks import Deck
from cardbill.denialcounts import DenialCount, DenialCounts
from cardbill.errors import InvalidInput
from cardbill.inquiry import account_at, card_at
from cardbill.instants import aware, zone
from cardbill.ledger import EntryKind
from cardbill.names import check_choice, check_count, check_date
from cardbill.paging import audit_rows, call_rows, card_rows, due_cards, suspense_rows
from cardbill.reports.hung import HungCall, expired_call, open_calls
from cardbill.reports.log import LogLine, ParkedReport, log_line, parked_report
from cardbill.reports.margins import Margin, MarginBy, margins
from cardbill.reports.taxes import TaxPeriod, TaxTotal, TaxTotals
from cardbill.reports.utilisation import Utilisation, utilisation
from cardbill.rerating import Comparison, compare, costs, prices
from cardbill.rows import record_from_row

if TYPE_CHECKING:
    from cardbill.batches import Batch
    from cardbill.cards import Card
    from cardbill.catalogue import Snapshot
    from cardbill.seals import Seals
    from cardbill.shelf import Shelf
    from cardbill.storage.contract import Storage


_TAXED = {EntryKind.TAX.value, EntryKind.SALE_TAX.value}


class Reports:
    """Reports over one store; each reads it page by page while calls go on."""

    def __init__(
        self,
        storage: Storage,
        shelf: Shelf,
        seals: Seals,
        now: Callable[[], datetime],
        denials: DenialCounts,
    ) -> None:
        self._storage = storage
        self._seals = seals
        self._shelf = shelf
        self._now = now
        self._denials = denials

    def utilisation(self, batch: str, *, at: datetime | None = None) -> Utilisation:
        """Return what has become of a batch's PINs and money.

        Args:
            batch: The batch's name.
            at: The instant; default: now.

        Raises:
            UnknownName: There is no such batch.
        """
        (terms,) = self._batches(batch)
        return self._utilisation(terms, self._at(at))

    def utilisations(self, *, at: datetime | None = None) -> Iterator[Utilisation]:
        """Yield what has become of each batch's PINs and money, by the batch's name.

        Args:
            at: The instant; default: now.
        """
        now = self._at(at)
        return (self._utilisation(batch, now) for batch in self._batches(None))

    def margins(
        self,
        by: MarginBy | str = MarginBy.DESTINATION,
        *,
        batch: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        time_zone: str = "UTC",
        at: datetime | None = None,
    ) -> list[Margin]:
        """Return revenue, cost, margin, minutes, ASR and ACD of calls, in base currency.

        Calls that were settled count, and those that were charged without: their hold
        expired, or they were never granted. So all rows together have the price of every
        call in the ledger. Charges and taxes on calls are no part of a margin.

        Args:
            by: ``destination``, ``carrier``, ``batch``, ``plan`` or ``day``.
            batch: Only calls of this batch's cards; default: all.
            since: Only calls that ended at this instant or later; default: all.
            until: Only calls that ended before it; default: all.
            time_zone: The IANA zone of the days.
            at: The instant up to which time is replayed; default: now.

        Returns:
            One row per group (and per base currency, if there has been more than one): the
            highest margin first, days in their order.

        Raises:
            UnknownName: There is no such batch.
            InvalidInput: `by` or the zone is unknown, or an instant has no time zone.
        """
        group = check_choice("by", by, MarginBy)
        self._check_batch(batch)
        self._shelf.refresh()
        begin, end, now = _instant("since", since), _instant("until", until), self._at(at)
        records = (
            record
            for record in self._records(batch, now)
            if (begin is None or begin <= record.ended_at)
            and (end is None or record.ended_at < end)
        )
        return margins(records, group, zone("time_zone", time_zone))

    def taxes(
        self,
        period: TaxPeriod | str = TaxPeriod.MONTH,
        *,
        batch: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        time_zone: str = "UTC",
        at: datetime | None = None,
    ) -> list[TaxTotal]:
        """Return the taxes in the ledger by jurisdiction, tax and period, with their base.

        Taxes on the sale of cards and on recharges stand in rows of their own (``on_sale``):
        they never touch a balance. A card that is voided gives them back in the period in
        which it is.

        Args:
            period: ``day``, ``month`` or ``year``.
            batch: Only cards of this batch; default: all.
            since: Only entries of this instant or later; default: all.
            until: Only entries before it; default: all.
            time_zone: The IANA zone of the periods.
            at: The instant up to which time is replayed; default: now.

        Raises:
            UnknownName: There is no such batch.
            InvalidInput: The period or the zone is unknown, or an instant has no time zone.
        """
        totals = TaxTotals(check_choice("period", period, TaxPeriod), zone("time_zone", time_zone))
        begin, end, now = _instant("since", since), _instant("until", until), self._at(at)
        for terms in self._batches(batch):
            for card in self._cards(terms, now):
                if not _TAXED & card.posted.keys():
                    continue
                account = account_at(self._storage, self._shelf, card.id, now, self._seals)
                entries = (
                    entry
                    for entry in account.entries
                    if (begin is None or begin <= entry.at) and (end is None or entry.at < end)
                )
                totals.add(account, terms, entries)
        return totals.rows()

    def denials(
        self,
        *,
        batch: str | None = None,
        since: date | None = None,
        until: date | None = None,
    ) -> list[DenialCount]:
        """Return how often callers were denied, by day, batch and reason, in that order.

        Best effort: a denial leaves nothing in the ledger. What other processes counted within
        the last minute may be missing, and what a process had counted that died. Kept for 400
        days.

        Args:
            batch: Only cards of this batch, or, empty, attempts that led to no card; default:
                all.
            since: Only this day, in UTC, or later; default: all.
            until: Only before this day; default: all.

        Raises:
            UnknownName: There is no such batch.
            InvalidInput: `since` or `until` is no date.
            RowAltered: Counts are not what cardbill wrote: see ``Engine.recount_attempts``.
        """
        self._check_batch(batch or None)
        begin = date.min if since is None else check_date("since", since)
        end = date.max if until is None else check_date("until", until)
        return sorted(
            (
                row
                for row in self._denials.counts()
                if batch in (None, row.batch) and begin <= row.day < end
            ),
            key=lambda row: (row.day, row.batch, row.reason.value),
        )

    def hung_calls(
        self,
        *,
        age_seconds: int = 3_600,
        batch: str | None = None,
        since: datetime | None = None,
        at: datetime | None = None,
    ) -> Iterator[HungCall]:
        """Yield open calls of which nothing was heard for so long, then those nobody ended.

        A call that ends while this looks may be told twice, or not.

        Args:
            age_seconds: Since the grant, or since the last extension: 0 to 31 days.
            batch: Only calls of this batch's cards; default: all.
            since: Of the calls whose hold has ended, only those of this instant or later;
                default: all.
            at: The instant; default: now.

        Raises:
            UnknownName: There is no such batch.
            InvalidInput: The age cannot be used, or an instant has no time zone.
        """
        age = timedelta(seconds=check_count("age_seconds", age_seconds, 0, 31 * 24 * 3600))
        return self._hung(age, self._batches(batch), batch, _instant("since", since), self._at(at))

    def what_if(
        self,
        records: Iterable[CallRecord] | None = None,
        *,
        deck: str | Deck | None = None,
        carrier: str | None = None,
        at: datetime | None = None,
        batch: str | None = None,
    ) -> Comparison:
        """Return what past calls would have been rated at, by another deck or at another date.

        Compared is the rated price of the talk time that was charged, at each call's own
        hour, whether or not the card had the money; or what a carrier charges for its calls.
        A call whose number was purged counts as one that the other deck does not rate.

        Args:
            records: The calls, taken one by one; default: all in the store.
            deck: The deck, or the name of one; default: the one that rated each call, or the
                carrier's, as it stands now.
            carrier: Compare the cost of the calls that it carried, as far as it is known.
            at: Whose rates are in force; default: at each call's own time.
            batch: Only calls of this batch's cards, if `records` are not given.

        Raises:
            UnknownName: There is no such deck, carrier or batch.
            WrongCurrency: A call is in another currency than the deck, or than other calls.
            InvalidInput: Records are given and a batch too; or the instant cannot be used.
        """
        if records is not None and batch is not None:
            raise InvalidInput("batch", batch, "is for the records of the store: give one")
        instant = None if at is None else aware("at", at)
        if records is None:
            self._check_batch(batch)
            records = self._records(batch, self._now())
        if carrier is not None:
            if deck is None:
                deck = self._shelf.get(lambda snapshot: snapshot.carrier(carrier).deck)
            records = (record for record in records if record.carrier == carrier)
        before = prices if carrier is None else costs
        if deck is None:
            own = cache(lambda name: self._shelf.peek(lambda snapshot: snapshot.deck(name)))
            self._shelf.refresh()
            return compare(records, before, lambda hold: own(hold.deck), instant)
        other = deck if isinstance(deck, Deck) else self._deck(deck)
        return compare(records, before, lambda _: other, instant, other.currency)

    def log(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        actor: str | None = None,
        subject: str | None = None,
    ) -> Iterator[LogLine]:
        """Yield what operators did, and cardbill itself, in the order in which it was noted.

        Whether a row was altered is not for this to say: ``Engine.audit`` does.

        Args:
            since: Only what was noted at this instant or later; default: all.
            until: Only what was noted before it; default: all.
            actor: Only what they did; ``""``: cardbill itself; default: everybody.
            subject: Only what was done to this card, or to what has this name; default: all.

        Raises:
            InvalidInput: An instant has no time zone.
            RowUnreadable: A row was damaged.
        """
        begin, end = _instant("since", since), _instant("until", until)
        lines = (log_line(position, row) for position, row in audit_rows(self._storage))
        return (
            line
            for line in lines
            if (begin is None or begin <= line.at)
            and (end is None or line.at < end)
            and actor in (None, line.actor)
            and subject in (None, line.subject)
        )

    def suspense(self) -> Iterator[ParkedReport]:
        """Yield the reports of calls on cards that the store never had, by their keys.

        Raises:
            RowUnreadable: One was damaged.
        """
        return map(parked_report, suspense_rows(self._storage))

    # -- inside ---------------------------------------------------------------------------

    def _hung(
        self,
        age: timedelta,
        batches: list[Batch],
        batch: str | None,
        since: datetime | None,
        at: datetime,
    ) -> Iterator[HungCall]:
        for terms in batches:
            for card in self._cards(terms, at):
                yield from open_calls(card, at, age)
                yield from _expired(card.records, since)
        rows = call_rows(self._storage, batch=batch)
        kept = (row for row in rows if row.kind == Outcome.EXPIRED.value)
        yield from _expired((record_from_row(row, self._seals) for row in kept), since)

    def _utilisation(self, batch: Batch, at: datetime) -> Utilisation:
        flags = self._shelf.peek(lambda snapshot: snapshot.flags(batch.name))
        return utilisation(batch, flags, self._cards(batch, at), at)

    def _batches(self, name: str | None) -> list[Batch]:
        """Return one batch, or all of them."""

        def read(snapshot: Snapshot) -> list[Batch]:
            names = snapshot.names(BATCH) if name is None else [name]
            return [snapshot.batch(each) for each in names]

        return self._shelf.get(read)

    def _check_batch(self, name: str | None) -> None:
        """Check that there is such a batch: of a misspelt one all figures would be nothing."""
        if name is not None:
            self._batches(name)

    def _deck(self, name: str) -> Deck:
        return self._shelf.get(lambda snapshot: snapshot.deck(name))

    def _cards(self, batch: Batch, at: datetime) -> Iterator[Card]:
        for row in card_rows(self._storage, batch.name):
            yield card_at(row, self._shelf, at, self._seals)

    def _records(self, batch: str | None, at: datetime) -> Iterator[CallRecord]:
        """Yield all calls that are over, also those that nobody has swept yet."""
        for row in call_rows(self._storage, batch=batch):
            yield record_from_row(row, self._seals)
        for card_id in due_cards(self._storage, at):
            card = self._storage.view(card_id).card
            if batch in (None, card.batch):
                yield from card_at(card, self._shelf, at, self._seals).records

    def _at(self, at: datetime | None) -> datetime:
        return self._now() if at is None else aware("at", at)


def _expired(records: Iterable[CallRecord], since: datetime | None) -> Iterator[HungCall]:
    for record in records:
        call = expired_call(record)
        if call is not None and (since is None or since <= record.recorded_at):
            yield call


def _instant(field: str, instant: datetime | None) -> datetime | None:
    return None if instant is None else aware(field, instant)
