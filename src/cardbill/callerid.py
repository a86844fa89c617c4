"""Callers' numbers as credentials: which ones can be, and what they are in E.164.

A caller's number is what the network says it is, and anyone with a trunk of their own can
say anything: a number opens a card for whoever can present it. Source: domain.md section 4.
"""

from __future__ import annotations

from cardbill.dialing import DialPlan, caller_number
from cardbill.errors import InvalidNumber

_SPELLED = frozenset({"266696687", "7378742833", "2562533", "8656696", "86282452253", "7748283"})
# ANONYMOUS, RESTRICTED, BLOCKED, UNKNOWN, UNAVAILABLE and PRIVATE on the keys of a telephone:
# networks that must send digits send these for callers who withhold their number.


def registrable(ani: object, plan: DialPlan) -> str | None:
    """Return the E.164 digits of a caller's number that can stand for one caller.

    ``None`` for anything else: withheld or garbled numbers, internal ones (shorter than the
    dial plan's shortest number), and one digit repeated, which equipment sends for "none".
    However a number is written, it is one: ``3055551234``, ``13055551234`` and
    ``+13055551234`` are the same where the dial plan is North America's.
    """
    number = caller_number(ani)
    if number is None:
        return None
    digits = number.removeprefix("+")
    if len(digits) < plan.shortest or len(set(digits)) == 1 or digits in _SPELLED:
        return None
    try:
        return plan.e164(number)
    except InvalidNumber:
        return None
