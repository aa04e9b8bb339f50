"""From the published sources to what runs in a container: the Dockerfile's steps by hand.

An sdist is made, unpacked, and ``deploy/image/build.sh`` run there, which is the first stage of the
Dockerfile. What it installs is then run as the second stage says.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from http import HTTPStatus
from pathlib import Path

import pytest

from portal_gateway import __version__
from tests.integration import programs
from tests.integration.calls import Client
from tests.integration.conftest import missing
from tests.integration.test_packaging import SOURCES, TWISTD, run

ROOT = programs.ROOT
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")

MORE = (
    "setup.py",
    "MANIFEST.in",
    "CHANGELOG.rst",
    "CONTRIBUTING.rst",
    "Dockerfile",
    ".dockerignore",
)
DIRECTORIES = ("deploy", "docs", "etc", "systemd")

MOST_BYTES = 54_000_000
"""What the packages may take in the image, ours not compiled.

With Alpine, its Python, what mypyc makes of ours and what Python keeps compiled the image stays
below 100 MB: deploy/README.rst has the sum.
"""

FEATURE = """\
auth:
  keys:
    - key: "sk_live_abc123..."
      description: "Production API key"
      scopes: ["read", "write"]
      expires_at: "2025-12-31T23:59:59Z"
"""
"""A configuration of the feature list: it says nothing of where to listen."""

IMPORT_ALL = """
import importlib, pkgutil, portal_gateway
for module in pkgutil.walk_packages(portal_gateway.__path__, "portal_gateway."):
    # Alembic alone can import this one.
    if module.name != "portal_gateway.store.migrations.env":
        importlib.import_module(module.name)
import psycopg, sqlalchemy.dialects.postgresql.psycopg, sqlalchemy.dialects.sqlite.pysqlite
from twisted.internet.interfaces import IStreamServerEndpointStringParser
from twisted.plugin import getPlugins
print(portal_gateway.__file__)
print(sorted(plugin.prefix for plugin in getPlugins(IStreamServerEndpointStringParser)))
"""


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """The sdist, unpacked."""
    top = tmp_path_factory.mktemp("sources")
    leave = shutil.ignore_patterns(
        "__pycache__", "*.egg-info", "dropin.cache", "secret.env", ".env"
    )
    for name in (*SOURCES, *MORE, *DIRECTORIES):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, top / "copy" / name, ignore=leave)
        else:
            shutil.copy2(ROOT / name, top / "copy" / name)
    make = "import setuptools.build_meta as backend; backend.build_sdist('../made')"
    run(sys.executable, "-c", make, cwd=top / "copy")
    (made,) = (top / "made").iterdir()
    with tarfile.open(made) as archive:
        archive.extractall(top / "unpacked", filter="data")
    return top / "unpacked" / f"portal_gateway-{__version__}"


@pytest.fixture(scope="module")
def prefix(sources, tmp_path_factory):
    """What the first stage makes, without mypyc, which takes two minutes."""
    if shutil.which("strip") is None:
        missing("there is no strip (Debian, Ubuntu: apt install binutils)")
    place = tmp_path_factory.mktemp("opt") / "portal-gateway"
    done = subprocess.run(
        ["deploy/image/build.sh", place],
        cwd=sources,
        env={**os.environ, "COMPILE": "0", "PYTHON": sys.executable},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return place


def instructions(name):
    """The words of each such line of the Dockerfile, which has them as JSON."""
    found = re.findall(rf"^ *{name} (\[.*\])$", DOCKERFILE, re.MULTILINE)
    return [json.loads(words) for words in found]


def test_the_sdist_has_what_an_operator_needs(sources):
    for name in (*SOURCES, *MORE, *DIRECTORIES):
        assert (sources / name).exists(), name
    assert not list(sources.rglob("*.pyc"))


def test_what_is_installed_from_nothing_works(prefix, tmp_path):
    shown = run(prefix / "bin" / "portal-gateway", "--version", cwd=tmp_path)
    assert shown == f"portal-gateway {__version__}\n"
    file = tmp_path / "config.yaml"
    file.write_text(FEATURE, encoding="utf-8")
    told = run(prefix / "bin" / "gateway", "validate", "--config", file, cwd=tmp_path)
    assert told.startswith("Configuration valid\n")
    plugins = run(prefix / "bin" / "python", "-c", TWISTD, "--help", cwd=tmp_path)
    assert any(line.split()[:1] == ["portal-gateway"] for line in plugins.splitlines())


def test_nothing_is_missing_that_was_taken_out(prefix, tmp_path):
    where, plugins = run(prefix / "bin" / "python", "-c", IMPORT_ALL, cwd=tmp_path).splitlines()
    assert Path(where).is_relative_to(prefix)
    assert {"'acme'", "'systemd'", "'tcp6'", "'tls'"} <= set(plugins.strip("[]").split(", "))


def test_the_image_stays_small(prefix):
    (site,) = prefix.glob("lib/python3.*/site-packages")
    files = [path for path in site.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert sum(path.lstat().st_size for path in files) < MOST_BYTES


def test_it_runs_as_the_feature_list_says(prefix, tmp_path):
    (entry,) = instructions("ENTRYPOINT")
    check, arguments = instructions("CMD")
    assert "PORTAL_GATEWAY_LISTEN=0.0.0.0:8443\n" in DOCKERFILE
    assert "\nEXPOSE 8443\n" in DOCKERFILE
    file = tmp_path / "config.yaml"
    file.write_text(FEATURE, encoding="utf-8")

    def here(words):
        """The command with the file that is here, and the programs of the prefix."""
        assert words[-1] == "/etc/gateway/config.yaml"
        return [prefix / "bin" / words[0], *words[1:-1], file]

    # Another port: 8443 may be somebody else's here.
    surroundings = {
        "PATH": f"{prefix / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PORTAL_GATEWAY_LISTEN": f"0.0.0.0:{programs.free_port()}",
        "PYTHONPATH": "",
    }
    command = here([*entry, *arguments])
    with programs.Program("gateway", command, environment=surroundings, ours=True) as gateway:
        port = gateway.wait_for_line(r"listens on http://0\.0\.0\.0:(\d+)/").group(1)
        with Client(f"127.0.0.1:{port}") as client:
            assert client.request("GET", "/health").status == HTTPStatus.OK
        healthy = subprocess.run(
            here(check),
            env={**os.environ, **surroundings},
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        assert (healthy.returncode, healthy.stdout) == (0, "alive\n"), healthy.stderr
    assert gateway.process.returncode == 0
