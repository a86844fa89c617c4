"""D: clock changes, calendars, time zones, bands, late and impossible instants."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from moneyed import USD, Money

from cardbill import (
    Band,
    Batch,
    BillingCycle,
    CallRecord,
    Charge,
    Deck,
    Denial,
    Denied,
    Outcome,
    Package,
    authorization,
    callflow,
    cycles,
    passing,
    settling,
)  # fmt: skip
from cardbill.bands import NO_BAND, Bands
from cardbill.calls import Report
from cardbill.cards import Card
from cardbill.cycles import Periods
from cardbill.decks import DeckRow
from cardbill.errors import InvalidInput
from cardbill.instants import EPOCH, local_midnight
from cardbill.rating import rate
from tests.building import START, UK_MINUTE, Shop, open_shop
from tests.museum.exhibits import Section, patched

SECTION = Section("Time")
WEEKLY = Charge(
    name="rent", trigger="period", amount=Money("0.10", USD), every=BillingCycle(unit="weeks")
)
DAILY: dict[str, Any] = {"billing_cycle": BillingCycle(unit="days")}
MINUTES = Package(name="minutes", seconds=600, given="cycle")


def utc(month: int, day: int, hour: int = 0, minute: int = 0) -> datetime:
    return datetime(2025, month, day, hour, minute, tzinfo=UTC)


def posted(shop: Shop, kind: str, card_id: str = "B/1") -> list[datetime]:
    """When entries of a kind were posted."""
    return [entry.at for entry in shop.bill.entries(card_id) if entry.kind.value == kind]


# -- how they are rebuilt ------------------------------------------------------------------------


def with_the_offset_of(instant: datetime, day: date, zone: ZoneInfo) -> datetime:
    """Midnight of a day as it would be, had the clock never been changed since."""
    offset = instant.astimezone(zone).utcoffset()
    assert offset is not None
    return datetime.combine(day, time(), UTC) - offset


def renews_by_an_instant_and_an_offset() -> AbstractContextManager[None]:
    def renewals(card: Card, terms: Any) -> Iterator[Any]:
        cycle = passing._cycle(terms)
        if card.cycle is None or cycle is None:
            return
        offset = cycle.begin(0).astimezone(cycle.zone).utcoffset()
        assert offset is not None

        def renew(now: datetime) -> bool:
            card.cycle = ((now + offset).date() - cycle.anchor).days
            passing._renew(card, terms, cycle, now)
            assert card.entry_count < 1_000, "it never ends"  # a visitor wants to get home
            return True

        yield passing._Event(cycle.begin(card.cycle + 1), 2, 0, renew)

    return patched((passing, "_renewals", renewals))


def reckons_with_a_fixed_offset() -> AbstractContextManager[None]:
    return patched(
        (cycles, "local_midnight", lambda day, zone: with_the_offset_of(EPOCH, day, zone))
    )


def freezes_the_offset_of_the_first_day() -> AbstractContextManager[None]:
    def begin(self: Periods, number: int) -> datetime:
        first = local_midnight(self.anchor, self.zone)
        return with_the_offset_of(first, self.day(number), self.zone)

    return patched((Periods, "begin", begin))


def numbers_periods_in_utc() -> AbstractContextManager[None]:
    def at(self: Periods, instant: datetime) -> int:
        return (instant.astimezone(UTC).date() - self.anchor).days // self.count

    return patched((Periods, "at", at))


def lets_days_run_over() -> AbstractContextManager[None]:
    def later(day: date, months: int) -> date:
        year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
        return date(year, month + 1, 1) + timedelta(days=day.day - 1)

    return patched((cycles, "_months_later", later))


def ends_days_in_utc() -> AbstractContextManager[None]:
    def renew(card: Card, terms: Any, cycle: Periods, at: datetime) -> None:
        assert card.cycle is not None
        ends = datetime.combine(cycle.day(card.cycle + 1), time(), UTC)
        for package in terms.plan.packages:
            passing._give(card, terms, package, at, ends)

    return patched((passing, "_renew", renew))


def takes_the_band_before() -> AbstractContextManager[None]:
    real = Bands.at
    return patched((Bands, "at", lambda self, second: real(self, second - 12 * 3_600)))


def closes_windows_on_both_sides() -> AbstractContextManager[None]:
    def number(self: Bands, second: int) -> int:
        local = self._local(second)
        minute = local.hour * 60 + local.minute
        for begin, end, found in self._spans.get(local.weekday(), ()):
            if begin <= minute <= end:
                return found
        return NO_BAND

    return patched((Bands, "_number", number))


def expires_so_many_seconds_later() -> AbstractContextManager[None]:
    def expiry_after(self: Batch, first_use: datetime) -> datetime:
        return first_use + timedelta(days=self.expires_days_after_first_use or 0)

    return patched((Batch, "expiry_after", expiry_after))


def says_what_it_checked_last() -> AbstractContextManager[None]:
    real = authorization.unusable

    def unusable(card: Card, batch: Batch, shelf: Any, at: datetime) -> Denied | None:
        if card.expired(at):
            return Denied(reason=Denial.EXPIRED)
        return real(card, batch, shelf, at)

    return patched((authorization, "unusable", unusable))


def judges_validity_by_now() -> AbstractContextManager[None]:
    real = settling.settle

    def settle(card: Card, record: Any, call_id: str, *rest: Any) -> CallRecord:
        if card.expired(rest[-1]):
            return card.release(call_id, Outcome.CANCELLED, rest[-1])
        return real(card, record, call_id, *rest)

    return patched((settling, "settle", settle))


def reckons_with_instants_that_were_never_set() -> AbstractContextManager[None]:
    def report(
        *, talk_ms: Any = None, answered_at: Any = None, ended_at: Any = None, **_: Any
    ) -> Report:
        if talk_ms is None:
            talk_ms = ((ended_at or EPOCH) - (answered_at or EPOCH)) // timedelta(milliseconds=1)
        return Report(talk_ms=talk_ms % 2**32)  # an unsigned column

    return patched((callflow, "report", report))


def knows_one_catalogue_for_all_times() -> AbstractContextManager[None]:
    real = Deck.match

    def match(self: Deck, number: str, at: datetime, **_: Any) -> Any:
        return real(self, number, at, effective_at=START)

    return patched((Deck, "match", match))


# -- the defects ---------------------------------------------------------------------------------


@SECTION.defect(
    41, "Kill Bill, killbill#445",
    "After a clock change the next date comes out as the same date, and invoicing never ends.",
    renews_by_an_instant_and_an_offset,
)  # fmt: skip
def a_daily_cycle_goes_on_over_a_clock_change(folder: Path) -> None:
    terms: dict[str, Any] = {
        "batch": {"time_zone": "Europe/London"},
        "plan": {**DAILY, "packages": [MINUTES]},
    }
    with open_shop("memory", folder, **terms) as shop:
        shop.bill.cancel(shop.grant(at=utc(3, 25, 12)).handle, at=utc(3, 25, 12))
        shop.bill.sweep(at=utc(4, 5, 12))
        days = [at.astimezone(ZoneInfo("Europe/London")).date() for at in posted(shop, "given")]
        assert days == [date(2025, 3, 25) + timedelta(days=number) for number in range(12)]


@SECTION.defect(
    42, "Kill Bill, killbill#743",
    "The day of the month on which an account is billed shifts when the clock is changed.",
    reckons_with_a_fixed_offset,
)  # fmt: skip
def periods_begin_at_local_midnight_in_summer_too(folder: Path) -> None:
    terms: dict[str, Any] = {"batch": {"time_zone": "Europe/Berlin"}, "plan": {"charges": [WEEKLY]}}
    with open_shop("memory", folder, **terms) as shop:
        shop.bill.cancel(shop.grant(at=utc(3, 20, 12)).handle, at=utc(3, 20, 12))
        shop.bill.sweep(at=utc(4, 4))
        assert posted(shop, "charge") == [utc(3, 26, 23), utc(4, 2, 22)]


@SECTION.defect(
    43, "Kill Bill, killbill#1934",
    "The same usage is billed otherwise if the account was made before a clock change.",
    freezes_the_offset_of_the_first_day,
)  # fmt: skip
def when_a_card_was_first_used_does_not_shift_its_charges(folder: Path) -> None:
    terms: dict[str, Any] = {"batch": {"time_zone": "Europe/Berlin"}, "plan": {"charges": [WEEKLY]}}
    with open_shop("memory", folder, **terms) as shop:
        for serial, day in ((1, utc(3, 24, 12)), (2, utc(3, 31, 12))):
            shop.bill.cancel(shop.grant(serial=serial, at=day).handle, at=day)
        shop.bill.sweep(at=utc(5, 1))
        before, after = posted(shop, "charge", "B/1"), posted(shop, "charge", "B/2")
        assert before[1:] == after
        assert len(after) == 4


@SECTION.defect(
    44, "Lago, lago-api#879",
    "Where local time is ahead of UTC a period is invoiced twice, as that is checked in UTC.",
    numbers_periods_in_utc,
)  # fmt: skip
def each_local_day_is_charged_once_at_every_offset(folder: Path) -> None:
    daily = Charge(
        name="fee", trigger="period", amount=Money("0.01", USD), every=BillingCycle(unit="days")
    )
    for offset in range(-12, 15):
        batch: dict[str, Any] = {"time_zone": f"Etc/GMT{-offset:+d}"}
        with open_shop("memory", folder, batch=batch, plan={"charges": [daily]}) as shop:
            for serial, hour in ((1, 0), (2, 12), (3, 23)):
                used = utc(3, 3, hour, 30)
                shop.bill.cancel(shop.grant(serial=serial, at=used).handle, at=used)
            for serial, hour in ((1, 0), (2, 12), (3, 23)):
                shop.bill.sweep(at=utc(3, 6, hour, 30))
                assert len(posted(shop, "charge", f"B/{serial}")) == 3, offset


@SECTION.defect(
    45, "Lago, lago-api#1840",
    "An anniversary on the 30th has wrong bounds in February.",
    lets_days_run_over,
)  # fmt: skip
def monthly_periods_tile_four_hundred_years(folder: Path) -> None:
    zone = ZoneInfo("Europe/Berlin")
    monthly = BillingCycle(unit="months").periods(date(2024, 1, 30), zone)
    assert monthly is not None
    days = [monthly.day(number) for number in range(4_801)]
    assert days[1:3] == [date(2024, 2, 29), date(2024, 3, 30)]
    assert [12 * day.year + day.month - 24_289 for day in days] == list(range(4_801))
    for number in range(0, 4_800, 37):
        assert monthly.at(monthly.begin(number)) == number
        assert monthly.at(monthly.begin(number + 1) - timedelta(microseconds=1)) == number


@SECTION.defect(
    46, "Kill Bill, killbill PR#1856",
    "Days end in another zone than the account's, and a stretch of time is billed twice.",
    ends_days_in_utc,
)  # fmt: skip
def a_period_ends_where_the_next_one_begins(folder: Path) -> None:
    terms: dict[str, Any] = {
        "batch": {"time_zone": "Pacific/Auckland"},
        "plan": {**DAILY, "packages": [MINUTES]},
    }
    with open_shop("memory", folder, **terms) as shop:
        shop.bill.cancel(shop.grant().handle)
        for _ in range(60):
            shop.bill.sweep(at=shop.clock.tick(hours=1))
            assert [bucket.left for bucket in shop.stored().buckets.values()] == [600]


def _banded(band_rating: str) -> Deck:
    peak, off_peak = Band("peak", "Mon-Fri 08:00-18:00"), Band("off-peak", "Mon-Fri 18:00-08:00")
    prices = {"peak": "0.60", "off-peak": "0.06"}
    return Deck.compile(
        [DeckRow(prefix="44", rate=rate(price), band=name) for name, price in prices.items()],
        currency=USD,
        bands=[peak, off_peak],
        band_rating=band_rating,
    )


@SECTION.defect(
    47, "CGRateS, cgrates#338",
    "A call at the peak is rated by the other band's price for a part of it.",
    takes_the_band_before,
)  # fmt: skip
def a_split_call_costs_what_its_seconds_cost(folder: Path) -> None:
    deck, number = _banded("split"), "442071234567"
    for boundary, before, after in ((18, 10_000, 1_000), (8, 1_000, 10_000)):
        for early in (0, 1, 7, 59, 60, 61):
            at = utc(3, 4, boundary) - timedelta(seconds=early)
            match = deck.match(number, at)
            assert match is not None
            price = deck.tariff(match, number, at, 60).price(60, at)
            assert price == min(early, 60) * before + max(0, 60 - early) * after, at


@SECTION.defect(
    48, "A2Billing, its RateEngine, line 112",
    "Windows include both their ends, and at the minute between two of them both apply.",
    closes_windows_on_both_sides,
)  # fmt: skip
def at_a_boundary_the_band_that_begins_applies(folder: Path) -> None:
    deck = _banded("at_start")
    for hour, minute, name in ((7, 59, "off-peak"), (8, 0, "peak"), (17, 59, "peak"),
                               (18, 0, "off-peak"), (0, 0, "off-peak")):  # fmt: skip
        match = deck.match("442071234567", utc(3, 4, hour, minute))
        assert match is not None
        assert match.band == name


@SECTION.defect(
    49, "A2Billing, its checks of a card",
    "A day of validity is 86,400 seconds, and which reason is given depends on what came last.",
    expires_so_many_seconds_later, says_what_it_checked_last,
)  # fmt: skip
def validity_is_in_calendar_days_and_reasons_have_an_order(folder: Path) -> None:
    batch: dict[str, Any] = {"time_zone": "America/New_York", "expires_days_after_first_use": 1}
    with open_shop("memory", folder, batch=batch) as shop:
        shop.bill.cancel(shop.grant().handle)  # on 3 March at 7:00 local time
        assert shop.stored().expires_at == utc(3, 5, 5)
        shop.bill.control.block("B/1", actor="kim", reason="stolen")
        assert shop.denied("c2", at=utc(3, 6)) == "blocked"


@SECTION.defect(
    50, "CGRateS, cgrates PR#1748",
    "Whether a balance is valid is judged when the call is processed, not when it was made.",
    judges_validity_by_now,
)  # fmt: skip
def a_call_before_the_expiry_is_charged_after_it(folder: Path) -> None:
    with open_shop("memory", folder, batch={"expires_days_after_first_use": 0}) as shop:
        grant = shop.grant(at=utc(3, 3, 23, 50))
        assert grant.max_seconds == 600
        record = shop.bill.settle(grant.handle, talk_ms=540_000, at=utc(3, 4, 0, 5))
        assert record.price_units == 9 * UK_MINUTE
        assert [kind for kind, _, _ in shop.ledger()][-1] == "breakage"


@SECTION.defect(
    51, "Kazoo, kazoo#6534",
    "A hang-up overtakes the answer, and the duration is a negative timestamp.",
    reckons_with_instants_that_were_never_set,
)  # fmt: skip
def a_duration_that_cannot_be_is_refused(folder: Path) -> None:
    impossible: tuple[dict[str, Any], ...] = (
        {"ended_at": START},
        {"answered_at": START},
        {"answered_at": START, "ended_at": START - timedelta(seconds=1)},
        {"talk_ms": -1},
    )
    with open_shop("memory", folder) as shop:
        grant = shop.grant()
        for told in impossible:
            with pytest.raises(InvalidInput):
                shop.bill.settle(grant.handle, **told)
        assert list(shop.stored().holds) == ["c1"]


@SECTION.defect(
    52, "Kill Bill, killbill#1342",
    "A catalogue that is dated ahead does not come into force on its day.",
    knows_one_catalogue_for_all_times,
)  # fmt: skip
def a_price_counts_from_its_own_date_on(folder: Path) -> None:
    retail = "prefix,rate,increments,effective_from\n44,0.06,60/60,\n44,0.10,60/60,2025-04-01\n"
    with open_shop("memory", folder, retail=retail) as shop:
        for call_id, at, price in (("c1", utc(3, 31, 23, 59), 60_000), ("c2", utc(4, 1), 100_000)):
            grant = shop.grant(call_id, at=at)
            assert shop.bill.settle(grant.handle, talk_ms=60_000, at=at).price_units == price
