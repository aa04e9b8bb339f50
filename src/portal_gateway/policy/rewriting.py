"""Fields of a lease's answer that name places within the lease, made to name them for the client.

A lease that is reached below ``/peer/<lease>`` believes to be at the root of a host. What it says
of places there (RFC 9110 sections 8.7 and 10.2.2, ``Refresh``, RFC 6265) would lead its client
beside itself: to the gateway, or to another lease. Here such values are moved below the prefix:

- a path from the root, ``/x``; not one that is below the prefix already, as a lease writes that
  heeds ``X-Forwarded-Prefix``;
- an ``http`` or ``https`` URL, or ``//host/x``, whose host is the one that the lease was sent as
  ``Host``. Scheme and host are taken away with that, so the client stays with those that it used.
  The port must be the one of ``Host``, where a missing one is the URL's scheme's;
- the ``Path`` of a cookie, likewise. One that is no plain path from the root becomes the prefix:
  clients take quotes away, or ``x`` for ``/``. A ``Domain`` that covers the lease's host, or that
  some client may read so, is taken away: what is left is a cookie for the gateway's host alone. A
  cookie without ``Path`` is for the directory of the URL that the client asked for (RFC 6265
  section 5.1.4), which is below the prefix already;

- the targets and anchors of ``Link`` (RFC 8288), and ``SourceMap``, as ``Location``.

Relative references, other hosts, and URLs that cannot be read in one way pass as they came: they
only lead their own client somewhere. A cookie or a ``Link`` that cannot be read in one way, or is
above `MAX_VALUE`, is dropped: a browser would act on it by itself, and a cookie's path decides
which leases get it. The time is linear in the length of a value.

The URL of a WebSocket may be the prefix itself. Its directory is the one of all leases: there a
cookie gets a ``Path``, and relative references are moved below the prefix too.

At a host of its own a lease names its places as they are. Only a ``Domain`` that covers more than
that host is taken away (`cookie_of_host`): other leases have hosts beside it.
"""

import re
from collections.abc import Callable, Mapping
from string import ascii_letters
from types import MappingProxyType
from urllib.parse import unquote_to_bytes

__all__ = ["MAX_VALUE", "REWRITTEN", "LeaseView", "cookie_of_host"]

MAX_VALUE = 16 * 1024
"""Bytes of a value that is looked at: twice the longest URL that servers commonly take."""

_MOST_LINK = 2 * MAX_VALUE
"""Bytes of one ``Link`` once its references are mapped: a prefix before each of thousands would
make hundreds of times as much of an answer."""

_DEFAULT_PORTS: Mapping[bytes, int] = {b"http": 80, b"https": 443}

_MOST_ATTRIBUTES = 16
"""Attributes of a cookie that are all looked at: twice as many as there are."""

_NOT_IN_COOKIES = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
"""Clients drop a cookie for these, cut it there, or go on: each as it likes."""

_NOT_LETTERS = bytes(set(range(256)) - set(ascii_letters.encode()))

_COOKIE_PATH = re.compile(rb"/[!#-:<-\[\]-~\x80-\xff]*+")
"""A path that every client takes for the same: no quotes, spaces or backslashes."""

_COOKIE_DOMAIN = re.compile(rb"[0-9A-Za-z._-]*+")

_SCHEME = re.compile(rb"[A-Za-z][0-9A-Za-z+.-]*+:")

_NOT_IN_URLS = re.compile(rb"[\x00-\x20\x7f\\]")
"""What browsers remove from a URL, or take for a slash: two readers could see two places."""

_ABSOLUTE = re.compile(
    # Scheme, host, port, the rest. Userinfo does not match: nobody means a lease by it.
    rb"(?:(https?):)?//(\[[0-9a-f:.]+\]|[^/?#:@\[\]]+)(?::([0-9]{0,5}))?(?=[/?#]|$)",
    re.IGNORECASE,
)

_AUTHORITY = re.compile(rb"(\[[^\[\]]*\]|[^:\[\]]*)(?::([0-9]{1,5}))?")

