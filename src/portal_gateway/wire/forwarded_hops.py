"""Reading who says that a request came from whom: X-Forwarded-For, and Forwarded (RFC 7239).

Each proxy adds at the right what it saw, so both are read from there. What cannot be an address
(``unknown``, an obfuscated name, a broken one) is a hop without one.
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from portal_gateway.wire.errors import WireError
from portal_gateway.wire.ip_addresses import read_address

__all__ = ["BadForwarded", "Hop", "read_forwarded", "read_node", "x_forwarded_for"]

_PORT = re.compile(r":[0-9]{1,5}")

_MAX_NODE = 64
"""Characters of a node that is looked at: an address of 45, brackets, and a port."""

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_PAIR = re.compile(
    # A value's quoted string has no control but the tab (RFC 9110 section 5.6.4).
    rb"[ \t]*+(" + _TOKEN + rb")=(?:(" + _TOKEN + rb')|"((?:[\t !#-\[\]-~\x80-\xff]|\\.)*+)")'
    rb"[ \t]*+(?:([;,])|\Z)"
)
_NOTHING = re.compile(rb"[ \t]*+(?:([;,])|\Z)")
_ESCAPED = re.compile(rb"\\(.)")


class BadForwarded(WireError):
    """A ``Forwarded`` that is not one: where it is divided cannot be told."""


class Hop(NamedTuple):
    """One element of ``Forwarded``. ``address`` is whom the proxy was asked by, ``None`` where it
    does not say; ``host`` and ``proto`` what it was asked for, empty likewise."""

    address: str | None
    host: bytes = b""
    proto: bytes = b""


def read_node(node: bytes) -> str | None:
    """The address of a node (RFC 7239 section 6) in its one form, without its port.

    IPv6 needs brackets only before a port: ``X-Forwarded-For`` has it without them as well.
    """
    if len(node) > _MAX_NODE:
        return None
    text = node.decode("latin-1")
    if text.startswith("["):
        text, end, port = text[1:].partition("]")
        if not end or ":" not in text or (port and _PORT.fullmatch(port) is None):
            return None
    elif text.count(":") == 1:
        text, _, port = text.partition(":")
        if _PORT.fullmatch(":" + port) is None:
            return None
    address = read_address(text)
    return None if address is None else address.text


def x_forwarded_for(values: Sequence[bytes]) -> Iterator[str | None]:
    """The addresses of all fields' lists from the right; empty members count for nothing."""
    for value in reversed(values):
        end = len(value)
        while end >= 0:
            comma = value.rfind(b",", 0, end)
            member = value[comma + 1 : end].strip(b" \t")
            if member:
                yield read_node(member)
            end = comma


def read_forwarded(values: Sequence[bytes]) -> list[Hop]:
    """The elements of all fields, the last one first. Raises `BadForwarded`.

    An element that names a parameter twice is as bad as one that is no element (section 4).
    """
    hops: list[Hop] = []
    for value in values:
        hops += _elements(value)
    hops.reverse()
    return hops


def _elements(value: bytes) -> list[Hop]:
    hops: list[Hop] = []
    pairs: dict[bytes, bytes] = {}
    at = 0
    while True:
        match = _PAIR.match(value, at)
        if match is not None:
            name, token, quoted, mark = match.groups()
            name = name.lower()
            if name in pairs:
                raise BadForwarded("an element of Forwarded names a parameter twice")
            pairs[name] = token if quoted is None else _ESCAPED.sub(rb"\1", quoted)
        else:
            match = _NOTHING.match(value, at)
            if match is None:
                raise BadForwarded("Forwarded is not a list of elements")
            mark = match[1]
        at = match.end()
        if mark != b";" and pairs:
            hops.append(
                Hop(_address(pairs), pairs.get(b"host", b""), pairs.get(b"proto", b"").lower())
            )
            pairs = {}
        if mark is None:
            return hops


def _address(pairs: dict[bytes, bytes]) -> str | None:
    node = pairs.get(b"for")
    return None if node is None else read_node(node)
