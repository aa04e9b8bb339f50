"""Health for probes: alive, and ready for traffic."""

import json
from collections.abc import Callable
from http import HTTPStatus
from typing import NoReturn

from twisted.web.resource import Resource

from portal_gateway.errors import fault
from portal_gateway.frontend.request import Request

__all__ = ["Health", "Ready", "answer_json", "nothing_below"]


def answer_json(request: Request, status: int, told: object) -> bytes:
    """A small answer that nobody keeps."""
    request.setResponseCode(status)
    request.setHeader(b"Content-Type", b"application/json")
    request.setHeader(b"Cache-Control", b"no-store")
    return json.dumps(told).encode("ascii")


def nothing_below(request: Request) -> None:
    """Raise 404 for a path that goes on behind the resource's own."""
    if request.postpath:
        raise fault("not_found", "no resource has this path")


class Health(Resource):
    """``/health``: the process is alive and its reactor turns. It asks nobody."""

    def getChild(self, path: bytes, request: Request) -> NoReturn:  # noqa: ARG002 - Twisted's
        """Raise 404: what there is below was put there."""
        raise fault("not_found", "no resource has this path")

    def render_GET(self, request: Request) -> bytes:
        """Answer 200."""
        return answer_json(request, HTTPStatus.OK, {"status": "ok"})


class Ready(Resource):
    """``/health/ready``: 200 while there is a way upstream, 503 with the reasons while not.

    ``reasons`` gives what is missing, for people; none means ready. It is 503 from the first moment
    on that the gateway drains.
    """

    isLeaf = True

    def __init__(self, reasons: Callable[[], list[str]]) -> None:
        super().__init__()
        self._reasons = reasons

    def render_GET(self, request: Request) -> bytes:
        """Answer 200 or 503. Raises 404 for what is below."""
        nothing_below(request)
        reasons = ["the gateway is stopping"] if request.site.draining else self._reasons()
        if not reasons:
            return answer_json(request, HTTPStatus.OK, {"status": "ready"})
        told = {"status": "not_ready", "reasons": reasons}
        return answer_json(request, HTTPStatus.SERVICE_UNAVAILABLE, told)
