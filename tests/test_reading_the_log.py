"""The operators' log and suspense as readers want them, over every store."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cardbill.calls import make_handle
from cardbill.errors import InvalidInput, RowUnreadable, UnknownCall
from cardbill.storage.contract import SuspenseRow
from tests.building import START, STORES, Shop, open_shop

WHO: dict[str, Any] = {"actor": "ann", "reason": "ticket 4711"}


@pytest.fixture(params=STORES)
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    with open_shop(request.param, tmp_path) as opened:
        yield opened


def park(shop: Shop, call_id: str, **told: Any) -> None:
    with pytest.raises(UnknownCall):
        shop.bill.settle(make_handle("C/1", call_id), **told)


def test_what_operators_did_is_read_in_order(shop: Shop):
    shop.bill.control.block("B/1", **WHO)
    shop.clock.tick(days=1)
    shop.bill.control.unblock("B/1", actor="bob", reason="found")
    told = [
        (line.at, line.actor, line.action, line.detail)
        for line in shop.bill.reports.log()
        if line.actor
    ]
    assert told[-2:] == [
        (START, "ann", "block", {"reason": "ticket 4711"}),
        (START + timedelta(days=1), "bob", "unblock", {"reason": "found"}),
    ]
    positions = [line.position for line in shop.bill.reports.log()]
    assert positions == list(range(1, len(positions) + 1))


def test_what_is_done_in_two_rows_says_which_is_the_first(shop: Shop):
    made = [line for line in shop.bill.reports.log(subject="B") if line.action == "make-pins"]
    assert [line.begun for line in made] == [True, False]


def test_the_log_is_cut_by_instants_actor_and_subject(shop: Shop):
    log = shop.bill.reports.log
    shop.clock.tick(days=1)
    shop.bill.control.block("B/1", **WHO)
    shop.clock.tick(days=1)
    shop.bill.control.block("B/2", **WHO)
    day = [START + timedelta(days=n) for n in range(4)]
    assert [line.subject for line in log(since=day[1])] == ["B/1", "B/2"]
    assert [line.subject for line in log(since=day[1], until=day[2])] == ["B/1"]
    assert [line.subject for line in log(actor="ann", since=day[1])] == ["B/1", "B/2"]
    assert [line.at for line in log(subject="B/2")] == [day[2]]
    assert {line.actor for line in log(actor="")} == {""}
    assert list(log(actor="nobody")) == []
    with pytest.raises(InvalidInput, match="since"):
        log(since=datetime(2025, 1, 1))  # noqa: DTZ001  # that is what is refused


def test_a_report_in_suspense_can_be_settled_where_it_belongs(shop: Shop):
    answered = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)
    told: dict[str, Any] = {
        "talk_ms": 61_000,
        "answered_at": answered,
        "carrier": "acme",
        "cause": 16,
    }
    park(shop, "b", talk_ms=0)
    park(shop, "a", **told, access_ms=70_000)
    first, second = shop.bill.reports.suspense()
    assert (first.card_id, first.call_id, first.at) == ("C/1", "a", START)
    assert {name: getattr(first, name) for name in told} == told
    assert (first.access_ms, first.ended_at) == (70_000, None)
    assert first.handle == make_handle("C/1", "a")
    assert (second.talk_ms, second.carrier, second.access_ms) == (0, None, None)


@pytest.mark.parametrize(
    "detail", [b"", b"{}", b"[1]", b"\xff", b'{"answered_at": "soon", "ended_at": null}']
)
def test_a_damaged_row_is_named(shop: Shop, detail: bytes):
    shop.bill.storage.suspend(SuspenseRow("C/1|x|0", 0, "C/1", "x", detail))
    with pytest.raises(RowUnreadable, match=r"suspense C/1\|x\|0"):
        list(shop.bill.reports.suspense())


def test_a_damaged_line_of_the_log_is_named(shop: Shop):
    (position, last), *_ = [shop.bill.storage.last_audit() or (0, None)]
    assert last is not None
    shop.bill.storage.append_audit(last._replace(detail=b"no"), after=position)
    with pytest.raises(RowUnreadable, match=f"the log at {position + 1}"):
        list(shop.bill.reports.log())
