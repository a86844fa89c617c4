"""Random histories of cards taxed from outside: the laws of money, whatever the engine says.

The engine is wilful but not forgetful: what it answers follows from the question. It takes more
than the built-in rules, or less, or names its taxes as they do; it errs, it fails, it does not
answer. The same history then has the same books on every store, whenever anybody swept.
"""

import random
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from cardbill import TaxAnswer, TaxFallback, TaxLevel, TaxLine, TaxRequest
from cardbill.taxengines import NOT_TAXED
from tests import test_sale_machine as machine

HISTORIES = 90
WAYS = ("more", "less", "nothing", "inside", "own name", "errs", "fails")


class Wilful:
    """Answers by a random number that the question alone makes."""

    def __init__(self, seed: int, seen: Counter[str]) -> None:
        self.seed, self.seen = seed, seen

    def tax(self, request: TaxRequest, deadline: datetime) -> TaxAnswer:
        rng = random.Random(f"{self.seed} {request}")
        what = rng.choice(WAYS)
        self.seen[f"engine: {what}"] += 1
        base = sum(line.amount for line in request.lines if line.taxable)
        nets = [line.amount for line in request.lines]
        if what == "fails":
            raise OSError
        if what == "errs":
            return TaxAnswer(request.currency, [net + 1 for net in nets], [])
        if what == "nothing":
            return TaxAnswer(request.currency, nets, [])
        name = "sales tax" if what == "own name" else f"tax {rng.randrange(3)}"
        percent = rng.randrange(30, 300) if what == "more" else rng.randrange(5)
        amount = base * percent // 100
        if what == "inside":
            amount = min(amount, nets[0] if request.lines[0].taxable else 0)
            nets[0] -= amount
        tax = TaxLine(name, TaxLevel.STATE, amount, base, inclusive=what == "inside")
        return TaxAnswer(request.currency, nets, [tax])


def play(
    kind: str, folder: Path, seed: int, sweeps: random.Random | None, seen: Counter[str]
) -> tuple[Any, Counter[str]]:
    fallback = list(TaxFallback)[seed % 3]
    engine = {"tax_engine": Wilful(seed, seen), "tax_fallback": fallback}
    return machine.play(kind, folder, seed, sweeps, checked=sweeps is not None, engine=engine)


def one_history(folder: Path, seed: int) -> Counter[str]:
    folder.mkdir(exist_ok=True)
    said: Counter[str] = Counter()
    kinds = ["memory", "sqlite"] if seed % 2 else ["sqlite", "memory"]
    books, seen = play(kinds[0], folder / "a", seed, random.Random(seed), said)
    for name, kind, sweeps in (
        ("b", kinds[1], None),
        ("c", "memory", random.Random(-1 - seed)),
    ):
        assert play(kind, folder / name, seed, sweeps, Counter())[0] == books, f"seed {seed}"
    for _, entries, records, _ in books:
        said[NOT_TAXED] += sum(entry.name == NOT_TAXED for entry in entries)
        said.update(
            f"decided: {record.tax_decision.fallback}" for record in records if record.tax_decision
        )
        said["short of tax"] += sum(bool(r.short) for r in records if r.tax_decision)
    return seen + said


@pytest.mark.parametrize("seed", range(9))
def test_the_laws_of_money_hold_whatever_the_engine_says(seed: int, tmp_path: Path):
    one_history(tmp_path, seed)


@pytest.mark.soak
def test_they_hold_in_many_histories_and_all_of_it_happens(tmp_path: Path):
    seen: Counter[str] = Counter()
    for seed in range(100, 100 + HISTORIES):
        seen += one_history(tmp_path / str(seed), seed)
    common = [
        *(f"engine: {what}" for what in WAYS),
        *(f"decided: {fallback}" for fallback in (None, *list(TaxFallback)[:2])),
        *(NOT_TAXED, "short of tax", "charge error TaxUnavailable"),
    ]
    rare = {what: seen[what] for what in common if seen[what] < 3}
    assert not rare, seen
