"""Whose token it is, also where the keys that tell it have to be fetched first."""

from typing import Any
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred

from portal_gateway.config.jwt_tokens import JWKSAddress, JWTSection
from portal_gateway.config.model import DEFAULT_PORTS
from portal_gateway.errors import GatewayError
from portal_gateway.exchange import Caller
from portal_gateway.identity.key_set_fetch import KeySetFetch
from portal_gateway.identity.key_source import KeySource
from portal_gateway.policy.jwt_table import KeyWanted, TokenTable
from portal_gateway.relay.client_tls import ClientTLS
from portal_gateway.relay.origins import origin_endpoint
from portal_gateway.wire.jwt_keys import KeySet

__all__ = ["Tokens", "make_tokens"]

Found = Caller | GatewayError


class Tokens:
    """Looks tokens up in ``table``, whose keys ``source`` fetches, if they are published."""

    def __init__(self, table: TokenTable, source: KeySource | None = None) -> None:
        self.section = table.section
        self.source = source
        self._look_up = table.look_up

    def look_up(self, credential: bytes, now: float) -> Found | Deferred[Found] | None:
        """The caller or the refusal; ``None`` for what does not look like a token.

        A Deferred only where a key is wanted and may be fetched.
        """
        found = self._look_up(credential, now)
        if not isinstance(found, KeyWanted):
            return found
        asked = None if self.source is None else self.source.ask()
        if asked is None:
            return found.refusal

        def again(_fetched: None) -> Found:
            later = self._look_up(credential, now)
            # What looked like a token still does.
            assert later is not None
            return later.refusal if isinstance(later, KeyWanted) else later

        return asked.addCallback(again)


def make_tokens(section: JWTSection | None, reactor: Any) -> Tokens | None:
    """Put together what judges the tokens of a configuration; ``None`` where it has none.

    Its ``source``, where there is one, is a service to be run.
    """
    if section is None:
        return None
    algorithm = section.algorithm
    if section.jwks is not None:
        table = TokenTable(section, None)
        fetch = KeySetFetch(reactor, section.jwks.url, _endpoint(section.jwks, reactor))
        return Tokens(table, KeySource(fetch, algorithm, table.use, reactor))
    key = section.public_key if section.secret is None else section.secret
    assert key is not None, "the configuration has one of the three"
    return Tokens(TokenTable(section, KeySet.of(algorithm, key)))


def _endpoint(address: JWKSAddress, reactor: Any) -> Any:
    parts = urlsplit(address.url)
    tls = ClientTLS(address.tls) if parts.scheme == "https" else None
    port = parts.port or DEFAULT_PORTS[parts.scheme]
    return origin_endpoint(reactor, parts.hostname or "", port, tls)
