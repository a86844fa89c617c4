"""The Luhn check digit (ISO/IEC 7812-1, annex B): finds digits keyed wrongly.

It catches every single wrong digit, and two neighbours exchanged unless they are 0 and 9.
It is no secret and protects nothing: whoever knows the digits knows the check digit.
"""

from __future__ import annotations

_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)  # the digit sum of twice the digit


def check_digit(digits: str) -> str:
    """Return the digit that, put after `digits`, makes them pass :func:`passes`."""
    return str(-_sum(digits + "0") % 10)


def passes(digits: str) -> bool:
    """Say whether the last of these digits is the check digit of those before it."""
    return _sum(digits) % 10 == 0


def _sum(digits: str) -> int:
    values = [int(digit) for digit in reversed(digits)]
    return sum(values[::2]) + sum(_DOUBLED[value] for value in values[1::2])
