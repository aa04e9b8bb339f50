"""TLS-ALPN-01 on a listener that serves clients: who offers ``acme-tls/1`` is given the proof.

OpenSSL chooses the certificate before it asks which protocol to speak (in TLS 1.2), so the first
bytes are looked at before OpenSSL has them. To look for the protocol's name anywhere in them is
enough: who has it elsewhere gets a handshake that fails, and nothing else.
"""

from typing import Any

from OpenSSL import SSL

from portal_gateway.tls.acme_answers import ACME_TLS, Answers
from portal_gateway.tls.contexts import Contexts, bare_context

__all__ = ["answer_by_alpn"]

MAX_HELLO = 16_384
"""Bytes of a ClientHello that are looked through: one record."""

_OFFERED = bytes([len(ACME_TLS)]) + ACME_TLS


class _Greeted(SSL.Connection):
    """A server's end that looks at the client's first bytes.

    It does so until OpenSSL has answered: ``bio_read`` gives something.
    """

    def __init__(self, context: SSL.Context, proving: SSL.Context) -> None:
        super().__init__(context, None)
        self._proving: SSL.Context | None = proving
        self._hello = b""

    def bio_write(self, buf: Any) -> int:
        if self._proving is not None:
            self._hello += bytes(buf)
            if _OFFERED in self._hello:
                # The authority has no certificate, whatever other clients are asked for.
                self.set_verify(SSL.VERIFY_NONE)
                self.set_context(self._proving)
                self._forget()
            elif len(self._hello) > MAX_HELLO:
                self._forget()
        return super().bio_write(buf)

    def bio_read(self, bufsiz: int) -> bytes:
        found = super().bio_read(bufsiz)
        if self._proving is not None:
            self._forget()
        return found

    def _forget(self) -> None:
        self._proving = None
        self._hello = b""


def answer_by_alpn(contexts: Contexts, answers: Answers) -> None:
    """Have the connections that ``contexts`` makes answer the authority's challenges."""

    def prove(connection: SSL.Connection) -> None:
        context = answers.context(connection.get_servername())
        if context is not None:
            connection.set_context(context)

    # Without a certificate of its own: who asks for a name without an order gets an alert.
    proving = bare_context()
    proving.set_tlsext_servername_callback(prove)
    contexts.make = lambda context: _Greeted(context, proving)
