"""PINs as operators see them, and their export as CSV."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import date, datetime
from pathlib import Path
from tempfile import mkstemp
from typing import TYPE_CHECKING, TextIO

from attrs import frozen

from cardbill import money
from cardbill.csvfiles import csv_line
from cardbill.errors import InvalidInput
from cardbill.inquiry import look_up
from cardbill.pins import MASK
from cardbill.seals import Seals
from cardbill.status import Status

if TYPE_CHECKING:
    from moneyed import Money

    from cardbill.batches import Batch
    from cardbill.shelf import Shelf
    from cardbill.storage.contract import CardRow

EXPORT_COLUMNS = (
    "number",
    "serial",
    "status",
    "value",
    "currency",
    "effective_date",
    "expiration_date",
    "activation_date",
    "expiration_period",
)
"""The columns of an export; ``number`` is the PIN, ``expiration_period`` days after first use."""


@frozen(kw_only=True)
class IssuedPin:
    """One PIN of a batch as operators see it.

    Attributes:
        card_id, serial: Which.
        number: The PIN; stars unless it was asked to be shown.
        card_number: What is printed beside it; ``None``: cards of its batch have no number.
        status: Now.
        value_units, balance_units: Ledger units.
        currency: ISO 4217 code.
        effective_date, expiration_date: Of the batch.
        activated_at: The first use; ``None``: not used yet.
        expiration_period: Days after first use; ``None``: no such limit.
        expires_at: When the card expires, as far as that is known.
    """

    card_id: str
    serial: int
    number: str
    card_number: str | None
    status: Status
    value_units: int
    balance_units: int
    currency: str
    effective_date: date | None
    expiration_date: date | None
    activated_at: datetime | None
    expiration_period: int | None
    expires_at: datetime | None

    def __repr__(self) -> str:
        return f"<IssuedPin {self.card_id} {self.status.value}>"

    @property
    def value(self) -> Money:
        """The face value."""
        return money.money(self.value_units, self.currency)

    @property
    def balance(self) -> Money:
        """What the card holds."""
        return money.money(self.balance_units, self.currency)


def issued_pin(
    batch: Batch, shelf: Shelf, row: CardRow, at: datetime, seals: Seals, *, number: str = MASK
) -> IssuedPin:
    """Return a stored card as an operator sees it at an instant."""
    card = look_up(row, shelf, at, seals)
    return IssuedPin(
        card_id=card.card_id,
        serial=card.serial,
        number=number,
        card_number=None if batch.numbering is None else batch.numbering.number(card.serial),
        status=card.status,
        value_units=card.face_units,
        balance_units=card.balance_units,
        currency=card.currency,
        effective_date=batch.effective_date,
        expiration_date=batch.expiration_date,
        activated_at=card.first_used_at,
        expiration_period=batch.expires_days_after_first_use,
        expires_at=card.expires_at,
    )


def export_columns(batch: Batch) -> tuple[str, ...]:
    """Return the columns of a batch's export; ``card_number`` where its cards have one."""
    return EXPORT_COLUMNS if batch.numbering is None else (*EXPORT_COLUMNS, "card_number")


def export_line(pin: IssuedPin) -> str:
    """Return the line of one PIN, in the order of :func:`export_columns`."""
    return csv_line(
        (
            pin.number,
            pin.serial,
            pin.status.value,
            pin.value.amount,
            pin.currency,
            pin.effective_date,
            pin.expiration_date,
            pin.activated_at and pin.activated_at.isoformat(),
            pin.expiration_period,
            *([] if pin.card_number is None else [pin.card_number]),
        )
    )


@contextmanager
def destination(to: str | os.PathLike[str] | TextIO) -> Iterator[TextIO]:
    """Lend a file to write; one given by path takes its place only once it is whole."""
    if not isinstance(to, str | os.PathLike):
        if not hasattr(to, "write"):
            raise InvalidInput("to", type(to).__name__, "must be a path or an open text file")
        yield to
        return
    path = Path(to)
    descriptor, draft = mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(draft).replace(path)
    except BaseException:
        with suppress(FileNotFoundError):
            Path(draft).unlink()
        raise
