"""``/metrics``: what is measured, in the text format of Prometheus or OpenMetrics."""

import re
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from portal_gateway.errors import fault
from portal_gateway.frontend.request import Request
from portal_gateway.observe.exposition import written_in_parts

__all__ = ["MetricsPage"]

_GZIP_LEVEL: Final = 1
"""A scrape is text that repeats itself: the first level makes a tenth of it in 1 ms."""

_GZIP_FORMAT: Final = zlib.MAX_WBITS + 16
"""What makes zlib write the header of gzip."""

_GZIP: Final = re.compile(r"(?:x-)?gzip[ \t]*(?:;[ \t]*q=([01](?:\.[0-9]{0,3})?))?")


class MetricsPage(Resource):
    """Reads the registry at each request, and asks nobody."""

    isLeaf = True

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__()
        self._registry = registry

    def render_GET(self, request: Request) -> Any:
        """Answer in the format and coding that the client takes. Raises 404 for what is below."""
        if request.postpath:
            raise fault("not_found", "no resource has this path")
        accept = _text(request, b"accept")
        try:
            encode, content_type = choose_encoder(accept)
        except (TypeError, ValueError):
            # The library does not expect a version that is no number.
            encode, content_type = choose_encoder("")
        request.setHeader(b"Content-Type", content_type.encode("latin-1"))
        request.setHeader(b"Cache-Control", b"no-store")
        compressed = _takes_gzip(_text(request, b"accept-encoding"))
        if compressed:
            request.setHeader(b"Content-Encoding", b"gzip")
        parts = written_in_parts(self._registry.collect(), encode)
        return _Writing(parts, compressed=compressed).go_on(request)


class _Writing:
    """One answer, of which a part is made in each turn of the reactor."""

    def __init__(self, parts: Sequence[Callable[[], bytes]], *, compressed: bool) -> None:
        self._parts = deque(parts)
        self._gzip = zlib.compressobj(_GZIP_LEVEL, wbits=_GZIP_FORMAT) if compressed else None
        self._written: list[bytes] = []

    def go_on(self, request: Request) -> Any:
        """Make the next part; the whole body when that was the last."""
        part, gzip = self._parts.popleft()(), self._gzip
        self._written.append(part if gzip is None else gzip.compress(part))
        if self._parts:
            request.site.call_soon(partial(self._next, request))
            return NOT_DONE_YET
        if gzip is not None:
            self._written.append(gzip.flush())
        return b"".join(self._written)

    def _next(self, request: Request) -> None:
        if not request.over:
            request.site.render_by(self.go_on, request)


def _takes_gzip(accepted: str) -> bool:
    """Whether the codings that a client takes (RFC 9110 section 12.5.3) name gzip."""
    return any(
        (found := _GZIP.fullmatch(coding.strip().lower())) and float(found[1] or 1) > 0
        for coding in accepted.split(",")
    )


def _text(request: Request, name: bytes) -> str:
    return b",".join(request.head.values(name)).decode("latin-1")
