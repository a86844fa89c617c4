"""The gate before every look-up of a PIN: counts the attempt, and asks only then.

Whose attempts are counted is kept in the store as a keyed token, since callers' numbers
are personal data. The rules are those of :mod:`cardbill.throttling`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from attrs import evolve, field, frozen

from cardbill.answers import Denied
from cardbill.denials import Denial
from cardbill.errors import (
    CallEnded,
    CardbillError,
    IdempotencyMismatch,
    InvalidInput,
    InvalidNumber,
    RowAltered,
    StorageUnavailable,
)
from cardbill.instants import to_micros
from cardbill.journal import LOCK, RECOUNT, UNLOCK
from cardbill.names import check_id, check_kind, check_reason
from cardbill.storage.contract import Tally
from cardbill.throttling import GuessPool, Throttle, Tries, delay, empty_at, fill

if TYPE_CHECKING:
    from cardbill.attempts import Attempts
    from cardbill.dialing import DialPlan
    from cardbill.journal import Journal
    from cardbill.keyring import Keyring

T = TypeVar("T")
Locks = tuple[tuple[int, int], ...]
"""Locks as :class:`Tries` has them."""

WRONG = {Denial.UNKNOWN_CREDENTIAL, Denial.BLOCKED}
"""What counts as a wrong PIN: what sounds like one. Other denials tell the caller anyway that
the PIN exists, and whoever knows that has not guessed."""

_SHORTEST_NUMBER = 7  # digits
_LONGEST = 128  # characters of a name that the host gives


@frozen
class Source:
    """Where an attempt comes from.

    Attributes:
        ani: The caller's number as far as it is one.
        call_id: The host's id of the call, where told.
        access: The number that was called, where told.
        trunk: The trunk it came over, where told.
        pin: The PIN's token.

    Raises:
        InvalidInput: One that the host names itself cannot be used.
    """

    ani: str | None
    call_id: str | None
    access: str | None
    trunk: str | None
    pin: bytes = field(repr=False)

    def __attrs_post_init__(self) -> None:
        if self.call_id is not None:
            check_id("call_id", self.call_id)
        for name in ("access", "trunk"):
            given = getattr(self, name)
            if given is not None and not (isinstance(given, str) and 1 <= len(given) <= _LONGEST):
                # Not shown: what was dialled may hold a PIN.
                raise InvalidInput(name, None, f"must be text of 1 to {_LONGEST} characters")


class Gate:
    """Lets attempts at PINs through, or not.

    Args:
        attempts: Where they are counted.
        keyring: Makes tokens of callers' numbers.
        journal: Where unlocking is written down.
        throttle: The limits; ``None``: there are none, and nothing is counted.
        dial_plan: Tells apart how networks write the same number.
    """

    def __init__(
        self,
        attempts: Attempts,
        keyring: Keyring,
        journal: Journal,
        throttle: Throttle | None,
        dial_plan: DialPlan,
    ) -> None:
        if throttle is not None:
            check_kind("throttle", throttle, Throttle)
        self._attempts = attempts
        self._keyring = keyring
        self._journal = journal
        self._throttle = throttle
        self._dial_plan = dial_plan

    def guarded(self, source: Source | None, at: datetime, look_up: Callable[[], T]) -> T | Denied:
        """Return what `look_up` answers, if this attempt may be made at all.

        When the store fails meanwhile, or the process dies, the attempt stays counted.

        Args:
            source: Where it comes from; ``None``: nobody has guessed.
            at: The instant.
            look_up: Looks the PIN up and does what it is for.
        """
        if self._throttle is None or source is None:
            return look_up()
        now, number = to_micros(at), self._number(source.ani)
        attempt = self._attempt(source, number, now)
        begun = () if attempt is None else attempt.take()
        if begun is None:
            # Not counted, but told to wait like any wrong one.
            denied = Denied(reason=Denial.LOCKED_OUT)
            return self._slowed(denied, _pools(source, number), now, count=False)
        try:
            answer = look_up()
        except (CallEnded, IdempotencyMismatch):  # only with the right PIN one gets so far
            if attempt is not None:
                attempt.give_back()
            raise
        except CardbillError:  # it stays counted
            with suppress(StorageUnavailable):
                self._note(attempt, begun)
            raise
        if isinstance(answer, Denied) and answer.reason in WRONG:
            self._note(attempt, begun)
            return self._slowed(answer, _pools(source, number), now, count=True)
        if attempt is not None:
            attempt.give_back()
        return answer

    def forget(self, at: datetime) -> int:
        """Drop what means nothing any more; return how many rows."""
        return self._attempts.forget(to_micros(at))

    def unlock(self, ani: str | None, actor: str, reason: str) -> bool:
        """Forget a number's attempts and locks; False: nothing was known of it."""
        check_reason("unlocking a number", actor, reason)
        if (number := self._number(ani)) is None:
            raise InvalidInput("ani", None, "must be a number that can be locked")
        subject = self._keyring.subject(f"caller|{number}")
        self._journal.append(UNLOCK, subject, actor, reason=reason)
        return self._attempts.take(subject, lambda state: Tally(state is not None, None))

    def recount(self, actor: str, reason: str) -> int:
        """Accept the counts as they are; return how many were altered, and dropped."""
        check_reason("recounting attempts", actor, reason)
        position = self._journal.append(RECOUNT, "", actor, reason=reason)
        return self._attempts.recount(position)

    def _number(self, ani: str | None) -> str | None:
        """Return a number that stands for one caller, written in one way."""
        if ani is None:
            return None
        digits = ani.removeprefix("+")
        try:
            number = self._dial_plan.e164(ani)
        except InvalidNumber:  # of a network that writes numbers in another way than callers
            number = digits
        many = self._throttle.shared_numbers if self._throttle else frozenset[str]()
        shared = len(set(digits)) == 1 or {number, digits} & many
        return None if shared or len(digits) < _SHORTEST_NUMBER else number

    def _attempt(self, source: Source, number: str | None, at: int) -> _Attempt | None:
        """Return what is to be counted; ``None``: nothing but the pools."""
        assert self._throttle is not None  # noqa: S101  # asked for only then
        call = source.call_id
        if number is not None:
            subject, throttle = f"caller|{number}", self._throttle
        elif call is not None:
            subject, throttle = f"call|{call}", self._throttle.of_a_call
        else:
            return None
        tags = (0, 0) if call is None else (_tag(call.encode()), _tag(call.encode(), source.pin))
        token = self._keyring.subject(subject)
        return _Attempt(self._attempts, token, number is not None, throttle, at, *tags)

    def _note(self, attempt: _Attempt | None, begun: Locks) -> None:
        """Write the lock of a number that an attempt began to the operators' log."""
        for lock in begun:  # one at most
            if attempt and attempt.lasts and (number := attempt.count_lock(lock)) is not None:
                self._journal.append(LOCK, attempt.subject, until=lock[1], number=number)

    def _slowed(self, denied: Denied, pools: dict[str, str], at: int, *, count: bool) -> Denied:
        """Return the denial with what these pools ask for: a delay, alarms."""
        assert self._throttle is not None  # noqa: S101  # asked for only then
        delays: dict[str, int] = {}
        for name, member in pools.items():
            if (pool := self._throttle.pools.get(name)) is None:
                continue
            decide = partial(_fill if count else _look, pool, at)
            seconds = self._attempts.take(self._keyring.subject(member), decide)
            if seconds is not None:
                delays[name] = seconds
        if not delays:
            return denied
        return evolve(denied, delay_seconds=max(delays.values()), alarms=tuple(delays))


