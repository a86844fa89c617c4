"""What a plan's cards get and pay beside the price of calls, in English sentences.

For those who sell them: every fee, with when it applies. docs/how-to/disclose.md names the
laws that want it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from cardbill import money
from cardbill.charges import OF_A_CALL, PERIODIC, Charge, Trigger
from cardbill.jurisdictions import TaxOn
from cardbill.packages import Given, Package, Unit

if TYPE_CHECKING:
    from cardbill.cycles import BillingCycle
    from cardbill.plans import Plan
    from cardbill.taxes import TaxRules

_WHEN = {
    Trigger.ACTIVATION: "is charged at the first use",
    Trigger.FIRST_ANSWER: "is charged for the first call that is charged",
    Trigger.ANSWER: "is charged for each call that is charged",
    Trigger.END: "is charged at the end of each call that is charged",
}


def package_texts(plan: Plan, covers: frozenset[str]) -> Iterator[str]:
    """Yield what a card gets beside its money.

    Args:
        plan: The plan.
        covers: The names of the packages that are for the destination.
    """
    for package in plan.packages:
        if package.name in covers and package.given is not Given.BOUGHT:
            renewed = package.given is Given.CYCLE
            when = f", anew {_every(plan.billing_cycle)}" if renewed else ""
            good = f", good for {_length(package.valid)}" if package.valid else ""
            yield f"The card comes with {_quantity(package)}{when}{good}: {package.name}."
    if any(p.name in covers and p.given is Given.CYCLE for p in plan.packages):
        yield "The figures are those of its first cycle."


def charge_texts(plan: Plan, at: datetime, apply: frozenset[str]) -> Iterator[str]:
    """Yield what a card pays beside the price of calls.

    Args:
        plan: The plan.
        at: The instant.
        apply: The names of the charges that the figures contain.
    """
    for charge in plan.charges:
        if not charge.effective(at) or charge.trigger in (Trigger.MANUAL, Trigger.RECHARGE):
            continue
        if charge.trigger in PERIODIC:
            assert charge.every is not None  # noqa: S101  # periodic charges have it
            if charge.trigger is Trigger.PERIOD:
                when = f"is charged {_every(charge.every)} from the first use on"
            else:
                when = f"is charged for each {_length(charge.every)} without a call"
            yield f"{_amount(charge, plan)} {when}, which no figure contains: {charge.name}."
        elif charge.name in apply or charge.trigger not in OF_A_CALL:
            yield f"{_amount(charge, plan)} {_WHEN[charge.trigger]}: {charge.name}."
        else:
            limits = " and ".join(_limits(charge))
            text = f"{_amount(charge, plan)} {_WHEN[charge.trigger]} {limits}"
            yield f"{text}, which no figure contains: {charge.name}."


def limit_texts(plan: Plan) -> Iterator[str]:
    """Yield how much may be used within some hours."""
    for limit in plan.usage_limits:
        within = f"within {_count(limit.hours, 'hour')}"
        if limit.calls is not None:
            yield f"No more than {_count(limit.calls, 'call')} can be made {within}."
        if (units := limit.spend_units(plan.currency)) is not None:
            yield f"No more than {money.text(units, plan.currency)} can be spent {within}."


def tax_texts(rules: TaxRules | None, currency: str) -> Iterator[str]:
    """Yield which taxes calls bear."""
    for tax in () if rules is None else rules.taxes:
        if TaxOn.USAGE not in tax.on and TaxOn.SURCHARGE not in tax.on:
            continue
        if tax.percent is not None:
            amount = f"{tax.percent.normalize():f} %"
        else:
            flat = tax.flat
            amount = money.text(money.units("flat", flat, currency), currency)
        how = "is contained in prices" if tax.inclusive else "is added to prices"
        yield f"A tax of {amount} {how}, and in these figures: {tax.name}."


def _amount(charge: Charge, plan: Plan) -> str:
    if charge.percent is not None:
        return f"{charge.percent.normalize():f} % of the price of the call"
    return money.text(charge.units, plan.currency)


def _limits(charge: Charge) -> Iterator[str]:
    if charge.access or charge.access_kinds:
        kinds = [kind.value.replace("_", "-") for kind in charge.access_kinds]
        yield f"and comes in on {' or '.join([*kinds, *charge.access])}"
    if charge.destinations:
        yield f"and goes to {' or '.join(charge.destinations)}"


def _quantity(package: Package) -> str:
    if package.unit is Unit.SECONDS:
        minutes, seconds = divmod(package.quantity, 60)
        told = [_count(minutes, "minute")] if minutes else []
        return " ".join([*told, _count(seconds, "second")] if seconds else told)
    if package.unit is Unit.CALLS:
        return _count(package.quantity, "call")
    assert package.amount is not None  # noqa: S101  # what is left of the units
    currency = money.currency_code("amount", package.amount.currency)
    return f"{money.text(package.quantity, currency)} for calls"


def _every(cycle: BillingCycle) -> str:
    unit = cycle.unit.value.removesuffix("s")
    return f"every {unit}" if cycle.count == 1 else f"every {cycle.count} {unit}s"


def _length(cycle: BillingCycle) -> str:
    return _count(cycle.count, cycle.unit.value.removesuffix("s"))


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
