"""What is kept of attempts at PINs: one atomic step on one subject."""

from __future__ import annotations

import time
from functools import partial
from itertools import chain

import pytest

from cardbill.errors import ConstraintViolated
from cardbill.storage.contract import LARGEST_TALLY, Storage, Tally
from cardbill.testing.conformance.contents import TEXTS
from cardbill.testing.conformance.rows import HIGHEST, LOWEST, throw, together


def remembered(store: Storage, subject: str) -> bytes | None:
    """Return a subject's state, and leave everything as it is."""
    seen: list[bytes | None] = []

    def look(state: bytes | None) -> Tally[None]:
        seen.append(state)
        raise LookupError

    with pytest.raises(LookupError):
        store.take_attempts(subject, look)
    return seen[-1]


def remember(store: Storage, subject: str, state: bytes | None, keep_until: int = 9) -> None:
    """Keep that state of a subject."""
    assert store.take_attempts(subject, lambda _: Tally("kept", state, keep_until)) == "kept"


class Attempts:
    """What `take_attempts` and `forget_attempts` promise."""

    def test_attempts_are_kept_by_subject(self, store: Storage, other: Storage) -> None:
        """Each subject has its own state, any text and any bytes; others see it at once."""
        states = [text.encode() + bytes(range(256)) for text in TEXTS[1:]]
        wanted = dict(zip(TEXTS, [b"", *states], strict=True))
        for subject, state in wanted.items():
            assert remembered(store, subject) is None
            remember(store, subject, b"first")
            remember(other, subject, state)
        assert {subject: remembered(store, subject) for subject in TEXTS} == wanted

    def test_a_subject_is_forgotten(self, store: Storage, other: Storage) -> None:
        """A tally without a state forgets its subject only, and may be of one unknown."""
        remember(store, "a", b"1")
        remember(store, "b", b"1")
        for _ in range(2):
            remember(other, "a", None)
            assert (remembered(store, "a"), remembered(store, "b")) == (None, b"1")
        remember(store, "a", b"")
        assert remembered(other, "a") == b""

    def test_an_error_in_a_tally_goes_to_the_caller(self, store: Storage) -> None:
        """Any error that decide raises arrives as it is, and nothing changes."""
        remember(store, "a", b"1")
        for kind in (ValueError, StopIteration, ConstraintViolated, OSError, KeyboardInterrupt):
            for subject in ("a", "b"):
                error = kind("mine")
                with pytest.raises(kind) as caught:
                    store.take_attempts(subject, partial(throw, error))
                assert caught.value is error
        assert (remembered(store, "a"), remembered(store, "b")) == (b"1", None)

    def test_a_tally_of_4_kib_is_accepted_and_no_more(self, store: Storage) -> None:
        """LARGEST_TALLY bytes are kept, one more is refused and changes nothing."""
        remember(store, "a", bytes(LARGEST_TALLY))
        for subject in ("a", "b"):
            with pytest.raises(ConstraintViolated):
                remember(store, subject, bytes(LARGEST_TALLY + 1))
        assert remembered(store, "a") == bytes(LARGEST_TALLY)
        assert remembered(store, "b") is None

    def test_attempts_past_their_time_are_dropped(self, store: Storage, other: Storage) -> None:
        """At keep_until and from then on, never before; as many as asked for, and no more."""
        deadlines = {"a": LOWEST, "b": 5, "c": 5, "d": 6, "e": HIGHEST, "f": 5, "g": 5}
        for subject, keep_until in deadlines.items():
            remember(store, subject, b"1", keep_until)
        remember(other, "f", b"1", 7)  # the latest deadline counts, with the same state too
        remember(other, "g", b"2", 7)
        assert other.forget_attempts(4) == 1
        assert other.forget_attempts(5, limit=1) == 1
        assert store.forget_attempts(5) == 1
        assert store.forget_attempts(5) == 0
        left = [subject for subject in deadlines if remembered(other, subject) is not None]
        assert left == ["d", "e", "f", "g"]
        assert store.forget_attempts(HIGHEST) == 4

    def test_no_attempt_is_lost(self, store: Storage, other: Storage) -> None:
        """Steps on a subject see each other, from 16 threads too."""

        def count(state: bytes | None) -> Tally[int]:
            time.sleep(0)  # lets another thread in, where nothing keeps it out
            counted = int(state or b"0") + 1
            return Tally(counted, b"%d" % counted, 9)

        def work(handle: Storage) -> list[int]:
            return [handle.take_attempts("a", count) for _ in range(10)]

        answers = together(*[partial(work, handle) for handle in (store, other) * 8])
        assert sorted(chain.from_iterable(answers)) == list(range(1, 161))
        assert remembered(other, "a") == b"160"
