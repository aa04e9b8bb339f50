"""What one client may cost: the limits of a connection."""

from dataclasses import dataclass
from typing import Final

from portal_gateway.wire.http1_request import RequestLimits
from portal_gateway.wire.http2_patience import MAX_RESETS, TOKENS

__all__ = [
    "LIMIT_NAMES",
    "MAX_HINTS",
    "MAX_HINT_BYTES",
    "OTHER_LIMIT_NAMES",
    "ChannelLimits",
]

MAX_HINTS: Final = 16
"""Informational responses of a lease that one request's client gets. A page has one or two 103; a
102 each 20 s, as RFC 2518 has it, is five minutes of work."""

MAX_HINT_BYTES: Final = 16 * 1024
"""Bytes of the ``Link`` fields in them, together. Browsers act on some 8 KB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelLimits(RequestLimits):
    """The limits of `RequestLimits`, and those in time and number. Times are seconds.

    ``handshake_timeout``: from the connection to the end of its TLS handshake.
    ``header_timeout``: from the connection, or from the first byte of a later request, to the end
    of its header, however slowly it trickles (408). ``idle_timeout``: a connection without a
    request. ``body_rate``: bytes a second that a body has to bring on average over each
    ``body_rate_window`` in which it is being read (408). ``write_stall``: the client has to take
    what waits for it, at most 128 KiB, in this time. ``connections``: open ones in all, where an
    idle one may make room; ``connections_per_address``: from one network, None for no limit; what
    comes above is dropped at once. ``http2_idle_frames``: frames in a row that carry nothing,
    ``http2_resets``: streams of one connection that are reset by the client or for what it did
    (`Patience`). ``informational``: 1xx of a lease that the client gets for one request; what comes
    above is dropped.
    """

    handshake_timeout: float = 10.0
    header_timeout: float = 10.0
    idle_timeout: float = 75.0
    body_rate: int = 500
    body_rate_window: float = 10.0
    write_stall: float = 30.0
    connections: int = 10_000
    connections_per_address: int | None = 2_000
    http2_idle_frames: int = TOKENS
    http2_resets: int = MAX_RESETS
    informational: int = MAX_HINTS


LIMIT_NAMES = (
    "request_line",
    "header",
    "fields",
    "body",
    "handshake_timeout",
    "header_timeout",
    "idle_timeout",
    "body_rate",
    "write_stall",
    "connections",
    "connections_per_address",
    "http2_idle_frames",
    "http2_resets",
    "informational",
)
"""The limits whose hits are counted, each under its parameter's name; `MAX_HINT_BYTES` counts as
``informational``, too."""

OTHER_LIMIT_NAMES = (
    "http1_turn",
    "http2_turn",
    "trailers",
    "underscore_fields",
    "websocket_messages",
    "websocket_size",
    "websocket_turn",
)
"""Further names in ``limit_hits``: the requests of one connection in one turn of the reactor;
fields and trailers of requests that no lease gets; the rate of a WebSocket's frames, the size of a
message or frame, and the work of one end of a WebSocket in one turn."""
