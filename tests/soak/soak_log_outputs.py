"""R27: the log's output stuck or renamed, under 200 requests a second: what it costs requests."""

import fcntl
import json
import subprocess
import time

import pytest

from tests.integration.ledger import quantile
from tests.integration.ledger_client import FaultyUpstream, Load
from tests.integration.programs import wait_until
from tests.integration.test_log_outputs import PIPE, Piped, lines_below, requests_of

SECONDS = 20
RATE = 200
RENAMES = 10
"""A second."""


@pytest.fixture(scope="module")
def upstream():
    with FaultyUpstream() as upstream:
        yield upstream


def loaded(gateway, upstream, meanwhile=lambda: None):
    """The requests of `SECONDS`: how many, and their 99th percentile. None is lost."""
    upstream.record(forget=True)
    with Load() as load:
        steady = load.requests(gateway.address, "/peer/tool/echo", rate=RATE, kept=True)
        end = time.monotonic() + SECONDS

        def over():
            meanwhile()
            return time.monotonic() > end

        wait_until(over, SECONDS + 5, "the time being over")
        steady.stop()
        balance = load.ledger.balance(upstream.seen())
        assert balance.even, balance
        assert balance.refused == 0
        return balance.answered, quantile(load.ledger.latencies(), 0.99)


def test_r27_neither_a_pipe_that_is_stuck_nor_renames_cost_a_request_or_a_line(upstream, tmp_path):
    leases = {"leases": {"tool": {"url": f"http://{upstream.address}"}}}
    with Piped(tmp_path, subprocess.DEVNULL, **leases) as gateway:
        _, base = loaded(gateway, upstream)
        gateway.end()
    with Piped(tmp_path, subprocess.PIPE, **leases) as gateway:
        fcntl.fcntl(gateway.process.stderr, fcntl.F_SETPIPE_SZ, PIPE)
        _, stuck = loaded(gateway, upstream)
        gateway.end()
    logs = tmp_path / "logs"
    logs.mkdir()
    log = logs / "gateway.log"
    last = [0, time.monotonic()]

    def rename():
        if log.exists() and time.monotonic() >= last[1] + 1 / RENAMES:
            last[:] = [last[0] + 1, time.monotonic()]
            log.rename(logs / f"old{last[0]}")

    with Piped(tmp_path, subprocess.DEVNULL, logging={"output": str(log)}, **leases) as gateway:
        count, renamed = loaded(gateway, upstream, rename)
        gateway.end()
    lines = lines_below(logs)
    found = [event["request_id"] for event in requests_of(lines)]
    assert len(found) == len(set(found)) == count
    assert all(json.loads(line) for line in lines)
    print(
        f"99th percentile: {base * 1000:.1f} ms, with a pipe that is stuck {stuck * 1000:.1f} ms,"
        f" with {last[0]} renames {renamed * 1000:.1f} ms; {count} of {count} lines"
    )
    assert stuck <= 2 * base + 0.005
    assert renamed <= 2 * base + 0.005
