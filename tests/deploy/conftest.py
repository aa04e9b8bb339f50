"""The tools in Go that the deployment files are looked at with."""

import shutil
import subprocess

import pytest

from tests.deploy.shipped import ROOT
from tests.integration.conftest import missing

PLACE = ROOT / "tests" / "deploy"


@pytest.fixture(scope="session")
def go_tools():
    """The directory with actionlint and kustomize, built from the pinned modules."""
    if shutil.which("go") is None:
        missing("there is no Go toolchain to build actionlint and kustomize with")
    if subprocess.run(
        ["go", "-C", str(PLACE), "list", "-m"], capture_output=True, check=False
    ).returncode:
        missing("this Go toolchain is too old to build actionlint and kustomize")
    built = subprocess.run([PLACE / "build.sh"], capture_output=True, check=False, encoding="utf-8")
    if built.returncode:
        pytest.fail(f"actionlint and kustomize do not build:\n{built.stderr}", pytrace=False)
    return PLACE / "bin"
