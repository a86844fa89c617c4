"""A second opinion on money put on cards and taken off, and on what operators do to them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from cardbill import Charge
from tests.sale.calls import Calls
from tests.sale.cards import Answer, Card, Done, Refused
from tests.sale.prices import Line, rates, units
from tests.sale.terms import CARDS, RATES, VOUCHERS, republished
from tests.sale.versions import Version

PUT_ON = ("recharge", "credit")
TAKEN_OFF = ("refund", "write_off")
Request = tuple[Any, ...]
Meanwhile = tuple[str, str, dict[str, Any]]


class Business(Calls):
    """The whole business of one history."""

    # -- one card -------------------------------------------------------------------------

    def recharge(self, card: str, amount: int, key: str) -> Answer:
        return self.operate(card, key, ("recharge", amount, "", 1, ""))

    def credit(self, card: str, amount: int, key: str) -> Answer:
        return self.operate(card, key, ("credit", amount, "", 1, ""))

    def refund(self, card: str, amount: int, key: str) -> Answer:
        return self.operate(card, key, ("refund", amount, "", 1, ""))

    def write_off(self, card: str, amount: int, key: str) -> Answer:
        return self.operate(card, key, ("write_off", amount, "", 1, ""))

    def charge(self, card: str, name: str, quantity: int, key: str) -> Answer:
        return self.operate(card, key, ("charge", 0, name, quantity, ""))

    def buy(self, card: str, name: str, key: str) -> Answer:
        return self.operate(card, key, ("buy", 0, name, 1, ""))

    def operate(self, card_id: str, key: str, request: Request) -> Answer:
        def act(card: Card) -> Answer:
            if done := self.same(card, key, request):
                return done.answer(replayed=True)
            if reason := self.closed(card_id, card, request[0]):
                return "denied", reason
            moved = self.move(card, request, f"{request[0]} {key}")
            if isinstance(moved, str):
                return "denied", moved
            card.done[key] = Done(request, moved, card.balance, card.expires)
            return card.done[key].answer()

        return self.step(card_id, act)

    def same(self, card: Card, key: str, request: Request) -> Done | None:
        """Return what was done under a key, if it was the same that is asked for now."""
        if (done := card.done.get(key)) is None:
            return None
        kind, amount, *rest = request
        if [done.request[0], *done.request[2:]] != [kind, *rest]:
            raise Refused("IdempotencyMismatch")
        if amount and not done.refused and amount != done.amount:
            raise Refused("IdempotencyMismatch")
        return done

    def closed(self, card_id: str, card: Card, what: str) -> str:
        """Return why nothing can be done to a card's account."""
        if card.voided:
            return "void"
        if card.used is None:
            raise Refused("TransitionRefused")
        if what in TAKEN_OFF:
            return ""
        if card.blocked or card_id in self.frozen:
            return "blocked"
        if card.expires and card.expires <= self.now:
            longer = self.extended(card)
            revives = self.plan(card).get("recharge_revives") and longer and longer > self.now
            if not revives or what not in ("recharge", "transfer_in"):
                return "expired"
        return ""

    def move(self, card: Card, request: Request, reference: str) -> int | str:
        kind, amount, name, quantity, _ = request
        if kind in PUT_ON:
            card.post(self.now, kind, amount, reference)
            if kind == "recharge":
                self.tell_sale(card, amount, reference)
                self.recharged(card, amount, reference)
            self.pay_owed(card, reference)
        elif kind in TAKEN_OFF:
            amount = amount or card.available
            if not amount or amount > card.available or card.waits:
                self.seen["nothing leaves while a charge waits"] += card.waits
                return "insufficient_balance"
            card.post(self.now, kind, -amount, reference)
        elif kind == "charge":
            charge = self.manual(card, name)
            amount = units(charge.amount) * charge.quantity * quantity
            waits = card.waits and amount > 0
            if waits or not self.take(card, charge, amount, self.now, reference):
                return "insufficient_balance"
        else:
            package = next((p for p in self.packages(card, "bought") if p.name == name), None)
            if package is None:
                raise Refused("InvalidInput")
            if not (self.left_of(card, package) or card.room(package)):
                raise Refused("InvalidInput")
            amount = units(package.price)
            line = Line("surcharge", amount)
            due = self.taxes(self.now).total([line])
            if due > card.available or (due and card.waits):
                return "insufficient_balance"
            self.pay(card, line, name, self.now, reference)
            self.give(card, package, self.now, None)
        return int(amount)

    def manual(self, card: Card, name: str) -> Charge:
        for charge in self.charges(card):
            manual = charge.name == name and charge.trigger.value == "manual"
            if manual and self.in_force(charge, self.now):
                return charge
        raise Refused("InvalidInput")

    def recharged(self, card: Card, amount: int, reference: str) -> None:
        self.touch(card, self.now)
        longer = self.extended(card)
        self.seen["validity extended"] += longer != card.expires
        expired, card.expires = card.expires, longer
        if expired is not None and expired <= self.now:
            self.revive(card, expired)
        for charge in self.charges(card):
            if charge.trigger.value == "recharge" and self.in_force(charge, self.now):
                due = self.fee_of(charge, amount)
                self.take(card, charge, due, self.now, reference, waits=False)

    def extended(self, card: Card) -> Any:
        """Return until when a card is good once it is recharged."""
        days = self.plan(card).get("recharge_days")
        if days is None or card.expires is None:
            return card.expires
        until = self.midnight(self.day(self.now) + timedelta(days=days + 1))
        return max(card.expires, until if self.ends is None else min(until, self.ends))

    # -- two cards ------------------------------------------------------------------------

    def transfer(self, card_id: str, to: str, amount: int, key: str) -> Answer:
        if card_id == to:
            return "error", "InvalidInput"
        return self.go_on(card_id, key, self.debit(card_id, to, amount, key))

    def cut_short(
        self, card_id: str, to: str, amount: int, key: str, commits: int, meanwhile: Meanwhile
    ) -> Answer:
        """A transfer gets no further than some commits; something happens; it is asked again."""
        sent = self.debit(card_id, to, amount, key)
        if sent[0] == "error":
            return sent
        if sent[0] == "done" and commits > 1:
            self.arrive(to, f"{card_id} {key}", self.cards[card_id].done[key].amount, card_id)
        what, other, told = meanwhile
        self.do(what, other, told)
        return self.transfer(card_id, to, amount, key)

    def debit(self, card_id: str, to: str, amount: int, key: str) -> Answer:
        request = ("transfer_out", amount, "", 1, to)

        def act(card: Card) -> Answer:
            if done := self.same(card, key, request):
                self.seen["refused under its key"] += bool(done.refused)
                return ("denied", done.refused) if done.refused else done.answer(replayed=True)
            if reason := self.closed(card_id, card, "transfer_out"):
                return "denied", reason
            if not card.available or amount > card.available or card.waits:
                return "denied", "insufficient_balance"
            return self.send(card, request, amount or card.available, key)

        return self.step(card_id, act)

    def redeem(self, card_id: str, voucher: str, key: str) -> Answer:
        if voucher not in self.cards:
            return "denied", "unknown_credential"
        if card_id == voucher:
            return "error", "InvalidInput"
        request = ("transfer_out", 0, "", 1, card_id)

        def act(card: Card) -> Answer:
            if done := self.same(card, key, request):
                return ("denied", done.refused) if done.refused else done.answer(replayed=True)
            status = self.status(voucher, card)
            if status in ("void", "blocked", "expired"):
                return "denied", status
            if status == "generated" and self.batch["sold_first"]:
                return "denied", "not_sold"
            if self.begins and self.now < self.begins:
                return "denied", "not_yet_effective"
            if card.used:
                return "denied", "exhausted"
            if not card.sold and not card.entries:
                self.tell_sale(card, card.face, "sale")
            card.open(self.now)
            card.voided = True
            return self.send(card, request, card.available, key)

        return self.go_on(voucher, key, self.step(voucher, act))

    def send(self, card: Card, request: Request, amount: int, key: str) -> Answer:
        card.post(self.now, "transfer_out", -amount, f"transfer_out {key}")
        card.done[key] = Done(request, amount, card.balance, card.expires)
        return card.done[key].answer()

    def go_on(self, card_id: str, key: str, sent: Answer) -> Answer:
        """Bring what was sent to the other card; where it is refused, it comes back."""
        if sent[0] != "done":
            return sent
        done = self.cards[card_id].done[key]
        refused = self.arrive(done.request[4], f"{card_id} {key}", done.amount, card_id)

        def close(card: Card) -> Answer:
            if not refused:
                return sent
            card.post(self.now, "transfer_out", done.amount, f"transfer_out {key}")
            if card.used is None:
                card.voided = False
                self.seen["voucher came back"] += 1
            else:
                self.seen["transfer came back"] += 1
                owed = sum(debt.amount for debts in card.debts.values() for debt in debts)
                self.pay_owed(card, f"transfer_out {key}")
                left = sum(debt.amount for debts in card.debts.values() for debt in debts)
                self.seen["what came back paid a debt"] += left < owed
            card.done[key] = done._replace(amount=0, balance=card.balance, refused=refused)
            return "denied", refused

        return self.step(card_id, close)

    def arrive(self, card_id: str, key: str, amount: int, giver: str) -> str:
        request = ("transfer_in", amount, "", 1, giver)

        def refusal(card: Card) -> str:
            try:
                return self.closed(card_id, card, "transfer_in")
            except Refused:
                return "not_yet_effective"

        def act(card: Card) -> Answer:
            if done := self.same(card, key, request):
                self.seen["a refusal stands"] += bool(done.refused and not refusal(card))
                return "done", done.refused
            if reason := refusal(card):
                card.done[key] = Done(request, 0, card.balance, card.expires, reason)
                return "done", reason
            reference = f"transfer_in {key}"
            card.post(self.now, "transfer_in", amount, reference)
            self.recharged(card, amount, reference)
            self.pay_owed(card, reference)
            card.done[key] = Done(request, amount, card.balance, card.expires)
            return "done", ""

        answer = self.step(card_id, act)
        return str(answer[1])

    # -- operators ------------------------------------------------------------------------

    def control(self, card_id: str, what: str) -> Answer:
        def act(card: Card) -> Answer:
            # What a card was stopped by in the catalogue does not change what it is itself.
            status = self.status("", card)
            if what == "block":
                if card.voided:
                    raise Refused("TransitionRefused")
                card.blocked = True
            elif what == "unblock":
                card.blocked = False
            elif what == "sell" and not card.sold:
                if status != "generated":
                    raise Refused("TransitionRefused")
                if not card.entries:
                    self.tell_sale(card, card.face, "sale")
                card.sold = True
                if self.assigned:
                    card.plan = card.plan or "Basic"
            elif what == "void" and not card.voided:
                if card.used:
                    raise Refused("TransitionRefused")
                card.voided = True
                if card.available:
                    card.open(self.now)
                    card.post(self.now, "void", -card.available)
            return self.view(card_id, card)

        return self.step(card_id, act)

    def move_to(self, card_id: str, plan: str, days: int | None) -> Answer:
        def act(card: Card) -> Answer:
            if days is not None and days < 0:
                raise Refused("InvalidInput")
            if card.voided:
                raise Refused("TransitionRefused")
            when = self.now + timedelta(days=days or 0)
            card.moving = None if plan == card.plan and when == self.now else (plan, when)
            self.pass_time(card, floor=self.now)
            return self.view(card_id, card)

        return self.step(card_id, act)

    def view(self, card_id: str, card: Card) -> Answer:
        return "card", self.status(card_id, card), card.plan, card.moving and card.moving[0]

    def freeze(self, card_id: str) -> Answer:
        self.frozen.add(card_id)
        return "flags", tuple(sorted(self.frozen))

    def thaw(self, card_id: str) -> Answer:
        self.frozen.discard(card_id)
        return "flags", tuple(sorted(self.frozen))

    def assign(self, _card: str) -> Answer:
        self.assigned = True
        return "done", "assigned"

    def reprice(self, _card: str, number: int) -> Answer:
        self.decks["retail"] = rates(RATES[number])
        return "done", "repriced"

    def publish(self, _card: str, taxed: str, begin: datetime | None) -> Answer:
        taxes = republished(self.versions.newest(), taxed, begin)
        if not self.versions.publish(Version(self.now, taxes)):
            return "error", "InvalidInput"
        return "done", "published"

    def sweep(self) -> None:
        for card in (*CARDS, *VOUCHERS):
            self.step(card, lambda _card: ())
