"""``/metrics``: what is measured, in the text format of Prometheus or OpenMetrics."""

import gzip
import re
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from twisted.web.resource import Resource

from portal_gateway.errors import fault
from portal_gateway.frontend.request import Request

__all__ = ["MetricsPage"]

_GZIP_LEVEL: Final = 1
"""A scrape is text that repeats itself: the first level makes a tenth of it in 1 ms."""

_GZIP: Final = re.compile(r"(?:x-)?gzip[ \t]*(?:;[ \t]*q=([01](?:\.[0-9]{0,3})?))?")


class MetricsPage(Resource):
    """Reads the registry at each request, and asks nobody."""

    isLeaf = True

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__()
        self._registry = registry

    def render_GET(self, request: Request) -> bytes:
        """Answer in the format and coding that the client takes. Raises 404 for what is below."""
        if request.postpath:
            raise fault("not_found", "no resource has this path")
        accept = _text(request, b"accept")
        try:
            encode, content_type = choose_encoder(accept)
        except (TypeError, ValueError):
            # The library does not expect a version that is no number.
            encode, content_type = choose_encoder("")
        body = encode(self._registry)
        request.setHeader(b"Content-Type", content_type.encode("latin-1"))
        request.setHeader(b"Cache-Control", b"no-store")
        if _takes_gzip(_text(request, b"accept-encoding")):
            body = gzip.compress(body, _GZIP_LEVEL)
            request.setHeader(b"Content-Encoding", b"gzip")
        return body


def _takes_gzip(accepted: str) -> bool:
    """Whether the codings that a client takes (RFC 9110 section 12.5.3) name gzip."""
    return any(
        (found := _GZIP.fullmatch(coding.strip().lower())) and float(found[1] or 1) > 0
        for coding in accepted.split(",")
    )


def _text(request: Request, name: bytes) -> str:
    return b",".join(request.head.values(name)).decode("latin-1")
