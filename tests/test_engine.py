"""Who may call, for how long, on what terms: the engine over every store."""

import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from moneyed import EUR, JPY, USD, Money

import cardbill
from cardbill import (
    Batch,
    BillingCycle,
    Caller,
    Carrier,
    DeckRow,
    Denial,
    Denied,
    Grant,
    Keyring,
    Plan,
    Status,
    authorization,
)
from cardbill.cards import Card
from cardbill.catalogue import Snapshot
from cardbill.catalogueitems import dated, encode
from cardbill.errors import (
    CallEnded,
    CardbillError,
    DeckRefused,
    DuplicateName,
    FloatRefused,
    IdempotencyMismatch,
    InexactAmount,
    InvalidInput,
    KeyFileExposed,
    MissingFields,
    PlanRefused,
    SchemaTooNew,
    TermsLocked,
    UnknownName,
    WrongCurrency,
    WrongKey,
)
from cardbill.instants import to_micros
from cardbill.reach import CallRequest
from cardbill.storage.memory import MemoryStorage
from tests.building import (
    BARRED,
    DEAR,
    INVALID,
    RETAIL,
    START,
    TOLL_FREE,
    UK,
    UK_E164,
    UK_MINUTE,
    UK_MOBILE,
    UNRATED,
    UNROUTED,
    US,
    Shop,
    deck,
    open_shop,
    rows,
)


@pytest.fixture
def shop(kind: str, tmp_path: Path) -> Iterator[Shop]:
    with open_shop(kind, tmp_path) as opened:
        yield opened


# -- the example of the design ----------------------------------------------------------------

EXAMPLE = """\
import cardbill
from cardbill import Batch, Carrier, Keyring, Plan
from moneyed import Money, USD

with cardbill.open("sqlite:///cards.db", keyring=Keyring.load("cards.key")) as bill:
    bill.decks.publish("retail", cardbill.read_deck("retail.csv", currency=USD))
    bill.decks.publish("acme-cost", cardbill.read_deck("acme.csv", currency=USD))
    bill.carriers.publish(Carrier(name="acme", deck="acme-cost"))
    bill.plans.publish(Plan(name="Hello World", deck="retail", currency=USD))
    bill.batches.create(Batch(name="SUMMER-5", face_value=Money(5, USD), quantity=1_000,
                              expires_days_after_first_use=90))
    bill.batches.generate_pins("SUMMER-5")
    bill.batches.assign("SUMMER-5", plan="Hello World")

    caller = bill.authenticate(pin=digits, ani="+13055551234")                  # stage one
    call = bill.authorize(caller, to="011442071234567", call_id=channel_uuid)   # stage two
    if call.granted:
        dial(call.routes, limit=call.max_duration)
        record = bill.settle(call.handle, talk_ms=371_200, carrier="acme")
        record.price, record.tax, record.total, record.cost, record.margin
"""


class HostNames(dict[str, Any]):
    """The names of the host's program: `digits` is what a caller keys when asked, not before."""

    def __missing__(self, name: str) -> str:
        if name != "digits":
            raise KeyError(name)
        pin: str = self["bill"].batches.reveal("SUMMER-5/1", actor="caller", reason="to call")
        return pin


def test_the_example_is_the_one_of_the_design(shared_data: Path):
    design = (shared_data / "design.md").read_text(encoding="utf-8")
    assert f"```python\n{EXAMPLE}```" in design


def test_the_example_of_the_design_runs_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "retail.csv").write_text(RETAIL)
    (tmp_path / "acme.csv").write_text("prefix,rate,increments\n44,0.02,1/1\n")
    Keyring.create("cards.key")
    dialled: list[tuple[Any, Any]] = []
    names = HostNames(
        channel_uuid="1c9b4f4e-0001",
        dial=lambda routes, limit: dialled.append((routes, limit)),
    )

    exec(EXAMPLE, {}, names)

    call, record = names["call"], names["record"]
    assert call.granted
    assert call.number == UK_E164
    assert dialled == [(call.routes, timedelta(minutes=83))]
    assert [route.carrier for route in call.routes] == ["acme"]
    assert record.outcome is cardbill.Outcome.SETTLED
    assert record.seconds == 372
    assert record.price == Money("0.42", USD)  # 7 minutes of 0.06
    assert record.tax == Money(0, USD)
    assert record.total == Money("0.42", USD)
    assert record.cost == Money("0.124", USD)  # 372 seconds of 0.02 a minute
    assert record.margin == Money("0.296", USD)
    with cardbill.open("sqlite:///cards.db", keyring=Keyring.load("cards.key")) as again:
        view = again.card("SUMMER-5/1")
        assert (view.status, view.balance) == (Status.ACTIVE, Money("4.58", USD))
        assert view.held == Money(0, USD)
        assert [r.call_id for r in again.records()] == ["1c9b4f4e-0001"]
        assert again.audit().clean
        assert len(again.batches.pins("SUMMER-5", limit=1_000)) == 1_000


# -- one stage, two stages ----------------------------------------------------------------------


def test_a_caller_is_told_balance_and_expiry_and_nothing_changes(shop: Shop):
    before = rows(shop.bill.storage)
    caller = shop.bill.authenticate(pin=shop.pin(), ani="+1 (305) 555-1234")
    assert isinstance(caller, Caller)
    assert caller.authenticated
    assert caller.card_id == "B/1"
    assert caller.status is Status.GENERATED
    assert (caller.currency, caller.language) == ("USD", "en")
    assert caller.balance == caller.available == Money(5, USD)
    assert caller.expires_at is None
    assert caller.ani == "+13055551234"
    assert caller.prompt == "You have $5.00."
    assert rows(shop.bill.storage) == before


def test_available_is_told_apart_from_what_is_held(shop: Shop):
    with_mobile = shop.grant(to=UK_MOBILE)
    caller = shop.bill.authenticate(pin=shop.pin())
    assert isinstance(caller, Caller)
    assert caller.balance == Money(5, USD)
    assert caller.available == Money(5, USD) - with_mobile.held
    assert shop.bill.card("B/1").available == caller.available


