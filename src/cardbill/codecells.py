"""Code cells of a carrier's notice: lists, ranges and hyphens become prefixes.

A range becomes the fewest prefixes, 447400-447409 for one is 44740. Each keeps how many
digits its codes were written with: where another code of the deck lies inside, the range
counts as the codes it stands for (:func:`spelled_out`), so that what a number costs never
depends on how a range is kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from cardbill.csvfiles import CellRefused
from cardbill.dialing import MAX_DIGITS, is_digits

MOST_CODES = 1_000_000
"""The most codes that one range may stand for."""
MOST_SPELLED_OUT = 10_000
"""The most codes that a prefix of a range is spelled out into."""

HYPHENS = ("range", "country-area", "by-length")
SPACES = ("inside", "between")

# Country codes have one digit, or two, or else three. Source: ITU-T E.164, assigned codes.
_COUNTRY = re.compile(
    r"1|7|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]|\d{1,3}", re.ASCII
)
_ANY_HYPHEN = re.compile("[\u2010-\u2015\u2212]")
_SEPARATORS = re.compile(r"[,;\r\n]+")
_SCIENTIFIC = re.compile(r"\d+([.,]\d+)?E\+?\d+", re.IGNORECASE)


class Code(NamedTuple):
    """A prefix, and the digits of the codes it was written as; as many as its own, or more."""

    prefix: str
    written: int


def country_code(digits: str) -> str:
    """Return the country code that a number or prefix begins with, as far as it has one.

    A short list that needs no package, also of codes that are not assigned yet.
    """
    found = _COUNTRY.match(digits)
    return found.group() if found else ""


def codes_in(
    cell: str, *, country: str = "", hyphen: str | None = None, spaces: str | None = None
) -> list[Code]:
    """Return the codes that a cell lists.

    Commas, semicolons and line breaks separate; a ``+`` before a code is left out.

    Args:
        cell: As it stands in the file.
        country: What another column has, to go before each code.
        hyphen: What a hyphen between digits means, one of :data:`HYPHENS`.
        spaces: Whether a space is ``inside`` a code, or stands ``between`` two.

    Raises:
        CellRefused: There is no code; or one cannot be read, or in more ways than one.
    """
    if _SCIENTIFIC.fullmatch(cell.strip()):
        raise _refusal(cell, "scientific", "a spreadsheet has turned it into a number")
    text = _ANY_HYPHEN.sub("-", cell)
    country = "".join(country.split()).removeprefix("+")
    if country and not is_digits(country):
        raise _refusal(country, "invalid", "has a country code that is not digits")
    items = [item.strip() for item in _SEPARATORS.split(text) if item.strip()]
    if spaces == "between":
        items = [part for item in items for part in re.sub(r"\s*-\s*", "-", item).split()]
    if not items:
        if not country:
            raise _refusal(cell, "missing", "has no code")
        items = [""]  # the country as a whole
    read = [_item(item, country, hyphen, spaces) for item in items]
    _check_areas(cell, items, [joined for _, joined in read])
    return list(dict.fromkeys(code for codes, _ in read for code in codes))


def _item(
    item: str, country: str, hyphen: str | None, spaces: str | None
) -> tuple[list[Code], bool]:
    """Return the codes of one item, and whether it is written as country and area."""
    if spaces == "inside":
        item = "".join(item.split())
    elif re.search(r"\d\s+\d", item):
        first, second = item.split()[:2]
        problem = (
            f"has a space that can be read two ways, as the code {first}{second} or as the "
            f'codes {first} and {second}: say spaces="inside" or spaces="between"'
        )
        raise _refusal(item, "ambiguous-space", problem)
    first, dash, last = (part.strip().removeprefix("+") for part in item.partition("-"))
    if not dash:
        return [_code(item, country + first)], False
    if not (is_digits(first) and is_digits(last.replace("-", ""))):
        raise _refusal(item, "invalid", "must be digits on both sides of its hyphen")
    if hyphen is None:
        problem = (
            f"has a hyphen that can be read two ways, as all codes from {first} to {last} or as "
            f'the code {first}{last}: say hyphen="range" or hyphen="country-area"'
        )
        raise _refusal(item, "ambiguous-hyphen", problem)
    if hyphen == "by-length":
        hyphen = _by_length(item, first, last)
    if hyphen == "range":
        return list(_range(item, country + first, country + last)), False
    if country_code(country + first) != country + first:
        problem = f"has {country + first} before its hyphen, which is no country code"
        raise _refusal(item, "country-code", problem)
    return [_code(item, country + first + last.replace("-", ""))], True


def _code(item: str, digits: str) -> Code:
    if not is_digits(digits) or len(digits) > MAX_DIGITS:
        raise _refusal(item, "invalid", f"must be 1 to {MAX_DIGITS} digits")
    return Code(digits, len(digits))


def _by_length(item: str, first: str, last: str) -> str:
    """Return what a hyphen means where only one reading is possible."""
    if len(first) == len(last) and len(first) > 3:  # no country code is that long
        return "range"
    if len(first) != len(last) and len(first) <= 3:  # no range crosses lengths
        return "country-area"
    problem = (
        f"can be read two ways by its lengths, or in none: as all codes from {first} to {last} "
        f"or as the code {first}{last}"
    )
    raise _refusal(item, "ambiguous-hyphen", problem)


def _check_areas(cell: str, items: list[str], joined: list[bool]) -> None:
    """Refuse ``93-76, 77``: is the second one 9377, or 77?"""
    if any(joined) and not all(joined):
        odd = items[joined.index(False)]
        problem = f"has a country code before some codes and not before {odd}"
        raise _refusal(cell, "ambiguous-area", problem)


def _range(item: str, first: str, last: str) -> Iterator[Code]:
    length = len(first)
    if len(last) != length:
        problem = f"is a range from {length} digits to {len(last)}: both ends need as many"
        raise _refusal(item, "range-lengths", problem)
    if length > MAX_DIGITS or not is_digits(last):
        raise _refusal(item, "invalid", f"must have ends of 1 to {MAX_DIGITS} digits")
    if last <= first:
        raise _refusal(item, "range-falls", "is a range that does not rise")
    if country_code(first) != country_code(last):
        problem = f"is a range from country code {country_code(first)} to {country_code(last)}"
        raise _refusal(item, "range-countries", problem)
    if int(last) - int(first) >= MOST_CODES:
        problem = f"is a range of more than {MOST_CODES:,} codes"
        raise _refusal(item, "range-too-large", problem)
    for prefix in fewest_prefixes(int(first), int(last), length):
        yield Code(prefix, length)


def fewest_prefixes(first: int, last: int, length: int) -> Iterator[str]:
    """Yield the fewest prefixes that hold exactly the codes of that length between two."""
    while first <= last:
        zeros = 0
        while (
            zeros + 1 < length
            and not first % 10 ** (zeros + 1)
            and first + 10 ** (zeros + 1) - 1 <= last
        ):
            zeros += 1
        yield f"{first // 10**zeros:0{length - zeros}d}"
        first += 10**zeros


def spelled_out(
    codes: Iterable[tuple[str, int]], merged: Mapping[str, set[int]]
) -> set[tuple[str, int]]:
    """Return which prefixes of ranges must be kept as the codes that they stand for.

    Those that hold another code written with as many digits, or with fewer: the longest
    code rates a number, and of equal codes the one that began last.

    Args:
        codes: Every prefix of the deck, and the digits of the codes it was written as.
        merged: Prefixes that stand for longer codes, and the digits of those.
    """
    found = set()
    for prefix, written in codes:
        for length in range(1, len(prefix) + 1):
            around = prefix[:length]
            for digits in merged.get(around, ()):
                if written <= digits and (around, digits) != (prefix, written):
                    found.add((around, digits))
    return found


def all_codes(prefix: str, written: int) -> Iterator[str]:
    """Yield the codes of that many digits under a prefix.

    Raises:
        CellRefused: They are too many.
    """
    digits = written - len(prefix)
    if 10**digits > MOST_SPELLED_OUT:
        problem = f"stands for {10**digits:,} codes, and other rows rate some of them"
        raise _refusal(prefix, "range-too-large", problem)
    for number in range(10**digits):
        yield f"{prefix}{number:0{digits}d}"


def _refusal(value: str, code: str, problem: str) -> CellRefused:
    return CellRefused("prefix", value, code, problem)
