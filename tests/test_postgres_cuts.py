"""A connection may break before and after every message: each step is taken once, by its key."""

from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import pytest
from attrs import evolve
from moneyed import USD, Money

import cardbill
from cardbill import Engine, Grant
from cardbill.errors import StorageUnavailable
from cardbill.storage.contract import Step, View
from cardbill.testing.conformance.rows import CARD, add, change, entry_row, new_card, record_row
from tests.building import US, open_shop

psycopg = pytest.importorskip("psycopg", reason="the PostgreSQL store needs psycopg")

from cardbill.storage.postgres import PostgresStorage  # noqa: E402  # needs psycopg
from tests.postgres_looks import as_if_citus  # noqa: E402  # as above
from tests.postgres_proxy import Proxy, proxied  # noqa: E402  # as above

T = TypeVar("T")

ROUNDS = [1, pytest.param(200, marks=pytest.mark.soak)]
FEWEST_MESSAGES, MOST_MESSAGES = 8, 200  # of a step: one statement; several, and all again


def everywhere(
    proxy: Proxy, rounds: int, prepare: Callable[[str], T], work: Callable[[T], Any]
) -> Iterator[tuple[T, Any, StorageUnavailable | None]]:
    """Do some work once for each place to cut at, and for each of so many rounds.

    Args:
        proxy: What it goes by.
        rounds: How often at each place.
        prepare: Makes a request, under a new key; never cut.
        work: What is cut.

    Yields:
        The request; what was answered to it; or the error in place of an answer.
    """
    keys, passed, was_cut = count(), list[str](), True
    for number in range(1, MOST_MESSAGES):
        for after in (False, True):
            for _ in range(rounds):
                request = prepare(f"key-{next(keys)}")
                answer = error = None
                proxy.cut(number, after=after)
                try:
                    answer = work(request)
                except StorageUnavailable as caught:
                    error = caught
                passed, was_cut = proxy.passed, proxy.was_cut
                proxy.cut(0, after=False)
                yield request, answer, error
        if not was_cut:
            assert FEWEST_MESSAGES <= len(passed) < number, passed
            return
    raise AssertionError(f"a step of more than {MOST_MESSAGES} messages")


# -- the store ---------------------------------------------------------------------------------


def paid(view: View) -> Step[str]:
    """Add one unit, once for each key: `everywhere` makes each key a call."""
    if view.record is not None:
        return Step("replayed")
    balance = view.card.balance + 1
    entry = entry_row(seq=balance - 1_000, amount=1, balance_after=balance)
    return change(entry, balance=balance)(view)


def paying(key: str) -> Callable[[View], Step[str]]:
    def decide(view: View) -> Step[str]:
        step = paid(view)
        return step if step.card is None else step._replace(records=[record_row(key=key)])

    return decide


