"""The fields of a request that no guard and no lease gets to see."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal_gateway.errors import GatewayError
from portal_gateway.policy.request_fields import are_harmless, without_claims, without_underscores

PLAIN = [b"Host", b"Accept", b"X-API-Key", b"Authorization", b"X-HTTP-Method-Override", b"Cookie"]

ODD = [b"a_b", b"X_Real_IP", b"x.y", b"x~y", b"_", b"a!"]

ALWAYS = [b"X-Forwarded-For", b"Forwarded", b"X-Real-IP", b"X-Forwarded-Prefix", b"Proxy"]

STRANGERS = [
    b"X-Forwarded-User",
    b"CF-Connecting-IP",
    b"X-Original-URL",
    b"Remote-User",
    b"X-Forwarded",
    b"X-Client-IP",
    b"True-Client-IP",
    b"X-Rewrite-URL",
]

CLAIMS = b"""
    X-Amzn-Mtls-Clientcert-Subject X-Amzn-Oidc-Accesstoken SSL-Client-DN SSL-Client-Issuer-DN
    SSL-Client-S-DN X-SSL-Client-CN X-SSL-Cert X-SSL X-TLS-Client-Cert X-Client-Verified
    X-Client-Verify X-Client-CN X-Client-Certificate X-Clientcert-Dn Client-Cert-Chain
    X-Authentik-Name X-Authentik-Entitlements Tailscale-App-Capabilities
    Tailscale-User-Profile-Pic X-Vouch-User X-Vouch-Idp-Claims-Groups X-Token-User-Email
    X-Token-Subject X-Pomerium-Claim-Email X-Pomerium-Jwt-Assertion X-Appengine-User-Email
    X-Appengine-Cron X-Userinfo X-Credential-Identifier X-Anonymous-Consumer X-Consumer-Username
    Remote-Roles Remote-Name X-Remote-Name X-Auth-User X-Auth-Username X-Auth-Request-Redirect
    X-Authenticated-Scope X-Webauth-Role X-Goog-Authenticated-User-Email
    X-Goog-Iap-Jwt-Assertion X-Ms-Client-Principal-Idp X-Ms-Token-Aad-Access-Token
    Cf-Access-Authenticated-User-Email Cf-Access-Jwt-Assertion X-Apigateway-Api-Userinfo
    X-Jwt-Payload OIDC-Claim-Sub Shib-Identity-Provider SM-User IV-User

    X-ClientIP X-Client-IP X-Client-IP-Address Real-IP X-Real-Host X-Original-Client-IP
    Ali-Real-Client-IP Forwarded-For Forwarded-Proto X-Forward-For X-Forward-Proto
    X-Forwarder-For Z-Forwarded-For X-Coming-From Coming-From X-True-Client-IP True-Client-Port
    X-Cluster-Client-IP X-Client-Address X-Azure-FDID X-Vercel-IP-Country CF-IPCountry
    CF-Connecting-O2O Fly-Forwarded-Proto X-Remote-Host X-Source-IP

    X-Envoy-Original-Dst-Host X-Envoy-Decorator-Operation X-Original-Path X-Original-Query
    X-Backend-Host X-HTTP-Host X-Rewrite-Path X-Replaced-Path X-Accel-Internal
    X-Middleware-Rewrite X-Middleware-Subrequest-Id X-Invoke-Path X-Matched-Path X-Ingress-Path
    Disguised-Host Path-Info
