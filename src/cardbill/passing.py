"""What time did to a card: replayed instant by instant before anything else is.

Holds expire, buckets run out, packages are renewed, charges fall due, the card moves to another
plan, it expires: at one instant in this order. So a charge that falls due at the very instant of
expiry is taken, before what is left is lost; a package is no longer renewed then. Every step
begins with it, so that the ledger does not depend on when, or whether, anybody swept. Source:
domain.md section 4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, datetime
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from cardbill import charging
from cardbill.charges import PERIODIC, Charge, Short, Trigger
from cardbill.cycles import Periods
from cardbill.operations import RESUMED_AFTER
from cardbill.packages import Given, Package

if TYPE_CHECKING:
    from cardbill.batches import Batch
    from cardbill.cards import Card
    from cardbill.catalogue import Snapshot
    from cardbill.plans import Plan


class _Terms(NamedTuple):
    """What a card's plan lets time do."""

    plan: Plan
    batch: Batch
    used_on: date


class _Event(NamedTuple):
    at: datetime
    rank: int
    tie: str | int
    happen: Callable[[datetime], bool]


def catch_up(card: Card, shelf: Snapshot, at: datetime, *, since: datetime | None = None) -> None:
    """Replay what time did up to and including `at`, instant by instant.

    While calls are open, a charge that does not fit into what is available waits, all later
    ones behind it, a move to another plan and the card's expiry too: what such a call leaves
    pays them first, and until then nobody takes money off the card by hand.

    Args:
        card: The card; :attr:`Card.due_at` says afterwards when time changes it next.
        shelf: The catalogue.
        at: The instant.
        since: What was done before was done at this instant; ``None``: nothing was.
    """
    card.waiting = False
    skips = not card.balance and (card.periods or card.idle)  # see _charges
    nothing_due = card.due_at is None or card.due_at > at
    if since is None and nothing_due and not card.holds and not skips:
        return  # as it was left
    terms, plan = _terms(card, shelf), card.plan
    now = since
    while True:
        if card.plan != plan:  # it has just moved to this one
            terms, plan = _terms(card, shelf), card.plan
        event = min(_events(card, terms, shelf, at), key=lambda each: each[:3], default=None)
        if event is None or event.at > at:
            break
        now = event.at if now is None else max(now, event.at)
        card.waiting = not event.happen(now) or card.waiting
    instants = [out.at + RESUMED_AFTER for out in card.outgoing.values()]
    if event is not None:
        instants.append(event.at)
    card.due_at = min(instants, default=None)


def activate(card: Card, batch: Batch, plan: Plan, shelf: Snapshot, at: datetime) -> None:
    """Do what the first use of a card triggers: packages are given, charges taken.

    A card taken over has had its first use elsewhere: periods that began before are over.
    """
    if not plan.packages and not plan.charges:
        return
    used_at = card.first_used_at or at
    terms = _Terms(plan, batch, used_at.astimezone(batch.zone).date())
    for package in plan.packages:
        if package.given is Given.ACTIVATION:
            _give(card, terms, package, at)
    if (cycle := _cycle(terms)) is not None:
        card.cycle = cycle.at(at)
        _renew(card, terms, cycle, at)
    for charge in plan.charges:
        if charge.trigger is Trigger.PERIOD:
            card.periods[charge.name] = _periods(charge, terms.used_on, batch).at(at) + 1
        elif charge.trigger is Trigger.INACTIVITY:
            card.idle[charge.name] = 1
            card.active_at = at
        elif charge.trigger is Trigger.ACTIVATION and charge.effective(at):
            rules = shelf.taxes(batch, at)
            charging.take(card, charge, charge.units, rules, at, "first use", shelf)


def bought(card: Card, batch: Batch, plan: Plan, package: Package, at: datetime) -> None:
    """Give a package that was bought."""
    used_on = (card.first_used_at or at).astimezone(batch.zone).date()
    _give(card, _Terms(plan, batch, used_on), package, at)


def revive(card: Card, batch: Batch, plan: Plan, expired_at: datetime, at: datetime) -> None:
    """Let a card that had expired go on with the periods that begin after `at`.

    Nothing is made up for the time between: it gets no package and pays no charge for it. What
    was due by its expiry, and waits for an open call, is still to be paid.
    """
    assert card.first_used_at is not None  # noqa: S101  # its account is open
    terms = _Terms(plan, batch, card.first_used_at.astimezone(batch.zone).date())
    cycle = _cycle(terms)
    if card.cycle is not None and cycle is not None and cycle.begin(card.cycle + 1) >= expired_at:
        card.cycle = cycle.at(at)
    for charge in plan.charges:
        if charge.trigger is Trigger.PERIOD:
            periods = _periods(charge, terms.used_on, batch)
            if periods.begin(card.periods.get(charge.name, 1)) > expired_at:
                card.periods[charge.name] = periods.at(at) + 1


# -- events --------------------------------------------------------------------------------


def _terms(card: Card, shelf: Snapshot) -> _Terms | None:
    if card.plan is None or card.first_used_at is None:
        return None
    plan = shelf.plan(*card.plan)
    if not plan.packages and not plan.charges:
        return None
    batch = shelf.batch(card.batch)
    return _Terms(plan, batch, card.first_used_at.astimezone(batch.zone).date())


