"""Rates as short plain lists: how decks and holds store the terms of a price."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from cardbill.money import RoundingMode
from cardbill.rating import Rate, Rounding, Step

_MODES = tuple(RoundingMode)  # stored by position: append only


def rate_to_list(rate: Rate) -> list[Any]:
    """Return a rate as JSON can hold it: integers only."""
    return [
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
    )
