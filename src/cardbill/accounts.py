"""What customers and operators do with a card's money: each once, under a key of theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from cardbill import accounting, money
from cardbill.answers import Denied
from cardbill.errors import InvalidInput
from cardbill.names import check_count, check_name, check_reason
from cardbill.operations import Operation, OperationKind, Request, check_key
from cardbill.rows import is_call, operation_from_row, operation_key

if TYPE_CHECKING:
    from cardbill.journal import Journal
    from cardbill.runner import Runner
    from cardbill.seals import Seals
    from cardbill.shelf import Shelf
    from cardbill.storage.contract import Storage


class Accounts:
    """Recharges, credits, refunds, write-offs, manual charges and packages that are bought.

    Every call names a key that the host makes, one per request: the same again is answered as
    the first time and marked ``replayed``. A refusal is a :class:`Denied`, and is not
    remembered.
    """

    def __init__(
        self,
        storage: Storage,
        shelf: Shelf,
        runner: Runner,
        journal: Journal,
        seals: Seals,
        now: Callable[[datetime | None], datetime],
    ) -> None:
        self._storage = storage
        self._shelf = shelf
        self._runner = runner
        self._journal = journal
        self._seals = seals
        self._now = now

    def recharge(
        self, card_id: str, amount: object, *, key: str, at: datetime | None = None
    ) -> Operation | Denied:
        """Put money on a card that somebody paid for.

        Charges that a recharge triggers are taken from it, then what is owed. The plan says
        whether it extends the card's validity, or revives a card that has expired.

        Args:
            card_id: The card.
            amount: ``Money`` in the card's currency, ``Decimal``, int or text; above 0.
            key: The host's, one per payment: 1 to 128 visible ASCII characters.
            at: The instant; default: now.

        Raises:
            UnknownName: There is no such card.
            InvalidInput: The amount or the key cannot be used.
            IdempotencyMismatch: That key was used for another request.
            TransitionRefused: The card was never used.
        """
        return self._money(OperationKind.RECHARGE, card_id, amount, key, at)

    def credit(
        self,
        card_id: str,
        amount: object,
        *,
        key: str,
        actor: str,
        reason: str,
        at: datetime | None = None,
    ) -> Operation | Denied:
        """Give money that nobody paid for; who did it and why is in the operators' log.

        Raises:
            MissingFields: No actor or reason is given.
            UnknownName, InvalidInput, IdempotencyMismatch, TransitionRefused: As for
                :meth:`recharge`.
        """
        log = actor, reason
        return self._money(OperationKind.CREDIT, card_id, amount, key, at, log)

    def refund(
        self,
        card_id: str,
        amount: object = None,
        *,
        key: str,
        actor: str,
        reason: str,
        at: datetime | None = None,
    ) -> Operation | Denied:
        """Take money off that is paid back to the customer: only what no call holds.

        Args:
            card_id: The card.
            amount: As for :meth:`recharge`; default: all that is available.
            key: The host's, one per refund.
            actor: Who does it.
            reason: Why.
            at: The instant; default: now.

        Raises:
            MissingFields: No actor or reason is given.
            UnknownName, InvalidInput, IdempotencyMismatch, TransitionRefused: As for
                :meth:`recharge`.
        """
        log = actor, reason
        return self._money(OperationKind.REFUND, card_id, amount, key, at, log)

    def write_off(
        self,
        card_id: str,
        amount: object = None,
        *,
        key: str,
        actor: str,
        reason: str,
        at: datetime | None = None,
    ) -> Operation | Denied:
        """Take money off that goes to nobody: only what no call holds.

        Raises:
            MissingFields, UnknownName, InvalidInput, IdempotencyMismatch, TransitionRefused:
                As for :meth:`refund`.
        """
        log = actor, reason
        return self._money(OperationKind.WRITE_OFF, card_id, amount, key, at, log)

    def charge(
        self,
        card_id: str,
        name: str,
        *,
        key: str,
        actor: str,
        reason: str,
        quantity: int = 1,
        at: datetime | None = None,
    ) -> Operation | Denied:
        """Take a manual charge of the card's plan, as often as `quantity` says.

        Raises:
            MissingFields: No actor or reason is given.
            InvalidInput: The plan has no manual charge of that name; or the quantity or the
                key cannot be used.
            UnknownName, IdempotencyMismatch, TransitionRefused: As for :meth:`recharge`.
        """
        check_count("quantity", quantity, 1, 1_000_000)
        request = Request(
            check_key(key), OperationKind.CHARGE, 0, check_name("charge", name), quantity
        )
        return self._operate(card_id, request, at, (actor, reason))

    def buy(
        self, card_id: str, package: str, *, key: str, at: datetime | None = None
    ) -> Operation | Denied:
        """Buy a package of the card's plan with the card's money.

        Raises:
            InvalidInput: The plan has no such package to be bought; or the key cannot be used.
            UnknownName, IdempotencyMismatch, TransitionRefused: As for :meth:`recharge`.
        """
        request = Request(check_key(key), OperationKind.BUY, 0, check_name("package", package))
        return self._operate(card_id, request, at, None)

    def operations(self, card_id: str) -> Iterator[Operation]:
        """Yield what was done to a card under keys, ordered by key.

        Raises:
            UnknownName: There is no such card.
        """
        self._storage.view(card_id)
        after: tuple[str, str] | None = None
        while page := self._storage.records(card=card_id, after=after):
            after = page[-1].card, page[-1].key
            yield from (operation_from_row(row, self._seals) for row in page if not is_call(row))

    # -- inside ---------------------------------------------------------------------------

    def _money(
        self,
        kind: OperationKind,
        card_id: str,
        amount: object,
        key: str,
        at: datetime | None,
        log: tuple[str, str] | None = None,
    ) -> Operation | Denied:
        units = 0
        if amount is not None or log is None:
            currency = self._currency(card_id)
            units = money.units("amount", amount, currency)
            if not 0 < units <= money.MAX_UNITS:
                raise InvalidInput("amount", amount, "must be above zero")
        return self._operate(card_id, Request(check_key(key), kind, units), at, log)

    def _operate(
        self, card_id: str, request: Request, at: datetime | None, log: tuple[str, str] | None
    ) -> Operation | Denied:
        now = self._now(at)
        if log is not None:
            check_reason(request.kind.value, *log)
            self._storage.view(card_id)
            actor, reason = log
            self._journal.append(
                request.kind.value,
                card_id,
                actor,
                reason=reason,
                key=request.key,
                amount=request.amount,
                name=request.name,
                quantity=request.quantity,
            )
        return self._runner.step(
            card_id,
            operation_key(request.key),
            now,
            lambda card, done, shelf: accounting.operate(card, done, request, shelf, now),
        )

    def _currency(self, card_id: str) -> str:
        batch = self._storage.view(card_id).card.batch
        return self._shelf.get(lambda snapshot: snapshot.batch(batch)).currency
