"""The counts of wrong PINs cannot be altered unnoticed, nor lifted, nor set back."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from cardbill import AccessNumber, Engine
from cardbill.audit import audit
from cardbill.books import GROUPS, group_of
from cardbill.errors import MissingFields, RowAltered, StorageUnavailable
from cardbill.evidence import AuditHead
from cardbill.instants import to_micros
from cardbill.storage.contract import AttemptRow
from cardbill.storage.memory import MemoryStorage
from cardbill.testing.conformance.rows import together
from tests.building import STORES, Shop, open_shop
from tests.guessing import CALLER, OTHER, WRONG, ask
from tests.test_evidence import changes, guess_wrong

BOOK_OF_4 = "SELECT state FROM attempt WHERE grp = 4 AND subject = ''"
WHO = {"actor": "ann", "reason": "somebody was in the database"}


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with open_shop("sqlite", tmp_path) as opened:
        yield opened


@pytest.fixture(params=STORES)
def any_shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    with open_shop(request.param, tmp_path) as opened:
        yield opened


def guess(shop: Shop, times: int, ani: str | None = CALLER) -> None:
    for _ in range(times):
        assert ask(shop, WRONG, ani) != "admitted"


def token(shop: Shop, ani: str = CALLER) -> str:
    return shop.keyring.subject(f"caller|{ani[1:]}")


def numbers_of(shop: Shop, group: int, count: int = 2) -> list[str]:
    """Callers' numbers whose attempts are counted in that group."""
    anis = (f"+1305555{each:04d}" for each in range(2_000, 9_999))
    return [ani for ani in anis if group_of(token(shop, ani)) == group][:count]


def rows(shop: Shop) -> list[AttemptRow]:
    return shop.bill.storage.attempts(limit=100_000)


def sql(shop: Shop, *statements: tuple[str, tuple[Any, ...]] | str) -> None:
    with closing(sqlite3.connect(shop.folder / "cards.db")) as connection, connection:
        for each in statements:
            statement, values = (each, ()) if isinstance(each, str) else each
            assert connection.execute(statement, values).rowcount, statement


def put_back(shop: Shop, earlier: list[AttemptRow], group: int | None = None) -> None:
    """Make the table, or one group of it, what it was."""
    inside = "TRUE" if group is None else f"grp = {group}"
    sql(shop, f"DELETE FROM attempt WHERE {inside}")
    kept = [row for row in earlier if group in (None, row.group)]
    sql(shop, *[("INSERT INTO attempt VALUES (?, ?, ?, ?)", tuple(row)) for row in kept])


def log(shop: Shop, action: str) -> list[Any]:
    return [row for row in shop.log() if row.action == action]


# -- what is seen -------------------------------------------------------------------------


def test_every_change_of_every_row_is_seen_without_a_head_too(shop: Shop):
    guess_wrong(shop)
    shop.check_books()
    before, unseen, tried = rows(shop), [], 0
    with closing(sqlite3.connect(shop.folder / "cards.db", isolation_level=None)) as connection:
        for change in list(changes(connection, "attempt")):
            try:
                connection.execute(change.statement, change.values)
            except sqlite3.IntegrityError:
                continue
            tried += 1
            if shop.bill.audit().clean:
                unseen.append(change.what)
            put_back(shop, before)
    assert unseen == []
    assert tried > 100
    shop.check_books()


