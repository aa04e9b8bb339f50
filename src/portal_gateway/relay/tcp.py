"""The way to a host, by TCP."""

from ipaddress import ip_address
from typing import Any

from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.interfaces import (
    IHostnameResolver,
    IReactorPluggableNameResolver,
    IStreamClientEndpoint,
)
from zope.interface import implementer

__all__ = ["resolved_name", "tcp_endpoint"]


def resolved_name(host: str) -> str:
    """The name that a resolver is asked for on the way to ``host``.

    Names below ``localhost`` are this machine whatever a resolver knows (RFC 6761 section 6.3).
    """
    name = host.removesuffix(".").lower()
    return "localhost" if name.endswith(".localhost") else host


def tcp_endpoint(reactor: Any, host: str, port: int) -> IStreamClientEndpoint:
    """The way to a host. An address literal needs no resolver."""
    try:
        version = ip_address(host).version
    except ValueError:
        return HostnameEndpoint(_Resolving(reactor, resolved_name(host)), _ANY_NAME, port)
    if version == 4:
        return TCP4ClientEndpoint(reactor, host, port)
    return TCP6ClientEndpoint(reactor, host, port)


_ANY_NAME = "host.invalid"
"""What the endpoint is told, and nobody is asked for."""


@implementer(IReactorPluggableNameResolver, IHostnameResolver)
class _Resolving:
    """A reactor that resolves one name.

    `HostnameEndpoint` refuses names that IDNA 2008 does not know, such as ``relay_1`` in a network
    of containers or ``my--tool``, which resolvers know very well. So the name is kept from it.
    """

    def __init__(self, reactor: Any, name: str) -> None:
        self._reactor = reactor
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._reactor, attribute)

    @property
    def nameResolver(self) -> IHostnameResolver:
        """Itself."""
        return self

    def installNameResolver(self, resolver: IHostnameResolver) -> IHostnameResolver:
        """Install it for the whole reactor."""
        previous: IHostnameResolver = self._reactor.installNameResolver(resolver)
        return previous

    def resolveHostName(
        self,
        resolutionReceiver: Any,
        hostName: str,  # noqa: ARG002 - the one that stands for any
        portNumber: int = 0,
        addressTypes: Any = None,
        transportSemantics: str = "TCP",
    ) -> Any:
        """Resolve the name that this is for."""
        return self._reactor.nameResolver.resolveHostName(
            resolutionReceiver, self._name, portNumber, addressTypes, transportSemantics
        )
