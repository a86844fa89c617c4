"""What belongs to no card: events in suspense, the catalogue, the operators' log."""

from __future__ import annotations

from operator import attrgetter, itemgetter

import pytest

from cardbill.errors import UnknownName, VersionConflict
from cardbill.storage.contract import AuditRow, Head, Storage, SuspenseRow
from cardbill.testing.conformance.rows import IN_ORDER, paged


class Shelves:
    """What is kept beside the cards."""

    def test_an_event_is_suspended_once(self, store: Storage, other: Storage) -> None:
        """The first event of a key is kept; pages come by rising key, by code point."""
        rows = [SuspenseRow(key, 1, "card", "call", b"detail") for key in IN_ORDER]
        for row in reversed(rows):
            assert store.suspend(row) is True
            assert store.suspend(row) is False
            assert other.suspend(row._replace(at=2, detail=b"x")) is False
        assert other.suspended() == paged(other.suspended, attrgetter("key"), "") == rows

    def test_a_catalogue_name_has_versions(self, store: Storage, other: Storage) -> None:
        """Publishing adds one version and raises the revision by one; contents stay."""
        assert store.catalogue() == (0, [])
        heads = [Head("plan", "b", 1), Head("deck", "b", 1), Head("plan", "a", 1)]
        heads += [Head("plan", "b", 2), Head("plan", "b", 3)]
        contents = [b"1", b"2", b"", bytes(5_000_000), b"5"]
        for revision, (head, content) in enumerate(zip(heads, contents, strict=True), start=1):
            assert store.publish(*head[:2], content, expected=head.version - 1) == head
            newest = {(each.kind, each.name): each for each in heads[:revision]}
            found, listed = other.catalogue()
            assert (found, sorted(listed)) == (revision, sorted(newest.values()))
        assert [other.content(*head) for head in heads] == contents
        for unknown in (Head("plan", "b", 4), Head("plan", "b", 0), Head("plan", "c", 1)):
            with pytest.raises(UnknownName):
                other.content(*unknown)

    def test_a_version_that_was_not_expected_is_refused(self, store: Storage) -> None:
        """VersionConflict, and neither content nor revision has changed."""
        store.publish("plan", "a", b"1", expected=0)
        store.publish("plan", "a", b"2", expected=1)
        for name, expected in (("a", 0), ("a", 1), ("a", 3), ("b", 1), ("b", -1)):
            with pytest.raises(VersionConflict):
                store.publish("plan", name, b"x", expected=expected)
        assert store.catalogue() == (2, [Head("plan", "a", 2)])
        assert [store.content("plan", "a", version) for version in (1, 2)] == [b"1", b"2"]

    def test_the_audit_log_keeps_its_order(self, store: Storage, other: Storage) -> None:
        """Rows stand at positions 1, 2, 3, in the order they were added, equal ones too."""
        assert other.last_audit() is None
        rows = [AuditRow(at, "actor", "action", "subject", b"") for at in (5, 3, 3, 9, 1)]
        for position, row in enumerate(rows, start=1):
            assert store.append_audit(row, after=position - 1) is True
            assert other.last_audit() == (position, row)
        found = paged(other.audit_log, itemgetter(0), 0)
        assert found == other.audit_log() == list(enumerate(rows, start=1))

    def test_an_audit_row_follows_the_newest_or_none(self, store: Storage, other: Storage) -> None:
        """Expecting another newest position: False, and nothing is added."""
        row = AuditRow(1, "actor", "action", "subject", b"")
        assert store.append_audit(row, after=1) is False
        assert store.append_audit(row, after=0) is True
        for after in (0, 2, -1):
            assert other.append_audit(row._replace(at=2), after=after) is False
        assert store.append_audit(row, after=1) is True
        assert other.audit_log() == [(1, row), (2, row)]

    def test_versions_and_positions_pass_ten(self, store: Storage, other: Storage) -> None:
        """They are numbers: what follows 10 is 11, though as text 9 would be the newest."""
        row = AuditRow(1, "actor", "action", "subject", b"")
        for newest in range(12):
            assert store.publish("plan", "a", b"%d" % newest, expected=newest).version == newest + 1
            assert store.append_audit(row, after=newest) is True
            assert other.last_audit() == (newest + 1, row)
            assert other.append_audit(row, after=newest) is False
            with pytest.raises(VersionConflict):
                other.publish("plan", "a", b"x", expected=newest)
        assert other.catalogue() == (12, [Head("plan", "a", 12)])
        assert other.content("plan", "a", 12) == b"11"