def test_rows_and_books_are_good_at_their_own_place_only(shop: Shop):
    """Swapped, copied over another, or copied from another group: all of it is seen."""
    one, two = numbers_of(shop, 3)
    (far,) = numbers_of(shop, 4, 1)
    guess(shop, 5, one)
    guess(shop, 1, two)
    guess(shop, 1, far)
    before = rows(shop)
    stored = {row.subject: row for row in before if row.subject}
    first, second, third = (stored[token(shop, ani)] for ani in (one, two, far))
    swap = "UPDATE attempt SET state = ?, keep_until = ? WHERE grp = ? AND subject = ?"
    for changed in (
        [(swap, (*first[2:], *second[:2])), (swap, (*second[2:], *first[:2]))],
        [(swap, (*second[2:], *first[:2]))],
        [(swap, (*third[2:], *first[:2]))],
        [f"UPDATE attempt SET state = ({BOOK_OF_4}) WHERE grp = 3 AND subject = ''"],
        ["UPDATE attempt SET grp = grp + 16 WHERE grp = 3"],
        ["UPDATE attempt SET grp = grp + 100"],
        [("INSERT INTO attempt VALUES (?, ?, ?, ?)", (4, *first[1:]))],
    ):
        sql(shop, *changed)
        assert not shop.bill.audit().clean
        put_back(shop, before)
        shop.check_books()


def test_a_row_alone_set_back_to_what_it_was_is_seen_ever_after(shop: Shop):
    guess(shop, 4)
    earlier = [row for row in rows(shop) if row.subject == token(shop)]
    guess(shop, 1)
    sql(shop, ("DELETE FROM attempt WHERE subject = ?", (token(shop),)))
    sql(shop, ("INSERT INTO attempt VALUES (?, ?, ?, ?)", tuple(earlier[0])))
    for _ in range(3):
        assert not shop.bill.audit().clean
        assert ask(shop) == "admitted"


def test_a_group_removed_with_its_book_is_seen(shop: Shop):
    guess(shop, 5)
    for removed in (
        f"DELETE FROM attempt WHERE grp = {group_of(token(shop))}",
        "DELETE FROM attempt",
    ):
        sql(shop, removed)
        assert any("all were removed" in each for each in shop.bill.audit().problems)
    with pytest.raises(RowAltered, match="removed"):
        ask(shop)


def test_a_store_made_to_look_new_is_seen(shop: Shop):
    """With the mark of the books removed as well, the next process makes new ones."""
    guess(shop, 5)
    sql(
        shop,
        "DELETE FROM attempt",
        "DELETE FROM catalogue WHERE kind = 'attempts'",
        "UPDATE catalogue_revision SET revision = revision - 1",
    )
    assert any("'books' version 1 was removed" in each for each in shop.bill.audit().problems)
    shop.second().authenticate(pin=shop.pin(), ani=CALLER)
    assert any("removed and published again" in each for each in shop.bill.audit().problems)
    shop.bill.recount_attempts(**WHO)
    shop.check_books()


def test_a_lock_lifted_by_setting_its_group_back_is_seen_ever_after(shop: Shop):
    """The row and its book as they were before the lock: all of it was written by cardbill."""
    group = group_of(token(shop))
    neighbours = numbers_of(shop, group, 3)
    guess(shop, 4)
    earlier = rows(shop)
    guess(shop, 1)
    assert ask(shop) == "locked_out"
    shop.check_books()
    put_back(shop, earlier, group)
    assert ask(shop) == "admitted"
    told = f"attempts of group {group}: were set back to before their lock 1"
    assert told in shop.bill.audit().problems
    for ani in neighbours:
        guess(shop, 5, ani)  # other locks take the number that this one had
        assert any("to before their lock" in each for each in shop.bill.audit().problems)


def test_who_guesses_four_times_and_sets_it_back_again_and_again_is_seen(shop: Shop):
    """No lock ever begins, but the process that counts notices that a book is not the last."""
    earlier = rows(shop)
    other = shop.second()
    for bill in (shop.bill, other):
        bill.authenticate(pin=WRONG, ani=CALLER)
        put_back(shop, earlier)
        assert shop.bill.audit().clean or bill is other
        bill.authenticate(pin=WRONG, ani=CALLER)
        details = [row.detail for row in log(shop, "attempts-set-back")]
        assert any(b'"group": %d' % group_of(token(shop)) in detail for detail in details)
        bill.authenticate(pin=WRONG, ani=CALLER)
        assert len(log(shop, "attempts-set-back")) == len(details)  # once each time
        put_back(shop, earlier)
    shop.clock.tick(days=400)
    assert any(each.endswith("while calls ran") for each in shop.bill.audit().problems)
    guess(shop, 5)
    assert shop.bill.recount_attempts(**WHO) == 0
    for _ in range(2):
        shop.check_books()
        guess(shop, 1, OTHER)
        other.authenticate(pin=WRONG, ani=CALLER)


