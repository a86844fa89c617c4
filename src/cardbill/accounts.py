"""What customers and operators do with a card's money: each once, under a key of theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from attrs import evolve

from cardbill import accounting, money, transferring
from cardbill.answers import Credential, Denied
from cardbill.errors import InvalidInput
from cardbill.names import check_count, check_id, check_name, check_reason
from cardbill.operations import ALL_THERE_IS, Operation, OperationKind, Request, incoming_key
from cardbill.paging import record_rows
from cardbill.rows import is_call, operation_from_row, operation_key

if TYPE_CHECKING:
    from cardbill.journal import Journal
    from cardbill.runner import Runner
    from cardbill.seals import Seals
    from cardbill.shelf import Shelf
    from cardbill.storage.contract import Storage


class ByPin(Protocol):
    """Finds the card of a PIN, its attempt counted, and uses it."""

    def __call__(
        self,
        use: Callable[[str, Sequence[Credential]], Operation | Denied],
        now: datetime,
        *,
        pin: str,
        card_number: str | None,
        ani: str | None,
        call_id: str | None,
        access: str | None,
        trunk: str | None,
    ) -> Operation | Denied:
        """Return what `use` makes of the card's id and its credentials."""


class Accounts:
    """Recharges, credits, refunds, write-offs, manual charges and packages that are bought.

    Every call names a key that the host makes, one per request on a card: the same again is
    answered as the first time and marked ``replayed``; on another card it is another request.
    A refusal is a :class:`Denied`, and is not remembered; but for that of a card that another
    one gives to. While a charge waits for an open call to end, what is available is kept for
    it: nothing that takes money is done.
    """

    def __init__(
        self,
        storage: Storage,
        shelf: Shelf,
        runner: Runner,
        journal: Journal,
        seals: Seals,
        now: Callable[[datetime | None], datetime],
        by_pin: ByPin,
    ) -> None:
        self._storage = storage
        self._shelf = shelf
        self._runner = runner
        self._journal = journal
        self._seals = seals
        self._now = now
        self._by_pin = by_pin

    def recharge(
        self, card_id: str, amount: object, *, key: str, at: datetime | None = None
    ) -> Operation | Denied:
        """Put money on a card that somebody paid for.

        Charges that a recharge triggers are taken from it, then what is owed. The plan says
        whether it extends the card's validity, or revives a card that has expired. Where the
        sale is taxed, the ledger tells the taxes on it; the card gets the whole amount.

        Args:
            card_id: The card.
            amount: ``Money`` in the card's currency; or ``Decimal``, int or text, in that
                currency and not in ledger units: 5 is $5.00. Above 0.
            key: The host's, one per payment on this card: 1 to 128 visible ASCII characters.
            at: The instant; default: now.

        Raises:
            UnknownName: There is no such card.
            InvalidInput: The amount or the key cannot be used.
            IdempotencyMismatch: That key was used for another request.
            TransitionRefused: The card was never used.
            TaxUnavailable: A tax engine outside does not answer, and then it is refused.
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
            InvalidInput: The plan has no manual charge of that name, or not in force now; or
                the quantity or the key cannot be used.
            UnknownName, IdempotencyMismatch, TransitionRefused: As for :meth:`recharge`.
        """
        check_count("quantity", quantity, 1, 1_000_000)
        request = Request(
            check_id("key", key), OperationKind.CHARGE, 0, check_name("charge", name), quantity
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
        request = Request(
            check_id("key", key), OperationKind.BUY, 0, check_name("package", package)
        )
        return self._operate(card_id, request, at, None)

    def transfer(
        self,
        card_id: str,
        amount: object = None,
        *,
        to: str,
        key: str,
        at: datetime | None = None,
    ) -> Operation | Denied:
        """Move money from one card to another: only what no call of the giving card holds.

        The receiving card, which must have been used before, is treated as if recharged.
        Should the process die half way, the money is under way until a sweep, or the same
        request again, goes on.

        Args:
            card_id: The giving card.
            amount: As for :meth:`recharge`; default: all that is available.
            to: The receiving card.
            key: The host's, one per transfer, on the giving card.
            at: The instant; default: now.

        Returns:
            The giving card's operation; or a :class:`Denied`, also where the receiving card
            refused: then the money has come back, and that key is refused for good.

        Raises:
            WrongCurrency: The cards are in different currencies.
            UnknownName, InvalidInput, IdempotencyMismatch, TransitionRefused: As for
                :meth:`recharge`.
        """
        now = self._now(at)
        units = 0 if amount is None else self._units(card_id, amount)
        self._check_other(card_id, to)
        request = Request(check_id("key", key), OperationKind.TRANSFER_OUT, units, other=to)
        sent = self._runner.step(
            card_id,
            operation_key(key),
            now,
            lambda card, done, shelf: transferring.send(card, done, request, shelf, now),
        )
        return self._go_on(sent, now)

    def redeem(
        self,
        card_id: str,
        *,
        pin: str,
        key: str,
        card_number: str | None = None,
        ani: str | None = None,
        call_id: str | None = None,
        access: str | None = None,
        trunk: str | None = None,
        at: datetime | None = None,
    ) -> Operation | Denied:
        """Recharge a card by the value of another one, never used, whose PIN is told.

        The other card is void then. Wrong PINs are counted as in
        :meth:`Engine.authenticate`, whose arguments these are.

        Args:
            card_id: The receiving card; it must have been used before.
            pin: Of the card that is used up.
            key: The host's, one per redemption, on the card that is used up.
            card_number: The printed card number, where cards have one.
            ani: The caller's number.
            call_id: The call, to limit wrong PINs in it.
            access: The access number it came in on.
            trunk: The trunk it came over.
            at: The instant; default: now.

        Returns:
            The operation of the card that was used up; or a :class:`Denied`.

        Raises:
            WrongCurrency: The cards are in different currencies.
            UnknownName, InvalidInput, IdempotencyMismatch: As for :meth:`recharge`.
        """
        now = self._now(at)
        check_id("key", key)
        self._storage.view(card_id)

        def use(voucher: str, credentials: Sequence[Credential]) -> Operation | Denied:
            self._check_other(voucher, card_id)
            request = Request(key, OperationKind.TRANSFER_OUT, 0, other=card_id)
            return self._runner.step(
                voucher,
                operation_key(key),
                now,
                lambda card, done, shelf: transferring.send_all(
                    card, done, request, credentials, shelf, now
                ),
            )

        sent = self._by_pin(
            use,
            now,
            pin=pin,
            card_number=card_number,
            ani=ani,
            call_id=call_id,
            access=access,
            trunk=trunk,
        )
        return self._go_on(sent, now)

    def resume(self, card_id: str, at: datetime) -> int:
        """Go on with transfers of a card that were cut short, as :meth:`Engine.sweep` does.

        Returns:
            How many there were.
        """
        found = self._runner.step(
            card_id, None, at, lambda card, _done, _shelf: transferring.overdue(card, at)
        )
        for key, outgoing in found:
            self._arrive(card_id, key, outgoing.to, outgoing.amount, at)
        return len(found)

    def operations(self, card_id: str) -> Iterator[Operation]:
        """Yield what was done to a card under keys, ordered by key.

        Raises:
            UnknownName: There is no such card.
        """
        self._storage.view(card_id)
        for row in record_rows(self._storage, card=card_id):
            if not is_call(row):
                yield operation_from_row(row, self._seals)

    # -- inside ---------------------------------------------------------------------------

    def _go_on(self, sent: Operation | Denied, at: datetime) -> Operation | Denied:
        """Bring what was sent to the other card, if that was not done before."""
        if isinstance(sent, Denied):
            return sent
        if sent.refused:
            return transferring.turned_down(sent.refused, sent.other)
        closed = self._arrive(sent.card_id, sent.key, sent.other, sent.amount_units, at)
        if closed.refused:
            return transferring.turned_down(closed.refused, sent.other)
        return evolve(closed, replayed=sent.replayed)

    def _arrive(self, card_id: str, key: str, to: str, amount: int, at: datetime) -> Operation:
        incoming = incoming_key(card_id, key)
        request = Request(incoming, OperationKind.TRANSFER_IN, amount, other=card_id)
        answer = self._runner.step(
            to,
            operation_key(incoming),
            at,
            lambda card, done, shelf: transferring.receive(card, done, request, shelf, at),
        )
        return self._runner.step(
            card_id,
            operation_key(key),
            at,
            lambda card, done, shelf: transferring.close(card, done, key, answer, shelf, at),
        )

    def _check_other(self, card_id: str, to: str) -> None:
        if card_id == to:
            raise InvalidInput("to", to, "is the giving card itself")
        transferring.check_currencies(self._currency(card_id), self._currency(to))

    def _units(self, card_id: str, amount: object) -> int:
        units = money.units("amount", amount, self._currency(card_id))
        if not 0 < units <= money.MAX_UNITS:
            raise InvalidInput("amount", amount, "must be above zero")
        return units

    def _money(
        self,
        kind: OperationKind,
        card_id: str,
        amount: object,
        key: str,
        at: datetime | None,
        log: tuple[str, str] | None = None,
    ) -> Operation | Denied:
        units = 0 if amount is None and kind in ALL_THERE_IS else self._units(card_id, amount)
        return self._operate(card_id, Request(check_id("key", key), kind, units), at, log)

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
            refusable=True,
        )

    def _currency(self, card_id: str) -> str:
        batch = self._storage.view(card_id).card.batch
        return self._shelf.get(lambda snapshot: snapshot.batch(batch)).currency
