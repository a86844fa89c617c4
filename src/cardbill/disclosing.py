"""What a card really gives: how long it talks in one call, and how many calls it pays for.

Sellers of calling cards must tell it with all fees, and must say so where minutes are to be
had in one single call only. Every figure is what authorizing and settling call by call
comes to. Source: domain.md section 3 for prices; docs/how-to/disclose.md names the laws.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, Self

from attrs import evolve, frozen

from cardbill import money
from cardbill.errors import InvalidInput
from cardbill.explaining import Priced, decimal_text, tariff_of
from cardbill.increments import LONGEST_SECONDS, Step
from cardbill.instants import EPOCH, aware
from cardbill.names import check_count
from cardbill.rating import MINUTE, Beyond, Rate
from cardbill.tariffs import LONGEST_SPLIT_SECONDS, Tariff

if TYPE_CHECKING:
    from moneyed import Money

CALLS_OF = (1, 3, 5, 10)
"""The lengths in minutes that are told unless others are asked for."""


@frozen(kw_only=True)
class CallsOf:
    """What a card gives in calls of one length.

    Attributes:
        seconds: How long each call lasts; ``None``: without end.
        calls: How many the card pays for; ``None``: it never runs out.
        price_units: What each takes of money, in ledger units; ``None``: not all take the
            same, since packages or charges of the first call make a difference.
        left_units: What is left after them, in ledger units.
        further_seconds: The longest call that what is left still pays for; 0: none;
            ``None``: one without end.
    """

    seconds: int | None
    calls: int | None
    price_units: int | None
    left_units: int
    further_seconds: int | None

    @property
    def total_seconds(self) -> int | None:
        """Talk time in all these calls; ``None``: without end."""
        if self.seconds is None or self.calls is None:
            return None
        return self.calls * self.seconds


@frozen(kw_only=True)
class Disclosure:
    """What a card of a face value gives for calls to one destination.

    Attributes:
        face_units: What the card is sold as, in ledger units.
        currency: ISO 4217 code.
        destination: The deck's name for it; empty: not said.
        tariff: The terms, with every fee of a call.
        granted_at: When the calls are granted; ``None``: their price is always the same.
        longest: The longest call that a full card pays for.
        calls_of: The same card in calls of each length that was asked for.
        minimum_units: No call is granted while less is left, in ledger units.
        cap: The longest call allowed for other reasons than money, in seconds; ``None``: any.
        further: Sentences on what else the card gives and takes: packages, charges, taxes.
    """

    face_units: int
    currency: str
    destination: str
    tariff: Tariff
    granted_at: datetime | None
    longest: CallsOf
    calls_of: tuple[CallsOf, ...]
    minimum_units: int
    cap: int | None
    further: tuple[str, ...] = ()

    @property
    def face_value(self) -> Money:
        """What the card is sold as."""
        return money.money(self.face_units, self.currency)

    @property
    def statements(self) -> tuple[str, ...]:
        """The same in English sentences, for a poster, a card or a page."""
        return (*_minutes(self), *_terms(self), *self.further)

    def __str__(self) -> str:
        return "\n".join(self.statements)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it; amounts are in ledger units, 10^-6 of the currency."""
        at = self.granted_at
        return {
            "currency": self.currency,
            "face_units": self.face_units,
            "destination": self.destination,
            "granted_at": at and at.isoformat(),
            "longest": _plain(self.longest),
            "calls_of": [_plain(row) for row in self.calls_of],
            "statements": list(self.statements),
        }


