"""What the tests of guessing share: the rules, who guesses, and from where."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from cardbill import AccessNumber, Denied, Throttle
from cardbill.instants import MICROSECOND, to_micros
from tests.building import START, Shop, open_shop as open_any_shop

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
RULES = Throttle()
NOW = to_micros(START)
WRONG = "000000000042"
CALLER, OTHER = "+13055551234", "+13055559999"
HERE, THERE = "18005550100", "18005550101"
"""Access numbers."""


@contextmanager
def open_shop(kind: str, folder: Path, **terms: Any) -> Iterator[Shop]:
    """A small business with two access numbers."""
    with open_any_shop(kind, folder, **terms) as shop:
        for number in (HERE, THERE):
            shop.bill.access_numbers.publish(AccessNumber(number=number))
        yield shop


def micros(span: timedelta) -> int:
    return span // MICROSECOND


STEP = micros(MINUTE)


def ask(shop: Shop, pin: str | None = None, ani: str | None = CALLER, **given: Any) -> str:
    """Authenticate, with the PIN of card B/1 or another; say how it went."""
    answer = shop.bill.authenticate(pin=shop.pin() if pin is None else pin, ani=ani, **given)
    return answer.reason.value if isinstance(answer, Denied) else "admitted"
