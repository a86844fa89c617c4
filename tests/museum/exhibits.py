"""What the museum is made of: defects of other software, rebuilt here and caught.

A defect that can occur in cardbill has one rebuild or more, each of which breaks the code on
purpose for as long as its context lasts, and a check, which shows by behaviour that the code
is sound. One that cannot occur has the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field, frozen

from cardbill.errors import CardbillError

Check = Callable[[Path], None]
"""Given a folder of its own; fails where the code is broken."""
Rebuild = Callable[[], AbstractContextManager[None]]
"""Breaks the code as a defect does, and mends it in the end."""

FAILURES = (AssertionError, pytest.fail.Exception)
"""How a check may fail: anything else, unless a defect names it, is an accident."""


@frozen(kw_only=True)
class Defect:
    """One defect.

    Attributes:
        number: From 1 to 94.
        found_in: The software, and where it was reported or seen.
        symptom: What went wrong, in a sentence.
        cannot: Why it cannot occur in cardbill; empty: it can.
        rebuilds: What re-creates it, each by itself.
        check: What catches each of them; of one that cannot occur: what shows the reason, if
            anything does.
        error: What the check may fail by, other than by an assertion.
    """

    number: int
    found_in: str
    symptom: str
    cannot: str = ""
    rebuilds: tuple[Rebuild, ...] = ()
    check: Check | None = None
    error: type[CardbillError] | None = None

    @property
    def failures(self) -> tuple[type[BaseException], ...]:
        """How the check may fail."""
        return FAILURES if self.error is None else (*FAILURES, self.error)

    @property
    def shown_by(self) -> str:
        """The name of the check, in words."""
        return "" if self.check is None else self.check.__name__.replace("_", " ")


@define
class Section:
    """Defects of one kind, in a file of their own."""

    title: str
    defects: list[Defect] = field(factory=list)

    def defect(
        self,
        number: int,
        found_in: str,
        symptom: str,
        *rebuilds: Rebuild,
        error: type[CardbillError] | None = None,
    ) -> Callable[[Check], Check]:
        """Hang up a defect that can occur; what is decorated is its check."""

        def hang(check: Check) -> Check:
            self.defects.append(
                Defect(
                    number=number,
                    found_in=found_in,
                    symptom=symptom,
                    rebuilds=rebuilds,
                    check=check,
                    error=error,
                )
            )
            return check

        return hang

    def cannot(
        self, number: int, found_in: str, symptom: str, reason: str
    ) -> Callable[[Check], Check]:
        """Hang up a defect that cannot occur; what is decorated shows the reason."""

        def hang(check: Check) -> Check:
            self.defects.append(
                Defect(
                    number=number, found_in=found_in, symptom=symptom, cannot=reason, check=check
                )
            )
            return check

        return hang


def told_of_nothing_before(home: Any, name: str) -> AbstractContextManager[None]:
    """Have a decision about a card, its second argument, not know what was done before."""
    real = getattr(home, name)
    return patched((home, name, lambda card, _, *rest: real(card, None, *rest)))


@contextmanager
def patched(*changes: tuple[object, str, Any]) -> Iterator[None]:
    """Put other values in the place of (object, name) for a while."""
    with pytest.MonkeyPatch.context() as patch:
        for home, name, value in changes:
            patch.setattr(home, name, value)
        yield
