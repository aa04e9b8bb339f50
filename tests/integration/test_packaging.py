"""What is installed is what was written: the wheel, its commands, and its plugin for twistd.

An editable install is not found by twistd, so only a wheel can show that the plugin is.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from http import HTTPStatus
from pathlib import Path

import pytest
import yaml

from portal_gateway import __version__
from tests.integration.calls import Client
from tests.integration.programs import ROOT, Program

SOURCES = ("src", "twisted", "setup.cfg", "pyproject.toml", "README.rst", "LICENSE")

TWISTD = "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()"


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built in a copy so that the work tree stays as it is."""
    top = tmp_path_factory.mktemp("wheel")
    leave = shutil.ignore_patterns("__pycache__", "*.egg-info", "dropin.cache")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, top / "copy" / name, ignore=leave)
        else:
            shutil.copy2(ROOT / name, top / "copy" / name)
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    run(*pip, "wheel", "--no-deps", "-w", top, top / "copy", cwd=top)
    (built,) = top.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ``bin`` of an environment of its own that has the wheel, and sees our dependencies."""
    top = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "venv", "--without-pip", top / "venv", cwd=top)
    python = top / "venv" / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    run(*pip, "--python", python, "install", "--no-deps", "--no-index", wheel, cwd=top)
    where = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=top)
    # Only now, or pip would take the editable install among our dependencies for the same thing.
    ours = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    Path(where.strip(), "dependencies.pth").write_text("\n".join(sorted(ours)), encoding="utf-8")
    return python.parent


def test_wheel_holds_the_product_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    ours = {name for name in names if ".dist-info/" not in name}
    assert {name.split("/")[0] for name in ours} == {"portal_gateway", "twisted"}
    assert {name for name in ours if name.startswith("twisted/")} == {
        "twisted/plugins/portal_gateway_plugin.py"
    }
    source = ROOT / "src"
    written = {
        str(path.relative_to(source))
        for path in (source / "portal_gateway").rglob("*")
        if path.is_file() and path.suffix in {".py", ".pyi", ".proto", ".typed"}
    }
    assert written | {"portal_gateway/py.typed"} == {
        name for name in ours if name.startswith("portal_gateway/")
    }
    assert any(name.endswith("licenses/LICENSE") for name in names)


@pytest.mark.parametrize("command", ["portal-gateway", "gateway"])
def test_commands(installed: Path, tmp_path: Path, command: str) -> None:
    shown = run(installed / command, "--version", cwd=tmp_path)
    assert shown.strip() == f"portal-gateway {__version__}"


def test_twistd_lists_the_plugin(installed: Path, tmp_path: Path) -> None:
    shown = run(installed / "python", "-c", TWISTD, "--help", cwd=tmp_path)
    assert any(line.split()[:1] == ["portal-gateway"] for line in shown.splitlines())


def test_twistd_runs_it(installed: Path, tmp_path: Path) -> None:
    configuration = {
        "gateway": {"listen": "127.0.0.1:0"},
        "auth": {"keys": [{"key": "sk_test_packaging_0123456789abcdef"}]},
        "leases": {"tool": {"url": "http://127.0.0.1:9"}},
    }
    file = tmp_path / "gateway.yaml"
    file.write_text(yaml.safe_dump(configuration), encoding="utf-8")
    arguments = ("-n", "--pidfile=", "portal-gateway", "--config", file)
    command = [installed / "python", "-c", TWISTD, *arguments]
    with Program("twistd", command, environment={"PYTHONPATH": ""}, ours=True) as twistd:
        address = twistd.wait_for_line(r"http://([\d.]+:\d+)").group(1)
        with Client(address) as client:
            assert client.request("GET", "/health").status == HTTPStatus.OK
    assert twistd.process.returncode == 0
    # What twistd and Twisted say of themselves takes the same way.
    messages = [json.loads(line)["message"] for line in twistd.lines]
    assert any("starting up" in message for message in messages)
    assert "request_completed" in messages
    assert messages[-1] == "Server Shut Down."