def test_a_caller_is_told_what_time_has_left_swept_or_not(shop: Shop):
    grant = shop.grant(to=UK_MOBILE)
    early = shop.bill.authenticate(pin=shop.pin(), at=grant.expires_at - timedelta(microseconds=1))
    late = shop.bill.authenticate(pin=shop.pin(), at=grant.expires_at)
    assert isinstance(early, Caller)
    assert isinstance(late, Caller)
    assert early.available == Money(5, USD) - grant.held
    assert late.available == Money(5, USD)
    assert shop.stored().holds  # it was merely looked at


@pytest.mark.parametrize("to", [UK, US, UK_MOBILE, TOLL_FREE])
def test_one_stage_grants_what_two_stages_grant(shop: Shop, to: str):
    caller = shop.bill.authenticate(pin=shop.pin(1), ani="13055551234")
    two = shop.bill.authorize(caller, to=to, call_id="same")
    one = shop.bill.authorize(pin=shop.pin(2), ani="13055551234", to=to, call_id="same")
    assert isinstance(one, Grant)
    assert isinstance(two, Grant)
    assert one.handle != two.handle
    assert one == evolve(two, handle=one.handle)
    assert shop.stored("B/1").holds == shop.stored("B/2").holds


def test_a_grant_says_all_that_a_switch_needs(shop: Shop):
    grant = shop.grant()
    assert grant.number == UK_E164
    assert grant.destination == "United Kingdom"
    assert grant.max_seconds == 83 * 60
    assert grant.max_duration == timedelta(minutes=83)
    assert grant.max_ms == 83 * 60_000
    assert grant.held == Money("4.98", USD)
    assert [route.carrier for route in grant.routes] == ["acme", "beta"]
    assert grant.expires_at == START + timedelta(seconds=180 + 83 * 60 + 300)
    assert grant.prompt == "You can talk for 83 minutes."
    assert not grant.replayed
    assert set(grant.handle) <= set(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    )
    assert shop.bill.card("B/1").open_calls == ("c1",)


def test_a_refused_caller_may_be_handed_on_to_authorize(shop: Shop):
    nobody = shop.bill.authenticate(pin="000000000001")
    assert isinstance(nobody, Denied)
    assert not nobody.authenticated
    assert shop.bill.authorize(nobody, to=UK, call_id="c1") is nobody


def test_a_caller_of_yesterday_is_judged_by_what_is_true_today(shop: Shop):
    caller = shop.bill.authenticate(pin=shop.pin())
    shop.edit("B/1", blocked=True)
    refused = shop.bill.authorize(caller, to=UK, call_id="c1")
    assert isinstance(refused, Denied)
    assert refused.reason is Denial.BLOCKED


@pytest.mark.parametrize(
    "pin",
    [
        "",
        "1",
        "123",
        "1234",
        "123456789012",
        "1234567890123",
        "12345678901\n",
        " 123456789012",
        "\uff11\uff12" * 6,
        "\u00b2" * 12,
        "\ud800" * 12,
        "\x00" * 12,
        "9" * 33,
        "9" * 100_000,
        "' OR 1=1 --",
    ],
)
def test_whatever_a_caller_keys_is_an_answer_and_no_error(shop: Shop, pin: str):
    before = rows(shop.bill.storage)
    for answer in (
        shop.bill.authenticate(pin=pin),
        shop.bill.authorize(pin=pin, to=UK, call_id="c1"),
    ):
        assert isinstance(answer, Denied)
        assert answer.reason is Denial.UNKNOWN_CREDENTIAL
        assert answer.card_id is None
        assert answer.prompt == "The PIN is not valid."
    assert rows(shop.bill.storage) == before


def test_a_pin_near_the_right_one_opens_nothing(shop: Shop):
    pin = shop.pin()
    for wrong in (pin[:-1], pin + "0", "0" + pin, pin + " ", pin[::-1]):
        answer = shop.bill.authenticate(pin=wrong)
        assert not answer.authenticated


def test_a_credential_that_the_card_does_not_list_opens_nothing(shop: Shop):
    pin, caller = shop.pin(), shop.bill.authenticate(pin=shop.pin())
    held = shop.grant("open")
    shop.edit("B/1", credentials=[])
    answers = (
        shop.bill.authenticate(pin=pin),
        shop.bill.authorize(pin=pin, to=UK, call_id="c1"),
        shop.bill.authorize(caller, to=UK, call_id="c1"),
        shop.bill.authorize(caller, to=UK, call_id="open"),
    )
    for answer in answers:
        assert isinstance(answer, Denied)
        assert answer.reason is Denial.UNKNOWN_CREDENTIAL
    assert shop.bill.settle(held.handle, talk_ms=1).seconds == 1


@pytest.mark.parametrize("ani", [None, "", "anonymous", "'; DROP TABLE card; --", "+", 5, 1.5])
def test_what_is_no_callers_number_is_left_out(shop: Shop, ani: Any):
    caller = shop.bill.authenticate(pin=shop.pin(), ani=ani)
    assert isinstance(caller, Caller)
    assert caller.ani is None
    assert shop.bill.authorize(caller, to=UK, call_id="c1").granted


# -- denials ------------------------------------------------------------------------------------

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


# -- first use ----------------------------------------------------------------------------------


def test_the_first_granted_call_opens_the_account_once(shop: Shop):
    assert shop.ledger() == []
    assert shop.denied(to=UNRATED) == "no_rate"
    assert shop.ledger() == []
    shop.bill.cancel(shop.grant("c1").handle)
    assert shop.ledger() == [("face", 5_000_000, "")]
    used = shop.bill.card("B/1")
    assert (used.status, used.first_used_at, used.plan) == (Status.ACTIVE, START, "Basic")
    shop.clock.tick(days=3)
    shop.bill.settle(shop.grant("c2").handle, talk_ms=1)
    shop.grant("c3")
    assert [kind for kind, _, _ in shop.ledger()] == ["face", "call"]
    assert shop.bill.card("B/1").first_used_at == START
    shop.check_books()


