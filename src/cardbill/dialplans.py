"""The dial plans of countries, compiled from the package `phonenumbers`.

The package describes what callers put before a number by regular expressions and rewriting
rules, some of them for one country alone. A :class:`~cardbill.DialPlan` is a few lists of
digits. What these say exactly becomes a plan; anything else is refused.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from attrs import evolve

from cardbill.dialing import MAX_DIGITS, SHORTEST, DialPlan
from cardbill.errors import InvalidInput, InvalidNumber
from cardbill.names import check_kind
from cardbill.numberplans import NumberCheck, number_lengths, package

if TYPE_CHECKING:
    from collections.abc import Iterator

    from phonenumbers import PhoneMetadata

MANY = 100
"""A country with more prefixes has a code per carrier: only the usual one is taken."""

_LOCAL = re.compile(r"(?P<before>.*\|)?\((?:\[[\d-]+\]|\d)\\d\{(?P<more>\d)\}\)\$(?P<after>\|.*)?")
_AREA = re.compile(r"(?P<area>\d+)\\1")
_DIGITS = "0123456789"


def dial_plan(region: str, *, check: NumberCheck | str = NumberCheck.NONE) -> DialPlan:
    """Return how callers of a country dial, from the package `phonenumbers`.

    >>> dial_plan("GB").e164("020 7123 4567")
    '442071234567'

    Args:
        region: The country: two capitals of ISO 3166, or ``AC``, ``TA``, ``XK``.
        check: How closely called numbers are looked at; see :class:`~cardbill.NumberCheck`.

    Raises:
        InvalidInput: There is no such country, or its callers dial in a way that a dial
            plan cannot say; the message tells what.
        ExtraMissing: The package is not installed: the extra ``numbers``.
    """
    phonenumbers = package()
    if check_kind("region", region, str) not in phonenumbers.SUPPORTED_REGIONS:
        raise InvalidInput("region", region, "must be a country's two capitals, as in ISO 3166")
    metadata = phonenumbers.PhoneMetadata.metadata_for_region(region)
    try:
        plan = _compiled(metadata)
    except ValueError:
        raise _refused(region, "it reads national numbers by rules of its own") from None
    if any(_misreads(plan, region, dialled) for dialled in _examples(region, plan)):
        raise _refused(region, "a prefix and a number's own digits cannot be told apart")
    return evolve(plan, check=check)


def spell_out(pattern: str) -> list[str]:
    """Return every string that a pattern of digits, classes, groups, ``|`` and ``?`` matches.

    >>> spell_out("00|9(?:[03]|5[14]?)")
    ['00', '90', '93', '951', '954', '95']

    Raises:
        ValueError: There is something else in it.
    """
    words, rest = _either(pattern)
    if rest:
        raise ValueError(pattern)
    return words


def _compiled(metadata: PhoneMetadata) -> DialPlan:
    code = str(metadata.country_code)
    possible = metadata.general_desc.possible_length if metadata.general_desc else ()
    abroad_too = {total for total in number_lengths(code) if total <= MAX_DIGITS}
    lengths = tuple(length for length in possible if len(code) + length in abroad_too)
    pattern, area = metadata.national_prefix_for_parsing or "", ""
    if metadata.national_prefix_transform_rule:
        area, local, pattern = _local(pattern, metadata.national_prefix_transform_rule)
        if local in lengths:
            raise ValueError("a local number is as long as a national one")
    abroad = metadata.international_prefix or ""
    *more, usual = _prefixes(abroad, metadata.preferred_international_prefix or _first(abroad))
    *others, prefix = _prefixes(pattern, metadata.national_prefix or "")
    # A code before the number may come before its prefix too: 1831 02 9876 5432.
    both = [other + prefix for other in others if prefix and other[0] != prefix[0]]
    return DialPlan(
        country_code=code,
        international_prefix=usual,
        other_international_prefixes=tuple(more),
        national_prefix=prefix,
        other_national_prefixes=(*both, *others),
        national_lengths=lengths,
        shortest=min(SHORTEST, len(code) + min(lengths)),
        area_code=area,
    )


def _first(pattern: str) -> str:
    return min(spell_out(pattern), key=lambda word: (len(word), word))


def _prefixes(pattern: str, usual: str) -> list[str]:
    """Return the prefixes that a pattern spells, the longest first; the usual one last."""
    usual = usual.replace("~", "")  # where callers wait for a second dial tone
    others = set(spell_out(pattern)) - {usual, ""}
    if usual and len(others) >= MANY:
        others.clear()
    return [*sorted(others, key=lambda word: (-len(word), word)), usual]


def _local(pattern: str, rule: str) -> tuple[str, int, str]:
    """Return the area code put before local numbers, their length, the pattern without them."""
    local, area = _LOCAL.fullmatch(pattern), _AREA.fullmatch(rule)
    if local is None or area is None:
        raise ValueError(pattern)
    rest = (local["before"] or "") + (local["after"] or "")
    return area["area"], 1 + int(local["more"]), rest.strip("|")


def _either(pattern: str) -> tuple[list[str], str]:
    """Return what alternatives spell, and what is left of the pattern after them."""
    words: list[str] = []
    sequence = [""]
    while pattern and pattern[0] != ")":
        if pattern[0] == "|":
            words += sequence
            sequence, pattern = [""], pattern[1:]
            continue
        part, pattern = _atom(pattern)
        if pattern.startswith("?"):
            part, pattern = [*part, ""], pattern[1:]
        sequence = [before + after for before in sequence for after in part]
    return [*words, *sequence], pattern


def _atom(pattern: str) -> tuple[list[str], str]:
    """Return what a group, a class or a digit spells, and what is left of the pattern."""
    if pattern[0] == "(":
        words, pattern = _either(pattern[1:].removeprefix("?:"))
        if pattern:
            return words, pattern[1:]
    elif found := re.match(r"\[[\d-]+\]|\\d|\d", pattern):
        return [digit for digit in _DIGITS if re.fullmatch(found[0], digit)], pattern[found.end() :]
    raise ValueError(pattern)


def _examples(region: str, plan: DialPlan) -> Iterator[str]:
    """Yield the package's example numbers of a country as they are dialled in it."""
    phonenumbers = package()
    for kind in phonenumbers.PhoneNumberType.values():
        if number := phonenumbers.example_number_for_type(region, kind):
            national = phonenumbers.national_significant_number(number)
            yield from (national, plan.national_prefix + national)


def _misreads(plan: DialPlan, region: str, dialled: str) -> bool:
    """Say whether a plan reads otherwise what the package takes for a number in use."""
    phonenumbers = package()
    try:
        number = phonenumbers.parse(dialled, region)
        read = plan.e164(dialled)
    except (phonenumbers.NumberParseException, InvalidNumber):
        return False  # a refusal misleads nobody
    meant = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    return bool(phonenumbers.is_valid_number(number)) and meant != f"+{read}"


def _refused(region: str, why: str) -> InvalidInput:
    problem = f"has no dial plan that says how it dials: {why}; describe it with DialPlan(...)"
    return InvalidInput("region", region, problem)