_DOT_SEGMENT = re.compile(rb"/(?:\.|%2e){1,2}(?:/|$)", re.IGNORECASE)

_REFRESH = re.compile(
    # As browsers read it (HTML, "shared declarative refresh steps"): seconds, and a URL that may
    # follow "url=", in quotes or not. Each repetition is possessive: none is tried twice.
    rb"[ \t]*+[0-9.]++(?:[ \t]*+[;,]|[ \t])[ \t]*+(?:url[ \t]*+=[ \t]*+)?+"
    rb"(?:\"([^\"]*+)|'([^']*+)|(.++))",
    re.IGNORECASE,
)

_LINK_TARGET = re.compile(rb"[ \t]*+<([^\x00-\x20\x7f<>\"\\]*+)>")

_LINK_PARAMETER = re.compile(
    # A semicolon, and perhaps a name, and perhaps a value: quoted, or bare as servers write it.
    rb"[ \t]*+;[ \t]*+(?:([!#$%&'*+\-.^_`|~0-9A-Za-z]++)[ \t]*+"
    rb"(?:=[ \t]*+(?:\"((?:[^\"\\\x00-\x08\x0a-\x1f\x7f]++|\\[\t\x20-\x7e\x80-\xff])*+)\""
    rb"|([^\x00-\x20\x7f\",;<>\\]++)))?+)?+"
)

_LINK_END = re.compile(rb"[ \t]*+(?:,[ \t,]*+|\Z)")


