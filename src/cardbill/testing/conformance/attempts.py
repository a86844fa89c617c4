"""What is kept of attempts at PINs: one atomic step on one subject and its group's book."""

from __future__ import annotations

import threading
import time
from functools import partial
from itertools import chain

import pytest

from cardbill.errors import ConstraintViolated
from cardbill.storage.contract import (
    LARGEST_TALLY,
    LAST_GROUP,
    NEVER,
    AttemptRow,
    Storage,
    Tally,
)
from cardbill.testing.conformance.contents import TEXTS
from cardbill.testing.conformance.rows import (
    HIGHEST,
    IN_ORDER,
    LOWEST,
    SIGNALS,
    paged,
    throw,
    together,
)

GROUP = 7


def remembered(store: Storage, subject: str, group: int = GROUP) -> bytes | None:
    """Return a subject's state, and leave everything as it is."""
    return seen(store, subject, group)[0]


def book_of(store: Storage, group: int = GROUP) -> bytes | None:
    """Return a group's book, and leave everything as it is."""
    return seen(store, "nobody", group)[1]


def seen(store: Storage, subject: str, group: int) -> tuple[bytes | None, bytes | None]:
    """Return what a step sees, without taking one."""
    shown: list[tuple[bytes | None, bytes | None]] = []

    def look(state: bytes | None, book: bytes | None) -> Tally[None]:
        shown.append((state, book))
        raise LookupError

    with pytest.raises(LookupError):
        store.take_attempts(group, subject, look)
    return shown[-1]


def remember(
    store: Storage,
    subject: str,
    state: bytes | None,
    keep_until: int = 9,
    book: bytes | None = None,
    group: int = GROUP,
) -> None:
    """Keep that state of a subject, and that book."""
    tally = Tally("kept", state, keep_until, book)
    assert store.take_attempts(group, subject, lambda *_: tally) == "kept"


