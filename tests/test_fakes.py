"""The fakes for tests of applications: a clock, seeds, a business in one line, failing stores."""

import json
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from moneyed import EUR, USD, Money

from cardbill import Grant, rate, testing
from cardbill.errors import CallEnded, InvalidInput, PlanRefused, StorageClosed
from cardbill.storage.memory import MemoryStorage
from cardbill.testing import (
    START,
    CallIds,
    FakeClock,
    SeededNumbers,
    make_batch,
    make_deck,
    make_plan,
    open_shop,
)
from cardbill.testing.builders import UK, UK_MOBILE, UNRATED, US
from tests.source_tree import ROOT

# -- the clock ----------------------------------------------------------------------------


def test_a_fake_clock_stands_still_until_it_is_moved():
    clock = FakeClock()
    assert (clock(), clock.now, clock()) == (START, START, START)
    assert clock.advance(days=1, hours=2, minutes=3, seconds=4, milliseconds=5, microseconds=6) == (
        START + timedelta(days=1, hours=2, minutes=3, seconds=4, milliseconds=5, microseconds=6)
    )
    assert clock.set(START) == clock() == START  # back again, as clocks do when they are set


def test_a_fake_clock_shows_utc_whatever_zone_it_is_set_in():
    east = datetime(2025, 6, 1, 12, tzinfo=timezone(timedelta(hours=9)))
    clock = FakeClock(east)
    assert clock().isoformat() == "2025-06-01T03:00:00+00:00"
    clock.now = east + timedelta(hours=1)
    assert clock().isoformat() == "2025-06-01T04:00:00+00:00"
    for naive in (datetime(2025, 6, 1), None):  # noqa: DTZ001
        with pytest.raises(InvalidInput, match="instant"):
            clock.set(naive)  # type: ignore[arg-type]  # on purpose
    assert clock().isoformat() == "2025-06-01T04:00:00+00:00"


def test_a_fake_clock_sleeps_without_waiting():
    clock = FakeClock()
    clock.sleep(3600.5)
    assert clock() == START + timedelta(hours=1, milliseconds=500)


# -- seeds --------------------------------------------------------------------------------


def a_days_work(seed: int) -> list[Any]:
    """What a business of that seed says and keeps."""
    with open_shop(seed=seed, plan=make_plan(calls_at_once=3, slice_seconds=60)) as shop:
        pins = [shop.pin(serial) for serial in range(1, 11)]
        answers = [shop.ask(to=to, serial=serial) for serial in (1, 2) for to in (UK, US, UNRATED)]
        records = [
            shop.bill.settle(grant.handle, talk_ms=61_000)
            for grant in answers
            if isinstance(grant, Grant)
        ]
        store = shop.bill.storage
        cards = store.find_cards("TEST")
        tokens = [row.token for row in store.credentials([card.id for card in cards])]
        return [pins, answers, records, cards, sorted(tokens), store.audit_log()]


def test_the_same_seed_gives_the_same_pins_ids_and_history():
    first, again, other = a_days_work(1), a_days_work(1), a_days_work(2)
    assert first == again  # down to the cards' bytes, their seals and those of the log
    pins, answers = first[:2]
    assert len(set(pins)) == 10
    assert [answer.call_id for answer in answers if answer.granted] == [
        *("call-1-1", "call-1-2", "call-1-4", "call-1-5")
    ]
    assert not set(pins) & set(other[0])
    assert all(mine != theirs for mine, theirs in zip(first, other, strict=True))


def test_a_number_may_be_forced_before_those_of_the_seed():
    below = SeededNumbers(5, first=[7, 7])
    drawn = [below(100) for _ in range(5)]
    assert drawn[:2] == [7, 7]
    assert drawn[2:] == [SeededNumbers(5)(100), *drawn[3:]]
    assert (below.drawn, below.waiting) == (drawn, [])
    assert all(0 <= SeededNumbers(seed)(3) < 3 for seed in range(50))


def test_a_forced_pin_that_is_taken_is_drawn_again():
    below = SeededNumbers(first=[300, 100, 100, 200])
    with open_shop(below=below, batch=make_batch(quantity=3)) as shop:
        pins = [shop.pin(serial) for serial in (1, 2, 3)]
    assert pins == ["000000000300", "000000000100", "000000000200"]


def test_call_ids_never_repeat():
    ids = [new_call() for new_call in (CallIds(1), CallIds(2)) for _ in range(100)]
    assert len(set(ids)) == 200


