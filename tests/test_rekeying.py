"""Keys are rotated while calls run, copies are dropped, and what is cut short can be completed."""

import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from moneyed import USD, Money

from cardbill import Batch, Caller, Engine, Grant
from cardbill.calls import make_handle
from cardbill.errors import (
    CardbillError,
    KeyMissing,
    MissingFields,
    UnknownCall,
    UnknownName,
    UploadRefused,
    WrongKey,
)
from cardbill.journal import detail_of
from cardbill.rekeying import Rekeyed
from cardbill.storage.contract import View
from tests.building import EVERY_STORE, RETAIL, UK, Shop, deck, open_shop

WHO = {"actor": "ann", "reason": "the yearly rotation"}


@pytest.fixture(params=EVERY_STORE)
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    with open_shop(request.param, tmp_path) as opened:
        yield opened


def rotate(shop: Shop, *, lookup: bool = True, sealing: bool = True, audit: bool = False) -> Engine:
    """Open the same store with a newer keyring, as every process must before a rekey."""
    shop.keyring = shop.keyring.rotated(lookup=lookup, sealing=sealing, audit=audit)
    shop.bill = shop.second()
    return shop.bill


def credentials(shop: Shop, card: str = "B/1") -> list[tuple[int, int | None]]:
    """The key versions of what opens a card: of its token, of its sealed copy."""
    rows = shop.bill.storage.credentials([card])
    return [(row.token[0], row.sealed[0] if row.sealed is not None else None) for row in rows]


# -- moving every card -------------------------------------------------------------------------


def test_a_rekey_moves_every_card_and_retires_the_old_keys(shop: Shop):
    pins = [shop.pin(serial) for serial in (1, 2, 3)]
    rotate(shop)
    done = shop.bill.batches.rekey(**WHO)
    assert (done.moved, done.current, done.remaining, done.failures) == (3, 0, 0, ())
    assert done.needed == {"lookup/2", "sealing/2", "audit/1"}
    assert [credentials(shop, f"B/{serial}") for serial in (1, 2, 3)] == [[(2, 2)]] * 3
    assert [shop.pin(serial) for serial in (1, 2, 3)] == pins
    assert [len(shop.stored(f"B/{serial}").credentials) for serial in (1, 2, 3)] == [1, 1, 1]
    shop.check_books()
    again = shop.bill.batches.rekey(**WHO)
    assert (again.moved, again.current) == (0, 3)
    shop.keyring = shop.keyring.without(["lookup/1", "sealing/1"])
    host = shop.second()
    assert all(host.authenticate(pin=pin).authenticated for pin in pins)
    assert host.audit().clean


@pytest.mark.parametrize("kind", ["lookup", "sealing", "audit"])
def test_each_kind_of_key_is_rotated_by_itself(shop: Shop, kind: str):
    pin = shop.pin()
    rotate(shop, **{each: each == kind for each in ("lookup", "sealing", "audit")})
    shop.bill.settle(shop.grant("a").handle, talk_ms=60_000)
    shop.bill.batches.rekey(**WHO)
    shop.bill.settle(shop.grant("b").handle, talk_ms=60_000)
    assert credentials(shop) == [(1 + (kind == "lookup"), 1 + (kind == "sealing"))]
    assert shop.pin() == pin
    shop.check_books()


def test_one_batch_may_be_moved_by_itself(shop: Shop):
    shop.bill.batches.create(Batch(name="C", face_value=Money(1, USD), quantity=2, plan="Basic"))
    shop.bill.batches.generate_pins("C")
    rotate(shop)
    done = shop.bill.batches.rekey("C", **WHO)
    assert (done.moved, "lookup/1" in done.needed) == (2, True)
    assert (credentials(shop, "C/1"), credentials(shop, "B/1")) == ([(2, 2)], [(1, 1)])
    shop.check_books()


def test_who_moved_the_cards_and_why_is_kept(shop: Shop):
    rotate(shop)
    shop.bill.batches.rekey("B", **WHO)
    begun, ended = shop.log()
    assert (begun.actor, begun.action, begun.subject) == ("ann", "rekey-begun", "B")
    assert (ended.action, detail_of(ended)["moved"]) == ("rekey", 3)
    with pytest.raises(MissingFields):
        shop.bill.batches.rekey(actor="", reason="")
    with pytest.raises(UnknownName):
        shop.bill.batches.rekey("nope", **WHO)


# -- callers meanwhile -------------------------------------------------------------------------


def test_a_caller_who_was_let_in_by_the_old_token_goes_on(shop: Shop):
    pin = shop.pin()
    rotate(shop)
    caller = shop.bill.authenticate(pin=pin)
    assert isinstance(caller, Caller)
    shop.bill.batches.rekey(**WHO)
    answer = shop.bill.authorize(caller, to=UK, call_id="c")
    assert answer.granted, answer


