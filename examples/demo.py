"""A calling-card business in one process: the tour of cardbill, from rates to audit.

    make demo                          with a sample deck of real prefixes
    make demo DECK=your-rates.csv      with your own rates

It uses public names only: whatever it does, your program can do. Begin at `tour`, the
whole story; the functions above it are its chapters. Beside this file, sample_deck.py
makes the rates, traffic.py the callers and screen.py the layout.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from heapq import heapify, heappop, heappush
from pathlib import Path
from random import Random

from moneyed import USD, Money
from screen import chapter, clock_time, fit, prepare, progress, say, say_beside, usd
from traffic import POPULAR, SEED, Attempt, Clock, Habit, cards_in_use, draw, plan_day

import cardbill
from cardbill import (
    Batch,
    BillingCycle,
    CallRecord,
    Carrier,
    CycleUnit,
    Deck,
    DeckRow,
    Denied,
    Engine,
    EntryKind,
    Grant,
    Keyring,
    LimitedBy,
    Margin,
    Plan,
    Rate,
    Status,
    Step,
)

CARRIERS = ("borealis", "meridian", "zephyr")
BATCH = "SUMMER-5"
FACE_VALUE = Money(5, USD)
LONGEST_CALL = 2 * 3600
STARS = "************"  # a PIN is money: it never reaches a screen or a log


# -- 1. Rates ---------------------------------------------------------------------------------


def read_retail(folder: Path, own: Path | None) -> Deck:
    """Read the rates that callers pay: your own, or a sample made on the spot."""
    if own is None:
        from sample_deck import write_deck  # its data takes a moment to load

        path = folder / "retail.csv"
        write_deck(path)
        deck = cardbill.read_deck(path, currency=USD)
        say(f"{path.name}: {len(deck):,} real prefixes and names, from libphonenumber.")
        say("The prices are ILLUSTRATIVE: made up for this demo, nobody's offer.")
        return deck
    # A price list from outside is seldom perfect. "block" takes every good row and bars the
    # prefixes of the others, so that nobody calls them at the price of a shorter prefix.
    deck = cardbill.read_deck(own, currency=USD, on_problem="block")
    say(f"{own.name}: {len(deck):,} rows; {len(deck.problems):,} unusable, their prefixes barred")
    for problem in deck.problems[:3]:
        say(f"  {problem}")
    if len(deck.problems) > 3:
        say(f"  ... and {len(deck.problems) - 3:,} more")
    return deck


def make_wholesale(retail: Deck, carrier: str) -> Deck:
    """Make up what a carrier charges: 55 to 75 % of retail, and not for everywhere."""
    rows = (
        DeckRow(
            prefix=row.prefix,
            destination=row.destination,
            rate=share_of(row.rate, 55 + draw(f"{carrier}/{row.destination}", 21)),
            effective_from=row.effective_from,
            effective_until=row.effective_until,
        )
        for row in retail.rows()
        if not row.blocked and draw(f"{carrier}/{zone(row.prefix)}", 8)
    )
    return Deck.compile(rows, currency=USD)


def share_of(rate: Rate, percent: int) -> Rate:
    # Amounts inside a rate are whole ledger units, 10^-6 dollar: integers, never floats.
    steps = (
        Step(step.from_second, step.price_per_minute * percent // 100, step.increment)
        for step in rate.steps
    )
    return Rate(steps=tuple(steps))


def zone(prefix: str) -> str:
    """Carriers leave out whole countries, or a few neighbours, rather than single prefixes."""
    return prefix[:1] if prefix[0] in "17" else prefix[:2]


def publish_rates(bill: Engine, retail: Deck) -> None:
    bill.decks.publish("retail", retail)
    for carrier in CARRIERS:
        cost = f"{carrier}-cost"
        bill.decks.publish(cost, make_wholesale(retail, carrier))
        bill.carriers.publish(Carrier(name=carrier, deck=cost))


def show_rates(bill: Engine, at: datetime) -> None:
    """Price three minutes to some popular places, by every deck."""
    decks = [bill.decks.get(name) for name in ("retail", *(f"{name}-cost" for name in CARRIERS))]
    say()
    say(f"{'3 minutes to':<36}{'retail':>10}" + "".join(f"{name:>10}" for name in CARRIERS))
    for number in [code.ljust(11, "5") for code in POPULAR[:5]]:
        matches = [deck.match(number, at) for deck in decks]
        if (sold := matches[0]) is not None and not sold.blocked:
            prices = [usd(cardbill.price(match.rate, 180)) if match else "-" for match in matches]
            say(f"{fit(sold.destination, 35):<36}" + "".join(f"{each:>10}" for each in prices))


# -- 2. Cards ---------------------------------------------------------------------------------


def issue_cards(bill: Engine, quantity: int) -> None:
    bill.batches.create(
        Batch(
            name=BATCH,
            face_value=FACE_VALUE,
            quantity=quantity,
            expires_days_after_first_use=90,
        )
    )
    began = time.monotonic()
    made = bill.batches.generate_pins(BATCH, progress=progress)
    seconds = time.monotonic() - began
    say(f"{made.count:,} PINs of {FACE_VALUE.amount:.2f} USD, made in {seconds:.1f} s")
    say(f"one guess in {made.one_in:,} would hit one")
    # A plan may be given before or after the PINs exist; until then they cannot call.
    bill.plans.publish(
        Plan(
            name="Hello World",
            deck="retail",
            currency=USD,
            billing_cycle=BillingCycle(unit=CycleUnit.NEVER),  # prepaid: no invoice, ever
            max_call_seconds=LONGEST_CALL,
        )
    )
    bill.batches.assign(BATCH, plan="Hello World")
    say("plan 'Hello World': no billing cycle, one call at a time, of up to 2 hours")


def export_cards(bill: Engine, folder: Path) -> list[str]:
    """Write the cards for the printer, and return the PINs as buyers will read them."""
    path = folder / "cards.csv"
    # Showing PINs takes a name and a reason; both stay in the audit log.
    count = bill.batches.export(BATCH, path, with_pins=True, actor="demo", reason="print run 1")
    with path.open(encoding="utf-8", newline="") as file:
        cards = list(csv.DictReader(file))
    say(f"{path.name}: {count:,} cards with their PINs, mode 0600; it begins")
    columns = ("serial", "status", "value", "currency", "expiration_period")
    say(f"  {','.join(('number', *columns))}")
    for card in cards[:2]:
        say(f"  {','.join((STARS, *(card[column] for column in columns)))}")
    return [card["number"] for card in cards]


# -- 3. Calls ---------------------------------------------------------------------------------


@dataclass
class Call:
    """One attempt to call, and what came of it."""

    attempt: Attempt
    greeting: str  # what the PIN was answered with; empty in one stage
    answer: Grant | Denied
    record: CallRecord | None = None

    @property
    def cut_by_money(self) -> bool:
        if self.record is None or not isinstance(self.answer, Grant):
            return False
        at_its_end = self.record.seconds == self.answer.max_seconds
        return at_its_end and self.answer.limited_by is LimitedBy.MONEY


def make_calls(bill: Engine, clock: Clock, attempts: list[Attempt], pins: list[str]) -> list[Call]:
    """Run a day: callers ring and hang up, each in turn.

    In earnest a switch does this, from many threads or processes at once.
    """
    calls: list[Call] = []
    events: list[tuple[datetime, int, Attempt | Call]] = [
        (attempt.at, order, attempt) for order, attempt in enumerate(attempts)
    ]
    heapify(events)
    while events:
        clock.now, order, event = heappop(events)
        if isinstance(event, Call):
            hang_up(bill, event)
            continue
        call = ring(bill, event, pins[event.card])
        calls.append(call)
        if isinstance(call.answer, Grant) and event.habit is not Habit.REPORT_IS_LOST:
            talk = timedelta(milliseconds=talk_ms(event, call.answer))
            heappush(events, (clock.now + event.ringing + talk, order, call))
    return calls


def ring(bill: Engine, attempt: Attempt, pin: str) -> Call:
    """Ask leave for one call, in one stage or two."""
    if attempt.habit is Habit.WRONG_PIN:
        pin = f"{draw(attempt.call_id, 10**12):012d}"
    number, call_id = attempt.dialled, attempt.call_id
    if not attempt.two_stages:  # PIN and number in one go, as an app or a web phone sends them
        answer = bill.authorize(pin=pin, ani=attempt.ani, to=number, call_id=call_id)
        return Call(attempt, "", answer)
    caller = bill.authenticate(pin=pin, ani=attempt.ani)
    # A refusal is a value, no exception: authorize() hands on that of authenticate().
    answer = bill.authorize(caller, to=number, call_id=call_id)
    return Call(attempt, caller.prompt, answer)


def hang_up(bill: Engine, call: Call) -> None:
    """Report how a call ended: only now is it charged, and never above its grant."""
    if isinstance(call.answer, Grant):
        call.record = bill.settle(
            call.answer.handle,
            talk_ms=talk_ms(call.attempt, call.answer),
            carrier=carried_by(call.attempt, call.answer),
        )


def carried_by(attempt: Attempt, grant: Grant) -> str:
    """Say who carried the call: the cheapest route, unless that one failed before the answer."""
    failed_over = len(grant.routes) > 1 and draw(attempt.call_id, 10) == 0
    return grant.routes[1 if failed_over else 0].carrier


def talk_ms(attempt: Attempt, grant: Grant) -> int:
    """Say how long they talk: as long as they like, or until the switch cuts them off."""
    return attempt.talk_ms if grant.max_ms is None else min(attempt.talk_ms, grant.max_ms)


def show_dialogues(calls: list[Call]) -> None:
    """Show what some callers went through: the first of each kind."""
    talked = [call for call in calls if call.record and call.record.seconds > 60]
    kinds = {
        "Two stages: first the PIN, then the number": (
            call for call in talked if call.attempt.two_stages and not call.cut_by_money
        ),
        "One stage, and the money runs out": (
            call for call in talked if not call.attempt.two_stages and call.cut_by_money
        ),
        "A wrong PIN": (
            call for call in calls if call.greeting and call.attempt.habit is Habit.WRONG_PIN
        ),
    }
    for title, found in kinds.items():
        if call := next(found, None):
            say(title)
            for who, what in dialogue(call):
                say(f"  {who:<10}{what}")
            say()


def dialogue(call: Call) -> Iterator[tuple[str, str]]:
    """Yield who says what. The last digits of a number are nobody's business either."""
    number, answer = call.attempt.dialled[:-4] + "####", call.answer
    if call.greeting:
        yield "keys", STARS
        yield "hears", call.greeting
    if isinstance(answer, Denied):
        yield "denied", answer.reason.value
        return
    yield "keys", number if call.greeting else f"{STARS} {number}"
    yield "hears", answer.prompt
    yield "calls", answer.destination
    yield "by", ", else ".join(route.carrier for route in answer.routes)
    if record := call.record:
        cut = ", then cut off" if call.cut_by_money else ""
        billed = clock_time(record.billed_seconds)
        yield "talks", f"{clock_time(record.seconds)}{cut}; billed as {billed}"
        yield "pays", f"{usd(record.price_units)}, of which {usd(record.cost_units or 0)} is cost"


