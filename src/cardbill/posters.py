"""What a card gives, told to those who sell it: the disclosure for a plan, or a batch.

Source: domain.md sections 3 to 6; docs/how-to/disclose.md names the laws.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from cardbill.authorization import first_use
from cardbill.disclosing import Disclosure, calls_alike, check_lengths, longest_call
from cardbill.errors import InvalidInput
from cardbill.feewords import charge_texts, limit_texts, package_texts, tax_texts
from cardbill.purses import CardPurse
from cardbill.quoting import KNOWN_SECONDS, fresh
from cardbill.rating import MINUTE
from cardbill.reach import CallRequest, call_terms, plan_of

if TYPE_CHECKING:
    from cardbill.batches import Batch
    from cardbill.cards import Card
    from cardbill.catalogue import Snapshot
    from cardbill.plans import Plan
    from cardbill.tariffs import Tariff


def disclosed(
    batch: Batch,
    face_units: int,
    request: CallRequest,
    calls_of: Sequence[int],
    shelf: Snapshot,
    at: datetime,
) -> Disclosure:
    """Return what a card of a value gives, under a batch's terms, in calls to a number.

    Raises:
        InvalidInput: The plan has no rate for the number, or bars it.
    """
    check_lengths(calls_of)
    card = fresh(batch, face_units)
    plan, _ = plan_of(card, batch, shelf)
    number = request.number or ""
    deck = shelf.deck(plan.deck)
    match = deck.match(number, at)
    if match is None or match.blocked or shelf.among(plan.barred, number):
        raise InvalidInput("to", number, f"cannot be called with plan {plan.name!r}")
    first_use(card, batch, shelf, at)
    tariff = deck.tariff(match, number, at, KNOWN_SECONDS)
    purse = CardPurse(card, batch, plan, request, tariff, shelf, at)
    return Disclosure(
        face_units=face_units,
        currency=plan.currency,
        destination=match.destination,
        tariff=tariff,
        granted_at=at if tariff.changes else None,
        longest=longest_call(purse),
        calls_of=tuple(calls_alike(purse, minutes * MINUTE) for minutes in calls_of),
        minimum_units=plan.minimum_units,
        cap=plan.max_call_seconds,
        further=tuple(_further(card, batch, plan, request, tariff, shelf, at)),
    )


def _further(
    card: Card,
    batch: Batch,
    plan: Plan,
    request: CallRequest,
    tariff: Tariff,
    shelf: Snapshot,
    at: datetime,
) -> Iterator[str]:
    number = request.number or ""
    terms = call_terms(card, batch, plan, request, number, shelf, at)(tariff)
    covers = frozenset(
        package.name
        for package in plan.packages
        if not package.destinations or shelf.among(package.destinations, number)
    )
    yield from package_texts(plan, covers)
    yield from charge_texts(plan, at, frozenset(charge.name for charge in terms.charges))
    yield from tax_texts(terms.taxes, plan.currency)
    yield from limit_texts(plan)
