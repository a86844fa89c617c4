"""The ``cardbill`` command: keys and audits."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from cardbill import money
from cardbill.audit import AuditReport, audit
from cardbill.errors import CardbillError, KeyMissing
from cardbill.evidence import AuditHead
from cardbill.exporting import destination
from cardbill.keyring import ENVIRONMENT, Keyring
from cardbill.ledger import PUT_ON, EntryKind
from cardbill.opening import open_storage


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0 well, 1 problems found, 2 not done."""
    parser = argparse.ArgumentParser(
        prog="cardbill", description="Keys and audits of a prepaid calling-card store."
    )
    parser.add_argument("--version", action="version", version=f"cardbill {version('cardbill')}")
    commands = parser.add_subparsers(dest="command", required=True)
    checking = commands.add_parser("audit", help="recompute every account from its ledger")
    checking.add_argument("url", help="the store, like sqlite:///cards.db")
    checking.add_argument(
        "--keys",
        metavar="FILE",
        help=f"the key file, to find forgery too; default: what {ENVIRONMENT} holds, if it is set",
    )
    checking.add_argument(
        "--head",
        metavar="FILE",
        help="how far the last audit came, kept apart from the store: compared, then renewed",
    )
    checking.add_argument(
        "--no-sealed-copies", action="store_true", help="do not open the sealed copies of PINs"
    )
    keys = commands.add_parser("new-keys", help="write fresh keys to a new file of mode 0600")
    keys.add_argument("path", help="the file; must not exist")
    given = parser.parse_args(arguments)
    try:
        if given.command == "new-keys":
            Keyring.create(given.path)
            print(f"keys written to {given.path}: keep a copy apart from the database")
            return 0
        return _audit(given)
    except (CardbillError, OSError) as error:
        print(f"cardbill: {error}", file=sys.stderr)
        return 2


def _audit(given: argparse.Namespace) -> int:
    keyring = None
    if given.keys is not None:
        keyring = Keyring.load(given.keys)
    elif os.environ.get(ENVIRONMENT):
        keyring = Keyring.from_env()
    if given.head is not None and keyring is None:
        raise KeyMissing("--head needs the keys")
    head = None
    if keyring is not None and given.head is not None and Path(given.head).exists():
        head = AuditHead.loads(Path(given.head).read_text(encoding="ascii"), keyring)
    storage = open_storage(given.url, create=False)
    try:
        report = audit(
            storage,
            keyring,
            head=head,
            keep=given.head is not None,
            sealed_copies=not given.no_sealed_copies,
        )
    finally:
        storage.close()
    print(render(report))
    if report.clean and keyring is not None and report.head is not None:
        with destination(given.head) as file:  # a head is never moved on over a problem
            file.write(report.head.dumps(keyring))
    return 0 if report.clean else 1


def render(report: AuditReport) -> str:
    """Return an audit report as text for a terminal."""
    lines = [f"{report.cards:,} cards, {report.entries:,} ledger entries, {report.records:,} calls"]
    for currency in sorted(report.face_units):
        lines.append(_books(report, currency))
        if transit := report.in_transit_units[currency]:
            lines.append(f"{currency}: {money.text(transit, currency)} under way between cards")
    lines.extend(f"PROBLEM {problem}" for problem in report.problems[:50])
    if len(report.problems) > 50:
        lines.append(f"... and {len(report.problems) - 50:,} more")
    lines.extend(f"not checked: {what}" for what in report.unchecked)
    verdict = f"{len(report.problems):,} problems" if report.problems else "the books balance"
    return "\n".join([*lines, f"verdict: {verdict}"])


_WORDS = {
    EntryKind.RECHARGE: "recharges",
    EntryKind.CREDIT: "credits",
    EntryKind.TRANSFER_IN: "transfers in",
    EntryKind.CALL: "calls",
    EntryKind.CHARGE: "charges",
    EntryKind.TAX: "taxes",
    EntryKind.TRANSFER_OUT: "transfers out",
    EntryKind.REFUND: "refunds",
    EntryKind.WRITE_OFF: "write-offs",
    EntryKind.BREAKAGE: "breakage",
    EntryKind.VOID: "voided",
}
_ALWAYS = {
    EntryKind.CALL,
    EntryKind.CHARGE,
    EntryKind.TAX,
    EntryKind.BREAKAGE,
    EntryKind.VOID,
}


def _books(report: AuditReport, currency: str) -> str:
    """Return the law of the ledger with its figures; kinds that are rare only where there are."""
    put_on: list[str] = []
    taken: list[str] = []
    for kind, word in _WORDS.items():
        units = report.posted_units[kind][currency]
        if units or kind in _ALWAYS:
            side, amount = (put_on, units) if kind in PUT_ON else (taken, -units)
            side.append(f"{word} {money.text(amount, currency)}")
    face = f"face {money.text(report.face_units[currency], currency)}"
    balances = f"balances {money.text(report.balance_units[currency], currency)}"
    return f"{currency}: {' + '.join([face, *put_on])} = {' + '.join([balances, *taken])}"