def show_day(calls: list[Call]) -> None:
    denied = Counter(call.answer.reason for call in calls if isinstance(call.answer, Denied))
    granted = len(calls) - denied.total()
    ended = [call.record for call in calls if call.record]
    answered = sum(record.seconds > 0 for record in ended)
    cut = sum(call.cut_by_money for call in calls)
    say(f"{len(calls):,} calls: {granted:,} granted, {denied.total():,} denied. Of the granted")
    say(f"{answered:>6,} were answered, {cut:,} of them cut by money")
    say(f"{len(ended) - answered:>6,} were not answered, and cost nothing")
    say(f"{granted - len(ended):>6,} were never reported: the switch went down")
    say()
    say(f"{'denied':<22}{'calls':>5}  the caller hears")
    for reason, count in denied.most_common():
        say_beside(f"{reason.value:<22}{count:>5}  ", reason.prompt)


def report_twice(bill: Engine, calls: list[Call]) -> None:
    """Settle a call again, as a switch does that never got the first answer."""
    for call in calls:
        if isinstance(call.answer, Grant) and call.record and call.record.price_units:
            before = bill.card(call.record.card_id).balance_units
            hang_up(bill, call)
            taken = before - bill.card(call.record.card_id).balance_units
            again = "the first record again" if call.record.replayed else "A NEW RECORD"
            say()
            say(f"{call.record.call_id}, reported twice: {again}, {usd(taken)} charged")
            return