def disclose(
    priced: Priced,
    face_value: object,
    *,
    currency: object = "",
    calls_of: Sequence[int] = CALLS_OF,
    granted_at: datetime | None = None,
    cap: int | None = None,
    minimum_balance: object = 0,
    destination: str = "",
) -> Disclosure:
    """Return what a card of that value gives in calls to one destination, exactly.

    One call after another is granted by what is left then, and pays what it costs: connect
    fee, whole increments, surcharge, end fee, minimum and rounding are all in it.

    Args:
        priced: A rate, a tariff, or a row of a deck.
        face_value: ``Money``; or, in the major unit, ``Decimal``, int or decimal text.
        currency: A ``moneyed.Currency`` or an ISO 4217 code; needed unless `face_value` is
            ``Money``.
        calls_of: Lengths of calls in minutes, each 1 to 44,640.
        granted_at: When calls are granted, and answered; needed where bands split calls.
        cap: The longest call allowed for other reasons than money, in seconds.
        minimum_balance: No call is granted while less is left: an amount like `face_value`.
        destination: The deck's name for it, for the statements.

    Raises:
        InvalidInput: An argument cannot be used; or the row is blocked.

    >>> from cardbill import rate
    >>> poster = disclose(rate("0.10", increments="60/60", connect_fee="0.35"), 2,
    ...                   currency="USD", calls_of=[1, 5])
    >>> for statement in poster.statements[:3]:
    ...     print(statement)
    A card of $2.00 gives up to 16 minutes, used in one single call.
    In calls of 1 minute: 4 calls, 4 minutes in all; $0.20 is left, which pays no further call.
    In calls of 5 minutes: 2 calls, 10 minutes in all; $0.30 is left, which pays no further call.
    """
    tariff = tariff_of(priced)
    code = money.currency_code("currency", currency or getattr(face_value, "currency", ""))
    face = _amount("face_value", face_value, code)
    minimum = _amount("minimum_balance", minimum_balance, code)
    if cap is not None:
        check_count("cap", cap, 1, LONGEST_SECONDS)
    check_lengths(calls_of)
    if granted_at is not None:
        granted_at = aware("granted_at", granted_at)
    elif tariff.changes:
        raise InvalidInput("granted_at", None, "is needed: the rate changes with the hour")
    purse = _Money(face, tariff, EPOCH if granted_at is None else granted_at, cap, minimum)
    return Disclosure(
        face_units=face,
        currency=code,
        destination=destination,
        tariff=tariff,
        granted_at=granted_at if tariff.changes else None,
        longest=longest_call(purse),
        calls_of=tuple(calls_alike(purse, minutes * MINUTE) for minutes in calls_of),
        minimum_units=minimum,
        cap=cap,
    )


