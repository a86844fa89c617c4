"""What ends a check that would wait for ever, and says where it waits."""

from __future__ import annotations

import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import pytest

_AGAIN = 5
"""Seconds after which it is told once more, to what waits for others that wait."""


@contextmanager
def in_time(seconds: float) -> Iterator[None]:
    """Let what runs here fail when it has not ended after so many seconds.

    By the alarm that POSIX rings in the main thread; elsewhere, and where somebody else has
    set it, there is no limit.
    """
    if threading.current_thread() is not threading.main_thread() or not _alarm_is_free():
        yield
        return
    before = signal.signal(signal.SIGALRM, _ring(seconds))
    signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _alarm_is_free() -> bool:
    return hasattr(signal, "setitimer") and signal.getsignal(signal.SIGALRM) in {
        signal.SIG_DFL,
        None,
    }


def _ring(seconds: float) -> signal._HANDLER:
    def ring(_number: int, _frame: FrameType | None) -> None:
        here = threading.get_ident()
        stacks = [
            f"a thread waits here:\n{''.join(traceback.format_stack(frame, limit=-8))}"
            for thread, frame in sys._current_frames().items()  # noqa: SLF001  # as documented
            if thread != here
        ]
        pytest.fail("\n".join([f"it has not ended after {seconds:g} s", *stacks]))

    return ring
