"""The bridge of a WebSocket, as its two ends see it."""

from typing import TYPE_CHECKING, Protocol

from portal_gateway.errors import GatewayError

if TYPE_CHECKING:
    from portal_gateway.frontend.websocket_end import End

__all__ = ["Watcher"]


class Watcher(Protocol):
    """The bridge of an end: it hears what the peer did, and counts the limits that were met."""

    @property
    def request_id(self) -> str:
        """The id of the request that asked for the WebSocket."""

    def touched(self) -> None:
        """Something came."""

    def limit_hit(self, limit: str) -> None:
        """A limit was met."""

    def close_came(self, end: "End", code: int | None, reason: bytes) -> None:
        """A valid close frame; nothing more is read from this end."""

    def failed(self, end: "End", code: int, reason: str) -> None:
        """The peer of this end broke the protocol or a limit; nothing more is read."""

    def lease_gone(self, error: GatewayError | None) -> None:
        """The lease's stream has ended."""

    def shut_down(self) -> None:
        """The gateway is stopping."""
