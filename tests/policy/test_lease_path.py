"""Which lease a path names: one reading, or a refusal."""

from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal_gateway.errors import GatewayError
from portal_gateway.policy.lease_path import (
    MAX_LEASE_SEGMENT,
    PeerPath,
    climbs_when_read_again,
    split_peer_path,
)

READ = [
    (b"/peer/agent/", "agent", b"/"),
    (b"/peer/agent/a/b?c=d", "agent", b"/a/b?c=d"),
    (b"/peer/agent//a", "agent", b"//a"),
    (b"/peer/agent/?", "agent", b"/?"),
    (b"/peer/agent/a%2Fb", "agent", b"/a%2Fb"),
    (b"/peer/agent/a%2fb%5Cc", "agent", b"/a%2fb%5Cc"),
    (b"/peer/agent/?q=%0D%0A&p=../..", "agent", b"/?q=%0D%0A&p=../.."),
    (b"/peer/agent/a/../b", "agent", b"/a/../b"),
    (b"/peer/agent/a/%2e%2e/b", "agent", b"/a/%2e%2e/b"),
    (b"/peer/agent/./a", "agent", b"/./a"),
    (b"/peer/agent/...", "agent", b"/..."),
    (b"/peer/agent/..a/.a./a..", "agent", b"/..a/.a./a.."),
    (b"/peer/agent/%252e%252e/", "agent", b"/%252e%252e/"),
    (b"/peer/agent/x?y#".replace(b"#", b"%23"), "agent", b"/x?y%23"),
    (b"/peer/%ED%95%9C%EA%B8%80/", "한글", b"/"),
    (b"/peer/%61gent/", "agent", b"/"),
    (b"/peer/a%20b/", "a b", b"/"),
    (b"/peer/a.b/", "a.b", b"/"),
    (b"/peer/...a/", "...a", b"/"),
    (b"/peer/a:80/", "a:80", b"/"),
    (b"/peer/%2541/", "%41", b"/"),
]

REFUSED = [
    (b"/peer", "not_found"),
    (b"/peer/", "not_found"),
    (b"/peer//x", "not_found"),
    (b"/peer/?x", "not_found"),
    (b"/%70eer/agent/", "not_found"),
    (b"/PEER/agent/", "not_found"),
    (b"//peer/agent/", "not_found"),
    (b"*", "not_found"),
    (b"/peer/./x", "invalid_path"),
    (b"/peer/../x", "invalid_path"),
    (b"/peer/%2e%2E/x", "invalid_path"),
    (b"/peer/.%2e/x", "invalid_path"),
    (b"/peer/..;a=b/x", "invalid_path"),
    (b"/peer/a%2fb/", "invalid_path"),
    (b"/peer/a%5Cb/", "invalid_path"),
    (b"/peer/a\\b/", "invalid_path"),
    (b"/peer/a%00/", "invalid_path"),
    (b"/peer/a%0a/", "invalid_path"),
    (b"/peer/a%7f/", "invalid_path"),
    (b"/peer/a%/", "invalid_path"),
    (b"/peer/a%4/", "invalid_path"),
    (b"/peer/a%zz/", "invalid_path"),
    (b"/peer/%ff%fe/", "invalid_path"),
    (b"/peer/%c0%ae%c0%ae/", "invalid_path"),
    ("/peer/a\u200b/".encode(), "invalid_path"),
    ("/peer/a\u202eb/".encode(), "invalid_path"),
    (b"/peer/" + b"a" * (MAX_LEASE_SEGMENT + 1) + b"/", "invalid_path"),
    (b"/peer/agent/..", "invalid_path"),
    (b"/peer/agent/../other/", "invalid_path"),
    (b"/peer/agent/a/../../other/", "invalid_path"),
    (b"/peer/agent/%2e%2e/other/", "invalid_path"),
    (b"/peer/agent/.%2E;x/other/", "invalid_path"),
    (b"/peer/agent/..;/other/", "invalid_path"),
    (b"/peer/agent/a%2f..%2f..%2fother", "invalid_path"),
    (b"/peer/agent/..%5cother", "invalid_path"),
    (b"/peer/agent/a%2fb/../../../", "invalid_path"),
    (b"/peer/agent/a%2fb/../..", "invalid_path"),
    (b"/peer/agent//../x/../..", "invalid_path"),
    (b"/peer/agent/%00", "invalid_path"),
    (b"/peer/agent/%1f", "invalid_path"),
    (b"/peer/agent/a\\b", "invalid_path"),
    (b"/peer/agent/#x", "invalid_path"),
    (b"/peer/agent/?x#y", "invalid_path"),
    (b"/peer/agent/?x\\y", "invalid_path"),
    (b"/peer/agent/a\x01", "invalid_path"),
]


