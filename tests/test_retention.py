"""Personal data goes after its time; the ledger, the records and their seals stay whole."""

import json
import re
import sqlite3
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, strategies as st
from moneyed import USD, Money

from cardbill import Denied, MarginBy, Outcome
from cardbill.errors import (
    CallEnded,
    InvalidInput,
    MissingFields,
    RowAltered,
    StorageUnavailable,
    UnknownName,
)
from cardbill.storage.contract import Storage
from tests.building import LIFETIME, START, STORES, UK, UK_E164, Shop, open_shop, rows
from tests.test_sold_with import ON_TOP, PLAN as SOLD, history, taxed

ANI = "13055550123"
WHY: dict[str, Any] = {"actor": "ann", "reason": "retention of 90 days"}
PLAN = {"calls_at_once": 3, "max_call_seconds": 600}


def ask(shop: Shop, call_id: str, serial: int = 1) -> str:
    answer = shop.bill.authorize(pin=shop.pin(serial), to=UK, call_id=call_id, ani=ANI)
    assert not isinstance(answer, Denied)
    return answer.handle


def call(shop: Shop, call_id: str, serial: int = 1) -> str:
    handle = ask(shop, call_id, serial)
    shop.bill.settle(handle, talk_ms=61_000, carrier="acme")
    return handle


def traces(storage: Storage) -> list[str]:
    """Every stored row in which a number of either party stands."""
    text = [repr(row) for kind, found in rows(storage).items() for row in found if kind != "jobs"]
    return [row for row in text if re.search("2071234567|3055550123", row)]


@pytest.mark.parametrize("kind", STORES)
def test_old_calls_lose_their_numbers_and_nothing_else(kind: str, tmp_path: Path):
    with open_shop(kind, tmp_path, plan=PLAN) as shop:
        call(shop, "old")
        shop.clock.tick(days=90)
        call(shop, "new")
        before = {record.call_id: record for record in shop.records()}
        ledger = shop.ledger()
        done = shop.bill.purge(before=START + timedelta(days=1), **WHY)
        assert (done.calls, done.failures) == (1, ())
        after = {record.call_id: record for record in shop.records()}
        assert after["new"] == before["new"]
        assert (before["old"].number, after["old"].number) == (UK_E164, "")
        hold = after["old"].hold
        assert hold is not None
        assert hold.ani is None
        assert [route.number for route in hold.routes] == ["", ""]
        kept = before["old"].hold
        assert kept is not None
        assert all(route.number for route in kept.routes)
        put_back = evolve(hold, number=UK_E164, ani=ANI, routes=kept.routes)
        assert evolve(after["old"], hold=put_back) == before["old"]
        assert after["old"].destination == "United Kingdom"
        assert after["old"].margin == before["old"].margin
        assert shop.ledger() == ledger
        shop.check_books()


@pytest.mark.parametrize("kind", STORES)
def test_no_stored_row_has_a_number_any_more(kind: str, tmp_path: Path):
    with open_shop(kind, tmp_path, plan=PLAN) as shop:
        call(shop, "one")
        call(shop, "two", serial=2)
        shop.bill.cancel(ask(shop, "three"))
        ask(shop, "four")
        shop.clock.now += LIFETIME
        shop.bill.sweep()
        assert traces(shop.bill.storage)
        assert shop.bill.purge(before=shop.clock.now, **WHY).calls == 4
        assert traces(shop.bill.storage) == []
        assert {record.outcome for record in shop.bill.records()} == {
            Outcome.SETTLED,
            Outcome.CANCELLED,
            Outcome.EXPIRED,
        }
        shop.check_books()


@pytest.mark.parametrize("kind", STORES)
def test_a_call_that_nobody_reported_or_swept_is_over_and_loses_its_numbers(
    kind: str, tmp_path: Path
):
    with open_shop(kind, tmp_path, plan=PLAN) as shop:
        shop.bill.batches.create(evolve(shop.bill.batches.get("B"), name="C"))
        shop.bill.batches.generate_pins("C")
        ask(shop, "hung")
        hung = shop.grant("other-batch", batch="C")
        over = hung.expires_at
        shop.clock.tick(days=400)
        assert shop.bill.purge(before=over, batch="B", **WHY).calls == 0  # not before, but then
        assert shop.bill.purge(before=over + timedelta(seconds=1), batch="B", **WHY).calls == 1
        assert [record.number for record in shop.bill.records()] == [""]
        assert len(traces(shop.bill.storage)) == 1
        assert shop.bill.purge(before=shop.clock.now, **WHY).calls == 1
        assert traces(shop.bill.storage) == []
        assert {record.outcome for record in shop.bill.records()} == {Outcome.EXPIRED}
        assert shop.bill.settle(hung.handle, talk_ms=61_000, carrier="acme").late
        shop.check_books()


