"""Calls in progress and their end: extended, settled, cancelled.

Events come late, twice, out of order or never; each is answered by what is known of the
call by then. Pure functions, as in :mod:`cardbill.authorization`, on a card that has
caught up with `at`. Source: domain.md section 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from attrs import evolve

from cardbill.answers import Denied, Grant
from cardbill.authorization import blocked, first_use, grant_of, unusable
from cardbill.buckets import Draw, held
from cardbill.calls import CallRecord, Outcome, Report
from cardbill.cards import Card
from cardbill.catalogue import Snapshot
from cardbill.catalogueitems import CARRIER, DECK
from cardbill.denials import Denial
from cardbill.errors import CallEnded, IdempotencyMismatch, InvalidInput, UnknownCall
from cardbill.exchange import Quote, itself
from cardbill.holds import Hold, LimitedBy, renewed, reported, whole_seconds
from cardbill.packages import Unit
from cardbill.plans import Unauthorised
from cardbill.reach import CallRequest, call_terms, plan_of, spendable
from cardbill.routing import Route
from cardbill.taxengines import TaxDecision
from cardbill.taxing import decided

_NO_MORE = {
    LimitedBy.MONEY: Denial.INSUFFICIENT_BALANCE,
    LimitedBy.PLAN: Denial.LIMIT_REACHED,
    LimitedBy.EXPIRY: Denial.EXPIRED,
    LimitedBy.SPENDING: Denial.LIMIT_REACHED,
    LimitedBy.SLICE: Denial.LIMIT_REACHED,
    LimitedBy.RATE: Denial.LIMIT_REACHED,
}


def extend(
    card: Card,
    record: CallRecord | None,
    call_id: str,
    used_seconds: int,
    number: int,
    shelf: Snapshot,
    at: datetime,
) -> Grant | Denied:
    """Note how long a call has lasted so far and, in slices, hold its next slice.

    Nothing is posted. An extension that comes again, or after a later one, changes nothing
    and is answered by how the call stands. A card that was blocked meanwhile gets no more.

    Raises:
        CallEnded: The call is over.
        UnknownCall: No call of that id was granted on this card.
        IdempotencyMismatch: The extension of that number told another time.
        InvalidInput: The time is less than an earlier extension told.
    """
    hold = card.holds.get(call_id)
    if hold is None:
        ended = _ended(card, call_id, record)
        if ended is None:
            raise UnknownCall(call_id, suspended=False)
        raise CallEnded(call_id, ended.outcome.value)
    if number == hold.extension and used_seconds != hold.used_seconds:
        raise IdempotencyMismatch(call_id, ["used_seconds"], [hold.used_seconds])
    replayed = number <= hold.extension
    stopped = blocked(card, shelf)
    if not replayed:
        if used_seconds < hold.used_seconds:
            raise InvalidInput(
                "used_seconds", used_seconds, f"{hold.used_seconds} were reported before"
            )
        if used_seconds:
            _answered(card, hold, at - timedelta(seconds=used_seconds), shelf)
        hold = reported(hold, used_seconds, number, at)
        if stopped is None:
            plan, _ = plan_of(card, shelf.batch(card.batch), shelf)
            available, by = spendable(card, plan, at)
            hold = renewed(hold, available, _offers(card, hold), by)
        card.replace(hold)
    if stopped is not None:
        return stopped
    if hold.max_seconds is not None and hold.used_seconds >= hold.max_seconds:
        assert hold.limited_by is not None  # noqa: S101  # whatever has an end has a reason
        return Denied(reason=_NO_MORE[hold.limited_by], card_id=card.id)
    return evolve(grant_of(card, hold), replayed=replayed)


def _offers(card: Card, hold: Hold) -> tuple[Draw, ...]:
    """Return what the buckets that a call draws on can give it, with what it holds of them."""
    return tuple(
        draw._replace(units=draw.units + card.free_of(card.buckets[draw.bucket]))
        if draw.unit is not Unit.CALLS and draw.bucket in card.buckets
        else draw
        for draw in hold.terms.draws
    )


def settle(
    card: Card,
    record: CallRecord | None,
    call_id: str,
    told: Report,
    number: str | None,
    shelf: Snapshot,
    at: datetime,
) -> CallRecord:
    """End a call by what the switch reports of it.

    Args:
        card: As it stands.
        record: What is known of the call, if it has ended.
        call_id: Of the call.
        told: What the switch reports.
        number: The called number in E.164 digits, where told: needed only to charge a
            call that was never granted.
        shelf: The catalogue.
        at: The instant.

    Raises:
        IdempotencyMismatch: It was settled before with other figures.
        TaxNeeded: A tax engine outside has to be asked first.
    """
    if (hold := card.holds.get(call_id)) is not None:
        route = _route(hold, told, shelf)
        if told.talk_ms:
            _answered(card, hold, _answer_of(told, at), shelf)
        return card.settle(call_id, told, route, at, _decided(card, hold, told, shelf))
    ended = _ended(card, call_id, record)
    if ended is None:
        return _unauthorised(card, call_id, told, number, shelf, at)
    if ended.report is not None:
        return _same(ended, told)
    if ended.hold is None:
        return _unauthorised(card, call_id, told, number, shelf, at)
    hold = _with_what_is_left(card, ended.hold, ended.draws, told)
    ended, route = evolve(ended, hold=hold), _route(hold, told, shelf)
    # One call is taxed in one way: once its hold has charged something, by the rules.
    asks = not ended.total_units
    decision = _decided(card, hold, told, shelf, first=ended.first) if asks else None
    card.records = [r for r in card.records if r.call_id != call_id]
    if told.talk_ms:
        _answered(card, hold, _answer_of(told, at), shelf)
    return card.settle_late(ended, told, route, at, decision)


def _with_what_is_left(card: Card, hold: Hold, taken: Sequence[Draw], told: Report) -> Hold:
    """Return the terms of a call whose hold has ended, with what its buckets can still give.

    What other calls have used since, or has expired, they give no more: that talk time is
    priced as the tariff says, and a bucket that gives nothing at all waives no fee.

    Args:
        card: As it stands.
        hold: As it was granted.
        taken: What the call has used of buckets before.
        told: What the switch reports.
    """
    if not hold.terms.draws:
        return hold
    buckets = card.buckets
    there = {
        draw.bucket: held(taken, draw.bucket)
        + (card.free_of(buckets[draw.bucket]) if draw.bucket in buckets else 0)
        for draw in hold.terms.draws
    }
    seconds = hold.charged_seconds(told.talk_ms)
    due = hold.bill(seconds, told.answered_at, first=False)
    if all(draw.units <= there[draw.bucket] for draw in due.draws):
        return hold
    draws = tuple(
        draw._replace(units=min(draw.units, there[draw.bucket]))
        for draw in hold.terms.draws
        if there[draw.bucket] or not draw.units
    )
    terms = evolve(hold.terms, draws=draws)
    amount = max(hold.amount, terms.highest(seconds, hold.granted_at))
    return evolve(hold, terms=terms, amount=amount)


def cancel(card: Card, record: CallRecord | None, call_id: str, at: datetime) -> CallRecord:
    """End a call that was not made.

    A call that is not known yet is noted as cancelled, so that an authorization that
    arrives after its own cancellation is not granted.

    Raises:
        CallEnded: It was settled.
    """
    if call_id in card.holds:
        return card.release(call_id, Outcome.CANCELLED, at)
    ended = _ended(card, call_id, record)
    if ended is None:
        return card.note(call_id, Outcome.CANCELLED, None, at)
    if ended.report is not None:
        raise CallEnded(call_id, ended.outcome.value)
    return evolve(ended, replayed=True)


def _unauthorised(
    card: Card, call_id: str, told: Report, number: str | None, shelf: Snapshot, at: datetime
) -> CallRecord:
    """Record a call that was never granted; charged where the plan says so and can tell how."""
    batch = shelf.batch(card.batch)
    denied = unusable(card, batch, shelf, at)
    empty = denied is not None and denied.reason is Denial.EXHAUSTED
    if number is None or not told.talk_ms or not (denied is None or empty):
        return card.note(call_id, Outcome.UNAUTHORISED, told, at)
    plan, _ = plan_of(card, batch, shelf)
    answered = _answer_of(told, at)
    deck = shelf.deck(plan.deck)
    match = deck.match(number, answered)
    if plan.unauthorised_calls is Unauthorised.NOTE or match is None:
        return card.note(call_id, Outcome.UNAUTHORISED, told, at)
    if not card.in_use:
        first_use(card, batch, shelf, at)
    seconds = whole_seconds(told.talk_ms)
    request = CallRequest(call_id=call_id, number=number, credentials=())
    terms = call_terms(card, batch, plan, request, number, shelf, answered)(
        deck.tariff(match, number, answered, seconds)
    )
    own = shelf.exchange(card.currency).quote(card.currency, answered)
    hold = Hold(
        call_id=call_id,
        number=number,
        ani=None,
        destination=match.destination,
        prefix=match.prefix,
        deck=plan.deck,
        deck_version=shelf.version(DECK, plan.deck),
        plan=plan.name,
        terms=terms,
        routes=(),
        quote=own or itself(card.currency),
        granted_at=answered,
        cap_seconds=None,
        capped_by=None,
        slice_seconds=None,
        charge_unreported=False,
        max_seconds=None,
        limited_by=None,
        amount=terms.highest(seconds, answered),
    )
    _answered(card, hold, answered, shelf)
    card.watch(plan.limited_hours, at)
    route = _route(hold, told, shelf)
    decision = _decided(card, hold, told, shelf)
    return card.charge_unauthorised(hold, told, route, at, decision)


def _decided(
    card: Card, hold: Hold, told: Report, shelf: Snapshot, *, first: bool = False
) -> TaxDecision | None:
    """Return what a tax engine outside makes of a call; ``None``: it is not asked.

    Args:
        card: Whose call.
        hold: Its terms.
        told: What the switch reports.
        shelf: The catalogue.
        first: It is known to be the first billed call of its card.

    Raises:
        TaxNeeded: The engine has to be asked first.
    """
    rules = hold.terms.taxes
    if rules is None or shelf.answers is None:
        return None
    seconds = hold.charged_seconds(told.talk_ms)
    return decided(
        card,
        f"call {hold.call_id}",
        hold.quoted(seconds, told.answered_at, first=first or not card.answered),
        rules,
        shelf,
        hold.granted_at,
        caller=hold.ani,
        called=hold.number,
    )


def _ended(card: Card, call_id: str, record: CallRecord | None) -> CallRecord | None:
    """Return a call's record: its hold may have expired in this step, as the card caught up."""
    return next((each for each in card.records if each.call_id == call_id), record)


