"""The engine: calls, and all that is published, issued, stopped and looked up around them."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Self

from attrs import evolve, frozen

from cardbill import money
from cardbill.accounts import Accounts
from cardbill.answers import Caller, Denied, TalkTime
from cardbill.attempts import MARK
from cardbill.authorization import talk_time
from cardbill.callers import Callers
from cardbill.callflow import CallFlow
from cardbill.calls import CallRecord, Outcome
from cardbill.carriers import check_busy
from cardbill.catalogueitems import ATTEMPTS
from cardbill.control import Control
from cardbill.dialing import NORTH_AMERICA, DialPlan, caller_number
from cardbill.errors import (
    CardbillError,
    InvalidInput,
    MissingFields,
    StorageClosed,
    StorageUnavailable,
)
from cardbill.inquiry import CardView, account_at, look_up
from cardbill.instants import aware
from cardbill.issuing import Batches
from cardbill.keymarks import check_keys
from cardbill.keyring import Keyring
from cardbill.locales import locale_of
from cardbill.names import check_count, check_kind, check_language
from cardbill.paging import call_rows, due_cards, entry_rows
from cardbill.passing import catch_up
from cardbill.reports import Reports
from cardbill.retention import Purged, purge
from cardbill.rows import card_from_row, entry_from_row, record_from_row
from cardbill.shelf import Carriers, Decks, Exchange, Groups, Jurisdictions, Plans
from cardbill.storage.checks import check_colour
from cardbill.taxdesk import tax_desk
from cardbill.taxengines import TaxFallback
from cardbill.throttling import Throttle

# What calls do not need is imported by the methods that do.
if TYPE_CHECKING:
    from moneyed import Money

    from cardbill.audit import AuditReport
    from cardbill.cards import Card
    from cardbill.catalogue import Snapshot
    from cardbill.disclosing import Disclosure
    from cardbill.evidence import AuditHead
    from cardbill.ledger import Entry
    from cardbill.quoting import CallExplanation
    from cardbill.recounting import RecordExplanation
    from cardbill.statements import Statement
    from cardbill.storage.contract import Storage
    from cardbill.taxengines import TaxEngine


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


system_random = secrets.randbelow
"""Draws from the system's own source: the default for PINs."""