def test_a_card_without_a_copy_moves_at_its_next_use(shop: Shop):
    pins = [shop.pin(serial) for serial in (1, 2, 3)]
    shop.bill.batches.drop_sealed("B", **WHO)
    rotate(shop)
    assert shop.bill.batches.rekey(**WHO).remaining == 3
    assert credentials(shop) == [(1, None)]
    assert shop.bill.authenticate(pin=pins[0]).authenticated
    assert shop.bill.authorize(pin=pins[1], to=UK, call_id="c").granted
    assert [credentials(shop, f"B/{serial}") for serial in (1, 2, 3)] == [
        [(2, None)],
        [(2, None)],
        [(1, None)],
    ]
    shop.check_books()
    done = shop.bill.batches.rekey(**WHO)
    assert (done.remaining, "lookup/1" in done.needed) == (1, True)
    with pytest.raises(KeyMissing, match="lookup/1"):
        Engine(shop.bill.storage, shop.keyring.without(["lookup/1"]))
    assert shop.bill.authenticate(pin=pins[2]).authenticated
    assert "lookup/1" not in shop.bill.batches.rekey(**WHO).needed
    Engine(shop.bill.storage, shop.keyring.without(["lookup/1", "sealing/1"]))
    shop.check_books()


def test_a_card_that_moves_between_two_looks_is_found(shop: Shop, monkeypatch: pytest.MonkeyPatch):
    pin, storage = shop.pin(), shop.bill.storage
    rotate(shop)
    look = shop.bill.storage.resolve

    def torn(kind: str, tokens: Sequence[bytes]) -> View | None:
        monkeypatch.setattr(shop.bill.storage, "resolve", look)
        found = look(kind, tokens[:1])
        shop.bill.batches.rekey(**WHO)
        return found or look(kind, tokens[1:])

    monkeypatch.setattr(shop.bill.storage, "resolve", torn)
    assert shop.bill.authorize(pin=pin, to=UK, call_id="c").granted
    assert storage.resolve("pin", [shop.keyring.tokens(pin)[1]]) is None


def test_calls_go_on_while_cards_move(tmp_path: Path):
    """Threads here, and a second process, call with the very cards that move; none is refused."""
    with open_shop("sqlite", tmp_path, quantity=30) as shop:
        pins = [shop.pin(serial) for serial in range(1, 31)]
        rotate(shop)
        other = subprocess.Popen(
            [sys.executable, "-c", CALLING, shop.url, *pins],
            env={**os.environ, "CARDBILL_KEYS": shop.keyring.dumps()},
            stdout=subprocess.PIPE,
            stdin=subprocess.PIPE,
            text=True,
        )
        try:
            assert other.stdout is not None
            assert other.stdin is not None
            assert other.stdout.readline() == "ready\n"
            finished = threading.Event()

            def call(thread: int) -> list[object]:
                refused: list[object] = []
                rounds = 0
                while not finished.is_set() or rounds < 2:
                    rounds += 1
                    for serial, pin in enumerate(pins):
                        call_id = f"{thread}-{rounds}-{serial}"
                        caller = shop.bill.authenticate(pin=pin)
                        answer = (
                            shop.bill.authorize(caller, to=UK, call_id=call_id)
                            if thread
                            else shop.bill.authorize(pin=pin, to=UK, call_id=call_id)
                        )
                        if isinstance(answer, Grant):
                            shop.bill.settle(answer.handle, talk_ms=0)
                        elif answer.reason.value != "too_many_calls":
                            refused.append(answer)
                return refused

            with ThreadPoolExecutor(2) as pool:
                calling = [pool.submit(call, thread) for thread in range(2)]
                try:
                    done = shop.bill.batches.rekey(**WHO)
                finally:
                    finished.set()
                assert [each.result() for each in calling] == [[], []]
            told, _ = other.communicate("stop\n", timeout=60)
        finally:
            other.kill()
            other.wait()
        assert told == "refused []\n"
        assert done.moved + done.current == 30
        assert {
            version for serial in range(1, 31) for version in credentials(shop, f"B/{serial}")
        } == {(2, 2)}
        shop.check_books()


CALLING = """
import os, select, sys
import cardbill
from cardbill import Grant, Keyring
refused, rounds = [], 0
with cardbill.open(sys.argv[1], keyring=Keyring.from_env()) as bill:
    print("ready", flush=True)
    while rounds < 2 or not select.select([sys.stdin], [], [], 0)[0]:
        rounds += 1
        for serial, pin in enumerate(sys.argv[2:]):
            caller = bill.authenticate(pin=pin)
            answer = bill.authorize(caller, to="011442071234567", call_id=f"p-{rounds}-{serial}")
            if isinstance(answer, Grant):
                bill.settle(answer.handle, talk_ms=0)
            elif answer.reason.value != "too_many_calls":
                refused.append(answer.reason.value)
print("refused", refused)
"""


