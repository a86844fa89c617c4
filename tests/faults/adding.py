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


@caught_by(
    "test_cards_become_visible_at_once",
    errors=(RuntimeError,),  # of a list that grows while it is read
)
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


@caught_by("test_steps_go_on_while_cards_are_drawn")
class LocksWhileItDraws(TakenApart):
    def add_cards(self, job, cards, **options):
        with self._open():
            return super().add_cards(job, cards, **options)


@caught_by("test_a_credential_is_added_by_one_of_many")
class LooksForCredentialsTooEarly(TakenApart):
    """Each job drops what is taken when it begins, and then writes over what was added since."""

    def add_cards(self, job, cards, **options):
        free = [new for new in cards if new.credential[:2] not in self._credentials]
        time.sleep(WINDOW)
        with self._open():
            for place in [new.credential[:2] for new in free]:
                if (held := self._credentials.pop(place, None)) is not None:
                    self._opens[held.card].remove(place)
            return super().add_cards(job, free, **options)


@caught_by("test_a_credential_is_added_by_one_of_many")
class LooksForIdsTooEarly(TakenApart):
    """An upsert: who looked before the other had written writes over it."""

    def add_cards(self, job, cards, **options):
        offered, before = list(cards), set(self._cards)
        time.sleep(WINDOW)
        with self._open():
            for card in [new.card for new in offered if new.card.id not in before]:
                if self._cards.pop(card.id, None) is not None:
                    self._batches[card.batch].remove((card.serial, card.id))
            return super().add_cards(job, offered, **options)


@caught_by("test_cards_become_visible_at_once")
class ListsAsDueWhatItAdds(TakenApart):
    """The index of what is due is no part of the transaction."""

    def __init__(self):
        super().__init__()
        self.adding = set()

    def add_cards(self, job, cards, **options):
        def noted():
            for new in cards:
                self.adding.add((new.card.due_at, new.card.id))
                yield new

        added = super().add_cards(job, noted(), **options)
        self.adding = set()
        return added

    def due(self, at, *, after=None, limit=500):
        found = super().due(at, after=after, limit=limit)
        return sorted({*found, *self.adding.copy()})[:limit]
