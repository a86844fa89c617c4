"""The card: one PIN's lifecycle, account and open holds, changed one step at a time.

A :class:`Card` is decoded for one step, changed by its methods, and encoded again; no
other code ever sees it meanwhile, so the step as a whole is a pure function of what was
stored, the request and the instant. Every method keeps the law of the ledger: face value
and credits = balance + calls + breakage + voided, and ``available = balance - held >= 0``.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from attrs import define, evolve, field

from cardbill.calls import CallRecord, Outcome, Report, rated, unreported
from cardbill.errors import ConstraintViolated
from cardbill.holds import Hold
from cardbill.keyring import ANI
from cardbill.ledger import Entry, EntryKind
from cardbill.routing import Route
from cardbill.status import Status, derive


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
        entry_count: How many ledger entries it has.
        posted: The sum of its ledger entries by kind.
        holds: Open holds by call id.
        entries, records: What this step adds to the ledger and the call records.
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
    entry_count: int = 0
    posted: dict[str, int] = field(factory=dict)
    holds: dict[str, Hold] = field(factory=dict)
    entries: list[Entry] = field(factory=list, eq=False)
    records: list[CallRecord] = field(factory=list, eq=False)

    # -- what it is worth and what it is good for -----------------------------------------

    @property
    def held(self) -> int:
        """What open calls may still cost, in ledger units."""
        return sum(hold.amount for hold in self.holds.values())

    @property
    def available(self) -> int:
        """What a new call may cost, in ledger units."""
        return self.balance - self.held

    def expired(self, at: datetime) -> bool:
        """Say whether the card's validity is over at that instant."""
        return self.expires_at is not None and at >= self.expires_at

    @property
    def opened(self) -> bool:
        """Whether its account was opened: by its first use, by expiry or by voiding."""
        return self.entry_count > 0

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
            empty=self.balance == 0,
            sold=self.sold,
        )

    @property
    def due_at(self) -> datetime | None:
        """The next instant at which time alone changes the card; ``None``: never."""
        instants = [hold.expires_at for hold in self.holds.values()]
        if self.expires_at is not None and self.available > 0:
            instants.append(self.expires_at)
        return min(instants, default=None)

    # -- transitions ----------------------------------------------------------------------

    def sell(self, plan: tuple[str, int] | None) -> None:
        """Mark the card sold, and pin it to the plan it is sold with, if any yet."""
        self.sold = True
        self.plan = plan

    def void(self, at: datetime) -> None:
        """Withdraw a card that was never used, for good; its face value leaves the books."""
        self.voided = True
        self.drop_numbers()
        if self.available > 0:
            self._open(at)
            self._post(EntryKind.VOID, -self.available, at)

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
        self._open(at)
        self.plan = plan
        if self.first_used_at is None:
            self.first_used_at = at
            self.expires_at = expires_at
            self.awaits_answer = awaits_answer

    def start_validity(self, expires_at: datetime | None) -> None:
        """Start the validity of a card that waited for its first answered call."""
        self.awaits_answer = False
        self.expires_at = expires_at

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

    def settle(self, call_id: str, told: Report, route: Route | None, at: datetime) -> CallRecord:
        """End an open call by charging what it cost at the terms it was granted under."""
        hold = self.holds.pop(call_id)
        # What this hold set aside is available to this call, before anything else.
        record = rated(
            self._record(hold, Outcome.SETTLED, at),
            told,
            route,
            posted=0,
            available=self.available,
        )
        return self._charge(record, 0, at)

    def settle_late(
        self, record: CallRecord, told: Report, route: Route | None, at: datetime
    ) -> CallRecord:
        """Complete the record of a call whose hold has ended, as far as money is left."""
        late = evolve(record, late=True, recorded_at=at, ended_at=at)
        completed = rated(
            late, told, route, posted=record.price_units, available=max(0, self.available)
        )
        return self._charge(completed, record.price_units, at)

    def release(self, call_id: str, outcome: Outcome, at: datetime) -> CallRecord:
        """End an open call without charging it."""
        record = self._record(self.holds.pop(call_id), outcome, at)
        self.records.append(record)
        self._break_away_if_expired(at)
        return record

    def expire(self, hold: Hold) -> CallRecord:
        """End an open call that nobody reported in time, charging what was said of it."""
        at = hold.expires_at
        record = self._record(self.holds.pop(hold.call_id), Outcome.EXPIRED, at)
        return self._charge(unreported(record), 0, at)

    def charge_unauthorised(
        self, hold: Hold, told: Report, route: Route | None, at: datetime
    ) -> CallRecord:
        """Charge a call that was never granted, as far as money is left."""
        record = rated(
            self._record(hold, Outcome.UNAUTHORISED, at),
            told,
            route,
            posted=0,
            available=max(0, self.available),
        )
        return self._charge(evolve(record, outcome=Outcome.UNAUTHORISED), 0, at)

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

    def catch_up(self, at: datetime) -> None:
        """Replay what time did up to and including `at`, instant by instant.

        At one instant a hold expires before the card does. Every step begins with this,
        so the ledger does not depend on when, or whether, anybody swept.
        """
        for hold in self._holds_expired(at):
            if self.expires_at is not None and self.expires_at < hold.expires_at:
                self._break_away(self.expires_at)
            self.expire(hold)
        if self.expires_at is not None and self.expires_at <= at:
            self._break_away(self.expires_at)
            self.drop_numbers()

    def drop_numbers(self) -> None:
        """Free the callers' numbers that are registered with the card."""
        if self.pending or any(kind == ANI for kind, _ in self.credentials):
            self.credentials = [pair for pair in self.credentials if pair[0] != ANI]
            self.pending = {}

    # -- inside ---------------------------------------------------------------------------

    def _holds_expired(self, at: datetime) -> Iterator[Hold]:
        expired = [hold for hold in self.holds.values() if hold.expires_at <= at]
        return iter(sorted(expired, key=lambda hold: (hold.expires_at, hold.call_id)))

    def _break_away_if_expired(self, at: datetime) -> None:
        """What a hold releases after the card has expired is breakage at once."""
        if self.expired(at):
            self._break_away(at)

    def _break_away(self, at: datetime) -> None:
        if self.available > 0:
            self._open(at)
            self._post(EntryKind.BREAKAGE, -self.available, at)

    def _open(self, at: datetime) -> None:
        """Begin the ledger with the face value, once."""
        if self.entry_count == 0:
            self.balance -= self.face
            self._post(EntryKind.FACE, self.face, at)

    def _post(self, kind: EntryKind, amount: int, at: datetime, reference: str = "") -> None:
        self.entry_count += 1
        self.balance += amount
        self.posted[kind.value] = self.posted.get(kind.value, 0) + amount
        if self.available < 0:
            raise ConstraintViolated(f"card {self.id}: {kind.value} would overdraw it")
        self.entries.append(
            Entry(self.entry_count, at, kind, amount, self.balance, reference, self.currency)
        )

    def _charge(self, record: CallRecord, posted: int, at: datetime) -> CallRecord:
        if amount := record.price_units - posted:
            self._post(EntryKind.CALL, -amount, at, record.call_id)
        self.records.append(record)
        self._break_away_if_expired(at)
        return record

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
