"""The HTTP client and its pool over real sockets: TCP and TLS on the loopback interface."""

import datetime as dt

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.internet import reactor, ssl
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.endpoints import TCP4ClientEndpoint, wrapClientTLS
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from portal_gateway.relay.http_client import BodyFraming
from portal_gateway.relay.pool import Pool, PoolLimits
from portal_gateway.wire.http1_request import RequestReader
from portal_gateway.wire.http1_writing import serialise_response
from tests.relay.scripted_upstream import RecordingSink

BULK = 8 * 1024 * 1024


def self_signed():
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "lease.test")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("lease.test")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return ssl.PrivateCertificate.loadPEM(pem + private), ssl.Certificate.loadPEM(pem)


class Lease(Protocol):
    """Answers with the length of what it was sent; ``/bulk`` with much."""

    def connectionMade(self):
        self.factory.connections.append(self)
        self.reader = RequestReader(self)

    def dataReceived(self, data):
        self.reader.receive_data(data)

    def request_head(self, head):
        self.head = head
        self.size = 0
        if not head.content_length and not head.chunked:
            self.answer()

    def request_data(self, data):
        self.size += len(data)

    def request_end(self, trailers):
        self.answer()

    def answer(self):
        body = b"s" * BULK if self.head.target == b"/bulk" else b"%d" % self.size
        fields = [(b"Content-Length", b"%d" % len(body))]
        self.transport.write(serialise_response(200, b"OK", fields) + body)
        self.reader.next_request()


class Waiting(RecordingSink):
    """``ended`` fires with it when the exchange is over."""

    def __init__(self):
        super().__init__()
        self.ended = Deferred()
        self.pieces = []

    def response_data(self, data):
        self.pieces.append(data)

    def response_end(self, trailers):
        self.body = b"".join(self.pieces)
        super().response_end(trailers)
        self.ended.callback(self)

    def response_failed(self, error):
        super().response_failed(error)
        self.ended.callback(self)


class Streams:
    """The tests; a subclass says over what."""

    def setUp(self):
        self.lease = Factory.forProtocol(Lease)
        self.lease.connections = []
        self.port = self.listen()
        self.pool = Pool(self.endpoint(self.port.getHost().port), reactor, PoolLimits())

    @inlineCallbacks
    def tearDown(self):
        self.pool.close()
        yield self.port.stopListening()
        # What the pool aborted ends in the next turns.
        while any(lease.transport.connected for lease in self.lease.connections):
            yield deferLater(reactor, 0.01)
        self.assertTrue(self.pool.unused)

    def request(self, method, target=b"/", body=None):
        sink = Waiting()
        sink.exchange = self.pool.request(
            method, target, [(b"Host", b"lease.test")], sink, body=body or BodyFraming.none()
        )
        return sink

    @inlineCallbacks
    def test_requests_share_a_connection(self):
        for _ in range(20):
            sink = self.request(b"POST", body=BodyFraming.chunked())
            sink.exchange.write(b"abc")
            sink.exchange.end()
            yield sink.ended
            self.assertEqual(sink.body, b"3")
        self.assertEqual(self.pool.dials_total, 1)
        self.assertEqual(len(self.lease.connections), 1)

    @inlineCallbacks
    def test_a_long_body_is_held_back_and_arrives(self):
        sink = self.request(b"POST", body=BodyFraming.length(BULK))
        left = BULK
        while left:
            while sink.held:
                yield deferLater(reactor, 0)
            sink.exchange.write(b"x" * min(left, 65536))
            left -= min(left, 65536)
        yield sink.ended
        self.assertEqual(sink.body, b"%d" % BULK)
        self.assertGreater(sink.paused, 2)
        self.assertEqual(self.pool.idle, 1)

    @inlineCallbacks
    def test_a_long_response_arrives_through_pauses(self):
        sink = self.request(b"GET", b"/bulk")
        pauses = 0
        while not sink.endings:
            before = len(sink.pieces)
            yield deferLater(reactor, 0)
            if len(sink.pieces) > before and not sink.endings and pauses < 20:
                pauses += 1
                sink.exchange.pause()
                paused_at = len(sink.pieces)
                yield deferLater(reactor, 0.005)
                # What TLS had already decrypted may still come; nothing is read any more.
                self.assertLessEqual(len(sink.pieces) - paused_at, 4)
                sink.exchange.resume()
        self.assertEqual(sink.body, b"s" * BULK)
        self.assertGreater(pauses, 2)
        self.assertEqual(self.pool.idle, 1)

    @inlineCallbacks
    def test_a_connection_closed_while_idle_is_not_used(self):
        yield self.request(b"GET").ended
        self.lease.connections[0].transport.loseConnection()
        while self.pool.idle:
            yield deferLater(reactor, 0)
        sink = yield self.request(b"POST").ended
        self.assertTrue(sink.complete)
        self.assertEqual(sink.exchange.attempts, 1)

    @inlineCallbacks
    def test_a_connection_that_breaks_under_a_request(self):
        yield self.request(b"GET").ended
        self.lease.connections[0].transport.abortConnection()
        sink = yield self.request(b"GET").ended
        self.assertTrue(sink.complete)
        self.assertFalse(sink.exchange.reused)

    @inlineCallbacks
    def test_cancel_reaches_the_lease(self):
        sink = self.request(b"POST", body=BodyFraming.chunked())
        while not self.lease.connections or not hasattr(self.lease.connections[0], "head"):
            yield deferLater(reactor, 0)
        sink.exchange.cancel()
        sink.silent = True
        while self.lease.connections[0].transport.connected:
            yield deferLater(reactor, 0)
        self.assertTrue(self.pool.unused)

    @inlineCallbacks
    def test_drain(self):
        yield self.request(b"GET").ended
        yield self.pool.drain(RuntimeError())
        self.assertTrue(self.pool.unused)


class OverTCP(Streams, TestCase):
    def listen(self):
        return reactor.listenTCP(0, self.lease, interface="127.0.0.1")

    def endpoint(self, port):
        return TCP4ClientEndpoint(reactor, "127.0.0.1", port)

    @inlineCallbacks
    def test_nobody_listens(self):
        port = self.port.getHost().port
        yield self.port.stopListening()
        self.port = reactor.listenTCP(0, self.lease, interface="127.0.0.1")
        pool = Pool(self.endpoint(port), reactor, PoolLimits())
        sink = Waiting()
        pool.request(b"GET", b"/", (), sink, body=BodyFraming.none())
        yield sink.ended
        self.assertEqual(sink.code, "lease_offline")
        pool.close()


@pytest.mark.filterwarnings("ignore:Passing pyOpenSSL .* objects:DeprecationWarning")
class OverTLS(Streams, TestCase):
    def listen(self):
        self.private, self.certificate = self_signed()
        return reactor.listenSSL(0, self.lease, self.private.options(), interface="127.0.0.1")

    def endpoint(self, port):
        options = ssl.optionsForClientTLS("lease.test", trustRoot=self.certificate)
        return wrapClientTLS(options, TCP4ClientEndpoint(reactor, "127.0.0.1", port))
