"""The strategies draw what matters, shrink to it, and so find what an application does wrong."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve
from hypothesis import Phase, find, given, settings, strategies as st
from moneyed import USD, Money

from cardbill import CallRecord, Denied, EntryKind, Grant, Outcome
from cardbill.calls import parse_handle
from cardbill.storage.sqlite import SQLiteStorage
from cardbill.testing import START, History, Shop, Terms, make_batch, make_plan, strategies
from cardbill.testing.histories import GiveUp, HangUp, Operate, Ring, Sweep, Talk, Wait

SEEDED = settings(max_examples=200, derandomize=True, database=None, deadline=None)


# -- what they draw -----------------------------------------------------------------------


def word(answer: object) -> str:
    match answer:
        case Denied():
            return f"denied {answer.reason.value}"
        case Grant():
            return f"granted {answer.limited_by and answer.limited_by.value}"
        case CallRecord() if answer.replayed:
            return "record again"
        case CallRecord():
            return f"record {answer.outcome.value}{' paid' if answer.price_units else ''}"
        case type():
            return answer.__name__
    return type(answer).__name__


WANTED = {  # far below what is usual
    **dict.fromkeys(["granted plan", "granted slice", "record settled paid"], 20),
    **dict.fromkeys(["granted money", "several calls at once", "expired card"], 5),
    **dict.fromkeys(["denied expired", "denied no_rate", "denied too_many_calls"], 3),
    **dict.fromkeys(["record again", "record unauthorised", "record cancelled"], 3),
    **dict.fromkeys(["call expired", "CallEnded", "IdempotencyMismatch", "Swept"], 3),
    **dict.fromkeys(["denied not_yet_effective", "denied no_route", "denied invalid_number"], 1),
    **dict.fromkeys(["denied insufficient_balance", "blocked card", "generated card"], 1),
}


def test_histories_hold_what_matters():
    seen: Counter[str] = Counter()

    @SEEDED
    @given(strategies.histories())
    def play(history: History) -> None:
        with history.terms.open() as shop:
            for event in history.events:
                (answer,) = evolve(history, events=[event]).play(shop)
                seen[word(answer)] += 1
                if isinstance(event, Ring) and isinstance(answer, Grant):
                    calls = shop.bill.card(shop.card_id(event.card)).open_calls
                    seen["several calls at once"] += len(calls) > 1
            shop.bill.sweep()
            seen.update(f"{card.status.value} card" for card in cards_of(shop))
            seen["call expired"] += sum(r.outcome is Outcome.EXPIRED for r in shop.bill.records())

    play()
    rare = {what: seen[what] for what, least in WANTED.items() if seen[what] < least}
    assert not rare, f"{rare} in {seen}"


def cards_of(shop: Shop) -> list[Any]:
    return [shop.bill.card(shop.card_id(serial)) for serial in (1, 2, 3)]


@given(strategies.instants(), strategies.money("JPY", least="1", most="50", coin="1"))
def test_instants_and_amounts_keep_their_bounds(instant: Any, amount: Money):
    assert instant >= START
    assert instant.utcoffset() is not None
    assert amount == Money(int(amount.amount), "JPY")
    assert 1 <= amount.amount <= 50


@given(strategies.terms("EUR", cards=2))
def test_terms_of_another_currency_open(terms: Terms):
    with terms.open() as shop:
        assert shop.bill.card("TEST/2").currency == "EUR"


@given(strategies.histories())
def test_a_history_played_again_gives_the_same_answers(history: History):
    told = []
    for _ in range(2):
        with history.terms.open() as shop:
            told.append((history.play(shop), list(shop.bill.records())))
    assert told[0] == told[1]


def test_a_history_plays_on_any_store(tmp_path):
    history = History(
        events=[
            *(Ring(1, "a"), Wait(45), HangUp(1, "a", 45_000), Ring(2, "b"), GiveUp(2, "b")),
            *(Operate(1, "block"), Ring(1, "c"), Talk(1, "a", 5, 1), Wait(99), Sweep()),
        ]
    )
    answers = []
    for storage in ("memory:", SQLiteStorage(tmp_path / "cards.db")):
        with history.terms.open(storage) as shop:
            answers.append(history.play(shop))
    assert answers[0] == answers[1]
    assert list(map(word, answers[0])) == [
        *("granted money", "NoneType", "record settled paid", "granted money"),
        *("record cancelled", "CardView", "denied blocked", "CallEnded", "NoneType", "Swept"),
    ]


# -- what they find -----------------------------------------------------------------------


class Application:
    """A host around the engine, with books of its own."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.extend: Callable[..., Any] = shop.bill.extend
        self.cancel: Callable[..., Any] = shop.bill.cancel
        self.calls: dict[str, str] = {}
        self.billed: Counter[tuple[str, str]] = Counter()

    def authorize(self, *, pin: str, to: str, call_id: str) -> Grant | Denied:
        return self.shop.bill.authorize(pin=pin, to=to, call_id=call_id)

    def settle(self, handle: str, *, talk_ms: int) -> CallRecord:
        record = self.shop.bill.settle(handle, talk_ms=talk_ms)
        self.note(record)
        return record

    def note(self, record: CallRecord) -> None:
        self.billed[record.card_id, record.call_id] = record.price_units

    def close_the_day(self) -> None:
        """Take into the books what became of calls whose end nobody has reported."""
        self.shop.bill.sweep()
        for record in self.shop.bill.records():
            if record.outcome is Outcome.EXPIRED:
                self.note(record)


