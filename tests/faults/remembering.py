"""Stores that trust what was seen before too much, each in one way: see `tests.faults`."""

import time

from tests.faults.sound import Remembers
from tests.faults.table import WINDOW, caught_by


@caught_by("test_an_old_view_loses_no_step", "test_no_step_is_lost_to_old_views")
class TrustsTheCard(Remembers):
    def stands(self, seen, now):
        return super().stands(seen, now._replace(card=seen.card))


@caught_by("test_a_catalogue_that_has_moved_is_seen")
class TrustsTheRevision(Remembers):
    def stands(self, seen, now):
        return super().stands(seen, now._replace(revision=seen.revision))


@caught_by("test_a_record_that_was_not_seen_counts")
class TrustsThatThereIsNoRecord(Remembers):
    def stands(self, seen, now):
        return super().stands(seen, now._replace(record=None))


@caught_by("test_a_record_of_another_key_does_not_count")
class TrustsAnyRecord(Remembers):
    def shown(self, seen):
        return seen

    def stands(self, seen, now):
        return seen.card.version == now.card.version


@caught_by("test_an_old_view_refuses_nothing")
class RepeatsRefusals(Remembers):
    def decided(self, decide, seen):
        step = decide(seen)
        return step if step.card is None else super().decided(decide, seen)

    def stands(self, seen, now):
        return True


@caught_by("test_an_old_view_raises_nothing", errors=(ValueError,))
class RepeatsErrors(Remembers):
    def decided(self, decide, seen):
        decide(seen)
        return super().decided(decide, seen)


@caught_by("test_a_view_of_another_card_is_not_used")
class TakesTheCardFromTheView(Remembers):
    def fits(self, seen, card):
        return True


@caught_by("test_money_for_one_is_spent_once_by_many_who_saw_it")
class LooksBeforeItLocks(Remembers):
    def transact(self, card, decide, *, key=None, seen=None):
        if seen is None or self.view(card, key) != seen:
            return super().transact(card, decide, key=key)
        step = decide(seen)
        if step.card is not None:
            time.sleep(WINDOW)
            with self.guard():
                self.write(step)
        return step.outcome


@caught_by("test_an_old_view_loses_no_step")
class ComparesAmounts(Remembers):
    """What was seen still holds if as much is on the card: as after a step that took nothing."""

    def stands(self, seen, now):
        amounts = {"balance": seen.card.balance, "held": seen.card.held}
        return now == seen._replace(card=now.card._replace(**amounts))