# -- 4. Accounts ------------------------------------------------------------------------------


def end_the_day(bill: Engine, clock: Clock) -> None:
    """Let go of the money held for calls that nobody reported."""
    held = bill.reports.utilisation(BATCH).held_units
    say(f"held for the calls that were never reported: {usd(held)}")
    clock.now += timedelta(hours=3)
    swept = bill.sweep()
    held = bill.reports.utilisation(BATCH).held_units
    say(f"3 hours later, a sweep: {swept.calls_expired} calls expired, {usd(held)} held")


def show_ledger(bill: Engine, calls: list[Call]) -> None:
    """Show one card's account: of those cut by money, the one with the most calls."""
    records = {call.record.call_id: call.record for call in calls if call.record}
    paid = Counter(record.card_id for record in records.values() if record.price_units)
    cut = [call.record.card_id for call in calls if call.record and call.cut_by_money]
    card_id = max(cut or paid, key=lambda each: paid[each], default=None)
    if card_id is None:
        return
    say()
    say(f"{f'card {card_id}':<54}{'amount':>11}{'balance':>11}")
    for entry in bill.entries(card_id):
        talk, what = "", "face value" if entry.kind is EntryKind.FACE else entry.kind.value
        if record := records.get(entry.reference):
            talk, what = clock_time(record.seconds), record.destination
        say(
            f"{entry.at:%b %d %H:%M}  {talk:>7}  {fit(what, 30):<31}"
            f"{usd(entry.amount_units):>11}{usd(entry.balance_units):>11}"
        )


