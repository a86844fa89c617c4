"""A sound store behind a server: the memory store's rows, asked for over a connection."""

import threading
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Client, Connection, Listener
from typing import Any

from cardbill.errors import CardbillError, ConstraintViolated, StorageClosed, StorageUnavailable
from cardbill.storage.checks import check_step
from cardbill.storage.memory import MemoryStorage
from cardbill.testing.lines import send
from tests.faults.filed import WRITES


class Rows(MemoryStorage):
    """What the server keeps, with steps as a client can send them: with what they are based on."""

    def swap(self, seen, key, step):
        """Take a step if the card is as it was seen; False: it is not."""

        def decide(now):
            return step._replace(outcome=True) if now == seen else step._replace(card=None)

        return self.transact(seen.card.id, decide, key=key) is True

    def count(self, group, subject, seen, tally):
        """The same of a subject's attempts."""

        def decide(*now):
            if now != seen:
                raise LookupError
            return tally._replace(outcome=True)

        try:
            return self.take_attempts(group, subject, decide)
        except LookupError:
            return False

    def look(self, group, subject):
        kept = {row[:2]: row.state for row in self.attempts(limit=10_000)}
        return kept.get((group, subject)), kept.get((group, ""))


class Server:
    """Answers one request after the other, each connection in a thread."""

    def __init__(self) -> None:
        self.rows = Rows()
        self.listener = Listener(("127.0.0.1", 0))
        self.port = self.listener.address[1]
        self.lines: list[Connection] = []
        threading.Thread(target=self.accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with suppress(OSError):
            Client(("127.0.0.1", self.port)).close()  # to wake it
        self.listener.close()

    def accept(self):
        while True:
            try:
                line = self.listener.accept()
            except (OSError, EOFError):
                return
            threading.Thread(target=self.serve, args=(line,), daemon=True).start()

    def serve(self, line):
        with line, suppress(OSError, EOFError):
            while True:
                method, values, options = line.recv()
                try:
                    answer = True, getattr(self.rows, method)(*values, **options)
                except CardbillError as error:
                    answer = False, error
                send(line, answer)


class Wired:
    """One connection, made anew after it broke; whoever asked is told what is known."""

    def __init__(self, host: str, port: int) -> None:
        self.place = (host, port)
        self.line: Any = None
        self.turn = threading.RLock()
        self.closed = False

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or not hasattr(MemoryStorage, name):
            raise AttributeError(name)
        return partial(self.ask, name)

    def transact(self, card, decide, *, key=None, seen=None):
        while True:
            view = self.ask("view", card, key)
            step = decide(view)
            if step.card is None:
                return step.outcome
            check_step(view.card, step)
            if self.ask("swap", view, key, step._replace(outcome=None)):
                return step.outcome
            if self.ask("view", card, key) == view:
                raise ConstraintViolated("entries")

    def take_attempts(self, group, subject, decide):
        while True:
            seen = self.ask("look", group, subject)
            tally = decide(*seen)
            if self.ask("count", group, subject, seen, tally._replace(outcome=None)):
                return tally.outcome

    def add_cards(self, job, cards, *, redraw=None, approve=None):
        return self.ask("add_cards", job, list(cards))

    def ask(self, method: str, *values: Any, **options: Any) -> Any:
        with self.turn:
            if self.closed:
                raise StorageClosed("it was closed")
            sent = False
            try:
                if self.line is None:
                    self.line = self.connect()
                sent = True
                send(self.line, (method, values, options))
                fine, answer = self.line.recv()
            except (OSError, EOFError) as error:
                return self.broken(error, sent, method, values, options)
        if not fine:
            raise answer
        return answer

    def connect(self):
        return Client(self.place)

    def broken(self, error, sent, method, values, options):
        """Let go of the connection, and say what is known of the request."""
        if self.line is not None:
            self.line.close()
            self.line = None
        unknown = sent and (method in WRITES or method in {"swap", "count"})
        raise StorageUnavailable("cut off", outcome_unknown=unknown) from error

    def close(self) -> None:
        with self.turn:
            self.closed = True
            if self.line is not None:
                self.line.close()
                self.line = None
