"""New cards on their way into the store: generated one by one, or uploaded from a file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from fractions import Fraction
from typing import TYPE_CHECKING, TextIO

from attrs import frozen

from cardbill.cards import Card
from cardbill.csvfiles import label, opened
from cardbill.errors import (
    CardbillError,
    ConstraintViolated,
    IdempotencyMismatch,
    InvalidInput,
    TermsLocked,
    UploadRefused,
)
from cardbill.pins import check_probability, draw, one_in
from cardbill.proofs import Trail, seal_card
from cardbill.rows import card_to_row
from cardbill.storage.contract import CredentialRow, NewCard
from cardbill.uploading import Upload, UploadedPin

if TYPE_CHECKING:
    from cardbill.batches import Batch
    from cardbill.keyring import Keyring
    from cardbill.storage.contract import Storage

_PROGRESS_EVERY = 1_000

Progress = Callable[[int, int], None]
"""Called with (done, total) now and then, and at the end."""


@frozen(kw_only=True)
class Generated:
    """What a job that made or took in PINs did, this time or the first time.

    Attributes:
        batch: The batch's name.
        count: PINs stored; of a dry run: that would be.
        guess_probability: How likely one guess hits one of all live PINs of that length, or
            the PIN of one card number;
            0 for an upload that was done before, since its file is not read again.
    """

    batch: str
    count: int
    guess_probability: Fraction

    @property
    def one_in(self) -> int:
        """The same as people say it: one guess in that many hits a live PIN."""
        return one_in(self.guess_probability)


class _DryRun(CardbillError):
    """Ends a dry run, so that nothing of it is stored."""


class Intake:
    """Makes the rows of a batch's cards."""

    def __init__(
        self, storage: Storage, keyring: Keyring, batch: Batch, progress: Progress | None
    ) -> None:
        self._storage = storage
        self._keyring = keyring
        self._batch = batch
        self._progress = progress or _silent

    def generated(self, below: Callable[[int], int]) -> Iterator[NewCard]:
        """Yield every card of the batch, each with a PIN drawn at random."""
        for serial in range(1, self._batch.quantity + 1):
            yield self.draw(serial, below)
            self._tell(serial)

    def draw(self, serial: int, below: Callable[[int], int]) -> NewCard:
        """Return a card with a PIN drawn at random."""
        batch = self._batch
        while self._in_use(serial, pin := draw(batch.pin_length, below, checked=batch.pin_luhn)):
            pass
        return self._new(pin, serial)

    def uploaded(
        self, pins: Iterator[UploadedPin], taken: Callable[[int], None]
    ) -> Iterator[NewCard]:
        """Yield a card for each PIN, numbered in their order; `taken` hears of those in use."""
        for serial, row in enumerate(pins, start=1):
            if self._in_use(serial, row.pin):
                taken(serial)
            else:
                yield self._new(row.pin, serial, row)
            self._tell(serial)

    def _in_use(self, serial: int, pin: str) -> bool:
        """Say whether an older look-up key finds the PIN: the store compares the newest only."""
        kind = self._batch.credential_kind
        older = self._keyring.tokens(self._batch.credential(serial, pin), kind)[1:]
        return bool(older) and self._storage.resolve(kind, older) is not None

    def _tell(self, serial: int) -> None:
        if serial % _PROGRESS_EVERY == 0 or serial == self._batch.quantity:
            self._progress(serial, self._batch.quantity)

    def _new(self, pin: str, serial: int, row: UploadedPin | None = None) -> NewCard:
        batch, kind = self._batch, self._batch.credential_kind
        token = self._keyring.token(batch.credential(serial, pin), kind)
        worth = batch.face_units
        expires_at, first_used_at = batch.expires_at, None
        if row is not None:
            worth = worth if row.balance is None else row.balance
            first_used_at = row.first_used_at
            if first_used_at is not None:
                expires_at = batch.expiry_after(first_used_at)
            expires_at = row.expires_at or expires_at
        card = Card(
            id=f"{batch.name}/{serial}",
            batch=batch.name,
            serial=serial,
            currency=batch.currency,
            face=worth,
            balance=worth,
            credentials=[(kind, token)],
            first_used_at=first_used_at,
            due_at=expires_at if worth else None,
            taken_over=row is not None and row.balance is not None,
            expires_at=expires_at,
        )
        sealed = self._keyring.seal(pin, card.id)
        new = seal_card(card_to_row(card, version=1), Trail(), self._keyring.seals)
        return NewCard(new, CredentialRow(kind, token, card.id, sealed))


def target(batch: Batch) -> str:
    """Return what a guess at one of its PINs would hit."""
    return "a live PIN" if batch.numbering is None else "the PIN of a given card number"


def add_once(
    storage: Storage,
    batch: Batch,
    job: str,
    cards: Iterator[NewCard],
    *,
    redraw: Callable[[NewCard], NewCard | None],
    approve: Callable[[int], None] | None = None,
) -> int:
    """Store all cards of a batch, or find that this job has done so, and return how many.

    Raises:
        TermsLocked: Another job has made the batch's PINs.
        IdempotencyMismatch: This job made the PINs of another batch.
    """
    try:
        count = storage.add_cards(job, cards, redraw=redraw, approve=approve)
    except ConstraintViolated as error:
        if storage.count_cards(batch=batch.name):
            problem = f"batch {batch.name!r} has its PINs already, by another job"
            raise TermsLocked(problem) from error
        raise
    if count != batch.quantity or not storage.find_cards(batch.name, limit=1):
        raise IdempotencyMismatch(job, ["batch"])
    return count


def upload(
    storage: Storage,
    intake: Intake,
    batch: Batch,
    source: str | os.PathLike[str] | TextIO,
    *,
    job: str,
    columns: Mapping[str, str],
    dialled: bool,
    others: Mapping[int, int],
    limit: object,
    dry_run: bool,
) -> Generated:
    """Store the PINs of a file: all of them or none; see ``Batches.upload_pins``."""
    with opened(source, "PIN file") as file:
        reading = Upload(file, batch, columns, dialled=dialled)

        def taken(new: NewCard) -> None:
            reading.taken(new.card.serial)

        def approve(count: int) -> None:
            if reading.refused:
                what = label(source, "PIN file")
                problems = sorted(reading.problems, key=lambda problem: problem.line)
                raise UploadRefused(what, problems, reading.refused)
            if count != batch.quantity:
                problem = f"the file holds {count:,} PINs, the batch has {batch.quantity:,}"
                raise InvalidInput("quantity", None, problem)
            check_probability(reading.guess_probability(others), limit, target=target(batch))
            if dry_run:
                raise _DryRun

        with suppress(_DryRun):
            cards = intake.uploaded(reading.pins(), reading.taken)
            add_once(storage, batch, job, cards, redraw=taken, approve=approve)
    return Generated(
        batch=batch.name, count=batch.quantity, guess_probability=reading.guess_probability(others)
    )


def _silent(_done: int, _total: int) -> None:
    """Nobody watches the progress."""
