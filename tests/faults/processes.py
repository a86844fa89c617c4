"""Slips that show when processes share a store, or die."""

import os
import pickle
import threading
import time
from contextlib import contextmanager
from itertools import islice

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
