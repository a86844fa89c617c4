"""Guessing PINs: who is locked for it and for how long, and who never is."""

import re
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from cardbill import Denied, Engine, Grant, GuessLimit, GuessPool, Keyring, Throttle
from cardbill.errors import CallEnded, IdempotencyMismatch, InvalidInput, StorageUnavailable
from cardbill.storage.memory import MemoryStorage
from cardbill.testing.conformance.rows import together
from tests.building import START, STORES, UK, Shop
from tests.guessing import CALLER, HERE, MINUTE, OTHER, RULES, THERE, WRONG, ask, micros, open_shop

UNWATCHED = evolve(RULES, access=None, trunk=None, anonymous=None, platform=None)


# -- the engine ---------------------------------------------------------------------------


@pytest.fixture(params=STORES)
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    with open_shop(request.param, tmp_path) as opened:
        yield opened


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
