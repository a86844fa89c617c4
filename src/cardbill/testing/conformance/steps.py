"""One atomic step on one card."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from cardbill.errors import CardTooLarge, ConstraintViolated, UnknownName
from cardbill.storage.contract import LARGEST_STATE, Step, Storage, View
from cardbill.testing.conformance.rows import (
    BATCH,
    CARD,
    HIGHEST,
    LOWEST,
    SECOND,
    SIGNALS,
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
)

_MANY = 2_500


class Steps:
    """What `transact` and `view` promise to one caller."""

    signals = SIGNALS

    def test_a_step_writes_card_entries_and_records(self, store: Storage, other: Storage) -> None:
        """Once transact returns, all that the step decided is stored, and seen by others."""
        add(store, new_card())
        entries, records = [entry_row(), entry_row(seq=2)], [record_row(), record_row(key="x")]
        columns: dict[str, Any] = {
            "format": 2,
            "balance": 998,
            "held": 998,
            "first_used_at": 5,
            "expires_at": 9,
            "blocked": 1,
            "due_at": 7,
            "state": b"used",
        }
        assert store.transact(CARD, change(*entries, *records, **columns)) == "done"
        assert kept(other) == (card_row()._replace(version=2, **columns), entries, records)
        less: dict[str, Any] = {"held": 0, "blocked": 0, "state": b""}
        less |= dict.fromkeys(("first_used_at", "expires_at", "due_at"))
        fewer = record_row(carrier=None, cost=None, kind="other", number="", tax=9, format=2)
        store.transact(CARD, change(fewer, **less))
        card = card_row()._replace(version=3, **columns)._replace(**less)
        assert kept(other) == (card, entries, [fewer, *records[1:]])

    def test_a_step_sees_card_record_and_revision(self, store: Storage, other: Storage) -> None:
        """The view holds the card, this card's record of the key, the catalogue's revision."""
        add(store, new_card(1), new_card(2))
        store.transact(CARD, change(record_row(), balance=5))
        store.publish("plan", "basic", b"", expected=0)
        used, fresh = card_row(version=2, balance=5), card_row(2)
        for wanted, key in (
            (View(used, record_row(), 1), "call:1"),
            (View(used, None, 1), "call:2"),
            (View(used, None, 1), None),
            (View(fresh, None, 1), "call:1"),
        ):
            card = wanted.card.id
            # As a decision, Step answers with the view it is given and writes nothing.
            assert other.transact(card, Step, key=key) == other.view(card, key) == wanted
            assert other.resolve("pin", [card.encode()], key=key) == wanted

    def test_a_step_without_a_card_writes_nothing(self, store: Storage) -> None:
        """A step whose card is None writes nothing, not even its entries and records."""
        add(store, new_card())
        assert store.transact(CARD, lambda _: Step(7, None, [entry_row()], [record_row()])) == 7
        assert kept(store) == (card_row(), [], [])

    def test_an_unknown_card_is_told(self, store: Storage) -> None:
        """UnknownName, and decide is not run."""
        add(store, new_card())
        for card in ("SUMMER/2", "summer/1", "SUMMER/1 ", ""):
            with pytest.raises(UnknownName):
                store.transact(card, partial(throw, AssertionError("decide was run")))
            with pytest.raises(UnknownName):
                store.view(card)

    def test_an_error_in_a_step_goes_to_the_caller(self, store: Storage) -> None:
        """Any error that decide raises arrives as it is; nothing changes, work goes on."""
        add(store, new_card())
        some = (ValueError, KeyError, ConstraintViolated, OSError, TimeoutError)
        raised: list[type[BaseException]] = [*some, KeyboardInterrupt, SystemExit, *self.signals]
        for kind in raised:
            error = kind("mine")
            with pytest.raises(kind) as caught:
                store.transact(CARD, partial(throw, error))
            assert caught.value is error
            assert kept(store) == (card_row(), [], [])
        assert store.transact(CARD, deposit) == 1_001

    def test_the_version_must_be_the_next(self, store: Storage) -> None:
        """A version that is not one above the one seen is refused."""
        add(store, new_card(version=5))
        for version in (4, 5, 7, 0, -1):
            refuses(store, change(entry_row(), record_row(), version=version))

    def test_balance_and_hold_stay_in_bounds(self, store: Storage) -> None:
        """0 <= held <= balance, always: in a step as in a new card; the bounds are allowed."""
        add(store, new_card())
        for balance, held in ((5, 6), (0, 1), (-1, 0), (5, -1), (-2, -1), (-1, -2)):
            refuses(store, change(entry_row(), record_row(), balance=balance, held=held))
            with pytest.raises(ConstraintViolated):
                store.add_cards("job", [new_card(2), new_card(3, balance=balance, held=held)])
        assert store.count_cards() == 1
        for balance, held in ((5, 5), (0, 0), (5, 0)):
            store.transact(CARD, change(balance=balance, held=held))
            card = store.view(CARD).card
            assert (card.balance, card.held) == (balance, held)

    def test_amounts_beyond_64_bits_are_refused(self, store: Storage) -> None:
        """An amount that fits no 64-bit column is out of bounds, never a driver's own error."""
        add(store, new_card())
        refuses(store, change(entry_row(), balance=HIGHEST + 1))
        refuses(store, change(entry_row(amount=LOWEST - 1)))
        refuses(store, change(record_row(cost=HIGHEST + 1)))

    def test_a_state_of_64_kib_is_accepted_and_no_more(self, store: Storage) -> None:
        """LARGEST_STATE bytes are kept, one more is CardTooLarge: in a step and a new card."""
        largest = bytes(range(256)) * (LARGEST_STATE // 256)
        add(store, new_card(1), new_card(2, state=largest))
        store.transact(CARD, change(state=largest))
        assert store.view(CARD).card.state == store.view(SECOND).card.state == largest
        refuses(store, change(entry_row(), state=largest + b"x"), CardTooLarge)
        with pytest.raises(CardTooLarge):
            store.add_cards("job", [new_card(3), new_card(4, state=largest + b"x")])
        assert store.count_cards() == 2

    def test_a_card_keeps_its_place(self, store: Storage) -> None:
        """A step cannot change a card's id, batch or serial, to one that is taken or free."""
        add(store, new_card(1), new_card(2))
        places: list[dict[str, Any]] = [{"id": SECOND}, {"serial": 2}, {"batch": "WINTER"}]
        for place in (*places, {"id": "SUMMER/9", "serial": 9}):
            refuses(store, change(entry_row(), **place))
        assert store.find_cards(BATCH) == [card_row(1), card_row(2)]

    def test_rows_of_another_card_are_refused(self, store: Storage) -> None:
        """A step adds entries and records of its own card only."""
        add(store, new_card(1), new_card(2))
        refuses(store, change(entry_row(), entry_row(SECOND)))
        refuses(store, change(entry_row(), entry_row(SECOND, 2)))
        refuses(store, change(entry_row(), record_row(), record_row(SECOND)))
        assert kept(store, SECOND) == (card_row(2), [], [])

    def test_entries_are_only_added(self, store: Storage) -> None:
        """An entry whose seq exists is refused, with all that came with it."""
        add(store, new_card())
        store.transact(CARD, change(entry_row(), entry_row(seq=2)))
        for seq in (1, 2):
            refuses(store, change(entry_row(seq=seq, amount=5), record_row(), balance=7))
        refuses(store, change(entry_row(seq=3), entry_row(seq=3), record_row()))

    def test_a_step_may_have_many_rows(self, store: Storage, other: Storage) -> None:
        """More than a statement has parameters: all of them are stored, and told at once."""
        add(store, new_card())
        entries = [entry_row(seq=seq) for seq in range(1, _MANY + 1)]
        records = [record_row(key=f"{number:05}") for number in range(_MANY)]
        assert store.transact(CARD, change(*entries, *records)) == "done"
        assert other.entries(CARD, limit=_MANY + 1) == entries
        assert other.records(card=CARD, limit=_MANY + 1) == records
        assert sorted(other.calls_by_id("1")) == records

    def test_a_later_record_replaces_an_earlier(self, store: Storage, other: Storage) -> None:
        """Records are unique by card and key; the latest step's counts, and is found."""
        add(store, new_card(1), new_card(2))
        store.transact(SECOND, change(record_row(SECOND, call="second")))
        for name in ("first", "later"):
            record = record_row(call=name, destination=name)
            store.transact(CARD, change(record))
            assert other.records(card=CARD) == other.calls_by_id(name) == [record]
        assert other.calls_by_id("first") == []
        assert [record.call for record in other.records()] == ["later", "second"]
