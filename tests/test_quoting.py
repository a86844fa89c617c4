"""A call explained before it is made, and after it ended; nothing is changed by it."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st
from moneyed import EUR, USD, Money

import cardbill
from cardbill import (
    AccessNumber,
    Band,
    Batch,
    CallExplanation,
    Carrier,
    Deck,
    DeckRow,
    DestinationGroup,
    DialPlan,
    ExchangeRate,
    ExchangeRates,
    Grant,
    LimitedBy,
    LineKind,
    Outcome,
    Plan,
    Routing,
    rate,
)
from cardbill.calls import make_handle
from cardbill.errors import InvalidInput, InvalidNumber, UnknownName, WrongCurrency
from cardbill.quoting import PassedOver
from tests.building import (
    BARRED,
    DEAR,
    INVALID,
    LIFETIME,
    START,
    UK,
    UK_E164,
    UK_MOBILE,
    UNRATED,
    UNROUTED,
    US,
    Shop,
    deck,
    open_shop,
    rows,
)

NUMBERS = [UK, UK_MOBILE, US, BARRED, UNRATED, UNROUTED, DEAR, INVALID, "18005550100"]


def reason(told: CallExplanation) -> str | None:
    return None if told.denied is None else told.denied.reason.value


# -- before the call ------------------------------------------------------------------------------


def test_a_call_is_explained_from_the_number_dialled_to_the_routes(shop: Shop):
    told = shop.bill.explain(to=UK, seconds=130, card_id="B/1")
    assert (told.dialled, told.number, told.at) == (UK, UK_E164, START)
    assert (told.plan, told.plan_version, told.deck, told.deck_version) == ("Basic", 1, "retail", 1)
    assert told.row is not None
    assert (told.row.prefix, told.row.destination) == ("44", "United Kingdom")
    assert told.price is not None
    assert told.price.amount == Money("0.18", USD)
    assert told.available == Money(5, USD)
    assert (told.max_seconds, told.limited_by) == (83 * 60, LimitedBy.MONEY)
    assert [
        (offer.route.carrier, offer.cost.units, offer.margin_units) for offer in told.routes
    ] == [
        ("acme", 43_400, 136_600),
        ("beta", 65_000, 115_000),
    ]
    assert told.granted
    assert told.denied is None


def test_explaining_changes_nothing(shop: Shop):
    shop.grant("open", serial=2)
    before = rows(shop.bill.storage)
    for to in NUMBERS:
        shop.bill.explain(to=to, card_id="B/1")
        shop.bill.explain(to=to, card_id="B/2")
        shop.bill.explain(to=to, batch="B")
        shop.bill.explain(to=to, plan="Basic")
    shop.bill.disclose(plan="Basic", to=UK, face_value=Money(5, USD))
    assert rows(shop.bill.storage) == before


@pytest.mark.parametrize("to", NUMBERS)
@pytest.mark.parametrize("plan", [{}, {"max_call_seconds": 100}, {"slice_seconds": 60}])
def test_the_answer_is_the_one_that_an_authorization_gives(
    tmp_path: Path, to: str, plan: dict[str, object]
):
    with open_shop("memory", tmp_path, plan=plan) as shop:
        told = shop.bill.explain(to=to, card_id="B/1")
        fresh = shop.bill.explain(to=to, batch="B")
        assert (fresh.denied and fresh.denied.reason) == (told.denied and told.denied.reason)
        answer = shop.ask(to=to)
        if not isinstance(answer, Grant):
            assert told.denied == answer
            return
        assert told.denied is None
        assert tuple(offer.route.carrier for offer in told.routes) == tuple(
            route.carrier for route in answer.routes
        )
        assert told.refused_routes == answer.refused_routes
        if answer.limited_by is not LimitedBy.SLICE:
            assert (told.max_seconds, told.limited_by) == (answer.max_seconds, answer.limited_by)


@settings(max_examples=40)
@given(
    st.sampled_from([UK, UK_MOBILE, US]),
    st.integers(0, 300),
    st.integers(0, 3_600 * 24),
)
def test_the_price_is_what_the_record_says(
    tmp_path_factory: pytest.TempPathFactory, to: str, seconds: int, later: int
):
    with open_shop("memory", tmp_path_factory.mktemp("shop")) as shop:
        shop.clock.tick(seconds=later)
        told = shop.bill.explain(to=to, seconds=seconds, card_id="B/1")
        record = shop.bill.settle(shop.grant(to=to).handle, talk_ms=seconds * 1000, carrier="acme")
        assert told.price is not None
        assert told.price.units == record.price_units
        offer = next(offer for offer in told.routes if offer.route.carrier == "acme")
        assert (offer.cost.units, offer.margin_units) == (record.cost_units, record.margin_units)
        after = shop.bill.explain_record(record)
        assert after.rated is not None
        assert after.rated.units == after.posted.units == record.price_units


def test_the_prefixes_that_were_passed_over_say_why(shop: Shop):
    day = timedelta(days=1)
    subject = Deck.compile(
        [
            DeckRow(prefix="4", rate=rate("0.01")),
            DeckRow(prefix="44", rate=rate("0.02"), effective_from=START - 9 * day),
            DeckRow(prefix="44", rate=rate("0.03"), effective_from=START - day),
            DeckRow(prefix="44", rate=rate("0.04"), effective_from=START + day),
            DeckRow(prefix="44", rate=rate("0.05"), band="lunch", effective_from=START - 2 * day),
            DeckRow(prefix="4420", rate=rate("0.06"), band="night"),
            DeckRow(prefix="44207", rate=rate("0.07"), effective_until=START),
            DeckRow(prefix="442071234568", rate=rate("0.08")),
            DeckRow(prefix="45", rate=rate("0.09")),
        ],
        currency=USD,
        bands=[Band("lunch", "Mon-Sun 12:00-13:00"), Band("night", "Mon-Sun 22:00-06:00")],
    )
    shop.bill.decks.publish("retail", subject)
    told = shop.bill.explain(to=UK, card_id="B/1")
    assert told.row is not None
    assert (told.row.prefix, told.row.band) == ("44", "lunch")
    assert [(row.prefix, str(row.rate.steps[0].price_per_minute), why)
            for row, why in told.passed_over] == [
        ("44207", "70000", "no_longer"),
        ("4420", "60000", "other_band"),
        ("44", "40000", "not_yet"),
        ("44", "30000", "any_band"),
        ("44", "20000", "any_band"),
        ("4", "10000", "shorter"),
    ]  # fmt: skip
    later = shop.bill.explain(to=UK, card_id="B/1", at=START + timedelta(hours=2))
    assert later.row is not None
    assert later.row.rate == rate("0.03")
    assert ("44", "earlier") in [(row.prefix, why) for row, why in later.passed_over]


def test_a_number_without_a_rate_still_shows_what_nearly_rated_it(shop: Shop):
    row = DeckRow(prefix="44", rate=rate("0.02"), effective_from=START + timedelta(days=1))
    shop.bill.decks.publish("retail", Deck.compile([row], currency=USD))
    told = shop.bill.explain(to=UK, card_id="B/1")
    assert told.row is None
    assert told.price is None
    assert told.passed_over == (PassedOver(row, "not_yet"),)
    assert reason(told) == "no_rate"


def test_why_a_call_would_not_be_granted(shop: Shop):
    bill = shop.bill
    assert reason(bill.explain(to=UNRATED, card_id="B/1")) == "no_rate"
    assert reason(bill.explain(to=BARRED, card_id="B/1")) == "destination_barred"
    assert reason(bill.explain(to=INVALID, card_id="B/1")) == "invalid_number"
    assert reason(bill.explain(to=DEAR, card_id="B/1")) == "insufficient_balance"
    no_route = bill.explain(to=UNROUTED, card_id="B/1")
    assert reason(no_route) == "no_route"
    assert [tuple(refused) for refused in no_route.refused_routes] == [
        ("acme", "no_rate"),
        ("beta", "no_rate"),
    ]
    shop.grant("open", serial=2)
    busy = bill.explain(to=UK, card_id="B/2")
    assert reason(busy) == "too_many_calls"
    assert busy.price is not None  # what can be said is said all the same
    bill.control.block("B/3", actor="ann", reason="stolen")
    assert reason(bill.explain(to=UK, card_id="B/3")) == "blocked"
    expired = bill.explain(to=UK, batch="B", at=START + timedelta(days=1))
    assert expired.granted


def test_routes_that_no_money_is_left_for_are_still_the_cheapest_first(shop: Shop):
    shop.bill.decks.publish("dear", deck("prefix,rate\n44,0.05\n"))
    shop.bill.carriers.publish(Carrier(name="aaa", deck="dear"))
    told = shop.bill.explain(to=UK, card_id="B/1", available="0.01")
    assert told.max_seconds == 0
    assert [offer.route.carrier for offer in told.routes] == ["acme", "beta", "aaa"]


def test_carriers_left_out_say_why(tmp_path: Path):
    routing = Routing(minimum_margin=Money("0.04", USD))
    with open_shop("memory", tmp_path, plan={"routing": routing}) as shop:
        shop.bill.carriers.publish(Carrier(name="acme", deck="acme-cost", capacity=2))
        told = shop.bill.explain(to=UK, card_id="B/1")
        assert [offer.route.carrier for offer in told.routes] == ["acme", "beta"]
        busy = shop.bill.explain(to=UK, card_id="B/1", busy={"acme": 2})
        assert [tuple(refused) for refused in busy.refused_routes] == [("acme", "full")]
        shop.bill.decks.publish("beta-cost", deck("prefix,rate\n44,0.05\n"))
        told = shop.bill.explain(to=UK, card_id="B/1")
        assert [tuple(refused) for refused in told.refused_routes] == [("beta", "margin")]
        assert "No route by beta: margin" in str(told)


def test_a_carrier_in_another_currency_costs_in_its_own_and_earns_in_the_base(shop: Shop):
    shop.bill.exchange.publish(ExchangeRates(base="USD", rates=[ExchangeRate("EUR", "1.25")]))
    shop.bill.decks.publish("euro", deck("prefix,rate\n44,0.01\n", EUR))
    shop.bill.carriers.publish(Carrier(name="euro", deck="euro"))
    told = shop.bill.explain(to=UK, card_id="B/1")
    euro, *_ = told.routes
    assert (euro.route.carrier, euro.cost.amount) == ("euro", Money("0.01", EUR))
    assert euro.margin == Money("0.0475", USD)  # 0.06 less 0.0125
    assert "Route 1: euro, prefix 44: cost 0.01 EUR, margin 0.0475 USD" in str(told)
    record = shop.bill.settle(shop.grant().handle, talk_ms=60_000, carrier="euro")
    after = adds_up(shop, record)
    assert after.cost is not None
    assert after.cost.amount == record.cost == Money("0.01", EUR)
    assert after.margin is not None
    assert after.margin.amount == record.margin == Money("0.0475", USD)
    assert "Cost of carrier euro: 0.01 EUR, converted once" in str(after)


def test_a_bar_of_the_plan_is_told(shop: Shop):
    shop.bill.groups.publish(DestinationGroup(name="isles", prefixes=["44"]))
    shop.bill.plans.publish(Plan(name="Home", deck="retail", currency=USD, barred=["isles"]))
    told = shop.bill.explain(to=UK, plan="Home")
    assert told.denied is not None
    assert told.denied.detail == "isles is barred by the plan"
    with pytest.raises(InvalidInput, match="cannot be called with plan 'Home'"):
        shop.bill.disclose(plan="Home", to=UK, face_value=Money(5, USD))


def test_a_batch_without_a_plan_says_so(tmp_path: Path):
    with open_shop("memory", tmp_path, assign=False) as shop:
        told = shop.bill.explain(to=UK, batch="B")
        assert (reason(told), told.plan, told.row) == ("not_assigned", "", None)
        assert "Denied: not_assigned" in str(told)


def test_a_fresh_card_of_a_batch_is_one_that_was_sold(tmp_path: Path):
    with open_shop("memory", tmp_path, batch={"sold_first": True}) as shop:
        assert reason(shop.bill.explain(to=UK, card_id="B/1")) == "not_sold"
        told = shop.bill.explain(to=UK, batch="B")
        assert told.granted
        assert told.available == Money(5, USD)


def test_a_blocked_batch_is_told_of_its_cards_but_not_of_its_plan(shop: Shop):
    shop.bill.batches.create(Batch(name="any", face_value=Money(1, USD), quantity=1, plan="Basic"))
    for batch in ("B", "any"):
        shop.bill.control.block_batch(batch, actor="ann", reason="lost")
    assert reason(shop.bill.explain(to=UK, batch="B")) == "blocked"
    assert shop.bill.explain(to=UK, plan="Basic").granted


def test_a_plan_alone_has_no_money_unless_some_is_told(shop: Shop):
    told = shop.bill.explain(to=UK, plan="Basic")
    assert (told.available_units, told.available, told.max_seconds) == (None, None, None)
    assert told.granted
    some = shop.bill.explain(to=UK, plan="Basic", available="0.30")
    assert (some.max_seconds, some.limited_by) == (300, LimitedBy.MONEY)
    none = shop.bill.explain(to=UK, plan="Basic", available=Money("0.05", USD))
    assert (none.max_seconds, reason(none)) == (0, "insufficient_balance")


def test_another_amount_can_be_tried_on_a_card_in_use(shop: Shop):
    shop.grant("open", serial=1)
    told = shop.bill.explain(to=UK, card_id="B/1", available="0.60")
    assert (told.available, told.max_seconds) == (Money("0.60", USD), 600)


def test_the_access_number_says_how_the_number_is_read(shop: Shop):
    british = DialPlan(country_code="44", international_prefix="00", national_prefix="0")
    shop.bill.access_numbers.publish(AccessNumber(number="448001234567", dial_plan=british))
    told = shop.bill.explain(to="02071234567", plan="Basic", access="448001234567")
    assert told.number == UK_E164


def test_a_call_that_passes_into_another_band_is_told_so(shop: Shop):
    subject = Deck.compile(
        [
            DeckRow(prefix="44", rate=rate("0.06", increments="60/60")),
            DeckRow(prefix="44", rate=rate("0.02", increments="60/60"), band="lunch"),
        ],
        currency=USD,
        bands=[Band("lunch", "Mon-Sun 12:00-12:02")],
        band_rating="split",
    )
    shop.bill.decks.publish("retail", subject)
    told = shop.bill.explain(to=UK, card_id="B/1", seconds=240)
    assert told.price is not None
    assert told.price.amount == Money("0.16", USD)
    assert "2 x 60 s  0.04" in str(told)
    assert "Seconds 0 to 120 at 0.02 a minute, lunch" in str(told)
    record = shop.bill.settle(shop.grant().handle, talk_ms=240_000, carrier="acme")
    shop.publish_retail("prefix,destination,rate\n44,United Kingdom,9\n")
    assert "lunch" in str(shop.bill.explain_record(record))


def test_it_reads_as_a_short_text(shop: Shop):
    assert (
        str(shop.bill.explain(to=UK_MOBILE, seconds=70, card_id="B/1"))
        == """\
