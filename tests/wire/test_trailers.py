"""Which trailer fields are passed on, to leases and to clients."""

import time

import pytest

from portal_gateway.wire.trailers import (
    announced_trailers,
    is_request_trailer,
    is_response_trailer,
    request_trailers,
    response_trailers,
)

SUMS = [
    "Content-Digest", "Repr-Digest", "Digest", "Content-MD5", "X-Sum", "X-Checksum",
    "X-Checksum-Sha256", "X-Amz-Checksum-CRC32C", "x-amz-checksum-crc64nvme",
    "x-amz-checksum-sha256", "X-Amz-Trailer-Signature", "X-Goog-Hash", "X-Body-SHA-256",
    "X-Upload-Content-MD5", "Signature", "Signature-Input", "Grpc-Status", "grpc-message",
    "grpc-status-details-bin", "Server-Timing",
]  # fmt: skip

BELONG_TO_NO_TRAILER = [
    # Framing, routing, credentials, the kind of content.
    "Transfer-Encoding", "Content-Length", "Connection", "TE", "Trailer", "Upgrade", "Keep-Alive",
    "Host", "Max-Forwards", "Expect", "Authorization", "Proxy-Authorization", "X-API-Key", "Cookie",
    "Set-Cookie", "Content-Type", "Content-Encoding", "Content-Range", "Content-Disposition",
    "Content-Location", "Content-Security-Policy", "If-Match", "Range", "Cache-Control",
    # What guards judge and proxies write.
    "X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X-Real-IP", "Forwarded",
    "X-Forwarded-For", "X-Forwarded-User", "X-Forwarded-Checksum", "X-Request-ID", "Via",
    "Mcp-Method", "Mcp-Name", "MCP-Protocol-Version", "MCP-Digest", "Sec-WebSocket-Protocol",
    "Sec-Fetch-Site", "Sec-Digest", "Proxy-Status", "X-Content-Type-Options",
]  # fmt: skip

OF_A_REQUEST_ONLY = ["Origin", "X-Anything", "Remote-User", "X_Checksum", "X-Sum!", "A", ""]

INSTRUCT_CLIENTS = [
    "Location", "Refresh", "Link", "Strict-Transport-Security", "Access-Control-Allow-Origin",
    "Access-Control-Expose-Headers", "Cross-Origin-Opener-Policy", "Permissions-Policy",
    "Referrer-Policy", "X-Frame-Options", "X-XSS-Protection", "Clear-Site-Data", "NEL",
    "Report-To", "Reporting-Endpoints", "Alt-Svc", "Service-Worker-Allowed", "WWW-Authenticate",
    "Proxy-Authenticate", "Authentication-Info", "RateLimit", "RateLimit-Policy",
    "X-RateLimit-Limit", "Retry-After", "Vary", "Age", "Date", "Expires", "Pragma", "Warning",
    "Accept-CH", "Critical-CH", "Accept-Ranges", "Allow", "SourceMap", "X-Accel-Redirect",
    "Set-Cookie2", "Origin-Agent-Cluster", "Timing-Allow-Origin", "Set_Cookie", "set.cookie",
    "Access_Control_Allow_Origin",
]  # fmt: skip

OF_APPLICATIONS = ["ETag", "X-Total", "My-Metadata", "my_metadata", "my.key-bin", "X-Stream-Error"]


@pytest.mark.parametrize("name", SUMS)
def test_sums_go_both_ways(name: str) -> None:
    for spelt in (name, name.lower(), name.upper()):
        assert is_request_trailer(spelt.encode())
        assert is_response_trailer(spelt.encode())


@pytest.mark.parametrize("name", BELONG_TO_NO_TRAILER)
def test_what_goes_neither_way(name: str) -> None:
    for spelt in (name, name.lower(), name.upper()):
        assert not is_request_trailer(spelt.encode())
        assert not is_response_trailer(spelt.encode())


@pytest.mark.parametrize("name", [*OF_A_REQUEST_ONLY, *INSTRUCT_CLIENTS, *OF_APPLICATIONS])
def test_nothing_else_goes_to_a_lease(name: str) -> None:
    assert not is_request_trailer(name.encode())


@pytest.mark.parametrize("name", INSTRUCT_CLIENTS)
def test_what_instructs_a_client_does_not_go_there(name: str) -> None:
    assert not is_response_trailer(name.encode())


@pytest.mark.parametrize("name", OF_APPLICATIONS)
def test_what_applications_say_goes_to_clients(name: str) -> None:
    assert is_response_trailer(name.encode())


def test_fields_stay_in_their_order() -> None:
    fields = [(b"X-Sum", b"1"), (b"Set-Cookie", b"a"), (b"X-Total", b"2"), (b"x-sum", b"3")]
    assert request_trailers(fields) == [(b"X-Sum", b"1"), (b"x-sum", b"3")]
    assert response_trailers(fields) == [(b"X-Sum", b"1"), (b"X-Total", b"2"), (b"x-sum", b"3")]


def test_what_is_announced_is_what_is_passed_on() -> None:
    value = b"X-Sum, Set-Cookie,, x-total"
    assert announced_trailers(value, is_request_trailer) == b"x-sum"
    assert announced_trailers(value, is_response_trailer) == b"x-sum, x-total"
    assert announced_trailers(b"Host", is_request_trailer) == b""


@pytest.mark.parametrize("unit", [b"a", b"a-", b"x-", b"sum-", b"-", b"x-sum-", b"_"])
def test_the_time_grows_with_the_name(unit: bytes) -> None:
    def spent(size: int) -> float:
        name = unit * (size // len(unit))
        began = time.thread_time()
        is_request_trailer(name)
        is_response_trailer(name)
        return time.thread_time() - began

    # What is linear is so at least once in many rounds; what grows with the square never is.
    assert min(spent(100_000) / max(spent(10_000), 1e-4) for _ in range(20)) <= 12
