"""The rule that finds out who is calling: by an API key, or by a token where those are taken."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from portal_gateway.config.model import MAX_API_KEY_LENGTH
from portal_gateway.errors import GatewayError
from portal_gateway.exchange import Caller
from portal_gateway.frontend.request import Request
from portal_gateway.frontend.tokens import Tokens
from portal_gateway.policy.credentials import UNKNOWN_KEY, KeyTable, sent_credential
from portal_gateway.wire.jwt_parsing import MAX_TOKEN_LENGTH

if TYPE_CHECKING:
    from portal_gateway.frontend.stored_keys import StoredKeys

__all__ = ["authentication"]

Verdict = GatewayError | None

Found = Caller | GatewayError


def authentication(
    keys: KeyTable,
    tokens: Tokens | None,
    stored: "StoredKeys | None" = None,
    is_over: Callable[[str], bool] | None = None,
) -> Callable[[Request, float], Verdict | Deferred[Verdict]]:
    """The rule. A credential that does not look like a token is a key.

    What is not among ``keys``, which are the configuration's, is looked for in ``stored``.
    ``is_over`` says whether a network is over its limit of failed attempts.
    """
    longest = MAX_API_KEY_LENGTH if tokens is None else MAX_TOKEN_LENGTH
    return partial(_decide, keys, tokens, stored, is_over, longest)


# A function, not a closure: see `portal_gateway.frontend.deciding`.
def _decide(
    keys: KeyTable,
    tokens: Tokens | None,
    stored: "StoredKeys | None",
    is_over: Callable[[str], bool] | None,
    longest: int,
    request: Request,
    now: float,
) -> Verdict | Deferred[Verdict]:
    credential = sent_credential(request.head.headers, longest)
    if isinstance(credential, GatewayError):
        return credential
    found: Found | Deferred[Found] | None = None
    if tokens is not None:
        found = tokens.look_up(credential, now, request.exchange.client_address)
    if found is None:
        entry = keys.find(credential)
        if entry is UNKNOWN_KEY and stored is not None:
            found = stored.look_up(credential, now, request.exchange.client_address, is_over)
        else:
            found = entry.verdict(now)
    if isinstance(found, Deferred):
        return found.addCallback(_noted, request)
    return _noted(found, request)


def _noted(found: Found, request: Request) -> Verdict:
    if isinstance(found, GatewayError):
        return found
    request.exchange.caller = found
    return None
