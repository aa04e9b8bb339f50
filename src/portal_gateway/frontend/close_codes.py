"""Close codes of WebSocket (RFC 6455 section 7.4)."""

from typing import Final

from autobahn.websocket.protocol import WebSocketProtocol

__all__ = [
    "GOING_AWAY",
    "INTERNAL_ERROR",
    "INVALID_PAYLOAD",
    "POLICY_VIOLATION",
    "PROTOCOL_ERROR",
    "REASONS",
    "TOO_BIG",
    "may_be_sent",
]

GOING_AWAY: Final = 1001
PROTOCOL_ERROR: Final = 1002
INVALID_PAYLOAD: Final = 1007
POLICY_VIOLATION: Final = 1008
TOO_BIG: Final = 1009
INTERNAL_ERROR: Final = 1011

REASONS: Final = {
    PROTOCOL_ERROR: "The WebSocket protocol was broken",
    INVALID_PAYLOAD: "The payload is not what it should be",
    TOO_BIG: "The message is too big",
}
"""What a peer is told with the code of its fault."""

_ALLOWED_CODES = frozenset(WebSocketProtocol.CLOSE_STATUS_CODES_ALLOWED) | {1014}
"""Codes below 3000 that a close frame may have, and IANA's 1014, which came later."""

_FIRST_CODE, _FIRST_FREE_CODE, _AFTER_LAST_CODE = 1000, 3000, 5000


def may_be_sent(code: int) -> bool:
    """Whether a close frame may have this code; 1005, 1006 and 1015 only stand for none."""
    if code < _FIRST_FREE_CODE:
        return code >= _FIRST_CODE and code in _ALLOWED_CODES
    return code < _AFTER_LAST_CODE
