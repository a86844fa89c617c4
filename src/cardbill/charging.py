"""Takes charges from a card: in full, what is left, or as a debt; each with its taxes.

What a call triggers is billed with the call, see :mod:`cardbill.callterms`. Source:
domain.md section 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from cardbill import debts
from cardbill.charges import PERIODIC, Charge, Short
from cardbill.jurisdictions import TaxOn
from cardbill.ledger import EntryKind
from cardbill.taxengines import NOT_TAXED
from cardbill.taxes import PriceLine
from cardbill.taxing import taxed

if TYPE_CHECKING:
    from cardbill.cards import Card
    from cardbill.catalogue import Snapshot
    from cardbill.taxes import Taxed, TaxRules


def take(
    card: Card,
    charge: Charge,
    amount: int,
    rules: TaxRules | None,
    at: datetime,
    reference: str,
    shelf: Snapshot,
    *,
    waits: bool = True,
) -> bool:
    """Take a charge that fell due, as far as its terms say.

    Args:
        card: Whose it is.
        charge: The terms.
        amount: What it comes to, in ledger units, as quoted.
        rules: The taxes on it.
        at: When it fell due.
        reference: What triggered it.
        shelf: The catalogue.
        waits: While calls are open it waits if it does not fit; otherwise what its terms say
            about short money is done at once.

    Returns:
        False: it does not fit, and while calls are open it waits; nothing was done.

    Raises:
        TaxNeeded: A tax engine outside has to be asked first.
    """
    due = asked(card, charge, amount, rules, at, reference, shelf)
    if sum(part for _, _, part in due) > card.available:
        if card.holds and waits:
            return False
        if charge.when_short is Short.DROP:
            return True
        fits = min(amount, largest(charge, card.available, rules))
        if charge.when_short is Short.OWE and fits < amount:
            fits = _bearing(charge, fits, rules)
            debts.owe(card.debts, charge.name, amount - fits, begun=fits > 0)
        due = lines(charge, fits, rules)
    post(card, due, at, reference)
    return True


def pay_owed(
    card: Card,
    charges: Sequence[Charge],
    rules: TaxRules | None,
    at: datetime,
    reference: str,
) -> None:
    """Pay what is owed of charges, the oldest debt first, as far as the money goes.

    Each debt is taxed on its own, and part by part where the money is short: the flat taxes
    with its first part only. It is done by the built-in rules, as is all that is cut to the
    money there is.
    """
    known = {charge.name: charge for charge in charges}
    for name in list(card.debts):
        if (charge := known.get(name)) is None:
            continue  # the plan has it no more: nobody may ask for it
        while name in card.debts:
            oldest = card.debts[name][0]
            taxes = rules.for_later_parts if rules is not None and oldest.begun else rules
            paid = min(oldest.amount, largest(charge, card.available, taxes))
            if paid < oldest.amount:
                paid = _bearing(charge, paid, taxes)
            if paid:
                post(card, lines(charge, paid, taxes), at, reference)
                debts.pay(card.debts, name, paid)
            if paid < oldest.amount:
                break


def post(
    card: Card, due: Sequence[tuple[EntryKind, str, int]], at: datetime, reference: str
) -> None:
    """Post what is due, line by line."""
    for kind, name, amount in due:
        if amount or name == NOT_TAXED:
            card.post(kind, -amount, at, reference, name)


def asked(
    card: Card,
    charge: Charge,
    amount: int,
    rules: TaxRules | None,
    at: datetime,
    reference: str,
    shelf: Snapshot,
) -> list[tuple[EntryKind, str, int]]:
    """Return what :func:`lines` does, by a tax engine outside where there is one.

    Raises:
        TaxNeeded: It has to be asked first.
    """
    if rules is None or not amount:
        return lines(charge, amount, rules)
    event = f"{reference}: {charge.name}"
    return _taxed_lines(charge, taxed(card, event, (_quoted(charge, amount),), rules, shelf, at))


def lines(charge: Charge, amount: int, rules: TaxRules | None) -> list[tuple[EntryKind, str, int]]:
    """Return a charge and the taxes on it as (kind, name, ledger units)."""
    if rules is None or not amount:
        return [(EntryKind.CHARGE, charge.name, amount)]
    return _taxed_lines(charge, rules.taxed((_quoted(charge, amount),)))


def _taxed_lines(charge: Charge, whole: Taxed) -> list[tuple[EntryKind, str, int]]:
    taxes = [(EntryKind.TAX, line.tax, line.amount) for line in whole.taxes]
    return [(EntryKind.CHARGE, charge.name, whole.nets[0]), *taxes]


def largest(charge: Charge, available: int, rules: TaxRules | None) -> int:
    """Return the most of a charge, as quoted, that so much money pays with its taxes."""
    if rules is None:
        return available
    return rules.largest_price(available, lambda price: (_quoted(charge, price),)) or 0


def _bearing(charge: Charge, part: int, rules: TaxRules | None) -> int:
    """Return a part of a charge, or 0 where it does not bear the flat taxes in it: it waits."""
    if rules is None or not charge.taxable or part >= rules.least_bearing(_quoted(charge, part).on):
        return part
    return 0


def _quoted(charge: Charge, amount: int) -> PriceLine:
    on = TaxOn.RECURRING if charge.trigger in PERIODIC else TaxOn.SURCHARGE
    return PriceLine(on, amount, charge.taxable)
