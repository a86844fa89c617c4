"""Dialects: how one carrier writes its rate notices."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import Enum
from typing import Any

from attrs import field, frozen

from cardbill.codecells import HYPHENS, SPACES
from cardbill.dateforms import ISO, check_form
from cardbill.errors import InvalidInput
from cardbill.names import check_choice, check_count


class RateChange(Enum):
    """What has become of a price."""

    NEW = "new"
    INCREASE = "increase"
    DECREASE = "decrease"
    UNCHANGED = "unchanged"
    TERMS = "terms"
    """The price is the same, something else of the rate is not."""
    CLOSED = "closed"


CHANGE_WORDS: Mapping[str, RateChange] = {
    **dict.fromkeys(("new", "new code", "new destination", "added", "addition"), RateChange.NEW),
    **dict.fromkeys(("increase", "increased", "rate increase"), RateChange.INCREASE),
    **dict.fromkeys(("decrease", "decreased", "rate decrease", "reduction"), RateChange.DECREASE),
    **dict.fromkeys(("unchanged", "no change", "not changed", "same"), RateChange.UNCHANGED),
    **dict.fromkeys(("terms", "billing change"), RateChange.TERMS),
    **dict.fromkeys(
        ("closed", "discontinued", "deleted", "delete", "removed", "withdrawn"), RateChange.CLOSED
    ),
}
"""What the words of a change column mean; case does not matter."""


def _headers(columns: Any) -> dict[str, tuple[str, ...]]:
    if not isinstance(columns, Mapping):
        raise InvalidInput("columns", columns, "must map fields to headers")
    read = {}
    for name, headers in columns.items():
        listed = (headers,) if isinstance(headers, str) else tuple(headers)
        if not listed or not all(isinstance(header, str) and header.strip() for header in listed):
            raise InvalidInput(f"columns[{name!r}]", headers, "must be a header, or several")
        read[str(name)] = listed
    return read


def _changes(words: Any) -> dict[str, RateChange]:
    if not isinstance(words, Mapping):
        raise InvalidInput("changes", words, "must map words to what they mean")
    return {
        " ".join(str(word).split()).lower(): check_choice(f"changes[{word!r}]", change, RateChange)
        for word, change in words.items()
    }


def _check(name: str, value: object, choices: Collection[str | None]) -> None:
    if value not in choices:
        raise InvalidInput(name, value, f"must be one of {', '.join(map(repr, choices))}")


@frozen(kw_only=True)
class Dialect:
    """How one carrier writes its rate notices, for :func:`cardbill.read_deck`.

    Its header is looked for below cover lines. Remarks below the table are left out: lines
    at the end that have neither a price nor a code. A code cell may list several codes.

    Attributes:
        columns: Field to header, or to several: those of ``prefix`` are put together, the
            last one being the list of codes (country code, area codes); those of
            ``destination`` are put together with a space between.
        prices: Band to header, where each band has a price column of its own; the band
            ``""`` is whenever no other applies.
        hyphen: What a hyphen between digits means. ``range``: 447400-447409 is ten codes.
            ``country-area``: 93-76 is the code 9376. ``by-length``: a range where both
            sides have as many digits, more than three; country and area where they differ
            and the first is a country code; anything else is refused. ``None``: refused.
        spaces: What a space between digits means. ``inside``: 336 07 is the code 33607.
            ``between``: 336 337 are two codes. ``None``: refused.
        decimal: The decimal mark, ``.`` or ``,``.
        date_form: ``iso``, or a form of ``dd``, ``mm`` or ``Mon`` (an English month),
            ``yyyy`` or ``yy`` (2000 to 2069). ISO 8601 is read beside any form.
        changes: Words of the ``change`` column, beside those of :data:`CHANGE_WORDS`.
        closed: What becomes of a closed code at its effective date. ``block``: it cannot
            be called any more. ``end``: its rate ends, so that a shorter code's price
            counts, if there is one: a loss unless that carrier really sells it so.
        cover_lines: How many lines may stand above the header, 0 to 1,000.
        sheet: The sheet of a workbook; empty: it has only one.

    Raises:
        InvalidInput: An attribute cannot be used; it is named.
    """

    columns: Mapping[str, tuple[str, ...]] = field(factory=dict, converter=_headers)
    prices: Mapping[str, str] = field(factory=dict)
    hyphen: str | None = None
    spaces: str | None = None
    decimal: str = "."
    date_form: str = ISO
    changes: Mapping[str, RateChange] = field(factory=dict, converter=_changes)
    closed: str = "block"
    cover_lines: int = 50
    sheet: str = ""

    def __attrs_post_init__(self) -> None:
        _check("hyphen", self.hyphen, (None, *HYPHENS))
        _check("spaces", self.spaces, (None, *SPACES))
        _check("decimal", self.decimal, (".", ","))
        _check("closed", self.closed, ("block", "end"))
        check_form(self.date_form)
        check_count("cover_lines", self.cover_lines, 0, 1_000)
        _headers(self.prices)
        if self.prices and "price_per_minute" in self.columns:
            raise InvalidInput("prices", None, "has a price for each band: map no other price")

    def meaning(self, word: str) -> RateChange | None:
        """Return what a word of the change column means; ``None``: that is not known."""
        folded = " ".join(word.split()).lower()
        return self.changes.get(folded) or CHANGE_WORDS.get(folded)


CODE_LIST_NOTICE = Dialect(
    columns={
        "destination": ("Country", "Network"),
        "prefix": "Dial Codes",
        "price_per_minute": "Rate/Min",
        "effective_from": "Effective",
        "increments": "Billing",
        "change": "Change",
    },
    hyphen="range",
    spaces="inside",
    date_form="dd/mm/yyyy",
)
"""Codes listed by network, ranges by hyphen, days before months:
``France,Mobile,"336 07, 336 08",0.052,16/09/2026,60/1,Decrease``."""

CITY_CODE_NOTICE = Dialect(
    columns={
        "destination": "Destination",
        "prefix": "City Code(s)",
        "price_per_minute": "Price($)",
        "effective_from": "Effective Date",
        "change": "Comments",
        "increments": "BI Type",
    },
    hyphen="country-area",
    date_form="dd-Mon-yy",
)
"""Country and area joined by a hyphen, English months, increments as a type, which count
from the row's own date on: ``Vietnam-Mobile,84-35,0.0500,10-May-22,No Change,60/60``."""

NEW_RATE_NOTICE = Dialect(
    columns={
        "destination": "Destination",
        "prefix": ("Country Code", "Area Code"),
        "current_price": "Current Rate",
        "price_per_minute": "New Rate",
        "effective_from": "Effective Date",
        "increments": "Billing Increment",
    },
    decimal=",",
    date_form="dd/mm/yyyy",
)
"""Country and area codes apart, the rate until a date and from then on, decimal commas:
``Spain Mobile;34;6, 7;0,0100;0,0120;03/04/2027;60/60``."""
