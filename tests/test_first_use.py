"""The first use: it opens the account once, and validity counts from it."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from cardbill import Caller, Status
from tests.building import START, UNRATED, Shop, open_shop, rows


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
