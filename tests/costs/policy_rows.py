"""The worst shapes for what decides by what strangers send."""

import hashlib
import hmac
from contextlib import suppress
from ipaddress import ip_network

from portal_gateway.config.jwt_tokens import JWTClaims, JWTSection
from portal_gateway.config.model import LeaseRule
from portal_gateway.config.security_headers import SecurityHeadersSection, SecurityPath
from portal_gateway.exchange import Caller, Exchange
from portal_gateway.policy import (
    api_key_text,
    credentials,
    jwt_claims,
    lease_path,
    mcp_calls,
    rewriting,
    scopes,
    websocket_opening,
)
from portal_gateway.policy.address_sets import AddressSet
from portal_gateway.policy.client_address import TrustedProxies
from portal_gateway.policy.jwt_table import TokenTable
from portal_gateway.policy.key_cache import KeyCache
from portal_gateway.policy.lease_access import LeaseAccess
from portal_gateway.policy.lease_host import LeaseHosts
from portal_gateway.policy.lease_patterns import PatternIndex
from portal_gateway.policy.quota_table import QuotaTable
from portal_gateway.policy.rewriting import LeaseView
from portal_gateway.policy.security_headers import SecurityHeaders
from portal_gateway.policy.token_bucket import SECOND, Bucket, BucketTable, Rate, take
from portal_gateway.wire.jwt_keys import KeySet
from portal_gateway.wire.jwt_parsing import BadToken
from tests.costs.measuring import Row
from tests.costs.wire_rows import JSON, NAMES, TOKEN_SIZES, TOKENS, fields, fill
from tests.policy.test_mcp_calls import head as json_head
from tests.wire.jwt_world import NOW, SECRET, segment

__all__ = ["ROWS"]

# Credentials and tokens.

