"""Pebble, the test authority of Let's Encrypt, and the DNS that it asks."""

import json
import ssl
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

from tests.integration.programs import Program, free_port, wait_listening
from tests.tls.tls_world import Certified


class ChallengeServer(Program):
    """Pebble's challenge test server, as a DNS: every name is at 127.0.0.1."""

    def __init__(self) -> None:
        self.dns = f"127.0.0.1:{free_port()}"
        management = free_port()
        self.management = f"http://127.0.0.1:{management}"
        nothing = ("-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv6", "")
        where = ("-dns01", self.dns, "-management", f"127.0.0.1:{management}")
        super().__init__("pebble-challtestsrv", ["pebble-challtestsrv", *where, *nothing])
        wait_listening(self, management)


class Pebble(Program):
    """An authority that validates at ``http_port`` and ``tls_port``; ``more`` is configuration.

    It refuses a part of all nonces. ``valid_for`` is the life of its certificates in seconds.
    """

    def __init__(
        self,
        directory: Path,
        dns: str,
        *,
        http_port: int,
        tls_port: int,
        valid_for: int = 90 * 86400,
        nonces_refused: int = 25,
        program: str | Path = "pebble",
        **more: object,
    ) -> None:
        directory.mkdir(exist_ok=True)
        root = Certified("root of the authority's HTTPS", authority=True, now=datetime.now(UTC))
        cert, key = Certified("pebble", root, now=datetime.now(UTC)).write(directory)
        self.ca_file = directory / "https-root.pem"
        self.ca_file.write_bytes(root.pem)
        self.port = free_port()
        self._management = free_port()
        configuration = directory / "pebble.json"
        settings = {
            "listenAddress": f"127.0.0.1:{self.port}",
            "managementListenAddress": f"127.0.0.1:{self._management}",
            "certificate": str(cert),
            "privateKey": str(key),
            "httpPort": http_port,
            "tlsPort": tls_port,
            "certificateValidityPeriod": valid_for,
            # The same in newer versions.
            "profiles": {"default": {"description": "", "validityPeriod": valid_for}},
            **more,
        }
        configuration.write_text(json.dumps({"pebble": settings}))
        super().__init__(
            "pebble",
            [program, "-strict", "-config", configuration, "-dnsserver", dns],
            environment={
                "PEBBLE_VA_NOSLEEP": "1",
                "PEBBLE_AUTHZREUSE": "0",
                "PEBBLE_WFE_NONCEREJECT": str(nonces_refused),
            },
        )
        wait_listening(self, self.port)

    @property
    def directory_url(self) -> str:
        return f"https://127.0.0.1:{self.port}/dir"

    def root(self) -> str:
        """Who its certificates are issued by at last, in PEM; another one after each start."""
        return self._manage("roots/0").decode()

    def wants_renewal(self, leaf_pem: str, start: str, end: str) -> None:
        """Have it say by ARI that a certificate is to be renewed between these times."""
        window = {"suggestedWindow": {"start": start, "end": end}}
        told = {"certificate": leaf_pem, "ariResponse": json.dumps(window)}
        self._manage("set-renewal-info/", json.dumps(told).encode())

    def _manage(self, path: str, body: bytes | None = None) -> bytes:
        context = ssl.create_default_context(cafile=self.ca_file)
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        url = f"https://127.0.0.1:{self._management}/{path}"
        with opener.open(url, body, timeout=10) as answer:
            found: bytes = answer.read()
            return found
