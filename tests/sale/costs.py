"""A second opinion on what calls cost the platform: their carriers, and the access number."""

from __future__ import annotations

from tests.sale.prices import Rate

ACCESS_COST = Rate("toll-free", 12_000, 6, 6, connect=10_000)
ACME = {
    "1": Rate("", 5_000, 1, 1),
    "44": Rate("", 20_000, 1, 1),
    "882": Rate("", 500_000_000, 1, 1),
}
"""What the only carrier that anybody names asks, by prefix."""


def carriers(number: str) -> tuple[str, ...]:
    """Return who carries calls to a number."""
    if not number.startswith(tuple(ACME)):
        return ()
    return ("acme", "beta") if number.startswith("44") else ("acme",)


def of_carrier(number: str, offered: tuple[str, ...], told: str | None, talk: int) -> int | None:
    """Return what the carrier asks for a call; None: nobody says who it was."""
    if not talk:
        return 0
    if told is None and len(offered) != 1:
        return None
    return next(r.price(talk, 0, waived=False) for p, r in ACME.items() if number.startswith(p))


def of_access(reached: bool, seconds: int) -> int:
    """Return what the provider of the access number asks, if it came in on that."""
    return ACCESS_COST.price(seconds, 0, waived=False) if reached else 0
