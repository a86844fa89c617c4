"""Batch terms: what every card of a batch is sold with. Source: domain.md section 2."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING

from attrs import field, frozen

from cardbill import money
from cardbill.cardnumbers import CardNumbers, joined
from cardbill.errors import InvalidInput, MissingFields
from cardbill.instants import end_of_day, local_midnight, zone
from cardbill.jurisdictions import Exemption
from cardbill.keyring import NUMBER_PIN, PIN
from cardbill.names import check_choice, check_count, check_date, check_kind, check_many, check_name
from cardbill.pins import DEFAULT_LENGTH, SHORTEST, SHORTEST_WITH_NUMBER, check_length
from cardbill.taxregions import TaxRegions

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from moneyed import Money

LARGEST_QUANTITY = 100_000_000
LONGEST_VALIDITY_DAYS = 36_525


class FirstUse(Enum):
    """What counts as a card's first use."""

    AUTHORIZATION = "authorization"
    """The first granted call (the default)."""
    AUTHENTICATION = "authentication"
    """The first time the caller's PIN is accepted."""


class Validity(Enum):
    """What starts the days that a card works."""

    FIRST_USE = "first_use"
    """Its first use (the default)."""
    FIRST_ANSWER = "first_answer"
    """The answer of its first answered call, when that is reported."""


def _validity(value: Validity | str) -> Validity:
    return check_choice("validity", value, Validity)


def _exemptions(value: Iterable[Exemption]) -> tuple[Exemption, ...]:
    return check_many("exemptions", value, Exemption)


def _first_use(value: FirstUse | str) -> FirstUse:
    return check_choice("first_use", value, FirstUse)


