"""Stores with planted faults, each an imaginable slip, that the conformance suite must catch.

`python -m tests.store_faults` prints every test that catches each.
"""

import inspect
import time
from contextlib import AbstractContextManager, nullcontext

import pytest

from cardbill.errors import DuplicateCredential, StorageUnavailable, VersionConflict
from cardbill.storage.checks import check_step
from cardbill.storage.contract import LARGEST_STATE, LARGEST_TALLY, AttemptRow, Head, View
from cardbill.storage.memory import MemoryStorage
from cardbill.testing.conformance import StorageContract


def failures(store_class, names=None):
    """The error of each of the suite's tests that fails on such a store, by the test's name."""
    found = {}
    for name in names or (each for each in dir(StorageContract) if each.startswith("test_")):
        suite, store = StorageContract(), store_class()
        suite.durable = False
        given = {"store": store, "other": store, "open_store": lambda store=store: store}
        test = getattr(suite, name)
        try:
            test(**{argument: given[argument] for argument in inspect.signature(test).parameters})
        except pytest.skip.Exception:
            pass
        except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001  # it failed, that counts
            found[name] = error
    return found


class TakenApart(MemoryStorage):
    """Sound: the memory store's step in pieces, so that a fault can replace one of them."""

    def guard(self) -> AbstractContextManager[None]:
        return self._open()

    def transact(self, card, decide, *, key=None, seen=None):
        with self.guard():
            view = self._view(card, key)
            step = decide(view)
            if step.card is not None:
                self.check(view.card, step)
                self.write(step)
            return step.outcome

    def check(self, seen, step):
        check_step(seen, step)
        if step.entries and step.entries[0].seq != len(self._entries.get(seen.id, [])) + 1:
            check_step(seen, step._replace(entries=[*step.entries, step.entries[0]]))  # refuses

    def write(self, step):
        self._cards[step.card.id] = step.card
        self.write_entries(step)
        for record in step.records:
            self._records[record.card, record.key] = record

    def write_entries(self, step):
        for entry in step.entries:
            self._entries[entry.card] = [*self._entries.get(entry.card, []), entry]


FAULTS: dict[type[MemoryStorage], tuple[str, ...]] = {}


def caught_by(*names):
    """Note a planted fault, with tests that must catch it."""

    def note(fault):
        FAULTS[fault] = names
        return fault

    return note


# -- steps --------------------------------------------------------------------------------


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
        time.sleep(0)
        return View(before.card, super().view(card, key).record, before.revision)


# -- adding cards -------------------------------------------------------------------------


@caught_by("test_cards_are_added_all_or_none", "test_a_card_that_exists_is_refused")
class AddsUntilItFails(TakenApart):
    def add_cards(self, job, cards, **options):
        with self._open():
            added = 0
            for new in cards if job not in self._jobs else ():
                added += super().add_cards(f"{job}, {added}", [new], **options)
            return self._jobs.setdefault(job, added)


@caught_by("test_cards_become_visible_at_once")
class AddsInSight(TakenApart):
    def add_cards(self, job, cards, **options):
        def seen(new):
            self._cards[new.card.id] = new.card
            return new

        with self._open():
            if job in self._jobs:
                return self._jobs[job]
        new = list(map(seen, cards))
        for each in new:
            del self._cards[each.card.id]
        return super().add_cards(job, new, **options)


@caught_by("test_a_job_is_done_once")
class ForgetsJobs(TakenApart):
    def add_cards(self, job, cards, **options):
        self._jobs.clear()
        return super().add_cards(job, cards, **options)


@caught_by("test_a_job_is_done_once_by_many")
class LooksForTheJobTooEarly(TakenApart):
    def add_cards(self, job, cards, **options):
        if job in self._jobs:
            return self._jobs[job]
        time.sleep(0)
        with self._open():
            self._jobs.pop(job, None)
            return super().add_cards(job, cards, **options)


