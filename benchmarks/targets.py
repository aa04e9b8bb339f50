"""What the benchmark loads: each target starts its processes and says where and how to ask.

All of them reach the same nginx, which answers a small JSON body, over loopback.
"""

import contextlib
import os
import shutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex
from typing import ClassVar

from portal_gateway.wire.identity import Credential
from tests.integration import programs
from tests.integration.programs import ROOT, Program

__all__ = ["BODY", "OVER_HTTP", "OVER_RELAY", "Target", "Tunnel", "nginx_origin"]

BODY = '{"status":"ok","model":"sample-1","tokens":[1,2,3,5,8,13],"text":"a small answer"}'

VERSION = "1.4.14"
LEASE = "agent"
KEEP = 512
"""Idle upstream connections a proxy may keep: above the highest number of clients."""


def nginx(top: Path, name: str, locations: str, upstreams: str = "") -> tuple[Program, str]:
    """An nginx of one worker without logs, and its host:port; its files are under ``top``."""
    directory = top / name
    directory.mkdir()
    port = programs.free_port()
    temporary = "".join(
        f"{kind}_temp_path {directory}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (directory / "nginx.conf").write_text(
        f"""daemon off; worker_processes 1; pid {directory}/pid; error_log stderr warn;
        events {{ worker_connections 4096; }}
        http {{
            access_log off; keepalive_requests 1000000000; keepalive_timeout 300s;
            {temporary} {upstreams}
            server {{ listen 127.0.0.1:{port} backlog=4096; {locations} }}
        }}""",
        encoding="utf-8",
    )
    path = os.pathsep.join((os.environ["PATH"], "/usr/sbin"))
    binary = shutil.which("nginx", path=path)
    assert binary is not None
    # As root, nginx's worker would change to a user who may not enter the directory.
    user = ("-g", "user root;") if os.geteuid() == 0 else ()
    program = Program(name, [binary, "-c", directory / "nginx.conf", "-p", directory, *user])
    programs.wait_listening(program, port)
    return program, f"127.0.0.1:{port}"


def nginx_origin(top: Path) -> tuple[Program, str]:
    """The service behind everything."""
    return nginx(
        top, "origin", f"location / {{ default_type application/json; return 200 '{BODY}'; }}"
    )


class Tunnel:
    """Portal's relay 1.4.14 and a tunnel on its SDK to ``origin``: what the relay's rows share."""

    def __init__(self, origin: str) -> None:
        self.relay = programs.go_relay(VERSION)
        self.publisher = programs.sdk_tunnel(
            VERSION, self.relay, LEASE, origin, Credential.generate()
        )

    def close(self) -> None:
        self.publisher.stop()
        self.relay.stop()


class Target(ABC):
    """One row of the table.

    ``start`` gives the process whose CPU is counted; afterwards ``url`` and ``fields`` are what to
    ask. Files of its own go to ``top``.
    """

    name: ClassVar[str]

    @classmethod
    def missing(cls) -> str:
        """What is not here and would be needed; empty where nothing is missing."""
        return ""

    def __init__(self, top: Path, origin: str, tunnel: Tunnel | None = None) -> None:
        self.top = top
        self.origin = origin
        self.tunnel = tunnel
        self.url = ""
        self.fields: dict[str, str] = {}

    @abstractmethod
    def start(self) -> Program: ...

    @contextlib.contextmanager
    def running(self) -> Iterator[int]:
        """The id of the process to measure, while the target is up."""
        started = self.start()
        try:
            yield started.pid
        finally:
            if self.tunnel is None or started is not self.tunnel.relay:
                started.stop()


class _ThisGateway(Target):
    """Our gateway with its guards and its log on, one key, one upstream."""

    @abstractmethod
    def upstream(self) -> dict[str, object]:
        """The part of the configuration that says where the lease is."""

    def environment(self) -> dict[str, str]:
        """What is different about its process."""
        return {}

    def start(self) -> Program:
        directory = self.top / type(self).__name__
        directory.mkdir()
        gateway = programs.Gateway(self.upstream(), directory, self.environment())
        if self.tunnel is not None:
            gateway.wait_ready()
        self.url = f"http://{gateway.address}/peer/{LEASE}/answer.json"
        self.fields = {"X-API-Key": programs.API_KEY}
        return gateway


class GatewayOverHTTP(_ThisGateway):
    name = "this gateway, HTTP origin"

    def upstream(self) -> dict[str, object]:
        return {"leases": {LEASE: {"url": f"http://{self.origin}"}}}


class GatewayOverRelay(_ThisGateway):
    name = "this gateway, relay 1.4.14"

    def upstream(self) -> dict[str, object]:
        assert self.tunnel is not None
        return {"portal": {"relays": [{"url": self.tunnel.relay.url}]}}


