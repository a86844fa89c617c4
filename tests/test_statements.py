"""Statements: what a customer reads of a card adds up, in his language and in his time zone."""

import csv
import io
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from babel import Locale
from hypothesis import given, strategies as st
from moneyed import USD, Money

from cardbill import (
    EntryKind,
    Package,
    PackageAmount,
    Statement,
    StatementLine,
    Unit,
)
from cardbill.errors import InvalidInput, UnknownName
from cardbill.statementwords import NAMES, WORDS
from tests.building import START, STORES, UK, UK_E164, US, Shop, open_shop, rows
from tests.test_sold_with import (
    BONUS,
    CENT,
    DAY,
    ON_TOP,
    PLAN,
    WEEKLY,
    call,
    fee,
    history,
    sold,
    taxed,
)


def told(lines: tuple[StatementLine, ...]) -> list[tuple[str, str, int, int]]:
    return [(line.kind.value, line.name, line.amount_units, line.balance_units) for line in lines]


def check(statement: Statement) -> None:
    """The laws of every statement."""
    balance = statement.opening_units
    for line in statement.lines:
        balance += line.amount_units
        assert line.balance_units == balance
    assert statement.closing_units == balance
    calls = [line.call_id for line in statement.lines]
    groups = [key for n, key in enumerate(calls) if key and (not n or calls[n - 1] != key)]
    heads = [line for line in statement.lines if line.kind is EntryKind.CALL]
    assert len(groups) <= len(heads)  # a late report begins a new group, under a head of its own
    for before, line in zip((None, *statement.lines), statement.lines, strict=False):
        if line.call_id and line.kind is not EntryKind.CALL:
            assert before is not None
            assert before.call_id == line.call_id


# -- what stands in it --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", STORES)
def test_a_statement_tells_what_happened_to_a_card(kind: str, tmp_path: Path):
    with taxed(kind, tmp_path, ON_TOP, charges=[fee(), WEEKLY], packages=[BONUS]) as shop:
        call(shop, "c1", 61, to=UK, batch="T")  # by the package
        call(shop, "c2", 60, to=US, batch="T")
        shop.clock.tick(days=8)
        before = rows(shop.bill.storage)
        statement = shop.bill.statement("T/1")
        assert rows(shop.bill.storage) == before
        check(statement)
        assert told(statement.lines) == [
            ("face", "", 500 * CENT, 500 * CENT),
            ("given", "bonus", 0, 500 * CENT),
            ("call", "United Kingdom", 0, 500 * CENT),
            ("charge", "fee", -10 * CENT, 490 * CENT),
            ("tax", "sales tax", -7_500, 4_892_500),
            ("call", "United States", -12_000, 4_880_500),
            ("charge", "fee", -10 * CENT, 4_780_500),
            ("tax", "sales tax", -8_400, 4_772_100),
            ("charge", "weekly fee", -25 * CENT, 4_522_100),
            ("tax", "sales tax", -18_750, 4_503_350),
        ]
        assert (statement.opening, statement.closing) == (
            Money(0, USD),
            shop.bill.card("T/1").balance,
        )
        given, head, charge = statement.lines[1:4]
        assert given.packages == (PackageAmount(package="bonus", unit=Unit.SECONDS, quantity=1800),)
        assert (head.number, head.seconds, head.call_id) == (UK_E164, 61, "c1")
        assert head.packages == (PackageAmount(package="bonus", unit=Unit.SECONDS, quantity=61),)
        assert (charge.call_id, charge.number, charge.seconds) == ("c1", "", None)
        assert [left.quantity for left in statement.left] == [1800 - 61]
        assert statement.owed == Money(0, USD)


def test_a_transfer_that_is_refused_reads_as_one_that_came_back(tmp_path: Path):
    with sold("memory", tmp_path) as shop:
        call(shop, "c1", 60, to=UK)
        shop.bill.accounts.transfer("B/1", Money(3, USD), to="B/2", key="t")  # never used
        statement = shop.bill.statement("B/1")
        check(statement)
        sent, back = statement.text().splitlines()[-3:-1]
        assert "Transfer sent " in sent
        assert "Transfer returned " in back
        assert "Umbuchung zurückerhalten" in shop.bill.statement("B/1", language="de").text()


