"""How often may somebody guess PINs: the limits, and what is remembered to keep them.

An attempt is counted before its PIN is looked up, and given back if the PIN was right; so
of any number of guesses at the same moment only as many are looked up as the limits let
through. What a caller's number has used up of its limits is a :class:`Tries`. Numbers are
locked; what many callers share (an access number, a trunk, those without a number, the
platform) never is: a :class:`GuessPool` only raises an alarm and asks for a delay.

Instants are microseconds since 1970-01-01 UTC. They need not come in order: an instant
before the last one is never judged more kindly than the last one was. Source: domain.md
section 4.
"""

from __future__ import annotations

import struct
from bisect import insort
from datetime import timedelta

from attrs import evolve, frozen

from cardbill.errors import InvalidInput, RowUnreadable, SchemaTooNew
from cardbill.instants import MICROSECOND
from cardbill.names import check_count, check_kind

_LONGEST = timedelta(days=3_660)
_MOST = 250  # so many are remembered, and must fit into a tally

WITHHELD = frozenset({"266696687", "7378742833", "86282452253", "7748283", "8656696"})
"""What some networks send in place of a number: ANONYMOUS, RESTRICTED, UNAVAILABLE,
PRIVATE, UNKNOWN on a telephone's keys."""


def _span(name: str, value: object) -> None:
    if not timedelta(seconds=1) <= check_kind(name, value, timedelta) <= _LONGEST:
        raise InvalidInput(name, value, "must be from a second to ten years")


@frozen
class GuessLimit:
    """The wrong PINs that lock a caller's number.

    Attributes:
        wrong: So many of them lock it: 1 to 250.
        within: So close together; an instant that lies the whole span back is outside.
    """

    wrong: int
    within: timedelta

    def __attrs_post_init__(self) -> None:
        check_count("limit wrong", self.wrong, 1, _MOST)
        _span("limit within", self.within)


@frozen
class GuessPool:
    """How many wrong PINs are ordinary where many callers come in.

    Above it each further one is answered with an alarm and a delay. The delay grows from one
    second to the longest, at twice the ordinary number; it shrinks as time passes.

    Attributes:
        wrong: How many within the span are ordinary: 1 to 1,000,000.
        within: The span.
        longest_delay_seconds: 0 to 600; 0: an alarm and no delay.
    """

    wrong: int
    within: timedelta
    longest_delay_seconds: int = 10

    def __attrs_post_init__(self) -> None:
        check_count("pool wrong", self.wrong, 1, 1_000_000)
        _span("pool within", self.within)
        check_count("pool longest_delay_seconds", self.longest_delay_seconds, 0, 600)


