"""Threads that want opposite things at once: of one call, of one card, of one batch.

Whoever comes first, the answers fit together, and what was answered stays true.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from cardbill import CallRecord, Denied, Engine, Grant, Outcome, Plan
from cardbill.control import Control
from cardbill.errors import VersionConflict
from cardbill.flags import BatchFlags
from tests.building import UK, US, Shop, open_shop

# The fixture that makes threads take turns all the time holds here too.
from tests.test_races import crowd, said, threads_take_turns_all_the_time  # noqa: F401

OPERATOR: dict[str, Any] = {"actor": "ann", "reason": "told so"}
SLICE = 30
US_SECOND = 200  # ledger units
MANY = {"calls_at_once": 100, "max_call_seconds": 60}


def rounds(few: int, many: int) -> Any:
    return pytest.mark.parametrize("rounds", [few, pytest.param(many, marks=pytest.mark.soak)])


@contextmanager
def setting(event: threading.Event) -> Iterator[None]:
    """Set it in the end, even when there is an error: nobody waits for it in vain."""
    try:
        yield
    finally:
        event.set()


def engines(shop: Shop) -> list[Engine]:
    """Two engines on one store, as two processes have them."""
    return [shop.bill, shop.second()]


# -- one call -----------------------------------------------------------------------------------


@rounds(60, 1_000)
def test_extending_settling_cancelling_and_sweeping_one_call_at_once(
    kind: str, tmp_path: Path, rounds: int
):
    """It ends once, and every second that an extension promised can be talked and is paid."""
    plan = {"slice_seconds": SLICE, "calls_at_once": 2}
    with open_shop(kind, tmp_path, quantity=rounds, plan=plan) as shop, crowd(8) as many:
        one, other = engines(shop)
        promises: Counter[int] = Counter()
        for serial in range(1, rounds + 1):
            call = shop.grant(to=US, serial=serial)
            acts: list[Callable[[Grant], Any]] = [
                lambda call: one.extend(call.handle, used_seconds=20, number=1),
                lambda call: one.settle(call.handle, talk_ms=70_000, carrier="acme"),
                lambda call: other.extend(call.handle, used_seconds=20, number=1),
                lambda call: one.cancel(call.handle),
                lambda call: other.extend(call.handle, used_seconds=29, number=2),
                lambda call: other.sweep(at=call.expires_at),
                lambda call: one.extend(call.handle, used_seconds=45, number=3),
                lambda call: other.settle(call.handle, talk_ms=70_000, carrier="acme"),
            ]
            turned = acts[serial % 8 :] + acts[: serial % 8]
            answers = many.rush(lambda number, call=call, acts=turned: acts[number](call))

            grants = [answer for answer in answers if isinstance(answer, Grant)]
            promised = max([SLICE, *(grant.max_seconds or 0 for grant in grants)])
            promises[promised] += 1
            price = min(70, promised) * US_SECOND
            assert said(answers).keys() <= {"Grant", "CallRecord", "CallEnded", "Swept"}
            (record,) = shop.records(f"B/{serial}")
            assert (record.outcome, record.price_units) == (Outcome.SETTLED, price)
            settled = [a for a in answers if isinstance(a, CallRecord) and a.report is not None]
            assert settled == [record, record]
            assert sum(not answer.replayed for answer in settled) == 1
            posted = [amount for kind, amount, _ in shop.ledger(f"B/{serial}") if kind == "call"]
            assert -sum(posted) == price
            card = shop.stored(f"B/{serial}")
            assert (card.holds, card.held, card.balance) == ({}, 0, card.face - price)
        shop.check_books()
        assert promises.keys() <= {SLICE, 20 + SLICE, 29 + SLICE, 45 + SLICE}


# -- a batch stopped ----------------------------------------------------------------------------


def freeze_all(control: Control) -> object:
    return control.freeze("B", 1, 3, **OPERATOR)


def block_batch(control: Control) -> object:
    return control.block_batch("B", **OPERATOR)


@pytest.mark.parametrize("stop", [block_batch, freeze_all])
@rounds(6, 200)
def test_once_a_batch_is_stopped_no_call_that_begins_then_is_granted(
    kind: str, tmp_path: Path, stop: Callable[[Control], object], rounds: int
):
    with open_shop(kind, tmp_path, plan=MANY) as shop, crowd(5) as many:
        both = engines(shop)
        pins = [shop.pin(serial) for serial in (1, 2, 3)]

        for turn in range(rounds):
            granted, stopped = threading.Semaphore(0), threading.Event()

            def ask(number: int, call_id: str) -> Grant | Denied:
                bill = both[number % 2]
                answer = bill.authorize(pin=pins[number % 3], to=UK, call_id=call_id)
                if answer.granted:
                    bill.cancel(answer.handle)
                return answer

            def act(
                number: int, turn: int = turn, granted: Any = granted, stopped: Any = stopped
            ) -> list[Grant | Denied]:
                if number == 0:
                    with setting(stopped):
                        for _ in range(4):
                            assert granted.acquire(timeout=60)
                        stop(both[turn % 2].control)
                    return []
                asked, begun_after = 0, list[Grant | Denied]()
                while len(begun_after) < 2:
                    after = stopped.is_set()
                    try:
                        answer = ask(number, f"{turn}-{number}-{asked}")
                    finally:
                        granted.release()
                    asked += 1
                    if after:
                        begun_after.append(answer)
                return begun_after

            begun_after = many.rush(act)
            assert said(begun_after) == {"list": 5}, begun_after
            assert said([answer for part in begun_after for answer in part]) == {"blocked": 8}
            both[1].control.thaw("B", 1, 3, **OPERATOR)
            both[0].control.unblock_batch("B", **OPERATOR)
            assert all(ask(number, f"{turn}-{number}-x").granted for number in range(4))
        shop.check_books()


@rounds(40, 500)
def test_what_operators_stop_at_once_is_all_stopped(kind: str, tmp_path: Path, rounds: int):
    """Some may be told to try again; whoever was not, is not overruled by the others."""
    with open_shop(kind, tmp_path) as shop, crowd(6) as many:
        both = engines(shop)
        for turn in range(rounds):
            name = f"N{turn}"
            shop.bill.batches.create(evolve(shop.bill.batches.get("B"), name=name))

            def stop(number: int, name: str = name) -> BatchFlags:
                control = both[number % 2].control
                if number == 0:
                    return control.block_batch(name, **OPERATOR)
                return control.freeze(name, 10 * number, 10 * number + 1, **OPERATOR)

            answers = many.rush(stop)
            assert all(isinstance(answer, BatchFlags | VersionConflict) for answer in answers)
            done = [n for n, answer in enumerate(answers) if isinstance(answer, BatchFlags)]
            frozen = tuple((10 * n, 10 * n + 1) for n in done if n)
            kept = BatchFlags(blocked=0 in done, frozen=frozen)
            assert shop.bill.control.flags(name) == kept
            assert kept in answers  # whoever came last saw all of it


def test_a_stop_made_from_what_is_no_longer_so_is_refused(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with open_shop(kind, tmp_path) as shop:
        one, other = engines(shop)
        log = one.storage.append_audit

        def meanwhile(row: Any, *, after: int) -> bool:
            monkeypatch.undo()
            other.control.freeze("B", 1, 1, **OPERATOR)
            return log(row, after=after)

        monkeypatch.setattr(one.storage, "append_audit", meanwhile)
        with pytest.raises(VersionConflict):
            one.control.freeze("B", 3, 3, **OPERATOR)
        assert one.control.flags("B") == BatchFlags(frozen=[(1, 1)])
        assert one.control.freeze("B", 3, 3, **OPERATOR) == BatchFlags(frozen=[(1, 1), (3, 3)])


# -- one card -----------------------------------------------------------------------------------


@pytest.mark.parametrize("first_use", ["authorization", "authentication"])
@rounds(40, 1_000)
def test_a_card_is_voided_or_used_and_never_both(
    kind: str, tmp_path: Path, first_use: str, rounds: int
):
    batch = {"first_use": first_use}
    with (
        open_shop(kind, tmp_path, quantity=rounds, batch=batch, plan=MANY) as shop,
        crowd(8) as many,
    ):
        both = engines(shop)
        for serial in range(1, rounds + 1):
            pin = shop.pin(serial)

            def act(number: int, serial: int = serial, pin: str = pin) -> Any:
                bill = both[number // 2 % 2]
                if (number + serial) % 2:
                    return bill.control.void(f"B/{serial}", **OPERATOR)
                if first_use == "authentication" and number < 4:
                    return bill.authenticate(pin=pin)
                return bill.authorize(pin=pin, to=UK, call_id=f"c{number}")

            answers = many.rush(act)
            card = shop.stored(f"B/{serial}")
            kinds = [kind for kind, _, _ in shop.ledger(f"B/{serial}")]
            if card.voided:
                assert said(answers) == {"CardView": 4, "void": 4}
                assert (card.balance, card.holds, kinds) == (0, {}, ["face", "void"])
                assert card.first_used_at is None
            else:
                used = said(answers)
                assert used.pop("TransitionRefused") == 4
                assert used.pop("Grant") + used.pop("Caller", 0) == 4
                assert used == {}
                assert (card.balance, kinds) == (card.face, ["face"])
        shop.check_books()


@rounds(40, 1_000)
def test_a_card_works_from_its_sale_on_and_keeps_the_plan_it_was_sold_with(
    kind: str, tmp_path: Path, rounds: int
):
    batch = {"sold_first": True}
    with (
        open_shop(kind, tmp_path, quantity=rounds, batch=batch, plan=MANY) as shop,
        crowd(8) as many,
    ):
        both = engines(shop)
        longest = {1: 60}  # by version of the plan

        for serial in range(1, rounds + 1):
            pin, sold = shop.pin(serial), threading.Event()

            def act(number: int, serial: int = serial, pin: str = pin, sold: Any = sold) -> Any:
                bill = both[number % 2]
                if number == 0:
                    plan = evolve(bill.plans.get("Basic"), max_call_seconds=60 + serial)
                    longest[bill.plans.publish(plan)] = 60 + serial
                    return []
                if number < 3:
                    with setting(sold):
                        return [bill.control.sell(f"B/{serial}", **OPERATOR)]
                answers: list[Any] = []
                after = False
                while not after:
                    after = sold.is_set()
                    call_id = f"{number}-{len(answers)}"
                    answers.append(bill.authorize(pin=pin, to=US, call_id=call_id))
                    if answers[-1].granted:
                        bill.cancel(answers[-1].handle)
                return answers

            heard = many.rush(act)
            assert said(heard) == {"list": 8}, heard
            assert said(heard[1] + heard[2]) == {"CardView": 2}
            card = shop.stored(f"B/{serial}")
            assert card.sold
            assert card.plan is not None
            for answers in heard[3:]:
                granted = [answer.granted for answer in answers]
                assert granted == sorted(granted), "it worked, and then it did not"
                assert granted[-1], "it did not work after its sale"
                assert said(answers).keys() <= {"Grant", "not_sold"}
                told = {answer.max_seconds for answer in answers if answer.granted}
                assert told == {longest[card.plan[1]]}
            assert shop.ledger(f"B/{serial}") == [("face", card.face, "")]
        shop.check_books()


def test_a_plan_given_from_what_is_no_longer_so_is_refused(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with open_shop(kind, tmp_path, assign=False) as shop:
        one, other = engines(shop)
        one.plans.publish(Plan(name="Other", deck="retail", currency="USD"))
        content = one.storage.content

        def meanwhile(*place: Any) -> bytes:
            monkeypatch.undo()
            other.batches.assign("B", plan="Other")
            return content(*place)

        monkeypatch.setattr(one.storage, "content", meanwhile)
        with pytest.raises(VersionConflict):
            one.batches.assign("B", plan="Basic")
        assert one.batches.get("B").plan == "Other"
