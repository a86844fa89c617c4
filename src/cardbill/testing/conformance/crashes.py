"""Processes that are killed in the midst of their work, as ``kill -9`` does."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from itertools import chain

import pytest

from cardbill.storage.contract import (
    AuditRow,
    CredentialRow,
    Head,
    NewCard,
    Step,
    Storage,
    SuspenseRow,
    Tally,
    View,
)
from cardbill.testing.conformance.crew import PATIENCE, Crew, Say
from cardbill.testing.conformance.rows import CARD, add, deposit, kept, new_card

_WRITERS = 2
_WAVES = 2
_JOB = 3
_LONGEST_WAIT = 0.04


class Crashes:
    """What holds whoever died."""

    durable: bool
    shared: bool
    rounds: int

    @pytest.fixture
    def doomed(self) -> Iterator[Crew]:
        """Processes that a test kills."""
        if not self.durable:
            pytest.skip("this store says that it is not durable")
        if not self.shared:
            pytest.skip("this store says that processes cannot share it")
        crew = Crew()
        yield crew
        crew.dismiss()

    def test_what_was_acknowledged_survives_kill_9(
        self, doomed: Crew, open_store: Callable[[], Storage]
    ) -> None:
        """Each step and job that was answered is there, whole; any other is there whole or not."""
        chance = random.Random()
        cards = [f"SUMMER/{number + 1}" for number in range(_WRITERS)]
        with closing(open_store()) as store:
            add(store, *[new_card(number + 1) for number in range(_WRITERS)])
        for wave in range(_WAVES * self.rounds):
            requests = [(card, f"{wave}-{number}") for number, card in enumerate(cards)]
            hands = doomed.begin(open_store, _write, requests)
            said = [[hand.hear()] for hand in hands]
            for hand, words in zip(hands, said, strict=True):
                time.sleep(chance.random() * _LONGEST_WAIT)
                words.extend(hand.kill())
            doomed.dismiss()
            with closing(open_store()) as store:
                for card, words in zip(cards, said, strict=True):
                    _check_card(store, card, [word for word in words if isinstance(word, int)])
                _check_jobs(store, {word for word in chain(*said) if isinstance(word, str)})

    def test_every_answer_survives_kill_9(
        self, doomed: Crew, open_store: Callable[[], Storage]
    ) -> None:
        """Whatever was the last thing a process did: it is there when that process is killed."""
        with closing(open_store()) as store:
            add(store, new_card())
            store.bind(CredentialRow("ani", b"old", CARD, None), expected=None)
        hands = doomed.begin(open_store, _do_one_thing, [(name,) for name in _THINGS])
        assert [hand.hear() for hand in hands] == list(_THINGS)
        for hand in hands:
            hand.kill()
        with closing(open_store()) as store:
            kept = {
                "bind": [row.token for row in store.credentials([CARD], "ani")] == [b"new"],
                "unbind": store.resolve("ani", [b"old"]) is None,
                "publish": store.catalogue() == (1, [Head("plan", "a", 1)]),
                "suspend": [row.key for row in store.suspended()] == ["key"],
                "append_audit": len(store.audit_log()) == 1,
                "take_attempts": [row.subject for row in store.attempts()] == ["a"],
            }
        assert [name for name in _THINGS if not kept[name]] == [], "answered, and lost"

    def test_a_process_killed_in_a_step_is_not_waited_for(
        self, doomed: Crew, open_store: Callable[[], Storage]
    ) -> None:
        """It has changed nothing, and holds up nobody."""
        with closing(open_store()) as store:
            add(store, new_card())
        (hand,) = doomed.begin(open_store, _wait_in_a_step, [()])
        assert hand.hear() == "in the step"
        hand.kill()
        with closing(open_store()) as store:
            assert store.view(CARD).card == new_card().card
            assert store.transact(CARD, deposit) == 1_001

    def test_a_job_that_is_killed_adds_nothing(
        self, doomed: Crew, open_store: Callable[[], Storage]
    ) -> None:
        """None of its cards is seen, and it may be done again."""
        with closing(open_store()) as store:
            add(store, new_card(9, "WINTER"))
        (hand,) = doomed.begin(open_store, _wait_in_a_job, [()])
        assert hand.hear() == "in the job"
        hand.kill()
        with closing(open_store()) as store:
            assert store.count_cards() == 1
            assert store.resolve("pin", [b"SUMMER/1"]) is None
            assert store.add_cards("job", map(new_card, range(1, 2_001))) == 2_000


_THINGS: dict[str, Callable[[Storage], object]] = {
    "bind": lambda store: store.bind(CredentialRow("ani", b"new", CARD, None), expected=None),
    "unbind": lambda store: store.unbind("ani", b"old", expected=CARD),
    "publish": lambda store: store.publish("plan", "a", b"", expected=0),
    "suspend": lambda store: store.suspend(SuspenseRow("key", 1, "", "", b"")),
    "append_audit": lambda store: store.append_audit(AuditRow(1, "", "", "", b""), after=0),
    "take_attempts": lambda store: store.take_attempts(7, "a", lambda *_: Tally(None, b"1", 9)),
}


def _do_one_thing(store: Storage, say: Say, name: str) -> None:
    _THINGS[name](store)
    say(name)
    say.hear()  # until it is killed


def _write(store: Storage, say: Say, card: str, name: str) -> None:
    """Deposit, and add a job of cards now and then; say what each answered: version, or job."""
    for number in range(20_000):
        say(store.transact(card, deposit) - 999)
        if number % 5 == 0:
            job = f"{name}-{number}"
            assert store.add_cards(job, [new_card(n + 1, job) for n in range(_JOB)]) == _JOB
            say(job)


def _check_card(store: Storage, card_id: str, said: list[int]) -> None:
    card, _, records = kept(store, card_id)
    assert card.version >= max(said, default=1), "a step that was answered is lost"
    assert card.balance == card.version + 999
    assert [row.seconds for row in records] == [card.version] * (card.version > 1)
    entries = store.entries(card_id, limit=card.version + 1)
    assert [row.balance_after for row in entries] == list(range(1_001, card.balance + 1))


def _check_jobs(store: Storage, said: set[str]) -> None:
    jobs = dict(store.jobs(limit=100_000))
    assert said <= jobs.keys(), "a job that was answered is lost"
    ours = {job: count for job, count in jobs.items() if "-" in job}
    assert set(ours.values()) <= {_JOB}
    assert {store.count_cards(batch=job) for job in ours} <= {_JOB}
    assert store.count_cards() == _WRITERS + _JOB * len(ours)


def _wait_in_a_step(store: Storage, say: Say) -> None:
    def wait(view: View) -> Step[int]:
        say("in the step")
        time.sleep(PATIENCE)
        return deposit(view)

    store.transact(CARD, wait)


def _wait_in_a_job(store: Storage, say: Say) -> None:
    def offer() -> Iterator[NewCard]:
        for serial in range(1, 2_001):
            if serial == 1_500:
                say("in the job")
                time.sleep(PATIENCE)
            yield new_card(serial)

    with suppress(BrokenPipeError):
        store.add_cards("job", offer())
