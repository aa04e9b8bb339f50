"""What is taken out of the packages of an image: what it says, and nothing that has moved away."""

import importlib.util
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.deploy.shipped import ROOT

MUSL_ONLY = {"autobahn.libs", "ujson.libs"}
"""What wheels for musl have and others have not."""


@pytest.fixture(scope="module")
def slim():
    spec = importlib.util.spec_from_file_location("slim", ROOT / "deploy" / "image" / "slim.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_each_pattern_finds_something_in_what_is_installed(slim):
    site = Path(sysconfig.get_path("platlib"))
    missing = {pattern for pattern in slim.UNUSED if not any(site.glob(pattern))}
    assert missing <= MUSL_ONLY


def test_what_is_not_used_goes_and_the_rest_stays(slim, tmp_path):
    gone = ("twisted/web/test/test_web.py", "twisted/mail/smtp.py", "yaml/_yaml.pyi", "ujson.x.so")
    kept = (
        "twisted/web/http.py",
        "portal_gateway/testing/relay.py",
        "twisted-1.dist-info/METADATA",
    )
    for name in (*gone, *kept):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("0123456789")
    assert slim.size_of(tmp_path) == 10 * len(gone + kept)
    slim.slim(tmp_path)
    assert [name for name in (*gone, *kept) if (tmp_path / name).exists()] == list(kept)
    assert slim.size_of(tmp_path) == 10 * len(kept)


def test_symbols_are_taken_out_of_extension_modules_but_not_of_their_libraries(slim, tmp_path):
    (tmp_path / "a.libs").mkdir()
    stripped = []
    for name in ("a.so", "a.libs/liba.so"):
        (tmp_path / name).write_bytes(b"an extension module")
    program = tmp_path / "strip"
    program.write_text(
        f'#!{sys.executable}\nimport sys\nopen("{tmp_path}/told", "w").write(sys.argv[-1])\n'
    )
    program.chmod(0o755)
    slim.slim(tmp_path, str(program))
    stripped = (tmp_path / "told").read_text()
    assert stripped == str(tmp_path / "a.so")
