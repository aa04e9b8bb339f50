"""Where an authority looks for the answers of HTTP-01 (RFC 8555 section 8.3), and nobody else.

The place is the gateway's own at every host, those of leases too: nothing there is carried to a
lease, so there is no guard that it goes past. A token that no order has is 404 like any other path
that leads nowhere.
"""

from typing import TYPE_CHECKING

from twisted.web.resource import IResource, Resource

from portal_gateway.errors import fault
from portal_gateway.frontend.request import Request

if TYPE_CHECKING:
    from portal_gateway.tls.acme_answers import Answers

__all__ = ["WithChallenges"]

_PLACE = (b".well-known", b"acme-challenge")


class WithChallenges(Resource):
    """Answers an authority from ``answers``, and everybody else as ``others`` does."""

    def __init__(self, answers: "Answers", others: IResource) -> None:
        super().__init__()
        self._answer = _Answer(answers)
        self._others = others

    def getChildWithDefault(self, path: bytes, request: Request) -> IResource:
        """The answers at their place, else what the others have."""
        if path == _PLACE[0] and request.postpath[:1] == [_PLACE[1]]:
            return self._answer
        others = self._others
        if others.isLeaf:
            return others
        child: IResource = others.getChildWithDefault(path, request)
        return child


class _Answer(Resource):
    isLeaf = True

    def __init__(self, answers: "Answers") -> None:
        super().__init__()
        self._answers = answers

    def render(self, request: Request) -> bytes:
        """Answer for the one token that the path names. Raises ``not_found``."""
        _, *tokens = request.postpath
        authorization = None
        if len(tokens) == 1 and request.method in {b"GET", b"HEAD"}:
            authorization = self._answers.authorization(tokens[0])
        if authorization is None:
            raise fault("not_found", "no order of a certificate has this token")
        request.setHeader(b"Content-Type", b"application/octet-stream")
        request.setHeader(b"Cache-Control", b"no-store")
        return authorization
