"""Calls of cards whose deck has time bands: granted, sliced, settled, late, as the oracle says."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from moneyed import USD, Money

from cardbill import (
    Band,
    BandRating,
    CallRecord,
    Carrier,
    Deck,
    DeckRow,
    Grant,
    LimitedBy,
    Outcome,
    Rate,
    Unauthorised,
    Unreported,
    rate,
)
from cardbill.calls import make_handle
from tests import oracle
from tests.building import LIFETIME, UK, UK_E164, Shop, deck, open_shop
from tests.random_decks import EPOCH, NUMBER, RandomCall, instant, random_calls
from tests.random_rates import terms
from tests.test_bands import second_of

ZONE = "Europe/London"
BANDS = (
    Band("day", "Mon-Fri 08:00-18:00"),
    Band("night", "Mon-Fri 18:00-08:00"),
    Band("weekend", ("Sat 08:00-24:00", "Sun")),
    Band("holiday", "2025-12-25..2025-12-26"),
)
HOURS = 3600
TOLD: oracle.Bands = {
    "day": (oracle.Window(frozenset(range(1, 6)), begin=8 * HOURS, end=18 * HOURS),),
    "night": (oracle.Window(frozenset(range(1, 6)), begin=18 * HOURS, end=8 * HOURS),),
    "weekend": (
        oracle.Window(frozenset({6}), begin=8 * HOURS),
        oracle.Window(frozenset({7})),
    ),
    "holiday": (
        oracle.Window(
            dates=frozenset({datetime(2025, 12, d, tzinfo=UTC).date() for d in (25, 26)})
        ),
    ),
}
CENT = 10_000
DEAR, CHEAP = 60 * CENT, 30 * CENT  # a minute by day and by night
PRICES = {"day": "0.60", "night": "0.30", "weekend": "0.12", "holiday": "0.06", "": "1.20"}


def rows(increments: str = "60/60", **changed: Rate) -> list[DeckRow]:
    priced = {band: rate(price, increments=increments) for band, price in PRICES.items()}
    return [
        DeckRow(prefix="44", destination="UK", band=band, rate=changed.get(band or "none", usual))
        for band, usual in priced.items()
    ]


def banded(given: list[DeckRow], **more: Any) -> Deck:
    terms = {"currency": "USD", "bands": BANDS, "time_zone": ZONE, "band_rating": "split"}
    return Deck.compile(given, **{**terms, **more})


@contextmanager
def shop_of(
    kind: str, folder: Path, given: Deck | None = None, face: str = "5", **plan: Any
) -> Iterator[Shop]:
    with open_shop(kind, folder, face=Money(face, USD), plan=plan) as shop:
        shop.bill.decks.publish("retail", given or banded(rows()))
        yield shop
        shop.check_books()
        shop.clock.now += LIFETIME
        shop.bill.sweep()
        shop.check_books()


def granted(shop: Shop, *when: int, call: str = "c1", serial: int = 1) -> Grant:
    """Grant a call to the UK when London's clocks show that time."""
    shop.clock.now = instant(second_of(*when, zone=ZONE))
    return shop.grant(call, to=UK, serial=serial)


def later(shop: Shop, seconds: int) -> datetime:
    return shop.clock.now + timedelta(seconds=seconds)


def rate_at(shop: Shop, given: list[DeckRow]) -> oracle.RateAt:
    """The rates of a call that is granted now, as the oracle sees them."""
    told = [oracle.Row(row.prefix, terms(row.rate), row.band, row.blocked) for row in given]
    now = (shop.clock.now - EPOCH) // timedelta(seconds=1)
    return oracle.rates_of(told, TOLD, ZONE, UK_E164, now, split=True)


