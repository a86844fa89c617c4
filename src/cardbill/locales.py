"""How people of a language write dates and durations, by babel, which loads when first needed."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING

from cardbill.errors import InvalidInput

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from babel import Locale


@lru_cache(maxsize=64)
def locale_of(field: str, tag: str) -> Locale:
    """Return the locale of a language tag, such as ``es``, ``pt-BR`` or ``pt_BR``.

    Raises:
        InvalidInput: Babel knows none.
    """
    from babel import Locale, UnknownLocaleError

    try:
        return Locale.parse(tag.replace("-", "_"))
    except (UnknownLocaleError, ValueError, TypeError, AttributeError) as error:
        raise InvalidInput(field, tag, "is not a locale that babel knows") from error


def write_instant(instant: datetime, zone: ZoneInfo, locale: Locale) -> str:
    """Return an instant's local date and time: ``Mar 3, 2025, 7:05:00 AM``."""
    from babel.dates import format_datetime

    # Babel puts a narrow no-break space before AM: terminals and old spreadsheets do not show it.
    written = format_datetime(instant, "medium", tzinfo=zone, locale=locale)
    return str(written).replace("\u202f", " ")


def write_minutes(seconds: int, locale: Locale) -> str:
    """Return a duration in minutes, and seconds where there are some: ``29 min 30 sec``."""
    from babel.units import format_unit

    minutes, rest = divmod(seconds, 60)
    parts = [(minutes, "duration-minute")] if minutes or not rest else []
    parts += [(rest, "duration-second")] if rest else []
    return " ".join(str(format_unit(n, unit, "short", locale=locale)) for n, unit in parts)