def _answer_of(told: Report, at: datetime) -> datetime:
    """Return when a call was answered, as well as the report tells."""
    ended = told.ended_at or at
    return told.answered_at or ended - timedelta(milliseconds=told.talk_ms)


def _answered(card: Card, hold: Hold, answered_at: datetime, shelf: Snapshot) -> None:
    """Start the validity of a card that waited for its first answered call."""
    if card.awaits_answer:
        answered = max(hold.granted_at, answered_at)
        card.start_validity(shelf.batch(card.batch).expiry_after(answered))


def _route(hold: Hold, told: Report, shelf: Snapshot) -> Route | None:
    """Return who carried the call; a carrier that was not granted is looked up."""
    route = hold.route(told.carrier)
    if told.carrier is None or route is not None:
        return route
    if not hold.number or not shelf.version(CARRIER, told.carrier):
        # Its number was purged; or it is misspelt, which must not make the call free.
        return None
    carrier = shelf.carrier(told.carrier)
    deck = shelf.deck(carrier.deck)
    match = deck.match(hold.number, hold.granted_at)
    quote = _quote(hold, deck.currency, shelf)
    if match is None or quote is None:
        return None
    seconds = whole_seconds(told.talk_ms)
    tariff = deck.tariff(match, hold.number, hold.granted_at, seconds)
    return Route(told.carrier, carrier.dialled(hold.number), match.prefix, tariff, quote)


def _quote(hold: Hold, currency: str, shelf: Snapshot) -> Quote | None:
    """Return what a currency was worth at a grant: as pinned there, or as published for then."""
    for quote in (hold.quote, *(route.quote for route in hold.routes)):
        if quote.currency == currency:
            return quote
    published = shelf.exchange(hold.quote.base).quote(currency, hold.granted_at)
    return published if published and published.base == hold.quote.base else None


def _same(record: CallRecord, told: Report) -> CallRecord:
    """Return the first answer again, if the report is the same."""
    first = record.report
    assert first is not None  # noqa: S101  # the caller looked
    differing = {
        name: before
        for name, before, now in (
            ("talk_ms", first.talk_ms, told.talk_ms),
            ("answered_at", first.answered_at, told.answered_at),
            ("carrier", first.carrier, told.carrier),
        )
        if before != now
    }
    if whole_seconds(first.talk_ms) == whole_seconds(told.talk_ms):
        differing.pop("talk_ms", None)  # which is a report of the same
    if differing:
        raise IdempotencyMismatch(record.call_id, list(differing), list(differing.values()))
    return evolve(record, replayed=True)
