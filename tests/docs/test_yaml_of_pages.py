"""Every YAML on a page is valid: as the gateway's configuration, or as what its name says."""

import re
import textwrap
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from portal_gateway.config.loading import load_config_text
from tests.tls.tls_world import Certified

ROOT = Path(__file__).parents[2]

# tests/config/test_configuration_page.py reads docs/configuration.rst.
PAGES = [
    page
    for pattern in ("*.rst", "docs/**/*.rst", "systemd/*.rst", "deploy/**/*.rst")
    for page in sorted(ROOT.glob(pattern))
    if page.name != "configuration.rst"
]

BLOCK = re.compile(
    r"^(?P<indent> *)\.\. code-block:: yaml\n(?:(?P=indent) +:name: (?P<name>.+)\n)?\n"
    r"(?P<text>(?:(?P=indent) {3,}.*\n|\n)+)",
    re.MULTILINE,
)

SECRETS = {
    "DNS_KEY": "YSBrZXkgb2YgMzIgYnl0ZXMgYW5kIHNvbWUgbW9yZQ==",
    "JWT_SECRET": "a secret of 32 bytes and some more",
}
"""What a variable is where it cannot be any text."""


def blocks(page):
    """Name and text of each YAML on a page."""
    text = page.read_text(encoding="utf-8")
    return [(match["name"], textwrap.dedent(match["text"])) for match in BLOCK.finditer(text)]


ALL = [
    pytest.param(name, text, id=f"{page.relative_to(ROOT)}-{number}")
    for page in PAGES
    for number, (name, text) in enumerate(blocks(page), 1)
]


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    """A directory with the files that pages name, and the variables that they use."""
    directory = tmp_path_factory.mktemp("machine")
    certified = Certified(now=datetime.now(UTC))
    certified.write(directory)
    for name in ("relay-ca.pem", "portal-gateway.cert"):
        (directory / name).write_bytes(certified.pem)
    (directory / "portal-gateway.key").write_bytes(certified.key_pem)
    return directory


@pytest.mark.parametrize(("name", "text"), ALL)
def test_it_is_valid(name, text, machine):
    if name is not None and not name.endswith("gateway.yaml"):
        assert list(yaml.safe_load_all(text))
        return
    variables = {variable: f"sk_live_{variable}" for variable in re.findall(r"\$\{(\w+)\}", text)}
    environ = {**variables, **SECRETS, "CREDENTIALS_DIRECTORY": str(machine)}
    here = re.sub(r"/(?:etc|var/lib)/(?:portal-)?gateway/", f"{machine}/", text)
    load_config_text(here, "the page", environ, directory=machine)


def test_there_is_yaml_on_the_pages_and_none_is_missed():
    assert len(ALL) >= 15
    for page in PAGES:
        said = page.read_text(encoding="utf-8").count(".. code-block:: yaml\n")
        assert said == len(blocks(page)), page
