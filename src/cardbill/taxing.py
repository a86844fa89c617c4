"""Which events a tax engine outside is asked about: the same question from every decision.

It is asked about what the published taxes are on, so they say what is taxed and when: a
card taxed at its sale is not taxed again from outside when it is used. It is not asked about
what time does (holds that nobody reported, periodic charges), for whoever reads a card
replays that, and all must come to the same; nor about what is cut to the money there is,
since nobody can ask for the largest amount that fits. Source: domain.md section 6.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from cardbill.taxengines import TaxDecision, TaxNeeded, TaxRequest

if TYPE_CHECKING:
    from cardbill.cards import Card
    from cardbill.catalogue import Snapshot
    from cardbill.taxes import PriceLine, Taxed, TaxRules


def decided(
    card: Card,
    event: str,
    lines: Sequence[PriceLine],
    rules: TaxRules,
    shelf: Snapshot,
    at: datetime,
    *,
    caller: str | None = None,
    called: str | None = None,
) -> TaxDecision | None:
    """Return what was decided outside about an event; ``None``: the rules tax it.

    Args:
        card: Whose event.
        event: What happens; no other event of the card is called so.
        lines: The quoted amounts.
        rules: The built-in rules.
        shelf: The catalogue, with the answers at hand.
        at: The instant that counts.
        caller: For a call: the caller's number, where known.
        called: For a call: the called number.

    Raises:
        TaxNeeded: The engine has to be asked first.
    """
    if shelf.answers is None or not rules.bear(lines):
        return None
    request = TaxRequest(
        key=f"{card.id} {event}",
        jurisdiction=rules.jurisdiction,
        at=at,
        currency=card.currency,
        lines=lines,
        exemptions=shelf.batch(card.batch).exemptions,
        caller=caller or None,
        called=called or None,
    )
    if (found := shelf.answers.get(request)) is None:
        raise TaxNeeded(request, rules)
    return found


def taxed(
    card: Card,
    event: str,
    lines: Sequence[PriceLine],
    rules: TaxRules,
    shelf: Snapshot,
    at: datetime,
) -> Taxed:
    """Return an event that is no call with its taxes: as :func:`decided`, or by the rules.

    Raises:
        TaxNeeded: The engine has to be asked first.
    """
    found = decided(card, event, lines, rules, shelf, at)
    if found is None or found.taxed is None:
        return rules.taxed(lines)
    return found.taxed