# -- a business in one line ---------------------------------------------------------------


def test_a_shop_takes_its_first_call_at_once():
    with open_shop() as shop:
        record = shop.talk(90)
        assert (record.total, record.cost, record.carrier) == (
            Money("0.09", USD), Money("0.03", USD), "acme",
        )  # fmt: skip
        assert shop.clock.now == START + timedelta(seconds=90)
        assert shop.denied(to=UNRATED) == "no_rate"
        assert shop.grant(serial=2, to=UK_MOBILE).max_seconds == 2_000
        shop.check_books()


def test_every_term_of_a_shop_can_be_another():
    with open_shop(
        deck=make_deck({"39": rate("1", increments="60/60")}, currency=EUR),
        costs={"bolt": make_deck({"39": "0.25"}, currency=EUR)},
        plan=make_plan(name="Roma", currency=EUR, deck="it", calls_at_once=2),
        batch=make_batch(name="R", face_value=Money(7, EUR), quantity=2),
        clock=FakeClock(START + timedelta(days=5)),
        seed=8,
    ) as shop:
        assert (shop.bill.batches.names(), shop.bill.plans.names()) == (["R"], ["Roma"])
        record = shop.talk(61, to=UNRATED, serial=2)
        assert (record.total, record.carrier) == (Money(2, EUR), "bolt")
        assert record.ended_at == START + timedelta(days=5, seconds=61)
        assert shop.bill.card("R/2").balance == Money(5, EUR)


def test_a_shop_of_another_currency_needs_one_word():
    with open_shop(batch=make_batch(face_value=Money(900, "JPY"))) as shop:
        assert shop.talk(60).total.currency.code == "JPY"


def test_what_a_test_expects_and_does_not_get_is_told():
    with open_shop() as shop:
        with pytest.raises(AssertionError, match="denied: no_rate"):
            shop.grant(to=UNRATED)
        with pytest.raises(AssertionError, match="granted for 5000 s"):
            shop.denied()
        with pytest.raises(LookupError, match="TEST/99"):
            shop.pin(99)


def test_books_that_do_not_balance_are_told():
    with open_shop() as shop:
        shop.talk(60)
        storage: Any = shop.bill.storage
        storage._entries["TEST/1"].pop()
        with pytest.raises(AssertionError, match="TEST/1"):
            shop.check_books()


def test_a_second_engine_sees_what_the_first_one_did():
    with open_shop() as shop:
        grant = shop.grant()
        shop.second().settle(grant.handle, talk_ms=60_000)
        with pytest.raises(CallEnded):
            shop.ask(grant.call_id)


def test_a_shop_opens_on_a_real_store_too(tmp_path):
    with open_shop(f"sqlite:///{tmp_path / 'cards.db'}") as shop:
        assert shop.talk(60).total == Money("0.06", USD)


def test_a_shop_that_cannot_open_closes_its_store():
    storage = MemoryStorage()
    with pytest.raises(PlanRefused):
        open_shop(storage, plan=make_plan(currency=EUR))  # for a batch in dollars
    with pytest.raises(StorageClosed):
        storage.counts()


# -- what is imported ---------------------------------------------------------------------

LOADED = """
import sys, json
from cardbill import testing
from cardbill.testing import FakeClock, Shop, Terms, faulty
assert set(testing.__all__) <= set(dir(testing))
print(json.dumps([each for each in ("pytest", "hypothesis", "sqlite3") if each in sys.modules]))
testing.strategies, testing.fixtures
print(json.dumps([each for each in ("pytest", "hypothesis") if each in sys.modules]))
"""


def test_pytest_and_hypothesis_are_imported_when_they_are_needed():
    done = subprocess.run(
        [sys.executable, "-c", LOADED], check=True, capture_output=True, text=True, timeout=60
    )
    assert [json.loads(line) for line in done.stdout.splitlines()] == [[], ["pytest", "hypothesis"]]


def test_every_public_name_is_there_and_described():
    assert testing.__all__ == sorted(
        testing.__all__, key=lambda name: (not name.isupper(), name[0].islower(), name)
    )
    for name in testing.__all__:
        thing = getattr(testing, name)
        assert thing is not None
        if callable(thing):
            assert thing.__doc__, name
    page = (ROOT / "docs" / "reference" / "testing.md").read_text(encoding="utf-8")
    assert [name for name in testing.__all__ if f"cardbill.testing.{name}" not in page] == []
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        testing.nope  # noqa: B018
