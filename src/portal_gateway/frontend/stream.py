"""The seam between a request and how it goes over the wire, whatever the version of HTTP."""

from typing import Protocol

from twisted.internet.interfaces import IAddress, IPushProducer

from portal_gateway.wire.http_fields import Headers

__all__ = ["Stream"]


class Stream(Protocol):
    """One request's way through its connection."""

    client: IAddress
    server: IAddress
    is_secure: bool

    def send_continue(self) -> None:
        """Ask for the body (100)."""

    def send_informational(self, status: int, reason: bytes, headers: Headers) -> None:
        """Send a 1xx; dropped where the client's version has none."""

    def send_head(
        self, status: int, reason: bytes, headers: Headers, length: int | None, *, has_body: bool
    ) -> None:
        """Send the head. ``length`` is what is announced, ``has_body`` whether bytes follow it.

        Framing fields and connection options are the stream's; those among ``headers`` are left
        out, but a ``Connection: close`` there is obeyed. Raises UnsafeField.
        """

    def take_back_head(self) -> bool:
        """Forget the head, and what was sent of the body behind it, if none of it has left.

        Returns whether another head may be sent now.
        """

    def send_data(self, data: bytes) -> None:
        """Send a part of the body, never empty."""

    def send_end(self, trailers: Headers) -> None:
        """The response is complete; nothing more is sent for this request."""

    def response_recorded(self) -> None:
        """The exchange has been told that it is over: go on with the next request, or close."""

    def abort(self) -> None:
        """End so that the client can see that it is no clean end."""

    def pause_reading(self) -> None:
        """Read no more of the body for now."""

    def resume_reading(self) -> None:
        """Read on."""

    def register_producer(self, producer: IPushProducer) -> None:
        """Pause and resume ``producer`` as the client takes data, until the response is over."""

    def unregister_producer(self) -> None:
        """There is nothing to pause any more."""
