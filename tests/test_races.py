"""Everything at once: threads and processes on one card, and still one answer."""

import multiprocessing
import subprocess
import sys
import textwrap
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from moneyed import USD, Money

import cardbill
from cardbill import Batch, CallRecord, Denial, Engine, Grant, Keyring, Outcome, Plan
from cardbill.calls import make_handle
from cardbill.errors import (
    CallEnded,
    CardbillError,
    DuplicateName,
    IdempotencyMismatch,
    VersionConflict,
)
from cardbill.storage.sqlite import SQLiteStorage
from tests.building import EVERY_STORE, START, UK, UK_MINUTE, address, deck, open_shop, rows

AT_ONCE = 30
ROUNDS = 300


@pytest.fixture(params=EVERY_STORE)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def threads_take_turns_all_the_time() -> Iterator[None]:
    """Switch threads after a microsecond: what can be interrupted is."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


class Crowd:
    """Threads that begin at the same moment, round after round."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._pool = ThreadPoolExecutor(size)
        self._gate = threading.Barrier(size)

    def rush(self, work: Callable[..., Any]) -> list[Any]:
        """Run `work(0)`, `work(1)`, ... all at once; return answers or cardbill's errors."""

        def one(number: int) -> Any:
            self._gate.wait(timeout=60)
            try:
                return work(number)
            except CardbillError as error:
                return error

        return list(self._pool.map(one, range(self.size)))


@contextmanager
def crowd(size: int) -> Iterator[Crowd]:
    gathered = Crowd(size)
    try:
        yield gathered
    finally:
        gathered._pool.shutdown()


def one_call_cards(kind: str, folder: Path, quantity: int) -> Any:
    """Cards that can pay for one call of a minute; money alone limits calls at once."""
    plan = {"calls_at_once": 100, "max_call_seconds": 60}
    return open_shop(kind, folder, face=Money("0.06", USD), quantity=quantity, plan=plan)


def said(answers: list[Any]) -> Counter[str]:
    """Count answers by kind, denials by reason."""
    names = (
        a.reason.value if isinstance(a, cardbill.Denied) else type(a).__name__ for a in answers
    )
    return Counter(names)


# -- threads ------------------------------------------------------------------------------------


def test_of_thirty_calls_at_once_the_money_for_one_grants_one(kind: str, tmp_path: Path):
    rounds = ROUNDS // 5 if kind == "postgres" else ROUNDS
    with one_call_cards(kind, tmp_path, rounds) as shop, crowd(AT_ONCE) as many:
        for serial in range(1, rounds + 1):
            pin = shop.pin(serial)
            answers = many.rush(
                lambda number, pin=pin: shop.bill.authorize(pin=pin, to=UK, call_id=f"c{number}")
            )
            assert said(answers) == {"Grant": 1, "insufficient_balance": AT_ONCE - 1}, serial
            card = shop.stored(f"B/{serial}")
            assert (card.balance, card.held, len(card.holds)) == (UK_MINUTE, UK_MINUTE, 1)
            assert card.entry_count == 1
        shop.check_books()


def test_the_same_request_thirty_times_at_once_is_one_grant(kind: str, tmp_path: Path):
    with open_shop(kind, tmp_path, quantity=40) as shop, crowd(AT_ONCE) as many:
        for serial in range(1, 41):
            pin = shop.pin(serial)
            answers = many.rush(
                lambda _, pin=pin: shop.bill.authorize(pin=pin, to=UK, call_id="c1")
            )
            assert said(answers) == {"Grant": AT_ONCE}
            assert sum(not answer.replayed for answer in answers) == 1
            assert all(answer == answers[0] for answer in answers)
            assert len(shop.stored(f"B/{serial}").holds) == 1
        shop.check_books()


@pytest.mark.parametrize("first_use", ["authorization", "authentication"])
def test_sixteen_first_uses_of_one_pin_open_one_account(kind: str, tmp_path: Path, first_use: str):
    terms = {"first_use": first_use, "expires_days_after_first_use": 5}
    plan = {"calls_at_once": 100, "max_call_seconds": 60}
    with (
        open_shop(kind, tmp_path, quantity=40, batch=terms, plan=plan) as shop,
        crowd(16) as many,
    ):
        for serial in range(1, 41):
            pin = shop.pin(serial)

            def use(number: int, pin: str = pin) -> Any:
                at = START + timedelta(days=number)  # each would begin its own validity
                if first_use == "authentication" or number % 2:
                    shop.bill.authenticate(pin=pin, at=at)
                return shop.bill.authorize(pin=pin, to=UK, call_id=f"c{number}", at=at)

            many.rush(use)
            ledger = shop.ledger(f"B/{serial}")
            assert ledger[0] == ("face", 5_000_000, "")
            assert [kind for kind, _, _ in ledger].count("face") == 1
            card = shop.stored(f"B/{serial}")
            assert card.first_used_at is not None
            began = card.first_used_at.replace(hour=0)
            assert card.expires_at == began + timedelta(days=6)
        shop.check_books()


