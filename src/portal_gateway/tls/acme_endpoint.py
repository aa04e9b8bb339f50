"""A TLS endpoint for any Twisted service, with certificates by ACME.

The authority comes to the endpoint itself: TLS-ALPN-01, so port 443 has to lead to it.
"""

from collections.abc import Sequence
from typing import Any, cast

from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import (
    IAddress,
    IListeningPort,
    IProtocolFactory,
    IProtocolNegotiationFactory,
    IStreamServerEndpoint,
)
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import implementer

from portal_gateway.tls.acme_alpn import answer_by_alpn
from portal_gateway.tls.acme_answers import Answers
from portal_gateway.tls.acme_named import ByName
from portal_gateway.tls.acme_names import MAX_DOMAINS, domain_of, stem_of
from portal_gateway.tls.acme_renewal import Renewal
from portal_gateway.tls.acme_settings import AutoCert, Wanted
from portal_gateway.tls.acme_store import Store
from portal_gateway.tls.acme_threads import Threads

__all__ = ["ACMEEndpoint", "domains_of"]


def domains_of(written: str) -> tuple[str, ...]:
    """The names in a list with commas. Raises ``ValueError``."""
    domains = []
    for each in written.split(","):
        domain = domain_of(each.strip())
        if domain is None:
            raise ValueError(f"domains: {each!r} is no host name")
        if domain.startswith("*."):
            raise ValueError("domains: a wildcard needs DNS-01, which an endpoint has not")
        domains.append(domain)
    if len(domains) > MAX_DOMAINS:
        raise ValueError(f"domains: a certificate has at most {MAX_DOMAINS} names")
    return tuple(domains)


@implementer(IStreamServerEndpoint)
class ACMEEndpoint:
    """Listens with TLS on the endpoint string ``within``.

    With ``settings.domains`` there is one certificate for these. Without, each file
    ``<name>.pem`` of the store asks for one for its name, and may be empty until then.
    """

    def __init__(self, reactor: Any, settings: AutoCert, within: str) -> None:
        self._reactor = reactor
        self._settings = settings
        self.within = within
        self._within = serverFromString(reactor, within)

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Listen; the store is opened now. Fires with `UnusableStore` when that cannot be."""
        return maybeDeferred(self._listen, protocolFactory)

    def _listen(self, factory: IProtocolFactory) -> Deferred[IListeningPort]:
        reactor = self._reactor
        store = Store(self._settings.store)
        protocols: Sequence[bytes] = ()
        if IProtocolNegotiationFactory.providedBy(factory):
            protocols = cast("Any", factory).acceptableProtocols()
        named = ByName(reactor, store, protocols, lambda: self._wanted(store))
        answer_by_alpn(named.contexts, Answers(store.challenges))
        renewal = Renewal(reactor, Threads(reactor), store, self._settings, named.look)
        secure = TLSMemoryBIOFactory(cast("Any", named), False, cast("Any", factory), reactor)  # noqa: FBT003 - Twisted's

        def took(port: IListeningPort) -> IListeningPort:
            # Not before: the authority comes to the port.
            renewal.startService()
            return cast("IListeningPort", _Port(port, renewal, named))

        def failed(failure: Any) -> Any:
            named.stop()
            return failure

        listening: Deferred[IListeningPort] = self._within.listen(secure)
        return listening.addCallbacks(took, failed)

    def _wanted(self, store: Store) -> Sequence[Wanted]:
        domains = self._settings.domains
        if domains:
            return (Wanted(stem_of(domains[0]), domains),)
        return [Wanted(name, (name,)) for name in store.asked_for()]


@implementer(IListeningPort)
class _Port:
    """The port, and what ends with it."""

    def __init__(self, port: IListeningPort, renewal: Renewal, named: ByName) -> None:
        self._port = port
        self._renewal = renewal
        self._named = named

    def startListening(self) -> None:
        self._port.startListening()

    def stopListening(self) -> Deferred[Any]:
        self._named.stop()
        return gatherResults(
            [
                maybeDeferred(cast("Any", self._port.stopListening)),
                self._renewal.stopService(),
            ],
            consumeErrors=True,
        )

    def getHost(self) -> IAddress:
        return self._port.getHost()