def adds_up(record: CallRecord, shop: Shop) -> None:
    """Assert that what is told of a call is what its card paid and what it should have."""
    posted = [
        -amount for kind, amount, call in shop.ledger(record.card_id) if call == record.call_id
    ]
    assert sum(posted) == record.price_units == record.total_units - record.tax_units
    assert record.hold is not None
    assert record.report is not None
    actual = -(-record.report.talk_ms // 1000)
    due = record.hold.bill(actual, record.answered_at, first=record.first).total
    assert record.price_units + record.uncollected_units == due
    assert record.cost_units is not None
    assert record.margin_units == record.price_units - record.cost_units


# -- told by example -----------------------------------------------------------------------------


def test_each_increment_is_rated_by_the_band_in_which_it_begins(kind: str, tmp_path: Path):
    with shop_of(kind, tmp_path) as shop:
        call = granted(shop, 2025, 3, 3, 17, 57)
        answered = later(shop, 90)  # 17:58:30: two increments by day, three by night
        record = shop.bill.settle(
            call.handle, talk_ms=300_000, answered_at=answered, carrier="acme"
        )
        assert record.price_units == 2 * DEAR + 3 * CHEAP
        assert (record.seconds, record.billed_seconds) == (300, 300)
        adds_up(record, shop)


def test_without_an_answer_told_the_call_is_rated_from_its_grant(kind: str, tmp_path: Path):
    with shop_of(kind, tmp_path) as shop:
        call = granted(shop, 2025, 3, 3, 17, 57)
        shop.clock.tick(seconds=390)
        record = shop.bill.settle(call.handle, talk_ms=300_000, carrier="acme")
        assert record.price_units == 3 * DEAR + 2 * CHEAP
        adds_up(record, shop)


def test_an_answer_before_the_grant_counts_as_one_at_the_grant(kind: str, tmp_path: Path):
    with shop_of(kind, tmp_path) as shop:
        call = granted(shop, 2025, 3, 3, 17, 59)
        record = shop.bill.settle(
            call.handle, talk_ms=120_000, answered_at=later(shop, -5), carrier="acme"
        )
        assert record.price_units == DEAR + CHEAP


def test_at_start_one_band_rates_the_whole_call_that_of_the_grant(kind: str, tmp_path: Path):
    with shop_of(kind, tmp_path, banded(rows(), band_rating=BandRating.AT_START)) as shop:
        call = granted(shop, 2025, 3, 3, 17, 59)
        record = shop.bill.settle(
            call.handle, talk_ms=300_000, answered_at=later(shop, 100), carrier="acme"
        )
        assert record.price_units == 5 * DEAR
        adds_up(record, shop)


@pytest.mark.parametrize(
    ("when", "price"),
    [
        ((2025, 3, 4, 23, 58), 5 * CHEAP),  # midnight is no edge within the week
        ((2025, 3, 8, 7, 58), 2 * CHEAP + 3 * 12 * CENT),  # Friday's night ends on Saturday
        ((2025, 3, 9, 23, 58), 2 * 12 * CENT + 3 * 120 * CENT),  # Monday before 8: no band
        ((2025, 3, 10, 7, 58), 2 * 120 * CENT + 3 * DEAR),
        ((2025, 12, 24, 23, 58), 2 * CHEAP + 3 * 6 * CENT),  # a date goes before the week
        ((2025, 12, 26, 23, 58), 2 * 6 * CENT + 3 * CHEAP),
        ((2025, 12, 25, 17, 58), 5 * 6 * CENT),
        ((2025, 3, 30, 0, 58), 5 * 12 * CENT),  # clocks go forward
    ],
)
def test_calls_across_midnight_weekends_and_holidays(when: tuple[int, ...], price: int, tmp_path):
    with shop_of("memory", tmp_path, face="20") as shop:
        call = granted(shop, *when)
        record = shop.bill.settle(
            call.handle, talk_ms=300_000, answered_at=shop.clock.now, carrier="acme"
        )
        assert record.price_units == price
        adds_up(record, shop)


def test_a_deck_published_in_mid_call_changes_nothing_for_it(kind: str, tmp_path: Path):
    with shop_of(kind, tmp_path) as shop:
        call = granted(shop, 2025, 3, 3, 17, 59)
        dearer = [DeckRow(prefix="44", rate=rate("9", increments="60/60"))]
        shop.bill.decks.publish("retail", banded(dearer, bands=[Band("other", "Mon")]))
        record = shop.bill.settle(call.handle, talk_ms=120_000, carrier="acme")
        assert record.price_units == DEAR + CHEAP
        assert record.billed_seconds == 120
        following = shop.denied("c2", serial=2)
        assert following == "insufficient_balance"


def test_money_must_pay_for_the_dearest_answer_that_may_come(kind: str, tmp_path: Path):
    with shop_of(kind, tmp_path, face="0.50") as shop:
        shop.clock.now = instant(second_of(2025, 3, 4, 7, 56, 59, zone=ZONE))
        cheap = shop.grant("c1")  # answered within 180 s, it begins by night
        assert (cheap.max_seconds, cheap.limited_by) == (60, LimitedBy.MONEY)
        shop.bill.cancel(cheap.handle)
        shop.clock.tick(seconds=1)
        assert shop.denied("c2") == "insufficient_balance"  # it may begin by day


def test_only_what_no_answer_has_to_pay_for_is_too_short_to_be_granted(kind: str, tmp_path: Path):
    day, night = rate("0.60", grace_seconds=30), rate("0.60")
    with shop_of(kind, tmp_path, banded(rows(day=day, night=night)), face="0.20") as shop:
        # By day 20 seconds are forgiven, and no longer call can be paid: nothing to sell.
        assert granted_or_why(shop, 2025, 3, 3, 12, 0) == "insufficient_balance"
        # Answered by night, 20 seconds are paid for.
        assert granted_or_why(shop, 2025, 3, 3, 17, 59) == (20, LimitedBy.MONEY, 20 * CENT)


def granted_or_why(shop: Shop, *when: int) -> Any:
    shop.clock.now = instant(second_of(*when, zone=ZONE))
    answer = shop.ask("c", to=UK)
    if not isinstance(answer, Grant):
        return answer.reason.value
    return answer.max_seconds, answer.limited_by, answer.held_units


def test_a_dear_band_ahead_shortens_the_call_a_cheap_one_lengthens_it(kind: str, tmp_path: Path):
    with shop_of(kind, tmp_path, face="3") as shop:
        # By night 0.30, by day 0.60: answered after three minutes, none of it is by night.
        call = granted(shop, 2025, 3, 4, 7, 58)
        assert (call.max_seconds, call.held_units) == (300, 5 * DEAR)
        shop.bill.cancel(call.handle)
        # Answered at once it has ten minutes by day.
        call = granted(shop, 2025, 3, 4, 17, 57, call="c2")
        assert (call.max_seconds, call.held_units) == (7 * 60, 3 * DEAR + 4 * CHEAP)


def test_a_band_without_a_rate_or_barred_is_rated_like_the_band_of_the_grant(tmp_path: Path):
    for night in ([], [DeckRow(prefix="44", rate=rate("9"), band="night", blocked=True)]):
        given = [row for row in rows() if row.band not in ("night", "")] + night
        with shop_of("memory", tmp_path, banded(given)) as shop:
            call = granted(shop, 2025, 3, 3, 17, 58)
            record = shop.bill.settle(call.handle, talk_ms=300_000, carrier="acme")
            assert record.price_units == 5 * DEAR
            shop.clock.now = instant(second_of(2025, 3, 3, 18, zone=ZONE))
            reason = shop.denied("c2", serial=2)
            assert reason == ("destination_barred" if night else "no_rate")


def test_fees_come_from_the_band_of_the_answer(kind: str, tmp_path: Path):
    night = rate("0.30", increments="60/60", connect_fee="0.07", free_seconds=90, grace_seconds=5)
    day = rate("0.60", increments="60/60", connect_fee="0.11")
    with shop_of(kind, tmp_path, banded(rows(night=night, day=day))) as shop:
        # Answered at 07:58:00, position 0 is at 07:59:30: one increment by night, then by day.
        call = granted(shop, 2025, 3, 4, 7, 57)
        record = shop.bill.settle(
            call.handle, talk_ms=211_000, answered_at=later(shop, 60), carrier="acme"
        )
        assert record.price_units == 7 * CENT + CHEAP + 2 * DEAR
        assert record.billed_seconds == 180
        call = granted(shop, 2025, 3, 4, 7, 58, call="c2", serial=2)
        record = shop.bill.settle(
            call.handle, talk_ms=5_000, answered_at=later(shop, 120), carrier="acme"
        )
        assert record.price_units == 11 * CENT + DEAR  # by day there is no grace


def test_a_maximum_that_ends_a_call_limits_the_grant(kind: str, tmp_path: Path):
    day = rate("0.60", increments="60/60", maximum_charge="1.50", beyond_maximum="disconnect")
    with shop_of(kind, tmp_path, banded(rows(day=day))) as shop:
        call = granted(shop, 2025, 3, 3, 12)
        assert (call.max_seconds, call.limited_by) == (120, LimitedBy.RATE)
        assert call.held_units == 2 * DEAR
        record = shop.bill.settle(call.handle, talk_ms=120_000, carrier="acme")
        assert record.price_units == 2 * DEAR
        # Answered at once it has two increments by day (1.20) and one by night: 1.50.
        call = granted(shop, 2025, 3, 3, 17, 58, call="c2", serial=2)
        assert (call.max_seconds, call.limited_by) == (180, LimitedBy.RATE)


def test_a_maximum_after_which_a_call_is_free_is_all_that_is_held(kind: str, tmp_path: Path):
    day = rate("0.60", increments="60/60", maximum_charge="1.50")
    given = banded([DeckRow(prefix="44", rate=day)], bands=())
    with shop_of(kind, tmp_path, given, max_call_seconds=3600) as shop:
        call = granted(shop, 2025, 3, 3, 12)
        assert (call.max_seconds, call.held_units) == (3600, 150 * CENT)
        record = shop.bill.settle(call.handle, talk_ms=3_600_000, carrier="acme")
        assert record.price_units == 150 * CENT
        adds_up(record, shop)


# -- later than expected -------------------------------------------------------------------------


def test_an_answer_after_the_set_up_time_never_costs_more_than_was_held(kind: str, tmp_path: Path):
    with shop_of(kind, tmp_path, max_call_seconds=300) as shop:
        call = granted(shop, 2025, 3, 4, 7, 50)
        assert call.held_units == 5 * CHEAP
        record = shop.bill.settle(
            call.handle, talk_ms=300_000, answered_at=later(shop, 601), carrier="acme"
        )
        assert record.price_units == 5 * CHEAP
        assert record.uncollected_units == 5 * (DEAR - CHEAP)  # it was by day
        adds_up(record, shop)


@pytest.mark.parametrize("policy", [Unreported.CHARGE, Unreported.RELEASE])
def test_a_late_report_is_charged_by_its_answer_as_far_as_it_was_granted(
    kind: str, tmp_path: Path, policy: Unreported
):
    with shop_of(kind, tmp_path, max_call_seconds=300, unreported_calls=policy) as shop:
        call = granted(shop, 2025, 3, 3, 17, 58)
        answered = later(shop, 100)  # 17:59:40
        shop.clock.tick(days=2)
        shop.bill.sweep()
        (expired,) = shop.records()
        assert expired.outcome is Outcome.EXPIRED
        unreported = 2 * DEAR + 3 * CHEAP if policy is Unreported.CHARGE else 0
        assert expired.price_units == unreported
        record = shop.bill.settle(
            call.handle, talk_ms=300_000, answered_at=answered, carrier="acme"
        )
        assert record.late
        # Nothing that was posted is refunded.
        assert record.price_units == max(unreported, DEAR + 4 * CHEAP)
        again = shop.bill.settle(call.handle, talk_ms=300_000, answered_at=answered, carrier="acme")
        assert again.replayed
        assert again == record


def test_a_call_never_granted_is_rated_by_the_bands_of_its_answer(kind: str, tmp_path: Path):
    with shop_of(kind, tmp_path, unauthorised_calls=Unauthorised.CHARGE) as shop:
        shop.clock.now = instant(second_of(2025, 3, 7, 12, zone=ZONE))
        answered = instant(second_of(2025, 3, 3, 17, 59, zone=ZONE))  # four days ago
        record = shop.bill.settle(
            make_handle("B/1", "u"),
            talk_ms=180_000,
            answered_at=answered,
            carrier="acme",
            to=UK,
        )
        assert record.price_units == DEAR + 2 * CHEAP
        assert record.outcome is Outcome.UNAUTHORISED


def test_a_look_up_at_a_past_instant_gives_the_rate_of_then():
    turn = instant(second_of(2025, 3, 3, 18, 30, zone=ZONE))
    given = [
        DeckRow(prefix="44", band="night", rate=rate(1), effective_until=turn),
        DeckRow(prefix="44", band="night", rate=rate(2), effective_from=turn),
        DeckRow(prefix="44", band="day", rate=rate(3)),
        DeckRow(prefix="4", rate=rate(4)),
    ]
    compiled = banded(given)
    told = []
    for hour, minute in ((17, 59), (18, 0), (18, 29), (18, 30)):
        at = instant(second_of(2025, 3, 3, hour, minute, zone=ZONE))
        match = compiled.match(UK_E164, at)
        assert match is not None
        told.append((match.band, match.rate))
    assert told == [("day", rate(3)), *[("night", rate(1))] * 2, ("night", rate(2))]
    # The row of a call is that of its grant, also when another becomes effective in mid-call.
    at = instant(second_of(2025, 3, 3, 17, 59, zone=ZONE))
    match = compiled.match(UK_E164, at)
    assert match is not None
    tariff = compiled.tariff(match, UK_E164, at, 7200)
    assert [found for _, found in tariff.changes] == [rate(1)]


# -- slices --------------------------------------------------------------------------------------


@pytest.mark.parametrize("increments", ["60/60", "6/6", "30/7"])
def test_slices_across_bands_hold_the_dearest_and_settle_what_was_talked(
    kind: str, tmp_path: Path, increments: str
):
    given = rows(increments)
    with shop_of(kind, tmp_path, banded(given), face="4.10", slice_seconds=60) as shop:
        call = granted(shop, 2025, 3, 4, 7, 57, 30)
        rates = rate_at(shop, given)
        start = (shop.clock.now - EPOCH) // timedelta(seconds=1)
        ahead = oracle.ahead(start, rates, 900)
        last = ahead.longest(4_100_000)
        assert call.held_units == ahead.highest[60]
        used, number, held = 0, 0, 60
        while held < last:
            used, number = used + 50, number + 1
            shop.clock.tick(seconds=50)
            answer = shop.bill.extend(call.handle, used_seconds=used, number=number)
            assert isinstance(answer, Grant)
            held = min(last, used + 60)
            assert (answer.max_seconds, answer.held_units) == (held, ahead.highest[held])
            limited_by = LimitedBy.MONEY if held == last else LimitedBy.SLICE
            assert answer.limited_by is limited_by
        answered = start + 45
        record = shop.bill.settle(
            call.handle, talk_ms=last * 1000, answered_at=instant(answered), carrier="acme"
        )
        due = next(islice(oracle.walk(answered, rates), last, None))
        assert (record.price_units, record.billed_seconds) == (due.amount, due.billed)
        adds_up(record, shop)


# -- carriers ------------------------------------------------------------------------------------


def test_a_carriers_bands_count_for_the_cost_and_for_the_order(kind: str, tmp_path: Path):
    with shop_of(kind, tmp_path) as shop:
        dear, cheap = rate("0.10", increments="60/60"), rate("0.02", increments="60/60")
        for name, day, night in (("acme", dear, cheap), ("beta", cheap, dear)):
            costs = [
                DeckRow(prefix="44", band="day", rate=day),
                DeckRow(prefix="44", band="night", rate=night),
            ]
            shop.bill.decks.publish(f"{name}-cost", banded(costs))
            shop.bill.carriers.publish(Carrier(name=name, deck=f"{name}-cost"))
        call = granted(shop, 2025, 3, 3, 17, 57)
        assert [route.carrier for route in call.routes] == ["beta", "acme"]
        record = shop.bill.settle(
            call.handle, talk_ms=300_000, answered_at=later(shop, 90), carrier="acme"
        )
        assert record.cost_units == 2 * 10 * CENT + 3 * 2 * CENT
        adds_up(record, shop)
        call = granted(shop, 2025, 3, 3, 18, call="c2", serial=2)
        assert [route.carrier for route in call.routes] == ["acme", "beta"]


# -- any deck, any call --------------------------------------------------------------------------


def through_the_engine(shop: Shop, call: RandomCall, rng: random.Random, number: int) -> None:
    """Grant, and settle, one random call; assert that all of it is what the oracle says."""
    shop.bill.decks.publish("retail", call.made.deck)
    shop.clock.now = instant(call.granted)
    cap = shop.bill.plans.get("Basic").max_call_seconds
    assert cap is not None
    name, serial = f"call-{number}", number + 1
    answer = shop.ask(name, to=UK, serial=serial)
    ahead = oracle.ahead(call.granted, call.rate_at, cap)
    longest = ahead.longest(90 * CENT)
    if not isinstance(answer, Grant):
        assert answer.reason.value == "insufficient_balance", call
        rates = [call.rate_at(call.granted + after) for after in range(181)]
        assert longest <= min(max(each.grace, each.free) for each in rates), call
        return
    assert (answer.max_seconds, answer.held_units) == (longest, ahead.highest[longest]), call
    after = rng.choice((None, rng.randrange(181), rng.randrange(181, 500)))
    answered = call.granted + (after or 0)
    walked = list(islice(oracle.walk(answered, call.rate_at), cap + 200))
    talk = rng.choice((0, 1, longest, longest + 1, rng.randrange(longest + 100)))
    shop.clock.tick(seconds=rng.choice((talk, talk, 400, 400_000)))
    record = shop.bill.settle(
        answer.handle,
        talk_ms=talk * 1000,
        answered_at=None if after is None else instant(answered),
        carrier="acme",
    )
    charged = walked[min(talk, longest)]
    due = min(charged.amount, answer.held_units)
    assert (record.price_units, record.billed_seconds) == (due, charged.billed), call
    assert record.uncollected_units == walked[talk].amount - due, call
    adds_up(record, shop)


@pytest.mark.parametrize("count", [12, pytest.param(400, marks=pytest.mark.soak)])
def test_random_calls_through_the_engine_are_what_the_oracle_says(count: int, tmp_path: Path):
    rng = random.Random(41)
    assert NUMBER == UK_E164
    with open_shop(
        "memory", tmp_path, face=Money("0.90", USD), quantity=count, plan={"max_call_seconds": 200}
    ) as shop:
        shop.bill.decks.publish("acme-cost", deck("prefix,rate\n4,0.01\n"))
        for number, call in enumerate(random_calls(rng, count)):
            through_the_engine(shop, call, rng, number)
        shop.check_books()
