"""What a host is told: who the caller is, what call may be made, or why not."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from attrs import field, frozen

from cardbill import money
from cardbill.denials import Denial
from cardbill.holds import LimitedBy
from cardbill.routing import Refused, Route
from cardbill.status import Status

if TYPE_CHECKING:
    from moneyed import Money

Credential = tuple[str, bytes]
"""A kind, and a token that does not reveal what the caller said."""


class Seen:
    """What a process has just read in a store, for its next step: good once, there alone.

    It is not shown, and stays behind when what it belongs to is copied or pickled.
    """

    __slots__ = ("_store", "_view")

    def __init__(self, store: object = None, view: object = None) -> None:
        self._store = store
        self._view = view

    def take(self, store: object) -> Any:
        """Return what was read, to who asks first for that store; everybody else gets None."""
        if store is not self._store:
            return None
        view, self._view = self._view, None
        return view

    def __reduce__(self) -> tuple[type[Seen], tuple[()]]:
        return Seen, ()


@frozen(kw_only=True)
class Denied:
    """A refusal.

    Attributes:
        reason: The stable code, with the prompt and each network's own code.
        detail: More for the log, without secrets; empty: nothing more to say.
        card_id: Whose card, for the log; ``None``: unknown.
        delay_seconds: Wait so long before the caller hears of it: too many PINs are being
            guessed. cardbill itself never waits.
        alarms: Where that is: ``access``, ``trunk``, ``anonymous``, ``platform``; empty:
            nowhere. For the operator, not for the caller.
        granted, authenticated: Always False.
    """

    reason: Denial
    detail: str = ""
    card_id: str | None = None
    delay_seconds: int = 0
    alarms: tuple[str, ...] = ()
    granted: ClassVar[Literal[False]] = False
    authenticated: ClassVar[Literal[False]] = False

    @property
    def prompt(self) -> str:
        """What the caller hears, in English."""
        return self.reason.prompt


@frozen(kw_only=True)
class Caller:
    """A caller whose credential opened a card.

    Attributes:
        card_id: ``batch/serial``: public.
        status: The card's.
        currency, language: Of the card and of its prompts.
        balance_units, available_units: Ledger units, with and without what is held.
        expires_at: When the card expires; ``None``: never, or only counted from first use.
        ani: The caller's number as far as it is one.
        credential: The (kind, token) that opened the card: ``pin``, ``number+pin`` or, for
            PINless callers, ``ani``.
        also: The same under every look-up key, so that a card that is moved to a newer one
            meanwhile still opens.
        access: The access number he came in on, if the host said so.
        authenticated: Always True.
    """

    card_id: str
    status: Status
    currency: str
    language: str
    balance_units: int
    available_units: int
    expires_at: datetime | None
    ani: str | None
    credential: Credential = field(repr=False)
    also: tuple[Credential, ...] = field(default=(), repr=False, eq=False)
    access: str | None = None
    _seen: Seen = field(factory=Seen, repr=False, eq=False)
    authenticated: ClassVar[Literal[True]] = True

    @property
    def balance(self) -> Money:
        """What the card holds."""
        return money.money(self.balance_units, self.currency)

    @property
    def available(self) -> Money:
        """What a new call may cost."""
        return money.money(self.available_units, self.currency)

    @property
    def prompt(self) -> str:
        """What the caller hears, in English: whole coins, never more than there is."""
        coin = money.coin(self.currency)
        return f"You have {money.text(self.available_units // coin * coin, self.currency)}."


@frozen(kw_only=True)
class TalkTime:
    """How long a caller could talk to a number now, packages, charges and taxes reckoned in.

    Attributes:
        number: The called number in E.164 digits.
        destination: The deck's name for it.
        max_seconds: The longest call; ``None``: without end.
        limited_by: Why no longer; ``None``: without end.
    """

    number: str
    destination: str
    max_seconds: int | None
    limited_by: LimitedBy | None

    @property
    def minutes(self) -> int | None:
        """Whole minutes, never more than there are; ``None``: without end."""
        return None if self.max_seconds is None else self.max_seconds // 60

    @property
    def prompt(self) -> str:
        """What the caller hears, in English."""
        if self.max_seconds is None:
            return f"You can talk to {self.destination} as long as you like."
        return f"You have {_spoken(self.max_seconds)} to {self.destination}."


@frozen(kw_only=True)
class Grant:
    """Leave to make one call.

    Attributes:
        call_id: The host's id of the call.
        handle: Names the call for settling, from any process.
        number: The called number in E.164 digits.
        destination: The deck's name for it.
        max_seconds: The longest the call may last; ``None``: without end.
        limited_by: Why no longer: money, the plan or the card's expiry.
        held_units: What is set aside for it, in ledger units.
        currency: The card's.
        routes: The ways to carry it, in the order to try them.
        refused_routes: Carriers left out, with reasons; empty in a replay.
        expires_at: When the hold ends by itself.
        replayed: This answer was given before; nothing was done this time.
        granted: Always True.
    """

    call_id: str
    handle: str
    number: str
    destination: str
    max_seconds: int | None
    limited_by: LimitedBy | None
    held_units: int
    currency: str
    routes: tuple[Route, ...]
    refused_routes: tuple[Refused, ...] = ()
    expires_at: datetime
    replayed: bool = field(default=False, eq=False)
    granted: ClassVar[Literal[True]] = True

    @property
    def max_duration(self) -> timedelta | None:
        """The longest the call may last; ``None``: without end."""
        return None if self.max_seconds is None else timedelta(seconds=self.max_seconds)

    @property
    def max_ms(self) -> int | None:
        """The same in milliseconds, as switches want it."""
        return None if self.max_seconds is None else self.max_seconds * 1000

    @property
    def held(self) -> Money:
        """What is set aside for the call."""
        return money.money(self.held_units, self.currency)

    @property
    def prompt(self) -> str:
        """What the caller hears, in English: of a call in slices, only the first slice's time.

        There :meth:`Engine.talk_time` tells all of it.
        """
        if self.max_seconds is None:
            return "You can talk as long as you like."
        return f"You can talk for {_spoken(self.max_seconds)}."


def _spoken(seconds: int) -> str:
    """Return a time as it is announced: in whole minutes, where there are any."""
    number, unit = (seconds // 60, "minute") if seconds >= 60 else (seconds, "second")
    return f"{number:,} {unit}{'' if number == 1 else 's'}"
