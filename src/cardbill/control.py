"""What operators do to cards: sell, move, block, void; to a batch: block it, freeze serials.

Each leaves a line in the operators' log first, so that nothing is changed unlogged; a
repeated request finds the fact set and changes nothing. Source: domain.md section 2.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from attrs import evolve

from cardbill import saletaxes
from cardbill.cards import Card
from cardbill.catalogue import Snapshot
from cardbill.catalogueitems import BATCH, FLAGS, PLAN
from cardbill.errors import InvalidInput, TransitionRefused
from cardbill.flags import BatchFlags, check_range
from cardbill.inquiry import CardView, view_of
from cardbill.instants import aware
from cardbill.names import check_reason
from cardbill.paging import card_rows
from cardbill.passing import catch_up
from cardbill.plans import check_assignable
from cardbill.status import TRANSITIONS, Event, Status

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
            TransitionRefused: The card was used, or its value is on its way to another card.
        """
        return self._change(card_id, Event.VOID, _void, actor, reason, at)

    def sell(
        self, card_id: str, *, actor: str, reason: str = "sale", at: datetime | None = None
    ) -> CardView:
        """Mark a card sold: where its batch says so, it works from now on.

        It is pinned to the newest version of its batch's plan, if there is one yet, unless it
        was moved to another plan before. Taxes on the sale, where there are any, are told in its
        ledger.

        Raises:
            UnknownName: There is no such card.
            MissingFields: No actor or reason is given.
            TransitionRefused: The card is void, blocked, expired or in use.
            TaxUnavailable: A tax engine outside does not answer, and then it is refused.
        """
        return self._change(card_id, Event.SELL, _sell, actor, reason, at)

    def move(
        self,
        card_id: str,
        plan: str,
        *,
        effective: datetime | None = None,
        actor: str,
        reason: str,
        at: datetime | None = None,
    ) -> CardView:
        """Move a card to the newest version of a plan, now or on a later date.

        Until then, and at that very instant, the plan it has counts. From then on calls are
        granted under the other one, which charges and renews packages from its next period
        on; buckets that were given stay, and calls in progress keep their terms. Where a
        charge waits for a call to end, so does the move. What the card owes for charges that
        the other plan does not have is not asked for any more. Another move takes the place
        of one that has not happened yet; a move to the plan it has, now, calls that off.

        Args:
            card_id: ``batch/serial``.
            plan: The plan's name.
            effective: When; default: now. It needs no sweep to happen.
            actor: Who does it.
            reason: Why.
            at: The instant; default: now.

        Raises:
            UnknownName: There is no such card or plan.
            MissingFields: No actor or reason is given.
            InvalidInput: `effective` is past, or no aware instant.
            PlanRefused: The plan is billed on demand, or is in another currency.
            TransitionRefused: The card is void.
        """
        batch = self._storage.view(card_id).card.batch
        now, when, version = self._moving(batch, plan, effective, at)
        self._log("move", card_id, actor, reason, plan=plan, version=version, effective=str(when))
        return self._moved(card_id, (plan, version, when), now, unpinned=True)[1]

    # -- a batch --------------------------------------------------------------------------

    def move_batch(
        self,
        batch: str,
        plan: str,
        *,
        effective: datetime | None = None,
        actor: str,
        reason: str,
        at: datetime | None = None,
    ) -> int:
        """Move a batch to the newest version of a plan: its cards one after the other.

        Each moves as by :meth:`move`. Done now, the batch itself is assigned to the plan
        first, so that cards which nobody has used yet begin with it. For a later date, every
        card that there is gets its date; cards made after that get the plan that the batch
        has then. Repeating it goes on where an error stopped it.

        Returns:
            How many cards were changed by this call.

        Raises:
            UnknownName: There is no such batch or plan.
            MissingFields, InvalidInput, PlanRefused: As for :meth:`move`.
            VersionConflict: Somebody else changed the batch meanwhile; nothing is changed.
        """
        now, when, version = self._moving(batch, plan, effective, at)
        self._log(
            "move-batch", batch, actor, reason, plan=plan, version=version, effective=str(when)
        )
        if at_once := when == now:
            terms, newest = self._shelf.get(
                lambda snapshot: (snapshot.batch(batch), snapshot.version(BATCH, batch))
            )
            if terms.plan != plan:
                self._shelf.publish(evolve(terms, plan=plan), expected=newest)
        move = (plan, version, when)
        return sum(
            self._moved(row.id, move, now, unpinned=not at_once, void=True)[0]
            for row in card_rows(self._storage, batch)
        )

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
            TransitionRefused, TaxUnavailable: A card cannot be sold; those before it have
                been.
        """
        check_range(first, last)
        self._shelf.get(lambda snapshot: snapshot.batch(batch))
        now = self._instant(at)
        self._log("sell", batch, actor, reason, serials=[first, last])
        sold = 0
        for row in card_rows(self._storage, batch, after=first - 1):
            if row.serial > last:
                break
            self._step(row.id, Event.SELL, _sell, now)
            sold += 1
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

    def _moving(
        self, batch: str, plan: str, effective: datetime | None, at: datetime | None
    ) -> tuple[datetime, datetime, int]:
        """Return now, when a batch's cards move, and to which version of the plan."""
        now = self._instant(at)
        when = now if effective is None else aware("effective", effective)
        if when < now:
            raise InvalidInput("effective", when, "is past")

        def check(shelf: Snapshot) -> int:
            check_assignable(shelf.plan(plan), shelf.batch(batch))
            return shelf.version(PLAN, plan)

        return now, when, self._shelf.get(check)

    def _moved(
        self,
        card_id: str,
        move: tuple[str, int, datetime],
        at: datetime,
        *,
        unpinned: bool,
        void: bool = False,
    ) -> tuple[bool, CardView]:
        """Move a card; return whether that changed anything, and how it stands."""

        def decide(card: Card, _record: object, shelf: Snapshot) -> tuple[bool, CardView]:
            if card.voided and not void:
                raise TransitionRefused(card.id, Status.VOID.value, "move")
            before = card.plan, card.moving
            if not card.voided and (unpinned or card.plan is not None):
                card.moving = None if move[:2] == card.plan and move[2] <= at else move
                catch_up(card, shelf, at, since=at)
            changed = before != (card.plan, card.moving)
            return changed, view_of(card, shelf.flags(card.batch), at)

        return self._runner.step(card_id, None, at, decide)

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

        return self._runner.step(card_id, None, at, decide, refusable=True)

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
    if card.outgoing:  # its value may come back to it
        raise TransitionRefused(card.id, "being redeemed", event.value)
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
    batch = shelf.batch(card.batch)
    saletaxes.sold(card, batch, shelf, at)
    plan = batch.plan
    card.sell(card.plan or (None if plan is None else (plan, shelf.version(PLAN, plan))))


def _check(card: Card, event: Event, at: datetime) -> None:
    status = card.status(at)
    if event not in TRANSITIONS[status]:
        raise TransitionRefused(card.id, status.value, event.value)
