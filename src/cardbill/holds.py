"""The hold: the money set aside for a call in progress, and the terms it was granted under.

A call is granted whole, or in slices that are renewed while it lasts (the initial, update
and terminate requests of RFC 8506). Source: domain.md section 4.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import Enum

from attrs import evolve, frozen

from cardbill.accesscost import AccessLeg
from cardbill.buckets import Draw
from cardbill.callterms import Bill, CallTerms
from cardbill.exchange import Quote
from cardbill.increments import LONGEST_SECONDS
from cardbill.rating import Limit, Rate
from cardbill.routing import Route
from cardbill.tariffs import SETUP_SECONDS, Tariff
from cardbill.taxes import PriceLine, Taxed

SETTLE_SECONDS = 300
"""From the latest end of a call, or of a slice, until its hold expires."""
UNLIMITED_SECONDS = 24 * 3600
"""After how long the hold of a call without a limit expires, as if that were its limit."""
LONGEST_TALK_MS = 31 * 24 * 3600 * 1000
"""A longer talk time is a mistake in units, not a call."""


class LimitedBy(Enum):
    """What keeps a granted call from lasting longer."""

    MONEY = "money"
    """One second more would cost more than there is."""
    PLAN = "plan"
    """The plan's longest call."""
    EXPIRY = "expiry"
    """The card expires."""
    RATE = "rate"
    """The maximum charge of its rate; or 31 days, where the call is rated by several bands."""
    SPENDING = "spending"
    """The plan's limit of what calls may take within some hours."""
    SLICE = "slice"
    """Only the slice granted so far: ask for the next one."""


