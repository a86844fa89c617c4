"""Asks a tax engine outside, between two tries of a step, and keeps the deadline.

A step is pure and may be taken several times, while a store has a transaction open: so it
never calls the engine. It raises :class:`~cardbill.taxengines.TaxNeeded`, which ends the
transaction; the engine is asked, and the step is taken again with the answer at hand.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from cardbill.errors import InvalidInput, TaxUnavailable
from cardbill.instants import aware
from cardbill.names import check_choice, check_count
from cardbill.taxengines import (
    TaxDecision,
    TaxEngine,
    TaxFallback,
    TaxNeeded,
    TaxRequest,
    decide,
)

LONGEST_SECONDS = 60


class TaxDesk:
    """A tax engine outside, with what it is allowed."""

    def __init__(
        self,
        engine: TaxEngine,
        seconds: int,
        fallback: TaxFallback,
        clock: Callable[[], datetime],
    ) -> None:
        self.engine = engine
        self.seconds = seconds
        self.fallback = fallback
        self._clock = clock

    def now(self) -> datetime:
        """Return the present instant, by the injected clock."""
        return aware("clock", self._clock())


def tax_desk(
    engine: TaxEngine | None,
    seconds: int,
    fallback: TaxFallback | str,
    clock: Callable[[], datetime],
) -> TaxDesk | None:
    """Return the desk of an engine, its terms checked; ``None``: there is no engine.

    Raises:
        InvalidInput: A term cannot be used; it is named.
    """
    check_count("tax_seconds", seconds, 1, LONGEST_SECONDS)
    policy = check_choice("tax_fallback", fallback, TaxFallback)
    if engine is None:
        return None
    if not callable(getattr(engine, "tax", None)):
        raise InvalidInput("tax_engine", engine, "must have a method tax(request, deadline)")
    return TaxDesk(engine, seconds, policy, clock)


class TaxAnswers:
    """What the engine said in one operation; all its questions share one deadline.

    Attributes:
        found: By what was asked.
    """

    def __init__(self, desk: TaxDesk, *, refusable: bool) -> None:
        self.found: dict[TaxRequest, TaxDecision] = {}
        self._desk = desk
        self._fallback = desk.fallback
        if self._fallback is TaxFallback.REFUSE and not refusable:
            self._fallback = TaxFallback.BUILT_IN
        self._deadline: datetime | None = None

    def ask(self, needed: TaxNeeded) -> None:
        """Ask the engine, and keep its answer or what stands in for it.

        Raises:
            TaxUnavailable: It has no usable answer in time, and the event is to be refused.
        """
        request, desk = needed.request, self._desk
        now = desk.now()
        if self._deadline is None:
            self._deadline = now + timedelta(seconds=desk.seconds)
        answer, problem, late = None, "no answer", now >= self._deadline
        if not late:
            try:
                answer = desk.engine.tax(request, self._deadline)
            except Exception as error:  # noqa: BLE001  # whatever it is: there is no answer
                # Its name only: a message could hold anything.
                problem = f"{type(error).__name__} raised by the tax engine"
            late = desk.now() > self._deadline
        if late:
            answer, problem = None, "no answer in time"
        decision = decide(
            request, answer, rules=needed.rules, fallback=self._fallback, problem=problem
        )
        if decision.taxed is None:
            raise TaxUnavailable(request.key, decision.problem)
        self.found[request] = decision
