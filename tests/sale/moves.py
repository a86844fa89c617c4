"""What happens to the cards of a history, drawn by a seed."""

from __future__ import annotations

import random
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

from tests.building import START
from tests.sale.accounts import Business
from tests.sale.cards import Answer, Card
from tests.sale.desk import DAY, Move
from tests.sale.terms import CARDS, TAXES, TOLL_FREE_ACCESS, VOUCHERS, Terms
from tests.sale.versions import windows

GOOD = ("442071234567", "447712345678", "13055550100")
ODD = (  # dear ... free ... no number
    *("882123456700", "448712345678", "861012345678", "331400000000"),
    *("18005550199", "18005550199", None),
)
MOVES_MONEY = ("transfer", "cut_short", "redeem")
SECOND = timedelta(seconds=1)
MICROSECOND = timedelta(microseconds=1)
MONTH = 30 * DAY // SECOND  # nobody may report a longer call by much

USUAL = {
    "authorize": 9.0,
    "settle": 2.0,
    "extend": 1.0,
    "cancel": 0.7,
    "open settle": 4.0,
    "open extend": 5.0,
    "open recharge": 2.0,
    "again": 2.5,
    "recharge": 2.0,
    "credit": 1.0,
    "open drain": 1.5,
    "take_off": 2.5,
    "charge": 2.0,
    "buy": 2.0,
    "transfer": 1.5,
    "cut_short": 1.0,
    "redeem": 1.5,
    "stop": 1.3,
    "sell": 1.0,
    "another_plan": 2.5,
    "publish": 1.5,
}
"""How likely each kind of move is; some are more likely while calls are open."""
OF_OPEN_CALLS = tuple(kind for kind in USUAL if kind.startswith("open "))
Drawn = tuple[str, str, dict[str, Any]]


