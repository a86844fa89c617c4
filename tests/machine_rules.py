"""What hosts, callers and time do to the business, each answer compared with the model's."""

from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cardbill import Caller, Denied, Engine
from cardbill.calls import make_handle
from cardbill.rows import card_from_row
from tests import machine_model as model
from tests.machine_model import Answer, Card
from tests.machine_terms import (
    ALL_OF_IT,
    BATCHES,
    CARDS,
    DAY,
    DECKS,
    DIALLED,
    JAPAN,
    KEYS,
    LONDON,
    MEANWHILE,
    NUMBERS,
    ODD,
    OFTEN,
    ONE_OF_FEW,
    PLANS,
    PUBLISHED,
    RESTARTS,
    STOPS,
    TOLD,
    USUAL,
    Clock,
    Told,
    answer,
    modelled,
    plain,
    publish_deck,
    publish_plan,
    set_up,
)


class Machine(RuleBasedStateMachine):
    """Two engines, as in two processes, over one store; the first one does what is next."""

    seen: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.model = modelled()
        self.keys = KEYS
        self.engines = [self.open(), self.open()]
        self.pins = set_up(self.bill)
        self.callers: dict[str, Caller] = {}
        self.reports: dict[tuple[str, str], dict[str, Any]] = {}
        self.chosen: list[str] = []
        self.calls = 0

    def open(self) -> Engine:
        raise NotImplementedError

    def close(self, bill: Engine) -> None:
        bill.close()

    def teardown(self) -> None:
        for bill in self.engines:
            self.close(bill)

    @property
    def bill(self) -> Engine:
        return self.engines[0]

    @initialize(cards=st.lists(st.sampled_from(OFTEN), min_size=2, max_size=4, unique=True))
    def choose_cards(self, cards: list[str]) -> None:
        """Few cards, so that much happens to each."""
        self.chosen = cards

    def agree(self, what: str, act: Callable[[], object], expected: Answer) -> Answer:
        got = answer(act)
        assert got == expected, f"{what}: the engine says {got}, the model {expected}"
        word = "replayed" if got[-1] is True else str(got[1]) if got[0] != "granted" else ""
        self.seen[f"{what} {got[0]} {word}".strip()] += 1
        return got

    def card(self, number: int) -> str:
        return self.chosen[number % len(self.chosen)]

    # -- calls

    @rule(card=ONE_OF_FEW, wrong=st.sampled_from(["", "", "", "000000000000", "#", "é" * 9]))
    def authenticate(self, card: int, wrong: str) -> None:
        card_id = self.card(card)
        expected = ("denied", "unknown_credential")
        if not wrong:
            expected = self.model.authenticate(card_id)
        found: list[Caller | Denied] = []

        def act() -> object:
            found.append(
                self.bill.authenticate(pin=wrong or self.pins[card_id], ani="+13055551234")
            )
            return found[0]

        self.agree("authenticate", act, expected)
        if isinstance(found[0], Caller):
            self.callers[card_id] = found[0]

    def _authorize(self, card_id: str, call: str, to: str, *, stages: int) -> None:
        if stages == 2 and card_id in self.callers:
            who: dict[str, Any] = {"caller": self.callers[card_id]}
        else:
            who = {"pin": self.pins[card_id]}
        expected = self.model.authorize(card_id, call, NUMBERS[to])
        got = self.agree(
            "authorize", lambda: self.bill.authorize(**who, to=to, call_id=call), expected
        )
        hold = self.model.cards[card_id].holds.get(call)
        if got[0] == "granted" and hold is not None and not got[-1]:
            self.seen[f"authorize granted, limited by {hold.limited_by}"] += 1

    @rule(card=ONE_OF_FEW, to=st.sampled_from(DIALLED), stages=st.sampled_from([1, 2]))
    def authorize(self, card: int, to: str, stages: int) -> None:
        self._authorize(self.card(card), self._new_call(), to, stages=stages)

    @rule(card=ONE_OF_FEW, to=st.sampled_from(ODD))
    def authorize_oddly(self, card: int, to: str) -> None:
        self._authorize(self.card(card), self._new_call(), to, stages=1)

    @rule(card=ONE_OF_FEW, calls=st.integers(1, 3), new_plan=st.sampled_from([False, False, True]))
    def authorize_usual(self, card: int, calls: int, new_plan: bool) -> None:
        """Several at once, so that cards fill up with calls that cost money."""
        card_id = self.card(card)
        if new_plan and (plan := self.model.batches[self.model.cards[card_id].batch].plan):
            self._publish_plan(plan)
        for _ in range(calls):
            self._authorize_usual(card_id)

    def _authorize_usual(self, card_id: str) -> None:
        usual = USUAL[self.model.cards[card_id].currency]
        self._authorize(card_id, self._new_call(), usual[self.calls % len(usual)], stages=1)

    def _new_call(self) -> str:
        self.calls += 1
        return f"c{self.calls}"

    @precondition(lambda self: self.calls)
    @rule(
        data=st.data(),
        ended=st.sampled_from([False, False, True]),
        other=st.sampled_from(["", "number", "number", "card"]),
        stages=st.sampled_from([1, 2]),
    )
    def authorize_again(self, data: st.DataObject, ended: bool, other: str, stages: int) -> None:
        """The call id of a call in progress, or of one that ended: the same call, or another."""
        known = self._known(lambda card, call: ended or call in card.holds)
        if not known:
            return
        card_id, call = data.draw(st.sampled_from(known))
        to = LONDON
        if hold := self.model.cards[card_id].holds.get(call):
            to = next(dialled for dialled, number in NUMBERS.items() if number == hold.number)
        if other == "number":
            to = data.draw(st.sampled_from([each for each in NUMBERS if each != to]))
        if other == "card":
            card_id = self.card(data.draw(ONE_OF_FEW))
        self._authorize(card_id, call, to, stages=stages)

    def _known(self, wanted: Callable[[Card, str], bool]) -> list[tuple[str, str]]:
        """The (card, call) pairs that were granted or reported, oldest first, as wanted."""
        return [
            (card_id, call)
            for card_id, card in self.model.cards.items()
            for call in (*card.records, *card.holds)
            if wanted(card, call)
        ]

    def _settle(self, card_id: str, call: str, told: dict[str, Any]) -> None:
        talk_ms, ended = told.get("talk_ms"), told.get("ended_at")
        if talk_ms is None:
            talk_ms = (ended - told["answered_at"]) // timedelta(milliseconds=1)
        number = NUMBERS[told["to"]] if "to" in told else None
        expected = self.model.settle(
            card_id, call, talk_ms, told.get("answered_at"), ended, told.get("carrier"), number
        )
        handle = make_handle(card_id, call)
        got = self.agree("settle", lambda: self.bill.settle(handle, **told), expected)
        if got[0] == "record" and not got[-1]:
            record = self.model.cards[card_id].records[call]
            self.reports[card_id, call] = told
            self.seen["settle late, collected"] += record.late and record.price > 0
            self.seen["settle late, short"] += record.late and record.uncollected > 0
            stray = record.outcome == "unauthorised"
            self.seen["settle of a stray, collected"] += stray and record.price > 0
            self.seen["settle beyond the grant"] += not record.late and record.uncollected > 0
            self.seen["settle at another carrier"] += bool(
                record.hold and record.carrier and record.carrier not in dict(record.hold.routes)
            )

    @rule(
        data=st.data(), card=ONE_OF_FEW, told=TOLD, new_deck=st.sampled_from([False, False, True])
    )
    def settle(self, data: st.DataObject, card: int, told: Told, new_deck: bool) -> None:
        """A call in progress, or one that begins now; maybe its deck changes meanwhile."""
        if not self._open():
            self._authorize_usual(self.card(card))
        if calls := self._open():
            if new_deck:
                self._publish_deck("jpy" if self.chosen[0] == "YEN/1" else "usd")
            card_id, call = data.draw(st.sampled_from(calls))
            self._settle(card_id, call, self._report(self.model.cards[card_id].holds[call], told))

    def _open(self) -> list[tuple[str, str]]:
        return self._known(lambda card, call: call in card.holds)

    def _report(self, hold: model.Hold, told: Told) -> dict[str, Any]:
        granted = min(hold.seconds or 600, 20 * DAY)
        talk_ms = max(0, granted * 1000 * told.quarters // 4 + told.extra_ms)
        carrier = {} if told.carrier is None else {"carrier": told.carrier}
        if not told.as_instants:
            return {**carrier, "talk_ms": talk_ms}
        now = self.clock.now
        return {**carrier, "answered_at": now - timedelta(milliseconds=talk_ms), "ended_at": now}

    @rule(
        data=st.data(),
        card=ONE_OF_FEW,
        reports=st.lists(
            st.tuples(
                st.sampled_from([0, 20, 45, 60, 200, ALL_OF_IT]),
                st.sampled_from([1, 1, 1, 1, 2, 0, -1]),
                st.sampled_from([0, 0, 0, 1, -1, -300]),
            ),
            min_size=1,
            max_size=4,
        ),
        blocked=st.sampled_from([False, False, False, True]),
    )
    def extend(
        self, data: st.DataObject, card: int, reports: list[tuple[int, int, int]], blocked: bool
    ) -> None:
        """How long a call has lasted: again and again, twice, overtaken, with other figures."""
        if not self._open():
            self._authorize_usual(self.card(card))
        if blocked and (calls := self._open()):
            self._operate("block", calls[0][0])
        for lasted, step, slip in reports:
            if not (calls := self._open()):
                break
            card_id, call = data.draw(st.sampled_from(calls))
            hold = self.model.cards[card_id].holds[call]
            if lasted == ALL_OF_IT:
                lasted = max(0, min(hold.seconds or 0, 600) - hold.used)  # noqa: PLW2901
            used = max(0, hold.used + slip + (lasted if step > 0 else 0))
            self._extend(card_id, call, used, max(1, hold.reports + step))
            self._pass_time(self.clock.now + timedelta(seconds=lasted))
        for card_id in self.chosen:
            if blocked and self.model.cards[card_id].blocked:
                self._operate("unblock", card_id)

    def _extend(self, card_id: str, call: str, used: int, number: int) -> None:
        expected = self.model.extend(card_id, call, used, number)
        handle = make_handle(card_id, call)
        act = lambda: self.bill.extend(handle, used_seconds=used, number=number)  # noqa: E731
        got = self.agree("extend", act, expected)
        if got[0] == "granted":
            hold = self.model.cards[card_id].holds[call]
            self.seen[f"extend granted, limited by {hold.limited_by}"] += 1

    @rule(
        what=st.sampled_from(STOPS + 3 * RESTARTS),
        card=ONE_OF_FEW,
    )
    def operate(self, what: str, card: int) -> None:
        """What operators do to a card; a batch or serial that is stopped soon works again."""
        self._operate(what, self.card(card))

    def _operate(self, what: str, card_id: str) -> None:
        expected = self.model.operate(what, card_id)
        control = self.bill.control
        who: dict[str, Any] = {"actor": "test", "reason": "to see what happens"}
        batch, _, number = card_id.partition("/")
        serial = int(number)
        acts: dict[str, Callable[[], object]] = {
            "block": lambda: control.block(card_id, **who),
            "unblock": lambda: control.unblock(card_id, **who),
            "sell": lambda: control.sell(card_id, **who),
            "void": lambda: control.void(card_id, **who),
            "block batch": lambda: control.block_batch(batch, **who),
            "unblock batch": lambda: control.unblock_batch(batch, **who),
            "freeze": lambda: control.freeze(batch, serial, serial, **who),
            "thaw": lambda: control.thaw(batch, serial, serial, **who),
        }
        self.agree(what, acts[what], expected)

    @rule(data=st.data(), card=ONE_OF_FEW, told=TOLD, cancelled=st.booleans())
    def settle_late(self, data: st.DataObject, card: int, told: Told, cancelled: bool) -> None:
        """A call that has expired, or was cancelled; if there is none, then one is now."""
        if not self._unreported():
            card_id = self.card(card)
            self._authorize_usual(card_id)
            holds = self.model.cards[card_id].holds
            if holds and cancelled:
                self._cancel(card_id, min(holds))
                self._authorize_usual(card_id)
            elif holds:
                self._pass_time(min(hold.expires for hold in holds.values()))
        if calls := self._unreported():
            card_id, call = data.draw(st.sampled_from(calls))
            hold = self.model.cards[card_id].records[call].hold
            assert hold is not None
            self._settle(card_id, call, self._report(hold, told))

    def _unreported(self) -> list[tuple[str, str]]:
        return self._known(
            lambda card, call: (
                call in card.records
                and card.records[call].hold is not None
                and card.records[call].told is None
            )
        )

    @precondition(lambda self: self.reports)
    @rule(
        data=st.data(),
        change=st.sampled_from(["", "", "", "talk", "milliseconds", "carrier", "cause"]),
    )
    def settle_again(self, data: st.DataObject, change: str) -> None:
        card_id, call = data.draw(st.sampled_from(list(self.reports)))
        told = dict(self.reports[card_id, call])
        if change in {"talk", "milliseconds"} and "talk_ms" in told:
            told["talk_ms"] += 1000 if change == "talk" else -1 if told["talk_ms"] else 1
        elif change == "carrier":
            told["carrier"] = "bolt" if told.get("carrier") != "bolt" else "acme"
        elif change == "cause":
            told["cause"] = 16
        self._settle(card_id, call, told)

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), ended=st.sampled_from([False, False, True]))
    def cancel(self, data: st.DataObject, ended: bool) -> None:
        if known := self._known(lambda card, call: ended or call in card.holds):
            self._cancel(*data.draw(st.sampled_from(known)))

    def _cancel(self, card_id: str, call: str) -> None:
        handle = make_handle(card_id, call)
        self.agree("cancel", lambda: self.bill.cancel(handle), self.model.cancel(card_id, call))

    @rule(
        card=ONE_OF_FEW,
        call=st.sampled_from(["s1", "s2", "next"]),
        talk_ms=st.sampled_from([None, 0, 1, 60_000, 60_000]),
        known=st.sampled_from([True, True, True, False]),
        to=st.sampled_from([None, LONDON, LONDON, LONDON, JAPAN, *ODD]),
    )
    def stray(self, card: int, call: str, talk_ms: int | None, known: bool, to: str | None) -> None:
        """The end of a call that was never authorized, or is of no card; None: cancelled."""
        card_id = self.card(card) if known else "FAMILY/3"
        if call == "next":
            call = self._new_call()
        if talk_ms is None:
            self._cancel(card_id, call)
        else:
            called = {"to": to} if to else {}
            self._settle(card_id, call, {"talk_ms": talk_ms, "carrier": "acme", **called})

    # -- time and processes

    def _pass_time(self, until: datetime) -> None:
        broken = self._breakages()
        self.clock.now = until
        self.model.pass_time(until)
        self.seen["breakage by time"] += self._breakages() - broken

    def _breakages(self) -> int:
        entries = [entry for card in self.model.cards.values() for entry in card.entries]
        return sum(entry[0] == "breakage" for entry in entries)

    @rule(
        seconds=st.sampled_from(
            [1, 30, 60, 90, 120, 200, 300, 500, 700, 1_800, 3_600, 5_400, DAY, 40 * DAY]
        ),
        microseconds=st.sampled_from([0, 0, 1, 500_000]),
    )
    def wait(self, seconds: int, microseconds: int) -> None:
        self._pass_time(self.clock.now + timedelta(seconds=seconds, microseconds=microseconds))

    @precondition(lambda self: self.model.upcoming(self.chosen))
    @rule(
        data=st.data(),
        before=st.sampled_from([0, 0, 0, 1, 500_000, 1_000_000, 90_000_000, 90_500_000, -1]),
        sweep=st.booleans(),
    )
    def wait_until(self, data: st.DataObject, before: int, sweep: bool) -> None:
        """Until something changes by itself, or some microseconds before or after."""
        at = data.draw(st.sampled_from(self.model.upcoming(self.chosen)[:3]))
        self._pass_time(max(self.clock.now, at - timedelta(microseconds=before)))
        if sweep:
            self._sweep()

    @rule(
        card=ONE_OF_FEW,
        seconds=st.sampled_from([1, 90, 400, 1_000]),
        to_the_end=st.booleans(),
    )
    def authorize_before_expiry(self, card: int, seconds: int, to_the_end: bool) -> None:
        card_id = self.card(card)
        expires = self.model.cards[card_id].expires
        if expires is None or expires - timedelta(seconds=seconds) < self.clock.now:
            return
        self._pass_time(expires - timedelta(seconds=seconds))
        for _ in range(2):
            self._authorize_usual(card_id)
        if to_the_end:
            self._pass_time(expires)

    @rule(
        what=st.sampled_from(MEANWHILE),
        data=st.data(),
    )
    def meanwhile(self, what: str, data: st.DataObject) -> None:
        """What does not come from callers: one rule, so that calls are most of a history."""
        match what:
            case "sweep":
                self._sweep()
            case "other process":
                self.engines.reverse()
            case "reopen":
                self.close(self.engines[0])
                self.engines[0] = self.open()
            case "rotate keys":
                self._rotate_keys(data.draw(st.booleans()))
            case "assign":
                batch = data.draw(st.sampled_from(["UNSOLD", "OPEN", "FAMILY"]))
                plan = data.draw(st.sampled_from(list(PLANS)))
                assign = lambda: self.bill.batches.assign(batch, plan=plan)  # noqa: E731
                self.agree("assign", assign, self.model.assign(batch, plan))

    def _rotate_keys(self, audit: bool) -> None:
        """Every process gets the new keys, then the cards are moved; nothing else changes."""
        self.keys = self.keys.rotated(lookup=True, sealing=True, audit=audit)
        for place in (0, 1):
            self.close(self.engines[place])
            self.engines[place] = self.open()
        moved = self.bill.batches.rekey(actor="test", reason="to see")
        assert (moved.moved, moved.remaining, moved.failures) == (len(CARDS), 0, ())
        self.callers.clear()  # of whom only the older tokens are known
        for card in self.model.cards.values():
            card.store()
        self.seen["rotate keys"] += 1

    def _sweep(self) -> None:
        got = self.agree("sweep", self.bill.sweep, self.model.sweep())
        self.seen["sweep of something"] += got[1] > 0

    @rule(name=st.sampled_from(PUBLISHED), again=st.sampled_from([False, False, True]))
    def publish(self, name: str, again: bool) -> None:
        """The other version of a deck or plan; or the same again, which changes nothing."""
        if name in DECKS:
            self._publish_deck(name, again=again)
        else:
            self._publish_plan(name, again=again)

    def _publish_plan(self, name: str, *, again: bool = False) -> None:
        number = PLANS[name].index(self.model.plans[name]) ^ (not again)
        self.model.plans[name] = PLANS[name][number]
        publish_plan(self.bill, PLANS[name][number])

    def _publish_deck(self, name: str, *, again: bool = False) -> None:
        number = DECKS[name].index(self.model.decks[name]) ^ (not again)
        self.model.decks[name] = DECKS[name][number]
        publish_deck(self.bill, name, DECKS[name][number])

    # -- looking: changes nothing

    @rule(batch=st.sampled_from([batch.name for batch in BATCHES]))
    def reports_say(self, batch: str) -> None:
        report = self.bill.reports.utilisation(batch)
        assert (
            {status.value: count for status, count in report.by_status.items() if count},
            report.activated, report.face_units, report.spent_units, report.held_units,
            report.breakage_units, report.voided_units, report.liability_units,
        ) == self.model.utilisation(batch)  # fmt: skip
        statuses = Counter(pin.status.value for pin in self.bill.batches.pins(batch))
        assert dict(statuses) == self.model.utilisation(batch)[0]
        margins = {
            (row.key, row.currency): [
                row.calls + row.unsettled,
                row.seconds,
                row.price_units,
                row.cost_units,
                row.margin_units,
            ]
            for row in self.bill.reports.margins()
        }
        assert margins == self.model.margins()

    # -- how good the rules are

    @invariant()
    def count(self) -> None:
        self.seen["steps"] += 1
        self.seen["two calls at once"] += any(
            len(card.holds) > 1 for card in self.model.cards.values()
        )