@caught_by("test_a_credential_in_use_is_drawn_again")
class DrawsAgainOnce(TakenApart):
    def add_cards(self, job, cards, *, redraw=None, approve=None):
        asked = set()

        def once(new):
            if new.card.id in asked:
                raise DuplicateCredential("again")
            asked.add(new.card.id)
            return redraw(new)

        return super().add_cards(job, cards, redraw=redraw and once, approve=approve)


@caught_by("test_a_card_may_be_left_out")
class CountsWhatWasLeftOut(TakenApart):
    def add_cards(self, job, cards, **options):
        offered = list(cards)
        added = super().add_cards(job, offered, **options)
        self._jobs[job] = len(offered) or added
        return self._jobs[job]


@caught_by(
    "test_a_job_is_approved_before_it_is_seen", "test_a_job_that_is_not_approved_adds_nothing"
)
class ApprovesTooLate(TakenApart):
    def add_cards(self, job, cards, *, redraw=None, approve=None):
        known = job in self._jobs
        added = super().add_cards(job, cards, redraw=redraw)
        if approve is not None and not known:
            approve(added)
        return added


# -- finding ------------------------------------------------------------------------------


@caught_by("test_tokens_are_resolved_in_order", "test_a_credential_in_use_is_refused")
class ResolvesAnyKind(TakenApart):
    def resolve(self, kind, tokens, *, key=None):
        return super().resolve("pin", tokens, key=key)


@caught_by("test_tokens_are_resolved_in_order")
class ResolvesTheLastToken(TakenApart):
    def resolve(self, kind, tokens, *, key=None):
        return super().resolve(kind, tokens[::-1], key=key)


@caught_by("test_a_credential_is_bound_if_there_is_none", "test_a_credential_goes_to_one_of_many")
class BindsOverAnybody(TakenApart):
    def bind(self, credential, *, expected):
        held = self._credentials.get(credential[:2])
        return super().bind(credential, expected=held and held.card)


@caught_by("test_a_credential_is_bound_anew_if_it_is_whose_one_thinks")
class BindsWhatIsNotThere(TakenApart):
    def bind(self, credential, *, expected):
        known = credential[:2] in self._credentials
        return super().bind(credential, expected=expected if known else None)


@caught_by("test_a_credential_is_bound_anew_if_it_is_whose_one_thinks")
class BindsTheCardAlone(TakenApart):
    def bind(self, credential, *, expected):
        held = self._credentials.get(credential[:2])
        kept = credential.sealed if held is None else held.sealed
        return super().bind(credential._replace(sealed=kept), expected=expected)


@caught_by("test_a_credential_is_bound_anew_if_it_is_whose_one_thinks")
class ListsWithTheFormerCard(TakenApart):
    def bind(self, credential, *, expected):
        before = {card: list(places) for card, places in self._opens.items()}
        bound = super().bind(credential, expected=expected)
        if bound and expected is not None:
            self._opens = before
        return bound


@caught_by("test_a_credential_is_bound_to_cards_that_are_there")
class BindsToNoCard(TakenApart):
    def bind(self, credential, *, expected):
        if credential.card not in self._cards:
            return False
        return super().bind(credential, expected=expected)


@caught_by("test_a_credential_goes_to_one_of_many")
class BindsCheckedTooEarly(TakenApart):
    def bind(self, credential, *, expected):
        held = self._credentials.get(credential[:2])
        if (held and held.card) != expected:
            return False
        time.sleep(0)
        with self._open():
            held = self._credentials.get(credential[:2])
            return super().bind(credential, expected=held and held.card)


@caught_by("test_a_credential_is_removed_if_it_is_whose_one_thinks")
class UnbindsAnybodys(TakenApart):
    def unbind(self, kind, token, *, expected):
        held = self._credentials.get((kind, token))
        return super().unbind(kind, token, expected=held.card if held else expected)