def test_one_report_from_eight_threads_is_posted_once(kind: str, tmp_path: Path):
    with open_shop(kind, tmp_path, quantity=60) as shop, crowd(8) as many:
        for serial in range(1, 61):
            grant = shop.grant(serial=serial)
            answers = many.rush(
                lambda _, grant=grant: shop.bill.settle(
                    grant.handle, talk_ms=61_000, carrier="acme"
                )
            )
            assert said(answers) == {"CallRecord": 8}
            assert sum(not answer.replayed for answer in answers) == 1
            assert all(answer == answers[0] for answer in answers)
            assert shop.ledger(f"B/{serial}")[1:] == [("call", -2 * UK_MINUTE, "c1")]
        shop.check_books()


def test_eight_different_reports_of_one_call_post_the_first(kind: str, tmp_path: Path):
    with open_shop(kind, tmp_path, quantity=40) as shop, crowd(8) as many:
        for serial in range(1, 41):
            grant = shop.grant(serial=serial)
            answers = many.rush(
                lambda number, grant=grant: shop.bill.settle(
                    grant.handle, talk_ms=(number + 1) * 60_000
                )
            )
            assert said(answers) == {"CallRecord": 1, "IdempotencyMismatch": 7}
            (record,) = [answer for answer in answers if isinstance(answer, CallRecord)]
            assert shop.ledger(f"B/{serial}")[1:] == [("call", -record.price_units, "c1")]
            assert record.price_units in range(UK_MINUTE, 9 * UK_MINUTE, UK_MINUTE)
        shop.check_books()


def test_settling_while_sweeping_charges_once_and_ends_the_hold_once(kind: str, tmp_path: Path):
    with open_shop(kind, tmp_path, quantity=60) as shop, crowd(6) as many:
        outcomes: Counter[bool] = Counter()
        at = START
        for serial in range(1, 61):
            grant = shop.grant(serial=serial, at=at)
            at = grant.expires_at

            def act(number: int, grant: Grant = grant) -> Any:
                if number % 2:
                    return shop.bill.sweep(at=grant.expires_at)
                # Just in time, by one clock; at the last moment, by the other.
                early = timedelta(microseconds=number % 3)
                return shop.bill.settle(
                    grant.handle, talk_ms=60_000, carrier="acme", at=grant.expires_at - early
                )

            answers = many.rush(act)
            settled = [answer for answer in answers if isinstance(answer, CallRecord)]
            assert len(settled) == 3
            assert sum(not record.replayed for record in settled) == 1
            assert sum(a.calls_expired for a in answers if isinstance(a, cardbill.Swept)) <= 1
            outcomes[settled[0].late] += 1
            (record,) = shop.records(f"B/{serial}")
            assert record.outcome is Outcome.SETTLED
            assert shop.ledger(f"B/{serial}")[1:] == [("call", -UK_MINUTE, "c1")]
            assert shop.stored(f"B/{serial}").holds == {}
        shop.check_books()
        assert outcomes.total() == 60


def test_settling_and_cancelling_at_once_ends_one_way(kind: str, tmp_path: Path):
    with open_shop(kind, tmp_path, quantity=60) as shop, crowd(8) as many:
        for serial in range(1, 61):
            grant = shop.grant(serial=serial)
            answers = many.rush(
                lambda number, grant=grant: (
                    shop.bill.cancel(grant.handle)
                    if number % 2
                    else shop.bill.settle(grant.handle, talk_ms=60_000)
                )
            )
            assert all(isinstance(answer, CallRecord | CallEnded) for answer in answers)
            (record,) = shop.records(f"B/{serial}")  # a report after a cancellation is late
            assert (record.outcome, record.price_units) == (Outcome.SETTLED, UK_MINUTE)
            assert shop.ledger(f"B/{serial}")[1:] == [("call", -UK_MINUTE, "c1")]
        shop.check_books()