@pytest.mark.parametrize("kind", STORES)
def test_all_that_is_done_with_money_stands_in_it(kind: str, tmp_path: Path):
    with sold(kind, tmp_path) as shop:
        for serial in (1, 2):
            call(shop, f"c{serial}", 60, to=UK, serial=serial)
        accounts = shop.bill.accounts
        why: dict[str, Any] = {"actor": "ann", "reason": "a test"}
        accounts.recharge("B/1", Money(7, USD), key="a")
        accounts.credit("B/1", Money(1, USD), key="b", **why)
        accounts.transfer("B/1", Money(3, USD), to="B/2", key="c")
        accounts.refund("B/2", Money(2, USD), key="d", **why)
        accounts.write_off("B/2", Money(1, USD), key="e", **why)
        one, two = (shop.bill.statement(f"B/{serial}") for serial in (1, 2))
        assert [line[0] for line in told(one.lines)] == [
            "face",
            "call",
            "recharge",
            "credit",
            "transfer_out",
        ]
        assert [line[0] for line in told(two.lines)] == [
            "face",
            "call",
            "transfer_in",
            "refund",
            "write_off",
        ]
        for statement in (one, two):
            check(statement)
            assert statement.closing_units == shop.bill.card(statement.card_id).balance_units


@pytest.mark.parametrize("kind", STORES)
def test_a_call_that_took_nothing_stands_where_it_was(kind: str, tmp_path: Path):
    with open_shop(kind, tmp_path) as shop:
        call(shop, "paid", 60, to=UK)
        shop.clock.tick(minutes=5)
        call(shop, "free", 60, to="18005550100")
        call(shop, "silent", 0, to=UK)
        shop.clock.tick(minutes=5)
        call(shop, "again", 60, to=UK)
        statement = shop.bill.statement("B/1")
        check(statement)
        assert [line.call_id for line in statement.lines] == ["", "paid", "free", "again"]
        assert [line.amount_units for line in statement.lines[1:]] == [-60_000, 0, -60_000]
        (only,) = shop.bill.statement(
            "B/1", START + timedelta(minutes=5), START + timedelta(minutes=10)
        ).lines
        assert (only.call_id, only.balance_units) == ("free", 4_940_000)


def test_a_late_report_adds_lines_of_its_own(tmp_path: Path):
    with sold("memory", tmp_path, slice_seconds=60, packages=[BONUS]) as shop:
        grant = shop.grant("c", to=US)
        shop.bill.extend(grant.handle, used_seconds=30, number=1)
        hung = shop.grant("d", to=UK, serial=2)
        shop.bill.extend(hung.handle, used_seconds=60, number=1)
        shop.clock.tick(days=1)
        shop.bill.settle(grant.handle, talk_ms=60_000, carrier="acme")
        shop.bill.settle(hung.handle, talk_ms=61_000, carrier="acme")
        first, second = shop.bill.statement("B/1").lines[2:]
        assert (first.amount_units, second.amount_units) == (-6_000, -6_000)
        assert first.at + timedelta(minutes=9) < second.at
        (only,) = shop.bill.statement("B/2").lines[2:]
        assert [used.quantity for used in only.packages] == [61]


def test_what_a_call_used_of_a_package_is_told_once(tmp_path: Path):
    with sold("memory", tmp_path, slice_seconds=90, packages=[evolve(BONUS, minutes=1)]) as shop:
        grant = shop.grant("c", to=UK)
        shop.bill.extend(grant.handle, used_seconds=90, number=1)
        shop.clock.tick(days=1)
        shop.bill.settle(grant.handle, talk_ms=150_000, carrier="acme")
        statement = shop.bill.statement("B/1")
        check(statement)
        first, second = statement.lines[2:]
        assert (first.amount_units, second.amount_units) == (-60_000, -60_000)
        assert [used.quantity for used in first.packages] == [60]
        assert second.packages == ()


@pytest.mark.parametrize("kind", STORES)
def test_what_is_owed_is_told(kind: str, tmp_path: Path):
    dear = evolve(WEEKLY, name="club", amount=Money(8, USD), when_short="owe")
    with sold(kind, tmp_path, charges=[dear]) as shop:
        call(shop, "c", 60, to=UK)
        shop.clock.tick(days=8)
        statement = shop.bill.statement("B/1")
        check(statement)
        assert statement.closing == Money(0, USD)
        assert (statement.owed, statement.owed_units) == (Money("3.06", USD), {"club": 306 * CENT})
        assert "\nOwed\n  club: $3.06\n" in statement.text()


def test_a_card_that_was_never_used_holds_its_face_value(tmp_path: Path):
    with open_shop("memory", tmp_path) as shop:
        statement = shop.bill.statement("B/1")
        assert statement.lines == ()
        assert statement.opening == statement.closing == Money(5, USD)


def test_a_card_of_no_plan_yet_has_a_statement_in_english(tmp_path: Path):
    with open_shop("memory", tmp_path, assign=False) as shop:
        assert shop.bill.statement("B/1").text().startswith("Statement  Card B/1\n")


