"""A clock that stands still until a test moves it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cardbill.instants import aware

START = datetime(2025, 3, 3, 12, tzinfo=UTC)
"""When fake clocks begin: a Monday at noon, far from any change of clocks."""


class FakeClock:
    """A clock to inject: ``cardbill.open(..., clock=clock)``.

    Two engines that are given the same one live at the same instant.

    Args:
        start: The instant it shows first, aware.

    Raises:
        InvalidInput: The instant has no time zone.

    >>> clock = FakeClock()
    >>> clock.advance(days=90, seconds=1)
    datetime.datetime(2025, 6, 1, 12, 0, 1, tzinfo=datetime.timezone.utc)
    >>> clock() == clock.now
    True
    """

    def __init__(self, start: datetime = START) -> None:
        self.set(start)

    def __call__(self) -> datetime:
        """Return the instant it shows, in UTC."""
        return self._now

    def __repr__(self) -> str:
        return f"FakeClock({self._now.isoformat()})"

    @property
    def now(self) -> datetime:
        """The instant it shows, in UTC; set it to any other, earlier ones too."""
        return self._now

    @now.setter
    def now(self, instant: datetime) -> None:
        self.set(instant)

    def set(self, instant: datetime) -> datetime:
        """Show another instant, earlier or later, and return it.

        Raises:
            InvalidInput: The instant has no time zone.
        """
        self._now = aware("instant", instant)
        return self._now

    def advance(
        self,
        *,
        days: int = 0,
        hours: int = 0,
        minutes: int = 0,
        seconds: int = 0,
        milliseconds: int = 0,
        microseconds: int = 0,
    ) -> datetime:
        """Let so much time pass, by days of 24 hours, and return the new instant."""
        passed = timedelta(
            days=days,
            hours=hours,
            minutes=minutes,
            seconds=seconds,
            milliseconds=milliseconds,
            microseconds=microseconds,
        )
        return self.set(self._now + passed)

    def sleep(self, seconds: float) -> None:
        """Let so much time pass at once, where code under test would wait for it.

        Args:
            seconds: Taken to the microsecond.
        """
        self.advance(microseconds=round(seconds * 1_000_000))
