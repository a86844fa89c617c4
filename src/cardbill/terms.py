"""Rates and tariffs as short plain lists: how decks and holds store the terms of a price."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from cardbill.increments import BlockRounding, Step
from cardbill.money import RoundingMode
from cardbill.rating import Beyond, Rate, Rounding
from cardbill.tariffs import Tariff

# Stored by position: append only.
_MODES = tuple(RoundingMode)
_BEYOND = tuple(Beyond)
_BLOCKS = tuple(BlockRounding)


def rate_to_list(rate: Rate) -> list[Any]:
    """Return a rate as JSON can hold it: integers only; what few rates have, last or not at all."""
    stored = [
        [[step.from_second, step.price_per_minute, step.increment] for step in rate.steps],
        rate.connect_fee,
        rate.grace_seconds,
        rate.free_seconds,
        rate.minimum_charge,
        rate.end_fee,
        rate.surcharge_ppm,
        rate.rounding.unit,
        _MODES.index(rate.rounding.mode),
    ]
    rest = [
        rate.maximum_charge,
        _BEYOND.index(rate.beyond_maximum),
        _BLOCKS.index(rate.block_rounding),
    ]
    return stored if rest == [None, 0, 0] else stored + rest


def rate_from_list(stored: Sequence[Any]) -> Rate:
    """Return the rate that :func:`rate_to_list` wrote; equal lists give the same object."""
    steps, *numbers = stored
    return _rate(tuple(map(tuple, steps)), *numbers)


@lru_cache(maxsize=4096)
def _rate(
    steps: tuple[tuple[int, int, int], ...],
    connect_fee: int,
    grace_seconds: int,
    free_seconds: int,
    minimum_charge: int,
    end_fee: int,
    surcharge_ppm: int,
    unit: int,
    mode: int,
    maximum_charge: int | None = None,
    beyond: int = 0,
    blocks: int = 0,
) -> Rate:
    return Rate(
        steps=tuple(Step(*step) for step in steps),
        connect_fee=connect_fee,
        grace_seconds=grace_seconds,
        free_seconds=free_seconds,
        minimum_charge=minimum_charge,
        end_fee=end_fee,
        surcharge_ppm=surcharge_ppm,
        rounding=Rounding(unit, _MODES[mode]),
        maximum_charge=maximum_charge,
        beyond_maximum=_BEYOND[beyond],
        block_rounding=_BLOCKS[blocks],
    )


def tariff_to_list(tariff: Tariff) -> list[Any]:
    """Return a tariff as JSON can hold it: its rate; or its rates, and when which begins."""
    if not tariff.changes:
        return rate_to_list(tariff.rate)
    numbers = {tariff.rate: 0}
    changes = [[second, numbers.setdefault(rate, len(numbers))] for second, rate in tariff.changes]
    return [[rate_to_list(rate) for rate in numbers], changes]


def tariff_from_list(stored: Sequence[Any]) -> Tariff:
    """Return the tariff that :func:`tariff_to_list` wrote."""
    if not isinstance(stored[1], list):
        return Tariff(rate_from_list(stored))
    rates = [rate_from_list(rate) for rate in stored[0]]
    return Tariff(rates[0], tuple((second, rates[number]) for second, number in stored[1]))
