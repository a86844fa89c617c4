"""Any history of rows: Hypothesis plays one on a store and on the model, and compares."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple, cast

from hypothesis import HealthCheck, Phase, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from cardbill.errors import CardbillError, ConstraintViolated, DuplicateCredential
from cardbill.storage.contract import (
    LAST_GROUP,
    AuditRow,
    CredentialRow,
    NewCard,
    Step,
    Storage,
    SuspenseRow,
    Tally,
    View,
)
from cardbill.testing.conformance.model import Model
from cardbill.testing.conformance.rows import card_row, entry_row, record_row

LONGEST = 40
"""The most operations of one history."""

SHORTENING = 20
"""Seconds in which a shorter history that fails is looked for; Hypothesis would take minutes."""

_NAMES = st.sampled_from(["A", "B", "a", "\u00e9", "\uff5a", "\U0001f600"])
_FEW = st.integers(0, 3)
_BYTES = st.binary(max_size=3)
_SIDES = st.booleans()
_PLACES = [("", 1), ("", 2), ("", 3), ("a", 1), ("a", 2)]
_CARDS = st.sampled_from(_PLACES)
_SELDOM = st.sampled_from([False, False, False, True])
_EXPECTED = st.sampled_from([None] * 5 + _PLACES)
_TOKENS = st.integers(1, 4)
_MOSTLY_NEXT = st.sampled_from([0, 0, 0, 0, 1, -1])
_KINDS = st.sampled_from(["pin", "ani"])
_SUBJECTS = st.sampled_from(["A", "a", "\u00e9"])

Place = tuple[str, int]
Answer = tuple[str, object]


class _Drawn(NamedTuple):
    """A step: on which card, with what, and what is wrong with it."""

    place: Place
    key: int
    remembered: bool
    flaw: str
    balance: int
    due: int | None
    state: bytes
    amounts: list[int]
    keys: list[int]


_FLAWS = (
    "unchanged",
    "same version",
    "a version left out",
    "known entry",
    "overheld",
    "below zero",
)
_STEPS = st.builds(
    _Drawn,
    place=_CARDS,
    key=_FEW,
    remembered=st.booleans(),
    flaw=st.sampled_from(["", *_FLAWS, *[""] * 7]),
    balance=_FEW,
    due=st.none() | _FEW,
    state=_BYTES,
    amounts=st.lists(_FEW, max_size=2),
    keys=st.lists(_FEW, max_size=2, unique=True),
)


def play(store: Storage, other: Storage, *, histories: int) -> None:
    """Play that many random histories on a store, each in a space of its own."""
    numbers, trouble = count(), _Trouble()
    try:
        run_state_machine_as_test(
            cast("type[_History]", lambda: _History(store, other, next(numbers), trouble)),
            settings=settings(
                max_examples=histories,
                stateful_step_count=LONGEST,
                phases=(Phase.generate, Phase.shrink),
                database=None,  # a history that another store failed says nothing of this one
                report_multiple_bugs=False,  # one fault shows in many places
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
    except _Enough as enough:
        raise enough.error from None


class _Enough(BaseException):
    """The time is over for finding a shorter history: Hypothesis lets this one pass."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(error)
        self.error = error