@frozen(kw_only=True)
class Batch:
    """The terms of a batch of PINs.

    Attributes:
        name: Unique, 1 to 64 printable characters.
        face_value: What each card is worth, in whole coins of its currency; above zero.
        quantity: The number of PINs, 1 to 100,000,000.
        effective_date: The first local day the cards work; ``None``: at once.
        expiration_date: The last local day they work; ``None``: no such day.
        expires_days_after_first_use: Days a card works after the local date of its first
            use; ``None``: not limited by use. Of both limits the earlier counts.
        taxable: Whether taxes apply; without it (the default) there are none, and nobody's may
            be named.
        tax_jurisdiction: Whose taxes; needed when taxable, or the following.
        tax_regions: Whose taxes where they follow the caller's or the called number.
        exemptions: What its cards are exempt from.
        pin_length: Digits of generated PINs, 8 to 20, with card numbers 4 to 20.
        pin_luhn: The last digit of generated PINs is a Luhn check digit.
        card_numbers: What the printed, public card numbers begin with; each is this prefix,
            the serial in as many digits as the batch needs, and a Luhn check digit, at most
            19 digits. Callers key it before their PIN, and PINs are unique only together
            with it. ``None``: the PIN alone opens a card.
        first_use: What counts as first use: the first granted call, ``authorization`` (the
            default), or the first ``authentication``.
        validity: What the days after first use are counted from: ``first_use`` (the
            default), or ``first_answer``, the first answered call.
        sold_first: Whether cards are dead until they are sold.
        time_zone: The IANA zone in which the dates are days.
        plan: The subscription plan, once assigned.

    Raises:
        MissingFields: Name, face value or quantity is left out; each is named.
        InvalidInput: A field has a value that cannot be used; it is named.
    """

    name: str = field(default="")  # required, as are face value and quantity: see below
    face_value: Money = field(default=None)
    quantity: int = field(default=None)
    effective_date: date | None = field(default=None)
    expiration_date: date | None = field(default=None)
    expires_days_after_first_use: int | None = field(default=None)
    taxable: bool = field(default=False)
    tax_jurisdiction: str | None = field(default=None)
    tax_regions: TaxRegions | None = None
    exemptions: tuple[Exemption, ...] = field(default=(), converter=_exemptions)
    pin_length: int = field(default=DEFAULT_LENGTH)
    pin_luhn: bool = False
    card_numbers: str | None = None
    first_use: FirstUse = field(default=FirstUse.AUTHORIZATION, converter=_first_use)
    validity: Validity = field(default=Validity.FIRST_USE, converter=_validity)
    sold_first: bool = field(default=False)
    time_zone: str = field(default="UTC")
    plan: str | None = field(default=None)

    def __attrs_post_init__(self) -> None:
        required = ("name", "face_value", "quantity")
        if missing := [f for f in required if getattr(self, f) in (None, "")]:
            raise MissingFields("batch", missing)
        check_name("name", self.name)
        if not hasattr(self.face_value, "currency"):
            raise InvalidInput("face_value", self.face_value, "must be Money")
        if self.face_units <= 0:
            raise InvalidInput("face_value", self.face_value, "must be above zero")
        check_count("quantity", self.quantity, 1, LARGEST_QUANTITY)
        shortest = SHORTEST if self.card_numbers is None else SHORTEST_WITH_NUMBER
        check_length("pin_length", self.pin_length, shortest=shortest)
        if not isinstance(self.pin_luhn, bool):
            raise InvalidInput("pin_luhn", self.pin_luhn, "must be True or False")
        _ = self.numbering  # its checks
        if self.plan is not None:
            check_name("plan", self.plan)
        for name in ("taxable", "sold_first"):
            if not isinstance(getattr(self, name), bool):
                raise InvalidInput(name, getattr(self, name), "must be True or False")
        if self.taxable and not self.tax_jurisdiction and self.tax_regions is None:
            raise MissingFields("taxable batch", ["tax_jurisdiction"])
        if self.tax_jurisdiction is not None:
            check_name("tax_jurisdiction", self.tax_jurisdiction)
        if self.tax_regions is not None:
            check_kind("tax_regions", self.tax_regions, TaxRegions)
            if self.tax_jurisdiction is not None:
                problem = "goes with no tax_jurisdiction: the regions have a default of their own"
                raise InvalidInput("tax_regions", self.tax_regions.default, problem)
        self._check_dates()

    def _check_dates(self) -> None:
        zone("time_zone", self.time_zone)
        days = self.expires_days_after_first_use
        if days is not None:
            check_count("expires_days_after_first_use", days, 0, LONGEST_VALIDITY_DAYS)
        for name in ("effective_date", "expiration_date"):
            if getattr(self, name) is not None:
                check_date(name, getattr(self, name))
        first, last = self.effective_date, self.expiration_date
        if first and last and last < first:
            raise InvalidInput("expiration_date", last, "is before the effective date")

    @property
    def currency(self) -> str:
        """The ISO 4217 code of the face value's currency."""
        return money.currency_code("face_value", self.face_value.currency)

    @cached_property
    def face_units(self) -> int:
        """The face value in ledger units."""
        return money.units("face_value", self.face_value, self.currency, coins=True)

    @cached_property
    def numbering(self) -> CardNumbers | None:
        """How its cards are numbered; ``None``: they have no number."""
        prefix = self.card_numbers
        return None if prefix is None else CardNumbers(prefix=prefix, quantity=self.quantity)

    @property
    def credential_kind(self) -> str:
        """What kind of credential its PINs are: alone, or with a card number."""
        return PIN if self.numbering is None else NUMBER_PIN

    def credential(self, serial: int, pin: str) -> str:
        """Return the text that the look-up token of a card's credential is made of."""
        return pin if self.numbering is None else joined(self.numbering.number(serial), pin)

    @cached_property
    def effective_at(self) -> datetime | None:
        """The instant from which the cards work."""
        day = self.effective_date
        return None if day is None else local_midnight(day, self.zone)

    @cached_property
    def expires_at(self) -> datetime | None:
        """The instant from which no card of the batch works, used or not."""
        day = self.expiration_date
        return None if day is None else end_of_day(day, self.zone)

    def expiry_after(self, first_use: datetime) -> datetime | None:
        """Return when a card first used at that instant expires; ``None``: never."""
        days = self.expires_days_after_first_use
        if days is None:
            return self.expires_at
        last = first_use.astimezone(self.zone).date() + timedelta(days=days)
        limit = end_of_day(last, self.zone)
        return limit if self.expires_at is None else min(limit, self.expires_at)

    @cached_property
    def taxed_in(self) -> TaxRegions | None:
        """Whose taxes apply to its cards; ``None``: nobody's."""
        if not self.taxable:
            return None
        return self.tax_regions or TaxRegions(default=self.tax_jurisdiction or "")

    @property
    def zone(self) -> ZoneInfo:
        """The time zone in which its dates are days."""
        return zone("time_zone", self.time_zone)
