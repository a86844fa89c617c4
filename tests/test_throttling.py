"""The rules of guessing, against one who keeps every attempt; and the pools that guesses fill."""

import random
from collections.abc import Callable
from datetime import timedelta
from fractions import Fraction

import pytest
from attrs import define, evolve, field
from hypothesis import given, strategies as st

from cardbill import Engine, GuessLimit, GuessPool, Keyring, Throttle
from cardbill.attempts import Attempts
from cardbill.errors import InvalidInput, RowUnreadable, SchemaTooNew
from cardbill.journal import Journal
from cardbill.storage.contract import Tally
from cardbill.storage.memory import MemoryStorage
from cardbill.throttling import Tries, delay, empty_at, fill
from tests.building import START
from tests.guessing import DAY, MINUTE, NOW, RULES, STEP, micros

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
