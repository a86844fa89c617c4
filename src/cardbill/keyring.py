"""The keys: for look-up tokens, for sealed copies of PINs, for seals; all versioned.

A PIN is found by ``HMAC-SHA256(lookup key, context | digits)``, as are callers' numbers,
each kind under a context of its own, and kept readable only as AES-256-GCM ciphertext under
another key, bound to its card. Both keys live apart from the
database: whoever has the database alone has no PIN. (A plain hash of 12 digits falls in
about three minutes on one graphics card; the key is the protection.) A token begins with
the version of its key, so that it can be told which keys are still needed. The audit keys
make the seals of :mod:`cardbill.seals`.
"""

from __future__ import annotations

import base64
import hmac
import json
import os
import secrets
import stat
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve, field, frozen

from cardbill.errors import InvalidInput, KeyFileExposed, KeyMissing, KeyringError, WrongKey
from cardbill.names import check_count
from cardbill.seals import Seals

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

PIN, ANI, NUMBER_PIN = "pin", "ani", "number+pin"
"""The kinds of credentials: a PIN, a caller's number, a card number with its PIN."""

KEY_BYTES = 32
ENVIRONMENT = "CARDBILL_KEYS"
_NONCE_BYTES = 12
_SUBJECT = b"cardbill/subject/1|"
_CHECK = b"cardbill/keyring/check/1"


def _copied(keys: Mapping[int, bytes]) -> Mapping[int, bytes]:
    return dict(keys)


@frozen(repr=False)
class Secret:
    """What a caller knows or is: never shown, stored as tokens and sealed copies only.

    Attributes:
        kind: ``pin``, ``number+pin`` or ``ani``.
        text: What look-up tokens are made of.
        plain: What is kept sealed of it.
    """

    kind: str
    text: str
    plain: str


