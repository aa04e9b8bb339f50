"""The relay connection over real sockets: TCP and TLS on the loopback interface."""

import datetime as dt
import hashlib
import ipaddress
import os
import tempfile
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.internet import reactor, ssl
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from portal_gateway.relay.connection import RelayConnection
from portal_gateway.relay.lost import Loss, RelayLost
from portal_gateway.relay.relay_dialling import RelayURL, dial_relay, verified_tls
from portal_gateway.relay.secure_stream import SecureStream
from portal_gateway.relay.session import RelaySession
from portal_gateway.relay.websocket import ServerCarrierFactory
from portal_gateway.wire.identity import Credential
from portal_gateway.wire.secure_channel import SecureChannel
from portal_gateway.wire.yamux import Role

BULK = 32 * 1024 * 1024


class Authority:
    """A certificate authority, and what it signs."""

    def __init__(self, directory):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test authority")])
        self.certificate = self._sign(self.name, self.key.public_key(), None)
        self.file = Path(directory) / f"{os.urandom(4).hex()}.pem"
        self.file.write_bytes(
            b"# a comment\n" + self.certificate.public_bytes(serialization.Encoding.PEM)
        )

    def _sign(self, name, key, names):
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self.name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=names is None, path_length=None), critical=True)
        )
        if names is not None:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self.key, hashes.SHA256())

    def server_options(self, *names):
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(x509.Name([]), key.public_key(), names)
        pem = certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return ssl.PrivateCertificate.loadPEM(pem).options()


class Hashing(Protocol):
    """Answers ``BULK`` bytes with their digest."""

    def __init__(self):
        self.digest = hashlib.sha256()
        self.left = BULK

    def dataReceived(self, data):
        self.digest.update(data)
        self.left -= len(data)
        if not self.left:
            self.transport.write(self.digest.digest())


class Sending(Protocol):
    """Sends ``BULK`` bytes as a producer, and fires ``done`` with what comes back."""

    def __init__(self):
        self.done = Deferred()
        self.left = BULK
        self.digest = hashlib.sha256()
        self.block = os.urandom(65536)
        self.pauses = 0

    def connectionMade(self):
        self.transport.registerProducer(self, streaming=True)
        self.resumeProducing()

    def resumeProducing(self):
        self.producing = True
        while self.producing and self.left:
            self.left -= len(self.block)
            self.digest.update(self.block)
            self.transport.write(self.block)
        if not self.left and self.producing:
            self.producing = False
            self.transport.unregisterProducer()

    def pauseProducing(self):
        self.pauses += 1
        self.producing = False

    def stopProducing(self):
        self.producing = False

    def dataReceived(self, data):
        self.done.callback(data)

    def connectionLost(self, reason):
        if not self.done.called:
            self.done.errback(reason)


