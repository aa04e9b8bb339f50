"""Which lease a path names, and what of the path goes to it: one reading, or a refusal.

``/peer/<lease>/<rest>`` is split on its raw bytes, before any decoding, so that the lease that the
guards decide about is the lease that is dialled. Whatever two readers could read differently in or
before the lease segment is refused; what follows it goes upstream byte for byte, unless it could
climb out of the lease.
"""

import re
from urllib.parse import unquote_to_bytes

from portal_gateway.errors import GatewayError, fault

__all__ = [
    "MAX_LEASE_SEGMENT",
    "PeerPath",
    "climbs_when_read_again",
    "refuse_lease_target",
    "split_peer_path",
]

MAX_LEASE_SEGMENT = 1024
"""Bytes of a lease segment as sent: a name of 256 bytes, each percent-encoded, and some room."""

_FORBIDDEN = re.compile(rb"[\x00-\x20\x7f#\\]")
"""Bytes that no target may hold: controls, space, ``#`` and ``\\``."""

_ENCODED_CONTROL = re.compile(rb"%(?:[01][0-9a-f]|7f)", re.IGNORECASE)
"""What no path may hold either; a query may, since a form's text has line ends."""

_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")

_ENCODED_SEPARATOR = re.compile(rb"%(?:2f|5c)", re.IGNORECASE)

_MAY_CLIMB = re.compile(rb"\.\.|%2e|\.%", re.IGNORECASE)
"""What every path that climbs must hold; most paths do not, and are not looked at any closer."""

_READ_AGAIN = re.compile(rb"%(?:25|[c-f][0-9a-f]|(?![0-9a-f]{2}))|[\x80-\xff]", re.IGNORECASE)
"""Parts, one of which is in every path that a second decoding or a normalisation changes."""

_ROUNDS = 4
"""Decodings after the first. A path that could be decoded further is refused: no client writes one,
and trying on would cost the square of it."""

_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")

_PERCENT_OF_PERCENT = re.compile(rb"%(?:25)+")

_OVERLONG = re.compile(rb"[\xc0\xc1][\x80-\xbf]|\xe0[\x80-\x9f][\x80-\xbf]")
"""Characters in more bytes of UTF-8 than they need, which some decoders take (RFC 3629, 3)."""

_WIDE = str.maketrans(
    dict.fromkeys("\uff0e\ufe52\u2024", ".")
    | dict.fromkeys("\u2025\ufe30", "..")
    | dict.fromkeys("\uff0f\u2044\u2215", "/")
    | dict.fromkeys("\uff3c\ufe68", "\\")
    | dict.fromkeys("\uff1b\ufe54\ufe14\u037e", ";")
    | dict.fromkeys("\uff05\ufe6a", "%")
)
"""Characters that NFKC, or a reader's best fit, takes for those that a path is split by. A table:
normalising a long path could cost the square of its length."""


class PeerPath:
    """A path below a prefix, split.

    ``lease`` is the decoded lease segment; ``raw_lease`` the segment as sent; ``target`` what goes
    upstream, path and query, starting with ``/``, or ``None`` where the path ends at the lease
    without a slash (it is to be redirected).
    """

    __slots__ = ("lease", "raw_lease", "target")

    def __init__(self, lease: str, raw_lease: bytes, target: bytes | None) -> None:
        self.lease = lease
        self.raw_lease = raw_lease
        self.target = target


def split_peer_path(target: bytes, prefix: bytes = b"/peer/") -> PeerPath | GatewayError:
    """Split an origin-form request target below ``prefix``.

    Returns the refusal, ``invalid_path`` or ``not_found``, where the path has no single reading.
    """
    path, mark, query = target.partition(b"?")
    if not path.startswith(prefix):
        return fault("not_found", "no resource has this path")
    raw_lease, slash, rest = path[len(prefix) :].partition(b"/")
    lease = _read_lease(raw_lease)
    if isinstance(lease, GatewayError):
        return lease
    refusal = _refusal(target, path, rest)
    if refusal is not None:
        return refusal
    return PeerPath(lease, raw_lease, b"/" + rest + mark + query if slash else None)


def refuse_lease_target(target: bytes) -> GatewayError | None:
    """Why an origin-form target cannot go to a lease as it is, where the host names the lease.

    The same holds as for what follows the lease in `split_peer_path`.
    """
    path = target.partition(b"?")[0]
    return _refusal(target, path, path[1:])


