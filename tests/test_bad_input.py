"""What cannot be used is refused by name, and changes nothing."""

from contextlib import suppress
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from moneyed import EUR, JPY, USD, Money

import cardbill
from cardbill import Batch, BillingCycle, Carrier, DeckRow, Denied, Keyring, Plan
from cardbill.errors import (
    CardbillError,
    DeckRefused,
    DuplicateName,
    FloatRefused,
    InexactAmount,
    InvalidInput,
    MissingFields,
    PlanRefused,
    TermsLocked,
    UnknownName,
    WrongCurrency,
)
from cardbill.instants import to_micros
from tests.building import RETAIL, START, UK, Shop, deck, rows


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
        assert ("like SUMMER-5/123" in str(refused.value)) == (kind == "card")
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
