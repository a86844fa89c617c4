"""Hypothesis strategies for cardbill: terms of a business, and what happens in it.

Needs ``cardbill[testing]``. What they draw is valid; small first, so that what Hypothesis
shows of a failure is a short history on plain terms.

::

    @given(strategies.histories())
    def test_my_application_charges_what_the_ledger_says(history):
        with history.terms.open() as shop:
            history.play(shop, on=MyApplication(shop.bill))
            shop.check_books()
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import chain
from typing import TypeVar

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from moneyed import Money

from cardbill.batches import Batch, FirstUse, Validity
from cardbill.increments import Step
from cardbill.money import RoundingMode
from cardbill.plans import Plan, Unauthorised, Unreported
from cardbill.rating import Rate, Rounding
from cardbill.testing.builders import (
    COST,
    RETAIL,
    UK,
    UK_MOBILE,
    UNRATED,
    US,
    make_batch,
    make_plan,
)
from cardbill.testing.clock import START
from cardbill.testing.histories import (
    Event,
    GiveUp,
    HangUp,
    History,
    Operate,
    Prices,
    Ring,
    Sweep,
    Talk,
    Terms,
    Wait,
)

__all__ = [
    "batches",
    "dialled",
    "events",
    "histories",
    "instants",
    "money",
    "plans",
    "prices",
    "rates",
    "terms",
]

T = TypeVar("T")

CENT = 10_000  # ledger units
DAY = 24 * 3600
CARDS = 3
CALLS = tuple("abcdef")

_USUAL_COSTS: Mapping[str, Prices] = {"acme": COST, "bolt": {"44": "0.03"}}
_BARE_US = "3055550123"
_NOT_A_NUMBER = "12"
_TALK_MS = st.sampled_from((60_000, 0, 1, 30_000, 59_001, 600_000, 7_200_000))
_PAUSES = st.sampled_from((1, 60, 300, 700, 3_600, DAY, 10 * DAY))  # seconds
_WAITS = _PAUSES.map(Wait)


def instants(
    first: datetime = START, last: datetime = START + timedelta(days=366)
) -> SearchStrategy[datetime]:
    """Instants of a span, UTC, to the microsecond.

    Args:
        first: The earliest, aware; what shrinks comes close to it.
        last: The latest, aware.
    """
    span = (last - first) // timedelta(microseconds=1)
    return st.integers(0, span).map(lambda passed: first + timedelta(microseconds=passed))


def money(
    currency: str = "USD", *, least: str = "0.01", most: str = "100", coin: str = "0.01"
) -> SearchStrategy[Money]:
    """Amounts in whole coins.

    Args:
        currency: ISO 4217.
        least: The smallest amount, in the currency's major unit, whole coins.
        most: The largest.
        coin: The smallest one, in the major unit: ``1`` for yen.
    """
    bounds = [int(Decimal(bound) / Decimal(coin)) for bound in (least, most)]
    return st.integers(*bounds).map(lambda coins: Money(coins * Decimal(coin), currency))


def rates() -> SearchStrategy[Rate]:
    """Rates: most of one step by the second, some with any of the other terms."""
    amounts = st.integers(0, 100).map(lambda cents: cents * CENT)
    increments = st.sampled_from((1, 6, 30, 60, 7))
    first = st.builds(Step, st.just(0), amounts, increments)
    later = st.builds(Step, st.sampled_from((30, 60, 61)), amounts, increments)
    return st.builds(
        Rate,
        steps=st.tuples(first) | st.tuples(first, later),
        connect_fee=_mostly(0, amounts),
        grace_seconds=_mostly(0, st.integers(0, 10)),
        free_seconds=_mostly(0, st.integers(0, 60)),
        minimum_charge=_mostly(0, amounts),
        end_fee=_mostly(0, amounts),
        surcharge_ppm=_mostly(0, st.integers(0, 1_000_000)),
        rounding=st.builds(
            Rounding, st.sampled_from((100, 1, CENT)), st.sampled_from(RoundingMode)
        ),
    )


def prices(*prefixes: str) -> SearchStrategy[Prices]:
    """What :func:`make_deck` takes: some of the prefixes, with rates.

    Args:
        prefixes: Default: those of the usual deck.
    """
    return st.dictionaries(st.sampled_from(prefixes or tuple(RETAIL)), rates(), min_size=1)


def plans(currency: str = "USD") -> SearchStrategy[Plan]:
    """Plans on the deck ``retail``: several calls at once, slices, limits, or none of it.

    Args:
        currency: ISO 4217.
    """
    return st.builds(
        make_plan,
        currency=st.just(currency),
        calls_at_once=st.integers(1, 3),
        max_call_seconds=st.sampled_from((None, 60, 3_600)),
        slice_seconds=st.sampled_from((None, 30, 60)),
        minimum_balance=st.none() | money(currency, least="1", most="2", coin="1"),
        unreported_calls=st.sampled_from(Unreported),
        unauthorised_calls=st.sampled_from(Unauthorised),
    )


def batches(currency: str = "USD", *, cards: int = CARDS) -> SearchStrategy[Batch]:
    """Batches of small cards, most of which expire within a month.

    Args:
        currency: ISO 4217.
        cards: How many each has.
    """
    days = st.integers(0, 30).map(lambda day: START.date() + timedelta(days=day))
    return st.builds(
        make_batch,
        face_value=money(currency, least="1", most="20", coin="1"),
        quantity=st.just(cards),
        effective_date=_mostly(None, _mostly(None, st.just(START.date() + timedelta(days=1)))),
        expiration_date=_mostly(None, days.filter(lambda day: day > START.date())),
        expires_days_after_first_use=st.none() | st.integers(0, 30),
        first_use=st.sampled_from(FirstUse),
        validity=st.sampled_from(Validity),
        time_zone=st.sampled_from(("UTC", "America/New_York", "Asia/Tokyo")),
    )


def terms(currency: str = "USD", *, cards: int = CARDS) -> SearchStrategy[Terms]:
    """Whole businesses, of one or two carriers.

    Args:
        currency: ISO 4217.
        cards: How many the batch has.
    """
    carriers = st.sampled_from(("acme", "bolt"))
    return st.builds(
        Terms,
        prices=_mostly(RETAIL, prices()),
        costs=_mostly(_USUAL_COSTS, st.dictionaries(carriers, prices("1", "44"))),
        plan=plans(currency),
        batch=batches(currency, cards=cards),
    )


def dialled() -> SearchStrategy[str]:
    """Numbers as dialled: most of them rated, one that the usual deck does not know, one odd."""
    return st.sampled_from((UK, US, UK_MOBILE, UK, _BARE_US, UK, UNRATED, _NOT_A_NUMBER))


def events(*, cards: int = CARDS, calls: Sequence[str] = CALLS) -> SearchStrategy[Event]:
    """Single things that callers, switches, operators and time do.

    Args:
        cards: How many serials there are; few, so that much happens to each.
        calls: The call ids there are; few, so that calls end, and are repeated.
    """
    serial, call = st.integers(1, cards), st.sampled_from(calls)
    return st.one_of(
        st.builds(Ring, serial, call, dialled()),
        st.builds(HangUp, serial, call, _TALK_MS),
        _WAITS,
        st.builds(Talk, serial, call, st.sampled_from((0, 25, 45, 60, 120)), st.integers(1, 3)),
        st.builds(GiveUp, serial, call),
        st.builds(Operate, serial, st.sampled_from(("unblock", "block", "unblock"))),
        st.just(Sweep()),
    )


@st.composite
def _scene(draw: st.DrawFn, cards: int, calls: Sequence[str]) -> list[Event]:
    """Some calls of one card, at once or in turn, most of them ended; then maybe another event."""
    serial = draw(st.integers(1, cards))
    happens: list[Event] = []
    for call in draw(st.lists(st.sampled_from(calls), max_size=3, unique=True)):
        happens.append(Ring(serial, call, draw(dialled())))
        happens += [Wait(seconds) for seconds in draw(st.lists(_PAUSES, max_size=1))]
        if draw(st.integers(0, 2)):
            happens.append(HangUp(serial, call, draw(_TALK_MS)))
    return happens + draw(st.lists(events(cards=cards, calls=calls), max_size=1))


def histories(
    terms_of: SearchStrategy[Terms] | None = None,
    *,
    cards: int = CARDS,
    calls: Sequence[str] = CALLS,
    most: int = 20,
) -> SearchStrategy[History]:
    """Whole histories: a business, and what happens in it.

    Args:
        terms_of: The business; default: any.
        cards: How many serials events name; the business should have as many.
        calls: The call ids there are.
        most: How many scenes a history has at most: up to three calls of one card and an event.
    """
    scenes = st.lists(_scene(cards, calls), max_size=most)
    return st.builds(
        History,
        terms=terms(cards=cards) if terms_of is None else terms_of,
        events=scenes.map(lambda each: tuple(chain.from_iterable(each))),
    )


def _mostly(usual: T, others: SearchStrategy[T]) -> SearchStrategy[T]:
    return st.one_of(st.just(usual), st.just(usual), others)
