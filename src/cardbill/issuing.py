"""Issuing cards: batches made, PINs generated, viewed and exported, plans assigned."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from datetime import datetime
from fractions import Fraction
from typing import TYPE_CHECKING, TextIO

from attrs import evolve

from cardbill.batches import Batch
from cardbill.catalogueitems import BATCH
from cardbill.csvfiles import csv_line
from cardbill.errors import (
    DuplicateName,
    InvalidInput,
    KeyMissing,
    TermsLocked,
    VersionConflict,
)
from cardbill.exporting import (
    IssuedPin,
    destination,
    export_columns,
    export_line,
    issued_pin,
)
from cardbill.instants import aware
from cardbill.intake import Generated, Intake, Progress, add_once, target, upload
from cardbill.journal import DROP, MAKE, REKEY, Journal
from cardbill.keymarks import check_newest
from cardbill.names import check_choice, check_count, check_kind, check_reason, check_text
from cardbill.numbering import claim
from cardbill.paging import card_pages, card_rows, job_rows
from cardbill.pins import GUESS_LIMIT, MASK, check_probability, guess_probability
from cardbill.plans import check_assignable
from cardbill.rekeying import Mover, Rekeyed
from cardbill.shelf import Collection, Jurisdictions
from cardbill.status import Status
from cardbill.storage.contract import NewCard

if TYPE_CHECKING:
    from cardbill.keyring import Keyring
    from cardbill.shelf import Shelf
    from cardbill.storage.contract import Storage


class Batches(Collection[Batch]):
    """Batches and their PINs."""

    _kind = BATCH

    def __init__(
        self,
        storage: Storage,
        shelf: Shelf,
        keyring: Keyring,
        journal: Journal,
        mover: Mover,
        now: Callable[[], datetime],
        below: Callable[[int], int],
    ) -> None:
        super().__init__(shelf)
        self._storage = storage
        self._keyring = keyring
        self._journal = journal
        self._mover = mover
        self._now = now
        self._below = below

    def create(self, batch: Batch) -> None:
        """Create a batch; its PINs come next.

        Raises:
            DuplicateName: There is a batch of that name.
            UnknownName: There is no plan or jurisdiction of a name it gives.
            PlanRefused: That plan cannot be given to it.
            InvalidInput: Another batch has some of its card numbers; its cards would be taxed
                on their sale and on their use; or it says whose taxes and is not taxable.
            WrongCurrency: A flat tax is in another currency.
        """
        check_kind("batch", batch, Batch)
        if batch.plan is not None:
            self._check_plan(batch, batch.plan)
        if not batch.taxable and (batch.tax_jurisdiction or batch.tax_regions):
            raise InvalidInput("taxable", False, "must be True: the batch says whose taxes")
        Jurisdictions(self._shelf).check(batch)
        claim(self._storage, self._journal, batch)
        try:
            self._shelf.publish(batch, expected=0)
        except VersionConflict as error:
            raise DuplicateName("batch", batch.name) from error

    def get(self, name: str) -> Batch:
        """Return a batch as it stands now.

        Raises:
            UnknownName: There is none.
        """
        return self._shelf.get(lambda snapshot: snapshot.batch(name))

    def assign(self, name: str, *, plan: str) -> None:
        """Give a batch its plan, before or after its PINs are made.

        Raises:
            UnknownName: There is no such batch or plan.
            PlanRefused: The plan is billed on demand, or is in another currency.
            TermsLocked: The batch has another plan already and cards in use.
            VersionConflict: Somebody else changed the batch meanwhile; nothing is changed.
        """
        # What is published must follow the very version it was made from.
        batch, version = self._shelf.get(
            lambda snapshot: (snapshot.batch(name), snapshot.version(BATCH, name))
        )
        self._check_plan(batch, plan)
        if batch.plan == plan:
            return
        in_use = (row.first_used_at is not None for row in card_rows(self._storage, name))
        if batch.plan is not None and any(in_use):
            raise TermsLocked(
                f"batch {name!r} has cards in use with plan {batch.plan!r}: "
                "to move them too, use control.move_batch()"
            )
        self._shelf.publish(evolve(batch, plan=plan), expected=version)

    def guess_probability(self, name: str) -> Fraction:
        """Return how likely one guess hits a live PIN once this batch has its PINs.

        Where cards have numbers, it is a guess at the PIN of one card number.

        Raises:
            UnknownName: There is no such batch.
        """
        batch = self.get(name)
        return guess_probability(self._live(batch), batch.pin_length)

    def generate_pins(
        self,
        name: str,
        *,
        job: str | None = None,
        progress: Progress | None = None,
        max_guess_probability: object = GUESS_LIMIT,
    ) -> Generated:
        """Generate all PINs of a batch: all or none, and once however often it is asked.

        PINs are drawn at random, unique over all batches; one that is taken is drawn
        again. Each is stored as a look-up token and a sealed copy only.

        Args:
            name: The batch.
            job: The key of the job; the same key again answers what it did the first
                time. Default: one key per batch.
            progress: Called with (done, total) now and then, and at the end.
            max_guess_probability: The highest allowed chance that one guess hits a live
                PIN: ``Fraction``, ``Decimal`` or text; default 1 in 100,000.

        Raises:
            UnknownName: There is no such batch.
            GuessTooLikely: There would be too many PINs for their length; nothing is made.
            TermsLocked: Another job has made the batch's PINs.
            IdempotencyMismatch: This job made the PINs of another batch.
            KeyMissing: The keyring has no sealing key.
        """
        batch = self.get(name)
        self._check_sealing()
        check_probability(Fraction(0), max_guess_probability)  # a limit at all?
        probability = guess_probability(self._live(batch), batch.pin_length)
        intake = Intake(self._storage, self._keyring, batch, progress)

        def drawn() -> Iterator[NewCard]:  # not begun where the job was done before
            check_probability(probability, max_guess_probability, target=target(batch))
            yield from intake.generated(self._below)

        def redraw(taken: NewCard) -> NewCard:
            return intake.draw(taken.card.serial, self._below)

        with self._noted(name, _job(job, name), batch.quantity):
            count = add_once(self._storage, batch, _job(job, name), drawn(), redraw=redraw)
        return Generated(batch=name, count=count, guess_probability=probability)

    def upload_pins(
        self,
        name: str,
        source: str | os.PathLike[str] | TextIO,
        *,
        columns: Mapping[str, str] | None = None,
        dialled: bool = False,
        dry_run: bool = False,
        job: str | None = None,
        progress: Progress | None = None,
        max_guess_probability: object = GUESS_LIMIT,
    ) -> Generated:
        """Take a batch's PINs from a CSV file: all or none, and once however often it is asked.

        A PIN is 4 to 32 visible ASCII characters and is kept exactly as written; rows that
        cannot be PINs refuse the file. Serials follow the order of the rows. Further
        columns take over live cards of another system: ``balance`` (what is left on the
        card, in the batch's currency), ``first_used`` and ``expires`` (ISO 8601; without a
        zone, in the batch's). The file is streamed, never held whole.

        Args:
            name: The batch.
            source: A path, or an open text file: UTF-8; comma, semicolon or tab.
            columns: Field to header, for headers that are not recognised.
            dialled: Callers will send these PINs in dialled strings, so that they must
                not hold ``*`` or ``#``.
            dry_run: Check everything and store nothing.
            job: The key of the job; default: one key per batch.
            progress: Called with (done, total) now and then, and at the end.
            max_guess_probability: As for :meth:`generate_pins`.

        Raises:
            UnknownName: There is no such batch.
            UploadRefused: Rows that cannot be used, each by line, column and code;
                nothing is stored.
            InvalidInput: The file as a whole: header, encoding, or another number of PINs
                than the batch has.
            GuessTooLikely: There would be too many PINs for their length.
            TermsLocked: Another job has made the batch's PINs.
            IdempotencyMismatch: This job made the PINs of another batch.
            KeyMissing: The keyring has no sealing key.
        """
        batch = self.get(name)
        self._check_sealing()
        others: Counter[int] = Counter()
        for other in map(self.get, self.names()):
            if other.name != name and other.numbering is None:
                weight = 10 if other.pin_luhn else 1
                others[other.pin_length] += weight * self._storage.count_cards(batch=other.name)
        with nullcontext() if dry_run else self._noted(name, _job(job, name), batch.quantity):
            return upload(
                self._storage,
                Intake(self._storage, self._keyring, batch, progress),
                batch,
                source,
                job=_job(job, name),
                columns=columns or {},
                dialled=dialled,
                others=others,
                limit=max_guess_probability,
                dry_run=dry_run,
            )

    def pins(
        self,
        name: str,
        *,
        status: Status | str | None = None,
        after: int = 0,
        limit: int = 100,
        at: datetime | None = None,
    ) -> list[IssuedPin]:
        """Return a page of a batch's PINs by rising serial, their numbers masked.

        Args:
            name: The batch.
            status: Only PINs of this status now.
            after: The last serial of the page before.
            limit: The most to return, 1 to 10,000.
            at: The instant that statuses are for; default: now.

        Raises:
            UnknownName: There is no such batch.
            InvalidInput: There is no such status; the limit is out of range.
        """
        batch = self.get(name)
        wanted = None if status is None else check_choice("status", status, Status)
        check_count("limit", limit, 1, 10_000)
        now = self._now() if at is None else aware("at", at)
        page: list[IssuedPin] = []
        for row in card_rows(self._storage, name, after=check_count("after", after, 0, 2**62)):
            issued = issued_pin(batch, self._shelf, row, now, self._keyring.seals)
            if wanted is None or issued.status is wanted:
                page.append(issued)
                if len(page) == limit:
                    break
        return page

    def reveal(self, card_id: str, *, actor: str, reason: str) -> str:
        """Return the PIN of one card; who asked and why is kept in the audit log.

        Raises:
            UnknownName: There is no such card.
            MissingFields: No actor or reason is given.
            KeyMissing: The keyring cannot unseal it, or it is no longer kept.
        """
        check_reason("showing PINs", actor, reason)
        batch = self.get(self._storage.view(card_id).card.batch)
        self._journal.append("reveal-pin", card_id, actor, reason=reason)
        return self._unsealed([card_id], batch)[card_id]

    def export(
        self,
        name: str,
        to: str | os.PathLike[str] | TextIO,
        *,
        with_pins: bool = False,
        actor: str = "",
        reason: str = "",
        at: datetime | None = None,
    ) -> int:
        """Write a batch's PINs as CSV; numbers are stars unless `with_pins`.

        A file appears whole or not at all, readable by its owner only. Text that a
        spreadsheet would take for a formula gets an apostrophe in front.

        Args:
            name: The batch.
            to: A path (replaced if it exists), or an open text file.
            with_pins: Show the PINs; leaves an audit entry before and after.
            actor: Who exports PINs; needed with `with_pins`.
            reason: Why; needed with `with_pins`.
            at: The instant that statuses are for; default: now.

        Returns:
            How many PINs were written.

        Raises:
            UnknownName: There is no such batch.
            MissingFields: PINs are asked for without actor or reason.
            KeyMissing: The keyring cannot unseal them.
        """
        batch = self.get(name)
        if with_pins:
            check_reason("showing PINs", actor, reason)
            if not self._keyring.sealing:
                raise KeyMissing("this keyring has no sealing key: it cannot show PINs")
            self._journal.append("export-pins-begun", name, actor, reason=reason)
        now = self._now() if at is None else aware("at", at)
        with destination(to) as file:
            digest = hashlib.sha256()
            count = 0
            for line in self._lines(batch, now, with_pins=with_pins):
                file.write(line)
                digest.update(line.encode())
                count += 1
        count -= 1  # the header
        if with_pins:
            sha256 = digest.hexdigest()
            self._journal.append(
                "export-pins", name, actor, reason=reason, count=count, sha256=sha256
            )
        return count

    def drop_sealed(self, name: str, *, actor: str, reason: str) -> int:
        """Forget the readable copies of a batch's PINs, once they are printed; for good.

        Afterwards nobody can show or export them; calls work as before. It leaves an audit
        entry before and after; one that was interrupted is completed by doing it again.

        Returns:
            Of how many cards there was a copy.

        Raises:
            UnknownName: There is no such batch.
            MissingFields: No actor or reason is given.
        """
        self.get(name)
        check_reason("dropping sealed copies", actor, reason)
        with self._journal.noted(DROP, name, actor, reason=reason) as noted:
            noted["count"] = count = self._mover.drop_sealed(name)
        return count

    def rekey(self, name: str | None = None, *, actor: str, reason: str) -> Rekeyed:
        """Move cards to the keyring's newest look-up and sealing key, while calls run.

        Every process must have the new keyring by then. A card whose PIN is no longer kept
        readable moves at its next use. Interrupted at any point, doing it again completes
        it. Once no card needs an older key, a run over all batches retires that key.

        Args:
            name: The batch; default: all of them.
            actor: Who does it.
            reason: Why.

        Raises:
            UnknownName: There is no such batch.
            MissingFields: No actor or reason is given.
            KeyMissing: The keyring has no sealing key, or another process has a newer key.
        """
        batches = [self.get(each) for each in (self.names() if name is None else [name])]
        check_reason("moving cards to a new key", actor, reason)
        self._check_sealing()
        with self._journal.noted(REKEY, name or "*", actor, reason=reason) as noted:
            done = self._mover.rekey(batches, self._now(), everything=name is None)
            noted.update(moved=done.moved, remaining=done.remaining, failed=len(done.failures))
        return done

    # -- inside ---------------------------------------------------------------------------

    def _check_plan(self, batch: Batch, plan: str) -> None:
        check_assignable(self._shelf.get(lambda snapshot: snapshot.plan(plan)), batch)

    def _live(self, batch: Batch) -> int:
        """Count the PINs of that length that there are, or will be with this batch.

        PINs with a check digit count ten times; those keyed after a card number never do.
        """
        weight = 10 if batch.pin_luhn else 1
        if batch.numbering is not None:
            return weight
        others = [self.get(other) for other in self.names() if other != batch.name]
        return batch.quantity * weight + sum(
            self._storage.count_cards(batch=other.name) * (10 if other.pin_luhn else 1)
            for other in others
            if other.pin_length == batch.pin_length and other.numbering is None
        )

    def _check_sealing(self) -> None:
        if not self._keyring.sealing:
            raise KeyMissing("making PINs needs a sealing key: they could never be printed")
        check_newest(self._storage, self._keyring)

    def _lines(self, batch: Batch, at: datetime, *, with_pins: bool) -> Iterator[str]:
        yield csv_line(export_columns(batch))
        for page in card_pages(self._storage, batch.name):
            shown = self._unsealed([row.id for row in page], batch) if with_pins else {}
            for row in page:
                number = shown.get(row.id, MASK)
                issued = issued_pin(batch, self._shelf, row, at, self._keyring.seals, number=number)
                yield export_line(issued)

    def _unsealed(self, card_ids: Sequence[str], batch: Batch) -> dict[str, str]:
        shown: dict[str, str] = {}
        for credential in self._storage.credentials(card_ids, batch.credential_kind):
            if credential.sealed is not None:
                shown[credential.card] = self._keyring.unseal(credential.sealed, credential.card)
        if missing := [card_id for card_id in card_ids if card_id not in shown]:
            raise KeyMissing(f"card {missing[0]}: its PIN is no longer kept readable")
        return shown

    @contextmanager
    def _noted(self, name: str, job: str, count: int) -> Iterator[None]:
        """Note the making of PINs before and after, unless the job was done before."""
        if any(done == job for done, _ in job_rows(self._storage)):
            yield
            return
        with self._journal.noted(MAKE, name, job=job, count=count):
            yield


def _job(job: str | None, name: str) -> str:
    return f"pins:{name}" if job is None else check_text("job", job)
