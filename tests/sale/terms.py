"""What the cards of random histories are sold with: drawn by a seed, for every store alike."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from attrs import evolve, frozen
from moneyed import USD, Money

from cardbill import (
    AccessNumber,
    BillingCycle,
    Charge,
    Jurisdiction,
    Keyring,
    Package,
    Plan,
    Tax,
    UsageLimit,
    rate,
)
from tests.building import START, Shop, deck, open_shop

CARDS = ["T/1", "T/2", "T/3"]
VOUCHERS = ["T/4", "T/5", "T/6"]
TOLL_FREE_ACCESS = "18005550100"
HEADER = "prefix,destination,rate,increments,connect fee,blocked,free seconds,minimum charge,grace"
RATES = (  # two decks: which of them is in force changes while calls are open
    """
1,United States,0.012,1/1,,,,,
1800,Toll-free,0,1/1,,,,,
33,France,0.10,60/60,,,,,
44,United Kingdom,0.06,60/60,,,30,,
447,UK mobile,0.15,60/6,0.10,,20,0.05,5
4487,UK premium,0,1/1,,yes,,,
882,Satellite,1000,60/60,,,,,
""",
    """
1,United States,0.02,6/6,0.01,,,,
1800,Toll-free,0,1/1,,,,,
33,France,0.10,60/60,,,,,
44,United Kingdom,0.09,30/6,0.02,,,0.08,
447,UK mobile,0.15,60/60,0.05,,,,10
4487,UK premium,0,1/1,,yes,,,
882,Satellite,1000,60/60,,,,,
""",
)
ON_ALL = ["usage", "surcharge", "recurring"]
CHANGES = datetime(2025, 3, 20, tzinfo=UTC)
TAXES = {
    "none": (),
    "on top": (Tax(name="sales tax", on=ON_ALL, percent="7.5"),),
    "inside": (Tax(name="VAT", on=ON_ALL, percent=20, inclusive=True),),
    "compound": (
        Tax(name="GST", on=ON_ALL, percent=5),
        Tax(name="QST", on=ON_ALL, percent="9.975", tier=2),
    ),
    "compound inside": (
        Tax(name="state tax", on=ON_ALL, percent=10, inclusive=True),
        Tax(name="city tax", on=ON_ALL, percent=10, tier=2, inclusive=True),
    ),
    "flat": (
        Tax(name="call levy", on="usage", flat=Money("0.004", USD)),
        Tax(name="stamp", on="surcharge", flat=Money("0.01", USD)),
        Tax(name="dues", on="recurring", flat=Money("0.02", USD)),
    ),
    "both": (
        Tax(name="value tax", on=ON_ALL, percent=20, inclusive=True),
        Tax(name="levy", on=["usage"], percent="3.3333", tier=2),
        Tax(name="duty", on=["surcharge"], flat=Money("0.01", USD)),
    ),
    "at sale": (Tax(name="till tax", on=["sale", "surcharge", "recurring"], percent="7.5"),),
    "going over": (  # from use to sale
        Tax(name="use tax", on=ON_ALL, percent=8, effective_until=CHANGES),
        Tax(name="card tax", on=["sale", "surcharge"], percent=6, effective_from=CHANGES),
    ),
    "changing": (
        Tax(name="old tax", on=ON_ALL, percent=10, effective_until=CHANGES),
        Tax(name="new tax", on=ON_ALL, percent="17.5", effective_from=CHANGES),
    ),
}
LIMITS = (UsageLimit(hours=1, calls=3), UsageLimit(hours=72, spend=Money("0.60", USD)))
CALL_TRIGGERS = ("first_answer", "answer", "end")
TRIGGERS = ("activation", *CALL_TRIGGERS, "period", "inactivity", "recharge", "manual")
SHORT = ("drop", "take", "owe")


@frozen
class Terms:
    """What one history's cards are sold with.

    Attributes:
        plans: Arguments of the plan "Basic", and perhaps of a plan "Other".
        batch: Arguments of the batch T.
        face: Ledger units.
        taxed: The jurisdiction's taxes to begin with, by their name.
        assigned: Whether the batch has its plan from the start.
    """

    plans: dict[str, dict[str, Any]]
    batch: dict[str, Any]
    face: int
    taxed: str
    assigned: bool

    @property
    def taxes(self) -> tuple[Tax, ...]:
        return TAXES[self.taxed]


def a_cycle(rng: random.Random) -> BillingCycle:
    return BillingCycle(unit=rng.choice(("days", "weeks", "months")), count=rng.choice((1, 2, 5)))


def a_charge(rng: random.Random, trigger: str, short: str) -> Charge:
    amount = Money(rng.choice(("0.01", "0.07", "0.333333", "1.10")), USD)
    terms: dict[str, Any] = {"amount": amount, "quantity": rng.choice((1, 1, 2))}
    if trigger in ("period", "inactivity"):
        terms["every"] = a_cycle(rng)
    elif trigger in (*CALL_TRIGGERS, "recharge") and rng.random() < 0.4:
        terms = {"percent": rng.choice((3, "12.5", "33.3333"))}
    if trigger in CALL_TRIGGERS and rng.random() < 0.5:
        terms |= rng.choice(
            (
                {"destinations": ["44"]},
                {"destinations": ["447", "1"]},
                {"access_kinds": ["toll_free"]},
                {"access": [TOLL_FREE_ACCESS]},
            )
        )
    if rng.random() < (0.4 if trigger == "activation" else 0.15):
        day = START + timedelta(days=rng.choice((0, 6, 20)), hours=rng.choice((-1, 0, 12)))
        terms[rng.choice(("effective_from", "effective_until"))] = day
    return Charge(
        name=f"{trigger} {short}",
        trigger=trigger,
        when_short=short,
        taxable=rng.random() < 0.8,
        **terms,
    )


def charges(rng: random.Random) -> list[Charge]:
    likely = {"manual": 0.6, "period": 0.4, "inactivity": 0.4, "recharge": 0.4}
    of_calls = rng.choice((0, 0.25, 0.35))
    likely |= dict.fromkeys(CALL_TRIGGERS, of_calls)
    found = [
        a_charge(rng, trigger, short)
        for trigger in TRIGGERS
        for short in SHORT
        if rng.random() < likely.get(trigger, 0.25) * (1.3 if short == "owe" else 1)
    ]
    rng.shuffle(found)
    return found


def a_package(rng: random.Random, unit: str, given: str) -> Package:
    quantities: dict[str, dict[str, Any]] = {
        "seconds": {"seconds": rng.choice((37, 400, 3_000))},
        "calls": {"calls": rng.choice((1, 3))},
        "amount": {"amount": Money(rng.choice(("0.05", "0.777777")), USD)},
    }
    quantity = quantities[unit]
    if given == "bought" and rng.random() < 0.7:
        quantity["price"] = Money("0.45", USD)
    return Package(
        name=f"{given} {unit}",
        given=given,
        valid=a_cycle(rng) if rng.random() < 0.5 else None,
        carry_over=given == "cycle" and rng.random() < 0.5,
        waives_connect_fee=rng.random() < 0.4,
        destinations=rng.choice(([], ["44"], ["447"], ["1"])),
        **quantity,
    )


def packages(rng: random.Random) -> list[Package]:
    found = [
        a_package(rng, unit, given)
        for unit in ("seconds", "calls", "amount")
        for given in ("activation", "cycle", "bought")
        if rng.random() < (0.6 if given == "bought" else 0.35)
    ]
    rng.shuffle(found)
    return found


def plan(rng: random.Random) -> dict[str, Any]:
    return {
        "charges": charges(rng),
        "packages": packages(rng),
        "billing_cycle": a_cycle(rng),
        "calls_at_once": rng.choice((1, 2, 3, 4)),
        "max_call_seconds": rng.choice((25, 600, 1_800, None, None)),
        "slice_seconds": rng.choice((None, None, None, 60, 100, 1_000)),
        "unreported_calls": rng.choice(("release", "charge")),
        "unauthorised_calls": rng.choice(("note", "charge")),
        "minimum_balance": rng.choice((None, None, Money("0.10", USD))),
        "usage_limits": rng.choice(((), (), LIMITS[1:], LIMITS[:1], LIMITS[1:], LIMITS)),
        **rng.choice(({}, {"recharge_days": 20}, {"recharge_days": 9, "recharge_revives": True})),
    }


def another_plan(rng: random.Random, first: dict[str, Any]) -> dict[str, Any]:
    """Draw the plan that cards may move to: some of its packages have names of the first one's."""
    found = plan(rng) | {"usage_limits": first["usage_limits"], "deck": "cheap"}
    alike = [
        evolve(package, **rng.choice(({}, {"destinations": ["1"]}, {"waives_connect_fee": True})))
        if rng.random() < 0.7
        else evolve(a_package(rng, "calls", package.given.value), name=package.name)
        for package in first["packages"]
        if rng.random() < 0.5
    ]
    names = [package.name for package in alike]
    found["packages"] = [p for p in found["packages"] if p.name not in names] + alike
    if rng.random() < 0.4:
        found["charges"] = [c for c in found["charges"] if c.trigger.value in CALL_TRIGGERS]
    return found


