"""kill -9 among steps, again and again: of the writers, and of the server's own processes."""

import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from moneyed import USD, Money

import cardbill
from cardbill import CallRecord, Engine, Grant, Keyring, Outcome
from cardbill.calls import make_handle, parse_handle
from cardbill.errors import StorageUnavailable
from tests import postgres_server
from tests.building import START, US, Shop, open_shop
from tests.crew import Crew, Hand, Place, gathered, speaking
from tests.killing import grown, kill, mother
from tests.test_processes import US_SECOND, place_of

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")

NAMES = ("ann", "bob")
WRITERS = 2
CALLS_PER_CARD = 5  # of a minute each, which is all the card has
PRICE = 30 * US_SECOND
OVER = START + timedelta(seconds=180 + 60 + 300)
"""When the hold of a call of a minute, granted at the start, ends by itself."""
FACE = 1_000_000_000
SOME = 150  # bytes: about ten words of the writers


@pytest.fixture(scope="module")
def crew() -> Iterator[Crew]:
    with gathered() as crew:
        yield crew


def call_until_killed(name: str, url: str, keys: str, pin: str, file: str) -> None:
    """Make one call after the other on a card; say that each was granted, and was settled."""
    said = os.open(file, os.O_WRONLY | os.O_APPEND)
    bill = cardbill.open(url, keyring=Keyring.load(keys), clock=lambda: START, throttle=None)
    for number in range(1_000_000):
        call_id = f"{name}-{number}"
        handle = persisting(partial(granted, bill, pin, call_id))
        os.write(said, f"{call_id} granted\n".encode())
        persisting(partial(bill.settle, handle, talk_ms=30_000))
        os.write(said, f"{call_id} settled\n".encode())


def granted(bill: Engine, pin: str, call_id: str) -> str:
    grant = bill.authorize(pin=pin, to=US, call_id=call_id)
    assert isinstance(grant, Grant), grant
    return grant.handle


