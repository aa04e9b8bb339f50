"""One measured run of wrk, and the CPU that the measured processes took for it."""

import json
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

__all__ = ["Measurement", "measure"]

WARM_UP = 1
"""Seconds of load before the measured run: connections open, pools filled, code compiled."""

GRACE = 30
"""Seconds beyond its own time after which a run of wrk is given up."""

REPORT = Path(__file__).with_name("report.lua")


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a run gave: requests answered, and times in microseconds.

    ``cpu`` is user and system time per request of the measured processes; ``refused`` counts
    answers of 400 and above, ``broken`` connections that failed.
    """

    clients: int
    requests: int
    seconds: float
    p50: int
    p99: int
    longest: int
    cpu: float
    refused: int
    broken: int
    timeouts: int

    @property
    def rate(self) -> float:
        """Good answers per second."""
        return (self.requests - self.refused) / self.seconds


def processes(pids: Sequence[int]) -> list[psutil.Process]:
    """Those processes and all that they started, such as nginx's workers."""
    tops = [psutil.Process(pid) for pid in pids]
    return [*tops, *(child for top in tops for child in top.children(recursive=True))]


def cpu_seconds(measured: Sequence[psutil.Process]) -> float:
    times = [process.cpu_times() for process in measured]
    return sum(time.user + time.system for time in times)


def wrk(url: str, fields: Mapping[str, str], clients: int, seconds: int) -> dict[str, int]:
    """Run wrk; its result. Raises RuntimeError when it gives none."""
    headers = [word for name, value in fields.items() for word in ("-H", f"{name}: {value}")]
    done = subprocess.run(
        ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", *headers, "-s", str(REPORT), url],
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "LC_ALL": "C"},
        timeout=seconds + GRACE,
        check=False,
    )
    found = re.search(r"^result (.*)$", done.stdout, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"wrk gave no result: {done.stdout}{done.stderr}")
    result: dict[str, int] = json.loads(found.group(1))
    return result


def measure(
    url: str, fields: Mapping[str, str], pids: Sequence[int], clients: int, seconds: int
) -> Measurement:
    """Load ``url`` from ``clients`` connections for ``seconds``; ``pids`` are what is measured."""
    wrk(url, fields, clients, WARM_UP)
    measured = processes(pids)
    before = cpu_seconds(measured)
    result = wrk(url, fields, clients, seconds)
    used = cpu_seconds(measured) - before
    return Measurement(
        clients=clients,
        requests=result["requests"],
        seconds=result["duration"] / 1e6,
        p50=result["p50"],
        p99=result["p99"],
        longest=result["max"],
        cpu=used * 1e6 / max(1, result["requests"]),
        refused=result["refused"],
        broken=result["broken"],
        timeouts=result["timeouts"],
    )