""".split()

HONEST = b"""
    X-Client-Version X-Client-Data X-Client-Info X-Client-Name X-Client-Id X-Client-Request-Id
    X-Client-Trace-Id X-Client-Type X-Client-Platform X-Client-Transaction-Id X-Clients
    X-Stainless-Lang X-Stainless-Retry-Count X-Goog-Api-Key X-Goog-Api-Client
    X-Goog-User-Project X-Goog-Request-Params Mcp-Session-Id Mcp-Protocol-Version Mcp-Method
    Mcp-Name Anthropic-Version Anthropic-Beta OpenAI-Organization OpenAI-Beta X-Request-Id
    X-Correlation-Id X-Api-Version X-CSRF-Token X-Requested-With X-Auth-Token X-Auth-Key
    X-Access-Token X-User-Id X-Amz-Date X-Amz-Content-Sha256 X-Amz-Target X-Amzn-Trace-Id
    X-Ms-Version X-Ms-Date X-Ms-Client-Request-Id X-GitHub-Event X-Hub-Signature-256
    X-Goog-Channel-Id X-B3-TraceId Traceparent CDN-Loop CF-Ray CF-Access-Client-Id
    CF-Access-Client-Secret Fastly-Key X-Vercel-Protection-Bypass X-Nextjs-Data
    X-Middleware-Prefetch X-Http-Method-Override X-Realm X-Routing-Key X-Backend X-Environment
    X-Tokens Last-Event-ID Authorization-Info DPoP Signature Signature-Input X-Identity
    X-Sslmode Remotely Accept-Encoding Sec-WebSocket-Key Sec-Fetch-Site Sec-CH-UA Save-Data
    Upgrade-Insecure-Requests X-Origin X-Originator X-Forum X-Scheme-Id X-Hostname X-Overrides
""".split()


def index(*names: bytes) -> dict[bytes, bytes]:
    return {name.lower(): b"1" for name in names}


def pairs(*names: bytes) -> list[tuple[bytes, bytes]]:
    return [(name, b"1") for name in names]


@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize("name", [*ODD, *ALWAYS, *STRANGERS])
def test_a_request_with_one_of_them_is_looked_at(name: bytes, twice: bool) -> None:
    for _ in range(1 + twice):
        assert not are_harmless(index(*PLAIN, name))
        assert are_harmless(index(*PLAIN))


def test_no_fields() -> None:
    assert are_harmless({})


def test_names_that_are_too_many_or_too_long_to_remember_are_judged_all_the_same() -> None:
    for number in range(5000):
        name = b"x-%d" % number
        assert are_harmless({name: b""})
        assert not are_harmless({name + b"_": b""})
    long = b"a" * 1000
    assert are_harmless({long: b""})
    assert not are_harmless({long + b"_": b""})


@given(st.lists(st.sampled_from([*PLAIN, *ODD])))
def test_odd_names_by_each_rule(names: list[bytes]) -> None:
    fields = pairs(*names)
    plain = [field for field in fields if field[0] in PLAIN]
    assert without_underscores(fields, "drop") == plain
    assert without_underscores(fields, "pass") == fields
    refused = without_underscores(fields, "refuse")
    if plain == fields:
        assert refused == fields
    else:
        assert isinstance(refused, GatewayError)
        assert (refused.cause.code, refused.cause.status) == ("ambiguous_field", 400)
        assert not any(name.decode() in refused.detail for name in names if name in ODD[1:2])


def test_claims() -> None:
    fields = pairs(*PLAIN, *ALWAYS, *STRANGERS)
    assert without_claims(fields, trusted=False) == pairs(*PLAIN)
    assert without_claims(fields, trusted=True) == pairs(*PLAIN, *STRANGERS)
    upper = [(name.upper(), value) for name, value in fields]
    assert without_claims(upper, trusted=False) == [
        (name.upper(), value) for name, value in pairs(*PLAIN)
    ]


@pytest.mark.parametrize("name", CLAIMS)
def test_a_stranger_cannot_say_what_proxies_say(name: bytes) -> None:
    assert not are_harmless(index(name))
    assert without_claims(pairs(name, *PLAIN), trusted=False) == pairs(*PLAIN)
    assert without_claims(pairs(name, *PLAIN), trusted=True) == pairs(name, *PLAIN)


@pytest.mark.parametrize("name", HONEST)
def test_what_clients_say_of_themselves_reaches_the_lease(name: bytes) -> None:
    assert are_harmless(index(name))
    assert without_claims(pairs(name), trusted=False) == pairs(name)