class Attempts:
    """What `take_attempts`, `attempts` and `attempts_over` promise."""

    signals = SIGNALS

    def test_attempts_are_kept_by_subject(self, store: Storage, other: Storage) -> None:
        """Each subject has its own state, any text and any bytes; others see it at once."""
        subjects = TEXTS[1:]  # the empty one is a book's
        states = [b"", *[text.encode() + bytes(range(256)) for text in subjects[1:]]]
        wanted = dict(zip(subjects, states, strict=True))
        for subject, state in wanted.items():
            assert remembered(store, subject) is None
            remember(store, subject, b"first")
            remember(other, subject, state)
        assert {subject: remembered(store, subject) for subject in subjects} == wanted

    def test_a_subject_is_forgotten(self, store: Storage, other: Storage) -> None:
        """A tally without a state forgets its subject only, and may be of one unknown."""
        remember(store, "a", b"1")
        remember(store, "ab", b"1")
        remember(store, "b", b"1", book=b"book")
        for _ in range(2):
            remember(other, "a", None)
            rest = (remembered(store, "a"), remembered(store, "ab"), remembered(store, "b"))
            assert rest == (None, b"1", b"1")
        remember(store, "a", b"")
        assert remembered(other, "a") == b""
        assert book_of(other) == b"book"

    def test_each_group_has_a_book(self, store: Storage, other: Storage) -> None:
        """A step sees its group's and may write it, with or without a state; groups are apart."""
        groups = (0, GROUP, LAST_GROUP)
        for group in groups:
            assert book_of(store, group) is None
            remember(store, "a", b"%d" % group, group=group)
            assert book_of(store, group) is None
            remember(store, "a", b"%d" % group, book=b"first", group=group)
            remember(other, "b", None, book=bytes([group]), group=group)
        for group in groups:
            assert seen(store, "a", group) == (b"%d" % group, bytes([group]))
        remember(store, "a", b"new")
        remember(store, "b", None)
        assert book_of(other) == bytes([GROUP])  # not given, it stays
        remember(store, "a", None, book=b"")
        assert seen(other, "a", GROUP) == (None, b"")
        assert seen(other, "a", 0) == (b"0", b"\0")

    def test_what_is_no_subject_of_a_group_is_refused(self, store: Storage) -> None:
        """Groups are 0 to 255, and a book is nobody's state."""
        for group, subject in ((-1, "a"), (LAST_GROUP + 1, "a"), (GROUP - 600, "a"), (GROUP, "")):
            with pytest.raises(ConstraintViolated):
                remember(store, subject, b"1", book=b"book", group=group)
        assert store.attempts() == []

    def test_an_error_in_a_tally_goes_to_the_caller(self, store: Storage) -> None:
        """Any error that decide raises arrives as it is, and nothing changes."""
        remember(store, "a", b"1", book=b"book")
        some = (ValueError, ConstraintViolated, OSError, KeyboardInterrupt)
        raised: list[type[BaseException]] = [*some, *self.signals]
        for kind in raised:
            for subject in ("a", "b"):
                error = kind("mine")
                with pytest.raises(kind) as caught:
                    store.take_attempts(GROUP, subject, lambda *_, error=error: throw(error))
                assert caught.value is error
        rows = [AttemptRow(GROUP, "", b"book", NEVER), AttemptRow(GROUP, "a", b"1", 9)]
        assert store.attempts() == rows

    def test_a_tally_of_4_kib_is_accepted_and_no_more(self, store: Storage) -> None:
        """LARGEST_TALLY bytes are kept, one more is refused and changes nothing."""
        most, more = bytes(LARGEST_TALLY), bytes(LARGEST_TALLY + 1)
        remember(store, "a", most, book=most)
        for subject in ("a", "b"):
            for state, book in ((more, b"book"), (b"state", more), (None, more)):
                with pytest.raises(ConstraintViolated):
                    remember(store, subject, state, book=book)
        assert seen(store, "a", GROUP) == (most, most)
        assert remembered(store, "b") is None

    def test_attempts_are_listed_in_order(self, store: Storage, other: Storage) -> None:
        """By group and rising code points, a book first; in pages too, from any place on."""
        for group in (LAST_GROUP, 0, 10, 9):
            for subject in reversed(IN_ORDER):
                remember(store, subject, subject.encode(), group, group=group)
        for group in (9, LAST_GROUP, 0):
            remember(store, "none", None, book=b"%d" % group, group=group)
        wanted = [
            row
            for group in (0, 9, 10, LAST_GROUP)
            for row in (
                *[AttemptRow(group, "", b"%d" % group, NEVER)] * (group != 10),
                *[AttemptRow(group, subject, subject.encode(), group) for subject in IN_ORDER],
            )
        ]
        assert other.attempts() == wanted
        assert [type(row) for row in other.attempts(limit=1)] == [AttemptRow]
        assert paged(other.attempts, lambda row: row[:2], None) == wanted
        assert other.attempts(after=(8, "\U0010ffff")) == wanted[len(IN_ORDER) + 1 :]
        assert other.attempts(after=(9, "")) == wanted[len(IN_ORDER) + 2 :]
        assert other.attempts(after=(LAST_GROUP, "\U0010ffff")) == []

    def test_attempts_past_their_time_are_told(self, store: Storage, other: Storage) -> None:
        """At keep_until and from then on, never before; as many as asked for; never a book."""
        deadlines = {"a": LOWEST, "b": 5, "c": 5, "d": 6, "e": HIGHEST, "f": 5, "g": 5}
        for subject, keep_until in deadlines.items():
            remember(store, subject, b"1", keep_until, book=b"book")
        remember(other, "f", b"1", 7)  # the latest deadline counts, with the same state too
        remember(other, "g", b"2", 7)
        remember(other, "a", b"1", 5, group=LAST_GROUP)

        def over(at: int) -> list[tuple[int, str]]:
            return sorted(other.attempts_over(at))

        assert over(LOWEST) == over(4) == [(GROUP, "a")]
        assert over(5) == [(GROUP, "a"), (GROUP, "b"), (GROUP, "c"), (LAST_GROUP, "a")]
        assert over(6) == sorted([*over(5), (GROUP, "d")])
        assert over(HIGHEST) == sorted([*[(GROUP, each) for each in deadlines], (LAST_GROUP, "a")])
        few = other.attempts_over(5, limit=3)
        assert len(set(few)) == 3
        assert set(few) < set(over(5))
        for group, subject in few:
            remember(store, subject, None, group=group)
        assert over(5) == sorted({*over(5), *few} - set(few))
        assert len(over(5)) == 1

    def test_no_attempt_is_lost(self, store: Storage, other: Storage) -> None:
        """Steps on a subject see each other, from 16 threads too."""

        def count(state: bytes | None, _: object) -> Tally[int]:
            time.sleep(0)  # lets another thread in, where nothing keeps it out
            counted = int(state or b"0") + 1
            return Tally(counted, b"%d" % counted, 9)

        def work(handle: Storage) -> list[int]:
            return [handle.take_attempts(GROUP, "a", count) for _ in range(10)]

        answers = together(*[partial(work, handle) for handle in (store, other) * 8])
        assert sorted(chain.from_iterable(answers)) == list(range(1, 161))
        assert remembered(other, "a") == b"160"

    def test_no_change_of_a_book_is_lost(self, store: Storage, other: Storage) -> None:
        """Steps on different subjects of a group see each other's book; groups do not meet."""

        def count(_: object, book: bytes | None) -> Tally[int]:
            time.sleep(0)
            counted = int(book or b"0") + 1
            return Tally(counted, b"%d" % counted, 9, b"%d" % counted)

        def work(handle: Storage, subject: str, group: int) -> list[int]:
            return [handle.take_attempts(group, subject, count) for _ in range(10)]

        handles = [(handle, str(each)) for each, handle in enumerate((store, other) * 4)]
        answers = together(
            *[partial(work, *each, GROUP) for each in handles],
            *[partial(work, *each, 0) for each in handles],
        )
        assert sorted(chain.from_iterable(answers)) == sorted([*range(1, 81)] * 2)
        for group in (0, GROUP):
            assert book_of(other, group) == b"80"
            last = max(int(row.state) for row in store.attempts() if row.group == group)
            assert last == 80

    def test_a_list_of_attempts_sees_one_moment(self, store: Storage, other: Storage) -> None:
        """Whatever is changed meanwhile: each call sees whole steps, all up to one of them."""

        def deposit(state: bytes | None, book: bytes | None) -> Tally[None]:
            time.sleep(0)
            return Tally(None, b"%d" % (int(state or b"0") + 1), 9, b"%d" % (int(book or b"0") + 1))

        def work(handle: Storage, subject: str) -> None:
            for _ in range(30):
                handle.take_attempts(GROUP, subject, deposit)

        def audit(handle: Storage) -> None:
            seen = -1
            while not done.is_set() or seen < 0:
                rows = {row.subject: int(row.state) for row in handle.attempts()}
                book = rows.pop("", 0)
                assert book == sum(rows.values())
                assert book >= seen
                seen = book

        done = threading.Event()

        def write() -> None:
            try:
                together(
                    *[partial(work, each, str(n)) for n, each in enumerate((store, other) * 2)]
                )
            finally:
                done.set()

        together(write, partial(audit, other), partial(audit, store))
        assert book_of(store) == b"120"
