"""The processes that the integration tests start, watch and end (by their id)."""

import itertools
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, BinaryIO, Self

import psutil
import psycopg
import yaml

import portal_gateway
from portal_gateway.wire.identity import Credential
from tests.integration.calls import Client

__all__ = [
    "API_KEY",
    "BINARIES",
    "EXPOSE_READY",
    "ROOT",
    "SOURCE",
    "STARTED",
    "TUNNEL_READY",
    "Gateway",
    "Postgres",
    "Program",
    "ProgramFailed",
    "Redis",
    "Rss",
    "embedded_relay",
    "expose",
    "free_port",
    "go_relay",
    "origin",
    "postgres_tool",
    "relay_url",
    "sdk_client",
    "sdk_tunnel",
    "wait_listening",
    "wait_until",
]

ROOT = Path(__file__).resolve().parents[2]
BINARIES = ROOT / "tests" / "interop" / "bin"

SOURCE = Path(portal_gateway.__file__).resolve().parents[1]
"""What the tests themselves run is what the programs run: ``src``, or the compiled package."""

API_KEY = "sk_test_integration_0123456789abcdef"

START = 30.0
"""Seconds that a process may take to be ready. Two cores are shared by up to seven of them."""

STOP = 10.0
"""Seconds from SIGTERM to SIGKILL."""

LOG_LINES = 20_000
"""Lines of a log that are kept; Portal's relay logs every stream."""

POLL = 0.02

_numbers = itertools.count(1)

STARTED: list["Program"] = []
"""Every process of this test and those that run on from before; conftest.py reads their logs."""

TUNNEL_READY = r"^ready [A-Z2-7]{26}$"
EXPOSE_READY = r"lease [A-Z2-7]{26} is published at"
"""What a publisher's log says each time that the relay has its lease."""

WRONG = re.compile(r"Traceback|[Uu]nhandled (error|exception)|Task was destroyed|never awaited")
"""What a log of ours never holds, whatever the peers did."""


class ProgramFailed(AssertionError):
    """A process ended, or did not come up, when the test needed it."""


