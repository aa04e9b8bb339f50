"""The rule that finds out who is calling: by an API key, or by a token where those are taken."""

from collections.abc import Callable

from twisted.internet.defer import Deferred

from portal_gateway.config.model import MAX_API_KEY_LENGTH
from portal_gateway.errors import GatewayError
from portal_gateway.exchange import Caller
from portal_gateway.frontend.request import Request
from portal_gateway.frontend.tokens import Tokens
from portal_gateway.policy.credentials import KeyTable, sent_credential
from portal_gateway.wire.jwt_parsing import MAX_TOKEN_LENGTH

__all__ = ["authentication"]

Verdict = GatewayError | None

Found = Caller | GatewayError


def authentication(
    keys: KeyTable, tokens: Tokens | None
) -> Callable[[Request, float], Verdict | Deferred[Verdict]]:
    """The rule. A credential that does not look like a token is a key."""
    longest = MAX_API_KEY_LENGTH if tokens is None else MAX_TOKEN_LENGTH

    def find(credential: bytes, now: float) -> Found | Deferred[Found]:
        if tokens is not None:
            found = tokens.look_up(credential, now)
            if found is not None:
                return found
        return keys.look_up(credential, now)

    def noted(found: Found, request: Request) -> Verdict:
        if isinstance(found, GatewayError):
            return found
        request.exchange.caller = found
        return None

    def decide(request: Request, now: float) -> Verdict | Deferred[Verdict]:
        credential = sent_credential(request.head.headers, longest)
        if isinstance(credential, GatewayError):
            return credential
        found = find(credential, now)
        if isinstance(found, Deferred):
            return found.addCallback(noted, request)
        return noted(found, request)

    return decide