def terms(seed: int) -> Terms:
    """Draw the terms of a history."""
    rng = random.Random(f"terms {seed}")
    sold_with, taxed = plan(rng), rng.choice(list(TAXES))
    if rng.random() < 0.15:  # calls pay their price and nothing else, as most do
        charges = [c for c in sold_with["charges"] if c.trigger.value not in CALL_TRIGGERS]
        sold_with |= {"charges": charges, "packages": []}
        taxed = "none"
    plans = {"Basic": sold_with}
    draws = random.Random(f"another plan {seed}")
    if draws.random() < (0.5 if sold_with["packages"] or sold_with["charges"] else 1):
        plans["Other"] = another_plan(draws, sold_with)
    return Terms(
        plans=plans,
        batch={
            "taxable": True,
            "tax_jurisdiction": "X",
            "expires_days_after_first_use": rng.choice((None, None, 4, 15, 60)),
            "validity": rng.choice(("first_use", "first_answer")),
            "effective_date": rng.choice((*(None,) * 9, date(2025, 3, 4))),
            "expiration_date": rng.choice((*(None,) * 5, date(2025, 3, 20), date(2025, 5, 5))),
            "time_zone": rng.choice(("UTC", "America/New_York", "Asia/Kolkata")),
            "sold_first": rng.random() < 0.15,
        },
        face=rng.choice((1, 1, 2, 5, 20)) * 1_000_000,
        taxed=taxed,
        assigned=rng.random() > 0.1,
    )


