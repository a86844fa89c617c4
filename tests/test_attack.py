"""What an attack on PINs gets in a year: next to nothing, while honest callers are served."""

import random
from bisect import bisect_left
from collections.abc import Callable
from datetime import datetime, timedelta
from fractions import Fraction
from functools import partial
from itertools import count, pairwise
from pathlib import Path

import pytest
from attrs import define, field

from cardbill import Denied, Engine
from cardbill.throttling import Tries
from tests.building import START, FakeClock
from tests.guessing import DAY, HERE, NOW, RULES, STEP, WRONG, micros, open_shop

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
