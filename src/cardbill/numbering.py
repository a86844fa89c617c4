"""Which card numbers are whose: no number is ever in two batches, whoever creates them.

All claims are one item of the catalogue, so two batches created at the same moment cannot
both take the same numbers.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from cardbill.catalogueitems import BATCH, NUMBERING
from cardbill.errors import DuplicateName, InvalidInput, VersionConflict

if TYPE_CHECKING:
    from cardbill.batches import Batch
    from cardbill.journal import Journal
    from cardbill.storage.contract import Storage

_NAME = "cards"


def claim(storage: Storage, journal: Journal, batch: Batch) -> None:
    """Take the card numbers of a batch that is to be created, if it has any.

    What a batch claimed that was never created is given up when its name is claimed again.

    Raises:
        DuplicateName: There is a batch of that name.
        InvalidInput: Another batch has some of these numbers; field ``card_numbers``.
    """
    numbers = batch.numbering
    if numbers is None:
        return
    first, last = numbers.span
    while True:
        _, heads = storage.catalogue()
        if any((head.kind, head.name) == (BATCH, batch.name) for head in heads):
            raise DuplicateName("batch", batch.name)
        version = next((h.version for h in heads if (h.kind, h.name) == (NUMBERING, _NAME)), 0)
        claims = json.loads(journal.content(NUMBERING, _NAME, version)) if version else {}
        for name, (length, begin, end) in claims.items():
            if name != batch.name and length == numbers.length and first <= end and begin <= last:
                problem = f"some of these card numbers are those of batch {name!r}"
                raise InvalidInput("card_numbers", batch.card_numbers, problem)
        claims[batch.name] = (numbers.length, first, last)
        try:
            journal.publish(NUMBERING, _NAME, json.dumps(claims).encode(), expected=version)
        except VersionConflict:
            continue
        return
