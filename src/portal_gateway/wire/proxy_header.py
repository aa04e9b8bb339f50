"""The PROXY protocol: a header by which a load balancer of TCP says whose connection it passes on.

Version 1 is a line of text, version 2 is binary (the specification is HAProxy's
``doc/proxy-protocol.txt``). A header is read in one way or refused; what follows the addresses in
version 2 (TLVs) is skipped. A connection that the balancer opened for itself (``LOCAL``), or whose
client it cannot name (``UNKNOWN``), has no source.
"""

import re
import struct
from ipaddress import IPv4Address, IPv6Address
from typing import Final, NamedTuple

from portal_gateway.wire.ip_addresses import unmapped_address

__all__ = ["LOCAL_HEADER", "MAX_PROXY_HEADER", "BadProxyHeader", "ProxyHeader", "read_proxy_header"]

_SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"

LOCAL_HEADER: Final = _SIGNATURE + b"\x20\x00\x00\x00"
"""The header of a connection that its sender opened for itself."""

_MAX_LINE: Final = 107
"""Bytes of the longest header of version 1, its CRLF included."""

_FIXED: Final = 16
"""Bytes of version 2 that say how many follow."""

MAX_PROXY_HEADER: Final = _FIXED + 4_096
"""Bytes of the longest header. The specification has 536 suffice for all that is not TLS; balancers
that add a client's certificate stay below 4 KiB."""

_PORT: Final = rb"(0|[1-9][0-9]{0,4})"
_LINE: Final = re.compile(
    rb"PROXY TCP(4|6) ([0-9A-Fa-f.:]{2,39}) ([0-9A-Fa-f.:]{2,39}) " + _PORT + b" " + _PORT
)
_UNKNOWN: Final = re.compile(rb"PROXY UNKNOWN(?: [^\r\n]*)?")
_MAX_PORT: Final = 65_535

_LOCAL, _PROXY = 0x20, 0x21
_UNSPECIFIED, _TCP4, _TCP6, _UNIX = 0x00, 0x11, 0x21, 0x31
_ADDRESSES: Final = {
    _TCP4: struct.Struct("!4s4sHH"),
    _TCP6: struct.Struct("!16s16sHH"),
    _UNIX: struct.Struct("!108s108s"),
}


class BadProxyHeader(Exception):
    """The bytes are no header, one that is too long, or one of another kind than a TCP proxy's."""


class ProxyHeader(NamedTuple):
    """The addresses in a header, and its length in bytes.

    ``source`` and ``destination`` are address and port, both ``None`` where it names none.
    ``unix`` says that the client came to the balancer by a UNIX socket.
    """

    length: int
    source: tuple[str, int] | None = None
    destination: tuple[str, int] | None = None
    unix: bool = False


def read_proxy_header(data: bytes) -> ProxyHeader | None:
    """The header that ``data`` begins with, ``None`` while more bytes are needed to tell.

    Raises `BadProxyHeader`, as soon as the bytes cannot become a header any more.
    """
    if data[:1] == b"P":
        return _read_line(data)
    if data[: len(_SIGNATURE)] != _SIGNATURE[: len(data)]:
        raise BadProxyHeader("no PROXY header")
    return _read_binary(data) if len(data) >= _FIXED else None


def _read_line(data: bytes) -> ProxyHeader | None:
    end = data.find(b"\r\n", 0, _MAX_LINE)
    if end < 0:
        if len(data) >= _MAX_LINE or data[:6] != b"PROXY "[: len(data)]:
            raise BadProxyHeader("no PROXY header of version 1")
        return None
    line, length = data[:end], end + 2
    if _UNKNOWN.fullmatch(line):
        return ProxyHeader(length)
    match = _LINE.fullmatch(line)
    if match is None:
        raise BadProxyHeader("a malformed PROXY header of version 1")
    family, source, destination, source_port, destination_port = match.groups()
    return ProxyHeader(
        length,
        (_address(family, source), _port(source_port)),
        (_address(family, destination), _port(destination_port)),
    )


def _address(family: bytes, text: bytes) -> str:
    kind = IPv4Address if family == b"4" else IPv6Address
    try:
        return unmapped_address(str(kind(text.decode("ascii"))))
    except ValueError:
        raise BadProxyHeader("an address of a PROXY header is none") from None


def _port(text: bytes) -> int:
    port = int(text)
    if port > _MAX_PORT:
        raise BadProxyHeader("a port of a PROXY header is none")
    return port


def _read_binary(data: bytes) -> ProxyHeader | None:
    command, family, rest = struct.unpack_from("!BBH", data, len(_SIGNATURE))
    length = _FIXED + rest
    if length > MAX_PROXY_HEADER:
        raise BadProxyHeader("a PROXY header that is too long")
    if command not in {_LOCAL, _PROXY}:
        raise BadProxyHeader("another version or command than those of PROXY headers")
    addresses = _ADDRESSES.get(family)
    if command == _PROXY:
        if addresses is None and family != _UNSPECIFIED:
            raise BadProxyHeader("a PROXY header of another protocol than TCP")
        if addresses is not None and rest < addresses.size:
            raise BadProxyHeader("a PROXY header without its addresses")
    if len(data) < length:
        return None
    if command == _LOCAL or addresses is None:
        return ProxyHeader(length)
    if family == _UNIX:
        return ProxyHeader(length, unix=True)
    kind = IPv4Address if family == _TCP4 else IPv6Address
    source, destination, source_port, destination_port = addresses.unpack_from(data, _FIXED)
    return ProxyHeader(
        length,
        (unmapped_address(str(kind(source))), source_port),
        (unmapped_address(str(kind(destination))), destination_port),
    )
