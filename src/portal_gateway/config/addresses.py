"""Readers of addresses: where to listen, and the URLs of relays and plain origins."""

import ipaddress
import re
from typing import Any
from urllib.parse import SplitResult, urlsplit

from twisted.internet.endpoints import quoteStringArgument, serverFromString
from twisted.internet.interfaces import IStreamServerEndpointStringParser
from twisted.plugin import getPlugins

from portal_gateway.config.endpoint_strings import (
    ENDPOINT_TYPES,
    PROXIED,
    SOCKET_TYPES,
    without_proxy,
)
from portal_gateway.config.fields import text
from portal_gateway.config.model import LEASE_LABEL
from portal_gateway.config.reading import Value
from portal_gateway.config.scalars import Text, quote
from portal_gateway.config.worded import reads

__all__ = [
    "ListenAddress",
    "host_and_port",
    "host_header",
    "http_url",
    "lease_host",
    "listen_address",
    "origin_url",
    "relay_url",
    "server_name",
]

MAX_PORT = 65_535

BACKLOG = 4096
"""Connections that may wait to be accepted, where an address is given as host and port.

Twisted's 50 overflow when a few hundred clients come at once, and the kernel then resets some of
them. The system's own limit (``net.core.somaxconn``) still holds.
"""

_PORTS = range(1, MAX_PORT + 1)

_PLAIN_SCHEMES = ("http", "https")

_HOST_AND_PORT = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*):([0-9]{1,5})")

# RFC 1123 section 2.1, with the underscore that container networks use. The last label has a
# letter, so that a mistyped IPv4 address is not taken for a name.
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST_NAME = re.compile(rf"(?:{_LABEL}\.)*(?=[^.]*[A-Za-z]){_LABEL}\.?")
_MAX_HOST_NAME = 253

_MAX_LABEL = 63  # RFC 1034 section 3.1

_AUTHORITY = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::([0-9]{1,5}))?")

_URL_CHARACTERS = re.compile(r"[!-~]+")
_LEASE_AND_MORE = re.compile(re.escape(LEASE_LABEL) + "[A-Za-z0-9_]")
_DOT_SEGMENT = re.compile(r"/(?:\.|%2[eE]){1,2}(?:/|$)")
_NOT_IN_URLS = re.compile(r"[\"<>\\^`{|}]")

ListenAddress = tuple[str, str]
"""An address as it was written, and as a Twisted endpoint string."""


@reads("address", spoken=lambda address: f'"{address[0]}"')
def listen_address(value: Value) -> ListenAddress:
    """Reads ``host:port`` or a Twisted server endpoint string.

    The host may be an IPv4 address, an IPv6 address in brackets, a name, or nothing for every IPv4
    interface. Port 0 lets the system choose.
    """
    found = text(value, expected="an address such as 127.0.0.1:8080")
    match = _HOST_AND_PORT.fullmatch(found.text)
    if match is None or _names_endpoint_type(match[1]):
        _check_endpoint(value, found)
        return found.text, found.text
    host, digits = match.groups()
    port = int(digits)
    if port > MAX_PORT:
        raise value.refuse(f"bad address {found.shown}: a port is at most {MAX_PORT}")
    if not host:
        return found.text, f"tcp:{port}:backlog={BACKLOG}"
    kind = "tcp"
    if host.startswith("["):
        host, kind = host[1:-1], "tcp6"
    if not (_is_ipv6(host) if kind == "tcp6" else _is_ipv4_or_name(host)):
        raise value.refuse(
            f"bad address {found.shown}: its host must be a name or an IP address, IPv6 in [ ]"
        )
    interface = quoteStringArgument(host)
    return found.text, f"{kind}:{port}:interface={interface}:backlog={BACKLOG}"


def _names_endpoint_type(host: str) -> bool:
    """Whether ``host:port`` is an endpoint string, whose type may be one that is refused."""
    return host == PROXIED or host in ENDPOINT_TYPES or _has_plugin(host)


def _has_plugin(kind: str) -> bool:
    """Whether Twisted has the type by a plugin. No type has a dot; plugins are slow to list."""
    if kind in {"", "localhost"} or "." in kind or "[" in kind:
        return False
    return any(plugin.prefix == kind for plugin in getPlugins(IStreamServerEndpointStringParser))