@pytest.mark.parametrize(
    ("zone", "first_use", "days", "expires"),
    [
        ("UTC", "2025-03-03T12:00", 0, "2025-03-04T00:00"),
        ("UTC", "2025-03-03T00:00", 1, "2025-03-05T00:00"),
        ("UTC", "2025-03-02T23:59", 1, "2025-03-04T00:00"),
        ("America/New_York", "2025-03-03T04:59", 0, "2025-03-03T05:00"),
        ("America/New_York", "2025-03-03T05:00", 0, "2025-03-04T05:00"),
        ("America/New_York", "2025-03-03T12:00", 6, "2025-03-10T04:00"),  # summer time began
        ("Asia/Kolkata", "2025-03-03T18:29", 90, "2025-06-01T18:30"),
        ("Asia/Kolkata", "2025-03-03T18:30", 90, "2025-06-02T18:30"),
        ("Pacific/Kiritimati", "2025-12-31T10:00", 0, "2026-01-01T10:00"),
    ],
)
def test_validity_counts_local_days_from_the_first_use(
    kind: str, tmp_path: Path, zone: str, first_use: str, days: int, expires: str
):
    terms = {"expires_days_after_first_use": days, "time_zone": zone}
    at, end = (datetime.fromisoformat(text).replace(tzinfo=UTC) for text in (first_use, expires))
    with open_shop(kind, tmp_path, batch=terms, plan={"max_call_seconds": 60}) as shop:
        assert shop.bill.card("B/1", at=at).expires_at is None
        shop.bill.cancel(shop.grant(at=at).handle, at=at)
        assert shop.bill.card("B/1", at=at).expires_at == end
        last = end - timedelta(seconds=1)
        shop.bill.cancel(shop.grant("c2", at=last).handle, at=last)
        assert shop.denied("c3", at=end) == "expired"
        assert shop.bill.card("B/1", at=end).status is Status.EXPIRED


def test_of_two_expiries_the_earlier_counts(kind: str, tmp_path: Path):
    terms = {"expires_days_after_first_use": 90, "expiration_date": date(2025, 3, 31)}
    with open_shop(kind, tmp_path, batch=terms) as shop:
        assert shop.bill.card("B/1").expires_at == datetime(2025, 4, 1, tzinfo=UTC)
        shop.grant()
        assert shop.bill.card("B/1").expires_at == datetime(2025, 4, 1, tzinfo=UTC)
    terms["expires_days_after_first_use"] = 2
    (tmp_path / "sooner").mkdir()
    with open_shop(kind, tmp_path / "sooner", batch=terms) as shop:
        shop.grant()
        assert shop.bill.card("B/1").expires_at == datetime(2025, 3, 6, tzinfo=UTC)


def test_where_the_batch_says_so_authentication_is_the_first_use(kind: str, tmp_path: Path):
    terms = {"first_use": "authentication", "expires_days_after_first_use": 1}
    with open_shop(kind, tmp_path, batch=terms) as shop:
        caller = shop.bill.authenticate(pin=shop.pin())
        assert isinstance(caller, Caller)
        assert caller.status is Status.ACTIVE
        assert caller.expires_at == datetime(2025, 3, 5, tzinfo=UTC)
        assert shop.ledger() == [("face", 5_000_000, "")]
        opened = rows(shop.bill.storage)
        shop.clock.tick(hours=3)
        again = shop.bill.authenticate(pin=shop.pin())
        assert again == caller
        assert rows(shop.bill.storage) == opened
        # A call at the latest, where nobody authenticates.
        shop.grant(serial=2)
        assert shop.ledger("B/2") == [("face", 5_000_000, "")]
        shop.check_books()


def test_a_caller_who_is_refused_has_not_used_the_card(kind: str, tmp_path: Path):
    with open_shop(kind, tmp_path, batch={"first_use": "authentication"}) as shop:
        shop.edit("B/1", blocked=True)
        before = rows(shop.bill.storage)
        assert not shop.bill.authenticate(pin=shop.pin()).authenticated
        assert rows(shop.bill.storage) == before


# -- how long -----------------------------------------------------------------------------------


def test_a_call_is_capped_at_whole_seconds_to_the_expiry(kind: str, tmp_path: Path):
    with open_shop(kind, tmp_path, batch={"expiration_date": date(2025, 3, 3)}) as shop:
        end = datetime(2025, 3, 4, tzinfo=UTC)
        capped = shop.grant(at=end - timedelta(seconds=90, microseconds=999_999))
        assert (capped.max_seconds, capped.held) == (90, Money("0.12", USD))
        assert capped.prompt == "You can talk for 1 minute."
        shop.bill.cancel(capped.handle, at=end - timedelta(seconds=80))
        last = shop.grant("c2", at=end - timedelta(seconds=1))
        assert last.max_seconds == 1
        assert last.prompt == "You can talk for 1 second."
        shop.bill.cancel(last.handle, at=end - timedelta(milliseconds=999))
        assert shop.denied("c3", at=end - timedelta(milliseconds=999)) == "expired"
        assert shop.denied("c3", at=end) == "expired"


def test_a_first_call_is_capped_by_the_expiry_that_it_sets_off(kind: str, tmp_path: Path):
    with open_shop(kind, tmp_path, batch={"expires_days_after_first_use": 0}) as shop:
        at = datetime(2025, 3, 3, 23, 59, tzinfo=UTC)
        assert shop.grant(at=at).max_seconds == 60


def test_a_plan_caps_every_call(kind: str, tmp_path: Path):
    with open_shop(kind, tmp_path, plan={"max_call_seconds": 90}) as shop:
        grant = shop.grant()
        assert (grant.max_seconds, grant.held) == (90, Money("0.12", USD))


def test_a_free_number_is_granted_without_end_and_holds_nothing(shop: Shop):
    grant = shop.grant(to=TOLL_FREE)
    assert (grant.max_seconds, grant.max_duration, grant.max_ms) == (None, None, None)
    assert grant.held == Money(0, USD)
    assert grant.prompt == "You can talk as long as you like."
    assert grant.expires_at == START + timedelta(seconds=24 * 3600 + 480)
    record = shop.bill.settle(grant.handle, talk_ms=3_600_000)
    assert (record.total, record.uncollected) == (Money(0, USD), Money(0, USD))


def test_a_connect_fee_without_a_minute_price_is_held(kind: str, tmp_path: Path):
    with open_shop(kind, tmp_path, retail="prefix,rate,connect fee\n44,0,1.25\n") as shop:
        grant = shop.grant()
        assert (grant.max_seconds, grant.held) == (None, Money("1.25", USD))
        assert shop.bill.settle(grant.handle, talk_ms=86_400_000).total == Money("1.25", USD)


