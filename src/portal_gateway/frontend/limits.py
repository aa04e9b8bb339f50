"""What one client may cost: the limits of a connection."""

from dataclasses import dataclass

from portal_gateway.wire.http1_request import RequestLimits

__all__ = ["LIMIT_NAMES", "ChannelLimits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelLimits(RequestLimits):
    """The limits of `RequestLimits`, and those in time and number. Times are seconds.

    ``handshake_timeout``: from the connection to the end of its TLS handshake.
    ``header_timeout``: from the connection, or from the first byte of a later request, to the end
    of its header, however slowly it trickles (408). ``idle_timeout``: a connection without a
    request. ``body_rate``: bytes a second that a body has to bring on average over each
    ``body_rate_window`` in which it is being read (408). ``write_stall``: the client has to take
    what waits for it, at most 128 KiB, in this time. ``connections``: open ones in all,
    ``connections_per_address``: from one address, None for no limit; what comes above is dropped
    at once.
    """

    handshake_timeout: float = 10.0
    header_timeout: float = 10.0
    idle_timeout: float = 75.0
    body_rate: int = 500
    body_rate_window: float = 10.0
    write_stall: float = 30.0
    connections: int = 10_000
    connections_per_address: int | None = 2_000


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
    "http2_abuse",
)
"""What is counted: each limit under its parameter's name, and HTTP/2 connections that were ended
for what they sent (`portal_gateway.wire.http2_patience`)."""