# -- keyrings that do not fit --------------------------------------------------------------------


def test_a_keyring_without_a_key_in_use_is_refused_by_name(shop: Shop):
    old = shop.keyring
    rotate(shop, audit=True)
    for kind in ("lookup", "sealing", "audit"):
        for version in (1, 2):
            with pytest.raises((KeyMissing, WrongKey), match=f"{kind}/{version}"):
                Engine(shop.bill.storage, shop.keyring.without([f"{kind}/{version}"]))
    with pytest.raises(KeyMissing):
        Engine(shop.bill.storage, old)
    with pytest.raises(WrongKey):
        Engine(shop.bill.storage, evolve(shop.keyring, audit={3: b"x" * 32}))


def test_a_process_with_the_old_keys_makes_no_more_pins(shop: Shop):
    old = shop.bill
    rotate(shop)
    old.batches.create(Batch(name="C", face_value=Money(1, USD), quantity=1))
    with pytest.raises(KeyMissing, match="2"):
        old.batches.generate_pins("C")
    with pytest.raises(KeyMissing, match="2"):
        old.batches.upload_pins("C", io.StringIO("PIN\n1234567890123\n"))
    with pytest.raises(KeyMissing, match="2"):
        old.batches.rekey(**WHO)
    assert shop.bill.batches.generate_pins("C").count == 1


def test_a_pin_under_an_older_key_is_not_made_again(shop: Shop):
    taken = shop.pin()
    rotate(shop)
    shop.bill.batches.create(Batch(name="C", face_value=Money(1, USD), quantity=1))
    with pytest.raises(UploadRefused) as refused:
        shop.bill.batches.upload_pins("C", io.StringIO(f"PIN\n{taken}\n"))
    assert [(each.line, each.code) for each in refused.value.problems] == [(2, "duplicate")]
    numbers = iter([int(taken), int(taken), 7])
    second = shop.second(below=lambda _: next(numbers))
    second.batches.generate_pins("C")
    assert shop.pin(1, "C") == "000000000007"
    shop.check_books()


# -- dropping sealed copies ----------------------------------------------------------------------


def test_dropped_copies_are_gone_and_calls_work(shop: Shop):
    pin = shop.pin()
    assert shop.bill.batches.drop_sealed("B", **WHO) == 3
    with pytest.raises(KeyMissing):
        shop.bill.batches.reveal("B/1", **WHO)
    with pytest.raises(KeyMissing):
        shop.bill.batches.export("B", io.StringIO(), with_pins=True, actor="a", reason="r")
    assert shop.bill.batches.export("B", io.StringIO()) == 3
    assert shop.bill.authorize(pin=pin, to=UK, call_id="c").granted
    assert shop.bill.batches.drop_sealed("B", **WHO) == 0
    begun, ended, *_ = shop.log()
    assert (begun.action, ended.action, ended.actor) == ("drop-sealed-begun", "drop-sealed", "ann")
    assert detail_of(ended) == {"reason": WHO["reason"], "count": 3}
    shop.check_books()
    with pytest.raises(MissingFields):
        shop.bill.batches.drop_sealed("B", actor="ann", reason=" ")
    with pytest.raises(UnknownName):
        shop.bill.batches.drop_sealed("nope", **WHO)


def test_a_copy_that_comes_back_after_it_was_dropped_is_seen(shop: Shop):
    (row,) = shop.bill.storage.credentials(["B/1"])
    shop.bill.batches.drop_sealed("B", **WHO)
    shop.bill.storage.bind(row, expected="B/1")
    (problem,) = shop.bill.audit().problems
    assert "was dropped" in problem


def test_a_copy_dropped_while_its_card_moves_stays_dropped(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
):
    """At each read and write of the move, the drop comes between."""
    for moment in range(1, 16):
        name = f"D{moment}"
        shop.bill.batches.create(Batch(name=name, face_value=Money(1, USD), quantity=1))
        shop.bill.batches.generate_pins(name)
        bill = rotate(shop, sealing=False)
        drops = partial(bill.batches.drop_sealed, name, **WHO)
        dropping = Watched(bill.storage, moment, drops)
        dropping.watched = (*Watched.WRITES, "credentials")  # between reading and binding, too
        mover = Engine(dropping, shop.keyring, clock=shop.clock)
        dropping.armed = True
        mover.batches.rekey(name, **WHO)
        if dropping.armed:  # there is no such moment any more
            bill.batches.drop_sealed(name, **WHO)
            assert moment > 6
        assert [sealed for _, sealed in credentials(shop, f"{name}/1")] == [None], moment
        assert shop.bill.audit().clean, (moment, shop.bill.audit().problems)