@pytest.mark.parametrize(
    ("face", "per_minute"),
    [(Money(5_000, USD), "0.0001"), (Money(100, USD), "0.000001"), (Money(50_000, JPY), "0.001")],
)
def test_a_price_so_low_that_money_lasts_for_decades_is_granted(
    kind: str, tmp_path: Path, face: Money, per_minute: str
):
    retail = f"prefix,rate\n44,{per_minute}\n"
    with open_shop(kind, tmp_path, face=face, retail=retail) as shop:
        grant = shop.grant()
        assert grant.max_seconds is None or grant.max_seconds >= 1_000_000_000
        shop.bill.settle(grant.handle, talk_ms=60_000)
        shop.check_books()


# -- the same request again ---------------------------------------------------------------------


def test_the_same_request_again_is_the_same_grant(shop: Shop):
    first = shop.grant()
    before = rows(shop.bill.storage)
    shop.clock.tick(minutes=5)
    again = shop.grant()
    assert again == first
    assert again.replayed
    assert not first.replayed
    caller = shop.bill.authenticate(pin=shop.pin())
    assert shop.bill.authorize(caller, to="+44 20 7123-4567", call_id="c1") == first
    assert rows(shop.bill.storage) == before


def test_the_same_call_id_with_another_number_is_refused(shop: Shop):
    shop.grant()
    before = rows(shop.bill.storage)
    for to in (UK_MOBILE, UNRATED, INVALID, "not a number"):
        with pytest.raises(IdempotencyMismatch) as refused:
            shop.ask(to=to)
        assert refused.value.fields == ("to",)
        assert refused.value.key == "c1"
    assert rows(shop.bill.storage) == before


@pytest.mark.parametrize("how", ["settled", "cancelled", "expired", "unauthorised"])
def test_a_call_that_has_ended_is_not_granted_again(shop: Shop, how: str):
    handle = shop.grant().handle if how != "unauthorised" else ""
    if how == "settled":
        shop.bill.settle(handle, talk_ms=1_000)
    elif how == "cancelled":
        shop.bill.cancel(handle)
    elif how == "expired":
        shop.clock.tick(days=2)
    else:
        other = shop.grant("c0", serial=1)
        shop.bill.cancel(other.handle)
        shop.bill.settle(cardbill.calls.make_handle("B/1", "c1"), talk_ms=5)
    before = rows(shop.bill.storage)
    for to in (UK, UK_MOBILE, INVALID):
        with pytest.raises(CallEnded) as ended:
            shop.ask(to=to)
        assert (ended.value.call_id, ended.value.outcome) == ("c1", how)
    assert rows(shop.bill.storage) == before


def test_a_call_id_belongs_to_its_card(shop: Shop):
    first, second = shop.grant("same", serial=1), shop.grant("same", serial=2)
    assert first.handle != second.handle
    shop.bill.settle(first.handle, talk_ms=60_000)
    assert shop.bill.card("B/2").open_calls == ("same",)
    assert shop.bill.settle(second.handle, talk_ms=120_000).seconds == 120
    assert len(shop.bill.storage.calls_by_id("same")) == 2


def test_a_denial_is_not_remembered(shop: Shop):
    assert shop.denied("c1", to=UNROUTED) == "no_route"
    shop.bill.decks.publish("beta-cost", deck("prefix,rate\n33,0.01\n"))
    assert shop.grant("c1", to=UNROUTED).granted


# -- what is published meanwhile ----------------------------------------------------------------


def test_a_deck_published_in_mid_call_is_for_the_next_call(shop: Shop):
    during = shop.grant("c1")
    shop.publish_retail(RETAIL.replace("44,United Kingdom,0.06", "44,Britain,0.60"))
    shop.bill.decks.publish("acme-cost", deck("prefix,rate\n44,0.50\n"))
    assert shop.grant("c1") == during
    record = shop.bill.settle(during.handle, talk_ms=60_000, carrier="acme")
    assert (record.price, record.cost) == (Money("0.06", USD), Money("0.02", USD))
    assert record.destination == "United Kingdom"
    following = shop.grant("c2")
    assert following.destination == "Britain"
    record = shop.bill.settle(following.handle, talk_ms=60_000, carrier="acme")
    assert (record.price, record.cost) == (Money("0.60", USD), Money("0.50", USD))


def test_a_destination_barred_in_mid_call_is_still_settled(shop: Shop):
    during = shop.grant()
    shop.publish_retail("prefix,rate,blocked\n44,0,yes\n")
    assert shop.bill.settle(during.handle, talk_ms=1_000).price == Money("0.06", USD)
    assert shop.denied("c2") == "destination_barred"


def test_a_used_card_keeps_the_version_of_its_plan(shop: Shop):
    shop.bill.cancel(shop.grant("c1", serial=1).handle)
    shop.bill.plans.publish(
        Plan(name="Basic", deck="retail", currency=USD, max_call_seconds=60, language="es")
    )
    assert shop.grant("c2", serial=1).max_seconds == 83 * 60
    caller = shop.bill.authenticate(pin=shop.pin(1))
    assert isinstance(caller, Caller)
    assert caller.language == "en"
    assert shop.grant("c2", serial=2).max_seconds == 60
    assert shop.stored("B/1").plan == ("Basic", 1)
    assert shop.stored("B/2").plan == ("Basic", 2)


def test_another_engine_notices_what_was_published_without_reopening(shop: Shop):
    other = shop.second()
    assert other.authorize(pin=shop.pin(1), to=UNROUTED, call_id="c1").granted is False
    shop.bill.decks.publish("beta-cost", deck("prefix,rate\n33,0.01\n44,0.001\n"))
    seen = other.authorize(pin=shop.pin(1), to=UNROUTED, call_id="c1")
    assert isinstance(seen, Grant)
    assert [route.carrier for route in seen.routes] == ["beta"]
    shop.bill.plans.publish(Plan(name="Other", deck="retail", currency=USD, max_call_seconds=30))
    shop.bill.batches.create(
        Batch(name="C", face_value=Money(5, USD), quantity=1, plan="Other"),
    )
    shop.bill.batches.generate_pins("C")
    pin = shop.pin(1, "C")
    assert other.authenticate(pin=pin).authenticated
    granted = other.authorize(pin=pin, to=UK, call_id="c2")
    assert isinstance(granted, Grant)
    assert granted.max_seconds == 30
    settled = shop.bill.settle(granted.handle, talk_ms=1_000, carrier="beta")
    assert settled.cost == Money("0.0001", USD)
    assert other.audit().clean


