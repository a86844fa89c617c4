"""Looking things up, and paging through them."""

from __future__ import annotations

from functools import partial
from operator import attrgetter, itemgetter

import pytest

from cardbill.errors import ConstraintViolated
from cardbill.storage.contract import CredentialRow, Storage
from cardbill.testing.conformance.rows import (
    BATCH,
    CARD,
    IN_ORDER,
    SECOND,
    add,
    card_row,
    change,
    entry_row,
    new_card,
    paged,
    record_row,
)


class Finding:
    """What the reading methods promise."""

    def test_tokens_are_resolved_in_order(self, store: Storage) -> None:
        """The first token that opens a card decides; kinds are kept apart."""
        add(store, new_card(1), new_card(2))
        first, second = b"SUMMER/1", b"SUMMER/2"
        assert store.resolve("pin", [second, first]) == SECOND
        assert store.resolve("pin", [b"x", first, second]) == CARD
        for kind, tokens in (("ani", [first]), ("PIN", [first]), ("pin", [b"x"]), ("pin", [])):
            assert store.resolve(kind, tokens) is None
        assert store.credentials(["x", SECOND], "pin") == [new_card(2).credential]
        assert store.credentials([], "pin") == store.credentials([CARD], "ani") == []

    def test_credentials_of_every_kind_are_listed(self, store: Storage) -> None:
        """Without a kind, all that open the cards asked for."""
        add(store, new_card(1), new_card(2))
        number = CredentialRow("ani", b"305", CARD, None)
        assert store.bind(number, expected=None)
        assert sorted(store.credentials([CARD])) == [number, new_card(1).credential]
        assert store.credentials([CARD], "ani") == [number]
        assert len(store.credentials([CARD, SECOND])) == 3

    def test_a_credential_is_bound_to_one_card(self, store: Storage, other: Storage) -> None:
        """Inserted where there is none, replaced where it belongs to the card expected."""
        add(store, new_card(1), new_card(2))
        first = CredentialRow("ani", b"305", CARD, None)
        moved = first._replace(card=SECOND, sealed=b"copy")
        assert other.bind(first, expected=CARD) is False
        assert store.resolve("ani", [b"305"]) is None
        assert store.bind(first, expected=None) is True
        for expected in (None, SECOND, "x"):
            assert other.bind(moved, expected=expected) is False
        assert store.credentials([CARD], "ani") == [first]
        assert other.bind(moved, expected=CARD) is True
        assert store.resolve("ani", [b"305"]) == SECOND
        assert (store.credentials([CARD], "ani"), store.credentials([SECOND], "ani")) == (
            [],
            [moved],
        )
        assert store.resolve("pin", [b"SUMMER/1"]) == CARD

    def test_nothing_is_bound_to_no_card(self, store: Storage) -> None:
        """A card that is not there is refused, and the row stays as it was."""
        add(store, new_card())
        for expected, token in ((None, b"305"), (CARD, b"SUMMER/1")):
            with pytest.raises(ConstraintViolated):
                store.bind(CredentialRow("pin", token, "SUMMER/9", None), expected=expected)
        assert store.credentials([CARD]) == [new_card().credential]
        assert store.resolve("pin", [b"305"]) is None

    def test_a_credential_is_unbound_from_its_card_only(
        self, store: Storage, other: Storage
    ) -> None:
        """Of another card, or not there: False, and nothing is removed; then it is free."""
        add(store, new_card(1), new_card(2))
        token = b"SUMMER/1"
        assert store.unbind("pin", token, expected=SECOND) is False
        assert store.unbind("ani", token, expected=CARD) is False
        assert store.resolve("pin", [token]) == CARD
        assert other.unbind("pin", token, expected=CARD) is True
        assert store.unbind("pin", token, expected=CARD) is False
        assert (store.resolve("pin", [token]), store.credentials([CARD])) == (None, [])
        add(store, new_card(3, token=token))
        assert store.resolve("pin", [token]) == "SUMMER/3"

    def test_rows_are_counted(self, store: Storage) -> None:
        """Of all cards, at one moment; a record that was replaced counts once."""
        assert store.counts() == (0, 0, 0, 0)
        add(store, new_card(1), new_card(2, "autumn"))
        store.bind(CredentialRow("ani", b"305", CARD, None), expected=None)
        for seq in (1, 2):
            store.transact(CARD, change(entry_row(seq=seq), record_row()))
        assert store.counts() == (2, 3, 2, 1)
        store.unbind("ani", b"305", expected=CARD)
        assert store.counts() == (2, 2, 2, 1)

    def test_jobs_come_by_key(self, store: Storage) -> None:
        """Each job that was done, with how many cards it added; by code point."""
        for count, job in enumerate(reversed(IN_ORDER)):
            store.add_cards(job, [new_card(each, job) for each in range(1, count + 1)])
        wanted = sorted((job, count) for count, job in enumerate(reversed(IN_ORDER)))
        assert store.jobs() == paged(store.jobs, itemgetter(0), "") == wanted

    def test_cards_of_a_batch_come_by_serial(self, store: Storage) -> None:
        """Above `after`; gaps, other batches and the order of adding do not matter."""
        add(store, new_card(1, "A"), new_card(2, "summer"))
        add(store, *map(new_card, (7, 100, 1, 11, 2, 10, 3)))
        wanted = list(map(card_row, (1, 2, 3, 7, 10, 11, 100)))
        assert store.find_cards(BATCH) == wanted
        assert paged(partial(store.find_cards, BATCH), attrgetter("serial"), 0) == wanted
        assert store.find_cards(BATCH, after=7) == wanted[4:]
        assert store.find_cards(BATCH, after=5) == wanted[3:]
        assert store.find_cards(BATCH, after=100) == store.find_cards("SUM") == []
        assert [store.count_cards(batch=each) for each in (BATCH, "A", "x", None)] == [7, 1, 0, 9]

    def test_due_cards_come_by_instant_and_id(self, store: Storage) -> None:
        """Due at or before, ids by code point; a card that stays due is passed over by `after`."""
        dues = {1: 30, 2: 20, 3: None, 4: 20, 5: 10, 6: 31, 10: 20}
        add(store, *[new_card(serial, due_at=due) for serial, due in dues.items()])
        add(store, new_card(1, "autumn", due_at=20))
        names = ("SUMMER/5", "SUMMER/10", "SUMMER/2", "SUMMER/4", "autumn/1", "SUMMER/1")
        wanted = list(zip((10, 20, 20, 20, 20, 30), names, strict=True))
        assert store.due(30) == paged(partial(store.due, 30), tuple, None) == wanted
        assert store.due(30, after=(20, "SUMMER/10")) == wanted[2:]
        assert store.due(30, after=(20, "SUMMER/11")) == wanted[2:]
        assert store.due(9) == []

    def test_steps_move_when_a_card_is_due(self, store: Storage) -> None:
        """A step may make a card due earlier, later or never."""
        add(store, *[new_card(serial, due_at=serial) for serial in (1, 2, 3)], new_card(4))
        for serial, due in ((1, None), (2, 9), (3, 1), (4, 2)):
            store.transact(f"SUMMER/{serial}", change(due_at=due))
        assert store.due(8) == [(1, "SUMMER/3"), (2, "SUMMER/4")]
        assert store.due(9, after=(2, "SUMMER/4")) == [(9, SECOND)]

    def test_entries_come_by_seq(self, store: Storage) -> None:
        """Entries of one card by rising seq, above `after`."""
        add(store, new_card(1), new_card(2))
        for card, amount in ((CARD, 1), (SECOND, 2)):
            for seqs in ((1, 2, 3), (4,), (5, 6, 7)):
                rows = [entry_row(card, seq, amount=amount) for seq in seqs]
                store.transact(card, change(*rows))
        wanted = [entry_row(seq=seq, amount=1) for seq in range(1, 8)]
        assert store.entries(CARD) == wanted
        assert paged(partial(store.entries, CARD), attrgetter("seq"), 0) == wanted
        assert store.entries(CARD, after=7) == store.entries("x") == []

    def test_records_come_by_card_and_key(self, store: Storage) -> None:
        """By code point; of one card, one batch, both or all; above `after`."""
        cards = [new_card(serial, batch) for batch in ("A", "B", "a") for serial in (1, 2)]
        add(store, *cards)
        every = [
            record_row(new.card.id, key, batch=new.card.batch) for new in cards for key in IN_ORDER
        ]
        for row in reversed(every):
            store.transact(row.card, change(row))
        for card, batch in ((None, None), ("B/1", None), (None, "B"), ("B/2", "B"), ("B/2", "a")):
            wanted = [r for r in every if card in (None, r.card) and batch in (None, r.batch)]
            fetch = partial(store.records, card=card, batch=batch)
            assert fetch() == paged(fetch, attrgetter("card", "key"), None) == wanted

    def test_calls_are_found_by_id(self, store: Storage) -> None:
        """All records of a call id, whichever card they are of."""
        add(store, *map(new_card, range(1, 6)))
        rows = [record_row(f"SUMMER/{n}", call="same" if n < 4 else f"{n}") for n in range(1, 6)]
        for row in rows:
            store.transact(row.card, change(row))
        assert sorted(store.calls_by_id("same")) == rows[:3]
        assert (store.calls_by_id("4"), store.calls_by_id("Same")) == (rows[3:4], [])
