"""Taxes as the ledger has them: by jurisdiction, tax and period, with what they were on.

Source: domain.md sections 6 and 8.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from enum import Enum
from itertools import groupby
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from attrs import define

from cardbill import money
from cardbill.jurisdictions import TaxOn
from cardbill.ledger import Entry, EntryKind
from cardbill.money import RoundingMode

if TYPE_CHECKING:
    from datetime import datetime

    from moneyed import Money

    from cardbill.batches import Batch
    from cardbill.calls import CallRecord
    from cardbill.callterms import CallTerms
    from cardbill.inquiry import Account
    from cardbill.jurisdictions import Tax
    from cardbill.taxes import TaxLine


class TaxPeriod(Enum):
    """How long a period of the report on taxes is."""

    DAY = "day"
    """A local date, as in ``2025-03-31``."""
    MONTH = "month"
    """A month of the calendar, as in ``2025-03`` (the default)."""
    YEAR = "year"
    """A year of the calendar, as in ``2025``."""


_WRITTEN = {TaxPeriod.DAY: 10, TaxPeriod.MONTH: 7, TaxPeriod.YEAR: 4}
"""How much of an ISO date names the period."""

_EVENTS = (EntryKind.CALL, EntryKind.CHARGE, EntryKind.TAX)


@define(kw_only=True)
class TaxTotal:
    """What one tax came to in one period. Amounts in ledger units end in ``_units``.

    Attributes:
        jurisdiction: Whose tax; empty: the terms that it was charged under say none.
        tax: Its name.
        period: In which period: the date of the ledger entry in the report's zone.
        currency: ISO 4217 code.
        on_sale: It is on the sale of cards and on recharges: the customer paid it beside, and
            no card did.
        events: How many calls and charges it was taken with, or how many sales and recharges
            bear it, less those that were voided.
        base_units: What these took for what the tax is on, before any tax; on a sale, what the
            tax is a percentage of: the net price, and of a higher tier the lower taxes too.
        tax_units: What was taken, or paid beside.
    """

    jurisdiction: str
    tax: str
    period: str
    currency: str
    on_sale: bool = False
    events: int = 0
    base_units: int = 0
    tax_units: int = 0

    @property
    def base(self) -> Money:
        """What the tax is on, as `base_units` are."""
        return money.money(self.base_units, self.currency)

    @property
    def amount(self) -> Money:
        """What was taken, or paid beside."""
        return money.money(self.tax_units, self.currency)


class TaxTotals:
    """Adds up the taxes of one account after the other.

    Args:
        period: How long a period is.
        zone: In which zone the dates are.
    """

    def __init__(self, period: TaxPeriod, zone: ZoneInfo) -> None:
        self._written = _WRITTEN[period]
        self._zone = zone
        self._rows: dict[tuple[str, str, str, str, bool], TaxTotal] = {}

    def add(self, account: Account, batch: Batch, entries: Iterable[Entry]) -> None:
        """Take the taxes in that are among these entries of an account.

        Args:
            account: Whose.
            batch: Its batch, whose jurisdiction taxes what is no call.
            entries: Of its ledger; what one call or charge took stands together.
        """
        entries = list(entries)
        self._add_sales(account, entries)
        own = "" if batch.taxed_in is None else batch.taxed_in.of_call()
        for event in _events(entries, account.records):
            record = account.records.get(event[0].reference)
            terms = record.hold.terms if record is not None and record.hold else None
            rules = terms.taxes if terms else None
            jurisdiction = (rules.jurisdiction if rules else "") if record is not None else own
            for entry in event:
                if entry.kind is EntryKind.TAX:
                    row = self._row(jurisdiction, entry, event[0].at)
                    row.events += 1
                    told = _told(entry.name, record)
                    row.base_units += (
                        _base(entry.name, event, terms) if told is None else _taken(told, entry)
                    )
                    row.tax_units -= entry.amount_units

    def rows(self) -> list[TaxTotal]:
        """Return what was added up, by jurisdiction, tax, period and currency."""
        return [self._rows[place] for place in sorted(self._rows)]

    def _add_sales(self, account: Account, entries: Iterable[Entry]) -> None:
        """Add the taxes on sales; a card that was voided gives them back when it was."""
        for entry in entries:
            if entry.kind is EntryKind.SALE_TAX:
                self._add_sale(entry, entry.at, 1)
            elif entry.kind is EntryKind.VOID:
                for paid in account.entries:
                    if paid.kind is EntryKind.SALE_TAX:
                        self._add_sale(paid, entry.at, -1)

    def _add_sale(self, paid: Entry, at: datetime, sign: int) -> None:
        row = self._row(paid.jurisdiction, paid, at, on_sale=True)
        row.events += sign
        row.base_units += sign * paid.base_units
        row.tax_units += sign * paid.quantity

    def _row(
        self, jurisdiction: str, tax: Entry, at: datetime, *, on_sale: bool = False
    ) -> TaxTotal:
        period = at.astimezone(self._zone).date().isoformat()[: self._written]
        place = jurisdiction, tax.name, period, tax.currency, on_sale
        if place not in self._rows:
            self._rows[place] = TaxTotal(
                jurisdiction=jurisdiction,
                tax=tax.name,
                period=period,
                currency=tax.currency,
                on_sale=on_sale,
            )
        return self._rows[place]


def _events(entries: Iterable[Entry], calls: Container[str]) -> Iterator[list[Entry]]:
    """Yield what each call or charge posted at once: its amounts, then its taxes."""
    taking = (entry for entry in entries if entry.kind in _EVENTS)
    for _, alike in groupby(taking, key=lambda entry: (entry.reference, entry.at)):
        event: list[Entry] = []
        for entry in alike:
            # A call may have ended twice at one instant, and charges fall due together.
            new = entry.kind is not EntryKind.TAX and event
            if new and (event[-1].kind is EntryKind.TAX or entry.reference not in calls):
                yield event
                event = []
            event.append(entry)
        yield event


def _base(name: str, event: Sequence[Entry], terms: CallTerms | None) -> int:
    """Return what an event took, before tax, for what a tax is on."""
    tax = _tax(name, terms)
    untaxed = {charge.name for charge in terms.charges if not charge.taxable} if terms else set()
    base = 0
    for entry in event:
        if entry.kind is EntryKind.CALL:
            base -= entry.amount_units * (tax is None or TaxOn.USAGE in tax.on)
        elif entry.kind is EntryKind.CHARGE and entry.name not in untaxed:
            base -= entry.amount_units * (tax is None or TaxOn.SURCHARGE in tax.on)
    return base


def _told(name: str, record: CallRecord | None) -> TaxLine | None:
    """Return a tax of a call as a tax engine outside told it; ``None``: none did."""
    lines = record.taxed.taxes if record is not None and record.taxed is not None else ()
    return next((line for line in lines if line.tax == name), None)


def _taken(line: TaxLine, entry: Entry) -> int:
    """Return what a tax is on, as it was told outside, in proportion to what was taken of it."""
    if not line.amount:
        return line.base
    return money.round_ratio(-entry.amount_units * line.base, line.amount, 1, RoundingMode.HALF_UP)


def _tax(name: str, terms: CallTerms | None) -> Tax | None:
    taxes = terms.taxes.taxes if terms and terms.taxes else ()
    return next((tax for tax in taxes if tax.name == name), None)