def show_utilisation(bill: Engine) -> None:
    report = bill.reports.utilisation(BATCH)
    states = [f"{count:,} {status.value}" for status, count in report.by_status.items() if count]
    say()
    say(f"batch {BATCH}: {report.issued:,} cards, {', '.join(states)}")
    say(f"{'face value':>22}{usd(report.face_units):>16}")
    say(f"{'spent':>22}{usd(report.spent_units):>16}")
    say(f"{'still to be spent':>22}{usd(report.liability_units):>16}")


def show_margins(bill: Engine, most: int = 8) -> None:
    rows = bill.reports.margins()
    say()
    heads = "".join(f"{head:>10}" for head in ("talk", "sold", "cost", "margin"))
    say(f"{'margin by destination':<31}{'calls':>5}{heads}")
    for row in rows[:most]:
        show_margin(row.key, [row])
    if rows[most:]:
        show_margin(f"{len(rows) - most} more", rows[most:])
    show_margin("all", rows)


def show_margin(name: str, rows: list[Margin]) -> None:
    calls, talk = sum(row.calls for row in rows), sum(row.seconds for row in rows)
    sold, cost = sum(row.price_units for row in rows), sum(row.cost_units for row in rows)
    margin = sum(row.margin_units for row in rows)
    cells = (clock_time(talk), usd(sold), usd(cost), usd(margin))
    say(f"{fit(name, 30):<31}{calls:>5}" + "".join(f"{cell:>10}" for cell in cells))


def let_cards_expire(bill: Engine, clock: Clock) -> None:
    """Ninety days after its first use a card is worth nothing; what was on it is breakage."""
    clock.now += timedelta(days=91)
    bill.sweep()
    report = bill.reports.utilisation(BATCH)
    say()
    say(f"91 days later: {report.by_status[Status.EXPIRED]:,} cards have expired,")
    say(f"{usd(report.breakage_units)} that nobody spent is breakage")