def free_port() -> int:
    """A TCP port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def relay_url(port: int) -> str:
    return f"ws://127.0.0.1:{port}/relay"


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> float:
    """Look every few milliseconds until ``condition`` holds; the seconds that it took."""
    start = time.monotonic()
    pause = threading.Event()
    while not condition():
        if time.monotonic() - start > seconds:
            raise ProgramFailed(f"{what}: not within {seconds:g} s")
        pause.wait(POLL)
    return time.monotonic() - start


class Program:
    """One process, its log (a file, so that nobody's reading slows it), and its end.

    ``ours`` says that the log is held to :data:`WRONG` and the end to SIGTERM; ``user`` is whose
    process it is, where that is somebody else. ``sockets`` are passed on as systemd does.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str | Path],
        *,
        environment: Mapping[str, str] | None = None,
        ours: bool = False,
        user: str | None = None,
        sockets: Mapping[str, socket.socket] | None = None,
    ) -> None:
        self.name = name
        self._user = user
        self.ours = ours
        self.arguments = [str(argument) for argument in arguments]
        self._sockets = sockets or {}
        self._environment = {**os.environ, **(environment or {})}
        self._lines: deque[str] = deque(maxlen=LOG_LINES)
        self._wrong: list[str] = []
        self._read = 0
        self._directory = Path(tempfile.mkdtemp(prefix="portal-gateway-test-"))
        self._log = self._directory / "log"
        STARTED.append(self)
        self._start()

    def _start(self) -> None:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                self.arguments if not self._sockets else self._activated(),
                pass_fds=[each.fileno() for each in self._sockets.values()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._directory,
                env=self._environment,
                user=self._user,
            )

    def _activated(self) -> list[str]:
        """What runs the program with its sockets from descriptor 3 on."""
        activate = str(ROOT / "tests" / "integration" / "activate.py")
        sockets = [f"{name}={each.fileno()}" for name, each in self._sockets.items()]
        return [sys.executable, "-S", activate, *sockets, "--", *self.arguments]

    def _look(self) -> None:
        """Take in what was written since the last look, as far as lines are whole."""
        if not self._log.exists():
            return
        with self._log.open("rb") as log:
            log.seek(self._read)
            news, newline, _ = log.read().rpartition(b"\n")
        self._read += len(news) + len(newline)
        for line in news.decode("utf-8", "backslashreplace").splitlines():
            self._lines.append(line)
            if WRONG.search(line):
                self._wrong.append(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    @property
    def lines(self) -> list[str]:
        """The last lines of the log."""
        self._look()
        return list(self._lines)

    def take_wrong(self) -> list[str]:
        """What was wrong in the log, or at the end, since this was last asked."""
        self._look()
        wrong, self._wrong = self._wrong, []
        return wrong

    def wait_for_line(
        self, pattern: str, *, count: int = 1, seconds: float = START
    ) -> re.Match[str]:
        """The ``count``-th line of the log with ``pattern``; ProgramFailed when none comes."""
        wanted = re.compile(pattern)
        found: list[re.Match[str]] = []

        def there() -> bool:
            over = not self.alive
            found[:] = [match for line in self.lines if (match := wanted.search(line))]
            if len(found) < count and over:
                tail = "\n".join(self.lines[-30:])
                raise ProgramFailed(f"{self} without a line like {pattern!r}; it said:\n{tail}")
            return len(found) >= count

        wait_until(there, seconds, f"{self.name} saying {pattern!r}")
        return found[count - 1]

    def count_lines(self, pattern: str) -> int:
        """How many lines of the log hold ``pattern``."""
        wanted = re.compile(pattern)
        return sum(wanted.search(line) is not None for line in self.lines)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        """Start it again, after :meth:`kill`, with the same arguments and log."""
        self._start()

    def stop(self) -> int:
        """End it in order; the exit status. One that does not end in time is killed."""
        if self.alive:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(STOP)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self._wrong.append(f"did not end within {STOP:g} s of SIGTERM")
        status = self.process.wait()
        self._look()
        shutil.rmtree(self._directory, ignore_errors=True)
        return status

    def __repr__(self) -> str:
        state = "alive" if self.alive else f"ended with {self.process.returncode}"
        return f"<{self.name} {state}>"


class Rss:
    """How far the resident memory of processes rose above what it was at the start, in bytes."""

    def __init__(self, programs: Sequence[Program]) -> None:
        self._processes = [psutil.Process(program.pid) for program in programs]
        self._before = [process.memory_info().rss for process in self._processes]
        self.grown = 0

    def look(self) -> None:
        """Take a sample; cheap enough for every piece of a body."""
        for process, before in zip(self._processes, self._before, strict=True):
            self.grown = max(self.grown, process.memory_info().rss - before)


def python(module: str, *arguments: str | Path) -> list[str | Path]:
    return [sys.executable, "-m", module, *arguments]


def python_path() -> dict[str, str]:
    """The environment in which a program finds the package and the tests."""
    return {"PYTHONPATH": os.pathsep.join((str(SOURCE), str(ROOT))), "PYTHONUNBUFFERED": "1"}


def wait_listening(program: Program, port: int) -> None:
    def accepts() -> bool:
        if not program.alive:
            raise ProgramFailed(f"{program.name} ended; it said: {program.lines[-30:]}")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            return False
        return True

    wait_until(accepts, START, f"{program.name} listening")


class Relay(Program):
    """A relay, of whichever make; ``url`` is where its clients reach it."""

    port: int

    @property
    def url(self) -> str:
        return relay_url(self.port)

    def wait_ready(self) -> None:
        wait_listening(self, self.port)


def go_relay(version: str, *more: str, port: int | None = None) -> Relay:
    """Portal's own relay of that version, listening; ``more`` are further options of its own."""
    port = port or free_port()
    dash = "--" if version == "1.2.0" else "-"
    relay = Relay(
        f"relay-{version}",
        [
            BINARIES / version / "relay-server",
            *(f"{dash}port", str(port), f"{dash}bootstraps", relay_url(port)),
            *more,
        ],
    )
    relay.port = port
    relay.wait_ready()
    return relay


def embedded_relay(*more: str) -> Relay:
    """Our own relay in a process of its own, listening."""
    relay = Relay(
        "relay-embedded",
        python("tests.integration.run_relay", *more),
        environment=python_path(),
        ours=True,
    )
    relay.port = int(relay.wait_for_line(r"ready \S+:(\d+)").group(1))
    return relay


def origin() -> tuple[Program, str]:
    """The service behind the leases, and its host:port."""
    program = Program("origin", [sys.executable, ROOT / "tests" / "integration" / "origin.py"])
    return program, program.wait_for_line(r"^ready (\S+)$").group(1)


def sdk_tunnel(
    version: str, relay: Relay, name: str, to: str, credential: Credential, *more: str
) -> Program:
    """A tunnel on Portal's SDK of that version, once the relay lists its lease."""
    program = Program(
        f"tunnel-{version}",
        [
            BINARIES / version / "tunnel",
            *("-relay", relay.url, "-name", name, "-to", to),
            *("-seed", credential.private_bytes().hex()),
            *more,
        ],
    )
    program.wait_for_line(TUNNEL_READY)
    return program


def sdk_client(version: str, relay: Relay, *lease: str) -> tuple[Program, str]:
    """A client on Portal's SDK, and the host:port whose connections become streams to the lease."""
    program = Program(
        f"client-{version}", [BINARIES / version / "client", "-relay", relay.url, *lease]
    )
    return program, program.wait_for_line(r"^ready (\S+)$").group(1)


def expose(relay: Relay, name: str, to: str, credential_file: Path, *more: str) -> Program:
    """Our ``portal-gateway expose``, once it says that the lease is published."""
    program = Program(
        "expose",
        python(
            "portal_gateway.cli",
            "expose",
            *("--relay", relay.url, "--name", name, "--to", to),
            *("--credential", credential_file),
            *more,
        ),
        environment=python_path(),
        ours=True,
    )
    program.wait_for_line(EXPOSE_READY)
    return program


class Redis(Program):
    """A Redis that keeps nothing, listening; ``more`` are further options of its own."""

    def __init__(self, *more: str, port: int | None = None) -> None:
        self.port = port or free_port()
        super().__init__(
            "redis",
            [
                *("redis-server", "--bind", "127.0.0.1", "--port", str(self.port)),
                *("--save", "", "--appendonly", "no", "--daemonize", "no"),
                *more,
            ],
        )
        self.wait_ready()

    def wait_ready(self) -> None:
        wait_listening(self, self.port)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def ask(self, *words: str | bytes) -> Any:
        """The answer to one command. Raises RuntimeError for an error."""
        with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
            encoded = [word.encode() if isinstance(word, str) else word for word in words]
            connection.sendall(
                b"*%d\r\n" % len(encoded)
                + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in encoded)
            )
            return _redis_answer(connection.makefile("rb"))


