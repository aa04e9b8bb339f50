"""Whether relays can be reached: asked by ``portal-gateway validate``, not by the daemon."""

from collections.abc import Iterable, Mapping
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure

from portal_gateway.config.model import RelaySection
from portal_gateway.errors import GatewayError
from portal_gateway.relay.client_tls import ClientTLS
from portal_gateway.relay.connection import RelayConnection
from portal_gateway.relay.conversations import ask_relay_info
from portal_gateway.relay.origins import HTTPRelayURL, origin_endpoint
from portal_gateway.relay.relay_dialling import RelayURL, dial_relay, relay_tls

__all__ = ["PATIENCE", "unreachable_relays"]

PATIENCE = 5.0
"""Seconds for each relay to connect and to list its leases."""


def unreachable_relays(reactor: Any, relays: Iterable[RelaySection]) -> Deferred[Mapping[str, str]]:
    """The relays that do not answer, by URL, each with the reason for people. Never fails.

    Of a relay that is reached by HTTP only the connection is tried, and nothing where each lease
    has a host of its own.
    """
    reasons: dict[str, str] = {}
    asked = [_ask(reactor, relay, reasons) for relay in relays]
    return DeferredList(asked).addCallback(lambda _: reasons)


def _ask(reactor: Any, relay: RelaySection, reasons: dict[str, str]) -> Deferred[None]:
    def failed(failure: Failure) -> None:
        error = failure.value
        if isinstance(error, GatewayError):
            reasons[relay.url] = error.detail
        elif failure.check(ConnectError, DNSLookupError):
            reasons[relay.url] = "the connection cannot be made"
        else:
            reasons[relay.url] = f"no answer within {PATIENCE:g} s"

    asked = _connect_http(reactor, relay) if relay.by_http else _list_leases(reactor, relay)
    asked.addTimeout(PATIENCE, reactor)
    return asked.addCallbacks(lambda _: None, failed)


def _connect_http(reactor: Any, relay: RelaySection) -> Deferred[Any]:
    url = HTTPRelayURL.parse(relay.url)
    if url.by_host:
        return succeed(None)
    tls = ClientTLS(relay.tls) if url.secure else None
    endpoint = origin_endpoint(reactor, url.host, url.port, tls)
    connected: Deferred[Any] = endpoint.connect(Factory.forProtocol(Protocol))
    return connected.addCallback(lambda protocol: protocol.transport.abortConnection())


def _list_leases(reactor: Any, relay: RelaySection) -> Deferred[Any]:
    url = RelayURL.parse(relay.url)

    def lists_leases(connection: RelayConnection) -> Deferred[Any]:
        return ask_relay_info(connection, reactor).addBoth(_closed, connection)

    tls = relay_tls(url.host, relay.tls) if url.secure else None
    return dial_relay(reactor, url, tls).addCallback(lists_leases)


def _closed(answer: object, connection: RelayConnection) -> Deferred[object]:
    """The same answer, once the connection is gone."""
    connection.close()
    return connection.gone.addBoth(lambda _: answer)
