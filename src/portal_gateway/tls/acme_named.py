"""Certificates by the name that a client asks for (SNI), of those that a store asks for."""

from collections.abc import Callable, Sequence
from typing import Any

from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IReactorTime
from zope.interface import implementer

from portal_gateway.tls.acme_settings import Wanted
from portal_gateway.tls.acme_store import Store
from portal_gateway.tls.contexts import Contexts, bare_context
from portal_gateway.tls.files import TLSFiles
from portal_gateway.tls.rotation import Rotation

__all__ = ["ByName"]


@implementer(IOpenSSLServerConnectionCreator)
class ByName:
    """Serves the certificate of the name that is asked for, of those in ``wanted``.

    A client that asks for another name, or for none, is refused with an alert, unless there is one
    certificate only: then it is the one for everybody. Names that come to ``wanted`` are served
    from the next `look` on.
    """

    def __init__(
        self,
        clock: IReactorTime,
        store: Store,
        protocols: Sequence[bytes],
        wanted: Callable[[], Sequence[Wanted]],
    ) -> None:
        self._clock = clock
        self._store = store
        self._protocols = protocols
        self._wanted = wanted
        self._rotations: dict[str, Rotation] = {}
        self._by_name: dict[bytes, Rotation] = {}
        bare = bare_context()
        # A ticket's key would be this context's, which lives as long as the process.
        bare.set_options(SSL.OP_NO_TICKET)
        bare.set_tlsext_servername_callback(self._choose)
        self.contexts = Contexts(bare)
        self.look()

    def look(self) -> Sequence[Wanted]:
        """Take in what is wanted now."""
        wanted = self._wanted()
        rotations: dict[str, Rotation] = {}
        by_name: dict[bytes, Rotation] = {}
        for each in wanted:
            rotation = self._rotations.pop(each.stem, None)
            if rotation is None:
                file = self._store.file(each.stem)
                files = TLSFiles(file, file)
                rotation = Rotation(self._clock, files, self._protocols, may_wait=True)
                rotation.start()
            rotations[each.stem] = rotation
            by_name.update((domain.encode("ascii"), rotation) for domain in each.domains)
        self.stop()
        self._rotations = rotations
        self._by_name = by_name
        return wanted

    def stop(self) -> None:
        """Look at the files no more."""
        for rotation in self._rotations.values():
            rotation.stop()

    def _choose(self, connection: SSL.Connection) -> None:
        name = (connection.get_servername() or b"").lower()
        rotation = self._by_name.get(name)
        if rotation is None and len(self._rotations) == 1:
            (rotation,) = self._rotations.values()
        if rotation is not None:
            connection.set_context(rotation.contexts.current)

    def serverConnectionForTLS(self, protocol: Any) -> SSL.Connection:
        """OpenSSL's end of a connection that was accepted."""
        connection: SSL.Connection = self.contexts.serverConnectionForTLS(protocol)
        return connection
