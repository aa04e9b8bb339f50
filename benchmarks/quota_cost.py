"""What quotas cost: time per request, memory for the keys in use, and time to write what is new.

Run it on a quiet machine::

    python benchmarks/quota_cost.py

The time is that of the whole decision in memory, of noting that the exchange is under way, and of
its end. The database is SQLite in a temporary directory; its time is a thread's, not the reactor's.
"""

import itertools
import tempfile
import time
import timeit
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from portal_gateway.config.database import DatabaseSection
from portal_gateway.config.quotas import KeyQuotas, QuotaSection, QuotasSection
from portal_gateway.exchange import Caller, Exchange
from portal_gateway.frontend.quota_guard import QuotaGuard
from portal_gateway.frontend.quota_keeper import QuotaKeeper
from portal_gateway.policy.quota_table import MOST_ACCOUNTS, QuotaTable
from portal_gateway.policy.quotas import Quotas
from portal_gateway.store.database import Database
from portal_gateway.store.quota_database import DatabaseQuotas
from portal_gateway.store.quota_store import Added, Totals, UsedIn
from portal_gateway.store.threads import ThisThread

CALLS = 100_000
NOW = time.time()
MB = 1_000_000

BOTH = QuotasSection(
    daily=KeyQuotas(default=QuotaSection(10**12)),
    monthly=KeyQuotas(default=QuotaSection(10**12, 2**60)),
)


class Asking:
    """As much of a request as the rule looks at."""

    def __init__(self, caller: Caller) -> None:
        self.exchange = Exchange("r", "127.0.0.1", 0.0, caller=caller, bytes_out=500)


class Empty:
    """A store in which nobody has used anything yet, at once."""

    def sync(
        self, _number: int, added: Sequence[Added], wanted: Sequence[UsedIn]
    ) -> Deferred[list[Totals]]:
        return succeed([*((one.requests, one.bytes) for one in added), *((0, 0) for _ in wanted)])


def parts() -> tuple[QuotaGuard, QuotaKeeper]:
    keeper = QuotaKeeper(QuotaTable(), Empty(), Clock(), lambda: NOW)
    keeper.startService()
    return QuotaGuard(Quotas(BOTH), keeper), keeper


def time_per_request() -> None:
    guard, keeper = parts()
    request = Asking(Caller("key_0123456789ab", digest=b"d" * 32))

    def pass_through() -> None:
        assert guard.decide(request, NOW) is None  # type: ignore[arg-type]
        keeper.exchange_over(request.exchange)

    guard.decide(request, NOW)  # type: ignore[arg-type]
    best = min(timeit.repeat(pass_through, number=CALLS, repeat=7)) / CALLS
    print(f"one request, a daily and a monthly quota, its bytes: {best * 1e6:.2f} µs")


def many_keys() -> None:
    guard, keeper = parts()
    process = psutil.Process()
    before = process.memory_info().rss
    for number in range(MOST_ACCOUNTS - 1):
        request = Asking(Caller(f"jwt:user-{number:026}"))
        guard.decide(request, NOW)  # type: ignore[arg-type]
        keeper.exchange_over(request.exchange)
    used = process.memory_info().rss - before
    print(f"{len(keeper.table):,} keys with two counts each: {used / MB:.0f} MB")


def writing() -> None:
    with tempfile.TemporaryDirectory() as directory:
        write_to(directory)


def write_to(directory: str) -> None:
    database = Database(DatabaseSection(file=Path(directory) / "quotas.sqlite"), ThisThread())
    store = DatabaseQuotas(database, lambda: NOW)
    month = UsedIn("", "monthly", "2026-11", NOW + 1e6)
    for count in (1, 100, 5_000):
        added = [Added(month._replace(key_id=f"user-{n:026}"), 1, 500) for n in range(count)]
        numbers = itertools.count(count * 1_000)

        def write(added: list[Added] = added, numbers: Iterator[int] = numbers) -> None:
            store.sync(next(numbers), added, [])

        best = min(timeit.repeat(write, number=5, repeat=5)) / 5
        print(f"{count:,} counts written to SQLite: {best * 1e3:.1f} ms")


def many_flows() -> None:
    guard, keeper = parts()
    requests = [Asking(Caller("key_0123456789ab", digest=b"d" * 32)) for _ in range(10_000)]
    for request in requests:
        guard.decide(request, NOW)  # type: ignore[arg-type]

    def flow() -> None:
        for request in requests:
            request.exchange.bytes_out += 100
        keeper.table.count_flows(NOW)

    best = min(timeit.repeat(flow, number=1, repeat=7))
    print(f"counting the bytes of {len(requests):,} streams: {best * 1e3:.1f} ms, once a second")


def main() -> None:
    time_per_request()
    many_flows()
    many_keys()
    writing()


if __name__ == "__main__":
    main()
