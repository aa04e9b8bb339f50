"""The worst shapes for what judges the fields, trailers and hosts of requests."""

from contextlib import suppress

from portal_gateway.policy import request_fields
from portal_gateway.policy.local_hosts import LocalHosts
from portal_gateway.wire import field_names, max_forwards, method_overrides, proxy_header, trailers
from tests.costs.measuring import Row
from tests.costs.wire_rows import fill

__all__ = ["ROWS"]

HOSTS = LocalHosts([])


def fields(size):
    """Fields of other names each, with a mark that is judged."""
    return [(b"x_%d" % number, b"y") for number in range(size // 8)]


def claims(size):
    return [(b"X-Forwarded-%d" % number, b"y") for number in range(size // 16)]


def index_of(size):
    # As many names as are remembered at once would measure the memory, not the judgement.
    return {b"x" * (65 + number % 2) + b"%d" % number: b"y" for number in range(size // 68)}


def head(query):
    return b"GET /?" + query + b" HTTP/1.1\r\nHost: h\r\n\r\n"


def repeated(query):
    return method_overrides.may_be_repeated(head(query))


def forwards(value):
    with suppress(max_forwards.BadMaxForwards):
        max_forwards.remaining_forwards([value])


def proxied(data):
    with suppress(proxy_header.BadProxyHeader):
        proxy_header.read_proxy_header(data)


QUERIES = {
    "one long name": fill(b"a", b"_method"),
    "one long value": fill(b"a", b"method="),
    "many parameters": fill(b"_metho=D&"),
    "many empty parameters": fill(b"&"),
    "semicolons": fill(b"_metho=D;"),
    "percent": fill(b"%"),
    "percent of percent": fill(b"%25", b"_method"),
    "NUL": fill(b"%00", b"_metho"),
    "brackets": fill(b"[", b"_metho"),
    "overlong": fill(b"%c1%9f"),
    "UTF-16": fill(b"%u005f"),
    "dots and spaces": fill(b".+", b"", b"_metho=D"),
}

ROWS = [
    *(
        Row(
            "wire.method_overrides",
            f"query of {shape}",
            make,
            method_overrides.query_names_a_method,
        )
        for shape, make in QUERIES.items()
    ),
    *(
        Row(
            "wire.method_overrides", f"values of {shape}", make, method_overrides.query_has_a_method
        )
        for shape, make in QUERIES.items()
    ),
    *(
        Row("wire.method_overrides", f"repeat of {shape}", make, repeated)
        for shape, make in QUERIES.items()
    ),
    Row(
        "wire.method_overrides",
        "many names",
        lambda size: [name for name, _ in fields(size)],
        method_overrides.fields_name_a_method,
    ),
    Row("wire.max_forwards", "digits", fill(b"9"), forwards),
    Row("wire.max_forwards", "zeros", fill(b"0"), forwards),
    Row("wire.proxy_header", "one line", fill(b"1", b"PROXY TCP4 "), proxied),
    Row("wire.proxy_header", "version 2", fill(b"\xff", b"\r\n\r\n\0\r\nQUIT\n!\x11"), proxied),
    Row("wire.field_names", "many names", fields, field_names.plain_only),
    Row("wire.field_names", "a long name", fill(b"_"), field_names.folded_name),
    Row("wire.trailers", "of a request", fields, trailers.request_trailers),
    Row("wire.trailers", "of an answer", fields, trailers.response_trailers),
    Row(
        "wire.trailers",
        "an announcement",
        fill(b"x_y, "),
        lambda value: trailers.announced_trailers(value, trailers.is_response_trailer),
    ),
    Row("policy.request_fields", "many names", index_of, request_fields.are_harmless),
    Row(
        "policy.request_fields",
        "dropped",
        fields,
        lambda headers: request_fields.without_underscores(headers, "drop"),
    ),
    Row(
        "policy.request_fields",
        "claims",
        claims,
        lambda headers: request_fields.without_claims(headers, trusted=False),
    ),
    Row("policy.local_hosts", "labels", fill(b"a.", b"", b"localhost"), HOSTS.includes),
    Row("policy.local_hosts", "brackets and colons", fill(b"[:"), HOSTS.includes),
    Row("policy.local_hosts", "digits", fill(b"1"), HOSTS.includes),
]
