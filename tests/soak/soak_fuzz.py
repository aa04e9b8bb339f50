"""Every fuzz target for long: coverage-guided by atheris, and with many examples of hypothesis.

``PORTAL_GATEWAY_FUZZ_SECONDS`` is how long atheris has for each target (an hour for all of them
together), ``PORTAL_GATEWAY_FUZZ_EXAMPLES`` how many examples hypothesis makes for each. Inputs that
reach something new are kept in build/fuzz/corpus from one run to the next, those that fail in
build/fuzz; a failing one, when it is mended, goes to tests/fuzz/corpus.
"""

import os
import re
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.kept_inputs import CORPUS, FAILED, run
from tests.fuzz.targets import TARGETS
from tests.integration.programs import python_path

SECONDS = int(os.environ.get("PORTAL_GATEWAY_FUZZ_SECONDS", str(3600 // len(TARGETS))))
EXAMPLES = int(os.environ.get("PORTAL_GATEWAY_FUZZ_EXAMPLES", "2000"))

LONGEST = 600
"""Bytes of an input."""

HANGS = 60
"""Seconds that one input may take: each takes milliseconds on an idle machine."""


@pytest.mark.parametrize("name", TARGETS)
def test_coverage_guided(name):
    found = FAILED / "corpus" / name
    found.mkdir(parents=True, exist_ok=True)
    fuzzer = subprocess.run(
        [
            *(sys.executable, "-m", "tests.fuzz.coverage_guided", name, found, CORPUS / name),
            *(f"-max_total_time={SECONDS}", f"-max_len={LONGEST}", "-len_control=0"),
            *(f"-timeout={HANGS}", f"-artifact_prefix={FAILED}/{name}-"),
        ],
        env={**os.environ, **python_path()},
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    told = fuzzer.stdout + fuzzer.stderr
    assert fuzzer.returncode == 0, told[-8000:]
    runs = re.findall(r"^Done (\d+) runs", told, re.M)
    covered = re.findall(r"cov: (\d+)", told)
    print(f"{name}: {int(runs[-1]):,} inputs in {SECONDS} s, {covered[-1]} places reached")
    assert int(runs[-1]) > SECONDS


@pytest.mark.parametrize("name", TARGETS)
def test_many_examples(name):
    @settings(
        max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(st.binary(min_size=1, max_size=LONGEST))
    def by_chance(data):
        run(name, data)

    by_chance()
