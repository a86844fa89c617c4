"""A proxy before PostgreSQL that knows its messages, and cuts the connection at the one it is told.

It listens on the loopback interface. Messages are counted over both directions from the moment a
cut is asked for; each is passed on whole, or not at all.
"""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

from psycopg.conninfo import conninfo_to_dict

_LENGTH = struct.Struct(">I")
_TO_SERVER, _TO_CLIENT = ">", "<"


class Proxy:
    """Passes messages on.

    Attributes:
        address: Of the same database by way of this proxy.
        passed: What went by since the cut was asked for, as ``>E``: to the server, Execute.
        was_cut: Whether the connection was cut since.
        spoilt: How many answers were replaced by an error.
    """

    def __init__(self, address: str) -> None:
        given = conninfo_to_dict(address)
        self._host, self._port = str(given["host"]), int(given.get("port") or 5432)
        self._listening = socket.create_server(("127.0.0.1", 0))
        port = self._listening.getsockname()[1]
        name = f"{given.get('user', '')}@127.0.0.1:{port}/{given.get('dbname', '')}"
        self.address = f"postgresql://{name}?sslmode=disable&gssencmode=disable"
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._open: set[socket.socket] = set()
        self.passed: list[str] = []
        self.was_cut = False
        self.spoilt = 0
        self._at = 0
        self._after = False
        self._instead: tuple[str, str] | None = None
        self._run(self._accept)

    def cut(self, at: int, *, after: bool) -> None:
        """Cut the connection that the next message of that number goes over, once.

        Args:
            at: The number, from 1; 0: never.
            after: Pass the message on before.
        """
        with self._lock:
            self.passed, self.was_cut, self._at, self._after = [], False, at, after

    def answer(self, command: str, sqlstate: str) -> None:
        """Give an error in place of the next answer to such a command, which was carried out.

        Args:
            command: How the server's answer begins, such as ``UPDATE``.
            sqlstate: Of the error.
        """
        with self._lock:
            self._instead = command, sqlstate

    def close(self) -> None:
        """End all connections, and wait for that."""
        with self._lock:
            sockets = [self._listening, *self._open]
        for each in sockets:
            _end(each)
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()

    # -- inside ---------------------------------------------------------------------------

    def _run(self, *work: object) -> None:
        thread = threading.Thread(target=work[0], args=work[1:], daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                server = self._connect()
                with self._lock:
                    self._open |= {client, server}
                self._run(self._pump, client, server, _TO_SERVER)
                self._run(self._pump, server, client, _TO_CLIENT)

    def _connect(self) -> socket.socket:
        if self._host.startswith("/"):
            server = socket.socket(socket.AF_UNIX)
            server.connect(f"{self._host}/.s.PGSQL.{self._port}")
            return server
        return socket.create_connection((self._host, self._port))

    def _pump(self, source: socket.socket, target: socket.socket, way: str) -> None:
        with suppress(OSError), source.makefile("rb") as stream:
            first = way == _TO_SERVER  # the first message has no kind
            while message := _message(stream, first=first):
                before, after = (False, False) if first else self._judge(way, message)
                if not before:
                    target.sendall(self._spoilt(way, message))
                if before or after:
                    break
                first = False
        for each in (source, target):
            _end(each)
            with self._lock:
                self._open.discard(each)

    def _judge(self, way: str, message: bytes) -> tuple[bool, bool]:
        """Return whether to cut before this message, and whether after it."""
        with self._lock:
            self.passed.append(way + chr(message[0]))
            if self.was_cut or len(self.passed) != self._at:
                return False, False
            self.was_cut = True
            return not self._after, self._after

    def _spoilt(self, way: str, message: bytes) -> bytes:
        with self._lock:
            if self._instead is None or way == _TO_SERVER or message[:1] != b"C":
                return message
            command, sqlstate = self._instead
            if not message[5:].startswith(command.encode()):
                return message
            self._instead = None
            self.spoilt += 1
        fields = f"SERROR\0VERROR\0C{sqlstate}\0Mspoilt\0\0".encode()
        return b"E" + _LENGTH.pack(len(fields) + 4) + fields


def _message(stream: BinaryIO, *, first: bool) -> bytes:
    """Return the next message; empty: there is none any more."""
    kind = b"" if first else stream.read(1)
    length = stream.read(4)
    if len(length) < 4:
        return b""
    body = stream.read(_LENGTH.unpack(length)[0] - 4)
    return kind + length + body


def _end(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)  # what was passed on still arrives
    connection.close()


@contextmanager
def proxied(address: str) -> Iterator[Proxy]:
    """A proxy for as long as it is needed."""
    proxy = Proxy(address)
    try:
        yield proxy
    finally:
        proxy.close()
