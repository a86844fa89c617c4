"""Processes of their own that do their work at the same moment, or are killed in the midst of it.

They are started once, as interpreters are slow to start, and end with the crew. Each opens
the store anew for each piece of work.
"""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import pytest

from cardbill.storage.contract import Storage
from cardbill.testing.lines import send

PATIENCE = 60
"""Seconds without a word from a process before the test fails."""

Work = Callable[..., Any]
"""Called with the store, something to say words with, and its request; returns its answer."""


class Say:
    """The line of a process to who told it what to do.

    Args:
        line: Its end of it.
    """

    def __init__(self, line: Connection) -> None:
        self._line = line

    def __call__(self, word: Any) -> None:
        """Say a word."""
        send(self._line, _Said(word))

    def hear(self) -> Any:
        """Wait for a word."""
        return self._line.recv()


class _Told(NamedTuple):
    """What a process is told to do."""

    opener: bytes
    work: Work
    request: tuple[Any, ...]


class _Said(NamedTuple):
    """What a process says: one word of several, its answer, or what went wrong."""

    word: Any
    last: bool = False
    failed: bool = False


class Hand:
    """One process, and the line to it."""

    def __init__(self) -> None:
        context = get_context("spawn")  # a copy of this process would share its connections
        self._line, theirs = context.Pipe()
        self.busy = False
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()

    def tell(self, told: Any) -> None:
        self.busy = True
        send(self._line, told)

    def hear(self) -> Any:
        """Return its next word or its answer; `EOFError`: it is dead, and all it said was heard."""
        if not self._line.poll(PATIENCE):
            raise TimeoutError(f"a process said nothing for {PATIENCE} s")
        said: _Said = self._line.recv()
        self.busy = not said.last
        if said.failed:
            raise AssertionError(f"in a process of its own:\n{said.word}")
        return said.word

    def kill(self) -> list[Any]:
        """Kill it as ``kill -9`` does; return what it had said that nobody heard yet."""
        self._process.kill()
        self._process.join(PATIENCE)
        words: list[Any] = []
        try:
            while True:
                words.append(self.hear())
        except (EOFError, ConnectionResetError):
            return words

    def part(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self._process.join(PATIENCE)
        self._process.close()
        self._line.close()


class Crew:
    """Processes, started when they are first needed."""

    def __init__(self) -> None:
        self._hands: list[Hand] = []

    def begin(
        self, open_store: Callable[[], Storage], work: Work, requests: Sequence[tuple[Any, ...]]
    ) -> list[Hand]:
        """Let one process per request run `work(store, say, *request)`, all from one moment.

        Args:
            open_store: How each opens the store.
            work: A function that pickles by its name.
            requests: What each is given.
        """
        opener = _pickled(open_store)
        idle = [hand for hand in self._hands if not hand.busy]
        hands = [*idle, *(Hand() for _ in range(len(requests) - len(idle)))][: len(requests)]
        self._hands += [hand for hand in hands if hand not in idle]
        for hand, request in zip(hands, requests, strict=True):
            hand.tell(_Told(opener, work, request))
        for hand in hands:
            hand.hear()  # its store is open
        for hand in hands:
            hand.tell(None)
        return hands

    def rush(
        self, open_store: Callable[[], Storage], work: Work, requests: Sequence[tuple[Any, ...]]
    ) -> list[Any]:
        """Do the same and return the answers, in the order of the requests."""
        return [hand.hear() for hand in self.begin(open_store, work, requests)]

    def dismiss(self) -> None:
        """End all of them."""
        while self._hands:
            self._hands.pop().part()


def _pickled(open_store: Callable[[], Storage]) -> bytes:
    try:
        return pickle.dumps(open_store)
    except Exception as error:  # noqa: BLE001  # pickling raises whatever it likes
        pytest.fail(
            "what open_store returns must pickle, to open the store in another process: "
            f"return functools.partial(MyStorage, ...), or declare shared = False ({error})"
        )


def _serve(line: Connection) -> None:
    """Do what one is told until nobody is left who tells."""
    while True:
        try:
            told: _Told = line.recv()
        except (EOFError, ConnectionResetError):
            return
        try:
            with closing(pickle.loads(told.opener)()) as store:  # noqa: S301  # the test's own
                send(line, _Said("ready"))
                line.recv()
                answer = told.work(store, Say(line), *told.request)
            send(line, _Said(answer, last=True))
        except BaseException:  # noqa: BLE001  # the test is told of it, if it is still there
            with suppress(OSError):
                send(line, _Said(traceback.format_exc(), last=True, failed=True))