def test_a_book_alone_set_back_is_seen_ever_after(shop: Shop):
    empty = [row for row in rows(shop) if row.group == group_of(token(shop))]
    guess(shop, 1)
    sql(
        shop,
        (
            "UPDATE attempt SET state = ? WHERE grp = ? AND subject = ''",
            (empty[0].state, empty[0].group),
        ),
    )
    assert not shop.bill.audit().clean
    shop.bill.unlock(CALLER, **WHO)  # one row fewer than none
    assert not shop.bill.audit().clean
    shop.bill.recount_attempts(**WHO)
    shop.check_books()


def test_a_book_set_back_since_the_head_was_kept_is_seen(shop: Shop):
    guess(shop, 2)
    earlier = rows(shop)
    guess(shop, 2)
    head = shop.bill.audit(keep=True).head
    assert head is not None
    assert AuditHead.loads(head.dumps(shop.keyring), shop.keyring) == head
    assert set(head.books) == set(range(GROUPS))
    put_back(shop, earlier)
    assert shop.bill.audit().clean  # all of it was written by cardbill
    group = group_of(token(shop))
    problems = shop.bill.audit(head=head).problems
    assert any(each.startswith(f"attempts of group {group}: were set back") for each in problems)
    guess(shop, 1)  # the same version by another way
    put_back(shop, earlier)
    guess(shop, 1)
    shop.clock.tick(seconds=1)
    guess(shop, 1)
    assert len(rows(shop)) == len(earlier)
    assert not shop.bill.audit(head=head).clean


def test_a_head_shows_that_a_group_is_gone_whatever_else_is(shop: Shop):
    head = shop.bill.audit(keep=True).head
    sql(
        shop,
        "DELETE FROM attempt",
        "DELETE FROM catalogue WHERE kind = 'attempts'",
        "UPDATE catalogue_revision SET revision = revision - 1",
    )
    assert sum("all were removed" in each for each in shop.bill.audit(head=head).problems) == 16


# -- what is refused ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "changed",
    [
        "UPDATE attempt SET state = x'00' WHERE subject = '{0}'",
        "UPDATE attempt SET state = x'' WHERE subject = '{0}'",
        "UPDATE attempt SET state = zeroblob(length(state)) WHERE subject = '{0}'",
        "UPDATE attempt SET state = (SELECT state FROM attempt WHERE subject = '{1}') "  # noqa: ISC004
        "WHERE subject = '{0}'",
        "UPDATE attempt SET state = x'' WHERE subject = '' AND grp = {2}",
        "DELETE FROM attempt WHERE subject = '' AND grp = {2}",
        "DELETE FROM attempt WHERE grp = {2}",
    ],
)
def test_nobody_is_let_through_on_altered_counts(shop: Shop, changed: str):
    guess(shop, 5)
    guess(shop, 1, OTHER)
    subject = token(shop)
    sql(shop, changed.format(subject, token(shop, OTHER), group_of(subject)))
    with pytest.raises(RowAltered, match="attempts of group"):
        ask(shop)
    with pytest.raises(RowAltered):
        shop.bill.authorize(pin=shop.pin(), ani=CALLER, to="011442071234567", call_id="c")
    with pytest.raises(RowAltered):
        shop.bill.unlock(CALLER, **WHO)
    shop.bill.sweep(at=shop.clock.tick(days=400))  # time goes on for all others
    assert not shop.bill.audit().clean
    with pytest.raises(RowAltered):
        ask(shop)


