"""The card: one PIN's lifecycle, account and open holds, changed one step at a time.

A :class:`Card` is decoded for one step, changed by its methods, and encoded again; no
other code ever sees it meanwhile, so the step as a whole is a pure function of what was
stored, the request and the instant. Every method keeps the law of the ledger: what was put
on the card is what was taken from it and its balance, and ``available = balance - held >= 0``;
and for each bucket of a package, given = left + used + expired.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from datetime import datetime
from typing import Any

from attrs import define, evolve, field, fields

from cardbill.buckets import Bucket, Draw, held, joined
from cardbill.calls import CallRecord, Outcome, Report
from cardbill.callterms import BillKind
from cardbill.debts import Debts, owed_of
from cardbill.endings import settled, unreported
from cardbill.errors import ConstraintViolated
from cardbill.holds import Hold
from cardbill.keyring import ANI
from cardbill.ledger import Entry, EntryKind
from cardbill.operations import Operation, Outgoing
from cardbill.packages import ROOM, Package, Unit
from cardbill.routing import Route
from cardbill.status import Status, derive
from cardbill.taxengines import NOT_TAXED, TaxDecision
from cardbill.usagelimits import Slot, carried, noted

_ENTRIES = {
    BillKind.PRICE: EntryKind.CALL,
    BillKind.CHARGE: EntryKind.CHARGE,
    BillKind.TAX: EntryKind.TAX,
}


@define(kw_only=True)
class Card:
    """One card during one step.

    Attributes:
        id: ``batch/serial``, public.
        version: How often the card has changed.
        currency, face: What it was sold as, in ledger units.
        balance: What it holds, in ledger units, holds included.
        credentials: The (kind, token) pairs that open it.
        expires_at: When it expires, as far as that is known yet; ``None``: never.
        first_used_at: When its account was opened by use.
        plan: Name and version of the plan it is pinned to, once sold or used.
        sold, blocked, voided: Facts that its status derives from.
        awaits_answer: Its validity starts with the first answered call, and none is known.
        taken_over: It came from another system, with what was left on it as its face.
        pending: Callers' numbers that await confirmation: token to sealed copy, if kept.
        buckets: What is left of its packages, by number.
        bucket_count: How many buckets it was ever given.
        debts: What it owes of charges.
        periods, idle: By charge, the number of the next period that falls due; of those for
            inactivity, every one that its plan has.
        cycle: The billing cycle for which packages were given last; ``None``: none was.
        outgoing: Transfers under way to other cards, by key.
        usage: What its calls were and took lately, by the hours of its plan's limits of use.
        moving: The plan it moves to, its version, and when; ``None``: it stays.
        active_at: When it was active last, where its plan charges for inactivity.
        answered: It has had a billed call.
        due_at: When time changes it next; ``None``: never, as far as is known.
        waiting: A charge waits until a call ends; only known after a catch-up.
        grows: This step began something that could be refused, were the card too large.
        entry_count: How many ledger entries it has.
        posted: The sum of its ledger entries by kind.
        holds: Open holds by call id.
        entries, records, operations: What this step adds to the ledger, the call records and
            the operations done.
    """

    id: str
    batch: str
    serial: int
    version: int = 0
    currency: str
    face: int
    balance: int
    credentials: list[tuple[str, bytes]] = field(factory=list)
    expires_at: datetime | None = None
    first_used_at: datetime | None = None
    plan: tuple[str, int] | None = None
    sold: bool = False
    blocked: bool = False
    voided: bool = False
    awaits_answer: bool = False
    taken_over: bool = False
    pending: dict[bytes, bytes] = field(factory=dict)
    buckets: dict[int, Bucket] = field(factory=dict)
    bucket_count: int = 0
    debts: Debts = field(factory=dict)
    periods: dict[str, int] = field(factory=dict)
    idle: dict[str, int] = field(factory=dict)
    cycle: int | None = None
    active_at: datetime | None = None
    answered: bool = False
    outgoing: dict[str, Outgoing] = field(factory=dict)
    usage: dict[int, list[Slot]] = field(factory=dict)
    moving: tuple[str, int, datetime] | None = None
    due_at: datetime | None = None
    waiting: bool = field(default=False, eq=False)
    grows: bool = field(default=False, eq=False)
    entry_count: int = 0
    posted: dict[str, int] = field(factory=dict)
    holds: dict[str, Hold] = field(factory=dict)
    entries: list[Entry] = field(factory=list, eq=False)
    records: list[CallRecord] = field(factory=list, eq=False)
    operations: list[Operation] = field(factory=list, eq=False)

    # -- what it is worth and what it is good for -----------------------------------------

    @property
    def held(self) -> int:
        """What open calls may still cost, in ledger units."""
        return sum(hold.amount for hold in self.holds.values())

    @property
    def available(self) -> int:
        """What a new call may cost, in ledger units."""
        return self.balance - self.held

    @property
    def spare(self) -> int:
        """What may leave the card, in ledger units: nothing while a charge waits for more."""
        return 0 if self.waiting else self.available

    def expired(self, at: datetime) -> bool:
        """Say whether the card's validity is over at that instant."""
        return self.expires_at is not None and at >= self.expires_at

    @property
    def owed(self) -> dict[str, int]:
        """What it owes in all, in ledger units, by the charge's name."""
        return {name: owed_of(each) for name, each in self.debts.items()}

    @property
    def opened(self) -> bool:
        """Whether its account was opened: by a taxed sale, its first use, expiry or voiding."""
        return self.entry_count > 0

    @property
    def in_use(self) -> bool:
        """Whether its first use was made here: a voucher that came back was opened without."""
        return self.opened and self.first_used_at is not None

    def status(self, at: datetime, *, stopped: bool = False) -> Status:
        """Return the status that the card's facts add up to at that instant.

        Args:
            at: The instant.
            stopped: Its batch is blocked, or its serial number frozen.
        """
        return derive(
            voided=self.voided,
            blocked=self.blocked or stopped,
            expired=self.expired(at),
            used=self.first_used_at is not None,
            empty=self.balance == 0 and not self.buckets,
            sold=self.sold,
        )

    @property
    def has_numbers(self) -> bool:
        """Whether callers' numbers are registered with it, or wait for it."""
        return bool(self.pending) or any(kind == ANI for kind, _ in self.credentials)

    def free_of(self, bucket: Bucket) -> int:
        """Return what of a bucket is left and no call holds."""
        draws = (draw for hold in self.holds.values() for draw in hold.terms.draws)
        return bucket.left - held(draws, bucket.number)

    def facts(self) -> dict[str, Any]:
        """Return all that it is, to be put back if a decision comes to nothing."""
        return {
            each.name: copy(getattr(self, each.name)) for each in fields(type(self)) if each.init
        }

    def put_back(self, facts: dict[str, Any]) -> None:
        """Be again what :meth:`facts` told."""
        for name, value in facts.items():
            setattr(self, name, value)

    # -- transitions ----------------------------------------------------------------------

    def sell(self, plan: tuple[str, int] | None) -> None:
        """Mark the card sold, and pin it to the plan it is sold with, if any yet."""
        self.sold = True
        self.plan = plan

    def move(self, at: datetime) -> None:
        """Pin the card to the plan that it moves to."""
        assert self.moving is not None  # noqa: S101  # the caller looked
        name, version, _ = self.moving
        self.plan, self.moving = (name, version), None
        if self.opened:
            self.post(EntryKind.PLAN, 0, at, f"version {version}", name)

    def void(self, at: datetime) -> None:
        """Withdraw a card that was never used, for good; its face value leaves the books."""
        self.voided = True
        self.drop_numbers()
        if self.available > 0:
            self.open(at)
            self.post(EntryKind.VOID, -self.available, at)

    def use(
        self,
        at: datetime,
        *,
        plan: tuple[str, int],
        expires_at: datetime | None,
        awaits_answer: bool = False,
    ) -> None:
        """Make the first use: open the account, pin the plan, start the validity.

        A card taken over has had its first use elsewhere and keeps that and its expiry.
        """
        self.open(at)
        self.plan = plan
        if self.first_used_at is None:
            self.first_used_at = at
            self.expires_at = expires_at
            self.awaits_answer = awaits_answer

    def start_validity(self, expires_at: datetime | None) -> None:
        """Start the validity of a card that waited for its first answered call."""
        self.awaits_answer = False
        self.expires_at = expires_at

    def begin(self, hold: Hold, limits: Sequence[int] = ()) -> None:
        """Begin a granted call: set its money aside, and count it.

        Args:
            hold: The money and the terms.
            limits: The hours of the limits of use that its plan has.
        """
        self.grows = True
        self.watch(limits, hold.granted_at)
        self.hold(hold)
        self._note_usage(hold.granted_at, calls=1)

    def watch(self, limits: Sequence[int], at: datetime) -> None:
        """Keep what its calls do for the limits of use that its plan has now.

        A plan without any changes nothing: the card may move on to one that has some.

        Args:
            limits: Their hours.
            at: The instant.
        """
        if not limits or list(self.usage) == list(limits):
            return
        begun = [] if self.usage else sorted(hold.granted_at for hold in self.holds.values())
        self.usage = carried(self.usage, limits, at)
        for granted_at in begun:  # nobody has counted them yet
            self._note_usage(granted_at, calls=1)

    def hold(self, hold: Hold) -> None:
        """Set a granted call's money aside."""
        if hold.amount > self.available:
            raise ConstraintViolated(f"card {self.id}: a hold above the available balance")
        self.holds[hold.call_id] = hold

    def replace(self, hold: Hold) -> None:
        """Put a call's hold in place of the one it has."""
        before = self.holds.pop(hold.call_id)
        try:
            self.hold(hold)
        except ConstraintViolated:
            self.holds[hold.call_id] = before
            raise

    def settle(
        self,
        call_id: str,
        told: Report,
        route: Route | None,
        at: datetime,
        decision: TaxDecision | None = None,
    ) -> CallRecord:
        """End an open call by charging what it cost at the terms it was granted under."""
        record = self._record(self.holds.pop(call_id), Outcome.SETTLED, at)
        # What this hold set aside is available to this call, before anything else.
        return self._settle(record, told, route, at, decision)

    def settle_late(
        self,
        record: CallRecord,
        told: Report,
        route: Route | None,
        at: datetime,
        decision: TaxDecision | None = None,
    ) -> CallRecord:
        """Complete the record of a call whose hold has ended, as far as money is left."""
        late = evolve(record, late=True, recorded_at=at, ended_at=at)
        return self._settle(late, told, route, at, decision)

    def release(self, call_id: str, outcome: Outcome, at: datetime) -> CallRecord:
        """End an open call without charging it."""
        record = self._record(self.holds.pop(call_id), outcome, at)
        self.records.append(record)
        return record

    def expire(self, call_id: str) -> CallRecord:
        """End an open call that nobody reported in time, charging what was said of it."""
        hold = self.holds.pop(call_id)
        before = self._record(hold, Outcome.EXPIRED, hold.expires_at)
        record = unreported(before, first=not self.answered)
        return self._charge(record, before, hold.expires_at)

    def charge_unauthorised(
        self,
        hold: Hold,
        told: Report,
        route: Route | None,
        at: datetime,
        decision: TaxDecision | None = None,
    ) -> CallRecord:
        """Charge a call that was never granted, as far as money is left."""
        before = self._record(hold, Outcome.UNAUTHORISED, at)
        return self._settle(before, told, route, at, decision)

    def note(self, call_id: str, outcome: Outcome, told: Report | None, at: datetime) -> CallRecord:
        """Record what was said of a call that was never granted here; nothing is charged."""
        record = CallRecord(
            call_id=call_id,
            card_id=self.id,
            batch=self.batch,
            serial=self.serial,
            currency=self.currency,
            outcome=outcome,
            ended_at=(told and told.ended_at) or at,
            recorded_at=at,
            hold=None,
            report=told,
            cost_units=None if told and told.talk_ms else 0,
            carrier=told.carrier if told else None,
        )
        self.records.append(record)
        return record

    def touch(self, at: datetime) -> None:
        """Note that it was active, where that matters: periods of inactivity begin anew."""
        if self.idle:
            self.active_at, self.idle = at, dict.fromkeys(self.idle, 1)

    def give(self, package: Package, at: datetime, expires_at: datetime | None) -> None:
        """Give a package; what is carried over joins what is left of it that expires then.

        Where the card has no room for one bucket more, it joins what expires last of the same
        package, and is good as long as that, or that as long as it. If nothing of it is left
        and there is no room even so, it is lost at once.
        """
        alike = [bucket for bucket in self.buckets.values() if bucket.gives(package)]
        same = (each for each in alike if package.carry_over and each.expires_at == expires_at)
        bucket = next(same, None)
        if bucket is None and not self.has_room(package):
            bucket = joined(alike, expires_at)
        if bucket is None:
            self.bucket_count += 1
            bucket = Bucket(
                number=self.bucket_count,
                package=package.name,
                unit=package.unit,
                given=0,
                destinations=package.destinations,
                expires_at=expires_at,
                waives_connect_fee=package.waives_connect_fee,
            )
        bucket = evolve(bucket, given=bucket.given + package.quantity)
        self._note_package(EntryKind.GIVEN, bucket, package.quantity, at)
        if bucket.number not in self.buckets and not self.has_room(package, 2 * ROOM):
            self._note_package(EntryKind.LOST, bucket, package.quantity, at)
        else:
            self.buckets[bucket.number] = bucket

    def has_room(self, package: Package, room: int = ROOM) -> bool:
        """Say whether a bucket more of that package fits into so many bytes."""
        return self.packages_size + package.size <= room

    @property
    def packages_size(self) -> int:
        """The bytes that its packages take of its state, about."""
        return sum(bucket.size for bucket in self.buckets.values())

    def run_out(self, number: int, at: datetime) -> None:
        """Let what is left of a bucket expire, but for what calls hold."""
        bucket = self.buckets[number]
        lost = self.free_of(bucket)
        self._put(evolve(bucket, expired=bucket.expired + lost))
        self._note_package(EntryKind.LOST, bucket, lost, at)

    def break_away(self, at: datetime) -> None:
        """Take what is available off a card that has expired."""
        if self.available > 0:
            self.open(at)
            self.post(EntryKind.BREAKAGE, -self.available, at)

    def drop_numbers(self) -> None:
        """Free the callers' numbers that are registered with the card."""
        if self.has_numbers:
            self.credentials = [pair for pair in self.credentials if pair[0] != ANI]
            self.pending = {}

    def open(self, at: datetime) -> None:
        """Begin the ledger with the face value, once."""
        if self.entry_count == 0:
            self.balance -= self.face
            self.post(EntryKind.FACE, self.face, at)

    def post(
        self,
        kind: EntryKind,
        amount: int,
        at: datetime,
        reference: str = "",
        name: str = "",
        quantity: int = 0,
        unit: Unit | None = None,
        base: int = 0,
        jurisdiction: str = "",
    ) -> None:
        """Add an entry to the ledger.

        Raises:
            ConstraintViolated: There is not so much available.
        """
        self.entry_count += 1
        self.balance += amount
        self.posted[kind.value] = self.posted.get(kind.value, 0) + amount
        if self.available < 0:
            raise ConstraintViolated(f"card {self.id}: {kind.value} would overdraw it")
        self.entries.append(
            Entry(
                self.entry_count,
                at,
                kind,
                amount,
                self.balance,
                reference,
                self.currency,
                name,
                quantity,
                unit,
                base,
                jurisdiction,
            )
        )

    # -- inside ---------------------------------------------------------------------------

    def _settle(
        self,
        before: CallRecord,
        told: Report,
        route: Route | None,
        at: datetime,
        decision: TaxDecision | None,
    ) -> CallRecord:
        record = settled(
            before,
            told,
            route,
            available=max(0, self.available),
            first=not self.answered,
            decision=decision,
        )
        if before.outcome is Outcome.UNAUTHORISED:
            record = evolve(record, outcome=Outcome.UNAUTHORISED)
        return self._charge(record, before, at)

    def _charge(self, record: CallRecord, before: CallRecord, at: datetime) -> CallRecord:
        """Post what a record says beyond what was posted before, and keep it."""
        if not record.lines:
            if amount := record.price_units - before.price_units:
                self.post(EntryKind.CALL, -amount, at, record.call_id)
        else:
            posted = {line[:2]: line.amount for line in before.posted}
            for line in record.lines:
                amount = line.amount - posted.get(line[:2], 0)
                if amount or line.name == NOT_TAXED:
                    self.post(_ENTRIES[line.kind], -amount, at, record.call_id, line.name)
        if taken := record.total_units - before.total_units:
            self._note_usage(at, units=taken)
        if record.draws or before.draws:
            record = evolve(record, draws=self._use(record.draws, before.draws))
        self.records.append(record)
        if record.hold is not None and record.hold.terms.billed(
            record.seconds, record.hold.answer(record.answered_at)
        ):
            self.answered = True
            self.touch(at)
        return record

    def _use(self, draws: tuple[Draw, ...], before: tuple[Draw, ...]) -> tuple[Draw, ...]:
        """Use what a call draws on buckets beyond what it used before, as far as it is there.

        What it used before stays used, as what it paid stays paid.
        """
        done = []
        kept = (draw for draw in before if not held(draws, draw.bucket))
        for draw in (*draws, *kept):
            already = held(before, draw.bucket)
            bucket, units = self.buckets.get(draw.bucket), already
            if bucket is not None:
                more = min(max(0, draw.units - already), self.free_of(bucket))
                self._put(evolve(bucket, used=bucket.used + more))
                units += more
            if units:
                done.append(draw._replace(units=units))
        return tuple(done)

    def _note_usage(self, at: datetime, *, calls: int = 0, units: int = 0) -> None:
        for hours, slots in self.usage.items():
            self.usage[hours] = noted(slots, hours, at, calls, units)

    def _note_package(self, kind: EntryKind, bucket: Bucket, quantity: int, at: datetime) -> None:
        reference = f"bucket {bucket.number}"
        self.post(kind, 0, at, reference, bucket.package, quantity, bucket.unit)

    def _put(self, bucket: Bucket) -> None:
        """Keep a bucket for as long as something of it is left."""
        self.buckets[bucket.number] = bucket
        if not bucket.left:
            del self.buckets[bucket.number]

    def _record(self, hold: Hold, outcome: Outcome, at: datetime) -> CallRecord:
        return CallRecord(
            call_id=hold.call_id,
            card_id=self.id,
            batch=self.batch,
            serial=self.serial,
            currency=self.currency,
            outcome=outcome,
            ended_at=at,
            recorded_at=at,
            hold=hold,
        )