class LeaseView:
    """One lease as its client and as the lease itself see it.

    ``prefix`` is the path by which the client reaches it, as the client wrote it, without a slash
    at the end. ``host`` is what the lease was sent as ``Host``, in lower case. ``base`` is what
    went before the path of the request that it was sent. ``asked_host`` is the host that the client
    asked, in lower case, where that is another one. ``without_slash`` says that the path of the
    client's URL is the prefix itself.
    """

    __slots__ = ("asked_host", "base", "host", "prefix", "without_slash")

    def __init__(
        self,
        prefix: bytes,
        host: bytes,
        base: bytes = b"",
        asked_host: bytes = b"",
        *,
        without_slash: bool = False,
    ) -> None:
        self.prefix = prefix
        self.host = host
        self.base = base
        self.asked_host = asked_host
        self.without_slash = without_slash

    def reference(self, value: bytes) -> bytes:
        """A URI reference, as in ``Location``, made to name the same place for the client."""
        if len(value) > MAX_VALUE or _NOT_IN_URLS.search(value):
            return value
        absolute = _ABSOLUTE.match(value)
        if absolute is not None:
            if not self._is_own(*absolute.groups()):
                return value
            rest = value[absolute.end() :]
            return self._below(rest if rest.startswith(b"/") else b"/" + rest)
        if not value.startswith(b"/"):
            if not self.without_slash or not value or value.startswith(b"#"):
                return value
            return value if _SCHEME.match(value) else self._below(b"/" + value)
        if value.startswith(b"//") or self._is_below(value):
            return value
        return self._below(value)

    def refresh(self, value: bytes) -> bytes:
        """The value of ``Refresh`` with its URL made to name the same place for the client."""
        if len(value) > MAX_VALUE:
            return value
        match = _REFRESH.match(value)
        if match is None:
            return value
        start, end = match.span(match.lastindex or 0)
        url = value[start:end]
        bare = url.rstrip(b" \t")
        return value[:start] + self.reference(bare) + url[len(bare) :] + value[end:]

    def link(self, value: bytes) -> bytes | None:
        """The value of ``Link`` with its references made to name the same places for the client.

        ``None`` where the value cannot be read in one way, or the prefixes make it too long: the
        field is dropped.
        """
        if len(value) > MAX_VALUE:
            return None
        parts: list[bytes] = []
        room = _MOST_LINK
        position = _past_commas(value)
        while position < len(value):
            found = _LINK_TARGET.match(value, position)
            if found is None:
                return None
            parts.append(b"<" + self.reference(found[1]) + b">")
            room -= len(parts[-1])
            position = found.end()
            while room >= 0:
                found = _LINK_PARAMETER.match(value, position)
                if found is None:
                    break
                parts.append(self._link_parameter(found))
                room -= len(parts[-1])
                position = found.end()
            if room < 0:
                return None
            found = _LINK_END.match(value, position)
            if found is None:
                return None
            position = found.end()
            if position < len(value):
                parts.append(b", ")
        return b"".join(parts)

    def _link_parameter(self, found: re.Match[bytes]) -> bytes:
        if found[1] is None or found[1].lower() != b"anchor":
            return found[0]
        anchor = found[3] if found[2] is None else found[2]
        return b'; anchor="' + self.reference(anchor) + b'"' if anchor else found[0]

    def set_cookie(self, value: bytes) -> bytes | None:
        """The value of ``Set-Cookie`` with its path below the prefix, and no domain of its own.

        ``None`` for one that is too long, or has control characters: it is dropped.
        """
        if len(value) > MAX_VALUE or _NOT_IN_COOKIES.search(value):
            return None
        if b";" not in value and not self.without_slash:
            return value
        cookie, *attributes = value.split(b";")
        if len(attributes) > _MOST_ATTRIBUTES:
            # Browsers heed the last Path (RFC 6265 section 5.3). A prefix for each of thousands
            # would make a hundred times as much of an answer.
            attributes = _with_one_path(attributes)
        kept = [cookie]
        last_path = b"/"
        for attribute in attributes:
            name, _, content = attribute.partition(b"=")
            kind = _kind(name)
            if kind == b"path":
                last_path = content
                if not self.without_slash:
                    kept.append(name + b"=" + self._cookie_path(content))
            elif kind != b"domain" or not (
                _covers(content, self.host) or _covers(content, self.asked_host)
            ):
                kept.append(attribute)
        if self.without_slash:
            # Behind all else: clients heed the last, and some see no attribute within quotes.
            kept.append(b" Path=" + self._cookie_path(last_path))
        return b";".join(kept)

    def _is_own(self, scheme: bytes | None, host: bytes, port: bytes | None) -> bool:
        """Whether an authority is the one that the lease was reached by."""
        match = _AUTHORITY.fullmatch(self.host)
        if match is None or host.lower() != match[1]:
            return False
        own_port = int(match[2]) if match[2] else None
        if scheme is None:
            # It is the client's, which is not known here.
            return own_port in _ports(port)
        default = _DEFAULT_PORTS[scheme.lower()]
        stated = int(port) if port else default
        return stated == (default if own_port is None else own_port)

    def _is_below(self, path: bytes, prefix: bytes | None = None) -> bool:
        prefix = self.prefix if prefix is None else prefix
        return path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in _ENDS_A_SEGMENT

    def _below(self, rest: bytes) -> bytes:
        """``rest``, which starts with a slash, below the prefix."""
        if self._is_below(rest):
            return rest
        if self.base and self._is_below(rest, self.base):
            rest = rest[len(self.base) :]
            if not rest.startswith(b"/"):
                rest = b"/" + rest
        if _DOT_SEGMENT.search(rest):
            # From the root no path climbs any higher; from below the prefix it would.
            rest = _without_dot_segments(rest)
        return self.prefix + rest

    def _cookie_path(self, content: bytes) -> bytes:
        """The path for the client of a ``Path`` with this content."""
        path = content.strip(b" \t").strip(b'"')
        if _COOKIE_PATH.fullmatch(path) is None or _DOT_SEGMENT.search(path):
            path = b"/"
        if self._is_below(path):
            return path
        # A semicolon in the prefix would end the attribute and leave a shorter path. Encoded, it
        # matches no request: such a cookie is lost, and not another lease's.
        prefix = self.prefix.replace(b";", b"%3B")
        if self.base and self._is_below(path, self.base):
            path = path[len(self.base) :] or b"/"
        return prefix + path


