"""Slips that show when the line to the server is cut."""

from typing import Any

from cardbill.errors import StorageUnavailable
from tests.faults.table import caught_by
from tests.faults.wired import Wired


@caught_by("test_a_step_cut_off_anywhere_is_taken_once_or_told")
class TakesAStepAgain(Wired):
    """An unknown outcome is retried blindly: the first may have been committed."""

    def transact(self, card, decide, **options):
        try:
            return super().transact(card, decide, **options)
        except StorageUnavailable:
            return super().transact(card, decide, **options)


@caught_by("test_a_write_cut_off_anywhere_is_done_once_or_told")
class WritesAgain(Wired):
    """And is told by itself that it came too late."""

    def broken(self, error, sent, method, values, options):
        try:
            return super().broken(error, sent, method, values, options)
        except StorageUnavailable:
            if method == "swap":
                raise
        return self.ask(method, *values, **options)


@caught_by(
    "test_a_step_cut_off_anywhere_is_taken_once_or_told",
    "test_a_write_cut_off_anywhere_is_done_once_or_told",
)
class SaysThatNothingWasDone(Wired):
    def broken(self, error, sent, method, values, options):
        return super().broken(error, False, method, values, options)


@caught_by("test_a_step_cut_off_anywhere_is_taken_once_or_told")
class SaysThatItWasDone(Wired):
    def broken(self, error, sent, method, values, options):
        try:
            return super().broken(error, sent, method, values, options)
        except StorageUnavailable:
            if method != "swap":
                raise
        return True


@caught_by("test_a_step_cut_off_anywhere_is_taken_once_or_told")
class TakesAStepInTwo(Wired):
    """The card by one request, its entries by the next."""

    def transact(self, card, decide, *, key=None, seen=None):
        late: list[Any] = []

        def first(view):
            step = decide(view)
            late[:] = [step]
            return step._replace(entries=())

        answer = super().transact(card, first, key=key)
        view = self.ask("view", card, key)
        self.ask("swap", view, key, late[0]._replace(card=view.card._replace(
            version=view.card.version + 1)))  # fmt: skip
        return answer


@caught_by(
    "test_a_server_out_of_reach_is_told",
    "test_work_goes_on_while_connections_are_cut",
    errors=(OSError, EOFError),
)
class LeaksItsDriversErrors(Wired):
    def broken(self, error, sent, method, values, options):
        try:
            super().broken(error, sent, method, values, options)
        except StorageUnavailable:
            raise error from None


@caught_by("test_a_server_out_of_reach_is_told", "test_work_goes_on_while_connections_are_cut")
class KeepsABrokenConnection(Wired):
    def broken(self, error, sent, method, values, options):
        raise StorageUnavailable("cut off", outcome_unknown=sent) from error


@caught_by("test_a_server_out_of_reach_is_told")
class AnswersFromMemory(Wired):
    """What it cannot ask now it answers as it did before."""

    def ask(self, method, *values, **options):
        place = (method, repr(values), repr(options))
        known = vars(self).setdefault("known", {})
        try:
            known[place] = super().ask(method, *values, **options)
        except StorageUnavailable:
            if method != "catalogue" or place not in known:
                raise
        return known[place]
