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
