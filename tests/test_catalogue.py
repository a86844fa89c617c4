"""What is published reads back as it was, and a process sees one revision of it at a time."""

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given, settings, strategies as st
from moneyed import Money

from cardbill import (
    AccessNumber,
    Batch,
    BillingCycle,
    Carrier,
    CycleUnit,
    Deck,
    DeckRow,
    DestinationGroup,
    DialPlan,
    ExchangeRate,
    ExchangeRates,
    FirstUse,
    Plan,
    Rebind,
    RouteOrder,
    Routing,
    Unauthorised,
    Unreported,
    Validity,
    rate,
)
from cardbill.catalogue import NotLoaded, Snapshot
from cardbill.catalogueitems import ACCESS, BATCH, CARRIER, DECK, EXCHANGE, PLAN, decode, encode
from cardbill.errors import RowUnreadable, SchemaTooNew, UnknownName
from cardbill.money import MAX_UNITS, coin, money
from cardbill.names import check_name

# -- items ----------------------------------------------------------------------------------

names = st.text(min_size=1, max_size=64).filter(
    lambda text: text.isprintable() and text == text.strip() and "/" not in text
)
currencies = st.sampled_from(["USD", "EUR", "JPY", "KWD", "CLF", "XAF", "UGX"])
dates = st.none() | st.dates(date(1970, 1, 1), date(9990, 12, 31))


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    currency = draw(currencies)
    coins = draw(st.integers(1, 100_000) | st.integers(1, MAX_UNITS // coin(currency)))
    first, last = draw(dates), draw(dates)
    if first and last:
        first, last = sorted((first, last))
    return Batch(
        name=draw(names),
        face_value=money(coins * coin(currency), currency),
        quantity=draw(st.integers(1, 100_000_000)),
        effective_date=first,
        expiration_date=last,
        expires_days_after_first_use=draw(st.none() | st.integers(0, 36_525)),
        taxable=draw(st.booleans()),
        tax_jurisdiction=draw(names),
        pin_length=draw(st.integers(8, 20)),
        pin_luhn=draw(st.booleans()),
        card_numbers=draw(st.none() | st.text("0123456789", min_size=1, max_size=9)),
        first_use=draw(st.sampled_from(FirstUse)),
        validity=draw(st.sampled_from(Validity)),
        sold_first=draw(st.booleans()),
        time_zone=draw(st.sampled_from(["UTC", "America/Sao_Paulo", "Asia/Kathmandu"])),
        plan=draw(st.none() | names),
    )


percentages = st.none() | st.integers(0, 1_000_000).map(lambda ppm: Decimal(f"{ppm}E-4"))


@st.composite
def policies(draw: st.DrawFn, currency: str) -> Routing:
    minimum = draw(st.none() | st.integers(0, MAX_UNITS))
    return Routing(
        order=draw(st.sampled_from(RouteOrder)),
        most_routes=draw(st.integers(1, 10)),
        cost_weight=draw(st.integers(1, 1_000)),
        quality_weight=draw(st.integers(0, 1_000)),
        minimum_margin=None if minimum is None else money(minimum, currency),
        minimum_margin_percent=draw(percentages),
    )


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    currency = draw(currencies)
    unit = draw(st.sampled_from(CycleUnit))
    countless = unit in (CycleUnit.NEVER, CycleUnit.ON_DEMAND)
    minimum = draw(st.none() | st.integers(0, 10**9) | st.integers(0, MAX_UNITS))
    return Plan(
        name=draw(names),
        currency=currency,
        deck=draw(names),
        billing_cycle=BillingCycle(
            unit=unit, count=1 if countless else draw(st.integers(1, 1_000)), anchor=draw(dates)
        ),
        max_call_seconds=draw(st.none() | st.integers(1, 31 * 86_400)),
        calls_at_once=draw(st.integers(1, 100)),
        minimum_balance=None if minimum is None else money(minimum, currency),
        slice_seconds=draw(st.none() | st.integers(10, 86_400)),
        unreported_calls=draw(st.sampled_from(Unreported)),
        unauthorised_calls=draw(st.sampled_from(Unauthorised)),
        language=draw(st.sampled_from([None, "en", "de-CH", "zh-Hans"])),
        ani_limit=draw(st.integers(0, 50)),
        ani_confirm=draw(st.booleans()),
        ani_rebind=draw(st.sampled_from(Rebind)),
        routing=draw(policies(currency)),
    )


prefixes = st.text("0123456789", min_size=1, max_size=15)
sent = st.text("0123456789*#+", max_size=20)
carriers = st.builds(
    Carrier,
    name=names,
    deck=names,
    rewrites=st.dictionaries(prefixes, sent, max_size=3),
    tech_prefix=sent,
    capacity=st.none() | st.integers(0, 1_000_000),
    priority=st.integers(0, 1_000),
    weight=st.integers(0, 1_000),
    asr_percent=percentages,
    acd_seconds=st.none() | st.integers(1, 86_400),
    blocked_prefixes=st.lists(prefixes, max_size=3),
)
exchanges = st.builds(
    ExchangeRates,
    base=st.just("USD"),
    rates=st.lists(
        st.builds(
            ExchangeRate,
            st.sampled_from(["EUR", "JPY", "KWD"]),
            st.integers(1, MAX_UNITS).map(lambda parts: Decimal(f"{parts}E-9")),
            effective_from=st.none() | st.datetimes(timezones=st.just(UTC)),
        ),
        max_size=5,
        unique_by=lambda one: (one.currency, one.effective_from),
    ),
)


groups = st.builds(
    DestinationGroup,
    name=names.filter(lambda name: not name.isdigit()),
    prefixes=st.lists(st.sampled_from(["1", "44", "3372"]), min_size=1),
    excluding=st.just(()),
)


@given(batches() | plans() | carriers | groups)
@example(DestinationGroup(name="g", prefixes=("44", "447"), excluding=("4474",)))
@example(Plan(name="p", currency="USD", deck="d", barred=("1900", "premium")))
@example(Plan(name="p", currency="USD", deck="d", minimum_balance=Money(0, "USD")))
def test_what_is_written_reads_back_as_it_was(item: Batch | Plan | Carrier | DestinationGroup):
    kind, name, content = encode(item)
    back = decode(kind, content)
    assert back == item
    assert type(back) is type(item)
    assert name == item.name
    assert type(item).__name__.lower().endswith(kind)
    assert encode(back) == (kind, name, content)  # equal items are equal bytes


@given(exchanges)
def test_exchange_rates_read_back_as_they_were(exchange: ExchangeRates):
    kind, name, content = encode(exchange)
    assert (kind, name) == (EXCHANGE, "rates")
    assert decode(kind, content) == exchange
    assert encode(exchange) == encode(ExchangeRates(base="USD", rates=exchange.rates[::-1]))


@given(st.lists(st.text("0123", min_size=1, max_size=15), min_size=1, max_size=8, unique=True))
@settings(max_examples=30)
def test_a_deck_reads_back_as_it_was_and_has_no_name_of_its_own(prefixes: list[str]):
    rows = [DeckRow(prefix=p, rate=rate(n), destination=p) for n, p in enumerate(prefixes)]
    deck = Deck.compile(rows, currency="KWD")
    kind, name, content = encode(deck)
    back = decode(kind, content)
    assert (kind, name) == (DECK, "")
    assert isinstance(back, Deck)
    assert list(back.rows()) == sorted(rows, key=lambda row: row.prefix)
    assert back.currency == "KWD"


STORED = {
    BATCH: b'{"format":1,"name":"SUMMER-5","face_value":[5000000,"USD"],"quantity":1000,'
    b'"effective_date":"2024-02-29","expiration_date":null,"expires_days_after_first_use":90,'
    b'"taxable":true,"tax_jurisdiction":"US-FL","pin_length":14,"pin_luhn":true,"card_numbers":"88001","first_use":"authentication",'
    b'"time_zone":"America/New_York","plan":"Hello World"}',
    PLAN: b'{"format":1,"name":"Hello World","currency":"USD","deck":"retail",'
    b'"billing_cycle":["months",12000,"2024-01-31"],"max_call_seconds":3600,'
    b'"calls_at_once":2,"minimum_balance":[100000,"USD"],"language":"es",'
    b'"ani_limit":3,"ani_confirm":false,"ani_rebind":"move"}',
    CARRIER: b'{"format":1,"name":"acme","deck":"acme-cost"}',
    ACCESS: b'{"format":1,"number":"442033330000","stage":"one","language":"en","dial_plan":'
    b'{"country_code":"44","international_prefix":"00","national_prefix":"0",'
    b'"national_lengths":[9,10],"shortest":8},"pin_length":12,"kind":"toll_free",'
    b'"credential":"pin"}',
    EXCHANGE: b'{"format":1,"base":"USD","rates":[["EUR","1.083700000",1700000000000000],'
    b'["KWD","3.250000000",null]]}',
}


def test_items_stored_in_format_1_can_be_read_for_ever():
    assert {kind: decode(kind, content) for kind, content in STORED.items()} == {
        BATCH: Batch(
            name="SUMMER-5",
            face_value=Money(5, "USD"),
            quantity=1_000,
            effective_date=date(2024, 2, 29),
            expires_days_after_first_use=90,
            taxable=True,
            tax_jurisdiction="US-FL",
            pin_length=14,
            pin_luhn=True,
            card_numbers="88001",
            first_use=FirstUse.AUTHENTICATION,
            time_zone="America/New_York",
            plan="Hello World",
        ),
        PLAN: Plan(
            name="Hello World",
            currency="USD",
            deck="retail",
            billing_cycle=BillingCycle(
                unit=CycleUnit.MONTHS, count=12_000, anchor=date(2024, 1, 31)
            ),
            max_call_seconds=3_600,
            calls_at_once=2,
            minimum_balance=Money("0.10", "USD"),
            language="es",
            ani_limit=3,
            ani_confirm=False,
            ani_rebind="move",
        ),
        CARRIER: Carrier(name="acme", deck="acme-cost"),
        ACCESS: AccessNumber(
            number="442033330000",
            stage="one",
            dial_plan=DialPlan(
                country_code="44",
                international_prefix="00",
                national_prefix="0",
                national_lengths=(9, 10),
                shortest=8,
            ),
            pin_length=12,
            kind="toll_free",
        ),
        EXCHANGE: ExchangeRates(
            base="USD",
            rates=[
                ExchangeRate(
                    "EUR",
                    "1.0837",
                    effective_from=datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC),
                ),
                ExchangeRate("KWD", "3.25"),
            ],
        ),
    }


def test_carriers_and_plans_have_all_their_terms_in_format_1():
    carrier = Carrier(
        name="acme",
        deck="cost",
        rewrites={"1": "", "44": "0"},
        tech_prefix="9#",
        capacity=30,
        priority=1,
        weight=7,
        asr_percent="45.5",
        acd_seconds=212,
        blocked_prefixes=["882"],
    )
    stored = (
        b'{"format":1,"name":"acme","deck":"cost","rewrites":{"44":"0","1":""},'
        b'"tech_prefix":"9#","capacity":30,"priority":1,"weight":7,"asr_percent":"45.5000",'
        b'"acd_seconds":212,"blocked_prefixes":["882"]}'
    )
    assert encode(carrier) == (CARRIER, "acme", stored)
    routing = Routing(
        order=RouteOrder.BLEND,
        most_routes=3,
        cost_weight=2,
        minimum_margin=Money("0.01", "USD"),
        minimum_margin_percent="12.5",
    )
    _, _, content = encode(Plan(name="p", currency="USD", deck="d", routing=routing))
    assert json.loads(content)["routing"] == {
        "order": "blend",
        "most_routes": 3,
        "cost_weight": 2,
        "quality_weight": 1,
        "minimum_margin": [10_000, "USD"],
        "minimum_margin_percent": "12.5000",
    }


def test_money_is_stored_as_whole_ledger_units():
    _, _, content = encode(Batch(name="b", face_value=Money("0.010", "USD"), quantity=1))
    assert json.loads(content)["face_value"] == [10_000, "USD"]
    assert b"." not in content.replace(b"None", b"")


@pytest.mark.parametrize(
    "item", [None, "text", 5, {"name": "x"}, DeckRow(prefix="1", rate=rate(1))]
)
def test_what_is_no_item_of_the_catalogue_is_not_kept(item: Any):
    with pytest.raises(TypeError):
        encode(item)


@pytest.mark.parametrize("kind", [BATCH, PLAN, CARRIER, ACCESS, EXCHANGE])
def test_what_a_newer_version_wrote_is_refused_as_that(kind: str):
    with pytest.raises(SchemaTooNew):
        decode(kind, b'{"format":2,"name":"x","surprise":1}')


def test_a_deck_of_a_newer_version_is_refused_as_that():
    content = Deck.compile([DeckRow(prefix="1", rate=rate(1))], currency="USD").to_bytes()
    with pytest.raises(SchemaTooNew):
        decode(DECK, content.replace(b"cardbill-deck/2\n", b"cardbill-deck/3\n"))


DAMAGED = [b"", b"\0\1\2", b"{", b"{}", b"[]", b"null", b'{"format":1}', b'{"format":1,"x":2}']


@pytest.mark.parametrize("kind", [BATCH, PLAN, CARRIER, ACCESS, EXCHANGE, DECK])
def test_a_damaged_item_is_told_from_one_of_a_newer_version(kind: str):
    for content in DAMAGED:
        with pytest.raises(RowUnreadable):
            decode(kind, content)


@given(names)
def test_the_names_drawn_here_are_names(name: str):
    assert check_name("name", name) == name


# -- snapshots ------------------------------------------------------------------------------

RETAIL = [
    Deck.compile([DeckRow(prefix="1", rate=rate(price))], currency="USD") for price in (1, 2, 3)
]


def plan(calls: int) -> Plan:
    return Plan(name="Hello", currency="USD", deck="retail", calls_at_once=calls)


def put(snapshot: Snapshot, item: Batch | Plan | Carrier | Deck, version: int, name: str) -> None:
    kind, _, content = encode(item)
    snapshot.put(kind, name, version, content)


def filled() -> Snapshot:
    """Plan and deck at version 2, both versions loaded."""
    snapshot = Snapshot(7, {(PLAN, "Hello"): 2, (DECK, "retail"): 2, (CARRIER, "acme"): 1})
    for version in (1, 2):
        put(snapshot, plan(version), version, "Hello")
        put(snapshot, RETAIL[version - 1], version, "retail")
    put(snapshot, Carrier(name="acme", deck="retail"), 1, "acme")
    return snapshot


def price(deck: Deck) -> int:
    match = deck.match("13055551234", datetime(2024, 6, 1, tzinfo=UTC))
    assert match is not None
    return match.rate.steps[0].price_per_minute // 1_000_000


def test_a_name_that_nothing_has_is_unknown():
    snapshot = filled()
    lookups: dict[str, Callable[[str], object]] = {
        BATCH: snapshot.batch,
        PLAN: snapshot.plan,
        DECK: snapshot.deck,
        CARRIER: snapshot.carrier,
    }
    for kind, look_up in lookups.items():
        with pytest.raises(UnknownName) as caught:
            look_up("nothing")
        assert (caught.value.kind, caught.value.name) == (kind, "nothing")
        assert snapshot.version(kind, "nothing") == 0
    with pytest.raises(UnknownName):
        snapshot.plan("retail")  # a deck's name is no plan's


def test_what_is_not_here_yet_is_asked_for_by_kind_name_and_version():
    snapshot = Snapshot(1, {(PLAN, "Hello"): 3})
    for version, asked in ((None, 3), (2, 2)):
        with pytest.raises(NotLoaded) as caught:
            snapshot.plan("Hello", version)
        told = caught.value
        assert (told.kind, told.name, told.version) == (PLAN, "Hello", asked)
    put(snapshot, plan(9), 3, "Hello")
    assert snapshot.plan("Hello").calls_at_once == 9
    with pytest.raises(NotLoaded):
        snapshot.plan("Hello", 2)


def test_the_newest_version_counts_unless_another_is_asked_for():
    snapshot = filled()
    assert snapshot.plan("Hello").calls_at_once == 2
    assert snapshot.plan("Hello", 1).calls_at_once == 1
    assert price(snapshot.deck("retail")) == 2
    assert price(snapshot.deck("retail", 1)) == 1


def test_names_of_a_kind_are_sorted():
    heads = {(PLAN, "b"): 1, (PLAN, "B"): 1, (PLAN, "a"): 4, (DECK, "0"): 1}
    assert Snapshot(1, heads).names(PLAN) == ["B", "a", "b"]
    assert Snapshot(1, heads).names(BATCH) == []


def test_a_later_snapshot_forgets_decks_that_are_no_longer_newest_and_nothing_else():
    before = filled()
    after = before.moved_to(8, {(DECK, "retail"): 3})
    assert after.revision == 8
    with pytest.raises(NotLoaded) as caught:
        after.deck("retail")
    assert caught.value.version == 3
    for version in (1, 2):
        with pytest.raises(NotLoaded):
            after.deck("retail", version)
        assert after.plan("Hello", version).calls_at_once == version
    assert after.carrier("acme").deck == "retail"
    assert price(before.deck("retail")) == 2  # the earlier one is as it was
    assert before.revision == 7


def test_a_later_snapshot_keeps_a_deck_that_is_still_newest():
    after = filled().moved_to(8, {(PLAN, "Hello"): 3})
    assert price(after.deck("retail")) == 2
    assert after.version(PLAN, "Hello") == 3
    assert after.version(DECK, "retail") == 2
    with pytest.raises(NotLoaded):
        after.deck("retail", 1)


def test_exchange_rates_are_followed_in_their_newest_version():
    snapshot = Snapshot(1, {})
    assert snapshot.exchange("EUR").currencies == {"EUR"}  # nothing published
    for version, worth in ((1, "1.1"), (2, "1.2")):
        exchange = ExchangeRates(base="USD", rates=[ExchangeRate("EUR", worth)])
        snapshot = snapshot.moved_to(version, {(EXCHANGE, "rates"): version})
        with pytest.raises(NotLoaded):
            snapshot.exchange("EUR")
        snapshot.put(*encode(exchange)[:2], version, encode(exchange)[2])
        assert snapshot.exchange("EUR") == snapshot.exchange("GBP") == exchange
    back = snapshot.moved_to(3, {(EXCHANGE, "rates"): 1})
    with pytest.raises(NotLoaded):  # older ones, each with all its dates, do not pile up
        back.exchange("EUR")


def test_an_older_deck_can_be_loaded_again_for_a_call_of_then():
    after = filled().moved_to(8, {(DECK, "retail"): 3})
    put(after, RETAIL[0], 1, "retail")
    assert price(after.deck("retail", 1)) == 1
    put(after, RETAIL[2], 3, "retail")
    assert price(after.deck("retail")) == 3


def test_what_is_loaded_into_one_snapshot_is_not_in_another():
    before = Snapshot(1, {(PLAN, "Hello"): 1})
    after = before.moved_to(2, {})
    put(after, plan(1), 1, "Hello")
    assert after.plan("Hello").calls_at_once == 1
    with pytest.raises(NotLoaded):
        before.plan("Hello")


def test_heads_are_taken_over_and_not_shared():
    heads = {(PLAN, "Hello"): 1}
    snapshot = Snapshot(1, heads)
    heads[PLAN, "Hello"] = 9
    heads[PLAN, "Other"] = 1
    assert snapshot.version(PLAN, "Hello") == 1
    assert snapshot.names(PLAN) == ["Hello"]


def test_carriers_come_with_the_newest_version_of_their_decks():
    ((carrier, deck),) = filled().carriers()
    assert carrier.name == "acme"
    assert price(deck) == 2
