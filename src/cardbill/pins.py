"""PINs: what one may look like, how they are drawn, how likely a guess is.

Drawing is pure: randomness comes in as a function. Source: domain.md section 2.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise

from cardbill import luhn
from cardbill.errors import FloatRefused, GuessTooLikely, InvalidInput

SHORTEST, LONGEST = 8, 20
"""Lengths a generated PIN may have."""
SHORTEST_WITH_NUMBER = 4
"""The shortest PIN that is keyed after a card number: it need not tell cards apart."""
DEFAULT_LENGTH = 12
GUESS_LIMIT = Fraction(1, 100_000)
"""The probability of one guess hitting a live PIN above which PINs are not made."""

MASK = "************"
"""Shown for any PIN, whatever its length: even its last digits would help a guesser."""

Below = Callable[[int], int]
"""Draws a number from 0 up to, not including, its argument; from a CSPRNG in earnest."""


def check_pin(pin: object) -> str:
    """Return a PIN that a caller or file gave, if it could be one at all.

    Raises:
        InvalidInput: It is not 4 to 32 visible ASCII characters; it is never repeated.
    """
    if not isinstance(pin, str):
        raise InvalidInput("pin", None, "must be text")
    if not 4 <= len(pin) <= 32:
        raise InvalidInput("pin", None, f"must have 4 to 32 characters, not {len(pin)}")
    if not all("!" <= character <= "~" for character in pin):
        raise InvalidInput("pin", None, "must be visible ASCII characters only")
    return pin


def draw(length: int, below: Below, *, checked: bool = False) -> str:
    """Draw one PIN of `length` decimal digits; leading zeros are as likely as any digit.

    PINs that people would try first (one repeated digit, a run up or down) are redrawn.

    Args:
        length: Of the whole PIN.
        below: The source of randomness.
        checked: The last digit is the Luhn check digit of the others.
    """
    free = length - checked
    while True:
        digits = f"{below(10**free):0{free}d}"
        if checked:
            digits += luhn.check_digit(digits)
        if not _trivial(digits):
            return digits


def guess_probability(live: int, length: int) -> Fraction:
    """Return how likely one random guess of `length` digits hits one of `live` PINs.

    A PIN with a check digit counts ten times: who knows of the digit guesses only those.
    """
    return Fraction(live, 10**length)


def check_probability(
    probability: Fraction, limit: object = GUESS_LIMIT, *, target: str = "a live PIN"
) -> None:
    """Check how likely one guess hits a live PIN.

    Args:
        probability: As :func:`guess_probability` tells it.
        limit: The highest that is allowed: ``Fraction``, ``Decimal``, int or text.
        target: What a guess would hit, for the message.

    Raises:
        GuessTooLikely: It is above `limit`.
        FloatRefused, InvalidInput: `limit` is no exact number.
    """
    if isinstance(limit, float):
        raise FloatRefused("max_guess_probability", limit, "must not be a float")
    try:
        if isinstance(limit, bool):
            raise TypeError
        allowed = Fraction(limit)  # type: ignore[call-overload]  # what it refuses is an answer too
    except (TypeError, ValueError, ArithmeticError):
        problem = "must be a Fraction, Decimal, int or text"
        raise InvalidInput("max_guess_probability", limit, problem) from None
    if probability > allowed:
        raise GuessTooLikely(
            f"one guess in {one_in(probability):,} would hit {target}, allowed is one in "
            f"{one_in(allowed):,}; use longer PINs"
        )


def one_in(probability: Fraction) -> int:
    """Return how many guesses it takes, as people say it; 0: no guess hits."""
    return int(1 / probability) if probability else 0


def check_length(field: str, length: object, *, shortest: int = SHORTEST) -> int:
    """Return a PIN length that can be generated.

    Raises:
        InvalidInput: It is not a whole number from `shortest` to 20.
    """
    if not isinstance(length, int) or isinstance(length, bool):
        raise InvalidInput(field, length, "must be a whole number")
    if not shortest <= length <= LONGEST:
        raise InvalidInput(field, length, f"must be {shortest} to {LONGEST} digits")
    return length


def _trivial(digits: str) -> bool:
    steps = {(ord(b) - ord(a)) % 10 for a, b in pairwise(digits)}
    return len(steps) == 1 and steps <= {0, 1, 9}
