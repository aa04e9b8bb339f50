"""The fields of a request that would tell a lease something that nobody has judged.

They are of two kinds, and a stranger can write both. The names of some are taken for others by a
lenient reader (`portal_gateway.wire.field_names`); these are dropped, or refuse the request, before
any guard sees it. By the others proxies tell the services behind them of the client: its address,
the URL that it asked for, who it is. These are dropped on the way to the lease.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from portal_gateway.config.model import UnderscoreFields
from portal_gateway.errors import GatewayError, fault
from portal_gateway.wire.field_names import all_plain, plain_only
from portal_gateway.wire.forwarded import FORWARDING_FIELDS
from portal_gateway.wire.http_fields import Headers

__all__ = ["are_harmless", "without_claims", "without_underscores"]

_CLAIMS: Final = frozenset(
    b"""
    cdn-client-ip cdn-real-ip cdn-src-ip cf-ipcity cf-ipcontinent cf-ipcountry cf-iplatitude
    cf-iplongitude cf-pseudo-ipv4 cf-visitor cf-worker client-ip coming-from do-connecting-ip
    fastly-client fastly-client-ip fly-client-ip incap-client-ip proxy-client-ip real-ip
    wl-proxy-client-ip x-azure-clientip x-azure-fdid x-azure-socketip x-client-addr
    x-client-address x-clientip x-coming-from x-nf-client-connection-ip x-originating-ip x-peer-ip
    x-proxyuser-ip x-source-ip x-sucuri-clientip x-vercel-forwarded-for x-vercel-proxied-for
    z-forwarded-for

    base-url disguised-host front-end-https path-info script-name x-base-url x-host
    x-http-destinationurl x-ingress-path x-matched-path x-now-route-matches x-override-host
    x-override-path x-override-url x-proxyuser-host x-replaced-path x-scheme x-script-name
    x-ssl x-url-scheme

    cf-access-jwt-assertion iv-creds iv-groups iv-user sm-universalid sm-user sm-userdn
    x-amzn-lambda-context x-amzn-request-context x-anonymous-consumer
    x-apigateway-api-userinfo x-auth-email x-auth-groups x-auth-roles x-auth-user x-auth-username
    x-client-cn x-client-dn x-client-i-dn x-client-issuer-dn x-client-s-dn x-client-subject-dn
    x-credential-identifier x-credential-username x-endpoint-api-userinfo
    x-goog-iap-jwt-assertion x-jwt-assertion x-jwt-payload x-token-subject x-userinfo
    """.split()
)
"""Fields that services take from the proxy in front of them, besides those of `_CLAIM_PREFIXES`:
the client's address, the URL and method that it asked for, and its identity."""

_CLAIM_PREFIXES: Final = tuple(
    b"""
    ali- cf-connecting- fly-forwarded- forwarded- remote- true-client- x-client-ip
    x-cluster-client- x-forward x-real- x-remote- x-true- x-vercel-ip-

    x-accel- x-appengine- x-arr- x-backend- x-envoy- x-http-host x-invoke- x-middleware-override-
    x-middleware-request- x-middleware-rewrite x-middleware-subrequest x-original- x-rewrite-
    x-sendfile-

    cf-access-authenticated- client-cert mellon- oidc- shib- ssl- tailscale- x-amzn-mtls-
    x-amzn-oidc- x-amzn-tls- x-auth-request- x-authenticated- x-authentik- x-client-cert
    x-client-verif x-clientcert x-consumer- x-goog-authenticated-user- x-ms-client-principal
    x-ms-token- x-pomerium- x-ssl- x-tls- x-token-user- x-vouch- x-webauth-
    """.split()
)
"""The beginnings of the names of such fields where a proxy has a family of them, whose members
configurations can name freely. None begins a field that clients send for themselves."""

_NEVER: Final = FORWARDING_FIELDS | {b"proxy"}
"""Fields that are dropped whoever sends them: the gateway writes its own; CGI makes the variable
``HTTP_PROXY`` of ``Proxy``, by which libraries choose a proxy for requests of their own."""

_AMBIGUOUS: Final = (
    "a field name holds another character than letters, digits and hyphens, so that a lease could"
    " take it for another field"
)


_MOST_REMEMBERED: Final = 4096
_LONGEST_REMEMBERED: Final = 64
"""The number of harmless names that are remembered, and the bytes of one, 400 KiB in all: a
thousand of them are registered, and clients know a few hundred. Others are judged each time."""

_harmless: Final[set[bytes]] = set()


def are_harmless(index: Mapping[bytes, bytes]) -> bool:
    """Whether none of these names, in lower case, is of either kind.

    This is asked for every request, so names that were found harmless are remembered.
    """
    return _harmless.issuperset(index) or _judge(index)


def _judge(index: Mapping[bytes, bytes]) -> bool:
    for name in index:
        if not all_plain((name,)) or _is_dropped(name, trusted=False):
            return False
        if len(_harmless) < _MOST_REMEMBERED and len(name) <= _LONGEST_REMEMBERED:
            _harmless.add(name)
    return True


def without_underscores(
    headers: Sequence[tuple[bytes, bytes]], rule: UnderscoreFields
) -> Headers | GatewayError:
    """The fields without those whose names can be taken for others, or their refusal.

    Returns, without raising it, ``ambiguous_field`` (400) where the rule is ``refuse``.
    """
    kept = list(headers) if rule == "pass" else plain_only(headers)
    if rule == "refuse" and len(kept) != len(headers):
        return fault("ambiguous_field", _AMBIGUOUS)
    return kept


def without_claims(headers: Sequence[tuple[bytes, bytes]], *, trusted: bool) -> Headers:
    """The fields without what the gateway tells of the client itself.

    What else proxies tell stays where a ``trusted`` one passed the request on.
    """
    return [field for field in headers if not _is_dropped(field[0].lower(), trusted=trusted)]


def _is_dropped(name: bytes, *, trusted: bool) -> bool:
    if name in _harmless:
        return False
    if name in _NEVER:
        return True
    return not trusted and (name in _CLAIMS or name.startswith(_CLAIM_PREFIXES))
