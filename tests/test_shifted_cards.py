"""A card that is first used on another day, in another zone, lives the same life on other days."""

from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import example, given, strategies as st
from moneyed import USD, Money

from cardbill import BillingCycle, Charge, Grant, Package
from tests.building import UK, UK_MOBILE, US, open_shop
from tests.test_cycles import ZONES

WEEK = BillingCycle(unit="weeks", count=1)
PLAN = {
    "billing_cycle": WEEK,
    "charges": [
        Charge(name="weekly", trigger="period", every=WEEK, amount=Money("0.20", USD)),
        Charge(
            name="ten days",
            trigger="period",
            every=BillingCycle(unit="days", count=10),
            amount=Money("0.11", USD),
        ),
        Charge(
            name="idle",
            trigger="inactivity",
            every=BillingCycle(unit="days", count=6),
            amount=Money("0.07", USD),
        ),
    ],
    "packages": [Package(name="weekly two", minutes=2, destinations=["44"], given="cycle")],
}
CALLS = [(0, 0, UK), (2, 5, UK), (3, 1, US), (9, -4, UK), (19, 8, UK_MOBILE), (40, 0, UK)]
"""Days after the first use, hours from noon, whom to."""

days = st.dates(date(1971, 1, 1), date(2370, 1, 1))


def life(first: date, zone: str) -> list[tuple[int, str, str, int, int]]:
    """Live through it; each entry as days after the first use, kind, name, amount, balance."""
    tz = ZoneInfo(zone)
    batch: dict[str, Any] = {"time_zone": zone, "expires_days_after_first_use": 50}
    with open_shop("memory", Path(), batch=batch, plan=PLAN) as shop:
        for number, (after, hours, to) in enumerate(CALLS):
            noon = datetime.combine(first + timedelta(days=after), time(12), tz)
            shop.clock.now = noon.astimezone(UTC) + timedelta(hours=hours)
            call = shop.grant(f"c{number}", to=to)
            assert isinstance(call, Grant)
            shop.bill.settle(call.handle, talk_ms=200_000)
        shop.clock.tick(days=20)
        shop.bill.sweep()
        return [
            (
                (entry.at.astimezone(tz).date() - first).days,
                entry.kind.value,
                entry.name,
                entry.amount_units,
                entry.balance_units,
            )
            for entry in shop.bill.entries("B/1")
        ]


HERE = life(date(2025, 3, 3), "UTC")


def test_the_life_has_all_in_it():
    names = [name for _, kind, name, _, _ in HERE if kind == "charge"]
    assert (names.count("weekly"), names.count("ten days"), names.count("idle")) == (7, 5, 6)
    assert {kind for _, kind, *_ in HERE} == {
        "face", "call", "charge", "given", "lost", "breakage"
    }  # fmt: skip


@given(days, st.sampled_from(ZONES))
@example(date(2024, 2, 29), "America/Sao_Paulo")
@example(date(2011, 11, 20), "Etc/GMT-14")
@example(date(2025, 3, 20), "Europe/London")
@example(date(2025, 10, 20), "America/New_York")
def test_shifting_the_first_use_shifts_charges_and_changes_no_price(first, zone):
    gone = date(2011, 12, 30)  # a day that Apia never had shifts nothing alike
    if zone == "Pacific/Apia" and first - timedelta(days=1) <= gone <= first + timedelta(days=70):
        return
    assert life(first, zone) == HERE
