"""Callers' numbers that open cards without a PIN: registered, confirmed, moved, freed.

A number is registered in two steps: the card lists it, where the plan's limit holds, then
the store's one row for the number is pointed at the card, where "one number, one card"
holds. Only both together open the card. A crash between the two harms nothing, and asking
again completes what was begun.

A caller's number is easily forged: whoever can send it can spend the card's money. Offer it
where the network vouches for its callers' numbers, or for small cards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Protocol, TypeVar

from cardbill.answers import Caller
from cardbill.callerid import registrable
from cardbill.errors import InvalidInput
from cardbill.inquiry import card_at
from cardbill.keyring import ANI
from cardbill.plans import Rebind
from cardbill.registration import (
    NotRegistered,
    RegisteredNumber,
    Registration,
    Wish,
    enter,
    keeps,
    leave,
)
from cardbill.storage.contract import CredentialRow

if TYPE_CHECKING:
    from cardbill.cards import Card
    from cardbill.catalogue import Snapshot
    from cardbill.dialing import DialPlan
    from cardbill.keyring import Keyring
    from cardbill.shelf import Shelf
    from cardbill.steps import Decision
    from cardbill.storage.contract import Storage


T = TypeVar("T")


class Stepping(Protocol):
    """Takes a step on a card, as the engine does."""

    def __call__(self, card_id: str, key: str | None, at: datetime, decide: Decision[T]) -> T:
        """Take the step and return its outcome."""


class Callers:
    """Callers' numbers as credentials (PINless).

    Cards are named by a :class:`Caller` who is on the line, or, for operators, by their id.
    """

    def __init__(
        self,
        storage: Storage,
        shelf: Shelf,
        keyring: Keyring,
        now: Callable[[datetime | None], datetime],
        step: Stepping,
        dial_plan: Callable[[object], DialPlan],
    ) -> None:
        self._storage = storage
        self._shelf = shelf
        self._keyring = keyring
        self._now = now
        self._step = step
        self._dial_plan = dial_plan

    def register(
        self,
        of: Caller | str,
        ani: str | None = None,
        *,
        access: str | None = None,
        confirm: bool = False,
        at: datetime | None = None,
    ) -> Registration:
        """Let a caller's number open a card without a PIN.

        Asking again for a number that the card has changes nothing.

        Args:
            of: The caller, or the card's id.
            ani: The number; of a caller, by default the one he calls from, which needs no
                further confirmation.
            access: The access number the call came in on; how the number is to be read.
            confirm: The operator vouches for it: it needs no confirmation.
            at: The instant; default: now.

        Raises:
            UnknownName: There is no such card.
            InvalidInput: `of` is neither; there is no number; the access number is unknown.
        """
        return self._enter(of, ani, access, confirm=confirm, noted=False, at=at)

    def confirm(
        self,
        of: Caller | str,
        ani: str | None = None,
        *,
        access: str | None = None,
        at: datetime | None = None,
    ) -> Registration:
        """Let a number that awaits confirmation count.

        A caller confirms the number he calls from, having given his PIN; an operator, who
        names the card by its id, any.

        Args:
            of: The caller, or the card's id.
            ani: The number, for operators.
            access: The access number the call came in on; how the number is to be read.
            at: The instant; default: now.

        Raises:
            UnknownName: There is no such card.
            InvalidInput: `of` is neither; there is no number; the access number is unknown.
        """
        operator = isinstance(of, str)
        return self._enter(of, ani, access, confirm=operator, noted=True, at=at)

    def unregister(
        self,
        of: Caller | str,
        ani: str | None = None,
        *,
        access: str | None = None,
        at: datetime | None = None,
    ) -> bool:
        """Take a number off a card, confirmed or not; say whether it was there.

        Args:
            of: The caller, or the card's id.
            ani: The number; of a caller, by default the one he calls from.
            access: The access number the call came in on; how the number is to be read.
            at: The instant; default: now.

        Raises:
            UnknownName: There is no such card.
            InvalidInput: `of` is neither; there is no number; the access number is unknown.
        """
        now = self._now(at)
        card_id, number = self._which(of, ani, access)
        if number is None:
            return False
        tokens = self._keyring.tokens(number, ANI)
        gone = self._take_off(card_id, tokens, now)
        unbound = [self._storage.unbind(ANI, token, expected=card_id) for token in tokens]
        return gone or any(unbound)

    def numbers(self, card_id: str, *, at: datetime | None = None) -> list[RegisteredNumber]:
        """Return the numbers a card has, those that await confirmation last.

        Raises:
            UnknownName: There is no such card.
            KeyMissing: This keyring cannot read them.
        """
        card = self._card(card_id, self._now(at))
        rows = self._storage.credentials([card_id], ANI)
        counted = [
            RegisteredNumber(number=self._read(row.sealed, card_id), confirmed=True)
            for row in rows
            if (row.kind, row.token) in card.credentials
        ]
        noted = [
            RegisteredNumber(number=self._read(sealed, card_id), confirmed=False)
            for sealed in card.pending.values()
        ]
        return sorted(counted, key=lambda found: found.number or "") + noted

    # -- inside ---------------------------------------------------------------------------

    def _enter(
        self,
        of: Caller | str,
        ani: str | None,
        access: str | None,
        *,
        confirm: bool,
        noted: bool,
        at: datetime | None,
    ) -> Registration:
        now = self._now(at)
        card_id, number = self._which(of, ani, access)
        if number is None:
            return Registration(card_id=card_id, reason=NotRegistered.NO_NUMBER)
        credentials = None
        if isinstance(of, Caller):
            own = registrable(of.ani, self._dial_plan(access or of.access)) == number
            if of.credential[0] == ANI and not own:
                return Registration(card_id=card_id, reason=NotRegistered.PIN_NEEDED)
            credentials, confirm = (of.credential, *of.also), confirm or own
        ring = self._keyring
        tokens = ring.tokens(number, ANI)
        sealed = ring.seal(number, card_id) if ring.sealing else None
        while True:
            token, holder = self._holder(tokens)
            wish = Wish(
                token=token,
                tokens=tokens,
                sealed=sealed,
                confirmed=confirm,
                noted=noted,
                credentials=credentials,
            )
            reason = self._list(card_id, wish, holder, now)
            row = CredentialRow(ANI, token, card_id, sealed)
            if reason or holder == card_id or self._storage.bind(row, expected=holder):
                return Registration(card_id=card_id, reason=reason)

    def _list(
        self, card_id: str, wish: Wish, holder: str | None, now: datetime
    ) -> NotRegistered | None:
        """Let the card list the number, and no other card that keeps it."""

        def decide(card: Card, _: object, shelf: Snapshot) -> tuple[NotRegistered | None, Rebind]:
            return enter(card, wish, shelf, now)

        reason, rebind = self._step(card_id, None, now, decide)
        if reason or holder in (None, card_id):
            return reason
        if keeps(self._card(holder, now), wish.tokens, now):
            if rebind is Rebind.REFUSE:
                self._take_off(card_id, wish.tokens, now)
                return NotRegistered.TAKEN
            self._take_off(holder, wish.tokens, now)
        return None

    def _which(
        self, of: Caller | str, ani: str | None, access: str | None
    ) -> tuple[str, str | None]:
        """Return the card that is meant, and the number's E.164 digits if it can be one."""
        if isinstance(of, Caller):
            card_id, access = of.card_id, access or of.access
            ani = of.ani if ani is None else ani
        elif isinstance(of, str):
            if ani is None:
                raise InvalidInput("ani", None, "which number is needed with a card's id")
            card_id = self._storage.view(of).card.id  # no answer repeats what names no card
        else:
            raise InvalidInput("of", None, "must be an authenticated caller or a card's id")
        return card_id, registrable(ani, self._dial_plan(access))

    def _holder(self, tokens: Sequence[bytes]) -> tuple[bytes, str | None]:
        """Return the token that leads to a card, and the card; or the newest and none."""
        for token in tokens:
            if (held := self._storage.resolve(ANI, [token])) is not None:
                return token, held.card.id
        return tokens[0], None

    def _card(self, card_id: str, now: datetime) -> Card:
        row = self._storage.view(card_id).card
        return card_at(row, self._shelf, now, self._keyring.seals)

    def _take_off(self, card_id: str, tokens: Sequence[bytes], now: datetime) -> bool:
        return self._step(card_id, None, now, lambda card, _, __: leave(card, tokens))

    def _read(self, sealed: bytes | None, card_id: str) -> str | None:
        return self._keyring.unseal(sealed, card_id) if sealed else None
