"""Money: integer ledger units inside, ``moneyed.Money`` at the border.

A ledger unit is 10^-6 of the currency's major unit, whatever its exponent: 1 USD, 1 JPY
and 1 KWD are each 1,000,000 units. No float is accepted and none is ever computed. This
is the only module that imports moneyed, and it does so when first needed.
"""

from __future__ import annotations

from copy import copy
from decimal import Context, Decimal, InvalidOperation, localcontext
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING

from cardbill.errors import FloatRefused, InexactAmount, InvalidInput, WrongCurrency

if TYPE_CHECKING:
    from moneyed import Currency, Money

UNITS_PER_MAJOR = 1_000_000
DECIMALS = 6
MAX_UNITS = 2**63 - 1  # a bigint column
"""The largest amount, in ledger units: about 9.2 * 10^12 of the major unit."""

# ISO 4217 codes of recent years that py-moneyed 3.0 does not list yet (code, number, coin).
_ADDED = (
    ("XAD", "396", 100, "Arab Accounting Dinar"),
    ("XCG", "532", 100, "Caribbean guilder"),
    ("ZWG", "924", 100, "Zimbabwe Gold"),
)


class RoundingMode(Enum):
    """How an exact amount becomes a multiple of the rounding unit."""

    UP = "up"
    """Away from zero: a price is never below its exact value (the default)."""
    HALF_UP = "half_up"
    """To the nearest; a tie goes away from zero."""
    HALF_EVEN = "half_even"
    """To the nearest; a tie goes to the even multiple."""
    DOWN = "down"
    """Toward zero."""


def round_ratio(numerator: int, denominator: int, unit: int, mode: RoundingMode) -> int:
    """Round the exact amount ``numerator / denominator`` ONCE to a multiple of `unit`.

    Args:
        numerator: At least 0.
        denominator: At least 1.
        unit: The rounding unit in ledger units, at least 1.
        mode: What happens between two multiples.
    """
    quotient, remainder = divmod(numerator, denominator * unit)
    if remainder:
        twice = 2 * remainder - denominator * unit
        up = (
            mode is RoundingMode.UP
            or (mode is RoundingMode.HALF_UP and twice >= 0)
            or (mode is RoundingMode.HALF_EVEN and (twice > 0 or (twice == 0 and quotient % 2)))
        )
        quotient += bool(up)
    return quotient * unit


def largest_ratio(amount: int, denominator: int, unit: int, mode: RoundingMode) -> int:
    """Return the largest numerator whose ratio rounds to at most `amount`.

    The exact inverse of :func:`round_ratio`: ``n <= largest_ratio(a, d, u, m)`` if and
    only if ``round_ratio(n, d, u, m) <= a``. The result is negative when `amount` is.
    """
    multiple = amount // unit
    span = denominator * unit
    edge = multiple * span
    if mode is RoundingMode.UP:
        return edge
    if mode is RoundingMode.DOWN:
        return edge + span - 1
    half, odd = divmod(span, 2)  # half-way lies `half` (+ 1/2 if odd) beyond the multiple
    if odd:
        return edge + half
    tie_stays = mode is RoundingMode.HALF_EVEN and multiple % 2 == 0
    return edge + half - (not tie_stays)


@lru_cache(maxsize=512)
def currency_of(code: str) -> Currency:
    """Return the ISO 4217 currency of that code.

    Raises:
        InvalidInput: There is none, or its coin is no whole number of ledger units.
    """
    import moneyed

    for added, numeric, coin, name in _ADDED:
        if added not in moneyed.CURRENCIES:
            moneyed.add_currency(code=added, numeric=numeric, sub_unit=coin, name=name)
    try:
        currency = moneyed.get_currency(code=code)
    except moneyed.CurrencyDoesNotExist as error:
        raise InvalidInput("currency", code, "is not an ISO 4217 code") from error
    if UNITS_PER_MAJOR % currency.sub_unit:
        raise InvalidInput("currency", code, f"has coins finer than 10^-{DECIMALS}")
    return currency


def currency_code(field: str, currency: object) -> str:
    """Return the ISO 4217 code of a ``moneyed.Currency`` or of a code as text.

    Raises:
        InvalidInput: It is neither, or cannot be used.
    """
    code = getattr(currency, "code", currency)
    if not isinstance(code, str):
        raise InvalidInput(field, currency, "must be a moneyed.Currency or an ISO 4217 code")
    try:
        return str(currency_of(code).code)
    except InvalidInput as error:
        raise InvalidInput(field, code, error.problem) from error


@lru_cache(maxsize=512)
def coin(code: str) -> int:
    """Return the currency's smallest coin in ledger units.

    The exponent is moneyed's: USD 10,000; JPY 1,000,000; KWD 1,000; CLF 100. (Babel's
    figures describe display and say 0 decimals for IQD, whose exponent is 3.)
    """
    return UNITS_PER_MAJOR // currency_of(code).sub_unit