@frozen(repr=False, kw_only=True)
class Keyring:
    """Versioned look-up, audit and sealing keys.

    New tokens, seals and copies use the highest version; older versions still open and
    check what they wrote. A keyring without sealing keys can look PINs up but never show one.

    Attributes:
        lookup: Look-up keys of 32 bytes by version, at least one.
        audit: Audit keys of 32 bytes by version, at least one; an older one is needed for
            as long as anything is stored that it sealed.
        sealing: Sealing keys of 32 bytes by version, maybe none.
    """

    lookup: Mapping[int, bytes] = field(converter=_copied)
    audit: Mapping[int, bytes] = field(converter=_copied)
    sealing: Mapping[int, bytes] = field(factory=dict, converter=_copied)

    def __attrs_post_init__(self) -> None:
        for kind, keys in self._kinds():
            if not keys and kind != "sealing":
                raise KeyMissing(f"a keyring needs at least one {kind} key")
            for version, key in keys.items():
                check_count(f"{kind} key version", version, 1, 255)
                if type(key) is not bytes or len(key) != KEY_BYTES:
                    raise InvalidInput(f"{kind} key {version}", None, "must be 32 bytes")

    def __repr__(self) -> str:
        return f"Keyring({', '.join(f'{kind}={sorted(keys)}' for kind, keys in self._kinds())})"

    def _kinds(self) -> tuple[tuple[str, Mapping[int, bytes]], ...]:
        return ("lookup", self.lookup), ("audit", self.audit), ("sealing", self.sealing)

    # -- making and loading ---------------------------------------------------------------

    @classmethod
    def generate(cls, *, entropy: Callable[[int], bytes] = secrets.token_bytes) -> Keyring:
        """Return a keyring of fresh keys, version 1, held in memory only."""
        lookup, sealing, audit = (entropy(KEY_BYTES) for _ in range(3))
        return cls(lookup={1: lookup}, sealing={1: sealing}, audit={1: audit})

    @classmethod
    def create(cls, path: str | os.PathLike[str]) -> Keyring:
        """Make fresh keys and write them to a new file of mode 0600.

        Raises:
            FileExistsError: The file is there already; keys are never overwritten.
        """
        ring = cls.generate()
        ring.save(path)
        return ring

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the keys to a new file of mode 0600.

        Raises:
            FileExistsError: The file is there already; keys are never overwritten.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        try:
            made = os.open(path, flags, 0o600)
        except FileExistsError as error:
            told = "keys are never overwritten; Keyring.load() reads them"
            raise FileExistsError(error.errno, f"{error.strerror}: {told}", path) from None
        with os.fdopen(made, "w", encoding="ascii") as file:
            file.write(self.dumps() + "\n")
            file.flush()
            os.fsync(file.fileno())

    def rotated(
        self,
        *,
        lookup: bool = True,
        sealing: bool = True,
        audit: bool = False,
        entropy: Callable[[int], bytes] = secrets.token_bytes,
    ) -> Keyring:
        """Return a keyring with a new version of the chosen keys beside the old ones.

        Give it to every process before ``batches.rekey`` moves the cards on to it.

        Raises:
            InvalidInput: There are 255 versions already.
        """
        chosen = {"lookup": lookup, "sealing": sealing, "audit": audit}
        return evolve(
            self,
            **{
                kind: {**keys, max(keys, default=0) + 1: entropy(KEY_BYTES)}
                for kind, keys in self._kinds()
                if chosen[kind]
            },
        )

    def without(self, names: Iterable[str]) -> Keyring:
        """Return a keyring without some keys, named as in ``audit/1``: those retired.

        Raises:
            KeyMissing: No look-up or audit key would be left.
        """
        dropped = set(names)
        return Keyring(
            **{
                kind: {v: key for v, key in keys.items() if f"{kind}/{v}" not in dropped}
                for kind, keys in self._kinds()
            }
        )

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
            return cls(
                lookup=_keys(data["lookup"]),
                audit=_keys(data["audit"]),
                sealing=_keys(data.get("sealing", {})),
            )
        # Out of the `with`: not even `__context__` then holds the parser's error and its text.
        raise KeyringError(f"{source} does not hold a keyring")

    def dumps(self) -> str:
        """Return the keys as one line of JSON: for a secret store, never for a log."""
        keys = {
            kind: {v: base64.b64encode(k).decode() for v, k in keys.items()}
            for kind, keys in self._kinds()
        }
        return json.dumps({"format": 1, **keys})

    # -- use ------------------------------------------------------------------------------

    def token(self, secret: str, kind: str = PIN) -> bytes:
        """Return the look-up token of a credential under the newest key.

        It is the key's version, one byte, and then 32 bytes that reveal nothing.

        Args:
            secret: The PIN, the caller's number in E.164 digits, or ``card number|PIN``.
            kind: Which of them; equal digits of two kinds have different tokens.

        Raises:
            InvalidInput: There is no such kind.
        """
        return self.tokens(secret, kind)[0]

    def tokens(self, secret: str, kind: str = PIN) -> list[bytes]:
        """Return the look-up tokens under every key, newest first; see :meth:`token`."""
        plain = _plain(secret)
        if kind not in self._macs:
            raise InvalidInput("kind", None, f"must be one of {', '.join(self._macs)}")
        tokens = []
        for version, started in self._macs[kind]:
            mac = started.copy()
            mac.update(plain)
            tokens.append(version + mac.digest())
        return tokens

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
            for kind, keys in self._kinds()
            for version, key in keys.items()
        }

    @cached_property
    def seals(self) -> Seals:
        """What makes and checks seals with the audit keys."""
        return Seals(self.audit)

    @cached_property
    def _macs(self) -> dict[str, list[tuple[bytes, Any]]]:
        # HMAC objects with the key schedule done; copying one is cheaper than starting anew.
        newest_first = sorted(self.lookup.items(), reverse=True)
        return {
            kind: [
                (bytes([version]), hmac.new(key, f"cardbill/{kind}/1|".encode(), "sha256"))
                for version, key in newest_first
            ]
            for kind in (PIN, ANI, NUMBER_PIN)
        }

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
