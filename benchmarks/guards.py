"""What the guards cost a request that all of them admit, one after the other and together.

Run it on a quiet machine::

    python benchmarks/guards.py

The request is a POST with twelve header fields to a lease at a relay, whose directory has ten
thousand others. Rules and keys are as many as the table says. What stands behind the guards does
nothing. Each figure is the best of seven rounds, with the guards before it included.
"""

import time
import timeit
from collections.abc import Sequence
from ipaddress import ip_network
from typing import Any, cast

from twisted.internet.task import Clock
from twisted.web.resource import Resource

from portal_gateway.config.model import ApiKey, LeaseRule, key_digest
from portal_gateway.config.rate_limits import KeyRates, RateLimitSection, RateSection
from portal_gateway.exchange import Exchange
from portal_gateway.frontend.guards import GUARDS, MakeRule, Rules, guarded
from portal_gateway.frontend.rate_limiter import RateLimiter
from portal_gateway.frontend.request import Request
from portal_gateway.frontend.site import Site
from portal_gateway.policy.address_sets import AddressSet
from portal_gateway.policy.credentials import KeyTable
from portal_gateway.policy.lease_access import LeaseAccess
from portal_gateway.policy.lease_settings import LeaseAddresses, LeasePaths
from portal_gateway.policy.rate_limits import RateLimits, Tables
from portal_gateway.relay.lease_index import LeaseIndex
from portal_gateway.relay.lease_table import LeaseTable
from portal_gateway.relay.route import Route
from portal_gateway.wire.http1_request import RequestHead
from portal_gateway.wire.messages import ListedLease

CALLS = 50_000

COUNT = 10_000
"""Networks, keys, rules and leases."""

KEY = b"sk_live_0123456789abcdefghijklmnopqrstuvwxyz"

FIELDS = [
    (b"Host", b"gateway.example"),
    (b"User-Agent", b"benchmark/1.0"),
    (b"Accept", b"application/json, text/event-stream"),
    (b"Accept-Encoding", b"gzip, br"),
    (b"Accept-Language", b"en"),
    (b"Content-Type", b"application/json"),
    (b"Content-Length", b"0"),
    (b"Cache-Control", b"no-cache"),
    (b"Cookie", b"a=b; c=d"),
    (b"Origin", b"https://example.com"),
    (b"X-API-Key", KEY),
    (b"MCP-Protocol-Version", b"2026-07-28"),
]


class _Behind(Resource):
    isLeaf = True

    def render(self, request: Request) -> int:  # noqa: ARG002 - Twisted's
        return 1


def _lease_id(number: int) -> str:
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
    text = ""
    for _ in range(26):
        number, digit = divmod(number, 32)
        text += letters[digit]
    return text


def _rules() -> Rules:
    index = LeaseIndex()
    for _ in index.add_all(tuple(ListedLease(_lease_id(n), f"agent-{n}") for n in range(COUNT))):
        pass
    table = LeaseTable(index)
    pools = cast("Any", {}.get)

    def find(name: str) -> Route:
        lease = table.find(name)
        assert lease is not None
        return Route(pools, lease.id, table.names_of(lease))

    often = RateSection(1_000_000, 1, 10_000_000)
    limits = RateLimits(RateLimitSection(often, KeyRates(often), {"agent-7": often}), Tables())
    keys = [ApiKey.of(f"sk_live_{number:032}") for number in range(COUNT)]
    rules = [LeaseRule(f"team-{n}-*", frozenset(), everybody=True) for n in range(COUNT)]
    rules.append(LeaseRule("agent-*", frozenset({key_digest(b"caller")})))
    return Rules(
        KeyTable([*keys, ApiKey.of(KEY.decode(), id="caller")]),
        addresses=AddressSet(ip_network((2 * n * 256, 24)) for n in range(COUNT)),
        access=LeaseAccess(rules),
        lease_addresses=LeaseAddresses({"agent-7": [ip_network("0.0.2.0/24")]}),
        mcp=LeasePaths({"agent-7": ["/mcp"]}),
        limiter=RateLimiter(limits, time.monotonic),
        find=find,
    )


def _microseconds(rules: Rules, guards: Sequence[MakeRule]) -> float:
    site = Site(
        Resource(),
        Clock(),
        render_problem=lambda _error, _id: (500, [], b""),
        on_exchange_end=lambda _exchange: None,
        make_request_id=str,
    )
    head = RequestHead(
        method=b"POST",
        target=b"/peer/Agent-7/x",
        version=b"1.1",
        headers=FIELDS,
        keep_alive=True,
        content_length=0,
        chunked=False,
        expects_continue=False,
        host=b"gateway.example",
        index={name.lower(): value for name, value in FIELDS},
    )
    exchange = Exchange("req_1", "0.0.2.9", 0.0, method="POST", path="/peer/Agent-7/x")
    stream = cast("Any", Clock())
    stream.is_secure = False
    request = Request(stream, site, head, exchange)
    tree = guarded(_Behind(), rules, time.time, guards)

    def ask() -> None:
        exchange.lease = "Agent-7"
        exchange.response_fields.clear()
        assert tree.render(request) == 1

    return min(timeit.repeat(ask, number=CALLS, repeat=7)) / CALLS * 1e6


def main() -> None:
    rules = _rules()
    before = 0.0
    for count in range(len(GUARDS) + 1):
        guards = GUARDS[:count]
        took = _microseconds(rules, guards)
        name = guards[-1].__name__.strip("_").replace("_", " ") if guards else "none"
        print(f"{name:22} {took - before:6.2f} µs, together {took:6.2f} µs")
        before = took


if __name__ == "__main__":
    main()