@pytest.mark.parametrize(("target", "lease", "upstream"), READ)
def test_a_path_with_one_reading_names_its_lease_and_goes_up_untouched(target, lease, upstream):
    found = split_peer_path(target)
    assert isinstance(found, PeerPath), found
    assert (found.lease, found.target) == (lease, upstream)


@pytest.mark.parametrize(("target", "code"), REFUSED)
def test_a_path_with_more_than_one_reading_is_refused(target, code):
    refusal = split_peer_path(target)
    assert isinstance(refusal, GatewayError), refusal
    assert refusal.cause.code == code


@pytest.mark.parametrize("query", [b"", b"?", b"?a=b/../.."])
def test_a_path_that_ends_at_the_lease_is_to_be_redirected(query):
    found = split_peer_path(b"/peer/%61gent" + query)
    assert isinstance(found, PeerPath)
    assert (found.lease, found.raw_lease, found.target) == ("agent", b"%61gent", None)


@given(st.binary(max_size=60))
def test_no_bytes_make_it_fail_and_what_goes_up_is_what_came(tail):
    found = split_peer_path(b"/peer/" + tail)
    if isinstance(found, PeerPath) and found.target is not None:
        assert b"/peer/" + found.raw_lease + found.target == b"/peer/" + tail


SEGMENTS = st.sampled_from(
    [b"", b"a", b".", b"..", b"%2e%2e", b".%2E", b"..;x", b"b%2fc", b"%2f..", b"..%5c..", b"a;b"]
)


@given(st.lists(SEGMENTS, max_size=8))
def test_nothing_that_goes_up_climbs_for_a_reader_who_decodes_and_merges(segments):
    found = split_peer_path(b"/peer/agent/" + b"/".join(segments))
    if isinstance(found, GatewayError):
        assert found.cause.code == "invalid_path"
        return
    assert found.target is not None
    text = found.target.lower().replace(b"%2f", b"/").replace(b"%5c", b"/").replace(b"%2e", b".")
    depth = 0
    for segment in text.split(b"/"):
        name = segment.partition(b";")[0]
        depth += {b"": 0, b".": 0, b"..": -1}.get(name, 1)
        assert depth >= 0


@pytest.mark.parametrize(
    ("target", "climbs"),
    [
        (b"/", False),
        (b"/%252e%252e/x", True),
        (b"/..%252fx", True),
        (b"/%25252e%25252e/x", True),
        (b"/%2525252525252e./x", True),
        (b"/%c0%ae%c0%ae/x", True),
        (b"/%e0%80%ae./x", True),
        (b"/%ef%bc%8e%ef%bc%8e/x", True),
        ("/\u2025/x".encode(), True),
        (b"/%ef%bc%85%32e%ef%bc%85%32e/x", True),
        (b"/%2%65%2%65/x", True),
        (b"/..%255cx", True),
        (b"/%252e%252e;a/x", True),
        (b"/%252e%252e%2520/x", True),
        (b"/%252e%252e%2500/x", True),
        # Steps that only a second decoding takes away or adds.
        (b"/%252e/../x", True),
        (b"/%252f/../x", True),
        (b"/a/%252e%252e/x", True),
        (b"/" + b"%" * 4 + b"32%35" * 4 + b"2e", False),
        # Nothing of that.
        (b"/a/../x", False),
        (b"/a%252fb/%253f", False),
        (b"/100%25", False),
        (b"/%ed%95%9c/a.b", False),
        (b"/%2525252525", False),
        (b"/x?..%252f%252e%252e", False),
    ],
)
def test_what_climbs_when_it_is_decoded_again(target, climbs):
    assert climbs_when_read_again(target) == climbs


@given(
    st.lists(st.sampled_from([b".", b"%2e", b"%252e", b"/", b"%2f", b"%252f", b"a", b"%", b"25"]))
)
def test_no_reader_who_decodes_to_the_end_climbs(parts):
    path = b"/" + b"".join(parts)
    if isinstance(split_peer_path(b"/peer/x" + path), GatewayError) or climbs_when_read_again(path):
        return
    for _ in range(6):
        path = unquote_to_bytes(path)
        depth = 0
        for segment in path.split(b"/"):
            depth += {b"..": -1, b".": 0, b"": 0}.get(segment, 1)
            assert depth >= 0
