"""The worst shapes for what guards look at in a request, and in its answer."""

from contextlib import suppress

from portal_gateway.policy import lease_path, mcp_calls, request_fields, rewriting
from portal_gateway.policy.local_hosts import LocalHosts
from portal_gateway.wire import (
    field_names,
    lease_names,
    max_forwards,
    method_overrides,
    proxy_header,
    trailers,
)
from tests.costs.measuring import Row
from tests.costs.policy_rows import PATH_SIZES, VALUE_SIZES, VIEW
from tests.costs.wire_rows import fields, fill
from tests.policy.test_mcp_calls import head

__all__ = ["ROWS"]

# Names of fields.

LONG_NAME = b"a-" * 20

NAMES = {
    "many": fields,
    "of one name": lambda size: fields(size, b"X-Real-IP"),
    "with underscores": lambda size: fields(size, b"x_%d"),
    "that begin as those of proxies": lambda size: fields(size, b"x-forwarded-%d"),
    "that hint at methods": lambda size: fields(size, b"x-method-%d"),
    "of a long name": lambda size: [(b"-" * size, b"a")],
    "of a long name, and another character": lambda size: [(b"a" * size + b"_", b"a")],
    "of long names": lambda size: fields(size, LONG_NAME + b"%d"),
    "of sums that are none": lambda size: [(b"x-a-b-c-d-" * (size // 10) + b"!", b"a")],
    "of parts of sums": lambda size: [(b"a-" * (size // 2) + b"sum", b"a")],
    "of letters and no sum": lambda size: [(b"a" * size + b"-su", b"a")],
}


def judge_fields(headers):
    index = dict(headers)
    request_fields.are_harmless({name: value for name, value in index.items() if len(name) > 64})
    field_names.all_plain(index)
    for rule in ("drop", "refuse", "pass"):
        request_fields.without_underscores(headers, rule)
    for trusted in (False, True):
        request_fields.without_claims(headers, trusted=trusted)


def judge_names(headers):
    request_fields.are_harmless(dict(headers))


def announce(value):
    trailers.announced_trailers(value, trailers.is_request_trailer)
    trailers.announced_trailers(value, trailers.is_response_trailer)


ANNOUNCED = {
    "commas": fill(b","),
    "sums": fill(b"x-sum,"),
    "names": fill(b"a" * 30 + b","),
    "a name": fill(b"a-", b"", b"sum"),
    "spaces": fill(b" ", b"a", b"b"),
}

FIELDS = [
    *(
        Row("policy.request_fields", f"fields {shape}", make, judge_fields)
        for shape, make in NAMES.items()
    ),
    *(
        Row("policy.request_fields", f"names of fields {shape}", make, judge_names)
        for shape, make in NAMES.items()
    ),
    *(
        Row("wire.trailers", f"fields {shape}, to a {whom}", make, call, (10_000, 100_000))
        for shape, make in NAMES.items()
        for whom, call in (
            ("lease", trailers.request_trailers),
            ("client", trailers.response_trailers),
        )
    ),
    *(
        Row("wire.trailers", f"Trailer: {shape}", make, announce)
        for shape, make in ANNOUNCED.items()
    ),
    *(
        Row("wire.field_names", f"fields {shape}", make, field_names.plain_only)
        for shape, make in NAMES.items()
    ),
    Row("wire.field_names", "a name", fill(b"_a"), field_names.folded_name),
]

# Other methods.

QUERIES = {
    "parameters": fill(b"a=b&"),
    "parameters and a method": fill(b"a=b&", b"", b"xmethod=1"),
    "methods that are read": fill(b"_method=GET&"),
    "methods that are none": fill(b"method=x;"),
    "marks around a method": fill(b"$", b"", b"method=GET"),
    "encoded methods": fill(b"%5fmethod=%47ET&"),
    "broken escapes": fill(b"%", b"method&"),
    "ampersands": fill(b"&", b"", b"verb"),
    "a long value": fill(b"+", b"_method="),
    "a long name": fill(b"_-", b"", b"method"),
}


def find_methods(query):
    method_overrides.query_names_a_method(query)
    method_overrides.query_has_a_method(query)
    method_overrides.may_be_repeated(b"GET /?" + query + b" HTTP/1.1\r\nHost: h\r\n\r\n")


HEADS = {
    "many fields": fields,
    "fields that hint at methods": lambda size: fields(size, b"x-method-%d"),
    "lengths of zero": lambda size: fields(size, b"Content-Length", b"0"),
    "a length of spaces": lambda size: [(b"Content-Length", b" " * size + b"0")],
}


def written(make):
    return lambda size: (
        b"PUT / HTTP/1.1\r\n" + b"".join(b"%s: %s\r\n" % field for field in make(size)) + b"\r\n"
    )


def call_head(make):
    return lambda size: head(*make(size))


CALLS = {
    **HEADS,
    "members of Connection": lambda size: [(b"Connection", b"a," * (size // 2))],
    "fields like those of a body": lambda size: fields(size, b"content_type%d"),
}

METHODS = [
    *(
        Row("wire.method_overrides", f"a query of {shape}", make, find_methods)
        for shape, make in QUERIES.items()
    ),
    *(
        Row(
            "wire.method_overrides",
            f"a head of {shape}",
            written(make),
            method_overrides.may_be_repeated,
        )
        for shape, make in HEADS.items()
    ),
    *(
        Row("policy.mcp_calls", f"a head of {shape}", call_head(make), mcp_calls.may_be_call)
        for shape, make in CALLS.items()
    ),
]

# Numbers, headers of balancers, hosts.


def count_forwards(values):
    with suppress(max_forwards.BadMaxForwards):
        max_forwards.remaining_forwards(values)


def read_header(data):
    """A header that comes byte by byte, as far as it is read."""
    with suppress(proxy_header.BadProxyHeader):
        for end in range(1, min(len(data), proxy_header.MAX_PROXY_HEADER + 1)):
            if proxy_header.read_proxy_header(data[:end]) is not None:
                break


def read_header_at_once(data):
    with suppress(proxy_header.BadProxyHeader):
        proxy_header.read_proxy_header(data)


HEADER_SIZES = (40, 400, 4_000)
"""Of `MAX_PROXY_HEADER` bytes, which stand in one buffer, at most."""


def binary_header(size):
    return proxy_header.LOCAL_HEADER[:-2] + size.to_bytes(2) + b"\x04" * size


LOCAL = LocalHosts(["gw.example", "*"])

HOSTS = {
    "dots": fill(b"."),
    "colons": fill(b":"),
    "brackets": fill(b"["),
    "an address in brackets": fill(b":", b"[", b"]"),
    "letters": fill(b"a", b"", b".localhost"),
    "digits": fill(b"1."),
    "other bytes": fill(b"\xc4\xb0"),
}

SMALL = [
    *(
        Row("wire.max_forwards", shape, make, count_forwards)
        for shape, make in {
            "zeros": lambda size: [b"0" * size],
            "digits": lambda size: [b"9" * size],
            "zeros and digits": lambda size: [b"0" * size + b"9" * size],
            "almost digits": lambda size: [b"9" * size + b"x"],
            "fields": lambda size: [b"1"] * size,
        }.items()
    ),
    Row(
        "wire.proxy_header", "a binary header", binary_header, proxy_header.read_proxy_header
    )._replace(sizes=HEADER_SIZES),
    Row(
        "wire.proxy_header",
        "a line that is no header",
        fill(b" ", b"PROXY UNKNOWN"),
        read_header_at_once,
    ),
    Row(
        "wire.proxy_header",
        "a line of spaces, byte by byte",
        fill(b" ", b"PROXY TCP4"),
        read_header,
    ),
    *(Row("policy.local_hosts", shape, make, LOCAL.includes) for shape, make in HOSTS.items()),
]

# Names of leases, and paths, that are read again.

READINGS = {
    "percent signs in each other": fill(b"25", b"%", b"2e"),
    "percent signs in each other, broken": fill(b"25", b"%"),
    "chains of percent signs": fill(b"%252e"),
    "long chains of percent signs": fill(b"%2525252525252e%2e/"),
    "encoded percent signs": fill(b"%25"),
    "percent signs that decoding makes": fill(b"%2525%32%35", b"/"),
    "digits of percent signs": fill(b"%%32%35"),
    "overlong dots": fill(b"%c0%ae"),
    "overlong slashes and dots": fill(b"%c0%af%c0%ae%c0%ae"),
    "wide dots": fill(b"%ef%bc%8e/"),
    "two dots in one": fill(b"%e2%80%a5/"),
    "wide percent signs": fill(b"%ef%bc%852e"),
    "bytes that are no UTF-8": fill(b"%ff"),
    "beginnings of overlong ones": fill(b"%c0"),
    "marks": fill(b"a%cc%81%cc%a3", b"%25"),
    "expanding characters": fill(b"%ef%b7%ba", b"%25"),
    "parameters": fill(b"..%253b/"),
    "nothing behind an end": fill(b"..%2500/"),
    "spaces": fill(b"%2520", b"..", b"/"),
    "backslashes": fill(b"%255c.."),
}

FORMS = {
    "letters that expand": fill("\ufdfa"),
    "letters that expand, of other marks": fill("\ufdfa\u0323"),
    "marks": fill("\u0323\u0301", "a"),
    "marks in an order that is none": fill("\u0301\u0323", "a"),
    "few marks at a time": fill("a" + "\u0301\u0323" * 15),
    "invisible characters": fill("\u200b", "a", "b"),
    "fillers": fill("\u3164"),
    "dots and spaces": fill(". ", "a"),
    "wide letters": fill("\uff21"),
    "syllables": fill("\u1100\u1161\u11a8"),
    "ligatures": fill("\ufb03"),
    "dotless letters": fill("\U0001d6a4"),
    "sharp s": fill("\u1e9e"),
    "percent signs": fill("%"),
    "dots in one": fill("\u2026"),
    "Greek with iota": fill("\u1fb7"),
    "marks that compatibility makes": fill("\u0344", "a"),
    "marks that are spaces then": fill("\u00b4"),
    "half-wide marks": fill("\uff9e", "a"),
}


def read_name(name):
    lease_names.folded(name)
    lease_names.lenient_form(name)
    lease_names.has_one_reading(name)
    lease_names.has_one_reading(name, in_any_case=True)


NAMING = [
    *(
        Row(
            "policy.lease_path",
            f"read again: {shape}",
            make,
            lease_path.climbs_when_read_again,
            PATH_SIZES,
        )
        for shape, make in READINGS.items()
    ),
    *(
        Row("wire.lease_names", f"forms of {shape}", make, read_name)
        for shape, make in FORMS.items()
    ),
]

# Answers.

LINKS = {
    "commas": fill(b","),
    "spaces": fill(b" ", b"<a>"),
    "targets": fill(b"</a>,"),
    "a target": fill(b"a", b"<", b">"),
    "a target without an end": fill(b"a", b"<"),
    "targets that climb": fill(b"/..", b"<", b">"),
    "semicolons": fill(b";", b"<a>"),
    "spaces and semicolons": fill(b" ;", b"<a>"),
    "parameters": fill(b";a=b", b"<a>"),
    "anchors": fill(b';anchor="/a"', b"<a>"),
    "quoted characters": fill(b"\\a", b'<a>;a="', b'"'),
    "a string without an end": fill(b"\\a", b'<a>;a="'),
    "strings without an end": fill(b'"', b"<a>;a="),
    "equals signs": fill(b"=", b"<a>;a"),
    "a long name": fill(b"a", b"<a>;", b'"'),
}

DOMAINS = {
    "semicolons": fill(b";", b"a=b"),
    "domains": fill(b";domain=example", b"a=b"),
    "domains of this host": fill(b";domain=a.gw.example", b"a=b"),
    "a domain of dots": fill(b".", b"a=b;domain="),
    "spaces": fill(b" ", b"a=b;domain=", b"x"),
    "equals signs": fill(b"=", b"a=b;"),
}

ANSWERS = [
    *(
        Row("policy.rewriting", f"Link: {shape}", make, VIEW.link, VALUE_SIZES)
        for shape, make in LINKS.items()
    ),
    *(
        Row(
            "policy.rewriting",
            f"Set-Cookie of a host: {shape}",
            make,
            lambda value: rewriting.cookie_of_host(value, b"a.gw.example:8443"),
            VALUE_SIZES,
        )
        for shape, make in DOMAINS.items()
    ),
]

ROWS = [*FIELDS, *METHODS, *SMALL, *NAMING, *ANSWERS]