class _Trouble:
    """What has failed, and since when."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.since = 0.0

    def hear(self, error: BaseException | None) -> None:
        if error is not None:
            self.since = self.since if self.error else time.monotonic()
            self.error = error

    def check(self) -> None:
        if self.error is not None and time.monotonic() - self.since > SHORTENING:
            raise _Enough(self.error)


class _Side:
    """A handle of the store, or the model, and where this history begins in it."""

    def __init__(self, handle: Any, revision: int = 0, audited: int = 0) -> None:
        self.on = handle
        self.revision = revision
        self.audited = audited

    def answer(self, call: Callable[[_Side], object]) -> Answer:
        """What a call answers, or how it is refused; with a revision counted from the beginning."""
        try:
            found = call(self)
        except (DuplicateCredential, ConstraintViolated):
            return "refused", "constraint"  # of two faults of a job, either may be told
        except CardbillError as error:
            return "refused", type(error).__name__
        if isinstance(found, View):
            found = found._replace(revision=found.revision - self.revision)
        return "answered", found


def _transact(
    card: str, decide: Callable[[View], Step[View]], key: str, seen: View | None, side: _Side
) -> object:
    return side.on.transact(card, decide, key=key, seen=seen)


def _resolve(kind: str, tokens: list[bytes], key: str, side: _Side) -> object:
    return side.on.resolve(kind, tokens, key=key)


class _History(RuleBasedStateMachine):
    """One history; each operation goes to either handle of the store.

    Spaces rise, so that pages that begin at one's own space hold nothing of the former ones.
    """

    def __init__(self, store: Storage, other: Storage, number: int, trouble: _Trouble) -> None:
        super().__init__()
        trouble.check()
        self.trouble = trouble
        newest = store.last_audit()
        begins = (store.catalogue()[0], 0 if newest is None else newest[0])
        self.space = f"h{number:06d}"
        self.at = number * 1_000
        self.counted = store.counts()
        self.model = Model()
        self.seen: dict[str, View] = {}
        self.sound = True
        self.sides = (_Side(store, *begins), _Side(other, *begins))

    def both(self, side: bool, call: Callable[[_Side], object]) -> None:  # noqa: FBT001
        """Do the same on the model and on the store: the same answer, or the same refusal."""
        self.sound = False
        wanted = _Side(self.model).answer(call)
        assert self.sides[side].answer(call) == wanted
        self.sound = True

    def card(self, place: Place) -> str:
        return f"{self.space}{place[0]}/{place[1]}"

    def row(self, kind: str, token: int, card: str) -> CredentialRow:
        return CredentialRow(kind, self.token(token), card, None)

    def token(self, number: int) -> bytes:
        return f"{self.space}{number}".encode()

    def new(self, place: Place, token: int) -> NewCard:
        card = card_row(place[1], f"{self.space}{place[0]}", balance=2)
        return NewCard(card, self.row("pin", token, card.id))

    def vacant(self, place: Place) -> Place:
        """The place, or the next above it where there is no card."""
        batch, serial = place
        while self.card((batch, serial)) in self.model.cards:
            serial += 1
        return batch, serial

    @initialize()
    def begin(self) -> None:
        """Begin with two cards, and with an empty book."""
        cards = [self.new(("", serial), serial) for serial in (1, 2)]
        self.both(False, lambda side: side.on.add_cards(f"{self.space} 0", iter(cards)))
        tally = Tally("", None, 0, b"")
        self.both(
            True,
            lambda side: side.on.take_attempts(LAST_GROUP, self.space, lambda *_: tally),
        )

    @rule(
        side=_SIDES,
        job=_NAMES,
        cards=st.lists(st.tuples(_CARDS, _TOKENS), min_size=1, max_size=3),
        again=st.sampled_from(["refuse", "leave out", "draw"]),
        known=_SELDOM,
    )
    def add_cards(
        self,
        side: bool,  # noqa: FBT001
        job: str,
        cards: list[Any],
        again: str,
        known: bool,  # noqa: FBT001
    ) -> None:
        """Add cards: seldom one that is there, which fails the whole job."""
        new = [self.new(place if known else self.vacant(place), token) for place, token in cards]
        first = 100 + 10 * len(self.model.opens)

        def call(side: _Side) -> object:
            tokens = count(first)

            def draw(old: NewCard) -> NewCard:
                return old._replace(credential=self.row("pin", next(tokens), old.card.id))

            redraw = {"refuse": None, "leave out": lambda _: None, "draw": draw}[again]
            return side.on.add_cards(f"{self.space} {job}", iter(new), redraw=redraw)

        self.both(side, call)

    @rule(side=_SIDES, steps=st.lists(_STEPS, min_size=1, max_size=4))
    def transact(self, side: bool, steps: list[_Drawn]) -> None:  # noqa: FBT001
        """Take steps: most of them sound."""
        for drawn in steps:
            card = self.card(drawn.place)
            decide = partial(self.decide, drawn, len(self.model.of_card(card)))
            seen = self.seen.get(card) if drawn.remembered else None
            self.both(side, partial(_transact, card, decide, f"k{drawn.key}", seen))

    @rule(side=_SIDES, place=_CARDS, key=_FEW)
    def remember(self, side: bool, place: Place, key: int) -> None:  # noqa: FBT001
        """Keep what is seen of a card, for a later step."""
        card = self.card(place)
        if card in self.model.cards:
            self.seen[card] = self.sides[side].on.view(card, f"k{key}")

    def decide(self, drawn: _Drawn, last: int, view: View) -> Step[View]:
        """Make a step of what was drawn; it answers with the view it was given."""
        ahead = {"same version": 0, "a version left out": 2}.get(drawn.flaw, 1)
        held = {"overheld": drawn.balance + 1, "below zero": -1}.get(drawn.flaw, drawn.balance // 2)
        after = view.card._replace(
            version=view.card.version + ahead,
            balance=drawn.balance,
            held=held,
            due_at=None if drawn.due is None else self.at + drawn.due,
            state=drawn.state,
        )
        seq = max(1, last + (drawn.flaw != "known entry"))
        entries = [
            entry_row(after.id, seq + n, amount=amount) for n, amount in enumerate(drawn.amounts)
        ]
        records = [
            record_row(after.id, f"k{n}", batch=after.batch, call=f"{self.space}{n % 2}", price=n)
            for n in drawn.keys
        ]
        return Step(view, None if drawn.flaw == "unchanged" else after, entries, records)

    @rule(side=_SIDES, kind=_KINDS, token=_TOKENS, place=_CARDS, expected=_EXPECTED)
    def bind(
        self,
        side: bool,  # noqa: FBT001
        kind: str,
        token: int,
        place: Place,
        expected: Place | None,
    ) -> None:
        row = self.row(kind, token, self.card(place))
        whose = self.owner(kind, token, expected)
        self.both(side, lambda side: side.on.bind(row, expected=whose))

    @rule(side=_SIDES, kind=_KINDS, token=_TOKENS, expected=_EXPECTED, then=st.none() | _CARDS)
    def unbind(
        self,
        side: bool,  # noqa: FBT001
        kind: str,
        token: int,
        expected: Place | None,
        then: Place | None,
    ) -> None:
        """Let a token go, and perhaps add a card that it opens."""
        whose = self.owner(kind, token, expected) or ""
        self.both(side, lambda side: side.on.unbind(kind, self.token(token), expected=whose))
        if then is not None:
            job, new = f"{self.space} {len(self.model.jobs)}", self.new(self.vacant(then), token)
            self.both(side, lambda side: side.on.add_cards(job, iter([new])))

    def owner(self, kind: str, token: int, expected: Place | None) -> str | None:
        """Whose a credential is expected to be; without a place: whose it is."""
        if expected is not None:
            return self.card(expected)
        row = self.model.opens.get((kind, self.token(token)))
        return None if row is None else row.card

    @rule(side=_SIDES, name=_NAMES, content=_BYTES, stale=_MOSTLY_NEXT)
    def publish(self, side: bool, name: str, content: bytes, stale: int) -> None:  # noqa: FBT001
        expected = self.model.newest(self.space, name) + stale
        self.both(side, lambda side: side.on.publish(self.space, name, content, expected=expected))

    @rule(side=_SIDES, number=_FEW, stale=_MOSTLY_NEXT)
    def append_audit(self, side: bool, number: int, stale: int) -> None:  # noqa: FBT001
        after = len(self.model.audit) + stale
        row = AuditRow(number, self.space, "", "", b"")
        self.both(side, lambda side: side.on.append_audit(row, after=side.audited + after))

    @rule(side=_SIDES, key=_NAMES, number=_FEW)
    def suspend(self, side: bool, key: str, number: int) -> None:  # noqa: FBT001
        row = SuspenseRow(f"{self.space} {key}", number, "", "", b"")
        self.both(side, lambda side: side.on.suspend(row))

    @rule(
        side=_SIDES,
        subject=_SUBJECTS,
        state=st.none() | _BYTES,
        until=_FEW,
        book=st.none() | _BYTES,
    )
    def take_attempts(
        self,
        side: bool,  # noqa: FBT001
        subject: str,
        state: bytes | None,
        until: int,
        book: bytes | None,
    ) -> None:
        def decide(*seen: bytes | None) -> Tally[object]:
            return Tally(seen, state, self.at + until, book)

        name = f"{self.space} {subject}"
        self.both(side, lambda side: side.on.take_attempts(LAST_GROUP, name, decide))

    @rule(side=_SIDES, limit=st.integers(2, 5), place=_CARDS, until=_FEW)
    def look(self, side: bool, limit: int, place: Place, until: int) -> None:  # noqa: FBT001
        """Read all there is of this history, in pages."""
        model, (handle, revision, audited) = self.model, vars(self.sides[side]).values()
        card, batch = self.card(place), f"{self.space}{place[0]}"
        page = partial(_pages, limit=limit)
        self.both(side, lambda side: side.on.view(card, f"k{until}"))
        self.sound = False
        cards = page(partial(handle.find_cards, batch), attrgetter("serial"), 0)
        assert cards == model.of_batch(batch)
        assert handle.count_cards(batch=batch) == len(cards)
        at = self.at + until
        before = (self.at - 1, "\U0010ffff")
        assert page(partial(handle.due, at), tuple, before) == model.due(at)
        assert page(partial(handle.entries, card), attrgetter("seq"), 0) == model.of_card(card)
        marks = attrgetter("card", "key")
        for columns in ({}, {"card": card}, {"batch": batch}):
            found = page(partial(handle.records, **columns), marks, (self.space, ""))
            assert found == model.filed(**columns)
        call = f"{self.space}{until % 2}"
        assert sorted(handle.calls_by_id(call), key=marks) == model.filed(call=call)
        tokens = [self.token(number) for number in (place[1], until, 1)]
        for kind in ("pin", "ani"):
            answers = [
                each.answer(partial(_resolve, kind, tokens, f"k{until}"))
                for each in (self.sides[side], _Side(model))
            ]
            assert answers[0] == answers[1]
            assert sorted(handle.credentials([card], kind)) == model.credentials([card], kind)
        found, heads = handle.catalogue()
        assert found - revision == len(model.contents)
        assert sorted(head for head in heads if head.kind == self.space) == model.heads()
        for content, kept in model.contents.items():
            assert handle.content(*content) == kept
        assert page(handle.jobs, itemgetter(0), self.space) == sorted(model.jobs.items())
        log = page(handle.audit_log, itemgetter(0), audited)
        assert log == list(enumerate(model.audit, audited + 1))
        assert page(handle.suspended, attrgetter("key"), self.space) == [
            model.suspense[key] for key in sorted(model.suspense)
        ]
        attempts = page(handle.attempts, itemgetter(0, 1), (LAST_GROUP, self.space))
        assert attempts == [model.kept[subject] for subject in sorted(model.kept)]
        over = {place for place, row in model.kept.items() if row.keep_until <= at}
        told = handle.attempts_over(at, limit=1_000)
        assert {place for place in told if place[1].startswith(self.space)} == over
        counted = zip(handle.counts(), self.counted, strict=True)
        assert tuple(now - then for now, then in counted) == model.counts()
        self.sound = True

    def teardown(self) -> None:
        """Look once more at everything; leave no attempts for the histories that follow."""
        try:
            if self.sound:
                self.look(side=True, limit=3, place=("", 1), until=3)
        finally:
            self.trouble.hear(sys.exception())
            for group, subject in self.model.kept:
                self.sides[0].on.take_attempts(group, subject, lambda *_: Tally("", None))


def _pages(
    fetch: Callable[..., Sequence[Any]], mark: Callable[[Any], Any], after: Any, *, limit: int
) -> list[Any]:
    """Return all that comes in pages, beginning above `after`."""
    found: list[Any] = []
    while page := fetch(after=after, limit=limit):
        assert len(page) <= limit
        found += page
        assert len(found) < 1_000, "pages without end"
        after = mark(page[-1])
    return found
