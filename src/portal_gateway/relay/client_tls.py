"""TLS toward origins: a stream that is there only once the other end has proved its name.

Twisted's own TLS endpoints connect a protocol when TCP is there, and the handshake follows. Here
the handshake belongs to connecting: what it takes counts against the time for that, a certificate
that is refused is the reason why there is no connection, and a request never starts on a stream
that may still turn out to be nobody's.

The context, which holds the authorities, is made once for a relay or origin (some 10 ms and a
megabyte with a system's authorities); names are checked per connection, so all leases of a relay
share it.
"""

import re
from pathlib import Path
from typing import Any, cast

from OpenSSL import SSL
from twisted.internet import error as net
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IAddress,
    IHandshakeListener,
    IOpenSSLClientConnectionCreator,
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import ClientFactory, Protocol, connectionDone
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    platformTrust,
    trustRootFromCertificates,
)
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from portal_gateway.config.model import UpstreamTLS
from portal_gateway.errors import fault
from portal_gateway.wire.server_identity import certificate_is_for

__all__ = ["ClientTLS", "TLSEndpoint", "trusted_authorities"]

_PEM_CERTIFICATE = re.compile(b"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)

_NOBODY_THERE = ("unexpected eof", "unrecognized name")
"""OpenSSL's words for a handshake that ended without a word, and for the alert of a server that
knows no such name (RFC 6066 section 3)."""


def trusted_authorities(ca_file: Path | None) -> Any:
    """What Twisted takes for the authorities to trust: the platform's, or those in ``ca_file``.

    Raises ``OSError`` when the file cannot be read and ``ValueError`` when it holds no certificate.
    """
    if ca_file is None:
        return platformTrust()
    blocks = _PEM_CERTIFICATE.findall(ca_file.read_bytes())
    if not blocks:
        raise ValueError(f"{ca_file} holds no PEM certificate")
    return trustRootFromCertificates([Certificate.loadPEM(block) for block in blocks])


class ClientTLS:
    """What is asked of the TLS of one relay or origin.

    Raises as `trusted_authorities` does.
    """

    def __init__(self, settings: UpstreamTLS) -> None:
        self.verify = not settings.insecure
        self.server_name = settings.server_name
        options = (
            CertificateOptions(trustRoot=trusted_authorities(settings.ca_file))
            if self.verify
            else CertificateOptions(verify=False)
        )
        # No ALPN: without it every server speaks HTTP/1.1, which is what is spoken here.
        self.context: SSL.Context = options.getContext()

    def creator(self, name: str) -> "IOpenSSLClientConnectionCreator":
        """Makes connections that name ``name`` to the server; nothing here checks its answer."""
        return _Creator(self.context, self.server_name or name)

    def is_for(self, connection: SSL.Connection, name: str) -> bool:
        """Whether the certificate is for ``name``, once the handshake is over."""
        if not self.verify:
            return True
        certificate = connection.get_peer_certificate(as_cryptography=True)
        return certificate is not None and certificate_is_for(certificate, self.server_name or name)


def _is_address(name: str) -> bool:
    return isIPAddress(name) or isIPv6Address(name)


@implementer(IOpenSSLClientConnectionCreator)
class _Creator:
    def __init__(self, context: SSL.Context, name: str) -> None:
        self._context = context
        self._name = name

    def clientConnectionForTLS(
        self,
        tlsProtocol: TLSMemoryBIOProtocol,  # noqa: ARG002 - Twisted's
    ) -> SSL.Connection:
        """A connection that will name the server; addresses are no names (RFC 6066 section 3)."""
        connection = SSL.Connection(self._context, None)
        if not _is_address(self._name):
            connection.set_tlsext_host_name(self._name.encode("ascii"))
        return connection


@implementer(IStreamClientEndpoint)
class TLSEndpoint:
    """Connects ``endpoint`` and speaks TLS on it with the server that ``name`` says.

    ``connect`` fails with the `GatewayError` ``lease_offline`` when the connection ends in the
    handshake, as at a relay that knows no such lease; ``identity_mismatch`` when the certificate is
    not trusted or another's; ``upstream_tls_error`` for any other end of the handshake. Before
    that, it fails as ``endpoint`` does.
    """

    def __init__(
        self, endpoint: IStreamClientEndpoint, tls: ClientTLS, name: str, clock: IReactorTime
    ) -> None:
        self._clock = clock
        self._endpoint = endpoint
        self._tls = tls
        self._name = name

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect a protocol of the factory to the stream; it may be cancelled."""
        return _Attempt(self._tls, self._name, protocolFactory).start(self._endpoint, self._clock)


class _Attempt:
    """One connection on its way."""

    def __init__(self, tls: ClientTLS, name: str, factory: IProtocolFactory) -> None:
        self.tls = tls
        self.name = name
        self.factory = factory
        self.result: Deferred[IProtocol] = Deferred(self._cancelled)
        self._connecting: Deferred[Any] | None = None
        self._handshake: _Handshake | None = None

    def start(self, endpoint: IStreamClientEndpoint, clock: IReactorTime) -> Deferred[IProtocol]:
        wrapped = TLSMemoryBIOFactory(
            self.tls.creator(self.name),
            True,  # noqa: FBT003 - Twisted's signature
            cast("IProtocolFactory", _HandshakeFactory(self)),
            clock,
        )
        self._connecting = endpoint.connect(wrapped)
        self._connecting.addCallbacks(self._connected, self.failed)
        return self.result

    def build(self, addr: IAddress) -> "_Handshake":
        self._handshake = _Handshake(self, addr)
        return self._handshake

    def _connected(self, _tls: object) -> None:
        """TCP is there; the handshake says the rest."""
        self._connecting = None

    def failed(self, reason: Failure) -> None:
        self._connecting = None
        if not self.result.called:
            self.result.errback(reason)

    def _cancelled(self, _result: Deferred[IProtocol]) -> None:
        if self._connecting is not None:
            self._connecting.cancel()
        if self._handshake is not None:
            self._handshake.abort()


class _HandshakeFactory(ClientFactory):
    noisy = False

    def __init__(self, attempt: _Attempt) -> None:
        self._attempt = attempt

    def buildProtocol(self, addr: IAddress) -> "_Handshake":  # type: ignore[override] # any address
        return self._attempt.build(addr)


@implementer(IHandshakeListener)
class _Handshake(Protocol):
    """Stands on the TLS stream until it is one, and then makes room for the protocol."""

    def __init__(self, attempt: _Attempt, addr: IAddress) -> None:
        self._attempt = attempt
        self._addr = addr

    def abort(self) -> None:
        if self.transport is not None:
            cast("TLSMemoryBIOProtocol", self.transport).abortConnection()

    def handshakeCompleted(self) -> None:
        """The chain is trusted; see whose it is, and hand the stream over."""
        attempt = self._attempt
        if attempt.result.called:
            return
        transport = cast("TLSMemoryBIOProtocol", self.transport)
        if not attempt.tls.is_for(cast("SSL.Connection", transport.getHandle()), attempt.name):
            attempt.failed(Failure(_not_trusted("is for another name")))
            self.abort()
            return
        protocol = attempt.factory.buildProtocol(self._addr)
        if protocol is None:
            attempt.failed(Failure(net.ConnectError(string="no protocol was built")))
            self.abort()
            return
        transport.wrappedProtocol = protocol
        protocol.makeConnection(transport)
        attempt.result.callback(protocol)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It ended before it was there."""
        self._attempt.failed(Failure(_reason(reason.value)))


def _not_trusted(why: str) -> Exception:
    return fault("identity_mismatch", f"The certificate of the lease's host {why}.")


def _reason(error: BaseException | None) -> Exception:
    words = ""
    if isinstance(error, SSL.Error):
        words = _openssl_words(error)
    if not isinstance(error, SSL.Error) or any(part in words for part in _NOBODY_THERE):
        return fault("lease_offline", "The lease's host ended the connection in the TLS handshake.")
    if "certificate verify failed" in words:
        return _not_trusted("is not trusted")
    return fault("upstream_tls_error", "The TLS handshake with the lease's host failed.")


def _openssl_words(error: SSL.Error) -> str:
    """OpenSSL's reasons, from its own table."""
    try:
        return " ".join(str(entry[2]) for entry in error.args[0])
    except (IndexError, TypeError):
        return ""
