"""The plain listener's only answer: the same URL over HTTPS."""

from collections.abc import Callable

from twisted.web.resource import Resource

from portal_gateway.errors import fault
from portal_gateway.frontend.request import Request

__all__ = ["RedirectToHTTPS"]

_PERMANENT_REDIRECT = 308

_HTTPS_PORT = 443


class RedirectToHTTPS(Resource):
    """Redirects every path with 308, which keeps method and body (RFC 9110 section 15.4.9).

    The host is the one that the client named, which was checked when the request was read; without
    one (HTTP/1.0) nothing can be said. ``port`` is asked for each answer.
    """

    isLeaf = True

    def __init__(self, port: Callable[[], int]) -> None:
        super().__init__()
        self._port = port

    def render(self, request: Request) -> bytes:
        """Send the client to the same target over TLS. Raises a refusal without a host."""
        host = request.getRequestHostname() if request.head.host else b""
        if not host:
            raise fault("bad_request", "without Host there is nowhere to redirect to")
        if b":" in host:
            host = b"[" + host + b"]"
        port = self._port()
        if port != _HTTPS_PORT:
            host += b":%d" % port
        request.setResponseCode(_PERMANENT_REDIRECT)
        request.setHeader(b"Location", b"https://" + host + request.uri)
        return b""
