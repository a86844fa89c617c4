"""The made-up world of the demo: a clock moved by hand, and people who make calls.

Nothing here does business: `plan_day` invents what callers will try, and demo.py puts it
through the engine. The same deck always gives the same day.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from enum import Enum, auto
from random import Random
from typing import NamedTuple

import cardbill

SEED = 2026
DAY_SECONDS = 14 * 3600
MEAN_TALK_MS = 6 * 60 * 1000

# Where people with calling cards ring, the most popular first: leading digits.
POPULAR = ("52", "91", "63", "1809", "1876", "234", "502", "57", "84", "44", "92", "233", "880")
UNASSIGNED = ("210", "259", "384", "699", "851", "990")  # no country has these codes


class Clock:
    """An engine asks its clock what time it is; this one says what it is told to say."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


class Habit(Enum):
    """What a caller does, or what goes wrong."""

    TALKS = auto()
    TALKS_AND_TALKS = auto()  # until the card is empty
    NOBODY_ANSWERS = auto()
    REPORT_IS_LOST = auto()  # the switch dies in mid-call and never says how it ended
    WRONG_PIN = auto()
    MISDIALS = auto()
    UNKNOWN_COUNTRY = auto()
    BARRED = auto()
    TOO_DEAR = auto()  # not even the first minute is affordable


# Of 100 calls; each happens at least once. All others simply talk.
PER_CENT = {
    Habit.TALKS_AND_TALKS: 9,
    Habit.NOBODY_ANSWERS: 9,
    Habit.WRONG_PIN: 4,
    Habit.MISDIALS: 2,
    Habit.UNKNOWN_COUNTRY: 1,
    Habit.BARRED: 1,
    Habit.TOO_DEAR: 1,
}
LOST = 3


class Attempt(NamedTuple):
    """One caller who lifts the receiver."""

    at: datetime
    habit: Habit
    card: int  # which of the cards in use
    two_stages: bool
    dialled: str
    ringing: timedelta
    talk_ms: int  # how long they would like to talk
    call_id: str
    ani: str


def cards_in_use(calls: int) -> int:
    """Say how many cards a day of that many calls needs."""
    return calls // 2 + LOST


def plan_day(deck: cardbill.Deck, calls: int, start: datetime, *, face_units: int) -> list[Attempt]:
    """Return what callers will try on one day, in order.

    Args:
        deck: What they pay by; they ring numbers under its prefixes.
        calls: How many attempts.
        start: When the day begins.
        face_units: What a new card holds, in ledger units.
    """
    chance = Random(SEED)
    directory = Directory(deck, start, face_units, chance)
    habits = _habits(calls, chance)
    instants = sorted(chance.randrange(DAY_SECONDS) for _ in habits)
    # Some people ring a lot. The calls that get lost come last, each from a card of its own.
    shared = cards_in_use(calls) - LOST
    cards = [min(chance.randrange(shared), chance.randrange(shared)) for _ in habits[:-LOST]]
    cards += range(shared, shared + LOST)
    return [
        Attempt(
            at=start + timedelta(seconds=instant),
            habit=habit,
            card=card,
            two_stages=chance.randrange(10) < 6,
            dialled=directory.number_for(habit),
            ringing=timedelta(seconds=chance.randint(4, 25)),
            talk_ms=_talk_ms(habit, chance),
            call_id=f"call-{order:04d}",
            ani=f"+1305555{card:04d}",
        )
        for order, (instant, habit, card) in enumerate(zip(instants, habits, cards, strict=True), 1)
    ]


class Directory:
    """Numbers to dial, made from the prefixes that the deck really has."""

    def __init__(self, deck: cardbill.Deck, at: datetime, face_units: int, chance: Random) -> None:
        self._chance = chance
        rows = list(deck.rows())
        usable = [row for row in rows if not row.blocked]
        lasting = [(cardbill.max_duration(row.rate, face_units).seconds, row) for row in usable]
        # Where a whole card lasts ten minutes to an hour, and where it buys nothing at all.
        costly = [row.prefix for seconds, row in lasting if 600 <= (seconds or 0) <= 3_600]
        too_dear = [row.prefix for seconds, row in lasting if seconds == 0]
        self._favourites = list(_favourites([row.prefix for row in usable], chance))
        self._special = {
            Habit.TALKS_AND_TALKS: costly,
            Habit.TOO_DEAR: too_dear,
            Habit.BARRED: [row.prefix for row in rows if row.blocked],
            Habit.UNKNOWN_COUNTRY: [c for c in UNASSIGNED if not deck.match(f"{c}000000000", at)],
        }

    def number_for(self, habit: Habit) -> str:
        """Return a number as a caller in North America dials it."""
        if habit is Habit.MISDIALS:
            return "0117"
        # A deck may have no number of that sort; then this caller rings as everybody does.
        prefix = self._chance.choice(self._special.get(habit) or self._favourites)
        at_home = prefix.startswith("1")
        missing = max(4, (11 if at_home else 12) - len(prefix))
        number = prefix + "".join(self._chance.choices("0123456789", k=missing))
        return number[:11] if at_home else f"011{number[:15]}"


def _favourites(prefixes: Sequence[str], chance: Random) -> Iterator[str]:
    """Yield prefixes under the popular codes, the more popular ones more often."""
    found = False
    for rank, code in enumerate(POPULAR):
        if under := [prefix for prefix in prefixes if prefix.startswith(code)]:
            found = True
            yield from chance.sample(under, min(2, len(under))) * (len(POPULAR) - rank)
    if not found:
        yield from prefixes[:20]


def _habits(calls: int, chance: Random) -> list[Habit]:
    special = ([habit] * max(1, calls * share // 100) for habit, share in PER_CENT.items())
    habits = [habit for same in special for habit in same]
    habits += [Habit.TALKS] * (calls - LOST - len(habits))
    chance.shuffle(habits)
    return habits + [Habit.REPORT_IS_LOST] * LOST


def _talk_ms(habit: Habit, chance: Random) -> int:
    if habit is Habit.NOBODY_ANSWERS:
        return 0
    if habit is Habit.TALKS_AND_TALKS:
        return 4 * 3600 * 1000
    return int(chance.expovariate(1) * MEAN_TALK_MS) + 5_000


def draw(what: str, below: int) -> int:
    """Return a number from 0 up to `below`, always the same for the same text."""
    return int.from_bytes(hashlib.sha256(what.encode()).digest()[:8], "big") % below