class Engine(CallFlow):
    """A prepaid calling-card business over one store.

    Use :func:`cardbill.open`, or give a store of your own. Methods may be called from any
    thread, and from processes forked after this was made if the store allows it.

    Args:
        storage: Where cards are kept; closed with the engine.
        keyring: The keys of its PINs.
        clock: Returns the present instant, aware.
        below: Draws a number from 0 up to, not including, its argument; PINs come from it.
        dial_plan: How callers dial, where their access number does not say otherwise.
        throttle: How often PINs may be guessed; ``None``: without limit.
        tax_engine: A tax engine outside, asked about what the published taxes are on;
            ``None``: they alone say what taxes come to.
        tax_seconds: How long it may take in one operation, 1 to 60 s.
        tax_fallback: What happens where it has no usable answer by then.

    Attributes:
        decks, groups, jurisdictions, plans, carriers, access_numbers, batches: What is published
            and issued.
        exchange: The exchange rates, published where there is more than one currency.
        storage: The store: its contract also lists the operators' log and what is in suspense.
        accounts: What customers and operators do with a card's money.
        callers: The callers' numbers that open cards without a PIN.
        control: What operators sell, block, freeze and void.
        reports: Figures over cards and calls.

    Raises:
        TypeError: The store is an asynchronous one, or the keyring is none.
        WrongKey: The store was written with other keys.
        InvalidInput: The tax engine or its terms cannot be used.
    """

    def __init__(
        self,
        storage: Storage,
        keyring: Keyring,
        *,
        clock: Callable[[], datetime] = system_clock,
        below: Callable[[int], int] = system_random,
        dial_plan: DialPlan = NORTH_AMERICA,
        throttle: Throttle | None = Throttle(),  # noqa: B008  # frozen
        tax_engine: TaxEngine | None = None,
        tax_seconds: int = 2,
        tax_fallback: TaxFallback | str = TaxFallback.BUILT_IN,
    ) -> None:
        check_colour(storage, asynchronous=False)
        if not isinstance(keyring, Keyring):  # its text is not repeated: it may hold the keys
            raise TypeError("keyring must be a Keyring, such as Keyring.load(path) reads")
        self.storage = storage
        super().__init__(
            storage,
            keyring,
            clock=clock,
            dial_plan=dial_plan,
            throttle=throttle,
            taxes=tax_desk(tax_engine, tax_seconds, tax_fallback, clock),
        )
        check_keys(storage, keyring, self._journal)
        self._shelf.refresh()
        if not self._shelf.snapshot.version(ATTEMPTS, MARK):
            self._attempts.open()
        self.decks = Decks(self._shelf)
        self.groups = Groups(self._shelf)
        self.jurisdictions = Jurisdictions(self._shelf)
        self.plans = Plans(self._shelf)
        self.carriers = Carriers(self._shelf)
        self.exchange = Exchange(self._shelf, self._now)
        self.batches = Batches(
            storage, self._shelf, keyring, self._journal, self._mover, self._now, below
        )
        self.control = Control(storage, self._shelf, self._runner, self._journal, self._now)
        self.callers = Callers(storage, self._shelf, keyring, self._now, self._step, self._read_by)
        self.accounts = Accounts(
            storage,
            self._shelf,
            self._runner,
            self._journal,
            keyring.seals,
            self._now,
            self._by_pin,
        )
        self.reports = Reports(storage, self._shelf, keyring.seals, self._now, self._denials)

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
        """Add what was counted of denials to the store, and close it; may be called again."""
        self._denials.add()
        self.storage.close()

    # -- time and mistakes ------------------------------------------------------------------

    def sweep(self, *, at: datetime | None = None) -> Swept:
        """Let time do on every due card what any next step on it would do first.

        Nothing depends on when this runs, or whether: it makes the store show it.

        Raises:
            StorageUnavailable: The store is out of reach; what was swept stays swept.
        """
        now = self._now(at)
        cards = calls = 0
        failures: list[tuple[str, CardbillError]] = []
        for card_id in due_cards(self._storage, now):
            try:
                calls += self._step(card_id, None, now, _calls_expired)
                self.accounts.resume(card_id, now)
                cards += 1
            except (StorageUnavailable, StorageClosed):
                raise
            except CardbillError as error:
                failures.append((card_id, error))
        self._denials.add()
        self._gate.forget(now)
        return Swept(cards=cards, calls_expired=calls, failures=tuple(failures))

    def unlock(self, ani: str, *, actor: str, reason: str) -> bool:
        """Forget a caller's wrong PINs and locks; who did it and why is in the operators' log.

        Args:
            ani: The caller's number, as the network tells it. The log holds its token only.
            actor: Who unlocks it.
            reason: Why.

        Returns:
            Whether anything was known of that number.

        Raises:
            InvalidInput: It is none, or none that is ever locked.
            MissingFields: No actor or reason is given.
            RowAltered: What is kept of it is not what cardbill wrote: see
                :meth:`recount_attempts`.
        """
        return self._gate.unlock(caller_number(ani), actor, reason)

    def recount_attempts(self, *, actor: str, reason: str) -> int:
        """Accept the counts of wrong PINs as they are now, after somebody altered them.

        Until then attempts by those whose counts were altered raise ``RowAltered``, and each
        audit shows it. Counts that cardbill did not write are dropped, so whoever was locked
        by them may guess again; all others stay. Who did it and why is in the operators' log.

        Args:
            actor: Who accepts them.
            reason: Why.

        Returns:
            How many were dropped.

        Raises:
            MissingFields: No actor or reason is given.
        """
        return self._gate.recount(actor, reason)

    def purge(
        self,
        *,
        before: datetime,
        actor: str,
        reason: str,
        batch: str | None = None,
        at: datetime | None = None,
    ) -> Purged:
        """Take callers' and called numbers out of the records of calls that ended long ago.

        Destinations, amounts and all else stay, and a settle that comes again is answered as
        before. Calls in progress are untouched. A call that nobody reported is over when its
        hold expires, swept or not. May be repeated, or cut short and repeated.
        Who did it, why and how many calls lost their numbers is in the operators' log.

        Args:
            before: The end of the retention time: calls that ended before this instant.
            actor: Who does it.
            reason: Why.
            batch: Only calls of this batch's cards; default: of all.
            at: The instant; default: now.

        Raises:
            MissingFields: No actor or reason is given.
            InvalidInput: `before` is no aware instant, or lies ahead.
            UnknownName: There is no such batch.
            StorageUnavailable: The store is out of reach; what was purged stays purged.
        """
        if batch is not None:
            self.batches.get(batch)
        return purge(
            self.storage,
            self._runner,
            self._journal,
            before=before,
            actor=actor,
            reason=reason,
            batch=batch,
            at=self._now(at),
        )

    # -- looking --------------------------------------------------------------------------

    def card(self, card_id: str, *, at: datetime | None = None) -> CardView:
        """Return what is known of a card, as time has left it; changes nothing.

        Raises:
            UnknownName: There is no such card.
        """
        row = self.storage.view(card_id).card
        self._shelf.refresh()
        return look_up(row, self._shelf, self._now(at), self._keyring.seals)

    def talk_time(
        self,
        caller: Caller,
        *,
        to: str,
        access: str | None = None,
        busy: Mapping[str, int] | None = None,
        at: datetime | None = None,
    ) -> TalkTime | Denied:
        """Return how long a caller could talk to a number now; changes and holds nothing.

        For the balance told in minutes, before a call or instead of one. What it tells, an
        :meth:`authorize` in the same state grants; where calls are granted in slices, that is
        all slices together.

        Args:
            caller: What :meth:`authenticate` returned.
            to: A number of the destination, as dialled.
            access: The access number the call came in on; default: the caller's.
            busy: How many calls carriers have now, as :meth:`authorize` is told.
            at: The instant; default: now.

        Raises:
            InvalidInput: It is no caller; the access number is unknown; the figures of busy
                carriers cannot be used.
        """
        now = self._now(at)
        check_kind("caller", caller, Caller)
        told = self._access(caller.access if access is None else access)
        credentials = [caller.credential, *caller.also]
        request = self._request("", to, told, caller.ani, credentials, check_busy(busy))
        row = self.storage.view(caller.card_id).card

        def tell(shelf: Snapshot) -> TalkTime | Denied:
            card = card_from_row(row, self._keyring.seals)
            catch_up(card, shelf, now)
            return talk_time(card, request, shelf, now)

        return self._shelf.get(tell)

    def explain(
        self,
        *,
        to: str,
        seconds: int = 60,
        card_id: str | None = None,
        batch: str | None = None,
        plan: str | None = None,
        available: object = None,
        access: str | None = None,
        busy: Mapping[str, int] | None = None,
        at: datetime | None = None,
    ) -> CallExplanation:
        """Return what would become of a call, step by step; changes nothing.

        Args:
            to: The number as dialled.
            seconds: The talk time whose price is explained, up to 31 days.
            card_id: Whose call: a card's; or give a batch, for a fresh card of it, or a plan.
            batch: A batch's name.
            plan: A plan's name.
            available: What the call may cost: ``Money``, ``Decimal``, int or decimal text;
                default: what the card has; nothing is said of a plan's cards.
            access: The access number that is called; default: none is told.
            busy: How many calls carriers have now, as :meth:`authorize` is told.
            at: The instant; default: now.

        Raises:
            InvalidInput: Not exactly one of card, batch and plan is given; or an argument
                cannot be used.
            UnknownName: There is no such card, batch or plan.
        """
        from cardbill import quoting

        now = self._now(at)
        if [card_id, batch, plan].count(None) != 2:
            raise InvalidInput("card_id", None, "give one of card_id, batch and plan")
        request = self._request("", to, self._access(access), None, (), check_busy(busy))
        asked = quoting.Asked(dialled=to, request=request, seconds=seconds, available=available)
        if plan is not None:
            return self._shelf.get(lambda shelf: quoting.for_plan(asked, plan, shelf, now))
        if batch is not None:
            return self._shelf.get(lambda shelf: quoting.for_batch(asked, batch, shelf, now))
        row = self.storage.view(str(card_id)).card

        def of_card(shelf: Snapshot) -> CallExplanation:
            card = card_from_row(row, self._keyring.seals)
            catch_up(card, shelf, now)
            return quoting.for_card(asked, card, shelf, now)

        return self._shelf.get(of_card)

    def explain_record(self, record: CallRecord) -> RecordExplanation:
        """Return how an ended call came to its price, step by step; changes nothing.

        Raises:
            InvalidInput: It is no :class:`CallRecord`.
        """
        from cardbill import recounting

        check_kind("record", record, CallRecord)
        return self._shelf.peek(lambda shelf: recounting.explain_record(record, shelf))

    def disclose(
        self,
        *,
        to: str,
        plan: str | None = None,
        batch: str | None = None,
        face_value: Money | None = None,
        calls_of: Sequence[int] = (1, 3, 5, 10),
        access: str | None = None,
        at: datetime | None = None,
    ) -> Disclosure:
        """Return what a fresh card gives in calls to a number: for those who sell it.

        The first use, packages, charges of calls and taxes on them are reckoned with; what time
        takes, and what applies to other calls only, is told in sentences.

        Args:
            to: A number of the destination, as dialled.
            plan: The plan's name, for a card of any batch; or give a batch.
            batch: The batch's name: its taxes are reckoned with.
            face_value: What the card is sold as; default: as the batch says.
            calls_of: Lengths of calls in minutes, each 1 to 44,640.
            access: The access number that is called; default: none is told.
            at: The instant; default: now.

        Raises:
            InvalidNumber: `to` is none.
            InvalidInput: An argument cannot be used; not exactly one of plan and batch is given;
                or the plan's cards cannot call `to`.
            MissingFields: A plan is given without a face value.
            UnknownName: There is no such plan or batch.
        """
        from cardbill.posters import disclosed
        from cardbill.quoting import any_batch

        now = self._now(at)
        if (plan is None) == (batch is None):
            raise InvalidInput("plan", plan, "give one of plan and batch")
        if batch is None and face_value is None:
            raise MissingFields("disclosure for a plan", ["face_value"])
        told = self._access(access)
        number = self._plan(told).called(to)
        request = evolve(self._request("", to, told, None, (), {}), number=number)

        def tell(shelf: Snapshot) -> Disclosure:
            terms = shelf.batch(batch) if batch else any_batch(plan or "", shelf)
            units = terms.face_units
            if face_value is not None:
                units = money.units("face_value", face_value, terms.currency)
                check_count("face_value", units, 0, money.MAX_UNITS)
            return disclosed(terms, units, request, calls_of, shelf, now)

        return self._shelf.get(tell)

    def entries(self, card_id: str) -> Iterator[Entry]:
        """Yield a card's ledger, oldest first.

        Raises:
            UnknownName: There is no such card.
        """
        card = card_from_row(self.storage.view(card_id).card, self._keyring.seals)
        for row in entry_rows(self.storage, card_id):
            yield entry_from_row(row, card.currency)

    def statement(
        self,
        card_id: str,
        since: datetime | None = None,
        until: datetime | None = None,
        language: str | None = None,
        *,
        at: datetime | None = None,
    ) -> Statement:
        """Return what happened to a card's money, as time has left it; changes nothing.

        Args:
            card_id: ``batch/serial``.
            since: Only what was posted at this instant or later; default: all.
            until: Only what was posted before it; default: all.
            language: A language tag such as ``es-419``; default: that of the card's plan, or
                English. Its words are those of English, Spanish, French, German or
                Portuguese, and English for all others; dates and amounts are its own.
            at: The instant up to which time is replayed; default: now.

        Raises:
            UnknownName: There is no such card.
            InvalidInput: An instant has no time zone, the period ends before it begins, or
                the language is unknown.
        """
        from cardbill.stating import state, written_for

        begin = None if since is None else aware("since", since)
        end = None if until is None else aware("until", until)
        if begin is not None and end is not None and end <= begin:
            raise InvalidInput("until", until, "is not after since")
        if language is not None:
            locale_of("language", check_language("language", language))
        now = self._now(at)
        self._shelf.refresh()
        account = account_at(self.storage, self._shelf, card_id, now, self._keyring.seals)
        zone, own = self._shelf.peek(lambda shelf: written_for(account.card, shelf))
        return state(account, zone, language or own, begin, end, now)

    def records(
        self, *, card_id: str | None = None, batch: str | None = None
    ) -> Iterator[CallRecord]:
        """Yield call records: of a card, of a batch or all, ordered by card and call.

        Calls that nobody reported are in it once a sweep, or a step on their card, has ended
        them. Of a card or a batch that there is not, there are none.
        """
        for row in call_rows(self.storage, card=card_id, batch=batch):
            yield record_from_row(row, self._keyring.seals)

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
        from cardbill.audit import audit

        return audit(self.storage, self._keyring, head=head, keep=keep, sealed_copies=sealed_copies)


def _calls_expired(card: Card, _record: object, _shelf: object) -> int:
    return sum(record.outcome is Outcome.EXPIRED for record in card.records)
