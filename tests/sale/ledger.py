"""A second opinion on the ledger: what cards with charges, packages and taxes come to.

Written from the rules of the domain (sections 2, 4, 5 and 6), as slow and as literal as they
read: of the library it knows the terms as they are written down, and nothing else. A request is
answered with plain tuples; one that is an error leaves no trace.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from fractions import Fraction
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from dateutil.relativedelta import relativedelta

from cardbill import BillingCycle, Charge, Package, Tax
from tests.sale import costs
from tests.sale.cards import Answer, Bucket, Card, Debt, Event, Record, Refused
from tests.sale.prices import Line, Taxes, half_up, rates, units
from tests.sale.terms import CARDS, RATES, VOUCHERS, Terms
from tests.sale.versions import Version, Versions


class Ledger:
    """All cards of one history, and the terms they are under."""

    def __init__(self, terms: Terms, now: datetime) -> None:
        self.now, self.terms = now, terms
        self.batch = terms.batch
        self.zone = ZoneInfo(self.batch["time_zone"])
        self.decks = {deck: rates(RATES[0]) for deck in ("retail", "cheap")}
        self.assigned = terms.assigned
        self.frozen: set[str] = set()
        self.versions = Versions(Version(now, terms.taxes))
        self._taxes: dict[tuple[Tax, ...], Taxes] = {}
        self.seen: Counter[str] = Counter()
        last = self.batch["expiration_date"]
        self.ends = last and self.midnight(last + timedelta(days=1))
        begins = self.batch["effective_date"]
        self.begins = begins and self.midnight(begins)
        self.cards = {card: Card(terms.face, terms.face, self.ends) for card in (*CARDS, *VOUCHERS)}

    # -- terms ----------------------------------------------------------------------------

    def plan(self, card: Card) -> dict[str, Any]:
        """Return what a card is under, or would be if it was used now."""
        return self.terms.plans[card.plan or "Basic"]

    def charges(self, card: Card) -> list[Charge]:
        return self.plan(card)["charges"]  # type: ignore[no-any-return]

    def packages(self, card: Card, given: str) -> list[Package]:
        return [p for p in self.plan(card)["packages"] if p.given.value == given]

    # -- days -----------------------------------------------------------------------------

    def midnight(self, day: date) -> datetime:
        return datetime.combine(day, time(), self.zone).astimezone(UTC)

    def day(self, at: datetime) -> date:
        return at.astimezone(self.zone).date()

    def begin(self, since: datetime, cycle: BillingCycle, number: int) -> datetime:
        """Return the local midnight at which the so-manieth period since a day begins."""
        length = relativedelta(**{cycle.unit.value: cycle.count * number})  # type: ignore[arg-type]
        return self.midnight(self.day(since) + length)

    def expiry(self, used: datetime) -> datetime | None:
        days = self.batch["expires_days_after_first_use"]
        if days is None:
            return self.ends
        until = self.midnight(self.day(used) + timedelta(days=days + 1))
        return until if self.ends is None else min(until, self.ends)

    def taxes(self, at: datetime, *, begun: bool = False) -> Taxes:
        """Return the taxes on an event; where it was paid in part, those that are left."""
        active = tuple(tax for tax in self.versions.taxes(at) if not (begun and tax.flat))
        return self._taxes.setdefault(active, Taxes(active))

    # -- what time does -------------------------------------------------------------------

    def pass_time(self, card: Card, *, floor: datetime | None = None) -> None:
        """Do what happened up to now, instant by instant; what waited, at `floor` at the earliest.

        At one instant: calls' holds expire, buckets expire, packages are renewed, charges
        fall due, the card moves to another plan, it expires.
        """
        card.waits = False
        while True:
            self.forgo(card)
            due = [event for event in self.events(card) if event.at <= self.now]
            if not due:
                return
            event = min(due, key=lambda each: each[:3])
            floor = event.at if floor is None else max(floor, event.at)
            if event.happen(floor) is False:
                card.waits = True

    def events(self, card: Card) -> Iterator[Event]:
        for call, hold in card.holds.items():
            yield Event(hold.expires, 0, call, partial(self.hold_expires, card, call))
        for number, bucket in card.buckets.items():
            if bucket.expires and card.free(number) > 0:
                yield Event(bucket.expires, 1, number, partial(self.bucket_expires, card, number))
        if card.waits:
            return
        if card.used:
            for event in self.renewals(card, card.used):
                if card.expires is None or event.at < card.expires:
                    yield event
            for event in self.fees(card):
                if card.expires is None or event.at <= card.expires:
                    self.seen["charge at the instant of expiry"] += event.at == card.expires
                    yield event
        if card.moving:
            yield Event(card.moving[1], 4, 0, partial(self.moves, card))
        if card.expires and card.available > 0:
            yield Event(card.expires, 5, 0, partial(self.card_expires, card))

    def hold_expires(self, card: Card, call: str, _floor: datetime) -> None:
        hold = card.holds.pop(call)
        at = hold.expires
        seconds = hold.used if hold.seconds is None else min(hold.used, hold.seconds)
        if hold.whole and hold.seconds is not None:
            seconds = hold.seconds
        record = Record(
            "expired",
            hold,
            seconds=seconds,
            cost=costs.of_carrier(hold.number, hold.carriers, None, seconds),
            access_cost=costs.of_access(hold.access, seconds),
        )
        self.collect(card, call, record, None, at)
        card.waits = False

    def bucket_expires(self, card: Card, number: int, floor: datetime) -> None:
        lost, bucket = card.free(number), card.buckets[number]
        late = bucket.expires is not None and floor > bucket.expires
        self.seen[f"{bucket.unit} expired while {'held' if late else 'free'}"] += 1
        bucket.left -= lost
        card.post(floor, "lost", 0, f"bucket {number}", bucket.package.name, lost)

    def card_expires(self, card: Card, floor: datetime) -> None:
        self.seen["expired with a call open"] += bool(card.holds)
        self.seen["expired after a call that was open"] += floor > (card.expires or floor)
        card.open(floor)
        card.post(floor, "breakage", -card.available)

    def moves(self, card: Card, floor: datetime) -> None:
        """Put a card under its next plan, which renews and charges from its next period on."""
        assert card.moving
        self.seen["moved with a call open"] += bool(card.holds)
        self.seen["moved before its use"] += not card.used
        self.seen["moved later"] += floor == card.moving[1] < self.now
        self.seen["moved behind a charge"] += floor > card.moving[1]
        (card.plan, at), card.moving = card.moving, None
        if card.entries:
            card.post(at, "plan", 0, "version 1", card.plan)
        if card.used:
            card.active, card.idle = floor, {}
            card.cycle = self.next(card.used, self.plan(card)["billing_cycle"], at) - 1
            card.period = {
                charge.name: self.next(card.used, charge.every, at)
                for charge in self.charges(card)
                if charge.every and charge.trigger.value == "period"
            }

    def revive(self, card: Card, expired: datetime) -> None:
        """Go on with what begins after now; but what was due by its expiry, and waits, stays."""
        assert card.used
        self.seen["revived"] += 1
        cycle = self.plan(card)["billing_cycle"]
        if self.packages(card, "cycle") and self.begin(card.used, cycle, card.cycle + 1) >= expired:
            card.cycle = self.next(card.used, cycle, self.now) - 1
        for charge in self.charges(card):
            if charge.every is None or charge.trigger.value != "period":
                continue
            if self.due(card, charge) > expired:
                card.period[charge.name] = self.next(card.used, charge.every, self.now)

    def next(self, since: datetime, cycle: BillingCycle, at: datetime) -> int:
        """Return the number of the first period that begins after an instant."""
        number = 1
        while self.begin(since, cycle, number) <= at:
            number += 1
        return number

    def renewals(self, card: Card, used: datetime) -> Iterator[Event]:
        if self.packages(card, "cycle"):

            def renew(_floor: datetime) -> None:
                card.cycle += 1
                self.renew(card, used, self.begin(used, cycle, card.cycle))

            cycle = self.plan(card)["billing_cycle"]
            yield Event(self.begin(used, cycle, card.cycle + 1), 2, 0, renew)

    def renew(self, card: Card, used: datetime, at: datetime) -> None:
        until = self.begin(used, self.plan(card)["billing_cycle"], card.cycle + 1)
        for package in self.packages(card, "cycle"):
            self.give(card, package, at, None if package.carry_over else until)

    def give(self, card: Card, package: Package, at: datetime, until: datetime | None) -> None:
        if package.valid:
            until = min(filter(None, (self.begin(at, package.valid, 1), until)))
        same = self.left_of(card, package)
        joined = [n for n in same if package.carry_over and card.buckets[n].expires == until]
        self.seen["carried over"] += bool(joined)
        self.seen["another package of the name"] += any(
            b.left and b.package.name == package.name and not alike(b.package, package)
            for b in card.buckets.values()
            if package.carry_over and not joined
        )
        if not joined and same and not card.room(package):
            self.seen["joined for want of room"] += 1
            ends = [card.buckets[number].expires for number in same]
            latest = None if None in ends else max(filter(None, ends))
            joined = [number for number in same if card.buckets[number].expires == latest]
            until = None if None in (latest, until) else max(filter(None, (latest, until)))
            card.buckets[joined[0]].expires = until
        lost = not joined and not card.room(package, rooms=2)
        if package.amount is not None:
            unit, quantity = "money", units(package.amount)
        elif package.calls is not None:
            unit, quantity = "calls", package.calls
        else:
            unit, quantity = "seconds", package.seconds or 0
        number = joined[0] if joined else len(card.buckets) + 1
        bucket = card.buckets.setdefault(number, Bucket(package, unit, 0, until))
        card.post(at, "given", 0, f"bucket {number}", package.name, quantity)
        if lost:
            card.post(at, "lost", 0, f"bucket {number}", package.name, quantity)
        else:
            bucket.left += quantity

    def left_of(self, card: Card, package: Package) -> list[int]:
        """Return the numbers of what is left of a package."""
        return [
            number
            for number, bucket in card.buckets.items()
            if bucket.left
            and bucket.package.name == package.name
            and alike(bucket.package, package)
        ]

    def fees(self, card: Card) -> Iterator[Event]:
        for place, charge in enumerate(self.charges(card)):
            if charge.every is not None:
                yield Event(self.due(card, charge), 3, place, partial(self.fall_due, card, charge))

    def numbers(self, card: Card, charge: Charge) -> dict[str, int]:
        """Return the numbers of the periods that fall due next, of charges of that kind."""
        return card.period if charge.trigger.value == "period" else card.idle

    def due(self, card: Card, charge: Charge) -> datetime:
        """Return when a charge falls due next: by the first use, or by the last activity."""
        since = card.used if charge.trigger.value == "period" else card.active or card.used
        assert since
        assert charge.every
        return self.begin(since, charge.every, self.numbers(card, charge).get(charge.name, 1))

    def fall_due(self, card: Card, charge: Charge, _floor: datetime) -> bool:
        at, numbers = self.due(card, charge), self.numbers(card, charge)
        number = numbers.get(charge.name, 1)
        if self.in_force(charge, at):
            taken = self.take(card, charge, self.fee_of(charge), at, f"period {number}")
            if not taken:
                self.seen["charge waits"] += 1
                return False
        numbers[charge.name] = number + 1
        return True

    def forgo(self, card: Card) -> None:
        """A card without any money pays nothing for that time, not even later; but it may owe."""
        if card.balance or card.waits or card.used is None:
            return
        for charge in self.charges(card):
            if charge.every and charge.amount and charge.when_short.value != "owe":
                numbers = self.numbers(card, charge)
                while self.due(card, charge) <= self.now:
                    numbers[charge.name] = numbers.get(charge.name, 1) + 1

    # -- charges --------------------------------------------------------------------------

    def in_force(self, charge: Charge, at: datetime) -> bool:
        begin, end = charge.effective_from, charge.effective_until
        return (begin is None or begin <= at) and (end is None or at < end)

    def fee_of(self, charge: Charge, base: int = 0) -> int:
        """Return what a charge comes to, as quoted: of a recharge by what is put on."""
        share = Fraction(charge.percent or 0) * charge.quantity * base / 100
        return units(charge.amount) * charge.quantity + half_up(share)

    def line(self, charge: Charge, amount: int) -> Line:
        periodic = charge.trigger.value in ("period", "inactivity")
        return Line("recurring" if periodic else "surcharge", amount, charge.taxable)

    def take(
        self, card: Card, charge: Charge, amount: int, at: datetime, reference: str,
        *, waits: bool = True,
    ) -> bool:  # fmt: skip
        taxes, line = self.taxes(at), partial(self.line, charge)
        if taxes.total([line(amount)]) > card.available:
            if card.holds and waits:
                return False
            self.seen[f"{charge.name} short"] += 1
            self.seen["short beside a call"] += bool(card.holds)
            if charge.when_short.value == "drop":
                return True
            fits = taxes.largest(card.available, line)
            if charge.when_short.value == "owe":
                card.debts.setdefault(charge.name, []).append(Debt(amount - fits, fits > 0))
            amount = fits
        self.pay(card, line(amount), charge.name, at, reference)
        return True

    def pay(
        self, card: Card, line: Line, name: str, at: datetime, reference: str,
        *, begun: bool = False,
    ) -> None:  # fmt: skip
        (net,), taxes = self.taxes(at, begun=begun).split([line])
        if net:
            card.post(at, "charge", -net, reference, name)
        for tax, amount in taxes:
            if amount:
                card.post(at, "tax", -amount, reference, tax)

    def pay_owed(self, card: Card, reference: str) -> None:
        """Pay each missed charge on its own; the flat taxes on it come with its first part."""
        for name, debts in list(card.debts.items()):
            charge = next((c for c in self.charges(card) if c.name == name), None)
            if charge is None:  # of a plan that the card is not under any more
                self.seen["debt of another plan"] += 1
                continue
            line = partial(self.line, charge)
            while debts:
                owed, begun = debts[0]
                taxes = self.taxes(self.now, begun=begun)
                paid = min(owed, taxes.largest(card.available, line))
                self.pay(card, line(paid), name, self.now, reference, begun=begun)
                self.seen["debt paid" if paid == owed else "debt paid in part"] += paid > 0
                self.seen["second part of a debt"] += begun and paid > 0
                debts[:1] = [Debt(owed - paid, begun or paid > 0)] if paid < owed else []
                if paid < owed:
                    break
            if not debts:
                del card.debts[name]

    def collect(
        self, card: Card, call: str, record: Record, actual: int | None, at: datetime
    ) -> Record:
        """Take what a call should pay beyond what it paid, as far as it was granted and is there.

        The price fills first, then the charges, then the taxes; and what it used of buckets.
        """
        hold = record.hold
        assert hold is not None
        first = not card.answered or record.first
        due = hold.terms.bill(record.seconds, first=first)
        whole = due if actual is None else hold.terms.bill(actual, first=first)
        before = sum(record.paid.values())
        more = max(0, min(due.total, hold.amount) - before)
        more = min(more, max(0, card.available))
        paid = dict(record.paid)
        for kind, name, amount in due.lines:
            part = min(max(0, amount - paid.get((kind, name), 0)), more)
            more -= part
            paid[kind, name] = paid.get((kind, name), 0) + part
            if part:
                card.post(at, kind, -part, call, name)
        short = {
            (kind, name): amount - paid.get((kind, name), 0)
            for kind, name, amount in whole.lines
            if amount > paid.get((kind, name), 0)
        }
        card.lately.append((at, 0, sum(paid.values()) - before))
        draws = dict(record.draws)
        for number, taken in due.draws.items():
            part = min(max(0, taken - draws.get(number, 0)), card.free(number))
            card.buckets[number].left -= part
            draws[number] = draws.get(number, 0) + part
        billed = record.seconds > hold.terms.rate.grace
        after = replace(
            record,
            rated=max(record.rated, due.rated),
            before=before,
            paid=paid,
            short=short,
            draws={number: taken for number, taken in draws.items() if taken},
            first=record.first or (first and billed),
        )
        card.records[call] = after
        if billed:
            card.answered = True
            self.touch(card, at)
        return after

    def touch(self, card: Card, at: datetime) -> None:
        card.active, card.idle = at, {}

    # -- one step on one card -------------------------------------------------------------

    def step(self, card_id: str, act: Callable[[Card], Answer]) -> Answer:
        """Let time pass, act, let what waited happen; an error leaves the card as it was."""
        card = self.cards[card_id].copy()
        self.pass_time(card)
        try:
            answer = act(card)
        except Refused as error:
            return "error", str(error)
        self.pass_time(card, floor=self.now)
        self.cards[card_id] = card
        return answer

    def do(self, what: str, card: str, told: dict[str, Any]) -> Answer:
        return getattr(self, what)(card, **told)  # type: ignore[no-any-return]

    # -- whether a card is good -----------------------------------------------------------

    def status(self, card_id: str, card: Card) -> str:
        if card.voided:
            return "void"
        if card.blocked or card_id in self.frozen:
            return "blocked"
        if card.expires and card.expires <= self.now:
            return "expired"
        if card.used:
            left = card.balance or any(bucket.left for bucket in card.buckets.values())
            return "active" if left else "exhausted"
        return "sold" if card.sold else "generated"

    def unusable(self, card_id: str, card: Card) -> str:
        status = self.status(card_id, card)
        if status in ("void", "blocked"):
            return status
        if status == "generated" and self.batch["sold_first"]:
            return "not_sold"
        if not self.assigned and not card.plan:
            return "not_assigned"
        if self.begins and self.now < self.begins:
            return "not_yet_effective"
        return status if status in ("expired", "exhausted") else ""

    def tell_sale(self, card: Card, amount: int, reference: str) -> None:
        """Tell the taxes on a sale: the card itself pays nothing of them."""
        for tax, due in self.taxes(self.now).split([Line("sale", amount)])[1]:
            card.open(self.now)
            card.post(self.now, "sale_tax", 0, reference, tax, due)

    def first_use(self, card: Card) -> None:
        if not card.sold and not card.entries:
            self.tell_sale(card, card.face, "sale")
        card.open(self.now)
        card.used = self.now
        card.awaits = self.batch["validity"] == "first_answer"
        card.expires = self.ends if card.awaits else self.expiry(self.now)
        card.plan = card.plan or "Basic"
        for package in self.packages(card, "activation"):
            self.give(card, package, self.now, None)
        if self.packages(card, "cycle"):
            self.renew(card, self.now, self.now)
        for charge in self.charges(card):
            if charge.trigger.value == "activation" and self.in_force(charge, self.now):
                self.take(card, charge, self.fee_of(charge), self.now, "first use")


def alike(one: Package, other: Package) -> bool:
    """Say whether packages of one name, perhaps of two plans, give the same thing."""
    kinds = [(p.unit, p.destinations, p.waives_connect_fee) for p in (one, other)]
    return kinds[0] == kinds[1]
