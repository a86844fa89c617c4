"""Carriers: who carries calls, at what cost, and how a switch hands them over.

Source: domain.md section 7.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from functools import cached_property

from attrs import field, frozen

from cardbill import money
from cardbill.decks import check_prefix
from cardbill.errors import InvalidInput, MissingFields
from cardbill.names import check_count, check_kind, check_name

PPM_PER_PERCENT = 10_000
WHOLE_PPM = 100 * PPM_PER_PERCENT
MOST_CALLS = 1_000_000
HIGHEST_WEIGHT = 1_000
_LONGEST_SENT = 20
_DIALLED = frozenset("0123456789*#+")


def percent(field: str, value: object) -> Decimal | None:
    """Return a percentage of 0 to 100, in steps of 0.0001; ``None`` as it is.

    Raises:
        FloatRefused, InexactAmount, InvalidInput: It is none.
    """
    if value is None:
        return None
    parts = money.parts(field, value, PPM_PER_PERCENT)
    if not 0 <= parts <= WHOLE_PPM:
        raise InvalidInput(field, value, "must be 0 to 100")
    return Decimal(f"{parts}E-4")  # exact, whatever the context


def _asr(value: object) -> Decimal | None:
    return percent("asr_percent", value)


def _rewrites(value: object) -> tuple[tuple[str, str], ...]:
    """Return the rules, the longest prefix first."""
    pairs = value.items() if isinstance(value, Mapping) else value
    if not isinstance(pairs, Iterable) or isinstance(pairs, str):
        raise InvalidInput("rewrites", value, "must map prefixes to what replaces them")
    found: dict[str, str] = {}
    for pair in pairs:
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise InvalidInput("rewrites", pair, "must be a prefix and what replaces it")
        prefix, replacement = _prefix("rewrites", pair[0]), _dialled("rewrites", pair[1])
        if prefix in found:
            raise InvalidInput("rewrites", prefix, "is there twice")
        found[prefix] = replacement
    return tuple(sorted(found.items(), key=lambda rule: (-len(rule[0]), rule[0])))


def _blocked(value: object) -> tuple[str, ...]:
    if not isinstance(value, Iterable) or isinstance(value, str):
        raise InvalidInput("blocked_prefixes", value, "must be a list of prefixes")
    return tuple(sorted({_prefix("blocked_prefixes", prefix) for prefix in value}))


def _prefix(field: str, value: object) -> str:
    try:
        return check_prefix(value)
    except InvalidInput as error:
        raise InvalidInput(field, value, error.problem) from error


def _dialled(field: str, value: object) -> str:
    text = check_kind(field, value, str)
    if len(text) > _LONGEST_SENT or not _DIALLED.issuperset(text):
        raise InvalidInput(field, text, f"must be at most {_LONGEST_SENT} digits, *, # and +")
    return text


@frozen(kw_only=True)
class Carrier:
    """Who carries calls, at what cost. Its currency and time bands are those of its deck.

    Attributes:
        name: Unique, 1 to 64 printable characters.
        deck: The name of the rate deck of what the carrier charges.
        rewrites: What replaces the leading digits of an E.164 number before it is sent: a
            mapping of prefixes to up to 20 digits, ``*``, ``#`` or ``+``. Only the longest
            prefix counts.
        tech_prefix: What is put before the number, rewritten or not: up to 20 of the same.
        capacity: The most calls it takes at once; ``None``: no limit.
        priority: 0 to 1,000; a lower one is tried earlier, where the plan says so.
        weight: Its share of the calls, where the plan shares them out: 0 to 1,000 beside
            the others' weights; 0: only when all others have failed.
        asr_percent: Its answer-seizure ratio as measured, 0 to 100 in steps of 0.0001;
            ``None``: not known.
        acd_seconds: The average duration of its calls as measured; ``None``: not known.
        blocked_prefixes: Numbers that it is not given, whatever its deck says.

    Raises:
        MissingFields: Name or deck is left out; each is named.
        InvalidInput: A field has a value that cannot be used; it is named.
    """

    name: str = ""  # required, as is the deck: see below
    deck: str = ""
    rewrites: tuple[tuple[str, str], ...] = field(default=(), converter=_rewrites)
    tech_prefix: str = ""
    capacity: int | None = None
    priority: int = 100
    weight: int = 1
    asr_percent: Decimal | None = field(default=None, converter=_asr)
    acd_seconds: int | None = None
    blocked_prefixes: tuple[str, ...] = field(default=(), converter=_blocked)

    def __attrs_post_init__(self) -> None:
        if missing := [f for f in ("name", "deck") if not getattr(self, f)]:
            raise MissingFields("carrier", missing)
        check_name("name", self.name)
        check_name("deck", self.deck)
        _dialled("tech_prefix", self.tech_prefix)
        if self.capacity is not None:
            check_count("capacity", self.capacity, 0, MOST_CALLS)
        check_count("priority", self.priority, 0, 1_000)
        check_count("weight", self.weight, 0, HIGHEST_WEIGHT)
        if self.acd_seconds is not None:
            check_count("acd_seconds", self.acd_seconds, 1, 86_400)

    @cached_property
    def asr_ppm(self) -> int | None:
        """The answer-seizure ratio in parts per million."""
        if self.asr_percent is None:
            return None
        return money.parts("asr_percent", self.asr_percent, PPM_PER_PERCENT)

    def blocks(self, number: str) -> bool:
        """Say whether an E.164 number is under one of the blocked prefixes."""
        return number.startswith(self.blocked_prefixes)

    def dialled(self, number: str) -> str:
        """Return what the switch sends this carrier for an E.164 number."""
        for prefix, replacement in self.rewrites:
            if number.startswith(prefix):
                number = replacement + number[len(prefix) :]
                break
        return self.tech_prefix + number


def check_busy(busy: object) -> dict[str, int]:
    """Return how many calls carriers have now, by name; ``None``: nobody knows.

    Raises:
        InvalidInput: It is no mapping of names to whole numbers.
    """
    if busy is None:
        return {}
    if not isinstance(busy, Mapping):
        raise InvalidInput("busy", busy, "must map carriers' names to their calls")
    for name, calls in busy.items():
        check_kind("busy", name, str)
        check_count("busy", calls, 0, MOST_CALLS)
    return dict(busy)
