"""Feature 1.6: the acceptance criteria, and what follows from them, through a whole gateway."""

import json

import pytest

from tests.frontend.gateway_world import World, head_of
from tests.identity.issuer import PORT, Issuer, answer
from tests.wire.jwt_world import jwk, public_pem, segment, token

AS_LISTED = """
auth:
  jwt:
    enabled: true
    secret: "your-jwt-secret"
    algorithm: "HS256"
    claims:
      issuer: "your-company.com"
      audience: "portal-gateway"
"""

KEYS = """  keys:
    - {key: "sk_live_abc123...", id: "tester"}
"""

LEASES = """
leases:
  tool: {url: "http://127.0.0.1:3000"}
"""

OURS = {"iss": "your-company.com", "aud": "portal-gateway"}

FAR = 4_000_000_000
"""The gateway's wall clock is the machine's."""

PUBLISHED = f"""
auth:
  jwt:
    algorithm: ES256
    jwks_url: "http://127.0.0.1:{PORT}/keys"
    claims: {{audience: portal-gateway}}
"""


@pytest.fixture
def worlds():
    made = []

    def make(auth=AS_LISTED + KEYS):
        made.append(World(auth + LEASES))
        return made[-1]

    yield make
    for world in made:
        world.stop()


def listed(**more):
    return token(key="your-jwt-secret", **{**OURS, "exp": FAR, **more})


def ask(world, credential, *, method="GET", scheme="Bearer", wire=None):
    fields = [f"Authorization: {scheme} {credential.decode()}"]
    return world.ask("/peer/tool/x", method=method, key=None, fields=fields, wire=wire)


def arrived(world):
    return b"".join(wire.received for wire in world.origin.wires)


def problem(wire):
    first, fields, body = head_of(wire.received)
    return first.split()[1], dict(fields), json.loads(body)


def refused(wire, code, status=b"401"):
    answered, fields, body = problem(wire)
    assert (answered, body["error"]) == (status, code)
    return fields.get(b"WWW-Authenticate"), body["detail"]


def test_valid_jwts_accepted(worlds):
    world = worlds()
    ask(world, listed())
    assert arrived(world).startswith(b"GET /x HTTP/1.1\r\n")


def test_expired_jwts_rejected(worlds):
    world = worlds()
    challenge, detail = refused(ask(world, listed(exp=1_000_000_000)), "expired_token")
    assert detail == "the token has expired"
    assert challenge == (
        b'Bearer realm="portal-gateway", error="invalid_token",'
        b' error_description="The token has expired"'
    )
    assert arrived(world) == b""


@pytest.mark.parametrize(
    ("claims", "detail"),
    [
        ({"iss": "another"}, "the token is of another issuer"),
        ({"iss": ...}, "the token is of another issuer"),
        ({"aud": "another"}, "the token is for another audience"),
        ({"aud": ...}, "the token has no audience"),
        ({"exp": ...}, "the token has no exp"),
        ({"nbf": FAR - 1}, "the token is not valid yet"),
        ({"sub": ...}, "the token does not say in visible characters of ASCII whose it is"),
    ],
)
def test_claims_validated(worlds, claims, detail):
    world = worlds()
    assert refused(ask(world, listed(**claims)), "invalid_token")[1] == detail
    assert arrived(world) == b""


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_support_hs256_rs256_algorithms(worlds, algorithm, tmp_path):
    """HS256 is that of the other tests; these are verified with a public key."""
    file = tmp_path / "public.pem"
    file.write_bytes(public_pem(algorithm))
    world = worlds(f"auth:\n  jwt: {{algorithm: {algorithm}, public_key_file: {file}}}\n")
    ask(world, token(algorithm, exp=FAR))
    assert arrived(world).startswith(b"GET /x HTTP/1.1\r\n")
    refused(ask(world, token(algorithm, which=1, exp=FAR)), "invalid_token")
    refused(ask(world, listed()), "invalid_token")


# What follows.


def test_keys_and_tokens_are_told_apart(worlds):
    world = worlds()
    ask(world, b"sk_live_abc123...")
    assert arrived(world).startswith(b"GET /x ")
    refused(ask(world, b"sk_live_unknown"), "invalid_api_key")
    refused(ask(world, b"a.b.c"), "invalid_api_key")
    refused(ask(world, listed()[:-3] + b"AAA"), "invalid_token")


def test_without_jwt_a_token_is_an_unknown_key(worlds):
    world = worlds("auth:\n" + KEYS)
    refused(ask(world, listed()), "invalid_api_key")


@pytest.mark.parametrize("place", ["X-API-Key: {}", "Sec-WebSocket-Protocol: portal-key.{}"])
def test_a_token_may_come_where_keys_may(worlds, place):
    world = worlds()
    world.ask("/peer/tool/x", key=None, fields=[place.format(listed().decode())])
    assert arrived(world).startswith(b"GET /x HTTP/1.1\r\n")


def test_the_token_neither_reaches_the_lease_nor_the_log(worlds):
    world = worlds()
    made = listed()
    ask(world, made)
    world.ask("/peer/tool/x", key=None, fields=[f"X-API-Key: {made.decode()}"])
    bad = listed(aud="another")
    refused(ask(world, bad), "invalid_token")
    for part in (*made.split(b"."), *bad.split(b".")):
        assert part not in arrived(world)
        assert part.decode() not in world.log_text.getvalue()


