"""The engine: thin shells around pure decisions, over any store."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from attrs import evolve, frozen

from cardbill import authorization, settling
from cardbill.answers import Caller, Credential, Denied, Grant
from cardbill.audit import AuditReport, audit
from cardbill.authorization import CallRequest
from cardbill.callers import Callers
from cardbill.calls import CallRecord, Outcome, check_call_id, parse_handle, report
from cardbill.catalogue import NotLoaded
from cardbill.control import Control
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
from cardbill.evidence import AuditHead
from cardbill.holds import LONGEST_TALK_MS
from cardbill.inquiry import CardView, look_up
from cardbill.instants import aware, to_micros
from cardbill.issuing import Batches
from cardbill.journal import Journal
from cardbill.keymarks import check_keys
from cardbill.keyring import Keyring
from cardbill.names import check_count
from cardbill.presented import Presented
from cardbill.rekeying import Mover
from cardbill.reports import Reports
from cardbill.rows import (
    call_key,
    card_from_row,
    entry_from_row,
    record_from_row,
    report_to_suspense,
)
from cardbill.runner import Runner
from cardbill.shelf import AccessNumbers, Carriers, Decks, Plans, Shelf
from cardbill.steps import Decision

if TYPE_CHECKING:
    from cardbill.access import AccessNumber
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
        dial_plan: How callers dial, where their access number does not say otherwise.

    Attributes:
        decks, plans, carriers, access_numbers, batches: What is published and issued.
        callers: The callers' numbers that open cards without a PIN.
        control: What operators sell, block, freeze and void.
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
    ) -> None:
        self.storage = storage
        self._keyring = keyring
        self._clock = clock
        self._dial_plan = dial_plan
        journal = Journal(storage, keyring.seals, self._now)
        self._journal = journal
        check_keys(storage, keyring, journal)
        self._shelf = Shelf(storage, journal)
        self._runner = Runner(storage, self._shelf, keyring.seals)
        self._mover = Mover(storage, self._runner, keyring, journal)
        self.decks = Decks(self._shelf)
        self.plans = Plans(self._shelf)
        self.carriers = Carriers(self._shelf)
        self.access_numbers = AccessNumbers(self._shelf)
        self.batches = Batches(
            storage, self._shelf, keyring, journal, self._mover, self._now, below
        )
        self.control = Control(storage, self._shelf, self._runner, journal, self._now)
        self.callers = Callers(storage, keyring, self._now, self._step, self._read_by)
        self.reports = Reports(storage, self._shelf, keyring.seals, self._now)

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
        pin: str | None = None,
        card_number: str | None = None,
        ani: str | None = None,
        access: str | None = None,
        at: datetime | None = None,
    ) -> Caller | Denied:
        """Find out who is calling: stage one of a two-stage call.

        Changes nothing, unless the batch counts authentication as the first use.

        Args:
            pin: As the caller keyed it; without one, the caller's number must be registered
                with a card (PINless).
            card_number: The printed card number, where cards have one; as the caller keyed it.
            ani: The caller's number, as far as the network tells; it can be forged.
            access: The access number the call came in on.
            at: The instant; default: now.

        Returns:
            A :class:`Caller`, or a :class:`Denied` that says why not.

        Raises:
            InvalidInput: Nothing is presented, or the access number is unknown.
        """
        now = self._now(at)
        told = self._access(access)
        who = Presented(pin=pin, card_number=card_number, ani=ani, access=told)
        number = caller_number(ani)
        card_id, credentials = self._resolve(who)
        if card_id is None:
            return Denied(reason=Denial.UNKNOWN_CREDENTIAL)
        admitted = self._look(card_id, now, credentials, number, told) or self._step(
            card_id,
            None,
            now,
            lambda card, _, shelf: authorization.admit(card, credentials, shelf, number, now, told),
        )
        if len(credentials) > 1 and isinstance(admitted, Caller):
            admitted = evolve(admitted, also=tuple(credentials))
            self._move_on(card_id, who, credentials, now)
        return admitted

    def authorize(
        self,
        caller: Caller | Denied | None = None,
        *,
        to: str | None = None,
        call_id: str,
        pin: str | None = None,
        card_number: str | None = None,
        ani: str | None = None,
        dialled: str | None = None,
        access: str | None = None,
        at: datetime | None = None,
    ) -> Grant | Denied:
        """Ask leave for one call, and hold its money: the second stage, or the only one.

        The same request again returns the same grant while the call is open. Denials are
        not remembered: the same request is decided anew.

        Args:
            caller: What :meth:`authenticate` returned (a denial is returned as it is); or
                give what he presents, in one stage.
            to: The number as dialled; or give `dialled`.
            call_id: Made by the host, one per call attempt, 1 to 128 visible ASCII
                characters; never a peer's SIP Call-ID.
            pin: One stage: the PIN as the caller keyed it.
            card_number: One stage: the printed card number, where cards have one.
            ani: One stage: the caller's number; without a PIN it must be registered with a
                card (PINless).
            dialled: One stage: credential and number in one string, ``access*PIN*number``
                or PIN digits followed by the number, as the access number says.
            access: The access number the call came in on; default: the caller's.
            at: The instant; default: now.

        Returns:
            A :class:`Grant`, or a :class:`Denied` that says why not.

        Raises:
            InvalidInput: The call id cannot be used; too little or too much is given; the
                access number is unknown, or takes no dialled strings.
            CallEnded: A call of that id was made with this card and is over.
            IdempotencyMismatch: It is open, with another number.
        """
        now = self._now(at)
        check_call_id(call_id)
        presented = any(each is not None for each in (pin, card_number, dialled))
        if caller is None:
            presented |= ani is not None or access is not None
        if (caller is None) != presented:
            raise InvalidInput("caller", None, "give either a caller or what he presents")
        if to is not None and dialled is not None:
            raise InvalidInput("to", None, "is in the dialled string: give one of them")
        if isinstance(caller, Denied):
            return caller
        card_id: str | None
        credentials: Sequence[Credential]
        if caller is not None and not isinstance(caller, Caller):
            raise InvalidInput("caller", None, "must be what authenticate() returned")
        told = self._access(caller.access if caller and access is None else access)
        who: Presented | None = None
        if caller is not None:
            card_id, number = caller.card_id, caller.ani
            credentials = [caller.credential, *caller.also]
        else:
            who = Presented(
                pin=pin, card_number=card_number, ani=ani, dialled=dialled, to=to, access=told
            ).apart()
            number = caller_number(ani)
            card_id, credentials = self._resolve(who)
            to = None if who is None else who.to
        if card_id is None:
            return Denied(reason=Denial.UNKNOWN_CREDENTIAL)
        digits, problem = self._dialled(to, told)
        request = CallRequest(
            call_id=call_id, number=digits, problem=problem, ani=number, credentials=credentials
        )
        answer = self._step(
            card_id,
            call_key(call_id),
            now,
            lambda card, record, shelf: authorization.authorize(card, record, request, shelf, now),
        )
        if who is not None and len(credentials) > 1 and isinstance(answer, Grant):
            self._move_on(card_id, who, credentials, now)
        return answer

    def extend(
        self, handle: str, *, used_seconds: int, number: int, at: datetime | None = None
    ) -> Grant | Denied:
        """Report how long a call has lasted and, where it is granted in slices, renew it.

        Nothing is charged yet. The grant's ``max_seconds`` counts from the answer of the
        call, and never falls. Where ``limited_by`` is not ``SLICE``, one second more is not
        to be had as things stand: another call of the card may still give money back.

        Args:
            handle: Of the grant.
            used_seconds: Talk time so far, in all; 0: not answered yet.
            number: 1, 2, 3, ... per call; a repeated or overtaken one changes nothing.
            at: The instant; default: now.

        Returns:
            A :class:`Grant` for the call as a whole; or a :class:`Denied`: it has used up
            all it may, or its card was blocked: hang up.

        Raises:
            InvalidInput: Handle, time or number cannot be used; or the time is less than
                an earlier one.
            IdempotencyMismatch: The extension of that number told another time.
            CallEnded: The call is over.
            UnknownCall: No such call was granted, or the card is not in this store.
        """
        now = self._now(at)
        card_id, call_id = parse_handle(handle)
        check_count("used_seconds", used_seconds, 0, LONGEST_TALK_MS // 1000)
        check_count("number", number, 1, 2**31)
        try:
            return self._step(
                card_id,
                call_key(call_id),
                now,
                lambda card, record, shelf: settling.extend(
                    card, record, call_id, used_seconds, number, shelf, now
                ),
            )
        except UnknownName as error:
            if error.kind != "card":
                raise
            raise UnknownCall(call_id, suspended=False) from error

    def settle(
        self,
        handle: str,
        *,
        talk_ms: int | None = None,
        answered_at: datetime | None = None,
        ended_at: datetime | None = None,
        carrier: str | None = None,
        cause: int | None = None,
        to: str | None = None,
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
            to: The number as dialled, for a call that may never have been granted: by it a
                plan can charge such calls, see :class:`Unauthorised`.
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
        number = None if to is None else self._dialled(to, None)[0]
        try:
            return self._step(
                card_id,
                call_key(call_id),
                now,
                lambda card, record, shelf: settling.settle(
                    card, record, call_id, told, number, shelf, now
                ),
            )
        except UnknownName as error:
            if error.kind != "card":
                raise
            self._journal.suspend(report_to_suspense(card_id, call_id, told, now))
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
                lambda card, record, _: settling.cancel(card, record, call_id, now),
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
        return Swept(cards=cards, calls_expired=calls, failures=tuple(failures))

    # -- looking --------------------------------------------------------------------------

    def card(self, card_id: str, *, at: datetime | None = None) -> CardView:
        """Return what is known of a card, as time has left it; changes nothing.

        Raises:
            UnknownName: There is no such card.
        """
        row = self.storage.view(card_id).card
        flags = self._shelf.get(lambda snapshot: snapshot.flags(row.batch))
        return look_up(row, flags, self._now(at), self._keyring.seals)

    def entries(self, card_id: str) -> Iterator[Entry]:
        """Yield a card's ledger, oldest first.

        Raises:
            UnknownName: There is no such card.
        """
        card = card_from_row(self.storage.view(card_id).card, self._keyring.seals)
        after = 0
        while page := self.storage.entries(card_id, after=after):
            after = page[-1].seq
            yield from (entry_from_row(row, card.currency) for row in page)

    def records(
        self, *, card_id: str | None = None, batch: str | None = None
    ) -> Iterator[CallRecord]:
        """Yield call records: of a card, of a batch or all, ordered by card and call."""
        after: tuple[str, str] | None = None
        while page := self.storage.records(card=card_id, batch=batch, after=after):
            after = page[-1].card, page[-1].key
            yield from (record_from_row(row, self._keyring.seals) for row in page)

    def audit(
        self,
        *,
        head: AuditHead | None = None,
        keep: bool = False,
        sealed_copies: bool = True,
    ) -> AuditReport:
        """Recompute every account from its ledger and check every seal; changes nothing.

        Args:
            head: The head of an audit before: shows what was set back since.
            keep: Make a head for the next audit.
            sealed_copies: Open every sealed copy of a PIN, if there are sealing keys.
        """
        return audit(self.storage, self._keyring, head=head, keep=keep, sealed_copies=sealed_copies)

    # -- inside ---------------------------------------------------------------------------

    def _now(self, at: datetime | None = None) -> datetime:
        now = aware("clock", self._clock()) if at is None else aware("at", at)
        if not 1970 <= now.year <= 9900:
            raise InvalidInput("at", now, "must be in the years 1970 to 9900")
        return now

    def _resolve(self, who: Presented | None) -> tuple[str | None, Sequence[Credential]]:
        """Return the card that what a caller presents leads to, and what must open it.

        Every credential of every caller is looked up here and nowhere else.
        """
        if who is None:
            return None, []
        credentials = who.credentials(self._keyring, self._plan(who.access))
        if not credentials:
            return None, []
        tokens = [token for _, token in credentials]
        kind = credentials[0][0]
        found = self.storage.resolve(kind, tokens)
        if found is None and len(tokens) > 1:
            # A card that moved to a newer key between the two looks is found by it now.
            found = self.storage.resolve(kind, tokens)
        return found, credentials

    def _move_on(
        self, card_id: str, who: Presented, credentials: Sequence[Credential], at: datetime
    ) -> None:
        """Move a card, whose secret is known now, to the newest look-up key."""
        kind, newest = credentials[0]
        with suppress(CardbillError):  # the caller was served, and a later use tries again
            if self.storage.resolve(kind, [newest]) is None:
                secret = who.secret(self._plan(who.access))
                if secret is not None:
                    self._mover.move(card_id, secret, at)

    def _access(self, access: object) -> AccessNumber | None:
        return None if access is None else self.access_numbers.find(access, self._dial_plan)

    def _plan(self, access: AccessNumber | None) -> DialPlan:
        return (access and access.dial_plan) or self._dial_plan

    def _read_by(self, access: object) -> DialPlan:
        return self._plan(self._access(access))

    def _look(
        self,
        card_id: str,
        at: datetime,
        credentials: Sequence[Credential],
        ani: str | None,
        access: AccessNumber | None,
    ) -> Caller | Denied | None:
        """Answer from a mere read; ``None`` where the answer would be the first use."""
        view = self.storage.view(card_id)
        if view.revision != self._shelf.snapshot.revision:
            self._shelf.refresh()
        while True:
            card = card_from_row(view.card, self._keyring.seals)
            card.catch_up(at)
            opened = card.opened
            try:
                shelf = self._shelf.snapshot
                answer = authorization.admit(card, credentials, shelf, ani, at, access)
            except NotLoaded as missing:
                self._shelf.load(missing)
                continue
            return answer if card.opened == opened else None

    def _dialled(self, to: str | None, access: AccessNumber | None) -> tuple[str | None, str]:
        try:
            return self._plan(access).e164("" if to is None else to), ""
        except InvalidNumber as error:
            return None, error.problem

    def _step(self, card_id: str, key: str | None, at: datetime, decide: Decision[T]) -> T:
        return self._runner.step(card_id, key, at, decide)


def _calls_expired(card: Card, _record: object, _shelf: object) -> int:
    return sum(record.outcome is Outcome.EXPIRED for record in card.records)