def _redis_answer(stream: BinaryIO) -> Any:
    line = stream.readline().rstrip(b"\r\n")
    kind, rest = line[:1], line[1:]
    if kind == b"-":
        raise RuntimeError(rest.decode())
    if kind == b":":
        return int(rest)
    if kind == b"$":
        size = int(rest)
        return None if size < 0 else stream.read(size + 2)[:-2].decode()
    if kind == b"*":
        return [_redis_answer(stream) for _ in range(int(rest))]
    return rest.decode()


def postgres_tool(name: str) -> Path | None:
    """A program of PostgreSQL's server, which Debian keeps off the path; ``None`` for none."""
    on_path = shutil.which(name)
    if on_path is not None:
        return Path(on_path).resolve()
    return max(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), default=None)


class Postgres(Program):
    """A PostgreSQL that keeps what it has only until it is stopped; made for `new_database`."""

    def __init__(self) -> None:
        self.port = free_port()
        self._data = Path(tempfile.mkdtemp(prefix="portal-gateway-test-"))
        # It refuses to run as root.
        user = "postgres" if os.geteuid() == 0 else None
        if user is not None:
            shutil.chown(self._data, user)
        initdb, postgres = postgres_tool("initdb"), postgres_tool("postgres")
        assert initdb is not None
        assert postgres is not None
        subprocess.run(
            [initdb, "-D", self._data, "-A", "trust", "-U", "gateway", "-E", "UTF8", "--no-sync"],
            check=True,
            capture_output=True,
            cwd="/",
            user=user,
        )
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "fsync": "off",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        super().__init__("postgres", [postgres, "-D", self._data, *options], user=user)
        self.wait_for_line("ready to accept connections")

    def dsn(self, database: str = "postgres") -> str:
        return f"postgresql://gateway@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """The DSN of a database that has nothing in it."""
        name = f"test_{next(_numbers)}"
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.dsn(name)

    def signal(self, number: signal.Signals) -> None:
        """To the process that answers each connection, too."""
        for child in psutil.Process(self.pid).children():
            child.send_signal(number)
        super().signal(number)

    def stop(self) -> int:
        status = super().stop()
        shutil.rmtree(self._data, ignore_errors=True)
        return status


class Gateway(Program):
    """``portal-gateway run`` with a configuration; ``address`` is its host:port.

    ``module`` is what runs instead of the command.
    """

    def __init__(
        self,
        configuration: Mapping[str, Any],
        directory: Path,
        environment: Mapping[str, str] | None = None,
        sockets: Mapping[str, socket.socket] | None = None,
        module: str = "portal_gateway.cli",
    ) -> None:
        whole = {
            "gateway": {"listen": "127.0.0.1:0"},
            "auth": {"keys": [{"id": "tester", "key": API_KEY}]},
            **configuration,
        }
        file = directory / "gateway.yaml"
        file.write_text(yaml.safe_dump(whole, allow_unicode=True), encoding="utf-8")
        super().__init__(
            "gateway",
            python(module, "run", "--config", file),
            environment={**python_path(), **(environment or {})},
            ours=True,
            sockets=sockets,
        )
        self.address = self.wait_for_line(r"listens on https?://([\d.]+:\d+)").group(1)

    def wait_ready(self) -> None:
        """Wait until ``/health/ready`` says that a relay session is up."""

        def ready() -> bool:
            with Client(self.address) as client:
                return client.request("GET", "/health/ready").status == HTTPStatus.OK

        wait_until(ready, START, "the gateway being ready")
