"""Printed card numbers: public, made of a prefix, the serial and a Luhn check digit.

A caller keys the card number and then a PIN, which may be short: it need not tell cards
apart. Source: domain.md sections 2 and 4.
"""

from __future__ import annotations

from attrs import frozen

from cardbill import luhn
from cardbill.dialing import is_digits
from cardbill.errors import InvalidInput

LONGEST_NUMBER = 19
"""Digits of the longest card number (ISO/IEC 7812-1)."""


@frozen(kw_only=True)
class CardNumbers:
    """The card numbers of one batch.

    Attributes:
        prefix: What they begin with: digits.
        quantity: How many there are, from serial 1.

    Raises:
        InvalidInput: The prefix is not digits, or too long for the batch's serials.
    """

    prefix: str
    quantity: int

    def __attrs_post_init__(self) -> None:
        if not is_digits(self.prefix):
            raise InvalidInput("card_numbers", self.prefix, "must be digits")
        if self.length > LONGEST_NUMBER:
            room = LONGEST_NUMBER - self._width - 1
            problem = f"must have at most {room} digits for {self.quantity:,} cards"
            raise InvalidInput("card_numbers", self.prefix, problem)

    @property
    def length(self) -> int:
        """Digits of each number."""
        return len(self.prefix) + self._width + 1

    @property
    def span(self) -> tuple[int, int]:
        """The first and the last number, without check digits."""
        before = int(self.prefix) * 10**self._width
        return before + 1, before + self.quantity

    def number(self, serial: int) -> str:
        """Return the number of a card."""
        digits = f"{self.prefix}{serial:0{self._width}d}"
        return digits + luhn.check_digit(digits)

    @property
    def _width(self) -> int:
        return len(str(self.quantity))


def joined(card_number: str, pin: str) -> str:
    """Return card number and PIN as one credential; a number is digits, so this is unique."""
    return f"{card_number}|{pin}"


def keyed_number(card_number: object) -> str | None:
    """Return a card number as keyed or read from a card; ``None``: it can be none."""
    if not isinstance(card_number, str):
        raise InvalidInput("card_number", None, "must be text")
    digits = card_number.translate(_SEPARATORS)
    return digits if is_digits(digits) and len(digits) <= LONGEST_NUMBER else None


_SEPARATORS = str.maketrans("", "", " -")
