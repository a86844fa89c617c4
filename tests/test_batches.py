"""A batch takes the terms domain.md lists, refuses the rest by name, and expires by its dates."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, strategies as st
from moneyed import Money

from cardbill import Batch, FirstUse
from cardbill.errors import InexactAmount, InvalidInput, MissingFields

NEEDED: dict[str, Any] = {"name": "SUMMER-5", "face_value": Money(5, "USD"), "quantity": 1_000}
TICK = timedelta(microseconds=1)


def batch(**terms: Any) -> Batch:
    return Batch(**{**NEEDED, **terms})


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


# -- what must be given ---------------------------------------------------------------------


@pytest.mark.parametrize("left_out", [set(), {"name"}, {"name", "quantity"}, {"face_value"}])
def test_every_required_field_that_is_missing_is_named(left_out: set[str]):
    given = {name: value for name, value in NEEDED.items() if name not in left_out}
    if not left_out:
        assert Batch(**given).face_units == 5_000_000
        return
    with pytest.raises(MissingFields) as caught:
        Batch(**given)
    assert set(caught.value.fields) == left_out
    assert all(name in str(caught.value) for name in left_out)


def test_all_three_are_named_at_once_and_in_order():
    with pytest.raises(MissingFields) as caught:
        Batch()
    assert caught.value.fields == ("name", "face_value", "quantity")
    with pytest.raises(MissingFields) as caught:
        batch(name="", face_value=None, quantity=None)
    assert caught.value.fields == ("name", "face_value", "quantity")


def test_a_zero_is_wrong_but_not_missing():
    for field, value in (("quantity", 0), ("face_value", 0), ("name", 0)):
        with pytest.raises(InvalidInput) as caught:
            batch(**{field: value})
        assert caught.value.field == field
        assert not isinstance(caught.value, MissingFields)


# -- what each field takes ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", " SUMMER"),
        ("name", "SUMMER "),
        ("name", "A/B"),
        ("name", "A\nB"),
        ("name", "A\0"),
        ("name", "x" * 65),
        ("name", "\u202eA"),
        ("name", "\ud800"),
        ("name", 5),
        ("name", b"SUMMER"),
        ("face_value", 5),
        ("face_value", 5.0),
        ("face_value", "5 USD"),
        ("face_value", Decimal(5)),
        ("face_value", Money(0, "USD")),
        ("face_value", Money("-5", "USD")),
        ("face_value", Money("0.001", "USD")),
        ("face_value", Money("NaN", "USD")),
        ("face_value", Money("Infinity", "USD")),
        ("face_value", Money(10**13, "USD")),
        ("quantity", -1),
        ("quantity", 100_000_001),
        ("quantity", True),
        ("quantity", 10.0),
        ("quantity", "10"),
        ("quantity", Decimal(10)),
        ("effective_date", "2024-01-01"),
        ("effective_date", datetime(2024, 1, 1, tzinfo=UTC)),
        ("effective_date", 20240101),
        ("effective_date", date(1969, 12, 31)),
        ("expiration_date", date(9991, 1, 1)),
        ("expiration_date", date.max),
        ("expiration_date", "never"),
        ("expires_days_after_first_use", -1),
        ("expires_days_after_first_use", 36_526),
        ("expires_days_after_first_use", 90.0),
        ("expires_days_after_first_use", True),
        ("expires_days_after_first_use", "90"),
        ("expires_days_after_first_use", timedelta(days=90)),
        ("taxable", 1),
        ("taxable", "yes"),
        ("taxable", None),
        ("tax_jurisdiction", "a/b"),
        ("tax_jurisdiction", ""),
        ("pin_length", 7),
        ("pin_length", 21),
        ("pin_length", True),
        ("pin_length", "12"),
        ("first_use", "x"),
        ("first_use", None),
        ("time_zone", "Mars/Olympus"),
        ("time_zone", ""),
        ("time_zone", None),
        ("time_zone", 5),
        ("plan", ""),
        ("plan", "a/b"),
        ("plan", 7),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_by_the_name_of_its_field(field: str, value: object):
    with pytest.raises(InvalidInput) as caught:
        batch(**{field: value})
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("amount", "currency"),
    [
        ("5.005", "USD"),
        ("5.5", "JPY"),
        ("1.2345", "KWD"),
        ("0.0001", "EUR"),
        ("1.00001", "CLF"),
        ("0.5", "XAF"),
        ("5.0000001", "USD"),
    ],
)
def test_a_face_value_is_in_whole_coins(amount: str, currency: str):
    with pytest.raises(InexactAmount) as caught:
        batch(face_value=Money(amount, currency))
    assert caught.value.field == "face_value"


@pytest.mark.parametrize(
    ("amount", "currency", "units"),
    [
        ("5", "USD", 5_000_000),
        ("0.01", "USD", 10_000),
        ("5.00000", "USD", 5_000_000),
        ("500", "JPY", 500_000_000),
        ("1.234", "KWD", 1_234_000),
        ("1.0001", "CLF", 1_000_100),
        ("9000000000000", "USD", 9_000_000_000_000_000_000),
    ],
)
def test_a_face_value_is_held_exactly(amount: str, currency: str, units: int):
    made = batch(face_value=Money(amount, currency))
    assert made.face_units == units
    assert made.currency == currency


def test_the_outermost_terms_allowed_are_allowed():
    made = batch(
        name="x" * 64,
        quantity=100_000_000,
        effective_date=date(1970, 1, 1),
        expiration_date=date(9990, 12, 31),
        expires_days_after_first_use=36_525,
        pin_length=20,
        first_use="authentication",
    )
    assert made.first_use is FirstUse.AUTHENTICATION
    assert batch(quantity=1, pin_length=8, expires_days_after_first_use=0).quantity == 1
    assert batch(name="Été ✓ 2024").name == "Été ✓ 2024"


def test_a_taxable_batch_names_its_jurisdiction():
    with pytest.raises(MissingFields) as caught:
        batch(taxable=True)
    assert caught.value.fields == ("tax_jurisdiction",)
    assert batch(taxable=True, tax_jurisdiction="US-FL").taxable
    assert batch(tax_jurisdiction="US-FL").taxable is False


def test_an_expiration_before_the_effective_date_is_refused_and_on_the_day_is_not():
    with pytest.raises(InvalidInput) as caught:
        batch(effective_date=date(2024, 6, 2), expiration_date=date(2024, 6, 1))
    assert caught.value.field == "expiration_date"
    one_day = batch(effective_date=date(2024, 6, 1), expiration_date=date(2024, 6, 1))
    assert one_day.effective_at == utc("2024-06-01")
    assert one_day.expires_at == utc("2024-06-02")


def test_terms_do_not_change():
    with pytest.raises(AttributeError):
        setattr(batch(), *("quantity", 5))


# -- when its cards work --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("zone", "first", "last", "begins", "ends"),
    [
        ("UTC", "2024-02-29", "2024-02-29", "2024-02-29", "2024-03-01"),
        ("America/Sao_Paulo", "2018-11-04", "2018-11-04", "2018-11-04T03:00", "2018-11-05T02:00"),
        ("America/Sao_Paulo", "2018-11-03", "2018-11-03", "2018-11-03T03:00", "2018-11-04T03:00"),
        ("Pacific/Apia", "2011-12-29", "2011-12-29", "2011-12-29T10:00", "2011-12-30T10:00"),
        ("Pacific/Apia", "2011-12-30", "2011-12-31", "2011-12-30T10:00", "2011-12-31T10:00"),
        ("Asia/Kathmandu", "2024-02-29", "2024-02-29", "2024-02-28T18:15", "2024-02-29T18:15"),
        ("Etc/GMT+12", "2024-12-31", "2024-12-31", "2024-12-31T12:00", "2025-01-01T12:00"),
        ("Etc/GMT-14", "2024-12-31", "2024-12-31", "2024-12-30T10:00", "2024-12-31T10:00"),
    ],
)
def test_dates_are_days_of_the_batchs_own_zone(
    zone: str, first: str, last: str, begins: str, ends: str
):
    made = batch(
        time_zone=zone,
        effective_date=date.fromisoformat(first),
        expiration_date=date.fromisoformat(last),
    )
    assert made.effective_at == utc(begins)
    assert made.expires_at == utc(ends)


def test_without_dates_cards_work_at_once_and_for_ever():
    made = batch()
    assert made.effective_at is made.expires_at is None
    assert made.expiry_after(utc("2024-06-01")) is None


@pytest.mark.parametrize(
    ("zone", "first_use", "days", "expires"),
    [
        ("UTC", "2024-06-01T00:00", 0, "2024-06-02"),
        ("UTC", "2024-06-01T23:59:59.999999", 0, "2024-06-02"),
        ("UTC", "2024-06-01T00:00", 1, "2024-06-03"),
        ("UTC", "2024-02-29T12:00", 365, "2025-03-01"),  # last day: 28 February
        ("UTC", "2024-02-29T12:00", 366, "2025-03-02"),
        ("UTC", "2023-12-31T12:00", 60, "2024-03-01"),  # last day: 29 February
        ("UTC", "2024-06-01T12:00", 36_525, "2124-06-03"),
        ("Europe/Berlin", "2024-03-30T22:59", 1, "2024-03-31T22:00"),  # the day of 23 hours
        ("Europe/Berlin", "2024-03-30T23:00", 1, "2024-04-01T22:00"),
        ("America/New_York", "2024-11-02T12:00", 1, "2024-11-04T05:00"),  # the day of 25 hours
        ("America/Sao_Paulo", "2018-11-03T12:00", 0, "2018-11-04T03:00"),
        ("America/Sao_Paulo", "2018-11-04T02:59:59.999999", 0, "2018-11-04T03:00"),
        ("America/Sao_Paulo", "2018-11-04T03:00", 0, "2018-11-05T02:00"),
        ("Pacific/Apia", "2011-12-29T12:00", 0, "2011-12-30T10:00"),
        ("Pacific/Apia", "2011-12-29T12:00", 1, "2011-12-30T10:00"),  # the day that was not
        ("Pacific/Apia", "2011-12-29T12:00", 2, "2011-12-31T10:00"),
        ("Pacific/Apia", "2011-12-30T10:00", 0, "2011-12-31T10:00"),
        ("Asia/Kathmandu", "2024-02-28T18:14:59", 0, "2024-02-28T18:15"),
        ("Asia/Kathmandu", "2024-02-28T18:15", 0, "2024-02-29T18:15"),
        ("Etc/GMT+12", "2024-06-01T11:59", 0, "2024-06-01T12:00"),
        ("Etc/GMT-14", "2024-06-01T10:00", 0, "2024-06-02T10:00"),
    ],
)
def test_a_card_lasts_to_the_end_of_its_nth_local_day(
    zone: str, first_use: str, days: int, expires: str
):
    made = batch(time_zone=zone, expires_days_after_first_use=days)
    assert made.expiry_after(utc(first_use)) == utc(expires)


@pytest.mark.parametrize(
    ("last", "days", "expires"),
    [
        ("2024-06-30", 90, "2024-07-01"),
        ("2024-06-30", 10, "2024-06-12"),
        ("2024-06-11", 10, "2024-06-12"),
        ("2024-06-10", 10, "2024-06-11"),
        ("2024-06-30", None, "2024-07-01"),
        ("2024-05-01", 10, "2024-05-02"),  # over before the first use
    ],
)
def test_of_both_limits_the_earlier_counts(last: str, days: int | None, expires: str):
    made = batch(expiration_date=date.fromisoformat(last), expires_days_after_first_use=days)
    assert made.expiry_after(utc("2024-06-01T08:00")) == utc(expires)


# Clocks that went back over midnight itself (Newfoundland until 2011) are in test_instants.
MODERN = st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1))  # noqa: DTZ001


@given(MODERN, st.timezones(), st.integers(0, 800))
@example(datetime(2024, 11, 3, 4, 30), ZoneInfo("America/Havana"), 0)  # noqa: DTZ001
def test_a_card_expires_after_its_first_use_at_the_turn_of_a_local_day(
    naive: datetime, zone: ZoneInfo, days: int
):
    first_use = naive.replace(tzinfo=UTC)
    expires = batch(time_zone=zone.key, expires_days_after_first_use=days).expiry_after(first_use)
    assert expires is not None
    assert first_use < expires
    last = first_use.astimezone(zone).date() + timedelta(days=days)
    assert (expires - TICK).astimezone(zone).date() <= last < expires.astimezone(zone).date()


@given(MODERN, st.timezones(), st.integers(0, 800))
def test_a_card_used_later_never_expires_earlier(naive: datetime, zone: ZoneInfo, days: int):
    made = batch(time_zone=zone.key, expires_days_after_first_use=days)
    instants = [naive.replace(tzinfo=UTC) + timedelta(hours=hours) for hours in range(0, 60, 7)]
    told = [made.expiry_after(instant) for instant in instants]
    assert told == sorted(filter(None, told))


def test_a_card_used_in_an_hour_that_comes_twice_over_midnight_is_not_expired_at_once():
    made = batch(time_zone="America/St_Johns", expires_days_after_first_use=0)
    first_use = datetime(2010, 11, 6, 23, 30, fold=1, tzinfo=ZoneInfo("America/St_Johns"))
    expires = made.expiry_after(first_use.astimezone(UTC))
    assert expires is not None
    assert expires > first_use.astimezone(UTC)
