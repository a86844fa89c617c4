"""A small business played by a seed, on any store: what it answers and what it leaves behind.

The engine decides, so the same seed gives the same history on every store that keeps its
contract. ``data/histories/golden.json`` holds what seed 1 came to in memory;
``python -m cardbill.testing.golden`` prints it anew, to be read and put in its place when a
rule of the business has changed on purpose.
"""

from __future__ import annotations

import hashlib
import io
import json
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from moneyed import USD, Money

from cardbill import (
    Batch,
    BillingCycle,
    Carrier,
    Charge,
    CycleUnit,
    Denied,
    Engine,
    Keyring,
    Plan,
    Short,
    Trigger,
    read_deck,
)
from cardbill.errors import CardbillError
from cardbill.storage.contract import Storage
from cardbill.storage.memory import MemoryStorage

GOLDEN = Path(__file__).parent / "data" / "histories" / "golden.json"
SEED = 1
EVENTS = 200

_START = datetime(2025, 3, 3, 12, 0, tzinfo=UTC)
_CARDS = 4
_RETAIL = """\
prefix,destination,rate,increments,connect fee,blocked
1,United States,0.012,1/1,,
44,United Kingdom,0.06,60/60,,
447,UK mobile,0.15,60/6,0.10,
4487,UK premium,0,1/1,,yes
882,Satellite,20,60/60,,
"""
_COST = """\
prefix,destination,rate,increments
1,United States,0.005,1/1
44,United Kingdom,0.02,1/1
882,Satellite,5,1/1
"""
_NUMBERS = (
    *["13055550100", "011442071234567", "011447712345678"] * 3,
    "011448712345678",
    "0118821234567",
    "01133140000000",
    "123",
)


def play(storage: Storage, seed: int = SEED, *, events: int = EVENTS) -> dict[str, Any]:
    """Play a history on an empty store.

    Args:
        storage: The store; it stays open.
        seed: What is drawn from.
        events: How many things happen.

    Returns:
        What was answered, event by event, and what each card came to, as JSON has it.
    """
    return _History(storage, random.Random(seed)).play(events)


def golden() -> dict[str, Any]:
    """Return what the golden history came to when it was kept."""
    kept: dict[str, Any] = json.loads(GOLDEN.read_text(encoding="utf-8"))
    return kept


