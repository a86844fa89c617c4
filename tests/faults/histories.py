"""Slips that only a longer history brings to light."""

from tests.faults.sound import TakenApart
from tests.faults.table import caught_by


@caught_by("test_any_history_answers_like_the_model")
class RemembersWhatWasUnbound(TakenApart):
    """A token that was bound once is never free for a new card again."""

    def __init__(self):
        super().__init__()
        self.ever = set()

    def unbind(self, kind, token, *, expected):
        unbound = super().unbind(kind, token, expected=expected)
        if unbound:
            self.ever.add((kind, token))
        return unbound

    def _free(self, new, opened, redraw):
        return super()._free(new, {*opened, *self.ever}, redraw)


@caught_by("test_any_history_answers_like_the_model")
class CountsRefusedSteps(TakenApart):
    """A step that was refused leaves its card due, though nothing else of it."""

    def check(self, seen, step):
        try:
            super().check(seen, step)
        except Exception:
            self._cards[seen.id] = self._cards[seen.id]._replace(due_at=step.card.due_at)
            raise


@caught_by(
    "test_the_golden_history_comes_out",
    "test_a_business_goes_as_in_memory",
    errors=(ValueError,),  # a transfer is closed that was never opened
)
class ForgetsWhatWasAnswered(TakenApart):
    """No record of an operation is found: it is done once more when it comes again."""

    def _view(self, card, key):
        return super()._view(card, None)


@caught_by("test_the_golden_history_comes_out", "test_a_business_goes_as_in_memory")
class FindsNothingDue(TakenApart):
    def due(self, at, *, after=None, limit=500):
        return []
