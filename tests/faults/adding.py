"""Slips in `add_cards`."""

import time

from cardbill.errors import DuplicateCredential
from tests.faults.sound import TakenApart
from tests.faults.table import WINDOW, caught_by


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
        time.sleep(WINDOW)
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
