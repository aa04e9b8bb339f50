"""``/whoami``: who the caller is to the gateway, and what is left for it to use."""

import json
from typing import Any

from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from portal_gateway.errors import fault
from portal_gateway.frontend.quota_guard import QuotaGuard
from portal_gateway.frontend.request import Request
from portal_gateway.policy.whoami import caller_members

__all__ = ["WhoAmI"]


class WhoAmI(Resource):
    """Behind the guards that find out who calls and limit it. It takes nothing from a quota."""

    isLeaf = True

    def __init__(self, quotas: QuotaGuard | None = None) -> None:
        super().__init__()
        self._quotas = quotas

    def render_GET(self, request: Request) -> Any:
        """Answer with a JSON object, once it is known what the caller has used.

        Raises 404 for what is below.
        """
        if request.postpath:
            raise fault("not_found", "no resource has this path")
        caller = request.exchange.caller
        assert caller is not None, "a guard stands before this"
        asked = None if self._quotas is None else self._quotas.refresh(caller)
        if asked is None:
            return self._body(request)

        def answer(_over: None) -> None:
            if not request.over:
                request.site.render_by(self._body, request)

        request.notifyFinish().addBoth(lambda _over: asked.cancel())
        asked.addCallbacks(answer, lambda _cancelled: None)
        return NOT_DONE_YET

    def _body(self, request: Request) -> bytes:
        caller = request.exchange.caller
        assert caller is not None
        current = () if self._quotas is None else self._quotas.current(caller)
        request.setHeader(b"Content-Type", b"application/json")
        request.setHeader(b"Cache-Control", b"no-store")
        members = caller_members(caller, request.exchange.response_fields, current)
        return json.dumps(members).encode("ascii")
