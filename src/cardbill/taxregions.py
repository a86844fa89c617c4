"""Which jurisdiction taxes an event: the batch's, the caller's or the called number's.

Source of the rules: domain.md section 6.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from functools import cached_property
from typing import Any

from attrs import field, frozen

from cardbill.decks import check_prefix
from cardbill.errors import InvalidInput, MissingFields
from cardbill.names import check_choice, check_name


class TaxFollows(Enum):
    """What says whose taxes an event bears."""

    BATCH = "batch"
    """The batch: one jurisdiction for all its cards (the default)."""
    CALLER = "caller"
    """The caller's number, for calls."""
    CALLED = "called"
    """The called number, for calls."""


def _follows(value: TaxFollows | str) -> TaxFollows:
    return check_choice("tax follows", value, TaxFollows)


def _prefixes(
    value: Mapping[str, str] | Iterable[tuple[str, str]],
) -> tuple[tuple[str, str], ...]:
    try:
        pairs = list(dict(value).items())
    except (TypeError, ValueError):
        raise InvalidInput("tax prefixes", value, "must map prefixes to names") from None
    for prefix, name in pairs:
        check_prefix(prefix)
        check_name("tax prefixes", name)
    return tuple(sorted(pairs))


@frozen(kw_only=True)
class TaxRegions:
    """From numbers to jurisdictions, the longest prefix first.

    Attributes:
        default: The jurisdiction's name where no prefix fits, where a caller has no number,
            and for what is no call: the sale, recurring charges. One without taxes is the
            way to tax nothing there.
        follows: What says which: ``batch``, ``caller`` or ``called``.
        prefixes: Leading digits, country code first, each with a jurisdiction's name: a
            mapping, or pairs. A batch has none.

    Raises:
        MissingFields: The default is left out.
        InvalidInput: A term cannot be used; it is named.
    """

    default: str = field(default="")
    follows: TaxFollows = field(default=TaxFollows.BATCH, converter=_follows)
    prefixes: tuple[tuple[str, str], ...] = field(default=(), converter=_prefixes)

    def __attrs_post_init__(self) -> None:
        if not self.default:
            raise MissingFields("tax regions", ["default"])
        check_name("default", self.default)
        if self.prefixes and self.follows is TaxFollows.BATCH:
            raise InvalidInput("tax prefixes", None, "say nothing where taxes follow the batch")

    def of_call(self, *, caller: str | None = None, called: str | None = None) -> str:
        """Return the name of the jurisdiction that taxes a call.

        Args:
            caller: The caller's E.164 number, with or without ``+``; ``None``: not known.
            called: The called E.164 number, likewise.
        """
        number = {TaxFollows.CALLER: caller, TaxFollows.CALLED: called}.get(self.follows)
        digits = (number or "").removeprefix("+")
        for length in range(min(len(digits), self._longest), 0, -1):
            if (name := self._names.get(digits[:length])) is not None:
                return name
        return self.default

    @property
    def names(self) -> tuple[str, ...]:
        """Every jurisdiction that can come out of it, sorted."""
        return tuple(sorted({self.default, *self._names.values()}))

    @cached_property
    def _names(self) -> dict[str, str]:
        return dict(self.prefixes)

    @cached_property
    def _longest(self) -> int:
        return max(map(len, self._names), default=0)


def regions_to_list(regions: TaxRegions) -> list[Any]:
    """Return regions as JSON can hold them."""
    return [regions.default, regions.follows.value, [list(pair) for pair in regions.prefixes]]


def regions_from_list(stored: Sequence[Any]) -> TaxRegions:
    """Return the regions that :func:`regions_to_list` wrote."""
    default, follows, prefixes = stored
    return TaxRegions(default=default, follows=follows, prefixes=prefixes)