class Player:
    """Draws one history: what happens next depends on how the second opinion sees things."""

    def __init__(self, terms: Terms, seed: int) -> None:
        self.terms, self.rng = terms, random.Random(f"moves {seed}")
        self.model = Business(terms, START)
        plans = terms.plans.values()
        charges = [charge for plan in plans for charge in plan["charges"]]
        packages = [package for plan in plans for package in plan["packages"]]
        self.manual = [charge.name for charge in charges if charge.trigger.value == "manual"]
        self.bought = [package.name for package in packages if package.given.value == "bought"]
        self.calls: list[tuple[str, str]] = []
        self.played: list[Move] = []
        self.then: Drawn | None = None  # what happens next, if that is clear
        self.count = 0
        # Each history likes some kinds of moves, so that together they come to odd places.
        self.liking = {
            kind: weight * self.rng.choice((0.2, 1, 1, 3)) for kind, weight in USUAL.items()
        }
        self.ready = not (terms.batch["sold_first"] or terms.batch["effective_date"])
        self.ready &= terms.assigned
        self.seen: Counter[str] = Counter()

    def move(self) -> Move:
        """Draw what happens next."""
        self.count += 1
        if self.count <= (3 if self.ready else 7):
            found = self.opening()
        elif self.then is not None:
            found, self.then = self.then, None
        elif (last := self.played[-1]).what == "authorize" and self.rng.random() < 0.4:
            found = self.authorize(last.card)
        else:
            card = self.wait() if self.rng.random() < 0.45 else ""
            found = self.authorize(card, self.rng.choice(GOOD)) if card else self.next()
        what, card, told = found
        move = Move(self.model.now, what, card, told)
        self.played.append(move)
        return move

    def answer(self, move: Move) -> Answer:
        """Return what the second opinion answers, and count it."""
        self.model.now = move.at
        answer = self.model.do(move.what, move.card, dict(move.told))
        word = {"denied": answer[1], "error": answer[1], "record": answer[1]}.get(answer[0], "")
        replayed = " replayed" if answer[-1] is True else ""
        self.seen[f"{move.what} {answer[0]} {word}".rstrip() + replayed] += 1
        if move.what == "control":
            self.seen[f"{move.told['what']} {answer[0]}"] += 1
        if answer[0] == "granted":
            self.seen[f"limited by {answer[2]}"] += 1
        card = self.model.cards[move.card]
        self.seen["3 calls at once"] += len(card.holds) >= 3
        return answer

    def opening(self) -> Drawn:
        """Bring the cards into use: a card takes nothing before."""
        card = CARDS[(self.count - 1) % 3]
        if self.count <= 3:  # where something is missing yet, what comes of it is seen first
            return self.authorize(card, self.rng.choice(GOOD))
        if not self.model.assigned:
            return "assign", card, {}
        if self.model.begins and self.model.now < self.model.begins:
            self.model.now = self.model.begins
        if self.terms.batch["sold_first"] and not self.model.cards[card].sold:
            self.count -= 1
            moved = self.model.cards[card].plan or len(self.terms.plans) < 2
            if not moved and self.rng.random() < 0.6:
                return "move_to", card, {"plan": "Other", "days": None}
            return "control", card, {"what": "sell"}
        return self.authorize(card, self.rng.choice(GOOD))

    def next(self) -> Drawn:
        """Draw a kind of move, by this history's own liking, and its particulars."""
        open_ = any(self.model.cards[name].holds for name in CARDS)
        kinds = [kind for kind in self.liking if open_ or kind not in OF_OPEN_CALLS]
        if len(self.terms.plans) < 2:
            kinds.remove("another_plan")
        if not self.model.assigned and self.rng.random() < 0.2:
            return "assign", "T/1", {}
        (kind,) = self.rng.choices(kinds, [self.liking[kind] for kind in kinds])
        return getattr(self, kind.removeprefix("open "))()  # type: ignore[no-any-return]

    # -- time

    def wait(self) -> str:
        """Let time pass: some of it, or up to an instant at which something happens by itself.

        While calls are open it passes slowly, so that much happens to cards that have some; or
        it comes to the very instants at which buckets end, charges fall due, taxes begin.

        Returns:
            The card for which something is about to happen: a good time for a call.
        """
        now, rng = self.model.now, self.rng
        holds = [hold for name in CARDS for hold in self.model.cards[name].holds.values()]
        first = min((hold.expires for hold in holds), default=now + 12 * DAY)
        edges = self.edges(now, first)
        self.seen["wait"] += 1
        if holds and rng.random() < 0.4:
            self.model.now += rng.choice((1, 7, 30, 60)) * SECOND
        elif edges and rng.random() < 0.75:
            at, card = rng.choice(rng.choice(edges))
            before = rng.choice((0, 0, 1)) if holds or not card else rng.choice((0, 1, 20, 90, 90))
            self.model.now = max(now, at + rng.choice((0, 0, 0, 1)) * SECOND - before * SECOND)
            return card if before > 1 else ""
        elif holds and rng.random() < 0.6:
            self.model.now = max(now, first + rng.choice((-1, 0, 1)) * SECOND)
        else:
            minutes = (1, 10, 60, 700, 1_440, 3_000, 12_000)
            self.model.now += rng.choice(minutes) * 60 * SECOND
        return ""

    def edges(self, now: datetime, until: datetime) -> list[list[tuple[datetime, str]]]:
        """Return when something happens next by itself, and to which card, each kind apart.

        Taxes begin and end for all of them.
        """
        taxes = [(at, "") for at in self.model.versions.changes() if now < at < until]
        kinds: dict[int, list[tuple[datetime, str]]] = {-2: taxes} if taxes else {}
        for name in CARDS:
            card = self.model.cards[name]
            for event in self.model.events(card):
                if now < event.at and (event.at < until or not event.rank):
                    kinds.setdefault(event.rank, []).append((event.at, name))
            for hold in card.holds.values():  # of what it holds to the last unit, there is none
                for draw in hold.terms.draws:
                    at = card.buckets[draw.bucket].expires
                    if draw.units and at and now < at < until:
                        kinds.setdefault(-1, []).append((at, name))
        return list(kinds.values())

    # -- calls

    def card(self) -> str:
        """Return a card, mostly one that is in use."""
        name = self.rng.choice(("T/1", "T/1", "T/1", "T/2", "T/2", "T/3"))
        live = [n for n in CARDS if self.model.status(n, self.model.cards[n]) == "active"]
        if name not in live and live and self.rng.random() < 0.7:
            return self.rng.choice(live)
        return name

    def authorize(self, card: str = "", to: str | None = "") -> Drawn:
        card = card or self.card()
        if self.rng.random() < 0.02:
            card = self.rng.choice(VOUCHERS)
        call, to = f"c{len(self.played)}", to or self.rng.choice(GOOD * 5 + ODD)
        access = self.rng.choice((None, TOLL_FREE_ACCESS))
        self.calls.append((card, call))
        return "authorize", card, {"call": call, "to": to, "access": access}

    def a_call(self) -> tuple[str, str]:
        open_ = [(name, call) for name in CARDS for call in self.model.cards[name].holds]
        if open_ and self.rng.random() < 0.85:
            return self.rng.choice(open_)
        cards = [(name, self.model.cards[name]) for name in CARDS]
        untold = [
            (name, call) for name, card in cards for call, r in card.records.items() if not r.told
        ]
        if untold and self.rng.random() < 0.5:
            return self.rng.choice(untold)
        return self.rng.choice(self.calls[-6:])

    def reported(self, card: Card, call: str) -> tuple[int, int, int]:
        """Return what a call may last, what was said of it and how often."""
        record = card.records.get(call)
        hold = card.holds.get(call) or (record and record.hold)
        return (hold.seconds or 3_000, hold.used, hold.reports) if hold else (100, 0, 0)

    def settle(self) -> Drawn:
        name, call = self.a_call()
        most, used, _ = self.reported(self.model.cards[name], call)
        seconds = self.rng.choice((0, 4, used + 25, used + 80, most, most, most + 1, 900, 6_000))
        talk = max(0, min(seconds, 100_000) * 1_000 + self.rng.choice((0, 0, 1, -500)))
        told: dict[str, Any] = {"call": call, "talk_ms": talk, "to": None}
        told["carrier"] = self.rng.choice((None, None, "acme"))
        told["access_ms"] = talk + 20_000 if told["carrier"] else None
        if self.rng.random() < 0.3:
            told["to"] = self.rng.choice((*GOOD, GOOD[1], "861012345678"))
        return "settle", name, told

    def extend(self) -> Drawn:
        name, call = self.a_call()
        most, used, number = self.reported(self.model.cards[name], call)
        number = max(1, number + self.rng.choice((0, 1, 1, 1, 1)))
        whole = max(used, min(most, MONTH))
        used = self.rng.choice((used, used + 40, used + 55, used + 100, whole))
        used = max(0, used - 60) if self.rng.random() < 0.15 else used
        return "extend", name, {"call": call, "used": used, "number": number}

    def cancel(self) -> Drawn:
        name, call = self.a_call()
        return "cancel", name, {"call": call}

    # -- accounts

    def amount(self) -> int:
        return self.rng.choice((1, 70_000, 130_000, 130_000, 500_000, 999_999, 2_000_000))

    def amount_off(self, name: str) -> int:
        """Return an amount to take off: 0 for all there is, some, or what leaves little."""
        card = self.model.cards[name]
        left = card.available - self.rng.choice((0, 1, 60_000, 400_000))
        return max(0, self.rng.choice((0, self.amount(), left, left, card.balance)))

    def key(self) -> str:
        return f"k{len(self.played)}"

    def recharge(self) -> Drawn:
        return "recharge", self.card(), {"amount": self.amount(), "key": self.key()}

    def credit(self) -> Drawn:
        return "credit", self.card(), {"amount": self.amount(), "key": self.key()}

    def take_off(self) -> Drawn:
        what = self.rng.choice(("refund", "write_off"))
        card = self.card()
        return what, card, {"amount": self.amount_off(card), "key": self.key()}

    def drain(self) -> Drawn:
        """Take off all there is beside an open call, which asks for its next slice then."""
        name, call = self.a_call()
        most, used, number = self.reported(self.model.cards[name], call)
        used = self.rng.choice((used + 1, max(used, min(most, MONTH) - 1)))
        self.then = ("extend", name, {"call": call, "used": used, "number": number + 1})
        amount = self.rng.choice((0, 0, self.amount_off(name)))
        return "refund", name, {"amount": amount, "key": self.key()}

    def charge(self) -> Drawn:
        name = self.rng.choice(self.manual * 4 + ["manual none"])
        quantity = self.rng.choice((1, 1, 4))
        return "charge", self.card(), {"name": name, "quantity": quantity, "key": self.key()}

    def buy(self) -> Drawn:
        name = self.rng.choice(self.bought * 4 + ["bought nothing"])
        return "buy", self.card(), {"name": name, "key": self.key()}

    def transfer(self) -> Drawn:
        to = self.rng.choice((*CARDS, *CARDS, "T/6"))
        card = self.card()
        return "transfer", card, {"to": to, "amount": self.amount_off(card), "key": self.key()}

    def cut_short(self) -> Drawn:
        card = self.card()
        others = [name for name in (*CARDS, "T/6") if name != card]
        closed = [n for n in others if self.model.cards[n].blocked or n in self.model.frozen]
        to = self.rng.choice(closed if closed and self.rng.random() < 0.5 else others)
        told = {"to": to, "amount": self.amount_off(card), "key": self.key()}
        told |= {"commits": self.rng.choice((1, 2)), "meanwhile": self.meanwhile(card, to)}
        return "cut_short", card, told

    def meanwhile(self, card: str, to: str) -> Drawn:
        """Draw what happens while money is on its way: what takes or refuses it may change.

        Asked again, it comes to the same: no charge that is denied for as long as calls are open.
        """
        key, other = f"{self.key()}-meanwhile", self.model.cards[to]
        if self.rng.random() < 0.3 and not self.model.cards[card].holds:
            name = self.rng.choice([*self.manual, "manual owe"])
            return "charge", card, {"name": name, "quantity": 1, "key": key}
        if other.blocked:
            return "control", to, {"what": "unblock"}
        if to in self.model.frozen:
            return "thaw", to, {}
        if not other.used:
            return self.authorize(to, self.rng.choice(GOOD))
        return self.rng.choice((("control", to, {"what": "block"}), ("freeze", to, {})))

    def redeem(self) -> Drawn:
        sold = [name for name in VOUCHERS if self.model.cards[name].sold]
        voucher = self.rng.choice((*VOUCHERS, *VOUCHERS, *sold, *sold, "T/1", "nobody"))
        card = self.rng.choice((self.card(), self.card(), *CARDS))
        return "redeem", card, {"voucher": voucher, "key": self.key()}

    # -- operators

    def stop(self) -> Drawn:
        talking = [name for name in CARDS if self.model.cards[name].holds]
        card = self.rng.choice(talking or CARDS if self.rng.random() < 0.6 else VOUCHERS)
        stopped = [name for name in CARDS if self.model.cards[name].blocked]
        frozen = sorted(self.model.frozen)
        if stopped and self.rng.random() < 0.6:
            return "control", stopped[0], {"what": "unblock"}
        if frozen and self.rng.random() < 0.6:
            return "thaw", frozen[0], {}
        match self.rng.choice(("block", "block", "void", "sell", "freeze", "reprice", "reprice")):
            case "freeze":
                return "freeze", card, {}
            case "reprice":
                return "reprice", card, {"number": self.rng.randrange(2)}
            case what:
                return "control", card, {"what": what}

    def sell(self) -> Drawn:
        return "control", self.rng.choice(VOUCHERS), {"what": "sell"}

    def another_plan(self) -> Drawn:
        card = self.rng.choice((self.card(), self.card(), *CARDS))
        plan = self.rng.choice(("Other", "Basic"))
        if self.model.cards[card].plan == plan and self.rng.random() < 0.7:
            plan = "Other" if plan == "Basic" else "Basic"
        days = self.rng.choice((None, None, 0, 1, 3, 10, -1))
        return "move_to", card, {"plan": plan, "days": days}

    def publish(self) -> Drawn:
        """New taxes: at no instant at which something happens by itself, before or after them."""
        now = self.model.now = self.model.now + self.rng.randrange(1, 10**6) * MICROSECOND
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        later = midnight + self.rng.choice((1, 3, 10)) * DAY
        begin = self.rng.choice((None, None, later, now + 2 * DAY, now - 5 * DAY, START))
        taxed = self.rng.choice((*TAXES, "at sale"))
        if windows(self.model.versions.newest(), "sale") and self.rng.random() < 0.4:
            # Taxes on use cannot follow even then.
            taxed, self.then = "none", ("publish", "T/1", {"taxed": "inside", "begin": None})
        return "publish", "T/1", {"taxed": taxed, "begin": begin}

    # -- once more

    def again(self) -> Drawn:
        """The same request again, or nearly."""
        asked = [m for m in self.played if m.what not in ("assign", "reprice", "publish")]
        open_ = [m for m in asked if m.told.get("call") in self.model.cards[m.card].holds]
        paid = [m for m in asked if "key" in m.told]
        moved = [m for m in paid if m.what in MOVES_MONEY]
        refused = [m for m in moved if self.refused(m)]
        found = self.rng.choice((open_, open_, moved, refused, paid, asked)) or asked
        _, what, card, told = self.rng.choice(found)
        if what == "cut_short":
            what, told = "transfer", {name: told[name] for name in ("to", "amount", "key")}
        if self.rng.random() < (0.4 if what in MOVES_MONEY else 0.15):
            changed = {"amount": 77, "name": "manual none", "talk_ms": 31_000}
            if what == "authorize" or what in MOVES_MONEY:
                changed["to"] = GOOD[2] if what == "authorize" else "T/6"
            told = {name: changed.get(name, value) for name, value in told.items()}
        return what, card, told

    def refused(self, move: Move) -> bool:
        """Say whether a transfer was refused by the card that was to receive it, for good."""
        giver = self.model.cards.get(move.told.get("voucher", move.card))
        done = giver and giver.done.get(move.told["key"])
        return bool(done and done.refused)
