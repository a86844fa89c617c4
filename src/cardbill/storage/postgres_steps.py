"""Steps on cards, on PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from cardbill.errors import UnknownName
from cardbill.storage.checks import check_step
from cardbill.storage.contract import CardRow, RecordRow, Step, View
from cardbill.storage.postgres_connections import Connections, Session
from cardbill.storage.postgres_recent import Recent
from cardbill.storage.postgres_rows import in_columns
from cardbill.storage.postgres_statements import Statements
from cardbill.storage.postgres_swaps import Claims, Overtaken, swapped

T = TypeVar("T")

_CARD = len(CardRow._fields)


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
        self._recent = Recent()

    def on_card(
        self,
        card: str,
        decide: Callable[[View], Step[T]],
        key: str | None,
        seen: View | None = None,
    ) -> T:
        """Take a step on a card, on what was seen of it before if that still holds."""
        left = self._recent.take(card, key)
        unread = seen if seen is not None and seen.card.id == card else left
        if self._distributed:  # a statement that looks into other tables is not sent to one node
            unread = None

        def attempt(session: Session, claims: Claims[T]) -> T:
            nonlocal unread
            if unread is not None:
                before, unread = unread._replace(record=None), None
                for outcome in self._unread(session, claims, before, decide, key):
                    return outcome
            view, number = self.view(session, card, key)
            for outcome in claims.committed(view.card.version, number):
                return outcome
            step = decide(view)
            if step.card is not None:
                check_step(view.card, step)
                number = claims.make(view.card.version, step.outcome)
                if not self._swap(session, view.card, step, number):
                    raise Overtaken
                self._recent.keep(view, key, step)
            elif claims and not self._fence(session, claims, view.card, step.outcome):
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
        return _view(row)

    def resolve(
        self, session: Session, kind: str, tokens: Sequence[bytes], key: str | None
    ) -> View | None:
        """Return the view of the card that the first of the tokens opens that opens any."""
        if self._distributed:
            for token in tokens:
                found = session.first(self._sql.resolve_alone, (kind, token))
                if found is not None:
                    return self.view(session, found[0], key)[0]
            return None
        rows = session.all(self._sql.resolve, (key, kind, list(tokens)))
        opened = {token: row for token, *row in rows}
        return next((_view(opened[token])[0] for token in tokens if token in opened), None)

    def _unread(
        self,
        session: Session,
        claims: Claims[T],
        seen: View,
        decide: Callable[[View], Step[T]],
        key: str | None,
    ) -> list[T]:
        """Return the outcome of a step on what was seen before; nothing: it is to be read."""
        try:
            step = decide(seen)
            check_step(seen.card, step)
        except Exception:  # noqa: BLE001  # what is read now may be no reason for it any more
            return []
        if step.card is None:
            return []  # and a refusal may have none any more
        number = claims.make(seen.card.version, step.outcome)
        state, place = seen.card.state, (seen.card.id, key)
        if self._swap(session, seen.card, step, number, (state, seen.revision, *place)):
            self._recent.keep(seen, key, step)
            return [step.outcome]
        claims.withdraw()
        return []

    def _fence(self, session: Session, claims: Claims[T], seen: CardRow, outcome: T) -> bool:
        """Let no earlier try be carried out any more, as nothing is to be changed now."""
        number = claims.make(seen.version, outcome)
        return session.run(self._sql.fence, (number, seen.id, seen.version)) == 1

    def _swap(
        self,
        session: Session,
        seen: CardRow,
        step: Step[Any],
        number: int,
        unread: tuple[Any, ...] = (),
    ) -> bool:
        """Put the card in the place of the one seen, with what was added; False: it is gone.

        With `unread`, only if state, revision and record are as they were thought to be, too.
        """
        card, sql = step.card, self._sql
        assert card is not None  # noqa: S101  # asked for only then
        new = (*card[1:3], *card[5:], number)
        place = (seen.id, seen.version, *unread)
        if not step.entries and not step.records:
            return session.run(sql.swap_unread if unread else sql.swap, (*new, *place)) == 1
        # Of two records of a key the later.
        added = step.entries, list({record.key: record for record in step.records}.values())
        if self._distributed:
            return session.tell(sql.delegated_swap, (*place, *new, *in_columns(*added))) == 1
        adding, rows = (sql.swap_and_add_unread if unread else sql.swap_and_add).of(*added)
        return session.tell(adding, (*new, *place, *rows)) == 1


def _view(row: Sequence[Any]) -> tuple[View, int]:
    """Return the view that a row shows, and the number of the card's last swap."""
    record = None if row[_CARD + 2] is None else RecordRow(*row[_CARD + 2 :])
    return View(CardRow(*row[:_CARD]), record, row[_CARD]), row[_CARD + 1]