# -- crashes --------------------------------------------------------------------------------------


class Crash(BaseException):
    """The process ends here."""


class Watched:
    """A store that does something once, after its n-th write from when it is armed."""

    WRITES = ("transact", "bind", "unbind", "publish", "append_audit", "suspend", "add_cards")

    def __init__(
        self, storage: Any, moment: int, act: Callable[[], object], *, before: bool = False
    ):
        self._storage = storage
        self._left = moment
        self._act = act
        self._before = before
        self.watched: tuple[str, ...] = self.WRITES
        self.armed = False

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._storage, name)
        if name not in self.watched:
            return found

        def watched(*values: Any, **more: Any) -> Any:
            self._left -= self.armed
            due = self.armed and self._left == 0
            if due and self._before:
                self._now()
            try:
                return found(*values, **more)
            finally:
                if due and not self._before:
                    self._now()

        return watched

    def _now(self) -> None:
        self.armed = False
        self._act()


def crash() -> None:
    raise Crash


def publish(bill: Engine) -> object:
    return bill.decks.publish("retail", deck(RETAIL.replace("0.06", "0.07")))


def suspend(bill: Engine) -> object:
    with suppress(UnknownCall):
        bill.settle(make_handle("GONE/1", "c"), talk_ms=1)
    return None


def make(bill: Engine) -> object:
    with suppress(CardbillError):
        bill.batches.create(Batch(name="N", face_value=Money(1, USD), quantity=2))
    return bill.batches.generate_pins("N")


def rekey(bill: Engine) -> Rekeyed:
    return bill.batches.rekey(**WHO)


def drop(bill: Engine) -> object:
    return bill.batches.drop_sealed("B", **WHO)


def use(bill: Engine) -> object:
    """A card without a copy moves when it is used."""
    return bill.authenticate(pin="000000000001")


@pytest.mark.parametrize("act", [publish, suspend, make, rekey, drop, use])
def test_a_crash_is_no_tampering_and_doing_it_again_completes_it(
    tmp_path: Path, act: Callable[[Engine], object]
):
    """Cut short before and after each write in turn."""
    for before in (False, True):
        for moment in range(1, 60):
            with open_shop("memory", tmp_path, numbers=[1, 2, 3]) as shop:
                if act is use:
                    drop(shop.bill)
                rotate(shop)
                watched = Watched(shop.bill.storage, moment, crash, before=before)
                bill = Engine(watched, shop.keyring, clock=shop.clock)
                watched.armed = True
                with suppress(Crash):
                    act(bill)
                problems = shop.bill.audit().problems
                assert problems == [], (act.__name__, before, moment)
                assert shop.bill.authenticate(pin="000000000001").authenticated
                assert shop.bill.audit().problems == []
                act(shop.bill)
                rekey(shop.bill)
                assert shop.bill.audit().problems == [], (act.__name__, before, moment)
                if act in (rekey, use):
                    assert [version for version, _ in credentials(shop)] == [2]
                if watched.armed:
                    break  # it has fewer writes than that
        else:
            pytest.fail("it never came to its end")
        assert moment > 3, act


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[3])
import cardbill
from cardbill import Engine, Keyring
from tests import test_rekeying as tests
storage = cardbill.open_storage(sys.argv[1])
kill = lambda: os.kill(os.getpid(), signal.SIGKILL)
watched = tests.Watched(storage, int(sys.argv[2]), kill)
bill = Engine(watched, Keyring.from_env())
watched.armed = True
tests.rekey(bill)
tests.publish(bill)
tests.suspend(bill)
"""


def test_a_killed_process_leaves_books_that_are_sound(tmp_path: Path):
    with open_shop("sqlite", tmp_path, quantity=2) as shop:
        pins = [shop.pin(serial) for serial in (1, 2)]
        killed = []
        for moment in (1, 2, 3, 4, 6, 9, 13, 16, 40):
            rotate(shop, sealing=False)
            done = subprocess.run(
                [
                    sys.executable,
                    "-c",
                    KILLED,
                    shop.url,
                    str(moment),
                    str(Path(__file__).parents[1]),
                ],
                env={**os.environ, "CARDBILL_KEYS": shop.keyring.dumps()},
                check=False,
                capture_output=True,
                text=True,
                timeout=60,
            )
            assert done.returncode in (0, -signal.SIGKILL), done.stderr
            killed.append(done.returncode != 0)
            assert shop.bill.audit().problems == [], moment
            assert all(shop.bill.authenticate(pin=pin).authenticated for pin in pins)
            shop.bill.batches.rekey(**WHO)
            shop.check_books()
        assert killed[0]
        assert not killed[-1]
