"""Guessing PINs: who is locked for it and for how long, who never is, and what an attack gets."""

import random
import re
import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from fractions import Fraction
from functools import partial
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pytest
from attrs import define, evolve, field
from hypothesis import given, strategies as st

from cardbill import (
    AccessNumber,
    Denied,
    Engine,
    Grant,
    GuessLimit,
    GuessPool,
    Keyring,
    Throttle,
)
from cardbill.attempts import Attempts
from cardbill.errors import (
    CallEnded,
    IdempotencyMismatch,
    InvalidInput,
    RowUnreadable,
    SchemaTooNew,
    StorageUnavailable,
)
from cardbill.instants import MICROSECOND, to_micros
from cardbill.journal import Journal
from cardbill.storage.contract import Tally
from cardbill.storage.memory import MemoryStorage
from cardbill.testing.conformance.rows import together
from cardbill.throttling import Tries, delay, empty_at, fill
from tests.building import START, STORES, UK, FakeClock, Shop, open_shop as open_any_shop

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
RULES = Throttle()
NOW = to_micros(START)
WRONG = "000000000042"
CALLER, OTHER = "+13055551234", "+13055559999"
HERE, THERE = "18005550100", "18005550101"
"""Access numbers."""
UNWATCHED = evolve(RULES, access=None, trunk=None, anonymous=None, platform=None)


@contextmanager
def open_shop(kind: str, folder: Path, **terms: Any) -> Iterator[Shop]:
    """A small business with two access numbers."""
    with open_any_shop(kind, folder, **terms) as shop:
        for number in (HERE, THERE):
            shop.bill.access_numbers.publish(AccessNumber(number=number))
        yield shop


def micros(span: timedelta) -> int:
    return span // MICROSECOND


# -- the rules, against one who keeps every attempt ---------------------------------------


@define
class Naive:
    """The rules as domain.md tells them, on lists that are never shortened."""

    wrong: list[tuple[int, int, int]] = field(factory=list)
    locks: list[tuple[int, int]] = field(factory=list)

    def attempt(self, at: int, call: int, pin: int, *, right: bool) -> bool:
        if any(at < until for _, until in self.locks):
            return False
        if call and (call, pin) in [(told, known) for _, told, known in self.wrong]:
            return True
        if call and [told for _, told, _ in self.wrong].count(call) >= RULES.per_call:
            return False
        if right:
            return True
        self.wrong.append((at, call, pin))
        rooms = []
        for limit in RULES.limits:
            counted = [each for each, _, _ in self.wrong if at - each < micros(limit.within)]
            if len(counted) >= limit.wrong:
                rooms.append(counted[-limit.wrong] + micros(limit.within))
        if rooms:
            again = bool(self.locks) and at - self.locks[-1][0] < micros(60 * DAY)
            self.locks.append((at, max(at + micros(30 * DAY if again else DAY), *rooms)))
        return True


STEP = micros(MINUTE)
GAPS = st.sampled_from(
    [0, 1, STEP, 3 * STEP, 4 * STEP, 15 * STEP - 1, 15 * STEP, 80 * STEP, micros(DAY) - 1]
    + [micros(span) for span in (DAY, 29 * DAY, 30 * DAY, 59 * DAY, 60 * DAY)]
)
PINS = st.sampled_from([1, 2, 3, 4, 5, 6, 7, 8, 9])  # 9 is the right one
ATTEMPTS = st.lists(st.tuples(GAPS, st.integers(0, 2), PINS))


