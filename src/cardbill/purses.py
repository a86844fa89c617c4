"""What a card holds as calls of one kind use it up: its money, its packages, its charges.

It answers as an authorization would, call after call at one instant, without a call for
each: so many alike ones are made at once. Source: domain.md sections 3 to 6.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from copy import copy
from datetime import datetime
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from cardbill.callterms import CallTerms
from cardbill.charges import Trigger
from cardbill.increments import LONGEST_SECONDS
from cardbill.reach import CallRequest, call_terms, cap_of, spendable
from cardbill.status import Status

if TYPE_CHECKING:
    from cardbill.batches import Batch
    from cardbill.callterms import Bill
    from cardbill.cards import Card
    from cardbill.catalogue import Snapshot
    from cardbill.plans import Plan
    from cardbill.tariffs import Tariff


@frozen
class CardPurse:
    """What a card holds for calls to one number, all granted and answered at one instant.

    Attributes:
        card: The card, which is in use; it is not changed.
        batch, plan: Its terms.
        request: The call that is made again and again.
        tariff: What rates it.
        shelf: The catalogue.
        at: The instant.
    """

    card: Card
    batch: Batch
    plan: Plan
    request: CallRequest
    tariff: Tariff
    shelf: Snapshot
    at: datetime

    @property
    def left(self) -> int:
        """The money that is left, in ledger units."""
        return self.card.available

    def longest(self) -> int | None:
        """Return how long a call is granted; 0: none is; ``None``: without end."""
        card, plan, at = self.card, self.plan, self.at
        if card.status(at) is Status.EXHAUSTED or card.available < plan.minimum_units:
            return 0
        cap, _ = cap_of(card, self.batch, plan, at)
        if cap == 0:
            return 0
        limit = self._terms().longest(spendable(card, plan, at)[0], cap, at)
        return 0 if self.tariff.is_unpaid(limit, at) else limit.seconds

    def price(self, seconds: int | None) -> int:
        """Return what the next call of that length takes of money; ``None``: one without end."""
        return self._bill(seconds).total

    def alike(self, seconds: int) -> int | None:
        """Return how many calls of that length follow that all take the same; ``None``: no end."""
        if not self.grants(seconds):
            return 0
        bill = self._bill(seconds)
        uses = [self.card.free_of(self.card.buckets[d.bucket]) // d.units for d in bill.draws]
        if not self.card.answered and any(
            charge.trigger is Trigger.FIRST_ANSWER for charge in self.plan.charges
        ):
            uses.append(1)
        if bill.total:
            uses.append(self.left // bill.total + 1)
        if not uses:
            return None
        # The more was taken before, the sooner a call is denied.
        return bisect_left(range(1, min(uses)), True, key=self._denied_after(seconds)) + 1

    def after(self, seconds: int | None, calls: int) -> CardPurse:
        """Return what is left after so many alike calls of that length."""
        bill, card = self._bill(seconds), copy(self.card)
        card.balance -= calls * bill.total
        card.buckets = dict(card.buckets)
        for draw in bill.draws:
            bucket = card.buckets[draw.bucket]
            bucket = evolve(bucket, used=bucket.used + calls * draw.units)
            card.buckets[draw.bucket] = bucket
            if not bucket.left:
                del card.buckets[draw.bucket]
        card.answered = True
        return evolve(self, card=card)

    # -- inside ---------------------------------------------------------------------------

    def _terms(self) -> CallTerms:
        number = self.request.number or ""
        complete = call_terms(
            self.card, self.batch, self.plan, self.request, number, self.shelf, self.at
        )
        return complete(self.tariff)

    def _bill(self, seconds: int | None) -> Bill:
        talk = LONGEST_SECONDS if seconds is None else seconds
        return self._terms().bill(talk, self.at, first=not self.card.answered)

    def grants(self, seconds: int) -> bool:
        """Say whether a call of that length is granted."""
        longest = self.longest()
        return longest is None or longest >= seconds

    def _denied_after(self, seconds: int) -> Callable[[int], bool]:
        return lambda calls: not self.after(seconds, calls).grants(seconds)
