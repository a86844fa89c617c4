"""Looking things up, and paging through them."""

from __future__ import annotations

from functools import partial
from operator import attrgetter, itemgetter

import pytest

from cardbill.errors import UnknownName
from cardbill.storage.contract import CredentialRow, Head, Storage, Tally
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
    opened,
    paged,
    record_row,
)


class Finding:
    """What the reading methods promise."""

    def test_tokens_are_resolved_in_order(self, store: Storage) -> None:
        """The first token that opens a card decides; kinds are kept apart."""
        add(store, new_card(1), new_card(2))
        first, second = b"SUMMER/1", b"SUMMER/2"
        assert opened(store, "pin", [second, first]) == SECOND
        assert opened(store, "pin", [b"x", first, second]) == CARD
        for kind, tokens in (("ani", [first]), ("PIN", [first]), ("pin", [b"x"]), ("pin", [])):
            assert opened(store, kind, tokens) is None
        assert store.credentials(["x", SECOND], "pin") == [new_card(2).credential]
        assert store.credentials([], "pin") == store.credentials([CARD], "ani") == []

    def test_a_credential_is_bound_if_there_is_none(self, store: Storage, other: Storage) -> None:
        """With `expected=None` a new row is added, and one that is there is left as it is."""
        add(store, new_card(1), new_card(2))
        row = CredentialRow("ani", b"SUMMER/1", CARD, b"sealed")  # a PIN of that token is another
        assert store.bind(row, expected=None)
        assert opened(other, "ani", [b"SUMMER/1"]) == CARD
        for again in (row, row._replace(card=SECOND), row._replace(sealed=None)):
            assert not other.bind(again, expected=None)
        assert other.credentials([CARD, SECOND], "ani") == [row]
        assert sorted(other.credentials([CARD, SECOND], "pin")) == [
            new_card(1).credential,
            new_card(2).credential,
        ]

    def test_a_credential_is_bound_anew_if_it_is_whose_one_thinks(
        self, store: Storage, other: Storage
    ) -> None:
        """With a card expected, only its own row is replaced, card and sealed copy."""
        add(store, new_card(1), new_card(2), new_card(3))
        row = CredentialRow("ani", b"number", SECOND, None)
        assert not store.bind(row, expected=CARD)  # there is no such row
        assert store.credentials([SECOND], "ani") == []
        assert store.bind(row._replace(card=CARD, sealed=b"old"), expected=None)
        assert not store.bind(row, expected=SECOND)
        assert not store.bind(row, expected="SUMMER/3")
        assert store.bind(row, expected=CARD)
        assert opened(other, "ani", [b"number"]) == SECOND
        assert other.credentials([CARD, SECOND], "ani") == [row]
        same = row._replace(sealed=b"new")
        assert other.bind(same, expected=SECOND)  # of one card, another copy
        assert store.credentials([CARD, SECOND], "ani") == [same]
        assert store.credentials([CARD], "pin") == [new_card(1).credential]

    def test_a_credential_is_bound_to_cards_that_are_there(self, store: Storage) -> None:
        """A card that is not there gets no credential, whatever is expected."""
        add(store, new_card(1))
        row = CredentialRow("ani", b"number", CARD, None)
        for expected in (None, CARD):
            with pytest.raises(UnknownName):
                store.bind(row._replace(card="x"), expected=expected)
            assert opened(store, "ani", [b"number"]) == (expected and CARD)
            assert store.bind(row, expected=expected)

    def test_a_credential_is_removed_if_it_is_whose_one_thinks(
        self, store: Storage, other: Storage
    ) -> None:
        """A row of that kind and token and card goes; any other stays."""
        add(store, new_card(1), new_card(2))
        row = CredentialRow("ani", b"SUMMER/1", CARD, None)
        assert store.bind(row, expected=None)
        for kind, token, card in (("ani", b"SUMMER/1", SECOND), ("ani", b"x", CARD),
                                  ("PIN", b"SUMMER/1", CARD)):  # fmt: skip
            assert not store.unbind(kind, token, expected=card)
        assert other.credentials([CARD], "ani") == [row]
        assert other.unbind("ani", b"SUMMER/1", expected=CARD)
        assert not store.unbind("ani", b"SUMMER/1", expected=CARD)
        assert opened(store, "ani", [b"SUMMER/1"]) is None
        assert store.credentials([CARD], "ani") == []
        assert opened(store, "pin", [b"SUMMER/1"]) == CARD
        assert store.bind(row._replace(card=SECOND), expected=None)

    def test_credentials_of_every_kind_are_listed(self, store: Storage) -> None:
        """Without a kind, all that open the cards asked for."""
        add(store, new_card(1), new_card(2))
        number = CredentialRow("ani", b"305", CARD, None)
        assert store.bind(number, expected=None)
        assert sorted(store.credentials([CARD])) == [number, new_card(1).credential]
        assert store.credentials([CARD], "ani") == [number]
        assert len(store.credentials([CARD, SECOND])) == 3
        add(store, new_card(10))  # of whose id the first card's is the beginning
        assert len(store.credentials([CARD])) == 2

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
        counted = {BATCH: 7, "A": 1, "x": 0, "SUM": 0, None: 9}
        assert {batch: store.count_cards(batch=batch) for batch in counted} == counted

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
        add(store, new_card(1), new_card(2), new_card(10))
        for card, amount in ((CARD, 1), (SECOND, 2), ("SUMMER/10", 3)):
            for seqs in ((1, 2, 3), (4,), range(5, 13)):
                rows = [entry_row(card, seq, amount=amount) for seq in seqs]
                store.transact(card, change(*rows))
        wanted = [entry_row(seq=seq, amount=1) for seq in range(1, 13)]
        assert store.entries(CARD) == wanted
        assert paged(partial(store.entries, CARD), attrgetter("seq"), 0) == wanted
        assert store.entries(CARD, after=12) == store.entries("x") == store.entries("SUM") == []

    def test_records_come_by_card_and_key(self, store: Storage) -> None:
        """By code point; of one card, one batch, both or all; above `after`."""
        places = [(batch, serial) for batch in ("A", "B", "a") for serial in (1, 10, 2)]
        cards = [new_card(serial, batch) for batch, serial in places]
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

    def test_parts_of_a_key_are_kept_apart(self, store: Storage) -> None:
        """Rows whose key has two parts are not mixed up where both, put together, are alike."""
        add(store, new_card(1), new_card(11))
        opening = [new_card(1).credential]
        for mark in ("", ":", "/", "|", " "):
            for kind, name in ((f"a{mark}b", "c"), ("a", f"b{mark}c")):
                opening.append(CredentialRow(kind, name.encode(), CARD, kind.encode()))
                assert store.bind(opening[-1], expected=None)
                assert store.publish(kind, name, kind.encode(), expected=0) == Head(kind, name, 1)
                assert store.content(kind, name, 1) == kind.encode()
        assert sorted(store.credentials([CARD])) == sorted(opening)
        eleventh = "SUMMER/11"
        records = [record_row(CARD, "1x"), record_row(eleventh, "x")]
        entries = [entry_row(seq=seq) for seq in range(1, 12)]
        store.transact(CARD, change(records[0], *entries))
        store.transact(eleventh, change(records[1], entry_row(eleventh)))
        assert (store.records(), store.entries(CARD)) == (records, entries)
        for group, subject in ((1, "2a"), (12, "a")):
            tally = Tally(None, subject.encode(), 9)
            assert store.take_attempts(group, subject, partial(_keep, tally)) is None
        assert [row[:3] for row in store.attempts()] == [(1, "2a", b"2a"), (12, "a", b"a")]


def _keep(tally: Tally[None], _state: bytes | None, _book: bytes | None) -> Tally[None]:
    return tally
