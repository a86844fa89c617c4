"""Random histories of cards taxed from outside: the laws of money, whatever the engine says.

The engine is wilful but not forgetful: what it answers follows from the question. It takes more
than the built-in rules, or less, or names its taxes as they do; it errs, it fails, it does not
answer. The same history then has the same books on every store, whenever anybody swept, and
however often anybody asked.
"""

import random
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from cardbill import TaxAnswer, TaxFallback, TaxLevel, TaxLine, TaxRequest
from cardbill.taxengines import NOT_TAXED
from tests.building import Shop
from tests.sale.histories import OF_MONEY, Plainly, Played, history, play
from tests.sale.laws import EVERY_CARD
from tests.sale.ways import WAYS, difference

HISTORIES = 90
SAYS = ("more", "less", "nothing", "inside", "own name", "errs", "fails")


class Wilful:
    """Answers by a random number that the question alone makes."""

    def __init__(self, seed: int, seen: Counter[str]) -> None:
        self.seed, self.seen = seed, seen

    def tax(self, request: TaxRequest, deadline: datetime) -> TaxAnswer:
        rng = random.Random(f"{self.seed} {request}")
        what = rng.choice(SAYS)
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


def taxed_outside(
    seed: int,
    kind: str,
    folder: Path,
    way: Plainly,
    laws: frozenset[str] = frozenset(),
    *,
    seen: Counter[str] | None = None,
    look: Callable[[Shop], None] = lambda _shop: None,
) -> Played:
    wilful = Wilful(seed, Counter() if seen is None else seen)
    engine = {"tax_engine": wilful, "tax_fallback": list(TaxFallback)[seed % 3]}
    return play(history(seed), kind, folder, way, laws, engine=engine, look=look)


def one_history(folder: Path, seed: int) -> Counter[str]:
    seen: Counter[str] = Counter()

    def look(shop: Shop) -> None:
        for card in EVERY_CARD:
            entries, records = shop.bill.entries(card), list(shop.bill.records(card_id=card))
            seen[NOT_TAXED] += sum(entry.name == NOT_TAXED for entry in entries)
            decisions = [record.tax_decision for record in records if record.tax_decision]
            seen.update(f"decided: {decision.fallback}" for decision in decisions)
            seen["short of tax"] += sum(bool(r.short) for r in records if r.tax_decision)

    own, other = ("memory", "sqlite") if seed % 2 else ("sqlite", "memory")
    first = taxed_outside(seed, own, folder / own, Plainly(), OF_MONEY, seen=seen, look=look)
    for name in ("sweeping now and then", "asking again"):
        again = taxed_outside(seed, other, folder / name, WAYS[name](seed))
        assert not (found := difference(first, again)), f"seed {seed}: {name} on {other}: {found}"
    seen.update(
        f"{told.move.what} error {answer[1]}"
        for told, answer in zip(history(seed).told, first.answers, strict=True)
        if answer[0] == "error"
    )
    return seen


@pytest.mark.parametrize("seed", range(9))
def test_the_laws_of_money_hold_whatever_the_engine_says(seed: int, tmp_path: Path):
    one_history(tmp_path, seed)


@pytest.mark.soak
def test_they_hold_in_many_histories_and_all_of_it_happens(tmp_path: Path):
    seen: Counter[str] = Counter()
    for seed in range(100, 100 + HISTORIES):
        seen += one_history(tmp_path / str(seed), seed)
    common = [
        *(f"engine: {what}" for what in SAYS),
        *(f"decided: {fallback}" for fallback in (None, *list(TaxFallback)[:2])),
        *(NOT_TAXED, "short of tax", "charge error TaxUnavailable"),
    ]
    rare = {what: seen[what] for what in common if seen[what] < 3}
    assert not rare, seen
