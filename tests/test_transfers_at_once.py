"""Transfers while others do the same, or something else, in between: no money is made or lost."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from moneyed import USD, Money

from cardbill import Denied, Engine, Operation, Status
from cardbill.errors import InvalidInput, TransitionRefused
from tests.building import STORES, UK, Shop, open_shop
from tests.test_sold_with import call

WHO: dict[str, Any] = {"actor": "ann", "reason": "ticket 7"}


@pytest.fixture(params=STORES)
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    """A shop whose card B/1 was used, with 4.94 left; B/2 and B/3 were not."""
    with open_shop(request.param, tmp_path) as shop:
        call(shop, "c1", 60, to=UK)
        yield shop


@contextmanager
def in_between(bill: Engine, after: int, happens: Callable[[], object]) -> Iterator[None]:
    """Let something happen after so many steps of what is done; there must be so many."""
    storage, transact, steps = bill.storage, bill.storage.transact, [0]

    def stepping(*args: Any, **kwargs: Any) -> Any:
        answer = transact(*args, **kwargs)
        steps[0] += 1
        if steps[0] == after:
            storage.transact = transact  # type: ignore[method-assign]
            happens()
        return answer

    storage.transact = stepping  # type: ignore[method-assign]
    try:
        yield
        assert steps[0] >= after, "there were not so many steps"
    finally:
        storage.transact = transact  # type: ignore[method-assign]


def total(shop: Shop) -> int:
    """What B/1 and B/2 hold, in ledger units; of a voucher whose value has gone, nothing."""
    return sum(shop.stored(card).available for card in ("B/1", "B/2"))


def same(one: Any, other: Any) -> bool:
    if isinstance(one, Denied) or isinstance(other, Denied):
        return bool(one == other)
    return (one.amount_units, one.refused) == (other.amount_units, other.refused)


@pytest.mark.parametrize("after", [1, 2, 3])
@pytest.mark.parametrize("by", ["request", "sweep"])
def test_a_refusal_stands_whoever_goes_on_when_the_card_could_take_it_after_all(
    shop: Shop, after: int, by: str
):
    call(shop, "c2", 60, to=UK, serial=2)
    shop.bill.control.block("B/2", **WHO)
    before, other, others = total(shop), shop.second(), list[Operation | Denied]()

    def happens() -> None:
        other.control.unblock("B/2", **WHO)
        shop.clock.tick(seconds=60)
        other.sweep()
        if by == "request":
            others.append(other.accounts.transfer("B/1", 2, to="B/2", key="t"))

    with in_between(shop.bill, after, happens):
        answer = shop.bill.accounts.transfer("B/1", 2, to="B/2", key="t")
    assert isinstance(answer, Denied) == (after > 1)
    assert all(same(answer, each) for each in others)
    assert same(answer, shop.bill.accounts.transfer("B/1", 2, to="B/2", key="t"))
    assert total(shop) == before
    assert shop.stored("B/2").available == 4_940_000 + (0 if after > 1 else 2_000_000)
    shop.check_books()


class Died(Exception):
    """The process ends here."""


def die() -> None:
    raise Died


BOTH = [(after, dies_after) for after in (1, 2) for dies_after in (1, 2, 3)]


@pytest.mark.parametrize(("after", "dies_after"), [*BOTH, (3, 1)])  # then there is no more to do
def test_a_voucher_is_used_up_by_one_card_or_by_none(shop: Shop, after: int, dies_after: int):
    """One process redeems it, another one meanwhile does the same, and dies."""
    pin, other = shop.pin(2), shop.second()

    def redeem(bill: Engine, key: str) -> Operation | Denied:
        return bill.accounts.redeem("B/3", pin=pin, key=key)

    def happens() -> None:
        call(shop, "c3", 60, to=UK, serial=3)  # now B/3 can take it
        with suppress(Died), in_between(other, dies_after, die):
            redeem(other, "v")

    with in_between(shop.bill, after, happens):
        redeem(shop.bill, "v")
    redeem(other, "w")
    shop.check_books()
    assert shop.bill.card("B/2").status is Status.VOID
    assert shop.stored("B/3").available == 4_940_000 + 5_000_000


def test_no_key_of_a_host_is_that_of_a_transfer_that_comes_in(shop: Shop):
    call(shop, "c2", 60, to=UK, serial=2)
    shop.bill.accounts.recharge("B/2", 1, key="B/1|t")
    with pytest.raises(InvalidInput, match="key"):
        shop.bill.accounts.recharge("B/2", 1, key="B/1 t")
    answer = shop.bill.accounts.transfer("B/1", 2, to="B/2", key="t")
    assert isinstance(answer, Operation)
    assert shop.bill.card("B/2").balance == Money("7.94", USD)
    shop.check_books()


def test_a_voucher_whose_value_is_on_its_way_cannot_be_voided_until_it_is_there_or_back(
    shop: Shop,
):
    def happens() -> None:
        with pytest.raises(TransitionRefused, match="B/2 is being redeemed: void"):
            shop.bill.control.void("B/2", **WHO)

    with in_between(shop.bill, 1, happens):
        refused = shop.bill.accounts.redeem("B/3", pin=shop.pin(2), key="v")
    assert isinstance(refused, Denied)
    assert shop.bill.control.void("B/2", **WHO).status is Status.VOID
    assert shop.stored("B/2").available == 0
    shop.check_books()
