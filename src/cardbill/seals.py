"""Seals: keyed checksums by which a row that was altered behind cardbill's back is noticed.

A seal is a version byte and the first 16 bytes of ``HMAC-SHA256(audit key, context | 0 |
message)``. The context word says what is sealed, so that the seal of one thing is never
that of another. New seals use the newest audit key; each is checked with the key whose
version it names.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

SEAL_BYTES = 17
"""The length of a seal: one byte of version, 16 of the checksum."""

NO_SEAL = bytes(SEAL_BYTES)
"""Stands before the first link of a chain; versions begin at 1, so it is nobody's seal."""

_BLOCK = 64


class Seals:
    """Makes and checks seals.

    Args:
        keys: Audit keys of 32 bytes by version, at least one.

    Attributes:
        newest: The version that new seals use.
    """

    def __init__(self, keys: Mapping[int, bytes]) -> None:
        self._keys = dict(keys)
        self.newest = max(keys)
        self._started: dict[tuple[int, str], tuple[Any, Any]] = {}

    def __repr__(self) -> str:
        return f"Seals({sorted(self._keys)})"

    def digest(self, context: str, message: bytes, version: int | None = None) -> bytes:
        """Return the whole 32 bytes, by default under the newest key.

        Raises:
            LookupError: There is no key of that version.
        """
        place = self.newest if version is None else version, context
        started = self._started.get(place) or self._start(*place)
        # HMAC spelt out: with both halves begun beforehand it takes half the time of hmac's.
        inner, outer = started[0].copy(), started[1].copy()
        inner.update(message)
        outer.update(inner.digest())
        found: bytes = outer.digest()
        return found

    def sign(self, context: str, message: bytes) -> bytes:
        """Return the seal of a message: 17 bytes."""
        return bytes([self.newest]) + self.digest(context, message)[:16]

    def holds(self, context: str, message: bytes, seal: bytes) -> bool:
        """Say whether a seal is that of the message, under the key it names."""
        return self.check(context, message, seal) is not None

    def check(self, context: str, message: bytes, seal: bytes) -> bytes | None:
        """Return the whole 32 bytes if a seal is that of the message; ``None``: it is not."""
        if len(seal) != SEAL_BYTES or seal[0] not in self._keys:
            return None
        digest = self.digest(context, message, seal[0])
        return digest if hmac.compare_digest(digest[:16], seal[1:]) else None

    def _start(self, version: int, context: str) -> tuple[Any, Any]:
        key = self._keys[version].ljust(_BLOCK, b"\0")
        inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in key) + context.encode() + b"\0")
        outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in key))
        return self._started.setdefault((version, context), (inner, outer))