@given(ATTEMPTS, st.sampled_from([None, 4 * STEP, 80 * STEP, micros(DAY) * 2 // 3]))
def test_the_rules_are_kept_by_what_is_remembered(
    attempts: list[tuple[int, int, int]], pace: int | None
):
    """Also when the state goes through bytes, and is dropped once it means nothing."""
    naive, state, at, call, begun = Naive(), None, NOW, 0, NOW
    for gap, told, pin in attempts if pace is None else attempts * 4:
        gap = gap if pace is None else pace  # noqa: PLW2901  # steady, so that the slow limits count
        at += gap
        if at - begun >= micros(DAY):  # no call lasts a day
            call, begun = call + 1, at
        tag, right = told and told + 2 * call, pin == 9
        attempt = tag and 10 * tag + pin
        tries = Tries.load(state)
        if state is not None and at >= tries.keep_until(RULES):
            tries = Tries()
        taken = tries.take(RULES, at, tag, attempt)
        assert (taken is not None) == naive.attempt(at, tag, pin, right=right)
        if taken is not None:
            left = taken.give_back(RULES, at, attempt) if right else taken
            state = left.dump()
            assert Tries.load(state) == left


@given(st.lists(st.integers(0, 40 * 1440).map(lambda minute: NOW + minute * STEP), max_size=120))
def test_no_order_of_instants_lets_more_through(instants: list[int]):
    """A clock that goes back and forth unlocks nobody: no span of a limit holds more."""
    tries, through = Tries(), []
    for at in instants:
        taken = tries.take(RULES, at)
        if taken is not None:
            tries = taken
            through.append(at)
    through.sort()
    for limit in RULES.limits:
        for first, beyond in zip(through, through[limit.wrong :], strict=False):
            assert beyond - first >= micros(limit.within)


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=12), st.randoms())
def test_attempts_at_the_same_time_count_as_if_one_by_one(
    asked: list[tuple[int, bool]], order: random.Random
):
    """However many are under way: what stays is what was wrong, and its lock if it has one."""
    tries, under_way = Tries(), []
    for minute, right in asked:
        at = NOW + minute * STEP
        taken = tries.take(RULES, at)
        if taken is not None:
            tries = taken
            under_way.append((at, right))
    assert len(under_way) <= 5
    order.shuffle(under_way)
    for at, right in under_way:
        if right:
            tries = tries.give_back(RULES, at)
    wrong = sorted(at for at, right in under_way if not right)
    assert [each[0] for each in tries.wrong] == wrong
    assert bool(tries.locks) == (len(wrong) == 5)
    assert (tries.keep_until(RULES) == 0) == (not wrong)


def test_a_locked_number_is_locked_before_its_lock_too():
    tries = Tries()
    for _ in range(5):
        tries = tries.take(RULES, NOW) or pytest.fail("refused")
    for at in (0, NOW - 1, NOW, NOW + micros(DAY) - 1):
        assert tries.take(RULES, at) is None
    assert tries.take(RULES, NOW + micros(DAY)) is not None


def test_a_lock_is_remembered_when_a_later_right_pin_is_given_back():
    """Two months count from the lock, whatever was right in between."""
    tries, again = Tries(), NOW + micros(59 * DAY)
    for _ in range(5):
        tries = tries.take(RULES, NOW) or pytest.fail("refused")
    for day in range(1, 59):
        at = NOW + micros(day * DAY)
        tries = (tries.take(RULES, at) or pytest.fail("refused")).give_back(RULES, at)
    for _ in range(5):
        tries = tries.take(RULES, again) or pytest.fail("refused")
    assert tries.take(RULES, again + micros(30 * DAY) - 1) is None


@pytest.mark.parametrize(("gap", "locked"), [(-1, True), (0, False)])
def test_the_spans_of_limits_are_half_open(gap: int, locked: bool):
    tries = Tries()
    for at in [NOW, *[NOW + 1] * 3, NOW + 15 * STEP + gap]:
        tries = tries.take(RULES, at) or pytest.fail("refused")
    assert bool(tries.locks) == locked


def test_a_lock_lasts_until_a_longer_limit_has_room():
    """Fifty in three days: after a day the month's limit would still be full."""
    tries, at = Tries(), NOW
    for _ in range(50):
        tries = tries.take(RULES, at) or pytest.fail("refused")
        at += 76 * STEP
    for later in (at + micros(DAY), NOW + micros(30 * DAY) - 1):
        assert tries.take(RULES, later) is None
    assert tries.take(RULES, NOW + micros(30 * DAY)) is not None


def test_a_lock_that_is_lifted_leaves_the_one_before_remembered():
    tries, later = Tries(), NOW + micros(2 * DAY)
    for at in [NOW] * 5 + [later] * 4:
        tries = tries.take(RULES, at) or pytest.fail("refused")
    right = tries.take(RULES, later + 1) or pytest.fail("refused")
    assert right.take(RULES, later + 2) is None  # it might be the fifth wrong one
    tries = right.give_back(RULES, later + 1).take(RULES, later + 2) or pytest.fail("refused")
    assert tries.locks[-1] == (later + 2, later + 2 + micros(30 * DAY))


@pytest.mark.parametrize("state", [b"", b"\x01", b"\0\0", b"\x01\x01abc", b"\x01\0abc"])
def test_damaged_attempts_are_named_and_let_nobody_through(state: bytes):
    with pytest.raises(RowUnreadable):
        Tries.load(state)
    with pytest.raises(RowUnreadable):
        empty_at(state)
    with pytest.raises(SchemaTooNew):
        Tries.load(b"\x02" + state)
    with pytest.raises(SchemaTooNew):
        empty_at(b"\x02" + state)


def test_the_largest_limits_fit_into_a_tally():
    most = evolve(RULES, limits=(GuessLimit(250, 3_000 * DAY),))
    tries = Tries()
    for number in range(1_000):
        at = NOW + number * micros(30 * DAY)
        tries = tries.take(most, at, 2**32 - 1 - number, 1 + number) or tries
    store = MemoryStorage()
    assert len(tries.wrong) == 250
    keyring = Keyring.generate()
    attempts = Attempts(store, keyring.seals, Journal(store, keyring.seals, lambda: START))
    attempts.open()
    attempts.take("a", lambda _: Tally(None, tries.dump(), 0))


# -- pools --------------------------------------------------------------------------------

POOL = GuessPool(100, 15 * MINUTE, 10)


@given(st.lists(st.integers(0, 40_000_000), max_size=400), st.integers(1, 50))
def test_a_pool_is_a_bucket_that_leaks(gaps: list[int], ordinary: int):
    pool, state, at = GuessPool(ordinary, MINUTE, 10), None, NOW
    level, filled = Fraction(0), False
    rate = Fraction(ordinary, STEP)
    for gap in gaps:
        at += gap
        level = min(max(level - gap * rate, Fraction(0)) + 1, Fraction(2 * ordinary))
        state = fill(pool, state, at)
        seconds = delay(pool, state, at)
        filled = filled or bool(gap * rate % 1)
        # A drop is rounded up to whole microseconds, so the bucket may be that much fuller.
        slack = Fraction(len(gaps)) * rate
        assert (seconds is not None) >= (level > ordinary)
        assert (seconds is not None) <= (level + slack > ordinary)
        if seconds is not None:
            assert 1 <= seconds <= 10
            exact = 10 * (level - ordinary) / ordinary
            assert exact <= seconds <= exact + 1 + 10 * slack / ordinary
        assert (delay(pool, state, at - 1) or 0) >= (seconds or 0)


def test_an_alarm_ends_with_what_raised_it():
    state = None
    for _ in range(100_000):
        state = fill(POOL, state, NOW)
    assert delay(POOL, state, NOW) == 10
    assert delay(POOL, state, NOW + micros(8 * MINUTE)) == 5
    assert delay(POOL, state, NOW + micros(15 * MINUTE)) is None
    assert empty_at(state) == NOW + micros(30 * MINUTE)


def test_a_pool_may_raise_an_alarm_without_a_delay():
    state = fill(GuessPool(1, MINUTE, 0), fill(GuessPool(1, MINUTE, 0), None, NOW), NOW)
    assert delay(GuessPool(1, MINUTE, 0), state, NOW) == 0


@pytest.mark.parametrize(
    "make",
    [
        lambda: GuessLimit(0, MINUTE),
        lambda: GuessLimit(251, MINUTE),
        lambda: GuessLimit(5, timedelta()),
        lambda: GuessLimit(5, 900),  # type: ignore[arg-type]
        lambda: GuessPool(0, MINUTE),
        lambda: GuessPool(5, MINUTE, 601),
        lambda: GuessPool(5, -MINUTE),
        lambda: Throttle(limits=()),
        lambda: Throttle(limits=[GuessLimit(5, MINUTE)]),  # type: ignore[arg-type]
        lambda: Throttle(limits=((5, MINUTE),)),  # type: ignore[arg-type]
        lambda: Throttle(locked_for=timedelta()),
        lambda: Throttle(again_within=timedelta(days=10_000)),
        lambda: Throttle(per_call=0),
        lambda: Throttle(platform=5),  # type: ignore[arg-type]
        lambda: Throttle(shared_numbers={"1"}),  # type: ignore[arg-type]
        lambda: Engine(MemoryStorage(), Keyring.generate(), throttle=5),  # type: ignore[arg-type]
    ],
)
def test_limits_that_make_no_sense_are_refused(make: Callable[[], object]):
    with pytest.raises(InvalidInput):
        make()


# -- the engine ---------------------------------------------------------------------------


@pytest.fixture(params=STORES)
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    with open_shop(request.param, tmp_path) as opened:
        yield opened


def ask(shop: Shop, pin: str | None = None, *, ani: str | None = CALLER, **given: Any) -> str:
    """Authenticate, with the PIN of card B/1 or another; say how it went."""
    answer = shop.bill.authenticate(pin=shop.pin() if pin is None else pin, ani=ani, **given)
    return answer.reason.value if isinstance(answer, Denied) else "admitted"


def guess(shop: Shop, times: int, **given: Any) -> Counter[str]:
    return Counter(ask(shop, WRONG, **given) for _ in range(times))


def wrong_pins(count: int) -> list[str]:
    return [f"{number:012d}" for number in range(100, 100 + count)]


def test_the_fifth_wrong_pin_locks_the_number_for_a_day(shop: Shop):
    assert guess(shop, 4) == {"unknown_credential": 4}
    assert ask(shop) == "admitted"  # which gives back its own attempt only
    assert guess(shop, 3) == {"unknown_credential": 1, "locked_out": 2}
    assert ask(shop) == "locked_out"
    assert ask(shop, ani=OTHER) == "admitted"
    shop.clock.tick(days=1, microseconds=-1)
    assert ask(shop) == "locked_out"
    shop.clock.tick(microseconds=1)
    assert ask(shop) == "admitted"


def test_a_second_lock_within_two_months_is_for_a_month(shop: Shop):
    guess(shop, 5)
    shop.clock.tick(days=60, microseconds=-1)
    guess(shop, 5)
    shop.clock.tick(days=30, microseconds=-1)
    assert ask(shop) == "locked_out"
    shop.clock.tick(microseconds=1)
    assert ask(shop) == "admitted"
    shop.clock.tick(days=30)  # 60 since the last lock began
    guess(shop, 5)
    shop.clock.tick(days=1)
    assert ask(shop) == "admitted"


@pytest.mark.parametrize(("every", "wrong"), [(4 * MINUTE, 20), (76 * MINUTE, 50)])
def test_who_keeps_below_the_short_limit_meets_a_longer_one(
    tmp_path: Path, every: timedelta, wrong: int
):
    with open_shop("memory", tmp_path) as shop:
        for _ in range(wrong):
            assert ask(shop, WRONG) == "unknown_credential"
            shop.clock.tick(microseconds=micros(every))
        assert ask(shop, WRONG) == "locked_out"


def test_a_locked_caller_hears_what_anybody_with_a_wrong_pin_hears(shop: Shop):
    unknown = shop.bill.authenticate(pin=WRONG, ani=CALLER)
    guess(shop, 4)
    locked = shop.bill.authenticate(pin=shop.pin(), ani=CALLER)
    assert isinstance(unknown, Denied)
    assert isinstance(locked, Denied)
    for name in ("prompt", "sip", "q850", "radius", "http"):
        assert getattr(locked.reason, name) == getattr(unknown.reason, name)
    assert evolve(locked, reason=unknown.reason) == unknown  # no card, no detail, same delay


class Watching(MemoryStorage):
    """Notes what is asked of it, and fails when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: Counter[str] = Counter()
        self.fails: set[str] = set()

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name.startswith("_") or not callable(found):
            return found
        self.asked[name] += 1
        if name in self.fails:
            raise StorageUnavailable("out of reach")
        return found


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[tuple[Shop, Watching]]:
    """A shop in memory, its store watched from now on."""
    with open_shop("memory", tmp_path) as opened:
        store = Watching()
        vars(store).update(vars(opened.bill.storage))  # the same cards
        bill = Engine(store, opened.keyring, clock=opened.clock)
        store.asked.clear()
        yield evolve(opened, bill=bill), store


def test_the_pin_of_a_locked_caller_is_not_looked_up(watched: tuple[Shop, Watching]):
    """So not even the time it takes tells whether the PIN exists."""
    shop, store = watched
    right = shop.pin()
    guess(shop, 5)
    store.asked.clear()
    for pin in (right, WRONG):
        assert ask(shop, pin) == "locked_out"
        assert not shop.bill.authorize(pin=pin, ani=CALLER, to=UK, call_id="c1").granted
    assert set(store.asked) == {"take_attempts"}


def test_a_blocked_card_counts_as_a_wrong_pin_and_a_void_one_does_not(shop: Shop):
    """What sounds like a wrong PIN must count like one, or the lock would tell them apart."""
    shop.edit("B/2", voided=True)
    assert {ask(shop, shop.pin(2)) for _ in range(20)} == {"void"}
    shop.edit("B/1", blocked=True)
    assert [ask(shop) for _ in range(6)] == ["blocked"] * 5 + ["locked_out"]


def test_an_expired_or_empty_card_is_no_wrong_pin(shop: Shop):
    shop.edit("B/1", expires_at=START)
    assert {ask(shop) for _ in range(20)} == {"expired"}
    assert ask(shop, shop.pin(2)) == "admitted"


@pytest.mark.parametrize("nothing", ["", "42", "*" * 40, "12 34", "é" * 9])
def test_what_can_be_no_pin_is_no_guess(shop: Shop, nothing: str):
    assert guess(shop, 4) == {"unknown_credential": 4}
    assert {ask(shop, nothing, call_id="c1") for _ in range(20)} == {"unknown_credential"}
    answer = shop.bill.authorize(pin=nothing, ani=CALLER, to=UK, call_id="c1")
    assert isinstance(answer, Denied)
    assert ask(shop) == "admitted"


@pytest.mark.parametrize("ani", [CALLER, None])
def test_three_wrong_pins_are_the_most_in_one_call(shop: Shop, ani: str | None):
    first = [ask(shop, pin, ani=ani, call_id="c1") for pin in wrong_pins(4)]
    assert first == ["unknown_credential"] * 3 + ["locked_out"]
    assert ask(shop, ani=ani, call_id="c1") == "locked_out"
    one_stage = shop.bill.authorize(pin=shop.pin(), ani=ani, to=UK, call_id="c1")
    assert not one_stage.granted
    assert ask(shop, ani=ani, call_id="c2") == "admitted"
    assert shop.bill.authorize(pin=shop.pin(), ani=ani, to=UK, call_id="c2").granted


@pytest.mark.parametrize("ani", [CALLER, None])
def test_the_same_pin_in_the_same_call_is_the_same_attempt(shop: Shop, ani: str | None):
    """A host that asks again, or a caller who keys it again, has not guessed again."""
    assert {ask(shop, WRONG, ani=ani, call_id="c1") for _ in range(20)} == {"unknown_credential"}
    assert ask(shop, ani=ani, call_id="c1") == "admitted"
    later = [ask(shop, pin, ani=ani, call_id="c1") for pin in wrong_pins(3)]
    assert later == ["unknown_credential"] * 2 + ["locked_out"]


def test_a_long_call_is_limited_to_its_end(tmp_path: Path):
    """Whatever the limits per number, and whether a sweep came by."""
    with open_shop("memory", tmp_path) as shop:
        bill = shop.second(throttle=Throttle(limits=(GuessLimit(2, timedelta(seconds=1)),)))
        answers = []
        for pin in wrong_pins(5):
            answers.append(bill.authenticate(pin=pin, ani=CALLER, call_id="c1"))
            shop.clock.tick(hours=2)
            bill.sweep()
        assert [answer.reason.value for answer in answers if isinstance(answer, Denied)] == [
            *["unknown_credential"] * 3,
            *["locked_out"] * 2,
        ]


def test_both_stages_count_in_the_same_call_and_number(shop: Shop):
    for number in range(5):
        answer = shop.bill.authorize(pin=WRONG, ani=CALLER, to=UK, call_id=f"c{number}")
        assert isinstance(answer, Denied)
    assert ask(shop) == "locked_out"


WRITTEN = ["+1 305 555 1234", "13055551234", "305-555-1234", "(305) 555.1234", "01113055551234"]


def test_one_number_is_one_caller_however_it_is_written(shop: Shop):
    for ani in WRITTEN:
        assert ask(shop, WRONG, ani=ani) == "unknown_credential"
    assert {ask(shop, ani=ani) for ani in [*WRITTEN, CALLER]} == {"locked_out"}


def test_a_number_of_another_country_is_a_caller_too(shop: Shop):
    for ani in ("442071234567", "+442071234567", "011442071234567", "442071234567", "442071234567"):
        assert ask(shop, WRONG, ani=ani) == "unknown_credential"
    assert ask(shop, ani="+442071234567") == "locked_out"


@pytest.mark.parametrize(
    "ani", [None, "", "anonymous", "0", "911", "0000000000", "+9999999999", "266696687", "x" * 99]
)
def test_callers_without_a_number_are_never_locked(shop: Shop, ani: str | None):
    """All of them would be, for what one did. They are slowed, and watched."""
    answers = [shop.bill.authenticate(pin=WRONG, ani=ani) for _ in range(200)]
    denied = [answer for answer in answers if isinstance(answer, Denied)]
    assert {answer.reason.value for answer in denied} == {"unknown_credential"}
    assert [answer.alarms for answer in denied[:31]] == [()] * 30 + [("anonymous",)]
    waits = [answer.delay_seconds for answer in denied]
    assert waits[:31] == [0] * 30 + [1]
    assert all(0 <= later - wait <= 1 for wait, later in pairwise(waits))
    assert waits[-1] == 30
    assert ask(shop, ani=ani) == "admitted"


def test_a_shared_number_is_never_locked(tmp_path: Path):
    with open_shop("memory", tmp_path) as shop:
        bill = shop.second(throttle=evolve(UNWATCHED, shared_numbers=frozenset({"13055551234"})))
        answers = [bill.authenticate(pin=WRONG, ani=CALLER) for _ in range(20)]
        assert {repr(answer) for answer in answers} == {repr(answers[0])}
        assert bill.authenticate(pin=shop.pin(), ani=CALLER).authenticated


def test_busy_places_raise_an_alarm_and_ask_for_a_delay(shop: Shop):
    """An access number, a trunk, the platform: only those where it is busy, and no lock."""
    small = GuessPool(3, 15 * MINUTE, 10)
    bill = shop.second(throttle=Throttle(access=small, trunk=evolve(small, wrong=5), platform=None))

    def wrong(number: int, access: str, trunk: str) -> tuple[int, tuple[str, ...]]:
        ani = f"+1305555{number:04d}"
        answer = bill.authenticate(pin=WRONG, ani=ani, access=access, trunk=trunk)
        assert isinstance(answer, Denied)
        assert answer.reason.value == "unknown_credential"
        return answer.delay_seconds, answer.alarms

    assert [wrong(number, HERE, "T") for number in range(3)] == [(0, ())] * 3
    assert wrong(3, HERE, "T") == (4, ("access",))
    assert wrong(4, THERE, "U") == (0, ())
    assert wrong(5, HERE, "T") == (7, ("access",))
    assert wrong(6, HERE, "T") == (10, ("access", "trunk"))
    right: dict[str, Any] = {"pin": shop.pin(), "ani": CALLER, "access": HERE, "trunk": "T"}
    assert bill.authenticate(**right).authenticated  # nobody who is right is slowed
    grant = bill.authorize(**right, to=UK, call_id="c1")
    assert grant.granted


def test_a_locked_caller_is_slowed_like_others_and_counted_nowhere(shop: Shop):
    bill = shop.second(throttle=evolve(UNWATCHED, platform=GuessPool(4, 15 * MINUTE, 8)))
    answers = [bill.authenticate(pin=WRONG, ani=CALLER) for _ in range(30)]
    waits = [answer.delay_seconds for answer in answers if isinstance(answer, Denied)]
    assert waits == [0] * 4 + [2] * 26
    assert isinstance(answers[-1], Denied)
    assert answers[-1].alarms == ("platform",)
    assert answers[-1].reason.value == "locked_out"


def test_a_replay_of_a_locked_caller_is_refused_unless_the_pin_is_not_needed(shop: Shop):
    """To look the PIN up would tell by the time it takes whether it exists."""
    caller = shop.bill.authenticate(pin=shop.pin(), ani=CALLER)
    first = shop.bill.authorize(pin=shop.pin(), ani=CALLER, to=UK, call_id="c1")
    assert isinstance(first, Grant)
    guess(shop, 5)
    again = shop.bill.authorize(pin=shop.pin(), ani=CALLER, to=UK, call_id="c1")
    assert isinstance(again, Denied)
    assert again.reason.value == "locked_out"
    replayed = shop.bill.authorize(caller, to=UK, call_id="c1")
    assert isinstance(replayed, Grant)
    assert replayed.replayed
    assert shop.bill.settle(first.handle, talk_ms=60_000).price_units


def test_a_host_that_repeats_itself_locks_nobody(shop: Shop):
    """Replays, ended calls, other numbers: the PIN was right each time."""
    given: dict[str, Any] = {"pin": shop.pin(), "ani": CALLER, "call_id": "c1"}
    first = shop.bill.authorize(to=UK, **given)
    assert isinstance(first, Grant)
    for _ in range(7):
        assert shop.bill.authorize(to=UK, **given) == first
        with pytest.raises(IdempotencyMismatch):
            shop.bill.authorize(to="011442071234568", **given)
    shop.bill.settle(first.handle, talk_ms=60_000)
    for _ in range(7):
        with pytest.raises(CallEnded):
            shop.bill.authorize(to=UK, **given)
    assert ask(shop) == "admitted"


def test_an_attempt_stays_counted_when_the_store_fails_in_its_course(
    watched: tuple[Shop, Watching],
):
    """Asked again in the same call, it is that attempt again."""
    shop, store = watched
    pin = shop.pin()
    store.fails = {"resolve"}
    for _ in range(5):
        with pytest.raises(StorageUnavailable):
            ask(shop, pin, call_id="c1")
    store.fails = set()
    assert kept(shop) == 1
    shop.clock.tick(seconds=5)
    assert ask(shop, pin, call_id="c1") == "admitted"
    assert kept(shop) == 0
    store.fails = {"resolve"}
    for number in range(5):
        with pytest.raises(StorageUnavailable):
            ask(shop, pin, call_id=f"d{number}")
    store.fails = set()
    assert ask(shop, pin) == "locked_out"


def test_nobody_is_let_through_uncounted(watched: tuple[Shop, Watching]):
    shop, store = watched
    pin = shop.pin()
    store.fails, store.asked = {"take_attempts"}, Counter()
    with pytest.raises(StorageUnavailable):
        ask(shop, pin)
    assert set(store.asked) == {"take_attempts"}


def test_a_grant_is_not_lost_when_its_attempt_cannot_be_given_back(
    watched: tuple[Shop, Watching],
):
    shop, store = watched
    pin, transact = shop.pin(), store.transact

    def then_fail(*given: Any, **named: Any) -> Any:
        outcome = transact(*given, **named)
        store.fails = {"take_attempts"}
        return outcome

    vars(store)["transact"] = then_fail
    grant = shop.bill.authorize(pin=pin, ani=CALLER, to=UK, call_id="c1")
    assert grant.granted
    store.fails = set()
    assert guess(shop, 5) == {"unknown_credential": 4, "locked_out": 1}


def test_a_sweep_drops_what_means_nothing_any_more(shop: Shop):
    guess(shop, 5)
    guess(shop, 1, ani=OTHER)
    for number in range(600):
        guess(shop, 1, ani=None, call_id=f"c{number}")
    assert kept(shop) == 2 + 600 + 2
    shop.clock.tick(days=1)
    shop.bill.sweep()
    assert kept(shop) == 2
    shop.clock.tick(days=29)
    shop.bill.sweep()
    assert kept(shop) == 1  # the lock counts for two months
    shop.clock.tick(days=30)
    shop.bill.sweep()
    assert kept(shop) == 0


def rows(shop: Shop) -> list[tuple[str, bytes]]:
    """What the store holds of attempts, without books and how often callers were denied."""
    found = shop.bill.storage.attempts(limit=100_000)
    return [
        (row.subject, row.state)
        for row in found
        if row.subject and not row.subject.startswith("denials|")
    ]


def kept(shop: Shop) -> int:
    return len(rows(shop))


def test_what_is_kept_shows_neither_number_nor_pin_nor_call(shop: Shop):
    for number in range(6):
        pin = shop.pin() if number % 2 else WRONG
        place = {"access": HERE, "trunk": "trunk-east"}
        ask(shop, pin, ani=[CALLER, None][number % 2], call_id="call-7e57", **place)
    guess(shop, 1, ani=None, call_id="call-7e57")
    assert kept(shop) == 6  # the caller, the call, four pools
    for subject, state in rows(shop):
        assert re.fullmatch("[0-9a-f]{32}", subject)
        for text in (CALLER[1:], shop.pin(), WRONG, "call-7e57", HERE, "trunk-east"):
            assert text.encode() not in state
    others = {Keyring.generate().subject("caller|13055551234") for _ in range(5)}
    assert len(others) == 5  # without the key a number cannot be told from its token


def test_who_is_right_leaves_nothing_behind(shop: Shop):
    for _ in range(10):
        assert ask(shop, call_id="c1") == "admitted"
        assert ask(shop, ani=None, call_id="c1") == "admitted"
    assert kept(shop) == 0


def test_other_engines_and_new_keys_know_who_is_locked(shop: Shop):
    guess(shop, 5)
    newer = shop.keyring.rotated()
    for bill in (shop.second(), Engine(shop.bill.storage, newer, clock=shop.clock)):
        answer = bill.authenticate(pin=shop.pin(), ani=CALLER)
        assert isinstance(answer, Denied)
        assert answer.reason.value == "locked_out"


def test_an_operator_may_unlock_a_number(shop: Shop):
    guess(shop, 5)
    guess(shop, 5, ani=OTHER)
    for ani in WRITTEN[:2]:
        unlocked = shop.bill.unlock(ani, actor="ann", reason="her children played")
        assert unlocked == (ani == WRITTEN[0])
    assert ask(shop) == "admitted"
    assert ask(shop, ani=OTHER) == "locked_out"
    guess(shop, 5)
    shop.clock.tick(days=1)
    assert ask(shop) == "admitted"  # the first lock is forgotten too
    log = [row for _, row in shop.bill.storage.audit_log() if row.actor]
    assert [(row.actor, row.action, row.subject == log[0].subject) for row in log] == [
        ("ann", "unlock-number", True)
    ] * 2
    assert b"children" in log[0].detail
    assert "3055551234" not in repr(log)


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("ani", {"ani": "anonymous"}),
        ("ani", {"ani": None}),
        ("actor", {"actor": 5}),
        ("unlocking a number", {"actor": ""}),
        ("unlocking a number", {"reason": ""}),
    ],
)
def test_nothing_is_unlocked_without_a_number_and_a_reason(
    shop: Shop, field: str, given: dict[str, Any]
):
    guess(shop, 5)
    log = shop.bill.storage.audit_log()
    with pytest.raises(InvalidInput) as refused:
        shop.bill.unlock(**{"ani": CALLER, "actor": "ann", "reason": "why", **given})
    assert refused.value.field == field
    assert ask(shop) == "locked_out"
    assert shop.bill.storage.audit_log() == log


def test_without_a_throttle_nothing_is_counted(shop: Shop):
    bill = shop.second(throttle=None)
    for _ in range(50):
        answer = bill.authenticate(pin=WRONG, ani=CALLER, call_id="c1", access=HERE, trunk="T")
        assert answer == Denied(reason=answer.reason)  # type: ignore[union-attr]
    assert bill.authenticate(pin=shop.pin(), ani=CALLER, call_id="c1").authenticated
    assert kept(shop) == 0


@pytest.mark.parametrize("name", ["access", "trunk"])
@pytest.mark.parametrize("value", ["", "9" * 129, 18005550100, b"x"])
def test_a_place_that_cannot_be_used_is_refused_and_not_shown(shop: Shop, name: str, value: Any):
    """Hosts that take one dialled string have the PIN in it."""
    for use in (
        partial(shop.bill.authenticate, pin=WRONG, **{name: value}),
        partial(shop.bill.authorize, pin=WRONG, to=UK, call_id="c1", **{name: value}),
    ):
        with pytest.raises(InvalidInput) as refused:
            use()
        assert (refused.value.field, refused.value.value) == (name, None)


# -- many at once -------------------------------------------------------------------------


def test_of_a_hundred_guesses_at_once_five_are_looked_up(shop: Shop):
    pins = [f"{number:012d}" for number in range(100)]

    def work(bill: Engine, mine: list[str]) -> list[str]:
        answers = [bill.authenticate(pin=pin, ani=CALLER) for pin in mine]
        return [answer.reason.value for answer in answers if isinstance(answer, Denied)]

    engines = [shop.bill, shop.second()]
    given = [(engines[each % 2], pins[each::10]) for each in range(10)]
    answers = together(*[partial(work, *each) for each in given])
    assert Counter(reason for each in answers for reason in each) == {
        "unknown_credential": 5,
        "locked_out": 95,
    }


def test_many_who_are_right_at_once_leave_their_number_open(shop: Shop):
    """An attempt under way counts, so few of them may be refused; none of it lasts."""
    pin, refused = shop.pin(), threading.Semaphore(0)

    def work(bill: Engine) -> None:
        for _ in range(20):
            if not bill.authenticate(pin=pin, ani=CALLER).authenticated:
                refused.release()

    together(*[partial(work, bill) for bill in (shop.bill, shop.second()) * 2])
    assert not refused.acquire(blocking=False)  # four at once are below the limit
    together(*[partial(work, bill) for bill in (shop.bill, shop.second()) * 5])
    assert kept(shop) == 0
    assert ask(shop) == "admitted"


# -- the attack ---------------------------------------------------------------------------

LIVE, POSSIBLE = 10**6, 10**12


@define
class Attack:
    """A thousand numbers that guess as fast as they can, at a hundred guesses a second."""

    bill: Engine
    clock: FakeClock
    looked_up: list[datetime] = field(factory=list)
    numbers: list[str] = field(factory=lambda: [f"+1305{each:07d}" for each in range(1_000)])

    def guess(self, ani: str) -> bool:
        """Whether the PIN was looked up."""
        answer = self.bill.authenticate(pin=WRONG, ani=ani, access=HERE, trunk="T")
        assert isinstance(answer, Denied)
        through = bool(answer.reason.value == "unknown_credential")
        self.looked_up += [self.clock.now] * through
        return through

    def until_all_are_locked(self) -> None:
        waiting = list(self.numbers)
        while waiting:
            still = []
            for ani in waiting:
                self.clock.tick(microseconds=10_000)
                if self.guess(ani):
                    still.append(ani)
            waiting = still

    def days(self, days: int, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Go on; while all are locked, look in on some of them every hour."""
        end, turn = self.clock.now + days * DAY, count()
        while self.clock.now < end:
            self.until_all_are_locked()
            while self.clock.now < end:
                meanwhile()
                self.clock.tick(hours=1)
                if any(self.guess(self.numbers[next(turn) * 7 % 1_000]) for _ in range(3)):
                    break

    def within(self, begin: timedelta, span: timedelta) -> int:
        return sum(START + begin <= at < START + begin + span for at in self.looked_up)

    def most_in(self, span: timedelta, *, after: timedelta) -> int:
        """The most look-ups in any such span that begins after that time."""
        later = [at for at in self.looked_up if at >= START + after]
        return max(bisect_left(later, at + span) - index for index, at in enumerate(later))


@define
class Honest:
    """Callers with a card each, who mistype now and then, try thrice and give up."""

    bill: Engine
    pins: list[str]
    rng: random.Random = field(factory=lambda: random.Random(18))
    calls: int = 0
    refused: int = 0
    anonymous: int = 0

    def call(self) -> None:
        number = self.rng.randrange(len(self.pins))
        hidden = self.rng.random() < 0.05
        ani = None if hidden else f"+1212{number:07d}"
        self.calls += 1
        self.anonymous += hidden
        for _ in range(3):
            wrong = self.rng.random() < 0.03
            pin = f"{self.rng.randrange(10**12):012d}" if wrong else self.pins[number]
            answer = self.bill.authenticate(
                pin=pin, ani=ani, call_id=f"h{self.calls}", access=HERE, trunk="T"
            )
            if answer.authenticated:
                return
        self.refused += 1

    def hour(self, calls: int) -> None:
        for _ in range(calls):
            self.call()


def run_attack(folder: Path, days: int, *, calls_an_hour: int) -> tuple[Attack, Honest]:
    """The attack over that many days, and honest callers on the same access number."""
    with open_shop("memory", folder, quantity=50) as shop:
        pins = [shop.pin(serial) for serial in range(1, 51)]
        attack, honest = Attack(shop.bill, shop.clock), Honest(shop.bill, pins)
        attack.days(days, partial(honest.hour, calls_an_hour))
    return attack, honest


def check_attack(attack: Attack, honest: Honest) -> None:
    """The law: reliability.md, scoreboard line 18."""
    first, later = attack.within(timedelta(), 30 * DAY), attack.most_in(30 * DAY, after=DAY)
    assert first <= 10_000
    assert later <= 200 * 30
    assert (first + Fraction(later * 335, 30)) * LIVE / POSSIBLE < Fraction(1, 10)  # hits a year
    assert honest.calls - honest.refused >= Fraction(999, 1_000) * honest.calls
    assert honest.calls >= 20_000
    assert honest.anonymous >= 500


def test_an_attack_gets_next_to_nothing_and_harms_nobody(tmp_path: Path):
    attack, honest = run_attack(tmp_path, 62, calls_an_hour=15)
    check_attack(attack, honest)
    # What the rules come to: 5 for each number at once, 5 a day later, 5 each month.
    assert attack.within(timedelta(), 30 * DAY) == 10_000
    assert attack.most_in(30 * DAY, after=DAY) == 5_000


@pytest.mark.soak
def test_an_attack_of_a_year(tmp_path: Path):
    attack, honest = run_attack(tmp_path, 365, calls_an_hour=60)
    check_attack(attack, honest)
    assert len(attack.looked_up) * LIVE < POSSIBLE // 10


def test_a_patient_guesser_gets_fifty_in_any_month():
    """Who knows the rules stops short of every lock; the longest limit still holds."""
    tries, through = Tries(), []
    for at in range(NOW, NOW + micros(365 * DAY), 5 * STEP):
        taken = tries.take(RULES, at)
        assert taken is not None
        if not taken.locks:
            tries = taken
            through.append(at)
    assert len(through) == 49 * 13  # begun a thirteenth time in that year
    assert all(later - at >= micros(30 * DAY) for at, later in pairwise(through[::49]))
