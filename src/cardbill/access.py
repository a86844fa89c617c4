"""Access numbers: what callers dial to reach the platform, and how calls on them are read.

Source: domain.md sections 2 and 4.
"""

from __future__ import annotations

from enum import Enum

from attrs import field, frozen

from cardbill import money
from cardbill.dialing import DialPlan, is_digits
from cardbill.errors import InvalidInput, MissingFields
from cardbill.names import check_choice, check_count, check_kind, check_language
from cardbill.pins import LONGEST, SHORTEST_WITH_NUMBER
from cardbill.rating import Rate

LONGEST_ACCESS = 15
"""Digits of the longest access number."""


class Stage(Enum):
    """How a caller on an access number says what he wants."""

    ONE = "one"
    """Credentials and destination in one dialled string, or the caller's number alone."""
    TWO = "two"
    """A dialogue: the PIN first, then the destination (the default)."""


class AccessKind(Enum):
    """What calling an access number costs the caller, and so the platform."""

    LOCAL = "local"
    NATIONAL = "national"
    MOBILE = "mobile"
    TOLL_FREE = "toll_free"
    INTERNAL = "internal"
    """Reached inside the switch only: no number of any network."""


class Asks(Enum):
    """What callers on an access number say who they are by."""

    PIN = "pin"
    NUMBER_AND_PIN = "number+pin"
    """The printed card number, then its PIN."""
    ANI = "ani"
    """Nothing: the caller's own number (PINless)."""


def _stage(value: Stage | str) -> Stage:
    return check_choice("stage", value, Stage)


def _kind(value: AccessKind | str) -> AccessKind:
    return check_choice("kind", value, AccessKind)


def _asks(value: Asks | str) -> Asks:
    return check_choice("credential", value, Asks)


def _currency(currency: object) -> str:
    return money.currency_code("cost_currency", currency) if currency else ""


def _digits(number: object) -> str:
    """Return an access number's digits; a ``+`` and what people write between is left out."""
    digits = plain_access(number)
    if digits is None and number not in (None, ""):
        raise InvalidInput("number", number, "must be digits, with or without a +")
    return digits or ""


@frozen(kw_only=True)
class AccessNumber:
    """A number that callers dial to reach the platform (DNIS).

    Attributes:
        number: 1 to 15 digits as the switch tells them, preferably E.164; a ``+`` before
            them and spaces between are left out. Unique; public.
        stage: ``one`` stage or ``two`` (the default).
        language: What callers hear where their plan does not say: an IETF language tag.
        dial_plan: How numbers dialled on it, and its callers' own, are read; ``None``: as
            the engine's dial plan says.
        pin_length: Where to cut PIN digits followed by the number, 4 to 20; ``None``: such
            strings are not understood, only those with ``*``.
        kind: ``local`` (the default), ``national``, ``mobile``, ``toll_free`` or ``internal``.
        credential: What its callers say who they are by: ``pin`` (the default), card number and
            PIN (``number+pin``), or their own number (``ani``).
        cost: What its provider charges for the time that callers are on it, as a toll-free
            number's does; ``None``: nothing. It lowers the margin of calls.
        cost_currency: The currency of that: ISO 4217 code, or ``moneyed.Currency``.

    Raises:
        MissingFields: No number is given, or only one of cost and its currency.
        InvalidInput: A field has a value that cannot be used; it is named.
    """

    number: str = field(default="", converter=_digits)  # required: see below
    stage: Stage = field(default=Stage.TWO, converter=_stage)
    language: str = "en"
    dial_plan: DialPlan | None = None
    pin_length: int | None = None
    kind: AccessKind = field(default=AccessKind.LOCAL, converter=_kind)
    credential: Asks = field(default=Asks.PIN, converter=_asks)
    cost: Rate | None = None
    cost_currency: str = field(default="", converter=_currency)

    def __attrs_post_init__(self) -> None:
        if not self.number:
            raise MissingFields("access number", ["number"])
        if len(self.number) > LONGEST_ACCESS:
            raise InvalidInput("number", self.number, f"has more than {LONGEST_ACCESS} digits")
        check_language("language", self.language)
        if self.dial_plan is not None:
            check_kind("dial_plan", self.dial_plan, DialPlan)
        if self.cost is not None:
            check_kind("cost", self.cost, Rate)
        for name, other in (("cost", "cost_currency"), ("cost_currency", "cost")):
            if getattr(self, name) and not getattr(self, other):
                raise MissingFields(f"access number with a {name}", [other])
        if self.pin_length is not None:
            check_count("pin_length", self.pin_length, SHORTEST_WITH_NUMBER, LONGEST)
            if self.credential is not Asks.PIN:
                problem = "is for strings of PIN and number; this access number asks otherwise"
                raise InvalidInput("pin_length", self.pin_length, problem)


def plain_access(number: object) -> str | None:
    """Return the digits of an access number as written; ``None``: it is none."""
    if not isinstance(number, str):
        return None
    digits = number.translate(_SEPARATORS).removeprefix("+")
    return digits if is_digits(digits) else None


_SEPARATORS = str.maketrans("", "", " -.()")