def test_a_store_that_was_set_back_is_followed_back(tmp_path: Path, monkeypatch: Any):
    """A backup was put in place under a running engine: no call may hang on that."""
    with open_shop("memory", tmp_path) as shop:
        pin, storage, catalogue = shop.pin(), shop.bill.storage, shop.bill.storage.catalogue
        assert isinstance(storage, MemoryStorage)
        assert shop.bill.authenticate(pin=pin).authenticated  # it has seen the newest
        storage._revision -= 1
        turns = 0

        def counted() -> Any:
            nonlocal turns
            turns += 1
            assert turns < 20, "asks for the catalogue for ever"
            return catalogue()

        monkeypatch.setattr(storage, "catalogue", counted)
        assert shop.bill.authenticate(pin=pin).authenticated
        assert shop.bill.authorize(pin=pin, to=UK, call_id="c1").granted


# -- opening ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "",
        "cards.db",
        "mysql://host/db",
        "postgresql://host/db?no-such-option=1",
        "postgresql://host/db?schema=No",
        "memory:x",
        "memory://",
        "sqlite:",
        "sqlite:///",
        "sqlite://cards.db",
        "sqlite://host/cards.db",
        "sqlite:cards.db",
        "sqlite:/cards.db",
        "sqlite:///:memory:",
        "sqlite:///cards.db#old",
        "sqlite:///cards.db?synchronous=off",
        "sqlite:///cards.db?mode=ro",
        None,
        5,
        1.5,
    ],
)
def test_an_address_that_names_no_store_opens_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: Any
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInput) as refused:
        cardbill.open(url, keyring=Keyring.generate()).close()
    assert refused.value.field in ("url", "synchronous", "address", "schema")
    assert list(tmp_path.iterdir()) == []


def test_another_lookup_key_is_noticed_at_opening(shop: Shop):
    wrong = evolve(shop.keyring, lookup={1: b"x" * 32})
    newer = evolve(shop.keyring, lookup={2: b"x" * 32})
    before = rows(shop.bill.storage)
    for keyring in (wrong, newer, Keyring.generate()):
        with pytest.raises(WrongKey) as refused:
            cardbill.Engine(shop.bill.storage, keyring)
        assert "x" * 8 not in str(refused.value)
    assert rows(shop.bill.storage) == before


def test_another_sealing_key_is_noticed_at_opening(shop: Shop):
    wrong = evolve(shop.keyring, sealing={1: b"x" * 32})
    with pytest.raises(WrongKey, match="sealing/1"):
        cardbill.Engine(shop.bill.storage, wrong)


def test_a_newer_lookup_key_may_be_added_and_old_pins_still_open(shop: Shop):
    both = shop.keyring.rotated()
    newer = cardbill.Engine(shop.bill.storage, both, clock=shop.clock)
    assert newer.authenticate(pin=shop.pin()).authenticated
    newer.batches.create(Batch(name="C", face_value=Money(1, USD), quantity=1, plan="Basic"))
    newer.batches.generate_pins("C")
    pin = newer.batches.reveal("C/1", actor="a", reason="r")
    assert newer.authenticate(pin=pin).authenticated
    assert not shop.bill.authenticate(pin=pin).authenticated  # it lacks the new key


def test_an_exposed_key_file_is_refused(tmp_path: Path):
    path = tmp_path / "cards.key"
    Keyring.create(path)
    for mode in (0o640, 0o604, 0o620, 0o666):
        path.chmod(mode)
        with pytest.raises(KeyFileExposed, match=f"{mode:04o}"):
            Keyring.load(path)
    path.chmod(0o600)
    assert Keyring.load(path).checks()


def test_a_database_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path):
    with open_shop("sqlite", tmp_path) as shop:
        url, keyring = shop.url, shop.keyring
    connection = sqlite3.connect(tmp_path / "cards.db")
    connection.execute("PRAGMA user_version = 99")
    connection.commit()
    connection.close()
    before = (tmp_path / "cards.db").read_bytes()
    with pytest.raises(SchemaTooNew, match="schema 99") as refused:
        cardbill.open(url, keyring=keyring)
    assert (tmp_path / "cards.db").read_bytes() == before
    # Nor is it kept open for as long as somebody keeps the error.
    assert refused.value.__traceback__ is not None
    if (handles := Path("/proc/self/fd")).is_dir():
        opened = [str(handle.readlink()) for handle in handles.iterdir() if handle.is_symlink()]
        assert str(tmp_path / "cards.db") not in opened


def test_a_card_written_by_a_newer_version_is_refused(shop: Shop):
    storage = shop.bill.storage
    pin = shop.pin()

    def newer(view: Any) -> Any:
        row = view.card._replace(version=view.card.version + 1, format=99)
        return cardbill.storage.contract.Step(None, row)

    storage.transact("B/1", newer)
    before = rows(storage)
    for use in (
        lambda: shop.bill.authenticate(pin=pin),
        lambda: shop.bill.authorize(pin=pin, to=UK, call_id="c1"),
        lambda: shop.bill.card("B/1"),
    ):
        with pytest.raises(SchemaTooNew, match="format 99"):
            use()
    assert rows(storage) == before


# -- bad input ----------------------------------------------------------------------------------


def make_batch(**terms: Any) -> Batch:
    return Batch(**{"name": "X", "face_value": Money(5, USD), "quantity": 1, **terms})


def make_plan(**terms: Any) -> Plan:
    return Plan(**{"name": "X", "deck": "retail", "currency": USD, **terms})


