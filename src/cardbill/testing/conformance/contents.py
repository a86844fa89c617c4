"""What is stored comes back as it was, also after closing."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cardbill.errors import StorageClosed
from cardbill.storage.contract import (
    LARGEST_STATE,
    LARGEST_TEXT,
    AttemptRow,
    AuditRow,
    Counts,
    Head,
    Step,
    Storage,
    SuspenseRow,
    Tally,
    View,
)
from cardbill.testing.conformance.rows import (
    BATCH,
    CARD,
    HIGHEST,
    LOWEST,
    add,
    card_row,
    change,
    deposit,
    entry_row,
    kept,
    new_card,
    opened,
    record_row,
    together,
)

DETAIL = bytes(range(256)) * (LARGEST_STATE // 256)
_OPENINGS = 5
_SHORT = 1_024
LONGEST = ("\u00fc" * 64, "\u96fb" * 64, "c" * 128)
"""A batch's name, another name, and a call id, as long as they get."""

TEXTS = (
    *("", " ", 'O\'Brien "the" `cat`', "'; DROP TABLE card; --", "' OR '1'='1", "\\' OR 1=1 #"),
    *("%_%", "$1 :id ?1 {0} %s %(id)s", "NULL", "007", "7", "1e3", "tab\tline\r\n", "end ", "end"),
    *("Z\u00fcrich \u96fb\u8a71 \U0001f600", "\u00e9", "e\u0301", "\u202eback", "upper", "UPPER"),
)
"""What must come back as it went in, each apart from all others."""


def shown(value: Any) -> Any:
    """Return rows with a digest in place of each long detail.

    They are alike if the rows are; and pytest, which in CI compares byte by byte whatever
    differs, is done at once.
    """
    if isinstance(value, bytes) and len(value) > _SHORT:
        return len(value), hashlib.sha256(value).hexdigest()
    if isinstance(value, list):
        return [shown(each) for each in value]
    if isinstance(value, tuple):
        return type(value), *map(shown, value)
    return value