def test_a_card_that_cannot_be_brought_up_to_date_is_reported(tmp_path: Path):
    with open_shop("sqlite", tmp_path) as shop:
        for serial in (1, 2):
            ask(shop, f"hung-{serial}", serial)
        shop.clock.tick(days=90)
        connection = sqlite3.connect(shop.folder / "cards.db")
        with connection:
            connection.execute("UPDATE card SET state = x'5b5d' WHERE id = 'B/1'")
        connection.close()
        done = shop.bill.purge(before=shop.clock.now, **WHY)
        assert (done.calls, [card for card, _ in done.failures]) == (1, ["B/1"])


@pytest.mark.parametrize("kind", STORES)
def test_a_second_purge_finds_nothing_and_both_are_in_the_log(kind: str, tmp_path: Path):
    with open_shop(kind, tmp_path) as shop:
        call(shop, "old")
        shop.clock.tick(days=90)
        limit = START + timedelta(days=1)
        assert shop.bill.purge(before=limit, **WHY).calls == 1
        stored = {name: kept for name, kept in rows(shop.bill.storage).items() if name != "audit"}
        assert shop.bill.purge(before=limit, **WHY).calls == 0
        now = {name: kept for name, kept in rows(shop.bill.storage).items() if name != "audit"}
        assert now == stored
        log = [row for row in shop.log() if row.action.startswith("purge")]
        assert [(row.action, row.actor) for row in log] == [
            ("purge-begun", "ann"),
            ("purge", "ann"),
        ] * 2
        told = [json.loads(row.detail[:-17]) for row in log]
        assert told[1] == {"reason": WHY["reason"], "before": limit.isoformat(), "calls": 1}
        assert told[3]["calls"] == 0


@pytest.mark.parametrize("kind", STORES)
def test_a_settle_that_comes_again_is_answered_as_before(kind: str, tmp_path: Path):
    with open_shop(kind, tmp_path) as shop:
        handle = call(shop, "old")
        (record,) = shop.records()
        shop.clock.tick(days=90)
        shop.bill.purge(before=shop.clock.now, **WHY)
        again = shop.bill.settle(handle, talk_ms=61_000, carrier="acme")
        assert again.replayed
        assert (again.price, again.cost) == (record.price, record.cost)
        with pytest.raises(CallEnded):
            ask(shop, "old")
        shop.check_books()


@pytest.mark.parametrize("kind", STORES)
@pytest.mark.parametrize(("carrier", "costed"), [("acme", True), ("nobody", False)])
def test_a_report_that_comes_after_the_purge_still_charges_the_call(
    kind: str, carrier: str, costed: bool, tmp_path: Path
):
    with open_shop(kind, tmp_path, plan=PLAN) as shop:
        handle = ask(shop, "old")
        shop.clock.tick(days=90)
        shop.bill.sweep()
        shop.bill.purge(before=shop.clock.now, **WHY)
        record = shop.bill.settle(handle, talk_ms=61_000, carrier=carrier)
        assert (record.late, record.price) == (True, Money("0.12", USD))
        assert (record.cost_units is not None) == costed
        assert record.number == ""
        shop.check_books()


def test_a_carrier_that_was_not_granted_has_no_known_cost_without_the_number(tmp_path: Path):
    with open_shop("memory", tmp_path, plan=PLAN) as shop:
        carrier = shop.bill.carriers.get("beta")
        handle = ask(shop, "old")
        shop.bill.carriers.publish(evolve(carrier, name="gamma"))
        shop.clock.tick(days=90)
        shop.bill.sweep()
        shop.bill.purge(before=shop.clock.now, **WHY)
        assert shop.bill.settle(handle, talk_ms=61_000, carrier="gamma").cost is None
        shop.check_books()


@pytest.mark.parametrize("kind", STORES)
def test_calls_in_progress_keep_their_numbers(kind: str, tmp_path: Path):
    with open_shop(kind, tmp_path, plan=PLAN) as shop:
        handle = ask(shop, "open")
        shop.clock.tick(seconds=500)
        assert shop.bill.purge(before=shop.clock.now, **WHY).calls == 0
        assert shop.bill.settle(handle, talk_ms=61_000, carrier="acme").number == UK_E164
        shop.check_books()


def test_a_switch_whose_clock_is_ahead_keeps_no_number_longer(tmp_path: Path):
    with open_shop("memory", tmp_path) as shop:
        shop.bill.settle(ask(shop, "c"), talk_ms=1_000, ended_at=START + timedelta(days=9_999))
        shop.clock.tick(days=90)
        assert shop.bill.purge(before=shop.clock.now, **WHY).calls == 1


@pytest.mark.parametrize("kind", STORES)
def test_one_batch_alone_can_be_purged(kind: str, tmp_path: Path):
    with open_shop(kind, tmp_path) as shop:
        shop.bill.batches.create(evolve(shop.bill.batches.get("B"), name="C"))
        shop.bill.batches.generate_pins("C")
        call(shop, "b")
        shop.bill.settle(shop.grant("c", batch="C").handle, talk_ms=1_000)
        shop.clock.tick(days=90)
        assert shop.bill.purge(before=shop.clock.now, batch="C", **WHY).calls == 1
        assert [record.number for record in shop.bill.records()] == [UK_E164, ""]
        assert shop.bill.purge(before=shop.clock.now, **WHY).calls == 1


