"""What the machine's business may publish, sell and be told: for the model, and for cardbill."""

import random
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import chain
from typing import NamedTuple

from hypothesis import strategies as st
from moneyed import Money

import cardbill
from cardbill import (
    BatchFlags,
    Caller,
    CallRecord,
    CardView,
    Denied,
    Engine,
    Grant,
    Keyring,
    Swept,
    Unauthorised,
    Unreported,
)
from cardbill.errors import CardbillError
from cardbill.storage.contract import Storage
from tests.machine_model import Answer, Batch, Business, Plan
from tests.plain_prices import Deck, Rate, Row

KEYS = Keyring.generate()
START = datetime(2026, 3, 6, 12, tzinfo=UTC)  # two days before New York changes its clocks
DAY = 24 * 3600
M = 1_000_000  # ledger units of one dollar or yen


# -- the terms: for each name what may be published under it, the first at the start ----------

PER_SECOND = Rate(((0, 300_000, 1),))
PER_MINUTE = Rate(((0, 600_000, 60), (60, 600_000, 6)), connect=100_000)
ODD_STEPS = Rate(
    ((0, 210_000, 30), (40, 130_000, 18)),
    surcharge=Fraction("12.5"),
    end=50_000,
    unit=10_000,
    rounding="half_up",
)
FORGIVING = Rate(((0, 450_000, 60),), connect=20_000, grace=5, free=30, minimum=100_000)
DEAR = Rate(((0, 8 * M, 60),))
FREE = Rate(((0, 0, 60),))
CONNECT_ONLY = Rate(((0, 0, 60),), connect=700_000, grace=3)
YEN = Rate(((0, 30 * M, 60),), unit=M)
YEN_ODD = Rate(((0, 33_500_000, 7),), unit=M, rounding="half_even")
CHEAP = Rate(((0, 100_000, 1),))
CHEAPER = Rate(((0, 50_000, 60),), connect=40_000)

SOON, LATER = START + timedelta(days=2), START + timedelta(days=9)
DOLLARS = (
    Row("1305", "Miami", FORGIVING),
    Row("1800", "toll-free", FREE),
    Row("33", "France", ODD_STEPS),
    Row("39", "Italy", PER_MINUTE, begins=SOON, ends=LATER),
    Row("44", "United Kingdom", PER_MINUTE),
    Row("4416123", "barred", PER_SECOND, blocked=True),
    Row("4420", "London", PER_SECOND),
    Row("49", "Germany", PER_SECOND),
    Row("8816", "satellite", DEAR),
)
OTHER_DOLLARS = (
    Row("1", "North America", PER_SECOND),
    Row("1800", "toll-free", CONNECT_ONLY),
    Row("3", "Europe", FORGIVING),
    Row("44", "United Kingdom", ODD_STEPS),
    Row("4420", "London", PER_MINUTE, ends=SOON),
    Row("8816", "satellite", PER_MINUTE, blocked=True),
)
YENS = (Row("44", "United Kingdom", YEN_ODD), Row("81", "Japan", YEN), Row("82", "Korea", YEN))
ACME = (Row("1", "America", CHEAP), Row("3", "Europe", CHEAPER), Row("44", "UK", CHEAPER))
BOLT = (Row("44", "UK", CHEAP), Row("4420", "London", CHEAPER), Row("8816", "sat", DEAR))

