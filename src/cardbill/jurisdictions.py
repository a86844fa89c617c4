"""Whose taxes there are: a jurisdiction's levels, their taxes, and exemptions from them.

These are the terms; :mod:`cardbill.taxes` computes with them. A tax stands for itself: what
it is on, how much, from when. How taxes build on one another is their `tier`, never the
order in which they are written down. Source of the rules: domain.md section 6.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

from attrs import field, frozen

from cardbill import money
from cardbill.errors import InvalidInput, MissingFields
from cardbill.instants import aware, local_midnight, zone
from cardbill.money import RoundingMode
from cardbill.names import check_choice, check_count, check_date, check_kind, check_name, check_text
from cardbill.rating import Rounding

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from moneyed import Money

RATE_PARTS = 1_000_000_000
"""A tax rate is whole parts of this: 8.87500 % is 88,750,000."""
PARTS_PER_PERCENT = RATE_PARTS // 100
HIGHEST_PERCENT = 1_000
HIGHEST_TIER = 9
MOST_TAXES = 200

Moment = date | datetime
"""A local date in the jurisdiction's time zone, or an aware instant."""


class TaxOn(Enum):
    """What a tax is on, and what a line of an event is."""

    SALE = "sale"
    """Selling or recharging a card."""
    USAGE = "usage"
    """The rated price of a call."""
    RECURRING = "recurring"
    """Periodic charges."""
    SURCHARGE = "surcharge"
    """All other charges: surcharges and fees."""


class TaxLevel(Enum):
    """Which level of a jurisdiction a tax belongs to."""

    COUNTRY = "country"
    STATE = "state"
    COUNTY = "county"
    CITY = "city"


LEVELS = tuple(TaxLevel)


def _on(value: TaxOn | str | Iterable[TaxOn | str]) -> tuple[TaxOn, ...]:
    given = [value] if isinstance(value, TaxOn | str) else value
    if not isinstance(given, Iterable):
        raise InvalidInput("tax on", value, "must be one or more of TaxOn")
    chosen = {check_choice("tax on", one, TaxOn) for one in given}
    return tuple(one for one in TaxOn if one in chosen)


def _level(value: TaxLevel | str) -> TaxLevel:
    return check_choice("tax level", value, TaxLevel)


def _percent(value: Decimal | int | str | None) -> Decimal | None:
    if value is None:
        return None
    parts = money.parts("tax percent", value, PARTS_PER_PERCENT)
    if not 0 <= parts <= HIGHEST_PERCENT * PARTS_PER_PERCENT:
        raise InvalidInput("tax percent", value, f"must be 0 to {HIGHEST_PERCENT:,}")
    return Decimal(value)


def _taxes(value: Sequence[Tax]) -> tuple[Tax, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(one, Tax) for one in value):
        raise InvalidInput("taxes", value, "must be a list of Tax")
    return tuple(value)


def _names(value: Sequence[str]) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise InvalidInput("exemption taxes", value, "must be a list of names")
    return tuple(sorted({check_name("exemption taxes", name) for name in value}))


def _to_the_unit() -> Rounding:
    return Rounding(1, RoundingMode.HALF_UP)


