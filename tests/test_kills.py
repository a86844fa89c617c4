"""kill -9 among steps, again and again: of the writers, and of the server's own processes."""

import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from moneyed import USD, Money

import cardbill
from cardbill import Engine, Grant, Keyring
from cardbill.errors import StorageUnavailable
from tests import postgres_server
from tests.building import START, US, Shop, open_shop
from tests.killing import grown, kill, mother
from tests.test_processes import place_of

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")

PRICE = 30 * 200  # of half a minute, ledger units
WRITERS = ("ann", "bob")
FACE = 1_000_000_000
SOME = 150  # bytes: about ten words of the writers


def call_until_killed(name: str, url: str, keys: str, pin: str, file: str) -> None:
    """Make one call after the other on a card; say that each was granted, and was settled."""
    said = os.open(file, os.O_WRONLY | os.O_APPEND)
    bill = cardbill.open(url, keyring=Keyring.load(keys), clock=lambda: START, throttle=None)
    for number in range(1_000_000):
        call_id = f"{name}-{number}"
        handle = persisting(lambda call_id=call_id: granted(bill, pin, call_id))
        os.write(said, f"{call_id} granted\n".encode())
        persisting(lambda handle=handle: bill.settle(handle, talk_ms=30_000))
        os.write(said, f"{call_id} settled\n".encode())


def granted(bill: Engine, pin: str, call_id: str) -> str:
    grant = bill.authorize(pin=pin, to=US, call_id=call_id)
    assert isinstance(grant, Grant), grant
    return grant.handle


def persisting(work):
    """Ask again, by the same key, for as long as the store is out of reach."""
    end = time.monotonic() + 60
    while True:
        try:
            return work()
        except StorageUnavailable:
            assert time.monotonic() < end


class Ward:
    """One card that writers call on until they are killed, and what they have said of it."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.bill = shop.second(throttle=None)
        self.pin = shop.pin()
        self.said = shop.folder / "said"
        self.said.touch()
        self.settled = 0

    def lines(self) -> list[list[str]]:
        return [line.split() for line in self.said.read_text().splitlines()]

    def close_books(self, names: list[str]) -> None:
        """Ask for all that the dead may have left open, and check that it was done once."""
        last: dict[str, list[str]] = {}
        for call_id, done in self.lines():
            name, _, number = call_id.rpartition("-")
            last[name] = [number, done]
            self.settled += done == "settled"
        self.said.write_text("")
        for name in names:
            number, done = last.get(name, ["-1", "settled"])
            call_id = f"{name}-{int(number) + (done == 'settled')}"
            handle = cardbill.calls.make_handle("B/1", call_id)
            if done == "settled":
                assert granted(self.bill, self.pin, call_id) == handle
            record = self.bill.settle(handle, talk_ms=30_000)
            assert record.outcome is cardbill.Outcome.SETTLED
            assert record.total_units == PRICE
            assert self.bill.settle(handle, talk_ms=30_000) == record
            self.settled += 1
        card = self.shop.stored()
        assert (card.balance, card.held) == (FACE - self.settled * PRICE, 0)
        assert self.shop.bill.storage.counts().records == self.settled


@contextmanager
def ward(kind: str, folder: Path) -> Iterator[Ward]:
    plan = {"calls_at_once": 100, "max_call_seconds": 60}
    with open_shop(kind, folder, face=Money(1_000, USD), quantity=1, plan=plan) as shop:
        found = Ward(shop)
        yield found
        assert found.settled > 0
        calls = [amount for kind, amount, _ in shop.ledger() if kind == "call"]
        assert calls == [-PRICE] * found.settled
        shop.check_books()


@pytest.mark.parametrize("kills", [50, pytest.param(2_000, marks=pytest.mark.soak)])
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_every_call_of_writers_that_are_killed_is_settled_once(
    kind: str, tmp_path: Path, kills: int
):
    chance = random.Random(9)
    with ward(kind, tmp_path) as one:
        place = place_of(one.shop)
        died_midway = 0
        with mother(call_until_killed, *place, one.pin, one.said) as writing:
            for turn in range(kills // len(WRITERS)):
                names = [f"{name}.{turn}" for name in WRITERS]
                writers = writing.bear(*names)
                grown(one.said)
                for writer in writers:
                    time.sleep(chance.random() / 100)
                    kill(writer)
                died_midway += one.lines()[-1][1] == "granted"
                one.close_books(names)
        assert died_midway > 0


@pytest.mark.parametrize("rounds", [3, pytest.param(50, marks=pytest.mark.soak)])
def test_what_was_acknowledged_survives_kill_9_of_the_servers_processes(
    tmp_path: Path, rounds: int
):
    """Then PostgreSQL ends all connections and recovers; writers go on by their keys."""
    chance = random.Random(9)
    with ward("postgres", tmp_path) as one:
        databases = postgres_server.started()
        if databases is None or databases.own is None:
            pytest.skip("the server is another's: its processes are not ours to kill")
        place = place_of(one.shop)
        names = list(WRITERS)
        with mother(call_until_killed, *place, one.pin, one.said) as writing:
            writers = writing.bear(*names)
            for _ in range(rounds):
                grown(one.said, SOME)
                time.sleep(chance.random() / 100)
                os.kill(databases.backend(one.shop.url), 9)
            grown(one.said, SOME)
            for writer in writers:
                kill(writer)
        one.close_books(names)
