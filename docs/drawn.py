"""The parts of the documentation that are drawn from the code: `python docs/drawn.py`."""

from pathlib import Path

from cardbill import Denial, Status
from cardbill.status import TRANSITIONS

HERE = Path(__file__).parent
NOTE = "<!-- drawn by docs/drawn.py: change the code, then run it again -->"


def denials() -> str:
    """The page of denial codes."""
    lines = [
        "# Denials",
        "",
        NOTE,
        "",
        "Why a caller or a call is refused: `Denied.reason` is one of these, and carries what",
        "each network is told. Unknown, locked and blocked PINs sound alike to the caller; the",
        "reason is for the host's log. RADIUS codes are values of `h323-return-code`.",
        "",
        "| code | the caller hears | SIP | Q.850 | RADIUS | HTTP |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| `{denial.value}` | {denial.prompt} | {denial.sip} | {denial.q850} "
        f"| {denial.radius} | {denial.http} |"
        for denial in Denial
    ]
    return "\n".join([*lines, ""])


def lifecycle() -> str:
    """The page of the lifecycle, its table drawn from TRANSITIONS."""
    lines = [
        "# The life of a PIN",
        "",
        NOTE,
        "",
        "A card stores few facts: sold, first used, blocked, voided, what is left, when it",
        "expires. Its status is derived from them and the clock whenever somebody asks, so a",
        "card expires without any job having to run.",
        "",
        "| status | meaning |",
        "|---|---|",
    ]
    lines += [f"| {status.value} | {_doc(status)} |" for status in Status]
    lines += ["", "| from | by | to |", "|---|---|---|"]
    for status, ways in TRANSITIONS.items():
        for event, ends in ways.items():
            to = ", ".join(end.value for end in Status if end in ends)
            lines.append(f"| {status.value} | {event.value} | {to} |")
    lines += [
        "",
        "Where several would fit, the first of void, blocked, expired, exhausted or active, sold,",
        "generated is the status.",
    ]
    return "\n".join([*lines, ""])


def _doc(status: Status) -> str:
    return MEANINGS[status]


MEANINGS = {
    Status.GENERATED: "made, never used; usable at once unless its batch is sold first",
    Status.SOLD: "sold, not used yet, where the batch's cards are dead until sold",
    Status.ACTIVE: "in use: the account is open and holds money",
    Status.EXHAUSTED: "nothing left to spend; a recharge revives it",
    Status.EXPIRED: "past its validity, by the clock alone",
    Status.BLOCKED: "stopped by an operator until unblocked",
    Status.VOID: "withdrawn before any use, for good",
}

PAGES = {"reference/denials.md": denials, "explanation/lifecycle.md": lifecycle}


if __name__ == "__main__":
    for name, draw in PAGES.items():
        (HERE / name).write_text(draw(), encoding="utf-8")
        print(name)
