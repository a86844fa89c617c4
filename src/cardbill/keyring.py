"""The keys that protect PINs: look-up tokens and sealed copies, both versioned.

A PIN is found by ``HMAC-SHA256(lookup key, context | digits)`` and kept readable only as
AES-256-GCM ciphertext under another key, bound to its card. Both keys live apart from the
database: whoever has the database alone has no PIN. (A plain hash of 12 digits falls in
about three minutes on one graphics card; the key is the protection.)
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import secrets
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from cardbill.errors import InvalidInput, KeyFileExposed, KeyMissing, KeyringError, WrongKey
from cardbill.names import check_count

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
ENVIRONMENT = "CARDBILL_KEYS"
_NONCE_BYTES = 12
_CONTEXT = b"cardbill/pin/1|"
_SUBJECT = b"cardbill/subject/1|"
_CHECK = b"cardbill/keyring/check/1"


def _copied(keys: Mapping[int, bytes]) -> Mapping[int, bytes]:
    return dict(keys)


@frozen(repr=False)
class Keyring:
    """Versioned look-up and sealing keys.

    New tokens and copies use the highest version; older versions still open what they
    wrote. A keyring without sealing keys can look PINs up but never show one.

    Attributes:
        lookup: Look-up keys of 32 bytes by version, at least one.
        sealing: Sealing keys of 32 bytes by version, maybe none.
    """

    lookup: Mapping[int, bytes] = field(converter=_copied)
    sealing: Mapping[int, bytes] = field(factory=dict, converter=_copied)

    def __attrs_post_init__(self) -> None:
        if not self.lookup:
            raise KeyMissing("a keyring needs at least one lookup key")
        for kind, keys in (("lookup", self.lookup), ("sealing", self.sealing)):
            for version, key in keys.items():
                check_count(f"{kind} key version", version, 1, 255)
                if type(key) is not bytes or len(key) != KEY_BYTES:
                    raise InvalidInput(f"{kind} key {version}", None, "must be 32 bytes")

    def __repr__(self) -> str:
        return f"Keyring(lookup={sorted(self.lookup)}, sealing={sorted(self.sealing)})"

    # -- making and loading ---------------------------------------------------------------

    @classmethod
    def generate(cls, *, entropy: Callable[[int], bytes] = secrets.token_bytes) -> Keyring:
        """Return a keyring of fresh keys, version 1, held in memory only."""
        return cls(lookup={1: entropy(KEY_BYTES)}, sealing={1: entropy(KEY_BYTES)})

    @classmethod
    def create(cls, path: str | os.PathLike[str]) -> Keyring:
        """Make fresh keys and write them to a new file of mode 0600.

        Raises:
            FileExistsError: The file is there already; keys are never overwritten.
        """
        ring = cls.generate()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with os.fdopen(os.open(path, flags, 0o600), "w", encoding="ascii") as file:
            file.write(ring.dumps() + "\n")
            file.flush()
            os.fsync(file.fileno())
        return ring

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Keyring:
        """Load the keys of a file that only its owner may read.

        Raises:
            FileNotFoundError: There is no such file.
            KeyFileExposed: Group or others may read or write it.
            KeyringError: It is no key file.
        """
        with Path(path).open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if os.name == "posix" and stat.S_IMODE(mode) & 0o077:
                raise KeyFileExposed(
                    f"key file {os.fspath(path)!r} has mode {stat.S_IMODE(mode):04o}: "
                    "others may use it; make it 0600"
                )
            content = file.read()
        return cls.loads(content, source=f"key file {os.fspath(path)!r}")

    @classmethod
    def from_env(cls, variable: str = ENVIRONMENT) -> Keyring:
        """Load the keys from an environment variable that holds what a key file holds.

        Raises:
            KeyMissing: The variable is not set.
            KeyringError: It holds no keys.
        """
        content = os.environ.get(variable)
        if not content:
            raise KeyMissing(f"environment variable {variable} is not set")
        return cls.loads(os.fsencode(content), source=f"environment variable {variable}")

    @classmethod
    def loads(cls, content: bytes, *, source: str = "keyring") -> Keyring:
        """Return the keyring that :meth:`dumps` wrote.

        Raises:
            KeyringError: The content is not one; it is not repeated.
        """
        with suppress(ValueError, TypeError, LookupError, AttributeError, RecursionError):
            data = json.loads(content)
            if data["format"] != 1:
                raise KeyringError(f"{source} is of a format this version does not know")
            return cls(lookup=_keys(data["lookup"]), sealing=_keys(data.get("sealing", {})))
        # Out of the `with`: not even `__context__` then holds the parser's error and its text.
        raise KeyringError(f"{source} does not hold a keyring")

    def dumps(self) -> str:
        """Return the keys as one line of JSON: for a secret store, never for a log."""
        return json.dumps(
            {
                "format": 1,
                "lookup": {v: base64.b64encode(k).decode() for v, k in self.lookup.items()},
                "sealing": {v: base64.b64encode(k).decode() for v, k in self.sealing.items()},
            }
        )

    # -- use ------------------------------------------------------------------------------

    def token(self, pin: str) -> bytes:
        """Return the look-up token of a PIN under the newest key: 32 bytes."""
        return self._tokens(pin)[0]

    def tokens(self, pin: str) -> list[bytes]:
        """Return the look-up tokens under every key, newest first."""
        return self._tokens(pin)

    def seal(self, pin: str, card_id: str) -> bytes:
        """Return an encrypted copy of a PIN that opens for that card only.

        Raises:
            KeyMissing: There is no sealing key.
        """
        if not self.sealing:
            raise KeyMissing("this keyring has no sealing key, so no PIN can be kept readable")
        version = max(self.sealing)
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = self._ciphers[version].encrypt(nonce, _plain(pin), card_id.encode())
        return bytes([version]) + nonce + sealed

    def unseal(self, sealed: bytes, card_id: str) -> str:
        """Return the PIN that was sealed for that card.

        Raises:
            KeyMissing: The key of that version is not in this keyring.
            WrongKey: The key does not fit, or the copy was altered or moved.
        """
        from cryptography.exceptions import InvalidTag

        if len(sealed) <= 1 + _NONCE_BYTES:
            raise WrongKey(f"the sealed PIN of card {card_id!r} was cut short")
        version, nonce = sealed[0], sealed[1 : 1 + _NONCE_BYTES]
        if version not in self.sealing:
            raise KeyMissing(f"PINs are sealed with key {version}, which this keyring lacks")
        try:
            plain = self._ciphers[version].decrypt(
                nonce, sealed[1 + _NONCE_BYTES :], card_id.encode()
            )
        except InvalidTag as error:
            raise WrongKey(f"the sealed PIN of card {card_id!r} does not open") from error
        return plain.decode()

    def subject(self, text: str) -> str:
        """Return a keyed token of whose attempts are counted: 32 hexadecimal digits.

        It is made with the oldest key, so that a new one unlocks nobody.
        """
        return hmac.digest(self.lookup[min(self.lookup)], _SUBJECT + text.encode(), "sha256").hex()[
            :32
        ]

    def checks(self) -> dict[str, bytes]:
        """Return a value by key name that tells a wrong key without revealing it."""
        return {
            f"{kind}/{version}": hmac.digest(key, _CHECK, "sha256")
            for kind, keys in (("lookup", self.lookup), ("sealing", self.sealing))
            for version, key in keys.items()
        }

    @cached_property
    def _macs(self) -> list[Any]:
        # HMAC objects with the key schedule done; copying one is cheaper than starting anew.
        newest_first = sorted(self.lookup, reverse=True)
        return [hmac.new(self.lookup[v], _CONTEXT, hashlib.sha256) for v in newest_first]

    def _tokens(self, pin: str) -> list[bytes]:
        digits = _plain(pin)
        tokens = []
        for started in self._macs:
            mac = started.copy()
            mac.update(digits)
            tokens.append(mac.digest())
        return tokens

    @cached_property
    def _ciphers(self) -> dict[int, AESGCM]:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        return {version: AESGCM(key) for version, key in self.sealing.items()}


def _plain(pin: str) -> bytes:
    try:
        return pin.encode()
    except UnicodeEncodeError:
        raise InvalidInput("pin", None, "must be visible ASCII characters only") from None


def _keys(data: Mapping[str, str]) -> dict[int, bytes]:
    return {int(v): base64.b64decode(k, validate=True) for v, k in data.items()}
