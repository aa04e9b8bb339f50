"""The processes that an abuse is tried on, and what it costs them."""

import contextlib
import http.client
import os
import re
import ssl
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import psutil

from tests.abuse.abuser import Abuser, Outcome, Sending
from tests.abuse.abuses import FAULT, READ_KEY, RECORDS, SUBJECT_KEY, UNLIMITED, Abuse
from tests.integration import programs
from tests.integration.calls import Client
from tests.integration.test_tls import NOW, ROOT
from tests.tls.tls_world import Certified

__all__ = ["Bed", "Row"]

SCRAPER = "sk_test_of_prometheus_0123456789"
INNOCENT = "sk_test_of_an_innocent_0123456789"

LEASES = 10_000
"""Leases that the relay lists."""

LIMITS = {
    "header_timeout": "600ms",
    "handshake_timeout": "600ms",
    "idle_timeout": "1s",
    "body_rate_window": "600ms",
    "write_stall": "600ms",
    "body": "64KiB",
    "connections_per_address": 400,
}
"""Those of time are shorter than the defaults, so that what they end ends soon."""

SECRET = "of-a-test-0123456789-0123456789-0123"

CONNECTION = 216
"""Bytes that a client sends for a connection itself: SYN, ACK, FIN, ACK (RFC 9293, RFC 791)."""

RECORD = 33
"""Bytes of a record of one byte: its length, nonce and tag (RFC 8439)."""

HELD = 128 * 1024
"""Bytes that may wait for each client that takes nothing (gateway.limits.write_stall)."""

SLACK = 4 * 2**20
"""Bytes by which a process grows and shrinks, whatever it does."""

ORDINARY = 400
"""Requests whose cost is what an abuse is compared with."""


class Row(NamedTuple):
    """What one abuse came to. Bytes, seconds; ``cpu_factor`` is in an ordinary byte's cost."""

    abuse: Abuse
    sent: int
    outcome: Outcome
    held: int
    cpu: float
    cpu_factor: float
    hits: float
    took: float
    risen: str

    @property
    def memory_factor(self) -> float:
        """Bytes held for each that was sent, beyond what each connection may have of its own."""
        allowed = self.outcome.connections * HELD + SLACK
        return max(0, self.held - allowed) / self.sent


class Served:
    """One gateway, and what an ordinary byte costs it."""

    def __init__(self, directory: Path, origin: str, kind: str, relay: str | None) -> None:
        directory.mkdir(exist_ok=True)
        self.kind = kind
        gateway: dict[str, object] = {"listen": "127.0.0.1:0", "limits": LIMITS}
        if kind == "tls":
            Certified("first", ROOT, now=NOW).write(directory)
            gateway["tls"] = {"cert_file": "cert.pem", "key_file": "key.pem"}
        configuration: dict[str, object] = {
            "gateway": gateway,
            "auth": {
                "keys": [
                    {"id": "abuser", "key": programs.API_KEY},
                    {"id": "reader", "key": READ_KEY, "scopes": ["read"]},
                    {"id": "limited", "key": SUBJECT_KEY},
                    {"id": "innocent", "key": INNOCENT},
                    {"id": "prometheus", "key": SCRAPER, "scopes": ["admin"]},
                ],
                "jwt": {"algorithm": "HS256", "secret": SECRET},
            },
            "leases": {
                "tool": {"url": f"http://{origin}"},
                "well": {"url": f"http://{origin}"},
                "mcp": {"url": f"http://{origin}", "mcp": True},
            },
            "rate_limit": {
                "failed_auth": {"requests_per_second": 2, "burst": 20},
                "per_key": {
                    "default": {"requests_per_second": 1_000_000},
                    "overrides": {"limited": {"requests_per_second": 10, "burst": 50}},
                },
            },
            "websocket": {"messages_per_second": 1000, "message_burst": 1000},
        }
        if relay is not None:
            configuration["portal"] = {"relays": [{"url": f"ws://{relay}/relay"}]}
        self.program = programs.Gateway(configuration, directory)
        self.address = self.program.address
        self._process = psutil.Process(self.program.pid)
        self.cost = 0.0
        self.floor = 0
        if relay is not None:
            self.wait_for_relay()
            if kind == "directory":
                # The list is what its relay made it keep, not who asks for a name.
                with _Peak(self) as peak, Client(self.address, key=INNOCENT) as client:
                    for number in range(10):
                        client.request("GET", f"/peer/warm-{number}/")
                self.floor = peak.most

    def wait_for_relay(self) -> None:
        """Wait until the session with the relay is up."""
        programs.wait_until(
            lambda: any(
                name.startswith("portal_gateway_relay_up") and value
                for name, value in self.scrape().items()
            ),
            30,
            "the session with the relay",
        )

    def measure(self) -> None:
        """What a byte of ordinary requests costs, in seconds."""
        count = ORDINARY
        head = f"GET /peer/well/ok HTTP/1.1\r\nHost: gw\r\nX-API-Key: {INNOCENT}\r\n\r\n".encode()
        sending = Sending(pieces=lambda: iter([head] * count), most=count * len(head), patience=0.3)
        abuser = Abuser(self.address, "http/1.1" if self.kind == "tls" else None)
        abuser.send(sending)
        before = self.cpu()
        outcome = abuser.send(sending)
        self.cost = (self.cpu() - before) / outcome.sent

    def cpu(self) -> float:
        """Seconds that its threads have run, to the nanosecond."""
        total = 0
        for task in Path(f"/proc/{self.program.pid}/task").iterdir():
            with contextlib.suppress(OSError):
                total += int((task / "schedstat").read_text().split()[0])
        return total / 1e9

    def memory(self) -> int:
        return self._process.memory_info().rss

    def scrape(self) -> Mapping[str, float]:
        text = self._get("/metrics")
        lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in lines}

    def _get(self, path: str) -> str:
        connection = http.client.HTTPConnection(self.address, timeout=30)
        if self.kind == "tls":
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            connection = http.client.HTTPSConnection(self.address, timeout=30, context=context)
        with contextlib.closing(connection):
            connection.request("GET", path, headers={"X-API-Key": SCRAPER})
            return connection.getresponse().read().decode()


