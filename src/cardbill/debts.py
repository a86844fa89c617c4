"""What a card owes of charges: each on its own, so that it is taxed as one event.

A debt may be paid in parts. The flat taxes on it are paid with the first one; percentages are
of each part. Years of unpaid fees are one row: equal debts are counted. Source: domain.md
sections 5 and 6.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

Debts = dict[str, tuple["Debt", ...]]
"""By the charge's name, the oldest first."""


class Debt(NamedTuple):
    """So many equal debts of one charge.

    Attributes:
        amount: What is still to be paid of each, in ledger units, as quoted.
        begun: A part was paid, and the flat taxes with it.
        times: How many there are.
    """

    amount: int
    begun: bool = False
    times: int = 1


def owed_of(owed: Iterable[Debt]) -> int:
    """Return what debts come to, in ledger units."""
    return sum(debt.amount * debt.times for debt in owed)


def owe(debts: Debts, name: str, amount: int, *, begun: bool) -> None:
    """Add a debt: what is left of a charge, of which a part was paid or not."""
    before, newest = debts.get(name, ()), Debt(amount, begun)
    if before and before[-1][:2] == newest[:2]:
        newest = newest._replace(times=before[-1].times + 1)
        before = before[:-1]
    debts[name] = (*before, newest)


def pay(debts: Debts, name: str, paid: int) -> None:
    """Take what was paid off the oldest debt of a charge: no more than that is."""
    oldest, *later = debts[name]
    rest = [Debt(oldest.amount - paid, begun=True)] if paid < oldest.amount else []
    if oldest.times > 1:
        rest.append(oldest._replace(times=oldest.times - 1))
    if rest or later:
        debts[name] = (*rest, *later)  # in its place among the charges
    else:
        del debts[name]
