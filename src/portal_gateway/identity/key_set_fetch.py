"""Fetching a JWK Set: one GET, bounded in time and size, that goes where it was sent."""

from typing import Any, Final, TypeVar

from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import Agent, ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IAgentEndpointFactory
from zope.interface import implementer

from portal_gateway.errors import GatewayError
from portal_gateway.wire.jwt_keys import MAX_KEY_SET_BYTES

__all__ = ["FETCH_TIMEOUT", "FetchFailed", "KeySetFetch"]

FETCH_TIMEOUT: Final = 5.0
"""Seconds for all of it. Requests wait for the first set of keys, and clients not much longer."""

T = TypeVar("T")

_OK: Final = 200

_FIELDS: Final = Headers({b"Accept": [b"application/jwk-set+json, application/json"]})


class FetchFailed(Exception):
    """The argument says why, in words of ours."""


class KeySetFetch:
    """Fetches from ``url`` by ``endpoint``, whose TLS it has. Redirects are not followed."""

    def __init__(self, reactor: Any, url: str, endpoint: IStreamClientEndpoint) -> None:
        self._reactor = reactor
        self._url = url
        self._endpoint = endpoint

    def __call__(self) -> Deferred[bytes]:
        """The body of the answer, or `FetchFailed`; it may be cancelled."""
        way = _Way(self._endpoint)
        agent = _Uncoded(Agent.usingEndpointFactory(self._reactor, way))
        answer: Deferred[Any] = HTTPClient(agent).get(
            self._url,
            headers=_FIELDS,
            allow_redirects=False,
            unbuffered=True,
            reactor=self._reactor,
        )
        body: Deferred[bytes] = answer.addCallback(_body_of).addErrback(_as_cancelled)
        body.addTimeout(FETCH_TIMEOUT, self._reactor)
        return body.addErrback(_in_our_words).addBoth(way.end)


@implementer(IAgent)
class _Uncoded:
    """An agent below treq's, which would inflate an answer read by read, without a bound.

    It asks for no content coding (RFC 9110 section 12.5.3) and fails where the answer has one.
    """

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: Any = None,
    ) -> Deferred[Any]:
        """Send a request; the answer, or `FetchFailed`."""
        fields = Headers() if headers is None else headers.copy()
        fields.setRawHeaders(b"Accept-Encoding", [b"identity"])
        asked: Deferred[Any] = self._agent.request(method, uri, fields, bodyProducer)
        return asked.addCallback(_uncoded)


def _uncoded(response: Any) -> Any:
    codings = b",".join(response.headers.getRawHeaders(b"Content-Encoding", []))
    if codings.strip(b" \t,").lower() not in {b"", b"identity"}:
        raise FetchFailed("the answer is compressed, which was not asked for")
    return response


@implementer(IAgentEndpointFactory, IStreamClientEndpoint)
class _Way:
    """The way to the one place, whatever the URL says, for one fetch."""

    def __init__(self, endpoint: IStreamClientEndpoint) -> None:
        self._endpoint = endpoint
        self._protocol: Any = None

    def endpointForURI(self, uri: object) -> IStreamClientEndpoint:  # noqa: ARG002 - Twisted's
        """This one."""
        return self

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect, and remember what is connected."""

        def connected(protocol: IProtocol) -> IProtocol:
            self._protocol = protocol
            return protocol

        return self._endpoint.connect(protocolFactory).addCallback(connected)

    def end(self, result: T) -> T:
        """Leave no connection behind: the other end may never close it."""
        if self._protocol is not None:
            self._protocol.transport.abortConnection()
        return result


def _as_cancelled(failure: Failure) -> Failure:
    """Twisted wraps it where an answer was waited for."""
    reasons = getattr(failure.value, "reasons", ())
    if any(reason.check(CancelledError) for reason in reasons):
        return Failure(CancelledError())
    return failure


def _in_our_words(failure: Failure) -> Failure:
    """What the other end and the libraries say about it may hold anything."""
    error = failure.value
    if failure.check(FetchFailed, CancelledError):
        return failure
    if isinstance(error, GatewayError):
        untrusted = error.cause.code == "identity_mismatch"
        return Failure(FetchFailed(_UNTRUSTED if untrusted else "the TLS handshake failed"))
    if failure.check(TookTooLong):
        return Failure(FetchFailed(f"there is no answer within {FETCH_TIMEOUT:g} s"))
    if failure.check(ConnectError, DNSLookupError):
        return Failure(FetchFailed("the connection cannot be made"))
    return Failure(FetchFailed("the answer is cut off, or is no HTTP"))


_UNTRUSTED: Final = "the certificate is not trusted, or for another name"


def _body_of(response: Any) -> Deferred[bytes]:
    body = _Body(response.code)
    response.deliverBody(body)
    return body.whole


class _Body(Protocol):
    """Takes the body of an answer, unless it is one of another status or too long."""

    def __init__(self, status: int) -> None:
        self._status = status
        self._parts: list[bytes] = []
        self._room = MAX_KEY_SET_BYTES
        self.whole: Deferred[bytes] = Deferred()

    def connectionMade(self) -> None:
        if self._status != _OK:
            self._fail(FetchFailed(f"the answer has the status {self._status}"))

    def dataReceived(self, data: bytes) -> None:
        if self.whole.called:
            return
        self._parts.append(data)
        self._room -= len(data)
        if self._room < 0:
            self._parts.clear()
            self._fail(FetchFailed(f"the answer has more than {MAX_KEY_SET_BYTES} bytes"))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.whole.called:
            return
        if reason.check(ResponseDone, PotentialDataLoss):
            self.whole.callback(b"".join(self._parts))
        else:
            self.whole.errback(reason)

    def _fail(self, error: FetchFailed) -> None:
        if not self.whole.called:
            self.whole.errback(error)
