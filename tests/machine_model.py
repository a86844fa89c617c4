"""What the engine must answer, said again in plain Python: the model of tests/test_machine.py.

It shares no code with cardbill, and works another way where it can: time is replayed at once
and for every card when the clock moves (the engine waits for the next step on the card), a
price is walked increment by increment as a fraction, the longest talk is searched for.

Amounts are ledger units, durations whole seconds. Each operation returns a plain tuple, such
as ``("denied", "expired")`` or ``("error", "CallEnded")``.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from tests.plain_prices import FOREVER, Deck, Rate, longest, price

DAY = 24 * 3600

Answer = tuple[Any, ...]


class Plan(NamedTuple):
    name: str
    currency: str
    deck: str
    calls_at_once: int = 1
    max_call: int | None = None
    minimum: int = 0
    slice: int | None = None
    charges_unreported: bool = False
    charges_strays: bool = False


class Batch(NamedTuple):
    name: str
    currency: str
    face: int
    cards: int
    plan: str | None = None
    first_day: date | None = None
    last_day: date | None = None
    days: int | None = None  # after the first use
    zone: str = "UTC"
    opens_on_authentication: bool = False
    sold_first: bool = False
    days_from_answer: bool = False

    def begin(self, day: date) -> datetime:
        midnight = datetime.combine(day, datetime.min.time(), ZoneInfo(self.zone))
        return midnight.astimezone(UTC)

    def expiry(self, first_use: datetime | None = None) -> datetime | None:
        last_days = [] if self.last_day is None else [self.last_day]
        if first_use is not None and self.days is not None:
            used_on = first_use.astimezone(ZoneInfo(self.zone)).date()
            last_days.append(used_on + timedelta(days=self.days))
        return self.begin(min(last_days) + timedelta(days=1)) if last_days else None


class Hold(NamedTuple):
    number: str
    destination: str
    rate: Rate
    routes: tuple[tuple[str, Rate], ...]
    granted: datetime
    seconds: int | None
    amount: int
    limited_by: str | None
    cap: int | None
    capped_by: str | None
    slice: int | None
    charges_unreported: bool
    used: int = 0
    reports: int = 0  # the number of the last one
    renewed: datetime | None = None

    @property
    def expires(self) -> datetime:
        if self.slice and self.renewed:
            return self.renewed + timedelta(seconds=self.slice + 300)
        talk = DAY if self.seconds is None else min(self.seconds, 31 * DAY)
        return self.granted + timedelta(seconds=180 + talk + 300)

    def answer(self, *, replayed: bool) -> Answer:
        routes = tuple(carrier for carrier, _ in self.routes)
        limit = (self.seconds, self.limited_by, self.amount)
        return ("granted", *limit, self.number, self.destination, routes, self.expires, replayed)


class Record(NamedTuple):
    hold: Hold | None
    outcome: str
    ended: datetime
    recorded: datetime
    told: tuple[int, datetime | None, str | None] | None = None  # talk, answer, carrier
    seconds: int = 0
    price: int = 0
    uncollected: int = 0
    cost: int | None = 0
    carrier: str | None = None
    late: bool = False

    def answer(self, *, replayed: bool = False) -> Answer:
        called = (self.hold.number, self.hold.destination) if self.hold else ("", "")
        return ("record", self.outcome, *called, self.ended, self.recorded, *self[5:], replayed)


@dataclass
class Card:
    batch: str
    currency: str
    face: int
    expires: datetime | None
    serial: int
    plan: Plan | None = None  # pinned by the sale or the first use
    used: bool = False
    sold: bool = False
    blocked: bool = False
    voided: bool = False
    awaits_answer: bool = False
    holds: dict[str, Hold] = field(default_factory=dict)
    records: dict[str, Record] = field(default_factory=dict)
    entries: list[tuple[str, int, str, datetime]] = field(default_factory=list)
    stored: int = 0  # how many entries the engine has had reason to store
    unseen: set[str] = field(default_factory=set)  # calls that expired since its last step

    @property
    def balance(self) -> int:
        return sum(entry[1] for entry in self.entries) if self.entries else self.face

    @property
    def held(self) -> int:
        return sum(hold.amount for hold in self.holds.values())

    @property
    def available(self) -> int:
        return self.balance - self.held

    def posted(self, kind: str) -> int:
        return sum(amount for of_kind, amount, _, _ in self.entries if of_kind == kind)

    def post(self, kind: str, amount: int, at: datetime, call: str = "") -> None:
        if not self.entries:
            self.entries.append(("face", self.face, "", at))
        if amount:
            self.entries.append((kind, amount, call, at))

    def end(self, call: str, record: Record, at: datetime) -> Record:
        before = self.records.get(call)
        self.holds.pop(call, None)
        self.records[call] = record
        if due := record.price - (before.price if before else 0):
            self.post("call", -due, at, call)
        self.lapse(at)
        return record

    def lapse(self, at: datetime) -> None:
        if self.expires is not None and self.expires <= at and self.available:
            self.post("breakage", -self.available, at)

    def grow_old(self, now: datetime) -> None:
        ends = sorted((hold.expires, call) for call, hold in self.holds.items())
        for at, call in ends:
            if self.expires is not None and self.expires < at and self.expires <= now:
                self.lapse(self.expires)
            if at <= now:
                self.end(call, self.unreported(self.holds[call]), at)
                self.unseen.add(call)
        if self.expires is not None and self.expires <= now:
            self.lapse(self.expires)

    @staticmethod
    def unreported(hold: Hold) -> Record:
        """What becomes of a call whose end nobody has reported in time."""
        seconds = hold.used if hold.seconds is None else min(hold.used, hold.seconds)
        if hold.charges_unreported and hold.seconds is not None:
            seconds = hold.seconds
        carrier, rate = hold.routes[0] if len(hold.routes) == 1 and seconds else (None, None)
        return Record(
            hold, "expired", hold.expires, hold.expires, None, seconds,
            price=min(price(hold.rate, seconds), hold.amount),
            cost=(price(rate, seconds) if rate else None) if seconds else 0,
            carrier=carrier,
        )  # fmt: skip

    @property
    def due(self) -> bool:
        return self.stored < len(self.entries) or bool(self.unseen)

    def store(self) -> None:
        """The engine has taken a step on this card: nothing is left undone."""
        self.stored = len(self.entries)
        self.unseen.clear()


class Business:
    def __init__(self, now: datetime) -> None:
        self.now = now
        self.decks: dict[str, Deck] = {}
        self.plans: dict[str, Plan] = {}
        self.carriers: dict[str, str] = {}  # name: deck
        self.batches: dict[str, Batch] = {}
        self.cards: dict[str, Card] = {}
        self.stopped: set[str] = set()  # batches
        self.frozen: set[tuple[str, int]] = set()

    def issue(self, batch: Batch) -> None:
        self.batches[batch.name] = batch
        for serial in range(1, batch.cards + 1):
            card = Card(batch.name, batch.currency, batch.face, batch.expiry(), serial)
            self.cards[f"{batch.name}/{serial}"] = card

    def assign(self, name: str, plan: str) -> Answer:
        batch = self.batches[name]
        if self.plans[plan].currency != batch.currency:
            return "error", "PlanRefused"
        used = any(card.used for card in self.cards.values() if card.batch == name)
        if batch.plan not in {None, plan} and used:
            return "error", "TermsLocked"
        self.batches[name] = batch._replace(plan=plan)
        return "done", ""

    def pass_time(self, until: datetime) -> None:
        self.now = until
        for card in self.cards.values():
            card.grow_old(until)

    def upcoming(self, cards: Iterable[str]) -> list[datetime]:
        """The instants still to come at which time does something to one of these cards."""
        instants: set[datetime | None] = set()
        for card in map(self.cards.__getitem__, cards):
            batch = self.batches[card.batch]
            instants.update(hold.expires for hold in card.holds.values())
            instants.add(card.expires)
            instants.add(batch.begin(batch.first_day) if batch.first_day else None)
        return sorted(instant for instant in instants if instant and instant > self.now)

    # -- operations -----------------------------------------------------------------------

    def authenticate(self, card_id: str) -> Answer:
        card = self.cards[card_id]
        batch = self.batches[card.batch]
        if reason := self._unusable(card, batch):
            return "denied", reason
        if batch.opens_on_authentication and not card.used:
            self._use(card, batch)
            card.store()
        return "caller", self.status(card), card.balance, card.available, card.expires

    def authorize(self, card_id: str, call: str, number: str | None) -> Answer:
        card = self.cards[card_id]
        if hold := card.holds.get(call):
            if hold.number != number:
                return "error", "IdempotencyMismatch"
            answer = hold.answer(replayed=True)
        elif call in card.records:
            return "error", "CallEnded"
        else:
            granted = self._decide(card, number)
            answer = ("denied", granted)
            if isinstance(granted, Hold):
                if not card.used:
                    self._use(card, self.batches[card.batch])
                card.holds[call] = granted
                answer = granted.answer(replayed=False)
        card.store()
        return answer

    def extend(self, card_id: str, call: str, used: int, number: int) -> Answer:
        if (card := self.cards.get(card_id)) is None:
            return "error", "UnknownCall"
        if (hold := card.holds.get(call)) is None:
            return "error", "CallEnded" if call in card.records else "UnknownCall"
        if number == hold.reports and used != hold.used:
            return "error", "IdempotencyMismatch"
        new = number > hold.reports
        if new and used < hold.used:
            return "error", "InvalidInput"
        stopped = self._stopped(card)
        if new:
            if used:
                self._answered(card, hold, self.now - timedelta(seconds=used))
            hold = hold._replace(used=used, reports=number, renewed=self.now)
            if hold.slice and not stopped:
                hold = self._renewed(card, hold, used + hold.slice)
            card.holds[call] = hold
        card.store()
        if stopped:
            return "denied", "blocked"
        if hold.seconds is not None and hold.used >= hold.seconds:
            reasons = {"money": "insufficient_balance", "expiry": "expired"}
            return "denied", reasons.get(hold.limited_by or "", "limit_reached")
        return hold.answer(replayed=not new)

    def _renewed(self, card: Card, hold: Hold, wanted: int) -> Hold:
        longer, cut = longest(hold.rate, hold.amount + card.available, hold.cap)
        limited_by = "money" if cut else hold.capped_by
        if longer is None or wanted < longer:
            longer, limited_by = wanted, "slice"
        if hold.seconds is None or longer < hold.seconds:
            return hold
        amount = price(hold.rate, longer)
        return hold._replace(seconds=longer, limited_by=limited_by, amount=amount)

    def _answered(self, card: Card, hold: Hold, at: datetime) -> None:
        if card.awaits_answer:
            card.awaits_answer = False
            card.expires = self.batches[card.batch].expiry(max(hold.granted, at))

    def settle(
        self,
        card_id: str,
        call: str,
        talk_ms: int,
        answered: datetime | None,
        ended: datetime | None,
        carrier: str | None,
        number: str | None = None,
    ) -> Answer:
        if (card := self.cards.get(card_id)) is None:
            return "error", "UnknownCall"
        talk = math.ceil(Fraction(talk_ms, 1000))
        told = talk, answered, carrier
        record = card.records.get(call)
        if record and record.told:
            if record.told != told:
                return "error", "IdempotencyMismatch"
            card.store()
            return record.answer(replayed=True)
        ended = ended or self.now
        begun = answered or ended - timedelta(milliseconds=talk_ms)
        hold = record.hold if record else card.holds.get(call)
        if hold is None and talk and (stray := self._stray(card, number, begun, talk)):
            batch = self.batches[card.batch]
            if not card.used:
                self._use(card, batch)
            self._answered(card, stray, begun)
            by, rate = self._carried(card, stray, carrier)
            taken = min(stray.amount, max(0, card.available))
            record = Record(
                stray, "unauthorised", ended, self.now, told, talk, taken,
                uncollected=stray.amount - taken,
                cost=price(rate, talk) if rate else None,
                carrier=by,
            )  # fmt: skip
            card.end(call, record, self.now)
        elif hold is None:
            cost = None if talk else 0
            record = Record(None, "unauthorised", ended, self.now, told, cost=cost, carrier=carrier)
            card.records[call] = record
        else:
            by, rate = self._carried(card, hold, carrier) if talk else (carrier, None)
            if talk:
                self._answered(card, hold, begun)
            seconds = talk if hold.seconds is None else min(talk, hold.seconds)
            free_again = 0 if record else hold.amount
            before = record.price if record else 0
            owed = max(before, min(price(hold.rate, seconds), hold.amount))
            taken = min(owed, before + card.available + free_again)
            record = Record(
                hold, "settled", ended, self.now, told, seconds, taken,
                uncollected=max(0, price(hold.rate, talk) - taken),
                cost=(price(rate, talk) if rate else None) if talk else 0,
                carrier=by,
                late=record is not None,
            )  # fmt: skip
            card.end(call, record, self.now)
        card.store()
        return record.answer()

    def cancel(self, card_id: str, call: str) -> Answer:
        if (card := self.cards.get(card_id)) is None:
            return "error", "UnknownCall"
        record = card.records.get(call)
        if record and record.told:
            return "error", "CallEnded"
        replayed = record is not None
        if record is None:
            record = Record(card.holds.get(call), "cancelled", self.now, self.now)
            card.end(call, record, self.now)
        card.store()
        return record.answer(replayed=replayed)

    def _stray(self, card: Card, number: str | None, begun: datetime, talk: int) -> Hold | None:
        """The terms by which a call that was never granted is charged, if it is at all."""
        batch = self.batches[card.batch]
        if number is None or self._unusable(card, batch) not in {"", "exhausted"}:
            return None
        plan = card.plan or self.plans[batch.plan or ""]
        row = self.decks[plan.deck].match(number, begun)
        if row is None or not plan.charges_strays:
            return None
        return Hold(
            number, row.destination, row.rate, (), begun, None, price(row.rate, talk), None,
            None, None, None, False,
        )  # fmt: skip

    # -- what operators do ----------------------------------------------------------------

    def operate(self, what: str, card_id: str) -> Answer:
        card = self.cards[card_id]
        place = card.batch, card.serial
        status = self.status(replace(card, batch="no batch", blocked=False))
        match what:
            case "block batch":
                self.stopped.add(card.batch)
            case "unblock batch":
                self.stopped.discard(card.batch)
            case "freeze":
                self.frozen.add(place)
            case "thaw":
                self.frozen.discard(place)
            case "block":
                if status == "void":
                    return "error", "TransitionRefused"
                card.blocked = True
            case "unblock":
                card.blocked = False
            case "sell" if not card.sold:
                if status != "generated" or card.blocked:
                    return "error", "TransitionRefused"
                card.sold = True
                plan = self.batches[card.batch].plan
                card.plan = self.plans[plan] if plan else None
            case "void" if not card.voided:
                if card.used:
                    return "error", "TransitionRefused"
                card.voided = True
                if card.available:
                    card.post("void", -card.available, self.now)
        if what in {"block", "unblock", "sell", "void"}:
            card.store()
            return "card", self.status(card)
        serials = tuple(sorted(serial for batch, serial in self.frozen if batch == card.batch))
        return "flags", card.batch in self.stopped, serials

    def status(self, card: Card) -> str:
        if card.voided:
            return "void"
        if self._stopped(card):
            return "blocked"
        if card.expires is not None and card.expires <= self.now:
            return "expired"
        if card.used:
            return "active" if card.balance else "exhausted"
        return "sold" if card.sold else "generated"

    def _stopped(self, card: Card) -> bool:
        frozen = (card.batch, card.serial) in self.frozen
        return card.blocked or frozen or card.batch in self.stopped

    def sweep(self) -> Answer:
        due = [card for card in self.cards.values() if card.due]
        calls = sum(len(card.unseen) for card in due)
        for card in due:
            card.store()
        return "swept", len(due), calls, ()

    # -- figures --------------------------------------------------------------------------

    def utilisation(self, batch: str) -> Answer:
        cards = [card for card in self.cards.values() if card.batch == batch]
        return (
            dict(Counter(self.status(card) for card in cards)),
            sum(card.used for card in cards),
            sum(card.face for card in cards),
            -sum(card.posted("call") for card in cards),
            sum(card.held for card in cards),
            -sum(card.posted("breakage") for card in cards),
            -sum(card.posted("void") for card in cards),
            sum(card.balance for card in cards),
        )

    def margins(self) -> dict[tuple[str, str], list[int]]:
        rows: dict[tuple[str, str], list[int]] = {}
        for card, _, record in self.ended():
            if record.hold and (record.outcome == "settled" or record.seconds):
                row = rows.setdefault((record.hold.destination, card.currency), [0] * 5)
                known = record.cost is not None
                margin = record.price - (record.cost or 0) if known else 0
                figures = (1, record.seconds, record.price, record.cost or 0, margin)
                row[:] = map(sum, zip(row, figures, strict=True))
        return rows

    def ended(self) -> Iterator[tuple[Card, str, Record]]:
        for card in self.cards.values():
            yield from ((card, call, record) for call, record in card.records.items())

    # -- inside ---------------------------------------------------------------------------

    def _unusable(self, card: Card, batch: Batch) -> str:
        status = self.status(card)
        if status in {"void", "blocked"}:
            return status
        if status == "generated" and batch.sold_first:
            return "not_sold"
        if batch.plan is None:
            return "not_assigned"
        if batch.first_day and self.now < batch.begin(batch.first_day):
            return "not_yet_effective"
        return status if status in {"expired", "exhausted"} else ""

    def _use(self, card: Card, batch: Batch) -> None:
        card.plan = card.plan or self.plans[batch.plan or ""]
        card.used = True
        card.awaits_answer = batch.days_from_answer
        card.expires = batch.expiry(None if batch.days_from_answer else self.now)
        card.post("face", 0, self.now)

    def _decide(self, card: Card, number: str | None) -> Hold | str:
        batch = self.batches[card.batch]
        if reason := self._unusable(card, batch):
            return reason
        if number is None:
            return "invalid_number"
        plan = card.plan or self.plans[batch.plan or ""]
        if len(card.holds) >= plan.calls_at_once:
            return "too_many_calls"
        row = self.decks[plan.deck].match(number, self.now)
        if row is None:
            return "no_rate"
        if row.blocked:
            return "destination_barred"
        if card.available < plan.minimum:
            return "below_minimum"
        counting = card.used and not card.awaits_answer
        expires = card.expires if counting else batch.expiry(self.now)
        caps = [] if plan.max_call is None else [(plan.max_call, 0, "plan")]
        if expires is not None:
            caps.append(((expires - self.now) // timedelta(seconds=1), 1, "expiry"))
        cap, _, capped_by = min(caps, default=(None, 0, None))
        if cap == 0:
            return "expired"
        seconds, cut = longest(row.rate, card.available, cap)
        if cut and seconds is not None and seconds <= max(row.rate.grace, row.rate.free):
            return "insufficient_balance"
        routes = self._routes(card, number, 180 if seconds is None else min(180, seconds))
        if not routes:
            return "no_route"
        limited_by = "money" if cut else capped_by
        if plan.slice and (seconds is None or plan.slice < seconds):
            seconds, limited_by = plan.slice, "slice"
        amount = price(row.rate, FOREVER if seconds is None else seconds)
        return Hold(
            number, row.destination, row.rate, routes, self.now, seconds, amount, limited_by,
            cap, capped_by, plan.slice, plan.charges_unreported,
        )  # fmt: skip

    def _routes(self, card: Card, number: str, seconds: int) -> tuple[tuple[str, Rate], ...]:
        offers = []
        for carrier, deck_name in self.carriers.items():
            deck = self.decks[deck_name]
            row = deck.match(number, self.now)
            if row and not row.blocked and deck.currency == card.currency:
                offers.append((price(row.rate, seconds), carrier, row.rate))
        return tuple((carrier, rate) for _, carrier, rate in sorted(offers))

    def _carried(
        self, card: Card, hold: Hold, carrier: str | None
    ) -> tuple[str | None, Rate | None]:
        """Return who carried a call and at what rate, as far as is known."""
        if carrier is None:
            return hold.routes[0] if len(hold.routes) == 1 else (None, None)
        if carrier in dict(hold.routes):
            return carrier, dict(hold.routes)[carrier]
        deck = self.decks.get(self.carriers.get(carrier, ""))
        row = deck and deck.match(hold.number, hold.granted)
        return carrier, row.rate if deck and row and deck.currency == card.currency else None