def units(field: str, value: object, currency: str, *, coins: bool = False) -> int:
    """Return `value` in ledger units.

    Args:
        field: Whose value it is, for the error.
        value: ``Money``, ``Decimal``, ``int`` or decimal text, in the major unit.
        currency: The ISO code that a ``Money`` must have.
        coins: Also demand a whole number of the currency's smallest coin.

    Raises:
        FloatRefused: It is a float.
        WrongCurrency: It is ``Money`` of another currency.
        InexactAmount: It is finer than a ledger unit (or than a coin).
        InvalidInput: It is no amount, or is past :data:`MAX_UNITS`.
    """
    amount = value
    if hasattr(value, "amount") and hasattr(value, "currency"):
        if getattr(value.currency, "code", None) != currency:
            raise WrongCurrency(field, value, f"must be in {currency}")
        amount = value.amount
    result = _whole(_decimal(field, amount), UNITS_PER_MAJOR)
    if result is None:
        raise InexactAmount(field, value, f"is finer than 10^-{DECIMALS} {currency}")
    if abs(result) > MAX_UNITS:
        raise InvalidInput(field, value, "is too large for the ledger")
    if coins and result % coin(currency):
        raise InexactAmount(field, value, f"is no whole number of the smallest {currency} coin")
    return result


def parts(field: str, value: object, per_one: int) -> int:
    """Return the plain number `value` in whole parts of ``1 / per_one``, exactly.

    Raises:
        FloatRefused, InexactAmount, InvalidInput: As for :func:`units`.
    """
    result = _whole(_decimal(field, value), per_one)
    if result is None:
        raise InexactAmount(field, value, f"is finer than 1/{per_one}")
    if abs(result) > MAX_UNITS:
        raise InvalidInput(field, value, "is too large")
    return result


def percentage(part: int, whole: int) -> Decimal | None:
    """Return how many percent of `whole` a part is, half-up to 0.0001; ``None`` of nothing."""
    return quotient(part * 100, whole)


def quotient(part: int, whole: int) -> Decimal | None:
    """Return a part by a whole of at least 0, half-up to 0.0001; ``None`` by nothing."""
    if whole == 0:
        return None
    rounded = round_ratio(abs(part) * 10_000, whole, 1, RoundingMode.HALF_UP)
    return Decimal(f"{-rounded if part < 0 else rounded}E-4")


def money(amount: int, currency: str) -> Money:
    """Return ledger units as ``Money``, with at least the currency's own decimals."""
    from moneyed import Money

    whole = currency_of(currency)
    places = len(str(whole.sub_unit)) - 1
    while amount % 10 ** (DECIMALS - places):
        places += 1
    return Money(Decimal(f"{amount // 10 ** (DECIMALS - places)}E-{places}"), whole)


def plain(parts: int, decimals: int = DECIMALS) -> str:
    """Return an amount of at least 0 as plain digits, none too many: ``0.024``.

    Args:
        parts: Ledger units, or other parts.
        decimals: How many of them make one: 10 to this power.
    """
    whole, fraction = divmod(parts, 10**decimals)
    return f"{whole}.{fraction:0{decimals}d}".rstrip("0").rstrip(".")


def text(amount: int, currency: str, *, locale: str = "en_US") -> str:
    """Return ledger units as people of that locale write them: ``$4.975``, ``4,975 €``."""
    from babel import Locale

    value = money(amount, currency).amount
    decimals = -int(value.as_tuple().exponent)
    pattern = copy(Locale.parse(locale).currency_formats["standard"])
    pattern.frac_prec = (decimals, decimals)
    with localcontext(Context(prec=40)):  # babel rounds to the context's precision
        return str(pattern.apply(value, locale, currency=currency, currency_digits=False))


def format_money(amount: Money, *, locale: str = "en_US") -> str:
    """Return an amount with all the digits it has: ``$4.975``, where ``str`` would round.

    >>> from moneyed import Money
    >>> format_money(Money("4.975", "USD")), format_money(Money(500, "JPY"))
    ('$4.975', '¥500')
    """
    code = currency_code("amount", amount.currency)
    return text(units("amount", amount, code), code, locale=locale)


def _decimal(field: str, value: object) -> Decimal:
    if isinstance(value, float):
        raise FloatRefused(field, value, "must not be a float: pass Decimal, int or text")
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        raise InvalidInput(field, value, "must be Money, Decimal, int or decimal text")
    if isinstance(value, str) and not _is_decimal(value):
        raise InvalidInput(field, value, "is not a decimal number")
    try:
        result = Decimal(value)
    except InvalidOperation as error:
        raise InvalidInput(field, value, "is not a decimal number") from error
    if not result.is_finite():
        raise InvalidInput(field, value, "must be finite")
    if abs(result.adjusted()) > 30 and result:
        raise InvalidInput(field, value, "is out of range")
    return result


def _whole(value: Decimal, per_one: int) -> int | None:
    """``value * per_one`` if that is whole; in integers, so no context can round it."""
    numerator, denominator = value.as_integer_ratio()
    whole, left = divmod(numerator * per_one, denominator)
    return None if left else whole


def _is_decimal(value: str) -> bool:
    """Say whether a text is like ``-12.50``: no exponent, space, underscore or non-ASCII digit."""
    digits = value.removeprefix("-")
    whole, point, fraction = digits.partition(".")
    return (
        value.isascii()
        and (whole.isdigit() or (not whole and bool(point)))
        and (fraction.isdigit() if point else True)
        and len(value) <= 40
    )