def test_numbers_stand_in_it_as_long_as_they_are_kept(tmp_path: Path):
    with open_shop("memory", tmp_path) as shop:
        call(shop, "c", 60, to=UK)
        shop.clock.tick(days=90)
        before = shop.bill.statement("B/1")
        assert f"+{UK_E164}" in before.text()
        shop.bill.purge(before=shop.clock.now, actor="ann", reason="retention")
        after = shop.bill.statement("B/1")
        assert UK_E164 not in after.text() + after.csv()
        assert told(after.lines) == told(before.lines)


# -- periods ------------------------------------------------------------------------------------


INSTANTS = st.integers(-1, 260_000).map(lambda number: START + timedelta(minutes=number))


@given(seed=st.integers(0, 10**6), cuts=st.lists(INSTANTS, max_size=4, unique=True).map(sorted))
def test_periods_join_and_add_up_to_the_balance(seed: int, cuts: list[datetime]):
    with taxed("memory", Path(), ON_TOP, **PLAN) as shop:
        history(shop, seed, None)
        whole = shop.bill.statement("T/1")
        check(whole)
        assert whole.closing_units == shop.bill.card("T/1").balance_units
        assert sum(line.amount_units for line in whole.lines) == whole.closing_units
        entries = list(shop.bill.entries("T/1"))
        stated = [line for line in whole.lines if line.kind in {e.kind for e in entries}]
        assert [e.amount_units for e in entries if e.amount_units] == [
            line.amount_units for line in stated if line.amount_units
        ]
        calls = [record for record in shop.bill.records(card_id="T/1") if record.seconds]
        assert {line.call_id for line in whole.lines} - {""} == {each.call_id for each in calls}
        given, used, lost = (sum(_packages(whole, kind)) for kind in ("given", "call", "lost"))
        assert given == used + lost + sum(left.quantity for left in whole.left)
        joined: list[StatementLine] = []
        balance = 0
        for since, until in zip((None, *cuts), (*cuts, None), strict=True):
            part = shop.bill.statement("T/1", since, until)
            check(part)
            assert part.opening_units == balance
            balance = part.closing_units
            joined += part.lines
        assert tuple(joined) == whole.lines


def _packages(statement: Statement, kind: str) -> list[int]:
    return [
        each.quantity
        for line in statement.lines
        if line.kind.value == kind
        for each in line.packages
    ]


def test_what_was_stated_of_a_period_stays_so(tmp_path: Path):
    with sold("memory", tmp_path, charges=[evolve(WEEKLY, amount=Money(1, USD))]) as shop:
        call(shop, "first", 60, to=UK)
        due = datetime(2025, 3, 10, tzinfo=UTC)
        shop.clock.now = due - timedelta(minutes=5)
        long = shop.grant("long", to=UK)  # holds all there is: the fee has to wait
        cut = due + timedelta(minutes=10)
        shop.clock.now = due + timedelta(minutes=30)
        before = shop.bill.statement("B/1", until=cut)
        shop.bill.settle(long.handle, talk_ms=60_000, carrier="acme")
        assert shop.bill.statement("B/1", until=cut).lines == before.lines
        after = shop.bill.statement("B/1", since=cut)
        check(after)
        assert [(line.kind.value, line.at) for line in after.lines] == [
            ("call", shop.clock.now),
            ("charge", due),
        ]


@pytest.mark.parametrize("kind", STORES)
def test_a_statement_is_the_same_swept_or_not(kind: str, tmp_path: Path):
    with taxed(kind, tmp_path, ON_TOP, slice_seconds=60, **_without_limit(PLAN)) as shop:
        grant = shop.grant("hung", to=UK, batch="T")
        shop.bill.extend(grant.handle, used_seconds=40, number=1)
        shop.clock.tick(days=40)
        before = shop.bill.statement("T/1")
        shop.bill.sweep()
        assert shop.bill.statement("T/1") == before
        check(before)


def _without_limit(plan: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in plan.items() if name != "max_call_seconds"}


# -- in a language ------------------------------------------------------------------------------


def test_every_word_is_there_in_every_language():
    assert set(WORDS) == {"en", "es", "fr", "de", "pt"}
    for language, words in WORDS.items():
        assert set(words) == set(NAMES), language
        assert {kind.value for kind in EntryKind} <= set(words), language
        assert all(word and word == word.strip() for word in words.values()), language
        kinds = [words[kind.value] for kind in EntryKind]
        assert len(set(kinds)) == len(kinds), language
        columns = ("date", "entry", "number", "duration", "taken", "added", "balance")
        assert len({words[name] for name in columns}) == len(columns), language


