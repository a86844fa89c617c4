"""Faults in what time does to a card."""

from __future__ import annotations

from cardbill import cardstate, control, passing
from tests.sale.planting import Fault

IN_TIME = [
    # -- periods and packages
    Fault(
        "a period is charged a period late",
        0,
        passing._charges,
        "due = periods.begin(number)",
        "due = periods.begin(number + 1)",
    ),
    Fault(
        "what fell due before the expiry is lost if nobody looked",
        0,
        passing._events,
        "if not card.expired(event.at)",
        "if not card.expired(until)",
    ),
    Fault(
        "breakage is dated by whoever looked",
        0,
        passing.catch_up,
        "now = event.at if now is None else max(now, event.at)",
        "now = at",
    ),
    Fault(
        "a renewed package lasts two cycles",
        0,
        passing._renew,
        "ends = cycle.begin(card.cycle + 1)",
        "ends = cycle.begin(card.cycle + 2)",
    ),
    Fault(
        "a package outlasts its cycle",
        12,
        passing._give,
        "ends = valid if ends is None else min(valid, ends)",
        "ends = valid",
    ),
    Fault(
        "charges wait on after the call has expired",
        1,
        passing._hold_expires,
        "card.waiting = False",
        "pass",
    ),
    Fault(
        "an activation charge is taken out of season",
        12,
        passing.activate,
        "charge.trigger is Trigger.ACTIVATION and charge.effective(at)",
        "charge.trigger is Trigger.ACTIVATION",
    ),
    Fault(
        "a renewal comes before what the old bucket loses",
        12,
        passing._renewals,
        "yield _Event(cycle.begin(card.cycle + 1), 2, 0, renew)",
        "yield _Event(cycle.begin(card.cycle + 1), 0, '', renew)",
    ),
    Fault(
        "an empty card pays for the period in which money comes",
        15,
        passing._charges,
        "periods.at(until) + 1",
        "periods.at(until)",
    ),
    Fault(
        "every second period is forgotten",
        1,
        passing._charges,
        "numbers[charge.name] = number + 1",
        "numbers[charge.name] = number + 2",
    ),
    # -- moves to another plan
    Fault(
        "a moved card forgets its place in the cycle",
        286,
        cardstate._rest,
        "and card.cycle is None",
        "",
    ),
    Fault(
        "a move skips a cycle",
        0,
        passing._moves,
        "card.cycle = None if cycle is None else cycle.at(at)",
        "card.cycle = None if cycle is None else cycle.at(at) + 1",
    ),
    Fault(
        "a move charges for the period that is over",
        6,
        passing._moves,
        ".at(at) + 1",
        ".at(at)",
    ),
    Fault(
        "idle time of before a move counts",
        6,
        passing._moves,
        "card.active_at = now if card.idle else None",
        "pass",
    ),
    Fault(
        "a move does not wait behind a charge that waits",
        176,
        passing._events,
        "    if card.waiting:\n        return\n",
        "    if card.waiting:\n        terms = None\n",
    ),
    Fault(
        "a sale forgets the plan that a card was moved to",
        12,
        control._sell,
        "card.plan or (None if plan is None else (plan, shelf.version(PLAN, plan)))",
        "None if plan is None else (plan, shelf.version(PLAN, plan))",
    ),
]
