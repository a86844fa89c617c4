"""Steps on PostgreSQL: on a card, and on a group of attempts at PINs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, TypeVar

from cardbill.errors import UnknownName
from cardbill.storage.checks import check_step, check_subject, check_tally
from cardbill.storage.contract import CardRow, EntryRow, RecordRow, Step, Tally, View
from cardbill.storage.postgres_connections import Connections, Session
from cardbill.storage.postgres_statements import Statements
from cardbill.storage.postgres_swaps import Claims, Overtaken, swapped

T = TypeVar("T")

_CARD = len(CardRow._fields)
_ENTRY = len(EntryRow._fields) - 1
_RECORD = len(RecordRow._fields) - 1


class Steps:
    """Takes steps.

    Args:
        connections: Where sessions come from.
        statements: For the schema.
        distributed: The tables are spread over nodes.
    """

    def __init__(
        self, connections: Connections, statements: Statements, *, distributed: bool
    ) -> None:
        self._connections = connections
        self._sql = statements
        self._distributed = distributed

    def on_card(self, card: str, decide: Callable[[View], Step[T]], key: str | None) -> T:
        """Take a step on a card."""

        def attempt(session: Session, claims: Claims[T]) -> T:
            view, number = self.view(session, card, key)
            for outcome in claims.committed(view.card.version, number):
                return outcome
            step = decide(view)
            if step.card is not None:
                check_step(view.card, step)
                number = claims.make(view.card.version, step.outcome)
                if not self._swap(session, view.card, step.card, step, number):
                    raise Overtaken
            return step.outcome

        return swapped(
            self._connections, lambda session: session.first(self._sql.lock, (card,)), attempt
        )

    def view(self, session: Session, card: str, key: str | None) -> tuple[View, int]:
        """Return what a step sees of a card, and the number its last swap left."""
        row = session.first(self._sql.view, (key, card))
        if row is None:
            raise UnknownName("card", card)
        record = None if row[_CARD + 2] is None else RecordRow(*row[_CARD + 2 :])
        return View(CardRow(*row[:_CARD]), record, row[_CARD]), row[_CARD + 1]

    def _swap(
        self, session: Session, seen: CardRow, card: CardRow, step: Step[Any], number: int
    ) -> bool:
        """Put the card in the place of the one seen, with what was added; False: it is gone."""
        new = (*card[1:3], *card[5:], number)
        place = seen.id, seen.version
        if not step.entries and not step.records:
            return session.run(self._sql.swap, (*new, *place)) == 1
        records = {record.key: record for record in step.records}  # of two of a key the later
        added = (*_turned(step.entries, _ENTRY), *_turned(list(records.values()), _RECORD))
        if self._distributed:
            return session.tell(self._sql.delegated_swap, (*place, *new, *added)) == 1
        return session.tell(self._sql.swap_and_add, (*new, *place, *added)) == 1

    # -- attempts -------------------------------------------------------------------------

    def on_attempts(
        self,
        group: int,
        subject: str,
        decide: Callable[[bytes | None, bytes | None], Tally[T]],
    ) -> T:
        """Take a step on a subject's attempts and its group's book."""
        check_subject(group, subject)

        def attempt(session: Session, claims: Claims[T]) -> T:
            version, number, book, *kept = session.one(self._sql.attempts_of, (subject, group))
            for outcome in claims.committed(version, number):
                return outcome
            tally = decide(kept[0], book)
            check_tally(tally)
            state = [None, None] if tally.state is None else [tally.state, tally.keep_until]
            if state != kept or tally.book not in {None, book}:
                number = claims.make(version, tally.outcome)
                new = (number, tally.book, group, version)
                if not self._tally(session, new, (group, subject), state):
                    raise Overtaken
            return tally.outcome

        return swapped(
            self._connections,
            lambda session: session.first(self._sql.lock_group, (group,)),
            attempt,
        )

    def _tally(
        self,
        session: Session,
        new: tuple[Any, ...],
        place: tuple[int, str],
        state: Sequence[Any],
    ) -> bool:
        forget = state[0] is None
        if not self._distributed:
            if forget:
                return session.tell(self._sql.forget, (*new, place[1])) == 1
            return session.tell(self._sql.tally, (*new, place[1], *state)) == 1
        with nullcontext() if session.inside else session.transaction():
            if not session.run(self._sql.swap_group, new):
                return False
            if forget:
                session.run(self._sql.forget_alone, place)
            else:
                session.run(self._sql.tally_alone, (*place, *state))
            return True


def _turned(rows: Sequence[tuple[Any, ...]], width: int) -> list[list[Any]]:
    """Return columns for rows, without the first: the card, which all have in common."""
    return [list(column) for column in zip(*rows, strict=True)][1:] or [[]] * width
