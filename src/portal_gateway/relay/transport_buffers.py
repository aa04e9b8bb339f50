"""How much a transport holds: for streams less than for the rest, since there may be many."""

from typing import Any

__all__ = ["set_buffer_size"]


def set_buffer_size(transport: Any, size: int | None) -> None:
    """Set what a transport reads at once, and how much it takes before it asks for a pause.

    ``None`` gives it its own value back. Twisted's transports of sockets have one attribute for
    both; those of TLS have the socket's below them. A relay stream has windows instead, and is left
    alone.
    """
    while (below := getattr(transport, "transport", None)) is not None:
        transport = below
    if hasattr(type(transport), "bufferSize"):
        if size is not None:
            transport.bufferSize = size
        else:
            vars(transport).pop("bufferSize", None)
