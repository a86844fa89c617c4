"""Checks that several kinds of terms share: names, whole numbers, choices, dates."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from enum import Enum
from typing import TypeVar

from cardbill.errors import InvalidInput, MissingFields

LONGEST_NAME = 64
LONGEST_ID = 128
LONGEST_ACTOR = 256
_LANGUAGE_TAG = re.compile("[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*")

T = TypeVar("T")
E = TypeVar("E", bound=Enum)


def check_name(field: str, name: object) -> str:
    """Return a name: 1 to 64 printable characters, no slash, no space at either end.

    Raises:
        InvalidInput: It is none. (A slash separates a batch from a serial in a card id.)
    """
    if not isinstance(name, str):
        raise InvalidInput(field, name, "must be text")
    if not 1 <= len(name) <= LONGEST_NAME:
        raise InvalidInput(field, name, f"must have 1 to {LONGEST_NAME} characters")
    if not name.isprintable() or name != name.strip() or "/" in name:
        raise InvalidInput(field, name, "must be printable, without '/' or spaces at its ends")
    return name


def check_text(field: str, text: object) -> str:
    """Return a text of 1 to 64 characters, none of them a control character.

    Raises:
        InvalidInput: It is none.
    """
    if not isinstance(text, str) or not 1 <= len(text) <= LONGEST_NAME or not text.isprintable():
        raise InvalidInput(field, text, f"must be text of 1 to {LONGEST_NAME} printable characters")
    return text


def check_id(field: str, text: object) -> str:
    """Return an id that a host makes, of a call or a request: 1 to 128 visible ASCII characters.

    Raises:
        InvalidInput: It is none.
    """
    if not isinstance(text, str):
        raise InvalidInput(field, text, "must be text")
    if not 1 <= len(text) <= LONGEST_ID:
        raise InvalidInput(field, text, f"must have 1 to {LONGEST_ID} characters")
    if not all("!" <= character <= "~" for character in text):
        raise InvalidInput(field, text, "must be visible ASCII characters only")
    return text


def check_language(field: str, tag: object) -> str:
    """Return an IETF language tag, such as ``es-419``.

    Raises:
        InvalidInput: It is none.
    """
    if not _LANGUAGE_TAG.fullmatch(check_name(field, tag)):
        raise InvalidInput(field, tag, "must be an IETF language tag, like es-419")
    return check_name(field, tag)


def check_kind(field: str, value: object, kind: type[T]) -> T:
    """Return a value of that class.

    Raises:
        InvalidInput: It is something else.
    """
    if not isinstance(value, kind):
        raise InvalidInput(field, value, f"must be a {kind.__name__}")
    return value


def check_many(field: str, values: object, kind: type[T]) -> tuple[T, ...]:
    """Return several values of that class.

    Raises:
        InvalidInput: It is no list, such as a single one of them; or holds something else.
    """
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise InvalidInput(field, values, f"must be a list of {kind.__name__}")
    return tuple(check_kind(field, value, kind) for value in values)


def check_count(field: str, value: object, lowest: int, highest: int) -> int:
    """Return a whole number within ``lowest..highest``.

    Raises:
        InvalidInput: It is none.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidInput(field, value, "must be a whole number")
    if not lowest <= value <= highest:
        raise InvalidInput(field, value, f"must be {lowest:,} to {highest:,}")
    return value


def check_choice(field: str, value: object, choices: type[E]) -> E:
    """Return the choice that is given, itself or by its value.

    Raises:
        InvalidInput: It is none of them.
    """
    try:
        return choices(value)
    except ValueError as error:
        known = ", ".join(str(choice.value) for choice in choices)
        raise InvalidInput(field, value, f"must be one of {known}") from error


def check_date(field: str, value: object) -> date:
    """Return a calendar date from 1970 to 9990.

    Raises:
        InvalidInput: It is none; an instant is no date, its day depends on the zone.
    """
    if isinstance(value, datetime) or not isinstance(value, date):
        raise InvalidInput(field, value, "must be a date")
    if not 1970 <= value.year <= 9990:
        raise InvalidInput(field, value, "must be in the years 1970 to 9990")
    return value


def check_reason(what: str, actor: object, reason: object) -> None:
    """Check that an operator says who and why.

    Raises:
        MissingFields: One of them is left out or blank; the message names `what`.
        InvalidInput: One of them is no text, or the actor is none that a store keeps.
    """
    given = {"actor": actor, "reason": reason}
    texts = {name: check_kind(name, text or "", str) for name, text in given.items()}
    if missing := [name for name, text in texts.items() if not text.strip()]:
        raise MissingFields(what, missing)
    if len(texts["actor"]) > LONGEST_ACTOR or not texts["actor"].isprintable():
        problem = f"must have at most {LONGEST_ACTOR} printable characters"
        raise InvalidInput("actor", actor, problem)
