"""What security headers cost a response, in microseconds of CPU.

Run it on a quiet machine, also with the compiled package::

    PYTHONPATH=$PWD python benchmarks/security_headers.py
    PYTHONPATH=$PWD/build/compiled:$PWD python benchmarks/security_headers.py

The response is a lease's with ten fields, made ready and written as HTTP/1.1 writes it. Each figure
is the best of many rounds, which take turns: the machine's mood is that of all of them.
"""

import time
import timeit
from collections.abc import Callable

from portal_gateway.config.security_headers import SecurityHeadersSection, SecurityPath
from portal_gateway.exchange import Exchange
from portal_gateway.policy.security_headers import SecurityHeaders
from portal_gateway.wire.http1_writing import frame_response

CALLS = 20_000
ROUNDS = 15

FIELDS = [
    (b"Date", b"Mon, 01 Jan 2026 00:00:00 GMT"),
    (b"Server", b"lease/1.0"),
    (b"Content-Type", b"application/json"),
    (b"Cache-Control", b"no-store"),
    (b"ETag", b'"abcdef"'),
    (b"Vary", b"Accept-Encoding"),
    (b"Access-Control-Allow-Origin", b"*"),
    (b"Set-Cookie", b"session=1; HttpOnly; Secure"),
    (b"Via", b"1.1 portal-gateway"),
    (b"X-Request-ID", b"req_0123456789abcdef"),
]

PATHS = SecurityHeadersSection(
    paths=tuple(SecurityPath(f"/peer/lease-{number}/*") for number in range(100))
)


def _writing(security: SecurityHeaders | None) -> Callable[[], object]:
    exchange = Exchange("req_1", "192.0.2.1", 0.0, path="/peer/tool/v1/chat")
    exchange.lease = "tool"
    exchange.lease_names = ("tool", "ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    exchange.upstream_target = b"/v1/chat"

    def write() -> object:
        headers = FIELDS
        if security is not None:
            headers = security.added(headers, exchange, secure=True, of_lease=True)
        return frame_response(
            200, b"OK", headers, length=500, has_body=True, is_1_1=True, keep_alive=True
        )

    return write


def main() -> None:
    """Print the table."""
    cases = {
        "none": _writing(None),
        "the usual ones": _writing(SecurityHeaders(SecurityHeadersSection())),
        "with 100 paths": _writing(SecurityHeaders(PATHS)),
    }
    best = dict.fromkeys(cases, float("inf"))
    for _ in range(ROUNDS):
        for name, write in cases.items():
            took = timeit.timeit(write, number=CALLS, timer=time.process_time) / CALLS * 1e6
            best[name] = min(best[name], took)
    for name, took in best.items():
        print(f"{name:16} {took:6.2f} µs, {took - best['none']:+6.2f} µs")


if __name__ == "__main__":
    main()
