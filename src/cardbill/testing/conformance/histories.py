"""Whole histories: of rows, held to a model; of a business, held to the memory store."""

from __future__ import annotations

import random

from cardbill.storage.contract import Storage


class Histories:
    """What holds whatever happens in which order."""

    rounds: int

    def test_any_history_answers_like_the_model(self, store: Storage, other: Storage) -> None:
        """Whatever is written and read, in any order, through two handles: what the model says."""
        from hypothesis import settings

        from cardbill.testing.conformance.machine import play

        play(store, other, histories=max(10, settings().max_examples // 4) * self.rounds)

    def test_the_golden_history_comes_out(self, store: Storage) -> None:
        """A business played by seed 1 answers, and ends, as it did when it was kept."""
        from cardbill.testing.golden import golden, play

        found, wanted = play(store), golden()
        assert found["answers"] == wanted["answers"]
        assert found["cards"] == wanted["cards"]

    def test_a_business_goes_as_in_memory(self, store: Storage) -> None:
        """A business played by another seed each time answers, and ends, as over memory."""
        from cardbill.storage.memory import MemoryStorage
        from cardbill.testing.golden import play

        seed = random.SystemRandom().randrange(1_000_000)
        found = play(store, seed, events=100 * self.rounds)
        wanted = play(MemoryStorage(), seed, events=100 * self.rounds)
        assert found["answers"] == wanted["answers"], f"seed {seed}"
        assert found["cards"] == wanted["cards"], f"seed {seed}"