def test_who_removes_a_lock_is_let_through_and_seen_ever_after(shop: Shop):
    guess(shop, 5)
    sql(shop, ("DELETE FROM attempt WHERE subject = ?", (token(shop),)))
    for _ in range(5):
        assert ask(shop) == "admitted"
        assert not shop.bill.audit().clean
    shop.bill.sweep(at=shop.clock.tick(days=400))
    assert not shop.bill.audit().clean


def test_a_deadline_that_was_brought_forward_drops_nothing(shop: Shop):
    guess(shop, 5)
    sql(shop, "UPDATE attempt SET keep_until = 0 WHERE subject <> ''")
    assert not shop.bill.audit().clean
    shop.bill.sweep()
    assert ask(shop) == "locked_out"


def test_an_operator_accepts_altered_counts_and_the_log_says_so(shop: Shop):
    guess(shop, 5)
    guess(shop, 5, OTHER)
    head = shop.bill.audit(keep=True).head
    sql(
        shop,
        ("UPDATE attempt SET state = x'00' WHERE subject = ?", (token(shop),)),
        f"DELETE FROM attempt WHERE grp = {(group_of(token(shop)) + 1) % 16} AND subject = ''",
        "UPDATE attempt SET keep_until = 7 WHERE subject = ''",
        "INSERT INTO attempt VALUES (77, '', x'00', 7)",
        "INSERT INTO attempt VALUES (78, 'x', x'00', 7)",
    )
    for given in ({"actor": "", "reason": "r"}, {"actor": "a", "reason": " "}):
        with pytest.raises(MissingFields):
            shop.bill.recount_attempts(**given)
    assert not shop.bill.audit().clean
    assert shop.bill.recount_attempts(**WHO) == 2
    (row,) = log(shop, "recount-attempts")
    assert row.actor == "ann"
    assert b"somebody was in the database" in row.detail
    shop.check_books()
    assert shop.bill.audit(head=head).clean
    assert ask(shop) == "admitted"
    assert ask(shop, ani=OTHER) == "locked_out"
    guess(shop, 5)
    shop.check_books()
    assert shop.bill.recount_attempts(**WHO) == 0  # of what adds up nothing is touched
    assert ask(shop) == "locked_out"


def test_versions_go_on_above_all_that_were_once_altered_counts_are_accepted(shop: Shop):
    """So that neither a kept head nor another process takes the new book for an old one."""
    other = shop.second()
    for _ in range(40):
        assert ask(shop) == "admitted"
        assert other.authenticate(pin=shop.pin(), ani=CALLER).authenticated
    head = shop.bill.audit(keep=True).head
    for _ in range(2):
        sql(shop, "DELETE FROM attempt WHERE subject = ''")
        shop.bill.recount_attempts(**WHO)
        assert other.authenticate(pin=shop.pin(), ani=CALLER).authenticated
        head = shop.bill.audit(head=head, keep=True).head
        shop.check_books()
        assert shop.bill.audit(head=head).clean
    assert log(shop, "attempts-set-back") == []


def test_an_operator_accepts_what_was_set_back(shop: Shop):
    earlier = rows(shop)
    guess(shop, 5)
    head = shop.bill.audit(keep=True).head
    put_back(shop, earlier)
    assert not shop.bill.audit(head=head).clean
    assert shop.bill.recount_attempts(**WHO) == 0
    assert shop.bill.audit(head=head).clean
    guess(shop, 5)
    assert shop.bill.audit(head=head, keep=True).clean


# -- what is written down -----------------------------------------------------------------


def test_each_lock_of_a_number_is_in_the_log(any_shop: Shop):
    shop = any_shop
    for number in range(3):
        guess(shop, 5)
        (row,) = log(shop, "lock-number")[number:]
        assert (row.subject, row.actor, row.at) == (token(shop), "", to_micros(shop.clock.now))
        assert b'"number": %d' % (number + 1) in row.detail
        shop.clock.tick(days=61)
    guess(shop, 7)
    assert len(log(shop, "lock-number")) == 4  # not again while it is locked
    guess(shop, 5, OTHER)
    assert len(log(shop, "lock-number")) == 5
    shop.bill.unlock(CALLER, **WHO)
    shop.bill.sweep(at=shop.clock.tick(days=400))
    shop.check_books()
    for secret in (CALLER[1:], WRONG, shop.pin()):
        assert secret.encode() not in repr(log(shop, "lock-number")).encode()