def persisting(work: Callable[[], Any]) -> Any:
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
            handle = make_handle("B/1", call_id)
            if done == "settled":
                assert granted(self.bill, self.pin, call_id) == handle
            record = self.bill.settle(handle, talk_ms=30_000)
            assert record.outcome is Outcome.SETTLED
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
            for turn in range(kills // len(NAMES)):
                names = [f"{name}.{turn}" for name in NAMES]
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
        names = list(NAMES)
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


# -- settling, by processes of their own --------------------------------------------------------


def settle_each(bill: Engine, handles: list[str]) -> Iterator[tuple[str, int, bool]]:
    """Settle one call after the other, and acknowledge each."""
    for handle in handles:
        record = bill.settle(handle, talk_ms=talked(handle), carrier="acme")
        yield record.call_id, record.price_units, record.replayed


def talked(handle: str) -> int:
    """Return how long that call lasted, in milliseconds: any time up to its limit; some none."""
    _, call_id = parse_handle(handle)
    return int(call_id) * 7 % 61 * 1000


@pytest.mark.parametrize(
    ("kind", "rounds", "calls"),
    [
        ("sqlite", 2, 150),
        ("postgres", 10, 30),
        pytest.param("sqlite", 50, 500, marks=pytest.mark.soak),
        pytest.param("postgres", 50, 300, marks=pytest.mark.soak),
    ],
)
def test_what_was_settled_before_kill_9_is_settled_once(
    crew: Crew, tmp_path: Path, kind: str, rounds: int, calls: int
):
    """Two settle the same calls, each in its order, and are killed at moments of their own."""
    chance = random.Random(9)
    died_early = 0
    for turn in range(rounds):
        folder = tmp_path / str(turn)
        folder.mkdir()
        with granted_calls(kind, folder, calls) as (shop, handles):
            place = place_of(shop)
        # Nobody else has the store open: what the dead leave is repaired by who opens it next.
        acknowledged = settle_and_die(crew, place, handles, chance)
        check_the_dead(shop, handles, acknowledged)
        died_early += len(acknowledged) < calls - WRITERS
    assert died_early > 0


@contextmanager
def granted_calls(kind: str, folder: Path, calls: int) -> Iterator[tuple[Shop, list[str]]]:
    """Calls in progress that hold all there is on their cards."""
    plan = {"calls_at_once": 100, "max_call_seconds": 60}
    face = Money("0.06", USD)
    cards = calls // CALLS_PER_CARD
    with open_shop(kind, folder, face=face, quantity=cards, plan=plan) as shop:
        handles = [
            shop.grant(str(number), to=US, serial=1 + number % cards).handle
            for number in range(calls)
        ]
        assert shop.denied("none-left", to=US) == "insufficient_balance"
        yield shop, handles


def settle_and_die(
    crew: Crew, place: Place, handles: list[str], chance: random.Random
) -> dict[str, int]:
    """Return the price of every call whose settling was acknowledged before the end."""
    number = len(handles)
    orders = [{"handles": chance.sample(handles, number)} for _ in range(WRITERS)]
    hands = crew.begin(place, settle_each, orders)
    heard: list[tuple[str, int, bool]] = []
    enough = chance.randrange(number * 6 // 10)
    while len(heard) < enough:
        heard += [hand.hear() for hand in speaking(hands)]
    for hand in hands:
        linger(chance.random() / 500)  # the next step is anywhere by then
        hand.kill()
    for hand in hands:
        heard += all_it_said(hand)
    by_call = Counter(call_id for call_id, _, replayed in heard if not replayed)
    assert set(by_call.values()) <= {1}, "settled twice"
    prices = {call_id: price for call_id, price, _ in heard}
    assert set(prices.items()) == {(call_id, price) for call_id, price, _ in heard}
    return prices


def linger(seconds: float) -> None:
    """Pass a time shorter than sleeping can."""
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass


def all_it_said(hand: Hand) -> Iterator[Any]:
    """What a process said before it died and nobody has heard yet."""
    try:
        while True:
            answer = hand.hear()
            if not hand.busy:  # it had done everything
                return
            yield answer
    except EOFError:
        return


def check_the_dead(shop: Shop, handles: list[str], acknowledged: dict[str, int]) -> None:
    """Check what is in the store, and go on with it."""
    with cardbill.open(shop.url, keyring=shop.keyring, clock=shop.clock) as bill:
        shop = evolve(shop, bill=bill)
        shop.check_books()
        settled = {record.call_id: record for record in bill.records()}
        for call_id, price in acknowledged.items():
            assert settled[call_id].price_units == price
        assert {record.outcome for record in settled.values()} <= {Outcome.SETTLED}
        open_calls = {
            serial: set(shop.stored(f"B/{serial}").holds)
            for serial in range(1, 1 + len(handles) // CALLS_PER_CARD)
        }
        still_open = set[str]().union(*open_calls.values())
        assert still_open.isdisjoint(settled)
        assert len(still_open) + len(settled) == len(handles)
        assert posted(shop) == {call: r.price_units for call, r in settled.items() if r.price_units}
        unheard = len(settled) - len(acknowledged)
        assert 0 <= unheard <= WRITERS
        thirds = [[h for h in handles if serial_of(h) % 3 == third] for third in range(3)]
        settle_again(shop, thirds[0], settled, at=START)
        for serial in {serial_of(handle) for handle in thirds[1]}:
            the_next_call_finds_the_money(shop, serial)
        free_the_rest(shop, {serial_of(handle) for handle in thirds[2]})
        settle_again(shop, handles, settled, at=OVER)
        settle_again(shop, handles, settled, at=OVER)
        shop.check_books()
        due = {parse_handle(handle)[1]: talked(handle) // 1000 * US_SECOND for handle in handles}
        assert posted(shop) == {call_id: price for call_id, price in due.items() if price}
        assert all(shop.stored(f"B/{serial}").held == 0 for serial in open_calls)


def serial_of(handle: str) -> int:
    card_id, _ = parse_handle(handle)
    return int(card_id.partition("/")[2])


def settle_again(
    shop: Shop, handles: list[str], settled: dict[str, CallRecord], *, at: datetime
) -> None:
    """Repeat the very same settles: those that were done answer as before."""
    for handle in handles:
        record = shop.bill.settle(handle, talk_ms=talked(handle), carrier="acme", at=at)
        assert record.replayed == (record.call_id in settled)
        assert record == settled.setdefault(record.call_id, record)


def the_next_call_finds_the_money(shop: Shop, serial: int) -> None:
    """Once the holds of the dead are over their time, nobody needs to sweep."""
    before = shop.stored(f"B/{serial}")
    assert before.available == before.balance - len(before.holds) * 60 * US_SECOND
    call = shop.grant(f"next-{serial}", to=US, serial=serial, at=OVER)
    assert call.max_seconds == min(60, before.balance // US_SECOND)
    shop.bill.cancel(call.handle, at=OVER)
    after = shop.stored(f"B/{serial}")
    assert (after.balance, after.available) == (before.balance, before.balance)


def free_the_rest(shop: Shop, serials: set[int]) -> None:
    before = {serial: shop.stored(f"B/{serial}") for serial in serials}
    swept = shop.bill.sweep(at=OVER)
    assert swept.failures == ()
    assert swept.calls_expired == sum(len(card.holds) for card in before.values())
    for serial, card in before.items():
        after = shop.stored(f"B/{serial}")
        assert (after.balance, after.available) == (card.balance, card.balance)


def posted(shop: Shop) -> dict[str, int]:
    """What each call was charged, by its id: by one entry, or it is an error."""
    charged: dict[str, int] = {}
    for row in shop.bill.storage.find_cards("B", limit=1_000):
        for kind, amount, reference in shop.ledger(row.id):
            if kind == "call":
                assert reference not in charged
                charged[reference] = -amount
    return charged
