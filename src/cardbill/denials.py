"""Why a caller or a call is refused, and how each network is told.

RADIUS codes are the ``h323-return-code`` values that Cisco's debit-card scripts expect, as
listed in PortaOne's documentation (mr96-radius-return-codes); causes are ITU-T Q.850.
"""

from __future__ import annotations

from enum import Enum
from typing import Self


class Denial(Enum):
    """A stable reason code; the value is what logs, records and reports carry.

    Attributes:
        prompt: What the caller hears. Unknown, locked and blocked sound alike, and have
            the same codes, since a gateway may choose its prompt by them: nobody learns
            whether a guessed PIN exists.
        sip: The SIP response.
        q850: The ISUP release cause.
        radius: The ``h323-return-code``.
        http: The status for a web service.
    """

    prompt: str
    sip: int
    q850: int
    radius: int
    http: int

    def __new__(cls, code: str, prompt: str, sip: int, q850: int, radius: int, http: int) -> Self:
        """Make a member whose value is its code."""
        member = object.__new__(cls)
        member._value_ = code
        member.prompt, member.sip, member.q850 = prompt, sip, q850
        member.radius, member.http = radius, http
        return member

    # One line: code, prompt, SIP, Q.850, RADIUS, HTTP.
    UNKNOWN_CREDENTIAL = "unknown_credential", "The PIN is not valid.", 403, 21, 1, 403
    LOCKED_OUT = "locked_out", "The PIN is not valid.", 403, 21, 1, 403
    BLOCKED = "blocked", "The PIN is not valid.", 403, 21, 1, 403
    VOID = "void", "This card can no longer be used.", 403, 21, 7, 403
    NOT_SOLD = "not_sold", "This card cannot be used yet.", 403, 21, 7, 403
    NOT_ASSIGNED = "not_assigned", "This card cannot be used yet.", 403, 21, 8, 409
    NOT_YET_EFFECTIVE = "not_yet_effective", "This card cannot be used yet.", 403, 21, 7, 403
    EXPIRED = "expired", "This card has expired.", 403, 21, 5, 403
    EXHAUSTED = "exhausted", "There is no money left on this card.", 402, 21, 4, 402
    INSUFFICIENT_BALANCE = (
        "insufficient_balance",
        "There is not enough money left for a call to this number.",
        402,
        21,
        12,
        402,
    )
    TOO_MANY_CALLS = "too_many_calls", "This card is in use.", 486, 17, 3, 429
    LIMIT_REACHED = "limit_reached", "The limit of this card is reached.", 403, 21, 6, 403
    DESTINATION_BARRED = (
        "destination_barred",
        "This number cannot be called with this card.",
        403,
        21,
        9,
        403,
    )
    NO_RATE = "no_rate", "This number cannot be called with this card.", 404, 3, 9, 404
    NO_ROUTE = "no_route", "This number cannot be reached now.", 503, 34, 8, 503
    INVALID_NUMBER = "invalid_number", "The number dialed is not valid.", 484, 28, 11, 400
    BELOW_MINIMUM = "below_minimum", "There is not enough money left for a call.", 402, 21, 12, 402


def denial_of(code: str) -> Denial:
    """Return the reason of a code."""
    return next(reason for reason in Denial if reason.value == code)
