"""What a proxy tells the next hop about the one before: Via, Forwarded and X-Forwarded-*.

RFC 9110 section 7.6.3 for ``Via``, RFC 7239 for ``Forwarded``; the ``X-Forwarded-`` fields have no
standard, only users.
"""

import re

__all__ = ["FORWARDING_FIELDS", "VIA", "forwarded_element"]

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
    if not client:
        node = b"unknown"
    elif ":" in client:
        node = b'"[' + client.encode("ascii", "replace") + b']"'
    else:
        node = client.encode("ascii", "replace")
    return b"for=" + node + b";host=" + _value(host) + b";proto=" + scheme


def _value(text: bytes) -> bytes:
    if _TOKEN.fullmatch(text):
        return text
    return b'"' + text.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
