"""Networks of addresses: how one is written, lists of them, and the section ``ip_whitelist``."""

import re
from collections.abc import Sequence
from ipaddress import ip_network

from portal_gateway.config.fields import Section, list_of, text, true_or_false
from portal_gateway.config.model import AddressListSection
from portal_gateway.config.reading import Value
from portal_gateway.config.scalars import quote
from portal_gateway.config.worded import reads
from portal_gateway.wire.ip_addresses import Network, read_address, unmapped_network

__all__ = ["IP_WHITELIST", "ip_allow", "network", "trusted_proxies"]

UNIX = "unix"
"""What stands for the peers on UNIX sockets, who have no address."""

_PREFIX = re.compile(r"0|[1-9][0-9]{0,2}")

_EXPECTED = "an address or a network, such as 203.0.113.0/24 or 2001:db8::/32"


@reads("an address, or a network in CIDR notation")
def network(value: Value) -> Network:
    """Reads an address, or a network in CIDR notation (RFC 4632 section 3.1).

    A network that holds mapped IPv4 addresses only is the IPv4 network.
    """
    found = text(value, expected=_EXPECTED)
    written, slash, prefix = found.text.partition("/")
    if read_address(written) is None or (slash and not _PREFIX.fullmatch(prefix)):
        raise value.refuse(f"expected {_EXPECTED}, found {found.shown}")
    try:
        read = ip_network(found.text, strict=False)
    except ValueError:
        raise value.refuse(f"the prefix of {found.shown} is too long for its address") from None
    if slash and str(read.network_address) != str(ip_network(written).network_address):
        shown = "" if found.replaced else f"; did you mean {quote(str(read))}?"
        raise value.refuse(f"{found.shown} has bits behind its prefix{shown}")
    return unmapped_network(read)


@reads(f"an address, a network in CIDR notation, or ``{UNIX}``")
def _network_or_unix(value: Value) -> Network | None:
    return None if text(value, expected=_EXPECTED).text == UNIX else network(value)


def _not_empty(found: Sequence[Network], value: Value) -> None:
    if not found:
        raise value.refuse("a list that is empty allows nobody; leave it out to allow everybody")


@reads("list of networks, not empty, each an address, or a network in CIDR notation")
def ip_allow(value: Value) -> tuple[Network, ...]:
    """Reads the networks of a key or a lease."""
    found = list_of(network, expected="a list of networks")(value)
    _not_empty(found, value)
    return found


trusted_proxies = list_of(_network_or_unix, expected="a list of networks")
"""Reads networks, and ``unix``, as ``None``."""


def _whitelist(
    *, enabled: bool | None = None, cidrs: tuple[Network, ...] = ()
) -> AddressListSection:
    return AddressListSection(bool(cidrs) if enabled is None else enabled, cidrs)


def _somebody_is_allowed(section: AddressListSection, value: Value) -> None:
    if not section.cidrs and (section.enabled or value.at("cidrs") is not value):
        value.refuse("without cidrs nobody would be allowed; leave ip_whitelist out for everybody")


IP_WHITELIST = Section(
    _whitelist,
    {"enabled": true_or_false, "cidrs": list_of(network, expected="a list of networks")},
    check=_somebody_is_allowed,
)
"""The section; it is enabled where it has networks and does not say otherwise."""