@caught_by("test_a_credential_is_removed_if_it_is_whose_one_thinks")
class UnbindsAnyKind(TakenApart):
    def unbind(self, kind, token, *, expected):
        return super().unbind(kind.lower(), token, expected=expected)


@caught_by("test_due_cards_come_by_instant_and_id")
class DueIgnoresAfter(TakenApart):
    def due(self, at, *, after=None, limit=500):
        return super().due(at, limit=limit)


@caught_by("test_due_cards_come_by_instant_and_id")
class DuePassesOverEqualInstants(TakenApart):
    def due(self, at, *, after=None, limit=500):
        return super().due(at, after=after and (after[0], "\U0010ffff"), limit=limit)


@caught_by("test_cards_of_a_batch_come_by_serial")
class FindsOffByOne(TakenApart):
    def find_cards(self, batch, *, after=0, limit=500):
        return super().find_cards(batch, after=after + 1 if after else 0, limit=limit)


@caught_by("test_entries_come_by_seq")
class EntriesOffByOne(TakenApart):
    def entries(self, card, *, after=0, limit=500):
        return super().entries(card, after=after + 1 if after else 0, limit=limit)


@caught_by("test_records_come_by_card_and_key")
class RecordsByDictionary(TakenApart):
    def records(self, *, card=None, batch=None, after=None, limit=500):
        every = super().records(card=card, batch=batch, limit=10_000)
        rows = sorted(every, key=lambda row: (row.card.lower(), row.key.lower()))
        return [row for row in rows if after is None or row[:2] > after][:limit]


# -- what belongs to no card --------------------------------------------------------------


@caught_by("test_an_event_is_suspended_once")
class SuspendsTheLatest(TakenApart):
    def suspend(self, event):
        new = super().suspend(event)
        self._suspense[event.key] = event
        return new


@caught_by("test_a_version_that_was_not_expected_is_refused")
class PublishesUnchecked(TakenApart):
    def publish(self, kind, name, content, *, expected):
        newest = len(self._contents.get((kind, name), []))
        return super().publish(kind, name, content, expected=newest)


@caught_by("test_one_of_many_publishers_wins")
class PublishesCheckedTooEarly(TakenApart):
    def publish(self, kind, name, content, *, expected):
        if len(self._contents.get((kind, name), [])) != expected:
            raise VersionConflict(name)
        time.sleep(0)
        with self._open():
            newest = len(self._contents.get((kind, name), []))
            super().publish(kind, name, content, expected=newest)
            return Head(kind, name, expected + 1)


@caught_by("test_a_catalogue_name_has_versions", "test_a_step_sees_card_record_and_revision")
class RevisionOfOneName(TakenApart):
    def publish(self, kind, name, content, *, expected):
        head = super().publish(kind, name, content, expected=expected)
        self._revision = head.version - 1
        return head


@caught_by("test_an_audit_row_follows_the_newest_or_none")
class AppendsAnywhere(TakenApart):
    def append_audit(self, row, *, after):
        return super().append_audit(row, after=len(self._audit))


@caught_by("test_every_audit_row_follows_one_other")
class AppendsCheckedTooEarly(TakenApart):
    def append_audit(self, row, *, after):
        if len(self._audit) != after:
            return False
        time.sleep(0)
        with self._open():
            return super().append_audit(row, after=len(self._audit))


@caught_by("test_credentials_of_every_kind_are_listed")
class ListsPinsOnly(TakenApart):
    def credentials(self, cards, kind=None):
        return super().credentials(cards, kind or "pin")


@caught_by("test_rows_are_counted")
class CountsCardsTwice(TakenApart):
    def counts(self):
        return super().counts()._replace(credentials=len(self._cards))


@caught_by("test_jobs_come_by_key")
class JobsByDictionary(TakenApart):
    def jobs(self, *, after="", limit=500):
        rows = sorted(self._jobs.items(), key=lambda row: row[0].lower())
        return [row for row in rows if row[0] > after][:limit]


