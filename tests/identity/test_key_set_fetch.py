import gzip
import tracemalloc
from datetime import UTC, datetime

import pytest
from twisted.internet.defer import CancelledError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import CertificateOptions
from twisted.protocols.tls import TLSMemoryBIOFactory

from portal_gateway.config.upstream_tls import UpstreamTLS
from portal_gateway.identity.key_set_fetch import FETCH_TIMEOUT, FetchFailed, KeySetFetch
from portal_gateway.relay.client_tls import ClientTLS
from portal_gateway.relay.origins import origin_endpoint
from portal_gateway.testing.memory_reactor import MemoryReactor
from portal_gateway.wire.jwt_keys import MAX_KEY_SET_BYTES
from tests.identity.issuer import PORT, Issuer, answer
from tests.tls.tls_world import Certified
from tests.wire.jwt_world import jwk, key_set

NOW = datetime.now(UTC)
AUTHORITY = Certified("an authority", authority=True, now=NOW)


class Stage:
    """An issuer at 127.0.0.1, and what came of one fetch."""

    def __init__(self, tls=None):
        self.reactor = MemoryReactor()
        self.issuer = Issuer()
        self.endpoint = origin_endpoint(self.reactor, "127.0.0.1", PORT, tls)
        scheme = "http" if tls is None else "https"
        url = f"{scheme}://127.0.0.1:{PORT}/.well-known/keys?p=1"
        self.fetch = KeySetFetch(self.reactor, url, self.endpoint)
        self.results = []

    def listen(self, factory=None):
        self.reactor.listenTCP(PORT, factory or self.issuer)
        return self

    def start(self):
        fetching = self.fetch()
        fetching.addBoth(self.results.append)
        self.reactor.settle()
        return fetching

    def failed(self, error=FetchFailed):
        (failure,) = self.results
        assert failure.check(error), failure
        self.nothing_left()
        return str(failure.value)

    def nothing_left(self):
        self.reactor.advance(0.1)
        assert self.reactor.getDelayedCalls() == []
        assert all(asked.lost is not None for asked in self.issuer.connections)


def test_a_set_of_keys_is_fetched():
    stage = Stage().listen()
    stage.start()
    assert stage.results == [key_set(jwk("ES256", "a"))]
    (request,) = stage.issuer.requests
    assert request.startswith(b"GET /.well-known/keys?p=1 HTTP/1.1\r\n")
    assert b"Accept: application/jwk-set+json, application/json\r\n" in request
    stage.nothing_left()


def test_each_fetch_is_a_connection_of_its_own():
    stage = Stage().listen()
    stage.start()
    stage.start()
    assert len(stage.issuer.connections) == 2
    stage.nothing_left()


@pytest.mark.parametrize(
    "status", ["301 Moved", "302 Found", "307 T", "308 P", "204 No", "404 N", "500 E", "503 S"]
)
def test_only_an_answer_of_200_is_one_and_redirects_are_not_followed(status):
    stage = Stage().listen()
    elsewhere = Issuer()
    stage.reactor.listenTCP(PORT + 1, elsewhere)
    location = f"Location: http://127.0.0.1:{PORT + 1}/"
    stage.issuer.answer = answer(b"" if status[0:3] == "204" else b"{}", status, [location])
    stage.start()
    assert stage.failed() == f"the answer has the status {status[:3]}"
    assert elsewhere.connections == []


def test_an_answer_that_is_too_long_is_cut_off():
    stage = Stage().listen()
    stage.issuer.answer = answer(b"x" * MAX_KEY_SET_BYTES)
    stage.start()
    assert stage.results == [b"x" * MAX_KEY_SET_BYTES]
    stage.results.clear()
    stage.issuer.answer = answer(b"x" * 10 * MAX_KEY_SET_BYTES)
    stage.start()
    assert stage.failed() == f"the answer has more than {MAX_KEY_SET_BYTES} bytes"


