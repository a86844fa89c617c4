"""Buckets: what a card has of its packages, and what a call may draw on.

For each bucket, at every instant: given = left + used + expired, and what open calls hold
is part of what is left. A call draws on the bucket that expires first, then on the next.
Source: domain.md section 5.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from attrs import evolve, frozen

from cardbill.instants import to_micros
from cardbill.packages import Unit, size_of

if TYPE_CHECKING:
    from cardbill.packages import Package

_NEVER = 2**63


@frozen(kw_only=True)
class PackageAmount:
    """So much of a package.

    Attributes:
        package: Its name.
        unit: What it is counted in.
        quantity: Seconds, calls or ledger units.
        expires_at: Until when it is good, of what is left; ``None``: without end.
    """

    package: str
    unit: Unit
    quantity: int
    expires_at: datetime | None = None


@frozen(kw_only=True)
class Bucket:
    """One package as it was given to a card.

    Attributes:
        number: Of the card's buckets, from 1.
        package: The package's name.
        unit: What it is counted in.
        given, used, expired: Seconds, calls or ledger units.
        destinations: For calls to these prefixes and groups; empty: to all.
        expires_at: When what is left expires; ``None``: never.
        waives_connect_fee: As the package has it.
    """

    number: int
    package: str
    unit: Unit
    given: int
    used: int = 0
    expired: int = 0
    destinations: tuple[str, ...] = ()
    expires_at: datetime | None = None
    waives_connect_fee: bool = False

    @property
    def left(self) -> int:
        """What has been neither used nor lost, what calls hold included."""
        return self.given - self.used - self.expired

    @property
    def size(self) -> int:
        """The bytes that it takes of a card's state, about."""
        return size_of(self.package, self.destinations)

    @property
    def rest(self) -> PackageAmount:
        """What is left, and until when it is good."""
        return PackageAmount(
            package=self.package, unit=self.unit, quantity=self.left, expires_at=self.expires_at
        )

    def gives(self, package: Package) -> bool:
        """Whether it is of that package, on the same terms."""
        return (self.package, self.unit, self.destinations, self.waives_connect_fee) == (
            package.name,
            package.unit,
            package.destinations,
            package.waives_connect_fee,
        )


class Draw(NamedTuple):
    """What a call holds, or used, of a bucket.

    Attributes:
        bucket: The bucket's number.
        unit: What it is counted in.
        units: Seconds, calls or ledger units.
        waives_connect_fee: The call pays no connect fee for it.
    """

    bucket: int
    unit: Unit
    units: int
    waives_connect_fee: bool


def joined(buckets: Iterable[Bucket], expires_at: datetime | None) -> Bucket | None:
    """Return the bucket that expires last, which then is good until that instant at least.

    Args:
        buckets: Those of one package.
        expires_at: When what is to join them would expire; ``None``: never.
    """
    last = max(buckets, key=_expiry, default=None)
    if last is None or last.expires_at is None:
        return last
    until = None if expires_at is None else max(last.expires_at, expires_at)
    return evolve(last, expires_at=until)


def held(draws: Iterable[Draw], bucket: int) -> int:
    """Return what draws take of a bucket, in all."""
    return sum(draw.units for draw in draws if draw.bucket == bucket)


def offered(buckets: Iterable[Bucket], draws: Sequence[Draw], at: datetime) -> tuple[Draw, ...]:
    """Return what buckets, all for the number that is called, can give to a call.

    The bucket that expires first comes first. A bucket of calls covers a whole call: it
    stands alone, or, behind others, is left for a later call.

    Args:
        buckets: Those for the destination.
        draws: What open calls hold.
        at: The instant.
    """
    ordered = sorted(buckets, key=lambda bucket: (_expiry(bucket), bucket.number))
    offers = []
    for bucket in ordered:
        free = bucket.left - held(draws, bucket.number)
        if free <= 0 or (bucket.expires_at is not None and bucket.expires_at <= at):
            continue
        draw = Draw(bucket.number, bucket.unit, free, bucket.waives_connect_fee)
        if bucket.unit is not Unit.CALLS:
            offers.append(draw)
        elif not offers:
            return (draw._replace(units=1),)
    return tuple(offers)


def drawn(draws: Sequence[Draw], unit: Unit, units: int) -> list[Draw]:
    """Return how `units` are taken from draws of that unit, in their order."""
    taken = []
    for draw in draws:
        if draw.unit is unit and min(draw.units, units) > 0:
            taken.append(draw._replace(units=min(draw.units, units)))
            units -= taken[-1].units
    return taken


def _expiry(bucket: Bucket) -> int:
    return _NEVER if bucket.expires_at is None else to_micros(bucket.expires_at)
