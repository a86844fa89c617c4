"""Processes of their own that begin at the same moment, round after round.

A crew is started once, as interpreters are slow to start, and killed in the end whatever
happened. Each of its processes opens a store when it is first told of it, says that it is
ready and waits at a gate: a pipe that all of them read one byte of.
"""

import os
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from inspect import isgenerator
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple

import cardbill
from cardbill import Engine, Keyring
from cardbill.testing.lines import send
from tests.building import START

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 60  # seconds without a word from a process, before the test fails
READY = "ready"
_SERVE = "import sys; from tests.crew import serve; serve(*map(int, sys.argv[1:]))"


class Place(NamedTuple):
    """Where a crew works: the address of a store and the file of its keys."""

    url: str
    keys: str


class Said(NamedTuple):
    """What a process has to say: one of several answers, the last one, or what went wrong."""

    answer: Any
    last: bool = False
    failed: bool = False


# -- in the test's process ----------------------------------------------------------------------


class Hand:
    """One process of a crew, and the line to it."""

    def __init__(self, gate: int) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-c", _SERVE, str(theirs.fileno()), str(gate)]
            self.process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.DEVNULL, pass_fds=(theirs.fileno(), gate)
            )
        self.line = Connection(ours.detach())
        self.busy = False

    @property
    def idle(self) -> bool:
        """Whether it can be told something: neither dead nor left behind by a failed test."""
        return not self.busy and self.process.poll() is None

    def tell(self, *work: Any) -> None:
        self.busy = True
        send(self.line, work)

    def hear(self) -> Any:
        """Wait for its next answer; `EOFError`: it is dead, and all it said was heard."""
        if not self.line.poll(PATIENCE):
            raise TimeoutError(f"process {self.process.pid} said nothing for {PATIENCE} s")
        said = self.line.recv()
        self.busy = not said.last
        if said.failed:
            raise AssertionError(said.answer)
        return said.answer

    def kill(self) -> None:
        """Kill it as `kill -9` does, and wait until it is dead."""
        self.process.kill()
        self.process.wait(PATIENCE)

    def part(self) -> None:
        try:
            self.kill()
        finally:
            self.line.close()


def speaking(hands: Sequence[Hand]) -> list[Hand]:
    """Wait until some of them have something to say; return those."""
    lines = wait([hand.line for hand in hands], PATIENCE)
    if not lines:
        raise TimeoutError(f"none of {len(hands)} processes said anything for {PATIENCE} s")
    return [hand for hand in hands if hand.line in lines]


class Crew:
    """Processes that do the same work at the same moment; started when first needed."""

    def __init__(self) -> None:
        self._gate, self._bell = os.pipe()
        self._hands: list[Hand] = []

    def begin(
        self, place: Place, work: Callable[..., Any], requests: Sequence[dict[str, Any]]
    ) -> list[Hand]:
        """Let one process per request run `work(engine, **request)`, all from the same moment.

        Args:
            place: The store to open an engine on.
            work: A function that pickles by its name; what a generator yields is heard one
                by one, as soon as it is yielded, and then what it returns.
            requests: The named arguments of each.
        """
        self.dismiss([hand for hand in self._hands if not hand.idle])
        while len(self._hands) < len(requests):
            self._hands.append(Hand(self._gate))
        hands = self._hands[: len(requests)]
        for hand, request in zip(hands, requests, strict=True):
            hand.tell(place, work, request)
        for hand in hands:
            assert hand.hear() == READY
        os.write(self._bell, bytes(len(hands)))
        return hands

    def rush(
        self, place: Place, work: Callable[..., Any], requests: Sequence[dict[str, Any]]
    ) -> list[Any]:
        """Do the same and return the answers, in the order of the requests."""
        return [hand.hear() for hand in self.begin(place, work, requests)]

    def dismiss(self, hands: Sequence[Hand]) -> None:
        """Kill them; others are started when they are needed."""
        with ExitStack() as goodbyes:
            for hand in hands:
                self._hands.remove(hand)
                goodbyes.callback(hand.part)

    def close(self) -> None:
        try:
            self.dismiss(self._hands.copy())
        finally:
            os.close(self._gate)
            os.close(self._bell)


@contextmanager
def gathered() -> Iterator[Crew]:
    """A crew for as long as it is needed."""
    crew = Crew()
    try:
        yield crew
    finally:
        crew.close()


# -- in the others ------------------------------------------------------------------------------


def serve(line: int, gate: int) -> None:
    """Do what one is told until nobody is left who tells."""
    at, bill = None, None
    with Connection(line) as test:
        while True:
            try:
                place, work, request = test.recv()
            except (EOFError, ConnectionResetError):
                return
            try:
                if place != at:
                    if bill is not None:
                        bill.close()
                    bill, at = _open(place), place
                send(test, Said(READY))
                if not os.read(gate, 1):
                    return
                answer = work(bill, **request)
                if isgenerator(answer):
                    answer = _tell(test, answer)
                send(test, Said(answer, last=True))
            except BrokenPipeError:
                return
            except Exception:  # noqa: BLE001  # the test is told of it
                send(test, Said(traceback.format_exc(), last=True, failed=True))


def _open(place: Place) -> Engine:
    return cardbill.open(place.url, keyring=Keyring.load(place.keys), clock=_start)


def _start() -> datetime:
    return START


def _tell(test: Connection, answers: Iterator[Any]) -> Any:
    """Send each answer before the next is worked for; return what the generator returns."""
    while True:
        try:
            answer = next(answers)
        except StopIteration as end:
            return end.value
        send(test, Said(answer))