@pytest.mark.parametrize(
    ("error", "field", "terms"),
    [
        (MissingFields, "batch", {"name": "", "face_value": None, "quantity": None}),
        (InvalidInput, "name", {"name": " X"}),
        (InvalidInput, "name", {"name": "a/b"}),
        (InvalidInput, "name", {"name": "a\nb"}),
        (InvalidInput, "name", {"name": "x" * 65}),
        (InvalidInput, "name", {"name": 5}),
        (InvalidInput, "face_value", {"face_value": 5}),
        (InvalidInput, "face_value", {"face_value": 5.0}),
        (InvalidInput, "face_value", {"face_value": "5"}),
        (InvalidInput, "face_value", {"face_value": Money(0, USD)}),
        (InvalidInput, "face_value", {"face_value": Money(-5, USD)}),
        (InvalidInput, "face_value", {"face_value": Money("NaN", USD)}),
        (InvalidInput, "face_value", {"face_value": Money("Infinity", USD)}),
        (InvalidInput, "face_value", {"face_value": Money(10**13, USD)}),
        (InexactAmount, "face_value", {"face_value": Money("5.001", USD)}),
        (InexactAmount, "face_value", {"face_value": Money("0.5", JPY)}),
        (InexactAmount, "face_value", {"face_value": Money(0.1 + 0.2, USD)}),
        (InvalidInput, "quantity", {"quantity": 0}),
        (InvalidInput, "quantity", {"quantity": -1}),
        (InvalidInput, "quantity", {"quantity": True}),
        (InvalidInput, "quantity", {"quantity": 1e3}),
        (InvalidInput, "quantity", {"quantity": "10"}),
        (InvalidInput, "quantity", {"quantity": 100_000_001}),
        (InvalidInput, "pin_length", {"pin_length": 7}),
        (InvalidInput, "pin_length", {"pin_length": 21}),
        (InvalidInput, "pin_length", {"pin_length": 12.0}),
        (InvalidInput, "pin_length", {"pin_length": True}),
        (InvalidInput, "expires_days_after_first_use", {"expires_days_after_first_use": -1}),
        (InvalidInput, "expires_days_after_first_use", {"expires_days_after_first_use": 1.5}),
        (InvalidInput, "expires_days_after_first_use", {"expires_days_after_first_use": 40_000}),
        (InvalidInput, "effective_date", {"effective_date": "2025-01-01"}),
        (InvalidInput, "effective_date", {"effective_date": START}),
        (InvalidInput, "effective_date", {"effective_date": date(1, 1, 1)}),
        (InvalidInput, "expiration_date", {"expiration_date": date.max}),
        (
            InvalidInput,
            "expiration_date",
            {"effective_date": date(2025, 2, 1), "expiration_date": date(2025, 1, 31)},
        ),
        (InvalidInput, "time_zone", {"time_zone": "Mars/Olympus"}),
        (InvalidInput, "time_zone", {"time_zone": ""}),
        (InvalidInput, "time_zone", {"time_zone": "../../etc/passwd"}),
        (InvalidInput, "time_zone", {"time_zone": None}),
        (InvalidInput, "time_zone", {"time_zone": 1.5}),
        (InvalidInput, "first_use", {"first_use": "never"}),
        (InvalidInput, "taxable", {"taxable": 1}),
        (MissingFields, "taxable batch", {"taxable": True}),
        (InvalidInput, "plan", {"plan": 5}),
    ],
)
def test_batch_terms_that_cannot_be_used_are_named(
    error: type[InvalidInput], field: str, terms: dict[str, Any]
):
    with pytest.raises(error) as refused:
        make_batch(**terms)
    assert refused.value.field == field
    assert field in str(refused.value)


@pytest.mark.parametrize(
    ("error", "field", "terms"),
    [
        (MissingFields, "plan", {"name": "", "deck": "", "currency": ""}),
        (InvalidInput, "currency", {"currency": "XYZ1"}),
        (InvalidInput, "currency", {"currency": 5}),
        (InvalidInput, "max_call_seconds", {"max_call_seconds": 0}),
        (InvalidInput, "max_call_seconds", {"max_call_seconds": -1}),
        (InvalidInput, "max_call_seconds", {"max_call_seconds": 60.0}),
        (InvalidInput, "max_call_seconds", {"max_call_seconds": 2_678_401}),
        (InvalidInput, "calls_at_once", {"calls_at_once": 0}),
        (InvalidInput, "calls_at_once", {"calls_at_once": True}),
        (InvalidInput, "calls_at_once", {"calls_at_once": 1.0}),
        (FloatRefused, "minimum_balance", {"minimum_balance": 1.5}),
        (WrongCurrency, "minimum_balance", {"minimum_balance": Money(1, EUR)}),
        (InvalidInput, "minimum_balance", {"minimum_balance": Money(-1, USD)}),
        (InexactAmount, "minimum_balance", {"minimum_balance": Money("0.0000001", USD)}),
        (InvalidInput, "billing_cycle", {"billing_cycle": "monthly"}),
        (InvalidInput, "language", {"language": 1.5}),
    ],
)
def test_plan_terms_that_cannot_be_used_are_named(
    error: type[InvalidInput], field: str, terms: dict[str, Any]
):
    with pytest.raises(error) as refused:
        make_plan(**terms)
    assert refused.value.field == field
    assert field in str(refused.value)


@pytest.mark.parametrize("minimum", [2, Decimal("2.50"), "2.50", Money("2.50", USD)])
def test_a_minimum_balance_that_a_plan_takes_can_be_published(shop: Shop, minimum: Any):
    plan = make_plan(minimum_balance=minimum)
    shop.bill.plans.publish(plan)
    assert shop.second().plans.get("X").minimum_units == plan.minimum_units


@pytest.mark.parametrize("unit", ["fortnights", None, 1.5])
def test_a_billing_cycle_that_cannot_be_used_is_named(unit: Any):
    with pytest.raises(InvalidInput) as refused:
        BillingCycle(unit=unit)
    assert "unit" in refused.value.field


def test_a_name_is_used_once(shop: Shop):
    before = rows(shop.bill.storage)
    with pytest.raises(DuplicateName, match="'B'"):
        shop.bill.batches.create(make_batch(name="B"))
    assert rows(shop.bill.storage) == before


