"""Slips in what is kept of a row's columns, and in what comes back of them."""

from typing import Any

from tests.faults.sound import TakenApart
from tests.faults.table import caught_by


@caught_by("test_the_widest_integers_come_back")
class CountsInstantsInFloats(TakenApart):
    """As a store of documents does, whose numbers are those of JavaScript."""

    def append_audit(self, row, *, after):
        return super().append_audit(row._replace(at=int(float(row.at))), after=after)


@caught_by("test_the_widest_integers_come_back")
class HasTooNarrowAColumn(TakenApart):
    def suspend(self, event):
        return super().suspend(event._replace(at=(event.at + 2**31) % 2**32 - 2**31))


@caught_by("test_the_widest_integers_come_back")
class TakesZeroForNone(TakenApart):
    def write(self, step):
        free = [record._replace(cost=record.cost or None) for record in step.records]
        super().write(step._replace(records=free))


@caught_by("test_long_texts_and_details_come_back")
class CutsLongTexts(TakenApart):
    def write_entries(self, step):
        cut = [entry._replace(reference=entry.reference[:255]) for entry in step.entries]
        super().write_entries(step._replace(entries=cut))


@caught_by("test_long_texts_and_details_come_back")
class CutsLongKeys(TakenApart):
    def suspend(self, event):
        return super().suspend(event._replace(key=event.key[:255]))


@caught_by("test_long_texts_and_details_come_back")
class CountsBytesForCharacters(TakenApart):
    def publish(self, kind, name, content, *, expected):
        cut = name.encode()[:64].decode(errors="ignore")
        return super().publish(kind, cut, content, expected=expected)


@caught_by("test_long_texts_and_details_come_back")
class CutsDetails(TakenApart):
    """A column that takes 65,535 bytes, and says nothing of the last."""

    def write(self, step):
        cut = [record._replace(detail=record.detail[:65_535]) for record in step.records]
        super().write(step._replace(records=cut))


@caught_by("test_what_comes_back_is_plain")
class HandsOutBuffers(TakenApart):
    def credentials(self, cards, kind=None):
        rows: list[Any] = super().credentials(cards, kind)
        return [row._replace(token=bytearray(row.token)) for row in rows]


@caught_by("test_what_comes_back_is_plain")
class HandsOutBooleans(TakenApart):
    def find_cards(self, batch, *, after=0, limit=500):
        rows = super().find_cards(batch, after=after, limit=limit)
        return [row._replace(blocked=bool(row.blocked)) for row in rows]


@caught_by("test_what_comes_back_is_plain")
class HandsOutItsOwnList(TakenApart):
    def entries(self, card, *, after=0, limit=500):
        rows = super().entries(card, after=after, limit=limit)
        return rows if after else self._entries.get(card, rows)


@caught_by("test_the_widest_integers_come_back")
class TakesZeroForNever(TakenApart):
    def write(self, step):
        expires = step.card.expires_at or None
        super().write(step._replace(card=step.card._replace(expires_at=expires)))


@caught_by("test_a_step_writes_card_entries_and_records")
class KeepsWhatBecomesNone(TakenApart):
    """As `COALESCE(new, old)` does."""

    def write(self, step):
        card, old = step.card, self._cards[step.card.id]
        expires = old.expires_at if card.expires_at is None else card.expires_at
        super().write(step._replace(card=card._replace(expires_at=expires)))


@caught_by("test_a_step_writes_card_entries_and_records")
class ReplacesSomeColumns(TakenApart):
    """An upsert that leaves a column out of what it updates."""

    def write(self, step):
        kept = [
            record._replace(tax=self._records.get(record[:2], record).tax)
            for record in step.records
        ]
        super().write(step._replace(records=kept))