def cookie_of_host(value: bytes, host: bytes) -> bytes | None:
    """The value of ``Set-Cookie`` for ``host`` at most, which is in lower case.

    A ``Domain`` that covers more, or that some client may read so, is taken away. ``None`` for a
    value that is too long, or has control characters.
    """
    if len(value) > MAX_VALUE or _NOT_IN_COOKIES.search(value):
        return None
    if b";" not in value:
        return value
    name = _name_of(host)
    kept: list[bytes] = []
    for attribute in value.split(b";"):
        kind, _, content = attribute.partition(b"=")
        if kept and _kind(kind) == b"domain" and _covers(content, host):
            domain = content.strip(b" \t").strip(b".").lower()
            if domain != name:
                continue
        kept.append(attribute)
    return b";".join(kept)


def _covers(domain: bytes, host: bytes) -> bool:
    """Whether a cookie's ``Domain`` has ``host`` in it (RFC 6265 section 5.1.3).

    Whatever is no plain name may have it for some client.
    """
    domain = domain.strip(b" \t")
    if _COOKIE_DOMAIN.fullmatch(domain) is None:
        return True
    domain = domain.strip(b".").lower()
    name = _name_of(host)
    return bool(domain and name) and (name == domain or name.endswith(b"." + domain))


def _name_of(host: bytes) -> bytes:
    """The name of an authority, without port and without a dot at the end; empty for no name."""
    match = _AUTHORITY.fullmatch(host)
    return b"" if match is None else match[1].removesuffix(b".")


def _kind(name: bytes) -> bytes:
    """The name of a cookie's attribute in lower case, without what some clients remove from it."""
    return name.translate(None, _NOT_LETTERS).lower()


def _past_commas(value: bytes) -> int:
    return len(value) - len(value.lstrip(b" \t,"))


def _with_one_path(attributes: list[bytes]) -> list[bytes]:
    """The attributes of a cookie without any ``Path`` but the last."""
    paths = [
        at
        for at, attribute in enumerate(attributes)
        if _kind(attribute.partition(b"=")[0]) == b"path"
    ]
    others = set(paths[:-1])
    return [attribute for at, attribute in enumerate(attributes) if at not in others]


_ENDS_A_SEGMENT = frozenset({b"", b"/", b"?", b"#"})


def _ports(port: bytes | None) -> tuple[int | None, ...]:
    """The ports of ``Host`` that a URL without a scheme may mean; None is for none."""
    if not port:
        return (None, *_DEFAULT_PORTS.values())
    stated = int(port)
    return (stated, None) if stated in _DEFAULT_PORTS.values() else (stated,)


def _without_dot_segments(rest: bytes) -> bytes:
    """The path of ``rest`` as a client resolves it (RFC 3986 section 5.2.4), encoded dots too."""
    end = min((rest.find(mark) % (len(rest) + 1) for mark in (b"?", b"#")), default=len(rest))
    kept: list[bytes] = []
    segments = rest[:end].split(b"/")[1:]
    for number, segment in enumerate(segments, 1):
        name = unquote_to_bytes(segment) if b"%" in segment else segment
        if name in {b".", b".."}:
            if name == b".." and kept:
                kept.pop()
            if number == len(segments):
                kept.append(b"")
        else:
            kept.append(segment)
    return b"/" + b"/".join(kept) + rest[end:]


REWRITTEN: Mapping[bytes, Callable[[LeaseView, bytes], bytes | None]] = MappingProxyType(
    {
        b"location": LeaseView.reference,
        b"content-location": LeaseView.reference,
        b"link": LeaseView.link,
        b"refresh": LeaseView.refresh,
        b"set-cookie": LeaseView.set_cookie,
        b"sourcemap": LeaseView.reference,
        b"x-sourcemap": LeaseView.reference,
    }
)
"""The fields that are rewritten, by their names in lower case, and how; ``None`` drops one."""
