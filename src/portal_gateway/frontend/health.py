"""Health for probes: alive, and ready for traffic."""

import json
from collections.abc import Callable
from http import HTTPStatus

from twisted.web.resource import Resource

from portal_gateway.frontend.request import Request

__all__ = ["Health", "Ready", "answer_json"]


def answer_json(request: Request, status: int, told: object) -> bytes:
    """A small answer that nobody keeps."""
    request.setResponseCode(status)
    request.setHeader(b"Content-Type", b"application/json")
    request.setHeader(b"Cache-Control", b"no-store")
    return json.dumps(told).encode("ascii")


class Health(Resource):
    """``/health``: the process is alive and its reactor turns. It asks nobody."""

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
        """Answer 200 or 503."""
        reasons = ["the gateway is stopping"] if request.site.draining else self._reasons()
        if not reasons:
            return answer_json(request, HTTPStatus.OK, {"status": "ready"})
        told = {"status": "not_ready", "reasons": reasons}
        return answer_json(request, HTTPStatus.SERVICE_UNAVAILABLE, told)