def _check_endpoint(value: Value, found: Text) -> None:
    """Refuse an endpoint string that means more than reaches the gateway, or is none."""
    endpoint = without_proxy(found.text)
    kind, _, rest = endpoint.partition(":")
    if kind == PROXIED:
        raise value.refuse("one PROXY header is before each connection: write haproxy: once")
    if kind not in ENDPOINT_TYPES:
        if _has_plugin(kind):
            raise value.refuse(
                f"the gateway cannot listen on a {quote(kind)} endpoint: what it does with"
                " connections would not be known; the types that can be are"
                f" {', '.join(sorted({PROXIED, *ENDPOINT_TYPES}))}"
            )
        raise value.refuse(
            f"bad address {found.shown}; write host:port, [IPv6 address]:port,"
            ' or a Twisted endpoint string such as "unix:/run/gateway.sock", of the types'
            f" {', '.join(sorted({PROXIED, *ENDPOINT_TYPES}))}"
        )
    within = getattr(_parsed(value, kind, endpoint), "within", None)
    if isinstance(within, str) and within.partition(":")[0] not in SOCKET_TYPES:
        raise value.refuse(
            f"the endpoint within a {quote(kind)} endpoint must be one of"
            f" {', '.join(sorted(SOCKET_TYPES))}; haproxy: stands before all others"
        )
    port = rest.partition(":")[0].removeprefix("port=")
    if kind in {"tcp", "tcp6", "ssl"} and not 0 <= int(port) <= MAX_PORT:
        raise value.refuse(f"bad address {found.shown}: a port is at most {MAX_PORT}")


def _parsed(value: Value, kind: str, endpoint: str) -> object:
    """The parts of an endpoint string, as Twisted's parser of its type splits it.

    The parser gets no reactor, since it only keeps it. Its error texts are its own business; ours
    say what is wrong where the type of the error tells.
    """
    no_reactor: Any = None
    try:
        return serverFromString(no_reactor, endpoint)
    except OSError as error:
        raise value.refuse(
            f"the {quote(kind)} endpoint needs a file that cannot be read: {error.strerror}"
        ) from None
    except (IndexError, KeyError):
        # The sockets that systemd passes are there only when it starts the daemon.
        if kind != "systemd":
            raise _bad_endpoint(value, kind) from None
        return None
    except Exception:  # noqa: BLE001 - the parsers of plugins raise what they like
        raise _bad_endpoint(value, kind) from None


def _bad_endpoint(value: Value, kind: str) -> Exception:
    return value.refuse(f"the arguments are not those of a Twisted {quote(kind)} endpoint string")


@reads("``host:port``")
def host_and_port(value: Value) -> tuple[str, int]:
    """Reads where a server is: ``host:port``, an IPv6 address in brackets, which it is not in."""
    found = text(value, expected="an address such as redis:6379")
    match = _HOST_AND_PORT.fullmatch(found.text)
    if match is None or not _is_any_host(match[1]) or int(match[2]) not in _PORTS:
        raise value.refuse(
            f"bad address {found.shown}; write host:port, the host a name or an IP address (IPv6 in"
            " brackets)"
        )
    return match[1].strip("[]"), int(match[2])


@reads("URL with ``ws://``, ``wss://``, ``http://`` or ``https://``")
def relay_url(value: Value) -> str:
    """Reads the URL of a relay, which has no user, query or fragment.

    ``ws://`` or ``wss://``; or ``http://`` or ``https://``, where the host may start with
    ``{lease}.`` and then no path may follow.
    """
    found = _read_url(
        value,
        ("ws", "wss", "http", "https"),
        "not a relay URL; write ws:// or wss://, such as"
        ' "wss://portal.example.com/relay", or for a relay with a host for each lease'
        ' "https://{lease}.portal.example.com"',
        lease_label=True,
    )
    parts = urlsplit(found)
    if LEASE_LABEL in found and parts.path not in {"", "/"}:
        raise value.refuse(
            "the URL must end after the host of a lease: the request brings the path"
        )
    if parts.scheme in _PLAIN_SCHEMES and _DOT_SEGMENT.search(parts.path):
        raise value.refuse("the URL's path must have no dot segments")
    return found


@reads("URL with ``http://`` or ``https://``, host and port, no path")
def origin_url(value: Value) -> str:
    """Reads a plain origin: ``http://`` or ``https://``, host and port, and no path."""
    found = _read_url(
        value,
        _PLAIN_SCHEMES,
        'not the URL of a plain origin; write http:// or https://, such as "http://127.0.0.1:3000"',
    )
    if urlsplit(found).path not in {"", "/"}:
        raise value.refuse("the URL must end after host and port: the request brings the path")
    return found


