"""The way to a host, by TCP."""

from ipaddress import ip_address
from typing import Any

from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.interfaces import IStreamClientEndpoint

__all__ = ["tcp_endpoint"]


def tcp_endpoint(reactor: Any, host: str, port: int) -> IStreamClientEndpoint:
    """The way to a host by TCP. An address literal needs no resolver, and names below
    ``localhost`` are this machine whatever a resolver knows (RFC 6761 section 6.3)."""
    try:
        version = ip_address(host).version
    except ValueError:
        name = host.removesuffix(".").lower()
        # As bytes: names that IDNA does not allow, such as those of containers, resolve as well.
        literal = b"localhost" if name.endswith(".localhost") else host.encode("ascii")
        return HostnameEndpoint(reactor, literal, port)
    if version == 4:
        return TCP4ClientEndpoint(reactor, host, port)
    return TCP6ClientEndpoint(reactor, host, port)