class GatewayWithEveryGuard(GatewayOverHTTP):
    """Every rule that decides whether a request may pass has something to decide."""

    name = "this gateway, every guard"

    def upstream(self) -> dict[str, object]:
        rate = {"requests_per_second": 1_000_000, "burst": 1_000_000}
        return {
            **super().upstream(),
            "gateway": {"listen": "127.0.0.1:0", "trusted_proxies": ["192.0.2.0/24"]},
            "ip_whitelist": {"enabled": True, "cidrs": ["127.0.0.0/8", "2001:db8::/32"]},
            "lease_acl": {LEASE: ["tester"], "public-*": ["*"]},
            "rate_limit": {
                "global": rate,
                "per_key": {"default": rate},
                "per_lease": {LEASE: 1_000_000},
            },
            "quotas": {"monthly": {"tester": {"requests": 10_000_000_000, "bandwidth": "1000TB"}}},
        }


class GatewayNotCompiled(GatewayOverHTTP):
    name = "this gateway, not compiled"

    def environment(self) -> dict[str, str]:
        return {"PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(ROOT)))}


class FloorProxy(Target):
    name = "Twisted and llhttp, no policy"

    def start(self) -> Program:
        return self._script("floor_proxy.py", self.origin)

    def _script(self, name: str, *arguments: str) -> Program:
        program = Program(name, [sys.executable, ROOT / "benchmarks" / name, *arguments])
        address = program.wait_for_line(r"^ready (\S+)$").group(1)
        self.url = f"http://{address}/answer.json"
        return program


class AiohttpProxy(FloorProxy):
    name = "aiohttp proxy"

    def start(self) -> Program:
        self.fields = {"X-API-Key": programs.API_KEY}
        return self._script("aiohttp_proxy.py", self.origin, programs.API_KEY)


class LiteLLMPassThrough(Target):
    """A pass-through endpoint of LiteLLM's proxy, which has one key and no database."""

    name = "LiteLLM pass-through"

    @classmethod
    def missing(cls) -> str:
        return "" if shutil.which("litellm") else "litellm is not on the path"

    def start(self) -> Program:
        port = programs.free_port()
        # It does not start with a key that looks weak to it.
        key = f"sk-{token_hex(32)}"
        file = self.top / "litellm.yaml"
        file.write_text(
            f"""general_settings:
  master_key: {key}
  pass_through_endpoints:
    - path: "/agent"
      target: "http://{self.origin}/answer.json"
""",
            encoding="utf-8",
        )
        litellm = shutil.which("litellm")
        assert litellm is not None
        program = Program(
            "litellm",
            [litellm, "--config", file, "--port", str(port), "--host", "127.0.0.1"],
            environment={"LITELLM_LOCAL_MODEL_COST_MAP": "True"},
        )
        program.wait_for_line("running on", seconds=120)
        self.url = f"http://127.0.0.1:{port}/agent"
        self.fields = {"Authorization": f"Bearer {key}"}
        return program


class NginxProxy(Target):
    name = "nginx, HTTP origin"

    def start(self) -> Program:
        program, address = nginx(
            self.top,
            "proxy",
            "location / { proxy_pass http://origin; proxy_http_version 1.1;"
            ' proxy_set_header Connection ""; }',
            f"upstream origin {{ server {self.origin}; keepalive {KEEP};"
            " keepalive_requests 1000000000; }",
        )
        self.url = f"http://{address}/answer.json"
        return program


class CaddyProxy(Target):
    name = "Caddy (GOMAXPROCS=1), HTTP origin"

    def start(self) -> Program:
        port = programs.free_port()
        file = self.top / "Caddyfile"
        file.write_text(
            f"""{{
                admin off
                auto_https off
            }}
            http://127.0.0.1:{port} {{
                reverse_proxy {self.origin} {{
                    transport http {{
                        keepalive_idle_conns_per_host {KEEP}
                    }}
                }}
            }}""",
            encoding="utf-8",
        )
        program = Program(
            "caddy",
            ["caddy", "run", "--adapter", "caddyfile", "--config", file],
            environment={
                "GOMAXPROCS": "1",
                "XDG_CONFIG_HOME": str(self.top),
                "XDG_DATA_HOME": str(self.top),
            },
        )
        programs.wait_listening(program, port)
        self.url = f"http://127.0.0.1:{port}/answer.json"
        return program


class PooledProxy(Target):
    name = "Go ReverseProxy on the SDK, pooled"

    def start(self) -> Program:
        assert self.tunnel is not None
        program = Program(
            "pooledproxy",
            [
                programs.BINARIES / VERSION / "pooledproxy",
                *("-relay", self.tunnel.relay.url, "-name", LEASE),
            ],
        )
        address = program.wait_for_line(r"^ready (\S+)$").group(1)
        self.url = f"http://{address}/answer.json"
        return program


class RelayByHost(Target):
    """The relay's own route by host: relay and proxy are one process, so its CPU is both."""

    name = "relay 1.4.14's own route by host"

    def start(self) -> Program:
        assert self.tunnel is not None
        port = self.tunnel.relay.port
        self.url = f"http://127.0.0.1:{port}/answer.json"
        self.fields = {"Host": f"{LEASE}.localhost:{port}"}
        return self.tunnel.relay


OVER_HTTP = (
    GatewayOverHTTP,
    GatewayWithEveryGuard,
    GatewayNotCompiled,
    FloorProxy,
    NginxProxy,
    CaddyProxy,
    AiohttpProxy,
    LiteLLMPassThrough,
)
OVER_RELAY = (GatewayOverRelay, PooledProxy, RelayByHost)
"""The two groups that are compared; the first of each is this gateway."""