def check_lengths(calls_of: Sequence[int]) -> None:
    """Check lengths of calls in minutes, each 1 to 44,640.

    Raises:
        InvalidInput: One is out of range.
    """
    for minutes in calls_of:
        check_count("calls_of", minutes, 1, LONGEST_SPLIT_SECONDS // MINUTE)


class Purse(Protocol):
    """What calls of one kind are paid from, one after another."""

    @property
    def left(self) -> int:
        """The money that is left, in ledger units."""

    def longest(self) -> int | None:
        """Return how long a call is granted; 0: none is; ``None``: without end."""

    def price(self, seconds: int | None) -> int:
        """Return what the next call of that length takes of money; ``None``: one without end."""

    def alike(self, seconds: int) -> int | None:
        """Return how many calls of that length follow that all take the same; ``None``: no end."""

    def after(self, seconds: int | None, calls: int) -> Self:
        """Return what is left after so many alike calls of that length."""


def longest_call(purse: Purse) -> CallsOf:
    """Return what the longest call takes, and leaves."""
    seconds = purse.longest()
    price = 0 if seconds == 0 else purse.price(seconds)
    left = purse if seconds == 0 else purse.after(seconds, 1)
    return CallsOf(
        seconds=seconds,
        calls=0 if seconds == 0 else 1,
        price_units=price,
        left_units=left.left,
        further_seconds=left.longest(),
    )


def calls_alike(purse: Purse, seconds: int) -> CallsOf:
    """Return how many calls of a length are paid for, one after another."""
    calls: int | None = 0
    prices = {purse.price(seconds)}
    while more := purse.alike(seconds):
        prices.add(purse.price(seconds))
        purse, calls = purse.after(seconds, more), (calls or 0) + more
    if more is None:
        calls = None
    return CallsOf(
        seconds=seconds,
        calls=calls,
        price_units=prices.pop() if len(prices) == 1 else None,
        left_units=purse.left,
        further_seconds=purse.longest(),
    )


def _amount(field: str, value: object, currency: str) -> int:
    return check_count(field, money.units(field, value, currency), 0, money.MAX_UNITS)


@frozen
class _Money:
    """Money alone, for calls that are granted and answered at one instant."""

    left: int
    tariff: Tariff
    at: datetime
    cap: int | None
    minimum: int

    def longest(self) -> int | None:
        if self.left == 0 or self.left < self.minimum:
            return 0
        limit = self.tariff.longest(self.left, self.cap, self.at)
        return 0 if self.tariff.is_unpaid(limit, self.at) else limit.seconds

    def price(self, seconds: int | None) -> int:
        return self.tariff.price(LONGEST_SECONDS if seconds is None else seconds, self.at)

    def alike(self, seconds: int) -> int | None:
        price, needed = self.price(seconds), self._needed(seconds)
        if needed is None or self.left < needed:
            return 0
        return (self.left - needed) // price + 1 if price else None

    def after(self, seconds: int | None, calls: int) -> _Money:
        return evolve(self, left=self.left - calls * self.price(seconds))

    def _needed(self, seconds: int) -> int | None:
        """Return the least money by which a call of that length is granted; ``None``: none."""
        allowed = self.tariff.longest(money.MAX_UNITS, self.cap, self.at).seconds
        if allowed is None:
            allowed = LONGEST_SECONDS
        if seconds > allowed:
            return None
        # A call that money does not let pass what is unbilled is not granted at all.
        least = max(seconds, min(self.tariff.unbilled_seconds(self.at) + 1, allowed))
        return max(self.tariff.highest(least, self.at), self.minimum, 1)


def _plain(row: CallsOf) -> dict[str, int | None]:
    return {
        "seconds": row.seconds,
        "calls": row.calls,
        "total_seconds": row.total_seconds,
        "price_units": row.price_units,
        "left_units": row.left_units,
        "further_seconds": row.further_seconds,
    }


# -- in words -----------------------------------------------------------------------------


def _minutes(told: Disclosure) -> Iterator[str]:
    card = f"A card of {money.text(told.face_units, told.currency)}"
    to = f" to {told.destination}" if told.destination else ""
    longest = told.longest
    if longest.seconds is None:
        yield f"{card} gives a call{to} without end."
    elif longest.seconds == 0:
        yield f"{card} gives no call{to}."
    else:
        yield f"{card} gives up to {_time(longest.seconds)}{to}, used in one single call."
    if told.granted_at is not None:
        at = told.granted_at.strftime("%Y-%m-%d %H:%M UTC")
        yield f"The price changes with the hour: these are calls at {at}."
    for row in told.calls_of:
        each = f"In calls of {_time(row.seconds or 0)}"
        if row.calls is None:
            yield f"{each}: without end."
        elif row.calls == 0:
            yield f"{each}: none."
        else:
            all_ = _time(row.total_seconds or 0)
            yield f"{each}: {_count(row.calls, 'call')}, {all_} in all; {_left(row, told)}."


def _left(row: CallsOf, told: Disclosure) -> str:
    if not row.left_units:
        return "nothing is left"
    left = f"{money.text(row.left_units, told.currency)} is left, which pays"
    if row.further_seconds is None:
        return f"{left} one more call"
    if row.further_seconds == 0:
        return f"{left} no further call"
    return f"{left} one more call of up to {_time(row.further_seconds)}"


def _terms(told: Disclosure) -> Iterator[str]:
    rate, text = told.tariff.rate, partial(money.text, currency=told.currency)
    if told.granted_at is not None:
        rate, _ = told.tariff.pieces(told.granted_at)
    yield from _usage(rate, text)
    if rate.connect_fee:
        yield f"Each call that is charged costs {text(rate.connect_fee)} to connect."
    if rate.surcharge_ppm:
        percent = decimal_text(rate.surcharge_ppm * 100, places=0)
        yield f"{percent} % is added to this."
    if rate.end_fee:
        yield f"Each call that is charged costs {text(rate.end_fee)} when it ends."
    if rate.minimum_charge:
        yield f"Each call that is charged costs {text(rate.minimum_charge)} at least."
    if rate.maximum_charge is not None:
        ends = rate.beyond_maximum is Beyond.DISCONNECT
        yield f"No call costs more than {text(rate.maximum_charge)}" + (
            "; it is ended then." if ends else "."
        )
    mode = rate.rounding.mode.value.replace("_", " ")
    yield f"The price of a call is rounded {mode} to a multiple of {text(rate.rounding.unit)}."
    grace = f", nor does one of {_time(rate.grace_seconds)} or less" if rate.grace_seconds else ""
    yield f"A call that is not answered costs nothing{grace}."
    if told.cap is not None:
        yield f"No call may last longer than {_time(told.cap)}."
    if told.minimum_units:
        yield f"No call can be made while less than {text(told.minimum_units)} is left."


def _usage(rate: Rate, text: partial[str]) -> Iterator[str]:
    if rate.free_seconds:
        yield f"The first {_time(rate.free_seconds)} of a call are not billed by time."
    prices = _from_seconds(rate, lambda step: f"{text(step.price_per_minute)} a minute")
    yield f"Talking costs {prices}."
    increments = _from_seconds(rate, lambda step: f"by {_count(step.increment, 'second')}")
    yield f"Time is billed {increments}; what is begun is charged whole."


def _from_seconds(rate: Rate, tell: Callable[[Step], str]) -> str:
    """Tell something of each step, where it differs from what was told of the one before."""
    told: list[tuple[int, str]] = []
    for step in rate.steps:
        if not told or told[-1][1] != tell(step):
            told.append((step.from_second, tell(step)))
    return ", ".join(
        f"from second {second:,} on {text}" if second else text for second, text in told
    )


def _time(seconds: int) -> str:
    """Return a duration in whole minutes and seconds: never more than there is."""
    minutes, rest = divmod(seconds, MINUTE)
    told = [_count(minutes, "minute")] if minutes else []
    return " ".join([*told, _count(rest, "second")] if rest or not minutes else told)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
