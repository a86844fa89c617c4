"""What operators do to cards: sell, block, void; to a batch: block it, freeze serials.

Each leaves a line in the operators' log first, so that nothing is changed unlogged; a
repeated request finds the fact set and changes nothing. Source: domain.md section 2.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from attrs import evolve

from cardbill.cards import Card
from cardbill.catalogue import FLAGS, PLAN, Snapshot
from cardbill.errors import TransitionRefused
from cardbill.flags import BatchFlags, check_range
from cardbill.inquiry import CardView, view_of
from cardbill.instants import aware
from cardbill.names import check_reason
from cardbill.status import TRANSITIONS, Event

if TYPE_CHECKING:
    from cardbill.journal import Journal
    from cardbill.runner import Runner
    from cardbill.shelf import Shelf
    from cardbill.storage.contract import Storage


class Control:
    """What operators do to cards and batches, with who and why."""

    def __init__(
        self,
        storage: Storage,
        shelf: Shelf,
        runner: Runner,
        journal: Journal,
        now: Callable[[], datetime],
    ) -> None:
        self._storage = storage
        self._shelf = shelf
        self._runner = runner
        self._journal = journal
        self._now = now

    # -- one card -------------------------------------------------------------------------

    def block(
        self, card_id: str, *, actor: str, reason: str, at: datetime | None = None
    ) -> CardView:
        """Stop a card until it is unblocked; calls in progress get no further slice.

        Args:
            card_id: ``batch/serial``.
            actor: Who does it.
            reason: Why.
            at: The instant; default: now.

        Raises:
            UnknownName: There is no such card.
            MissingFields: No actor or reason is given.
            TransitionRefused: The card is void.
        """
        return self._change(card_id, Event.BLOCK, _block, actor, reason, at)

    def unblock(
        self, card_id: str, *, actor: str, reason: str, at: datetime | None = None
    ) -> CardView:
        """Let a blocked card work again; a block of its batch or serial stays.

        Raises:
            UnknownName: There is no such card.
            MissingFields: No actor or reason is given.
        """
        return self._change(card_id, Event.UNBLOCK, _unblock, actor, reason, at)

    def void(
        self, card_id: str, *, actor: str, reason: str, at: datetime | None = None
    ) -> CardView:
        """Withdraw a card that was never used, for good.

        Raises:
            UnknownName: There is no such card.
            MissingFields: No actor or reason is given.
            TransitionRefused: The card was used.
        """
        return self._change(card_id, Event.VOID, _void, actor, reason, at)

    def sell(
        self, card_id: str, *, actor: str, reason: str = "sale", at: datetime | None = None
    ) -> CardView:
        """Mark a card sold: where its batch says so, it works from now on.

        It is pinned to the newest version of its batch's plan, if there is one yet.

        Raises:
            UnknownName: There is no such card.
            MissingFields: No actor or reason is given.
            TransitionRefused: The card is void, blocked, expired or in use.
        """
        return self._change(card_id, Event.SELL, _sell, actor, reason, at)

    # -- a batch --------------------------------------------------------------------------

    def sell_range(
        self,
        batch: str,
        first: int,
        last: int,
        *,
        actor: str,
        reason: str = "sale",
        at: datetime | None = None,
    ) -> int:
        """Mark the cards of a serial range sold, one after the other.

        Repeating it goes on where an error stopped it.

        Returns:
            How many cards are sold in that range now.

        Raises:
            InvalidInput: The range is none.
            UnknownName: There is no such batch.
            TransitionRefused: A card cannot be sold; those before it have been.
        """
        check_range(first, last)
        self._shelf.get(lambda snapshot: snapshot.batch(batch))
        now = self._instant(at)
        self._log("sell", batch, actor, reason, serials=[first, last])
        sold, after = 0, first - 1
        while page := self._storage.find_cards(batch, after=after):
            for row in page:
                if row.serial > last:
                    return sold
                self._step(row.id, Event.SELL, _sell, now)
                sold += 1
            after = page[-1].serial
        return sold

    def block_batch(self, batch: str, *, actor: str, reason: str) -> BatchFlags:
        """Stop every card of a batch at once, in every process.

        Raises:
            UnknownName: There is no such batch.
            MissingFields: No actor or reason is given.
            VersionConflict: Somebody else changed the flags meanwhile; nothing is changed.
        """
        return self._flag("block", batch, actor, reason, lambda f: evolve(f, blocked=True))

    def unblock_batch(self, batch: str, *, actor: str, reason: str) -> BatchFlags:
        """Let a blocked batch work again; frozen serials and blocked cards stay so.

        Raises:
            UnknownName, MissingFields, VersionConflict: As for :meth:`block_batch`.
        """
        return self._flag("unblock", batch, actor, reason, lambda f: evolve(f, blocked=False))

    def freeze(self, batch: str, first: int, last: int, *, actor: str, reason: str) -> BatchFlags:
        """Stop the cards of a serial range at once, in every process: a stolen box.

        Raises:
            InvalidInput: The range is none.
            UnknownName, MissingFields, VersionConflict: As for :meth:`block_batch`.
        """
        check_range(first, last)
        serials = [first, last]
        return self._flag(
            "freeze", batch, actor, reason, lambda f: f.freeze(first, last), serials=serials
        )

    def thaw(self, batch: str, first: int, last: int, *, actor: str, reason: str) -> BatchFlags:
        """Let the cards of a serial range work again.

        Raises:
            InvalidInput: The range is none.
            UnknownName, MissingFields, VersionConflict: As for :meth:`block_batch`.
        """
        check_range(first, last)
        serials = [first, last]
        return self._flag(
            "thaw", batch, actor, reason, lambda f: f.thaw(first, last), serials=serials
        )

    def flags(self, batch: str) -> BatchFlags:
        """Return what of a batch is stopped now.

        Raises:
            UnknownName: There is no such batch.
        """
        return self._shelf.get(lambda snapshot: _flags(snapshot, batch))

    # -- inside ---------------------------------------------------------------------------

    def _change(
        self,
        card_id: str,
        event: Event,
        change: Change,
        actor: str,
        reason: str,
        at: datetime | None,
    ) -> CardView:
        now = self._instant(at)
        self._storage.view(card_id)
        self._log(event.value, card_id, actor, reason)
        return self._step(card_id, event, change, now)

    def _step(self, card_id: str, event: Event, change: Change, at: datetime) -> CardView:
        def decide(card: Card, _record: object, shelf: Snapshot) -> CardView:
            change(card, event, shelf, at)
            return view_of(card, shelf.flags(card.batch), at)

        return self._runner.step(card_id, None, at, decide)

    def _flag(
        self,
        action: str,
        batch: str,
        actor: str,
        reason: str,
        change: Callable[[BatchFlags], BatchFlags],
        **detail: object,
    ) -> BatchFlags:
        # What is published must follow the very version it was made from, or it would undo
        # what another operator stopped meanwhile.
        before, version = self._shelf.get(
            lambda snapshot: (_flags(snapshot, batch), snapshot.version(FLAGS, batch))
        )
        after = change(before)
        self._log(action, batch, actor, reason, **detail)
        if after != before:
            self._shelf.publish(after, name=batch, expected=version)
        return after

    def _instant(self, at: datetime | None) -> datetime:
        return self._now() if at is None else aware("at", at)

    def _log(self, action: str, subject: str, actor: str, reason: str, **detail: object) -> None:
        check_reason(action, actor, reason)
        self._journal.append(action, subject, actor, reason=reason, **detail)


Change = Callable[[Card, Event, Snapshot, datetime], None]


def _flags(snapshot: Snapshot, batch: str) -> BatchFlags:
    snapshot.batch(batch)
    return snapshot.flags(batch)


def _block(card: Card, event: Event, _shelf: Snapshot, at: datetime) -> None:
    if card.blocked and not card.voided:
        return
    _check(card, event, at)
    card.blocked = True


def _unblock(card: Card, _event: Event, _shelf: Snapshot, _at: datetime) -> None:
    card.blocked = False


def _void(card: Card, event: Event, _shelf: Snapshot, at: datetime) -> None:
    if card.voided:
        return
    _check(card, event, at)
    if card.first_used_at is not None:
        raise TransitionRefused(card.id, "used", event.value)
    card.void(at)


def _sell(card: Card, event: Event, shelf: Snapshot, at: datetime) -> None:
    if card.sold:
        return
    _check(card, event, at)
    plan = shelf.batch(card.batch).plan
    card.sell(None if plan is None else (plan, shelf.version(PLAN, plan)))


def _check(card: Card, event: Event, at: datetime) -> None:
    status = card.status(at)
    if event not in TRANSITIONS[status]:
        raise TransitionRefused(card.id, status.value, event.value)
