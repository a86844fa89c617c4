"""Destination groups: the numbers that a package, a charge or a bar is for.

A group names prefixes; what is under one of them is in it, but for what is under a longer
one that is left out. Wherever terms speak of destinations they name prefixes and groups
alike: ``("1900", "premium")``. Source: domain.md sections 1 and 5.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

from attrs import field, frozen

from cardbill.dialing import MAX_DIGITS, is_digits
from cardbill.errors import InvalidInput, MissingFields
from cardbill.names import check_name

MOST_PREFIXES = 10_000
MOST_DESTINATIONS = 100
"""The most prefixes and groups that one term may name."""


def _prefixes(value: Iterable[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


@frozen(kw_only=True)
class DestinationGroup:
    """Numbers by prefix, under one name.

    Attributes:
        name: Unique, 1 to 64 printable characters, not digits alone.
        prefixes: 1 to 10,000 of them, each 1 to 15 digits, country code first.
        excluding: Longer prefixes that are not in it.

    Raises:
        MissingFields: The name or all prefixes are left out.
        InvalidInput: One of them cannot be used.
    """

    name: str = ""  # required, as are prefixes: see below
    prefixes: tuple[str, ...] = field(default=(), converter=_prefixes)
    excluding: tuple[str, ...] = field(default=(), converter=_prefixes)

    def __attrs_post_init__(self) -> None:
        if missing := [f for f in ("name", "prefixes") if not getattr(self, f)]:
            raise MissingFields("destination group", missing)
        if check_name("name", self.name).isdigit():
            raise InvalidInput("name", self.name, "must not be digits alone: that is a prefix")
        for what, prefixes in (("prefixes", self.prefixes), ("excluding", self.excluding)):
            if len(prefixes) > MOST_PREFIXES:
                raise InvalidInput(what, len(prefixes), f"at most {MOST_PREFIXES:,}")
            for prefix in prefixes:
                if not is_digits(prefix) or len(prefix) > MAX_DIGITS:
                    raise InvalidInput(what, prefix, f"must be 1 to {MAX_DIGITS} digits")
        for prefix in self.excluding:
            if prefix in self.prefixes or not prefix.startswith(self.prefixes):
                raise InvalidInput("excluding", prefix, "must lie under a shorter prefix of it")

    @cached_property
    def _places(self) -> dict[str, bool]:
        return {**dict.fromkeys(self.prefixes, True), **dict.fromkeys(self.excluding, False)}

    @cached_property
    def _lengths(self) -> list[int]:
        return sorted({len(prefix) for prefix in self._places}, reverse=True)

    def holds(self, number: str) -> bool:
        """Say whether a number is in the group, by the longest prefix that it names."""
        places = self._places
        found = (places.get(number[:length]) for length in self._lengths if length <= len(number))
        return next((inside for inside in found if inside is not None), False)


def check_destinations(what: str, value: Iterable[str]) -> tuple[str, ...]:
    """Return destinations as terms name them: prefixes in digits, and names of groups.

    Raises:
        InvalidInput: One of them is neither, or there are more than 100.
    """
    given = _prefixes(value)
    if len(given) > MOST_DESTINATIONS:
        raise InvalidInput(what, len(given), f"at most {MOST_DESTINATIONS} prefixes and groups")
    for each in given:
        if is_digits(each) and len(each) > MAX_DIGITS:
            raise InvalidInput(what, each, f"a prefix has 1 to {MAX_DIGITS} digits")
        check_name(what, each)
    return given


def check_dialled(what: str, destinations: Iterable[str]) -> None:
    """Check that a number can begin with each prefix among these destinations.

    Raises:
        InvalidInput: One begins with 0, so that it would never apply.
    """
    for each in destinations:
        if is_digits(each) and each[0] == "0":
            raise InvalidInput(what, each, "begins with 0, as no country code does")


def groups_of(destinations: Iterable[str]) -> list[str]:
    """Return those of the destinations that are names of groups."""
    return [each for each in destinations if not is_digits(each)]
