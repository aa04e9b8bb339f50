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
from portal_gateway.wire.forwarded import FORWARDED_PREFIX, FORWARDING_FIELDS
from portal_gateway.wire.http_fields import Headers

__all__ = ["are_harmless", "without_claims", "without_underscores"]

_CLAIMS: Final = frozenset(
    b"""
    ali-cdn-real-ip cdn-real-ip cf-connecting-ip cf-connecting-ipv6 cf-pseudo-ipv4 client-ip
    do-connecting-ip fastly-client-ip fly-client-ip incap-client-ip proxy-client-ip remote-addr
    true-client-ip wl-proxy-client-ip x-appengine-user-ip x-azure-clientip x-azure-socketip
    x-client-ip x-cluster-client-ip x-envoy-external-address x-envoy-internal
    x-nf-client-connection-ip x-original-forwarded-for x-originating-ip x-proxyuser-ip
    x-real-port x-remote-addr x-remote-ip x-sucuri-clientip x-vercel-forwarded-for

    base-url front-end-https script-name x-accel-mapping x-arr-ssl x-envoy-original-path x-host
    x-http-destinationurl x-http-host-override x-middleware-subrequest x-original-host
    x-original-method x-original-uri x-original-url x-override-url x-proxyuser-host x-rewrite-uri
    x-rewrite-url x-scheme x-script-name x-sendfile-type x-url-scheme

    cf-access-authenticated-user-email client-cert client-cert-chain remote-email remote-groups
    remote-name remote-user ssl-client-cert ssl-client-s-dn ssl-client-subject-dn
    ssl-client-verify tailscale-user-login tailscale-user-name x-amzn-oidc-data
    x-amzn-oidc-identity x-arr-clientcert x-auth-request-access-token x-auth-request-email
    x-auth-request-groups x-auth-request-preferred-username x-auth-request-user
    x-authenticated-email x-authenticated-groups x-authenticated-user x-authenticated-userid
    x-authentik-email x-authentik-groups x-authentik-uid x-authentik-username x-client-cert
    x-client-dn x-client-verify x-consumer-custom-id x-consumer-groups x-consumer-id
    x-consumer-username x-goog-authenticated-user-email x-goog-authenticated-user-id
    x-ms-client-principal x-ms-client-principal-id x-ms-client-principal-name x-remote-email
    x-remote-group x-remote-groups x-remote-user x-ssl-client-cert x-ssl-client-dn
    x-ssl-client-s-dn x-ssl-client-verify x-webauth-email x-webauth-groups x-webauth-name
    x-webauth-user
    """.split()
)
"""Fields that services take from the proxy in front of them, besides ``X-Forwarded-*``: the
client's address, the URL and method that it asked for, and its identity."""

_NEVER: Final = FORWARDING_FIELDS | {b"proxy"}
"""Fields that are dropped whoever sends them: the gateway writes its own; CGI makes the variable
``HTTP_PROXY`` of ``Proxy``, by which libraries choose a proxy for requests of their own."""

_LOOKED_AT: Final = _CLAIMS | _NEVER

_AMBIGUOUS: Final = (
    "a field name holds another character than letters, digits and hyphens, so that a lease could"
    " take it for another field"
)


_MOST_REMEMBERED: Final = 4096
_LONGEST_REMEMBERED: Final = 64
"""How many harmless names are remembered, and of how many bytes each, some 400 KiB in all: a
thousand of them are registered, and clients know a few hundred. Others are judged each time."""

_harmless: Final[set[bytes]] = set()


def are_harmless(index: Mapping[bytes, bytes]) -> bool:
    """Whether none of these names, in lower case, is of either kind.

    This is asked for every request, so names that were found harmless are remembered.
    """
    return _harmless.issuperset(index) or _judge(index)


def _judge(index: Mapping[bytes, bytes]) -> bool:
    for name in index:
        if not all_plain((name,)) or name in _LOOKED_AT or name.startswith(FORWARDED_PREFIX):
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
    if name in _NEVER:
        return True
    return not trusted and (name in _CLAIMS or name.startswith(FORWARDED_PREFIX))
