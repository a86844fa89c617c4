"""Statements: a card's ledger as its holder may see it, as typed lines, as text and as CSV."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from attrs import frozen

from cardbill import money
from cardbill.buckets import PackageAmount
from cardbill.csvfiles import csv_line
from cardbill.instants import zone
from cardbill.ledger import EntryKind
from cardbill.locales import locale_of, write_instant, write_minutes
from cardbill.packages import Unit
from cardbill.statementwords import FALLBACK, WORDS

if TYPE_CHECKING:
    from moneyed import Money


@frozen(kw_only=True)
class StatementLine:
    """One line of a statement. Amounts in ledger units end in ``_units``.

    Attributes:
        at: The date of the ledger entry, in the zone of the card's batch.
        kind: What for.
        name: The call's destination; the charge's, the tax's or the package's name.
        call_id: Of which call it is; empty: of none. The lines of a call stand together, and
            the first is of kind ``CALL``.
        number: The called number in E.164 digits, on the first line of a call, as long as it
            is kept.
        seconds: Charged talk time, likewise; ``None``: it is no call.
        packages: What was given or lost of a package, or what a call used; of a tax on the
            sale, which the customer paid beside: its name and what it comes to.
        amount_units: What was added; negative: taken.
        balance_units: The balance afterwards.
        currency: The card's ISO 4217 code.
    """

    at: datetime
    kind: EntryKind
    name: str = ""
    call_id: str = ""
    number: str = ""
    seconds: int | None = None
    packages: tuple[PackageAmount, ...] = ()
    amount_units: int
    balance_units: int
    currency: str

    @property
    def amount(self) -> Money:
        """What was added; negative: taken."""
        return money.money(self.amount_units, self.currency)

    @property
    def balance(self) -> Money:
        """The balance afterwards."""
        return money.money(self.balance_units, self.currency)


@frozen(kw_only=True)
class Statement:
    """What happened to a card's money. Amounts in ledger units end in ``_units``.

    The opening balance and the amounts of all lines make the closing balance, exactly. A
    card whose account was never opened has no lines: it holds its face value.

    Attributes:
        card_id: ``batch/serial``.
        currency: ISO 4217 code.
        time_zone: The IANA zone of its dates.
        language: In which it is written.
        since, until: The period; ``None``: from the beginning, to the end.
        made_at: When it was made: what is left and what is owed is as of then.
        opening_units, closing_units: The balances before and after.
        lines: In the ledger's order.
        left: What is left of packages, what calls hold of it included.
        owed_units: What is owed of charges, by their names.
    """

    card_id: str
    currency: str
    time_zone: str
    language: str
    since: datetime | None
    until: datetime | None
    made_at: datetime
    opening_units: int
    closing_units: int
    lines: tuple[StatementLine, ...]
    left: tuple[PackageAmount, ...]
    owed_units: dict[str, int]

    @property
    def opening(self) -> Money:
        """The balance before."""
        return money.money(self.opening_units, self.currency)

    @property
    def closing(self) -> Money:
        """The balance after."""
        return money.money(self.closing_units, self.currency)

    @property
    def owed(self) -> Money:
        """What is owed of charges, in all."""
        return money.money(sum(self.owed_units.values()), self.currency)

    def text(self) -> str:
        """Return it as text for people: in its language, amounts with all their digits."""
        return "\n".join(_Writer(self).text()) + "\n"

    def csv(self) -> str:
        """Return it as CSV in its language; no cell is taken for a formula.

        What was taken and what was added stand in columns of their own, without a sign.
        """
        return "".join(map(csv_line, _Writer(self).cells()))


class _Writer:
    """Writes a statement for people of its language."""

    def __init__(self, statement: Statement) -> None:
        self._made = statement
        self._locale = locale_of("language", statement.language)
        self._words = WORDS.get(self._locale.language, WORDS[FALLBACK])
        self._zone = zone("time_zone", statement.time_zone)

    def text(self) -> Iterator[str]:
        made, words = self._made, self._words
        yield f"{words['statement']}  {words['card']} {made.card_id}"
        for name, instant in (("from", made.since), ("until", made.until)):
            if instant is not None:
                yield f"{words[name]} {self._date(instant)}"
        yield ""
        yield from _columns(list(self._rows()))
        if made.left:
            yield f"\n{words['packages']}"
            yield from (f"  {self._package(each)}" for each in made.left)
        if made.owed_units:
            yield f"\n{words['owed']}"
            for name, units in made.owed_units.items():
                yield f"  {name}: {self._money(units)}"

    def cells(self) -> Iterator[tuple[str, ...]]:
        made, words = self._made, self._words
        names = ("date", "entry", "number", "duration", "taken", "added", "balance")
        yield tuple(words[name] for name in names)
        yield "", words["opening"], "", "", "", "", self._money(made.opening_units)
        for line in made.lines:
            amount = self._money(abs(line.amount_units))
            yield (
                self._date(line.at),
                self._entry(line),
                line.number,
                _duration(line.seconds),
                amount if line.amount_units < 0 else "",
                amount if line.amount_units > 0 else "",
                self._money(line.balance_units),
            )
        yield "", words["closing"], "", "", "", "", self._money(made.closing_units)

    def _rows(self) -> Iterator[tuple[str, ...]]:
        made, words = self._made, self._words
        yield "", words["opening"], "", "", "", self._money(made.opening_units)
        for line in made.lines:
            of_call = line.call_id and line.kind is not EntryKind.CALL
            yield (
                self._date(line.at),
                f"  {self._entry(line)}" if of_call else self._entry(line),
                f"+{line.number}" if line.number else "",
                _duration(line.seconds),
                self._money(line.amount_units) if line.amount_units else "",
                self._money(line.balance_units),
            )
        yield "", words["closing"], "", "", "", self._money(made.closing_units)

    def _entry(self, line: StatementLine) -> str:
        returned = line.kind is EntryKind.TRANSFER_OUT and line.amount_units > 0
        word = self._words["returned" if returned else line.kind.value]
        if line.kind in (EntryKind.GIVEN, EntryKind.LOST, EntryKind.SALE_TAX):
            return f"{word}: {', '.join(map(self._package, line.packages))}"
        used = "".join(f" ({self._package(each)})" for each in line.packages)
        return f"{word}: {line.name}{used}" if line.name else f"{word}{used}"

    def _package(self, each: PackageAmount) -> str:
        text = f"{each.package} {self._quantity(each)}"
        if each.expires_at is not None:
            text += f", {self._words['valid_until']} {self._date(each.expires_at)}"
        return text

    def _quantity(self, each: PackageAmount) -> str:
        if each.unit is Unit.SECONDS:
            return write_minutes(each.quantity, self._locale)
        if each.unit is Unit.MONEY:
            return self._money(each.quantity)
        return f"{each.quantity} {self._words['one_call' if each.quantity == 1 else 'calls']}"

    def _date(self, instant: datetime) -> str:
        return write_instant(instant, self._zone, self._locale)

    def _money(self, units: int) -> str:
        return money.text(units, self._made.currency, locale=str(self._locale))


def _duration(seconds: int | None) -> str:
    """Return hours, minutes and seconds, alike in every language."""
    if seconds is None:
        return ""
    minutes, seconds = divmod(seconds, 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"


def _columns(rows: list[tuple[str, ...]]) -> Iterator[str]:
    """Yield rows in columns, the last two to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        left = [f"{cell:<{width}}" for cell, width in zip(row[:-2], widths, strict=False)]
        right = [f"{cell:>{width}}" for cell, width in zip(row[-2:], widths[-2:], strict=True)]
        yield "  ".join([*left, *right]).rstrip()
