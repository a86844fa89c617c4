"""Says what finds each planted fault: which law, and which other ways to play a history.

`python -m tests.sale 0 20 [part of a name]`: of these histories, how many each finds it in.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.sale.faults import FAULTS
from tests.sale.histories import EVERY_LAW, Broken, History, Plainly, Played, history, play
from tests.sale.planting import Fault, planted
from tests.sale.ways import WAYS, difference


def found_by(fault: Fault, seeds: range) -> dict[str, list[int]]:
    """Return by which laws, and ways to play, a fault is found in which of these histories."""
    found: dict[str, list[int]] = {}
    for seed in seeds:
        played = history(seed)
        with tempfile.TemporaryDirectory() as folder, planted(fault):
            first = None
            for law in [None, *sorted(EVERY_LAW)]:
                laws = frozenset({law} if law else ())
                try:
                    first = play(played, "memory", Path(folder), Plainly(), laws)
                except Broken as broken:
                    found.setdefault(broken.law, []).append(seed)
            for name, way in WAYS.items():
                kind = "sqlite" if name == "dying" else "memory"
                if first is not None and parts(played, first, kind, Path(folder) / name, way(seed)):
                    found.setdefault(name, []).append(seed)
    return found


def parts(played: History, first: Played, kind: str, folder: Path, way: Plainly) -> bool:
    """Say whether another way to play comes to anything else."""
    try:
        return bool(difference(first, play(played, kind, folder, way)))
    except Broken:
        return True


def main() -> None:
    seeds = range(int(sys.argv[1]), int(sys.argv[2]))
    for fault in FAULTS:
        if len(sys.argv) < 4 or sys.argv[3] in fault.name:
            found = found_by(fault, seeds)
            by = "; ".join(f"{by} {len(found[by])}" for by in sorted(found))
            print(f"{fault.name}: {by}", flush=True)


if __name__ == "__main__":
    main()