def climbs_when_read_again(target: bytes) -> bool:
    """Whether a reader that decodes a target behind the lease more than once could climb out of it.

    Where many leases are below one path, as at a relay that is asked by path, such a reader would
    come from one lease to another. So dot segments that only a second decoding brings about are
    refused, and so is what climbs once it is decoded to the end. Overlong and wide forms of dots
    and slashes count as what they stand for.
    """
    path = target.partition(b"?")[0]
    if _READ_AGAIN.search(path) is None:
        return False
    once = _decoded(path)
    read = once
    for _ in range(_ROUNDS):
        before = read
        # A chain of encoded percent signs is decoded at once, and so in linear time.
        read = _narrow(_decoded(_PERCENT_OF_PERCENT.sub(b"%", read)))
        if read == before:
            break
    else:
        return True
    if b"." not in read:
        return False
    names = _names(read)
    return _dots(names) > _dots(_names(once)) or _is_above(names)


def _decoded(text: bytes) -> bytes:
    # In `unquote_to_bytes` each broken escape raises an error of its own.
    return _ESCAPE.sub(_of_escape, text)


def _of_escape(found: re.Match[bytes]) -> bytes:
    return bytes((int(found[1], 16),))


def _narrow(text: bytes) -> bytes:
    if text.isascii():
        return text
    known = _OVERLONG.sub(_of_overlong, text).decode("utf-8", "surrogateescape")
    return known.translate(_WIDE).encode("utf-8", "surrogateescape")


def _of_overlong(found: re.Match[bytes]) -> bytes:
    *_, before, last = found[0]
    return bytes([(before & 0x3F) << 6 & 0xFF | last & 0x3F])


def _names(path: bytes) -> list[bytes]:
    """The segments of a decoded path without parameters, ends of C strings and space around."""
    return [
        segment.partition(b";")[0].partition(b"\0")[0].strip()
        for segment in path.replace(b"\\", b"/").split(b"/")
    ]


def _dots(names: list[bytes]) -> int:
    return names.count(b".") + names.count(b"..")


def _is_above(names: list[bytes]) -> bool:
    depth = 0
    for name in names:
        if name == b"..":
            depth -= 1
            if depth < 0:
                return True
        elif name not in {b"", b"."}:
            depth += 1
    return False


def _refusal(target: bytes, path: bytes, rest: bytes) -> GatewayError | None:
    if _FORBIDDEN.search(target) is not None or _ENCODED_CONTROL.search(path) is not None:
        return fault("invalid_path", "the path holds a control byte, a space, a # or a backslash")
    if _MAY_CLIMB.search(rest) is not None and _climbs(rest):
        return fault("invalid_path", "the path's dot segments would climb out of the lease")
    return None


def _read_lease(segment: bytes) -> str | GatewayError:
    if not segment:
        return fault("not_found", "the path names no lease; it is /peer/<lease>/")
    if len(segment) > MAX_LEASE_SEGMENT:
        return fault("invalid_path", f"the lease segment is longer than {MAX_LEASE_SEGMENT} bytes")
    if b"%" in segment:
        if _BROKEN_ESCAPE.search(segment) or _ENCODED_SEPARATOR.search(segment):
            return fault("invalid_path", "the lease segment holds a broken escape or a separator")
        segment = unquote_to_bytes(segment)
    try:
        lease = segment.decode("utf-8")
    except UnicodeDecodeError:
        return fault("invalid_path", "the lease segment is not UTF-8")
    if segment.partition(b";")[0] in {b".", b".."}:
        return fault("invalid_path", "the lease segment is a dot segment")
    # isprintable() is false for controls, invisible formatting, and all separators but the space.
    if not lease.isprintable():
        return fault("invalid_path", "the lease segment holds a control or invisible character")
    return lease


def _climbs(rest: bytes) -> bool:
    """Whether some reader of ``rest`` could end above the lease's root.

    Readers differ in whether an encoded slash or backslash separates segments, and in whether
    parameters are part of a segment. A path is refused when one of these readings climbs. Empty
    segments count for nothing, as for readers that merge slashes.
    """
    return _ends_above(rest) or _ends_above(_ENCODED_SEPARATOR.sub(b"/", rest))


def _ends_above(path: bytes) -> bool:
    names = [unquote_to_bytes(segment).partition(b";")[0] for segment in path.split(b"/")]
    return _is_above(names)
