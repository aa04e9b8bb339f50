"""What the integration tests share: the built peers, the origin, and the look into every log."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from typing import NoReturn

import pytest

from tests.integration import programs

REQUIRE_ALL = os.environ.get("PORTAL_GATEWAY_REQUIRE_ALL") == "1"
"""Set by .ci/run: a tool that is missing fails the tests that need it instead of skipping them."""

TAIL = 40
"""Lines of each log that a failed test shows."""


def missing(reason: str) -> NoReturn:
    """Leave the test out, or where everything is required fail it."""
    if REQUIRE_ALL:
        pytest.fail(f"required here: {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def portal() -> None:
    """Portal's own relays and the peers on its SDK, built from the pinned modules."""
    if shutil.which("go") is None:
        missing("there is no Go toolchain to build Portal's own relay and SDK with")
    go = ["go", "-C", str(programs.ROOT / "tests" / "interop")]
    if subprocess.run([*go, "list", "-m"], capture_output=True, check=False).returncode:
        missing("this Go toolchain is too old to build Portal's own relay and SDK")
    built = subprocess.run(
        [programs.ROOT / "tests" / "interop" / "build.sh"],
        capture_output=True,
        check=False,
        encoding="utf-8",
    )
    if built.returncode:
        pytest.fail(f"Portal's relay and SDK do not build:\n{built.stderr}", pytrace=False)


@pytest.fixture(scope="session")
def origin() -> Iterator[str]:
    """The host:port of the service behind the leases."""
    program, address = programs.origin()
    yield address
    program.stop()


def check_logs() -> None:
    """No process of ours has logged a traceback or an unhandled error, or ended out of order."""
    wrong = [
        f"{program}: {line}"
        for program in programs.STARTED
        if program.ours
        for line in program.take_wrong()
    ]
    ended = [program for program in programs.STARTED if not program.alive]
    for program in ended:
        program.stop()
        programs.STARTED.remove(program)
    if wrong:
        pytest.fail("\n".join(wrong), pytrace=False)


@pytest.fixture(scope="session", autouse=True)
def nothing_left_running() -> Iterator[None]:
    yield
    for program in programs.STARTED:
        program.stop()
    check_logs()


@pytest.fixture(autouse=True)
def clean_logs() -> Iterator[None]:
    """Look into the logs after each test, and before it for what ended since the last one."""
    check_logs()
    yield
    check_logs()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """A failed test shows the end of the log of every process."""
    report = yield
    if report.failed:
        for program in programs.STARTED:
            report.sections.append((f"log of {program}", "\n".join(program.lines[-TAIL:])))
    return report
