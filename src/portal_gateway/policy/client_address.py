"""Where a request comes from when its peer is a trusted proxy: the right-most untrusted hop.

Each proxy adds at the right whom it was asked by. Going from there, what a trusted proxy says is
believed, until it names somebody who is not trusted: that is the client, and what stands left of it
is only its claim. Where a proxy does not say whom it was asked by, or says what is no address, the
request counts as the proxy's own.

Proxies keep one of the two fields, ``X-Forwarded-For`` or ``Forwarded``, and pass the other on as
the client sent it. If the configuration does not say which one they keep, a request with both must
have the same client in both.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from portal_gateway.config.model import ForwardedField
from portal_gateway.errors import GatewayError, fault
from portal_gateway.exchange import Passage
from portal_gateway.policy.address_sets import AddressSet
from portal_gateway.wire.forwarded_hops import BadForwarded, Hop, read_forwarded, x_forwarded_for
from portal_gateway.wire.http1_request import RequestHead
from portal_gateway.wire.http_fields import list_members
from portal_gateway.wire.ip_addresses import Network

__all__ = ["MAX_HOPS", "TrustedProxies"]

MAX_HOPS: Final = 32
"""Trusted proxies one behind the other that are gone through: more of them is a loop."""

_X_FORWARDED_FOR = b"x-forwarded-for"
_FORWARDED = b"forwarded"

_SCHEMES = frozenset({b"http", b"https"})

_AUTHORITY = re.compile(rb"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")


class TrustedProxies:
    """Tells a request's passage. ``unix`` says whether peers on a UNIX socket are trusted."""

    __slots__ = ("_field", "_trusted", "_trusts_unix")

    def __init__(
        self, networks: Iterable[Network], *, unix: bool = False, field: ForwardedField = "either"
    ) -> None:
        self._trusted = AddressSet(networks)
        self._trusts_unix = unix
        self._field = field

    def trusts(self, peer: str) -> bool:
        """Whether ``peer``, empty for a UNIX socket's, is one of the proxies."""
        return peer in self._trusted if peer else self._trusts_unix

    def passage(self, peer: str, head: RequestHead) -> Passage | GatewayError | None:
        """How a request of ``peer`` (empty for a UNIX socket's) came.

        ``None`` where the peer is not trusted, or no field says anything; ``ambiguous_forwarding``
        where there are two answers, or none can be read.
        """
        if not self.trusts(peer):
            return None
        by_list = self._read(head, _X_FORWARDED_FOR, "forwarded")
        by_elements = self._read(head, _FORWARDED, "x-forwarded-for")
        try:
            told = self._by_list(peer, by_list, head) if by_list else None
            if by_elements:
                other = self._by_elements(peer, by_elements)
                if told is not None and told.addresses[:1] != other.addresses[:1]:
                    return fault(
                        "ambiguous_forwarding",
                        "X-Forwarded-For and Forwarded name different clients",
                    )
                told = told or other
        except BadForwarded:
            return fault("ambiguous_forwarding", "Forwarded cannot be read")
        return told

    def _read(self, head: RequestHead, name: bytes, unless: ForwardedField) -> Sequence[bytes]:
        return () if self._field == unless else head.values(name)

    def _by_list(self, peer: str, values: Sequence[bytes], head: RequestHead) -> Passage:
        addresses = self._up_to_the_client(peer, x_forwarded_for(values))
        hops = len(addresses) - bool(peer)
        scheme = _of_hop(list_members(head.values(b"x-forwarded-proto")), hops)
        host = _of_hop(list_members(head.values(b"x-forwarded-host")), hops)
        return _passage(addresses, scheme, host)

    def _by_elements(self, peer: str, values: Sequence[bytes]) -> Passage:
        elements = read_forwarded(values)
        addresses = self._up_to_the_client(peer, (hop.address for hop in elements))
        hops = len(addresses) - bool(peer)
        first = elements[hops - 1] if hops else Hop(None)
        return _passage(addresses, first.proto, first.host)

    def _up_to_the_client(self, peer: str, named: Iterator[str | None]) -> list[str]:
        """The addresses from the peer's to the client's."""
        addresses = [peer] if peer else []
        for address in named:
            if address is None or len(addresses) > MAX_HOPS:
                break
            addresses.append(address)
            if address not in self._trusted:
                break
        return addresses


def _of_hop(members: list[bytes], hops: int) -> bytes:
    """What the proxy nearest to the client said: proxies replace such a value, or append to it."""
    return members[-min(len(members), max(hops, 1))] if members else b""


def _passage(addresses: list[str], scheme: bytes, host: bytes) -> Passage:
    return Passage(
        tuple(reversed(addresses)),
        scheme if scheme in _SCHEMES else b"",
        host if _AUTHORITY.fullmatch(host) else b"",
    )
