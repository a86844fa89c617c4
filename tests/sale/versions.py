"""A second opinion on taxes that are published anew: which of them count when, and which never."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from cardbill import Tax
from tests.sale.prices import in_force

EVER = datetime.max.replace(tzinfo=UTC)
NEVER = datetime.min.replace(tzinfo=UTC)


class Version(NamedTuple):
    at: datetime  # when it was published
    taxes: tuple[Tax, ...]


class Versions:
    """All that was published of one jurisdiction since the cards are sold."""

    def __init__(self, first: Version) -> None:
        self.published = [first]

    def newest(self) -> tuple[Tax, ...]:
        return self.published[-1].taxes

    def taxes(self, at: datetime) -> tuple[Tax, ...]:
        """Return what there is of taxes at an instant, by what was published by then."""
        first, *later = self.published
        version = next((each for each in reversed(later) if each.at <= at), first)
        return tuple(tax for tax in version.taxes if in_force(tax, at))

    def changes(self) -> list[datetime]:
        """Return the instants at which taxes of the newest version begin or end, in order."""
        taxes = self.newest()
        return sorted(
            {at for tax in taxes for at in (tax.effective_from, tax.effective_until) if at}  # type: ignore[misc]
        )

    def publish(self, version: Version) -> bool:
        """Publish a version, unless a card could be taxed on its sale and then on its use."""
        sold = [*self.sales(version.at), *(begin for begin, _ in windows(version.taxes, "sale"))]
        used = [end for _, end in windows(version.taxes, "usage")]
        if any(begin < end for begin in sold for end in used):
            return False
        if version.taxes != self.newest():
            self.published.append(version)
        return True

    def sales(self, until: datetime) -> Iterator[datetime]:
        """Yield since when sales were taxed, by each tax of what was in force up to an instant."""
        ends = [version.at for version in self.published[1:]] + [until]
        for version, end in zip(self.published, ends, strict=True):
            for begin, over in windows(version.taxes, "sale"):
                since = max(begin, version.at)
                if since <= end and since < over:
                    yield since


def windows(taxes: tuple[Tax, ...], on: str) -> list[tuple[datetime, datetime]]:
    """Return from when until when something is taxed, per tax."""
    return [
        (tax.effective_from or NEVER, tax.effective_until or EVER)  # type: ignore[misc]
        for tax in taxes
        if on in [each.value for each in tax.on]
    ]
