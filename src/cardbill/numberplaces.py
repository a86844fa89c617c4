"""Numbers for people: where one is, what kind it is, how it is written.

From the package `phonenumbers` and, for the names of countries, babel: both are loaded when
first needed. The names of places are the package's largest part: about 100 MB of memory.
"""

from __future__ import annotations

from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING

from cardbill.dialing import MAX_DIGITS, is_digits
from cardbill.errors import InvalidNumber
from cardbill.locales import locale_of
from cardbill.numberplans import package, phone_number

if TYPE_CHECKING:
    from babel import Locale
    from phonenumbers import PhoneNumber

_NORTH_AMERICA = 1
"""The country code of which nobody can say whose it mainly is."""

_WORLD = "001"
"""The package's region of the country codes of no country."""


class NumberType(Enum):
    """What kind of line a number reaches, as far as its digits tell."""

    FIXED = "fixed_line"
    MOBILE = "mobile"
    FIXED_OR_MOBILE = "fixed_line_or_mobile"
    """Where both share their ranges, as in North America."""
    TOLL_FREE = "toll_free"
    PREMIUM = "premium_rate"
    SHARED_COST = "shared_cost"
    VOIP = "voip"
    PERSONAL = "personal_number"
    PAGER = "pager"
    COMPANY = "uan"
    """One number for all places of a company (UAN)."""
    VOICEMAIL = "voicemail"


def place_of(number: str, *, locale: str = "en") -> str | None:
    """Return the name of the place that a number belongs to.

    >>> place_of("442071234567"), place_of("447400123456"), place_of("4420", locale="de")
    ('London', 'United Kingdom', 'London')

    Args:
        number: E.164 digits, with or without a ``+``; the first few are enough.
        locale: The language of the name, such as ``es`` or ``pt-BR``; places whose name is
            not known in it are named in English.

    Returns:
        A city or an area; the country where none is known; ``None`` for numbers of no
        country, or of several, as North America's toll-free ones.

    Raises:
        InvalidNumber: It has something else than 1 to 15 digits.
        InvalidInput: The locale is unknown.
        ExtraMissing: The package is not installed: the extra ``numbers``.
    """
    return _place(_digits(number), locale)


def number_type(number: str) -> NumberType | None:
    """Return what kind of line a number reaches; ``None``: its digits do not tell.

    >>> number_type("447400123456").value, number_type("448001234567").value
    ('mobile', 'toll_free')

    Args:
        number: E.164 digits, with or without a ``+``.

    Raises:
        InvalidNumber, ExtraMissing: As for :func:`place_of`.
    """
    found = phone_number(_digits(number))
    if found is None:
        return None
    phonenumbers = package()
    kind = phonenumbers.PhoneNumberType.to_string(phonenumbers.number_type(found)).lower()
    return NumberType(kind) if kind != "unknown" else None


def format_number(number: str) -> str:
    """Return a number as it is written in letters and on web pages.

    >>> format_number("442071234567")
    '+44 20 7123 4567'

    Args:
        number: E.164 digits, with or without a ``+``.

    Raises:
        InvalidNumber, ExtraMissing: As for :func:`place_of`.
    """
    digits = _digits(number)
    found = phone_number(digits)
    if found is None:
        return f"+{digits}"
    phonenumbers = package()
    style = phonenumbers.PhoneNumberFormat.INTERNATIONAL
    written = str(phonenumbers.format_number(found, style)).strip()
    same = "".join(filter(is_digits, written)) == digits  # not so for a country code alone
    return written if same else f"+{digits}"


def _digits(number: object) -> str:
    digits = number.removeprefix("+") if isinstance(number, str) else ""
    if not is_digits(digits) or len(digits) > MAX_DIGITS:
        raise InvalidNumber("number", None, f"must be E.164: 1 to {MAX_DIGITS} digits")
    return digits


@lru_cache(maxsize=4_096)
def _place(digits: str, locale: str) -> str | None:
    names = locale_of("locale", locale)
    number = phone_number(digits)
    if number is None:
        return None
    phonenumbers = package()
    if not phonenumbers.is_valid_number(number):
        area = _area(digits, names)  # the beginning of a number, or one of a new range
    elif phonenumbers.is_number_geographical(number):
        code = str(number.country_code)
        token = phonenumbers.country_mobile_token(number.country_code)  # stands before the area
        area = _area(code + digits[len(code) :].removeprefix(token), names)
    else:
        area = None
    return area or names.territories.get(_region(number))


def _area(digits: str, locale: Locale) -> str | None:
    """Return the name kept under the longest prefix that has one in that language."""
    from phonenumbers.geodata import GEOCODE_DATA, GEOCODE_LONGEST_PREFIX

    for language in (f"{locale.language}_{locale.script}", locale.language, "en"):
        for length in range(min(GEOCODE_LONGEST_PREFIX, len(digits)), 0, -1):
            if name := GEOCODE_DATA.get(digits[:length], {}).get(language):
                return str(name)
    return None


def _region(number: PhoneNumber) -> str:
    """Return the one country whose number it is, or else the one its code mainly belongs to.

    Empty where there is none.
    """
    phonenumbers = package()
    regions = phonenumbers.region_codes_for_country_code(number.country_code)
    valid = [r for r in regions if phonenumbers.is_valid_number_for_region(number, r)]
    region = valid[0] if len(valid) == 1 else regions[0]
    nobody = region == _WORLD or (len(valid) != 1 and number.country_code == _NORTH_AMERICA)
    return "" if nobody else str(region)