def republished(before: tuple[Tax, ...], taxed: str, begin: datetime | None) -> tuple[Tax, ...]:
    """Return taxes in place of others: at once, or those until an instant and these from it."""
    if begin is None:
        return TAXES[taxed]
    kept = [
        evolve(tax, effective_until=min(filter(None, (tax.effective_until, begin))))
        for tax in before
        if tax.effective_from is None or tax.effective_from < begin
    ]
    new = [
        evolve(tax, effective_from=max(filter(None, (tax.effective_from, begin))))
        for tax in TAXES[taxed]
        if tax.effective_until is None or begin < tax.effective_until
    ]
    return (*kept, *new)


@contextmanager
def sold(
    kind: str,
    folder: Path,
    terms: Terms,
    keyring: Keyring,
    engine: dict[str, Any] | None = None,
) -> Iterator[Shop]:
    """A shop with a batch T of these terms."""
    folder.mkdir(parents=True, exist_ok=True)
    face = Money(terms.face // 1_000_000, USD)
    with open_shop(
        kind,
        folder,
        retail=HEADER + RATES[0],
        plan=terms.plans["Basic"],
        quantity=6,
        face=face,
        keyring=keyring,
        engine=engine,
    ) as shop:
        bill = shop.bill
        bill.jurisdictions.publish(place(terms.taxes))
        bill.access_numbers.publish(
            AccessNumber(
                number=TOLL_FREE_ACCESS,
                kind="toll_free",
                cost=rate("0.012", increments="6/6", connect_fee="0.01"),
                cost_currency=USD,
            )
        )
        bill.decks.publish("cheap", deck(HEADER + RATES[0]))
        if "Other" in terms.plans:
            bill.plans.publish(Plan(name="Other", currency=USD, **terms.plans["Other"]))
        bill.batches.create(evolve(bill.batches.get("B"), name="T", plan=None, **terms.batch))
        bill.batches.generate_pins("T")
        if terms.assigned:
            bill.batches.assign("T", plan="Basic")
        yield shop


def place(taxes: tuple[Tax, ...]) -> Jurisdiction:
    return Jurisdiction(name="X", country="X", taxes=taxes)


def reprice(shop: Shop, number: int) -> None:
    """Put another deck in force."""
    shop.bill.decks.publish("retail", deck(HEADER + RATES[number]))
