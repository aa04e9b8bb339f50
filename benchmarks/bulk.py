"""``python -m benchmarks.bulk``: one large download over Portal's relay.

The same nginx sends a file of ``--mib`` MiB through relay 1.4.14 and a tunnel on its SDK; curl
takes it from this gateway and from the pooled Go proxy on Portal's SDK in turn. Besides the rates
it says how much the gateway's resident memory grew meanwhile.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import psutil

from benchmarks.targets import GatewayOverRelay, PooledProxy, Tunnel, nginx
from tests.integration.programs import ROOT, STARTED

MIB = 1024 * 1024
LONGEST = 120
"""Seconds after which a download is given up."""

LOOK = 0.05
"""Seconds between two looks at the memory."""


def download(url: str, fields: dict[str, str], pid: int) -> tuple[float, int]:
    """MB/s of one download, and the bytes by which the process ``pid`` grew."""
    process = psutil.Process(pid)
    before = process.memory_info().rss
    grown = 0
    headers = [word for name, value in fields.items() for word in ("-H", f"{name}: {value}")]
    curl = subprocess.Popen(
        ["curl", "-sf", "-o", os.devnull, "-w", "%{speed_download}", *headers, url],
        stdout=subprocess.PIPE,
        encoding="ascii",
    )
    waited = 0.0
    while True:
        try:
            told, _ = curl.communicate(timeout=LOOK)
            break
        except subprocess.TimeoutExpired:
            grown = max(grown, process.memory_info().rss - before)
            waited += LOOK
            if waited > LONGEST:
                curl.kill()
                raise
    if curl.returncode:
        raise RuntimeError(f"curl ended with {curl.returncode}")
    return float(told) / 1e6, grown


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.bulk", description=__doc__)
    parser.add_argument("--mib", type=int, default=1024, help="size of the file (default 1024)")
    parser.add_argument("--times", type=int, default=3, help="downloads of each (default 3)")
    options = parser.parse_args()
    subprocess.run([ROOT / "tests" / "interop" / "build.sh"], check=True)
    rates: dict[str, list[float]] = {}
    growth = 0
    try:
        with tempfile.TemporaryDirectory(prefix="portal-gateway-bulk-") as top:
            with (Path(top) / "answer.json").open("wb") as file:
                file.truncate(options.mib * MIB)
            Path(top).chmod(0o755)
            _, origin = nginx(Path(top), "origin", f"location / {{ root {top}; sendfile on; }}")
            with closing(Tunnel(origin)) as tunnel:
                targets = [
                    kind(Path(top), origin, tunnel) for kind in (GatewayOverRelay, PooledProxy)
                ]
                running = [target.running() for target in targets]
                pids = [each.__enter__() for each in running]
                for _ in range(options.times):
                    for target, pid in zip(targets, pids, strict=True):
                        rate, grown = download(target.url, target.fields, pid)
                        rates.setdefault(target.name, []).append(rate)
                        if isinstance(target, GatewayOverRelay):
                            growth = max(growth, grown)
                        print(f"{target.name}: {rate:.0f} MB/s", file=sys.stderr, flush=True)
                for each in running:
                    each.__exit__(None, None, None)
    finally:
        for program in STARTED:
            program.stop()
    ours, theirs = (statistics.median(of) for of in rates.values())
    for name, of in rates.items():
        print(f"{name:36}{statistics.median(of):8.0f} MB/s  ({', '.join(f'{r:.0f}' for r in of)})")
    print(f"ratio {ours / theirs:.2f}; the gateway grew by {growth / MIB:.1f} MiB at most")


if __name__ == "__main__":
    main()
