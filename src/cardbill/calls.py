"""One call: what the switch reported of it, the rated record, the handle that names it.

Source: domain.md sections 3, 4 and 7.
"""

from __future__ import annotations

import base64
import binascii
from datetime import datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING

from attrs import evolve, field, frozen

from cardbill import money
from cardbill.accesscost import AccessLeg
from cardbill.buckets import Draw
from cardbill.callterms import BillKind, BillLine
from cardbill.dialing import is_digits
from cardbill.errors import FloatRefused, InvalidHandle, InvalidInput
from cardbill.exchange import Quote
from cardbill.holds import LONGEST_TALK_MS, Hold, whole_seconds
from cardbill.instants import aware
from cardbill.names import LONGEST_NAME, check_count, check_id, check_kind
from cardbill.taxengines import TaxDecision
from cardbill.taxes import Taxed

if TYPE_CHECKING:
    from decimal import Decimal

    from moneyed import Money

_DIGITS = 19  # of a serial, at most


class Outcome(Enum):
    """How a call ended."""

    SETTLED = "settled"
    """The switch reported it; what it costs was charged."""
    CANCELLED = "cancelled"
    """The host gave the grant back; nothing was charged."""
    EXPIRED = "expired"
    """Nobody reported its end in time; what had been reported by then was charged."""
    UNAUTHORISED = "unauthorised"
    """Reported, but never granted on this card; charged only where the plan says so."""


@frozen(kw_only=True)
class Report:
    """What the switch says of a call that ended.

    Attributes:
        talk_ms: From answer to hang-up, in milliseconds; 0: not answered.
        answered_at: The answer, where known.
        ended_at: The hang-up, where known.
        carrier: Who carried it.
        cause: The release cause (Q.850), where known.
        access_ms: How long the caller was on the access number, the dialogue included, in
            milliseconds; ``None``: not told, and taken for the talk time.
    """

    talk_ms: int
    answered_at: datetime | None = None
    ended_at: datetime | None = None
    carrier: str | None = None
    cause: int | None = None
    access_ms: int | None = None