Dialled 011447712345678: +447712345678, at 2025-03-03T12:00:00+00:00
Plan Basic, version 1
Deck retail, version 1
Rated by prefix 447, UK mobile
Passed over: prefix 44, United Kingdom: a longer prefix goes before
Talk time                                             70 s
Seconds 0 to 60 at 0.15 a minute                  1 x 60 s  0.15
Seconds 60 to 72 at 0.15 a minute                  2 x 6 s  0.03
Connect fee                                                 0.10
Exactly 0.28, rounded up to a multiple of 0.0001            0.00
Price USD                                                   0.28
5.00 USD last for 1,956 s, limited by money
Route 1: acme, prefix 44: cost 0.0234 USD, margin 0.2566 USD
Route 2: beta, prefix 44: cost 0.035 USD, margin 0.245 USD
Granted"""
    )


@pytest.mark.parametrize("to", NUMBERS)
def test_it_is_plain_json(shop: Shop, to: str):
    for told in (shop.bill.explain(to=to, card_id="B/1"), shop.bill.explain(to=to, plan="Basic")):
        assert json.loads(json.dumps(told.as_dict())) == told.as_dict()
        assert str(told) == told.table()


def test_what_cannot_be_explained_is_refused_by_name(shop: Shop):
    bill = shop.bill
    with pytest.raises(InvalidInput, match="one of card_id, batch and plan"):
        bill.explain(to=UK)
    with pytest.raises(InvalidInput, match="one of card_id, batch and plan"):
        bill.explain(to=UK, plan="Basic", batch="B")
    with pytest.raises(InvalidInput, match="seconds"):
        bill.explain(to=UK, plan="Basic", seconds=31 * 24 * 3600 + 1)
    with pytest.raises(WrongCurrency, match="available"):
        bill.explain(to=UK, plan="Basic", available=Money(1, EUR))
    with pytest.raises(InvalidInput, match="available"):
        bill.explain(to=UK, plan="Basic", available=-1)
    with pytest.raises(UnknownName):
        bill.explain(to=UK, card_id="B/99")
    with pytest.raises(UnknownName):
        bill.explain(to=UK, batch="nope")
    with pytest.raises(UnknownName):
        bill.explain(to=UK, plan="nope")
    with pytest.raises(InvalidInput, match="record"):
        bill.explain_record("c1")  # type: ignore[arg-type]


# -- after the call -----------------------------------------------------------------------------


def adds_up(shop: Shop, record: cardbill.CallRecord) -> cardbill.RecordExplanation:
    told = shop.bill.explain_record(record)
    assert told.posted.units == record.price_units
    assert told.uncollected.units == record.uncollected_units
    assert (told.margin and told.margin.units) == record.margin_units
    assert told.cost is None or told.cost.units == record.cost_units
    assert json.loads(json.dumps(told.as_dict())) == told.as_dict()
    assert str(told) == told.table()
    return told


def test_an_ended_call_is_explained_from_what_was_reported(shop: Shop):
    record = shop.bill.settle(shop.grant().handle, talk_ms=130_400, carrier="acme")
    told = adds_up(shop, record)
    assert [(line.kind, line.measure) for line in told.talk] == [
        (LineKind.TALK, "130,400 ms"),
        (LineKind.GRANTED, "4,980 s"),
        (LineKind.TALK, "131 s"),
    ]
    assert told.cost is not None
    assert told.cost.amount == record.cost
    assert (
        str(told)
        == """\