def test_unknown_names_are_named(shop: Shop):
    bill, before = shop.bill, rows(shop.bill.storage)
    for kind, use in (
        ("batch", lambda: bill.batches.get("nope")),
        ("batch", lambda: bill.batches.assign("nope", plan="Basic")),
        ("batch", lambda: bill.batches.generate_pins("nope")),
        ("batch", lambda: bill.batches.pins("nope")),
        ("batch", lambda: bill.batches.export("nope", shop.folder / "x.csv")),
        ("batch", lambda: bill.reports.utilisation("nope")),
        ("plan", lambda: bill.batches.assign("B", plan="nope")),
        ("plan", lambda: bill.batches.create(make_batch(plan="nope"))),
        ("plan", lambda: bill.plans.get("nope")),
        ("deck", lambda: bill.plans.publish(make_plan(deck="nope"))),
        ("deck", lambda: bill.carriers.publish(Carrier(name="x", deck="nope"))),
        ("deck", lambda: bill.decks.get("nope")),
        ("carrier", lambda: bill.carriers.get("nope")),
        ("card", lambda: bill.card("nope")),
        ("card", lambda: list(bill.entries("nope"))),
        ("card", lambda: bill.batches.reveal("nope", actor="a", reason="r")),
    ):
        with pytest.raises(UnknownName) as refused:
            use()
        assert refused.value.kind == kind
        # What can be no card id may be a PIN, so it is not repeated.
        assert refused.value.name == ("" if kind == "card" else "nope")
    assert not (shop.folder / "x.csv").exists()
    assert rows(bill.storage) == before


def test_currencies_do_not_mix(shop: Shop):
    bill = shop.bill
    bill.decks.publish("euro", deck("prefix,rate\n44,0.05\n", EUR))
    bill.plans.publish(Plan(name="Euro", deck="euro", currency=EUR))
    before = rows(bill.storage)
    with pytest.raises(WrongCurrency, match="currency"):
        bill.plans.publish(make_plan(deck="euro"))
    with pytest.raises(WrongCurrency, match="deck"):
        bill.decks.publish("retail", deck("prefix,rate\n44,0.05\n", EUR))
    with pytest.raises(PlanRefused, match="EUR"):
        bill.batches.assign("B", plan="Euro")
    with pytest.raises(PlanRefused, match="EUR"):
        bill.batches.create(make_batch(plan="Euro"))
    assert rows(bill.storage) == before
    # A carrier that charges in another currency is left out of the routes.
    bill.decks.publish("euro-cost", deck("prefix,rate\n44,0.0001\n", EUR))
    bill.carriers.publish(Carrier(name="euro", deck="euro-cost"))
    grant = shop.grant()
    assert [route.carrier for route in grant.routes] == ["acme", "beta"]
    assert ("euro", "currency") in grant.refused_routes


def test_a_plan_billed_on_demand_is_refused_for_cards(shop: Shop):
    shop.bill.plans.publish(make_plan(name="Shop", billing_cycle=BillingCycle(unit="on_demand")))
    before = rows(shop.bill.storage)
    with pytest.raises(PlanRefused, match="on demand"):
        shop.bill.batches.assign("B", plan="Shop")
    with pytest.raises(PlanRefused, match="on demand"):
        shop.bill.batches.create(make_batch(plan="Shop"))
    assert rows(shop.bill.storage) == before


def test_a_batch_with_cards_in_use_keeps_its_plan(shop: Shop):
    shop.bill.plans.publish(make_plan(name="Other"))
    shop.bill.batches.assign("B", plan="Other")  # nothing is in use yet
    shop.bill.cancel(shop.grant().handle)
    before = rows(shop.bill.storage)
    with pytest.raises(TermsLocked, match="'Other'"):
        shop.bill.batches.assign("B", plan="Basic")
    shop.bill.batches.assign("B", plan="Other")  # what it has already
    assert rows(shop.bill.storage) == before


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("44,0.0000001", "inexact"),
        ("44,-1", "invalid"),
        ("44,1e-3", "invalid"),
        ("44,nan", "invalid"),
        ('44,"0,06"', "invalid"),
        ("4x,0.06", "invalid"),
        ("1.23E+11,0.06", "invalid"),
        ("1234567890123456,0.06", "invalid"),
        ("44,", "missing"),
        (",0.06", "missing"),
    ],
)
def test_a_deck_with_unusable_prices_or_prefixes_is_refused(shop: Shop, text: str, code: str):
    before = rows(shop.bill.storage)
    with pytest.raises(DeckRefused) as refused:
        shop.publish_retail(f"prefix,rate\n1,0.01\n{text}\n")
    (problem,) = refused.value.problems
    assert (problem.line, problem.code) == (3, code)
    assert rows(shop.bill.storage) == before


NAIVE = START.replace(tzinfo=None)


@pytest.mark.parametrize("at", [NAIVE, "2025-03-03", date(2025, 3, 3), 1_740_000_000, 1.5])
def test_an_instant_without_a_zone_is_refused_everywhere(shop: Shop, at: Any):
    bill, grant, pin = shop.bill, shop.grant(), shop.pin(2)
    before = rows(bill.storage)
    for use in (
        lambda: bill.authenticate(pin=pin, at=at),
        lambda: bill.authorize(pin=pin, to=UK, call_id="c2", at=at),
        lambda: bill.settle(grant.handle, talk_ms=0, at=at),
        lambda: bill.cancel(grant.handle, at=at),
        lambda: bill.sweep(at=at),
        lambda: bill.card("B/1", at=at),
        lambda: bill.batches.pins("B", at=at),
        lambda: bill.batches.export("B", shop.folder / "x.csv", at=at),
        lambda: bill.reports.utilisation("B", at=at),
        lambda: bill.settle(grant.handle, answered_at=at, ended_at=START),
        lambda: bill.settle(grant.handle, answered_at=START, ended_at=at),
        lambda: DeckRow(prefix="44", rate=cardbill.rate("0.06"), effective_from=at),
    ):
        with pytest.raises(InvalidInput) as refused:
            use()
        assert refused.value.field in ("at", "answered_at", "ended_at", "effective_from")
    assert rows(bill.storage) == before
    assert not (shop.folder / "x.csv").exists()


def test_a_clock_without_a_zone_is_named(shop: Shop):
    careless = shop.second(clock=lambda: NAIVE)
    with pytest.raises(InvalidInput, match="clock"):
        careless.authenticate(pin=shop.pin())


@pytest.mark.parametrize(
    "at",
    [
        datetime(9999, 12, 31, 23, 59, tzinfo=UTC),
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-12))),
        datetime.min.replace(tzinfo=timezone(timedelta(hours=12))),
    ],
)
def test_an_instant_at_the_end_of_time_is_no_crash(shop: Shop, at: datetime):
    before = rows(shop.bill.storage)
    try:
        shop.ask(at=at)
    except CardbillError:
        assert rows(shop.bill.storage) == before