def report(
    *,
    talk_ms: object = None,
    answered_at: datetime | None = None,
    ended_at: datetime | None = None,
    carrier: str | None = None,
    cause: int | None = None,
    access_ms: object = None,
) -> Report:
    """Return a checked report: talk time told as such, or as answer and hang-up.

    Raises:
        FloatRefused: `talk_ms` or `access_ms` is a float.
        InvalidInput: One is negative, longer than 31 days or no whole number; the hang-up
            is before the answer; neither talk time nor both instants are told; the
            carrier can be no name.
    """
    answered = None if answered_at is None else aware("answered_at", answered_at)
    ended = None if ended_at is None else aware("ended_at", ended_at)
    if answered is not None and ended is not None and ended < answered:
        raise InvalidInput("ended_at", ended, "is before answered_at")
    if talk_ms is None:
        if answered is None or ended is None:
            raise InvalidInput("talk_ms", None, "tell it, or both answered_at and ended_at")
        talk_ms = -((answered - ended) // timedelta(milliseconds=1))
    talk = _milliseconds("talk_ms", talk_ms)
    access = None if access_ms is None else _milliseconds("access_ms", access_ms)
    if not check_kind("carrier", "" if carrier is None else carrier, str).isprintable():
        raise InvalidInput("carrier", carrier, "must be printable text")
    if cause is not None:
        check_count("cause", cause, 0, 127)
    return Report(
        talk_ms=talk,
        answered_at=answered,
        ended_at=ended,
        carrier=carrier or None,
        cause=cause,
        access_ms=access,
    )


def _milliseconds(name: str, value: object) -> int:
    if isinstance(value, float):
        raise FloatRefused(name, value, "must be whole milliseconds")
    return check_count(name, value, 0, LONGEST_TALK_MS)


@frozen(kw_only=True)
class CallRecord:
    """The rated record of one call; amounts end in ``_units`` or are ``Money``.

    Attributes:
        call_id, card_id, batch, serial: Whose call.
        currency: The card's ISO 4217 code.
        outcome: How it ended.
        ended_at: The hang-up as reported, or when the record was made.
        recorded_at: When the record was made, or completed by a late report.
        hold: The terms it was granted under, or charged by; ``None``: there were none.
        report: What the switch said; ``None``: nothing.
        seconds: Talk time as charged: clamped to the grant, rounded up.
        rated_units: The rated price, with the taxes in it, whoever paid it; ledger units.
        price_units: What the card's money paid of it, without tax, in ledger units.
        tax_units: All taxes on it, in ledger units.
        lines: What was posted, line by line: price, charges, taxes; empty: the price alone.
        uncollected_units: What it should have cost beyond that: overrun, or a late report.
        short: Of which lines; empty: of the price alone, or nothing.
        draws: What it used of buckets.
        first: It was the first billed call of its card.
        tax_decision: What the tax engine outside said, or what stood in for it; ``None``: it
            was not asked, and the terms of the hold say what the taxes are.
        cost_units: What the carrier charges, in ledger units of its own currency; ``None``:
            it is not known who carried it, or what that currency was worth.
        cost_quote: The carrier's currency and what it was worth at the grant; ``None``: it
            is the card's.
        carrier: Who carried it, where known.
        late: The report came after the hold had ended.
        replayed: This answer was given before; nothing was done this time.
    """

    call_id: str
    card_id: str
    batch: str
    serial: int
    currency: str
    outcome: Outcome
    ended_at: datetime
    recorded_at: datetime
    hold: Hold | None
    report: Report | None = None
    seconds: int = 0
    rated_units: int = 0
    price_units: int = 0
    tax_units: int = 0
    lines: tuple[BillLine, ...] = ()
    uncollected_units: int = 0
    short: tuple[BillLine, ...] = ()
    draws: tuple[Draw, ...] = ()
    first: bool = False
    tax_decision: TaxDecision | None = None
    cost_units: int | None = 0
    cost_quote: Quote | None = None
    carrier: str | None = None
    late: bool = False
    replayed: bool = field(default=False, eq=False)

    @property
    def number(self) -> str:
        """The called number in E.164 digits; empty: never granted, or purged since."""
        return self.hold.number if self.hold else ""

    def without_numbers(self) -> CallRecord:
        """Return it without the caller's and the called number."""
        return evolve(self, hold=self.hold and self.hold.without_numbers())

    @property
    def destination(self) -> str:
        """The deck's name for the called number."""
        return self.hold.destination if self.hold else ""

    @property
    def billed_seconds(self) -> int:
        """For how many seconds usage was billed, by the increments of the rate."""
        hold = self.hold
        if hold is None:
            return 0
        return hold.tariff.billed_seconds(self.seconds, hold.answer(self.answered_at))

    @property
    def answered_at(self) -> datetime | None:
        """The answer as reported; ``None``: not told."""
        return self.report.answered_at if self.report else None

    @property
    def charge_units(self) -> int:
        """All charges on it, without tax, in ledger units."""
        return sum(line.amount for line in self.lines if line.kind is BillKind.CHARGE)

    @property
    def taxed(self) -> Taxed | None:
        """What it was taxed with outside; ``None``: as the terms of its hold say."""
        return None if self.tax_decision is None else self.tax_decision.taxed

    @property
    def total_units(self) -> int:
        """Price, charges and taxes, in ledger units."""
        return self.price_units + self.charge_units + self.tax_units

    @property
    def posted(self) -> tuple[BillLine, ...]:
        """What was posted, line by line."""
        return self.lines or (BillLine(BillKind.PRICE, "", self.price_units),)

    @property
    def cost_currency(self) -> str:
        """The ISO 4217 code of the cost."""
        return self.currency if self.cost_quote is None else self.cost_quote.currency

    @property
    def base_currency(self) -> str:
        """The ISO 4217 code of the margin: the base currency at the grant, or the card's."""
        return self.currency if self.hold is None else self.hold.quote.base

    @property
    def base_price_units(self) -> int:
        """The price before tax in ledger units of the base currency, converted once."""
        return self.price_units if self.hold is None else self.hold.quote.in_base(self.price_units)

    @property
    def base_cost_units(self) -> int | None:
        """The cost in ledger units of the base currency, converted once; ``None``: unknown."""
        if self.cost_units is None or self.hold is None:
            return self.cost_units
        return (self.cost_quote or self.hold.quote).in_base(self.cost_units)

    @property
    def access_cost_units(self) -> int | None:
        """What the access number costs, in ledger units of its provider's currency.

        0: nothing; ``None``: more than any ledger can hold.
        """
        leg, told = self._access_leg, self.report
        if leg is None:
            return 0
        if told is None:
            return leg.cost(self.seconds)
        return leg.cost(whole_seconds(told.talk_ms if told.access_ms is None else told.access_ms))

    @property
    def _access_leg(self) -> AccessLeg | None:
        return None if self.hold is None else self.hold.access_leg

    @property
    def base_access_units(self) -> int | None:
        """The same in the base currency, converted once; ``None``: what it is worth is unknown."""
        units, leg = self.access_cost_units, self._access_leg
        if not units or leg is None:
            return units
        return None if leg.quote is None else leg.quote.in_base(units)

    @property
    def margin_units(self) -> int | None:
        """Price before tax less cost and access cost, in ledger units of the base currency.

        ``None`` where a cost is not known.
        """
        cost, access = self.base_cost_units, self.base_access_units
        return None if cost is None or access is None else self.base_price_units - cost - access

    @property
    def price(self) -> Money:
        """What the card's money paid of the rated price, before tax."""
        return money.money(self.price_units, self.currency)

    @property
    def rated(self) -> Money:
        """The rated price with the taxes in it, whoever paid it."""
        return money.money(self.rated_units, self.currency)

    @property
    def charges(self) -> Money:
        """All charges on the call, before tax."""
        return money.money(self.charge_units, self.currency)

    @property
    def tax(self) -> Money:
        """All taxes on the call."""
        return money.money(self.tax_units, self.currency)

    @property
    def total(self) -> Money:
        """What the card paid: price, charges and taxes."""
        return money.money(self.total_units, self.currency)

    @property
    def uncollected(self) -> Money:
        """What the card should have paid beyond that."""
        return money.money(self.uncollected_units, self.currency)

    @property
    def cost(self) -> Money | None:
        """What the carrier charges; ``None``: it is not known who carried the call."""
        units = self.cost_units
        return None if units is None else money.money(units, self.cost_currency)

    @property
    def access_cost(self) -> Money | None:
        """What the access number costs; ``None``: more than any ledger can hold."""
        units, leg = self.access_cost_units, self._access_leg
        return None if units is None else money.money(units, leg.currency if leg else self.currency)

    @property
    def margin(self) -> Money | None:
        """Price before tax less cost and access cost, in the base currency.

        ``None`` where a cost is not known.
        """
        units = self.margin_units
        return None if units is None else money.money(units, self.base_currency)

    @property
    def margin_percent(self) -> Decimal | None:
        """The margin in percent of the price, to 0.0001; ``None`` without cost or price."""
        units = self.margin_units
        return None if units is None else money.percentage(units, self.base_price_units)


def make_handle(card_id: str, call_id: str) -> str:
    """Return the opaque text that names a call: letters, digits, ``-`` and ``_`` only."""
    both = f"{card_id}\n{call_id}".encode()
    return base64.urlsafe_b64encode(both).rstrip(b"=").decode()


def parse_handle(handle: object) -> tuple[str, str]:
    """Return the card id and the call id that a handle names.

    Raises:
        InvalidHandle: It is none; it is not repeated.
    """
    if not isinstance(handle, str):
        raise InvalidHandle("handle", None, "must be the text that authorize() returned")
    try:
        padded = handle + "=" * (-len(handle) % 4)
        both = base64.b64decode(padded.encode("ascii"), altchars=b"-_", validate=True).decode()
    except (ValueError, binascii.Error):
        raise InvalidHandle("handle", None, "is no call handle of this library") from None
    card_id, newline, call_id = both.partition("\n")
    batch, slash, serial = card_id.rpartition("/")
    named = 1 <= len(batch) <= LONGEST_NAME and batch.isprintable()
    if not (newline and slash and named and 1 <= len(serial) <= _DIGITS and is_digits(serial)):
        raise InvalidHandle("handle", None, "is no call handle of this library")
    return card_id, check_id("call_id", call_id)
