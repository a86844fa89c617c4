"""Sound stores, in pieces that a fault can replace one of."""

from contextlib import AbstractContextManager

from cardbill.storage.checks import check_step
from cardbill.storage.contract import View
from cardbill.storage.memory import MemoryStorage


class TakenApart(MemoryStorage):
    """The memory store, with its step in pieces."""

    def guard(self) -> AbstractContextManager[None]:
        return self._open()

    def transact(self, card, decide, *, key=None, seen=None):
        with self.guard():
            view = self._view(card, key)
            step = decide(view)
            if step.card is not None:
                self.check(view.card, step)
                self.write(step)
            return step.outcome

    def check(self, seen, step):
        check_step(seen, step)
        if step.entries and step.entries[0].seq != len(self._entries.get(seen.id, [])) + 1:
            check_step(seen, step._replace(entries=[*step.entries, step.entries[0]]))  # refuses

    def write(self, step):
        self._cards[step.card.id] = step.card
        self.write_entries(step)
        for record in step.records:
            self._records[record.card, record.key] = record

    def write_entries(self, step):
        for entry in step.entries:
            self._entries[entry.card] = [*self._entries.get(entry.card, []), entry]


class Remembers(TakenApart):
    """It decides on what was seen, if all of it still holds at the commit."""

    def transact(self, card, decide, *, key=None, seen=None):
        if seen is not None and self.fits(seen, card):
            seen = self.shown(seen)
            step = self.decided(decide, seen)
            with self.guard():
                if step is not None and self.stands(seen, self._view(seen.card.id, key)):
                    self.check(seen.card, step)
                    self.write(step)
                    return step.outcome
        return super().transact(card, decide, key=key)

    def fits(self, seen, card):
        return seen.card.id == card

    def shown(self, seen):
        return View(seen.card, None, seen.revision)

    def decided(self, decide, seen):
        try:
            step = decide(seen)
            check_step(seen.card, step)
        except Exception:  # noqa: BLE001  # as a store must
            return None
        return step if step.card is not None else None

    def stands(self, seen, now):
        return now == seen

    def write(self, step):
        if step.card is not None:
            super().write(step)
