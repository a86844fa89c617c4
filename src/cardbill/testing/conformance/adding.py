"""Cards added in bulk."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from functools import partial
from itertools import chain

import pytest

from cardbill.errors import ConstraintViolated, DuplicateCredential
from cardbill.storage.contract import NewCard, Storage
from cardbill.testing.conformance.rows import (
    BATCH,
    CARD,
    SECOND,
    add,
    card_row,
    deposit,
    new_card,
    opened,
    throw,
    together,
)

MANY = 2_500
"""Cards of a job that no store takes in one piece."""

PATIENCE = 5
"""Seconds after which a step that waits for a job is held up by it."""


class Adding:
    """What `add_cards` promises."""

    def test_cards_are_added_whole(self, store: Storage, other: Storage) -> None:
        """A card that was added is found by id, token, batch and when it is due."""
        cards = [new_card(serial, due_at=serial) for serial in range(1, MANY + 1)]
        add(store, *cards)
        assert other.count_cards() == other.count_cards(batch=BATCH) == MANY
        assert other.find_cards(BATCH, limit=MANY + 1) == [new.card for new in cards]
        due = [(new.card.due_at, new.card.id) for new in cards]
        assert other.due(MANY, limit=MANY + 1) == due
        assert (len(other.find_cards(BATCH)), other.due(MANY)) == (500, due[:500])
        found = other.credentials([new.card.id for new in cards[:1_000]], "pin")
        assert sorted(found) == sorted(new.credential for new in cards[:1_000])
        assert opened(other, "pin", [cards[-1].credential.token]) == cards[-1].card.id

    def test_cards_are_added_all_or_none(self, store: Storage, other: Storage) -> None:
        """When the iterable raises, nothing was added and the caller gets the error as it is."""
        for error in (ValueError("mine"), OSError("mine"), KeyboardInterrupt("mine")):
            with pytest.raises(type(error)) as caught:
                store.add_cards("job", chain(map(new_card, range(1, MANY)), map(throw, [error])))
            assert caught.value is error
            assert (other.count_cards(), other.find_cards(BATCH)) == (0, [])
            assert opened(other, "pin", [b"SUMMER/1"]) is None
            assert other.credentials([CARD], "pin") == []
        assert store.add_cards("job", map(new_card, range(1, MANY + 1))) == MANY

    def test_cards_become_visible_at_once(self, store: Storage, other: Storage) -> None:
        """Others see none of a job's cards, or all of them."""
        finished = threading.Event()

        def offer(serial: int) -> NewCard:
            if serial in {2, 1_002, MANY}:
                time.sleep(0.02)  # for the reader to have a look
            return new_card(serial, due_at=serial)

        def write() -> set[int]:
            try:
                return {store.add_cards("job", map(offer, range(1, MANY + 1)))}
            finally:
                finished.set()

        def read() -> set[int]:
            seen = set()
            while not finished.is_set():
                first = opened(other, "pin", [b"SUMMER/1"])
                seen |= {other.count_cards(), len(other.find_cards(BATCH, limit=MANY))}
                seen |= {other.counts().cards, len(other.due(MANY, limit=MANY))}
                assert first is None or max(seen) == MANY
            return seen

        added, seen = together(write, read)
        assert added == {MANY}
        assert seen <= {0, MANY}

    def test_a_job_is_done_once(self, store: Storage, other: Storage) -> None:
        """A job done before answers as it did then and takes nothing from the iterable."""
        for handle, job, cards in (
            (store, "none", []),
            (store, "two", [new_card(1), new_card(2)]),
            (other, "one", [new_card(3)]),
        ):
            assert handle.add_cards(job, cards) == len(cards)
            for again in (store, other):
                trap = map(throw, [AssertionError("the job was done: nothing may be taken")])
                assert again.add_cards(job, trap) == len(cards)
        assert other.count_cards() == 3

    def test_a_credential_in_use_is_refused(self, store: Storage) -> None:
        """Without redraw, one in use in the store or earlier in the job fails the whole job."""
        add(store, new_card())
        taken = new_card(3, token=b"SUMMER/1")
        for again in (taken, new_card(3, token=b"SUMMER/2")):
            with pytest.raises(DuplicateCredential):
                store.add_cards("job", [new_card(2), again])
            assert store.count_cards() == 1
        free = taken._replace(credential=taken.credential._replace(kind="ani"))
        assert store.add_cards("job", [new_card(2), free]) == 2
        assert opened(store, "pin", [b"SUMMER/1"]) == CARD
        assert opened(store, "ani", [b"SUMMER/1"]) == free.card.id

    def test_a_credential_in_use_is_drawn_again(self, store: Storage, other: Storage) -> None:
        """The redraw is asked for as long as it takes, and may read the store meanwhile."""
        add(store, new_card(1), new_card(2))
        tokens = iter([b"SUMMER/2", b"SUMMER/3", b"SUMMER/1", b"free", b"SUMMER/3", b"last"])
        asked: list[str] = []

        def redraw(new: NewCard) -> NewCard:
            assert (store.count_cards(), store.catalogue()) == (2, (0, []))
            asked.append(new.card.id)
            return new_card(new.card.serial, token=next(tokens))

        cards = [new_card(3), new_card(4, token=b"SUMMER/1"), new_card(5, token=b"free")]
        assert store.add_cards("job", cards, redraw=redraw) == 3
        assert asked == ["SUMMER/4"] * 4 + ["SUMMER/5"] * 2
        found = [opened(other, "pin", [token]) for token in (b"SUMMER/3", b"free", b"last")]
        assert found == [new.card.id for new in cards]
        assert [row.token for row in other.credentials(["SUMMER/4"], "pin")] == [b"free"]

    def test_steps_go_on_while_cards_are_drawn(self, store: Storage, other: Storage) -> None:
        """A job that takes its time over its cards holds up no step."""
        add(store, new_card())
        begun, stepped = threading.Event(), threading.Event()

        def offer() -> Iterator[NewCard]:
            for serial in range(2, MANY + 1):
                if serial == MANY - 1:
                    begun.set()
                    assert stepped.wait(PATIENCE), "a step waits for a job that draws its cards"
                yield new_card(serial)

        def step() -> int:
            begun.wait(PATIENCE)
            balance = other.transact(CARD, deposit)
            stepped.set()
            return balance

        assert together(lambda: store.add_cards("job", offer()), step) == [MANY - 1, 1_001]

    def test_asking_in_a_job_lets_nobody_in(self, store: Storage, other: Storage) -> None:
        """A redraw that reads the store gives up nothing that the job needs: no step is lost."""
        add(store, new_card())
        begun, stepped = threading.Event(), threading.Event()

        def redraw(new: NewCard) -> NewCard:
            assert store.count_cards() == 1
            begun.set()
            stepped.wait(0.1)  # who waits for the job waits longer
            return new_card(new.card.serial)

        def step() -> int:
            begun.wait(PATIENCE)
            balance = other.transact(CARD, deposit)
            stepped.set()
            return balance

        def work() -> int:
            return store.add_cards("job", [new_card(2, token=b"SUMMER/1")], redraw=redraw)

        assert together(work, step) == [1, 1_001]
        assert (store.count_cards(), other.view(CARD).card.balance) == (2, 1_001)
        assert opened(other, "pin", [SECOND.encode()]) == SECOND

    def test_a_card_may_be_left_out(self, store: Storage, other: Storage) -> None:
        """A redraw that answers None leaves that card out, and the job goes on."""
        add(store, new_card(1))
        cards = [new_card(2), new_card(3, token=b"SUMMER/1"), new_card(4, token=b"SUMMER/2")]
        assert store.add_cards("job", [*cards, new_card(5)], redraw=lambda _: None) == 2
        assert [card.serial for card in other.find_cards(BATCH)] == [1, 2, 5]
        assert other.credentials(["SUMMER/3", "SUMMER/4"], "pin") == []
        assert opened(other, "pin", [b"SUMMER/2"]) == SECOND
        assert store.add_cards("job", []) == 2

    def test_a_job_is_approved_before_it_is_seen(self, store: Storage, other: Storage) -> None:
        """With all cards stored and none visible, `approve` hears how many; once, also of 0."""
        add(store, new_card(1))
        heard: list[tuple[int, int]] = []

        def approve(count: int) -> None:
            heard.append((count, other.count_cards()))

        cards = [new_card(2), new_card(3, token=b"SUMMER/1"), new_card(4)]
        assert store.add_cards("job", cards, redraw=lambda _: None, approve=approve) == 2
        assert store.add_cards("job", [], approve=partial(throw, AssertionError("again"))) == 2
        assert store.add_cards("none", [], approve=approve) == 0
        assert heard == [(2, 1), (0, 3)]

    def test_a_job_that_is_not_approved_adds_nothing(self, store: Storage, other: Storage) -> None:
        """When `approve` raises, the caller gets the error as it is; the job may come again."""
        for error in (ValueError("mine"), OSError("mine"), KeyboardInterrupt("mine")):
            with pytest.raises(type(error)) as caught:
                store.add_cards("job", [new_card()], approve=partial(throw, error))
            assert caught.value is error
            assert other.count_cards() == 0
            assert opened(other, "pin", [b"SUMMER/1"]) is None
        assert store.add_cards("job", [new_card()]) == 1

    def test_a_card_that_exists_is_refused(self, store: Storage) -> None:
        """The same id, or the same batch and serial, fails the whole job; it may be mended."""
        add(store, new_card())
        for again in (
            new_card(1, token=b"both, in the store"),
            new_card(3, token=b"id, in the store", id=CARD),
            new_card(1, token=b"serial, in the store", id="another"),
            new_card(2, token=b"both, in the job"),
            new_card(3, token=b"id, in the job", id=SECOND),
            new_card(2, token=b"serial, in the job", id="another"),
        ):
            with pytest.raises(ConstraintViolated):
                store.add_cards("job", [new_card(2), again])
            assert store.find_cards(BATCH) == [card_row()]
            assert opened(store, "pin", [b"SUMMER/2", again.credential.token]) is None
        assert store.add_cards("job", [new_card(2)]) == 1
