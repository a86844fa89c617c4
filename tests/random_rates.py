"""Random rates that try every term, and the same terms as the oracle takes them."""

import random
from collections.abc import Iterator
from fractions import Fraction
from itertools import accumulate

from attrs import evolve
from hypothesis import strategies as st

from cardbill.errors import InvalidInput
from cardbill.increments import LONGEST_SECONDS, BlockRounding, Step
from cardbill.money import MAX_UNITS, RoundingMode
from cardbill.rating import Beyond, Rate, Rounding, price
from tests import oracle

CENT = 10_000
HORIZON = 200  # seconds that the oracle walks
MODES = tuple(RoundingMode)

SOME_INCREMENTS = (1, 1, 6, 10, 18, 30, 60, 7, 45, 100)
SOME_UNITS = (1, 1, 2, 3, 7, 60, 100, 10_000, 1_000_000)
SOME_SURCHARGES = (0, 0, 0, 1, 125_000, 333_333, 500_000, 1_000_000, 2_500_001)


def terms(subject: Rate) -> oracle.Terms:
    """Return the same terms for the oracle, in fractions of ledger units."""
    maximum = subject.maximum_charge
    return oracle.Terms(
        steps=tuple(
            oracle.Step(step.from_second, Fraction(step.price_per_minute), step.increment)
            for step in subject.steps
        ),
        connect=Fraction(subject.connect_fee),
        grace=subject.grace_seconds,
        free=subject.free_seconds,
        minimum=Fraction(subject.minimum_charge),
        end_fee=Fraction(subject.end_fee),
        surcharge=Fraction(subject.surcharge_ppm, 1_000_000),
        unit=Fraction(subject.rounding.unit),
        mode=subject.rounding.mode.value,
        maximum=None if maximum is None else Fraction(maximum),
        beyond=subject.beyond_maximum.value,
        blocks=subject.block_rounding.value,
    )


def random_amount(rng: random.Random) -> int:
    kind = rng.randrange(6)
    if kind == 0:
        return 0
    if kind == 1:
        return rng.randrange(1, 300)
    if kind == 2:
        return 30 * rng.randrange(1, 100)  # makes ties
    if kind == 3:
        return CENT * rng.randrange(1, 50)
    return rng.randrange(10 ** rng.randrange(1, 8))


def random_rate(rng: random.Random) -> Rate:
    """Return a rate of one to four steps with any of the other terms, most of them small."""
    gaps = [rng.choice((1, 5, 18, 30, 60, rng.randrange(1, 90))) for _ in range(rng.randrange(4))]
    found = Rate(
        steps=tuple(
            Step(start, random_amount(rng), rng.choice(SOME_INCREMENTS))
            for start in accumulate(gaps, initial=0)
        ),
        connect_fee=rng.choice((0, random_amount(rng))),
        grace_seconds=rng.choice((0, 0, 3, rng.randrange(40))),
        free_seconds=rng.choice((0, 0, 1, 30, rng.randrange(90))),
        minimum_charge=rng.choice((0, 0, random_amount(rng))),
        end_fee=rng.choice((0, 0, random_amount(rng))),
        surcharge_ppm=rng.choice(SOME_SURCHARGES),
        rounding=Rounding(rng.choice(SOME_UNITS), rng.choice(MODES)),
        block_rounding=rng.choice(tuple(BlockRounding)),
    )
    return capped(rng, found) if rng.randrange(2) else found


def capped(rng: random.Random, subject: Rate) -> Rate:
    """Return the rate with a maximum charge that a call of some minutes comes to."""
    near = price(subject, rng.randrange(HORIZON))
    unit = subject.rounding.unit
    maximum = -(-max(near, subject.minimum_charge) // unit) * unit + rng.choice((0, 0, unit))
    try:
        return evolve(subject, maximum_charge=maximum, beyond_maximum=rng.choice(tuple(Beyond)))
    except InvalidInput:  # to disconnect there, not even one increment would be granted
        return evolve(subject, maximum_charge=maximum, beyond_maximum=Beyond.FREE)


def random_rates(count: int, seed: int) -> Iterator[Rate]:
    rng = random.Random(seed)
    for _ in range(count):
        yield random_rate(rng)


def telling_amounts(found: list[int], unit: int) -> set[int]:
    """Return what is at, just below and just above some of the prices."""
    some = {0, *found[:3], *found[3::17], found[-1]}
    return {near for amount in some for near in (amount - 1, amount, amount + 1, amount + unit - 1)}


def plain(per_minute: int, increment: int = 1, unit: int = 1, mode: str = "up") -> Rate:
    return Rate(steps=(Step(0, per_minute, increment),), rounding=Rounding(unit, mode))


AMOUNTS = st.one_of(st.just(0), st.integers(0, 200), st.integers(0, 10**9))
INCREMENTS = st.one_of(st.sampled_from(SOME_INCREMENTS), st.integers(1, 130))


@st.composite
def rates(draw: st.DrawFn) -> Rate:
    gaps = draw(st.lists(st.integers(1, 90), max_size=3))
    found = Rate(
        steps=tuple(
            Step(start, draw(AMOUNTS), draw(INCREMENTS)) for start in accumulate(gaps, initial=0)
        ),
        connect_fee=draw(AMOUNTS),
        grace_seconds=draw(st.integers(0, 60)),
        free_seconds=draw(st.integers(0, 120)),
        minimum_charge=draw(AMOUNTS),
        end_fee=draw(AMOUNTS),
        surcharge_ppm=draw(st.sampled_from(SOME_SURCHARGES)),
        rounding=draw(
            st.builds(
                Rounding,
                st.one_of(st.sampled_from(SOME_UNITS), st.integers(1, 10**7)),
                st.sampled_from(MODES),
            )
        ),
        block_rounding=draw(st.sampled_from(BlockRounding)),
    )
    if not draw(st.booleans()):
        return found
    return capped(random.Random(draw(st.integers(0, 2**32))), found)


@st.composite
def huge_rates(draw: st.DrawFn) -> Rate:
    amounts = st.one_of(st.just(0), st.integers(0, 10**6), st.integers(0, MAX_UNITS))
    seconds = st.one_of(st.integers(1, 100), st.integers(1, LONGEST_SECONDS))
    starts = sorted({0, *draw(st.lists(seconds, max_size=5))})
    return Rate(
        steps=tuple(Step(start, draw(amounts), draw(seconds)) for start in starts),
        connect_fee=draw(amounts),
        grace_seconds=draw(st.integers(0, LONGEST_SECONDS)) * draw(st.integers(0, 1)),
        free_seconds=draw(st.integers(0, LONGEST_SECONDS)) * draw(st.integers(0, 1)),
        minimum_charge=draw(amounts),
        end_fee=draw(amounts),
        surcharge_ppm=draw(amounts),
        rounding=Rounding(draw(st.integers(1, 10**18)), draw(st.sampled_from(MODES))),
    )
