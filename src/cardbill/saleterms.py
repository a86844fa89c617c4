"""Charges, packages and limits as plain dictionaries: how the catalogue stores a plan's."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from cardbill import money
from cardbill.charges import Charge
from cardbill.cycles import BillingCycle
from cardbill.instants import instant_of, micros_of
from cardbill.packages import Package
from cardbill.usagelimits import UsageLimit


def cycle_to_list(cycle: BillingCycle) -> list[Any]:
    """Return a cycle as JSON can hold it."""
    anchor = cycle.anchor
    return [cycle.unit.value, cycle.count, None if anchor is None else anchor.isoformat()]


def cycle_from_list(stored: list[Any]) -> BillingCycle:
    """Return the cycle that :func:`cycle_to_list` wrote."""
    unit, count, anchor = stored
    day = None if anchor is None else date.fromisoformat(anchor)
    return BillingCycle(unit=unit, count=count, anchor=day)


def charge_to_dict(charge: Charge) -> dict[str, Any]:
    """Return a charge as JSON can hold it; what it leaves open is left out."""
    fields = {
        "name": charge.name,
        "trigger": charge.trigger.value,
        "amount": None if charge.amount is None else _amount(charge.amount),
        "percent": None if charge.percent is None else str(charge.percent),
        "quantity": charge.quantity,
        "every": charge.every and cycle_to_list(charge.every),
        "taxable": charge.taxable,
        "access": charge.access,
        "access_kinds": [kind.value for kind in charge.access_kinds],
        "destinations": charge.destinations,
        "when_short": charge.when_short.value,
        "effective_from": micros_of(charge.effective_from),
        "effective_until": micros_of(charge.effective_until),
    }
    return {name: value for name, value in fields.items() if value not in (None, (), [])}


def charge_from_dict(stored: Mapping[str, Any]) -> Charge:
    """Return the charge that :func:`charge_to_dict` wrote."""
    return Charge(
        **{
            **stored,
            "amount": _money(stored.get("amount")),
            "every": _cycle(stored.get("every")),
            "effective_from": instant_of(stored.get("effective_from")),
            "effective_until": instant_of(stored.get("effective_until")),
        }
    )


def package_to_dict(package: Package) -> dict[str, Any]:
    """Return a package as JSON can hold it; what it leaves open is left out."""
    fields = {
        "name": package.name,
        "minutes": package.minutes,
        "seconds": package.seconds,
        "calls": package.calls,
        "amount": None if package.amount is None else _amount(package.amount),
        "destinations": package.destinations,
        "given": package.given.value,
        "price": None if package.price is None else _amount(package.price),
        "valid": package.valid and cycle_to_list(package.valid),
        "carry_over": package.carry_over,
        "waives_connect_fee": package.waives_connect_fee,
    }
    return {name: value for name, value in fields.items() if value not in (None, ())}


def package_from_dict(stored: Mapping[str, Any]) -> Package:
    """Return the package that :func:`package_to_dict` wrote."""
    return Package(
        **{
            **stored,
            "amount": _money(stored.get("amount")),
            "price": _money(stored.get("price")),
            "valid": _cycle(stored.get("valid")),
        }
    )


def limit_to_dict(limit: UsageLimit) -> dict[str, Any]:
    """Return a limit of use as JSON can hold it."""
    spend = None if limit.spend is None else _amount(limit.spend)
    return {"hours": limit.hours, "calls": limit.calls, "spend": spend}


def limit_from_dict(stored: Mapping[str, Any]) -> UsageLimit:
    """Return the limit that :func:`limit_to_dict` wrote."""
    return UsageLimit(**{**stored, "spend": _money(stored["spend"])})


def _amount(amount: Any) -> list[Any]:
    code = money.currency_code("amount", amount.currency)
    return [money.units("amount", amount, code), code]


def _money(stored: list[Any] | None) -> Any:
    return None if stored is None else money.money(*stored)


def _cycle(stored: list[Any] | None) -> BillingCycle | None:
    return None if stored is None else cycle_from_list(stored)
