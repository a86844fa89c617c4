"""What `authenticate` has read serves `authorize` too, and never decides what has changed since."""

import copy
import pickle
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import cast

import attrs
import pytest
from moneyed import USD, Money

import cardbill
from cardbill import Caller, Denial, Denied, Grant, Keyring
from cardbill.storage.contract import RecordRow, Step, View
from cardbill.storage.postgres import PostgresStorage
from cardbill.storage.postgres_recent import Recent
from cardbill.testing.conformance.rows import card_row, record_row
from tests.building import EVERY_STORE, UK, UK_MINUTE, Shop, open_shop
from tests.postgres_looks import statements

PLAN = {"calls_at_once": 100, "max_call_seconds": 60}
WHO = {"actor": "ann", "reason": "found"}


@pytest.fixture(params=EVERY_STORE)
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    """Each card has the money for one call."""
    with open_shop(request.param, tmp_path, face=Money("0.06", USD), plan=PLAN) as opened:
        yield opened


def admitted(shop: Shop) -> Caller:
    caller = shop.bill.authenticate(pin=shop.pin())
    assert isinstance(caller, Caller)
    return caller


def test_money_that_others_took_meanwhile_is_not_granted(shop: Shop):
    caller = admitted(shop)
    assert shop.second().authorize(pin=shop.pin(), to=UK, call_id="theirs").granted
    answer = shop.bill.authorize(caller, to=UK, call_id="ours")
    assert isinstance(answer, Denied)
    assert answer.reason is Denial.INSUFFICIENT_BALANCE
    assert list(shop.stored().holds) == ["theirs"]


def test_money_that_came_meanwhile_is_granted(shop: Shop):
    shop.grant("theirs")
    caller = admitted(shop)
    assert caller.available_units == 0
    shop.second().cancel(cardbill.calls.make_handle("B/1", "theirs"))
    assert shop.bill.authorize(caller, to=UK, call_id="ours").granted


def test_a_call_that_ended_meanwhile_is_not_granted_again(shop: Shop):
    caller = admitted(shop)
    other = shop.second()
    grant = other.authorize(caller, to=UK, call_id="c1")
    assert isinstance(grant, Grant)
    other.cancel(grant.handle)
    with pytest.raises(cardbill.errors.CallEnded):
        shop.bill.authorize(caller, to=UK, call_id="c1")


def test_a_card_or_batch_that_was_blocked_meanwhile_is_denied(shop: Shop):
    for block, unblock in (
        (
            lambda control: control.block("B/1", **WHO),
            lambda control: control.unblock("B/1", **WHO),
        ),
        (
            lambda control: control.block_batch("B", **WHO),
            lambda control: control.unblock_batch("B", **WHO),
        ),
    ):
        caller, control = admitted(shop), shop.second().control
        block(control)
        answer = shop.bill.authorize(caller, to=UK, call_id="c1")
        assert isinstance(answer, Denied)
        assert answer.reason is Denial.BLOCKED
        unblock(control)


def test_a_caller_of_long_ago_may_still_call_and_more_than_once(shop: Shop):
    caller = admitted(shop)
    for number in range(3):
        grant = shop.bill.authorize(caller, to=UK, call_id=f"c{number}")
        assert isinstance(grant, Grant)
        assert grant.held_units == UK_MINUTE
        shop.bill.cancel(grant.handle)


@pytest.mark.parametrize(
    "again",
    [lambda caller: pickle.loads(pickle.dumps(caller)), copy.copy, copy.deepcopy, attrs.evolve],
    ids=["pickled", "copied", "copied whole", "evolved"],
)
def test_a_caller_can_be_handed_on(shop: Shop, again):
    caller = again(admitted(shop))
    assert caller == admitted(shop)
    assert shop.bill.authorize(caller, to=UK, call_id="c1").granted


def test_what_a_caller_remembers_is_not_shown(shop: Shop):
    """Not in a log, nor by a tool that takes it apart, nor in what another process gets."""
    caller = admitted(shop)
    state = shop.bill.storage.view("B/1").card.state
    shown = repr(caller) + repr(attrs.asdict(caller)) + repr(attrs.astuple(caller))
    assert repr(state)[2:-1] not in shown
    assert state not in pickle.dumps(caller)


def test_a_caller_of_one_store_shows_another_nothing(tmp_path: Path, monkeypatch):
    """Not even where both have a card of that id, PIN, keys, version and revision."""
    ring = Keyring.generate()
    monkeypatch.setattr(Keyring, "generate", lambda: ring)
    with ExitStack() as stack:
        here, there = [
            stack.enter_context(open_shop("postgres", tmp_path, plan=PLAN)) for _ in range(2)
        ]
        here.grant("here")
        there.grant("there")
        views = [shop.bill.storage.view("B/1") for shop in (here, there)]
        assert views[0].card.version == views[1].card.version
        assert views[0].revision == views[1].revision
        assert here.bill.authorize(admitted(there), to=UK, call_id="c").granted
        assert list(here.stored().holds) == ["here", "c"]
        assert list(there.stored().holds) == ["there"]