# -- 5. Audit ---------------------------------------------------------------------------------


def audit(bill: Engine) -> bool:
    """Recompute every account from its ledger, trusting no stored sum."""
    report = bill.audit()
    say(f"{report.cards:,} cards, {report.entries:,} ledger entries, {report.records:,} calls")
    say(f"{'face value':>22}{usd(report.face_units['USD']):>16}")
    say(f"{'= calls':>22}{usd(report.calls_units['USD']):>16}")
    say(f"{'+ breakage':>22}{usd(report.breakage_units['USD']):>16}")
    say(f"{'+ balances':>22}{usd(report.balance_units['USD']):>16}")
    for problem in report.problems[:10]:
        say(f"PROBLEM {problem}")
    say(f"verdict: the books {'balance' if report.clean else 'DO NOT balance'}")
    return report.clean


# -- the story --------------------------------------------------------------------------------


def tour(folder: Path, options: argparse.Namespace) -> bool:
    """Tell the whole story; return whether the audit at its end was clean."""
    # The sample's day is always the same one. Your own rates may begin any day: use today.
    day = datetime.now(UTC) if options.deck else datetime(2026, 3, 2, tzinfo=UTC)
    clock = Clock(day.replace(hour=7, minute=0, second=0, microsecond=0))
    # The keys that protect the PINs are a file apart: keep it away from the database.
    keyring = Keyring.create(folder / "cards.key")
    with cardbill.open(folder / "cards.db", keyring=keyring, clock=clock) as bill:
        chapter("1. Rates", "read_deck, Deck.compile, decks.publish, carriers.publish")
        retail = read_retail(folder, options.deck)
        publish_rates(bill, retail)
        show_rates(bill, clock.now)

        chapter("2. Cards", "batches.create, generate_pins, assign, export")
        issue_cards(bill, options.pins)
        pins = export_cards(bill, folder)
        sold = Random(SEED).sample(pins, cards_in_use(options.calls))

        chapter("3. Calls", "authenticate, authorize, settle")
        face_units = bill.batches.get(BATCH).face_units
        attempts = plan_day(retail, options.calls, clock.now, face_units=face_units)
        calls = make_calls(bill, clock, attempts, sold)
        show_dialogues(calls)
        show_day(calls)
        report_twice(bill, calls)

        chapter("4. Accounts", "sweep, entries, reports")
        end_the_day(bill, clock)
        show_ledger(bill, calls)
        show_utilisation(bill)
        show_margins(bill)
        let_cards_expire(bill, clock)

        chapter("5. Audit", "audit (in a shell: cardbill audit sqlite:///cards.db)")
        return audit(bill)


def main() -> int:
    options = arguments()
    prepare()
    try:
        with workplace(options.keep) as folder:
            clean = tour(folder, options)
    except (cardbill.CardbillError, OSError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    if options.keep:
        say()
        say(f"kept: {options.keep} (cards.csv shows PINs, cards.key opens the database)")
    return 0 if clean else 1


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A calling-card business in one process.")
    parser.add_argument("--deck", type=Path, help="your own retail rates (CSV), taken as USD")
    parser.add_argument("--pins", type=int, default=10_000, help="cards to issue: 10000")
    parser.add_argument("--calls", type=int, default=200, help="calls to attempt: 200")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave the files in a new folder")
    options = parser.parse_args()
    needed = cards_in_use(max(30, options.calls))
    if options.calls < 30 or options.pins < needed:
        parser.error(f"give at least 30 calls, and {needed} PINs for that many")
    return options


@contextmanager
def workplace(keep: Path | None) -> Iterator[Path]:
    """Lend a folder for the files, and remove it at the end unless it is to be kept."""
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="cardbill-demo-") as folder:
            yield Path(folder)
    else:
        keep.mkdir(mode=0o700, parents=True)
        yield keep


if __name__ == "__main__":
    sys.exit(main())