def german(shop: Shop) -> Statement:
    call(shop, "c1", 60, to=UK)
    return shop.bill.statement("B/1", since=START - DAY, language="de")


def test_it_is_written_in_a_language_and_in_the_zone_of_the_batch(tmp_path: Path):
    terms = {"time_zone": "Europe/Berlin"}
    package = Package(name="calls", calls=1, destinations=["1"])
    with sold("memory", tmp_path, batch=terms, packages=[package]) as shop:
        statement = german(shop)
        assert statement.lines[0].at.isoformat() == "2025-03-03T13:00:00+01:00"
        lines = statement.text().splitlines()
        assert lines[:3] == ["Kontoauszug  Karte B/1", "Von 02.03.2025, 13:00:00", ""]
        cells = [re.split(r" {2,}", line.strip()) for line in lines[3:8]]
        date = "03.03.2025, 13:00:00"
        number, amount, balance = f"+{UK_E164}", "-0,06\xa0$", "4,94\xa0$"
        assert cells == [
            ["Anfangssaldo", "0,00\xa0$"],
            [date, "Startguthaben", "5,00\xa0$", "5,00\xa0$"],
            [date, "Paket erhalten: calls 1 Anruf", "5,00\xa0$"],
            [date, "Anruf: United Kingdom", number, "0:01:00", amount, balance],
            ["Endsaldo", balance],
        ]
        assert len({len(line) for line in lines[3:8]}) == 1  # the balances stand to the right
        assert lines[8:] == ["", "Verbleibende Pakete", "  calls 1 Anruf"]


def test_csv_has_what_was_taken_and_added_in_columns_of_their_own(tmp_path: Path):
    with open_shop("memory", tmp_path) as shop:
        table = list(csv.reader(io.StringIO(german(shop).csv(), newline="")))
        assert table == [
            ["Datum", "Vorgang", "Nummer", "Dauer", "Soll", "Haben", "Saldo"],
            ["", "Anfangssaldo", "", "", "", "", "0,00\xa0$"],
            ["03.03.2025, 12:00:00", "Startguthaben", "", "", "", "5,00\xa0$", "5,00\xa0$"],
            [
                *("03.03.2025, 12:00:00", "Anruf: United Kingdom", UK_E164, "0:01:00"),
                *("0,06\xa0$", "", "4,94\xa0$"),
            ],
            ["", "Endsaldo", "", "", "", "", "4,94\xa0$"],
        ]


def test_no_cell_is_taken_for_a_formula_in_any_language(tmp_path: Path):
    with sold("memory", tmp_path, charges=[fee("=1+1")], packages=[BONUS]) as shop:
        call(shop, "c", 60, to=UK)
        for language in ("en", "ar", "fa", "he", "hi", "ja", "pt-BR", "ru", "sw", "zh-Hant"):
            statement = shop.bill.statement("B/1", language=language)
            for row in csv.reader(io.StringIO(statement.csv(), newline="")):
                assert not any(cell.startswith(("=", "+", "-", "@", "\t")) for cell in row)


def test_a_language_without_words_has_its_own_dates_and_english_words(tmp_path: Path):
    with open_shop("memory", tmp_path) as shop:
        call(shop, "c", 60, to=UK)
        text = shop.bill.statement("B/1", language="ja").text()
        assert "2025/03/03 12:00:00  Face value" in text
        assert Locale.parse("ja").language not in WORDS


def test_the_plan_says_the_language_that_is_not_asked_for(tmp_path: Path):
    with sold("memory", tmp_path, language="es-419") as shop:
        call(shop, "c", 60, to=UK)
        statement = shop.bill.statement("B/1")
        assert statement.language == "es-419"
        assert "Llamada: United Kingdom" in statement.text()
        assert shop.bill.statement("B/1", language="fr").text().startswith("Relevé")


def test_a_language_of_a_plan_that_nobody_writes_falls_back_to_english(tmp_path: Path):
    with sold("memory", tmp_path, language="xx") as shop:
        assert shop.bill.statement("B/1").language == "en"


def test_what_cannot_be_stated_is_named(tmp_path: Path):
    with open_shop("memory", tmp_path) as shop:
        with pytest.raises(UnknownName):
            shop.bill.statement("B/99")
        for language in ("xx", "not a tag", ""):
            with pytest.raises(InvalidInput, match="language"):
                shop.bill.statement("B/1", language=language)
        with pytest.raises(InvalidInput, match="until"):
            shop.bill.statement("B/1", START, START)
        with pytest.raises(InvalidInput, match="since"):
            shop.bill.statement("B/1", START.replace(tzinfo=None))
