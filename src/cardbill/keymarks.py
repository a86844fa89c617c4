"""Marks that keyrings leave in a store: a wrong keyring is noticed, a missing key missed.

Version 1 of a mark is the key's check value. Version 2 says that the key is retired:
nothing that is stored needs it any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cardbill.catalogueitems import KEY
from cardbill.errors import KeyMissing, VersionConflict, WrongKey
from cardbill.seals import SEAL_BYTES

if TYPE_CHECKING:
    from cardbill.journal import Journal
    from cardbill.keyring import Keyring
    from cardbill.storage.contract import Storage

RETIRED = b"retired"


def check_keys(storage: Storage, keyring: Keyring, journal: Journal) -> None:
    """Compare the keys with those the store knows, and leave marks of those it does not.

    Raises:
        WrongKey: A key differs from the one of that name, or none of a kind is known.
        KeyMissing: The keyring lacks a key that is still needed.
        RowAltered: A mark is not what was left.
    """
    compare_keys(storage, keyring)
    known = _versions(storage)
    for name, version in known.items():
        for each in range(1, version + 1):
            journal.content(KEY, name, each)
    for name, check in keyring.checks().items():
        if name in known:
            continue
        try:
            journal.publish(KEY, name, check, expected=0)
        except VersionConflict:  # another process was first: compare with what it left
            check_keys(storage, keyring, journal)
            return


def compare_keys(storage: Storage, keyring: Keyring) -> None:
    """Compare the keys with those the store knows; change nothing.

    Raises:
        WrongKey: A key differs from the one of that name, or none of a kind is known.
        KeyMissing: The keyring lacks a key that is still needed. (No sealing key at all is
            well: a process that only takes calls needs none.)
    """
    known, checks = _versions(storage), keyring.checks()
    for name in sorted(known.keys() & checks.keys()):
        if storage.content(KEY, name, 1)[:-SEAL_BYTES] != checks[name]:
            raise WrongKey(f"key {name} is not the one this database was written with")
    needed = needed_keys(storage)
    for kind in ("lookup", "audit", "sealing"):
        of_kind = {name for name in needed if name.startswith(f"{kind}/")}
        missing = sorted(of_kind - checks.keys())
        if not missing or (kind == "sealing" and not keyring.sealing):
            continue
        if kind != "sealing" and not any(
            name in checks for name in known if name.startswith(f"{kind}/")
        ):
            raise WrongKey(f"this database was written with {', '.join(sorted(of_kind))}")
        raise KeyMissing(f"this database still needs key {missing[0]}, which this keyring lacks")


def needed_keys(storage: Storage) -> set[str]:
    """Return the names, like ``lookup/1``, of the keys that stored rows may still need."""
    return {name for name, version in _versions(storage).items() if version == 1}


def check_newest(storage: Storage, keyring: Keyring) -> None:
    """Check that no newer key than this keyring's is in use, before new PINs are made.

    Raises:
        KeyMissing: Another process has begun to use a newer one.
    """
    for name in _versions(storage):
        kind, version = name.split("/")
        keys = {"lookup": keyring.lookup, "sealing": keyring.sealing, "audit": keyring.audit}[kind]
        if int(version) > max(keys, default=255):
            raise KeyMissing(f"key {name} is in use, and this process was started without it")


def retire(storage: Storage, journal: Journal, name: str) -> None:
    """Note that nothing needs a key any more."""
    if _versions(storage).get(name) == 1:
        journal.publish(KEY, name, RETIRED, expected=1)


def _versions(storage: Storage) -> dict[str, int]:
    return {head.name: head.version for head in storage.catalogue()[1] if head.kind == KEY}