@frozen(kw_only=True)
class Tax:
    """One tax, by percent or as a flat amount per event.

    Attributes:
        name: 1 to 64 printable characters. A change of rate is a second tax of that name
            that begins where the first one ends.
        on: What it is on: one or more of ``sale``, ``usage``, ``recurring``, ``surcharge``.
        percent: 0 to 1,000, in steps of 0.0000001.
        flat: ``Money`` per event, instead of a percentage. It is on one thing only, and on
            none whose taxable amount is 0.
        level: The level of the jurisdiction it belongs to.
        inclusive: Prices contain it already. Default: it comes on top.
        tier: 1 to 9. A percentage is of the net price and the taxes of all lower tiers.
        on_itself: The percentage is of an amount that already contains this tax and all
            such taxes of its tier, as Brazil's ICMS is ("por dentro").
        effective_from: A local date or an instant from which it applies; ``None``: always did.
        effective_until: Likewise, from which it applies no longer; ``None``: no end.
        rounding: Default: half-up to one ledger unit.

    Raises:
        MissingFields: The name, what it is on, or how much it is, is left out.
        InvalidInput: A term cannot be used; it is named.
    """

    name: str = field(default="")  # required, as are what it is on and how much: see below
    on: tuple[TaxOn, ...] = field(default=(), converter=_on)
    percent: Decimal | None = field(default=None, converter=_percent)
    flat: Money | None = None
    level: TaxLevel = field(default=TaxLevel.COUNTRY, converter=_level)
    inclusive: bool = False
    tier: int = 1
    on_itself: bool = False
    effective_from: Moment | None = None
    effective_until: Moment | None = None
    rounding: Rounding = field(factory=_to_the_unit)

    def __attrs_post_init__(self) -> None:
        missing = [name for name in ("name", "on") if not getattr(self, name)]
        if self.percent is None and self.flat is None:
            missing.append("percent or flat")
        if missing:
            raise MissingFields("tax", missing)
        check_name("tax name", self.name)
        for name in ("inclusive", "on_itself"):
            if not isinstance(getattr(self, name), bool):
                raise InvalidInput(f"tax {name}", getattr(self, name), "must be True or False")
        check_count("tax tier", self.tier, 1, HIGHEST_TIER)
        check_kind("tax rounding", self.rounding, Rounding)
        _check_window("tax", self.effective_from, self.effective_until)
        if self.flat is not None:
            self._check_flat(self.flat)

    def _check_flat(self, flat: Money) -> None:
        if self.percent is not None:
            raise InvalidInput("tax flat", flat, "cannot be told together with percent")
        if not hasattr(flat, "currency"):
            raise InvalidInput("tax flat", flat, "must be Money")
        if self.on_itself:
            raise InvalidInput("tax on_itself", True, "is for percentages, this tax is flat")
        if len(self.on) > 1:
            on = ", ".join(one.value for one in self.on)
            raise InvalidInput("tax on", on, "must be one thing only for a flat tax: make it two")
        check_count("tax flat", self.flat_units, 0, money.MAX_UNITS)

    @cached_property
    def rate(self) -> int:
        """The percentage in parts of :data:`RATE_PARTS`; 0 for a flat tax."""
        if self.percent is None:
            return 0
        return money.parts("tax percent", self.percent, PARTS_PER_PERCENT)

    @property
    def currency(self) -> str | None:
        """The ISO 4217 code of a flat amount; ``None``: a percentage has no currency."""
        if self.flat is None:
            return None
        return money.currency_code("tax flat", self.flat.currency)

    @cached_property
    def flat_units(self) -> int:
        """The flat amount in ledger units; 0 for a percentage."""
        if self.flat is None:
            return 0
        return money.units("tax flat", self.flat, money.currency_code("flat", self.flat.currency))


@frozen(kw_only=True)
class Exemption:
    """What somebody need not pay, and why.

    An event is taxed as if the jurisdiction did not have these taxes. So a price that
    contains one stays as it was told to the customer, and more of it is net.

    Attributes:
        reason: Why, in 1 to 64 characters.
        certificate: The number of the paper that says so, 1 to 64 characters.
        taxes: The names of the taxes; empty: all of them.
        effective_from: A local date of the jurisdiction, or an instant; ``None``: always was.
        effective_until: Likewise, from which it counts no longer; ``None``: no end.

    Raises:
        MissingFields: The reason or the certificate is left out.
        InvalidInput: A term cannot be used; it is named.
    """

    reason: str = field(default="")
    certificate: str = field(default="")
    taxes: tuple[str, ...] = field(default=(), converter=_names)
    effective_from: Moment | None = None
    effective_until: Moment | None = None

    def __attrs_post_init__(self) -> None:
        required = ("reason", "certificate")
        if missing := [name for name in required if not getattr(self, name)]:
            raise MissingFields("exemption", missing)
        for name in required:
            check_text(f"exemption {name}", getattr(self, name))
        _check_window("exemption", self.effective_from, self.effective_until)


