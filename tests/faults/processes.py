"""Slips that show when processes share a store, or die."""

import fcntl
import os
import pickle
import threading
import time
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

from cardbill.errors import StorageUnavailable
from cardbill.storage.memory import MemoryStorage
from tests.faults.filed import Filed
from tests.faults.table import WINDOW, caught_by

_THREADS = threading.RLock()


@caught_by(
    "test_processes_lose_no_step",
    "test_one_of_many_processes_wins",
    errors=(EOFError,),  # of two who write the same new file
)
class LocksThreadsOnly(Filed):
    @contextmanager
    def lock(self):
        with _THREADS:
            yield


@caught_by("test_processes_lose_no_step", "test_one_of_many_processes_wins")
class ReadsBeforeTheLock(Filed):
    def write(self, method, *values, **options):
        rows = self.load()
        time.sleep(WINDOW)
        with self.lock():
            answer = getattr(rows, method)(*values, **options)
            self.save(rows)
            return answer


@caught_by("test_a_job_is_done_once_by_many_processes")
class LooksForTheJobBeforeTheLock(Filed):
    """And then adds what is not there yet, as `ON CONFLICT DO NOTHING` does."""

    def write(self, method, *values, **options):
        if method != "add_cards":
            return super().write(method, *values, **options)
        job, cards = values
        if (done := dict(self.read("jobs")).get(job)) is not None:
            return done
        time.sleep(0.1)
        part = f"{job} of {os.getpid()}"
        added = super().write("add_cards", part, cards, redraw=lambda _: None)
        super().write("add_cards", job, [])
        return added


@caught_by("test_readers_in_other_processes_see_whole_steps", errors=(EOFError,))
class WritesInPlace(Filed):
    def save(self, rows):
        with self.path.open("wb", buffering=0) as file:
            packed = self.packed(rows)
            file.write(packed[:-1])
            time.sleep(WINDOW)
            file.write(packed[-1:])


@caught_by("test_what_was_acknowledged_survives_kill_9")
class SavesOnClose(Filed):
    """Durable by its word, and when it is closed in good order."""

    def load(self):
        if "rows" not in vars(self):
            self.rows = super().load()
        return self.rows

    def save(self, rows):
        pass

    def close(self):
        if "rows" in vars(self) and not self.closed:
            super().save(self.rows)
        super().close()


@caught_by("test_what_was_acknowledged_survives_kill_9")
class SavesNowAndThen(SavesOnClose):
    """As a log that is flushed every so many writes."""

    writes = 0

    def save(self, rows):
        self.writes += 1
        if self.writes % 7 == 0:
            Filed.save(self, rows)


@caught_by("test_what_was_written_outlives_closing")
class NeverSaves(Filed):
    def load(self):
        return vars(self).setdefault("rows", super().load())

    def save(self, rows):
        pass


@caught_by("test_what_was_acknowledged_survives_kill_9")
class KeepsEntriesApart(Filed):
    """The card first, its entries a moment later: two commits for one step."""

    def save(self, rows):
        whole = dict(rows._entries)
        for card in whole:
            rows._entries[card] = whole[card][:-1]
        super().save(rows)
        time.sleep(20 * WINDOW)  # most of the time, so that a kill meets it
        rows._entries.update(whole)
        super().save(rows)


@caught_by("test_a_process_killed_in_a_step_is_not_waited_for")
class LeavesItsLock(Filed):
    """A lock that is a file: who is killed never removes it."""

    @contextmanager
    def lock(self):
        until = time.monotonic() + 1
        while True:
            try:
                os.close(os.open(self.path.with_suffix(".lock"), os.O_CREAT | os.O_EXCL))
                break
            except FileExistsError:
                if time.monotonic() > until:
                    raise StorageUnavailable("locked") from None
                time.sleep(0.001)
        try:
            yield
        finally:
            self.path.with_suffix(".lock").unlink()


@caught_by("test_a_job_that_is_killed_adds_nothing")
class AddsAsItReads(Filed):
    """Whoever dies in the midst leaves half a job."""

    def write(self, method, *values, **options):
        if method != "add_cards":
            return super().write(method, *values, **options)
        job, cards = values
        added = 0
        for part in iter(lambda: list(islice(cards, 500)), []):
            added += super().write("add_cards", f"{job} {part[0].card.id}", part)
        super().write("add_cards", job, [])
        return added


@caught_by("test_what_was_acknowledged_survives_kill_9")
class TearsWhenKilled(Filed):
    """Writes in place, and takes what cannot be read for an empty store."""

    def save(self, rows):
        packed = self.packed(rows)
        with self.path.open("wb", buffering=0) as file:
            for place in range(0, len(packed), 64):
                file.write(packed[place : place + 64])
                time.sleep(WINDOW)

    def load(self):
        try:
            return super().load()
        except (EOFError, pickle.UnpicklingError):
            return MemoryStorage()