def test_a_hot_card_is_never_overspent(kind: str, tmp_path: Path):
    """Calls begin and end on one card for a while; what is left is what was not talked."""
    with one_call_cards(kind, tmp_path, 1) as shop, crowd(12) as many:
        shop.edit("B/1", balance=5_000_000, face=5_000_000, taken_over=True)
        pin = shop.pin()

        def talk(number: int) -> int:
            spent = 0
            for turn in range(40):
                call = shop.bill.authorize(pin=pin, to=UK, call_id=f"{number}-{turn}")
                if not call.granted:
                    assert call.reason in (Denial.INSUFFICIENT_BALANCE, Denial.EXHAUSTED)
                    continue
                if turn % 4 == 3:
                    shop.bill.cancel(call.handle)
                else:
                    spent += shop.bill.settle(call.handle, talk_ms=turn % 3 * 30_000).price_units
            return spent

        spent = sum(many.rush(talk))
        card = shop.stored()
        assert (card.holds, card.held) == ({}, 0)
        assert card.balance == 5_000_000 - spent
        assert 0 <= card.balance < UK_MINUTE * 12
        shop.check_books()


# -- what is published and issued at once -------------------------------------------------------


def test_a_batch_is_created_once_however_many_try(kind: str, tmp_path: Path):
    with open_shop(kind, tmp_path) as shop, crowd(8) as many:
        for turn in range(10):
            answers = many.rush(
                lambda _, turn=turn: shop.bill.batches.create(
                    Batch(name=f"N{turn}", face_value=Money(1, USD), quantity=1)
                )
            )
            assert said(answers) == {"NoneType": 1, "DuplicateName": 7}
            assert all(isinstance(a, DuplicateName) for a in answers if a is not None)


def test_pins_are_made_once_however_many_ask(kind: str, tmp_path: Path):
    with open_shop(kind, tmp_path) as shop, crowd(6) as many:
        for turn in range(6):
            name = f"N{turn}"
            shop.bill.batches.create(Batch(name=name, face_value=Money(1, USD), quantity=50))
            answers = many.rush(lambda _, name=name: shop.bill.batches.generate_pins(name).count)
            assert answers == [50] * 6
            assert shop.bill.storage.count_cards(batch=name) == 50
            assert len({shop.pin(serial, name) for serial in range(1, 51)}) == 50


def test_what_was_published_is_found_at_once_by_whoever_published_it(kind: str, tmp_path: Path):
    """Others who look at the catalogue meanwhile do not set it back for this thread."""
    with open_shop(kind, tmp_path) as shop:
        done = threading.Event()

        def look_around() -> None:
            while not done.is_set():
                shop.bill.plans.names()

        others = [threading.Thread(target=look_around) for _ in range(4)]
        for other in others:
            other.start()
        lost = []
        try:
            for number in range(600 if kind == "memory" else 150):
                name = f"N{number}"
                shop.bill.batches.create(Batch(name=name, face_value=Money(1, USD), quantity=1))
                try:
                    assert shop.bill.batches.get(name).name == name
                except CardbillError as error:
                    lost.append(repr(error))
        finally:
            done.set()
            for other in others:
                other.join()
        assert lost == []


def test_calls_go_on_while_the_catalogue_changes(kind: str, tmp_path: Path):
    """Each call is priced by one deck or the other, never by half of each."""
    with open_shop(kind, tmp_path, quantity=8) as shop, crowd(9) as many:
        cheap, dear = (deck(f"prefix,rate,increments\n44,{p},60/60\n") for p in ("0.01", "0.02"))
        pins = [shop.pin(serial) for serial in range(1, 9)]
        other = shop.second()

        def act(number: int) -> Any:
            if number == 8:
                for turn in range(30):
                    other.decks.publish("retail", (cheap, dear)[turn % 2])
                return set()
            prices = set()
            for turn in range(15):
                call_id = f"c{number}-{turn}"
                call = shop.bill.authorize(pin=pins[number], to=UK, call_id=call_id)
                assert isinstance(call, Grant)
                prices.add(shop.bill.settle(call.handle, talk_ms=60_000).price_units)
            return prices

        answers = many.rush(act)
        assert set().union(*answers) <= {10_000, 20_000, UK_MINUTE}
        shop.check_books()


def test_of_two_who_publish_at_once_each_version_is_kept(kind: str, tmp_path: Path):
    with open_shop(kind, tmp_path) as shop, crowd(6) as many:
        before = shop.bill.plans.version("Basic")
        answers = many.rush(
            lambda number: shop.bill.plans.publish(
                Plan(name="Basic", deck="retail", currency=USD, max_call_seconds=60 + number)
            )
        )
        kept = sorted(answer for answer in answers if isinstance(answer, int))
        assert kept
        assert kept == list(range(before + 1, before + 1 + len(kept)))
        assert all(isinstance(a, int | VersionConflict) for a in answers)


