"""Whether relays can be reached: asked by ``portal-gateway validate``, not by the daemon."""

from collections.abc import Iterable, Mapping
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.python.failure import Failure

from portal_gateway.config.model import RelaySection
from portal_gateway.errors import GatewayError
from portal_gateway.relay.connection import RelayConnection
from portal_gateway.relay.conversations import ask_relay_info
from portal_gateway.relay.relay_dialling import RelayURL, dial_relay, verified_tls

__all__ = ["PATIENCE", "unreachable_relays"]

PATIENCE = 5.0
"""Seconds for each relay to connect and to list its leases."""


def unreachable_relays(reactor: Any, relays: Iterable[RelaySection]) -> Deferred[Mapping[str, str]]:
    """The relays that do not answer, by URL, each with the reason for people. Never fails."""
    reasons: dict[str, str] = {}
    asked = [_ask(reactor, relay, reasons) for relay in relays]
    return DeferredList(asked).addCallback(lambda _: reasons)


def _ask(reactor: Any, relay: RelaySection, reasons: dict[str, str]) -> Deferred[None]:
    url = RelayURL.parse(relay.url)
    tls = verified_tls(url.host, relay.tls.ca_file) if url.secure else None

    def lists_leases(connection: RelayConnection) -> Deferred[Any]:
        return ask_relay_info(connection, reactor).addBoth(_closed, connection)

    def failed(failure: Failure) -> None:
        error = failure.value
        late = f"no answer within {PATIENCE:g} s"
        reasons[relay.url] = error.detail if isinstance(error, GatewayError) else late

    asked: Deferred[Any] = dial_relay(reactor, url, tls)
    asked.addCallback(lists_leases)
    asked.addTimeout(PATIENCE, reactor)
    return asked.addCallbacks(lambda _info: None, failed)


def _closed(answer: object, connection: RelayConnection) -> Deferred[object]:
    """The same answer, once the connection is gone."""
    connection.close()
    return connection.gone.addBoth(lambda _: answer)
