"""Slips in what is kept of attempts at PINs."""

import time

from cardbill.storage.contract import LARGEST_TALLY, AttemptRow
from tests.faults.sound import TakenApart
from tests.faults.table import WINDOW, caught_by


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
            time.sleep(WINDOW)
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


@caught_by("test_a_subject_is_forgotten")
class ForgetsByPrefix(TakenApart):
    def take_attempts(self, group, subject, decide):
        outcome = super().take_attempts(group, subject, decide)
        if (group, subject) not in self._attempts:
            for place in [place for place in self._attempts if place[1].startswith(subject)]:
                del self._attempts[place]
        return outcome


@caught_by("test_parts_of_a_key_are_kept_apart")
class JoinsGroupAndSubject(TakenApart):
    def take_attempts(self, group, subject, decide):
        for place in self._attempts:
            if place[1] and "{}{}".format(*place) == f"{group}{subject}":
                return super().take_attempts(*place, decide)
        return super().take_attempts(group, subject, decide)
