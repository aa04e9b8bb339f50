"""The IP address of a connection's peer."""

from twisted.internet.interfaces import IAddress

from portal_gateway.wire.ip_addresses import unmapped_address

__all__ = ["client_host"]


def client_host(address: IAddress | None) -> str:
    """The address without its port, in one form; empty for the peer of a UNIX socket.

    A socket that takes both families has IPv4 clients as mapped addresses, which are the same
    clients to limits, lists of addresses and logs.
    """
    host = getattr(address, "host", "")
    return unmapped_address(host) if isinstance(host, str) else ""
