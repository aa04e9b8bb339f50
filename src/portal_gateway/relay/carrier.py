"""The seam between a multiplexed connection and what carries it."""

from typing import Protocol

from twisted.internet.interfaces import IAddress

from portal_gateway.relay.lost import RelayLost

__all__ = ["Carrier", "Receiver"]


class Carrier(Protocol):
    """What a connection needs of whatever carries it."""

    def send_message(self, data: bytes) -> None:
        """Send ``data`` as one message; dropped when the carrier is closing."""

    def close(self, *, fault: bool = False) -> None:
        """Close in good order, within a bounded time; ``fault`` tells the peer it is to blame."""

    def abort(self) -> None:
        """End at once, without a farewell."""

    def pause_reading(self) -> None:
        """Read nothing more from the peer until ``resume_reading``."""

    def resume_reading(self) -> None:
        """Read again."""

    @property
    def peer_address(self) -> IAddress:
        """Where the carrier leads."""


class Receiver(Protocol):
    """What a carrier calls: a connection."""

    def bytes_received(self, data: bytes) -> None:
        """The next bytes of the stream, all that one read brought."""

    def pause_sending(self) -> None:
        """The carrier's send buffer is full: send nothing until ``resume_sending``."""

    def resume_sending(self) -> None:
        """The send buffer is empty again."""

    def carrier_lost(self, lost: RelayLost) -> None:
        """Nothing more comes or goes. Called once."""

    def carrier_gone(self) -> None:
        """The transport below is closed too. Called once, after ``carrier_lost``."""