@pytest.mark.parametrize(
    "call_id", ["", " ", "a b", "a\nb", "é", "x" * 129, "\x7f", None, 5, 1.5, True, b"c1"]
)
def test_a_call_id_that_cannot_be_used_is_refused(shop: Shop, call_id: Any):
    before = rows(shop.bill.storage)
    with pytest.raises(InvalidInput) as refused:
        shop.bill.authorize(pin=shop.pin(), to=UK, call_id=call_id)
    assert refused.value.field == "call_id"
    assert rows(shop.bill.storage) == before


def test_caller_and_pin_are_given_one_at_a_time(shop: Shop):
    caller = shop.bill.authenticate(pin=shop.pin())
    both: dict[str, Any] = {"caller": caller, "pin": shop.pin()}
    for given in ({}, both):
        with pytest.raises(InvalidInput) as refused:
            shop.bill.authorize(to=UK, call_id="c1", **given)
        assert refused.value.field == "caller"
        assert shop.pin() not in str(refused.value)


@pytest.mark.parametrize("pin", [123_456_789_012, 1.5, True, b"123456789012", ["1234"]])
def test_a_pin_that_is_no_text_is_refused_and_not_repeated(shop: Shop, pin: Any):
    for use in (
        lambda: shop.bill.authenticate(pin=pin),
        lambda: shop.bill.authorize(pin=pin, to=UK, call_id="c1"),
    ):
        with pytest.raises(InvalidInput) as refused:
            use()
        assert refused.value.field == "pin"
        assert refused.value.value is None
        assert "1234" not in repr(refused.value)


@pytest.mark.parametrize(
    ("name", "use"),
    [
        ("max_duration", lambda: cardbill.max_duration(cardbill.rate("0.06"), 1e6)),  # type: ignore[arg-type]
        ("cap", lambda: cardbill.max_duration(cardbill.rate("0.06"), 10**6, 1.5)),  # type: ignore[arg-type]
        ("price", lambda: cardbill.price(cardbill.rate("0.06"), 1.5)),  # type: ignore[arg-type]
        ("rate", lambda: cardbill.rate(0.06)),
        ("grace", lambda: cardbill.rate("0.06", grace_seconds=1.5)),  # type: ignore[arg-type]
        ("step", lambda: cardbill.Step(0, 1.5, 1)),  # type: ignore[arg-type]
        ("rounding", lambda: cardbill.Rounding(1.5)),  # type: ignore[arg-type]
        (
            "shortest",
            lambda: cardbill.DialPlan(country_code="1", international_prefix="011", shortest=7.5),  # type: ignore[arg-type]
        ),
        ("prefix", lambda: DeckRow(prefix=44.0, rate=cardbill.rate("0.06"))),  # type: ignore[arg-type]
        ("key version", lambda: Keyring(lookup={1.0: b"x" * 32}, audit={1: b"x" * 32})),  # type: ignore[dict-item]
        ("carrier", lambda: Carrier(name=1.5, deck="x")),  # type: ignore[arg-type]
    ],
)
def test_floats_are_refused_by_name(name: str, use: Any):
    with pytest.raises(InvalidInput):
        use()


@pytest.mark.parametrize(
    "use",
    [
        lambda shop: shop.bill.batches.pins("B", limit=1.5),
        lambda shop: shop.bill.batches.pins("B", after=1.5),
        lambda shop: shop.bill.batches.pins("B", status=1.5),
        lambda shop: shop.bill.batches.generate_pins("C", job=1.5),
        lambda shop: shop.bill.batches.generate_pins("C", max_guess_probability=0.1),
        lambda shop: shop.bill.batches.reveal("B/1", actor=1.5, reason="r"),
        lambda shop: shop.bill.batches.export("B", 1.5),
        lambda shop: shop.bill.decks.publish(1.5, deck(RETAIL)),
        lambda shop: shop.bill.decks.publish("x", 1.5),
        lambda shop: shop.bill.plans.publish(1.5),
        lambda shop: shop.bill.carriers.publish(1.5),
        lambda shop: shop.bill.batches.create(1.5),
        lambda shop: shop.bill.authorize(1.5, to=UK, call_id="c1"),
        lambda shop: shop.bill.settle(1.5, talk_ms=0),
        lambda shop: shop.bill.cancel(1.5),
    ],
)
def test_floats_are_refused_by_every_method(shop: Shop, use: Any):
    shop.bill.batches.create(make_batch(name="C"))
    before = rows(shop.bill.storage)
    with pytest.raises(InvalidInput):
        use(shop)
    assert rows(shop.bill.storage) == before


def test_a_number_that_is_no_text_is_an_invalid_number(shop: Shop):
    for to in (442071234567, 1.5, None, b"44"):
        assert shop.denied(to=to) == "invalid_number"


def test_the_digits_of_an_invalid_number_are_not_repeated(shop: Shop):
    denied = shop.ask(to="5551239")
    assert isinstance(denied, Denied)
    assert "5551239" not in repr(denied)
    assert "7" in denied.detail  # how many digits, though


@pytest.mark.parametrize(
    "use",
    [
        lambda bill, text: bill.card(text),
        lambda bill, text: list(bill.entries(text)),
        lambda bill, text: list(bill.records(card_id=text)),
        lambda bill, text: bill.batches.get(text),
        lambda bill, text: bill.batches.reveal("B/1", actor=text, reason="r"),
        lambda bill, text: bill.batches.reveal("B/1", actor="a", reason=text),
        lambda bill, text: bill.batches.generate_pins("B", job=text),
        lambda bill, text: bill.authenticate(pin=text, ani=text),
    ],
    ids=["card", "entries", "records", "batch", "actor", "reason", "job", "caller"],
)
def test_text_that_no_store_can_keep_is_no_crash(shop: Shop, use: Any):
    """Undecodable bytes become lone surrogates in Python; they come from shells and switches."""
    before = rows(shop.bill.storage)["cards"]
    with suppress(CardbillError):
        use(shop.bill, "B/1\udcff")
    assert rows(shop.bill.storage)["cards"] == before


def test_stored_instants_are_exact(shop: Shop):
    at = START + timedelta(microseconds=1)
    shop.grant(at=at)
    assert shop.bill.card("B/1", at=at).first_used_at == at
    assert shop.bill.storage.view("B/1").card.first_used_at == to_micros(at)
