"""A tax engine outside: what it is asked, what counts of its answers, and what happens without."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from attrs import define, evolve, field
from moneyed import USD, Money

from cardbill import (
    BillingCycle,
    Engine,
    Exemption,
    Jurisdiction,
    Keyring,
    Package,
    Tax,
    TaxAnswer,
    TaxFallback,
    TaxLevel,
    TaxLine,
    TaxRequest,
)
from cardbill.audit import audit
from cardbill.calls import make_handle
from cardbill.errors import CardbillError, InvalidInput, StorageUnavailable, TaxUnavailable
from cardbill.storage.memory import MemoryStorage
from tests.building import EVERY_STORE, START, UK, UK_E164, Shop, open_shop
from tests.test_sold_with import CENT, fee, posted

WHO: dict[str, Any] = {"actor": "eva", "reason": "asked for"}
BUILT_IN = Tax(name="sales tax", on=["usage", "surcharge", "recurring"], percent=10)
MANUAL = fee("paper", "manual", "0.50")

Answer = Callable[[TaxRequest], TaxAnswer]


def on_top(percent: int, name: str = "state tax") -> Answer:
    """An engine's rule: so many percent on top of all that is taxable."""

    def tax(request: TaxRequest) -> TaxAnswer:
        base = sum(line.amount for line in request.lines if line.taxable)
        line = TaxLine(name, TaxLevel.STATE, base * percent // 100, base, inclusive=False)
        return TaxAnswer(request.currency, [each.amount for each in request.lines], [line])

    return tax


@define
class Outside:
    """An engine that answers as it is told, and remembers what it was asked."""

    answer: Answer = field(factory=lambda: on_top(25))
    asked: list[TaxRequest] = field(factory=list)
    deadlines: list[datetime] = field(factory=list)

    def tax(self, request: TaxRequest, deadline: datetime) -> TaxAnswer:
        self.asked.append(request)
        self.deadlines.append(deadline)
        return self.answer(request)

    @property
    def keys(self) -> list[str]:
        return [request.key for request in self.asked]


@contextmanager
def asking(
    kind: str,
    folder: Path,
    outside: Any,
    *,
    fallback: Any = TaxFallback.BUILT_IN,
    seconds: int = 2,
    taxes: tuple[Tax, ...] = (BUILT_IN,),
    batch: dict[str, Any] | None = None,
    **plan: Any,
) -> Iterator[Shop]:
    """A shop whose batch B bears taxes, with a tax engine outside."""
    options = {"tax_engine": outside, "tax_fallback": fallback, "tax_seconds": seconds}
    terms = {"taxable": True, "tax_jurisdiction": "X", **(batch or {})}
    place = Jurisdiction(name="X", country="X", state="Y", taxes=taxes)
    with open_shop(kind, folder, batch=terms, plan=plan, engine=options, taxes=place) as shop:
        yield shop


def books(shop: Shop, card_id: str = "B/1") -> list[tuple[str, str, int]]:
    """The card's ledger, once all books are found to balance."""
    shop.check_books()
    return posted(shop, card_id)[1:]


# -- what it is asked ---------------------------------------------------------------------------


def test_a_call_is_taxed_as_the_engine_says(kind: str, tmp_path: Path):
    outside, exempt = Outside(), Exemption(reason="charity", certificate="C-1", taxes=["other"])
    batch = {"exemptions": [exempt]}
    with asking(kind, tmp_path, outside, batch=batch, charges=[fee(taxable=False)]) as shop:
        grant = shop.grant()
        assert outside.asked == []  # what a call may cost, the built-in rules say
        shop.clock.tick(minutes=1)
        record = shop.bill.settle(grant.handle, talk_ms=60_000)
        (request,) = outside.asked
        assert (request.key, request.jurisdiction) == ("B/1 call c1", "X")
        assert (request.at, request.currency, request.called) == (START, "USD", UK_E164)
        assert [line.amount for line in request.lines] == [6 * CENT, 10 * CENT]
        assert [line.taxable for line in request.lines] == [True, False]
        assert request.exemptions == (exempt,)
        assert outside.deadlines == [START + timedelta(seconds=62)]
        assert (record.tax_units, record.total_units) == (15_000, 175_000)
        assert record.tax_decision is not None
        assert record.tax_decision.problem == ""
        assert books(shop) == [
            ("call", "", -6 * CENT),
            ("charge", "fee", -10 * CENT),
            ("tax", "state tax", -15_000),
        ]
        assert shop.records() == [record]  # as it was stored
        assert "state tax" in shop.bill.explain_record(record).table()
        (total,) = shop.bill.reports.taxes()
        assert (total.jurisdiction, total.tax) == ("X", "state tax")
        assert (total.base_units, total.tax_units) == (6 * CENT, 15_000)


def test_it_is_asked_about_nothing_that_bears_no_tax(tmp_path: Path):
    outside = Outside()
    usage = Tax(name="usage tax", on="usage", percent=1)
    with asking("memory", tmp_path, outside, taxes=(usage,), charges=[MANUAL]) as shop:
        shop.bill.settle(shop.grant().handle, talk_ms=0)  # not answered
        shop.bill.accounts.charge("B/1", "paper", key="k", **WHO)  # a surcharge: not taxed here
        assert outside.asked == []
        shop.bill.settle(shop.grant("c2").handle, talk_ms=1_000)
        assert outside.keys == ["B/1 call c2"]


def test_whatever_is_charged_on_demand_is_asked_about(kind: str, tmp_path: Path):
    outside = Outside()
    bought = Package(name="bonus", minutes=10, given="bought", price=Money(1, USD))
    plan: dict[str, Any] = {
        "charges": [fee("start", "activation"), fee("top-up", "recharge"), MANUAL],
        "packages": [bought],
    }
    with asking(kind, tmp_path, outside, **plan) as shop:
        shop.bill.cancel(shop.grant().handle)
        shop.bill.accounts.recharge("B/1", 2, key="k1")
        shop.bill.accounts.charge("B/1", "paper", key="k2", **WHO)
        shop.bill.accounts.buy("B/1", "bonus", key="k3")
        assert outside.keys == [
            "B/1 first use: start",
            "B/1 recharge k1: top-up",
            "B/1 charge k2: paper",
            "B/1 buy k3: bonus",
        ]
        assert [each for each in books(shop) if each[0] == "tax"] == [
            ("tax", "state tax", -25_000),
            ("tax", "state tax", -25_000),
            ("tax", "state tax", -125_000),
            ("tax", "state tax", -250_000),
        ]


@pytest.mark.parametrize("kind", EVERY_STORE)
def test_what_was_seen_of_a_card_before_may_be_old_by_the_answer(kind: str, tmp_path: Path):
    """Authenticated, then first used: the engine is asked, and the card changes meanwhile."""
    shops: list[Shop] = []

    def answer(request: TaxRequest) -> TaxAnswer:
        shops[0].second().control.sell("B/1", actor="till")
        return on_top(25)(request)

    outside = Outside(answer)
    with asking(kind, tmp_path, outside, charges=[fee("start", "activation")]) as shop:
        shops.append(shop)
        caller = shop.bill.authenticate(pin=shop.pin())
        assert shop.bill.authorize(caller, to=UK, call_id="c1").granted
        assert outside.keys == ["B/1 first use: start"]
        assert shop.stored().sold
        assert books(shop) == [("charge", "start", -100_000), ("tax", "state tax", -25_000)]


def test_nobody_waits_for_the_store_meanwhile(tmp_path: Path):
    """While the engine thinks, another process writes to the very same card."""
    shops: list[Shop] = []

    def answer(request: TaxRequest) -> TaxAnswer:
        (shop,) = shops
        shop.second().accounts.credit("B/1", 1, key=f"k{len(outside.asked)}", **WHO)
        return on_top(25)(request)

    outside = Outside(answer)
    with asking("sqlite", tmp_path, outside) as shop:
        shops.append(shop)
        record = shop.bill.settle(shop.grant().handle, talk_ms=60_000)
        assert record.tax_units == 15_000
        assert len(outside.asked) == 1  # the card changed, the question did not
        assert books(shop)[0] == ("credit", "", 1_000_000)


def test_an_event_that_changed_meanwhile_is_asked_about_again(tmp_path: Path):
    """Another process ends another call first, so this one is no longer the card's first."""
    shops: list[Shop] = []

    def answer(request: TaxRequest) -> TaxAnswer:
        if len(outside.asked) == 1:
            other = make_handle("B/1", "c2")
            shops[0].second().settle(other, talk_ms=60_000)
        return on_top(25)(request)

    outside = Outside(answer)
    first = fee("first", "first_answer", "1")
    plan: dict[str, Any] = {"calls_at_once": 2, "max_call_seconds": 600, "charges": [first]}
    with asking("sqlite", tmp_path, outside, **plan) as shop:
        shops.append(shop)
        handle = shop.grant().handle
        shop.grant("c2")
        record = shop.bill.settle(handle, talk_ms=60_000)
        assert [len(request.lines) for request in outside.asked] == [2, 1]
        assert record.tax_units == 15_000
        books(shop)


# -- once ---------------------------------------------------------------------------------------


def test_what_was_posted_is_never_asked_about_again(kind: str, tmp_path: Path):
    outside = Outside()
    with asking(kind, tmp_path, outside, charges=[MANUAL]) as shop:
        handle = shop.grant().handle
        first = shop.bill.settle(handle, talk_ms=60_000)
        fine = shop.bill.accounts.charge("B/1", "paper", key="k", **WHO)
        before = books(shop)
        outside.answer = on_top(50)  # it would say something else now
        for bill in (shop.bill, shop.second(tax_engine=outside)):
            assert evolve(bill.settle(handle, talk_ms=60_000), replayed=False) == first
            assert bill.accounts.charge("B/1", "paper", key="k", **WHO) == fine
        assert len(outside.asked) == 2
        assert books(shop) == before


def test_an_answer_that_was_lost_with_the_connection_is_posted_once(tmp_path: Path):
    """The step is done and its answer lost: the same again finds it, whatever is said now."""

    class Losing(MemoryStorage):
        lost = 0

        def transact(self, card: str, decide: Any, **known: Any) -> Any:
            done = super().transact(card, decide, **known)
            if known["key"] == "call:c1" and self.lost == 1:
                self.lost = 2
                raise StorageUnavailable("cut", outcome_unknown=True)
            return done

    outside = Outside()
    with asking("memory", tmp_path, outside) as shop:
        handle = shop.grant().handle
        store: Any = shop.bill.storage
        store.__class__ = Losing
        store.lost = 1
        with pytest.raises(StorageUnavailable):
            shop.bill.settle(handle, talk_ms=60_000)
        outside.answer = on_top(50)
        record = shop.bill.settle(handle, talk_ms=60_000)
        assert (record.replayed, record.tax_units) == (True, 15_000)
        assert books(shop) == [("call", "", -6 * CENT), ("tax", "state tax", -15_000)]


def test_one_report_from_many_is_taxed_once(kind: str, tmp_path: Path):
    """Eight settle one call, each of its own opinion on the tax: one is posted."""
    lock, count = threading.Lock(), iter(range(1, 100))

    def answer(request: TaxRequest) -> TaxAnswer:
        with lock:
            percent = next(count)
        return on_top(percent)(request)

    with asking(kind, tmp_path, Outside(answer)) as shop:
        handle = shop.grant().handle
        records: list[Any] = []
        start = threading.Barrier(8)

        def settle() -> None:
            start.wait(30)
            records.append(shop.bill.settle(handle, talk_ms=60_000))

        crew = [threading.Thread(target=settle) for _ in range(8)]
        for each in crew:
            each.start()
        for each in crew:
            each.join(60)
        assert len(records) == 8
        assert sum(not record.replayed for record in records) == 1
        (tax,) = {record.tax_units for record in records}
        assert books(shop) == [("call", "", -6 * CENT), ("tax", "state tax", -tax)]


# -- no more than is held -----------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [60, 7_200])
def test_a_call_never_takes_more_than_its_hold(kind: str, tmp_path: Path, seconds: int):
    """The engine takes more than was reckoned with, and the call may overrun its grant too."""
    with asking(kind, tmp_path, Outside(on_top(900)), max_call_seconds=60) as shop:
        grant = shop.grant()
        assert grant.held_units == 66_000
        record = shop.bill.settle(grant.handle, talk_ms=seconds * 1_000)
        assert record.total_units == 66_000
        assert books(shop) == [("call", "", -60_000), ("tax", "state tax", -6_000)]
        # Beyond the grant nothing is collected, so no tax is due on it.
        beyond = (seconds - 60) * 1_000
        assert record.uncollected_units == beyond + 540_000 - 6_000
        assert [(line.name, line.amount) for line in record.short] == [
            *([("", beyond)] if beyond else []),
            ("state tax", 534_000),
        ]


def test_less_tax_than_was_held_is_given_back(tmp_path: Path):
    with asking("memory", tmp_path, Outside(on_top(1)), max_call_seconds=60) as shop:
        shop.bill.settle(shop.grant().handle, talk_ms=60_000)
        assert books(shop) == [("call", "", -60_000), ("tax", "state tax", -600)]
        assert shop.bill.card("B/1").available == Money("4.9394", USD)


def test_a_charge_that_its_tax_makes_too_dear_is_cut_by_the_built_in_rules(tmp_path: Path):
    take = evolve(MANUAL, amount=Money(4, USD), when_short="take")
    with asking("memory", tmp_path, Outside(on_top(50)), charges=[take]) as shop:
        shop.bill.cancel(shop.grant().handle)
        shop.bill.accounts.charge("B/1", "paper", key="k", **WHO)
        assert books(shop) == [("charge", "paper", -4_000_000), ("tax", "sales tax", -400_000)]


# -- what time does -----------------------------------------------------------------------------

WEEKLY = fee("weekly", "period", "0.20", every=BillingCycle(unit="weeks"))


@pytest.mark.parametrize("sweeps", [True, False])
def test_what_time_does_is_taxed_by_the_built_in_rules(tmp_path: Path, sweeps: bool):
    """A weekly fee and a call that nobody reports: whoever looks must find the same."""
    outside = Outside()
    plan: dict[str, Any] = {
        "charges": [WEEKLY],
        "unreported_calls": "charge",
        "max_call_seconds": 60,
    }
    with asking("memory", tmp_path, outside, **plan) as shop:
        shop.grant()
        shop.clock.tick(days=8)
        seen = shop.bill.card("B/1").balance
        statement = shop.bill.statement("B/1").lines
        if sweeps:
            shop.bill.sweep()
        shop.bill.settle(shop.grant("c2").handle, talk_ms=60_000)
        assert outside.keys == ["B/1 call c2"]
        assert books(shop)[:-2] == [
            ("call", "", -60_000),
            ("tax", "sales tax", -6_000),
            ("charge", "weekly", -200_000),
            ("tax", "sales tax", -20_000),
        ]
        assert seen == Money("4.714", USD)
        assert shop.bill.statement("B/1").lines[:5] == statement


@pytest.mark.parametrize("sweeps", [True, False])
def test_a_report_that_comes_late_is_asked_about_if_nothing_was_charged(
    tmp_path: Path,
    sweeps: bool,
):
    outside = Outside()
    with asking("memory", tmp_path, outside, max_call_seconds=120) as shop:
        nothing = shop.grant("c1")
        shop.clock.tick(days=1)
        some = shop.grant("c2")
        shop.bill.extend(some.handle, used_seconds=60, number=1)
        shop.clock.tick(days=1)
        if sweeps:
            shop.bill.sweep()
        assert shop.bill.settle(nothing.handle, talk_ms=60_000).tax_units == 15_000
        # This one was taxed by the built-in rules, and is so for the rest of it.
        assert shop.bill.settle(some.handle, talk_ms=120_000).tax_units == 12_000
        assert outside.keys == ["B/1 call c1"]
        books(shop)


def test_a_call_that_was_never_granted_is_asked_about(tmp_path: Path):
    outside = Outside(on_top(5))
    with asking("memory", tmp_path, outside, unauthorised_calls="charge") as shop:
        shop.bill.cancel(shop.grant("c0").handle)
        record = shop.bill.settle(make_handle("B/1", "c1"), talk_ms=60_000, to=UK)
        assert record.tax_units == 3_000
        assert outside.keys == ["B/1 call c1"]
        books(shop)


def test_looking_and_explaining_ask_nobody(tmp_path: Path):
    outside = Outside()
    start = fee("start", "activation")
    with asking("memory", tmp_path, outside, charges=[start, WEEKLY]) as shop:
        shop.bill.explain(to=UK, card_id="B/1")
        shop.bill.authenticate(pin=shop.pin())
        shop.clock.tick(days=30)
        shop.bill.card("B/1")
        shop.bill.reports.taxes()
        assert outside.asked == []


# -- the audit and the terms --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ('["state tax",1,15000,', '["state tax",1,15001,', "charged 15000 units and 0 short of"),
        ('["state tax",1,15000,', '["state tax",1,14999,', "charged more than it was granted"),
        ("[60000],[[", "[60001],[[", "tax answer net"),
        ('null,""]', '"built_in",""]', "taxed other than the built-in rules say"),
    ],
)
def test_the_audit_reckons_what_was_said_again(
    tmp_path: Path, before: str, after: str, problem: str
):
    """What is stored of an answer cannot be another one, also for an audit without keys."""
    with asking("sqlite", tmp_path, Outside()) as shop:
        shop.bill.settle(shop.grant().handle, talk_ms=60_000)
        assert audit(shop.bill.storage).problems == []
        with closing(sqlite3.connect(shop.folder / "cards.db")) as file, file:
            ((detail,),) = file.execute("SELECT detail FROM record").fetchall()
            assert detail.count(before.encode()) == 1
            changed = detail.replace(before.encode(), after.encode())
            file.execute("UPDATE record SET detail = ?", (changed,))
        (found,) = audit(shop.bill.storage).problems
        assert problem in found


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("tax_engine", {"tax_engine": object()}),
        ("tax_seconds", {"tax_seconds": 0}),
        ("tax_seconds", {"tax_seconds": 1.5}),
        ("tax_seconds", {"tax_seconds": 61}),
        ("tax_fallback", {"tax_fallback": "hope"}),
    ],
)
def test_terms_that_make_no_sense_are_refused(field: str, options: dict[str, Any]):
    with pytest.raises(InvalidInput) as caught:
        Engine(MemoryStorage(), Keyring.generate(), **options)
    assert caught.value.field == field


def test_a_refusal_for_want_of_an_answer_names_the_event():
    error = TaxUnavailable("B/1 sale", "no answer in time")
    assert isinstance(error, CardbillError)
    assert (error.event, error.problem) == ("B/1 sale", "no answer in time")
    assert str(error) == "B/1 sale cannot be taxed: no answer in time; nothing was done"
