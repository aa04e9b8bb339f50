"""Whose token it is, also where the keys that tell it have to be fetched first."""

from collections.abc import Callable
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from portal_gateway.config.jwt_tokens import JWKSAddress, JWTSection
from portal_gateway.config.model import DEFAULT_PORTS
from portal_gateway.errors import GatewayError
from portal_gateway.exchange import Caller
from portal_gateway.identity.key_set_fetch import KeySetFetch
from portal_gateway.identity.key_source import KeySource
from portal_gateway.policy.fair_line import FairLine
from portal_gateway.policy.jwt_table import KeyWanted, TokenTable
from portal_gateway.relay.client_tls import ClientTLS
from portal_gateway.relay.origins import origin_endpoint
from portal_gateway.wire.ip_addresses import network_of
from portal_gateway.wire.jwt_keys import KeySet

__all__ = ["MOST_OF_ONE", "PLACES", "Tokens", "make_tokens"]

Found = Caller | GatewayError

T = TypeVar("T")

PLACES: Final = 16_384
"""Requests that wait for keys; at some 10 KB each, as long as tokens may be, 160 MB."""

MOST_OF_ONE: Final = 256
"""Those of one network. While keys are fetched for the first time, all its requests wait."""

_JUDGED_AT_ONCE: Final = 64
"""Tokens that are judged in one turn: some 10 ms, with the answers."""


class _Waiting:
    """A request whose token needs a key that is being fetched."""

    __slots__ = ("answer", "credential", "now")

    def __init__(self, credential: bytes, now: float) -> None:
        self.credential = credential
        self.now = now
        # Who asks no more keeps the place until the fetch is over.
        self.answer: Deferred[Found] = Deferred(lambda _answer: None)


class Tokens:
    """Looks tokens up in ``table``, whose keys ``source`` fetches, if they are published.

    ``refused`` counts requests that had no place to wait for keys: those of a network may have
    `MOST_OF_ONE`, so that nobody else is refused for made-up tokens.
    """

    def __init__(
        self, table: TokenTable, source: KeySource | None = None, clock: IReactorTime | None = None
    ) -> None:
        self.section = table.section
        self.source = source
        self.refused = 0
        self._look_up = table.look_up
        self._clock = clock
        self._waits = False
        self._line: FairLine[_Waiting] = FairLine(PLACES, MOST_OF_ONE)

    def look_up(
        self, credential: bytes, now: float, address: str = ""
    ) -> Found | Deferred[Found] | None:
        """The caller or the refusal; ``None`` for what does not look like a token.

        A Deferred only where a key is wanted and may be fetched. ``address`` is the client's.
        """
        found = self._look_up(credential, now)
        if not isinstance(found, KeyWanted):
            return found
        fetched: Deferred[None] | None = None
        if not self._waits:
            fetched = None if self.source is None else self.source.ask()
            if fetched is None:
                return found.refusal
        waiting = _Waiting(credential, now)
        out = self._line.add(network_of(address), waiting)
        if out is not None:
            self.refused += 1
            if out is waiting:
                return found.refusal
            self._later(self._judge, out)
        if fetched is not None:
            # Last, since it may have been fetched by now.
            self._waits = True
            fetched.addCallback(self._fetched)
        return waiting.answer

    def _fetched(self, _over: None) -> None:
        self._waits = False
        line, self._line = self._line, FairLine(PLACES, MOST_OF_ONE)
        self._judge_all(line)

    def _judge_all(self, line: FairLine[_Waiting]) -> None:
        """Judge what waited, some of it in each turn."""
        for _ in range(_JUDGED_AT_ONCE):
            waiting = line.take()
            if waiting is None:
                return
            self._judge(waiting)
        self._later(self._judge_all, line)

    def _judge(self, waiting: _Waiting) -> None:
        if waiting.answer.called:
            return
        found = self._look_up(waiting.credential, waiting.now)
        # What looked like a token still does.
        assert found is not None
        waiting.answer.callback(found.refusal if isinstance(found, KeyWanted) else found)

    def _later(self, function: Callable[[T], object], argument: T) -> None:
        if self._clock is None:
            function(argument)
        else:
            self._clock.callLater(0, function, argument)


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
        return Tokens(table, KeySource(fetch, algorithm, table.use, reactor), reactor)
    key = section.public_key if section.secret is None else section.secret
    assert key is not None, "the configuration has one of the three"
    return Tokens(TokenTable(section, KeySet.of(algorithm, key)))


def _endpoint(address: JWKSAddress, reactor: Any) -> Any:
    parts = urlsplit(address.url)
    tls = ClientTLS(address.tls) if parts.scheme == "https" else None
    port = parts.port or DEFAULT_PORTS[parts.scheme]
    return origin_endpoint(reactor, parts.hostname or "", port, tls)
