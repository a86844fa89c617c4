"""Numbers as dialled become E.164 digits: country code first, no ``+``, at most 15.

A caller's digits are never repeated in an error: people type PINs at the wrong prompt.
"""

from __future__ import annotations

from typing import TypeGuard

from attrs import field, frozen

from cardbill.errors import InvalidInput, InvalidNumber
from cardbill.names import check_choice, check_count
from cardbill.numberplans import NumberCheck, check_number, package

MAX_DIGITS = 15
"""Digits of the longest number (ITU-T E.164)."""

SHORTEST = 7
"""Digits of the shortest number that is dialled, where a dial plan does not say otherwise."""


def is_digits(text: object) -> TypeGuard[str]:
    """Say whether `text` is one or more of the ASCII digits 0-9 and nothing else."""
    return isinstance(text, str) and text.isascii() and text.isdigit()


def caller_number(ani: object) -> str | None:
    """Return a caller's number as far as it is one: at most 20 digits, maybe a ``+``.

    What a network or a forger sends is never an error; anything else is no number.
    """
    if not isinstance(ani, str):
        return None
    digits = ani.translate(_SEPARATORS)
    plain = digits.removeprefix("+")
    return digits if is_digits(plain) and len(plain) <= 20 else None


def _check(value: NumberCheck | str) -> NumberCheck:
    return check_choice("dial plan check", value, NumberCheck)


@frozen(kw_only=True)
class DialPlan:
    """What callers of one country put before a number.

    :func:`cardbill.dial_plan` knows the plans of most countries.

    Attributes:
        country_code: Put before national numbers, e.g. ``44``.
        international_prefix: What precedes a country code when dialling abroad, e.g. ``00``.
        national_prefix: What precedes an area code, e.g. ``0``; may be empty.
        national_lengths: The lengths a national number can have, without the prefix;
            empty: any.
        shortest: The fewest digits of an E.164 number that is dialled at all.
        other_international_prefixes: What may stand instead of `international_prefix`, such
            as the carriers' own; tried before it, in this order.
        other_national_prefixes: What may stand instead of `national_prefix`; tried before
            it, in this order.
        area_code: Put before a local number: one that becomes a national number by it, and
            is none without. Empty: nobody dials so. Needs `national_lengths`.
        check: How closely :meth:`called` looks at a number: not at all (the default), or by
            the world's numbering plans (the extra ``numbers``).

    Raises:
        InvalidInput: A field has a value that cannot be used; it is named.
        ExtraMissing: The check needs a package that is not installed.
    """

    country_code: str
    international_prefix: str
    national_prefix: str = ""
    national_lengths: tuple[int, ...] = ()
    shortest: int = SHORTEST
    other_international_prefixes: tuple[str, ...] = ()
    other_national_prefixes: tuple[str, ...] = ()
    area_code: str = ""
    check: NumberCheck = field(default=NumberCheck.NONE, converter=_check)

    def __attrs_post_init__(self) -> None:
        for name in ("country_code", "international_prefix", "national_prefix", "area_code"):
            digits = getattr(self, name)
            optional = name in {"national_prefix", "area_code"}
            if not is_digits(digits) and not (optional and digits == ""):
                raise InvalidInput(f"dial plan {name}", digits, "must be digits")
        for name in ("other_international_prefixes", "other_national_prefixes"):
            prefixes = getattr(self, name)
            if not isinstance(prefixes, tuple) or not all(map(is_digits, prefixes)):
                raise InvalidInput(f"dial plan {name}", prefixes, "must be a tuple of digits")
        if self.country_code.startswith("0"):
            raise InvalidInput("dial plan country_code", self.country_code, "must not begin with 0")
        lengths = self.national_lengths
        if not isinstance(lengths, tuple):
            raise InvalidInput("dial plan national_lengths", lengths, "must be a tuple")
        for length in lengths:
            check_count("dial plan national_lengths", length, 1, MAX_DIGITS)
        check_count("dial plan shortest", self.shortest, 1, MAX_DIGITS)
        if self.area_code and not lengths:
            problem = "needs national_lengths, to tell local numbers from national ones"
            raise InvalidInput("dial plan area_code", self.area_code, problem)
        if self.check is not NumberCheck.NONE:
            package()  # refuses here, not at the first call

    def called(self, dialled: str) -> str:
        """Return the E.164 digits of a number to call, looked at as `check` says.

        Callers' own numbers are only read, by :meth:`e164`: they call, so they exist.

        Raises:
            InvalidNumber: As for :meth:`e164`, or no such number can exist.
        """
        digits = self.e164(dialled)
        if self.check is not NumberCheck.NONE:
            check_number(digits, self.check)
        return digits

    def e164(self, dialled: str) -> str:
        """Return the E.164 digits of a number as dialled.

        ``+`` or the international prefix introduces a country code; anything else is a
        national number, with or without the national prefix. Spaces, dots, hyphens and
        parentheses between the digits are ignored, as people write them.

        Raises:
            InvalidNumber: It has letters or other signs, or no number has that length.
        """
        if not isinstance(dialled, str):
            raise InvalidNumber("to", None, "must be text")
        abroad = dialled.startswith("+")
        digits = dialled[abroad:].translate(_SEPARATORS)
        if not digits:
            raise InvalidNumber("to", None, "holds no digits")
        if not is_digits(digits):
            raise InvalidNumber("to", None, "must be digits only")
        if not abroad:
            prefix = self.international_prefix
            others = self.other_international_prefixes
            if others and digits.startswith(others):
                prefix = next(other for other in others if digits.startswith(other))
            abroad = digits.startswith(prefix)
            if abroad:
                digits = digits[len(prefix) :]
        if not abroad:
            digits = self.country_code + self._national(digits)
        if digits.startswith("0"):
            raise InvalidNumber("to", None, "no country code begins with 0")
        if len(digits) < self.shortest:
            raise InvalidNumber(
                "to", None, f"is too short: {len(digits)} digits, at least {self.shortest}"
            )
        if len(digits) > MAX_DIGITS:
            raise InvalidNumber(
                "to", None, f"is too long: {len(digits)} digits, at most {MAX_DIGITS}"
            )
        return digits

    def _national(self, digits: str) -> str:
        lengths, others = self.national_lengths, self.other_national_prefixes
        for prefix in (*others, self.national_prefix) if others else (self.national_prefix,):
            if prefix and digits.startswith(prefix):
                bare = digits[len(prefix) :]
                if not lengths or len(bare) in lengths:
                    return bare
        if not lengths or len(digits) in lengths:
            return digits
        if self.area_code and len(self.area_code) + len(digits) in lengths:
            return self.area_code + digits
        known = " or ".join(map(str, lengths))
        raise InvalidNumber("to", None, f"national numbers have {known} digits, not {len(digits)}")


NORTH_AMERICA = DialPlan(
    country_code="1", international_prefix="011", national_prefix="1", national_lengths=(10,)
)
"""The dial plan of the +1 countries (NANP): ``011`` abroad, ``1`` or nothing at home."""

_SEPARATORS = str.maketrans("", "", " -.()")
