"""Recharges, credits, refunds, charges, packages: each once under its key; the books balance."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from moneyed import EUR, USD, Money

from cardbill import BillingCycle, Denied, Operation, Package, Status
from cardbill.errors import (
    FloatRefused,
    IdempotencyMismatch,
    InvalidInput,
    MissingFields,
    TransitionRefused,
    UnknownName,
    WrongCurrency,
)
from tests.building import START, STORES, UK, Shop
from tests.test_sold_with import BONUS, ON_TOP, WEEKLY, call, fee, posted, sold, taxed

WHO: dict[str, Any] = {"actor": "ann", "reason": "ticket 7"}
BOUGHT = evolve(BONUS, name="extra", given="bought", price=Money("1.50", USD))
MANUAL = fee("letter", "manual", "0.30")


@pytest.fixture(params=STORES)
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    """A shop whose card B/1 was used, with 4.94 left."""
    with sold(request.param, tmp_path, charges=[MANUAL, fee("toll", "recharge", "0.05")],
              packages=[BOUGHT]) as shop:  # fmt: skip
        call(shop, "c1", 60, to=UK)
        yield shop


def done(answer: Operation | Denied) -> Operation:
    assert isinstance(answer, Operation), answer
    return answer


def denied(answer: Operation | Denied) -> str:
    assert isinstance(answer, Denied), answer
    return str(answer.reason.value)


def test_a_recharge_is_done_once_however_often_it_is_asked(shop: Shop):
    first = done(shop.bill.accounts.recharge("B/1", Money(10, USD), key="pay-1"))
    assert (first.amount, first.balance) == (Money(10, USD), Money("14.89", USD))
    for bill in (shop.bill, shop.second()):
        again = done(bill.accounts.recharge("B/1", "10.00", key="pay-1"))
        assert again.replayed
        assert again == first
    assert posted(shop)[-2:] == [("recharge", "", 10_000_000), ("charge", "toll", -50_000)]
    assert list(shop.bill.accounts.operations("B/1")) == [first]
    assert [record.call_id for record in shop.bill.records(card_id="B/1")] == ["c1"]
    assert shop.bill.audit().clean


def test_a_key_is_good_for_one_request(shop: Shop):
    shop.bill.accounts.recharge("B/1", 10, key="k")
    with pytest.raises(IdempotencyMismatch, match=r"another amount \(10\.00\)"):
        shop.bill.accounts.recharge("B/1", 11, key="k")
    with pytest.raises(IdempotencyMismatch, match=r"another kind \(recharge\)"):
        shop.bill.accounts.credit("B/1", 10, key="k", **WHO)
    assert done(shop.bill.accounts.recharge("B/1", 1, key="K")).balance_units == 15_840_000


def test_a_key_belongs_to_its_card(shop: Shop):
    call(shop, "c2", 60, to=UK, serial=2)
    for card in ("B/1", "B/2"):
        assert not done(shop.bill.accounts.recharge(card, 10, key="k")).replayed


def test_no_amount_is_all_there_is_only_where_money_is_taken_off(shop: Shop):
    with pytest.raises(InvalidInput, match="amount: must be Money"):
        shop.bill.accounts.credit("B/1", None, key="a", **WHO)
    with pytest.raises(InvalidInput, match="amount: must be Money"):
        shop.bill.accounts.recharge("B/1", None, key="a")
    assert list(shop.bill.accounts.operations("B/1")) == []


def test_a_key_of_a_call_is_another_key(shop: Shop):
    assert not done(shop.bill.accounts.recharge("B/1", 10, key="c1")).replayed
    assert call(shop, "c2", 60, to=UK).price_units > 0
    assert shop.bill.audit().clean


def test_credits_and_what_is_taken_off_name_who_and_why(shop: Shop):
    shop.bill.accounts.credit("B/1", "0.06", key="a", **WHO)
    shop.bill.accounts.write_off("B/1", "1", key="b", **WHO)
    last = done(shop.bill.accounts.refund("B/1", key="c", **WHO))  # all that is left
    assert (last.amount, last.balance) == (Money(4, USD), Money(0, USD))
    assert [(row.action, row.actor) for row in shop.log()[-3:]] == [
        ("credit", "ann"),
        ("write_off", "ann"),
        ("refund", "ann"),
    ]
    for call_ in (shop.bill.accounts.credit, shop.bill.accounts.refund):
        with pytest.raises(MissingFields, match="reason"):
            call_("B/1", 1, key="d", actor="ann", reason=" ")
    assert denied(shop.bill.accounts.refund("B/1", key="e", **WHO)) == "insufficient_balance"
    assert shop.bill.card("B/1").status is Status.EXHAUSTED
    shop.bill.accounts.recharge("B/1", 1, key="f")
    assert shop.bill.card("B/1").status is Status.ACTIVE
    assert shop.bill.audit().clean


def test_nothing_is_taken_that_a_call_holds(shop: Shop):
    grant = shop.grant("c2", to=UK)
    left = shop.bill.card("B/1").available
    assert denied(shop.bill.accounts.refund("B/1", 1, key="a", **WHO)) == "insufficient_balance"
    assert done(shop.bill.accounts.refund("B/1", key="b", **WHO)).amount == left
    assert shop.bill.settle(grant.handle, talk_ms=4_920_000).price_units == grant.held_units
    assert shop.bill.audit().clean


def test_a_manual_charge_is_taken_as_often_as_it_is_asked_for(shop: Shop):
    assert done(shop.bill.accounts.charge("B/1", "letter", key="a", quantity=2, **WHO)).amount == (
        Money("0.60", USD)
    )
    assert posted(shop)[-1] == ("charge", "letter", -600_000)
    with pytest.raises(IdempotencyMismatch, match="quantity"):
        shop.bill.accounts.charge("B/1", "letter", key="a", quantity=3, **WHO)
    for unknown in ("postcard", "toll"):
        with pytest.raises(InvalidInput, match=unknown):
            shop.bill.accounts.charge("B/1", unknown, key="b", **WHO)
    assert shop.bill.audit().clean


def test_a_manual_charge_is_taken_as_the_plan_has_it(tmp_path: Path):
    tomorrow = START + timedelta(days=1)
    sheets = fee("sheets", "manual", "0.05", quantity=4, effective_from=tomorrow)
    with sold("memory", tmp_path, charges=[sheets]) as shop:
        call(shop, "c1", 60, to=UK)
        with pytest.raises(InvalidInput, match=r"not in force.*sheets"):
            shop.bill.accounts.charge("B/1", "sheets", key="a", **WHO)
        shop.clock.now = tomorrow
        taken = done(shop.bill.accounts.charge("B/1", "sheets", key="a", quantity=2, **WHO))
        assert (taken.amount, taken.quantity) == (Money("0.40", USD), 2)
        shop.check_books()


def test_a_package_is_bought_with_the_money_of_the_card(shop: Shop):
    for number in range(3):
        assert done(shop.bill.accounts.buy("B/1", "extra", key=f"k{number}")).name == "extra"
    assert denied(shop.bill.accounts.buy("B/1", "extra", key="k3")) == "insufficient_balance"
    assert shop.bill.card("B/1").balance == Money("0.44", USD)
    assert shop.grant("c2", to=UK).max_seconds == 90 * 60 + 7 * 60
    with pytest.raises(InvalidInput, match="bonus"):
        shop.bill.accounts.buy("B/1", "bonus", key="k4")
    assert shop.bill.audit().clean


def test_a_card_that_was_never_used_or_is_gone_takes_nothing(shop: Shop):
    with pytest.raises(
        TransitionRefused, match=r"generated: .*, its account opens with its first use"
    ):
        shop.bill.accounts.recharge("B/2", 1, key="a")
    with pytest.raises(UnknownName):
        shop.bill.accounts.recharge("B/9", 1, key="a")
    shop.bill.control.void("B/3", **WHO)
    assert denied(shop.bill.accounts.recharge("B/3", 1, key="a")) == "void"
    shop.bill.control.block("B/1", **WHO)
    assert denied(shop.bill.accounts.recharge("B/1", 1, key="a")) == "blocked"
    shop.bill.control.unblock("B/1", **WHO)
    assert not done(shop.bill.accounts.recharge("B/1", 1, key="a")).replayed  # a denial is none


@pytest.mark.parametrize(
    ("amount", "error"),
    [
        (0, InvalidInput),
        (-1, InvalidInput),
        (1.5, FloatRefused),
        ("much", InvalidInput),
        ("0.0000001", InvalidInput),
        (Money(1, EUR), WrongCurrency),
        (10**13, InvalidInput),
    ],
)
def test_an_amount_that_is_none_is_refused(shop: Shop, amount: object, error: type[Exception]):
    with pytest.raises(error, match="amount"):
        shop.bill.accounts.recharge("B/1", amount, key="a")


@pytest.mark.parametrize("key", ["", "a b", "x" * 129, None, "ü"])
def test_a_key_that_is_none_is_refused(shop: Shop, key: Any):
    with pytest.raises(InvalidInput, match="key"):
        shop.bill.accounts.recharge("B/1", 1, key=key)


def test_what_is_owed_is_paid_first_from_what_comes(tmp_path: Path):
    owing = evolve(WEEKLY, when_short="owe")
    with taxed("memory", tmp_path, ON_TOP, charges=[owing]) as shop:
        call(shop, "c1", 77 * 60, to=UK, batch="T")  # 4.9665 with tax
        shop.clock.now += timedelta(days=22)
        shop.bill.sweep()
        owed = shop.stored("T/1").owed["weekly fee"]
        assert 0 < owed < 750_000
        shop.bill.accounts.recharge("T/1", "0.10", key="a")
        assert shop.bill.card("T/1").balance_units < 2  # a unit that no net amount makes up
        shop.bill.accounts.recharge("T/1", 5, key="b")
        assert shop.stored("T/1").owed == {}
        fees = [-amount for kind, name, amount in posted(shop, "T/1") if name == "weekly fee"]
        assert sum(fees) == 750_000
        shop.check_books()


@pytest.mark.parametrize(
    ("when_short", "taken", "owed"),
    [("drop", 0, 0), ("take", 100_000, 0), ("owe", 100_000, 50_000)],
)
def test_what_a_recharge_triggers_is_not_lost_while_a_call_holds_all_there_is(
    when_short, taken, owed, tmp_path
):
    toll = evolve(fee("toll", "recharge", "0.15"), when_short=when_short)
    with sold("memory", tmp_path, charges=[toll]) as shop:
        grant = shop.grant()
        done(shop.bill.accounts.write_off("B/1", key="w", **WHO))
        done(shop.bill.accounts.recharge("B/1", "0.10", key="r"))
        assert -sum(amount for _, name, amount in posted(shop) if name == "toll") == taken
        assert shop.stored().owed.get("toll", 0) == owed
        shop.bill.settle(grant.handle, talk_ms=60_000)
        done(shop.bill.accounts.recharge("B/1", 1, key="again"))
        tolls = -sum(amount for _, name, amount in posted(shop) if name == "toll")
        assert tolls == 150_000 + taken + owed
        shop.check_books()


def test_a_recharge_extends_and_revives_where_the_plan_says_so(tmp_path: Path):
    with sold("memory", tmp_path, batch={"expires_days_after_first_use": 10},
              recharge_days=30, recharge_revives=True) as shop:  # fmt: skip
        call(shop, "c1", 60, to=UK)
        first = shop.bill.card("B/1").expires_at
        assert first is not None
        done(shop.bill.accounts.recharge("B/1", 1, key="a"))
        assert shop.bill.card("B/1").expires_at == first + timedelta(days=20)
        shop.clock.now += timedelta(days=40)
        assert shop.denied("c2", to=UK) == "expired"
        revived = done(shop.bill.accounts.recharge("B/1", 2, key="b"))
        assert revived.balance == Money(2, USD)
        assert shop.grant("c3", to=UK).granted
        shop.check_books()


def test_an_expired_card_is_not_revived_otherwise(tmp_path: Path):
    with sold("memory", tmp_path, batch={"expires_days_after_first_use": 1}) as shop:
        call(shop, "c1", 60, to=UK)
        shop.clock.now += timedelta(days=3)
        assert denied(shop.bill.accounts.recharge("B/1", 1, key="a")) == "expired"
        assert shop.bill.card("B/1").status is Status.EXPIRED


def test_no_recharge_is_taken_for_a_card_whose_batch_is_over(tmp_path: Path):
    over = {"expiration_date": date(2025, 3, 20)}
    with sold("memory", tmp_path, batch=over, recharge_days=30, recharge_revives=True) as shop:
        call(shop, "c1", 60, to=UK)
        done(shop.bill.accounts.recharge("B/1", 1, key="a"))
        shop.clock.now += timedelta(days=30)
        assert denied(shop.bill.accounts.recharge("B/1", 1, key="b")) == "expired"
        shop.bill.sweep()
        assert ledger_of(shop, "B/1")[-1] == ("breakage", -5_940_000)
        shop.check_books()


def test_what_was_recharged_by_hand_in_the_database_is_seen(tmp_path: Path):
    with sold("sqlite", tmp_path) as shop:
        call(shop, "c1", 60, to=UK)
        shop.bill.accounts.recharge("B/1", 10, key="pay")
        with sqlite3.connect(tmp_path / "cards.db") as connection:
            connection.execute("UPDATE record SET price = 11000000 WHERE key = 'op:pay'")
        connection.close()
        assert any("recharge pay" in problem for problem in shop.bill.audit().problems)


def test_a_package_of_money_is_counted_in_its_own_units(tmp_path: Path):
    credit = Package(
        name="credit",
        amount=Money("0.30", USD),
        given="bought",
        valid=BillingCycle(unit="days", count=2),
    )
    with sold("memory", tmp_path, packages=[credit]) as shop:
        call(shop, "c1", 60, to=UK)
        done(shop.bill.accounts.buy("B/1", "credit", key="a"))  # without a price: a gift
        record = call(shop, "c2", 360, to=UK)
        assert (record.rated, record.price) == (Money("0.36", USD), Money("0.06", USD))
        shop.check_books()


# -- two cards ----------------------------------------------------------------------------------


def ledger_of(shop: Shop, card_id: str) -> list[tuple[str, int]]:
    return [(entry.kind.value, entry.amount_units) for entry in shop.bill.entries(card_id)]


def test_money_goes_from_one_card_to_another_once(shop: Shop):
    call(shop, "c2", 60, to=UK, serial=2)
    sent = done(shop.bill.accounts.transfer("B/1", 2, to="B/2", key="t"))
    assert (sent.amount, sent.other, sent.balance) == (Money(2, USD), "B/2", Money("2.94", USD))
    assert shop.bill.card("B/2").balance == Money("6.89", USD)  # less what a recharge costs
    for bill in (shop.bill, shop.second()):
        again = done(bill.accounts.transfer("B/1", 2, to="B/2", key="t"))
        assert again.replayed
        assert again == sent
    with pytest.raises(IdempotencyMismatch, match="to"):
        shop.bill.accounts.transfer("B/1", 2, to="B/3", key="t")
    assert shop.stored("B/1").outgoing == {}
    shop.check_books()


def test_what_the_other_card_refuses_comes_back(shop: Shop):
    for _ in range(2):
        assert denied(shop.bill.accounts.transfer("B/1", 2, to="B/2", key="t")) == (
            "not_yet_effective"
        )
    assert shop.bill.card("B/1").balance == Money("4.94", USD)
    assert ledger_of(shop, "B/1")[-2:] == [
        ("transfer_out", -2_000_000),
        ("transfer_out", 2_000_000),
    ]
    assert ledger_of(shop, "B/2") == []
    shop.check_books()


def test_only_what_no_call_holds_can_leave(shop: Shop):
    call(shop, "c2", 60, to=UK, serial=2)
    shop.grant("c3", to=UK)
    assert denied(shop.bill.accounts.transfer("B/1", 4, to="B/2", key="t")) == (
        "insufficient_balance"
    )
    assert done(shop.bill.accounts.transfer("B/1", to="B/2", key="u")).amount == Money("0.02", USD)
    with pytest.raises(InvalidInput, match="giving card"):
        shop.bill.accounts.transfer("B/1", 1, to="B/1", key="v")
    shop.check_books()


def test_a_card_is_recharged_by_the_value_of_another_that_was_never_used(shop: Shop):
    pin = shop.pin(2)
    used_up = done(shop.bill.accounts.redeem("B/1", pin=pin, key="v", ani="+13055551234"))
    assert (used_up.card_id, used_up.amount) == ("B/2", Money(5, USD))
    assert shop.bill.card("B/1").balance == Money("9.89", USD)
    assert shop.bill.card("B/2").status is Status.VOID
    assert ledger_of(shop, "B/2") == [("face", 5_000_000), ("transfer_out", -5_000_000)]
    assert done(shop.bill.accounts.redeem("B/1", pin=pin, key="v")).replayed
    assert denied(shop.bill.accounts.redeem("B/1", pin=pin, key="w")) == "void"
    assert denied(shop.bill.authenticate(pin=pin)) == "void"  # type: ignore[arg-type]
    shop.check_books()


def test_a_voucher_that_is_refused_is_good_again(shop: Shop):
    for _ in range(2):
        answer = shop.bill.accounts.redeem("B/3", pin=shop.pin(2), key="v")
        assert denied(answer) == "not_yet_effective"
        assert isinstance(answer, Denied)
        assert answer.detail == "the receiving card was never used: it has no account yet"
    assert shop.grant("c2", to=UK, serial=2).granted
    shop.check_books()


@pytest.mark.parametrize("first_use", ["authorization", "authentication"])
def test_a_voucher_that_came_back_has_its_first_use_still_before_it(first_use, tmp_path: Path):
    terms = {"expires_days_after_first_use": 5, "first_use": first_use}
    with sold("memory", tmp_path, batch=terms, packages=[BONUS],
              charges=[fee("opening", "activation")]) as shop:  # fmt: skip
        for key in "vw":  # refused, it can be tried again
            answer = shop.bill.accounts.redeem("B/3", pin=shop.pin(2), key=key)
            assert denied(answer) == "not_yet_effective"
        if first_use == "authentication":
            shop.bill.authenticate(pin=shop.pin(2))
            assert shop.bill.card("B/2").first_used_at == shop.clock.now
        assert shop.grant("c2", to=UK, serial=2).max_seconds == (30 + 81) * 60
        card = shop.bill.card("B/2")
        assert card.first_used_at == shop.clock.now
        assert card.expires_at is not None
        assert posted(shop, "B/2")[-2:] == [("given", "bonus", 0), ("charge", "opening", -100_000)]
        shop.check_books()


def test_a_card_in_use_is_no_voucher_and_wrong_pins_are_counted(shop: Shop):
    call(shop, "c2", 60, to=UK, serial=2)
    answer = shop.bill.accounts.redeem("B/1", pin=shop.pin(2), key="v")
    assert denied(answer) == "exhausted"
    assert isinstance(answer, Denied)
    assert answer.detail == "it was used before: only a card that never was is a voucher"
    for _ in range(5):
        answer = shop.bill.accounts.redeem("B/1", pin="000000000042", key="w", ani="+13055550000")
        assert denied(answer) == "unknown_credential"
    answer = shop.bill.accounts.redeem("B/1", pin=shop.pin(3), key="x", ani="+13055550000")
    assert denied(answer) == "locked_out"
    shop.check_books()


def test_a_part_of_a_transfer_that_was_taken_out_by_hand_is_seen(tmp_path: Path):
    with sold("sqlite", tmp_path) as shop:
        call(shop, "c1", 60, to=UK)
        call(shop, "c2", 60, to=UK, serial=2)
        shop.bill.accounts.transfer("B/1", 2, to="B/2", key="t")
        with sqlite3.connect(tmp_path / "cards.db") as connection:
            connection.execute("DELETE FROM record WHERE card = 'B/2' AND kind = 'transfer_in'")
        connection.close()
        problems = shop.bill.audit().problems
        assert any("card B/2 has no part in it" in problem for problem in problems)


class Died(Exception):
    """The process ends here."""


@contextmanager
def dying_after(shop: Shop, steps: int) -> Iterator[None]:
    """Let what is done end after so many steps."""
    storage, transact = shop.bill.storage, shop.bill.storage.transact
    left = [steps]

    def dying(*args: Any, **kwargs: Any) -> Any:
        if not left[0]:
            raise Died
        left[0] -= 1
        return transact(*args, **kwargs)

    storage.transact = dying  # type: ignore[method-assign]
    with pytest.raises(Died):
        yield
    storage.transact = transact  # type: ignore[method-assign]


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("again", ["sweep", "request", "both"])
def test_a_transfer_that_was_cut_short_is_completed(shop: Shop, steps: int, again: str):
    call(shop, "c2", 60, to=UK, serial=2)
    with dying_after(shop, steps):
        shop.bill.accounts.transfer("B/1", 2, to="B/2", key="t")
    assert shop.stored("B/1").outgoing["t"].amount == 2_000_000
    assert shop.bill.sweep().cards == 0  # it may be on its way still
    shop.clock.tick(seconds=60)
    if again != "request":
        assert shop.bill.sweep().cards == 1
    if again != "sweep":
        assert done(shop.bill.accounts.transfer("B/1", 2, to="B/2", key="t")).replayed
    assert shop.bill.sweep().cards == 0
    assert shop.stored("B/1").outgoing == {}
    assert shop.bill.card("B/1").balance == Money("2.94", USD)
    assert shop.bill.card("B/2").balance == Money("6.89", USD)
    shop.check_books()


def test_what_comes_back_pays_what_came_to_be_owed_meanwhile(tmp_path: Path):
    with sold("memory", tmp_path, charges=[evolve(WEEKLY, when_short="owe")]) as shop:
        call(shop, "c1", 60, to=UK)
        with dying_after(shop, 1):
            shop.bill.accounts.transfer("B/1", to="B/2", key="t")
        shop.clock.now += timedelta(days=15)
        shop.bill.sweep()  # two fees first, for which there is nothing; then B/2 refuses
        assert shop.stored("B/1").owed == {}
        assert posted(shop, "B/1")[-3:] == [
            ("transfer_out", "", 4_940_000),
            ("charge", "weekly fee", -250_000),
            ("charge", "weekly fee", -250_000),
        ]
        assert shop.bill.sweep().cards == 0
        shop.check_books()
