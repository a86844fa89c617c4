"""How the demo prints: plain text for a terminal of 80 columns."""

from __future__ import annotations

import io
import sys
from decimal import Decimal
from textwrap import wrap

WIDTH = 79
MARGIN = "   "


def prepare() -> None:
    """Let a destination's accents never stop the demo, whatever the terminal's encoding."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def chapter(title: str, names: str) -> None:
    """Print a heading with the names of the API that the chapter is about."""
    print(f"\n{title} {'-' * (WIDTH - len(title) - len(names) - 2)} {names}\n")


def say(line: str = "") -> None:
    print(fit(MARGIN + line, WIDTH) if line else "")


def say_beside(label: str, text: str) -> None:
    """Print a label and a text beside it, on as many lines as the text needs."""
    lines = wrap(text, WIDTH - len(MARGIN) - len(label)) or [""]
    say(label + lines[0])
    for line in lines[1:]:
        say(" " * len(label) + line)


def fit(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."


def usd(units: int) -> str:
    """Write ledger units (10^-6 dollar) as dollars; 4 decimals, as the decks here round."""
    return f"{'-' if units < 0 else ''}${Decimal(abs(units)).scaleb(-6):,.4f}"


def clock_time(seconds: int) -> str:
    hours, rest = divmod(seconds, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


def progress(done: int, total: int) -> None:
    """Draw a bar on one line of a terminal and wipe it at the end; a log file gets none."""
    if sys.stdout.isatty():
        bar = "#" * (done * 40 // total)
        end = "\r" if done < total else f"\r{'':{WIDTH}}\r"
        print(f"{MARGIN}[{bar:<40}] {done:,} of {total:,}", end=end, flush=True)
