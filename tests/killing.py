"""Writers that are killed at any moment: forked by one process, as starting others is slow."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.source_tree import ROOT


class Mother:
    """Has children that do some work until they are killed."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def bear(self, *names: str) -> list[int]:
        """Let one child for each name begin; return their process ids."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("".join(f"{name}\n" for name in names))
        self._process.stdin.flush()
        return [int(self._process.stdout.readline()) for _ in names]


@contextmanager
def mother(work: Callable[..., None], *arguments: object) -> Iterator[Mother]:
    """One for as long as she is needed, whose children run ``work(name, *arguments)``.

    Args:
        work: A function of a module, found again by its name.
        arguments: Handed over as text.
    """
    code = (
        f"import sys; from tests.killing import attend; "
        f"from {work.__module__} import {work.__name__} as work; attend(work, *sys.argv[1:])"
    )
    command = [sys.executable, "-c", code, *map(str, arguments)]
    with subprocess.Popen(
        command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        yield Mother(process)
        process.communicate()


def attend(work: Callable[..., None], *arguments: str) -> None:
    """Fork a child for each line of input, which names it; answer with its process id."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the dead need no burial
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                work(line.strip(), *arguments)
            finally:
                os._exit(1)
        print(child, flush=True)


def kill(process: int) -> None:
    """Kill it as `kill -9` does, and wait until it is gone; it may be gone already."""
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)
        while True:
            os.kill(process, 0)
            time.sleep(0.001)


def grown(file: Path, by: int = 1) -> None:
    """Wait until there are so many bytes more in a file than now."""
    end, before = time.monotonic() + 60, file.stat().st_size
    while file.stat().st_size < before + by:
        assert time.monotonic() < end, "nobody has written anything for a minute"
        time.sleep(0.001)
