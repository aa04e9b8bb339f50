"""What a WebSocket's opening handshake asks for, judged before anything is dialled (RFC 6455).

Only what concerns the gateway is read: that it is one, that its version and key are right, and
which subprotocols and compression are offered. The rest is between client and lease.
"""

import re
from binascii import Error as NotBase64
from binascii import a2b_base64
from typing import NamedTuple

from portal_gateway.errors import GatewayError, fault
from portal_gateway.policy.credentials import SUBPROTOCOL_KEY_PREFIX
from portal_gateway.wire.http1_request import RequestHead
from portal_gateway.wire.http_fields import list_members

__all__ = [
    "MAX_SUBPROTOCOLS",
    "UPGRADE_FIELDS",
    "WEBSOCKET_FIELDS",
    "Opening",
    "chosen_subprotocol",
    "read_opening",
    "wants_websocket",
]

MAX_SUBPROTOCOLS = 32
"""Subprotocols of one offer: ten times what any client offers, and little to compare."""

WEBSOCKET_FIELDS = frozenset(
    {
        b"sec-websocket-accept",
        b"sec-websocket-extensions",
        b"sec-websocket-key",
        b"sec-websocket-protocol",
        b"sec-websocket-version",
    }
)
"""Fields of the opening handshake, which each of the two WebSockets has for itself."""

UPGRADE_FIELDS = ((b"Upgrade", b"websocket"), (b"Connection", b"Upgrade"))
"""What a 426 says is spoken instead (RFC 9110 section 15.5.22)."""

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")

_VERSION = b"13"
_KEY_LENGTH = 16
_MAX_KEY_TEXT = 24


class Opening(NamedTuple):
    """A valid opening handshake.

    ``key`` is its ``Sec-WebSocket-Key``; ``subprotocols`` are those for the lease, in their order;
    ``key_subprotocol`` the one that carried the API key; ``extensions`` the offered extensions.
    """

    key: bytes
    subprotocols: tuple[bytes, ...]
    key_subprotocol: bytes | None
    extensions: bytes


def wants_websocket(head: RequestHead) -> bool:
    """Whether a request asks for the WebSocket protocol; whether it does so correctly is open.

    A server may ignore ``Upgrade`` (RFC 9110 section 7.8): in HTTP/1.0, or for another protocol, it
    is not seen.
    """
    if b"upgrade" not in head.index or head.version != b"1.1":
        return False
    return b"websocket" in list_members(head.values(b"upgrade"))


def read_opening(head: RequestHead) -> Opening | GatewayError:
    """What an opening handshake offers, or its refusal (RFC 6455 section 4.2.1)."""
    if head.method != b"GET":
        return fault("bad_request", "a WebSocket is opened with GET")
    if head.has_body:
        return fault("bad_request", "a request that opens a WebSocket has no body")
    if b"upgrade" not in list_members(head.values(b"connection")):
        return fault("bad_request", "Connection does not name Upgrade")
    versions = head.values(b"sec-websocket-version")
    if versions != [_VERSION]:
        fields = ((b"Sec-WebSocket-Version", _VERSION), *UPGRADE_FIELDS)
        return fault("upgrade_required", "only version 13 of WebSocket is spoken here", fields)
    keys = head.values(b"sec-websocket-key")
    if len(keys) != 1 or not _is_key(keys[0]):
        return fault("bad_request", "Sec-WebSocket-Key is not one base64 value of 16 bytes")
    offered = [
        part
        for value in head.values(b"sec-websocket-protocol")
        for member in value.split(b",")
        if (part := member.strip(b" \t"))
    ]
    if len(offered) > MAX_SUBPROTOCOLS:
        return fault("bad_request", f"more than {MAX_SUBPROTOCOLS} subprotocols are offered")
    if len(set(offered)) != len(offered) or not all(map(_TOKEN.fullmatch, offered)):
        return fault("bad_request", "Sec-WebSocket-Protocol is not a list of different tokens")
    carriers = [name for name in offered if name.startswith(SUBPROTOCOL_KEY_PREFIX)]
    return Opening(
        keys[0],
        tuple(name for name in offered if not name.startswith(SUBPROTOCOL_KEY_PREFIX)),
        carriers[0] if carriers else None,
        b", ".join(head.values(b"sec-websocket-extensions")),
    )


def chosen_subprotocol(opening: Opening, chosen: bytes | None) -> bytes | None:
    """The subprotocol of the answer to the client, when the lease chose ``chosen``.

    A browser drops a connection whose answer chooses none of what it offered. A client that offered
    nothing but its key would never get one: it has its own offer confirmed.
    """
    if chosen is None and not opening.subprotocols:
        return opening.key_subprotocol
    return chosen


def _is_key(text: bytes) -> bool:
    if len(text) != _MAX_KEY_TEXT:
        return False
    try:
        return len(a2b_base64(text, strict_mode=True)) == _KEY_LENGTH
    except NotBase64:
        return False
