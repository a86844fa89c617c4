"""What a tax engine outside may answer, and what happens when it does not."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from attrs import evolve

from cardbill import Jurisdiction, PriceLine, Tax, Taxed, TaxFallback, TaxLevel, TaxLine, TaxOn
from cardbill.errors import InvalidInput, WrongCurrency
from cardbill.taxengines import (
    NOT_TAXED,
    TaxAnswer,
    TaxDecision,
    TaxEngine,
    TaxRequest,
    check_answer,
    decide,
)
from cardbill.taxes import rules_at

NOW = datetime(2026, 3, 1, tzinfo=UTC)
LINES = (PriceLine(TaxOn.USAGE, 120), PriceLine(TaxOn.SURCHARGE, 50, taxable=False))
REQUEST = TaxRequest(
    key="B/1 c1", jurisdiction="GB", at=NOW, currency="GBP", lines=LINES, caller="442071234567"
)
VAT = TaxLine("VAT", TaxLevel.COUNTRY, 20, 100, inclusive=True)
LEVY = TaxLine("levy", TaxLevel.COUNTRY, 3, 100, inclusive=False)
ANSWER = TaxAnswer("GBP", (100, 50), (VAT, LEVY))
BUILT_IN = rules_at(
    Jurisdiction(name="GB", country="GB", taxes=[Tax(name="VAT", on="usage", percent=25)]),
    NOW,
    "GBP",
)


class Scripted:
    """An engine that answers what it was told to, if there is time."""

    def tax(self, request: TaxRequest, deadline: datetime) -> TaxAnswer:
        if deadline <= request.at:
            raise TimeoutError("late")
        return ANSWER


def test_a_right_answer_is_the_event_with_its_taxes():
    engine: TaxEngine = Scripted()
    answer = engine.tax(REQUEST, NOW + timedelta(seconds=1))
    taxed = check_answer(REQUEST, answer)
    assert taxed == Taxed((100, 50), (VAT, LEVY))
    assert (taxed.net, taxed.tax, taxed.total) == (150, 23, 173)
    assert decide(REQUEST, answer, rules=BUILT_IN) == TaxDecision(taxed)


WRONG: Any = ANSWER
WRONG_LEVY: Any = LEVY


@pytest.mark.parametrize(
    ("field", "answer"),
    [
        ("tax answer", "5 %"),
        ("tax answer nets", evolve(WRONG, nets=(100,))),
        ("tax answer nets", evolve(WRONG, nets=(99, 50))),
        ("tax answer net", evolve(WRONG, nets=(-1, 50))),
        ("tax answer net", evolve(WRONG, nets=(121, 50))),
        ("tax answer net", evolve(WRONG, nets=(100.0, 50))),
        ("tax answer net", evolve(WRONG, nets=(101, 49))),  # the second is not taxable
        ("tax answer line", evolve(WRONG, taxes=(("VAT", 20),))),
        ("tax answer tax", evolve(WRONG, taxes=(VAT, evolve(WRONG_LEVY, tax="")))),
        ("tax answer level", evolve(WRONG, taxes=(VAT, evolve(WRONG_LEVY, level="city")))),
        ("tax answer inclusive", evolve(WRONG, taxes=(VAT, evolve(WRONG_LEVY, inclusive=0)))),
        ("tax answer amount of levy", evolve(WRONG, taxes=(VAT, evolve(WRONG_LEVY, amount=-3)))),
        ("tax answer amount of levy", evolve(WRONG, taxes=(VAT, evolve(WRONG_LEVY, amount=3.0)))),
        ("tax answer base of levy", evolve(WRONG, taxes=(VAT, evolve(WRONG_LEVY, base=None)))),
    ],
)
def test_a_wrong_answer_is_refused_and_the_policy_decides(field: str, answer: Any):
    with pytest.raises(InvalidInput) as caught:
        check_answer(REQUEST, answer)
    assert caught.value.field == field
    decision = decide(REQUEST, answer, rules=BUILT_IN)
    assert decision.taxed == BUILT_IN.taxed(LINES)
    assert decision.fallback is TaxFallback.BUILT_IN
    assert decision.problem == str(caught.value)


def test_an_answer_in_another_currency_is_refused():
    with pytest.raises(WrongCurrency, match="must be in GBP"):
        check_answer(REQUEST, evolve(ANSWER, currency="EUR"))


def test_without_an_answer_the_built_in_calculator_taxes():
    decision = decide(REQUEST, None, rules=BUILT_IN)
    assert decision == TaxDecision(BUILT_IN.taxed(LINES), TaxFallback.BUILT_IN, "no answer in time")
    assert decision.taxed is not None
    assert decision.taxed.total == 200


def test_or_no_tax_is_taken_and_a_line_says_what_is_still_to_be_taxed():
    decision = decide(REQUEST, None, rules=BUILT_IN, fallback="untaxed", problem="HTTP 503")
    assert decision.problem == "HTTP 503"
    assert decision.taxed is not None
    (mark,) = decision.taxed.taxes
    assert (mark.tax, mark.amount, mark.base) == (NOT_TAXED, 0, 120)
    assert decision.taxed.nets == (120, 50)
    assert decision.taxed.total == 170


def test_or_the_event_is_refused():
    decision = decide(REQUEST, None, rules=BUILT_IN, fallback=TaxFallback.REFUSE)
    assert decision == TaxDecision(None, TaxFallback.REFUSE, "no answer in time")


def test_a_policy_or_a_request_that_makes_no_sense_is_refused():
    with pytest.raises(InvalidInput, match="tax fallback"):
        decide(REQUEST, None, rules=BUILT_IN, fallback="hope")
    with pytest.raises(InvalidInput, match="at: must be aware"):
        evolve(REQUEST, at=NOW.replace(tzinfo=None))
    with pytest.raises(InvalidInput, match="currency"):
        evolve(REQUEST, currency="???")