def _events(card: Card, terms: _Terms | None, shelf: Snapshot, until: datetime) -> Iterator[_Event]:
    for hold in card.holds.values():
        yield _Event(hold.expires_at, 0, hold.call_id, partial(_hold_expires, card, hold.call_id))
    for number, bucket in card.buckets.items():
        if bucket.expires_at is not None and card.free_of(bucket) > 0:
            yield _Event(bucket.expires_at, 1, number, partial(_bucket_expires, card, number))
    if card.waiting:
        return
    if terms is not None:
        yield from (event for event in _renewals(card, terms) if not card.expired(event.at))
        for event in _charges(card, terms, shelf, until):
            if card.expires_at is None or event.at <= card.expires_at:
                yield event
    if card.moving is not None:
        yield _Event(card.moving[2], 4, 0, partial(_moves, card, shelf))
    if card.expires_at is not None and (card.available > 0 or card.has_numbers):
        yield _Event(card.expires_at, 5, 0, partial(_card_expires, card))


def _hold_expires(card: Card, call_id: str, _now: datetime) -> bool:
    card.expire(call_id)
    card.waiting = False
    return True


def _bucket_expires(card: Card, number: int, now: datetime) -> bool:
    card.run_out(number, now)
    return True


def _moves(card: Card, shelf: Snapshot, now: datetime) -> bool:
    """Move a card to its next plan: what that renews and charges begins with its next period.

    That is so at the instant of the move, also where it waited behind a charge until `now`; but
    then a call has just ended, and inactivity is counted from there. Packages and charges of an
    activation are given and taken by an activation only.
    """
    assert card.moving is not None  # noqa: S101  # there is such an event
    at = card.moving[2]
    card.move(at)
    assert card.plan is not None  # noqa: S101  # it has just moved to one
    card.watch(shelf.plan(*card.plan).limited_hours, now)
    if (terms := _terms(card, shelf)) is None:
        card.cycle, card.periods, card.idle = None, {}, {}
        return True
    cycle = _cycle(terms)
    card.cycle = None if cycle is None else cycle.at(at)
    card.periods = {
        charge.name: _periods(charge, terms.used_on, terms.batch).at(at) + 1
        for charge in terms.plan.charges
        if charge.trigger is Trigger.PERIOD
    }
    card.idle = {
        charge.name: 1 for charge in terms.plan.charges if charge.trigger is Trigger.INACTIVITY
    }
    card.active_at = now if card.idle else None
    return True


def _card_expires(card: Card, now: datetime) -> bool:
    card.break_away(now)
    card.drop_numbers()
    return True


def _renewals(card: Card, terms: _Terms) -> Iterator[_Event]:
    if card.cycle is not None and (cycle := _cycle(terms)) is not None:

        def renew(_now: datetime) -> bool:
            assert card.cycle is not None  # noqa: S101  # it was just above
            card.cycle += 1
            _renew(card, terms, cycle, cycle.begin(card.cycle))
            return True

        yield _Event(cycle.begin(card.cycle + 1), 2, 0, renew)


def _renew(card: Card, terms: _Terms, cycle: Periods, at: datetime) -> None:
    assert card.cycle is not None  # noqa: S101  # the caller has just set it
    ends = cycle.begin(card.cycle + 1)
    for package in terms.plan.packages:
        if package.given is Given.CYCLE:
            _give(card, terms, package, at, None if package.carry_over else ends)


def _give(
    card: Card, terms: _Terms, package: Package, at: datetime, ends: datetime | None = None
) -> None:
    """Give a package that is good as long as it says, and until `ends` at most."""
    if package.valid is not None:
        day = at.astimezone(terms.batch.zone).date()
        valid = Periods(day, package.valid.unit, package.valid.count, terms.batch.zone).begin(1)
        ends = valid if ends is None else min(valid, ends)
    card.give(package, at, ends)


def _charges(card: Card, terms: _Terms, shelf: Snapshot, until: datetime) -> Iterator[_Event]:
    for place, charge in enumerate(terms.plan.charges):
        if charge.trigger not in PERIODIC:
            continue
        if charge.trigger is Trigger.PERIOD:
            begins, numbers = terms.used_on, card.periods
        else:
            active = card.active_at or card.first_used_at
            assert active is not None  # noqa: S101  # or there were no terms
            begins, numbers = active.astimezone(terms.batch.zone).date(), card.idle
        number, periods = numbers.get(charge.name, 1), _periods(charge, begins, terms.batch)
        if not card.balance and charge.units and charge.when_short is not Short.OWE:
            # Nothing can be taken until money comes, and then nothing for what was before.
            numbers[charge.name] = max(number, periods.at(until) + 1)
            continue
        due = periods.begin(number)

        def fall_due(
            _now: datetime,
            charge: Charge = charge,
            numbers: dict[str, int] = numbers,
            number: int = number,
            due: datetime = due,
        ) -> bool:
            if charge.effective(due):
                rules = shelf.taxes(terms.batch, due)
                reference = f"period {number}"
                if not charging.take(card, charge, charge.units, rules, due, reference, shelf):
                    return False
            numbers[charge.name] = number + 1
            return True

        yield _Event(due, 3, place, fall_due)


def _periods(charge: Charge, begins: date, batch: Batch) -> Periods:
    assert charge.every is not None  # noqa: S101  # periodic charges have it
    return Periods(begins, charge.every.unit, charge.every.count, batch.zone)


def _cycle(terms: _Terms) -> Periods | None:
    if not any(package.given is Given.CYCLE for package in terms.plan.packages):
        return None
    return terms.plan.billing_cycle.periods(terms.used_on, terms.batch.zone)
