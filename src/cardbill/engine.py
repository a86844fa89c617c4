"""The engine: thin shells around pure decisions, over any store."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from attrs import frozen

from cardbill import authorization
from cardbill.answers import Caller, Credential, Denied, Grant
from cardbill.audit import AuditReport, audit
from cardbill.authorization import PIN, CallRequest
from cardbill.calls import CallRecord, Outcome, check_call_id, parse_handle, report
from cardbill.catalogue import NotLoaded
from cardbill.denials import Denial
from cardbill.dialing import NORTH_AMERICA, DialPlan, caller_number
from cardbill.errors import (
    CardbillError,
    InvalidInput,
    InvalidNumber,
    StorageClosed,
    StorageUnavailable,
    UnknownCall,
    UnknownName,
)
from cardbill.gate import Gate, Source
from cardbill.inquiry import CardView, look_up
from cardbill.instants import aware, to_micros
from cardbill.issuing import Batches
from cardbill.keymarks import check_keys
from cardbill.keyring import Keyring
from cardbill.pins import check_pin
from cardbill.reports import Reports
from cardbill.rows import (
    call_key,
    card_from_row,
    entry_from_row,
    record_from_row,
    report_to_suspense,
)
from cardbill.shelf import Carriers, Decks, Plans, Shelf
from cardbill.steps import CatalogueMoved, Decision, step
from cardbill.throttling import Throttle

if TYPE_CHECKING:
    from cardbill.cards import Card, Entry
    from cardbill.storage.contract import Storage

T = TypeVar("T")


@frozen(kw_only=True)
class Swept:
    """What a sweep did.

    Attributes:
        cards: How many cards were due and processed.
        calls_expired: How many calls nobody had reported in time.
        failures: Cards that could not be processed, with why; the next sweep tries again.
    """

    cards: int
    calls_expired: int
    failures: tuple[tuple[str, CardbillError], ...]


def system_clock() -> datetime:
    """Return the present instant: the only place where cardbill looks at a clock."""
    return datetime.now(UTC)  # noqa: TID251  # the default of what is injected


class Engine:
    """A prepaid calling-card business over one store.

    Use :func:`cardbill.open`, or give a store of your own. Methods may be called from any
    thread, and from processes forked after this was made if the store allows it.

    Args:
        storage: Where cards are kept; closed with the engine.
        keyring: The keys of its PINs.
        clock: Returns the present instant, aware.
        below: Draws a number from 0 up to, not including, its argument; PINs come from it.
        dial_plan: How callers dial.
        throttle: How often PINs may be guessed; ``None``: without limit.

    Attributes:
        decks, plans, carriers, batches: What is published and issued.
        reports: Figures over cards and calls.

    Raises:
        WrongKey: The store was written with other keys.
    """

    def __init__(
        self,
        storage: Storage,
        keyring: Keyring,
        *,
        clock: Callable[[], datetime] = system_clock,
        below: Callable[[int], int] = secrets.randbelow,
        dial_plan: DialPlan = NORTH_AMERICA,
        throttle: Throttle | None = Throttle(),  # noqa: B008  # immutable
    ) -> None:
        self.storage = storage
        self._keyring = keyring
        self._clock = clock
        self._dial_plan = dial_plan
        self._gate = Gate(storage, keyring, throttle, dial_plan)
        self._shelf = Shelf(storage)
        check_keys(storage, keyring)
        self.decks = Decks(self._shelf)
        self.plans = Plans(self._shelf)
        self.carriers = Carriers(self._shelf)
        self.batches = Batches(storage, self._shelf, keyring, self._now, below)
        self.reports = Reports(storage, self._shelf, self._now)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the store; may be called again."""
        self.storage.close()

    # -- calls ----------------------------------------------------------------------------

    def authenticate(
        self,
        *,
        pin: str,
        ani: str | None = None,
        call_id: str | None = None,
        access: str | None = None,
        trunk: str | None = None,
        at: datetime | None = None,
    ) -> Caller | Denied:
        """Find out whose PIN this is: stage one of a two-stage call.

        Changes no card, unless the batch counts authentication as the first use. Wrong PINs
        are counted, and too many of them lock the caller's number: see :class:`Throttle`.

        Args:
            pin: As the caller keyed it.
            ani: The caller's number, as far as the network tells.
            call_id: The call, as :meth:`authorize` will be told it; with it, wrong PINs are
                limited in each call too.
            access: The number that was called: 1 to 128 characters.
            trunk: The trunk the call came over: 1 to 128 characters.
            at: The instant; default: now.

        Returns:
            A :class:`Caller`, or a :class:`Denied` that says why not.

        Raises:
            InvalidInput: The call id, `access` or `trunk` cannot be used.
        """
        now = self._now(at)
        credentials, number = self._credentials(pin), caller_number(ani)
        source = Source(number, call_id, access, trunk, credentials[0][1] if credentials else b"")
        if not credentials:  # no PIN is like that: nothing is looked up, nobody has guessed
            return Denied(reason=Denial.UNKNOWN_CREDENTIAL)
        return self._gate.guarded(source, now, lambda: self._admit(credentials, number, now))

    def _admit(
        self, credentials: Sequence[Credential], number: str | None, now: datetime
    ) -> Caller | Denied:
        card_id = self._resolve(credentials)
        if card_id is None:
            return Denied(reason=Denial.UNKNOWN_CREDENTIAL)
        admitted = self._look(card_id, now, credentials, number)
        if admitted is not None:
            return admitted
        return self._step(
            card_id,
            None,
            now,
            lambda card, _, shelf: authorization.admit(card, credentials, shelf, number, now),
        )

    def authorize(
        self,
        caller: Caller | Denied | None = None,
        *,
        to: str,
        call_id: str,
        pin: str | None = None,
        ani: str | None = None,
        access: str | None = None,
        trunk: str | None = None,
        at: datetime | None = None,
    ) -> Grant | Denied:
        """Ask leave for one call, and hold its money: the second stage, or the only one.

        The same request again returns the same grant while the call is open; given a PIN,
        only while the caller's number is not locked. Denials are not remembered: the same
        request is decided anew.

        Args:
            caller: What :meth:`authenticate` returned (a denial is returned as it is); or
                give `pin`.
            to: The number as dialled.
            call_id: Made by the host, one per call attempt, 1 to 128 visible ASCII
                characters; never a peer's SIP Call-ID.
            pin: One stage: the PIN as the caller keyed it.
            ani: One stage: the caller's number.
            access: One stage: the number that was called.
            trunk: One stage: the trunk the call came over.
            at: The instant; default: now.

        Returns:
            A :class:`Grant`, or a :class:`Denied` that says why not.

        Raises:
            InvalidInput: The call id, `access` or `trunk` cannot be used; or both or
                neither of `caller` and `pin` are given.
            CallEnded: A call of that id was made with this card and is over.
            IdempotencyMismatch: It is open, with another number.
        """
        now = self._now(at)
        check_call_id(call_id)
        if (caller is None) == (pin is None):
            raise InvalidInput("caller", None, "give either a caller or a pin")
        if isinstance(caller, Denied):
            return caller
        if caller is not None and not isinstance(caller, Caller):
            raise InvalidInput("caller", None, "must be what authenticate() returned")
        if caller is not None:
            credentials, number = [caller.credential], caller.ani
        else:
            credentials, number = self._credentials(pin), caller_number(ani)
        dialled, problem = self._dialled(to)
        request = CallRequest(
            call_id=call_id, number=dialled, problem=problem, ani=number, credentials=credentials
        )
        if caller is not None:
            return self._grant(caller.card_id, request, now)
        source = Source(number, call_id, access, trunk, credentials[0][1] if credentials else b"")
        if not credentials:  # as above
            return Denied(reason=Denial.UNKNOWN_CREDENTIAL)
        return self._gate.guarded(
            source, now, lambda: self._grant(self._resolve(credentials), request, now)
        )

    def _grant(self, card_id: str | None, request: CallRequest, now: datetime) -> Grant | Denied:
        if card_id is None:
            return Denied(reason=Denial.UNKNOWN_CREDENTIAL)
        return self._step(
            card_id,
            call_key(request.call_id),
            now,
            lambda card, record, shelf: authorization.authorize(card, record, request, shelf, now),
        )

    def settle(
        self,
        handle: str,
        *,
        talk_ms: int | None = None,
        answered_at: datetime | None = None,
        ended_at: datetime | None = None,
        carrier: str | None = None,
        cause: int | None = None,
        at: datetime | None = None,
    ) -> CallRecord:
        """End a call: charge what it cost at the terms it was granted under.

        May come late, from another process, or twice: the same report again returns the
        first record, marked ``replayed``.

        Args:
            handle: Of the grant.
            talk_ms: From answer to hang-up in milliseconds; 0: not answered. Or tell
                `answered_at` and `ended_at`.
            answered_at: The answer, where known.
            ended_at: The hang-up, where known.
            carrier: Who carried it. Not told, it is the only route there was, or unknown;
                of a carrier that nobody knows, the cost is unknown.
            cause: The Q.850 release cause, where known.
            at: The instant; default: now.

        Raises:
            InvalidInput: Handle, talk time, instants or cause cannot be used.
            IdempotencyMismatch: It was settled before with other figures.
            UnknownCall: The handle's card is not in this store; the report is in suspense.
        """
        now = self._now(at)
        told = report(
            talk_ms=talk_ms,
            answered_at=answered_at,
            ended_at=ended_at,
            carrier=carrier,
            cause=cause,
        )
        card_id, call_id = parse_handle(handle)
        try:
            return self._step(
                card_id,
                call_key(call_id),
                now,
                lambda card, record, shelf: authorization.settle(
                    card, record, call_id, told, shelf, now
                ),
            )
        except UnknownName as error:
            if error.kind != "card":
                raise
            self.storage.suspend(report_to_suspense(card_id, call_id, told, now))
            raise UnknownCall(call_id, suspended=True) from error

    def cancel(self, handle: str, *, at: datetime | None = None) -> CallRecord:
        """Give a grant back: the call was not made. Its hold is released.

        Raises:
            InvalidHandle: It is not a handle.
            CallEnded: The call was settled.
            UnknownCall: The handle's card is not in this store.
        """
        now = self._now(at)
        card_id, call_id = parse_handle(handle)
        try:
            return self._step(
                card_id,
                call_key(call_id),
                now,
                lambda card, record, _: authorization.cancel(card, record, call_id, now),
            )
        except UnknownName as error:
            if error.kind != "card":
                raise
            raise UnknownCall(call_id, suspended=False) from error

    def sweep(self, *, at: datetime | None = None) -> Swept:
        """Let time do on every due card what any next step on it would do first.

        Nothing depends on when this runs, or whether: it makes the store show it.

        Raises:
            StorageUnavailable: The store is out of reach; what was swept stays swept.
        """
        now = self._now(at)
        cards = calls = 0
        failures: list[tuple[str, CardbillError]] = []
        after: tuple[int, str] | None = None
        while page := self.storage.due(to_micros(now), after=after):
            for after in page:
                try:
                    calls += self._step(after[1], None, now, _calls_expired)
                    cards += 1
                except (StorageUnavailable, StorageClosed):
                    raise
                except CardbillError as error:
                    failures.append((after[1], error))
        self._gate.forget(now)
        return Swept(cards=cards, calls_expired=calls, failures=tuple(failures))

    def unlock(self, ani: str, *, actor: str, reason: str, at: datetime | None = None) -> bool:
        """Forget a caller's wrong PINs and locks; who did it and why is in the audit log.

        Args:
            ani: The caller's number, as the network tells it. The log holds its token only.
            actor: Who unlocks it.
            reason: Why.
            at: The instant for the log; default: now.

        Returns:
            Whether anything was known of that number.

        Raises:
            InvalidInput: It is none, or none that is ever locked.
            MissingFields: No actor or reason is given.
        """
        return self._gate.unlock(caller_number(ani), actor, reason, self._now(at))

    # -- looking --------------------------------------------------------------------------

    def card(self, card_id: str, *, at: datetime | None = None) -> CardView:
        """Return what is known of a card, as time has left it; changes nothing.

        Raises:
            UnknownName: There is no such card.
        """
        return look_up(self.storage.view(card_id).card, self._now(at))

    def entries(self, card_id: str) -> Iterator[Entry]:
        """Yield a card's ledger, oldest first.

        Raises:
            UnknownName: There is no such card.
        """
        currency = card_from_row(self.storage.view(card_id).card).currency
        after = 0
        while page := self.storage.entries(card_id, after=after):
            after = page[-1].seq
            yield from (entry_from_row(row, currency) for row in page)

    def records(
        self, *, card_id: str | None = None, batch: str | None = None
    ) -> Iterator[CallRecord]:
        """Yield call records: of a card, of a batch or all, ordered by card and call."""
        after: tuple[str, str] | None = None
        while page := self.storage.records(card=card_id, batch=batch, after=after):
            after = page[-1].card, page[-1].key
            yield from map(record_from_row, page)

    def audit(self) -> AuditReport:
        """Recompute every account from its ledger; changes nothing and needs no keys."""
        return audit(self.storage)

    # -- inside ---------------------------------------------------------------------------

    def _now(self, at: datetime | None = None) -> datetime:
        now = aware("clock", self._clock()) if at is None else aware("at", at)
        if not 1970 <= now.year <= 9900:
            raise InvalidInput("at", now, "must be in the years 1970 to 9900")
        return now

    def _credentials(self, pin: object) -> list[Credential]:
        """Return what might open a card; nothing for digits that can be no PIN."""
        if not isinstance(pin, str):
            raise InvalidInput("pin", None, "must be text")
        try:
            return [(PIN, token) for token in self._keyring.tokens(check_pin(pin))]
        except InvalidInput:
            return []  # whatever a caller keys is an answer, not an error

    def _resolve(self, credentials: Sequence[Credential]) -> str | None:
        tokens = [token for _, token in credentials]
        return self.storage.resolve(PIN, tokens) if tokens else None

    def _look(
        self, card_id: str, at: datetime, credentials: Sequence[Credential], ani: str | None
    ) -> Caller | Denied | None:
        """Answer from a mere read; ``None`` where the answer would be the first use."""
        view = self.storage.view(card_id)
        if view.revision != self._shelf.snapshot.revision:
            self._shelf.refresh()
        while True:
            card = card_from_row(view.card)
            card.catch_up(at)
            pinned = card.plan
            try:
                answer = authorization.admit(card, credentials, self._shelf.snapshot, ani, at)
            except NotLoaded as missing:
                self._shelf.load(missing)
                continue
            return None if pinned is None and card.plan is not None else answer

    def _dialled(self, to: str) -> tuple[str | None, str]:
        try:
            return self._dial_plan.e164(to), ""
        except InvalidNumber as error:
            return None, error.problem

    def _step(self, card_id: str, key: str | None, at: datetime, decide: Decision[T]) -> T:
        while True:
            run = step(decide, self._shelf.snapshot, at)
            try:
                return self.storage.transact(card_id, run, key=key)
            except NotLoaded as missing:
                self._shelf.load(missing)
            except CatalogueMoved:
                self._shelf.refresh()


def _calls_expired(card: Card, _record: object, _shelf: object) -> int:
    return sum(record.outcome is Outcome.EXPIRED for record in card.records)