def test_a_purge_that_was_cut_short_goes_on(tmp_path: Path):
    with open_shop("memory", tmp_path) as shop:
        for serial in (1, 2, 3):
            call(shop, f"c{serial}", serial)
        shop.clock.tick(days=90)
        steps = iter([True, True, False])

        class Cut(StorageUnavailable):
            pass

        whole = shop.bill.storage.transact

        def transact(*given: Any, **named: Any) -> Any:
            if not next(steps, True):
                raise Cut("the line is cut")
            return whole(*given, **named)

        shop.bill.storage.transact = transact  # type: ignore[method-assign]
        with pytest.raises(Cut):
            shop.bill.purge(before=shop.clock.now, **WHY)
        assert [record.number for record in shop.bill.records()] == ["", "", UK_E164]
        assert shop.bill.purge(before=shop.clock.now, **WHY).calls == 1
        shop.check_books()


def test_a_late_report_that_comes_meanwhile_keeps_its_numbers(tmp_path: Path):
    with open_shop("memory", tmp_path, plan=PLAN) as shop:
        handle = ask(shop, "late")
        shop.clock.tick(days=90)
        shop.bill.sweep()
        storage = shop.bill.storage
        whole = storage.transact

        def transact(*given: Any, **named: Any) -> Any:
            storage.transact = whole  # type: ignore[method-assign]
            shop.bill.settle(handle, talk_ms=61_000, carrier="acme")
            return whole(*given, **named)

        storage.transact = transact  # type: ignore[method-assign]
        assert shop.bill.purge(before=shop.clock.now, **WHY).calls == 0
        assert [record.number for record in shop.records()] == [UK_E164]


def test_a_purged_call_is_explained_and_no_other_deck_rates_it(tmp_path: Path):
    with open_shop("memory", tmp_path) as shop:
        call(shop, "old")
        shop.clock.tick(days=90)
        assert shop.bill.reports.what_if(deck="retail").total.calls == 1
        shop.bill.purge(before=shop.clock.now, **WHY)
        total = shop.bill.reports.what_if(deck="retail").total
        assert (total.calls, total.unrated_calls) == (0, 1)
        (record,) = shop.records()
        assert (
            "To a number since purged, United Kingdom" in shop.bill.explain_record(record).table()
        )


def test_an_altered_card_is_reported_and_the_others_are_purged(tmp_path: Path):
    with open_shop("sqlite", tmp_path) as shop:
        for serial in (1, 2):
            call(shop, f"c{serial}", serial)
        shop.clock.tick(days=90)
        connection = sqlite3.connect(shop.folder / "cards.db")
        with connection:
            connection.execute("UPDATE record SET price = price + 1 WHERE call = 'c1'")
        connection.close()
        done = shop.bill.purge(before=shop.clock.now, **WHY)
        assert done.calls == 1
        ((card, error),) = done.failures
        assert card == "B/1"
        assert isinstance(error, RowAltered)


@given(seed=st.integers(0, 10**6), days=st.integers(0, 120))
def test_whatever_was_purged_the_books_say_the_same(seed: int, days: int):
    with taxed("memory", Path(), ON_TOP, **SOLD) as shop:
        history(shop, seed, None)
        reports = shop.bill.reports

        def figures() -> list[Any]:
            sums = shop.bill.audit().posted_units
            margins = [reports.margins(by) for by in MarginBy]
            return [sums, margins, reports.taxes("day"), list(reports.utilisations())]

        before, limit = figures(), START + timedelta(days=days)
        done = shop.bill.purge(before=limit, **WHY)
        assert figures() == before
        purged = [record for record in shop.bill.records() if record.hold and not record.number]
        assert len(purged) == done.calls
        assert all(record.ended_at < limit for record in purged)
        assert all(record.number for record in shop.bill.records() if record.ended_at >= limit)
        shop.check_books()


def test_what_cannot_be_is_refused_and_leaves_no_trace(tmp_path: Path):
    with open_shop("memory", tmp_path) as shop:
        call(shop, "c")
        before = rows(shop.bill.storage)
        with pytest.raises(MissingFields):
            shop.bill.purge(before=START, actor="", reason="")
        with pytest.raises(InvalidInput, match="lies ahead"):
            shop.bill.purge(before=START + timedelta(seconds=1), **WHY)
        with pytest.raises(InvalidInput, match="before"):
            shop.bill.purge(before=START.replace(tzinfo=None), **WHY)
        with pytest.raises(UnknownName):
            shop.bill.purge(before=START, batch="nope", **WHY)
        assert rows(shop.bill.storage) == before
