"""Events of a call in every order leave one record and one charge."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from cardbill import Engine
from cardbill.calls import make_handle
from cardbill.errors import CallEnded, UnknownCall
from tests.building import LIFETIME, START, UK, UK_MINUTE, open_shop

EVENTS = ("authorize", "extend", "settle", "cancel", "sweep")
TALK_MS = 61_000
DUE = 2 * UK_MINUTE
HOLD_LIFE = timedelta(seconds=180 + 120 + 300)


def expected_charge(order: Sequence[str]) -> int:
    """A call is charged if it was granted and then reported: nothing else counts.

    It is not granted after a report or a cancellation of it, and an extension posts nothing.
    """
    granted = False
    for event in order:
        if event == "authorize":
            granted = True
        elif event == "settle" and granted:
            return DUE
        elif event in ("settle", "cancel") and not granted:
            return 0
    return 0


def run(bill: Engine, event: str, *, serial: int, pin: str, at: datetime) -> None:
    handle = make_handle(f"B/{serial}", "c")
    try:
        if event == "authorize":
            bill.authorize(pin=pin, to=UK, call_id="c", at=at)
        elif event == "extend":
            bill.extend(handle, used_seconds=0, number=1, at=at)
        elif event == "settle":
            bill.settle(handle, talk_ms=TALK_MS, at=at)
        elif event == "cancel":
            bill.cancel(handle, at=at)
        else:
            bill.sweep(at=at)
    except CallEnded:
        assert event in ("authorize", "extend", "cancel")
    except UnknownCall:
        assert event == "extend"


def run_all(kind: str, folder: Path, length: int, gap: timedelta, plan: dict[str, Any]) -> None:
    """Every order of so many events, with duplicates, each on a card of its own."""
    orders = list(product(EVENTS, repeat=length))
    with open_shop(kind, folder, quantity=len(orders), plan=plan) as shop:
        pins = [shop.pin(serial) for serial in range(1, len(orders) + 1)]
        for serial, order in enumerate(orders, start=1):
            at = START
            for event in order:
                at += gap
                run(shop.bill, event, serial=serial, pin=pins[serial - 1], at=at)
        shop.bill.sweep(at=START + length * gap + LIFETIME)
        for serial, order in enumerate(orders, start=1):
            card = f"B/{serial}"
            charge = expected_charge(order)
            stored = shop.stored(card)
            posted = [amount for kind, amount, call in shop.ledger(card) if call == "c"]
            assert posted == ([-charge] if charge else []), order
            assert (stored.holds, stored.balance) == ({}, 5_000_000 - charge), order
            records = shop.records(card)
            assert len(records) == (0 if set(order) <= {"sweep", "extend"} else 1), order
            assert sum(record.price_units for record in records) == charge, order
        shop.check_books()


GAPS = [timedelta(seconds=1), HOLD_LIFE / 2, HOLD_LIFE]
PLANS: dict[str, dict[str, Any]] = {
    "whole": {"max_call_seconds": 120},
    "slices": {"max_call_seconds": 120, "slice_seconds": 110},
}


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("gap", GAPS)
def test_in_whatever_order_events_come_a_call_is_charged_once(
    kind: str, tmp_path: Path, gap: timedelta, plan: str
):
    for length in range(1, 5):
        (tmp_path / str(length)).mkdir()
        run_all(kind, tmp_path / str(length), length, gap, PLANS[plan])


@pytest.mark.soak
@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("gap", GAPS)
@pytest.mark.parametrize("length", [5, 6])
def test_in_whatever_order_more_events_come_a_call_is_charged_once(
    kind: str, tmp_path: Path, length: int, gap: timedelta, plan: str
):
    run_all(kind, tmp_path, length, gap, PLANS[plan])
