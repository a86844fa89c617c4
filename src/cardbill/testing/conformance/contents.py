"""What is stored comes back as it was, also after closing."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from cardbill.errors import StorageClosed
from cardbill.storage.contract import AuditRow, Storage, SuspenseRow, Tally
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
)

TEXTS = (
    *("", " ", 'O\'Brien "the" `cat`', "'; DROP TABLE card; --", "' OR '1'='1", "\\' OR 1=1 #"),
    *("%_%", "$1 :id ?1 {0} %s %(id)s", "NULL", "007", "7", "1e3", "tab\tline\r\n", "end ", "end"),
    *("Z\u00fcrich \u96fb\u8a71 \U0001f600", "\u00e9", "e\u0301", "\u202eback", "upper", "UPPER"),
)
"""What must come back as it went in, each apart from all others."""


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
        """Instants and amounts are signed 64-bit integers."""
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
