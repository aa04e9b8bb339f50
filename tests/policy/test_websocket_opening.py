"""Openings are judged by their head alone."""

import pytest

from portal_gateway.errors import GatewayError
from portal_gateway.policy.websocket_opening import (
    MAX_SUBPROTOCOLS,
    Opening,
    chosen_subprotocol,
    read_opening,
    wants_websocket,
)
from portal_gateway.wire.http1_request import RequestReader

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
FIELDS = {
    b"Host": b"h",
    b"Upgrade": b"websocket",
    b"Connection": b"Upgrade",
    b"Sec-WebSocket-Version": b"13",
    b"Sec-WebSocket-Key": KEY,
}


class Heads:
    def __init__(self):
        self.head = None

    def request_head(self, head):
        self.head = head

    def request_data(self, data):
        pass

    def request_end(self, trailers):
        pass


def head(*more, first=b"GET / HTTP/1.1", **replaced):
    named = {**FIELDS, **{name.encode().replace(b"_", b"-"): v for name, v in replaced.items()}}
    lines = [b"%b: %b" % item for item in named.items() if item[1] is not None]
    heads = Heads()
    RequestReader(heads).receive_data(b"\r\n".join([first, *lines, *more, b"", b""]))
    return heads.head


def test_a_plain_opening():
    assert wants_websocket(head())
    assert read_opening(head()) == Opening(KEY, (), None, b"")


def test_lists_may_be_spread_over_fields():
    opening = read_opening(
        head(
            b"Sec-WebSocket-Protocol: a,, b",
            b"Sec-WebSocket-Protocol: portal-key.x,c",
            b"Sec-WebSocket-Extensions: x",
            b"Sec-WebSocket-Extensions: y; z",
        )
    )
    assert opening == Opening(KEY, (b"a", b"b", b"c"), b"portal-key.x", b"x, y; z")


@pytest.mark.parametrize("upgrade", [None, b"h2c", b"websockets", b"websocket/13"])
def test_other_upgrades_are_not_seen(upgrade):
    assert not wants_websocket(head(Upgrade=upgrade))


def test_http_1_0_has_no_upgrade():
    assert not wants_websocket(head(first=b"GET / HTTP/1.0"))


@pytest.mark.parametrize(
    ("code", "given"),
    [
        ("bad_request", head(first=b"POST / HTTP/1.1")),
        ("bad_request", head(b"Content-Length: 3")),
        ("bad_request", head(b"Transfer-Encoding: chunked")),
        ("bad_request", head(Connection=b"keep-alive")),
        ("upgrade_required", head(Sec_WebSocket_Version=b"8")),
        ("upgrade_required", head(b"Sec-WebSocket-Version: 13")),
        ("bad_request", head(Sec_WebSocket_Key=b"A" * 24)),
        ("bad_request", head(Sec_WebSocket_Key=KEY[:-1])),
        ("bad_request", head(b"Sec-WebSocket-Protocol: a", b"Sec-WebSocket-Protocol: a")),
        ("bad_request", head(b"Sec-WebSocket-Protocol: a/b")),
    ],
)
def test_a_faulty_one_is_refused(code, given):
    refusal = read_opening(given)
    assert isinstance(refusal, GatewayError)
    assert refusal.cause.code == code


def test_the_number_of_subprotocols_is_bounded():
    names = [b"p%d" % i for i in range(MAX_SUBPROTOCOLS)]
    good = read_opening(head(b"Sec-WebSocket-Protocol: " + b",".join(names)))
    assert good.subprotocols == tuple(names)
    refusal = read_opening(head(b"Sec-WebSocket-Protocol: x," + b",".join(names)))
    assert isinstance(refusal, GatewayError)


@pytest.mark.parametrize(
    ("subprotocols", "carrier", "chosen", "answered"),
    [
        ((), None, None, None),
        ((b"a",), None, b"a", b"a"),
        ((b"a",), b"portal-key.x", None, None),
        ((b"a",), b"portal-key.x", b"a", b"a"),
        ((), b"portal-key.x", None, b"portal-key.x"),
    ],
)
def test_the_key_is_confirmed_only_where_nothing_else_was_offered(
    subprotocols, carrier, chosen, answered
):
    assert chosen_subprotocol(Opening(KEY, subprotocols, carrier, b""), chosen) == answered