class Books(Machine):
    """What must stay true, after every step."""

    @invariant()
    def each_stored_account_adds_up(self) -> None:
        records = Counter(row.card for row in self.bill.storage.records())
        for card_id, expected in self.model.cards.items():
            row = self.bill.storage.view(card_id).card
            entries = self.bill.storage.entries(card_id)
            face = card_from_row(row, self.keys.seals).face
            taken = -sum(entry.amount for entry in entries if entry.kind != "face")
            assert face == row.balance + taken
            assert [entry.amount for entry in entries if entry.kind == "face"] in ([], [face])
            assert {entry.kind for entry in entries} <= {"face", "call", "breakage", "void"}
            assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
            assert 0 <= row.held <= row.balance
            assert [
                (entry.kind.value, entry.amount_units, entry.reference, entry.at)
                for entry in self.bill.entries(card_id)
            ] == expected.entries[: expected.stored]
            holds = card_from_row(row, self.keys.seals).holds
            assert row.held == sum(hold.amount for hold in holds.values())
            assert holds.keys() == expected.holds.keys() | expected.unseen
            assert records[card_id] == len(expected.records) - len(expected.unseen)

    @invariant()
    def cards_are_as_modelled(self) -> None:
        for card_id, expected in self.model.cards.items():
            card = self.bill.card(card_id)
            assert (
                card.balance_units, card.held_units, card.balance_units - card.held_units,
                card.status.value, card.expires_at, set(card.open_calls),
            ) == (
                expected.balance, expected.held, expected.available,
                self.model.status(expected), expected.expires, set(expected.holds),
            )  # fmt: skip

    @invariant()
    def records_are_as_modelled(self) -> None:
        for card in self.model.cards:
            expected = self.model.cards[card]
            shown = {record.call_id: plain(record) for record in self.bill.records(card_id=card)}
            assert shown == {
                call: record.answer()
                for call, record in expected.records.items()
                if call not in expected.unseen
            }

    @invariant()
    def the_audit_is_clean(self) -> None:
        report = self.bill.audit()
        assert report.clean, report.problems
