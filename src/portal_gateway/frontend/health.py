"""Health for probes: alive, and ready for traffic."""

import json
from collections.abc import Callable
from http import HTTPStatus

from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from portal_gateway.errors import fault
from portal_gateway.frontend.answers import send_answer, send_problem
from portal_gateway.frontend.request import Request

__all__ = ["Health", "Ready"]

_FIELDS = ((b"Content-Type", b"application/json"), (b"Cache-Control", b"no-store"))

_ALIVE = json.dumps({"status": "ok"}).encode("ascii")
_READY = json.dumps({"status": "ready"}).encode("ascii")


def _answer(request: Request, status: HTTPStatus, body: bytes) -> int:
    if request.method in {b"GET", b"HEAD"}:
        send_answer(request, status, _FIELDS, body)
    else:
        refusal = fault("method_not_allowed", "health is only read", [(b"Allow", b"GET, HEAD")])
        send_problem(request, refusal)
    return NOT_DONE_YET


class Health(Resource):
    """``/health``: the process is alive and its reactor turns. It asks nobody."""

    def render(self, request: Request) -> int:
        """Answer 200."""
        return _answer(request, HTTPStatus.OK, _ALIVE)


class Ready(Resource):
    """``/health/ready``: 200 while there is a way upstream, 503 with the reasons while not.

    ``reasons`` gives what is missing, for people; none means ready.
    """

    isLeaf = True

    def __init__(self, reasons: Callable[[], list[str]]) -> None:
        super().__init__()
        self._reasons = reasons

    def render(self, request: Request) -> int:
        """Answer 200 or 503."""
        reasons = self._reasons()
        if not reasons:
            return _answer(request, HTTPStatus.OK, _READY)
        body = json.dumps({"status": "not_ready", "reasons": reasons}).encode("ascii")
        return _answer(request, HTTPStatus.SERVICE_UNAVAILABLE, body)
