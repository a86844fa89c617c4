"""A proxy on loopback between a store and its server, which loses what one tells it to lose."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

HOST = "127.0.0.1"
_PIECE = 1 << 16


class Proxy:
    """Passes bytes on, piece by piece, until it is told to cut.

    Args:
        server: Where the server listens: (host, port), or the path of a Unix socket.

    Attributes:
        port: Where it listens itself, at `HOST`.
    """

    def __init__(self, server: tuple[str, int] | str) -> None:
        self._server = server
        self._lock = threading.Lock()
        self._links: set[_Link] = set()
        self._trap: tuple[str, int] | None = None
        self._refusing = False
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def lose(self, what: str, number: int) -> None:
        """From now on, cut every connection instead of passing on that piece.

        Args:
            what: ``request``: it does not reach the server. ``answer``: it does not come back.
            number: Of the piece among those that go this way, from 1.
        """
        with self._lock:
            self._trap = (what, number)

    def settle(self) -> bool:
        """Lose nothing more; return whether something was lost since `lose`."""
        with self._lock:
            sprung = self._trap is None
            self._trap = None
            return sprung

    def cut(self) -> None:
        """Cut every connection there is."""
        with self._lock:
            links = list(self._links)
        for link in links:
            link.end()

    def refuse(self, *, refusing: bool) -> None:
        """Accept no connection that lasts, or accept them again."""
        self._refusing = refusing
        if refusing:
            self.cut()

    def passes(self, what: str) -> bool:
        """Count a piece; return whether it may go on."""
        with self._lock:
            if self._trap is None or self._trap[0] != what:
                return True
            number = self._trap[1] - 1
            self._trap = (what, number) if number else None
            return number > 0

    def drop(self, link: _Link) -> None:
        """Forget a connection that has ended."""
        with self._lock:
            self._links.discard(link)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self._refusing = True
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if self._refusing:
                near.close()
                continue
            try:
                far = self._reach()
            except OSError:
                near.close()
                continue
            link = _Link(self, near, far)
            with self._lock:
                self._links.add(link)
            for work in (link.ask, link.answer):
                self._threads.append(threading.Thread(target=work, daemon=True))
                self._threads[-1].start()

    def _reach(self) -> socket.socket:
        if isinstance(self._server, tuple):
            return socket.create_connection(self._server)
        far = socket.socket(socket.AF_UNIX)
        try:
            far.connect(self._server)
        except BaseException:
            far.close()
            raise
        return far


class _Link:
    """One connection: the store's side of it and the server's."""

    def __init__(self, proxy: Proxy, near: socket.socket, far: socket.socket) -> None:
        self._proxy = proxy
        self._near = near
        self._far = far
        self._running = 2
        self._lock = threading.Lock()

    def ask(self) -> None:
        self._pump(self._near, self._far, "request")

    def answer(self) -> None:
        self._pump(self._far, self._near, "answer")

    def end(self) -> None:
        """Wake both pumps, which then end."""
        for side in (self._near, self._far):
            with suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)

    def _pump(self, source: socket.socket, target: socket.socket, what: str) -> None:
        with suppress(OSError):
            while piece := source.recv(_PIECE):
                if not self._proxy.passes(what):
                    self._proxy.cut()
                    break
                target.sendall(piece)
        self.end()
        with self._lock:
            self._running -= 1
            last = self._running == 0
        if last:
            self._near.close()
            self._far.close()
            self._proxy.drop(self)
