"""Marks that keyrings leave in a store, by which a wrong keyring is noticed at opening."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cardbill.catalogue import KEY
from cardbill.errors import VersionConflict, WrongKey

if TYPE_CHECKING:
    from cardbill.keyring import Keyring
    from cardbill.storage.contract import Storage


def check_keys(storage: Storage, keyring: Keyring) -> None:
    """Compare the keys with those the store was first opened with, or leave their marks.

    Raises:
        WrongKey: A key differs from the one of that name, or no look-up key is known.
    """
    _, heads = storage.catalogue()
    known = {head.name for head in heads if head.kind == KEY}
    checks = keyring.checks()
    for name, check in checks.items():
        if name not in known:
            continue
        if storage.content(KEY, name, 1) != check:
            raise WrongKey(f"key {name} is not the one this database was written with")
    lookups = {name for name in known if name.startswith("lookup/")}
    if lookups and not lookups & checks.keys():
        raise WrongKey(f"this database was written with {', '.join(sorted(lookups))}")
    for name in checks.keys() - known:
        try:
            storage.publish(KEY, name, checks[name], expected=0)
        except VersionConflict:  # another process was first: compare with what it left
            check_keys(storage, keyring)
            return
