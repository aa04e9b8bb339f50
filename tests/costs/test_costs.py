"""What the table of costs covers, that it finds what it is for, and bounds that are no growth."""

import time
from pathlib import Path

import pytest

import portal_gateway
from portal_gateway.policy import key_cache, token_bucket
from portal_gateway.policy.credentials import UNKNOWN_KEY
from portal_gateway.policy.key_cache import KeyCache
from portal_gateway.wire.http1_response import MAX_RESPONSE_FIELDS
from portal_gateway.wire.http2_header_blocks import HeaderEncoder
from tests.costs import (
    guard_rows,
    log_rows,
    other_rows,
    policy_rows,
    waiting_rows,
    wire_rows,
)
from tests.costs.measuring import GROWTH, Row, check, growth

LEFT_OUT = {
    "wire.errors": "only names errors",
    "wire.limits": "only has numbers",
    "wire.portal_pb2": "is generated; `wire.messages` and `wire.packets` call it",
    "wire.handshake": "reads one message, of `MAX_HANDSHAKE` bytes; `wire.secure_channel` calls it",
    "wire.yamux_events": "only names events",
    "wire.yamux_flood": "counts; `wire.yamux_receiver` calls it for each frame",
    "wire.yamux_frames": "has numbers, and packs three of them",
    "wire.yamux_ids": "compares numbers; `wire.yamux_receiver` calls it for each stream",
    "wire.yamux_stream": "has the states of one stream",
    "policy.failed_attempts": "takes an address; its buckets are those of `policy.token_bucket`",
    "policy.lease_settings": "looks names up in sets of the configuration",
    "policy.origin_policies": "only has names of fields",
    "policy.quota_counts": "adds numbers",
    "policy.quota_spans": "takes a time",
    "policy.quota_words": "words two numbers",
    "policy.quotas": "looks keys up in what the configuration has",
    "policy.rate_limits": "looks keys and names up; `policy.lease_patterns` does the work",
    "policy.request_limits": "words three limits",
    "policy.whoami": "words what is known of one key",
}
"""Modules of the pure packages without a row, and why."""

ROWS = [
    row
    for rows in (wire_rows, policy_rows, guard_rows, other_rows, log_rows, waiting_rows)
    for row in rows.ROWS
]


def test_every_module_that_reads_what_strangers_send_has_a_row():
    package = Path(portal_gateway.__file__).parent
    modules = {
        f"{folder}.{path.stem}"
        for folder in ("wire", "policy")
        for path in (package / folder).glob("*.py")
        if path.stem != "__init__"
    }
    covered = {row.module for row in ROWS}
    assert modules - covered == set(LEFT_OUT)
    assert {module for module in covered if module.startswith(("wire.", "policy."))} <= modules


def test_rows_are_told_apart_and_have_decades():
    assert all(
        big == 10 * small
        for row in ROWS
        for small, big in zip(row.sizes, row.sizes[1:], strict=False)
    )
    assert all(len(row.sizes) > 1 for row in ROWS)


def test_what_grows_with_the_square_is_found():
    def square(data):
        for _ in range(len(data) // 100):
            data = data[1:]

    row = Row("none", "a copy for each byte", lambda size: b"x" * size, square)
    with pytest.raises(AssertionError, match="a copy for each byte: microseconds"):
        check(row)
    most, times = growth(row)
    assert most > GROWTH
    assert len(times) == 3


@pytest.mark.parametrize(
    "headers",
    [
        [(b"x-a", b"~" * 65_536)],
        [(b"link", b"<%s>" % (b"~" * 65_536))],
        [(b"x-%d" % n, b"~" * 320) for n in range(MAX_RESPONSE_FIELDS)],
        [(b"set-cookie", b"~" * 320)] * MAX_RESPONSE_FIELDS,
    ],
)
def test_64_kb_of_a_head_are_encoded_in_a_millisecond(headers):
    def measured():
        encoder = HeaderEncoder()
        start = time.process_time()
        encoder.encode(headers)
        return time.process_time() - start

    assert min(measured() for _ in range(10)) <= 0.001


def learn_keys(cache, first, count):
    start = time.process_time()
    for number in range(first, first + count):
        cache.learn(b"%032d" % number, UNKNOWN_KEY, 0.0)
    return (time.process_time() - start) / count


def test_a_stranger_s_key_costs_no_more_where_the_cache_is_full_of_them():
    cache = KeyCache(300.0)
    most = key_cache.MOST_UNKNOWN
    filling = learn_keys(cache, 0, most)
    assert len(cache) == most
    full = min(learn_keys(cache, most * turn, most // 2) for turn in (2, 3, 4))
    assert len(cache) == most
    assert full < 5 * filling


def test_a_bucket_costs_no_more_where_the_table_is_full_of_them():
    table = token_bucket.BucketTable(20_000)
    rate = token_bucket.Rate.of(1, 1000, 1)

    def taken(first, count):
        start = time.process_time()
        for number in range(first, first + count):
            token_bucket.take((token_bucket.Bucket(table, f"k{number}", rate),), 1)
        return (time.process_time() - start) / count

    filling = taken(0, 20_000)
    full = min(taken(20_000 * turn, 20_000) for turn in (2, 3, 4))
    assert len(table) == 20_000
    assert full < 8 * filling