# -- looking meanwhile --------------------------------------------------------------------------


def test_an_audit_of_a_working_store_finds_nothing_wrong(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A call settled between two of its reads is no problem of the books."""
    with open_shop(kind, tmp_path) as shop:
        storage, entries = shop.bill.storage, shop.bill.storage.entries
        grant, turns = shop.grant(), iter(range(3))

        def meanwhile(card: str, **place: Any) -> Any:
            if card == "B/1" and next(turns, None) is not None:
                monkeypatch.undo()
                shop.bill.settle(grant.handle, talk_ms=60_000)
            return entries(card, **place)

        monkeypatch.setattr(storage, "entries", meanwhile)
        assert shop.bill.audit().problems == []


def test_an_audit_does_not_mind_cards_made_meanwhile(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with open_shop(kind, tmp_path) as shop:
        storage, count = shop.bill.storage, shop.bill.storage.count_cards

        def meanwhile(**of: Any) -> int:
            monkeypatch.undo()
            shop.bill.batches.create(Batch(name="A", face_value=Money(1, USD), quantity=2))
            shop.bill.batches.generate_pins("A")
            return count(**of)

        monkeypatch.setattr(storage, "count_cards", meanwhile)
        assert shop.bill.audit().problems == []


# -- opening at once ----------------------------------------------------------------------------


def test_a_new_file_may_be_opened_by_many_at_once(tmp_path: Path):
    """Each worker of a switch opens the store at its start; one of them makes the file."""
    failures: Counter[str] = Counter()
    with crowd(8) as many:
        for turn in range(40):
            path = tmp_path / f"{turn}.db"

            def start(_: int, path: Path = path) -> None:
                SQLiteStorage(path, synchronous="NORMAL").close()

            failures.update(str(a) for a in many.rush(start) if a is not None)
    assert failures == Counter()


def test_many_engines_leave_the_same_marks_of_their_keys(kind: str, tmp_path: Path):
    keyring = Keyring.generate()
    with closing(cardbill.open_storage(address(kind, tmp_path))) as storage, crowd(8) as many:
        answers = many.rush(lambda _: Engine(storage, keyring))
        assert said(answers) == {"Engine": 8}
        assert len(storage.catalogue()[1]) == 3 + 1  # and one of the books of attempts


# -- processes ----------------------------------------------------------------------------------


def ask_from_afar(url: str, keys: str, pins: list[str], number: int, gate: Any, out: Any) -> None:
    """A process of its own: one authorization of each card, all at once with the others."""
    try:
        with cardbill.open(url, keyring=Keyring.loads(keys.encode()), clock=_start) as bill:
            granted = []
            for place, pin in enumerate(pins):
                gate.wait(timeout=60)
                answer = bill.authorize(pin=pin, to=UK, call_id=f"{number}-{place}")
                granted.append(answer.granted)
                if not answer.granted and answer.reason is not Denial.INSUFFICIENT_BALANCE:
                    raise AssertionError(answer.reason)
                if place == 0:
                    bill.sweep()
        out.put((number, granted))
    except BaseException as error:
        gate.abort()
        out.put((number, repr(error)))
        raise


def settle_from_afar(url: str, keys: str, handles: list[str], gate: Any, out: Any) -> None:
    try:
        with cardbill.open(url, keyring=Keyring.loads(keys.encode()), clock=_start) as bill:
            first = []
            for handle in handles:
                gate.wait(timeout=60)
                first.append(not bill.settle(handle, talk_ms=60_000, carrier="acme").replayed)
        out.put(first)
    except BaseException as error:
        gate.abort()
        out.put(repr(error))
        raise


def _start() -> Any:
    return START


def run_processes(target: Callable[..., None], arguments: list[tuple[Any, ...]]) -> list[Any]:
    """Run one process per tuple of arguments; each gets the common gate and queue last."""
    spawn = multiprocessing.get_context("spawn")
    gate, out = spawn.Barrier(len(arguments)), spawn.Queue()
    workers = [spawn.Process(target=target, args=(*given, gate, out)) for given in arguments]
    for worker in workers:
        worker.start()
    answers = [out.get(timeout=90) for _ in workers]
    for worker in workers:
        worker.join(timeout=30)
    out.close()
    out.join_thread()
    return answers


def test_four_processes_on_one_file_grant_and_charge_once(tmp_path: Path):
    with one_call_cards("sqlite", tmp_path, 25) as shop:
        keys = shop.keyring.dumps()
        pins = [shop.pin(serial) for serial in range(1, 26)]
        answers = run_processes(
            ask_from_afar, [(shop.url, keys, pins, number) for number in range(4)]
        )
        granted = dict(answers)
        assert all(isinstance(found, list) for found in granted.values()), granted
        for place in range(25):
            assert sum(found[place] for found in granted.values()) == 1
        handles = [
            make_handle(f"B/{serial}", next(iter(shop.stored(f"B/{serial}").holds)))
            for serial in range(1, 26)
        ]
        firsts = run_processes(settle_from_afar, [(shop.url, keys, handles)] * 4)
        assert all(isinstance(first, list) for first in firsts), firsts
        for place in range(25):
            assert sum(first[place] for first in firsts) == 1
        assert all(shop.stored(f"B/{serial}").balance == 0 for serial in range(1, 26))
        shop.check_books()


def test_an_engine_works_on_in_a_forked_child_and_in_its_parent(tmp_path: Path):
    """A switch forks its workers after the engine was opened and used."""
    script = """
        import os, sys
        import cardbill
        from tests.building import UK, open_shop
        from pathlib import Path

        with open_shop("sqlite", Path(sys.argv[1]), quantity=4,
                       plan={"calls_at_once": 9, "max_call_seconds": 60}) as shop:
            pins = [shop.pin(serial) for serial in range(1, 5)]
            first = shop.grant("before")
            children = []
            for number in range(3):
                child = os.fork()
                if child == 0:
                    code = 1
                    try:
                        if os.path.isdir("/proc/self/fd"):  # nothing of the parent's is used
                            names = [f"/proc/self/fd/{n}" for n in os.listdir("/proc/self/fd")]
                            opened = [os.readlink(name) for name in names if os.path.exists(name)]
                            assert not [name for name in opened if "cards.db" in name], opened
                        for place, pin in enumerate(pins):
                            call = shop.bill.authorize(pin=pin, to=UK, call_id=f"{number}-{place}")
                            shop.bill.settle(call.handle, talk_ms=60_000, carrier="acme")
                        shop.bill.settle(first.handle, talk_ms=60_000, carrier="acme")
                        shop.bill.close()
                        code = 0
                    finally:
                        os._exit(code)
                children.append(child)
            for place, pin in enumerate(pins):
                call = shop.bill.authorize(pin=pin, to=UK, call_id=f"p-{place}")
                shop.bill.settle(call.handle, talk_ms=60_000, carrier="acme")
            codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
            assert codes == [0, 0, 0], codes
            shop.check_books()
            assert [shop.stored(f"B/{s}").balance for s in range(1, 5)] == [
                4_700_000, 4_760_000, 4_760_000, 4_760_000
            ]
            assert len(list(shop.bill.records())) == 17
        print("well")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)],
        check=False,
        capture_output=True,
        text=True,
        timeout=90,
        cwd=Path(__file__).resolve().parents[1],
    )
    assert (done.returncode, done.stdout.strip()) == (0, "well"), done.stderr


