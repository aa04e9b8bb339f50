"""Whether relays can be reached: asked by ``portal-gateway validate``, not by the daemon."""

from collections.abc import Iterable, Mapping
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.defer import TimeoutError as GaveUp
from twisted.python.failure import Failure

from portal_gateway.config.model import RelaySection
from portal_gateway.errors import GatewayError
from portal_gateway.relay.conversations import ask_relay_info
from portal_gateway.relay.session import RelaySession

__all__ = ["PATIENCE", "unreachable_relays"]

PATIENCE = 5.0
"""Seconds for each relay to connect and to list its leases."""


def unreachable_relays(reactor: Any, relays: Iterable[RelaySection]) -> Deferred[Mapping[str, str]]:
    """The relays that do not answer, by URL, each with the reason for people. Never fails."""
    reasons: dict[str, str] = {}
    asked = [_ask(reactor, relay, reasons) for relay in relays]
    return DeferredList(asked, consumeErrors=True).addCallback(lambda _: reasons)


def _ask(reactor: Any, relay: RelaySection, reasons: dict[str, str]) -> Deferred[None]:
    session = RelaySession(reactor, relay.url, ca_file=relay.tls.ca_file)

    def failed(failure: Failure) -> None:
        error = failure.value
        if isinstance(error, GatewayError):
            reasons[relay.url] = error.detail
        elif session.last_loss is not None:
            reasons[relay.url] = str(session.last_loss)
        elif failure.check(GaveUp, CancelledError):
            reasons[relay.url] = f"no answer within {PATIENCE:g} s"
        else:
            reasons[relay.url] = type(error).__name__

    answered = session.when_connected()
    answered.addCallback(lambda connection: ask_relay_info(connection, reactor))
    answered.addTimeout(PATIENCE, reactor)
    answered.addCallbacks(lambda _info: None, failed)
    session.start()
    return answered.addBoth(lambda _: session.stop())
