"""The units of systemd: what systemd says of them, and that they fit the gateway's own defaults."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from portal_gateway.config.loading import load_config_text
from portal_gateway.config.model import DrainSection, LimitsSection
from tests.deploy.shipped import ROOT, SECRETS, settings_of, yaml_of
from tests.integration.conftest import missing
from tests.tls.tls_world import Certified

UNITS = ROOT / "systemd"
SERVICE = UNITS / "portal-gateway.service"
SOCKET = UNITS / "portal-gateway.socket"
README = UNITS / "README.rst"

PROGRAM = "/opt/portal-gateway/bin/portal-gateway"

EXPOSURE = 2.0
"""The most of 10 that `systemd-analyze security` may give."""

MARGIN = 5
"""Seconds that the gateway has to write its log and end, after the last request."""


def analyze(*arguments):
    """What ``systemd-analyze`` says, and its exit status."""
    tool = shutil.which("systemd-analyze")
    if tool is None:
        missing("there is no systemd-analyze (Debian, Ubuntu: apt install systemd)")
    done = subprocess.run(
        [tool, *map(str, arguments)], capture_output=True, encoding="utf-8", check=False
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def units(tmp_path):
    """The units as they are installed here: with a program that there is."""
    program = Path(sys.executable).parent / "portal-gateway"
    assert program.exists()
    text = SERVICE.read_text(encoding="utf-8")
    assert PROGRAM in text
    (tmp_path / SERVICE.name).write_text(text.replace(PROGRAM, str(program)), encoding="utf-8")
    shutil.copy2(SOCKET, tmp_path)
    return tmp_path


def test_systemd_has_nothing_to_say_of_the_units(units):
    assert analyze("verify", units / SERVICE.name, units / SOCKET.name) == (0, "")


def test_systemd_would_tell_a_setting_that_it_does_not_know(units):
    file = units / SERVICE.name
    file.write_text(file.read_text().replace("WatchdogSec=", "WatchdogSecond="))
    assert "WatchdogSecond" in analyze("verify", file)[1]


def test_the_service_is_exposed_to_little():
    threshold = f"--threshold={EXPOSURE * 10:.0f}"
    status, said = analyze("security", "--offline=true", threshold, SERVICE)
    assert status == 0, said
    (level,) = re.findall(r"Overall exposure level for \S+: ([\d.]+)", said)
    assert 0 < float(level) <= EXPOSURE


def test_stopping_may_take_as_long_as_a_drain():
    (timeout,) = settings_of(SERVICE)["TimeoutStopSec"]
    drain = DrainSection()
    assert float(timeout.removesuffix("s")) >= drain.grace + drain.timeout + MARGIN


def test_there_are_files_enough_for_both_sides_of_each_connection():
    (limit,) = settings_of(SERVICE)["LimitNOFILE"]
    assert int(limit) >= 2 * LimitsSection().connections


def test_secrets_and_code_cannot_be_written_by_the_service():
    settings = settings_of(SERVICE)
    assert settings["ProtectSystem"] == ["strict"]
    assert "ReadWritePaths" not in settings
    assert settings["StateDirectoryMode"] == ["0700"]


@pytest.mark.parametrize("text", yaml_of(README))
def test_configurations_of_the_readme_are_valid(text, tmp_path):
    Certified().write(tmp_path)
    (tmp_path / "cert.pem").rename(tmp_path / "portal-gateway.cert")
    (tmp_path / "key.pem").rename(tmp_path / "portal-gateway.key")
    environ = {**SECRETS, "CREDENTIALS_DIRECTORY": str(tmp_path)}
    text = text.replace("/var/lib/portal-gateway", str(tmp_path))
    config = load_config_text(text, "gateway.yaml", environ, directory=tmp_path)
    named = re.findall(r"name=(\w+)", config.gateway.listen)
    assert named in ([], settings_of(SOCKET)["FileDescriptorName"])


def test_the_readme_names_the_credentials_that_the_service_has():
    text = README.read_text(encoding="utf-8")
    named = set(re.findall(r"\$\{CREDENTIALS_DIRECTORY\}/(portal-gateway\.\w+)", text))
    assert named == set(settings_of(SERVICE)["LoadCredential"])
    (state,) = settings_of(SERVICE)["StateDirectory"]
    paths = re.findall(r'(?:store|file): "(/[^"]+)"', text)
    assert len(paths) == 3
    assert all(path.startswith(f"/var/lib/{state}/") for path in paths)
