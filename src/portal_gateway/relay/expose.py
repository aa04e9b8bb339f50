"""Publishing a local TCP service as a lease: what ``portal-gateway expose`` runs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred

from portal_gateway.relay.credential_file import load_or_create_credential
from portal_gateway.relay.forwarding import ForwardingFactory
from portal_gateway.relay.serving import PublishedLease
from portal_gateway.relay.session import RelaySession
from portal_gateway.wire.identity import Credential

__all__ = ["ALPN", "Exposure"]

ALPN = "http/1.1"
"""What Portal's clients ask leases for, whatever they then speak."""


class Exposure(Service):
    """Keeps the service at ``host`` and ``port`` published as the lease ``name`` at one relay.

    With ``credential_file`` the lease has the same id each time; without, a fresh one each start.
    ``on_change`` is told of the lease's states.
    Raises ``ValueError`` for a relay URL that is none and ``CredentialFileError`` for a file that
    cannot be used.
    """

    def __init__(
        self,
        reactor: Any,
        relay_url: str,
        name: str,
        host: str,
        port: int,
        *,
        credential_file: Path | None = None,
        on_change: Callable[[PublishedLease], object] | None = None,
    ) -> None:
        credential = (
            Credential.generate()
            if credential_file is None
            else load_or_create_credential(credential_file)
        )
        self._session = RelaySession(reactor, relay_url)
        self._forwarding = ForwardingFactory.to_tcp(reactor, host, port)
        self.lease = PublishedLease(
            self._session,
            credential,
            name,
            (ALPN,),
            self._forwarding,
            reactor,
            on_change=on_change,
        )

    def startService(self) -> None:
        """Connect, register, and go on."""
        super().startService()
        self.lease.start()
        self._session.start()

    def stopService(self) -> Deferred[None]:
        """Take the lease back and close; fires when the connection is gone."""
        super().stopService()
        self._forwarding.close()
        return self.lease.stop().addCallback(lambda _: self._session.stop())