@frozen
class _Attempt:
    """One attempt of one caller's number, or of one call, whose lock does not last."""

    attempts: Attempts
    subject: str
    lasts: bool
    throttle: Throttle
    at: int
    call: int
    attempt: int

    def take(self) -> Locks | None:
        """Count it; return the lock that it began, if any; ``None``: it may not be made."""

        def decide(state: bytes | None) -> Tally[Locks | None]:
            before = Tries.load(state)
            tries = before.take(self.throttle, self.at, self.call, self.attempt)
            if tries is None:
                return self._tally(None, before)
            return self._tally(tries.locks[-1:] if tries.locks != before.locks else (), tries)

        return self.attempts.take(self.subject, decide)

    def count_lock(self, lock: tuple[int, int]) -> int | None:
        """Count a lock that it began; ``None``: that was lifted meanwhile."""
        stands = partial(_locked, lock)
        return self.attempts.count_lock(self.subject, stands)

    def give_back(self) -> None:
        """Take it off the count again."""

        def decide(state: bytes | None) -> Tally[None]:
            left = Tries.load(state).give_back(self.throttle, self.at, self.attempt)
            return self._tally(None, left)

        # What was asked for is done: it must not be lost because of this. It stays counted.
        with suppress(StorageUnavailable, RowAltered):
            self.attempts.take(self.subject, decide)

    def _tally(self, outcome: T, tries: Tries) -> Tally[T]:
        keep_until = tries.keep_until(self.throttle)
        return Tally(outcome, tries.dump() if keep_until else None, keep_until)


def _locked(lock: tuple[int, int], state: bytes) -> bool:
    return lock in Tries.load(state).locks


def _fill(pool: GuessPool, at: int, state: bytes | None) -> Tally[int | None]:
    filled = fill(pool, state, at)
    return Tally(delay(pool, filled, at), filled, empty_at(filled))


def _look(pool: GuessPool, at: int, state: bytes | None) -> Tally[int | None]:
    return Tally(delay(pool, state, at), state, empty_at(state))


def _pools(source: Source, number: str | None) -> dict[str, str]:
    """Return the pools that an attempt belongs to, each by name, with whose it is."""
    pools = {"platform": "platform"}
    if source.access is not None:
        pools["access"] = f"access|{source.access}"
    if source.trunk is not None:
        pools["trunk"] = f"trunk|{source.trunk}"
    if number is None:
        pools["anonymous"] = "anonymous"
    return pools


def _tag(*parts: bytes) -> int:
    """Return 1 to 2^32 - 1: enough to tell the calls and attempts of one number apart."""
    return int.from_bytes(hashlib.sha256(b"|".join(parts)).digest()[:4]) or 1