@frozen(kw_only=True)
class Jurisdiction:
    """A place with the taxes of up to four levels.

    Attributes:
        name: Unique, 1 to 64 printable characters.
        country: The country's name or code.
        state: The state or province; ``None``: none.
        county: The county; ``None``: none.
        city: The city; ``None``: none.
        time_zone: The IANA zone in which effective dates are days.
        taxes: In any order.

    Raises:
        MissingFields: The name or the country is left out.
        InvalidInput: A term cannot be used, or taxes do not go together: two of one name at
            the same time; inclusive ones that round differently; flat ones in two
            currencies; percentages of themselves that leave nothing; or a card whose sale is
            taxed could be taxed again when used. The message says which.
    """

    name: str = field(default="")  # required, as is the country: see below
    country: str = field(default="")
    state: str | None = None
    county: str | None = None
    city: str | None = None
    time_zone: str = "UTC"
    taxes: tuple[Tax, ...] = field(default=(), converter=_taxes)

    def __attrs_post_init__(self) -> None:
        if missing := [name for name in ("name", "country") if not getattr(self, name)]:
            raise MissingFields("jurisdiction", missing)
        check_name("name", self.name)
        for level in LEVELS:
            if getattr(self, level.value) is not None:
                check_text(level.value, getattr(self, level.value))
        zone("time_zone", self.time_zone)
        check_count("number of taxes", len(self.taxes), 0, MOST_TAXES)
        for tax in self.taxes:
            if getattr(self, tax.level.value) is None:
                problem = f"must be named: tax {tax.name!r} belongs to it"
                raise InvalidInput(tax.level.value, None, problem)
        self._check_names()
        # Whatever applies together at any time does so when the last of it begins.
        for begin in {begin for _, begin, _ in self._windows}:
            _check_together([tax for tax, *window in self._windows if _holds(begin, *window)])
        check_taxed_once([self])

    def active(self, at: datetime, exemptions: Iterable[Exemption] = ()) -> tuple[Tax, ...]:
        """Return the taxes that apply at an instant: lower tiers first, then by level and name.

        Args:
            at: An aware instant.
            exemptions: What the payer is exempt from, where valid then.

        Raises:
            InvalidInput: The instant has no time zone.
        """
        at = aware("at", at)
        valid = [
            exemption
            for exemption in exemptions
            if _holds(at, *_window(exemption.effective_from, exemption.effective_until, self._zone))
        ]
        everything = any(not exemption.taxes for exemption in valid)
        exempt = {name for exemption in valid for name in exemption.taxes}
        found = [
            tax
            for tax, *window in self._windows
            if not everything and tax.name not in exempt and _holds(at, *window)
        ]
        return tuple(sorted(found, key=_position))

    def windows(self, on: TaxOn) -> Iterator[tuple[datetime | None, datetime | None]]:
        """Yield from when until when something of that kind is taxed, per tax, half-open."""
        for tax, begin, end in self._windows:
            if on in tax.on:
                yield begin, end

    @property
    def _zone(self) -> ZoneInfo:
        return zone("time_zone", self.time_zone)

    @cached_property
    def _windows(self) -> tuple[tuple[Tax, datetime | None, datetime | None], ...]:
        here = self._zone
        return tuple(
            (tax, *_window(tax.effective_from, tax.effective_until, here)) for tax in self.taxes
        )

    def _check_names(self) -> None:
        for (one, begin, end), (other, start, stop) in combinations(self._windows, 2):
            if one.name == other.name and _before(begin, stop) and _before(start, end):
                raise InvalidInput("tax name", one.name, "is there twice at the same time")


class Earlier(NamedTuple):
    """A version of a jurisdiction that was in force, from when until when."""

    jurisdiction: Jurisdiction
    begin: datetime
    end: datetime

    @property
    def taxed_sales_from(self) -> datetime | None:
        """The first instant at which it taxed the sale of a card; ``None``: it never did."""
        begun = [
            self.begin if begin is None else max(begin, self.begin)
            for begin, end in self.jurisdiction.windows(TaxOn.SALE)
            if end is None or self.begin < end
        ]
        return min((begin for begin in begun if begin <= self.end), default=None)