# -- attempts -----------------------------------------------------------------------------


@caught_by("test_no_attempt_is_lost", "test_no_change_of_a_book_is_lost")
class CountsOutsideTheLock(TakenApart):
    def take_attempts(self, group, subject, decide):
        kept, book = (self._attempts.get((group, each)) for each in (subject, ""))
        tally = decide(kept and kept.state, book and book.state)
        return super().take_attempts(group, subject, lambda *_: tally)


@caught_by("test_no_change_of_a_book_is_lost")
class LocksTheSubjectOnly(TakenApart):
    """The book is read before the lock."""

    def take_attempts(self, group, subject, decide):
        book = self._attempts.get((group, ""))
        return super().take_attempts(
            group, subject, lambda state, _: decide(state, book and book.state)
        )


@caught_by("test_a_list_of_attempts_sees_one_moment")
class WritesTheBookLater(TakenApart):
    def take_attempts(self, group, subject, decide):
        tallies = []

        def first(state, book):
            tallies.append(decide(state, book))
            return tallies[-1]._replace(book=None)

        with self._lock:
            outcome = super().take_attempts(group, subject, first)
            if tallies[-1].book is None:
                return outcome
            self._lock.release()
            time.sleep(0.0001)
            self._lock.acquire()
            return super().take_attempts(group, subject, lambda state, _: tallies[-1])


@caught_by("test_attempts_are_kept_by_subject")
class FoldsSubjects(TakenApart):
    def take_attempts(self, group, subject, decide):
        return super().take_attempts(group, subject.lower(), decide)


@caught_by("test_each_group_has_a_book")
class HasOneGroup(TakenApart):
    def take_attempts(self, group, subject, decide):
        return super().take_attempts(min(group, 0), subject, decide)


@caught_by("test_each_group_has_a_book")
class ForgetsTheBookWithTheSubject(TakenApart):
    def take_attempts(self, group, subject, decide):
        outcome = super().take_attempts(group, subject, decide)
        if (group, subject) not in self._attempts:
            self._attempts.pop((group, ""), None)
        return outcome


@caught_by("test_each_group_has_a_book")
class WritesTheBookWithAStateOnly(TakenApart):
    def take_attempts(self, group, subject, decide):
        def kept(state, book):
            tally = decide(state, book)
            return tally if tally.state is not None else tally._replace(book=None)

        return super().take_attempts(group, subject, kept)


@caught_by("test_what_is_no_subject_of_a_group_is_refused")
class TakesAnyGroup(TakenApart):
    def take_attempts(self, group, subject, decide):
        return super().take_attempts(group % 256, subject, decide)


@caught_by("test_what_is_no_subject_of_a_group_is_refused")
class TakesABookForASubject(TakenApart):
    def take_attempts(self, group, subject, decide):
        return super().take_attempts(group, subject or " ", decide)


@caught_by("test_attempts_are_kept_by_subject", "test_a_subject_is_forgotten")
class TakesEmptyForNothing(TakenApart):
    def take_attempts(self, group, subject, decide):
        return super().take_attempts(
            group, subject, lambda state, book: decide(state or None, book)
        )


@caught_by("test_a_subject_is_forgotten")
class KeepsWhatIsToBeForgotten(TakenApart):
    def take_attempts(self, group, subject, decide):
        def kept(state, book):
            tally = decide(state, book)
            return tally if tally.state is not None else tally._replace(state=state)

        return super().take_attempts(group, subject, kept)


@caught_by("test_a_subject_is_forgotten")
class ForgetsEverybody(TakenApart):
    def take_attempts(self, group, subject, decide):
        outcome = super().take_attempts(group, subject, decide)
        if (group, subject) not in self._attempts:
            self._attempts = {place: row for place, row in self._attempts.items() if not place[1]}
        return outcome