HEADERS = {
    "many fields": fields,
    "keys": lambda size: fields(size, b"X-API-Key", b"k" * 8),
    "credentials": lambda size: fields(size, b"Authorization", b"Bearer k"),
    "a long credential": lambda size: [(b"Authorization", b"Bearer " + b" " * size)],
    "subprotocols": lambda size: [(b"Sec-WebSocket-Protocol", b"portal-key.k," * (size // 13))],
    "fields of subprotocols": lambda size: fields(size, b"Sec-WebSocket-Protocol", b"portal-key.k"),
    "cookies": lambda size: [(b"Cookie", b"a=b; " * (size // 5))],
}

SECTION = JWTSection(algorithm="HS256", secret=SECRET.encode(), claims=JWTClaims(audience="me"))

CLAIMS = {
    "audiences": lambda size: {"exp": NOW + 300, "sub": "a", "aud": ["a"] * (size // 4) + ["me"]},
    "scopes in a text": lambda size: {
        "exp": NOW + 300,
        "sub": "a",
        "aud": "me",
        "scope": "a " * (size // 2),
    },
    "scopes in a list": lambda size: {
        "exp": NOW + 300,
        "sub": "a",
        "aud": "me",
        "scope": ["a"] * (size // 4),
    },
    "leases": lambda size: {
        "exp": NOW + 300,
        "sub": "a",
        "aud": "me",
        "leases": ["a"] * (size // 4),
    },
    "a long subject": lambda size: {"exp": NOW + 300, "sub": "a" * size, "aud": "me"},
}


def hold(claims):
    with suppress(BadToken):
        jwt_claims.holder_of(claims, SECTION, NOW)


def token_of(payload):
    signed = segment({"alg": "HS256"}) + b"." + segment(payload)
    return signed + b"." + segment(hmac.new(SECRET.encode(), signed, hashlib.sha256).digest())


def look_up(token):
    TokenTable(SECTION, KeySet.of("HS256", SECRET.encode())).look_up(token, NOW)


def remember_keys(count):
    """Strangers' keys, one after the other."""
    cache = KeyCache(300.0)
    for number in range(count):
        cache.learn(b"%032d" % number, credentials.UNKNOWN_KEY, 0.0)


CREDENTIALS = [
    *(
        Row("policy.credentials", f"found in {shape}", make, credentials.sent_credential)
        for shape, make in HEADERS.items()
    ),
    *(
        Row("policy.credentials", f"taken from {shape}", make, credentials.strip_credentials)
        for shape, make in HEADERS.items()
    ),
    Row("policy.api_key_text", "letters", fill(b"a", b"sk_live_"), api_key_text.is_generated_key),
    *(Row("policy.jwt_claims", shape, make, hold) for shape, make in CLAIMS.items()),
    *(Row("policy.jwt_table", shape, make, look_up, TOKEN_SIZES) for shape, make in TOKENS.items()),
    *(
        Row(
            "policy.jwt_table",
            f"a good token, {shape}",
            lambda size, make=make: token_of(make(size // 2)),
            look_up,
            TOKEN_SIZES,
        )
        for shape, make in CLAIMS.items()
    ),
    Row("policy.key_cache", "strangers' keys", lambda size: size, remember_keys, (300, 3_000)),
]

# Names, paths and hosts of leases.

PATHS = {
    "slashes": fill(b"/"),
    "dots": fill(b"."),
    "dot segments": fill(b"../", b"a/"),
    "down and up": fill(b"a/../"),
    "encoded dots": fill(b"%2e"),
    "encoded dot segments": fill(b"a%2f..%5c", b"a/"),
    "broken escapes": fill(b"%"),
    "dots and escapes": fill(b".%"),
    "parameters": fill(b";", b".."),
    "spaces at the end": lambda size: b"a" * size + b" ",
    "a query": fill(b"&_method=", b"?"),
}


PATH_SIZES = (320, 3_200, 32_000)
"""Four times what the request line may have by default."""


def split(rest):
    lease_path.split_peer_path(b"/peer/tool/" + rest)
    lease_path.split_peer_path(b"/peer/" + rest)
    lease_path.refuse_lease_target(b"/" + rest)


HOSTS = LeaseHosts("{lease}.gw.example")

PATTERN_NAMES = {**NAMES, "a's and no b": fill("a"), "almost": fill("ab")}

INDEX = PatternIndex(
    (pattern, pattern)
    for pattern in (
        "*a*a*a*a*b",
        "a*a*a*a*a*a",
        "*?a?*?b",
        "a?*" * 8,
        "*b*",
        *(f"a*{n}*b" for n in range(40)),
    )
)


def patterns(count):
    """An index of many that all begin alike."""
    return PatternIndex((f"p*{number:05}*a*b", number) for number in range(count))


def ask_rules(names):
    access = LeaseAccess([LeaseRule("*a*b", frozenset()), LeaseRule("a*", frozenset({b"x"}))])
    access.admits(Caller("key"), names)


LEASES = [
    *(Row("policy.lease_path", shape, make, split, PATH_SIZES) for shape, make in PATHS.items()),
    *(
        Row(
            "policy.lease_host",
            shape,
            fill(b"a", b"", b".gw.example")
            if shape == "letters"
            else fill(b"." if shape == "dots" else b"-", b"a", b".gw.example"),
            HOSTS.lease,
        )
        for shape in ("letters", "dots", "hyphens")
    ),
    Row("policy.lease_host", "colons", fill(b":"), HOSTS.lease),
    *(
        Row(
            "policy.lease_patterns",
            shape,
            lambda size, make=make: (make(size),),
            INDEX.most_specific,
        )
        for shape, make in PATTERN_NAMES.items()
    ),
    Row(
        "policy.lease_patterns",
        "many patterns",
        lambda size: patterns(size // 100),
        lambda index: index.most_specific(("p" + "a" * 200,)),
    ),
    *(
        Row("policy.lease_access", shape, lambda size, make=make: (make(size),), ask_rules)
        for shape, make in PATTERN_NAMES.items()
    ),
]

# What a lease says, and what is said to it.

VIEW = LeaseView(b"/peer/tool", b"gw.example:8080", b"/base")

VALUE_SIZES = (160, 1_600, 16_000)
"""A value above `rewriting.MAX_VALUE` passes as it is."""
assert VALUE_SIZES[-1] < rewriting.MAX_VALUE

REFERENCES = {
    "slashes": fill(b"/"),
    "dot segments": fill(b"/.."),
    "encoded dot segments": fill(b"/%2e%2E"),
    "segments and dots": fill(b"/a/.."),
    "marks": fill(b"?#", b"/../"),
    "an authority": fill(b"a", b"//"),
    "a bracket": fill(b":", b"//["),
    "colons": fill(b":", b"//a"),
}

REFRESHES = {
    "digits": fill(b"0"),
    "spaces": fill(b" ", b"0"),
    "semicolons": fill(b";", b"0"),
    "url": fill(b"url=", b"0;"),
    "quotes": fill(b"'", b"0;"),
    "spaces and marks": fill(b" ;", b"0"),
}

COOKIES = {
    "semicolons": fill(b";", b"a=b"),
    "paths": fill(b";path=/", b"a=b"),
    "domains": fill(b";domain=gw.example", b"a=b"),
    "domains that are none": fill(b";domain=.", b"a=b"),
    "spaces": fill(b" ", b"a=b;"),
    "equals": fill(b"=", b"a=b;"),
}

PATTERNS = SecurityHeaders(
    SecurityHeadersSection(
        paths=tuple(
            SecurityPath(path, {"X-Frame-Options": "DENY"})
            for path in ("/peer/*a*a*a*b", "*/a/*/b/*c", *(f"/*a{n}*b" for n in range(40)))
        )
    )
)


def secure(path):
    PATTERNS.added([], Exchange("r", "192.0.2.1", 0.0, path=path), secure=True, of_lease=False)


def secured_fields(headers):
    exchange = Exchange("r", "192.0.2.1", 0.0, path="/")
    PATTERNS.added(headers, exchange, secure=True, of_lease=True)


def read_call(body):
    mcp_calls.only_reads(json_head((b"Content-Type", b"application/json")), body)


MESSAGES = {
    **JSON,
    "calls in a list": fill(b'{"method":"ping"},', b"[", b"{}]"),
    "methods": fill(b'"METHOD":1,', b"{", b'"a":1}'),
    "a long method": fill(b"a", b'{"jsonrpc":"2.0","method":"', b'"}'),
    "a long id": fill(b"1", b'{"jsonrpc":"2.0","method":"ping","id":', b"}"),
}

ANSWERS = [
    *(
        Row("policy.rewriting", f"Location: {shape}", make, VIEW.reference, VALUE_SIZES)
        for shape, make in REFERENCES.items()
    ),
    *(
        Row("policy.rewriting", f"Refresh: {shape}", make, VIEW.refresh, VALUE_SIZES)
        for shape, make in REFRESHES.items()
    ),
    *(
        Row("policy.rewriting", f"Set-Cookie: {shape}", make, VIEW.set_cookie, VALUE_SIZES[1:])
        for shape, make in COOKIES.items()
    ),
    *(
        Row(
            "policy.security_headers",
            shape,
            lambda size, make=make: "/peer/" + make(size).decode("latin-1"),
            secure,
        )
        for shape, make in {**PATHS, "a's": fill(b"a"), "b's and a's": fill(b"ab")}.items()
    ),
    Row(
        "policy.security_headers",
        "fields that are there",
        lambda size: fields(size, b"X-Frame-Options"),
        secured_fields,
    ),
    *(Row("policy.mcp_calls", shape, make, read_call) for shape, make in MESSAGES.items()),
    Row(
        "policy.scopes",
        "fields",
        lambda size: dict(fields(size)),
        lambda header: scopes.required_scope("GET", header, is_websocket=False),
    ),
]

# Addresses and limits.

PROXIES = TrustedProxies([ip_network("10.0.0.0/8")])

FORWARDING = {
    "addresses": lambda size: (b"X-Forwarded-For", b"10.0.0.1, " * (size // 10)),
    "commas": lambda size: (b"X-Forwarded-For", b"," * size),
    "elements": lambda size: (b"Forwarded", b"for=10.0.0.1," * (size // 13)),
    "an element": lambda size: (b"Forwarded", b'for="' + b"\\\\" * (size // 2)),
}


def passage(field):
    protos = (b"X-Forwarded-Proto", field[1])
    PROXIES.passage("10.0.0.1", json_head(field, protos))


def open_websocket(field):
    head = json_head(
        (b"Connection", b"upgrade"),
        (b"Sec-WebSocket-Version", b"13"),
        (b"Sec-WebSocket-Key", b"AAAAAAAAAAAAAAAAAAAAAA=="),
        field,
    )
    head.method = b"GET"
    head.chunked = False
    websocket_opening.wants_websocket(head)
    websocket_opening.read_opening(head)


OPENINGS = {
    "subprotocols": lambda size: (b"Sec-WebSocket-Protocol", b"a," * (size // 2)),
    "different subprotocols": lambda size: (
        b"Sec-WebSocket-Protocol",
        b",".join(b"%d" % n for n in range(size // 6)),
    ),
    "extensions": lambda size: (b"Sec-WebSocket-Extensions", b"permessage-deflate;" * (size // 19)),
    "a long subprotocol": lambda size: (b"Sec-WebSocket-Protocol", b"a" * size + b"\x00"),
}


def fill_buckets(count):
    """Strangers that come once, at a table that is full of them."""
    table = BucketTable(count // 2)
    rate = Rate.of(1, 1000, 1)
    for number in range(count):
        take((Bucket(table, f"k{number}", rate),), SECOND)


def sweep_buckets(count):
    table = BucketTable(count)
    rate = Rate.of(1, 1, 1)
    for number in range(count):
        take((Bucket(table, f"k{number}", rate),), SECOND)
    for _ in range(count // 10):
        table.sweep(100 * SECOND, 10)


def fill_quotas(count):
    """Keys that come once, while nothing of what they use can be written."""
    table = QuotaTable(count)
    for number in range(count):
        account = table.account(f"k{number}", (), 0.0)
        if account is not None:
            table.admit(account)


LIMITS = [
    *(Row("policy.client_address", shape, make, passage) for shape, make in FORWARDING.items()),
    Row("policy.address_sets", "an address", fill("1."), lambda text: text in AddressSet([])),
    *(
        Row("policy.websocket_opening", shape, make, open_websocket)
        for shape, make in OPENINGS.items()
    ),
    Row(
        "policy.token_bucket",
        "buckets in a full table",
        lambda size: size,
        fill_buckets,
        (300, 3_000),
    ),
    Row(
        "policy.token_bucket",
        "buckets that filled up",
        lambda size: size,
        sweep_buckets,
        (300, 3_000),
    ),
    Row(
        "policy.quota_table",
        "keys while nothing is written",
        lambda size: size,
        fill_quotas,
        (300, 3_000),
    ),
]

ROWS = [*CREDENTIALS, *LEASES, *ANSWERS, *LIMITS]
