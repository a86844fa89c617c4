"""A call from the caller's credential to its settled record, over one store.

Each operation prepares a pure decision and runs it as one step on one card.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

from attrs import evolve

from cardbill import authorization, settling
from cardbill.answers import Caller, Credential, Denied, Grant, Seen
from cardbill.attempts import Attempts
from cardbill.calls import CallRecord, parse_handle, report
from cardbill.carriers import check_busy
from cardbill.catalogue import NotLoaded
from cardbill.denialcounts import DenialCounts
from cardbill.denials import Denial
from cardbill.dialing import DialPlan, caller_number
from cardbill.errors import (
    CardbillError,
    InvalidInput,
    InvalidNumber,
    UnknownCall,
    UnknownName,
)
from cardbill.gate import Gate, Source
from cardbill.holds import LONGEST_TALK_MS
from cardbill.instants import aware
from cardbill.journal import Journal
from cardbill.keyring import ANI
from cardbill.names import check_count, check_id
from cardbill.passing import catch_up
from cardbill.presented import Presented
from cardbill.reach import CallRequest
from cardbill.rekeying import Mover
from cardbill.rows import call_key, card_from_row, report_to_suspense
from cardbill.runner import Runner
from cardbill.shelf import AccessNumbers, Shelf
from cardbill.throttling import Throttle

if TYPE_CHECKING:
    from cardbill.access import AccessNumber
    from cardbill.keyring import Keyring
    from cardbill.steps import Decision
    from cardbill.storage.contract import Storage, View
    from cardbill.taxdesk import TaxDesk

T = TypeVar("T")


class CallFlow:
    """What happens to a call; :class:`~cardbill.engine.Engine` is this and the rest.

    Attributes:
        access_numbers: The numbers that callers dial to get in.
    """

    def __init__(
        self,
        storage: Storage,
        keyring: Keyring,
        *,
        clock: Callable[[], datetime],
        dial_plan: DialPlan,
        throttle: Throttle | None,
        taxes: TaxDesk | None = None,
    ) -> None:
        self._storage = storage
        self._keyring = keyring
        self._clock = clock
        self._dial_plan = dial_plan
        self._journal = Journal(storage, keyring.seals, self._now)
        self._attempts = Attempts(storage, keyring.seals, self._journal)
        self._denials = DenialCounts(self._attempts)
        self._gate = Gate(self._attempts, keyring, self._journal, throttle, dial_plan)
        self._shelf = Shelf(storage, self._journal)
        self._runner = Runner(storage, self._shelf, keyring.seals, taxes)
        self._mover = Mover(storage, self._runner, keyring, self._journal)
        self.access_numbers = AccessNumbers(self._shelf)

    def authenticate(
        self,
        *,
        pin: str | None = None,
        card_number: str | None = None,
        ani: str | None = None,
        call_id: str | None = None,
        access: str | None = None,
        trunk: str | None = None,
        at: datetime | None = None,
    ) -> Caller | Denied:
        """Find out who is calling: stage one of a two-stage call.

        Changes no account, unless the batch counts authentication as the first use. Wrong
        PINs are counted, and too many of them lock the caller's number: see
        :class:`Throttle`. While keys are rotated, a card found by an older key moves on.

        Args:
            pin: As the caller keyed it; without one, the caller's number must be registered
                with a card (PINless).
            card_number: The printed card number, where cards have one; as the caller keyed it.
            ani: The caller's number, as far as the network tells; it can be forged.
            call_id: The call, as :meth:`authorize` will be told it; with it, wrong PINs are
                limited in each call too.
            access: The access number the call came in on.
            trunk: The trunk it came over: 1 to 128 characters.
            at: The instant; default: now.

        Returns:
            A :class:`Caller`, or a :class:`Denied` that says why not.

        Raises:
            InvalidInput: Nothing is presented; the access number is unknown; the call id or
                the trunk cannot be used.
        """
        now = self._now(at)
        who = Presented(pin=pin, card_number=card_number, ani=ani, access=self._access(access))
        number = caller_number(ani)
        credentials = who.credentials(self._keyring, self._plan(who.access))
        source = self._source(who, credentials, number, call_id, trunk)
        return self._guarded(source, now, lambda: self._admit(who, credentials, number, now))

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
        trunk: str | None = None,
        busy: Mapping[str, int] | None = None,
        at: datetime | None = None,
    ) -> Grant | Denied:
        """Ask leave for one call, and hold its money: the second stage, or the only one.

        The same request again returns the same grant while the call is open; given a PIN,
        only while the caller's number is not locked. Denials are not remembered: the same
        request is decided anew.

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
            trunk: One stage: the trunk it came over: 1 to 128 characters.
            busy: How many calls the switch has on carriers now, by carrier: one that has come
                to its capacity is left out, one that is not told has none. It may be another
                figure when the same request comes again.
            at: The instant; default: now.

        Returns:
            A :class:`Grant`, or a :class:`Denied` that says why not.

        Raises:
            InvalidInput: The call id cannot be used; too little or too much is given; the
                access number is unknown, or takes no dialled strings; the trunk or the
                figures of busy carriers cannot be used.
            CallEnded: A call of that id was made with this card and is over.
            IdempotencyMismatch: It is open, with another number.
        """
        now = self._now(at)
        check_id("call_id", call_id)
        calls = check_busy(busy)
        presented = any(each is not None for each in (pin, card_number, dialled))
        if caller is None:
            presented |= ani is not None or access is not None
        if (caller is None) != presented:
            raise InvalidInput("caller", None, "give either a caller or what he presents")
        if to is not None and dialled is not None:
            raise InvalidInput("to", None, "is in the dialled string: give one of them")
        if isinstance(caller, Denied):
            return caller
        if caller is not None and not isinstance(caller, Caller):
            raise InvalidInput("caller", None, "must be what authenticate() returned")
        told = self._access(caller.access if caller and access is None else access)
        if caller is not None:
            credentials = [caller.credential, *caller.also]
            request = self._request(call_id, to, told, caller.ani, credentials, calls)
            seen = caller._seen.take(self._storage)  # noqa: SLF001  # ours, and not for hosts
            return self._noted(self._grant(caller.card_id, request, now, seen), now)
        who = Presented(
            pin=pin, card_number=card_number, ani=ani, dialled=dialled, to=to, access=told
        ).apart()
        if who is None:
            return self._noted(Denied(reason=Denial.UNKNOWN_CREDENTIAL), now)
        number = caller_number(ani)
        found = who.credentials(self._keyring, self._plan(told))
        request = self._request(call_id, who.to, told, number, found, calls)
        source = self._source(who, found, number, call_id, trunk)
        return self._guarded(source, now, lambda: self._grant_one_stage(who, request, now))

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
        answer = self._step_of_call(
            card_id,
            call_id,
            now,
            lambda card, record, shelf: settling.extend(
                card, record, call_id, used_seconds, number, shelf, now
            ),
        )
        return self._noted(answer, now)

    def settle(
        self,
        handle: str,
        *,
        talk_ms: int | None = None,
        answered_at: datetime | None = None,
        ended_at: datetime | None = None,
        carrier: str | None = None,
        cause: int | None = None,
        access_ms: int | None = None,
        to: str | None = None,
        at: datetime | None = None,
    ) -> CallRecord:
        """End a call: charge what it cost at the terms it was granted under.

        May come late, from another process, or twice: the same report again returns the
        first record, marked ``replayed``.

        Args:
            handle: Of the grant.
            talk_ms: From answer to hang-up in milliseconds; 0: not answered. Or tell
                `answered_at` and `ended_at`; where all are told, `talk_ms` counts.
            answered_at: The answer, where known.
            ended_at: The hang-up, where known.
            carrier: Who carried it, or was tried last. Not told, a call that was answered had
                the only route there was, or an unknown one; of a carrier that nobody knows,
                or whose currency had no exchange rate, the cost is unknown.
            cause: The Q.850 release cause, where known.
            access_ms: How long the caller was on the access number, the dialogue included, in
                milliseconds: for what that costs; default: the talk time.
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
            access_ms=access_ms,
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
        return self._step_of_call(
            card_id,
            call_id,
            now,
            lambda card, record, _: settling.cancel(card, record, call_id, now),
        )

    # -- inside ---------------------------------------------------------------------------

    def _now(self, at: datetime | None = None) -> datetime:
        now = aware("clock", self._clock()) if at is None else aware("at", at)
        if not 1970 <= now.year <= 9900:
            raise InvalidInput("at", now, "must be in the years 1970 to 9900")
        return now

    def _guarded(self, source: Source | None, at: datetime, look_up: Callable[[], T]) -> T | Denied:
        return self._noted(self._gate.guarded(source, at, look_up), at)

    def _noted(self, answer: T, at: datetime) -> T:
        self._denials.note(answer, at)
        return answer

    def _admit(
        self,
        who: Presented,
        credentials: Sequence[Credential],
        number: str | None,
        now: datetime,
    ) -> Caller | Denied:
        view = self._resolve(credentials)
        if view is None:
            return Denied(reason=Denial.UNKNOWN_CREDENTIAL)
        card_id, told = view.card.id, who.access
        admitted = self._look(view, now, credentials, number, told) or self._step(
            card_id,
            None,
            now,
            lambda card, _, shelf: authorization.admit(card, credentials, shelf, number, now, told),
            view,
        )
        if len(credentials) > 1 and isinstance(admitted, Caller):
            admitted = evolve(admitted, also=tuple(credentials))
            self._move_on(card_id, who, credentials, now)
        return admitted

    def _by_pin(
        self,
        use: Callable[[str, Sequence[Credential]], T],
        now: datetime,
        *,
        pin: str,
        card_number: str | None,
        ani: str | None,
        call_id: str | None,
        access: str | None,
        trunk: str | None,
    ) -> T | Denied:
        """Use the card that a PIN opens, whatever for; wrong PINs are counted."""
        who = Presented(pin=pin, card_number=card_number, ani=ani, access=self._access(access))
        credentials = who.credentials(self._keyring, self._plan(who.access))
        source = self._source(who, credentials, caller_number(ani), call_id, trunk)

        def look_up() -> T | Denied:
            view = self._resolve(credentials)
            if view is None:
                return Denied(reason=Denial.UNKNOWN_CREDENTIAL)
            return use(view.card.id, credentials)

        return self._guarded(source, now, look_up)

    def _grant(
        self, card_id: str, request: CallRequest, now: datetime, seen: View | None
    ) -> Grant | Denied:
        return self._step(
            card_id,
            call_key(request.call_id),
            now,
            lambda card, record, shelf: authorization.authorize(card, record, request, shelf, now),
            seen,
        )

    def _grant_one_stage(
        self, who: Presented, request: CallRequest, now: datetime
    ) -> Grant | Denied:
        view = self._resolve(request.credentials)
        if view is None:
            return Denied(reason=Denial.UNKNOWN_CREDENTIAL)
        answer = self._grant(view.card.id, request, now, view)
        if len(request.credentials) > 1 and isinstance(answer, Grant):
            self._move_on(view.card.id, who, request.credentials, now)
        return answer

    def _request(
        self,
        call_id: str,
        to: str | None,
        access: AccessNumber | None,
        ani: str | None,
        credentials: Sequence[Credential],
        busy: Mapping[str, int],
    ) -> CallRequest:
        number, problem = self._dialled(to, access)
        return CallRequest(
            access=None if access is None else access.number,
            call_id=call_id,
            number=number,
            problem=problem,
            ani=ani,
            credentials=credentials,
            busy=busy,
        )

    def _source(
        self,
        who: Presented,
        credentials: Sequence[Credential],
        ani: str | None,
        call_id: str | None,
        trunk: str | None,
    ) -> Source | None:
        """Return where an attempt at a PIN comes from; ``None``: nobody has guessed one."""
        access = None if who.access is None else who.access.number
        token = credentials[0][1] if credentials else b""
        source = Source(ani, call_id, access, trunk, token)  # checks what the host says
        return source if credentials and credentials[0][0] != ANI else None

    def _resolve(self, credentials: Sequence[Credential]) -> View | None:
        """Return the card that credentials lead to, as it stands: all look-ups are here."""
        if not credentials:
            return None
        kind, tokens = credentials[0][0], [token for _, token in credentials]
        found = self._storage.resolve(kind, tokens)
        if found is None and len(tokens) > 1:
            # A card that moved to a newer key between the two looks is found by it now.
            found = self._storage.resolve(kind, tokens)
        return found

    def _move_on(
        self, card_id: str, who: Presented, credentials: Sequence[Credential], at: datetime
    ) -> None:
        """Move a card, whose secret is known now, to the newest look-up key."""
        kind, newest = credentials[0]
        with suppress(CardbillError):  # the caller was served, and a later use tries again
            if self._storage.resolve(kind, [newest]) is None:
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
        view: View,
        at: datetime,
        credentials: Sequence[Credential],
        ani: str | None,
        access: AccessNumber | None,
    ) -> Caller | Denied | None:
        """Answer from a mere read; ``None`` where the answer would be the first use."""
        if view.revision != self._shelf.snapshot.revision:
            self._shelf.refresh()
        while True:
            card = card_from_row(view.card, self._keyring.seals)
            try:
                shelf = self._shelf.snapshot
                catch_up(card, shelf, at)
                in_use = card.in_use
                answer = authorization.admit(card, credentials, shelf, ani, at, access)
            except NotLoaded as missing:
                self._shelf.load(missing)
                continue
            if card.in_use != in_use:
                return None
            if isinstance(answer, Caller):
                return evolve(answer, seen=Seen(self._storage, view))
            return answer

    def _dialled(self, to: str | None, access: AccessNumber | None) -> tuple[str | None, str]:
        try:
            return self._plan(access).called("" if to is None else to), ""
        except InvalidNumber as error:
            return None, error.problem

    def _step(
        self,
        card_id: str,
        key: str | None,
        at: datetime,
        decide: Decision[T],
        seen: View | None = None,
    ) -> T:
        return self._runner.step(card_id, key, at, decide, seen)

    def _step_of_call(self, card_id: str, call_id: str, at: datetime, decide: Decision[T]) -> T:
        """Take a step on the card that a handle names, if it is in this store."""
        try:
            return self._step(card_id, call_key(call_id), at, decide)
        except UnknownName as error:
            if error.kind != "card":
                raise
            raise UnknownCall(call_id, suspended=False) from error
