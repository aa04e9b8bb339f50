"""Arrows point one way, and what is pure imports nothing that does I/O."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "src" / "portal_gateway"

ALLOWED = {
    "wire": set(),
    "tls": set(),
    "errors": set(),
    "exchange": set(),
    "config": {"wire", "tls"},
    "policy": {"wire", "config", "errors", "exchange"},
    "observe": {"config", "errors", "exchange"},
    "relay": {"wire", "config", "errors"},
    "store": {"config", "errors"},
    "identity": {"wire", "config", "errors"},
    "frontend": {
        "wire",
        "policy",
        "relay",
        "store",
        "identity",
        "observe",
        "config",
        "errors",
        "exchange",
        "tls",
    },
    "testing": {"wire", "relay", "config", "errors"},
    "signals": set(),
    "sd_notify": set(),
    "reloading": {"relay", "store", "observe", "config"},
    "gateway": {
        "reloading",
        "sd_notify",
        "wire",
        "policy",
        "relay",
        "store",
        "identity",
        "frontend",
        "observe",
        "config",
        "errors",
        "exchange",
        "tls",
    },
    "service": {"gateway", "signals", "sd_notify", "relay", "observe", "config"},
    "demo": {"testing", "gateway", "relay", "config", "wire", "observe", "errors"},
    "keys_command": {"config", "key_actions"},
    "key_actions": {"config", "policy", "store"},
    "quota_actions": {"service", "frontend", "policy", "store", "config", "exchange", ""},
    "quota_command": {"quota_actions", "config"},
    "workers": {
        "service",
        "gateway",
        "frontend",
        "observe",
        "config",
        "signals",
        "sd_notify",
    },
    "health_command": {"config", "wire"},
    "cli": {
        "workers",
        "health_command",
        "keys_command",
        "quota_command",
        "gateway",
        "service",
        "sd_notify",
        "demo",
        "relay",
        "config",
        "observe",
        "",
    },
    "": set(),
}
"""For each package or module, what of this project it may import besides itself."""

PURE = ("wire", "policy")

IMPURE = {"twisted", "socket", "ssl", "asyncio", "autobahn", "select", "threading", "time"}


def modules():
    return list(_modules())


def _modules():
    for path in sorted(ROOT.rglob("*.py")):
        relative = path.relative_to(ROOT)
        name = relative.parts[0].removesuffix(".py")
        yield "" if name == "__init__" else name, path


def imports(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import"
            yield node.module
            if node.module == "portal_gateway":
                for alias in node.names:
                    if alias.name != "__version__":
                        yield f"portal_gateway.{alias.name}"


def test_every_package_and_module_has_its_place():
    assert {name for name, _ in modules()} == set(ALLOWED)


@pytest.mark.parametrize(("name", "path"), modules(), ids=lambda value: getattr(value, "name", ""))
def test_arrows_point_one_way(name, path):
    for imported in imports(path):
        first, _, rest = imported.partition(".")
        if first != "portal_gateway":
            continue
        target = rest.partition(".")[0]
        assert target in ALLOWED[name] | {name, ""}, f"{path.name} imports {imported}"


@pytest.mark.parametrize(
    "path", [path for name, path in modules() if name in PURE], ids=lambda path: path.name
)
def test_the_pure_packages_do_no_io_and_know_no_time(path):
    for imported in imports(path):
        assert imported.partition(".")[0] not in IMPURE, f"{path.name} imports {imported}"


def test_only_the_service_imports_the_reactor():
    importers = {
        path.name
        for _, path in modules()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom)
        and (
            (node.module == "twisted.internet" and any(a.name == "reactor" for a in node.names))
            or node.module == "twisted.internet.reactor"
        )
    }
    assert importers == {"service.py"}


def test_the_page_of_modules_is_that_of_the_tree():
    docs = ROOT.parents[1] / "docs"
    written = subprocess.run(
        [sys.executable, docs / "list_modules.py"], capture_output=True, check=True
    ).stdout.decode()
    assert written == (docs / "modules.rst").read_text(encoding="utf-8"), "run: make modules"