class _History:
    """A business of one batch, and what happens to it."""

    def __init__(self, storage: Storage, chance: random.Random) -> None:
        self._chance = chance
        self._now = _START
        self._open: list[tuple[str, str]] = []  # call and handle
        self._ended: list[tuple[str, str, int]] = []  # and talk time
        self._calls = 0
        self._keys = 0
        self._bill = Engine(
            storage, Keyring.generate(), clock=lambda: self._now, below=random.Random(0).randrange
        )
        _open_for_business(self._bill)
        self._pins = [
            self._bill.batches.reveal(card, actor="desk", reason="to dial it")
            for card in self._cards()
        ]

    def play(self, events: int) -> dict[str, Any]:
        chances: list[Callable[[], str]] = [
            *[self._authorize] * 6,
            *[self._settle] * 4,
            self._settle_again,
            self._cancel,
            self._authenticate,
            *[self._recharge] * 2,
            self._charge,
            self._credit,
            *[self._transfer] * 2,
            self._block,
            *[self._unblock] * 2,
            self._sweep,
            self._publish,
            *[self._wait] * 3,
        ]
        answers = [self._answer(self._chance.choice(chances)) for _ in range(events)]
        self._now += timedelta(days=60)
        answers.append(self._answer(self._sweep))
        problems = self._bill.audit().problems
        assert problems == [], problems
        return {"answers": answers, "cards": {card: self._came_to(card) for card in self._cards()}}

    def _answer(self, event: Callable[[], str]) -> str:
        try:
            said = event()
        except CardbillError as error:
            said = f"{type(error).__name__}"
        return f"{event.__name__.strip('_')}: {said}"

    def _cards(self) -> list[str]:
        return [f"G/{serial}" for serial in range(1, _CARDS + 1)]

    def _card(self) -> str:
        return self._chance.choice(self._cards())

    def _key(self) -> str:
        """A new key, or now and then the last one again."""
        self._keys += self._chance.randrange(8) > 0
        return f"k{self._keys}"

    def _money(self) -> Money:
        return Money(self._chance.choice(["0.25", "1", "2.50"]), USD)

    # -- what happens -----------------------------------------------------------------------

    def _authorize(self) -> str:
        pin, number = self._chance.choice(self._pins), self._chance.choice(_NUMBERS)
        self._calls += 1
        call = f"c{self._calls}"
        answer = self._bill.authorize(pin=pin, to=number, call_id=call)
        if isinstance(answer, Denied):
            return f"{number} denied, {answer.reason.value}"
        self._open.append((call, answer.handle))
        return f"{call} to {number}, {answer.max_seconds} s, {answer.held_units} held"

    def _settle(self) -> str:
        if not self._open:
            return "no call is open"
        call, handle = self._open.pop(self._chance.randrange(len(self._open)))
        talk = self._chance.choice([0, 1_000, 59_900, 61_000, 600_000])
        self._ended.append((call, handle, talk))
        return self._end(call, handle, talk)

    def _settle_again(self) -> str:
        if not self._ended:
            return "no call has ended"
        call, handle, talk = self._chance.choice(self._ended)
        return self._end(call, handle, talk + self._chance.choice([0, 0, 5_000]))

    def _end(self, call: str, handle: str, talk: int) -> str:
        record = self._bill.settle(handle, talk_ms=talk, carrier="acme")
        again = ", again" if record.replayed else ""
        return f"{call}, {record.seconds} s, {record.price_units}{again}"

    def _cancel(self) -> str:
        if not self._open:
            return "no call is open"
        call, handle = self._chance.choice(self._open)  # its settle, if it comes, is a late one
        return f"{call}, {self._bill.cancel(handle).outcome.value}"

    def _authenticate(self) -> str:
        wrong = self._chance.randrange(3) == 0
        pin = "0" * 12 if wrong else self._chance.choice(self._pins)
        answer = self._bill.authenticate(pin=pin, ani="+13055550142")
        return answer.reason.value if isinstance(answer, Denied) else f"{answer.balance_units}"

    def _recharge(self) -> str:
        return self._operation(
            self._bill.accounts.recharge(self._card(), self._money(), key=self._key())
        )

    def _charge(self) -> str:
        answer = self._bill.accounts.charge(
            self._card(), "letter", key=self._key(), actor="desk", reason="asked for"
        )
        return self._operation(answer)

    def _credit(self) -> str:
        answer = self._bill.accounts.credit(
            self._card(), self._money(), key=self._key(), actor="desk", reason="a bad line"
        )
        return self._operation(answer)

    def _transfer(self) -> str:
        answer = self._bill.accounts.transfer(
            self._card(), self._money(), to=self._card(), key=self._key()
        )
        return self._operation(answer)

    def _operation(self, answer: Any) -> str:
        if isinstance(answer, Denied):
            return f"denied, {answer.reason.value}"
        again = ", again" if answer.replayed else ""
        return f"{answer.card_id} {answer.kind.value} {answer.amount_units}{again}"

    def _block(self) -> str:
        card = self._bill.control.block(self._card(), actor="desk", reason="asked for")
        return f"{card.card_id}, {card.status.value}"

    def _unblock(self) -> str:
        card = self._bill.control.unblock(self._card(), actor="desk", reason="asked for")
        return f"{card.card_id}, {card.status.value}"

    def _sweep(self) -> str:
        swept = self._bill.sweep()
        return f"{swept.cards} cards, {swept.calls_expired} calls expired"

    def _publish(self) -> str:
        dearer = _RETAIL.replace("0.06", self._chance.choice(["0.05", "0.07"]))
        return str(self._bill.decks.publish("retail", _deck(dearer)))

    def _wait(self) -> str:
        self._now += timedelta(seconds=self._chance.choice([20, 600, 7_200, 60_000]))
        return self._now.isoformat()

    # -- what it came to --------------------------------------------------------------------

    def _came_to(self, card_id: str) -> dict[str, Any]:
        card = self._bill.card(card_id)
        entries = [
            [e.seq, e.at.isoformat(), e.kind.value, e.amount_units, e.balance_units, e.reference]
            for e in self._bill.entries(card_id)
        ]
        records = [
            [r.call_id, r.outcome.value, r.seconds, r.price_units, r.uncollected_units,
             r.cost_units, r.carrier, r.ended_at.isoformat()]
            for r in self._bill.records(card_id=card_id)
        ]  # fmt: skip
        return {
            "status": card.status.value,
            "balance": card.balance_units,
            "held": card.held_units,
            "entries": len(entries),
            "records": len(records),
            "ledger": _digest(entries),
            "calls": _digest(records),
        }


def _open_for_business(bill: Engine) -> None:
    bill.decks.publish("retail", _deck(_RETAIL))
    bill.decks.publish("cost", _deck(_COST))
    bill.carriers.publish(Carrier(name="acme", deck="cost"))
    weekly = BillingCycle(unit=CycleUnit.WEEKS)
    charges = (
        Charge(name="first use", trigger=Trigger.ACTIVATION, amount=Money("0.10", USD)),
        Charge(name="answer", trigger=Trigger.ANSWER, amount=Money("0.01", USD)),
        Charge(
            name="upkeep",
            trigger=Trigger.PERIOD,
            every=weekly,
            amount=Money("0.35", USD),
            when_short=Short.OWE,
        ),
        Charge(name="letter", trigger=Trigger.MANUAL, amount=Money("0.80", USD)),
    )
    bill.plans.publish(
        Plan(name="Basic", deck="retail", currency=USD, calls_at_once=2, charges=charges)
    )
    bill.batches.create(
        Batch(
            name="G",
            face_value=Money(5, USD),
            quantity=_CARDS,
            expires_days_after_first_use=40,
            plan="Basic",
        )
    )
    bill.batches.generate_pins("G")


def _deck(text: str) -> Any:
    return read_deck(io.StringIO(text), currency=USD)


def _digest(rows: list[list[Any]]) -> str:
    text = json.dumps(rows, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def main() -> None:
    """Print the golden history as it comes out now."""
    print(json.dumps(play(MemoryStorage()), indent=1))


if __name__ == "__main__":
    main()
