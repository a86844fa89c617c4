"""Where what happens to the cards of a history is done: a shop, in the words of the opinion."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, NamedTuple
from unittest.mock import patch

from cardbill import BatchFlags, CallRecord, CardView, Denied, Engine, Grant, Operation
from cardbill.calls import make_handle
from cardbill.errors import (
    CallEnded,
    IdempotencyMismatch,
    InvalidInput,
    TaxUnavailable,
    TransitionRefused,
    UnknownCall,
)
from cardbill.money import money
from tests.building import Shop
from tests.sale.cards import Answer
from tests.sale.terms import (
    CARDS,
    TOLL_FREE_ACCESS,
    VOUCHERS,
    place,
    reprice,
    republished,
)

WHO: dict[str, Any] = {"actor": "ann", "reason": "to see"}
REFUSALS = (
    CallEnded,
    IdempotencyMismatch,
    InvalidInput,
    TaxUnavailable,
    TransitionRefused,
    UnknownCall,
)
DAY = timedelta(days=1)


class Move(NamedTuple):
    """One request, at its instant."""

    at: datetime
    what: str
    card: str
    told: dict[str, Any]


class CutShort(Exception):  # not an error
    """Nobody goes on with a request."""


class Desk:
    """Where moves are done; answered in the words of the second opinion."""

    def __init__(self, shop: Shop, engine: dict[str, Any] | None = None) -> None:
        self.shop, self.engine = shop, engine or {}
        self.pins = {card: shop.pin(int(card[2:]), "T") for card in (*CARDS, *VOUCHERS)}

    @cached_property
    def other(self) -> Engine:
        """Another engine on the same store, as another process has it."""
        return self.shop.second(**self.engine)

    def do(self, move: Move, bill: Engine | None = None) -> Answer:
        self.shop.clock.now = move.at
        act = getattr(self, move.what)
        try:
            return said(act(bill or self.shop.bill, move.card, **move.told))
        except REFUSALS as error:
            return "error", type(error).__name__

    def authorize(
        self, bill: Engine, card: str, call: str, to: str | None, access: str | None
    ) -> Any:
        return bill.authorize(pin=self.pins[card], to=dialled(to), call_id=call, access=access)

    def extend(self, bill: Engine, card: str, call: str, used: int, number: int) -> Any:
        return bill.extend(make_handle(card, call), used_seconds=used, number=number)

    def settle(
        self,
        bill: Engine,
        card: str,
        call: str,
        talk_ms: int,
        carrier: str | None,
        to: str | None,
        access_ms: int | None,
    ) -> Any:
        told = None if to is None else dialled(to)
        more: dict[str, Any] = {"carrier": carrier, "to": told, "access_ms": access_ms}
        return bill.settle(make_handle(card, call), talk_ms=talk_ms, **more)

    def cancel(self, bill: Engine, card: str, call: str) -> Any:
        return bill.cancel(make_handle(card, call))

    def recharge(self, bill: Engine, card: str, amount: int, key: str) -> Any:
        return bill.accounts.recharge(card, money(amount, "USD"), key=key)

    def credit(self, bill: Engine, card: str, amount: int, key: str) -> Any:
        return bill.accounts.credit(card, money(amount, "USD"), key=key, **WHO)

    def refund(self, bill: Engine, card: str, amount: int, key: str) -> Any:
        return bill.accounts.refund(card, part(amount), key=key, **WHO)

    def write_off(self, bill: Engine, card: str, amount: int, key: str) -> Any:
        return bill.accounts.write_off(card, part(amount), key=key, **WHO)

    def charge(self, bill: Engine, card: str, name: str, quantity: int, key: str) -> Any:
        return bill.accounts.charge(card, name, key=key, quantity=quantity, **WHO)

    def buy(self, bill: Engine, card: str, name: str, key: str) -> Any:
        return bill.accounts.buy(card, name, key=key)

    def transfer(self, bill: Engine, card: str, to: str, amount: int, key: str) -> Any:
        return bill.accounts.transfer(card, part(amount), to=to, key=key)

    def cut_short(
        self, bill: Engine, card: str, to: str, amount: int, key: str, commits: int, meanwhile: Any
    ) -> Any:
        """Let a transfer get no further than some commits, do something, and ask for it again."""
        transact, left = bill.storage.transact, commits

        def cut(*arguments: Any, **more: Any) -> Any:
            nonlocal left
            answer = transact(*arguments, **more)
            left -= 1
            if not left:
                raise CutShort
            return answer

        with suppress(CutShort), patch.object(bill.storage, "transact", cut):
            self.transfer(bill, card, to, amount, key)
        what, other, told = meanwhile
        with suppress(*REFUSALS):
            getattr(self, what)(bill, other, **told)
        return self.transfer(bill, card, to, amount, key)

    def redeem(self, bill: Engine, card: str, voucher: str, key: str) -> Any:
        pin = self.pins.get(voucher, "000000000000")
        return bill.accounts.redeem(card, pin=pin, key=key, access=TOLL_FREE_ACCESS)

    def control(self, bill: Engine, card: str, what: str) -> Any:
        return getattr(bill.control, what)(card, **WHO)

    def move_to(self, bill: Engine, card: str, plan: str, days: int | None) -> Any:
        when = None if days is None else self.shop.clock.now + days * DAY
        return bill.control.move(card, plan, effective=when, **WHO)

    def freeze(self, bill: Engine, card: str) -> Any:
        return bill.control.freeze("T", int(card[2:]), int(card[2:]), **WHO)

    def thaw(self, bill: Engine, card: str) -> Any:
        return bill.control.thaw("T", int(card[2:]), int(card[2:]), **WHO)

    def assign(self, bill: Engine, card: str) -> Any:
        bill.batches.assign("T", plan="Basic")
        return "assigned"

    def reprice(self, bill: Engine, card: str, number: int) -> Any:
        reprice(self.shop, number)
        return "repriced"

    def publish(self, bill: Engine, card: str, taxed: str, begin: datetime | None) -> Any:
        before = bill.jurisdictions.get("X").taxes
        bill.jurisdictions.publish(place(republished(before, taxed, begin)))
        return "published"


def dialled(number: str | None) -> str:
    if number is None:
        return "12345"
    return number if number.startswith("1") else f"011{number}"


def part(amount: int) -> Any:
    """Return an amount; 0 stands for all there is."""
    return money(amount, "USD") if amount else None


def said(result: object) -> Answer:
    """Say an engine's answer in the words of the second opinion."""
    match result:
        case str():
            return "done", result
        case Denied():
            return "denied", result.reason.value
        case Grant():
            return (
                "granted", result.max_seconds, result.limited_by and result.limited_by.value,
                result.held_units, result.expires_at, result.replayed,
            )  # fmt: skip
        case CallRecord():
            return (
                "record", result.outcome.value, result.seconds, result.rated_units,
                lines(result.posted), lines(result.short or uncollected(result)),
                tuple(sorted((draw.bucket, draw.units) for draw in result.draws)),
                result.first, result.late, result.cost_units, result.access_cost_units,
                result.margin_units, result.replayed,
            )  # fmt: skip
        case Operation():
            return (
                "done", result.amount_units, result.balance_units, result.expires_at,
                result.replayed,
            )  # fmt: skip
        case CardView():
            return "card", result.status.value, result.plan, result.moves_to
        case BatchFlags():
            return "flags", tuple(
                f"T/{serial}" for a, b in sorted(result.frozen) for serial in range(a, b + 1)
            )
    raise AssertionError(f"an answer of an unknown kind: {result!r}")


_KINDS = {"price": "call", "charge": "charge", "tax": "tax"}


def lines(bill: Any) -> tuple[tuple[str, str, int], ...]:
    return tuple(sorted((_KINDS[kind.value], name, n) for kind, name, n in bill if n))


def uncollected(record: CallRecord) -> Any:
    return [record.posted[0]._replace(amount=record.uncollected_units)]