def test_the_log_names_the_holder(worlds):
    world = worlds()
    wire = ask(world, listed(sub="alice@example.com"))
    world.origin.wires[0].send(answer(b"ok"))
    world.reactor.settle()
    assert wire.received.startswith(b"HTTP/1.1 200 OK\r\n")
    world.reactor.advance(1)
    assert '"jwt:alice@example.com"' in world.log_text.getvalue()


@pytest.mark.parametrize(
    ("scope", "method", "passes"),
    [
        ("read", "GET", True),
        ("read", "POST", False),
        ("read write", "POST", True),
        ("openid profile", "GET", False),
        (..., "POST", True),
    ],
)
def test_scopes_of_the_token_hold(worlds, scope, method, passes):
    world = worlds()
    wire = ask(world, listed(scope=scope), method=method)
    if passes:
        assert arrived(world).startswith(method.encode())
    else:
        refused(wire, "insufficient_scope", b"403")


def test_a_long_token_is_carried(worlds):
    world = worlds()
    made = listed(groups=[f"group-{number:030}" for number in range(250)])
    assert 12_000 < len(made) < 16 * 1024
    ask(world, made)
    assert arrived(world).startswith(b"GET /x HTTP/1.1\r\n")


# Keys that are published.


def published(worlds, *keys):
    world = worlds(PUBLISHED)
    issuer = Issuer(*keys)
    world.reactor.listenTCP(PORT, issuer)
    return world, issuer


def signed(kid="a", which=0, **more):
    return token("ES256", which=which, header={"kid": kid}, **{**OURS, "exp": FAR, **more})


def test_published_keys_are_fetched_when_a_token_needs_them(worlds):
    world, issuer = published(worlds)
    assert issuer.requests == []
    for subject in "abc":
        ask(world, signed(sub=subject))
    assert arrived(world).count(b"GET /x HTTP/1.1\r\n") == 3
    assert len(issuer.requests) == 1


def test_tokens_wait_for_the_first_keys_and_a_client_may_go(worlds):
    world, issuer = published(worlds)
    keys, issuer.answer = issuer.answer, None
    ask(world, signed()).transport.abortConnection()
    stays = ask(world, signed(sub="bob"))
    assert (arrived(world), stays.received) == (b"", b"")
    issuer.connections[0].transport.write(keys)
    world.reactor.settle()
    assert arrived(world).count(b"GET /x HTTP/1.1\r\n") == 1


def test_a_key_that_is_not_there_is_asked_for_at_most_once_a_minute(worlds):
    world, issuer = published(worlds)
    ask(world, signed())
    world.reactor.advance(60)
    issuer.publish(jwk("ES256", "a"), jwk("ES256", "b", 1))
    ask(world, signed("b", 1))
    assert arrived(world).count(b"GET /x HTTP/1.1\r\n") == 2
    for number in range(50):
        refused(ask(world, signed(f"made-up-{number}")), "invalid_token")
    assert len(issuer.requests) == 2


def test_keys_stay_while_their_issuer_is_away(worlds):
    world, issuer = published(worlds)
    ask(world, signed())
    issuer.answer = answer(b"", "500 Sorry")
    world.reactor.advance(1300)
    ask(world, signed(sub="bob"))
    assert arrived(world).count(b"GET /x HTTP/1.1\r\n") == 2
    refused(ask(world, signed("b")), "invalid_token")


@pytest.mark.parametrize("wrong", ["away", "no set", "slow"])
def test_that_keys_were_never_there_is_nobodys_fault(worlds, wrong):
    world = worlds(PUBLISHED)
    issuer = Issuer()
    if wrong != "away":
        world.reactor.listenTCP(PORT, issuer)
        issuer.answer = None if wrong == "slow" else answer(b"<html>")
    wire = ask(world, signed())
    if wrong == "slow":
        assert wire.received == b""
        world.reactor.advance(5)
    challenge, _ = refused(wire, "token_keys_unavailable", b"503")
    assert challenge is None
    assert problem(wire)[1][b"Retry-After"] == b"5"
    asked = len(issuer.connections)
    refused(ask(world, signed(sub="bob")), "token_keys_unavailable", b"503")
    assert len(issuer.connections) == asked, "not again at once"


@pytest.mark.parametrize(
    "header",
    [
        {"jku": f"http://127.0.0.1:{PORT + 1}/"},
        {"x5u": f"http://127.0.0.1:{PORT + 1}/"},
        {"jwk": jwk("ES256", which=1)},
        {"x5c": ["MIIB"]},
        {"kid": f"http://127.0.0.1:{PORT + 1}/"},
    ],
)
def test_nothing_is_fetched_from_where_a_token_says(worlds, header):
    world, _issuer = published(worlds)
    canary = Issuer(jwk("ES256", which=1))
    world.reactor.listenTCP(PORT + 1, canary)
    made = token("ES256", which=1, header=header, **OURS, exp=FAR)
    refused(ask(world, made), "invalid_token")
    assert canary.connections == []


def test_a_secret_among_the_published_keys_is_no_key(worlds):
    secret = {"kty": "oct", "k": segment(b"s" * 32).decode(), "kid": "s"}
    world, _issuer = published(worlds, secret, jwk("ES256", "a"))
    made = token("HS256", "s" * 32, header={"kid": "s"}, **OURS, exp=FAR)
    refused(ask(world, made), "invalid_token")