Call c1 of card B/1: settled
To +442071234567, United Kingdom, prefix 44
Plan Basic; deck retail, version 1
Granted at 2025-03-03T12:00:00+00:00
Reported talk time               130,400 ms
Granted at most                     4,980 s
Charged, in whole seconds begun       131 s

Talk time                                            131 s
Seconds 0 to 180 at 0.06 a minute                 3 x 60 s  0.18
Exactly 0.18, rounded up to a multiple of 0.0001            0.00
Price USD                                                   0.18

Rated price    0.18
Posted USD     0.18

Talk time                                                       131 s
Seconds 0 to 131 at 0.02 a minute                           131 x 1 s  0.043666666...
Exactly 0.043666666..., rounded up to a multiple of 0.0001             0.000033333...
Cost USD                                                               0.0437

Posted, before tax       0.18
Cost of carrier acme    -0.0437
Margin USD               0.1363"""
    )


def test_what_was_overrun_is_shown_as_not_collected(tmp_path: Path):
    with open_shop("memory", tmp_path, plan={"max_call_seconds": 120}) as shop:
        record = shop.bill.settle(shop.grant().handle, talk_ms=240_000, carrier="acme")
        told = adds_up(shop, record)
        assert told.rated is not None
        assert told.rated.amount == Money("0.12", USD)
        assert told.uncollected.amount == Money("0.12", USD)
        assert "Price of the talk time as reported  240 s   0.24" in str(told)


def test_a_call_nobody_ended_says_so(tmp_path: Path):
    with open_shop("memory", tmp_path, plan={"slice_seconds": 60}) as shop:
        grant = shop.grant()
        shop.bill.extend(grant.handle, used_seconds=50, number=1)
        shop.bill.sweep(at=START + LIFETIME)
        (record,) = shop.records()
        told = adds_up(shop, record)
        assert record.outcome is Outcome.EXPIRED
        assert "its end never was" in told.talk[0].text
        assert told.posted.amount == Money("0.06", USD)


def test_a_late_report_shows_what_there_was_no_money_for(tmp_path: Path):
    with open_shop("memory", tmp_path, face=Money("0.30", USD)) as shop:
        late = shop.grant("late")
        shop.bill.cancel(late.handle)
        shop.bill.settle(shop.grant("next").handle, talk_ms=240_000, carrier="acme")
        record = shop.bill.settle(late.handle, talk_ms=180_000, carrier="beta")
        told = adds_up(shop, record)
        assert [line.kind for line in told.posted.lines] == [LineKind.PRICE, LineKind.SHORT]
        assert told.posted.amount == Money("0.06", USD)
        assert told.uncollected.amount == Money("0.12", USD)
        assert "reported late" in str(told)


def test_a_late_report_of_less_than_was_charged_refunds_nothing(tmp_path: Path):
    with open_shop("memory", tmp_path, plan={"unreported_calls": "charge"}) as shop:
        grant = shop.grant()
        shop.bill.sweep(at=START + LIFETIME)
        record = shop.bill.settle(grant.handle, talk_ms=60_000, at=START + LIFETIME)
        told = adds_up(shop, record)
        assert [line.kind for line in told.posted.lines] == [LineKind.PRICE, LineKind.POSTED]
        assert told.uncollected.lines == ()


def test_an_answer_later_than_a_grant_reckons_with_costs_no_more_than_was_held(tmp_path: Path):
    subject = Deck.compile(
        [
            DeckRow(prefix="44", rate=rate("0.02", increments="60/60")),
            DeckRow(prefix="44", rate=rate("9", increments="60/60"), band="late"),
        ],
        currency=USD,
        bands=[Band("late", "Mon-Sun 13:00-14:00")],
        band_rating="split",
    )
    with open_shop("memory", tmp_path, plan={"max_call_seconds": 60}) as shop:
        shop.bill.decks.publish("retail", subject)
        grant = shop.grant()
        record = shop.bill.settle(
            grant.handle,
            talk_ms=60_000,
            answered_at=START + timedelta(hours=1),
            at=START + timedelta(hours=2),
            carrier="acme",
        )
        told = adds_up(shop, record)
        assert [line.kind for line in told.posted.lines] == [LineKind.PRICE, LineKind.HELD]
        assert told.posted.amount == Money("0.02", USD)
        assert told.uncollected.amount == Money("8.98", USD)


def test_calls_without_terms_or_carrier_have_less_to_tell(shop: Shop):
    cancelled = shop.bill.cancel(shop.grant("a").handle)
    assert adds_up(shop, cancelled).posted.units == 0
    stray = shop.bill.settle(make_handle("B/3", "stray"), talk_ms=60_000, carrier="acme")
    told = adds_up(shop, stray)
    assert (told.rated, told.cost, told.margin) == (None, None, None)
    unknown = shop.bill.settle(shop.grant("b").handle, talk_ms=60_000)
    told = adds_up(shop, unknown)
    assert (told.cost, told.margin) == (None, None)
    shop.bill.carriers.publish(Carrier(name="gamma", deck="beta-cost"))
    other = shop.bill.settle(shop.grant("c").handle, talk_ms=60_000, carrier="gamma")
    assert adds_up(shop, other).margin is not None


# -- disclosing by plan -------------------------------------------------------------------------


def test_a_plan_is_disclosed_with_its_own_limits(tmp_path: Path):
    plan = {"max_call_seconds": 300, "minimum_balance": Money("0.30", USD)}
    with open_shop("memory", tmp_path, plan=plan) as shop:
        told = shop.bill.disclose(
            plan="Basic", to=UK_MOBILE, face_value=Money(1, USD), calls_of=[1]
        )
        assert told.destination == "UK mobile"
        assert told.longest.seconds == 300
        (row,) = told.calls_of
        assert (row.calls, row.left_units) == (3, 250_000)  # less than the minimum
        assert row.further_seconds == 0
        assert "No call can be made while less than $0.30 is left." in told.statements


@pytest.mark.parametrize("face", ["0.30", "1", "2.37"])
@pytest.mark.parametrize("minutes", [1, 2, 7])
def test_a_real_card_makes_as_many_calls_as_were_told(tmp_path: Path, face: str, minutes: int):
    with open_shop("memory", tmp_path, face=Money(face, USD)) as shop:
        told = shop.bill.disclose(
            plan="Basic", to=UK_MOBILE, face_value=Money(face, USD), calls_of=[minutes]
        )
        (row,) = told.calls_of
        calls, answer = 0, shop.ask("c0", to=UK_MOBILE)
        while isinstance(answer, Grant) and (answer.max_seconds or 0) >= minutes * 60:
            shop.bill.settle(answer.handle, talk_ms=minutes * 60_000)
            calls += 1
            answer = shop.ask(f"c{calls}", to=UK_MOBILE)
        assert row.calls == calls
        assert row.further_seconds == (answer.max_seconds if isinstance(answer, Grant) else 0)
        held = shop.bill.card("B/1")
        assert row.left_units == held.balance_units


def test_what_a_plan_cannot_call_is_not_disclosed(shop: Shop):
    face = Money(5, USD)
    for to in (UNRATED, BARRED):
        with pytest.raises(InvalidInput, match="cannot be called with plan 'Basic'"):
            shop.bill.disclose(plan="Basic", to=to, face_value=face)
    with pytest.raises(InvalidNumber):
        shop.bill.disclose(plan="Basic", to=INVALID, face_value=face)
    with pytest.raises(UnknownName):
        shop.bill.disclose(plan="nope", to=UK, face_value=face)
    with pytest.raises(WrongCurrency):
        shop.bill.disclose(plan="Basic", to=UK, face_value=Money(5, EUR))


def test_split_bands_are_disclosed_for_their_hour(shop: Shop):
    subject = Deck.compile(
        [
            DeckRow(prefix="44", rate=rate("0.10"), destination="UK"),
            DeckRow(prefix="44", rate=rate("0.02"), destination="UK", band="night"),
        ],
        currency=USD,
        bands=[Band("night", "Mon-Sun 22:00-06:00")],
        band_rating="split",
    )
    shop.bill.decks.publish("retail", subject)
    night = datetime(2025, 3, 3, 23, tzinfo=UTC)
    told = shop.bill.disclose(plan="Basic", to=UK, face_value=Money(5, USD), at=night)
    assert told.longest.seconds == 250 * 60
    assert "these are calls at 2025-03-03 23:00 UTC" in told.statements[1]
    assert "Talking costs $0.02 a minute." in told.statements
    assert shop.bill.disclose(plan="Basic", to=UK, face_value=Money(5, USD)).longest.seconds == 3000
