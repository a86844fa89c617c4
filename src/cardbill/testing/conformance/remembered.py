"""Steps on what was seen before: an old view may save a look, and decides nothing by itself."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import chain

import pytest

from cardbill.storage.contract import RecordRow, Step, Storage, View
from cardbill.testing.conformance.rows import (
    CARD,
    SECOND,
    add,
    card_row,
    change,
    deposit,
    entry_row,
    kept,
    new_card,
    record_row,
    refuses,
    throw,
    together,
)


def spend(view: View) -> Step[bool]:
    """Take 600 units off the card, unless there are fewer; say whether that was done."""
    left = view.card.balance - 600
    if left < 0:
        return Step(False)
    return Step(True, view.card._replace(version=view.card.version + 1, balance=left))


def once(view: View) -> Step[str]:
    """Do what leaves the record ``call:1``, unless it is there."""
    if view.record is not None:
        return Step("replayed")
    return change(record_row(), balance=1)(view)


def _renewed(view: View) -> Step[None]:
    """Write the card as it was seen, as its next version."""
    return Step(None, view.card._replace(version=view.card.version + 1))


class Remembered:
    """What `transact` promises whatever it is told was seen."""

    def test_a_step_may_be_decided_on_what_was_seen(self, store: Storage, other: Storage) -> None:
        """A view of a moment ago serves as well as a new one: with or without rows, or a key."""
        add(store, new_card())
        by_token = store.resolve("pin", [b"SUMMER/1"])
        assert store.transact(CARD, deposit, key="count", seen=by_token) == 1_001
        assert store.transact(CARD, deposit, seen=store.view(CARD)) == 1_002
        assert store.transact(CARD, change(held=7), seen=store.view(CARD, "count")) == "done"
        assert store.transact(CARD, change(held=8), key="x", seen=store.view(CARD)) == "done"
        card, entries, records = kept(other)
        assert (card.version, card.balance, card.held) == (5, 1_002, 8)
        assert [row.balance_after for row in entries] == [1_001, 1_002]
        assert [record.seconds for record in records] == [3]

    def test_an_old_view_loses_no_step(self, store: Storage, other: Storage) -> None:
        """However long ago it was seen, a step comes after all that were done since."""
        add(store, new_card())
        seen = other.view(CARD)
        assert store.transact(CARD, deposit) == 1_001
        assert other.transact(CARD, deposit, seen=seen) == 1_002
        assert other.transact(CARD, deposit, key="count", seen=seen) == 1_003
        card, entries, records = kept(store)
        assert (card.version, card.balance, records[0].seconds) == (4, 1_003, 4)
        assert [row.balance_after for row in entries] == [1_001, 1_002, 1_003]
        seen = other.view(CARD)
        store.transact(CARD, change(state=b"used"))  # which changes no amount
        other.transact(CARD, _renewed, seen=seen)
        assert store.view(CARD).card == card._replace(version=6, state=b"used")

    def test_an_old_view_refuses_nothing(self, store: Storage, other: Storage) -> None:
        """A step that would change nothing is decided on the card as it is now."""
        add(store, new_card(balance=599))
        seen = other.view(CARD)
        assert other.transact(CARD, spend, seen=seen) is False
        store.transact(CARD, deposit)
        assert other.transact(CARD, spend, seen=seen) is True
        assert store.view(CARD).card.balance == 0

    def test_an_old_view_allows_nothing(self, store: Storage, other: Storage) -> None:
        """What the card had when it was seen, and has no more, is not spent again."""
        add(store, new_card())
        seen = other.view(CARD)
        assert store.transact(CARD, spend) is True
        assert other.transact(CARD, spend, seen=seen) is False
        assert store.view(CARD).card.balance == 400

    def test_an_old_view_raises_nothing(self, store: Storage, other: Storage) -> None:
        """An error counts only where the card as it is now is the reason for it."""
        add(store, new_card())
        seen = other.view(CARD)
        store.transact(CARD, change(state=b"used"))

        def decide(view: View) -> Step[str]:
            return throw(ValueError("fresh")) if view.card.state == b"fresh" else Step("fine")

        assert other.transact(CARD, decide, seen=seen) == "fine"
        with pytest.raises(ValueError, match="mine"):
            other.transact(CARD, partial(throw, ValueError("mine")), seen=store.view(CARD))
        before = kept(store)
        refuses(store, change(entry_row(), version=9), seen=store.view(CARD))
        refuses(store, change(entry_row(), balance=-1), seen=store.view(CARD))
        assert kept(store) == before

    def test_a_record_that_was_not_seen_counts(self, store: Storage, other: Storage) -> None:
        """What was done under the key is found, though the view was taken without it."""
        add(store, new_card())
        early = other.view(CARD)
        assert store.transact(CARD, once, key="call:1") == "done"
        done = kept(store)
        views = (early, other.view(CARD), other.view(CARD, "call:2"), other.view(CARD, "call:1"))
        for seen in views:
            assert other.transact(CARD, once, key="call:1", seen=seen) == "replayed"
        assert kept(store) == done

    def test_a_record_of_another_key_does_not_count(self, store: Storage) -> None:
        """The view may hold a record: it is not taken for that of the step's own key."""
        add(store, new_card())
        store.transact(CARD, change(record_row(key="call:2")))
        seen = store.view(CARD, "call:2")

        def decide(view: View) -> Step[RecordRow | None]:
            return Step(view.record, change(balance=1)(view).card)

        assert store.transact(CARD, decide, key="call:1", seen=seen) is None

    def test_a_catalogue_that_has_moved_is_seen(self, store: Storage, other: Storage) -> None:
        """What is committed was decided on the revision of now, not on that of the view."""
        add(store, new_card())
        for expected in (0, 1):
            seen = other.view(CARD)
            store.publish("plan", "basic", b"", expected=expected)

            def decide(view: View) -> Step[int]:
                return Step(view.revision, change(balance=5)(view).card)

            assert other.transact(CARD, decide, seen=seen) == expected + 1
            assert other.transact(CARD, decide, seen=store.view(CARD)) == expected + 1

    def test_a_view_of_another_card_is_not_used(self, store: Storage) -> None:
        """The step is taken on the card that is named, whatever comes with it."""
        add(store, new_card(1), new_card(2))
        assert store.transact(CARD, deposit, seen=store.view(SECOND)) == 1_001
        assert store.view(SECOND).card == card_row(2)

    def test_no_step_is_lost_to_old_views(self, store: Storage, other: Storage) -> None:
        """Of 16 threads each goes on with what it saw last: all steps count, once each."""
        add(store, new_card())

        def work(handle: Storage) -> list[int]:
            answers, seen = [], handle.view(CARD)
            for turn in range(10):
                answers.append(handle.transact(CARD, deposit, key=f"{turn}", seen=seen))
                if turn % 3 == 0:
                    seen = handle.view(CARD, "count")
            return answers

        answers = together(*[partial(work, handle) for handle in (store, other) * 8])
        assert sorted(chain.from_iterable(answers)) == list(range(1_001, 1_161))
        card, entries, records = kept(other)
        assert (card.version, card.balance, records[0].seconds) == (161, 1_160, 161)
        assert [row.balance_after for row in entries] == list(range(1_001, 1_161))

    def test_money_for_one_is_spent_once_by_many_who_saw_it(
        self, store: Storage, other: Storage
    ) -> None:
        """Sixteen have seen money for one step: one takes it, the others are refused."""
        cards = [new_card(serial) for serial in range(1, 11)]
        add(store, *cards)

        def work(handle: Storage, card: str, seen: View) -> bool:
            return handle.transact(card, spend, seen=seen)

        for card in (new.card.id for new in cards):
            seen = store.view(card)
            works: list[Callable[[], bool]] = [
                partial(work, handle, card, seen) for handle in (store, other) * 8
            ]
            assert together(*works).count(True) == 1
            assert other.view(card).card.balance == 400
