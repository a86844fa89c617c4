"""Many at once: half of the threads work on the store as it was opened once more."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain

from cardbill.errors import (
    ConstraintViolated,
    StorageClosed,
    StorageUnavailable,
    VersionConflict,
)
from cardbill.storage.contract import (
    AuditRow,
    CredentialRow,
    Head,
    NewCard,
    Storage,
    SuspenseRow,
)
from cardbill.testing.conformance.rows import CARD, add, deposit, kept, new_card, together

_MOST_STEPS = 2_000


class Races:
    """What holds whoever else is at work."""

    durable: bool

    def test_no_step_is_lost(self, store: Storage, other: Storage) -> None:
        """Steps on a card see each other, from 16 threads too."""
        add(store, new_card())

        def work(handle: Storage) -> list[int]:
            return [handle.transact(CARD, deposit, key="count") for _ in range(10)]

        answers = together(*[partial(work, handle) for handle in (store, other) * 8])
        assert sorted(chain.from_iterable(answers)) == list(range(1_001, 1_161))
        card, entries, records = kept(other)
        assert (card.version, card.balance, records[0].seconds) == (161, 1_160, 161)
        assert [row.balance_after for row in entries] == list(range(1_001, 1_161))

    def test_steps_on_many_cards_keep_apart(self, store: Storage, other: Storage) -> None:
        """Of 16 threads each goes from card to card: every card has its own steps, and all."""
        cards = [new_card(serial) for serial in range(1, 5)]
        add(store, *cards)

        def work(handle: Storage, number: int) -> None:
            for turn in range(12):
                card = cards[(number + turn) % len(cards)].card.id
                handle.transact(card, deposit, key="count")

        together(*[partial(work, each, n) for n, each in enumerate((store, other) * 8)])
        for new in cards:
            card, entries, records = kept(other, new.card.id)
            assert (card.version, card.balance, records[0].seconds) == (49, 1_048, 49)
            assert [row.balance_after for row in entries] == list(range(1_001, 1_049))

    def test_closing_amid_steps_loses_none(self, open_store: Callable[[], Storage]) -> None:
        """Who closes a store that is at work ends it: each step is taken and told, or not."""
        store = open_store()
        add(store, new_card())
        told: list[int] = []
        unknown: list[StorageUnavailable] = []

        def work() -> None:
            for _ in range(_MOST_STEPS):
                try:
                    told.append(store.transact(CARD, deposit, key="count"))
                except StorageClosed:
                    return
                except StorageUnavailable as error:
                    unknown.append(error)

        def end() -> None:
            for _ in range(_MOST_STEPS):
                store.count_cards()
                if len(told) >= 8:
                    break
            store.close()

        together(work, work, work, work, end)
        assert len(set(told)) == len(told)
        if not self.durable:
            return  # there is no way to look
        again = open_store()
        card, _, records = kept(again)
        assert len(told) <= card.version - 1 <= len(told) + len(unknown)
        entries = again.entries(CARD, limit=card.version)
        assert [row.balance_after for row in entries] == list(range(1_001, card.balance + 1))
        assert records[0].seconds == card.version == card.balance - 999
        again.close()

    def test_readers_see_whole_steps(self, store: Storage, other: Storage) -> None:
        """A view is of one moment, and no reader goes back in time."""
        add(store, new_card())
        store.transact(CARD, deposit)
        finished = threading.Event()

        def write() -> None:
            try:
                for _ in range(100):
                    store.transact(CARD, deposit)
            finally:
                finished.set()

        def read(handle: Storage) -> None:
            last = 2
            while not finished.is_set():
                view = handle.view(CARD, "count")
                assert view.record is not None
                assert view.record.seconds == view.card.version >= last
                assert len(handle.entries(CARD, after=last - 1)) >= view.card.version - last
                last = view.card.version

        together(write, partial(read, store), partial(read, other))

    def test_lists_see_one_moment(self, store: Storage, other: Storage) -> None:
        """Counts, the catalogue and what a token opens are each of one moment, while all change."""
        add(store, new_card())
        store.transact(CARD, deposit)
        finished = threading.Event()

        def write() -> None:
            try:
                for number in range(40):
                    add(store, new_card(number + 2))
                    store.publish("plan", "a", b"", expected=number)
                    store.transact(CARD, deposit)
            finally:
                finished.set()

        def read(handle: Storage) -> None:
            while not finished.is_set():
                counts = handle.counts()
                assert counts.cards == counts.credentials
                revision, heads = handle.catalogue()
                assert revision == sum(head.version for head in heads)
                view = handle.resolve("pin", [b"SUMMER/1"], key="count")
                assert view is not None
                assert view.record is not None
                assert view.record.seconds == view.card.version

        together(write, partial(read, store), partial(read, other))

    def test_one_of_many_publishers_wins(self, store: Storage, other: Storage) -> None:
        """Of 16 who expect the same version one publishes, the others get VersionConflict."""

        def work(handle: Storage, number: int) -> list[int]:
            won = []
            for expected in range(5):
                try:
                    handle.publish("plan", "a", bytes([number]), expected=expected)
                    won.append(expected)
                except VersionConflict:
                    assert handle.catalogue()[0] > expected
            return won

        handles = enumerate((store, other) * 8)
        won = together(*[partial(work, handle, number) for number, handle in handles])
        assert sorted(chain.from_iterable(won)) == [0, 1, 2, 3, 4]
        assert store.catalogue() == (5, [Head("plan", "a", 5)])
        for expected in range(5):
            assert expected in won[store.content("plan", "a", expected + 1)[0]]

    def test_a_credential_goes_to_one_of_many(self, store: Storage, other: Storage) -> None:
        """Of 16 who bind or rebind the same one, one succeeds each time, and has it."""
        cards = [new_card(serial) for serial in range(1, 33)]
        add(store, *cards)
        halves = [[new.card.id for new in half] for half in (cards[:16], cards[16:])]
        expected: list[str | None] = [None]

        def work(handle: Storage, card: str) -> bool:
            row = CredentialRow("ani", b"number", card, card.encode())
            return handle.bind(row, expected=expected[0])

        def remove(handle: Storage, _: str) -> bool:
            return handle.unbind("ani", b"number", expected=str(expected[0]))

        handles = (store, other) * 8
        for half in halves * 5:
            won = together(*map(partial, [work] * 16, handles, half))
            assert won.count(True) == 1
            winner = half[won.index(True)]
            row = CredentialRow("ani", b"number", winner, winner.encode())
            assert other.credentials([*halves[0], *halves[1]], "ani") == [row]
            expected[0] = winner
        removed = together(*map(partial, [remove] * 16, handles, halves[0]))
        assert removed.count(True) == 1

    def test_a_credential_is_added_by_one_of_many(self, store: Storage, other: Storage) -> None:
        """Of 8 jobs that add cards with the same credential, one does; or with the same id."""

        def offer(new: NewCard) -> Iterator[NewCard]:
            time.sleep(0)  # lets another thread in, where nothing keeps it out
            yield new

        def work(handle: Storage, number: int) -> list[tuple[int, int]]:
            won = []
            for turn in range(5):
                alike = new_card(1, f"{turn} {number}", token=b"%d" % turn)
                same = new_card(1, f"{turn}", token=b"%d %d" % (turn, number))
                mine = handle.add_cards(f"a {turn} {number}", offer(alike), redraw=lambda _: None)
                try:
                    won.append((mine, handle.add_cards(f"b {turn} {number}", offer(same))))
                except ConstraintViolated:
                    won.append((mine, 0))
            return won

        handles = enumerate((store, other) * 4)
        won = together(*[partial(work, handle, number) for number, handle in handles])
        for turn, each in enumerate(zip(*won, strict=True)):
            assert [sum(counts) for counts in zip(*each, strict=True)] == [1, 1]
            (first, second) = (list(counts).index(1) for counts in zip(*each, strict=True))
            view = other.resolve("pin", [b"%d" % turn])
            assert view is not None
            assert view.card.id == f"{turn} {first}/1"
            assert other.resolve("pin", [b"%d %d" % (turn, n) for n in range(8)]) is not None
            assert [row.token for row in other.credentials([f"{turn}/1"])] == [
                b"%d %d" % (turn, second)
            ]
        assert store.count_cards() == store.counts().credentials == 10

    def test_a_job_is_done_once_by_many(self, store: Storage, other: Storage) -> None:
        """Of 8 who do the same job, and suspend the same event, one does; all get its answer."""
        batches = [f"B{number}" for number in range(5)]

        def offer(batch: str) -> Iterator[NewCard]:
            for serial in range(1, 21):
                time.sleep(0)  # lets another thread in, where nothing keeps it out
                yield new_card(serial, batch)

        def work(handle: Storage) -> list[tuple[int, bool]]:
            return [
                (handle.add_cards(batch, offer(batch)), handle.suspend(event(batch)))
                for batch in batches
            ]

        def event(key: str) -> SuspenseRow:
            return SuspenseRow(key, 1, "", "", b"")

        answers = together(*[partial(work, handle) for handle in (store, other) * 4])
        assert {count for each in answers for count, _ in each} == {20}
        assert [sum(first for _, first in each) for each in zip(*answers, strict=True)] == [1] * 5
        assert [store.count_cards(batch=batch) for batch in batches] == [20] * 5

    def test_every_audit_row_follows_one_other(self, store: Storage, other: Storage) -> None:
        """Of 8 who append at the same position one does, the others get False."""

        def work(handle: Storage, number: int, after: int) -> bool:
            won = handle.append_audit(AuditRow(number, "", "", "", b""), after=after)
            assert len(handle.audit_log(after=after)) > 0
            return won

        for after in range(10):
            handles = enumerate((store, other) * 4)
            works = [partial(work, handle, number, after) for number, handle in handles]
            assert together(*works).count(True) == 1
        assert [position for position, _ in store.audit_log()] == list(range(1, 11))
