"""Taxes as short plain lists: how the catalogue, batches and holds store their terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

from cardbill import money
from cardbill.instants import aware
from cardbill.jurisdictions import (
    LEVELS,
    PARTS_PER_PERCENT,
    Exemption,
    Jurisdiction,
    Moment,
    Tax,
    TaxOn,
)
from cardbill.money import RoundingMode
from cardbill.rating import Rounding
from cardbill.taxengines import TaxDecision, TaxFallback
from cardbill.taxes import Taxed, TaxLine, TaxRules

_MODES = tuple(RoundingMode)  # these three are stored by position: append only
_ON = tuple(TaxOn)


def tax_to_list(tax: Tax) -> list[Any]:
    """Return a tax as JSON can hold it: integers and text only."""
    return [
        tax.name,
        [_ON.index(on) for on in tax.on],
        None if tax.percent is None else tax.rate,
        None if tax.flat is None else [tax.flat_units, tax.currency],
        LEVELS.index(tax.level),
        int(tax.inclusive),
        tax.tier,
        int(tax.on_itself),
        _stored(tax.effective_from),
        _stored(tax.effective_until),
        tax.rounding.unit,
        _MODES.index(tax.rounding.mode),
    ]


def tax_from_list(stored: Sequence[Any]) -> Tax:
    """Return the tax that :func:`tax_to_list` wrote."""
    name, on, rate, flat, level, inclusive, tier, on_itself, begin, end, unit, mode = stored
    return Tax(
        name=name,
        on=[_ON[index] for index in on],
        percent=None if rate is None else _percent(rate),
        flat=None if flat is None else money.money(*flat),
        level=LEVELS[level],
        inclusive=bool(inclusive),
        tier=tier,
        on_itself=bool(on_itself),
        effective_from=_moment(begin),
        effective_until=_moment(end),
        rounding=Rounding(unit, _MODES[mode]),
    )


def jurisdiction_to_dict(jurisdiction: Jurisdiction) -> dict[str, Any]:
    """Return a jurisdiction as JSON can hold it."""
    return {
        "name": jurisdiction.name,
        **{level.value: getattr(jurisdiction, level.value) for level in LEVELS},
        "time_zone": jurisdiction.time_zone,
        "taxes": [tax_to_list(tax) for tax in jurisdiction.taxes],
    }


def jurisdiction_from_dict(stored: Mapping[str, Any]) -> Jurisdiction:
    """Return the jurisdiction that :func:`jurisdiction_to_dict` wrote."""
    return Jurisdiction(**{**stored, "taxes": [tax_from_list(tax) for tax in stored["taxes"]]})


def exemption_to_list(exemption: Exemption) -> list[Any]:
    """Return an exemption as JSON can hold it."""
    return [
        exemption.reason,
        exemption.certificate,
        list(exemption.taxes),
        _stored(exemption.effective_from),
        _stored(exemption.effective_until),
    ]


def exemption_from_list(stored: Sequence[Any]) -> Exemption:
    """Return the exemption that :func:`exemption_to_list` wrote."""
    reason, certificate, taxes, begin, end = stored
    return Exemption(
        reason=reason,
        certificate=certificate,
        taxes=taxes,
        effective_from=_moment(begin),
        effective_until=_moment(end),
    )


def rules_to_list(rules: TaxRules) -> list[Any]:
    """Return rules as a hold carries them, without the dates that chose them."""
    return [rules.jurisdiction, [_undated(tax_to_list(tax)) for tax in rules.taxes]]


def rules_from_list(stored: Sequence[Any]) -> TaxRules:
    """Return the rules that :func:`rules_to_list` wrote; equal lists give the same object."""
    jurisdiction, taxes = stored
    return _rules(jurisdiction, tuple(_frozen(tax) for tax in taxes))


def decision_to_list(decision: TaxDecision) -> list[Any]:
    """Return a decision that was not to refuse, as a call's record keeps it."""
    assert decision.taxed is not None  # noqa: S101  # or there were no record
    return [
        list(decision.taxed.nets),
        [
            [line.tax, LEVELS.index(line.level), line.amount, line.base, int(line.inclusive)]
            for line in decision.taxed.taxes
        ],
        decision.fallback and decision.fallback.value,
        decision.problem,
    ]


def decision_from_list(stored: Sequence[Any]) -> TaxDecision:
    """Return the decision that :func:`decision_to_list` wrote."""
    nets, taxes, fallback, problem = stored
    lines = tuple(
        TaxLine(tax, LEVELS[level], amount, base, bool(inclusive))
        for tax, level, amount, base, inclusive in taxes
    )
    return TaxDecision(Taxed(tuple(nets), lines), fallback and TaxFallback(fallback), problem)


@lru_cache(maxsize=1024)
def _rules(jurisdiction: str, taxes: tuple[Any, ...]) -> TaxRules:
    return TaxRules(jurisdiction, tuple(tax_from_list(tax) for tax in taxes))


def _undated(stored: list[Any]) -> list[Any]:
    return [*stored[:8], None, None, *stored[10:]]


def _frozen(stored: Any) -> Any:
    return tuple(map(_frozen, stored)) if isinstance(stored, list | tuple) else stored


def _percent(rate: int) -> Decimal:
    """The percentage of a rate, exactly: in text, so that no context can round it."""
    whole, parts = divmod(rate, PARTS_PER_PERCENT)
    return Decimal(f"{whole}.{parts:07d}")


def _stored(moment: Moment | None) -> str | None:
    if isinstance(moment, datetime):
        moment = aware("moment", moment)
    return None if moment is None else moment.isoformat()


def _moment(stored: str | None) -> Moment | None:
    if stored is None:
        return None
    return datetime.fromisoformat(stored) if "T" in stored else date.fromisoformat(stored)