@reads("URL with ``http://`` or ``https://``")
def http_url(value: Value) -> str:
    """Reads the URL of something that is fetched: ``http://`` or ``https://``, without a user."""
    return _read_url(value, _PLAIN_SCHEMES, "not a URL with http:// or https://", query=True)


@reads("host name or IP address")
def server_name(value: Value) -> str:
    """Reads the name that a server is asked for by TLS: a host name or an IP address."""
    found = text(value, expected="a host name")
    if not (_is_ipv4_or_name(found.text) or _is_ipv6(found.text)):
        raise value.refuse(f"bad server name {found.shown}: it is a host name or an IP address")
    return found.text.lower().removesuffix(".")


@reads("host, and a port where needed")
def host_header(value: Value) -> str:
    """Reads what a lease gets as ``Host``: a host, and a port where it is not the scheme's."""
    found = text(value, expected="a host")
    match = _AUTHORITY.fullmatch(found.text)
    if match is None or not _is_any_host(match[1]) or int(match[2] or 1) not in _PORTS:
        raise value.refuse(
            f"bad host {found.shown}: it is a name or an IP address (IPv6 in brackets), and perhaps"
            " a port"
        )
    return found.text


@reads("``{lease}.`` and the rest of a host name, without a port")
def lease_host(value: Value) -> str:
    """Reads the hosts of leases: ``{lease}.`` and the rest of a host name, without a port."""
    found = text(value, expected="a host such as {lease}.gateway.example.com")
    rest = found.text.removeprefix(LEASE_LABEL).removesuffix(".").lower()
    if (
        not found.text.startswith(LEASE_LABEL)
        or not _HOST_NAME.fullmatch(rest)
        or len(rest) + _MAX_LABEL >= _MAX_HOST_NAME
    ):
        raise value.refuse(
            f"bad host {found.shown}: it is {LEASE_LABEL[:-1]}, a dot and the rest of a host name,"
            " without a port"
        )
    return LEASE_LABEL + rest


def _is_any_host(host: str) -> bool:
    if host.startswith("["):
        return _is_ipv6(host[1:-1]) and "%" not in host
    return _is_ipv4_or_name(host)


def _read_url(
    value: Value,
    schemes: tuple[str, ...],
    otherwise: str,
    *,
    lease_label: bool = False,
    query: bool = False,
) -> str:
    """Read an absolute URL (RFC 3986 section 3). It is never quoted: it may hold a password.

    With ``lease_label`` the host of an HTTP URL may start with ``{lease}.``, with ``query`` the URL
    may have one.
    """
    whole = text(value, expected="a URL").text
    scheme, mark, rest = whole.partition("://")
    if not mark or scheme.lower() not in schemes:
        raise value.refuse(otherwise)
    found = whole
    if lease_label and scheme.lower() in _PLAIN_SCHEMES and _LEASE_AND_MORE.match(rest):
        # Any label in its place, the longest one there is.
        found = f"{scheme}://{'l' * _MAX_LABEL}.{rest.removeprefix(LEASE_LABEL)}"
    if not _URL_CHARACTERS.fullmatch(found) or _NOT_IN_URLS.search(found):
        raise value.refuse(
            "the URL holds a character that URLs cannot: write others than ASCII percent-encoded,"
            " and a host name in its xn-- form"
        )
    try:
        parts = urlsplit(found)
        port = parts.port
    except ValueError:
        raise value.refuse("the URL's host or port is malformed") from None
    if parts.username is not None or parts.password is not None:
        raise value.refuse("the URL must not hold a user name or password")
    if "#" in found or ("?" in found and not query):
        raise value.refuse(f"the URL must not hold a {'' if query else 'query or '}fragment")
    if port == 0 or parts.netloc.endswith(":"):
        raise value.refuse(f"the URL's port must be from 1 to {MAX_PORT}")
    if not _is_host(parts):
        raise value.refuse("the URL's host must be an IP address (IPv6 in brackets) or a name")
    return scheme.lower() + whole[len(scheme) :]


def _is_host(parts: SplitResult) -> bool:
    host = parts.hostname or ""
    if "[" in parts.netloc:
        return _is_ipv6(host) and "%" not in host
    return _is_ipv4_or_name(host)


def _is_ipv6(host: str) -> bool:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True


def _is_ipv4_or_name(host: str) -> bool:
    if len(host) <= _MAX_HOST_NAME and _HOST_NAME.fullmatch(host):
        return True
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return True