class BillsAnAnswerTwice(Application):
    def note(self, record: CallRecord) -> None:
        self.billed[record.card_id, record.call_id] += record.price_units


class ThinksOfOneCallPerCard(Application):
    def authorize(self, *, pin: str, to: str, call_id: str) -> Grant | Denied:
        answer = super().authorize(pin=pin, to=to, call_id=call_id)
        if isinstance(answer, Grant):
            self.calls[parse_handle(answer.handle)[0]] = answer.handle
        return answer

    def settle(self, handle: str, *, talk_ms: int) -> CallRecord:
        return super().settle(self.calls.get(parse_handle(handle)[0], handle), talk_ms=talk_ms)


class ForgetsCallsThatExpired(Application):
    def close_the_day(self) -> None:
        pass


def is_right(application: type[Application], history: History) -> bool:
    """Whether it settles the calls it is told to, and its books are those of the ledger."""
    with history.terms.open() as shop:
        host = application(shop)
        answers = history.play(shop, on=host)
        host.close_the_day()
        settled = [
            answer.call_id == event.call
            for event, answer in zip(history.events, answers, strict=True)
            if isinstance(event, HangUp) and isinstance(answer, CallRecord)
        ]
        entries = [entry for card in cards_of(shop) for entry in shop.bill.entries(card.card_id)]
        taken = -sum(each.amount_units for each in entries if each.kind is EntryKind.CALL)
        return all(settled) and taken == sum(host.billed.values())


@given(strategies.histories())
def test_an_application_without_a_bug_passes(history: History):
    assert is_right(Application, history)


SEVERAL_CALLS = Terms(
    plan=make_plan(calls_at_once=2, slice_seconds=60, unreported_calls="charge"),
    batch=make_batch(quantity=3),
)


@pytest.mark.parametrize(
    "application", [BillsAnAnswerTwice, ThinksOfOneCallPerCard, ForgetsCallsThatExpired]
)
def test_a_planted_bug_is_found(application: type[Application]):
    @settings(SEEDED, phases=[Phase.generate], max_examples=300)
    @given(strategies.histories(st.just(SEVERAL_CALLS)))
    def check(history: History) -> None:
        assert is_right(application, history)

    with pytest.raises(AssertionError):
        check()


def test_a_bug_is_shown_in_the_shortest_history():
    wrong = find(
        strategies.histories(st.just(SEVERAL_CALLS), most=4),
        lambda history: not is_right(ThinksOfOneCallPerCard, history),
        settings=SEEDED,
    )
    first, second = wrong.events
    assert isinstance(first, Ring)
    assert isinstance(second, HangUp)
    assert (first.card, first.call, second.card, second.call) == (1, "a", 1, "b")


def test_a_bug_is_shown_on_the_plainest_terms():
    """Of what a business may sell, only what the bug needs is unusual."""
    found = find(
        strategies.terms(),
        lambda terms: terms.plan.calls_at_once > 1 and terms.batch.face_units > 3_000_000,
        settings=settings(SEEDED, max_examples=1_000),
    )
    plain = Terms(
        plan=make_plan(calls_at_once=2),
        batch=make_batch(quantity=3, face_value=Money(4, USD)),
    )
    assert (found.prices, found.batch) == (plain.prices, plain.batch)
    assert found.plan == plain.plan
