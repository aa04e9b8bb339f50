"""What is spoken: TLS 1.3 and 1.2 with forward secrecy and authenticated encryption, nothing else.

RFC 9325 (BCP 195) is followed: no compression, no renegotiation, the server's order of ciphers.
HTTP/2's own list of forbidden ciphers (RFC 9113 appendix A) is met by the same choice.
"""

from collections.abc import Callable, Sequence
from typing import Any

from OpenSSL import SSL
from OpenSSL.crypto import X509
from OpenSSL.crypto import Error as CryptoError
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from zope.interface import implementer

from portal_gateway.tls.certificates import BadTLSFile
from portal_gateway.tls.files import TLSMaterial

__all__ = ["Contexts", "bare_context", "make_context", "plain_connection"]

CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20"
"""TLS 1.2: an ephemeral key and an AEAD, for RSA and ECDSA certificates alike.

TLS 1.3 has only such ciphers, and OpenSSL's own order of them stands.
"""

_OPTIONS = (
    SSL.OP_NO_COMPRESSION
    | SSL.OP_NO_RENEGOTIATION
    | SSL.OP_CIPHER_SERVER_PREFERENCE
    | SSL.OP_SINGLE_ECDH_USE
)

_SESSION_ID_CONTEXT = b"portal-gateway"
"""OpenSSL resumes no session of a client with a certificate without one."""


def make_context(material: TLSMaterial, protocols: Sequence[bytes]) -> SSL.Context:
    """A server's context that speaks ``protocols`` by ALPN, the preferred first; no ALPN for none.

    Session tickets are encrypted with a key that lives as long as the context; nothing is kept
    here for a session. Raises `BadTLSFile` for what OpenSSL does not take.
    """
    context = bare_context()
    leaf, *issuers = material.certificate.chain
    try:
        context.use_certificate(leaf)
        for issuer in issuers:
            context.add_extra_chain_cert(issuer)
        context.use_privatekey(material.certificate.key)
        context.check_privatekey()
    except SSL.Error:
        raise BadTLSFile(
            "cert_file", "OpenSSL does not take this certificate: its key or signature is too weak"
        ) from None
    if material.authorities:
        _ask_for_certificates(context, material)
    if protocols:
        context.set_alpn_select_callback(_selector(protocols))
    return context


def bare_context() -> SSL.Context:
    """A server's context without a certificate: each handshake with it ends with an alert."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(_OPTIONS)
    context.set_cipher_list(CIPHERS)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_session_id(_SESSION_ID_CONTEXT)
    return context


def _ask_for_certificates(context: SSL.Context, material: TLSMaterial) -> None:
    store = context.get_cert_store()
    assert store is not None
    try:
        for authority in material.authorities:
            store.add_cert(X509.from_cryptography(authority))
            context.add_client_ca(authority)
    except (SSL.Error, CryptoError):
        raise BadTLSFile("client_ca_file", "OpenSSL does not take these certificates") from None
    mode = SSL.VERIFY_PEER
    if material.client_certificates == "required":
        mode |= SSL.VERIFY_FAIL_IF_NO_PEER_CERT
    context.set_verify(mode)


def _selector(protocols: Sequence[bytes]) -> Callable[[SSL.Connection, list[bytes]], bytes]:
    def select(_connection: SSL.Connection, offered: list[bytes]) -> bytes:
        for protocol in protocols:
            if protocol in offered:
                return protocol
        # The alert that RFC 7301 section 3.2 asks for: no other protocol's client is answered in
        # HTTP. Twisted ends the connection for an SSL.Error without a word in the log.
        raise SSL.Error([("ALPN", "", "no protocol in common")])

    return select


@implementer(IOpenSSLServerConnectionCreator)
class Contexts:
    """Makes each new connection with the context of now; one that stands keeps its own.

    ``make`` is what makes OpenSSL's end of one.
    """

    def __init__(self, context: SSL.Context) -> None:
        self.current = context
        self.make: Callable[[SSL.Context], SSL.Connection] = plain_connection

    def serverConnectionForTLS(self, protocol: Any) -> SSL.Connection:  # noqa: ARG002 - Twisted's
        """OpenSSL's end of a connection that was accepted."""
        return self.make(self.current)


def plain_connection(context: SSL.Context) -> SSL.Connection:
    """OpenSSL's end of a connection, as it is."""
    return SSL.Connection(context, None)
