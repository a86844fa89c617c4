"""Slips in what belongs to no card: suspense, catalogue, log, and the lists of rows."""

import time

from cardbill.errors import VersionConflict
from cardbill.storage.contract import Head
from tests.faults.sound import TakenApart
from tests.faults.table import WINDOW, caught_by


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
        time.sleep(WINDOW)
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
        time.sleep(WINDOW)
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


@caught_by("test_versions_and_positions_pass_ten")
class TakesTheNewestVersionAsText(TakenApart):
    def publish(self, kind, name, content, *, expected):
        versions = range(1, len(self._contents.get((kind, name), [])) + 1)
        if max(map(str, versions), default="0") != str(expected):
            raise VersionConflict(name)
        return super().publish(kind, name, content, expected=expected)


@caught_by("test_versions_and_positions_pass_ten")
class TakesTheNewestRowAsText(TakenApart):
    def append_audit(self, row, *, after):
        newest = max(map(str, range(1, len(self._audit) + 1)), default="0")
        return newest == str(after) and super().append_audit(row, after=after)


@caught_by("test_lists_see_one_moment")
class CountsOneAfterTheOther(TakenApart):
    def counts(self):
        before = super().counts()
        time.sleep(WINDOW)
        return super().counts()._replace(cards=before.cards)


@caught_by("test_lists_see_one_moment")
class ReadsTheRevisionLast(TakenApart):
    """Whoever keeps what was listed as that of this revision keeps an old price."""

    def catalogue(self):
        heads = super().catalogue()[1]
        time.sleep(WINDOW)
        return super().catalogue()[0], heads