@frozen(kw_only=True)
class Throttle:
    """How often PINs may be guessed.

    Attributes:
        limits: Per caller's number; each by itself locks it. The longer ones are there
            for those who keep just below the shortest.
        locked_for: How long the first time.
        locked_again_for: How long if the last lock began not longer ago than
            `again_within`.
        again_within: See there.
        per_call: Wrong PINs in one call, where the call is told; further ones are refused.
        access, trunk, anonymous, platform: What is ordinary on one access number, on one
            trunk, among callers whose number cannot be used, and altogether; ``None``: it
            is not watched.
        shared_numbers: Numbers that many people call from (a hotel, a call shop), as
            E.164 digits: they are never locked, but count as anonymous. What networks
            send for a withheld number is among them by default.
    """

    limits: tuple[GuessLimit, ...] = (
        GuessLimit(5, timedelta(minutes=15)),
        GuessLimit(20, timedelta(hours=24)),
        GuessLimit(50, timedelta(days=30)),
    )
    locked_for: timedelta = timedelta(hours=24)
    locked_again_for: timedelta = timedelta(days=30)
    again_within: timedelta = timedelta(days=60)
    per_call: int = 3
    access: GuessPool | None = GuessPool(100, timedelta(minutes=15), 10)
    trunk: GuessPool | None = GuessPool(100, timedelta(minutes=15), 10)
    anonymous: GuessPool | None = GuessPool(30, timedelta(minutes=15), 30)
    platform: GuessPool | None = GuessPool(500, timedelta(minutes=15), 5)
    shared_numbers: frozenset[str] = WITHHELD

    def __attrs_post_init__(self) -> None:
        if not check_kind("throttle limits", self.limits, tuple):
            raise InvalidInput("throttle limits", self.limits, "must not be empty")
        for limit in self.limits:
            check_kind("throttle limits", limit, GuessLimit)
        for name in ("locked_for", "locked_again_for", "again_within"):
            _span(f"throttle {name}", getattr(self, name))
        check_count("throttle per_call", self.per_call, 1, _MOST)
        for name in ("access", "trunk", "anonymous", "platform"):
            if getattr(self, name) is not None:
                check_kind(f"throttle {name}", getattr(self, name), GuessPool)
        check_kind("throttle shared_numbers", self.shared_numbers, frozenset)

    @property
    def of_a_call(self) -> Throttle:
        """The same for a call whose caller's number cannot be used: it alone is locked."""
        day = timedelta(days=1)
        limits = (GuessLimit(self.per_call, day),)
        return evolve(self, limits=limits, locked_for=day, locked_again_for=day, again_within=day)

    @property
    def pools(self) -> dict[str, GuessPool]:
        """The pools that are watched, by name."""
        named = {
            "access": self.access,
            "trunk": self.trunk,
            "anonymous": self.anonymous,
            "platform": self.platform,
        }
        return {name: pool for name, pool in named.items() if pool is not None}


# -- a caller's number --------------------------------------------------------------------

Try = tuple[int, int, int]
"""An instant and two digests, see :class:`Tries`."""


@frozen
class Tries:
    """What a caller's number, or a call without one, has used up of its limits.

    Attributes:
        wrong: (instant, call, attempt) of those that were not right, or are not known to
            be, by rising instant; digests of the call's id, and of it with the PIN's
            token; 0: no call was told.
        locks: (from, until) of the last two times it was locked, the older one first.
    """

    wrong: tuple[Try, ...] = ()
    locks: tuple[tuple[int, int], ...] = ()

    def take(self, throttle: Throttle, at: int, call: int = 0, attempt: int = 0) -> Tries | None:
        """Count one attempt, before its PIN is looked up.

        The same PIN in the same call is the same attempt, not another guess: a host may
        ask again, also while it still waits for the first answer.

        Returns:
            What to remember now; ``None``: the attempt is refused, and is not counted.
        """
        if any(at < until for _, until in self.locks):
            return None
        if attempt and any(known == attempt for _, _, known in self.wrong):
            return self
        if call and sum(told == call for _, told, _ in self.wrong) >= throttle.per_call:
            return None
        wrong = list(self.wrong)
        insort(wrong, (at, call, attempt))
        # Dropped by number, not by age: a clock that once ran ahead must not wipe the slate.
        most = max(throttle.per_call, *(limit.wrong for limit in throttle.limits))
        counted = evolve(self, wrong=tuple(wrong[-most:]))
        until = _full_until(counted.wrong, throttle, at)
        if until is None:
            return counted
        again = self.locks and at < self.locks[-1][0] + _micros(throttle.again_within)
        lock = throttle.locked_again_for if again else throttle.locked_for
        # Where the limit's span is longer than the lock, the lock lasts until there is room.
        lasting = at, max(until, at + _micros(lock))
        return evolve(counted, locks=(*self.locks[-1:], lasting))

    def give_back(self, throttle: Throttle, at: int, attempt: int = 0) -> Tries:
        """Take an attempt off the count: its PIN was right.

        Only that one: whoever knows one PIN may not guess the more for it. A lock that
        would not have begun without it is lifted.
        """
        own = (each for each in self.wrong if each[2] == attempt and (attempt or each[0] == at))
        if (mine := next(own, None)) is None:
            return self
        wrong = list(self.wrong)
        wrong.remove(mine)
        left = evolve(self, wrong=tuple(wrong))
        if self.locks and _full_until(left.wrong, throttle, self.locks[-1][0]) is None:
            return evolve(left, locks=self.locks[:-1])
        return left

    def keep_until(self, throttle: Throttle) -> int:
        """Return when nothing of this matters any more; 0: nothing does now."""
        ends = [each[0] + _memory(throttle) for each in self.wrong[-1:]]
        for began, until in self.locks:
            ends += [until, began + _micros(throttle.again_within)]
        return max(ends, default=0)

    def dump(self) -> bytes:
        """Return this as bytes: 2, 16 for each lock and each attempt."""
        parts = [bytes([_FORMAT, len(self.locks)])]
        parts += [_LOCK.pack(*each) for each in self.locks]
        parts += [_TRY.pack(*each) for each in self.wrong]
        return b"".join(parts)

    @classmethod
    def load(cls, state: bytes | None) -> Tries:
        """Return what :meth:`dump` wrote; of nothing, that nothing is known.

        Raises:
            SchemaTooNew: A later version of cardbill wrote it.
            RowUnreadable: It was altered or damaged.
        """
        if state is None:
            return cls()
        _check_format(state)
        try:
            end = 2 + state[1] * _LOCK.size
            locks = tuple(_LOCK.iter_unpack(state[2:end]))
            wrong = tuple(_TRY.iter_unpack(state[end:]))
        except (struct.error, LookupError):
            raise RowUnreadable("attempts: what is stored cannot be read") from None
        return cls(wrong, locks)


