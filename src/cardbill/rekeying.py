"""Moving cards to newer keys while calls run, and dropping sealed copies after printing.

A card moves in four steps, each safe to repeat and none of which shuts it: its state lists
the new token too; the new token's row is bound; its state no longer lists the old one; the
old row is unbound. Whatever crashes in between, the PIN opens the card, and doing it again
completes it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from attrs import frozen

from cardbill.errors import CardbillError, DuplicateCredential, StorageClosed, StorageUnavailable
from cardbill.keymarks import needed_keys, retire
from cardbill.keyring import ANI, Secret
from cardbill.paging import card_pages
from cardbill.storage.contract import CredentialRow

if TYPE_CHECKING:
    from cardbill.batches import Batch
    from cardbill.cards import Card
    from cardbill.journal import Journal
    from cardbill.keyring import Keyring
    from cardbill.runner import Runner
    from cardbill.storage.contract import Storage


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

    def __init__(
        self, storage: Storage, runner: Runner, keyring: Keyring, journal: Journal
    ) -> None:
        self._storage = storage
        self._runner = runner
        self._keyring = keyring
        self._journal = journal
        self._lookup = max(keyring.lookup)
        self._sealing = max(keyring.sealing, default=0)

    def move(self, card_id: str, secret: Secret, at: datetime) -> None:
        """Move one credential of a card, which is known now.

        Raises:
            DuplicateCredential: Another card has the same one under the newest key.
        """
        kind = secret.kind
        newest, *older = self._keyring.tokens(secret.text, kind)
        if not self._list(card_id, kind, newest, older, at):
            return  # another's card
        rows = self._rows(card_id, kind, [newest, *older])
        kept = next((row.sealed for row in rows.values() if row.sealed is not None), None)
        if kept is not None and self._sealing and kept[0] != self._sealing:
            kept = self._keyring.seal(secret.plain, card_id)
        row = CredentialRow(kind, newest, card_id, kept)
        if newest not in rows and not self._storage.bind(row, expected=None):
            held = self._storage.resolve(kind, [newest])
            if held is None or held.card.id != card_id:
                self._unlist(card_id, kind, [newest], at)
                raise DuplicateCredential(f"card {card_id}: another card has the same credential")
        elif newest in rows and rows[newest].sealed != kept:
            self._storage.bind(row, expected=card_id)
        if kept is not None and self._dropped(card_id, kind, older):
            self._storage.bind(row._replace(sealed=None), expected=card_id)
        self._unlist(card_id, kind, older, at)
        for token in older:
            self._storage.unbind(kind, token, expected=card_id)

    def rekey(self, batches: Iterable[Batch], at: datetime, *, everything: bool) -> Rekeyed:
        """Move every card of these batches whose credentials are kept readable.

        Args:
            batches: The batches.
            at: The instant.
            everything: These are all batches: keys that nothing needs now are retired.
        """
        outcomes: Counter[str] = Counter()
        failures: list[tuple[str, CardbillError]] = []
        used = {f"lookup/{self._lookup}", f"sealing/{self._sealing}"}
        for batch in batches:
            for card_id, rows in self._cards(batch.name):
                try:
                    outcomes[self._rekey(batch, card_id, rows, at, used)] += 1
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
            moved=outcomes["moved"],
            current=outcomes["current"],
            remaining=outcomes["remaining"],
            failures=tuple(failures),
            needed=frozenset(needed),
        )

    def _rekey(
        self, batch: Batch, card_id: str, rows: list[CredentialRow], at: datetime, used: set[str]
    ) -> str:
        """Move one card as far as it goes; say what became of it, and note keys still used."""
        outcome = "current"
        own = [row for row in rows if row.kind == batch.credential_kind]
        current = [row for row in own if row.token[0] == self._lookup]
        for row in rows:
            old = row.token[0] != self._lookup
            if not old and (row.sealed is None or row.sealed[0] == self._sealing):
                continue
            if row.sealed is not None:
                plain = self._keyring.unseal(row.sealed, card_id)
                serial = int(card_id.rpartition("/")[2])
                text = plain if row.kind == ANI else batch.credential(serial, plain)
                self.move(card_id, Secret(row.kind, text, plain), at)
            elif row in own and current:
                self._complete(card_id, current[0], [row], at)
            else:
                used.add(f"lookup/{row.token[0]}")
                outcome = "remaining"
                continue
            outcome = "moved" if outcome == "current" else outcome
        if self._move_pending(card_id, at, used):
            outcome = "moved" if outcome == "current" else outcome
        return outcome

    def _move_pending(self, card_id: str, at: datetime, used: set[str]) -> bool:
        """Move the callers' numbers that await confirmation, which the card itself keeps."""
        before = self._runner.step(card_id, None, at, lambda card, *_: dict(card.pending))
        after = {}
        for token, sealed in before.items():
            old = token[0] != self._lookup or (sealed and sealed[0] != self._sealing)
            if old and sealed:
                number = self._keyring.unseal(sealed, card_id)
                fresh = self._keyring.token(number, ANI)
                after[fresh] = self._keyring.seal(number, card_id)
            else:
                after[token] = sealed
                used.add(f"lookup/{token[0]}")

        def replace(card: Card, *_: object) -> bool:
            if card.pending != before:
                return False  # it changed meanwhile: the next run moves it
            card.pending = after
            return True

        if after == before:
            return False
        if not self._runner.step(card_id, None, at, replace):
            used.update(f"lookup/{token[0]}" for token in before)
        return True

    def drop_sealed(self, name: str) -> int:
        """Forget the sealed copies of a batch; return of how many cards."""
        dropped = 0
        for card_id, _ in self._cards(name):
            before = dropped
            while rows := [
                row
                for row in self._storage.credentials([card_id])
                if row.sealed is not None and row.kind != ANI
            ]:
                for row in rows:  # one that is moved away meanwhile is looked for again
                    self._storage.bind(row._replace(sealed=None), expected=card_id)
                dropped = before + 1
        return dropped

    # -- inside ---------------------------------------------------------------------------

    def _list(
        self, card_id: str, kind: str, newest: bytes, older: list[bytes], at: datetime
    ) -> bool:
        def listed(card: Card, *_: object) -> bool:
            if (kind, newest) in card.credentials:
                return True
            if not any((kind, token) in card.credentials for token in older):
                return False
            card.credentials.append((kind, newest))
            return True

        return self._runner.step(card_id, None, at, listed)

    def _unlist(self, card_id: str, kind: str, tokens: Sequence[bytes], at: datetime) -> None:
        gone = {(kind, token) for token in tokens}

        def unlist(card: Card, *_: object) -> None:
            card.credentials = [each for each in card.credentials if each not in gone]

        self._runner.step(card_id, None, at, unlist)

    def _complete(
        self, card_id: str, newest: CredentialRow, old: list[CredentialRow], at: datetime
    ) -> None:
        """Finish a move that was cut short once both rows were bound; that needs no PIN."""
        gone = {row[:2] for row in old}

        def unlist(card: Card, *_: object) -> bool:
            if newest[:2] not in card.credentials:
                return False
            card.credentials = [each for each in card.credentials if each not in gone]
            return True

        if self._runner.step(card_id, None, at, unlist):
            for row in old:
                self._storage.unbind(row.kind, row.token, expected=card_id)

    def _rows(self, card_id: str, kind: str, tokens: Sequence[bytes]) -> dict[bytes, CredentialRow]:
        rows = self._storage.credentials([card_id], kind)
        return {row.token: row for row in rows if row.token in tokens}

    def _dropped(self, card_id: str, kind: str, older: Sequence[bytes]) -> bool:
        """Say whether a card's sealed copy was dropped while a newer one was bound."""
        return any(row.sealed is None for row in self._rows(card_id, kind, older).values())

    def _cards(self, name: str) -> Iterator[tuple[str, list[CredentialRow]]]:
        for page in card_pages(self._storage, name):
            rows: dict[str, list[CredentialRow]] = {card.id: [] for card in page}
            for row in self._storage.credentials(list(rows)):
                rows[row.card].append(row)
            yield from rows.items()
