"""The amplification table: every abuse in full, each on a fresh gateway, and what others notice.

Who means well asks every few milliseconds, from another address, before and during the abuse.
"""

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from tests.abuse.abuses import ABUSES, UNLIMITED, Abuse
from tests.abuse.bed import INNOCENT, Bed, Row, Served
from tests.abuse.test_amplification import BOUND
from tests.integration import programs

CALM = 2.0
"""Seconds before an abuse in which the usual latency is measured."""

SLOWER = 2.0
"""How many times the usual p99 others may wait."""

NOTICED = 0.010
"""Seconds of a p99 that are nobody's fault on a machine with other work."""

ROWS: list[str] = []

HEAD = (
    f"{'abuse':62} {'sent':>9} {'held':>9} {'CPU s':>7} {'memory':>7} {'CPU':>6}"
    f" {'p99 before':>10} {'during':>9} ended by"
)


class Innocent:
    """Latencies of one client, by the moment of each request."""

    def __init__(self, served: Served) -> None:
        command = [sys.executable, "-m", "tests.abuse.innocent", served.address, "/peer/well/ok"]
        tls = ["tls"] if served.kind == "tls" else []
        self._program = subprocess.Popen(
            [*command, INNOCENT, *tls],
            env=programs.python_path(),
            stdout=subprocess.PIPE,
            text=True,
        )
        self._seen: list[tuple[float, float]] = []
        self.failed = 0
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        assert self._program.stdout is not None
        for line in self._program.stdout:
            if line != "ready\n":
                start, took, status = line.split()
                self._seen.append((float(start), float(took)))
                self.failed += status != "200"

    def stop(self) -> None:
        self._program.terminate()
        self._program.wait()
        self._thread.join()
        assert self._program.stdout is not None
        self._program.stdout.close()

    def p99(self, start: float, end: float) -> float:
        took = sorted(took for at, took in list(self._seen) if start <= at < end)
        assert took
        return took[min(len(took) - 1, len(took) * 99 // 100)]


@pytest.fixture(scope="module")
def bed(tmp_path_factory) -> Iterator[Bed]:
    with Bed(tmp_path_factory.mktemp("abuse")) as bed:
        yield bed
    print("\n" + "\n".join([HEAD, *ROWS]))


@pytest.mark.parametrize("abuse", ABUSES, ids=lambda abuse: f"{abuse.name}-{abuse.alpn or 'h1'}")
def test_an_abuse(bed: Bed, abuse: Abuse) -> None:
    bed.forget(abuse.at)
    served = bed.gateway(abuse.at)
    with contextlib.ExitStack() as at_end:
        innocent = Innocent(served)
        at_end.callback(innocent.stop)
        threading.Event().wait(CALM)
        calm = time.monotonic()
        row = bed.suffer(abuse)
        before = innocent.p99(calm - CALM * 0.75, calm)
        during = innocent.p99(calm, calm + row.took)
    ROWS.append(_line(row, before, during))
    assert innocent.failed == 0
    assert row.memory_factor <= BOUND
    assert row.cpu_factor <= (1 if abuse.ended_by == UNLIMITED else BOUND)
    assert abuse.ended_by == UNLIMITED or row.hits, row.risen
    assert during <= max(NOTICED, SLOWER * before)


def _line(row: Row, before: float, during: float) -> str:
    held = row.held / row.sent
    ended = row.abuse.ended_by.removeprefix("portal_gateway_") or "-"
    over = ", HTTP/2" if row.abuse.alpn and "HTTP/2" not in row.abuse.name else ""
    return (
        f"{row.abuse.name + over:62} {row.sent:9,} {row.held:9,} {row.cpu:7.3f} {held:7.1f}"
        f" {row.cpu_factor:6.2f} {before * 1000:7.1f} ms {during * 1000:6.1f} ms {ended}"
    )