DECKS = {
    "usd": (Deck("USD", DOLLARS), Deck("USD", OTHER_DOLLARS)),
    "jpy": (Deck("JPY", YENS), Deck("JPY", (Row("8", "Asia", YEN_ODD), YENS[0]))),
    "acme": (Deck("USD", ACME), Deck("USD", (*ACME[:2], Row("44", "UK", CHEAP, blocked=True)))),
    "bolt": (Deck("USD", BOLT), Deck("USD", (Row("44", "UK", PER_SECOND), *BOLT[2:]))),
    "kite": (Deck("JPY", YENS[:2]),),
}
ONE_OF_FEW = st.integers(0, 3)
MEANWHILE = [*["sweep", "assign"] * 3, "other process", "other process", "reopen", "rotate keys"]
STOPS = ["block", "freeze", "block batch", "void", "void"]
ALL_OF_IT = -1  # as long as the call may last
RESTARTS = ["unblock", "thaw", "unblock batch", "sell"]
CARRIERS = ("acme", "bolt", "kite")  # each on the deck of its name
PLANS = {
    "one": (
        Plan("one", "USD", "usd"),
        Plan("one", "USD", "usd", 2, 120, 3 * M // 2, charges_unreported=True),
    ),
    "many": (
        Plan("many", "USD", "usd", 3, 200, slice=45, charges_strays=True),
        Plan("many", "USD", "usd"),
    ),
    "yen": (
        Plan("yen", "JPY", "jpy", calls_at_once=3, max_call=300, minimum=300 * M),
        Plan("yen", "JPY", "jpy", 2, slice=60, charges_unreported=True, charges_strays=True),
    ),
}
PUBLISHED = ["usd", "usd", "usd", "jpy", "acme", "bolt", *PLANS]
BATCHES = (
    Batch("OPEN", "USD", 2 * M, 2, "one"),
    Batch("FAMILY", "USD", 4 * M, 2, "many", days=9, zone="America/New_York"),
    Batch("YEN", "JPY", 600 * M, 1, "yen", days=0, zone="Asia/Tokyo", opens_on_authentication=True),
    Batch("DATED", "USD", 2 * M, 1, "many", date(2026, 3, 8), date(2026, 3, 20), 5),
    Batch("UNSOLD", "USD", M, 1, last_day=date(2026, 4, 20), opens_on_authentication=True),
    Batch(
        "SHELF", "USD", 2 * M, 2, "many", days=2, zone="America/New_York",
        sold_first=True, days_from_answer=True,
    ),
)  # fmt: skip
CARDS = [f"{batch.name}/{serial + 1}" for batch in BATCHES for serial in range(batch.cards)]
OFTEN = [
    "OPEN/1",
    "OPEN/2",
    "FAMILY/1",
    "FAMILY/2",
    "FAMILY/1",
    "FAMILY/2",
    "YEN/1",
    "SHELF/1",
    *CARDS,
]

# As dialled, and what that is.
NUMBERS: dict[str, str | None] = {
    "011 44 20 7123 4567": "442071234567",
    "+44 161 999 1234": "441619991234",
    "+81 3 1234 5678": "81312345678",
    "(305) 555-1234": "13055551234",
    "1 800 555 1234": "18005551234",
    "+33 1 44 55 66 77": "33144556677",
    "+39 06 123 4567": "39061234567",
    "+8816 1234 5678": "881612345678",  # dear
    "+82 2 1234 5678": "82212345678",  # yen: no carrier
    "+49 30 123456": "4930123456",  # dollars: no carrier
    "+44 1612 345 678": "441612345678",  # barred
    "+55 11 9876 5432": "551198765432",  # no rate
    "555-1234": None,
}
LONDON, JAPAN, MIAMI = "011 44 20 7123 4567", "+81 3 1234 5678", "(305) 555-1234"
TOLL_FREE = "1 800 555 1234"
USUAL = {"USD": (LONDON, MIAMI, LONDON, TOLL_FREE), "JPY": (JAPAN,)}
ODD = list(NUMBERS)[-5:]
DIALLED = [LONDON, MIAMI, TOLL_FREE, TOLL_FREE, JAPAN, *NUMBERS]


# -- from the model's terms to cardbill's, and from its answers to the model's -----------------


def money(units: int, currency: str) -> Money:
    return Money(Decimal(units) / M, currency)


def publish_deck(bill: Engine, name: str, deck: Deck) -> None:
    rows = [
        cardbill.DeckRow(
            prefix=row.prefix,
            destination=row.destination,
            rate=cardbill.Rate(
                steps=tuple(cardbill.Step(*step) for step in row.rate.steps),
                connect_fee=row.rate.connect,
                grace_seconds=row.rate.grace,
                free_seconds=row.rate.free,
                minimum_charge=row.rate.minimum,
                end_fee=row.rate.end,
                surcharge_ppm=int(row.rate.surcharge * 10_000),
                rounding=cardbill.Rounding(row.rate.unit, row.rate.rounding),
            ),
            blocked=row.blocked,
            effective_from=row.begins,
            effective_until=row.ends,
        )
        for row in deck.rows
    ]
    bill.decks.publish(name, cardbill.Deck.compile(rows, currency=deck.currency))


def publish_plan(bill: Engine, plan: Plan) -> None:
    minimum = money(plan.minimum, plan.currency) if plan.minimum else None
    bill.plans.publish(
        cardbill.Plan(
            name=plan.name,
            currency=plan.currency,
            deck=plan.deck,
            calls_at_once=plan.calls_at_once,
            max_call_seconds=plan.max_call,
            minimum_balance=minimum,
            slice_seconds=plan.slice,
            unreported_calls=(Unreported.CHARGE if plan.charges_unreported else Unreported.RELEASE),
            unauthorised_calls=(Unauthorised.CHARGE if plan.charges_strays else Unauthorised.NOTE),
        )
    )


def issue(bill: Engine, batch: Batch) -> None:
    first_use = "authentication" if batch.opens_on_authentication else "authorization"
    bill.batches.create(
        cardbill.Batch(
            name=batch.name,
            face_value=money(batch.face, batch.currency),
            quantity=batch.cards,
            effective_date=batch.first_day,
            expiration_date=batch.last_day,
            expires_days_after_first_use=batch.days,
            first_use=cardbill.FirstUse(first_use),
            validity=cardbill.Validity("first_answer" if batch.days_from_answer else "first_use"),
            sold_first=batch.sold_first,
            time_zone=batch.zone,
            plan=batch.plan,
        )
    )
    bill.batches.generate_pins(batch.name)


def set_up(bill: Engine) -> dict[str, str]:
    """Publish and issue everything; return the PIN of every card."""
    for name, decks in DECKS.items():
        publish_deck(bill, name, decks[0])
    for plans in PLANS.values():
        publish_plan(bill, plans[0])
    for carrier in CARRIERS:
        bill.carriers.publish(cardbill.Carrier(name=carrier, deck=carrier))
    for batch in BATCHES:
        issue(bill, batch)
    return {card: bill.batches.reveal(card, actor="test", reason="to dial it") for card in CARDS}


def modelled() -> Business:
    business = Business(START)
    business.decks = {name: decks[0] for name, decks in DECKS.items()}
    business.plans = {name: plans[0] for name, plans in PLANS.items()}
    business.carriers = {carrier: carrier for carrier in CARRIERS}
    for batch in BATCHES:
        business.issue(batch)
    return business


def plain(result: object) -> Answer:
    """Say an engine's answer as the model would."""
    match result:
        case None:
            return "done", ""
        case Denied():
            return "denied", result.reason.value
        case Caller():
            money = result.balance_units, result.available_units
            return "caller", result.status.value, *money, result.expires_at
        case Grant():
            return (
                "granted", result.max_seconds, result.limited_by and result.limited_by.value,
                result.held_units, result.number, result.destination,
                tuple(route.carrier for route in result.routes),
                result.expires_at, result.replayed,
            )  # fmt: skip
        case CallRecord():
            return (
                "record", result.outcome.value, result.number, result.destination,
                result.ended_at, result.recorded_at, result.seconds, result.price_units,
                result.uncollected_units, result.cost_units, result.carrier, result.late,
                result.replayed,
            )  # fmt: skip
        case CardView():
            return "card", result.status.value
        case BatchFlags():
            frozen = [range(first, last + 1) for first, last in result.frozen]
            return "flags", result.blocked, tuple(chain.from_iterable(frozen))
        case Swept():
            return "swept", result.cards, result.calls_expired, result.failures
    raise AssertionError(f"an answer of an unknown kind: {result!r}")


def answer(act: Callable[[], object]) -> Answer:
    try:
        return plain(act())
    except CardbillError as error:
        return "error", type(error).__name__


class Told(NamedTuple):
    """What a switch says of a call: some quarters of the grant, and some milliseconds."""

    quarters: int
    extra_ms: int
    carrier: str | None
    as_instants: bool


TOLD = st.builds(
    Told,
    st.sampled_from([4, 4, 2, 1, 0]),
    st.sampled_from([0, 0, 1, -1, 500, 31_000, 7_200_000]),
    st.sampled_from([None, None, None, "acme", "bolt", "kite", "nobody"]),
    st.booleans(),
)


class Clock:
    now = START

    def __call__(self) -> datetime:
        return self.now


def engine(storage: Storage, clock: Clock, keys: Keyring = KEYS) -> Engine:
    # Its callers key wrong PINs all the time; what comes of that has a test file of its own.
    below = random.Random(1).randrange
    return Engine(storage, keys, clock=clock, below=below, throttle=None)
