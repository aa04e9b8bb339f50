"""What metrics cost: time for each request, and time and size of a scrape at the series budget.

Run it on a quiet machine, also with the compiled package::

    PYTHONPATH=$PWD python benchmarks/metrics_cost.py
    PYTHONPATH=$PWD/build/compiled:$PWD python benchmarks/metrics_cost.py

The first time is that of all that is counted at the end of a request; the second of one to a lease
for which there are no series left, which is looked for again each time. A scrape is written in
parts; the longest of them is how long it holds up the event loop.
"""

import gzip
import time
import timeit
from operator import sub
from pathlib import Path
from tempfile import TemporaryDirectory

from prometheus_client.exposition import choose_encoder
from twisted.internet.task import Clock

from portal_gateway.exchange import Caller, Exchange
from portal_gateway.observe import request_counts
from portal_gateway.observe.exposition import written_in_parts
from portal_gateway.observe.metrics import Metrics
from portal_gateway.observe.worker_files import WorkerFiles

CALLS = 50_000
CROWD = 3_000


def exchange(number: int, status: int = 200, error: str | None = None) -> Exchange:
    return Exchange(
        "req_1",
        "203.0.113.9",
        10.0,
        method="POST",
        path="/peer/tool/v1/chat/completions",
        lease=f"lease-{number}",
        lease_is_known=True,
        lease_prefix=b"/peer/tool",
        caller=Caller(f"key-{number}"),
        status=status,
        error=error,
        bytes_in=900,
        bytes_out=4_000,
        finished=10.045,
    )


def crowded(budget: int) -> Metrics:
    """More leases and keys than there are series for."""
    metrics = Metrics(budget, Clock())
    for number in range(CROWD):
        metrics.requests.exchange_over(exchange(number))
        metrics.requests.exchange_over(exchange(number, 429, "rate_limit_exceeded"))
    return metrics


def cost_of(metrics: Metrics, over: Exchange) -> float:
    record = metrics.requests.exchange_over
    return min(timeit.repeat(lambda: record(over), number=CALLS, repeat=7)) / CALLS * 1e6


def share(count: int) -> None:
    """What workers at the budget write each second, and what a scrape of all of them takes."""
    with TemporaryDirectory() as directory:
        workers = [crowded(2_000) for _ in range(count)]
        for number, worker in enumerate(workers):
            worker.share(WorkerFiles(Path(directory), number, Clock().seconds))
            worker.write()
        best = min(timeit.repeat(workers[0].write, number=1, repeat=20))
        size = (Path(directory) / "worker-0.json").stat().st_size
        print(f"{count} workers, each at a budget of 2,000: {best * 1e3:.1f} ms a second each")
        print(f"  to write {size / 1e3:.0f} KB")
        scrape(workers[0], "text/plain")


def scrape(metrics: Metrics, accept: str) -> None:
    encode, content_type = choose_encoder(accept)
    best, stall = float("inf"), float("inf")
    for _ in range(7):
        marks = [time.perf_counter()]
        written = []
        for write in written_in_parts(metrics.registry.collect(), encode):
            written.append(write())
            marks.append(time.perf_counter())
        text = b"".join(written)
        packed = gzip.compress(text, 1)
        best = min(best, time.perf_counter() - marks[0])
        stall = min(stall, max(map(sub, marks[1:], marks)))
    series = sum(not line.startswith(b"#") for line in text.splitlines())
    print(
        f"  {content_type.partition(';')[0]}: {best * 1e3:.1f} ms, at most {stall * 1e3:.1f} ms at"
        f" once, {series:,} series,"
        f" {len(text) / 1e3:.0f} KB, {len(packed) / 1e3:.0f} KB with gzip"
    )


def main() -> None:
    compiled = not request_counts.__file__.endswith(".py")
    print("compiled" if compiled else "interpreted")
    metrics = crowded(2_000)
    print(f"a request: {cost_of(metrics, exchange(0)):.2f} µs")
    print(f"one that is refused: {cost_of(metrics, exchange(0, 504, 'upstream_timeout')):.2f} µs")
    print(f"one that is folded: {cost_of(metrics, exchange(CROWD - 1)):.2f} µs")
    for budget in (2_000, 10_000):
        print(f"a scrape at a budget of {budget:,}:")
        crowd = crowded(budget)
        for accept in ("text/plain", "application/openmetrics-text;version=1.0.0"):
            scrape(crowd, accept)
    for count in (2, 4, 16):
        share(count)


if __name__ == "__main__":
    main()