@caught_by("test_an_error_in_a_tally_goes_to_the_caller")
class KeepsAttemptsThatFailed(TakenApart):
    def take_attempts(self, group, subject, decide):
        with self._open():
            self._attempts.setdefault((group, subject), AttemptRow(group, subject, b"", 0))
            return super().take_attempts(group, subject, decide)


@caught_by("test_a_tally_of_4_kib_is_accepted_and_no_more")
class CutsLongTallies(TakenApart):
    def take_attempts(self, group, subject, decide):
        def cut(*seen):
            tally = decide(*seen)
            return tally._replace(state=tally.state and tally.state[:LARGEST_TALLY])

        return super().take_attempts(group, subject, cut)


@caught_by("test_a_tally_of_4_kib_is_accepted_and_no_more")
class CutsLongBooks(TakenApart):
    def take_attempts(self, group, subject, decide):
        def cut(*seen):
            tally = decide(*seen)
            return tally._replace(book=tally.book and tally.book[:LARGEST_TALLY])

        return super().take_attempts(group, subject, cut)


@caught_by("test_attempts_are_listed_in_order")
class ListsByDictionary(TakenApart):
    def attempts(self, *, after=None, limit=500):
        rows = sorted(self._attempts.values(), key=lambda row: (row.group, row.subject.lower()))
        return [row for row in rows if after is None or row[:2] > after][:limit]


@caught_by("test_attempts_are_listed_in_order")
class ListsGroupsAsText(TakenApart):
    def attempts(self, *, after=None, limit=500):
        rows = sorted(self._attempts.values(), key=lambda row: (str(row.group), row.subject))
        return [row for row in rows if after is None or row[:2] > after][:limit]


@caught_by("test_attempts_are_listed_in_order")
class LeavesBooksOut(TakenApart):
    def attempts(self, *, after=None, limit=500):
        return [row for row in super().attempts(after=after, limit=9_999) if row.subject][:limit]


@caught_by("test_attempts_past_their_time_are_told")
class OverTooEarly(TakenApart):
    def attempts_over(self, at, *, limit=500):
        return super().attempts_over(at + 1, limit=limit)


@caught_by("test_attempts_past_their_time_are_told")
class OverTooLate(TakenApart):
    def attempts_over(self, at, *, limit=500):
        return super().attempts_over(at - 1, limit=limit)


@caught_by("test_attempts_past_their_time_are_told")
class TellsAllAtOnce(TakenApart):
    def attempts_over(self, at, *, limit=500):
        return super().attempts_over(at, limit=10_000)


@caught_by("test_attempts_past_their_time_are_told")
class TellsBooksToo(TakenApart):
    def attempts_over(self, at, *, limit=500):
        return [row[:2] for row in self._attempts.values() if row.keep_until <= at][:limit]


@caught_by("test_attempts_past_their_time_are_told")
class KeepsTheFirstDeadline(TakenApart):
    def take_attempts(self, group, subject, decide):
        kept = self._attempts.get((group, subject))

        def first(*seen):
            tally = decide(*seen)
            return tally if kept is None else tally._replace(keep_until=kept.keep_until)

        return super().take_attempts(group, subject, first)


@caught_by("test_attempts_past_their_time_are_told")
class IgnoresADeadlineAlone(TakenApart):
    def take_attempts(self, group, subject, decide):
        kept = self._attempts.get((group, subject))

        def changed(state, book):
            tally = decide(state, book)
            if kept is None or tally.state != state:
                return tally
            return tally._replace(keep_until=kept.keep_until)

        return super().take_attempts(group, subject, changed)


@caught_by("test_a_closed_store_says_so")
class StaysOpen(TakenApart):
    def close(self):
        pass


if __name__ == "__main__":
    stores: list[type[MemoryStorage]] = [MemoryStorage, TakenApart, *FAULTS]
    for each in stores:
        print(f"{each.__name__}: {', '.join(failures(each)) or 'nothing'}", flush=True)
