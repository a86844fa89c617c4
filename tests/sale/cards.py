"""What the second opinion knows of one card: its money, calls, buckets and debts."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from cardbill import Package
from tests.sale.prices import CallTerms

Answer = tuple[Any, ...]
SECOND = timedelta(seconds=1)


class Refused(Exception):  # what the library would raise, by its name
    pass


@dataclass
class Hold:
    number: str
    terms: CallTerms
    granted: datetime
    cap: int | None
    capped_by: str | None
    access: bool
    """It came in on the access number that costs something."""
    carriers: tuple[str, ...]
    slice: int | None
    whole: bool
    """Charged in full if nobody reports its end."""
    seconds: int | None
    limited_by: str | None
    amount: int
    used: int = 0
    reports: int = 0
    renewed: datetime | None = None

    @property
    def expires(self) -> datetime:
        if self.slice and self.renewed:
            return self.renewed + (self.slice + 300) * SECOND
        longest = 24 * 3600 if self.seconds is None else min(self.seconds, 31 * 24 * 3600)
        return self.granted + (180 + longest + 300) * SECOND

    def answer(self, *, replayed: bool) -> Answer:
        return "granted", self.seconds, self.limited_by, self.amount, self.expires, replayed


@dataclass
class Record:
    outcome: str
    hold: Hold | None
    told: tuple[int, str | None] | None = None  # whole seconds, carrier
    seconds: int = 0
    rated: int = 0
    paid: dict[tuple[str, str], int] = field(default_factory=dict)
    short: dict[tuple[str, str], int] = field(default_factory=dict)
    draws: dict[int, int] = field(default_factory=dict)
    cost: int | None = 0
    """What the carrier asks; None: nobody knows."""
    access_cost: int = 0
    first: bool = False
    late: bool = False
    before: int = 0
    """What a late one paid when its hold expired."""

    @property
    def margin(self) -> int | None:
        """What is left of the price, before tax, when carrier and access number are paid."""
        price = self.paid.get(("call", ""), 0)
        return None if self.cost is None else price - self.cost - self.access_cost

    def answer(self, *, replayed: bool = False) -> Answer:
        lines = (
            tuple(sorted((*k, v) for k, v in part.items() if v)) for part in (self.paid, self.short)
        )
        draws = tuple(sorted(self.draws.items()))
        return (
            "record", self.outcome, self.seconds, self.rated, *lines, draws,
            self.first, self.late, self.cost, self.access_cost, self.margin, replayed,
        )  # fmt: skip


@dataclass
class Bucket:
    package: Package
    unit: str
    left: int
    expires: datetime | None


class Debt(NamedTuple):
    amount: int  # what is still to be paid
    begun: bool  # a part of it was paid, and the flat taxes on it


class Done(NamedTuple):
    request: tuple[Any, ...]
    amount: int
    balance: int
    expires: datetime | None
    refused: str = ""

    def answer(self, *, replayed: bool = False) -> Answer:
        return "done", self.amount, self.balance, self.expires, replayed


@dataclass
class Card:
    face: int
    balance: int
    expires: datetime | None
    entries: list[tuple[Any, ...]] = field(default_factory=list)
    holds: dict[str, Hold] = field(default_factory=dict)
    records: dict[str, Record] = field(default_factory=dict)
    done: dict[str, Done] = field(default_factory=dict)
    buckets: dict[int, Bucket] = field(default_factory=dict)
    debts: dict[str, list[Debt]] = field(default_factory=dict)
    period: dict[str, int] = field(default_factory=dict)
    idle: dict[str, int] = field(default_factory=dict)
    cycle: int = 0
    lately: list[tuple[datetime, int, int]] = field(default_factory=list)
    """What calls did: when, how many began, what they took."""
    plan: str | None = None
    moving: tuple[str, datetime] | None = None
    used: datetime | None = None
    active: datetime | None = None
    sold: bool = False
    blocked: bool = False
    voided: bool = False
    awaits: bool = False
    answered: bool = False
    waits: bool = False

    def room(self, package: Package, rooms: int = 1) -> bool:
        """Say whether so many times 16 KiB hold a bucket of a package beside those it has."""
        taken = [bucket.package for bucket in self.buckets.values() if bucket.left]
        names = [name for each in (*taken, package) for name in (each.name, *each.destinations)]
        size = 96 * (len(taken) + 1) + sum(len(name.encode()) + 3 for name in names)
        return size <= rooms * 16 * 1024

    def copy(self) -> Card:
        """Return a card of its own: nothing that happens to it happens to this one."""
        mine = {name: copy(value) for name, value in self.__dict__.items()}
        mine["debts"] = {name: list(debts) for name, debts in self.debts.items()}
        mine["holds"] = {call: copy(hold) for call, hold in self.holds.items()}
        mine["buckets"] = {number: copy(bucket) for number, bucket in self.buckets.items()}
        return Card(**mine)

    @property
    def available(self) -> int:
        return self.balance - sum(hold.amount for hold in self.holds.values())

    def free(self, number: int) -> int:
        """Return what of a bucket no call holds."""
        draws = [draw for hold in self.holds.values() for draw in hold.terms.draws]
        return self.buckets[number].left - sum(d.units for d in draws if d.bucket == number)

    def open(self, at: datetime) -> None:
        if not self.entries:
            self.balance = 0
            self.post(at, "face", self.face)

    def post(
        self, at: datetime, kind: str, amount: int, reference: str = "", name: str = "", of: int = 0
    ) -> None:
        self.balance += amount
        assert self.available >= 0, (at, kind, amount)
        self.entries.append((at, kind, amount, self.balance, reference, name, of))


class Event(NamedTuple):
    at: datetime
    rank: int
    tie: Any
    happen: Callable[[datetime], bool | None]
