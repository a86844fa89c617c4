"""Instants: aware UTC ``datetime`` at the border, integer microseconds in rows and state.

Local dates become instants by the rule of domain.md section 2: a date begins at local
midnight, and all spans are half-open, ``[start, end)``.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cardbill.errors import InvalidInput

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def to_micros(instant: datetime) -> int:
    """Return microseconds since 1970-01-01 UTC, exactly."""
    return (instant - EPOCH) // MICROSECOND


def from_micros(micros: int) -> datetime:
    """Return the aware UTC instant that many microseconds after 1970-01-01 UTC."""
    return EPOCH + timedelta(microseconds=micros)


def micros_of(instant: datetime | None) -> int | None:
    """Return what :func:`to_micros` does; of no instant, nothing."""
    return None if instant is None else to_micros(instant)


def instant_of(micros: int | None) -> datetime | None:
    """Return what :func:`from_micros` does; of nothing, no instant."""
    return None if micros is None else from_micros(micros)


def aware(field: str, instant: object) -> datetime:
    """Return `instant` in UTC.

    Raises:
        InvalidInput: It is not a ``datetime``, is one without a time zone, or lies
            outside the years 1 to 9999 in UTC.
    """
    if not isinstance(instant, datetime):
        raise InvalidInput(field, instant, "must be a datetime")
    if instant.tzinfo is UTC:
        return instant
    if instant.utcoffset() is None:
        raise InvalidInput(field, instant, "must be aware: give it a time zone")
    try:
        return instant.astimezone(UTC)
    except OverflowError:
        raise InvalidInput(field, instant, "must be in the years 1 to 9999 in UTC") from None


def zone(field: str, name: str) -> ZoneInfo:
    """Return the named time zone of the IANA database.

    Raises:
        InvalidInput: There is none of that name.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError) as error:
        raise InvalidInput(field, name, "is not an IANA time zone") from error


def parse_instant(field: str, text: str, time_zone: str) -> datetime:
    """Return the instant of an ISO 8601 text; one without a zone is in `time_zone`.

    Raises:
        InvalidInput: It is none, or there is no such zone.
    """
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput(field, text, "must be an ISO 8601 date or time") from None
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=zone("time_zone", time_zone))
    return aware(field, instant)


def local_midnight(day: date, tz: ZoneInfo) -> datetime:
    """Return the UTC instant at which local `day` begins in `tz`.

    Where a clock change leaves the day without a midnight, it begins at the change; where
    clocks go back over midnight into the day before, at the second midnight.
    """
    midnight = datetime(day.year, day.month, day.day, tzinfo=tz)
    first, second = (midnight.replace(fold=fold).astimezone(UTC) for fold in (0, 1))
    back = first < second and (second - MICROSECOND).astimezone(tz).date() < day
    return second if back else first


def end_of_day(day: date, tz: ZoneInfo) -> datetime:
    """Return the UTC instant at which local `day` ends: the next day's beginning."""
    return local_midnight(day + timedelta(days=1), tz)
