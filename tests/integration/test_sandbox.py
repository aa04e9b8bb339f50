"""The gateway makes no system call that its unit of systemd forbids.

systemd would answer such a call with an error, in the one place where nobody looks. No service
manager is at hand, so the calls are written down by strace and compared with systemd's own lists.
"""

import re
import shutil
import signal
import ssl
import subprocess
import urllib.request
from http import HTTPStatus

import yaml

from tests.deploy.shipped import ROOT, settings_of
from tests.integration import programs
from tests.integration.conftest import missing
from tests.tls.tls_world import Certified

UNIT = ROOT / "systemd" / "portal-gateway.service"

OF_ROOT = {"fchown"}
"""What SQLite does for root only, as whom a test may run."""


def system_calls(filters):
    """The names of the calls that ``SystemCallFilter`` leaves, by the lists of this systemd."""
    tool = shutil.which("systemd-analyze")
    if tool is None:
        missing("there is no systemd-analyze (Debian, Ubuntu: apt install systemd)")
    listed = subprocess.run(
        [tool, "syscall-filter"], capture_output=True, encoding="utf-8", check=True
    ).stdout
    sets = {}
    for line in listed.splitlines():
        if line.startswith("@"):
            members = sets.setdefault(line.strip(), [])
        elif line.startswith(" ") and not line.strip().startswith("#"):
            members.append(line.strip())

    def of(name):
        if not name.startswith("@"):
            return {name}
        return set().union(*map(of, sets[name]))

    left = of("@default")
    for line in filters:
        names = set().union(*map(of, line.removeprefix("~").split()))
        left = left - names if line.startswith("~") else left | names
    return left


def test_the_gateway_makes_no_system_call_that_its_unit_forbids(tmp_path):
    strace = shutil.which("strace")
    if strace is None:
        missing("there is no strace (Debian, Ubuntu: apt install strace)")
    allowed = system_calls(settings_of(UNIT)["SystemCallFilter"])
    assert "epoll_wait" in allowed
    assert "mount" not in allowed
    Certified().write(tmp_path)
    file, written = tmp_path / "gateway.yaml", tmp_path / "calls"
    configuration = {
        "gateway": {
            "listen": f"127.0.0.1:{programs.free_port()}",
            "workers": 2,
            "tls": {"cert_file": "cert.pem", "key_file": "key.pem"},
        },
        "portal": {"credential_file": "credential"},
        "auth": {"keys": {"database": {}}},
        "quotas": {"daily": {"default": {"requests": 1000}}},
        "leases": {"tool": {"url": f"http://127.0.0.1:{programs.free_port()}"}},
    }
    file.write_text(yaml.safe_dump(configuration), encoding="utf-8")
    gateway = programs.python("portal_gateway.cli", "run", "--config", file)
    # -D: the gateway is our child, and strace its.
    command = [strace, "-D", "-f", "-qq", "-o", written, *gateway]
    with programs.Program(
        "gateway", command, environment=programs.python_path(), ours=True
    ) as program:
        url = program.wait_for_line(r"listens on (https://[\d.]+:\d+/)").group(1)
        program.wait_for_line("2 workers take requests")
        trusting = ssl.create_default_context(cafile=tmp_path / "cert.pem")
        with urllib.request.urlopen(f"{url}health", context=trusting, timeout=30) as answer:
            assert answer.status == HTTPStatus.OK
        file.write_text(yaml.safe_dump({**configuration, "leases": {}}), encoding="utf-8")
        program.signal(signal.SIGHUP)
        program.wait_for_line("configuration 2 is in use", count=2)
    assert program.process.returncode == 0
    made = set(re.findall(r"^\d+ +(\w+)\(", written.read_text(encoding="utf-8"), re.MULTILINE))
    assert {"epoll_wait", "accept4", "fsync"} & made == {"epoll_wait", "accept4", "fsync"}
    assert made - OF_ROOT <= allowed
