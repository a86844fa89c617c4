"""Moving cards to newer keys while calls run, and dropping sealed copies after printing.

A card moves in four steps, each safe to repeat and none of which shuts it: its state lists
the new token too; the new token's row is bound; its state no longer lists the old one; the
old row is unbound. Whatever crashes in between, the PIN opens the card, and doing it again
completes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from attrs import frozen

from cardbill.authorization import PIN
from cardbill.errors import CardbillError, DuplicateCredential, StorageClosed, StorageUnavailable
from cardbill.keymarks import needed_keys, retire
from cardbill.steps import CatalogueMoved, Decision, step
from cardbill.storage.contract import CredentialRow

if TYPE_CHECKING:
    from cardbill.cards import Card
    from cardbill.journal import Journal
    from cardbill.keyring import Keyring
    from cardbill.shelf import Shelf
    from cardbill.storage.contract import Storage

_PAGE = 500


@frozen(kw_only=True)
class Rekeyed:
    """What a move to newer keys did.

    Attributes:
        moved: Cards moved now.
        current: Cards that needed nothing.
        remaining: Cards that stay on an older key until their next use: their PIN is no
            longer kept readable.
        failures: Cards that could not be moved, with why.
        needed: The names of the keys that the store still needs.
    """

    moved: int
    current: int
    remaining: int
    failures: tuple[tuple[str, CardbillError], ...]
    needed: frozenset[str]


class Mover:
    """Moves cards from older keys of a keyring to its newest."""

    def __init__(self, storage: Storage, shelf: Shelf, keyring: Keyring, journal: Journal) -> None:
        self._storage = storage
        self._shelf = shelf
        self._keyring = keyring
        self._journal = journal
        self._lookup = max(keyring.lookup)
        self._sealing = max(keyring.sealing, default=0)

    def move(self, card_id: str, pin: str, at: datetime) -> None:
        """Move one card whose PIN is known.

        Raises:
            DuplicateCredential: Another card has the same PIN under the newest key.
        """
        newest, *older = self._keyring.tokens(pin)
        if not self._list(card_id, newest, older, at):
            return  # another PIN's card
        rows = {row.token: row for row in self._storage.credentials([card_id], PIN)}
        kept = next((row.sealed for row in rows.values() if row.sealed is not None), None)
        if kept is not None and self._sealing and kept[0] != self._sealing:
            kept = self._keyring.seal(pin, card_id)
        row = CredentialRow(PIN, newest, card_id, kept)
        if newest not in rows and not self._storage.bind(row, expected=None):
            if self._storage.resolve(PIN, [newest]) != card_id:
                self._step(card_id, lambda card, *_: _unlist(card, [newest]), at)
                raise DuplicateCredential(f"card {card_id}: another card has the same PIN")
        elif newest in rows and rows[newest].sealed != kept:
            self._storage.bind(row, expected=card_id)
        if kept is not None and self._dropped(card_id, newest):
            self._storage.bind(row._replace(sealed=None), expected=card_id)
        self._step(card_id, lambda card, *_: _unlist(card, older), at)
        for token in older:
            self._storage.unbind(PIN, token, expected=card_id)

    def rekey(self, names: Iterable[str], at: datetime, *, everything: bool) -> Rekeyed:
        """Move every card of these batches whose PIN is kept readable.

        Args:
            names: The batches.
            at: The instant.
            everything: These are all batches: keys that nothing needs now are retired.
        """
        moved = current = remaining = 0
        failures: list[tuple[str, CardbillError]] = []
        used = {f"lookup/{self._lookup}", f"sealing/{self._sealing}"}
        for card_id, rows in self._cards(names):
            sealed = next((row.sealed for row in rows if row.sealed is not None), None)
            pins = [row for row in rows if row.kind == PIN]
            used |= {f"lookup/{row.token[0]}" for row in rows if row.kind != PIN}
            old = [row for row in pins if row.token[0] != self._lookup]
            if not old and (sealed is None or sealed[0] == self._sealing):
                current += 1
            elif sealed is None and len(pins) == 2 and len(old) == 1:
                self._complete(card_id, next(row.token for row in pins if row not in old), old, at)
                moved += 1
            elif sealed is None:
                remaining += 1
                used |= {f"lookup/{row.token[0]}" for row in old}
            else:
                try:
                    self.move(card_id, self._keyring.unseal(sealed, card_id), at)
                    moved += 1
                except (StorageUnavailable, StorageClosed):
                    raise
                except CardbillError as error:
                    failures.append((card_id, error))
        needed = needed_keys(self._storage)
        if everything and not failures:
            for name in sorted(needed - used):
                if not name.startswith("audit/"):  # the log and the ledger keep their seals
                    retire(self._storage, self._journal, name)
            needed = needed_keys(self._storage)
        return Rekeyed(
            moved=moved,
            current=current,
            remaining=remaining,
            failures=tuple(failures),
            needed=frozenset(needed),
        )

    def drop_sealed(self, name: str) -> int:
        """Forget the sealed copies of a batch; return of how many cards."""
        dropped = 0
        for card_id, _ in self._cards([name]):
            before = dropped
            while rows := [
                row for row in self._storage.credentials([card_id], PIN) if row.sealed is not None
            ]:
                for row in rows:  # one that is moved away meanwhile is looked for again
                    self._storage.bind(row._replace(sealed=None), expected=card_id)
                dropped = before + 1
        return dropped

    # -- inside ---------------------------------------------------------------------------

    def _list(self, card_id: str, newest: bytes, older: list[bytes], at: datetime) -> bool:
        def listed(card: Card, *_: object) -> bool:
            if (PIN, newest) in card.credentials:
                return True
            if not any((PIN, token) in card.credentials for token in older):
                return False
            card.credentials.append((PIN, newest))
            return True

        return self._step(card_id, listed, at)

    def _complete(
        self, card_id: str, newest: bytes, old: list[CredentialRow], at: datetime
    ) -> None:
        """Finish a move that was cut short once both rows were bound; that needs no PIN."""
        tokens = [row.token for row in old]

        def unlist(card: Card, *_: object) -> bool:
            return (PIN, newest) in card.credentials and _unlist(card, tokens)

        if self._step(card_id, unlist, at):
            for token in tokens:
                self._storage.unbind(PIN, token, expected=card_id)

    def _dropped(self, card_id: str, newest: bytes) -> bool:
        """Say whether a card's sealed copy was dropped while a newer one was bound."""
        rows = self._storage.credentials([card_id], PIN)
        return any(row.sealed is None for row in rows if row.token != newest)

    def _cards(self, names: Iterable[str]) -> Iterator[tuple[str, list[CredentialRow]]]:
        for name in names:
            after = 0
            while page := self._storage.find_cards(name, after=after, limit=_PAGE):
                after = page[-1].serial
                rows: dict[str, list[CredentialRow]] = {card.id: [] for card in page}
                for row in self._storage.credentials(list(rows)):
                    rows[row.card].append(row)
                yield from rows.items()

    def _step(self, card_id: str, decide: Decision[bool], at: datetime) -> bool:
        while True:
            run = step(decide, self._shelf.snapshot, at, self._keyring.seals)
            try:
                return self._storage.transact(card_id, run)
            except CatalogueMoved:
                self._shelf.refresh()


def _unlist(card: Card, tokens: Iterable[bytes]) -> bool:
    gone = {(PIN, token) for token in tokens}
    card.credentials = [each for each in card.credentials if each not in gone]
    return True
