"""What rate limits cost: time per request, and memory for a million keys.

Run it on a quiet machine::

    python benchmarks/rate_limits.py

The time is that of the whole decision in memory with three limits, its header fields included. The
memory is for a million buckets that are not full, keyed by ids of 32 characters that are made for
the purpose, so the ids count too; the peak is while all of them are swept through, when both halves
of the table are in use.
"""

import time
import timeit

import psutil

from portal_gateway.config.rate_limits import KeyRates, RateLimitSection, RateSection
from portal_gateway.exchange import Caller
from portal_gateway.policy.rate_limits import RateLimits, Tables
from portal_gateway.policy.token_bucket import MAX_BUCKETS, SECOND, Bucket, BucketTable, Rate, take

CALLS = 200_000
MB = 1_000_000


def time_per_request() -> None:
    often = RateSection(1_000_000, 1, 10_000_000)
    section = RateLimitSection(often, KeyRates(often), {"tool": often})
    limits = RateLimits(section, Tables())
    caller = Caller("key_0123456789ab")
    told: list[tuple[bytes, bytes]] = []
    seconds = time.monotonic

    def decide() -> None:
        found = limits.of(caller, ("tool", "AAAA"))
        assert found is not None
        admitted, until_full = take(found.buckets, int(seconds() * SECOND))
        assert admitted
        told.clear()
        told.extend(found.fields(until_full))

    best = min(timeit.repeat(decide, number=CALLS, repeat=7)) / CALLS
    print(f"one request, three limits, five header fields: {best * 1e6:.2f} µs")


def memory() -> None:
    process = psutil.Process()
    rate = Rate.of(1, 3600, 10)
    table = BucketTable()
    before = process.memory_info().rss
    slowest = 0.0
    for n in range(MAX_BUCKETS):
        key = f"key_{n:028}"
        start = time.perf_counter()
        take((Bucket(table, key, rate),), n)
        slowest = max(slowest, time.perf_counter() - start)
    used = process.memory_info().rss - before
    print(f"{len(table):,} buckets: {used / MB:.0f} MB, slowest decision {slowest * 1e3:.1f} ms")
    peak = used
    slowest = 0.0
    for _ in range(2 * MAX_BUCKETS // 5_000):
        start = time.perf_counter()
        table.sweep(0, 5_000)
        slowest = max(slowest, time.perf_counter() - start)
        peak = max(peak, process.memory_info().rss - before)
    print(f"while they are swept through: {peak / MB:.0f} MB, slowest step {slowest * 1e3:.1f} ms")
    for n in range(MAX_BUCKETS, MAX_BUCKETS + 100_000):
        take((Bucket(table, f"key_{n:028}", rate),), n)
    print(f"after 100,000 more: {len(table):,} buckets, {table.forgotten:,} forgotten")
    table.sweep(2**62, MAX_BUCKETS)
    table.sweep(2**62, MAX_BUCKETS)
    assert len(table) == 0


def main() -> None:
    time_per_request()
    memory()


if __name__ == "__main__":
    main()
