"""Random histories of cards that are sold with charges, packages and taxes: the laws of money.

What a card is sold with is drawn by a seed, and so is all that happens to three cards of it.
After every step the books balance and agree with a second opinion; and whoever sweeps, asks
again, fails or dies meanwhile, the answers and the bytes of the ledger are the same.
"""

from collections import Counter
from pathlib import Path

import pytest

from tests.sale.faults import FAULTS
from tests.sale.histories import EVERY_LAW, STEPS, Broken, History, Plainly, history, play
from tests.sale.planting import Fault, planted
from tests.sale.terms import CALL_TRIGGERS, SHORT, TAXES, TRIGGERS
from tests.sale.ways import WAYS, difference

FIXED = (
    0, 1, 6, 7, 12, 14, 15, 17, 20, 21, 27, 30, 33, 34, 37, 43, 44, 48, 54,
    55, 56, 70, 73, 74, 79, 81, 110, 114, 128, 176, 216, 224, 285, 286, 289, 336,
)  # fmt: skip
"""The histories of every run: those that come to rare places."""
MANY = range(1_000, 2_700)
"""Those of the soak: of 60 steps each, each step held to every law."""
SHARES = 10


def one_history(seed: int, folder: Path) -> None:
    """Play a history under every law, and in some other ways, on memory and SQLite."""
    played = history(seed)
    own, other = ("memory", "sqlite") if seed % 2 else ("sqlite", "memory")
    first = play(played, own, folder / own, Plainly(), EVERY_LAW)
    names = [name for name in WAYS if name != "dying"]
    some = [names[(seed + place) % len(names)] for place in range(3)]
    for name in (*some, *(["dying"] if seed % 4 == 0 else [])):
        kind = "sqlite" if name == "dying" else other
        again = play(played, kind, folder / name, WAYS[name](seed))
        assert not (found := difference(first, again)), f"seed {seed}: {name} on {kind}: {found}"


@pytest.mark.parametrize("seed", FIXED)
def test_the_laws_of_money_hold_after_every_step(seed: int, tmp_path: Path):
    one_history(seed, tmp_path)


@pytest.mark.soak
@pytest.mark.parametrize("share", range(SHARES))
def test_the_laws_of_money_hold_in_many_histories(share: int, tmp_path: Path):
    assert len(MANY) * STEPS >= 100_000
    for seed in MANY[share::SHARES]:
        one_history(seed, tmp_path / str(seed))


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_in_the_library_is_found(fault: Fault, tmp_path: Path):
    """By the histories of every run, which break no law without it."""
    seeds = sorted(FIXED, key=lambda seed: seed != fault.seed)
    with planted(fault):
        assert any(finds(history(seed), fault.way, tmp_path) for seed in seeds)


def finds(played: History, way: str, folder: Path) -> bool:
    """Say whether a history breaks a law; or, played in another way, comes to anything else."""
    try:
        first = play(played, "memory", folder, Plainly(), frozenset() if way else EVERY_LAW)
    except Broken:
        return not way
    try:
        again = way and play(played, "memory", folder, WAYS[way](played.seed))
    except Broken:
        return True
    return bool(again and difference(first, again))


# -- the histories are good -----------------------------------------------------------------------

DENIALS = (
    *("void", "blocked", "not_sold", "not_assigned", "not_yet_effective", "expired", "exhausted"),
    *("invalid_number", "too_many_calls", "limit_reached", "no_rate", "destination_barred"),
    *("below_minimum", "insufficient_balance", "no_route"),
)
UNITS = {"seconds": "seconds", "calls": "calls", "money": "amount"}
GIVEN = ("activation", "cycle", "bought")
HAPPENS = [
    *(f"charge {trigger} {short}" for trigger in TRIGGERS for short in SHORT),
    *(
        f"{trigger} {short} short"
        for trigger in TRIGGERS
        for short in SHORT
        if trigger not in CALL_TRIGGERS  # which are held with the call, and so never are
    ),
    *("charge waits", "short beside a call", "debt paid", "debt paid in part"),
    *(
        f"{what} {given} {u}"
        for what in ("given", "lost")
        for given in GIVEN
        for u in UNITS.values()
    ),
    *(f"{unit} expired while {how}" for unit in UNITS for how in ("free", "held")),
    *(f"drew {unit}" for unit in UNITS),
    *("carried over", "slice renewed"),
    *(
        f"{tax.name} on {'call' if on.value == 'usage' else on.value}"
        for taxes in TAXES.values()
        for tax in taxes
        for on in tax.on
    ),
    *("publish done", "publish error InvalidInput"),
    *("a refusal stands", "refused under its key", "what came back paid a debt"),
    *(f"authorize denied {reason}" for reason in DENIALS),
    *(f"redeem denied {r}" for r in ("unknown_credential", "void", "not_sold", "exhausted")),
    *(f"redeem denied {reason}" for reason in ("blocked", "expired", "not_yet_effective")),
    *(
        f"extend denied {r}"
        for r in ("blocked", "expired", "insufficient_balance", "limit_reached")
    ),
    *(f"{what} denied insufficient_balance" for what in ("buy", "charge", "refund", "transfer")),
    *("recharge denied expired", "recharge denied blocked", "credit denied expired"),
    *(f"limited by {what}" for what in ("expiry", "money", "plan", "slice", "spending", "None")),
    *(f"record {outcome}" for outcome in ("settled", "expired", "cancelled", "unauthorised")),
    *("late", "late, and charged before", "short of its bill", "3 calls at once"),
    *("expired with a call open", "expired after a call that was open", "revived"),
    *(
        "validity extended",
        "voucher came back",
        "transfer came back",
        "control error TransitionRefused",
    ),
    *(f"{what} card" for what in ("block", "unblock", "sell", "void")),
    *("moved later", "moved with a call open", "debt of another plan", "entry plan"),
    *("move_to error InvalidInput", "move_to error TransitionRefused", "moved before its use"),
    *("spent lately", "another package of the name", "overrun", "cost unknown", "access paid"),
    *("freeze flags", "thaw flags", "assign done", "reprice done"),
    *(f"{what} done" for what in ("recharge", "credit", "refund", "write_off", "transfer")),
    *(f"{what} done" for what in ("charge", "buy", "redeem")),
    *(f"{what} done replayed" for what in ("recharge", "refund", "transfer", "charge", "redeem")),
    *(f"{what} granted replayed" for what in ("authorize", "extend")),
    *("authorize error CallEnded", "authorize error IdempotencyMismatch"),
    *("settle record settled replayed", "settle error IdempotencyMismatch"),
    *("cancel record cancelled replayed", "cancel record expired replayed"),
    *("cancel error CallEnded", "extend error CallEnded", "extend error UnknownCall"),
    *("extend error IdempotencyMismatch", "extend error InvalidInput"),
    *("transfer error InvalidInput", "charge error InvalidInput", "buy error InvalidInput"),
    *("entry breakage", "entry void", "entry transfer_in", "cut_short done replayed"),
]


def test_whatever_can_happen_happens_in_every_run():
    seen = sum((history(seed).seen for seed in FIXED), Counter[str]())
    assert [what for what in HAPPENS if not seen[what]] == []


def test_many_histories_have_denials_and_calls_at_the_same_time():
    histories = [history(seed).seen for seed in FIXED]
    denied = sum(any(" denied " in what for what in seen) for seen in histories)
    at_once = sum(seen["3 calls at once"] > 0 for seen in histories)
    assert denied >= len(histories) / 5
    assert at_once >= len(histories) / 100
