"""h2spec against the gateway's HTTP/2, the strict cases too; every exception is explained."""

import socket
import ssl
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.integration import programs
from tests.tls.tls_world import Certified

H2SPEC = Path(__file__).parent / "bin" / "h2spec"

ANSWERED = (
    "h2spec goes on with a request that was answered in full before its fault came: /health takes"
    " no body and answers at the header. The stream is reset with NO_ERROR then (RFC 9113 section"
    " 8.1), and what comes for it afterwards is not looked at."
)

_WRONG_LENGTH = (
    'http2/8.1.2.6 Sends a HEADERS frame with the "content-length" header field'
    " which does not equal the "
)

EXCEPTIONS = {
    "http2/6.3 Sends a PRIORITY frame with a length other than 5 octets": ANSWERED,
    "http2/6.9 Sends a WINDOW_UPDATE frame with a flow control window increment of 0 on a"
    " stream": ANSWERED,
    "http2/6.9.1 Sends multiple WINDOW_UPDATE frames increasing the flow control window to above"
    " 2^31-1 on a stream": ANSWERED,
    "http2/8.1 Sends a second HEADERS frame without the END_STREAM flag": ANSWERED,
    "http2/8.1.2.1 Sends a HEADERS frame that contains a pseudo-header field as trailers": ANSWERED,
    _WRONG_LENGTH + "DATA frame payload length": ANSWERED,
    _WRONG_LENGTH + "sum of the multiple DATA frames payload length": ANSWERED,
}
"""Cases (section and title) that may fail, and why the gateway is right all the same."""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    directory = tmp_path_factory.mktemp("h2spec")
    now = datetime.now(UTC)
    Certified("first", Certified("the root", authority=True, now=now), now=now).write(directory)
    origin, address = programs.origin()
    config = {
        "gateway": {
            "listen": "127.0.0.1:0",
            "tls": {"cert_file": "cert.pem", "key_file": "key.pem"},
        },
        "leases": {"tool": {"url": f"http://{address}"}},
    }
    with origin, programs.Gateway(config, directory) as gateway:
        yield gateway
        assert gateway.alive
        assert gateway.take_wrong() == []


def test_h2_is_negotiated(gateway):
    context = ssl._create_unverified_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    host, port = gateway.address.split(":")
    with (
        socket.create_connection((host, int(port)), 10) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as connection,
    ):
        assert connection.selected_alpn_protocol() == "h2"


def test_h2spec(gateway, tmp_path):
    host, port = gateway.address.split(":")
    report = tmp_path / "report.xml"
    said = subprocess.run(
        [
            H2SPEC,
            *("--tls", "--insecure", "--strict", "--host", host, "--port", port),
            *("--path", "/health", "--timeout", "5", "--junit-report", report),
        ],
        capture_output=True,
        check=False,
        encoding="utf-8",
        timeout=600,
    )
    cases = ET.parse(report).getroot().iter("testcase")
    failed, passed, skipped = {}, set(), set()
    for case in cases:
        name = f"{case.get('package')} {case.get('classname')}"
        wrong = case.find("failure")
        wrong = case.find("error") if wrong is None else wrong
        if wrong is not None:
            failed[name] = "".join(wrong.itertext())
        elif case.find("skipped") is not None:
            skipped.add(name)
        else:
            passed.add(name)
    print(f"h2spec: {len(passed)} passed, {len(failed)} failed, {len(skipped)} left out")
    for name, why in failed.items():
        print(f"  {name}: {why} ({EXCEPTIONS.get(name, 'NOT EXPLAINED')})")
    assert len(passed) > 100, said.stdout[-2000:] + said.stderr[-2000:]
    assert set(failed) <= set(EXCEPTIONS)
