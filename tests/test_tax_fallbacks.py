"""A tax engine outside that is late, raises or errs: what stands in for its answer."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from moneyed import USD, Money

from cardbill import Package, TaxAnswer, TaxFallback, TaxLevel, TaxLine, TaxRequest
from cardbill.errors import TaxUnavailable
from cardbill.taxengines import NOT_TAXED
from tests.test_sold_with import fee
from tests.test_taxdesk import MANUAL, WHO, Answer, Outside, asking, books, on_top


def _raises(error: BaseException) -> Answer:
    def answer(request: TaxRequest) -> TaxAnswer:
        raise error

    return answer


def _changed(**fields: Any) -> Answer:
    return lambda request: evolve(on_top(25)(request), **fields)


def _twice(request: TaxRequest) -> TaxAnswer:
    answer = on_top(25)(request)
    return evolve(answer, taxes=answer.taxes * 2)


BAD: dict[str, tuple[Any, str]] = {
    "raises": (_raises(TimeoutError("secret 1234")), "TimeoutError raised by the tax engine"),
    "says nothing": (lambda _: None, "no answer"),
    "in euros": (_changed(currency="EUR"), "must be in USD"),
    "negative": (
        _changed(taxes=[TaxLine("t", TaxLevel.STATE, -1, 0, inclusive=False)]),
        "tax answer amount of t",
    ),
    "does not add up": (_changed(nets=[1]), "do not make the 60000"),
    "of another event": (_changed(nets=[1, 2]), "one for each line"),
    "one name twice": (_twice, "stands twice"),
    "too large": (
        _changed(taxes=[TaxLine("t", TaxLevel.STATE, 2**63, 0, inclusive=False)]),
        "tax answer amount of t",
    ),
}


@pytest.mark.parametrize("why", BAD)
def test_without_a_usable_answer_the_built_in_rules_tax(kind: str, tmp_path: Path, why: str):
    answer, problem = BAD[why]
    with asking(kind, tmp_path, Outside(answer)) as shop:
        record = shop.bill.settle(shop.grant().handle, talk_ms=60_000)
        assert books(shop) == [("call", "", -60_000), ("tax", "sales tax", -6_000)]
        assert record.tax_decision is not None
        assert record.tax_decision.fallback is TaxFallback.BUILT_IN
        assert problem in record.tax_decision.problem
        assert "secret" not in record.tax_decision.problem
        assert shop.records() == [record]


@pytest.mark.parametrize(("by", "counts"), [(2, True), (3, False)])
def test_what_comes_after_the_deadline_is_not_used(tmp_path: Path, by: int, counts: bool):
    def answer(request: TaxRequest) -> TaxAnswer:
        shop.clock.tick(seconds=by)
        return on_top(25)(request)

    with asking("memory", tmp_path, Outside(answer)) as shop:
        record = shop.bill.settle(shop.grant().handle, talk_ms=60_000)
        assert record.tax_units == (15_000 if counts else 6_000)
        assert record.tax_decision is not None
        assert record.tax_decision.problem == ("" if counts else "no answer in time")
        books(shop)


def test_all_questions_of_one_operation_share_the_deadline(tmp_path: Path):
    def answer(request: TaxRequest) -> TaxAnswer:
        shop.clock.tick(seconds=3)
        return on_top(25)(request)

    outside = Outside(answer)
    fees = [fee(f"fee {number}", "recharge") for number in range(5)]
    with asking("memory", tmp_path, outside, seconds=5, charges=fees) as shop:
        shop.bill.cancel(shop.grant().handle)
        shop.bill.accounts.recharge("B/1", 1, key="k")
        assert outside.keys == ["B/1 recharge k: fee 0", "B/1 recharge k: fee 1"]
        assert [amount for kind, _, amount in books(shop) if kind == "tax"] == [
            -25_000, *[-10_000] * 4
        ]  # fmt: skip


def test_a_program_that_is_stopped_stops(tmp_path: Path):
    with asking("memory", tmp_path, Outside(_raises(KeyboardInterrupt()))) as shop:
        handle = shop.grant().handle
        with pytest.raises(KeyboardInterrupt):
            shop.bill.settle(handle, talk_ms=60_000)
        assert shop.stored().holds.keys() == {"c1"}
        assert books(shop) == []


def test_or_it_bears_no_tax_and_a_marked_line_says_so(kind: str, tmp_path: Path):
    down = Outside(_raises(OSError()))
    with asking(kind, tmp_path, down, fallback="untaxed", charges=[MANUAL]) as shop:
        record = shop.bill.settle(shop.grant().handle, talk_ms=60_000)
        shop.bill.accounts.charge("B/1", "paper", key="k", **WHO)
        assert record.tax_units == 0
        assert books(shop) == [
            ("call", "", -60_000),
            ("tax", NOT_TAXED, 0),
            ("charge", "paper", -500_000),
            ("tax", NOT_TAXED, 0),
        ]
        (still,) = shop.bill.reports.taxes()
        assert (still.tax, still.events, still.base_units) == (NOT_TAXED, 2, 560_000)
        lines = shop.bill.statement("B/1").lines  # the customer has nothing from it
        assert [line.kind.value for line in lines] == ["face", "call", "charge"]


def test_or_what_can_be_refused_is(kind: str, tmp_path: Path):
    outside = Outside(_raises(OSError()))
    bought = Package(name="bonus", minutes=10, given="bought", price=Money(1, USD))
    plan: dict[str, Any] = {
        "charges": [fee("start", "activation"), fee("top-up", "recharge"), MANUAL],
        "packages": [bought],
    }
    with asking(kind, tmp_path, outside, fallback=TaxFallback.REFUSE, **plan) as shop:
        # A call takes place, and what its first use triggers.
        shop.bill.settle(shop.grant().handle, talk_ms=60_000)
        before = books(shop)
        assert before == [
            ("charge", "start", -100_000),
            ("tax", "sales tax", -10_000),
            ("call", "", -60_000),
            ("tax", "sales tax", -6_000),
        ]
        accounts = shop.bill.accounts
        asked: list[Callable[[], Any]] = [
            lambda: accounts.recharge("B/1", 1, key="k1"),
            lambda: accounts.charge("B/1", "paper", key="k2", **WHO),
            lambda: accounts.buy("B/1", "bonus", key="k3"),
        ]
        for ask in asked:
            with pytest.raises(TaxUnavailable, match="OSError"):
                ask()
        assert books(shop) == before
        outside.answer = on_top(25)
        for ask in asked:
            assert not ask().replayed  # the same key, as if for the first time
        assert len(books(shop)) > len(before)


def test_a_transfer_is_not_refused_half_way(tmp_path: Path):
    down = Outside(_raises(OSError()))
    top_up = [fee("top-up", "recharge")]
    with asking("memory", tmp_path, down, fallback="refuse", charges=top_up) as shop:
        for serial in (1, 2):
            shop.bill.cancel(shop.grant(f"c{serial}", serial=serial).handle)
        shop.bill.accounts.transfer("B/1", 2, to="B/2", key="k")
        assert books(shop, "B/2") == [
            ("transfer_in", "", 2_000_000),
            ("charge", "top-up", -100_000),
            ("tax", "sales tax", -10_000),
        ]
