"""The hosts by which a client on this machine may ask for pages without a key.

A page on the Internet can have its own name resolve to ``127.0.0.1`` once it has been loaded (DNS
rebinding). To the browser what answers there is that page's own site, so its script could read it.
The ``Host`` of such a request is the page's name: what is open to this machine without a key is
open for names that only this machine's own can be, and for those that the configuration has.
``X-Forwarded-Host`` does not count, since a script may send it.
"""

import re
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network
from typing import Final

from portal_gateway.config.model import LEASE_LABEL, Config
from portal_gateway.policy.address_sets import AddressSet
from portal_gateway.wire.ip_addresses import read_address

__all__ = ["LOOPBACK", "LocalHosts", "configured_hosts"]

LOOPBACK: Final = AddressSet([IPv4Network("127.0.0.0/8"), IPv6Network("::1/128")])
"""The addresses that are this machine's own."""

_LOCALHOST: Final = "localhost"
"""This name, and names below it, are loopback addresses everywhere (RFC 6761 section 6.3)."""

_HOST_AND_PORT: Final = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[^:]+):[0-9]+")
"""An address to listen on, which may be an endpoint string as well."""


class LocalHosts:
    """Loopback names and addresses, and the hosts ``names``. Ports make no difference."""

    __slots__ = ("_names",)

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = frozenset(map(_one_form, names))

    def includes(self, authority: bytes) -> bool:
        """Whether ``authority``, as in ``Host``, is one of them; a request without one is not."""
        host = _one_form(_without_port(authority.decode("latin-1")))
        return (
            host == _LOCALHOST
            or host.endswith("." + _LOCALHOST)
            or host in LOOPBACK
            or (host != "" and host in self._names)
        )


def configured_hosts(config: Config) -> LocalHosts:
    """The hosts that ``config`` gives to the gateway itself, beside the loopback ones.

    They are those that it listens on, those of its certificate by ACME, and the one above the hosts
    of leases.
    """
    return LocalHosts(_hosts_of(config))


def _hosts_of(config: Config) -> Iterator[str]:
    gateway = config.gateway
    listened_on = [gateway.listen]
    if config.metrics.listen is not None:
        listened_on.append(config.metrics.listen[0])
    yield from (_without_port(each) for each in listened_on if _HOST_AND_PORT.fullmatch(each))
    if gateway.lease_host is not None:
        yield gateway.lease_host.removeprefix(LEASE_LABEL)
    if gateway.tls is not None and gateway.tls.auto_cert is not None:
        yield from gateway.tls.auto_cert.domains


def _without_port(authority: str) -> str:
    """The host of an authority, of IPv6 without its brackets."""
    inner, bracket, _ = authority.partition("]")
    return inner.removeprefix("[") if bracket else authority.partition(":")[0]


def _one_form(host: str) -> str:
    """A host in lower case, without a dot at its end, of an address its one text."""
    address = read_address(host)
    return host.lower().removesuffix(".") if address is None else address.text
