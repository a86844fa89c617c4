"""Why a call is denied: the reasons, one by one and in their order; a denial changes nothing."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from moneyed import USD, Money

from cardbill import Batch, Carrier, Denial, Denied, Grant, Plan, authorization
from cardbill.cards import Card
from cardbill.catalogue import Snapshot
from cardbill.catalogueitems import dated, encode
from cardbill.reach import CallRequest
from tests.building import (
    BARRED,
    DEAR,
    INVALID,
    START,
    TOLL_FREE,
    UK,
    UK_E164,
    UK_MINUTE,
    UK_MOBILE,
    UNRATED,
    UNROUTED,
    Shop,
    deck,
    open_shop,
    rows,
)


@pytest.fixture
def shop(kind: str, tmp_path: Path) -> Iterator[Shop]:
    """The books are not looked at: some tests alter what is stored."""
    with open_shop(kind, tmp_path) as opened:
        yield opened


FACTS: list[tuple[str, dict[str, Any], str]] = [
    ("void", {"voided": True}, UK),
    ("blocked", {"blocked": True}, UK),
    ("expired", {"expires_at": START}, UK),
    ("exhausted", {"first_used_at": START, "balance": 0}, UK),
    ("invalid_number", {}, INVALID),
    ("invalid_number", {}, ""),
    ("invalid_number", {}, "01144abcdefg"),
    ("invalid_number", {}, "0114420712345678901"),
    ("no_rate", {}, UNRATED),
    ("destination_barred", {}, BARRED),
    ("insufficient_balance", {}, DEAR),
    ("insufficient_balance", {"balance": UK_MINUTE - 1}, UK),
    ("no_route", {}, UNROUTED),
]


@pytest.mark.parametrize(("reason", "facts", "to"), FACTS)
def test_a_denial_says_why_and_changes_nothing(
    shop: Shop, reason: str, facts: dict[str, Any], to: str
):
    shop.edit("B/1", **facts)
    if reason == "expired":
        shop.bill.sweep()  # what time does is not the denial's doing
    before = rows(shop.bill.storage)
    denied = shop.ask(to=to)
    assert isinstance(denied, Denied)
    assert not denied.granted
    assert denied.reason.value == reason
    assert denied.card_id == "B/1"
    assert denied.prompt == denied.reason.prompt
    assert rows(shop.bill.storage) == before
    assert shop.denied(to=to) == reason  # decided anew, alike


def test_a_card_without_a_plan_is_not_assigned_yet(kind: str, tmp_path: Path):
    with open_shop(kind, tmp_path, assign=False) as shop:
        before = rows(shop.bill.storage)
        assert shop.denied() == "not_assigned"
        answer = shop.bill.authenticate(pin=shop.pin())
        assert isinstance(answer, Denied)
        assert answer.reason is Denial.NOT_ASSIGNED
        assert rows(shop.bill.storage) == before
        shop.bill.batches.assign("B", plan="Basic")
        assert shop.grant().granted


def test_a_card_works_from_its_effective_date_in_its_own_zone(kind: str, tmp_path: Path):
    terms = {"effective_date": date(2025, 3, 4), "time_zone": "Pacific/Auckland"}  # UTC+13
    with open_shop(kind, tmp_path, batch=terms) as shop:
        begins = datetime(2025, 3, 3, 11, 0, tzinfo=UTC)
        before = rows(shop.bill.storage)
        assert shop.denied(at=begins - timedelta(microseconds=1)) == "not_yet_effective"
        assert rows(shop.bill.storage) == before
        assert shop.grant(at=begins).granted


def test_a_second_call_at_once_is_one_too_many(shop: Shop):
    first = shop.grant("c1", to=UK_MOBILE)
    before = rows(shop.bill.storage)
    denied = shop.ask("c2", to=TOLL_FREE)
    assert isinstance(denied, Denied)
    assert (denied.reason, denied.detail) == (Denial.TOO_MANY_CALLS, "1 open")
    assert rows(shop.bill.storage) == before
    shop.bill.settle(first.handle, talk_ms=0)
    assert shop.grant("c2").granted


def test_the_minimum_balance_is_demanded_of_what_is_available(kind: str, tmp_path: Path):
    terms = {"minimum_balance": Money(3, USD), "calls_at_once": 2, "max_call_seconds": 2400}
    with open_shop(kind, tmp_path, plan=terms) as shop:
        assert shop.grant("c1").held == Money("2.40", USD)
        assert shop.denied("c2") == "below_minimum"
        assert shop.denied("c2", to=TOLL_FREE) == "below_minimum"
        shop.bill.cancel(shop.grant("c1").handle)
        shop.edit("B/1", balance=3_000_000)
        assert shop.grant("c3").granted
        shop.bill.cancel(shop.grant("c3").handle)
        shop.edit("B/1", balance=2_999_999)
        assert shop.denied("c4") == "below_minimum"


@pytest.mark.parametrize(
    ("terms", "seconds"),
    [
        ("0.06,5.01,10,", None),  # not even the connect fee
        ("0.06,4.99,10,", None),  # 10 seconds, which grace forgives anyhow
        ("0.06,4.989,10,", 11),
        ("0.60,5.00,,30", None),  # the 30 free seconds, and nothing after them
        ("0.60,4.99,,30", 31),
        ("0.06,4.99,60,60", 70),
    ],
)
def test_money_that_buys_no_second_beyond_grace_buys_no_call(
    kind: str, tmp_path: Path, terms: str, seconds: int | None
):
    text = f"prefix,rate,connect fee,grace,free seconds\n44,{terms}\n"
    with open_shop(kind, tmp_path, retail=text) as shop:
        if seconds is None:
            assert shop.denied() == "insufficient_balance"
        else:
            assert shop.grant().max_seconds == seconds


@pytest.mark.parametrize("prompt_of", [Denial.LOCKED_OUT, Denial.BLOCKED])
def test_a_guesser_does_not_hear_that_a_card_exists(prompt_of: Denial):
    unknown: Denial = Denial.UNKNOWN_CREDENTIAL
    for told in ("prompt", "sip", "q850", "radius", "http"):
        assert getattr(prompt_of, told) == getattr(unknown, told), told


# The order of the reasons, over the pure decision: any of them may be true at once.
ORDER = [
    "void",
    "blocked",
    "not_assigned",
    "not_yet_effective",
    "expired",
    "exhausted",
    "invalid_number",
    "too_many_calls",
    "no_rate",
    "destination_barred",
    "below_minimum",
    "insufficient_balance",
    "no_route",
]


def world(reasons: set[str]) -> tuple[Card, Snapshot]:
    """A card and a catalogue of which all these reasons for a denial are true."""
    begin = datetime(2025, 1, 1, tzinfo=UTC)
    used = "exhausted" in reasons
    card = Card(
        id="B/1",
        batch="B",
        serial=1,
        currency="USD",
        face=5_000_000,
        balance=0 if used else 5_000_000,
        first_used_at=begin if used else None,
        credentials=[("pin", b"token")],
        expires_at=START if "expired" in reasons else None,
        voided="void" in reasons,
        blocked="blocked" in reasons,
    )
    if "too_many_calls" in reasons:
        other, snapshot = world(set())
        assert ask(other, snapshot).granted
        card.holds["other"] = evolve(other.holds["c1"], call_id="other", amount=0)
    price = "1000" if "insufficient_balance" in reasons else "0.06"
    barred = "yes" if "destination_barred" in reasons else ""
    prefix = "33" if "no_rate" in reasons else "44"
    retail = deck(f"prefix,rate,increments,blocked\n{prefix},{price},60/60,{barred}\n")
    cost = deck(f"prefix,rate\n{'33' if 'no_route' in reasons else '44'},0.02\n")
    items: dict[str, Batch | Plan | Carrier] = {
        "batch": Batch(
            name="B",
            face_value=Money(5, USD),
            quantity=1,
            plan=None if "not_assigned" in reasons else "Basic",
            effective_date=date(2026, 1, 1) if "not_yet_effective" in reasons else None,
        ),
        "plan": Plan(
            name="Basic",
            deck="retail",
            currency=USD,
            minimum_balance=Money(100, USD) if "below_minimum" in reasons else None,
        ),
        "carrier": Carrier(name="acme", deck="cost"),
    }
    named = [(kind, item.name, encode(item)[2]) for kind, item in items.items()]
    named += [("deck", "retail", encode(retail)[2]), ("deck", "cost", encode(cost)[2])]
    snapshot = Snapshot(1, {(kind, name): 1 for kind, name, _ in named})
    for kind, name, content in named:
        snapshot.put(kind, name, 1, dated(kind, content, START))
    return card, snapshot


def ask(card: Card, snapshot: Snapshot, number: str | None = UK_E164) -> Grant | Denied:
    request = CallRequest(call_id="c1", number=number, credentials=[("pin", b"token")])
    return authorization.authorize(card, None, request, snapshot, START)


def decide_with(reasons: set[str]) -> Grant | Denied:
    card, snapshot = world(reasons)
    before = repr(card)
    answer = ask(card, snapshot, None if "invalid_number" in reasons else UK_E164)
    assert answer.granted or repr(card) == before
    return answer


def test_with_no_reason_against_it_a_call_is_granted():
    assert decide_with(set()).granted


@pytest.mark.parametrize(
    "reasons",
    [
        *(tuple(ORDER[place:]) for place in range(len(ORDER))),
        *((reason,) for reason in ORDER),
        *combinations(ORDER, 2),
    ],
    ids="+".join,
)
def test_of_several_reasons_the_first_in_order_is_told(reasons: tuple[str, ...]):
    answer = decide_with(set(reasons))
    assert isinstance(answer, Denied)
    assert answer.reason.value == reasons[0]


def test_the_documented_denials_are_all_tried_here():
    later = {"locked_out", "not_sold", "limit_reached"}  # nothing leads to these yet
    assert {denial.value for denial in Denial} - later == {*ORDER, "unknown_credential"}