def check_taxed_once(
    jurisdictions: Iterable[Jurisdiction], earlier: Iterable[Earlier] = ()
) -> None:
    """Check that no card is taxed both when it is sold and when it is used.

    A jurisdiction may go over from taxing use to taxing sale: what is sold from then on has
    been taxed, what was used before then too. The other way round, cards sold before the
    change would pay twice.

    Args:
        jurisdictions: All that one batch's cards may come under.
        earlier: What was in force before, and taxed the sale of cards that are used now.

    Raises:
        InvalidInput: A card could be sold while a sale is taxed and used while use is.
    """
    every = list(jurisdictions)
    for version in earlier:
        begun = version.taxed_sales_from
        for user in every:
            ends = [end for _, end in user.windows(TaxOn.USAGE)]
            if begun is not None and any(_before(begun, end) for end in ends):
                raise InvalidInput(
                    "taxes",
                    user.name,
                    f"are on the use of cards whose sale {version.jurisdiction.name!r} taxed until "
                    f"{version.end.isoformat()}: a card is taxed once; to tax the use of others, "
                    "give new batches a jurisdiction of another name",
                )
    for seller in every:
        for user in every:
            for begin, _ in seller.windows(TaxOn.SALE):
                for _, end in user.windows(TaxOn.USAGE):
                    if _before(begin, end):
                        names = seller.name if seller == user else f"{seller.name}, {user.name}"
                        raise InvalidInput(
                            "taxes",
                            names,
                            "are on the sale of a card and on its use: a card is taxed once, "
                            "when it is sold or when it is used",
                        )


def _check_together(taxes: Sequence[Tax]) -> None:
    """Check what taxes that apply at the same time must have in common."""
    if len({(tax.rounding.unit, tax.rounding.mode) for tax in taxes if tax.inclusive}) > 1:
        names = ", ".join(sorted(tax.name for tax in taxes if tax.inclusive))
        problem = "must be the same for all inclusive taxes: what one gains another loses"
        raise InvalidInput("tax rounding", names, problem)
    currencies = sorted({tax.currency for tax in taxes if tax.currency})
    if len(currencies) > 1:
        problem = "must be in one currency for all taxes that apply together"
        raise InvalidInput("tax flat", ", ".join(currencies), problem)
    for on in TaxOn:
        for tier in {tax.tier for tax in taxes}:
            own = [tax for tax in taxes if tax.on_itself and tax.tier == tier and on in tax.on]
            if sum(tax.rate for tax in own) >= RATE_PARTS:
                names = ", ".join(sorted(tax.name for tax in own))
                problem = f"is 100 or more in tier {tier}, of amounts that contain these taxes"
                raise InvalidInput("tax percent", names, problem)


def _position(tax: Tax) -> tuple[int, int, str]:
    return tax.tier, LEVELS.index(tax.level), tax.name


def _check_window(what: str, begin: Moment | None, end: Moment | None) -> None:
    given = {"effective_from": begin, "effective_until": end}
    for name, moment in given.items():
        if isinstance(moment, datetime):
            aware(f"{what} {name}", moment)
        elif moment is not None:
            check_date(f"{what} {name}", moment)
    if begin is None or end is None:
        return
    if isinstance(begin, datetime) is not isinstance(end, datetime):
        problem = "must be a date if effective_from is one, or else an instant"
        raise InvalidInput(f"{what} effective_until", end, problem)
    if end <= begin:
        raise InvalidInput(f"{what} effective_until", end, "must be after effective_from")


def _window(
    begin: Moment | None, end: Moment | None, here: ZoneInfo
) -> tuple[datetime | None, datetime | None]:
    return _instant(begin, here), _instant(end, here)


def _instant(moment: Moment | None, here: ZoneInfo) -> datetime | None:
    if moment is None:
        return None
    if isinstance(moment, datetime):
        return aware("moment", moment)
    return local_midnight(moment, here)


def _holds(at: datetime | None, begin: datetime | None, end: datetime | None) -> bool:
    """Whether `at` is within; ``None`` as `at` is the beginning of time."""
    if at is None:
        return begin is None
    return (begin is None or begin <= at) and (end is None or at < end)


def _before(begin: datetime | None, end: datetime | None) -> bool:
    """Whether a window beginning at `begin` begins before one ending at `end` is over."""
    return begin is None or end is None or begin < end
