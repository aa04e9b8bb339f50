"""``make bench``: this gateway beside other proxies, in one run, on this machine.

Two groups over the same small answer of the same nginx: proxies in front of an HTTP origin, and
ways through Portal's relay 1.4.14 and a tunnel on its SDK. wrk loads each row with one thread.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.load import Measurement, measure
from benchmarks.targets import BODY, OVER_HTTP, OVER_RELAY, Target, Tunnel, nginx_origin
from tests.integration.programs import ROOT, STARTED

RESULTS = ROOT / "benchmarks" / "results"

LONGEST = 60
"""Seconds of one measured run at most: the whole table is bounded too."""


class Row(NamedTuple):
    group: str
    name: str
    measurement: Measurement


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--seconds", type=int, default=8, help="length of each run (default 8)")
    parser.add_argument(
        "--clients", default="32", help="numbers of connections, such as 1,32,128 (default 32)"
    )
    parser.add_argument("--only", default="", help="only the rows whose name contains this")
    options = parser.parse_args(arguments)
    clients = [int(number) for number in options.clients.split(",")]
    seconds = max(1, min(options.seconds, LONGEST))

    rows: list[Row] = []
    try:
        with tempfile.TemporaryDirectory(prefix="portal-gateway-bench-") as top:
            _, origin = nginx_origin(Path(top))
            for group, targets, tunnel in groups(origin):
                for kind in targets:
                    if options.only.lower() not in kind.name.lower():
                        continue
                    if reason := kind.missing():
                        print(f"left out: {kind.name}, because {reason}", flush=True)
                    else:
                        target = kind(Path(top), origin, tunnel)
                        rows += [Row(group, kind.name, m) for m in run(target, clients, seconds)]
    finally:
        for program in STARTED:
            program.stop()
    report(rows, seconds)
    return 1 if any(m.refused or m.broken or m.timeouts for _, _, m in rows) else 0


def groups(origin: str) -> Iterator[tuple[str, Sequence[type[Target]], Tunnel | None]]:
    """The groups of rows that this machine can run, each with what its rows share."""
    yield "over an HTTP origin", OVER_HTTP, None
    if shutil.which("go") is None:
        print("left out: the rows over Portal's relay, because there is no Go here", flush=True)
        return
    subprocess.run([ROOT / "tests" / "interop" / "build.sh"], check=True)
    with closing(Tunnel(origin)) as tunnel:
        yield "over relay 1.4.14 and an SDK tunnel", OVER_RELAY, tunnel


def run(target: Target, clients: Sequence[int], seconds: int) -> Iterator[Measurement]:
    """Start the target, see that it gives the right answer, and load it."""
    with target.running() as pid:
        request = urllib.request.Request(target.url, headers=target.fields)
        with urllib.request.urlopen(request, timeout=10) as answer:
            if answer.read().decode() != BODY:
                raise RuntimeError(f"{target.name} does not give the origin's answer")
        for number in clients:
            print(f"{target.name}, {number} clients, {seconds} s …", file=sys.stderr, flush=True)
            yield measure(target.url, target.fields, [pid], number, seconds)


def table(rows: Sequence[Row]) -> str:
    """One table; the ratio is the rate of the group's first row over that of each row."""
    columns = ("clients", "req/s", "p50 ms", "p99 ms", "CPU µs")
    lines = [f"{'':36}" + "".join(f"{column:>9}" for column in columns) + "   ratio  errors"]
    own: dict[tuple[str, int], float] = {}
    last = ""
    for group, name, m in rows:
        if group != last:
            lines.append(group)
            last = group
        own.setdefault((group, m.clients), m.rate)
        ours = own.get((group, m.clients))
        ratio = f"{ours / m.rate:6.2f}" if ours and m.rate else f"{'–':>6}"
        errors = m.refused + m.broken + m.timeouts
        lines.append(
            f"  {name:34}{m.clients:9}{m.rate:9,.0f}{m.p50 / 1000:9.2f}{m.p99 / 1000:9.2f}"
            f"{m.cpu:9.1f}  {ratio}  {errors:6}"
        )
    return "\n".join(lines)


def version_of(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0] if lines else "unknown"


def machine() -> dict[str, Any]:
    """What the numbers were taken on."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": version_of("git", "-C", str(ROOT), "describe", "--always", "--dirty"),
        "processor": model,
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "nginx": version_of(shutil.which("nginx") or "/usr/sbin/nginx", "-v"),
        "caddy": version_of("caddy", "version"),
        "wrk": version_of("wrk", "--version"),
    }


def report(rows: Sequence[Row], seconds: int) -> None:
    """Print the table and keep it, with all figures, under ``benchmarks/results``."""
    facts = machine()
    head = (
        f"{facts['time']}  commit {facts['commit']}  {facts['cores']} cores, {facts['processor']}\n"
        f"Python {facts['python']}, {facts['nginx']}, Caddy {facts['caddy']}; wrk -t1 -d{seconds}s,"
        " all on loopback, nothing pinned\n"
        "CPU: user and system time per request of the row's own process (the by-host row's is the"
        " relay's)\nratio: this gateway's rate over the row's\n"
    )
    text = f"{head}\n{table(rows)}\n"
    print(text)
    RESULTS.mkdir(exist_ok=True)
    stem = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    (RESULTS / f"{stem}.txt").write_text(text, encoding="utf-8")
    figures = [{"group": r.group, "name": r.name, **asdict(r.measurement)} for r in rows]
    (RESULTS / f"{stem}.json").write_text(
        json.dumps({"machine": facts, "seconds": seconds, "rows": figures}, indent=2) + "\n",
        encoding="utf-8",
    )
    print(f"kept in {(RESULTS / stem).relative_to(ROOT)}.txt and .json")


if __name__ == "__main__":
    sys.exit(main())
