"""Other ways to play a history, which must all come to the same answers and the same ledger."""

from __future__ import annotations

import os
import random
import signal
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import zip_longest
from typing import Any

from cardbill.errors import StorageUnavailable
from tests.sale.cards import Answer
from tests.sale.desk import Desk, Move
from tests.sale.histories import Plainly, Played

MOST_TRIES = 50
KEEPS_REVISION = ("freeze", "thaw", "assign", "reprice", "publish")
"""What changes the catalogue, and no card."""


class Seeded(Plainly):
    """A way that draws something of its own."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(f"{type(self).__name__} {seed}")


class SweepingNowAndThen(Seeded):
    """Someone sweeps at instants between the moves, and right before them."""

    def before(self, desk: Desk, move: Move) -> None:
        clock = desk.shop.clock
        while self.rng.random() < 0.4:
            left = (move.at - clock.now) // timedelta(seconds=1)
            clock.tick(seconds=self.rng.randrange(left + 1))
            self.sweep(desk)
        clock.now = move.at
        if self.rng.random() < 0.3:
            self.sweep(desk)

    def sweep(self, desk: Desk) -> None:
        assert desk.shop.bill.sweep().failures == ()


class SweepingAlways(Plainly):
    """Someone sweeps before and after every move."""

    def before(self, desk: Desk, move: Move) -> None:
        desk.shop.clock.now = move.at
        assert desk.shop.bill.sweep().failures == ()

    def do(self, desk: Desk, move: Move) -> Answer:
        answer = desk.do(move)
        assert desk.shop.bill.sweep().failures == ()
        return answer


class TwoSweepsAtOnce(SweepingNowAndThen):
    """The same by two at the same time, each with an engine of its own."""

    def sweep(self, desk: Desk) -> None:
        with ThreadPoolExecutor(2) as both:
            done = list(both.map(lambda bill: bill.sweep(), (desk.shop.bill, desk.other)))
        assert [swept.failures for swept in done] == [(), ()]


class AskingAgain(Seeded):
    """Each request is made once more or several times, by two engines in turn."""

    def do(self, desk: Desk, move: Move) -> Answer:
        first = desk.do(move)
        for _ in range(self.rng.choice((1, 1, 3))):
            again = desk.do(move, self.rng.choice((None, desk.other)))
            assert plain(again) == plain(first), (move, first, again)
            assert again[-1] is not False, (move, "done twice", again)
        return first


class Failing(Seeded):
    """The store fails at commits: before them, or after them with an unknown outcome.

    Whoever asked asks again, until there is an answer: it fails less and less.
    """

    def do(self, desk: Desk, move: Move) -> Answer:
        failing = desk.shop.bill.storage
        transact, odds = failing.transact, 0.2

        def shaken(*arguments: Any, **more: Any) -> Any:
            fate = self.rng.random()
            if fate < odds:
                raise StorageUnavailable("cut before the commit", outcome_unknown=True)
            answer = transact(*arguments, **more)
            if fate < 2 * odds:
                raise StorageUnavailable("cut after the commit", outcome_unknown=True)
            return answer

        for _ in range(MOST_TRIES):
            failing.transact = shaken  # type: ignore[method-assign]
            try:
                return desk.do(move)
            except StorageUnavailable:
                odds *= 0.9
            finally:
                del failing.transact
        raise AssertionError("no answer")


class Dying(Seeded):
    """The process that works on a request is killed right before or after one of its commits.

    Another one asks again. Only for stores in files.
    """

    def do(self, desk: Desk, move: Move) -> Answer:
        if move.what not in KEEPS_REVISION and self.rng.random() < 0.5:
            die_in_a_child(desk, move, self.rng.choice((1, 1, 2, 3)), after=self.rng.random() < 0.5)
        return desk.do(move)


def die_in_a_child(desk: Desk, move: Move, commit: int, *, after: bool) -> None:
    """Let a child process do a move, and kill itself at a commit."""
    storage = desk.shop.bill.storage
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads of the test's own timer
        child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        assert killed or os.WEXITSTATUS(status) == 0, status
        return
    try:
        transact, commits = storage.transact, 0

        def deadly(*arguments: Any, **more: Any) -> Any:
            nonlocal commits
            commits += 1
            if commits == commit and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            answer = transact(*arguments, **more)
            if commits == commit:
                os.kill(os.getpid(), signal.SIGKILL)
            return answer

        storage.transact = deadly  # type: ignore[method-assign]
        desk.do(move)
    except BaseException:  # noqa: BLE001  # the parent is told
        os._exit(1)
    os._exit(0)  # it had no such commit


def plain(answer: Answer) -> Answer:
    """Return an answer without whether it was given before."""
    return answer[:-1] if answer[0] in ("granted", "record", "done") else answer


def difference(first: Played, other: Played) -> str:
    """Say where two ways to play came to another answer, or another ledger; empty: nowhere."""
    both = {"step": (list(map(plain, first.answers)), list(map(plain, other.answers)))}
    both |= {card: (first.books[card], other.books[card]) for card in first.books}
    for what, pair in both.items():
        for number, (one, another) in enumerate(zip_longest(*pair)):
            if one != another:
                return f"{what} {number}: {one}, and then {another}"
    return ""


WAYS: dict[str, Callable[[int], Plainly]] = {
    "sweeping now and then": SweepingNowAndThen,
    "sweeping always": lambda _seed: SweepingAlways(),
    "two sweeps at once": TwoSweepsAtOnce,
    "asking again": AskingAgain,
    "failing": Failing,
    "dying": Dying,
}