def test_calls_and_places_are_locked_without_a_word(any_shop: Shop):
    """Whoever hides his number may make a thousand calls: they would fill the log."""
    shop = any_shop
    shop.bill.access_numbers.publish(AccessNumber(number="18005550100"))
    for pin in ("000000000042", "000000000043", "000000000044", "000000000045"):
        ask(shop, pin, None, call_id="c", access="18005550100", trunk="T")
    assert ask(shop, None, None, call_id="c") == "locked_out"
    assert log(shop, "lock-number") == []
    shop.check_books()


def test_whoever_is_right_at_the_last_moment_leaves_no_lock_in_the_log(any_shop: Shop):
    for _ in range(3):
        guess(any_shop, 4)
        assert ask(any_shop) == "admitted"
        assert log(any_shop, "lock-number") == []
        any_shop.clock.tick(days=40)


class Troubled(MemoryStorage):
    """Fails when told to, and has something done while a PIN is looked up."""

    fails: tuple[str, ...] = ()
    meanwhile: Callable[[], object] | None = None

    def resolve(self, *given: Any, **named: Any) -> Any:
        if (meanwhile := self.meanwhile) is not None:
            self.meanwhile = None
            meanwhile()
        return self._given("resolve", *given, **named)

    def append_audit(self, *given: Any, **named: Any) -> Any:
        return self._given("append_audit", *given, **named)

    def _given(self, name: str, *given: Any, **named: Any) -> Any:
        if name in self.fails:
            raise StorageUnavailable("out of reach")
        return getattr(super(), name)(*given, **named)


@pytest.fixture
def troubled(tmp_path: Path) -> Iterator[tuple[Shop, Troubled]]:
    with open_shop("memory", tmp_path) as opened:
        storage = Troubled()
        vars(storage).update(vars(opened.bill.storage))  # the same cards
        bill = Engine(storage, opened.keyring, clock=opened.clock)
        yield evolve(opened, bill=bill), storage


@pytest.mark.parametrize("fails", [("resolve",), ("append_audit",), ("resolve", "append_audit")])
def test_a_lock_begun_while_the_store_fails_is_no_fault(
    troubled: tuple[Shop, Troubled], fails: tuple[str, ...]
):
    """It stands, whether the log could be told or not."""
    shop, storage = troubled
    guess(shop, 4)
    storage.fails = fails
    with pytest.raises(StorageUnavailable):
        ask(shop, WRONG)
    storage.fails = ()
    assert ask(shop) == "locked_out"
    assert len(log(shop, "lock-number")) == ("append_audit" not in fails)
    shop.check_books()
    guess(shop, 5, OTHER)
    shop.check_books()


def test_a_lock_that_is_lifted_before_it_is_told_is_not_told(troubled: tuple[Shop, Troubled]):
    shop, storage = troubled
    guess(shop, 4)
    storage.meanwhile = lambda: shop.bill.unlock(CALLER, **WHO)
    assert ask(shop, WRONG) == "unknown_credential"
    assert [row.action for row in shop.log() if row.subject == token(shop)] == ["unlock-number"]
    shop.check_books()


def test_a_lock_that_is_lifted_after_it_was_told_is_no_fault(troubled: tuple[Shop, Troubled]):
    """One of five at the same time was right, but the fifth did not know that yet."""
    shop, storage = troubled
    storage.meanwhile = lambda: guess(shop, 4)
    assert ask(shop) == "admitted"
    assert len(log(shop, "lock-number")) == 1
    assert ask(shop) == "admitted"
    shop.check_books()


