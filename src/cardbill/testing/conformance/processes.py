"""Many processes at once, each with the store opened for itself."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain

import pytest

from cardbill.errors import VersionConflict
from cardbill.storage.contract import AuditRow, CredentialRow, Storage, SuspenseRow, Tally
from cardbill.testing.conformance.crew import Crew, Say
from cardbill.testing.conformance.rows import CARD, add, deposit, kept, new_card

CROWD = 4
_STEPS = 25
_DEPOSITS = 50
_MOST_LOOKS = 5_000
_PRIZES = 10
_CREW = pytest.StashKey[Crew]()


class Processes:
    """What holds whichever process is at work."""

    shared: bool
    rounds: int

    @pytest.fixture
    def crew(self, request: pytest.FixtureRequest) -> Crew:
        """The processes of this class."""
        if not self.shared:
            pytest.skip("this store says that processes cannot share it")
        return _crew_of(request)

    @pytest.fixture
    def together(
        self, crew: Crew, open_store: Callable[[], Storage]
    ) -> Callable[..., list[object]]:
        """Run `work(store, say, number)` in as many processes as a crowd has; their answers."""
        return lambda work: crew.rush(open_store, work, [(n,) for n in range(CROWD)])

    def test_processes_lose_no_step(
        self, store: Storage, together: Callable[..., list[list[tuple[int, int]]]]
    ) -> None:
        """Steps on a card, and on a subject's attempts, see each other from every process."""
        add(store, new_card())
        for taken in range(0, CROWD * _STEPS * self.rounds, CROWD * _STEPS):
            answers = list(chain.from_iterable(together(_deposit_and_count)))
            wanted = range(taken + 1, taken + CROWD * _STEPS + 1)
            assert sorted(balance - 1_000 for balance, _ in answers) == list(wanted)
            assert sorted(counted for _, counted in answers) == list(wanted)
        last = CROWD * _STEPS * self.rounds
        card, _, records = kept(store)
        assert (card.version, card.balance, records[0].seconds) == (
            last + 1,
            last + 1_000,
            last + 1,
        )
        entries = store.entries(CARD, limit=last + 1)
        assert [row.balance_after for row in entries] == list(range(1_001, last + 1_001))

    def test_readers_in_other_processes_see_whole_steps(
        self, store: Storage, together: Callable[..., list[object]]
    ) -> None:
        """While one process writes, the others see steps whole, and never go back in time."""
        add(store, new_card())
        store.transact(CARD, deposit)
        for _ in range(self.rounds):
            together(_write_or_read)

    def test_what_was_read_once_is_read_anew(
        self, store: Storage, crew: Crew, open_store: Callable[[], Storage]
    ) -> None:
        """What one process changes others see at once, though they have read it all before."""
        add(store, new_card(1), new_card(2))
        hands = crew.begin(open_store, _look_twice, [()] * 2)
        before = [hand.hear() for hand in hands]
        assert before == [_everything(store)] * 2
        _change_everything(store)
        after = _everything(store)
        for hand in hands:
            hand.tell("again")
        for hand in hands:
            told = hand.hear()
            stale = [name for name in after if told[name] != after[name]]
            assert not stale, f"old answers of {stale}"
        assert [name for name in after if after[name] == before[0][name]] == []

    def test_one_of_many_processes_wins(
        self, store: Storage, together: Callable[..., list[list[list[bool]]]]
    ) -> None:
        """Of those who publish, bind, append or suspend the same, one does; the others are told."""
        add(store, *[new_card(number + 1) for number in range(CROWD)])
        for won in zip(*together(_take_prizes), strict=True):
            assert [sum(each) for each in zip(*won, strict=True)] == [1, 1, 1, 1]
        assert store.catalogue()[0] == len(store.audit_log()) == len(store.suspended()) == _PRIZES

    def test_a_job_is_done_once_by_many_processes(
        self, store: Storage, together: Callable[..., list[int]]
    ) -> None:
        """All of those who do the same job get its answer; its cards are added once."""
        assert together(_do_the_job) == [500] * CROWD
        assert store.count_cards() == 500
        assert store.jobs() == [("job", 500)]


