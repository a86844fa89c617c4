"""How long a grant lets a call last: the money, the plan, the expiry."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from moneyed import JPY, USD, Money

from tests.building import START, TOLL_FREE, Shop, open_shop


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