def test_nothing_is_left_half_done_by_errors_under_load(kind: str, tmp_path: Path):
    """Mismatches and ended calls, all at once: each leaves the store as it was."""
    with open_shop(kind, tmp_path) as shop, crowd(8) as many:
        grant = shop.grant()
        shop.bill.settle(grant.handle, talk_ms=60_000)
        before = rows(shop.bill.storage)
        for _ in range(20):
            answers = many.rush(
                lambda number: (
                    shop.ask() if number % 2 else shop.bill.settle(grant.handle, talk_ms=120_000)
                )
            )
            assert {type(answer) for answer in answers} == {CallEnded, IdempotencyMismatch}
        assert rows(shop.bill.storage) == before


def test_the_crowd_is_one(kind: str, tmp_path: Path):
    """The gate works: all of them are inside at once."""
    inside, most = 0, 0
    lock = threading.Lock()
    meet = threading.Barrier(AT_ONCE)

    def enter(_: int) -> None:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        meet.wait(timeout=30)
        with lock:
            inside -= 1

    with crowd(AT_ONCE) as many:
        many.rush(enter)
    assert (inside, most) == (0, AT_ONCE)


def test_a_shop_closes_while_others_still_ask(kind: str, tmp_path: Path):
    with open_shop(kind, tmp_path, quantity=8) as shop, crowd(8) as many:
        pins = [shop.pin(serial) for serial in range(1, 9)]

        def ask(number: int) -> None:
            for turn in count():
                if number == 0 and turn == 5:
                    shop.bill.close()
                shop.bill.authorize(pin=pins[number], to=UK, call_id=f"c{turn}")

        assert said(many.rush(ask)) == {"StorageClosed": 8}
        shop.bill.close()
