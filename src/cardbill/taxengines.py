"""A port for a tax engine outside, and what happens when it is late, fails or errs.

Only the pure parts are here: what is asked and answered, whether an answer can be right, and
what the policy makes of it. :mod:`cardbill.taxing` says which events are asked about,
:mod:`cardbill.taxdesk` asks and keeps the deadline.

An engine answers for one event; nobody can ask it for the longest call that fits. So what a
call may cost is reckoned with the built-in rules when it is granted, and the engine is asked
when it is settled.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import Enum
from typing import Protocol

from attrs import field, frozen

from cardbill import money
from cardbill.errors import CardbillError, InvalidInput, WrongCurrency
from cardbill.instants import aware
from cardbill.jurisdictions import MOST_TAXES, Exemption, TaxLevel
from cardbill.names import check_choice, check_count, check_kind, check_name
from cardbill.taxes import PriceLine, Taxed, TaxLine, TaxRules

NOT_TAXED = "not taxed"
"""The name of the line of amount 0 that marks an event still to be taxed."""


def _prices(value: Iterable[PriceLine]) -> tuple[PriceLine, ...]:
    return tuple(value)


def _amounts(value: Iterable[int]) -> tuple[int, ...]:
    return tuple(value)


def _taxes(value: Iterable[TaxLine]) -> tuple[TaxLine, ...]:
    return tuple(value)


@frozen(kw_only=True)
class TaxRequest:
    """An event that an engine is asked to tax.

    Attributes:
        key: Names the event, in all of a store; asked again under the same key, it is the
            same event, and what is asked last counts.
        jurisdiction: The name of the jurisdiction.
        at: The aware instant that counts.
        currency: ISO 4217 code of all amounts.
        lines: The quoted amounts, in ledger units.
        exemptions: What the payer is exempt from.
        caller: The caller's E.164 number, where the event is a call and it is known.
        called: The called E.164 number, where the event is a call.

    Raises:
        InvalidInput: The instant has no time zone, or there is no such currency.
    """

    key: str
    jurisdiction: str
    at: datetime
    currency: str
    lines: tuple[PriceLine, ...] = field(converter=_prices)
    exemptions: tuple[Exemption, ...] = ()
    caller: str | None = None
    called: str | None = None

    def __attrs_post_init__(self) -> None:
        aware("at", self.at)
        money.currency_code("currency", self.currency)


@frozen
class TaxAnswer:
    """What an engine answers: an event with its taxes.

    Attributes:
        currency: ISO 4217 code of all amounts.
        nets: Each line's amount without tax, in the order of the request.
        taxes: The tax lines, each of another name.
    """

    currency: str
    nets: tuple[int, ...] = field(converter=_amounts)
    taxes: tuple[TaxLine, ...] = field(converter=_taxes)


class TaxEngine(Protocol):
    """A tax engine outside of this library."""

    def tax(self, request: TaxRequest, deadline: datetime) -> TaxAnswer:
        """Return the request's event with its taxes.

        It is called by whichever thread does the operation, never while the store is
        waiting; this library starts no thread, so it is the engine that has to keep the
        deadline. It is a question: what was posted is in the ledger.

        Args:
            request: The event; the same key may come again and gets the same answer.
            deadline: The aware instant after which nobody waits any more.

        Raises:
            Exception: Any: there is no answer.
        """


class TaxFallback(Enum):
    """What happens to an event when the engine has no usable answer in time."""

    BUILT_IN = "built_in"
    """The built-in calculator taxes it (the default)."""
    UNTAXED = "untaxed"
    """It bears no tax; a marked line of amount 0 says so, with what is still to be taxed."""
    REFUSE = "refuse"
    """It does not take place: :class:`~cardbill.errors.TaxUnavailable`. Calls, what their
    first use triggers and transfers always do; for them it is the built-in calculator."""


@frozen
class TaxDecision:
    """What an event is taxed with, and why.

    Attributes:
        taxed: The event with its taxes; ``None``: it is refused.
        fallback: What the policy put in the place of the engine's answer; ``None``: nothing,
            the answer stands.
        problem: Why the engine's answer was not used; empty: it was.
    """

    taxed: Taxed | None
    fallback: TaxFallback | None = None
    problem: str = ""


class TaxNeeded(CardbillError):
    """A decision needs an answer that is not at hand; never leaves the engine.

    Attributes:
        request: What to ask.
        rules: What the built-in calculator goes by.
    """

    def __init__(self, request: TaxRequest, rules: TaxRules) -> None:
        self.request = request
        self.rules = rules
        super().__init__(f"{request.key} is to be taxed")


def check_answer(request: TaxRequest, answer: TaxAnswer) -> Taxed:
    """Return an engine's answer as an event with its taxes, if it can be one.

    Raises:
        WrongCurrency: It is in another currency than the request.
        InvalidInput: It is no answer, or :func:`check_taxed` refuses it.
    """
    check_kind("tax answer", answer, TaxAnswer)
    if answer.currency != request.currency:
        raise WrongCurrency("tax answer", answer.currency, f"must be in {request.currency}")
    taxed = Taxed(answer.nets, answer.taxes)
    check_taxed(request.lines, taxed)
    return taxed


def check_taxed(lines: Sequence[PriceLine], answer: Taxed) -> None:
    """Check that an event with its taxes can be that of those lines.

    Raises:
        InvalidInput: A net amount is missing, negative or more than was quoted; a line that
            is not taxable was taxed; there are more than 200 taxes, or two of one name; a
            tax has a negative amount; or net and inclusive taxes are not what was quoted.
    """
    if len(answer.nets) != len(lines):
        raise InvalidInput(
            "tax answer nets", len(answer.nets), f"must be {len(lines)}, one for each line"
        )
    for net, line in zip(answer.nets, lines, strict=True):
        check_count("tax answer net", net, 0 if line.taxable else line.amount, line.amount)
    check_count("tax answer taxes", len(answer.taxes), 0, MOST_TAXES)
    names: set[str] = set()
    for tax in answer.taxes:
        check_kind("tax answer line", tax, TaxLine)
        if check_name("tax answer tax", tax.tax) in names:
            raise InvalidInput("tax answer tax", tax.tax, "stands twice")
        names.add(tax.tax)
        check_kind("tax answer level", tax.level, TaxLevel)
        check_kind("tax answer inclusive", tax.inclusive, bool)
        for name in ("amount", "base"):
            check_count(f"tax answer {name} of {tax.tax}", getattr(tax, name), 0, money.MAX_UNITS)
    quoted = sum(line.amount for line in lines)
    contained = sum(tax.amount for tax in answer.taxes if tax.inclusive)
    if sum(answer.nets) + contained != quoted:
        problem = f"and inclusive taxes of {contained} do not make the {quoted} that was quoted"
        raise InvalidInput("tax answer nets", sum(answer.nets), problem)
    check_count("tax answer total", answer.total, 0, money.MAX_UNITS)


def decide(
    request: TaxRequest,
    answer: TaxAnswer | None,
    *,
    rules: TaxRules,
    fallback: TaxFallback | str = TaxFallback.BUILT_IN,
    problem: str = "no answer in time",
) -> TaxDecision:
    """Return what an event is taxed with: the engine's answer, or what the policy says.

    Args:
        request: What was asked.
        answer: What came back; ``None``: nothing, or too late.
        rules: What the built-in calculator goes by.
        fallback: The policy.
        problem: Why there is no answer.

    Raises:
        InvalidInput: The policy is none.
    """
    policy = check_choice("tax fallback", fallback, TaxFallback)
    if answer is not None:
        try:
            return TaxDecision(check_answer(request, answer))
        except InvalidInput as error:
            problem = str(error)
    if policy is TaxFallback.REFUSE:
        return TaxDecision(None, policy, problem)
    if policy is TaxFallback.UNTAXED:
        return TaxDecision(_untaxed(request), policy, problem)
    return TaxDecision(rules.taxed(request.lines), policy, problem)


def _untaxed(request: TaxRequest) -> Taxed:
    base = sum(line.amount for line in request.lines if line.taxable)
    mark = TaxLine(NOT_TAXED, TaxLevel.COUNTRY, 0, base, inclusive=False)
    return Taxed(tuple(line.amount for line in request.lines), (mark,))