class Contents:
    """Every column of every row, every method, before and after closing."""

    durable: bool

    def test_every_method_is_there(self, store: Storage) -> None:
        """Each method of the contract takes its arguments by the same names and defaults."""
        for name, method in inspect.getmembers(Storage, inspect.isfunction):
            if name.startswith("_"):
                continue
            _, *wanted = inspect.signature(method).parameters.values()  # without self
            found = inspect.signature(getattr(store, name)).parameters
            if any(each.kind is each.VAR_KEYWORD for each in found.values()):
                continue  # a wrapper, which hands on what it is given
            for each in wanted:
                assert each.name in found, f"{name}: no argument {each.name}"
                assert found[each.name].kind == each.kind, f"{name}: {each.name}"
                assert found[each.name].default == each.default, f"{name}: {each.name}"

    def test_the_widest_integers_come_back(self, store: Storage, other: Storage) -> None:
        """Instants and amounts are signed 64-bit integers; zero is one of them."""
        new = new_card(first_used_at=LOWEST, expires_at=HIGHEST, due_at=LOWEST)
        add(store, new)
        assert other.view(CARD).card == new.card
        assert other.due(LOWEST) == [(LOWEST, CARD)]
        entries = [
            entry_row(at=LOWEST, amount=LOWEST, balance_after=HIGHEST),
            entry_row(seq=2, at=HIGHEST, amount=HIGHEST, balance_after=0),
        ]
        widest: dict[str, Any] = {
            "recorded_at": LOWEST,
            "ended_at": HIGHEST,
            "price": HIGHEST,
            "tax": LOWEST,
        }
        records = [
            record_row()._replace(**widest, cost=LOWEST),
            record_row(key="none", carrier=None, cost=None),
        ]
        columns: dict[str, Any] = {"balance": HIGHEST, "held": HIGHEST, "due_at": HIGHEST}
        store.transact(CARD, change(*entries, *records, **columns))
        assert kept(other) == (new.card._replace(version=2, **columns), entries, records)
        assert (other.due(HIGHEST), other.due(HIGHEST - 1)) == ([(HIGHEST, CARD)], [])
        for after, at in enumerate((LOWEST, HIGHEST, 0)):
            row = AuditRow(at, "", "", "", b"")
            assert store.append_audit(row, after=after)
            assert other.last_audit() == (after + 1, row)
            store.suspend(event := SuspenseRow(f"{after}", at, "", "", b""))
            assert other.suspended()[-1] == event
        zero = new_card(2, first_used_at=0, expires_at=0, due_at=0)
        add(store, zero)
        assert other.view(zero.card.id).card == zero.card
        assert other.due(0) == [(0, zero.card.id)]
        never: dict[str, Any] = {
            "first_used_at": 0,
            "expires_at": 0,
            "due_at": 0,
            "balance": 0,
            "held": 0,
        }
        store.transact(CARD, change(record_row(cost=0, price=0), **never))
        assert other.view(CARD, "call:1") == View(
            card_row(version=3, **never), record_row(cost=0, price=0), 0
        )

    def test_long_texts_and_details_come_back(self, store: Storage, other: Storage) -> None:
        """Text of 256 characters is kept whole, in keys too; so are 64 KiB of any detail."""
        batch, name, call = LONGEST
        new, twin = new_card(1, batch), new_card(1, batch[:-1] + "u")
        add(store, new, twin)
        key = f"call:{call}"
        entry = entry_row(new.card.id, reference=key.ljust(LARGEST_TEXT, "."), detail=DETAIL)
        record = record_row(new.card.id, key, batch=batch, call=call, detail=DETAIL)
        record = record._replace(destination=name, carrier=name)
        store.transact(new.card.id, change(entry, record))
        card = new.card._replace(version=2)
        assert shown(kept(other, new.card.id)) == shown((card, [entry], [record]))
        assert shown(other.calls_by_id(call)) == shown([record])
        assert shown(other.records(batch=batch)) == shown([record])
        assert other.calls_by_id(call[:-1]) == []
        assert other.count_cards(batch=batch) == 1
        assert other.find_cards(twin.card.batch) == [twin.card]
        for last in ("a", "b"):
            item, key = name[:-1] + last, call.ljust(LARGEST_TEXT - 1, ".") + last
            row = SuspenseRow(key, 1, batch, call, DETAIL)
            assert store.publish("plan", item, DETAIL, expected=0) == Head("plan", item, 1)
            assert shown(other.content("plan", item, 1)) == shown(DETAIL)
            assert store.suspend(row)
            assert shown(other.suspended()[-1]) == shown(row)
        audited = AuditRow(1, name, "action", name * 4, DETAIL)
        assert store.append_audit(audited, after=0)
        assert shown(other.last_audit()) == shown((1, audited))

    def test_what_comes_back_is_plain(self, store: Storage, other: Storage) -> None:
        """Rows of the contract's classes, columns of int, str, bytes or None: the caller's own."""
        new = new_card(due_at=5)
        add(store, new)
        entry, record = entry_row(detail=b"x"), record_row(detail=b"x")
        suspended, audited = SuspenseRow("key", 1, "", "", b"x"), AuditRow(1, "", "", "", b"x")
        store.transact(CARD, change(entry, record, first_used_at=1, expires_at=2))
        store.publish("plan", "basic", b"x", expected=0)
        store.suspend(suspended)
        store.append_audit(audited, after=0)
        store.take_attempts(3, "a", lambda *_: Tally(None, b"x", 5))
        card = new.card._replace(version=2, first_used_at=1, expires_at=2)
        view = View(card, record, 1)
        looks: list[tuple[Callable[[], Any], Any]] = [
            (lambda: other.view(CARD, "call:1"), view),
            (lambda: other.resolve("pin", [b"SUMMER/1"], key="call:1"), view),
            (lambda: other.transact(CARD, Step, key="call:1"), view),
            (lambda: other.find_cards(BATCH), [card]),
            (lambda: other.credentials([CARD]), [new.credential]),
            (lambda: other.entries(CARD), [entry]),
            (other.records, [record]),
            (lambda: other.calls_by_id("1"), [record]),
            (lambda: other.due(5), [(5, CARD)]),
            (other.jobs, [(f"add {CARD}", 1)]),
            (other.counts, Counts(1, 1, 1, 1)),
            (lambda: other.catalogue()[1], [Head("plan", "basic", 1)]),
            (lambda: other.content("plan", "basic", 1), b"x"),
            (other.suspended, [suspended]),
            (other.last_audit, (1, audited)),
            (other.audit_log, [(1, audited)]),
            (other.attempts, [AttemptRow(3, "a", b"x", 5)]),
            (lambda: other.attempts_over(5), [(3, "a")]),
        ]
        for look, wanted in looks:
            found = look()
            assert (found, _kinds(found)) == (wanted, _kinds(wanted))
            if isinstance(found, list):
                found.clear()  # and nothing of the store's with it
            assert look() == wanted
        shown: list[object] = []

        def look_at_it(*seen: bytes | None) -> Tally[None]:
            shown.extend(seen)
            raise LookupError

        with pytest.raises(LookupError):
            other.take_attempts(3, "a", look_at_it)
        assert _kinds(shown) == _kinds([b"x", None])

    def test_any_text_comes_back(self, store: Storage, other: Storage) -> None:
        """No text is taken for SQL, for a number, or for one that looks like it."""
        for text in TEXTS:
            new = new_card(1, text, token=text.encode() or b"none")
            new = new._replace(credential=new.credential._replace(kind=text))
            card, key = new.card.id, f"key {text}"
            assert store.add_cards(f"job {text}", [new]) == 1
            entry = entry_row(card, kind=text, reference=text)
            record = record_row(card, key, batch=text, kind=text, call=text)
            record = record._replace(number=text, destination=text, carrier=text)
            store.transact(card, change(entry, record), key=text)
            store.publish(text, text, text.encode(), expected=0)
            row = AuditRow(1, text, text, text, text.encode())
            assert store.append_audit(row, after=TEXTS.index(text))
            assert store.suspend(SuspenseRow(key, 1, text, text, text.encode()))
            assert kept(other, card) == (new.card._replace(version=2), [entry], [record])
            assert other.view(card, key).record == record
            assert other.find_cards(text) == [other.view(card).card]
            assert opened(other, text, [new.credential.token]) == card
            assert other.credentials([card], text) == [new.credential]
            assert other.records(batch=text) == other.calls_by_id(text) == [record]
            assert other.content(text, text, 1) == text.encode()
        wanted = sorted((text, text, text.encode()) for text in TEXTS)
        suspended = [(row.card, row.call, row.detail) for row in other.suspended()]
        assert sorted(suspended) == wanted
        assert sorted(row[2:] for _, row in other.audit_log()) == wanted
        assert sorted(head.name for head in other.catalogue()[1]) == sorted(TEXTS)

    def test_any_bytes_come_back(self, store: Storage, other: Storage) -> None:
        """Opaque bytes are kept as they are: NULs, all values, none at all; sealed or not."""
        tokens = (b"\0", b"\0\0", bytes(range(256)), b"it's", b"\xff\xfe", b"7", b"07")
        for serial, value in enumerate(tokens, start=1):
            new = new_card(serial, token=value, state=value)
            new = new._replace(credential=new.credential._replace(sealed=value[1:] or None))
            add(store, new)
            assert other.view(new.card.id).card.state == value
            assert opened(other, "pin", [value]) == new.card.id
            assert other.credentials([new.card.id], "pin") == [new.credential]
        for seq, value in enumerate((b"", *tokens), start=1):
            store.publish("deck", "retail", value, expected=seq - 1)
            assert store.append_audit(AuditRow(1, "", "", "", value), after=seq - 1)
            store.suspend(SuspenseRow(f"{seq}", 1, "", "", value))
            rows = entry_row(seq=seq, detail=value), record_row(detail=value)
            store.transact(CARD, change(*rows, state=value))
            card, entries, records = kept(other)
            assert [card.state, entries[-1].detail, records[0].detail] == [value] * 3
            assert other.content("deck", "retail", seq) == value
            assert other.audit_log()[-1][1].detail == other.suspended()[-1].detail == value

    def test_what_was_written_outlives_closing(self, open_store: Callable[[], Storage]) -> None:
        """Everything is there when all was closed and the store is opened again."""
        if not self.durable:
            pytest.skip("this store says that it is not durable")

        def everything(store: Storage) -> list[object]:
            return [
                *kept(store),
                store.credentials([CARD], "pin"),
                store.due(HIGHEST),
                store.catalogue(),
                store.content("plan", "basic", 1),
                store.suspended(),
                store.audit_log(),
                store.jobs(),
                store.add_cards("job", []),
                store.attempts(),
            ]

        store = open_store()
        store.add_cards("job", [new_card(due_at=5)])
        store.transact(CARD, deposit)
        store.publish("plan", "basic", b"content", expected=0)
        store.append_audit(AuditRow(1, "actor", "action", "subject", b"detail"), after=0)
        store.suspend(SuspenseRow("key", 1, "card", "call", b"detail"))
        store.take_attempts(3, "subject", lambda *_: Tally(None, b"state", 5, b"book"))
        before = everything(store)
        assert before[0] == card_row(version=2, balance=1_001, due_at=5)
        store.close()
        store = open_store()
        assert everything(store) == before
        store.close()

    def test_closing_one_leaves_others_open(self, open_store: Callable[[], Storage]) -> None:
        """Who closes a store takes nothing from those who have it open too."""
        if not self.durable:
            pytest.skip("this store says that it is not durable")
        one, two = open_store(), open_store()
        add(one, new_card())
        assert two.transact(CARD, deposit) == 1_001
        one.close()
        assert two.transact(CARD, deposit) == 1_002
        assert two.view(CARD).card.version == 3
        two.close()

    def test_closing_gives_back_everything(self, open_store: Callable[[], Storage]) -> None:
        """No file or connection stays open for each time that the store was opened."""
        if not self.durable:
            pytest.skip("this store says that it is not durable")
        open_files = Path("/dev/fd")
        if not open_files.is_dir():
            pytest.skip("this system does not tell which files are open")
        closed, counts = [], []
        for _ in range(2 * _OPENINGS):
            closed.append(store := open_store())
            assert together(*[store.count_cards] * 4) == [0] * 4
            store.close()
            counts.append(len(list(open_files.iterdir())))
        assert counts[-1] - counts[_OPENINGS] < _OPENINGS - 1, counts

    def test_a_closed_store_says_so(self, store: Storage) -> None:
        """Closing twice is fine; every other call then raises StorageClosed."""
        add(store, new_card())
        store.close()
        store.close()
        calls: tuple[Callable[[], object], ...] = (
            lambda: store.transact(CARD, deposit),
            lambda: store.add_cards("job", [new_card(2)]),
            lambda: store.view(CARD),
            lambda: store.resolve("pin", [b"SUMMER/1"]),
            lambda: store.credentials([CARD], "pin"),
            lambda: store.find_cards(BATCH),
            store.count_cards,
            lambda: store.due(1),
            lambda: store.entries(CARD),
            store.records,
            lambda: store.calls_by_id("1"),
            lambda: store.suspend(SuspenseRow("key", 1, "", "", b"")),
            store.suspended,
            lambda: store.publish("plan", "basic", b"", expected=0),
            store.catalogue,
            lambda: store.content("plan", "basic", 1),
            lambda: store.append_audit(AuditRow(1, "", "", "", b""), after=0),
            store.last_audit,
            store.counts,
            store.jobs,
            lambda: store.bind(new_card().credential, expected=CARD),
            lambda: store.unbind("pin", b"SUMMER/1", expected=CARD),
            store.audit_log,
            lambda: store.take_attempts(3, "subject", lambda *_: Tally(None, None)),
            store.attempts,
            lambda: store.attempts_over(1),
        )
        for call in calls:
            with pytest.raises(StorageClosed):
                call()
        store.close()


def _kinds(value: object) -> object:
    """The class of a value, and of all that is in it."""
    return (type(value), *map(_kinds, value)) if isinstance(value, list | tuple) else type(value)
