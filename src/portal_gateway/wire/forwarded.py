"""What a proxy tells the next hop about the one before: Via, Forwarded and X-Forwarded-*.

RFC 9110 section 7.6.3 for ``Via``, RFC 7239 for ``Forwarded``; the ``X-Forwarded-`` fields have no
standard, only users.
"""

import re
from collections.abc import Sequence

__all__ = [
    "FORWARDING_FIELDS",
    "VIA",
    "forwarded_element",
    "forwarded_elements",
]

VIA = b"1.1 portal-gateway"
"""Our entry in ``Via``: the version of the hop before, and a pseudonym (no host name leaks)."""

FORWARDING_FIELDS = frozenset(
    {
        b"forwarded",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"x-forwarded-prefix",
        b"x-forwarded-proto",
        b"x-forwarded-server",
        b"x-real-ip",
    }
)
"""Fields that claim where a request came from; from a peer that is not trusted they are dropped."""

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


def forwarded_element(client: str, host: bytes, scheme: bytes) -> bytes:
    """One element of ``Forwarded`` (RFC 7239 section 4): who asked, for which host, over what.

    ``client`` is an IP address as text; an empty one (a Unix socket's peer has none) is written
    as ``unknown`` (section 6.2).
    """
    return _for(client) + b";host=" + _value(host) + b";proto=" + scheme


def forwarded_elements(
    addresses: Sequence[str], asked: tuple[bytes, bytes], received: tuple[bytes, bytes]
) -> bytes:
    """The elements for a request that came through proxies, whose ``addresses`` start with the
    client's and end with our peer's.

    ``asked`` are host and scheme as the first proxy was asked for them, ``received`` as we were.
    Proxies between are not said to have been asked for anything.
    """
    if len(addresses) < 2:
        return forwarded_element(addresses[0] if addresses else "", *asked)
    elements = [forwarded_element(addresses[0], *asked)]
    elements += [_for(address) for address in addresses[1:-1]]
    elements.append(forwarded_element(addresses[-1], *received))
    return b", ".join(elements)


def _for(address: str) -> bytes:
    if not address:
        return b"for=unknown"
    if ":" in address:
        return b'for="[' + address.encode("ascii", "replace") + b']"'
    return b"for=" + address.encode("ascii", "replace")


def _value(text: bytes) -> bytes:
    if _TOKEN.fullmatch(text):
        return text
    return b'"' + text.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
