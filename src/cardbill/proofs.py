"""Seals on stored rows: each card, entry and record as only the holder of the keys writes them.

A card's state ends with a :class:`Trail` and a seal over all of it and over which card it is.
The trail says what belongs to the card: the last link of the chain that its entries make, and
how many records it has with the sum of their keyed digests, so that none can be altered,
removed, added or put elsewhere unnoticed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from cardbill.errors import RowAltered
from cardbill.seals import NO_SEAL, SEAL_BYTES, Seals
from cardbill.storage.contract import CardRow, EntryRow, RecordRow

_LAYOUT = struct.Struct(">17sI32s")
_TAIL = _LAYOUT.size + SEAL_BYTES
# 256 bits: with 128, who sees many steps of a busy card could look for records whose
# digests add up to nothing.
_MODULUS = 1 << 256


class Trail(NamedTuple):
    """What a card's state says of its entries and records.

    Attributes:
        head: The seal of the newest entry.
        records: How many records there are.
        total: The sum of their digests, modulo 2^256.
    """

    head: bytes = NO_SEAL
    records: int = 0
    total: int = 0

    def followed(
        self,
        entries: Sequence[EntryRow],
        records: Sequence[RecordRow],
        shown: RecordRow | None,
        seals: Seals,
    ) -> tuple[Trail, list[EntryRow], list[RecordRow]]:
        """Return the trail after a step, with the step's rows sealed.

        Args:
            entries: What the step posts.
            records: What it records.
            shown: The record that it was shown; one of the same key replaces it.
            seals: Makes the seals.
        """
        if not entries and not records:
            return self, [], []
        head, count, total = self
        linked = []
        for entry in entries:
            head = seals.sign("entry", _entry(entry, entry.detail, head))
            linked.append(EntryRow(*entry[:7], entry.detail + head))
        signed = []
        for record in {record.key: record for record in records}.values():
            digest = seals.digest("record", _record(record, record.detail))
            seal = bytes([seals.newest]) + digest[:16]
            signed.append(RecordRow(*record[:15], record.detail + seal))
            total += int.from_bytes(digest, "big")
            if shown is not None and shown.key == record.key:
                total -= record_digest(shown, seals)
            else:
                count += 1
        return Trail(head, count, total % _MODULUS), linked, signed


def seal_card(row: CardRow, trail: Trail, seals: Seals) -> CardRow:
    """Return a card's row as it is stored: its state with trail and seal."""
    state = row.state + _LAYOUT.pack(trail.head, trail.records, trail.total.to_bytes(32, "big"))
    return CardRow(*row[:11], state + seals.sign("card", _card(row, state)))


def check_card(row: CardRow, seals: Seals) -> None:
    """Check the seal of a stored card.

    Raises:
        RowAltered: It does not fit.
    """
    state = row.state
    if type(state) is not bytes or len(state) < _TAIL:
        raise RowAltered(f"card {row.id}: its state was cut short")
    if not seals.holds("card", _card(row, state[:-SEAL_BYTES]), state[-SEAL_BYTES:]):
        raise RowAltered(f"card {row.id}: it was altered since cardbill wrote it")


def split_state(state: bytes) -> tuple[bytes, Trail]:
    """Return what a stored state says of the card itself, and its trail."""
    head, records, total = _LAYOUT.unpack(state[-_TAIL:-SEAL_BYTES])
    return state[:-_TAIL], Trail(head, records, int.from_bytes(total, "big"))


def card_seal(row: CardRow) -> bytes:
    """Return the seal that a stored card bears."""
    return row.state[-SEAL_BYTES:]


def entry_holds(row: EntryRow, previous: bytes, seals: Seals) -> bool:
    """Say whether a stored entry is the one that was posted after that link."""
    if type(row.detail) is not bytes:
        return False
    body, seal = split_detail(row.detail)
    return seals.holds("entry", _entry(row, body, previous), seal)


def entry_seal(row: EntryRow) -> bytes:
    """Return the seal that a stored entry bears: what the next one is linked to."""
    return row.detail[-SEAL_BYTES:] if type(row.detail) is bytes else NO_SEAL


def check_record(row: RecordRow, seals: Seals) -> None:
    """Check the seal of a stored record.

    Raises:
        RowAltered: It does not fit.
    """
    detail = row.detail
    if type(detail) is bytes and len(detail) >= SEAL_BYTES:
        body, seal = split_detail(detail)
        if seals.holds("record", _record(row, body), seal):
            return
    raise RowAltered(f"card {row.card}, record {row.key}: altered since cardbill wrote it")


def split_detail(detail: bytes) -> tuple[bytes, bytes]:
    """Return a stored record's or entry's own detail, and its seal."""
    return detail[:-SEAL_BYTES], detail[-SEAL_BYTES:]


def record_digest(row: RecordRow, seals: Seals) -> int:
    """Return what a stored record, whose seal holds, adds to its card's trail."""
    body, seal = split_detail(row.detail)
    digest = seals.digest("record", _record(row, body), seal[0])
    return int.from_bytes(digest, "big")


def seal_item(kind: str, name: str, version: int, content: bytes, seals: Seals) -> bytes:
    """Return a catalogue item's content as it is stored: with a seal behind it."""
    return content + seals.sign("item", _item(kind, name, version) + content)


def open_item(kind: str, name: str, version: int, stored: bytes, seals: Seals) -> bytes:
    """Return the content of a stored catalogue item.

    Raises:
        RowAltered: It is not what was published as that version of that name.
    """
    content, seal = stored[:-SEAL_BYTES], stored[-SEAL_BYTES:]
    if not seals.holds("item", _item(kind, name, version) + content, seal):
        raise RowAltered(f"{kind} {name!r} version {version} is not what was published")
    return content


def total_of(digests: Iterable[int]) -> int:
    """Return the sum of digests as a trail keeps it."""
    return sum(digests) % _MODULUS


# ASCII text of a tuple of integers, texts and None: alike in every version of Python, and the
# fastest way to write one down unambiguously.


def _card(row: CardRow, state: bytes) -> bytes:
    # Which card and version it is; its other columns are copies of what the state says.
    return ascii(row[:5]).encode() + state


def _entry(row: EntryRow, detail: bytes, previous: bytes) -> bytes:
    return ascii(row[:7]).encode() + previous + detail


def _record(row: RecordRow, detail: bytes) -> bytes:
    return ascii(row[:15]).encode() + detail


def _item(kind: str, name: str, version: int) -> bytes:
    return ascii((kind, name, version)).encode()