@pytest.fixture(params=["plain", "for Citus"])
def stores(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A proxy, a store that goes by it, and one that does not: of tables as Citus has them too."""
    if request.param == "plain":
        address = request.getfixturevalue("postgres")
    else:
        address = request.getfixturevalue("empty_postgres")
        monkeypatch.setattr("cardbill.storage.postgres_schema._HAS_CITUS", "SELECT 1")
        with as_if_citus(address):
            pass
    with (
        closing(PostgresStorage(address)) as direct,
        proxied(address) as proxy,
        closing(PostgresStorage(proxy.address)) as store,
    ):
        assert store._steps._distributed == (request.param != "plain")
        add(direct, new_card())
        yield proxy, store, direct


@pytest.mark.parametrize("rounds", ROUNDS)
@pytest.mark.parametrize("way", ["read", "seen", "overtaken"])
def test_a_step_is_taken_once_wherever_the_connection_breaks(stores: Any, way: str, rounds: int):
    """Decided on what was read or seen; or overtaken, and then within a transaction."""
    proxy, store, direct = stores
    overtake: list[bool] = []

    def prepare(key: str) -> tuple[str, View | None]:
        overtake[:] = [way == "overtaken"]
        return key, store.view(CARD) if way == "seen" else None

    def work(request: tuple[str, View | None]) -> str:
        key, seen = request

        def decide(view: View) -> Step[str]:
            if overtake.pop() if overtake else False:
                direct.transact(CARD, change(state=b"another's"))
            return paying(key)(view)

        return str(store.transact(CARD, decide, key=key, seen=seen))

    done = 0
    for (key, _), answer, error in everywhere(proxy, rounds, prepare, work):
        again = store.transact(CARD, paying(key), key=key)
        done += 1
        if error is None:
            assert (answer, again) == ("done", "replayed")
        elif not error.outcome_unknown:
            assert again == "done"
        assert direct.view(CARD).card.balance == 1_000 + done
    counts = direct.counts()
    assert counts.entries == counts.records == done


def test_an_error_in_place_of_the_answer_to_a_commit_leaves_the_outcome_open(stores: Any):
    """As Citus says it of a node lost at the commit: the card itself tells that it was done."""
    proxy, store, direct = stores
    seen = store.view(CARD)
    for number, command in enumerate(("SELECT", "UPDATE", "SELECT", "UPDATE"), start=1):
        proxy.answer(command, "XX000")
        decide = paying(f"{number}") if command == "SELECT" else change(held=number)
        assert store.transact(CARD, decide, key=f"{number}", seen=seen) == "done"
        assert proxy.spoilt == number
        seen = direct.view(CARD)
    assert (seen.card.version, seen.card.held) == (5, 4)
    assert direct.counts().records == 2


# -- the engine --------------------------------------------------------------------------------

SECONDS, US_SECOND, PAYMENT = 30, 200, 10_000


def caller(bill: Engine, pin: str, key: str) -> tuple[str, Any]:
    return key, bill.authenticate(pin=pin)


def open_call(bill: Engine, pin: str, key: str) -> tuple[str, Any]:
    return key, bill.authorize(pin=pin, to=US, call_id=key)


WORK: dict[str, tuple[Callable[[Engine, str, str], Any], Callable[[Engine, Any], Any], int]] = {
    "authorize": (
        caller,
        lambda bill, request: bill.authorize(request[1], to=US, call_id=request[0]),
        0,
    ),
    "settle": (
        open_call,
        lambda bill, request: bill.settle(request[1].handle, talk_ms=SECONDS * 1000),
        -SECONDS * US_SECOND,
    ),
    "recharge": (
        lambda _, __, key: key,
        lambda bill, key: bill.accounts.recharge("B/1", Money("0.01", USD), key=key),
        PAYMENT,
    ),
}


@pytest.mark.parametrize("rounds", ROUNDS)
@pytest.mark.parametrize("what", WORK)
def test_every_outcome_resolves_by_its_key(tmp_path: Path, what: str, rounds: int):
    prepare, work, amount = WORK[what]
    plan = {"calls_at_once": 1, "max_call_seconds": 60}
    with (
        open_shop("postgres", tmp_path, face=Money(500, USD), plan=plan) as shop,
        proxied(shop.url) as proxy,
        cardbill.open(proxy.address, keyring=shop.keyring, clock=shop.clock, throttle=None) as bill,
    ):
        pin, balance = shop.pin(), shop.stored().balance
        bill.cancel(open_call(bill, pin, "first")[1].handle)  # the first use opens the account
        work(bill, prepare(bill, pin, "warm"))
        balance += amount
        free(shop.bill)
        for request, answer, error in everywhere(
            proxy, rounds, lambda key: prepare(bill, pin, key), lambda asked: work(bill, asked)
        ):
            again = work(bill, request)
            balance += amount
            if error is None:
                assert again.replayed
                assert again == first_given(answer)
            elif not error.outcome_unknown:
                assert not again.replayed
            card = shop.stored()
            assert (card.balance, len(card.holds)) == (balance, what == "authorize")
            free(shop.bill)
        posted = [amount for kind, amount, _ in shop.ledger() if kind != "face"]
        assert set(posted) <= {amount}
        assert 500_000_000 + sum(posted) == balance
        shop.check_books()


def first_given(answer: Any) -> Any:
    """Return it as it is repeated: of a grant without the carriers that were left out."""
    return evolve(answer, refused_routes=()) if isinstance(answer, Grant) else answer


def free(bill: Engine) -> None:
    """Cancel the card's open calls."""
    for call_id in bill.card("B/1").open_calls:
        bill.cancel(cardbill.calls.make_handle("B/1", call_id))
