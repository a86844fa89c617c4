"""What the tests of callers' numbers share: phones, and what one asks and is told of them."""

from typing import Any

from moneyed import USD

from cardbill import Caller, DialPlan, Plan, Registration
from tests.building import Shop

PHONE = "+13055550199"
OTHER = "+13055550188"
BRITISH = DialPlan(country_code="44", international_prefix="00", national_prefix="0")
PINLESS: dict[str, Any] = {"ani_limit": 2}


def change_plan(shop: Shop, **terms: Any) -> None:
    shop.bill.plans.publish(Plan(name="Basic", deck="retail", currency=USD, **{**PINLESS, **terms}))


def caller(shop: Shop, serial: int = 1, ani: str | None = PHONE) -> Caller:
    """A caller who gave his PIN."""
    found = shop.bill.authenticate(pin=shop.pin(serial), ani=ani)
    assert isinstance(found, Caller)
    return found


def owner(shop: Shop, ani: str = PHONE) -> str | None:
    """The card that a number opens; None: it opens none, as a denial says."""
    found = shop.bill.authenticate(ani=ani)
    if isinstance(found, Caller):
        assert found.credential[0] == "ani"
        return found.card_id
    assert found.reason.value == "unknown_credential"
    return None


def said(registration: Registration) -> str:
    assert registration.registered == (registration.reason is None)
    return "registered" if registration.reason is None else registration.reason.value


def numbers(shop: Shop, card_id: str = "B/1") -> list[tuple[str | None, bool]]:
    return [(each.number, each.confirmed) for each in shop.bill.callers.numbers(card_id)]


def void(shop: Shop) -> None:
    shop.bill.control.void("B/1", actor="ann", reason="misprint")