@frozen
class Hold:
    """The money set aside for a call in progress, and the terms it was granted under.

    A later deck or plan never changes the price of this call.

    Attributes:
        call_id: The host's id of this call attempt.
        number: Called number, E.164 digits.
        ani: The caller's number as far as it is one.
        access: The access number it came in on, where the host said so.
        access_leg: What that costs the platform; ``None``: nothing.
        destination, prefix: The row of the deck that applies.
        deck, deck_version, plan: Where the terms come from.
        terms: What it is billed by.
        routes: The ways to carry it, in order.
        quote: What the card's currency is worth.
        granted_at: When.
        cap_seconds: The longest it may ever last, for other reasons than money; ``None``:
            no such reason.
        capped_by: That reason: the plan or the card's expiry.
        slice_seconds: How long each slice lasts; ``None``: granted whole.
        charge_unreported: Whether a hold that expires is charged in full; otherwise only
            what was reported of the call by then.
        max_seconds: The longest it may last by what is held; ``None``: without end.
        limited_by: Why no longer; ``None``: without end.
        amount: What is held: the most that `max_seconds` can take, in ledger units.
        used_seconds: Talk time reported so far, in all.
        extension: The number of the last report; 0: none yet.
        renewed_at: When that was; ``None``: not yet.
    """

    call_id: str
    number: str
    ani: str | None
    destination: str
    prefix: str
    deck: str
    deck_version: int
    plan: str
    terms: CallTerms
    routes: tuple[Route, ...]
    quote: Quote
    granted_at: datetime
    cap_seconds: int | None
    capped_by: LimitedBy | None
    slice_seconds: int | None
    charge_unreported: bool
    max_seconds: int | None
    limited_by: LimitedBy | None
    amount: int
    used_seconds: int = 0
    extension: int = 0
    renewed_at: datetime | None = None
    access: str | None = None
    access_leg: AccessLeg | None = None

    @property
    def tariff(self) -> Tariff:
        """What rates it."""
        return self.terms.tariff

    @property
    def rate(self) -> Rate:
        """The rate in force at the grant."""
        return self.tariff.rate

    @property
    def expires_at(self) -> datetime:
        """When the hold ends by itself.

        Granted whole: set-up, the longest talk and five minutes after the grant. In
        slices: a slice and five minutes after the last one was asked for.
        """
        if self.slice_seconds is not None and self.renewed_at is not None:
            return self.renewed_at + timedelta(seconds=self.slice_seconds + SETTLE_SECONDS)
        longest = UNLIMITED_SECONDS if self.max_seconds is None else self.max_seconds
        longest = min(longest, LONGEST_TALK_MS // 1000)
        return self.granted_at + timedelta(seconds=SETUP_SECONDS + longest + SETTLE_SECONDS)

    @property
    def unreported_seconds(self) -> int:
        """The talk time that is charged when nobody reports the end of the call."""
        if self.charge_unreported and self.max_seconds is not None:
            return self.max_seconds
        used = self.used_seconds
        return used if self.max_seconds is None else min(used, self.max_seconds)

    def without_numbers(self) -> Hold:
        """Return it without the caller's and the called number, however they are written."""
        routes = tuple(route._replace(number="") for route in self.routes)
        return evolve(self, number="", ani=None, routes=routes)

    def answer(self, answered_at: datetime | None) -> datetime:
        """Return the instant that counts as the answer: the grant where none is told."""
        return self.granted_at if answered_at is None else max(self.granted_at, answered_at)

    def bill(
        self,
        seconds: int,
        answered_at: datetime | None,
        *,
        first: bool,
        taxed: Taxed | None = None,
    ) -> Bill:
        """Return what that talk time, answered then, takes from the card.

        Args:
            seconds: Talk time.
            answered_at: The answer; ``None``: not told.
            first: It is the first billed call of its card.
            taxed: What it is taxed with; ``None``: as its terms say.
        """
        return self.terms.bill(seconds, self.answer(answered_at), first=first, taxed=taxed)

    def quoted(
        self, seconds: int, answered_at: datetime | None, *, first: bool
    ) -> tuple[PriceLine, ...]:
        """Return the amounts of that bill that taxes may be on, as quoted."""
        return self.terms.quoted(seconds, self.answer(answered_at), first=first)

    def charged_seconds(self, talk_ms: int) -> int:
        """Return talk time clamped to the grant, then rounded up to whole seconds."""
        if self.max_seconds is not None:
            talk_ms = min(talk_ms, self.max_seconds * 1000)
        return whole_seconds(talk_ms)

    def route(self, carrier: str | None) -> Route | None:
        """Return the route of that carrier; the only one there is when none is told."""
        if carrier is None:
            return self.routes[0] if len(self.routes) == 1 else None
        return next((route for route in self.routes if route.carrier == carrier), None)


def reported(hold: Hold, used_seconds: int, number: int, at: datetime) -> Hold:
    """Return a hold after the report of that number: how long the call has lasted so far."""
    return evolve(hold, used_seconds=used_seconds, extension=number, renewed_at=at)


def renewed(
    hold: Hold, available: int, offers: tuple[Draw, ...], by: LimitedBy = LimitedBy.MONEY
) -> Hold:
    """Return a hold that covers the talk time reported so far and one slice more.

    As far as money, plan and expiry allow, and never less than before: the switch has been
    told that the call may last so long. What was granted whole stays as it is.

    Args:
        hold: The hold as it is.
        available: Ledger units that may be held beside what is held for it already.
        offers: What the buckets that it draws on can give it, with what it holds of them.
        by: Why no more may be held: money, or the plan's limit of spending.
    """
    if hold.slice_seconds is None or hold.max_seconds is None:
        return hold
    wanted = hold.used_seconds + hold.slice_seconds
    terms = evolve(hold.terms, draws=offers)
    limit = terms.longest(hold.amount + available, hold.cap_seconds, hold.granted_at)
    seconds, limited_by = limit.seconds, limiting(limit, hold.cap_seconds, hold.capped_by, by)
    if seconds is None or wanted < seconds:
        seconds, limited_by = wanted, LimitedBy.SLICE
    if seconds < hold.max_seconds:
        return hold
    amount, kept = held_for(terms, seconds, hold.granted_at)
    return evolve(hold, max_seconds=seconds, limited_by=limited_by, amount=amount, terms=kept)


def limiting(
    limit: Limit,
    cap: int | None,
    capped_by: LimitedBy | None,
    of_money: LimitedBy = LimitedBy.MONEY,
) -> LimitedBy | None:
    """Return why a call may last no longer than a limit that was found under a cap.

    Args:
        limit: How long it may last.
        cap: The most seconds for other reasons than money.
        capped_by: Which.
        of_money: Why there was no more money: the card has none, or may not spend it.
    """
    if limit.by_money:
        return of_money
    return capped_by if limit.seconds == cap else LimitedBy.RATE


def held_for(terms: CallTerms, seconds: int | None, granted_at: datetime) -> tuple[int, CallTerms]:
    """Return what a call of at most that long can take of money, in ledger units.

    And its terms with no more of the buckets than it can take of them.
    """
    amount = terms.highest(LONGEST_SECONDS if seconds is None else seconds, granted_at)
    if terms.draws:
        terms = evolve(terms, draws=terms.reserved(seconds, granted_at))
    return amount, terms


def whole_seconds(talk_ms: int) -> int:
    """Return milliseconds as seconds, each begun second whole."""
    return -(-talk_ms // 1000)