# Twisted itself gives pyOpenSSL what pyOpenSSL no longer likes to be given.
@pytest.mark.filterwarnings("ignore:Passing pyOpenSSL .* objects:DeprecationWarning")
class RelayConnectionTests(TestCase):
    """A client's connection to a server's, over real sockets."""

    def setUp(self):
        self.served = []
        self.client_credential = Credential.generate()
        self.lease_credential = Credential.generate()
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = directory.name

    def _opened(self, carrier):
        connection = RelayConnection(carrier, Role.SERVER, reactor, name="client")
        connection.on_stream = self._on_stream
        self.served.append(connection)
        return connection

    def _on_stream(self, stream):
        channel = SecureChannel.server(
            self.lease_credential, alpns=["http/1.1"], clock=reactor.seconds
        )
        return SecureStream(
            channel, reactor, lambda secure: secure.start(Hashing()), lambda reason: None
        )

    def listen(self, options=None, factory=None):
        factory = factory or ServerCarrierFactory(reactor, self._opened)
        factory.noisy = False
        if options is None:
            port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        else:
            port = reactor.listenSSL(0, factory, options, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return port.getHost().port

    @inlineCallbacks
    def exchange(self, connection):
        """Bulk through a secure stream, compared by its digest."""
        sending = Sending()
        channel = SecureChannel.client(
            self.client_credential, self.lease_credential.identity.id, now=reactor.seconds()
        )
        connection.open_stream(
            SecureStream(
                channel,
                reactor,
                lambda secure: secure.start(sending),
                sending.done.errback,
            )
        )
        answer = yield sending.done
        self.assertEqual(answer, sending.digest.digest())
        self.assertGreater(sending.pauses, 5)

    @inlineCallbacks
    def close(self, connection):
        connection.close()
        yield connection.gone
        yield self.served[-1].gone

    @inlineCallbacks
    def test_bulk_over_tcp(self):
        number = self.listen()
        connection = yield dial_relay(reactor, RelayURL.parse(f"ws://127.0.0.1:{number}/relay"))
        round_trip = yield connection.ping()
        self.assertLess(round_trip, 5)
        self.assertTrue(connection._carrier.transport.getTcpNoDelay())
        yield self.exchange(connection)
        yield self.close(connection)

    @inlineCallbacks
    def test_bulk_over_tls_by_name_and_by_address(self):
        authority = Authority(self.directory)
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        number = self.listen(authority.server_options(x509.DNSName("localhost"), address))
        for host in ("localhost", "127.0.0.1"):
            url = RelayURL.parse(f"wss://{host}:{number}/relay")
            connection = yield dial_relay(reactor, url, verified_tls(host, authority.file))
            self.assertTrue(connection._carrier.transport.getTcpNoDelay())
            yield self.exchange(connection)
            yield self.close(connection)

    @inlineCallbacks
    def refused(self, url, tls=None):
        with self.assertRaises(RelayLost) as caught:
            yield dial_relay(reactor, RelayURL.parse(url), tls)
        return caught.exception

    @inlineCallbacks
    def test_certificates_that_are_not_to_be_trusted(self):
        authority, other = Authority(self.directory), Authority(self.directory)
        for name, tls, words in (
            ("localhost", verified_tls("localhost", other.file), "certificate verify failed"),
            ("localhost", verified_tls("localhost"), "certificate verify failed"),
            ("other.test", verified_tls("localhost", authority.file), "is not for its name"),
        ):
            number = self.listen(authority.server_options(x509.DNSName(name)))
            lost = yield self.refused(f"wss://localhost:{number}/relay", tls)
            self.assertIs(lost.loss, Loss.TLS)
            self.assertIn(words, lost.detail)
        self.assertEqual(self.served, [])

    @inlineCallbacks
    def test_a_relay_that_wants_tls_is_asked_without(self):
        authority = Authority(self.directory)
        number = self.listen(authority.server_options(x509.DNSName("localhost")))
        lost = yield self.refused(f"ws://localhost:{number}/relay")
        self.assertIn(lost.loss, {Loss.NOT_WEBSOCKET, Loss.DROPPED, Loss.CLOSED})

    @inlineCallbacks
    def test_nothing_listens(self):
        port = reactor.listenTCP(0, Factory(), interface="127.0.0.1")
        number = port.getHost().port
        yield port.stopListening()
        lost = yield self.refused(f"ws://127.0.0.1:{number}/relay")
        self.assertIs(lost.loss, Loss.REFUSED)

    @inlineCallbacks
    def test_a_session_survives_the_relays_restart(self):
        factory = ServerCarrierFactory(reactor, self._opened)
        factory.noisy = False
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        number = port.getHost().port
        session = RelaySession(reactor, f"ws://127.0.0.1:{number}/relay")
        session.start()
        first = yield session.when_connected()
        yield port.stopListening()
        self.served[0].abort()
        yield first.closed
        self.assertFalse(session.connected)
        yield deferLater(reactor, 0.1, lambda: None)
        port = reactor.listenTCP(number, factory, interface="127.0.0.1")
        second = yield session.when_connected()
        self.assertIsNot(second, first)
        yield self.exchange(second)
        yield session.stop()
        yield self.served[-1].gone
        yield port.stopListening()
