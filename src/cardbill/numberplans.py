"""The world's numbering plans: what numbers there are, by country code.

They come from the package `phonenumbers` (Google's libphonenumber), which is loaded when
first needed: the extra ``numbers``. What a number needs is compiled once per country code,
so that looking at a number is a dictionary look-up.
"""

from __future__ import annotations

from enum import Enum
from functools import cache, lru_cache
from types import ModuleType
from typing import TYPE_CHECKING

from cardbill.errors import ExtraMissing, InvalidNumber

if TYPE_CHECKING:
    from phonenumbers import PhoneNumber


class NumberCheck(Enum):
    """How closely a called number is looked at before anybody pays for an attempt.

    The package's data follow the numbering plans of the world with some delay: a number of
    a new range is refused until the package is brought up to date, the sooner the closer
    the look.
    """

    NONE = "none"
    """Not at all (the default)."""
    POSSIBLE = "possible"
    """Its country code exists, and numbers under that have this length."""
    VALID = "valid"
    """Its digits lie in a range that is in use."""


def package() -> ModuleType:
    """Return the package `phonenumbers`.

    Raises:
        ExtraMissing: It is not installed.
    """
    try:
        import phonenumbers
    except ImportError as error:
        raise ExtraMissing("numbers", "phonenumbers") from error
    return phonenumbers


def check_number(digits: str, check: NumberCheck) -> None:
    """Check that a number can exist.

    Args:
        digits: E.164 digits, without a ``+``.
        check: How closely.

    Raises:
        InvalidNumber: There can be no such number; its digits are not repeated.
    """
    if check is NumberCheck.NONE:
        return
    lengths = number_lengths(digits[:3])
    if len(digits) not in lengths:
        known = f"no number of that country has {len(digits)} digits"
        raise InvalidNumber("to", None, known if lengths else "no country has such a code")
    if check is NumberCheck.VALID:
        _check_range(digits)


def country_code(digits: str) -> str | None:
    """Return the country code that a number begins with; ``None``: no country has it.

    Codes have one to three digits, and none begins another (ITU-T E.164).
    """
    known = package().COUNTRY_CODE_TO_REGION_CODE
    return next((digits[:n] for n in (1, 2, 3) if int(digits[:n]) in known), None)


@cache
def number_lengths(first: str) -> frozenset[int]:
    """Return how many digits, country code included, a number that begins so can have.

    Args:
        first: The number's first three digits, or its country code. No more than some 1,200
            answers are ever kept.
    """
    code = country_code(first)
    if code is None:
        return frozenset()
    phonenumbers = package()
    region = phonenumbers.region_code_for_country_code(int(code))
    metadata = phonenumbers.PhoneMetadata.metadata_for_region_or_calling_code(int(code), region)
    return frozenset(len(code) + length for length in metadata.general_desc.possible_length)


def phone_number(digits: str) -> PhoneNumber | None:
    """Return the package's own form of a number; ``None``: no country has its code.

    The package's parser is for what people write: it would take a national prefix out of
    ``4402071234567``.
    """
    code = country_code(digits)
    if code is None:
        return None
    national = digits[len(code) :]
    significant = national.lstrip("0") or "0"
    zeros = max(0, len(national) - len(significant))
    made: PhoneNumber = package().PhoneNumber(
        country_code=int(code),
        national_number=int(significant),
        italian_leading_zero=bool(zeros) or None,
        number_of_leading_zeros=zeros or None,
    )
    return made


@lru_cache(maxsize=65_536)
def _check_range(digits: str) -> None:
    """Raise for a number in no range; what raises is not kept: it may be anything."""
    number = phone_number(digits)
    if number is None or not package().is_valid_number(number):
        raise InvalidNumber("to", None, "no range of numbers in use holds it")