class Bed:
    """The lease, the relay, and a gateway of each kind, made when it is needed."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._exit = contextlib.ExitStack()
        self._served: dict[str, Served] = {}
        self._relays: dict[str, tuple[subprocess.Popen[str], str]] = {}
        self.origin = programs.Program(
            "hostile-origin",
            programs.python("tests.abuse.hostile_origin"),
            environment=programs.python_path(),
        )
        self._exit.callback(self.origin.stop)
        self.origin_address = self.origin.wait_for_line(r"^ready (\S+)$").group(1)

    def __enter__(self) -> "Bed":
        return self

    def __exit__(self, *_: object) -> None:
        for served in self._served.values():
            served.program.stop()
        self._exit.close()

    def gateway(self, kind: str) -> Served:
        if kind not in self._served:
            number = {"relayed": 3, "directory": LEASES}.get(kind)
            relay = None if number is None else self._start_relay(kind, number)
            served = Served(self._directory / kind, self.origin_address, kind, relay)
            served.measure()
            self._served[kind] = served
        return self._served[kind]

    def forget(self, kind: str) -> None:
        """The next gateway of that kind is a new process."""
        served = self._served.pop(kind, None)
        if served is not None:
            served.program.stop()
            assert served.program.take_wrong() == []

    def _start_relay(self, kind: str, leases: int) -> str:
        if kind not in self._relays:
            program = subprocess.Popen(
                [str(a) for a in programs.python("tests.abuse.hostile_relay", str(leases))],
                env={**os.environ, **programs.python_path()},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            self._exit.enter_context(program)
            self._exit.callback(program.terminate)
            assert program.stdout is not None
            self._relays[kind] = program, program.stdout.readline().split()[1]
        return self._relays[kind][1]

    def _order(self, abuse: Abuse) -> int:
        """Have the relay flood the session; the bytes that it sent."""
        program, _ = self._relays[abuse.at]
        assert program.stdin is not None
        assert program.stdout is not None
        program.stdin.write(f"{abuse.order}\n")
        program.stdin.flush()
        return int(program.stdout.readline().split()[1])

    def lease_sent(self) -> int:
        """Bytes that the lease has sent in all."""
        with Client(self.origin_address) as client:
            return int(client.request("GET", "/sent").body)

    def suffer(self, abuse: Abuse, *, part: float = 1.0, longest: float = 20.0) -> Row:
        """Let one abuse happen, or a part of it."""
        served = self.gateway(abuse.at)
        if abuse.at in self._relays:
            served.wait_for_relay()
        before, lease_before = served.scrape(), self.lease_sent()
        floor, used = served.memory(), served.cpu()
        with _Peak(served) as peak:
            start = time.monotonic()
            sent = self._order(abuse) if abuse.order not in {"", RECORDS} else 0
            sending = abuse.sending._replace(most=int(abuse.sending.most * part))
            outcome = Abuser(served.address, abuse.alpn).send(sending, longest)
            took = time.monotonic() - start
        cpu = served.cpu() - used
        sent += outcome.sent + outcome.connections * CONNECTION
        if abuse.lease:
            sent += self.lease_sent() - lease_before
        if abuse.order == RECORDS:
            sent += outcome.received * RECORD
        after = served.scrape()
        if abuse.ended_by == FAULT:
            served.wait_for_relay()
            after = served.scrape()
        metric, _, label = abuse.ended_by.partition(" ")
        hits = sum(
            value - before.get(name, 0)
            for name, value in after.items()
            if abuse.ended_by != UNLIMITED and name.startswith(metric + "{") and label in name
        )
        held = max(0, peak.most - max(floor, served.floor))
        factor = cpu / sent / served.cost
        risen = _risen(before, after)
        return Row(abuse, sent, outcome, held, cpu, factor, hits, took, risen)


def _risen(before: Mapping[str, float], after: Mapping[str, float]) -> str:
    """The counters of limits that rose, for whoever looks why one did not."""
    return ", ".join(
        f"{name} {after[name] - before.get(name, 0):g}"
        for name in after
        if re.search("_total{.*(limit|type|kind)=", name) and after[name] > before.get(name, 0)
    )


class _Peak:
    """The most memory while it lasts."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.most = 0

    def __enter__(self) -> "_Peak":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.02):
            self.most = max(self.most, self._served.memory())
