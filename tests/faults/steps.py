"""Slips in `transact` and `view`."""

import time
from collections import defaultdict
from contextlib import nullcontext
from threading import Lock

from cardbill.errors import StorageUnavailable
from cardbill.storage.checks import check_step
from cardbill.storage.contract import LARGEST_STATE, View
from tests.faults.sound import TakenApart
from tests.faults.table import WINDOW, caught_by


@caught_by("test_no_step_is_lost")
class NoLock(TakenApart):
    def guard(self):
        return nullcontext()


@caught_by("test_no_step_is_lost")
class ReadsOutsideTheLock(TakenApart):
    def transact(self, card, decide, *, key=None, seen=None):
        view = self.view(card, key)
        step = decide(view)
        if step.card is not None:
            with self._open():
                self.check(view.card, step)
                self.write(step)
        return step.outcome


@caught_by("test_the_version_must_be_the_next", "test_balance_and_hold_stay_in_bounds")
class WritesBeforeChecking(TakenApart):
    def check(self, seen, step):
        self.write_entries(step)
        super().check(seen, step)


@caught_by("test_an_error_in_a_step_goes_to_the_caller")
class WrapsErrors(TakenApart):
    def transact(self, card, decide, *, key=None, seen=None):
        try:
            return super().transact(card, decide, key=key)
        except OSError as error:
            raise StorageUnavailable("it broke") from error


@caught_by("test_a_step_without_a_card_writes_nothing")
class WritesWithoutACard(TakenApart):
    def transact(self, card, decide, *, key=None, seen=None):
        def noted(view):
            step = decide(view)
            if step.card is None:
                self.write_entries(step)
            return step

        return super().transact(card, noted, key=key)


@caught_by("test_the_version_must_be_the_next")
class IgnoresVersion(TakenApart):
    def check(self, seen, step):
        version = seen.version + 1
        super().check(seen, step._replace(card=step.card._replace(version=version)))


@caught_by("test_balance_and_hold_stay_in_bounds")
class HoldsMoreThanTheBalance(TakenApart):
    def check(self, seen, step):
        if step.card.held > step.card.balance >= 0:
            step = step._replace(card=step.card._replace(held=0))
        super().check(seen, step)


@caught_by("test_balance_and_hold_stay_in_bounds")
class BalanceBelowZero(TakenApart):
    def check(self, seen, step):
        super().check(seen, step._replace(card=step.card._replace(balance=2**62)))


@caught_by("test_a_state_of_64_kib_is_accepted_and_no_more")
class StateOffByOne(TakenApart):
    def check(self, seen, step):
        if len(step.card.state) == LARGEST_STATE:
            step = step._replace(card=step.card._replace(state=bytes(LARGEST_STATE + 1)))
        super().check(seen, step)


@caught_by("test_rows_of_another_card_are_refused")
class WritesRowsOfOthers(TakenApart):
    def check(self, seen, step):
        super().check(seen, step._replace(records=()))


@caught_by("test_entries_are_only_added")
class ReplacesEntries(TakenApart):
    def check(self, seen, step):
        check_step(seen, step)

    def write_entries(self, step):
        for entry in step.entries:
            rows = {row.seq: row for row in self._entries.get(entry.card, [])}
            rows[entry.seq] = entry
            self._entries[entry.card] = [rows[seq] for seq in sorted(rows)]


@caught_by("test_a_step_writes_card_entries_and_records")
class ForgetsRecords(TakenApart):
    def write(self, step):
        super().write(step._replace(records=()))


@caught_by("test_a_later_record_replaces_an_earlier")
class KeepsTheFirstRecord(TakenApart):
    def write(self, step):
        super().write(step._replace(records=()))
        for record in step.records:
            self._records.setdefault((record.card, record.key), record)


@caught_by("test_a_step_sees_card_record_and_revision")
class ShowsNoRecord(TakenApart):
    def _view(self, card, key):
        return super()._view(card, None)


@caught_by("test_readers_see_whole_steps")
class TornView(TakenApart):
    def view(self, card, key=None):
        before = super().view(card)
        time.sleep(WINDOW)
        return View(before.card, super().view(card, key).record, before.revision)


@caught_by("test_lists_see_one_moment")
class TornResolve(TakenApart):
    def resolve(self, kind, tokens, *, key=None):
        before = super().resolve(kind, tokens)
        if before is None:
            return None
        time.sleep(WINDOW)
        return before._replace(record=super().view(before.card.id, key).record)


@caught_by("test_steps_on_many_cards_keep_apart")
class SharesScratchSpace(TakenApart):
    """A lock for each card, and one place for what all of them are at."""

    def __init__(self):
        super().__init__()
        self.locks = defaultdict(Lock)
        self.step = None

    def transact(self, card, decide, *, key=None, seen=None):
        with self.locks[card]:
            view = self.view(card, key)
            self.step = decide(view)
            time.sleep(WINDOW)
            if self.step.card is not None:
                self.check(view.card, self.step)
                self.write(self.step)
            return self.step.outcome


@caught_by("test_a_step_may_have_many_rows")
class WritesAThousandRows(TakenApart):
    def write(self, step):
        super().write(step._replace(records=step.records[:1_000]))