def test_what_is_granted_is_not_lost_when_counts_are_altered_meanwhile(
    troubled: tuple[Shop, Troubled],
):
    shop, storage = troubled

    def alter() -> None:
        row = storage._attempts[group_of(token(shop)), token(shop)]
        storage._attempts[row[:2]] = row._replace(state=b"x")

    storage.meanwhile = alter
    assert ask(shop) == "admitted"
    with pytest.raises(RowAltered):
        ask(shop)


# -- while calls go on --------------------------------------------------------------------


def test_what_happens_while_it_is_audited_is_no_fault(any_shop: Shop):
    """Wrong and right PINs, locks, unlocks and sweeps from threads, audits all the while."""
    shop, done = any_shop, threading.Event()
    first = shop.bill.audit(keep=True).head
    assert first is not None
    bills = [shop.bill, shop.second()]
    pin, group = shop.pin(), group_of(token(shop))
    anis = [CALLER, OTHER, *numbers_of(shop, group)]

    def call(number: int) -> None:
        bill = bills[number % 2]
        for turn in range(90):
            ani = anis[turn // 9 % len(anis)]
            bill.authenticate(pin=WRONG if turn % 3 else pin, ani=ani, call_id=f"{number}/{turn}")
            if turn % 30 == 29:
                bill.unlock(ani, **WHO)
            if turn % 45 == 44:
                bill.sweep(at=shop.clock.tick(days=61))

    def check() -> int:
        audits, head = 0, first
        while not done.is_set() or audits < 2:
            report = bills[audits % 2].audit(head=head, keep=True, sealed_copies=False)
            assert report.problems == []
            assert report.head is not None
            audits, head = audits + 1, report.head
        return audits

    def work() -> int:
        try:
            together(*[partial(call, number) for number in range(4)])
        finally:
            done.set()
        return 0

    together(work, check, check)
    assert len(log(shop, "lock-number")) > 5
    shop.check_books()


def test_a_group_of_many_is_read_at_one_moment(any_shop: Shop):
    """As many rows as a page holds, and more of them while they are read."""
    shop, done = any_shop, threading.Event()
    calls = (f"c{each}" for each in range(99_999))
    calls_of_one = (c for c in calls if group_of(shop.keyring.subject(f"call|{c}")) == 3)
    for call in islice(calls_of_one, 480):
        shop.bill.authenticate(pin=WRONG, ani=None, call_id=call)

    def go_on() -> None:
        try:
            for call in islice(calls_of_one, 200):
                shop.bill.authenticate(pin=WRONG, ani=None, call_id=call)
        finally:
            done.set()

    def check() -> None:
        while not done.is_set():
            assert audit(shop.bill.storage, shop.keyring).problems == []

    together(go_on, check)
    assert sum(row.group == 3 for row in rows(shop)) > 680
    shop.check_books()


def test_what_is_accepted_while_it_is_audited_is_no_fault(shop: Shop):
    earlier = rows(shop)
    guess(shop, 5)
    put_back(shop, earlier)
    assert not shop.bill.audit().clean
    storage = shop.bill.storage
    found, other = storage.attempts, shop.second()

    def accepted_first(**given: Any) -> list[AttemptRow]:
        del vars(storage)["attempts"]
        other.recount_attempts(**WHO)
        return found(**given)

    vars(storage)["attempts"] = accepted_first
    shop.check_books()


def test_counting_goes_on_while_altered_counts_are_accepted(shop: Shop):
    """Of what others count meanwhile nothing is lost."""
    done, other = threading.Event(), shop.second()
    anis = numbers_of(shop, 3, 60)

    def go_on() -> None:
        try:
            for ani in anis:
                other.authenticate(pin=WRONG, ani=ani)
        finally:
            done.set()

    def accept() -> None:
        while not done.is_set():
            sql(shop, "INSERT OR REPLACE INTO attempt VALUES (3, 'x', x'00', 7)")
            shop.bill.recount_attempts(**WHO)

    together(go_on, accept)
    assert {row.subject for row in rows(shop)} >= {token(shop, ani) for ani in anis}
    assert shop.bill.audit().clean