@pytest.mark.parametrize("codings", [["gzip"], ["gzip, gzip"], ["br"], ["identity", "gzip"]])
def test_a_compressed_answer_is_not_inflated(codings):
    stage = Stage().listen()
    # 64 MiB in 64 KiB: one read of it.
    body = gzip.compress(bytes(64 * 1024 * 1024))
    fields = [f"Content-Encoding: {coding}" for coding in codings]
    stage.issuer.answer = answer(body, fields=fields)
    tracemalloc.start()
    try:
        stage.start()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * len(body)
    assert stage.failed() == "the answer is compressed, which was not asked for"
    (request,) = stage.issuer.requests
    assert b"Accept-Encoding: identity\r\n" in request
    assert b"gzip" not in request


def test_an_answer_may_say_that_it_is_not_compressed():
    stage = Stage().listen()
    stage.issuer.answer = answer(b"{}", fields=["Content-Encoding: identity"])
    stage.start()
    assert stage.results == [b"{}"]
    stage.nothing_left()


@pytest.mark.parametrize("begun", [None, b"HTTP/1.1 200 OK\r\n", answer(b"{}")[:-1]])
def test_all_of_it_has_a_time(begun):
    stage = Stage().listen()
    stage.issuer.answer = begun
    stage.start()
    stage.reactor.advance(FETCH_TIMEOUT - 0.1)
    assert stage.results == []
    stage.reactor.advance(0.1)
    stage.reactor.settle()
    assert stage.failed() == "there is no answer within 5 s"


@pytest.mark.parametrize("begun", [None, answer(b"{}")[:-1]])
def test_it_can_be_cancelled(begun):
    stage = Stage().listen()
    stage.issuer.answer = begun
    stage.start().cancel()
    stage.reactor.settle()
    stage.failed(CancelledError)


def test_nobody_there():
    stage = Stage()
    stage.start()
    assert stage.failed() == "the connection cannot be made"


@pytest.mark.parametrize(
    "answered", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", b"canary \x1b[2J\r\n\r\n"]
)
def test_an_answer_that_is_cut_off_or_no_http(answered):
    stage = Stage().listen()
    stage.issuer.answer = answered
    stage.start()
    for asked in stage.issuer.connections:
        asked.transport.loseConnection()
    stage.reactor.settle()
    assert stage.failed() == "the answer is cut off, or is no HTTP"


# TLS.


def over_tls(tmp_path, certified):
    (tmp_path / "ca.pem").write_bytes(AUTHORITY.pem)
    stage = Stage(ClientTLS(UpstreamTLS(ca_file=tmp_path / "ca.pem")))
    options = CertificateOptions(privateKey=certified.key, certificate=certified.certificate)
    return stage.listen(
        TLSMemoryBIOFactory(
            options, isClient=False, wrappedFactory=stage.issuer, clock=stage.reactor
        )
    )


def test_over_tls_with_an_authority_of_its_own(tmp_path):
    stage = over_tls(tmp_path, Certified("issuer", AUTHORITY, now=NOW))
    stage.start()
    assert stage.results == [key_set(jwk("ES256", "a"))]
    stage.nothing_left()


@pytest.mark.parametrize(
    "certified",
    [
        Certified("issuer", AUTHORITY, now=NOW, hosts=["issuer.example"]),
        Certified("issuer", Certified("another", authority=True, now=NOW), now=NOW),
    ],
    ids=["for another name", "of another authority"],
)
def test_a_certificate_that_is_not_good_is_refused(tmp_path, certified):
    stage = over_tls(tmp_path, certified)
    stage.start()
    assert stage.failed() == "the certificate is not trusted, or for another name"
    assert stage.issuer.requests == []


def test_what_speaks_no_tls(tmp_path):
    stage = Stage(ClientTLS(UpstreamTLS(insecure=True)))

    class Plain(Protocol):
        def dataReceived(self, data):
            self.transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    stage.listen(Factory.forProtocol(Plain))
    stage.start()
    assert stage.failed() == "the TLS handshake failed"
