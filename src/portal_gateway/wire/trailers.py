"""Trailer fields that are passed on, in either direction.

A lenient recipient merges trailers into the header, after everybody has judged the header. To a
lease go therefore only the fields that are known to belong there: sums and signatures of what was
sent, and the status of gRPC. To a client goes what no header field of HTTP is: applications send
their own names there, as gRPC does (RFC 9110 section 6.5.1).
"""

import re
from collections.abc import Callable, Sequence
from typing import Final

from portal_gateway.wire.field_names import folded_name
from portal_gateway.wire.http_fields import Headers, list_members, permitted_trailers

__all__ = [
    "announced_trailers",
    "is_request_trailer",
    "is_response_trailer",
    "request_trailers",
    "response_trailers",
]

_KNOWN_TO_LEASES: Final = re.compile(
    rb"signature(?:-input)?|grpc-(?:status|message|status-details-bin)|server-timing"
    rb"|(?:x-)?(?:[a-z0-9]+-){0,3}(?:sum|checksum|digest|hash|md5|sha-?(?:1|256|384|512)"
    rb"|crc-?(?:32c?|64(?:nvme)?))(?:-[a-z0-9]+)?"
    rb"|x-amz-trailer-signature"
)
"""Digests (RFC 9530), signatures of messages (RFC 9421), checksums of uploads (``Content-MD5``,
``X-Amz-Checksum-CRC32C``, ``X-Goog-Hash``), and what gRPC ends with."""

_GUARDED: Final = re.compile(rb"x-forwarded|mcp-|sec-|proxy-|x-portal-")
"""Beginnings of names that no request trailer may have, whatever follows."""

_HEADER_FIELDS: Final = frozenset(
    b"""
    accept-ch accept-patch accept-post accept-ranges allow alt-svc alt-used
    authentication-info cache-status cdn-cache-control clear-site-data critical-ch
    deprecation document-policy expect-ct expect-staple feature-policy idp-signin-status
    integrity-policy key last-modified link login-status nel observe-browsing-topics
    origin-agent-cluster p3p permissions-policy pragma proxy-status public-key-pins
    public-key-pins-report-only ratelimit ratelimit-policy referrer-policy refresh report-to
    reporting-endpoints server service-worker-allowed set-cookie2 set-login sourcemap
    speculation-rules status strict-transport-security sunset supports-loading-mode
    surrogate-control timing-allow-origin tk upgrade-insecure-requests use-as-dictionary via
    x-dns-prefetch-control x-download-options x-frame-options x-http-method
    x-http-method-override x-method-override x-permitted-cross-domain-policies x-powered-by
    x-real-ip x-request-id x-robots-tag x-sourcemap x-ua-compatible x-xss-protection
    """.split()
)
"""Fields by which an answer instructs its reader, and those that the gateway writes."""

_HEADER_PREFIXES: Final = (
    b"accept-", b"access-control-", b"attribution-reporting-", b"content-", b"cross-origin-",
    b"mcp-", b"proxy-", b"ratelimit", b"sec-", b"secure-session-", b"shared-storage-", b"www-",
    b"x-accel-", b"x-content-", b"x-forwarded", b"x-lighttpd-", b"x-litespeed-", b"x-ratelimit-",
    b"x-reproxy-", b"x-sendfile",
)  # fmt: skip

_DIGESTS: Final = frozenset({b"content-digest", b"content-md5"})


def is_request_trailer(name: bytes) -> bool:
    """Whether the trailer field ``name`` goes to a lease."""
    lower = name.lower()
    return _KNOWN_TO_LEASES.fullmatch(lower) is not None and _GUARDED.match(lower) is None


def is_response_trailer(name: bytes) -> bool:
    """Whether the trailer field ``name`` goes to a client.

    A name with other characters than letters, digits and hyphens is judged as the one that it may
    be taken for.
    """
    folded = folded_name(name)
    if folded in _DIGESTS:
        return True
    if folded in _HEADER_FIELDS or folded.startswith(_HEADER_PREFIXES):
        return False
    return bool(permitted_trailers([(folded, b"")]))


def request_trailers(trailers: Sequence[tuple[bytes, bytes]]) -> Headers:
    """The trailer fields that go to a lease."""
    return [field for field in trailers if is_request_trailer(field[0])]


def response_trailers(trailers: Sequence[tuple[bytes, bytes]]) -> Headers:
    """The trailer fields that go to a client."""
    return [field for field in trailers if is_response_trailer(field[0])]


def announced_trailers(value: bytes, is_passed_on: Callable[[bytes], bool]) -> bytes:
    """The value of ``Trailer`` that announces what is passed on of ``value``; may be empty."""
    return b", ".join(name for name in list_members([value]) if is_passed_on(name))
