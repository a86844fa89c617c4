"""Dates as notices write them: in a form that is stated, or in ISO 8601; never guessed."""

from __future__ import annotations

import re
from datetime import date, datetime, time
from functools import lru_cache

from cardbill.csvfiles import CellRefused
from cardbill.errors import InvalidInput
from cardbill.instants import aware, parse_instant, zone

ISO = "iso"

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_TOKENS = {
    "dd": r"(?P<day>\d{1,2})",
    "mm": r"(?P<month>\d{1,2})",
    "Mon": r"(?P<name>[A-Za-z]{3})",
    "yyyy": r"(?P<year>\d{4})",
    "yy": r"(?P<year>\d{2})",
}
_TOKEN = re.compile("yyyy|yy|Mon|dd|mm")
_TIME = r"(?:[ T](?P<time>\d{2}:\d{2}(?::\d{2})?))?"
_DIGITS_AND_MARKS = re.compile(r"(\d{1,2})[/.\- ](\d{1,2})[/.\- ](\d{4}|\d{2})")
_CENTURY, _LAST_OF_CENTURY = 2000, 69


def check_form(form: object) -> str:
    """Return a form: ``dd``, ``mm`` or ``Mon``, ``yyyy`` or ``yy``, in any order.

    Raises:
        InvalidInput: It is none.
    """
    if form == ISO:
        return ISO
    parts = sorted(_TOKEN.findall(form)) if isinstance(form, str) else []
    marks = _TOKEN.sub("", form) if isinstance(form, str) else ""
    if not (
        isinstance(form, str)
        and len(parts) == 3
        and "dd" in parts
        and ("mm" in parts) + ("Mon" in parts) == 1
        and ("yy" in parts) + ("yyyy" in parts) == 1
        and not any(mark.isalnum() for mark in marks)
    ):
        raise InvalidInput("date_form", form, "must be 'iso' or a form such as dd/mm/yyyy")
    return form


def parse_date(field: str, text: str, form: str, time_zone: str) -> datetime:
    """Return the instant of a date, with or without a time, in a form or in ISO 8601.

    A year of two digits is one of 2000 to 2069. One without a zone is in `time_zone`.

    Raises:
        CellRefused: No form is stated, and day and month could be either.
        InvalidInput: It is no date of that form.
    """
    if form != ISO and (found := _pattern(form).fullmatch(text)):
        return _instant(field, text, found.groupdict(), time_zone)
    try:
        return parse_instant(field, text, time_zone)
    except InvalidInput as error:
        if form != ISO:
            problem = f"must be a date like {form}, or ISO 8601"
            raise InvalidInput(field, text, problem) from error
        if found := _DIGITS_AND_MARKS.match(text):
            first, second, year = found.groups()
            if 1 <= int(first) <= 12 >= int(second) >= 1 and int(first) != int(second):
                raise _ambiguous(field, text, first, second, year) from error
            problem = "must be an ISO 8601 date or time, or have its form stated in date_form"
            raise InvalidInput(field, text, problem) from error
        raise


def _ambiguous(field: str, text: str, first: str, second: str, year: str) -> CellRefused:
    problem = (
        f"could be {first} {_MONTHS[int(second) - 1].capitalize()} {year} or "
        f"{second} {_MONTHS[int(first) - 1].capitalize()} {year}: "
        'say date_form="dd/mm/yyyy" or date_form="mm/dd/yyyy"'
    )
    return CellRefused(field, text, "ambiguous-date", problem)


@lru_cache(maxsize=64)
def _pattern(form: str) -> re.Pattern[str]:
    parts, at = [], 0
    for token in _TOKEN.finditer(form):
        parts += [re.escape(form[at : token.start()]), _TOKENS[token.group()]]
        at = token.end()
    return re.compile("".join(parts) + re.escape(form[at:]) + _TIME, re.ASCII)


def _instant(field: str, text: str, parts: dict[str, str | None], time_zone: str) -> datetime:
    year = parts["year"] or ""
    if len(year) == 2 and int(year) > _LAST_OF_CENTURY:
        raise InvalidInput(
            field, text, "has a year of the last century or of this: write all of it"
        )
    name = (parts.get("name") or "").lower()
    if name and name not in _MONTHS:
        raise InvalidInput(field, text, "must have a month by its first three English letters")
    month = _MONTHS.index(name) + 1 if name else int(parts["month"] or 0)
    full = int(year) + (_CENTURY if len(year) == 2 else 0)
    try:
        day = date(full, month, int(parts["day"] or 0))
        clock = time.fromisoformat(parts["time"] or "00:00")
    except ValueError:
        raise InvalidInput(field, text, "is no day of the calendar") from None
    return aware(field, datetime.combine(day, clock, tzinfo=zone("time_zone", time_zone)))
