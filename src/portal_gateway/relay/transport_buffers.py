"""How much a transport holds: for streams less than for the rest, since there may be many."""

import socket
from typing import Any, Final

__all__ = ["UNSENT", "limit_unsent", "lowest_transport", "set_buffer_size"]

UNSENT: Final = 128 * 1024
"""Bytes that the system takes before the peer has room for them.

Left alone it takes megabytes, and a response that nobody reads looks sent: no write stall ends it.
"""


def lowest_transport(transport: Any) -> Any:
    """The transport at the bottom: below TLS, the socket's."""
    while (below := getattr(transport, "transport", None)) is not None:
        transport = below
    return transport


def limit_unsent(transport: Any) -> None:
    """Have the system's send buffer of a TCP transport hold `UNSENT` at most, where it can."""
    option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
    handle = getattr(lowest_transport(transport), "socket", None)
    if (
        option is not None
        and isinstance(handle, socket.socket)
        and handle.family in {socket.AF_INET, socket.AF_INET6}
    ):
        handle.setsockopt(socket.IPPROTO_TCP, option, UNSENT)


def set_buffer_size(transport: Any, size: int | None) -> None:
    """Set what a transport reads at once, and how much it takes before it asks for a pause.

    ``None`` gives it its own value back. Twisted's transports of sockets have one attribute for
    both; those of TLS have the socket's below them. A relay stream has windows instead, and is left
    alone.
    """
    transport = lowest_transport(transport)
    if hasattr(type(transport), "bufferSize"):
        if size is not None:
            transport.bufferSize = size
        else:
            vars(transport).pop("bufferSize", None)
