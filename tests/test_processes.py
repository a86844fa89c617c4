"""Processes at once on one store: one call granted, one account opened, nothing lost.

Each test runs a few rounds; `make soak` runs the numbers that are promised.
"""

import os
import random
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from attrs import evolve
from moneyed import USD, Money

import cardbill
from cardbill import Denial, Engine
from cardbill.money import money
from tests.building import START, UK, UK_MINUTE, US, Shop, open_shop
from tests.crew import Crew, Place, gathered

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the crew's gate is a POSIX pipe")

AT_ONCE = 30
FIRST_USERS = 16
AT_FULL_SPEED = 32
AT_LEAST = 3  # calls of each
US_SECOND = 200  # ledger units
HALF_A_MINUTE = 30 * US_SECOND


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


# -- for a while, all at full speed ---------------------------------------------------------------


class Load(NamedTuple):
    """What one process did.

    Attributes:
        settled: The ids of calls whose settling was acknowledged.
        denied: How many calls were denied.
        micros: How long each step took, authorizing and settling.
        again: How many decisions were taken again.
    """

    settled: list[str]
    denied: int
    micros: list[int]
    again: int


@contextmanager
def decisions_counted(storage: Any) -> Iterator[Counter[str]]:
    """Count steps, and the decisions that they took."""
    counted: Counter[str] = Counter()
    transact = storage.transact

    def counting(card: str, decide: Callable[[Any], Any], **given: Any) -> Any:
        def noted(view: Any) -> Any:
            counted["decisions"] += 1
            return decide(view)

        counted["steps"] += 1
        return transact(card, noted, **given)

    storage.transact = counting
    try:
        yield counted
    finally:
        del storage.transact


def call_at_full_speed(bill: Engine, pins: list[str], seconds: float, name: int) -> Load:
    """Make half a minute's calls, one after the other, for so long: some on a slow machine too."""
    chance, settled, denied, micros = random.Random(name), list[str](), 0, list[int]()
    with decisions_counted(bill.storage) as counted:
        bill = Engine(bill.storage, bill._keyring, clock=bill._clock, throttle=None)
        end = time.monotonic() + seconds
        for number in count():
            if number >= AT_LEAST and time.monotonic() > end:
                break
            caller = bill.authenticate(pin=chance.choice(pins))
            begun = time.perf_counter_ns()
            grant = bill.authorize(caller, to=US, call_id=f"{name}-{number}")
            granted = time.perf_counter_ns()
            micros.append((granted - begun) // 1000)
            if not grant.granted:
                denied += 1
                continue
            bill.settle(grant.handle, talk_ms=30_000)
            micros.append((time.perf_counter_ns() - granted) // 1000)
            settled.append(grant.call_id)
    return Load(settled, denied, micros, counted["decisions"] - counted["steps"])


@pytest.mark.parametrize("seconds", [1.5, pytest.param(60, marks=pytest.mark.soak)])
@pytest.mark.parametrize("cards", [1, 1_000])
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_processes_at_full_speed_lose_nothing_and_deny_nobody(
    crew: Crew,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    kind: str,
    cards: int,
    seconds: float,
):
    """All money that calls took stands in the ledger, once; and in the end it runs out exactly."""
    plan = {"calls_at_once": 100, "max_call_seconds": 60}
    face = Money(10_000, USD)
    with open_shop(kind, tmp_path, face=face, quantity=cards, plan=plan) as shop:
        pins = [shop.pin(serial) for serial in range(1, cards + 1)]
        requests = [
            {"pins": pins, "seconds": seconds, "name": name} for name in range(AT_FULL_SPEED)
        ]
        hands = crew.begin(place_of(shop), call_at_full_speed, requests)
        time.sleep(seconds)  # they say nothing meanwhile
        loads: list[Load] = [hand.hear() for hand in hands]
        show(capsys, f"{kind}, {cards} cards, {seconds} s", loads, seconds)
        assert sum(load.denied for load in loads) == 0
        settled = sorted(call_id for load in loads for call_id in load.settled)
        assert len(settled) >= AT_LEAST * AT_FULL_SPEED
        assert sorted(record.call_id for record in shop.bill.records()) == settled
        for serial in range(1, cards + 1):
            card = shop.stored(f"B/{serial}")
            calls = [amount for kind, amount, _ in shop.ledger(card.id) if kind == "call"]
            assert calls == [-HALF_A_MINUTE] * len(calls)
            assert (card.balance, card.held) == (10_000_000_000 + sum(calls), 0)
        shop.check_books()
        the_rest_is_granted_once(crew, shop, pins[0])


def the_rest_is_granted_once(crew: Crew, shop: Shop, pin: str) -> None:
    """Leave money for some calls on a card: so many of all who ask at once are granted."""
    who: Any = {"actor": "ann", "reason": "told so"}
    some, hold = AT_FULL_SPEED // 2, 60 * US_SECOND
    shop.grant("first-use")
    shop.bill.cancel(cardbill.calls.make_handle("B/1", "first-use"))
    rest = money(shop.stored().balance - some * hold, "USD")
    shop.bill.accounts.refund("B/1", rest, key="all-but-some", **who)
    requests = [{"pin": pin, "to": US, "call_id": f"c{n}"} for n in range(AT_FULL_SPEED)]
    answers = crew.rush(Place(shop.url, str(shop.folder / "cards.key")), Engine.authorize, requests)
    assert said(answers) == {"Grant": some, "insufficient_balance": AT_FULL_SPEED - some}
    assert shop.stored().available == 0


def show(capsys: Any, what: str, loads: list[Load], seconds: float) -> None:
    """Print what it was like, past pytest's capture."""
    micros = sorted(each for load in loads for each in load.micros)
    again = sum(load.again for load in loads)
    with capsys.disabled():
        print(
            f"\n{what}: {len(micros) / seconds:,.0f} steps/s, "
            f"p50 {micros[len(micros) // 2] / 1000:.1f} ms, "
            f"p99 {micros[len(micros) * 99 // 100] / 1000:.1f} ms, {again:,} decided again"
        )
