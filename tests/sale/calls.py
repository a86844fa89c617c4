"""A second opinion on calls: granted, extended, settled, cancelled."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction

from cardbill import Charge, UsageLimit
from tests.sale import costs
from tests.sale.cards import SECOND, Answer, Card, Hold, Record, Refused
from tests.sale.ledger import Ledger
from tests.sale.prices import CallCharge, CallTerms, Draw, Rate, units
from tests.sale.terms import TOLL_FREE_ACCESS


class Calls(Ledger):
    """What becomes of calls."""

    def authorize(self, card_id: str, call: str, to: str | None, access: str | None) -> Answer:
        def act(card: Card) -> Answer:
            if hold := card.holds.get(call):
                if hold.number != to:
                    raise Refused("IdempotencyMismatch")
                return hold.answer(replayed=True)
            if call in card.records:
                raise Refused("CallEnded")
            if reason := self.unusable(card_id, card):
                return "denied", reason
            if to is None:
                return "denied", "invalid_number"
            before = card.copy()
            if not card.used:
                self.first_use(card)
            found = self.granted(card, to, access)
            if isinstance(found, str):
                card.__dict__.update(before.__dict__)
                return "denied", found
            card.holds[call] = found
            card.lately.append((self.now, 1, 0))
            return found.answer(replayed=False)

        return self.step(card_id, act)

    def rate(self, card: Card, number: str) -> Rate | None:
        deck = self.decks[self.plan(card).get("deck", "retail")]
        found = [prefix for prefix in deck if number.startswith(prefix)]
        return deck[max(found, key=len)] if found else None

    def granted(self, card: Card, to: str, access: str | None) -> Hold | str:
        if card.waits:
            return "insufficient_balance"
        plan = self.plan(card)
        if len(card.holds) >= plan["calls_at_once"]:
            return "too_many_calls"
        for limit in plan["usage_limits"]:
            if limit.calls is not None and self.lately(card, limit)[0] >= limit.calls:
                return "limit_reached"
        if (rate := self.rate(card, to)) is None:
            return "no_rate"
        if rate.blocked:
            return "destination_barred"
        if card.available < units(plan["minimum_balance"]):
            return "below_minimum"
        ends = self.expiry(self.now) if card.awaits else card.expires
        cap, capped_by = plan["max_call_seconds"], "plan"
        if ends is not None and (cap is None or (ends - self.now) // SECOND < cap):
            cap, capped_by = (ends - self.now) // SECOND, "expiry"
        if cap == 0:
            return "expired"
        terms = self.call_terms(card, rate, to, access, self.now)
        available, short = self.spendable(card)
        seconds, by_money = terms.longest(available, cap)
        if by_money and seconds is not None and seconds <= rate.unpaid:
            return "limit_reached" if short == "spending" else "insufficient_balance"
        limited_by = short if by_money else None if cap is None else capped_by
        portion = plan["slice_seconds"]
        if portion and (seconds is None or portion < seconds):
            seconds, limited_by = portion, "slice"
        if not (carriers := costs.carriers(to)):
            return "no_route"
        return Hold(
            to, terms.reserving(seconds), self.now, cap, None if cap is None else capped_by,
            access is not None, carriers, portion, plan["unreported_calls"] == "charge",
            seconds, limited_by, terms.most(10**8 if seconds is None else seconds),
        )  # fmt: skip

    def lately(self, card: Card, limit: UsageLimit) -> tuple[int, int]:
        """Return how many calls began within a limit's window, and what calls took.

        The window is counted in sixtieths; what is told late counts when it was told.
        """
        length = timedelta(hours=limit.hours) / 60
        epoch = datetime(1970, 1, 1, tzinfo=UTC)
        oldest = (self.now - epoch) // length - 60
        newest, calls, taken = 0, 0, 0
        for at, begun, units_taken in card.lately:
            newest = max(newest, (at - epoch) // length)
            if newest >= oldest:
                calls, taken = calls + begun, taken + units_taken
        return calls, taken

    def spendable(self, card: Card) -> tuple[int, str]:
        """Return what calls may cost beside what is held, and what keeps it from being more."""
        left, short = card.available, "money"
        for limit in self.plan(card)["usage_limits"]:
            if limit.spend is not None:
                taken = self.lately(card, limit)[1]
                allowed = units(limit.spend) - taken
                self.seen["spent lately"] += taken > 0 and allowed < left
                allowed = max(0, allowed - sum(hold.amount for hold in card.holds.values()))
                if allowed < left:
                    left, short = allowed, "spending"
        return left, short

    def call_terms(
        self, card: Card, rate: Rate, to: str, access: str | None, at: datetime
    ) -> CallTerms:
        def applies(charge: Charge) -> bool:
            trigger = charge.trigger.value
            if trigger not in ("first_answer", "answer", "end") or not self.in_force(charge, at):
                return False
            if (charge.access or charge.access_kinds) and access != TOLL_FREE_ACCESS:
                return False
            if trigger == "first_answer" and card.answered:
                return False
            return not charge.destinations or to.startswith(charge.destinations)

        charges = tuple(
            CallCharge(
                charge.name,
                units(charge.amount) * charge.quantity,
                Fraction(charge.percent or 0) * charge.quantity,
                charge.taxable,
                charge.trigger.value == "first_answer",
            )
            for charge in self.charges(card)
            if applies(charge)
        )
        return CallTerms(rate, charges, self.taxes(at), self.offered(card, to))

    def offered(self, card: Card, to: str) -> tuple[Draw, ...]:
        """Return what a call may draw on: what expires first comes first."""
        forever = datetime.max.replace(tzinfo=UTC)
        good = [
            number
            for number, bucket in card.buckets.items()
            if card.free(number) > 0
            and (bucket.expires is None or bucket.expires > self.now)
            and (not bucket.package.destinations or to.startswith(bucket.package.destinations))
        ]
        good.sort(key=lambda number: (card.buckets[number].expires or forever, number))
        draws: list[Draw] = []
        for number in good:
            bucket = card.buckets[number]
            waives = bucket.package.waives_connect_fee
            if bucket.unit != "calls":
                draws.append(Draw(number, bucket.unit, card.free(number), waives))
            elif not draws:  # it covers the call by itself
                return (Draw(number, "calls", 1, waives),)
        return tuple(draws)

    def begins_to_count(self, card: Card, hold: Hold, answered: datetime) -> None:
        if card.awaits:
            card.awaits = False
            card.expires = self.expiry(max(hold.granted, answered))

    def extend(self, card_id: str, call: str, used: int, number: int) -> Answer:
        def act(card: Card) -> Answer:
            if (hold := card.holds.get(call)) is None:
                raise Refused("CallEnded" if call in card.records else "UnknownCall")
            if number == hold.reports and used != hold.used:
                raise Refused("IdempotencyMismatch")
            new, stopped = number > hold.reports, card.blocked or card_id in self.frozen
            if new:
                if used < hold.used:
                    raise Refused("InvalidInput")
                if used:
                    self.begins_to_count(card, hold, self.now - used * SECOND)
                hold.used, hold.reports, hold.renewed = used, number, self.now
                if not stopped and hold.slice and hold.seconds is not None:
                    self.lengthen(card, hold, used + hold.slice)
            if stopped:
                return "denied", "blocked"
            if hold.seconds is not None and hold.used >= hold.seconds:
                reasons = {"money": "insufficient_balance", "expiry": "expired"}
                return "denied", reasons.get(hold.limited_by or "", "limit_reached")
            return hold.answer(replayed=not new)

        return self.step(card_id, act)

    def lengthen(self, card: Card, hold: Hold, wanted: int) -> None:
        draws = tuple(
            draw
            if draw.unit == "calls"
            else draw._replace(units=draw.units + card.free(draw.bucket))
            for draw in hold.terms.draws
        )
        terms = replace(hold.terms, draws=draws)
        available, short = self.spendable(card)
        seconds, by_money = terms.longest(hold.amount + available, hold.cap)
        limited_by = short if by_money else hold.capped_by
        if seconds is None or wanted < seconds:
            seconds, limited_by = wanted, "slice"
        self.seen["slice renewed"] += seconds > (hold.seconds or 0)
        if seconds >= (hold.seconds or 0):
            hold.seconds, hold.limited_by = seconds, limited_by
            hold.amount, hold.terms = terms.most(seconds), terms.reserving(seconds)

    def settle(
        self,
        card_id: str,
        call: str,
        talk_ms: int,
        carrier: str | None,
        to: str | None,
        access_ms: int | None,
    ) -> Answer:
        talk = math.ceil(Fraction(talk_ms, 1000))
        on_access = None if access_ms is None else math.ceil(Fraction(access_ms, 1000))
        told = talk, carrier

        def act(card: Card) -> Answer:
            record = card.records.get(call)
            if record and record.told:
                if record.told != told:
                    raise Refused("IdempotencyMismatch")
                return record.answer(replayed=True)
            answered = self.now - timedelta(milliseconds=talk_ms)
            hold = record.hold if record else card.holds.pop(call, None)
            if hold is None and talk and (stray := self.stray(card_id, card, to, answered, talk)):
                hold, record = stray, Record("unauthorised", stray)
            if hold is None:
                unknown = None if talk else 0
                card.records[call] = Record("unauthorised", None, told, cost=unknown)
                return card.records[call].answer()
            if record and record.outcome != "unauthorised":
                hold = self.with_what_is_left(card, hold, record, talk)
                record = replace(record, hold=hold)
            if talk:
                self.begins_to_count(card, hold, answered)
            unauthorised = record is not None and record.outcome == "unauthorised"
            after = replace(
                record or Record("settled", hold),
                outcome="unauthorised" if unauthorised else "settled",
                told=told,
                cost=costs.of_carrier(hold.number, hold.carriers, carrier, talk),
                access_cost=costs.of_access(hold.access, talk if on_access is None else on_access),
                seconds=talk if hold.seconds is None else min(talk, hold.seconds),
                late=record is not None and not unauthorised,
            )
            return self.collect(card, call, after, talk, self.now).answer()

        return self.step(card_id, act)

    def with_what_is_left(self, card: Card, hold: Hold, record: Record, talk: int) -> Hold:
        """Return the terms of a call whose hold is over: what buckets cannot give costs money."""
        seconds = talk if hold.seconds is None else min(talk, hold.seconds)
        there = {
            draw.bucket: record.draws.get(draw.bucket, 0) + card.free(draw.bucket)
            for draw in hold.terms.draws
        }
        needs = hold.terms.bill(seconds, first=False).draws
        if all(units <= there[number] for number, units in needs.items()):
            return hold
        self.seen["late, and its package used up"] += 1
        draws = tuple(
            draw._replace(units=min(draw.units, there[draw.bucket]))
            for draw in hold.terms.draws
            if there[draw.bucket] or not draw.units
        )
        terms = replace(hold.terms, draws=draws)
        return replace(hold, terms=terms, amount=max(hold.amount, terms.most(seconds)))

    def stray(
        self, card_id: str, card: Card, to: str | None, answered: datetime, talk: int
    ) -> Hold | None:
        """Return the terms by which a call that was never granted is charged, if it is at all."""
        if to is None or self.unusable(card_id, card) not in ("", "exhausted"):
            return None
        rate = self.rate(card, to)
        if rate is None or self.plan(card)["unauthorised_calls"] == "note":
            return None
        if not card.used:
            self.first_use(card)
        terms = self.call_terms(card, rate, to, None, answered)
        most = terms.most(talk)
        return Hold(
            to, terms, answered, None, None, False, (), None, False, None, None, most
        )  # fmt: skip

    def cancel(self, card_id: str, call: str) -> Answer:
        def act(card: Card) -> Answer:
            record = card.records.get(call)
            if record and record.told:
                raise Refused("CallEnded")
            if record:
                return record.answer(replayed=True)
            card.records[call] = Record("cancelled", card.holds.pop(call, None))
            return card.records[call].answer()

        return self.step(card_id, act)
