"""What every store refuses before it writes a step."""

from __future__ import annotations

from inspect import iscoroutinefunction
from itertools import pairwise
from typing import Any

from cardbill.errors import CardTooLarge, ConstraintViolated
from cardbill.storage.contract import (
    LARGEST_STATE,
    LARGEST_TALLY,
    LAST_GROUP,
    CardRow,
    Step,
    Tally,
)

_LEAST, _MOST = -(2**63), 2**63 - 1


def check_colour(storage: object, *, asynchronous: bool) -> None:
    """Check that a store is a synchronous or an asynchronous one, as its engine is.

    Raises:
        TypeError: It is of the other kind.
    """
    if iscoroutinefunction(getattr(storage, "transact", None)) == asynchronous:
        return
    what = type(storage).__name__
    if asynchronous:
        raise TypeError(f"{what} is no asynchronous store: give it to cardbill.Engine")
    raise TypeError(f"{what} is an asynchronous store: give it to cardbill.aio.AsyncEngine")


def check_step(seen: CardRow, step: Step[Any]) -> None:
    """Check a step against the card it was decided on.

    Raises:
        CardTooLarge: The new state is above 64 KiB.
        ConstraintViolated: Another card or another place for it, a version that is not
            the next, amounts out of bounds, entries or records of another card.
    """
    card = step.card
    if card is None:
        return
    check_card(card)
    if (card.id, card.batch, card.serial) != (seen.id, seen.batch, seen.serial):
        raise ConstraintViolated(f"card {seen.id}: a step changed which card it is")
    if card.version != seen.version + 1:
        raise ConstraintViolated(f"card {seen.id}: not the next version of that card")
    for earlier, later in pairwise(step.entries):
        if later.seq != earlier.seq + 1:
            raise ConstraintViolated(f"card {card.id}: entries out of sequence")
    cards = {row.card for row in step.entries} | {row.card for row in step.records}
    if cards - {card.id}:
        raise ConstraintViolated(f"card {card.id}: rows of another card in its step")
    for entry in step.entries:
        _check_integers(card.id, entry)
    for record in step.records:
        _check_integers(card.id, record)


def check_card(card: CardRow) -> None:
    """Check a card by itself, new or changed.

    Raises:
        CardTooLarge: Its state is above 64 KiB.
        ConstraintViolated: Amounts out of bounds.
    """
    if len(card.state) > LARGEST_STATE:
        raise CardTooLarge(f"card {card.id}: its state would have {len(card.state):,} bytes")
    if not 0 <= card.held <= card.balance:
        raise ConstraintViolated(
            f"card {card.id}: holds of {card.held} with a balance of {card.balance}"
        )
    _check_integers(card.id, card)


def check_subject(group: int, subject: str) -> None:
    """Check whose attempts a step is about.

    Raises:
        ConstraintViolated: There is no such group, or the subject is a group's book.
    """
    if not 0 <= group <= LAST_GROUP or not subject:
        raise ConstraintViolated(f"attempts: no subject {subject!r} in group {group}")


def check_tally(tally: Tally[Any]) -> None:
    """Check what a step on attempts decided.

    Raises:
        ConstraintViolated: The state or the book is above 4 KiB.
    """
    for what in (tally.state, tally.book):
        if what is not None and len(what) > LARGEST_TALLY:
            raise ConstraintViolated(f"attempts: {len(what):,} bytes are too many")


def _check_integers(card: str, row: tuple[object, ...]) -> None:
    for value in row:
        if isinstance(value, int) and not _LEAST <= value <= _MOST:
            raise ConstraintViolated(f"card {card}: an integer beyond 64 bits")