def _crew_of(request: pytest.FixtureRequest) -> Crew:
    """The processes of a test class: they start when a test first needs them, and end with it."""
    owner: pytest.Class = request.node.getparent(pytest.Class)
    if _CREW not in owner.stash:
        owner.stash[_CREW] = Crew()
        owner.addfinalizer(owner.stash[_CREW].dismiss)
    return owner.stash[_CREW]


def _everything(store: Storage) -> dict[str, object]:
    """What each method that reads has to say."""
    return {
        "view": store.view(CARD, "count"),
        "resolve": [store.resolve("pin", [CARD.encode()]), store.resolve("ani", [b"305"])],
        "credentials": sorted(store.credentials([CARD, "SUMMER/2"])),
        "find_cards": store.find_cards("SUMMER"),
        "count_cards": [store.count_cards(), store.count_cards(batch="SUMMER")],
        "counts": store.counts(),
        "jobs": store.jobs(),
        "due": store.due(9),
        "entries": store.entries(CARD),
        "records": store.records(),
        "calls_by_id": store.calls_by_id("1"),
        "suspended": store.suspended(),
        "catalogue": store.catalogue(),
        "last_audit": store.last_audit(),
        "audit_log": store.audit_log(),
        "attempts": store.attempts(),
        "attempts_over": store.attempts_over(9),
    }


def _change_everything(store: Storage) -> None:
    add(store, new_card(3, due_at=5))
    store.transact(CARD, deposit)
    store.bind(CredentialRow("ani", b"305", CARD, None), expected=None)
    store.publish("plan", "a", b"", expected=0)
    store.append_audit(AuditRow(1, "", "", "", b""), after=0)
    store.suspend(SuspenseRow("key", 1, "", "", b""))
    store.take_attempts(7, "a", lambda *_: Tally(None, b"1", 9))


def _look_twice(store: Storage, say: Say) -> dict[str, object]:
    say(_everything(store))
    say.hear()
    return _everything(store)


def _deposit_and_count(store: Storage, _say: Say, _number: int) -> list[tuple[int, int]]:
    def count(state: bytes | None, _: bytes | None) -> Tally[int]:
        counted = int(state or b"0") + 1
        return Tally(counted, b"%d" % counted, 9)

    return [
        (store.transact(CARD, deposit, key="count"), store.take_attempts(7, "a", count))
        for _ in range(_STEPS)
    ]


def _write_or_read(store: Storage, _say: Say, number: int) -> None:
    """The first deposits, the others look until all of that is done."""
    if number == 0:
        for _ in range(_DEPOSITS):
            store.transact(CARD, deposit)
        return
    first = last = 0
    for look in range(_MOST_LOOKS):
        view = store.view(CARD, "count")
        assert view.record is not None
        assert view.record.seconds == view.card.version >= last
        assert view.card.balance == view.card.version + 999
        assert len(store.entries(CARD, after=last)) >= view.card.version - 1 - last
        last = view.card.version
        first = first or last
        over = (last - 2) % _DEPOSITS == 0
        if over and (last > first or look > _MOST_LOOKS // 10):  # it may have come too late
            return


def _take_prizes(store: Storage, _say: Say, number: int) -> list[list[bool]]:
    """Try for each prize; whether this process got it: publish, bind, append, suspend."""
    card = f"SUMMER/{number + 1}"
    won = []
    for prize in range(_PRIZES):
        try:
            published = bool(store.publish("plan", "a", b"%d" % number, expected=prize))
        except VersionConflict:
            published = False
        row = CredentialRow("ani", b"%d" % prize, card, None)
        won.append(
            [
                published,
                store.bind(row, expected=None),
                store.append_audit(AuditRow(number, "", "", "", b""), after=prize),
                store.suspend(SuspenseRow(f"{prize}", number, "", "", b"")),
            ]
        )
    return won


def _do_the_job(store: Storage, _say: Say, _number: int) -> int:
    return store.add_cards("job", map(new_card, range(1, 501)))