def test_a_caller_who_calls_again_is_known(tmp_path: Path, monkeypatch):
    with open_shop("postgres", tmp_path, plan=PLAN) as shop:
        shop.grant("warm")
        caller = admitted(shop)
        for number in range(3):
            with statements(monkeypatch) as sent:
                grant = shop.bill.authorize(caller, to=UK, call_id=f"c{number}")
                assert isinstance(grant, Grant)
                shop.bill.settle(grant.handle, talk_ms=1_000)
            assert len(sent) == 2, sent


def test_what_a_caller_remembers_is_good_once(tmp_path: Path, monkeypatch):
    with open_shop("postgres", tmp_path, plan=PLAN) as shop:
        shop.grant("warm")
        caller, storage = admitted(shop), cast("PostgresStorage", shop.bill.storage)
        for number, trips in enumerate((1, 2)):
            with statements(monkeypatch) as sent:
                assert shop.bill.authorize(caller, to=UK, call_id=f"c{number}").granted
            assert len(sent) == trips, sent
            storage._steps._recent.take("B/1", None)


# -- what a process remembers of its own calls -------------------------------------------------


def test_a_call_goes_on_where_it_was_left_without_a_look(tmp_path: Path, monkeypatch):
    with open_shop("postgres", tmp_path, plan={**PLAN, "slice_seconds": 10}) as shop:
        shop.bill.settle(shop.grant("warm").handle, talk_ms=1_000)
        grant = shop.grant("c1")
        with statements(monkeypatch) as sent:
            for number in (1, 2):
                assert shop.bill.extend(grant.handle, used_seconds=number, number=number).granted
            assert len(sent) == 2, sent
            assert not shop.bill.settle(grant.handle, talk_ms=3_000).replayed
            assert len(sent) == 3, sent


def test_what_others_did_since_a_call_was_left_counts(shop: Shop):
    other = shop.second()
    grant = shop.grant("c1")
    other.accounts.recharge("B/1", Money("0.06", USD), key="r")
    theirs = other.authorize(pin=shop.pin(), to=UK, call_id="c2")
    assert isinstance(theirs, Grant)
    assert shop.bill.settle(grant.handle, talk_ms=30_000).price_units == UK_MINUTE
    assert list(shop.stored().holds) == ["c2"]
    assert other.settle(theirs.handle, talk_ms=60_000).price_units == UK_MINUTE
    assert shop.stored().balance == 0
    shop.check_books()


def test_a_call_that_others_ended_since_it_was_left_is_not_charged_again(shop: Shop):
    grant = shop.grant("c1")
    first = shop.second().settle(grant.handle, talk_ms=30_000)
    with pytest.raises(cardbill.errors.IdempotencyMismatch):
        shop.bill.settle(grant.handle, talk_ms=60_000)
    assert shop.bill.settle(grant.handle, talk_ms=30_000) == attrs.evolve(first, replayed=True)
    shop.check_books()


def test_a_card_is_remembered_for_its_call_or_for_half_a_minute(monkeypatch):
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    recent, row = Recent(), card_row()
    left = View(row, None, 7)

    def keep(key: str | None, *records: RecordRow, version: int = 1) -> None:
        step = Step(None, row._replace(version=version), records=records)
        recent.keep(View(row, record_row(), 7), key, step)

    keep("call:1")
    assert recent.take(row.id, "call:1") == left
    assert recent.take(row.id, "call:1") is None, "it is good once"
    keep("call:1")
    now += 3_600
    assert recent.take(row.id, "call:1") == left, "calls may be long"
    keep("call:1", record_row(key="call:1"))
    assert recent.take(row.id, "call:1") is None, "the call is over"
    for seconds, known in ((29, left), (30, None)):
        keep("call:1")
        now += seconds
        assert recent.take(row.id, "call:2") == known
    keep("call:1")
    assert recent.take(row.id, None) is None, "what has no key goes on with nothing"
    assert recent.take(row.id, "call:1") is None, "and may change the card"
    keep("call:1", version=3)
    keep("call:2", version=2)
    taken = recent.take(row.id, "call:2")
    assert taken is not None
    assert taken.card.version == 3


def test_only_so_many_cards_are_remembered_and_none_that_is_large():
    recent = Recent()
    view = View(card_row(), None, 7)
    for number in range(5_000):
        recent.keep(view, "call:1", Step(None, view.card._replace(id=f"B/{number}")))
    assert recent.take("B/903", "call:1") is None
    assert recent.take("B/904", "call:1") is not None
    large = view.card._replace(state=bytes(4_097))
    recent.keep(view, "call:1", Step(None, large))
    assert recent.take(large.id, "call:1") is None