@caught_by("test_asking_in_a_job_lets_nobody_in")
class UnlocksWhenItReads(Filed):
    """A handle has one lock, and does not count how often it was taken."""

    def read(self, method, *values, **options):
        if (file := getattr(_HOLDS, "file", None)) is not None:
            fcntl.flock(file, fcntl.LOCK_UN)
        return super().read(method, *values, **options)

    @contextmanager
    def lock(self):
        with self.path.with_suffix(".lock").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            _HOLDS.file = file
            try:
                yield
            finally:
                _HOLDS.file = None


_HOLDS = threading.local()


class Caches(Filed):
    """What it has read it reads no more, until a write of the same process."""

    methods: ClassVar[set[str]] = set()

    def read(self, method, *values, **options):
        if self.closed or method not in self.methods:
            return super().read(method, *values, **options)
        place = (self.path, method, repr((values, options)))
        if place not in _READ:
            _READ[place] = super().read(method, *values, **options)
        return _READ[place]

    def write(self, method, *values, **options):
        answer = super().write(method, *values, **options)
        for place in [place for place in list(_READ) if place[0] == self.path]:
            _READ.pop(place, None)
        return answer


_READ: dict[tuple[Path, str, str], Any] = {}


@caught_by("test_what_was_read_once_is_read_anew")
class CachesTheCatalogue(Caches):
    methods: ClassVar = {"catalogue"}


@caught_by("test_what_was_read_once_is_read_anew")
class CachesCredentials(Caches):
    methods: ClassVar = {"resolve", "credentials"}


@caught_by("test_what_was_read_once_is_read_anew")
class CachesLists(Caches):
    methods: ClassVar = {"find_cards", "due", "jobs", "records", "audit_log", "suspended"}


class Delays(Filed):
    """Some changes wait in the process for the next of another kind, or for closing."""

    methods: ClassVar[set[str]] = set()

    def load(self):
        rows = super().load()
        for method, values, options in _WAITING.get(self.path, ()):
            getattr(rows, method)(*values, **options)
        return rows

    def write(self, method, *values, **options):
        if self.closed or method not in self.methods:
            answer = super().write(method, *values, **options)
            _WAITING.pop(self.path, None)
            return answer
        answer = getattr(self.load(), method)(*values, **options)
        _WAITING.setdefault(self.path, []).append((method, values, options))
        return answer

    def close(self):
        if not self.closed and self.path in _WAITING:
            with self.lock():
                self.save(self.load())
                del _WAITING[self.path]
        super().close()


_WAITING: dict[Path, list[Any]] = {}


@caught_by("test_every_answer_survives_kill_9")
class BuffersTheLog(Delays):
    methods: ClassVar = {"append_audit", "suspend"}


@caught_by("test_every_answer_survives_kill_9")
class BuffersBindings(Delays):
    methods: ClassVar = {"bind", "unbind"}


@caught_by("test_every_answer_survives_kill_9")
class BuffersAttempts(Delays):
    methods: ClassVar = {"take_attempts"}


@caught_by("test_closing_one_leaves_others_open")
class ClosesForAll(Filed):
    """One connection of the process, which the first to close takes away."""

    def __init__(self, path):
        super().__init__(path)
        self.users = _USERS.setdefault(path, [])
        self.users.append(self)

    def close(self):
        for each in self.users:
            each.closed = True
        _USERS.pop(self.path, None)


_USERS: dict[Path, list[Any]] = {}


@caught_by("test_closing_gives_back_everything")
class KeepsFilesOpen(Filed):
    def __init__(self, path):
        super().__init__(path)
        _KEPT.append(path.with_suffix(".log").open("ab"))


_KEPT: list[Any] = []


@caught_by("test_closing_gives_back_everything")
class KeepsFilesOfThreads(Filed):
    """Each thread has a file of its own, and who closes the store closes that of its thread."""

    def read(self, method, *values, **options):
        if getattr(_OWN, "file", None) is None:
            _OWN.file = self.path.with_suffix(".log").open("ab")
            _KEPT.append(_OWN.file)
        return super().read(method, *values, **options)

    def close(self):
        if (file := getattr(_OWN, "file", None)) is not None:
            file.close()
            _OWN.file = None
        super().close()


_OWN = threading.local()


@caught_by("test_closing_amid_steps_loses_none", errors=(ValueError,))  # of a closed file
class ClosesUnderAStep(Filed):
    """What a step is about to use is gone when another thread closes the store."""

    def __init__(self, path):
        super().__init__(path)
        self.log = path.with_suffix(".log").open("ab")

    @contextmanager
    def lock(self):
        with super().lock():
            time.sleep(WINDOW)
            self.log.flush()
            yield

    def close(self):
        super().close()
        self.log.close()
