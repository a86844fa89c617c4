"""Processes at once on one store: one call granted, one account opened, nothing lost.

Each test runs a few rounds; `make soak` runs the numbers that are promised.
"""

import os
import random
import time
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from moneyed import USD, Money

import cardbill
from cardbill import CallRecord, Denial, Engine, Outcome
from cardbill.calls import parse_handle
from tests.building import START, UK, UK_MINUTE, US, Shop, open_shop
from tests.crew import Crew, Hand, Place, gathered, speaking

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the crew's gate is a POSIX pipe")

AT_ONCE = 30
FIRST_USERS = 16
WRITERS = 2
US_SECOND = 200  # ledger units
CALLS_PER_CARD = 5  # of a minute each, which is all the card has
OVER = START + timedelta(seconds=180 + 60 + 300)
"""When the hold of a call of a minute, granted at the start, ends by itself."""


@pytest.fixture(scope="module")
def crew() -> Iterator[Crew]:
    with gathered() as crew:
        yield crew


def rounds(few: int, promised: int, *, on_postgres: int = 3) -> Any:
    return pytest.mark.parametrize(
        ("kind", "rounds"),
        [
            ("sqlite", few),
            ("postgres", on_postgres),
            pytest.param("sqlite", promised, marks=pytest.mark.soak),
            pytest.param("postgres", promised // 4, marks=pytest.mark.soak),
        ],
    )


def place_of(shop: Shop) -> Place:
    """Where others find this shop; its keys in a file that only its owner can read."""
    keys = shop.folder / "cards.key"
    with os.fdopen(os.open(keys, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(shop.keyring.dumps())
    return Place(shop.url, str(keys))


def said(answers: list[Any]) -> Counter[str]:
    """Count answers by kind, denials by reason."""
    return Counter(
        answer.reason.value if isinstance(answer, cardbill.Denied) else type(answer).__name__
        for answer in answers
    )


# -- one card, one call -------------------------------------------------------------------------


@rounds(12, 1_000)
def test_of_thirty_processes_at_once_the_money_for_one_call_grants_one(
    crew: Crew, tmp_path: Path, kind: str, rounds: int
):
    plan = {"calls_at_once": 100, "max_call_seconds": 60}  # money alone stands in the way
    face = Money("0.06", USD)
    with open_shop(kind, tmp_path, face=face, quantity=rounds, plan=plan) as shop:
        place = place_of(shop)
        winners: Counter[int] = Counter()
        for serial in range(1, rounds + 1):
            pin = shop.pin(serial)
            requests = [
                {"pin": pin, "to": UK, "call_id": f"c{number}"} for number in range(AT_ONCE)
            ]
            answers = crew.rush(place, Engine.authorize, requests)
            assert said(answers) == {"Grant": 1, "insufficient_balance": AT_ONCE - 1}, serial
            (winner,) = [number for number, answer in enumerate(answers) if answer.granted]
            winners[winner] += 1
            card = shop.stored(f"B/{serial}")
            assert list(card.holds) == [f"c{winner}"]
            assert (card.balance, card.held, card.available) == (UK_MINUTE, UK_MINUTE, 0)
            assert shop.ledger(f"B/{serial}") == [("face", UK_MINUTE, "")]
        assert rounds < 10 or len(winners) > 1, (
            "the gate lets one through before the others: no race"
        )
        shop.check_books()


# -- one PIN, one account -----------------------------------------------------------------------


@pytest.mark.parametrize("by", [Engine.authorize, Engine.authenticate])
@rounds(12, 1_000)
def test_sixteen_first_uses_at_once_open_one_account(
    crew: Crew, tmp_path: Path, kind: str, rounds: int, by: Any
):
    """Each would begin its own validity, and the plan changes while they ask."""
    first_use = "authentication" if by is Engine.authenticate else "authorization"
    terms = {"first_use": first_use, "expires_days_after_first_use": 30}
    plan = {"calls_at_once": 100, "max_call_seconds": 60}
    with open_shop(kind, tmp_path, quantity=rounds, batch=terms, plan=plan) as shop:
        place = place_of(shop)
        longest = {1: 60}  # by version of the plan
        for serial in range(1, rounds + 1):
            pin = shop.pin(serial)
            instants = [START + timedelta(days=number) for number in range(FIRST_USERS)]
            requests: list[dict[str, Any]] = [{"pin": pin, "at": at} for at in instants]
            if by is Engine.authorize:
                for number, request in enumerate(requests):
                    request.update(to=UK, call_id=f"c{number}")
            hands = crew.begin(place, by, requests)
            republish(shop, longest)
            answers = [hand.hear() for hand in hands]

            card = shop.stored(f"B/{serial}")
            assert card.plan is not None
            assert card.first_used_at is not None
            assert card.first_used_at in instants
            expires_at = (card.first_used_at + timedelta(days=31)).replace(hour=0)
            assert card.expires_at == expires_at
            (face,) = shop.bill.entries(f"B/{serial}")
            assert (face.kind.value, face.amount_units, face.at) == (
                "face",
                5_000_000,
                card.first_used_at,
            )
            if by is Engine.authorize:
                assert said(answers) == {"Grant": FIRST_USERS}
                assert {grant.max_seconds for grant in answers} == {longest[card.plan[1]]}
            else:
                assert said(answers) == {"Caller": FIRST_USERS}
                assert {caller.expires_at for caller in answers} == {expires_at}
            # Neither a later plan nor a later use changes what the first one fixed.
            republish(shop, longest)
            later = shop.grant("later", serial=serial, at=START + timedelta(days=FIRST_USERS))
            assert later.max_seconds == longest[card.plan[1]]
            after = shop.stored(f"B/{serial}")
            assert (after.plan, after.first_used_at) == (card.plan, card.first_used_at)
            assert [entry.kind.value for entry in shop.bill.entries(f"B/{serial}")] == ["face"]
        shop.check_books()


def republish(shop: Shop, longest: dict[int, int]) -> None:
    """Publish the plan once more, with a longest call of its own."""
    seconds = 61 + len(longest) % 240
    plan = evolve(shop.bill.plans.get("Basic"), max_call_seconds=seconds)
    longest[shop.bill.plans.publish(plan)] = seconds


# -- stopped everywhere -------------------------------------------------------------------------


def ask_until_stopped(bill: Engine, pin: str, number: int) -> Generator[int, None, int]:
    """Ask again and again until the card is blocked; return when the last grant was begun.

    Says first that it has been granted a call. The clock is the machine's, one for all processes.
    """
    last = 0
    for turn in count():
        began = time.monotonic_ns()
        answer = bill.authorize(pin=pin, to=UK, call_id=f"{began}-{number}-{turn}")
        if not answer.granted:
            assert answer.reason is Denial.BLOCKED
            return last
        bill.cancel(answer.handle)
        if not last:
            yield began
        last = began
    raise AssertionError


@rounds(5, 300)
def test_once_a_batch_is_blocked_no_process_is_granted_a_call(
    crew: Crew, tmp_path: Path, kind: str, rounds: int
):
    plan = {"calls_at_once": 100, "max_call_seconds": 60}
    with open_shop(kind, tmp_path, quantity=2, plan=plan) as shop:
        place = place_of(shop)
        requests = [{"pin": shop.pin(1 + number % 2), "number": number} for number in range(4)]
        for turn in range(rounds):
            hands = crew.begin(place, ask_until_stopped, requests)
            for hand in hands:
                assert hand.hear()
            if turn % 2:
                shop.bill.control.freeze("B", 1, 2, actor="ann", reason="stolen")
            else:
                shop.bill.control.block_batch("B", actor="ann", reason="stolen")
            stopped = time.monotonic_ns()
            assert max(hand.hear() for hand in hands) < stopped
            shop.bill.control.thaw("B", 1, 2, actor="ann", reason="found")
            shop.bill.control.unblock_batch("B", actor="ann", reason="found")
        shop.check_books()


# -- kill -9 ------------------------------------------------------------------------------------


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
        shop = Shop(bill, shop.clock, shop.keyring, shop.url, shop.folder)
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
