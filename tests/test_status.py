"""The lifecycle table and the derived status say the same, both ways."""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from cardbill.status import TRANSITIONS, Event, Status, derive


class Facts(NamedTuple):
    voided: bool
    blocked: bool
    expired: bool
    used: bool
    empty: bool
    sold: bool

    @property
    def status(self) -> Status:
        return derive(**self._asdict())


# Void only if never used, and for good; only use spends.
EVERY = [
    facts
    for facts in itertools.starmap(Facts, itertools.product((False, True), repeat=6))
    if not (facts.voided and facts.used) and not (facts.empty and not facts.used)
]


def changes(facts: Facts) -> Iterator[tuple[Event, Facts]]:
    """Every single fact that can change next, and the event that changes it."""
    yield Event.EXPIRE, facts._replace(expired=True)
    if facts.voided:
        return
    yield Event.BLOCK, facts._replace(blocked=True)
    if facts.blocked:
        yield Event.UNBLOCK, facts._replace(blocked=False)
    if not facts.used:
        yield Event.SELL, facts._replace(sold=True)
        yield Event.VOID, facts._replace(voided=True)
        if not facts.blocked and not facts.expired:
            yield Event.FIRST_USE, facts._replace(used=True)
    elif facts.empty:
        yield Event.RECHARGE, facts._replace(empty=False)
    else:
        yield Event.SPEND_ALL, facts._replace(empty=True)


SEEN = {
    (before.status, event, after.status)
    for before in EVERY
    for event, after in changes(before)
    if before.status is not after.status
}
TABLE = {
    (before, event, after)
    for before, events in TRANSITIONS.items()
    for event, targets in events.items()
    for after in targets
}


def test_whatever_changes_a_status_is_in_the_table():
    assert not SEEN - TABLE


def test_whatever_is_in_the_table_can_happen():
    assert not TABLE - SEEN


def test_the_table_has_a_row_for_every_status_and_a_use_for_every_event():
    assert set(TRANSITIONS) == set(Status)
    assert {event for _, event, _ in TABLE} == set(Event)
    assert all(targets for events in TRANSITIONS.values() for targets in events.values())


def test_every_status_can_be_reached_from_a_new_pin():
    reached = {Status.GENERATED}
    while more := {after for before, _, after in TABLE if before in reached} - reached:
        reached |= more
    assert reached == set(Status)


def test_nothing_leaves_void_and_nothing_unsells_or_unuses():
    assert TRANSITIONS[Status.VOID] == {}
    to_unused = {
        (before, event)
        for before, event, after in TABLE
        if after in (Status.GENERATED, Status.SOLD)
    }
    assert to_unused == {(Status.GENERATED, Event.SELL), (Status.BLOCKED, Event.UNBLOCK)}


@pytest.mark.parametrize(
    ("facts", "status"),
    [
        ("", Status.GENERATED),
        ("sold", Status.SOLD),
        ("used", Status.ACTIVE),
        ("used sold", Status.ACTIVE),
        ("used empty", Status.EXHAUSTED),
        ("used empty sold", Status.EXHAUSTED),
        ("expired", Status.EXPIRED),
        ("expired used", Status.EXPIRED),
        ("expired used empty", Status.EXPIRED),
        ("expired sold", Status.EXPIRED),
        ("blocked", Status.BLOCKED),
        ("blocked expired used empty sold", Status.BLOCKED),
        ("voided", Status.VOID),
        ("voided blocked expired sold", Status.VOID),
    ],
)
def test_the_strongest_fact_counts(facts: str, status: Status):
    true = facts.split()
    assert Facts(*(name in true for name in Facts._fields)).status is status


def test_every_combination_of_facts_has_a_status():
    for told in itertools.product((False, True), repeat=6):
        assert Facts(*told).status in Status
