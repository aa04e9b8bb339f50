"""The same channel over TLS, in memory."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
)
from twisted.internet.protocol import Factory
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import implementer

from portal_gateway.frontend.closing import LINGER_BOUND, LINGER_TIME
from portal_gateway.frontend.deadlines import CROSSING_TIME
from portal_gateway.testing.transports import connect
from tests.frontend.serving import GET, HOST, Client, Noting, Producer, Served, read_responses


@implementer(IOpenSSLClientConnectionCreator, IOpenSSLServerConnectionCreator)
class Connections:
    """Makes TLS connections of one context."""

    def __init__(self, context: SSL.Context) -> None:
        self.context = context

    def serverConnectionForTLS(self, protocol):
        return SSL.Connection(self.context, None)

    clientConnectionForTLS = serverConnectionForTLS


@pytest.fixture(scope="module")
def server_options():
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gateway.example")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, SHA256())
    )
    context = SSL.Context(SSL.TLS_METHOD)
    context.use_certificate(certificate)
    context.use_privatekey(key)
    return Connections(context)


class OneClient(Factory):
    """Gives out one client."""

    noisy = False

    def __init__(self, client: Client) -> None:
        self.client = client

    def buildProtocol(self, addr):
        return self.client


class ServedByTLS(Served):
    """The site behind a TLS factory; ``client`` is what is inside of the client's TLS."""

    def __init__(self, options, resource, **limits):
        self.options = options
        super().__init__(resource, **limits)

    def connect(self, host: str = "192.0.2.7") -> Client:
        address = IPv4Address("TCP", host, 50_000 + len(self.links))
        self.client = Client()
        server = TLSMemoryBIOFactory(
            self.options, isClient=False, wrappedFactory=self.site, clock=self.clock
        )
        client = TLSMemoryBIOFactory(
            Connections(SSL.Context(SSL.TLS_METHOD)),
            isClient=True,
            wrappedFactory=OneClient(self.client),
            clock=self.clock,
        )
        channel = server.buildProtocol(address)
        self.channel = channel.wrappedProtocol
        self.link = connect(client.buildProtocol(address), channel, client_address=address)
        self.links.append(self.link)
        return self.client


def answer(request, body=b"hello"):
    request.send_head(200, b"OK", [], length=len(body))
    request.send_data(body)
    request.send_end()


def test_requests(server_options) -> None:
    noting = Noting(answer)
    served = ServedByTLS(server_options, noting)
    received = served.send(GET + GET, GET)
    assert len(read_responses(received, [b"GET"] * 3)) == 3
    assert noting.requests[0].is_secure
    assert noting.requests[0].isSecure()
    assert noting.requests[0].prePathURL() == b"https://h/"
    assert served.transport.no_delay
    served.finish()


def test_a_slow_client_and_a_large_body(server_options) -> None:
    body = bytes(range(256)) * 4000
    served = ServedByTLS(server_options, Noting(lambda request: answer(request, body)))
    served.settle()
    served.link.client.pauseProducing()
    served.send(GET)
    assert served.transport.waiting < 3 * 64 * 1024
    served.wait(20)
    served.link.client.resumeProducing()
    assert read_responses(served.send())[0][2] == body
    assert served.send(GET).count(b"HTTP/1.1 200") == 2
    served.finish()


def test_write_stall(server_options) -> None:
    noting = Noting()
    served = ServedByTLS(server_options, noting)
    served.settle()
    served.link.client.pauseProducing()
    served.send(GET)
    producer = Producer()
    noting.requests[0].register_response_producer(producer)
    noting.requests[0].send_head(200, b"OK", [], length=None)
    noting.requests[0].send_data(b"x" * 500_000)
    served.wait(30)
    assert not served.transport.connected
    assert producer.told == ["pause", "stop"]
    assert served.site.limit_hits["write_stall"] == 1
    served.finish()


def test_a_connection_that_never_shakes_hands(server_options) -> None:
    served = ServedByTLS(server_options, Noting())
    served.link.client.pauseProducing()
    served.wait(12)
    assert not served.transport.connected
    assert served.site.limit_hits["header_timeout"] == 1
    served.finish()


def test_a_refused_request_is_answered_and_closed(server_options) -> None:
    served = ServedByTLS(server_options, Noting())
    received = served.send(b"GET / HTTP/1.1\r\nHost : h\r\n\r\n")
    assert read_responses(received, ended=True)[0][0] == 400
    assert served.client.lost is not None
    assert served.client.lost.check(ConnectionDone)
    served.finish()


def test_a_long_early_answer_is_received(server_options) -> None:
    served = ServedByTLS(server_options, Noting(answer))
    served.settle()
    served.link.client.pauseProducing()
    length = 10 * LINGER_BOUND
    served.send(b"PUT / HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % length)
    for _ in range(40):
        served.send(b"x" * 64 * 1024)
    assert served.link.client.sent < LINGER_BOUND + 256 * 1024
    served.link.client.resumeProducing()
    served.settle()
    assert read_responses(served.client.received, ended=True)[0][0] == 200
    served.wait(LINGER_TIME)
    assert not served.transport.connected
    served.finish()


def test_a_cut_response_has_no_clean_end(server_options) -> None:
    noting = Noting()
    served = ServedByTLS(server_options, noting)
    served.send(b"GET / HTTP/1.0\r\n\r\n")
    request = noting.requests[0]
    request.send_head(200, b"OK", [], length=None)
    request.send_data(b"half")
    served.settle()
    request.abort()
    served.settle()
    assert served.client.received.endswith(b"half")
    assert served.client.lost is not None
    assert not served.client.lost.check(ConnectionDone)
    served.finish()


def test_a_close_delimited_response_has_one(server_options) -> None:
    def respond(request):
        request.send_head(200, b"OK", [], length=None)
        request.send_data(b"whole")
        request.send_end()

    served = ServedByTLS(server_options, Noting(respond))
    assert served.send(b"GET / HTTP/1.0\r\n\r\n").endswith(b"whole")
    assert served.client.lost is not None
    assert served.client.lost.check(ConnectionDone)
    served.finish()


def test_a_client_that_leaves(server_options) -> None:
    noting = Noting()
    served = ServedByTLS(server_options, noting)
    served.send(GET)
    gone: list[int] = []
    noting.requests[0].on_disconnect(lambda: gone.append(1))
    served.client.transport.loseConnection()
    served.settle()
    assert gone == [1]
    served.finish()


def test_too_many_connections(server_options) -> None:
    served = ServedByTLS(server_options, Noting(), connections=1)
    served.settle()
    refused = served.connect()
    served.settle()
    assert refused.lost is not None
    assert served.site.limit_hits["connections"] == 1
    served.finish()


def test_stop(server_options) -> None:
    served = ServedByTLS(server_options, Noting(answer))
    served.send(GET)
    stopped: list[None] = []
    served.site.stop().addCallback(stopped.append)
    served.wait(CROSSING_TIME)
    assert served.client.lost is not None
    served.wait(1)
    assert stopped == [None]
    served.finish()
