"""Small builders of rows and steps, and what the tests share: for the suite's own use."""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any, NoReturn, TypeVar

import pytest

from cardbill.errors import ConstraintViolated
from cardbill.storage.contract import (
    CardRow,
    CredentialRow,
    EntryRow,
    NewCard,
    RecordRow,
    Step,
    Storage,
    View,
)

T = TypeVar("T")

BATCH, CARD, SECOND = "SUMMER", "SUMMER/1", "SUMMER/2"
LOWEST, HIGHEST = -(2**63), 2**63 - 1
IN_ORDER = ("A", "B", "a", "a b", "\u00e9", "\uff5a", "\U0001f600")
"""By rising code point, which is neither a dictionary's order nor that of UTF-16."""

_RESTLESS = 3_000
"""After so many calls and returns a thread goes on as any other does."""

SIGNALS: tuple[type[BaseException], ...] = (StopIteration, GeneratorExit)
"""Errors by which Python itself ends generators: no coroutine can raise them to its caller."""


def card_row(serial: int = 1, batch: str = BATCH, **columns: Any) -> CardRow:
    """Return a card that was never used, with a balance of 1,000."""
    row = CardRow(
        id=f"{batch}/{serial}",
        version=1,
        format=1,
        batch=batch,
        serial=serial,
        balance=1_000,
        held=0,
        first_used_at=None,
        expires_at=None,
        blocked=0,
        due_at=None,
        state=b"fresh",
    )
    return row._replace(**columns)


def new_card(serial: int = 1, batch: str = BATCH, *, token: bytes = b"", **columns: Any) -> NewCard:
    """Return a card to add, with a credential of its own: its id, unless one is given."""
    card = card_row(serial, batch, **columns)
    return NewCard(card, CredentialRow("pin", token or card.id.encode(), card.id, b"sealed"))


def entry_row(card: str = CARD, seq: int = 1, **columns: Any) -> EntryRow:
    """Return a ledger entry."""
    row = EntryRow(
        card=card,
        seq=seq,
        at=5,
        kind="charge",
        amount=-1,
        balance_after=999,
        reference="call:1",
        detail=b"",
    )
    return row._replace(**columns)


def record_row(card: str = CARD, key: str = "call:1", **columns: Any) -> RecordRow:
    """Return a record."""
    row = RecordRow(
        card=card,
        key=key,
        format=1,
        batch=BATCH,
        kind="settled",
        recorded_at=5,
        ended_at=4,
        call="1",
        number="442071234567",
        destination="London",
        carrier="acme",
        seconds=60,
        price=2,
        tax=0,
        cost=1,
        detail=b"",
    )
    return row._replace(**columns)


def change(*rows: EntryRow | RecordRow, **columns: Any) -> Callable[[View], Step[str]]:
    """Return a step that writes the card's next version with these columns, and these rows."""
    entries = [row for row in rows if isinstance(row, EntryRow)]
    records = [row for row in rows if isinstance(row, RecordRow)]

    def decide(view: View) -> Step[str]:
        card = view.card._replace(**{"version": view.card.version + 1, **columns})
        return Step("done", card, entries, records)

    return decide


def deposit(view: View) -> Step[int]:
    """Add one unit, an entry, and a record ``count`` that holds the card's new version.

    For a card that was added as version 1 and only ever deposited to.
    """
    time.sleep(0)  # lets another thread in, where nothing keeps it out
    card = view.card._replace(version=view.card.version + 1, balance=view.card.balance + 1)
    entry = entry_row(card.id, card.version - 1, amount=1, balance_after=card.balance)
    return Step(card.balance, card, [entry], [record_row(card.id, "count", seconds=card.version)])


def throw(error: BaseException, _: object = None) -> NoReturn:
    """Raise an error: in a step, or in the midst of an iterable."""
    raise error


def add(store: Storage, *cards: NewCard) -> None:
    """Add cards by a job of their own."""
    assert store.add_cards(f"add {cards[0].card.id}", iter(cards)) == len(cards)


def opened(store: Storage, kind: str, tokens: Sequence[bytes]) -> str | None:
    """Return the id of the card that one of the tokens opens; its view is what `view` shows."""
    found = store.resolve(kind, tokens)
    assert found is None or found == store.view(found.card.id)
    return found and found.card.id


def kept(store: Storage, card: str = CARD) -> tuple[CardRow, list[EntryRow], list[RecordRow]]:
    """Return all that is stored of a card."""
    return store.view(card).card, store.entries(card), store.records(card=card)


def refuses(
    store: Storage,
    decide: Callable[[View], Step[Any]],
    error: type[Exception] = ConstraintViolated,
    seen: View | None = None,
) -> None:
    """Assert that a step on the card is refused and has changed nothing."""
    before = kept(store)
    with pytest.raises(error):
        store.transact(CARD, decide, seen=seen)
    assert kept(store) == before


def paged(fetch: Callable[..., Sequence[T]], mark: Callable[[T], Any], after: Any) -> list[T]:
    """Return all that comes in pages of at most two, beginning above `after`."""
    found: list[T] = []
    while page := fetch(after=after, limit=2):
        assert len(page) <= 2
        found += page
        assert len(found) < 1_000, "pages without end"
        after = mark(page[-1])
    return found


def together(*work: Callable[[], T]) -> list[T]:
    """Run all at the same moment; return the answers, or raise an error."""
    return list(AT_ONCE.get()(*work))


def _in_threads(*work: Callable[[], T]) -> list[T]:
    barrier = threading.Barrier(len(work))
    answers: list[T] = []
    found: list[tuple[T] | BaseException | None] = [None] * len(work)

    def begin(place: int, each: Callable[[], T]) -> None:
        barrier.wait()
        _RESTLESSNESS.left = _RESTLESS
        sys.setprofile(_give_way)
        try:
            found[place] = (each(),)
        except BaseException as error:  # noqa: BLE001  # it is raised where the others are awaited
            found[place] = error
        finally:
            sys.setprofile(None)

    threads = [  # which hold up nobody's end when they wait for ever
        threading.Thread(target=begin, args=each, daemon=True) for each in enumerate(work)
    ]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # at the usual one, a missing lock is hardly ever noticed
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    for each in found:
        if isinstance(each, BaseException):
            raise each
        answers += each or ()
    return answers


class _Restlessness(threading.local):
    """How often a thread of a race may still give way, and by what chance."""

    def __init__(self) -> None:
        self.left = 0
        self.chance = random.Random()


_RESTLESSNESS = _Restlessness()


def _give_way(_frame: object, _event: str, _what: object) -> None:
    """Let other threads in now and then: a profiler, called where functions begin and end.

    A thread that is told to let others in is not obeyed for some 50 microseconds, in which a
    store in memory is done with all it does. This meets it half done.
    """
    mine = _RESTLESSNESS
    if mine.left:
        mine.left -= 1
        if mine.chance.random() < 0.1:
            time.sleep(0)


AT_ONCE: ContextVar[Callable[..., Sequence[Any]]] = ContextVar("AT_ONCE", default=_in_threads)
"""How work is run at the same moment: in threads, or by a loop's tasks."""
