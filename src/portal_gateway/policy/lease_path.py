"""Which lease a path names, and what of the path goes to it: one reading, or a refusal.

``/peer/<lease>/<rest>`` is split on its raw bytes, before any decoding, so that the lease that the
guards decide about is the lease that is dialled. Whatever two readers could read differently in or
before the lease segment is refused; what follows it goes upstream byte for byte, unless it could
climb out of the lease.
"""

import re
from urllib.parse import unquote_to_bytes

from portal_gateway.errors import GatewayError, fault

__all__ = ["MAX_LEASE_SEGMENT", "PeerPath", "refuse_lease_target", "split_peer_path"]

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
    depth = 0
    for segment in path.split(b"/"):
        name = unquote_to_bytes(segment).partition(b";")[0]
        if name == b"..":
            depth -= 1
            if depth < 0:
                return True
        elif name not in {b"", b"."}:
            depth += 1
    return False