def _full_until(wrong: tuple[Try, ...], throttle: Throttle, at: int) -> int | None:
    """Return when every limit that is reached has room again; ``None``: none is."""
    ends = [
        wrong[-limit.wrong][0] + _micros(limit.within)
        for limit in throttle.limits
        if len(wrong) >= limit.wrong
    ]
    return max((end for end in ends if at < end), default=None)


# -- pools --------------------------------------------------------------------------------


def fill(pool: GuessPool, state: bytes | None, at: int) -> bytes:
    """Count one wrong PIN in a pool; return what to remember of it.

    The pool drains steadily: what is remembered is when it will be empty.
    """
    span = _micros(pool.within)
    one = -(-span // pool.wrong)
    # Beyond twice what is ordinary nothing is added: an alarm ends with what raised it.
    return _POOL.pack(_FORMAT, min(max(empty_at(state), at) + one, at + 2 * span))


def delay(pool: GuessPool, state: bytes | None, at: int) -> int | None:
    """Return the seconds of delay a pool asks for; ``None``: all is ordinary, no alarm."""
    span = _micros(pool.within)
    over = min(empty_at(state) - at - span, span)
    return None if over <= 0 else -(-pool.longest_delay_seconds * over // span)


def empty_at(state: bytes | None) -> int:
    """Return from when on a pool is empty.

    Raises:
        SchemaTooNew: A later version of cardbill wrote it.
        RowUnreadable: It was altered or damaged.
    """
    if state is None:
        return 0
    _check_format(state)
    try:
        _, empty = _POOL.unpack(state)
    except struct.error:
        raise RowUnreadable("attempts: what is stored cannot be read") from None
    return int(empty)


# -- inside -------------------------------------------------------------------------------

_FORMAT = 1
_DAY = 86_400_000_000
_LOCK = struct.Struct(">qq")
_TRY = struct.Struct(">qII")
_POOL = struct.Struct(">Bq")


def _check_format(state: bytes) -> None:
    if state[:1] > bytes([_FORMAT]):
        raise SchemaTooNew(f"attempts are stored in format {state[0]}, known is {_FORMAT}")
    if state[:1] != bytes([_FORMAT]):
        raise RowUnreadable("attempts: what is stored cannot be read")


def _micros(span: timedelta) -> int:
    return span // MICROSECOND


def _memory(throttle: Throttle) -> int:
    """Return how long an attempt counts: by a limit, or in its call, which lasts no day."""
    return max(_DAY, *(_micros(limit.within) for limit in throttle.limits))
