"""Faults in calls: their terms, the buckets they draw on, how they end."""

from __future__ import annotations

from cardbill import authorization, buckets, endings, holds, packages, reach, settling
from cardbill.calls import CallRecord
from cardbill.callterms import CallTerms
from cardbill.cards import Card
from cardbill.holds import Hold
from cardbill.packages import Package
from tests.sale.planting import Fault

IN_CALLS = [
    # -- the terms of a call
    Fault(
        "the first call is never charged for being it",
        0,
        CallTerms._charges,
        "if first or not charge.first",
        "if not charge.first",
    ),
    Fault(
        "buckets are not reserved behind free seconds",
        34,
        CallTerms._drawn,
        "max(0, seconds - free)",
        "seconds",
    ),
    Fault(
        "a hold leaves out what the first call pays",
        0,
        CallTerms._pays,
        "first=True",
        "first=False",
    ),
    Fault(
        "what a bucket of money pays is paid again",
        0,
        CallTerms._price,
        "return rated - sum(draw.units for draw in draws if draw.unit is Unit.MONEY), draws",
        "return rated, draws",
    ),
    Fault(
        "calls are billed up to grace",
        0,
        CallTerms.billed,
        "seconds > self",
        "seconds >= self",
    ),
    # -- buckets and packages
    Fault(
        "two calls hold the same units of a bucket",
        6,
        buckets.offered,
        "free = bucket.left - held(draws, bucket.number)",
        "free = bucket.left",
    ),
    Fault(
        "buckets are used in the order they came",
        7,
        buckets.offered,
        "(_expiry(bucket), bucket.number)",
        "bucket.number",
    ),
    Fault(
        "a bucket of calls pushes in front of others",
        12,
        buckets.offered,
        "elif not offers:",
        "else:",
    ),
    Fault(
        "a package of calls counts seconds",
        7,
        Package.unit,
        "Unit.SECONDS if self.calls is None else Unit.CALLS",
        "Unit.SECONDS",
    ),
    Fault(
        "a package's amount is off by a unit",
        0,
        packages._units,
        "return money.units(what, amount, money.currency_code(what, amount.currency))",
        "return 1 + money.units(what, amount, money.currency_code(what, amount.currency))",
    ),
    Fault(
        "a bucket that expires loses what a call holds",
        48,
        Card.run_out,
        "lost = self.free_of(bucket)",
        "lost = bucket.left",
    ),
    Fault(
        "what is carried over joins any bucket of its name",
        81,
        Card.give,
        "and each.expires_at == expires_at",
        "",
    ),
    Fault(
        "what is carried over joins another package of its name",
        17,
        Card.give,
        "bucket.gives(package)",
        "bucket.package == package.name",
    ),
    # -- what calls cost
    Fault(
        "the time of the dialogue costs nothing",
        0,
        CallRecord.access_cost_units,
        "told.talk_ms if told.access_ms is None else told.access_ms",
        "told.talk_ms",
    ),
    Fault(
        "the margin leaves out the access number",
        0,
        CallRecord.margin_units,
        "self.base_price_units - cost - access",
        "self.base_price_units - cost",
    ),
    Fault(
        "a carrier is paid for no more than was granted",
        0,
        endings.settled,
        "carrier_cost(route, actual, answered)",
        "carrier_cost(route, seconds, answered)",
    ),
    # -- granted, extended, ended
    Fault(
        "a limit of calls lets one more through",
        74,
        reach.calls_reached,
        "begun >= limit.calls",
        "begun > limit.calls",
    ),
    Fault(
        "a limit of spending forgets what open calls hold",
        0,
        reach.spendable,
        "most - spent - card.held",
        "most - spent",
    ),
    Fault(
        "a limit of spending forgets what calls took",
        1,
        Card._charge,
        "self._note_usage(at, units=taken)",
        "pass",
    ),
    Fault(
        "a call is no activity",
        6,
        Card._charge,
        "self.touch(at)",
        "pass",
    ),
    Fault(
        "a late report uses a bucket again",
        0,
        Card._use,
        "max(0, draw.units - already)",
        "draw.units",
    ),
    Fault(
        "an unreported first call is not one",
        0,
        Card.expire,
        "first=not self.answered",
        "first=False",
    ),
    Fault(
        "a late report is charged again",
        20,
        endings.settled,
        "min(due.total, hold.amount) - before",
        "min(due.total, hold.amount)",
    ),
    Fault(
        "an overrun is charged beyond the grant",
        0,
        Hold.charged_seconds,
        "talk_ms = min(talk_ms, self.max_seconds * 1000)",
        "pass",
    ),
    Fault(
        "a slice draws on nothing new",
        17,
        settling._offers,
        "units=draw.units + card.free_of(card.buckets[draw.bucket])",
        "units=draw.units",
    ),
    Fault(
        "the validity does not start with a late report",
        6,
        settling.settle,
        "if told.talk_ms:\n        _answered(card, hold, _answer_of(told, at), shelf)",
        "if told.talk_ms:\n        pass",
    ),
    Fault(
        "an ended call can be granted again in the step that ends it",
        6,
        authorization.authorize,
        "ended = record or next((r for r in card.records if r.call_id == request.call_id), None)",
        "ended = record",
    ),
    Fault(
        "a settled call can be cancelled",
        14,
        settling.cancel,
        "    if ended.report is not None:\n        raise CallEnded(call_id, ended.outcome.value)",
        "    pass",
    ),
    Fault(
        "a denied first call leaves its activation charges",
        7,
        authorization._grant,
        "card.put_back(facts)",
        "pass",
    ),
    Fault(
        "a late report counts twice against a limit of spending",
        1,
        Card._charge,
        "record.total_units - before.total_units",
        "record.total_units",
    ),
    Fault(
        "a hold lasts longer than 31 days",
        55,
        Hold.expires_at,
        "longest = min(longest, LONGEST_TALK_MS // 1000)",
        "pass",
    ),
    Fault(
        "a slice that gets no longer tells what limited the one before",
        30,
        holds.renewed,
        "seconds < hold.max_seconds",
        "seconds <= hold.max_seconds",
    ),
]
