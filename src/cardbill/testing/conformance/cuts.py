"""The line to the server is cut, at every piece that passes through it."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from typing import TypeVar

import pytest

from cardbill.errors import StorageUnavailable
from cardbill.storage.contract import AuditRow, CredentialRow, Storage, SuspenseRow, Tally
from cardbill.testing.conformance.declaring import Wire
from cardbill.testing.conformance.proxy import HOST, Proxy
from cardbill.testing.conformance.rows import BATCH, CARD, add, deposit, kept, new_card, together

T = TypeVar("T")

_MOST_PIECES = 200
_CUTS = 15
_TRIES = 20


class Cuts:
    """What a store that talks to a server promises when it is cut off."""

    rounds: int

    @pytest.fixture
    def proxy(self, wire: Wire | None) -> Iterator[Proxy]:
        """The line to the server."""
        if wire is None:
            pytest.skip("this class gives no wire to a server that could be cut")
        with Proxy(wire.server) as proxy:
            yield proxy

    @pytest.fixture
    def far(self, wire: Wire, proxy: Proxy) -> Iterator[Storage]:
        """The store, opened at the end of that line."""
        with closing(wire.open(HOST, proxy.port)) as far:
            yield far

    def test_a_step_cut_off_anywhere_is_taken_once_or_told(
        self, store: Storage, proxy: Proxy, far: Storage
    ) -> None:
        """Answered, it was taken once; refused, it was not; only an unknown outcome may be both."""
        add(store, new_card())
        for lost in ("request", "answer"):
            for told, taken in _cut_everywhere(
                proxy,
                lost,
                ready=lambda: far.view(CARD),
                work=lambda _: far.transact(CARD, deposit, key="count"),
                done=lambda _: store.view(CARD).card.balance,
            ):
                assert taken in told, f"with the {lost} lost"
        card, entries, _ = kept(store)
        assert [row.balance_after for row in entries] == list(range(1_001, card.balance + 1))

    def test_a_write_cut_off_anywhere_is_done_once_or_told(
        self, store: Storage, proxy: Proxy, far: Storage
    ) -> None:
        """The same of everything else that writes: no answer says what is not so."""
        add(store, new_card())
        for name, work, done in _writes(far, store):
            for lost in ("request", "answer"):
                for told, written in _cut_everywhere(proxy, lost, far.count_cards, work, done):
                    assert written in told, f"{name} with the {lost} lost"

    def test_work_goes_on_while_connections_are_cut(
        self, store: Storage, proxy: Proxy, far: Storage
    ) -> None:
        """Nothing that was answered is lost, nothing is done twice, and then all is well again."""
        add(store, new_card())
        chance = random.Random()
        finished = threading.Event()
        unknown: list[bool] = []

        def work() -> int:
            done = 0
            while not finished.is_set():
                try:
                    far.transact(CARD, deposit)
                    done += 1
                except StorageUnavailable as error:
                    unknown.append(error.outcome_unknown)
            return done

        def disturb() -> int:
            try:
                for _ in range(_CUTS * self.rounds):
                    time.sleep(0.01 + chance.random() * 0.03)
                    proxy.cut()
            finally:
                finished.set()
            return 0

        done = sum(together(disturb, *[work] * 4))
        card = store.view(CARD).card
        assert done <= card.balance - 1_000 <= done + unknown.count(True)
        entries = store.entries(CARD, limit=card.version)
        assert [row.balance_after for row in entries] == list(range(1_001, card.balance + 1))
        _reached(partial(far.view, CARD))
        assert far.transact(CARD, deposit) == card.balance + 1

    def test_a_server_out_of_reach_is_told(
        self, store: Storage, proxy: Proxy, far: Storage
    ) -> None:
        """StorageUnavailable, never a driver's error or what is remembered; then all is well."""
        add(store, new_card())
        assert far.transact(CARD, deposit) == 1_001
        reads: tuple[Callable[[], object], ...] = (
            partial(far.view, CARD),
            partial(far.resolve, "pin", [b"SUMMER/1"]),
            partial(far.find_cards, BATCH),
            partial(far.entries, CARD),
            partial(far.due, 9),
            far.catalogue,
            far.audit_log,
        )
        writes: tuple[Callable[[], object], ...] = (
            lambda: far.transact(CARD, deposit),
            lambda: far.add_cards("job", [new_card(2)]),
        )
        for call in reads:
            call()
        proxy.refuse(refusing=True)
        for call in (*reads, *writes):
            with pytest.raises(StorageUnavailable):
                call()
        proxy.refuse(refusing=False)
        _reached(partial(far.view, CARD))
        assert far.transact(CARD, deposit) == 1_002
        assert store.count_cards() == 1


def _cut_everywhere(
    proxy: Proxy,
    lost: str,
    ready: Callable[[], object],
    work: Callable[[int], object],
    done: Callable[[int], int],
) -> Iterator[tuple[set[int], int]]:
    """Do some work with each piece of it lost in turn, until none of that number passes.

    The work is given a number of its own each time.

    Yields:
        How often it may have been done, by what was told; and how often it was.
    """
    for number in range(1, _MOST_PIECES):
        mark = number if lost == "request" else number + _MOST_PIECES
        _reached(ready)
        before = done(mark)
        proxy.lose(lost, number)
        try:
            assert work(mark), "an answer that is not so: nobody else was at work"
            told = {1}
        except StorageUnavailable as error:
            told = {0, 1} if error.outcome_unknown else {0}
        cut = proxy.settle()
        yield told, done(mark) - before
        if not cut:
            assert number > 1, "nothing passed through the proxy: does wire.open use its port?"
            assert told == {1}
            return
    pytest.fail("pieces without end")


def _reached(call: Callable[[], T]) -> T:
    """Call until the server is reached again."""
    for _ in range(_TRIES):
        try:
            return call()
        except StorageUnavailable:
            time.sleep(0.01)
    return call()


def _writes(
    far: Storage, store: Storage
) -> Iterator[tuple[str, Callable[[int], object], Callable[[int], int]]]:
    """Each of the other writes: its name, what does it, and how often it was done."""

    def count(state: bytes | None, _: bytes | None) -> Tally[int]:
        counted = int(state or b"0") + 1
        return Tally(counted, b"%d" % counted, 9)

    yield (
        "publish",
        lambda n: far.publish("plan", f"{n}", b"", expected=0),
        lambda n: [head.name for head in store.catalogue()[1]].count(f"{n}"),
    )
    yield (
        "suspend",
        lambda n: far.suspend(SuspenseRow(f"{n}", 1, "", "", b"")),
        lambda n: [row.key for row in store.suspended()].count(f"{n}"),
    )
    yield (
        "append_audit",
        lambda n: far.append_audit(AuditRow(n, "", "", "", b""), after=len(store.audit_log())),
        lambda _: len(store.audit_log()),
    )
    yield (
        "bind",
        lambda n: far.bind(CredentialRow("ani", b"%d" % n, CARD, None), expected=None),
        lambda n: [row.token for row in store.credentials([CARD])].count(b"%d" % n),
    )
    yield (
        "add_cards",
        lambda n: far.add_cards(f"{n}", [new_card(n, "WINTER")]),
        lambda _: store.count_cards(),
    )
    yield (
        "take_attempts",
        lambda _: far.take_attempts(3, "a", count),
        lambda _: sum(int(row.state) for row in store.attempts()),
    )
